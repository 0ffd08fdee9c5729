//! DRIVER: one event, four observers: log, metrics, live feed, history.
//!
//! In: [`Happened`](crate::call::Happened) of every call, and snapshots of what the drivers count. Out: log lines, a
//! page of metrics, lists of calls, and records for [`store`](crate::store). No call ever waits for any of this:
//! events, records and log lines that find no room are lost and counted.
//!
//! Threads: `observer` takes events in their order; `records` writes the store behind it; `log` writes lines.

mod feed;
mod history;
mod lines;
mod log;
pub mod metrics;
mod observer;
mod plain;

pub use feed::{CallsNow, LiveCall};
pub use history::{calls, explain};
pub use lines::{Format, Log, LogError, LogSettings, init_log};
pub use metrics::Metrics;
pub use observer::{Observer, Records, Settings};
