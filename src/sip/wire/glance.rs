//! Does a message begin something new? A look at its bytes, for when there is no time to read it.

/// True for a request outside any dialog that is no part of a transaction either: what may be left when not everything
/// can be done. A message that cannot be read counts as one.
///
/// A request that only pretends to be inside a dialog is found out when it is read; whoever sends many of them takes
/// the place of its own messages (see `gate::Overload`).
#[must_use]
pub fn begins(datagram: &[u8]) -> bool {
    let text = datagram.trim_ascii_start();
    let inside = ["SIP/2.0 ", "ACK ", "BYE ", "CANCEL ", "PRACK ", "UPDATE ", "INFO "];
    if inside.iter().any(|start| text.starts_with(start.as_bytes())) {
        return false;
    }
    !to_has_tag(text)
}

fn to_has_tag(text: &[u8]) -> bool {
    for line in text.split(|byte| *byte == b'\n').skip(1) {
        let line = line.trim_ascii_end();
        if line.is_empty() {
            return false;
        }
        let Some(colon) = line.iter().take(16).position(|byte| *byte == b':') else { continue };
        let (name, value) = line.split_at(colon);
        let name = name.trim_ascii_end();
        if name.eq_ignore_ascii_case(b"To") || name.eq_ignore_ascii_case(b"t") {
            return value.windows(5).any(|part| part.eq_ignore_ascii_case(b";tag="));
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_to_a_call_is_told_from_what_begins_one() {
        let request =
            |method: &str, to: &str| format!("{method} sip:a@b SIP/2.0\r\nFrom: <sip:x@y>;tag=1\r\n{to}\r\n\r\n");

        for (message, expected) in [
            (request("INVITE", "To: <sip:a@b>"), true),
            (request("INVITE", "To: <sip:a@b>;tag=2"), false),
            (request("INVITE", "t : <sip:a@b> ;TAG=2").replace(" ;", ";"), false),
            (request("OPTIONS", "To: <sip:a@b>"), true),
            (request("REGISTER", "X: ;tag=2\r\nTo: <sip:a@b>"), true),
            (request("SUBSCRIBE", "X: 1"), true),
            (request("BYE", "To: <sip:a@b>;tag=2"), false),
            (request("CANCEL", "To: <sip:a@b>"), false),
            (request("ACK", "To: <sip:a@b>"), false),
            ("SIP/2.0 200 OK\r\n\r\n".to_owned(), false),
            ("\r\n\r\nSIP/2.0 180 Ringing\r\n".to_owned(), false),
            ("junk".to_owned(), true),
            (String::new(), true),
        ] {
            assert_eq!(begins(message.as_bytes()), expected, "{message}");
        }
    }
}
