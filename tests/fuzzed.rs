//! The fuzzing targets on the bytes that were kept, and on a seeded share of mutations of them. `tests/fuzz/run` is the
//! long one; `FUZZ_SEED=7 FUZZ_RUNS=1000000 cargo test --release --test fuzzed` needs no libFuzzer.

#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, reason = "tests")]

#[path = "fuzzed/mod.rs"]
mod fuzzed;

use std::fs;
use std::path::Path;

use fuzzed::TARGETS;
use fuzzed::random::{Random, mutate};

/// Runs of each target, where nothing else is asked for.
const RUNS: u64 = 1_500;

fn asked(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Bytes of one folder of `tests/fuzz`, in the order of their names.
fn kept(folder: &str, target: &str) -> Vec<Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz").join(folder).join(target);
    let Ok(files) = fs::read_dir(path) else { return Vec::new() };
    let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

#[test]
fn what_was_found_once_is_not_found_again() {
    for (target, run) in TARGETS {
        kept("found", target).iter().for_each(|bytes| run(bytes));
    }
}

#[test]
fn a_seeded_share_of_every_target_finds_nothing() {
    for (target, run) in TARGETS {
        let corpus = kept("corpus", target);
        assert!(!corpus.is_empty(), "{target} has no corpus");
        corpus.iter().for_each(|bytes| run(bytes));
        let mut random = Random(asked("FUZZ_SEED", 1));
        for _ in 0..asked("FUZZ_RUNS", RUNS) {
            let mut bytes = corpus[random.below(corpus.len())].clone();
            let donor = &corpus[random.below(corpus.len())];
            mutate(&mut random, &mut bytes, donor);
            if let Err(panic) = std::panic::catch_unwind(|| run(&bytes)) {
                println!("{target} on b\"{}\"", bytes.escape_ascii());
                std::panic::resume_unwind(panic);
            }
        }
    }
}
