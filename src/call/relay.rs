//! Requests that are passed on: inside a call to the other leg, outside any to PBX or trunk; and what comes back.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use super::event::EndReason;
use super::failover::Again;
use super::forward::{self, Party};
use super::guard::PressedIn;
use super::identity;
use super::machine;
use super::session::{self, TimerWish};
use super::settings::Side;
use super::state::Call;
use super::switchboard::{MAX_CONTACTS, MAX_FORKS, Orphan, RelayedRequest, Switchboard};
use super::trunks::{Candidate, Order};
use super::video::Waiting;
use crate::sip::flow::Flow;
use crate::sip::transaction::{ClientId, ClientKind, ServerId};
use crate::sip::wire::sdp::Media;
use crate::sip::wire::{Edits, Message, Method, Name, StatusCode, Uri};
use crate::units::Leg;

impl Switchboard {
    pub(super) fn in_dialog(&mut self, message: &Message<'_>, server: ServerId, flow: Flow, side: Side, now: Instant) {
        let Some(mut call) = self.take_by_call_id(message.call_id()) else {
            // A dialog that is no call of ours (a subscription) is passed on; a BYE for a call that is gone is not.
            let method = message.method();
            return match method {
                Some(Method::Bye | Method::Invite | Method::Update | Method::Info | Method::Prack) => {
                    self.reply(message, server, flow, StatusCode::NO_SUCH_CALL, &[], now);
                }
                Some(Method::Ack | Method::Cancel | Method::Options | Method::Register | Method::Other(_)) | None => {
                    self.relay(message, server, flow, side, None, now);
                }
            };
        };
        let leg = call.leg_of(side);
        if flow.connection.is_some() && call.flow[leg].connection.is_some() {
            // The peer's newest connection: an older one may be gone.
            call.flow[leg] = flow;
        }
        let bye = message.method() == Some(Method::Bye);
        if bye && call.answered.is_none() {
            // A caller may end an early dialog like this, a callee may not (RFC 3261 §15). Passed on, it would leave the
            // INVITE without an answer.
            return match leg {
                Leg::Caller => {
                    self.reply(message, server, flow, StatusCode::OK, &[], now);
                    self.cancelled(call, now);
                }
                Leg::Callee => {
                    self.reply(message, server, flow, StatusCode::NO_SUCH_CALL, &[], now);
                    self.keep(call);
                }
            };
        }
        if bye && Self::keeps_bye(&call, leg) {
            self.reply(message, server, flow, StatusCode::OK, &[], now);
            return self.said_bye(call, leg, now);
        }
        let number = message.cseq().map_or(0, |cseq| cseq.number).saturating_add(call.party[leg.other()].shift);
        if number < call.party[leg.other()].cseq && leg == Leg::Caller {
            // Out of order (RFC 3261 §12.2.2).
            self.reply(message, server, flow, StatusCode::SERVER_ERROR, &[], now);
            return self.keep(call);
        }
        if !call.has_callee && leg == Leg::Callee {
            // There is no such dialog on this side.
            self.reply(message, server, flow, StatusCode::NO_SUCH_CALL, &[], now);
            return self.keep(call);
        }
        let alone = call.nobody_at(leg.other());
        if !alone && refuses_offer(&call, message, leg) {
            self.reply(message, server, flow, StatusCode::NOT_ACCEPTABLE_HERE, &[], now);
            return self.keep(call);
        }
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
        match (bye, key) {
            (true, _) => {
                if let Some(call) = self.take(id) {
                    self.said_bye(call, leg, now);
                }
            }
            (false, Some(key)) => {
                if let Some(call) = self.take(id) {
                    self.digit(call, leg, key, PressedIn::Info, now);
                }
            }
            (false, None) => {}
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
        let mut edits = self.blank_edits();
        let settings = call.as_ref().map_or_else(|| Arc::clone(&self.settings), |call| Arc::clone(&call.settings));
        let mut relayed = RelayedRequest {
            server,
            call: None,
            from: side,
            invite,
            plan: None,
            video: None,
            routes: forward::record_routes(message),
            contacts: Vec::new(),
            local: settings.local(side, flow.transport),
            accepted: false,
            timer: None,
            granted: None,
            shift: 0,
            trunk: None,
            paths: Vec::new(),
            again: None,
        };
        let to = match call {
            Some(mut call) => {
                let leg = call.leg_of(side);
                let to = leg.other();
                let way = call.way(to, message.to().ok().and_then(|to| to.tag()));
                forward::edit_request(&mut edits, message, flow.peer, call.local(to), &branch, Some(way));
                if let Some(said) = machine::rewrite_sdp(&mut call, message, leg, &mut edits) {
                    (relayed.plan, relayed.video) = (Some((leg, said.plan)), said.video);
                }
                relayed.call = Some(call.id);
                let hop = match side {
                    Side::Outside => settings.pbx,
                    Side::Inside => call.flow[to].hop(),
                };
                self.map_refer_to(&mut edits, message, side, hop);
                relayed.timer = refreshes(message).then(|| TimerWish::of(message));
                let number = message.cseq().map_or(0, |cseq| cseq.number);
                relayed.shift = call.party[to].shift;
                forward::renumber(&mut edits, message, relayed.shift);
                if invite {
                    call.invite_shift[to] = (number, relayed.shift);
                }
                call.party[to].cseq = call.party[to].cseq.max(number.saturating_add(relayed.shift));
                relayed.trunk.clone_from(&call.trunk);
                call.screen(&mut edits, message, leg);
                if invite {
                    call.refresh_target(leg, message);
                }
                self.changed(call.id);
                let flow = call.flow[to];
                self.keep(call);
                flow
            }
            None => {
                let target = message.request_uri().and_then(|uri| Some((uri, Uri::parse(uri).ok()?)));
                let mut candidates: VecDeque<Candidate> = target
                    .map(|(uri, target)| self.candidates(uri, &target, side, Order::Steady))
                    .unwrap_or_default()
                    .into();
                let Some(candidate) = candidates.pop_front() else {
                    self.transactions.release(client);
                    return self.reply(message, server, flow, StatusCode::NOT_FOUND, &[], now);
                };
                let to = flow.towards(candidate.hop);
                self.edit_outside(&mut edits, message, &mut relayed, (flow, candidate), &branch);
                if !candidates.is_empty() {
                    let again = Again::of(message, (flow, to.hop()), candidates, now);
                    relayed.again = self.hurry(client, again, relayed.trunk.as_deref(), now);
                }
                to
            }
        };
        let bytes = edits.applied(message);
        if let (Some(id), Side::Inside) = (relayed.call, side) {
            let trunk = self.calls.get(&id).and_then(|call| call.trunk.clone());
            self.credit(client, trunk.as_ref(), &settings, bytes);
        }
        self.send(client, bytes, to, now);
        self.edits = edits;
        self.relayed_by_server.insert(server, client);
        self.relayed.insert(client, relayed);
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

    pub(super) fn response(&mut self, message: &Message<'_>, client: ClientId, now: Instant) {
        let Some(code) = message.status() else { return };
        if self.own_response(client, message, code, now) || self.lets_offer_wait_for_video(client, message, now) {
            return;
        }
        if let Some(call) = self.take_by_client(client) {
            return self.invite_response(call, client, message, code, now);
        }
        if matches!(code, StatusCode::UNAUTHORIZED | StatusCode::PROXY_AUTHENTICATION_REQUIRED)
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
        identity::screen(&mut edits, message, &self.settings, relayed.from.other(), relayed.trunk.as_deref());
        match relayed.call.and_then(|id| self.take(id)) {
            Some(mut call) => {
                forward::edit_response(&mut edits, message, relayed.local, &relayed.routes);
                forward::renumber_back(&mut edits, message, relayed.shift);
                let from = call.leg_of(relayed.from.other());
                let said = machine::rewrite_sdp(&mut call, message, from, &mut edits);
                // A repeated 2xx is passed on, but a later offer may be in force by now.
                let accepted = code.is_success() && !relayed.accepted;
                if let (true, Some(said)) = (accepted, &said) {
                    call.on_hold = !said.both_ways;
                    refused = Some(call.id).filter(|_| said.refused);
                }
                let answers = relayed.plan.is_some() && said.is_some();
                let answer = said.map(|said| (from, said.plan, said.video));
                if let (true, Some(wish)) = (accepted, relayed.timer) {
                    relayed.granted = call.session.refreshed(wish, message, now);
                }
                if let (true, Some(interval)) = (code.is_success(), relayed.granted) {
                    session::grant(&mut edits, message, interval);
                }
                if relayed.video.is_some() && code.is_final() && !code.is_success() {
                    self.settle_video(&mut call);
                }
                if accepted {
                    let offer = relayed.plan.clone().map(|(leg, plan)| (leg, plan, relayed.video.clone()));
                    for (leg, plan, video) in offer.into_iter().chain(answer) {
                        self.plan(&mut call, leg, plan);
                        self.plan_video(&mut call, leg, video);
                    }
                    if answers {
                        self.settle_video(&mut call);
                    }
                    self.whisper_late(&mut call);
                    if relayed.invite {
                        call.refresh_target(from, message);
                    }
                    self.changed(call.id);
                }
                self.keep(call);
            }
            // The call has ended meanwhile: nothing that it would have accepted is in force, and no address shows.
            None if relayed.call.is_some() => {
                let bye = message.cseq().is_ok_and(|cseq| cseq.method == Method::Bye);
                if relayed.accepted {
                    // Its media are closed; the requester is still owed the end of its transaction.
                    edits.set_body(message, &[]);
                } else if code.is_success() && !bye {
                    return self.transactions.respond_from_request(relayed.server, StatusCode::NO_SUCH_CALL, now);
                }
                forward::edit_response(&mut edits, message, relayed.local, &relayed.routes);
                forward::renumber_back(&mut edits, message, relayed.shift);
            }
            None => {
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
        self.transactions.respond(relayed.server, code, edits.applied(message), now);
        self.edits = edits;
        // Its side must encrypt and does not: as with the first answer, the call ends.
        if let Some(call) = refused.and_then(|id| self.take(id)) {
            self.hang_up(call, EndReason::Media, now);
        }
    }

    /// A 2xx that nobody waits for: acknowledged and ended (RFC 3261 §13.2.2.4), so that no phone is left off the hook.
    pub(super) fn clean_up(&mut self, message: &Message<'_>, orphan: &mut Orphan, now: Instant) {
        let Orphan { flow, local, highest_cseq, ref mut ended } = *orphan;
        let tag = message.to().ok().and_then(|to| to.tag()).unwrap_or_default();
        let again = ended.iter().any(|other| **other == *tag);
        if !again && ended.len() >= MAX_FORKS {
            return;
        }
        let value = |name| message.header(name).map_or("", |header| header.value).to_owned();
        let routes = forward::routes_back(message);
        let number = message.cseq().map_or(1, |cseq| cseq.number);
        let target = message.contact().ok().flatten().map_or(String::new(), |contact| contact.uri.to_owned());
        let party = Party { remote: value(Name::To), local: value(Name::From), target, routes, cseq: number, shift: 0 };
        let call_id = message.call_id();
        let Some((client, branch)) = self.transactions.reserve(ClientKind::NonInvite) else { return };
        let ack = forward::own_request(&party, call_id, "ACK", local, &format!("{branch}a"), number);
        self.transmit(flow, &ack);
        if again {
            return self.transactions.release(client);
        }
        ended.push(tag.into());
        let bye = forward::own_request(&party, call_id, "BYE", local, &branch, number.max(highest_cseq) + 1);
        let settings = Arc::clone(&self.settings);
        let trunk = settings.trunk_of(flow.peer.ip()).map(|trunk| &trunk.name);
        self.credit(client, trunk, &settings, &bye);
        self.transactions.send(client, &bye, flow, now);
    }
}

/// True for a request whose 2xx sets the session timer anew (RFC 4028 §7.4).
fn refreshes(message: &Message<'_>) -> bool {
    matches!(message.method(), Some(Method::Invite | Method::Update))
}

/// True for an offer that cannot go on: nobody can read it, none of its codecs may pass, its encryption is not what a side
/// must have, or it would hide a caller who is listened to.
fn refuses_offer(call: &Call, message: &Message<'_>, leg: Leg) -> bool {
    let offers = matches!(message.method(), Some(Method::Invite | Method::Update | Method::Prack));
    if !offers || !message.has_sdp() {
        return false;
    }
    let Ok(sdp) = call.settings.read_sdp(message.body()) else { return true };
    sdp.anchored_media().map_or(sdp.has_nothing_left(), |media| call.refuses(media, leg) || hides(call, media, leg))
}

/// True for a caller's change to encryption of its own while it is listened to or the callee's keys are held: what is said
/// and pressed would be read by nobody here. The call goes on as it was (RFC 3261 §14.1). One that was encrypted so from
/// its beginning is not listened to.
fn hides(call: &Call, media: &Media<'_>, leg: Leg) -> bool {
    let watched = call.listens_until.is_some() && call.unheard.is_none() || call.guard.is_some();
    leg == Leg::Caller && watched && !media.is_plain_rtp() && !media.is_fax() && !call.may_end_srtp()
}

/// The type of an INFO that says a key (application/dtmf-relay or application/dtmf).
fn dtmf_type(message: &Message<'_>) -> Option<String> {
    if message.method() != Some(Method::Info) {
        return None;
    }
    let kind = message.header(Name::ContentType)?.value.to_ascii_lowercase();
    Some(kind).filter(|kind| kind.starts_with("application/dtmf"))
}

/// True for an INFO that says a key, even one that we do not know.
fn carries_key(message: &Message<'_>) -> bool {
    dtmf_type(message).is_some()
}

/// The key in an INFO.
fn dtmf_key(message: &Message<'_>) -> Option<char> {
    let kind = dtmf_type(message)?;
    let body = std::str::from_utf8(message.body()).ok()?;
    let text = if kind.starts_with("application/dtmf-relay") {
        body.lines().find_map(|line| line.trim().strip_prefix("Signal="))?
    } else {
        body
    };
    text.trim().chars().next().filter(|key| key.is_ascii_digit() || "*#ABCD".contains(*key))
}
