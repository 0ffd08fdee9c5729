//! Messages out of a stream of bytes (RFC 3261 §18.3, RFC 5626 §3.5.1).
//!
//! In: bytes as they come, cut anywhere. Out: one [`Frame`] after another, or [`BadFrame`] and nothing more. Where a
//! message ends is read by the same [`Index`] that reads the message, so no two readers can differ about it.
//!
//! A message that is over the limits of its reader, or wrong in a line, keeps its place all the same: whoever makes a
//! peer send one must not end that peer's connection for everybody.
//!
//! Invariant: holds at most one message of the allowed size and one push more; the same bytes give the same frames,
//! however they were cut.

use super::wire::{BadMessage, Index, Limits};

/// Longest body, and longest head that still has an end: as over UDP, where no message is longer. Both together are no
/// longer than the longest body behind a head that may be read.
const LONGEST_PART: usize = 65_535;

/// One thing that a stream said.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Frame<'a> {
    /// A whole message.
    Message(&'a [u8]),
    /// CRLF CRLF between messages: is answered by one CRLF.
    Ping,
}

/// Where the next message begins cannot be told any more: the connection must be closed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BadFrame {
    /// What is wrong.
    pub error: BadMessage,
    /// What was read of it, so that its sender can be told.
    pub head: Vec<u8>,
}

/// Cuts one stream into messages.
#[derive(Debug, Default)]
pub struct Framer {
    buffer: Vec<u8>,
    /// Bytes at the front that have been given out.
    given: usize,
    /// Behind `given`: up to here there is no end of a head.
    searched: usize,
    /// Length of the message at the front, once its head is known.
    length: Option<usize>,
    /// A CRLF has come that may be the first half of a ping.
    half_ping: bool,
    index: Index,
    broken: bool,
}

impl Framer {
    /// Nothing has come yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes bytes; then ask [`Framer::next`] until None.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.broken {
            return;
        }
        self.buffer.drain(..self.given);
        self.given = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// True in the middle of a message.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.buffer.len() > self.given
    }

    /// The next message or ping.
    ///
    /// # Errors
    /// Once, when the stream cannot be read on; then it is silent.
    pub fn next(&mut self, limits: &Limits) -> Result<Option<Frame<'_>>, BadFrame> {
        loop {
            let Some(rest) = self.buffer.get(self.given..).filter(|rest| !rest.is_empty()) else { return Ok(None) };
            match (rest.first(), rest.get(1)) {
                (Some(b'\r'), Some(b'\n')) => {
                    self.given += 2;
                    self.half_ping = !self.half_ping;
                    if !self.half_ping {
                        return Ok(Some(Frame::Ping));
                    }
                }
                (Some(b'\r'), None) => return Ok(None),
                (Some(b'\r' | b'\n'), _) => return Err(self.break_off(BadMessage::BadByte, 0)),
                _ => break,
            }
        }
        self.half_ping = false;
        let length = match self.length {
            Some(length) => length,
            None => match self.measure(limits) {
                Ok(Some(length)) => length,
                Ok(None) => return Ok(None),
                Err((error, head)) => return Err(self.break_off(error, head)),
            },
        };
        self.length = Some(length);
        let (start, end) = (self.given, self.given + length);
        if self.buffer.len() < end {
            return Ok(None);
        }
        self.given = end;
        self.searched = 0;
        self.length = None;
        Ok(self.buffer.get(start..end).map(Frame::Message))
    }

    /// Length of the message at the front; None: its head has not come to its end. An error comes with the length of
    /// the head, as far as it is known.
    fn measure(&mut self, limits: &Limits) -> Result<Option<usize>, (BadMessage, usize)> {
        let rest = self.buffer.get(self.given..).unwrap_or_default();
        let from = self.searched.saturating_sub(3);
        // The longest head and the empty line.
        let longest = limits.header_bytes.max(LONGEST_PART).saturating_add(2);
        let window = rest.get(from..rest.len().min(longest)).unwrap_or_default();
        let Some(end) = window.windows(4).position(|four| four == b"\r\n\r\n") else {
            self.searched = rest.len();
            return if rest.len() >= longest { Err((BadMessage::OverLimit, 0)) } else { Ok(None) };
        };
        let head = from + end + 4;
        let most = limits.header_bytes.saturating_add(2 + LONGEST_PART);
        match self.index.body_length(rest.get(..head).unwrap_or_default(), limits.headers) {
            Ok(Some(body)) if body <= LONGEST_PART && head + body <= most => Ok(Some(head + body)),
            Ok(Some(_)) => Err((BadMessage::OverLimit, head)),
            Ok(None) => Err((BadMessage::Length, head)),
            Err(error) => Err((error, head)),
        }
    }

    fn break_off(&mut self, error: BadMessage, head: usize) -> BadFrame {
        self.broken = true;
        let mut bytes = std::mem::take(&mut self.buffer);
        bytes.drain(..std::mem::take(&mut self.given));
        bytes.truncate(head);
        BadFrame { error, head: bytes }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(method: &str, body: &str) -> String {
        format!(
            "{method} sip:201@pbx SIP/2.0\r\nVia: SIP/2.0/TCP 192.0.2.1;branch=z9hG4bKa\r\nFrom: <sip:a@x>;tag=1\r\n\
             To: <sip:201@pbx>\r\nCall-ID: c@x\r\nCSeq: 1 {method}\r\nContent-Length : {}\r\n\r\n{body}",
            body.len()
        )
    }

    /// Everything a stream says, as text; the last line is the error if there was one.
    fn frames(stream: &[u8], cuts: &[usize]) -> Vec<String> {
        let mut framer = Framer::new();
        let mut said = Vec::new();
        let mut from = 0;
        for to in cuts.iter().copied().chain([stream.len()]) {
            framer.push(&stream[from..to]);
            from = to;
            loop {
                match framer.next(&Limits::default()) {
                    Ok(Some(Frame::Message(bytes))) => said.push(String::from_utf8_lossy(bytes).into_owned()),
                    Ok(Some(Frame::Ping)) => said.push("ping".to_owned()),
                    Ok(None) => break,
                    Err(bad) => said.push(format!("{:?} {}", bad.error, String::from_utf8_lossy(&bad.head))),
                }
            }
        }
        said
    }

    #[test]
    fn one_byte_at_a_time_gives_the_same_messages() {
        let (first, second) = (message("OPTIONS", "v=0\r\n\r\nm=\r\n"), message("INFO", ""));
        let stream = format!("\r\n\r\n{first}\r\n{second}\r\n\r\n");
        let cuts: Vec<usize> = (1..stream.len()).collect();

        let said = frames(stream.as_bytes(), &cuts);

        assert_eq!(said, ["ping", &first, &second, "ping"]);
    }

    #[test]
    fn a_stream_that_cannot_be_framed_is_an_error_once() {
        let good = message("OPTIONS", "");
        for (text, error) in [
            (good.replace("Content-Length : 0\r\n", ""), "Length"),
            (good.replace("Content-Length : 0", "Content-Length: -1"), "Length"),
            (good.replace("Content-Length : 0", "Content-Length: +1"), "Length"),
            (good.replace("Content-Length : 0", "Content-Length: 0\r\nl: 9"), "Duplicate"),
            (good.replace("Content-Length : 0", "Content-Length: 65536"), "OverLimit"),
            (good.replace("Content-Length : 0", "Content-Length: 99999999999999999999999"), "Length"),
            (good.replace("Content-Length", "Content Length"), "HeaderLine"),
            // Some take a line of white space for the end of the head.
            (good.replace("Via", "bad\r\n \r\nVia"), "HeaderLine"),
            (good.replace("Via", " Content-Length: 9\r\nVia"), "HeaderLine"),
            (good.replace("c@x", "c@x\nContent-Length: 9"), "BadByte"),
            (format!("\n{good}"), "BadByte"),
            (format!("GET / HTTP/1.1\r\n\r\n{good}"), "StartLine"),
            (good.replace("SIP/2.0\r\n", "HTTP/1.1\r\n"), "StartLine"),
            (good.replace("OPTIONS sip:201@pbx SIP/2.0", "SIP/2.0 2x0 OK"), "StartLine"),
            (format!("OPTIONS sip:{} SIP/2.0\r\n", "x".repeat(70_000)), "OverLimit"),
            (good.replace("c@x", &"x\r\n".repeat(30_000)), "OverLimit"),
            (good.replace("Via", &format!("X: {}\r\nVia", "x".repeat(60_000))).replace(" : 0", ": 40000"), "OverLimit"),
        ] {
            let said = frames(format!("{text}{good}").as_bytes(), &[]);
            assert_eq!(said.len(), 1, "{text}");
            assert!(said[0].starts_with(error), "{text}: {}", said[0]);
        }
    }

    #[test]
    fn a_message_with_other_faults_keeps_its_place_in_the_stream() {
        let bad = message("OPTIONS", "").replace("Call-ID: c@x\r\n", "");
        let good = message("INFO", "");

        assert_eq!(frames(format!("{bad}{good}").as_bytes(), &[]), [bad, good]);
    }

    #[test]
    fn a_message_that_is_too_much_to_read_keeps_its_place_in_the_stream() {
        let (bad, good) = (message("OPTIONS", "body"), message("INFO", ""));
        let many = |count: usize| "X: y\r\n".repeat(count) + "Via";
        for bad in [
            bad.replace("<sip:201@pbx>", &"x".repeat(5_000)),
            bad.replace("Via", &many(200)),
            bad.replace("Via", &many(10_000)),
            bad.replace("Via", "no header\r\nVia"),
            bad.replace("Via", "M\u{fc}ller: x\r\nVia"),
            bad.replace("201@pbx SIP/2.0", "201@pbx SIP/7.0"),
            bad.replace("201@pbx SIP/2.0", "201 @pbx sip/2.0"),
        ] {
            let latin: Vec<u8> = format!("{bad}{good}").chars().map(|letter| letter as u8).collect();
            let said = frames(&latin, &[]);
            assert_eq!((said.len(), said.last()), (2, Some(&good)), "{bad}");
            assert!(said[0].ends_with("\r\n\r\nbody"), "{bad}");
        }
    }

    #[test]
    fn a_framer_keeps_no_large_table() {
        let mut framer = Framer::new();
        framer.push(message("OPTIONS", "").replace("Via", &("X:\r\n".repeat(12_000) + "Via")).as_bytes());

        assert!(matches!(framer.next(&Limits::default()), Ok(Some(Frame::Message(_)))));
        assert!(framer.index.size() < 16 * 1024, "{}", framer.index.size());
    }

    #[test]
    fn a_name_in_latin_1_ends_no_stream() {
        let good = message("INFO", "");
        let bytes: Vec<u8> = format!("{}{good}", good.replace("<sip:a@x>", "M\u{fc}ller <sip:a@x>"))
            .chars()
            .map(|letter| letter as u8)
            .collect();

        let said = frames(&bytes, &[]);

        assert_eq!((said.len(), &said[1]), (2, &good), "{said:?}");
    }

    #[test]
    fn a_framer_holds_no_more_than_a_message() {
        let mut framer = Framer::new();
        for _ in 0..10_000 {
            framer.push(&[b'x'; 1_000]);
            let _ = framer.next(&Limits::default());
        }

        assert!(framer.buffer.capacity() < 192 * 1024, "{}", framer.buffer.capacity());
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same_frames(
            parts in prop::collection::vec(0_usize..11, 1..8),
            noise in prop::collection::vec(any::<u8>(), 0..40),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..30),
        ) {
            let mut stream = Vec::new();
            for part in parts {
                match part {
                    0..=3 => stream.extend(message("OPTIONS", &"b\r\n\r\n".repeat(part)).into_bytes()),
                    4 => stream.extend(b"\r\n"),
                    5 => stream.extend(b"\r\n\r\n"),
                    6 => stream.extend(message("INFO", "").replace("Content-Length : 0\r\n", "").into_bytes()),
                    7 => stream.extend(message("INFO", "").replace("INFO sip", "INFO\u{1}sip").into_bytes()),
                    8 => stream.extend(message("INFO", "b").replace("Via", &("X:\r\n".repeat(200) + "Via")).into_bytes()),
                    9 => stream.extend(message("INFO", "b").replace("Via", "no header\r\nVia").into_bytes()),
                    _ => stream.extend(&noise),
                }
            }
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
            cuts.sort_unstable();

            prop_assert_eq!(frames(&stream, &[]), frames(&stream, &cuts));
        }
    }
}
