//! The table of calls: their names, their room, their deadlines.

use std::sync::Arc;
use std::time::Instant;

use super::settings::Side;
use super::state::Call;
use super::switchboard::Switchboard;
use crate::sip::transaction::{Claim, ClientId, T1X64};
use crate::sip::wire::Message;
use crate::units::CallId;

/// A trunk may have so many times as many calls as there is room left: one that floods leaves a fifth to the others and
/// to the PBX.
const TRUNK_SHARE: usize = 4;

/// So many emergency calls of the PBX find room where there is none for any other call. Their sockets are kept free
/// where the calls' number is limited by those.
pub const EMERGENCIES: usize = 8;

/// Transactions outlive short calls by half a minute, two on the side that calls and ends: so many for each call that
/// may run, or calls of a few seconds would meet this limit before any other.
pub(super) const TRANSACTIONS_A_CALL: usize = 20;

impl Switchboard {
    /// Takes a call out of its table to change it; [`Switchboard::keep`] or [`Switchboard::forget`] follows.
    pub(super) fn take(&mut self, id: CallId) -> Option<Box<Call>> {
        self.calls.remove(&id)
    }

    /// The call that a message from `side` is inside of.
    pub(super) fn inside(&self, message: &Message<'_>, side: Side) -> Option<CallId> {
        let id = *self.by_call_id.get(message.call_id())?;
        let call = self.calls.get(&id)?;
        call.is_party(call.leg_of(side), message).then_some(id)
    }

    pub(super) fn take_by_call_id(&mut self, call_id: &str) -> Option<Box<Call>> {
        let id = *self.by_call_id.get(call_id)?;
        self.take(id)
    }

    /// The call that waits for what comes of this INVITE.
    pub(super) fn take_by_client(&mut self, client: ClientId) -> Option<Box<Call>> {
        let id = *self.clients.get(&client)?;
        self.take(id)
    }

    /// Puts a call back, with its next deadline.
    pub(super) fn keep(&mut self, mut call: Box<Call>) {
        let due = call.deadline();
        if due != call.due {
            self.deadlines.extend(due.map(|at| (at, call.id)));
            if let Some(at) = std::mem::replace(&mut call.due, due) {
                self.deadlines.remove(&(at, call.id));
            }
        }
        self.calls.insert(call.id, call);
    }

    /// The names of a call that has come.
    pub(super) fn enter(&mut self, call: &Call) {
        self.by_call_id.insert(Arc::clone(&call.call_id), call.id);
        if let Some(trunk) = &call.facts.trunk {
            *self.calls_of_trunk.entry(Arc::clone(trunk)).or_default() += 1;
        }
    }

    /// Is a new call of this trunk, or of the PBX, taken? An emergency call is until the last calls are being ended:
    /// behind that, the PBX should rather hear at once that there is another way to try.
    pub(super) fn takes(&self, trunk: Option<&Arc<str>>, emergency: bool) -> bool {
        if emergency {
            return !self.ending && self.calls.len() + self.videos < self.settings.max_calls + EMERGENCIES;
        }
        !self.draining && self.has_room(trunk)
    }

    /// Is there room for a call of this trunk?
    fn has_room(&self, trunk: Option<&Arc<str>>) -> bool {
        let room = self.settings.max_calls.saturating_sub(self.calls.len() + self.videos);
        let held = trunk.and_then(|trunk| self.calls_of_trunk.get(trunk)).copied().unwrap_or(0);
        room > 0 && (held == 0 || held < TRUNK_SHARE * room)
    }

    /// An end of a call that asks for what it likes takes no room from others, nor from the other end.
    pub(super) fn claim_of(&mut self, id: CallId, side: Side, now: Instant) -> Claim {
        let Some(leg) = self.calls.get(&id).map(|call| call.leg_of(side)) else { return Claim::OfCall };
        let mut asked = self.asked.remove(&id).unwrap_or_default();
        let (since, count) =
            asked[leg].filter(|(since, _)| now.saturating_duration_since(*since) < T1X64).unwrap_or((now, 0));
        asked[leg] = Some((since, count.saturating_add(1)));
        self.asked.insert(id, asked);
        if count < TRANSACTIONS_A_CALL { Claim::OfCall } else { Claim::OfBusyCall }
    }

    /// The call is over: its names go. An INVITE of its that may still be answered stays.
    pub(super) fn forget(&mut self, call: &Call) {
        self.by_call_id.remove(&call.call_id);
        self.asked.remove(&call.id);
        if let Some(at) = call.due {
            self.deadlines.remove(&(at, call.id));
        }
        if let Some(held) = call.facts.trunk.as_ref().and_then(|trunk| self.calls_of_trunk.get_mut(trunk)) {
            *held = held.saturating_sub(1);
        }
        if let Some(server) = call.server {
            self.by_server.remove(&server);
        }
        if let Some(client) = call.client
            && self.clients.remove(&client).is_some()
            && call.answered.is_some()
        {
            // Another fork may still answer (RFC 3261 §13.2.2.4).
            self.orphans.insert(client, Box::new(call.orphan()));
        }
    }

    /// Our To tag of a call that we answer ourselves: nobody can guess it.
    pub(super) fn own_tag(&self, id: CallId) -> String {
        use std::hash::Hasher as _;

        let mut hasher = siphasher::sip::SipHasher24::new_with_key(&self.secret);
        hasher.write_u64(id.0);
        format!("rf{:016x}", hasher.finish())
    }
}

/// Names for calls, which differ between shards and runs: the shard, the second in which the process began, a counter.
#[derive(Debug)]
pub(super) struct CallIds {
    shard: u8,
    /// Since 1970.
    second: u32,
    counter: u32,
}

/// As far as the counter goes.
const MOST_IDS: u32 = 0x00FF_FFFF;

impl CallIds {
    pub(super) fn new(shard: u8, started: u32) -> Self {
        Self { shard, second: started, counter: 0 }
    }

    pub(super) fn next(&mut self) -> CallId {
        if self.counter == MOST_IDS {
            // The ids of this second are used up; those of the next are long past, and no process began in them.
            (self.counter, self.second) = (0, self.second.wrapping_add(1));
        }
        self.counter += 1;
        CallId(self.prefix() << 24 | u64::from(self.counter))
    }

    /// No call of ours gets this name. The other process may have been started within the same second.
    pub(super) fn pass_over(&mut self, call: CallId) {
        if call.0 >> 24 == self.prefix() {
            self.counter = self.counter.max(call.0 as u32 & MOST_IDS);
        }
    }

    /// All of an id but its counter.
    fn prefix(&self) -> u64 {
        u64::from(self.shard & 0x7F) << 32 | u64::from(self.second)
    }
}
