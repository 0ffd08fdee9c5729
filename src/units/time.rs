//! Time as a call knows it.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// Time since the callee answered: 0 is the answer, whatever the clock on the wall says.
///
/// Everything that is heard carries one. What happens before the answer carries an `Instant` only.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct CallTime(pub Duration);

impl CallTime {
    /// The answer itself.
    pub const ZERO: CallTime = CallTime(Duration::ZERO);

    /// `ms` milliseconds after the answer.
    #[must_use]
    pub const fn from_millis(ms: u64) -> Self {
        Self(Duration::from_millis(ms))
    }

    /// Milliseconds since the answer.
    #[must_use]
    pub fn as_millis(self) -> u64 {
        u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX)
    }

    /// Time from `earlier` to `self`; zero if `earlier` is the later one.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for CallTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} s", self.0.as_secs_f64())
    }
}
