//! What a detector has found: a finding with its leg and the time from which a decision may use it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use super::screening::Screened;
use super::tone::Tone;
use crate::units::{CallTime, Dbov, Leg, Ratio};

/// A finding with its leg and time.
#[derive(Clone, Debug, PartialEq)]
pub struct Evidence {
    /// When it became known, which is later than when it began. A decision may use it from then on.
    pub at: CallTime,
    /// Whose audio it was found in.
    pub leg: Leg,
    /// What was found.
    pub finding: Finding,
}

/// What the words of a phrase say about a call.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Meaning {
    /// Openings of known frauds: a charge nobody made, a warrant, a suspended number.
    Scam,
    /// Asks for a key: "press one".
    KeyPrompt,
    /// Asks to call a number back.
    CallBack,
    /// Says what lawful automated calls say: reminders, deliveries, outages.
    Lawful,
    /// Says that a machine speaks, lawful or not: "to hear this message again".
    Automated,
    /// What only a person says: hesitations, answers, small talk.
    Talk,
}

impl Meaning {
    /// All of them.
    pub const ALL: [Meaning; 6] =
        [Self::Scam, Self::KeyPrompt, Self::CallBack, Self::Lawful, Self::Automated, Self::Talk];

    /// Fixed word, as in the phrase file.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Scam => "scam",
            Self::KeyPrompt => "key_prompt",
            Self::CallBack => "call_back",
            Self::Lawful => "lawful",
            Self::Automated => "automated",
            Self::Talk => "talk",
        }
    }
}

/// What the callee was doing at the caller's onset.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CalleeThen {
    /// Had not spoken yet.
    Silent,
    /// Was speaking.
    Speaking,
    /// Had finished this long ago.
    Finished(Duration),
}

/// What a detector has measured. Whether it is suspicious is for `policy` to say.
#[derive(Clone, Debug, PartialEq)]
pub enum Finding {
    /// First speech of the leg.
    Onset {
        /// Since the answer.
        after_answer: Duration,
        /// The caller's only: what the callee was doing.
        callee: CalleeThen,
    },
    /// A talkspurt has ended.
    Talkspurt {
        /// Start, since the answer.
        from: CallTime,
        /// End, since the answer.
        to: CallTime,
        /// Mean.
        level: Dbov,
    },
    /// A pause between two talkspurts has ended.
    Pause {
        /// How long it was.
        length: Duration,
    },
    /// Speech with only breath gaps goes on.
    Monologue {
        /// So far.
        length: Duration,
    },
    /// The caller spoke on while the callee was speaking.
    TalkOver {
        /// So far.
        length: Duration,
    },
    /// The caller fell silent for the callee.
    Yield {
        /// After the callee had begun.
        after: Duration,
    },
    /// The caller replied to the callee.
    Reply {
        /// After the callee's turn.
        delay: Duration,
    },
    /// The callee spoke, and the caller did not reply.
    NoReply,
    /// What the caller did about a prompt that was played to it.
    Screened {
        /// Yielded to it, answered it, talked on, or nothing.
        screened: Screened,
    },
    /// A tone has ended.
    Tone {
        /// Which.
        tone: Tone,
    },
    /// Music is on.
    Music,
    /// The caller's audio is that of a known recording.
    KnownRecording {
        /// Its name in the library.
        recording: Arc<str>,
        /// Share of fingerprint bits that agree.
        agreement: Ratio,
        /// How far into the recording the call was.
        offset: CallTime,
    },
    /// Words recognised in one window of the caller's audio.
    Words {
        /// As recognised.
        text: Arc<str>,
        /// Start of the window.
        from: CallTime,
        /// Its end.
        to: CallTime,
        /// Mean probability of the words.
        confidence: Ratio,
        /// Somebody said them. Over noise or music the model makes words up.
        speech: bool,
    },
    /// A phrase of the phrase file.
    Phrase {
        /// Its name in the phrase file.
        phrase: Arc<str>,
        /// What it says about the call.
        meaning: Meaning,
        /// Log-odds that the phrase file gives to its meaning.
        weight: f32,
        /// How surely it was heard.
        confidence: Ratio,
    },
    /// What all words so far say by their choice.
    Wording {
        /// Log-odds that a machine speaks.
        automated: f32,
        /// Log-odds that, if a machine speaks, it is a scam's.
        scam: f32,
        /// The terms that moved `automated` and `scam` most.
        telling: [Arc<str>; 2],
    },
}

impl Finding {
    /// Fixed word for timelines and metrics.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Onset { .. } => "onset",
            Self::Talkspurt { .. } => "talkspurt",
            Self::Pause { .. } => "pause",
            Self::Monologue { .. } => "monologue",
            Self::TalkOver { .. } => "talk_over",
            Self::Yield { .. } => "yield",
            Self::Reply { .. } => "reply",
            Self::NoReply => "no_reply",
            Self::Screened { .. } => "screened",
            Self::Tone { .. } => "tone",
            Self::Music => "music",
            Self::KnownRecording { .. } => "known_recording",
            Self::Words { .. } => "words",
            Self::Phrase { .. } => "phrase",
            Self::Wording { .. } => "wording",
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |d: &Duration| format!("{:.1} s", d.as_secs_f32());
        match self {
            Self::Onset { after_answer, callee } => {
                write!(f, "first speech {} after the answer, ", seconds(after_answer))?;
                match callee {
                    CalleeThen::Silent => f.write_str("before the callee had spoken"),
                    CalleeThen::Speaking => f.write_str("while the callee was speaking"),
                    CalleeThen::Finished(ago) => write!(f, "{} after the callee", seconds(ago)),
                }
            }
            Self::Talkspurt { from, to, level } => {
                write!(f, "spoke for {} at {level}", seconds(&to.since(*from)))
            }
            Self::Pause { length } => write!(f, "paused for {}", seconds(length)),
            Self::Monologue { length } => write!(f, "has spoken for {} with only breaths", seconds(length)),
            Self::TalkOver { length } => write!(f, "spoke over the callee for {}", seconds(length)),
            Self::Yield { after } => write!(f, "fell silent {} after the callee began", seconds(after)),
            Self::Reply { delay } => write!(f, "replied after {}", seconds(delay)),
            Self::NoReply => f.write_str("did not reply to the callee"),
            Self::Tone { tone } => write!(f, "tone: {}", tone.label()),
            Self::Screened { screened } => match screened {
                Screened::Yielded { after } => write!(f, "yielded to the prompt after {}", seconds(after)),
                Screened::Answered { delay } => write!(f, "answered the prompt after {}", seconds(delay)),
                Screened::TalkedOn { length } => write!(f, "talked on over the prompt for {}", seconds(length)),
                Screened::Silent => f.write_str("said nothing to the prompt"),
            },
            Self::Music => f.write_str("music"),
            Self::KnownRecording { recording, agreement, offset } => {
                write!(f, "known recording `{recording}` ({agreement}, {offset} into it)")
            }
            Self::Words { text, speech: true, .. } => write!(f, "words: \"{text}\""),
            Self::Words { text, speech: false, .. } => write!(f, "no words (the model wrote \"{text}\")"),
            Self::Phrase { phrase, meaning, confidence, .. } => {
                write!(f, "phrase `{phrase}` ({}, {confidence})", meaning.label())
            }
            Self::Wording { automated, scam, telling: [of_automated, of_scam] } => {
                write!(f, "wording: machine {automated:+.1} ({of_automated}), scam {scam:+.1} ({of_scam})")
            }
        }
    }
}
