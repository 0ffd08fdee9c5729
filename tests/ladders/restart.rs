//! Calls that go on behind a kill, an upgrade, a handing over.

use std::time::Duration;

use ringfence::call::{Input, Settings};
use ringfence::policy::action::Route;
use ringfence::rtp::control::MediaEvent;
use ringfence::units::Leg;

use super::{MS, rejecting};
use crate::world::{PBX, Phone, TRUNK, World, answered, expect, header, response, sdp, settings};

/// Bytes that an attacker on the trunk's address may send: cut, doubled, swapped and spliced valid messages.
#[test]
fn after_a_kill_the_callers_bye_ends_the_call() {
    let (mut world, mut caller, _) = answered(settings());
    world.media_in_ladder = true;
    world.run(MS(5_000));
    world.kill_and_start(MS(2_000));
    world.run(MS(3_000));
    world.hang_up((TRUNK, &mut caller), PBX);

    expect(
        &mut world,
        "
          7000 --- started again
          7000       * plan caller [(0, Pcmu)]
          7000       * plan callee [(0, Pcmu)]
          7000       * answered, analyse false
         10000 trunk > BYE sip:y@192.0.2.1:5060
         10000       * close
         10000       > pbx BYE sip:y@10.0.0.5:5060
         10000 pbx > 200 OK (2 BYE)
         10000       > trunk 200 OK (2 BYE)
        ",
    );
    assert!(world.events.contains(&"restored after 7 s".to_owned()), "{:?}", world.events);
    assert_eq!(world.events.last().unwrap(), "ended bye by caller ");
    world.rest();
}

#[test]
fn after_two_kills_the_callees_bye_ends_the_call() {
    let (mut world, _, mut callee) = answered(settings());
    world.kill_and_start(MS(1_000));
    world.run(MS(60_000));
    world.kill_and_start(MS(1_000));
    world.hang_up((PBX, &mut callee), TRUNK);

    assert!(world.last(PBX).starts_with("SIP/2.0 200"));
    assert!(world.events.contains(&"restored after 62 s".to_owned()), "{:?}", world.events);
    assert_eq!(world.events.last().unwrap(), "ended bye by callee ");
    world.rest();
}

#[test]
fn hold_before_a_kill_is_still_hold_after_it_and_ends() {
    let (mut world, mut caller, mut callee) = answered(settings());
    world.send(PBX, &callee.next("INVITE", &sdp(PBX, "a=sendonly\r\n")));
    let hold = world.last(TRUNK);
    world.send(TRUNK, &response(&hold, "200 OK", "", &sdp(TRUNK, "a=recvonly\r\n")));
    world.send(PBX, &callee.ack());
    world.last(PBX);
    world.last(TRUNK);
    world.kill_and_start(MS(1_000));
    world.media_says(MediaEvent::Silent);
    assert_eq!(world.switchboard.sizes().calls, 1, "nobody need send anything");

    world.send(TRUNK, &caller.next("INVITE", &sdp(TRUNK, "")));
    let resume = world.last(PBX);
    assert!(resume.contains("c=IN IP4 10.0.0.1\r\n") && resume.contains("m=audio 20006 "), "{resume}");
    world.send(PBX, &response(&resume, "200 OK", "", &sdp(PBX, "")));
    let ok = world.last(TRUNK);
    assert!(ok.contains("c=IN IP4 192.0.2.1\r\n") && ok.contains("m=audio 20004 "), "{ok}");
    world.send(TRUNK, &caller.ack());
    assert!(world.last(PBX).starts_with("ACK "));
    world.media_says(MediaEvent::Silent);
    for peer in [TRUNK, PBX] {
        let bye = world.last(peer);
        assert!(bye.starts_with("BYE "), "{bye}");
        world.send(peer, &response(&bye, "200 OK", "", ""));
    }
    world.rest();
}

#[test]
fn the_end_of_a_call_after_a_kill_has_a_cseq_that_its_peers_take() {
    let (mut world, mut caller, mut callee) = answered(settings());
    for _ in 0..3 {
        world.send(TRUNK, &caller.next("OPTIONS", ""));
        let asked = world.last(PBX);
        world.send(PBX, &response(&asked, "200 OK", "", ""));
        world.send(PBX, &callee.next("OPTIONS", ""));
        let asked = world.last(TRUNK);
        world.send(TRUNK, &response(&asked, "200 OK", "", ""));
    }
    world.kill_and_start(MS(1_000));
    let call = world.calls[0];
    world.input(Input::HangUp { call });

    let (to_trunk, to_pbx) = (world.last(TRUNK), world.last(PBX));
    assert_eq!(header(&to_pbx, "CSeq"), format!("{} BYE", caller.cseq + 1));
    assert_eq!(header(&to_trunk, "CSeq"), format!("{} BYE", callee.cseq + 1));
    assert_eq!((header(&to_trunk, "From"), header(&to_trunk, "To")), (caller.remote.as_str(), caller.local.as_str()));
    assert_eq!((header(&to_pbx, "From"), header(&to_pbx, "To")), (callee.remote.as_str(), callee.local.as_str()));
    world.send(TRUNK, &response(&to_trunk, "200 OK", "", ""));
    world.send(PBX, &response(&to_pbx, "200 OK", "", ""));
    world.rest();
}

#[test]
fn after_a_kill_a_call_can_still_be_taken_away() {
    for by_order in [true, false] {
        let (mut world, _, _) = answered(settings());
        world.kill_and_start(MS(1_000));
        world.ladder();
        world.media_in_ladder = true;
        if by_order {
            let call = world.calls[0];
            world.input(Input::Divert { call });
        } else {
            world.judge(0.95);
        }
        world.finished(Leg::Caller);
        world.finished(Leg::Callee);
        world.run(MS(3_000));

        expect(
            &mut world,
            "
              1000       * hold keys of callee true
              1000       * stop listening
              1000       * cut caller true
              1000       * cut callee true
              1000       * play callee-diverted to callee
              1000       * play caller-diverted to caller
              4000       * close
              4000       > trunk BYE sip:x@192.0.2.10:5060
              4000       > pbx BYE sip:y@10.0.0.5:5060
            ",
        );
        assert!(world.events.contains(&"divert done".to_owned()), "{:?}", world.events);
        world.rest();
    }
}

#[test]
fn a_diversion_that_was_under_way_goes_on_after_a_kill() {
    let (mut world, mut caller, _) = answered(settings());
    world.judge(0.95);
    world.finished(Leg::Caller);
    world.ladder();
    world.media_in_ladder = true;
    world.kill_and_start(MS(1_000));

    expect(
        &mut world,
        "
          1000 --- started again
          1000       * plan caller [(0, Pcmu)]
          1000       * plan callee [(0, Pcmu)]
          1000       * answered, analyse false
          1000       * hold keys of callee true
          1000       * cut caller true
          1000       * cut callee true
          1000       * play callee-diverted to callee
        ",
    );
    world.judge(0.99);
    world.media_says(MediaEvent::Digit { leg: Leg::Callee, digit: '9' });
    world.kill_and_start(MS(1_000));
    world.judge(0.99);
    assert_eq!(world.events.iter().filter(|event| event.starts_with("divert")).count(), 1, "{:?}", world.events);
    world.hang_up((TRUNK, &mut caller), PBX);
    world.rest();
}

#[test]
fn a_call_that_we_answered_ourselves_hears_its_announcement_after_a_kill() {
    let mut world = World::new(rejecting(Route::Divert));
    let mut caller = Phone::caller("call");
    world.send(TRUNK, &caller.request("INVITE", &sdp(TRUNK, "")));
    caller.learn(&world.last(TRUNK));
    world.send(TRUNK, &caller.ack());
    world.ladder();
    world.kill_and_start(MS(1_000));
    world.finished(Leg::Caller);

    let bye = world.last(TRUNK);
    assert!(bye.starts_with("BYE ") && header(&bye, "From") == caller.remote, "{bye}");
    world.send(TRUNK, &response(&bye, "200 OK", "", ""));
    assert_eq!(world.events.last().unwrap(), "ended diverted by us ");
    world.rest();
}

#[test]
fn an_ack_that_was_lost_in_a_kill_is_asked_for_again() {
    let mut world = World::new(settings());
    let mut caller = Phone::caller("call");
    world.send(TRUNK, &caller.request("INVITE", &sdp(TRUNK, "")));
    let invite = world.last(PBX);
    let answer = response(&invite, "200 OK", "callee", &sdp(PBX, ""));
    world.send(PBX, &answer);
    caller.learn(&world.last(TRUNK));
    world.kill_and_start(MS(400));
    world.send(PBX, &answer);

    let again = world.last(TRUNK);
    assert!(again.starts_with("SIP/2.0 200 ") && again.contains("m=audio 20004 "), "{again}");
    assert!(header(&again, "Via").starts_with(header(&caller.request("INVITE", ""), "Via")), "{again}");
    world.send(TRUNK, &caller.ack());
    assert!(world.last(PBX).starts_with("ACK "));
    world.hang_up((TRUNK, &mut caller), PBX);
    world.rest();
}

#[test]
fn what_cannot_go_on_after_a_kill_is_ended_on_both_legs() {
    for (longest, no_ports) in [(3, false), (3_600, true)] {
        let span = Duration::from_secs(longest);
        let (mut world, _, _) = answered(Settings { longest_restored: span, ..settings() });
        world.no_ports = no_ports;
        world.run(MS(5_000));
        world.kill_and_start(MS(1_000));

        for peer in [TRUNK, PBX] {
            let bye = world.last(peer);
            assert!(bye.starts_with("BYE "), "{bye}");
            world.send(peer, &response(&bye, "200 OK", "", ""));
        }
        assert_eq!(world.events.last().unwrap(), "ended restart by us ");
        world.no_ports = false;
        world.rest_refused();
    }
}

#[test]
fn handing_over_refuses_what_rings_and_keeps_what_talks() {
    let (mut world, mut talking, _) = answered(settings());
    let ringing = Phone::caller("ringing");
    world.send(TRUNK, &ringing.request("INVITE", &sdp(TRUNK, "")));
    let invite = world.last(PBX);
    world.send(PBX, &response(&invite, "180 Ringing", "r", ""));
    assert_eq!(world.switchboard.unanswered(), 1);
    world.last(TRUNK);

    world.input(Input::EndUnanswered);
    assert!(world.last(TRUNK).starts_with("SIP/2.0 503"));
    assert!(world.last(PBX).starts_with("CANCEL "));
    assert_eq!((world.kept().len(), world.switchboard.unanswered()), (1, 0));
    world.kill_and_start(MS(100));
    world.hang_up((TRUNK, &mut talking), PBX);
    world.rest();
}

#[test]
fn a_phone_behind_nat_is_reached_where_it_was_after_a_kill() {
    let (mut world, mut caller, _) = answered(settings());
    let address = Some("198.51.100.9:31000".parse().unwrap());
    world.media_says(MediaEvent::Latched { leg: Leg::Caller, address });
    world.media_in_ladder = true;
    world.kill_and_start(MS(1_000));

    assert!(world.ladder().contains("* latch caller 198.51.100.9:31000"));
    world.hang_up((TRUNK, &mut caller), PBX);
    world.rest();
}
