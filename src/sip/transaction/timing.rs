//! Timer values of RFC 3261 table 4, RFC 6026 §7 and RFC 4320. Never changed at run time: tests pass `now`.

use std::time::{Duration, Instant};

/// Round-trip estimate.
pub const T1: Duration = Duration::from_millis(500);
/// Longest interval of repetitions.
pub const T2: Duration = Duration::from_secs(4);
/// Longest life of a message in the network.
pub(super) const T4: Duration = Duration::from_secs(5);
/// 64*T1: for so long a request, or a 2xx without its ACK, is repeated. Timers B, F, H, J, L and M.
pub const T1X64: Duration = T1.saturating_mul(64);
/// Timer D over UDP: a proxy may repeat a failure for this long.
pub(super) const TIMER_D: Duration = Duration::from_secs(32);
/// An INVITE without an answer of its owner gets a 100 (RFC 3261 §17.2.1).
pub(super) const TRYING_AFTER: Duration = Duration::from_millis(200);
/// Timer C (RFC 3261 §16.6): longest ringing.
pub(super) const TIMER_C: Duration = Duration::from_secs(180);

/// Repetition of a message over an unreliable transport.
#[derive(Clone, Copy, Debug)]
pub struct Repeat {
    due: Instant,
    interval: Duration,
}

impl Repeat {
    /// First repetition one T1 from now.
    #[must_use]
    pub fn starting(now: Instant) -> Self {
        Self { due: now + T1, interval: T1 }
    }

    /// First repetition now.
    pub(super) fn at(now: Instant) -> Self {
        Self { due: now, interval: T1 }
    }

    /// When the message is to be sent again.
    #[must_use]
    pub fn due(&self) -> Instant {
        self.due
    }

    /// Next one: the interval doubles up to `longest`. Counted from when it was due, so that lateness does not add up.
    pub fn back_off(&mut self, longest: Duration) {
        self.interval = (self.interval * 2).min(longest);
        self.due += self.interval;
    }

    /// From now on at the longest interval (timer E behind a 1xx).
    pub(super) fn slow_down(&mut self, now: Instant) {
        self.interval = T2;
        self.due = now + T2;
    }
}
