//! Known recordings, and where each word stands in them.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::fmt::Write as _;
use std::sync::Arc;

use super::{ENOUGH, LONGEST, Matcher, Probe, Word};

/// Most recordings in a library; the oldest one that was learned makes room.
pub(super) const MOST: usize = 1_024;

/// Begins the names of recordings that were learned from calls. Others were put there by people.
pub const LEARNED: &str = "call-";

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

    fn is_learned(&self) -> bool {
        self.name.starts_with(LEARNED)
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
                // A sign is no digit.
                hex if hex.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
                    read.push(Some(u32::from_str_radix(hex, 16).ok()?));
                }
                _ => return None,
            }
        }
        Self::new(name, &read)
    }
}

/// Known recordings.
#[derive(Clone, Debug, Default)]
pub struct Library {
    /// By number, so the oldest first.
    recordings: BTreeMap<u32, Recording>,
    /// Number of the next one. No number is used again.
    next: u32,
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
    /// Reads a file: one recording a line, the oldest first; `#` begins a remark. Of too many, those are kept that
    /// [`Self::add`] would keep.
    pub fn parse(text: &str) -> Result<Self, BadLibrary> {
        let (library, bad) = Self::parse_damaged(text);
        bad.first().map_or(Ok(library), |&line| Err(BadLibrary { line }))
    }

    /// The same of a file that may be damaged: what is good in it, and the lines that are not.
    #[must_use]
    pub fn parse_damaged(text: &str) -> (Self, Vec<usize>) {
        let (mut kept, mut bad) = (VecDeque::new(), Vec::new());
        for (number, line) in text.lines().enumerate() {
            if !is_recording(line) {
                continue;
            }
            match Recording::from_line(line) {
                Some(recording) => kept.push_back(recording),
                None => bad.push(number + 1),
            }
            if kept.len() > MOST {
                kept.remove(kept.iter().position(Recording::is_learned).unwrap_or(0));
            }
        }
        let mut library = Self::default();
        kept.into_iter().for_each(|recording| library.add(recording));
        (library, bad)
    }

    /// The text of such a file without the oldest learned recordings, as far as there are too many in it; None: there
    /// is nothing to take out. What people put there stays, used or not.
    #[must_use]
    pub fn without_oldest(text: &str) -> Option<String> {
        let goes = |line: &&str| is_recording(line) && is_learned(line);
        let spare = text.lines().filter(|line| is_recording(line)).count().saturating_sub(MOST);
        let mut spare = text.lines().filter(goes).count().min(spare);
        if spare == 0 {
            return None;
        }
        let kept = text.lines().filter(|line| {
            let goes = spare > 0 && goes(line);
            spare -= usize::from(goes);
            !goes
        });
        Some(kept.map(|line| format!("{line}\n")).collect())
    }

    /// How many recordings of such a file there is no room for though people put them there.
    #[must_use]
    pub fn left_out(text: &str) -> usize {
        text.lines().filter(|line| is_recording(line) && !is_learned(line)).count().saturating_sub(MOST)
    }

    /// As such a file.
    #[cfg(test)]
    pub(crate) fn to_text(&self) -> String {
        self.recordings.values().map(|recording| recording.to_line() + "\n").collect()
    }

    /// Adds a recording. Where there is no room, the oldest that was learned goes. Without any of these, a learned one
    /// is not added, and for a person's the oldest goes.
    pub fn add(&mut self, recording: Recording) {
        if self.recordings.len() >= MOST {
            let learned = self.recordings.iter().find(|(_, known)| known.is_learned());
            let oldest = learned.or_else(|| self.recordings.first_key_value().filter(|_| !recording.is_learned()));
            let Some(number) = oldest.map(|(number, _)| *number) else { return };
            self.forget(number);
        }
        let number = self.next;
        self.next = number.wrapping_add(1);
        for (place, word) in recording.words.iter().enumerate() {
            if let Some(word) = word {
                self.places.entry(*word).or_default().push((number, place as u32));
            }
        }
        self.recordings.insert(number, recording);
    }

    fn forget(&mut self, number: u32) {
        let Some(recording) = self.recordings.remove(&number) else { return };
        let words: HashSet<u32> = recording.words.iter().flatten().copied().collect();
        for word in words {
            if let Entry::Occupied(mut places) = self.places.entry(word) {
                places.get_mut().retain(|(of, _)| *of != number);
                if places.get().is_empty() {
                    places.remove();
                }
            }
        }
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
        self.recordings.values().any(|recording| *recording.name == *name)
    }

    /// The same without the recordings of this name.
    #[must_use]
    pub fn without(&self, name: &str) -> Self {
        let mut library = Self::default();
        let others = self.recordings.values().filter(|recording| *recording.name != *name);
        others.for_each(|recording| library.add(recording.clone()));
        library
    }

    /// Where a word stands: recordings, and the place in each.
    pub(super) fn places(&self, word: u32) -> impl Iterator<Item = (&Recording, usize)> {
        self.places
            .get(&word)
            .into_iter()
            .flatten()
            .filter_map(|(number, place)| Some((self.recordings.get(number)?, *place as usize)))
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

/// Is this line of a file a recording, perhaps a damaged one?
fn is_recording(line: &str) -> bool {
    let line = line.trim_start();
    !line.is_empty() && !line.starts_with('#')
}

fn is_learned(line: &str) -> bool {
    line.trim_start().starts_with(LEARNED)
}
