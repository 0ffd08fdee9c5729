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

/// Hour (0..24) and weekday (0 is Monday) in this machine's time zone, for rules with hours.
#[must_use]
pub fn local_hour() -> (u8, u8) {
    use chrono::{Datelike as _, Timelike as _};

    let here: chrono::DateTime<chrono::Local> = wall().into();
    // Both fit: 0..24 and 0..7.
    (here.hour().try_into().unwrap_or(0), here.weekday().num_days_from_monday().try_into().unwrap_or(0))
}
