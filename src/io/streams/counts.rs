//! What became of connections.

use std::collections::BTreeMap;

/// Why a connection ended, or never began.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum CloseReason {
    /// The peer closed it.
    Peer,
    /// The system says that it is broken.
    Broken,
    /// No whole message for too long.
    Idle,
    /// A message began and did not end in time.
    Unfinished,
    /// The peer does not read, or has gone without a word.
    SlowReader,
    /// Its bytes cannot be cut into messages.
    BadFrame,
    /// The TLS handshake failed, or what came later was no TLS.
    Tls,
    /// The TLS handshake took too long.
    Handshake,
    /// The peer cannot be connected to.
    Connect,
    /// The gate no longer hears its source.
    Gate,
    /// Too many connections in all.
    Full,
    /// Too many connections of its source.
    FullSource,
}

impl CloseReason {
    /// Fixed word for metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Peer => "peer",
            Self::Broken => "broken",
            Self::Idle => "idle",
            Self::Unfinished => "unfinished",
            Self::SlowReader => "slow_reader",
            Self::BadFrame => "bad_frame",
            Self::Tls => "tls",
            Self::Handshake => "handshake",
            Self::Connect => "connect",
            Self::Gate => "gate",
            Self::Full => "full",
            Self::FullSource => "full_source",
        }
    }
}

/// Counted facts; they grow for the life of the process.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// Connections that others opened.
    pub accepted: u64,
    /// Connections that we opened.
    pub opened: u64,
    /// Live connections now.
    pub live: usize,
    /// Ended or refused ones, by reason.
    pub closed: BTreeMap<&'static str, u64>,
    /// Messages that did not leave.
    pub unsent: u64,
}

impl Counts {
    pub(super) fn close(&mut self, reason: CloseReason) {
        *self.closed.entry(reason.label()).or_default() += 1;
    }
}
