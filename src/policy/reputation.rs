//! What earlier calls say about a number. So far: the PBX has dialled it, so its owner is no stranger.
//!
//! In: numbers dialled and `now`. Out: whether a number is known. Bounded: the oldest is forgotten first.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

/// A dialled number stays known this long.
const KNOWN_FOR: Duration = Duration::from_secs(30 * 24 * 3_600);
/// At most this many numbers are remembered.
const CAPACITY: usize = 20_000;
/// Longer texts are no numbers and are not remembered.
const LONGEST_NUMBER: usize = 64;

/// Numbers that the PBX has dialled.
#[derive(Debug, Default)]
pub struct Dialled {
    last: HashMap<Box<str>, Instant>,
    order: VecDeque<Box<str>>,
}

impl Dialled {
    /// The PBX dials `number`.
    pub fn remember(&mut self, number: &str, now: Instant) {
        let number = significant(number);
        if number.is_empty() || number.len() > LONGEST_NUMBER {
            return;
        }
        if let Some(at) = self.last.get_mut(number) {
            *at = now;
            return;
        }
        while self.last.len() >= CAPACITY
            && let Some(oldest) = self.order.pop_front()
        {
            self.last.remove(&oldest);
        }
        self.last.insert(number.into(), now);
        self.order.push_back(number.into());
    }

    /// Has the PBX dialled `number` lately?
    #[must_use]
    pub fn knows(&self, number: &str, now: Instant) -> bool {
        let dialled = self.last.get(significant(number));
        dialled.is_some_and(|at| now.saturating_duration_since(*at) < KNOWN_FOR)
    }
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
    fn the_oldest_number_makes_room() {
        let now = crate::io::clock::now();
        let mut dialled = Dialled::default();

        for number in 0..=CAPACITY {
            dialled.remember(&format!("0{:09}", number + 1_000_000), now);
        }

        assert_eq!(dialled.last.len(), CAPACITY);
        assert_eq!(dialled.order.len(), CAPACITY);
        assert!(!dialled.knows("0001000000", now));
    }
}
