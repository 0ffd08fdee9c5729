//! All connections of the signalling thread, and the listeners they come through.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::Bound::{Excluded, Included, Unbounded};
use std::sync::Arc;
use std::time::Instant;

use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};

use super::connection::{Connection, Incoming};
use super::deadlines::Deadlines;
use super::pipe::{Pipe, Reading};
use super::{CloseReason, Counts, Settings, tcp};
use crate::gate::SourceKey;
use crate::io::route;
use crate::sip::flow::{ConnectionId, Flow, Hop, Transport};
use crate::sip::transaction::T1X64;

/// Connections that we open ourselves, in all: next hops, and peers whose connection has gone.
const MAX_OURS: usize = 256;
/// Tokens below this are listeners'; a settings file has far fewer.
const FIRST_TOKEN: usize = 1 << 16;

struct Listener {
    socket: TcpListener,
    transport: Transport,
    address: SocketAddr,
    ready: bool,
}

/// The table.
pub struct Streams {
    settings: Arc<Settings>,
    registry: Registry,
    /// By index in `[[listen]]`.
    listeners: BTreeMap<usize, Listener>,
    /// Whose connection was accepted last.
    served: usize,
    connections: HashMap<ConnectionId, Connection>,
    /// Connections of ours, by where they lead.
    ours: HashMap<Hop, ConnectionId>,
    by_source: HashMap<SourceKey, usize>,
    readable: VecDeque<ConnectionId>,
    deadlines: Deadlines,
    unsent: VecDeque<Arc<[u8]>>,
    /// Where connections of ours led that have ended.
    ended: VecDeque<Hop>,
    next: u64,
    counts: Counts,
}

impl Streams {
    /// No listener and no connection.
    #[must_use]
    pub fn new(registry: Registry, settings: Arc<Settings>) -> Self {
        Self {
            settings,
            registry,
            listeners: BTreeMap::new(),
            served: 0,
            connections: HashMap::new(),
            ours: HashMap::new(),
            by_source: HashMap::new(),
            readable: VecDeque::new(),
            deadlines: Deadlines::default(),
            unsent: VecDeque::new(),
            ended: VecDeque::new(),
            next: 0,
            counts: Counts::default(),
        }
    }

    /// Listens as number `number` of `[[listen]]`; the address as bound.
    ///
    /// # Errors
    /// The address cannot be had.
    pub fn listen(&mut self, number: usize, hop: Hop) -> io::Result<SocketAddr> {
        let mut socket = tcp::listen(hop.address, self.settings.dscp)?;
        self.registry.register(&mut socket, Token(number), Interest::READABLE)?;
        let address = socket.local_addr()?;
        self.listeners.insert(number, Listener { socket, transport: hop.transport, address, ready: true });
        Ok(address)
    }

    /// New settings, for connections from then on.
    pub fn set(&mut self, settings: Arc<Settings>) {
        self.settings = settings;
    }

    /// Counted facts.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts { live: self.connections.len(), ..self.counts.clone() }
    }

    /// A socket is ready.
    pub fn ready(&mut self, token: Token, readable: bool, writable: bool, now: Instant) {
        if let Some(listener) = self.listeners.get_mut(&token.0) {
            listener.ready = true;
            return;
        }
        let Some(id) = token.0.checked_sub(FIRST_TOKEN).map(|number| ConnectionId(number as u64)) else { return };
        if writable && let Some(connection) = self.connections.get_mut(&id) {
            let written = connection.writable(&self.settings, now);
            self.settle(id, written);
        }
        if readable {
            self.list(id);
        }
    }

    /// A connection that waits at a listener. Whoever drops it refuses it. The listeners take turns: a flood at one
    /// keeps nobody from another.
    pub fn accept(&mut self) -> Option<(usize, TcpStream, SocketAddr)> {
        for turn in [(Excluded(self.served), Unbounded), (Unbounded, Included(self.served))] {
            for (number, listener) in self.listeners.range_mut(turn) {
                while listener.ready {
                    match listener.socket.accept() {
                        Ok((socket, peer)) => {
                            self.served = *number;
                            return Some((*number, socket, peer));
                        }
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        // Nobody waits; or the process has no more files, and the next report tries again.
                        Err(_) => listener.ready = false,
                    }
                }
            }
        }
        None
    }

    /// Takes an accepted connection, if there is room.
    pub fn admit(&mut self, number: usize, socket: TcpStream, peer: SocketAddr, now: Instant) {
        let Some(transport) = self.listeners.get(&number).map(|listener| listener.transport) else { return };
        let from_source = self.by_source.get(&SourceKey::of(peer.ip())).copied().unwrap_or(0);
        if self.connections.len() - self.ours.len() >= self.settings.max {
            return self.counts.close(CloseReason::Full);
        }
        if from_source >= self.settings.max_per_source {
            return self.counts.close(CloseReason::FullSource);
        }
        tcp::prepare(&socket);
        let pipe = match transport {
            Transport::Udp | Transport::Tcp => Pipe::plain(socket),
            Transport::Tls => {
                let config = self.settings.identities.get(&number).map(Arc::clone);
                match config.and_then(|config| rustls::ServerConnection::new(config).ok()) {
                    Some(tls) => Pipe::tls(socket, tls.into()),
                    None => return self.counts.close(CloseReason::Tls),
                }
            }
        };
        let id = self.next_id();
        let flow = Flow::connected(u8::try_from(number).unwrap_or(u8::MAX), Hop { address: peer, transport }, id);
        if self.insert(id, Connection::accepted(flow, pipe, &self.settings, now)) {
            *self.by_source.entry(SourceKey::of(peer.ip())).or_default() += 1;
            self.counts.accepted += 1;
        }
    }

    /// A connection that may have something to read.
    pub fn next_readable(&mut self) -> Option<ConnectionId> {
        let id = self.readable.pop_front()?;
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.listed = false;
        }
        Some(id)
    }

    /// True if something may be read or accepted.
    #[must_use]
    pub fn has_more(&self) -> bool {
        !self.readable.is_empty() || self.listeners.values().any(|listener| listener.ready)
    }

    /// Reads a connection once; then ask [`Streams::take`] until None, and call [`Streams::finish`] with the answer.
    pub fn read(&mut self, id: ConnectionId, buffer: &mut [u8], now: Instant) -> Option<CloseReason> {
        let connection = self.connections.get_mut(&id)?;
        match connection.read(buffer, &self.settings, now) {
            Ok(Reading::More) => {
                self.list(id);
                None
            }
            Ok(Reading::Dry) => None,
            Ok(Reading::End) => Some(CloseReason::Peer),
            Err(reason) => Some(reason),
        }
    }

    /// The next thing that came on a connection, and its way back; a message's bytes are in `out`.
    pub fn take(&mut self, id: ConnectionId, out: &mut Vec<u8>, now: Instant) -> Option<(Flow, Incoming)> {
        let connection = self.connections.get_mut(&id)?;
        let incoming = connection.take(&self.settings, out, now)?;
        Some((connection.flow, incoming))
    }

    /// After a reading: ends the connection if that is what came of it.
    pub fn finish(&mut self, id: ConnectionId, end: Option<CloseReason>) {
        self.settle(id, end.map_or(Ok(()), Err));
    }

    /// Answers a keep-alive (RFC 5626 §4.4.1).
    pub fn pong(&mut self, flow: Flow, now: Instant) {
        let Some(id) = flow.connection else { return };
        if let Some(connection) = self.connections.get_mut(&id) {
            let written = connection.answer_ping(&self.settings, now);
            self.settle(id, written);
        }
    }

    /// Ends a connection once what waits has left.
    pub fn close_after_writing(&mut self, flow: Flow, reason: CloseReason, now: Instant) {
        let Some(id) = flow.connection else { return };
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.close_after_writing(reason, now);
            let written = connection.write(&self.settings, now);
            self.settle(id, written);
        }
    }

    /// Ends a connection at once.
    pub fn close(&mut self, flow: Flow, reason: CloseReason) {
        if let Some(id) = flow.connection {
            self.end(id, reason);
        }
    }

    /// Sends on the flow's connection; where that is gone, on one to the peer, opened if there is none (RFC 3261
    /// §18.2.2). What cannot be sent comes out of [`Streams::poll_unsent`], now or later.
    pub fn send(&mut self, flow: Flow, bytes: Arc<[u8]>, now: Instant) {
        let usable = |id: &ConnectionId| self.connections.get(id).is_some_and(|connection| !connection.is_closing());
        let hop = flow.hop();
        let found = flow.connection.filter(usable).or_else(|| self.ours.get(&hop).copied().filter(usable));
        match found.or_else(|| self.open(hop, now)) {
            Some(id) => self.push(id, bytes, now),
            None => self.lose(bytes),
        }
    }

    /// A message that did not leave.
    pub fn poll_unsent(&mut self) -> Option<Arc<[u8]>> {
        self.unsent.pop_front()
    }

    /// Where a connection of ours led that has ended: a registrar may know no other way to us.
    pub fn poll_ended(&mut self) -> Option<Hop> {
        self.ended.pop_front()
    }

    /// When [`Streams::handle_timeout`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.deadlines.next()
    }

    /// Ends what has taken too long. A connection of ours is kept open though nothing passes: whoever is registered
    /// over it is reached over it.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(id) = self.deadlines.pop(now) {
            let Some(connection) = self.connections.get_mut(&id) else { continue };
            let outcome = match connection.due(now) {
                Some(CloseReason::Idle) if connection.may_stay(now) => connection.stay(&self.settings, now),
                due => due.map_or(Ok(()), Err),
            };
            self.settle(id, outcome);
        }
    }

    /// Tries listeners again that the system had no files for. About once a second.
    pub fn retry(&mut self) {
        for listener in self.listeners.values_mut() {
            listener.ready = true;
        }
    }

    fn open(&mut self, hop: Hop, now: Instant) -> Option<ConnectionId> {
        if self.ours.len() >= MAX_OURS && !self.end_unused(now) {
            self.counts.close(CloseReason::Full);
            return None;
        }
        let opened =
            tcp::connect(hop.address, self.local_ip(hop), self.settings.dscp).ok().and_then(|socket| {
                match hop.transport {
                    Transport::Udp => None,
                    Transport::Tcp => Some(Pipe::plain(socket)),
                    Transport::Tls => {
                        let client = self.settings.client(hop.address)?;
                        let tls =
                            rustls::ClientConnection::new(Arc::clone(&client.config), client.name.clone()).ok()?;
                        Some(Pipe::tls(socket, tls.into()))
                    }
                }
            });
        let Some(pipe) = opened else {
            self.counts.close(CloseReason::Connect);
            return None;
        };
        let id = self.next_id();
        let listener = self.listeners.iter().find(|(_, listener)| listener.transport == hop.transport);
        let number = listener.and_then(|(number, _)| u8::try_from(*number).ok()).unwrap_or(u8::MAX);
        if !self.insert(id, Connection::opening(Flow::connected(number, hop, id), pipe, now)) {
            return None;
        }
        self.ours.insert(hop, id);
        self.counts.opened += 1;
        Some(id)
    }

    /// Makes room for a connection of ours: ends the one that has not been used for longest. False: all are in use.
    fn end_unused(&mut self, now: Instant) -> bool {
        let since = |id: &ConnectionId| Some((self.connections.get(id)?.unused_since()?, *id));
        match self.ours.values().filter_map(since).min() {
            // Nobody waits for an answer on it any more.
            Some((since, id)) if now.saturating_duration_since(since) > T1X64 => {
                self.end(id, CloseReason::Full);
                true
            }
            Some(_) | None => false,
        }
    }

    /// The address that a peer knows us by, where a connection would not have it by itself.
    fn local_ip(&self, hop: Hop) -> Option<IpAddr> {
        let fits = |listener: &Listener| {
            listener.transport == hop.transport && listener.address.is_ipv4() == hop.address.is_ipv4()
        };
        let source = route::source_towards(hop.address).ok();
        let fitting = self.listeners.iter().filter(|(_, listener)| fits(listener));
        let ours = fitting.map(|(number, listener)| (listener.address.ip(), *number));
        let far = |(ip, number): &(IpAddr, usize)| (route::distance(*ip, source), *number);
        let nearest = ours.min_by_key(far)?;
        (far(&nearest).0 > 0).then_some(nearest.0)
    }

    fn next_id(&mut self) -> ConnectionId {
        self.next += 1;
        ConnectionId(self.next)
    }

    fn insert(&mut self, id: ConnectionId, mut connection: Connection) -> bool {
        let both = Interest::READABLE | Interest::WRITABLE;
        let token = Token(FIRST_TOKEN + id.0 as usize);
        if self.registry.register(&mut connection.pipe.socket, token, both).is_err() {
            self.counts.close(CloseReason::Broken);
            return false;
        }
        self.deadlines.by(id, connection.deadline());
        self.connections.insert(id, connection);
        true
    }

    fn list(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(&id)
            && !std::mem::replace(&mut connection.listed, true)
        {
            self.readable.push_back(id);
        }
    }

    fn push(&mut self, id: ConnectionId, bytes: Arc<[u8]>, now: Instant) {
        let Some(connection) = self.connections.get_mut(&id) else { return self.lose(bytes) };
        if !connection.push(Arc::clone(&bytes), now) {
            self.lose(bytes);
            return self.end(id, CloseReason::SlowReader);
        }
        let written = connection.write(&self.settings, now);
        self.settle(id, written);
    }

    /// What comes of a step of a connection: it goes on, or it ends.
    fn settle(&mut self, id: ConnectionId, outcome: Result<(), CloseReason>) {
        match outcome {
            Ok(()) => {
                if let Some(connection) = self.connections.get(&id) {
                    self.deadlines.by(id, connection.deadline());
                }
            }
            Err(reason) => self.end(id, reason),
        }
    }

    fn end(&mut self, id: ConnectionId, reason: CloseReason) {
        let Some(mut connection) = self.connections.remove(&id) else { return };
        self.deadlines.forget(id);
        let _ = self.registry.deregister(&mut connection.pipe.socket);
        let flow = connection.flow;
        if connection.ours {
            // Another one may lead there by now.
            if self.ours.get(&flow.hop()) == Some(&id) {
                self.ours.remove(&flow.hop());
                self.ended.push_back(flow.hop());
            }
        } else if let Some(count) = self.by_source.get_mut(&SourceKey::of(flow.peer.ip())) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.by_source.remove(&SourceKey::of(flow.peer.ip()));
            }
        }
        self.counts.close(reason);
        tracing::debug!(%flow, reason = reason.label(), "Connection ended");
        for bytes in connection.into_unsent() {
            self.lose(bytes);
        }
    }

    fn lose(&mut self, bytes: Arc<[u8]>) {
        self.counts.unsent += 1;
        self.unsent.push_back(bytes);
    }
}
