//! Evidence added up: what was heard of one caller so far.
//!
//! In: [`Evidence`] as it becomes known. Out: the value of each [`Measure`], and its text for a reason. Weighs nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::measure::Measure;
use crate::detect::evidence::{CalleeThen, Evidence, Finding, Meaning, Screened};
use crate::units::Leg;

/// Different phrases of one call that are kept.
const MAX_PHRASES: usize = 64;

/// A meaning whose phrases weigh this much together has the value 1.
const PHRASE_SCALE: f32 = 4.0;

/// Highest probability of a scam that a single sign may give: below the default of `detect.divert_at`.
const ONE_SIGN_ALONE: f32 = 0.85;

/// A wording of these log-odds has the value 1.
const WORDING_SCALE: f32 = 10.0;

/// Greatest value of a wording. Terms of one sentence hang together, so that their sum overstates what they say.
const MOST_WORDING: f32 = 3.0;

/// Log-odds of a scam's wording from which one phrase of a scam is more than chance.
const LIKELY_WORDING: f32 = 5.0;

/// Log-odds of a scam's wording from which a key prompt is a scam's.
const SCAM_WORDING: f32 = 6.0;

/// Log-odds of a scam's wording from which a machine that speaks on needs no other sign.
const CERTAIN_WORDING: f32 = 14.0;

/// So much speech with only breaths must go with [`CERTAIN_WORDING`].
const SPEAKS_ON: Duration = Duration::from_secs(4);

/// Value of [`Measure::Scam`] that needs no other sign: two phrases, or one that nobody but scams says.
const TWO_PHRASES: f32 = 1.0;

/// Weight of the key prompts of a window from which a key is asked for beyond doubt.
const CLEAR_PROMPT: f32 = 2.0;

/// On a line with tones or music, the recogniser must be this confident before its words count as speech.
const SURE: f32 = 0.8;

/// So confident, it is believed all the same where it has written what scams say.
const CONFIDENT: f32 = 0.65;

/// Where words are off, so much speech with only breaths counts as speech on a line with tones or music too.
const OUTLASTS_MUSIC: Duration = Duration::from_secs(2);

/// What was heard of the caller so far, added up.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    onset: Option<(Duration, CalleeThen)>,
    monologue: Duration,
    talk_over: Duration,
    yields: u16,
    replies: u16,
    no_replies: u16,
    long_pauses: u16,
    levels: Levels,
    /// Most words in one window.
    words: usize,
    /// Word runs over what sounded like speech.
    runs: u16,
    /// Highest confidence of a run that gave words; 0 before there is one.
    confidence: f32,
    tones: u16,
    /// Name of the last one.
    tone: Option<&'static str>,
    music: bool,
    recording: Option<Arc<str>>,
    /// Meaning of each phrase, and its weight times the confidence with which it was heard best.
    phrases: BTreeMap<Arc<str>, (Meaning, f32)>,
    /// Of the last window of words.
    window: Said,
    /// A window before it was a scam's and nobody else's.
    plain: bool,
    wording: Wording,
    prompts: Prompts,
}

/// What the phrases of one window weigh, by what they mean.
#[derive(Clone, Copy, Debug, Default)]
struct Said {
    scam: f32,
    key_prompt: f32,
    talk: f32,
}

impl Said {
    /// What scams speak of and the key to press, in one breath, and nothing that people say.
    fn is_a_scam(self) -> bool {
        self.scam > 0.0 && self.key_prompt >= CLEAR_PROMPT && self.talk == 0.0
    }
}

/// What the caller has done about a prompt that was played to it.
#[derive(Clone, Copy, Debug, Default)]
struct Prompts {
    talked_on: bool,
    yielded: bool,
    answered: bool,
}

/// Log-odds of the choice of words, and the terms that moved them.
#[derive(Clone, Debug, Default)]
struct Wording {
    automated: f32,
    scam: f32,
    /// For `automated`, and for `scam`.
    telling: [Arc<str>; 2],
}

/// Running mean and variance of talkspurt levels, in dB (Welford 1962).
#[derive(Clone, Copy, Debug, Default)]
struct Levels {
    count: u16,
    mean: f32,
    /// Sum of squared distances from the mean.
    squares: f32,
}

impl Levels {
    fn push(&mut self, level: f32) {
        self.count = self.count.saturating_add(1);
        let delta = level - self.mean;
        self.mean += delta / f32::from(self.count);
        self.squares += delta * (level - self.mean);
    }

    /// Standard deviation; None before three talkspurts.
    fn spread(&self) -> Option<f32> {
        (self.count >= 3).then(|| (self.squares / f32::from(self.count - 1)).sqrt())
    }
}

impl Tally {
    /// Adds one piece of evidence. Only the caller is judged; the callee's part is in the caller's findings.
    pub fn add(&mut self, evidence: &Evidence) {
        if evidence.leg == Leg::Callee {
            return;
        }
        match &evidence.finding {
            Finding::Onset { after_answer, callee } => self.onset = self.onset.or(Some((*after_answer, *callee))),
            Finding::Talkspurt { from, to, level } => {
                if to.since(*from) >= Duration::from_millis(300) {
                    self.levels.push(level.0);
                }
            }
            Finding::Pause { length } => {
                self.long_pauses = self.long_pauses.saturating_add(u16::from(*length > Duration::from_secs(1)));
            }
            Finding::Monologue { length } => self.monologue = self.monologue.max(*length),
            Finding::TalkOver { length } => self.talk_over = self.talk_over.max(*length),
            Finding::Yield { .. } => self.yields = self.yields.saturating_add(1),
            Finding::Reply { .. } => self.replies = self.replies.saturating_add(1),
            Finding::NoReply => self.no_replies = self.no_replies.saturating_add(1),
            Finding::Tone { tone } => {
                self.tone = Some(tone.label());
                self.tones = self.tones.saturating_add(1);
            }
            Finding::Music => self.music = true,
            Finding::KnownRecording { recording, .. } => self.recording = Some(Arc::clone(recording)),
            Finding::Words { speech, text, confidence, .. } => {
                self.runs = self.runs.saturating_add(1);
                // Its phrases come behind it.
                self.plain |= std::mem::take(&mut self.window).is_a_scam();
                // Numbers alone are what the recogniser makes of beeps.
                if *speech && text.chars().any(char::is_alphabetic) {
                    self.words = self.words.max(text.split_whitespace().count());
                    self.confidence = self.confidence.max(confidence.get());
                }
            }
            Finding::Phrase { phrase, meaning, weight, confidence } => {
                let heard = weight * confidence.get();
                match meaning {
                    Meaning::Scam => self.window.scam += heard,
                    Meaning::KeyPrompt => self.window.key_prompt += heard,
                    Meaning::Talk => self.window.talk += heard,
                    Meaning::CallBack | Meaning::Lawful | Meaning::Automated => {}
                }
                if let Some(best) = self.phrases.get_mut(phrase) {
                    best.1 = best.1.max(heard);
                } else if self.phrases.len() < MAX_PHRASES {
                    self.phrases.insert(Arc::clone(phrase), (*meaning, heard));
                }
            }
            Finding::Screened { screened } => match screened {
                Screened::TalkedOn { .. } => self.prompts.talked_on = true,
                Screened::Yielded { .. } => self.prompts.yielded = true,
                Screened::Answered { .. } => self.prompts.answered = true,
                Screened::Silent => {}
            },
            Finding::Wording { automated, scam, telling } => {
                self.wording = Wording { automated: *automated, scam: *scam, telling: telling.clone() };
            }
        }
    }

    /// Has the caller said anything?
    #[must_use]
    pub fn has_spoken(&self) -> bool {
        // Two witnesses: the voice detector, and the speech model. Music and tones can fool the first, and have the
        // second write words in which it has little confidence. What plays a known recording is a caller: it is found
        // in speech alone.
        let doubtful = self.tones >= 2 || self.music;
        let speaks = || match (self.runs, doubtful) {
            (0, false) => true,
            (0, true) => self.monologue >= OUTLASTS_MUSIC,
            (_, false) => self.confidence > 0.0,
            // Two blips are played over a line in no time: they do not outweigh two signs of a scam.
            (_, true) => self.confidence >= SURE || (self.confidence >= CONFIDENT && self.has_enough_signs()),
        };
        self.onset.is_some() && (self.recording.is_some() || speaks())
    }

    /// Why the class is `no_speech`.
    #[must_use]
    pub(super) fn why_no_speech(&self) -> String {
        match (self.tone, self.music) {
            _ if self.onset.is_some() => "no words in what sounds a little like speech".to_owned(),
            (Some(tone), _) => format!("no speech, but a tone ({tone})"),
            (None, true) => "no speech, but music".to_owned(),
            (None, false) => "no speech".to_owned(),
        }
    }

    /// Value of all phrases of one meaning.
    fn phrases_of(&self, wanted: Meaning) -> f32 {
        let sum: f32 = self.phrases.values().filter(|(meaning, _)| *meaning == wanted).map(|(_, weight)| weight).sum();
        (sum / PHRASE_SCALE).min(2.0)
    }

    /// Upper limit of the probability of a scam. A lawful recording may ask for a key or name a bank too, and a person
    /// who sells something may choose a scam's words: one sign alone earns a guard and no diversion. It takes a known
    /// recording, a call-back prompt, two phrases of scams, or two signs of different kinds: a phrase, a key prompt, a
    /// scam's wording. Wording is no such sign where the caller sounds like a person, by a phrase and by the wording:
    /// colleagues and friends speak of what scams speak of. Wording that leaves no doubt is enough where the caller
    /// speaks on as machines do, and has said nothing that people say.
    #[must_use]
    pub fn scam_limit(&self) -> f32 {
        if self.has_enough_signs() { 1.0 } else { ONE_SIGN_ALONE }
    }

    fn has_enough_signs(&self) -> bool {
        let (phrases, wording) = (self.phrases_of(Meaning::Scam), self.wording.scam);
        let prompt = self.phrases_of(Meaning::KeyPrompt) > 0.0;
        let talks = self.phrases_of(Meaning::Talk) > 0.0;
        let person = talks && self.wording.automated < 0.0;
        self.recording.is_some()
            || self.phrases_of(Meaning::CallBack) > 0.0
            || phrases >= TWO_PHRASES
            || (phrases > 0.0 && (prompt || (wording >= LIKELY_WORDING && !person)))
            || (prompt && wording >= SCAM_WORDING)
            || (wording >= CERTAIN_WORDING && self.monologue >= SPEAKS_ON && !talks)
    }

    /// One window held a scam's opening and its key prompt, and nothing that people say. Whatever was said around it:
    /// a recording may begin as a friend would.
    #[must_use]
    pub fn says_it_plainly(&self) -> bool {
        self.plain || self.window.is_a_scam()
    }

    fn value(&self, measure: Measure) -> f32 {
        let seconds = |duration: Duration| duration.as_secs_f32();
        let ramp = |value: f32, from: f32, to: f32| ((value - from) / (to - from)).clamp(0.0, 1.0);
        let flag = |yes: bool| if yes { 1.0 } else { 0.0 };
        let callee = self.onset.map(|(_, callee)| callee);
        match measure {
            Measure::LateOnset => self.onset.map_or(0.0, |(after, _)| ramp(seconds(after), 2.0, 6.0)),
            Measure::OnsetOver => flag(callee == Some(CalleeThen::Speaking)),
            Measure::OnsetFirst => flag(callee == Some(CalleeThen::Silent)),
            Measure::OnsetReply => {
                flag(matches!(callee, Some(CalleeThen::Finished(ago)) if ago <= Duration::from_secs(1)))
            }
            Measure::Monologue => ramp(seconds(self.monologue), 2.0, 6.0),
            Measure::LongMonologue => ramp(seconds(self.monologue), 6.0, 12.0),
            Measure::TalkOver => ramp(seconds(self.talk_over), 0.0, 1.5),
            Measure::Yields => ramp(f32::from(self.yields), 0.0, 2.0),
            Measure::Replies => ramp(f32::from(self.replies), 1.0, 4.0),
            Measure::NoReply => ramp(f32::from(self.no_replies), 0.0, 2.0),
            Measure::Evenness => self.levels.spread().map_or(0.0, |spread| 1.0 - ramp(spread, 0.0, 5.0)),
            Measure::LongPauses => ramp(f32::from(self.long_pauses), 0.0, 2.0),
            Measure::Scam => self.phrases_of(Meaning::Scam),
            Measure::KeyPrompt => self.phrases_of(Meaning::KeyPrompt),
            Measure::CallBack => self.phrases_of(Meaning::CallBack),
            Measure::Lawful => self.phrases_of(Meaning::Lawful),
            Measure::Automated => self.phrases_of(Meaning::Automated),
            Measure::Talk => self.phrases_of(Meaning::Talk),
            Measure::ScamAndPrompt => self
                .phrases_of(Meaning::Scam)
                .min(self.phrases_of(Meaning::KeyPrompt).max(self.phrases_of(Meaning::CallBack))),
            Measure::NothingKnown => flag(self.words >= 8 && self.phrases.is_empty()),
            Measure::KnownRecording => flag(self.recording.is_some()),
            Measure::NoTalk if self.phrases_of(Meaning::Talk) > 0.0 => 0.0,
            Measure::NoTalk => ramp(self.words as f32, 6.0, 14.0),
            Measure::PromptTalkedOn => flag(self.prompts.talked_on),
            Measure::PromptYielded => flag(self.prompts.yielded),
            Measure::PromptAnswered => flag(self.prompts.answered),
            Measure::WordingAutomated => (self.wording.automated / WORDING_SCALE).clamp(-MOST_WORDING, MOST_WORDING),
            Measure::WordingScam => (self.wording.scam / WORDING_SCALE).clamp(-MOST_WORDING, MOST_WORDING),
        }
    }

    /// Values, in the order of [`Measure::ALL`].
    #[must_use]
    pub fn measures(&self) -> [f32; Measure::COUNT] {
        Measure::ALL.map(|measure| self.value(measure))
    }

    /// A measure in words, for a reason.
    #[must_use]
    pub(super) fn describe(&self, measure: Measure) -> String {
        let seconds = |duration: Duration| format!("{:.1} s", duration.as_secs_f32());
        let after = self.onset.map_or_else(String::new, |(after, _)| seconds(after));
        let phrases = |wanted: Meaning| {
            let named = self.phrases.iter().filter(|(_, (meaning, _))| *meaning == wanted);
            named.map(|(name, _)| name.to_string()).collect::<Vec<_>>().join(", ")
        };
        let who = |odds: f32| if odds > 0.0 { "machines" } else { "people" };
        let which = |odds: f32| if odds > 0.0 { "scams" } else { "lawful recordings" };
        let [of_automated, of_scam] = &self.wording.telling;
        match measure {
            Measure::LateOnset => format!("first speech {after} after the answer"),
            Measure::OnsetOver => format!("began while the callee was speaking, {after} after the answer"),
            Measure::OnsetFirst => format!("began before the callee had spoken, {after} after the answer"),
            Measure::OnsetReply => "began within a second after the callee's greeting".to_owned(),
            Measure::Monologue | Measure::LongMonologue => {
                format!("spoke for {} with only breaths", seconds(self.monologue))
            }
            Measure::TalkOver => format!("spoke over the callee for {}", seconds(self.talk_over)),
            Measure::Yields => format!("fell silent for the callee {} times", self.yields),
            Measure::Replies => format!("replied to the callee {} times", self.replies),
            Measure::NoReply => format!("did not reply to the callee {} times", self.no_replies),
            Measure::Evenness => {
                format!("level between talkspurts varies by {:.1} dB", self.levels.spread().unwrap_or_default())
            }
            Measure::LongPauses => format!("{} pauses of more than a second", self.long_pauses),
            Measure::Scam => format!("says what scams say: {}", phrases(Meaning::Scam)),
            Measure::KeyPrompt => format!("asks for a key: {}", phrases(Meaning::KeyPrompt)),
            Measure::CallBack => format!("asks for a call back: {}", phrases(Meaning::CallBack)),
            Measure::Lawful => format!("says what lawful recordings say: {}", phrases(Meaning::Lawful)),
            Measure::Automated => format!("says what machines say: {}", phrases(Meaning::Automated)),
            Measure::Talk => format!("says what people say: {}", phrases(Meaning::Talk)),
            Measure::ScamAndPrompt => "a scam's words and a prompt in one message".to_owned(),
            Measure::NothingKnown => "words, but none that the phrase file knows".to_owned(),
            Measure::KnownRecording => {
                format!("plays the known recording {}", self.recording.as_deref().unwrap_or_default())
            }
            Measure::PromptTalkedOn => "talked on over a prompt".to_owned(),
            Measure::PromptYielded => "stopped for a prompt".to_owned(),
            Measure::PromptAnswered => "let a prompt end and answered it".to_owned(),
            Measure::WordingAutomated => {
                format!("chooses words as {} do: {}", who(self.wording.automated), of_automated)
            }
            Measure::WordingScam => format!("chooses words as {} do: {}", which(self.wording.scam), of_scam),
            Measure::NoTalk => format!("{} words in a row without anything that people say", self.words),
        }
    }
}
