//! One call beside all known recordings.

use std::sync::Arc;
use std::time::Duration;

use super::{BITS, ENOUGH, FRAMES, FRAMES_A_WORD, LONGEST, Library, Probe, Word};
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

/// So many frames of a word's window must be speech: half of them.
const MOSTLY: u32 = FRAMES as u32 / 2;

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
    /// Frames of which it is known whether they are speech.
    settled: usize,
    /// Whether each of the last of them is: a word's window.
    speech: u16,
    /// A word of speech has been kept.
    spoken: bool,
}

const _: () = assert!(FRAMES == u16::BITS as usize);

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

    /// `words` without what is also in a recording of `library`.
    #[must_use]
    pub fn unlike(words: &[Word], library: &Library) -> Vec<Word> {
        let (mut matcher, mut left) = (Self::default(), words.to_vec());
        for (n, word) in words.iter().enumerate() {
            if matcher.word(Probe::certain(*word), library).is_some() {
                let compared = (n + 1).saturating_sub(COMPARED)..=n;
                left.get_mut(compared).into_iter().flatten().for_each(|word| *word = None);
            }
        }
        left
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

    /// The call has had its first 20 s, counted from where its caller began to speak: later words are not used.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.words.len() >= LONGEST
    }

    /// Whether the next frame was the caller's speech, which is known a little later than its word. A word of what was
    /// not is forgotten.
    pub fn settle(&mut self, speech: bool) {
        self.settled += 1;
        self.speech = self.speech << 1 | u16::from(speech);
        if !self.settled.is_multiple_of(FRAMES_A_WORD) {
            return;
        }
        if self.speech.count_ones() >= MOSTLY {
            self.spoken = true;
        } else if let Some(word) = self.words.get_mut(self.settled / FRAMES_A_WORD - 1) {
            *word = QUIET;
        }
        // Whoever waits for a voice, in a menu or behind music, has not begun. What is compared is kept whole.
        if !self.spoken && self.settled > COMPARED * FRAMES_A_WORD && !self.words.is_empty() {
            self.words.remove(0);
            self.settled -= FRAMES_A_WORD;
        }
    }

    /// What has come in this time was no speech after all.
    pub fn forget(&mut self, last: Duration) {
        let count = (last.as_millis() / WORD.as_millis()) as usize;
        let from = self.words.len().saturating_sub(count);
        self.words.iter_mut().skip(from).for_each(|word| *word = QUIET);
        self.spoken = self.words.iter().any(|word| *word != QUIET);
        self.speech = 0;
    }

    /// All words of the call's speech, for a library.
    #[must_use]
    pub fn words(&self) -> Vec<Word> {
        let settled = self.words.iter().take(self.settled / FRAMES_A_WORD);
        settled.map(|&word| (word != QUIET).then_some(word)).collect()
    }
}
