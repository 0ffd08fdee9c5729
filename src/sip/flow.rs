//! Where a message came from and where one goes.

use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::wire::Message;

/// How bytes travel.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub enum Transport {
    /// One message a datagram; the transaction layer repeats.
    Udp,
    /// A stream; framed by Content-Length.
    Tcp,
    /// TCP inside TLS.
    Tls,
}

impl Transport {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Udp, Self::Tcp, Self::Tls];

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

    /// The word in a URI and in the settings: `udp`.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
            Transport::Tls => "tls",
        }
    }

    /// What a URI must say so that its reader comes this way: nothing for UDP, which is what it takes anyway.
    #[must_use]
    pub fn uri_parameter(self) -> &'static str {
        match self {
            Transport::Udp => "",
            Transport::Tcp => ";transport=tcp",
            Transport::Tls => ";transport=tls",
        }
    }

    /// Port where none is named (RFC 3261 §19.1.2).
    #[must_use]
    pub fn default_port(self) -> u16 {
        match self {
            Transport::Udp | Transport::Tcp => 5_060,
            Transport::Tls => 5_061,
        }
    }
}

/// An address and how it is spoken to: a next hop, or ourselves as one side reaches us.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Hop {
    /// Where.
    pub address: SocketAddr,
    /// How.
    pub transport: Transport,
}

impl Hop {
    /// Over UDP.
    #[must_use]
    pub fn udp(address: SocketAddr) -> Self {
        Self { address, transport: Transport::Udp }
    }
}

impl fmt::Display for Hop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.transport.label(), self.address)
    }
}

/// One connection of this process; never used again for another.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ConnectionId(pub u64);

/// Stands for the first of our sockets that reaches a peer.
pub const ANY_SOCKET: u8 = u8::MAX;

/// One way to a peer.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub struct Flow {
    /// Index of our listening socket (order of `[[listen]]`), or [`ANY_SOCKET`].
    pub listener: u8,
    /// The peer's address, as seen in the packet or resolved.
    pub peer: SocketAddr,
    /// How the bytes travel.
    pub transport: Transport,
    /// The connection that a message came on. None: UDP, or whichever connection to `peer` there is.
    /// Never kept: another process has other connections.
    #[serde(skip)]
    pub connection: Option<ConnectionId>,
    /// Port on which the peer takes connections, for when this one is gone.
    pub listens_at: u16,
}

impl Flow {
    /// A datagram's way, through socket `listener`.
    #[must_use]
    pub fn datagram(listener: u8, peer: SocketAddr) -> Self {
        Self { listener, peer, transport: Transport::Udp, connection: None, listens_at: peer.port() }
    }

    /// The way of what came on a connection.
    #[must_use]
    pub fn connected(listener: u8, peer: Hop, connection: ConnectionId) -> Self {
        Self {
            listener,
            peer: peer.address,
            transport: peer.transport,
            connection: Some(connection),
            listens_at: peer.address.port(),
        }
    }

    /// The way to a next hop for a request of our own; over UDP, through the first socket that reaches it.
    #[must_use]
    pub fn to(hop: Hop) -> Self {
        Self {
            listener: ANY_SOCKET,
            peer: hop.address,
            transport: hop.transport,
            connection: None,
            listens_at: hop.address.port(),
        }
    }

    /// The same way, once `request` has come on it: should its connection go, the peer is reached at its own address
    /// and the port of its Via (RFC 3261 §18.2.2). The Via's host is not asked: it could aim our connections at
    /// anybody.
    ///
    /// Over UDP, a peer that does not ask for the port that it sends from (RFC 3581) hears at the port of its Via:
    /// gateways and telephones of Cisco send from ports at which they take nothing. Where its Via names another host,
    /// somebody on the way has changed addresses, and the packet's source is all that leads back.
    #[must_use]
    pub fn of_request(self, request: &Message<'_>) -> Self {
        let Ok(via) = request.via() else { return self };
        let port = via.port.filter(|port| *port != 0).unwrap_or(self.transport.default_port());
        if self.transport.is_reliable() {
            return Self { listens_at: port, ..self };
        }
        let itself = via.ip() == Some(self.peer.ip());
        if request.method().is_none() || via.rport().is_some() || !itself {
            return self;
        }
        Self { peer: SocketAddr::new(self.peer.ip(), port), listens_at: port, ..self }
    }

    /// Where a new connection to this peer goes.
    #[must_use]
    pub fn hop(&self) -> Hop {
        Hop { address: SocketAddr::new(self.peer.ip(), self.listens_at), transport: self.transport }
    }
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.transport.label(), self.peer)
    }
}
