//! Calls whose callee's keys are held back, or whose callee is warned.

use ringfence::call::Input;
use ringfence::policy::judge::{Class, Verdict};
use ringfence::rtp::control::MediaEvent;
use ringfence::units::{CallTime, Leg, Ratio};

use super::{MS, Phone, S, Settings, TRUNK, World, answered, expect, hang_up, response, settings};
use crate::world::PBX;

/// A call whose keys are held: world, caller, callee; the ladder is emptied, and media are in it from now on.
fn guarded() -> (World, Phone, Phone) {
    let (mut world, caller, callee) = answered(settings());
    world.judge(0.6);
    world.media_in_ladder = true;
    world.ladder();
    (world, caller, callee)
}

const KEY: &str = "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz\r\n";

fn press(world: &mut World, digit: char) {
    world.media_says(MediaEvent::Digit { leg: Leg::Callee, digit });
}

fn info(phone: &mut Phone, body: &str) -> String {
    phone.next("INFO", body).replace("application/sdp", "application/dtmf-relay")
}

/// An INFO with a key has come to the caller, who answers.
fn take_info(world: &mut World) {
    let asked = world.last(TRUNK);
    assert!(asked.starts_with("INFO ") && asked.contains("Signal="), "{asked}");
    world.send(TRUNK, &response(&asked, "200 OK", "", ""));
}

fn lifted(world: &World) -> bool {
    world.events.iter().any(|event| event.starts_with("guard lifted"))
}

#[test]
fn a_key_by_info_is_answered_here_and_the_callee_is_told_once() {
    let (mut world, mut caller, mut callee) = answered(settings());
    world.media_in_ladder = true;
    world.judge(0.6);
    world.send(PBX, &info(&mut callee, "Signal=1\r\nDuration=160\r\n"));
    world.run(MS(2_000));
    world.send(PBX, &info(&mut callee, "Signal=1\r\nDuration=160\r\n"));
    // Nobody knows this key, but it is one.
    world.send(PBX, &info(&mut callee, "Signal=flash\r\n"));
    // Whatever else an INFO says, and what the caller presses, passes.
    world.send(PBX, &callee.next("INFO", ""));
    let asked = world.last(TRUNK);
    world.send(TRUNK, &response(&asked, "200 OK", "", ""));
    world.send(TRUNK, &info(&mut caller, "Signal=5\r\n"));
    let asked = world.last(PBX);
    world.send(PBX, &response(&asked, "200 OK", "", ""));
    world.run(MS(6_000));
    press(&mut world, '1');

    expect(
        &mut world,
        "
             0       * hold keys of callee true
             0 pbx > INFO sip:x@10.0.0.1:5060
             0       * play callee-guard to callee
             0       > pbx 200 OK (101 INFO)
          2000 pbx > INFO sip:x@10.0.0.1:5060
          2000       > pbx 200 OK (102 INFO)
          2000 pbx > INFO sip:x@10.0.0.1:5060
          2000       > pbx 200 OK (103 INFO)
          2000 pbx > INFO sip:x@10.0.0.1:5060
          2000       > trunk INFO sip:x@192.0.2.10:5060
          2000 trunk > 200 OK (104 INFO)
          2000       > pbx 200 OK (104 INFO)
          2000 trunk > INFO sip:y@192.0.2.1:5060
          2000       > pbx INFO sip:y@10.0.0.5:5060
          2000 pbx > 200 OK (2 INFO)
          2000       > trunk 200 OK (2 INFO)
          8000       * play callee-guard to callee
        ",
    );
    assert!(world.events.contains(&"guard done".to_owned()), "{:?}", world.events);
    assert_eq!(world.events.iter().filter(|event| *event == "digit callee").count(), 3);
    world.forget_peer(PBX);
    world.forget_peer(TRUNK);
    hang_up(world, &mut caller);
}

#[test]
fn a_key_is_held_in_whatever_words_it_is_told() {
    for (method, kind, key, state) in [
        ("INFO", "application/vnd.nortelnetworks.digits", "p=Digit-Collection\r\ny=Digits\r\nd=Digits=1\r\n", ""),
        ("INFO", "application/dtmf; x=y", "1", ""),
        ("INFO", "audio/telephone-event", "\u{1}\u{8a}@", ""),
        ("NOTIFY", "Audio/Telephone-Event", "\u{1}\u{8a}@", ""),
        (
            "NOTIFY",
            "application/kpml-response+xml",
            "<kpml-response version=\"1.0\" code=\"200\" text=\"OK\" digits=\"1\" tag=\"dtmf\"/>",
            "<kpml-response version=\"1.0\" code=\"423\" text=\"Timer Expired\"/>",
        ),
    ] {
        let (mut world, mut caller, mut callee) = guarded();
        let says = |callee: &mut Phone, body: &str| callee.next(method, body).replace("application/sdp", kind);
        world.send(PBX, &says(&mut callee, key));
        assert!(world.last(PBX).starts_with("SIP/2.0 200 "), "{kind}");
        assert_eq!(world.events.last().unwrap(), "digit callee", "{kind}");
        let ladder = world.ladder();
        assert!(ladder.contains("play callee-guard") && !ladder.contains("> trunk"), "{kind}: {ladder}");
        if !state.is_empty() {
            world.send(PBX, &says(&mut callee, state));
            let told = world.last(TRUNK);
            assert!(told.starts_with("NOTIFY "), "no key: {told}");
            world.send(TRUNK, &response(&told, "200 OK", "", ""));
            world.last(PBX);
        }
        hang_up(world, &mut caller);
    }
}

#[test]
fn nine_twice_sends_the_key_and_lifts_the_guard_for_good() {
    let (mut world, mut caller, mut callee) = guarded();
    press(&mut world, '1');
    world.run(MS(4_000));
    press(&mut world, '9');
    world.run(MS(900));
    press(&mut world, '9');
    // The same nine by INFO, as its telephone presses each key in both ways.
    world.send(PBX, &info(&mut callee, "Signal=9\r\n"));
    world.run(MS(1_500));
    world.send(PBX, &info(&mut callee, "Signal=2\r\n"));
    take_info(&mut world);
    press(&mut world, '3');
    world.judge(0.65);

    expect(
        &mut world,
        "
             0       * play callee-guard to callee
          4900       * hold keys of callee false
          4900       * stop playing to callee
          4900       * press 1 for caller
          4900 pbx > INFO sip:x@10.0.0.1:5060
          4900       > pbx 200 OK (101 INFO)
          6400 pbx > INFO sip:x@10.0.0.1:5060
          6400       > trunk INFO sip:x@192.0.2.10:5060
          6400 trunk > 200 OK (102 INFO)
          6400       > pbx 200 OK (102 INFO)
        ",
    );
    assert!(world.events.contains(&"guard lifted, callee".to_owned()), "{:?}", world.events);
    assert_eq!(world.events.iter().filter(|event| event.starts_with("guard done")).count(), 1);
    world.forget_peer(PBX);
    hang_up(world, &mut caller);
}

#[test]
fn nines_that_are_not_two_in_a_row_lift_nothing() {
    let (mut world, mut caller, mut callee) = guarded();
    press(&mut world, '9');
    world.run(MS(5_000));
    press(&mut world, '9');
    press(&mut world, '1');
    press(&mut world, '9');
    // One press, which its telephone says in both ways.
    world.send(PBX, &info(&mut callee, "Signal=9\r\n"));
    world.run(MS(5_000));
    // Nines of the caller are nobody's business.
    for _ in 0..2 {
        world.media_says(MediaEvent::Digit { leg: Leg::Caller, digit: '9' });
    }
    assert!(!lifted(&world), "{:?}", world.events);
    world.run(MS(1_000));

    // By INFO alone they are as good.
    for _ in 0..2 {
        world.send(PBX, &info(&mut callee, "Signal=9\r\n"));
        world.run(MS(500));
    }

    assert!(lifted(&world));
    assert!(world.ladder().contains("press 1 for caller"), "the last key that was not part of it");
    world.forget_peer(PBX);
    hang_up(world, &mut caller);
}

#[test]
fn nines_of_the_caller_that_come_back_by_any_way_lift_nothing() {
    let (mut world, mut caller, mut callee) = guarded();
    press(&mut world, '1');
    world.run(MS(4_000));
    for later in [0, 200, 500] {
        for _ in 0..2 {
            world.send(TRUNK, &info(&mut caller, "Signal=9\r\n"));
            let asked = world.last(PBX);
            world.send(PBX, &response(&asked, "200 OK", "", ""));
            world.run(MS(later));
            press(&mut world, '9');
            world.send(PBX, &info(&mut callee, "Signal=9\r\n"));
        }
    }
    assert_eq!(world.events.iter().filter(|event| *event == "digit callee").count(), 1, "the one");
    // A tone is told when it has lasted a while: its return may be told before it.
    world.run(MS(1_000));
    for _ in 0..2 {
        press(&mut world, '9');
        world.run(MS(50));
        world.media_says(MediaEvent::Digit { leg: Leg::Caller, digit: '9' });
        world.run(MS(1_000));
    }

    assert!(!lifted(&world), "{:?}", world.events);
    assert!(!world.ladder().contains("> trunk INFO"), "all are held");
    world.forget_peer(PBX);
    world.forget_peer(TRUNK);
    hang_up(world, &mut caller);
}

#[test]
fn a_nine_can_be_sent_too() {
    let (mut world, mut caller, _) = guarded();
    // A recording that says "press nine twice" is not obeyed before the callee has heard what that does.
    for _ in 0..2 {
        press(&mut world, '9');
        world.run(MS(1_500));
    }
    assert!(!lifted(&world));

    for _ in 0..2 {
        press(&mut world, '9');
        world.run(MS(400));
    }

    assert!(world.ladder().contains("press 9 for caller"));
    hang_up(world, &mut caller);
}

#[test]
fn an_early_nine_does_not_take_the_place_of_the_key_that_is_held() {
    let (mut world, mut caller, _) = guarded();
    press(&mut world, '1');
    world.run(MS(2_000));
    press(&mut world, '9');
    world.run(MS(2_000));
    for _ in 0..2 {
        press(&mut world, '9');
    }

    assert!(world.ladder().contains("press 1 for caller"));
    hang_up(world, &mut caller);
}

#[test]
fn a_caller_who_turns_out_to_be_a_person_lifts_the_guard() {
    let (mut world, mut caller, mut callee) = guarded();
    let call = world.calls[0];
    let live = |probability: f32| Verdict {
        at: CallTime::from_millis(9_000),
        class: Class::Live,
        probabilities: [Ratio::ZERO, Ratio::clamped(probability), Ratio::clamped(1.0 - probability), Ratio::ZERO],
        reasons: Vec::new(),
    };
    world.input(Input::Judged { call, verdict: live(0.85) });
    assert!(!lifted(&world));
    world.input(Input::Judged { call, verdict: live(0.95) });
    world.send(PBX, &info(&mut callee, "Signal=1\r\n"));
    take_info(&mut world);
    world.judge(0.6);

    let ladder = world.ladder();
    assert!(ladder.contains("hold keys of callee false") && !ladder.contains("press "), "{ladder}");
    assert!(world.events.contains(&"guard lifted, live".to_owned()), "{:?}", world.events);
    assert_eq!(ladder.matches("hold keys of callee true").count(), 0, "once a call");
    world.forget_peer(PBX);
    hang_up(world, &mut caller);
}

#[test]
fn without_enforcement_and_without_suspicion_keys_pass() {
    for (settings, suspicion) in [(Settings { enforce: false, ..settings() }, 0.75), (settings(), 0.4)] {
        let (mut world, mut caller, mut callee) = answered(settings);
        world.media_in_ladder = true;
        world.judge(suspicion);
        world.send(PBX, &info(&mut callee, "Signal=1\r\n"));
        take_info(&mut world);
        press(&mut world, '1');

        assert!(!world.ladder().contains('*'), "no command to the media");
        world.forget_peer(PBX);
        hang_up(world, &mut caller);
    }
}

#[test]
fn a_whisper_comes_once_and_behind_a_guard() {
    let (mut world, mut caller, _) = answered(settings());
    world.media_in_ladder = true;
    world.judge(0.75);
    world.finished(Leg::Callee);
    world.judge(0.8);
    world.run(S(5));

    expect(
        &mut world,
        "
             0       * hold keys of callee true
             0       * whisper callee-whisper to callee
        ",
    );
    let steps: Vec<&String> = world.events.iter().filter(|event| event.ends_with(" done")).skip(1).collect();
    assert_eq!(steps, ["guard done", "whisper done"]);
    hang_up(world, &mut caller);
}

/// A re-INVITE of one end with this attribute, which the other accepts.
fn re_invite(world: &mut World, (from, phone): (&str, &mut Phone), to: &str, attribute: &str) {
    world.send(from, &phone.next("INVITE", &super::sdp(from, attribute)));
    let offer = world.last(to);
    let answer = attribute.replace("sendonly", "recvonly");
    world.send(to, &response(&offer, "200 OK", "", &super::sdp(to, &answer)));
    world.send(from, &phone.ack());
    world.forget_peer(to);
    world.forget_peer(from);
}

#[test]
fn a_callee_on_hold_is_warned_when_the_hold_ends() {
    const HOLD: &str = "a=sendonly\r\n";
    for (by_callee, killed) in [(true, false), (false, false), (true, true)] {
        let (mut world, mut caller, mut callee) = guarded();
        let hold = |world: &mut World, caller: &mut Phone, callee: &mut Phone, attribute: &str| {
            let (from, to) = if by_callee { ((PBX, callee), TRUNK) } else { ((TRUNK, caller), PBX) };
            re_invite(
                world,
                from,
                to,
                &if by_callee { attribute.to_owned() } else { attribute.replace("sendonly", "inactive") },
            );
        };
        hold(&mut world, &mut caller, &mut callee, HOLD);
        world.judge(0.75);
        if killed {
            world.kill_and_start(MS(500));
        }
        // Held on.
        hold(&mut world, &mut caller, &mut callee, HOLD);
        assert!(!world.ladder().contains("* whisper"), "nobody would hear it");
        hold(&mut world, &mut caller, &mut callee, "");
        assert_eq!(world.ladder().matches("* whisper callee-whisper to callee").count(), 1);
        for attribute in [HOLD, ""] {
            hold(&mut world, &mut caller, &mut callee, attribute);
        }
        assert!(!world.ladder().contains("* whisper"), "once");
        hang_up(world, &mut caller);
    }
}

#[test]
fn a_caller_cannot_keep_the_callee_from_being_warned_by_a_hold_of_its_own() {
    for attribute in ["a=sendonly\r\n", "a=recvonly\r\n"] {
        let (mut world, mut caller, _) = guarded();
        re_invite(&mut world, (TRUNK, &mut caller), PBX, attribute);
        world.judge(0.75);
        let warned = world.ladder().contains("* whisper callee-whisper to callee");
        assert_eq!(warned, attribute.contains("sendonly"), "who is heard is warned of");
        hang_up(world, &mut caller);
    }
}

#[test]
fn a_hold_keeps_no_scam_from_being_taken_away() {
    for (by_callee, attribute) in [(false, "a=inactive\r\n"), (false, "a=sendonly\r\n"), (true, "a=sendonly\r\n")] {
        let (mut world, mut caller, mut callee) = guarded();
        let (from, to) = if by_callee { ((PBX, &mut callee), TRUNK) } else { ((TRUNK, &mut caller), PBX) };
        re_invite(&mut world, from, to, attribute);
        world.judge(0.95);
        let ladder = world.ladder();
        // Whoever cannot hear it is warned later.
        let hears = attribute.contains("sendonly") && !by_callee;
        assert_eq!(ladder.contains("* play callee-diverted to callee"), hears, "{ladder}");
        assert!(ladder.contains("cut caller true"), "{ladder}");
        // What the caller has to say of its media is not passed on, so that the callee hears the warning and no music.
        world.send(TRUNK, &caller.next("INVITE", &super::sdp(TRUNK, "")));
        assert!(world.last(TRUNK).starts_with("SIP/2.0 491 "));
        world.send(TRUNK, &caller.request("ACK", ""));
        let ladder = world.ladder();
        assert!(!ladder.contains("cut caller false") && !ladder.contains("> pbx"), "{ladder}");
        world.finished(Leg::Caller);
        world.run(S(30));
        assert_ne!(world.ladder().contains("* play callee-diverted to callee"), hears);
        world.finished(Leg::Callee);
        world.run(S(4));
        assert_eq!(world.events.last().unwrap(), "ended diverted by us ");
    }
}

#[test]
fn a_callee_on_hold_hears_the_warning_when_it_comes_back() {
    for (hold, killed, caller_goes) in [
        ("a=sendonly\r\n", false, false),
        ("c=IN IP4 0.0.0.0\r\n", false, false),
        ("a=sendonly\r\n", true, false),
        ("a=sendonly\r\n", false, true),
    ] {
        let (mut world, mut caller, mut callee) = guarded();
        press(&mut world, '1');
        re_invite(&mut world, (PBX, &mut callee), TRUNK, hold);
        world.judge(0.95);
        // Of the guard's voice.
        world.finished(Leg::Callee);
        world.finished(Leg::Caller);
        if killed {
            world.kill_and_start(MS(500));
        }
        if caller_goes {
            world.send(TRUNK, &caller.next("BYE", ""));
            world.last(TRUNK);
        }
        world.run(S(20));
        let ladder = world.ladder();
        assert!(ladder.contains("* cut caller true") && !ladder.contains("* play callee-diverted"), "{ladder}");

        let warning = if caller_goes { "callee-diverted-short" } else { "callee-diverted" };
        if caller_goes {
            world.send(PBX, &callee.next("INVITE", &super::sdp(PBX, "")));
            assert!(world.last(PBX).starts_with("SIP/2.0 200 "));
            world.send(PBX, &callee.ack());
        } else {
            re_invite(&mut world, (PBX, &mut callee), TRUNK, "");
        }
        assert_eq!(world.ladder().matches(&format!("* play {warning} to callee\n")).count(), 1);
        world.run(S(14));
        world.finished(Leg::Caller);
        world.finished(Leg::Callee);
        world.run(S(3));
        assert_eq!(world.events.last().unwrap(), "ended diverted by us ");
    }
}

#[test]
fn a_caller_who_is_taken_away_changes_no_media_until_the_call_is_taken_back() {
    const ASKS: &str = "Supported: timer\r\nSession-Expires: 90\r\n";
    let grants = "Require: timer\r\nSession-Expires: 90;refresher=uac\r\n";
    let (mut world, mut caller, _) = super::answered_with(settings(), ASKS, grants);
    world.run(S(75));
    world.judge(0.95);
    let plain = super::sdp(TRUNK, "");
    let none = plain.replace("m=audio 4000", "m=audio 0");
    let fax = plain.replace("audio 4000 RTP/AVP 0 101", "image 4000 udptl t38");
    let held = super::sdp(TRUNK, "a=sendonly\r\n");
    for (method, body) in
        [("INVITE", &*held), ("INVITE", &none), ("INVITE", &fax), ("INVITE", ""), ("UPDATE", &held), ("PRACK", &held)]
    {
        world.send(TRUNK, &caller.next(method, body));
        assert!(world.last(TRUNK).starts_with("SIP/2.0 491 "), "{method} {body}");
        if method == "INVITE" {
            world.send(TRUNK, &caller.request("ACK", ""));
        }
    }
    assert!(world.receive(PBX).is_none());
    // One that describes nothing moves nothing.
    world.send(TRUNK, &caller.next("UPDATE", ""));
    let update = world.last(PBX);
    world.send(PBX, &response(&update, "500 Server Internal Error", "", ""));
    world.last(TRUNK);

    // It was to be refreshed meanwhile, and is given time to.
    world.run(S(14));
    press(&mut world, '9');
    world.run(S(20));
    re_invite(&mut world, (TRUNK, &mut caller), PBX, "");
    hang_up(world, &mut caller);
}

#[test]
fn a_callee_who_has_lifted_the_guard_on_hold_is_not_warned_behind_it() {
    let (mut world, mut caller, mut callee) = guarded();
    re_invite(&mut world, (PBX, &mut callee), TRUNK, "a=sendonly\r\n");
    world.judge(0.75);
    press(&mut world, '1');
    world.run(MS(4_000));
    for _ in 0..2 {
        press(&mut world, '9');
    }
    assert!(lifted(&world));
    re_invite(&mut world, (PBX, &mut callee), TRUNK, "");

    assert!(!world.ladder().contains("* whisper"));
    hang_up(world, &mut caller);
}

#[test]
fn a_late_end_of_one_prompt_is_not_the_end_of_the_next() {
    let (mut world, mut caller, _) = guarded();
    press(&mut world, '1');
    let guard = world.plays.callee;
    world.judge(0.95);
    world.finished(Leg::Caller);
    // The voice of the guard had ended before it was replaced, and it was told late.
    world.media_says(MediaEvent::Finished { to: Leg::Callee, play: guard });
    world.run(S(4));
    assert!(!world.ladder().contains("BYE"), "the callee hears the warning to its end");
    world.finished(Leg::Callee);
    world.run(S(4));

    assert!(world.ladder().contains("> pbx BYE"));
    let bye = world.last(PBX);
    world.send(PBX, &response(&bye, "200 OK", "", ""));
    let bye = world.last(TRUNK);
    world.send(TRUNK, &response(&bye, "200 OK", "", ""));
    caller.cseq += 1;
    world.rest();
}

#[test]
fn a_call_that_is_taken_away_passes_no_key_by_info_either_way() {
    let (mut world, mut caller, mut callee) = guarded();
    world.judge(0.95);
    world.run(S(3));
    world.ladder();
    world.send(PBX, &info(&mut callee, "Signal=1\r\n"));
    // Played to the callee, it could come back from an analogue line and take the call back.
    world.send(TRUNK, &info(&mut caller, "Signal=9\r\n"));

    expect(
        &mut world,
        "
          3000 pbx > INFO sip:x@10.0.0.1:5060
          3000       > pbx 200 OK (101 INFO)
          3000 trunk > INFO sip:y@192.0.2.1:5060
          3000       > trunk 200 OK (2 INFO)
        ",
    );
    world.send(PBX, &info(&mut callee, "Signal=9\r\n"));
    assert!(world.events.contains(&"taken back".to_owned()));
    world.forget_peer(PBX);
    hang_up(world, &mut caller);
}

#[test]
fn a_guard_ends_when_the_call_is_taken_away_and_does_not_come_back_with_it() {
    let (mut world, mut caller, mut callee) = guarded();
    press(&mut world, '1');
    world.judge(0.95);
    let diverted = world.ladder();
    // A nine before is for the guard, whose voice the callee has just heard.
    world.run(S(12));
    press(&mut world, '9');
    press(&mut world, '9');
    world.kill_and_start(MS(500));
    world.judge(0.6);
    world.send(PBX, &info(&mut callee, "Signal=1\r\n"));
    take_info(&mut world);

    assert!(diverted.contains("hold keys of callee true") && diverted.contains("play callee-diverted"), "{diverted}");
    assert!(world.events.contains(&"taken back".to_owned()), "the first nine is the key for that");
    let after = world.ladder();
    assert!(after.contains("hold keys of callee false\n") && !after.contains("press "), "{after}");
    assert!(!after.contains("hold keys of callee true"), "{after}");
    world.forget_peer(PBX);
    hang_up(world, &mut caller);
}

#[test]
fn nines_that_the_guard_has_asked_for_do_not_bring_back_a_call_that_is_taken_away_meanwhile() {
    let no_guard = Settings { take_back_key: Some('5'), ..settings() };
    // The key, when it was held before the diversion, whether the callee's announcement ends early.
    for (settings, told_before, short) in [
        (settings(), Some(MS(2_000)), false),
        (settings(), Some(MS(2_000)), true),
        (settings(), None, false),
        (no_guard, Some(MS(0)), false),
    ] {
        let key = settings.take_back_key.unwrap();
        let (mut world, mut caller, _) = answered(settings);
        world.judge(0.6);
        if let Some(before) = told_before {
            press(&mut world, '1');
            world.run(before);
        }
        world.judge(0.95);
        world.run(MS(2_000));
        if short {
            world.finished(Leg::Callee);
        }
        let taken_back = |world: &World| world.events.contains(&"taken back".to_owned());
        for _ in 0..2 {
            press(&mut world, key);
        }
        let obeys_guard = key == '9' && told_before.is_some();
        assert_eq!(taken_back(&world), !obeys_guard, "{told_before:?} {key}");
        if obeys_guard {
            world.run(if short { MS(1_500) } else { MS(9_000) });
            press(&mut world, key);
            assert!(taken_back(&world), "the announcement has named it");
        }
        hang_up(world, &mut caller);
    }
}

#[test]
fn a_guard_outlives_a_kill_and_so_does_its_end() {
    let (mut world, mut caller, mut callee) = guarded();
    press(&mut world, '4');
    world.ladder();
    world.kill_and_start(MS(1_000));
    world.send(PBX, &info(&mut callee, "Signal=4\r\n"));
    world.run(MS(3_000));
    world.send(PBX, &info(&mut callee, "Signal=9\r\n"));
    world.send(PBX, &info(&mut callee, "Signal=9\r\n"));

    expect(
        &mut world,
        "
          1000 --- started again
          1000       * plan caller [(0, Pcmu)]
          1000       * plan callee [(0, Pcmu)]
          1000       * answered, analyse false
          1000       * hold keys of callee true
          1000 pbx > INFO sip:x@10.0.0.1:5060
          1000       * play callee-guard to callee
          1000       > pbx 200 OK (101 INFO)
          4000 pbx > INFO sip:x@10.0.0.1:5060
          4000       > pbx 200 OK (102 INFO)
          4000 pbx > INFO sip:x@10.0.0.1:5060
          4000       * hold keys of callee false but 9
          4000       * stop playing to callee
          4000       * press 4 for caller
          4000       > pbx 200 OK (103 INFO)
        ",
    );
    // Which key was held before it is written nowhere; it may have been part of a secret.
    world.kill_and_start(MS(1_000));
    world.judge(0.65);
    world.send(PBX, &info(&mut callee, "Signal=1\r\n"));
    take_info(&mut world);

    assert!(!world.ladder().contains("hold keys"));
    world.forget_peer(PBX);
    hang_up(world, &mut caller);
}

#[test]
fn a_nine_by_info_that_takes_a_call_back_is_no_key_in_the_media_behind_it() {
    let (mut world, mut caller, mut callee) = answered(settings());
    world.media_in_ladder = true;
    world.judge(0.95);
    world.run(S(2));
    world.send(PBX, &info(&mut callee, "Signal=9\r\n"));

    let ladder = world.ladder();
    assert!(ladder.contains("hold keys of callee false but 9\n"), "{ladder}");
    world.forget_peer(PBX);
    hang_up(world, &mut caller);
}

#[test]
fn a_key_that_takes_a_call_back_reaches_nobody_by_info_behind_it() {
    let (mut world, mut caller, mut callee) = answered(settings());
    world.judge(0.95);
    world.run(S(2));
    press(&mut world, '9');
    world.run(MS(300));
    // The same press, as its telephone tells of each in both ways.
    world.send(PBX, &info(&mut callee, "Signal=9\r\n"));
    assert!(world.last(PBX).starts_with("SIP/2.0 200 ") && world.receive(TRUNK).is_none());

    world.send(PBX, &info(&mut callee, "Signal=1\r\n"));
    take_info(&mut world);
    world.run(MS(700));
    world.send(PBX, &info(&mut callee, "Signal=9\r\n"));
    take_info(&mut world);
    world.forget_peer(PBX);
    hang_up(world, &mut caller);
}

#[test]
fn a_caller_who_is_listened_to_does_not_hide_behind_a_codec_that_nobody_hears() {
    let (mut world, mut caller, _) = answered(settings());
    let other = |formats: &str| super::sdp(TRUNK, "").replace("RTP/AVP 0 101", &format!("RTP/AVP {formats}"));

    for formats in ["3 101", "0 101\r\na=rtpmap:0 GSM/8000", "8 0 101\r\na=rtpmap:0 g729/8000\r\na=RTPMAP: 8 iLBC/8000"]
    {
        world.send(TRUNK, &caller.next("INVITE", &other(formats)));
        assert!(world.last(TRUNK).starts_with("SIP/2.0 488 "), "{formats}");
        world.send(TRUNK, &caller.request("ACK", ""));
    }
    // Whichever of the two the PBX would have gone by, it is told of one.
    let two = "96 101\r\na=rtpmap:96 PCMU/8000\r\na=rtpmap:96 iLBC/8000";
    world.send(TRUNK, &caller.next("INVITE", &other(two)));
    let offer = world.last(PBX);
    assert!(offer.contains("a=rtpmap:96 PCMU/8000\r\n") && !offer.contains("iLBC"), "{offer}");
    world.send(
        PBX,
        &response(&offer, "200 OK", "", &super::sdp(PBX, "a=rtpmap:96 PCMU/8000\r\n").replace(" 0 101", " 96 101")),
    );
    world.last(TRUNK);
    world.send(TRUNK, &caller.ack());
    world.last(PBX);
    world.run(S(101));
    world.send(TRUNK, &caller.next("INVITE", &other("3 101")));

    assert!(world.last(PBX).starts_with("INVITE "), "nobody listens any more");
}

#[test]
fn a_codec_that_nobody_hears_is_nobodys_fault_where_the_pbx_chose_it_or_nothing_is_enforced() {
    let unheard = |at: &str| super::sdp(at, "").replace("RTP/AVP 0 101", "RTP/AVP 3 101");
    let (mut world, mut caller, mut callee) = answered(settings());
    world.send(PBX, &callee.next("INVITE", &unheard(PBX)));
    let offer = world.last(TRUNK);
    world.send(TRUNK, &response(&offer, "200 OK", "", &unheard(TRUNK)));
    world.last(PBX);
    world.send(PBX, &callee.ack());
    world.last(TRUNK);
    let (mut watched, mut seen, _) = answered(Settings { enforce: false, ..settings() });

    world.send(TRUNK, &caller.next("INVITE", &unheard(TRUNK).replace("sendrecv", "sendonly")));
    watched.send(TRUNK, &seen.next("INVITE", &unheard(TRUNK)));

    assert!(world.last(PBX).starts_with("INVITE "), "its hold goes through");
    assert!(watched.last(PBX).starts_with("INVITE "));
}

#[test]
fn a_caller_who_will_be_listened_to_does_not_hide_before_the_answer() {
    for other in [("RTP/AVP 0 101", "RTP/AVP 3 101"), ("RTP/AVP", "RTP/SAVP")] {
        let mut world = World::new(settings());
        let mut caller = Phone::caller("call");
        world.send(TRUNK, &caller.request("INVITE", &super::sdp(TRUNK, "")));
        let invite = world.last(PBX);
        world.send(PBX, &response(&invite, "183 Session Progress", "callee", &super::sdp(PBX, "")));
        let early = world.last(TRUNK);
        let mut update = Phone { cseq: 1, ..caller.clone() };
        update.learn(&early);

        world.send(TRUNK, &update.next("UPDATE", &super::sdp(TRUNK, "").replace(other.0, other.1)));

        assert!(world.last(TRUNK).starts_with("SIP/2.0 488 "));
        world.answer((PBX, "callee"), &invite, (TRUNK, &mut caller));
        assert!(world.events.contains(&"answered analysed=true ".to_owned()), "{:?}", world.events);
    }
}

#[test]
fn a_caller_who_is_listened_to_does_not_hide_behind_encryption_of_its_own() {
    let (mut world, mut caller, _) = guarded();
    let secret = super::sdp(TRUNK, KEY).replace("RTP/AVP", "RTP/SAVP");
    world.send(TRUNK, &caller.next("INVITE", &secret));
    let answer = world.last(TRUNK);
    world.send(TRUNK, &caller.request("ACK", ""));
    let refused = world.ladder();
    // Nobody listens any more, and a person has been let through.
    press(&mut world, '1');
    world.run(S(30));
    for _ in 0..2 {
        press(&mut world, '9');
    }
    assert!(lifted(&world));
    world.send(TRUNK, &caller.next("INVITE", &secret));
    let offer = world.last(PBX);

    assert!(answer.starts_with("SIP/2.0 488 "), "{answer}");
    assert!(!refused.contains("> pbx"), "{refused}");
    assert!(offer.starts_with("INVITE ") && offer.contains("RTP/SAVP"), "{offer}");
    world.send(PBX, &response(&offer, "488 Not Acceptable Here", "", ""));
    world.send(TRUNK, &caller.request("ACK", ""));
    world.forget_peer(PBX);
    world.forget_peer(TRUNK);
    hang_up(world, &mut caller);
}

#[test]
fn keys_in_the_plain_profile_reach_nobody_and_the_caller_is_heard() {
    let mut world = World::new(settings());
    let mut caller = Phone::caller("call");
    // The second one cannot be read here, and may be elsewhere.
    let keys = KEY.to_owned() + "a=crypto:2 AES_CM_128_HMAC_SHA1_32 Inline:x\r\n";
    world.send(TRUNK, &caller.request("INVITE", &super::sdp(TRUNK, &keys)));
    let invite = world.last(PBX);
    let mut callee = Phone::callee(&invite, "callee");
    world.answer((PBX, "callee"), &invite, (TRUNK, &mut caller));
    world.last(PBX);
    world.judge(0.6);
    for keys in [KEY, &keys, "a=crypto:2 AES_CM_128_HMAC_SHA1_32 Inline:x\r\n"] {
        world.send(TRUNK, &caller.next("INVITE", &super::sdp(TRUNK, keys)));
        let offer = world.last(PBX);
        assert!(offer.starts_with("INVITE ") && offer.contains(" RTP/AVP ") && !offer.contains("a=crypto"), "{offer}");
        world.send(PBX, &response(&offer, "200 OK", "", &super::sdp(PBX, keys)));
        let answer = world.last(TRUNK);
        assert!(answer.contains(" RTP/AVP ") && !answer.contains("a=crypto"), "{answer}");
        world.send(TRUNK, &caller.ack());
        world.last(PBX);
    }
    world.send(PBX, &callee.next("INVITE", &super::sdp(PBX, KEY)));
    let offer = world.last(TRUNK);

    assert!(!invite.contains("a=crypto"), "{invite}");
    assert!(!offer.contains("a=crypto"), "{offer}");
    assert!(world.events.contains(&"answered analysed=true ".to_owned()), "{:?}", world.events);
    world.send(TRUNK, &response(&offer, "200 OK", "", &super::sdp(TRUNK, "")));
    world.send(PBX, &callee.ack());
    world.forget_peer(TRUNK);
    world.forget_peer(PBX);
    hang_up(world, &mut caller);
}

#[test]
fn a_guard_outlives_a_hold_and_a_re_invite() {
    let (mut world, mut caller, mut callee) = guarded();
    for direction in ["a=sendonly\r\n", ""] {
        world.send(PBX, &callee.next("INVITE", &super::sdp(PBX, direction)));
        let offer = world.last(TRUNK);
        world.send(TRUNK, &response(&offer, "200 OK", "", &super::sdp(TRUNK, "")));
        world.send(PBX, &callee.ack());
        world.forget_peer(TRUNK);
    }
    world.ladder();
    world.send(PBX, &info(&mut callee, "Signal=1\r\n"));

    let ladder = world.ladder();
    assert!(ladder.contains("play callee-guard") && !ladder.contains("trunk"), "{ladder}");
    world.forget_peer(PBX);
    hang_up(world, &mut caller);
}
