//! Random numbers from a seed, so that a run can be repeated. Never for secrets.

use std::hash::Hasher as _;
use std::time::Duration;

use siphasher::sip::SipHasher13;

/// A stream of random numbers.
#[derive(Clone, Debug)]
pub struct Dice {
    seed: [u8; 16],
    thrown: u64,
}

impl Dice {
    /// From a seed.
    #[must_use]
    pub fn new(seed: [u8; 16]) -> Self {
        Self { seed, thrown: 0 }
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        let mut hasher = SipHasher13::new_with_key(&self.seed);
        hasher.write_u64(self.thrown);
        self.thrown = self.thrown.wrapping_add(1);
        hasher.finish()
    }

    /// A number below `bound`; 0 where that is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.number().checked_rem(bound).unwrap_or(0)
    }

    /// A duration from `least` to `most`.
    pub fn between(&mut self, least: Duration, most: Duration) -> Duration {
        let span = most.saturating_sub(least).as_millis();
        least + Duration::from_millis(self.below(u64::try_from(span).unwrap_or(u64::MAX).saturating_add(1)))
    }
}
