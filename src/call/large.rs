//! Requests that may not fit into a datagram go over a connection (RFC 3261 §18.1.1).
//!
//! Only where we listen on TCP, so that the peer can answer there, and only one request at a time: the call, its
//! Contact and what is inside the dialog stay with UDP. Where no connection can be had, or nothing comes of it, the
//! same request goes as a datagram after all, and the peer is not asked again for a while.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::switchboard::Switchboard;
use crate::sip::flow::{Flow, Hop, Transport};
use crate::sip::transaction::ClientId;
use crate::sip::wire::{Edits, Index, Name};

/// A datagram of more bytes may be cut on its way, where nothing is known of the way.
const FITS: usize = 1_300;
/// A peer that takes no connection is asked again after this.
const ASKED_AGAIN: Duration = Duration::from_secs(10 * 60);
/// Peers that are remembered: far more than there are trunks.
const MOST_PEERS: usize = 256;

impl Switchboard {
    /// Sends a reserved request the way that its size asks for.
    pub(super) fn send(&mut self, client: ClientId, bytes: &[u8], flow: Flow, now: Instant) {
        match self.over_stream(bytes, flow, now) {
            Some((moved, stream)) => {
                self.counters.large_requests += 1;
                self.transactions.send_or(client, (&moved, stream), (bytes, flow), now);
            }
            None => self.transactions.send(client, bytes, flow, now),
        }
    }

    /// The request and its way where that is a connection.
    fn over_stream(&self, bytes: &[u8], flow: Flow, now: Instant) -> Option<(Vec<u8>, Flow)> {
        let datagram = flow.transport == Transport::Udp;
        if !datagram || bytes.len() <= FITS || !self.settings.large_over_tcp {
            return None;
        }
        if self.no_stream.get(&flow.peer).is_some_and(|until| now < *until) {
            return None;
        }
        let side = self.side_of(flow.peer)?;
        let stream = Hop { address: flow.peer, transport: Transport::Tcp };
        let local = self.settings.listens(side, stream)?;
        let mut index = Index::new();
        let message = index.read(bytes, &self.settings.wire_limits).ok()?;
        let (via, branch) = (message.header(Name::Via)?, message.via().ok()?.branch()?);
        let mut edits = Edits::new();
        edits.replace(&message, via.value, &format!("SIP/2.0/TCP {};branch={branch};rport", local.address));
        let mut moved = Vec::new();
        edits.apply(&message, &mut moved);
        Some((moved, Flow::to(stream)))
    }

    /// A peer takes no connection.
    pub(super) fn fell_back(&mut self, client: ClientId, now: Instant) {
        self.counters.large_fell_back += 1;
        let Some((flow, _)) = self.transactions.sent(client) else { return };
        if self.no_stream.len() >= MOST_PEERS {
            self.no_stream.retain(|_, until| now < *until);
        }
        if self.no_stream.len() < MOST_PEERS {
            self.no_stream.insert(flow.peer, now + ASKED_AGAIN);
        }
    }
}

/// Peers that take no connection, until when.
pub(super) type NoStream = std::collections::HashMap<SocketAddr, Instant>;
