//! Keys of one leg that come back from the other: an analogue line returns a part of each tone that it is played, and
//! its adapter may take that for a key of its own telephone.
//!
//! In: when a leg's keys sounded. Out: whether a key of the other leg may be one of them. Knows nothing of what is done
//! with it.

use std::time::{Duration, Instant};

use super::control::KEYS;
use super::dtmf::event;

/// Between a key's sound and the word that it came back: half a second for the way, and what it takes to tell a tone.
const LATEST: Duration = Duration::from_millis(500 + 120);

/// When each key of a leg sounded last.
#[derive(Clone, Debug, Default)]
pub struct Sounded {
    last: [Option<Instant>; KEYS.len()],
}

impl Sounded {
    /// This key sounds.
    pub fn note(&mut self, key: char, now: Instant) {
        if let Some(last) = event(key).and_then(|event| self.last.get_mut(usize::from(event))) {
            *last = Some(now);
        }
    }

    /// True for a key that may have come back.
    #[must_use]
    pub fn returns(&self, key: char, now: Instant) -> bool {
        let last = event(key).and_then(|event| self.last.get(usize::from(event)).copied()).flatten();
        last.is_some_and(|at| now.saturating_duration_since(at) <= LATEST)
    }
}
