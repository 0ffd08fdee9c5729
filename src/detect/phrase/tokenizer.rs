//! Tokens of the speech model to text.

use std::borrow::Cow;

use super::recogniser::ModelError;

/// Tokens in the model's vocabulary.
pub(super) const VOCABULARY: usize = 32_768;

/// Stands for a space in the vocabulary: U+2581.
const SPACE: &str = "\u{2581}";

/// The vocabulary.
#[derive(Debug)]
pub(super) struct Tokenizer {
    bytes: Vec<u8>,
    /// End of each token in `bytes`.
    ends: Vec<u32>,
}

impl Tokenizer {
    /// Byte strings, each behind its length: one byte, or two where the first is 128 or more.
    pub(super) fn read(file: &[u8]) -> Result<Self, ModelError> {
        let damaged = |why| ModelError::Damaged { file: "tokenizer.bin", why };
        let (mut bytes, mut ends) = (Vec::with_capacity(file.len()), Vec::with_capacity(VOCABULARY));
        let mut rest = file;
        while let Some((&first, after)) = rest.split_first() {
            let (length, after) = if first < 128 {
                (usize::from(first), after)
            } else {
                let (&second, after) = after.split_first().ok_or_else(|| damaged("it ends inside a length".into()))?;
                (usize::from(second) * 128 + usize::from(first) - 128, after)
            };
            let (token, after) =
                after.split_at_checked(length).ok_or_else(|| damaged("it ends inside a token".into()))?;
            bytes.extend_from_slice(token);
            ends.push(u32::try_from(bytes.len()).map_err(|_| damaged("it is too long".into()))?);
            rest = after;
        }
        if ends.len() != VOCABULARY {
            return Err(damaged(format!("it has {} tokens and not {VOCABULARY}", ends.len())));
        }
        Ok(Self { bytes, ends })
    }

    fn token(&self, token: u32) -> &[u8] {
        let index = token as usize;
        let end = self.ends.get(index).copied().unwrap_or_default() as usize;
        let start = index.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or_default() as usize;
        self.bytes.get(start..end).unwrap_or_default()
    }

    /// Tokens of one word with the space before it: the longest piece first, which for common words is the word.
    pub(super) fn word(&self, word: &str) -> Vec<u32> {
        let spelled = format!("{SPACE}{word}");
        let (mut rest, mut tokens) = (spelled.as_bytes(), Vec::new());
        while !rest.is_empty() {
            let pieces = (0..self.ends.len() as u32).map(|token| (token, self.token(token)));
            let fits = pieces.filter(|(_, piece)| !piece.is_empty() && rest.starts_with(piece));
            let Some((token, piece)) = fits.max_by_key(|(_, piece)| piece.len()) else { return Vec::new() };
            tokens.push(token);
            rest = rest.get(piece.len()..).unwrap_or_default();
        }
        tokens
    }

    /// Where each token's text ends, in bytes of the text of all of them before it is trimmed.
    pub(super) fn ends(&self, tokens: &[u32]) -> Vec<usize> {
        let mut at = 0;
        let end = |&token: &u32| {
            let written = written(self.token(token));
            // A space stands for three bytes.
            at += written.len() - 2 * String::from_utf8_lossy(&written).matches(SPACE).count();
            at
        };
        tokens.iter().map(end).collect()
    }

    /// Text of `tokens`. Control tokens (`<s>`, ...) are left out.
    pub(super) fn text(&self, tokens: &[u32]) -> String {
        let mut bytes = Vec::new();
        for &token in tokens {
            bytes.extend_from_slice(&written(self.token(token)));
        }
        String::from_utf8_lossy(&bytes).replace(SPACE, " ").trim().to_owned()
    }
}

/// What a token writes: nothing, if it is for control.
fn written(token: &[u8]) -> Cow<'_, [u8]> {
    match byte_token(token) {
        Some(byte) => Cow::Owned(vec![byte]),
        None if token.starts_with(b"<") && token.ends_with(b">") => Cow::Borrowed(&[]),
        None => Cow::Borrowed(token),
    }
}

/// `<0x41>`: a single byte, for what has no token of its own.
fn byte_token(token: &[u8]) -> Option<u8> {
    let hex = token.strip_prefix(b"<0x")?.strip_suffix(b">")?;
    u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn file(tokens: &[&[u8]]) -> Vec<u8> {
        let mut file = Vec::new();
        for n in 0..VOCABULARY {
            let token = tokens.get(n).copied().unwrap_or(b"x");
            if token.len() < 128 {
                file.push(token.len() as u8);
            } else {
                file.extend([(token.len() % 128 + 128) as u8, (token.len() / 128) as u8]);
            }
            file.extend_from_slice(token);
        }
        file
    }

    #[test]
    fn text_joins_pieces_and_leaves_control_tokens_out() {
        let long = [b'y'; 200];
        let tokens = file(&[b"<s>", "\u{2581}Press".as_bytes(), "\u{2581}one".as_bytes(), b"<0x2E>", &long]);
        let tokenizer = Tokenizer::read(&tokens).unwrap();

        assert_eq!(tokenizer.text(&[0, 1, 2, 3]), "Press one.");
        assert_eq!(tokenizer.text(&[4]).len(), 200);
        assert_eq!(tokenizer.text(&[u32::MAX]), "");
    }

    #[test]
    fn a_truncated_file_says_so() {
        let whole = file(&[]);

        assert!(Tokenizer::read(&whole[..whole.len() - 1]).is_err());
        assert!(Tokenizer::read(&whole[..whole.len() - 2]).unwrap_err().to_string().contains("32767"));
    }
}
