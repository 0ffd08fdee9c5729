//! Datagrams, out in batches, and waiting to the microsecond.

use std::io::IoSlice;
use std::net::{SocketAddr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::addr::SocketAddrArg as _;
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, SocketAddrAny, sendmmsg};

/// Datagrams of one system call.
const BATCH: usize = 32;
const LONGEST: usize = 4_096;
/// Asked for; the system may grant less.
const BUFFER: usize = 8 << 20;

pub(crate) fn open(at: SocketAddrV4) -> UdpSocket {
    assert!(at.ip().is_loopback(), "loopback only: {at}");
    let socket = UdpSocket::bind(at).unwrap_or_else(|error| panic!("{at}: {error}"));
    socket.set_nonblocking(true).unwrap();
    let options = socket2::SockRef::from(&socket);
    let _ = options.set_recv_buffer_size(BUFFER);
    let _ = options.set_send_buffer_size(BUFFER);
    socket
}

/// Datagrams on their way out of one socket.
pub(crate) struct Outbox {
    socket: UdpSocket,
    texts: Vec<Vec<u8>>,
    to: Vec<SocketAddrAny>,
    pub(crate) sent: u64,
    pub(crate) refused: u64,
}

impl Outbox {
    pub(crate) fn new(socket: &UdpSocket) -> Self {
        Self {
            socket: socket.try_clone().unwrap(),
            texts: vec![Vec::new(); BATCH],
            to: Vec::with_capacity(BATCH),
            sent: 0,
            refused: 0,
        }
    }

    /// Adds a datagram; the batch leaves when it is full.
    pub(crate) fn put(&mut self, to: SocketAddrV4, write: impl FnOnce(&mut Vec<u8>)) {
        let text = &mut self.texts[self.to.len()];
        text.clear();
        write(text);
        self.to.push(to.as_any());
        if self.to.len() == BATCH {
            self.flush();
        }
    }

    pub(crate) fn flush(&mut self) {
        let Self { socket, texts, to, sent, refused } = self;
        let slices: Vec<[IoSlice<'_>; 1]> = texts.iter().take(to.len()).map(|text| [IoSlice::new(text)]).collect();
        let mut controls: Vec<SendAncillaryBuffer<'_, '_, '_>> =
            to.iter().map(|_| SendAncillaryBuffer::default()).collect();
        let mut headers: Vec<MMsgHdr<'_>> = (to.iter().zip(&slices).zip(&mut controls))
            .map(|((to, slice), control)| MMsgHdr::new_with_addr(to, slice, control))
            .collect();
        let mut from = 0;
        while from < headers.len() {
            match sendmmsg(&*socket, &mut headers[from..], SendFlags::empty()) {
                Ok(0) | Err(_) => {
                    *refused += (headers.len() - from) as u64;
                    break;
                }
                Ok(some) => from += some,
            }
        }
        *sent += from as u64;
        drop(headers);
        self.to.clear();
    }
}

/// Datagrams that have come to one socket.
pub(crate) struct Inbox {
    socket: UdpSocket,
    buffer: Vec<u8>,
}

impl Inbox {
    pub(crate) fn new(socket: &UdpSocket) -> Self {
        Self { socket: socket.try_clone().unwrap(), buffer: vec![0; LONGEST] }
    }

    /// Takes a few; how many there were.
    pub(crate) fn take(&mut self, mut each: impl FnMut(&[u8], SocketAddrV4)) -> usize {
        for taken in 0..BATCH {
            let Ok((length, SocketAddr::V4(from))) = self.socket.recv_from(&mut self.buffer) else { return taken };
            each(&self.buffer[..length], from);
        }
        BATCH
    }
}

/// Waits until one of the sockets has something, or until then.
pub(crate) fn wait(sockets: [&UdpSocket; 2], until: Instant, now: Instant) {
    let left = until.saturating_duration_since(now);
    if left > Duration::ZERO {
        let mut watched = sockets.map(|socket| PollFd::new(socket, PollFlags::IN));
        let left = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
        // A signal or a refusal only ends the wait early.
        let _ = poll(&mut watched, Some(&left));
    }
}
