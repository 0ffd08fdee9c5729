//! What the recogniser has heard: a text, and how far the audio bears out other words.

use std::sync::Arc;

use crate::units::Ratio;

/// A text in which the model has less confidence is noise or music.
const NO_SPEECH: f32 = 0.35;

/// What was said.
#[derive(Clone, Debug, PartialEq)]
pub struct Transcript {
    /// As the model writes it, with case and punctuation.
    pub text: String,
    /// Mean probability of its tokens.
    pub confidence: Ratio,
    /// Words in it that may be misheard, and what the audio says of each.
    pub weighed: Vec<Weighed>,
    /// Words that are not in it, though the audio bears them out.
    pub passed_over: Vec<PassedOver>,
}

/// Words that the model held for possible where it wrote others. What a robot says through a bad line is misheard in
/// more ways than a list can hold ("first one", "for us when"), but the right words are seldom far behind.
#[derive(Clone, Debug, PartialEq)]
pub struct PassedOver {
    /// The phrase that they belong to.
    pub phrase: Arc<str>,
    /// Their probability at the likeliest place.
    pub probability: Ratio,
}

/// A [`Doubt`](super::Doubt), with what the audio says of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Weighed {
    /// The phrase.
    pub phrase: Arc<str>,
    /// How much likelier the audio makes the other words than those of the transcript: natural logarithm of the ratio
    /// of both probabilities. It is mostly below 0, because the transcript is about the likeliest text there is.
    pub log_ratio: f32,
}

impl Transcript {
    /// Are these words that somebody said? Over noise and music the model writes what went with such sounds in its
    /// training data: thanks of video makers, note signs, one phrase over and over.
    #[must_use]
    pub fn is_speech(&self) -> bool {
        const FILLING: [&str; 14] = [
            "you",
            "thank",
            "thanks",
            "for",
            "watching",
            "so",
            "much",
            "oh",
            "bye",
            "music",
            "the",
            "and",
            "i",
            "transcript",
        ];
        let lower = self.text.to_lowercase();
        if lower.contains(['\u{266A}', '\u{266B}', '\u{00A9}']) || self.confidence < Ratio::clamped(NO_SPEECH) {
            return false;
        }
        let words: Vec<&str> = lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
        let mut distinct = words.clone();
        distinct.sort_unstable();
        distinct.dedup();
        let telling = distinct.iter().any(|word| !FILLING.contains(word));
        telling && (words.len() < 12 || 3 * distinct.len() >= words.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_model_writes_over_music_is_no_speech() {
        let said = |text: &str| {
            Transcript {
                text: text.to_owned(),
                confidence: Ratio::clamped(0.8),
                weighed: Vec::new(),
                passed_over: Vec::new(),
            }
            .is_speech()
        };

        for text in ["", "You", "Thank you for watching!", "\u{266A}\u{266A}", "\u{00A9} transcript Emily Beynon"] {
            assert!(!said(text), "{text}");
        }
        assert!(!said(&"I'm going to go to the hospital. ".repeat(4)));
        assert!(said("Hello?") && said("Thank you for holding.") && said("Can I have a coffee? Can I have a coffee?"));
    }
}
