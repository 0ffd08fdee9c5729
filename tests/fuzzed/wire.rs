//! SIP messages, streams and session descriptions.

use std::net::{IpAddr, SocketAddr};

use ringfence::sip::framing::{Frame, Framer};
use ringfence::sip::wire::sdp::{Beside, Protection, Sdp};
use ringfence::sip::wire::{Index, Limits};

use super::Choices;
use super::forward::Forwarder;
use super::mutation;

/// Refused, or forwarded as it was decided on.
pub(crate) fn message(bytes: &[u8]) {
    mutation::meet(bytes, &mut Index::new(), &mut Forwarder::default());
}

/// The same frames however the stream is cut, each of them no longer than allowed.
pub(crate) fn stream(bytes: &[u8]) {
    let mut choices = Choices(bytes);
    let cut = 1 + choices.below(40);
    let stream = choices.0;

    let whole = frames(std::iter::once(stream));
    let pieces = frames(stream.chunks(cut));

    assert!(whole == pieces, "{whole:?}\n{pieces:?}");
}

fn frames<'b>(pieces: impl Iterator<Item = &'b [u8]>) -> Vec<String> {
    let mut framer = Framer::new();
    let mut said = Vec::new();
    for piece in pieces {
        framer.push(piece);
        loop {
            match framer.next(&Limits::default()) {
                Ok(Some(Frame::Message(bytes))) => {
                    assert!(bytes.len() <= 16 * 1024 + 65_537, "a message of {} bytes", bytes.len());
                    said.push(bytes.escape_ascii().to_string());
                }
                Ok(Some(Frame::Ping)) => said.push("ping".to_owned()),
                Ok(None) => break,
                Err(bad) => said.push(format!("{:?} {}", bad.error, bad.head.escape_ascii())),
            }
        }
    }
    said
}

/// Whatever the description, what leaves names no address but ours.
pub(crate) fn sdp(bytes: &[u8]) {
    let Ok(old) = Sdp::read(bytes) else { return };
    let Some(section) = old.anchored() else { return };
    for at in ["203.0.113.2:30000", "[2001:db8::7]:65534"] {
        let at: SocketAddr = at.parse().unwrap();
        let mut out = Vec::new();
        // With its video at another port, where it has one.
        let shown = old.video();
        let beside = shown.map(|section| Beside { section, port: 40_000 });
        old.protected(section, beside, at, &Protection::AsItIs, &mut out);
        let context = || format!("\nin:  {}\nout: {}", bytes.escape_ascii(), out.escape_ascii());
        let new = Sdp::read(&out).unwrap_or_else(|error| panic!("{error}{}", context()));
        assert_eq!((old.media.len(), Some(section)), (new.media.len(), new.anchored()), "{}", context());
        for (number, (old, new)) in old.media.iter().zip(&new.media).enumerate() {
            let passes = number == section || Some(number) == shown;
            let port = match passes {
                true if number == section => at.port(),
                true => 40_000,
                false => 0,
            };
            assert_eq!((old.kind, old.protocol, &old.formats), (new.kind, new.protocol, &new.formats), "{}", context());
            assert_eq!(new.port, port, "{}", context());
            let ours = |address: IpAddr| address.is_unspecified() || address == at.ip();
            assert!(!passes || new.address.is_none_or(ours), "{}", context());
            assert!(!passes || new.rtcp.is_none_or(|rtcp| ours(rtcp.ip())), "{}", context());
            assert_eq!(old.is_held(), new.is_held(), "{}", context());
        }
    }
}
