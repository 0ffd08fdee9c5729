//! DRIVER: answered calls in a file, so that the next process can go on with them.
//!
//! In: an [`Entry`](crate::call::Entry) whenever something of an answered call has changed. Out: at the start, what the
//! process before left. One thread writes, about five times a second, and only the newest state of each call; nothing
//! here is ever waited for by a call. An entry that finds no room is lost and counted. A file that cannot be written is
//! told and tried again, and calls go on.
//!
//! The file: `format`. Its growth and what is safe against a kill at any moment: `file`.

mod file;
mod format;
mod writer;

pub use format::{Contents, frame, read};
pub use writer::{Counts, Journal};
