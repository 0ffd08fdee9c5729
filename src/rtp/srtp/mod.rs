//! Secure RTP as telephone networks use it: AES in counter mode with HMAC-SHA1 (RFC 3711), keys from the session
//! descriptions (RFC 4568).
//!
//! In: datagrams and master keys. Out: the same datagrams sealed or opened in place, or why not. Whoever holds the keys
//! of both legs lives in [`super::relay`]; who offers what is `call`'s business.

mod keys;
mod opening;
mod sealing;
mod sources;
mod window;

pub use keys::{MasterKey, Suite};
pub use opening::{BadSrtp, Opening};
pub use sealing::Sealing;
pub use sources::Stand;

use keys::SessionKeys;

/// What a datagram grows by at most: SRTCP's index and an 80-bit tag.
pub const MOST_ADDED: usize = 14;

/// Fixed part of an RTCP packet: header and SSRC, which stay readable.
const RTCP_HEADER: usize = 8;

/// Bytes of SRTCP's index.
const INDEX: usize = 4;

/// The bit of SRTCP's index that says "encrypted".
const ENCRYPTED: u32 = 1 << 31;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

    use super::*;

    fn key(n: u8) -> MasterKey {
        MasterKey::new([n; 30])
    }

    fn rtp(sequence: u16, ssrc: u32) -> Vec<u8> {
        let mut packet = vec![0x80, 8];
        packet.extend(sequence.to_be_bytes());
        packet.extend(7u32.to_be_bytes());
        packet.extend(ssrc.to_be_bytes());
        packet.extend((0..160).map(|n| n as u8 ^ sequence as u8));
        packet
    }

    fn sealed(sealing: &mut Sealing, packet: &[u8], rtcp: bool) -> Vec<u8> {
        let mut buffer = [packet, &[0; MOST_ADDED]].concat();
        let length =
            if rtcp { sealing.rtcp(&mut buffer, packet.len()) } else { sealing.rtp(&mut buffer, packet.len()) };
        buffer.truncate(length.unwrap());
        buffer
    }

    fn opened(opening: &mut Opening, sealed: &[u8], rtcp: bool) -> Result<Vec<u8>, BadSrtp> {
        let mut buffer = sealed.to_vec();
        let length = if rtcp { opening.rtcp(&mut buffer) } else { opening.rtp(&mut buffer) }?;
        buffer.truncate(length);
        Ok(buffer)
    }

    #[test]
    fn what_is_sealed_opens_in_both_suites_across_several_turns_of_the_numbers() {
        for (suite, tag) in [(Suite::Aes128Sha1_80, 10), (Suite::Aes128Sha1_32, 4)] {
            let (mut sealing, mut opening) = (Sealing::new(suite, &key(1), 0), Opening::new(suite, &key(1), 0));
            for n in (0..200_000u32).step_by(97) {
                let packet = rtp(n as u16, 5);
                let sealed = sealed(&mut sealing, &packet, false);

                assert_eq!(sealed.len(), packet.len() + tag);
                assert_ne!(sealed[12..172], packet[12..]);
                assert_eq!(opened(&mut opening, &sealed, false).unwrap(), packet, "{n}");
            }
            assert_eq!((sealing.rollovers(), opening.rollovers()), (3, 3));
        }
    }

    #[test]
    fn a_wrong_key_a_changed_bit_and_a_cut_packet_do_not_open() {
        let suite = Suite::Aes128Sha1_80;
        let good = sealed(&mut Sealing::new(suite, &key(1), 0), &rtp(1, 5), false);
        let report =
            sealed(&mut Sealing::new(suite, &key(1), 0), &[[0x80, 201, 0, 1].as_slice(), &[9; 4]].concat(), true);

        assert_eq!(opened(&mut Opening::new(suite, &key(2), 0), &good, false), Err(BadSrtp::Forged));
        assert_eq!(opened(&mut Opening::new(suite, &key(2), 0), &report, true), Err(BadSrtp::Forged));
        let mut opening = Opening::new(suite, &key(1), 0);
        for (good, rtcp) in [(&good, false), (&report, true)] {
            for at in 0..good.len() {
                let mut bad = good.clone();
                bad[at] ^= 1;
                assert!(opened(&mut opening, &bad, rtcp).is_err(), "{at}");
                assert!(opened(&mut opening, &good[..at], rtcp).is_err(), "{at}");
            }
            assert!(opened(&mut opening, good, rtcp).is_ok(), "nothing of that has moved the context");
            assert_eq!(opened(&mut opening, good, rtcp), Err(BadSrtp::Repeated));
        }
    }

    #[test]
    fn reordered_packets_open_and_too_old_ones_do_not() {
        let suite = Suite::Aes128Sha1_32;
        let (mut sealing, mut opening) = (Sealing::new(suite, &key(3), 0), Opening::new(suite, &key(3), 0));
        let packets: Vec<_> = (65_500..65_800u32).map(|n| sealed(&mut sealing, &rtp(n as u16, 1), false)).collect();

        for n in [0, 2, 1, 40, 36, 39, 37, 38] {
            assert!(opened(&mut opening, &packets[n], false).is_ok(), "{n}");
        }
        assert!(opened(&mut opening, &packets[250], false).is_ok());
        assert_eq!(opened(&mut opening, &packets[100], false), Err(BadSrtp::Repeated), "older than the window");
    }

    #[test]
    fn each_source_has_its_own_count_and_their_number_is_bounded() {
        let suite = Suite::Aes128Sha1_80;
        let (mut sealing, mut opening) = (Sealing::new(suite, &key(1), 0), Opening::new(suite, &key(1), 0));
        for ssrc in 0..20 {
            for n in [9u16, 10] {
                let packet = sealed(&mut sealing, &rtp(n, ssrc), false);
                assert!(opened(&mut opening, &packet, false).is_ok(), "{ssrc}");
            }
        }
    }

    #[test]
    fn a_talk_that_music_interrupts_time_and_again_counts_on() {
        let suite = Suite::Aes128Sha1_80;
        let (mut sealing, mut opening) = (Sealing::new(suite, &key(1), 0), Opening::new(suite, &key(1), 0));
        for n in (0..140_000u32).step_by(100) {
            opened(&mut opening, &sealed(&mut sealing, &rtp(n as u16, 5), false), false).unwrap();
        }
        for hold in 0..10 {
            opened(&mut opening, &sealed(&mut sealing, &rtp(9, 100 + hold), false), false).unwrap();
            let talk = rtp((140_000 + hold) as u16, 5);
            let packet = sealed(&mut sealing, &talk, false);

            assert!(opened(&mut Opening::new(suite, &key(1), 2), &packet, false).is_ok(), "{hold}");
            let packet = sealed(&mut Sealing::new(suite, &key(1), 2), &talk, false);
            assert!(opened(&mut opening, &packet, false).is_ok(), "{hold}");
        }
        assert_eq!((sealing.rollovers(), opening.rollovers()), (2, 2));
    }

    #[test]
    fn nothing_is_sealed_twice_under_one_number() {
        let mut sealing = Sealing::new(Suite::Aes128Sha1_80, &key(1), 0);
        let mut buffer = [rtp(5, 1), vec![0; MOST_ADDED]].concat();

        assert!(sealing.rtp(&mut buffer.clone(), 172).is_some());
        assert_eq!(sealing.rtp(&mut buffer, 172), None);
    }

    #[test]
    fn a_context_goes_on_where_another_process_was() {
        let suite = Suite::Aes128Sha1_80;
        let mut sealing = Sealing::new(suite, &key(1), 0);
        let mut later = Vec::new();
        for n in (0..150_000u32).step_by(100) {
            later = sealed(&mut sealing, &rtp(n as u16, 5), false);
        }
        let next = rtp(later[3] as u16 + 40_000, 5);

        assert!(opened(&mut Opening::new(suite, &key(1), 2), &later, false).is_ok());
        assert_eq!(opened(&mut Opening::new(suite, &key(1), 0), &later, false), Err(BadSrtp::Forged));
        assert_eq!(sealed(&mut Sealing::new(suite, &key(1), 2), &next, false), {
            let mut opening = Opening::new(suite, &key(1), 2);
            let bytes = sealed(&mut Sealing::new(suite, &key(1), 2), &next, false);
            assert!(opened(&mut opening, &bytes, false).is_ok());
            bytes
        });
    }

    #[test]
    fn another_process_goes_on_on_both_sides_of_the_turn_of_the_numbers() {
        let suite = Suite::Aes128Sha1_80;
        // Where the one before was, and where the call goes on: never at a number that has been.
        for (last, next) in [
            (65_500u64, 65_650u64),
            (65_500, 65_530),
            (65_530, 81_000),
            (65_540, 65_700),
            (32_760, 32_900),
            (98_300, 98_400),
        ] {
            let (mut sealing, mut opening) = (Sealing::new(suite, &key(1), 0), Opening::new(suite, &key(1), 0));
            for n in (last.saturating_sub(40_000)..last).step_by(100).chain([last]) {
                opened(&mut opening, &sealed(&mut sealing, &rtp(n as u16, 5), false), false).unwrap();
            }
            let mut sealing = Sealing::new(suite, &key(1), sealing.rollovers()).left_at(&sealing.stands());
            let mut other = Opening::new(suite, &key(1), opening.rollovers()).left_at(&opening.stands());
            assert_eq!((sealing.stands(), other.stands()), (opening.stands(), opening.stands()), "nothing is new");

            for n in next..next + 200 {
                let packet = sealed(&mut sealing, &rtp(n as u16, 5), false);
                assert!(opened(&mut opening, &packet, false).is_ok(), "{last} {n}");
                assert!(opened(&mut other, &packet, false).is_ok(), "{last} {n}");
                assert_eq!(opened(&mut other, &packet, false), Err(BadSrtp::Repeated), "{last} {n}");
            }
        }
    }

    #[test]
    fn in_another_process_each_source_has_its_own_count() {
        let suite = Suite::Aes128Sha1_32;
        let (mut sealing, mut opening) = (Sealing::new(suite, &key(1), 0), Opening::new(suite, &key(1), 0));
        // A long talk, and the music of a hold.
        for (ssrc, numbers) in [(5, 0..140_000u32), (6, 100..200)] {
            for n in numbers.step_by(50) {
                opened(&mut opening, &sealed(&mut sealing, &rtp(n as u16, ssrc), false), false).unwrap();
            }
        }
        let mut sealing = Sealing::new(suite, &key(1), 2).left_at(&sealing.stands());
        let mut other = Opening::new(suite, &key(1), 0).left_at(&opening.stands());

        // A prompt, the music, the talk.
        for (ssrc, number) in [(7, 9), (6, 300), (5, 140_200u32), (7, 10), (5, 140_201)] {
            let packet = sealed(&mut sealing, &rtp(number as u16, ssrc), false);
            assert!(opened(&mut opening, &packet, false).is_ok(), "{ssrc}");
            assert!(opened(&mut other, &packet, false).is_ok(), "{ssrc}");
        }
    }

    #[test]
    fn behind_a_restart_a_long_talk_is_forgotten_last() {
        let suite = Suite::Aes128Sha1_32;
        let (mut sealing, mut opening) = (Sealing::new(suite, &key(1), 0), Opening::new(suite, &key(1), 0));
        // A talk, the music of three holds, and the talk.
        let music = [6, 7, 8].map(|ssrc| (ssrc, 100..200));
        for (ssrc, numbers) in [(5, 0..140_000u32)].into_iter().chain(music).chain([(5, 140_000..140_100)]) {
            for n in numbers.step_by(50) {
                opened(&mut opening, &sealed(&mut sealing, &rtp(n as u16, ssrc), false), false).unwrap();
            }
        }
        // The peer goes on as it was, the other process with what is known of it.
        let mut ours = Sealing::new(suite, &key(1), 2).left_at(&sealing.stands());
        let mut theirs = Opening::new(suite, &key(1), 0).left_at(&opening.stands());

        for (ssrc, number) in [(9, 1), (5, 140_200u32)] {
            let packet = sealed(&mut sealing, &rtp(number as u16, ssrc), false);
            assert!(opened(&mut theirs, &packet, false).is_ok(), "{ssrc}");
            let packet = sealed(&mut ours, &rtp(number as u16, ssrc), false);
            assert!(opened(&mut opening, &packet, false).is_ok(), "{ssrc}");
        }
    }

    #[test]
    fn reports_open_with_their_index_and_unencrypted_ones_too() {
        let suite = Suite::Aes128Sha1_32;
        let (mut sealing, mut opening) = (Sealing::new(suite, &key(1), 0), Opening::new(suite, &key(1), 0));
        let report = [[0x80, 200, 0, 6].as_slice(), &[7; 24]].concat();
        for _ in 0..3 {
            let packet = sealed(&mut sealing, &report, true);
            assert_eq!(packet.len(), report.len() + 14, "the tag of reports has 80 bits in both suites");
            assert_eq!(opened(&mut opening, &packet, true).unwrap(), report);
        }
    }

    proptest::proptest! {
        #[test]
        fn nonsense_is_survived(packets in proptest::collection::vec(proptest::collection::vec(proptest::num::u8::ANY, 0..80), 0..40)) {
            let mut opening = Opening::new(Suite::Aes128Sha1_32, &key(1), 0);
            let mut sealing = Sealing::new(Suite::Aes128Sha1_32, &key(2), 0);
            for packet in packets {
                let _ = opening.rtp(&mut packet.clone());
                let _ = opening.rtcp(&mut packet.clone());
                let length = packet.len();
                let mut buffer = [packet, vec![0; MOST_ADDED]].concat();
                let _ = sealing.rtp(&mut buffer.clone(), length);
                let _ = sealing.rtcp(&mut buffer, length);
            }
        }
    }
}
