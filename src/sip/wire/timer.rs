//! Session timers (RFC 4028): how long a session lasts unless it is refreshed, as a message says it.

use std::time::Duration;

use super::{Message, Name, number, params, trim};

/// A session's interval is never shorter (RFC 4028 §5); whoever says less means this.
const SHORTEST: Duration = Duration::from_secs(90);

impl Message<'_> {
    /// Session-Expires. None: not there, or not readable, which says as little.
    #[must_use]
    pub fn session_expires(&self) -> Option<Duration> {
        self.seconds("Session-Expires", "x").map(|interval| interval.max(SHORTEST))
    }

    /// Min-SE: the shortest interval that everybody so far takes (RFC 4028 §5).
    #[must_use]
    pub fn min_session_expires(&self) -> Option<Duration> {
        self.seconds("Min-SE", "Min-SE")
    }

    /// True if its sender understands the extension `option` (RFC 3261 §20.37).
    #[must_use]
    pub fn supports(&self, option: &str) -> bool {
        let named = |token: &str| token.eq_ignore_ascii_case(option);
        self.tokens(Name::Supported).chain(self.tokens(Name::Require)).any(named)
    }

    fn seconds(&self, name: &str, compact: &str) -> Option<Duration> {
        let header = self.other(name).or_else(|| self.other(compact))?;
        let end = params::find_outside_quotes(header.value, |byte| byte == b';').ok()?;
        let value = header.value.get(..end.unwrap_or(header.value.len()))?;
        number::<u32>(trim(value)).map(|seconds| Duration::from_secs(seconds.into()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use crate::sip::wire::{Index, Limits};

    fn with<T>(headers: &str, read: impl FnOnce(&Message<'_>) -> T) -> T {
        let text = format!(
            "INVITE sip:201@pbx SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa\r\nFrom: <sip:a@x>;tag=1\r\n\
             To: <sip:201@pbx>\r\nCall-ID: c@x\r\nCSeq: 1 INVITE\r\n{headers}Content-Length: 0\r\n\r\n"
        );
        read(&Index::new().read(text.as_bytes(), &Limits::default()).unwrap())
    }

    #[test]
    fn intervals_in_every_spelling() {
        for (headers, seconds) in [
            ("Session-Expires: 1800\r\n", Some(1_800)),
            ("session-expires : 120 ; refresher = uac\r\n", Some(120)),
            ("x: 4294967295;refresher=uas\r\n", Some(4_294_967_295)),
            ("Session-Expires: 5\r\n", Some(90)),
            ("Session-Expires: -1\r\n", None),
            ("Session-Expires: 4294967296\r\n", None),
            ("Session-Expires: soon\r\n", None),
            ("Session-Expires:\r\n", None),
            ("", None),
        ] {
            let interval = with(headers, |message| message.session_expires());
            assert_eq!(interval, seconds.map(Duration::from_secs), "{headers}");
        }
        assert_eq!(with("Min-SE: 60;x=y\r\n", |message| message.min_session_expires()), Some(Duration::from_secs(60)));
    }

    #[test]
    fn what_is_required_is_supported() {
        assert!(with("k: 100rel, Timer\r\n", |message| message.supports("timer")));
        assert!(with("Require: timer\r\n", |message| message.supports("timer")));
        assert!(!with("Supported: timers\r\n", |message| message.supports("timer")));
    }
}
