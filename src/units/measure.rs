//! Numbers with a unit.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// Samples, or ticks of an RTP clock, in one second.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, PartialOrd)]
pub struct SampleRate(u32);

impl SampleRate {
    /// Narrow-band telephony: what the detectors hear.
    pub const TELEPHONE: SampleRate = SampleRate(8_000);

    /// A rate in hertz.
    #[must_use]
    pub const fn hz(hz: u32) -> Self {
        Self(hz)
    }

    /// The rate in hertz.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// How many samples `span` holds, rounded down.
    #[must_use]
    pub fn samples_in(self, span: Duration) -> usize {
        usize::try_from(span.as_micros() * u128::from(self.0) / 1_000_000).unwrap_or(usize::MAX)
    }

    /// How long `samples` last.
    #[must_use]
    pub fn time_of(self, samples: usize) -> Duration {
        Duration::from_secs_f64(samples as f64 / f64::from(self.0))
    }
}

/// Reading of the RTP media clock. Wraps at 2^32 and is not wall time (RFC 3550 §5.1).
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct RtpTimestamp(pub u32);

impl RtpTimestamp {
    /// Ticks since `earlier`, right across a wrap; negative if `self` is the older one.
    #[must_use]
    pub fn ticks_since(self, earlier: Self) -> i32 {
        self.0.wrapping_sub(earlier.0).cast_signed()
    }
}

/// RTP sequence number (RFC 3550 §5.1).
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct SequenceNumber(pub u16);

impl SequenceNumber {
    /// Packets since `earlier`, right across a wrap; negative if `self` is the older one.
    #[must_use]
    pub fn since(self, earlier: Self) -> i16 {
        self.0.wrapping_sub(earlier.0).cast_signed()
    }
}

/// RTP synchronisation source (RFC 3550 §3).
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Ssrc(pub u32);

/// Level relative to the overload point of the codec: 0 is the loudest, -127 is digital silence (RFC 6464 §3).
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Dbov(pub f32);

impl fmt::Display for Dbov {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.0} dBov", self.0)
    }
}

/// A share or a probability, 0 to 1.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, PartialOrd, Serialize)]
pub struct Ratio(f32);

impl Ratio {
    /// None of it.
    pub const ZERO: Ratio = Ratio(0.0);
    /// All of it.
    pub const ONE: Ratio = Ratio(1.0);

    /// Holds `value` to 0..=1; not a number counts as 0.
    #[must_use]
    pub fn clamped(value: f32) -> Self {
        if value.is_nan() { Self(0.0) } else { Self(value.clamp(0.0, 1.0)) }
    }

    /// The plain number.
    #[must_use]
    pub fn get(self) -> f32 {
        self.0
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.0} %", self.0 * 100.0)
    }
}
