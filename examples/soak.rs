//! Calls by the million through a network that loses, doubles, delays and reorders, in fake time: does anything remain?
//!
//! `cargo run --release --example soak -- --calls 1000000 --loss 0.10 --seed 1` prints what became of each scenario's
//! calls, calls a second, and every violation with the ladder of its call. `--only NUMBER` plays one call of that run
//! again. Exit code 1 if anything was violated.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a tool that prints")]

#[path = "../tests/soak/mod.rs"]
mod soak;

use std::process::ExitCode;

use clap::Parser;
use ringfence::io::clock;
use soak::{Network, Tally, Violation, World};

/// Calls that begin before all time is let pass and everything is looked at.
const BATCH: u64 = 10_000;
/// Ladders that are printed.
const LADDERS: usize = 3;

#[derive(Parser)]
struct Arguments {
    /// Calls.
    #[arg(long, default_value_t = 100_000)]
    calls: u64,
    /// Share of datagrams that are lost.
    #[arg(long, default_value_t = 0.10)]
    loss: f64,
    /// Of all that happens.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Calls that begin in a second of the made-up world.
    #[arg(long, default_value_t = 20)]
    pace: u64,
    /// Only this call of the run, with its ladder.
    #[arg(long)]
    only: Option<u64>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let network = Network { pace: arguments.pace.clamp(1, 1_000), ..Network::lossy(arguments.seed, arguments.loss) };
    if let Some(number) = arguments.only {
        let (violations, ladder) = World::alone(network, number);
        println!("{ladder}");
        violations.iter().for_each(tell);
        return if violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }

    let begun = clock::now();
    let mut world = World::new(network, 0, 0);
    let mut total = Tally::default();
    let mut violations: Vec<Violation> = Vec::new();
    let mut done = 0;
    while done < arguments.calls {
        let count = BATCH.min(arguments.calls - done);
        world.next_batch(done, count);
        let (tally, found) = world.run();
        let leaks = found.iter().any(|violation| violation.number.is_none());
        violations.extend(found);
        if leaks {
            // The tables do not say whose entry is left; alone each call can be asked.
            let alone = (done..done + count).flat_map(|number| {
                World::alone(network, number)
                    .0
                    .into_iter()
                    .map(move |found| Violation { number: Some(number), ..found })
            });
            violations.extend(alone.take(LADDERS));
            world = World::new(network, 0, 0);
        }
        total.add(&tally);
        done += count;
        if done % (BATCH * 10) == 0 {
            let spent = clock::now().duration_since(begun).as_secs_f64();
            println!("{done:>9} calls, {:>6.0} a second, {} violations", done as f64 / spent, violations.len());
        }
    }
    report(&total, clock::now().duration_since(begun).as_secs_f64());
    violations.iter().take(20).for_each(tell);
    let mut numbers: Vec<u64> = violations.iter().filter_map(|violation| violation.number).collect();
    numbers.dedup();
    for number in numbers.into_iter().take(LADDERS) {
        println!("\ncall {number}, again: --seed {} --loss {} --only {number}", arguments.seed, arguments.loss);
        println!("{}", World::alone(network, number).1);
    }
    println!("violations: {}", violations.len());
    if violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn tell(violation: &Violation) {
    let number = violation.number.map_or_else(|| "-".to_owned(), |number| number.to_string());
    println!("VIOLATION call {number} ({}): {}", violation.scenario, violation.text);
}

fn report(total: &Tally, spent: f64) {
    println!("\n{:<36}{:>9}{:>12}{:>9}", "scenario", "calls", "as meant", "others");
    let (mut calls, mut as_meant) = (0, 0);
    for (name, count) in &total.scenarios {
        println!("{name:<36}{:>9}{:>12}{:>9}", count.calls, count.as_meant, count.calls - count.as_meant);
        calls += count.calls;
        as_meant += count.as_meant;
    }
    println!("{:<36}{calls:>9}{as_meant:>12}{:>9}\n", "all", calls - as_meant);
    println!("answered: {} calls, {} with video at their end", total.answered, total.shown);
    println!("at once: {} calls at most", total.most_at_once);
    println!(
        "datagrams: {}, {} lost ({:.1} %)",
        total.datagrams,
        total.lost,
        100.0 * total.lost as f64 / total.datagrams.max(1) as f64
    );
    println!("made-up time: {:.1} h", total.simulated.as_secs_f64() / 3_600.0);
    println!("real time: {spent:.1} s, {:.0} calls a second", calls as f64 / spent);
}
