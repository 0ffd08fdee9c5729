use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::*;
use crate::call::{EndReason, Ending, Lifted};
use crate::policy::action::{Enforcement, Route, RouteDecision, StepUp, StepUpDecision};
use crate::policy::facts::{CallDirection, CallerNumber};
use crate::policy::judge::Class;
use crate::units::CallTime;

struct Told {
    history: History,
    anchor: Anchor,
    now: Instant,
}

impl Told {
    fn new() -> Self {
        Self { history: History::default(), anchor: Anchor::take(), now: crate::io::clock::now() }
    }

    /// `event` of `call`, `ms` after the one before.
    fn tell(&mut self, call: u64, ms: u64, event: Event) -> Option<CallRecord> {
        self.now += Duration::from_millis(ms);
        self.history.happened(&Happened { call: CallId(call), at: self.now, event }, self.anchor)
    }
}

fn facts(caller: &str) -> Facts {
    Facts {
        direction: CallDirection::Inbound,
        source: IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9)),
        trunk: Some(Arc::from("provider")),
        caller: CallerNumber::Known(Redacted(Arc::from(caller))),
        called: Redacted(Arc::from("201")),
        understands_608: false,
        over_limit: None,
        hour: 10,
        weekday: 0,
        dialled_before: false,
    }
}

fn begins(caller: &str) -> Event {
    Event::Began { facts: facts(caller), sip_call_id: Arc::from("x@y"), generation: 3 }
}

fn verdict(ms: u64, press_key: f32, reasons: usize) -> Verdict {
    let reasons = (0..reasons)
        .map(|n| Reason { text: format!("heard {n}").into(), weight: format!("weight {n}").into(), log_odds: 1.0 })
        .collect();
    let probabilities = [0.0, 1.0 - press_key, 0.0, press_key].map(Ratio::clamped);
    let class = if press_key > 0.5 { Class::PressKey } else { Class::Live };
    Verdict { at: CallTime::from_millis(ms), class, probabilities, reasons }
}

fn ended() -> Event {
    Event::Ended {
        ending: Ending {
            by: Some(Leg::Caller),
            how: EndReason::Bye,
            status: None,
            talked: Some(Duration::from_secs(6)),
        },
    }
}

#[test]
fn the_whole_life_of_a_call_is_one_record() {
    let mut told = Told::new();
    let rule: Arc<str> = Arc::from("default");
    let routed = RouteDecision { route: Route::Watch, rule };
    let decision = StepUpDecision {
        action: StepUp::Divert,
        rule: Arc::from("detect.divert_at"),
        verdict: verdict(5_000, 0.95, 2),
    };

    told.tell(1, 0, begins("+447700900123"));
    told.tell(1, 1, Event::Routed { decision: routed, enforcement: Enforcement::Done });
    told.tell(1, 99, Event::Ringing);
    told.tell(1, 50, Event::Ringing);
    told.tell(1, 1_850, Event::Answered { analysed: true, not_analysed: None });
    told.tell(1, 2_000, Event::Judged { verdict: verdict(2_000, 0.2, 1) });
    told.tell(1, 3_000, Event::Judged { verdict: verdict(5_000, 0.95, 2) });
    let enforcement = Enforcement::Done;
    told.tell(1, 0, Event::SteppedUp { at: CallTime::from_millis(5_000), decision, enforcement });
    told.tell(1, 500, Event::Digit { leg: Leg::Callee });
    told.tell(1, 0, Event::TakenBack { at: CallTime::from_millis(5_500) });
    told.tell(1, 0, Event::GuardLifted { at: CallTime::from_millis(5_600), by: Lifted::Live });
    let record = told.tell(1, 500, ended()).unwrap();

    assert_eq!(record.lifted, Some(Box::new((CallTime::from_millis(5_600), "live".into()))));
    assert_eq!(record.caller.as_deref(), Some("+447700900123"));
    assert_eq!((&*record.rule, &*record.route, &*record.route_enforcement), ("default", "watch", "done"));
    let since = |at: Option<UtcMillis>| at.map(|at| at.0 - record.began.0);
    assert_eq!(since(record.ringing), Some(100));
    assert_eq!(since(record.answered), Some(2_000));
    assert_eq!(since(record.ended), Some(8_000));
    assert_eq!(record.verdicts.iter().map(|verdict| &*verdict.class).collect::<Vec<_>>(), ["live", "press_key"]);
    let step = &record.steps[0];
    assert_eq!((&*step.action, &*step.rule, &*step.enforcement), ("divert", "detect.divert_at", "done"));
    assert_eq!(step.verdict, record.verdicts[1]);
    assert_eq!(record.taken_back, Some(CallTime::from_millis(5_500)));
    assert_eq!(record.digits, PerLeg { caller: 0, callee: 1 });
    assert_eq!((record.ending.by.as_deref(), &*record.ending.how), (Some("caller"), "bye"));
    assert_eq!(told.history.running().len(), 0);
    assert_eq!(told.history.ended().cloned().collect::<Vec<_>>(), [record.summary()]);
}

#[test]
fn a_call_of_another_process_has_a_whole_record_too() {
    let mut told = Told::new();
    let (began, answered) = (Duration::from_secs(70), Duration::from_secs(60));
    let at = CallTime::from_millis(5_000);
    let decision =
        StepUpDecision { action: StepUp::Guard, rule: Arc::from("guard_at"), verdict: verdict(5_000, 0.6, 1) };
    let story = Story {
        facts: facts("+447700900123"),
        generation: 3,
        decision: RouteDecision { route: Route::Watch, rule: Arc::from("default") },
        enforcement: Enforcement::Done,
        began,
        rang: None,
        answered,
        analysed: true,
        not_analysed: None,
        verdict: Some(verdict(5_000, 0.6, 1)),
        steps: vec![SteppedUp { at, decision, enforcement: Enforcement::NotEnforced }],
        taken_back: None,
        lifted: Some((CallTime::from_millis(7_000), Lifted::Callee)),
        digits: PerLeg { caller: 0, callee: 2 },
    };
    let now = UtcMillis::from(told.anchor.wall_at(told.now)).0;

    told.tell(1, 0, Event::Restored { sip_call_id: Arc::from("x@y"), story: Box::new(story) });
    told.tell(1, 500, Event::Digit { leg: Leg::Callee });
    let record = told.tell(1, 500, ended()).unwrap();

    let near = |at: Option<UtcMillis>, ago: i64| at.is_some_and(|at| (now - ago - at.0).abs() <= 1);
    assert!(
        near(Some(record.began), 70_000) && near(record.answered, 60_000) && near(record.restored, 0),
        "{record:?}"
    );
    assert!(near(record.ended, -1_000), "{record:?}");
    assert_eq!((&*record.rule, &*record.route, record.generation), ("default", "watch", 3));
    assert_eq!(record.lifted, Some(Box::new((CallTime::from_millis(7_000), "callee".into()))));
    assert_eq!((record.steps.len(), record.verdicts.len(), record.digits.callee), (1, 1, 3));
    assert_eq!(&*record.ending.how, "bye");
}

#[test]
fn reasons_that_stay_are_held_once() {
    let mut told = Told::new();
    told.tell(1, 0, begins("1"));
    told.tell(1, 0, Event::Judged { verdict: verdict(1, 0.2, 2) });
    told.tell(1, 0, Event::Judged { verdict: verdict(2, 0.4, 3) });

    let record = told.history.running().next().unwrap();

    let [first, second] = &record.verdicts[..] else { panic!("two verdicts") };
    assert!(Arc::ptr_eq(&first.reasons[1].text, &second.reasons[1].text));
    assert!(Arc::ptr_eq(&first.reasons[1].weight, &second.reasons[1].weight));
}

#[test]
fn one_call_cannot_grow_without_end_and_its_last_verdict_stays() {
    let mut told = Told::new();
    told.tell(1, 0, begins(&"9".repeat(100_000)));
    for n in 0..1_000 {
        told.tell(1, 20, Event::Judged { verdict: verdict(n, (n % 2) as f32, 1_000) });
        let decision = StepUpDecision { action: StepUp::Guard, rule: Arc::from("r"), verdict: verdict(n, 1.0, 1_000) };
        let enforcement = Enforcement::NotEnforced;
        told.tell(1, 0, Event::SteppedUp { at: CallTime::ZERO, decision, enforcement });
    }

    let record = told.tell(1, 0, ended()).unwrap();

    assert_eq!(record.caller.as_ref().unwrap().len(), TEXT_LIMIT);
    assert_eq!(record.verdicts.len(), VERDICTS_LIMIT);
    assert_eq!(record.verdicts_left_out, 936);
    assert_eq!(record.verdict().unwrap().at, CallTime::from_millis(999));
    assert!(record.verdicts.iter().all(|verdict| verdict.reasons.len() == REASONS_LIMIT));
    assert_eq!(record.steps.len(), STEPS_LIMIT);
}

#[test]
fn calls_whose_end_was_lost_go_oldest_first_as_unfinished() {
    let mut told = Told::new();
    let mut written = Vec::new();
    for call in 0..RUNNING_LIMIT as u64 + 250 {
        written.extend(told.tell(call, 0, begins("1")));
    }

    assert_eq!(told.history.running().len(), RUNNING_LIMIT);
    assert_eq!(written.iter().map(|record| record.id.0).collect::<Vec<_>>(), (0..250).collect::<Vec<_>>());
    assert!(written.iter().all(|record| record.ending.how == UNFINISHED && record.ended.is_none()));
    assert_eq!(told.history.ended().count(), ENDED_LIMIT);
    assert_eq!(told.history.ended().next().unwrap().id, CallId(249));
}

#[test]
fn events_of_a_call_that_is_not_known_are_nothing() {
    let mut told = Told::new();

    assert_eq!(told.tell(7, 0, Event::Ringing), None);
    assert_eq!(told.tell(7, 0, ended()), None);
    assert_eq!(told.history.running().len(), 0);
}

#[test]
fn a_weight_that_is_not_a_number_does_not_spoil_the_record() {
    let mut told = Told::new();
    told.tell(1, 0, begins("1"));
    let mut broken = verdict(1, 0.9, 1);
    broken.reasons[0].log_odds = f32::NAN;
    told.tell(1, 0, Event::Judged { verdict: broken });

    let record = told.tell(1, 0, ended()).unwrap();

    assert_eq!(record.verdicts[0].reasons[0].log_odds, 0.0);
}
