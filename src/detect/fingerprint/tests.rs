#![allow(clippy::unwrap_used, reason = "tests")]
use rustfft::FftPlanner;

use super::library::MOST;
use super::*;
use crate::audio::FRAME_SAMPLES;

/// Something like speech: syllables of changing vowels, the same for the same seed.
fn babble(seed: u64, seconds: usize) -> Vec<i16> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 24) as f32
    };
    let mut samples = Vec::new();
    while samples.len() < 8_000 * seconds {
        let (pitch, first, second) = (100.0 + 120.0 * next(), 350.0 + 500.0 * next(), 900.0 + 900.0 * next());
        let length = 800 + (1_200.0 * next()) as usize;
        for n in 0..length {
            let t = n as f32 / 8_000.0;
            let envelope = (std::f32::consts::PI * n as f32 / length as f32).sin();
            let wave = |hz: f32| (std::f32::consts::TAU * hz * t).sin();
            // Harmonics, strongest near two formants.
            let voice: f32 = (2..14)
                .map(|k| {
                    let hz = pitch * k as f32;
                    let near = |formant: f32| 1.0 / (1.0 + ((hz - formant) / 150.0).powi(2));
                    (near(first) + 0.7 * near(second)) * wave(hz)
                })
                .sum();
            samples.push((envelope * voice * 4_000.0) as i16);
        }
    }
    samples
}

fn words(samples: &[i16]) -> Vec<Probe> {
    let mut printer = Fingerprinter::new(&mut FftPlanner::new());
    samples.chunks_exact(FRAME_SAMPLES).filter_map(|chunk| printer.frame(chunk.try_into().unwrap())).collect()
}

fn library(of: std::ops::Range<u64>) -> Library {
    let mut library = Library::default();
    for seed in of {
        let words: Vec<Word> = words(&babble(seed, 10)).iter().map(|heard| heard.word).collect();
        library.add(Recording::new(&format!("recording-{seed}"), &words).unwrap());
    }
    library
}

fn recognised(samples: &[i16], library: &Library) -> Option<(usize, Match)> {
    let mut matcher = Matcher::default();
    words(samples).into_iter().enumerate().find_map(|(n, heard)| Some((n, matcher.word(heard, library)?)))
}

#[test]
fn the_same_recording_is_known_within_three_seconds_despite_offset_level_and_noise() {
    let library = library(1..20);
    let mut noise = babble(999, 10).into_iter();
    let again: Vec<i16> =
        babble(7, 10).into_iter().skip(8_123).map(|s| s / 3 + noise.next().unwrap_or(0) / 18).collect();

    let (word, found) = recognised(&again, &library).unwrap();

    assert_eq!(&*found.recording, "recording-7");
    assert!(word <= 75, "after {} ms", 40 * word);
}

/// Behind a greeting, a menu or hold music of any length. In that noise has words of its own.
#[test]
fn a_recording_that_begins_late_is_known_and_kept_from_its_first_word() {
    let library = library(1..20);
    let mut matcher = Matcher::default();
    let (wait, speech) = (words(&babble(500, 30)), words(&babble(7, 10)));
    // Music is taken for speech until it is known to be music.
    for heard in words(&babble(501, 3)) {
        matcher.word(heard, &library);
        (0..FRAMES_A_WORD).for_each(|_| matcher.settle(true));
    }
    matcher.forget(std::time::Duration::from_secs(4));
    let mut known = None;
    for (heard, speaks) in wait.into_iter().map(|word| (word, false)).chain(speech.iter().map(|word| (*word, true))) {
        known = known.or(matcher.word(heard, &library));
        (0..FRAMES_A_WORD).for_each(|_| matcher.settle(speaks));
    }

    assert_eq!(known.map(|known| known.recording), Some("recording-7".into()));
    let (kept, spoken): (Vec<Word>, Vec<Word>) = (matcher.words(), speech.iter().map(|heard| heard.word).collect());
    assert!(kept.ends_with(&spoken[spoken.len() - 200..]), "{} words", kept.len());
}

#[test]
fn other_recordings_are_not() {
    let library = library(1..40);

    for seed in 100..140 {
        assert_eq!(recognised(&babble(seed, 10), &library), None, "{seed}");
    }
}

#[test]
fn a_library_survives_its_text_and_refuses_others() {
    let library = library(1..4);

    let again = Library::parse(&format!("# known ones\n\n{}", library.to_text())).unwrap();

    assert_eq!(again.to_text(), library.to_text());
    assert_eq!(Library::parse("x zzzzzz").unwrap_err(), BadLibrary { line: 1 });
    assert!(Library::parse("x 00").is_err() && Library::parse("nothing").is_err());
}

#[test]
fn a_damaged_line_costs_its_recording_and_no_other() {
    let [one, torn, two] = ["one", "torn", "two"].map(|name| Recording::new(name, &[Some(7); 50]).unwrap().to_line());
    let text = format!("{one}\n{}{two}\n{two}\n", &torn[..99]);

    let (library, bad) = Library::parse_damaged(&text);

    assert_eq!((library.to_text(), bad), (format!("{one}\n{two}\n"), vec![2]));
    assert_eq!(Library::parse(&text).unwrap_err(), BadLibrary { line: 2 });
}

#[test]
fn silence_has_no_fingerprint_and_a_full_library_forgets_the_oldest() {
    assert!(words(&[0; 16_000]).iter().all(|heard| heard.word.is_none()));
    let mut library = Library::default();
    let recording = |n: usize| Recording::new(&format!("{n}"), &vec![Some(n as u32); 50]).unwrap();
    (0..MOST + 3).for_each(|n| library.add(recording(n)));

    assert_eq!(library.len(), MOST);
    assert!(library.to_text().starts_with("3 "));
    assert_eq!([0, 2, 3, MOST + 2].map(|n| library.knows(&recording(n))), [false, false, true, true]);
    assert_eq!(library.places.len(), MOST, "and what it knew of their words");
}

#[test]
fn a_file_with_too_many_recordings_is_read_from_its_end_and_cut_to_what_there_is_room_for() {
    let words = vec![Some(7); 50];
    let line = |n: usize| Recording::new(&format!("call-{n}"), &words).unwrap().to_line() + "\n";
    let text = |from: usize| "# known\n\n".to_owned() + &(from..MOST + 4).map(line).collect::<String>();

    let library = Library::parse(&text(0)).unwrap();

    assert_eq!(library.len(), MOST);
    assert_eq!(Library::without_oldest(&text(0)), Some(text(4)));
    assert_eq!(Library::without_oldest(&text(4)), None);
    assert_eq!(Library::parse(&text(4)).unwrap().to_text(), library.to_text());
}

#[test]
fn what_a_person_put_into_a_library_makes_room_for_nothing_that_is_learned() {
    let recording = |name: &str, word: usize| Recording::new(name, &vec![Some(word as u32); 50]).unwrap();
    let learned = |n: usize| recording(&format!("call-{n}"), n);
    let mut library = Library::default();
    library.add(learned(0));
    library.add(recording("hand", MOST + 7));
    (1..MOST + 3).for_each(|n| library.add(learned(n)));

    assert!(library.has("hand") && library.knows(&recording("", MOST + 7)));
    assert_eq!([0, 3, 4, MOST + 2].map(|n| library.knows(&learned(n))), [false, false, true, true]);
    assert_eq!((library.len(), library.places.len()), (MOST, MOST));

    (0..MOST).for_each(|n| library.add(recording(&format!("hand-{n}"), 2 * MOST + n)));
    library.add(learned(5));
    assert!(!library.has("call-5") && library.has("hand-0") && !library.has("hand"), "hands are full of their own");
}

#[test]
fn a_file_is_cut_by_what_was_learned_alone() {
    let line = |name: String| Recording::new(&name, &[Some(7); 50]).unwrap().to_line() + "\n";
    let learned = |from: usize, to: usize| (from..to).map(|n| line(format!("call-{n}"))).collect::<String>();
    let by_hand = |count: usize| (0..count).map(|n| line(format!("hand-{n}"))).collect::<String>();
    let hand = "# by hand\n".to_owned() + &by_hand(1);

    let text = learned(0, 2) + &hand + &learned(2, MOST + 3);
    assert_eq!(Library::without_oldest(&text), Some(hand + &learned(4, MOST + 3)));
    assert!(Library::parse(&text).unwrap().has("hand-0"));

    let full = by_hand(MOST + 2);
    assert_eq!(Library::without_oldest(&(full.clone() + &learned(0, 5))), Some(full.clone()));
    assert_eq!((Library::without_oldest(&full), Library::left_out(&full)), (None, 2));
    let library = Library::parse(&(full + &learned(0, 5))).unwrap();
    assert!(library.len() == MOST && !library.has("call-4") && !library.has("hand-1") && library.has("hand-2"));
}

#[test]
fn no_name_makes_a_remark_of_a_recording() {
    let recording = Recording::new("#1 of\tmany", &[Some(7); 50]).unwrap();

    let library = Library::parse(&recording.to_line()).unwrap();

    assert!(library.has("_1_of_many") && library.len() == 1);
}

#[test]
fn a_sign_is_no_digit_and_a_remark_may_be_set_in() {
    let line = library(1..2).to_text();
    let word = line.split_once(' ').unwrap().1.get(..6).unwrap();
    let signed = line.replacen(word, "+12345", 1);

    assert!(Recording::from_line(&line).is_some() && Recording::from_line(&signed).is_none(), "{signed}");
    let (read, bad) = Library::parse_damaged(&format!(" # a remark\n\t#\n{line}{signed}"));
    assert_eq!((read.len(), bad), (1, vec![4]));
}
