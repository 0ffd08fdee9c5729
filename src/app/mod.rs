//! WIRING: builds and joins all parts, reloads, drains.
//!
//! Start: settings, sockets, media, ear, switchboard, observers, API. A part that protects but does not carry calls
//! (ear, words, records, API) may fail: the log says so, `/health` shows it as down, and calls go on without it.
//! Without settings, sockets and ports there is no start.

mod api;
mod doubts;
mod events;
mod health;
mod parts;
mod public;
mod reloading;
mod resolve;
mod settings;
mod trunks;

pub use doubts::{doubts, load_file, load_to_start};
pub use health::{Health, PartHealth};
pub use reloading::{ReloadReport, log_settings};

use std::collections::VecDeque;
use std::fmt::Display;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use crossbeam_channel::Receiver;

use self::events::Learning;
use self::public::{Public, PublicNames};
use self::resolve::{Locals, NoPbx, Resolved};
use crate::admin::Admin;
use crate::call::{Entry, Snapshot, Switchboard};
use crate::config::Settings;
use crate::gate::Gate;
use crate::io::analysis::Analysis;
use crate::io::clock;
use crate::io::media::{MediaPath, SilenceLimit};
use crate::io::names::Names;
use crate::io::signalling::{Bound, Order, Report, Signalling, Wiring};
use crate::io::system_name::SystemName;
use crate::io::threads::{Wake, take_small_pages};
use crate::journal::Journal;
use crate::observe::metrics::{Metrics, Part};
use crate::observe::{Log, Observer};
use crate::sip::flow::Hop;
use crate::units::CallId;

/// Longest wait at the end for the last records to be written.
const LAST_RECORDS: Duration = Duration::from_secs(5);

/// Calls that a fault has cost and whose ends are about to be hung up.
const RECALLED: usize = 64;

/// Longest wait at the end for answers to the last requests: BYE, REGISTER.
const LAST_BYES: Duration = Duration::from_secs(2);

/// Why the firewall does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The settings file has mistakes; the text names all.
    #[error("{0}")]
    Settings(String),
    /// A part without which no call is carried does not start; the text names it.
    #[error("{0}")]
    Run(String),
    /// The PBX's name is not known, which may be different in a moment.
    #[error("{0}")]
    NoPbx(String),
}

/// The running firewall.
pub struct App {
    inner: Arc<Inner>,
    admin: Option<Admin>,
    events: JoinHandle<()>,
    media: Arc<MediaPath>,
}

/// What reload, API and ticks share.
struct Inner {
    file: Option<PathBuf>,
    /// In force.
    settings: ArcSwap<Settings>,
    /// Held while settings are being changed, which may wait for the DNS. Readers of `settings` do not take it.
    reloading: Mutex<()>,
    signalling: Signalling,
    analysis: Option<Analysis>,
    journal: Option<Journal>,
    metrics: Arc<Metrics>,
    observer: Observer,
    /// Why no words are recognised; None: they are.
    words_off: Option<String>,
    /// Which announcements are not played; None: all are.
    unannounced: Option<String>,
    /// Where SIP is listened to, as bound.
    addresses: Vec<Hop>,
    names: Names,
    pbx_name: SystemName,
    public_names: PublicNames,
    silence_limit: SilenceLimit,
    /// No new calls are taken any more.
    draining: AtomicBool,
    /// The last reload was refused.
    refused: AtomicBool,
    logged: health::Logged,
    sleep: Mutex<clock::Sleep>,
    told: Mutex<Told>,
    log: Weak<Log>,
}

/// The addresses that the shard was last told.
struct Told {
    resolved: Resolved,
    /// The count of changes of `names` that they came from.
    changes: u64,
    /// This machine's own. None: there was no route.
    local: Option<Locals>,
}

impl Told {
    fn new(settings: &Settings, resolved: Resolved, changes: u64, bound: &[Hop]) -> Self {
        let local = resolve::local(settings, &resolved, bound).ok();
        Self { resolved, changes, local }
    }
}

impl Inner {
    fn settings(&self) -> Arc<Settings> {
        self.settings.load_full()
    }
}

/// How the firewall is started, besides its settings.
pub struct Start<'a> {
    /// The settings, checked.
    pub settings: Settings,
    /// Where they came from, for reloads.
    pub file: Option<PathBuf>,
    /// Relative paths in the settings start here.
    pub folder: &'a Path,
    /// A reload changes its level, and the metrics show what it has lost. Weak: whoever started the log ends it, behind
    /// the last line.
    pub log: Weak<Log>,
}

/// What the shard is made of, before it runs.
struct Shard {
    names: Names,
    pbx_name: SystemName,
    public_names: PublicNames,
    resolved: Resolved,
    /// Of `names`, up to the hosts in `resolved`.
    changes: u64,
    bound: Bound,
    switchboard: Switchboard,
    gate: Gate,
}

impl Shard {
    fn new(settings: &Settings, store: &Path) -> Result<Self, StartError> {
        let names = Names::start().map_err(failed("names"))?;
        let public_names = PublicNames::start().map_err(failed("names"))?;
        let public = public_names.follow(settings, Public::default());
        let (resolved, changes) = resolved(settings, &names, public)?;
        let pbx_name = SystemName::start("pbx name").map_err(failed("names"))?;
        pbx_name.follow(resolve::pbx_name(settings));
        let bound = bind(settings, &resolved)?;
        let switchboard = switchboard(settings, &resolved, &bound.addresses, store)?;
        let gate = Gate::new(Arc::new(settings::gate_settings(settings, &resolved)), clock::now());
        Ok(Self { names, pbx_name, public_names, resolved, changes, bound, switchboard, gate })
    }
}

impl App {
    /// Starts everything.
    pub fn start(start: Start<'_>) -> Result<Self, StartError> {
        let Start { settings, file, folder, log } = start;
        if let Some((_, _, problem)) = doubts::one_file(&settings, folder) {
            return Err(StartError::Settings(problem));
        }
        let metrics = Arc::new(Metrics::new());
        metrics.generation(settings.generation);
        let store = folder.join(&settings.store.path);
        let Shard { names, pbx_name, public_names, resolved, changes, bound, switchboard, gate } =
            Shard::new(&settings, &store)?;
        // Where a folder is missing, whoever looks for it says so below.
        doubts::log(&settings.doubts());
        let addresses = bound.addresses.clone();
        let media = parts::media(&settings, folder, bound.wake())?;
        metrics.part(Part::Media, true);
        let unannounced = parts::unannounced(&media.missing_prompts, &parts::announcements(&settings, folder));
        metrics.part(Part::Announcements, unannounced.is_none());
        let ear = parts::ear(&settings, folder, media.taps, bound.wake())?;
        let observer = parts::observer(&settings, &store, &metrics)?;
        let (journal, restored) = parts::journal(&settings, folder, &metrics);

        let (shard_events, events) = crossbeam_channel::bounded(events::WAITING);
        let (recall, recalled) = recall_door(journal.as_ref(), bound.wake());
        let media_path = Arc::new(media.path);
        let [begins, takes, wakes] = std::array::from_fn(|_| Arc::clone(&media_path));
        let wiring = Wiring {
            media_events: media.events,
            begin_media: Box::new(move |call, local| begins.begin(call, local)),
            media: Box::new(move |command| takes.put(command)),
            wake_media: Box::new(move || wakes.wake()),
            verdicts: ear.verdicts,
            journal: journal_door(journal.as_ref()),
            recall,
            recalled,
            restored,
            events: shard_events,
        };
        let switchboard = if journal.is_some() { switchboard.with_journal() } else { switchboard };
        let signalling = bound.start(switchboard, gate, wiring).map_err(failed("signalling"))?;
        let learning = ear.analysis.as_ref().map(|analysis| Learning::new(analysis, &settings, folder));
        let events = events::start(events, observer.clone(), learning).map_err(failed("events"))?;

        if ear.words_off.is_some() {
            take_small_pages();
        }
        let admin = settings.admin;
        let told = Told::new(&settings, resolved, changes, &addresses);
        let inner = Arc::new(Inner {
            file,
            settings: ArcSwap::from_pointee(settings),
            reloading: Mutex::default(),
            signalling,
            analysis: ear.analysis,
            journal,
            metrics,
            observer,
            words_off: ear.words_off,
            unannounced,
            addresses,
            told: Mutex::new(told),
            names,
            pbx_name,
            public_names,
            silence_limit: media_path.silence_limit(),
            draining: AtomicBool::new(false),
            refused: AtomicBool::new(false),
            logged: health::Logged::default(),
            sleep: Mutex::new(clock::Sleep::watch(clock::Anchor::take())),
            log,
        });
        let admin = admin.and_then(|address| api::start(address, &inner, &store));
        let app = Self { inner, admin, events, media: media_path };
        app.tick();
        Ok(app)
    }

    /// Where SIP is listened to, as bound.
    #[must_use]
    pub fn addresses(&self) -> &[Hop] {
        &self.inner.addresses
    }

    /// Where the API listens, as bound.
    #[must_use]
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(Admin::address)
    }

    /// Reads the settings file again.
    #[must_use]
    pub fn reload(&self) -> ReloadReport {
        reloading::reload(&self.inner)
    }

    /// Whether the next process would start with the settings file as it is now.
    ///
    /// # Errors
    /// Why not.
    pub fn next_start(&self) -> Result<(), Vec<String>> {
        self.inner.file.as_deref().map_or(Ok(()), |file| doubts::next_start(file, &self.inner.addresses))
    }

    /// Hands the newest counts to the metrics, and changed addresses of trunks and PBX to the shard, which also hears
    /// of a sleep of this machine. To be called about once a second.
    pub fn tick(&self) {
        trunks::follow_names(&self.inner);
        trunks::follow_sleep(&self.inner);
        health::tick(&self.inner, &self.media);
    }

    /// Calls now and last calls, as the observers see them.
    #[must_use]
    pub fn observer(&self) -> &Observer {
        &self.inner.observer
    }

    /// What the shard last reported: its counts, blocks in force, trunks.
    #[must_use]
    pub fn report(&self) -> Arc<Report> {
        self.inner.signalling.report()
    }

    /// Takes no new calls, lets running ones finish for `sip.drain_for` (or until something comes on `hurry`), ends
    /// those that are left, takes registrations back, and writes the last records.
    pub fn stop(self, hurry: &Receiver<()>) {
        let drain_for = self.inner.settings().sip.drain_for;
        let deadline = clock::now() + drain_for;
        let signalling = &self.inner.signalling;
        self.inner.draining.store(true, Ordering::Relaxed);
        signalling.order(Order::Drain);
        let running = || signalling.calls();
        tracing::info!(calls = running(), drain_for_s = drain_for.as_secs(), "Draining: no new calls");
        while running() > 0 && clock::now() < deadline {
            if hurry.recv_timeout(Duration::from_millis(100)).is_ok() {
                tracing::info!(calls = running(), "Told again to stop; ending what runs");
                break;
            }
            self.tick();
        }
        signalling.order(Order::EndAll);
        let deadline = clock::now() + LAST_BYES;
        // A report would be too old: the first BYE may be lost, or the registrar ask for a newer nonce.
        while signalling.unfinished() > 0 && clock::now() < deadline {
            std::thread::sleep(Duration::from_millis(50));
        }
        self.end();
    }

    /// Ends without a BYE to anybody, so that the next process can go on with the calls; audio flows until the end.
    /// Waits for a moment in which no call is being set up, for `sip.drain_for` at most (or until something comes on
    /// `hurry`); calls that are not answered by then are refused. Without a journal, or with one that cannot be
    /// written, it does what [`App::stop`] does.
    pub fn hand_over(self, hurry: &Receiver<()>) {
        if !self.has_journal() {
            return self.stop(hurry);
        }
        let signalling = &self.inner.signalling;
        let deadline = clock::now() + self.inner.settings().sip.drain_for;
        tracing::info!(calls = signalling.calls(), unanswered = signalling.unanswered(), "Handing over");
        while signalling.unanswered() > 0 && clock::now() < deadline {
            if hurry.recv_timeout(Duration::from_millis(100)).is_ok() {
                break;
            }
            self.tick();
        }
        if !self.has_journal() {
            return self.stop(hurry);
        }
        if signalling.unanswered() > 0 {
            signalling.order(Order::EndUnanswered);
            // So long, refusals are sent and repeated.
            std::thread::sleep(LAST_BYES);
        }
        self.end();
    }

    /// The next process will find the calls. If not, the log says why.
    fn has_journal(&self) -> bool {
        let works = self.inner.journal.as_ref().map(|journal| journal.counts().up.load(Ordering::Relaxed));
        match works {
            Some(true) => {}
            Some(false) => tracing::warn!("The journal cannot be written: calls cannot be handed over"),
            None => tracing::warn!("There is no journal to hand calls over with"),
        }
        works == Some(true)
    }

    fn end(self) {
        let Self { inner, admin, events, media } = self;
        inner.signalling.stop();
        // The shard has ended: no more entries come. The file stays locked, and the next process waits for that.
        if let Some(journal) = &inner.journal {
            journal.stop();
        }
        // The events' thread ends when the shard has: then every event has reached the observer.
        let _ = events.join();
        // Logs itself what was not done in time.
        let _ = inner.observer.shutdown(LAST_RECORDS);
        drop(admin);
        // Before the journal, whose lock goes with it: the process that waits for the lock needs these ports.
        drop(media);
        tracing::info!("Stopped");
    }
}

fn failed<E: Display>(what: &str) -> impl FnOnce(E) -> StartError + '_ {
    move |error| StartError::Run(format!("{what}: {error}"))
}

/// The addresses of PBX and trunks, as far as they are known at the start.
fn resolved(settings: &Settings, names: &Names, public: Public) -> Result<(Resolved, u64), StartError> {
    let pbx = resolve::pbx(settings, None).map_err(|no_pbx| match no_pbx {
        NoPbx::Unknown(problem) => StartError::NoPbx(problem),
        NoPbx::Unusable(problem) => StartError::Run(problem),
    })?;
    let (trunks, changes) = trunks::resolve(names, settings, pbx);
    Ok((Resolved { pbx, trunks, former: VecDeque::new(), public }, changes))
}

fn bind(settings: &Settings, resolved: &Resolved) -> Result<Bound, StartError> {
    let listen: Vec<Hop> = settings.listen.iter().map(|listen| listen.hop).collect();
    let streams = settings::stream_settings(settings, resolved);
    Bound::bind(&listen, Arc::new(streams)).map_err(|error| StartError::Run(error.to_string()))
}

fn switchboard(
    settings: &Settings,
    resolved: &Resolved,
    addresses: &[Hop],
    store: &Path,
) -> Result<Switchboard, StartError> {
    let settings = settings::call_settings(settings, resolved, addresses).map_err(StartError::Run)?;
    // The least of three: what is set, what the ports hold, and what the system's limit of open files holds.
    tracing::info!(calls = settings.max_calls, "Room for calls at a time");
    let mut secret = [0; 16];
    getrandom::fill(&mut secret).map_err(failed("random numbers"))?;
    Ok(Switchboard::new(0, started(clock::wall(), store), secret, Arc::new(settings)))
}

/// Seconds since 1970, for the names of calls. On a machine that has no clock of its own, and begins twice at the same
/// time, it is later than the last record.
fn started(now: SystemTime, store: &Path) -> u32 {
    let since_1970 = |time: SystemTime| time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let seconds = |time: SystemTime| u32::try_from(since_1970(time)).unwrap_or(u32::MAX);
    // What is new is in the write-ahead log at first.
    let mut log = store.as_os_str().to_owned();
    log.push("-wal");
    let files = [store, Path::new(&log)];
    let written = files.iter().filter_map(|file| std::fs::metadata(file).and_then(|data| data.modified()).ok());
    written.map(|time| seconds(time).saturating_add(1)).fold(seconds(now), u32::max)
}

fn journal_door(journal: Option<&Journal>) -> Box<dyn FnMut(Entry) + Send> {
    match journal {
        Some(journal) => Box::new(journal.door()),
        None => Box::new(drop),
    }
}

/// The way to ask the journal for a call, and what comes of it.
type Recalling = (Box<dyn FnMut(CallId) + Send>, Receiver<Box<Snapshot>>);

fn recall_door(journal: Option<&Journal>, wake: Wake) -> Recalling {
    let Some(journal) = journal else { return (Box::new(|_| {}), crossbeam_channel::never()) };
    let (tell, recalled) = crossbeam_channel::bounded(RECALLED);
    let tell = move |snapshot: Snapshot| {
        if tell.try_send(Box::new(snapshot)).is_ok() {
            wake();
        }
    };
    (Box::new(journal.recall(Arc::new(tell))), recalled)
}

/// Everything a reload hands to the shard.
fn shard_settings(settings: &Settings, resolved: &Resolved, addresses: &[Hop]) -> Result<Order, String> {
    Ok(Order::Settings {
        call: Arc::new(settings::call_settings(settings, resolved, addresses)?),
        gate: Arc::new(settings::gate_settings(settings, resolved)),
        streams: Arc::new(settings::stream_settings(settings, resolved)),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_clock_that_begins_again_names_no_call_as_one_in_the_store() {
        let folder = tempfile::tempdir().unwrap();
        let (store, log) = (folder.path().join("calls.db"), folder.path().join("calls.db-wal"));
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let write = |file: &Path, seconds| {
            std::fs::File::create(file).unwrap().set_modified(at(seconds)).unwrap();
        };

        assert_eq!(started(at(1_000), &store), 1_000, "the first start");
        write(&store, 900);
        assert_eq!(started(at(1_000), &store), 1_000, "as it usually is");
        write(&log, 1_500);
        assert_eq!(started(at(1_000), &store), 1_501);
        assert_eq!(started(at(1 << 33), &store), u32::MAX);
    }
}
