use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;
use crate::io::clock;

const SECOND: Duration = Duration::from_secs(1);

fn settings() -> Settings {
    Settings {
        messages_per_source: Rate::new(10, SECOND),
        messages_per_trunk: Rate::new(20, SECOND),
        calls_per_source: Rate::new(5, 60 * SECOND),
        calls_per_number: Rate::new(2, 60 * SECOND),
        block_for: 60 * SECOND,
        longest_block: 600 * SECOND,
        max_sources: 1_000,
        allow: vec!["198.51.100.0/24".parse().unwrap()],
        deny: vec!["203.0.113.0/24".parse().unwrap()],
        trusted: vec!["192.0.2.0/28".parse().unwrap()],
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Floods until something is dropped; how many passed.
fn flood(gate: &mut Gate, source: IpAddr, now: Instant) -> usize {
    (0..1_000).take_while(|_| gate.message(source, false, now) == Admission::Pass).count()
}

#[test]
fn so_many_calls_for_help_pass_a_spent_limit() {
    let t0 = clock::now();
    let mut gate = Gate::new(Arc::new(settings()), t0);

    assert_eq!((0..1_000).filter(|_| gate.helps(t0)).count(), HELP_A_SECOND as usize);
    assert!(gate.helps(t0 + SECOND));
}

#[test]
fn a_stranger_that_floods_is_blocked_longer_each_time() {
    let t0 = clock::now();
    let mut gate = Gate::new(Arc::new(settings()), t0);
    let stranger = ip("192.0.2.99");

    assert_eq!(flood(&mut gate, stranger, t0), 10);
    assert_eq!(gate.message(stranger, false, t0 + 59 * SECOND), Admission::Drop(DropReason::Blocked));
    assert_eq!(gate.message(stranger, false, t0 + 60 * SECOND), Admission::Pass);
    let t1 = t0 + 61 * SECOND;
    flood(&mut gate, stranger, t1);
    assert_eq!(gate.message(stranger, false, t1 + 119 * SECOND), Admission::Drop(DropReason::Blocked));
    assert_eq!(gate.message(stranger, false, t1 + 120 * SECOND), Admission::Pass);
    let lengths: Vec<(u64, u32)> = std::iter::from_fn(|| gate.poll_event())
        .filter_map(|event| match event {
            GateEvent::Blocked(block) => Some(((block.until - block.since).as_secs(), block.times)),
            GateEvent::Expired { .. } => None,
        })
        .collect();
    assert_eq!(lengths, [(60, 1), (120, 2)]);
}

#[test]
fn a_block_never_grows_past_the_longest_and_is_forgotten_after_it() {
    let mut now = clock::now();
    let mut gate = Gate::new(Arc::new(settings()), now);
    let stranger = ip("192.0.2.99");
    let mut longest = Duration::ZERO;
    for _ in 0..8 {
        flood(&mut gate, stranger, now);
        let block = gate.blocks(now).pop().unwrap();
        longest = longest.max(block.until - block.since);
        now = block.until + SECOND;
    }
    assert_eq!(longest, 600 * SECOND);

    now += 601 * SECOND;
    gate.handle_timeout(now);
    flood(&mut gate, stranger, now);

    assert_eq!(gate.blocks(now).pop().unwrap().times, 1);
}

#[test]
fn of_many_blocks_those_that_are_busy_are_shown() {
    let now = clock::now();
    let mut gate = Gate::new(Arc::new(Settings { max_sources: 5_000, ..settings() }), now);
    let forged: Vec<IpAddr> = (0..4_000_u32).map(|n| Ipv4Addr::from_bits(0x0B00_0000 + n).into()).collect();
    for &source in &forged {
        flood(&mut gate, source, now);
    }
    gate.message(forged[7], false, now);

    let shown: Vec<IpAddr> = gate.blocks(now).iter().map(|block| block.source).collect();

    assert_eq!(shown.len(), 1_000);
    assert_eq!((shown[0], shown[1]), (forged[7], forged[3_999]));
}

#[test]
fn trunks_are_limited_and_never_blocked() {
    let t0 = clock::now();
    let mut gate = Gate::new(Arc::new(settings()), t0);
    let trunk = ip("192.0.2.1");

    assert_eq!(flood(&mut gate, trunk, t0), 20);
    assert_eq!(gate.message(trunk, false, t0 + SECOND), Admission::Pass);
    assert_eq!(gate.blocks(t0 + SECOND), []);
    assert!(!gate.block(trunk, SECOND, t0));
}

#[test]
fn allowed_networks_pass_everything_and_denied_ones_nothing() {
    let t0 = clock::now();
    let mut gate = Gate::new(Arc::new(settings()), t0);

    assert_eq!(flood(&mut gate, ip("198.51.100.7"), t0), 1_000);
    assert_eq!(gate.call(ip("198.51.100.7"), false, Some("1"), t0), CallAdmission::Pass);
    assert_eq!(gate.message(ip("203.0.113.7"), false, t0), Admission::Drop(DropReason::Denied));
}

#[test]
fn a_million_sources_stay_under_the_cap_and_lift_no_block() {
    let t0 = clock::now();
    let mut gate = Gate::new(Arc::new(settings()), t0);
    let (blocked, trunk) = (ip("192.0.2.99"), ip("192.0.2.1"));
    flood(&mut gate, blocked, t0);
    assert_eq!(gate.message(trunk, false, t0), Admission::Pass);

    for n in 0..1_000_000u32 {
        gate.message(IpAddr::V4(Ipv4Addr::from(0x0A00_0000 + n)), false, t0);
    }

    assert!(gate.sizes().0 <= 3_000, "{:?}", gate.sizes());
    assert_eq!(gate.message(blocked, false, t0), Admission::Drop(DropReason::Blocked));
    assert_eq!(gate.message(trunk, false, t0), Admission::Pass);
}

#[test]
fn calls_are_limited_by_source_and_by_number() {
    let t0 = clock::now();
    let mut gate = Gate::new(Arc::new(settings()), t0);
    let trunk = ip("192.0.2.1");
    let mut call = |number, at| gate.call(trunk, false, number, at);

    assert_eq!(call(Some("+441632960001"), t0), CallAdmission::Pass);
    assert_eq!(call(Some("+441632960001"), t0), CallAdmission::Pass);
    assert_eq!(call(Some("+441632960001"), t0), CallAdmission::OverNumber);
    assert_eq!(call(None, t0), CallAdmission::Pass);
    assert_eq!(call(None, t0), CallAdmission::Pass);
    assert_eq!(call(None, t0), CallAdmission::OverSource);
    assert_eq!(call(Some("+441632960001"), t0 + 61 * SECOND), CallAdmission::Pass);
}

#[test]
fn one_numbers_flood_keeps_no_other_caller_of_its_trunk_out() {
    let t0 = clock::now();
    let mut gate = Gate::new(Arc::new(settings()), t0);
    let (trunk, loud, other) = (ip("192.0.2.1"), Some("+441632960001"), Some("+441632960002"));

    let outcomes: Vec<CallAdmission> = (0..100).map(|_| gate.call(trunk, false, loud, t0)).collect();
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == CallAdmission::OverNumber).count(), 98);
    assert_eq!(gate.call(trunk, false, other, t0), CallAdmission::Pass);
    assert_eq!(gate.call(trunk, false, None, t0), CallAdmission::Pass);

    // Of a source over its limit no number is noted, nor is its limit spent.
    for random in 0..100 {
        let number = format!("+4416329{random:05}");
        assert_eq!(gate.call(trunk, false, Some(&number), t0), CallAdmission::OverSource);
        assert_eq!(gate.call(trunk, false, other, t0), CallAdmission::OverSource);
    }
    assert_eq!(gate.sizes().1, 2);
    let later = t0 + 61 * SECOND;
    assert_eq!(
        [(); 3].map(|()| gate.call(trunk, false, other, later)),
        [CallAdmission::Pass, CallAdmission::Pass, CallAdmission::OverNumber]
    );
}

#[test]
fn what_comes_in_a_sources_name_takes_nothing_of_what_comes_on_its_connections() {
    let t0 = clock::now();
    let mut gate = Gate::new(Arc::new(settings()), t0);
    let (trunk, number) = (ip("192.0.2.1"), Some("+441632960001"));
    let messages =
        |gate: &mut Gate, proven| (0..1_000).filter(|_| gate.message(trunk, proven, t0) == Admission::Pass).count();
    let calls = |gate: &mut Gate, proven, number| {
        (0..100).filter(|_| gate.call(trunk, proven, number, t0) == CallAdmission::Pass).count()
    };

    assert_eq!([false, true].map(|proven| messages(&mut gate, proven)), [20, 20]);
    for proven in [false, true] {
        // The third call of the number is the last that counts for the source.
        assert_eq!((calls(&mut gate, proven, number), calls(&mut gate, proven, None)), (2, 2));
    }
    gate.set(Arc::new(Settings { calls_per_source: Rate::new(7, 60 * SECOND), ..settings() }), t0);
    assert_eq!([false, true].map(|proven| calls(&mut gate, proven, None)), [7, 7], "a new limit is one of both");
    assert_eq!(gate.sizes(), (1, 1));
}

#[test]
fn new_settings_keep_counters_and_blocks() {
    let t0 = clock::now();
    let mut gate = Gate::new(Arc::new(settings()), t0);
    let (stranger, half) = (ip("192.0.2.99"), ip("192.0.2.98"));
    flood(&mut gate, stranger, t0);
    for _ in 0..10 {
        assert_eq!(gate.message(half, false, t0), Admission::Pass);
    }

    gate.set(Arc::new(Settings { block_for: 5 * SECOND, ..settings() }), t0);

    assert_eq!(gate.message(stranger, false, t0), Admission::Drop(DropReason::Blocked));
    assert_eq!(gate.message(half, false, t0), over());
    assert!(gate.lift(stranger) && !gate.lift(stranger));
    assert_eq!(gate.message(stranger, false, t0), Admission::Pass);
}

#[test]
fn a_block_that_is_lifted_is_told_as_its_beginning_was() {
    let t0 = clock::now();
    let mut gate = Gate::new(Arc::new(settings()), t0);
    assert!(gate.block(ip("2001:db8::9"), 60 * SECOND, t0) && gate.lift(ip("2001:db8::8")));

    let told: Vec<IpAddr> = std::iter::from_fn(|| gate.poll_event())
        .map(|event| match event {
            GateEvent::Blocked(block) => block.source,
            GateEvent::Expired { source } => source,
        })
        .collect();
    assert_eq!(told, [ip("2001:db8::"); 2], "of IPv6 the /64");
}

#[test]
fn a_block_that_expires_is_told() {
    let t0 = clock::now();
    let mut gate = Gate::new(Arc::new(settings()), t0);
    assert!(gate.block(ip("192.0.2.99"), 5 * SECOND, t0));
    gate.handle_timeout(t0 + 4 * SECOND);
    assert_eq!(
        gate.message(ip("192.0.2.98"), false, t0 + 5 * SECOND + SECOND / 2),
        Admission::Pass,
        "others go on meanwhile"
    );
    gate.handle_timeout(t0 + 6 * SECOND);

    let last = std::iter::from_fn(|| gate.poll_event()).last();
    assert_eq!(last, Some(GateEvent::Expired { source: ip("192.0.2.99") }));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever comes in whatever order, no source passes more than its burst and its rate allow.
    #[test]
    fn no_source_passes_more_than_its_rate(steps in prop::collection::vec((0u8..4, 0u64..400), 1..400)) {
        let t0 = clock::now();
        let mut gate = Gate::new(Arc::new(settings()), t0);
        let mut now = t0;
        let mut passed = [0u64; 4];
        for (source, wait) in steps {
            now += Duration::from_millis(wait);
            let address = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 100 + source));
            if gate.message(address, false, now) == Admission::Pass {
                passed[usize::from(source)] += 1;
            }
        }
        let most = 10 + 10 * (now - t0).as_millis() as u64 / 1_000 + 1;
        prop_assert!(passed.iter().all(|passed| *passed <= most), "{passed:?} of {most}");
    }
}

#[test]
fn those_who_flood_most_are_named_and_nobody_who_may_be_heard() {
    let t0 = clock::now();
    let mut gate = Gate::new(Arc::new(settings()), t0);
    for (last, messages) in [(97, 50), (98, 500), (99, 200)] {
        for _ in 0..messages {
            gate.message(ip(&format!("192.0.2.{last}")), false, t0);
        }
    }

    assert_eq!(gate.worst(100, 9, t0), [ip("192.0.2.98"), ip("192.0.2.99")]);
    assert_eq!(gate.worst(100, 1, t0), [ip("192.0.2.98")]);
    assert_eq!(gate.worst(100, 9, t0 + 60 * SECOND), Vec::<IpAddr>::new());
    gate.set(Arc::new(Settings { allow: vec!["192.0.2.98/32".parse().unwrap()], ..settings() }), t0);
    assert_eq!(gate.worst(100, 9, t0), [ip("192.0.2.99")]);
    gate.lift(ip("192.0.2.99"));
    assert_eq!(gate.worst(100, 9, t0), Vec::<IpAddr>::new());
}

#[test]
fn a_trunks_gateway_is_not_blocked_by_whoever_forges_its_address_but_by_an_operator() {
    let t0 = clock::now();
    let mut gate = Gate::new(Arc::new(settings()), t0);
    let gateway = ip("192.0.2.99");
    flood(&mut gate, gateway, t0);
    assert_eq!(gate.message(gateway, false, t0), Admission::Drop(DropReason::Blocked));

    assert!(gate.vouch(gateway, t0));
    assert_eq!(flood(&mut gate, gateway, t0), 20, "as a trunk");
    assert_eq!(gate.message(gateway, false, t0 + SECOND), Admission::Pass);
    assert!(gate.blocks(t0).is_empty() && gate.worst(0, 10, t0).is_empty());

    assert!(gate.block(gateway, 60 * SECOND, t0));
    assert!(!gate.vouch(gateway, t0));
    assert_eq!(gate.message(gateway, false, t0 + SECOND), Admission::Drop(DropReason::Blocked));
    assert!(!gate.vouch(ip("203.0.113.1"), t0), "networks.deny");
}

#[test]
fn no_flood_of_forged_sources_lifts_what_an_operator_has_blocked() {
    let t0 = clock::now();
    let mut gate = Gate::new(Arc::new(settings()), t0);
    let unwanted: Vec<IpAddr> = (0..20).map(|host| ip(&format!("192.0.2.{}", 100 + host))).collect();
    assert!(unwanted.iter().all(|source| gate.block(*source, 600 * SECOND, t0)));

    for forged in 0..3_000u32 {
        flood(&mut gate, Ipv4Addr::from(0x0A00_0000 + forged).into(), t0);
    }

    assert_eq!(gate.blocks.len(), 1_000);
    for source in unwanted {
        assert_eq!(gate.message(source, false, t0 + SECOND), Admission::Drop(DropReason::Blocked), "{source}");
    }
}
