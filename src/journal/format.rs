//! The bytes of the file: a mark, then records, each with its length and checksum before it.
//!
//! In: entries with the time of their snapshot. Out: bytes; and from bytes the calls that ran when they end. Knows no
//! file. A record is JSON, so that another version of the program can read what it knows of it.
//!
//! Invariant: [`read`] takes the longest good beginning and nothing behind it, whatever the bytes are.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::call::{Entry, Snapshot};
use crate::units::CallId;

/// First bytes of every file; the digit changes when older programs cannot read newer files.
pub(super) const MARK: &[u8] = b"ringfence calls 1\n";
/// Length and checksum, four bytes each, least significant first.
const PREFIX: usize = 8;
/// Longest record. A call with every text at its limit stays far below.
const LONGEST: usize = 1 << 20;

/// One record.
#[derive(Debug, Deserialize, Serialize)]
struct Record<E> {
    /// Milliseconds since 1970, when the entry was made.
    at: u64,
    entry: E,
}

/// What a file holds.
#[derive(Debug, Default, PartialEq)]
pub struct Contents {
    /// Calls that ran, each with the time of its snapshot in milliseconds since 1970, in the order of their ids.
    pub calls: Vec<(Snapshot, u64)>,
    /// The mark is there: it is a file of ours.
    pub ours: bool,
    /// Bytes from the beginning that are whole records.
    pub good: usize,
    /// Whole records that this version does not understand.
    pub foreign: usize,
}

/// An entry as a record; None: it is too long.
#[must_use]
pub fn frame(at: u64, entry: &Entry) -> Option<Vec<u8>> {
    let payload = serde_json::to_vec(&Record { at, entry }).ok().filter(|payload| payload.len() <= LONGEST)?;
    let mut bytes = Vec::with_capacity(PREFIX + payload.len());
    bytes.extend(u32::try_from(payload.len()).ok()?.to_le_bytes());
    bytes.extend(crc32fast::hash(&payload).to_le_bytes());
    bytes.extend(payload);
    Some(bytes)
}

/// What `bytes` hold.
#[must_use]
pub fn read(bytes: &[u8]) -> Contents {
    let Some(mut rest) = bytes.strip_prefix(MARK) else { return Contents::default() };
    let mut contents = Contents { ours: true, ..Contents::default() };
    let mut calls: BTreeMap<CallId, (Snapshot, u64)> = BTreeMap::new();
    while let Some((payload, behind)) = record(rest) {
        rest = behind;
        match serde_json::from_slice(payload) {
            Ok(Record { at, entry: Entry::Runs(snapshot) }) => {
                calls.insert(snapshot.call, (*snapshot, at));
            }
            Ok(Record { entry: Entry::Over(call), .. }) => {
                calls.remove(&call);
            }
            Err(_) => contents.foreign += 1,
        }
    }
    contents.good = bytes.len() - rest.len();
    contents.calls = calls.into_values().collect();
    contents
}

/// The first record's payload and what is behind it; None: it is not whole.
fn record(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (checksum, rest) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok().filter(|length| *length <= LONGEST)?;
    let (payload, rest) = rest.split_at_checked(length)?;
    (crc32fast::hash(payload) == u32::from_le_bytes(*checksum)).then_some((payload, rest))
}
