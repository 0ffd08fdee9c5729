//! Requests inside a call whose other end is not there: we answer them.

use std::sync::Arc;

use ringfence::call::{DivertCallee, Settings};
use ringfence::policy::action::{Rejection, Route};
use ringfence::policy::rules::{Policy, Rule};
use ringfence::units::Leg;

use super::world::{PBX, Phone, TRUNK, World, header, response, sdp, settings};
use super::{MS, S, announced, answered, expect};

#[test]
fn an_announcement_is_held_and_resumed_in_every_spelling() {
    let (mut world, mut caller) = announced();
    world.media_in_ladder = true;
    let description = sdp(TRUNK, "");
    let ours = "c=IN IP4 192.0.2.1\r\n";
    for (offer, direction, plan) in [
        (sdp(TRUNK, "a=sendonly\r\n"), "a=recvonly\r\n", "[(0, Pcmu)]"),
        (sdp(TRUNK, "a=inactive\r\n"), "a=inactive\r\n", "[(0, Pcmu)]"),
        (sdp(TRUNK, "a=recvonly\r\n"), "a=sendonly\r\n", "[(0, Pcmu)]"),
        (description.replace("c=IN IP4 192.0.2.10", "c=IN IP4 0.0.0.0"), "a=recvonly\r\n", "[(0, Pcmu)]"),
        (description.replace("m=audio 4000", "m=audio 0"), "m=audio 0 RTP/AVP 0\r\n", "[(0, Pcmu)]"),
        (
            description.replace("AVP 0 101", "AVP 8 0"),
            // In what the announcement plays already.
            "a=rtpmap:0 PCMU/8000\r\na=sendrecv\r\n",
            "[(0, Pcmu), (8, Pcma)]",
        ),
        (description.replace("AVP 0 101", "AVP 8"), "a=rtpmap:8 PCMA/8000\r\na=sendrecv\r\n", "[(8, Pcma)]"),
        (description.clone() + "m=video 4002 RTP/AVP 99\r\n", "m=video 0 RTP/AVP 99\r\n", "[(0, Pcmu)]"),
    ] {
        world.send(TRUNK, &caller.next("INVITE", &offer));
        let answer = world.last(TRUNK);
        assert!(answer.starts_with("SIP/2.0 200 ") && answer.contains(direction) && answer.contains(ours), "{answer}");
        assert!(answer.contains(&format!("o=ringfence 1 {} IN", caller.cseq)), "{answer}");
        world.send(TRUNK, &caller.ack());
        assert!(world.ladder().contains(&format!("* plan caller {plan}")));
    }
    world.run(S(1));
    world.finished(Leg::Caller);
    let bye = world.last(TRUNK);
    world.send(TRUNK, &response(&bye, "200 OK", "", ""));
    assert!(world.receive(PBX).is_none(), "there is nobody");
    world.rest();
}

#[test]
fn an_answer_of_ours_is_repeated_until_its_ack() {
    let (mut world, mut caller) = announced();
    let first = caller.next("INVITE", &sdp(TRUNK, "a=sendonly\r\n"));
    world.send(TRUNK, &first);
    world.send(TRUNK, &first);
    let ack = caller.ack();
    let mut impatient = caller.clone();
    world.send(TRUNK, &impatient.next("INVITE", &sdp(TRUNK, "")));
    world.send(TRUNK, &impatient.request("ACK", ""));
    world.run(MS(1_600));
    world.send(TRUNK, &ack);
    world.send(TRUNK, &ack);
    world.run(S(8));

    expect(
        &mut world,
        "
             0 trunk > INVITE sip:192.0.2.1:5060 sdp
             0       > trunk 200 OK (2 INVITE) sdp
             0 trunk > INVITE sip:192.0.2.1:5060 sdp
             0 trunk > INVITE sip:192.0.2.1:5060 sdp
             0       > trunk 500 Server Internal Error (3 INVITE)
             0 trunk > ACK sip:192.0.2.1:5060
           500       > trunk 200 OK (2 INVITE) sdp
          1500       > trunk 200 OK (2 INVITE) sdp
          1600 trunk > ACK sip:192.0.2.1:5060
          1600 trunk > ACK sip:192.0.2.1:5060
        ",
    );
    world.send(TRUNK, &impatient.next("BYE", ""));
    assert!(world.last(TRUNK).starts_with("SIP/2.0 200 "));
    world.rest();
}

#[test]
fn an_answer_of_ours_without_its_ack_ends_the_call() {
    let (mut world, mut caller) = announced();
    world.send(TRUNK, &caller.next("INVITE", &sdp(TRUNK, "")));
    world.run(S(32));

    let bye = world.last(TRUNK);
    assert!(bye.starts_with("BYE "), "{bye}");
    world.send(TRUNK, &response(&bye, "200 OK", "", ""));
    assert_eq!(world.events.last().unwrap(), "ended no_ack by us ");
    world.rest();
}

#[test]
fn a_delayed_offer_of_the_caller_is_answered_with_ours() {
    let (mut world, mut caller) = announced();
    world.media_in_ladder = true;
    world.send(TRUNK, &caller.next("INVITE", ""));
    let offer = world.last(TRUNK);
    assert!(offer.contains("m=audio 20004 RTP/AVP 0 101\r\n") && offer.contains("a=sendrecv\r\n"), "{offer}");
    let ack = caller.ack().replace("Content-Length: 0\r\n\r\n", "");
    let body = sdp(TRUNK, "").replace("m=audio 4000", "m=audio 4010");
    let kind = "Content-Type: application/sdp\r\n";
    world.send(TRUNK, &format!("{ack}{kind}Content-Length: {}\r\n\r\n{body}", body.len()));

    expect(
        &mut world,
        "
             0 trunk > INVITE sip:192.0.2.1:5060
             0       > trunk 200 OK (2 INVITE) sdp
             0 trunk > ACK sip:192.0.2.1:5060 sdp
             0       * plan caller [(0, Pcmu)]
        ",
    );
    world.send(TRUNK, &caller.next("BYE", ""));
    world.rest();
}

#[test]
fn other_requests_inside_an_announcement() {
    let (mut world, mut caller) = announced();
    for (method, body, status) in [
        ("UPDATE", String::new(), "200"),
        ("UPDATE", sdp(TRUNK, "a=sendonly\r\n"), "200"),
        ("UPDATE", sdp(TRUNK, "").replace("RTP/AVP 0 101", "RTP/SAVP 0"), "488"),
        ("INVITE", sdp(TRUNK, "").replace("RTP/AVP 0 101", "RTP/AVP 99"), "488"),
        ("INVITE", sdp(TRUNK, "").replace("m=audio 4000 RTP/AVP 0 101", "m=image 4000 udptl t38"), "488"),
        ("OPTIONS", String::new(), "200"),
        ("INFO", String::new(), "200"),
        ("PRACK", String::new(), "481"),
        ("REFER", String::new(), "405"),
        ("MESSAGE", String::new(), "405"),
    ] {
        world.send(TRUNK, &caller.next(method, &body));
        let answer = world.last(TRUNK);
        assert!(answer.starts_with(&format!("SIP/2.0 {status} ")), "{method} {body}: {answer}");
        assert_eq!(answer.contains("v=0"), !body.is_empty() && status == "200", "{answer}");
        if method == "INVITE" {
            world.send(TRUNK, &caller.request("ACK", ""));
        }
    }
    // The PBX has no such dialog.
    let mut stray = Phone::callee(&Phone::caller("call").request("INVITE", ""), "stray");
    for method in ["OPTIONS", "BYE", "INVITE"] {
        world.send(PBX, &stray.next(method, ""));
        assert!(world.last(PBX).starts_with("SIP/2.0 481 "));
    }
    world.send(PBX, &stray.request("ACK", ""));
    world.send(TRUNK, &caller.next("BYE", ""));
    assert!(world.last(TRUNK).starts_with("SIP/2.0 200 "));
    assert!(world.receive(PBX).is_none());
    world.rest();
}

#[test]
fn an_update_while_the_refusal_is_said_in_words_comes_too_early() {
    let rule = Rule { name: "everybody".into(), when: vec![], route: Route::Reject(Rejection::Rejected) };
    let policy = Arc::new(Policy { rules: vec![rule], ..Policy::default() });
    let mut world = World::new(Settings { policy, ..settings() });
    let caller = Phone::caller("call");
    let mut early = caller.clone();
    world.send(TRUNK, &caller.request("INVITE", &sdp(TRUNK, "")));
    early.learn(&world.last(TRUNK));
    world.send(TRUNK, &early.next("UPDATE", &sdp(TRUNK, "")));
    let answer = world.last(TRUNK);
    assert!(answer.starts_with("SIP/2.0 500 ") && header(&answer, "Retry-After") == "5", "{answer}");
    world.send(TRUNK, &early.next("PRACK", ""));
    assert!(world.last(TRUNK).starts_with("SIP/2.0 481 "));
    world.send(TRUNK, &early.next("INVITE", &sdp(TRUNK, "")));
    assert!(world.last(TRUNK).starts_with("SIP/2.0 481 "));
    world.send(TRUNK, &early.request("ACK", ""));
    world.finished(Leg::Caller);
    assert!(world.last(TRUNK).starts_with("SIP/2.0 608 "));
    world.send(TRUNK, &caller.request("ACK", ""));
    world.rest();
}

#[test]
fn a_warned_callee_whose_caller_has_gone_is_answered_by_us() {
    let (mut world, mut caller, mut callee) = answered(settings());
    world.judge(0.95);
    world.send(TRUNK, &caller.next("BYE", ""));
    world.last(TRUNK);
    world.ladder();
    world.send(PBX, &callee.next("INVITE", &sdp(PBX, "a=sendonly\r\n")));
    assert!(world.last(PBX).contains("a=recvonly\r\n"));
    world.send(PBX, &callee.ack());
    world.send(PBX, &callee.next("UPDATE", ""));
    world.send(PBX, &callee.next("BYE", ""));

    expect(
        &mut world,
        "
             0 pbx > INVITE sip:x@10.0.0.1:5060 sdp
             0       > pbx 200 OK (101 INVITE) sdp
             0 pbx > ACK sip:x@10.0.0.1:5060
             0 pbx > UPDATE sip:x@10.0.0.1:5060
             0       > pbx 200 OK (102 UPDATE)
             0 pbx > BYE sip:x@10.0.0.1:5060
             0       > pbx 200 OK (103 BYE)
        ",
    );
    assert_eq!(world.events.last().unwrap(), "ended bye by callee ");
    world.rest();
}

#[test]
fn a_caller_whose_callee_was_hung_up_is_answered_by_us() {
    let (mut world, mut caller, _) = answered(Settings { callee_hears: DivertCallee::HangUp, ..settings() });
    world.judge(0.95);
    let bye = world.last(PBX);
    world.send(PBX, &response(&bye, "200 OK", "", ""));
    world.ladder();
    world.send(TRUNK, &caller.next("INVITE", &sdp(TRUNK, "a=sendonly\r\n")));
    world.send(TRUNK, &caller.ack());
    world.send(TRUNK, &caller.next("BYE", ""));

    expect(
        &mut world,
        "
             0 trunk > INVITE sip:y@192.0.2.1:5060 sdp
             0       > trunk 200 OK (2 INVITE) sdp
             0 trunk > ACK sip:y@192.0.2.1:5060
             0 trunk > BYE sip:y@192.0.2.1:5060
             0       > trunk 200 OK (3 BYE)
        ",
    );
    world.rest();
}

#[test]
fn an_announcement_that_never_ends_is_ended() {
    let (mut world, _) = announced();
    world.run(S(90));

    let bye = world.last(TRUNK);
    assert!(bye.starts_with("BYE "), "{bye}");
    world.send(TRUNK, &response(&bye, "200 OK", "", ""));
    world.rest();
}
