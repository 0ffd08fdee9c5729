//! What cores and drivers count themselves: handed over whole, shown as it is.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::Labels;
use crate::call::{Counters, Sizes};
use crate::io::media::MediaCounts;
use crate::rtp::relay::DropReason;
use crate::units::Leg;

/// What the ears count. Counters grow for the life of the process.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct EarCounts {
    /// Calls that were listened to.
    pub calls: u64,
    /// Frames heard.
    pub frames: u64,
    /// How far behind its call the slowest ear was in the last second.
    pub lag: Duration,
    /// Calls that are listened to now.
    pub listening: u64,
    /// Time that the speech model has worked.
    pub words: Duration,
    /// Time that pieces of speech have waited for it.
    pub words_waited: Duration,
    /// Pieces of speech that it has heard.
    pub word_runs: u64,
    /// Speech in them.
    pub words_audio: Duration,
    /// Times that the model had no time for a piece of speech; it is tried again.
    pub words_skipped: u64,
    /// Pieces of speech that it failed on.
    pub words_failed: u64,
    /// Calls given up after a fault of ours.
    pub internal: u64,
    /// Calls that were not listened to because too many were.
    pub too_many: u64,
    /// Verdicts that the signalling had no room for.
    pub verdicts_lost: u64,
}

/// What became of TCP and TLS connections. Counters grow for the life of the process.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ConnectionCounts {
    /// Live now.
    pub live: u64,
    /// Opened by others.
    pub accepted: u64,
    /// Opened by us.
    pub opened: u64,
    /// Ended or refused, by reason.
    pub closed: Vec<(&'static str, u64)>,
    /// Messages that did not leave.
    pub unsent: u64,
}

/// What the journal of running calls counts.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct JournalCounts {
    /// Entries that are in the file.
    pub written: u64,
    /// Entries that found no room.
    pub lost: u64,
    /// Writings that failed.
    pub failed: u64,
    /// Length of the file.
    pub bytes: u64,
    /// Calls in it.
    pub calls: u64,
    /// Bytes of the file before that were torn or damaged.
    pub cut: u64,
    /// Records of the file before that were not understood.
    pub foreign: u64,
}

/// All that was handed over last.
#[derive(Clone, Debug, Default)]
pub(super) struct Counted {
    pub(super) signalling: (Counters, Sizes),
    pub(super) signalling_faults: Vec<(&'static str, u64)>,
    pub(super) gate_drops: Vec<(&'static str, u64)>,
    pub(super) gate_entries: Vec<(&'static str, u64)>,
    pub(super) trunks: Vec<(String, bool)>,
    pub(super) connections: ConnectionCounts,
    pub(super) media: MediaCounts,
    pub(super) ears: EarCounts,
    pub(super) journal: JournalCounts,
    pub(super) log_lines_lost: u64,
    pub(super) open_records: u64,
}

/// The last hand-over; read when the page is.
#[derive(Debug, Default)]
pub(super) struct Snapshot(Mutex<Counted>);

impl Snapshot {
    pub(super) fn update(&self, change: impl FnOnce(&mut Counted)) {
        // Plain numbers are never half changed in a way that matters.
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let counted = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut page = Page(&mut encoder);
        signalling(&mut page, &counted)?;
        let trunks = counted.trunks.iter().map(|(name, up)| ([("trunk", name.as_str())], u64::from(*up)));
        page.gauges("trunk_up", "1: this trunk answers, and is registered where it is to be.", trunks)?;
        connections(&mut page, &counted.connections)?;
        media(&mut page, &counted.media)?;
        ears(&mut page, &counted.ears)?;
        journal(&mut page, &counted.journal)?;
        page.counter("log_lines_lost", "Log lines that found no room.", counted.log_lines_lost)
    }
}

fn signalling(page: &mut Page<'_, '_>, counted: &Counted) -> fmt::Result {
    let (counters, sizes) = &counted.signalling;
    page.counter("unknown_source", "Datagrams of strangers.", counters.unknown_source)?;
    page.counters(
        "bad_messages",
        "Messages that were refused, by what is wrong.",
        counters.bad_message.iter().map(|(label, count)| ([("label", *label)], *count)),
    )?;
    page.counter("stray_messages", "Messages that belong to nothing.", counters.stray)?;
    page.counter("table_full", "Requests for which there was no room.", counters.table_full)?;
    page.counters(
        "calls_refused",
        "New calls that were refused before anything was decided of them, by why.",
        counters.refused.iter().map(|(why, count)| ([("why", *why)], *count)),
    )?;
    let moved = "Requests too large for a datagram that went over TCP.";
    page.counter("large_requests", moved, counters.large_requests)?;
    let back = "Those of them that went over UDP because the peer took no connection.";
    page.counter("large_requests_fell_back", back, counters.large_fell_back)?;
    page.counters(
        "signalling_faults",
        "Faults of the signalling: a panic that was contained, commands and events without room, failed sends.",
        counted.signalling_faults.iter().map(|(kind, count)| ([("fault", *kind)], *count)),
    )?;
    page.counters(
        "gate_drops",
        "Datagrams the gate did not let through, by reason.",
        counted.gate_drops.iter().map(|(reason, count)| ([("reason", *reason)], *count)),
    )?;
    let Sizes { calls, relayed, orphans, questions, server_transactions, client_transactions, trunk_requests, guests } =
        *sizes;
    let tables = [
        ("calls", super::count(calls)),
        ("relayed", super::count(relayed)),
        ("orphans", super::count(orphans)),
        ("questions", super::count(questions)),
        ("server_transactions", super::count(server_transactions)),
        ("client_transactions", super::count(client_transactions)),
        ("trunk_requests", super::count(trunk_requests)),
        ("guests", super::count(guests)),
        ("connections", counted.connections.live),
        ("media_calls", counted.media.calls),
        ("media_sockets", counted.media.sockets),
        ("ears", counted.ears.listening),
        ("open_records", counted.open_records),
    ];
    let entries = tables.into_iter().chain(counted.gate_entries.iter().copied());
    page.gauges(
        "table_entries",
        "Live entries of each table; kept_out: blocked sources that the kernel drops.",
        entries.map(|(table, count)| ([("table", table)], count)),
    )
}

fn connections(page: &mut Page<'_, '_>, counts: &ConnectionCounts) -> fmt::Result {
    let opened = [([("by", "peer")], counts.accepted), ([("by", "us")], counts.opened)];
    page.counters("connections_opened", "TCP and TLS connections, by who opened them.", opened)?;
    page.counters(
        "connections_closed",
        "TCP and TLS connections that ended or were refused, by reason.",
        counts.closed.iter().map(|(reason, count)| ([("reason", *reason)], *count)),
    )?;
    page.counter("messages_unsent", "Messages for which there was no connection.", counts.unsent)
}

fn media(page: &mut Page<'_, '_>, counts: &MediaCounts) -> fmt::Result {
    let packets = Leg::BOTH.into_iter().flat_map(|leg| {
        let leg_label = ("leg", leg.label());
        [([leg_label, ("way", "in")], counts.packets_in[leg]), ([leg_label, ("way", "out")], counts.packets_out[leg])]
    });
    page.counters("rtp_packets", "RTP packets, by leg and way.", packets)?;
    let lost = Leg::BOTH.map(|leg| ([("leg", leg.label())], counts.lost[leg]));
    page.counters("rtp_packets_lost", "RTP packets that never came, by leg.", lost)?;
    let dropped = DropReason::ALL.into_iter().map(DropReason::label).zip(counts.dropped);
    let dropped = dropped
        .chain([("oversized", counts.oversized), ("no_call", counts.no_call)])
        .map(|(reason, count)| ([("reason", reason)], count));
    page.counters("rtp_dropped", "Media datagrams that went nowhere, by reason.", dropped)?;
    let faults = [
        ("send_failed", counts.send_failed),
        ("tap_lost", counts.tap_lost),
        ("events_lost", counts.events_lost),
        ("ports_taken", counts.ports_taken),
        ("prompts_missing", counts.prompts_missing),
        ("internal", counts.internal),
    ];
    page.counters(
        "media_faults",
        "Faults of the media path, by kind.",
        faults.map(|(kind, n)| ([("fault", kind)], n)),
    )?;
    let ports = [("free", counts.ports_free), ("resting", counts.ports_resting)];
    page.gauges("media_port_pairs", "Port pairs, by state.", ports.map(|(state, count)| ([("state", state)], count)))
}

fn ears(page: &mut Page<'_, '_>, counts: &EarCounts) -> fmt::Result {
    page.counter("analysis_calls", "Calls listened to.", counts.calls)?;
    page.counter("analysis_frames", "Frames heard.", counts.frames)?;
    let lag = "How far the ear furthest behind its call was in the last second.";
    page.gauge("analysis_lag_seconds", lag, counts.lag.as_secs_f64())?;
    let faults = [
        ("internal", counts.internal),
        ("too_many", counts.too_many),
        ("verdict_lost", counts.verdicts_lost),
        ("words_failed", counts.words_failed),
    ];
    let help =
        "Calls whose ear failed (internal) or found no room (too_many), verdicts without room, failed word runs.";
    page.counters("analysis_faults", help, faults.map(|(kind, n)| ([("fault", kind)], n)))?;
    page.counter("words_runs", "Pieces of speech that the model has heard.", counts.word_runs)?;
    page.seconds("words_audio_seconds", "Speech in them.", counts.words_audio)?;
    page.seconds("words_seconds", "Time that the speech model has worked.", counts.words)?;
    page.seconds("words_waited_seconds", "Time that pieces of speech have waited for it.", counts.words_waited)?;
    page.counter(
        "words_skipped",
        "Times the model had no time for a piece of speech; it is tried again.",
        counts.words_skipped,
    )
}

fn journal(page: &mut Page<'_, '_>, counts: &JournalCounts) -> fmt::Result {
    let outcomes = [("written", counts.written), ("lost", counts.lost)];
    page.counters(
        "journal_entries",
        "Changes of answered calls, by what became of them.",
        outcomes.map(|(outcome, count)| ([("outcome", outcome)], count)),
    )?;
    page.counter("journal_failures", "Writings of the journal that failed.", counts.failed)?;
    page.counter("journal_cut_bytes", "Torn or damaged bytes in the journal at the start.", counts.cut)?;
    page.counter("journal_foreign", "Records at the start that were not understood.", counts.foreign)?;
    page.gauge("journal_bytes", "Length of the journal.", counts.bytes as f64)?;
    page.gauge("journal_calls", "Calls in the journal.", counts.calls as f64)
}

/// Writes one metric after the other.
struct Page<'a, 'b>(&'a mut DescriptorEncoder<'b>);

impl Page<'_, '_> {
    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let counter = ConstCounter::new(value);
        counter.encode(self.0.encode_descriptor(name, help, None, counter.metric_type())?)
    }

    fn seconds(&mut self, name: &str, help: &str, value: Duration) -> fmt::Result {
        let counter = ConstCounter::new(value.as_secs_f64());
        counter.encode(self.0.encode_descriptor(name, help, None, counter.metric_type())?)
    }

    fn gauge(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        let gauge = ConstGauge::new(value);
        gauge.encode(self.0.encode_descriptor(name, help, None, gauge.metric_type())?)
    }

    fn counters<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = (Labels<N>, u64)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in series {
            ConstCounter::new(value).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn gauges<'l, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = ([(&'static str, &'l str); N], u64)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in series {
            ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
