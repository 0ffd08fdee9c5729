//! One recorded call through the analysis of the live path.

use std::time::Duration;

use rustfft::FftPlanner;

use crate::audio::{FRAME_SAMPLES, Frame};
use crate::detect::evidence::Evidence;
use crate::detect::fingerprint::{self, Fingerprinter};
use crate::detect::phrase::{Recogniser, Transcript, Window, to_recogniser};
use crate::io::analysis::{Hearing, Knowledge, WordRun};
use crate::io::clock;
use crate::policy::action::{StepUp, StepUpDecision};
use crate::policy::judge::{Heard as Measured, Verdict};
use crate::policy::rules::Policy;
use crate::units::CallTime;

use super::recording::Recording;

/// Frames of silence after a recording's end, so that the last words are still judged: 1 s.
const TAIL_FRAMES: usize = 50;

/// After how long the words of a window are known, in seconds a second: a third more than was measured over 192 windows on
/// one core of a server (0.037). A fixed figure, so that a busy machine hears what an idle one does, and fits the same
/// weights; a slow one hears words later than it says.
const LAG_OF_WORDS: f32 = 0.05;

/// An action and when it was decided.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Since the answer, lag included.
    pub at: CallTime,
    /// What and why.
    pub decision: StepUpDecision,
}

/// All that was heard in one call.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    /// In order of the time it was known.
    pub evidence: Vec<Evidence>,
    /// Each time the verdict moved.
    pub verdicts: Vec<Verdict>,
    /// Actions, mild to strong.
    pub steps: Vec<Step>,
    /// The measures each half second, for fitting weights.
    pub measured: Vec<(CallTime, Measured)>,
    /// Computing time of words.
    pub words_cost: Duration,
    /// Computing time of everything else.
    pub other_cost: Duration,
    /// How long the call is.
    pub length: Duration,
}

impl Heard {
    /// The strongest action taken, with its time.
    #[must_use]
    pub fn strongest(&self) -> Option<&Step> {
        self.steps.iter().max_by_key(|step| step.decision.action)
    }

    /// When an action was decided.
    #[must_use]
    pub fn first(&self, action: StepUp) -> Option<&Step> {
        self.steps.iter().find(|step| step.decision.action >= action)
    }

    /// The last verdict.
    #[must_use]
    pub fn verdict(&self) -> Option<&Verdict> {
        self.verdicts.last()
    }
}

/// Words that are known at a later time.
struct Pending {
    due: CallTime,
    window: Window,
    transcript: Option<Transcript>,
    lag: Duration,
}

/// Hears `recording` up to `watch_for`, frame by frame; `recognise` says what it computed, too.
#[must_use]
pub fn hear(
    recording: &Recording,
    knowledge: &Knowledge,
    policy: &Policy,
    watch_for: Duration,
    recognise: &mut dyn FnMut(&WordRun) -> Option<(Transcript, Duration)>,
) -> Heard {
    let mut hearing = Hearing::new(knowledge, &mut FftPlanner::new(), recording.opposite);
    let mut heard = Heard { length: clip_length(recording), ..Heard::default() };
    let mut pending: Option<Pending> = None;
    let (begun, mut away) = (clock::now(), Duration::ZERO);
    let frames = recording.caller.len().div_ceil(FRAME_SAMPLES) + TAIL_FRAMES;
    let last = frames.min((watch_for.as_millis() / 20) as usize);
    for n in 0..last {
        let now = CallTime::from_millis(20 * n as u64);
        hearing.frames(&frame(&recording.caller, n, now), &frame(&recording.callee, n, now));
        if let Some(words) = pending.take_if(|words| words.due <= hearing.now()) {
            match &words.transcript {
                Some(transcript) => hearing.recognised(words.window, transcript, words.lag),
                None => hearing.not_recognised(words.window),
            }
        }
        if let Some(run) = hearing.poll_word_run() {
            let started = clock::now();
            let (transcript, cost) =
                recognise(&run).map_or((None, Duration::ZERO), |(words, cost)| (Some(words), cost));
            away += clock::now().duration_since(started);
            heard.words_cost += cost;
            let lag = run.window.length().mul_f32(LAG_OF_WORDS);
            pending = Some(Pending { due: CallTime(hearing.now().0 + lag), window: run.window, transcript, lag });
        }
        if let Some(verdict) = hearing.poll_verdict() {
            let mut taken: Vec<StepUp> = heard.steps.iter().map(|step| step.decision.action).collect();
            while let Some(decision) = policy.step_up(&verdict, &taken, false) {
                taken.push(decision.action);
                heard.steps.push(Step { at: verdict.at, decision });
            }
            heard.verdicts.push(verdict);
        }
        while let Some(evidence) = hearing.poll_evidence() {
            heard.evidence.push(evidence);
        }
        if n % 25 == 24 && hearing.judge().heard().has_spoken() {
            heard.measured.push((hearing.now(), hearing.judge().heard().clone()));
        }
    }
    heard.other_cost = clock::now().duration_since(begun).saturating_sub(away);
    heard
}

/// The caller's fingerprint; None if there is too little to fingerprint.
#[must_use]
pub fn fingerprint(name: &str, recording: &Recording) -> Option<fingerprint::Recording> {
    let mut printer = Fingerprinter::new(&mut FftPlanner::new());
    let frames = recording.caller.as_chunks::<FRAME_SAMPLES>().0;
    let words: Vec<fingerprint::Word> =
        frames.iter().filter_map(|f| printer.frame(f)).map(|heard| heard.word).collect();
    fingerprint::Recording::new(name, &words)
}

/// Recognises words now, and says how much computing that took, for the figure of what words cost.
pub fn recognise_with(recogniser: &Recogniser, run: &WordRun) -> Option<(Transcript, Duration)> {
    let audio = to_recogniser(&run.audio);
    recogniser.on_its_thread(|| {
        let before = clock::computed();
        let transcript = recogniser.transcribe(&audio, &run.book).ok()?;
        Some((transcript, clock::computed().saturating_sub(before)))
    })
}

fn clip_length(recording: &Recording) -> Duration {
    Duration::from_secs_f64(recording.caller.len() as f64 / 8_000.0)
}

fn frame(samples: &[i16], n: usize, at: CallTime) -> Frame {
    let mut frame = Frame { at, samples: [0; FRAME_SAMPLES], lost: false };
    let from = n * FRAME_SAMPLES;
    let present = samples.get(from..(from + FRAME_SAMPLES).min(samples.len())).unwrap_or_default();
    for (slot, sample) in frame.samples.iter_mut().zip(present) {
        *slot = *sample;
    }
    frame.lost = present.is_empty();
    frame
}
