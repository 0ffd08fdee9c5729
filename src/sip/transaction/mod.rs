//! The four transaction machines (RFC 3261 §17, RFC 6026) and their table.
//!
//! In: messages, answers and requests of the owner, `now`. Out: bytes to send, events. Matching, repetition and
//! lingering are in here; what a request means is not.
//!
//! Invariants: both tables have a hard cap; every transaction has exactly one deadline at any time, so every one ends,
//! but for those that wait for their owner: an INVITE without a final answer, and a reservation;
//! [`TransactionEvent::ServerEnded`] or [`TransactionEvent::ClientEnded`] is the last word on an id.

mod client;
mod deadlines;
mod derive;
mod key;
mod server;
mod slab;
mod table;
mod timing;

#[cfg(test)]
mod tests;

pub use table::{NO_STREAM, TransactionSettings, Transactions};
pub use timing::{Repeat, T1, T1X64, T2};

use std::sync::Arc;

use super::flow::Flow;

/// A server transaction: a request we received. Slot and generation, so a stale one never meets another's state.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct ServerId {
    pub(super) slot: u32,
    pub(super) generation: u32,
}

/// A client transaction: a request we sent.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ClientId {
    pub(super) slot: u32,
    pub(super) generation: u32,
}

/// Answer to "what is this message?".
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Received {
    /// Dealt with: a repetition, answered again where there is an answer; an ACK to a failure; a forged response.
    Absorbed,
    /// A new request; answer it with [`Transactions::respond`].
    Request(ServerId),
    /// An ACK for a 2xx: it belongs to the dialog and has no transaction.
    AckToSuccess,
    /// A CANCEL, already answered with 200 or 481. The owner of `invite` ends the INVITE with 487.
    Cancel {
        /// What it cancels, if that still waits for a final answer.
        invite: Option<ServerId>,
    },
    /// A response to a request of ours; of an INVITE also each further 1xx and 2xx.
    Response(ClientId),
    /// No room for a new request.
    Full,
}

/// Which part of the table a new request may have. What is left to those before it no flood can take, from however many
/// addresses it comes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Claim {
    /// It is of a call that is there: the last slot.
    OfCall,
    /// Of one that has asked for more than its share: half.
    OfBusyCall,
    /// From our own side: all but a thirty-second.
    Ours,
    /// From anybody else: all but a sixteenth.
    Others,
}

impl Claim {
    /// Slots that are left to those before it.
    fn leaves(self, capacity: usize) -> usize {
        match self {
            Self::OfCall => 0,
            Self::OfBusyCall => capacity / 2,
            Self::Ours => capacity / 32,
            Self::Others => capacity / 16,
        }
    }
}

/// What happened without a message for the owner.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TransactionEvent {
    /// No final response in time (timers B and F, or the wait behind a CANCEL).
    ClientTimeout(ClientId),
    /// The request did not leave (RFC 3261 §8.1.3.1: to be treated as a 503).
    ClientUnsent(ClientId),
    /// Nothing came over a connection, and it has been sent as a datagram.
    FellBack(ClientId),
    /// Over, and its slot free.
    ServerEnded(ServerId),
    /// Over, and its slot free.
    ClientEnded(ClientId),
}

/// Bytes to send, as they are.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Transmit {
    /// Which way.
    pub flow: Flow,
    /// One message.
    pub bytes: Arc<[u8]>,
}

/// Which machine a request of ours runs in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ClientKind {
    /// RFC 3261 §17.1.1.
    Invite,
    /// RFC 3261 §17.1.2.
    NonInvite,
}
