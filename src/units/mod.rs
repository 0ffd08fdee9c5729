//! Words every core shares: identifiers, legs, times and units; addresses, numbers that a log must shorten, escapes; a
//! table by names of our own; and how a named file is read.
//!
//! In: plain numbers and texts. Out: types that cannot be mistaken for one another.
//! Imports nothing of ours. It holds one switch of the process, which is set once: whether a log shows whole numbers.

mod address;
mod escaped;
mod file;
mod id;
mod leg;
mod measure;
mod redacted;
mod table;
mod time;

pub use address::{Plain, is_private};
pub use escaped::unescaped;
pub use file::{beside, open_regular, read_bytes, read_text, replace};
pub use id::CallId;
pub use leg::{Leg, PerLeg};
pub use measure::{Dbov, Ratio, RtpTimestamp, SampleRate, SequenceNumber, Ssrc};
pub use redacted::{Redacted, Redaction, redact_number};
pub use table::OwnMap;
pub use time::CallTime;
