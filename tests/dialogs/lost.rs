//! Calls that a fault of ours takes out of the tables, or leaves without an answer.

use ringfence::call::{Input, Settings};
use ringfence::rtp::control::MediaEvent;

use super::world::{PBX, Phone, TRUNK, World, response, sdp, settings};
use super::{MS, answered, expect};

#[test]
fn a_call_that_talks_ends_with_its_media_and_leaves_nothing() {
    let (mut world, mut caller, _) = answered(settings());
    world.media_in_ladder = true;
    let call = world.calls[0];

    assert_eq!(world.panics(Input::Divert { call }), [call]);

    assert_eq!(world.events.last().unwrap(), "ended internal by us ");
    world.send(TRUNK, &caller.next("BYE", ""));
    expect(
        &mut world,
        "
             0       * stop listening
             0       * cut caller true
             0       * cut callee true
             0       * close
             0 trunk > BYE sip:y@192.0.2.1:5060
             0       > trunk 481 Call/Transaction Does Not Exist (2 BYE)
        ",
    );
    world.rest();
}

#[test]
fn a_call_that_rings_is_answered_and_cancelled() {
    let mut world = World::new(settings());
    let caller = Phone::caller("call");
    world.send(TRUNK, &caller.request("INVITE", &sdp(TRUNK, "")));
    let invite = world.last(PBX);
    world.send(PBX, &response(&invite, "180 Ringing", "callee", ""));
    world.run(MS(1_000));
    world.ladder();
    let call = world.calls[0];

    assert_eq!(world.panics(Input::Media { call, event: MediaEvent::Failed }), [call]);
    world.send(PBX, &response(&invite, "200 OK", "callee", &sdp(PBX, "")));

    expect(
        &mut world,
        "
          1000       > trunk 500 Server Internal Error (1 INVITE)
          1000       > pbx CANCEL sip:201@10.0.0.5:5060
          1000 pbx > 200 OK (1 INVITE) sdp
          1000       > pbx ACK sip:y@10.0.0.5:5060
          1000       > pbx BYE sip:y@10.0.0.5:5060
        ",
    );
}

#[test]
fn a_media_path_that_says_nothing_does_not_keep_the_caller_waiting() {
    let mut world = World::new(settings());
    world.silent_media = true;
    world.send(TRUNK, &Phone::caller("call").request("INVITE", &sdp(TRUNK, "")));

    world.run(MS(4_000));

    expect(
        &mut world,
        "
             0 trunk > INVITE sip:201@192.0.2.1:5060 sdp
           200       > trunk 100 Trying (1 INVITE)
          4000       > trunk 503 Service Unavailable (1 INVITE)
        ",
    );
    assert_eq!(world.events.last().unwrap(), "ended media by us 503");
    world.rest();
}

#[test]
fn its_trunk_may_have_as_many_calls_as_before() {
    let mut world = World::new(Settings { max_calls: 1, ..settings() });
    for name in ["first", "second", "third", "fourth", "fifth", "sixth"] {
        world.send(TRUNK, &Phone::caller(name).request("INVITE", &sdp(TRUNK, "")));
        assert!(world.newest_invite(PBX).is_some(), "the {name} call is let in");
        let call = *world.calls.last().unwrap();

        assert_eq!(world.panics(Input::Media { call, event: MediaEvent::Failed }), [call]);
    }
}
