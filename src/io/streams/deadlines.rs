//! When to look at which connection next.

use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

use crate::sip::flow::ConnectionId;

/// One entry a connection. An entry may be early, never late: each message would move an exact one.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    set: BTreeSet<(Instant, ConnectionId)>,
    entries: HashMap<ConnectionId, Instant>,
}

impl Deadlines {
    /// `id` must be looked at by `at`.
    pub(super) fn by(&mut self, id: ConnectionId, at: Instant) {
        match self.entries.get(&id) {
            Some(entry) if *entry <= at => return,
            Some(entry) => {
                self.set.remove(&(*entry, id));
            }
            None => {}
        }
        self.entries.insert(id, at);
        self.set.insert((at, id));
    }

    pub(super) fn forget(&mut self, id: ConnectionId) {
        if let Some(entry) = self.entries.remove(&id) {
            self.set.remove(&(entry, id));
        }
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.set.first().map(|(at, _)| *at)
    }

    /// Takes one that is due.
    pub(super) fn pop(&mut self, now: Instant) -> Option<ConnectionId> {
        let (at, id) = *self.set.first().filter(|(at, _)| *at <= now)?;
        self.set.remove(&(at, id));
        self.entries.remove(&id);
        Some(id)
    }
}
