//! Calls that are taken away, and those that come back.

use std::sync::Arc;

use ringfence::call::{DivertCaller, Input, Settings};
use ringfence::policy::rules::Policy;
use ringfence::rtp::control::MediaEvent;
use ringfence::units::Leg;

use super::MS;
use crate::world::{PBX, Phone, TRUNK, World, answered, expect, response, sdp, settings};

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
          5000       * hold keys of callee true
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
             0       * hold keys of callee true
             0       * stop listening
             0       * cut caller true
             0       * cut callee true
             0       * play callee-diverted to callee
             0       * play caller-diverted to caller
          2000       * stop playing to caller
          2000       * cut caller false
          2000       * stop playing to callee
          2000       * cut callee false
          2000       * hold keys of callee false
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
fn a_callee_hears_of_a_key_only_where_one_brings_the_caller_back() {
    let no_key = Settings { take_back_key: None, ..settings() };
    let no_caller = Settings { caller_hears: DivertCaller::HangUp, ..settings() };
    for (settings, warning) in
        [(settings(), "callee-diverted"), (no_key, "callee-diverted-short"), (no_caller, "callee-diverted-short")]
    {
        let (mut world, _, _) = answered(settings);
        world.media_in_ladder = true;
        world.judge(0.95);

        let ladder = world.ladder();
        assert!(ladder.contains(&format!("* play {warning} to callee\n")), "{ladder}");
    }
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
             0       * hold keys of callee true
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
fn a_key_behind_the_end_of_the_caller_is_the_callees_word_that_it_was_no_scam() {
    let hung_up = Settings { caller_hears: DivertCaller::HangUp, ..settings() };
    for (settings, offered) in [(settings(), true), (hung_up, false)] {
        let (mut world, mut caller, _) = answered(settings);
        world.judge(0.95);
        world.run(MS(1_000));
        if offered {
            world.send(TRUNK, &caller.next("BYE", ""));
        } else {
            let bye = world.last(TRUNK);
            world.send(TRUNK, &response(&bye, "200 OK", "", ""));
        }
        for _ in 0..2 {
            world.run(MS(1_500));
            world.media_says(MediaEvent::Digit { leg: Leg::Callee, digit: '9' });
        }
        world.run(MS(6_000));
        world.ladder();
        world.finished(Leg::Callee);
        world.run(MS(3_000));
        let bye = world.last(PBX);
        world.send(PBX, &response(&bye, "200 OK", "", ""));

        expect(
            &mut world,
            "
             13000       > pbx BYE sip:y@10.0.0.5:5060
             13000 pbx > 200 OK (2 BYE)
            ",
        );
        let word = world.events.iter().filter(|event| *event == "taken back").count();
        assert_eq!(word, usize::from(offered), "of a key that nobody was told of, nothing is known");
        world.rest();
    }
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
fn a_call_out_that_an_operator_diverts_does_not_come_back_by_a_key_of_the_one_who_was_called() {
    let mut world = World::new(settings());
    let mut caller = Phone::inside("out", "01632960009");
    world.send(PBX, &caller.request("INVITE", &sdp(PBX, "")));
    let invite = world.last(TRUNK);
    world.answer((TRUNK, "other"), &invite, (PBX, &mut caller));
    let mut other = Phone { at: TRUNK, ..Phone::callee(&invite, "other") };
    world.last(TRUNK);
    world.ladder();
    world.media_in_ladder = true;
    let call = world.calls[0];
    world.input(Input::Divert { call });
    world.run(MS(2_000));
    world.media_says(MediaEvent::Digit { leg: Leg::Callee, digit: '9' });
    // Nor does it move the equipment of the one who dialled.
    world.send(TRUNK, &other.next("INVITE", &sdp(TRUNK, "a=sendonly\r\n")));
    world.send(TRUNK, &other.request("ACK", ""));
    world.send(PBX, &caller.next("OPTIONS", ""));
    let asked = world.last(TRUNK);
    world.send(TRUNK, &response(&asked, "200 OK", "", ""));
    world.last(PBX);
    world.hang_up((TRUNK, &mut other), PBX);

    expect(
        &mut world,
        "
             0       * hold keys of callee true
             0       * stop listening
             0       * cut caller true
             0       * cut callee true
             0       * play callee-diverted-short to callee
             0       * play callee-diverted-short to caller
          2000 trunk > INVITE sip:x@192.0.2.1:5060 sdp
          2000       > trunk 491 Request Pending (101 INVITE)
          2000 trunk > ACK sip:x@192.0.2.1:5060
          2000 pbx > OPTIONS sip:y@10.0.0.1:5060
          2000       > trunk OPTIONS sip:y@192.0.2.10:5060
          2000 trunk > 200 OK (2 OPTIONS)
          2000       > pbx 200 OK (2 OPTIONS)
          2000 trunk > BYE sip:x@192.0.2.1:5060
          2000       * close
          2000       > pbx BYE sip:x@10.0.0.5:5060
          2000 pbx > 200 OK (102 BYE)
          2000       > trunk 200 OK (102 BYE)
        ",
    );
    assert!(!world.events.contains(&"taken back".to_owned()), "{:?}", world.events);
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
