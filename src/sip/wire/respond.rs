//! Answers to a request (RFC 3261 §8.2.6).

use std::io::Write as _;
use std::net::SocketAddr;

use super::edits::write_stamped;
use super::{Message, Method, Name, StatusCode};

/// Hops that a request begins with (RFC 3261 §8.1.1.6).
pub const MAX_FORWARDS: u8 = 70;

/// Writes a response to `request` into `out` (cleared first): its Vias, the topmost one stamped with `source`, From,
/// To (with `to_tag` if it had none), Call-ID, CSeq, the Record-Routes where a dialog may begin, the lines of `extra`
/// (without CRLF), and `body`.
pub fn respond(
    request: &Message<'_>,
    code: StatusCode,
    source: SocketAddr,
    to_tag: Option<&str>,
    extra: &[&str],
    body: &[u8],
    out: &mut Vec<u8>,
) {
    out.clear();
    // Writing to a Vec cannot fail.
    let _ = write!(out, "SIP/2.0 {code} {}\r\n", code.reason());
    write_path(request, code, source, out);
    write_dialog(request, to_tag, out);
    for line in extra {
        let _ = write!(out, "{line}\r\n");
    }
    if !body.is_empty() {
        out.extend_from_slice(b"Content-Type: application/sdp\r\n");
    }
    let _ = write!(out, "Content-Length: {}\r\n\r\n", body.len());
    out.extend_from_slice(body);
}

/// The way back: Vias, and the Record-Routes where a dialog may begin.
fn write_path(request: &Message<'_>, code: StatusCode, source: SocketAddr, out: &mut Vec<u8>) {
    let mut top = true;
    for header in request.headers() {
        match header.name {
            Name::Via => {
                let mut value = String::new();
                if let (true, Ok((via, first, rest))) = (top, request.top_via()) {
                    write_stamped(&mut value, first, &via, source);
                    if let Some(rest) = rest {
                        value.extend([",", rest]);
                    }
                } else {
                    value.push_str(header.value);
                }
                top = false;
                let _ = write!(out, "Via: {value}\r\n");
            }
            Name::RecordRoute if request.method() == Some(Method::Invite) && code > StatusCode::TRYING => {
                let _ = write!(out, "Record-Route: {}\r\n", header.value);
            }
            Name::From
            | Name::To
            | Name::CallId
            | Name::CSeq
            | Name::RecordRoute
            | Name::Contact
            | Name::MaxForwards
            | Name::ContentLength
            | Name::ContentType
            | Name::Route
            | Name::Require
            | Name::ProxyRequire
            | Name::Supported
            | Name::Expires
            | Name::PAssertedIdentity
            | Name::FeatureCaps
            | Name::Other => {}
        }
    }
}

/// What the request is known by: From, To, Call-ID, CSeq.
fn write_dialog(request: &Message<'_>, to_tag: Option<&str>, out: &mut Vec<u8>) {
    // One of each, whatever came: the request may be one that is refused for having two.
    for name in [Name::From, Name::To, Name::CallId, Name::CSeq] {
        let _ = write!(out, "{}: {}", name.as_str(), request.header(name).map_or("", |header| header.value));
        if let (Name::To, Some(tag), Ok(None)) = (name, to_tag, request.to().map(|to| to.tag())) {
            let _ = write!(out, ";tag={tag}");
        }
        out.extend_from_slice(b"\r\n");
    }
}
