//! Where log lines go: standard error, by a thread of their own, so that a stuck pipe never holds a call.
//!
//! Whatever a part of the program logs, a line is one line: see [`plain`].

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use tracing::Subscriber;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

use super::plain::plain;
use crate::io::threads::StandBack;
use crate::units::Redaction;

/// Lines that wait to be written; at 200 bytes each about 1.6 MB.
const WAITING: usize = 8_192;
/// Most bytes of a line. Longer ones, which nothing of ours is, are lost, so that what waits is bounded.
const LONGEST: usize = 8_192;
/// After a line the thread rests, so that lines that come meanwhile need not wake it.
const GATHER: Duration = Duration::from_millis(10);
/// Lines that wait are written in pieces of about this many bytes.
const BLOCK: usize = 64 << 10;
/// How long the last lines may take to be written when [`Log`] is dropped.
const LAST_LINES: Duration = Duration::from_secs(1);

/// How lines look.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Format {
    /// For people.
    Text,
    /// For machines: one JSON object a line.
    Json,
}

/// `[log]`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LogSettings {
    /// How lines look.
    pub format: Format,
    /// What is logged: a level, or a list such as `info,ringfence::call=debug`.
    pub filter: String,
    /// Whether numbers are shortened.
    pub redaction: Redaction,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { format: Format::Text, filter: "info".to_owned(), redaction: Redaction::On }
    }
}

/// Why the log cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter is not one.
    #[error("{filter:?} is not a log filter ({reason}); try \"info\" or \"info,ringfence::call=debug\"")]
    Filter {
        /// What was asked for.
        filter: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Something else of this process logs already.
    #[error("the log is set up already")]
    AlreadySet,
    /// It can no longer be changed.
    #[error("the log has ended")]
    Ended,
    /// No thread.
    #[error("the log's thread cannot be started ({0})")]
    Thread(io::Error),
}

/// The running log. Dropping it writes what waits, for at most a second.
#[derive(Debug)]
pub struct Log {
    filter: reload::Handle<EnvFilter, Registry>,
    lost: Arc<AtomicU64>,
    stop: Sender<()>,
    done: Receiver<()>,
}

/// Begins to log. To be called once in a process.
///
/// # Errors
/// If the filter is not one, or it was called before.
pub fn init_log(settings: &LogSettings) -> Result<Log, LogError> {
    let (sink, lines) = Sink::new(WAITING);
    let lost = Arc::clone(&sink.lost);
    let (subscriber, filter) = subscriber(settings, sink)?;
    subscriber.try_init().map_err(|_| LogError::AlreadySet)?;
    settings.redaction.set();
    let ((stop, stopped), (ended, done)) = (bounded(1), bounded(1));
    thread::Builder::new()
        .name("log".to_owned())
        .spawn(move || {
            StandBack::Records.apply();
            write_lines(&lines, &stopped);
            drop(ended);
        })
        .map_err(LogError::Thread)?;
    Ok(Log { filter, lost, stop, done })
}

impl Log {
    /// Changes what is logged from now on.
    ///
    /// # Errors
    /// If the filter is not one, or the log has ended; then nothing changes.
    pub fn set(&self, filter: &str, redaction: Redaction) -> Result<(), LogError> {
        let new = parsed(filter)?;
        self.filter.reload(new).map_err(|_| LogError::Ended)?;
        redaction.set();
        Ok(())
    }

    /// Lines that found no room.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        let _ = self.stop.try_send(());
        // Ends with the thread, which drops its side, or with our patience.
        let _ = self.done.recv_timeout(LAST_LINES);
    }
}

/// Takes lines and hands them on.
#[derive(Clone, Debug)]
struct Sink {
    lines: Sender<String>,
    lost: Arc<AtomicU64>,
}

impl Sink {
    fn new(waiting: usize) -> (Self, Receiver<String>) {
        let (lines, receiver) = bounded(waiting);
        (Self { lines, lost: Arc::default() }, receiver)
    }
}

impl Write for Sink {
    /// One whole event: the layers of `tracing_subscriber::fmt` write each at once.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let mut line = plain(text.trim_end_matches('\n')).into_owned();
        line.push('\n');
        if line.len() > LONGEST || self.lines.try_send(line).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Sink {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

fn subscriber(
    settings: &LogSettings,
    sink: Sink,
) -> Result<(impl Subscriber + Send + Sync + use<>, reload::Handle<EnvFilter, Registry>), LogError> {
    let (filter, handle) = reload::Layer::new(parsed(&settings.filter)?);
    Ok((tracing_subscriber::registry().with(filter).with(layer(settings.format, sink)), handle))
}

fn layer<S: Subscriber + for<'a> LookupSpan<'a>>(format: Format, sink: Sink) -> Box<dyn Layer<S> + Send + Sync> {
    let layer = fmt::layer().with_ansi(false).with_writer(sink);
    match format {
        Format::Text => Box::new(layer),
        Format::Json => Box::new(layer.json().flatten_event(true)),
    }
}

fn parsed(filter: &str) -> Result<EnvFilter, LogError> {
    EnvFilter::try_new(filter)
        .map_err(|error| LogError::Filter { filter: filter.to_owned(), reason: error.to_string() })
}

fn write_lines(lines: &Receiver<String>, stopped: &Receiver<()>) {
    let mut out = io::stderr();
    // Nobody is left to be told that standard error is gone.
    let mut write = |text: &str| drop(out.write_all(text.as_bytes()));
    loop {
        crossbeam_channel::select! {
            recv(lines) -> line => match line {
                Ok(line) => write(&line),
                Err(_) => return,
            },
            recv(stopped) -> _ => return lines.try_iter().for_each(|line| write(&line)),
        }
        let stop = stopped.recv_timeout(GATHER) != Err(RecvTimeoutError::Timeout);
        let mut block = String::new();
        for line in lines.try_iter().take(WAITING) {
            block.push_str(&line);
            if block.len() >= BLOCK {
                write(&block);
                block.clear();
            }
        }
        write(&block);
        if stop {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logged(format: Format, log: impl FnOnce()) -> Vec<String> {
        let (sink, lines) = Sink::new(16);
        let settings = LogSettings { format, ..LogSettings::default() };
        let (subscriber, _filter) = subscriber(&settings, sink).unwrap();
        tracing::subscriber::with_default(subscriber, log);
        lines.try_iter().collect()
    }

    #[test]
    fn no_text_of_a_peer_breaks_or_forges_a_line() {
        let hostile = "x\r\n2026-01-01 ERROR all is lost\u{1b}[31m\u{85}\u{202e}";
        for format in [Format::Text, Format::Json] {
            let lines = logged(format, || {
                tracing::info!(as_text = hostile, as_display = %hostile, as_debug = ?hostile, "Began {hostile}");
            });

            let [line] = &lines[..] else { panic!("one event, one line: {lines:?}") };
            assert!(!line.trim_end_matches('\n').chars().any(|c| c.is_control() || c == '\u{202e}'), "{line}");
            if format == Format::Json {
                let value: serde_json::Value = serde_json::from_str(line).unwrap();
                assert!(value["as_text"].as_str().unwrap().contains("all is lost"));
            }
        }
    }

    #[test]
    fn what_finds_no_room_is_lost_and_counted() {
        let (mut sink, lines) = Sink::new(1);

        sink.write_all(b"kept\n").unwrap();
        sink.write_all(b"lost\n").unwrap();
        sink.write_all(&[b'x'; LONGEST + 1]).unwrap();

        assert_eq!(lines.try_iter().collect::<Vec<_>>(), ["kept\n"]);
        assert_eq!(sink.lost.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn a_bad_filter_is_told_with_a_way_out() {
        let error = parsed("ringfence=loudly").unwrap_err().to_string();

        assert!(error.contains("try \"info\""), "{error}");
    }
}
