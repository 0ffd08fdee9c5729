//! Transfers: Refer-To names somebody whom its reader can reach, Replaces a dialog that its reader knows.

use ringfence::rtp::control::MediaEvent;
use ringfence::units::Leg;

use super::world::{PBX, Phone, TRUNK, US_INSIDE, US_OUTSIDE, header, response, sdp, settings};
use super::{MS, answered, expect, hang_up};

#[test]
fn a_blind_transfer_from_either_side() {
    for (from, to, refers, seen) in [
        (PBX, TRUNK, format!("<sip:01632960009@{US_INSIDE}>"), format!("<sip:01632960009@{TRUNK}>")),
        // An extension of the PBX is reached through us, out there.
        (PBX, TRUNK, format!("<sip:202@{PBX};x=1>"), format!("<sip:202@{US_OUTSIDE};x=1>")),
        (PBX, TRUNK, format!("<sip:202@{PBX}?Replaces=a>"), format!("<sip:202@{US_OUTSIDE}?Replaces=a>")),
        (TRUNK, PBX, format!("\"Desk\" <sip:202@{US_OUTSIDE};x=1>;y"), format!("\"Desk\" <sip:202@{PBX};x=1>;y")),
        (TRUNK, PBX, "sip:202@192.0.2.1".to_owned(), format!("<sip:202@{PBX}>")),
        (TRUNK, PBX, "<sip:bob@elsewhere.example>".to_owned(), "<sip:bob@elsewhere.example>".to_owned()),
        (TRUNK, PBX, "<tel:+441632960009>".to_owned(), "<tel:+441632960009>".to_owned()),
        (TRUNK, PBX, "not a uri".to_owned(), "not a uri".to_owned()),
    ] {
        let (mut world, mut caller, mut callee) = answered(settings());
        let phone = if from == PBX { &mut callee } else { &mut caller };
        phone.cseq += 1;
        world.send(from, &phone.request_with("REFER", &format!("Refer-To: {refers}\r\n"), ""));
        let refer = world.last(to);
        assert_eq!(header(&refer, "Refer-To"), seen);
        world.send(to, &response(&refer, "202 Accepted", "", ""));
        assert!(world.last(from).starts_with("SIP/2.0 202 "));
        hang_up(world, &mut caller);
    }
}

#[test]
fn an_attended_transfer_names_the_dialog_and_the_phone_that_its_reader_knows() {
    let (mut world, mut caller, mut callee) = answered(settings());
    let mut second = Phone::inside("second", "01632960009");
    world.send(PBX, &second.request("INVITE", &sdp(PBX, "")));
    let invite = world.last(TRUNK);
    let answer = response(&invite, "200 OK", "other", &sdp(TRUNK, "")).replace("sip:y@", "sip:desk9@");
    world.send(TRUNK, &answer);
    second.learn(&world.last(PBX));
    world.send(PBX, &second.ack());
    assert_eq!(second.target, format!("sip:desk9@{US_INSIDE}"));
    callee.cseq += 1;
    let headers = "Replaces=second%40pbx%3Bto-tag%3Dother%3Bfrom-tag%3Dsecond";
    world.ladder();
    world.send(PBX, &callee.request_with("REFER", &format!("Refer-To: <sip:desk9@{US_INSIDE}?{headers}>\r\n"), ""));
    let refer = world.last(TRUNK);
    assert_eq!(header(&refer, "Refer-To"), format!("<sip:desk9@{TRUNK}?{headers}>"));
    world.send(TRUNK, &response(&refer, "202 Accepted", "", ""));
    caller.cseq += 1;
    world.send(TRUNK, &caller.request_with("NOTIFY", "Event: refer\r\nSubscription-State: terminated\r\n", ""));
    let notify = world.last(PBX);
    world.send(PBX, &response(&notify, "200 OK", "", ""));

    expect(
        &mut world,
        "
             0 pbx > REFER sip:x@10.0.0.1:5060
             0       > trunk REFER sip:x@192.0.2.10:5060
             0 trunk > 202 Accepted (101 REFER)
             0       > pbx 202 Accepted (101 REFER)
             0 trunk > NOTIFY sip:y@192.0.2.1:5060
             0       > pbx NOTIFY sip:y@10.0.0.5:5060
             0 pbx > 200 OK (2 NOTIFY)
             0       > trunk 200 OK (2 NOTIFY)
        ",
    );
    world.hang_up((PBX, &mut second), TRUNK);
    hang_up(world, &mut caller);
}

#[test]
fn an_invite_that_replaces_a_dialog_reaches_the_phone_that_has_it() {
    let (mut world, mut caller, _) = answered(settings());
    let mut third = Phone::caller("third");
    third.target = format!("sip:y@{US_OUTSIDE}");
    let replaces = "Replaces: call@trunk;to-tag=callee;from-tag=call\r\n";
    world.send(TRUNK, &third.request_with("INVITE", replaces, &sdp(TRUNK, "")));
    let invite = world.last(PBX);
    assert!(invite.contains(replaces) && invite.starts_with(&format!("INVITE sip:y@{PBX} ")), "{invite}");
    world.answer((PBX, "again"), &invite, (TRUNK, &mut third));
    hang_up_first(&mut world, &mut caller);

    hang_up(world, &mut third);
}

/// The replaced phone is hung up by the PBX.
fn hang_up_first(world: &mut super::World, caller: &mut Phone) {
    let mut callee = Phone {
        at: PBX,
        local: format!("<sip:201@{US_OUTSIDE}>;tag=callee"),
        remote: caller.local.clone(),
        target: format!("sip:x@{US_INSIDE}"),
        cseq: 100,
        ..caller.clone()
    };
    world.send(PBX, &callee.next("BYE", ""));
    let bye = world.last(TRUNK);
    assert!(bye.starts_with("BYE "), "{bye}");
    world.send(TRUNK, &response(&bye, "200 OK", "", ""));
}

#[test]
fn a_caller_who_is_taken_away_transfers_nobody() {
    let (mut world, mut caller, mut callee) = answered(settings());
    world.judge(0.95);
    caller.cseq += 1;
    world.send(TRUNK, &caller.request_with("REFER", "Refer-To: <sip:00871000000@elsewhere.example>\r\n", ""));
    assert!(world.last(TRUNK).starts_with("SIP/2.0 603 "));
    assert!(world.receive(PBX).is_none());
    // Whoever is warned is free to.
    callee.cseq += 1;
    world.send(PBX, &callee.request_with("REFER", &format!("Refer-To: <sip:01632960009@{US_INSIDE}>\r\n"), ""));
    let refer = world.last(TRUNK);
    assert!(refer.starts_with("REFER "), "{refer}");
    world.send(TRUNK, &response(&refer, "202 Accepted", "", ""));
    world.last(PBX);
    world.run(MS(2_000));
    world.media_says(MediaEvent::Digit { leg: Leg::Callee, digit: '9' });
    caller.cseq += 1;
    world.send(TRUNK, &caller.request_with("REFER", "Refer-To: <sip:201@192.0.2.1>\r\n", ""));
    let refer = world.last(PBX);
    assert!(refer.starts_with("REFER "), "taken back, it is a call as any other: {refer}");
    world.send(PBX, &response(&refer, "202 Accepted", "", ""));
    world.last(TRUNK);
    hang_up(world, &mut caller);
}

#[test]
fn a_caller_who_was_taken_away_does_not_come_back_in_the_place_of_its_call() {
    let (mut world, _, _) = answered(settings());
    world.run(MS(5_000));
    world.judge(0.95);
    while world.receive(PBX).is_some() {}
    let mut again = Phone::caller("again");
    again.target = format!("sip:201@{US_OUTSIDE}");
    let replaces = "Replaces: call@trunk ;to-tag=callee;from-tag=call\r\n";
    world.send(TRUNK, &again.request_with("INVITE", replaces, &sdp(TRUNK, "")));

    assert!(world.last(TRUNK).starts_with("SIP/2.0 481 "));
    assert!(world.receive(PBX).is_none());
    assert_eq!(world.switchboard.sizes().calls, 1);
}
