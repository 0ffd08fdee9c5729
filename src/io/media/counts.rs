//! What the media path counted, for metrics.

use crate::rtp::relay::{DropReason, MediaPair};
use crate::units::{Leg, PerLeg};

/// A snapshot. Counters grow for the life of the process; the last four are gauges.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct MediaCounts {
    /// RTP packets of the legs' own sources, by the leg they came from.
    pub packets_in: PerLeg<u64>,
    /// RTP packets sent, by the leg they went to, prompts included.
    pub packets_out: PerLeg<u64>,
    /// RTP packets that never came, by sequence number.
    pub lost: PerLeg<u64>,
    /// Dropped datagrams in the order of [`DropReason::ALL`].
    pub dropped: [u64; DropReason::ALL.len()],
    /// Datagrams longer than 2,048 bytes.
    pub oversized: u64,
    /// Datagrams to ports that have no call now.
    pub no_call: u64,
    /// Datagrams that the system refused to send.
    pub send_failed: u64,
    /// Copies that the ear did not take in time.
    pub tap_lost: u64,
    /// Events that the signalling did not take in time.
    pub events_lost: u64,
    /// Ports that something else had bound.
    pub ports_taken: u64,
    /// Prompts asked for that do not exist, and prompts for a peer that takes no codec of theirs.
    pub prompts_missing: u64,
    /// Calls given up after a fault of ours.
    pub internal: u64,
    /// Calls now.
    pub calls: u64,
    /// Sockets open now.
    pub sockets: u64,
    /// Port pairs that could be had now.
    pub ports_free: u64,
    /// Port pairs that rest after a call.
    pub ports_resting: u64,
}

impl MediaCounts {
    /// Both added up.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        let mut sum = *self;
        sum.oversized += other.oversized;
        sum.no_call += other.no_call;
        sum.send_failed += other.send_failed;
        sum.tap_lost += other.tap_lost;
        sum.events_lost += other.events_lost;
        sum.ports_taken += other.ports_taken;
        sum.prompts_missing += other.prompts_missing;
        sum.internal += other.internal;
        sum.calls += other.calls;
        sum.sockets += other.sockets;
        sum.ports_free += other.ports_free;
        sum.ports_resting += other.ports_resting;
        for (sum, dropped) in sum.dropped.iter_mut().zip(other.dropped) {
            *sum += dropped;
        }
        for leg in Leg::BOTH {
            sum.packets_in[leg] += other.packets_in[leg];
            sum.packets_out[leg] += other.packets_out[leg];
            sum.lost[leg] += other.lost[leg];
        }
        sum
    }

    /// Adds what one call has counted.
    pub(super) fn add_call(&mut self, pair: &MediaPair) {
        let counters = pair.counters();
        for leg in Leg::BOTH {
            self.packets_in[leg] += counters.packets_in[leg];
            self.packets_out[leg] += counters.packets_out[leg];
            self.lost[leg] += pair.reception(leg).lost();
        }
        for (sum, dropped) in self.dropped.iter_mut().zip(counters.dropped) {
            *sum += u64::from(dropped);
        }
    }
}
