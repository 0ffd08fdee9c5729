//! `"Display" <uri>;params` (RFC 3261 §20.10): From, To, Contact, Route and their like.

use std::ops::Range;

use super::params::{self, take_plain};
use super::seek::{Cursor, NO_WORDS, PARTING, UNFIT, is_unfit, split_once};
use super::{BadMessage, Uri, span, trim};

/// One address of an address header.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NameAddr<'a> {
    /// As written, quotes included; None where there is none.
    pub display: Option<&'a str>,
    /// Between the brackets, or the bare address.
    pub uri: &'a str,
    /// The header's own parameters, with the leading `;`, or empty.
    pub params: &'a str,
    tag: Option<&'a str>,
}

/// Where an address that has been read lies in its message.
#[derive(Clone, Debug)]
pub(super) struct Place {
    display: Option<Range<usize>>,
    uri: Range<usize>,
    params: Range<usize>,
    tag: Option<Range<usize>>,
}

impl Place {
    /// Of `address`, part of `head`.
    pub(super) fn of(head: &str, address: &NameAddr<'_>) -> Self {
        let place = |part: &str| span(head, part);
        Self {
            display: address.display.map(place),
            uri: place(address.uri),
            params: place(address.params),
            tag: address.tag.map(place),
        }
    }

    pub(super) fn read<'a>(&self, head: &'a str) -> NameAddr<'a> {
        let text = |range: &Range<usize>| head.get(range.clone()).unwrap_or_default();
        NameAddr {
            display: self.display.as_ref().map(text),
            uri: text(&self.uri),
            params: text(&self.params),
            tag: self.tag.as_ref().map(text),
        }
    }
}

impl<'a> NameAddr<'a> {
    /// Reads the first address of `text`, and what stands behind its comma.
    pub(super) fn first(text: &'a str) -> Result<(Self, Option<&'a str>), BadMessage> {
        let mut cursor = Cursor::new(text);
        let (address, _) = Self::take(&mut cursor).ok_or(BadMessage::Address)?;
        Ok((address, cursor.takes(b',').then(|| cursor.rest())))
    }

    /// The only address of `text`: a comma outside quotes, a second tag, or one without a value is an error.
    pub fn only(text: &'a str) -> Result<Self, BadMessage> {
        let mut cursor = Cursor::new(text);
        let (address, tags) = Self::take(&mut cursor).ok_or(BadMessage::Address)?;
        let tag_fits = tags == 0 || tags == 1 && address.tag.is_some_and(|tag| !tag.starts_with('"'));
        if !cursor.rest().is_empty() || !tag_fits {
            return Err(BadMessage::Address);
        }
        Ok(address)
    }

    /// Takes one address up to a comma or the end; says how many tags it has. None: it has more than one reading, or
    /// none.
    fn take(cursor: &mut Cursor<'a>) -> Option<(Self, usize)> {
        cursor.skip_space();
        let display = if cursor.next() == Some(b'"') {
            // Behind the closing quote only white space may stand before the bracket.
            let quoted = cursor.take_quoted()?;
            cursor.skip_space();
            if cursor.next() != Some(b'<') {
                return None;
            }
            Some(quoted)
        } else {
            let mut ahead = *cursor;
            let words = trim(ahead.take_until(NO_WORDS));
            match ahead.next() {
                Some(b'<') => {
                    *cursor = ahead;
                    // Names such as AT&T stand here unquoted, though only tokens may. What would be an address to some
                    // other reader has more than one reading.
                    if words.bytes().any(|byte| matches!(byte, b':' | b'@' | b'>' | b'\\')) {
                        return None;
                    }
                    Some(words).filter(|words| !words.is_empty())
                }
                Some(b'"') => return None,
                Some(_) | None => None,
            }
        };
        let bracketed = cursor.takes(b'<');
        let uri = if bracketed {
            // Nothing that is unfit stands in it, so the first such byte must be the bracket.
            let uri = cursor.take_until(UNFIT);
            if !cursor.takes(b'>') {
                return None;
            }
            uri
        } else {
            trim(cursor.take_until(PARTING))
        };
        if !has_scheme(uri) || !bracketed && uri.bytes().any(is_unfit) {
            return None;
        }
        let list = take_plain(cursor, "tag")?;
        // Without brackets the parameters are the header's (RFC 3261 §20.10). An element that takes a `;` before an `@`
        // for a part of the user, or a `?` for URI headers, reads another address: such a one needs brackets.
        if !bracketed && (uri.contains('?') || list.text.contains(['@', '?'])) {
            return None;
        }
        Some((Self { display, uri, params: list.text, tag: list.value }, list.count))
    }

    /// Its tag (RFC 3261 §19.3).
    #[must_use]
    pub fn tag(&self) -> Option<&'a str> {
        self.tag
    }

    /// A header parameter. Outer None: not there. Inner None: without value.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<Option<&'a str>> {
        params::find(self.params, name)
    }

    /// The URI taken apart.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn parsed_uri(&self) -> Result<Uri<'a>, BadMessage> {
        Uri::parse(self.uri)
    }
}

/// All addresses of a header value, comma by comma. Ends behind the first bad one.
pub(super) fn iter(text: &str) -> impl Iterator<Item = Result<NameAddr<'_>, BadMessage>> {
    let mut rest = Some(text);
    std::iter::from_fn(move || match NameAddr::first(rest.take()?) {
        Ok((address, more)) => {
            rest = more;
            Some(Ok(address))
        }
        Err(error) => Some(Err(error)),
    })
}

/// `scheme:` and something behind it (RFC 3986 §3.1).
fn has_scheme(uri: &str) -> bool {
    split_once(uri, b':').is_some_and(|(scheme, rest)| {
        let first = scheme.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic());
        first
            && !rest.is_empty()
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_behind_a_quoted_trap_is_the_real_one() {
        let text = "\"Bank <sip:+18005550000@trusted.example>;tag=x, z\" <sip:attacker@evil.example>;tag=ft";

        let address = NameAddr::only(text).unwrap();

        assert_eq!(address.uri, "sip:attacker@evil.example");
        assert_eq!(address.tag(), Some("ft"));
    }

    #[test]
    fn parameters_without_brackets_are_the_headers() {
        let address = NameAddr::only("sip:a@b;tag=1").unwrap();

        assert_eq!((address.uri, address.tag()), ("sip:a@b", Some("1")));
    }

    #[test]
    fn what_can_be_read_two_ways_is_refused() {
        for text in [
            "Bell, Alexander <sip:a@b>",
            "\"a\" \"b\" <sip:a@b>",
            "\"open <sip:a@b>",
            "sip:a@b <sip:c@d>",
            "<sip:a@b>;tag=1;tag=2",
            "<sip:a@b>, <sip:c@d>",
            "<sip:a b@c>",
            "< sip:a@b >",
            "<a@b>",
            "<:a@b>",
            "<sip:>",
            "<sip:a@b>;tag",
            "<sip:a@b>;tag=",
            "<sip:a@b>;tag=\"1\"",
            "<sip:a@b>;x=<sip:c@d>;tag=1",
            "<sip:a@b>;tag=1 ;",
            "sip:a;x=1@b",
            "sip:a@b?Route=%3Csip:c%3E",
            "sip:a@b;x=1?y=2",
            "*",
            "<sip:a@b> junk",
            "<sip:a@b",
            "",
        ] {
            assert_eq!(NameAddr::only(text), Err(BadMessage::Address), "{text}");
        }
    }

    #[test]
    fn a_list_is_taken_apart_at_commas_outside_quotes() {
        let all: Vec<_> = iter("\"a,b\" <sip:1@x>;q=1, sip:2@y , <sip:3@z;p=1,2>").map(|a| a.unwrap().uri).collect();

        assert_eq!(all, ["sip:1@x", "sip:2@y", "sip:3@z;p=1,2"]);
    }
}
