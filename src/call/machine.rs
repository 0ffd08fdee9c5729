//! One call's life, from its INVITE to its end. One machine for both directions; who is inside only decides addresses.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::answer;
use super::diversion::Diversion;
use super::event::{Ending, Event};
use super::forward::{self, Party};
use super::identity::{self, Turn};
use super::resumed::Invited;
use super::security::Security;
use super::session::{self, Session};
use super::settings::{DivertCallee, Settings, Side};
use super::snapshot::{Entry, Taken};
use super::stand_in::Unacked;
use super::switchboard::{MAX_FORKS, Orphan, Output, Switchboard};
use super::trunks::Candidate;
use crate::policy::action::{Enforcement, Rejection, Route, RouteDecision, StepUp};
use crate::policy::facts::{CallDirection, Facts};
use crate::policy::judge::Verdict;
use crate::rtp::control::{MediaCommand, MediaEvent, PromptId, StreamPlan};
use crate::sip::flow::{Flow, Hop};
use crate::sip::transaction::{ClientId, ClientKind, ServerId};
use crate::sip::wire::sdp::{Direction, Sdp};
use crate::sip::wire::{Edits, Index, Message, Method, Name, StatusCode};
use crate::units::{CallId, CallTime, Leg, PerLeg};

/// A callee's side that says nothing at all for this long is down: the caller is told, so that calls do not pile up.
pub(super) const SILENT_PEER: Duration = Duration::from_secs(8);
/// The same of a PBX that an earlier call found silent: three INVITEs long.
pub(super) const SILENT_BEFORE: Duration = Duration::from_secs(2);
/// A phone that rings for longer is given up: just inside timer C (RFC 3261 §16.6), so that the CANCEL still finds its
/// transaction. Each 1xx begins it anew.
const LONGEST_RINGING: Duration = Duration::from_secs(175);
/// 64*T1: how long a 2xx may wait for its ACK (RFC 3261 §13.3.1.4).
pub(super) const ACK_WAIT: Duration = Duration::from_secs(32);
/// Longest that a diversion may last, whatever the prompts do.
pub(super) const LONGEST_DIVERSION: Duration = Duration::from_secs(90);
pub(super) const T1: Duration = Duration::from_millis(500);
pub(super) const T2: Duration = Duration::from_secs(4);

/// A call.
#[derive(Debug)]
pub(super) struct Call {
    pub id: CallId,
    pub settings: Arc<Settings>,
    /// The caller's side.
    pub from: Side,
    pub call_id: Arc<str>,
    pub flow: PerLeg<Flow>,
    pub party: PerLeg<Party>,
    /// As it came: what the callee's INVITE and our own answers are made from.
    pub invite: Vec<u8>,
    /// Its INVITE's.
    pub server: Option<ServerId>,
    /// How another process knows its INVITE again.
    pub invited: Option<Invited>,
    /// Another process began it, and until then answers may come to what that one sent.
    pub resumed_until: Option<Instant>,
    pub client: Option<ClientId>,
    /// The callee has been invited: we do not answer by ourselves.
    pub has_callee: bool,
    pub facts: Facts,
    /// Of the settings that it began with.
    pub generation: u64,
    /// What was decided at the INVITE.
    pub routed: Option<(RouteDecision, Enforcement)>,
    pub ports: Option<PerLeg<SocketAddr>>,
    /// What each peer's description says.
    pub plan: PerLeg<StreamPlan>,
    /// Where a peer's media come from, where that is not what its description says.
    pub latched: PerLeg<Option<SocketAddr>>,
    /// SRTP that ends here; None: no side has a word on it.
    pub security: Option<Security>,
    /// Its ports have been asked for again after a restart.
    pub reopening: bool,
    pub phase: Phase,
    pub began: Instant,
    pub rang: Option<Instant>,
    pub answered: Option<Instant>,
    /// The callee's tag in the answer.
    pub answered_by: Option<Box<str>>,
    /// Phones that have said something and not answered: where requests of the caller go (RFC 3261 §12.1.2).
    pub early: Vec<Early>,
    /// Tags of other forks that answered too and were hung up.
    pub hung_up: Vec<Box<str>>,
    /// A 2xx of ours to a re-INVITE.
    pub unacked: Option<Unacked>,
    /// Longest that a call which we answered ourselves may last.
    pub until: Option<Instant>,
    pub listens_until: Option<Instant>,
    pub analysed: bool,
    /// By the last description that was accepted.
    pub on_hold: bool,
    pub session: Session,
    /// Why the ear cannot hear the caller.
    pub unheard: Option<&'static str>,
    /// The same for its record, once answered.
    pub not_analysed: Option<Arc<str>>,
    pub taken: Vec<StepUp>,
    /// `taken`, with when and why.
    pub steps: Vec<Taken>,
    pub taken_back: Option<CallTime>,
    /// Keys pressed.
    pub digits: PerLeg<u32>,
    pub diversion: Option<Diversion>,
    pub shown: Option<Verdict>,
    /// The trunk on its outside leg.
    pub trunk: Option<Arc<str>>,
    /// Where its INVITE may still go, should this next hop fail.
    pub candidates: Vec<Candidate>,
    /// Of the last INVITE to each leg: the number it came with, and by how much it left higher. Its ACK follows it.
    pub invite_shift: PerLeg<(u32, u32)>,
    /// What its credentials were: the ACK repeats them (RFC 3261 §22.1).
    pub authorization: PerLeg<Option<String>>,
    /// Where it has been sent on.
    pub turns: Vec<Turn>,
    /// Its source is known for this call only.
    pub guest: PerLeg<bool>,
}

/// A dialog of the callee's side before the answer.
#[derive(Debug)]
pub(super) struct Early {
    tag: Box<str>,
    target: String,
    routes: Vec<String>,
}

/// How far a call has come.
#[derive(Debug)]
pub(super) enum Phase {
    /// Gate and history have been asked.
    Consulting,
    /// Ports have been asked for.
    Opening { route: Route },
    /// The INVITE has gone to the callee, which has said nothing yet.
    Inviting { give_up: Instant },
    /// The callee has said something.
    Ringing { give_up: Instant },
    /// An announcement plays before a 608.
    Refusing { until: Instant },
    /// We answered ourselves: the 2xx is repeated until its ACK.
    Answering { response: Vec<u8>, repeat: Instant, interval: Duration, give_up: Instant },
    /// Answered; the caller's ACK is awaited until then.
    Answered { ack_by: Option<Instant> },
}

impl Call {
    pub(super) fn deadline(&self) -> Option<Instant> {
        let phase = match &self.phase {
            Phase::Consulting | Phase::Opening { .. } => None,
            Phase::Inviting { give_up } | Phase::Ringing { give_up } => Some(*give_up),
            Phase::Refusing { until } => Some(*until),
            Phase::Answering { repeat, give_up, .. } => Some(*repeat.min(give_up)),
            Phase::Answered { ack_by } => *ack_by,
        };
        let diversion = self.diversion.as_ref().map(|diversion| diversion.until);
        let unacked = self.unacked.as_ref().map(Unacked::deadline);
        let own = [self.listens_until, self.session.deadline(), self.until];
        [phase, diversion, unacked].into_iter().chain(own).flatten().min()
    }

    pub(super) fn side(&self, leg: Leg) -> Side {
        match leg {
            Leg::Caller => self.from,
            Leg::Callee => self.from.other(),
        }
    }

    /// What `leg` knows us by.
    pub(super) fn local(&self, leg: Leg) -> Hop {
        self.settings.local(self.side(leg), self.flow[leg].transport)
    }

    /// Where `leg` sends its media to.
    pub(super) fn media_address(&self, leg: Leg) -> IpAddr {
        self.settings.media_address(self.side(leg), self.flow[leg].transport)
    }

    /// Takes from a message of `from` what the other leg may not learn or believe.
    pub(super) fn screen(&self, edits: &mut Edits, message: &Message<'_>, from: Leg) {
        identity::screen(edits, message, &self.settings, self.side(from), self.trunk.as_deref());
    }

    /// The trunk of a leg; the PBX is none.
    pub(super) fn trunk_of(&self, leg: Leg) -> Option<&Arc<str>> {
        self.trunk.as_ref().filter(|_| self.side(leg) == Side::Outside)
    }

    /// By how much the INVITE with `number` went to `leg` higher; and every other request.
    pub(super) fn shift(&self, leg: Leg, number: u32, to_invite: bool) -> u32 {
        let (invite, shift) = self.invite_shift[leg];
        if to_invite && invite == number { shift } else { self.party[leg].shift }
    }

    pub(super) fn leg_of(&self, side: Side) -> Leg {
        if side == self.from { Leg::Caller } else { Leg::Callee }
    }

    /// `response` is of the fork that answered first.
    fn is_answered_by(&self, response: &Message<'_>) -> bool {
        let tag = response.to().ok().and_then(|to| to.tag());
        tag.is_none() || tag == self.answered_by.as_deref()
    }

    /// The callee's side as a request of the caller with this To tag reaches it.
    pub(super) fn callee_of(&self, tag: Option<&str>) -> Party {
        let mut party = self.party.callee.clone();
        if let Some(early) = self.early.iter().find(|early| Some(&*early.tag) == tag) {
            party.target.clone_from(&early.target);
            party.routes.clone_from(&early.routes);
        }
        party
    }

    fn note_early(&mut self, message: &Message<'_>) {
        let tag = message.to().ok().and_then(|to| to.tag());
        let (Some(tag), Ok(Some(contact))) = (tag, message.contact()) else { return };
        let mut routes = forward::record_routes(message);
        routes.reverse();
        let early = Early { tag: tag.into(), target: contact.uri.to_owned(), routes };
        if let Some(other) = self.early.iter_mut().find(|other| other.tag == early.tag) {
            *other = early;
        } else if self.early.len() < MAX_FORKS {
            self.early.push(early);
        }
    }

    /// Nobody is, or stays, behind `leg`: we never invited them, they have hung up, or we have.
    pub(super) fn nobody_at(&self, leg: Leg) -> bool {
        match leg {
            Leg::Caller => self.diversion.as_ref().is_some_and(|diversion| diversion.caller_gone),
            Leg::Callee => {
                !self.has_callee || self.diversion.is_some() && self.settings.callee_hears == DivertCallee::HangUp
            }
        }
    }

    /// What its callee's INVITE is once nobody waits for it.
    pub(super) fn orphan(&self) -> Orphan {
        let highest_cseq = self.party.callee.cseq;
        let ended = self.answered_by.iter().chain(&self.hung_up).cloned().collect();
        Orphan { flow: self.flow.callee, local: self.local(Leg::Callee), highest_cseq, ended }
    }

    pub(super) fn time(&self, now: Instant) -> CallTime {
        self.answered.map_or(CallTime::ZERO, |answered| CallTime(now.saturating_duration_since(answered)))
    }
}

/// What a session description says of one leg.
#[derive(Clone, Debug)]
pub(super) struct Said {
    pub plan: StreamPlan,
    /// Audio flows both ways: the call is not on hold.
    pub both_ways: bool,
    /// Its side must encrypt, and it does not.
    pub refused: bool,
}

/// Writes our address into a description on its way from `from` to the other leg; gives what it says of `from`.
pub(super) fn rewrite_sdp(call: &mut Call, message: &Message<'_>, from: Leg, edits: &mut Edits) -> Option<Said> {
    let ports = call.ports?;
    let sdp = message.has_sdp().then(|| Sdp::read(message.body()).ok()).flatten()?;
    let at = ports[from.other()];
    let mut body = Vec::new();
    let anchored = sdp.anchored();
    let Some((anchored, media)) = anchored.and_then(|anchored| Some((anchored, sdp.media.get(anchored)?))) else {
        sdp.refused(at.ip(), &mut body);
        edits.set_body(message, &body);
        return Some(Said { plan: answer::held(&call.plan[from]), both_ways: false, refused: false });
    };
    let negotiated = call.negotiate(media, from);
    sdp.protected(anchored, at, &negotiated.rewritten, &mut body);
    edits.set_body(message, &body);
    let both_ways = media.direction == Direction::SendRecv && !media.is_held();
    Some(Said { plan: negotiated.stream(media), both_ways, refused: negotiated.refused })
}

impl Switchboard {
    /// Gate and history have answered.
    pub(super) fn consulted(&mut self, mut call: Box<Call>, now: Instant) {
        let decision = call.settings.policy.route(&call.facts);
        let enforced = call.settings.enforce || !matches!(decision.route, Route::Divert | Route::Reject(_));
        let enforcement = if enforced { Enforcement::Done } else { Enforcement::Observed };
        let route = if enforced { decision.route } else { Route::Watch };
        self.happened(
            &call,
            now,
            Event::Began {
                facts: call.facts.clone(),
                sip_call_id: Arc::clone(&call.call_id),
                generation: call.settings.generation,
            },
        );
        call.routed = Some((decision.clone(), enforcement));
        self.happened(&call, now, Event::Routed { decision, enforcement });
        match route {
            Route::Reject(rejection) if !self.needs_announcement(&call, rejection) => self.refuse(call, rejection, now),
            Route::Connect | Route::Watch | Route::Divert | Route::Reject(_) => {
                let local = PerLeg::from_fn(|leg| call.settings.bound(call.side(leg), call.flow[leg].transport).ip());
                self.out(Output::Media(MediaCommand::Open { call: call.id, local, ports: None }));
                call.phase = Phase::Opening { route };
                self.keep(call);
            }
        }
    }

    /// RFC 8688 §3.2: a caller's side that does not know 608 is told in words, where the offer lets us.
    fn needs_announcement(&self, call: &Call, rejection: Rejection) -> bool {
        let mut index = Index::new();
        let offer = index.read_again(&call.invite, &call.settings.wire_limits).is_ok_and(|invite| {
            Sdp::read(invite.body()).is_ok_and(|sdp| {
                let crypto = sdp.anchored().and_then(|at| call.own_crypto(sdp.media.get(at)?, Leg::Caller));
                answer::own(&sdp, call.local(Leg::Caller).address, 1, crypto.as_deref()).is_some()
            })
        });
        rejection == Rejection::Rejected && !call.facts.understands_608 && offer
    }

    pub(super) fn refuse(&mut self, call: Box<Call>, rejection: Rejection, now: Instant) {
        let code = match rejection {
            Rejection::Rejected => StatusCode::REJECTED,
            Rejection::Decline => StatusCode::DECLINE,
            Rejection::Busy => StatusCode::BUSY_HERE,
            Rejection::NotFound => StatusCode::NOT_FOUND,
        };
        self.fail(call, code, "rejected", now);
    }

    /// Ends a call that was not answered.
    pub(super) fn fail(&mut self, call: Box<Call>, code: StatusCode, how: &'static str, now: Instant) {
        self.answer(&call, code, &[], "", now);
        self.end(call, None, how, Some(code.0), now);
    }

    /// An answer of our own to the call's INVITE.
    fn answer(&mut self, call: &Call, code: StatusCode, extra: &[&str], body: &str, now: Instant) -> Vec<u8> {
        let mut index = Index::new();
        let mut bytes = Vec::new();
        if let Ok(invite) = index.read_again(&call.invite, &call.settings.wire_limits) {
            let tag = self.own_tag(call.id);
            let peer = call.flow.caller.peer;
            crate::sip::wire::respond(&invite, code, peer, Some(&tag), extra, body.as_bytes(), &mut bytes);
            if let Some(server) = call.server {
                self.transactions.respond(server, code, &bytes, now);
            }
        }
        bytes
    }

    /// What the media path tells a call.
    pub(super) fn media(&mut self, mut call: Box<Call>, event: MediaEvent, now: Instant) {
        match event {
            MediaEvent::Opened { ports } => {
                call.ports = Some(PerLeg::from_fn(|leg| SocketAddr::new(call.media_address(leg), ports[leg].port())));
                if let Phase::Opening { route } = call.phase {
                    return self.opened(call, route, now);
                }
                call.reopening = false;
                self.keep(call);
            }
            MediaEvent::Failed if call.answered.is_none() => {
                self.abandon(&call, &[], now);
                self.fail(call, StatusCode::SERVICE_UNAVAILABLE, "media", now);
            }
            MediaEvent::Failed if call.reopening => self.end_restored(call, now),
            // The call goes on without its media path's help: ending it is for the people on it.
            MediaEvent::Failed => self.keep(call),
            MediaEvent::Digit { leg, digit } => {
                self.pressed(&mut call, leg, now);
                self.digit(call, leg, digit, now);
            }
            MediaEvent::Latched { leg, address } => {
                call.latched[leg] = address;
                self.changed(call.id);
                self.keep(call);
            }
            MediaEvent::Rolled { leg, rollovers } => {
                if let Some(srtp) = &mut call.plan[leg].srtp {
                    srtp.rollovers = rollovers;
                    self.changed(call.id);
                }
                self.keep(call);
            }
            MediaEvent::Finished { to } => self.finished(call, to, now),
            // On hold nobody need send anything.
            MediaEvent::Silent if call.on_hold => self.held_and_silent(call, now),
            MediaEvent::Silent => self.hang_up(call, "media", now),
        }
    }

    fn opened(&mut self, mut call: Box<Call>, route: Route, now: Instant) {
        let invite = std::mem::take(&mut call.invite);
        let mut index = Index::new();
        let Ok(message) = index.read_again(&invite, &call.settings.wire_limits) else {
            return self.end(call, None, "unreachable", None, now);
        };
        let sdp = message.has_sdp().then(|| Sdp::read(message.body()).ok()).flatten();
        let media = sdp.as_ref().and_then(|sdp| sdp.media.get(sdp.anchored()?));
        if let Some(media) = media {
            let negotiated = call.negotiate(media, Leg::Caller);
            if negotiated.refused {
                call.invite.clone_from(&invite);
                return self.fail(call, StatusCode::NOT_ACCEPTABLE_HERE, "rejected", now);
            }
            call.unheard = answer::unheard(media, negotiated.plan.is_some());
            self.plan(&mut call, Leg::Caller, negotiated.stream(media));
        }
        match route {
            Route::Connect | Route::Watch => {
                call.unheard = match (call.facts.direction, route) {
                    (CallDirection::Outbound, _) => Some("outbound"),
                    (CallDirection::Inbound, Route::Connect) => Some("trusted"),
                    (CallDirection::Inbound, _) => call.unheard,
                };
                self.invite_callee(&mut call, &message, now);
                call.invite.clone_from(&invite);
                if call.client.is_none() {
                    return self.fail(call, StatusCode::SERVICE_UNAVAILABLE, "unreachable", now);
                }
                self.keep(call);
            }
            Route::Divert | Route::Reject(_) => {
                let ports = call.ports;
                let crypto = media.and_then(|media| call.own_crypto(media, Leg::Caller));
                let version = message.cseq().map_or(1, |cseq| cseq.number);
                let body = sdp
                    .as_ref()
                    .zip(ports)
                    .and_then(|(sdp, ports)| answer::own(sdp, ports.caller, version, crypto.as_deref()));
                call.invite.clone_from(&invite);
                let Some(body) = body else {
                    return self.fail(call, StatusCode::NOT_ACCEPTABLE_HERE, "rejected", now);
                };
                self.answer_ourselves(call, route, &body, now);
            }
        }
    }

    fn answer_ourselves(&mut self, mut call: Box<Call>, route: Route, body: &str, now: Instant) {
        let contact = format!("Contact: <{}>", forward::our_uri("sip", None, call.local(Leg::Caller)));
        let prompt = if route == Route::Divert {
            let response = self.answer(&call, StatusCode::OK, &[&contact], body, now);
            let give_up = now + ACK_WAIT;
            call.phase = Phase::Answering { response, repeat: now + T1, interval: T1, give_up };
            call.answered = Some(now);
            call.until = Some(now + LONGEST_DIVERSION);
            self.changed(call.id);
            let tag = self.own_tag(call.id);
            call.party.caller.local = forward::with_tag(&call.party.caller.local, None, &tag);
            self.out(Output::Media(MediaCommand::Answered { call: call.id, analyse: false }));
            "caller-diverted"
        } else {
            self.answer(&call, StatusCode::SESSION_PROGRESS, &[&contact], body, now);
            call.phase = Phase::Refusing { until: now + LONGEST_DIVERSION };
            "caller-rejected"
        };
        self.play(&call, Leg::Caller, prompt);
        self.keep(call);
    }

    pub(super) fn invite_callee(&mut self, call: &mut Call, message: &Message<'_>, now: Instant) {
        let Some((client, branch)) = self.transactions.reserve(ClientKind::Invite) else { return };
        let local = call.local(Leg::Callee);
        let mut edits = Edits::new();
        forward::edit_request(&mut edits, message, call.flow.caller.peer, local, &branch, None);
        edits.set_request_uri(message, &call.party.callee.target);
        let mut routes = forward::routes_onward(message, call.from, &call.settings);
        if let (true, Some(trunk)) = (routes.is_empty(), call.trunk_of(Leg::Callee)) {
            routes.extend_from_slice(self.service_routes(trunk));
        }
        for route in &routes {
            edits.append(message, &format!("Route: {route}"));
        }
        call.screen(&mut edits, message, Leg::Caller);
        identity::diverted(&mut edits, message, &call.turns);
        rewrite_sdp(call, message, Leg::Caller, &mut edits);
        call.session.asked = Self::ask_for_timer(call, &mut edits, message);
        let mut bytes = Vec::new();
        edits.apply(message, &mut bytes);
        self.credit(client, call.trunk_of(Leg::Callee), &call.settings, &bytes);
        self.send(client, &bytes, call.flow.callee, now);
        self.clients.insert(client, call.id);
        call.client = Some(client);
        call.has_callee = true;
        call.party.callee.cseq = message.cseq().map_or(1, |cseq| cseq.number);
        call.phase = Phase::Inviting { give_up: now + self.patience(call) };
    }

    /// A response of the callee to the INVITE.
    pub(super) fn invite_response(
        &mut self,
        mut call: Box<Call>,
        client: ClientId,
        message: &Message<'_>,
        code: StatusCode,
        now: Instant,
    ) {
        let failed_over = matches!(code, StatusCode::SERVICE_UNAVAILABLE | StatusCode::REQUEST_TIMEOUT);
        if code == StatusCode::SERVICE_UNAVAILABLE {
            self.callee_silent(&call, now);
        } else if let Some(trunk) = call.trunk_of(Leg::Callee) {
            self.answers(trunk, call.flow.callee.hop(), now);
        }
        if code.0 / 100 == 3 {
            match self.redirected(call, message, code, now) {
                Some(left) => call = left,
                None => return,
            }
        }
        if failed_over {
            match self.try_next(call, now) {
                Some(left) => call = left,
                None => return,
            }
        }
        if matches!(code, StatusCode::UNAUTHORIZED | StatusCode::PROXY_AUTHENTICATION_REQUIRED)
            && let Some((again, line)) = self.answer_challenge(client, message, now)
        {
            self.clients.remove(&client);
            self.clients.insert(again, call.id);
            call.client = Some(again);
            let party = &mut call.party.callee;
            (party.shift, party.cseq) = (party.shift + 1, party.cseq + 1);
            call.invite_shift.callee = (party.cseq - party.shift, party.shift);
            call.authorization.callee = Some(line);
            call.phase = Phase::Inviting { give_up: now + SILENT_PEER };
            return self.keep(call);
        }
        if code == StatusCode::TRYING {
            if let Phase::Inviting { .. } = call.phase {
                call.phase = Phase::Ringing { give_up: now + LONGEST_RINGING };
            }
            return self.keep(call);
        }
        if call.answered.is_some() && code.is_success() && !call.is_answered_by(message) {
            // Another fork has answered too. The caller has its call; this phone is hung up, not left waiting.
            let mut orphan = Orphan { ended: std::mem::take(&mut call.hung_up), ..call.orphan() };
            self.clean_up(message, &mut orphan, now);
            call.hung_up = orphan.ended;
            return self.keep(call);
        }
        let mut edits = Edits::new();
        forward::edit_response(&mut edits, message, call.local(Leg::Caller), &call.party.caller.routes);
        forward::renumber_back(&mut edits, message, call.invite_shift.callee.1);
        call.screen(&mut edits, message, Leg::Callee);
        // What a repeated 2xx says may have been changed by a re-INVITE meanwhile.
        let said = rewrite_sdp(&mut call, message, Leg::Callee, &mut edits).filter(|_| call.answered.is_none());
        let (plan, refused) = said.map(|said| (said.plan, said.refused)).unzip();
        if code.is_success() && call.answered.is_none() {
            let asked = call.session.asked;
            call.session.granted = call.session.refreshed(asked, message, now);
        }
        if let (true, Some(interval)) = (code.is_success(), call.session.granted) {
            session::grant(&mut edits, message, interval);
        }
        let mut bytes = Vec::new();
        edits.apply(message, &mut bytes);
        if let Some(plan) = plan {
            if plan.codecs.is_empty() && call.unheard.is_none() {
                call.unheard = Some("codec");
            }
            self.plan(&mut call, Leg::Callee, plan);
        }
        if let Some(server) = call.server {
            self.transactions.respond(server, code, &bytes, now);
        }
        if code.is_provisional() {
            call.note_early(message);
            if let Phase::Inviting { .. } | Phase::Ringing { .. } = call.phase {
                call.phase = Phase::Ringing { give_up: now + LONGEST_RINGING };
                call.rang.get_or_insert(now);
                self.happened(&call, now, Event::Ringing);
            }
            self.keep(call);
        } else if code.is_success() {
            let id = call.id;
            self.answered(call, message, now);
            if refused == Some(true)
                && let Some(call) = self.take(id)
            {
                self.hang_up(call, "media", now);
            }
        } else {
            // A challenge is part of how a call is set up; the next INVITE brings the credentials, or the longer interval.
            let how = if matches!(code.0, 401 | 407 | 422) { "challenged" } else { "refused" };
            self.end(call, Some(Leg::Callee), how, Some(code.0), now);
        }
    }

    fn answered(&mut self, mut call: Box<Call>, message: &Message<'_>, now: Instant) {
        if call.answered.is_some() {
            // A repeated 2xx: it has been passed on, and the caller's ACK will answer it.
            return self.keep(call);
        }
        let to = message.header(Name::To).map_or("", |header| header.value).to_owned();
        let mut routes = forward::record_routes(message);
        routes.reverse();
        if let Ok(Some(contact)) = message.contact() {
            contact.uri.clone_into(&mut call.party.callee.target);
        }
        call.party.callee.routes = routes;
        call.party.callee.remote.clone_from(&to);
        call.party.caller.local = to;
        call.early = Vec::new();
        call.answered = Some(now);
        call.answered_by = message.to().ok().and_then(|to| to.tag()).map(Box::from);
        call.invite = Vec::new();
        call.phase = Phase::Answered { ack_by: Some(now + ACK_WAIT) };
        let analyse = call.unheard.is_none() && call.facts.direction == CallDirection::Inbound;
        call.listens_until = analyse.then(|| now + call.settings.watch_for);
        self.out(Output::Media(MediaCommand::Answered { call: call.id, analyse }));
        let not_analysed = if analyse { None } else { call.unheard.or(Some("outbound")) };
        (call.analysed, call.not_analysed) = (analyse, not_analysed.map(Arc::from));
        self.happened(&call, now, Event::Answered { analysed: analyse, not_analysed });
        self.changed(call.id);
        self.keep(call);
    }

    /// The caller's ACK to a 2xx.
    pub(super) fn ack(&mut self, mut call: Box<Call>, message: &Message<'_>, leg: Leg, now: Instant) {
        if matches!(call.phase, Phase::Answered { .. }) && self.acked(&mut call, message, leg) {
            return self.keep(call);
        }
        match &mut call.phase {
            Phase::Answering { .. } => call.phase = Phase::Answered { ack_by: None },
            Phase::Answered { ack_by } => {
                if leg == Leg::Caller {
                    *ack_by = None;
                }
                if self.forward_ack(&mut call, message, leg) {
                    return self.hang_up(call, "media", now);
                }
            }
            Phase::Consulting
            | Phase::Opening { .. }
            | Phase::Inviting { .. }
            | Phase::Ringing { .. }
            | Phase::Refusing { .. } => {}
        }
        self.keep(call);
    }

    /// True where an answer in it is not encrypted, and must be.
    fn forward_ack(&mut self, call: &mut Call, message: &Message<'_>, from: Leg) -> bool {
        // An ACK to a 2xx has no transaction, only a branch of its own (RFC 3261 §13.2.2.4).
        let Some((reserved, branch)) = self.transactions.reserve(ClientKind::Invite) else { return false };
        self.transactions.release(reserved);
        let to = from.other();
        let mut edits = Edits::new();
        let party = &call.party[to];
        forward::edit_request(&mut edits, message, call.flow[from].peer, call.local(to), &branch, Some(party));
        let number = message.cseq().map_or(0, |cseq| cseq.number);
        forward::renumber(&mut edits, message, call.shift(to, number, true));
        if let Some(line) = &call.authorization[to] {
            edits.append(message, line);
        }
        call.screen(&mut edits, message, from);
        let mut refused = false;
        if let Some(said) = rewrite_sdp(call, message, from, &mut edits) {
            refused = said.refused;
            self.plan(call, from, said.plan);
            self.changed(call.id);
        }
        let mut bytes = Vec::new();
        edits.apply(message, &mut bytes);
        self.transmit(call.flow[to], &bytes);
        refused
    }

    /// The caller gave up.
    pub(super) fn cancelled(&mut self, call: Box<Call>, now: Instant) {
        if call.answered.is_some() {
            return self.keep(call);
        }
        self.abandon(&call, &[], now);
        self.answer(&call, StatusCode::REQUEST_TERMINATED, &[], "", now);
        self.end(call, Some(Leg::Caller), "cancelled", Some(StatusCode::REQUEST_TERMINATED.0), now);
    }

    /// The callee's INVITE is no longer wanted; whatever still comes of it is cleaned up.
    fn abandon(&mut self, call: &Call, extra: &[&str], now: Instant) {
        if let Some(client) = call.client {
            self.transactions.cancel(client, extra, now);
            self.clients.remove(&client);
            self.orphans.insert(client, call.orphan());
        }
    }

    /// The callee's INVITE could not be sent.
    pub(super) fn invite_unsent(&mut self, call: Box<Call>, now: Instant) {
        if call.answered.is_some() {
            return self.keep(call);
        }
        self.unreachable(call, StatusCode::SERVICE_UNAVAILABLE, now);
    }

    /// The callee's INVITE ended without an answer.
    pub(super) fn invite_timed_out(&mut self, call: Box<Call>, now: Instant) {
        if call.answered.is_some() {
            return self.keep(call);
        }
        let code = match call.phase {
            Phase::Inviting { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Phase::Consulting
            | Phase::Opening { .. }
            | Phase::Ringing { .. }
            | Phase::Refusing { .. }
            | Phase::Answering { .. }
            | Phase::Answered { .. } => StatusCode::REQUEST_TIMEOUT,
        };
        self.unreachable(call, code, now);
    }

    /// A BYE inside a running call, already answered or passed on by the caller of this.
    pub(super) fn said_bye(&mut self, mut call: Box<Call>, leg: Leg, now: Instant) {
        match &mut call.diversion {
            // The caller goes; the callee still hears the warning to its end.
            Some(diversion) if leg == Leg::Caller && !diversion.callee_done => {
                diversion.caller_gone = true;
                diversion.caller_done = true;
                self.changed(call.id);
                self.keep(call);
            }
            Some(_) | None => self.end(call, Some(leg), "bye", None, now),
        }
    }

    /// True where a BYE of this leg is answered here and not passed on.
    pub(super) fn keeps_bye(call: &Call, leg: Leg) -> bool {
        let nobody = matches!(call.phase, Phase::Answering { .. }) || call.nobody_at(leg.other());
        nobody || call.diversion.as_ref().is_some_and(|diversion| leg == Leg::Caller && !diversion.callee_done)
    }

    /// Ends both legs by ourselves.
    pub(super) fn hang_up(&mut self, call: Box<Call>, how: &'static str, now: Instant) {
        if call.answered.is_none() {
            self.abandon(&call, &[], now);
            return self.fail(call, StatusCode::SERVICE_UNAVAILABLE, how, now);
        }
        let caller_gone = call.diversion.as_ref().is_some_and(|diversion| diversion.caller_gone);
        if !caller_gone {
            self.bye(&call, Leg::Caller, now);
        }
        let hung_up = call.settings.callee_hears == DivertCallee::HangUp && call.diversion.is_some();
        if call.has_callee && !hung_up {
            self.bye(&call, Leg::Callee, now);
        }
        self.end(call, None, how, None, now);
    }

    pub(super) fn bye(&mut self, call: &Call, leg: Leg, now: Instant) {
        let Some((client, branch)) = self.transactions.reserve(ClientKind::NonInvite) else { return };
        let party = &call.party[leg];
        let bytes = forward::own_request(party, &call.call_id, "BYE", call.local(leg), &branch, party.cseq + 1);
        self.credit(client, call.trunk_of(leg), &call.settings, &bytes);
        self.transactions.send(client, &bytes, call.flow[leg], now);
    }

    /// What a call's own deadline brought.
    pub(super) fn call_due(&mut self, mut call: Box<Call>, now: Instant) {
        if call.listens_until.is_some_and(|until| now >= until) {
            call.listens_until = None;
            self.out(Output::Media(MediaCommand::StopTap { call: call.id }));
        }
        if call.diversion.as_ref().is_some_and(|diversion| now >= diversion.until) {
            return self.hang_up(call, "diverted", now);
        }
        if call.until.is_some_and(|until| now >= until) {
            return self.hang_up(call, "diverted", now);
        }
        let Some(call) = self.unacked_due(call, now) else { return };
        let Some(mut call) = self.session_due(call, now) else { return };
        match &mut call.phase {
            Phase::Inviting { give_up } if now >= *give_up => {
                self.abandon(&call, &[], now);
                return self.unreachable(call, StatusCode::SERVICE_UNAVAILABLE, now);
            }
            Phase::Ringing { give_up } if now >= *give_up => {
                self.abandon(&call, &[], now);
                return self.fail(call, StatusCode::REQUEST_TIMEOUT, "unanswered", now);
            }
            Phase::Refusing { until } if now >= *until => return self.refuse(call, Rejection::Rejected, now),
            Phase::Answering { give_up, .. } if now >= *give_up => return self.hang_up(call, "no_ack", now),
            Phase::Answering { response, repeat, interval, .. } if now >= *repeat => {
                *interval = (*interval * 2).min(T2);
                *repeat += *interval;
                if let Some(server) = call.server {
                    let response = response.clone();
                    self.transactions.respond(server, StatusCode::OK, &response, now);
                }
            }
            Phase::Answered { ack_by: Some(ack_by) } if now >= *ack_by => return self.hang_up(call, "no_ack", now),
            Phase::Consulting
            | Phase::Opening { .. }
            | Phase::Inviting { .. }
            | Phase::Ringing { .. }
            | Phase::Refusing { .. }
            | Phase::Answering { .. }
            | Phase::Answered { .. } => {}
        }
        self.keep(call);
    }

    pub(super) fn play(&mut self, call: &Call, to: Leg, prompt: &str) {
        let prompts = vec![PromptId(Arc::from(prompt))];
        self.out(Output::Media(MediaCommand::Play { call: call.id, to, prompts }));
    }

    /// The last word on a call.
    pub(super) fn end(
        &mut self,
        call: Box<Call>,
        by: Option<Leg>,
        how: &'static str,
        status: Option<u16>,
        now: Instant,
    ) {
        if !matches!(call.phase, Phase::Consulting) {
            self.out(Output::Media(MediaCommand::Close { call: call.id }));
        }
        self.finish(&call, by, how, status, now);
    }

    /// Its record and its tables.
    pub(super) fn finish(
        &mut self,
        call: &Call,
        by: Option<Leg>,
        how: &'static str,
        status: Option<u16>,
        now: Instant,
    ) {
        if self.journals && call.answered.is_some() {
            self.out(Output::Journal(Entry::Over(call.id)));
        }
        let talked = call.answered.map(|answered| now.saturating_duration_since(answered));
        self.happened(call, now, Event::Ended { ending: Ending { by, how, status, talked } });
        self.part_guests(call, now);
        self.forget(call);
    }

    /// A peer has described its media.
    pub(super) fn plan(&mut self, call: &mut Call, leg: Leg, plan: StreamPlan) {
        call.plan[leg].clone_from(&plan);
        self.out(Output::Media(MediaCommand::Plan { call: call.id, leg, plan }));
    }

    /// A leg pressed a key.
    pub(super) fn pressed(&mut self, call: &mut Call, leg: Leg, now: Instant) {
        call.digits[leg] = call.digits[leg].saturating_add(1);
        self.happened(call, now, Event::Digit { leg });
    }
}

/// True for a method that a leg may end its call with.
pub(super) fn is_bye(method: Method<'_>) -> bool {
    method == Method::Bye
}
