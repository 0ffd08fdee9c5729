//! One RTP packet, viewed in place and rewritten in place (RFC 3550 §5.1, §5.3.1).

use std::ops::Range;

use crate::units::{RtpTimestamp, SequenceNumber, Ssrc};

/// Fixed part of the header.
pub const HEADER: usize = 12;

/// What relay, tap and counters need of a packet. Every range lies within the packet that it was read from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Header {
    /// 0 to 127.
    pub payload_type: u8,
    /// Start of a talkspurt (RFC 3551 §4.1) or of a key press (RFC 4733 §2.5.1.2).
    pub marker: bool,
    /// Counts packets.
    pub sequence: SequenceNumber,
    /// Reading of the media clock at the first sample.
    pub timestamp: RtpTimestamp,
    /// Who sends.
    pub ssrc: Ssrc,
    /// Where the payload lies: after CSRCs and extension, before padding.
    pub payload: Range<usize>,
}

/// Bytes up to the payload: fixed part, CSRCs and extension. None if it is not RTP version 2 or its lengths do not fit.
pub(super) fn header_length(packet: &[u8]) -> Option<usize> {
    let &[flags, ..] = packet.first_chunk::<HEADER>()?;
    let mut start = HEADER + usize::from(flags & 0x0F) * 4;
    if flags & 0x10 != 0 {
        let &[_, _, high, low] = packet.get(start..)?.first_chunk::<4>()?;
        start += 4 + usize::from(u16::from_be_bytes([high, low])) * 4;
    }
    (flags >> 6 == 2 && start <= packet.len()).then_some(start)
}

impl Header {
    /// Reads the header of one datagram; None if it is not RTP version 2 or its lengths do not fit.
    #[must_use]
    pub fn read(packet: &[u8]) -> Option<Self> {
        let fixed = packet.first_chunk::<HEADER>()?;
        let [flags, kind, s0, s1, t0, t1, t2, t3, r0, r1, r2, r3] = *fixed;
        let start = header_length(packet)?;
        let mut end = packet.len();
        if flags & 0x20 != 0 {
            let padding = usize::from(*packet.last()?);
            // The count includes itself.
            end = end.checked_sub(padding).filter(|_| padding > 0)?;
        }
        if start > end {
            return None;
        }
        Some(Self {
            payload_type: kind & 0x7F,
            marker: kind & 0x80 != 0,
            sequence: SequenceNumber(u16::from_be_bytes([s0, s1])),
            timestamp: RtpTimestamp(u32::from_be_bytes([t0, t1, t2, t3])),
            ssrc: Ssrc(u32::from_be_bytes([r0, r1, r2, r3])),
            payload: start..end,
        })
    }

    /// Sets the marker, here and in the packet that this was read from.
    pub(super) fn mark(&mut self, packet: &mut [u8]) {
        self.marker = true;
        if let Some(kind) = packet.get_mut(1) {
            *kind |= 0x80;
        }
    }

    /// Writes these fields over those of a packet that has been read; the rest of it stays.
    pub fn stamp(&self, packet: &mut [u8]) {
        let Some(fixed) = packet.first_chunk_mut::<HEADER>() else { return };
        let [s0, s1] = self.sequence.0.to_be_bytes();
        let [t0, t1, t2, t3] = self.timestamp.0.to_be_bytes();
        let [r0, r1, r2, r3] = self.ssrc.0.to_be_bytes();
        let kind = self.payload_type | if self.marker { 0x80 } else { 0 };
        *fixed = [fixed[0], kind, s0, s1, t0, t1, t2, t3, r0, r1, r2, r3];
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    const PLAIN: [u8; 16] = [0x80, 0x88, 0x12, 0x34, 0, 0, 0, 160, 0xDE, 0xAD, 0xBE, 0xEF, 1, 2, 3, 4];

    #[test]
    fn plain_packet() {
        let header = Header::read(&PLAIN).unwrap();

        assert_eq!((header.payload_type, header.marker), (8, true));
        assert_eq!((header.sequence.0, header.timestamp.0, header.ssrc.0), (0x1234, 160, 0xDEAD_BEEF));
        assert_eq!(header.payload, 12..16);
    }

    #[test]
    fn sources_extension_and_padding_are_not_payload() {
        let mut packet = vec![0xB2, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9];
        packet.extend([0; 8]); // two CSRCs
        packet.extend([0xBE, 0xDE, 0, 1, 9, 9, 9, 9]); // extension of one word
        packet.extend([7, 7, 7, 0, 2]); // payload, two of padding

        assert_eq!(Header::read(&packet).unwrap().payload, 28..31);
    }

    #[test]
    fn lengths_that_do_not_fit_are_refused() {
        let with = |change: fn(&mut Vec<u8>)| {
            let mut packet = PLAIN.to_vec();
            change(&mut packet);
            Header::read(&packet)
        };
        assert_eq!(with(|p| p.truncate(11)), None);
        assert_eq!(with(|p| p[0] = 0x40), None, "version 1");
        assert_eq!(with(|p| p[0] = 0x82), None, "CSRCs beyond the end");
        assert_eq!(with(|p| p[0] = 0x90), None, "extension beyond the end");
        assert_eq!(with(|p| (p[0], p[15]) = (0xA0, 5)), None, "padding into the header");
        assert_eq!(with(|p| (p[0], p[15]) = (0xA0, 0)), None, "padding of nothing");
        assert_eq!(with(|p| (p[0], p[15]) = (0xA0, 4)).unwrap().payload, 12..12);
        assert_eq!(with(|p| p.truncate(12)).unwrap().payload, 12..12);
    }

    #[test]
    fn every_cut_and_every_first_byte_is_survived() {
        for first in 0..=255 {
            for length in 0..PLAIN.len() {
                let mut packet = PLAIN;
                packet[0] = first;
                if let Some(header) = Header::read(&packet[..length]) {
                    assert!(packet[..length].get(header.payload).is_some());
                }
            }
        }
    }

    #[test]
    fn stamp_changes_only_the_fields() {
        let mut packet = PLAIN;
        let mut header = Header::read(&packet).unwrap();
        (header.sequence, header.marker, header.payload_type) = (SequenceNumber(7), false, 101);

        header.stamp(&mut packet);

        assert_eq!(Header::read(&packet).unwrap(), header);
        assert_eq!((packet[0], &packet[12..]), (0x80, &PLAIN[12..]));
    }
}
