//! One call's life, from its INVITE to its end. One machine for both directions; who is inside only decides addresses.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::answer;
use super::event::{EndReason, Event, NotAnalysed};
use super::forward;
use super::guard::PressedIn;
use super::identity;
use super::input::Output;
use super::session;
use super::settings::Settings;
use super::state::{Call, Phase};
use super::switchboard::{Orphan, Switchboard};
use crate::policy::action::{Enforcement, Rejection, Route};
use crate::policy::facts::CallDirection;
use crate::rtp::control::{MediaCommand, MediaEvent, PromptId, StreamPlan};
use crate::sip::transaction::{ClientId, ClientKind, Repeat, T1X64, T2};
use crate::sip::wire::sdp::{Direction, Sdp};
use crate::sip::wire::{Edits, Message, Name, StatusCode};
use crate::units::Leg;

/// Ports are there within milliseconds, or the media path is gone: the caller's side is told while it may still go elsewhere.
const PORTS_WAIT: Duration = Duration::from_secs(4);
/// A callee's side that says nothing at all for this long is down: the caller is told, so that calls do not pile up.
pub(super) const SILENT_PEER: Duration = Duration::from_secs(8);
/// The same of a PBX that an earlier call found silent: three INVITEs long.
pub(super) const SILENT_BEFORE: Duration = Duration::from_secs(2);
/// A phone that rings for longer is given up: just inside timer C (RFC 3261 §16.6), so that the CANCEL still finds its
/// transaction. Each 1xx begins it anew.
const LONGEST_RINGING: Duration = Duration::from_secs(175);
/// Longest that a diversion may last, whatever the prompts do.
pub(super) const LONGEST_DIVERSION: Duration = Duration::from_secs(90);

/// What a session description says of one leg.
#[derive(Clone, Debug)]
pub(super) struct Said {
    pub plan: StreamPlan,
    /// Its video; None: it has none, or none that passes.
    pub video: Option<Box<StreamPlan>>,
    /// Audio flows both ways: the call is not on hold.
    pub both_ways: bool,
    /// Its side must encrypt, and it does not; or none of its codecs may pass.
    pub refused: bool,
}

/// The session description of a message, where it has one that can be read.
pub(super) fn description<'a>(settings: &Settings, message: &Message<'a>) -> Option<Sdp<'a>> {
    message.has_sdp().then(|| settings.read_sdp(message.body()).ok()).flatten()
}

/// Writes our address into the description of a message on its way from `from` to the other leg; gives what it says of
/// `from`.
pub(super) fn rewrite_sdp(call: &mut Call, message: &Message<'_>, from: Leg, edits: &mut Edits) -> Option<Said> {
    call.ports?;
    rewrite(call, message, &description(&call.settings, message)?, from, edits)
}

/// The same with its description as it has been read.
fn rewrite(call: &mut Call, message: &Message<'_>, sdp: &Sdp<'_>, from: Leg, edits: &mut Edits) -> Option<Said> {
    let ports = call.ports?;
    let at = ports[from.other()];
    let anchored = sdp.anchored();
    let Some((anchored, media)) = anchored.and_then(|anchored| Some((anchored, sdp.media.get(anchored)?))) else {
        edits.write_body(message, |body| sdp.refused(at.ip(), body));
        let (plan, refused) = (answer::held(&call.plan[from]), sdp.has_nothing_left());
        return Some(Said { plan, video: None, both_ways: false, refused });
    };
    let negotiated = call.negotiate(media, from);
    let (beside, video) = call.passing_video(sdp, from).unzip();
    edits.write_body(message, |body| sdp.protected(anchored, beside, at, &negotiated.rewritten, body));
    let both_ways = media.direction == Direction::SendRecv && !media.is_held();
    Some(Said { plan: negotiated.stream(media), video, both_ways, refused: negotiated.refused })
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
                self.out(Output::Media(MediaCommand::Open { call: call.id, local: call.bound(), ports: None }));
                call.phase = Phase::Opening { route, give_up: now + PORTS_WAIT };
                self.open_offered_video(&mut call, route, now);
                self.keep(call);
            }
        }
    }

    /// RFC 8688 §3.2: a caller's side that does not know 608 is told in words, where the offer lets us.
    fn needs_announcement(&self, call: &Call, rejection: Rejection) -> bool {
        let offer = call.invite.as_ref().is_some_and(|invite| {
            call.settings.read_sdp(invite.message().body()).is_ok_and(|sdp| {
                let crypto = sdp.anchored_media().and_then(|media| call.own_crypto(media, Leg::Caller));
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
        self.fail(call, code, EndReason::Rejected, now);
    }

    /// Ends a call that was not answered.
    pub(super) fn fail(&mut self, call: Box<Call>, code: StatusCode, how: EndReason, now: Instant) {
        self.answer(&call, code, &[], "", now);
        self.end(call, None, how, Some(code.0), now);
    }

    /// An answer of our own to the call's INVITE.
    pub(super) fn answer(
        &mut self,
        call: &Call,
        code: StatusCode,
        extra: &[&str],
        body: &str,
        now: Instant,
    ) -> Vec<u8> {
        let mut bytes = Vec::new();
        if let Some(invite) = call.invite.as_ref().map(|invite| invite.message()) {
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
                call.ports = Some(call.told_ports(|leg| ports[leg].port()));
                call.reopening = false;
                self.opened(call, now);
            }
            MediaEvent::Failed if call.answered.is_none() => {
                self.abandon(&call, &[], now);
                self.fail(call, StatusCode::SERVICE_UNAVAILABLE, EndReason::Media, now);
            }
            MediaEvent::Failed if call.reopening => self.end_restored(call, now),
            // The call goes on without its media path's help: ending it is for the people on it.
            MediaEvent::Failed => self.keep(call),
            MediaEvent::Digit { leg, digit } => self.digit(call, leg, digit, PressedIn::Media, now),
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
            // Of something that another prompt has replaced meanwhile.
            MediaEvent::Finished { to, play } if play != call.plays[to] => self.keep(call),
            MediaEvent::Finished { to, .. } => self.finished(call, to, now),
            // On hold nobody need send anything.
            MediaEvent::Silent if call.on_hold => self.held_and_silent(call, now),
            MediaEvent::Silent => self.hang_up(call, EndReason::Media, now),
        }
    }

    /// Ports are there, or none are to be had for video: a call that waits for nothing more goes on.
    pub(super) fn opened(&mut self, mut call: Box<Call>, now: Instant) {
        let Phase::Opening { route, .. } = call.phase else { return self.keep(call) };
        if call.ports.is_none() || call.waits_for_video() {
            return self.keep(call);
        }
        let Some(invite) = call.invite.take() else { return self.end(call, None, EndReason::Unreachable, None, now) };
        let message = invite.message();
        let settings = Arc::clone(&call.settings);
        let sdp = description(&settings, &message);
        let media = sdp.as_ref().and_then(|sdp| sdp.anchored_media());
        if let Some(media) = media {
            let negotiated = call.negotiate(media, Leg::Caller);
            if negotiated.refused {
                call.invite = Some(invite.clone());
                return self.fail(call, StatusCode::NOT_ACCEPTABLE_HERE, EndReason::Rejected, now);
            }
            call.unheard = answer::unheard(media, negotiated.plan.is_some());
            self.plan(&mut call, Leg::Caller, negotiated.stream(media));
            let video = sdp.as_ref().and_then(|sdp| call.passing_video(sdp, Leg::Caller));
            self.plan_video(&mut call, Leg::Caller, video.map(|(_, plan)| plan));
        }
        match route {
            Route::Connect | Route::Watch => {
                call.unheard = match (call.facts.direction, route) {
                    (CallDirection::Outbound, _) => Some(NotAnalysed::Outbound),
                    (CallDirection::Inbound, Route::Connect) => Some(NotAnalysed::Trusted),
                    (CallDirection::Inbound, _) => call.unheard,
                };
                self.invite_callee(&mut call, &message, sdp.as_ref(), now);
                drop(sdp);
                call.invite = Some(invite);
                if call.client.is_none() {
                    return self.fail(call, StatusCode::SERVICE_UNAVAILABLE, EndReason::Unreachable, now);
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
                drop(sdp);
                call.invite = Some(invite);
                let Some(body) = body else {
                    return self.fail(call, StatusCode::NOT_ACCEPTABLE_HERE, EndReason::Rejected, now);
                };
                self.answer_ourselves(call, route, &body, now);
            }
        }
    }

    fn answer_ourselves(&mut self, mut call: Box<Call>, route: Route, body: &str, now: Instant) {
        let contact = call.contact_line(Leg::Caller);
        let prompt = if route == Route::Divert {
            let response = self.answer(&call, StatusCode::OK, &[&contact], body, now);
            let repeat = Repeat::starting(now);
            call.phase = Phase::Answering { response, repeat, give_up: now + T1X64 };
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
        self.play(&mut call, Leg::Caller, prompt);
        self.keep(call);
    }

    /// Sends a call's INVITE, read again as `message` with the description `sdp`, to the callee's side.
    pub(super) fn invite_callee(
        &mut self,
        call: &mut Call,
        message: &Message<'_>,
        sdp: Option<&Sdp<'_>>,
        now: Instant,
    ) {
        let Some((client, branch)) = self.transactions.reserve(ClientKind::Invite) else { return };
        let local = call.local(Leg::Callee);
        let mut edits = self.blank_edits();
        forward::edit_request(&mut edits, message, call.flow.caller.peer, local, &branch, None);
        edits.set_request_uri(message, &call.party.callee.target);
        let mut routes = forward::routes_onward(message, call.from, &call.settings);
        if let (true, Some(trunk)) = (routes.is_empty(), call.trunk_of(Leg::Callee)) {
            routes.extend_from_slice(self.service_routes(trunk));
        }
        forward::add_routes(&mut edits, message, &routes);
        let history = call.screen(&mut edits, message, Leg::Caller);
        identity::diverted(&mut edits, message, &call.turns, history);
        if let Some(sdp) = sdp {
            rewrite(call, message, sdp, Leg::Caller, &mut edits);
        }
        call.session.wish = Self::ask_for_timer(call, &mut edits, message);
        let bytes = edits.applied(message);
        self.credit(client, call.trunk_of(Leg::Callee), &call.settings, bytes);
        self.send(client, bytes, call.flow.callee, now);
        self.edits = edits;
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
            call.authorization.callee = Some(line.into());
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
        let mut edits = self.blank_edits();
        forward::edit_response(&mut edits, message, call.local(Leg::Caller), &call.party.caller.routes);
        forward::renumber_back(&mut edits, message, call.invite_shift.callee.1);
        call.screen(&mut edits, message, Leg::Callee);
        // What a repeated 2xx says may have been changed by a re-INVITE meanwhile.
        let said = rewrite_sdp(&mut call, message, Leg::Callee, &mut edits).filter(|_| call.answered.is_none());
        let (plan, rest) = said.map(|said| (said.plan, (said.refused, said.video))).unzip();
        let (refused, video) = rest.unzip();
        if code.is_success() && call.answered.is_none() {
            let wish = call.session.wish;
            call.session.granted = call.session.refreshed(wish, message, now);
        }
        if let (true, Some(interval)) = (code.is_success(), call.session.granted) {
            session::grant(&mut edits, message, interval);
        }
        if let Some(plan) = plan {
            if plan.codecs.is_empty() && call.unheard.is_none() {
                call.unheard = Some(NotAnalysed::Codec);
            }
            self.plan(&mut call, Leg::Callee, plan);
            self.plan_video(&mut call, Leg::Callee, video.flatten());
        }
        if let Some(server) = call.server {
            self.transactions.respond(server, code, edits.applied(message), now);
        }
        self.edits = edits;
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
            if refused == Some(true) {
                // The journal hears of an end only where it has heard of the call.
                self.journal(now);
                if let Some(call) = self.take(id) {
                    self.hang_up(call, EndReason::Media, now);
                }
            }
        } else {
            // A challenge is part of how a call is set up; the next INVITE brings the credentials, or the longer interval.
            let how = if matches!(code.0, 401 | 407 | 422) { EndReason::Challenged } else { EndReason::Refused };
            self.end(call, Some(Leg::Callee), how, Some(code.0), now);
        }
    }

    fn answered(&mut self, mut call: Box<Call>, message: &Message<'_>, now: Instant) {
        if call.answered.is_some() {
            // A repeated 2xx: it has been passed on, and the caller's ACK will answer it.
            return self.keep(call);
        }
        let to = message.header(Name::To).map_or("", |header| header.value).to_owned();
        call.refresh_target(Leg::Callee, message);
        call.party.callee.routes = forward::routes_back(message);
        call.party.callee.remote.clone_from(&to);
        call.party.caller.local = to;
        call.early = Vec::new();
        if call.video.is_some() && call.invite.as_ref().is_some_and(|invite| invite.message().has_sdp()) {
            self.settle_video(&mut call);
        }
        call.answered = Some(now);
        call.answered_by = message.to().ok().and_then(|to| to.tag()).map(Box::from);
        call.invite = None;
        call.phase = Phase::Answered { ack_by: Some(now + T1X64) };
        let analyse = call.unheard.is_none() && call.facts.direction == CallDirection::Inbound;
        call.listens_until = analyse.then(|| now + call.settings.watch_for);
        self.out(Output::Media(MediaCommand::Answered { call: call.id, analyse }));
        self.answered_video(&call);
        let not_analysed = if analyse { None } else { call.unheard.or(Some(NotAnalysed::Outbound)) };
        (call.analysed, call.not_analysed) = (analyse, not_analysed.map(|why| Arc::from(why.label())));
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
                    return self.hang_up(call, EndReason::Media, now);
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
        let mut edits = self.blank_edits();
        let party = &call.party[to];
        forward::edit_request(&mut edits, message, call.flow[from].peer, call.local(to), &branch, Some(party.way()));
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
            self.plan_video(call, from, said.video);
            self.settle_video(call);
            self.changed(call.id);
        }
        self.transmit(call.flow[to], edits.applied(message));
        self.edits = edits;
        refused
    }

    /// What a call's own deadline brought.
    pub(super) fn call_due(&mut self, mut call: Box<Call>, now: Instant) {
        if call.listens_until.is_some_and(|until| now >= until) {
            call.listens_until = None;
            self.out(Output::Media(MediaCommand::StopTap { call: call.id }));
        }
        if call.diversion.as_ref().is_some_and(|diversion| now >= diversion.until) {
            return self.hang_up(call, EndReason::Diverted, now);
        }
        if call.until.is_some_and(|until| now >= until) {
            return self.hang_up(call, EndReason::Diverted, now);
        }
        let Some(call) = self.video_due(call, now) else { return };
        let Some(call) = self.unacked_due(call, now) else { return };
        let Some(mut call) = self.session_due(call, now) else { return };
        match &mut call.phase {
            Phase::Opening { give_up, .. } if now >= *give_up => return self.hang_up(call, EndReason::Media, now),
            Phase::Inviting { give_up } if now >= *give_up => {
                self.abandon(&call, &[], now);
                return self.unreachable(call, StatusCode::SERVICE_UNAVAILABLE, now);
            }
            Phase::Ringing { give_up } if now >= *give_up => {
                self.abandon(&call, &[], now);
                return self.fail(call, StatusCode::REQUEST_TIMEOUT, EndReason::Unanswered, now);
            }
            Phase::Refusing { until } if now >= *until => return self.refuse(call, Rejection::Rejected, now),
            Phase::Answering { give_up, .. } if now >= *give_up => return self.hang_up(call, EndReason::NoAck, now),
            Phase::Answering { response, repeat, .. } if now >= repeat.due() => {
                repeat.back_off(T2);
                if let Some(server) = call.server {
                    let response = response.clone();
                    self.transactions.respond(server, StatusCode::OK, &response, now);
                }
            }
            Phase::Answered { ack_by: Some(ack_by) } if now >= *ack_by => {
                return self.hang_up(call, EndReason::NoAck, now);
            }
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

    pub(super) fn play(&mut self, call: &mut Call, to: Leg, prompt: &str) {
        let (prompts, play) = (vec![PromptId(Arc::from(prompt))], call.next_play(to));
        self.out(Output::Media(MediaCommand::Play { call: call.id, to, prompts, play }));
    }

    /// A peer has described its media.
    pub(super) fn plan(&mut self, call: &mut Call, leg: Leg, plan: StreamPlan) {
        call.plan[leg].clone_from(&plan);
        self.out(Output::Media(MediaCommand::Plan { call: call.id, leg, plan }));
    }
}
