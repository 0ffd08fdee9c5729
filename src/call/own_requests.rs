//! Requests of our own: REGISTER to trunks, and OPTIONS that ask a trunk's host or the PBX whether it answers.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::candidates::Order;
use super::forward;
use super::settings::{Side, Trunk};
use super::switchboard::Switchboard;
use super::trunks::TrunkChange;
use crate::sip::flow::Hop;
use crate::sip::transaction::{ClientId, ClientKind};
use crate::sip::wire::{MAX_FORWARDS, Message, StatusCode};
use crate::trunk::{Next, Registered, Registration, State, Target};

/// One that is under way.
#[derive(Clone, Debug)]
pub(super) struct OwnRequest {
    /// None: it went to the PBX.
    trunk: Option<Arc<str>>,
    hop: Hop,
    register: bool,
}

impl Switchboard {
    /// Registers with a trunk, or takes the binding back: whichever its registration is about.
    pub(super) fn register(&mut self, trunk: &Trunk, now: Instant) {
        let last = self.trunks.standing.get(&trunk.name).and_then(|standing| standing.registrar);
        let usable =
            |hop: &Hop| trunk.targets.iter().any(|target| target.hop == *hop) && !self.is_down(&trunk.name, *hop);
        let Some(hop) = last.filter(usable).or_else(|| self.hosts(trunk, Order::ByLot).first().copied()) else {
            return self.registered(trunk, None, now);
        };
        let uri = format!("sip:{}{}", trunk.uri_host(), hop.transport.uri_parameter());
        let trunks = &mut self.trunks;
        let Some(standing) = trunks.standing.get_mut(&trunk.name) else { return };
        let before = standing.registrar.replace(hop);
        let Some(registration) = standing.registration.as_mut() else { return };
        if before.is_some_and(|before| before != hop) {
            registration.moves();
        }
        let Some((client, branch)) = self.transactions.reserve(ClientKind::NonInvite) else {
            return self.registered(trunk, None, now);
        };
        let Registered { cseq, expires, authorization } = registration.request(&uri, &mut trunks.dice);
        let register = registration.register();
        let (user, host) = (&register.user, trunk.uri_host());
        let local = self.settings.local(Side::Outside, hop);
        let contact = format!("{};line={}", forward::our_uri("sip", Some(user), local), register.token);
        let via = forward::via(local, &branch);
        let (tag, call_id) = (standing.call_id.get(..8).unwrap_or_default(), &standing.call_id);
        let authorization = authorization.map_or_else(String::new, |line| format!("{line}\r\n"));
        let message = format!(
            "REGISTER {uri} SIP/2.0\r\n{via}\r\nMax-Forwards: {MAX_FORWARDS}\r\nFrom: <sip:{user}@{host}>;tag={tag}\r\n\
             To: <sip:{user}@{host}>\r\nCall-ID: {call_id}\r\nCSeq: {cseq} REGISTER\r\nContact: <{contact}>\r\n\
             Expires: {expires}\r\nSupported: path\r\n{authorization}Content-Length: 0\r\n\r\n"
        );
        self.trunks.own.insert(client, OwnRequest { trunk: Some(Arc::clone(&trunk.name)), hop, register: true });
        self.transactions.send(client, message.as_bytes(), self.settings.flow(Side::Outside, hop), now);
    }

    /// Asks a host whether it answers: a trunk's, or, where none is named, the PBX.
    pub(super) fn probe(&mut self, trunk: Option<&Arc<str>>, (side, hop): (Side, Hop), them: &str, now: Instant) {
        let own = OwnRequest { trunk: trunk.cloned(), hop, register: false };
        let Some((client, branch)) = self.transactions.reserve(ClientKind::NonInvite) else {
            return self.host_silent(&own, now);
        };
        let local = self.settings.local(side, hop);
        let via = forward::via(local, &branch);
        let us = forward::our_uri("sip", None, local);
        let (tag, call_id) = (self.trunks.dice.number(), self.trunks.dice.number());
        let way = hop.transport.uri_parameter();
        let message = format!(
            "OPTIONS sip:{them}{way} SIP/2.0\r\n{via}\r\nMax-Forwards: {MAX_FORWARDS}\r\nFrom: <{us}>;tag={tag:08x}\r\n\
             To: <sip:{them}>\r\nCall-ID: {call_id:016x}\r\nCSeq: 1 OPTIONS\r\nContact: <{us}>\r\nContent-Length: 0\r\n\r\n"
        );
        self.trunks.own.insert(client, own);
        self.transactions.send(client, message.as_bytes(), self.settings.flow(side, hop), now);
    }

    fn host_silent(&mut self, own: &OwnRequest, now: Instant) {
        match &own.trunk {
            Some(trunk) => self.silent(trunk, own.hop, now),
            None => self.pbx_silent(own.hop, now),
        }
    }

    /// A response to a request of our own. False: it is none.
    pub(super) fn own_response(
        &mut self,
        client: ClientId,
        message: &Message<'_>,
        code: StatusCode,
        now: Instant,
    ) -> bool {
        let Some(own) = self.trunks.own.get(&client).cloned() else { return false };
        if code.is_provisional() {
            return true;
        }
        self.trunks.own.remove(&client);
        let settings = Arc::clone(&self.settings);
        let Some(name) = &own.trunk else {
            // Whatever it says: it is there.
            self.pbx_spoke(true, now);
            return true;
        };
        let Some(trunk) = settings.trunk(name) else { return true };
        if code == StatusCode::SERVICE_UNAVAILABLE {
            self.silent(name, own.hop, now);
        } else {
            self.answers(name, own.hop, now);
        }
        if own.register {
            self.look_at_ourselves(trunk, own.hop, message);
            let fails = code == StatusCode::SERVICE_UNAVAILABLE && !self.is_unregistering(trunk);
            if fails && self.has_another_registrar(trunk, own.hop) {
                self.register(trunk, now);
            } else {
                self.registered(trunk, Some((message, code)), now);
            }
        }
        true
    }

    fn is_unregistering(&self, trunk: &Trunk) -> bool {
        let standing = self.trunks.standing.get(&trunk.name);
        standing.and_then(|standing| standing.registration.as_ref()).is_some_and(Registration::is_ending)
    }

    /// The registrar at `hop` cannot. True: another host of the trunk may (RFC 3263 §4.3), and is to be asked.
    fn has_another_registrar(&mut self, trunk: &Trunk, hop: Hop) -> bool {
        let other = |target: &Target| target.hop != hop && !self.is_down(&trunk.name, target.hop);
        let there = self.is_down(&trunk.name, hop) && trunk.targets.iter().any(other);
        let standing = self.trunks.standing.get_mut(&trunk.name).filter(|_| there);
        let registration = standing.and_then(|standing| standing.registration.as_mut());
        registration.is_some_and(|registration| registration.may_move(trunk.targets.len()))
    }

    /// What the registrar has written into our Via (RFC 3261 §18.2.1, RFC 3581 §4): said once for each address.
    fn look_at_ourselves(&mut self, trunk: &Trunk, hop: Hop, message: &Message<'_>) {
        let ours = self.settings.local(Side::Outside, hop).address;
        let Ok(via) = message.via() else { return };
        let received = via.received().and_then(|ip| ip.trim_matches(['[', ']']).parse::<IpAddr>().ok());
        let port = via.rport().flatten().filter(|_| !hop.transport.is_reliable());
        let seen = SocketAddr::new(received.unwrap_or(ours.ip()), port.unwrap_or(ours.port()));
        let Some(standing) = self.trunks.standing.get_mut(&trunk.name) else { return };
        let news = (seen != ours).then_some(seen);
        if standing.seen_at != news {
            standing.seen_at = news;
            if let Some(seen) = news {
                self.tell_of(&trunk.name, TrunkChange::SeenAt(seen));
            }
        }
    }

    /// A request of our own had no answer. False: it is none of these.
    pub(super) fn own_silence(&mut self, client: ClientId, now: Instant) -> bool {
        let Some(own) = self.trunks.own.remove(&client) else { return false };
        self.host_silent(&own, now);
        let settings = Arc::clone(&self.settings);
        let trunk = own.trunk.as_ref().filter(|_| own.register).and_then(|name| settings.trunk(name));
        if let Some(trunk) = trunk {
            if self.has_another_registrar(trunk, own.hop) {
                self.register(trunk, now);
            } else {
                self.registered(trunk, None, now);
            }
        }
        true
    }

    /// What became of a REGISTER; None: nothing came.
    fn registered(&mut self, trunk: &Trunk, answer: Option<(&Message<'_>, StatusCode)>, now: Instant) {
        let trunks = &mut self.trunks;
        let standing = trunks.standing.get_mut(&trunk.name);
        let Some(registration) = standing.and_then(|standing| standing.registration.as_mut()) else { return };
        let before = (registration.state(), registration.failures());
        let next = match answer {
            Some((message, code)) => registration.response(message, code, &mut trunks.dice, now),
            None => registration.silence(&mut trunks.dice, now),
        };
        let after = (registration.state(), registration.failures());
        let change = match after {
            _ if before == after => None,
            (State::Registered, 0) => Some(TrunkChange::Registered),
            (State::Over, _) => Some(TrunkChange::Unregistered),
            (State::Trying | State::Registered | State::Failed, _) => None,
        };
        if let Some(change) = change {
            self.tell_of(&trunk.name, change);
        } else if before != after {
            self.registration_failed(trunk, now);
        }
        if next == Next::Send {
            self.register(trunk, now);
        }
    }

    /// Tells the observers.
    pub(super) fn registration_failed(&mut self, trunk: &Trunk, now: Instant) {
        let registration = self.trunks.standing.get(&trunk.name).and_then(|standing| standing.registration.as_ref());
        let Some(registration) = registration else { return };
        let change = TrunkChange::RegistrationFailed {
            status: registration.status().unwrap_or(0),
            failures: registration.failures(),
            again_in: registration.poll_timeout().map_or(Duration::ZERO, |at| at.saturating_duration_since(now)),
        };
        self.tell_of(&trunk.name, change);
    }
}
