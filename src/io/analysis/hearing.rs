//! One call under analysis: the ear, the words, the judge, in the order in which things become known.
//!
//! In: frames of both legs, results of word runs. Out: word runs to make, verdicts, evidence. The live threads and the
//! offline commands drive the same type, so that what `eval` measures is what a call gets. It never looks at a clock:
//! its time is that of the frames.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use rustfft::FftPlanner;

use crate::audio::Frame;
use crate::detect::ear::{Ear, Opposite};
use crate::detect::evidence::{Evidence, Finding};
use crate::detect::fingerprint::{Library, Word};
use crate::detect::phrase::{
    Book, CallWording, FoundPhrase, PassedOver, Schedule, ScheduleSettings, Transcript, Window, Wording,
};
use crate::policy::judge::{Class, Judge, Verdict, Weights};
use crate::units::{CallTime, Leg, Ratio};

/// Shortest time between two verdicts.
const EVERY: Duration = Duration::from_millis(100);

/// Doubted words and those that they may have been are equally likely where the log-ratio of [`Weighed`] is this far
/// below 0: the model nearly always prefers what it wrote itself.
///
/// [`Weighed`]: crate::detect::phrase::Weighed
const EVEN_RATIO: f32 = 8.0;

/// Words that were passed over at this joint probability are as likely as not what was said. It was set by own calls,
/// of whose people none reaches it: see config/weights/README.md.
const EVEN_PASSED_OVER: f32 = 0.003;

/// A recogniser that hears noise or music is about this confident of the words that it makes up.
const NOISE_CONFIDENCE: f32 = 0.35;

/// So much more confidence, and its words are believed in full.
const FULL_BELIEF: f32 = 0.3;

/// Words that are believed less than this do not count for the wording. Phrases count, but less.
const LEAST_BELIEF: f32 = 0.5;

/// So much less urgent are the words of a call in which nobody seems to speak than those of a certain recording.
const SAYS_NOTHING: f32 = 0.8;

/// A verdict is given out when a probability has moved by this much, or the class has changed.
const MOVED: f32 = 0.02;

/// What every call is judged with.
#[derive(Clone, Debug)]
pub struct Knowledge {
    /// How much each measure weighs.
    pub weights: Arc<Weights>,
    /// What words mean.
    pub book: Arc<Book>,
    /// What the choice of words says.
    pub wording: Arc<Wording>,
    /// Known recordings of scams.
    pub campaigns: Arc<Library>,
    /// How often words are recognised; None: words are off.
    pub words: Option<ScheduleSettings>,
}

/// A word run to make.
#[derive(Clone, Debug)]
pub struct WordRun {
    /// Which part of the call.
    pub window: Window,
    /// The caller's audio in it, at 8 kHz.
    pub audio: Vec<i16>,
    /// How suspicious the call is, and how little of it has been heard; the most urgent is heard first.
    pub urgency: f32,
    /// Says which words of the text are to be doubted.
    pub book: Arc<Book>,
}

/// How far a text is believed, 0 to 1.
fn belief(confidence: Ratio) -> f32 {
    ((confidence.get() - NOISE_CONFIDENCE) / FULL_BELIEF).clamp(0.0, 1.0)
}

/// Probability that doubted words were those that they may have been.
fn supported(log_ratio: f32) -> Ratio {
    Ratio::clamped(1.0 / (1.0 + (-(log_ratio + EVEN_RATIO)).exp()))
}

/// Probability that words which were passed over at this joint probability were said.
fn possible(probability: Ratio) -> Ratio {
    Ratio::clamped(probability.get() / (probability.get() + EVEN_PASSED_OVER))
}

/// One call under analysis.
pub struct Hearing {
    ear: Ear,
    judge: Judge,
    book: Arc<Book>,
    wording: CallWording,
    schedule: Option<Schedule>,
    /// When the last verdict was formed.
    judged: CallTime,
    /// Evidence has come since the last verdict was formed.
    news: bool,
    /// The last verdict that was given out.
    last: Option<Verdict>,
    evidence: VecDeque<Evidence>,
}

impl Hearing {
    /// Begins at the answer, or at the first prompt. `planner` shares its tables between calls.
    #[must_use]
    pub fn new(knowledge: &Knowledge, planner: &mut FftPlanner<f32>, opposite: Opposite) -> Self {
        Self {
            ear: Ear::new(planner, Arc::clone(&knowledge.campaigns), opposite),
            judge: Judge::new(Arc::clone(&knowledge.weights)),
            book: Arc::clone(&knowledge.book),
            wording: CallWording::new(Arc::clone(&knowledge.wording)),
            schedule: knowledge.words.map(Schedule::new),
            judged: CallTime::ZERO,
            news: true,
            last: None,
            evidence: VecDeque::new(),
        }
    }

    /// The next frame of both legs: of the same 20 ms.
    pub fn frames(&mut self, caller: &Frame, callee: &Frame) {
        self.ear.frames(caller, callee);
        while let Some(evidence) = self.ear.poll_evidence() {
            self.hear(evidence);
        }
        while let Some((end, voiced)) = self.ear.poll_speech() {
            if let Some(schedule) = &mut self.schedule {
                schedule.speech(end, voiced);
            }
        }
        match &self.schedule {
            Some(schedule) => self.ear.forget_audio_before(schedule.needs_from()),
            None => self.ear.keep_no_audio(),
        }
    }

    fn hear(&mut self, evidence: Evidence) {
        self.judge.hear(&evidence);
        self.news = true;
        self.evidence.push_back(evidence);
    }

    /// A word run that pays now; `spare`: none waits, of whatever call. No other comes until [`Hearing::recognised`],
    /// [`Hearing::not_recognised`] or [`Hearing::put_off`].
    pub fn poll_word_run(&mut self, spare: bool) -> Option<WordRun> {
        let schedule = self.schedule.as_mut()?;
        let window = schedule.due(spare)?;
        let audio = self.ear.caller_audio(window.from, window.to);
        // Who has not spoken is not suspicious for it: sound without words comes behind what begins like a scam.
        let quiet = |verdict: &Verdict| SAYS_NOTHING * verdict.of(Class::NoSpeech).get();
        let suspicion = |verdict: &Verdict| 1.0 - verdict.of(Class::Live).get() - quiet(verdict);
        // The more of a call has been heard, the less another run can change: those that begin come before it.
        let urgency = self.last.as_ref().map_or(0.0, suspicion) / (1.0 + schedule.runs() as f32);
        Some(WordRun { window, audio, urgency, book: Arc::clone(&self.book) })
    }

    /// The words of a run, known now; `cost` is the time it took to compute.
    pub fn recognised(&mut self, window: Window, transcript: &Transcript, cost: Duration) {
        if let Some(schedule) = &mut self.schedule {
            schedule.done(window, cost);
        }
        let Transcript { text, confidence, weighed, passed_over } = transcript;
        let at = self.ear.now();
        let words = Finding::Words {
            text: Arc::from(text.as_str()),
            from: window.from,
            to: window.to,
            confidence: *confidence,
            speech: transcript.is_speech(),
        };
        self.hear(Evidence { at, leg: Leg::Caller, finding: words });
        if !transcript.is_speech() {
            return;
        }
        // A term counts in full or not at all, so that a text that is hardly believed must not bring any.
        if belief(*confidence) >= LEAST_BELIEF
            && let Some(odds) = self.wording.hear(text)
        {
            let finding = Finding::Wording { automated: odds.automated, scam: odds.scam, telling: odds.telling };
            self.hear(Evidence { at, leg: Leg::Caller, finding });
        }
        let mut phrases = self.book.hear(text);
        for heard in &mut phrases {
            if let Some(weighed) = weighed.iter().find(|weighed| weighed.phrase == heard.phrase) {
                heard.confidence = supported(weighed.log_ratio);
            }
        }
        // The same words may have been misheard in one place and passed over in another.
        for PassedOver { phrase, probability } in passed_over {
            let confidence = possible(*probability);
            match phrases.iter_mut().find(|heard| heard.phrase == *phrase) {
                Some(heard) if heard.confidence >= confidence => {}
                Some(heard) => heard.confidence = confidence,
                None => phrases.extend(self.book.named(phrase).map(|named| FoundPhrase { confidence, ..named })),
            }
        }
        for heard in phrases {
            let finding = Finding::Phrase {
                phrase: heard.phrase,
                meaning: heard.meaning,
                weight: heard.weight,
                confidence: Ratio::clamped(heard.confidence.get() * belief(*confidence)),
            };
            self.hear(Evidence { at, leg: Leg::Caller, finding });
        }
    }

    /// A run that failed.
    pub fn not_recognised(&mut self, window: Window) {
        if let Some(schedule) = &mut self.schedule {
            schedule.done(window, Duration::ZERO);
        }
    }

    /// The run that was ordered last will not be made now: other calls were more urgent.
    pub fn put_off(&mut self) {
        if let Some(schedule) = &mut self.schedule {
            schedule.put_off();
        }
    }

    /// A verdict, if it is time for one and it has moved.
    pub fn poll_verdict(&mut self) -> Option<Verdict> {
        let now = self.ear.now();
        if !self.news || now.since(self.judged) < EVERY {
            return None;
        }
        (self.judged, self.news) = (now, false);
        // Most verdicts are like the one before. Reasons are put into words for the others only.
        let opinion = self.judge.opinion();
        let moved = self.last.as_ref().is_none_or(|last| opinion.has_moved(&last.opinion(), MOVED));
        moved.then(|| self.last.insert(self.judge.verdict(now)).clone())
    }

    /// The last verdict has reached nobody: it comes again, whether or not it moves.
    pub fn tell_again(&mut self) {
        (self.last, self.news) = (None, true);
    }

    /// What was found, oldest first.
    pub fn poll_evidence(&mut self) -> Option<Evidence> {
        self.evidence.pop_front()
    }

    /// The judge, for whoever fits weights.
    #[must_use]
    pub fn judge(&self) -> &Judge {
        &self.judge
    }

    /// The caller's fingerprint so far.
    #[must_use]
    pub fn fingerprint(&self) -> Vec<Word> {
        self.ear.fingerprint()
    }

    /// The known recording that the caller plays.
    #[must_use]
    pub fn known(&self) -> Option<Arc<str>> {
        self.ear.known()
    }

    /// How far the call has been heard.
    #[must_use]
    pub fn now(&self) -> CallTime {
        self.ear.now()
    }

    /// Computing time that words have taken.
    #[must_use]
    pub fn words_cost(&self) -> Duration {
        self.schedule.as_ref().map_or(Duration::ZERO, Schedule::spent)
    }
}
