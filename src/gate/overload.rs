//! Who goes first when messages come faster than they are handled.
//!
//! In: each message's source, whether it begins something new, and whether the reader is behind. Out: now, later or
//! never. What belongs to a running call goes first; new requests wait in a queue of their source and take turns, so
//! that whoever floods only delays itself. Strangers do not wait: nobody answers them anyway. Knows no limits that
//! anybody set.
//!
//! Invariants: so many sources, so many messages of each, so many bytes in all; a message that is let in has a turn
//! after at most one message of each other source.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::SourceKey;

/// Sources that may wait at a time. More trunks than that are not flooding at once.
const SOURCES: usize = 256;
/// Messages of one source.
const EACH: usize = 256;
/// Bytes of all that wait.
const BYTES: usize = 8 * 1024 * 1024;
/// Messages inside calls that one source may have handled before the others have had their turn.
const INSIDE: u32 = 256;
/// New requests of a source that has been told that there is no room are dropped unread for so long.
const SHED_FOR: Duration = Duration::from_millis(100);
/// What is dropped is told at most so often.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// When a message is handled.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Turn {
    /// At once.
    Now,
    /// Let it [`Overload::wait`].
    Later,
    /// Never.
    Dropped,
}

/// What has been dropped, for the log.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Shed {
    /// The trunk or PBX that lost most, and how many; None: only strangers lost any.
    pub worst: Option<(SourceKey, u64)>,
    /// Of all sources.
    pub dropped: u64,
}

struct Queue<T> {
    waiting: VecDeque<(T, usize)>,
    inside: u32,
    shed_until: Option<Instant>,
    dropped: u64,
}

/// Messages that wait for their turn.
pub struct Overload<T> {
    sources: HashMap<SourceKey, Queue<T>>,
    /// Sources with messages that wait, each once, in the order of their turns.
    turns: VecDeque<SourceKey>,
    bytes: usize,
    behind: bool,
    /// Dropped of sources that have no queue.
    others: u64,
    tell_at: Option<Instant>,
}

impl<T> Default for Overload<T> {
    fn default() -> Self {
        Self { sources: HashMap::new(), turns: VecDeque::new(), bytes: 0, behind: false, others: 0, tell_at: None }
    }
}

impl<T> Overload<T> {
    /// A round of reading begins. `behind`: the one before has left something unread.
    pub fn begin(&mut self, behind: bool) {
        self.behind = behind;
        for queue in self.sources.values_mut() {
            queue.inside = 0;
        }
    }

    /// True while everything can be handled as it comes.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        !self.behind && self.sources.is_empty()
    }

    /// A message of a known source, or of a stranger. `begins`: it is no part of what runs.
    pub fn turn(&mut self, source: SourceKey, known: bool, begins: bool, now: Instant) -> Turn {
        if self.is_idle() {
            return Turn::Now;
        }
        if !known {
            self.others += u64::from(self.behind);
            return if self.behind { Turn::Dropped } else { Turn::Now };
        }
        let behind = self.behind;
        if !self.has_room(source) {
            // Whoever forges the addresses of a trunk's network may have taken all places.
            let waits = begins && behind;
            self.others += u64::from(waits);
            return if waits { Turn::Dropped } else { Turn::Now };
        }
        let queue = self.sources.entry(source).or_insert_with(Queue::new);
        if begins && queue.shed_until.is_some_and(|until| now < until) {
            queue.dropped += 1;
            return Turn::Dropped;
        }
        if !begins && queue.inside < INSIDE {
            queue.inside += 1;
            return Turn::Now;
        }
        // In the order in which they came, even when there is room again.
        if !behind && queue.waiting.is_empty() {
            return Turn::Now;
        }
        if queue.waiting.len() >= EACH || self.bytes >= BYTES {
            queue.dropped += 1;
            return Turn::Dropped;
        }
        Turn::Later
    }

    /// Keeps a message that was told [`Turn::Later`].
    pub fn wait(&mut self, source: SourceKey, message: T, bytes: usize) {
        let Some(queue) = self.sources.get_mut(&source) else { return };
        if queue.waiting.is_empty() {
            self.turns.push_back(source);
        }
        queue.waiting.push_back((message, bytes));
        self.bytes += bytes;
    }

    /// The next one that has waited.
    pub fn pop(&mut self) -> Option<(SourceKey, T)> {
        let source = self.turns.pop_front()?;
        let queue = self.sources.get_mut(&source)?;
        let (message, bytes) = queue.waiting.pop_front()?;
        self.bytes -= bytes;
        if !queue.waiting.is_empty() {
            self.turns.push_back(source);
        }
        Some((source, message))
    }

    /// Is anything waiting?
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        !self.turns.is_empty()
    }

    /// There was no room for a new request of this source: more of them need not be read for a while.
    pub fn refuse(&mut self, source: SourceKey, now: Instant) {
        if self.has_room(source) {
            let queue = self.sources.entry(source).or_insert_with(Queue::new);
            queue.shed_until = Some(now + SHED_FOR);
            queue.dropped += 1;
        }
    }

    /// About once a second: forgets who is quiet. Some: what was dropped since the last time, to be told.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<Shed> {
        let counted = self.sources.iter().map(|(source, queue)| (*source, queue.dropped));
        let worst = counted.clone().filter(|(_, dropped)| *dropped > 0).max_by_key(|(_, dropped)| *dropped);
        let dropped = counted.map(|(_, dropped)| dropped).sum::<u64>() + self.others;
        let due = self.tell_at.is_none_or(|at| now >= at);
        let shed = (due && dropped > 0).then_some(Shed { worst, dropped });
        if shed.is_some() {
            self.tell_at = Some(now + TELL_EVERY);
            self.others = 0;
            self.sources.values_mut().for_each(|queue| queue.dropped = 0);
        }
        self.forget_quiet(now);
        shed
    }

    /// True where a source has its place, or may have one: that of another of which nothing waits.
    fn has_room(&mut self, source: SourceKey) -> bool {
        if self.sources.len() < SOURCES || self.sources.contains_key(&source) {
            return true;
        }
        let quiet = self.sources.iter().find(|(_, queue)| queue.waiting.is_empty()).map(|(source, _)| *source);
        let left = quiet.and_then(|source| self.sources.remove(&source));
        self.others += left.as_ref().map_or(0, |queue| queue.dropped);
        left.is_some()
    }

    fn forget_quiet(&mut self, now: Instant) {
        let shed = |queue: &Queue<T>| queue.shed_until.is_some_and(|until| now < until);
        self.sources.retain(|_, queue| !queue.waiting.is_empty() || queue.dropped > 0 || shed(queue));
    }
}

impl<T> Queue<T> {
    fn new() -> Self {
        Self { waiting: VecDeque::new(), inside: 0, shed_until: None, dropped: 0 }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::io::clock;

    fn trunk(last: u8) -> SourceKey {
        SourceKey::of(Ipv4Addr::new(192, 0, 2, last).into())
    }

    /// What becomes of `count` new requests of `source`.
    fn flood(overload: &mut Overload<SourceKey>, source: SourceKey, count: usize, now: Instant) -> [usize; 3] {
        let mut became = [0; 3];
        for _ in 0..count {
            match overload.turn(source, true, true, now) {
                Turn::Now => became[0] += 1,
                Turn::Later => {
                    became[1] += 1;
                    overload.wait(source, source, 500);
                }
                Turn::Dropped => became[2] += 1,
            }
        }
        became
    }

    #[test]
    fn without_overload_everything_goes_at_once() {
        let mut overload = Overload::default();
        let now = clock::now();

        overload.begin(false);

        assert_eq!(flood(&mut overload, trunk(1), 10_000, now), [10_000, 0, 0]);
        assert!(!overload.is_waiting());
    }

    #[test]
    fn a_flooding_trunk_delays_only_itself() {
        let mut overload = Overload::default();
        let now = clock::now();
        overload.begin(true);

        let wild = flood(&mut overload, trunk(1), 20_000, now);
        let good = flood(&mut overload, trunk(2), 10, now);

        assert_eq!(wild, [0, EACH, 20_000 - EACH]);
        assert_eq!(good, [0, 10, 0]);
        let first: Vec<SourceKey> = std::iter::from_fn(|| overload.pop()).take(20).map(|(source, _)| source).collect();
        assert_eq!(first.iter().filter(|source| **source == trunk(2)).count(), 10, "they take turns");
        assert_eq!(std::iter::from_fn(|| overload.pop()).count(), EACH - 10);
    }

    #[test]
    fn what_belongs_to_a_call_goes_first_even_from_the_source_that_floods() {
        let mut overload = Overload::default();
        let now = clock::now();
        overload.begin(true);
        flood(&mut overload, trunk(1), 20_000, now);

        for _ in 0..INSIDE {
            assert_eq!(overload.turn(trunk(1), true, false, now), Turn::Now);
            assert_eq!(overload.turn(trunk(2), true, false, now), Turn::Now);
        }

        // Nor may it starve the others that way.
        assert_ne!(overload.turn(trunk(1), true, false, now), Turn::Now);
        overload.begin(true);
        assert_eq!(overload.turn(trunk(1), true, false, now), Turn::Now);
    }

    #[test]
    fn strangers_do_not_wait() {
        let mut overload: Overload<()> = Overload::default();
        let now = clock::now();

        overload.begin(true);
        assert_eq!(overload.turn(trunk(9), false, true, now), Turn::Dropped);
        overload.begin(false);
        assert_eq!(overload.turn(trunk(9), false, true, now), Turn::Now);
    }

    #[test]
    fn a_source_without_room_is_not_read_for_a_while() {
        let mut overload = Overload::default();
        let now = clock::now();
        overload.begin(false);

        overload.refuse(trunk(1), now);

        assert_eq!(flood(&mut overload, trunk(1), 5, now), [0, 0, 5]);
        assert_eq!(overload.turn(trunk(1), true, false, now), Turn::Now, "inside its calls it is");
        assert_eq!(flood(&mut overload, trunk(2), 5, now), [5, 0, 0]);
        assert_eq!(flood(&mut overload, trunk(1), 5, now + SHED_FOR), [5, 0, 0]);
    }

    #[test]
    fn addresses_that_were_refused_keep_nobody_else_out() {
        let mut overload = Overload::default();
        let now = clock::now();
        overload.begin(false);

        (0..=255).for_each(|last| overload.refuse(SourceKey::of(Ipv4Addr::new(203, 0, 113, last).into()), now));

        assert_eq!(overload.sources.len(), SOURCES);
        assert_eq!(flood(&mut overload, trunk(1), 5, now), [5, 0, 0]);
        overload.begin(true);
        assert_eq!(flood(&mut overload, trunk(2), 5, now), [0, 5, 0]);
    }

    #[test]
    fn what_is_dropped_is_told_now_and_then_and_then_forgotten() {
        let mut overload = Overload::default();
        let now = clock::now();
        overload.begin(true);
        flood(&mut overload, trunk(1), EACH + 7, now);
        let _ = overload.turn(trunk(9), false, true, now);

        assert_eq!(overload.handle_timeout(now), Some(Shed { worst: Some((trunk(1), 7)), dropped: 8 }));
        flood(&mut overload, trunk(1), 3, now);
        assert_eq!(overload.handle_timeout(now + Duration::from_secs(1)), None);
        assert_eq!(overload.handle_timeout(now + TELL_EVERY).unwrap().dropped, 3);
        let _ = overload.turn(trunk(9), false, true, now);
        let strangers = Some(Shed { worst: None, dropped: 1 });
        assert_eq!(
            overload.handle_timeout(now + 2 * TELL_EVERY),
            strangers,
            "no trunk is named for what strangers lost"
        );

        while overload.pop().is_some() {}
        overload.handle_timeout(now + 2 * TELL_EVERY);
        assert!(overload.sources.is_empty());
    }

    #[test]
    fn tables_are_bounded_whatever_comes() {
        let mut overload = Overload::default();
        let now = clock::now();
        overload.begin(true);

        for network in 0..4_000_u32 {
            let source = SourceKey::of(Ipv4Addr::from(network << 8).into());
            flood(&mut overload, source, 300, now);
        }

        assert_eq!(overload.sources.len(), SOURCES);
        assert!(overload.bytes <= BYTES + 500);
        assert_eq!(std::iter::from_fn(|| overload.pop()).count() * 500, BYTES / 500 * 500 + 500);
    }
}
