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
use crate::detect::phrase::{Book, Listened, Schedule, ScheduleSettings, Transcript, Window, Wording};
use crate::policy::judge::{Class, Judge, Verdict, Weights};
use crate::units::{CallTime, Leg, Ratio};

/// A verdict is formed at most this often.
const EVERY: Duration = Duration::from_millis(100);

/// Log-ratio below 0 at which misheard words are as likely the others as not.
const EVEN_RATIO: f32 = 8.0;

/// What a recogniser that hears noise believes of its words, and how much more it takes to be believed in full.
const UNSURE: f32 = 0.35;
const SURE_BY: f32 = 0.3;

/// Wording counts from here on; phrases count less the less sure the words are.
const SURE_ENOUGH: f32 = 0.5;

/// A verdict is told when a probability has moved by this much, or the class has changed.
const MOVED: f32 = 0.02;

/// What every call is judged with.
#[derive(Clone, Debug)]
pub struct Knowledge {
    /// Of evidence.
    pub weights: Arc<Weights>,
    /// What words mean.
    pub book: Arc<Book>,
    /// What the choice of words says.
    pub wording: Arc<Wording>,
    /// Recordings to be known again.
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
    /// How suspicious the call is; the most suspicious is heard first.
    pub urgency: f32,
    /// What may be doubted in the text.
    pub book: Arc<Book>,
}

/// How far a text is believed: a recogniser that hears noise or music writes words that it does not believe itself.
fn surety(confidence: Ratio) -> f32 {
    ((confidence.get() - UNSURE) / SURE_BY).clamp(0.0, 1.0)
}

/// How far misheard words are believed to have been the others.
fn supported(log_ratio: f32) -> Ratio {
    Ratio::clamped(1.0 / (1.0 + (-(log_ratio + EVEN_RATIO)).exp()))
}

/// One call under analysis.
pub struct Hearing {
    ear: Ear,
    judge: Judge,
    book: Arc<Book>,
    listened: Listened,
    schedule: Option<Schedule>,
    judged: CallTime,
    /// Evidence has come since the last verdict.
    news: bool,
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
            listened: Listened::new(Arc::clone(&knowledge.wording)),
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

    /// A word run that pays now. No other comes until [`Hearing::recognised`] or [`Hearing::not_recognised`].
    pub fn poll_word_run(&mut self) -> Option<WordRun> {
        let window = self.schedule.as_mut()?.due()?;
        let audio = self.ear.caller_audio(window.from, window.to);
        let urgency = self.last.as_ref().map_or(0.0, |verdict| 1.0 - verdict.of(Class::Live).get());
        Some(WordRun { window, audio, urgency, book: Arc::clone(&self.book) })
    }

    /// The words of a run, known now; `cost` is the time it took to compute.
    pub fn recognised(&mut self, window: Window, transcript: &Transcript, cost: Duration) {
        if let Some(schedule) = &mut self.schedule {
            schedule.done(window, cost);
        }
        let Transcript { text, confidence, weighed } = transcript;
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
        // Words that the recogniser does not believe would each count in full.
        if surety(*confidence) >= SURE_ENOUGH
            && let Some(said) = self.listened.hear(text)
        {
            let finding = Finding::Wording { automated: said.automated, scam: said.scam, telling: said.telling };
            self.hear(Evidence { at, leg: Leg::Caller, finding });
        }
        for mut heard in self.book.hear(text) {
            if let Some(weighed) = weighed.iter().find(|weighed| weighed.phrase == heard.phrase) {
                heard.confidence = supported(weighed.log_ratio);
            }
            let finding = Finding::Phrase {
                phrase: heard.phrase,
                meaning: heard.meaning,
                weight: heard.weight,
                confidence: Ratio::clamped(heard.confidence.get() * surety(*confidence)),
            };
            self.hear(Evidence { at, leg: Leg::Caller, finding });
        }
    }

    /// A run that was not made or failed.
    pub fn not_recognised(&mut self, window: Window) {
        if let Some(schedule) = &mut self.schedule {
            schedule.done(window, Duration::ZERO);
        }
    }

    /// A verdict, if it is time for one and it has moved.
    pub fn poll_verdict(&mut self) -> Option<Verdict> {
        let now = self.ear.now();
        if !self.news || now.since(self.judged) < EVERY {
            return None;
        }
        (self.judged, self.news) = (now, false);
        // Most verdicts are as the one before: reasons are put into words for the others only.
        let (class, probabilities) = self.judge.opinion();
        let moved = self.last.as_ref().is_none_or(|last| {
            let steps = last.probabilities.iter().zip(&probabilities);
            last.class != class || steps.into_iter().any(|(a, b)| (a.get() - b.get()).abs() >= MOVED)
        });
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
