//! A bounded soak: some thousand calls through a bad network, in fake time. `examples/soak.rs` is the long one.

#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

#[path = "soak/mod.rs"]
mod soak;

use soak::{Network, Violation, World};

#[test]
fn every_call_of_a_lossy_network_leaves_nothing_behind() {
    for seed in 1..=4 {
        let network = Network::lossy(seed, 0.10);
        let (tally, violations) = World::new(network, 0, 500).run();

        assert!(tally.most_at_once > 100, "calls overlap: {}", tally.most_at_once);
        assert!(tally.shown > 10, "calls have video: {}", tally.shown);
        assert!(violations.is_empty(), "{}", told(network, &violations));
    }
}

#[test]
fn in_a_perfect_network_every_call_ends_as_it_is_meant_to() {
    let network = Network::perfect(7);
    let (tally, violations) = World::new(network, 0, 1_000).run();

    assert!(violations.is_empty(), "{}", told(network, &violations));
    for (name, count) in &tally.scenarios {
        assert_eq!(count.as_meant, count.calls, "{name}");
    }
}

/// The violations, and the first one's ladder.
fn told(network: Network, violations: &[Violation]) -> String {
    let mut out = String::new();
    for violation in violations.iter().take(10) {
        out += &format!(
            "seed {} call {:?} ({}): {}\n",
            network.seed, violation.number, violation.scenario, violation.text
        );
    }
    if let Some(number) = violations.iter().find_map(|violation| violation.number) {
        out += &World::alone(network, number).1;
    }
    out
}
