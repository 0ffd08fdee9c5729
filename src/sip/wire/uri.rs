//! sip:, sips: and tel: URIs (RFC 3261 §19.1, RFC 3966), and names of services (RFC 5031). Read only; never decoded and
//! written again.

use std::net::IpAddr;

use super::seek::{Cursor, NO_HOST, UNFIT, URI_MARK, is_unfit, split_before, split_once};
use super::{BadMessage, is_token, number, params, span};

/// A URI's parts, as they stand.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Uri<'a> {
    /// `sip`, `sips`, `tel` or `urn`, as written.
    pub scheme: &'a str,
    /// Before the `@`; the number of a tel: URI, `service:sos` of `urn:service:sos`.
    pub user: Option<&'a str>,
    /// Host or bracketed IPv6 address; empty for tel: and urn:.
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
        if !(scheme.eq_ignore_ascii_case("sip") || scheme.eq_ignore_ascii_case("sips")) {
            return Self::of_another_scheme(text, scheme, rest);
        }
        // Where the host begins, and where parameters and headers do. What stands before an @ is all the user's.
        let (mut host_at, mut params_at, mut headers_at) = (0, None, None);
        let mut cursor = Cursor::new(rest);
        loop {
            cursor.take_until(UNFIT | URI_MARK);
            let at = cursor.at();
            let Some(mark) = cursor.next() else { break };
            match mark {
                b'@' if host_at == 0 && at > 0 => (host_at, params_at, headers_at) = (at + 1, None, None),
                b';' if params_at.is_none() && headers_at.is_none() => params_at = Some(at),
                b'?' if headers_at.is_none() => headers_at = Some(at),
                b';' | b'?' => {}
                // Unfit, or an @ too many.
                _ => return Err(BadMessage::Uri),
            }
            cursor.takes(mark);
        }
        let part = |from: usize, to: usize| rest.get(from..to).unwrap_or_default();
        let user = host_at.checked_sub(1).map(|at| split_before(part(0, at), b':').0);
        let behind_params = headers_at.unwrap_or(rest.len());
        let behind_host = params_at.unwrap_or(behind_params);
        let (host, port) = split_host_port(part(host_at, behind_host)).ok_or(BadMessage::Uri)?;
        let headers = headers_at.map_or("", |at| part(at + 1, rest.len()));
        if headers_at.is_some() && headers.is_empty() {
            return Err(BadMessage::Uri);
        }
        Ok(Self { scheme, user, host, port, params: part(behind_host, behind_params), headers })
    }

    fn of_another_scheme(text: &'a str, scheme: &'a str, rest: &'a str) -> Result<Self, BadMessage> {
        if text.bytes().any(is_unfit) {
            return Err(BadMessage::Uri);
        }
        if scheme.eq_ignore_ascii_case("tel") {
            let (number, params) = split_before(rest, b';');
            let user = Some(number).filter(|number| !number.is_empty());
            return Ok(Self { scheme, user, host: "", port: None, params, headers: "" });
        }
        if scheme.eq_ignore_ascii_case("urn")
            && split_once(rest, b':')
                .is_some_and(|(kind, name)| kind.eq_ignore_ascii_case("service") && !name.is_empty())
        {
            return Ok(Self { scheme, user: Some(rest), host: "", port: None, params: "", headers: "" });
        }
        let known = !scheme.is_empty() && scheme.bytes().all(is_token);
        Err(if known { BadMessage::Scheme } else { BadMessage::Uri })
    }

    /// A URI parameter. Outer None: not there. Inner None: without value.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<Option<&'a str>> {
        params::find(self.params, name)
    }

    /// `text`, of which it was read, without its parameters of this name.
    #[must_use]
    pub fn without(&self, text: &str, name: &str) -> String {
        let params = span(text, self.params);
        let mut out = text.get(..params.start).unwrap_or_default().to_owned();
        for (other, value) in params::iter(self.params).filter(|(other, _)| !other.eq_ignore_ascii_case(name)) {
            out.extend([";", other]);
            out.extend(value.into_iter().flat_map(|value| ["=", value]));
        }
        out.push_str(text.get(params.end..).unwrap_or_default());
        out
    }

    /// It names a service, not where to find it (RFC 5031): whoever knows that replaces it.
    #[must_use]
    pub fn is_service(&self) -> bool {
        self.scheme.eq_ignore_ascii_case("urn")
    }

    /// The host as an address, brackets removed.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        host_ip(self.host)
    }
}

/// `host[:port]`, IPv6 in brackets.
fn split_host_port(text: &str) -> Option<(&str, Option<u16>)> {
    let mut cursor = Cursor::new(text);
    let host = take_host(&mut cursor)?;
    let port = if cursor.takes(b':') { Some(number(cursor.rest())?) } else { None };
    (port.is_some() || cursor.rest().is_empty()).then_some((host, port))
}

/// Takes a host name, an IPv4 address or a bracketed IPv6 address.
pub(super) fn take_host<'a>(cursor: &mut Cursor<'a>) -> Option<&'a str> {
    let start = cursor.at();
    if cursor.takes(b'[') {
        cursor.take_while(|byte| byte != b']');
        let closed = cursor.takes(b']');
        return Some(cursor.since(start)).filter(|host| closed && host_ip(host).is_some());
    }
    Some(cursor.take_until(NO_HOST)).filter(|host| !host.is_empty())
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
    fn a_parameter_goes_and_all_else_stays() {
        for (text, left) in [
            ("sip:a;line=x@b;Line=x;user=phone?line=x", "sip:a;line=x@b;user=phone?line=x"),
            ("sip:b:5060;lr;LINE;lines=1", "sip:b:5060;lr;lines=1"),
            ("tel:+1;line=x;ext=1", "tel:+1;ext=1"),
            ("sip:b", "sip:b"),
        ] {
            assert_eq!(Uri::parse(text).unwrap().without(text, "line"), left, "{text}");
        }
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
            ("urn:service", BadMessage::Scheme),
            ("urn:service:", BadMessage::Scheme),
            ("urn:uuid:1", BadMessage::Scheme),
            ("urn:service:s os", BadMessage::Uri),
        ] {
            assert_eq!(Uri::parse(text), Err(error), "{text}");
        }
        assert_eq!(Uri::parse("tel:+441632960001;phone-context=x").unwrap().user, Some("+441632960001"));
        assert_eq!(Uri::parse("URN:Service:sos.fire").unwrap().user, Some("Service:sos.fire"));
    }
}
