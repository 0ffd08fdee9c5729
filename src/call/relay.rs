//! Requests inside a dialog that are passed on to the other leg, and what comes back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::answer;
use super::description::{Described, Talk, rewrite_sdp};
use super::event::EndReason;
use super::failover::Again;
use super::forward;
use super::guard::PressedIn;
use super::identity;
use super::info::{carries_key, dtmf_key};
use super::session::{self, TimerWish};
use super::settings::Side;
use super::state::Call;
use super::switchboard::Switchboard;
use super::video::Waiting;
use crate::policy::facts::CallDirection;
use crate::rtp::control::StreamPlan;
use crate::sip::flow::{Flow, Hop};
use crate::sip::transaction::{ClientId, ClientKind, ServerId};
use crate::sip::wire::sdp::Media;
use crate::sip::wire::{Edits, Message, Method, StatusCode};
use crate::units::{CallId, Leg};

/// A request on its way through.
#[derive(Debug)]
pub(super) struct RelayedRequest {
    pub(super) server: ServerId,
    /// None: it is of no call.
    pub(super) call: Option<CallId>,
    /// The side it came from.
    pub(super) from: Side,
    pub(super) invite: bool,
    /// What an offer in it says, in force once it is accepted.
    pub(super) plan: Option<(Leg, StreamPlan)>,
    /// Its offer may be a hold, whatever the answer says to it.
    pub(super) talk: Talk,
    /// The plan of its video.
    pub(super) video: Option<Box<StreamPlan>>,
    /// It belongs to a dialog that is no call.
    pub(super) dialog: bool,
    /// Record-Routes for its response.
    pub(super) routes: Vec<String>,
    /// Contacts of a REGISTER: ours and theirs.
    pub(super) contacts: Vec<(String, String)>,
    /// What the peer that sent it knows us by.
    pub(super) local: Hop,
    /// A 2xx has come; what it says is in force.
    pub(super) accepted: bool,
    /// It is numbered higher by this than it came.
    pub(super) shift: u32,
    /// The trunk on its outside.
    pub(super) trunk: Option<Arc<str>>,
    /// Path lines of a REGISTER.
    pub(super) paths: Vec<String>,
    /// What an INVITE or UPDATE inside a call asks of the session timer.
    pub(super) timer: Option<TimerWish>,
    /// What a reliable 1xx to it describes: a 2xx need not say it again (RFC 3262 §5).
    pub(super) early: Option<Box<Described>>,
    /// What we wrote into its 2xx; repetitions say it too.
    pub(super) granted: Option<Duration>,
    /// Where else it may go, outside any call and while nothing has come back.
    pub(super) again: Option<Box<Again>>,
}

impl RelayedRequest {
    /// Of a request that nothing has been done with yet.
    pub(super) fn new(message: &Message<'_>, server: ServerId, from: Side, local: Hop) -> Self {
        Self {
            server,
            call: None,
            from,
            dialog: matches!(message.method(), Some(Method::Other("SUBSCRIBE" | "NOTIFY" | "REFER"))),
            invite: message.method() == Some(Method::Invite),
            plan: None,
            talk: Talk::BOTH_WAYS,
            video: None,
            routes: forward::record_routes(message),
            contacts: Vec::new(),
            local,
            accepted: false,
            shift: 0,
            trunk: None,
            paths: Vec::new(),
            timer: None,
            early: None,
            granted: None,
            again: None,
        }
    }
}

impl Call {
    /// A request inside the dialog has come on a connection. That is the peer's newest one: an older one may be gone,
    /// and of those to another process nothing is known.
    fn comes_anew(&mut self, leg: Leg, flow: Flow) {
        let before = self.flow[leg];
        if flow.connection.is_none() || flow.transport != before.transport {
            return;
        }
        let same_host = flow.peer.ip() == before.peer.ip();
        match leg {
            // A guest is counted by its address.
            Leg::Caller if same_host || !self.guest[leg] => self.flow[leg] = flow,
            // Where it takes connections, the settings have said.
            Leg::Callee if same_host => self.flow[leg] = Flow { listens_at: before.listens_at, ..flow },
            Leg::Caller | Leg::Callee => {}
        }
    }
}

impl Switchboard {
    /// A request with a To tag: it is inside a dialog, ours or not.
    pub(super) fn in_dialog(&mut self, message: &Message<'_>, server: ServerId, flow: Flow, side: Side, now: Instant) {
        let Some(mut call) = self.inside(message, side).and_then(|id| self.take(id)) else {
            return self.in_no_call(message, server, flow, side, now);
        };
        let leg = call.leg_of(side);
        call.comes_anew(leg, flow);
        let bye = message.method() == Some(Method::Bye);
        if bye && call.answered.is_none() {
            return self.bye_before_answer(call, message, server, flow, leg, now);
        }
        if bye && Self::keeps_bye(&call, leg) {
            self.reply(message, server, flow, StatusCode::OK, &[], now);
            return self.said_bye(call, leg, now);
        }
        if let Some(code) = refusal(&call, message, leg) {
            self.reply(message, server, flow, code, &[], now);
            return self.keep(call);
        }
        let alone = call.nobody_at(leg.other());
        if !alone {
            let waiting = |message: &Message<'_>| Waiting::Request { message: message.keep(), server, flow, side };
            match self.let_wait_for_video(call, message, waiting, now) {
                Some(left) => call = left,
                None => return,
            }
        }
        let key = dtmf_key(message);
        let id = call.id;
        if call.holds_info(leg, key, now) && carries_key(message) {
            self.reply(message, server, flow, StatusCode::OK, &[], now);
            self.keep(call);
        } else if alone {
            self.stand_in(call, message, server, flow, leg, now);
        } else {
            self.relay(message, server, flow, side, Some(call), now);
        }
        if !bye && key.is_none() {
            return;
        }
        let Some(call) = self.take(id) else { return };
        match key {
            Some(key) => self.digit(call, leg, key, PressedIn::Info, now),
            None => self.said_bye(call, leg, now),
        }
    }

    /// A dialog that is no call of ours (a subscription) is passed on. What can only be of a call that is gone is not,
    /// nor what names a call and has not its tags.
    fn in_no_call(&mut self, message: &Message<'_>, server: ServerId, flow: Flow, side: Side, now: Instant) {
        let of_call = match message.method() {
            Some(Method::Bye | Method::Invite | Method::Update | Method::Info | Method::Prack) => true,
            Some(Method::Ack | Method::Cancel | Method::Options | Method::Register | Method::Other(_)) | None => {
                self.by_call_id.contains_key(message.call_id())
            }
        };
        if of_call {
            let bye = message.method() == Some(Method::Bye);
            if !(bye && self.says_bye_again(message, server, flow, side, now)) {
                self.reply(message, server, flow, StatusCode::NO_SUCH_CALL, &[], now);
            }
        } else if self.may_only_call(message, flow) {
            // Anyone can invent a To tag.
            self.reply(message, server, flow, StatusCode::FORBIDDEN, &[], now);
        } else {
            self.relay(message, server, flow, side, None, now);
        }
    }

    /// A caller may end an early dialog with BYE, a callee may not (RFC 3261 §15). Passed on, it would leave the INVITE
    /// without an answer.
    fn bye_before_answer(
        &mut self,
        call: Box<Call>,
        message: &Message<'_>,
        server: ServerId,
        flow: Flow,
        leg: Leg,
        now: Instant,
    ) {
        match leg {
            Leg::Caller => {
                self.reply(message, server, flow, StatusCode::OK, &[], now);
                self.cancelled(call, message, now);
            }
            Leg::Callee => {
                self.reply(message, server, flow, StatusCode::NO_SUCH_CALL, &[], now);
                self.keep(call);
            }
        }
    }

    /// Passes a request on, inside `call` or outside any.
    pub(super) fn relay(
        &mut self,
        message: &Message<'_>,
        server: ServerId,
        flow: Flow,
        side: Side,
        call: Option<Box<Call>>,
        now: Instant,
    ) {
        let invite = message.method() == Some(Method::Invite);
        let kind = if invite { ClientKind::Invite } else { ClientKind::NonInvite };
        let Some((client, branch)) = self.transactions.reserve(kind) else {
            self.counters.table_full += 1;
            self.reply(message, server, flow, StatusCode::SERVICE_UNAVAILABLE, &[], now);
            if let Some(call) = call {
                self.keep(call);
            }
            return;
        };
        let settings = Arc::clone(call.as_ref().map_or(&self.settings, |call| &call.settings));
        let credible = side == Side::Inside && call.as_ref().is_some_and(|call| call.is_ours());
        let mut edits = self.blank_edits();
        let mut relayed = RelayedRequest::new(message, server, side, settings.local(side, flow.hop()));
        let to = match call {
            Some(call) => Ok(self.edit_inside(call, &mut edits, message, &mut relayed, flow, &branch)),
            None => self.start_outside(&mut edits, message, &mut relayed, flow, (client, &branch), now),
        };
        let to = match to {
            Ok(to) => to,
            Err(code) => {
                self.transactions.release(client);
                return self.reply(message, server, flow, code, &[], now);
            }
        };
        let bytes = edits.applied(message);
        if credible {
            self.credit(client, relayed.trunk.as_ref(), &settings, bytes);
        }
        self.send(client, bytes, to, now);
        self.edits = edits;
        self.relayed_by_server.insert(server, client);
        self.relayed.insert(client, Box::new(relayed));
    }

    /// Edits a request of `call` on its way to the other leg, and takes in what it says. Where it goes.
    fn edit_inside(
        &mut self,
        mut call: Box<Call>,
        edits: &mut Edits,
        message: &Message<'_>,
        relayed: &mut RelayedRequest,
        flow: Flow,
        branch: &str,
    ) -> Flow {
        let leg = call.leg_of(relayed.from);
        let to = leg.other();
        let way = call.way(to, message.to().ok().and_then(|to| to.tag()));
        forward::edit_request(edits, message, flow.peer, call.local(to), branch, Some(way));
        if let Some(described) = rewrite_sdp(&mut call, message, leg, edits) {
            relayed.talk = described.talk;
            (relayed.plan, relayed.video) = (Some((leg, described.plan)), described.video);
        }
        relayed.call = Some(call.id);
        let hop = match relayed.from {
            Side::Outside => call.settings.pbx,
            Side::Inside => call.flow[to].hop(),
        };
        self.map_refer_to(edits, message, relayed.from, hop);
        relayed.timer = refreshes(message).then(|| TimerWish::of(message));
        let number = message.cseq().map_or(0, |cseq| cseq.number);
        relayed.shift = call.party[to].shift;
        forward::renumber(edits, message, relayed.shift);
        forward::renumber_rack(edits, message, |invite| call.shift(to, invite, true));
        let renumbered = number.saturating_add(relayed.shift);
        call.party[to].cseq = call.party[to].cseq.max(renumbered);
        if to == Leg::Callee {
            call.forks.hears(message.to().ok().and_then(|to| to.tag()), renumbered);
        }
        relayed.trunk.clone_from(&call.trunk);
        call.screen(edits, message, leg);
        if relayed.invite {
            let invite = &mut call.last_invite[to];
            (invite.number, invite.shift) = (number, relayed.shift);
        }
        if refreshes(message) {
            call.refresh_target(leg, message);
        }
        self.changed(call.id);
        let flow = call.flow[to];
        self.keep(call);
        flow
    }

    /// A response to a request of ours, of whatever kind.
    pub(super) fn response(&mut self, message: &Message<'_>, client: ClientId, now: Instant) {
        let Some(code) = message.status() else { return };
        if self.own_response(client, message, code, now) || self.lets_offer_wait_for_video(client, message, now) {
            return;
        }
        if let Some(call) = self.take_by_client(client) {
            return self.invite_response(call, client, message, code, now);
        }
        // Where nobody waits for it any more, it would be a new call.
        if code.is_challenge()
            && !self.orphans.contains_key(&client)
            && let Some((again, line)) = self.answer_challenge(client, message, now)
        {
            return self.sent_again(client, again, line);
        }
        if self.questions.contains_key(&client) {
            return self.question_answered(client, Some(code), now);
        }
        if self.has_failed(client, code, now) {
            return;
        }
        if let Some(mut relayed) = self.relayed.remove(&client) {
            if code.is_challenge() {
                self.challenged(client, message, &relayed, now);
            }
            self.relayed_response(message, code, &mut relayed, now);
            relayed.accepted |= code.is_success();
            self.relayed.insert(client, relayed);
        } else if code.is_success()
            && let Some(mut orphan) = self.orphans.remove(&client)
        {
            self.clean_up(message, &mut orphan, now);
            self.orphans.insert(client, orphan);
        }
    }

    fn relayed_response(
        &mut self,
        message: &Message<'_>,
        code: StatusCode,
        relayed: &mut RelayedRequest,
        now: Instant,
    ) {
        if code == StatusCode::TRYING {
            return;
        }
        let mut edits = self.blank_edits();
        let mut refused = None;
        let call = relayed.call.map(|id| self.take(id));
        // A call keeps what it began with.
        let settings = call.as_ref().and_then(Option::as_ref).map_or(&self.settings, |call| &call.settings);
        identity::screen(&mut edits, message, settings, relayed.from.other(), relayed.trunk.as_deref());
        match call {
            Some(Some(call)) => {
                let id = call.id;
                refused = self.edit_response_inside(call, &mut edits, message, code, relayed, now).then_some(id);
            }
            Some(None) => {
                if !edit_late_response(&mut edits, message, code, relayed) {
                    return self.transactions.respond_from_request(relayed.server, StatusCode::NO_SUCH_CALL, now);
                }
            }
            None => Self::edit_response_outside(&mut edits, message, code, relayed),
        }
        self.transactions.respond(relayed.server, code, edits.applied(message), now);
        self.edits = edits;
        // As with the first answer, the call ends.
        if let Some(call) = refused.and_then(|id| self.take(id)) {
            self.hang_up(call, EndReason::Media, now);
        }
    }

    /// Edits a response on its way back to the leg that asked, and takes in what it says. True: what it describes is
    /// refused.
    fn edit_response_inside(
        &mut self,
        mut call: Box<Call>,
        edits: &mut Edits,
        message: &Message<'_>,
        code: StatusCode,
        relayed: &mut RelayedRequest,
        now: Instant,
    ) -> bool {
        edit_response(edits, message, relayed);
        let from = call.leg_of(relayed.from.other());
        let mut described = rewrite_sdp(&mut call, message, from, edits);
        // A repeated 2xx is passed on, but a later offer may be in force by now.
        let accepted = code.is_success() && !relayed.accepted;
        if accepted {
            described = described.or_else(|| relayed.early.take().map(|early| *early));
        }
        let refused = accepted && described.as_ref().is_some_and(|described| described.refused);
        if let (true, Some(wish)) = (accepted, relayed.timer) {
            relayed.granted = call.session.refreshed(wish, message, now);
        }
        if let (true, Some(interval)) = (code.is_success(), relayed.granted) {
            session::grant(edits, message, interval);
        }
        if relayed.video.is_some() && code.is_final() && !code.is_success() {
            self.settle_video(&mut call);
        }
        // A reliable 1xx says it too (RFC 6141 §4.3).
        let reliable = relayed.invite && code.is_provisional() && message.other("RSeq").is_some();
        if accepted {
            self.accepted(&mut call, relayed, described, from, now);
            self.changed(call.id);
        } else if reliable && described.is_some() {
            relayed.early = described.map(Box::new);
        }
        if relayed.timer.is_some() && (accepted || reliable) {
            call.refresh_target(from, message);
        }
        self.keep(call);
        refused
    }

    /// The offer of a request and its answer are in force; either may lack. `described`: by the response of `from`.
    fn accepted(
        &mut self,
        call: &mut Call,
        relayed: &RelayedRequest,
        described: Option<Described>,
        from: Leg,
        now: Instant,
    ) {
        if let Some(described) = &described {
            call.media.talk[from.other()] = relayed.talk;
            call.media.talk[from] = described.talk;
            if relayed.invite && relayed.plan.is_none() {
                call.media.answer_due = Some((from.other(), call.last_invite[from].number));
            }
        }
        let settled = relayed.plan.is_some() && described.is_some();
        let offer = relayed.plan.clone().map(|(leg, plan)| (leg, plan, relayed.video.clone()));
        let answer = described.map(|described| (from, described.plan, described.video));
        for (leg, plan, video) in offer.into_iter().chain(answer) {
            self.plan(call, leg, plan);
            self.plan_video(call, leg, video);
        }
        if settled {
            self.settle_video(call);
        }
        self.warn_late(call, now);
    }
}

/// Edits a response that comes back behind the end of its call: nothing that it accepts is in force, and no address
/// shows. False: its requester is told instead that the call is gone.
fn edit_late_response(edits: &mut Edits, message: &Message<'_>, code: StatusCode, relayed: &RelayedRequest) -> bool {
    let bye = message.cseq().is_ok_and(|cseq| cseq.method == Method::Bye);
    if relayed.accepted {
        // Its media are closed; the requester is still owed the end of its transaction.
        edits.set_body(message, &[]);
    } else if code.is_success() && !bye {
        return false;
    }
    edit_response(edits, message, relayed);
    true
}

fn edit_response(edits: &mut Edits, message: &Message<'_>, relayed: &RelayedRequest) {
    forward::edit_response(edits, message, relayed.local, &relayed.routes);
    forward::renumber_back(edits, message, relayed.shift);
}

/// What a request of `leg` is answered with where it may not go on.
fn refusal(call: &Call, message: &Message<'_>, leg: Leg) -> Option<StatusCode> {
    let other = &call.party[leg.other()];
    let number = message.cseq().map_or(0, |cseq| cseq.number).saturating_add(other.shift);
    let highest = || call.forks.cseq(message.to().ok().and_then(|to| to.tag())).unwrap_or(other.cseq);
    if leg == Leg::Caller && number < highest() {
        // Out of order (RFC 3261 §12.2.2).
        Some(StatusCode::SERVER_ERROR)
    } else if leg == Leg::Callee && !call.has_callee {
        // There is no such dialog on this side.
        Some(StatusCode::NO_SUCH_CALL)
    } else if call.nobody_at(leg.other()) {
        None
    } else if let Some(code) = call.diversion.as_ref().and_then(|_| refusal_to_steer(call, message, leg)) {
        Some(code)
    } else {
        refuses_offer(call, message, leg).then_some(StatusCode::NOT_ACCEPTABLE_HERE)
    }
}

/// What the one who has been taken away is answered with where it would still move the equipment of who is warned: a
/// hold has music play in place of the warning, a transfer has a number dialled. Should the call be taken back, it may
/// ask again (RFC 3261 §14.1).
fn refusal_to_steer(call: &Call, message: &Message<'_>, leg: Leg) -> Option<StatusCode> {
    let method = message.method().filter(|_| leg == call.stranger())?;
    let code = match method {
        Method::Other("REFER") => StatusCode::DECLINE,
        Method::Invite => StatusCode::REQUEST_PENDING,
        Method::Update | Method::Prack if message.has_sdp() => StatusCode::REQUEST_PENDING,
        Method::Update | Method::Prack | Method::Ack | Method::Bye | Method::Cancel => return None,
        Method::Options | Method::Register | Method::Info | Method::Other(_) => return None,
    };
    Some(code)
}

/// True for a request that says where its sender is (RFC 3261 §12.2, RFC 3311 §5.2), and whose 2xx sets the session
/// timer anew (RFC 4028 §7.4).
fn refreshes(message: &Message<'_>) -> bool {
    matches!(message.method(), Some(Method::Invite | Method::Update))
}

/// True for an offer that cannot go on: nobody can read it, none of its codecs may pass, its encryption is not what a
/// side must have, or it would hide a caller who is listened to.
fn refuses_offer(call: &Call, message: &Message<'_>, leg: Leg) -> bool {
    let offers = matches!(message.method(), Some(Method::Invite | Method::Update | Method::Prack));
    if !offers || !message.has_sdp() {
        return false;
    }
    // What nobody here can read, somebody may who helps.
    let Ok(sdp) = call.read_sdp(message.sdp(), leg) else { return !call.is_emergency() };
    // What a PRACK says behind an INVITE without a description answers the callee's offer.
    let offered_nothing = call.invite.as_ref().is_some_and(|invite| !invite.message().has_sdp());
    let answers = message.method() == Some(Method::Prack) && offered_nothing;
    let refuses = |media| call.refuses(media, leg) || !answers && hides(call, media, leg);
    sdp.anchored_media().map_or(sdp.has_nothing_left(), refuses)
}

/// True for a caller's change to encryption of its own, or from codecs that the ear knows to others, while it is
/// listened to, will be once the callee answers, or the callee's keys are held: what is said and pressed would be read
/// by nobody here. The call goes on as it was (RFC 3261 §14.1). One that was so from its beginning is not listened to;
/// where nothing is to be done, only looked at, nothing is refused.
fn hides(call: &Call, media: &Media<'_>, leg: Leg) -> bool {
    let inbound = call.facts.direction == CallDirection::Inbound;
    let listens = if call.answered.is_some() { call.listens_until.is_some() } else { inbound };
    let watched = call.settings.enforce && (listens && call.unheard.is_none() || call.guard.is_some());
    let encrypts = !media.is_plain_rtp() && !call.may_end_srtp();
    let in_force = &call.media.plan[Leg::Caller];
    let mutes = (in_force.fax || !in_force.codecs.is_empty()) && answer::plan(media).codecs.is_empty();
    leg == Leg::Caller && watched && !media.is_fax() && (encrypts || mutes)
}
