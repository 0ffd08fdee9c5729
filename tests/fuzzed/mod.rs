//! What each fuzzing target does with its bytes. `tests/fuzz` lets libFuzzer choose them, `tests/fuzzed.rs` takes those
//! that were kept and a seeded share of mutations.
//!
//! In: any bytes. Out: nothing; whatever must not be is a panic.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    dead_code,
    unreachable_pub,
    reason = "test helpers, not all used by each suite"
)]

#[path = "../wire/forward.rs"]
mod forward;
mod media;
#[path = "../wire/mutation.rs"]
mod mutation;
#[path = "../wire/random.rs"]
pub(crate) mod random;
mod switchboard;
mod texts;
mod wire;
#[path = "../world/mod.rs"]
mod world;

pub(crate) use media::media;
pub(crate) use switchboard::switchboard;
pub(crate) use texts::{journal, phrases, settings};
pub(crate) use wire::{message, sdp, stream};

/// Takes bytes; panics where something is wrong.
pub(crate) type Target = fn(&[u8]);

/// Every target by its name.
pub(crate) const TARGETS: &[(&str, Target)] = &[
    ("journal", journal),
    ("media", media),
    ("message", message),
    ("phrases", phrases),
    ("sdp", sdp),
    ("settings", settings),
    ("stream", stream),
    ("switchboard", switchboard),
];

/// Choices out of bytes; zeros once they are used up.
pub(crate) struct Choices<'a>(pub(crate) &'a [u8]);

impl<'a> Choices<'a> {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// One of `0..below`.
    pub(crate) fn below(&mut self, below: usize) -> usize {
        usize::from(self.byte()) % below.max(1)
    }

    pub(crate) fn one_of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }

    pub(crate) fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }
}
