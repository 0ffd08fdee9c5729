//! DRIVER: call records in an embedded SQLite file.
//!
//! In: finished [`CallRecord`]s, in batches. Out: lists of them and single ones. Knows no event, no thread and no call
//! that still runs; who writes when is `observe::history`'s business, and no call ever waits for it.
//!
//! One process writes, any number read beside it (write-ahead log). Every fault is one [`StoreError`].

mod error;
mod record;
mod rows;
mod schema;
mod sqlite;

pub use error::StoreError;
pub use record::{
    CallRecord, CallSummary, EndingRecord, Judgement, Label, ReasonRecord, SIP_CALL_ID_LIMIT, Step, TEXT_LIMIT,
    UNFINISHED, UtcMillis, clip,
};
pub use sqlite::{Filter, MOST_RETIRED, Retention, Retired, Store};

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;
