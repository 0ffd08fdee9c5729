//! Reports about a stream that has held a prompt, in the numbers of the peer that they go to (RFC 3550 §6.4).
//!
//! The two peers of such a call know one stream by different names, numbers and counts: what
//! [`super::outgoing::Outgoing`] has done to packets is done to reports here. Blocks about the prompt itself are about
//! nothing that the other peer has sent, and are left out; so is a BYE, as the stream goes on. Sender's times (NTP,
//! LSR, DLSR) pass as they are.

use super::rtcp::{MAX_PACKETS, RECEIVER_REPORT, SENDER_REPORT, is_rtcp};
use crate::units::{SequenceNumber, Ssrc};

// Packet types (RFC 3550 §12.1, RFC 4585 §6.1).
const DESCRIPTION: u8 = 202;
const APPLICATION: u8 = 204;
const TRANSPORT_FEEDBACK: u8 = 205;
const PAYLOAD_FEEDBACK: u8 = 206;

/// Header and sender of every packet.
const HEAD: usize = 8;
/// What a sender report says of its sender (§6.4.1).
const INFO: usize = 20;
/// A reception report block.
const BLOCK: usize = 24;

/// How the stream of whoever reports is known to whoever reads.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Sender {
    /// Its name there.
    pub known_as: Ssrc,
    /// None: nothing of it arrives there now, so that its clock and counts mean nothing.
    pub moved: Option<Moved>,
}

/// What is added to a sender's numbers.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Moved {
    /// To its RTP timestamps.
    pub timestamp: u32,
    /// To its packets.
    pub packets: u32,
    /// To its octets.
    pub octets: u32,
}

/// How the stream that is reported about is known to whoever reads, who sends it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct About {
    /// Its name where it arrives.
    pub heard_as: Ssrc,
    /// Its own name, what was added to its sequence numbers with their rounds, and the first one that was. None: it
    /// holds a prompt now.
    pub source: Option<(Ssrc, u32, SequenceNumber)>,
}

/// Rewrites a compound packet in place, shorter where something is left out; its length. `sender` and `about` are None
/// for a stream that never held a prompt. 0: nothing is left to be said.
pub(super) fn translate(packet: &mut [u8], sender: Option<Sender>, about: Option<About>) -> usize {
    let (mut read, mut written) = (0, 0);
    for _ in 0..MAX_PACKETS {
        let Some(&[_, kind, high, low]) = packet.get(read..).and_then(<[u8]>::first_chunk::<4>) else { break };
        let length = 4 + usize::from(u16::from_be_bytes([high, low])) * 4;
        // What has been written lies before what is read: packets never grow.
        let Some(one) = packet.get_mut(read..read + length).filter(|one| one.len() >= HEAD && is_rtcp(one)) else {
            break;
        };
        let kept = match kind {
            SENDER_REPORT => report(one, sender, about, INFO),
            RECEIVER_REPORT => report(one, sender, about, 0),
            DESCRIPTION | APPLICATION => {
                rename(one, sender);
                length
            }
            TRANSPORT_FEEDBACK | PAYLOAD_FEEDBACK => feedback(one, sender, about),
            // A BYE, and what we do not know.
            _ => 0,
        };
        packet.copy_within(read..read + kept.min(length), written);
        written += kept.min(length);
        read += length;
    }
    written
}

/// A sender's or receiver's report, whose first block stands behind `info` bytes.
fn report(one: &mut [u8], sender: Option<Sender>, about: Option<About>, info: usize) -> usize {
    let mut blocks = usize::from(one.first().copied().unwrap_or_default() & 0x1F);
    if one.len() < HEAD + info {
        return 0;
    }
    let mut read = HEAD + info;
    let mut written = read;
    match sender {
        Some(Sender { moved: None, .. }) => written = HEAD,
        Some(Sender { moved: Some(moved), .. }) if info > 0 => {
            for (at, added) in [(16, moved.timestamp), (20, moved.packets), (24, moved.octets)] {
                edit(one, at, |old| old.wrapping_add(added));
            }
        }
        Some(_) | None => {}
    }
    rename(one, sender);
    let mut kept = 0u8;
    while blocks > 0 && read + BLOCK <= one.len() {
        if move_block(one, read, about) {
            one.copy_within(read..read + BLOCK, written);
            written += BLOCK;
            kept += 1;
        }
        read += BLOCK;
        blocks -= 1;
    }
    let of_sender = info > 0 && sender.is_none_or(|sender| sender.moved.is_some());
    let kind = if of_sender { SENDER_REPORT } else { RECEIVER_REPORT };
    let words = (written / 4 - 1) as u16;
    if let Some(head) = one.first_chunk_mut::<4>() {
        let [high, low] = words.to_be_bytes();
        *head = [0x80 | kept, kind, high, low];
    }
    written
}

/// Into the numbers of the stream's sender; false if the block is not about anything that it has sent.
fn move_block(one: &mut [u8], at: usize, about: Option<About>) -> bool {
    let Some(About { heard_as, source }) = about else { return true };
    let name = word(one, at).map(Ssrc);
    let (Some((ssrc, shift, first)), true) = (source, name == Some(heard_as)) else { return false };
    let Some(highest) = word(one, at + 8) else { return false };
    let own = highest.wrapping_sub(shift);
    if SequenceNumber(own as u16).since(first) < 0 {
        return false;
    }
    edit(one, at, |_| ssrc.0);
    edit(one, at + 8, |_| own);
    true
}

/// Feedback (RFC 4585 §6.1) names who sends it and whose stream it is about.
fn feedback(one: &mut [u8], sender: Option<Sender>, about: Option<About>) -> usize {
    rename(one, sender);
    let media = word(one, 8).map(Ssrc);
    match about {
        None => one.len(),
        // It asks for packets by numbers that their sender does not know. What names no stream, as some requests for a
        // picture, passes.
        Some(about) if media == Some(about.heard_as) => 0,
        Some(_) => one.len(),
    }
}

fn rename(one: &mut [u8], sender: Option<Sender>) {
    if let Some(sender) = sender {
        edit(one, 4, |_| sender.known_as.0);
    }
}

fn word(packet: &[u8], at: usize) -> Option<u32> {
    packet.get(at..)?.first_chunk().map(|word| u32::from_be_bytes(*word))
}

fn edit(packet: &mut [u8], at: usize, change: impl Fn(u32) -> u32) {
    if let Some(word) = packet.get_mut(at..).and_then(<[u8]>::first_chunk_mut::<4>) {
        *word = change(u32::from_be_bytes(*word)).to_be_bytes();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing, reason = "a test fails by panicking")]

    use super::*;

    fn words(packet: &[u8]) -> Vec<u32> {
        packet.chunks(4).map(|word| u32::from_be_bytes([word[0], word[1], word[2], word[3]])).collect()
    }

    fn packet(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    /// A sender's report of 7 about 8, then what it is called, then a BYE.
    fn compound() -> Vec<u8> {
        let block = [8, 0x0100_0003, 0x0001_0010, 5, 6, 9];
        let report = [&[0x81C8_000C, 7, 0xAAAA, 0xBBBB, 1_000, 50, 8_000][..], &block].concat();
        let rest = [0x81CA_0003, 7, 0x0103_6162, 0x6300_0000, 0x81CB_0001, 7];
        packet(&[&report[..], &rest].concat())
    }

    #[test]
    fn streams_that_never_held_a_prompt_pass_but_for_the_bye() {
        let mut bytes = compound();
        let length = translate(&mut bytes, None, None);

        assert_eq!(bytes[..length], compound()[..length]);
        assert_eq!(length, compound().len() - 8);
    }

    #[test]
    fn numbers_of_both_streams_are_moved() {
        let mut bytes = compound();
        let moved = Some(Moved { timestamp: 160, packets: 10, octets: u32::MAX });
        let about = About { heard_as: Ssrc(8), source: Some((Ssrc(80), 0x20, SequenceNumber(0xFF00))) };

        let length = translate(&mut bytes, Some(Sender { known_as: Ssrc(70), moved }), Some(about));

        let block = [80, 0x0100_0003, 0x0000_FFF0, 5, 6, 9];
        let report = [&[0x81C8_000C, 70, 0xAAAA, 0xBBBB, 1_160, 60, 7_999][..], &block].concat();
        let rest = [0x81CA_0003, 70, 0x0103_6162, 0x6300_0000];
        assert_eq!(words(&bytes[..length]), [&report[..], &rest].concat());
    }

    #[test]
    fn what_is_about_a_prompt_is_left_out() {
        let (playing, before) = (None, Some((Ssrc(80), 0, SequenceNumber(0x11))));
        for source in [playing, before] {
            let mut bytes = compound();
            let sender = Sender { known_as: Ssrc(70), moved: None };

            let length = translate(&mut bytes, Some(sender), Some(About { heard_as: Ssrc(8), source }));

            assert_eq!(words(&bytes[..length]), [0x80C9_0001, 70, 0x81CA_0003, 70, 0x0103_6162, 0x6300_0000]);
        }
    }

    #[test]
    fn requests_for_single_packets_and_unknown_kinds_are_left_out() {
        let mut bytes = packet(&[0x81CD_0003, 7, 8, 0x0001_0000, 0x80CF_0001, 7, 0x81CE_0002, 7, 99]);
        let about = About { heard_as: Ssrc(8), source: None };

        let length = translate(&mut bytes, Some(Sender { known_as: Ssrc(70), moved: None }), Some(about));

        assert_eq!(words(&bytes[..length]), [0x81CE_0002, 70, 99]);
    }

    proptest::proptest! {
        #[test]
        fn nonsense_never_grows(mut bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200), with in proptest::bool::ANY) {
            let sender = Sender { known_as: Ssrc(1), moved: with.then(Moved::default) };
            let about = About { heard_as: Ssrc(2), source: with.then_some((Ssrc(3), 7, SequenceNumber(9))) };
            if let Some(first) = bytes.first_mut() { *first = 0x80 | (*first & 0x1F); }
            if let Some(kind) = bytes.get_mut(1) { *kind = 200 + *kind % 8; }
            if let Some(high) = bytes.get_mut(2) { *high = 0; }
            let before = bytes.len();
            proptest::prop_assert!(translate(&mut bytes, Some(sender), Some(about)) <= before);
        }
    }
}
