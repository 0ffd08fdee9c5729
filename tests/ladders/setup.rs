//! Calls that begin and end, and those that come to nothing.

use ringfence::call::Settings;

use super::MS;
use crate::world::{PBX, Phone, TRUNK, World, answered, expect, response, sdp, settings};

#[test]
fn a_call_and_the_callers_bye() {
    let mut world = World::new(settings());
    world.media_in_ladder = true;
    let mut caller = Phone::caller("call");
    world.send(TRUNK, &caller.request("INVITE", &sdp(TRUNK, "")));
    let invite = world.last(PBX);
    world.run(MS(250));
    world.send(PBX, &response(&invite, "180 Ringing", "callee", ""));
    world.run(MS(1_000));
    world.answer((PBX, "callee"), &invite, (TRUNK, &mut caller));
    world.last(PBX);
    world.run(MS(3_000));
    world.hang_up((TRUNK, &mut caller), PBX);

    expect(
        &mut world,
        "
             0 trunk > INVITE sip:201@192.0.2.1:5060 sdp
             0       * plan caller [(0, Pcmu)]
             0       > pbx INVITE sip:201@10.0.0.5:5060 sdp
           200       > trunk 100 Trying (1 INVITE)
           250 pbx > 180 Ringing (1 INVITE)
           250       > trunk 180 Ringing (1 INVITE)
          1250 pbx > 200 OK (1 INVITE) sdp
          1250       * plan callee [(0, Pcmu)]
          1250       * answered, analyse true
          1250       > trunk 200 OK (1 INVITE) sdp
          1250 trunk > ACK sip:y@192.0.2.1:5060
          1250       > pbx ACK sip:y@10.0.0.5:5060
          4250 trunk > BYE sip:y@192.0.2.1:5060
          4250       * close
          4250       > pbx BYE sip:y@10.0.0.5:5060
          4250 pbx > 200 OK (2 BYE)
          4250       > trunk 200 OK (2 BYE)
        ",
    );
    assert_eq!(
        world.events,
        ["began inbound", "routed watch by default done", "ringing", "answered analysed=true ", "ended bye by caller "]
    );
    world.rest();
}

#[test]
fn the_callees_bye() {
    let (mut world, _, mut callee) = answered(settings());
    world.hang_up((PBX, &mut callee), TRUNK);

    expect(
        &mut world,
        "
             0 pbx > BYE sip:x@10.0.0.1:5060
             0       > trunk BYE sip:x@192.0.2.10:5060
             0 trunk > 200 OK (101 BYE)
             0       > pbx 200 OK (101 BYE)
        ",
    );
    world.rest();
}

#[test]
fn a_caller_that_gives_up_while_it_rings() {
    let mut world = World::new(settings());
    let caller = Phone::caller("call");
    world.send(TRUNK, &caller.request("INVITE", &sdp(TRUNK, "")));
    let invite = world.last(PBX);
    world.send(PBX, &response(&invite, "180 Ringing", "callee", ""));
    world.run(MS(2_000));
    world.send(TRUNK, &caller.request("CANCEL", ""));
    let cancel = world.last(PBX);
    world.send(PBX, &response(&cancel, "200 OK", "callee", ""));
    world.send(PBX, &response(&invite, "487 Request Terminated", "callee", ""));
    world.send(TRUNK, &caller.request("ACK", ""));

    expect(
        &mut world,
        "
             0 trunk > INVITE sip:201@192.0.2.1:5060 sdp
             0       > pbx INVITE sip:201@10.0.0.5:5060 sdp
             0 pbx > 180 Ringing (1 INVITE)
             0       > trunk 180 Ringing (1 INVITE)
          2000 trunk > CANCEL sip:201@192.0.2.1:5060
          2000       > trunk 200 OK (1 CANCEL)
          2000       > pbx CANCEL sip:201@10.0.0.5:5060
          2000       > trunk 487 Request Terminated (1 INVITE)
          2000 pbx > 200 OK (1 CANCEL)
          2000 pbx > 487 Request Terminated (1 INVITE)
          2000       > pbx ACK sip:201@10.0.0.5:5060
          2000 trunk > ACK sip:201@192.0.2.1:5060
        ",
    );
    world.rest();
}

#[test]
fn an_answer_that_crosses_the_cancel_is_ended() {
    let mut world = World::new(settings());
    let caller = Phone::caller("call");
    world.send(TRUNK, &caller.request("INVITE", &sdp(TRUNK, "")));
    let invite = world.last(PBX);
    world.send(PBX, &response(&invite, "180 Ringing", "callee", ""));
    world.send(TRUNK, &caller.request("CANCEL", ""));
    world.send(PBX, &response(&invite, "200 OK", "callee", &sdp(PBX, "")));
    let bye = world.last(PBX);
    world.send(PBX, &response(&bye, "200 OK", "", ""));
    world.send(TRUNK, &caller.request("ACK", ""));

    expect(
        &mut world,
        "
             0 trunk > INVITE sip:201@192.0.2.1:5060 sdp
             0       > pbx INVITE sip:201@10.0.0.5:5060 sdp
             0 pbx > 180 Ringing (1 INVITE)
             0       > trunk 180 Ringing (1 INVITE)
             0 trunk > CANCEL sip:201@192.0.2.1:5060
             0       > trunk 200 OK (1 CANCEL)
             0       > pbx CANCEL sip:201@10.0.0.5:5060
             0       > trunk 487 Request Terminated (1 INVITE)
             0 pbx > 200 OK (1 INVITE) sdp
             0       > pbx ACK sip:y@10.0.0.5:5060
             0       > pbx BYE sip:y@10.0.0.5:5060
             0 pbx > 200 OK (2 BYE)
             0 trunk > ACK sip:201@192.0.2.1:5060
        ",
    );
    world.rest();
}

#[test]
fn a_caller_that_hangs_up_an_early_dialog_has_its_invite_answered() {
    let mut world = World::new(settings());
    let mut caller = Phone::caller("call");
    world.send(TRUNK, &caller.request("INVITE", &sdp(TRUNK, "")));
    let invite = world.last(PBX);
    let mut callee = Phone::callee(&invite, "callee");
    world.send(PBX, &response(&invite, "180 Ringing", "callee", ""));
    world.send(PBX, &callee.next("BYE", ""));
    let dial = caller.clone();
    caller.learn(&world.last(TRUNK));
    world.send(TRUNK, &caller.next("BYE", ""));
    let cancel = world.last(PBX);
    world.send(PBX, &response(&cancel, "200 OK", "callee", ""));
    world.send(PBX, &response(&invite, "487 Request Terminated", "callee", ""));
    world.send(TRUNK, &dial.request("ACK", ""));

    expect(
        &mut world,
        "
             0 trunk > INVITE sip:201@192.0.2.1:5060 sdp
             0       > pbx INVITE sip:201@10.0.0.5:5060 sdp
             0 pbx > 180 Ringing (1 INVITE)
             0       > trunk 180 Ringing (1 INVITE)
             0 pbx > BYE sip:x@10.0.0.1:5060
             0       > pbx 481 Call/Transaction Does Not Exist (101 BYE)
             0 trunk > BYE sip:y@192.0.2.1:5060
             0       > trunk 200 OK (2 BYE)
             0       > pbx CANCEL sip:201@10.0.0.5:5060
             0       > trunk 487 Request Terminated (1 INVITE)
             0 pbx > 200 OK (1 CANCEL)
             0 pbx > 487 Request Terminated (1 INVITE)
             0       > pbx ACK sip:201@10.0.0.5:5060
             0 trunk > ACK sip:201@192.0.2.1:5060
        ",
    );
    world.rest();
}

#[test]
fn an_answer_that_crosses_the_cancel_is_ended_behind_its_pracks() {
    let mut world = World::new(settings());
    let mut caller = Phone::caller("call");
    world.send(TRUNK, &caller.request("INVITE", &sdp(TRUNK, "")));
    let invite = world.last(PBX);
    let reliable = response(&invite, "183 Session Progress", "callee", &sdp(PBX, ""));
    world.send(PBX, &reliable.replace("Contact:", "Require: 100rel\r\nRSeq: 1\r\nContact:"));
    let dial = caller.clone();
    caller.learn(&world.last(TRUNK));
    for _ in 0..2 {
        caller.cseq += 1;
        world.send(TRUNK, &caller.request_with("PRACK", "RAck: 1 1 INVITE\r\n", ""));
        let prack = world.last(PBX);
        world.send(PBX, &response(&prack, "200 OK", "", ""));
    }
    world.send(TRUNK, &dial.request("CANCEL", ""));
    world.send(PBX, &response(&invite, "200 OK", "callee", &sdp(PBX, "")));

    let bye = world.last(PBX);

    // The PRACKs were 2 and 3: a BYE with 2 would be refused as out of order, and the phone left off the hook.
    assert!(bye.starts_with("BYE ") && bye.contains("CSeq: 4 BYE"), "{bye}");
    world.send(PBX, &response(&bye, "200 OK", "", ""));
    world.rest();
}

#[test]
fn a_busy_callee() {
    let mut world = World::new(settings());
    let mut caller = Phone::caller("call");
    world.send(TRUNK, &caller.request("INVITE", &sdp(TRUNK, "")));
    let invite = world.last(PBX);
    world.send(PBX, &response(&invite, "486 Busy Here", "callee", ""));
    caller.learn(&world.last(TRUNK));
    world.run(MS(700));
    world.send(TRUNK, &caller.request("ACK", ""));
    world.run(MS(3_000));

    expect(
        &mut world,
        "
             0 trunk > INVITE sip:201@192.0.2.1:5060 sdp
             0       > pbx INVITE sip:201@10.0.0.5:5060 sdp
             0 pbx > 486 Busy Here (1 INVITE)
             0       > pbx ACK sip:201@10.0.0.5:5060
             0       > trunk 486 Busy Here (1 INVITE)
           500       > trunk 486 Busy Here (1 INVITE)
           700 trunk > ACK sip:y@192.0.2.1:5060
        ",
    );
    assert_eq!(world.events.last().unwrap(), "ended refused by callee 486");
    world.rest();
}

#[test]
fn a_pbx_that_is_down_is_503_after_eight_seconds() {
    let mut world = World::new(settings());
    let caller = Phone::caller("call");
    world.send(TRUNK, &caller.request("INVITE", &sdp(TRUNK, "")));
    world.run(MS(8_100));
    world.send(TRUNK, &caller.request("ACK", ""));

    expect(
        &mut world,
        "
             0 trunk > INVITE sip:201@192.0.2.1:5060 sdp
             0       > pbx INVITE sip:201@10.0.0.5:5060 sdp
           200       > trunk 100 Trying (1 INVITE)
           500       > pbx INVITE sip:201@10.0.0.5:5060 sdp
          1500       > pbx INVITE sip:201@10.0.0.5:5060 sdp
          3500       > pbx INVITE sip:201@10.0.0.5:5060 sdp
          7500       > pbx INVITE sip:201@10.0.0.5:5060 sdp
          8000       > trunk 503 Service Unavailable (1 INVITE)
          8100 trunk > ACK sip:201@192.0.2.1:5060
        ",
    );
    assert_eq!(world.events.last().unwrap(), "ended unreachable by us 503");
    world.rest();
}

/// Calls do not pile up in front of a PBX that is down, and it has its full time again as soon as it says anything.
#[test]
fn a_pbx_that_stays_down_is_503_after_two_seconds() {
    let mut world = World::new(settings());
    // How long a caller waits for the end of the call.
    let wait = |world: &mut World, name: &str, pbx_is_up: bool| {
        let caller = Phone::caller(name);
        let from = world.now;
        world.send(TRUNK, &caller.request("INVITE", &sdp(TRUNK, "")));
        if pbx_is_up {
            let invite = world.last(PBX);
            world.send(PBX, &response(&invite, "486 Busy Here", "callee", ""));
        }
        loop {
            world.run_until_received(TRUNK);
            if !world.receive(TRUNK).is_some_and(|answer| answer.starts_with("SIP/2.0 100")) {
                break;
            }
        }
        let waited = world.now - from;
        world.send(TRUNK, &caller.request("ACK", ""));
        waited
    };

    assert_eq!(wait(&mut world, "first", false), MS(8_000));
    assert!(!world.switchboard.pbx_answers());
    assert_eq!(wait(&mut world, "second", false), MS(2_000));
    assert_eq!(wait(&mut world, "busy", true), MS(0));
    assert!(world.switchboard.pbx_answers());
    assert_eq!(wait(&mut world, "last", false), MS(8_000));
    world.rest();
}

#[test]
fn a_pbx_that_was_silent_is_asked_until_it_answers() {
    let mut world = World::new(settings());
    let caller = Phone::caller("call");
    world.send(TRUNK, &caller.request("INVITE", &sdp(TRUNK, "")));
    world.run(MS(8_100));
    world.send(TRUNK, &caller.request("ACK", ""));
    let asked = |world: &mut World| {
        let mut asked = Vec::new();
        while let Some(message) = world.receive(PBX) {
            asked.extend(message.starts_with("OPTIONS sip:10.0.0.5:5060 ").then_some(message));
        }
        asked
    };
    assert!(asked(&mut world).is_empty());

    world.run(MS(40_000));
    let first = asked(&mut world);
    assert!(first.len() > 5 && !world.switchboard.pbx_answers(), "asked, and repeated: {}", first.len());
    world.run(MS(30_000));
    let question = asked(&mut world).pop().unwrap();
    // Whatever it says, it is there.
    world.send(PBX, &response(&question, "404 Not Found", "pbx", ""));

    assert!(world.switchboard.pbx_answers());
    world.run(MS(120_000));
    assert!(asked(&mut world).is_empty(), "asked no more");
    world.rest();
}

#[test]
fn a_pbx_that_is_to_be_asked_is_found_silent_by_no_call() {
    let mut world = World::new(Settings { pbx_keep_alive: Some(MS(30_000)), ..settings() });
    let question = world.last(PBX);
    assert!(question.starts_with("OPTIONS sip:10.0.0.5:5060 "), "{question}");
    world.send(PBX, &response(&question, "200 OK", "pbx", ""));
    world.run(MS(29_000));
    assert!(world.receive(PBX).is_none());

    // Timer F is 32 s.
    world.run(MS(34_000));

    assert!(!world.switchboard.pbx_answers());
    let again = world.last(PBX);
    world.send(PBX, &response(&again, "200 OK", "pbx", ""));
    assert!(world.switchboard.pbx_answers());
}

#[test]
fn a_pbx_that_rings_for_ever_is_given_up() {
    let mut world = World::new(settings());
    let caller = Phone::caller("call");
    world.send(TRUNK, &caller.request("INVITE", &sdp(TRUNK, "")));
    let invite = world.last(PBX);
    world.send(PBX, &response(&invite, "180 Ringing", "callee", ""));
    world.run(MS(175_000));
    let cancel = world.last(PBX);
    world.send(PBX, &response(&cancel, "200 OK", "callee", ""));
    world.send(PBX, &response(&invite, "487 Request Terminated", "callee", ""));
    world.send(TRUNK, &caller.request("ACK", ""));

    expect(
        &mut world,
        "
             0 trunk > INVITE sip:201@192.0.2.1:5060 sdp
             0       > pbx INVITE sip:201@10.0.0.5:5060 sdp
             0 pbx > 180 Ringing (1 INVITE)
             0       > trunk 180 Ringing (1 INVITE)
        175000       > pbx CANCEL sip:201@10.0.0.5:5060
        175000       > trunk 408 Request Timeout (1 INVITE)
        175000 pbx > 200 OK (1 CANCEL)
        175000 pbx > 487 Request Terminated (1 INVITE)
        175000       > pbx ACK sip:201@10.0.0.5:5060
        175000 trunk > ACK sip:201@192.0.2.1:5060
        ",
    );
    world.rest();
}
