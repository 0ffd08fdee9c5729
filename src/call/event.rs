//! What observers are told. Plain facts; who logs, counts or stores them is not known here.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::snapshot::Story;
use crate::policy::action::{Enforcement, RouteDecision, StepUpDecision};
use crate::policy::facts::Facts;
use crate::policy::judge::Verdict;
use crate::units::{CallId, CallTime, Leg};

/// An event of one call.
#[derive(Clone, Debug)]
pub struct Happened {
    /// Which call.
    pub call: CallId,
    /// When.
    pub at: Instant,
    /// What.
    pub event: Event,
}

/// Milestones of a call.
#[derive(Clone, Debug)]
pub enum Event {
    /// Its INVITE came, and its facts are known.
    Began {
        /// What rules looked at.
        facts: Facts,
        /// As on the wire.
        sip_call_id: Arc<str>,
        /// Of the settings that it keeps.
        generation: u64,
    },
    /// Another process answered it, and this one goes on with it.
    Restored {
        /// As on the wire.
        sip_call_id: Arc<str>,
        /// What was known of it when that process ended, with times that count back from now.
        story: Box<Story>,
    },
    /// What happens to it.
    Routed {
        /// By which rule.
        decision: RouteDecision,
        /// Was it done?
        enforcement: Enforcement,
    },
    /// The callee's phone rings.
    Ringing,
    /// The callee answered: call time 0.
    Answered {
        /// The caller is listened to.
        analysed: bool,
        /// Why not.
        not_analysed: Option<NotAnalysed>,
    },
    /// The caller is listened to, and has sent for a second what cannot be heard. Told once a call.
    Unheard {
        /// When, since the answer.
        at: CallTime,
        /// Why it is not heard.
        not_analysed: NotAnalysed,
    },
    /// The verdict's class or a probability moved.
    Judged {
        /// The new one.
        verdict: Verdict,
    },
    /// An action on the running call.
    SteppedUp {
        /// When, since the answer.
        at: CallTime,
        /// What and why.
        decision: StepUpDecision,
        /// Was it done?
        enforcement: Enforcement,
    },
    /// The callee pressed the take-back key.
    TakenBack {
        /// When, since the answer.
        at: CallTime,
    },
    /// The callee's keys reach the caller again, for the rest of the call.
    GuardLifted {
        /// When, since the answer.
        at: CallTime,
        /// Why.
        by: Lifted,
    },
    /// A key was pressed.
    Digit {
        /// By whom.
        leg: Leg,
    },
    /// Over.
    Ended {
        /// How.
        ending: Ending,
    },
}

/// Why nobody listens to the caller of an answered call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NotAnalysed {
    /// Encrypted with keys that are not ours.
    Srtp,
    /// No codec of its can be heard.
    Codec,
    /// Its INVITE describes no media.
    NoSdp,
    /// The PBX calls.
    Outbound,
    /// A rule connects it.
    Trusted,
}

impl NotAnalysed {
    /// All.
    pub const ALL: [Self; 5] = [Self::Srtp, Self::Codec, Self::NoSdp, Self::Outbound, Self::Trusted];

    /// Fixed word for logs, metrics and records.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Srtp => "srtp",
            Self::Codec => "codec",
            Self::NoSdp => "no_sdp",
            Self::Outbound => "outbound",
            Self::Trusted => "trusted",
        }
    }

    /// As a person reads it.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Srtp => "encrypted media, and the keys are not ours",
            Self::Codec => "no codec that can be heard",
            Self::NoSdp => "no session description",
            Self::Outbound => "calls from the PBX are not analysed",
            Self::Trusted => "the rule that connects it trusts its caller",
        }
    }
}

/// Why keys are no longer held back.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub enum Lifted {
    /// The callee pressed nine twice.
    Callee,
    /// The caller turned out to be a person.
    Live,
}

impl Lifted {
    /// All of them.
    pub const ALL: [Lifted; 2] = [Self::Callee, Self::Live];

    /// Fixed word for logs and metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Callee => "callee",
            Self::Live => "live",
        }
    }

    /// For a person who reads of one call.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Callee => "the callee pressed nine twice",
            Self::Live => "the caller is a person",
        }
    }
}

/// Why a call ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum EndReason {
    /// One of its ends said BYE.
    Bye,
    /// The caller gave up before the answer.
    Cancelled,
    /// The callee's side answered with a failure.
    Refused,
    /// The callee's side asks for credentials, or for a longer session: the next INVITE brings them.
    Challenged,
    /// A rule, or what its INVITE offers.
    Rejected,
    /// The callee's side says nothing, or no request reaches it.
    Unreachable,
    /// The phone rang for too long.
    Unanswered,
    /// It was taken away, and all has been said.
    Diverted,
    /// An operator, or a verdict that says so.
    HungUp,
    /// Its media stopped, could not be had, or are not encrypted as they must be.
    Media,
    /// Our 2xx had no ACK.
    NoAck,
    /// No sign of life of its ends.
    Expired,
    /// Ringfence stops.
    Drained,
    /// Another process left it, and it could not go on.
    Restart,
    /// A fault of ours.
    Internal,
}

impl EndReason {
    /// Fixed word for logs, metrics and records.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Bye => "bye",
            Self::Cancelled => "cancelled",
            Self::Refused => "refused",
            Self::Challenged => "challenged",
            Self::Rejected => "rejected",
            Self::Unreachable => "unreachable",
            Self::Unanswered => "unanswered",
            Self::Diverted => "diverted",
            Self::HungUp => "hang_up",
            Self::Media => "media",
            Self::NoAck => "no_ack",
            Self::Expired => "expired",
            Self::Drained => "drained",
            Self::Restart => "restart",
            Self::Internal => "internal",
        }
    }
}

/// How a call ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ending {
    /// Who ended it; None: Ringfence.
    pub by: Option<Leg>,
    /// Why.
    pub how: EndReason,
    /// Status that ended the set-up.
    pub status: Option<u16>,
    /// From the answer to the end.
    pub talked: Option<Duration>,
}

/// Refused because there is no room for another call.
pub const NO_ROOM: &str = "no_room";

/// Counted facts that belong to no call.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// Datagrams of strangers.
    pub unknown_source: u64,
    /// Where the last of them came from.
    pub stranger: Option<SocketAddr>,
    /// Messages that were refused, by label.
    pub bad_message: BTreeMap<&'static str, u64>,
    /// Messages that belong to nothing.
    pub stray: u64,
    /// Requests for which there was no room.
    pub table_full: u64,
    /// New calls that were refused before anything was decided of them, by why; [`NO_ROOM`] is one.
    pub refused: BTreeMap<&'static str, u64>,
    /// Requests that went over TCP because they may not fit into a datagram.
    pub large_requests: u64,
    /// Those of them that then went over UDP.
    pub large_fell_back: u64,
}
