//! The wording file, fitted to texts and to what the recogniser made of them when they were spoken.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::path::Path;

use ringfence::detect::phrase::{CallWording, Wording};
use ringfence::policy::judge::Class;

/// A text counts as far as each of these words: what is said early decides, and is heard before a call is over.
const PREFIXES: [usize; 3] = [15, 40, 200];

/// Added to every count (Laplace): a term that one text holds says little.
const SMOOTHING: f32 = 1.0;

/// Times that a term must have been counted: more often than one text and its transcript can. Texts of another hand are
/// told apart as well without the terms that are left out so, and the file is half as long.
const LEAST_COUNT: f32 = 5.0;

/// Weights nearer to nothing than this are left out.
const LEAST_WEIGHT: f32 = 0.25;

/// A text and what it is.
pub(crate) struct Text {
    pub(crate) id: String,
    pub(crate) label: Class,
    /// Texts of one kind share a fold.
    pub(crate) kind: String,
    pub(crate) text: String,
}

pub(crate) fn read_texts(path: &Path) -> Vec<Text> {
    let mut reader = csv::Reader::from_path(path).unwrap();
    let rows = reader.records().map(|row| {
        let row = row.unwrap();
        let label = Class::ALL.into_iter().find(|class| class.label() == &row[1]).unwrap();
        Text { id: row[0].to_owned(), label, kind: row[2].to_owned(), text: row[3].replace(" / ", " ") }
    });
    rows.collect()
}

/// Texts whose ids begin so are in no fit of the wording: `tests/phrases.rs` asks about them.
pub(crate) const KEPT_OUT: &str = "o-";

/// Texts whose ids begin with one of these were written with the phrase file in sight. All others were written by
/// people who had not read it: what a phrase is worth in them is what it is worth.
const READ: RangeInclusive<char> = 'a'..='d';

/// Is it one of them?
pub(crate) fn is_unread(text: &Text) -> bool {
    !text.id.starts_with(KEPT_OUT) && !text.id.starts_with(|set| READ.contains(&set))
}

/// How often each class holds a term.
type Counts = BTreeMap<String, [f32; 3]>;

/// Fits to those texts that `keep` names by id, and to their spoken forms: the transcripts of each id, in order.
///
/// Naive Bayes: the weight of a term is the logarithm of how much more often one side says it. With few texts and many
/// terms it told unseen kinds apart better than a regression with an elastic net did.
pub(crate) fn fit(texts: &[Text], spoken: &BTreeMap<String, Vec<String>>, keep: &dyn Fn(&Text) -> bool) -> Wording {
    let mut counts = Counts::new();
    for text in texts.iter().filter(|text| !text.id.starts_with(KEPT_OUT) && keep(text)) {
        let slot = match text.label {
            Class::NoSpeech => continue,
            Class::Live => 0,
            Class::Recorded => 1,
            Class::PressKey => 2,
        };
        let words: Vec<&str> = text.text.split_whitespace().collect();
        let prefixes = PREFIXES.iter().map(|end| words[..(*end).min(words.len())].join(" "));
        let transcripts = spoken.get(&text.id).map(|said| said.join(" / ")).unwrap_or_default();
        for said in prefixes.chain([transcripts]) {
            for term in Wording::terms(&said).into_iter().collect::<BTreeSet<_>>() {
                counts.entry(term).or_default()[slot] += 1.0;
            }
        }
    }
    counts.retain(|_, count| count.iter().sum::<f32>() >= LEAST_COUNT);
    let size = counts.len() as f32;
    let mut totals = [0.0f32; 3];
    counts.values().for_each(|count| totals.iter_mut().zip(count).for_each(|(total, n)| *total += n));
    let weight = |count: &[f32; 3], yes: &[usize], no: &[usize]| {
        let sum = |of: &[f32; 3], side: &[usize]| side.iter().map(|n| of[*n]).sum::<f32>();
        let share = |side: &[usize]| (sum(count, side) + SMOOTHING) / (sum(&totals, side) + SMOOTHING * size);
        let weight = (share(yes) / share(no)).ln();
        if weight.abs() < LEAST_WEIGHT { 0.0 } else { weight }
    };
    let weights = |count: &[f32; 3]| [weight(count, &[1, 2], &[0]), weight(count, &[2], &[1])];
    let terms = counts.iter().map(|(term, count)| (term.clone(), weights(count)));
    Wording::new([0.0, 0.0], terms.filter(|(_, weights)| *weights != [0.0, 0.0]).collect::<Vec<_>>())
}

/// How well a wording tells texts apart that it was not fitted to: areas under the two curves.
pub(crate) fn areas(scores: &[(Class, f32, f32)]) -> [f64; 2] {
    let area = |positive: Vec<f32>, negative: Vec<f32>| {
        let above = positive.iter().flat_map(|p| negative.iter().map(move |n| f64::from(u8::from(p > n)))).sum::<f64>();
        above / (positive.len() * negative.len()).max(1) as f64
    };
    let of = |class: Class, slot: usize| -> Vec<f32> {
        scores.iter().filter(|s| s.0 == class).map(|s| if slot == 0 { s.1 } else { s.2 }).collect()
    };
    let machines = [of(Class::Recorded, 0), of(Class::PressKey, 0)].concat();
    [area(machines, of(Class::Live, 0)), area(of(Class::PressKey, 1), of(Class::Recorded, 1))]
}

/// What a wording says of a whole text.
pub(crate) fn score(wording: &std::sync::Arc<Wording>, text: &str) -> (f32, f32) {
    CallWording::new(std::sync::Arc::clone(wording)).hear(text).map_or((0.0, 0.0), |said| (said.automated, said.scam))
}
