//! RTCP as far as a relay needs it: is it well formed, who sends it, what must not be passed on (RFC 3550 §6, A.2).

use crate::units::Ssrc;

/// Packet types 192 to 223 on an RTP port are RTCP (RFC 5761 §4).
const TYPES: std::ops::RangeInclusive<u8> = 192..=223;
// Packet types (RFC 3550 §12.1).
pub(super) const SENDER_REPORT: u8 = 200;
pub(super) const RECEIVER_REPORT: u8 = 201;
pub(super) const BYE: u8 = 203;

/// Packets in a compound that are looked at; real ones hold two or three.
pub(super) const MAX_PACKETS: usize = 16;

/// What a compound packet is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Compound {
    /// Who sends it: the SSRC of its first packet.
    pub sender: Ssrc,
    /// Holds a BYE.
    pub bye: bool,
}

/// Whether a datagram on a port with both is RTCP.
#[must_use]
pub(super) fn is_rtcp(packet: &[u8]) -> bool {
    matches!(packet, [flags, kind, ..] if flags >> 6 == 2 && TYPES.contains(kind))
}

impl Compound {
    /// Reads the headers of one datagram; None if one does not fit. Reduced-size packets (RFC 5506) are read too.
    #[must_use]
    pub(super) fn read(packet: &[u8]) -> Option<Self> {
        let sender = u32::from_be_bytes(*packet.get(4..)?.first_chunk::<4>()?);
        let mut compound = Self { sender: Ssrc(sender), bye: false };
        let mut rest = packet;
        for _ in 0..MAX_PACKETS {
            let &[_, kind, high, low] = rest.first_chunk::<4>()?;
            if !is_rtcp(rest) {
                return None;
            }
            rest = rest.get(4 + usize::from(u16::from_be_bytes([high, low])) * 4..)?;
            compound.bye |= kind == BYE;
            if rest.is_empty() {
                return Some(compound);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(kind: u8, words: u16) -> Vec<u8> {
        let mut out = vec![0x80, kind];
        out.extend(words.to_be_bytes());
        out.extend((0..words).flat_map(|_| [0, 0, 0, 9]));
        out
    }

    #[test]
    fn compounds_are_walked() {
        let report = [packet(200, 6), packet(202, 3)].concat();
        let bye = [packet(201, 1), packet(203, 1)].concat();

        assert_eq!(Compound::read(&report), Some(Compound { sender: Ssrc(9), bye: false }));
        assert_eq!(Compound::read(&bye), Some(Compound { sender: Ssrc(9), bye: true }));
        assert_eq!(Compound::read(&packet(206, 2)), Some(Compound { sender: Ssrc(9), bye: false }));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let whole = [packet(200, 6), packet(202, 3)].concat();
        for end in 0..whole.len() {
            let cut_between = end == packet(200, 6).len();
            assert_eq!(Compound::read(&whole[..end]).is_some(), cut_between, "{end}");
        }
        assert_eq!(Compound::read(&packet(100, 2)), None);
        assert_eq!(Compound::read(&packet(200, 1).repeat(17)), None);
    }

    #[test]
    fn voice_is_not_rtcp() {
        assert!(is_rtcp(&packet(200, 1)));
        assert!(
            !is_rtcp(&[0x80, 0x80, 0, 0]) && !is_rtcp(&[0x80, 8]) && !is_rtcp(&[0x80, 0x80 | 101]) && !is_rtcp(&[])
        );
    }
}
