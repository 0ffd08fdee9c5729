use super::*;

/// Code whose mu-law value is told apart from silence: one for each packet number.
fn code(n: u16) -> u8 {
    0x80 | (n % 100) as u8
}

struct Leg {
    framer: Framer,
    ssrc: u32,
    base: u32,
    samples: usize,
}

impl Leg {
    fn new(samples: usize) -> Self {
        Self { framer: Framer::new(), ssrc: 7, base: u32::MAX - 500, samples }
    }

    /// Packet `n` of the source, arriving at `at_ms`.
    fn push(&mut self, n: u16, at_ms: u64) {
        let payload = vec![code(n); self.samples];
        self.framer.push(Arrived {
            at: CallTime::from_millis(at_ms),
            sequence: SequenceNumber(65_530u16.wrapping_add(n)),
            timestamp: RtpTimestamp(self.base.wrapping_add(u32::from(n) * self.samples as u32)),
            ssrc: Ssrc(self.ssrc),
            content: Content::Audio(Law::Mu),
            payload: &payload,
        });
    }

    /// What comes out: the packet number of each frame's first sample, or '-' for a lost one.
    fn drain(&mut self) -> String {
        let mut out = Vec::new();
        while let Some(frame) = self.framer.poll_frame() {
            let first = frame.samples[0];
            let known = (0..100).find(|&n| Law::Mu.decode(code(n)) == first);
            out.push(if frame.lost { "-".into() } else { known.map_or("?".into(), |n| n.to_string()) });
        }
        out.join(" ")
    }
}

#[test]
fn a_steady_source_comes_through_at_once_across_both_wraps() {
    let mut leg = Leg::new(160);
    for n in 0..12 {
        leg.push(n, u64::from(n) * 20);
        assert_eq!(leg.drain(), n.to_string());
    }
    assert_eq!(leg.framer.counters(), FramerCounters::default());
}

#[test]
fn frames_follow_one_another_from_zero() {
    let mut leg = Leg::new(160);
    leg.push(0, 1_000);
    leg.framer.advance(CallTime::from_millis(1_300));

    let mut at = 0;
    while let Some(frame) = leg.framer.poll_frame() {
        assert_eq!(frame.at, CallTime::from_millis(at));
        assert_eq!(frame.lost, at != 1_000, "{at}");
        at += 20;
    }
    assert_eq!(at, 1_200);
}

#[test]
fn ten_and_sixty_millisecond_packets() {
    let mut short = Leg::new(80);
    let mut long = Leg::new(480);
    for n in 0..6 {
        short.push(n, u64::from(n) * 10);
    }
    for n in 0..2 {
        long.push(n, u64::from(n) * 60);
    }

    assert_eq!(short.drain(), "0 2 4");
    assert_eq!(long.drain(), "0 0 0 1 1 1");
}

#[test]
fn packets_of_a_fifth_of_a_second_are_heard_to_their_end() {
    for content in [Content::Audio(Law::Mu), Content::G722] {
        let mut framer = Framer::new();
        for n in 0..3 {
            framer.push(Arrived {
                at: CallTime::from_millis(n * 200),
                sequence: SequenceNumber(n as u16),
                timestamp: RtpTimestamp(n as u32 * 1_600),
                ssrc: Ssrc(1),
                content,
                payload: &[0x55; 1_600],
            });
        }
        framer.advance(CallTime::from_millis(800));
        let lost: Vec<bool> = std::iter::from_fn(|| framer.poll_frame()).take(30).map(|frame| frame.lost).collect();
        assert_eq!(lost, [false; 30], "{content:?}");
    }
}

#[test]
fn a_source_that_does_not_count_its_packets_is_heard_by_its_clock() {
    let mut framer = Framer::new();
    let mut heard = 0;
    for n in 0..50_u64 {
        for _ in 0..2 {
            framer.push(Arrived {
                at: CallTime::from_millis(n * 20),
                sequence: SequenceNumber(7),
                timestamp: RtpTimestamp(n as u32 * 160),
                ssrc: Ssrc(1),
                content: Content::Audio(Law::A),
                payload: &[0x55; 160],
            });
        }
        heard += std::iter::from_fn(|| framer.poll_frame()).filter(|frame| !frame.lost).count();
    }
    assert_eq!(heard, 50);
}

/// Many receivers, and a PBX in between, play packets as they come: what they play must be heard.
#[test]
fn a_source_whose_clock_stands_still_or_is_slow_is_heard_in_full() {
    for (clock, numbers, least) in [(0, 1, 50), (1, 1, 50), (100, 1, 50), (0, 0, 50 - REPEATED_RUN as usize + 1)] {
        let mut framer = Framer::new();
        let mut heard = 0;
        for n in 0..50_u16 {
            let at = CallTime::from_millis(u64::from(n) * 20);
            framer.advance(at);
            framer.push(Arrived {
                at,
                sequence: SequenceNumber(n * numbers),
                timestamp: RtpTimestamp(u32::from(n) * clock),
                ssrc: Ssrc(1),
                content: Content::Audio(Law::Mu),
                payload: &[code(n); 160],
            });
            heard += std::iter::from_fn(|| framer.poll_frame()).filter(|frame| !frame.lost).count();
        }
        assert!(heard >= least, "{heard} frames by a clock of {clock}");
    }
}

#[test]
fn odd_packet_lengths_leave_no_gap() {
    let mut leg = Leg::new(37);
    for n in 0..40 {
        leg.push(n, u64::from(n) * 37 / 8);
    }
    let mut frames = 0;
    while let Some(frame) = leg.framer.poll_frame() {
        assert!(!frame.lost && frame.samples.iter().all(|&s| s != 0));
        frames += 1;
    }
    assert_eq!(frames, 40 * 37 / 160);
}

#[test]
fn a_frame_of_parts_is_what_its_parts_are() {
    let (mu, a) = (Content::Audio(Law::Mu), Content::Audio(Law::A));
    // Each part: what it holds, its first sample, how many.
    let mixtures: [&[(Content, usize, usize)]; 7] = [
        &[(mu, 0, 160)],
        &[(mu, 0, 40), (mu, 40, 120)],
        &[(mu, 0, 40), (mu, 100, 60)],
        &[(a, 0, 50)],
        &[(a, 0, 80), (mu, 80, 80)],
        &[(mu, 0, 120), (a, 100, 60), (mu, 60, 20)],
        &[(a, 0, 20), (a, 100, 20), (a, 10, 100)],
    ];
    for parts in mixtures {
        let mut framer = Framer::new();
        let mut expected = [0; FRAME_SAMPLES];
        for (n, &(content, from, length)) in (1..).zip(parts) {
            let coded = vec![0x10 * n as u8 + 3; length];
            framer.push(Arrived {
                at: CallTime::ZERO,
                // The last one comes first: a newer packet would not begin within what has come.
                sequence: SequenceNumber(100 - n),
                timestamp: RtpTimestamp(5_000 + from as u32),
                ssrc: Ssrc(1),
                content,
                payload: &coded,
            });
            let linear: Vec<i16> = match content {
                Content::Audio(law) => coded.iter().map(|&code| law.decode(code)).collect(),
                Content::Noise | Content::G722 | Content::Opus => vec![0; FRAME_SAMPLES],
            };
            for (sample, value) in expected.iter_mut().skip(from).zip(linear) {
                *sample = value;
            }
        }
        framer.advance(CallTime::from_millis(200));
        let frame = framer.poll_frame().unwrap();

        assert!(!frame.lost && frame.samples == expected, "{parts:?}: {:?} {expected:?}", frame.samples);
    }
}

#[test]
fn reordered_within_the_window_is_put_right() {
    let mut leg = Leg::new(160);
    for (n, at) in [(0, 0), (2, 40), (3, 60), (1, 65), (4, 80), (4, 81)] {
        leg.push(n, at);
    }

    assert_eq!(leg.drain(), "0 1 2 3 4");
    assert_eq!(leg.framer.counters().duplicate, 1);
}

#[test]
fn lost_stays_lost_and_is_told_by_the_packets_after_it() {
    let mut leg = Leg::new(160);
    leg.push(0, 0);
    for n in 2..=4 {
        leg.push(n, u64::from(n) * 20);
    }
    assert_eq!(leg.drain(), "0");

    leg.push(5, 100);
    assert_eq!(leg.drain(), "- 2 3 4 5");

    leg.push(1, 130);
    assert_eq!(leg.drain(), "");
    assert_eq!(leg.framer.counters().late, 1);
}

#[test]
fn a_pause_is_lost_frames_by_the_clock() {
    let mut leg = Leg::new(160);
    leg.push(0, 0);
    leg.framer.advance(CallTime::from_millis(200));
    assert_eq!(leg.drain(), "0 - - - -");

    // Timestamps went on during the pause, sequence numbers did not (RFC 3551 §4.1).
    leg.base = leg.base.wrapping_add(160 * 20);
    leg.push(1, 420);
    leg.framer.advance(CallTime::from_millis(520));
    assert_eq!(leg.drain(), "- - - - - - - - - - - - - - - - 1");
    assert_eq!(leg.framer.counters().restarts, 0);
}

#[test]
fn a_new_source_begins_after_the_old_one_without_overlap() {
    let mut leg = Leg::new(160);
    leg.push(0, 0);
    leg.push(1, 20);
    (leg.ssrc, leg.base) = (8, 12_345);
    leg.push(2, 25);
    leg.push(3, 45);

    assert_eq!(leg.drain(), "0 1 2 3");
    assert_eq!(leg.framer.counters().restarts, 1);
}

#[test]
fn timestamps_that_jump_restart_the_source() {
    let mut leg = Leg::new(160);
    leg.push(0, 0);
    leg.base = leg.base.wrapping_add(900_000);
    leg.push(1, 20);
    leg.base = leg.base.wrapping_sub(1_800_000);
    leg.push(2, 40);

    assert_eq!(leg.drain(), "0 1 2");
    assert_eq!(leg.framer.counters().restarts, 2);
}

#[test]
fn a_path_that_got_slower_is_heard_again() {
    let mut leg = Leg::new(160);
    for n in 0..5 {
        leg.push(n, u64::from(n) * 20);
    }
    leg.drain();
    let mut out = Vec::new();
    for n in 5..20 {
        let at = u64::from(n) * 20 + 300;
        leg.framer.advance(CallTime::from_millis(at));
        out.push(leg.drain());
        leg.push(n, at);
    }
    out.push(leg.drain());

    let out = out.join(" ");
    assert!(out.split_whitespace().collect::<Vec<_>>().join(" ").ends_with("9 10 11 12 13 14 15 16 17 18 19"), "{out}");
    assert_eq!((leg.framer.counters().late, leg.framer.counters().restarts), (5, 1));
}

/// Number, clock and content of each packet of one tick, and what comes out of a hundred such ticks: frames, those of
/// them in which nothing was heard, and those of the voice.
fn ticks(of: impl Fn(u16) -> [(u16, u32, Content); 2]) -> (usize, usize, usize) {
    let (mut framer, mut heard) = (Framer::new(), Vec::new());
    for n in 0..100u16 {
        for ((sequence, timestamp, content), byte) in of(n).into_iter().zip([0xFF, 0x10]) {
            framer.push(Arrived {
                at: CallTime::from_millis(20 * u64::from(n)),
                sequence: SequenceNumber(sequence),
                timestamp: RtpTimestamp(timestamp),
                ssrc: Ssrc(1),
                content,
                payload: &[byte; 160],
            });
        }
        framer.advance(CallTime::from_millis(20 * u64::from(n)));
        heard.extend(std::iter::from_fn(|| framer.poll_frame()));
    }
    let voice = Law::A.decode(0x10);
    let lost = heard.iter().filter(|frame| frame.lost).count();
    (heard.len(), lost, heard.iter().filter(|frame| frame.samples.contains(&voice)).count())
}

#[test]
fn comfort_noise_takes_no_voices_place() {
    let audio = Content::Audio(Law::A);
    let beside = ticks(|n| [(2 * n, 160 * u32::from(n), Content::Noise), (2 * n + 1, 160 * u32::from(n), audio)]);
    let alone = ticks(|n| [(2 * n, 160 * u32::from(n), Content::Noise); 2]);

    assert!(beside.2 >= 95, "{beside:?}");
    assert_eq!((alone.1, alone.2), (alone.0, 0), "a pause is not heard");
}

/// A receiver that goes by the numbers never plays what has the number of a packet before, or one that was left out.
#[test]
fn what_is_no_newer_by_its_number_takes_no_voices_place() {
    let audio = Content::Audio(Law::A);
    for decoy in [|n: u16| 2 * n, |n| 2 * n + 1, |_| 1] {
        // By its clock it may be of the same time, or far ahead.
        for ahead in [0, 2_400, 8_000] {
            let clock = |n: u16| 160 * u32::from(n);
            let heard = ticks(|n| [(decoy(n), clock(n) + ahead, audio), (2 * n + 3, clock(n), audio)]);

            assert!(heard.2 >= 90, "{} {ahead}: {heard:?}", decoy(7));
        }
    }
}

#[test]
fn nonsense_neither_panics_nor_grows() {
    let mut framer = Framer::new();
    let mut seed = 1u32;
    let mut next = || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        seed >> 8
    };
    let payload = [0u8; 480];
    let mut frames = 0;
    for step in 0..20_000u64 {
        framer.push(Arrived {
            at: CallTime::from_millis(step),
            sequence: SequenceNumber(next() as u16),
            timestamp: RtpTimestamp(next() << 8),
            ssrc: Ssrc(next() % 3),
            content: Content::Audio(Law::A),
            payload: &payload[..next() as usize % 481],
        });
        framer.advance(CallTime::from_millis(step));
        while framer.poll_frame().is_some() {
            frames += 1;
        }
    }
    assert!((990..=1_000 + RING).contains(&frames), "{frames}");
}
