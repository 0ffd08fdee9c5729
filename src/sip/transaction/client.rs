//! The two client machines: RFC 3261 §17.1 with RFC 6026 §7.2.

use std::sync::Arc;
use std::time::Instant;

use super::ClientKind;
use super::timing::{Repeat, T1X64, T2, T4, TIMER_C, TIMER_D};
use crate::sip::flow::{Flow, Hop};
use crate::sip::wire::StatusCode;

/// One request that we sent, or are about to send.
#[derive(Debug)]
pub(super) struct Client {
    pub kind: ClientKind,
    pub state: State,
    /// Which way it went; set by `send`.
    pub sent: Option<Flow>,
    /// What was sent, until it has succeeded.
    pub request: Option<Arc<[u8]>>,
    /// The CANCEL of this INVITE.
    pub cancel: Cancel,
    /// Another way for it, where nothing has come of the first.
    pub fallback: Option<Box<Fallback>>,
    /// It has gone that way: what is told of the first is of no interest any more.
    pub fell_back: bool,
    /// Its connection has ended behind it, and it has gone, or goes, once more.
    pub again: bool,
}

/// A request that is too large for a datagram has gone over a connection; it goes as a datagram where that fails (RFC
/// 3261 §18.1.1).
#[derive(Debug)]
pub(super) struct Fallback {
    pub flow: Flow,
    pub bytes: Arc<[u8]>,
    /// Without any response by then: of an INVITE, which has one at once where it is read (RFC 3261 §17.2.1). Another
    /// request may be thought about. A connection that cannot be made is told in any case.
    pub at: Option<Instant>,
}

/// The CANCEL is a transaction of its own with the INVITE's branch, so it lives with it.
#[derive(Debug)]
pub(super) enum Cancel {
    /// None asked for.
    No,
    /// Asked for before any 1xx: it goes out with the first (RFC 3261 §9.1).
    Waiting(Arc<[u8]>),
    /// Sent: timers E and F, and the INVITE's own end 64*T1 later (RFC 3261 §9.1).
    Sent { bytes: Arc<[u8]>, repeat: Option<Repeat> },
    /// Answered.
    Done,
}

#[derive(Debug)]
pub(super) enum State {
    /// Reserved, nothing sent: the owner builds the request in the same step, so there is no deadline.
    Reserved,
    /// INVITE sent, no response: timer A repeats it (UDP), timer B gives up.
    Calling { repeat: Option<Repeat>, give_up: Instant },
    /// INVITE with a 1xx: timer C, or the end of a cancelled one.
    Proceeding { give_up: Instant },
    /// INVITE with a failure: further ones are acknowledged until timer D. The ACK is kept.
    Completed { ack: Option<Arc<[u8]>>, until: Instant },
    /// INVITE with a 2xx: further ones go to the owner until timer M (RFC 6026 §7.2).
    Accepted { until: Instant },
    /// Another request: timer E repeats it (UDP), timer F gives up.
    Trying { repeat: Option<Repeat>, give_up: Instant },
    /// Another request, answered: timer K.
    Answered { until: Instant },
}

/// What a deadline brought.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Step {
    /// Nothing for the owner.
    Nothing,
    /// Send this again.
    Send(Arc<[u8]>),
    /// Send this, which is the same another way.
    FellBack(Arc<[u8]>),
    /// Timers B, F or C.
    TimedOut,
    /// Over.
    End,
}

/// What is done with a response.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Disposition {
    /// To the owner.
    Deliver,
    /// To the owner, and this failure must be acknowledged.
    DeliverAndAck,
    /// Acknowledge again.
    Ack(Arc<[u8]>),
    /// Nothing.
    Absorb,
}

impl Client {
    pub(super) fn reserved(kind: ClientKind) -> Self {
        Self {
            kind,
            state: State::Reserved,
            sent: None,
            request: None,
            cancel: Cancel::No,
            fallback: None,
            fell_back: false,
            again: false,
        }
    }

    pub(super) fn send(&mut self, flow: Flow, bytes: Arc<[u8]>, now: Instant) {
        let repeat = (!flow.transport.is_reliable()).then(|| Repeat::starting(now));
        let give_up = now + T1X64;
        self.state = match self.kind {
            ClientKind::Invite => State::Calling { repeat, give_up },
            ClientKind::NonInvite => State::Trying { repeat, give_up },
        };
        (self.sent, self.request) = (Some(flow), Some(bytes));
    }

    fn is_reliable(&self) -> bool {
        self.sent.is_some_and(|flow| flow.transport.is_reliable())
    }

    /// Goes the other way: what is to be sent now. None: there is none, or something has come of the first.
    pub(super) fn fall_back(&mut self, now: Instant) -> Option<Arc<[u8]>> {
        let fallback = self.fallback.take()?;
        match (&self.state, &self.cancel) {
            (State::Calling { .. } | State::Trying { .. }, Cancel::No) => {
                self.send(fallback.flow, Arc::clone(&fallback.bytes), now);
                self.fell_back = true;
                Some(fallback.bytes)
            }
            (_, Cancel::No | Cancel::Waiting(_) | Cancel::Sent { .. } | Cancel::Done) => None,
        }
    }

    /// A connection to `hop` has ended. A request that left on it may never have been read there: it goes once more.
    /// Where it has not left, it is given up before.
    pub(super) fn lose_way(&mut self, hop: Hop, now: Instant) {
        let went = self.sent.is_some_and(|flow| flow.transport.is_reliable() && flow.hop() == hop);
        match (&mut self.state, &self.cancel) {
            (State::Calling { repeat, .. } | State::Trying { repeat, .. }, Cancel::No) if went && !self.again => {
                *repeat = Some(Repeat::at(now));
                self.again = true;
            }
            (_, Cancel::No | Cancel::Waiting(_) | Cancel::Sent { .. } | Cancel::Done) => {}
        }
    }

    /// True while nothing final has come of it.
    pub(super) fn is_waiting(&self) -> bool {
        match &self.state {
            State::Calling { .. } | State::Proceeding { .. } | State::Trying { .. } => true,
            State::Reserved | State::Completed { .. } | State::Accepted { .. } | State::Answered { .. } => false,
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let own = match &self.state {
            State::Reserved => None,
            State::Calling { repeat, give_up } | State::Trying { repeat, give_up } => {
                Some(repeat.map_or(*give_up, |repeat| repeat.due().min(*give_up)))
            }
            State::Proceeding { give_up } => Some(*give_up),
            State::Completed { until, .. } | State::Accepted { until } | State::Answered { until } => Some(*until),
        };
        let own = own.into_iter().chain(self.fallback.as_ref().and_then(|fallback| fallback.at)).min();
        match &self.cancel {
            Cancel::Sent { repeat: Some(repeat), .. } => Some(own.map_or(repeat.due(), |own| own.min(repeat.due()))),
            Cancel::No | Cancel::Waiting(_) | Cancel::Sent { repeat: None, .. } | Cancel::Done => own,
        }
    }

    /// Asks for the CANCEL. Some: send it now.
    pub(super) fn ask_cancel(&mut self, bytes: Arc<[u8]>, now: Instant) -> Option<Arc<[u8]>> {
        match (&self.state, &self.cancel) {
            (State::Calling { .. }, Cancel::No) => {
                self.cancel = Cancel::Waiting(bytes);
                None
            }
            (State::Proceeding { .. }, Cancel::No) => Some(self.begin_cancel(bytes, now)),
            (
                State::Reserved
                | State::Calling { .. }
                | State::Proceeding { .. }
                | State::Completed { .. }
                | State::Accepted { .. }
                | State::Trying { .. }
                | State::Answered { .. },
                _,
            ) => None,
        }
    }

    /// The CANCEL that waited for the first 1xx.
    pub(super) fn release_cancel(&mut self, now: Instant) -> Option<Arc<[u8]>> {
        match (&self.state, &self.cancel) {
            (State::Proceeding { .. }, Cancel::Waiting(bytes)) => {
                let bytes = Arc::clone(bytes);
                Some(self.begin_cancel(bytes, now))
            }
            (_, Cancel::Waiting(_) | Cancel::No | Cancel::Sent { .. } | Cancel::Done) => None,
        }
    }

    fn begin_cancel(&mut self, bytes: Arc<[u8]>, now: Instant) -> Arc<[u8]> {
        let reliable = self.is_reliable();
        let repeat = (!reliable).then(|| Repeat::starting(now));
        self.cancel = Cancel::Sent { bytes: Arc::clone(&bytes), repeat };
        self.state = State::Proceeding { give_up: now + T1X64 };
        bytes
    }

    pub(super) fn take_cancel_response(&mut self, code: StatusCode) {
        if code.is_final() {
            match &self.cancel {
                Cancel::Sent { .. } => self.cancel = Cancel::Done,
                Cancel::No | Cancel::Waiting(_) | Cancel::Done => {}
            }
        }
    }

    pub(super) fn take_response(&mut self, code: StatusCode, now: Instant) -> Disposition {
        self.fallback = None;
        let reliable = self.is_reliable();
        match &mut self.state {
            State::Reserved => Disposition::Absorb,
            State::Calling { .. } | State::Proceeding { .. } if code.is_provisional() => {
                let cancelled = matches!(self.cancel, Cancel::Sent { .. } | Cancel::Done);
                if !cancelled {
                    self.state = State::Proceeding { give_up: now + TIMER_C };
                }
                Disposition::Deliver
            }
            State::Calling { .. } | State::Proceeding { .. } if code.is_success() => {
                self.state = State::Accepted { until: now + T1X64 };
                self.cancel = Cancel::Done;
                // Half a minute remains in which only further 2xx count.
                self.request = None;
                Disposition::Deliver
            }
            State::Calling { .. } | State::Proceeding { .. } => {
                self.cancel = Cancel::Done;
                Disposition::DeliverAndAck
            }
            State::Accepted { .. } if code.is_success() => Disposition::Deliver,
            State::Completed { ack: Some(ack), .. } if code.is_final() && !code.is_success() => {
                Disposition::Ack(Arc::clone(ack))
            }
            State::Trying { repeat, .. } if code.is_provisional() => {
                if let Some(repeat) = repeat {
                    repeat.slow_down(now);
                }
                Disposition::Deliver
            }
            State::Trying { .. } => {
                self.state = State::Answered { until: if reliable { now } else { now + T4 } };
                if code.is_success() {
                    self.request = None;
                }
                Disposition::Deliver
            }
            State::Accepted { .. } | State::Completed { .. } | State::Answered { .. } => Disposition::Absorb,
        }
    }

    /// The failure has been acknowledged; `ack` is None where none could be made.
    pub(super) fn complete(&mut self, ack: Option<Arc<[u8]>>, now: Instant) {
        let reliable = self.is_reliable();
        self.state = State::Completed { ack, until: if reliable { now } else { now + TIMER_D } };
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) -> Step {
        if self.fallback.as_ref().and_then(|fallback| fallback.at).is_some_and(|at| now >= at) {
            return self.fall_back(now).map_or(Step::Nothing, Step::FellBack);
        }
        if let Cancel::Sent { bytes, repeat: Some(repeat) } = &mut self.cancel
            && now >= repeat.due()
        {
            repeat.back_off(T2);
            return Step::Send(Arc::clone(bytes));
        }
        let reliable = self.is_reliable();
        match &mut self.state {
            State::Calling { give_up, .. } | State::Trying { give_up, .. } | State::Proceeding { give_up }
                if now >= *give_up =>
            {
                Step::TimedOut
            }
            State::Calling { repeat: once @ Some(_), .. } | State::Trying { repeat: once @ Some(_), .. }
                if reliable =>
            {
                *once = None;
                self.request.clone().map_or(Step::Nothing, Step::Send)
            }
            State::Calling { repeat: Some(repeat), .. } if now >= repeat.due() => {
                // Timer A doubles without bound; timer B ends it (RFC 3261 §17.1.1.2).
                repeat.back_off(T1X64);
                self.request.clone().map_or(Step::Nothing, Step::Send)
            }
            State::Trying { repeat: Some(repeat), .. } if now >= repeat.due() => {
                repeat.back_off(T2);
                self.request.clone().map_or(Step::Nothing, Step::Send)
            }
            State::Completed { until, .. } | State::Accepted { until } | State::Answered { until } if now >= *until => {
                Step::End
            }
            State::Reserved
            | State::Calling { .. }
            | State::Proceeding { .. }
            | State::Completed { .. }
            | State::Accepted { .. }
            | State::Trying { .. }
            | State::Answered { .. } => Step::Nothing,
        }
    }
}
