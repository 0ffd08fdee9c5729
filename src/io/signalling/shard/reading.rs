//! What comes from the network: through the gate, and in its turn, to the switchboard.

use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use super::{MESSAGES_A_TURN, Shard};
use crate::call::Input;
use crate::gate::{Admission, DropReason, SourceKey, Turn};
use crate::io::clock;
use crate::io::streams::{CloseReason, Incoming};
use crate::sip::flow::{ConnectionId, Flow};
use crate::sip::wire;

/// Datagrams taken from one socket before anything else gets its turn.
const DATAGRAMS_A_TURN: usize = 128;
/// Messages that have waited, handled in one turn while the sockets have more: reading must keep up with what comes.
const WAITED_A_TURN: usize = 32;
/// Connections accepted in one turn.
const ACCEPTS_A_TURN: usize = 64;
/// Readings of connections in one turn, of one buffer each.
const READINGS_A_TURN: usize = 32;
/// Read from a connection at a time: no connection holds the others up for more than this.
const READING_BYTES: usize = 16 * 1024;

impl Shard {
    /// True if there may be more to read.
    pub(super) fn read(&mut self, number: usize, buffer: &mut [u8]) -> bool {
        for _ in 0..DATAGRAMS_A_TURN {
            let Some(Some(socket)) = self.sockets.get(number) else { return false };
            match socket.recv_from(buffer) {
                Ok((length, peer)) => {
                    let now = clock::now();
                    self.counted.received += 1;
                    self.take_datagram(buffer.get(..length).unwrap_or_default(), peer, number, now);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                // An ICMP error of an earlier send arrives here; the socket goes on.
                Err(_) => {}
            }
        }
        true
    }

    pub(super) fn take_datagram(&mut self, bytes: &[u8], peer: SocketAddr, number: usize, now: Instant) {
        if self.switchboard.vouches(peer, bytes) {
            self.gate.vouch(peer.ip(), now);
        }
        match self.admit(bytes, (peer, false), now) {
            Admission::Pass => {
                let listener = u8::try_from(number).unwrap_or(u8::MAX);
                let flow = Flow::datagram(listener, peer);
                if self.overload.is_idle() {
                    return self.handle(bytes, flow, now);
                }
                let source = SourceKey::of(peer.ip());
                let known = self.switchboard.expects(peer, bytes);
                let begins = wire::begins(bytes) && !self.switchboard.asks_for_help(peer, bytes);
                match self.overload.turn(source, known, begins, now) {
                    Turn::Now => self.handle(bytes, flow, now),
                    Turn::Later => self.overload.wait(source, (bytes.to_vec(), flow), bytes.len()),
                    Turn::Dropped => self.count_gated(DropReason::Overload),
                }
            }
            Admission::Drop(reason) => self.count_gated(reason),
        }
    }

    /// May a message be read? A call for help does not wait until a PBX that sends too much has calmed down.
    fn admit(&mut self, bytes: &[u8], (peer, proven): (SocketAddr, bool), now: Instant) -> Admission {
        let admission = self.gate.message(peer.ip(), proven, now);
        let over = admission == Admission::Drop(DropReason::OverMessageLimit);
        let spared = over && self.switchboard.asks_for_help(peer, bytes) && self.gate.helps(now);
        if spared { Admission::Pass } else { admission }
    }

    /// Messages that have waited for their turn. True if there are more.
    pub(super) fn take_waiting(&mut self, behind: bool) -> bool {
        let most = if behind { WAITED_A_TURN } else { MESSAGES_A_TURN };
        for _ in 0..most {
            let Some((_, (bytes, flow))) = self.overload.pop() else { return false };
            self.handle(&bytes, flow, clock::now());
        }
        self.overload.is_waiting()
    }

    fn handle(&mut self, bytes: &[u8], flow: Flow, now: Instant) {
        let full = self.switchboard.counters().table_full;
        self.step(|switchboard| switchboard.handle_input(Input::Message { bytes, flow }, now), now);
        if self.switchboard.counters().table_full > full {
            self.overload.refuse(SourceKey::of(flow.peer.ip()), now);
        }
    }

    /// New connections, and what came on open ones. True if there may be more.
    pub(super) fn take_connections(&mut self, buffer: &mut [u8]) -> bool {
        for _ in 0..ACCEPTS_A_TURN {
            let now = clock::now();
            let Some((number, socket, peer)) = self.streams.accept() else { break };
            // A connection counts as a message: whoever floods with them is blocked by the same limit.
            match self.gate.message(peer.ip(), true, now) {
                Admission::Pass if self.switchboard.knows(peer) => self.streams.admit(number, socket, peer, now),
                Admission::Pass => {}
                Admission::Drop(reason) => self.count_gated(reason),
            }
        }
        let buffer = buffer.get_mut(..READING_BYTES).unwrap_or_default();
        for _ in 0..READINGS_A_TURN {
            let Some(id) = self.streams.next_readable() else { break };
            self.read_connection(id, buffer);
        }
        self.streams.has_more()
    }

    fn read_connection(&mut self, id: ConnectionId, buffer: &mut [u8]) {
        let mut message = std::mem::take(&mut self.message);
        let now = clock::now();
        let end = self.streams.read(id, buffer, now);
        while let Some((flow, incoming)) = self.streams.take(id, &mut message, now) {
            self.counted.received += 1;
            match self.admit(&message, (flow.peer, true), now) {
                Admission::Pass => self.handle_incoming(incoming, &message, flow, now),
                Admission::Drop(reason) => self.shut_out(&incoming, reason, flow),
            }
        }
        self.streams.finish(id, end);
        self.message = message;
    }

    /// What came on a connection; `message`: its bytes, where it is one.
    fn handle_incoming(&mut self, incoming: Incoming, message: &[u8], flow: Flow, now: Instant) {
        match incoming {
            Incoming::Message => {
                let input = Input::Message { bytes: message, flow };
                self.step(|switchboard| switchboard.handle_input(input, now), now);
            }
            Incoming::Ping => self.streams.pong(flow, now),
            Incoming::Bad(bad) => {
                let input = Input::BadFrame { head: &bad.head, error: bad.error, flow };
                self.step(|switchboard| switchboard.handle_input(input, now), now);
                self.streams.close_after_writing(flow, CloseReason::BadFrame, now);
            }
        }
    }

    /// The gate does not let it in. A source that is blocked loses its connection, and so does a stream that cannot be
    /// read on.
    fn shut_out(&mut self, incoming: &Incoming, reason: DropReason, flow: Flow) {
        self.count_gated(reason);
        match (reason, incoming) {
            (DropReason::Denied | DropReason::Blocked, _) => self.streams.close(flow, CloseReason::Gate),
            (DropReason::OverMessageLimit | DropReason::Overload, Incoming::Bad(_)) => {
                self.streams.close(flow, CloseReason::BadFrame);
            }
            (DropReason::OverMessageLimit | DropReason::Overload, Incoming::Message | Incoming::Ping) => {}
        }
    }
}
