//! Where a message came from and where one goes.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::SocketAddr;

/// How bytes travel. Only UDP is served so far; the others are named because a Via may name them.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub enum Transport {
    /// One message a datagram; the transaction layer repeats.
    Udp,
    /// A stream; framed by Content-Length.
    Tcp,
    /// TCP inside TLS.
    Tls,
}

impl Transport {
    /// True where the transport itself repeats what is lost (RFC 3261 §17: timers A, E, G and the waits change).
    #[must_use]
    pub fn is_reliable(self) -> bool {
        match self {
            Transport::Udp => false,
            Transport::Tcp | Transport::Tls => true,
        }
    }

    /// The word in a Via: `UDP`.
    #[must_use]
    pub fn via_token(self) -> &'static str {
        match self {
            Transport::Udp => "UDP",
            Transport::Tcp => "TCP",
            Transport::Tls => "TLS",
        }
    }
}

/// One way to a peer: our socket, theirs, and the transport between.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub struct Flow {
    /// Index of our listening socket (order of `[[listen]]`).
    pub listener: u8,
    /// The peer's address, as seen in the packet or resolved.
    pub peer: SocketAddr,
    /// How the bytes travel.
    pub transport: Transport,
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.transport.via_token().to_ascii_lowercase(), self.peer)
    }
}
