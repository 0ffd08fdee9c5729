//! What is counted, and the page that Prometheus reads.
//!
//! Every label value is a word out of a fixed set or of the settings, never text of a peer: the page cannot grow with
//! what strangers send. What events say is counted here; what cores and drivers count themselves comes as snapshots.

mod snapshot;

pub use snapshot::{ConnectionCounts, EarCounts, JournalCounts};

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::prometheus_text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use serde::{Deserialize, Serialize};

use self::snapshot::Snapshot;
use crate::call::{Counters, Event, Happened, NotAnalysed, Sizes};
use crate::io::media::MediaCounts;
use crate::policy::judge::Class;
use crate::store::CallRecord;

/// Labels of one series: name and value.
type Labels<const N: usize> = [(&'static str, &'static str); N];
/// A counter for each set of label values.
type By<const N: usize> = Family<Labels<N>, Counter>;

/// Seconds from the answer to an action. The aim is 5; the instruction of most recordings comes at 8 or later; by
/// default nobody is listened to for longer than 25.
const DECISION_BUCKETS: [f64; 13] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0, 12.0, 15.0, 20.0, 30.0];

/// A part that may fail while calls go on.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Part {
    /// The media path.
    Media,
    /// The PBX, as calls and questions find it.
    Pbx,
    /// What calls play.
    Announcements,
    /// The ears.
    Analysis,
    /// The speech model.
    Words,
    /// Call records.
    Store,
    /// The journal of running calls.
    Journal,
    /// The HTTP API.
    Admin,
}

impl Part {
    /// Fixed word.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Media => "media",
            Self::Pbx => "pbx",
            Self::Announcements => "announcements",
            Self::Analysis => "analysis",
            Self::Words => "words",
            Self::Store => "store",
            Self::Journal => "journal",
            Self::Admin => "admin",
        }
    }
}

/// How a reload ended.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reloaded {
    /// Nothing new in the file.
    Unchanged,
    /// The new settings are in force.
    Applied,
    /// Valid, but not without a restart.
    NeedsRestart,
    /// Not valid; the old settings stay.
    Refused,
}

impl Reloaded {
    /// Fixed word.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Unchanged => "unchanged",
            Self::Applied => "applied",
            Self::NeedsRestart => "needs_restart",
            Self::Refused => "refused",
        }
    }
}

/// All metrics of the process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    begun: By<1>,
    restored: Counter,
    routes: By<2>,
    answered: By<1>,
    unheard: By<1>,
    step_ups: By<2>,
    decision: Family<Labels<1>, Histogram, fn() -> Histogram>,
    taken_back: Counter,
    guards_lifted: By<1>,
    digits: By<1>,
    ended: By<1>,
    classes: By<1>,
    records: By<1>,
    events_lost: Counter,
    reloads: By<1>,
    generation: Gauge<u64, AtomicU64>,
    parts: Family<Labels<1>, Gauge>,
    snapshot: Arc<Snapshot>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All at zero.
    #[must_use]
    pub fn new() -> Self {
        let decision: fn() -> Histogram = || Histogram::new(DECISION_BUCKETS);
        let mut metrics = Self {
            registry: Registry::default(),
            begun: Family::default(),
            restored: Counter::default(),
            routes: Family::default(),
            answered: Family::default(),
            unheard: Family::default(),
            step_ups: Family::default(),
            decision: Family::new_with_constructor(decision),
            taken_back: Counter::default(),
            guards_lifted: Family::default(),
            digits: Family::default(),
            ended: Family::default(),
            classes: Family::default(),
            records: Family::default(),
            events_lost: Counter::default(),
            reloads: Family::default(),
            generation: Gauge::default(),
            parts: Family::default(),
            snapshot: Arc::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let mut registry = Registry::with_prefix("ringfence");
        registry.register("calls_begun", "Calls that came, by direction", self.begun.clone());
        registry.register("calls_restored", "Calls of another process that were gone on with", self.restored.clone());
        registry.register("routes", "What was decided at the INVITE", self.routes.clone());
        registry.register(
            "calls_answered",
            "Calls the callee answered, by whether they are heard",
            self.answered.clone(),
        );
        registry.register(
            "calls_unheard",
            "Calls listened to whose caller sent what cannot be heard, by why",
            self.unheard.clone(),
        );
        registry.register("step_ups", "Actions decided on running calls", self.step_ups.clone());
        registry.register("decision_seconds", "From the answer to an action", self.decision.clone());
        registry.register(
            "taken_back",
            "Diverted calls whose callee pressed the take-back key",
            self.taken_back.clone(),
        );
        registry.register("guards_lifted", "Calls whose keys are no longer held, by why", self.guards_lifted.clone());
        registry.register("digits", "Keys pressed, by side", self.digits.clone());
        registry.register("calls_ended", "Calls that are over, by how", self.ended.clone());
        registry.register("calls_judged", "Calls that are over, by their final class", self.classes.clone());
        registry.register("records", "Call records, by what became of them", self.records.clone());
        registry.register("events_lost", "Events that found no room on their way here", self.events_lost.clone());
        registry.register("reloads", "Reloads of the settings, by outcome", self.reloads.clone());
        registry.register("settings_generation", "Generation of the settings in force", self.generation.clone());
        registry.register("part_up", "1: this part works. 0: calls go on without it", self.parts.clone());
        registry.register_collector(Box::new(Arc::clone(&self.snapshot)));
        self.registry = registry;
        // A rate needs a first value: what is known to come starts at 0.
        for outcome in ["written", "lost"] {
            drop(self.records.get_or_create(&[("outcome", outcome)]));
        }
        for class in Class::ALL.map(Class::label).into_iter().chain(["none"]) {
            drop(self.classes.get_or_create(&[("class", class)]));
        }
    }

    /// The page, as [`prometheus_text::CONTENT_TYPE`] says.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut page = String::new();
        // Writing to a String does not fail.
        let _ = prometheus_text::encode(&mut page, &self.registry);
        page
    }

    /// Counts one event; `record` is that of a call that is over with it.
    pub(super) fn happened(&self, happened: &Happened, record: Option<&CallRecord>) {
        match &happened.event {
            Event::Began { facts, .. } => inc(&self.begun, [("direction", facts.direction.label())]),
            Event::Restored { .. } => {
                self.restored.inc();
            }
            Event::Routed { decision, enforcement } => {
                inc(&self.routes, [("action", decision.route.label()), ("enforcement", enforcement.metric_label())])
            }
            Event::Answered { analysed, not_analysed } => {
                let heard = if *analysed { "yes" } else { not_analysed.map_or("no", NotAnalysed::label) };
                inc(&self.answered, [("heard", heard)]);
            }
            Event::Unheard { not_analysed, .. } => inc(&self.unheard, [("why", not_analysed.label())]),
            Event::SteppedUp { at, decision, enforcement } => {
                let action = ("action", decision.action.label());
                inc(&self.step_ups, [action, ("enforcement", enforcement.metric_label())]);
                self.decision.get_or_create(&[action]).observe(at.0.as_secs_f64());
            }
            Event::TakenBack { .. } => {
                self.taken_back.inc();
            }
            Event::GuardLifted { by, .. } => inc(&self.guards_lifted, [("by", by.label())]),
            Event::Digit { leg } => inc(&self.digits, [("leg", leg.label())]),
            Event::Ended { ending } => {
                inc(&self.ended, [("how", ending.how.label())]);
                let label = record.and_then(CallRecord::verdict).map(|verdict| &*verdict.class);
                let class = Class::ALL.into_iter().map(Class::label).find(|class| Some(*class) == label);
                inc(&self.classes, [("class", class.unwrap_or("none"))]);
            }
            Event::Ringing | Event::Judged { .. } => {}
        }
    }

    pub(super) fn records_written(&self, records: usize) {
        self.records.get_or_create(&[("outcome", "written")]).inc_by(count(records));
    }

    pub(super) fn records_lost(&self, records: usize) {
        self.records.get_or_create(&[("outcome", "lost")]).inc_by(count(records));
    }

    pub(super) fn event_lost(&self) {
        self.events_lost.inc();
    }

    /// Records that were not written.
    #[must_use]
    pub fn lost_records(&self) -> u64 {
        self.records.get_or_create(&[("outcome", "lost")]).get()
    }

    /// Records that were written.
    #[must_use]
    pub fn written_records(&self) -> u64 {
        self.records.get_or_create(&[("outcome", "written")]).get()
    }

    /// Events that found no room.
    #[must_use]
    pub fn lost_events(&self) -> u64 {
        self.events_lost.get()
    }

    /// Whether a part works. A part that was never named is not on the page.
    pub fn part(&self, part: Part, up: bool) {
        self.parts.get_or_create(&[("part", part.label())]).set(i64::from(up));
    }

    /// Whether a part works; None: never named.
    #[must_use]
    pub fn part_up(&self, part: Part) -> Option<bool> {
        self.parts.get(&[("part", part.label())]).map(|up| up.get() == 1)
    }

    /// How a reload ended, and which settings are in force since.
    pub fn reloaded(&self, outcome: Reloaded, generation: u64) {
        inc(&self.reloads, [("outcome", outcome.label())]);
        self.generation(generation);
    }

    /// These settings are in force.
    pub fn generation(&self, generation: u64) {
        self.generation.set(generation);
    }

    /// What the switchboard has counted and holds.
    pub fn signalling(&self, counters: &Counters, sizes: &Sizes) {
        self.snapshot.update(|counted| counted.signalling = (counters.clone(), *sizes));
    }

    /// Faults of the signalling, by kind.
    pub fn signalling_faults(&self, faults: &[(&'static str, u64)]) {
        self.snapshot.update(|counted| counted.signalling_faults = faults.to_vec());
    }

    /// What the gate has dropped, by reason, and the entries of its tables.
    pub fn gate(&self, drops: &[(&'static str, u64)], entries: &[(&'static str, u64)]) {
        self.snapshot.update(|counted| {
            counted.gate_drops = drops.to_vec();
            counted.gate_entries = entries.to_vec();
        });
    }

    /// Whether each trunk works: registered where it is to be, and answering.
    pub fn trunks(&self, trunks: Vec<(String, bool)>) {
        self.snapshot.update(|counted| counted.trunks = trunks);
    }

    /// What became of connections.
    pub fn connections(&self, counts: ConnectionCounts) {
        self.snapshot.update(|counted| counted.connections = counts);
    }

    /// What the media path has counted.
    pub fn media(&self, counts: &MediaCounts) {
        self.snapshot.update(|counted| counted.media = *counts);
    }

    /// What the ears have counted.
    pub fn ears(&self, counts: &EarCounts) {
        self.snapshot.update(|counted| counted.ears = *counts);
    }

    /// What the journal has counted.
    pub fn journal(&self, counts: &JournalCounts) {
        self.snapshot.update(|counted| counted.journal = *counts);
    }

    /// Log lines that found no room.
    pub fn log_lines_lost(&self, lines: u64) {
        self.snapshot.update(|counted| counted.log_lines_lost = lines);
    }

    /// Calls that the history holds open.
    pub(super) fn open_records(&self, calls: usize) {
        self.snapshot.update(|counted| counted.open_records = count(calls));
    }
}

fn inc<const N: usize>(family: &By<N>, labels: Labels<N>) {
    family.get_or_create(&labels).inc();
}

fn count(entries: usize) -> u64 {
    u64::try_from(entries).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
