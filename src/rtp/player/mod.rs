//! Prompts that play to one leg: in the place of what the other leg says, or mixed into its packets.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::companding::Companding;
use super::control::Codec;
use super::outgoing::{Outgoing, PACKET_SAMPLES, Played};
use super::press::Press;
use crate::units::RtpTimestamp;

/// Bytes in a packet of a prompt in Opus: 24 kbit/s, constant. Twice what speech of a telephone's band needs.
pub const OPUS_BYTES: usize = 60;

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

/// Audio that is encoded beside the calls, for that takes a while: until then there is none.
#[derive(Clone, Debug, Default)]
pub struct Late(Arc<OnceLock<Arc<[u8]>>>);

impl Late {
    /// It is encoded now. What comes second is not taken.
    pub fn set(&self, coded: Arc<[u8]>) {
        let _ = self.0.set(coded);
    }

    /// The audio; None: not yet.
    #[must_use]
    pub fn coded(&self) -> Option<&[u8]> {
        self.0.get().map(AsRef::as_ref)
    }
}

impl From<Arc<[u8]>> for Late {
    fn from(coded: Arc<[u8]>) -> Self {
        Self(Arc::new(OnceLock::from(coded)))
    }
}

impl Prompt {
    fn coded(&self, codec: Codec) -> &[u8] {
        match codec {
            Codec::Pcmu => &self.pcmu,
            Codec::Pcma => &self.pcma,
            Codec::G722 => &self.g722,
            Codec::Opus => self.opus.coded().unwrap_or_default(),
        }
    }

    /// Can it be played in this codec now?
    pub(super) fn is_ready(&self, codec: Codec) -> bool {
        codec != Codec::Opus || self.opus.coded().is_some()
    }
}

/// Beneath a prompt, the other leg is heard with this share of its amplitude: 12 dB quieter.
const BENEATH: i32 = 4;

/// A prompt that is to be mixed into packets, and has seen none for this long, goes on in packets of its own. Longer
/// than packets come apart, with some jitter.
const NOTHING_TO_MIX: Duration = Duration::from_millis(100);

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
    pub(crate) fn is_carried(&self, now: Instant) -> bool {
        let left = |prompt: &Prompt| self.queue.len() > 1 || self.position < prompt.coded(self.codec).len();
        self.mixed.is_some_and(|at| now.saturating_duration_since(at) < NOTHING_TO_MIX)
            && self.queue.front().is_some_and(left)
    }

    /// Mixes what is due into a packet of the other leg, whose own sound is quieter beneath it. `law`: that of `codec`,
    /// a byte a sample.
    pub fn mix(&mut self, codec: Codec, law: Companding, timestamp: RtpTimestamp, payload: &mut [u8], now: Instant) {
        if self.front(codec).is_none() {
            return;
        }
        let rest = self.queue.front().and_then(|prompt| prompt.coded(codec).get(self.position..)).unwrap_or_default();
        for (code, voice) in payload.iter_mut().zip(rest) {
            let both = i32::from((law.decode)(*code)) / BENEATH + i32::from((law.decode)(*voice));
            *code = (law.encode)(both.clamp(i16::MIN.into(), i16::MAX.into()) as i16);
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
pub(super) fn silence(codec: Codec) -> u8 {
    match codec {
        Codec::Pcmu => 0xFF,
        Codec::Pcma => 0xD5,
        // These are whole packets: none is filled up.
        Codec::G722 | Codec::Opus => 0xFF,
    }
}

#[cfg(test)]
mod tests;
