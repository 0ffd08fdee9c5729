//! Which of this machine's addresses packets to a peer leave from.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// By the system's routes, now.
///
/// # Errors
/// No route leads there.
pub fn source_towards(peer: SocketAddr) -> io::Result<IpAddr> {
    let any: IpAddr = if peer.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    // Connecting a UDP socket sends nothing; it only asks the system for the route.
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(peer)?;
    Ok(socket.local_addr()?.ip())
}

/// How far a listener is from what packets to a peer leave from: 0 where they leave from it by themselves. One beside
/// it (a floating address, which routes do not name) has in common how most of both begin; all others are equally far.
/// `source`: what [`source_towards`] says.
#[must_use]
pub fn distance(listener: IpAddr, source: Option<IpAddr>) -> u32 {
    let (bits, apart) = match (listener, source) {
        _ if listener.is_unspecified() => return 0,
        (IpAddr::V4(one), Some(IpAddr::V4(other))) => (32, 32 - (one.to_bits() ^ other.to_bits()).leading_zeros()),
        (IpAddr::V6(one), Some(IpAddr::V6(other))) => (128, 128 - (one.to_bits() ^ other.to_bits()).leading_zeros()),
        (IpAddr::V4(_) | IpAddr::V6(_), _) => return u32::MAX,
    };
    if apart > bits / 2 { u32::MAX } else { apart }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn a_floating_address_is_nearer_than_one_of_another_card() {
        let nearest = |listeners: &[&'static str], source: &str| {
            let source = Some(source.parse().unwrap());
            *listeners.iter().min_by_key(|ip| distance(ip.parse().unwrap(), source)).unwrap()
        };
        let cards = ["203.0.113.100", "192.168.2.100", "192.168.1.100"];

        assert_eq!(nearest(&cards, "192.168.1.2"), "192.168.1.100");
        assert_eq!(nearest(&cards, "192.168.2.2"), "192.168.2.100");
        assert_eq!(nearest(&["192.168.1.3", "192.168.1.2"], "192.168.1.2"), "192.168.1.2");
        assert_eq!(nearest(&["fd00:1::100", "2001:db8::100"], "2001:db8::2"), "2001:db8::100");
        // What nothing speaks for stays as it is named.
        assert_eq!(nearest(&["192.168.1.1", "10.0.0.1"], "127.0.0.1"), "192.168.1.1");
        assert_eq!(nearest(&["0.0.0.0", "127.0.0.1"], "127.0.0.1"), "0.0.0.0");
    }
}
