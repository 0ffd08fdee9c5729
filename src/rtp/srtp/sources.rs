//! Sources of one peer, and where their numbers are. For another process, to a quarter of a round: one that did not
//! know that the numbers were about to come round would use up a round twice.

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::window::Window;

/// Sources that one peer may have at a time. The one that was used longest ago goes: a talk that the music of each hold
/// interrupts counts on.
const MOST_SOURCES: usize = 4;

/// How far the numbers of a source have come.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Stand {
    /// Whose.
    pub ssrc: u32,
    /// Quarters of rounds that are behind it: four for each time that they came round.
    pub quarter: u64,
}

impl Stand {
    fn of(ssrc: u32, window: &Window) -> Self {
        Self { ssrc, quarter: window.newest() >> 14 }
    }

    /// From the middle of the quarter, what comes next is no half round away: with 50 packets a second, a call may have
    /// stood still for eight minutes.
    fn window(self) -> Window {
        Window::left_at(self.quarter << 14 | 1 << 13)
    }
}

/// By SSRC, the one that was used last at the end.
#[derive(Debug, Default)]
pub(super) struct Sources(SmallVec<[(u32, Window); 1]>);

impl Sources {
    /// As another process has left them.
    pub(super) fn left_at(stands: &[Stand]) -> Self {
        Self(stands.iter().take(MOST_SOURCES).map(|stand| (stand.ssrc, stand.window())).collect())
    }

    pub(super) fn get(&self, ssrc: u32) -> Option<Window> {
        self.0.iter().find(|(known, _)| *known == ssrc).map(|(_, window)| *window)
    }

    /// The packet of `ssrc` with this index has been.
    pub(super) fn mark(&mut self, ssrc: u32, index: u64) {
        let place = self.0.iter().position(|(known, _)| *known == ssrc);
        if let Some(since) = place.and_then(|place| self.0.get_mut(place..)) {
            since.rotate_left(1);
            if let Some((_, window)) = since.last_mut() {
                window.mark(index);
            }
            return;
        }
        if self.0.len() >= MOST_SOURCES {
            self.0.remove(0);
        }
        self.0.push((ssrc, Window::at(index)));
    }

    /// How often the numbers of the one that was used last have come round; None: nothing has been here.
    pub(super) fn rollovers(&self) -> Option<u32> {
        self.0.last().filter(|(_, window)| !window.is_left()).map(|(_, window)| window.rollovers())
    }

    /// In an order of its own, so that only what has changed is another one: who has said most is forgotten last.
    pub(super) fn stands(&self) -> Vec<Stand> {
        let mut stands: Vec<_> = self.0.iter().map(|(ssrc, window)| Stand::of(*ssrc, window)).collect();
        stands.sort_unstable_by_key(|stand| (stand.quarter, stand.ssrc));
        stands
    }
}
