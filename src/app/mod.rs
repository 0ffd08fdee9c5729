//! WIRING: builds and joins all parts, reloads, drains.
//!
//! Start: settings, sockets, media, ear, switchboard, observers, API. A part that protects but does not carry calls
//! (ear, words, records, API) may fail: it is said loudly, shown as down, and calls go on without it. Sockets, ports
//! and settings may not.

mod api;
mod events;
mod health;
mod parts;
mod reloading;
mod resolve;
mod trunks;

pub use health::{Health, PartHealth};
pub use reloading::{ReloadReport, log_settings};

use std::collections::VecDeque;
use std::fmt::Display;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, UNIX_EPOCH};

use arc_swap::ArcSwap;
use crossbeam_channel::Receiver;

use self::events::Learning;
use self::resolve::Resolved;
use crate::admin::Admin;
use crate::call::{Entry, Snapshot, Switchboard};
use crate::config::Settings;
use crate::gate::Gate;
use crate::io::analysis::Analysis;
use crate::io::clock;
use crate::io::media::MediaPath;
use crate::io::names::Names;
use crate::io::pbx_name::PbxName;
use crate::io::signalling::{Bound, Order, Report, Signalling, Wiring};
use crate::io::threads::take_small_pages;
use crate::journal::Journal;
use crate::observe::metrics::{Metrics, Part};
use crate::observe::{self, Log, Observer};
use crate::sip::flow::Hop;
use crate::units::CallId;

/// How long records may take to be written at the end.
const LAST_RECORDS: Duration = Duration::from_secs(5);

/// Calls that a fault has cost and whose ends are about to be hung up.
const RECALLED: usize = 64;

/// How long a BYE that we send at the end may take to be answered.
const LAST_BYES: Duration = Duration::from_secs(2);

/// Why the firewall does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The settings file has mistakes; the text names all.
    #[error("{0}")]
    Settings(String),
    /// A part without which no call goes.
    #[error("{0}")]
    Run(String),
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
    /// Held while they are being changed, which may wait for the DNS; nobody else needs it.
    reloading: Mutex<()>,
    signalling: Signalling,
    analysis: Option<Analysis>,
    journal: Option<Journal>,
    metrics: Arc<Metrics>,
    observer: Observer,
    /// Why no words are recognised.
    words_off: Option<String>,
    /// As bound.
    addresses: Vec<Hop>,
    names: Names,
    pbx_name: PbxName,
    /// What the shard was last told, and the state of `names` that it came from.
    resolved: Mutex<(Resolved, u64)>,
    log: Weak<Log>,
}

impl Inner {
    fn settings(&self) -> Arc<Settings> {
        self.settings.load_full()
    }
}

/// How the firewall is started, besides its settings.
pub struct Start<'a> {
    /// Checked.
    pub settings: Settings,
    /// Where they came from, for reloads.
    pub file: Option<PathBuf>,
    /// Relative paths in the settings start here.
    pub folder: &'a Path,
    /// Follows a reload, and says what it has lost. Weak: whoever starts the log also ends it, behind the last line.
    pub log: Weak<Log>,
}

impl App {
    /// Starts everything.
    pub fn start(start: Start<'_>) -> Result<Self, StartError> {
        let Start { settings, file, folder, log } = start;
        let metrics = Arc::new(Metrics::new());
        metrics.generation(settings.generation);
        let pbx = resolve::pbx(&settings, None).map_err(StartError::Run)?;
        let names = Names::start().map_err(failed("names"))?;
        let trunks = trunks::resolve(&names, &settings, pbx);
        let pbx_name = PbxName::start().map_err(failed("names"))?;
        pbx_name.follow(resolve::pbx_name(&settings));
        let resolved = Resolved { pbx, trunks, former: VecDeque::new() };
        let bound = bind(&settings, &resolved)?;
        let addresses = bound.addresses.clone();
        let switchboard = switchboard(&settings, &resolved, &addresses)?;
        let gate = Gate::new(Arc::new(resolve::gate_settings(&settings, &resolved)), clock::now());

        let media = parts::media(&settings, folder, bound.wake())?;
        metrics.part(Part::Media, true);
        let ear = parts::ear(&settings, folder, media.taps, bound.wake())?;
        let store = folder.join(&settings.store.path);
        let observed = observe::Settings { store: Some(store.clone()), records: parts::records(&settings) };
        let observer = Observer::start(observed, Arc::clone(&metrics)).map_err(failed("observer"))?;
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
        let learning = ear
            .analysis
            .as_ref()
            .map(|analysis| Learning { learner: analysis.learner(), file: folder.join(&settings.detect.campaigns) });
        let events = events::start(events, observer.clone(), learning).map_err(failed("observer"))?;

        if ear.words_off.is_some() {
            take_small_pages();
        }
        let admin = settings.admin;
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
            addresses,
            resolved: Mutex::new((resolved, names.answers().1)),
            names,
            pbx_name,
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

    /// Hands the newest counts to the metrics, and changed addresses of trunks and PBX to the shard. About once a second.
    pub fn tick(&self) {
        trunks::follow_names(&self.inner);
        health::tick(&self.inner, &self.media);
    }

    /// Calls now and last calls, as the observers see them.
    #[must_use]
    pub fn observer(&self) -> &Observer {
        &self.inner.observer
    }

    /// Blocks in force and what the shard counted.
    #[must_use]
    pub fn report(&self) -> Arc<Report> {
        self.inner.signalling.report()
    }

    /// Takes no new calls, lets running ones finish for `drain_for` (or until `hurry` says so), ends what is left,
    /// writes the last records.
    pub fn stop(self, hurry: &Receiver<()>) {
        let drain_for = self.inner.settings().sip.drain_for;
        let deadline = clock::now() + drain_for;
        let signalling = &self.inner.signalling;
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
        if running() > 0 {
            signalling.order(Order::EndAll);
            let deadline = clock::now() + LAST_BYES;
            while (running() > 0 || signalling.report().sizes.client_transactions > 0) && clock::now() < deadline {
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        let deadline = clock::now() + LAST_BYES;
        while trunks::are_ending(&signalling.report()) && clock::now() < deadline {
            std::thread::sleep(Duration::from_millis(50));
        }
        self.end();
    }

    /// Ends and says nothing to those who talk: the next process goes on with their calls, and audio flows to the end.
    /// Waits for a moment in which no call is being set up, for `drain_for` at most (or until `hurry` says so); what then
    /// still rings is refused. Without a journal, calls are ended as by [`App::stop`].
    pub fn hand_over(self, hurry: &Receiver<()>) {
        if self.inner.journal.is_none() {
            tracing::warn!("There is no journal to hand calls over with");
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
        if signalling.unanswered() > 0 {
            signalling.order(Order::EndUnanswered);
            // Those who are refused shall hear of it.
            std::thread::sleep(LAST_BYES);
        }
        self.end();
    }

    fn end(self) {
        let Self { inner, admin, events, media } = self;
        inner.signalling.stop();
        // All entries are in its channel now. The next process waits until we are gone: its file stays locked.
        if let Some(journal) = &inner.journal {
            journal.stop();
        }
        // The shard's channel ends with its thread, and with it the events' thread: every event has reached the observer.
        let _ = events.join();
        // Says itself what was not done in time.
        let _ = inner.observer.shutdown(LAST_RECORDS);
        drop(admin);
        // Before the journal's lock goes: who waits for that needs these ports.
        drop(media);
        tracing::info!("Stopped");
    }
}

fn failed<E: Display>(what: &str) -> impl FnOnce(E) -> StartError + '_ {
    move |error| StartError::Run(format!("{what}: {error}"))
}

fn bind(settings: &Settings, resolved: &Resolved) -> Result<Bound, StartError> {
    let listen: Vec<Hop> = settings.listen.iter().map(|listen| listen.hop).collect();
    let streams = resolve::stream_settings(settings, resolved).map_err(StartError::Run)?;
    Bound::bind(&listen, Arc::new(streams)).map_err(|error| StartError::Run(error.to_string()))
}

fn switchboard(settings: &Settings, resolved: &Resolved, addresses: &[Hop]) -> Result<Switchboard, StartError> {
    let settings = resolve::call_settings(settings, resolved, addresses).map_err(StartError::Run)?;
    let mut secret = [0; 16];
    getrandom::fill(&mut secret).map_err(failed("random numbers"))?;
    let started = clock::wall().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as u32);
    Ok(Switchboard::new(0, started, secret, Arc::new(settings)))
}

fn journal_door(journal: Option<&Journal>) -> Box<dyn FnMut(Entry) + Send> {
    match journal {
        Some(journal) => Box::new(journal.door()),
        None => Box::new(drop),
    }
}

/// The way to ask the journal for a call, and what comes of it.
type Recalling = (Box<dyn FnMut(CallId) + Send>, Receiver<Box<Snapshot>>);

fn recall_door(journal: Option<&Journal>, wake: parts::Wake) -> Recalling {
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
        call: Arc::new(resolve::call_settings(settings, resolved, addresses)?),
        gate: Arc::new(resolve::gate_settings(settings, resolved)),
        streams: Arc::new(resolve::stream_settings(settings, resolved)?),
    })
}
