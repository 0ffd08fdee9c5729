//! Messages of telephones that write names in ISO 8859-1, and of gateways that write addresses with nothing in a place
//! where something must be.
//!
//! In: a message that has been refused. Out: the same with what is no UTF-8 written as such, or with addresses as they
//! are meant, so that all behind us read the bytes that were decided on. It is read anew, and as strictly.

use super::name_addr::{self, NameAddr};
use super::seek::split_once;
use super::{Index, Name, span, trim, via};

impl Index {
    /// The message that [`Index::read`] has refused for an address or a Via, without a semicolon behind which there is
    /// no parameter (`<sip:a@b>;tag=1;`), and without an `@` before which there is no user (`<sip:@b>`): nobody reads
    /// anything else there, and many do not read it at all. None: it has none of these.
    #[must_use]
    pub fn tidied(&self, message: &[u8]) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        let mut at = 0;
        for entry in &self.entries {
            let Some(from) = message.get(entry.value.clone()).and_then(|value| std::str::from_utf8(value).ok()) else {
                continue;
            };
            let Some(to) = tidy(entry.name, from) else { continue };
            out.extend_from_slice(message.get(at..entry.value.start)?);
            out.extend_from_slice(to.as_bytes());
            at = entry.value.end;
        }
        out.extend_from_slice(message.get(at..)?);
        (at > 0).then_some(out)
    }
}

/// The value of a Via or an address header as it is meant; None: that is as it stands, or nobody's guess.
fn tidy(name: Name, value: &str) -> Option<String> {
    let one = matches!(name, Name::From | Name::To);
    if !one && !matches!(name, Name::Contact | Name::Route | Name::RecordRoute | Name::Via) {
        return None;
    }
    let whole = |text: &str| {
        if name == Name::Via {
            via::iter(text).all(|via| via.is_ok())
        } else {
            name_addr::iter(text).all(|address| address.is_ok())
        }
    };
    let bare = value.strip_suffix(';').map(trim).filter(|bare| whole(bare));
    let text = bare.unwrap_or(value);
    let address = NameAddr::only(text).ok().filter(|_| one);
    let empty = address.and_then(|address| split_once(address.uri, b':')).filter(|(scheme, rest)| {
        ["sip", "sips"].iter().any(|known| scheme.eq_ignore_ascii_case(known))
            && rest.strip_prefix('@').is_some_and(|host| !host.contains('@'))
    });
    match (empty, bare) {
        (Some((_, rest)), _) => {
            let (before, behind) = text.split_at_checked(span(text, rest).start)?;
            Some(format!("{before}{}", behind.get(1..)?))
        }
        (None, bare) => bare.map(str::to_owned),
    }
}

/// The message mended. None: its head is whole, or has no end.
#[must_use]
pub fn mended(message: &[u8]) -> Option<Vec<u8>> {
    // Behind keep-alives.
    let from = message.iter().position(|byte| !matches!(byte, b'\r' | b'\n'))?;
    let end = from + message.get(from..)?.windows(4).position(|four| four == b"\r\n\r\n")?;
    let (head, rest) = message.split_at_checked(end)?;
    std::str::from_utf8(head).err()?;
    let mut out = Vec::with_capacity(message.len() + 32);
    for chunk in head.utf8_chunks() {
        out.extend_from_slice(chunk.valid().as_bytes());
        for byte in chunk.invalid() {
            // Below are control characters, in which nobody's name is written.
            let letter = if *byte < 0xA0 { '_' } else { char::from(*byte) };
            out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
    out.extend_from_slice(rest);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::{Index, mended};
    use crate::sip::wire::Limits;

    #[test]
    fn what_is_no_utf_8_in_the_head_is_latin_1_and_the_body_stays() {
        let whole: &[(&[u8], Option<&[u8]>)] = &[
            (b"\r\n\r\na: M\xFCller \xC3\xBC \x80\r\n\r\nb\xFC", Some("\r\n\r\na: Müller ü _\r\n\r\nb".as_bytes())),
            (b"a: b\r\n\r\n\xFC", None),
            (b"a: \xFC", None),
            (b"\r\n", None),
            (b"", None),
        ];
        for (message, expected) in whole {
            let seen = mended(message);
            let expected = expected.map(|expected| [expected, b"\xFC"].concat());
            assert_eq!(seen, expected, "{}", message.escape_ascii());
        }
    }

    #[test]
    fn addresses_are_written_as_they_are_meant_and_nothing_else_is_touched() {
        let request = |lines: &str| format!("INVITE sip:201@pbx SIP/2.0\r\n{lines}\r\nbody <sip:@x>;");
        for (sent, tidied) in [
            ("From: <sip:@a>;tag=1\r\n", Some("From: <sip:a>;tag=1\r\n")),
            ("f: \"<sip:@b>\" <SIPS:@a> ;tag=1 ; \r\n", Some("f: \"<sip:@b>\" <SIPS:a> ;tag=1 \r\n")),
            ("To: sip:@a;\r\n\tx\r\n", Some("To: sip:a;\r\n\tx\r\n")),
            ("To: sip:@a;\r\nX: <sip:@b>;\r\n", Some("To: sip:a\r\nX: <sip:@b>;\r\n")),
            (
                "Contact: <sip:@a>;\r\nm: <sip:b>,<sip:c>;q=1;\r\n",
                Some("Contact: <sip:@a>\r\nm: <sip:b>,<sip:c>;q=1\r\n"),
            ),
            ("Record-Route: <sip:a;lr>;\r\n", Some("Record-Route: <sip:a;lr>\r\n")),
            ("From: <sip:@a@b>;tag=1\r\n", None),
            ("From: <tel:@a>;tag=1\r\n", None),
            ("Contact: <sip:a>;;\r\n", None),
            ("Contact: \"<sip:a>;\r\n", None),
            ("Contact: ;\r\n", None),
            ("Via: SIP/2.0/UDP a;rport;\r\n", Some("Via: SIP/2.0/UDP a;rport\r\n")),
            ("v: SIP/2.0/UDP a;;,;,,\r\n", None),
        ] {
            let (sent, tidied) = (request(sent), tidied.map(|tidied| request(tidied).into_bytes()));
            let mut index = Index::new();
            let _ = index.read(sent.as_bytes(), &Limits::default());
            assert_eq!(index.tidied(sent.as_bytes()), tidied, "{sent}");
        }
    }
}
