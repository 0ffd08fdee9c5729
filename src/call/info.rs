//! Keys that are told by a request: INFO in the ways of several makers, and NOTIFY (RFC 4730).

use crate::rtp::control::KEYS;
use crate::sip::wire::{Message, Method, Name};

/// How a body says a key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Spelled {
    /// The key, and nothing else (application/dtmf).
    Bare,
    /// `Signal=5` (application/dtmf-relay), or `d=Digits=5` of Nortel's.
    Named(&'static str),
    /// `digits="5"` (RFC 4730 §5.3).
    Quoted,
    /// The payload of an event in RTP (RFC 4733 §2.3).
    Event,
}

/// How the body of a message says keys; None: it says none.
fn spelled(message: &Message<'_>) -> Option<Spelled> {
    if !matches!(message.method(), Some(Method::Info | Method::Other("NOTIFY"))) {
        return None;
    }
    let kind = message.header(Name::ContentType)?.value.to_ascii_lowercase();
    Some(match kind.split(';').next().unwrap_or_default().trim() {
        "application/dtmf-relay" => Spelled::Named("Signal="),
        "application/vnd.nortelnetworks.digits" => Spelled::Named("d=Digits="),
        "application/kpml-response+xml" => Spelled::Quoted,
        "audio/telephone-event" => Spelled::Event,
        kind if kind.starts_with("application/dtmf") => Spelled::Bare,
        _ => return None,
    })
}

/// True for a request that says a key, even one that we do not know.
pub(super) fn carries_key(message: &Message<'_>) -> bool {
    match spelled(message) {
        // It may say that nobody has pressed any.
        Some(Spelled::Quoted) => dtmf_key(message).is_some(),
        spelled => spelled.is_some(),
    }
}

/// The key in a request.
pub(super) fn dtmf_key(message: &Message<'_>) -> Option<char> {
    let (spelled, body) = (spelled(message)?, message.body());
    if spelled == Spelled::Event {
        // One press is told twice, when it begins and when it ends.
        let [key, ends, ..] = body else { return None };
        return KEYS.get(usize::from(*key)).copied().filter(|_| ends & 0x80 != 0);
    }
    let body = std::str::from_utf8(body).ok()?;
    let text = match spelled {
        Spelled::Named(name) => body.lines().find_map(|line| line.trim().strip_prefix(name))?,
        Spelled::Quoted => body.split_once("digits=")?.1.trim_start_matches(['"', '\'']),
        Spelled::Bare | Spelled::Event => body,
    };
    text.trim().chars().next().filter(|key| KEYS.contains(key))
}
