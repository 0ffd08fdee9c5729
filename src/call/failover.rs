//! A callee's INVITE that does not get through: the next host, the next trunk, or where a 3xx says.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::forward;
use super::identity::{self, Turn};
use super::machine::{Call, SILENT_PEER};
use super::settings::{Redirects, Side};
use super::switchboard::Switchboard;
use super::trunks::Candidate;
use crate::sip::wire::{Index, Message, StatusCode, Uri};
use crate::units::Leg;

impl Switchboard {
    /// How long the callee's side may say nothing.
    pub(super) fn patience(call: &Call) -> Duration {
        let trunk = call.trunk_of(Leg::Callee).and_then(|name| call.settings.trunk(name));
        match trunk {
            Some(trunk) if !call.candidates.is_empty() => trunk.answer_within,
            Some(_) | None => SILENT_PEER,
        }
    }

    /// The next hop of the callee's INVITE has failed: the next one, if there is one and nobody has heard a phone ring
    /// (RFC 3261 §16.7 step 5, RFC 3263 §4.3). None: it has been tried.
    pub(super) fn try_next(&mut self, mut call: Box<Call>, now: Instant) -> Option<Box<Call>> {
        if call.rang.is_some() || call.answered.is_some() || call.candidates.is_empty() {
            return Some(call);
        }
        let Candidate { trunk, hop, uri } = call.candidates.remove(0);
        if let Some(client) = call.client.take() {
            self.clients.remove(&client);
        }
        call.flow.callee = call.flow.caller.towards(hop);
        if call.side(Leg::Callee) == Side::Outside {
            call.trunk = trunk;
        }
        call.party.callee.target = uri;
        call.party.callee.shift = 0;
        call.invite_shift.callee = (0, 0);
        call.authorization.callee = None;
        let invite = std::mem::take(&mut call.invite);
        let mut index = Index::new();
        if let Ok(message) = index.read_again(&invite, &call.settings.wire_limits) {
            self.invite_callee(&mut call, &message, now);
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
        const MOST_TURNS: usize = 3;
        if call.settings.redirects == Redirects::Pass || call.turns.len() >= MOST_TURNS {
            return Some(call);
        }
        let from = call.party.callee.target.clone();
        let been = |uri: &String| *uri == from || call.turns.iter().any(|turn| turn.from == *uri);
        let contacts = identity::contacts_of(message);
        let found = contacts.iter().filter_map(|uri| self.same_side(&call, uri)).find(|next| !been(&next.uri));
        let Some(next) = found else { return Some(call) };
        call.turns.push(Turn { from, to: next.uri.clone(), status: code.0 });
        call.candidates.insert(0, next);
        self.try_next(call, now)
    }

    /// Where a URI leads on the callee's side.
    fn same_side(&self, call: &Call, uri: &str) -> Option<Candidate> {
        let parsed = Uri::parse(uri).ok()?;
        let hop = call.flow.callee.hop();
        let there = parsed.ip().is_some_and(|ip| ip == hop.address.ip());
        let ours = parsed.ip().is_some_and(|ip| call.settings.is_ours(call.side(Leg::Callee), ip));
        let trunk = call.trunk_of(Leg::Callee).and_then(|name| call.settings.trunk(name));
        let named = trunk.is_some_and(|trunk| trunk.host.eq_ignore_ascii_case(parsed.host));
        if parsed.user.is_none() || !(there || ours || named || parsed.host.is_empty()) {
            return None;
        }
        let place = trunk.map_or_else(|| hop.address.to_string(), |trunk| trunk.place(hop));
        let uri = forward::at(uri, &place, hop.transport);
        Some(Candidate { trunk: trunk.map(|trunk| Arc::clone(&trunk.name)), hop, uri })
    }

    /// Nothing came of the callee's INVITE: the next hop, or the end.
    pub(super) fn unreachable(&mut self, call: Box<Call>, code: StatusCode, now: Instant) {
        self.callee_silent(&call, now);
        if let Some(call) = self.try_next(call, now) {
            self.fail(call, code, "unreachable", now);
        }
    }

    pub(super) fn callee_silent(&mut self, call: &Call, now: Instant) {
        if let Some(trunk) = call.trunk_of(Leg::Callee) {
            self.silent(trunk, call.flow.callee.hop(), now);
        }
    }
}
