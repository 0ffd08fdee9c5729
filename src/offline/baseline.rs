//! Rules that others use, on the same calls: what the ear is measured against.
//!
//! Asterisk's answering machine detection (`app_amd`, documented parameters and defaults), the longest-monologue rule,
//! and a key prompt heard as the only reason.

use serde::Serialize;

use super::hear::Heard;
use super::recording::Recording;
use crate::audio::{FRAME_SAMPLES, FRAME_TIME};
use crate::detect::evidence::{Finding, Meaning};
use crate::units::Leg;

/// What the rules say of one call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Baseline {
    /// AMD says "machine".
    pub amd_machine: bool,
    /// Speech with gaps under 0.7 s lasted 6 s or more.
    pub monologue: bool,
    /// A prompt to press a key was heard.
    pub key_prompt: bool,
}

/// Parameters of AMD as documented, in milliseconds; `silence_threshold` is a mean amplitude.
struct Amd {
    initial_silence: u32,
    greeting: u32,
    after_greeting_silence: u32,
    total_analysis_time: u32,
    min_word_length: u32,
    between_words_silence: u32,
    maximum_number_of_words: u32,
    maximum_word_length: u32,
    silence_threshold: u32,
}

const DEFAULTS: Amd = Amd {
    initial_silence: 2_500,
    greeting: 1_500,
    after_greeting_silence: 800,
    total_analysis_time: 5_000,
    min_word_length: 100,
    between_words_silence: 50,
    maximum_number_of_words: 2,
    maximum_word_length: 5_000,
    silence_threshold: 256,
};

impl Baseline {
    /// Of one call.
    #[must_use]
    pub fn of(recording: &Recording, heard: &Heard) -> Self {
        let of_caller = || heard.evidence.iter().filter(|evidence| evidence.leg == Leg::Caller);
        let monologue = |finding: &Finding| matches!(finding, Finding::Monologue { length } if length.as_secs() >= 6);
        let prompt = |finding: &Finding| matches!(finding, Finding::Phrase { meaning: Meaning::KeyPrompt, .. });
        Self {
            amd_machine: DEFAULTS.says_machine(&recording.caller),
            monologue: of_caller().any(|evidence| monologue(&evidence.finding)),
            key_prompt: of_caller().any(|evidence| prompt(&evidence.finding)),
        }
    }
}

impl Amd {
    /// Voice and silence are counted in frames of 20 ms; the first rule that is met decides. "Not sure" is no machine.
    fn says_machine(&self, caller: &[i16]) -> bool {
        const FRAME_MS: u32 = FRAME_TIME.as_millis() as u32;
        let (mut silence, mut voice, mut word, mut words, mut total) = (0, 0, 0, 0, 0);
        let (mut initial, mut greeting, mut in_silence) = (true, false, true);
        for frame in caller.chunks_exact(FRAME_SAMPLES) {
            total += FRAME_MS;
            if total >= self.total_analysis_time {
                return false;
            }
            let sum: u32 = frame.iter().map(|sample| u32::from(sample.unsigned_abs())).sum();
            if sum / (FRAME_SAMPLES as u32) < self.silence_threshold {
                silence += FRAME_MS;
                if silence >= self.between_words_silence {
                    (in_silence, word) = (true, 0);
                }
                if initial && silence >= self.initial_silence {
                    return true;
                }
                if greeting && silence >= self.after_greeting_silence {
                    return false;
                }
                continue;
            }
            (silence, voice, word) = (0, voice + FRAME_MS, word + FRAME_MS);
            if word >= self.min_word_length && in_silence {
                words += 1;
                in_silence = false;
            }
            let long = word >= self.maximum_word_length || (greeting && voice >= self.greeting);
            if long || words > self.maximum_number_of_words {
                return true;
            }
            if word >= self.min_word_length {
                (initial, greeting) = (false, true);
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Milliseconds of voice, silence, voice, ...
    fn says(pattern: &[u32]) -> bool {
        let mut samples = Vec::new();
        for (n, ms) in pattern.iter().enumerate() {
            samples.resize(samples.len() + (*ms as usize) * 8, if n % 2 == 0 { 2_000 } else { 0 });
        }
        DEFAULTS.says_machine(&samples)
    }

    #[test]
    fn a_short_greeting_is_a_person_and_a_long_one_a_machine() {
        assert!(!says(&[600, 1_000]));
        assert!(says(&[2_000, 1_000]));
        assert!(says(&[0, 3_000]));
        assert!(says(&[200, 100, 200, 100, 200, 100]));
    }
}
