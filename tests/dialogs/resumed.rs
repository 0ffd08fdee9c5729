//! What the process before left on the wire.

use std::time::Duration;

use ringfence::call::{Input, Local, Settings, Snapshot};
use ringfence::rtp::control::MediaEvent;
use ringfence::sip::flow::{ConnectionId, Flow, Hop, Transport};
use ringfence::units::CallId;

use super::world::{PBX, Phone, TRUNK, World, header, response, sdp, settings};
use super::{MS, S, answered, answered_with, both_ended, expect, hang_up, saying};

#[test]
fn an_invite_repeated_after_a_kill_is_absorbed_and_its_2xx_comes_again() {
    let mut world = World::new(settings());
    let mut caller = Phone::caller("call");
    let dialled = caller.request("INVITE", &sdp(TRUNK, ""));
    world.send(TRUNK, &dialled);
    let invite = world.last(PBX);
    let answer = response(&invite, "200 OK", "callee", &sdp(PBX, ""));
    world.send(PBX, &answer);
    caller.learn(&world.last(TRUNK));
    world.ladder();
    world.kill_and_start(MS(700));
    let merged = dialled.replace("branch=z9hG4bKcall1", "branch=z9hG4bKother");

    world.send(TRUNK, &dialled);
    world.send(TRUNK, &merged);
    world.send(TRUNK, &merged.replace("INVITE sip", "ACK sip").replace("1 INVITE", "1 ACK"));
    world.send(PBX, &answer);
    world.send(TRUNK, &dialled);
    world.send(TRUNK, &caller.ack());

    expect(
        &mut world,
        "
          700 --- started again
          700 trunk > INVITE sip:201@192.0.2.1:5060 sdp
          700 trunk > INVITE sip:201@192.0.2.1:5060 sdp
          700       > trunk 482 Loop Detected (1 INVITE)
          700 trunk > ACK sip:201@192.0.2.1:5060 sdp
          700 pbx > 200 OK (1 INVITE) sdp
          700       > trunk 200 OK (1 INVITE) sdp
          700 trunk > INVITE sip:201@192.0.2.1:5060 sdp
          700 trunk > ACK sip:y@192.0.2.1:5060
          700       > pbx ACK sip:y@10.0.0.5:5060
        ",
    );
    world.last(PBX);
    world.hang_up((TRUNK, &mut caller), PBX);
    world.last(TRUNK);
    world.send(TRUNK, &dialled);
    assert!(world.receive(PBX).is_none() && world.receive(TRUNK).is_none(), "no new call comes of it");
    world.rest();
}

#[test]
fn once_nobody_can_repeat_the_invite_its_2xx_is_nobodys() {
    let (mut world, mut caller, _) = answered(settings());
    let answer = {
        // As the PBX would say it again.
        let invite =
            caller.request("INVITE", "").replace("Via:", "Via: SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bKx\r\nVia:");
        response(&invite, "200 OK", "callee", &sdp(PBX, ""))
    };
    world.run(S(20));
    world.kill_and_start(S(5));
    world.send(PBX, &answer);
    assert!(world.last(TRUNK).starts_with("SIP/2.0 200 "), "32 s after the answer");
    world.run(S(8));
    world.send(PBX, &answer);
    assert!(world.receive(TRUNK).is_none());
    let again = caller.request("INVITE", &sdp(TRUNK, ""));
    let again = again.replace(header(&again, "To"), "<sip:201@192.0.2.1:5060>");
    world.send(TRUNK, &again);
    assert!(world.last(TRUNK).starts_with("SIP/2.0 482 "));
    world.send(TRUNK, &again.replace("INVITE sip", "ACK sip").replace("1 INVITE", "1 ACK"));
    hang_up(world, &mut caller);
}

#[test]
fn a_hold_whose_answer_comes_after_a_kill_is_one_until_it_ends() {
    let (mut world, _, mut callee) = answered(settings());
    world.send(PBX, &callee.next("INVITE", &sdp(PBX, "a=inactive\r\n")));
    let hold = response(&world.last(TRUNK), "200 OK", "", &sdp(TRUNK, "a=inactive\r\n"));
    world.kill_and_start(MS(300));
    world.ladder();
    world.media_in_ladder = true;
    // Nobody's who is a party to the call.
    world.send(TRUNK, &hold.replace(";tag=", ";tag=x"));
    assert_eq!((world.receive(PBX), world.ladder().contains("* plan")), (None, false));
    for _ in 0..2 {
        world.send(TRUNK, &hold);
        assert!(world.last(PBX).contains("a=inactive"));
    }
    world.send(PBX, &callee.ack());
    expect(
        &mut world,
        "
          300 trunk > 200 OK (101 INVITE) sdp
          300       > pbx 200 OK (101 INVITE) sdp
          300       * plan caller [(0, Pcmu)]
          300 trunk > 200 OK (101 INVITE) sdp
          300       > pbx 200 OK (101 INVITE) sdp
          300       * plan caller [(0, Pcmu)]
          300 pbx > ACK sip:x@10.0.0.1:5060
          300       > trunk ACK sip:y@192.0.2.10:5060
        ",
    );
    world.media_in_ladder = false;
    world.last(TRUNK);
    // Another process is told of it.
    world.kill_and_start(MS(300));
    world.media_says(MediaEvent::Silent);
    assert_eq!(world.switchboard.sizes().calls, 1, "nobody need send anything");

    world.send(PBX, &callee.next("INVITE", &sdp(PBX, "")));
    let resume = world.last(TRUNK);
    world.send(TRUNK, &response(&resume, "200 OK", "", &sdp(TRUNK, "")));
    world.send(PBX, &callee.ack());
    world.last(TRUNK);
    // A straggler of the hold changes nothing any more.
    world.send(TRUNK, &hold);
    world.last(PBX);
    world.media_says(MediaEvent::Silent);
    both_ended(world, "ended media by us ");
}

#[test]
fn the_end_of_a_hold_that_is_answered_after_a_kill_is_one() {
    let (mut world, _, mut callee) = answered(settings());
    world.send(PBX, &callee.next("INVITE", &sdp(PBX, "a=sendonly\r\n")));
    let hold = world.last(TRUNK);
    world.send(TRUNK, &response(&hold, "200 OK", "", &sdp(TRUNK, "a=recvonly\r\n")));
    world.send(PBX, &callee.ack());
    world.last(TRUNK);
    world.send(PBX, &callee.next("INVITE", &sdp(PBX, "")));
    let resume = world.last(TRUNK);
    world.last(PBX);
    world.kill_and_start(MS(300));
    world.send(TRUNK, &response(&resume, "200 OK", "", &sdp(TRUNK, "")));
    world.last(PBX);
    world.send(PBX, &callee.ack());
    world.last(TRUNK);

    world.media_says(MediaEvent::Silent);

    both_ended(world, "ended media by us ");
}

#[test]
fn a_refresh_that_is_answered_after_a_kill_sets_the_timer_anew() {
    let (asks, grants) = ("Supported: timer\r\nSession-Expires: 100\r\n", "Session-Expires: 100;refresher=uac\r\n");
    for refreshed in [true, false] {
        let (mut world, mut caller, mut callee) = answered_with(settings(), asks, grants);
        world.run(S(80));
        callee.cseq += 1;
        world.send(PBX, &callee.request_with("INVITE", asks, &sdp(PBX, "")));
        let answer = response(&world.last(TRUNK), "200 OK", "", &sdp(TRUNK, ""));
        world.kill_and_start(MS(300));
        if refreshed {
            world.send(TRUNK, &saying(&answer, grants));
            world.last(PBX);
            world.send(PBX, &callee.ack());
            world.last(TRUNK);
        }
        world.run(S(80));
        if refreshed {
            hang_up(world, &mut caller);
        } else {
            both_ended(world, "ended expired by us ");
        }
    }
}

#[test]
fn the_last_id_of_a_second_is_followed_by_the_first_of_the_next() {
    let (first, _, _) = answered(settings());
    let kept = first.kept().pop().unwrap();
    let mut world = World::new(settings());
    let last = CallId(kept.call.0 | 0x00FF_FFFF);
    let snapshot = Box::new(Snapshot { call: last, sip_call_id: "another".into(), ..kept });
    world.input(Input::Restore { snapshot, age: Duration::ZERO });

    world.send(TRUNK, &Phone::caller("second").request("INVITE", &sdp(TRUNK, "")));

    assert_eq!(*world.calls.last().unwrap(), CallId(((last.0 >> 24) + 1) << 24 | 1));
}

fn on_connection(world: &mut World, number: u64, peer: &str, text: &str) {
    let peer = Hop { address: peer.parse().unwrap(), transport: Transport::Tcp };
    let flow = Flow::connected(0, peer, ConnectionId(number));
    world.input(Input::Message { bytes: text.as_bytes(), flow });
}

#[test]
fn behind_a_restart_both_are_told_of_the_end_on_the_connection_that_they_made_since() {
    let tcp = Hop { address: PBX.parse().unwrap(), transport: Transport::Tcp };
    let mut world = World::new(Settings { pbx: tcp, ..settings() });
    let mut caller = Phone::caller("call");
    on_connection(&mut world, 1, TRUNK, &caller.request("INVITE", &sdp(TRUNK, "")));
    let invite = world.last(PBX);
    let mut callee = Phone::callee(&invite, "callee");
    on_connection(&mut world, 2, PBX, &response(&invite, "200 OK", "callee", &sdp(PBX, "")));
    caller.learn(&world.last(TRUNK));
    on_connection(&mut world, 1, TRUNK, &caller.ack());
    world.kill_and_start(MS(700));
    on_connection(&mut world, 3, TRUNK, &caller.next("INFO", ""));
    let info = world.last(PBX);
    on_connection(&mut world, 4, PBX, &response(&info, "200 OK", "", ""));
    on_connection(&mut world, 5, PBX, &callee.next("INFO", ""));
    let info = world.last(TRUNK);
    on_connection(&mut world, 3, TRUNK, &response(&info, "200 OK", "", ""));
    world.ladder();

    let call = *world.calls.last().unwrap();
    world.input(Input::HangUp { call });

    expect(
        &mut world,
        "
          700       > trunk BYE sip:x@192.0.2.10:5060 by connection 3
          700       > pbx BYE sip:y@10.0.0.5:5060 by connection 5
        ",
    );
    for (number, peer) in [(3, TRUNK), (5, PBX)] {
        let bye = world.last(peer);
        on_connection(&mut world, number, peer, &response(&bye, "200 OK", "", ""));
    }
    world.rest();
}

#[test]
fn over_ipv6_a_2xx_that_is_repeated_after_a_kill_is_known_too() {
    const SIX: &str = "[2001:db8::5]:5060";
    let mut settings = settings();
    settings.pbx = Hop::udp(SIX.parse().unwrap());
    settings.local_inside = Local::only("[2001:db8::1]:5060".parse().unwrap());
    let mut world = World::new(settings);
    let mut caller = Phone::caller("call");
    let ok = |invite: &str| {
        response(invite, "200 OK", "callee", &sdp(PBX, "")).replace(&format!("sip:y@{TRUNK}"), &format!("sip:y@{SIX}"))
    };
    world.send(TRUNK, &caller.request("INVITE", &sdp(TRUNK, "")));
    let invite = world.last(SIX);
    world.send(SIX, &ok(&invite));
    caller.learn(&world.last(TRUNK));
    world.send(TRUNK, &caller.ack());
    world.last(SIX);
    world.send(TRUNK, &caller.next("INVITE", &sdp(TRUNK, "")));
    let again = ok(&world.last(SIX));
    world.kill_and_start(MS(300));

    world.send(SIX, &again);

    assert!(world.last(TRUNK).starts_with("SIP/2.0 200 "));
    world.send(TRUNK, &caller.ack());
    assert!(world.last(SIX).starts_with("ACK "));
    world.hang_up((TRUNK, &mut caller), SIX);
    world.forget_peer(SIX);
    world.rest();
}
