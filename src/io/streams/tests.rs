//! Connections of ours over loopback, in fake time.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::{Events, Poll};

use super::{Client, Settings, Streams, server_name};
use crate::io::clock;
use crate::sip::flow::{Flow, Hop, Transport};
use crate::sip::transaction::T1X64;

/// Connections, and what tells when they are ready.
struct Table {
    poll: Poll,
    streams: Streams,
}

impl Table {
    fn new() -> Self {
        let poll = Poll::new().unwrap();
        let streams = Streams::new(poll.registry().try_clone().unwrap(), Arc::new(Settings::default()));
        Self { poll, streams }
    }

    /// Sends over a new connection; its other end.
    fn send(&mut self, to: Hop, listener: &TcpListener, now: Instant) -> TcpStream {
        self.streams.send(Flow::to(to), Arc::from(*b"message"), now);
        let mut peer = listener.accept().unwrap().0;
        peer.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut events = Events::with_capacity(1_024);
        self.poll.poll(&mut events, Some(Duration::from_secs(20))).unwrap();
        for event in &events {
            self.streams.ready(event.token(), event.is_readable(), event.is_writable(), now);
        }
        let mut message = [0; 7];
        peer.read_exact(&mut message).unwrap();
        peer
    }

    /// Reads what a peer has sent, which is no message.
    fn take_what_comes(&mut self, now: Instant) {
        let mut events = Events::with_capacity(16);
        self.poll.poll(&mut events, Some(Duration::from_secs(20))).unwrap();
        for event in &events {
            self.streams.ready(event.token(), event.is_readable(), event.is_writable(), now);
        }
        let (mut buffer, mut message) = ([0; 1_024], Vec::new());
        let id = self.streams.next_readable().unwrap();
        let end = self.streams.read(id, &mut buffer, now);
        assert!(self.streams.take(id, &mut message, now).is_none());
        self.streams.finish(id, end);
    }
}

fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

fn hop(number: u8, port: u16) -> Hop {
    Hop { address: SocketAddr::from(([127, 0, number, 1], port)), transport: Transport::Tcp }
}

#[test]
fn a_connection_of_ours_that_nobody_uses_is_kept_open() {
    let (mut table, now) = (Table::new(), clock::now());
    let (listener, port) = listener();
    let mut peer = table.send(hop(0, port), &listener, now);

    let mut read = [0; 8];
    for later in 1..=2 {
        table.streams.handle_timeout(now + later * Duration::from_secs(11 * 60));
        peer.read_exact(read.get_mut(..4).unwrap()).unwrap();
        assert_eq!((&read, table.streams.counts().live), (b"\r\n\r\n\0\0\0\0", 1));
    }
    assert_eq!(table.streams.poll_ended(), None);
    // It is answered (RFC 5626 §4.4.1).
    let answered = now + Duration::from_secs(22 * 60);
    peer.write_all(b"\r\n").unwrap();
    table.take_what_comes(answered);
    table.streams.handle_timeout(answered + Duration::from_secs(30));
    assert_eq!((table.streams.poll_ended(), table.streams.counts().live), (None, 1));

    table.streams.handle_timeout(now + Duration::from_secs(25 * 60 * 60));

    assert_eq!(table.streams.poll_ended(), Some(hop(0, port)), "not for ever");
    assert_eq!(peer.read(&mut read).unwrap(), 0, "one a time");
}

#[test]
fn the_one_that_is_longest_unused_makes_room_for_another() {
    let (mut table, now) = (Table::new(), clock::now());
    let ((listener, port), mut at) = (listener(), now + Duration::from_secs(2));
    let peers: Vec<TcpStream> =
        (0..=255).map(|number| table.send(hop(number, port), &listener, if number == 7 { now } else { at })).collect();
    let another = Hop { address: SocketAddr::from(([127, 1, 0, 1], port)), transport: Transport::Tcp };

    table.streams.send(Flow::to(another), Arc::from(*b"message"), at);
    assert!(table.streams.poll_unsent().is_some(), "all of them may be waited for");

    at += T1X64;
    let _peer = table.send(another, &listener, at);

    assert_eq!(table.streams.poll_ended(), Some(hop(7, port)));
    assert_eq!((table.streams.poll_ended(), table.streams.counts().live), (None, peers.len()));
}

#[test]
fn a_flood_at_one_listener_keeps_nobody_from_another() {
    let mut table = Table::new();
    let any = Hop { address: SocketAddr::from(([127, 0, 0, 1], 0)), transport: Transport::Tcp };
    let at: Vec<SocketAddr> = (0..3).map(|number| table.streams.listen(number, any).unwrap()).collect();
    let connected = |number: usize| TcpStream::connect(at.get(number).unwrap()).unwrap();
    let _peers = [0, 0, 0, 0, 1, 2, 2].map(connected);

    let served: Vec<usize> = std::iter::from_fn(|| table.streams.accept()).map(|(number, ..)| number).collect();

    assert_eq!(served, [1, 2, 0, 2, 0, 0, 0]);
}

#[test]
fn of_several_at_one_machine_the_lowest_port_says_how_its_certificate_is_checked() {
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let client = |name: &str| Client { config: Arc::new(config.clone()), name: server_name(name).unwrap() };
    let at = |port| SocketAddr::from(([192, 0, 2, 1], port));
    let clients = (5_061..5_077).rev().map(|port| (at(port), client(&format!("p{port}.example")))).collect();
    let settings = Settings { clients, ..Settings::default() };

    let name = |port| settings.client(at(port)).map(|client| client.name.clone());

    assert_eq!(name(5_070), server_name("p5070.example"));
    assert_eq!(name(49_152), server_name("p5061.example"));
}
