//! What the media path spends on one packet, without the system calls around it.

#![allow(clippy::unwrap_used, missing_docs, reason = "a bench fails by panicking")]

use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use ringfence::audio::framer::{Arrived, Content, Framer};
use ringfence::audio::g711::Law;
use ringfence::audio::{FRAME_SAMPLES, Frame};
use ringfence::detect::fingerprint::Fingerprinter;
use ringfence::detect::tone::ToneDetector;
use ringfence::detect::voice::Voice;
use ringfence::io::media::LAWS;
use ringfence::rtp::control::{Codec, Held, StreamPlan};
use ringfence::rtp::player::Prompt;
use ringfence::rtp::relay::MediaPair;
use ringfence::rtp::srtp::{MOST_ADDED, MasterKey, Opening, Sealing, Suite};
use ringfence::units::{CallTime, Dbov, Leg, PerLeg, RtpTimestamp, SequenceNumber, Ssrc};
use rustfft::FftPlanner;

fn packet(sequence: u16) -> [u8; 172] {
    let mut packet = [0x55; 172];
    packet[..2].copy_from_slice(&[0x80, 0]);
    packet[2..4].copy_from_slice(&sequence.to_be_bytes());
    packet[4..8].copy_from_slice(&(u32::from(sequence) * 160).to_be_bytes());
    packet
}

/// A prompt of so many bytes in each codec.
fn prompt(bytes: usize) -> Prompt {
    let coded: Arc<[u8]> = vec![1; bytes].into();
    Prompt { pcmu: coded.clone(), pcma: coded.clone(), g722: coded.clone(), opus: coded.into() }
}

fn call(now: Instant) -> (MediaPair, SocketAddr) {
    let mut pair = MediaPair::new(PerLeg { caller: 1, callee: 2 }, &LAWS, now);
    let address: SocketAddr = "192.0.2.1:4000".parse().unwrap();
    for leg in Leg::BOTH {
        let codecs = vec![(0, Codec::Pcmu), (8, Codec::Pcma)];
        pair.plan(
            leg,
            StreamPlan { rtp: Some(address), codecs, telephone_event: Some(101), ..StreamPlan::default() },
            now,
        );
    }
    (pair, address)
}

fn relay(criterion: &mut Criterion) {
    let start = ringfence::io::clock::now();

    criterion.bench_function("relay one packet", |bencher| {
        let (mut pair, address) = call(start);
        let mut sequence = 0u16;
        bencher.iter(|| {
            sequence = sequence.wrapping_add(1);
            let mut packet = packet(sequence);
            black_box(pair.relay(Leg::Caller, black_box(&mut packet), address, start))
        });
    });

    criterion.bench_function("relay one packet after a prompt", |bencher| {
        let (mut pair, address) = call(start);
        assert!(pair.play(Leg::Callee, [prompt(160)]));
        while pair.played(Leg::Callee, start).is_some() {}
        let mut sequence = 0u16;
        bencher.iter(|| {
            sequence = sequence.wrapping_add(1);
            let mut packet = packet(sequence);
            black_box(pair.relay(Leg::Caller, black_box(&mut packet), address, start))
        });
    });

    criterion.bench_function("relay one packet whose leg's keys are held", |bencher| {
        let (mut pair, address) = call(start);
        pair.hold_keys(Leg::Caller, Held::All, start);
        let mut sequence = 0u16;
        bencher.iter(|| {
            sequence = sequence.wrapping_add(1);
            let mut packet = packet(sequence);
            black_box(pair.relay(Leg::Caller, black_box(&mut packet), address, start))
        });
    });
}

fn prompts(criterion: &mut Criterion) {
    let start = ringfence::io::clock::now();

    criterion.bench_function("relay one packet and mix a whisper into it", |bencher| {
        let (mut pair, address) = call(start);
        let prompt = prompt(80_000);
        let mut sequence = 0u16;
        bencher.iter(|| {
            if !pair.is_playing(Leg::Callee) || pair.is_due(Leg::Callee, start) {
                pair.stop_play(Leg::Callee);
                pair.whisper(Leg::Callee, [prompt.clone()], start);
            }
            sequence = sequence.wrapping_add(1);
            let mut packet = packet(sequence);
            let relayed = pair.relay(Leg::Caller, black_box(&mut packet), address, start);
            if let Some((header, payload)) = &relayed.heard {
                pair.mix(Leg::Callee, header, *payload, &mut packet, start);
            }
            black_box(packet)
        });
    });

    criterion.bench_function("prompt packet", |bencher| {
        let (mut pair, _) = call(start);
        let prompt = prompt(80_000);
        bencher.iter(|| {
            if !pair.is_playing(Leg::Callee) {
                pair.play(Leg::Callee, [prompt.clone()]);
            }
            black_box(pair.played(Leg::Callee, start))
        });
    });
}

/// What the ear is handed.
fn framing(criterion: &mut Criterion) {
    criterion.bench_function("decode 20 ms of mu-law", |bencher| {
        let coded = packet(1);
        let mut samples = [0; FRAME_SAMPLES];
        bencher.iter(|| {
            Law::Mu.decode_into(black_box(&coded[12..]), &mut samples);
            black_box(&samples);
        });
    });

    criterion.bench_function("frame 20 ms", |bencher| {
        let mut framer = Framer::new();
        let mut n = 0u64;
        let payload = [0x55; 160];
        bencher.iter(|| {
            let at = CallTime(Duration::from_millis(n * 20));
            framer.push(Arrived {
                at,
                sequence: SequenceNumber(n as u16),
                timestamp: RtpTimestamp((n * 160) as u32),
                ssrc: Ssrc(1),
                content: Content::Audio(Law::Mu),
                payload: black_box(&payload),
            });
            framer.advance(at);
            n += 1;
            black_box(framer.poll_frame())
        });
    });
}

fn srtp(criterion: &mut Criterion) {
    let key = MasterKey::new([7; 30]);

    criterion.bench_function("seal and open one packet", |bencher| {
        let suite = Suite::Aes128Sha1_80;
        let (mut sealing, mut opening) = (Sealing::new(suite, &key, 0), Opening::new(suite, &key, 0));
        let mut sequence = 0u16;
        bencher.iter(|| {
            sequence = sequence.wrapping_add(1);
            let mut buffer = [0; 172 + MOST_ADDED];
            buffer[..172].copy_from_slice(&packet(sequence));
            let length = sealing.rtp(black_box(&mut buffer), 172).unwrap();
            black_box(opening.rtp(&mut buffer[..length])).unwrap()
        });
    });
}

/// What the ear spends on 20 ms of one leg, detector by detector.
fn ear(criterion: &mut Criterion) {
    let noise: Vec<[i16; FRAME_SAMPLES]> = (0..50u32)
        .map(|n| std::array::from_fn(|i| ((n * 160 + i as u32).wrapping_mul(2_654_435_761) >> 18) as i16 - 8_192))
        .collect();

    criterion.bench_function("voice of 20 ms", |bencher| {
        let mut voice = Voice::new(&mut FftPlanner::new());
        let mut frames = noise.iter().cycle();
        bencher.iter(|| {
            let samples = *frames.next().unwrap();
            black_box(voice.frame(&Frame { at: CallTime::ZERO, samples, lost: false }))
        });
    });

    criterion.bench_function("tones in 20 ms", |bencher| {
        let mut tones = ToneDetector::new(&mut FftPlanner::new());
        let mut frames = noise.iter().cycle();
        bencher.iter(|| black_box(tones.frame(frames.next().unwrap(), Dbov(-20.0))));
    });

    criterion.bench_function("fingerprint of 20 ms", |bencher| {
        let mut fingerprinter = Fingerprinter::new(&mut FftPlanner::new());
        let mut frames = noise.iter().cycle();
        bencher.iter(|| black_box(fingerprinter.frame(frames.next().unwrap())));
    });
}

criterion_group!(benches, relay, prompts, framing, srtp, ear);
criterion_main!(benches);
