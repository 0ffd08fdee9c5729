//! What works and what does not; and the counts of all parts for the metrics.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::Serialize;

use super::Inner;
use crate::config::Settings;
use crate::io::clock;
use crate::io::media::MediaPath;
use crate::io::signalling::Report;
use crate::observe::metrics::{AnalysisCounts, ConnectionCounts, JournalCounts, Part};

/// A shard whose report is older than this hangs.
const STALE: Duration = Duration::from_secs(5);

/// One part.
#[derive(Clone, Debug, Serialize)]
pub struct PartHealth {
    /// `signalling`, `trunks`, `media`, `analysis`, `words`, `store`, `journal`, `admin`.
    pub part: &'static str,
    /// It works.
    pub up: bool,
    /// Why not, or what that means.
    pub note: Option<String>,
}

/// The whole.
#[derive(Clone, Debug, Serialize)]
pub struct Health {
    /// Calls are carried.
    pub ok: bool,
    /// Callers are judged with everything there is.
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
    let part = |part: &'static str, up: bool, note: Option<String>| PartHealth { part, up, note };
    let unheard = || Some("calls go on and are not judged".to_owned());
    let analysis = inner.analysis.as_ref().is_some_and(crate::io::analysis::Analysis::is_up);
    let words = analysis && inner.analysis.as_ref().is_some_and(crate::io::analysis::Analysis::has_words);
    let up = |part| inner.metrics.part_up(part).unwrap_or(true);
    let settings = inner.settings();
    let parts = vec![
        part("signalling", alive, (!alive).then(|| "it has not reported for 5 s".to_owned())),
        part("trunks", super::trunks::note(&report.trunks).is_none(), super::trunks::note(&report.trunks)),
        part(
            "media",
            up(Part::Media),
            (!up(Part::Media)).then(|| {
                "a media thread has ended: the calls that it had have no audio, new ones go to another; restart"
                    .to_owned()
            }),
        ),
        part("analysis", analysis, if analysis { None } else { unheard() }),
        part("words", words, inner.words_off.clone()),
        part("store", up(Part::Store), (!up(Part::Store)).then(|| "calls go on and are not recorded".to_owned())),
        part("journal", up(Part::Journal), journal_note(&settings, up(Part::Journal))),
        part("admin", up(Part::Admin), None),
    ];
    Health {
        ok: alive && up(Part::Media),
        protecting: settings.enforce && analysis && words,
        generation: settings.generation,
        enforce: settings.enforce,
        calls: report.sizes.calls,
        parts,
    }
}

pub(super) fn tick(inner: &Inner, media: &MediaPath) {
    let report = inner.signalling.report();
    inner.metrics.signalling(&report.counters, &report.sizes);
    let drops: Vec<(&'static str, u64)> = report.gated.iter().map(|(reason, count)| (*reason, *count)).collect();
    let (sources, numbers) = report.gate_sizes;
    let kept_out = report.kept_out as u64;
    inner.metrics.gate(&drops, &[("sources", sources as u64), ("numbers", numbers as u64), ("kept_out", kept_out)]);
    inner.metrics.signalling_faults(&[
        ("panic", report.panics),
        ("media_command_lost", report.commands_lost),
        ("event_lost", report.events_lost),
        ("send_failed", report.send_failed),
    ]);
    let streams = &report.streams;
    inner.metrics.connections(ConnectionCounts {
        live: streams.live as u64,
        accepted: streams.accepted,
        opened: streams.opened,
        closed: streams.closed.iter().map(|(reason, count)| (*reason, *count)).collect(),
        unsent: streams.unsent,
    });
    let state = |trunk: &crate::call::TrunkStatus| (trunk.name.to_string(), super::trunks::word(trunk) == "up");
    inner.metrics.trunks(report.trunks.iter().map(state).collect());
    inner.metrics.media(&media.counts());
    inner.metrics.part(Part::Media, media.is_up());
    journal(inner);
    if let Some(analysis) = &inner.analysis {
        let counts = analysis.counts();
        let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        inner.metrics.analysis(&AnalysisCounts {
            calls: read(&counts.calls),
            frames: read(&counts.frames),
            lag: Duration::from_millis(counts.lag_millis.swap(0, Ordering::Relaxed)),
            ears: read(&counts.listening),
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
        inner.metrics.part(Part::Analysis, analysis.is_up());
        inner.metrics.part(Part::Words, analysis.has_words());
    } else {
        inner.metrics.part(Part::Analysis, false);
        inner.metrics.part(Part::Words, false);
    }
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
    let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
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
                "reason": block.reason,
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
