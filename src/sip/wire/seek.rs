//! Searching in header values, and reading them from left to right. They are short: a plain loop is done before a
//! clever one has begun.

use super::is_space;

/// What a byte ends: marks of a table, so that one look at each byte says it.
pub(super) const NO_TOKEN: u8 = 1;
pub(super) const UNFIT: u8 = 2;
/// A comma or a semicolon.
pub(super) const PARTING: u8 = 4;
pub(super) const NO_HOST: u8 = 8;
/// What parts a URI behind its scheme.
pub(super) const URI_MARK: u8 = 16;
pub(super) const NO_DIGIT: u8 = 32;
/// What ends the words before a bracket: the bracket, a quote, or where there is none.
pub(super) const NO_WORDS: u8 = 64;

/// The marks of each byte.
const KINDS: [u8; 256] = {
    let mut kinds = [0; 256];
    let mut number = 0;
    while number < kinds.len() {
        let byte = number as u8;
        let token = byte.is_ascii_alphanumeric()
            || matches!(byte, b'-' | b'.' | b'!' | b'%' | b'*' | b'_' | b'+' | b'`' | b'\'' | b'~');
        let unfit = byte <= b' ' || matches!(byte, b'<' | b'>' | b'"' | 0x7F);
        let host = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
        kinds[number] = (NO_TOKEN * !token as u8)
            | (UNFIT * unfit as u8)
            | (PARTING * matches!(byte, b',' | b';') as u8)
            | (NO_HOST * !host as u8)
            | (URI_MARK * matches!(byte, b'@' | b';' | b'?') as u8)
            | (NO_DIGIT * !byte.is_ascii_digit() as u8)
            | (NO_WORDS * matches!(byte, b'<' | b'"' | b',' | b';') as u8);
        number += 1;
    }
    kinds
};

/// How many bytes at the front have none of these marks: nine as a rule, so nothing clever.
fn run(bytes: &[u8], marks: u8) -> usize {
    bytes.iter().position(|byte| KINDS[usize::from(*byte)] & marks != 0).unwrap_or(bytes.len())
}

/// RFC 3261 §25.1 `token`.
pub(super) fn is_token(byte: u8) -> bool {
    KINDS[usize::from(byte)] & NO_TOKEN == 0
}

/// White space, a control character, a bracket or a quote: in no URI, and in no word.
pub(super) fn is_unfit(byte: u8) -> bool {
    KINDS[usize::from(byte)] & UNFIT != 0
}

/// Where the first `wanted` is; an ASCII character.
pub(super) fn find(text: &str, wanted: u8) -> Option<usize> {
    text.bytes().position(|byte| byte == wanted)
}

/// What stands before and behind the first `mark`.
pub(super) fn split_once(text: &str, mark: u8) -> Option<(&str, &str)> {
    let at = find(text, mark)?;
    text.get(..at).zip(text.get(at + 1..))
}

/// What stands before the first `mark`, and the rest with it, or empty.
pub(super) fn split_before(text: &str, mark: u8) -> (&str, &str) {
    text.split_at_checked(find(text, mark).unwrap_or(text.len())).unwrap_or((text, ""))
}

/// What stands between one `mark` and the next, empty or not.
pub(super) fn pieces(text: &str, mark: u8) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest.take()?;
        let Some((one, more)) = split_once(text, mark) else { return Some(text) };
        rest = Some(more);
        Some(one)
    })
}

/// Reads a header value from left to right, each byte once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// How far it has come.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    pub(super) fn next(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// What lies behind.
    pub(super) fn since(&self, start: usize) -> &'a str {
        self.text.get(start..self.at).unwrap_or_default()
    }

    /// What lies ahead.
    pub(super) fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Goes over `byte` if it is the next one.
    pub(super) fn takes(&mut self, byte: u8) -> bool {
        let there = self.next() == Some(byte);
        self.at += usize::from(there);
        there
    }

    /// Goes over bytes that have none of these marks.
    #[inline]
    pub(super) fn take_until(&mut self, marks: u8) -> &'a str {
        let start = self.at;
        self.at += run(self.text.as_bytes().get(start..).unwrap_or_default(), marks);
        self.since(start)
    }

    /// Goes over bytes as long as they fit. All that are not ASCII fit or none.
    pub(super) fn take_while(&mut self, fits: impl Fn(u8) -> bool) -> &'a str {
        let start = self.at;
        let ahead = self.text.as_bytes().get(start..).unwrap_or_default();
        self.at += ahead.iter().position(|byte| !fits(*byte)).unwrap_or(ahead.len());
        self.since(start)
    }

    pub(super) fn skip_space(&mut self) {
        while self.next().is_some_and(is_space) {
            self.at += 1;
        }
    }

    /// A quoted string with its quotes. None: none begins here, or it has no end.
    pub(super) fn take_quoted(&mut self) -> Option<&'a str> {
        let start = self.at;
        if !self.takes(b'"') {
            return None;
        }
        loop {
            match self.next()? {
                b'"' => break,
                // Whatever is escaped; a character of several bytes has no quote among them.
                b'\\' => self.at += 2,
                _ => self.at += 1,
            }
        }
        self.at += 1;
        Some(self.since(start))
    }
}

/// Without linear white space at its ends.
pub(super) fn trim(text: &str) -> &str {
    let spaced = |byte: Option<&u8>| byte.is_some_and(|byte| is_space(*byte));
    let bytes = text.as_bytes();
    if spaced(bytes.first()) || spaced(bytes.last()) { text.trim_matches([' ', '\t', '\r', '\n']) } else { text }
}

/// Without linear white space before it.
pub(super) fn trim_start(text: &str) -> &str {
    if text.bytes().next().is_some_and(is_space) { text.trim_start_matches([' ', '\t', '\r', '\n']) } else { text }
}

const ONES: u64 = u64::from_le_bytes([1; 8]);

/// Where the first line feed is.
pub(super) fn line_feed(bytes: &[u8]) -> Option<usize> {
    let (words, rest) = bytes.as_chunks::<8>();
    for (number, word) in words.iter().enumerate() {
        let others = u64::from_le_bytes(*word) ^ (ONES * u64::from(b'\n'));
        // The lowest bit that is set is that of the first byte that is none; those behind it may be wrong (see
        // `control`).
        let marked = others.wrapping_sub(ONES) & !others & (ONES << 7);
        if marked != 0 {
            return Some(number * word.len() + marked.trailing_zeros() as usize / 8);
        }
    }
    rest.iter().position(|byte| *byte == b'\n').map(|at| bytes.len() - rest.len() + at)
}

/// Where the first control character is that is no tab.
pub(super) fn control(bytes: &[u8]) -> Option<usize> {
    let is_control = |byte: u8| (byte < b' ' && byte != b'\t') || byte == 0x7F;
    let (words, rest) = bytes.as_chunks::<8>();
    for (number, word) in words.iter().enumerate() {
        let letters = u64::from_le_bytes(*word);
        // The upper bit of each byte that is below a space, or DEL. Behind the first such byte others may be marked
        // too, by a borrow (Hacker's Delight, 6-1); each is looked at.
        let low = letters.wrapping_sub(ONES * u64::from(b' ')) & !letters;
        let others = letters ^ (ONES * 0x7F);
        let delete = others.wrapping_sub(ONES) & !others;
        let mut marked = (low | delete) & (ONES << 7);
        while marked != 0 {
            let at = marked.trailing_zeros() as usize / 8;
            if word.get(at).is_some_and(|byte| is_control(*byte)) {
                return Some(number * word.len() + at);
            }
            marked &= marked - 1;
        }
    }
    rest.iter().position(|byte| is_control(*byte)).map(|at| bytes.len() - rest.len() + at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_control_character_is_found_wherever_it_is() {
        for length in 0..70 {
            let mut text = vec![b'a'; length];
            assert_eq!(control(&text), None);
            for at in 0..length {
                for byte in [0, b'\r', b'\n', 0x1F, 0x7F] {
                    text[at] = byte;
                    assert_eq!(control(&text), Some(at));
                }
                text[at] = [b'\t', 0x80, 0xFF, b' '][at % 4];
            }
        }
    }

    #[test]
    fn the_first_line_feed_is_found_wherever_it_is() {
        for length in 0..40 {
            let mut text = vec![b'a'; length];
            assert_eq!(line_feed(&text), None);
            for at in (0..length).rev() {
                text[at] = b'\n';
                assert_eq!(line_feed(&text), Some(at));
                text[at] = [b'\n', 0x0B, 0x8A, b'\n'][at % 4];
                assert_eq!(line_feed(&text), text.iter().position(|byte| *byte == b'\n'));
            }
        }
    }

    #[test]
    fn a_quoted_string_ends_at_the_first_quote_that_is_not_escaped() {
        for (text, quoted, rest) in [
            ("\"a\\\"b\" c", Some("\"a\\\"b\""), " c"),
            ("\"\"\"", Some("\"\""), "\""),
            ("\"\\\u{e4}\"", Some("\"\\\u{e4}\""), ""),
            ("\"a", None, ""),
            ("\"a\\\"", None, ""),
            ("a\"b\"", None, "a\"b\""),
        ] {
            let mut cursor = Cursor::new(text);
            assert_eq!(cursor.take_quoted(), quoted, "{text}");
            assert_eq!(cursor.rest(), rest, "{text}");
        }
    }

    #[test]
    fn a_run_ends_at_the_first_mark_wherever_it_is() {
        for length in 0..40 {
            let mut text = vec![b'a'; length];
            assert_eq!(run(&text, NO_TOKEN | UNFIT), length);
            for at in (0..length).rev() {
                text[at] = [b' ', b'<', 0xC3, b'='][at % 4];
                assert_eq!(run(&text, NO_TOKEN), at);
                assert_eq!(run(&text, NO_DIGIT), 0);
            }
        }
    }

    #[test]
    fn pieces_are_those_of_split() {
        for text in ["", " ", "a", " a  b ", "a b"] {
            assert!(pieces(text, b' ').eq(text.split(' ')), "{text}");
        }
    }

    #[test]
    fn white_space_goes_from_the_ends_alone() {
        assert_eq!((trim(" \t a b\r\n "), trim("a"), trim(""), trim(" ")), ("a b", "a", "", ""));
        assert_eq!((trim_start("\r\n a "), trim_start("a ")), ("a ", "a "));
    }

    #[test]
    fn the_first_mark_parts_a_text() {
        assert_eq!((split_once("a;b;c", b';'), split_once("a", b';')), (Some(("a", "b;c")), None));
        assert_eq!((split_before("ä;b;c", b';'), split_before("a", b';')), (("ä", ";b;c"), ("a", "")));
    }
}
