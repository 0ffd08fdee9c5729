//! `;name=value` parameters, with quotes respected.

use super::seek::{Cursor, NO_TOKEN, PARTING, UNFIT, split_once};
use super::trim;

/// Ends of a piece of `text`: the offset of the first `stop` outside quotes, or None. Err on an unterminated quote.
pub(super) fn find_outside_quotes(text: &str, stop: impl Fn(u8) -> bool) -> Result<Option<usize>, ()> {
    // Most have no quote at all.
    let Some(first) = text.bytes().position(|byte| byte == b'"' || stop(byte)) else { return Ok(None) };
    if text.as_bytes().get(first) != Some(&b'"') {
        return Ok(Some(first));
    }
    let mut quoted = false;
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(first) {
        if quoted {
            if escaped {
                escaped = false;
            } else if byte == b'\\' {
                escaped = true;
            } else if byte == b'"' {
                quoted = false;
            }
        } else if byte == b'"' {
            quoted = true;
        } else if stop(byte) {
            return Ok(Some(at));
        }
    }
    if quoted { Err(()) } else { Ok(None) }
}

/// Iterates over the parameters of `text`, which begins with `;` or is empty. Malformed quotes end it.
pub(super) fn iter(text: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    let mut rest = trim(text).strip_prefix(';').unwrap_or("");
    std::iter::from_fn(move || {
        while !rest.is_empty() {
            let end = find_outside_quotes(rest, |byte| byte == b';').unwrap_or(None);
            let (one, more) = match end {
                Some(end) => (&rest[..end], &rest[end + 1..]),
                None => (rest, ""),
            };
            rest = more;
            let pair = match split_once(one, b'=') {
                Some((name, value)) => (trim(name), Some(trim(value))),
                None => (trim(one), None),
            };
            if !pair.0.is_empty() {
                return Some(pair);
            }
        }
        None
    })
}

/// Parameters that have one reading.
#[derive(Clone, Copy, Debug)]
pub(super) struct ParamList<'a> {
    /// With the leading `;`, or empty.
    pub text: &'a str,
    /// How many have the wanted name.
    pub count: usize,
    /// The value of the first of them.
    pub value: Option<&'a str>,
}

/// Takes a list that has one reading, up to a comma or the end: it is empty, or each `;` is followed by a token and
/// perhaps `=` and one word or one quoted string (RFC 3261 §25.1, generic-param). Wider than the grammar in what a word
/// may hold, because phones are; never in what could end it. None: it has more than one reading.
pub(super) fn take_plain<'a>(cursor: &mut Cursor<'a>, wanted: &str) -> Option<ParamList<'a>> {
    cursor.skip_space();
    let start = *cursor;
    let mut end = start;
    let (mut count, mut found) = (0, None);
    while cursor.takes(b';') {
        cursor.skip_space();
        let name = cursor.take_until(NO_TOKEN);
        if name.is_empty() {
            return None;
        }
        end = *cursor;
        cursor.skip_space();
        let mut value = None;
        if cursor.takes(b'=') {
            cursor.skip_space();
            let quoted = cursor.next() == Some(b'"');
            let word = if quoted { cursor.take_quoted()? } else { cursor.take_until(UNFIT | PARTING) };
            if word.is_empty() {
                return None;
            }
            value = Some(word);
            end = *cursor;
            cursor.skip_space();
        }
        if name.eq_ignore_ascii_case(wanted) {
            found = if count == 0 { value } else { found };
            count += 1;
        }
    }
    let text = end.since(start.at());
    matches!(cursor.next(), None | Some(b',')).then_some(ParamList { text, count, value: found })
}

/// `name=value` parts between commas, as challenges have them (RFC 3261 §25.1, digest-cln). Values keep their quotes; a
/// part without a value is left out.
pub fn comma_params(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut rest = text;
    std::iter::from_fn(move || {
        while !rest.is_empty() {
            let (one, more) = match find_outside_quotes(rest, |byte| byte == b',') {
                Ok(Some(end)) => (&rest[..end], &rest[end + 1..]),
                Ok(None) => (rest, ""),
                // What an unterminated quote means is anybody's guess.
                Err(()) => ("", ""),
            };
            rest = more;
            if let Some((name, value)) = one.split_once('=') {
                return Some((trim(name), trim(value)));
            }
        }
        None
    })
}

/// Without the quotes around it. What is escaped inside stays as it is, as digests want it (RFC 7616 §3.4, unq).
#[must_use]
pub fn unquoted(text: &str) -> &str {
    text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text)
}

/// First parameter of this name, case ignored. Outer None: not there. Inner None: no value.
pub(super) fn find<'a>(text: &'a str, name: &str) -> Option<Option<&'a str>> {
    iter(text).find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn a_semicolon_in_quotes_is_no_parameter() {
        let all: Vec<_> = iter("; a = \"x;tag=evil\" ;tag=real;;flag").collect();

        assert_eq!(all, [("a", Some("\"x;tag=evil\"")), ("tag", Some("real")), ("flag", None)]);
    }

    /// True for a list that has one reading to its end.
    fn are_plain(text: &str) -> bool {
        let mut cursor = Cursor::new(text);
        take_plain(&mut cursor, "").is_some() && cursor.rest().is_empty()
    }

    #[test]
    fn a_plain_list_ends_at_a_comma_and_counts_what_is_wanted() {
        let mut cursor = Cursor::new(" ; a = 1;b=\",\";A;a=2 , next");

        let list = take_plain(&mut cursor, "a").unwrap();

        assert_eq!((list.text, list.count, list.value), ("; a = 1;b=\",\";A;a=2", 3, Some("1")));
        assert_eq!(cursor.rest(), ", next");
    }

    #[test]
    fn a_list_with_two_readings_is_not_plain() {
        for text in ["", " ; a = 1 ;b;c=\"x;\\\"y\" ", ";received=2001:db8::1;rport", ";+sip.instance=\"<urn:uuid:1>\""]
        {
            assert!(are_plain(text), "{text}");
        }
        for text in [
            "a",
            ";",
            ";a;",
            ";;a",
            ";a=",
            ";=a",
            ";a=1 2",
            ";a=\"x",
            ";a=\"x\"y",
            ";a=<x>",
            ";a b=1",
            ";a,b",
            ";a=x\"y\"",
        ] {
            assert!(!are_plain(text), "{text}");
        }
    }

    #[test]
    fn an_unterminated_quote_is_an_error() {
        assert_eq!(find_outside_quotes("a\"b,c", |byte| byte == b','), Err(()));
    }
}
