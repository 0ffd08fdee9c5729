//! A key that we press ourselves: the packets of one telephone event (RFC 4733 §2.5.1).

use std::time::Instant;

use super::dtmf;
use super::outgoing::{Outgoing, PACKET_TIME, Played};
use crate::units::SampleRate;

/// Packets up to the last length: 100 ms, which is long enough for every receiver.
const STEPS: u16 = 5;
/// The last one comes three times (RFC 4733 §2.5.1.4).
const ENDS: u16 = 3;
/// Loudness in -dBm0, for a receiver that plays the tone.
const VOLUME: u8 = 10;
/// The key is up (RFC 4733 §2.3.2).
const END: u8 = 0x80;

/// A press under way.
#[derive(Debug)]
pub struct Press {
    payload_type: u8,
    event: u8,
    /// In ticks of the event's clock.
    step: u16,
    sent: u16,
}

impl Press {
    /// None: no key.
    #[must_use]
    pub fn new(key: char, payload_type: u8, clock: SampleRate) -> Option<Self> {
        let step = u16::try_from(clock.samples_in(PACKET_TIME)).ok()?;
        Some(Self { payload_type, event: dtmf::event(key)?, step, sent: 0 })
    }

    /// The packet that is due, every 20 ms; None: the key is up.
    pub fn packet(&mut self, outgoing: &mut Outgoing, now: Instant) -> Option<Played> {
        if self.sent >= STEPS - 1 + ENDS {
            return None;
        }
        self.sent += 1;
        let length = self.sent.min(STEPS);
        let flags = if length == STEPS { END | VOLUME } else { VOLUME };
        let [high, low] = (length * self.step).to_be_bytes();
        Some(outgoing.event(self.payload_type, &[self.event, flags, high, low], self.sent == 1, now))
    }
}
