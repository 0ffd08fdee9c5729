//! `;name=value` parameters, with quotes respected.

use super::trim;

/// Ends of a piece of `text`: the offset of the first `stop` outside quotes, or None. Err on an unterminated quote.
pub(super) fn find_outside_quotes(text: &str, stop: impl Fn(u8) -> bool) -> Result<Option<usize>, ()> {
    let mut quoted = false;
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate() {
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
            let pair = match one.split_once('=') {
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

/// First parameter of this name, case ignored. Outer None: not there. Inner None: no value.
pub(super) fn find<'a>(text: &'a str, name: &str) -> Option<Option<&'a str>> {
    iter(text).find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_semicolon_in_quotes_is_no_parameter() {
        let all: Vec<_> = iter("; a = \"x;tag=evil\" ;tag=real;;flag").collect();

        assert_eq!(all, [("a", Some("\"x;tag=evil\"")), ("tag", Some("real")), ("flag", None)]);
    }

    #[test]
    fn an_unterminated_quote_is_an_error() {
        assert_eq!(find_outside_quotes("a\"b,c", |byte| byte == b','), Err(()));
    }
}
