//! Escapes in parts of a URI (RFC 3261 §19.1.2).

use std::borrow::Cow;

/// The text with its escapes resolved. None where a `%` begins none, or what they say is not UTF-8.
#[must_use]
pub fn unescaped(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('%') {
        return Some(Cow::Borrowed(text));
    }
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let mut plain = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        plain.push(if byte == b'%' {
            let (high, low) = (digit(bytes.next()?)?, digit(bytes.next()?)?);
            (high * 16 + low) as u8
        } else {
            byte
        });
    }
    String::from_utf8(plain).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_resolved_or_refused() {
        for (text, plain) in [
            ("+441632960001", Some("+441632960001")),
            ("%2B44%31", Some("+441")),
            ("a%40b%3bc", Some("a@b;c")),
            ("%C3%A9", Some("\u{e9}")),
            ("%FF", None),
            ("44%4", None),
            ("44%", None),
            ("%zz", None),
            ("", Some("")),
        ] {
            assert_eq!(unescaped(text).as_deref(), plain, "{text}");
        }
    }
}
