//! Known recordings, and where each word stands in them.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::fmt::Write as _;
use std::sync::Arc;

use super::{ENOUGH, LONGEST, Matcher, Probe, Word};

/// Most recordings in a library; the oldest one makes room.
pub(super) const MOST: usize = 1_024;

/// A recording's fingerprint.
#[derive(Clone, Debug, PartialEq)]
pub struct Recording {
    /// Its name.
    pub name: Arc<str>,
    pub(super) words: Arc<[Word]>,
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
        // A line that begins with # is a remark.
        let is_other = |(n, c): (usize, char)| c.is_whitespace() || c.is_control() || (n == 0 && c == '#');
        let name: String = self.name.char_indices().map(|(n, c)| if is_other((n, c)) { '_' } else { c }).collect();
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
    /// Number of the first one. Each recording has the next number, and no number is used again.
    first: u32,
    /// Where each word stands: numbers of recordings, and the place in each; the oldest first.
    pub(super) places: HashMap<u32, Vec<(u32, u32)>>,
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
        let (library, bad) = Self::parse_damaged(text);
        bad.first().map_or(Ok(library), |&line| Err(BadLibrary { line }))
    }

    /// The same of a file that may be damaged: what is good in it, and the lines that are not.
    #[must_use]
    pub fn parse_damaged(text: &str) -> (Self, Vec<usize>) {
        let (mut kept, mut bad) = (VecDeque::new(), Vec::new());
        for (number, line) in text.lines().enumerate() {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            match Recording::from_line(line) {
                Some(recording) => kept.push_back(recording),
                None => bad.push(number + 1),
            }
            if kept.len() > MOST {
                kept.pop_front();
            }
        }
        let mut library = Self::default();
        kept.into_iter().for_each(|recording| library.add(recording));
        (library, bad)
    }

    /// The text of such a file without the recordings for which there is no room; None: there is room for all.
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

    /// Is this recording, or another copy of it, in the library?
    #[must_use]
    pub fn knows(&self, recording: &Recording) -> bool {
        self.copy_of(recording).is_some()
    }

    /// The name of the recording that is this one, or another copy of it.
    #[must_use]
    pub fn copy_of(&self, recording: &Recording) -> Option<Arc<str>> {
        let mut matcher = Matcher::default();
        recording.words.iter().find_map(|word| Some(matcher.word(Probe::certain(*word), self)?.recording))
    }

    /// Is there one of this name?
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.recordings.iter().any(|recording| *recording.name == *name)
    }

    /// The same without the recordings of this name.
    #[must_use]
    pub fn without(&self, name: &str) -> Self {
        let mut library = Self::default();
        let others = self.recordings.iter().filter(|recording| *recording.name != *name);
        others.for_each(|recording| library.add(recording.clone()));
        library
    }

    /// Where a word stands: recordings, and the place in each.
    pub(super) fn places(&self, word: u32) -> impl Iterator<Item = (&Recording, usize)> {
        self.places.get(&word).into_iter().flatten().filter_map(|(number, place)| {
            let recording = self.recordings.get(number.wrapping_sub(self.first) as usize)?;
            Some((recording, *place as usize))
        })
    }

    /// How many recordings there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.recordings.len()
    }

    /// Are there none?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.recordings.is_empty()
    }
}
