//! `"Display" <uri>;params` (RFC 3261 §20.10): From, To, Contact, Route and their like.

use super::params::{self, find_outside_quotes, is_one_quoted_string};
use super::seek::{find, is_unfit, split_once};
use super::{BadMessage, Uri, is_space, is_token, trim, trim_start};

/// One address of an address header.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NameAddr<'a> {
    /// As written, quotes included; None where there is none.
    pub display: Option<&'a str>,
    /// Between the brackets, or the bare address.
    pub uri: &'a str,
    /// The header's own parameters, with the leading `;`, or empty.
    pub params: &'a str,
}

impl<'a> NameAddr<'a> {
    /// Reads the first address of `text`, and what stands behind its comma.
    pub(super) fn first(text: &'a str) -> Result<(Self, Option<&'a str>), BadMessage> {
        let text = trim_start(text);
        let bad = BadMessage::Address;
        let (display, bracketed) = if text.starts_with('"') {
            // Behind the closing quote only white space may stand before the bracket.
            let open = find_outside_quotes(text, |byte| byte == b'<').map_err(|()| bad)?.ok_or(bad)?;
            let display = trim(&text[..open]);
            if !is_one_quoted_string(display) {
                return Err(bad);
            }
            (Some(display), Some(&text[open + 1..]))
        } else {
            match text.bytes().position(|byte| matches!(byte, b'<' | b',' | b';' | b'"')) {
                Some(at) if text.as_bytes().get(at) == Some(&b'<') => {
                    let display = trim(&text[..at]);
                    if !display.bytes().all(|byte| is_token(byte) || is_space(byte) || byte >= 0x80) {
                        return Err(bad);
                    }
                    (Some(display).filter(|display| !display.is_empty()), Some(&text[at + 1..]))
                }
                Some(at) if text.as_bytes().get(at) == Some(&b'"') => return Err(bad),
                Some(_) | None => (None, None),
            }
        };
        let (uri, behind) = match bracketed {
            Some(inside) => {
                let close = find(inside, b'>').ok_or(bad)?;
                (&inside[..close], &inside[close + 1..])
            }
            None => {
                let end = text.bytes().position(|byte| matches!(byte, b';' | b',')).unwrap_or(text.len());
                let (uri, behind) = text.split_at(end);
                (trim(uri), behind)
            }
        };
        if !has_scheme(uri) || uri.bytes().any(is_unfit) {
            return Err(bad);
        }
        let comma = find_outside_quotes(behind, |byte| byte == b',').map_err(|()| bad)?;
        let (params, rest) = match comma {
            Some(at) => (&behind[..at], Some(&behind[at + 1..])),
            None => (behind, None),
        };
        let params = trim(params);
        // Without brackets the parameters are the header's (RFC 3261 §20.10). An element that takes a `;` before an `@`
        // for a part of the user, or a `?` for URI headers, reads another address: such a one needs brackets.
        let unclear = bracketed.is_none() && (uri.contains('?') || params.contains(['@', '?']));
        if unclear || !params::are_plain(params) {
            return Err(bad);
        }
        Ok((Self { display, uri, params }, rest))
    }

    /// The only address of `text`: a comma outside quotes, a second tag, or one without a value is an error.
    pub fn only(text: &'a str) -> Result<Self, BadMessage> {
        let (address, rest) = Self::first(text)?;
        let mut tags = params::iter(address.params).filter(|(name, _)| name.eq_ignore_ascii_case("tag"));
        let tag_fits = tags.next().is_none_or(|(_, tag)| tag.is_some_and(|tag| !tag.starts_with('"')));
        if rest.is_some() || !tag_fits || tags.next().is_some() {
            return Err(BadMessage::Address);
        }
        Ok(address)
    }

    /// Its tag (RFC 3261 §19.3).
    #[must_use]
    pub fn tag(&self) -> Option<&'a str> {
        self.param("tag").flatten()
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
