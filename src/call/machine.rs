//! One call's life, from its INVITE to its end. One machine for both directions; who is inside only decides addresses.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::answer;
use super::description::{Talk, description};
use super::event::{EndReason, Event, NotAnalysed};
use super::forward;
use super::guard::PressedIn;
use super::input::Output;
use super::state::{Call, Phase};
use super::switchboard::Switchboard;
use crate::policy::action::{Enforcement, Rejection, Route};
use crate::policy::facts::CallDirection;
use crate::rtp::control::{MediaCommand, MediaEvent, PromptId, StreamPlan};
use crate::sip::transaction::{Repeat, T1X64, T2};
use crate::sip::wire::sdp::Sdp;
use crate::sip::wire::{Message, StatusCode, respond};
use crate::units::Leg;

/// Ports are there within milliseconds, or the media path is gone. The caller's side is told while it may still go
/// elsewhere.
const PORTS_WAIT: Duration = Duration::from_secs(4);
/// A callee's side that says nothing at all for this long is down: the caller is told, so that calls do not pile up.
pub(super) const SILENT_PEER: Duration = Duration::from_secs(8);
/// The same of a PBX that an earlier call found silent: three INVITEs long.
pub(super) const SILENT_BEFORE: Duration = Duration::from_secs(2);
/// A phone that rings for longer is given up: just inside timer C (RFC 3261 §16.6), so that the CANCEL still finds its
/// transaction. Each 1xx begins it anew.
pub(super) const LONGEST_RINGING: Duration = Duration::from_secs(175);
/// Announcements that are played.
pub const PROMPTS: [&str; 6] = [
    "callee-diverted",
    "callee-diverted-short",
    "callee-guard",
    "callee-whisper",
    "caller-diverted",
    "caller-rejected",
];
/// Longest that a diversion may last, whatever the prompts do.
pub(super) const LONGEST_DIVERSION: Duration = Duration::from_secs(90);

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
        call.record.routed = Some((decision.clone(), enforcement));
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

    /// RFC 8688 §3.2: a caller's side that does not know 608 is told in words, where the offer lets us. Not over a
    /// limit: a flood of blocked calls would take the ports of all others.
    fn needs_announcement(&self, call: &Call, rejection: Rejection) -> bool {
        if call.facts.over_limit.is_some() || rejection != Rejection::Rejected || call.facts.understands_608 {
            return false;
        }
        let Some(invite) = &call.invite else { return false };
        call.read_sdp(invite.message().sdp(), Leg::Caller).is_ok_and(|sdp| {
            let crypto = sdp.anchored_media().and_then(|media| call.own_crypto(media, Leg::Caller));
            answer::own(&sdp, call.local(Leg::Caller).address, 1, crypto.as_deref(), None).is_some()
        })
    }

    /// Ends a call as a rule says.
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
            respond(&invite, code, peer, Some(&tag), extra, body.as_bytes(), &mut bytes);
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
                call.media.ports = Some(call.told_ports(|leg| ports[leg].port()));
                call.media.reopening = false;
                self.opened(call, now);
            }
            MediaEvent::Failed if call.answered.is_none() => {
                self.abandon(&call, &[], now);
                self.fail(call, StatusCode::SERVICE_UNAVAILABLE, EndReason::Media, now);
            }
            MediaEvent::Failed if call.media.reopening => self.end_restored(call, now),
            // The call goes on without its media path's help: ending it is for the people on it.
            MediaEvent::Failed => self.keep(call),
            MediaEvent::Digit { leg, digit } => self.digit(call, leg, digit, PressedIn::Media, now),
            MediaEvent::Latched { leg, address } => {
                call.media.latched[leg] = address;
                self.changed(call.id);
                self.keep(call);
            }
            MediaEvent::Rolled { leg, rollovers } => {
                if let Some(srtp) = &mut call.media.plan[leg].srtp {
                    srtp.rollovers = rollovers;
                    self.changed(call.id);
                }
                self.keep(call);
            }
            // Of something that another prompt has replaced meanwhile.
            MediaEvent::Finished { to, play } if play != call.media.plays[to] => self.keep(call),
            MediaEvent::Finished { to, .. } => self.finished(call, to, now),
            MediaEvent::Silent if call.may_be_silent() => self.held_and_silent(call, now),
            MediaEvent::Silent => self.hang_up(call, EndReason::Media, now),
            MediaEvent::Unheard => self.falls_unheard(call, now),
        }
    }

    /// Ports are there, or none are to be had for video: a call that waits for nothing more goes on.
    pub(super) fn opened(&mut self, mut call: Box<Call>, now: Instant) {
        let Phase::Opening { route, .. } = call.phase else { return self.keep(call) };
        if call.media.ports.is_none() || call.waits_for_video() {
            return self.keep(call);
        }
        let Some(invite) = call.invite.take() else {
            return self.end(call, None, EndReason::Unreachable, None, now);
        };
        let outcome = self.take_route(&mut call, route, &invite.message(), now);
        call.invite = Some(invite);
        match outcome {
            Ok(None) => self.keep(call),
            Ok(Some(body)) => self.answer_ourselves(call, route, &body, now),
            Err((code, how)) => self.fail(call, code, how, now),
        }
    }

    /// Invites the callee, or gives the description of our own answer where we answer by ourselves.
    ///
    /// # Errors
    /// What the call fails with.
    fn take_route(
        &mut self,
        call: &mut Call,
        route: Route,
        invite: &Message<'_>,
        now: Instant,
    ) -> Result<Option<String>, (StatusCode, EndReason)> {
        const NOT_ACCEPTABLE: (StatusCode, EndReason) = (StatusCode::NOT_ACCEPTABLE_HERE, EndReason::Rejected);
        let sdp = description(call, invite, Leg::Caller);
        if sdp.as_ref().is_some_and(|sdp| !self.take_offer(call, sdp)) {
            return Err(NOT_ACCEPTABLE);
        }
        match route {
            Route::Connect | Route::Watch => {
                call.unheard = match (call.facts.direction, route) {
                    (CallDirection::Outbound, _) => Some(NotAnalysed::Outbound),
                    (CallDirection::Inbound, Route::Connect) => Some(NotAnalysed::Trusted),
                    (CallDirection::Inbound, _) => call.unheard,
                };
                self.invite_callee(call, invite, sdp.as_ref(), now);
                match call.client {
                    Some(_) => Ok(None),
                    None => Err((StatusCode::SERVICE_UNAVAILABLE, EndReason::Unreachable)),
                }
            }
            Route::Divert | Route::Reject(_) => {
                sdp.and_then(|sdp| own_answer(call, &sdp, invite)).map(Some).ok_or(NOT_ACCEPTABLE)
            }
        }
    }

    /// Takes in what the caller offers. False: it is refused.
    fn take_offer(&mut self, call: &mut Call, sdp: &Sdp<'_>) -> bool {
        let Some(media) = sdp.anchored_media() else { return true };
        let negotiated = call.negotiate(media, Leg::Caller);
        if negotiated.refused {
            return false;
        }
        call.unheard = answer::unheard(media, negotiated.plan.is_some());
        // It may be on hold from the beginning: a call that is parked, or set up by a third party (RFC 3725).
        call.media.talk.caller = Talk::of(media);
        self.plan(call, Leg::Caller, negotiated.stream(media));
        let video = call.passing_video(sdp, Leg::Caller);
        self.plan_video(call, Leg::Caller, video.map(|(_, plan)| plan));
        true
    }

    /// Answers the caller by ourselves: the call is diverted, or an announcement plays before it is refused.
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

    /// The caller agreed on a codec that the ear knows and sends another: the call goes on, and its record says so.
    fn falls_unheard(&mut self, mut call: Box<Call>, now: Instant) {
        if call.listens_until.is_some() && call.record.not_analysed.is_none() {
            let (at, not_analysed) = (call.time(now), NotAnalysed::Codec);
            call.record.not_analysed = Some(Arc::from(not_analysed.label()));
            self.happened(&call, now, Event::Unheard { at, not_analysed });
            self.changed(call.id);
        }
        self.keep(call);
    }

    /// What a call's own deadline brought.
    pub(super) fn call_due(&mut self, mut call: Box<Call>, now: Instant) {
        if call.listens_until.is_some_and(|until| now >= until) {
            call.listens_until = None;
            self.out(Output::Media(MediaCommand::StopTap { call: call.id }));
        }
        if call.diversion.as_ref().is_some_and(|diversion| diversion.waits && now >= diversion.until) {
            self.warn(&mut call, now);
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

    /// Plays a prompt to a leg in place of what the other says.
    pub(super) fn play(&mut self, call: &mut Call, to: Leg, prompt: &str) {
        let (prompts, play) = (vec![PromptId(Arc::from(prompt))], call.next_play(to));
        self.out(Output::Media(MediaCommand::Play { call: call.id, to, prompts, play }));
    }

    /// A peer has described its media.
    pub(super) fn plan(&mut self, call: &mut Call, leg: Leg, plan: StreamPlan) {
        call.media.plan[leg].clone_from(&plan);
        self.out(Output::Media(MediaCommand::Plan { call: call.id, leg, plan }));
    }
}

/// Our own answer to the caller's offer; None: we have no codec that it takes.
fn own_answer(call: &Call, sdp: &Sdp<'_>, invite: &Message<'_>) -> Option<String> {
    let crypto = sdp.anchored_media().and_then(|media| call.own_crypto(media, Leg::Caller));
    answer::own(sdp, call.media.ports?.caller, answer::version(invite), crypto.as_deref(), None)
}
