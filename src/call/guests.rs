//! Sources that no setting names and that speak for a trunk or the PBX all the same, as long as a call of theirs runs.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::settings::Side;
use super::state::Call;
use super::switchboard::Switchboard;
use crate::sip::transaction::T1X64;
use crate::units::Leg;

/// How long a source that spoke for a trunk is known behind its last call: so that every answer finds its way.
const LINGERS: Duration = T1X64.saturating_mul(2);

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Guests(HashMap<IpAddr, Guest>);

#[derive(Debug)]
struct Guest {
    side: Side,
    /// Legs of calls with this source.
    legs: usize,
    /// Forgotten then, unless a new call comes.
    until: Option<Instant>,
}

impl Guests {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn side(&self, source: IpAddr) -> Option<Side> {
        self.0.get(&source).map(|guest| guest.side)
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.0.values().filter_map(|guest| guest.until).min()
    }

    /// Forgets those whose calls have been over for a while.
    pub(super) fn expire(&mut self, now: Instant) {
        self.0.retain(|_, guest| guest.until.is_none_or(|until| until > now));
    }

    fn enter(&mut self, source: IpAddr, side: Side) {
        let guest = self.0.entry(source).or_insert(Guest { side, legs: 0, until: None });
        guest.legs += 1;
        guest.until = None;
    }

    fn leave(&mut self, source: IpAddr, now: Instant) {
        if let Some(guest) = self.0.get_mut(&source) {
            guest.legs = guest.legs.saturating_sub(1);
            guest.until = (guest.legs == 0).then(|| now + LINGERS);
        }
    }

    /// The sources of all calls that have such, once for each leg: others have left.
    pub(super) fn recount(&mut self, hosted: impl Iterator<Item = IpAddr>, now: Instant) {
        let mut counts: HashMap<IpAddr, usize> = HashMap::new();
        hosted.for_each(|source| *counts.entry(source).or_default() += 1);
        for (source, guest) in &mut self.0 {
            guest.legs = counts.get(source).copied().unwrap_or(0);
            if guest.legs == 0 {
                guest.until.get_or_insert(now + LINGERS);
            }
        }
    }
}

impl Switchboard {
    /// A leg of a call whose source no setting names (any more) is known as long as the call is.
    pub(super) fn host_guests(&mut self, call: &mut Call) {
        for leg in Leg::BOTH {
            let source = call.flow[leg].peer;
            if !call.guest[leg] && self.settings.side_of(source).is_none() {
                call.guest[leg] = true;
                self.trunks.guests.enter(source.ip(), call.side(leg));
            }
        }
    }

    /// The call is over.
    pub(super) fn part_guests(&mut self, call: &Call, now: Instant) {
        for leg in Leg::BOTH {
            if call.guest[leg] {
                self.trunks.guests.leave(call.flow[leg].peer.ip(), now);
            }
        }
    }
}
