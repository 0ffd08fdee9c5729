//! The file: opened, written in batches, read, kept from growing.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rusqlite::{Connection, FileControl, OpenFlags, OptionalExtension as _, named_params, params};

use super::error::StoreError;
use super::record::{CallRecord, CallSummary, SIP_CALL_ID_LIMIT, UtcMillis, clip};
use super::{rows, schema};
use crate::units::CallId;

/// A writer waits this long for another process, a reader too.
const BUSY: Duration = Duration::from_secs(1);
/// Calls that one transaction of [`Store::retain`] deletes.
const SLICE: i64 = 500;
/// Transactions of one [`Store::retain`], so that new records never wait long behind it.
const SLICES: usize = 20;
/// Calls that one [`Store::retain`] deletes at most.
pub const MOST_RETIRED: usize = SLICES * SLICE as usize;
/// A day, in milliseconds.
const DAY: i64 = 24 * 3_600 * 1_000;
/// A write-ahead log that a long reader made grow is cut back to this, in bytes.
const WAL_LIMIT: i64 = 16 << 20;

/// How long and how many records are kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Retention {
    /// Records of older calls go.
    pub keep: Duration,
    /// Beyond this many, those that a limit refused go first, then the oldest.
    pub most: u64,
}

/// Calls that one [`Store::retain`] has deleted.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Retired {
    /// All of them.
    pub calls: usize,
    /// Those that were not too old, but too many.
    pub surplus: usize,
}

impl Default for Retention {
    /// 90 days, a million calls (about 1 GB if every one was judged for its whole time).
    fn default() -> Self {
        Self { keep: Duration::from_secs(90 * 24 * 3_600), most: 1_000_000 }
    }
}

/// Which calls a list holds; the default is all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    /// The caller's or the called number holds this text.
    pub number: Option<String>,
    /// Final class, by its label.
    pub class: Option<String>,
    /// Only calls that were rejected, diverted or stepped up, enforced or not.
    pub acted: bool,
    /// Began at this time or later.
    pub since: Option<UtcMillis>,
}

/// Call records in one SQLite file.
#[derive(Debug)]
pub struct Store {
    connection: Connection,
    path: PathBuf,
}

impl Store {
    /// Opens the file for writing, and makes it and its folder where they are missing. New files may be read by their
    /// owner and group only: they hold telephone numbers.
    ///
    /// # Errors
    /// If it cannot be opened, written or is not ours.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        create(path).map_err(|error| StoreError::Unopenable { path: path.to_owned(), reason: error.to_string() })?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        Self::prepare(path, flags).map_err(|error| StoreError::new(path, &error))?.migrated()
    }

    /// Opens the file for reading beside a process that writes it.
    ///
    /// # Errors
    /// If it cannot be opened or holds no records of this version.
    pub fn open_read_only(path: &Path) -> Result<Self, StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let opened = readable(path, flags).or_else(|error| {
            // A write-ahead log needs a writable folder even to be read, unless nobody writes: then the file is whole.
            if !path.is_file() || log_of(path).exists() {
                return Err(error);
            }
            readable(unchanging(path), flags | OpenFlags::SQLITE_OPEN_URI).map_err(|_| error)
        });
        let (connection, found) = opened.map_err(|error| StoreError::new(path, &error))?;
        let store = Self { connection, path: path.to_owned() };
        if found > schema::VERSION {
            return Err(StoreError::TooNew { path: store.path, found, known: schema::VERSION });
        }
        if found < schema::VERSION {
            return Err(StoreError::NotReady { path: store.path });
        }
        Ok(store)
    }

    /// Writes all of `records` or none. Writing one twice is the same as writing it once.
    ///
    /// # Errors
    /// If nothing was written.
    pub fn write(&mut self, records: &[CallRecord]) -> Result<(), StoreError> {
        let written = self.connection.transaction().and_then(|transaction| {
            for record in records {
                rows::insert(&transaction, record)?;
            }
            transaction.commit()
        });
        self.checked(written)
    }

    /// The newest `limit` calls that pass `filter`, newest first.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn calls(&self, limit: usize, filter: &Filter) -> Result<Vec<CallSummary>, StoreError> {
        self.checked(self.summaries(limit, filter))
    }

    /// The call with this id, this SIP Call-ID, or an id that begins with `name` if there is only one.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn call(&self, name: &str) -> Result<Option<CallRecord>, StoreError> {
        self.checked(self.find(name).and_then(|id| id.map(|id| self.read(&id)).transpose()))
    }

    /// The calls whose id begins with `name`, newest first, at most `most`.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn beginning_with(&self, name: &str, most: usize) -> Result<Vec<CallSummary>, StoreError> {
        let ids = self.ids(&name.to_ascii_lowercase(), most);
        let read = |ids: Vec<String>| ids.iter().map(|id| Ok(self.read(id)?.summary())).collect();
        self.checked(ids.and_then(read))
    }

    /// Deletes what is too old or too much, at most [`MOST_RETIRED`] calls at a time.
    ///
    /// Of what is too old, it takes no more than one day's (UTC): a clock that is ahead for an hour must not cost all.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn retain(&mut self, retention: &Retention, now: SystemTime) -> Result<Retired, StoreError> {
        let deleted = self.delete_beyond(retention, now);
        self.checked(deleted)
    }

    /// Whether its file was deleted or moved away. What is written goes with it, so the writer opens the path anew.
    #[must_use]
    pub fn has_moved(&self) -> bool {
        let mut moved = 0;
        self.connection.file_control(rusqlite::DEFAULT_NAME, FileControl::HasMoved(&mut moved)).is_ok() && moved != 0
    }

    #[cfg(test)]
    pub(crate) fn count(&self) -> Result<u64, StoreError> {
        self.checked(count(&self.connection))
    }

    #[cfg(test)]
    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    fn prepare(path: &Path, flags: OpenFlags) -> rusqlite::Result<Self> {
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(BUSY)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        // A power cut may cost the last batch, never the file; and a Raspberry Pi's card is spared.
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        connection.pragma_update(None, "journal_size_limit", WAL_LIMIT)?;
        // Numbers that retention has deleted must be gone.
        connection.pragma_update(None, "secure_delete", true)?;
        Ok(Self { connection, path: path.to_owned() })
    }

    fn migrated(mut self) -> Result<Self, StoreError> {
        let found = self.checked(schema::version(&self.connection))?;
        if found > schema::VERSION {
            return Err(StoreError::TooNew { path: self.path, found, known: schema::VERSION });
        }
        let migrated = schema::migrate(&mut self.connection, found);
        self.checked(migrated)?;
        Ok(self)
    }

    fn checked<T>(&self, outcome: rusqlite::Result<T>) -> Result<T, StoreError> {
        outcome.map_err(|error| StoreError::new(&self.path, &error))
    }

    fn summaries(&self, limit: usize, filter: &Filter) -> rusqlite::Result<Vec<CallSummary>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT * FROM calls
             WHERE (:number IS NULL OR instr(caller, :number) > 0 OR instr(called, :number) > 0)
               AND (:class IS NULL OR class = :class)
               AND (NOT :acted OR action IS NOT NULL OR route IN ('reject', 'divert'))
               AND began_utc >= :since
             ORDER BY began_utc DESC, id DESC LIMIT :limit",
        )?;
        let found = statement.query_map(
            named_params! {
                ":number": filter.number,
                ":class": filter.class,
                ":acted": filter.acted,
                ":since": filter.since.map_or(i64::MIN, |since| since.0),
                ":limit": i64::try_from(limit).unwrap_or(i64::MAX),
            },
            rows::summary,
        )?;
        found.collect()
    }

    /// The id of the call that `name` names.
    fn find(&self, name: &str) -> rusqlite::Result<Option<String>> {
        let lower = name.to_ascii_lowercase();
        let by_id = "SELECT id FROM calls WHERE id = ?1";
        if let Some(id) = self.connection.query_row(by_id, [&lower], |row| row.get(0)).optional()? {
            return Ok(Some(id));
        }
        // A peer may use one Call-ID again: the newest is meant.
        let by_sip = "SELECT id FROM calls WHERE sip_call_id = ?1 ORDER BY began_utc DESC LIMIT 1";
        let sip_call_id = clip(name, SIP_CALL_ID_LIMIT);
        if let Some(id) = self.connection.query_row(by_sip, [sip_call_id], |row| row.get(0)).optional()? {
            return Ok(Some(id));
        }
        Ok(<[String; 1]>::try_from(self.ids(&lower, 2)?).ok().map(|[id]| id))
    }

    /// Ids that begin with `lower`, newest first.
    fn ids(&self, lower: &str, most: usize) -> rusqlite::Result<Vec<String>> {
        if lower.parse::<CallId>().is_err() {
            return Ok(Vec::new());
        }
        // Ids are hexadecimal, so "g" is behind every one of them.
        let mut statement = self
            .connection
            .prepare("SELECT id FROM calls WHERE id >= ?1 AND id < ?2 ORDER BY began_utc DESC, id DESC LIMIT ?3")?;
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        statement.query_map(params![lower, format!("{lower}g"), most], |row| row.get(0))?.collect()
    }

    fn read(&self, id: &str) -> rusqlite::Result<CallRecord> {
        let mut record = self.connection.query_row("SELECT * FROM calls WHERE id = ?1", [id], rows::call)?;
        let mut verdicts = self.connection.prepare(
            "SELECT at_ms AS verdict_ms, class, no_speech, live, recorded, press_key, reasons
             FROM verdicts WHERE call = ?1 ORDER BY number",
        )?;
        record.verdicts = verdicts.query_map([id], rows::judgement)?.collect::<rusqlite::Result<_>>()?;
        let mut steps = self.connection.prepare("SELECT * FROM steps WHERE call = ?1 ORDER BY number")?;
        record.steps = steps.query_map([id], rows::step)?.collect::<rusqlite::Result<_>>()?;
        Ok(record)
    }

    fn delete_beyond(&mut self, retention: &Retention, now: SystemTime) -> rusqlite::Result<Retired> {
        let oldest = UtcMillis::from(now.checked_sub(retention.keep).unwrap_or(SystemTime::UNIX_EPOCH));
        let first: Option<i64> = self.connection.query_row("SELECT min(began_utc) FROM calls", [], |row| row.get(0))?;
        let oldest = oldest.0.min(first.map_or(i64::MAX, next_day));
        let surplus = count(&self.connection)?.saturating_sub(retention.most);
        let mut surplus = usize::try_from(surplus).unwrap_or(usize::MAX);
        let mut old = self.connection.prepare(
            "DELETE FROM calls WHERE id IN (SELECT id FROM calls WHERE began_utc < ?1 ORDER BY began_utc LIMIT ?2)",
        )?;
        // In the order of an index that holds no others, so that none is looked for among a million.
        let mut refused = self.connection.prepare(
            "DELETE FROM calls WHERE id IN (SELECT id FROM calls INDEXED BY calls_refused
             WHERE answered_utc IS NULL AND route_enforcement = 'done'
               AND rule IN ('limits.per_source', 'limits.per_number')
             ORDER BY began_utc LIMIT ?1)",
        )?;
        let mut retired = Retired::default();
        for _ in 0..SLICES {
            let mut deleted = old.execute(params![oldest, SLICE])?;
            if deleted == 0 && surplus > 0 {
                // None is too old any more: now some are too many. A flood must not cost the records of all others.
                let most = i64::try_from(surplus).map_or(SLICE, |left| left.min(SLICE));
                deleted = refused.execute([most])?;
                if deleted == 0 {
                    deleted = old.execute(params![i64::MAX, most])?;
                }
                retired.surplus += deleted;
            }
            if deleted == 0 {
                break;
            }
            surplus = surplus.saturating_sub(deleted);
            retired.calls += deleted;
        }
        Ok(retired)
    }
}

/// Makes the file, so that it has our mode rather than SQLite's; and its folder, but not the folders above.
fn create(path: &Path) -> std::io::Result<()> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.exists()) {
        std::fs::create_dir(folder)?;
    }
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true);
    options.mode(0o640);
    options.open(path).map(drop)
}

fn readable(name: impl AsRef<Path>, flags: OpenFlags) -> rusqlite::Result<(Connection, i64)> {
    let connection = Connection::open_with_flags(name, flags)?;
    connection.busy_timeout(BUSY)?;
    let found = schema::version(&connection)?;
    Ok((connection, found))
}

/// Name of its write-ahead log.
fn log_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    PathBuf::from(name)
}

/// The file as a URI that promises that nobody changes it (<https://www.sqlite.org/uri.html>).
pub(super) fn unchanging(path: &Path) -> PathBuf {
    let escaped = path.to_string_lossy().replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    PathBuf::from(format!("file:{escaped}?immutable=1"))
}

/// When the day of `at` is over.
fn next_day(at: i64) -> i64 {
    at.div_euclid(DAY).saturating_add(1).saturating_mul(DAY)
}

fn count(connection: &Connection) -> rusqlite::Result<u64> {
    let count: i64 = connection.query_row("SELECT count(*) FROM calls", [], |row| row.get(0))?;
    Ok(count.unsigned_abs())
}
