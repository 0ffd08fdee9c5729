//! The two server machines: RFC 3261 §17.2 with RFC 6026 §7.1.

use std::sync::Arc;
use std::time::Instant;

use super::key::ServerKey;
use super::timing::{Repeat, T1X64, T2, T4, TRYING_AFTER};
use crate::sip::flow::Flow;
use crate::sip::wire::StatusCode;

/// One request that we received.
#[derive(Debug)]
pub(super) struct Server {
    pub key: ServerKey,
    pub flow: Flow,
    pub state: State,
    /// Its bytes, until it is finally answered.
    pub request: Option<Arc<[u8]>>,
    /// What answers a repetition, where that is for us.
    pub last_response: Option<Arc<[u8]>>,
}

#[derive(Debug)]
pub(super) enum State {
    /// INVITE without an answer: a 100 goes out at `trying`.
    Fresh { trying: Instant },
    /// INVITE with at most a 1xx so far. The owner answers; timer C of the client side ends a ringing that does not.
    Proceeding,
    /// INVITE with a failure sent: timer G repeats it (UDP), timer H gives up.
    Completed { repeat: Option<Repeat>, give_up: Instant },
    /// ACK received: timer I absorbs further ones.
    Confirmed { until: Instant },
    /// INVITE with a 2xx sent: repeated INVITEs are absorbed until timer L (RFC 6026 §7.1).
    Accepted { until: Instant },
    /// Another request, not finally answered; the owner has until timer F of the other side.
    Trying { until: Instant },
    /// Another request, finally answered: timer J.
    Answered { until: Instant },
}

/// What a deadline brought.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Step {
    /// Nothing for the owner.
    Nothing,
    /// Send the last response again.
    Repeat,
    /// Send a 100 for this request.
    SendTrying(Arc<[u8]>),
    /// Over.
    End,
}

impl Server {
    pub(super) fn invite(key: ServerKey, flow: Flow, request: &[u8], now: Instant) -> Self {
        let state = State::Fresh { trying: now + TRYING_AFTER };
        Self { key, flow, state, request: Some(request.into()), last_response: None }
    }

    pub(super) fn request(key: ServerKey, flow: Flow, request: &[u8], now: Instant) -> Self {
        // Twice the client's patience: an owner that never answers must not hold the slot for ever.
        let state = State::Trying { until: now + T1X64 * 2 };
        Self { key, flow, state, request: Some(request.into()), last_response: None }
    }

    /// An INVITE that was answered with a 2xx.
    pub(super) fn accepted(key: ServerKey, flow: Flow, answered: Instant) -> Self {
        let state = State::Accepted { until: answered + T1X64 };
        Self { key, flow, state, request: None, last_response: None }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Fresh { trying } => Some(*trying),
            State::Proceeding => None,
            State::Completed { repeat, give_up } => Some(repeat.map_or(*give_up, |repeat| repeat.due().min(*give_up))),
            State::Confirmed { until }
            | State::Accepted { until }
            | State::Trying { until }
            | State::Answered { until } => Some(*until),
        }
    }

    /// True if the owner may still answer with `code`.
    pub(super) fn respond(&mut self, code: StatusCode, bytes: Arc<[u8]>, now: Instant) -> bool {
        let reliable = self.flow.transport.is_reliable();
        match &self.state {
            State::Fresh { .. } | State::Proceeding => {
                self.state = if code.is_provisional() {
                    State::Proceeding
                } else if code.is_success() {
                    State::Accepted { until: now + T1X64 }
                } else {
                    let repeat = (!reliable).then(|| Repeat::starting(now));
                    State::Completed { repeat, give_up: now + T1X64 }
                };
            }
            State::Trying { .. } if code.is_provisional() => {}
            State::Trying { .. } => self.state = State::Answered { until: if reliable { now } else { now + T1X64 } },
            // The owner repeats its 2xx itself until the ACK (RFC 3261 §13.3.1.4).
            State::Accepted { .. } if code.is_success() => {}
            State::Accepted { .. } | State::Completed { .. } | State::Confirmed { .. } | State::Answered { .. } => {
                return false;
            }
        }
        if code.is_final() {
            self.request = None;
        }
        // It waits out half a minute after each call: a 2xx is its owner's to repeat, and not kept.
        self.last_response = (!matches!(self.state, State::Accepted { .. })).then_some(bytes);
        true
    }

    /// A repeated request: what to send again.
    pub(super) fn repeated(&self) -> Option<Arc<[u8]>> {
        match &self.state {
            State::Fresh { .. } | State::Confirmed { .. } | State::Accepted { .. } => None,
            State::Proceeding | State::Completed { .. } | State::Trying { .. } | State::Answered { .. } => {
                self.last_response.clone()
            }
        }
    }

    /// An ACK that matched. True: it was for a 2xx and is the dialog's.
    pub(super) fn ack(&mut self, now: Instant) -> bool {
        match &self.state {
            State::Completed { .. } => {
                let linger = if self.flow.transport.is_reliable() { now } else { now + T4 };
                self.state = State::Confirmed { until: linger };
                false
            }
            State::Accepted { .. } => true,
            State::Fresh { .. }
            | State::Proceeding
            | State::Confirmed { .. }
            | State::Trying { .. }
            | State::Answered { .. } => false,
        }
    }

    /// An INVITE that a CANCEL can still reach.
    pub(super) fn is_cancellable(&self) -> bool {
        matches!(self.state, State::Fresh { .. } | State::Proceeding)
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) -> Step {
        match &mut self.state {
            State::Fresh { .. } => {
                self.state = State::Proceeding;
                self.request.clone().map_or(Step::Nothing, Step::SendTrying)
            }
            // Timer H: no ACK to a failure of ours.
            State::Completed { give_up, .. } if now >= *give_up => Step::End,
            State::Completed { repeat: Some(repeat), .. } if now >= repeat.due() => {
                repeat.back_off(T2);
                Step::Repeat
            }
            State::Confirmed { until }
            | State::Accepted { until }
            | State::Trying { until }
            | State::Answered { until }
                if now >= *until =>
            {
                Step::End
            }
            State::Proceeding
            | State::Completed { .. }
            | State::Confirmed { .. }
            | State::Accepted { .. }
            | State::Trying { .. }
            | State::Answered { .. } => Step::Nothing,
        }
    }
}
