//! Running calls, for the API: views of the records that `history` holds.

use std::net::IpAddr;

use serde::Serialize;

use crate::store::{CallRecord, Judgement, Label, UtcMillis};
use crate::units::{Redaction, redact_number};

/// The calls of this moment.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CallsNow {
    /// How many there are.
    pub total: usize,
    /// The longest running ones, as many as were asked for.
    pub calls: Vec<LiveCall>,
}

/// A call that runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LiveCall {
    /// 16 hexadecimal digits.
    pub id: String,
    /// When the INVITE came.
    pub since: UtcMillis,
    /// `routing`, `ringing`, `answered`, `diverted`.
    pub state: &'static str,
    /// `inbound` or `outbound`.
    pub direction: Label,
    /// `withheld`, `number` or `name`.
    pub caller_kind: Label,
    /// The caller's number or name.
    pub caller: Option<String>,
    /// Number or extension that was called.
    pub called: Option<String>,
    /// Address that sent the INVITE.
    pub source: IpAddr,
    /// `[[trunk]] name`.
    pub trunk: Option<Box<str>>,
    /// Rule that decided at the INVITE.
    pub rule: Box<str>,
    /// What it decided.
    pub route: Label,
    /// Class by the last verdict; None: not judged yet.
    pub class: Option<Label>,
    /// Probability of that class.
    pub probability: Option<f32>,
    /// The last action.
    pub action: Option<Label>,
    /// Whether it was done.
    pub action_enforcement: Option<Label>,
}

impl LiveCall {
    pub(super) fn new(record: &CallRecord, redaction: Redaction) -> Self {
        let shown = |number: &String| match redaction {
            Redaction::On => redact_number(number),
            Redaction::Off => number.clone(),
        };
        let (verdict, action) = (record.verdict(), record.action());
        Self {
            id: record.id.to_string(),
            since: record.began,
            state: state(record),
            direction: record.direction.clone(),
            caller_kind: record.caller_kind.clone(),
            caller: record.caller.as_ref().map(shown),
            called: record.called.as_ref().map(shown),
            source: record.source,
            trunk: record.trunk.clone(),
            rule: record.rule.clone(),
            route: record.route.clone(),
            class: verdict.map(|verdict| verdict.class.clone()),
            probability: verdict.map(Judgement::probability),
            action: action.map(|step| step.action.clone()),
            action_enforcement: action.map(|step| step.enforcement.clone()),
        }
    }
}

fn state(record: &CallRecord) -> &'static str {
    if record.was_diverted() && record.taken_back.is_none() {
        "diverted"
    } else if record.answered.is_some() {
        "answered"
    } else if record.ringing.is_some() {
        "ringing"
    } else {
        "routing"
    }
}
