//! TCP sockets as this element uses them.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use crate::io::marking;

/// Connections that the kernel holds until they are accepted; every turn accepts a part of them.
const BACKLOG: i32 = 1_024;
/// What a peer has not taken within this, it will not take: the connection is lost, and the next message goes by a new
/// one. The system's own patience is a quarter of an hour, in which every call over the connection would fail.
const PATIENCE: Duration = Duration::from_secs(10);
/// On a connection without a word, the peer is asked after this whether it is still there. Routers between forget one
/// that is silent for minutes.
const ASKED_AFTER: Duration = Duration::from_secs(5);
/// Without an answer, it is asked again after this.
const ASKED_AGAIN: Duration = Duration::from_secs(2);
/// The first question without an answer behind that time ends it: one that is lost must not be the first of all.
const _: () = assert!(PATIENCE.as_secs() >= ASKED_AFTER.as_secs() + 2 * ASKED_AGAIN.as_secs());

/// A listening socket.
pub(super) fn listen(address: SocketAddr, dscp: u8) -> io::Result<TcpListener> {
    // What is accepted has the mark of its listener.
    let socket = open(address, dscp)?;
    // A restart must not wait for the old process's connections to be forgotten.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(TcpListener::from_std(socket.into()))
}

/// Begins a connection, from address `from` where one is given: a peer may know us by it.
pub(super) fn connect(to: SocketAddr, from: Option<IpAddr>, dscp: u8) -> io::Result<TcpStream> {
    let socket = open(to, dscp)?;
    if let Some(from) = from {
        socket.bind(&SocketAddr::new(from, 0).into())?;
    }
    match socket.connect(&to.into()) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
        Err(error) => return Err(error),
    }
    let stream = TcpStream::from_std(socket.into());
    prepare(&stream);
    Ok(stream)
}

/// A message goes out at once, not when the next one comes; a peer that is gone is noticed.
pub(super) fn prepare(stream: &TcpStream) {
    // Without it messages are late, not lost.
    let _ = stream.set_nodelay(true);
    // Without these, it is noticed late.
    let socket = SockRef::from(stream);
    let _ = socket.set_tcp_user_timeout(Some(PATIENCE));
    let _ = socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(ASKED_AFTER).with_interval(ASKED_AGAIN));
}

fn open(address: SocketAddr, dscp: u8) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    marking::mark(&SockRef::from(&socket), address.ip(), dscp);
    Ok(socket)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn both_ends_of_a_connection_are_marked() {
        let mark = |socket: &TcpStream| SockRef::from(socket).tos_v4().unwrap();
        let listener = listen("127.0.0.1:0".parse().unwrap(), 24).unwrap();

        let ours = connect(listener.local_addr().unwrap(), None, 46).unwrap();
        let theirs = (0..1_000_000).find_map(|_| listener.accept().ok()).unwrap().0;

        assert_eq!((mark(&ours), mark(&theirs)), (46 << 2, 24 << 2));
    }

    #[test]
    fn a_peer_that_is_gone_without_a_word_is_noticed_on_both_ends() {
        let listener = listen("127.0.0.1:0".parse().unwrap(), 24).unwrap();
        let ours = connect(listener.local_addr().unwrap(), None, 46).unwrap();
        let theirs = (0..1_000_000).find_map(|_| listener.accept().ok()).unwrap().0;
        prepare(&theirs);

        for socket in [&ours, &theirs].map(SockRef::from) {
            assert_eq!(socket.tcp_user_timeout().unwrap(), Some(PATIENCE));
            assert!(socket.keepalive().unwrap());
            assert_eq!(
                (socket.tcp_keepalive_time().unwrap(), socket.tcp_keepalive_interval().unwrap()),
                (ASKED_AFTER, ASKED_AGAIN)
            );
        }
    }
}
