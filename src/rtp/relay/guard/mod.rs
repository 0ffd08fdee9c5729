//! Keys of one leg that are held back from the other, in events and as tones; and a prompt that is mixed into packets.

use std::time::Instant;

use super::{DropReason, LegMedia, MediaPair, Payload, Relay};
use crate::rtp::companding::Laws;
use crate::rtp::control::{Codec, Held, LAST_KEY, OPUS_CLOCK};
use crate::rtp::dtmf;
use crate::rtp::packet::Header;
use crate::rtp::player::{Player, Playing, Prompt, silence};
use crate::rtp::press::Press;
use crate::rtp::returned::Sounded;
use crate::rtp::tones::Tones;
use crate::units::{Leg, SampleRate};

/// Keys of a leg that are held back.
#[derive(Debug)]
pub(super) struct Guard {
    /// Nothing: it has been lifted, and only the rest of the press under way is held.
    held: Held,
    /// Since then.
    since: Instant,
    /// The press under way is held. One that began before the guard goes on to its end, or the other leg would hear a
    /// key that nobody lets go.
    holds: bool,
    /// None: lifted, and no tone sounds any more.
    tones: Option<Tones>,
    /// Tones of the other leg, which may come back.
    others: Tones,
    /// Keys of the other leg.
    sounded: Sounded,
}

impl Guard {
    fn new(now: Instant) -> Self {
        Self {
            held: Held::All,
            since: now,
            holds: false,
            tones: Some(Tones::new()),
            others: Tones::new(),
            sounded: Sounded::default(),
        }
    }

    /// True for a packet of a press that is held. `begins`: it is the first one of this key.
    fn event(&mut self, begins: Option<char>) -> bool {
        if let Some(key) = begins {
            self.holds = match self.held {
                Held::All => true,
                Held::Last(last) => last == key,
                Held::Nothing => false,
            };
            self.pressed(key);
        }
        self.holds
    }

    /// The last key to be held has come.
    fn pressed(&mut self, key: char) {
        if self.held == Held::Last(key) {
            self.held = Held::Nothing;
        }
    }

    /// Takes tones out of a payload; a key that was pressed as one.
    fn tone(&mut self, codec: Codec, laws: &Laws, payload: &mut [u8]) -> Option<char> {
        let tones = self.tones.as_mut()?;
        let only = match self.held {
            Held::Last(key) => Some(key),
            Held::All | Held::Nothing => None,
        };
        let key = tones.silence(laws.of(codec)?, silence(codec), payload, only);
        if self.held == Held::Nothing && tones.sounding().is_none() {
            self.tones = None;
        }
        if let Some(key) = key {
            self.pressed(key);
        }
        key.filter(|_| self.held == Held::All)
    }

    /// A last key that has not come will not.
    fn expire(&mut self, now: Instant) {
        if matches!(self.held, Held::Last(_)) && now.saturating_duration_since(self.since) >= LAST_KEY {
            self.held = Held::Nothing;
        }
    }

    fn is_over(&self) -> bool {
        self.held == Held::Nothing && !self.holds && self.tones.is_none()
    }
}

impl LegMedia {
    /// What becomes of a packet while keys are held: true if it goes nowhere; and the key that is pressed with it,
    /// which for an event has been read. One that comes back from the other leg is held and nobody's press.
    pub(super) fn hold(
        &mut self,
        payload: Payload,
        header: &Header,
        packet: &mut [u8],
        key: Option<char>,
        laws: &Laws,
        now: Instant,
    ) -> (bool, Option<char>) {
        let Some(guard) = &mut self.guard else { return (false, key) };
        guard.expire(now);
        let bytes = packet.get_mut(header.payload.clone()).unwrap_or_default();
        let (held, key) = match payload {
            Payload::Event | Payload::WideEvent => (guard.event(key), key),
            // No audio is that short: whoever reads it takes the number for another one than we do.
            Payload::Other | Payload::Audio(Codec::Pcmu | Codec::Pcma | Codec::G722) if dtmf::is_key(bytes) => {
                let key = self.keys.hear(header, bytes, SampleRate::TELEPHONE);
                (guard.event(key), key)
            }
            Payload::Audio(codec @ (Codec::Pcmu | Codec::Pcma)) => {
                let key = guard.tone(codec, laws, bytes);
                // Of one who sends events, a tone is the beginning of a key that comes as an event too.
                (false, key.filter(|_| !self.keys.have_come(header.ssrc)))
            }
            Payload::Audio(Codec::G722 | Codec::Opus) | Payload::Noise | Payload::Other => (false, key),
        };
        let key = key.filter(|key| !guard.sounded.returns(*key, now));
        if guard.is_over() {
            self.guard = None;
        }
        (held, key)
    }
}

impl MediaPair {
    /// These keys of `from` no longer reach the other leg.
    pub fn hold_keys(&mut self, from: Leg, held: Held, now: Instant) {
        let guard = &mut self.legs[from].guard;
        match (guard.as_mut(), held) {
            (Some(guard), Held::Last(_) | Held::Nothing) => (guard.held, guard.since) = (held, now),
            (None, Held::Last(_) | Held::Nothing) => {}
            (Some(_) | None, Held::All) => *guard = Some(Box::new(Guard::new(now))),
        }
    }

    /// Notes what `from` presses while keys of the other leg are held: it may come back from there. The key that is
    /// pressed with this packet, which for an event has been read.
    pub(super) fn may_return(
        &mut self,
        from: Leg,
        payload: Payload,
        (header, bytes): (&Header, &[u8]),
        key: Option<char>,
        now: Instant,
    ) -> Option<char> {
        let cut = self.legs[from].cut;
        let sends_events = self.legs[from].keys.have_come(header.ssrc);
        let Some(guard) = &mut self.legs[from.other()].guard else { return key };
        let (sounds, key) = match payload {
            Payload::Event | Payload::WideEvent => (dtmf::key(bytes), key),
            Payload::Other | Payload::Audio(Codec::Pcmu | Codec::Pcma | Codec::G722) if dtmf::is_key(bytes) => {
                (dtmf::key(bytes), key)
            }
            Payload::Audio(codec @ (Codec::Pcmu | Codec::Pcma)) => {
                let key = self.laws.of(codec).and_then(|law| guard.others.hear(law, bytes));
                (guard.others.sounding(), key.filter(|_| !sends_events))
            }
            Payload::Audio(Codec::G722 | Codec::Opus) | Payload::Noise | Payload::Other => (None, key),
        };
        // What goes nowhere does not come back.
        if let Some(key) = sounds.filter(|_| !cut) {
            guard.sounded.note(key, now);
        }
        key
    }

    /// Presses a key for `to`; false if the peers have not agreed on events (RFC 3264 §6.1), or something plays there.
    pub fn press(&mut self, to: Leg, key: char) -> bool {
        let codec = self.codec_to(to).map(|(_, codec)| codec);
        let other = &self.legs[to.other()].plan;
        if other.telephone_event.or(other.wide_event).is_none() {
            return false;
        }
        let media = &mut self.legs[to];
        let narrow = media.plan.telephone_event.map(|number| (number, SampleRate::TELEPHONE));
        let wide = media.plan.wide_event.map(|number| (number, OPUS_CLOCK)).filter(|_| codec == Some(Codec::Opus));
        let press = wide.or(narrow).and_then(|(number, clock)| Press::new(key, number, clock));
        let Some(press) = press.filter(|_| media.player.is_none()) else { return false };
        media.player = Some(Box::new(Playing::Key(press)));
        true
    }

    /// Plays prompts to `to` over the other leg's media, behind what plays there; false if that peer takes no codec of
    /// ours. Whoever sends packets mixes them with [`MediaPair::mix`].
    pub fn whisper(&mut self, to: Leg, prompts: impl IntoIterator<Item = Prompt>, now: Instant) -> bool {
        let codec = self.codec_to(to);
        let media = &mut self.legs[to];
        if let Some(Playing::Prompts(player)) = media.player.as_deref_mut() {
            player.append(prompts);
            return true;
        }
        media.player = codec.map(|(payload_type, codec)| {
            Box::new(Playing::Prompts(Player::new(prompts, payload_type, codec).over(now)))
        });
        media.player.is_some()
    }

    /// Mixes what plays to `to` into a packet that is about to go there, if it is mixed at all. Behind the tap, which
    /// hears the other leg alone.
    pub fn mix(&mut self, to: Leg, header: &Header, payload: Payload, packet: &mut [u8], now: Instant) {
        let Some(player) = self.legs[to].player.as_deref_mut().and_then(Playing::over) else { return };
        let Payload::Audio(codec) = payload else { return };
        let Some(law) = self.laws.of(codec) else { return };
        player.mix(codec, law, header.timestamp, packet.get_mut(header.payload.clone()).unwrap_or_default(), now);
    }

    /// A key that is held: the stream that the other peer receives goes on without it.
    pub(super) fn leave_out(&mut self, from: Leg, header: &Header) -> Relay {
        self.legs[from.other()].outgoing.left_out(header);
        Relay::Drop(DropReason::KeyHeld)
    }
}

/// True for a packet that passes beneath a prompt that is mixed: what cannot be mixed would sound beside it.
pub(super) fn passes(payload: Payload) -> bool {
    match payload {
        Payload::Audio(Codec::Pcmu | Codec::Pcma) | Payload::Event | Payload::WideEvent => true,
        Payload::Audio(Codec::G722 | Codec::Opus) | Payload::Noise | Payload::Other => false,
    }
}

#[cfg(test)]
mod tests;
