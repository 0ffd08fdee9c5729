//! What works and what does not, for `/health`; and the counts of all parts, for the metrics.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::Inner;
use crate::call::{NO_ROOM, TrunkStatus};
use crate::config::Settings;
use crate::io::analysis::Analysis;
use crate::io::clock;
use crate::io::media::MediaPath;
use crate::io::signalling::Report;
use crate::observe::metrics::{ConnectionCounts, EarCounts, JournalCounts, Metrics, Part};

/// A shard that has not reported for this long is taken to hang.
const STALE: Duration = Duration::from_secs(5);

/// The log says that calls are refused no more often than this.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// And of strangers: whoever is open to the internet has them all day.
const STRANGERS_EVERY: Duration = Duration::from_secs(600);

const MEDIA_DOWN: &str =
    "a media thread has ended: its calls have no audio, new calls go to another thread; restart Ringfence";

const DRAINING: &str = "draining: it was told to stop, and takes no new calls";

const REFUSED: &str =
    "settings: the file was refused when it was last read, and a start may refuse it too; `ringfence check` shows why";

/// Whether one part works.
#[derive(Clone, Debug, Serialize)]
pub struct PartHealth {
    /// `signalling`, `pbx`, `trunks`, `public_address`, `media`, `announcements`, `analysis`, `words`, `store`,
    /// `journal`, `admin`.
    pub part: &'static str,
    /// It works.
    pub up: bool,
    /// Why it does not work, or what follows from that.
    pub note: Option<String>,
}

/// Whether the firewall works, as `GET /health` says it.
#[derive(Clone, Debug, Serialize)]
pub struct Health {
    /// `ok`; `degraded`: something that is meant to work does not; `down`: this process carries no new calls.
    pub status: &'static str,
    /// What is missing for `ok`.
    pub reasons: Vec<String>,
    /// This process carries new calls.
    pub ok: bool,
    /// It is about to end: running calls go on, new ones are refused.
    pub draining: bool,
    /// Decisions are carried out, and callers are judged by their words too.
    pub protecting: bool,
    /// Settings in force.
    pub generation: u64,
    /// Decisions are carried out.
    pub enforce: bool,
    /// Calls now.
    pub calls: usize,
    /// All parts.
    pub parts: Vec<PartHealth>,
}

pub(super) fn health(inner: &Inner) -> Health {
    let report = inner.signalling.report();
    let alive = report.at.is_some_and(|at| clock::now().saturating_duration_since(at) < STALE);
    let analysis = inner.analysis.as_ref().is_some_and(Analysis::is_up);
    let words = analysis && inner.analysis.as_ref().is_some_and(Analysis::has_words);
    let up = |part| inner.metrics.part_up(part).unwrap_or(true);
    let (media, store, journal) = (up(Part::Media), up(Part::Store), up(Part::Journal));
    let draining = inner.draining.load(Ordering::Relaxed);
    let settings = inner.settings();
    let signalling = if report.at.is_some() { "it has not reported for 5 s" } else { "it has not begun yet" };
    let part = |part: &'static str, up: bool, note: Option<String>| PartHealth { part, up, note };
    let unless = |up: bool, note: &str| (!up).then(|| note.to_owned());
    let trunks = super::trunks::note(&report.trunks);
    let public = inner.told.lock().unwrap_or_else(PoisonError::into_inner).resolved.public;
    let unknown = super::public::unknown(&settings, public);
    let parts = vec![
        part("signalling", alive, unless(alive, signalling)),
        part("pbx", !report.pbx_down, report.pbx_down.then(|| pbx_note(&settings))),
        part("trunks", trunks.is_none(), trunks),
        part("public_address", unknown.is_none(), unknown),
        part("media", media, unless(media, MEDIA_DOWN)),
        part("announcements", inner.unannounced.is_none(), inner.unannounced.clone()),
        part("analysis", analysis, unless(analysis, "calls go on and are not judged")),
        part("words", words, inner.words_off.clone().or_else(|| unless(analysis, "nothing is listened to"))),
        part("store", store, unless(store, "calls go on and are not recorded")),
        part("journal", journal, journal_note(&settings, journal)),
        part("admin", up(Part::Admin), None),
    ];
    let ok = alive && media && !draining;
    // What somebody has switched off is no fault.
    let meant = |part: &&PartHealth| part.part != "words" || settings.detect.words.enabled;
    let reason = |part: &PartHealth| format!("{}: {}", part.part, part.note.as_deref().unwrap_or("down"));
    let reasons: Vec<String> = parts.iter().filter(|part| !part.up).filter(meant).map(reason).collect();
    let refused = inner.refused.load(Ordering::Relaxed).then(|| REFUSED.to_owned());
    let before = draining.then(|| DRAINING.to_owned()).into_iter().chain(refused);
    let reasons: Vec<String> = before.chain(settings.doubted.iter().cloned()).chain(reasons).collect();
    Health {
        status: if !ok {
            "down"
        } else if reasons.is_empty() {
            "ok"
        } else {
            "degraded"
        },
        reasons,
        ok,
        draining,
        protecting: settings.enforce && analysis && words,
        generation: settings.generation,
        enforce: settings.enforce,
        calls: report.sizes.calls,
        parts,
    }
}

fn pbx_note(settings: &Settings) -> String {
    let address = &settings.pbx.address;
    format!("{address} does not answer: callers hear 503. It is asked with OPTIONS until it does")
}

/// What the log has told of counts that rise, and of the PBX.
#[derive(Default)]
pub(super) struct Logged(Mutex<([Count; 2], bool)>);

/// How far the log has told of one, and when.
#[derive(Clone, Copy, Default)]
struct Count(u64, Option<Instant>);

impl Count {
    /// How many more there are, if it is time to say so.
    fn risen(&mut self, count: u64, every: Duration, now: Instant) -> Option<u64> {
        let Self(before, at) = *self;
        let due = count > before && at.is_none_or(|at| now.saturating_duration_since(at) >= every);
        due.then(|| {
            *self = Self(count, Some(now));
            count - before
        })
    }
}

impl Logged {
    /// Says in the log what has risen since it said so last.
    fn look(&self, report: &Report, now: Instant) {
        let Report { counters, pbx_down, .. } = report;
        let ([refused, strange], was_down) = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match (std::mem::replace(was_down, *pbx_down), pbx_down) {
            (false, true) => tracing::warn!("The PBX does not answer; callers hear 503"),
            (true, false) => tracing::info!("The PBX answers again"),
            (false, false) | (true, true) => {}
        }
        let no_room = counters.refused.get(NO_ROOM).copied().unwrap_or(0);
        if let Some(calls) = refused.risen(no_room, SAY_EVERY, now) {
            tracing::warn!(
                calls,
                "Calls were refused for lack of room: sip.max_calls, media.ports and open files set it, and a trunk's share of it"
            );
        }
        if let Some(messages) = strange.risen(counters.unknown_source, STRANGERS_EVERY, now) {
            tracing::info!(
                messages,
                last_from = counters.stranger.map(tracing::field::display),
                "Messages without an answer: their source is neither a trunk nor the PBX"
            );
        }
    }
}

/// Hands the newest counts of all parts to the metrics.
pub(super) fn tick(inner: &Inner, media: &MediaPath) {
    inner.logged.look(&inner.signalling.report(), clock::now());
    inner.metrics.part(Part::Pbx, !inner.signalling.report().pbx_down);
    signalling(&inner.metrics, &inner.signalling.report());
    inner.metrics.media(&media.counts());
    inner.metrics.part(Part::Media, media.is_up());
    journal(inner);
    analysis(inner);
    if let Some(log) = inner.log.upgrade() {
        inner.metrics.log_lines_lost(log.lost());
    }
}

fn signalling(metrics: &Metrics, report: &Report) {
    metrics.signalling(&report.counters, &report.sizes);
    let drops: Vec<(&'static str, u64)> = report.gated.iter().map(|(reason, count)| (*reason, *count)).collect();
    let (sources, numbers) = report.gate_sizes;
    let kept_out = report.kept_out as u64;
    metrics.gate(&drops, &[("sources", sources as u64), ("numbers", numbers as u64), ("kept_out", kept_out)]);
    metrics.signalling_faults(&[
        ("panic", report.panics),
        ("media_command_lost", report.commands_lost),
        ("event_lost", report.events_lost),
        ("send_failed", report.send_failed),
    ]);
    let streams = &report.streams;
    metrics.connections(ConnectionCounts {
        live: streams.live as u64,
        accepted: streams.accepted,
        opened: streams.opened,
        closed: streams.closed.iter().map(|(reason, count)| (*reason, *count)).collect(),
        unsent: streams.unsent,
    });
    let state = |trunk: &TrunkStatus| (trunk.name.to_string(), super::trunks::word(trunk) == "up");
    metrics.trunks(report.trunks.iter().map(state).collect());
}

fn analysis(inner: &Inner) {
    let analysis = inner.analysis.as_ref();
    inner.metrics.part(Part::Analysis, analysis.is_some_and(Analysis::is_up));
    inner.metrics.part(Part::Words, analysis.is_some_and(Analysis::has_words));
    let Some(counts) = analysis.map(Analysis::counts) else { return };
    inner.metrics.ears(&EarCounts {
        calls: read(&counts.calls),
        frames: read(&counts.frames),
        // The longest since the last tick.
        lag: Duration::from_millis(counts.lag_millis.swap(0, Ordering::Relaxed)),
        listening: read(&counts.listening),
        words: Duration::from_micros(read(&counts.words_micros)),
        words_waited: Duration::from_millis(read(&counts.words_waited_millis)),
        word_runs: read(&counts.word_runs),
        words_audio: Duration::from_millis(read(&counts.words_audio_millis)),
        words_skipped: read(&counts.words_lost),
        words_failed: read(&counts.words_failed),
        internal: read(&counts.internal),
        too_many: read(&counts.too_many),
        verdicts_lost: read(&counts.verdicts_lost),
    });
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

fn journal_note(settings: &Settings, up: bool) -> Option<String> {
    match (&settings.restart.journal, up) {
        (None, _) => Some("restart.journal = \"none\": calls end with the process".to_owned()),
        (Some(_), false) => Some("calls go on and do not outlive this process".to_owned()),
        (Some(_), true) => None,
    }
}

fn journal(inner: &Inner) {
    let Some(journal) = &inner.journal else { return };
    let counts = journal.counts();
    inner.metrics.part(Part::Journal, counts.up.load(Ordering::Relaxed));
    inner.metrics.journal(&JournalCounts {
        written: read(&counts.written),
        lost: read(&counts.lost),
        failed: read(&counts.failed),
        bytes: read(&counts.bytes),
        calls: read(&counts.calls),
        cut: read(&counts.cut),
        foreign: read(&counts.foreign),
    });
}

/// Sources and blocks for the API.
pub(super) fn sources(report: &Report) -> serde_json::Value {
    let now = clock::now();
    let blocks: Vec<serde_json::Value> = report
        .blocks
        .iter()
        .map(|block| {
            serde_json::json!({
                "source": block.source.to_string(),
                "reason": block.reason.label(),
                "blocked_for_s": now.saturating_duration_since(block.since).as_secs(),
                "ends_in_s": block.until.saturating_duration_since(now).as_secs(),
                "times": block.times,
                "dropped": block.dropped,
            })
        })
        .collect();
    let (sources, numbers) = report.gate_sizes;
    serde_json::json!({ "sources": sources, "numbers": numbers, "dropped": report.gated, "blocks": blocks })
}
