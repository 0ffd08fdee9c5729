//! The thread that writes, and the door to it.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, UNIX_EPOCH};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};

use super::file::{Found, JournalFile, LARGEST, Lock, Place, find};
use super::format::{MARK, frame, read};
use crate::call::{Entry, Snapshot};
use crate::io::clock;
use crate::io::threads::StandBack;
use crate::units::CallId;

/// Entries that wait for the thread.
const WAITING: usize = 16_384;
/// Changes within this time are written together, and of each call only the last one. A kill costs at most what changed
/// in it.
const GATHER: Duration = Duration::from_millis(200);
/// While it gathers, the thread looks this often whether it is to stop. It is not woken for each entry: that would cost
/// a call more than the entry does.
const LOOK: Duration = Duration::from_millis(50);
/// A file that cannot be written is tried again this often. One that can is looked for this often: is it still there?
const RETRY: Duration = Duration::from_secs(2);

/// How long the start waits for a process before that is still ending.
const LOCK_TRIES: u32 = 100;
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// What the journal has done, for metrics and health.
#[derive(Debug, Default)]
pub struct Counts {
    /// The last attempt to write worked.
    pub up: AtomicBool,
    /// Entries that are in the file.
    pub written: AtomicU64,
    /// Entries that found no room.
    pub lost: AtomicU64,
    /// Attempts to write that failed.
    pub failed: AtomicU64,
    /// Length of the file.
    pub bytes: AtomicU64,
    /// Calls in it.
    pub calls: AtomicU64,
    /// Bytes at the end of the file of the process before that were torn or damaged.
    pub cut: AtomicU64,
    /// Whole records of the process before that this version does not understand.
    pub foreign: AtomicU64,
}

/// The running journal.
pub struct Journal {
    inbox: Sender<Order>,
    counts: Arc<Counts>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// Until it is dropped, nobody else reads or writes the file.
    _lock: Lock,
}

enum Order {
    /// Keep this entry, made at this time (milliseconds since 1970).
    Keep(u64, Entry),
    /// Hand over what is kept of this call.
    Recall(CallId, Arc<Tell>),
    /// Write what waits, and end.
    Stop,
}

/// Who is told what was kept.
type Tell = dyn Fn(Snapshot) + Send + Sync;

/// The way of entries to the thread.
struct Door {
    inbox: Sender<Order>,
    counts: Arc<Counts>,
    /// Calls whose end has found no room. It goes before the next entry: a call that never ends would be gone on with
    /// by the next process.
    over: VecDeque<CallId>,
}

impl Door {
    fn take(&mut self, entry: Entry) {
        while let Some(&call) = self.over.front()
            && self.put(Entry::Over(call)).is_ok()
        {
            self.over.pop_front();
        }
        match self.put(entry) {
            Err(Entry::Over(call)) if self.over.len() < WAITING => self.over.push_back(call),
            Err(_) => drop(self.counts.lost.fetch_add(1, Ordering::Relaxed)),
            Ok(()) => {}
        }
    }

    /// Back: what found no room.
    fn put(&self, entry: Entry) -> Result<(), Entry> {
        match self.inbox.try_send(Order::Keep(wall_millis(), entry)).map_err(TrySendError::into_inner) {
            Err(Order::Keep(_, entry)) => Err(entry),
            Ok(()) | Err(Order::Recall(..) | Order::Stop) => Ok(()),
        }
    }
}

impl Journal {
    /// Reads what the process before left, and starts the thread. Returns the calls that ran then as well, each with
    /// the age of its snapshot. A file that is damaged or cannot be written is logged and counted, and is no error.
    /// Makes its folder, but not the folders above. Waits up to 5 s for a process before that is about to end.
    ///
    /// # Errors
    /// Another process has the file, it is a pipe or a device, its folder cannot be written, or the system gives
    /// no thread.
    pub fn start(path: &Path) -> io::Result<(Self, Vec<(Snapshot, Duration)>)> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.exists()) {
            std::fs::create_dir(folder)?;
        }
        // It would be replaced.
        if std::fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir()) {
            return Err(io::Error::other("it is no file, but a pipe or device"));
        }
        let lock = Lock::take(path, LOCK_TRIES, LOCK_PAUSE)?;
        let counts = Arc::new(Counts::default());
        let found = find(path).unwrap_or_else(|error| {
            let path = path.display();
            tracing::error!(%path, %error, "The journal cannot be read; calls of the process before are lost");
            Found::default()
        });
        found.log(path);
        counts.cut.store(found.cut, Ordering::Relaxed);
        counts.foreign.store(found.contents.foreign as u64, Ordering::Relaxed);
        let mut writing = Writing {
            path: path.to_owned(),
            file: None,
            working: false,
            living: BTreeMap::new(),
            living_bytes: 0,
            counts: Arc::clone(&counts),
            told: false,
            look_at: clock::now() + RETRY,
        };
        let now = wall_millis();
        let mut restored = Vec::with_capacity(found.contents.calls.len());
        for (snapshot, at) in found.contents.calls {
            let entry = Entry::Runs(Box::new(snapshot));
            writing.note(at, &entry);
            if let Entry::Runs(snapshot) = entry {
                restored.push((*snapshot, Duration::from_millis(now.saturating_sub(at))));
            }
        }
        // Without a torn end, and shown as down from the first moment where it cannot be written.
        writing.renew();
        let (inbox, orders) = bounded(WAITING);
        let thread = std::thread::Builder::new().name("journal".to_owned()).spawn(move || {
            StandBack::Records.apply();
            writing.run(&orders);
        })?;
        Ok((Self { inbox, counts, thread: Mutex::new(Some(thread)), _lock: lock }, restored))
    }

    /// Takes entries from another thread. Never waits: an entry that finds no room is lost and counted.
    pub fn door(&self) -> impl FnMut(Entry) + Send + use<> {
        let mut door = Door { inbox: self.inbox.clone(), counts: Arc::clone(&self.counts), over: VecDeque::new() };
        move |entry| door.take(entry)
    }

    /// A door for questions, for another thread: `tell` is handed what is kept of a call, later and on another thread,
    /// if anything is. Never waits.
    pub fn recall(&self, tell: Arc<Tell>) -> impl FnMut(CallId) + Send + use<> {
        let inbox = self.inbox.clone();
        move |call| {
            // Without room nobody is told: those who talked notice that their media have gone.
            let _ = inbox.try_send(Order::Recall(call, Arc::clone(&tell)));
        }
    }

    /// What it has done.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Writes what waits, and ends. The file stays ours.
    pub fn stop(&self) {
        let _ = self.inbox.send(Order::Stop);
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // A thread that panicked has said so on its own.
            let _ = thread.join();
        }
    }
}

impl Found {
    /// Says what was wrong with the file, if anything was.
    fn log(&self, path: &Path) {
        let path = path.display();
        if let Some(aside) = &self.moved {
            tracing::error!(%path, moved_to = %aside.display(), "This is no journal; it was moved aside");
        } else if self.cut > 0 {
            let (good, cut) = (self.contents.good, self.cut);
            tracing::warn!(%path, good, cut, "The journal's end is torn or damaged; it was cut off");
        }
        if self.contents.foreign > 0 {
            let records = self.contents.foreign;
            tracing::warn!(%path, records, "The journal has records that this version does not understand");
        }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What the thread knows.
struct Writing {
    path: PathBuf,
    /// None: no file could be made yet.
    file: Option<JournalFile>,
    /// The last attempt to write to `file` worked.
    working: bool,
    /// The newest record of each call that runs.
    living: BTreeMap<CallId, Kept>,
    living_bytes: u64,
    counts: Arc<Counts>,
    /// The log says already that it cannot be written.
    told: bool,
    /// When to look next whether the file is still there, or can be written again.
    look_at: Instant,
}

/// Where the newest record of a call is.
enum Kept {
    /// In the file alone. Its bytes are as many as all else that the process knows of the call, so that they are not
    /// held in memory too.
    There(Place),
    /// Not written yet.
    Here(Vec<u8>),
}

impl Kept {
    fn length(&self) -> u64 {
        let length = match self {
            Self::There(place) => place.length,
            Self::Here(record) => record.len(),
        };
        length as u64
    }
}

impl Writing {
    fn run(mut self, orders: &Receiver<Order>) {
        loop {
            let mut pending = BTreeMap::new();
            let mut running = match orders.recv_timeout(RETRY) {
                Ok(order) => self.take(&mut pending, order),
                Err(RecvTimeoutError::Timeout) => true,
                Err(RecvTimeoutError::Disconnected) => false,
            };
            let until = clock::now() + GATHER;
            while running && !pending.is_empty() && clock::now() < until {
                std::thread::sleep(LOOK);
                // Whoever keeps sending is cut off by the count.
                for order in orders.try_iter().take(WAITING) {
                    running &= self.take(&mut pending, order);
                }
            }
            self.write(pending, clock::now());
            if !running {
                return;
            }
        }
    }

    /// Of each call only the newest entry counts. False: no more will come.
    fn take(&self, pending: &mut BTreeMap<CallId, (u64, Entry)>, order: Order) -> bool {
        match order {
            Order::Keep(at, entry) => {
                pending.insert(entry.call(), (at, entry));
                true
            }
            Order::Recall(call, tell) => {
                let waiting = pending.get(&call).map(|(_, entry)| entry.clone());
                if let Some(Entry::Runs(snapshot)) = waiting.or_else(|| self.kept(call)) {
                    tell(*snapshot);
                }
                true
            }
            Order::Stop => false,
        }
    }

    /// The newest entry of a call that runs.
    fn kept(&self, call: CallId) -> Option<Entry> {
        let record = match self.living.get(&call)? {
            Kept::Here(record) => record.clone(),
            Kept::There(place) => self.file.as_ref()?.read(*place).ok()?,
        };
        let (snapshot, _) = read(&[MARK, &record].concat()).calls.pop()?;
        Some(Entry::Runs(Box::new(snapshot)))
    }

    fn write(&mut self, pending: BTreeMap<CallId, (u64, Entry)>, now: Instant) {
        let entries = pending.len() as u64;
        let (mut records, mut places) = (Vec::new(), Vec::new());
        for (at, entry) in pending.into_values() {
            if let Some(record) = self.note(at, &entry) {
                places.push((entry.call(), records.len() as u64, record.len()));
                records.extend(record);
            }
        }
        let look = now >= self.look_at;
        if look {
            self.look_at = now + RETRY;
        }
        let works = match self.file.as_mut().filter(|_| self.working) {
            Some(file) if look && file.has_moved() || file.has_no_room(records.len()) => self.renew(),
            Some(file) if records.is_empty() && !file.is_mostly_dead(self.living_bytes) => return,
            Some(file) => {
                let from = file.bytes();
                match file.add(&records) {
                    Ok(()) if file.is_mostly_dead(self.living_bytes) => self.renew(),
                    Ok(()) => {
                        self.lie_in_file(from, places);
                        self.works()
                    }
                    Err(error) => self.fails(&error),
                }
            }
            None if look => self.renew(),
            None => false,
        };
        if works {
            self.counts.written.fetch_add(entries, Ordering::Relaxed);
        }
    }

    /// Changes what lives; the record to write, if there is one.
    fn note(&mut self, at: u64, entry: &Entry) -> Option<Vec<u8>> {
        let call = entry.call();
        let record = frame(at, entry);
        let others = self.living_bytes - self.living.get(&call).map_or(0, Kept::length);
        if let Entry::Over(_) = entry {
            self.living_bytes = others;
            // A call that ends before it was written leaves nothing to take back.
            return self.living.remove(&call).and(record);
        }
        let record = record.filter(|record| others + record.len() as u64 <= LARGEST / 2);
        match &record {
            Some(record) => {
                self.living_bytes = others + record.len() as u64;
                self.living.insert(call, Kept::Here(record.clone()));
            }
            // What was kept before stays: it is in the file, and must be taken back there when the call is over.
            None => {
                self.counts.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
        record
    }

    /// Records have been written behind the first `from` bytes of the file, each at its distance from there.
    fn lie_in_file(&mut self, from: u64, places: Vec<(CallId, u64, usize)>) {
        for (call, at, length) in places {
            if let Some(kept) = self.living.get_mut(&call) {
                *kept = Kept::There(Place { at: from + at, length });
            }
        }
    }

    /// Writes all that lives into a new file. True: it works.
    fn renew(&mut self) -> bool {
        let Self { file, living, living_bytes, counts, .. } = self;
        let mut records = Vec::with_capacity(living.len());
        living.retain(|call, kept| {
            let record = match kept {
                Kept::Here(record) => Some(record.clone()),
                Kept::There(place) => file.as_ref().and_then(|file| file.read(*place).ok()),
            };
            match record {
                Some(record) => records.push((*call, record)),
                None => {
                    // The file has lost it.
                    *living_bytes -= kept.length();
                    counts.lost.fetch_add(1, Ordering::Relaxed);
                    return false;
                }
            }
            true
        });
        match JournalFile::with(&self.path, records.iter().map(|(_, record)| record.as_slice())) {
            Ok(file) => {
                self.file = Some(file);
                let mut at = MARK.len() as u64;
                for (call, record) in records {
                    let length = record.len();
                    self.living.insert(call, Kept::There(Place { at, length }));
                    at += length as u64;
                }
                self.works()
            }
            Err(error) => self.fails(&error),
        }
    }

    fn works(&mut self) -> bool {
        if std::mem::replace(&mut self.told, false) {
            tracing::info!(path = %self.path.display(), "The journal is written again");
        }
        self.working = true;
        let bytes = self.file.as_ref().map_or(0, JournalFile::bytes);
        self.counts.up.store(true, Ordering::Relaxed);
        self.counts.bytes.store(bytes, Ordering::Relaxed);
        self.counts.calls.store(self.living.len() as u64, Ordering::Relaxed);
        true
    }

    fn fails(&mut self, error: &io::Error) -> bool {
        self.working = false;
        self.counts.up.store(false, Ordering::Relaxed);
        self.counts.failed.fetch_add(1, Ordering::Relaxed);
        if !std::mem::replace(&mut self.told, true) {
            let path = self.path.display();
            tracing::error!(%path, %error, "The journal cannot be written; calls go on, and end with this process");
        }
        false
    }
}

fn wall_millis() -> u64 {
    let since = clock::wall().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_call_that_finds_no_room_goes_before_the_next_entry() {
        let (inbox, orders) = bounded(2);
        let mut door = Door { inbox, counts: Arc::default(), over: VecDeque::new() };
        let calls = || {
            let call = |order| if let Order::Keep(_, entry) = order { entry.call().0 } else { 0 };
            orders.try_iter().map(call).collect::<Vec<u64>>()
        };

        // The disk stands still.
        (1..=4).for_each(|call| door.take(Entry::Over(CallId(call))));
        assert_eq!(calls(), [1, 2]);
        door.take(Entry::Over(CallId(5)));
        assert_eq!(calls(), [3, 4]);
        door.take(Entry::Over(CallId(6)));

        assert_eq!(calls(), [5, 6]);
        assert_eq!(door.counts.lost.load(Ordering::Relaxed), 0);
    }
}
