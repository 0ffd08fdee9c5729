//! Splices against the untouched bytes, applied once. What is not edited leaves as it came.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::ops::Range;

use super::seek::split_before;
use super::{Message, Name, Via, params, span, trim, trim_start};
use crate::units::Plain;

/// A list of splices, reusable without allocation once it has grown.
///
/// Splices of one place are applied in the order in which they were asked for. Two that overlap are a bug of ours: the
/// later one is dropped, and a debug build panics.
#[derive(Debug, Default)]
pub struct Edits {
    splices: Vec<Splice>,
    text: String,
    body: Vec<u8>,
    has_body: bool,
    applied: Vec<u8>,
}

#[derive(Debug)]
struct Splice {
    cut: Range<usize>,
    put: Range<usize>,
}

impl Edits {
    /// No edits.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets all edits, keeps the memory.
    pub fn clear(&mut self) {
        self.splices.clear();
        self.text.clear();
        self.has_body = false;
    }

    /// Another request-URI.
    pub fn set_request_uri(&mut self, message: &Message<'_>, uri: &str) {
        if let Some(old) = message.request_uri() {
            self.splice(span(message.head(), old), |text| text.push_str(uri));
        }
    }

    /// A header line of its own directly behind the start line; `line` is without CRLF.
    pub fn push_on_top(&mut self, message: &Message<'_>, line: &str) {
        let at = message.index().headers_at;
        self.splice(at..at, |text| text.extend([line, "\r\n"]));
    }

    /// A header line behind the last one.
    pub fn append(&mut self, message: &Message<'_>, line: &str) {
        let at = message.index().headers_end;
        self.splice(at..at, |text| text.extend([line, "\r\n"]));
    }

    /// Removes the topmost Via *value*, and its line if it held no other.
    pub fn pop_via(&mut self, message: &Message<'_>) {
        let Some(entry) = message.index().all(Name::Via).next() else { return };
        match message.behind_top_via() {
            Some(rest) => {
                // With the white space behind the comma: what is left of a fold would be a line of nothing.
                let rest = span(message.head(), trim_start(rest));
                self.splice(entry.value.start..rest.start, |_| {});
            }
            None => self.splice(entry.line.clone(), |_| {}),
        }
    }

    /// Removes all lines of a class.
    pub fn remove_all(&mut self, message: &Message<'_>, name: Name) {
        for entry in message.index().all(name) {
            self.splice(entry.line.clone(), |_| {});
        }
    }

    /// Replaces the value of the first header of a class and removes further ones; appends where there is none.
    pub fn set(&mut self, message: &Message<'_>, name: Name, value: &str) {
        self.write_value(message, name, |text| text.push_str(value));
    }

    /// The same with a number.
    pub fn set_number(&mut self, message: &Message<'_>, name: Name, value: usize) {
        self.write_value(message, name, |text| match u16::try_from(value) {
            Ok(value) => Plain(value).write_to(text),
            // Writing to a String cannot fail.
            Err(_) => {
                let _ = write!(text, "{value}");
            }
        });
    }

    fn write_value(&mut self, message: &Message<'_>, name: Name, value: impl FnOnce(&mut String)) {
        let mut entries = message.index().all(name);
        match entries.next() {
            Some(first) => self.splice(first.value.clone(), value),
            None => {
                let at = message.index().headers_end;
                self.splice(at..at, |text| {
                    text.extend([name.as_str(), ": "]);
                    value(text);
                    text.push_str("\r\n");
                });
            }
        }
        for entry in entries {
            self.splice(entry.line.clone(), |_| {});
        }
    }

    /// Replaces `old`, a URI read from an address header of this message, by `uri`.
    pub fn set_uri_at(&mut self, message: &Message<'_>, old: &str, uri: &str) {
        let at = span(message.head(), old);
        let bracketed = at.start.checked_sub(1).and_then(|before| message.raw().get(before)) == Some(&b'<');
        self.splice(at, |text| if bracketed { text.push_str(uri) } else { text.extend(["<", uri, ">"]) });
    }

    /// Replaces `old`, text read from a header of this message, by `new`.
    pub fn replace(&mut self, message: &Message<'_>, old: &str, new: &str) {
        self.splice(span(message.head(), old), |text| text.push_str(new));
    }

    /// Removes all lines with this name, case ignored; a name that is none of [`Name`].
    pub fn remove_other(&mut self, message: &Message<'_>, name_text: &str) {
        debug_assert_eq!(Name::of(name_text.as_bytes()), Name::Other, "{name_text}");
        for entry in message.index().all(Name::Other) {
            let named = message.head().get(entry.name_at.clone()).unwrap_or_default();
            if named.eq_ignore_ascii_case(name_text) {
                self.splice(entry.line.clone(), |_| {});
            }
        }
    }

    /// Writes `received` and `rport` of the topmost Via as its packet's source demands (RFC 3261 §18.2.1, RFC 3581 §4).
    pub fn stamp_via(&mut self, message: &Message<'_>, source: SocketAddr) {
        let Ok((via, first, _)) = message.top_via() else { return };
        let at = span(message.head(), first);
        self.splice(at, |text| write_stamped(text, first, &via, source));
    }

    /// Another body, and its Content-Length.
    pub fn set_body(&mut self, message: &Message<'_>, body: &[u8]) {
        self.body.clear();
        self.body.extend_from_slice(body);
        self.put_body(message);
    }

    /// Another session description, as `write` writes it into an empty buffer; other parts of the body stay.
    pub fn write_sdp(&mut self, message: &Message<'_>, write: impl FnOnce(&mut Vec<u8>)) {
        self.body.clear();
        write(&mut self.body);
        let (body, at) = (message.body(), message.sdp_at().unwrap_or(0..message.body().len()));
        self.body.splice(0..0, body.get(..at.start).unwrap_or_default().iter().copied());
        self.body.extend_from_slice(body.get(at.end..).unwrap_or_default());
        self.put_body(message);
    }

    fn put_body(&mut self, message: &Message<'_>) {
        self.has_body = true;
        self.set_number(message, Name::ContentLength, self.body.len());
    }

    /// The message with all edits.
    pub fn applied(&mut self, message: &Message<'_>) -> &[u8] {
        let mut out = std::mem::take(&mut self.applied);
        self.apply(message, &mut out);
        self.applied = out;
        &self.applied
    }

    /// Applies all to `out`, which is cleared first.
    pub fn apply(&mut self, message: &Message<'_>, out: &mut Vec<u8>) {
        out.clear();
        // Stable: insertions at one place keep their order, and stand before what is cut there.
        self.splices.sort_by_key(|splice| (splice.cut.start, !splice.cut.is_empty()));
        let raw = message.raw();
        out.reserve(raw.len() + self.text.len() + self.body.len());
        let mut at = message.index().from;
        for splice in &self.splices {
            debug_assert!(splice.cut.start >= at, "two splices overlap");
            if splice.cut.start < at {
                continue;
            }
            out.extend_from_slice(raw.get(at..splice.cut.start).unwrap_or_default());
            out.extend_from_slice(self.text.as_bytes().get(splice.put.clone()).unwrap_or_default());
            at = splice.cut.end;
        }
        let body = message.index().body.clone();
        if self.has_body {
            out.extend_from_slice(raw.get(at..body.start).unwrap_or_default());
            out.extend_from_slice(&self.body);
        } else {
            out.extend_from_slice(raw.get(at..body.end).unwrap_or_default());
        }
    }

    fn splice(&mut self, cut: Range<usize>, put: impl FnOnce(&mut String)) {
        let start = self.text.len();
        put(&mut self.text);
        self.splices.push(Splice { cut, put: start..self.text.len() });
    }
}

/// `via`, written as `value`, with `received` and `rport` of `source`. `received` is always written where `rport` was
/// asked for (RFC 3581 §4), else only where sent-by names another host.
pub(super) fn write_stamped(text: &mut String, value: &str, via: &Via<'_>, source: SocketAddr) {
    text.push_str(trim(split_before(value, b';').0));
    let mut asked = false;
    for (name, value) in params::iter(via.params) {
        if name.eq_ignore_ascii_case("received") {
            continue;
        }
        if name.eq_ignore_ascii_case("rport") {
            asked = true;
            text.push_str(";rport=");
            Plain(source.port()).write_to(text);
            continue;
        }
        text.extend([";", name]);
        if let Some(value) = value {
            text.extend(["=", value]);
        }
    }
    if asked || via.ip() != Some(source.ip()) {
        text.push_str(";received=");
        Plain(source.ip()).write_to(text);
    }
}
