//! One file on the disk.
//!
//! Records are added at its end. When most of it is about calls that are over or states that have changed since, the
//! living ones are written into a new file that takes its place in one step. A kill leaves the old file or the new one,
//! with at most a torn record at the end.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::format::{Contents, MARK, read};
use crate::units::{beside, open_regular};

/// Below this, dead records are not worth a new file.
const SMALL: u64 = 256 << 10;
/// A file is written anew once it is longer than its living records by more than this factor.
const DEAD_FACTOR: u64 = 3;
/// Longest file that is read or written: some 30,000 calls.
pub(super) const LARGEST: u64 = 64 << 20;

/// The open file.
#[derive(Debug)]
pub(super) struct JournalFile {
    path: PathBuf,
    file: File,
    bytes: u64,
}

/// Where a record is in the file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Place {
    pub(super) at: u64,
    pub(super) length: usize,
}

/// What was there at the start.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) contents: Contents,
    /// Bytes behind the last whole record.
    pub(super) cut: u64,
    /// Where a file went that is not a journal.
    pub(super) moved: Option<PathBuf>,
}

/// Reads what the process before left; a missing file is an empty one. What is not a journal is moved aside, not
/// overwritten.
pub(super) fn find(path: &Path) -> io::Result<Found> {
    let mut bytes = Vec::new();
    match open_regular(path) {
        Ok(file) => file.take(LARGEST).read_to_end(&mut bytes)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::default()),
        Err(error) => return Err(error),
    };
    let contents = read(&bytes);
    let cut = u64::try_from(bytes.len() - contents.good).unwrap_or(u64::MAX);
    let mut moved = None;
    if !contents.ours && !MARK.starts_with(&bytes) {
        let aside = beside(path, "damaged");
        fs::rename(path, &aside)?;
        moved = Some(aside);
    }
    Ok(Found { contents, cut, moved })
}

impl JournalFile {
    /// A new file with these records, in the place of whatever is there.
    pub(super) fn with<'r>(path: &Path, records: impl Iterator<Item = &'r [u8]>) -> io::Result<Self> {
        let new = beside(path, "new");
        // Telephone numbers are in it.
        let mut file = OpenOptions::new().create(true).read(true).write(true).truncate(true).mode(0o600).open(&new)?;
        let mut content = MARK.to_vec();
        records.for_each(|record| content.extend(record));
        let written = file.write_all(&content).and_then(|()| file.sync_data()).and_then(|()| fs::rename(&new, path));
        if let Err(error) = written {
            // What is left of it only takes room; the old file stays.
            let _ = fs::remove_file(&new);
            return Err(error);
        }
        Ok(Self { path: path.to_owned(), file, bytes: u64::try_from(content.len()).unwrap_or(u64::MAX) })
    }

    /// Adds records. Where that fails, none of them is there.
    pub(super) fn add(&mut self, records: &[u8]) -> io::Result<()> {
        if let Err(error) = self.file.write_all(records) {
            // The next records must not stand behind a torn one. A file can be made shorter on a full disk too.
            self.file.set_len(self.bytes)?;
            return Err(error);
        }
        self.bytes += u64::try_from(records.len()).unwrap_or(u64::MAX);
        Ok(())
    }

    /// The record at `place`, as it was added.
    pub(super) fn read(&self, place: Place) -> io::Result<Vec<u8>> {
        use std::os::unix::fs::FileExt as _;
        let mut record = vec![0; place.length];
        self.file.read_exact_at(&mut record, place.at)?;
        Ok(record)
    }

    /// Its length.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Most of it is dead.
    pub(super) fn is_mostly_dead(&self, living: u64) -> bool {
        self.bytes > SMALL && self.bytes > living.saturating_mul(DEAD_FACTOR)
    }

    /// So many bytes more would not all be read back.
    pub(super) fn has_no_room(&self, more: usize) -> bool {
        self.bytes + more as u64 > LARGEST
    }

    /// Somebody has deleted or replaced it: what is written to it would be read by nobody.
    pub(super) fn has_moved(&self) -> bool {
        use std::os::unix::fs::MetadataExt as _;
        let ours = self.file.metadata().map(|ours| (ours.dev(), ours.ino()));
        let there = fs::metadata(&self.path).map(|there| (there.dev(), there.ino()));
        !matches!((ours, there), (Ok(ours), Ok(there)) if ours == there)
    }
}

/// Keeps a second process away from the same file. Held until it is dropped; the system drops it when the process is
/// killed.
#[derive(Debug)]
pub(super) struct Lock(#[expect(dead_code, reason = "held, not read")] File);

impl Lock {
    /// Takes the lock. Tries `tries` times, because a process that is about to end may still hold it.
    pub(super) fn take(path: &Path, tries: u32, between: Duration) -> io::Result<Self> {
        let path = beside(path, "lock");
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path)?;
        let mut tries = tries.max(1);
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self(file)),
                Err(TryLockError::Error(error)) => return Err(error),
                Err(TryLockError::WouldBlock) if tries <= 1 => {
                    return Err(io::Error::new(
                        io::ErrorKind::ResourceBusy,
                        "another process of Ringfence has it open",
                    ));
                }
                Err(TryLockError::WouldBlock) => {
                    tries -= 1;
                    std::thread::sleep(between);
                }
            }
        }
    }
}
