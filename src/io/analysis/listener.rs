//! One listening thread: the calls of one relaying thread.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use crossbeam_channel::{Receiver, Sender, bounded};
use rustfft::FftPlanner;

use super::AnalysisCounts;
use super::hearing::{Hearing, Knowledge};
use super::learner::Learner;
use super::words::{WordQueue, WordsHeard};
use crate::audio::framer::Framer;
use crate::detect::ear::Opposite;
use crate::io::clock;
use crate::io::media::{TapItem, TapReader};
use crate::policy::judge::Verdict;
use crate::units::{CallId, CallTime, Leg, PerLeg};

/// Pause between two rounds: a frame's length, so that the ring of copies never fills and no frame waits long.
const ROUND: Duration = Duration::from_millis(20);

/// Calls that are listened to at a time. Each takes 30 kB while it is, and 8 kB more for each second of
/// speech that waits for words.
const MOST_CALLS: usize = 2_000;

/// Recognised words that may wait for this thread.
const WORDS: usize = 256;

struct Live {
    answered: Instant,
    framers: PerLeg<Framer>,
    hearing: Hearing,
}

pub(super) struct Listener {
    tap: Option<TapReader>,
    knowledge: Arc<ArcSwap<Knowledge>>,
    queue: Option<WordQueue>,
    answers: (Sender<WordsHeard>, Receiver<WordsHeard>),
    verdicts: Sender<(CallId, Verdict)>,
    wake: Arc<dyn Fn() + Send + Sync>,
    counts: Arc<AnalysisCounts>,
    stop: Arc<AtomicBool>,
    learner: Learner,
    planner: FftPlanner<f32>,
    calls: HashMap<CallId, Live>,
}

impl Listener {
    #[expect(clippy::too_many_arguments, reason = "one caller, which hands each of them over")]
    pub(super) fn new(
        tap: TapReader,
        knowledge: Arc<ArcSwap<Knowledge>>,
        queue: Option<WordQueue>,
        verdicts: Sender<(CallId, Verdict)>,
        wake: Arc<dyn Fn() + Send + Sync>,
        counts: Arc<AnalysisCounts>,
        stop: Arc<AtomicBool>,
        learner: Learner,
    ) -> Self {
        Self {
            tap: Some(tap),
            knowledge,
            queue,
            answers: bounded(WORDS),
            verdicts,
            wake,
            counts,
            stop,
            learner,
            planner: FftPlanner::new(),
            calls: HashMap::new(),
        }
    }

    pub(super) fn run(mut self) {
        while !self.stop.load(Ordering::Relaxed) {
            let begun = clock::now();
            if let Some(mut tap) = self.tap.take() {
                tap.drain(|item| self.take(item));
                self.tap = Some(tap);
            }
            while let Ok(words) = self.answers.1.try_recv() {
                if let Some(live) = self.calls.get_mut(&words.call) {
                    match &words.transcript {
                        Ok(transcript) => live.hearing.recognised(words.window, transcript, words.cost),
                        Err(_) => live.hearing.not_recognised(words.window),
                    }
                }
            }
            self.listen(clock::now());
            // A round that took longer than its time is followed at once by the next.
            std::thread::sleep(ROUND.saturating_sub(clock::now().saturating_duration_since(begun)));
        }
    }

    fn take(&mut self, item: TapItem<'_>) {
        match item {
            TapItem::Started { call, answered } => {
                if self.calls.len() >= MOST_CALLS {
                    AnalysisCounts::add(&self.counts.internal, 1);
                    return;
                }
                AnalysisCounts::add(&self.counts.calls, 1);
                let hearing = Hearing::new(&self.knowledge.load(), &mut self.planner, Opposite::Callee);
                let framers = PerLeg::from_fn(|_| Framer::new());
                self.calls.insert(call, Live { answered, framers, hearing });
            }
            TapItem::Packet { call, leg, arrived } => {
                let Some(live) = self.calls.get_mut(&call) else { return };
                // A decoder's fault costs this call its ear, as a detector's does.
                if catch_unwind(AssertUnwindSafe(|| live.framers[leg].push(arrived))).is_err() {
                    AnalysisCounts::add(&self.counts.internal, 1);
                    self.calls.remove(&call);
                }
            }
            TapItem::Stopped { call } => {
                if let Some(live) = self.calls.remove(&call) {
                    self.learner.leave(call, live.hearing.fingerprint());
                }
            }
        }
    }

    fn listen(&mut self, now: Instant) {
        let (mut told, mut broken) = (false, Vec::new());
        for (&call, live) in &mut self.calls {
            // A fault in a detector costs this call its ear, and nobody else anything.
            let step = catch_unwind(AssertUnwindSafe(|| step(live, now)));
            let Ok(frames) = step else {
                broken.push(call);
                continue;
            };
            AnalysisCounts::add(&self.counts.frames, frames);
            if let Some(queue) = &self.queue
                && let Some(run) = live.hearing.poll_word_run()
            {
                queue.put(call, run, &self.answers.0);
            }
            if let Some(verdict) = live.hearing.poll_verdict() {
                match self.verdicts.try_send((call, verdict)) {
                    Ok(()) => told = true,
                    Err(_) => AnalysisCounts::add(&self.counts.verdicts_lost, 1),
                }
            }
        }
        for call in broken {
            tracing::error!(%call, "Listening to a call panicked; the call goes on unheard");
            AnalysisCounts::add(&self.counts.internal, 1);
            self.calls.remove(&call);
        }
        self.counts.listening.store(self.calls.len() as u64, Ordering::Relaxed);
        if told {
            (self.wake)();
        }
    }
}

/// Frames that have become whole. How many.
fn step(live: &mut Live, now: Instant) -> u64 {
    let time = CallTime(now.saturating_duration_since(live.answered));
    let mut frames = 0;
    for leg in Leg::BOTH {
        live.framers[leg].advance(time);
    }
    loop {
        let mut any = false;
        for leg in Leg::BOTH {
            if let Some(frame) = live.framers[leg].poll_frame() {
                live.hearing.frame(leg, frame);
                frames += 1;
                any = true;
            }
        }
        if !any {
            break;
        }
    }
    // Evidence has gone into the judge; nobody else reads it here.
    while live.hearing.poll_evidence().is_some() {}
    frames
}
