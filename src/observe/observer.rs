//! The way from a call's event to all who want to know.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, bounded};
use tracing::warn;

use super::feed::{CallsNow, LiveCall};
use super::history::{History, Writer};
use super::log;
use super::metrics::Metrics;
use crate::call::{Event, Happened};
use crate::io::clock::{self, Anchor};
use crate::io::threads::StandBack;
use crate::store::{CallRecord, CallSummary, Retention};
use crate::units::{CallId, Redaction};

/// Most events that wait for the thread.
const EVENTS: usize = 16_384;
/// Of these, places that are kept for milestones: events without which a record would be wrong.
const FOR_MILESTONES: usize = EVENTS / 4;
/// After an event the thread rests, so that those that come meanwhile need not wake it: that costs a call more than the
/// event does. While some come each time, it is not woken at all.
const GATHER: Duration = Duration::from_millis(40);
/// How long the threads may take to end when the last [`Observer`] is dropped without [`Observer::shutdown`].
const DROPPED: Duration = Duration::from_secs(1);

/// What is observed and kept.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    /// The file of the records; None: none are kept.
    pub store: Option<PathBuf>,
    /// What of them is kept.
    pub records: Records,
}

/// What of a call is kept, and for how long. May change while calls run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Records {
    /// Whether the caller's and the called number stand in records.
    pub numbers: bool,
    /// When records go.
    pub retention: Retention,
}

impl Default for Records {
    fn default() -> Self {
        Self { numbers: true, retention: Retention::default() }
    }
}

/// The one door for events. Clones share everything.
#[derive(Clone, Debug)]
pub struct Observer {
    /// In boxes: the channel has room for thousands, and hardly ever holds one.
    events: Sender<Box<Happened>>,
    stop: Sender<Instant>,
    done: Receiver<()>,
    shared: Arc<Shared>,
}

/// What the threads and the readers share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) metrics: Arc<Metrics>,
    history: Mutex<History>,
    records: Mutex<Records>,
}

impl Shared {
    pub(super) fn new(metrics: Arc<Metrics>, records: Records) -> Self {
        Self { metrics, history: Mutex::default(), records: Mutex::new(records) }
    }

    /// Only a panic of ours can poison it. What it holds then is still the best that is known.
    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn records(&self) -> Records {
        *self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer {
    /// Starts the threads. A store that cannot be opened is no error here: it is logged, and tried again.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(settings: Settings, metrics: Arc<Metrics>) -> io::Result<Self> {
        let shared = Arc::new(Shared::new(metrics, settings.records));
        let writer = settings.store.map(|path| Writer::start(path, Arc::clone(&shared))).transpose()?;
        let ((events, happened), (stop, stopped), (ended, done)) = (bounded(EVENTS), bounded(1), bounded(1));
        let observing = Observing { shared: Arc::clone(&shared), writer };
        thread::Builder::new().name("observer".to_owned()).spawn(move || {
            StandBack::Records.apply();
            observing.run(&happened, &stopped);
            drop(ended);
        })?;
        Ok(Self { events, stop, done, shared })
    }

    /// Takes one event. Never waits: without room it is lost and counted, the least important ones first.
    pub fn happened(&self, happened: &Happened) {
        let crowded = self.events.len() >= EVENTS - FOR_MILESTONES;
        if (crowded && !is_milestone(&happened.event)) || self.events.try_send(Box::new(happened.clone())).is_err() {
            self.shared.metrics.event_lost();
        }
    }

    /// All metrics.
    #[must_use]
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.shared.metrics
    }

    /// Changes what is kept, for calls that end from now on.
    pub fn set_records(&self, records: Records) {
        *self.shared.records.lock().unwrap_or_else(PoisonError::into_inner) = records;
    }

    /// Calls that run, the longest running first.
    #[must_use]
    pub fn calls_now(&self, limit: usize, redaction: Redaction) -> CallsNow {
        let history = self.shared.history();
        let running = history.running();
        let total = running.len();
        CallsNow { total, calls: running.take(limit).map(|record| LiveCall::new(record, redaction)).collect() }
    }

    /// Is this call running?
    #[must_use]
    pub fn is_running(&self, call: CallId) -> bool {
        self.shared.history().is_running(call)
    }

    /// Calls that ended since the start, at most 200, newest first.
    #[must_use]
    pub fn calls_ended(&self, limit: usize, redaction: Redaction) -> Vec<CallSummary> {
        let ended: Vec<_> = self.shared.history().ended().take(limit).cloned().collect();
        match redaction {
            Redaction::On => ended.into_iter().map(CallSummary::redacted).collect(),
            Redaction::Off => ended,
        }
    }

    /// Takes all events that came, writes calls that still run as unfinished, and ends. False: not done within that
    /// time; what is missing is counted as lost where it is known.
    #[must_use]
    pub fn shutdown(&self, within: Duration) -> bool {
        let deadline = clock::now() + within;
        let _ = self.stop.try_send(deadline);
        // The thread drops its side when it is done: an error that is not a timeout.
        let done = self.done.recv_deadline(deadline) != Err(RecvTimeoutError::Timeout);
        if !done {
            warn!(
                within_ms = within.as_millis(),
                "The last events were not taken in time; some records may be missing"
            );
        }
        done
    }
}

/// True for an event that a record cannot do without.
fn is_milestone(event: &Event) -> bool {
    match event {
        Event::Began { .. }
        | Event::Restored { .. }
        | Event::Routed { .. }
        | Event::Ringing
        | Event::Answered { .. }
        | Event::Unheard { .. }
        | Event::SteppedUp { .. }
        | Event::TakenBack { .. }
        | Event::GuardLifted { .. }
        | Event::Ended { .. } => true,
        Event::Judged { .. } | Event::Digit { .. } => false,
    }
}

/// The thread.
struct Observing {
    shared: Arc<Shared>,
    writer: Option<Writer>,
}

impl Observing {
    fn run(mut self, events: &Receiver<Box<Happened>>, stopped: &Receiver<Instant>) {
        loop {
            crossbeam_channel::select! {
                recv(events) -> happened => match happened {
                    Ok(happened) => self.happened(&happened),
                    Err(_) => return self.finish(events, clock::now() + DROPPED),
                },
                recv(stopped) -> deadline => {
                    return self.finish(events, deadline.unwrap_or_else(|_| clock::now() + DROPPED));
                }
            }
            loop {
                thread::sleep(GATHER);
                match stopped.try_recv() {
                    Ok(deadline) => return self.finish(events, deadline),
                    Err(TryRecvError::Disconnected) => return self.finish(events, clock::now() + DROPPED),
                    Err(TryRecvError::Empty) => {}
                }
                if self.all(events) == 0 {
                    break;
                }
            }
        }
    }

    /// Takes all events that are there; how many they were.
    fn all(&mut self, events: &Receiver<Box<Happened>>) -> usize {
        // Whoever keeps sending is cut off by the count, so that a stop is seen.
        let taken = events.try_iter().take(EVENTS).inspect(|happened| self.happened(happened)).count();
        let running = self.shared.history().running().len();
        self.shared.metrics.open_records(running);
        taken
    }

    fn happened(&mut self, happened: &Happened) {
        log::happened(happened);
        let record = self.shared.history().happened(happened, Anchor::take());
        self.shared.metrics.happened(happened, record.as_ref());
        if let Some(record) = record {
            let record = self.kept(record);
            if let Some(writer) = &self.writer {
                writer.offer(record);
            }
        }
    }

    fn finish(mut self, events: &Receiver<Box<Happened>>, deadline: Instant) {
        self.all(events);
        let Some(writer) = self.writer.take() else { return };
        let unfinished = self.shared.history().unfinished();
        for record in unfinished {
            writer.offer_until(self.kept(record), deadline);
        }
        if !writer.stop(deadline) {
            warn!("The last records were not written in time; some may be missing");
        }
    }

    fn kept(&self, mut record: CallRecord) -> CallRecord {
        if !self.shared.records().numbers {
            (record.caller, record.called) = (None, None);
        }
        record
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::{EndReason, Ending};
    use crate::units::Leg;

    #[test]
    fn a_stuck_observer_holds_no_call_and_loses_the_least_important_first() {
        let observer = Observer::start(Settings::default(), Arc::default()).unwrap();
        let tell = |event: Event, times: usize| {
            for _ in 0..times {
                observer.happened(&Happened { call: CallId(1), at: clock::now(), event: event.clone() });
            }
            observer.metrics().lost_events()
        };
        let ending = Ending { by: None, how: EndReason::Bye, status: None, talked: None };

        // The thread gets no further than its first event or two while this is held.
        let stuck = observer.shared.history();
        let digits = tell(Event::Digit { leg: Leg::Caller }, EVENTS);
        // Without it, it would be said that the phone did not ring.
        let ringing = tell(Event::Ringing, 1) - digits;
        let milestones = tell(Event::Ended { ending }, EVENTS) - digits;
        drop(stuck);

        assert_eq!(ringing, 0);
        let near = |count: u64, expected: usize| count.abs_diff(expected as u64) <= 2;
        assert!(near(digits, FOR_MILESTONES), "{digits}");
        assert!(near(milestones, EVENTS - FOR_MILESTONES), "{milestones}");
        assert!(observer.shutdown(Duration::from_secs(60)));
    }
}
