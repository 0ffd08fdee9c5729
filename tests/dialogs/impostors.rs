//! Messages inside a call of those who are no party to it: they know its Call-ID, or were one of its forks.

use ringfence::call::Settings;

use super::world::{PBX, Phone, TRUNK, World, header, response, sdp, settings};
use super::{answered, expect, hang_up};

/// Somebody who knows the Call-ID of a call and invents the rest.
fn impostor(of: &Phone) -> Phone {
    let invented = |value: &str| format!("{};tag=invented", value.split(";tag=").next().unwrap());
    Phone { local: invented(&of.local), remote: invented(&of.remote), cseq: 50, ..of.clone() }
}

#[test]
fn a_fork_that_lost_does_not_end_the_call_of_the_one_that_answered() {
    let mut world = World::new(settings());
    let mut caller = Phone::caller("call");
    world.send(TRUNK, &caller.request("INVITE", &sdp(TRUNK, "")));
    let invite = world.last(PBX);
    let mut lost = Phone::callee(&invite, "two");
    world.answer((PBX, "one"), &invite, (TRUNK, &mut caller));
    world.send(PBX, &response(&invite, "200 OK", "two", &sdp(PBX, "")));
    let bye = world.last(PBX);
    assert!(header(&bye, "To").ends_with(";tag=two"), "{bye}");
    world.ladder();
    // Its user hangs up at the same moment.
    world.send(PBX, &lost.next("BYE", ""));
    world.send(PBX, &response(&bye, "200 OK", "", ""));

    expect(
        &mut world,
        "
             0 pbx > BYE sip:x@10.0.0.1:5060
             0       > pbx 481 Call/Transaction Does Not Exist (101 BYE)
             0 pbx > 200 OK (2 BYE)
        ",
    );
    assert!(!world.events.iter().any(|event| event.starts_with("ended")), "{:?}", world.events);
    world.forget_peer(PBX);
    hang_up(world, &mut caller);
}

#[test]
fn who_knows_the_call_id_alone_changes_nothing() {
    let (mut world, mut caller, callee) = answered(settings());
    world.media_in_ladder = true;
    let moved = sdp("203.0.113.66:4000", "");
    for (at, phone) in [(TRUNK, &caller), (PBX, &callee)] {
        let mut impostor = impostor(phone);
        world.send(at, &impostor.next("INVITE", &moved));
        world.send(at, &impostor.next("UPDATE", &moved));
        world.send(at, &impostor.next("BYE", ""));
        // It has no answer, so its sender's address may be forged.
        world.send(at, &impostor.next("ACK", &moved));
        assert!((0..3).all(|_| world.receive(at).unwrap().starts_with("SIP/2.0 481 ")));
    }

    let ladder = world.ladder();
    assert!(!ladder.contains(" * ") && ladder.matches(" > pbx ").count() == 3, "{ladder}");
    hang_up(world, &mut caller);
}

#[test]
fn who_knows_the_call_id_alone_ends_no_ringing() {
    let mut world = World::new(settings());
    let mut caller = Phone::caller("call");
    world.send(TRUNK, &caller.request("INVITE", &sdp(TRUNK, "")));
    let invite = world.last(PBX);
    world.send(PBX, &response(&invite, "180 Ringing", "callee", ""));
    world.last(TRUNK);
    world.send(TRUNK, &impostor(&caller).next("BYE", ""));
    world.send(TRUNK, &impostor(&caller).next("CANCEL", ""));
    assert!(world.last(TRUNK).starts_with("SIP/2.0 481 "));
    assert!(world.receive(PBX).is_none());

    world.answer((PBX, "callee"), &invite, (TRUNK, &mut caller));
    world.last(PBX);
    hang_up(world, &mut caller);
}

/// Each request is kept for 32 s, whatever becomes of it.
#[test]
fn a_call_whose_end_asks_without_end_takes_no_room_from_others() {
    let (mut world, mut caller, mut callee) = answered(Settings { max_calls: 16, ..settings() });
    for _ in 0..400 {
        world.send(TRUNK, &caller.next("INFO", ""));
        if let Some(info) = world.receive(PBX) {
            world.send(PBX, &response(&info, "200 OK", "", ""));
        }
        while world.receive(TRUNK).is_some() {}
    }
    let other = Phone::caller("other");
    world.send(TRUNK, &other.request("INVITE", &sdp(TRUNK, "")));

    assert!(world.last(PBX).starts_with("INVITE "));
    world.send(TRUNK, &other.request("CANCEL", ""));
    world.forget_peer(PBX);
    world.forget_peer(TRUNK);
    // Nor from its other end.
    world.send(PBX, &callee.next("BYE", ""));
    let bye = world.last(TRUNK);
    assert!(bye.starts_with("BYE "), "{bye}");
    world.send(TRUNK, &response(&bye, "200 OK", "", ""));
    world.rest();
}
