//! One recorded call through the analysis of the live path.

use std::sync::Arc;
use std::time::Duration;

use rustfft::FftPlanner;

use crate::audio::{FRAME_SAMPLES, FRAME_TIME, Frame};
use crate::detect::ear::{Ear, Opposite};
use crate::detect::evidence::Evidence;
use crate::detect::fingerprint;
use crate::detect::phrase::{Recogniser, Transcript, Window, to_recogniser};
use crate::detect::voice::Voice;
use crate::io::analysis::{Hearing, Knowledge, WordRun};
use crate::io::clock;
use crate::policy::action::{StepUp, StepUpDecision};
use crate::policy::judge::{Tally, Verdict};
use crate::policy::rules::Policy;
use crate::policy::watch;
use crate::units::{CallTime, SampleRate};

use super::recording::Recording;

/// Frames of silence after a recording's end, so that the last words are still judged; and of the line before its
/// speech, for a fingerprint: 1 s.
const TAIL_FRAMES: usize = 50;

/// Frames from one look at the tally to the next: 0.5 s.
const TALLY_FRAMES: usize = 25;

/// How long after its end the words of a window are known, as a share of its length: a third more than was measured
/// over 192 windows on one core of a server (0.037). A fixed figure, so that a busy machine decides as an idle one does
/// and fits the same weights. On a machine that is slower than that, real calls know their words later than is said
/// here, and have fewer runs. As no other call's run waits here, one may go over its share as on an idle machine.
const LAG_OF_WORDS: f32 = 0.05;

/// An action and when it was decided.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Since the answer; the time that words take is in it.
    pub at: CallTime,
    /// What and why.
    pub decision: StepUpDecision,
}

/// All that was heard in one call.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    /// In the order in which it became known.
    pub evidence: Vec<Evidence>,
    /// Each time the verdict moved.
    pub verdicts: Vec<Verdict>,
    /// Actions in the order in which they were decided, the mildest first.
    pub steps: Vec<Step>,
    /// What the judge had added up each half second, for fitting weights.
    pub tallies: Vec<(CallTime, Tally)>,
    /// Word runs in which the speech model failed.
    pub words_failed: usize,
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

    /// The first step that is as strong as `action` or stronger.
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

/// The result of a word run, which the call learns at `due`: the run is made at once, and its lag is counted.
struct Pending {
    due: CallTime,
    window: Window,
    transcript: Option<Transcript>,
    lag: Duration,
}

/// Hears `recording` for `watch_for` from its first speech on, frame by frame, and decides by `policy`. `recognise`
/// makes a word run, and says how much computing time it took; None: it failed.
#[must_use]
pub fn hear(
    recording: &Recording,
    knowledge: &Knowledge,
    policy: &Policy,
    watch_for: Duration,
    recognise: &mut dyn FnMut(&WordRun) -> Option<(Transcript, Duration)>,
) -> Heard {
    let mut hearing = Hearing::new(knowledge, &mut FftPlanner::new(), recording.opposite);
    let length = SampleRate::TELEPHONE.time_of(recording.caller.len());
    let mut heard = Heard { length, ..Heard::default() };
    let mut pending: Option<Pending> = None;
    // Time inside `recognise` is not counted as ours: it may wait for the speech model.
    let (begun, mut recognising) = (clock::now(), Duration::ZERO);
    let frames = recording.caller.len().div_ceil(FRAME_SAMPLES) + TAIL_FRAMES;
    let mut until = watch::longest(watch_for);
    for n in 0..frames {
        let now = CallTime(FRAME_TIME * n as u32);
        if now >= until {
            break;
        }
        hearing.frames(&frame(&recording.caller, n, now), &frame(&recording.callee, n, now));
        if let Some(words) = pending.take_if(|words| words.due <= hearing.now()) {
            match &words.transcript {
                Some(transcript) => hearing.recognised(words.window, transcript, words.lag),
                None => hearing.not_recognised(words.window),
            }
        }
        if let Some(run) = hearing.poll_word_run(true) {
            let started = clock::now();
            let (transcript, cost) =
                recognise(&run).map_or((None, Duration::ZERO), |(words, cost)| (Some(words), cost));
            heard.words_failed += usize::from(transcript.is_none());
            recognising += clock::now().duration_since(started);
            heard.words_cost += cost;
            let lag = run.window.length().mul_f32(LAG_OF_WORDS);
            pending = Some(Pending { due: CallTime(hearing.now().0 + lag), window: run.window, transcript, lag });
        }
        if let Some(verdict) = hearing.poll_verdict() {
            let before = heard.verdicts.last().map(|told| told.class);
            until = watch::watched_until(watch_for, before, verdict.class, verdict.at).unwrap_or(until);
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
        let tally = hearing.judge().tally();
        if n % TALLY_FRAMES == TALLY_FRAMES - 1 && tally.has_spoken() {
            heard.tallies.push((hearing.now(), tally.clone()));
        }
    }
    heard.other_cost = clock::now().duration_since(begun).saturating_sub(recognising);
    heard
}

/// The caller's fingerprint, of speech alone: noise and music behind it may be another call's too. None if there is too
/// little to fingerprint.
#[must_use]
pub fn fingerprint(name: &str, recording: &Recording) -> Option<fingerprint::Recording> {
    let count = recording.caller.len() / FRAME_SAMPLES;
    let frames = |from: usize| (from..count).map(|n| frame(&recording.caller, n, CallTime(FRAME_TIME * n as u32)));
    // A call keeps what is said in its first 20 s: those of a recording begin with its speech.
    let mut voice = Voice::new(&mut FftPlanner::new());
    let speaks = frames(0).position(|frame| voice.frame(&frame).speech)?;
    let mut ear = Ear::new(&mut FftPlanner::new(), Arc::default(), Opposite::Callee);
    for caller in frames(speaks.saturating_sub(TAIL_FRAMES)) {
        ear.frames(&caller, &Frame { at: caller.at, samples: [0; FRAME_SAMPLES], lost: true });
        while ear.poll_evidence().is_some() {}
    }
    fingerprint::Recording::new(name, &ear.fingerprint())
}

/// Recognises words, and says how much computing time that took. None: the model failed.
pub fn recognise_with(recogniser: &Recogniser, run: &WordRun) -> Option<(Transcript, Duration)> {
    let audio = to_recogniser(&run.audio);
    recogniser.on_its_thread(|| {
        let before = clock::computed();
        let transcript = recogniser.transcribe(&audio, &run.book).ok()?;
        Some((transcript, clock::computed().saturating_sub(before)))
    })
}

/// Frame `n` of a leg. Behind its end, frames are lost ones.
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::path::Path;

    use super::*;
    use crate::detect::phrase::{Book, ScheduleSettings, Wording};
    use crate::policy::judge::Weights;

    /// White enough, and the same in each run.
    fn noise(n: usize) -> i16 {
        let hash = (n as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(31).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        (hash >> 57) as i16 - 64
    }

    fn recorded(caller: Vec<i16>) -> Recording {
        Recording { callee: vec![0; caller.len()], caller, opposite: Opposite::Callee }
    }

    #[test]
    fn runs_in_which_the_model_fails_are_counted() {
        let prompt = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/announcements/callee-diverted.wav");
        let knowledge = Knowledge {
            weights: Arc::new(Weights::built_in()),
            book: Book::built_in(),
            wording: Wording::none(),
            campaigns: Arc::default(),
            words: Some(ScheduleSettings::default()),
        };
        let mut runs = 0;
        let recording = recorded(Recording::read(&prompt).unwrap().caller);

        let heard = hear(&recording, &knowledge, &Policy::default(), Duration::from_secs(20), &mut |_| {
            runs += 1;
            None
        });

        assert!(runs > 0 && heard.words_failed == runs, "{runs} runs, {} failed", heard.words_failed);
    }

    #[test]
    fn a_fingerprint_is_of_speech_alone_and_begins_with_it() {
        let second = SampleRate::TELEPHONE.get() as usize;
        let prompt = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/announcements/callee-diverted.wav");
        let mut spoken = Recording::read(&prompt).unwrap().caller;
        spoken.truncate(6 * second);
        let hiss: Vec<i16> = (0..30 * second).map(noise).collect();
        let mut said = hiss.clone();
        for (sample, spoken) in said.iter_mut().skip(22 * second).zip(&spoken) {
            *sample = sample.saturating_add(*spoken);
        }

        assert_eq!(fingerprint("hiss", &recorded(hiss)), None);
        let line = fingerprint("said", &recorded(said)).unwrap().to_line();
        let words = line.split_once(' ').unwrap().1;
        let audible = words.as_bytes().chunks(6).filter(|word| word != b"------").count();
        assert!((60..=150).contains(&audible), "{audible} words of 6 s, one each 40 ms: {line}");
    }
}
