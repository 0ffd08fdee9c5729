//! What one peer receives, as ONE stream: forwarded packets, then a prompt, then forwarded packets again.
//!
//! A receiver takes a sudden SSRC or a jump of sequence or timestamp for a new source, and many phones then drop audio
//! for a while. So a prompt goes on where the forwarded stream stood, and what is forwarded after it is moved by a fixed
//! offset onto where the prompt ended. Before the first prompt packets pass untouched.
//!
//! Invariant: after a prompt the SSRC never changes, and sequence and timestamp only grow (RFC 3550 §5.1).

use std::collections::VecDeque;
use std::ops::Deref;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use super::control::Codec;
use super::packet::{HEADER, Header};
use super::press::Press;
use super::report::{About, Moved, Sender};
use crate::audio::g711::Law;
use crate::units::{RtpTimestamp, SampleRate, SequenceNumber, Ssrc};

/// Samples, and with G.711 bytes, in a packet of a prompt: 20 ms.
pub const PACKET_SAMPLES: usize = 160;

/// The longest packet of a prompt.
pub const PACKET_BYTES: usize = HEADER + PACKET_SAMPLES;

/// Bytes in a packet of a prompt in Opus: 24 kbit/s, constant. Twice what speech of a telephone's band needs.
pub const OPUS_BYTES: usize = 60;

/// Time that a packet of a prompt takes.
const PACKET_TIME: Duration = Duration::from_millis(20);

/// Prompts that may wait one after another; a divert plays two.
const MAX_QUEUE: usize = 8;

/// A prompt, encoded once for each codec that it can be played in.
#[derive(Clone, Debug)]
pub struct Prompt {
    /// mu-law, 8 kHz.
    pub pcmu: Arc<[u8]>,
    /// A-law, 8 kHz.
    pub pcma: Arc<[u8]>,
    /// G.722, whole packets.
    pub g722: Arc<[u8]>,
    /// Opus, packets of [`OPUS_BYTES`].
    pub opus: Late,
}

/// Audio that is encoded when it is asked for, or was before: encoding takes a while.
#[derive(Clone, Debug)]
pub struct Late(Arc<LazyLock<Arc<[u8]>, Encode>>);

type Encode = Box<dyn FnOnce() -> Arc<[u8]> + Send>;

impl Late {
    /// `encode` is called once.
    pub fn new(encode: impl FnOnce() -> Arc<[u8]> + Send + 'static) -> Self {
        Self(Arc::new(LazyLock::new(Box::new(encode))))
    }

    /// The audio, encoded now if it was not yet.
    #[must_use]
    pub fn coded(&self) -> &[u8] {
        &self.0
    }
}

impl From<Arc<[u8]>> for Late {
    fn from(coded: Arc<[u8]>) -> Self {
        Self::new(move || coded)
    }
}

impl Prompt {
    fn coded(&self, codec: Codec) -> &[u8] {
        match codec {
            Codec::Pcmu => &self.pcmu,
            Codec::Pcma => &self.pcma,
            Codec::G722 => &self.g722,
            Codec::Opus => self.opus.coded(),
        }
    }
}

/// Beneath a prompt, the other leg is heard with this share of its amplitude: 12 dB quieter.
const BENEATH: i32 = 4;

/// A prompt that is to be mixed into packets, and has seen none for this long, goes on in packets of its own. Longer than
/// packets come apart, with some jitter.
const NOTHING_TO_MIX: Duration = Duration::from_millis(100);

/// A packet this far before the first one that was forwarded after a prompt is no straggler: the source has restarted.
const MAX_STRAGGLE: i16 = 100;

/// Where the stream that a peer receives stands, and how forwarded packets are moved onto it.
#[derive(Clone, Debug)]
pub struct Outgoing {
    last: Sent,
    /// At which its timestamps run.
    clock: SampleRate,
    started: bool,
    shift: Shift,
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
    By { source: Ssrc, first: SequenceNumber, sequence: u16, timestamp: u32 },
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
            clock: SampleRate::TELEPHONE,
            started: false,
            shift: Shift::Untouched,
            total: none,
            source: None,
            added: none,
            held: None,
        }
    }

    /// What is sent from now on is counted by this clock.
    pub fn runs_at(&mut self, clock: SampleRate) {
        self.clock = clock;
    }

    /// Moves a packet that is about to be forwarded onto the stream; false if it belongs before a prompt and must not
    /// be sent. Writes to `packet` only if there is something to move.
    pub fn forward(&mut self, header: &Header, packet: &mut [u8], now: Instant) -> bool {
        let settled = matches!(self.shift, Shift::By { source, first, .. }
            if source == header.ssrc && header.sequence.since(first) > -MAX_STRAGGLE);
        if !settled && !matches!(self.shift, Shift::Untouched) {
            let next = self.next(now);
            self.shift = Shift::By {
                source: header.ssrc,
                first: header.sequence,
                sequence: next.sequence.0.wrapping_sub(header.sequence.0),
                timestamp: next.timestamp.0.wrapping_sub(header.timestamp.0),
            };
        }
        let mut sent = Sent { ssrc: header.ssrc, sequence: header.sequence, timestamp: header.timestamp, at: now };
        if let Shift::By { first, sequence, timestamp, .. } = &mut self.shift {
            let ahead = header.sequence.since(*first);
            if ahead < 0 {
                self.held_back(header);
                return false;
            }
            // Follows the stream, so that the comparison stays right after half the number space.
            if ahead > 1_000 {
                *first = SequenceNumber(first.0.wrapping_add(500));
            }
            sent.ssrc = self.last.ssrc;
            sent.sequence.0 = sent.sequence.0.wrapping_add(*sequence);
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
        }
        if self.source != Some(header.ssrc) {
            // Its own counts begin with it.
            let held =
                self.held.take().filter(|(ssrc, _)| *ssrc == header.ssrc).map_or_else(Total::default, |(_, held)| held);
            self.added = if matches!(self.shift, Shift::Untouched) { Total::default() } else { self.total };
            self.added = self.added.without(held);
            self.source = Some(header.ssrc);
        }
        self.total.count(header.payload.len());
        // A packet that came out of order does not set the stream back.
        if !self.started || sent.ssrc != self.last.ssrc || sent.sequence.since(self.last.sequence) > 0 {
            self.last = sent;
            self.started = true;
        }
        true
    }

    /// The next packet of a prompt. `first`: it opens the prompt, so it is marked as the start of a talkspurt and its
    /// timestamp counts the time since the last packet; within a prompt it goes on without a gap whatever the clock.
    fn prompt(&mut self, payload_type: u8, payload: &[u8], first: bool, now: Instant) -> Played {
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
        self.last = sent;
        self.started = true;
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
    pub fn left_out(&mut self, header: &Header) {
        self.held_back(header);
        let next = SequenceNumber(header.sequence.0.wrapping_add(1));
        match &mut self.shift {
            Shift::Untouched => {
                let follows = self.last.ssrc == header.ssrc && header.sequence.since(self.last.sequence) > 0;
                if self.started && follows {
                    self.shift = Shift::By { source: header.ssrc, first: next, sequence: u16::MAX, timestamp: 0 };
                }
            }
            Shift::By { source, first, sequence, .. } => {
                // One that has come twice is left out once.
                if *source == header.ssrc && header.sequence.since(*first) >= 0 {
                    (*first, *sequence) = (next, sequence.wrapping_sub(1));
                }
            }
            Shift::Pending => {}
        }
    }

    /// A packet that would have gone here and has not.
    pub fn held_back(&mut self, header: &Header) {
        let octets = header.payload.len();
        if self.source == Some(header.ssrc) {
            let mut one = Total::default();
            one.count(octets);
            self.added = self.added.without(one);
        } else {
            let (_, held) =
                self.held.take().filter(|(ssrc, _)| *ssrc == header.ssrc).unwrap_or((header.ssrc, Total::default()));
            let mut held = held;
            held.count(octets);
            self.held = Some((header.ssrc, held));
        }
    }

    /// How whoever receives this knows `source`, which sends what is forwarded. `flows`: it does so now.
    #[must_use]
    pub fn as_sender(&self, source: Ssrc, flows: bool) -> Sender {
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
    pub fn as_heard(&self, flows: bool) -> About {
        let source = match self.shift {
            Shift::By { source, first, sequence, .. } if flows => Some((source, sequence, first)),
            Shift::Untouched | Shift::Pending | Shift::By { .. } => None,
        };
        About { heard_as: self.last.ssrc, source }
    }

    /// A prompt has been heard on this stream, or something was left out of it: reports about it no longer match what the other peer sends.
    #[must_use]
    pub fn is_spliced(&self) -> bool {
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

/// What plays to one leg.
#[derive(Debug)]
pub enum Playing {
    /// Prompts.
    Prompts(Player),
    /// A key.
    Key(Press),
}

impl Playing {
    /// The packet that is due, every 20 ms; None when all has been played.
    pub fn packet(&mut self, outgoing: &mut Outgoing, now: Instant) -> Option<Played> {
        match self {
            Self::Prompts(player) => player.packet(outgoing, now),
            Self::Key(press) => press.packet(outgoing, now),
        }
    }

    /// The prompts that are mixed into what is forwarded.
    pub fn over(&mut self) -> Option<&mut Player> {
        match self {
            Self::Prompts(player) if player.mixed.is_some() => Some(player),
            Self::Prompts(_) | Self::Key(_) => None,
        }
    }
}

/// Prompts that play to one leg, one after another.
#[derive(Debug)]
pub struct Player {
    queue: VecDeque<Prompt>,
    payload_type: u8,
    codec: Codec,
    position: usize,
    first: bool,
    /// They are mixed into what is forwarded, last then; None: they replace it.
    mixed: Option<Instant>,
    /// Of the newest packet that they were mixed into.
    newest: Option<RtpTimestamp>,
}

impl Player {
    /// Plays `prompts` (at most eight) in this codec.
    #[must_use]
    pub fn new(prompts: impl IntoIterator<Item = Prompt>, payload_type: u8, codec: Codec) -> Self {
        let queue = prompts.into_iter().take(MAX_QUEUE).collect();
        Self { queue, payload_type, codec, position: 0, first: true, mixed: None, newest: None }
    }

    /// The same over what is forwarded in G.711, and in packets of its own where nothing is; in any other codec they
    /// replace it, as nothing can be mixed.
    #[must_use]
    pub fn over(self, now: Instant) -> Self {
        let mixes = matches!(self.codec, Codec::Pcmu | Codec::Pcma);
        Self { mixed: mixes.then_some(now), ..self }
    }

    /// Plays these behind what plays.
    pub fn append(&mut self, prompts: impl IntoIterator<Item = Prompt>) {
        let room = MAX_QUEUE.saturating_sub(self.queue.len());
        self.queue.extend(prompts.into_iter().take(room));
    }

    /// True while packets carry the rest of it, and none of its own is due.
    #[must_use]
    pub fn is_carried(&self, now: Instant) -> bool {
        let left = |prompt: &Prompt| self.queue.len() > 1 || self.position < prompt.coded(self.codec).len();
        self.mixed.is_some_and(|at| now.saturating_duration_since(at) < NOTHING_TO_MIX)
            && self.queue.front().is_some_and(left)
    }

    /// Mixes what is due into a packet of the other leg, whose own sound is quieter beneath it.
    pub fn mix(&mut self, law: Law, timestamp: RtpTimestamp, payload: &mut [u8], now: Instant) {
        let codec = if law == Law::Mu { Codec::Pcmu } else { Codec::Pcma };
        if self.front(codec).is_none() {
            return;
        }
        // Both laws have one byte a sample.
        let rest = self.queue.front().and_then(|prompt| prompt.coded(codec).get(self.position..)).unwrap_or_default();
        for (code, voice) in payload.iter_mut().zip(rest) {
            let both = i32::from(law.decode(*code)) / BENEATH + i32::from(law.decode(*voice));
            *code = law.encode(both.clamp(i16::MIN.into(), i16::MAX.into()) as i16);
        }
        // A packet that comes twice, or behind a later one, is played once at most.
        if self.newest.is_none_or(|newest| timestamp.ticks_since(newest) > 0) {
            self.newest = Some(timestamp);
            self.position += payload.len();
        }
        // What comes in a packet of its own next is as a new talkspurt to the callee.
        (self.mixed, self.first) = (Some(now), true);
    }

    /// The prompt of which something is left; those that have ended go.
    fn front(&mut self, codec: Codec) -> Option<&Prompt> {
        while self.position >= self.queue.front()?.coded(codec).len() {
            self.queue.pop_front();
            self.position = 0;
        }
        self.queue.front()
    }

    /// The packet that is due, every 20 ms; None when all has been played. The last one is filled up with silence.
    pub fn packet(&mut self, outgoing: &mut Outgoing, now: Instant) -> Option<Played> {
        outgoing.runs_at(self.codec.clock());
        let (codec, bytes) = (self.codec, if self.codec == Codec::Opus { OPUS_BYTES } else { PACKET_SAMPLES });
        let mut payload = [silence(codec); PACKET_SAMPLES];
        self.front(codec)?;
        let rest = self.queue.front()?.coded(codec).get(self.position..)?;
        for (to, from) in payload.iter_mut().zip(rest) {
            *to = *from;
        }
        self.position += bytes;
        let payload = payload.get(..bytes).unwrap_or_default();
        let first = std::mem::replace(&mut self.first, false);
        Some(outgoing.prompt(self.payload_type, payload, first, now))
    }
}

/// Code of a zero sample.
fn silence(codec: Codec) -> u8 {
    match codec {
        Codec::Pcmu => 0xFF,
        Codec::Pcma => 0xD5,
        // These are whole packets: none is filled up.
        Codec::G722 | Codec::Opus => 0xFF,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn incoming(ssrc: u32, sequence: u16, timestamp: u32) -> [u8; 14] {
        let mut packet = [0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 7];
        Header {
            payload_type: 0,
            marker: false,
            sequence: SequenceNumber(sequence),
            timestamp: RtpTimestamp(timestamp),
            ssrc: Ssrc(ssrc),
            payload: 12..14,
        }
        .stamp(&mut packet);
        packet
    }

    /// The same bytes in each codec.
    fn prompt(coded: &Arc<[u8]>) -> Prompt {
        let coded = || Arc::clone(coded);
        Prompt { pcmu: coded(), pcma: coded(), g722: coded(), opus: coded().into() }
    }

    /// What the receiver sees: (ssrc, sequence, timestamp, marker).
    type Seen = (u32, u16, u32, bool);

    fn seen(packet: &[u8]) -> Seen {
        let header = Header::read(packet).unwrap();
        (header.ssrc.0, header.sequence.0, header.timestamp.0, header.marker)
    }

    struct Stream {
        outgoing: Outgoing,
        now: Instant,
    }

    impl Stream {
        fn new() -> Self {
            let now = crate::io::clock::now();
            Self { outgoing: Outgoing::new(0x0102_0304_0506_0708, now), now }
        }

        fn forward(&mut self, ssrc: u32, sequence: u16, timestamp: u32) -> Option<Seen> {
            self.now += Duration::from_millis(20);
            let mut packet = incoming(ssrc, sequence, timestamp);
            let header = Header::read(&packet).unwrap();
            self.outgoing.forward(&header, &mut packet, self.now).then(|| seen(&packet))
        }

        fn play(&mut self, packets: usize) -> Vec<Seen> {
            let coded: Arc<[u8]> = vec![1; packets * PACKET_SAMPLES - 10].into();
            let mut player = Player::new([prompt(&coded)], 0, Codec::Pcmu);
            let mut out = Vec::new();
            loop {
                self.now += Duration::from_millis(20);
                match player.packet(&mut self.outgoing, self.now) {
                    Some(packet) => out.push(seen(&packet)),
                    None => {
                        self.now -= Duration::from_millis(20);
                        return out;
                    }
                }
            }
        }
    }

    #[test]
    fn untouched_before_a_prompt() {
        let mut stream = Stream::new();

        assert_eq!(stream.forward(5, 100, 8_000), Some((5, 100, 8_000, false)));
        assert_eq!(stream.forward(6, 900, 1), Some((6, 900, 1, false)));
    }

    #[test]
    fn one_stream_before_during_and_after_across_both_wraps() {
        let mut stream = Stream::new();
        let start = u32::MAX - 399;

        assert_eq!(stream.forward(5, 65_533, start), Some((5, 65_533, start, false)));
        assert_eq!(stream.forward(5, 65_534, start + 160), Some((5, 65_534, start + 160, false)));
        assert_eq!(
            stream.play(3),
            [
                (5, 65_535, start + 320, true),
                (5, 0, start.wrapping_add(480), false),
                (5, 1, start.wrapping_add(640), false)
            ]
        );
        // The peer went on while the prompt played: its own numbers are three ahead.
        let (sequence, timestamp) = (65_534u16.wrapping_add(4), start.wrapping_add(160 * 5));
        assert_eq!(stream.forward(5, sequence, timestamp), Some((5, 2, start.wrapping_add(800), true)));
        assert_eq!(
            stream.forward(5, sequence.wrapping_add(1), timestamp.wrapping_add(160)),
            Some((5, 3, start.wrapping_add(960), false))
        );
        assert_eq!(stream.forward(5, sequence.wrapping_sub(1), timestamp.wrapping_sub(160)), None, "belongs before");
    }

    #[test]
    fn a_new_source_after_a_prompt_is_moved_onto_the_known_one() {
        let mut stream = Stream::new();
        stream.forward(5, 10, 1_000);
        stream.play(1);

        assert_eq!(stream.forward(77, 40_000, 9), Some((5, 12, 1_320, true)));
        assert_eq!(stream.forward(77, 40_001, 169), Some((5, 13, 1_480, false)));
        assert_eq!(stream.forward(78, 3, 0), Some((5, 14, 1_640, true)));
        assert_eq!(stream.forward(78, 2, 0), None, "a straggler");
        assert_eq!(stream.forward(78, 60_000, 7), Some((5, 15, 1_960, true)), "restarted under the same name");
    }

    #[test]
    fn the_time_without_packets_is_in_the_timestamp() {
        let mut stream = Stream::new();
        stream.forward(5, 10, 1_000);
        stream.now += Duration::from_millis(480);

        assert_eq!(stream.play(1), [(5, 11, 1_000 + 4_000, true)]);
        stream.now += Duration::from_millis(980);
        assert_eq!(stream.forward(5, 60, 1), Some((5, 12, 5_000 + 8_000, true)));
    }

    #[test]
    fn a_stream_of_opus_is_counted_by_its_own_clock() {
        let mut stream = Stream::new();
        let mut player = Player::new([prompt(&vec![1; 2 * OPUS_BYTES].into())], 111, Codec::Opus);
        stream.outgoing.runs_at(Codec::Opus.clock());
        stream.forward(5, 10, 1_000);

        stream.now += Duration::from_millis(40);
        let first = player.packet(&mut stream.outgoing, stream.now).unwrap();
        let second = player.packet(&mut stream.outgoing, stream.now).unwrap();
        assert_eq!((first.len(), first[1]), (HEADER + OPUS_BYTES, 0x80 | 111));
        assert_eq!((seen(&first), seen(&second)), ((5, 11, 2_920, true), (5, 12, 3_880, false)));
        assert!(player.packet(&mut stream.outgoing, stream.now).is_none());
        stream.now += Duration::from_millis(20);
        assert_eq!(stream.forward(5, 13, 70_000), Some((5, 13, 3_880 + 1_920, true)));
    }

    #[test]
    fn a_prompt_may_come_first() {
        let mut stream = Stream::new();

        let played = stream.play(2);
        assert!(played[0].3 && played[0].0 == played[1].0 && played[1].1 == played[0].1 + 1);
        assert_eq!(stream.forward(5, 10, 1_000).map(|s| (s.0, s.1)), Some((played[0].0, played[1].1 + 1)));
    }

    proptest::proptest! {
        /// Prompts and sources in any order, with any pauses, from any numbers on: after the first prompt the receiver
        /// sees one source whose sequence goes up by one and whose timestamp never stands still.
        #[test]
        fn after_a_prompt_there_is_one_stream(
            start in proptest::num::u32::ANY,
            steps in proptest::collection::vec((0u8..8, 0u64..2_000, proptest::num::u32::ANY), 1..80),
        ) {
            let mut stream = Stream::new();
            stream.forward(1, start as u16, start);
            let mut last = *stream.play(1).last().unwrap();
            let (mut ssrc, mut sequence, mut timestamp) = (1, start as u16, start);
            for (kind, pause, random) in steps {
                stream.now += Duration::from_millis(pause);
                let seen = match kind {
                    0 => stream.play(2),
                    1 => {
                        (ssrc, sequence, timestamp) = (random, random as u16, random);
                        stream.forward(ssrc, sequence, timestamp).into_iter().collect()
                    }
                    _ => {
                        (sequence, timestamp) = (sequence.wrapping_add(1), timestamp.wrapping_add(160));
                        stream.forward(ssrc, sequence, timestamp).into_iter().collect()
                    }
                };
                for packet in seen {
                    proptest::prop_assert_eq!(packet.0, last.0);
                    proptest::prop_assert_eq!(packet.1, last.1.wrapping_add(1));
                    let ticks = RtpTimestamp(packet.2).ticks_since(RtpTimestamp(last.2));
                    proptest::prop_assert!((160..=20_000).contains(&ticks), "{}", ticks);
                    last = packet;
                }
            }
        }
    }

    #[test]
    fn the_offset_holds_for_a_whole_long_call() {
        let mut stream = Stream::new();
        stream.forward(5, 0, 0);
        stream.play(1);
        let mut last = 1u16;
        for n in 2..150_000u32 {
            let out = stream.forward(5, n as u16, n.wrapping_mul(160)).unwrap();
            assert_eq!(out.1, last.wrapping_add(1));
            last = out.1;
        }
    }

    #[test]
    fn each_leg_gets_its_own_codec_and_a_full_last_packet() {
        let now = crate::io::clock::now();
        let prompt = Prompt { pcmu: vec![1; 10].into(), pcma: vec![2; 170].into(), ..prompt(&Arc::from([])) };
        let mut outgoing = Outgoing::new(1, now);

        let mut player = Player::new([prompt.clone(), prompt], 8, Codec::Pcma);
        let packets: Vec<_> = std::iter::from_fn(|| player.packet(&mut outgoing, now)).collect();

        assert_eq!(packets.len(), 4);
        assert_eq!((packets[1][HEADER + 9], packets[1][HEADER + 10]), (2, 0xD5));
        assert_eq!(packets[0][1], 0x88);
        assert_eq!(packets[2][1], 8, "the second prompt goes on in the same talkspurt");
    }
}
