//! Which port pairs a thread may bind, and which must rest. Those of open sockets are not among them.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Rest of a port whose sockets are closed (those that stay open rest as `stock` says, by what is heard on them). A
/// peer that missed our BYE may go on sending for this long, and its audio must not leak into the next call on that
/// port.
const REST: Duration = Duration::from_secs(30);

/// Rest when no other port is left: longer than packets in flight. The latch keeps strangers out in any case.
const SHORT_REST: Duration = Duration::from_secs(2);

/// Even ports of a range. Bounded by the range.
#[derive(Debug)]
pub(super) struct PortPool {
    free: VecDeque<u16>,
    resting: VecDeque<(u16, Instant)>,
}

impl PortPool {
    /// The range in `shares` parts, as even as can be. Neighbouring pairs go to different threads.
    pub(super) fn divide(first: u16, last: u16, shares: usize) -> Vec<Self> {
        let mut pools: Vec<Self> =
            (0..shares).map(|_| Self { free: VecDeque::new(), resting: VecDeque::new() }).collect();
        let pairs = (first..last).filter(|port| port % 2 == 0 && *port != 0);
        for (n, port) in pairs.enumerate() {
            if let Some(pool) = pools.get_mut(n % shares) {
                pool.free.push_back(port);
            }
        }
        pools
    }

    /// A pair that has rested; the one that rested longest if there is none.
    pub(super) fn take(&mut self, now: Instant) -> Option<u16> {
        let rested = |since: Instant, rest| now.saturating_duration_since(since) >= rest;
        while let Some(&(port, since)) = self.resting.front()
            && rested(since, REST)
        {
            self.resting.pop_front();
            self.free.push_back(port);
        }
        if let Some(port) = self.free.pop_front() {
            return Some(port);
        }
        let &(port, since) = self.resting.front()?;
        if !rested(since, SHORT_REST) {
            return None;
        }
        self.resting.pop_front();
        Some(port)
    }

    /// This pair, for a call that had it before a restart.
    pub(super) fn claim(&mut self, port: u16) {
        self.free.retain(|free| *free != port);
        self.resting.retain(|(resting, _)| *resting != port);
    }

    /// A pair whose call has ended, or that something else has bound.
    pub(super) fn rest(&mut self, port: u16, now: Instant) {
        self.resting.push_back((port, now));
    }

    /// A pair that has rested with its sockets open.
    pub(super) fn give(&mut self, port: u16) {
        self.free.push_back(port);
    }

    /// Pairs that may be taken at once.
    pub(super) fn free(&self) -> usize {
        self.free.len()
    }

    /// Pairs that rest.
    pub(super) fn resting(&self) -> usize {
        self.resting.len()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn only_whole_pairs_within_the_range() {
        let mut pools = PortPool::divide(20_001, 20_006, 1);
        let now = crate::io::clock::now();

        let taken: Vec<_> = std::iter::from_fn(|| pools[0].take(now)).collect();
        assert_eq!(taken, [20_002, 20_004]);
        assert_eq!(PortPool::divide(0, 3, 1)[0].free(), 1);
        assert_eq!(PortPool::divide(65_534, 65_535, 1)[0].free(), 1);
        assert_eq!(PortPool::divide(9, 3, 2)[1].free(), 0);
    }

    #[test]
    fn shares_are_disjoint_and_even() {
        let pools = PortPool::divide(20_000, 20_019, 3);

        assert_eq!(pools.iter().map(PortPool::free).collect::<Vec<_>>(), [4, 3, 3]);
    }

    #[test]
    fn a_claimed_pair_is_given_to_nobody_else() {
        let mut pool = PortPool::divide(20_000, 20_003, 1).pop().unwrap();
        let now = crate::io::clock::now();

        pool.claim(20_000);
        pool.claim(30_000);

        assert_eq!((pool.take(now), pool.take(now + REST)), (Some(20_002), None));
    }

    #[test]
    fn a_port_rests_long_and_shorter_only_in_need() {
        let mut pool = PortPool::divide(20_000, 20_003, 1).pop().unwrap();
        let now = crate::io::clock::now();
        assert_eq!(pool.take(now), Some(20_000));
        pool.rest(20_000, now);

        assert_eq!(pool.take(now), Some(20_002));
        assert_eq!(pool.take(now + Duration::from_secs(1)), None);
        assert_eq!(pool.take(now + SHORT_REST), Some(20_000));
        pool.rest(20_002, now);
        pool.rest(20_000, now + Duration::from_secs(10));
        assert_eq!(pool.take(now + REST), Some(20_002), "rested in full");
        assert_eq!((pool.free(), pool.resting()), (0, 1));
    }
}
