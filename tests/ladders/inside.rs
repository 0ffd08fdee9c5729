//! What the ends of a call say to each other while it lasts.

use ringfence::rtp::control::MediaEvent;

use super::MS;
use crate::world::{PBX, TRUNK, answered, expect, response, sdp, settings};

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
