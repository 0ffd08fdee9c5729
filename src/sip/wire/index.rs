//! One pass over a datagram: a reusable table of offsets, and the strict checks.

use std::ops::Range;

use super::message::{Message, StartLine};
use super::name_addr::NameAddr;
use super::seek::{is_unfit, split_once};
use super::{BadMessage, Method, Name, StatusCode, Uri, Via, is_token, mended, name_addr, number, via};

/// Strict limits, checked while indexing: Identity headers (RFC 8224) are long.
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

/// For where a message ends: that is known of many that are too much to be read.
const ANY: Limits = Limits { header_bytes: usize::MAX, headers: usize::MAX, line_bytes: usize::MAX };

/// One header field's place in the datagram.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub name: Name,
    pub name_at: Range<usize>,
    /// Without white space at its ends.
    pub value: Range<usize>,
    /// From the name to behind the CRLF.
    pub line: Range<usize>,
    /// Number of the next one of its class, counted from 1; 0: there is none.
    next: u32,
}

/// The first and the last entry of a class, counted from 1; 0: there is none.
#[derive(Clone, Copy, Debug, Default)]
struct Chain {
    first: u32,
    last: u32,
}

/// What has been read of a message and is not read again: what the strict checks look at, everybody behind them asks
/// for.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    /// The topmost Via value.
    pub via: Option<via::Place>,
    pub from: Option<name_addr::Place>,
    pub to: Option<name_addr::Place>,
    /// The first.
    pub contact: Option<name_addr::Place>,
    /// CSeq's number, and where its method is.
    pub cseq: Option<(u32, Range<usize>)>,
}

/// Start line, taken apart.
#[derive(Clone, Debug)]
pub(super) enum Start {
    Request { method: Range<usize>, uri: Range<usize> },
    Status { code: StatusCode, reason: Range<usize> },
}

/// Reusable table of offsets: allocates only while it grows to the largest message seen.
#[derive(Clone, Debug, Default)]
pub struct Index {
    pub(super) entries: Vec<Entry>,
    chains: [Chain; Name::COUNT],
    /// A header stands twice that must not.
    doubled: bool,
    /// A line begins with white space and continues no header: some take it for the end of the headers, or for one.
    torn: bool,
    pub(super) start: Option<Start>,
    pub(super) found: Found,
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
        let head = self.head(datagram)?;
        let message = Message::new(datagram, head, self);
        let found = check(&message)?;
        let length = content_length(&message)?;
        self.found = found;
        self.bound(datagram, length)?;
        Ok(Message::new(datagram, head, self))
    }

    /// A message that has been [`Index::read`] before, or that we wrote ourselves: it is not checked again.
    ///
    /// # Errors
    /// It is none.
    pub fn read_again<'a>(&'a mut self, message: &'a [u8], limits: &Limits) -> Result<Message<'a>, BadMessage> {
        self.scan(message, limits)?;
        let head = self.head(message)?;
        let view = Message::new(message, head, self);
        let length = content_length(&view)?;
        let top = view.header(Name::Via).ok_or(BadMessage::Missing)?;
        self.found.via = Some(via::Place::of(head, &Via::first(top.value)?));
        self.bound(message, length)?;
        Ok(Message::new(message, head, self))
    }

    fn bound(&mut self, datagram: &[u8], length: Option<usize>) -> Result<(), BadMessage> {
        let rest = datagram.len() - self.body.start;
        if length.is_some_and(|length| length > rest) {
            return Err(BadMessage::Length);
        }
        self.body.end = self.body.start + length.unwrap_or(rest);
        Ok(())
    }

    /// What the head at the front of a stream says of its body's length; None: nothing. What else is wrong with a
    /// message, and whether it is too much to be read, is for [`Index::read`]: where it ends is known all the same. The
    /// table keeps room for `keep` headers.
    ///
    /// # Errors
    /// The head cannot be trusted to say where the message ends.
    pub(crate) fn body_length(&mut self, head: &[u8], keep: usize) -> Result<Option<usize>, BadMessage> {
        let length = match self.stated_length(head) {
            Err(BadMessage::BadByte) => match mended(head) {
                Some(mended) => self.stated_length(&mended),
                None => Err(BadMessage::BadByte),
            },
            length => length,
        };
        self.entries.truncate(keep);
        self.entries.shrink_to(keep);
        length
    }

    fn stated_length(&mut self, head: &[u8]) -> Result<Option<usize>, BadMessage> {
        let fault = match self.scan(head, &ANY) {
            Ok(()) => None,
            // Of one line, and the others have been read.
            Err(fault @ (BadMessage::StartLine | BadMessage::Version | BadMessage::HeaderLine))
                if !self.torn && self.names_sip(head) =>
            {
                Some(fault)
            }
            Err(error) => return Err(error),
        };
        let message = Message::new(head, self.head(head)?, self);
        if message.all(Name::ContentLength).nth(1).is_some() {
            return Err(BadMessage::Duplicate);
        }
        match (content_length(&message)?, fault) {
            (None, Some(fault)) => Err(fault),
            (length, _) => Ok(length),
        }
    }

    /// True where the start line is one of SIP, of whatever version, and not of a protocol that is alike.
    fn names_sip(&self, head: &[u8]) -> bool {
        match &self.start {
            Some(Start::Request { uri, .. }) => {
                head.get(uri.end + 1..uri.end + 5).is_some_and(|sip| sip.eq_ignore_ascii_case(b"SIP/"))
            }
            Some(Start::Status { .. }) => true,
            None => false,
        }
    }

    /// Bytes that the table takes.
    #[cfg(test)]
    pub(crate) fn size(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>()
    }

    /// What was read of a request that [`Index::read`] refused, if that is enough to answer it: a Via that can be read,
    /// and From, To, Call-ID and CSeq as they are. Nothing of it may be believed; it is for the answer alone.
    #[must_use]
    pub fn salvage<'a>(&'a self, datagram: &'a [u8]) -> Option<Message<'a>> {
        self.start.as_ref()?;
        let message = Message::new(datagram, self.head(datagram).ok()?, self);
        let there = [Name::From, Name::To, Name::CallId, Name::CSeq].iter().all(|name| message.header(*name).is_some());
        let answerable = message.method().is_some_and(|method| method != Method::Ack) && message.via().is_ok();
        (there && answerable).then_some(message)
    }

    /// What stands before the body.
    fn head<'a>(&self, datagram: &'a [u8]) -> Result<&'a str, BadMessage> {
        let head = datagram.get(..self.body.start).unwrap_or_default();
        std::str::from_utf8(head).map_err(|_| BadMessage::BadByte)
    }

    /// Entries of a class, in order.
    pub(super) fn all(&self, name: Name) -> impl Iterator<Item = &Entry> {
        let numbered = |number: u32| number.checked_sub(1).and_then(|number| self.entries.get(number as usize));
        let first = self.chains.get(name as usize).and_then(|chain| numbered(chain.first));
        std::iter::successors(first, move |entry| numbered(entry.next))
    }

    fn push(&mut self, entry: Entry) {
        let number = self.entries.len() as u32 + 1;
        if let Some(chain) = self.chains.get_mut(entry.name as usize) {
            match chain.last.checked_sub(1).and_then(|last| self.entries.get_mut(last as usize)) {
                Some(last) => {
                    last.next = number;
                    self.doubled |= SINGLE.contains(&entry.name);
                }
                None => chain.first = number,
            }
            chain.last = number;
        }
        self.entries.push(entry);
    }

    fn scan(&mut self, bytes: &[u8], limits: &Limits) -> Result<(), BadMessage> {
        self.entries.clear();
        self.chains = Default::default();
        self.doubled = false;
        self.torn = false;
        self.start = None;
        self.found = Found::default();
        self.body = 0..0;
        let from = bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).ok_or(BadMessage::KeepAlive)?;
        self.from = from;
        let first_end = line_end(bytes, from, limits.line_bytes)?;
        self.headers_at = first_end + 2;
        let (start, mut outcome) = start_line(bytes, from..first_end);
        self.start = start;
        if self.start.is_none() {
            return outcome;
        }
        let mut at = self.headers_at;
        loop {
            // What has been read so far can still be answered.
            self.body = at..at;
            let end = line_end(bytes, at, limits.line_bytes)?;
            if end + 2 - from > limits.header_bytes {
                return Err(BadMessage::OverLimit);
            }
            if end == at {
                break;
            }
            if matches!(bytes.get(at), Some(b' ' | b'\t')) {
                outcome = outcome.and(self.fold(bytes, at..end, limits));
            } else {
                if self.entries.len() == limits.headers {
                    return Err(BadMessage::OverLimit);
                }
                match header(bytes, at..end) {
                    Ok(entry) => self.push(entry),
                    Err(error) => outcome = outcome.and(Err(error)),
                }
            }
            at = end + 2;
        }
        self.headers_end = at;
        self.body = at + 2..bytes.len();
        outcome
    }

    /// A line that begins with white space belongs to the header above it (RFC 3261 §7.3.1). One of nothing but white
    /// space is the end of the headers for some.
    fn fold(&mut self, bytes: &[u8], line: Range<usize>, limits: &Limits) -> Result<(), BadMessage> {
        let text = trimmed(bytes, line.clone());
        let Some(entry) = self.entries.last_mut().filter(|_| !text.is_empty()) else {
            self.torn = true;
            return Err(BadMessage::HeaderLine);
        };
        if line.end - entry.line.start > limits.line_bytes {
            return Err(BadMessage::OverLimit);
        }
        let begin = if entry.value.is_empty() { text.start } else { entry.value.start };
        entry.value = begin..text.end;
        entry.line.end = line.end + 2;
        Ok(())
    }
}

/// Offset of the CR of the CRLF that ends the line at `from`, at most `longest` bytes on; refuses control characters.
fn line_end(bytes: &[u8], from: usize, longest: usize) -> Result<usize, BadMessage> {
    let rest = bytes.get(from..).unwrap_or_default();
    let near = rest.get(..longest.saturating_add(1)).unwrap_or(rest);
    let Some(at) = super::seek::control(near) else {
        return Err(if rest.len() > longest { BadMessage::OverLimit } else { BadMessage::Unfinished });
    };
    match (rest.get(at), rest.get(at + 1)) {
        (Some(b'\r'), Some(b'\n')) => Ok(from + at),
        (Some(b'\r'), None) => Err(BadMessage::Unfinished),
        _ => Err(BadMessage::BadByte),
    }
}

fn header(bytes: &[u8], line: Range<usize>) -> Result<Entry, BadMessage> {
    let text = bytes.get(line.clone()).unwrap_or_default();
    let name_end = text.iter().position(|byte| !is_token(*byte)).ok_or(BadMessage::HeaderLine)?;
    let (name, behind) = text.split_at_checked(name_end).unwrap_or_default();
    let spaces = behind.iter().position(|byte| !matches!(byte, b' ' | b'\t')).unwrap_or(behind.len());
    if name.is_empty() || behind.get(spaces) != Some(&b':') {
        return Err(BadMessage::HeaderLine);
    }
    Ok(Entry {
        name: Name::of(name),
        name_at: line.start..line.start + name_end,
        value: trimmed(bytes, line.start + name_end + spaces + 1..line.end),
        line: line.start..line.end + 2,
        next: 0,
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
///
/// A request line that is wrong behind its method still gives a start: such a request can be answered.
fn start_line(bytes: &[u8], line: Range<usize>) -> (Option<Start>, Result<(), BadMessage>) {
    let Ok(text) = std::str::from_utf8(bytes.get(line.clone()).unwrap_or_default()) else {
        return (None, Err(BadMessage::BadByte));
    };
    if let Some(rest) = text.strip_prefix("SIP/2.0 ") {
        let start = status_line(rest, line.end);
        let outcome = if start.is_some() { Ok(()) } else { Err(BadMessage::StartLine) };
        return (start, outcome);
    }
    let not_sip = (None, Err(BadMessage::NotSip));
    let Some((method, rest)) = split_once(text, b' ') else { return not_sip };
    let Some((uri, version)) = rest.rsplit_once(' ') else { return not_sip };
    if method.is_empty() || !method.bytes().all(is_token) {
        return not_sip;
    }
    let method_at = line.start..line.start + method.len();
    let uri_at = method_at.end + 1..method_at.end + 1 + uri.len();
    let other_version = version.len() > 4 && version.get(..4).is_some_and(|sip| sip.eq_ignore_ascii_case("SIP/"));
    let outcome = if version != "SIP/2.0" {
        Err(if other_version && version != "sip/2.0" { BadMessage::Version } else { BadMessage::StartLine })
    } else if uri.is_empty() || uri.bytes().any(is_unfit) {
        Err(BadMessage::StartLine)
    } else {
        Ok(())
    };
    (Some(Start::Request { method: method_at, uri: uri_at }), outcome)
}

/// `code SP reason` that ends at `end`; the space before an empty reason may be missing.
fn status_line(text: &str, end: usize) -> Option<Start> {
    let (digits, reason) = text.split_at_checked(3)?;
    let code = number(digits).filter(|code| (100..700).contains(code))?;
    let spaced = reason.is_empty() || reason.starts_with(' ');
    let reason_at = end - reason.len() + usize::from(!reason.is_empty());
    spaced.then_some(Start::Status { code: StatusCode(code), reason: reason_at..end })
}

/// Headers that must not stand twice. Content-Type is among them because the first says whether there is media, and
/// Max-Forwards because it ends loops.
const SINGLE: [Name; 7] =
    [Name::From, Name::To, Name::CallId, Name::CSeq, Name::ContentLength, Name::MaxForwards, Name::ContentType];

/// What must hold before anybody looks at a message (RFC 3261 §8.1.1, RFC 4475).
fn check(message: &Message<'_>) -> Result<Found, BadMessage> {
    let (head, index) = (message.head(), message.index());
    if index.doubled {
        return Err(BadMessage::Duplicate);
    }
    let there = |name: Name| index.all(name).next().is_some();
    let named = [Name::Via, Name::From, Name::To, Name::CallId, Name::CSeq].into_iter().all(there);
    if !named || message.call_id().is_empty() {
        return Err(BadMessage::Missing);
    }
    let mut lines = message.all(Name::Via);
    let top = lines.next().ok_or(BadMessage::Missing)?;
    let first @ (via, _, rest) = Via::first(top.value)?;
    if via.version != "2.0" {
        return Err(BadMessage::Via);
    }
    for other in lines.map(|header| header.value).chain(rest).flat_map(via::iter) {
        if other?.version != "2.0" {
            return Err(BadMessage::Via);
        }
    }
    let (from, to) = (message.from()?, message.to()?);
    for address in [&from, &to] {
        match address.parsed_uri() {
            Ok(_) | Err(BadMessage::Scheme) => {}
            Err(error) => return Err(error),
        }
    }
    if message.call_id().bytes().any(|byte| super::is_space(byte) || byte == b'"') {
        return Err(BadMessage::HeaderLine);
    }
    message.max_forwards()?;
    let (number, cseq_method) = message.read_cseq()?;
    if let StartLine::Request { method, uri } = message.start() {
        if method.as_str() != cseq_method {
            return Err(BadMessage::CSeq);
        }
        // A URI's headers have no place in a request line (RFC 3261 §19.1.1): they would become ours.
        if !Uri::parse(uri)?.headers.is_empty() {
            return Err(BadMessage::Uri);
        }
    }
    let place_of = |address: &NameAddr<'_>| name_addr::Place::of(head, address);
    Ok(Found {
        via: Some(via::Place::of(head, &first)),
        from: Some(place_of(&from)),
        to: Some(place_of(&to)),
        contact: addresses(message, Method::of(cseq_method))?.as_ref().map(place_of),
        cseq: Some((number, super::span(head, cseq_method))),
    })
}

/// Every address that is rewritten on the way can be read, and an INVITE names one Contact (RFC 3261 §8.1.1.8). Gives
/// the first Contact.
fn addresses<'a>(message: &Message<'a>, method: Method<'_>) -> Result<Option<NameAddr<'a>>, BadMessage> {
    for name in [Name::Route, Name::RecordRoute] {
        message.addresses(name).try_for_each(|address| address.map(|_| ()))?;
    }
    if message.contact_is_star() && message.all(Name::Contact).nth(1).is_none() {
        return Ok(None);
    }
    let mut contacts = message.contacts();
    let first = contacts.next().transpose()?;
    let mut several = false;
    for address in contacts {
        address?;
        several = true;
    }
    let dialog = matches!(method, Method::Invite | Method::Update) && message.status().is_none_or(|code| code.0 < 300);
    if dialog && several { Err(BadMessage::Duplicate) } else { Ok(first) }
}

fn content_length(message: &Message<'_>) -> Result<Option<usize>, BadMessage> {
    let Some(header) = message.header(Name::ContentLength) else { return Ok(None) };
    number(header.value).map(Some).ok_or(BadMessage::Length)
}
