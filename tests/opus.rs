//! Opus at the ear: packets of the reference encoder in each mode, beside its own decoder; pauses, and bytes of any
//! kind.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs, reason = "tests")]

use ringfence::audio::framer::{Arrived, Content, Framer, FramerCounters};
use ringfence::audio::opus::encode_all;
use ringfence::units::{CallTime, RtpTimestamp, SequenceNumber, Ssrc};

/// Name, milliseconds of a packet.
const STREAMS: [(&str, f64); 6] = [
    ("silk-narrow-60ms", 60.0),
    ("silk-wide-20ms-fec", 20.0),
    ("silk-stereo-40ms", 40.0),
    ("hybrid-20ms", 20.0),
    ("celt-stereo-20ms", 20.0),
    ("celt-short-2.5ms", 2.5),
];

fn data(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/opus/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn packets(name: &str) -> Vec<Vec<u8>> {
    let bytes = data(&format!("{name}.packets"));
    let mut rest = &bytes[..];
    let mut packets = Vec::new();
    while let [low, high, behind @ ..] = rest {
        let (packet, after) = behind.split_at(usize::from(u16::from_le_bytes([*low, *high])));
        packets.push(packet.to_vec());
        rest = after;
    }
    packets
}

/// One leg that is sent Opus.
struct Leg {
    framer: Framer,
    heard: Vec<i16>,
    lost: Vec<bool>,
}

impl Leg {
    fn new() -> Self {
        Self { framer: Framer::new(), heard: Vec::new(), lost: Vec::new() }
    }

    fn push(&mut self, at_ms: f64, number: u16, ticks: u32, payload: &[u8]) {
        let at = CallTime::from_millis(at_ms as u64);
        self.framer.advance(at);
        self.framer.push(Arrived {
            at,
            sequence: SequenceNumber(number),
            timestamp: RtpTimestamp(ticks.wrapping_sub(5_000)),
            ssrc: Ssrc(9),
            content: Content::Opus,
            payload,
        });
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(frame) = self.framer.poll_frame() {
            self.heard.extend(frame.samples);
            self.lost.push(frame.lost);
        }
    }

    /// The whole stream, a packet each `ms`, in time.
    fn hears(packets: &[Vec<u8>], ms: f64) -> Self {
        let mut leg = Self::new();
        for (n, packet) in packets.iter().enumerate() {
            leg.push(n as f64 * ms, n as u16, (n as f64 * ms * 48.0) as u32, packet);
        }
        leg
    }
}

fn power(samples: &[i16]) -> f64 {
    samples.iter().map(|&s| f64::from(s) * f64::from(s)).sum::<f64>() / samples.len() as f64
}

#[test]
fn each_mode_sounds_as_the_reference_decoder_says() {
    for (name, ms) in STREAMS {
        let reference: Vec<i16> =
            data(&format!("{name}.pcm")).chunks(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect();

        let leg = Leg::hears(&packets(name), ms);

        assert_eq!(leg.heard.len(), reference.len(), "{name}");
        let off: Vec<i16> = leg.heard.iter().zip(&reference).map(|(a, b)| a.wrapping_sub(*b)).collect();
        let ratio = 10.0 * (power(&reference) / power(&off).max(1e-9)).log10();
        assert!(ratio > 30.0, "{name}: {ratio} dB");
        assert!(power(&reference) > 1e6 && leg.lost.iter().all(|lost| !lost), "{name}");
        assert_eq!(leg.framer.counters(), FramerCounters::default(), "{name}");
    }
}

#[test]
fn a_packet_that_is_lost_is_a_silent_frame_and_the_rest_is_heard() {
    let mut leg = Leg::new();
    for (n, packet) in packets("hybrid-20ms").iter().enumerate().filter(|(n, _)| *n != 8) {
        leg.push(n as f64 * 20.0, n as u16, n as u32 * 960, packet);
    }

    let lost: Vec<usize> = (0..leg.lost.len()).filter(|n| leg.lost[*n]).collect();
    assert_eq!((lost, leg.lost.len()), (vec![8], 24));
    assert!(leg.heard[8 * 160..9 * 160].iter().all(|s| *s == 0));
    assert!(power(&leg.heard[9 * 160..]) > 1e6);
}

#[test]
fn a_pause_of_the_senders_is_silence_and_no_new_source() {
    // What says nothing is left out or has no frame in it, and timestamps go on (RFC 7587 §3.1.3).
    let sent = packets("silk-pause-20ms");
    assert!(sent.iter().filter(|packet| packet.len() == 1).count() > 10);
    let mut leg = Leg::new();
    let mut number = 0;
    for (n, packet) in sent.iter().enumerate() {
        if packet.len() > 1 || n.is_multiple_of(20) {
            leg.push(n as f64 * 20.0, number, n as u32 * 960, packet);
            number += 1;
        }
    }

    assert_eq!(leg.framer.counters(), FramerCounters::default());
    let pause: Vec<usize> = (0..sent.len()).filter(|n| sent[*n].len() == 1).collect();
    for n in pause {
        assert!(leg.heard[n * 160..(n + 1) * 160].iter().all(|s| *s == 0), "frame {n}");
        assert_eq!(leg.lost[n], !n.is_multiple_of(20), "frame {n}");
    }
    assert!(power(&leg.heard[60 * 160..]) > 1e6, "it speaks again");
}

#[test]
fn a_prompt_is_packets_of_one_length_that_sound_like_it() {
    let tone: Vec<i16> =
        (0..8_100).map(|n| ((std::f32::consts::TAU * 700.0 * n as f32 / 8_000.0).sin() * 8_000.0) as i16).collect();

    let coded = encode_all(&tone, 60);
    let leg = Leg::hears(&coded.chunks(60).map(<[u8]>::to_vec).collect::<Vec<_>>(), 20.0);

    assert_eq!((coded.len(), leg.heard.len()), (51 * 60, 51 * 160));
    let ratio = power(&leg.heard[800..8_000]) / power(&tone[800..8_000]);
    assert!((0.7..1.4).contains(&ratio), "{ratio}");
    let periods = leg.heard[800..7_200].windows(2).filter(|pair| pair[0] < 0 && pair[1] >= 0).count();
    assert!(periods.abs_diff(560) <= 3, "{periods} periods of 700 Hz in 0.8 s");
    assert!(encode_all(&tone, 0).is_empty() && encode_all(&[], 60).is_empty());
}

#[test]
fn a_codec_that_changes_within_a_source_is_placed_anew() {
    let sent = packets("hybrid-20ms");
    let mut leg = Leg::new();
    for (n, packet) in sent.iter().enumerate().take(10) {
        leg.push(n as f64 * 20.0, n as u16, n as u32 * 960, packet);
    }
    for n in 10..20u16 {
        leg.framer.push(Arrived {
            at: CallTime::from_millis(u64::from(n) * 20),
            sequence: SequenceNumber(n),
            timestamp: RtpTimestamp(u32::from(n) * 160),
            ssrc: Ssrc(9),
            content: Content::Audio(ringfence::audio::g711::Law::A),
            payload: &[1; 160],
        });
    }
    leg.drain();

    assert_eq!((leg.lost.len(), leg.framer.counters().restarts), (20, 1));
    assert!(leg.lost.iter().all(|lost| !lost));
}

/// Random bytes, and packets cut, changed and spliced: no panic (overflow is one in tests), and time goes by as the
/// clock says, not as the packets do.
#[test]
fn bytes_of_any_kind_are_heard_as_something() {
    let good: Vec<Vec<u8>> = STREAMS.iter().flat_map(|(name, _)| packets(name)).collect();
    let mut seed = 0x2545_F491_4F6C_DD1Du64;
    let mut random = move |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed >> 20) as usize % below
    };
    let mut leg = Leg::new();
    for n in 0..6_000usize {
        let mut packet = good[random(good.len())].clone();
        match random(6) {
            0 => packet = (0..random(1_276)).map(|_| random(256) as u8).collect(),
            1 => packet.truncate(random(packet.len() + 1)),
            2 => packet[0] = random(256) as u8,
            3 => (0..=random(8)).for_each(|_| {
                let at = random(packet.len());
                packet[at] ^= 1 << random(8);
            }),
            4 => {
                let at = random(packet.len());
                packet[at..].iter_mut().for_each(|byte| *byte = random(256) as u8);
            }
            _ => {}
        }
        if n.is_multiple_of(500) {
            leg.framer = Framer::new();
            leg.lost.clear();
            leg.heard.clear();
        }
        let at = n % 500;
        leg.push(at as f64 * 20.0, n as u16, at as u32 * 960, &packet);
        assert!(leg.lost.len() <= at + 33, "{} frames in {at}", leg.lost.len());
    }
}
