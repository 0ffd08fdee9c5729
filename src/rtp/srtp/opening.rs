//! What comes from a peer (RFC 3711 §3.3, §3.4).

use super::keys::RTCP_TAG;
use super::sources::{Sources, Stand};
use super::window::Window;
use super::{ENCRYPTED, INDEX, MasterKey, RTCP_HEADER, SessionKeys, Suite};
use crate::rtp::packet::header_length;

/// Why a datagram does not open.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BadSrtp {
    /// Too short for what it claims to be.
    Malformed,
    /// Its tag is not that of our key: a wrong key, a stranger, or plain RTP.
    Forged,
    /// It has come before, or is too old to tell.
    Repeated,
}

/// Keys and counts of what one peer sends.
#[derive(Debug)]
pub struct Opening {
    suite: Suite,
    rtp: SessionKeys,
    rtcp: SessionKeys,
    /// How often the numbers of a new source have come round already.
    begins: u32,
    /// Or this often: keys change, and the count goes on (RFC 3711 §3.3.1).
    or_begins: Option<u32>,
    sources: Sources,
    reports: Option<Window>,
}

impl Opening {
    /// Nothing has come. `rollovers`: where another process was with this key.
    #[must_use]
    pub fn new(suite: Suite, key: &MasterKey, rollovers: u32) -> Self {
        let (rtp, rtcp) = (SessionKeys::rtp(key), SessionKeys::rtcp(key));
        Self { suite, rtp, rtcp, begins: rollovers, or_begins: None, sources: Sources::default(), reports: None }
    }

    /// The numbers may have come round this often too, under the key before.
    #[must_use]
    pub fn or_from(self, rollovers: u32) -> Self {
        Self { or_begins: Some(rollovers).filter(|rollovers| *rollovers != self.begins), ..self }
    }

    /// Another process has heard these sources with this key.
    #[must_use]
    pub fn left_at(self, stands: &[Stand]) -> Self {
        Self { sources: Sources::left_at(stands), ..self }
    }

    /// Opens an RTP packet in place; its length without the tag. Only what opens moves the counts.
    pub fn rtp(&mut self, packet: &mut [u8]) -> Result<usize, BadSrtp> {
        let length = packet.len().checked_sub(self.suite.tag()).ok_or(BadSrtp::Malformed)?;
        let (packet, tag) = packet.split_at_mut(length);
        let start = header_length(packet).ok_or(BadSrtp::Malformed)?;
        let &[_, _, s0, s1, _, _, _, _, r0, r1, r2, r3] = packet.first_chunk().ok_or(BadSrtp::Malformed)?;
        let (sequence, ssrc) = (u16::from_be_bytes([s0, s1]), u32::from_be_bytes([r0, r1, r2, r3]));
        let known = self.sources.get(ssrc);
        let likely = known.map(|window| window.index(sequence));
        if known.zip(likely).is_some_and(|(window, index)| !window.is_new(index)) {
            return Err(BadSrtp::Repeated);
        }
        let settled = known.is_some_and(|window| !window.is_left());
        let or_else = || {
            [Some(self.begins), self.or_begins].into_iter().flatten().filter(|_| !settled).find_map(|rollovers| {
                let first = u64::from(rollovers) << 16 | u64::from(sequence);
                // A source whose first packets were lost may have turned already.
                self.verified(packet, tag, first).or_else(|| self.verified(packet, tag, first + (1 << 16)))
            })
        };
        let index = likely.and_then(|index| self.verified(packet, tag, index)).or_else(or_else);
        let index = index.ok_or(BadSrtp::Forged)?;
        self.rtp.apply(ssrc, index, packet.get_mut(start..).unwrap_or_default());
        self.sources.mark(ssrc, index);
        if known.is_none() {
            // A source that comes later begins to count anew.
            (self.begins, self.or_begins) = (0, None);
        }
        Ok(length)
    }

    /// `index`, if the packet's tag says that it has that one.
    fn verified(&self, packet: &[u8], tag: &[u8], index: u64) -> Option<u64> {
        let rollovers = ((index >> 16) as u32).to_be_bytes();
        self.rtp.verifies(packet, &rollovers, tag).then_some(index)
    }

    /// Opens an RTCP packet in place; its length without index and tag.
    pub fn rtcp(&mut self, packet: &mut [u8]) -> Result<usize, BadSrtp> {
        let signed = packet.len().checked_sub(RTCP_TAG).ok_or(BadSrtp::Malformed)?;
        let length = signed.checked_sub(INDEX).filter(|&length| length >= RTCP_HEADER).ok_or(BadSrtp::Malformed)?;
        let (signed, tag) = packet.split_at_mut(signed);
        let word = signed.last_chunk().map(|word| u32::from_be_bytes(*word)).ok_or(BadSrtp::Malformed)?;
        let index = u64::from(word & !ENCRYPTED);
        if self.reports.is_some_and(|window| !window.is_new(index)) {
            return Err(BadSrtp::Repeated);
        }
        if !self.rtcp.verifies(signed, &[], tag) {
            return Err(BadSrtp::Forged);
        }
        if word & ENCRYPTED != 0
            && let Some((header, rest)) = signed.get_mut(..length).and_then(|it| it.split_at_mut_checked(RTCP_HEADER))
        {
            let ssrc = header.last_chunk().map_or(0, |ssrc| u32::from_be_bytes(*ssrc));
            self.rtcp.apply(ssrc, index, rest);
        }
        self.reports.get_or_insert(Window::at(index)).mark(index);
        Ok(length)
    }

    /// How often the numbers of the source that was used last have come round.
    #[must_use]
    pub fn rollovers(&self) -> u32 {
        self.sources.rollovers().unwrap_or(self.or_begins.unwrap_or(self.begins))
    }

    /// How far each source has come.
    #[must_use]
    pub fn stands(&self) -> Vec<Stand> {
        self.sources.stands()
    }
}
