//! Messages on their way to the other leg, and requests of our own: what we write into them.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::sip::wire::{Edits, Message, Name, NameAddr, Uri};

/// What one leg needs of us to be talked to: our side of a dialog (RFC 3261 §12).
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Party {
    /// The peer's address header, with its tag: To of what we send.
    pub remote: String,
    /// The other side's address header, with its tag: From of what we send.
    pub local: String,
    /// The peer's Contact URI.
    pub target: String,
    /// Route headers, in order, as they are written.
    pub routes: Vec<String>,
    /// Highest CSeq that went to it.
    pub cseq: u32,
}

/// Routes of one message that are kept; more is no telephone network.
const MAX_ROUTES: usize = 16;

/// Record-Route values of a message, in its order.
pub(super) fn record_routes(message: &Message<'_>) -> Vec<String> {
    message
        .addresses(Name::RecordRoute)
        .filter_map(Result::ok)
        .take(MAX_ROUTES)
        .map(|route| format!("<{}>{}", route.uri, route.params))
        .collect()
}

/// A URI's user at `to`: `sip:201@192.0.2.9:5060`. Parameters of the URI stay.
pub(super) fn at_address(uri: &str, to: SocketAddr) -> String {
    match Uri::parse(uri) {
        Ok(parsed) => match parsed.user {
            Some(user) if !parsed.scheme.eq_ignore_ascii_case("tel") => format!("sip:{user}@{to}{}", parsed.params),
            Some(number) => format!("sip:{number}@{to};user=phone"),
            None => format!("sip:{to}{}", parsed.params),
        },
        Err(_) => format!("sip:{to}"),
    }
}

/// Contact of ours on one leg: the peer's user stays, so that both sides see the names they know.
pub(super) fn contact(message: &Message<'_>, local: SocketAddr) -> Option<String> {
    let theirs = message.contact().ok().flatten()?;
    let user = Uri::parse(theirs.uri).ok().and_then(|uri| uri.user).filter(|user| !user.is_empty());
    Some(match user {
        Some(user) => format!("sip:{user}@{local}"),
        None => format!("sip:{local}"),
    })
}

/// Edits that every forwarded request needs.
pub(super) fn edit_request(
    edits: &mut Edits,
    message: &Message<'_>,
    source: SocketAddr,
    local: SocketAddr,
    branch: &str,
    party: Option<&Party>,
) {
    edits.push_on_top(message, &format!("Via: SIP/2.0/UDP {local};branch={branch};rport"));
    edits.stamp_via(message, source);
    let hops = message.max_forwards().ok().flatten().unwrap_or(70).saturating_sub(1);
    edits.set(message, Name::MaxForwards, &hops.to_string());
    edits.remove_all(message, Name::Route);
    edits.remove_all(message, Name::RecordRoute);
    if let Some(party) = party {
        edits.set_request_uri(message, &party.target);
        for route in &party.routes {
            edits.append(message, &format!("Route: {route}"));
        }
    }
    if let Some(contact) = contact(message, local) {
        edits.set_uri(message, Name::Contact, &contact);
    }
}

/// Edits that every forwarded response needs. `routes`: the Record-Routes of the request that it answers.
pub(super) fn edit_response(edits: &mut Edits, message: &Message<'_>, local: SocketAddr, routes: &[String]) {
    edits.pop_via(message);
    edits.remove_all(message, Name::RecordRoute);
    for route in routes {
        edits.append(message, &format!("Record-Route: {route}"));
    }
    let redirects = message.status().is_some_and(|code| code.0 / 100 == 3);
    if !redirects && let Some(contact) = contact(message, local) {
        edits.set_uri(message, Name::Contact, &contact);
    }
}

/// A request of our own inside a dialog.
pub(super) fn own_request(
    party: &Party,
    call_id: &str,
    method: &str,
    local: SocketAddr,
    branch: &str,
    cseq: u32,
) -> Vec<u8> {
    let mut out = format!(
        "{method} {} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch={branch};rport\r\nMax-Forwards: 70\r\n",
        party.target
    );
    for route in &party.routes {
        out.extend(["Route: ", route, "\r\n"]);
    }
    out += &format!(
        "From: {}\r\nTo: {}\r\nCall-ID: {call_id}\r\nCSeq: {cseq} {method}\r\nContent-Length: 0\r\n\r\n",
        party.local, party.remote
    );
    out.into_bytes()
}

/// An address header as it stands, made sure that it carries `tag`.
pub(super) fn with_tag(value: &str, address: Option<NameAddr<'_>>, tag: &str) -> String {
    match address.and_then(|address| address.tag()) {
        Some(_) => value.to_owned(),
        None => format!("{value};tag={tag}"),
    }
}
