//! Requests outside any call, on their way to PBX or trunk, and what comes back.
//!
//! Of a dialog that is no call (a subscription to a voice mailbox), nothing is kept here. To the PBX we are a proxy on
//! its route, so that it asks again through us and whoever answered is still there behind us.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use super::candidates::{Candidate, Order};
use super::failover::Again;
use super::forward;
use super::identity;
use super::relay::RelayedRequest;
use super::settings::Side;
use super::switchboard::Switchboard;
use crate::sip::flow::Flow;
use crate::sip::transaction::ClientId;
use crate::sip::wire::{Edits, Message, Method, Name, NameAddr, StatusCode, Uri};

/// Contacts of one REGISTER that are rewritten, and Paths that are kept.
const MAX_CONTACTS: usize = 16;

impl Switchboard {
    /// Edits a request for the first hop that it may go to, and keeps the others. With nowhere to go, it is answered as
    /// an INVITE is.
    pub(super) fn start_outside(
        &mut self,
        edits: &mut Edits,
        message: &Message<'_>,
        relayed: &mut RelayedRequest,
        flow: Flow,
        (client, branch): (ClientId, &str),
        now: Instant,
    ) -> Result<Flow, StatusCode> {
        let uri = message.request_uri().ok_or(StatusCode::BAD_REQUEST)?;
        let target = Uri::parse(uri).map_err(|_| StatusCode::UNSUPPORTED_URI_SCHEME)?;
        let mut candidates = VecDeque::from(self.candidates(uri, &target, relayed.from, Order::Steady));
        // Of the hosts of a trunk, first the one that has the dialog.
        let routes = forward::routes_onward(message, relayed.from, &self.settings);
        let next = routes.first().and_then(|route| NameAddr::only(route).ok()?.parsed_uri().ok()).unwrap_or(target);
        let there = candidates.iter().position(|one| next.ip() == Some(one.hop.address.ip()));
        if let Some(one) = there.filter(|_| relayed.dialog).and_then(|there| candidates.remove(there)) {
            candidates.push_front(one);
        }
        let candidate = candidates.pop_front().ok_or(StatusCode::SERVICE_UNAVAILABLE)?;
        let to = self.settings.flow(relayed.from.other(), candidate.hop);
        self.edit_outside(edits, message, relayed, (flow, candidate), branch);
        if !candidates.is_empty() {
            let again = Again::of(message, (flow, to.hop()), candidates, now);
            relayed.again = self.hurry(client, again, relayed.trunk.as_deref(), now);
        }
        Ok(to)
    }

    /// Edits a request outside any call on its way from a flow to a candidate.
    pub(super) fn edit_outside(
        &self,
        edits: &mut Edits,
        message: &Message<'_>,
        relayed: &mut RelayedRequest,
        (flow, Candidate { hop, uri, trunk, .. }): (Flow, Candidate),
        branch: &str,
    ) {
        let settings = &self.settings;
        let side = relayed.from;
        let local = settings.local(side.other(), hop);
        forward::edit_hop(edits, message, flow.peer, local, branch);
        // The PBX is told the way of such a dialog with us as its first step, and who is at its end. The trunk is told
        // of us alone.
        let shown = relayed.dialog && side == Side::Outside;
        if shown {
            edits.push_on_top(message, &format!("Record-Route: {}", forward::our_route(local)));
        } else {
            edits.remove_all(message, Name::RecordRoute);
        }
        forward::add_routes(edits, message, &forward::routes_onward(message, side, settings));
        edits.set_request_uri(message, &uri);
        self.map_refer_to(edits, message, side, hop);
        let outside = settings.trunk_of(flow.peer.ip()).map(|trunk| Arc::clone(&trunk.name));
        relayed.trunk = trunk.or(outside);
        identity::screen(edits, message, settings, side, relayed.trunk.as_deref());
        if side == Side::Inside && message.method() == Some(Method::Register) {
            // A binding leads to us; the way from us to the registrant is ours to know (RFC 3327 §5.2). It is in the
            // answer again, as the registrant expects it (§5.3).
            let paths = message.others("Path").take(MAX_CONTACTS);
            relayed.paths = paths.map(|path| format!("Path: {}", path.value)).collect();
            edits.remove_other(message, "Path");
        }
        relayed.contacts.clear();
        if shown {
            return;
        }
        for contact in message.contacts().filter_map(Result::ok).take(MAX_CONTACTS) {
            let ours = forward::at_hop(contact.uri, local);
            edits.set_uri_at(message, contact.uri, &ours);
            relayed.contacts.push((ours, contact.uri.to_owned()));
        }
    }

    /// Edits a response on its way back to whoever asked.
    pub(super) fn edit_response_outside(
        edits: &mut Edits,
        message: &Message<'_>,
        code: StatusCode,
        relayed: &RelayedRequest,
    ) {
        if relayed.dialog && relayed.from == Side::Outside {
            return forward::edit_response(edits, message, relayed.local, &relayed.routes);
        }
        edits.pop_via(message);
        if relayed.dialog && code.is_success() {
            let ours = forward::our_route(relayed.local);
            for route in [&ours].into_iter().chain(&relayed.routes) {
                edits.append(message, &format!("Record-Route: {route}"));
            }
        }
        if code.is_success() {
            for path in &relayed.paths {
                edits.append(message, path);
            }
        }
        for contact in message.contacts().filter_map(Result::ok).take(MAX_CONTACTS) {
            if let Some((_, theirs)) = relayed.contacts.iter().find(|(ours, _)| ours == contact.uri) {
                edits.set_uri_at(message, contact.uri, theirs);
            }
        }
    }
}
