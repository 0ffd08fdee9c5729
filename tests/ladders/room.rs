//! Draining, and who finds room where there is little.

use ringfence::call::{Input, Settings};

use crate::world::{self, PBX, Phone, TRUNK, World, answered, expect, sdp, settings};

#[test]
fn draining_refuses_new_calls_and_ending_all_ends_what_runs() {
    let (mut world, _, _) = answered(settings());
    world.input(Input::Drain);
    let late = Phone::caller("late");
    world.send(TRUNK, &late.request("INVITE", &sdp(TRUNK, "")));
    world.send(TRUNK, &late.request("ACK", ""));
    world.input(Input::EndAll);

    expect(
        &mut world,
        "
             0 trunk > INVITE sip:201@192.0.2.1:5060 sdp
             0       > trunk 503 Service Unavailable (1 INVITE)
             0 trunk > ACK sip:201@192.0.2.1:5060
             0       > trunk BYE sip:x@192.0.2.10:5060
             0       > pbx BYE sip:y@10.0.0.5:5060
        ",
    );
    world.rest();
}

#[test]
fn emergency_calls_are_taken_while_draining_and_where_there_is_room_for_no_other() {
    let mut world = World::new(Settings { max_calls: 1, ..settings() });
    let dial = |name: &str, number: &str| Phone::inside(name, number).request("INVITE", &sdp(PBX, ""));
    world.send(TRUNK, &Phone::caller("first").request("INVITE", &sdp(TRUNK, "")));
    world.last(PBX);

    world.send(PBX, &dial("taxi", "01632960001"));
    assert!(world.last(PBX).starts_with("SIP/2.0 503 "));
    world.send(PBX, &dial("fire", "112"));
    assert!(world.newest_invite(TRUNK).is_some());
    world.input(Input::Drain);
    world.send(PBX, &dial("police", "999"));
    assert!(world.newest_invite(TRUNK).is_some());
    // From outside a number is a caller's word, and nobody's emergency.
    let from_outside = Phone { target: format!("sip:999@{}", world::US_OUTSIDE), ..Phone::caller("outside") };
    world.send(TRUNK, &from_outside.request("INVITE", &sdp(TRUNK, "")));
    assert!(world.last(TRUNK).starts_with("SIP/2.0 503 "));
    (0..20).for_each(|n| world.send(PBX, &dial(&format!("more{n}"), "999")));
    assert_eq!(world.switchboard.sizes().calls, 1 + ringfence::call::EMERGENCIES);

    world.input(Input::EndAll);
    world.forget_peer(PBX);
    world.send(PBX, &dial("late", "999"));
    assert!(world.last(PBX).starts_with("SIP/2.0 503 "), "the process is about to end");
    let refused = &world.switchboard.counters().refused;
    // The taxi; what came while draining: one from outside, more than there is room for, and the last one.
    let more = 20 + 2 - ringfence::call::EMERGENCIES as u64;
    assert_eq!(refused.iter().collect::<Vec<_>>(), [(&"draining", &(2 + more)), (&ringfence::call::NO_ROOM, &1)]);
}

#[test]
fn more_calls_than_the_limit_are_503_and_over_a_limit_is_busy() {
    let mut world = World::new(Settings { max_calls: 1, ..settings() });
    let (first, second) = (Phone::caller("first"), Phone::caller("second"));
    world.send(TRUNK, &first.request("INVITE", &sdp(TRUNK, "")));
    world.send(TRUNK, &second.request("INVITE", &sdp(TRUNK, "")));
    assert!(world.last(TRUNK).starts_with("SIP/2.0 503 "));
    world.send(TRUNK, &second.request("ACK", ""));
    world.send(TRUNK, &first.request("CANCEL", ""));
    world.rest();

    let mut world = World::new(settings());
    world.over_limit = Some(ringfence::policy::facts::OverLimit::Number);
    world.send(TRUNK, &first.request("INVITE", &sdp(TRUNK, "")));
    assert!(world.last(TRUNK).starts_with("SIP/2.0 486 "));
    world.send(TRUNK, &first.request("ACK", ""));
    world.rest();
}

#[test]
fn a_trunk_that_floods_with_calls_leaves_room_for_calls_of_others() {
    let mut trunks = settings().trunks;
    trunks[0].networks.clear();
    let hop = ringfence::sip::flow::Hop::udp("192.0.2.14:5060".parse().unwrap());
    trunks.push(ringfence::call::Trunk::at("other", hop));
    let mut world = World::new(Settings { max_calls: 100, trunks, ..settings() });
    for number in 0..200 {
        let wild = Phone::caller(&format!("wild{number}"));
        world.send(TRUNK, &wild.request("INVITE", &sdp(TRUNK, "")));
    }
    assert_eq!(world.switchboard.sizes().calls, 80);

    for number in 0..10 {
        let good = Phone::caller(&format!("good{number}"));
        world.send("192.0.2.14:5060", &good.request("INVITE", &sdp("192.0.2.14:5060", "")));
    }

    assert_eq!(world.switchboard.sizes().calls, 90);
}
