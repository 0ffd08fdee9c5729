//! Sockets for calls: those that lie ready, those that have rested, new ones.

use std::time::Instant;

use super::super::call::{self, MediaCall, Place, Sockets};
use super::super::stock::Set;
use super::{Parts, Worker, emit};
use crate::rtp::control::MediaEvent;
use crate::units::{CallId, Leg, PerLeg};

/// Sets opened ahead of calls in one round.
const NEW_SETS: usize = 4;

impl Worker {
    pub(super) fn open(&mut self, id: CallId, place: Place, now: Instant) {
        if self.slots.contains_key(&id) {
            return;
        }
        if id.of_video().is_some() && place.ports.is_none() && !self.has_room_for_video() {
            return emit(&mut self.backlog, &mut self.counts, id, MediaEvent::Failed);
        }
        let kept = match place.ports {
            Some(ports) => {
                // Those of a set without a call are to be had again.
                if let Some(slot) = self.stock.holder(ports) {
                    self.discard(slot, now);
                }
                None
            }
            None => self.stock.ready(place.local, now).and_then(|slot| Some((slot, self.stock.remove(slot)?))),
        };
        let kept = kept.or_else(|| self.open_new(place, now)).or_else(|| {
            let slot = place.ports.is_none().then(|| self.stock.disturbed(place.local, now))??;
            Some((slot, self.stock.remove(slot)?))
        });
        let event = match kept {
            Some((slot, sockets)) => {
                let ports = PerLeg::from_fn(|leg| sockets[leg].address);
                // What a call waits for is to lie ready for the next one; pictures are rare, and wait.
                let waited = place.ports.is_none() && id.of_video().is_none();
                self.begin(id, slot, sockets, waited, now);
                MediaEvent::Opened { ports }
            }
            None => MediaEvent::Failed,
        };
        emit(&mut self.backlog, &mut self.counts, id, event);
    }

    /// A call begins with a set from the shelf.
    pub(super) fn begin_with(&mut self, id: CallId, set: Set, now: Instant) {
        match self.stock.remove(set.slot) {
            Some(sockets) => self.begin(id, set.slot, sockets, false, now),
            None => emit(&mut self.backlog, &mut self.counts, id, MediaEvent::Failed),
        }
    }

    fn begin(&mut self, id: CallId, slot: usize, mut sockets: PerLeg<Sockets>, waited: bool, now: Instant) {
        Leg::BOTH.iter().for_each(|leg| sockets[*leg].round = None);
        self.stock.begins(PerLeg::from_fn(|leg| sockets[leg].address.ip()), waited, now);
        self.filling = true;
        if let Some(entry) = self.calls.get_mut(slot) {
            *entry = Some(Box::new(MediaCall::new(id, sockets, now)));
            self.slots.insert(id, slot);
            self.videos += usize::from(id.of_video().is_some());
        }
    }

    /// Sockets that have not been open. None: neither ports nor files are left.
    pub(super) fn open_new(&mut self, place: Place, now: Instant) -> Option<(usize, PerLeg<Sockets>)> {
        if self.is_full()
            && let Some(slot) = self.stock.oldest()
        {
            self.discard(slot, now);
        }
        let slot = self.free_slots.pop().unwrap_or_else(|| {
            self.calls.push(None);
            self.calls.len() - 1
        });
        loop {
            let Parts { poll, ports, .. } = &mut self.parts;
            if let Some(sockets) = call::open(place, slot, poll, ports, &mut self.counts.ports_taken, now) {
                return Some((slot, sockets));
            }
            // Sets at other addresses have ports and files that these can use.
            let Some(spare) = self.stock.spare(place.local, now) else { break };
            self.discard(spare, now);
        }
        self.free_slots.push(slot);
        None
    }

    /// Pictures stand back behind talks: the last quarter of all sets is for calls, and what rests is not there.
    fn has_room_for_video(&self) -> bool {
        let most = self.parts.sets.min(self.pairs / 2);
        let resting = self.stock.resting() + self.parts.ports.resting() / 2;
        (self.slots.len() + resting) * 4 < most * 3
    }

    pub(super) fn is_full(&self) -> bool {
        self.slots.len() + self.stock.len() >= self.parts.sets
    }

    /// Puts sets on the shelf: what has rested, and a few new ones at a time.
    pub(super) fn fill(&mut self, now: Instant) {
        for _ in 0..NEW_SETS {
            let Some(local) = self.stock.fill(now) else {
                self.filling = false;
                return;
            };
            // Ports that rest are left to calls that have none.
            let room = !self.is_full() && self.parts.ports.free() >= 2;
            let place = Place { local, ports: None, dscp: self.parts.dscp };
            let opened = if room { self.open_new(place, now) } else { None };
            let Some((slot, sockets)) = opened else {
                // Until something has rested.
                self.filling = false;
                return;
            };
            self.stock.shelve_new(slot, sockets, now);
        }
    }

    /// Closes a set without a call.
    pub(super) fn discard(&mut self, slot: usize, now: Instant) {
        let quiet = self.stock.is_quiet(slot, now);
        if let Some(sockets) = self.stock.remove(slot) {
            self.close_sockets(slot, &sockets, quiet, now);
        }
    }

    pub(super) fn close_sockets(&mut self, slot: usize, sockets: &PerLeg<Sockets>, rested: bool, now: Instant) {
        for leg in Leg::BOTH {
            let Sockets { rtp, rtcp, address, .. } = &sockets[leg];
            // Closing a socket ends its watch, unless a process that was started meanwhile still holds it.
            self.parts.poll.remove(rtp);
            self.parts.poll.remove(rtcp);
            if rested { self.parts.ports.give(address.port()) } else { self.parts.ports.rest(address.port(), now) }
        }
        self.free_slots.push(slot);
    }
}
