//! What is written down about a call.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use crate::policy::action::{Enforcement, StepUp};
use crate::policy::judge::Class;
use crate::units::{CallId, CallTime, PerLeg, redact_number};

/// A word out of a fixed set: static when this process made it, owned when it was read from the file.
pub type Label = Cow<'static, str>;

/// Longest SIP Call-ID that is kept, in bytes. Peers choose it, so it has to end somewhere.
pub const SIP_CALL_ID_LIMIT: usize = 255;
/// Longest number, name or text of a reason that is kept, in bytes.
pub const TEXT_LIMIT: usize = 160;
/// [`EndingRecord::how`] of a call that was still running when the process ended.
pub const UNFINISHED: &str = "unfinished";

/// Milliseconds since 1970-01-01 00:00 UTC.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct UtcMillis(pub i64);

impl UtcMillis {
    /// Time from `earlier` to `self`; zero if `earlier` is the later one.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl From<SystemTime> for UtcMillis {
    /// A time before 1970 counts as 0.
    fn from(time: SystemTime) -> Self {
        let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Self(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}

/// Everything that is kept of one call.
#[derive(Clone, Debug, PartialEq)]
pub struct CallRecord {
    /// Ours.
    pub id: CallId,
    /// The peers' name for it, cut at [`SIP_CALL_ID_LIMIT`].
    pub sip_call_id: Box<str>,
    /// Of the settings that it kept.
    pub generation: u64,
    /// `inbound` or `outbound`.
    pub direction: Label,
    /// `withheld`, `number` or `name`.
    pub caller_kind: Label,
    /// The caller's number or name; None: withheld, or numbers are not stored.
    pub caller: Option<String>,
    /// Number or extension that was called; None: numbers are not stored.
    pub called: Option<String>,
    /// Address that sent the INVITE.
    pub source: IpAddr,
    /// `[[trunk]] name`; None from the PBX.
    pub trunk: Option<Box<str>>,
    /// The INVITE came.
    pub began: UtcMillis,
    /// The callee's phone rang first.
    pub ringing: Option<UtcMillis>,
    /// The callee answered: call time 0.
    pub answered: Option<UtcMillis>,
    /// Another process had answered it, and this one went on with it from then on.
    pub restored: Option<UtcMillis>,
    /// It was over; None: not while this process ran.
    pub ended: Option<UtcMillis>,
    /// Rule that decided at the INVITE.
    pub rule: Box<str>,
    /// What it decided: `connect`, `watch`, `divert`, `reject`.
    pub route: Label,
    /// Whether that was done: `done`, `observed`, `not enforced`.
    pub route_enforcement: Label,
    /// The caller was listened to.
    pub analysed: bool,
    /// Why not, where the call was answered and not listened to.
    pub not_analysed: Option<Label>,
    /// The verdict over time; the last one is final.
    pub verdicts: Vec<Judgement>,
    /// Verdicts between the kept ones that found no room.
    pub verdicts_left_out: u32,
    /// Actions on the running call, in their order.
    pub steps: Vec<Step>,
    /// The callee pressed the take-back key then, though the caller may have been gone.
    pub taken_back: Option<CallTime>,
    /// The callee's keys reached the caller again from then on, and why: `callee`, `live`. In a box: few calls are
    /// guarded.
    pub lifted: Option<Box<(CallTime, Label)>>,
    /// Keys pressed by each side: how many, never which.
    pub digits: PerLeg<u32>,
    /// How it ended.
    pub ending: EndingRecord,
}

/// A verdict as it was at one time.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// When.
    pub at: CallTime,
    /// The most probable class.
    pub class: Label,
    /// Of each class, in the order of [`Class::ALL`].
    pub probabilities: [f32; 4],
    /// Strongest first.
    pub reasons: Vec<ReasonRecord>,
}

/// One contribution to a verdict.
#[derive(Clone, Debug, PartialEq)]
pub struct ReasonRecord {
    /// What was measured, in words.
    pub text: Arc<str>,
    /// Name of its weight.
    pub weight: Arc<str>,
    /// What it added, in natural log-odds.
    pub log_odds: f32,
}

/// An action on the running call.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// When.
    pub at: CallTime,
    /// `guard`, `whisper`, `divert` or `hang_up`.
    pub action: Label,
    /// Threshold that asked for it.
    pub rule: String,
    /// `done`, `observed` or `not enforced`.
    pub enforcement: Label,
    /// What was thought of the call, and why.
    pub verdict: Judgement,
}

/// How a call ended.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct EndingRecord {
    /// `caller` or `callee`; None: Ringfence.
    pub by: Option<Label>,
    /// `bye`, `cancelled`, ... or [`UNFINISHED`].
    pub how: Label,
    /// Status that ended the set-up.
    pub status: Option<u16>,
    /// From the answer to the end.
    pub talked: Option<Duration>,
}

/// One line of a list of calls.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CallSummary {
    /// 16 hexadecimal digits.
    #[serde(serialize_with = "displayed")]
    pub id: CallId,
    /// The INVITE came.
    pub began: UtcMillis,
    /// `inbound` or `outbound`.
    pub direction: Label,
    /// `withheld`, `number` or `name`.
    pub caller_kind: Label,
    /// The caller's number or name, if it is stored.
    pub caller: Option<String>,
    /// Number or extension that was called, if it is stored.
    pub called: Option<String>,
    /// Address that sent the INVITE.
    pub source: IpAddr,
    /// `[[trunk]] name`.
    pub trunk: Option<Box<str>>,
    /// Rule that decided at the INVITE.
    pub rule: Box<str>,
    /// What it decided.
    pub route: Label,
    /// Whether that was done.
    pub route_enforcement: Label,
    /// Final class; None: never judged.
    pub class: Option<Label>,
    /// Its probability.
    pub probability: Option<f32>,
    /// The strongest action on the running call.
    pub action: Option<Label>,
    /// Whether that was done.
    pub action_enforcement: Option<Label>,
    /// When, in milliseconds since the answer.
    pub action_at_ms: Option<u64>,
    /// The callee pressed the take-back key.
    pub taken_back: bool,
    /// The callee's keys were held, and reached the caller again later.
    pub guard_lifted: bool,
    /// How it ended.
    pub how: Label,
    /// From the answer to the end, in milliseconds.
    pub talked_ms: Option<u64>,
}

impl CallRecord {
    /// The verdict that stood at the end.
    #[must_use]
    pub fn verdict(&self) -> Option<&Judgement> {
        self.verdicts.last()
    }

    /// The last action: each is stronger than the one before it.
    #[must_use]
    pub fn action(&self) -> Option<&Step> {
        self.steps.last()
    }

    /// It was taken away from its caller.
    #[must_use]
    pub fn was_diverted(&self) -> bool {
        self.steps.iter().any(|step| step.action == StepUp::Divert.label() && step.is_done())
    }

    /// Its line in a list.
    #[must_use]
    pub fn summary(&self) -> CallSummary {
        let (verdict, action) = (self.verdict(), self.action());
        CallSummary {
            id: self.id,
            began: self.began,
            direction: self.direction.clone(),
            caller_kind: self.caller_kind.clone(),
            caller: self.caller.clone(),
            called: self.called.clone(),
            source: self.source,
            trunk: self.trunk.clone(),
            rule: self.rule.clone(),
            route: self.route.clone(),
            route_enforcement: self.route_enforcement.clone(),
            class: verdict.map(|verdict| verdict.class.clone()),
            probability: verdict.map(Judgement::probability),
            action: action.map(|step| step.action.clone()),
            action_enforcement: action.map(|step| step.enforcement.clone()),
            action_at_ms: action.map(|step| step.at.as_millis()),
            taken_back: self.taken_back.is_some(),
            guard_lifted: self.lifted.is_some(),
            how: self.ending.how.clone(),
            talked_ms: self.ending.talked.map(|talked| CallTime(talked).as_millis()),
        }
    }
}

impl Step {
    /// It was carried out.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.enforcement == Enforcement::Done.label()
    }
}

impl CallSummary {
    /// The same with numbers shortened, for places that strangers may see.
    #[must_use]
    pub fn redacted(mut self) -> Self {
        for number in [&mut self.caller, &mut self.called].into_iter().flatten() {
            *number = redact_number(number);
        }
        self
    }
}

impl Judgement {
    /// Nobody had spoken.
    #[must_use]
    pub fn is_no_speech(&self) -> bool {
        self.class == Class::NoSpeech.label()
    }

    /// Probability of its own class.
    #[must_use]
    pub fn probability(&self) -> f32 {
        let of_class = Class::ALL.iter().zip(self.probabilities).find(|(class, _)| class.label() == self.class);
        of_class.map_or(0.0, |(_, probability)| probability)
    }
}

/// The first `limit` bytes of `text`, or a little less where a character would be cut.
#[must_use]
pub fn clip(text: &str, limit: usize) -> &str {
    text.get(..text.floor_char_boundary(limit)).unwrap_or_default()
}

fn displayed<S: serde::Serializer>(id: &CallId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_text_ends_between_characters() {
        assert_eq!(clip("aé", 2), "a");
        assert_eq!(clip("aé", 3), "aé");
        assert_eq!(clip("", 3), "");
    }

    #[test]
    fn a_time_before_1970_counts_as_0() {
        assert_eq!(UtcMillis::from(SystemTime::UNIX_EPOCH - Duration::from_secs(1)), UtcMillis(0));
    }
}
