//! Keys that are told by INFO.

use crate::sip::wire::{Message, Method, Name};

/// The type of an INFO that says a key (application/dtmf-relay or application/dtmf).
fn dtmf_type(message: &Message<'_>) -> Option<String> {
    if message.method() != Some(Method::Info) {
        return None;
    }
    let kind = message.header(Name::ContentType)?.value.to_ascii_lowercase();
    Some(kind).filter(|kind| kind.starts_with("application/dtmf"))
}

/// True for an INFO that says a key, even one that we do not know.
pub(super) fn carries_key(message: &Message<'_>) -> bool {
    dtmf_type(message).is_some()
}

/// The key in an INFO.
pub(super) fn dtmf_key(message: &Message<'_>) -> Option<char> {
    let kind = dtmf_type(message)?;
    let body = std::str::from_utf8(message.body()).ok()?;
    let text = if kind.starts_with("application/dtmf-relay") {
        body.lines().find_map(|line| line.trim().strip_prefix("Signal="))?
    } else {
        body
    };
    text.trim().chars().next().filter(|key| key.is_ascii_digit() || "*#ABCD".contains(*key))
}
