//! What the choice of words says, phrase or no phrase: a sum of log-odds over words and pairs of words.
//!
//! In: texts of the recogniser, in order. Out: two log-odds for all that was heard so far, with the terms that moved
//! them most. Every term counts once, however often it is said, so that overlapping windows do no harm. The terms and
//! their weights are data, fitted to texts by `examples/fit`; see `config/phrases`.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock};

use serde::Deserialize;

use super::text::normalise;

/// The file that is shipped.
const BUILT_IN: &str = include_str!("../../../config/phrases/en.wording.toml");

/// Terms of one call that are kept: 20 s of speech hold about 120.
const MOST_TERMS: usize = 512;

/// Terms that an explanation names.
const NAMED: usize = 4;

/// Picks the weight of one sum.
type Weight = fn(&[f32; 2]) -> f32;
const OF_AUTOMATED: Weight = |[automated, _]| *automated;
const OF_SCAM: Weight = |[_, scam]| *scam;

/// The wording file: weights of every term for both sums. Pairs are `automated`, `scam`.
#[derive(Clone, Debug, Default)]
pub struct Wording {
    bias: [f32; 2],
    terms: HashMap<Box<str>, [f32; 2]>,
}

/// Why a wording file is not used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum WordingError {
    /// Not TOML, or of another shape.
    #[error("{0}")]
    Shape(String),
    /// A weight that could outvote everything.
    #[error("the weight of \"{0}\" is not between -20 and 20")]
    Weight(String),
}

/// As the file has it. Pairs are `automated`, `scam`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    bias: [f32; 2],
    terms: BTreeMap<Box<str>, [f32; 2]>,
}

/// What the wording of a call says so far, in natural log-odds.
#[derive(Clone, Debug, PartialEq)]
pub struct WordingOdds {
    /// Log-odds that a machine speaks.
    pub automated: f32,
    /// Log-odds that, if a machine speaks, it is a scam's.
    pub scam: f32,
    /// The terms that moved `automated` and `scam` most.
    pub telling: [Arc<str>; 2],
}

/// The wording of one call: which terms it has used.
#[derive(Clone, Debug)]
pub struct CallWording {
    wording: Arc<Wording>,
    heard: BTreeMap<Box<str>, [f32; 2]>,
}

impl Wording {
    /// Reads a wording file.
    pub fn parse(text: &str) -> Result<Self, WordingError> {
        let file: File = toml::from_str(text).map_err(|error| WordingError::Shape(error.message().to_owned()))?;
        let outvotes = |weights: &[f32; 2]| weights.iter().any(|weight| !(-20.0..=20.0).contains(weight));
        if let Some((term, _)) = file.terms.iter().find(|(_, weights)| outvotes(weights)) {
            return Err(WordingError::Weight(term.to_string()));
        }
        Ok(Self { bias: file.bias, terms: file.terms.into_iter().collect() })
    }

    /// From biases and weights, for whoever fits them.
    #[must_use]
    pub fn new(bias: [f32; 2], terms: impl IntoIterator<Item = (String, [f32; 2])>) -> Self {
        Self { bias, terms: terms.into_iter().map(|(term, weights)| (term.into(), weights)).collect() }
    }

    /// As a wording file.
    #[must_use]
    pub fn to_toml(&self) -> String {
        // A decimal is enough, and in f64 it is written as one.
        let rounded = |weights: &[f32; 2]| weights.map(|weight| (f64::from(weight) * 10.0).round() / 10.0);
        let [automated, scam] = rounded(&self.bias);
        let mut text = format!("bias = [{automated:?}, {scam:?}]\n\n[terms]\n");
        for (term, weights) in self.terms.iter().collect::<BTreeMap<_, _>>() {
            let [automated, scam] = rounded(weights);
            if [automated, scam] != [0.0, 0.0] {
                let term = toml::Value::from(&**term);
                text.push_str(&format!("{term} = [{automated:?}, {scam:?}]\n"));
            }
        }
        text
    }

    /// The one that is shipped.
    #[must_use]
    pub fn built_in() -> Arc<Self> {
        #[expect(clippy::expect_used, reason = "a test reads it, and without it the choice of words would say nothing")]
        static WORDING: LazyLock<Arc<Wording>> =
            LazyLock::new(|| Arc::new(Wording::parse(BUILT_IN).expect("the wording file in this program can be read")));
        Arc::clone(&WORDING)
    }

    /// Weighs nothing: for a language whose wording nobody has fitted.
    #[must_use]
    pub fn none() -> Arc<Self> {
        Arc::default()
    }

    /// The terms of a text: words and pairs of words, numbers of two digits and more as `#`.
    #[must_use]
    pub fn terms(text: &str) -> Vec<String> {
        let number = |word: &String| word.len() > 1 && word.bytes().all(|byte| byte.is_ascii_digit());
        let words: Vec<String> =
            normalise(text).into_iter().map(|word| if number(&word) { "#".to_owned() } else { word }).collect();
        let pairs = words.windows(2).map(|pair| pair.join(" "));
        let pairs: Vec<String> = pairs.collect();
        words.into_iter().chain(pairs).collect()
    }
}

impl CallWording {
    /// Has heard nothing.
    #[must_use]
    pub fn new(wording: Arc<Wording>) -> Self {
        Self { wording, heard: BTreeMap::new() }
    }

    /// One more text of the same call. None: it holds no new term.
    pub fn hear(&mut self, text: &str) -> Option<WordingOdds> {
        let before = self.heard.len();
        for term in Wording::terms(text) {
            if let Some((term, weights)) = self.wording.terms.get_key_value(term.as_str())
                && self.heard.len() < MOST_TERMS
            {
                self.heard.insert(term.clone(), *weights);
            }
        }
        (self.heard.len() > before).then(|| self.odds())
    }

    fn odds(&self) -> WordingOdds {
        let [automated, scam] = self.wording.bias;
        let sum = |bias: f32, weight: Weight| self.heard.values().fold(bias, |sum, weights| sum + weight(weights));
        let (automated, scam) = (sum(automated, OF_AUTOMATED), sum(scam, OF_SCAM));
        let telling = [self.telling(automated, OF_AUTOMATED), self.telling(scam, OF_SCAM)];
        WordingOdds { automated, scam, telling }
    }

    /// The terms that moved a sum most towards what it says.
    fn telling(&self, sum: f32, weight: Weight) -> Arc<str> {
        let mut terms: Vec<_> = self.heard.iter().filter(|(_, weights)| weight(weights) * sum > 0.0).collect();
        terms.sort_by(|(_, a), (_, b)| weight(b).abs().total_cmp(&weight(a).abs()));
        let named: Vec<&str> = terms.iter().take(NAMED).map(|(term, _)| &***term).collect();
        Arc::from(named.join(", "))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn odds(text: &str) -> WordingOdds {
        CallWording::new(Wording::built_in()).hear(text).unwrap()
    }

    #[test]
    fn the_shipped_file_reads_and_writes_back() {
        let wording = Wording::parse(BUILT_IN).unwrap();

        assert!(wording.terms.len() > 300);
        assert_eq!(Wording::parse(&wording.to_toml()).unwrap().terms, wording.terms);
    }

    #[test]
    fn people_reminders_and_scams_choose_their_words() {
        let person = odds("Hi it's only me, I'm just on the bus, did you say you wanted some milk?");
        let reminder = odds("This is an automated reminder that you have an appointment tomorrow at the clinic.");
        let scam = odds("We have noticed that your account will be charged four hundred dollars for the renewal.");

        assert!(person.automated < 0.0 && reminder.automated > 0.0 && scam.automated > 0.0);
        assert!(reminder.scam < 0.0 && scam.scam > 0.0, "{reminder:?} {scam:?}");
        assert!(scam.telling[1].contains("dollars"), "{scam:?}");
    }

    #[test]
    fn a_term_counts_once_and_windows_may_overlap() {
        let mut call = CallWording::new(Wording::built_in());
        let first = call.hear("your account has been").unwrap();

        assert_eq!(call.hear("account has been"), None);
        assert_eq!(call.odds(), first);
    }

    #[test]
    fn a_call_that_says_everything_stays_small() {
        let terms = (0..2_000).map(|n| (format!("word{n}"), [0.1, 0.1]));
        let mut call = CallWording::new(Arc::new(Wording::new([0.0, 0.0], terms)));
        for from in (0..2_000).step_by(50) {
            let text: Vec<String> = (from..from + 50).map(|n| format!("word{n}")).collect();
            call.hear(&text.join(" "));
        }

        assert_eq!(call.heard.len(), MOST_TERMS);
    }

    #[test]
    fn a_weight_without_measure_is_refused() {
        let text = "bias = [0, 0]\n[terms]\nhello = [99.0, 0]\n";

        assert_eq!(Wording::parse(text).unwrap_err(), WordingError::Weight("hello".to_owned()));
    }
}
