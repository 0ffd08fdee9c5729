//! What goes to a peer (RFC 3711 §3.3, §3.4).

use super::keys::RTCP_TAG;
use super::sources::{Sources, Stand};
use super::{ENCRYPTED, INDEX, MasterKey, RTCP_HEADER, SessionKeys, Suite};
use crate::rtp::packet::header_length;

/// Keys and counts of what one peer is sent.
#[derive(Debug)]
pub struct Sealing {
    suite: Suite,
    rtp: SessionKeys,
    rtcp: SessionKeys,
    /// How often the numbers of the first source have come round, where no more is known.
    begins: u32,
    sources: Sources,
    /// Index of the next report; None: where another process was is not known, and no index may be used twice.
    report: Option<u32>,
}

impl Sealing {
    /// Nothing has gone. `rollovers`: where another process was with this key.
    #[must_use]
    pub fn new(suite: Suite, key: &MasterKey, rollovers: u32) -> Self {
        let (rtp, rtcp) = (SessionKeys::rtp(key), SessionKeys::rtcp(key));
        Self { suite, rtp, rtcp, begins: rollovers, sources: Sources::default(), report: Some(0) }
    }

    /// Goes on in this suite.
    #[must_use]
    pub(crate) fn in_suite(self, suite: Suite) -> Self {
        Self { suite, ..self }
    }

    /// Another process has sent so much with this key: these sources go on where they were, and others begin anew, as
    /// the peer counts them.
    #[must_use]
    pub fn left_at(self, stands: &[Stand]) -> Self {
        let begins = if stands.is_empty() { self.begins } else { 0 };
        Self { begins, sources: Sources::left_at(stands), ..self }
    }

    /// Another process has sent reports with this key: there are none from here on.
    pub(crate) fn without_reports(&mut self) {
        self.report = None;
    }

    /// Seals the RTP packet of `length` in `buffer`; its length with the tag. None: it is no RTP, has no room, or its
    /// number has been sealed before: a second one under the same keystream would uncover both (RFC 3711 §9.1).
    pub fn rtp(&mut self, buffer: &mut [u8], length: usize) -> Option<usize> {
        let sealed = length.checked_add(self.suite.tag())?;
        let (packet, tag) = buffer.get_mut(..sealed)?.split_at_mut(length);
        let start = header_length(packet)?;
        let &[_, _, s0, s1, _, _, _, _, r0, r1, r2, r3] = packet.first_chunk()?;
        let (sequence, ssrc) = (u16::from_be_bytes([s0, s1]), u32::from_be_bytes([r0, r1, r2, r3]));
        let index = match self.sources.get(ssrc) {
            Some(window) => Some(window.index(sequence)).filter(|&index| window.is_new(index))?,
            None => u64::from(std::mem::take(&mut self.begins)) << 16 | u64::from(sequence),
        };
        self.sources.mark(ssrc, index);
        self.rtp.apply(ssrc, index, packet.get_mut(start..)?);
        let full = self.rtp.tag(packet, &((index >> 16) as u32).to_be_bytes());
        for (to, from) in tag.iter_mut().zip(full) {
            *to = from;
        }
        Some(sealed)
    }

    /// Seals the RTCP packet of `length` in `buffer`; its length with index and tag.
    pub fn rtcp(&mut self, buffer: &mut [u8], length: usize) -> Option<usize> {
        let index = self.report?;
        let sealed = length.checked_add(INDEX + RTCP_TAG)?;
        let (signed, tag) = buffer.get_mut(..sealed)?.split_at_mut(length + INDEX);
        let (header, rest) = signed.split_at_mut_checked(RTCP_HEADER)?;
        let ssrc = header.last_chunk().map_or(0, |ssrc| u32::from_be_bytes(*ssrc));
        let (content, word) = rest.split_at_mut_checked(length.checked_sub(RTCP_HEADER)?)?;
        self.rtcp.apply(ssrc, u64::from(index), content);
        word.copy_from_slice(&(index | ENCRYPTED).to_be_bytes());
        for (to, from) in tag.iter_mut().zip(self.rtcp.tag(signed, &[])) {
            *to = from;
        }
        // 2^31 reports are sixty years of one a second.
        self.report = index.checked_add(1).filter(|&next| next < ENCRYPTED);
        Some(sealed)
    }

    /// How often the numbers of the source that was used last have come round.
    #[must_use]
    pub fn rollovers(&self) -> u32 {
        self.sources.rollovers().unwrap_or(self.begins)
    }

    /// How far each source has come.
    #[must_use]
    pub fn stands(&self) -> Vec<Stand> {
        self.sources.stands()
    }
}
