//! Via values (RFC 3261 §20.42, RFC 3581).

use std::net::IpAddr;
use std::ops::Range;

use super::params::{self, take_plain};
use super::seek::{Cursor, NO_DIGIT, NO_TOKEN};
use super::uri::{host_ip, take_host};
use super::{BadMessage, is_space, number, span};

/// One Via value.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Via<'a> {
    /// `2.0`; another one is read too, so that its sender can be told.
    pub version: &'a str,
    /// `UDP`, `TCP`, ... as written.
    pub transport: &'a str,
    /// sent-by's host.
    pub host: &'a str,
    /// sent-by's port, where stated.
    pub port: Option<u16>,
    /// With the leading `;`, or empty.
    pub params: &'a str,
    branch: Option<&'a str>,
}

/// Where a Via value that has been read lies in its message.
#[derive(Clone, Debug)]
pub(super) struct Place {
    version: Range<usize>,
    transport: Range<usize>,
    host: Range<usize>,
    port: Option<u16>,
    params: Range<usize>,
    branch: Option<Range<usize>>,
    value: Range<usize>,
    rest: Option<usize>,
}

impl Place {
    /// Of the topmost value, as [`Via::first`] gives it; part of `head`.
    pub(super) fn of(head: &str, (via, value, rest): &(Via<'_>, &str, Option<&str>)) -> Self {
        Self {
            version: span(head, via.version),
            transport: span(head, via.transport),
            host: span(head, via.host),
            port: via.port,
            params: span(head, via.params),
            branch: via.branch.map(|branch| span(head, branch)),
            value: span(head, value),
            rest: rest.map(|rest| span(head, rest).start),
        }
    }

    pub(super) fn via<'a>(&self, head: &'a str) -> Via<'a> {
        let text = |range: &Range<usize>| head.get(range.clone()).unwrap_or_default();
        Via {
            version: text(&self.version),
            transport: text(&self.transport),
            host: text(&self.host),
            port: self.port,
            params: text(&self.params),
            branch: self.branch.as_ref().map(text),
        }
    }

    /// The whole value and what stands behind its comma, as [`Via::first`] gives them; `end`: of its header's value.
    pub(super) fn value<'a>(&self, head: &'a str, end: usize) -> (&'a str, Option<&'a str>) {
        (head.get(self.value.clone()).unwrap_or_default(), self.rest.and_then(|start| head.get(start..end)))
    }
}

impl<'a> Via<'a> {
    /// Reads the first value of `text`; gives its extent in `text` and what stands behind the comma.
    pub(in crate::sip) fn first(text: &'a str) -> Result<(Self, &'a str, Option<&'a str>), BadMessage> {
        let mut cursor = Cursor::new(text);
        let via = Self::take(&mut cursor).ok_or(BadMessage::Via)?;
        let value = cursor.since(0);
        Ok((via, value, cursor.takes(b',').then(|| cursor.rest())))
    }

    /// Takes one value up to a comma or the end. White space is allowed around slashes and the colon (RFC 3261 §25.1).
    fn take(cursor: &mut Cursor<'a>) -> Option<Self> {
        cursor.skip_space();
        let protocol = cursor.take_until(NO_TOKEN);
        take_slash(cursor)?;
        let version = cursor.take_while(|byte| byte.is_ascii_digit() || byte == b'.');
        take_slash(cursor)?;
        let transport = cursor.take_until(NO_TOKEN);
        let parted = cursor.next().is_some_and(is_space);
        if !protocol.eq_ignore_ascii_case("SIP") || version.is_empty() || transport.is_empty() || !parted {
            return None;
        }
        cursor.skip_space();
        let host = take_host(cursor)?;
        cursor.skip_space();
        let port = if cursor.takes(b':') {
            cursor.skip_space();
            Some(number(cursor.take_until(NO_DIGIT))?)
        } else {
            None
        };
        let list = take_plain(cursor, "branch").filter(|list| list.count < 2)?;
        Some(Self { version, transport, host, port, params: list.text, branch: list.value })
    }

    /// Its branch.
    #[must_use]
    pub fn branch(&self) -> Option<&'a str> {
        self.branch
    }

    /// sent-by's host as an address, brackets removed; None for a name.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        host_ip(self.host)
    }

    /// `received`, as written.
    #[must_use]
    pub fn received(&self) -> Option<&'a str> {
        params::find(self.params, "received").flatten()
    }

    /// `rport`: None: not there; Some(None): asked for; Some(Some(_)): filled in.
    #[must_use]
    pub fn rport(&self) -> Option<Option<u16>> {
        params::find(self.params, "rport").map(|value| value.and_then(number))
    }
}

fn take_slash(cursor: &mut Cursor<'_>) -> Option<()> {
    cursor.skip_space();
    let there = cursor.takes(b'/');
    cursor.skip_space();
    there.then_some(())
}

/// All values of one Via header, comma by comma. Ends behind the first bad one.
pub(super) fn iter(text: &str) -> impl Iterator<Item = Result<Via<'_>, BadMessage>> {
    let mut rest = Some(text);
    std::iter::from_fn(move || match Via::first(rest.take()?) {
        Ok((via, _, more)) => {
            rest = more;
            Some(Ok(via))
        }
        Err(error) => Some(Err(error)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn space_is_allowed_where_the_grammar_has_it() {
        let (via, _, rest) =
            Via::first("SIP  / 2.0\r\n / UDP\t[2001:db8::9] : 5060 ; branch = z9hG4bKx;rport , next").unwrap();

        assert_eq!((via.transport, via.host, via.port), ("UDP", "[2001:db8::9]", Some(5_060)));
        assert_eq!((via.branch(), via.rport(), rest), (Some("z9hG4bKx"), Some(None), Some(" next")));
    }

    #[test]
    fn what_is_no_via_is_refused() {
        for text in [
            "",
            "SIP/2.0",
            "SIP/2.0/UDP",
            "SIP/x/UDP a",
            "SIP/2.0/UDP a:b",
            "SIP/2.0/UDP a:+1",
            "SIP/2.0/UDP a : +1",
            "SIP/2.0/UDP a;",
            "SIP/2.0/UDP a;;branch=x",
            "SIP/2.0/UDP a;branch=x;branch=y",
            "SIP/2.0/UDP a;branch=x y",
            "SIP/2.0/UDP a:1:2;branch=x",
            "HTTP/2.0/UDP a",
        ] {
            assert_eq!(Via::first(text).err(), Some(BadMessage::Via), "{text}");
        }
    }
}
