//! The same recording as before: fingerprints of the caller's audio, and a library of known ones.
//!
//! In: 20 ms frames. Out: one [`Word`] each 40 ms, 24 bits that say how neighbouring bands change from one moment to the
//! next (Haitsma and Kalker, "A Highly Robust Audio Fingerprinting System", ISMIR 2002). No audio can be made of them.
//! The same recording through another codec, level, noise or start offset keeps about four of five bits; two different
//! ones agree in half of them. A [`Matcher`] looks each word up, with its least certain bits flipped, and compares the
//! last seconds where it finds one.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::fmt::Write as _;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use rustfft::FftPlanner;

use super::spectrum::{Spectrum, Tables, sum};
use crate::audio::{FRAME_SAMPLES, widely};
use crate::units::{CallTime, Ratio};

/// Bits of a word: 25 bands, each compared with the next.
const BITS: usize = 24;

/// Samples of one word's window, at 4 kHz: 320 ms, so that a shifted start hardly matters.
const FRAMES: usize = 16;
/// Frames of a word, and of two windows that are one word apart.
const STEP: usize = 2;
const KEPT: usize = FRAMES + STEP;
const HALF_FRAME: usize = FRAME_SAMPLES / 2;
const WINDOW: usize = FRAMES * HALF_FRAME;
const SIZE: usize = 2_048;
const HZ_PER_BIN: f32 = 4_000.0 / SIZE as f32;

/// Bands lie between these, spaced evenly in pitch: what every telephone codec keeps.
const LOWEST_HZ: f32 = 320.0;
const HIGHEST_HZ: f32 = 1_800.0;

/// Of all calls: the transform's, and where bands begin and end in its bins.
static TABLES: LazyLock<Tables> = LazyLock::new(|| Tables::new(SIZE, WINDOW));
static EDGES: LazyLock<[usize; BITS + 2]> = LazyLock::new(|| {
    std::array::from_fn(|n| {
        let share = n as f32 / (BITS + 1) as f32;
        (LOWEST_HZ * (HIGHEST_HZ / LOWEST_HZ).powf(share) / HZ_PER_BIN) as usize
    })
});

/// A word lasts two frames.
const WORD: Duration = Duration::from_millis(40);

/// Words that are compared: 2.4 s at most, of which 1.4 s of speech at least.
const COMPARED: usize = 60;
const ENOUGH: usize = 36;

/// Share of differing bits up to which two stretches are the same recording. Of at least 860 compared bits of
/// different recordings about half differ; this few are out of reach of chance.
const SAME: f32 = 0.29;

/// Bits whose flips are looked up as well: the least certain ones.
const UNCERTAIN: usize = 6;

/// Places that one word is compared at.
const CANDIDATES: usize = 256;

/// Words kept of one recording: its first 20 s.
const LONGEST: usize = 500;

/// Recordings in a library; the oldest goes.
const MOST: usize = 1_024;

/// Level of a window, as the mean square of 16-bit samples, from which it counts as audible: about -50 dBov.
const AUDIBLE: f32 = 10_000.0;

/// One moment's fingerprint; None: too quiet to have one.
pub type Word = Option<u32>;

/// Makes words of one leg's frames.
pub struct Fingerprinter {
    spectrum: Spectrum<{ SIZE / 2 }>,
    /// The last two windows at 4 kHz, frame by frame, each in its turn.
    samples: Box<[[i16; HALF_FRAME]; KEPT]>,
    /// Sum of the squares of each of these.
    energies: [f32; KEPT],
    /// Where the next frame goes: the oldest of them.
    next: usize,
    /// Bands of the window before, if it was loud enough for anybody to have asked.
    before: Option<Bands>,
}

/// Energy of each band, as a logarithm.
type Bands = [f32; BITS + 1];

/// A word with what is needed to look it up.
#[derive(Clone, Copy, Debug, Default)]
pub struct Heard {
    /// The word.
    pub word: Word,
    /// How far each of its bits is from being the other.
    certainty: [f32; BITS],
}

impl Fingerprinter {
    /// Nothing heard yet.
    #[must_use]
    pub fn new(planner: &mut FftPlanner<f32>) -> Self {
        Self {
            spectrum: Spectrum::new(planner, &TABLES),
            samples: Box::new([[0; HALF_FRAME]; KEPT]),
            energies: [0.0; KEPT],
            next: 0,
            before: None,
        }
    }

    /// The next frame; each second one makes a word.
    pub fn frame(&mut self, samples: &[i16; FRAME_SAMPLES]) -> Option<Heard> {
        let (Some(half), Some(energy)) = (self.samples.get_mut(self.next), self.energies.get_mut(self.next)) else {
            return None;
        };
        widely(
            #[inline(always)]
            || {
                // Two neighbours averaged: enough of a filter below 1.8 kHz. What came as G.711 has no odd sums.
                for (slot, [a, b]) in half.iter_mut().zip(samples.as_chunks().0) {
                    *slot = a.midpoint(*b);
                }
                *energy = sum(&half.map(|sample| f32::from(sample) * f32::from(sample)));
            },
        );
        self.next = (self.next + 1) % KEPT;
        self.next.is_multiple_of(STEP).then(|| self.word())
    }

    /// Of the window that begins so many frames behind the oldest.
    fn bands(&self, from: usize) -> Bands {
        let edges = &*EDGES;
        let (newer, older) = self.samples.split_at(self.next);
        let older = older.get(from..).unwrap_or_default();
        let older = older.get(..FRAMES).unwrap_or(older);
        let newer = newer.get(..FRAMES - older.len()).unwrap_or_default();
        let (Some(&first), Some(&last)) = (edges.first(), edges.last()) else { return [0.0; BITS + 1] };
        self.spectrum.power([older.as_flattened(), newer.as_flattened()], first..last + 1, |power| {
            let mut bands = [0.0f32; BITS + 1];
            widely(
                #[inline(always)]
                || {
                    for (band, edge) in bands.iter_mut().zip(edges.windows(2)) {
                        let &[from, to] = edge else { continue };
                        *band = sum(power.get(from - first..to.max(from + 1) - first).unwrap_or_default());
                    }
                },
            );
            bands.map(|band| (band + 1.0).ln())
        })
    }

    fn word(&mut self) -> Heard {
        let oldest: f32 = self.energies.iter().skip(self.next).take(STEP).sum();
        if (sum(&self.energies) - oldest) / (WINDOW as f32) < AUDIBLE {
            self.before = None;
            return Heard::default();
        }
        let before = self.before.unwrap_or_else(|| self.bands(0));
        let bands = self.bands(STEP);
        let mut word = 0u32;
        let mut certainty = [0.0; BITS];
        let pairs = bands.windows(2).zip(before.windows(2)).zip(&mut certainty);
        for (bit, ((now, before), slot)) in pairs.enumerate() {
            if let ([now_low, now_high], [low, high]) = (now, before) {
                let change = (now_low - now_high) - (low - high);
                word |= u32::from(change > 0.0) << bit;
                *slot = change.abs();
            }
        }
        self.before = Some(bands);
        Heard { word: Some(word), certainty }
    }
}

impl Heard {
    /// Its least certain bits, the least certain one first; of equals the lower bit.
    fn uncertain(&self) -> [u32; UNCERTAIN] {
        let mut least = [(f32::INFINITY, 0u32); UNCERTAIN];
        for (bit, &certainty) in self.certainty.iter().enumerate() {
            let place = least.iter().position(|kept| certainty < kept.0).unwrap_or(UNCERTAIN);
            if let Some(behind) = least.get_mut(place..) {
                behind.rotate_right(usize::from(!behind.is_empty()));
                behind.first_mut().into_iter().for_each(|first| *first = (certainty, 1 << bit));
            }
        }
        least.map(|(_, bit)| bit)
    }

    /// The word with each set of its least certain bits flipped, itself first.
    fn variants(&self) -> impl Iterator<Item = u32> {
        let (word, uncertain) = (self.word.unwrap_or_default(), self.uncertain());
        let flipped = move |set: usize| {
            let bits = uncertain.iter().enumerate().filter(move |(n, _)| set & (1 << n) != 0);
            bits.fold(word, |word, (_, bit)| word ^ bit)
        };
        (0..1 << UNCERTAIN).map(flipped)
    }
}

/// A recording's fingerprint.
#[derive(Clone, Debug, PartialEq)]
pub struct Recording {
    /// Its name.
    pub name: Arc<str>,
    words: Arc<[Word]>,
}

impl Recording {
    /// From the words of a call; None if there is too little in it.
    #[must_use]
    pub fn new(name: &str, words: &[Word]) -> Option<Self> {
        let first = words.iter().position(Option::is_some)?;
        let words: Vec<Word> = words.iter().skip(first).take(LONGEST).copied().collect();
        let audible = words.iter().flatten().count();
        (audible >= ENOUGH).then(|| Self { name: Arc::from(name), words: Arc::from(words) })
    }

    /// One line: its name and its words.
    #[must_use]
    pub fn to_line(&self) -> String {
        let name: String =
            self.name.chars().map(|c| if c.is_whitespace() || c.is_control() { '_' } else { c }).collect();
        let mut line = format!("{name} ");
        for word in self.words.iter() {
            // Writing to a String cannot fail.
            let _ = match word {
                Some(word) => write!(line, "{word:06x}"),
                None => write!(line, "------"),
            };
        }
        line
    }

    /// Reads such a line.
    #[must_use]
    pub fn from_line(line: &str) -> Option<Self> {
        let (name, words) = line.trim().split_once(' ')?;
        if words.len() % 6 != 0 || words.len() > 6 * LONGEST || !words.is_ascii() {
            return None;
        }
        let mut read = Vec::new();
        for at in (0..words.len()).step_by(6) {
            match words.get(at..at + 6)? {
                "------" => read.push(None),
                hex => read.push(Some(u32::from_str_radix(hex, 16).ok()?)),
            }
        }
        Self::new(name, &read)
    }
}

/// Known recordings.
#[derive(Clone, Debug, Default)]
pub struct Library {
    /// Oldest first.
    recordings: VecDeque<Recording>,
    /// Number of the first one. Each has the next number, and those that went keep theirs.
    first: u32,
    /// Where each word stands: number of the recording and place, oldest first.
    places: HashMap<u32, Vec<(u32, u32)>>,
}

/// A file of known recordings that cannot be read.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("line {line} is no fingerprint (NAME and six hexadecimal digits for each 40 ms)")]
pub struct BadLibrary {
    /// Where.
    pub line: usize,
}

impl Library {
    /// Reads a file: one recording a line, the oldest first; `#` begins a remark. Of too many, the last are kept.
    pub fn parse(text: &str) -> Result<Self, BadLibrary> {
        let mut kept = VecDeque::new();
        for (number, line) in text.lines().enumerate() {
            if !line.trim().is_empty() && !line.starts_with('#') {
                kept.push_back(Recording::from_line(line).ok_or(BadLibrary { line: number + 1 })?);
                if kept.len() > MOST {
                    kept.pop_front();
                }
            }
        }
        let mut library = Self::default();
        kept.into_iter().for_each(|recording| library.add(recording));
        Ok(library)
    }

    /// Such a file without the recordings for which there is no room; None: there is room for all.
    #[must_use]
    pub fn without_oldest(text: &str) -> Option<String> {
        let is_recording = |line: &&str| !line.trim().is_empty() && !line.starts_with('#');
        let mut spare = text.lines().filter(is_recording).count().checked_sub(MOST).filter(|spare| *spare > 0)?;
        let kept = text.lines().filter(|line| {
            let goes = spare > 0 && is_recording(line);
            spare -= usize::from(goes);
            !goes
        });
        Some(kept.map(|line| format!("{line}\n")).collect())
    }

    /// As such a file.
    #[must_use]
    pub fn to_text(&self) -> String {
        self.recordings.iter().map(|recording| recording.to_line() + "\n").collect()
    }

    /// Adds a recording; the oldest goes where there is no room.
    pub fn add(&mut self, recording: Recording) {
        if self.recordings.len() >= MOST {
            self.forget_oldest();
        }
        let number = self.first.wrapping_add(self.recordings.len() as u32);
        for (place, word) in recording.words.iter().enumerate() {
            if let Some(word) = word {
                self.places.entry(*word).or_default().push((number, place as u32));
            }
        }
        self.recordings.push_back(recording);
    }

    fn forget_oldest(&mut self) {
        let Some(oldest) = self.recordings.pop_front() else { return };
        for word in oldest.words.iter().flatten() {
            if let Entry::Occupied(mut places) = self.places.entry(*word) {
                let its = places.get().iter().take_while(|(number, _)| *number == self.first).count();
                places.get_mut().drain(..its);
                if places.get().is_empty() {
                    places.remove();
                }
            }
        }
        self.first = self.first.wrapping_add(1);
    }

    /// Is this recording, or one that plays the same, in the library?
    #[must_use]
    pub fn knows(&self, recording: &Recording) -> bool {
        let mut matcher = Matcher::default();
        let plain = |word: &Word| Heard { word: *word, certainty: [f32::INFINITY; BITS] };
        recording.words.iter().any(|word| matcher.word(plain(word), self).is_some())
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.recordings.len()
    }

    /// None?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.recordings.is_empty()
    }
}

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
    pub fn word(&mut self, heard: Heard, library: &Library) -> Option<Match> {
        if self.is_full() {
            return None;
        }
        self.words.push(heard.word.unwrap_or(QUIET));
        heard.word?;
        if library.is_empty() {
            return None;
        }
        let places = heard.variants().filter_map(|variant| library.places.get(&variant)).flatten();
        for (number, place) in places.take(CANDIDATES) {
            let recording = library.recordings.get(number.wrapping_sub(library.first) as usize)?;
            if let Some(agreement) = self.agreement(&recording.words, *place as usize) {
                let offset = CallTime(WORD * (place + 1));
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    /// Something like speech: syllables of changing vowels, the same for the same seed.
    fn babble(seed: u64, seconds: usize) -> Vec<i16> {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut next = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1u64 << 24) as f32
        };
        let mut samples = Vec::new();
        while samples.len() < 8_000 * seconds {
            let (pitch, first, second) = (100.0 + 120.0 * next(), 350.0 + 500.0 * next(), 900.0 + 900.0 * next());
            let length = 800 + (1_200.0 * next()) as usize;
            for n in 0..length {
                let t = n as f32 / 8_000.0;
                let envelope = (std::f32::consts::PI * n as f32 / length as f32).sin();
                let wave = |hz: f32| (std::f32::consts::TAU * hz * t).sin();
                // Harmonics, strongest near two formants.
                let voice: f32 = (2..14)
                    .map(|k| {
                        let hz = pitch * k as f32;
                        let near = |formant: f32| 1.0 / (1.0 + ((hz - formant) / 150.0).powi(2));
                        (near(first) + 0.7 * near(second)) * wave(hz)
                    })
                    .sum();
                samples.push((envelope * voice * 4_000.0) as i16);
            }
        }
        samples
    }

    fn words(samples: &[i16]) -> Vec<Heard> {
        let mut printer = Fingerprinter::new(&mut FftPlanner::new());
        samples.chunks_exact(FRAME_SAMPLES).filter_map(|chunk| printer.frame(chunk.try_into().unwrap())).collect()
    }

    fn library(of: std::ops::Range<u64>) -> Library {
        let mut library = Library::default();
        for seed in of {
            let words: Vec<Word> = words(&babble(seed, 10)).iter().map(|heard| heard.word).collect();
            library.add(Recording::new(&format!("recording-{seed}"), &words).unwrap());
        }
        library
    }

    fn recognised(samples: &[i16], library: &Library) -> Option<(usize, Match)> {
        let mut matcher = Matcher::default();
        words(samples).into_iter().enumerate().find_map(|(n, heard)| Some((n, matcher.word(heard, library)?)))
    }

    #[test]
    fn the_same_recording_is_known_within_three_seconds_despite_offset_level_and_noise() {
        let library = library(1..20);
        let mut noise = babble(999, 10).into_iter();
        let again: Vec<i16> =
            babble(7, 10).into_iter().skip(8_123).map(|s| s / 3 + noise.next().unwrap_or(0) / 18).collect();

        let (word, found) = recognised(&again, &library).unwrap();

        assert_eq!(&*found.recording, "recording-7");
        assert!(word <= 75, "after {} ms", 40 * word);
    }

    #[test]
    fn other_recordings_are_not() {
        let library = library(1..40);

        for seed in 100..140 {
            assert_eq!(recognised(&babble(seed, 10), &library), None, "{seed}");
        }
    }

    #[test]
    fn a_library_survives_its_text_and_refuses_others() {
        let library = library(1..4);

        let again = Library::parse(&format!("# known ones\n\n{}", library.to_text())).unwrap();

        assert_eq!(again.to_text(), library.to_text());
        assert_eq!(Library::parse("x zzzzzz").unwrap_err(), BadLibrary { line: 1 });
        assert!(Library::parse("x 00").is_err() && Library::parse("nothing").is_err());
    }

    #[test]
    fn silence_has_no_fingerprint_and_a_full_library_forgets_the_oldest() {
        assert!(words(&[0; 16_000]).iter().all(|heard| heard.word.is_none()));
        let mut library = Library::default();
        let recording = |n: usize| Recording::new(&format!("{n}"), &vec![Some(n as u32); 50]).unwrap();
        (0..MOST + 3).for_each(|n| library.add(recording(n)));

        assert_eq!(library.len(), MOST);
        assert!(library.to_text().starts_with("3 "));
        assert_eq!([0, 2, 3, MOST + 2].map(|n| library.knows(&recording(n))), [false, false, true, true]);
        assert_eq!(library.places.len(), MOST, "and what it knew of their words");
    }

    #[test]
    fn a_file_with_too_many_recordings_is_read_from_its_end_and_cut_to_what_there_is_room_for() {
        let words = vec![Some(7); 50];
        let line = |n: usize| Recording::new(&format!("{n}"), &words).unwrap().to_line() + "\n";
        let text = |from: usize| "# known\n\n".to_owned() + &(from..MOST + 4).map(line).collect::<String>();

        let library = Library::parse(&text(0)).unwrap();

        assert_eq!(library.len(), MOST);
        assert_eq!(Library::without_oldest(&text(0)), Some(text(4)));
        assert_eq!(Library::without_oldest(&text(4)), None);
        assert_eq!(Library::parse(&text(4)).unwrap().to_text(), library.to_text());
    }
}
