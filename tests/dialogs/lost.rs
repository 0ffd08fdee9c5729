//! Calls that a fault of ours takes out of the tables, or leaves without an answer.

use ringfence::call::{Input, Settings};
use ringfence::rtp::control::MediaEvent;

use super::world::{PBX, Phone, TRUNK, World, header, response, sdp, settings};
use super::{MS, answered, expect};

#[test]
fn a_call_that_talks_is_hung_up_as_it_was_kept_and_leaves_nothing() {
    let (mut world, mut caller, mut callee) = answered(settings());
    world.send(PBX, &callee.next("UPDATE", ""));
    let asked = world.last(TRUNK);
    world.send(TRUNK, &response(&asked, "200 OK", "", ""));
    world.last(PBX);
    world.ladder();
    world.media_in_ladder = true;
    let call = world.calls[0];

    assert_eq!(world.panics(Input::Divert { call }), [call]);

    assert_eq!(world.events.last().unwrap(), "ended internal by us ");
    // Both know the call by these BYEs, numbered behind all that may have gone to them meanwhile.
    for (at, own) in [(TRUNK, &caller), (PBX, &callee)] {
        let bye = world.last(at);
        assert_eq!((header(&bye, "To"), header(&bye, "From")), (&*own.local, &*own.remote));
        world.send(at, &response(&bye, "200 OK", "", ""));
    }
    world.send(TRUNK, &caller.next("INFO", ""));
    expect(
        &mut world,
        "
             0       * hold keys of callee true
             0       * stop listening
             0       * cut caller true
             0       * cut callee true
             0       * close
             0       > trunk BYE sip:y@192.0.2.10:5060
             0       > pbx BYE sip:x@10.0.0.5:5060
             0 trunk > 200 OK (118 BYE)
             0 pbx > 200 OK (18 BYE)
             0 trunk > INFO sip:y@192.0.2.1:5060
             0       > trunk 481 Call/Transaction Does Not Exist (2 INFO)
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
