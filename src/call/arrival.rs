//! A new call: its facts, where it goes, and the question to gate and history.

use std::sync::Arc;
use std::time::Instant;

use super::event::NotAnalysed;
use super::forward::{self, Party};
use super::identity;
use super::input::Output;
use super::resumed::Invited;
use super::security::Security;
use super::session::Session;
use super::settings::Side;
use super::state::{Call, Phase};
use super::switchboard::{LONGEST_TEXT, Switchboard};
use super::trunks::Order;
use super::video::Video;
use crate::policy::facts::{CallDirection, CallerNumber, Facts};
use crate::sip::flow::Flow;
use crate::sip::transaction::ServerId;
use crate::sip::wire::{Message, Name, StatusCode, Uri};
use crate::units::{PerLeg, Redacted};

impl Switchboard {
    pub(super) fn new_call(&mut self, message: &Message<'_>, server: ServerId, flow: Flow, side: Side, now: Instant) {
        let trunk = match side {
            // Several trunks may share an address: the contact that was asked for says which of them it is.
            Side::Outside => self
                .trunks
                .registered_contact(message.bytes())
                .or_else(|| self.settings.trunk_of(flow.peer.ip()).map(|trunk| Arc::clone(&trunk.name))),
            Side::Inside => None,
        };
        if self.draining || !self.has_room(trunk.as_ref()) {
            return self.reply(message, server, flow, StatusCode::SERVICE_UNAVAILABLE, &["Retry-After: 30"], now);
        }
        let (Ok(Some(contact)), Some(uri)) = (message.contact(), message.request_uri()) else {
            return self.reply(message, server, flow, StatusCode::BAD_REQUEST, &[], now);
        };
        if self.by_call_id.contains_key(message.call_id()) {
            // The same call over another path (RFC 3261 §8.2.2.2).
            return self.reply(message, server, flow, StatusCode::LOOP_DETECTED, &[], now);
        }
        let Ok(target) = Uri::parse(uri) else {
            return self.reply(message, server, flow, StatusCode::UNSUPPORTED_URI_SCHEME, &[], now);
        };
        let mut candidates = self.candidates(uri, &target, side, Order::ByLot);
        if candidates.is_empty() {
            return self.reply(message, server, flow, StatusCode::SERVICE_UNAVAILABLE, &[], now);
        }
        let first = candidates.remove(0);
        let mut shows = false;
        if message.has_sdp() {
            match self.settings.read_sdp(message.body()) {
                Ok(sdp) if sdp.anchored().is_some() => shows = sdp.video().is_some(),
                Ok(_) | Err(_) => return self.reply(message, server, flow, StatusCode::NOT_ACCEPTABLE_HERE, &[], now),
            }
        }
        let value = |name| message.header(name).map_or("", |header| header.value).to_owned();
        let caller = Party {
            remote: value(Name::From),
            local: value(Name::To),
            target: contact.uri.to_owned(),
            routes: forward::record_routes(message),
            cseq: 0,
            shift: 0,
        };
        let callee = Party { remote: value(Name::To), local: value(Name::From), target: first.uri, ..Party::default() };
        let id = self.next_id();
        let facts = self.facts(message, &target, flow, side, trunk);
        let trunk = first.trunk.or_else(|| facts.trunk.clone());
        let mut call = Box::new(Call {
            id,
            settings: Arc::clone(&self.settings),
            from: side,
            call_id: Arc::from(message.call_id()),
            flow: PerLeg { caller: flow, callee: flow.towards(first.hop) },
            party: PerLeg { caller, callee },
            invite: Some(Box::new(message.keep())),
            server: Some(server),
            invited: Invited::by(message),
            resumed_until: None,
            client: None,
            has_callee: false,
            facts,
            generation: self.settings.generation,
            routed: None,
            ports: None,
            plan: PerLeg::default(),
            plays: PerLeg::default(),
            latched: PerLeg::default(),
            video: shows.then(Video::offered),
            security: Security::new(&self.settings.srtp, &self.secret, id),
            reopening: false,
            phase: Phase::Consulting,
            due: None,
            began: now,
            rang: None,
            answered: None,
            answered_by: None,
            early: Vec::new(),
            hung_up: Vec::new(),
            unacked: None,
            until: None,
            listens_until: None,
            analysed: false,
            on_hold: false,
            session: Session::default(),
            unheard: if message.has_sdp() { None } else { Some(NotAnalysed::NoSdp) },
            not_analysed: None,
            taken: Vec::new(),
            steps: Vec::new(),
            taken_back: None,
            guard: None,
            lifted: None,
            digits: PerLeg::default(),
            diversion: None,
            told_verdict: None,
            trunk,
            candidates,
            invite_shift: PerLeg::default(),
            authorization: PerLeg::default(),
            turns: Vec::new(),
            guest: PerLeg::default(),
        });
        self.host_guests(&mut call);
        self.enter(&call);
        self.by_server.insert(server, id);
        self.out(Output::Consult {
            call: id,
            direction: call.facts.direction,
            source: flow.peer.ip(),
            number: call.facts.caller.text().cloned(),
            called: call.facts.called.clone(),
        });
        self.keep(call);
    }

    fn facts(&self, message: &Message<'_>, target: &Uri<'_>, flow: Flow, side: Side, trunk: Option<Arc<str>>) -> Facts {
        let asserted = identity::asserted(message, &self.settings, side, trunk.as_deref());
        let shown = asserted.or_else(|| message.from().ok()?.parsed_uri().ok());
        let private = identity::is_private(message);
        let hidden = private || shown.is_some_and(|uri| uri.host.eq_ignore_ascii_case("anonymous.invalid"));
        let country = self.settings.policy.country;
        let caller = if hidden { CallerNumber::Withheld } else { country.caller(shown.and_then(|uri| uri.user)) };
        let called = target.user.unwrap_or_default();
        let called = called.char_indices().nth(LONGEST_TEXT).and_then(|(end, _)| called.get(..end)).unwrap_or(called);
        let direction = match side {
            Side::Outside => CallDirection::Inbound,
            Side::Inside => CallDirection::Outbound,
        };
        let understands = |header: crate::sip::wire::Header<'_>| {
            header.value.as_bytes().windows(7).any(|word| word.eq_ignore_ascii_case(b"sip.608"))
        };
        Facts {
            direction,
            source: flow.peer.ip(),
            trunk,
            caller,
            called: Redacted(Arc::from(called)),
            understands_608: message.all(Name::FeatureCaps).chain(message.all(Name::Contact)).any(understands),
            over_limit: None,
            hour: 0,
            weekday: 0,
            dialled_before: false,
        }
    }
}
