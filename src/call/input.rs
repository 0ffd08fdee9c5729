//! What goes into a switchboard, and what comes out of it.

use std::sync::Arc;
use std::time::Duration;

use super::event::Happened;
use super::settings::Settings;
use super::snapshot::{Entry, Snapshot};
use super::trunks::TrunkEvent;
use crate::policy::facts::{Facts, OverLimit};
use crate::policy::judge::Verdict;
use crate::policy::rules::Policy;
use crate::rtp::control::{MediaCommand, MediaEvent};
use crate::sip::flow::{Flow, Hop};
use crate::sip::transaction::Transmit;
use crate::sip::wire::BadMessage;
use crate::units::CallId;

/// What comes in.
pub enum Input<'a> {
    /// One message that the gate has let through: a datagram, or one frame of a stream.
    Message {
        /// As it came.
        bytes: &'a [u8],
        /// From where, through which socket.
        flow: Flow,
    },
    /// A stream cannot be read on; its sender is told where that can be, and its connection ends.
    BadFrame {
        /// What was read of the message.
        head: &'a [u8],
        /// What is wrong with it.
        error: BadMessage,
        /// From where.
        flow: Flow,
    },
    /// What [`Output::Transmit`] asked for did not leave.
    Unsent {
        /// The message.
        bytes: &'a [u8],
    },
    /// A connection that we had opened has ended.
    Ended {
        /// Where it led.
        hop: Hop,
    },
    /// Answer to [`Output::Consult`].
    Consulted {
        /// Which call.
        call: CallId,
        /// A limit it went over.
        over_limit: Option<OverLimit>,
        /// The PBX has dialled the caller lately.
        dialled_before: bool,
        /// Local hour, 0 to 23.
        hour: u8,
        /// 0 is Monday.
        weekday: u8,
    },
    /// What the media path tells a call.
    Media {
        /// Which call.
        call: CallId,
        /// What.
        event: MediaEvent,
    },
    /// What the ear thinks of a call now.
    Judged {
        /// Which call.
        call: CallId,
        /// What it thinks.
        verdict: Verdict,
    },
    /// The settings are those that the switchboard was made with: trunks are registered with and asked from now on.
    Start,
    /// New settings, for calls that begin from now on.
    Settings(Arc<Settings>),
    /// An operator ends a call.
    HangUp {
        /// Which.
        call: CallId,
    },
    /// An operator takes a call away from its caller.
    Divert {
        /// Which.
        call: CallId,
    },
    /// A call of another process, to go on with. Before any datagram.
    Restore {
        /// As that process left it.
        snapshot: Box<Snapshot>,
        /// Since it was taken.
        age: Duration,
    },
    /// What was kept of a call that a fault of ours has cost: answer to [`Output::Recall`].
    Lost {
        /// As it was when something of it last changed.
        snapshot: Box<Snapshot>,
    },
    /// The machine has slept: what is registered is older than it seems.
    Awake,
    /// No new calls, and no registration that brings any; running ones go on.
    Drain,
    /// End what is left.
    EndAll,
    /// No new calls, and end those that no other process can go on with.
    EndUnanswered,
}

/// What should happen.
#[derive(Debug)]
pub enum Output {
    /// Send a message. Where it cannot leave, say so with [`Input::Unsent`] (streams only: UDP repeats).
    Transmit(Transmit),
    /// Ask gate and history about a new call; answer with [`Input::Consulted`].
    Consult {
        /// Which call.
        call: CallId,
        /// Nobody can have forged its source: the call came on a connection.
        proven: bool,
        /// What is known without them.
        facts: Box<Facts>,
        /// It says which number is limited.
        policy: Arc<Policy>,
    },
    /// Tell the media path.
    Media(MediaCommand),
    /// Keep this for a process that may have to go on with the call.
    Journal(Entry),
    /// A fault of ours has cost a call: what is kept of it is asked for, with [`Input::Lost`], before its
    /// [`Entry::Over`].
    Recall(CallId),
    /// Tell the observers.
    Happened(Happened),
    /// Tell them about a trunk.
    Trunk(TrunkEvent),
}

/// Live entries of all tables: all 0 after a soak.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Sizes {
    /// Calls.
    pub calls: usize,
    /// Requests that are being passed on.
    pub relayed: usize,
    /// INVITEs of ours that nobody waits for any more.
    pub orphans: usize,
    /// Ends that are asked whether they are there.
    pub questions: usize,
    /// Server transactions.
    pub server_transactions: usize,
    /// Client transactions.
    pub client_transactions: usize,
    /// Requests of our own to trunks.
    pub trunk_requests: usize,
    /// Sources that are known for a call only.
    pub guests: usize,
}
