//! sip:, sips: and tel: URIs (RFC 3261 §19.1, RFC 3966). Read only; never decoded and written again.

use std::net::IpAddr;

use super::seek::{find, is_unfit, split_before, split_once};
use super::{BadMessage, is_token, number, params};

/// A URI's parts, as they stand.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Uri<'a> {
    /// `sip`, `sips` or `tel`, as written.
    pub scheme: &'a str,
    /// Before the `@`; the number of a tel: URI.
    pub user: Option<&'a str>,
    /// Host or bracketed IPv6 address; empty for tel:.
    pub host: &'a str,
    /// Port, where stated.
    pub port: Option<u16>,
    /// With the leading `;`, or empty.
    pub params: &'a str,
    /// Behind the `?`, or empty.
    pub headers: &'a str,
}

impl<'a> Uri<'a> {
    /// Reads `text`.
    ///
    /// # Errors
    /// [`BadMessage::Scheme`] for another scheme, [`BadMessage::Uri`] for what cannot be read in one way.
    pub fn parse(text: &'a str) -> Result<Self, BadMessage> {
        let (scheme, rest) = split_once(text, b':').ok_or(BadMessage::Uri)?;
        if text.bytes().any(is_unfit) {
            return Err(BadMessage::Uri);
        }
        if scheme.eq_ignore_ascii_case("tel") {
            let (number, params) = split_before(rest, b';');
            let user = Some(number).filter(|number| !number.is_empty());
            return Ok(Self { scheme, user, host: "", port: None, params, headers: "" });
        }
        if !(scheme.eq_ignore_ascii_case("sip") || scheme.eq_ignore_ascii_case("sips")) {
            let known = !scheme.is_empty() && scheme.bytes().all(is_token);
            return Err(if known { BadMessage::Scheme } else { BadMessage::Uri });
        }
        let (user, rest) = match split_once(rest, b'@') {
            Some((user, rest)) if !user.is_empty() && find(rest, b'@').is_none() => {
                (Some(split_before(user, b':').0), rest)
            }
            Some(_) => return Err(BadMessage::Uri),
            None => (None, rest),
        };
        let (rest, headers) = match split_once(rest, b'?') {
            Some((_, "")) => return Err(BadMessage::Uri),
            Some(parts) => parts,
            None => (rest, ""),
        };
        let (host_port, params) = split_before(rest, b';');
        let (host, port) = split_host_port(host_port).ok_or(BadMessage::Uri)?;
        Ok(Self { scheme, user, host, port, params, headers })
    }

    /// A URI parameter. Outer None: not there. Inner None: without value.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<Option<&'a str>> {
        params::find(self.params, name)
    }

    /// The host as an address, brackets removed.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        host_ip(self.host)
    }
}

/// `host[:port]`, IPv6 in brackets.
pub(super) fn split_host_port(text: &str) -> Option<(&str, Option<u16>)> {
    let host_end = match text.strip_prefix('[') {
        Some(inside) => find(inside, b']')? + 2,
        None => find(text, b':').unwrap_or(text.len()),
    };
    let (host, behind) = text.split_at(host_end);
    let port = match behind.strip_prefix(':') {
        Some(port) => Some(number(port)?),
        None if behind.is_empty() => None,
        None => return None,
    };
    let plain = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'));
    let fits = if host.starts_with('[') { host_ip(host).is_some() } else { !host.is_empty() && plain };
    fits.then_some((host, port))
}

pub(super) fn host_ip(host: &str) -> Option<IpAddr> {
    host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_found() {
        let uri = Uri::parse("sips:al%20ice;x=1:pw@[2001:db8::9]:5061;transport=tcp?Subject=a").unwrap();

        assert_eq!(uri.user, Some("al%20ice;x=1"));
        assert_eq!(uri.ip(), "2001:db8::9".parse().ok());
        assert_eq!((uri.port, uri.headers), (Some(5_061), "Subject=a"));
        assert_eq!(uri.param("TRANSPORT"), Some(Some("tcp")));
    }

    #[test]
    fn what_is_no_uri_is_refused() {
        for (text, error) in [
            ("alice", BadMessage::Uri),
            ("sip:", BadMessage::Uri),
            ("sip:a@b@c", BadMessage::Uri),
            ("sip:@b", BadMessage::Uri),
            ("sip:a@b:99999", BadMessage::Uri),
            ("sip:a@b:+5060", BadMessage::Uri),
            ("sip:a@b?", BadMessage::Uri),
            ("sip:a@b c", BadMessage::Uri),
            ("http://x", BadMessage::Scheme),
        ] {
            assert_eq!(Uri::parse(text), Err(error), "{text}");
        }
        assert_eq!(Uri::parse("tel:+441632960001;phone-context=x").unwrap().user, Some("+441632960001"));
    }
}
