//! Messages of telephones that write names in ISO 8859-1.
//!
//! In: a message whose head is no UTF-8. Out: the same with what is none written as UTF-8, so that all behind us read
//! the bytes that were decided on, and a caller by the name of Müller gets through.

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
    use super::mended;

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
}
