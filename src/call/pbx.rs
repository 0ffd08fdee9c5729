//! Does the PBX answer? A call finds out that it does not, or a question that is asked regularly; from then on it is
//! asked until it says anything.

use std::time::Instant;

use super::settings::Side;
use super::switchboard::Switchboard;
use crate::sip::flow::Hop;
use crate::trunk::Health;

impl Switchboard {
    /// The PBX is believed to answer.
    #[must_use]
    pub fn pbx_answers(&self) -> bool {
        self.trunks.pbx.as_ref().is_none_or(|(_, health)| !health.is_down())
    }

    /// As the settings have it now. One that is elsewhere is another.
    pub(super) fn set_pbx(&mut self, now: Instant) {
        let (hop, every) = (self.settings.pbx, self.settings.pbx_keep_alive);
        match &mut self.trunks.pbx {
            Some((at, health)) if *at == hop => health.set_every(every, now),
            pbx => {
                *pbx = Some((hop, Health::new(every, now)));
                self.pbx_is_silent = false;
            }
        }
    }

    /// Asks it, if that is due.
    pub(super) fn pbx_due(&mut self, now: Instant) {
        let Some((hop, health)) = &mut self.trunks.pbx else { return };
        if health.due(now) {
            let hop = *hop;
            self.probe(None, (Side::Inside, hop), &hop.address.to_string(), now);
        }
    }

    /// Whoever was called or asked there said nothing.
    pub(super) fn pbx_silent(&mut self, hop: Hop, now: Instant) {
        let trunks = &mut self.trunks;
        if let Some((_, health)) = trunks.pbx.as_mut().filter(|(at, _)| *at == hop) {
            health.silent(&mut trunks.dice, now);
        }
    }

    /// Something has come from it. A question that it has answered is asked again in time.
    pub(super) fn pbx_spoke(&mut self, asked: bool, now: Instant) {
        self.pbx_is_silent = false;
        if let Some((_, health)) = self.trunks.pbx.as_mut().filter(|(_, health)| asked || health.is_down()) {
            health.answered(now);
        }
    }
}
