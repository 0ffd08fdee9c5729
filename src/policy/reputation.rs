//! What earlier calls say about a number. So far: the PBX has dialled it, so its owner is no stranger. One that was
//! dialled back is: whoever rings once and is called back could make itself known that way.
//!
//! In: numbers that call, numbers dialled and `now`. Out: whether a number is known. Bounded: the oldest is forgotten
//! first.

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use lru::LruCache;

/// A dialled number stays known this long.
const KNOWN_FOR: Duration = Duration::from_secs(30 * 24 * 3_600);
/// At most this many numbers are remembered.
const CAPACITY: NonZeroUsize = NonZeroUsize::new(20_000).unwrap();
/// A number that has called as a stranger is dialled back within this time, or not for having called.
const DIALLED_BACK: Duration = Duration::from_secs(7 * 24 * 3_600);
/// At most this many strangers are remembered.
const STRANGERS: NonZeroUsize = NonZeroUsize::new(8_192).unwrap();
/// Fewer digits are those of a service that everybody dials (an emergency, a voice mailbox, an operator): whoever shows
/// such a number would be trusted for it, and anybody can guess it.
const SHORTEST_NUMBER: usize = 7;
/// Longer texts are no numbers and are not remembered.
const LONGEST_NUMBER: usize = 64;

/// Numbers that the PBX has dialled.
#[derive(Debug)]
pub struct Dialled {
    /// When last; the one that was dialled longest ago goes first.
    last: LruCache<Box<str>, Instant>,
    /// When numbers that were not known called last.
    strangers: LruCache<Box<str>, Instant>,
}

impl Default for Dialled {
    fn default() -> Self {
        Self { last: LruCache::new(CAPACITY), strangers: LruCache::new(STRANGERS) }
    }
}

impl Dialled {
    /// `number` calls.
    pub fn called_by(&mut self, number: &str, now: Instant) {
        if !self.knows(number, now) && number.len() <= LONGEST_NUMBER {
            self.strangers.put(significant(number).into(), now);
        }
    }

    /// The PBX dials `number`.
    pub fn remember(&mut self, number: &str, now: Instant) {
        let is_known = self.knows(number, now);
        let number = significant(number);
        if number.is_empty() || number.len() > LONGEST_NUMBER || is_short(number) {
            return;
        }
        let called = self.strangers.peek(number);
        if !is_known && called.is_some_and(|at| now.saturating_duration_since(*at) < DIALLED_BACK) {
            return;
        }
        while self.last.peek_lru().is_some_and(|(_, at)| now.saturating_duration_since(*at) >= KNOWN_FOR) {
            self.last.pop_lru();
        }
        self.last.put(number.into(), now);
    }

    /// Has the PBX dialled `number` lately?
    #[must_use]
    pub fn knows(&self, number: &str, now: Instant) -> bool {
        let dialled = self.last.peek(significant(number));
        dialled.is_some_and(|at| now.saturating_duration_since(*at) < KNOWN_FOR)
    }
}

pub(super) fn is_short(number: &str) -> bool {
    let digits = number.bytes().filter(u8::is_ascii_digit).count();
    digits < SHORTEST_NUMBER && digits > 0 && number.bytes().all(|byte| byte.is_ascii_digit() || b"+*#".contains(&byte))
}

/// The last nine digits decide: the PBX dials 01632 960001, the trunk shows +44 1632 960001.
fn significant(number: &str) -> &str {
    const DIGITS: usize = 9;
    if !number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'+') {
        return number;
    }
    number.get(number.len().saturating_sub(DIGITS)..).unwrap_or(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_known_in_national_and_international_form() {
        let now = crate::io::clock::now();
        let mut dialled = Dialled::default();

        dialled.remember("01632960001", now);

        assert!(dialled.knows("+441632960001", now));
        assert!(!dialled.knows("+441632960002", now));
        assert!(!dialled.knows("+441632960001", now + KNOWN_FOR));
    }

    #[test]
    fn a_number_that_is_dialled_back_is_a_strangers() {
        let now = crate::io::clock::now();
        let mut dialled = Dialled::default();
        let [stranger, friend] = ["+441632960001", "+441632960002"];

        dialled.called_by(stranger, now);
        dialled.remember("01632960001", now);
        dialled.remember("01632960002", now);
        dialled.called_by(friend, now);
        dialled.remember("01632960002", now);

        assert!(!dialled.knows(stranger, now));
        assert!(dialled.knows(friend, now));
        dialled.remember("01632960001", now + DIALLED_BACK);
        assert!(dialled.knows(stranger, now + DIALLED_BACK), "that has another reason");
    }

    #[test]
    fn numbers_that_everybody_dials_make_nobody_known() {
        let now = crate::io::clock::now();
        let mut dialled = Dialled::default();
        let [short, long] = [["999", "1571", "*97", "+44123"], ["5550123", "alice", "+4930123456", "a1"]];

        for number in short.iter().chain(&long) {
            dialled.remember(number, now);
        }

        assert!(short.iter().all(|number| !dialled.knows(number, now)));
        assert!(long.iter().all(|number| dialled.knows(number, now)));
    }

    #[test]
    fn the_number_that_was_dialled_longest_ago_makes_room() {
        let now = crate::io::clock::now();
        let mut dialled = Dialled::default();
        let number = |n: usize| format!("0{:09}", n + 1_000_000);

        for n in 0..CAPACITY.get() {
            dialled.remember(&number(n), now);
        }
        dialled.remember(&number(0), now);
        dialled.remember(&number(CAPACITY.get()), now);

        assert_eq!(dialled.last.len(), CAPACITY.get());
        assert!(dialled.knows(&number(0), now), "it was dialled again");
        assert!(!dialled.knows(&number(1), now));
        dialled.remember("0999999999", now + KNOWN_FOR);
        assert_eq!(dialled.last.len(), 1, "what is known no more takes no room");
    }
}
