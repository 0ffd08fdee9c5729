//! One call's sockets around its [`MediaPair`].

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use rustix::net::{self, RecvFlags, SendFlags};

use super::counts::MediaCounts;
use super::poll::Poll;
use super::ports::PortPool;
use super::tap::TapContent;
use crate::audio::g711::Law;
use crate::io::marking;
use crate::rtp::companding::{Companding, Laws};
use crate::rtp::control::PlayId;
use crate::rtp::relay::{MediaPair, Payload};
use crate::units::{CallId, CallTime, Leg, PerLeg};

/// Ports tried for one pair before the call is refused: others on the machine may sit in our range, with all of their
/// ports in a row. As many tries take two milliseconds, and what was taken then rests.
const MAX_TRIES: usize = 512;

/// What the relay is told of G.711.
pub static LAWS: Laws = Laws {
    pcmu: Companding { decode: |code| Law::Mu.decode(code), encode: |sample| Law::Mu.encode(sample) },
    pcma: Companding { decode: |code| Law::A.decode(code), encode: |sample| Law::A.encode(sample) },
};

/// Behind a prompt, a callee reacts to it for this long.
const ANSWERS_US: Duration = Duration::from_secs(2);

/// So many packets in a row say that a caller sends what cannot be decoded: a second. A stray one says nothing.
const UNHEARD: u8 = 50;

/// Sockets of one call.
pub(super) const SOCKETS: usize = Port::ALL.len();

/// Which of a call's four sockets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Port {
    /// Media.
    Rtp(Leg),
    /// Reports.
    Rtcp(Leg),
}

impl Port {
    /// Sockets of a call, in the order of their names.
    const ALL: [Port; 4] =
        [Port::Rtp(Leg::Caller), Port::Rtcp(Leg::Caller), Port::Rtp(Leg::Callee), Port::Rtcp(Leg::Callee)];

    /// The name of this socket of the call in `slot`.
    pub(super) fn name(self, slot: usize) -> u64 {
        let index = match self {
            Port::Rtp(Leg::Caller) => 0,
            Port::Rtcp(Leg::Caller) => 1,
            Port::Rtp(Leg::Callee) => 2,
            Port::Rtcp(Leg::Callee) => 3,
        };
        (slot * Self::ALL.len() + index) as u64
    }

    pub(super) fn leg(self) -> Leg {
        let (Self::Rtp(leg) | Self::Rtcp(leg)) = self;
        leg
    }

    pub(super) fn is_rtcp(self) -> bool {
        matches!(self, Self::Rtcp(_))
    }

    /// This one of a call's sockets.
    pub(super) fn socket(self, sockets: &PerLeg<Sockets>) -> &UdpSocket {
        match self {
            Self::Rtp(leg) => &sockets[leg].rtp,
            Self::Rtcp(leg) => &sockets[leg].rtcp,
        }
    }

    /// The slot and socket of a name.
    pub(super) fn of(name: u64) -> (usize, Port) {
        let name = name as usize;
        (name / Self::ALL.len(), Self::ALL[name % Self::ALL.len()])
    }
}

/// Both sockets of one leg.
pub(super) struct Sockets {
    /// Even port.
    pub(super) rtp: UdpSocket,
    /// The port above.
    pub(super) rtcp: UdpSocket,
    /// Of the even port.
    pub(super) address: SocketAddr,
    /// Last round of the thread in which something came; None: nothing has come in this call.
    pub(super) round: Option<u32>,
}

/// Where a call's sockets are to be.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) local: PerLeg<IpAddr>,
    /// Exactly these, as before a restart; None: any.
    pub(super) ports: Option<PerLeg<u16>>,
    /// How routers treat what is sent (RFC 2474).
    pub(super) dscp: u8,
}

/// One call, or its video.
pub(super) struct MediaCall {
    pub(super) id: CallId,
    pub(super) pair: MediaPair,
    pub(super) sockets: PerLeg<Sockets>,
    /// Call time 0.
    pub(super) answered: Option<Instant>,
    /// Copies go to the ear.
    pub(super) tapped: bool,
    /// What was played to each leg last.
    pub(super) plays: PerLeg<PlayId>,
    /// A prompt last played to the callee.
    pub(super) told: Option<Instant>,
    /// Last RTP or report of either leg; the answer counts as such.
    pub(super) heard: Instant,
    /// So long a silence is told.
    pub(super) silence_limit: Duration,
    /// The silence since then has been told.
    pub(super) silent_told: bool,
    /// Packets in a row of a tapped caller that cannot be decoded.
    unheard: u8,
}

/// What the allocator gives in one piece: a larger one costs each call a fifth more.
const _: () = assert!(size_of::<MediaCall>() <= 1_280);

/// Binds a pair for each leg and watches them under the names of `slot`. None: no port could be had; `taken` counts
/// those that something else has.
pub(super) fn open(
    place: Place,
    slot: usize,
    poll: &Poll,
    ports: &mut PortPool,
    taken: &mut u64,
    now: Instant,
) -> Option<PerLeg<Sockets>> {
    let mut bind = |leg: Leg| match place.ports {
        Some(had) => bind_again(place.local[leg], had[leg], place.dscp, ports, taken),
        None => bind_pair(place.local[leg], place.dscp, ports, taken, now),
    };
    let caller = bind(Leg::Caller)?;
    let Some(callee) = bind(Leg::Callee) else {
        ports.rest(caller.address.port(), now);
        return None;
    };
    let sockets = PerLeg { caller, callee };
    if watch(&sockets, slot, poll).is_err() {
        for leg in Leg::BOTH {
            ports.rest(sockets[leg].address.port(), now);
        }
        return None;
    }
    Some(sockets)
}

fn watch(sockets: &PerLeg<Sockets>, slot: usize, poll: &Poll) -> io::Result<()> {
    for leg in Leg::BOTH {
        let Sockets { rtp, rtcp, .. } = &sockets[leg];
        poll.add(rtp, Port::Rtp(leg).name(slot))?;
        poll.add(rtcp, Port::Rtcp(leg).name(slot))?;
    }
    Ok(())
}

impl MediaCall {
    /// A call with these sockets.
    pub(super) fn new(id: CallId, sockets: PerLeg<Sockets>, now: Instant) -> Self {
        let random = seeds(id);
        Self {
            id,
            pair: MediaPair::new(random, &LAWS, now),
            sockets,
            answered: None,
            tapped: false,
            plays: PerLeg::default(),
            told: None,
            heard: now,
            silence_limit: Duration::MAX,
            silent_told: false,
            unheard: 0,
        }
    }

    /// Notes what a tapped caller has sent. True once, when it becomes plain that the ear cannot hear it.
    pub(super) fn falls_unheard(&mut self, leg: Leg, payload: Payload) -> bool {
        if leg == Leg::Callee || !self.tapped || self.answered.is_none() {
            return false;
        }
        match payload {
            Payload::Audio(_) => self.unheard = 0,
            Payload::Other => self.unheard = self.unheard.saturating_add(1),
            Payload::Noise | Payload::Event | Payload::WideEvent => return false,
        }
        self.unheard == UNHEARD
    }

    /// When in the call the ear hears a packet of `leg` that comes now, and as what. None: it does not hear it.
    pub(super) fn for_the_ear(&self, leg: Leg, payload: Payload, now: Instant) -> Option<(CallTime, TapContent)> {
        let answered = self.answered.filter(|_| self.tapped && !self.answers_us(leg, now))?;
        let content = match payload {
            Payload::Audio(codec) => TapContent::Audio(codec),
            Payload::Noise => TapContent::Noise,
            Payload::Event | Payload::WideEvent | Payload::Other => return None,
        };
        Some((CallTime(now.saturating_duration_since(answered)), content))
    }

    /// True for what a callee says to a prompt of ours: the ear would take it for a reply to the caller.
    fn answers_us(&self, leg: Leg, now: Instant) -> bool {
        leg == Leg::Callee && self.told.is_some_and(|at| now.saturating_duration_since(at) < ANSWERS_US)
    }

    /// Sends the datagram of `length` in `buffer` to the peer of a socket's leg, sealed where that is agreed on.
    pub(super) fn send(
        &mut self,
        port: Port,
        buffer: &mut [u8],
        length: usize,
        to: SocketAddr,
        counts: &mut MediaCounts,
    ) {
        let Some(length) = self.pair.seal(port.leg(), port.is_rtcp(), buffer, length) else { return };
        // Never waits: a full socket buffer is a lost packet, as it would be on the wire.
        let packet = buffer.get(..length).unwrap_or_default();
        if net::sendto(port.socket(&self.sockets), packet, SendFlags::empty(), &to).is_err() {
            counts.send_failed += 1;
        }
    }
}

/// What has come, and where from. Straight to the system, as the C library makes each call a place where a thread may
/// be cancelled: a fiftieth of what a packet costs.
pub(super) fn receive(socket: &UdpSocket, room: &mut [u8]) -> Option<(usize, SocketAddr)> {
    let (length, _, src) = net::recvfrom(socket, room, RecvFlags::empty()).ok()?;
    Some((length, SocketAddr::try_from(src?).ok()?))
}

/// A number nobody can guess for each leg. A machine without any still relays.
fn seeds(id: CallId) -> PerLeg<u64> {
    let mut random = [0; 16];
    if getrandom::fill(&mut random).is_err() {
        return PerLeg { caller: id.0, callee: id.0 };
    }
    let both = u128::from_le_bytes(random);
    PerLeg { caller: both as u64, callee: (both >> 64) as u64 }
}

fn bind_pair(local: IpAddr, dscp: u8, ports: &mut PortPool, taken: &mut u64, now: Instant) -> Option<Sockets> {
    for _ in 0..MAX_TRIES {
        let port = ports.take(now)?;
        match bind(local, port, dscp) {
            Ok(sockets) => return Some(sockets),
            Err(error) => {
                ports.rest(port, now);
                if error.kind() != io::ErrorKind::AddrInUse {
                    // Every port will fail alike: no such address here, no file left.
                    return None;
                }
                *taken += 1;
            }
        }
    }
    None
}

/// The pair that the call had before a restart: its peers know no other.
fn bind_again(local: IpAddr, port: u16, dscp: u8, ports: &mut PortPool, taken: &mut u64) -> Option<Sockets> {
    match bind(local, port, dscp) {
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

fn bind(local: IpAddr, port: u16, dscp: u8) -> io::Result<Sockets> {
    let rtp = UdpSocket::bind(SocketAddr::new(local, port))?;
    let rtcp = UdpSocket::bind(SocketAddr::new(local, port | 1))?;
    for socket in [&rtp, &rtcp] {
        socket.set_nonblocking(true)?;
        marking::mark(&socket2::SockRef::from(socket), local, dscp);
    }
    Ok(Sockets { rtp, rtcp, address: SocketAddr::new(local, port), round: None })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use crate::rtp::control::Codec;

    #[test]
    fn a_second_of_what_cannot_be_decoded_is_told_once_and_a_stray_packet_is_not() {
        let now = crate::io::clock::now();
        let sockets = PerLeg::from_fn(|_| {
            let [rtp, rtcp] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
            Sockets { address: rtp.local_addr().unwrap(), rtp, rtcp, round: None }
        });
        let mut call = MediaCall::new(CallId(7), sockets, now);
        let told = |call: &mut MediaCall, payloads: &[Payload]| {
            let many = payloads.iter().cycle().take(400);
            many.filter(|payload| call.falls_unheard(Leg::Caller, **payload)).count()
        };
        let [gsm, heard] = [Payload::Other, Payload::Audio(Codec::Pcmu)];

        assert_eq!(told(&mut call, &[gsm]), 0, "not answered");
        (call.answered, call.tapped) = (Some(now), true);
        assert_eq!(told(&mut call, &[gsm, gsm, heard]), 0, "stray ones");
        assert!(!(0..400).any(|_| call.falls_unheard(Leg::Callee, gsm)), "the callee's");
        assert_eq!(told(&mut call, &[gsm, Payload::Noise]), 1);
    }

    #[test]
    fn names_come_back_as_they_were() {
        for slot in [0, 1, 77] {
            for port in Port::ALL {
                assert_eq!(Port::of(port.name(slot)), (slot, port));
            }
        }
    }

    #[test]
    fn packets_are_marked_in_both_families() {
        let marked = |local: &str, dscp| {
            let local: IpAddr = local.parse().unwrap();
            let sockets = (40_000..41_000).step_by(2).find_map(|port| bind(local, port, dscp).ok()).unwrap();
            [sockets.rtp, sockets.rtcp].map(|socket| {
                let socket = socket2::SockRef::from(&socket);
                if local.is_ipv4() { socket.tos_v4().unwrap() } else { socket.tclass_v6().unwrap() }
            })
        };

        assert_eq!((marked("127.0.0.1", 46), marked("127.0.0.1", 0)), ([0xB8; 2], [0; 2]));
        // A machine without IPv6 has nothing to mark.
        if std::net::UdpSocket::bind("[::1]:0").is_ok() {
            assert_eq!(marked("::1", 34), [0x88; 2]);
        }
    }
}
