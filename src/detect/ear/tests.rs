#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::f32::consts::TAU;

use super::*;
use crate::audio::FRAME_SAMPLES;
use crate::audio::wav::Wav;
use crate::detect::fingerprint::Recording;

/// The caller's and the callee's voice of a call of the demo.
fn call(wav: &[u8]) -> [Vec<i16>; 2] {
    Wav::read(wav).unwrap().telephone().unwrap().try_into().unwrap()
}

fn scam() -> Vec<i16> {
    let [caller, _] = call(include_bytes!("../../demo/audio/scam.wav"));
    caller
}

/// An ear that has heard both legs.
fn heard(caller: &[i16], callee: &[i16], library: &Arc<Library>) -> (Ear, bool) {
    let mut ear = Ear::new(&mut FftPlanner::new(), Arc::clone(library), Opposite::Callee);
    let mut known = false;
    for (n, samples) in caller.as_chunks::<FRAME_SAMPLES>().0.iter().enumerate() {
        let at = CallTime(FRAME_TIME * n as u32);
        let other = callee.as_chunks::<FRAME_SAMPLES>().0.get(n).copied().unwrap_or([0; FRAME_SAMPLES]);
        ear.frames(&Frame { at, samples: *samples, lost: false }, &Frame { at, samples: other, lost: false });
        while let Some(evidence) = ear.poll_evidence() {
            known |= matches!(evidence.finding, Finding::KnownRecording { .. });
        }
    }
    (ear, known)
}

/// A library that has learned a call with this sound of both legs before the scam.
fn learned(caller: &[i16], callee: &[i16]) -> Arc<Library> {
    let (ear, _) = heard(&[caller, &scam()].concat(), callee, &Arc::default());
    let mut library = Library::default();
    library.add(Recording::new("scam", &ear.fingerprint()).unwrap());
    Arc::new(library)
}

/// Chords that change in steps; `on` and `off` in turn say when they sound, in milliseconds.
fn chords(chords: &[&[f32]], step: usize, [on, off]: [usize; 2], seconds: usize) -> Vec<i16> {
    let sample = |n: usize| {
        let t = n as f32 / 8_000.0;
        let chord = chords[n / (8 * step) % chords.len()];
        let sounds = n / 8 % (on + off) < on;
        let sum: f32 = chord.iter().map(|hz| (TAU * hz * t).sin()).sum();
        if sounds { (sum * 9_000.0 / chord.len() as f32) as i16 } else { 0 }
    };
    (0..8_000 * seconds).map(sample).collect()
}

#[test]
fn tones_and_music_before_a_scam_do_not_make_scams_of_other_calls() {
    let [person, _] = call(include_bytes!("../../demo/audio/neighbour.wav"));
    let music: [&[f32]; 4] =
        [&[261.6, 329.6, 392.0], &[220.0, 261.6, 329.6], &[349.2, 440.0, 523.3], &[392.0, 493.9, 587.3]];
    for (name, sound) in [
        ("North American ringback", chords(&[&[440.0, 480.0]], 1_000, [2_000, 4_000], 6)),
        ("a British dial tone", chords(&[&[350.0, 440.0]], 1_000, [1, 0], 6)),
        ("a busy tone", chords(&[&[400.0]], 1_000, [375, 375], 6)),
        ("music on hold", chords(&music, 600, [1, 0], 8)),
    ] {
        let library = learned(&sound, &[]);

        let (_, known) = heard(&[&sound[..], &person].concat(), &[], &library);
        assert!(!known, "a person behind {name}");
        let (_, known) = heard(&scam(), &[], &library);
        assert!(known, "the scam without {name}");
    }
}

#[test]
fn the_echo_of_the_pbxs_own_greeting_is_no_part_of_a_recording() {
    // The PBX plays its greeting to each caller, and a line returns a part of it.
    let [greeting, _] = call(include_bytes!("../../demo/audio/reminder.wav"));
    let echo = |delay: usize| -> Vec<i16> {
        let returned = greeting.iter().map(|sample| sample / 10);
        std::iter::repeat_n(0, delay).chain(returned).take(8_000 * 8).collect()
    };
    let library = learned(&echo(480), &greeting[..8_000 * 8]);
    let [person, _] = call(include_bytes!("../../demo/audio/neighbour.wav"));

    let (_, known) = heard(&[echo(640), person].concat(), &greeting[..8_000 * 8], &library);

    assert!(!known, "whoever calls over such a line");
    assert!(heard(&scam(), &[], &library).1, "the scam itself is");
}

#[test]
fn an_ear_lets_go_of_the_library_when_it_can_change_nothing_any_more() {
    let [neighbour, _] = call(include_bytes!("../../demo/audio/neighbour.wav"));
    let long: Vec<i16> = neighbour.into_iter().cycle().take(8_000 * 21).collect();
    let library = learned(&[], &[]);

    let begun = heard(&long[..8_000 * 5], &[], &library);
    assert_eq!(Arc::strong_count(&library), 2);
    drop(begun);
    let full = heard(&long, &[], &library);
    let known = heard(&scam(), &[], &library);

    assert_eq!((full.1, known.1), (false, true));
    assert_eq!(Arc::strong_count(&library), 1);
}
