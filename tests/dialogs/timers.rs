//! Session timers (RFC 4028), and what ends a call whose ends have gone without a word.

use ringfence::call::{Input, Settings};
use ringfence::policy::judge::{Class, Verdict};
use ringfence::rtp::control::MediaEvent;
use ringfence::units::{CallTime, Ratio};

use super::world::{PBX, Phone, TRUNK, World, header, response, sdp, settings};
use super::{MS, S, answered, answered_with, both_ended, expect, hang_up, saying};

const ASKS: &str = "Supported: timer\r\nSession-Expires: 100\r\n";
const GRANTS: &str = "Require: timer\r\nSession-Expires: 100;refresher=uac\r\n";

#[test]
fn a_call_that_nobody_refreshes_is_ended_when_its_timer_expires() {
    let (mut world, _, _) = answered_with(settings(), ASKS, GRANTS);

    world.run(S(99));
    assert_eq!(world.switchboard.sizes().calls, 1);
    world.run(S(1));

    expect(
        &mut world,
        "
        100000       > trunk BYE sip:x@192.0.2.10:5060
        100000       > pbx BYE sip:y@10.0.0.5:5060
        ",
    );
    both_ended(world, "ended expired by us ");
}

#[test]
fn each_refresh_sets_the_timer_anew_and_one_without_a_timer_ends_it() {
    let (mut world, mut caller, mut callee) = answered_with(settings(), ASKS, GRANTS);
    world.run(S(60));
    caller.cseq += 1;
    world.send(TRUNK, &caller.request_with("UPDATE", ASKS, ""));
    let update = world.last(PBX);
    assert_eq!(header(&update, "Session-Expires"), "100");
    world.send(PBX, &saying(&response(&update, "200 OK", "", ""), GRANTS));
    world.run(S(60));
    callee.cseq += 1;
    world.send(PBX, &callee.request_with("INVITE", ASKS, &sdp(PBX, "")));
    let re_invite = world.last(TRUNK);
    world.send(TRUNK, &saying(&response(&re_invite, "200 OK", "", &sdp(TRUNK, "")), GRANTS));
    world.send(PBX, &callee.ack());
    world.run(S(99));
    assert_eq!(world.switchboard.sizes().calls, 1);
    world.send(TRUNK, &caller.next("UPDATE", ""));
    let update = world.last(PBX);
    world.send(PBX, &response(&update, "200 OK", "", ""));
    world.last(TRUNK);
    world.run(S(3_600));

    assert_eq!(world.switchboard.sizes().calls, 1, "the ends no longer want a timer");
    hang_up(world, &mut caller);
}

#[test]
fn a_refused_refresh_is_none() {
    let (mut world, mut caller, _) = answered_with(settings(), ASKS, GRANTS);
    world.run(S(60));
    caller.cseq += 1;
    world.send(TRUNK, &caller.request_with("UPDATE", ASKS, ""));
    let update = world.last(PBX);
    world.send(PBX, &saying(&response(&update, "422 Session Interval Too Small", "", ""), "Min-SE: 1800\r\n"));
    assert_eq!(header(&world.last(TRUNK), "Min-SE"), "1800");
    world.run(S(40));

    both_ended(world, "ended expired by us ");
}

#[test]
fn where_only_the_caller_knows_timers_it_is_told_to_refresh() {
    let mut world = World::new(settings());
    let mut caller = Phone::caller("call");
    world.send(TRUNK, &caller.request_with("INVITE", ASKS, &sdp(TRUNK, "")));
    let invite = world.last(PBX);
    let plain = response(&invite, "200 OK", "callee", &sdp(PBX, ""));
    for _ in 0..2 {
        world.send(PBX, &plain);
        let answer = world.last(TRUNK);
        assert_eq!(header(&answer, "Session-Expires"), "100;refresher=uac");
        assert_eq!(header(&answer, "Require"), "timer");
        caller.learn(&answer);
    }
    world.send(TRUNK, &caller.ack());
    world.run(S(60));
    caller.cseq += 1;
    world.send(TRUNK, &caller.request_with("INVITE", ASKS, &sdp(TRUNK, "")));
    let refresh = world.last(PBX);
    world.send(PBX, &response(&refresh, "200 OK", "", &sdp(PBX, "")));
    assert_eq!(header(&world.last(TRUNK), "Session-Expires"), "100;refresher=uac");
    world.send(TRUNK, &caller.ack());
    world.last(PBX);
    world.run(S(100));

    both_ended(world, "ended expired by us ");
}

#[test]
fn a_timer_is_asked_for_where_the_caller_does_not() {
    let with_timer = Settings { session_timer: Some(S(1_800)), ..settings() };
    for (asks, seen) in
        [("", "1800"), ("Min-SE: 3600\r\n", "3600"), ("Session-Expires: 600\r\n", "600"), ("x: 700\r\n", "")]
    {
        let mut world = World::new(with_timer.clone());
        let caller = Phone::caller("call");
        world.send(TRUNK, &caller.request_with("INVITE", asks, &sdp(TRUNK, "")));
        assert_eq!(header(&world.last(PBX), "Session-Expires"), seen, "{asks}");
        world.send(TRUNK, &caller.request("CANCEL", ""));
        world.rest();
    }

    // Neither end knows timers: nothing is written into the answer, and nothing expires.
    let (mut world, mut caller, _) = answered(with_timer.clone());
    world.run(S(7_200));
    assert_eq!(world.switchboard.sizes().calls, 1);
    hang_up(world, &mut caller);

    let (mut world, _, _) = answered_with(with_timer, "", "Session-Expires: 1800;refresher=uas\r\n");
    world.run(S(1_800));
    both_ended(world, "ended expired by us ");
}

#[test]
fn an_interval_that_is_too_short_is_asked_for_again_in_the_next_invite() {
    let mut world = World::new(settings());
    let mut caller = Phone::caller("call");
    world.send(TRUNK, &caller.request_with("INVITE", ASKS, &sdp(TRUNK, "")));
    let invite = world.last(PBX);
    world.send(PBX, &saying(&response(&invite, "422 Session Interval Too Small", "callee", ""), "Min-SE: 1800\r\n"));
    assert_eq!(header(&world.last(TRUNK), "Min-SE"), "1800");
    world.send(TRUNK, &caller.request("ACK", ""));
    assert_eq!(world.events.last().unwrap(), "ended challenged by callee 422");
    caller.cseq = 2;
    let asks = "Supported: timer\r\nSession-Expires: 1800\r\nMin-SE: 1800\r\n";
    world.send(TRUNK, &caller.request_with("INVITE", asks, &sdp(TRUNK, "")));
    let again = world.last(PBX);
    world.send(PBX, &saying(&response(&again, "200 OK", "callee", &sdp(PBX, "")), "Session-Expires: 1800\r\n"));
    caller.learn(&world.last(TRUNK));
    world.send(TRUNK, &caller.ack());

    expect(
        &mut world,
        "
             0 trunk > INVITE sip:201@192.0.2.1:5060 sdp
             0       > pbx INVITE sip:201@10.0.0.5:5060 sdp
             0 pbx > 422 Session Interval Too Small (1 INVITE)
             0       > pbx ACK sip:201@10.0.0.5:5060
             0       > trunk 422 Session Interval Too Small (1 INVITE)
             0 trunk > ACK sip:201@192.0.2.1:5060
             0 trunk > INVITE sip:201@192.0.2.1:5060 sdp
             0       > pbx INVITE sip:201@10.0.0.5:5060 sdp
             0 pbx > 200 OK (2 INVITE) sdp
             0       > trunk 200 OK (2 INVITE) sdp
             0 trunk > ACK sip:y@192.0.2.1:5060
             0       > pbx ACK sip:y@10.0.0.5:5060
        ",
    );
    hang_up(world, &mut caller);
}

#[test]
fn a_timer_goes_on_after_a_kill_and_leaves_time_for_a_refresh_that_met_nobody() {
    let (mut world, _, _) = answered_with(settings(), ASKS, GRANTS);
    world.run(S(50));
    world.kill_and_start(S(10));
    world.run(S(39));
    assert_eq!(world.switchboard.sizes().calls, 1);
    world.run(S(1));
    both_ended(world, "ended expired by us ");

    let (mut world, _, _) = answered_with(settings(), ASKS, GRANTS);
    world.kill_and_start(S(200));
    world.run(S(31));
    assert_eq!(world.switchboard.sizes().calls, 1);
    world.run(S(1));
    both_ended(world, "ended expired by us ");
}

/// A call on hold in which nobody has sent anything for long.
fn held() -> (World, Phone, Phone) {
    held_with(settings())
}

fn held_with(settings: Settings) -> (World, Phone, Phone) {
    let (mut world, caller, mut callee) = answered(settings);
    world.send(PBX, &callee.next("INVITE", &sdp(PBX, "a=inactive\r\n")));
    let hold = world.last(TRUNK);
    world.send(TRUNK, &response(&hold, "200 OK", "", &sdp(TRUNK, "a=inactive\r\n")));
    world.send(PBX, &callee.ack());
    world.media_says(MediaEvent::Silent);
    world.last(TRUNK);
    world.last(PBX);
    world.ladder();
    (world, caller, callee)
}

#[test]
fn a_held_call_whose_ends_are_there_goes_on_for_ever() {
    let (mut world, mut caller, _) = held();
    for round in 0..3 {
        world.run(S(300));
        let (to_trunk, to_pbx) = (world.last(TRUNK), world.last(PBX));
        // The numbers of the last requests that went there: the ends' own go on undisturbed.
        assert_eq!((header(&to_trunk, "CSeq"), header(&to_pbx, "CSeq")), ("101 OPTIONS", "1 OPTIONS"));
        world.send(TRUNK, &response(&to_trunk, "500 Server Internal Error", "", ""));
        world.send(PBX, &response(&to_pbx, ["200 OK", "405 Method Not Allowed", "501 Not Implemented"][round], "", ""));
    }

    expect(
        &mut world,
        "
        300000       > trunk OPTIONS sip:y@192.0.2.10:5060
        300000       > pbx OPTIONS sip:x@10.0.0.5:5060
        300000 trunk > 500 Server Internal Error (101 OPTIONS)
        300000 pbx > 200 OK (1 OPTIONS)
        600000       > trunk OPTIONS sip:y@192.0.2.10:5060
        600000       > pbx OPTIONS sip:x@10.0.0.5:5060
        600000 trunk > 500 Server Internal Error (101 OPTIONS)
        600000 pbx > 405 Method Not Allowed (1 OPTIONS)
        900000       > trunk OPTIONS sip:y@192.0.2.10:5060
        900000       > pbx OPTIONS sip:x@10.0.0.5:5060
        900000 trunk > 500 Server Internal Error (101 OPTIONS)
        900000 pbx > 501 Not Implemented (1 OPTIONS)
        ",
    );
    world.send(TRUNK, &caller.next("INVITE", &sdp(TRUNK, "")));
    let resume = world.last(PBX);
    world.send(PBX, &response(&resume, "200 OK", "", &sdp(PBX, "")));
    world.send(TRUNK, &caller.ack());
    world.last(TRUNK);
    hang_up(world, &mut caller);
}

#[test]
fn a_call_that_was_on_hold_is_not_asked_for_signs_of_life() {
    let (mut world, mut caller, mut callee) = held();
    world.run(S(10));
    for (from, phone, to) in [(PBX, &mut callee, TRUNK), (TRUNK, &mut caller, PBX)] {
        world.send(from, &phone.next("INVITE", &sdp(from, "")));
        let resume = world.last(to);
        world.send(to, &response(&resume, "200 OK", "", &sdp(to, "")));
        world.last(from);
        world.send(from, &phone.ack());
        world.last(to);
    }
    world.ladder();
    world.run(S(400));

    assert_eq!(world.ladder(), "");
    // Where the question is on its way when the hold ends, its answer ends no talk.
    let (mut world, mut caller, mut callee) = held();
    world.run(S(300));
    let to_trunk = world.last(TRUNK);
    world.forget_peer(PBX);
    world.send(PBX, &callee.next("INVITE", &sdp(PBX, "")));
    let resume = world.last(TRUNK);
    world.send(TRUNK, &response(&resume, "200 OK", "", &sdp(TRUNK, "")));
    world.send(PBX, &callee.ack());
    world.last(TRUNK);
    world.send(TRUNK, &response(&to_trunk, "481 Call/Transaction Does Not Exist", "", ""));
    assert_eq!(world.switchboard.sizes().calls, 1);
    hang_up(world, &mut caller);
}

#[test]
fn a_question_that_was_lost_in_one_hold_is_not_counted_in_the_next() {
    let (mut world, mut caller, mut callee) = held();
    let round = |world: &mut World, trunk_answers: bool| {
        world.run(S(300));
        let (to_trunk, to_pbx) = (world.last(TRUNK), world.last(PBX));
        world.send(PBX, &response(&to_pbx, "200 OK", "", ""));
        if trunk_answers {
            world.send(TRUNK, &response(&to_trunk, "200 OK", "", ""));
        }
    };
    let mut offer = |world: &mut World, way: &str| {
        world.send(PBX, &callee.next("INVITE", &sdp(PBX, way)));
        let asked = world.last(TRUNK);
        world.send(TRUNK, &response(&asked, "200 OK", "", &sdp(TRUNK, way)));
        world.send(PBX, &callee.ack());
        world.last(TRUNK);
        world.last(PBX);
    };
    round(&mut world, true);
    round(&mut world, false);
    world.run(S(40));
    world.forget_peer(TRUNK);
    offer(&mut world, "");
    world.run(S(300));
    offer(&mut world, "a=inactive\r\n");
    world.media_says(MediaEvent::Silent);

    round(&mut world, false);
    world.run(S(40));

    assert_eq!(world.switchboard.sizes().calls, 1);
    world.forget_peer(TRUNK);
    hang_up(world, &mut caller);
}

#[test]
fn a_caller_is_listened_to_from_its_first_speech_on() {
    let judged = |world: &mut World, class, at| {
        let probabilities = Class::ALL.map(|of| if of == class { Ratio::ONE } else { Ratio::ZERO });
        let call = *world.calls.last().unwrap();
        let verdict = Verdict { at: CallTime(at), class, probabilities, reasons: Vec::new() };
        world.input(Input::Judged { call, verdict });
    };
    let (mut world, mut caller, _) = answered(settings());
    world.media_in_ladder = true;
    judged(&mut world, Class::NoSpeech, MS(500));
    world.run(S(40));
    judged(&mut world, Class::Live, S(40));
    world.run(S(24));
    assert_eq!(world.ladder(), "");
    world.run(S(1));
    assert!(world.ladder().contains("65000       * stop listening"));
    hang_up(world, &mut caller);

    let (mut world, mut caller, _) = answered(settings());
    world.media_in_ladder = true;
    world.run(S(100));
    assert!(world.ladder().contains("100000       * stop listening"), "nobody ever speaks");
    hang_up(world, &mut caller);
}

#[test]
fn a_held_call_whose_ends_have_both_gone_is_ended() {
    let (mut world, _, _) = held();
    world.run(S(331));
    assert_eq!(world.switchboard.sizes().calls, 1);
    world.run(S(1));

    both_ended(world, "ended expired by us ");
}

#[test]
fn a_held_call_that_one_end_has_forgotten_is_ended_at_once() {
    let (mut world, _, _) = held();
    world.run(S(300));
    let to_trunk = world.last(TRUNK);
    world.send(TRUNK, &response(&to_trunk, "481 Call/Transaction Does Not Exist", "", ""));

    both_ended(world, "ended expired by us ");
}

#[test]
fn an_end_that_answers_no_question_is_believed_to_be_there_while_the_other_is() {
    let (mut world, mut caller, _) = held();
    for _ in 0..4 {
        world.run(S(300));
        let to_pbx = world.last(PBX);
        world.send(PBX, &response(&to_pbx, "200 OK", "", ""));
    }
    assert_eq!(world.switchboard.sizes().calls, 1);
    world.last(TRUNK);
    hang_up(world, &mut caller);

    // One that used to answer and is silent twice has gone.
    let (mut world, _, _) = held();
    for round in 0..3 {
        world.run(S(300));
        let (to_trunk, to_pbx) = (world.last(TRUNK), world.last(PBX));
        world.send(PBX, &response(&to_pbx, "200 OK", "", ""));
        if round == 0 {
            world.send(TRUNK, &response(&to_trunk, "200 OK", "", ""));
        }
    }
    world.run(S(32));
    both_ended(world, "ended expired by us ");
}

#[test]
fn questions_cross_the_end_of_their_call() {
    let (mut world, mut caller, _) = held();
    world.run(S(300));
    let (to_trunk, to_pbx) = (world.last(TRUNK), world.last(PBX));
    world.hang_up((TRUNK, &mut caller), PBX);
    world.send(TRUNK, &response(&to_trunk, "481 Call/Transaction Does Not Exist", "", ""));
    world.send(PBX, &response(&to_pbx, "200 OK", "", ""));

    assert_eq!(world.events.last().unwrap(), "ended bye by caller ");
    world.run(MS(1));
    world.rest();
}

#[test]
fn a_diverted_call_asks_nobody_who_has_gone() {
    let (mut world, mut caller, _) = held_with(Settings { held_check: S(30), ..settings() });
    world.judge(0.95);
    world.send(TRUNK, &caller.next("BYE", ""));
    world.last(TRUNK);
    world.run(S(30));
    let asked = world.last(PBX);
    world.send(PBX, &response(&asked, "200 OK", "", ""));

    assert!(asked.starts_with("OPTIONS "), "{asked}");
    assert!(world.receive(TRUNK).is_none(), "the caller's leg is over");
    world.rest();
}
