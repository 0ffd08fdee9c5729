//! What a shard tells others that is not urgent, in batches: to wake a thread for each event would cost a call more
//! than the event does.
//!
//! In: events, one by one. Out: batches of them. Bounded: where nobody takes them, events are lost and counted.

use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, TrySendError};

/// So many events leave together, before they have waited for [`LONGEST`].
const BATCH: usize = 64;
/// No event waits for longer than this.
const LONGEST: Duration = Duration::from_millis(20);
/// Events that may wait here for room in the channel.
const WAITING: usize = 4_096;

/// One way out.
pub(crate) struct Outlet<T> {
    out: Sender<Vec<T>>,
    waiting: Vec<T>,
    due: Option<Instant>,
    lost: u64,
}

impl<T> Outlet<T> {
    pub(crate) fn new(out: Sender<Vec<T>>) -> Self {
        Self { out, waiting: Vec::with_capacity(BATCH), due: None, lost: 0 }
    }

    /// Takes one; it leaves with the next [`Outlet::flush`] that is due.
    pub(crate) fn put(&mut self, event: T, now: Instant) {
        if self.waiting.len() >= WAITING {
            self.lost += 1;
            return;
        }
        self.waiting.push(event);
        self.due.get_or_insert(now + LONGEST);
    }

    /// When [`Outlet::flush`] has something to do.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }

    /// Lets go what has waited long enough, or is enough.
    pub(crate) fn flush(&mut self, now: Instant) {
        if self.waiting.len() >= BATCH || self.due.is_some_and(|due| due <= now) {
            self.let_go(now);
        }
    }

    /// Lets go everything.
    pub(crate) fn let_go(&mut self, now: Instant) {
        self.due = None;
        if self.waiting.is_empty() {
            return;
        }
        let batch = std::mem::replace(&mut self.waiting, Vec::with_capacity(BATCH));
        match self.out.try_send(batch) {
            Ok(()) => {}
            Err(TrySendError::Full(batch)) => {
                self.waiting = batch;
                self.due = Some(now + LONGEST);
            }
            Err(TrySendError::Disconnected(batch)) => self.lost += batch.len() as u64,
        }
    }

    /// Lost so far.
    pub(crate) fn lost(&self) -> u64 {
        self.lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::clock;

    #[test]
    fn events_leave_together_when_they_are_many_or_old() {
        let (out, batches) = crossbeam_channel::bounded(4);
        let mut outlet = Outlet::new(out);
        let now = clock::now();

        outlet.put(0, now);
        outlet.flush(now);
        assert!(batches.is_empty());
        assert_eq!(outlet.poll_timeout(), Some(now + LONGEST));
        outlet.flush(now + LONGEST);
        assert_eq!(batches.try_recv(), Ok(vec![0]));
        assert_eq!(outlet.poll_timeout(), None);

        for event in 0..BATCH {
            outlet.put(event, now);
        }
        outlet.flush(now);
        assert_eq!(batches.try_recv().map(|batch| batch.len()), Ok(BATCH));
    }

    #[test]
    fn what_nobody_takes_waits_and_is_then_lost() {
        let (out, batches) = crossbeam_channel::bounded(1);
        let mut outlet = Outlet::new(out);
        let now = clock::now();

        for event in 0..BATCH + WAITING + 7 {
            outlet.put(event, now);
            outlet.flush(now);
        }

        assert_eq!(outlet.lost(), 7);
        assert_eq!(batches.recv().map(|batch| batch.len()), Ok(BATCH));
        outlet.let_go(now);
        assert_eq!(batches.recv().map(|batch| batch.len()), Ok(WAITING));
    }
}
