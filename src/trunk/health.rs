//! Does a host of a trunk answer? It is asked with OPTIONS (RFC 3261 §11): regularly, if the operator wants that, and
//! with growing pauses while it is silent.

use std::time::{Duration, Instant};

use super::Dice;

/// First pause before a silent host is asked again.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// Longest one: a host that comes back is used again within this.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// One host.
#[derive(Clone, Debug)]
pub struct Health {
    /// While it answers, it is asked this often; None: never.
    every: Option<Duration>,
    down: bool,
    /// Silences in a row.
    failures: u32,
    /// The next question; None: never, or one is under way.
    at: Option<Instant>,
}

impl Health {
    /// Believed to answer.
    #[must_use]
    pub fn new(every: Option<Duration>, now: Instant) -> Self {
        Self { every, down: false, failures: 0, at: every.map(|_| now) }
    }

    /// Changes how often a host that answers is asked.
    pub fn set_every(&mut self, every: Option<Duration>, now: Instant) {
        if self.every != every {
            self.every = every;
            if !self.down {
                self.at = every.map(|every| now + every);
            }
        }
    }

    /// Is it silent? Then it is tried last.
    #[must_use]
    pub fn is_down(&self) -> bool {
        self.down
    }

    /// When it is to be asked.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.at
    }

    /// True if it is to be asked now; [`Health::answered`] or [`Health::silent`] follows.
    pub fn due(&mut self, now: Instant) -> bool {
        let due = self.at.is_some_and(|at| at <= now);
        if due {
            self.at = None;
        }
        due
    }

    /// It has answered something. True: that is news.
    pub fn answered(&mut self, now: Instant) -> bool {
        self.failures = 0;
        self.at = self.every.map(|every| now + every);
        std::mem::replace(&mut self.down, false)
    }

    /// It was asked, or called, and said nothing; or it says that it cannot (503). True: that is news.
    pub fn silent(&mut self, dice: &mut Dice, now: Instant) -> bool {
        let longest = FIRST_PAUSE.saturating_mul(1 << self.failures.min(8)).min(LONGEST_PAUSE);
        self.failures = self.failures.saturating_add(1);
        self.at = Some(now + dice.between(longest / 2, longest));
        !std::mem::replace(&mut self.down, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trunk::Dice;

    #[test]
    fn a_silent_host_is_asked_with_growing_pauses_until_it_answers() {
        let begun = crate::io::clock::now();
        let mut dice = Dice::new([1; 16]);
        let mut health = Health::new(None, begun);
        assert_eq!(health.poll_timeout(), None);

        assert!(health.silent(&mut dice, begun));
        let mut now = begun;
        for longest in [5, 10, 20, 40, 60, 60] {
            let at = health.poll_timeout().unwrap();
            let pause = at - now;
            assert!(
                pause <= Duration::from_secs(longest) && pause >= Duration::from_millis(longest * 500),
                "{pause:?}"
            );
            now = at;
            assert!(health.due(now) && !health.due(now));
            assert!(!health.silent(&mut dice, now) && health.is_down());
        }

        assert!(health.answered(now) && !health.is_down());
        assert_eq!(health.poll_timeout(), None);
    }
}
