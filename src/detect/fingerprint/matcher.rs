//! One call beside all known recordings.

use std::sync::Arc;
use std::time::Duration;

use super::{BITS, ENOUGH, LONGEST, Library, Probe, Word};
use crate::units::{CallTime, Ratio};

/// Words that are compared at most: 2.4 s.
const COMPARED: usize = 60;

/// A word lasts two frames.
const WORD: Duration = Duration::from_millis(40);

/// Share of differing bits up to which two stretches are the same recording. Of at least 860 compared bits of
/// different recordings about half differ; this few are out of reach of chance.
const SAME: f32 = 0.29;

/// Places that one word is compared at.
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
    /// Of the call, with [`QUIET`] where there is none: half the room of a [`Word`].
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

    /// No later word of the call is of use.
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
