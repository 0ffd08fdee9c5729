//! When to look at which transaction next: an ordered set with one entry each.

use std::collections::BTreeSet;
use std::time::Instant;

/// Which table, slot and generation.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Who {
    Server(u32, u32),
    Client(u32, u32),
}

#[derive(Debug, Default)]
pub(super) struct Deadlines {
    set: BTreeSet<(Instant, Who)>,
}

impl Deadlines {
    /// Moves `who` from `old` to `new`.
    pub(super) fn set(&mut self, who: Who, old: Option<Instant>, new: Option<Instant>) {
        if old == new {
            return;
        }
        if let Some(old) = old {
            self.set.remove(&(old, who));
        }
        if let Some(new) = new {
            self.set.insert((new, who));
        }
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.set.first().map(|(at, _)| *at)
    }

    /// Takes one that is due.
    pub(super) fn pop(&mut self, now: Instant) -> Option<(Instant, Who)> {
        let first = *self.set.first().filter(|(at, _)| *at <= now)?;
        self.set.remove(&first);
        Some(first)
    }
}
