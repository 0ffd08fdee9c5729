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

/// True for a listener that packets to a peer come from by themselves. `source`: what [`source_towards`] says.
#[must_use]
pub fn is_source(listener: IpAddr, source: Option<IpAddr>) -> bool {
    listener.is_unspecified() || source == Some(listener)
}
