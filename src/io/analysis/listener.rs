//! One listening thread: the calls of one relaying thread.

use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use crossbeam_channel::{Receiver, Sender, bounded};
use rustfft::FftPlanner;

use super::AnalysisCounts;
use super::hearing::{Hearing, Knowledge, WordRun};
use super::learner::{Heard, Learner};
use super::words::{WordQueue, WordsHeard, WordsLost};
use crate::audio::framer::Framer;
use crate::audio::{FRAME_SAMPLES, Frame};
use crate::detect::ear::Opposite;
use crate::io::clock;
use crate::io::media::{TapItem, TapReader};
use crate::policy::judge::{Class, Judge, Verdict};
use crate::units::{CallId, CallTime, Leg, OwnMap, PerLeg};

/// In a round every call has its turn. By then four frames of each leg have come, and what an ear remembers is fetched
/// into the cache once for all of them.
const ROUND: Duration = Duration::from_millis(80);

/// Turns of a round. Fewer, and the ring of copies might fill in between; more, and the thread would wake for little. A
/// turn is short, so that packets on the same core do not wait for it.
const TURNS: RangeInclusive<usize> = 4..=20;

/// A round has one turn for this many calls, within [`TURNS`].
const CALLS_A_TURN: usize = 20;

/// Calls that are listened to at a time. Each takes 20 kB while it is, 200 kB more where both legs speak Opus, and 8 kB
/// more for each second of speech that waits for words, up to 25.
const MOST_CALLS: usize = 2_000;

/// The log says that there are too many calls no more often than this.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// From this probability on, a call that has ended was one of a person. Every call begins as one: of somebody who hangs
/// up before words are heard, a scam's opening would be known as what people play, and never be learned.
const SURELY_LIVE: f32 = 0.9;

/// Recognised words that may wait for this thread.
const WORDS: usize = 256;

struct Live {
    call: CallId,
    answered: Instant,
    framers: PerLeg<Framer>,
    hearing: Hearing,
}

impl Live {
    /// The call's own time.
    fn time(&self, now: Instant) -> CallTime {
        CallTime(now.saturating_duration_since(self.answered))
    }
}

/// What all listeners share.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) knowledge: Arc<ArcSwap<Knowledge>>,
    /// None: words are off.
    pub(super) queue: Option<WordQueue>,
    pub(super) verdicts: Sender<(CallId, Verdict)>,
    /// Wakes whoever takes verdicts.
    pub(super) wake: Arc<dyn Fn() + Send + Sync>,
    pub(super) counts: Arc<AnalysisCounts>,
    pub(super) stop: Arc<AtomicBool>,
    pub(super) learner: Learner,
}

pub(super) struct Listener {
    /// None only while it is being read.
    tap: Option<TapReader>,
    shared: Shared,
    /// What comes of this listener's word runs.
    answers: (Sender<WordsHeard>, Receiver<WordsHeard>),
    planner: FftPlanner<f32>,
    calls: Calls,
    /// When the log last said that there are too many calls.
    warned_at: Option<Instant>,
}

/// Calls in the order of their turns.
#[derive(Default)]
struct Calls {
    #[expect(clippy::vec_box, reason = "kilobytes each, which a growing table would hold twice")]
    all: Vec<Box<Live>>,
    places: OwnMap<CallId, usize>,
    /// Whose turn it is.
    next: usize,
}

impl Calls {
    fn insert(&mut self, live: Live) {
        self.remove(live.call);
        self.places.insert(live.call, self.all.len());
        self.all.push(Box::new(live));
    }

    fn get(&mut self, call: CallId) -> Option<&mut Live> {
        let place = *self.places.get(&call)?;
        self.all.get_mut(place).map(Box::as_mut)
    }

    /// Removes a call; the last one takes its place.
    fn remove(&mut self, call: CallId) -> Option<Box<Live>> {
        let place = self.places.remove(&call).filter(|&place| place < self.all.len())?;
        let live = self.all.swap_remove(place);
        if let Some(moved) = self.all.get(place) {
            self.places.insert(moved.call, place);
        }
        Some(live)
    }

    /// The call whose turn it is; the turn passes on.
    fn turn(&mut self) -> Option<&mut Live> {
        if self.next >= self.all.len() {
            self.next = 0;
        }
        self.next += 1;
        self.all.get_mut(self.next - 1).map(Box::as_mut)
    }

    fn len(&self) -> usize {
        self.all.len()
    }

    /// Turns of a round.
    fn turns(&self) -> usize {
        self.len().div_ceil(CALLS_A_TURN).clamp(*TURNS.start(), *TURNS.end())
    }
}

impl Listener {
    pub(super) fn new(tap: TapReader, shared: Shared) -> Self {
        Self {
            tap: Some(tap),
            shared,
            answers: bounded(WORDS),
            planner: FftPlanner::new(),
            calls: Calls::default(),
            warned_at: None,
        }
    }

    pub(super) fn run(mut self) {
        while !self.shared.stop.load(Ordering::Relaxed) {
            let begun = clock::now();
            if let Some(mut tap) = self.tap.take() {
                tap.drain(|item| self.take(item));
                self.tap = Some(tap);
            }
            self.hear_words();
            self.listen(clock::now());
            // A turn that took longer than its time is followed at once by the next.
            let turn = ROUND / self.calls.turns() as u32;
            std::thread::sleep(turn.saturating_sub(clock::now().saturating_duration_since(begun)));
        }
    }

    /// What has come of word runs.
    fn hear_words(&mut self) {
        while let Ok(words) = self.answers.1.try_recv() {
            self.contain(words.call, |live| match &words.transcript {
                Ok(transcript) => live.hearing.recognised(words.window, transcript, words.cost),
                Err(WordsLost::Overload) => live.hearing.put_off(),
                Err(WordsLost::Failed) => live.hearing.not_recognised(words.window),
            });
        }
    }

    fn take(&mut self, item: TapItem<'_>) {
        match item {
            TapItem::Started { call, answered } => {
                if self.calls.len() >= MOST_CALLS {
                    return self.too_many();
                }
                AnalysisCounts::add(&self.shared.counts.calls, 1);
                let hearing = Hearing::new(&self.shared.knowledge.load(), &mut self.planner, Opposite::Callee);
                let framers = PerLeg::from_fn(|_| Framer::new());
                self.calls.insert(Live { call, answered, framers, hearing });
            }
            TapItem::Packet { call, leg, arrived } => {
                self.contain(call, |live| live.framers[leg].push(arrived));
            }
            TapItem::Stopped { call } => {
                if let Some(queue) = &self.shared.queue {
                    queue.forget(call);
                }
                if let Some(live) = self.calls.remove(call) {
                    let Live { hearing, .. } = &*live;
                    let (words, known) = (hearing.fingerprint(), hearing.known());
                    let heard = Heard { words, known, live: is_surely_live(hearing.judge()) };
                    self.shared.learner.keep(call, heard);
                }
            }
        }
    }

    /// A fault in a decoder, a detector or the judge costs this call its ear, and nobody else anything.
    fn contain(&mut self, call: CallId, step: impl FnOnce(&mut Live)) {
        let Some(live) = self.calls.get(call) else { return };
        if catch_unwind(AssertUnwindSafe(|| step(live))).is_err() {
            self.give_up(call);
        }
    }

    fn give_up(&mut self, call: CallId) {
        tracing::error!(%call, "Listening to a call panicked; the call goes on unheard");
        AnalysisCounts::add(&self.shared.counts.internal, 1);
        self.calls.remove(call);
    }

    /// A call goes on unheard, because there is no room for its ear.
    fn too_many(&mut self) {
        AnalysisCounts::add(&self.shared.counts.too_many, 1);
        let now = clock::now();
        if self.warned_at.is_none_or(|warned| now.saturating_duration_since(warned) >= WARN_EVERY) {
            self.warned_at = Some(now);
            tracing::warn!(most = MOST_CALLS, "Too many calls to listen to at a time; the others go on unheard");
        }
    }

    /// The calls of one turn.
    fn listen(&mut self, now: Instant) {
        let (mut has_verdicts, mut broken) = (false, Vec::new());
        let mut lag = Duration::ZERO;
        for _ in 0..self.calls.len().div_ceil(self.calls.turns()) {
            let Some(live) = self.calls.turn() else { break };
            let call = live.call;
            lag = lag.max(live.time(now).since(live.hearing.now()));
            let spare = self.shared.queue.as_ref().is_some_and(WordQueue::is_empty);
            let Ok(Step { frames, run, verdict }) = catch_unwind(AssertUnwindSafe(|| step(live, now, spare))) else {
                broken.push(call);
                continue;
            };
            AnalysisCounts::add(&self.shared.counts.frames, frames);
            if let (Some(queue), Some(run)) = (&self.shared.queue, run) {
                queue.put(call, run, &self.answers.0);
            }
            match verdict.map(|verdict| self.shared.verdicts.try_send((call, verdict))) {
                Some(Ok(())) => has_verdicts = true,
                Some(Err(_)) => {
                    AnalysisCounts::add(&self.shared.counts.verdicts_lost, 1);
                    // It may be the one that takes the call away, and nothing may ever move it again.
                    if let Some(live) = self.calls.get(call) {
                        live.hearing.tell_again();
                    }
                }
                None => {}
            }
        }
        for call in broken {
            self.give_up(call);
        }
        let lag = u64::try_from(lag.as_millis()).unwrap_or(u64::MAX);
        self.shared.counts.lag_millis.fetch_max(lag, Ordering::Relaxed);
        self.shared.counts.listening.store(self.calls.len() as u64, Ordering::Relaxed);
        if has_verdicts {
            (self.shared.wake)();
        }
    }
}

/// What a call's turn has brought.
struct Step {
    /// Frames that have become whole.
    frames: u64,
    run: Option<WordRun>,
    verdict: Option<Verdict>,
}

fn is_surely_live(judge: &Judge) -> bool {
    judge.opinion().of(Class::Live).get() >= SURELY_LIVE
}

/// `spare`: no word run waits.
fn step(live: &mut Live, now: Instant, spare: bool) -> Step {
    let time = live.time(now);
    let mut frames = 0;
    for leg in Leg::BOTH {
        live.framers[leg].advance(time);
    }
    let mut pair = PerLeg::from_fn(|_| Frame { at: CallTime::ZERO, samples: [0; FRAME_SAMPLES], lost: true });
    // The leg that is behind catches up by the clock; what the other has made meanwhile waits with its framer.
    while Leg::BOTH.into_iter().all(|leg| live.framers[leg].is_ready()) {
        for leg in Leg::BOTH {
            live.framers[leg].poll_into(&mut pair[leg]);
        }
        live.hearing.frames(&pair.caller, &pair.callee);
        frames += 2;
    }
    // Evidence has gone into the judge; nobody else reads it here.
    while live.hearing.poll_evidence().is_some() {}
    // How urgent more words are depends on those just heard.
    let verdict = live.hearing.poll_verdict();
    Step { frames, run: live.hearing.poll_word_run(spare), verdict }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use super::*;
    use crate::audio::FRAME_TIME;
    use crate::audio::wav::Wav;
    use crate::detect::evidence::{CalleeThen, Evidence, Finding, Meaning};
    use crate::detect::phrase::{Book, ScheduleSettings, Window, Wording};
    use crate::policy::judge::{Class, Weights};
    use crate::units::{Ratio, SampleRate};

    fn knowledge() -> Knowledge {
        Knowledge {
            weights: Arc::new(Weights::built_in()),
            book: Book::built_in(),
            wording: Wording::built_in(),
            campaigns: Arc::default(),
            words: None,
        }
    }

    fn calls(count: u64) -> Calls {
        let (knowledge, mut calls) = (knowledge(), Calls::default());
        for call in (0..count).map(CallId) {
            let hearing = Hearing::new(&knowledge, &mut FftPlanner::new(), Opposite::Callee);
            let framers = PerLeg::from_fn(|_| Framer::new());
            calls.insert(Live { call, answered: clock::now(), framers, hearing });
        }
        calls
    }

    /// Two calls.
    fn listener(verdicts: Sender<(CallId, Verdict)>) -> Listener {
        let knowledge = Arc::new(ArcSwap::from_pointee(knowledge()));
        let shared = Shared {
            knowledge: Arc::clone(&knowledge),
            queue: None,
            verdicts,
            wake: Arc::new(|| {}),
            counts: Arc::default(),
            stop: Arc::default(),
            learner: Learner::new(knowledge),
        };
        Listener {
            tap: None,
            shared,
            answers: bounded(WORDS),
            planner: FftPlanner::new(),
            calls: calls(2),
            warned_at: None,
        }
    }

    #[test]
    fn whoever_hangs_up_before_words_are_heard_has_not_been_a_person() {
        let mut judge = Judge::new(Arc::new(Weights::built_in()));
        let mut hear = |finding| judge.hear(&Evidence { at: CallTime::from_millis(1_900), leg: Leg::Caller, finding });
        hear(Finding::Onset { after_answer: Duration::from_millis(400), callee: CalleeThen::Speaking });
        hear(Finding::Monologue { length: Duration::from_millis(1_500) });
        assert!(judge.opinion().class == Class::Live && !is_surely_live(&judge));

        let mut hear = |finding| judge.hear(&Evidence { at: CallTime::from_millis(4_000), leg: Leg::Caller, finding });
        for said in ["is that", "it's me", "how are you"] {
            let confidence = Ratio::ONE;
            hear(Finding::Phrase { phrase: said.into(), meaning: Meaning::Talk, weight: 2.0, confidence });
        }
        assert!(is_surely_live(&judge));
    }

    #[test]
    fn a_verdict_that_nobody_had_room_for_comes_again() {
        let (verdicts, told) = bounded(1);
        let mut listener = listener(verdicts);
        let begun = clock::now();
        let mut round = |ms| {
            (0..TURNS.start().to_owned()).for_each(|_| listener.listen(begun + Duration::from_millis(ms)));
            told.try_recv().map(|(call, _)| call)
        };

        // Nobody says anything, so each call has one verdict that never moves.
        let first = round(500);
        let second = round(1_000);

        assert!(first.is_ok() && second.is_ok() && first != second, "{first:?} {second:?}");
        assert!(round(1_500).is_err() && round(2_000).is_err());
    }

    #[test]
    fn words_that_there_was_no_time_for_are_ordered_again_and_those_of_a_broken_model_are_not() {
        let scam = Wav::read(include_bytes!("../../demo/audio/scam.wav")).unwrap().telephone().unwrap();
        let second = SampleRate::TELEPHONE.get() as usize;
        let knowledge = Knowledge { words: Some(ScheduleSettings::default()), ..knowledge() };
        let call = CallId(7);
        let windows_behind_speech = |why| {
            let mut listener = listener(bounded(1).0);
            let hearing = Hearing::new(&knowledge, &mut FftPlanner::new(), Opposite::Callee);
            let framers = PerLeg::from_fn(|_| Framer::new());
            listener.calls.insert(Live { call, answered: clock::now(), framers, hearing });
            let mut windows = Vec::new();
            let said = scam[0][..6 * second].iter().copied().chain(std::iter::repeat_n(0, 6 * second));
            for (n, samples) in said.collect::<Vec<_>>().as_chunks::<FRAME_SAMPLES>().0.iter().enumerate() {
                let at = CallTime(FRAME_TIME * n as u32);
                let callee = Frame { at, samples: [0; FRAME_SAMPLES], lost: false };
                let live = listener.calls.get(call).unwrap();
                live.hearing.frames(&Frame { samples: *samples, ..callee }, &callee);
                let Some(WordRun { window, audio, .. }) = live.hearing.poll_word_run(false) else { continue };
                if n > 7 * second / FRAME_SAMPLES {
                    assert_eq!(SampleRate::TELEPHONE.time_of(audio.len()), window.length(), "its audio is kept");
                    windows.push(window);
                }
                let heard = WordsHeard { call, window, transcript: Err(why), cost: Duration::ZERO };
                listener.answers.0.try_send(heard).unwrap();
                listener.hear_words();
            }
            windows
        };

        let put_off = windows_behind_speech(WordsLost::Overload);
        assert!(put_off.len() > 2 && put_off.windows(2).all(|pair| pair[0] == pair[1]), "{put_off:?}");
        assert_eq!(windows_behind_speech(WordsLost::Failed), []);
    }

    #[test]
    fn words_of_a_call_that_has_ended_are_not_recognised() {
        let mut listener = listener(bounded(1).0);
        let queue = listener.shared.queue.insert(WordQueue::new(Arc::default())).clone();
        let window = Window { from: CallTime::ZERO, to: CallTime::from_millis(1_000) };
        for call in [CallId(0), CallId(1)] {
            let run = WordRun { window, audio: Vec::new(), urgency: 0.5, book: Book::built_in() };
            queue.put(call, run, &listener.answers.0);
            assert!(!queue.is_empty());
        }

        listener.take(TapItem::Stopped { call: CallId(0) });
        assert!(!queue.is_empty(), "the other call's");
        listener.take(TapItem::Stopped { call: CallId(1) });
        assert!(queue.is_empty());
    }

    #[test]
    fn a_panic_costs_one_call_its_ear_and_the_others_nothing() {
        let mut listener = listener(bounded(1).0);

        listener.contain(CallId(0), |_| panic!("a test asked for it"));
        listener.listen(clock::now());

        assert!(listener.calls.get(CallId(0)).is_none() && listener.calls.get(CallId(1)).is_some());
        assert_eq!(listener.shared.counts.internal.load(Ordering::Relaxed), 1);
        assert_eq!(listener.shared.counts.listening.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn every_call_has_its_turn_whoever_ends() {
        let many = [200, 900].map(|count| calls(count).turns());
        let mut calls = calls(100);
        for call in (0..100).filter(|n| n % 3 == 0).map(CallId) {
            assert!(calls.remove(call).is_some_and(|live| live.call == call));
            assert!(calls.remove(call).is_none());
        }

        let mut turns: Vec<u64> = (0..calls.len()).filter_map(|_| Some(calls.turn()?.call.0)).collect();
        turns.sort_unstable();
        assert_eq!(turns, (0..100).filter(|n| n % 3 != 0).collect::<Vec<_>>());
        assert!(turns.into_iter().all(|n| calls.get(CallId(n)).is_some_and(|live| live.call == CallId(n))));
        assert_eq!((calls.turns(), Calls::default().turns()), (*TURNS.start(), *TURNS.start()));
        assert_eq!(many, [10, *TURNS.end()]);
    }
}
