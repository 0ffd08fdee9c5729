//! The mark that routers are shown (DSCP, RFC 2474).

use std::net::IpAddr;

use socket2::SockRef;

/// Marks what a socket at `local` sends. A system that refuses is no fault: the mark is only a hint to routers.
pub(super) fn mark(socket: &SockRef<'_>, local: IpAddr, dscp: u8) {
    // The upper six bits of the octet.
    let octet = u32::from(dscp) << 2;
    let _ = if local.is_ipv4() { socket.set_tos_v4(octet) } else { socket.set_tclass_v6(octet) };
}
