//! The view of a message that has passed the strict checks. Borrows; reads on demand.

use std::ops::Range;

use super::index::{Entry, Index, Start};
use super::name_addr::{self, NameAddr};
use super::seek::{Cursor, NO_DIGIT, NO_TOKEN};
use super::{BadMessage, Method, Name, StatusCode, Via, number, parts, trim, via};

/// A message: the datagram and its offsets.
#[derive(Clone, Copy)]
pub struct Message<'a> {
    bytes: &'a [u8],
    /// The bytes before the body, known to be UTF-8.
    head: &'a str,
    index: &'a Index,
}

/// First line.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StartLine<'a> {
    /// RFC 3261 §7.1.
    Request {
        /// What is asked.
        method: Method<'a>,
        /// Of whom, as written.
        uri: &'a str,
    },
    /// RFC 3261 §7.2.
    Status {
        /// 100 to 699.
        code: StatusCode,
        /// As written.
        reason: &'a str,
    },
}

/// One header field.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Header<'a> {
    /// Its class.
    pub name: Name,
    /// Its name as written.
    pub name_text: &'a str,
    /// Without white space at its ends; folds are still inside.
    pub value: &'a str,
}

/// CSeq (RFC 3261 §20.16).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct CSeq<'a> {
    /// Below 2^31.
    pub number: u32,
    /// The request's method.
    pub method: Method<'a>,
}

impl<'a> Message<'a> {
    pub(super) fn new(bytes: &'a [u8], head: &'a str, index: &'a Index) -> Self {
        Self { bytes, head, index }
    }

    /// The message without keep-alive line ends before it and without bytes behind its body.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes.get(self.index.from..self.index.body.end).unwrap_or_default()
    }

    /// The first line.
    #[must_use]
    pub fn start(&self) -> StartLine<'a> {
        match &self.index.start {
            Some(Start::Request { method, uri }) => {
                StartLine::Request { method: Method::of(self.text(method)), uri: self.text(uri) }
            }
            Some(Start::Status { code, reason }) => StartLine::Status { code: *code, reason: self.text(reason) },
            // A message is never made without a start line.
            None => StartLine::Status { code: StatusCode::BAD_REQUEST, reason: "" },
        }
    }

    /// A request's method.
    #[must_use]
    pub fn method(&self) -> Option<Method<'a>> {
        match &self.index.start {
            Some(Start::Request { method, .. }) => Some(Method::of(self.text(method))),
            Some(Start::Status { .. }) | None => None,
        }
    }

    /// A request's URI.
    #[must_use]
    pub fn request_uri(&self) -> Option<&'a str> {
        match &self.index.start {
            Some(Start::Request { uri, .. }) => Some(self.text(uri)),
            Some(Start::Status { .. }) | None => None,
        }
    }

    /// A response's code.
    #[must_use]
    pub fn status(&self) -> Option<StatusCode> {
        match &self.index.start {
            Some(Start::Status { code, .. }) => Some(*code),
            Some(Start::Request { .. }) => None,
            // A message is never made without a start line.
            None => Some(StatusCode::BAD_REQUEST),
        }
    }

    /// All header fields in order.
    pub fn headers(&self) -> impl Iterator<Item = Header<'a>> + use<'a> {
        let message = *self;
        message.index.entries.iter().map(move |entry| message.field(entry))
    }

    /// Header fields of one class in order.
    pub fn all(&self, name: Name) -> impl Iterator<Item = Header<'a>> + use<'a> {
        let message = *self;
        message.index.all(name).map(move |entry| message.field(entry))
    }

    /// The first of a class.
    #[must_use]
    pub fn header(&self, name: Name) -> Option<Header<'a>> {
        self.all(name).next()
    }

    /// The first with this name, case ignored; a name that is none of [`Name`].
    #[must_use]
    pub fn other(&self, name_text: &str) -> Option<Header<'a>> {
        self.others(name_text).next()
    }

    /// All with this name, case ignored; a name that is none of [`Name`].
    pub fn others<'n>(&self, name_text: &'n str) -> impl Iterator<Item = Header<'a>> + use<'a, 'n> {
        debug_assert_eq!(Name::of(name_text.as_bytes()), Name::Other, "{name_text}");
        self.all(Name::Other).filter(move |header| header.name_text.eq_ignore_ascii_case(name_text))
    }

    /// What stands behind the empty line.
    #[must_use]
    pub fn body(&self) -> &'a [u8] {
        self.bytes.get(self.index.body.clone()).unwrap_or_default()
    }

    /// The topmost Via value.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn via(&self) -> Result<Via<'a>, BadMessage> {
        match &self.index.found.via {
            Some(top) => Ok(top.via(self.head)),
            None => self.top_via().map(|(via, _, _)| via),
        }
    }

    /// The topmost Via value, as it stands, and what stands behind its comma.
    pub(in crate::sip) fn top_via(&self) -> Result<(Via<'a>, &'a str, Option<&'a str>), BadMessage> {
        let entry = self.index.all(Name::Via).next().ok_or(BadMessage::Missing)?;
        match &self.index.found.via {
            Some(top) => {
                let (value, rest) = top.value(self.head, entry.value.end);
                Ok((top.via(self.head), value, rest))
            }
            None => Via::first(self.text(&entry.value)),
        }
    }

    /// What stands behind the comma of the topmost Via value.
    pub(super) fn behind_top_via(&self) -> Option<&'a str> {
        let entry = self.index.all(Name::Via).next()?;
        match &self.index.found.via {
            Some(top) => top.value(self.head, entry.value.end).1,
            None => Via::first(self.text(&entry.value)).ok()?.2,
        }
    }

    /// All Via values, across lines and commas.
    pub fn vias(&self) -> impl Iterator<Item = Result<Via<'a>, BadMessage>> + use<'a> {
        let mut lines = self.all(Name::Via).map(|header| header.value);
        let top = lines.next().map(|_| self.via());
        top.into_iter().chain(self.behind_top_via().into_iter().chain(lines).flat_map(via::iter))
    }

    /// From.
    ///
    /// # Errors
    /// When it is not one readable address.
    pub fn from(&self) -> Result<NameAddr<'a>, BadMessage> {
        if let Some(from) = &self.index.found.from {
            return Ok(from.read(self.head));
        }
        NameAddr::only(self.value(Name::From).ok_or(BadMessage::Missing)?)
    }

    /// To.
    ///
    /// # Errors
    /// When it is not one readable address.
    pub fn to(&self) -> Result<NameAddr<'a>, BadMessage> {
        if let Some(to) = &self.index.found.to {
            return Ok(to.read(self.head));
        }
        NameAddr::only(self.value(Name::To).ok_or(BadMessage::Missing)?)
    }

    /// First Contact; `Ok(None)` where there is none or only `*`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn contact(&self) -> Result<Option<NameAddr<'a>>, BadMessage> {
        if let Some(contact) = &self.index.found.contact {
            return Ok(Some(contact.read(self.head)));
        }
        if self.contact_is_star() { Ok(None) } else { self.contacts().next().transpose() }
    }

    /// All Contacts.
    pub fn contacts(&self) -> impl Iterator<Item = Result<NameAddr<'a>, BadMessage>> + use<'a> {
        self.addresses(Name::Contact)
    }

    /// `Contact: *` (RFC 3261 §10.2.2).
    #[must_use]
    pub(super) fn contact_is_star(&self) -> bool {
        self.value(Name::Contact) == Some("*")
    }

    /// Addresses of all headers of a class, in order, across lines and commas.
    pub fn addresses(&self, name: Name) -> impl Iterator<Item = Result<NameAddr<'a>, BadMessage>> + use<'a> {
        self.all(name).flat_map(|header| name_addr::iter(header.value))
    }

    /// The same of all headers with this name, case ignored.
    pub fn other_addresses<'n>(
        &self,
        name_text: &'n str,
    ) -> impl Iterator<Item = Result<NameAddr<'a>, BadMessage>> + use<'a, 'n> {
        self.others(name_text).flat_map(|header| name_addr::iter(header.value))
    }

    /// CSeq.
    ///
    /// # Errors
    /// When it is no number below 2^31 and a method.
    pub fn cseq(&self) -> Result<CSeq<'a>, BadMessage> {
        let (number, method) = match &self.index.found.cseq {
            Some((number, method)) => (*number, self.text(method)),
            None => self.read_cseq()?,
        };
        Ok(CSeq { number, method: Method::of(method) })
    }

    /// CSeq's number and method, as they stand.
    pub(super) fn read_cseq(&self) -> Result<(u32, &'a str), BadMessage> {
        let mut cursor = Cursor::new(self.value(Name::CSeq).ok_or(BadMessage::Missing)?);
        let digits = cursor.take_until(NO_DIGIT);
        let parted = cursor.next().is_some_and(super::is_space);
        cursor.skip_space();
        let method = cursor.take_until(NO_TOKEN);
        let number = number(digits).filter(|number| *number < 1 << 31).ok_or(BadMessage::CSeq)?;
        if !parted || method.is_empty() || !cursor.rest().is_empty() {
            return Err(BadMessage::CSeq);
        }
        Ok((number, method))
    }

    /// Call-ID; empty where there is none.
    #[must_use]
    pub fn call_id(&self) -> &'a str {
        self.value(Name::CallId).unwrap_or_default()
    }

    /// Max-Forwards.
    ///
    /// # Errors
    /// When it is no number up to 255.
    pub fn max_forwards(&self) -> Result<Option<u8>, BadMessage> {
        let Some(value) = self.value(Name::MaxForwards) else { return Ok(None) };
        number(value).map(Some).ok_or(BadMessage::MaxForwards)
    }

    /// Tokens of a comma-separated header, across lines.
    pub fn tokens(&self, name: Name) -> impl Iterator<Item = &'a str> + use<'a> {
        self.all(name).flat_map(|header| header.value.split(',')).map(trim).filter(|token| !token.is_empty())
    }

    /// There is a session description: a body of type `application/sdp`, or one among the parts of a body.
    #[must_use]
    pub fn has_sdp(&self) -> bool {
        self.sdp_at().is_some()
    }

    /// The session description, or empty.
    #[must_use]
    pub fn sdp(&self) -> &'a [u8] {
        self.sdp_at().and_then(|at| self.body().get(at)).unwrap_or_default()
    }

    /// Where that lies in the body.
    pub(super) fn sdp_at(&self) -> Option<Range<usize>> {
        parts::description_at(self.value(Name::ContentType)?, self.body())
    }

    pub(super) fn head(&self) -> &'a str {
        self.head
    }

    pub(super) fn raw(&self) -> &'a [u8] {
        self.bytes
    }

    pub(super) fn index(&self) -> &'a Index {
        self.index
    }

    /// The value of the first of a class.
    fn value(&self, name: Name) -> Option<&'a str> {
        self.index.all(name).next().map(|entry| self.text(&entry.value))
    }

    fn field(&self, entry: &'a Entry) -> Header<'a> {
        Header { name: entry.name, name_text: self.text(&entry.name_at), value: self.text(&entry.value) }
    }

    fn text(&self, range: &Range<usize>) -> &'a str {
        self.head.get(range.clone()).unwrap_or_default()
    }
}
