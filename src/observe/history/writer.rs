//! Records on their way into the store: behind the calls, in batches, on a thread of their own.
//!
//! A store that fails is tried again with growing pauses. Meanwhile records wait, and those that find no room are lost
//! and counted. Nothing here is waited for, except by [`Writer::stop`], with a deadline.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, never};
use tracing::{error, info, warn};

use crate::io::clock;
use crate::io::threads::StandBack;
use crate::observe::metrics::{Metrics, Part};
use crate::observe::observer::Shared;
use crate::store::{CallRecord, MOST_RETIRED, Retired, Store, StoreError};

/// Records that wait for the thread.
const WAITING: usize = 4_096;
/// Records of one transaction.
const BATCH: usize = 256;
/// A record waits this long for others, so that one write of the thread serves them all.
const GATHER: Duration = Duration::from_millis(200);
/// Pause after the first failure; doubles.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Old records are looked for this often.
const RETAIN_EVERY: Duration = Duration::from_secs(3_600);
/// After a look that took as many as it may, the next comes this soon: the rest of their day. The next day waits for an
/// hour, in which a clock that is wrong may be set right.
const RETAIN_ON: Duration = Duration::from_secs(1);

/// The near end of the thread: takes records.
#[derive(Debug)]
pub(in crate::observe) struct Writer {
    records: Sender<Box<CallRecord>>,
    stop: Sender<Instant>,
    done: Receiver<()>,
    metrics: Arc<Metrics>,
}

impl Writer {
    /// Starts the thread; it opens `path` itself, so that a store that cannot be opened now may be later.
    pub(in crate::observe) fn start(path: PathBuf, shared: Arc<Shared>) -> io::Result<Self> {
        let ((records, waiting), (stop, stopped), (ended, done)) = (bounded(WAITING), bounded(1), bounded(1));
        let metrics = Arc::clone(&shared.metrics);
        let writing = Writing::new(path, waiting, shared);
        thread::Builder::new().name("records".to_owned()).spawn(move || {
            StandBack::Records.apply();
            writing.run(&stopped);
            drop(ended);
        })?;
        Ok(Self { records, stop, done, metrics })
    }

    /// Hands a record over; without room it is lost.
    pub(in crate::observe) fn offer(&self, record: CallRecord) {
        if self.records.try_send(Box::new(record)).is_err() {
            self.metrics.records_lost(1);
        }
    }

    /// Hands a last record over, and waits for room until `deadline`.
    pub(in crate::observe) fn offer_until(&self, record: CallRecord, deadline: Instant) {
        if self.records.send_deadline(Box::new(record), deadline).is_err() {
            self.metrics.records_lost(1);
        }
    }

    /// Writes what waits and ends. False: not all was done by the deadline.
    pub(in crate::observe) fn stop(self, deadline: Instant) -> bool {
        let _ = self.stop.try_send(deadline);
        // The thread drops its side when it is done: an error that is not a timeout.
        self.done.recv_deadline(deadline) != Err(crossbeam_channel::RecvTimeoutError::Timeout)
    }
}

/// The thread.
struct Writing {
    path: PathBuf,
    waiting: Receiver<Box<CallRecord>>,
    shared: Arc<Shared>,
    store: Option<Store>,
    /// At most a batch; what does not fit stays in `waiting`, whose other end counts what it loses.
    pending: Vec<CallRecord>,
    /// When to write; None: there is nothing.
    flush_at: Option<Instant>,
    retain_at: Instant,
    failing: Option<Failing>,
    /// The log has told of more records than are kept.
    told_surplus: bool,
}

struct Failing {
    since: Instant,
    pause: Duration,
    again_at: Instant,
}

impl Writing {
    fn new(path: PathBuf, waiting: Receiver<Box<CallRecord>>, shared: Arc<Shared>) -> Self {
        let now = clock::now();
        // The first flush has nothing to write: it opens the store, so that a bad one is told at the start.
        let (flush_at, retain_at) = (Some(now), now);
        let pending = Vec::new();
        Self { path, waiting, shared, store: None, pending, flush_at, retain_at, failing: None, told_surplus: false }
    }

    fn run(mut self, stopped: &Receiver<Instant>) {
        let nothing = never();
        loop {
            let now = clock::now();
            let due = self.due();
            if now >= due {
                self.work(now);
                continue;
            }
            let idle = self.flush_at.is_none() && self.failing.is_none();
            let first = if idle { &self.waiting } else { &nothing };
            crossbeam_channel::select! {
                recv(first) -> record => match record {
                    Ok(record) => self.take(*record, now),
                    Err(_) => return self.finish(now),
                },
                recv(stopped) -> deadline => return self.finish(deadline.unwrap_or(now)),
                default(due - now) => {}
            }
        }
    }

    fn due(&self) -> Instant {
        match (&self.failing, self.flush_at) {
            (Some(failing), _) => failing.again_at,
            (None, Some(flush_at)) => flush_at.min(self.retain_at),
            (None, None) => self.retain_at,
        }
    }

    /// Takes the first record after a quiet time. Others may gather before it is written.
    fn take(&mut self, record: CallRecord, now: Instant) {
        self.pending.push(record);
        self.flush_at = Some(now + GATHER);
    }

    /// Writes one batch, and deletes records that are too old.
    fn work(&mut self, now: Instant) {
        let outcome = self.write().and_then(|()| self.retain(now));
        match outcome {
            Ok(()) => self.recovered(now),
            Err(error) => self.failed(&error, now),
        }
        self.flush_at = match (self.pending.len(), self.waiting.len()) {
            (0, 0) => None,
            (_, BATCH..) => Some(now),
            (_, _) => Some(now + GATHER),
        };
    }

    fn write(&mut self) -> Result<(), StoreError> {
        let room = BATCH.saturating_sub(self.pending.len());
        self.pending.extend(self.waiting.try_iter().take(room).map(|record| *record));
        if self.store.as_ref().is_some_and(Store::has_moved) {
            warn!(path = %self.path.display(), "The file of the records has gone; a new one is begun");
            // Closed before the new one is opened: closing removes the old one's log by its path.
            self.store = None;
        }
        let store = match &mut self.store {
            Some(store) => store,
            None => self.store.insert(Store::open(&self.path)?),
        };
        match store.write(&self.pending) {
            Ok(()) => self.shared.metrics.records_written(self.pending.len()),
            Err(error) if error.may_pass() => return Err(error),
            Err(error) => {
                error!(reason = %error, records = self.pending.len(), "Records do not fit the store, and are lost");
                self.shared.metrics.records_lost(self.pending.len());
            }
        }
        self.pending.clear();
        Ok(())
    }

    fn retain(&mut self, now: Instant) -> Result<(), StoreError> {
        if now < self.retain_at {
            return Ok(());
        }
        let retention = self.shared.records().retention;
        let retired = self.store.as_mut().map(|store| store.retain(&retention, clock::wall())).transpose()?;
        let Retired { calls, surplus } = retired.unwrap_or_default();
        if surplus > 0 && !std::mem::replace(&mut self.told_surplus, true) {
            let kept = retention.most;
            warn!(kept, "There are too many call records: those of calls over a limit go first, then the oldest");
        }
        self.retain_at = now + if calls >= MOST_RETIRED { RETAIN_ON } else { RETAIN_EVERY };
        Ok(())
    }

    fn recovered(&mut self, now: Instant) {
        self.shared.metrics.part(Part::Store, true);
        if let Some(failing) = self.failing.take() {
            let down = now.saturating_duration_since(failing.since);
            info!(down_s = down.as_secs(), lost = self.shared.metrics.lost_records(), "Records are written again");
        }
    }

    fn failed(&mut self, error: &StoreError, now: Instant) {
        // Opened anew next time: the file may have been moved away or mounted by then.
        self.store = None;
        self.shared.metrics.part(Part::Store, false);
        let lost = self.shared.metrics.lost_records();
        let waiting = self.pending.len();
        self.failing = Some(match self.failing.take() {
            None => {
                error!(kind = error.label(), reason = %error, "Records cannot be written; calls go on without them");
                Failing { since: now, pause: FIRST_PAUSE, again_at: now + FIRST_PAUSE }
            }
            Some(Failing { since, pause, .. }) => {
                warn!(kind = error.label(), reason = %error, waiting, lost, "Records still cannot be written");
                let pause = (pause * 2).min(LONGEST_PAUSE);
                Failing { since, pause, again_at: now + pause }
            }
        });
    }

    /// Writes all that waits, once; what then cannot be written is lost. Only a lock is waited for, until `deadline`.
    fn finish(mut self, deadline: Instant) {
        while !(self.pending.is_empty() && self.waiting.is_empty()) {
            match self.write() {
                Ok(()) => {}
                Err(StoreError::Busy { .. }) if clock::now() < deadline => {}
                Err(error) => {
                    let lost = self.pending.len() + self.waiting.try_iter().count();
                    self.shared.metrics.records_lost(lost);
                    self.shared.metrics.part(Part::Store, false);
                    let kind = error.label();
                    error!(kind, reason = %error, records = lost, "The last records cannot be written, and are lost");
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::Records;
    use crate::store::fixture::diverted_call;
    use crate::store::{Retention, UtcMillis};
    use crate::units::CallId;

    /// One that nobody runs, with this many records before it.
    fn writing(path: PathBuf, records: u64) -> (Writing, Sender<Box<CallRecord>>) {
        // The call of the fixture is older than the default would keep it.
        let retention = Retention { keep: Duration::MAX, ..Retention::default() };
        let shared = Shared::new(Arc::default(), Records { retention, ..Records::default() });
        let (sender, waiting) = bounded(WAITING);
        for id in 0..records {
            sender.send(Box::new(CallRecord { id: CallId(id), ..diverted_call() })).unwrap();
        }
        (Writing::new(path, waiting, Arc::new(shared)), sender)
    }

    #[test]
    fn a_store_that_fails_is_tried_again_with_growing_pauses_and_nothing_that_waits_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("missing").join("too").join("calls.db");
        let (mut writing, _sender) = writing(path.clone(), 1);
        let mut now = clock::now();

        let mut pauses = Vec::new();
        for _ in 0..8 {
            writing.work(now);
            pauses.push((writing.due() - now).as_secs());
            now = writing.due();
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(writing.shared.metrics.part_up(Part::Store), Some(false));

        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        writing.work(now);

        assert_eq!(writing.shared.metrics.part_up(Part::Store), Some(true));
        assert_eq!(writing.shared.metrics.written_records(), 1);
        assert_eq!(writing.shared.metrics.lost_records(), 0);
        assert_eq!(Store::open_read_only(&path).unwrap().count().unwrap(), 1);
    }

    #[test]
    fn records_gather_and_many_go_batch_after_batch() {
        let folder = tempfile::tempdir().unwrap();
        let (mut writing, sender) = writing(folder.path().join("calls.db"), 0);
        let now = clock::now();
        writing.work(now);
        assert!(writing.due() > now + Duration::from_secs(600), "nothing to do but to look for old records");

        writing.take(diverted_call(), now);
        assert_eq!(writing.due(), now + GATHER);
        for _ in 0..2 * BATCH {
            sender.send(Box::new(diverted_call())).unwrap();
        }
        writing.work(now);
        assert_eq!((writing.shared.metrics.written_records(), writing.due()), (256, now));
        writing.work(now);
        assert_eq!((writing.shared.metrics.written_records(), writing.due()), (512, now + GATHER));
    }

    #[test]
    fn old_records_go_day_after_day_an_hour_apart() {
        let folder = tempfile::tempdir().unwrap();
        let (sender, waiting) = bounded(WAITING);
        for day in 0..2 {
            let began = UtcMillis(day * 24 * 3_600 * 1_000);
            sender.send(Box::new(CallRecord { id: CallId(day.cast_unsigned()), began, ..diverted_call() })).unwrap();
        }
        let shared = Shared::new(Arc::default(), Records::default());
        let mut writing = Writing::new(folder.path().join("calls.db"), waiting, Arc::new(shared));
        let mut now = clock::now();

        let mut left = Vec::new();
        for _ in 0..2 {
            writing.work(now);
            left.push(writing.store.as_ref().unwrap().count().unwrap());
            assert_eq!(writing.due(), now + RETAIN_EVERY);
            now = writing.due();
        }

        assert_eq!(left, [1, 0]);
    }

    #[test]
    fn a_disk_that_fills_up_keeps_the_batch_for_later() {
        let folder = tempfile::tempdir().unwrap();
        let (mut writing, sender) = writing(folder.path().join("calls.db"), 0);
        let now = clock::now();
        writing.work(now);
        writing.store.as_ref().unwrap().connection().pragma_update(None, "max_page_count", 1).unwrap();
        for id in 0..300 {
            sender.send(Box::new(CallRecord { id: CallId(id), ..diverted_call() })).unwrap();
        }

        writing.work(now);
        assert_eq!(writing.shared.metrics.part_up(Part::Store), Some(false));
        assert_eq!((writing.pending.len(), writing.waiting.len()), (BATCH, 44));

        // Opened anew, it has room again.
        writing.work(writing.due());
        let metrics = Arc::clone(&writing.shared.metrics);
        writing.finish(now);
        assert_eq!((metrics.written_records(), metrics.lost_records()), (300, 0));
    }

    #[test]
    fn a_file_that_is_deleted_while_it_is_written_is_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("calls.db");
        let (mut writing, sender) = writing(path.clone(), 1);
        let now = clock::now();
        writing.work(now);
        std::fs::remove_file(&path).unwrap();

        sender.send(Box::new(diverted_call())).unwrap();
        writing.work(now);

        assert_eq!(Store::open_read_only(&path).unwrap().count().unwrap(), 1);
    }
}
