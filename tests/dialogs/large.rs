//! Requests that may not fit into a datagram.

use ringfence::call::{Input, Local, Settings, Trunk};
use ringfence::sip::flow::{Hop, Transport};

use super::world::{PBX, Phone, SPARE, TRUNK, US_INSIDE, US_OUTSIDE, World, header, response, sdp, settings};
use super::{MS, S, expect};

/// We listen on TCP too.
fn listening() -> Settings {
    let local = |address: &str| {
        let address = address.parse().unwrap();
        Local {
            by_transport: vec![Hop::udp(address), Hop { address, transport: Transport::Tcp }],
            ..Local::only(address)
        }
    };
    Settings { local_outside: local(US_OUTSIDE), local_inside: local(US_INSIDE), ..settings() }
}

fn large(caller: &Phone) -> String {
    caller.request_with("INVITE", &format!("X-Long: {}\r\n", "x".repeat(1_000)), &sdp(TRUNK, ""))
}

#[test]
fn a_large_invite_goes_by_tcp_and_all_that_is_small_by_udp() {
    let mut world = World::new(listening());
    let mut caller = Phone::caller("call");
    world.send(TRUNK, &large(&caller));
    let invite = world.last(PBX);
    assert!(header(&invite, "Via").starts_with("SIP/2.0/TCP 10.0.0.1:5060;branch=z9hG4bK"), "{invite}");
    assert!(header(&invite, "Contact").ends_with("10.0.0.1:5060>"), "the dialog stays with UDP: {invite}");
    world.run(MS(1_000));
    world.send(PBX, &response(&invite, "180 Ringing", "callee", ""));
    world.run(S(4));
    world.answer((PBX, "callee"), &invite, (TRUNK, &mut caller));
    world.hang_up((TRUNK, &mut caller), PBX);

    expect(
        &mut world,
        "
             0 trunk > INVITE sip:201@192.0.2.1:5060 sdp
             0       > pbx INVITE sip:201@10.0.0.5:5060 sdp by tcp
           200       > trunk 100 Trying (1 INVITE)
          1000 pbx > 180 Ringing (1 INVITE)
          1000       > trunk 180 Ringing (1 INVITE)
          5000 pbx > 200 OK (1 INVITE) sdp
          5000       > trunk 200 OK (1 INVITE) sdp
          5000 trunk > ACK sip:y@192.0.2.1:5060
          5000       > pbx ACK sip:y@10.0.0.5:5060
          5000 trunk > BYE sip:y@192.0.2.1:5060
          5000       > pbx BYE sip:y@10.0.0.5:5060
          5000 pbx > 200 OK (2 BYE)
          5000       > trunk 200 OK (2 BYE)
        ",
    );
    assert_eq!(world.switchboard.counters().large_requests, 1);
    world.rest();
}

#[test]
fn a_peer_that_takes_no_connection_has_a_datagram_at_once_and_is_not_asked_again_for_a_while() {
    let mut world = World::new(listening());
    for (name, waits, asked) in [("a", 0, true), ("b", 1, false), ("c", 601, true)] {
        world.run(S(waits));
        let caller = Phone::caller(name);
        world.send(TRUNK, &large(&caller));
        assert_eq!(world.ladder().contains("by tcp"), asked, "{name}");
        let mut invite = world.last(PBX);
        if asked {
            world.input(Input::Unsent { bytes: invite.as_bytes() });
            let again = world.last(PBX);
            assert_eq!(again, invite.replacen("SIP/2.0/TCP", "SIP/2.0/UDP", 1));
            invite = again;
        }
        world.send(PBX, &response(&invite, "486 Busy Here", "callee", ""));
        assert!(world.last(TRUNK).starts_with("SIP/2.0 486 "));
        world.send(TRUNK, &caller.request("ACK", ""));
        world.last(PBX);
    }
    let counters = world.switchboard.counters();
    assert_eq!((counters.large_requests, counters.large_fell_back), (2, 2));
    world.rest();
}

#[test]
fn a_connection_that_brings_nothing_costs_one_and_a_half_seconds() {
    let mut world = World::new(listening());
    let caller = Phone::caller("call");
    world.send(TRUNK, &large(&caller));
    world.run(MS(2_600));
    let invite = world.last(PBX);
    assert!(header(&invite, "Via").starts_with("SIP/2.0/UDP "), "{invite}");
    // The connection is given up behind it.
    let stream = invite.replacen("SIP/2.0/UDP", "SIP/2.0/TCP", 1);
    world.input(Input::Unsent { bytes: stream.as_bytes() });
    world.send(PBX, &response(&invite, "180 Ringing", "callee", ""));
    world.send(TRUNK, &caller.request("CANCEL", ""));
    let cancel = world.last(PBX);
    world.send(PBX, &response(&cancel, "200 OK", "callee", ""));
    world.send(PBX, &response(&invite, "487 Request Terminated", "callee", ""));

    expect(
        &mut world,
        "
             0 trunk > INVITE sip:201@192.0.2.1:5060 sdp
             0       > pbx INVITE sip:201@10.0.0.5:5060 sdp by tcp
           200       > trunk 100 Trying (1 INVITE)
          1500       > pbx INVITE sip:201@10.0.0.5:5060 sdp
          2000       > pbx INVITE sip:201@10.0.0.5:5060 sdp
          2600 pbx > 180 Ringing (1 INVITE)
          2600       > trunk 180 Ringing (1 INVITE)
          2600 trunk > CANCEL sip:201@192.0.2.1:5060
          2600       > trunk 200 OK (1 CANCEL)
          2600       > pbx CANCEL sip:201@10.0.0.5:5060
          2600       > trunk 487 Request Terminated (1 INVITE)
          2600 pbx > 200 OK (1 CANCEL)
          2600 pbx > 487 Request Terminated (1 INVITE)
          2600       > pbx ACK sip:201@10.0.0.5:5060
        ",
    );
    world.send(TRUNK, &caller.request("ACK", ""));
    world.rest();
}

#[test]
fn another_request_than_an_invite_may_be_thought_about() {
    let mut world = World::new(listening());
    let long = format!("X-Long: {}\r\n", "x".repeat(1_400));
    world.send(TRUNK, &Phone::caller("ask").request_with("MESSAGE", &long, ""));
    let message = world.last(PBX);
    assert!(header(&message, "Via").starts_with("SIP/2.0/TCP "), "{message}");
    world.run(S(10));
    assert_eq!(world.receive(PBX), None);
    world.send(PBX, &response(&message, "200 OK", "pbx", ""));
    assert!(world.last(TRUNK).starts_with("SIP/2.0 200 "));

    let caller = Phone::caller("call");
    world.send(TRUNK, &large(&caller));
    let invite = world.last(PBX);
    assert!(header(&invite, "Via").starts_with("SIP/2.0/TCP "), "connections work: {invite}");
    world.send(PBX, &response(&invite, "486 Busy Here", "callee", ""));
    world.send(TRUNK, &caller.request("ACK", ""));
    world.rest();
}

#[test]
fn a_trunk_that_takes_no_connection_has_its_time_for_the_datagram() {
    let mut settings = listening();
    settings.trunks[0].answer_within = S(1);
    settings.trunks.push(Trunk::at("spare", Hop::udp(SPARE.parse().unwrap())));
    for answers in [true, false] {
        let mut world = World::new(settings.clone());
        let caller = Phone::inside("out", "01632960002");
        let long = format!("X-Long: {}\r\n", "x".repeat(1_000));
        world.send(PBX, &caller.request_with("INVITE", &long, &sdp(PBX, "")));
        world.run(MS(2_400));
        let invite = world.last(TRUNK);
        assert!(header(&invite, "Via").starts_with("SIP/2.0/UDP "), "{invite}");
        assert!(world.newest_invite(SPARE).is_none());
        if answers {
            world.send(TRUNK, &response(&invite, "180 Ringing", "callee", ""));
        }
        world.run(S(1));
        assert_eq!(world.newest_invite(SPARE).is_none(), answers);
    }
}

#[test]
fn a_cancel_goes_the_way_of_its_large_invite() {
    let mut world = World::new(listening());
    let caller = Phone::caller("call");
    world.send(TRUNK, &large(&caller));
    let invite = world.last(PBX);
    world.send(PBX, &response(&invite, "180 Ringing", "callee", ""));
    world.send(TRUNK, &caller.request("CANCEL", ""));
    assert!(world.ladder().contains("> pbx CANCEL sip:201@10.0.0.5:5060 by tcp"));
    let cancel = world.last(PBX);
    assert_eq!(header(&cancel, "Via"), header(&invite, "Via"));
    world.send(PBX, &response(&cancel, "200 OK", "callee", ""));
    world.send(PBX, &response(&invite, "487 Request Terminated", "callee", ""));
    world.send(TRUNK, &caller.request("ACK", ""));
    world.rest();
}

#[test]
fn without_a_listener_or_by_order_a_large_request_is_a_datagram() {
    for settings in [settings(), Settings { large_over_tcp: false, ..listening() }] {
        let mut world = World::new(settings);
        let caller = Phone::caller("call");
        world.send(TRUNK, &large(&caller));
        let invite = world.last(PBX);
        assert!(header(&invite, "Via").starts_with("SIP/2.0/UDP "), "{invite}");
        world.send(PBX, &response(&invite, "486 Busy Here", "callee", ""));
        world.send(TRUNK, &caller.request("ACK", ""));
        world.rest();
    }
}
