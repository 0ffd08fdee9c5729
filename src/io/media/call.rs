//! One call's sockets around its [`MediaPair`].

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use mio::net::UdpSocket;
use mio::{Interest, Registry, Token};

use super::ports::PortPool;
use crate::rtp::relay::MediaPair;
use crate::units::{CallId, Leg, PerLeg};

/// DSCP "expedited forwarding" in the place of the IPv4 type of service (RFC 3246, RFC 4594 §4.1).
const EXPEDITED: u32 = 46 << 2;

/// Ports tried for one pair before the call is refused: others on the machine may sit in our range.
const MAX_TRIES: usize = 32;

/// Which of a call's four sockets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Port {
    /// Media.
    Rtp(Leg),
    /// Reports.
    Rtcp(Leg),
}

impl Port {
    /// Sockets of a call, in the order of their tokens.
    const ALL: [Port; 4] =
        [Port::Rtp(Leg::Caller), Port::Rtcp(Leg::Caller), Port::Rtp(Leg::Callee), Port::Rtcp(Leg::Callee)];

    /// The token of this socket of the call in `slot`.
    pub(super) fn token(self, slot: usize) -> Token {
        let index = match self {
            Port::Rtp(Leg::Caller) => 0,
            Port::Rtcp(Leg::Caller) => 1,
            Port::Rtp(Leg::Callee) => 2,
            Port::Rtcp(Leg::Callee) => 3,
        };
        Token(slot * Self::ALL.len() + index)
    }

    /// The slot and socket of a token.
    pub(super) fn of(token: Token) -> (usize, Port) {
        (token.0 / Self::ALL.len(), Self::ALL[token.0 % Self::ALL.len()])
    }
}

/// Both sockets of one leg.
pub(super) struct Sockets {
    /// Even port.
    pub(super) rtp: UdpSocket,
    /// The port above.
    pub(super) rtcp: UdpSocket,
    address: SocketAddr,
}

/// Where a call's sockets are to be.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) local: PerLeg<IpAddr>,
    /// Exactly these, as before a restart; None: any.
    pub(super) ports: Option<PerLeg<u16>>,
}

/// One call.
pub(super) struct MediaCall {
    pub(super) id: CallId,
    pub(super) pair: MediaPair,
    pub(super) sockets: PerLeg<Sockets>,
    /// Call time 0.
    pub(super) answered: Option<Instant>,
    /// Copies go to the ear.
    pub(super) tapped: bool,
    /// Last RTP of either leg; the answer counts as such.
    pub(super) heard: Instant,
    /// The silence since then has been told.
    pub(super) silent_told: bool,
}

impl MediaCall {
    /// Binds a pair for each leg and watches them under the tokens of `slot`. None: no port could be had; `taken` counts
    /// those that something else has.
    pub(super) fn open(
        id: CallId,
        place: Place,
        slot: usize,
        registry: &Registry,
        ports: &mut PortPool,
        taken: &mut u64,
        now: Instant,
    ) -> Option<Self> {
        let mut bind = |leg: Leg| match place.ports {
            Some(had) => bind_again(place.local[leg], had[leg], ports, taken),
            None => bind_pair(place.local[leg], ports, taken, now),
        };
        let caller = bind(Leg::Caller)?;
        let Some(callee) = bind(Leg::Callee) else {
            ports.rest(caller.address.port(), now);
            return None;
        };
        let random = PerLeg::from_fn(|_| getrandom::u64().unwrap_or(id.0));
        let mut call = Self {
            id,
            pair: MediaPair::new(random, now),
            sockets: PerLeg { caller, callee },
            answered: None,
            tapped: false,
            heard: now,
            silent_told: false,
        };
        if call.watch(slot, registry).is_err() {
            call.rest_ports(ports, now);
            return None;
        }
        Some(call)
    }

    /// What goes into the descriptions sent to the peers.
    pub(super) fn addresses(&self) -> PerLeg<SocketAddr> {
        PerLeg::from_fn(|leg| self.sockets[leg].address)
    }

    /// Gives the ports back. The sockets close when the call is dropped, which also ends their watch.
    pub(super) fn rest_ports(&self, ports: &mut PortPool, now: Instant) {
        for leg in Leg::BOTH {
            ports.rest(self.sockets[leg].address.port(), now);
        }
    }

    fn watch(&mut self, slot: usize, registry: &Registry) -> io::Result<()> {
        for leg in Leg::BOTH {
            let Sockets { rtp, rtcp, .. } = &mut self.sockets[leg];
            registry.register(rtp, Port::Rtp(leg).token(slot), Interest::READABLE)?;
            registry.register(rtcp, Port::Rtcp(leg).token(slot), Interest::READABLE)?;
        }
        Ok(())
    }
}

fn bind_pair(local: IpAddr, ports: &mut PortPool, taken: &mut u64, now: Instant) -> Option<Sockets> {
    for _ in 0..MAX_TRIES {
        let port = ports.take(now)?;
        match bind(local, port) {
            Ok(sockets) => return Some(sockets),
            Err(error) => {
                ports.rest(port, now);
                *taken += u64::from(error.kind() == io::ErrorKind::AddrInUse);
                if error.kind() == io::ErrorKind::AddrNotAvailable {
                    // Every port of this address will fail alike.
                    return None;
                }
            }
        }
    }
    None
}

/// The pair that the call had before a restart: its peers know no other.
fn bind_again(local: IpAddr, port: u16, ports: &mut PortPool, taken: &mut u64) -> Option<Sockets> {
    match bind(local, port) {
        Ok(sockets) => {
            ports.claim(port);
            Some(sockets)
        }
        Err(error) => {
            *taken += u64::from(error.kind() == io::ErrorKind::AddrInUse);
            None
        }
    }
}

fn bind(local: IpAddr, port: u16) -> io::Result<Sockets> {
    let rtp = UdpSocket::bind(SocketAddr::new(local, port))?;
    let rtcp = UdpSocket::bind(SocketAddr::new(local, port | 1))?;
    if local.is_ipv4() {
        // A wish to the network; a call is not refused for it.
        let _ = socket2::SockRef::from(&rtp).set_tos_v4(EXPEDITED);
    }
    Ok(Sockets { rtp, rtcp, address: SocketAddr::new(local, port) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_back_as_they_were() {
        for slot in [0, 1, 77] {
            for port in Port::ALL {
                assert_eq!(Port::of(port.token(slot)), (slot, port));
            }
        }
    }
}
