//! What may be done to a call.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::judge::Verdict;

/// What happens to a new call.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Route {
    /// Ring the callee, and do not listen: the caller is trusted.
    Connect,
    /// Ring the callee, listen after the answer.
    Watch,
    /// Answer it ourselves and play the announcement for callers; the callee's phone never rings.
    Divert,
    /// Refuse it.
    Reject(Rejection),
}

/// How a refusal is worded.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Rejection {
    /// 608, and an announcement first where the caller's side does not know it (RFC 8688 §3.2).
    Rejected,
    /// 603.
    Decline,
    /// 486.
    Busy,
    /// 404.
    NotFound,
}

/// What may be done to a running call, from mild to strong.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub enum StepUp {
    /// Hold the callee's digits back.
    Guard,
    /// Warn the callee only.
    Whisper,
    /// Take the call away.
    Divert,
    /// End it.
    HangUp,
}

/// Name of the rule that decided: `[[rule]] name`, or a built-in one.
pub type RuleId = Arc<str>;

/// A decision at the INVITE.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct RouteDecision {
    /// What to do.
    pub route: Route,
    /// The rule that says so.
    pub rule: RuleId,
}

/// A decision on a running call.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct StepUpDecision {
    /// What to do.
    pub action: StepUp,
    /// The threshold that says so, as `detect.divert_at`.
    pub rule: RuleId,
    /// Why.
    pub verdict: Verdict,
}

/// Whether a decision was carried out.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Enforcement {
    /// It was.
    Done,
    /// `enforce = false`: it would have been.
    Observed,
    /// It could not be: the callee was not there, or was hearing a warning already.
    NotEnforced,
}

impl Route {
    /// Fixed word for logs and metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Watch => "watch",
            Self::Divert => "divert",
            Self::Reject(_) => "reject",
        }
    }
}

impl StepUp {
    /// Fixed word for logs and metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Guard => "guard",
            Self::Whisper => "whisper",
            Self::Divert => "divert",
            Self::HangUp => "hang_up",
        }
    }
}

impl Enforcement {
    /// All of them.
    pub const ALL: [Enforcement; 3] = [Self::Done, Self::Observed, Self::NotEnforced];

    /// Fixed words for logs and records.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Observed => "observed",
            Self::NotEnforced => "not enforced",
        }
    }

    /// The same for a metric: one word.
    #[must_use]
    pub fn metric_label(self) -> &'static str {
        match self {
            Self::Done | Self::Observed => self.label(),
            Self::NotEnforced => "not_enforced",
        }
    }

    /// For a person who reads of one call.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Done => self.label(),
            Self::Observed => "not done, enforce = false",
            Self::NotEnforced => "decided and recorded, not enforced",
        }
    }
}
