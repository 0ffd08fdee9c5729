//! Calls as they become records.
//!
//! In: events, in their order. Out: the finished record of each call. Bounded in calls, and in what is kept of each.

pub mod calls;
pub mod explain;
mod writer;

pub(super) use writer::Writer;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::call::{Event, Happened, SteppedUp, Story};
use crate::io::clock::Anchor;
use crate::policy::action::{Enforcement, StepUpDecision};
use crate::policy::facts::Facts;
use crate::policy::judge::{Reason, Verdict};
use crate::store::{
    CallRecord, CallSummary, EndingRecord, Judgement, ReasonRecord, SIP_CALL_ID_LIMIT, Step, TEXT_LIMIT, UNFINISHED,
    UtcMillis, clip,
};
use crate::units::{CallId, CallTime, Leg, PerLeg, Ratio, Redacted};

/// Most calls that run at once. With one more, the oldest is taken for ended: its end must have been lost.
const RUNNING_LIMIT: usize = 20_000;
/// Ended calls that are remembered for the feed.
const ENDED_LIMIT: usize = 200;
/// Verdicts that are kept of one call. A verdict comes here when a probability has moved by a tenth, so that only a
/// call that swings wildly has more.
const VERDICTS_LIMIT: usize = 64;
/// Reasons of one verdict, strongest first.
const REASONS_LIMIT: usize = 12;
/// Actions of one call; there are four kinds and each is taken once.
const STEPS_LIMIT: usize = 8;

/// The calls that run and those that ended last.
#[derive(Debug, Default)]
pub(super) struct History {
    /// In the order of their ids, which is the order in which they began. In boxes: the nodes of a tree that grows at
    /// one end stay half empty.
    running: BTreeMap<CallId, Box<Running>>,
    /// Newest last.
    ended: VecDeque<CallSummary>,
}

#[derive(Debug)]
struct Running {
    record: CallRecord,
    /// Taken when the call began, so that its times fit together whatever the wall clock does meanwhile.
    anchor: Anchor,
}

/// The allocator has a size class of 512 bytes; the next one would cost each call a quarter more.
const _: () = assert!(size_of::<Running>() <= 512);

impl History {
    /// Notes one event. `anchor` is a fresh one: it dates a call that begins. Returns the record of a call that is
    /// over.
    pub(super) fn happened(&mut self, happened: &Happened, anchor: Anchor) -> Option<CallRecord> {
        let Happened { call, at, event } = happened;
        if let Event::Began { facts, sip_call_id, generation } = event {
            let record = begun(*call, UtcMillis::from(anchor.wall_at(*at)), facts, sip_call_id, *generation);
            return self.insert(*call, Running { record, anchor });
        }
        if let Event::Restored { sip_call_id, story } = event {
            let at = anchor.wall_at(*at);
            return self.insert(*call, Running { record: restored(*call, at, sip_call_id, story), anchor });
        }
        let Running { record, anchor } = &mut **self.running.get_mut(call)?;
        note(record, event, UtcMillis::from(anchor.wall_at(*at)));
        if !matches!(event, Event::Ended { .. }) {
            return None;
        }
        let ended = self.running.remove(call)?;
        Some(self.close(ended.record))
    }

    /// Without room, the record of the oldest call is closed.
    fn insert(&mut self, call: CallId, running: Running) -> Option<CallRecord> {
        let evicted = if self.running.len() < RUNNING_LIMIT { None } else { self.running.pop_first() };
        self.running.insert(call, Box::new(running));
        evicted.map(|(_, running)| self.close(running.record))
    }

    /// Takes all calls that run out as unfinished, oldest first.
    pub(super) fn unfinished(&mut self) -> Vec<CallRecord> {
        std::mem::take(&mut self.running).into_values().map(|running| self.close(running.record)).collect()
    }

    /// Calls that run, oldest first.
    pub(super) fn running(&self) -> impl ExactSizeIterator<Item = &CallRecord> {
        self.running.values().map(|running| &running.record)
    }

    /// Is this call running?
    pub(super) fn is_running(&self, call: CallId) -> bool {
        self.running.contains_key(&call)
    }

    /// Calls that ended last, newest first.
    pub(super) fn ended(&self) -> impl Iterator<Item = &CallSummary> {
        self.ended.iter().rev()
    }

    fn close(&mut self, record: CallRecord) -> CallRecord {
        if self.ended.len() >= ENDED_LIMIT {
            self.ended.pop_front();
        }
        self.ended.push_back(record.summary());
        record
    }
}

fn begun(id: CallId, began: UtcMillis, facts: &Facts, sip_call_id: &str, generation: u64) -> CallRecord {
    let kept = |number: &Redacted<Arc<str>>| clip(&number.0, TEXT_LIMIT).to_owned();
    CallRecord {
        id,
        sip_call_id: clip(sip_call_id, SIP_CALL_ID_LIMIT).into(),
        generation,
        direction: facts.direction.label().into(),
        caller_kind: facts.caller.label().into(),
        caller: facts.caller.text().map(kept),
        called: Some(kept(&facts.called)),
        source: facts.source,
        trunk: facts.trunk.as_deref().map(Box::from),
        began,
        ringing: None,
        answered: None,
        restored: None,
        ended: None,
        rule: Box::default(),
        route: "".into(),
        route_enforcement: "".into(),
        analysed: false,
        not_analysed: None,
        verdicts: Vec::new(),
        verdicts_left_out: 0,
        steps: Vec::new(),
        taken_back: None,
        lifted: None,
        digits: PerLeg::default(),
        ending: EndingRecord { how: UNFINISHED.into(), ..EndingRecord::default() },
    }
}

/// A call that another process began.
fn restored(id: CallId, at: SystemTime, sip_call_id: &str, story: &Story) -> CallRecord {
    let past = |ago: Duration| UtcMillis::from(at.checked_sub(ago).unwrap_or(SystemTime::UNIX_EPOCH));
    let mut record = begun(id, past(story.began), &story.facts, sip_call_id, story.generation);
    record.rule = Box::from(&*story.decision.rule);
    record.route = story.decision.route.label().into();
    record.route_enforcement = story.enforcement.label().into();
    record.ringing = story.rang.map(past);
    record.answered = Some(past(story.answered));
    record.restored = Some(UtcMillis::from(at));
    record.analysed = story.analysed;
    record.not_analysed = story.not_analysed.as_ref().map(|why| why.to_string().into());
    record.verdicts.extend(story.verdict.as_ref().map(|verdict| judged(verdict, None)));
    for SteppedUp { at, decision, enforcement } in story.steps.iter().take(STEPS_LIMIT) {
        record.steps.push(stepped(*at, decision, *enforcement, record.verdicts.last()));
    }
    record.taken_back = story.taken_back;
    record.lifted = story.lifted.map(|(at, by)| Box::new((at, by.label().into())));
    record.digits = story.digits;
    record
}

fn stepped(at: CallTime, decision: &StepUpDecision, enforcement: Enforcement, before: Option<&Judgement>) -> Step {
    Step {
        at,
        action: decision.action.label().into(),
        rule: decision.rule.to_string(),
        enforcement: enforcement.label().into(),
        verdict: judged(&decision.verdict, before),
    }
}

fn note(record: &mut CallRecord, event: &Event, at: UtcMillis) {
    match event {
        Event::Began { .. } | Event::Restored { .. } => {}
        Event::Routed { decision, enforcement } => {
            record.rule = Box::from(&*decision.rule);
            record.route = decision.route.label().into();
            record.route_enforcement = enforcement.label().into();
        }
        Event::Ringing => {
            record.ringing.get_or_insert(at);
        }
        Event::Answered { analysed, not_analysed } => {
            record.answered = Some(at);
            record.analysed = *analysed;
            record.not_analysed = not_analysed.map(|why| why.label().into());
        }
        Event::Unheard { not_analysed, .. } => record.not_analysed = Some(not_analysed.label().into()),
        Event::Judged { verdict } => {
            let judgement = judged(verdict, record.verdicts.last());
            if record.verdicts.len() >= VERDICTS_LIMIT {
                // The last one is the final one, so the newest takes its place.
                record.verdicts.pop();
                record.verdicts_left_out = record.verdicts_left_out.saturating_add(1);
            }
            record.verdicts.push(judgement);
        }
        Event::SteppedUp { at, decision, enforcement } if record.steps.len() < STEPS_LIMIT => {
            let step = stepped(*at, decision, *enforcement, record.verdicts.last());
            record.steps.push(step);
        }
        Event::SteppedUp { .. } => {}
        Event::TakenBack { at } => record.taken_back = Some(*at),
        Event::GuardLifted { at, by } => record.lifted = Some(Box::new((*at, by.label().into()))),
        Event::Digit { leg } => record.digits[*leg] = record.digits[*leg].saturating_add(1),
        Event::Ended { ending } => {
            record.ended = Some(at);
            record.ending = EndingRecord {
                by: ending.by.map(Leg::label).map(Into::into),
                how: ending.how.label().into(),
                status: ending.status,
                // Of a call that a fault of ours ended, it is known here only.
                talked: ending.talked.or_else(|| Some(at.since(record.answered?))),
            };
        }
    }
}

/// `before` lends its texts: most reasons stay from one verdict to the next, and a call should not hold them twice.
fn judged(verdict: &Verdict, before: Option<&Judgement>) -> Judgement {
    let shared = |text: &Arc<str>, of: fn(&ReasonRecord) -> &Arc<str>| {
        let same = before.and_then(|before| before.reasons.iter().map(of).find(|kept| *kept == text));
        match same {
            Some(kept) => Arc::clone(kept),
            None if text.len() > TEXT_LIMIT => Arc::from(clip(text, TEXT_LIMIT)),
            None => Arc::clone(text),
        }
    };
    let reason = |reason: &Reason| ReasonRecord {
        text: shared(&reason.text, |kept| &kept.text),
        weight: shared(&reason.weight, |kept| &kept.weight),
        log_odds: if reason.log_odds.is_finite() { reason.log_odds } else { 0.0 },
    };
    Judgement {
        at: verdict.at,
        class: verdict.class.label().into(),
        probabilities: verdict.probabilities.map(Ratio::get),
        reasons: verdict.reasons.iter().take(REASONS_LIMIT).map(reason).collect(),
    }
}

#[cfg(test)]
mod tests;
