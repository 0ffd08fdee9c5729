//! Requests that are made from an INVITE's own bytes: CANCEL (RFC 3261 §9.1), the ACK to a failure (§17.1.1.3), and
//! bare responses such as the 100 that a server transaction sends by itself (§8.2.6.1).

use crate::sip::flow::Flow;
use crate::sip::wire::{Index, Limits, MAX_FORWARDS, Message, Method, Name, StatusCode, respond};

/// What was accepted once is read again without limits of its own.
fn limits() -> Limits {
    Limits { header_bytes: 1 << 17, headers: 1 << 12, line_bytes: 1 << 17 }
}

/// A CANCEL for the INVITE in `invite`, with `extra` header lines.
pub(super) fn cancel(invite: &[u8], extra: &[&str]) -> Option<Vec<u8>> {
    let mut index = Index::new();
    let message = index.read_again(invite, &limits()).ok()?;
    let to = message.header(Name::To)?.value;
    Some(derived(&message, "CANCEL", to, extra))
}

/// The ACK to a failure: To is the response's, all else the INVITE's.
pub(super) fn ack(invite: &[u8], failure: &Message<'_>) -> Option<Vec<u8>> {
    let mut index = Index::new();
    let message = index.read_again(invite, &limits()).ok()?;
    let to = failure.header(Name::To)?.value;
    Some(derived(&message, "ACK", to, &[]))
}

/// A bare response to the request in `request`. A final one gets a tag of ours.
pub(super) fn response(request: &[u8], code: StatusCode, flow: Flow) -> Option<Vec<u8>> {
    let mut index = Index::new();
    let message = index.read_again(request, &limits()).ok()?;
    let mut out = Vec::new();
    let tag = code.is_final().then_some("ringfence");
    respond(&message, code, flow.peer, tag, &[], &[], &mut out);
    Some(out)
}

/// The branch of a request that began a transaction. None: a response, an ACK or a CANCEL.
pub(super) fn own_branch(request: &[u8]) -> Option<String> {
    let mut index = Index::new();
    let message = index.read_again(request, &limits()).ok()?;
    let begins = message.method().is_some_and(|method| !matches!(method, Method::Ack | Method::Cancel));
    begins.then(|| message.via().ok()?.branch().map(str::to_owned)).flatten()
}

fn derived(invite: &Message<'_>, method: &str, to: &str, extra: &[&str]) -> Vec<u8> {
    let uri = invite.request_uri().unwrap_or_default();
    let via = invite.top_via().map_or("", |(_, first, _)| first);
    let mut out = format!("{method} {uri} SIP/2.0\r\nVia: {via}\r\nMax-Forwards: {MAX_FORWARDS}\r\n");
    for header in invite.headers() {
        match header.name {
            Name::Route | Name::From | Name::CallId => out.extend([header.name.as_str(), ": ", header.value, "\r\n"]),
            Name::Via
            | Name::To
            | Name::CSeq
            | Name::Contact
            | Name::MaxForwards
            | Name::ContentLength
            | Name::ContentType
            | Name::RecordRoute
            | Name::Require
            | Name::ProxyRequire
            | Name::Supported
            | Name::Expires
            | Name::PAssertedIdentity
            | Name::FeatureCaps
            | Name::Other => {}
        }
    }
    let number = invite.cseq().map_or(1, |cseq| cseq.number);
    out += &format!("To: {to}\r\nCSeq: {number} {method}\r\n");
    for line in extra {
        out.extend([*line, "\r\n"]);
    }
    out += "Content-Length: 0\r\n\r\n";
    out.into_bytes()
}
