//! What has come and what is missing of one source (RFC 3550 §6.4.1, appendix A.1).

use crate::units::{SequenceNumber, Ssrc};

/// A step this large is a restart of the source, not loss (RFC 3550 A.1, MAX_DROPOUT).
const MAX_DROPOUT: i16 = 3_000;

/// Reception so far. A leg has one; a new source is counted on top of the one before.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Reception {
    source: Option<(Ssrc, SequenceNumber)>,
    expected: u64,
    received: u64,
}

impl Reception {
    /// Counts one packet.
    pub fn count(&mut self, ssrc: Ssrc, sequence: SequenceNumber) {
        self.received += 1;
        let step = match self.source {
            Some((known, newest)) if known == ssrc => sequence.since(newest),
            Some(_) | None => i16::MAX,
        };
        if !(-MAX_DROPOUT..=MAX_DROPOUT).contains(&step) {
            self.expected += 1;
        } else if step > 0 {
            self.expected += u64::from(step.unsigned_abs());
        } else {
            // Older than the newest, or the same again: it was expected before.
            return;
        }
        self.source = Some((ssrc, sequence));
    }

    /// Packets that never came, as far as the numbers tell; duplicates make up for losses, as in a receiver report.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.expected.saturating_sub(self.received)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(packets: &[(u32, u16)]) -> (u64, u64) {
        let mut reception = Reception::default();
        for &(ssrc, sequence) in packets {
            reception.count(Ssrc(ssrc), SequenceNumber(sequence));
        }
        (reception.received, reception.lost())
    }

    #[test]
    fn loss_and_order_across_the_wrap() {
        assert_eq!(counted(&[(1, 65_534), (1, 65_535), (1, 0), (1, 1)]), (4, 0));
        assert_eq!(counted(&[(1, 65_534), (1, 1)]), (2, 2));
        assert_eq!(counted(&[(1, 10), (1, 12), (1, 11), (1, 13)]), (4, 0));
        assert_eq!(counted(&[(1, 10), (1, 10)]), (2, 0));
    }

    #[test]
    fn a_restart_is_not_loss() {
        assert_eq!(counted(&[(1, 10), (1, 20_000), (1, 20_001)]), (3, 0));
        assert_eq!(counted(&[(1, 10), (2, 500), (2, 501)]), (3, 0));
    }
}
