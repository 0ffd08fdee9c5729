//! Seeded chance. Each call has dice of its own, so that one call of a million can be played again alone.

use std::time::Duration;

/// SplitMix64: small, fast, and the same on every machine.
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    /// Of call `number` in the run with `seed`.
    pub(crate) fn of(seed: u64, number: u64) -> Self {
        let mut dice = Self(seed.wrapping_mul(0xD134_2543_DE82_EF95) ^ number.wrapping_mul(0xA24B_AED4_963E_E407));
        dice.roll();
        dice
    }

    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// One of `0..below`.
    pub(crate) fn number(&mut self, below: u64) -> u64 {
        self.roll() % below.max(1)
    }

    /// True once in `1 / share`.
    pub(crate) fn chance(&mut self, share: f64) -> bool {
        self.number(1_000_000) < (share * 1_000_000.0) as u64
    }

    /// One of `from..to`.
    pub(crate) fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.number(to - from)
    }

    pub(crate) fn ms(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(self.between(from, to))
    }

    pub(crate) fn one_of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.number(list.len() as u64) as usize]
    }
}
