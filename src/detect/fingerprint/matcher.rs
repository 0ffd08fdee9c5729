//! One call beside all known recordings.

use std::sync::Arc;
use std::time::Duration;

use super::{BITS, ENOUGH, FRAMES_A_WORD, LONGEST, Library, Probe, Word};
use crate::audio::FRAME_TIME;
use crate::units::{CallTime, Ratio};

/// Most words that are compared: 2.4 s.
const COMPARED: usize = 60;

/// Time from one word to the next.
const WORD: Duration = FRAME_TIME.saturating_mul(FRAMES_A_WORD as u32);

/// Share of differing bits up to which two stretches are the same recording. At least 860 bits are compared, of which
/// about half differ between two recordings: that so few do is out of reach of chance.
const SAME: f32 = 0.29;

/// Most places in the library at which one word of the call is compared.
const CANDIDATES: usize = 256;

/// What a call was recognised as.
#[derive(Clone, Debug, PartialEq)]
pub struct Match {
    /// The recording's name.
    pub recording: Arc<str>,
    /// Share of bits that agree.
    pub agreement: Ratio,
    /// How far into the recording the call is.
    pub offset: CallTime,
}

/// Compares one call with a library.
#[derive(Clone, Debug, Default)]
pub struct Matcher {
    /// Words of the call, [`QUIET`] where there is none: that takes half the memory of a [`Word`].
    words: Vec<u32>,
}

/// Stands for no word: a word has 24 bits.
const QUIET: u32 = u32::MAX;

impl Matcher {
    /// The next word of the call. Some: it is a known recording.
    pub fn word(&mut self, heard: Probe, library: &Library) -> Option<Match> {
        if self.is_full() {
            return None;
        }
        self.words.push(heard.word.unwrap_or(QUIET));
        heard.word?;
        if library.is_empty() {
            return None;
        }
        let places = heard.variants().flat_map(|variant| library.places(variant));
        for (recording, place) in places.take(CANDIDATES) {
            if let Some(agreement) = self.agreement(&recording.words, place) {
                let offset = CallTime(WORD * (place as u32 + 1));
                return Some(Match { recording: Arc::clone(&recording.name), agreement, offset });
            }
        }
        None
    }

    /// Agreement of the last words with `words` up to `place`, if it is that of the same recording.
    fn agreement(&self, words: &[Word], place: usize) -> Option<Ratio> {
        let known = words.get(..=place)?.iter().rev();
        let (mut compared, mut differing) = (0u32, 0u32);
        for (&a, b) in self.words.iter().rev().zip(known).take(COMPARED) {
            if let (true, Some(b)) = (a != QUIET, b) {
                compared += 1;
                differing += (a ^ b).count_ones();
            }
        }
        let share = differing as f32 / (compared.max(1) * BITS as u32) as f32;
        (compared as usize >= ENOUGH && share <= SAME).then(|| Ratio::clamped(1.0 - share))
    }

    /// The call has had its first 20 s: later words are not used.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.words.len() >= LONGEST
    }

    /// All words of the call, for a library.
    #[must_use]
    pub fn words(&self) -> Vec<Word> {
        self.words.iter().map(|&word| (word != QUIET).then_some(word)).collect()
    }
}
