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

/// What is thought, without the reasons for it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Opinion {
    /// The most probable class.
    pub class: Class,
    /// Of each class, in the order of [`Class::ALL`]; they add up to 1.
    pub probabilities: [Ratio; 4],
}

impl Opinion {
    /// Of a call whose caller has not spoken.
    pub const NOBODY: Opinion =
        Opinion { class: Class::NoSpeech, probabilities: [Ratio::ONE, Ratio::ZERO, Ratio::ZERO, Ratio::ZERO] };

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

    /// Another class than before, or a probability that is another by this much.
    #[must_use]
    pub fn has_moved(&self, before: &Self, by: f32) -> bool {
        let away = |(a, b): (&Ratio, &Ratio)| (a.get() - b.get()).abs() >= by;
        self.class != before.class || self.probabilities.iter().zip(&before.probabilities).any(away)
    }
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
    /// Without its reasons.
    #[must_use]
    pub fn opinion(&self) -> Opinion {
        Opinion { class: self.class, probabilities: self.probabilities }
    }

    /// Probability of one class.
    #[must_use]
    pub fn of(&self, class: Class) -> Ratio {
        self.opinion().of(class)
    }
}
