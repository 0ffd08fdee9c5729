//! Requests of a leg behind which nobody is: we answered by ourselves, or the other leg is over and this one still
//! hears an announcement. They are answered here, offers with an answer (RFC 3264 §8, RFC 3261 §14.2, RFC 3311 §5.2).

use std::time::Instant;

use super::answer;
use super::description::Talk;
use super::event::EndReason;
use super::security::Negotiated;
use super::state::{Call, Phase};
use super::switchboard::Switchboard;
use crate::sip::flow::Flow;
use crate::sip::transaction::{Repeat, ServerId, T1X64, T2};
use crate::sip::wire::sdp::Media;
use crate::sip::wire::{Message, Method, StatusCode, respond};
use crate::units::Leg;

pub(super) const ALLOW: &str = "Allow: INVITE, ACK, BYE, CANCEL, OPTIONS, PRACK, UPDATE, INFO";

/// A 2xx of ours to a re-INVITE, repeated until its ACK.
#[derive(Debug)]
pub(super) struct Unacked {
    server: ServerId,
    leg: Leg,
    response: Vec<u8>,
    repeat: Repeat,
    give_up: Instant,
}

impl Unacked {
    pub(super) fn deadline(&self) -> Instant {
        self.repeat.due().min(self.give_up)
    }
}

impl Switchboard {
    /// Answers a request of `leg` for whoever is not there.
    pub(super) fn stand_in(
        &mut self,
        mut call: Box<Call>,
        message: &Message<'_>,
        server: ServerId,
        flow: Flow,
        leg: Leg,
        now: Instant,
    ) {
        let announcing = matches!(call.phase, Phase::Refusing { .. });
        let talking = call.answered.is_some();
        let number = message.cseq().map_or(0, |cseq| cseq.number);
        let party = &mut call.party[leg.other()];
        party.cseq = party.cseq.max(number.saturating_add(party.shift));
        let (code, extra, body): (_, &[&str], _) = match message.method() {
            Some(Method::Invite) if talking => return self.stand_in_invite(call, message, server, flow, leg, now),
            // Its INVITE's offer has no answer yet that it must believe (RFC 3311 §5.2).
            Some(Method::Update) if announcing && message.has_sdp() => {
                (StatusCode::SERVER_ERROR, &["Retry-After: 5"], String::new())
            }
            Some(Method::Update) if talking && message.has_sdp() => {
                match self.described(&mut call, message, leg, now) {
                    Some(body) => (StatusCode::OK, &[], body),
                    None => (StatusCode::NOT_ACCEPTABLE_HERE, &[], String::new()),
                }
            }
            Some(Method::Update | Method::Info | Method::Options) if talking || announcing => {
                (StatusCode::OK, &[ALLOW], String::new())
            }
            Some(Method::Register | Method::Other(_)) if talking => {
                (StatusCode::METHOD_NOT_ALLOWED, &[ALLOW], String::new())
            }
            Some(_) | None => (StatusCode::NO_SUCH_CALL, &[], String::new()),
        };
        if message.method() == Some(Method::Update) && code.is_success() {
            call.refresh_target(leg, message);
        }
        let contact = call.contact_line(leg);
        let mut lines: Vec<&str> = extra.to_vec();
        if message.method() == Some(Method::Update) && code.is_success() {
            lines.push(&contact);
        }
        let mut out = Vec::new();
        respond(message, code, flow.peer, Some("ringfence"), &lines, body.as_bytes(), &mut out);
        self.transactions.respond(server, code, &out, now);
        self.keep(call);
    }

    fn stand_in_invite(
        &mut self,
        mut call: Box<Call>,
        message: &Message<'_>,
        server: ServerId,
        flow: Flow,
        leg: Leg,
        now: Instant,
    ) {
        if call.unacked.is_some() || matches!(call.phase, Phase::Answering { .. }) {
            // The offer in our last answer, or the answer itself, may not have come through (RFC 3261 §14.2).
            self.reply(message, server, flow, StatusCode::SERVER_ERROR, &["Retry-After: 2"], now);
            return self.keep(call);
        }
        let body = if message.has_sdp() {
            self.described(&mut call, message, leg, now)
        } else {
            let protection = call.own_protection(leg);
            call.media.ports.and_then(|ports| {
                let plan = answer::led_by(call.media.plan[leg].clone(), call.media.codec_to(leg));
                answer::offer(&plan, ports[leg], answer::version(message), &protection)
            })
        };
        let Some(body) = body else {
            self.reply(message, server, flow, StatusCode::NOT_ACCEPTABLE_HERE, &[], now);
            return self.keep(call);
        };
        call.refresh_target(leg, message);
        let contact = call.contact_line(leg);
        let mut response = Vec::new();
        respond(message, StatusCode::OK, flow.peer, None, &[&contact, ALLOW], body.as_bytes(), &mut response);
        self.transactions.respond(server, StatusCode::OK, &response, now);
        let (repeat, give_up) = (Repeat::starting(now), now + T1X64);
        call.unacked = Some(Box::new(Unacked { server, leg, response, repeat, give_up }));
        self.changed(call.id);
        self.keep(call);
    }

    /// Takes in a description of `leg`; our answer to it. None: we have none.
    fn described(&mut self, call: &mut Call, message: &Message<'_>, leg: Leg, now: Instant) -> Option<String> {
        let ports = call.media.ports?;
        let sdp = call.read_sdp(message.sdp(), leg).ok()?;
        let media = sdp.anchored_media();
        let negotiated = media.map(|media| call.negotiate(media, leg));
        if negotiated.as_ref().is_some_and(|negotiated| negotiated.refused) {
            return None;
        }
        let opened = negotiated.as_ref().is_some_and(|negotiated| negotiated.plan.is_some());
        let crypto = media.filter(|_| opened).and_then(|media| call.own_crypto(media, leg));
        let current = call.media.codec_to(leg);
        let body = answer::own(&sdp, ports[leg], answer::version(message), crypto.as_deref(), current)?;
        self.take_description(call, media.zip(negotiated), leg, now);
        Some(body)
    }

    fn take_description(&mut self, call: &mut Call, media: Option<(&Media<'_>, Negotiated)>, leg: Leg, now: Instant) {
        call.media.talk[leg] = media.as_ref().map_or(Talk::NONE, |(media, _)| Talk::of(media));
        call.media.talk[leg.other()] = Talk::BOTH_WAYS;
        let plan =
            media.map_or_else(|| answer::held(&call.media.plan[leg]), |(media, negotiated)| negotiated.stream(media));
        let plan = answer::led_by(plan, call.media.codec_to(leg));
        self.plan(call, leg, plan);
        // What we say for others has no pictures.
        self.close_video(call);
        self.changed(call.id);
        self.warn_late(call, now);
    }

    /// An ACK of `leg`. True: it is for an answer of ours.
    pub(super) fn acked(&mut self, call: &mut Call, message: &Message<'_>, leg: Leg, now: Instant) -> bool {
        if call.unacked.as_ref().is_none_or(|unacked| unacked.leg != leg) {
            // A repeated one, and nobody to pass it on to.
            return !call.has_callee;
        }
        call.unacked = None;
        if let (true, Ok(sdp)) = (message.has_sdp(), call.read_sdp(message.sdp(), leg)) {
            let media = sdp.anchored_media();
            let negotiated = media.map(|media| call.negotiate(media, leg));
            self.take_description(call, media.zip(negotiated), leg, now);
        }
        true
    }

    /// What is due of an answer without its ACK. None: the call has ended.
    pub(super) fn unacked_due(&mut self, mut call: Box<Call>, now: Instant) -> Option<Box<Call>> {
        if let Some(unacked) = &mut call.unacked {
            if now >= unacked.give_up {
                call.unacked = None;
                self.hang_up(call, EndReason::NoAck, now);
                return None;
            }
            if now >= unacked.repeat.due() {
                unacked.repeat.back_off(T2);
                self.transactions.respond(unacked.server, StatusCode::OK, &unacked.response, now);
            }
        }
        Some(call)
    }
}
