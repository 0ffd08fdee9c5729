//! Early media, forks, and what comes twice or too late.

use ringfence::rtp::control::MediaEvent;

use super::MS;
use crate::world::{PBX, Phone, TRUNK, World, answered, expect, response, sdp, settings};

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
