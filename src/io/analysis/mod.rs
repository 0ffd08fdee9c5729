//! Threads that listen: copies of packets into frames, evidence, verdicts; words on threads of their own.
//!
//! In: the media path's copies. Out: verdicts, for the signalling. One listening thread for each relaying thread, and a
//! few for words, which take the most suspicious call first. What cannot keep up loses words, then audio, never calls:
//! no other thread waits for these.

mod hearing;
mod learner;
mod listener;
mod words;

pub use hearing::{Hearing, Knowledge, WordRun};
pub use learner::Learner;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use arc_swap::ArcSwap;
use crossbeam_channel::{Receiver, bounded};

use crate::detect::phrase::Recogniser;
use crate::io::media::TapReader;
use crate::policy::judge::Verdict;
use crate::units::CallId;
use listener::{Listener, Shared};
use words::WordPool;

/// Verdicts that may wait for the signalling. One that finds no room comes again.
const VERDICTS: usize = 4_096;

/// What the analysis counted, for metrics.
#[derive(Debug, Default)]
pub struct AnalysisCounts {
    /// Calls that were listened to.
    pub calls: AtomicU64,
    /// Calls that are listened to now.
    pub listening: AtomicU64,
    /// Frames heard.
    pub frames: AtomicU64,
    /// How far the ear that was furthest behind its call was behind it, milliseconds, since this was last read and
    /// cleared.
    pub lag_millis: AtomicU64,
    /// Calls given up after a fault of ours.
    pub internal: AtomicU64,
    /// Calls that were not listened to because too many were.
    pub too_many: AtomicU64,
    /// Verdicts that the signalling had no room for.
    pub verdicts_lost: AtomicU64,
    /// Word runs made.
    pub word_runs: AtomicU64,
    /// Computing time of word runs, microseconds.
    pub words_micros: AtomicU64,
    /// Audio in word runs, milliseconds.
    pub words_audio_millis: AtomicU64,
    /// Times that a word run was put off, because others were more urgent.
    pub words_lost: AtomicU64,
    /// Word runs that failed.
    pub words_failed: AtomicU64,
    /// Time that word runs have waited, milliseconds.
    pub words_waited_millis: AtomicU64,
}

impl AnalysisCounts {
    fn add(counter: &AtomicU64, by: u64) {
        counter.fetch_add(by, Ordering::Relaxed);
    }
}

/// The running analysis.
pub struct Analysis {
    counts: Arc<AnalysisCounts>,
    stop: Arc<AtomicBool>,
    learner: Learner,
    words: Option<WordPool>,
    threads: Vec<JoinHandle<()>>,
}

/// A started analysis.
pub struct StartedAnalysis {
    /// The handle.
    pub analysis: Analysis,
    /// Its verdicts.
    pub verdicts: Receiver<(CallId, Verdict)>,
}

impl Analysis {
    /// Starts the threads. Without a recogniser, words are off whatever `knowledge` says. `wake` is called when
    /// verdicts are waiting.
    pub fn start(
        taps: Vec<TapReader>,
        knowledge: Knowledge,
        recogniser: Option<Recogniser>,
        word_threads: usize,
        wake: Arc<dyn Fn() + Send + Sync>,
    ) -> std::io::Result<StartedAnalysis> {
        let counts = Arc::new(AnalysisCounts::default());
        let stop = Arc::new(AtomicBool::new(false));
        let words = match recogniser {
            Some(recogniser) => Some(WordPool::start(&recogniser, word_threads, Arc::clone(&counts))?),
            None => None,
        };
        let knowledge = Knowledge { words: knowledge.words.filter(|_| words.is_some()), ..knowledge };
        let knowledge = Arc::new(ArcSwap::from_pointee(knowledge));
        let learner = Learner::new(Arc::clone(&knowledge));
        let (sender, verdicts) = bounded(VERDICTS);
        let shared = Shared {
            knowledge,
            queue: words.as_ref().map(WordPool::queue),
            verdicts: sender,
            wake,
            counts: Arc::clone(&counts),
            stop: Arc::clone(&stop),
            learner: learner.clone(),
        };
        let mut threads = Vec::new();
        for (number, tap) in taps.into_iter().enumerate() {
            let shared = shared.clone();
            let run = move || Listener::new(tap, shared).run();
            threads.push(std::thread::Builder::new().name(format!("listening-{number}")).spawn(run)?);
        }
        Ok(StartedAnalysis { analysis: Self { counts, stop, learner, words, threads }, verdicts })
    }

    /// For whoever knows which calls were scams.
    #[must_use]
    pub fn learner(&self) -> Learner {
        self.learner.clone()
    }

    /// What was counted.
    #[must_use]
    pub fn counts(&self) -> &AnalysisCounts {
        &self.counts
    }

    /// Are all listening threads alive?
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.threads.iter().all(|thread| !thread.is_finished())
    }

    /// Are words recognised?
    #[must_use]
    pub fn has_words(&self) -> bool {
        self.words.as_ref().is_some_and(WordPool::is_up)
    }
}

impl Drop for Analysis {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so on its own.
            let _ = thread.join();
        }
    }
}
