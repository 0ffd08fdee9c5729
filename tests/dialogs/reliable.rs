//! Early dialogs: reliable 1xx (RFC 3262), and UPDATE before the answer (RFC 3311).

use super::world::{PBX, Phone, TRUNK, World, header, response, sdp, settings};
use super::{expect, hang_up, saying};

#[test]
fn a_reliable_183_its_prack_and_an_update_before_the_answer() {
    let mut world = World::new(settings());
    world.media_in_ladder = true;
    let mut caller = Phone::caller("call");
    world.send(TRUNK, &caller.request_with("INVITE", "Supported: 100rel\r\n", &sdp(TRUNK, "")));
    let invite = world.last(PBX);
    assert_eq!(header(&invite, "Supported"), "100rel");
    let progress = response(&invite, "183 Session Progress", "callee", &sdp(PBX, ""));
    world.send(PBX, &saying(&progress, "Require: 100rel\r\nRSeq: 7\r\n"));
    let progress = world.last(TRUNK);
    assert_eq!((header(&progress, "Require"), header(&progress, "RSeq")), ("100rel", "7"));
    let dial = caller.clone();
    caller.learn(&progress);
    caller.cseq += 1;
    world.send(TRUNK, &caller.request_with("PRACK", "RAck: 7 1 INVITE\r\n", ""));
    let prack = world.last(PBX);
    assert_eq!(header(&prack, "RAck"), "7 1 INVITE");
    world.send(PBX, &response(&prack, "200 OK", "", ""));
    world.send(TRUNK, &caller.next("UPDATE", &sdp(TRUNK, "a=sendonly\r\n").replace("AVP 0 101", "AVP 8")));
    let update = world.last(PBX);
    assert!(update.contains("c=IN IP4 10.0.0.1\r\n") && header(&update, "To").ends_with(";tag=callee"), "{update}");
    world.send(PBX, &response(&update, "200 OK", "", &sdp(PBX, "").replace("AVP 0 101", "AVP 8")));
    let mut callee = Phone::callee(&invite, "callee");
    world.send(PBX, &callee.next("UPDATE", &sdp(PBX, "")));
    let update = world.last(TRUNK);
    assert!(update.contains("c=IN IP4 192.0.2.1\r\n") && header(&update, "To") == dial.local, "{update}");
    world.send(TRUNK, &response(&update, "200 OK", "", &sdp(TRUNK, "")));
    world.send(PBX, &response(&invite, "200 OK", "callee", ""));
    caller.learn(&world.last(TRUNK));
    world.send(TRUNK, &Phone { cseq: 1, ..caller.clone() }.ack());
    world.last(PBX);

    expect(
        &mut world,
        "
             0 trunk > INVITE sip:201@192.0.2.1:5060 sdp
             0       * plan caller [(0, Pcmu)]
             0       > pbx INVITE sip:201@10.0.0.5:5060 sdp
             0 pbx > 183 Session Progress (1 INVITE) sdp
             0       * plan callee [(0, Pcmu)]
             0       > trunk 183 Session Progress (1 INVITE) sdp
             0 trunk > PRACK sip:y@192.0.2.1:5060
             0       > pbx PRACK sip:y@10.0.0.5:5060
             0 pbx > 200 OK (2 PRACK)
             0       > trunk 200 OK (2 PRACK)
             0 trunk > UPDATE sip:y@192.0.2.1:5060 sdp
             0       > pbx UPDATE sip:y@10.0.0.5:5060 sdp
             0 pbx > 200 OK (3 UPDATE) sdp
             0       * plan caller [(8, Pcma)]
             0       * plan callee [(8, Pcma)]
             0       > trunk 200 OK (3 UPDATE) sdp
             0 pbx > UPDATE sip:x@10.0.0.1:5060 sdp
             0       > trunk UPDATE sip:x@192.0.2.10:5060 sdp
             0 trunk > 200 OK (101 UPDATE) sdp
             0       * plan callee [(0, Pcmu)]
             0       * plan caller [(0, Pcmu)]
             0       > pbx 200 OK (101 UPDATE) sdp
             0 pbx > 200 OK (1 INVITE)
             0       * answered, analyse true
             0       > trunk 200 OK (1 INVITE)
             0 trunk > ACK sip:y@192.0.2.1:5060
             0       > pbx ACK sip:y@10.0.0.5:5060
        ",
    );
    hang_up(world, &mut caller);
}

#[test]
fn a_prack_goes_to_the_contact_and_the_routes_of_its_own_fork() {
    let mut world = World::new(settings());
    let mut caller = Phone::caller("call");
    world.send(TRUNK, &caller.request("INVITE", &sdp(TRUNK, "")));
    let invite = world.last(PBX);
    for fork in ["one", "two"] {
        let progress =
            response(&invite, "183 Session Progress", fork, &sdp(PBX, "")).replace("sip:y@", &format!("sip:{fork}@"));
        let route = format!("Require: 100rel\r\nRSeq: 1\r\nRecord-Route: <sip:{fork}.example;lr>\r\n");
        world.send(PBX, &saying(&progress, &route));
    }
    let mut pracks = Vec::new();
    while let Some(progress) = world.receive(TRUNK) {
        let mut fork = caller.clone();
        fork.learn(&progress);
        fork.cseq += 1 + u32::try_from(pracks.len()).unwrap();
        world.send(TRUNK, &fork.request_with("PRACK", "RAck: 1 1 INVITE\r\n", ""));
        pracks.push(world.last(PBX));
    }

    for (prack, fork) in pracks.iter().zip(["one", "two"]) {
        assert!(prack.starts_with(&format!("PRACK sip:{fork}@10.0.0.5:5060 ")), "{prack}");
        assert_eq!(header(prack, "Route"), format!("<sip:{fork}.example;lr>"));
        world.send(PBX, &response(prack, "200 OK", "", ""));
    }
    assert_eq!(pracks.len(), 2);
    world.answer((PBX, "two"), &invite, (TRUNK, &mut caller));
    caller.cseq = 9;
    world.last(PBX);
    hang_up(world, &mut caller);
}

/// A tone server speaks before the phone that then answers, which has said where it listens already.
#[test]
fn an_answer_without_a_description_means_the_one_that_its_own_fork_has_given() {
    let mut world = World::new(settings());
    world.media_in_ladder = true;
    let mut caller = Phone::caller("call");
    world.send(TRUNK, &caller.request_with("INVITE", "Supported: 100rel\r\n", &sdp(TRUNK, "")));
    let invite = world.last(PBX);
    for (tag, format, number) in [("one", "AVP 0 101", 7), ("two", "AVP 8 101", 8)] {
        let progress = response(&invite, "183 Session Progress", tag, &sdp(PBX, "").replace("AVP 0 101", format));
        world.send(PBX, &saying(&progress, &format!("Require: 100rel\r\nRSeq: {number}\r\n")));
    }
    let plans = |ladder: String| ladder.lines().filter(|line| line.contains("plan callee")).count();
    let before = world.ladder();
    assert!(before.contains("plan callee [(0, Pcmu)]") && before.contains("plan callee [(8, Pcma)]"), "{before}");
    world.send(PBX, &response(&invite, "200 OK", "one", ""));
    caller.learn(&world.last(TRUNK));
    world.send(TRUNK, &caller.ack());

    let after = world.ladder();
    assert!(after.contains("plan callee [(0, Pcmu)]") && plans(after.clone()) == 1, "{after}");
    hang_up(world, &mut caller);
}

/// A phone that rings reliably, and then the mailbox that answers: the caller counts in each dialog by itself.
#[test]
fn the_callers_numbers_are_those_of_the_fork_that_it_speaks_to() {
    let mut world = World::new(settings());
    let caller = Phone::caller("call");
    world.send(TRUNK, &caller.request_with("INVITE", "Supported: 100rel\r\n", &sdp(TRUNK, "")));
    let invite = world.last(PBX);
    let mut one = caller.clone();
    for number in [7, 8] {
        let progress = response(&invite, "183 Session Progress", "one", &sdp(PBX, ""));
        world.send(PBX, &saying(&progress, &format!("Require: 100rel\r\nRSeq: {number}\r\n")));
        one.learn(&world.last(TRUNK));
        one.cseq += 1;
        world.send(TRUNK, &one.request_with("PRACK", &format!("RAck: {number} 1 INVITE\r\n"), ""));
        let prack = world.last(PBX);
        world.send(PBX, &response(&prack, "200 OK", "", ""));
        world.last(TRUNK);
    }
    let mut two = caller.clone();
    let progress = response(&invite, "183 Session Progress", "two", &sdp(PBX, ""));
    world.send(PBX, &saying(&progress, "Require: 100rel\r\nRSeq: 9\r\n"));
    two.learn(&world.last(TRUNK));
    two.cseq += 1;
    // The same number, and a branch of its own.
    let prack = two.request_with("PRACK", "RAck: 9 1 INVITE\r\n", "").replace("branch=z9hG4bK", "branch=z9hG4bKtwo");
    world.send(TRUNK, &prack);
    let prack = world.last(PBX);
    assert!(prack.starts_with("PRACK ") && header(&prack, "CSeq") == "2 PRACK", "{prack}");
    world.send(PBX, &response(&prack, "200 OK", "", ""));
    world.last(TRUNK);

    let mut three = caller.clone();
    world.send(PBX, &response(&invite, "200 OK", "three", &sdp(PBX, "")));
    three.learn(&world.last(TRUNK));
    world.send(TRUNK, &three.ack());
    world.last(PBX);
    world.send(TRUNK, &three.next("BYE", ""));
    let bye = world.last(PBX);
    assert!(bye.starts_with("BYE ") && header(&bye, "CSeq") == "2 BYE", "{bye}");
    world.send(PBX, &response(&bye, "200 OK", "", ""));
    // One that answers late is hung up with a number above all that it has had.
    world.send(PBX, &response(&invite, "200 OK", "one", &sdp(PBX, "")));
    let late: Vec<String> = std::iter::from_fn(|| world.receive(PBX)).collect();
    assert!(late.iter().any(|message| message.starts_with("BYE ") && header(message, "CSeq") == "4 BYE"), "{late:?}");
    world.send(PBX, &response(late.last().unwrap(), "200 OK", "", ""));
    world.rest();
}
