//! One INVITE, several phones that ring and answer: also behind the end of the call (RFC 3261 §13.2.2.4).

use super::world::{PBX, Phone, TRUNK, World, header, response, sdp, settings};
use super::{S, expect};

/// A call that fork `one` answered and the caller has ended; its callee's INVITE.
fn over() -> (World, String) {
    let mut world = World::new(settings());
    let mut caller = Phone::caller("call");
    world.send(TRUNK, &caller.request("INVITE", &sdp(TRUNK, "")));
    let invite = world.last(PBX);
    world.send(PBX, &response(&invite, "180 Ringing", "one", ""));
    world.send(PBX, &response(&invite, "180 Ringing", "two", ""));
    world.answer((PBX, "one"), &invite, (TRUNK, &mut caller));
    world.hang_up((TRUNK, &mut caller), PBX);
    world.ladder();
    (world, invite)
}

#[test]
fn a_second_fork_that_answers_behind_the_end_is_hung_up() {
    let (mut world, invite) = over();
    let late = response(&invite, "200 OK", "two", &sdp(PBX, ""));
    world.send(PBX, &late);
    let bye = world.last(PBX);
    assert!(header(&bye, "To").ends_with(";tag=two"), "{bye}");
    world.send(PBX, &late);
    world.send(PBX, &response(&bye, "200 OK", "", ""));

    // The BYE of the first dialog was number 2, so this one is 3; the repetition is acknowledged and no more.
    expect(
        &mut world,
        "
             0 pbx > 200 OK (1 INVITE) sdp
             0       > pbx ACK sip:y@10.0.0.5:5060
             0       > pbx BYE sip:y@10.0.0.5:5060
             0 pbx > 200 OK (1 INVITE) sdp
             0       > pbx ACK sip:y@10.0.0.5:5060
             0 pbx > 200 OK (3 BYE)
        ",
    );
    world.rest();
}

#[test]
fn a_repeated_answer_behind_the_end_is_acknowledged() {
    let (mut world, invite) = over();
    world.send(PBX, &response(&invite, "200 OK", "one", &sdp(PBX, "")));

    expect(
        &mut world,
        "
             0 pbx > 200 OK (1 INVITE) sdp
             0       > pbx ACK sip:y@10.0.0.5:5060
        ",
    );
    world.rest();
}

#[test]
fn forks_without_end_are_hung_up_a_bounded_number_of_times() {
    let (mut world, invite) = over();
    for fork in 0..100 {
        world.send(PBX, &response(&invite, "200 OK", &format!("f{fork}"), &sdp(PBX, "")));
    }
    let byes = world.ladder().matches("> pbx BYE").count();

    assert!((10..=16).contains(&byes), "{byes}");
    world.run(S(40));
    world.send(PBX, &response(&invite, "200 OK", "later", &sdp(PBX, "")));
    world.rest();
}

#[test]
fn a_cancelled_call_hangs_up_each_fork_that_answers_once() {
    let mut world = World::new(settings());
    let caller = Phone::caller("call");
    world.send(TRUNK, &caller.request("INVITE", &sdp(TRUNK, "")));
    let invite = world.last(PBX);
    world.send(PBX, &response(&invite, "180 Ringing", "one", ""));
    world.send(TRUNK, &caller.request("CANCEL", ""));
    world.send(TRUNK, &caller.request("ACK", ""));
    world.ladder();
    for tag in ["one", "two", "one"] {
        world.send(PBX, &response(&invite, "200 OK", tag, &sdp(PBX, "")));
    }

    expect(
        &mut world,
        "
             0 pbx > 200 OK (1 INVITE) sdp
             0       > pbx ACK sip:y@10.0.0.5:5060
             0       > pbx BYE sip:y@10.0.0.5:5060
             0 pbx > 200 OK (1 INVITE) sdp
             0       > pbx ACK sip:y@10.0.0.5:5060
             0       > pbx BYE sip:y@10.0.0.5:5060
             0 pbx > 200 OK (1 INVITE) sdp
             0       > pbx ACK sip:y@10.0.0.5:5060
        ",
    );
    world.rest();
}

#[test]
fn a_late_answer_that_says_nothing_of_its_phone_is_hung_up_all_the_same() {
    let (mut world, invite) = over();
    let late = response(&invite, "200 OK", "two", &sdp(PBX, ""));
    world.send(PBX, &late.replace(&format!("Contact: <sip:y@{PBX}>\r\n"), ""));
    let bye = world.last(PBX);
    world.send(PBX, &response(&bye, "200 OK", "", ""));

    expect(
        &mut world,
        "
             0 pbx > 200 OK (1 INVITE) sdp
             0       > pbx ACK sip:201@10.0.0.5:5060
             0       > pbx BYE sip:201@10.0.0.5:5060
             0 pbx > 200 OK (3 BYE)
        ",
    );
    world.rest();
}

#[test]
fn a_call_rings_once_however_many_phones_do() {
    let (mut world, _) = over();

    assert_eq!(world.events.iter().filter(|event| *event == "ringing").count(), 1, "{:?}", world.events);
    world.rest();
}
