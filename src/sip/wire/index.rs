//! One pass over a datagram: a reusable table of offsets, and the strict checks.

use std::ops::Range;

use super::message::{Message, StartLine};
use super::name_addr::NameAddr;
use super::{BadMessage, Method, Name, StatusCode, Via, is_token};

/// Strict limits, checked while indexing (SIP.md, trap 10; Identity headers are long).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Start line and headers together, bytes.
    pub header_bytes: usize,
    /// Header lines.
    pub headers: usize,
    /// One header with its folds, bytes.
    pub line_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { header_bytes: 16 * 1024, headers: 128, line_bytes: 4 * 1024 }
    }
}

/// One header field's place in the datagram.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub name: Name,
    pub name_at: Range<usize>,
    /// Without white space at its ends.
    pub value: Range<usize>,
    /// From the name to behind the CRLF.
    pub line: Range<usize>,
}

/// Start line, taken apart.
#[derive(Clone, Debug)]
pub(super) enum Start {
    Request { method: Range<usize>, uri: Range<usize> },
    Status { code: StatusCode, reason: Range<usize> },
}

/// Reusable table of offsets: allocates only while it grows to the largest message seen.
#[derive(Debug, Default)]
pub struct Index {
    pub(super) entries: Vec<Entry>,
    pub(super) start: Option<Start>,
    /// Behind the start line's CRLF.
    pub(super) headers_at: usize,
    /// The empty line.
    pub(super) headers_end: usize,
    pub(super) body: Range<usize>,
    /// Where the message begins: keep-alive line ends before it are skipped.
    pub(super) from: usize,
}

impl Index {
    /// An empty table.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Indexes one datagram. Bytes behind the body are ignored, a short body is an error (RFC 3261 §18.3).
    ///
    /// # Errors
    /// The first thing that is wrong. [`Index::salvage`] tells whether it can still be answered.
    pub fn read<'a>(&'a mut self, datagram: &'a [u8], limits: &Limits) -> Result<Message<'a>, BadMessage> {
        self.scan(datagram, limits)?;
        let message = self.view(datagram).ok_or(BadMessage::BadByte)?;
        check(&message)?;
        let length = content_length(&message)?;
        let rest = datagram.len() - self.body.start;
        if length.is_some_and(|length| length > rest) {
            return Err(BadMessage::Length);
        }
        self.body.end = self.body.start + length.unwrap_or(rest);
        self.view(datagram).ok_or(BadMessage::BadByte)
    }

    /// What was read of a request that [`Index::read`] refused, if that is enough to answer it: one each of Via,
    /// From, To, Call-ID and CSeq, all readable.
    #[must_use]
    pub fn salvage<'a>(&'a self, datagram: &'a [u8]) -> Option<Message<'a>> {
        let message = self.view(datagram)?;
        let single = [Name::From, Name::To, Name::CallId, Name::CSeq]
            .iter()
            .all(|name| self.entries.iter().filter(|entry| entry.name == *name).count() == 1);
        let readable = message.via().is_ok() && message.from().is_ok() && message.to().is_ok();
        (single && readable && message.method().is_some_and(|method| method != Method::Ack)).then_some(message)
    }

    fn view<'a>(&'a self, datagram: &'a [u8]) -> Option<Message<'a>> {
        let head = std::str::from_utf8(datagram.get(..self.body.start)?).ok()?;
        self.start.as_ref()?;
        Some(Message::new(datagram, head, self))
    }

    fn scan(&mut self, bytes: &[u8], limits: &Limits) -> Result<(), BadMessage> {
        self.entries.clear();
        self.start = None;
        self.body = 0..0;
        let from = bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).ok_or(BadMessage::KeepAlive)?;
        self.from = from;
        let first_end = line_end(bytes, from, from + limits.line_bytes)?;
        self.headers_at = first_end + 2;
        let mut at = self.headers_at;
        let limit = from + limits.header_bytes;
        loop {
            let end = line_end(bytes, at, at + limits.line_bytes)?;
            if end + 2 - from > limits.header_bytes {
                return Err(BadMessage::OverLimit);
            }
            if end == at {
                break;
            }
            if matches!(bytes.get(at), Some(b' ' | b'\t')) {
                self.fold(bytes, end, limits)?;
            } else {
                if self.entries.len() == limits.headers {
                    return Err(BadMessage::OverLimit);
                }
                self.entries.push(header(bytes, at..end)?);
            }
            at = end + 2;
        }
        debug_assert!(at <= limit);
        self.headers_end = at;
        self.body = at + 2..bytes.len();
        let head = bytes.get(..self.body.start).unwrap_or_default();
        let head = std::str::from_utf8(head).map_err(|_| BadMessage::BadByte)?;
        self.start = Some(start_line(head, from..first_end)?);
        Ok(())
    }

    /// A line that begins with white space belongs to the header above it (RFC 3261 §7.3.1).
    fn fold(&mut self, bytes: &[u8], end: usize, limits: &Limits) -> Result<(), BadMessage> {
        let entry = self.entries.last_mut().ok_or(BadMessage::HeaderLine)?;
        if end - entry.line.start > limits.line_bytes {
            return Err(BadMessage::OverLimit);
        }
        let begin = if entry.value.is_empty() { entry.line.end } else { entry.value.start };
        entry.value = trimmed(bytes, begin..end);
        entry.line.end = end + 2;
        Ok(())
    }
}

/// Offset of the CR of the CRLF that ends the line at `from`; refuses bytes that have no place in a header.
fn line_end(bytes: &[u8], from: usize, limit: usize) -> Result<usize, BadMessage> {
    let rest = bytes.get(from..).unwrap_or_default();
    let at = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n' | 0)).ok_or(BadMessage::Unfinished)?;
    if from + at > limit {
        return Err(BadMessage::OverLimit);
    }
    match (rest.get(at), rest.get(at + 1)) {
        (Some(b'\r'), Some(b'\n')) => Ok(from + at),
        (Some(b'\r'), None) => Err(BadMessage::Unfinished),
        _ => Err(BadMessage::BadByte),
    }
}

fn header(bytes: &[u8], line: Range<usize>) -> Result<Entry, BadMessage> {
    let text = bytes.get(line.clone()).unwrap_or_default();
    let colon = text.iter().position(|byte| *byte == b':').ok_or(BadMessage::HeaderLine)?;
    let mut name_end = colon;
    while name_end > 0 && matches!(text[name_end - 1], b' ' | b'\t') {
        name_end -= 1;
    }
    let name = text.get(..name_end).unwrap_or_default();
    if name.is_empty() || !name.iter().all(|byte| is_token(*byte)) {
        return Err(BadMessage::HeaderLine);
    }
    let class = std::str::from_utf8(name).map_or(Name::Other, Name::of);
    Ok(Entry {
        name: class,
        name_at: line.start..line.start + name_end,
        value: trimmed(bytes, line.start + colon + 1..line.end),
        line: line.start..line.end + 2,
    })
}

fn trimmed(bytes: &[u8], mut range: Range<usize>) -> Range<usize> {
    let space = |at: usize| bytes.get(at).is_some_and(|byte| super::is_space(*byte));
    while range.start < range.end && space(range.start) {
        range.start += 1;
    }
    while range.start < range.end && space(range.end - 1) {
        range.end -= 1;
    }
    range
}

/// `METHOD SP URI SP SIP/2.0` or `SIP/2.0 SP code SP reason`, single spaces, nothing else (RFC 3261 §7.1, §7.2).
fn start_line(head: &str, line: Range<usize>) -> Result<Start, BadMessage> {
    let text = head.get(line.clone()).ok_or(BadMessage::NotSip)?;
    if let Some(rest) = text.strip_prefix("SIP/2.0 ") {
        let (digits, reason) = rest.split_at_checked(3).ok_or(BadMessage::StartLine)?;
        let code: u16 = digits.parse().map_err(|_| BadMessage::StartLine)?;
        let spaced = reason.is_empty() || reason.starts_with(' ');
        if !(100..700).contains(&code) || !spaced || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(BadMessage::StartLine);
        }
        let from = line.end - reason.len() + usize::from(!reason.is_empty());
        return Ok(Start::Status { code: StatusCode(code), reason: from..line.end });
    }
    let (method, rest) = text.split_once(' ').ok_or(BadMessage::NotSip)?;
    let (uri, version) = rest.rsplit_once(' ').ok_or(BadMessage::NotSip)?;
    if method.is_empty() || !method.bytes().all(is_token) {
        return Err(BadMessage::NotSip);
    }
    let method_at = line.start..line.start + method.len();
    let uri_at = method_at.end + 1..method_at.end + 1 + uri.len();
    if version != "SIP/2.0" {
        let other = version.len() > 4 && version.get(..4).is_some_and(|sip| sip.eq_ignore_ascii_case("SIP/"));
        return Err(if other && version != "sip/2.0" { BadMessage::Version } else { BadMessage::StartLine });
    }
    if uri.is_empty() || uri.bytes().any(|byte| byte <= b' ' || matches!(byte, b'<' | b'>' | b'"' | 0x7F)) {
        return Err(BadMessage::StartLine);
    }
    Ok(Start::Request { method: method_at, uri: uri_at })
}

/// What must hold before anybody looks at a message (SIP.md, traps 1 and 2).
fn check(message: &Message<'_>) -> Result<(), BadMessage> {
    let mut seen = [0_u8; 6];
    let mut vias = 0_u32;
    for header in message.headers() {
        let slot = match header.name {
            Name::From => 0,
            Name::To => 1,
            Name::CallId => 2,
            Name::CSeq => 3,
            Name::ContentLength => 4,
            Name::MaxForwards => 5,
            Name::Via => {
                vias += 1;
                continue;
            }
            Name::Contact
            | Name::ContentType
            | Name::Route
            | Name::RecordRoute
            | Name::Require
            | Name::ProxyRequire
            | Name::Supported
            | Name::Expires
            | Name::PAssertedIdentity
            | Name::FeatureCaps
            | Name::Other => continue,
        };
        seen[slot] += 1;
        if seen[slot] > 1 {
            return Err(BadMessage::Duplicate);
        }
    }
    if vias == 0 || seen[..4].contains(&0) || message.call_id().is_empty() {
        return Err(BadMessage::Missing);
    }
    let via = message.header(Name::Via).map_or("", |header| header.value);
    Via::first(via)?;
    for name in [Name::From, Name::To] {
        let address = NameAddr::only(message.header(name).map_or("", |header| header.value))?;
        match address.parsed_uri() {
            Ok(_) | Err(BadMessage::Scheme) => {}
            Err(error) => return Err(error),
        }
    }
    if message.call_id().bytes().any(|byte| super::is_space(byte) || byte == b'"') {
        return Err(BadMessage::HeaderLine);
    }
    let cseq = message.cseq()?;
    if let StartLine::Request { method, .. } = message.start()
        && method != cseq.method
    {
        return Err(BadMessage::CSeq);
    }
    message.max_forwards()?;
    Ok(())
}

fn content_length(message: &Message<'_>) -> Result<Option<usize>, BadMessage> {
    let Some(header) = message.header(Name::ContentLength) else { return Ok(None) };
    let digits = !header.value.is_empty() && header.value.bytes().all(|byte| byte.is_ascii_digit());
    if !digits {
        return Err(BadMessage::Length);
    }
    header.value.parse().map(Some).map_err(|_| BadMessage::Length)
}
