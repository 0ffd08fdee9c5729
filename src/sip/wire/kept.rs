//! A message that outlives its datagram.

use super::{Index, Message};

/// The bytes of a message that has been read, and what was found in them.
#[derive(Clone, Debug)]
pub struct KeptMessage {
    bytes: Box<[u8]>,
    index: Index,
}

impl Message<'_> {
    /// The message for later, so that it need not be read again.
    #[must_use]
    pub fn keep(&self) -> KeptMessage {
        let index = self.index().clone();
        let bytes = self.raw().get(..index.body.end).unwrap_or_default();
        KeptMessage { bytes: bytes.into(), index }
    }
}

impl KeptMessage {
    /// As it came.
    #[must_use]
    pub fn message(&self) -> Message<'_> {
        // It was text when it was read.
        let head = self.bytes.get(..self.index.body.start).and_then(|head| std::str::from_utf8(head).ok());
        Message::new(&self.bytes, head.unwrap_or_default(), &self.index)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use crate::sip::wire::{Index, Limits};

    #[test]
    fn a_kept_message_is_the_one_that_was_read() {
        let text = b"\r\nINVITE sip:201@pbx SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa\r\nFrom: <sip:a@x>;tag=1\r\n\
              To: <sip:201@pbx>\r\nCall-ID: c@x\r\nCSeq: 1 INVITE\r\nContact: <sip:a@x>\r\nContent-Length: 4\r\n\r\nbodyrest";
        let mut index = Index::new();
        let kept = index.read(text, &Limits::default()).unwrap().keep();
        assert!(index.read(b"OPTIONS", &Limits::default()).is_err());

        let message = kept.message();

        assert_eq!((message.request_uri(), message.body()), (Some("sip:201@pbx"), &b"body"[..]));
        assert_eq!(message.bytes(), &text[2..text.len() - 4]);
        assert_eq!(message.contact().unwrap().unwrap().uri, "sip:a@x");
        assert_eq!(message.via().unwrap().branch(), Some("z9hG4bKa"));
    }
}
