//! Whole calls against golden message ladders. `>` without a name is Ringfence; the number is milliseconds.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs, reason = "tests")]

mod world;

use std::sync::Arc;
use std::time::Duration;

use ringfence::call::{Input, Settings};
use ringfence::policy::action::{Rejection, Route};
use ringfence::policy::rules::{Policy, Rule};
use ringfence::rtp::control::MediaEvent;
use ringfence::units::Leg;
use world::{PBX, Phone, TRUNK, World, answered, expect, header, response, sdp, settings};

const MS: fn(u64) -> Duration = Duration::from_millis;

fn rejecting(route: Route) -> Settings {
    let rule = Rule { name: "everybody".into(), when: vec![], route };
    Settings { policy: Arc::new(Policy { rules: vec![rule], ..Policy::default() }), ..settings() }
}

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
    assert_eq!(wait(&mut world, "second", false), MS(2_000));
    assert_eq!(wait(&mut world, "busy", true), MS(0));
    assert_eq!(wait(&mut world, "last", false), MS(8_000));
    world.rest();
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

#[test]
fn hold_and_resume_from_either_side() {
    let (mut world, mut caller, mut callee) = answered(settings());
    world.send(PBX, &callee.next("INVITE", &sdp(PBX, "a=sendonly\r\n")));
    let hold = world.last(TRUNK);
    assert!(hold.contains("a=sendonly"), "{hold}");
    world.send(TRUNK, &response(&hold, "200 OK", "", &sdp(TRUNK, "a=recvonly\r\n")));
    let ok = world.last(PBX);
    assert!(ok.contains("a=recvonly") && ok.contains("c=IN IP4 10.0.0.1"), "{ok}");
    world.send(PBX, &callee.ack());
    world.last(TRUNK);
    world.run(MS(5_000));
    world.send(TRUNK, &caller.next("INVITE", &sdp(TRUNK, "")));
    let resume = world.last(PBX);
    world.send(PBX, &response(&resume, "200 OK", "", &sdp(PBX, "")));
    world.send(TRUNK, &caller.ack());

    expect(
        &mut world,
        "
             0 pbx > INVITE sip:x@10.0.0.1:5060 sdp
             0       > trunk INVITE sip:x@192.0.2.10:5060 sdp
             0 trunk > 200 OK (101 INVITE) sdp
             0       > pbx 200 OK (101 INVITE) sdp
             0 pbx > ACK sip:x@10.0.0.1:5060
             0       > trunk ACK sip:y@192.0.2.10:5060
          5000 trunk > INVITE sip:y@192.0.2.1:5060 sdp
          5000       > pbx INVITE sip:x@10.0.0.5:5060 sdp
          5000 pbx > 200 OK (2 INVITE) sdp
          5000       > trunk 200 OK (2 INVITE) sdp
          5000 trunk > ACK sip:y@192.0.2.1:5060
          5000       > pbx ACK sip:y@10.0.0.5:5060
        ",
    );
    world.hang_up((TRUNK, &mut caller), PBX);
    world.rest();
}

#[test]
fn a_held_call_is_not_dead_however_silent() {
    let (mut world, mut caller, mut callee) = answered(settings());
    world.send(PBX, &callee.next("INVITE", &sdp(PBX, "a=inactive\r\n")));
    let hold = world.last(TRUNK);
    world.send(TRUNK, &response(&hold, "200 OK", "", &sdp(TRUNK, "a=inactive\r\n")));
    world.send(PBX, &callee.ack());
    world.ladder();

    world.media_says(MediaEvent::Silent);

    expect(&mut world, "");
    world.send(TRUNK, &caller.next("BYE", ""));
    world.rest();
}

#[test]
fn a_call_in_which_nobody_sends_anything_is_ended() {
    let (mut world, _, _) = answered(settings());
    world.media_says(MediaEvent::Silent);
    let (to_trunk, to_pbx) = (world.last(TRUNK), world.last(PBX));
    world.send(TRUNK, &response(&to_trunk, "200 OK", "", ""));
    world.send(PBX, &response(&to_pbx, "200 OK", "", ""));

    expect(
        &mut world,
        "
             0       > trunk BYE sip:x@192.0.2.10:5060
             0       > pbx BYE sip:y@10.0.0.5:5060
             0 trunk > 200 OK (1 BYE)
             0 pbx > 200 OK (2 BYE)
        ",
    );
    world.rest();
}

#[test]
fn update_info_and_options_pass_inside_a_call() {
    let (mut world, mut caller, mut callee) = answered(settings());
    world.send(TRUNK, &caller.next("UPDATE", &sdp(TRUNK, "")));
    let update = world.last(PBX);
    world.send(PBX, &response(&update, "200 OK", "", &sdp(PBX, "")));
    world.send(PBX, &callee.next("INFO", ""));
    let info = world.last(TRUNK);
    world.send(TRUNK, &response(&info, "200 OK", "", ""));
    world.send(TRUNK, &caller.next("OPTIONS", ""));
    let options = world.last(PBX);
    world.send(PBX, &response(&options, "200 OK", "", ""));

    expect(
        &mut world,
        "
             0 trunk > UPDATE sip:y@192.0.2.1:5060 sdp
             0       > pbx UPDATE sip:y@10.0.0.5:5060 sdp
             0 pbx > 200 OK (2 UPDATE) sdp
             0       > trunk 200 OK (2 UPDATE) sdp
             0 pbx > INFO sip:x@10.0.0.1:5060
             0       > trunk INFO sip:x@192.0.2.10:5060
             0 trunk > 200 OK (101 INFO)
             0       > pbx 200 OK (101 INFO)
             0 trunk > OPTIONS sip:y@192.0.2.1:5060
             0       > pbx OPTIONS sip:y@10.0.0.5:5060
             0 pbx > 200 OK (3 OPTIONS)
             0       > trunk 200 OK (3 OPTIONS)
        ",
    );
    world.send(TRUNK, &caller.next("BYE", ""));
    world.rest();
}

#[test]
fn two_re_invites_at_once_are_for_the_ends_to_settle() {
    let (mut world, mut caller, mut callee) = answered(settings());
    world.send(TRUNK, &caller.next("INVITE", &sdp(TRUNK, "")));
    let from_caller = world.last(PBX);
    world.send(PBX, &callee.next("INVITE", &sdp(PBX, "")));
    let from_callee = world.last(TRUNK);
    world.send(PBX, &response(&from_caller, "491 Request Pending", "", ""));
    world.send(TRUNK, &response(&from_callee, "491 Request Pending", "", ""));
    world.send(TRUNK, &caller.request("ACK", ""));
    world.send(PBX, &callee.request("ACK", ""));

    expect(
        &mut world,
        "
             0 trunk > INVITE sip:y@192.0.2.1:5060 sdp
             0       > pbx INVITE sip:y@10.0.0.5:5060 sdp
             0 pbx > INVITE sip:x@10.0.0.1:5060 sdp
             0       > trunk INVITE sip:x@192.0.2.10:5060 sdp
             0 pbx > 491 Request Pending (2 INVITE)
             0       > pbx ACK sip:y@10.0.0.5:5060
             0       > trunk 491 Request Pending (2 INVITE)
             0 trunk > 491 Request Pending (101 INVITE)
             0       > trunk ACK sip:x@192.0.2.10:5060
             0       > pbx 491 Request Pending (101 INVITE)
             0 trunk > ACK sip:y@192.0.2.1:5060
             0 pbx > ACK sip:x@10.0.0.1:5060
        ",
    );
    world.send(TRUNK, &caller.next("BYE", ""));
    world.rest();
}

#[test]
fn a_registration_comes_back_through_us() {
    let mut world = World::new(settings());
    let phone = Phone::inside("register", "x");
    let register = phone.request("REGISTER", "").replace(&format!("sip:x@{}", world::US_INSIDE), "sip:192.0.2.10");
    world.send(PBX, &register);
    let seen = world.last(TRUNK);
    assert!(seen.contains("Contact: <sip:x@192.0.2.1:5060>"), "{seen}");
    let ok = response(&seen, "200 OK", "registrar", "")
        .replace(&format!("Contact: <sip:y@{TRUNK}>"), "Contact: <sip:x@192.0.2.1:5060>;expires=300");
    world.send(TRUNK, &ok);
    let answer = world.last(PBX);
    assert!(answer.contains(&format!("Contact: <sip:x@{PBX}>;expires=300")), "{answer}");

    let mut caller = Phone::caller("call");
    caller.target = "sip:x@192.0.2.1:5060".to_owned();
    world.send(TRUNK, &caller.request("INVITE", &sdp(TRUNK, "")));
    assert!(world.last(PBX).starts_with(&format!("INVITE sip:x@{PBX} SIP/2.0")));
    world.send(TRUNK, &caller.request("CANCEL", ""));
    world.rest();
}

#[test]
fn a_challenge_passes_from_end_to_end() {
    let mut world = World::new(settings());
    let mut caller = Phone::inside("out", "01632960002");
    world.send(PBX, &caller.request("INVITE", &sdp(PBX, "")));
    let invite = world.last(TRUNK);
    let challenge = response(&invite, "407 Proxy Authentication Required", "trunk", "")
        .replace("Contact:", "Proxy-Authenticate: Digest realm=\"x\", nonce=\"y\"\r\nContact:");
    world.send(TRUNK, &challenge);
    assert!(world.last(PBX).contains("Proxy-Authenticate: Digest realm=\"x\", nonce=\"y\""));
    world.send(PBX, &caller.request("ACK", ""));
    caller.cseq = 2;
    world.send(PBX, &caller.request_with("INVITE", "Proxy-Authorization: Digest username=\"u\"\r\n", &sdp(PBX, "")));
    let again = world.last(TRUNK);
    assert!(again.contains("Proxy-Authorization: Digest username=\"u\""), "{again}");
    world.answer((TRUNK, "trunk"), &again, (PBX, &mut caller));

    expect(
        &mut world,
        "
             0 pbx > INVITE sip:01632960002@10.0.0.1:5060 sdp
             0       > trunk INVITE sip:01632960002@192.0.2.10:5060 sdp
             0 trunk > 407 Proxy Authentication Required (1 INVITE)
             0       > trunk ACK sip:01632960002@192.0.2.10:5060
             0       > pbx 407 Proxy Authentication Required (1 INVITE)
             0 pbx > ACK sip:01632960002@10.0.0.1:5060
             0 pbx > INVITE sip:01632960002@10.0.0.1:5060 sdp
             0       > trunk INVITE sip:01632960002@192.0.2.10:5060 sdp
             0 trunk > 200 OK (2 INVITE) sdp
             0       > pbx 200 OK (2 INVITE) sdp
             0 pbx > ACK sip:y@10.0.0.1:5060
             0       > trunk ACK sip:y@192.0.2.10:5060
        ",
    );
    assert!(world.events.contains(&"answered analysed=false outbound".to_owned()), "{:?}", world.events);
    world.hang_up((PBX, &mut caller), TRUNK);
    world.rest();
}

#[test]
fn early_media_and_forks() {
    let mut world = World::new(settings());
    let mut caller = Phone::caller("call");
    world.send(TRUNK, &caller.request("INVITE", &sdp(TRUNK, "")));
    let invite = world.last(PBX);
    world.send(PBX, &response(&invite, "183 Session Progress", "one", &sdp(PBX, "")));
    world.send(PBX, &response(&invite, "180 Ringing", "two", ""));
    world.answer((PBX, "two"), &invite, (TRUNK, &mut caller));
    world.last(PBX);

    expect(
        &mut world,
        "
             0 trunk > INVITE sip:201@192.0.2.1:5060 sdp
             0       > pbx INVITE sip:201@10.0.0.5:5060 sdp
             0 pbx > 183 Session Progress (1 INVITE) sdp
             0       > trunk 183 Session Progress (1 INVITE) sdp
             0 pbx > 180 Ringing (1 INVITE)
             0       > trunk 180 Ringing (1 INVITE)
             0 pbx > 200 OK (1 INVITE) sdp
             0       > trunk 200 OK (1 INVITE) sdp
             0 trunk > ACK sip:y@192.0.2.1:5060
             0       > pbx ACK sip:y@10.0.0.5:5060
        ",
    );
    world.send(TRUNK, &caller.next("BYE", ""));
    world.rest();
}

#[test]
fn a_second_fork_that_answers_is_hung_up_and_the_first_talks_on() {
    let mut world = World::new(settings());
    let mut caller = Phone::caller("call");
    world.send(TRUNK, &caller.request("INVITE", &sdp(TRUNK, "")));
    let invite = world.last(PBX);
    world.answer((PBX, "one"), &invite, (TRUNK, &mut caller));
    world.send(PBX, &response(&invite, "200 OK", "two", &sdp(PBX, "")));
    let bye = world.last(PBX);
    world.send(PBX, &response(&bye, "200 OK", "", ""));

    assert!(bye.starts_with("BYE ") && bye.contains("tag=two"), "{bye}");
    expect(
        &mut world,
        "
             0 trunk > INVITE sip:201@192.0.2.1:5060 sdp
             0       > pbx INVITE sip:201@10.0.0.5:5060 sdp
             0 pbx > 200 OK (1 INVITE) sdp
             0       > trunk 200 OK (1 INVITE) sdp
             0 trunk > ACK sip:y@192.0.2.1:5060
             0       > pbx ACK sip:y@10.0.0.5:5060
             0 pbx > 200 OK (1 INVITE) sdp
             0       > pbx ACK sip:y@10.0.0.5:5060
             0       > pbx BYE sip:y@10.0.0.5:5060
             0 pbx > 200 OK (2 BYE)
        ",
    );
    assert_eq!(world.switchboard.sizes().calls, 1);
    world.send(TRUNK, &caller.next("BYE", ""));
    world.rest();
}

#[test]
fn a_repeated_answer_does_not_bring_back_old_media() {
    let (mut world, mut caller, callee) = answered(settings());
    world.media_in_ladder = true;
    world.send(TRUNK, &caller.next("INVITE", &sdp(TRUNK, "a=sendonly\r\n")));
    let hold = world.last(PBX);
    let held = response(&hold, "200 OK", "", &sdp(PBX, "a=recvonly\r\n"));
    world.send(PBX, &held);
    world.send(TRUNK, &caller.next("INVITE", &sdp(TRUNK, "")));
    let resume = world.last(PBX);
    world.send(PBX, &response(&resume, "200 OK", "", &sdp(PBX, "")));
    world.ladder();
    world.send(PBX, &held);

    expect(
        &mut world,
        "
             0 pbx > 200 OK (2 INVITE) sdp
             0       > trunk 200 OK (2 INVITE) sdp
        ",
    );
    world.media_says(MediaEvent::Silent);
    assert_eq!(world.switchboard.sizes().calls, 0, "the call is not on hold: {}", callee.call_id);
    world.rest();
}

#[test]
fn a_re_invite_accepted_behind_the_bye_shows_no_address_of_ours() {
    let (mut world, mut caller, mut callee) = answered(settings());
    world.send(TRUNK, &caller.next("INVITE", &sdp(TRUNK, "")));
    let re_invite = world.last(PBX);
    world.send(PBX, &callee.next("BYE", ""));
    world.last(TRUNK);
    world.send(PBX, &response(&re_invite, "200 OK", "", &sdp(PBX, "")));

    let answer = world.last(TRUNK);

    assert!(answer.starts_with("SIP/2.0 481 ") && !answer.contains("10.0.0."), "{answer}");
    world.rest();
}

#[test]
fn media_that_are_lost_while_it_rings_leave_no_phone_ringing() {
    let mut world = World::new(settings());
    let caller = Phone::caller("call");
    world.send(TRUNK, &caller.request("INVITE", &sdp(TRUNK, "")));
    let invite = world.last(PBX);
    world.send(PBX, &response(&invite, "180 Ringing", "callee", ""));
    world.media_says(MediaEvent::Failed);

    assert!(world.last(PBX).starts_with("CANCEL "));
    assert!(world.last(TRUNK).starts_with("SIP/2.0 503 "));
    world.rest();
}

#[test]
fn repeats_are_absorbed() {
    let mut world = World::new(settings());
    let mut caller = Phone::caller("call");
    let dial = caller.request("INVITE", &sdp(TRUNK, ""));
    world.send(TRUNK, &dial);
    world.run(MS(500));
    world.send(TRUNK, &dial);
    let invite = world.last(PBX);
    let ok = response(&invite, "200 OK", "callee", &sdp(PBX, ""));
    world.send(PBX, &ok);
    world.run(MS(500));
    world.send(PBX, &ok);
    caller.learn(&world.last(TRUNK));
    world.send(TRUNK, &caller.ack());
    world.send(TRUNK, &caller.ack());
    let bye = caller.next("BYE", "");
    world.send(TRUNK, &bye);
    world.send(TRUNK, &bye);
    let seen = world.last(PBX);
    world.send(PBX, &response(&seen, "200 OK", "", ""));
    world.send(TRUNK, &bye);

    expect(
        &mut world,
        "
             0 trunk > INVITE sip:201@192.0.2.1:5060 sdp
             0       > pbx INVITE sip:201@10.0.0.5:5060 sdp
           200       > trunk 100 Trying (1 INVITE)
           500       > pbx INVITE sip:201@10.0.0.5:5060 sdp
           500 trunk > INVITE sip:201@192.0.2.1:5060 sdp
           500       > trunk 100 Trying (1 INVITE)
           500 pbx > 200 OK (1 INVITE) sdp
           500       > trunk 200 OK (1 INVITE) sdp
          1000 pbx > 200 OK (1 INVITE) sdp
          1000       > trunk 200 OK (1 INVITE) sdp
          1000 trunk > ACK sip:y@192.0.2.1:5060
          1000       > pbx ACK sip:y@10.0.0.5:5060
          1000 trunk > ACK sip:y@192.0.2.1:5060
          1000       > pbx ACK sip:y@10.0.0.5:5060
          1000 trunk > BYE sip:y@192.0.2.1:5060
          1000       > pbx BYE sip:y@10.0.0.5:5060
          1000 trunk > BYE sip:y@192.0.2.1:5060
          1000 pbx > 200 OK (2 BYE)
          1000       > trunk 200 OK (2 BYE)
          1000 trunk > BYE sip:y@192.0.2.1:5060
          1000       > trunk 200 OK (2 BYE)
        ",
    );
    world.rest();
}

#[test]
fn a_caller_that_never_acknowledges_leaves_no_phone_off_the_hook() {
    let mut world = World::new(settings());
    let caller = Phone::caller("call");
    world.send(TRUNK, &caller.request("INVITE", &sdp(TRUNK, "")));
    let invite = world.last(PBX);
    world.send(PBX, &response(&invite, "200 OK", "callee", &sdp(PBX, "")));
    world.run(MS(32_100));
    let bye = world.last(PBX);
    world.send(PBX, &response(&bye, "200 OK", "", ""));

    expect(
        &mut world,
        "
             0 trunk > INVITE sip:201@192.0.2.1:5060 sdp
             0       > pbx INVITE sip:201@10.0.0.5:5060 sdp
             0 pbx > 200 OK (1 INVITE) sdp
             0       > trunk 200 OK (1 INVITE) sdp
         32000       > trunk BYE sip:x@192.0.2.10:5060
         32000       > pbx BYE sip:y@10.0.0.5:5060
         32100 pbx > 200 OK (2 BYE)
        ",
    );
    world.rest();
}

#[test]
fn what_is_refused_at_the_door() {
    let mut world = World::new(settings());
    let caller = Phone::caller("call");
    let invite = caller.request("INVITE", &sdp(TRUNK, ""));
    world.send("203.0.113.9:5060", &invite);
    world.send(TRUNK, &invite.replace("Max-Forwards: 70", "Max-Forwards: 0"));
    world.send(
        TRUNK,
        &caller.request_with("OPTIONS", "Proxy-Require: teleport\r\n", "").replace("z9hG4bKcall1", "z9hG4bKx"),
    );
    world.send(
        TRUNK,
        &Phone { cseq: 7, remote: format!("<sip:201@{}>;tag=gone", world::US_OUTSIDE), ..caller.clone() }
            .request("BYE", ""),
    );
    world.send(TRUNK, &invite.replace("CSeq: 1 INVITE", "CSeq: 1 OPTIONS").replace("z9hG4bKcall1", "z9hG4bKy"));
    world.send(TRUNK, "INVITE");
    world.send(TRUNK, "\r\n\r\n");
    world.send(TRUNK, &Phone { cseq: 9, ..caller.clone() }.request("OPTIONS", "").replace("sip:201@", "sip:"));

    expect(
        &mut world,
        "
             0 stranger > INVITE sip:201@192.0.2.1:5060 sdp
             0 trunk > INVITE sip:201@192.0.2.1:5060 sdp
             0       > trunk 483 Too Many Hops (1 INVITE)
             0 trunk > OPTIONS sip:201@192.0.2.1:5060
             0       > trunk 420 Bad Extension (1 OPTIONS)
             0 trunk > BYE sip:201@192.0.2.1:5060
             0       > trunk 481 Call/Transaction Does Not Exist (7 BYE)
             0 trunk > INVITE sip:201@192.0.2.1:5060 sdp
             0       > trunk 400 Bad Request (1 OPTIONS)
             0 trunk > INVITE
             0 trunk >
             0 trunk > OPTIONS sip:192.0.2.1:5060
             0       > trunk 200 OK (9 OPTIONS)
        ",
    );
    world.rest();
}

#[test]
fn our_own_request_that_comes_back_is_a_loop() {
    let mut world = World::new(settings());
    let caller = Phone::caller("call");
    world.send(TRUNK, &caller.request("INVITE", &sdp(TRUNK, "")));
    let invite = world.last(PBX);
    world.send(TRUNK, &invite.replacen("Via:", "Via: SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bKback\r\nVia:", 1));
    world.send(TRUNK, &caller.request("CANCEL", ""));

    expect(
        &mut world,
        "
             0 trunk > INVITE sip:201@192.0.2.1:5060 sdp
             0       > pbx INVITE sip:201@10.0.0.5:5060 sdp
             0 trunk > INVITE sip:201@10.0.0.5:5060 sdp
             0       > trunk 482 Loop Detected (1 INVITE)
             0 trunk > CANCEL sip:201@192.0.2.1:5060
             0       > trunk 200 OK (1 CANCEL)
             0       > trunk 487 Request Terminated (1 INVITE)
        ",
    );
    world.run(Duration::from_secs(400));
}

#[test]
fn rejections_have_their_status() {
    for (rejection, status) in [(Rejection::Decline, "603"), (Rejection::Busy, "486"), (Rejection::NotFound, "404")] {
        let mut world = World::new(rejecting(Route::Reject(rejection)));
        let caller = Phone::caller("call");
        world.send(TRUNK, &caller.request("INVITE", &sdp(TRUNK, "")));
        let answer = world.last(TRUNK);
        world.send(TRUNK, &caller.request("ACK", ""));

        assert!(answer.starts_with(&format!("SIP/2.0 {status} ")), "{answer}");
        assert_eq!(
            world.events,
            ["began inbound", "routed reject by everybody done", &format!("ended rejected by us {status}")]
        );
        world.rest();
    }
}

#[test]
fn a_608_is_said_in_words_to_a_caller_that_does_not_know_it() {
    let mut world = World::new(rejecting(Route::Reject(Rejection::Rejected)));
    world.media_in_ladder = true;
    let caller = Phone::caller("call");
    world.send(TRUNK, &caller.request("INVITE", &sdp(TRUNK, "")));
    world.run(MS(4_000));
    world.finished(Leg::Caller);
    world.send(TRUNK, &caller.request("ACK", ""));
    expect(
        &mut world,
        "
             0 trunk > INVITE sip:201@192.0.2.1:5060 sdp
             0       * plan caller [(0, Pcmu)]
             0       * play caller-rejected to caller
             0       > trunk 183 Session Progress (1 INVITE) sdp
          4000       * close
          4000       > trunk 608 Rejected (1 INVITE)
          4000 trunk > ACK sip:201@192.0.2.1:5060
        ",
    );
    world.rest();

    let mut world = World::new(rejecting(Route::Reject(Rejection::Rejected)));
    let caller = Phone::caller("knows");
    world.send(TRUNK, &caller.request_with("INVITE", "Feature-Caps: *;+sip.608\r\n", &sdp(TRUNK, "")));
    world.send(TRUNK, &caller.request("ACK", ""));
    expect(
        &mut world,
        "
             0 trunk > INVITE sip:201@192.0.2.1:5060 sdp
             0       > trunk 608 Rejected (1 INVITE)
             0 trunk > ACK sip:201@192.0.2.1:5060
        ",
    );
    world.rest();
}

#[test]
fn a_rule_diverts_before_anybodys_phone_rings() {
    let mut world = World::new(rejecting(Route::Divert));
    world.media_in_ladder = true;
    let mut caller = Phone::caller("call");
    world.send(TRUNK, &caller.request("INVITE", &sdp(TRUNK, "")));
    caller.learn(&world.last(TRUNK));
    world.send(TRUNK, &caller.ack());
    world.run(MS(6_000));
    world.finished(Leg::Caller);
    let bye = world.last(TRUNK);
    world.send(TRUNK, &response(&bye, "200 OK", "", ""));

    expect(
        &mut world,
        "
             0 trunk > INVITE sip:201@192.0.2.1:5060 sdp
             0       * plan caller [(0, Pcmu)]
             0       * answered, analyse false
             0       * play caller-diverted to caller
             0       > trunk 200 OK (1 INVITE) sdp
             0 trunk > ACK sip:192.0.2.1:5060
          6000       * close
          6000       > trunk BYE sip:x@192.0.2.10:5060
          6000 trunk > 200 OK (1 BYE)
        ",
    );
    world.rest();
}

#[test]
fn a_scam_is_taken_away_and_both_legs_are_ended() {
    let (mut world, _, _) = answered(settings());
    world.media_in_ladder = true;
    world.run(MS(5_000));
    world.judge(0.95);
    world.run(MS(6_000));
    world.finished(Leg::Caller);
    world.run(MS(4_000));
    world.finished(Leg::Callee);
    world.run(MS(3_000));
    let (to_trunk, to_pbx) = (world.last(TRUNK), world.last(PBX));
    world.send(TRUNK, &response(&to_trunk, "200 OK", "", ""));
    world.send(PBX, &response(&to_pbx, "200 OK", "", ""));

    expect(
        &mut world,
        "
          5000       * stop listening
          5000       * cut caller true
          5000       * cut callee true
          5000       * play callee-diverted to callee
          5000       * play caller-diverted to caller
         18000       * close
         18000       > trunk BYE sip:x@192.0.2.10:5060
         18000       > pbx BYE sip:y@10.0.0.5:5060
         18000 trunk > 200 OK (1 BYE)
         18000 pbx > 200 OK (2 BYE)
        ",
    );
    assert_eq!(world.events.last().unwrap(), "ended diverted by us ");
    world.rest();
}

#[test]
fn nine_takes_the_call_back() {
    let (mut world, mut caller, _) = answered(settings());
    world.media_in_ladder = true;
    world.judge(0.95);
    world.run(MS(2_000));
    world.media_says(MediaEvent::Digit { leg: Leg::Callee, digit: '9' });
    world.judge(0.99);
    world.run(MS(2_000));
    world.hang_up((TRUNK, &mut caller), PBX);

    expect(
        &mut world,
        "
             0       * stop listening
             0       * cut caller true
             0       * cut callee true
             0       * play callee-diverted to callee
             0       * play caller-diverted to caller
          2000       * stop playing to caller
          2000       * cut caller false
          2000       * stop playing to callee
          2000       * cut callee false
          4000 trunk > BYE sip:y@192.0.2.1:5060
          4000       * close
          4000       > pbx BYE sip:y@10.0.0.5:5060
          4000 pbx > 200 OK (2 BYE)
          4000       > trunk 200 OK (2 BYE)
        ",
    );
    assert!(world.events.contains(&"taken back".to_owned()));
    assert_eq!(world.events.iter().filter(|event| event.starts_with("divert")).count(), 1);
    world.rest();
}

#[test]
fn a_nine_that_was_meant_for_the_caller_does_not_take_the_call_back() {
    let (mut world, _, _) = answered(settings());
    world.judge(0.95);
    for _ in 0..3 {
        // "Press nine to be taken off our list": the key is on its way when the call is taken away.
        world.run(MS(400));
        world.media_says(MediaEvent::Digit { leg: Leg::Callee, digit: '9' });
    }
    assert!(!world.events.contains(&"taken back".to_owned()), "{:?}", world.events);

    world.run(MS(400));
    world.media_says(MediaEvent::Digit { leg: Leg::Callee, digit: '9' });
    assert!(world.events.contains(&"taken back".to_owned()), "{:?}", world.events);
}

#[test]
fn a_scammer_that_hangs_up_does_not_cut_the_warning_short() {
    let (mut world, mut caller, _) = answered(settings());
    world.media_in_ladder = true;
    world.judge(0.95);
    world.run(MS(1_000));
    world.send(TRUNK, &caller.next("BYE", ""));
    world.media_says(MediaEvent::Digit { leg: Leg::Callee, digit: '9' });
    world.run(MS(9_000));
    world.finished(Leg::Callee);
    world.run(MS(3_000));
    let bye = world.last(PBX);
    world.send(PBX, &response(&bye, "200 OK", "", ""));

    expect(
        &mut world,
        "
             0       * stop listening
             0       * cut caller true
             0       * cut callee true
             0       * play callee-diverted to callee
             0       * play caller-diverted to caller
          1000 trunk > BYE sip:y@192.0.2.1:5060
          1000       > trunk 200 OK (2 BYE)
         13000       * close
         13000       > pbx BYE sip:y@10.0.0.5:5060
         13000 pbx > 200 OK (2 BYE)
        ",
    );
    world.rest();
}

#[test]
fn a_callee_that_hangs_up_during_the_warning_ends_both_legs() {
    let (mut world, _, mut callee) = answered(settings());
    world.judge(0.95);
    world.run(MS(1_000));
    world.hang_up((PBX, &mut callee), TRUNK);

    expect(
        &mut world,
        "
          1000 pbx > BYE sip:x@10.0.0.1:5060
          1000       > trunk BYE sip:x@192.0.2.10:5060
          1000 trunk > 200 OK (101 BYE)
          1000       > pbx 200 OK (101 BYE)
        ",
    );
    world.rest();
}

#[test]
fn observing_does_nothing_and_says_so() {
    let (mut world, mut caller, _) = answered(Settings { enforce: false, ..settings() });
    world.media_in_ladder = true;
    world.judge(0.95);

    expect(&mut world, "");
    assert!(world.events.contains(&"divert observed".to_owned()), "{:?}", world.events);
    world.send(TRUNK, &caller.next("BYE", ""));
    world.rest();
}

#[test]
fn hang_up_ends_both_legs_at_once() {
    let policy = Policy { hang_up_at: Some(ringfence::units::Ratio::clamped(0.98)), ..Policy::default() };
    let (mut world, _, _) = answered(Settings { policy: Arc::new(policy), ..settings() });
    world.judge(0.99);
    let (to_trunk, to_pbx) = (world.last(TRUNK), world.last(PBX));
    world.send(TRUNK, &response(&to_trunk, "200 OK", "", ""));
    world.send(PBX, &response(&to_pbx, "200 OK", "", ""));

    expect(
        &mut world,
        "
             0       > trunk BYE sip:x@192.0.2.10:5060
             0       > pbx BYE sip:y@10.0.0.5:5060
             0 trunk > 200 OK (1 BYE)
             0 pbx > 200 OK (2 BYE)
        ",
    );
    world.rest();
}

#[test]
fn a_call_keeps_the_settings_it_began_with() {
    let (mut world, mut caller, _) = answered(settings());
    world.input(Input::Settings(Arc::new(Settings { enforce: false, generation: 2, ..settings() })));
    world.judge(0.95);

    assert!(world.events.contains(&"divert done".to_owned()), "{:?}", world.events);
    world.send(TRUNK, &caller.next("BYE", ""));
    world.rest();
}

#[test]
fn a_verdict_after_the_end_changes_nothing() {
    let (mut world, mut caller, _) = answered(settings());
    world.hang_up((TRUNK, &mut caller), PBX);
    world.ladder();

    world.judge(0.99);

    expect(&mut world, "");
    world.rest();
}

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

#[test]
fn calls_without_usable_media_go_on_unheard() {
    for (body, why) in [
        (sdp(TRUNK, "").replace("RTP/AVP 0 101", "RTP/SAVP 0 101"), "srtp"),
        (sdp(TRUNK, "").replace("RTP/AVP 0 101", "RTP/AVP 96\r\na=rtpmap:96 iLBC/8000"), "codec"),
    ] {
        let mut world = World::new(settings());
        let mut caller = Phone::caller("call");
        world.send(TRUNK, &caller.request("INVITE", &body));
        let invite = world.last(PBX);
        world.answer((PBX, "callee"), &invite, (TRUNK, &mut caller));

        assert!(world.events.contains(&format!("answered analysed=false {why}")), "{why}: {:?}", world.events);
        world.send(TRUNK, &caller.next("BYE", ""));
        world.rest();
    }
}

#[test]
fn opus_is_heard_under_whatever_number_and_spelling() {
    for map in ["opus/48000/2", "OPUS/48000/2", "opus/48000"] {
        let offer = format!("RTP/AVP 96 0 101\r\na=rtpmap:96 {map}\r\na=fmtp:96 useinbandfec=1;stereo=0");
        let mut world = World::new(settings());
        world.media_in_ladder = true;
        let mut caller = Phone::caller("call");
        world.send(TRUNK, &caller.request("INVITE", &sdp(TRUNK, "").replace("RTP/AVP 0 101", &offer)));
        let invite = world.last(PBX);
        assert!(invite.contains(&offer), "{invite}");
        let taken = sdp(PBX, "").replace("RTP/AVP 0 101", "RTP/AVP 97\r\na=rtpmap:97 opus/48000/2");
        world.send(PBX, &response(&invite, "200 OK", "callee", &taken));
        caller.learn(&world.last(TRUNK));
        world.send(TRUNK, &caller.ack());

        let ladder = world.ladder();
        assert!(ladder.contains("plan caller [(96, Opus), (0, Pcmu)]"), "{ladder}");
        assert!(ladder.contains("plan callee [(97, Opus)]"), "{ladder}");
        assert!(ladder.contains("answered, analyse true"), "{ladder}");
        world.send(TRUNK, &caller.next("BYE", ""));
        world.rest();
    }
}

#[test]
fn a_caller_with_opus_alone_is_answered_in_it() {
    let mut world = World::new(rejecting(Route::Divert));
    let offer = "RTP/AVP 111 18 110 101\r\na=rtpmap:111 opus/48000/2\r\na=rtpmap:110 telephone-event/48000";
    let caller = Phone::caller("call");
    world.send(TRUNK, &caller.request("INVITE", &sdp(TRUNK, "").replace("RTP/AVP 0 101", offer)));

    let ok = world.last(TRUNK);
    assert!(ok.starts_with("SIP/2.0 200 "), "{ok}");
    assert!(ok.contains(" RTP/AVP 111 110\r\na=rtpmap:111 opus/48000/2\r\n"), "{ok}");
    assert!(ok.contains("a=rtpmap:110 telephone-event/48000\r\na=fmtp:110 0-15\r\n"), "{ok}");
}

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

#[test]
fn mangled_messages_never_panic_and_leave_nothing_behind() {
    let mut random = 0x9E37_79B9_7F4A_7C15u64;
    let mut next = move |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random % below.max(1) as u64) as usize
    };
    for round in 0..600 {
        let (mut world, mut caller, mut callee) = answered(Settings { max_calls: 20, ..settings() });
        let mut valid = vec![
            (TRUNK, Phone::caller(&format!("m{round}")).request("INVITE", &sdp(TRUNK, ""))),
            (TRUNK, caller.next("INVITE", &sdp(TRUNK, "a=inactive\r\n"))),
            (TRUNK, caller.request("CANCEL", "")),
            (TRUNK, caller.ack()),
            (TRUNK, caller.next("INFO", "")),
            (PBX, callee.next("INVITE", &sdp(PBX, ""))),
            (PBX, callee.next("BYE", "")),
            (PBX, callee.request("REGISTER", "")),
        ];
        for _ in 0..40 {
            let (from, text) = valid[next(valid.len())].clone();
            let mut bytes = text.into_bytes();
            for _ in 0..1 + next(4) {
                let at = next(bytes.len());
                match next(5) {
                    0 => bytes.truncate(at),
                    1 => bytes.insert(at, next(256) as u8),
                    2 if !bytes.is_empty() => bytes[at] = next(128) as u8,
                    3 => bytes.extend_from_slice(&bytes.clone()[at..]),
                    _ => bytes.splice(at..at, *b"\r\nVia: ").for_each(drop),
                }
            }
            let text = String::from_utf8_lossy(&bytes).into_owned();
            world.send(from, &text);
            // Answers of peers are mangled too.
            for peer in [TRUNK, PBX] {
                if let Some(message) = world.receive(peer)
                    && !message.starts_with("SIP/2.0")
                    && valid.len() < 64
                {
                    valid
                        .push((peer, response(&message, ["180 Ringing", "200 OK", "486 Busy Here"][next(3)], "t", "")));
                }
            }
            world.run(MS(next(600) as u64));
        }
        world.run(Duration::from_secs(60));
        world.input(Input::EndAll);
        world.run(Duration::from_secs(400));
        assert_eq!(world.switchboard.sizes(), ringfence::call::Sizes::default(), "round {round}");
    }
}
