//! How long packets wait for one another.

use std::time::{Duration, Instant};

use crate::rtp::outgoing::PACKET_TIME;

/// Packets of many calls share a wake-up: rounds are kept so far apart that about this many come in one. More would
/// save little, as a wake-up costs what two packets do.
const SHARED: u32 = 25;

/// Rounds are kept apart by this at most. Where not even two packets come within it, each goes on at once.
const LONGEST_GAP: Duration = Duration::from_micros(600);

/// How far rounds are kept apart, by how many datagrams came in the last [`PACKET_TIME`].
pub(super) struct Pace {
    since: Instant,
    datagrams: u32,
    gap: Duration,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Self { since: now, datagrams: 0, gap: Duration::ZERO }
    }

    /// Another round with so many sockets to read. From its beginning to that of the next.
    pub(super) fn gap(&mut self, ready: usize, now: Instant) -> Duration {
        self.datagrams = self.datagrams.saturating_add(u32::try_from(ready).unwrap_or(u32::MAX));
        let time = now.saturating_duration_since(self.since);
        if time >= PACKET_TIME {
            let each = time / self.datagrams.max(1);
            self.gap = if each * 2 <= LONGEST_GAP { LONGEST_GAP.min(each * SHARED) } else { Duration::ZERO };
            (self.since, self.datagrams) = (now, 0);
        }
        self.gap
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::clock;

    /// The gap after a tenth of a second with so many packets a second, evenly.
    fn gap(rate: u32) -> Duration {
        let start = clock::now();
        let mut pace = Pace::new(start);
        let times = (1..=rate / 10).map(|n| Duration::from_secs(1) / rate * n);
        times.fold(Duration::ZERO, |_, at| pace.gap(1, start + at))
    }

    #[test]
    fn packets_wait_for_one_another_only_where_many_come_and_never_for_long() {
        assert_eq!(gap(500), Duration::ZERO, "five calls");
        assert_eq!(gap(10_000), LONGEST_GAP, "a hundred");
        let busy = gap(80_000);
        assert!(busy < LONGEST_GAP * 2 / 3 && busy > LONGEST_GAP / 3, "eight hundred: {busy:?}");
    }
}
