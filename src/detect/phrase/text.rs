//! A text as words, as patterns are compared with them: in lower case, without punctuation, digits for their names.

use std::ops::Range;

/// Words of a text that are looked at: the 12 s of audio that are kept hold fewer.
const MAX_WORDS: usize = 120;

/// Words of a text, as patterns are compared with it.
pub(super) fn normalise(text: &str) -> Vec<String> {
    spans(text).into_iter().map(|(word, _)| word).collect()
}

/// The same, with the place of each in the text, in bytes.
pub(super) fn spans(text: &str) -> Vec<(String, Range<usize>)> {
    let apart = |c: char| !(c.is_alphanumeric() || ['\'', '\u{2019}', '\u{2018}', '%'].contains(&c));
    let mut spans = Vec::new();
    let mut begun: Option<usize> = None;
    for (at, c) in text.char_indices().chain([(text.len(), ' ')]) {
        // A percent sign is a word of its own.
        let ends = apart(c) || c == '%';
        if let (true, Some(from)) = (ends, begun) {
            begun = None;
            let word = text.get(from..at).unwrap_or_default().to_lowercase();
            let word: String = word.chars().filter(|c| c.is_alphanumeric()).collect();
            if !word.is_empty() {
                spans.push((with_digit(&word), from..at));
            }
        }
        if c == '%' {
            spans.push(("percent".to_owned(), at..at + 1));
        } else if !ends && begun.is_none() {
            begun = Some(at);
        }
    }
    spans.truncate(MAX_WORDS);
    spans
}

/// Names of the digits.
const DIGITS: [&str; 10] = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"];

/// A word; the name of a digit as that digit. The recogniser writes both.
pub(super) fn with_digit(word: &str) -> String {
    DIGITS.iter().position(|name| *name == word).map_or_else(|| word.to_owned(), |digit| digit.to_string())
}

/// The digits, as names and as numbers.
pub(super) fn digit_words() -> impl Iterator<Item = String> {
    DIGITS.iter().enumerate().flat_map(|(digit, name)| [(*name).to_owned(), digit.to_string()])
}
