//! An event as a log line. The message is constant, all that varies is a field.
//!
//! Text of peers goes in as a string field: the text format quotes and escapes it, JSON does too. Numbers go through
//! [`Redacted`].

use tracing::{debug, info};

use crate::call::{Event, Happened, NotAnalysed};
use crate::policy::action::{Enforcement, StepUpDecision};
use crate::policy::facts::{Facts, OverLimit};
use crate::store::{SIP_CALL_ID_LIMIT, TEXT_LIMIT, clip};
use crate::units::{CallId, CallTime, Leg, Redacted};

/// The target by which a log filter names these lines.
const CALL: &str = "ringfence::call";

/// Writes its line.
pub(super) fn happened(happened: &Happened) {
    let call = happened.call;
    match &happened.event {
        Event::Began { facts, sip_call_id, generation } => began(call, facts, sip_call_id, *generation),
        Event::Restored { sip_call_id, story } => info!(
            target: CALL,
            %call,
            sip_call_id = clip(sip_call_id, SIP_CALL_ID_LIMIT),
            direction = story.facts.direction.label(),
            answered_s = story.answered.as_secs(),
            generation = story.generation,
            "Restored"
        ),
        Event::Routed { decision, enforcement } => info!(
            target: CALL,
            %call,
            route = decision.route.label(),
            rule = &*decision.rule,
            enforcement = enforcement.label(),
            "Routed"
        ),
        Event::Ringing => debug!(target: CALL, %call, "Ringing"),
        Event::Answered { analysed, not_analysed } => {
            info!(target: CALL, %call, analysed, not_analysed = not_analysed.map(NotAnalysed::label), "Answered");
        }
        Event::Unheard { at, not_analysed } => {
            let (at_ms, not_analysed) = (at.as_millis(), not_analysed.label());
            info!(target: CALL, %call, at_ms, not_analysed, "Not heard: sends what cannot be decoded");
        }
        Event::Judged { verdict } => debug!(
            target: CALL,
            %call,
            at_ms = verdict.at.as_millis(),
            class = verdict.class.label(),
            probability = verdict.of(verdict.class).get(),
            reason = verdict.reasons.first().map(|reason| &*reason.text),
            "Judged"
        ),
        Event::SteppedUp { at, decision, enforcement } => stepped_up(call, *at, decision, *enforcement),
        Event::TakenBack { at } => info!(target: CALL, %call, at_ms = at.as_millis(), "Taken back"),
        Event::GuardLifted { at, by } => {
            info!(target: CALL, %call, at_ms = at.as_millis(), by = by.label(), "Guard lifted");
        }
        // The key itself is not logged: it may be part of a PIN.
        Event::Digit { leg } => debug!(target: CALL, %call, leg = leg.label(), "Digit"),
        Event::Ended { ending } => info!(
            target: CALL,
            %call,
            by = ending.by.map_or("ringfence", Leg::label),
            how = ending.how.label(),
            status = ending.status,
            talked_ms = ending.talked.map(|talked| CallTime(talked).as_millis()),
            "Ended"
        ),
    }
}

fn began(call: CallId, facts: &Facts, sip_call_id: &str, generation: u64) {
    info!(
        target: CALL,
        %call,
        sip_call_id = clip(sip_call_id, SIP_CALL_ID_LIMIT),
        direction = facts.direction.label(),
        source = %facts.source,
        trunk = facts.trunk.as_deref(),
        caller = facts.caller.text().map(shown).as_deref(),
        called = shown(&facts.called),
        over_limit = facts.over_limit.map(OverLimit::label),
        generation,
        "Began"
    );
}

fn stepped_up(call: CallId, at: CallTime, decision: &StepUpDecision, enforcement: Enforcement) {
    let verdict = &decision.verdict;
    info!(
        target: CALL,
        %call,
        at_ms = at.as_millis(),
        action = decision.action.label(),
        rule = &*decision.rule,
        enforcement = enforcement.label(),
        class = verdict.class.label(),
        probability = verdict.of(verdict.class).get(),
        reason = verdict.reasons.first().map(|reason| &*reason.text),
        "Stepped up"
    );
}

fn shown(number: &Redacted<std::sync::Arc<str>>) -> String {
    Redacted(clip(&number.0, TEXT_LIMIT)).to_string()
}
