//! What does not get through: a callee's INVITE goes to the next host, the next trunk, or where a 3xx says; another
//! request outside any call to the next host or trunk.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::candidates::Candidate;
use super::description::description;
use super::event::EndReason;
use super::forward;
use super::identity::{self, Retarget};
use super::machine::{SILENT_BEFORE, SILENT_PEER};
use super::settings::{Redirects, Side};
use super::state::{Call, LastInvite};
use super::switchboard::Switchboard;
use crate::sip::flow::{Flow, Hop};
use crate::sip::transaction::{ClientId, ClientKind};
use crate::sip::wire::{Edits, Index, Message, StatusCode, Uri};
use crate::units::Leg;

/// A call is sent on so often; more is a circle of forwardings.
const MOST_RETARGETS: usize = 3;

/// How a request outside any call may still go, should its next hop fail.
#[derive(Debug)]
pub(super) struct Again {
    /// As it came.
    request: Vec<u8>,
    flow: Flow,
    /// Where it has gone.
    hop: Hop,
    candidates: VecDeque<Candidate>,
    give_up: Instant,
}

impl Again {
    pub(super) fn of(
        request: &Message<'_>,
        (flow, hop): (Flow, Hop),
        candidates: VecDeque<Candidate>,
        now: Instant,
    ) -> Self {
        Self { request: request.bytes().to_vec(), flow, hop, candidates, give_up: now }
    }
}

/// True for a response that asks for another next hop: this one cannot (RFC 3263 §4.3), or what is behind it says
/// nothing.
pub(super) fn hop_has_failed(code: StatusCode) -> bool {
    matches!(code, StatusCode::SERVICE_UNAVAILABLE | StatusCode::REQUEST_TIMEOUT)
}

impl Switchboard {
    /// How long the callee's side may say nothing. Behind a PBX that was silent to an earlier call, and has said
    /// nothing since, callers do not queue up for as long as the first had to wait.
    pub(super) fn patience(&self, call: &Call) -> Duration {
        let trunk = call.trunk_of(Leg::Callee).and_then(|name| call.settings.trunk(name));
        match trunk {
            Some(trunk) if !call.candidates.is_empty() => trunk.answer_within,
            None if self.pbx_is_silent && call.side(Leg::Callee) == Side::Inside => SILENT_BEFORE,
            Some(_) | None => SILENT_PEER,
        }
    }

    /// The next hop of the callee's INVITE has failed: the next one, if there is one and nobody has heard a phone ring
    /// (RFC 3261 §16.7 step 5, RFC 3263 §4.3). What a call for help has heard was a voice that says why not, or nobody
    /// is left who could answer. None: it has been tried.
    pub(super) fn try_next(&mut self, call: Box<Call>, now: Instant) -> Option<Box<Call>> {
        if call.rang.is_some() && !call.is_emergency() { Some(call) } else { self.go_to_next(call, now) }
    }

    /// The same, whatever has been heard.
    pub(super) fn go_to_next(&mut self, mut call: Box<Call>, now: Instant) -> Option<Box<Call>> {
        if call.answered.is_some() || call.candidates.is_empty() {
            return Some(call);
        }
        let Candidate { trunk, hop, uri, is_first } = call.candidates.remove(0);
        call.left_first = !is_first;
        if let Some(client) = call.client.take() {
            self.clients.remove(&client);
        }
        call.flow.callee = call.settings.flow(call.side(Leg::Callee), hop);
        if call.side(Leg::Callee) == Side::Outside {
            call.trunk = trunk;
        }
        call.party.callee.target = uri;
        call.last_invite.callee = LastInvite::default();
        let invite = call.invite.take();
        if let Some(message) = invite.as_ref().map(|invite| invite.message()) {
            let description = description(&call, &message, Leg::Caller);
            self.invite_callee(&mut call, &message, description.as_ref(), now);
        }
        call.invite = invite;
        if call.client.is_none() {
            return Some(call);
        }
        self.keep(call);
        None
    }

    /// The callee's side sends the call on (RFC 3261 §8.1.3.4): to where that is on the same side, and no further. Back
    /// where it is not, or has been too often; None: it goes on.
    pub(super) fn redirected(
        &mut self,
        mut call: Box<Call>,
        message: &Message<'_>,
        code: StatusCode,
        now: Instant,
    ) -> Option<Box<Call>> {
        if call.settings.redirects == Redirects::Pass || call.retargets.len() >= MOST_RETARGETS {
            return Some(call);
        }
        let from = call.party.callee.target.clone();
        let been = |uri: &String| *uri == from || call.retargets.iter().any(|retarget| retarget.from == *uri);
        let contacts = identity::contacts_of(message);
        let found = contacts.iter().filter_map(|uri| self.same_side(&call, uri)).find(|next| !been(&next.uri));
        let Some(next) = found else { return Some(call) };
        call.retargets.push(Retarget { from, to: next.uri.clone(), status: code.0 });
        // Most phones that send a call on have rung before.
        self.go_there_next(call, next, now)
    }

    /// The callee's side takes no description like that one. Some refuse keys in the plain profile, which others take
    /// as an offer: once more without them. None: that has been tried.
    pub(super) fn without_keys(&mut self, mut call: Box<Call>, now: Instant) -> Option<Box<Call>> {
        let offered = call.invite.as_ref().is_some_and(|invite| invite.message().has_sdp());
        if !offered || !call.stops_offering_keys(Leg::Callee) {
            return Some(call);
        }
        let same = Candidate {
            trunk: call.trunk_of(Leg::Callee).cloned(),
            hop: call.flow.callee.hop(),
            uri: call.party.callee.target.clone(),
            is_first: !call.left_first,
        };
        self.go_there_next(call, same, now)
    }

    fn go_there_next(&mut self, mut call: Box<Call>, next: Candidate, now: Instant) -> Option<Box<Call>> {
        // Whoever may get it again must not take it for the same over another path (RFC 3261 §8.1.3.5, §8.2.2.2).
        call.party.callee.shift += 1;
        call.candidates.insert(0, next);
        self.go_to_next(call, now)
    }

    /// Where a URI leads on the callee's side.
    fn same_side(&self, call: &Call, uri: &str) -> Option<Candidate> {
        let parsed = Uri::parse(uri).ok()?;
        let hop = call.flow.callee.hop();
        let there = parsed.ip().is_some_and(|ip| ip == hop.address.ip());
        let ours = call.settings.is_us(call.side(Leg::Callee), &parsed);
        let trunk = call.trunk_of(Leg::Callee).and_then(|name| call.settings.trunk(name));
        let named = trunk.is_some_and(|trunk| trunk.is_named(parsed.host));
        if parsed.user.is_none() || !(there || ours || named || parsed.host.is_empty()) {
            return None;
        }
        let place = trunk.map_or_else(|| hop.address.to_string(), |trunk| trunk.place(hop));
        let uri = forward::at(uri, &place, hop.transport);
        let trunk = trunk.map(|trunk| Arc::clone(&trunk.name));
        Some(Candidate { trunk, hop, uri, is_first: !call.left_first })
    }

    /// Nothing came of the callee's INVITE: the next hop, or the end.
    pub(super) fn unreachable(&mut self, call: Box<Call>, code: StatusCode, now: Instant) {
        self.callee_silent(&call, now);
        if let Some(call) = self.try_next(call, now) {
            if call.side(Leg::Callee) == Side::Inside {
                self.pbx_is_silent = true;
                self.pbx_silent(call.flow.callee.hop(), now);
            }
            self.fail(call, code, EndReason::Unreachable, now);
        }
    }

    /// The host that the callee's INVITE went to said nothing, or that it cannot.
    pub(super) fn callee_silent(&mut self, call: &Call, now: Instant) {
        if let Some(trunk) = call.trunk_of(Leg::Callee) {
            self.silent(trunk, call.flow.callee.hop(), now);
        }
    }

    /// With another way left, a next hop has as long to say something as it has for an INVITE. None: there is no other.
    pub(super) fn hurry(
        &mut self,
        client: ClientId,
        again: Again,
        trunk: Option<&str>,
        now: Instant,
    ) -> Option<Box<Again>> {
        if again.candidates.is_empty() {
            return None;
        }
        let trunk = trunk.and_then(|name| self.settings.trunk(name));
        let give_up = now + trunk.map_or(SILENT_PEER, |trunk| trunk.answer_within);
        self.hurried.insert((give_up, client));
        Some(Box::new(Again { give_up, ..again }))
    }

    /// Gives up what has waited long enough for a next hop.
    pub(super) fn relayed_due(&mut self, now: Instant) {
        while let Some((_, client)) = self.hurried.first().copied().filter(|(at, _)| *at <= now) {
            self.hurried.pop_first();
            if self.relay_again(client, now) {
                // Whatever it still says is nobody's.
                self.transactions.release(client);
            }
        }
    }

    /// A response to a request outside any call. True: its next hop cannot, and it has gone to the next one.
    pub(super) fn has_failed(&mut self, client: ClientId, code: StatusCode, now: Instant) -> bool {
        if hop_has_failed(code) && self.relay_again(client, now) {
            return true;
        }
        // It has been heard: it stays there.
        let again = self.relayed.get_mut(&client).and_then(|relayed| relayed.again.take());
        self.stay(client, again);
        false
    }

    /// It goes nowhere else.
    pub(super) fn stay(&mut self, client: ClientId, again: Option<Box<Again>>) {
        if let Some(again) = again {
            self.hurried.remove(&(again.give_up, client));
        }
    }

    /// The next hop of a request outside any call has failed. True: it has gone to the next one (RFC 3263 §4.3).
    pub(super) fn relay_again(&mut self, client: ClientId, now: Instant) -> bool {
        let Some(relayed) = self.relayed.get_mut(&client) else { return false };
        let Some(mut again) = relayed.again.take() else { return false };
        let (trunk, settings) = (relayed.trunk.clone(), Arc::clone(&self.settings));
        self.hurried.remove(&(again.give_up, client));
        if let Some(trunk) = trunk {
            self.silent(&trunk, again.hop, now);
        }
        let Some(candidate) = again.candidates.pop_front() else { return false };
        let request = std::mem::take(&mut again.request);
        let mut index = Index::new();
        let Ok(message) = index.read(&request, &settings.wire_limits) else { return false };
        let Some(mut relayed) = self.relayed.remove(&client) else { return false };
        let Some((new, branch)) = self.transactions.reserve(ClientKind::NonInvite) else {
            self.relayed.insert(client, relayed);
            return false;
        };
        let to = self.settings.flow(relayed.from.other(), candidate.hop);
        let mut edits = Edits::new();
        self.edit_outside(&mut edits, &message, &mut relayed, (again.flow, candidate), &branch);
        let mut bytes = Vec::new();
        edits.apply(&message, &mut bytes);
        let again = Again { hop: to.hop(), request: message.bytes().to_vec(), ..*again };
        relayed.again = self.hurry(new, again, relayed.trunk.as_deref(), now);
        self.send(new, &bytes, to, now);
        self.relayed_by_server.insert(relayed.server, new);
        self.relayed.insert(new, relayed);
        true
    }
}
