//! Prompts: which calls play any, and when their next packet is due.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use tracing::warn;

use super::super::call::{MediaCall, Port};
use super::super::counts::MediaCounts;
use super::{Backlog, Worker, emit};
use crate::rtp::control::{MediaEvent, PlayId, PromptId};
use crate::rtp::outgoing::{PACKET_BYTES, PACKET_TIME};
use crate::rtp::srtp::MOST_ADDED;
use crate::units::{CallId, Leg};

/// A playout clock that is further behind than this starts anew instead of sending a burst.
const MAX_CATCH_UP: Duration = Duration::from_millis(100);

/// How prompts go with what the other leg says.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(super) enum How {
    /// In its place.
    Alone,
    /// Over it.
    Over,
}

impl Worker {
    pub(super) fn start_play(
        &mut self,
        id: CallId,
        (to, play): (Leg, PlayId),
        prompts: &[PromptId],
        how: How,
        now: Instant,
    ) {
        let mut found = Vec::new();
        for prompt in prompts {
            match self.parts.prompts.get(prompt) {
                Some(prompt) => found.push(prompt),
                None => {
                    self.counts.prompts_missing += 1;
                    warn!(call = %id, prompt = %prompt.0, "Announcement missing");
                }
            }
        }
        let Some(call) = self.call(id) else { return };
        call.plays[to] = play;
        let nothing = found.is_empty();
        let plays = !nothing
            && match how {
                How::Alone => call.pair.play(to, found),
                How::Over => call.pair.whisper(to, found, now),
            };
        if !plays {
            if how == How::Alone {
                call.pair.stop_play(to);
            }
            if !nothing {
                self.counts.prompts_missing += 1;
                warn!(call = %id, leg = to.label(), "Announcement is not encoded in any codec of the peer");
            }
            emit(&mut self.backlog, &mut self.counts, id, MediaEvent::Finished { to, play });
            return;
        }
        self.plays(id, now);
    }

    /// Presses a key, or says at once that there is none to press.
    pub(super) fn press(&mut self, id: CallId, (to, play): (Leg, PlayId), key: char, now: Instant) {
        if let Some(call) = self.call(id)
            && call.pair.press(to, key)
        {
            call.plays[to] = play;
            self.plays(id, now);
        } else {
            emit(&mut self.backlog, &mut self.counts, id, MediaEvent::Finished { to, play });
        }
    }

    /// A call has something to play.
    pub(super) fn plays(&mut self, id: CallId, now: Instant) {
        let Some(&slot) = self.slots.get(&id) else { return };
        if self.playing.is_empty() {
            self.play_due = now;
        }
        if !self.playing.contains(&slot) {
            self.playing.push(slot);
        }
    }

    /// One packet of every prompt.
    pub(super) fn play(&mut self, now: Instant) {
        let late = now.saturating_duration_since(self.play_due) > MAX_CATCH_UP;
        self.play_due = if late { now } else { self.play_due } + PACKET_TIME;
        let Self { calls, playing, backlog, counts, .. } = self;
        let mut broken = Vec::new();
        playing.retain(|&slot| {
            let Some(call) = calls.get_mut(slot).and_then(Option::as_mut) else { return false };
            let plays = catch_unwind(AssertUnwindSafe(|| play(call, backlog, counts, now)));
            plays.unwrap_or_else(|_| {
                broken.push(call.id);
                false
            })
        });
        broken.into_iter().for_each(|id| self.give_up(id, now));
    }
}

/// One packet of what plays to each leg. False: nothing plays any more.
fn play(call: &mut MediaCall, backlog: &mut Backlog, counts: &mut MediaCounts, now: Instant) -> bool {
    for leg in Leg::BOTH {
        if leg == Leg::Callee && call.pair.is_playing(leg) {
            call.told = Some(now);
        }
        if !call.pair.is_due(leg, now) {
            continue;
        }
        match call.pair.played(leg, now) {
            Some((packet, Some(to))) => {
                let mut buffer = [0; PACKET_BYTES + MOST_ADDED];
                for (slot, byte) in buffer.iter_mut().zip(packet.iter()) {
                    *slot = *byte;
                }
                call.send(Port::Rtp(leg), &mut buffer, packet.len(), to, counts);
            }
            Some((_, None)) => {}
            None => {
                let play = call.plays[leg];
                emit(backlog, counts, call.id, MediaEvent::Finished { to: leg, play });
            }
        }
    }
    Leg::BOTH.into_iter().any(|leg| call.pair.is_playing(leg))
}
