//! What another process left on the wire: a call's INVITE that its caller repeats, and answers whose requests it passed
//! on.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::description::{self, Described, Talk};
use super::event::EndReason;
use super::forward;
use super::settings::Side;
use super::state::Call;
use super::switchboard::Switchboard;
use crate::sip::wire::{Edits, Index, Message, Method, Name, StatusCode};
use crate::units::Leg;

/// By what a repetition of a call's INVITE is known (RFC 3261 §17.2.3).
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Invited {
    /// Its topmost Via, as it came.
    pub via: Box<str>,
    /// Its number.
    pub cseq: u32,
}

impl Invited {
    pub(super) fn by(invite: &Message<'_>) -> Option<Self> {
        let via = invite.header(Name::Via)?.value.into();
        Some(Self { via, cseq: invite.cseq().ok()?.number })
    }

    fn branch(&self) -> Option<&str> {
        let (_, behind) = self.via.split_once("branch=")?;
        behind.split([';', ',', ' ', '\t']).next()
    }
}

impl Switchboard {
    /// Knows a restored call's INVITE again until it cannot be repeated any more (timer L), as the process that
    /// answered it would: it is absorbed, and repetitions of its 2xx go back the way it came.
    pub(super) fn know_invite(&mut self, call: &mut Call, now: Instant) {
        let (Some(invited), Some(answered)) = (&call.invited, call.answered) else { return };
        let party = &call.party.caller;
        let bytes = format!(
            "INVITE {} SIP/2.0\r\nVia: {}\r\nFrom: {}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {} INVITE\r\n\r\n",
            party.target, invited.via, party.remote, party.local, call.call_id, invited.cseq
        );
        let mut index = Index::new();
        let Ok(invite) = index.read(bytes.as_bytes(), &call.settings.wire_limits) else { return };
        call.server = self.transactions.resume_accepted(&invite, call.flow.caller, answered, now);
        if let Some(server) = call.server {
            self.by_server.insert(server, call.id);
        }
    }

    /// A 2xx whose INVITE another process passed on, and which was lost with it, or its ACK was: the ACK comes if the
    /// peer hears the 2xx. The Via below ours leads there, and so does the call.
    pub(super) fn repeated_success(&mut self, message: &Message<'_>, side: Side, now: Instant) {
        let to_invite = message.cseq().is_ok_and(|cseq| cseq.method == Method::Invite);
        // An INVITE of this process has its own transaction, which has absorbed it.
        let own = self.transactions.has_been_here(message);
        if own || !to_invite || !message.status().is_some_and(StatusCode::is_success) {
            return;
        }
        let Some(id) = self.by_call_id.get(message.call_id()).copied() else { return };
        let Some(call) = self.calls.get(&id) else { return };
        let from = call.leg_of(side);
        if !call.is_party(from.other(), message) {
            return;
        }
        let through_us = message.via().is_ok_and(|via| via.ip() == Some(call.local(from).address.ip()));
        let Some(Ok(asker)) = message.vias().nth(1).filter(|_| through_us) else { return };
        if call.resumed_until.is_none_or(|until| now >= until) {
            return;
        }
        let Some(mut call) = self.take(id) else { return };
        let first = call.invited.as_ref().is_some_and(|invited| invited.branch() == asker.branch());
        let to = from.other();
        let mut edits = Edits::new();
        forward::edit_response(&mut edits, message, call.local(to), &call.party[to].routes);
        forward::renumber_back(&mut edits, message, call.party[from].shift);
        call.screen(&mut edits, message, from);
        let described = description::rewrite_sdp(&mut call, message, from, &mut edits);
        let (flow, server, mut bytes) = (call.flow[to], call.server, Vec::new());
        edits.apply(message, &mut bytes);
        match (first && to == Leg::Caller, server) {
            (true, Some(server)) => self.transactions.respond(server, StatusCode::OK, &bytes, now),
            // It can be repeated no more.
            (true, None) => {}
            (false, _) => self.transmit(flow, &bytes),
        }
        if !first && self.accepted_meanwhile(&mut call, message, described, from, now) {
            return self.hang_up(call, EndReason::Media, now);
        }
        self.keep(call);
    }

    /// A 2xx of `from` to an INVITE inside the call is in force, unless another one has been passed on since. Whether
    /// what it describes is an answer is not known. True: what it describes is refused.
    fn accepted_meanwhile(
        &mut self,
        call: &mut Call,
        message: &Message<'_>,
        described: Option<Described>,
        from: Leg,
        now: Instant,
    ) -> bool {
        let (to, number) = (from.other(), message.cseq().map_or(0, |cseq| cseq.number));
        let number = number.saturating_sub(call.party[from].shift);
        if call.last_invite[to].number != 0 || ![0, number].contains(&call.last_invite[from].number) {
            return false;
        }
        call.session.timer = message.session_expires().map(|interval| (interval, now + interval));
        call.refresh_target(from, message);
        self.changed(call.id);
        let Some(described) = described else { return false };
        call.media.talk[from] = described.talk;
        // What was said to it is lost, and cannot be more than this.
        call.media.talk[to] = Talk { speaks: described.talk.hears, hears: described.talk.speaks };
        call.media.answer_due = Some((to, number));
        self.plan(call, from, described.plan);
        self.plan_video(call, from, described.video);
        self.settle_video(call);
        self.warn_late(call, now);
        described.refused
    }
}
