//! The callee's INVITE: how it leaves, what comes of it, and the ACK behind it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::description::{rewrite, rewrite_sdp};
use super::event::{EndReason, Event, NotAnalysed};
use super::failover::hop_has_failed;
use super::forks::Described;
use super::forward;
use super::identity;
use super::input::Output;
use super::machine::{LONGEST_RINGING, SILENT_PEER};
use super::orphan::Orphan;
use super::session;
use super::state::{Call, LastInvite, Phase};
use super::switchboard::Switchboard;
use crate::policy::facts::CallDirection;
use crate::policy::watch;
use crate::rtp::control::MediaCommand;
use crate::sip::transaction::{ClientId, ClientKind, NO_STREAM, T1X64};
use crate::sip::wire::sdp::Sdp;
use crate::sip::wire::{Message, Name, StatusCode};
use crate::units::{CallId, Leg};

/// True where a trunk does not put a call for help through: another one may. Whoever is busy or declines is there, and
/// what asks for credentials is no refusal.
fn refuses_help(code: StatusCode) -> bool {
    code.0 >= 400 && !matches!(code.0, 401 | 407 | 422 | 486 | 487 | 600 | 603)
}

impl Switchboard {
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
        identity::diverted(&mut edits, message, &call.retargets, history);
        if call.left_first && call.registers_with(Leg::Callee) {
            // They answer another trunk's challenge, and would stand in the way of our password.
            edits.remove_other(message, "Authorization");
            edits.remove_other(message, "Proxy-Authorization");
        }
        if let Some(sdp) = sdp {
            rewrite(call, message, sdp, Leg::Caller, &mut edits);
        }
        let (number, shift) = (message.cseq().map_or(1, |cseq| cseq.number), call.party.callee.shift);
        forward::renumber(&mut edits, message, shift);
        call.session.wish = Self::ask_for_timer(call, &mut edits, message);
        let bytes = edits.applied(message);
        self.credit(client, call.trunk_of(Leg::Callee), &call.settings, bytes);
        self.send(client, bytes, call.flow.callee, now);
        self.edits = edits;
        self.clients.insert(client, call.id);
        call.client = Some(client);
        call.has_callee = true;
        call.party.callee.cseq = number.saturating_add(shift);
        call.last_invite.callee = LastInvite { number, shift, authorization: None };
        // Where it has gone over a connection for its size, and that brings nothing, the datagram has its time too.
        let over_stream = self.transactions.has_another_way(client);
        let first = if over_stream { NO_STREAM } else { Duration::ZERO };
        call.phase = Phase::Inviting { give_up: now + first + self.patience(call) };
    }

    /// A response of the callee to the INVITE.
    pub(super) fn invite_response(
        &mut self,
        call: Box<Call>,
        client: ClientId,
        message: &Message<'_>,
        code: StatusCode,
        now: Instant,
    ) {
        self.hop_has_spoken(&call, code, now);
        let Some(mut call) = self.sent_elsewhere(call, message, code, now) else { return };
        if code.is_challenge()
            && let Some((again, line)) = self.answer_challenge(client, message, now)
        {
            self.invited_again(&mut call, client, again, line, now);
            return self.keep(call);
        }
        // The PBX needs no password of a trunk that Ringfence registers with, and has none.
        if code.is_challenge() && call.is_emergency() && call.registers_with(Leg::Callee) {
            match self.go_to_next(call, now) {
                Some(left) => call = left,
                None => return,
            }
        }
        if code == StatusCode::TRYING {
            if let Phase::Inviting { .. } = call.phase {
                call.phase = Phase::Ringing { give_up: now + LONGEST_RINGING };
            }
            return self.keep(call);
        }
        if call.answered.is_some() && code.is_success() && !call.forks.is_first(message) {
            self.hang_up_fork(&mut call, message, now);
            return self.keep(call);
        }
        if code.is_provisional() {
            call.forks.rings(message);
        }
        let refused = self.pass_response(&mut call, message, code, now);
        if code.is_provisional() {
            self.rings(&mut call, now);
            self.keep(call);
        } else if code.is_success() {
            let id = call.id;
            self.answered(call, message, now);
            if refused {
                self.refuse_answer(id, now);
            }
        } else {
            // A challenge is part of how a call is set up; the next INVITE brings the credentials, or the longer
            // interval.
            let challenged = matches!(code.0, 401 | 407 | 422);
            let how = if challenged { EndReason::Challenged } else { EndReason::Refused };
            self.end(call, Some(Leg::Callee), how, Some(code.0), now);
        }
    }

    /// What the callee describes in its 2xx must not be.
    fn refuse_answer(&mut self, id: CallId, now: Instant) {
        // The journal hears of an end only where it has heard of the call.
        self.journal(now);
        if let Some(call) = self.take(id) {
            self.hang_up(call, EndReason::Media, now);
        }
    }

    /// What a response says of the host that it came from.
    fn hop_has_spoken(&mut self, call: &Call, code: StatusCode, now: Instant) {
        if code == StatusCode::SERVICE_UNAVAILABLE {
            self.callee_silent(call, now);
        } else if let Some(trunk) = call.trunk_of(Leg::Callee) {
            self.answers(trunk, call.flow.callee.hop(), now);
        }
    }

    /// Sends the INVITE on where the callee's side says so, or cannot take it. None: it has gone there.
    fn sent_elsewhere(
        &mut self,
        call: Box<Call>,
        message: &Message<'_>,
        code: StatusCode,
        now: Instant,
    ) -> Option<Box<Call>> {
        if code.is_redirect() {
            self.redirected(call, message, code, now)
        } else if hop_has_failed(code) {
            self.try_next(call, now)
        } else {
            let call = if matches!(code.0, 488 | 606) { self.without_keys(call, now)? } else { call };
            // Behind a voice that says why, too: it is no telephone.
            if call.is_emergency() && refuses_help(code) { self.go_to_next(call, now) } else { Some(call) }
        }
    }

    /// The INVITE has been sent once more, as `again`, with the credentials in `line`.
    fn invited_again(&mut self, call: &mut Call, client: ClientId, again: ClientId, line: String, now: Instant) {
        self.clients.remove(&client);
        self.clients.insert(again, call.id);
        call.client = Some(again);
        let party = &mut call.party.callee;
        (party.shift, party.cseq) = (party.shift + 1, party.cseq + 1);
        call.last_invite.callee =
            LastInvite { number: party.cseq - party.shift, shift: party.shift, authorization: Some(line.into()) };
        call.phase = Phase::Inviting { give_up: now + SILENT_PEER };
    }

    /// Another fork has answered too. The caller has its call; this phone is hung up, not left waiting.
    fn hang_up_fork(&mut self, call: &mut Call, answer: &Message<'_>, now: Instant) {
        let mut orphan = Orphan { ended: std::mem::take(&mut call.forks.hung_up), ..call.orphan() };
        self.clean_up(answer, &mut orphan, now);
        call.forks.hung_up = orphan.ended;
    }

    /// Passes a response on to the caller and takes in what it says. True: what it describes is refused.
    fn pass_response(&mut self, call: &mut Call, message: &Message<'_>, code: StatusCode, now: Instant) -> bool {
        let mut edits = self.blank_edits();
        forward::edit_response(&mut edits, message, call.local(Leg::Caller), &call.party.caller.routes);
        forward::renumber_back(&mut edits, message, call.last_invite.callee.shift);
        call.screen(&mut edits, message, Leg::Callee);
        let repeated = call.answered.is_some();
        // What a repeated 2xx says may have been changed by a re-INVITE meanwhile.
        let described = rewrite_sdp(call, message, Leg::Callee, &mut edits).filter(|_| !repeated);
        if code.is_success() && !repeated {
            call.session.granted = call.session.refreshed(call.session.wish, message, now);
        }
        if let (true, Some(interval)) = (code.is_success(), call.session.granted) {
            session::grant(&mut edits, message, interval);
        }
        let refused = described.as_ref().is_some_and(|described| described.refused);
        if let Some(described) = described {
            if matches!(call.unheard, Some(NotAnalysed::NoSdp | NotAnalysed::Codec)) {
                // The callee makes the offer, and the caller answers it in its ACK or PRACK (RFC 3261 §13.2.1); or this
                // is the answer, and says what will flow, whatever the offer or another phone has said.
                call.unheard = described.unheard;
            }
            if described.plan.codecs.is_empty() && call.unheard.is_none() {
                call.unheard = Some(NotAnalysed::Codec);
            }
            if code.is_provisional() {
                let plan = Box::new(described.plan.clone());
                call.forks.describes(message, Described { plan, talk: described.talk });
            }
            call.media.talk.callee = described.talk;
            self.plan(call, Leg::Callee, described.plan);
            self.plan_video(call, Leg::Callee, described.video);
        }
        if let Some(server) = call.server {
            self.transactions.respond(server, code, edits.applied(message), now);
        }
        self.edits = edits;
        refused
    }

    /// A 1xx: the phone rings, or says something before it does.
    fn rings(&mut self, call: &mut Call, now: Instant) {
        if let Phase::Inviting { .. } | Phase::Ringing { .. } = call.phase {
            call.phase = Phase::Ringing { give_up: now + LONGEST_RINGING };
            if call.rang.is_none() {
                call.rang = Some(now);
                self.happened(call, now, Event::Ringing);
            }
        }
    }

    /// The callee answers.
    fn answered(&mut self, mut call: Box<Call>, message: &Message<'_>, now: Instant) {
        if call.answered.is_some() {
            // A repeated 2xx: it has been passed on, and the caller's ACK will answer it.
            return self.keep(call);
        }
        let to = message.header(Name::To).map_or("", |header| header.value).to_owned();
        // From here on only its own dialog counts.
        let own = call.forks.cseq(message.to().ok().and_then(|to| to.tag())).unwrap_or_default();
        let LastInvite { number, shift, .. } = call.last_invite.callee;
        call.forks.highest = call.party.callee.cseq;
        call.party.callee.cseq = own.max(number.saturating_add(shift));
        // With reliable provisional responses, an answer need not say again what it has said (RFC 3262 §5).
        if let Some(early) = call.forks.answers(message).filter(|_| !message.has_sdp()) {
            call.media.talk.callee = early.talk;
            self.plan(&mut call, Leg::Callee, *early.plan);
        }
        call.refresh_target(Leg::Callee, message);
        call.party.callee.routes = forward::routes_back(message);
        call.party.callee.remote.clone_from(&to);
        call.party.caller.local = to;
        if call.video.is_some() && call.invite.as_ref().is_some_and(|invite| invite.message().has_sdp()) {
            self.settle_video(&mut call);
        }
        let invite = call.invite.as_ref().map(|invite| invite.message()).filter(|invite| !invite.has_sdp());
        let number = invite.and_then(|invite| Some(invite.cseq().ok()?.number)).filter(|_| message.has_sdp());
        call.media.answer_due = number.map(|number| (Leg::Caller, number));
        call.answered = Some(now);
        call.invite = None;
        call.phase = Phase::Answered { ack_by: Some(now + T1X64) };
        let analyse = call.unheard.is_none() && call.facts.direction == CallDirection::Inbound;
        call.listens_until = analyse.then(|| now + watch::longest(call.settings.watch_for).0);
        self.out(Output::Media(MediaCommand::Answered { call: call.id, analyse }));
        self.answered_video(&call);
        let not_analysed = if analyse { None } else { call.unheard.or(Some(NotAnalysed::Outbound)) };
        (call.record.analysed, call.record.not_analysed) = (analyse, not_analysed.map(|why| Arc::from(why.label())));
        self.happened(&call, now, Event::Answered { analysed: analyse, not_analysed });
        self.changed(call.id);
        self.keep(call);
    }

    /// The caller's ACK to a 2xx.
    pub(super) fn ack(&mut self, mut call: Box<Call>, message: &Message<'_>, leg: Leg, now: Instant) {
        if matches!(call.phase, Phase::Answered { .. }) && self.acked(&mut call, message, leg, now) {
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

    /// Passes an ACK to a 2xx on. True where an answer in it is not encrypted, and must be.
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
        if let Some(line) = &call.last_invite[to].authorization {
            edits.append(message, line);
        }
        call.screen(&mut edits, message, from);
        let mut refused = false;
        // What answers no offer changes nothing here: nobody at the other end heeds it either.
        let answers = call.media.answer_due == Some((from, number));
        if let Some(described) = rewrite_sdp(call, message, from, &mut edits).filter(|_| answers) {
            refused = described.refused;
            // It may be where the hold is.
            call.media.talk[from] = described.talk;
            call.media.answer_due = None;
            self.plan(call, from, described.plan);
            self.plan_video(call, from, described.video);
            self.settle_video(call);
            self.changed(call.id);
        }
        self.transmit(call.flow[to], edits.applied(message));
        self.edits = edits;
        refused
    }
}
