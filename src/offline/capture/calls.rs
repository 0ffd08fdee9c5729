//! Calls of a capture, as their SIP has them: where each leg's audio comes from, what its payload types mean, answer,
//! end.
//!
//! In: datagrams and TCP segments with their time. Messages of one Call-ID are one call, on whatever side of a proxy
//! they were captured.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use crate::rtp::control::{Codec, StreamPlan};
use crate::rtp::relay::Payloads;
use crate::sip::framing::{Frame, Framer};
use crate::sip::wire::sdp::Sdp;
use crate::sip::wire::{Index, Limits, Message, Method, StatusCode};
use crate::units::Leg;

/// Calls that are told apart.
const MOST_CALLS: usize = 4_096;

/// Descriptions of one call that are remembered.
const MOST_DESCRIPTIONS: usize = 1_024;

/// Directions of TCP connections that are followed.
const MOST_CONNECTIONS: usize = 1_024;

/// Letters of an address that are shown.
const SHOWN: usize = 60;

/// One call.
#[derive(Debug)]
pub(super) struct Call {
    /// Whose it is, for a person.
    pub(super) name: String,
    caller_tag: String,
    pub(super) begun: Duration,
    pub(super) answered: Option<Duration>,
    pub(super) ended: Option<Duration>,
    descriptions: Vec<Description>,
}

/// What one session description says of a leg.
#[derive(Debug)]
struct Description {
    at: Duration,
    leg: Leg,
    plan: StreamPlan,
    /// Neither RTP/AVP nor RTP/AVPF.
    sealed: bool,
    /// It has keys for SRTP (RFC 4568).
    keys: bool,
    /// Audio that is not heard.
    unheard: Vec<(u8, String)>,
}

/// All of them, in the order in which they begin.
#[derive(Default)]
pub(super) struct Calls {
    index: Index,
    connections: HashMap<(SocketAddr, SocketAddr), Connection>,
    book: Book,
}

#[derive(Default)]
struct Book {
    by_id: HashMap<String, usize>,
    calls: Vec<Call>,
}

/// One direction of a TCP connection.
struct Connection {
    framer: Framer,
    /// Number of the byte that comes next.
    next: u32,
}

impl Calls {
    pub(super) fn all(&self) -> &[Call] {
        &self.book.calls
    }

    pub(super) fn datagram(&mut self, at: Duration, bytes: &[u8]) {
        if let Ok(message) = self.index.read(bytes, &Limits::default()) {
            self.book.message(at, &message);
        }
    }

    /// Segments in their order; behind a gap the stream is found again where a segment begins with a message.
    pub(super) fn segment(&mut self, at: Duration, ends: (SocketAddr, SocketAddr), number: u32, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let ahead = self.connections.get(&ends).map(|connection| number.wrapping_sub(connection.next) as i32);
        match ahead {
            Some(0) => {}
            // It has come before.
            Some(..0) => return,
            Some(1..) | None => {
                self.connections.remove(&ends);
                if !begins_with_message(bytes) || self.connections.len() >= MOST_CONNECTIONS {
                    return;
                }
            }
        }
        let connection =
            self.connections.entry(ends).or_insert_with(|| Connection { framer: Framer::new(), next: number });
        connection.next = number.wrapping_add(bytes.len() as u32);
        connection.framer.push(bytes);
        let limits = Limits::default();
        loop {
            match connection.framer.next(&limits) {
                Ok(Some(Frame::Message(bytes))) => {
                    if let Ok(message) = self.index.read(bytes, &limits) {
                        self.book.message(at, &message);
                    }
                }
                Ok(Some(Frame::Ping)) => {}
                Ok(None) => break,
                Err(_) => {
                    self.connections.remove(&ends);
                    break;
                }
            }
        }
    }
}

/// Its first line is one of SIP.
fn begins_with_message(bytes: &[u8]) -> bool {
    let line = bytes.split(|byte| *byte == b'\r').next().unwrap_or_default();
    line.starts_with(b"SIP/2.0 ") || line.ends_with(b" SIP/2.0")
}

impl Book {
    fn message(&mut self, at: Duration, message: &Message<'_>) {
        let (Ok(from), Ok(to), Ok(cseq)) = (message.from(), message.to(), message.cseq()) else { return };
        let of_invite = cseq.method == Method::Invite;
        let tag = from.tag().unwrap_or_default();
        let number = match self.by_id.get(message.call_id()) {
            Some(number) => *number,
            None if of_invite && self.calls.len() < MOST_CALLS => {
                let name = format!("{} to {} (Call-ID {})", shown(from.uri), shown(to.uri), shown(message.call_id()));
                self.by_id.insert(message.call_id().to_owned(), self.calls.len());
                self.calls.push(Call {
                    name,
                    caller_tag: tag.to_owned(),
                    begun: at,
                    answered: None,
                    ended: None,
                    descriptions: Vec::new(),
                });
                self.calls.len() - 1
            }
            None => return,
        };
        let Some(call) = self.calls.get_mut(number) else { return };
        let request_of_the_callers = tag == call.caller_tag;
        let leg = if message.method().is_some() == request_of_the_callers { Leg::Caller } else { Leg::Callee };
        if message.has_sdp() {
            call.describes(at, leg, message.sdp());
        }
        if of_invite && message.status() == Some(StatusCode::OK) {
            call.answered.get_or_insert(at);
        }
        if message.method() == Some(Method::Bye) {
            call.ended.get_or_insert(at);
        }
    }
}

impl Call {
    fn describes(&mut self, at: Duration, leg: Leg, body: &[u8]) {
        let Ok(sdp) = Sdp::read(body) else { return };
        let Some(media) = sdp.anchored_media().filter(|_| self.descriptions.len() < MOST_DESCRIPTIONS) else { return };
        let plan = StreamPlan::described(media.rtp(), media.encodings());
        let is_unheard = |&(_, encoding, clock): &(u8, &str, u32)| Codec::named(encoding, clock).is_none();
        let unheard = media.encodings().filter(is_unheard).map(|(number, encoding, _)| (number, shown(encoding)));
        let unheard = unheard.collect();
        self.descriptions.push(Description {
            at,
            leg,
            plan,
            sealed: !media.is_plain_rtp(),
            keys: !media.crypto.is_empty(),
            unheard,
        });
    }

    fn of(&self, leg: Leg) -> impl DoubleEndedIterator<Item = &Description> {
        self.descriptions.iter().filter(move |described| described.leg == leg)
    }

    /// Whether packets from one address to another are this leg's: it or its peer has said so.
    pub(super) fn is_of(&self, leg: Leg, from: SocketAddr, to: SocketAddr) -> bool {
        self.descriptions
            .iter()
            .any(|described| described.plan.rtp == Some(if described.leg == leg { from } else { to }))
    }

    /// Its audio was encrypted.
    pub(super) fn is_sealed(&self) -> bool {
        let last = |leg| self.of(leg).next_back();
        let [caller, callee] = Leg::BOTH.map(last);
        let keys = |described: Option<&Description>| described.is_some_and(|described| described.keys);
        [caller, callee].into_iter().flatten().any(|described| described.sealed) || keys(caller) && keys(callee)
    }

    /// What this leg's packets hold, from when on.
    pub(super) fn payloads(&self, leg: Leg) -> Vec<(Duration, Payloads)> {
        let first = |leg| self.of(leg).next().map(|described| &described.plan);
        let nothing = StreamPlan::default();
        let (mut own, mut given) = (first(leg).unwrap_or(&nothing), first(leg.other()).unwrap_or(&nothing));
        let mut from = Vec::new();
        for described in &self.descriptions {
            if described.leg == leg {
                own = &described.plan;
            } else {
                given = &described.plan;
            }
            from.push((described.at, Payloads::new(given, own)));
        }
        from
    }

    /// What it calls a payload type that is not heard.
    pub(super) fn unheard(&self, payload_type: u8) -> Option<&str> {
        let mut all = self.descriptions.iter().flat_map(|described| &described.unheard);
        all.find(|(number, _)| *number == payload_type).map(|(_, name)| name.as_str())
    }
}

/// For a terminal: whoever sent it may have put anything in.
fn shown(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(SHOWN).collect()
}
