//! Copies of what a call sounds like, on their way to the ear.
//!
//! A ring of bytes for each media thread: a record for each packet, as long as its payload. What does not fit is lost,
//! and nobody waits.

use std::time::{Duration, Instant};

use super::worker::MAX_DATAGRAM;
use crate::audio::framer::{Arrived, Content};
use crate::audio::g711::Law;
use crate::rtp::control::Codec;
use crate::rtp::packet::{HEADER, Header};
use crate::units::{CallId, CallTime, Leg, RtpTimestamp, SequenceNumber, Ssrc};

/// Bytes of a payload that are copied: all that is relayed, or a caller would not be heard by whoever listens here, and
/// by the callee all the same.
pub const MAX_TAP_PAYLOAD: usize = MAX_DATAGRAM - HEADER;

/// Bytes of a ring: 100 ms of 500 calls.
pub(super) const RING: usize = 1 << 20;

/// Bytes of a record before its payload.
const HEAD: usize = 32;

/// What comes out of the ring, in order.
#[derive(Clone, Copy, Debug)]
pub enum TapItem<'a> {
    /// The callee answered and the call is to be heard: call time 0 is `answered`.
    Started {
        /// Which.
        call: CallId,
        /// Call time 0.
        answered: Instant,
    },
    /// One packet of a started call, as it came: before anything was rewritten.
    Packet {
        /// Which.
        call: CallId,
        /// Who spoke.
        leg: Leg,
        /// In the framer's words.
        arrived: Arrived<'a>,
    },
    /// Nothing more comes of this call.
    Stopped {
        /// Which.
        call: CallId,
    },
}

/// What a copied payload holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TapContent {
    /// Audio of this codec.
    Audio(Codec),
    /// Comfort noise (RFC 3389).
    Noise,
}

impl TapContent {
    fn code(self) -> u8 {
        match self {
            Self::Audio(Codec::Pcmu) => 0,
            Self::Audio(Codec::Pcma) => 1,
            Self::Noise => 2,
            Self::Audio(Codec::G722) => 3,
            Self::Audio(Codec::Opus) => 4,
        }
    }
}

fn content(code: u8) -> Content {
    match code {
        0 => Content::Audio(Law::Mu),
        1 => Content::Audio(Law::A),
        3 => Content::G722,
        4 => Content::Opus,
        _ => Content::Noise,
    }
}

/// Kinds of records.
const STARTED: u8 = 0;
const STOPPED: u8 = 1;
const PACKET: u8 = 2;

/// A start or a stop.
#[derive(Clone, Copy, Debug)]
pub(super) enum TapControl {
    Started { call: CallId, answered: Instant },
    Stopped { call: CallId },
}

/// Both ends of a ring. `now` becomes the zero of its times.
pub(super) fn ring(now: Instant) -> (TapWriter, TapReader) {
    let (producer, consumer) = rtrb::RingBuffer::new(RING);
    (TapWriter { ring: producer, epoch: now }, TapReader { ring: consumer, epoch: now, joint: [0; MAX_TAP_PAYLOAD] })
}

/// The media thread's end.
pub(super) struct TapWriter {
    ring: rtrb::Producer<u8>,
    epoch: Instant,
}

impl TapWriter {
    /// False: there is no room.
    pub(super) fn control(&mut self, control: TapControl) -> bool {
        let (kind, call, at) = match control {
            TapControl::Started { call, answered } => (STARTED, call, answered.saturating_duration_since(self.epoch)),
            TapControl::Stopped { call } => (STOPPED, call, Duration::ZERO),
        };
        self.write(Head { kind, call: call.0, at: nanos(at), ..Head::default() }, &[])
    }

    /// Copies a packet of `leg`; false if it was lost.
    pub(super) fn packet(
        &mut self,
        call: CallId,
        leg: Leg,
        at: CallTime,
        header: &Header,
        content: TapContent,
        payload: &[u8],
    ) -> bool {
        let head = Head {
            kind: PACKET,
            leg: u8::from(leg == Leg::Callee),
            content: content.code(),
            call: call.0,
            at: nanos(at.0),
            sequence: header.sequence.0,
            timestamp: header.timestamp.0,
            ssrc: header.ssrc.0,
            length: 0,
        };
        payload.len() <= MAX_TAP_PAYLOAD && self.write(head, payload)
    }

    fn write(&mut self, head: Head, payload: &[u8]) -> bool {
        let Ok(mut chunk) = self.ring.write_chunk(HEAD + payload.len()) else { return false };
        let head = Head { length: payload.len() as u16, ..head }.to_bytes();
        let (first, second) = chunk.as_mut_slices();
        let mut rest = payload;
        if let Some((start, behind)) = first.split_at_mut_checked(HEAD) {
            start.copy_from_slice(&head);
            let (before, after) = rest.split_at(behind.len().min(rest.len()));
            behind.copy_from_slice(before);
            rest = after;
            second.copy_from_slice(rest);
        } else {
            for (to, from) in first.iter_mut().chain(second).zip(head.iter().chain(rest)) {
                *to = *from;
            }
        }
        chunk.commit_all();
        true
    }
}

/// The ear's end. To be emptied at least every 20 ms.
pub struct TapReader {
    ring: rtrb::Consumer<u8>,
    epoch: Instant,
    /// A payload that lies across the ring's end.
    joint: [u8; MAX_TAP_PAYLOAD],
}

impl TapReader {
    /// Takes everything that is there.
    pub fn drain(&mut self, mut take: impl FnMut(TapItem<'_>)) {
        let Self { ring, epoch, joint } = self;
        let Ok(chunk) = ring.read_chunk(ring.slots()) else { return };
        let (mut first, mut second) = chunk.as_slices();
        loop {
            let mut head = [0; HEAD];
            if !skim(&mut first, &mut second, &mut head) {
                break;
            }
            let head = Head::from_bytes(head);
            let length = usize::from(head.length);
            let payload = if first.len() >= length {
                let (payload, rest) = first.split_at(length);
                first = rest;
                payload
            } else {
                let Some(joint) = joint.get_mut(..length) else { break };
                if !skim(&mut first, &mut second, joint) {
                    break;
                }
                joint
            };
            let call = CallId(head.call);
            take(match head.kind {
                STARTED => TapItem::Started { call, answered: *epoch + Duration::from_nanos(head.at) },
                STOPPED => TapItem::Stopped { call },
                _ => TapItem::Packet {
                    call,
                    leg: if head.leg == 0 { Leg::Caller } else { Leg::Callee },
                    arrived: Arrived {
                        at: CallTime(Duration::from_nanos(head.at)),
                        sequence: SequenceNumber(head.sequence),
                        timestamp: RtpTimestamp(head.timestamp),
                        ssrc: Ssrc(head.ssrc),
                        content: content(head.content),
                        payload,
                    },
                },
            });
        }
        chunk.commit_all();
    }
}

/// Fills `out` from both parts of a ring; false if they hold less.
fn skim<'a>(first: &mut &'a [u8], second: &mut &'a [u8], out: &mut [u8]) -> bool {
    let near = first.len().min(out.len());
    let (front, back) = out.split_at_mut(near);
    let (Some((a, rest)), Some((b, behind))) = (first.split_at_checked(near), second.split_at_checked(back.len()))
    else {
        return false;
    };
    front.copy_from_slice(a);
    back.copy_from_slice(b);
    (*first, *second) = (rest, behind);
    if first.is_empty() {
        (*first, *second) = (*second, &[]);
    }
    true
}

/// Of a record.
#[derive(Clone, Copy, Default)]
struct Head {
    kind: u8,
    leg: u8,
    content: u8,
    length: u16,
    call: u64,
    at: u64,
    sequence: u16,
    timestamp: u32,
    ssrc: u32,
}

impl Head {
    fn to_bytes(self) -> [u8; HEAD] {
        let [c0, c1, c2, c3, c4, c5, c6, c7] = self.call.to_ne_bytes();
        let [a0, a1, a2, a3, a4, a5, a6, a7] = self.at.to_ne_bytes();
        let [t0, t1, t2, t3] = self.timestamp.to_ne_bytes();
        let [r0, r1, r2, r3] = self.ssrc.to_ne_bytes();
        let ([s0, s1], [l0, l1]) = (self.sequence.to_ne_bytes(), self.length.to_ne_bytes());
        let Self { kind, leg, content, .. } = self;
        [
            c0, c1, c2, c3, c4, c5, c6, c7, a0, a1, a2, a3, a4, a5, a6, a7, t0, t1, t2, t3, r0, r1, r2, r3, s0, s1, l0,
            l1, kind, leg, content, 0,
        ]
    }

    fn from_bytes(bytes: [u8; HEAD]) -> Self {
        let [c0, c1, c2, c3, c4, c5, c6, c7, a0, a1, a2, a3, a4, a5, a6, a7, rest @ ..] = bytes;
        let [t0, t1, t2, t3, r0, r1, r2, r3, s0, s1, l0, l1, kind, leg, content, _] = rest;
        Self {
            kind,
            leg,
            content,
            length: u16::from_ne_bytes([l0, l1]),
            call: u64::from_ne_bytes([c0, c1, c2, c3, c4, c5, c6, c7]),
            at: u64::from_ne_bytes([a0, a1, a2, a3, a4, a5, a6, a7]),
            sequence: u16::from_ne_bytes([s0, s1]),
            timestamp: u32::from_ne_bytes([t0, t1, t2, t3]),
            ssrc: u32::from_ne_bytes([r0, r1, r2, r3]),
        }
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_out_as_they_went_in_across_the_end_of_the_ring() {
        let now = crate::io::clock::now();
        let (mut writer, mut reader) = ring(now);
        let mut came = Vec::new();
        for n in 0..20_000u32 {
            let header = Header {
                payload_type: 0,
                marker: false,
                sequence: SequenceNumber(n as u16),
                timestamp: RtpTimestamp(n * 160),
                ssrc: Ssrc(!n),
                payload: 12..172,
            };
            let (leg, at) =
                (if n.is_multiple_of(3) { Leg::Callee } else { Leg::Caller }, CallTime::from_millis(u64::from(n)));
            let payload = vec![n as u8; (n % 1_276) as usize];
            let control = TapControl::Started { call: CallId(9), answered: now + Duration::from_nanos(u64::from(n)) };
            assert!(!n.is_multiple_of(100) || writer.control(control));
            assert!(writer.packet(CallId(u64::from(n)), leg, at, &header, TapContent::Audio(Codec::Pcma), &payload));
            if n.is_multiple_of(777) || n == 19_999 {
                reader.drain(|item| match item {
                    TapItem::Packet { call, leg, arrived } => {
                        let n = came.len() as u32;
                        assert_eq!((call.0, leg == Leg::Callee), (u64::from(n), n.is_multiple_of(3)));
                        assert_eq!((arrived.sequence.0, arrived.timestamp.0, arrived.ssrc.0), (n as u16, n * 160, !n));
                        assert_eq!(
                            (arrived.at, arrived.content),
                            (CallTime::from_millis(u64::from(n)), Content::Audio(Law::A))
                        );
                        assert_eq!(arrived.payload, vec![n as u8; (n % 1_276) as usize]);
                        came.push(n);
                    }
                    TapItem::Started { call, answered } => {
                        assert_eq!((call.0, (answered - now).as_nanos()), (9, came.len() as u128));
                    }
                    TapItem::Stopped { .. } => assert!(came.is_empty(), "none was written"),
                });
            }
        }
        assert_eq!(came.len(), 20_000);
    }

    #[test]
    fn the_longest_packet_that_is_relayed_is_copied_whole() {
        let (mut writer, mut reader) = ring(crate::io::clock::now());
        let header = Header::read(&[0x80; 600]).unwrap_or_else(|| unreachable!("long enough"));
        let payload = [9; MAX_DATAGRAM - HEADER];
        let content = TapContent::Audio(Codec::Pcmu);

        assert!(writer.packet(CallId(1), Leg::Caller, CallTime::ZERO, &header, content, &payload));

        let mut came = Vec::new();
        reader.drain(|item| {
            if let TapItem::Packet { arrived, .. } = item {
                came = arrived.payload.to_vec();
            }
        });
        assert_eq!(came, payload);
    }

    #[test]
    fn what_does_not_fit_is_lost_and_what_follows_is_not() {
        let (mut writer, mut reader) = ring(crate::io::clock::now());
        let mut written = 0;
        while writer.control(TapControl::Stopped { call: CallId(written) }) {
            written += 1;
        }
        assert_eq!(written, (RING / HEAD) as u64);

        let mut stopped = 0;
        reader.drain(|_| stopped += 1);
        assert_eq!(stopped, written);
        assert!(writer.control(TapControl::Stopped { call: CallId(1) }));
        let header = Header::read(&[0x80; 600]).unwrap_or_else(|| unreachable!("long enough"));
        let long = [0; MAX_TAP_PAYLOAD + 1];
        assert!(!writer.packet(CallId(1), Leg::Caller, CallTime::ZERO, &header, TapContent::Noise, &long));
    }
}
