//! What is thought of a call at one time: a class, probabilities, and the reasons for them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::units::{CallTime, Ratio};

/// What kind of caller it is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub enum Class {
    /// Nobody speaks. Silence is never `Live`.
    NoSpeech,
    /// A person.
    Live,
    /// Automated, and nothing says scam.
    Recorded,
    /// Automated, and asks for a key or a call back the way scams do.
    PressKey,
}

impl Class {
    /// All, in the order of [`Verdict::probabilities`].
    pub const ALL: [Class; 4] = [Class::NoSpeech, Class::Live, Class::Recorded, Class::PressKey];

    /// Fixed word for records and metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::NoSpeech => "no_speech",
            Self::Live => "live",
            Self::Recorded => "recorded",
            Self::PressKey => "press_key",
        }
    }
}

/// One contribution to a verdict.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Reason {
    /// What was measured, in words.
    pub text: Arc<str>,
    /// Name of its weight.
    pub weight: Arc<str>,
    /// What it adds, in natural log-odds.
    pub log_odds: f32,
}

/// What we think of a call at one time.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Verdict {
    /// When.
    pub at: CallTime,
    /// The most probable class.
    pub class: Class,
    /// Of each class, in the order of [`Class::ALL`]; they add up to 1.
    pub probabilities: [Ratio; 4],
    /// Strongest first.
    pub reasons: Vec<Reason>,
}

impl Verdict {
    /// Probability of one class.
    #[must_use]
    pub fn of(&self, class: Class) -> Ratio {
        let [no_speech, live, recorded, press_key] = self.probabilities;
        match class {
            Class::NoSpeech => no_speech,
            Class::Live => live,
            Class::Recorded => recorded,
            Class::PressKey => press_key,
        }
    }
}
