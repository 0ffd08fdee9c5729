use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::*;
use crate::call::{EndReason, Ending, Lifted};
use crate::policy::action::{Enforcement, Rejection, Route, RouteDecision, StepUp, StepUpDecision};
use crate::policy::facts::{CallDirection, CallerNumber, Facts};
use crate::policy::judge::Verdict;
use crate::store::fixture::diverted_call;
use crate::units::{CallId, CallTime, Leg, Ratio, Redacted};

fn tell(metrics: &Metrics, event: Event, record: Option<&CallRecord>) {
    metrics.happened(&Happened { call: CallId(1), at: start(), event }, record);
}

fn start() -> Instant {
    crate::io::clock::now()
}

/// All events that a call can have, with text of strangers wherever there is any.
fn tell_all(metrics: &Metrics, stranger: &str, source: IpAddr) {
    let text: Arc<str> = Arc::from(stranger);
    let facts = Facts {
        direction: CallDirection::Inbound,
        source,
        trunk: Some(Arc::clone(&text)),
        caller: CallerNumber::NotANumber(Redacted(Arc::clone(&text))),
        called: Redacted(Arc::clone(&text)),
        understands_608: false,
        over_limit: None,
        hour: 0,
        weekday: 0,
        dialled_before: false,
    };
    tell(metrics, Event::Began { facts: facts.clone(), sip_call_id: Arc::clone(&text), generation: 1 }, None);
    for enforcement in [Enforcement::Done, Enforcement::Observed, Enforcement::NotEnforced] {
        for route in [Route::Connect, Route::Watch, Route::Divert, Route::Reject(Rejection::Busy)] {
            let decision = RouteDecision { route, rule: Arc::clone(&text) };
            tell(metrics, Event::Routed { decision, enforcement }, None);
        }
        for action in [StepUp::Guard, StepUp::Whisper, StepUp::Divert, StepUp::HangUp] {
            let at = CallTime::from_millis(5_200);
            let probabilities = [Ratio::ZERO, Ratio::ZERO, Ratio::ZERO, Ratio::ONE];
            let verdict = Verdict { at, class: Class::PressKey, probabilities, reasons: Vec::new() };
            let decision = StepUpDecision { action, rule: Arc::clone(&text), verdict };
            tell(metrics, Event::SteppedUp { at, decision, enforcement }, None);
        }
    }
    tell(metrics, Event::Answered { analysed: true, not_analysed: None }, None);
    tell(metrics, Event::Answered { analysed: false, not_analysed: Some(NotAnalysed::Srtp) }, None);
    tell(metrics, Event::Unheard { at: CallTime::ZERO, not_analysed: NotAnalysed::Codec }, None);
    let story = crate::call::Story {
        facts: facts.clone(),
        generation: 1,
        decision: RouteDecision { route: Route::Watch, rule: Arc::clone(&text) },
        enforcement: Enforcement::Done,
        began: Duration::from_secs(9),
        rang: None,
        answered: Duration::from_secs(5),
        analysed: true,
        not_analysed: None,
        verdict: None,
        steps: Vec::new(),
        taken_back: None,
        lifted: None,
        digits: crate::units::PerLeg::default(),
    };
    tell(metrics, Event::Restored { sip_call_id: Arc::clone(&text), story: Box::new(story) }, None);
    tell(metrics, Event::TakenBack { at: CallTime::ZERO }, None);
    for by in [Lifted::Callee, Lifted::Live] {
        tell(metrics, Event::GuardLifted { at: CallTime::ZERO, by }, None);
    }
    tell(metrics, Event::Digit { leg: Leg::Callee }, None);
    let ending = Ending { by: None, how: EndReason::Diverted, status: None, talked: Some(Duration::from_secs(9)) };
    tell(metrics, Event::Ended { ending }, Some(&diverted_call()));
    tell(metrics, Event::Ended { ending }, None);
}

/// Names with labels, without values.
fn series(page: &str) -> BTreeSet<&str> {
    page.lines().filter(|line| !line.starts_with('#')).filter_map(|line| Some(line.rsplit_once(' ')?.0)).collect()
}

#[test]
fn the_page_does_not_grow_with_what_strangers_send() {
    let metrics = Metrics::new();
    tell_all(&metrics, "first", IpAddr::from([192, 0, 2, 1]));
    let before = metrics.encode();

    for n in 0..200_u8 {
        tell_all(&metrics, &format!("intruder-{n}\"\n{{}}"), IpAddr::from([198, 51, 100, n]));
    }

    let after = metrics.encode();
    assert_eq!(series(&before), series(&after));
    assert!(series(&after).len() < 200, "{}", series(&after).len());
    assert!(!after.contains("intruder"), "{after}");
}

#[test]
fn events_are_counted_under_fixed_names() {
    let metrics = Metrics::new();
    tell_all(&metrics, "x", IpAddr::from([192, 0, 2, 1]));

    let page = metrics.encode();

    for line in [
        "ringfence_calls_begun_total{direction=\"inbound\"} 1",
        "ringfence_routes_total{action=\"reject\",enforcement=\"done\"} 1",
        "ringfence_calls_answered_total{heard=\"yes\"} 1",
        "ringfence_calls_answered_total{heard=\"srtp\"} 1",
        "ringfence_calls_unheard_total{why=\"codec\"} 1",
        "ringfence_step_ups_total{action=\"guard\",enforcement=\"not_enforced\"} 1",
        "ringfence_decision_seconds_bucket{action=\"divert\",le=\"5\"} 0",
        "ringfence_decision_seconds_bucket{action=\"divert\",le=\"6\"} 3",
        "ringfence_decision_seconds_count{action=\"divert\"} 3",
        "ringfence_taken_back_total 1",
        "ringfence_guards_lifted_total{by=\"callee\"} 1",
        "ringfence_digits_total{leg=\"callee\"} 1",
        "ringfence_calls_ended_total{how=\"diverted\"} 2",
        "ringfence_calls_judged_total{class=\"press_key\"} 1",
        "ringfence_calls_judged_total{class=\"none\"} 1",
        "ringfence_calls_judged_total{class=\"live\"} 0",
        "ringfence_records_total{outcome=\"lost\"} 0",
        "ringfence_events_lost_total 0",
    ] {
        assert!(page.lines().any(|found| found == line), "{line} is not on\n{page}");
    }
}

#[test]
fn snapshots_show_what_was_handed_over_last() {
    let metrics = Metrics::new();
    let mut counters = Counters { unknown_source: 4, stray: 2, table_full: 1, ..Counters::default() };
    counters.bad_message.insert("truncated", 3);
    counters.refused.insert("no_room", 14);
    let sizes = Sizes { calls: 5, server_transactions: 6, ..Sizes::default() };
    metrics.signalling(&Counters::default(), &Sizes { calls: 99, ..Sizes::default() });
    metrics.signalling(&counters, &sizes);
    metrics.gate(&[("blocked", 7)], &[("sources", 8)]);
    let mut media = MediaCounts { ports_free: 400, tap_lost: 9, ..MediaCounts::default() };
    media.packets_in[Leg::Caller] = 1_000;
    media.lost[Leg::Callee] = 11;
    media.dropped[1] = 12;
    metrics.media(&media);
    let [lag, words] = [Duration::from_millis(250), Duration::from_millis(1_500)];
    metrics.ears(&EarCounts { frames: 50, lag, listening: 2, words, too_many: 3, ..EarCounts::default() });
    metrics.signalling_faults(&[("panic", 6)]);
    metrics.part(Part::Store, true);
    metrics.part(Part::Words, false);
    metrics.reloaded(Reloaded::Applied, 4);
    metrics.log_lines_lost(13);

    let page = metrics.encode();

    for line in [
        "ringfence_unknown_source_total 4",
        "ringfence_bad_messages_total{label=\"truncated\"} 3",
        "ringfence_stray_messages_total 2",
        "ringfence_calls_refused_total{why=\"no_room\"} 14",
        "ringfence_gate_drops_total{reason=\"blocked\"} 7",
        "ringfence_table_entries{table=\"calls\"} 5",
        "ringfence_table_entries{table=\"server_transactions\"} 6",
        "ringfence_table_entries{table=\"sources\"} 8",
        "ringfence_table_entries{table=\"ears\"} 2",
        "ringfence_rtp_packets_total{leg=\"caller\",way=\"in\"} 1000",
        "ringfence_rtp_packets_lost_total{leg=\"callee\"} 11",
        "ringfence_rtp_dropped_total{reason=\"unknown_source\"} 12",
        "ringfence_media_faults_total{fault=\"tap_lost\"} 9",
        "ringfence_media_port_pairs{state=\"free\"} 400",
        "ringfence_analysis_frames_total 50",
        "ringfence_analysis_lag_seconds 0.25",
        "ringfence_words_seconds_total 1.5",
        "ringfence_analysis_faults_total{fault=\"too_many\"} 3",
        "ringfence_analysis_faults_total{fault=\"internal\"} 0",
        "ringfence_signalling_faults_total{fault=\"panic\"} 6",
        "ringfence_part_up{part=\"store\"} 1",
        "ringfence_part_up{part=\"words\"} 0",
        "ringfence_reloads_total{outcome=\"applied\"} 1",
        "ringfence_settings_generation 4",
        "ringfence_log_lines_lost_total 13",
    ] {
        assert!(page.lines().any(|found| found == line), "{line} is not on\n{page}");
    }
    assert!(!page.contains("part=\"admin\""), "a part that was never named is not there");
}

#[test]
fn every_name_is_told_once_with_a_help_and_a_type() {
    let metrics = Metrics::new();
    tell_all(&metrics, "x", IpAddr::from([192, 0, 2, 1]));
    let page = metrics.encode();
    let named = |prefix: &str| -> Vec<&str> {
        page.lines().filter_map(|line| line.strip_prefix(prefix)?.split(' ').next()).collect()
    };

    let (helps, types) = (named("# HELP "), named("# TYPE "));

    assert_eq!(helps, types);
    assert_eq!(helps.iter().collect::<BTreeSet<_>>().len(), helps.len());
    assert!(helps.iter().all(|name| name.starts_with("ringfence_")));
}
