//! Text of strangers in places where people read it.

use std::borrow::Cow;
use std::fmt::Write as _;

/// `text`, in which every character that moves the cursor, breaks the line, turns the reading direction or is invisible
/// is written as `\u` and four digits. What a peer sends must not look like a line of ours, nor command a terminal.
pub(super) fn plain(text: &str) -> Cow<'_, str> {
    if !text.contains(hidden) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if hidden(c) {
            // Writing to a String does not fail.
            let _ = write!(shown, "\\u{:04x}", u32::from(c));
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

fn hidden(c: char) -> bool {
    // Zero-width and direction marks; line and paragraph separators; direction overrides and isolates; byte order mark.
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn what_is_not_seen_is_written_out() {
        assert_eq!(plain("+44 1632 960001, „Ärztehaus“"), "+44 1632 960001, „Ärztehaus“");
        assert_eq!(plain("a\r\nb\u{1b}[2J\u{9b}c\u{202e}d\u{2028}"), r"a\u000d\u000ab\u001b[2J\u009bc\u202ed\u2028");
    }
}
