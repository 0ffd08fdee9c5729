//! How well fingerprints know a recording again: every automated call of a manifest against a library of all of them.
//!
//! `cargo run --release --example campaigns -- MANIFEST.csv` hears each call a second time from another start, through
//! A-law, 15 dB of noise and 2 % of lost frames, and prints how many are known within 3 s of speech and how many of all
//! other pairs are taken for the same.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a tool that fails by panicking"
)]

use std::collections::BTreeSet;

use ringfence::audio::FRAME_SAMPLES;
use ringfence::audio::g711::Law;
use ringfence::detect::fingerprint::{Fingerprinter, Library, Matcher, Probe, Recording, Word};
use ringfence::offline::{Labelled, read_whole_manifest};
use ringfence::policy::judge::Class;
use rustfft::FftPlanner;

fn main() {
    let Some(manifest) = std::env::args_os().nth(1) else {
        println!("usage: campaigns MANIFEST.csv");
        std::process::exit(2);
    };
    let calls = read_whole_manifest(manifest.as_ref()).unwrap_or_else(|error| panic!("{error}"));
    // One rendering of a script by a voice is one recording.
    let mut seen = BTreeSet::new();
    let automated: Vec<&Labelled> = calls
        .iter()
        .filter(|call| matches!(call.label, Class::PressKey | Class::Recorded))
        .filter(|call| seen.insert((call.cluster.clone(), call.voice.clone())))
        .collect();
    let mut random = random();
    let (mut known, mut late, mut wrong, mut pairs) = (0, 0, 0u32, 0u64);
    let audio: Vec<Vec<i16>> = automated.iter().map(|call| speech(call)).collect();
    let prints: Vec<Recording> = automated
        .iter()
        .zip(&audio)
        .map(|(call, audio)| {
            let words: Vec<Word> = words(audio).iter().map(|heard| heard.word).collect();
            Recording::new(&call.id, &words).unwrap()
        })
        .collect();
    for (n, call) in automated.iter().enumerate() {
        let again = words(&second_time(&audio[n], &mut random));
        let mut own = Library::default();
        own.add(prints[n].clone());
        match recognised(&again, &own) {
            Some(word) if word <= 75 => known += 1,
            Some(_) => {
                known += 1;
                late += 1;
            }
            None => println!("not known: {} {}", call.id, call.kind),
        }
        let mut others = Library::default();
        prints.iter().enumerate().filter(|(m, _)| *m != n).for_each(|(_, print)| others.add(print.clone()));
        pairs += others.len() as u64;
        if recognised(&again, &others).is_some() {
            wrong += 1;
            println!("taken for another: {} {}", call.id, call.kind);
        }
    }
    println!("{} recordings: {known} known again, {late} of them after more than 3 s of speech", automated.len());
    println!("{pairs} other pairs: {wrong} calls taken for another recording");
}

/// The caller from the first word on.
fn speech(call: &Labelled) -> Vec<i16> {
    let recording =
        ringfence::offline::Recording::read(&call.path).unwrap_or_else(|error| panic!("{}: {error}", call.id));
    recording.caller.into_iter().skip(call.onset_ms.unwrap_or_default() as usize * 8).collect()
}

fn second_time(samples: &[i16], random: &mut impl FnMut() -> f32) -> Vec<i16> {
    let start = (random() * 8_000.0) as usize;
    let loud = samples.iter().map(|s| f32::from(*s) * f32::from(*s)).sum::<f32>() / samples.len().max(1) as f32;
    let noise = (loud / 10f32.powf(1.5)).sqrt() * 12f32.sqrt();
    let mut again: Vec<i16> = samples
        .iter()
        .skip(start)
        .map(|s| Law::A.decode(Law::A.encode((f32::from(*s) + noise * (random() - 0.5)) as i16)))
        .collect();
    for frame in again.chunks_mut(FRAME_SAMPLES) {
        if random() < 0.02 {
            frame.fill(0);
        }
    }
    again
}

fn words(samples: &[i16]) -> Vec<Probe> {
    let mut printer = Fingerprinter::new(&mut FftPlanner::new());
    samples.chunks_exact(FRAME_SAMPLES).filter_map(|frame| printer.frame(frame.try_into().unwrap())).collect()
}

fn recognised(words: &[Probe], library: &Library) -> Option<usize> {
    let mut matcher = Matcher::default();
    words.iter().enumerate().find_map(|(n, heard)| matcher.word(*heard, library).map(|_| n))
}

/// The same numbers in each run.
fn random() -> impl FnMut() -> f32 {
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 24) as f32
    }
}
