//! Which packets of a source have been: rollover counter and replay window (RFC 3711 §3.3.1, §3.3.2).

/// Packets behind the newest that are still told apart.
const WIDTH: u64 = 128;

/// Packets of one source, by their 48-bit index.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    /// Index of the newest packet.
    newest: u64,
    /// Bit n: `newest - n` has been. None has in this process while it is known from another one alone, roughly.
    seen: u128,
}

impl Window {
    /// Opens at the first packet.
    pub(super) fn at(index: u64) -> Self {
        Self { newest: index, seen: 1 }
    }

    /// Opens at the first packet that comes, which is somewhere near this one.
    pub(super) fn left_at(index: u64) -> Self {
        Self { newest: index, seen: 0 }
    }

    /// Nothing has been in this process.
    pub(super) fn is_left(&self) -> bool {
        self.seen == 0
    }

    /// Index of the newest packet.
    pub(super) fn newest(&self) -> u64 {
        self.newest
    }

    /// How often the sequence number has come round, as far as the newest packet says.
    pub(super) fn rollovers(&self) -> u32 {
        (self.newest >> 16) as u32
    }

    /// The index that a packet with this sequence number most likely has: the one nearest to the newest.
    pub(super) fn index(&self, sequence: u16) -> u64 {
        let roc = u64::from(self.rollovers());
        let newest = self.newest as u16;
        let ahead = sequence.wrapping_sub(newest) as i16;
        let roc = match (ahead >= 0, sequence >= newest) {
            (true, false) => roc + 1,
            (false, true) => roc.saturating_sub(1),
            (true, true) | (false, false) => roc,
        };
        roc << 16 | u64::from(sequence)
    }

    /// Whether a packet may still come.
    pub(super) fn is_new(&self, index: u64) -> bool {
        match self.newest.checked_sub(index) {
            _ if self.is_left() => true,
            None => true,
            Some(behind) => behind < WIDTH && self.seen >> behind & 1 == 0,
        }
    }

    /// It has come.
    pub(super) fn mark(&mut self, index: u64) {
        if self.is_left() {
            *self = Self::at(index);
        }
        match self.newest.checked_sub(index) {
            Some(behind) if behind < WIDTH => self.seen |= 1 << behind,
            Some(_) => {}
            None => {
                let ahead = u32::try_from(index - self.newest).unwrap_or(u32::MAX);
                self.seen = self.seen.checked_shl(ahead).unwrap_or(0) | 1;
                self.newest = index;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_around_the_turn_belong_to_the_right_round() {
        let before = Window::at(0x1_FFF0);
        let after = Window::at(0x2_0005);

        assert_eq!((before.index(0xFFF8), before.index(3), before.index(0xFF00)), (0x1_FFF8, 0x2_0003, 0x1_FF00));
        assert_eq!((after.index(0xFFF8), after.index(3), after.index(9)), (0x1_FFF8, 0x2_0003, 0x2_0009));
        assert_eq!(Window::at(2).index(0xFFFF), 0xFFFF, "nothing lies before the first round");
    }

    #[test]
    fn each_packet_comes_once() {
        let mut window = Window::at(1_000);
        assert!(!window.is_new(1_000) && window.is_new(1_001) && window.is_new(873) && !window.is_new(872));

        window.mark(1_005);
        window.mark(1_002);

        let new: Vec<u64> = (998..1_008).filter(|&index| window.is_new(index)).collect();
        assert_eq!(new, [998, 999, 1_001, 1_003, 1_004, 1_006, 1_007]);
        window.mark(9_000);
        assert!(!window.is_new(1_003) && window.is_new(8_999));
    }
}
