//! Messages on their way to the other leg, and requests of our own: what we write into them.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::settings::{Settings, Side};
use crate::sip::flow::{Hop, Transport};
use crate::sip::wire::{Edits, MAX_FORWARDS, Message, Name, NameAddr, StatusCode, Uri};
use crate::units::Plain;

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
    /// What reaches it is numbered higher by this than the other leg numbers it: requests that we sent once more, with
    /// credentials (RFC 3261 §22.2).
    #[serde(default)]
    pub shift: u32,
}

impl Party {
    /// How a request inside the dialog reaches it.
    pub(super) fn way(&self) -> Way<'_> {
        Way { target: &self.target, routes: &self.routes }
    }
}

/// How a request inside a dialog reaches its peer: request-URI and Route headers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way<'a> {
    pub(super) target: &'a str,
    pub(super) routes: &'a [String],
}

/// Room for what is written into one line.
const LINE: usize = 96;

/// Routes of one message that are kept; more is no telephone network.
const MAX_ROUTES: usize = 16;

/// One for each protocol that has a word on it; there are three.
const MAX_REASONS: usize = 4;

/// Record-Route values of a message, in its order.
pub(super) fn record_routes(message: &Message<'_>) -> Vec<String> {
    message
        .addresses(Name::RecordRoute)
        .filter_map(Result::ok)
        .take(MAX_ROUTES)
        .map(|route| format!("<{}>{}", route.uri, route.params))
        .collect()
}

/// The routes from the caller to whoever sent this response (RFC 3261 §12.1.2).
pub(super) fn routes_back(response: &Message<'_>) -> Vec<String> {
    let mut routes = record_routes(response);
    routes.reverse();
    routes
}

/// A URI's user at `to`: `sip:201@192.0.2.9:5060`. Parameters of the URI stay, but the transport is that of `to`.
pub(super) fn at_hop(uri: &str, to: Hop) -> String {
    let mut address = String::with_capacity(LINE);
    Plain(to.address).write_to(&mut address);
    at(uri, &address, to.transport)
}

/// The same at `address`, a name or an address as URIs write it. The name of a service stays.
pub(super) fn at(uri: &str, address: &str, transport: Transport) -> String {
    let parsed = Uri::parse(uri).ok();
    if parsed.is_some_and(|parsed| parsed.is_service()) {
        return uri.to_owned();
    }
    let (user, at) = parsed.and_then(|parsed| parsed.user).map_or(("", ""), |user| (user, "@"));
    let mut out = String::with_capacity(LINE);
    out.extend(["sip:", user, at, address, transport.uri_parameter()]);
    match parsed {
        Some(number) if at == "@" && number.scheme.eq_ignore_ascii_case("tel") => out.push_str(";user=phone"),
        Some(parsed) => out.push_str(&without_transport(parsed.params)),
        None => {}
    }
    out
}

/// URI parameters (with the leading `;`, or empty) without the transport: it is a leg's own.
fn without_transport(params: &str) -> String {
    let is_transport =
        |param: &str| param.split('=').next().is_some_and(|name| name.trim().eq_ignore_ascii_case("transport"));
    params.split(';').skip(1).filter(|param| !is_transport(param)).map(|param| format!(";{param}")).collect()
}

/// Ourselves as a leg reaches us.
pub(super) fn our_uri(scheme: &str, user: Option<&str>, local: Hop) -> String {
    let mut uri = String::with_capacity(LINE);
    uri.extend([scheme, ":"]);
    if let Some(user) = user {
        uri.extend([user, "@"]);
    }
    Plain(local.address).write_to(&mut uri);
    // A `sips` URI says TLS by itself.
    uri.push_str(if scheme == "sips" { "" } else { local.transport.uri_parameter() });
    uri
}

/// Contact of ours on one leg in place of the peer's: its user stays, so that both sides see the names they know; so
/// does `sips`, on a leg that has TLS (RFC 3261 §8.1.1.8).
fn set_contact(edits: &mut Edits, message: &Message<'_>, local: Hop) {
    let Ok(Some(theirs)) = message.contact() else { return };
    let uri = Uri::parse(theirs.uri).ok();
    let secure = local.transport == Transport::Tls && uri.is_some_and(|uri| uri.scheme.eq_ignore_ascii_case("sips"));
    let user = uri.and_then(|uri| uri.user).filter(|user| !user.is_empty());
    edits.set_uri_at(message, theirs.uri, &our_uri(if secure { "sips" } else { "sip" }, user, local));
}

/// Ourselves as a route that a dialog takes (RFC 3261 §16.6 step 4).
pub(super) fn our_route(local: Hop) -> String {
    format!("<{};lr>", our_uri("sip", None, local))
}

/// Our Via line.
pub(super) fn via(local: Hop, branch: &str) -> String {
    let mut line = String::with_capacity(LINE);
    line.extend(["Via: SIP/2.0/", local.transport.via_token(), " "]);
    Plain(local.address).write_to(&mut line);
    line.extend([";branch=", branch, ";rport"]);
    line
}

/// Routes of a new request that go on with it: what the PBX was told by a registrar (RFC 3608) is for the trunk. What
/// the outside knows of the way behind us is nothing to the PBX, and what led to us is done with.
pub(super) fn routes_onward(message: &Message<'_>, side: Side, settings: &Settings) -> Vec<String> {
    if side == Side::Outside {
        return Vec::new();
    }
    let ours = |uri: &str| Uri::parse(uri).is_ok_and(|uri| settings.is_us(side, &uri) || settings.is_pbx(&uri));
    let routes = message.addresses(Name::Route).filter_map(Result::ok).take(MAX_ROUTES);
    routes.skip_while(|route| ours(route.uri)).map(|route| format!("<{}>{}", route.uri, route.params)).collect()
}

/// Edits that every request needs on its way to the next hop: our Via, one hop less (RFC 3261 §16.6), and none of the
/// routes that led to us.
pub(super) fn edit_hop(edits: &mut Edits, message: &Message<'_>, source: SocketAddr, local: Hop, branch: &str) {
    edits.push_on_top(message, &via(local, branch));
    edits.stamp_via(message, source);
    let hops = message.max_forwards().ok().flatten().unwrap_or(MAX_FORWARDS).saturating_sub(1);
    edits.set_number(message, Name::MaxForwards, hops.into());
    edits.remove_all(message, Name::Route);
}

pub(super) fn add_routes(edits: &mut Edits, message: &Message<'_>, routes: &[String]) {
    for route in routes {
        edits.append(message, &format!("Route: {route}"));
    }
}

/// Edits that every request of a call needs. `way`: None for one that begins a dialog, whose URI is not known here.
pub(super) fn edit_request(
    edits: &mut Edits,
    message: &Message<'_>,
    source: SocketAddr,
    local: Hop,
    branch: &str,
    way: Option<Way<'_>>,
) {
    edit_hop(edits, message, source, local, branch);
    edits.remove_all(message, Name::RecordRoute);
    if let Some(Way { target, routes }) = way {
        edits.set_request_uri(message, target);
        add_routes(edits, message, routes);
    }
    set_contact(edits, message, local);
}

/// Edits that every forwarded response needs. `routes`: the Record-Routes of the request that it answers.
pub(super) fn edit_response(edits: &mut Edits, message: &Message<'_>, local: Hop, routes: &[String]) {
    edits.pop_via(message);
    edits.remove_all(message, Name::RecordRoute);
    for route in routes {
        edits.append(message, &format!("Record-Route: {route}"));
    }
    if !message.status().is_some_and(StatusCode::is_redirect) {
        set_contact(edits, message, local);
    }
}

/// Why a call is given up, as header lines (RFC 3326).
pub(super) fn reasons(message: &Message<'_>) -> Vec<String> {
    message.others("Reason").take(MAX_REASONS).map(|reason| format!("Reason: {}", reason.value)).collect()
}

/// CSeq as the leg knows it that the request goes to.
pub(super) fn renumber(edits: &mut Edits, message: &Message<'_>, shift: u32) {
    let Ok(cseq) = message.cseq() else { return };
    if shift == 0 {
        return;
    }
    edits.set(message, Name::CSeq, &format!("{} {}", cseq.number.saturating_add(shift), cseq.method.as_str()));
}

/// The RAck of a PRACK: the INVITE that it names may be shifted by less than the PRACK is. `shift`: of a request by its
/// number.
pub(super) fn renumber_rack(edits: &mut Edits, message: &Message<'_>, shift: impl FnOnce(u32) -> u32) {
    let Some(rack) = message.other("RAck") else { return };
    let parts: Vec<&str> = rack.value.split_ascii_whitespace().collect();
    if let [number, cseq, method] = parts[..]
        && let Ok(cseq) = cseq.parse::<u32>()
    {
        let shifted = cseq.saturating_add(shift(cseq));
        if shifted != cseq {
            edits.replace(message, rack.value, &format!("{number} {shifted} {method}"));
        }
    }
}

/// The CSeq of a response, as the leg knows it that asked.
pub(super) fn renumber_back(edits: &mut Edits, message: &Message<'_>, shift: u32) {
    if let (true, Ok(cseq)) = (shift > 0, message.cseq()) {
        edits.set(message, Name::CSeq, &format!("{} {}", cseq.number.saturating_sub(shift), cseq.method.as_str()));
    }
}

/// A request of our own inside a dialog.
pub(super) fn own_request(party: &Party, call_id: &str, method: &str, local: Hop, branch: &str, cseq: u32) -> Vec<u8> {
    let mut out =
        format!("{method} {} SIP/2.0\r\n{}\r\nMax-Forwards: {MAX_FORWARDS}\r\n", party.target, via(local, branch));
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
