//! What one peer receives, as ONE stream: forwarded packets, then a prompt, then forwarded packets again.
//!
//! A receiver takes a sudden SSRC or a jump of sequence or timestamp for a new source, and many phones then drop audio
//! for a while. So a prompt goes on where the forwarded stream stood, and what is forwarded after it is moved by a
//! fixed offset onto where the prompt ended. Before the first prompt packets pass untouched.
//!
//! Invariant: after a prompt the SSRC never changes, and sequence and timestamp only grow (RFC 3550 §5.1).

use std::ops::Deref;
use std::time::{Duration, Instant};

use super::packet::{HEADER, Header};
use super::report::{About, Moved, Sender};
use crate::units::{RtpTimestamp, SampleRate, SequenceNumber, Ssrc};

/// Samples, and with G.711 bytes, in a packet of a prompt: 20 ms.
pub const PACKET_SAMPLES: usize = 160;

/// The longest packet of a prompt.
pub const PACKET_BYTES: usize = HEADER + PACKET_SAMPLES;

/// Time that a packet of a prompt takes, and from one to the next.
pub const PACKET_TIME: Duration = Duration::from_millis(20);

/// A packet this far before the first one that was forwarded after a prompt is no straggler: the source has restarted.
const MAX_STRAGGLE: i16 = 100;

/// Where the stream that a peer receives stands, and how forwarded packets are moved onto it.
#[derive(Clone, Debug)]
pub struct Outgoing {
    last: Sent,
    /// How often its sequence numbers have come round, as its receiver counts it.
    rounds: u16,
    /// At which its timestamps run.
    clock: SampleRate,
    started: bool,
    shift: Shift,
    /// What is added to the source's sequence numbers, rounds and all, to get those of the stream (RFC 3550 §6.4.1).
    added_numbers: u32,
    /// Of all that was sent.
    total: Total,
    /// Whose packets were forwarded last.
    source: Option<Ssrc>,
    /// What is to be added to that source's own counts to get those of the stream.
    added: Total,
    /// What was held back of a source of which nothing has been forwarded yet.
    held: Option<(Ssrc, Total)>,
}

/// Packets and octets of payload, modulo 2^32 as in a sender's report.
#[derive(Clone, Copy, Debug, Default)]
struct Total {
    packets: u32,
    octets: u32,
}

impl Total {
    fn count(&mut self, octets: usize) {
        self.packets = self.packets.wrapping_add(1);
        self.octets = self.octets.wrapping_add(octets as u32);
    }

    fn without(self, other: Self) -> Self {
        let packets = self.packets.wrapping_sub(other.packets);
        Self { packets, octets: self.octets.wrapping_sub(other.octets) }
    }
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    ssrc: Ssrc,
    sequence: SequenceNumber,
    timestamp: RtpTimestamp,
    at: Instant,
}

#[derive(Clone, Copy, Debug)]
enum Shift {
    /// No prompt was ever played here, and nothing left out: packets pass as they are.
    Untouched,
    /// A prompt has been played; the next forwarded packet settles the offset.
    Pending,
    /// Packets of `source` from `first` on are moved by these.
    By { source: Ssrc, first: SequenceNumber, timestamp: u32 },
}

impl Outgoing {
    /// A stream that has sent nothing. `random` sets where it begins if a prompt comes first (RFC 3550 §5.1, §8.1).
    #[must_use]
    pub fn new(random: u64, now: Instant) -> Self {
        let [a, b, c, d, e, f, g, h] = random.to_le_bytes();
        let last = Sent {
            ssrc: Ssrc(u32::from_le_bytes([a, b, c, d])),
            sequence: SequenceNumber(u16::from_le_bytes([e, f]) >> 1),
            timestamp: RtpTimestamp(u32::from(u16::from_le_bytes([g, h])) << 8),
            at: now,
        };
        let none = Total::default();
        Self {
            last,
            rounds: 0,
            clock: SampleRate::TELEPHONE,
            started: false,
            shift: Shift::Untouched,
            added_numbers: 0,
            total: none,
            source: None,
            added: none,
            held: None,
        }
    }

    /// What is sent from now on is counted by this clock.
    pub(crate) fn runs_at(&mut self, clock: SampleRate) {
        self.clock = clock;
    }

    /// Moves a packet that is about to be forwarded onto the stream; false if it belongs before a prompt and must not
    /// be sent. Writes to `packet` only if there is something to move.
    pub fn forward(&mut self, header: &Header, packet: &mut [u8], now: Instant) -> bool {
        let settled = matches!(self.shift, Shift::By { source, first, .. }
            if source == header.ssrc && header.sequence.since(first) > -MAX_STRAGGLE);
        if !settled && !matches!(self.shift, Shift::Untouched) {
            let next = self.next(now);
            self.added_numbers = self.numbers_to(next.sequence, header);
            self.shift = Shift::By {
                source: header.ssrc,
                first: header.sequence,
                timestamp: next.timestamp.0.wrapping_sub(header.timestamp.0),
            };
        }
        let Some(sent) = self.moved(header, settled, packet, now) else {
            self.held_back(header);
            return false;
        };
        if self.source != Some(header.ssrc) {
            self.take_up(header.ssrc);
        }
        self.total.count(header.payload.len());
        // A packet that came out of order does not set the stream back.
        if !self.started || sent.ssrc != self.last.ssrc || sent.sequence.since(self.last.sequence) > 0 {
            self.reach(sent);
        }
        true
    }

    /// The packet as it stands in the stream, and written so. None: it belongs before a prompt. `settled`: not the
    /// first one behind it.
    fn moved(&mut self, header: &Header, settled: bool, packet: &mut [u8], now: Instant) -> Option<Sent> {
        let mut sent = Sent { ssrc: header.ssrc, sequence: header.sequence, timestamp: header.timestamp, at: now };
        let Shift::By { first, timestamp, .. } = &mut self.shift else { return Some(sent) };
        let ahead = header.sequence.since(*first);
        if ahead < 0 {
            return None;
        }
        // Follows the stream, so that the comparison stays right after half the number space.
        if ahead > 1_000 {
            *first = SequenceNumber(first.0.wrapping_add(500));
        }
        sent.ssrc = self.last.ssrc;
        sent.sequence.0 = sent.sequence.0.wrapping_add(self.added_numbers as u16);
        sent.timestamp.0 = sent.timestamp.0.wrapping_add(*timestamp);
        Header {
            // The first one behind a prompt, or behind what was left out.
            marker: header.marker || !settled || ahead == 0,
            ssrc: sent.ssrc,
            sequence: sent.sequence,
            timestamp: sent.timestamp,
            ..header.clone()
        }
        .stamp(packet);
        Some(sent)
    }

    /// Another source is forwarded from now on: its own counts begin with it.
    fn take_up(&mut self, source: Ssrc) {
        let held = self.held.take().filter(|(ssrc, _)| *ssrc == source).map_or_else(Total::default, |(_, held)| held);
        if let Shift::Untouched = self.shift {
            (self.added, self.added_numbers) = (Total::default(), 0);
        } else {
            self.added = self.total;
        }
        self.added = self.added.without(held);
        self.source = Some(source);
    }

    /// The stream has come as far as this.
    fn reach(&mut self, sent: Sent) {
        if !self.started || sent.ssrc != self.last.ssrc {
            self.rounds = 0;
        } else if sent.sequence.0 < self.last.sequence.0 {
            self.rounds = self.rounds.wrapping_add(1);
        }
        self.last = sent;
        self.started = true;
    }

    /// What is added to the numbers of a source so that its packet with this header becomes the stream's `next` one.
    fn numbers_to(&self, next: SequenceNumber, header: &Header) -> u32 {
        let step = next.0.wrapping_sub(header.sequence.0);
        if self.source == Some(header.ssrc) {
            // Its rounds are counted on: no prompt is half a round long.
            let moved = step.wrapping_sub(self.added_numbers as u16) as i16;
            return self.added_numbers.wrapping_add_signed(moved.into());
        }
        let rounds = self.rounds.wrapping_add(u16::from(self.started && next.0 < self.last.sequence.0));
        (u32::from(rounds) << 16 | u32::from(next.0)).wrapping_sub(header.sequence.0.into())
    }

    /// The next packet of a prompt. `first`: it opens the prompt, so it is marked as the start of a talkspurt and its
    /// timestamp counts the time since the last packet; within a prompt it goes on without a gap whatever the clock.
    pub(super) fn prompt(&mut self, payload_type: u8, payload: &[u8], first: bool, now: Instant) -> Played {
        let mut sent = self.next(now);
        if !first {
            sent.timestamp.0 = self.last.timestamp.0.wrapping_add(self.clock.samples_in(PACKET_TIME) as u32);
        }
        self.own(sent, payload_type, payload, first)
    }

    /// The next packet of a key press. `first`: it opens the press, and its timestamp stands for all of it (RFC 4733
    /// §2.5.1.2).
    pub(super) fn event(&mut self, payload_type: u8, payload: &[u8], first: bool, now: Instant) -> Played {
        let mut sent = self.next(now);
        if !first {
            // What follows counts from the beginning of the press.
            (sent.timestamp, sent.at) = (self.last.timestamp, self.last.at);
        }
        self.own(sent, payload_type, payload, first)
    }

    fn own(&mut self, sent: Sent, payload_type: u8, payload: &[u8], marker: bool) -> Played {
        self.reach(sent);
        self.shift = Shift::Pending;
        self.total.count(payload.len());
        self.added.count(payload.len());
        let mut packet = [0; PACKET_BYTES];
        packet[0] = 0x80;
        let length = PACKET_BYTES.min(HEADER + payload.len());
        let (sequence, timestamp, ssrc) = (sent.sequence, sent.timestamp, sent.ssrc);
        Header { payload_type, marker, sequence, timestamp, ssrc, payload: HEADER..length }.stamp(&mut packet);
        for (to, from) in packet[HEADER..].iter_mut().zip(payload) {
            *to = *from;
        }
        Played { packet, length }
    }

    /// A packet that is left out for good while those around it are forwarded: what follows it moves up, so that its
    /// receiver sees a pause and no loss.
    pub(crate) fn left_out(&mut self, header: &Header) {
        self.held_back(header);
        let next = SequenceNumber(header.sequence.0.wrapping_add(1));
        match &mut self.shift {
            Shift::Untouched => {
                let follows = self.last.ssrc == header.ssrc && header.sequence.since(self.last.sequence) > 0;
                if self.started && follows {
                    self.shift = Shift::By { source: header.ssrc, first: next, timestamp: 0 };
                    self.added_numbers = self.added_numbers.wrapping_sub(1);
                }
            }
            Shift::By { source, first, .. } => {
                // One that has come twice is left out once.
                if *source == header.ssrc && header.sequence.since(*first) >= 0 {
                    *first = next;
                    self.added_numbers = self.added_numbers.wrapping_sub(1);
                }
            }
            Shift::Pending => {}
        }
    }

    /// A packet that would have gone here and has not.
    pub(crate) fn held_back(&mut self, header: &Header) {
        let octets = header.payload.len();
        if self.source == Some(header.ssrc) {
            let mut one = Total::default();
            one.count(octets);
            self.added = self.added.without(one);
        } else {
            let (_, mut held) =
                self.held.take().filter(|(ssrc, _)| *ssrc == header.ssrc).unwrap_or((header.ssrc, Total::default()));
            held.count(octets);
            self.held = Some((header.ssrc, held));
        }
    }

    /// How whoever receives this knows `source`, which sends what is forwarded. `flows`: it does so now.
    #[must_use]
    pub(crate) fn as_sender(&self, source: Ssrc, flows: bool) -> Sender {
        let moved = match self.shift {
            Shift::By { source: by, timestamp, .. } if by == source && flows => {
                Some(Moved { timestamp, packets: self.added.packets, octets: self.added.octets })
            }
            Shift::Untouched | Shift::Pending | Shift::By { .. } => None,
        };
        Sender { known_as: self.last.ssrc, moved }
    }

    /// How whoever receives this reports about it. `flows`: what is forwarded, not a prompt.
    #[must_use]
    pub(crate) fn as_heard(&self, flows: bool) -> About {
        let source = match self.shift {
            Shift::By { source, first, .. } if flows => Some((source, self.added_numbers, first)),
            Shift::Untouched | Shift::Pending | Shift::By { .. } => None,
        };
        About { heard_as: self.last.ssrc, source }
    }

    /// A prompt has been heard on this stream, or something was left out of it: reports about it no longer match what
    /// the other peer sends.
    #[must_use]
    pub(crate) fn is_spliced(&self) -> bool {
        !matches!(self.shift, Shift::Untouched)
    }

    /// What follows the last packet now: one number on, and the time that has passed, at least one packet's worth.
    fn next(&self, now: Instant) -> Sent {
        let passed = now.saturating_duration_since(self.last.at);
        let passed = passed.min(Duration::from_secs(86_400)).max(PACKET_TIME);
        let ticks = self.clock.samples_in(passed);
        Sent {
            ssrc: self.last.ssrc,
            sequence: SequenceNumber(self.last.sequence.0.wrapping_add(1)),
            timestamp: RtpTimestamp(self.last.timestamp.0.wrapping_add(ticks as u32)),
            at: now,
        }
    }
}

/// A packet of a prompt.
#[derive(Clone, Copy, Debug)]
pub struct Played {
    packet: [u8; PACKET_BYTES],
    length: usize,
}

impl Deref for Played {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.packet.get(..self.length).unwrap_or(&self.packet)
    }
}
