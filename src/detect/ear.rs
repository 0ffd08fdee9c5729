//! All detectors around one call.
//!
//! In: frames of both legs, pair by pair. Out: [`Evidence`], in the order in which it becomes known. Keeps the caller's
//! last seconds for whoever recognises words. Decides nothing.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use rustfft::FftPlanner;

use super::cadence::{Cadence, Spoken};
use super::echo::Echo;
use super::evidence::{CalleeThen, Evidence, Finding};
use super::fingerprint::{Fingerprinter, Library, Match, Matcher, Word};
use super::kept::Kept;
use super::screening::Screening;
use super::tone::{Kind, ToneDetector};
use super::turns::{Turn, Turns};
use super::voice::{Voice, Voiced};
use crate::audio::{FRAME_TIME, Frame};
use crate::units::{CallTime, Leg};

/// Speech flags that may wait for whoever schedules words: 12 s.
const SPEECH_FRAMES: usize = 600;

/// Music may have been on for so long before it is known to be music.
const MUSIC_UNKNOWN: Duration = Duration::from_secs(4);

/// One frame of both legs, waiting until the tone detector can say whether it belongs to a tone.
#[derive(Clone, Copy, Debug)]
struct Pending {
    at: CallTime,
    caller: Voiced,
    callee: Voiced,
    tonal: bool,
}

/// What the caller hears.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Opposite {
    /// The callee, who has answered.
    #[default]
    Callee,
    /// Prompts that are played before anybody is rung; they come as the callee's frames.
    Prompt,
}

/// The ear of one call.
pub struct Ear {
    /// Where the caller hears prompts.
    screening: Option<Screening>,
    /// Of the caller and of the callee.
    voices: [Voice; 2],
    echo: Echo,
    tone: ToneDetector,
    fingerprinter: Fingerprinter,
    matcher: Matcher,
    /// Empty once it cannot change anything: each recording that is learned makes a new library, and the old ones are
    /// megabytes.
    library: Arc<Library>,
    /// The recording that has been recognised; it is told once.
    known: Option<Arc<str>>,
    pending: VecDeque<Pending>,
    /// Of the caller and of the callee.
    cadences: [Cadence; 2],
    turns: Turns,
    /// Music is on.
    music: bool,
    kept: Kept,
    /// End of the last frames.
    now: CallTime,
    /// When the callee was last heard.
    callee_spoke: Option<CallTime>,
    /// End of each settled frame, and whether the caller spoke in it.
    speech: VecDeque<(CallTime, bool)>,
    evidence: VecDeque<Evidence>,
}

impl Ear {
    /// Nothing heard yet. `planner` shares its tables between calls; `library` holds the recordings to be known again.
    #[must_use]
    pub fn new(planner: &mut FftPlanner<f32>, library: Arc<Library>, opposite: Opposite) -> Self {
        Self {
            screening: (opposite == Opposite::Prompt).then(Screening::default),
            voices: [Voice::new(planner), Voice::new(planner)],
            echo: Echo::new(),
            tone: ToneDetector::new(planner),
            fingerprinter: Fingerprinter::new(planner),
            matcher: Matcher::default(),
            library,
            known: None,
            pending: VecDeque::new(),
            cadences: [Cadence::default(), Cadence::default()],
            turns: Turns::default(),
            music: false,
            kept: Kept::new(),
            now: CallTime::ZERO,
            callee_spoke: None,
            speech: VecDeque::new(),
            evidence: VecDeque::new(),
        }
    }

    /// The next frame of both legs: of the same 20 ms.
    pub fn frames(&mut self, caller: &Frame, callee: &Frame) {
        self.now = CallTime(caller.at.0 + FRAME_TIME);
        self.kept.push(&caller.samples, self.now);

        let [caller_voice, callee_voice] = &mut self.voices;
        let callee_voiced = callee_voice.frame(callee);
        let mut caller_voiced = caller_voice.frame(caller);
        if self.echo.frame(caller_voiced.level, callee_voiced) {
            caller_voiced.speech = false;
        }
        if !self.matcher.is_full()
            && let Some(heard) = self.fingerprinter.frame(&caller.samples)
        {
            let found = self.matcher.word(heard, &self.library);
            if found.is_some() || self.matcher.is_full() {
                self.library = Arc::default();
            }
            if let Some(Match { recording, agreement, offset }) = found {
                self.known = Some(Arc::clone(&recording));
                self.tell(Leg::Caller, Finding::KnownRecording { recording, agreement, offset });
            }
        }
        let kind = self.tone.frame(&caller.samples, caller_voiced.level);
        let tonal = kind != Kind::Other;
        if kind == Kind::Tone {
            for pending in &mut self.pending {
                pending.tonal = true;
            }
        }
        if let Some(tone) = self.tone.poll_ended() {
            self.tell(Leg::Caller, Finding::Tone { tone });
        }
        if (kind == Kind::Music) != self.music {
            self.music = kind == Kind::Music;
            if self.music {
                self.matcher.forget(MUSIC_UNKNOWN);
                self.tell(Leg::Caller, Finding::Music);
            }
        }
        self.pending.push_back(Pending { at: caller.at, caller: caller_voiced, callee: callee_voiced, tonal });
        if self.pending.len() > ToneDetector::lag()
            && let Some(pending) = self.pending.pop_front()
        {
            self.settle(pending);
        }
    }

    /// A frame of which the tone detector has said its last word.
    fn settle(&mut self, frame: Pending) {
        let caller = frame.caller.speech && !frame.tonal;
        self.matcher.settle(caller);
        let mut found = Vec::new();
        let [caller_cadence, callee_cadence] = &mut self.cadences;
        callee_cadence.frame(frame.at, frame.callee.speech, frame.callee.level, |spoken| {
            // The callee's onset is worth a line in a timeline; the rest of its speech goes into `turns`.
            if let Spoken::Onset { at } = spoken {
                found.push((Leg::Callee, Finding::Onset { after_answer: at.0, callee: CalleeThen::Silent }));
            }
        });
        let then = match self.callee_spoke {
            _ if callee_cadence.speaking() => CalleeThen::Speaking,
            Some(last) => CalleeThen::Finished(frame.at.since(last)),
            None => CalleeThen::Silent,
        };
        if callee_cadence.speaking() {
            self.callee_spoke = Some(frame.at);
        }
        caller_cadence.frame(frame.at, caller, frame.caller.level, |spoken| {
            let finding = match spoken {
                Spoken::Onset { at } => Finding::Onset { after_answer: at.0, callee: then },
                Spoken::Talkspurt { from, to, level } => Finding::Talkspurt { from, to, level },
                Spoken::Pause { length } => Finding::Pause { length },
                Spoken::Monologue { length } => Finding::Monologue { length },
            };
            found.push((Leg::Caller, finding));
        });
        let (caller_speaks, callee_speaks) = (caller_cadence.speaking(), callee_cadence.speaking());
        if let Some(screening) = &mut self.screening
            && let Some(screened) = screening.frame(frame.at, caller_speaks, frame.callee.speech)
        {
            found.push((Leg::Caller, Finding::Screened { screened }));
        }
        self.turns.frame(frame.at, caller_speaks, callee_speaks, |turn| {
            let finding = match turn {
                Turn::TalkOver { length } => Finding::TalkOver { length },
                Turn::Yield { after } => Finding::Yield { after },
                Turn::Reply { delay } => Finding::Reply { delay },
                Turn::NoReply => Finding::NoReply,
            };
            found.push((Leg::Caller, finding));
        });
        self.speech.push_back((CallTime(frame.at.0 + FRAME_TIME), caller_speaks));
        if self.speech.len() > SPEECH_FRAMES {
            self.speech.pop_front();
        }
        for (leg, finding) in found {
            self.tell(leg, finding);
        }
    }

    fn tell(&mut self, leg: Leg, finding: Finding) {
        self.evidence.push_back(Evidence { at: self.now, leg, finding });
    }

    /// What was found, oldest first.
    pub fn poll_evidence(&mut self) -> Option<Evidence> {
        self.evidence.pop_front()
    }

    /// For whoever schedules words: end of each settled frame, and whether the caller spoke in it.
    pub fn poll_speech(&mut self) -> Option<(CallTime, bool)> {
        self.speech.pop_front()
    }

    /// The caller's fingerprint so far.
    #[must_use]
    pub fn fingerprint(&self) -> Vec<Word> {
        self.matcher.words()
    }

    /// The known recording that the caller plays.
    #[must_use]
    pub fn known(&self) -> Option<Arc<str>> {
        self.known.clone()
    }

    /// How far both legs have been heard.
    #[must_use]
    pub fn now(&self) -> CallTime {
        self.now
    }

    /// The caller's audio between two times, at 8 kHz, as far as it is still kept.
    #[must_use]
    pub fn caller_audio(&self, from: CallTime, to: CallTime) -> Vec<i16> {
        self.kept.between(from, to)
    }

    /// Nobody will ask for the caller's audio.
    pub fn keep_no_audio(&mut self) {
        self.kept.nothing();
    }

    /// Nobody will ask for the caller's audio before this time.
    pub fn forget_audio_before(&mut self, from: CallTime) {
        self.kept.forget_before(from);
    }
}

#[cfg(test)]
mod tests;
