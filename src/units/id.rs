//! What a call is called in records, logs, metrics and on the command line.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// One call: two legs, one pair of media streams, one record.
///
/// Minted by the switchboard as its shard (7 bits), the second the shard was started (32 bits) and a counter
/// (24 bits), so that two runs of the process never share one. Written as 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct CallId(pub u64);

/// Marks the name of a call's video: the bit above those of the shard.
const VIDEO: u64 = 1 << 63;

impl CallId {
    /// The name by which the media path knows this call's video, which has ports and streams of its own.
    #[must_use]
    pub fn video(self) -> Self {
        Self(self.0 | VIDEO)
    }

    /// The call whose video this names.
    #[must_use]
    pub fn of_video(self) -> Option<Self> {
        (self.0 & VIDEO != 0).then_some(Self(self.0 & !VIDEO))
    }
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The text is not 1 to 16 hexadecimal digits.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a call is named by up to 16 hexadecimal digits")]
pub struct BadCallId;

impl FromStr for CallId {
    type Err = BadCallId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() || text.len() > 16 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(BadCallId);
        }
        u64::from_str_radix(text, 16).map(CallId).map_err(|_| BadCallId)
    }
}
