//! When to look at which transaction next: an ordered set with one entry each.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Which table, slot and generation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Who {
    Server(u32, u32),
    Client(u32, u32),
}

/// Slots that an entry can name.
pub(super) const MOST_SLOTS: usize = 1 << 31;

/// Each entry is one number, as half of the work with it is comparing: when, in nanoseconds, then table, slot and
/// generation.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    set: BTreeSet<u128>,
    /// The deadline that was set first: [`ORIGIN`] in entries.
    origin: Option<Instant>,
}

/// There are 292 years before it, and as many behind.
const ORIGIN: u64 = 1 << 63;

impl Who {
    fn pack(self) -> u64 {
        let (client, slot, generation) = match self {
            Self::Server(slot, generation) => (0, slot, generation),
            Self::Client(slot, generation) => (1_u64 << 63, slot, generation),
        };
        client | u64::from(slot) << 32 | u64::from(generation)
    }

    fn unpack(packed: u64) -> Self {
        let (slot, generation) = ((packed >> 32) as u32 & (u32::MAX >> 1), packed as u32);
        if packed >> 63 == 0 { Self::Server(slot, generation) } else { Self::Client(slot, generation) }
    }
}

impl Deadlines {
    /// Moves `who` from `old` to `new`.
    pub(super) fn set(&mut self, who: Who, old: Option<Instant>, new: Option<Instant>) {
        if old == new {
            return;
        }
        if let Some(old) = old {
            let entry = self.entry(old, who);
            self.set.remove(&entry);
        }
        if let Some(new) = new {
            let entry = self.entry(new, who);
            self.set.insert(entry);
        }
    }

    pub(super) fn next(&self) -> Option<Instant> {
        let at = (*self.set.first()? >> 64) as u64;
        let nanos = Duration::from_nanos(at.abs_diff(ORIGIN));
        if at < ORIGIN { self.origin?.checked_sub(nanos) } else { self.origin?.checked_add(nanos) }
    }

    /// Takes one that is due.
    pub(super) fn pop(&mut self, now: Instant) -> Option<Who> {
        self.next().filter(|at| *at <= now)?;
        self.set.pop_first().map(|entry| Who::unpack(entry as u64))
    }

    fn entry(&mut self, at: Instant, who: Who) -> u128 {
        let origin = *self.origin.get_or_insert(at);
        let nanos = |span: Duration| u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        let at = match at.checked_duration_since(origin) {
            Some(behind) => ORIGIN.saturating_add(nanos(behind)),
            None => ORIGIN.saturating_sub(nanos(origin.saturating_duration_since(at))),
        };
        u128::from(at) << 64 | u128::from(who.pack())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods, reason = "any moment will do")]

    use super::*;

    #[test]
    fn entries_come_out_as_they_went_in_and_in_their_order() {
        let start = Instant::now();
        let all = [Who::Server(0, u32::MAX), Who::Server(u32::MAX >> 1, 0), Who::Client(0, 0), Who::Client(7, 9)];
        let mut deadlines = Deadlines::default();
        for (place, who) in (0_u32..).zip(all) {
            deadlines.set(who, None, Some(start + Duration::from_millis(20) - Duration::from_millis(5) * place));
        }
        assert_eq!(deadlines.next(), Some(start + Duration::from_millis(5)));
        deadlines.set(all[0], Some(start + Duration::from_millis(20)), Some(start + Duration::from_nanos(15_000_001)));
        deadlines.set(all[3], Some(start + Duration::from_millis(5)), None);

        assert_eq!(deadlines.next(), Some(start + Duration::from_millis(10)));
        assert_eq!(deadlines.pop(start), None);
        let late = start + Duration::from_secs(1);
        let popped: Vec<_> = std::iter::from_fn(|| deadlines.pop(late)).collect();
        assert_eq!(popped, [all[2], all[1], all[0]]);
    }
}
