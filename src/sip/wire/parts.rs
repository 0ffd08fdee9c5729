//! The session description inside a body of several parts (RFC 2046 §5.1, RFC 5621). Beside it may stand what one
//! exchange says to another (ISUP), or where somebody is who calls for help (PIDF-LO).

use std::ops::Range;

use super::seek::{Cursor, PARTING, is_token, split_before};
use super::{params, trim};

/// Where the description lies in a body whose Content-Type is `kind`. None: it has none. Where there are several, or
/// where type or parts can be read in more than one way, it is all of the body: a description, or nothing that can be
/// read as one and be passed on.
pub(super) fn description_at(kind: &str, body: &[u8]) -> Option<Range<usize>> {
    let whole = 0..body.len();
    match Kind::of(kind) {
        _ if whole.is_empty() => None,
        Some(Kind::Description) | None => Some(whole),
        Some(Kind::Parts) => among_parts(kind, body).unwrap_or(Some(whole)),
        Some(Kind::Other) => None,
    }
}

/// The type of a description, as each reader knows it.
const DESCRIPTION: &str = "application/sdp";

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Description,
    Parts,
    Other,
}

impl Kind {
    /// None: it is not plainly one token, a slash and another. Some readers skip spaces there.
    fn of(text: &str) -> Option<Self> {
        let text = trim(split_before(text, b';').0);
        let (kind, subtype) = text.split_once('/')?;
        if [kind, subtype].iter().any(|token| token.is_empty() || !token.bytes().all(is_token)) {
            return None;
        }
        Some(match text {
            _ if kind.eq_ignore_ascii_case("multipart") => Self::Parts,
            text if text.eq_ignore_ascii_case(DESCRIPTION) => Self::Description,
            _ => Self::Other,
        })
    }
}

/// The one description among the parts. Outer None: there is more than one reading.
fn among_parts(kind: &str, body: &[u8]) -> Option<Option<Range<usize>>> {
    let delimiter = format!("--{}", boundary(kind)?);
    let (mut at, mut begun, mut found, mut delimiters) = (0, None, None, 0);
    loop {
        let rest = body.get(at..)?;
        let length = rest.windows(2).position(|two| two == b"\r\n").unwrap_or(rest.len());
        if let Some(behind) = rest.get(..length)?.strip_prefix(delimiter.as_bytes()) {
            delimiters += 1;
            let (closes, behind) = behind.strip_prefix(b"--").map_or((false, behind), |behind| (true, behind));
            if !behind.iter().all(|byte| matches!(byte, b' ' | b'\t')) {
                return None;
            }
            if let Some(start) = begun
                && let Some(description) = description_of(body, start..at)?
                && found.replace(description).is_some()
            {
                return None;
            }
            if closes {
                // Before any part, it closes nothing.
                begun?;
                break;
            }
            begun = Some(at + length + 2);
        }
        at += length + 2;
    }
    // Some readers see a delimiter in the middle of a line, or a description wherever its type is named.
    let alone =
        occurrences(body, &delimiter) == delimiters && occurrences(body, DESCRIPTION) == usize::from(found.is_some());
    alone.then_some(found)
}

/// The one boundary of a type, where all readers see the same.
fn boundary(kind: &str) -> Option<&str> {
    let mut cursor = Cursor::new(kind);
    cursor.take_until(PARTING);
    let list =
        params::take_plain(&mut cursor, "boundary").filter(|list| list.count == 1 && cursor.rest().is_empty())?;
    let value = list.value?;
    let plain = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
    let fits = !plain.is_empty() && !plain.contains(['"', '\\']);
    fits.then_some(plain)
}

/// How often `text` stands in `body`, in whatever case. As text, whose search takes no longer for a boundary that is
/// nearly everywhere.
fn occurrences(body: &[u8], text: &str) -> usize {
    let folded = |bytes: &[u8]| bytes.iter().map(|byte| char::from(byte.to_ascii_lowercase())).collect::<String>();
    folded(body).matches(&folded(text.as_bytes())).count()
}

/// Where the description lies in the part at `part`, its last line end included. Inner None: the part is none. Outer
/// None: there is more than one reading.
fn description_of(body: &[u8], part: Range<usize>) -> Option<Option<Range<usize>>> {
    let text = body.get(part.clone())?;
    if text.starts_with(b"\r\n") {
        // Without headers it is plain text.
        return Some(None);
    }
    let head_end = text.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(text.get(..head_end)?).ok()?;
    let mut kind = None;
    let mut as_it_is = true;
    for line in head.split("\r\n") {
        // A line that begins with white space goes on with the one before, and a bare CR or LF ends one for some: no
        // two readers agree on what is in it.
        let control = |byte: u8| byte < b' ' && byte != b'\t';
        let (name, value) = line.split_once(':').filter(|(name, _)| !name.starts_with([' ', '\t']))?;
        if line.bytes().any(control) {
            return None;
        }
        let name = trim(name);
        if name.eq_ignore_ascii_case("Content-Type") || name.eq_ignore_ascii_case("c") {
            if kind.replace(Kind::of(value)?).is_some() {
                return None;
            }
        } else if name.eq_ignore_ascii_case("Content-Transfer-Encoding") {
            as_it_is &= ["7bit", "8bit", "binary"].iter().any(|plain| trim(value).eq_ignore_ascii_case(plain));
        }
    }
    match kind {
        Some(Kind::Description) if as_it_is => Some(Some(part.start + head_end + 4..part.end)),
        Some(Kind::Description | Kind::Parts) => None,
        Some(Kind::Other) | None => Some(None),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::description_at;

    const SDP: &str = "Content-Type: application/sdp\r\n\r\nv=0\r\n";
    const OTHER: &str =
        "Content-Type: application/ISUP;version=itu-t92+\r\nContent-Disposition: signal\r\n\r\n\u{1}\r\n\u{2}\r\n";

    fn body(parts: &[&str]) -> String {
        parts.iter().map(|part| format!("--b\r\n{part}")).collect::<String>() + "--b--\r\n"
    }

    fn found<'b>(kind: &str, body: &'b str) -> Option<&'b str> {
        description_at(kind, body.as_bytes()).map(|at| &body[at])
    }

    #[test]
    fn the_description_is_found_wherever_it_stands() {
        const MIXED: &str = "Multipart/Mixed; boundary=b";

        assert_eq!(found("application/SDP ;x=y", "v=0\r\n"), Some("v=0\r\n"));
        for (kind, body) in [("application/sdp", ""), (MIXED, ""), ("text/plain", "v=0\r\n"), ("", "")] {
            assert_eq!(found(kind, body), None, "{kind}");
        }
        for parts in [&[SDP][..], &[SDP, OTHER], &[OTHER, SDP], &["\r\nplain\r\n", SDP]] {
            assert_eq!(found(MIXED, &body(parts)), Some("v=0\r\n"), "{parts:?}");
            let before = format!("for old readers\r\n{}behind", body(parts));
            assert_eq!(found("multipart/related;type=a;boundary=\"b\"", &before), Some("v=0\r\n"), "{parts:?}");
        }
        let spelled = SDP.replace("Content-Type", "Content-Transfer-Encoding: 8bit\r\nc ");
        assert_eq!(found(MIXED, &body(&[&spelled]).replace("--b\r\n", "--b \t\r\n")), Some("v=0\r\n"));
        assert_eq!(found(MIXED, &body(&[OTHER, "\r\nplain\r\n"])), None);
        for odd in ["", "application / sdp", "application,sdp", "application"] {
            assert_eq!(found(odd, "v=0\r\n"), Some("v=0\r\n"), "to be read, or refused: {odd}");
        }
    }

    #[test]
    fn what_has_several_readings_is_no_description() {
        let nested = "Content-Type: multipart/alternative;boundary=c\r\n\r\n--c\r\n\r\n--c--\r\n";
        for (kind, body) in [
            ("multipart/mixed", body(&[SDP])),
            ("multipart/mixed;boundary=c", body(&[SDP])),
            ("multipart/mixed;boundary=b", body(&[SDP, SDP])),
            ("multipart/mixed;boundary=b", body(&[SDP, nested])),
            ("multipart/mixed;boundary=b", body(&[SDP]).replace("--b--", "")),
            ("multipart/mixed;boundary=b", body(&[&SDP.replace("Content-Type:", "Content-Type: text/plain\r\nc:")])),
            ("multipart/mixed;boundary=b", body(&[&SDP.replace(" app", "\r\n app")])),
            ("multipart/mixed;boundary=b", body(&[&format!("Content-Transfer-Encoding: base64\r\n{SDP}")])),
            ("multipart/mixed;boundary=b", body(&["v=0\r\n"])),
            ("multipart/mixed;boundary=b", "--b--\r\n".to_owned()),
            ("multipart / mixed;boundary=b", body(&[SDP])),
            ("multipart/mixed;boundary=b;boundary=c", body(&[SDP])),
            ("multipart/mixed;boundary=\"b\\\"\"", body(&[SDP])),
            ("multipart/mixed;boundary=\"\"", body(&[SDP])),
            ("multipart/mixed;boundary=b", body(&[SDP]).replace("--b--", "--b--x")),
            ("multipart/mixed;boundary=b", body(&[SDP]).replace("--b--", "--b--x\r\n--b--")),
            ("multipart/mixed;boundary=b", body(&[&SDP.replace("v=0", "v=0\r\n--bc")])),
            // Delimiters and descriptions that other readers see.
            ("multipart/mixed;boundary=b", body(&[&format!("Content-Type: text/plain\r\n\r\nx--b\r\n{SDP}"), SDP])),
            ("multipart/mixed;boundary=b", body(&[&format!("Content-Type: text/plain\r\n\r\n{SDP}")])),
            ("multipart/mixed;boundary=b", body(&[&format!("X: y\n{SDP}")])),
            ("multipart/mixed;boundary=b", body(&[&SDP.replace("on/s", "on / s")])),
            ("multipart/mixed;boundary=b", body(&[SDP]) + "--B\r\n" + SDP),
        ] {
            assert_eq!(found(kind, &body), Some(&*body), "{kind}\n{body}");
        }
    }
}
