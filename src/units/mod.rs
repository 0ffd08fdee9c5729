//! Words every core shares: identifiers, legs, times and units.
//!
//! In: plain numbers. Out: types that cannot be mistaken for one another.
//! Imports nothing of ours.

mod address;
mod file;
mod id;
mod leg;
mod measure;
mod redacted;
mod table;
mod time;

pub use address::Plain;
pub use file::{beside, open_regular, read_bytes, read_text, replace};
pub use id::CallId;
pub use leg::{Leg, PerLeg};
pub use measure::{Dbov, Ratio, RtpTimestamp, SampleRate, SequenceNumber, Ssrc};
pub use redacted::{Redacted, Redaction, redact_number};
pub use table::OwnMap;
pub use time::CallTime;
