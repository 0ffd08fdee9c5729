//! An answered call as plain data, so that another process can go on with it.
//!
//! Out: an [`Entry`] whenever something has changed that going on depends on. Times count back from the moment it was
//! taken, as no two processes share a clock that only runs forward. Where it is kept, and how old it has become, is the
//! driver's business; what becomes of it is in `restore`.
//!
//! What is not kept: transactions, whose messages the peers repeat (but for the INVITE, see `resumed`); the ear, which
//! would have to hear the opening again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::diversion::Diversion;
use super::event::Lifted;
use super::forward::Party;
use super::input::Output;
use super::resumed::Invited;
use super::security::Secured;
use super::settings::Side;
use super::state::Call;
use super::switchboard::Switchboard;
use super::video::VideoSnapshot;
use crate::policy::action::{Enforcement, RouteDecision, StepUpDecision};
use crate::policy::facts::Facts;
use crate::policy::judge::Verdict;
use crate::rtp::control::StreamPlan;
use crate::sip::flow::Flow;
use crate::units::{CallId, CallTime, PerLeg};

/// What is to be kept of a call from now on.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub enum Entry {
    /// This, in place of what was kept before.
    Runs(Box<Snapshot>),
    /// Nothing: it is over.
    Over(CallId),
}

impl Entry {
    /// Whose.
    #[must_use]
    pub fn call(&self) -> CallId {
        match self {
            Self::Runs(snapshot) => snapshot.call,
            Self::Over(call) => *call,
        }
    }
}

/// Everything that going on with an answered call takes.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Snapshot {
    /// Its name stays.
    pub call: CallId,
    /// Of both dialogs.
    pub sip_call_id: Arc<str>,
    /// By what its INVITE is known again.
    #[serde(default)]
    pub invited: Option<Invited>,
    /// The caller's side.
    pub from: Side,
    /// The trunk on its outside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trunk: Option<Arc<str>>,
    /// How each peer is reached.
    pub flow: PerLeg<Flow>,
    /// Each leg's dialog: tags, target, routes, CSeq.
    pub party: PerLeg<Party>,
    /// There is a callee's leg: we did not answer by ourselves.
    pub has_callee: bool,
    /// Our RTP port towards each peer.
    pub ports: PerLeg<u16>,
    /// What each peer's description says.
    pub plan: PerLeg<StreamPlan>,
    /// Where media of a peer come from, where that is not what its description says.
    pub latched: PerLeg<Option<SocketAddr>>,
    /// Its video, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub video: Option<VideoSnapshot>,
    /// What has been said of SRTP.
    #[serde(default)]
    pub secured: Option<Secured>,
    /// By the last description that was accepted.
    pub on_hold: bool,
    /// Its callee is to be warned when the hold ends.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub whisper_waits: bool,
    /// The session timer: its interval and what was left of it.
    #[serde(default)]
    pub session: Option<(Duration, Duration)>,
    /// A diversion under way.
    pub diversion: Option<Diverting>,
    /// Of its record.
    pub story: Story,
}

/// How far a diversion has come.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Diverting {
    /// The caller has heard all.
    pub caller_done: bool,
    /// The callee has heard all.
    pub callee_done: bool,
    /// The caller's leg is over.
    pub caller_gone: bool,
}

/// What a call's record says so far.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Story {
    /// What rules looked at.
    pub facts: Facts,
    /// Of the settings that it began with.
    pub generation: u64,
    /// What was decided at the INVITE.
    pub decision: RouteDecision,
    /// Whether it was done.
    pub enforcement: Enforcement,
    /// How long ago the INVITE came.
    pub began: Duration,
    /// How long ago the callee's phone rang first.
    pub rang: Option<Duration>,
    /// How long ago the callee answered.
    pub answered: Duration,
    /// The caller was listened to.
    pub analysed: bool,
    /// Why not.
    pub not_analysed: Option<Arc<str>>,
    /// The last verdict.
    pub verdict: Option<Verdict>,
    /// Actions, in their order.
    pub steps: Vec<SteppedUp>,
    /// The callee pressed the take-back key then, though the caller may have been gone.
    pub taken_back: Option<CallTime>,
    /// Keys were no longer held back from then on.
    #[serde(default)]
    pub lifted: Option<(CallTime, Lifted)>,
    /// Keys pressed by each side.
    pub digits: PerLeg<u32>,
}

/// An action on a running call.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct SteppedUp {
    /// When.
    pub at: CallTime,
    /// What and why.
    pub decision: StepUpDecision,
    /// Whether it was done.
    pub enforcement: Enforcement,
}

impl Story {
    /// Its times, once it has lain for `age`.
    pub(super) fn grow_older(&mut self, age: Duration) {
        self.began = self.began.saturating_add(age);
        self.rang = self.rang.map(|rang| rang.saturating_add(age));
        self.answered = self.answered.saturating_add(age);
    }
}

impl Switchboard {
    /// Tells of every change of an answered call by [`Output::Journal`].
    #[must_use]
    pub fn with_journal(mut self) -> Self {
        self.journals = true;
        self
    }

    /// Going on with this call depends on something that has changed.
    pub(super) fn changed(&mut self, call: CallId) {
        if self.journals && !self.changed.contains(&call) {
            self.changed.push(call);
        }
    }

    /// Tells what has changed since the last input, once for each call.
    pub(super) fn journal(&mut self, now: Instant) {
        let mut changed = std::mem::take(&mut self.changed);
        for id in changed.drain(..) {
            if let Some(snapshot) = self.calls.get(&id).and_then(|call| snapshot(call, now)) {
                self.out(Output::Journal(Entry::Runs(Box::new(snapshot))));
            }
        }
        self.changed = changed;
    }
}

/// None: not answered, or without ports.
fn snapshot(call: &Call, now: Instant) -> Option<Snapshot> {
    let ago = |at: Instant| now.saturating_duration_since(at);
    let (decision, enforcement) = call.record.routed.clone()?;
    let story = Story {
        facts: call.facts.clone(),
        generation: call.record.generation,
        decision,
        enforcement,
        began: ago(call.began),
        rang: call.rang.map(ago),
        answered: ago(call.answered?),
        analysed: call.record.analysed,
        not_analysed: call.record.not_analysed.clone(),
        verdict: call.record.verdict.as_deref().cloned(),
        steps: call.record.steps.clone(),
        taken_back: call.record.taken_back,
        lifted: call.record.lifted,
        digits: call.record.digits,
    };
    let ports = call.media.ports?;
    Some(Snapshot {
        call: call.id,
        sip_call_id: Arc::clone(&call.call_id),
        invited: call.invited.clone(),
        from: call.from,
        trunk: call.trunk.clone(),
        flow: call.flow,
        party: call.party.clone(),
        has_callee: call.has_callee,
        ports: PerLeg::from_fn(|leg| ports[leg].port()),
        plan: call.media.plan.clone(),
        latched: call.media.latched,
        video: call.video.as_ref().and_then(|video| video.snapshot()),
        secured: call.security.as_ref().map(|security| security.said),
        on_hold: call.media.is_on_hold(),
        whisper_waits: call.guard.as_ref().is_some_and(|guard| guard.whisper_waits),
        session: call.session.timer.map(|(interval, until)| (interval, until.saturating_duration_since(now))),
        diversion: call.diversion.as_ref().map(Diversion::progress),
        story,
    })
}
