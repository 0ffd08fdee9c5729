//! The one place that asks the system what time it is.

use std::time::{Duration, Instant, SystemTime};

/// The monotonic clock, handed to every core as `now`.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the driver's clock")]
pub fn now() -> Instant {
    Instant::now()
}

/// The clock on the wall, for records and logs.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the driver's clock")]
pub fn wall() -> SystemTime {
    SystemTime::now()
}

/// Processor time that this thread has used: what work costs, however busy the machine is.
#[must_use]
pub fn computed() -> Duration {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(spent).unwrap_or_default()
}

/// Pairs one reading of both clocks, so that instants become wall times by one subtraction.
#[derive(Clone, Copy, Debug)]
pub struct Anchor {
    instant: Instant,
    wall: SystemTime,
}

impl Anchor {
    /// Reads both clocks.
    #[must_use]
    pub fn take() -> Self {
        Self { instant: now(), wall: wall() }
    }

    /// Wall time of `at`, as the wall clock ran when the anchor was taken.
    #[must_use]
    pub fn wall_at(&self, at: Instant) -> SystemTime {
        match at.checked_duration_since(self.instant) {
            Some(later) => self.wall + later,
            None => self.wall.checked_sub(self.instant.saturating_duration_since(at)).unwrap_or(self.wall),
        }
    }
}

/// A wall clock that has gone so much further than the monotonic one was not just set right.
const SLEPT: Duration = Duration::from_secs(30);

/// Sees that this machine has slept, or was saved and restored: the monotonic clock stood still meanwhile.
#[derive(Debug)]
pub struct Sleep {
    before: Anchor,
}

impl Sleep {
    /// Looks from now on.
    #[must_use]
    pub fn watch(now: Anchor) -> Self {
        Self { before: now }
    }

    /// True once behind each sleep, or behind short ones that make a long one together. A wall clock that is set
    /// forward looks the same.
    pub fn is_over(&mut self, now: Anchor) -> bool {
        let gained = now.wall.duration_since(self.before.wall_at(now.instant));
        let slept = gained.as_ref().is_ok_and(|gained| *gained > SLEPT);
        if slept || gained.is_err() {
            // One that is set back would hide the next sleep.
            self.before = now;
        }
        slept
    }
}

/// Hour (0..24) and weekday (0 is Monday) in this machine's time zone, for rules with hours.
#[must_use]
pub fn local_hour() -> (u8, u8) {
    use chrono::{Datelike as _, Timelike as _};

    let here: chrono::DateTime<chrono::Local> = wall().into();
    // Both fit: 0..24 and 0..7.
    (here.hour().try_into().unwrap_or(0), here.weekday().num_days_from_monday().try_into().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sleep_is_seen_by_the_wall_clock_alone() {
        let begun = Anchor::take();
        let mut sleep = Sleep::watch(begun);
        let (mut awake, mut wall) = (Duration::ZERO, 1_000_i64);
        let mut over = |ran: u64, passed: i64| {
            awake += Duration::from_secs(ran);
            wall += passed;
            let wall = begun.wall + Duration::from_secs(wall.unsigned_abs()) - Duration::from_secs(1_000);
            sleep.is_over(Anchor { instant: begun.instant + awake, wall })
        };

        assert!(!over(1, 1) && !over(90_000, 90_000), "time passes");
        assert!(over(1, 7_200) && !over(1, 1), "two hours, once");
        assert!(!over(1, 21) && over(1, 21) && !over(1, 21), "short ones");
        assert!(!over(1, -90_000), "set back");
        assert!(over(1, 60), "and asleep behind it");
    }
}
