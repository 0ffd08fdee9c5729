//! Patterns of the phrase file, and where words match them.
//!
//! A pattern is a line of words; `(a|b|c d)` are alternatives, `[the]` may be missing, `*` stands for up to three
//! words, `#` for a digit.

use std::collections::BTreeSet;

use super::text::normalise;

/// Most words that `*` stands for.
const GAP: usize = 3;

#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Token {
    Word(Box<str>),
    Digit,
    /// Up to [`GAP`] words.
    Gap,
    /// One of these; an empty one matches nothing, so that the others may be left out.
    Any(Vec<Vec<Token>>),
}

/// Reads a pattern.
pub(super) fn read(pattern: &str) -> Result<Vec<Token>, &'static str> {
    let mut tokens = Vec::new();
    let mut rest = pattern.trim();
    while let Some(first) = rest.chars().next() {
        rest = match first {
            '(' | '[' => {
                let close = if first == '(' { ')' } else { ']' };
                let (inside, after) =
                    rest.get(1..).and_then(|r| r.split_once(close)).ok_or("a bracket is not closed")?;
                if inside.contains(['(', '[']) {
                    return Err("brackets inside brackets are not understood");
                }
                let mut options: Vec<Vec<Token>> = inside.split('|').map(read).collect::<Result<_, _>>()?;
                if first == '[' {
                    options.push(Vec::new());
                }
                tokens.push(Token::Any(options));
                after
            }
            ')' | ']' | '|' => return Err("a bracket was not opened"),
            '*' | '#' => {
                tokens.push(if first == '*' { Token::Gap } else { Token::Digit });
                rest.get(1..).unwrap_or_default()
            }
            _ => {
                let end = rest.find(['(', '[', ')', ']', '*', '#', '|']).unwrap_or(rest.len());
                let (words, after) = rest.split_at(end);
                tokens.extend(plain(words));
                after
            }
        }
        .trim_start();
    }
    Ok(tokens)
}

fn plain(words: &str) -> Vec<Token> {
    normalise(words).into_iter().map(|word| Token::Word(word.into())).collect()
}

pub(super) fn is_digit(word: &str) -> bool {
    word.len() == 1 && word.as_bytes().first().is_some_and(u8::is_ascii_digit)
}

/// Do `tokens` match `words` from `start` on?
pub(super) fn matches(tokens: &[Token], words: &[String], start: usize) -> bool {
    !ends(tokens, words, &[start]).is_empty()
}

/// Where `tokens` may end in `words` if they begin at one of `starts`: each place once, so that the work is bounded by
/// the pattern's length times the text's.
pub(super) fn ends(tokens: &[Token], words: &[String], starts: &[usize]) -> Vec<usize> {
    let mut at = starts.to_vec();
    for token in tokens {
        at = match token {
            Token::Word(wanted) => step(&at, words, |word| **word == **wanted),
            Token::Digit => step(&at, words, |word| is_digit(word)),
            Token::Gap => at.iter().flat_map(|&at| at..=(at + GAP).min(words.len())).collect(),
            Token::Any(options) => options.iter().flat_map(|option| ends(option, words, &at)).collect(),
        };
        at.sort_unstable();
        at.dedup();
        if at.is_empty() {
            break;
        }
    }
    at
}

fn step(at: &[usize], words: &[String], is: impl Fn(&String) -> bool) -> Vec<usize> {
    at.iter().filter(|&&at| words.get(at).is_some_and(&is)).map(|at| at + 1).collect()
}

/// Adds the words of a pattern to a vocabulary.
pub(super) fn learn(tokens: &[Token], vocabulary: &mut BTreeSet<Box<str>>) {
    for token in tokens {
        match token {
            Token::Word(word) => {
                vocabulary.insert(word.clone());
            }
            Token::Any(options) => options.iter().for_each(|option| learn(option, vocabulary)),
            Token::Digit | Token::Gap => {}
        }
    }
}

/// Collects the tokens that a match may begin with. True: `tokens` may match nothing at all.
pub(super) fn first_tokens<'a>(tokens: &'a [Token], firsts: &mut Vec<&'a Token>) -> bool {
    for token in tokens {
        match token {
            Token::Any(options) => {
                let mut nothing = false;
                for option in options {
                    nothing |= first_tokens(option, firsts);
                }
                if !nothing {
                    return false;
                }
            }
            Token::Word(_) | Token::Digit | Token::Gap => {
                firsts.push(token);
                return false;
            }
        }
    }
    true
}
