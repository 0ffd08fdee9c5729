//! Keeps the worst flooders out before their datagrams reach this process: a kernel filter on the SIP sockets.
//!
//! In: addresses that the gate has blocked and that go on sending. Out: a socket filter (classic BPF) of a few compares
//! a datagram, made anew when the addresses change. Where the kernel refuses it, the gate drops them as before. So it
//! does where we register: a blocked address may be a gateway's, forged, which what it says would clear.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use mio::net::UdpSocket;
use socket2::{SockFilter, SockRef};

use crate::gate::Gate;

/// A source gets a place in the filter once this many of its datagrams have been dropped during its block.
const WORTH: u64 = 500;
/// Addresses in the filter: two instructions each, of the 4,096 that the kernel takes.
const MOST: usize = 256;

// Classic BPF (Linux: Documentation/networking/filter.rst; include/uapi/linux/bpf_common.h).
/// Load a word at an absolute offset.
const LOAD_WORD: u16 = 0x20;
/// Jump if equal to a constant.
const IF_EQUAL: u16 = 0x15;
/// Return a constant: so many bytes of the datagram are kept.
const RETURN: u16 = 0x06;
/// Offsets from here on count from the IP header (SKF_NET_OFF).
const IP_HEADER: u32 = 0xFFF0_0000;
/// Of the source address in an IPv4 header (RFC 791 §3.1).
const SOURCE: u32 = 12;

/// The filter in force.
#[derive(Debug, Default)]
pub(crate) struct Sieve {
    kept_out: Vec<Ipv4Addr>,
    /// The kernel has refused it, which has been told.
    refused: bool,
}

impl Sieve {
    /// Asks the gate whom to keep out, and does. None: nobody is.
    pub(crate) fn update(&mut self, gate: Option<&Gate>, sockets: &[Option<UdpSocket>], now: Instant) {
        if self.refused {
            return;
        }
        let worst = gate.map(|gate| gate.worst(WORTH, MOST, now)).unwrap_or_default();
        let mut worst: Vec<Ipv4Addr> = worst
            .into_iter()
            .filter_map(|source| match source {
                IpAddr::V4(v4) => Some(v4),
                IpAddr::V6(_) => None,
            })
            .collect();
        // What it keeps out is no longer counted by the gate, so its order says nothing any more.
        worst.sort_unstable();
        if worst == self.kept_out {
            return;
        }
        let program = program(&worst);
        let ipv4 = |socket: &&UdpSocket| socket.local_addr().is_ok_and(|address| address.is_ipv4());
        let sockets = || sockets.iter().flatten().filter(ipv4).map(SockRef::from);
        let set = sockets().try_for_each(|socket| {
            if worst.is_empty() { socket.detach_filter() } else { socket.attach_filter(&program) }
        });
        if let Err(error) = set {
            tracing::warn!(%error, "The kernel takes no socket filter; blocked sources are dropped here instead");
            // None may stay on any socket: nobody would take it off when a block ends.
            sockets().for_each(|socket| drop(socket.detach_filter()));
            self.kept_out.clear();
            self.refused = true;
            return;
        }
        tracing::info!(sources = worst.len(), "Blocked sources that are kept out by the kernel");
        self.kept_out = worst;
    }

    /// How many sources it keeps out.
    pub(crate) fn len(&self) -> usize {
        self.kept_out.len()
    }
}

fn program(sources: &[Ipv4Addr]) -> Vec<SockFilter> {
    let mut program = Vec::with_capacity(2 + 2 * sources.len());
    program.push(SockFilter::new(LOAD_WORD, 0, 0, IP_HEADER + SOURCE));
    for source in sources {
        program.push(SockFilter::new(IF_EQUAL, 0, 1, source.to_bits()));
        program.push(SockFilter::new(RETURN, 0, 0, 0));
    }
    program.push(SockFilter::new(RETURN, 0, 0, u32::MAX));
    program
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::gate::{Admission, Settings};
    use crate::io::clock;

    /// What arrives of one datagram each from two addresses.
    fn arrivals(socket: &UdpSocket) -> usize {
        let to = socket.local_addr().unwrap();
        for ip in ["127.0.71.1", "127.0.71.2"] {
            let peer = std::net::UdpSocket::bind((ip, 0)).unwrap();
            peer.send_to(b"x", to).unwrap();
        }
        // Loopback delivers within the call that sends.
        std::iter::from_fn(|| socket.recv_from(&mut [0; 9]).ok()).count()
    }

    #[test]
    fn who_goes_on_flooding_is_kept_out_by_the_kernel_until_the_block_ends() {
        let now = clock::now();
        let mut gate = Gate::new(Arc::new(Settings::default()), now);
        let mut sieve = Sieve::default();
        let sockets = [Some(UdpSocket::bind("127.0.71.3:0".parse().unwrap()).unwrap())];
        let socket = sockets[0].as_ref().unwrap();
        let wild: IpAddr = "127.0.71.1".parse().unwrap();

        sieve.update(Some(&gate), &sockets, now);
        assert_eq!((sieve.len(), arrivals(socket)), (0, 2));

        let passed = (0..2_000).filter(|_| gate.message(wild, false, now) == Admission::Pass).count();
        assert_eq!(passed, 50);
        sieve.update(Some(&gate), &sockets, now);
        assert!(!sieve.refused, "this kernel takes no filter");
        assert_eq!((sieve.len(), arrivals(socket)), (1, 1));

        sieve.update(None, &sockets, now);
        assert_eq!((sieve.len(), arrivals(socket)), (0, 2));
        sieve.update(Some(&gate), &sockets, now);
        sieve.update(Some(&gate), &sockets, now + Duration::from_secs(16 * 60));
        assert_eq!((sieve.len(), arrivals(socket)), (0, 2));
    }
}
