#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;
use crate::rtp::packet::{HEADER, Header};
use crate::units::{SequenceNumber, Ssrc};

fn incoming(ssrc: u32, sequence: u16, timestamp: u32) -> [u8; 14] {
    let mut packet = [0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 7];
    Header {
        payload_type: 0,
        marker: false,
        sequence: SequenceNumber(sequence),
        timestamp: RtpTimestamp(timestamp),
        ssrc: Ssrc(ssrc),
        payload: 12..14,
    }
    .stamp(&mut packet);
    packet
}

/// The same bytes in each codec.
fn prompt(coded: &Arc<[u8]>) -> Prompt {
    let coded = || Arc::clone(coded);
    Prompt { pcmu: coded(), pcma: coded(), g722: coded(), opus: coded().into() }
}

/// What the receiver sees: (ssrc, sequence, timestamp, marker).
type Seen = (u32, u16, u32, bool);

fn seen(packet: &[u8]) -> Seen {
    let header = Header::read(packet).unwrap();
    (header.ssrc.0, header.sequence.0, header.timestamp.0, header.marker)
}

struct Stream {
    outgoing: Outgoing,
    now: Instant,
}

impl Stream {
    fn new() -> Self {
        let now = crate::io::clock::now();
        Self { outgoing: Outgoing::new(0x0102_0304_0506_0708, now), now }
    }

    fn forward(&mut self, ssrc: u32, sequence: u16, timestamp: u32) -> Option<Seen> {
        self.now += Duration::from_millis(20);
        let mut packet = incoming(ssrc, sequence, timestamp);
        let header = Header::read(&packet).unwrap();
        self.outgoing.forward(&header, &mut packet, self.now).then(|| seen(&packet))
    }

    fn play(&mut self, packets: usize) -> Vec<Seen> {
        let coded: Arc<[u8]> = vec![1; packets * PACKET_SAMPLES - 10].into();
        let mut player = Player::new([prompt(&coded)], 0, Codec::Pcmu);
        let mut out = Vec::new();
        loop {
            self.now += Duration::from_millis(20);
            match player.packet(&mut self.outgoing, self.now) {
                Some(packet) => out.push(seen(&packet)),
                None => {
                    self.now -= Duration::from_millis(20);
                    return out;
                }
            }
        }
    }
}

#[test]
fn untouched_before_a_prompt() {
    let mut stream = Stream::new();

    assert_eq!(stream.forward(5, 100, 8_000), Some((5, 100, 8_000, false)));
    assert_eq!(stream.forward(6, 900, 1), Some((6, 900, 1, false)));
}

#[test]
fn one_stream_before_during_and_after_across_both_wraps() {
    let mut stream = Stream::new();
    let start = u32::MAX - 399;

    assert_eq!(stream.forward(5, 65_533, start), Some((5, 65_533, start, false)));
    assert_eq!(stream.forward(5, 65_534, start + 160), Some((5, 65_534, start + 160, false)));
    assert_eq!(
        stream.play(3),
        [
            (5, 65_535, start + 320, true),
            (5, 0, start.wrapping_add(480), false),
            (5, 1, start.wrapping_add(640), false)
        ]
    );
    // The peer went on while the prompt played: its own numbers are three ahead.
    let (sequence, timestamp) = (65_534u16.wrapping_add(4), start.wrapping_add(160 * 5));
    assert_eq!(stream.forward(5, sequence, timestamp), Some((5, 2, start.wrapping_add(800), true)));
    assert_eq!(
        stream.forward(5, sequence.wrapping_add(1), timestamp.wrapping_add(160)),
        Some((5, 3, start.wrapping_add(960), false))
    );
    assert_eq!(stream.forward(5, sequence.wrapping_sub(1), timestamp.wrapping_sub(160)), None, "belongs before");
}

#[test]
fn a_new_source_after_a_prompt_is_moved_onto_the_known_one() {
    let mut stream = Stream::new();
    stream.forward(5, 10, 1_000);
    stream.play(1);

    assert_eq!(stream.forward(77, 40_000, 9), Some((5, 12, 1_320, true)));
    assert_eq!(stream.forward(77, 40_001, 169), Some((5, 13, 1_480, false)));
    assert_eq!(stream.forward(78, 3, 0), Some((5, 14, 1_640, true)));
    assert_eq!(stream.forward(78, 2, 0), None, "a straggler");
    assert_eq!(stream.forward(78, 60_000, 7), Some((5, 15, 1_960, true)), "restarted under the same name");
}

#[test]
fn the_time_without_packets_is_in_the_timestamp() {
    let mut stream = Stream::new();
    stream.forward(5, 10, 1_000);
    stream.now += Duration::from_millis(480);

    assert_eq!(stream.play(1), [(5, 11, 1_000 + 4_000, true)]);
    stream.now += Duration::from_millis(980);
    assert_eq!(stream.forward(5, 60, 1), Some((5, 12, 5_000 + 8_000, true)));
}

#[test]
fn a_stream_of_opus_is_counted_by_its_own_clock() {
    let mut stream = Stream::new();
    let mut player = Player::new([prompt(&vec![1; 2 * OPUS_BYTES].into())], 111, Codec::Opus);
    stream.outgoing.runs_at(Codec::Opus.clock());
    stream.forward(5, 10, 1_000);

    stream.now += Duration::from_millis(40);
    let first = player.packet(&mut stream.outgoing, stream.now).unwrap();
    let second = player.packet(&mut stream.outgoing, stream.now).unwrap();
    assert_eq!((first.len(), first[1]), (HEADER + OPUS_BYTES, 0x80 | 111));
    assert_eq!((seen(&first), seen(&second)), ((5, 11, 2_920, true), (5, 12, 3_880, false)));
    assert!(player.packet(&mut stream.outgoing, stream.now).is_none());
    stream.now += Duration::from_millis(20);
    assert_eq!(stream.forward(5, 13, 70_000), Some((5, 13, 3_880 + 1_920, true)));
}

#[test]
fn a_prompt_may_come_first() {
    let mut stream = Stream::new();

    let played = stream.play(2);
    assert!(played[0].3 && played[0].0 == played[1].0 && played[1].1 == played[0].1 + 1);
    assert_eq!(stream.forward(5, 10, 1_000).map(|s| (s.0, s.1)), Some((played[0].0, played[1].1 + 1)));
}

proptest::proptest! {
    /// Prompts and sources in any order, with any pauses, from any numbers on: after the first prompt the receiver
    /// sees one source whose sequence goes up by one and whose timestamp never stands still.
    #[test]
    fn after_a_prompt_there_is_one_stream(
        start in proptest::num::u32::ANY,
        steps in proptest::collection::vec((0u8..8, 0u64..2_000, proptest::num::u32::ANY), 1..80),
    ) {
        let mut stream = Stream::new();
        stream.forward(1, start as u16, start);
        let mut last = *stream.play(1).last().unwrap();
        let (mut ssrc, mut sequence, mut timestamp) = (1, start as u16, start);
        for (kind, pause, random) in steps {
            stream.now += Duration::from_millis(pause);
            let seen = match kind {
                0 => stream.play(2),
                1 => {
                    (ssrc, sequence, timestamp) = (random, random as u16, random);
                    stream.forward(ssrc, sequence, timestamp).into_iter().collect()
                }
                _ => {
                    (sequence, timestamp) = (sequence.wrapping_add(1), timestamp.wrapping_add(160));
                    stream.forward(ssrc, sequence, timestamp).into_iter().collect()
                }
            };
            for packet in seen {
                proptest::prop_assert_eq!(packet.0, last.0);
                proptest::prop_assert_eq!(packet.1, last.1.wrapping_add(1));
                let ticks = RtpTimestamp(packet.2).ticks_since(RtpTimestamp(last.2));
                proptest::prop_assert!((160..=20_000).contains(&ticks), "{}", ticks);
                last = packet;
            }
        }
    }
}

#[test]
fn the_offset_holds_for_a_whole_long_call() {
    let mut stream = Stream::new();
    stream.forward(5, 0, 0);
    stream.play(1);
    let mut last = 1u16;
    for n in 2..150_000u32 {
        let out = stream.forward(5, n as u16, n.wrapping_mul(160)).unwrap();
        assert_eq!(out.1, last.wrapping_add(1));
        last = out.1;
    }
}

#[test]
fn each_leg_gets_its_own_codec_and_a_full_last_packet() {
    let now = crate::io::clock::now();
    let prompt = Prompt { pcmu: vec![1; 10].into(), pcma: vec![2; 170].into(), ..prompt(&Arc::from([])) };
    let mut outgoing = Outgoing::new(1, now);

    let mut player = Player::new([prompt.clone(), prompt], 8, Codec::Pcma);
    let packets: Vec<_> = std::iter::from_fn(|| player.packet(&mut outgoing, now)).collect();

    assert_eq!(packets.len(), 4);
    assert_eq!((packets[1][HEADER + 9], packets[1][HEADER + 10]), (2, 0xD5));
    assert_eq!(packets[0][1], 0x88);
    assert_eq!(packets[2][1], 8, "the second prompt goes on in the same talkspurt");
}
