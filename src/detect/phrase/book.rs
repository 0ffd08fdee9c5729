//! The phrase file: what words mean is data.
//!
//! In: text of the recogniser. Out: the phrases in it, with their meaning.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::sync::{Arc, LazyLock};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::pattern::{Token, ends, first_tokens, is_digit, learn, matches, read};
use super::text::{normalise, spans};
use crate::detect::evidence::Meaning;
use crate::units::Ratio;

/// The phrase file that is shipped.
const BUILT_IN: &str = include_str!("../../../config/phrases/en.toml");

/// Confidence in a phrase that is found only once misheard words are corrected.
const MISHEARD: f32 = 0.6;

/// A phrase that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct FoundPhrase {
    /// Its name.
    pub phrase: Arc<str>,
    /// What it says about the call.
    pub meaning: Meaning,
    /// Log-odds towards the meaning.
    pub weight: f32,
    /// 1 where the words were recognised as such, less where they only sound like them.
    pub confidence: Ratio,
}

/// Why a phrase file is not used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BookError {
    /// Not TOML, or of another shape.
    #[error("{0}")]
    Shape(String),
    /// A pattern cannot be read.
    #[error("phrase `{phrase}`: pattern \"{pattern}\": {why}")]
    Pattern {
        /// Of which phrase.
        phrase: String,
        /// The pattern.
        pattern: String,
        /// What is wrong.
        why: &'static str,
    },
    /// A number is out of range.
    #[error("phrase `{phrase}`: weight is 0 to 20 and confidence 0 to 1")]
    Range {
        /// Of which phrase.
        phrase: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    phrase: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    #[serde(deserialize_with = "meaning")]
    meaning: Meaning,
    weight: f32,
    #[serde(default = "certain")]
    confidence: f32,
    say: Vec<String>,
    /// What was really said, where the patterns are what the recogniser makes of it. The audio is asked which of them
    /// it is.
    instead: Option<String>,
    /// The phrase does not count where one of these stands within six words before it.
    #[serde(default)]
    not_after: Vec<String>,
}

fn certain() -> f32 {
    1.0
}

fn meaning<'de, D: Deserializer<'de>>(from: D) -> Result<Meaning, D::Error> {
    let label = String::deserialize(from)?;
    Meaning::ALL.into_iter().find(|meaning| meaning.label() == label).ok_or_else(|| {
        let labels = Meaning::ALL.map(|meaning| format!("`{}`", meaning.label())).join(", ");
        D::Error::custom(format!("unknown meaning `{label}`, expected one of {labels}"))
    })
}

#[derive(Debug)]
struct Phrase {
    name: Arc<str>,
    meaning: Meaning,
    weight: f32,
    confidence: Ratio,
    not_after: Vec<Vec<Token>>,
}

/// Words that the recogniser may have misheard.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Instead {
    /// The phrase that they belong to.
    pub phrase: Arc<str>,
    /// The words.
    pub words: Vec<String>,
    /// The phrase's place.
    index: usize,
}

impl Phrase {
    fn found(&self) -> FoundPhrase {
        FoundPhrase {
            phrase: Arc::clone(&self.name),
            meaning: self.meaning,
            weight: self.weight,
            confidence: self.confidence,
        }
    }
}

/// Words of a text that may be misheard, and which words they may have been.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Doubt {
    /// The phrase that they were found for.
    pub phrase: Arc<str>,
    /// Where they stand in the text, in bytes.
    pub said: Range<usize>,
    /// The words that they may have been.
    pub instead: Vec<String>,
}

/// Phrases, ready to be found.
#[derive(Debug)]
pub struct Book {
    phrases: Vec<Phrase>,
    /// What phrases with misheard words stand for.
    instead: Vec<Instead>,
    /// Patterns with their phrase.
    patterns: Vec<(usize, Vec<Token>)>,
    /// Patterns that may begin with a word.
    by_word: HashMap<Box<str>, Vec<usize>>,
    /// Patterns that may begin with a digit.
    by_digit: Vec<usize>,
    /// Every word of every pattern, in order.
    vocabulary: BTreeSet<Box<str>>,
}

impl Book {
    /// Reads a phrase file.
    pub fn parse(text: &str) -> Result<Self, BookError> {
        let file: File = toml::from_str(text).map_err(|error| BookError::Shape(error.to_string().trim().to_owned()))?;
        let mut book = Self::empty();
        for entry in file.phrase {
            let bad = |pattern: &str, why| BookError::Pattern {
                phrase: entry.name.clone(),
                pattern: pattern.to_owned(),
                why,
            };
            for pattern in &entry.say {
                let tokens = read(pattern).map_err(|why| bad(pattern, why))?;
                book.add(tokens).map_err(|why| bad(pattern, why))?;
            }
            let mut not_after = Vec::new();
            for pattern in &entry.not_after {
                let tokens = read(pattern).map_err(|why| bad(pattern, why))?;
                // It would hold wherever the phrase stands.
                if matches(&tokens, &[], 0) {
                    return Err(bad(pattern, "it may match nothing at all"));
                }
                not_after.push(tokens);
            }
            if !(0.0..=20.0).contains(&entry.weight) || !(0.0..=1.0).contains(&entry.confidence) {
                return Err(BookError::Range { phrase: entry.name });
            }
            let (phrase, index) = (Arc::<str>::from(entry.name), book.phrases.len());
            if let Some(words) = entry.instead {
                let words = words.split_whitespace().map(str::to_owned).collect();
                book.instead.push(Instead { phrase: Arc::clone(&phrase), words, index });
            }
            book.phrases.push(Phrase {
                name: phrase,
                meaning: entry.meaning,
                weight: entry.weight,
                confidence: Ratio::clamped(entry.confidence),
                not_after,
            });
        }
        Ok(book)
    }

    fn empty() -> Self {
        Self {
            phrases: Vec::new(),
            instead: Vec::new(),
            patterns: Vec::new(),
            by_word: HashMap::new(),
            by_digit: Vec::new(),
            vocabulary: BTreeSet::new(),
        }
    }

    /// Adds a pattern to the phrase that comes next.
    fn add(&mut self, tokens: Vec<Token>) -> Result<(), &'static str> {
        let index = self.patterns.len();
        for first in firsts(&tokens)? {
            match first {
                First::Word(word) => self.by_word.entry(word.into()).or_default().push(index),
                First::Digit => self.by_digit.push(index),
            }
        }
        learn(&tokens, &mut self.vocabulary);
        self.patterns.push((self.phrases.len(), tokens));
        Ok(())
    }

    /// The one that is shipped.
    #[must_use]
    pub fn built_in() -> Arc<Self> {
        #[expect(clippy::expect_used, reason = "a test reads it, and without it no scam would be known by its words")]
        static BOOK: LazyLock<Arc<Book>> =
            LazyLock::new(|| Arc::new(Book::parse(BUILT_IN).expect("the phrase file in this program can be read")));
        Arc::clone(&BOOK)
    }

    /// Phrases in `text`, each once. What is only there when misheard words are set right counts less.
    #[must_use]
    pub fn hear(&self, text: &str) -> Vec<FoundPhrase> {
        let words = normalise(text);
        let heard = self.find(&words);
        let corrected: Vec<String> = words.iter().map(|word| self.corrected(word)).collect();
        if corrected == words {
            return heard;
        }
        let mut all = heard;
        for mut more in self.find(&corrected) {
            if all.iter().all(|known| known.phrase != more.phrase) {
                more.confidence = Ratio::clamped(more.confidence.get() * MISHEARD);
                all.push(more);
            }
        }
        all
    }

    /// Words of `text` that may have been others, each phrase once.
    #[must_use]
    pub fn doubts(&self, text: &str) -> Vec<Doubt> {
        let spans = spans(text);
        let words: Vec<String> = spans.iter().map(|(word, _)| word.clone()).collect();
        let mut doubts: Vec<Doubt> = Vec::new();
        for start in 0..words.len() {
            for (phrase, tokens) in self.beginning(&words, start) {
                let instead = self.instead.iter().find(|instead| instead.index == *phrase);
                let Some(Instead { phrase: name, words: instead, .. }) = instead else { continue };
                let known = doubts.iter().any(|doubt| doubt.phrase == *name);
                let end = ends(tokens, &words, &[start]).first().copied();
                if let (false, false, Some(end)) = (known, self.excluded(*phrase, &words, start), end)
                    && let (Some((_, first)), Some((_, last))) = (spans.get(start), spans.get(end - 1))
                {
                    let said = first.start..last.end;
                    doubts.push(Doubt { phrase: Arc::clone(name), said, instead: instead.clone() });
                }
            }
        }
        doubts
    }

    /// What the recogniser may have misheard, whatever it wrote.
    pub fn instead(&self) -> impl Iterator<Item = &Instead> {
        self.instead.iter()
    }

    /// Does a phrase of that name count behind these words?
    #[must_use]
    pub fn counts_behind(&self, phrase: &str, before: &str) -> bool {
        let words = normalise(before);
        self.phrases
            .iter()
            .position(|known| *known.name == *phrase)
            .is_some_and(|n| !self.excluded(n, &words, words.len()))
    }

    /// The phrase of that name, as if it were heard for certain.
    #[must_use]
    pub fn named(&self, phrase: &str) -> Option<FoundPhrase> {
        let known = self.phrases.iter().find(|known| *known.name == *phrase)?;
        Some(FoundPhrase { confidence: Ratio::ONE, ..known.found() })
    }

    /// Patterns that may begin at a word.
    fn beginning<'a>(&'a self, words: &[String], start: usize) -> impl Iterator<Item = &'a (usize, Vec<Token>)> {
        let first = words.get(start).map(String::as_str).unwrap_or_default();
        let by_word = self.by_word.get(first).map(Vec::as_slice).unwrap_or_default();
        let by_digit = if is_digit(first) { self.by_digit.as_slice() } else { &[] };
        by_word.iter().chain(by_digit).filter_map(|index| self.patterns.get(*index))
    }

    /// A long word that the phrase file does not know, replaced by the nearest one that it knows.
    fn corrected(&self, word: &str) -> String {
        let slips = match word.len() {
            0..6 => return word.to_owned(),
            6..9 => 1,
            _ => 2,
        };
        if self.vocabulary.contains(word) {
            return word.to_owned();
        }
        let near = |known: &&str| known.len().abs_diff(word.len()) <= slips && known.len() >= 6;
        let known = self.vocabulary.iter().map(|word| &**word);
        let distances = known.filter(near).map(|known| (strsim::osa_distance(known, word), known));
        match distances.filter(|(distance, _)| *distance <= slips).min() {
            Some((_, known)) => known.to_owned(),
            None => word.to_owned(),
        }
    }

    fn find(&self, words: &[String]) -> Vec<FoundPhrase> {
        let mut found = vec![false; self.phrases.len()];
        for start in 0..words.len() {
            for (phrase, tokens) in self.beginning(words, start) {
                if let Some(found) = found.get_mut(*phrase)
                    && !*found
                    && matches(tokens, words, start)
                    && !self.excluded(*phrase, words, start)
                {
                    *found = true;
                }
            }
        }
        let heard = self.phrases.iter().zip(found).filter(|(_, found)| *found).map(|(phrase, _)| phrase);
        heard.map(Phrase::found).collect()
    }

    /// Does a phrase that begins at `start` stand behind words after which it does not count?
    fn excluded(&self, phrase: usize, words: &[String], start: usize) -> bool {
        let Some(phrase) = self.phrases.get(phrase) else { return false };
        let from = start.saturating_sub(6);
        let before = words.get(from..start).unwrap_or_default();
        phrase.not_after.iter().any(|tokens| (0..before.len()).any(|n| matches(tokens, before, n)))
    }
}

/// What a match may begin with.
enum First<'a> {
    Word(&'a str),
    Digit,
}

/// All of that for a pattern. One that may match nothing matches everywhere.
fn firsts(tokens: &[Token]) -> Result<Vec<First<'_>>, &'static str> {
    fn first(token: &Token) -> Result<First<'_>, &'static str> {
        match token {
            Token::Word(word) => Ok(First::Word(word)),
            Token::Digit => Ok(First::Digit),
            Token::Gap | Token::Any(_) => Err("it must begin with a word"),
        }
    }
    let mut firsts = Vec::new();
    if first_tokens(tokens, &mut firsts) {
        return Err("it may match nothing at all");
    }
    firsts.into_iter().map(first).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn meanings(text: &str) -> Vec<Meaning> {
        let mut meanings: Vec<Meaning> = Book::built_in().hear(text).into_iter().map(|heard| heard.meaning).collect();
        meanings.sort();
        meanings.dedup();
        meanings
    }

    #[test]
    fn the_shipped_file_reads() {
        let book = Book::parse(BUILT_IN).unwrap();

        assert!(book.phrases.len() > 50);
        let mut names: Vec<&str> = book.phrases.iter().map(|phrase| &*phrase.name).collect();
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "a phrase is there twice");
    }

    #[test]
    fn scams_reminders_and_people_are_told_apart() {
        assert!(
            meanings("Your Amazon Prime subscription will be renewed. To cancel, press one.").contains(&Meaning::Scam)
        );
        assert!(meanings("press 1 to speak to an advisor").contains(&Meaning::KeyPrompt));
        assert!(meanings("This is a reminder of your appointment").contains(&Meaning::Lawful));
        assert!(meanings("Oh, hello, is that the plumber?").contains(&Meaning::Talk));
    }

    #[test]
    fn near_misses_count_less() {
        let heard = Book::built_in().hear("to cancel the order breast one");

        let key = heard.iter().find(|heard| heard.meaning == Meaning::KeyPrompt).unwrap();
        assert!(key.confidence < Ratio::ONE);
        assert!(!meanings("just press enter").contains(&Meaning::KeyPrompt));
    }

    #[test]
    fn talking_about_a_prompt_is_not_one() {
        for text in [
            "they told me to press one to cancel",
            "it was one of those recordings, it said press one",
            "I had a call saying press 1",
        ] {
            assert!(!meanings(text).contains(&Meaning::KeyPrompt), "{text}");
            assert!(meanings(text).contains(&Meaning::Talk), "{text}");
        }
    }

    #[test]
    fn what_may_be_misheard_does_not_count_where_people_tell_of_it() {
        let book = Book::built_in();
        let misheard: Vec<&Instead> = book.instead().collect();

        let [Instead { phrase, words, .. }] = &misheard[..] else { panic!("{misheard:?}") };
        assert_eq!(words, &["press", "one"]);
        assert!(book.counts_behind(phrase, "To cancel the order, please") && book.counts_behind(phrase, ""));
        assert!(!book.counts_behind(phrase, "and the lady said I should"));
        assert_eq!(book.named(phrase).map(|found| found.meaning), Some(Meaning::KeyPrompt));
        assert!(!book.counts_behind("nothing", "") && book.named("nothing").is_none());
    }

    #[test]
    fn patterns_expand() {
        let book = |say: &str| {
            Book::parse(&format!("[[phrase]]\nname = \"x\"\nmeaning = \"talk\"\nweight = 1.0\nsay = [\"{say}\"]\n"))
        };
        let found = |say: &str, text: &str| !book(say).unwrap().hear(text).is_empty();

        assert!(found("press [the] # key", "Press the three key"));
        assert!(found("your (bank|credit card) * suspended", "your credit card has been suspended"));
        assert!(!found("your (bank|credit card) * suspended", "your bank is a nice one and never suspended"));
        assert!(found("don't go", "Don\u{2019}t go!"));
        assert!(book("[maybe]").is_err() && book("(a|b").is_err() && book("* a").is_err());
    }

    #[test]
    fn what_would_switch_a_phrase_off_everywhere_is_refused_by_its_name() {
        let error = |more: &str| {
            let text = format!("[[phrase]]\nname = \"x\"\nmeaning = \"talk\"\nsay = [\"a\"]\n{more}\n");
            Book::parse(&text).err().map(|error| error.to_string())
        };

        assert_eq!(error("weight = 1.0\nnot_after = [\"I [really]\", \"(he|she) *\", \"* told me\"]"), None);
        let nothing = "phrase `x`: pattern \"[the]\": it may match nothing at all";
        assert_eq!(error("weight = 1.0\nnot_after = [\"[the]\"]").as_deref(), Some(nothing));
        assert!(error("weight = 1.0\nnot_after = [\"*\"]").is_some());
        let range = "phrase `x`: weight is 0 to 20 and confidence 0 to 1";
        assert_eq!(error("weight = 21.0").as_deref(), Some(range));
    }
}
