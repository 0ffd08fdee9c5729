//! Requests outside any call, on their way to PBX or trunk, and what comes back.

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
use crate::sip::wire::{Edits, Message, Method, StatusCode, Uri};

/// Contacts of one REGISTER that are rewritten.
const MAX_CONTACTS: usize = 16;

impl Switchboard {
    /// Edits a request for the first hop that it may go to, and keeps the others. None: there is nowhere to go.
    pub(super) fn start_outside(
        &mut self,
        edits: &mut Edits,
        message: &Message<'_>,
        relayed: &mut RelayedRequest,
        flow: Flow,
        (client, branch): (ClientId, &str),
        now: Instant,
    ) -> Option<Flow> {
        let uri = message.request_uri()?;
        let target = Uri::parse(uri).ok()?;
        let mut candidates = VecDeque::from(self.candidates(uri, &target, relayed.from, Order::Steady));
        let candidate = candidates.pop_front()?;
        let to = flow.towards(candidate.hop);
        self.edit_outside(edits, message, relayed, (flow, candidate), branch);
        if !candidates.is_empty() {
            let again = Again::of(message, (flow, to.hop()), candidates, now);
            relayed.again = self.hurry(client, again, relayed.trunk.as_deref(), now);
        }
        Some(to)
    }

    /// Edits a request outside any call on its way from a flow to a candidate.
    pub(super) fn edit_outside(
        &self,
        edits: &mut Edits,
        message: &Message<'_>,
        relayed: &mut RelayedRequest,
        (flow, Candidate { hop, uri, trunk }): (Flow, Candidate),
        branch: &str,
    ) {
        let settings = &self.settings;
        let side = relayed.from;
        let local = settings.local(side.other(), hop.transport);
        forward::edit_hop(edits, message, flow.peer, local, branch);
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
        edits.pop_via(message);
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
