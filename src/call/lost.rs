//! What a panic leaves behind: the call that the step had in hand is gone, and its entries in the tables are still
//! there.
//!
//! They are found by what is missing among the calls, so that steps that go well remember nothing for this. A call that
//! was being set up is answered and cancelled. What a BYE is made of went with the call: it is recalled from the
//! journal, and both ends are hung up once that has answered. Where there is no journal, a call ends for those who
//! talked with its media. What they still send inside it is answered with 481.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::diversion::Diversion;
use super::event::{EndReason, Ending, Event, Happened};
use super::input::Output;
use super::orphan::Orphan;
use super::snapshot::{Entry, Snapshot};
use super::switchboard::Switchboard;
use crate::rtp::control::MediaCommand;
use crate::sip::transaction::ClientId;
use crate::sip::wire::StatusCode;
use crate::units::{CallId, Leg};

/// Requests that may have gone to an end since its call was last kept: the BYE is numbered behind them (RFC 3261
/// §12.2.1.1 lets numbers be left out).
const UNKEPT: u32 = 16;

impl Switchboard {
    /// To be called after a step that panicked: ends the call that it had in hand. Gives the calls that are lost.
    pub fn recover(&mut self, now: Instant) -> Vec<CallId> {
        let calls = &self.calls;
        let mut lost = Vec::new();
        self.by_call_id.retain(|_, id| {
            let runs = calls.contains_key(id);
            lost.extend((!runs).then_some(*id));
            runs
        });
        self.deadlines.retain(|(_, id)| calls.contains_key(id));
        for id in &lost {
            self.asked.remove(id);
        }
        self.calls_of_trunk.clear();
        for trunk in calls.values().filter_map(|call| call.facts.trunk.as_ref()) {
            *self.calls_of_trunk.entry(Arc::clone(trunk)).or_default() += 1;
        }
        let videos = calls.values().filter(|call| call.video.as_ref().is_some_and(|video| video.has_asked())).count();
        let had_video = std::mem::replace(&mut self.videos, videos) > videos;
        let hosted = calls
            .values()
            .flat_map(|call| Leg::BOTH.into_iter().filter(|leg| call.guest[*leg]).map(|leg| call.flow[leg].peer.ip()));
        self.trunks.guests.recount(hosted, now);

        // The request that was being read, and the INVITEs of lost calls. Those that have their answer keep it.
        let answered: Vec<_> =
            self.by_server.extract(|id| lost.contains(id)).into_iter().map(|(server, _)| server).collect();
        let read = self.in_hand.take().filter(|server| !self.by_server.contains_key(server));
        for server in answered.into_iter().chain(read) {
            self.transactions.respond_from_request(server, StatusCode::SERVER_ERROR, now);
        }
        let invited: Vec<_> =
            self.clients.extract(|id| lost.contains(id)).into_iter().map(|(client, _)| client).collect();
        for client in invited {
            self.cancel_lost(client, now);
        }
        for &call in &lost {
            self.out(Output::Media(MediaCommand::Close { call }));
            if had_video {
                self.out(Output::Media(MediaCommand::Close { call: call.video() }));
            }
            if self.journals {
                self.out(Output::Recall(call));
                self.out(Output::Journal(Entry::Over(call)));
            }
            let ending = Ending { by: None, how: EndReason::Internal, status: None, talked: None };
            self.out(Output::Happened(Happened { call, at: now, event: Event::Ended { ending } }));
        }
        self.drain_transactions(now);
        self.journal(now);
        lost
    }

    /// Both ends of a lost call, as it was kept.
    pub(super) fn end_lost(&mut self, mut snapshot: Snapshot, now: Instant) {
        if self.calls.contains_key(&snapshot.call) || self.by_call_id.contains_key(&snapshot.sip_call_id) {
            return;
        }
        for leg in Leg::BOTH {
            let cseq = &mut snapshot.party[leg].cseq;
            *cseq = cseq.saturating_add(UNKEPT);
        }
        let diverting = snapshot.diversion.take();
        let mut call = self.restored_call(snapshot, Duration::ZERO, now);
        if let Some(diverting) = diverting {
            call.diversion = Some(Diversion::at(diverting, now));
        }
        self.bye_to_both(&call, now);
    }

    /// A callee's INVITE; who answers it all the same is hung up.
    fn cancel_lost(&mut self, client: ClientId, now: Instant) {
        let Some((flow, request)) = self.transactions.sent(client) else { return };
        self.transactions.cancel(client, &[], now);
        let Some(side) = self.side_of(flow.peer) else { return };
        let mut index = self.index.take().unwrap_or_default();
        let invite = index.read(&request, &self.settings.wire_limits).ok();
        let cseq = invite.and_then(|invite| invite.cseq().ok().map(|cseq| cseq.number));
        self.index = Some(index);
        if let Some(highest_cseq) = cseq {
            let local = self.settings.local(side, flow.hop());
            let orphan = Orphan { flow, local, highest_cseq, ended: Vec::new() };
            self.orphans.insert(client, Box::new(orphan));
        }
    }
}
