//! WIRING: builds and joins all parts, reloads, drains.
//!
//! Start: settings, sockets, media, ear, switchboard, observers, API. A part that protects but does not carry calls
//! (ear, words, records, API) may fail: it is said loudly, shown as down, and calls go on without it. Sockets, ports
//! and settings may not.

mod health;
mod reloading;
mod resolve;
mod trunks;

pub use health::{Health, PartHealth};
pub use reloading::ReloadReport;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use crossbeam_channel::Receiver;

use self::resolve::Resolved;
use crate::admin::{self, Admin};
use crate::call::{self, Event, Happened, Switchboard};
use crate::config::{self, Settings};
use crate::detect::fingerprint::Library;
use crate::detect::phrase::{Book, Recogniser, ScheduleSettings, Wording};
use crate::gate::{self, Gate};
use crate::io::analysis::{Analysis, Knowledge, Learner, StartedAnalysis};
use crate::io::clock;
use crate::io::media::{MediaPath, MediaSettings, StartedMedia};
use crate::io::names::Names;
use crate::io::shipped;
use crate::io::signalling::{Bound, Order, Reply, ShardEvent, Signalling, Wiring};
use crate::io::threads::{StandBack, take_small_pages};
use crate::journal::Journal;
use crate::observe::metrics::{Metrics, Part};
use crate::observe::{Observer, Records};
use crate::policy::action::{Enforcement, StepUp};
use crate::policy::judge::Weights;
use crate::sip::flow::Hop;
use crate::store::Retention;
use crate::units::CallId;

type JournalDoor = Box<dyn FnMut(call::Entry) + Send>;

/// Batches of events between the signalling and the observers.
const EVENTS: usize = 256;

/// How long records may take to be written at the end.
const LAST_RECORDS: Duration = Duration::from_secs(5);

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
    events: Option<std::thread::JoinHandle<()>>,
    observer: Observer,
    media: Arc<MediaPath>,
}

/// What reload, API and ticks share.
pub(crate) struct Inner {
    pub(crate) file: Option<PathBuf>,
    /// In force.
    pub(crate) settings: ArcSwap<Settings>,
    /// Held while they are being changed, which may wait for the DNS; nobody else needs it.
    pub(crate) reloading: Mutex<()>,
    pub(crate) signalling: Signalling,
    pub(crate) analysis: Option<Analysis>,
    pub(crate) journal: Option<Journal>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) observer: Observer,
    pub(crate) words_off: Option<String>,
    pub(crate) addresses: Vec<Hop>,
    pub(crate) names: Names,
    /// What the shard was last told.
    pub(crate) resolved: Mutex<(Resolved, u64)>,
    pub(crate) set_log: Box<dyn Fn(&config::LogSettings) + Send + Sync>,
}

impl Inner {
    pub(crate) fn settings(&self) -> Arc<Settings> {
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
    /// Changes what is logged after a reload.
    pub set_log: Box<dyn Fn(&config::LogSettings) + Send + Sync>,
}

impl App {
    /// Starts everything.
    pub fn start(start: Start<'_>) -> Result<Self, StartError> {
        let Start { settings, file, folder, set_log } = start;
        let run = |what: &str, error: &dyn std::fmt::Display| StartError::Run(format!("{what}: {error}"));
        let pbx = resolve::pbx(&settings).map_err(StartError::Run)?;
        let names = Names::start().map_err(|error| run("names", &error))?;
        let resolved = Resolved {
            pbx,
            trunks: trunks::resolve(&names, &settings, pbx),
            former: std::collections::VecDeque::new(),
        };
        let listen: Vec<Hop> = settings.listen.iter().map(|listen| listen.hop).collect();
        let streams = Arc::new(resolve::stream_settings(&settings, &resolved).map_err(StartError::Run)?);
        let bound = Bound::bind(&listen, streams).map_err(|error| StartError::Run(error.to_string()))?;
        let call_settings = resolve::call_settings(&settings, &resolved, &bound.addresses).map_err(StartError::Run)?;
        let gate_settings = Arc::new(resolve::gate_settings(&settings, &resolved));

        let media_settings = MediaSettings {
            first_port: settings.media.first_port,
            last_port: settings.media.last_port,
            timeout: settings.media.timeout,
            announcements: find(folder, &settings.media.announcements, "announcements"),
            threads: settings.media.threads,
            dscp: settings.media.dscp,
            sockets: resolve::files_for_calls(),
        };
        let StartedMedia { path: media, events: media_events, taps, bad_prompts } =
            MediaPath::start(&media_settings, bound.wake()).map_err(|error| run("media", &error))?;
        for bad in bad_prompts {
            tracing::warn!(prompt = %bad, "An announcement cannot be played");
        }
        let media = Arc::new(media);
        let metrics = Arc::new(Metrics::new());
        metrics.part(Part::Media, true);
        metrics.generation(settings.generation);

        let (recogniser, words_off) = recogniser(&settings, folder);
        if let Some(why) = &words_off {
            tracing::warn!(why, "Words are off; calls are judged by timing alone");
        }
        let knowledge = knowledge(&settings, folder).map_err(StartError::Settings)?;
        let threads = settings.detect.words.threads;
        let (analysis, verdicts) = match Analysis::start(taps, knowledge, recogniser, threads, bound.wake()) {
            Ok(StartedAnalysis { analysis, verdicts }) => (Some(analysis), verdicts),
            Err(error) => {
                tracing::error!(%error, "The ear does not start; calls go on unheard");
                (None, crossbeam_channel::never())
            }
        };

        let store = find(folder, &settings.store.path, "");
        let observe = crate::observe::Settings { store: Some(store.clone()), records: records(&settings) };
        let observer = Observer::start(observe, Arc::clone(&metrics)).map_err(|error| run("observer", &error))?;
        let (shard_events, events) = crossbeam_channel::bounded(EVENTS);
        let mut secret = [0; 16];
        getrandom::fill(&mut secret).map_err(|error| run("random numbers", &error))?;
        let started = clock::wall().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs() as u32);
        let switchboard = Switchboard::new(0, started, secret, Arc::new(call_settings));
        let (journal, restored) = journal(&settings, folder, &metrics);
        let switchboard = if journal.is_some() { switchboard.with_journal() } else { switchboard };
        let gate = Gate::new(gate_settings, clock::now());
        let addresses = bound.addresses.clone();
        let (commands, begun, woken) = (Arc::clone(&media), Arc::clone(&media), Arc::clone(&media));
        let wiring = Wiring {
            media_events,
            begin_media: Box::new(move |call, local| begun.begin(call, local)),
            media: Box::new(move |command| commands.put(command)),
            wake_media: Box::new(move || woken.wake()),
            verdicts,
            journal: journal.as_ref().map_or_else(|| Box::new(drop) as JournalDoor, |journal| Box::new(journal.door())),
            restored,
            events: shard_events,
        };
        let signalling = bound.start(switchboard, gate, wiring).map_err(|error| run("signalling", &error))?;
        let learn = analysis.as_ref().map(|analysis| (analysis.learner(), folder.join(&settings.detect.campaigns)));
        let events = observe_events(events, observer.clone(), learn).map_err(|error| run("observer", &error))?;

        if words_off.is_some() {
            take_small_pages();
        }
        let admin_address = settings.admin;
        let inner = Arc::new(Inner {
            file,
            settings: ArcSwap::from_pointee(settings),
            reloading: Mutex::default(),
            signalling,
            analysis,
            journal,
            metrics,
            observer: observer.clone(),
            words_off,
            addresses,
            resolved: Mutex::new((resolved, names.answers().1)),
            names,
            set_log,
        });
        let admin = admin_address.and_then(|address| start_admin(address, &inner, &store));
        let app = Self { inner, admin, events: Some(events), observer, media };
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
    pub fn admin_address(&self) -> Option<std::net::SocketAddr> {
        self.admin.as_ref().map(Admin::address)
    }

    /// Reads the settings file again.
    #[must_use]
    pub fn reload(&self) -> ReloadReport {
        reloading::reload(&self.inner)
    }

    /// Hands the newest counts to the metrics, and changed addresses of trunks to the shard. About once a second.
    pub fn tick(&self) {
        trunks::follow_names(&self.inner);
        health::tick(&self.inner, &self.media);
    }

    /// Calls now and last calls, as the observers see them.
    #[must_use]
    pub fn observer(&self) -> &Observer {
        &self.observer
    }

    /// Blocks in force and what the shard counted.
    #[must_use]
    pub fn report(&self) -> Arc<crate::io::signalling::Report> {
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

    fn end(mut self) {
        self.inner.signalling.stop();
        // All entries are in its channel now. The next process waits until we are gone: its file stays locked.
        if let Some(journal) = &self.inner.journal {
            journal.stop();
        }
        // The shard's channel ends with its thread, and with it the events' thread: every event has reached the observer.
        if let Some(events) = self.events.take() {
            let _ = events.join();
        }
        if !self.observer.shutdown(LAST_RECORDS) {
            tracing::warn!("Some records could not be written in time");
        }
        drop(self.admin.take());
        // Before the journal's lock goes: who waits for that needs these ports.
        drop(self.media);
        tracing::info!("Stopped");
    }
}

/// Passes events on; ends when the shard does.
fn observe_events(
    events: Receiver<Vec<ShardEvent>>,
    observer: Observer,
    learn: Option<(Learner, PathBuf)>,
) -> std::io::Result<std::thread::JoinHandle<()>> {
    std::thread::Builder::new().name("events".to_owned()).spawn(move || {
        StandBack::Records.apply();
        let mut taken_away = HashSet::new();
        for event in events.into_iter().flatten() {
            match event {
                ShardEvent::Call(happened) => {
                    observer.happened(&happened);
                    if let Some((learner, file)) = &learn
                        && was_a_scam(&mut taken_away, &happened)
                        && let Some(line) = learner.learn(happened.call)
                    {
                        remember(file, &line);
                    }
                }
                ShardEvent::Gate(gate::GateEvent::Blocked(block)) => {
                    let for_s = (block.until - block.since).as_secs();
                    tracing::warn!(source = %block.source, reason = block.reason, for_s, times = block.times, "Source blocked");
                }
                ShardEvent::Trunk(event) => trunks::log(&event),
                ShardEvent::Gate(gate::GateEvent::Expired { source }) => tracing::info!(%source, "Block over"),
            }
        }
    })
}

/// True at the end of a call that was taken away and not taken back. `taken_away` holds such calls that still run.
fn was_a_scam(taken_away: &mut HashSet<CallId>, happened: &Happened) -> bool {
    let Happened { call, event, .. } = happened;
    match event {
        Event::SteppedUp { decision, enforcement: Enforcement::Done, .. } if decision.action >= StepUp::Divert => {
            taken_away.insert(*call);
            false
        }
        Event::TakenBack { .. } => {
            taken_away.remove(call);
            false
        }
        Event::Ended { .. } => taken_away.remove(call),
        Event::Restored { story, .. } => {
            let taken =
                |step: &call::Taken| step.enforcement == Enforcement::Done && step.decision.action >= StepUp::Divert;
            if story.taken_back.is_none() && story.steps.iter().any(taken) {
                taken_away.insert(*call);
            }
            false
        }
        Event::Began { .. }
        | Event::Routed { .. }
        | Event::Ringing
        | Event::Answered { .. }
        | Event::Judged { .. }
        | Event::SteppedUp { .. }
        | Event::GuardLifted { .. }
        | Event::Digit { .. } => false,
    }
}

/// Adds a recording to the file of known ones. Where that fails, it is known until the end of this process.
fn remember(file: &Path, line: &str) {
    use std::io::Write as _;
    let opened = std::fs::OpenOptions::new().create(true).append(true).open(file);
    match opened.and_then(|mut file| writeln!(file, "{line}")) {
        Ok(()) => tracing::info!(file = %file.display(), "A scam's recording is known from now on"),
        Err(error) => tracing::warn!(file = %file.display(), %error, "A known recording cannot be kept"),
    }
}

fn start_admin(address: std::net::SocketAddr, inner: &Arc<Inner>, store: &Path) -> Option<Admin> {
    let (for_reload, for_health, for_hang_up, for_divert) =
        (Arc::clone(inner), Arc::clone(inner), Arc::clone(inner), Arc::clone(inner));
    let (for_blocks, for_lift, for_block, for_settings) =
        (Arc::clone(inner), Arc::clone(inner), Arc::clone(inner), Arc::clone(inner));
    let for_trunks = Arc::clone(inner);
    let doors = admin::Doors {
        observer: inner.observer.clone(),
        store: store.to_owned(),
        reload: Box::new(move || serde_json::to_value(reloading::reload(&for_reload)).unwrap_or_default()),
        health: Box::new(move || {
            let health = health::health(&for_health);
            (health.ok, serde_json::to_value(health).unwrap_or_default())
        }),
        hang_up: Box::new(move |call| for_hang_up.signalling.order(Order::HangUp(call))),
        divert: Box::new(move |call| for_divert.signalling.order(Order::Divert(call))),
        trunks: Box::new(move || trunks::json(&for_trunks.signalling.report(), clock::now())),
        sources: Box::new(move || health::sources(&for_blocks.signalling.report())),
        lift: Box::new(move |source| done(for_lift.signalling.lift(source))),
        block: Box::new(move |source, span| done(for_block.signalling.block(source, span))),
        settings: Box::new(move || serde_json::to_value(for_settings.settings().options()).unwrap_or_default()),
    };
    match Admin::start(address, doors) {
        Ok(admin) => {
            inner.metrics.part(Part::Admin, true);
            Some(admin)
        }
        Err(error) => {
            inner.metrics.part(Part::Admin, false);
            tracing::error!(%address, %error, "The HTTP API does not start; calls go on without it");
            None
        }
    }
}

fn done(reply: Reply) -> Option<bool> {
    match reply {
        Reply::Done => Some(true),
        Reply::Refused => Some(false),
        Reply::Late => None,
    }
}

/// A path of the settings; where it does not exist there, what comes with the program.
fn find(folder: &Path, path: &Path, name: &str) -> PathBuf {
    let named = folder.join(path);
    if named.exists() || name.is_empty() {
        return named;
    }
    shipped::find(name).unwrap_or(named)
}

/// The journal, and the calls that the process before left in it. Without one, calls end with this process.
fn journal(
    settings: &Settings,
    folder: &Path,
    metrics: &Metrics,
) -> (Option<Journal>, Vec<(call::Snapshot, Duration)>) {
    let Some(path) = &settings.restart.journal else { return (None, Vec::new()) };
    let path = find(folder, path, "");
    match Journal::start(&path) {
        Ok((journal, restored)) => {
            metrics.part(Part::Journal, true);
            (Some(journal), restored)
        }
        Err(error) => {
            metrics.part(Part::Journal, false);
            tracing::error!(path = %path.display(), %error, "The journal does not start; calls end with this process");
            (None, Vec::new())
        }
    }
}

fn recogniser(settings: &Settings, folder: &Path) -> (Option<Recogniser>, Option<String>) {
    if !settings.detect.words.enabled {
        return (None, Some("detect.words.enabled = false".to_owned()));
    }
    let model = find(folder, &settings.detect.words.model, "models/moonshine-tiny-en");
    match Recogniser::load(&model) {
        Ok(recogniser) => (Some(recogniser), None),
        Err(error) => (None, Some(error.to_string())),
    }
}

/// What the ear knows under these settings. The text is what an operator sees.
fn knowledge(settings: &Settings, folder: &Path) -> Result<Knowledge, String> {
    let read = |path: &Path| {
        let path = folder.join(path);
        std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))
    };
    let book = match &settings.detect.words.phrases {
        None => Book::built_in(),
        Some(path) => Arc::new(Book::parse(&read(path)?).map_err(|error| format!("{}: {error}", path.display()))?),
    };
    let wording = match &settings.detect.words.wording {
        None => Wording::built_in(),
        Some(path) => Arc::new(Wording::parse(&read(path)?).map_err(|error| format!("{}: {error}", path.display()))?),
    };
    let campaigns = Arc::new(campaigns(settings, folder));
    let words = Some(ScheduleSettings::default());
    Ok(Knowledge { weights: Arc::new(Weights::built_in()), book, wording, campaigns, words })
}

/// Known recordings. A file that is bad costs what is in it, not the firewall.
fn campaigns(settings: &Settings, folder: &Path) -> Library {
    let path = folder.join(&settings.detect.campaigns);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Library::default(),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "Known recordings cannot be read; the ear goes on without them");
            return Library::default();
        }
    };
    let library = Library::parse(&text).unwrap_or_else(|error| {
        tracing::warn!(path = %path.display(), %error, "Known recordings are damaged; the ear goes on without them");
        Library::default()
    });
    if let (false, Some(shorter)) = (library.is_empty(), Library::without_oldest(&text)) {
        // Lines are only ever added to it while calls run.
        let new = path.with_extension("new");
        match std::fs::write(&new, shorter).and_then(|()| std::fs::rename(&new, &path)) {
            Ok(()) => tracing::warn!(
                path = %path.display(), kept = library.len(),
                "The file of known recordings was too long: the oldest are no longer in it"
            ),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "The file of known recordings is too long, and stays so");
            }
        }
    }
    library
}

fn records(settings: &Settings) -> Records {
    let retention = Retention { keep: settings.store.keep_for, ..Retention::default() };
    Records { retention, ..Records::default() }
}

/// Everything a reload hands to the shard.
pub(crate) fn shard_settings(settings: &Settings, resolved: &Resolved, addresses: &[Hop]) -> Result<Order, String> {
    Ok(Order::Settings {
        call: Arc::new(resolve::call_settings(settings, resolved, addresses)?),
        gate: Arc::new(resolve::gate_settings(settings, resolved)),
        streams: Arc::new(resolve::stream_settings(settings, resolved)?),
    })
}
