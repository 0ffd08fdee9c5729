//! How a call ends: CANCEL, BYE, silence, and what is told of it.

use std::time::Instant;

use super::event::{EndReason, Ending, Event};
use super::forward;
use super::input::Output;
use super::snapshot::Entry;
use super::state::{Call, Phase};
use super::switchboard::Switchboard;
use crate::rtp::control::MediaCommand;
use crate::sip::transaction::ClientKind;
use crate::sip::wire::{Message, StatusCode};
use crate::units::Leg;

impl Switchboard {
    /// The caller gave up, and `request` says why: a phone that rang elsewhere too and was answered there shows no call
    /// as missed (RFC 3326 §3.1).
    pub(super) fn cancelled(&mut self, call: Box<Call>, request: &Message<'_>, now: Instant) {
        if call.answered.is_some() {
            return self.keep(call);
        }
        let reasons = forward::reasons(request);
        let lines: Vec<&str> = reasons.iter().map(String::as_str).collect();
        self.abandon(&call, &lines, now);
        self.answer(&call, StatusCode::REQUEST_TERMINATED, &[], "", now);
        self.end(call, Some(Leg::Caller), EndReason::Cancelled, Some(StatusCode::REQUEST_TERMINATED.0), now);
    }

    /// The callee's INVITE is no longer wanted; whatever still comes of it is cleaned up.
    pub(super) fn abandon(&mut self, call: &Call, extra: &[&str], now: Instant) {
        if let Some(client) = call.client {
            self.transactions.cancel(client, extra, now);
            self.clients.remove(&client);
            self.orphans.insert(client, Box::new(call.orphan()));
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
            Some(_) | None => self.end(call, Some(leg), EndReason::Bye, None, now),
        }
    }

    /// True where a BYE of this leg is answered here and not passed on.
    pub(super) fn keeps_bye(call: &Call, leg: Leg) -> bool {
        let nobody = matches!(call.phase, Phase::Answering { .. }) || call.nobody_at(leg.other());
        nobody || call.diversion.as_ref().is_some_and(|diversion| leg == Leg::Caller && !diversion.callee_done)
    }

    /// Ends both legs by ourselves.
    pub(super) fn hang_up(&mut self, call: Box<Call>, how: EndReason, now: Instant) {
        if call.answered.is_none() {
            self.abandon(&call, &[], now);
            return self.fail(call, StatusCode::SERVICE_UNAVAILABLE, how, now);
        }
        self.bye_to_both(&call, now);
        self.end(call, None, how, None, now);
    }

    /// A BYE for each leg that somebody is still on.
    pub(super) fn bye_to_both(&mut self, call: &Call, now: Instant) {
        for leg in Leg::BOTH {
            if !call.nobody_at(leg) {
                self.bye(call, leg, now);
            }
        }
    }

    /// A BYE of our own.
    pub(super) fn bye(&mut self, call: &Call, leg: Leg, now: Instant) {
        let Some((client, branch)) = self.transactions.reserve(ClientKind::NonInvite) else { return };
        let party = &call.party[leg];
        let bytes = forward::own_request(party, &call.call_id, "BYE", call.local(leg), &branch, party.cseq + 1);
        self.credit(client, call.trunk_of(leg).filter(|_| call.is_ours()), &call.settings, &bytes);
        self.transactions.send(client, &bytes, call.flow[leg], now);
    }

    /// The last word on a call.
    pub(super) fn end(&mut self, call: Box<Call>, by: Option<Leg>, how: EndReason, status: Option<u16>, now: Instant) {
        if !matches!(call.phase, Phase::Consulting) {
            self.out(Output::Media(MediaCommand::Close { call: call.id }));
        }
        self.finish(&call, by, how, status, now);
    }

    /// Its record and its tables.
    pub(super) fn finish(&mut self, call: &Call, by: Option<Leg>, how: EndReason, status: Option<u16>, now: Instant) {
        self.part_video(call, now);
        if self.journals && call.answered.is_some() {
            self.out(Output::Journal(Entry::Over(call.id)));
        }
        let talked = call.answered.map(|answered| now.saturating_duration_since(answered));
        self.happened(call, now, Event::Ended { ending: Ending { by, how, status, talked } });
        self.part_guests(call, now);
        self.forget(call);
    }
}
