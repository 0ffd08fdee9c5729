//! Packets of one leg into contiguous 20 ms frames.
//!
//! In: decodable payloads as they arrive, of any length and in nearly any order, and the time. Out: [`Frame`]s from
//! call time 0 on, each exactly once: complete ones at once, incomplete ones when the packets after them or the clock
//! say that nothing more will come. A leg that sends nothing yields lost frames, so that silence has a length.
//!
//! The place of a sample is the RTP timestamp against an anchor: the first packet of a source is placed at its arrival.
//! A source that changes (SSRC, a timestamp that jumps or stands still, a path that got slower for good) gets a new
//! anchor. Nothing here delays the call itself: this is the tap.

mod slot;

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

use self::slot::{Run, Slot};
use super::g711::Law;
use super::{FRAME_SAMPLES, FRAME_TIME, Frame};
use super::{g722, opus};
use crate::units::{CallTime, RtpTimestamp, SampleRate, SequenceNumber, Ssrc};

/// Most frames under construction: 640 ms. Usually there are one or two, and no more memory is taken than they need.
const RING: usize = 32;

/// Frames under construction for which room is kept.
const USUAL: usize = 8;

/// How many frames a hole may lie behind the newest packet before it counts as lost: three packets of the usual 20 ms.
/// Reordering on real paths is nearly always by one or two packets.
const REORDER_FRAMES: u64 = 3;

/// How long after its end a frame is waited for. Covers the jitter of a usual path; a slower one gets a new anchor.
const PATIENCE: Duration = Duration::from_millis(100);

/// A packet whose timestamp is this many frames away from the time of its arrival comes from a source that has
/// restarted its clock.
const JUMP: u64 = 20;

/// Most samples of one packet of G.722: all that a relayed datagram holds.
const MOST_G722: usize = 2_048;

/// After this many late packets in a row it is the path that has become slower, not a packet.
const LATE_RUN: u8 = 5;

/// After this many packets in a row that seem to have come before, their source does not count them, by number or
/// clock. A receiver may play each as it comes.
const REPEATED_RUN: u8 = 5;

/// A packet that is newer than all before it may begin this share of its length before their end, but no earlier: its
/// source's clock does not say where it belongs.
const OVERLAP: u64 = 8;

/// What a payload holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Content {
    /// G.711.
    Audio(Law),
    /// G.722, whose packets are decoded in the order in which they come.
    G722,
    /// Opus, decoded in that order too.
    Opus,
    /// Comfort noise (RFC 3389): nothing that is said. Receivers that know nothing of it play what else has the same
    /// time, so it takes nobody's place here: its frames are lost ones, as those of the pause behind it.
    Noise,
}

impl Content {
    /// Ticks of the RTP clock in one sample.
    fn ticks_per_sample(self) -> i64 {
        match self {
            Self::Opus => 6,
            Self::Audio(_) | Self::G722 | Self::Noise => 1,
        }
    }
}

/// Of codecs whose packets depend on the ones before them.
#[derive(Debug)]
enum Decoder {
    G722(Box<g722::Decoder>),
    Opus(Box<opus::Decoder>),
}

/// One packet as the tap saw it.
#[derive(Clone, Copy, Debug)]
pub struct Arrived<'a> {
    /// Arrival, since the answer.
    pub at: CallTime,
    /// Of its RTP header.
    pub sequence: SequenceNumber,
    /// Of its RTP header, in ticks of its content's clock.
    pub timestamp: RtpTimestamp,
    /// Of its RTP header.
    pub ssrc: Ssrc,
    /// What the payload holds.
    pub content: Content,
    /// The payload.
    pub payload: &'a [u8],
}

/// What a framer did not use. Read out when the call ends.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct FramerCounters {
    /// Packets that came after their frames had gone out.
    pub late: u64,
    /// Packets that had come before.
    pub duplicate: u64,
    /// Packets beyond what fits into the time that has passed.
    pub surplus: u64,
    /// Times the source restarted: SSRC, timestamps, a slower path.
    pub restarts: u64,
}

/// Frames of one leg.
#[derive(Debug)]
pub struct Framer {
    /// Frames from `first` on, as far as anything has come for them.
    ring: VecDeque<Slot>,
    first: u64,
    /// Frame that goes out next.
    next: u64,
    /// Frames before this one go out whatever is in them.
    due: u64,
    anchor: Option<Anchor>,
    /// Of the source that was decoded last.
    decoder: Option<(Ssrc, Decoder)>,
    late_run: u8,
    repeated_run: u8,
    counters: FramerCounters,
}

/// Where a source's clock stands in the call.
#[derive(Debug)]
struct Anchor {
    ssrc: Ssrc,
    ticks_per_sample: i64,
    timestamp: RtpTimestamp,
    /// Sample since the answer that `timestamp` stands for.
    sample: u64,
    /// Sample after the last one that was placed.
    end: u64,
    newest: SequenceNumber,
    /// Bit n: `newest - n` has come.
    seen: u64,
}

impl Framer {
    /// Starts at call time 0.
    #[must_use]
    pub fn new() -> Self {
        Self {
            ring: VecDeque::new(),
            first: 0,
            next: 0,
            due: 0,
            anchor: None,
            decoder: None,
            late_run: 0,
            repeated_run: 0,
            counters: FramerCounters::default(),
        }
    }

    /// Places one packet. [`Framer::poll_frame`] then returns the frames that are ready, until None.
    pub fn push(&mut self, packet: Arrived<'_>) {
        let samples = match packet.content {
            Content::Audio(_) => packet.payload.len(),
            Content::G722 => packet.payload.len().min(MOST_G722),
            Content::Opus => opus::samples(packet.payload).unwrap_or(0),
            Content::Noise => 0,
        };
        if samples == 0 {
            return;
        }
        let Some(start) = self.place(&packet, samples as u64) else { return };
        match packet.content {
            Content::Audio(law) => {
                self.fill(start, samples, |range| Run::Coded(law, packet.payload.get(range).unwrap_or_default()))
            }
            Content::G722 => {
                let mut decoder = match self.decoder_of(packet.ssrc) {
                    Some(Decoder::G722(decoder)) => decoder,
                    Some(Decoder::Opus(_)) | None => Box::new(g722::Decoder::new()),
                };
                let mut linear = [0; MOST_G722];
                decoder.decode(packet.payload, &mut linear);
                self.decoder = Some((packet.ssrc, Decoder::G722(decoder)));
                self.fill_with(start, linear.get(..samples).unwrap_or_default());
            }
            Content::Opus => {
                let mut decoder = match self.decoder_of(packet.ssrc) {
                    Some(Decoder::Opus(decoder)) => decoder,
                    Some(Decoder::G722(_)) | None => Box::new(opus::Decoder::new()),
                };
                let mut linear = [0; opus::MOST];
                decoder.decode(packet.payload, &mut linear);
                self.decoder = Some((packet.ssrc, Decoder::Opus(decoder)));
                self.fill_with(start, linear.get(..samples).unwrap_or_default());
            }
            Content::Noise => {}
        }
        // What is ahead of its number says nothing of what is lost before it.
        let reached = self.anchor.as_ref().map_or(start, |anchor| anchor.end.min(start));
        self.due = self.due.max((reached / FRAME_SAMPLES as u64).saturating_sub(REORDER_FRAMES));
    }

    /// Takes the decoder of a source out. One that panics does not come back.
    fn decoder_of(&mut self, source: Ssrc) -> Option<Decoder> {
        self.decoder.take().filter(|(ssrc, _)| *ssrc == source).map(|(_, decoder)| decoder)
    }

    /// Lets time pass: frames that ended a while ago go out as they are.
    pub fn advance(&mut self, now: CallTime) {
        let waited = now.0.saturating_sub(PATIENCE);
        self.due = self.due.max(frames_in(waited));
    }

    /// Is a frame ready?
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.next < self.due || self.slot_of_next().is_some_and(|slot| slot.filled >= FRAME_SAMPLES as u32)
    }

    fn slot_of_next(&self) -> Option<&Slot> {
        if self.first == self.next { self.ring.front() } else { None }
    }

    /// The next frame that is ready.
    pub fn poll_frame(&mut self) -> Option<Frame> {
        let mut frame = Frame { at: CallTime::ZERO, samples: [0; FRAME_SAMPLES], lost: true };
        self.poll_into(&mut frame).then_some(frame)
    }

    /// Writes the next frame that is ready over `frame`. False: none is ready.
    pub fn poll_into(&mut self, frame: &mut Frame) -> bool {
        if !self.is_ready() {
            return false;
        }
        match self.slot_of_next() {
            Some(slot) => {
                slot.read(&mut frame.samples);
                frame.lost = slot.filled == 0;
            }
            None => {
                frame.samples.fill(0);
                frame.lost = true;
            }
        }
        if self.first == self.next && self.ring.pop_front().is_some() {
            self.first += 1;
        }
        // What a burst or a wait has taken is given back.
        if self.ring.is_empty() && self.ring.capacity() > USUAL {
            self.ring = VecDeque::new();
        }
        frame.at = CallTime::from_millis(self.next * FRAME_TIME.as_millis() as u64);
        self.next += 1;
        true
    }

    /// What was not used so far.
    #[must_use]
    pub fn counters(&self) -> FramerCounters {
        self.counters
    }

    /// The sample at which this packet begins; None if it is of no use.
    fn place(&mut self, packet: &Arrived<'_>, samples: u64) -> Option<u64> {
        let arrival = frames_in(packet.at.0) * FRAME_SAMPLES as u64;
        let Some(anchor) = self.anchor.as_mut().filter(|anchor| anchor.goes_on_with(packet)) else {
            return self.restart(packet, arrival, samples);
        };
        let is_newest = packet.sequence.since(anchor.newest) > 0;
        let ticks = i64::from(packet.timestamp.ticks_since(anchor.timestamp));
        let start = anchor.sample.checked_add_signed(ticks / anchor.ticks_per_sample);
        let Some(start) = start.filter(|start| start.abs_diff(arrival) <= JUMP * FRAME_SAMPLES as u64) else {
            // A stray one by its number restarts nobody's clock.
            self.repeated_run = if is_newest { 0 } else { self.repeated_run.saturating_add(1) };
            let restarts = is_newest || self.repeated_run >= REPEATED_RUN;
            return if restarts { self.restart(packet, arrival, samples) } else { None };
        };
        let is_new = anchor.is_new(packet.sequence);
        // Numbers that stand still are no reason not to hear what the clock says is new: a receiver may go by the
        // clock. Another goes by the numbers, so that it takes no place from the packet that is next by these.
        if !is_newest && start >= anchor.end {
            return Some(start);
        }
        if !is_new {
            self.counters.duplicate += 1;
            self.repeated_run = self.repeated_run.saturating_add(1);
            return if self.repeated_run >= REPEATED_RUN { self.restart(packet, arrival, samples) } else { None };
        }
        self.repeated_run = 0;
        if is_newest && start + samples / OVERLAP < anchor.end {
            return self.restart(packet, arrival, samples);
        }
        if start + samples <= self.next * FRAME_SAMPLES as u64 {
            self.counters.late += 1;
            self.late_run += 1;
            return if self.late_run >= LATE_RUN { self.restart(packet, arrival, samples) } else { None };
        }
        self.late_run = 0;
        anchor.end = anchor.end.max(start + samples);
        // The wrap of the timestamp is crossed in small steps: the anchor follows the newest packet.
        if start > anchor.sample {
            (anchor.timestamp, anchor.sample) = (packet.timestamp, start);
        }
        Some(start)
    }

    /// Anchors a source at its arrival, but never over what the source before it has filled.
    fn restart(&mut self, packet: &Arrived<'_>, arrival: u64, samples: u64) -> Option<u64> {
        let end = self.anchor.as_ref().map_or(0, |anchor| anchor.end);
        self.counters.restarts += u64::from(self.anchor.is_some());
        self.late_run = 0;
        let start = arrival.max(self.next * FRAME_SAMPLES as u64).max(end);
        if start - arrival > JUMP * FRAME_SAMPLES as u64 {
            // More audio than time: a source that restarts with every packet does not run ahead of the clock.
            self.counters.surplus += 1;
            return None;
        }
        self.anchor = Some(Anchor {
            ssrc: packet.ssrc,
            ticks_per_sample: packet.content.ticks_per_sample(),
            timestamp: packet.timestamp,
            sample: start,
            end: start + samples,
            newest: packet.sequence,
            seen: 1,
        });
        Some(start)
    }

    /// Writes `length` samples from `start` on, frame by frame: `run` is asked for those in a range of the packet's.
    fn fill<'a>(&mut self, start: u64, length: usize, run: impl Fn(Range<usize>) -> Run<'a>) {
        let mut from = 0;
        while from < length {
            let at = start + from as u64;
            let (frame, offset) = (at / FRAME_SAMPLES as u64, (at % FRAME_SAMPLES as u64) as usize);
            let to = length.min(from + FRAME_SAMPLES - offset);
            if let Some(slot) = self.slot(frame) {
                slot.put(offset, &run(from..to));
            }
            from = to;
        }
    }

    /// Writes what was decoded from `start` on.
    fn fill_with(&mut self, start: u64, decoded: &[i16]) {
        self.fill(start, decoded.len(), |range| Run::Linear(decoded.get(range).unwrap_or_default()));
    }

    /// The slot in which `frame` is made; None if it has gone out.
    fn slot(&mut self, frame: u64) -> Option<&mut Slot> {
        if frame < self.next {
            return None;
        }
        if self.ring.is_empty() {
            self.first = frame;
        }
        while frame < self.first {
            if self.ring.len() >= RING {
                return None;
            }
            self.ring.push_front(Slot::EMPTY);
            self.first -= 1;
        }
        let place = (frame - self.first) as usize;
        // Nobody polled for 640 ms: audio is lost before memory.
        let surplus = (place + 1).saturating_sub(RING);
        if surplus > 0 {
            self.ring.drain(..surplus.min(self.ring.len()));
            self.first += surplus as u64;
        }
        let place = place - surplus;
        while self.ring.len() <= place {
            self.ring.push_back(Slot::EMPTY);
        }
        self.ring.get_mut(place)
    }
}

impl Default for Framer {
    fn default() -> Self {
        Self::new()
    }
}

impl Anchor {
    /// The same source, by the same clock.
    fn goes_on_with(&self, packet: &Arrived<'_>) -> bool {
        self.ssrc == packet.ssrc && self.ticks_per_sample == packet.content.ticks_per_sample()
    }

    fn is_new(&mut self, sequence: SequenceNumber) -> bool {
        let ahead = i32::from(sequence.since(self.newest));
        if ahead > 0 {
            self.seen = self.seen.checked_shl(ahead.unsigned_abs()).unwrap_or(0) | 1;
            self.newest = sequence;
            return true;
        }
        let Some(bit) = 1u64.checked_shl(ahead.unsigned_abs()) else {
            // Older than can be remembered: its place decides.
            return true;
        };
        let new = self.seen & bit == 0;
        self.seen |= bit;
        new
    }
}

fn frames_in(time: Duration) -> u64 {
    SampleRate::TELEPHONE.samples_in(time) as u64 / FRAME_SAMPLES as u64
}

#[cfg(test)]
mod tests;
