//! What passes beside calls, what is refused at the door, and what rules do with a call.

use std::sync::Arc;
use std::time::Duration;

use ringfence::call::Settings;
use ringfence::policy::action::{Rejection, Route};
use ringfence::policy::facts::OverLimit;
use ringfence::policy::number::NumberSet;
use ringfence::policy::rules::Policy;
use ringfence::units::Leg;

use super::{MS, rejecting};
use crate::world::{self, PBX, Phone, TRUNK, World, expect, response, sdp, settings};

#[test]
fn a_registration_comes_back_through_us() {
    let mut world = World::new(settings());
    let phone = Phone::inside("register", "x");
    let register = phone.request("REGISTER", "").replace(&format!("sip:x@{}", world::US_INSIDE), "sip:192.0.2.10");
    world.send(PBX, &register);
    let seen = world.last(TRUNK);
    assert!(seen.contains("Contact: <sip:x@192.0.2.1:5060>"), "{seen}");
    let ok = response(&seen, "200 OK", "registrar", "")
        .replace(&format!("Contact: <sip:y@{TRUNK}>"), "Contact: <sip:x@192.0.2.1:5060>;expires=300");
    world.send(TRUNK, &ok);
    let answer = world.last(PBX);
    assert!(answer.contains(&format!("Contact: <sip:x@{PBX}>;expires=300")), "{answer}");

    let mut caller = Phone::caller("call");
    caller.target = "sip:x@192.0.2.1:5060".to_owned();
    world.send(TRUNK, &caller.request("INVITE", &sdp(TRUNK, "")));
    assert!(world.last(PBX).starts_with(&format!("INVITE sip:x@{PBX} SIP/2.0")));
    world.send(TRUNK, &caller.request("CANCEL", ""));
    world.rest();
}

#[test]
fn a_challenge_passes_from_end_to_end() {
    let mut world = World::new(settings());
    let mut caller = Phone::inside("out", "01632960002");
    world.send(PBX, &caller.request("INVITE", &sdp(PBX, "")));
    let invite = world.last(TRUNK);
    let challenge = response(&invite, "407 Proxy Authentication Required", "trunk", "")
        .replace("Contact:", "Proxy-Authenticate: Digest realm=\"x\", nonce=\"y\"\r\nContact:");
    world.send(TRUNK, &challenge);
    assert!(world.last(PBX).contains("Proxy-Authenticate: Digest realm=\"x\", nonce=\"y\""));
    world.send(PBX, &caller.request("ACK", ""));
    caller.cseq = 2;
    world.send(PBX, &caller.request_with("INVITE", "Proxy-Authorization: Digest username=\"u\"\r\n", &sdp(PBX, "")));
    let again = world.last(TRUNK);
    assert!(again.contains("Proxy-Authorization: Digest username=\"u\""), "{again}");
    world.answer((TRUNK, "trunk"), &again, (PBX, &mut caller));

    expect(
        &mut world,
        "
             0 pbx > INVITE sip:01632960002@10.0.0.1:5060 sdp
             0       > trunk INVITE sip:01632960002@192.0.2.10:5060 sdp
             0 trunk > 407 Proxy Authentication Required (1 INVITE)
             0       > trunk ACK sip:01632960002@192.0.2.10:5060
             0       > pbx 407 Proxy Authentication Required (1 INVITE)
             0 pbx > ACK sip:01632960002@10.0.0.1:5060
             0 pbx > INVITE sip:01632960002@10.0.0.1:5060 sdp
             0       > trunk INVITE sip:01632960002@192.0.2.10:5060 sdp
             0 trunk > 200 OK (2 INVITE) sdp
             0       > pbx 200 OK (2 INVITE) sdp
             0 pbx > ACK sip:y@10.0.0.1:5060
             0       > trunk ACK sip:y@192.0.2.10:5060
        ",
    );
    assert!(world.events.contains(&"answered analysed=false outbound".to_owned()), "{:?}", world.events);
    world.hang_up((PBX, &mut caller), TRUNK);
    world.rest();
}

#[test]
fn a_challenged_bye_is_said_again_by_whoever_knows_the_password() {
    let mut world = World::new(settings());
    let mut caller = Phone::inside("out", "01632960002");
    world.send(PBX, &caller.request("INVITE", &sdp(PBX, "")));
    let invite = world.last(TRUNK);
    world.answer((TRUNK, "trunk"), &invite, (PBX, &mut caller));
    let bye = caller.next("BYE", "");
    world.send(PBX, &bye);
    let sent = world.last(TRUNK);
    let challenge = response(&sent, "407 Proxy Authentication Required", "trunk", "")
        .replace("Contact:", "Proxy-Authenticate: Digest realm=\"x\", nonce=\"y\"\r\nContact:");
    world.send(TRUNK, &challenge);
    assert!(world.last(PBX).starts_with("SIP/2.0 407 "));
    world.ladder();
    caller.cseq += 1;
    let again = caller.request_with("BYE", "Proxy-Authorization: Digest username=\"u\"\r\n", "");
    world.send(PBX, &again.replace(";tag=", ";tag=not-").replace("z9hG4bK", "z9hG4bKnot"));
    world.send(PBX, &again);
    let sent = world.last(TRUNK);
    assert!(sent.contains("Proxy-Authorization: Digest username=\"u\""), "{sent}");
    world.send(TRUNK, &response(&sent, "200 OK", "", ""));

    expect(
        &mut world,
        "
             0 pbx > BYE sip:y@10.0.0.1:5060
             0       > pbx 481 Call/Transaction Does Not Exist (3 BYE)
             0 pbx > BYE sip:y@10.0.0.1:5060
             0       > trunk BYE sip:y@192.0.2.10:5060
             0 trunk > 200 OK (3 BYE)
             0       > pbx 200 OK (3 BYE)
        ",
    );
    world.rest();
}

#[test]
fn what_is_refused_at_the_door() {
    let mut world = World::new(settings());
    let caller = Phone::caller("call");
    let invite = caller.request("INVITE", &sdp(TRUNK, ""));
    world.send("203.0.113.9:5060", &invite);
    world.send(TRUNK, &invite.replace("Max-Forwards: 70", "Max-Forwards: 0"));
    world.send(
        TRUNK,
        &caller.request_with("OPTIONS", "Proxy-Require: teleport\r\n", "").replace("z9hG4bKcall1", "z9hG4bKx"),
    );
    world.send(
        TRUNK,
        &Phone { cseq: 7, remote: format!("<sip:201@{}>;tag=gone", world::US_OUTSIDE), ..caller.clone() }
            .request("BYE", ""),
    );
    world.send(TRUNK, &invite.replace("CSeq: 1 INVITE", "CSeq: 1 OPTIONS").replace("z9hG4bKcall1", "z9hG4bKy"));
    world.send(TRUNK, "INVITE");
    world.send(TRUNK, "\r\n\r\n");
    world.send(TRUNK, &Phone { cseq: 9, ..caller.clone() }.request("OPTIONS", "").replace("sip:201@", "sip:"));

    expect(
        &mut world,
        "
             0 stranger > INVITE sip:201@192.0.2.1:5060 sdp
             0 trunk > INVITE sip:201@192.0.2.1:5060 sdp
             0       > trunk 483 Too Many Hops (1 INVITE)
             0 trunk > OPTIONS sip:201@192.0.2.1:5060
             0       > trunk 420 Bad Extension (1 OPTIONS)
             0 trunk > BYE sip:201@192.0.2.1:5060
             0       > trunk 481 Call/Transaction Does Not Exist (7 BYE)
             0 trunk > INVITE sip:201@192.0.2.1:5060 sdp
             0       > trunk 400 Bad Request (1 OPTIONS)
             0 trunk > INVITE
             0 trunk >
             0 trunk > OPTIONS sip:192.0.2.1:5060
             0       > trunk 200 OK (9 OPTIONS)
        ",
    );
    world.rest();
}

#[test]
fn our_own_request_that_comes_back_is_a_loop() {
    let mut world = World::new(settings());
    let caller = Phone::caller("call");
    world.send(TRUNK, &caller.request("INVITE", &sdp(TRUNK, "")));
    let invite = world.last(PBX);
    world.send(TRUNK, &invite.replacen("Via:", "Via: SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bKback\r\nVia:", 1));
    world.send(TRUNK, &caller.request("CANCEL", ""));

    expect(
        &mut world,
        "
             0 trunk > INVITE sip:201@192.0.2.1:5060 sdp
             0       > pbx INVITE sip:201@10.0.0.5:5060 sdp
             0 trunk > INVITE sip:201@10.0.0.5:5060 sdp
             0       > trunk 482 Loop Detected (1 INVITE)
             0 trunk > CANCEL sip:201@192.0.2.1:5060
             0       > trunk 200 OK (1 CANCEL)
             0       > trunk 487 Request Terminated (1 INVITE)
        ",
    );
    world.run(Duration::from_secs(400));
}

#[test]
fn rejections_have_their_status() {
    for (rejection, status) in [(Rejection::Decline, "603"), (Rejection::Busy, "486"), (Rejection::NotFound, "404")] {
        let mut world = World::new(rejecting(Route::Reject(rejection)));
        let caller = Phone::caller("call");
        world.send(TRUNK, &caller.request("INVITE", &sdp(TRUNK, "")));
        let answer = world.last(TRUNK);
        world.send(TRUNK, &caller.request("ACK", ""));

        assert!(answer.starts_with(&format!("SIP/2.0 {status} ")), "{answer}");
        assert_eq!(
            world.events,
            ["began inbound", "routed reject by everybody done", &format!("ended rejected by us {status}")]
        );
        world.rest();
    }
}

#[test]
fn a_608_is_said_in_words_to_a_caller_that_does_not_know_it() {
    let mut world = World::new(rejecting(Route::Reject(Rejection::Rejected)));
    world.media_in_ladder = true;
    let caller = Phone::caller("call");
    world.send(TRUNK, &caller.request("INVITE", &sdp(TRUNK, "")));
    world.run(MS(4_000));
    world.finished(Leg::Caller);
    world.send(TRUNK, &caller.request("ACK", ""));
    expect(
        &mut world,
        "
             0 trunk > INVITE sip:201@192.0.2.1:5060 sdp
             0       * plan caller [(0, Pcmu)]
             0       * play caller-rejected to caller
             0       > trunk 183 Session Progress (1 INVITE) sdp
          4000       * close
          4000       > trunk 608 Rejected (1 INVITE)
          4000 trunk > ACK sip:201@192.0.2.1:5060
        ",
    );
    world.rest();

    // Over a limit, nothing is said: it would hold ports.
    let set = NumberSet::new(["+44*"], Policy::default().country).unwrap();
    let policy = Arc::new(Policy { block: set, ..Policy::default() });
    let mut world = World::new(Settings { policy, ..settings() });
    world.media_in_ladder = true;
    world.over_limit = Some(OverLimit::Number);
    let caller = Phone::caller("flood");
    world.send(TRUNK, &caller.request("INVITE", &sdp(TRUNK, "")));
    world.send(TRUNK, &caller.request("ACK", ""));
    expect(
        &mut world,
        "
             0 trunk > INVITE sip:201@192.0.2.1:5060 sdp
             0       > trunk 608 Rejected (1 INVITE)
             0 trunk > ACK sip:201@192.0.2.1:5060
        ",
    );
    world.rest();

    let mut world = World::new(rejecting(Route::Reject(Rejection::Rejected)));
    let caller = Phone::caller("knows");
    world.send(TRUNK, &caller.request_with("INVITE", "Feature-Caps: *;+sip.608\r\n", &sdp(TRUNK, "")));
    world.send(TRUNK, &caller.request("ACK", ""));
    expect(
        &mut world,
        "
             0 trunk > INVITE sip:201@192.0.2.1:5060 sdp
             0       > trunk 608 Rejected (1 INVITE)
             0 trunk > ACK sip:201@192.0.2.1:5060
        ",
    );
    world.rest();
}

#[test]
fn a_rule_diverts_before_anybodys_phone_rings() {
    let mut world = World::new(rejecting(Route::Divert));
    world.media_in_ladder = true;
    let mut caller = Phone::caller("call");
    world.send(TRUNK, &caller.request("INVITE", &sdp(TRUNK, "")));
    caller.learn(&world.last(TRUNK));
    world.send(TRUNK, &caller.ack());
    world.run(MS(6_000));
    world.finished(Leg::Caller);
    let bye = world.last(TRUNK);
    world.send(TRUNK, &response(&bye, "200 OK", "", ""));

    expect(
        &mut world,
        "
             0 trunk > INVITE sip:201@192.0.2.1:5060 sdp
             0       * plan caller [(0, Pcmu)]
             0       * answered, analyse false
             0       * play caller-diverted to caller
             0       > trunk 200 OK (1 INVITE) sdp
             0 trunk > ACK sip:192.0.2.1:5060
          6000       * close
          6000       > trunk BYE sip:x@192.0.2.10:5060
          6000 trunk > 200 OK (1 BYE)
        ",
    );
    world.rest();
}
