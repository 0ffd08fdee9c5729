//! Evidence added up into a fixed list of measures, each between 0 and about 1.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::detect::evidence::{CalleeThen, Evidence, Finding, Meaning, Screened};
use crate::units::Leg;

/// Phrases that are kept; a call that says more has said enough.
const MAX_PHRASES: usize = 64;

/// Sum of a meaning's phrase weights that counts as 1.
const PHRASE_SCALE: f32 = 4.0;

/// Probability of a scam that a single sign may reach alone: under the default of `detect.divert_at`.
const ONE_SIGN_ALONE: f32 = 0.85;

/// Log-odds of the wording that count as 1.
const WORDING_SCALE: f32 = 10.0;

/// The most that a wording counts for: terms of one sentence hang together, and their sum says more than they do.
const MOST_WORDING: f32 = 3.0;

/// Log-odds of the wording from which one phrase of a scam is more than chance.
const LIKELY_WORDING: f32 = 5.0;

/// The same, from which a key prompt is a scam's.
const SCAM_WORDING: f32 = 6.0;

/// The same, from which a machine that speaks on needs no other sign.
const CERTAIN_WORDING: f32 = 14.0;

/// Speech with only breaths that goes with [`CERTAIN_WORDING`].
const SPEAKS_ON: Duration = Duration::from_secs(4);

/// Weight of scam phrases that needs no other sign: two, or one that nobody else says.
const TWO_PHRASES: f32 = 1.0;

/// Confidence of the recogniser that counts as words on a line with tones or music.
const SURE: f32 = 0.8;

/// Without words, so much speech on end is speech on a line with tones or music too.
const OUTLASTS_MUSIC: Duration = Duration::from_secs(2);

/// A measure: one term of each sum.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Measure {
    /// The first speech came late: 0 at 2 s after the answer, 1 at 6 s.
    LateOnset,
    /// It came while the callee was speaking.
    OnsetOver,
    /// It came before the callee had spoken.
    OnsetFirst,
    /// It came within a second after the callee.
    OnsetReply,
    /// Speech with only breaths: 0 at 2 s, 1 at 6 s.
    Monologue,
    /// The same: 0 at 6 s, 1 at 12 s.
    LongMonologue,
    /// Longest talk-over: 1 at 1.5 s.
    TalkOver,
    /// Times the caller yielded: 1 at two.
    Yields,
    /// Replies after the first: 1 at three.
    Replies,
    /// Callee's turns without a reply: 1 at two.
    NoReply,
    /// Evenness of level between talkspurts: 1 where all are alike, 0 at a spread of 5 dB.
    Evenness,
    /// Pauses over a second: 1 at two.
    LongPauses,
    /// Weight of phrases of known frauds.
    Scam,
    /// Weight of key prompts.
    KeyPrompt,
    /// Weight of call-back prompts.
    CallBack,
    /// Weight of what lawful recordings say.
    Lawful,
    /// Weight of what only machines say, lawful or not.
    Automated,
    /// Weight of what only people say.
    Talk,
    /// The lesser of `Scam` and the greater of `KeyPrompt` and `CallBack`: both in one message.
    ScamAndPrompt,
    /// Words were recognised, at least eight, and none of them is in the phrase file.
    NothingKnown,
    /// Words were recognised, and nothing that people say is among them: 0 at 6 words in a row, 1 at 14.
    NoTalk,
    /// The caller's audio is that of a known scam's recording.
    KnownRecording,
    /// Talked on over a prompt that was played to it.
    PromptTalkedOn,
    /// Yielded to a prompt.
    PromptYielded,
    /// Let a prompt end, and answered it.
    PromptAnswered,
    /// Choice of words: a machine's (positive) or a person's.
    WordingAutomated,
    /// Choice of words: a scam's (positive) or a lawful recording's.
    WordingScam,
}

impl Measure {
    /// How many.
    pub const COUNT: usize = 27;

    /// All, in the order of [`Heard::measures`].
    pub const ALL: [Measure; Self::COUNT] = [
        Self::LateOnset,
        Self::OnsetOver,
        Self::OnsetFirst,
        Self::OnsetReply,
        Self::Monologue,
        Self::LongMonologue,
        Self::TalkOver,
        Self::Yields,
        Self::Replies,
        Self::NoReply,
        Self::Evenness,
        Self::LongPauses,
        Self::Scam,
        Self::KeyPrompt,
        Self::CallBack,
        Self::Lawful,
        Self::Automated,
        Self::Talk,
        Self::ScamAndPrompt,
        Self::NothingKnown,
        Self::NoTalk,
        Self::KnownRecording,
        Self::PromptTalkedOn,
        Self::PromptYielded,
        Self::PromptAnswered,
        Self::WordingAutomated,
        Self::WordingScam,
    ];

    /// Name of its weight in the weights file.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::LateOnset => "late_onset",
            Self::OnsetOver => "onset_over",
            Self::OnsetFirst => "onset_first",
            Self::OnsetReply => "onset_reply",
            Self::Monologue => "monologue",
            Self::LongMonologue => "long_monologue",
            Self::TalkOver => "talk_over",
            Self::Yields => "yields",
            Self::Replies => "replies",
            Self::NoReply => "no_reply",
            Self::Evenness => "evenness",
            Self::LongPauses => "long_pauses",
            Self::Scam => "scam",
            Self::KeyPrompt => "key_prompt",
            Self::CallBack => "call_back",
            Self::Lawful => "lawful",
            Self::Automated => "automated",
            Self::Talk => "talk",
            Self::ScamAndPrompt => "scam_and_prompt",
            Self::NothingKnown => "nothing_known",
            Self::NoTalk => "no_talk",
            Self::KnownRecording => "known_recording",
            Self::PromptTalkedOn => "prompt_talked_on",
            Self::PromptYielded => "prompt_yielded",
            Self::PromptAnswered => "prompt_answered",
            Self::WordingAutomated => "wording_automated",
            Self::WordingScam => "wording_scam",
        }
    }
}

/// What was heard of the caller so far.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    onset: Option<(Duration, CalleeThen)>,
    monologue: Duration,
    talk_over: Duration,
    yields: u16,
    replies: u16,
    no_replies: u16,
    long_pauses: u16,
    levels: Levels,
    words: usize,
    /// Word runs over what sounded like speech.
    runs: u16,
    /// Highest confidence of one that gave words.
    said: f32,
    tones: u16,
    tone: Option<&'static str>,
    music: bool,
    recording: Option<Arc<str>>,
    /// Best weight of each phrase, with its meaning.
    phrases: BTreeMap<Arc<str>, (Meaning, f32)>,
    wording: Wording,
    prompts: Prompts,
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
    telling: [Arc<str>; 2],
}

/// Running mean and variance of talkspurt levels, in dB.
#[derive(Clone, Copy, Debug, Default)]
struct Levels {
    count: u16,
    mean: f32,
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

impl Heard {
    /// Adds one piece of evidence. Only the caller is judged; the callee's part is in the caller's findings.
    pub fn hear(&mut self, evidence: &Evidence) {
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
                // Numbers alone are what the recogniser makes of beeps.
                if *speech && text.chars().any(char::is_alphabetic) {
                    self.words = self.words.max(text.split_whitespace().count());
                    self.said = self.said.max(confidence.get());
                }
            }
            Finding::Phrase { phrase, meaning, weight, confidence } => {
                let heard = weight * confidence.get();
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
        // Two ears: what sounds like speech, and what has words in it. Music and tones can fool the first, and make the
        // second write words that it hardly believes.
        let doubtful = self.tones >= 2 || self.music;
        self.onset.is_some()
            && match (self.runs, doubtful) {
                (0, false) => true,
                (0, true) => self.monologue >= OUTLASTS_MUSIC,
                (_, false) => self.said > 0.0,
                (_, true) => self.said >= SURE,
            }
    }

    /// Why the class is `no_speech`.
    #[must_use]
    pub fn why_no_speech(&self) -> String {
        match (self.tone, self.music) {
            _ if self.onset.is_some() => "no words in what sounds a little like speech".to_owned(),
            (Some(tone), _) => format!("no speech, but a tone ({tone})"),
            (None, true) => "no speech, but music".to_owned(),
            (None, false) => "no speech".to_owned(),
        }
    }

    fn meaning(&self, wanted: Meaning) -> f32 {
        let sum: f32 = self.phrases.values().filter(|(meaning, _)| *meaning == wanted).map(|(_, weight)| weight).sum();
        (sum / PHRASE_SCALE).min(2.0)
    }

    /// The most that the scam sum may come to. A lawful recording may ask for a key or name a bank too, and a person who
    /// sells something may choose a scam's words: one sign alone earns a guard and no diversion. It takes a known
    /// recording, a call-back prompt, two phrases of scams, or two signs of different kinds: a phrase, a key prompt, a
    /// scam's wording. Wording that is certain beyond doubt is enough where the caller speaks on as machines do, and has said
    /// nothing that people say.
    #[must_use]
    pub fn most_scam(&self) -> f32 {
        let (phrases, wording) = (self.meaning(Meaning::Scam), self.wording.scam);
        let prompt = self.meaning(Meaning::KeyPrompt) > 0.0;
        let enough = self.recording.is_some()
            || self.meaning(Meaning::CallBack) > 0.0
            || phrases >= TWO_PHRASES
            || (phrases > 0.0 && (prompt || wording >= LIKELY_WORDING))
            || (prompt && wording >= SCAM_WORDING)
            || (wording >= CERTAIN_WORDING && self.monologue >= SPEAKS_ON && self.meaning(Meaning::Talk) <= 0.0);
        if enough { 1.0 } else { ONE_SIGN_ALONE }
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
            Measure::Scam => self.meaning(Meaning::Scam),
            Measure::KeyPrompt => self.meaning(Meaning::KeyPrompt),
            Measure::CallBack => self.meaning(Meaning::CallBack),
            Measure::Lawful => self.meaning(Meaning::Lawful),
            Measure::Automated => self.meaning(Meaning::Automated),
            Measure::Talk => self.meaning(Meaning::Talk),
            Measure::ScamAndPrompt => {
                self.meaning(Meaning::Scam).min(self.meaning(Meaning::KeyPrompt).max(self.meaning(Meaning::CallBack)))
            }
            Measure::NothingKnown => flag(self.words >= 8 && self.phrases.is_empty()),
            Measure::KnownRecording => flag(self.recording.is_some()),
            Measure::NoTalk if self.meaning(Meaning::Talk) > 0.0 => 0.0,
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
    pub fn describe(&self, measure: Measure) -> String {
        let seconds = |duration: Duration| format!("{:.1} s", duration.as_secs_f32());
        let after = self.onset.map_or_else(String::new, |(after, _)| seconds(after));
        let phrases = |wanted: Meaning| {
            let named = self.phrases.iter().filter(|(_, (meaning, _))| *meaning == wanted);
            named.map(|(name, _)| name.to_string()).collect::<Vec<_>>().join(", ")
        };
        let who = |odds: f32| if odds > 0.0 { "machines" } else { "people" };
        let which = |odds: f32| if odds > 0.0 { "scams" } else { "lawful recordings" };
        let said = |sum: usize| self.wording.telling.get(sum).cloned().unwrap_or_default();
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
            Measure::WordingAutomated => format!("chooses words as {} do: {}", who(self.wording.automated), said(0)),
            Measure::WordingScam => format!("chooses words as {} do: {}", which(self.wording.scam), said(1)),
            Measure::NoTalk => format!("{} words in a row without anything that people say", self.words),
        }
    }
}
