//! Word runs of all calls on a few threads, the most urgent call first.

use std::cmp::Ordering;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{self, AtomicUsize};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;

use super::AnalysisCounts;
use super::hearing::WordRun;
use crate::detect::phrase::{Recogniser, Transcript, Window, to_recogniser};
use crate::io::clock;
use crate::io::threads::StandBack;
use crate::units::CallId;

/// Runs that may wait. Two threads make about twenty a second: with more, the last one would be stale before its turn.
const WAITING: usize = 64;

/// A run that has waited for this long is not made: the call has been heard further meanwhile. Its listener is told,
/// and orders it anew.
const STALE: Duration = Duration::from_secs(3);

/// What came of a run.
pub(super) struct WordsHeard {
    pub(super) call: CallId,
    pub(super) window: Window,
    pub(super) transcript: Result<Transcript, WordsLost>,
    pub(super) cost: Duration,
}

/// Why a run gave no words.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum WordsLost {
    /// Others were more urgent.
    Overload,
    /// The model failed.
    Failed,
}

struct Job {
    call: CallId,
    run: WordRun,
    since: Instant,
    answer: Sender<WordsHeard>,
}

impl Job {
    fn waited(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }

    /// Tells the listener that this run will not be made, or has failed.
    fn give_up(self, why: WordsLost) {
        let Self { call, run, answer, .. } = self;
        // A listener without room for the answer takes its run for lost after a while.
        let _ = answer.try_send(WordsHeard { call, window: run.window, transcript: Err(why), cost: Duration::ZERO });
    }
}

/// Where listeners put their runs.
#[derive(Clone)]
pub(super) struct WordQueue(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// Runs that wait: who only wants to know whether some do need not wait for a thread that stands back.
    waiting: AtomicUsize,
    more: Condvar,
    counts: Arc<AnalysisCounts>,
}

#[derive(Default)]
struct State {
    jobs: Vec<Job>,
    stopping: bool,
}

impl WordQueue {
    pub(super) fn new(counts: Arc<AnalysisCounts>) -> Self {
        let (state, waiting, more) = (Mutex::default(), AtomicUsize::new(0), Condvar::new());
        Self(Arc::new(Shared { state, waiting, more, counts }))
    }

    /// Takes a run. Where there is no room, the least urgent one is lost.
    pub(super) fn put(&self, call: CallId, run: WordRun, answer: &Sender<WordsHeard>) {
        let job = Job { call, run, since: clock::now(), answer: answer.clone() };
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.jobs.push(job);
        let lost = if state.jobs.len() > WAITING {
            least_urgent(&state.jobs).map(|n| state.jobs.swap_remove(n))
        } else {
            None
        };
        self.0.count(&state);
        drop(state);
        self.0.more.notify_one();
        if let Some(lost) = lost {
            AnalysisCounts::add(&self.0.counts.words_lost, 1);
            lost.give_up(WordsLost::Overload);
        }
    }

    /// No run waits.
    pub(super) fn is_empty(&self) -> bool {
        self.0.waiting.load(atomic::Ordering::Relaxed) == 0
    }

    /// Nobody will read the words of this call any more.
    pub(super) fn forget(&self, call: CallId) {
        if self.is_empty() {
            return;
        }
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.jobs.retain(|job| job.call != call);
        self.0.count(&state);
    }

    /// The most urgent run. Those that have waited for too long are given up first, however little urgent they are.
    fn take(&self) -> Option<Job> {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if state.stopping {
                return None;
            }
            let now = clock::now();
            for stale in state.jobs.extract_if(.., |job| job.waited(now) > STALE) {
                self.0.count_waited(&stale, now);
                AnalysisCounts::add(&self.0.counts.words_lost, 1);
                stale.give_up(WordsLost::Overload);
            }
            let job = most_urgent(&state.jobs).map(|n| state.jobs.swap_remove(n));
            self.0.count(&state);
            if let Some(job) = job {
                self.0.count_waited(&job, now);
                return Some(job);
            }
            state = self.0.more.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Shared {
    fn count(&self, state: &State) {
        self.waiting.store(state.jobs.len(), atomic::Ordering::Relaxed);
    }

    fn count_waited(&self, job: &Job, now: Instant) {
        let millis = u64::try_from(job.waited(now).as_millis()).unwrap_or(u64::MAX);
        AnalysisCounts::add(&self.counts.words_waited_millis, millis);
    }
}

fn most_urgent(jobs: &[Job]) -> Option<usize> {
    jobs.iter().enumerate().max_by(|(_, a), (_, b)| by_urgency(a, b)).map(|(n, _)| n)
}

fn least_urgent(jobs: &[Job]) -> Option<usize> {
    jobs.iter().enumerate().min_by(|(_, a), (_, b)| by_urgency(a, b)).map(|(n, _)| n)
}

/// Of two calls of the same urgency, the one that has waited longer is the more urgent.
fn by_urgency(a: &Job, b: &Job) -> Ordering {
    a.run.urgency.total_cmp(&b.run.urgency).then(b.since.cmp(&a.since))
}

/// The threads.
pub(super) struct WordPool {
    queue: WordQueue,
    threads: Vec<JoinHandle<()>>,
}

impl WordPool {
    pub(super) fn start(recogniser: &Recogniser, threads: usize, counts: Arc<AnalysisCounts>) -> std::io::Result<Self> {
        let queue = WordQueue::new(counts);
        let mut pool = Self { queue: queue.clone(), threads: Vec::new() };
        for number in 0..threads.max(1) {
            let (queue, recogniser) = (queue.clone(), recogniser.another());
            let run = move || {
                StandBack::Words.apply();
                work(&queue, &recogniser);
            };
            pool.threads.push(std::thread::Builder::new().name(format!("words-{number}")).spawn(run)?);
        }
        Ok(pool)
    }

    pub(super) fn queue(&self) -> WordQueue {
        self.queue.clone()
    }

    pub(super) fn is_up(&self) -> bool {
        self.threads.iter().any(|thread| !thread.is_finished())
    }
}

impl Drop for WordPool {
    fn drop(&mut self) {
        self.queue.0.state.lock().unwrap_or_else(PoisonError::into_inner).stopping = true;
        self.queue.0.more.notify_all();
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so on its own.
            let _ = thread.join();
        }
    }
}

fn work(queue: &WordQueue, recogniser: &Recogniser) {
    let counts = &queue.0.counts;
    while let Some(job) = queue.take() {
        let audio = to_recogniser(&job.run.audio);
        let (heard, cost) = recogniser.on_its_thread(|| {
            let before = clock::computed();
            let heard = catch_unwind(AssertUnwindSafe(|| recogniser.transcribe(&audio, &job.run.book)));
            (heard, clock::computed().saturating_sub(before))
        });
        AnalysisCounts::add(&counts.word_runs, 1);
        AnalysisCounts::add(&counts.words_micros, u64::try_from(cost.as_micros()).unwrap_or(u64::MAX));
        AnalysisCounts::add(
            &counts.words_audio_millis,
            u64::try_from(job.run.window.length().as_millis()).unwrap_or(0),
        );
        match heard {
            Ok(Ok(transcript)) => {
                let Job { call, run, answer, .. } = job;
                let _ = answer.try_send(WordsHeard { call, window: run.window, transcript: Ok(transcript), cost });
            }
            Ok(Err(error)) => {
                AnalysisCounts::add(&counts.words_failed, 1);
                tracing::warn!(%error, "Words of a call were not recognised");
                job.give_up(WordsLost::Failed);
            }
            Err(_) => {
                AnalysisCounts::add(&counts.words_failed, 1);
                tracing::error!("Recognising words panicked; it was contained");
                job.give_up(WordsLost::Failed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use crossbeam_channel::{Receiver, unbounded};

    use super::*;
    use crate::detect::phrase::Book;
    use crate::units::CallTime;

    fn queue() -> (WordQueue, Sender<WordsHeard>, Receiver<WordsHeard>) {
        let (answer, answers) = unbounded();
        (WordQueue::new(Arc::default()), answer, answers)
    }

    fn run(urgency: f32) -> WordRun {
        let window = Window { from: CallTime::ZERO, to: CallTime::from_millis(2_000) };
        WordRun { window, audio: Vec::new(), urgency, book: Book::built_in() }
    }

    #[test]
    fn a_run_that_is_never_the_most_urgent_is_answered_in_the_end() {
        let (queue, answer, answers) = queue();
        queue.put(CallId(0), run(0.1), &answer);
        queue.0.state.lock().unwrap().jobs[0].since -= STALE + Duration::from_millis(1);
        queue.put(CallId(1), run(0.9), &answer);
        assert!(answers.is_empty());

        assert!(queue.take().is_some_and(|job| job.call == CallId(1)));

        let told = answers.try_recv().map(|words| (words.call, words.transcript.err()));
        assert_eq!(told, Ok((CallId(0), Some(WordsLost::Overload))));
        assert_eq!(queue.0.counts.words_lost.load(atomic::Ordering::Relaxed), 1);
        assert!(queue.is_empty());
    }

    #[test]
    fn a_call_that_has_ended_takes_no_turn() {
        let (queue, answer, answers) = queue();
        queue.put(CallId(0), run(0.9), &answer);
        queue.put(CallId(1), run(0.1), &answer);

        queue.forget(CallId(0));

        assert!(!queue.is_empty());
        assert!(queue.take().is_some_and(|job| job.call == CallId(1)));
        assert!(queue.is_empty() && answers.is_empty());
    }

    #[test]
    fn where_there_is_no_room_the_least_urgent_run_is_put_off() {
        let (queue, answer, answers) = queue();
        queue.put(CallId(0), run(0.1), &answer);

        (1..=WAITING as u64).for_each(|call| queue.put(CallId(call), run(0.5), &answer));

        let told = answers.try_recv().map(|words| (words.call, words.transcript.err()));
        assert_eq!(told, Ok((CallId(0), Some(WordsLost::Overload))));
        assert!(answers.is_empty());
    }
}
