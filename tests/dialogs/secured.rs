//! Offers and answers in calls whose SRTP ends here: refusals, faxes, answers of ours, restarts. `tests/srtp.rs` has
//! the packets.

use ringfence::call::{DivertCallee, DivertCaller, Input, Settings, SrtpPolicy, SrtpSettings};
use ringfence::rtp::srtp::MasterKey;
use ringfence::trunk::{Credentials, Register, Secret};

use super::world::{PBX, Phone, TRUNK, World, header, response, sdp, settings};
use super::{MS, S, both_ended, expect, hang_up};

const FAX: &str = "m=image 4004 udptl t38\r\na=T38FaxVersion:0\r\n";

fn trunk_has(policy: SrtpPolicy) -> Settings {
    Settings { srtp: SrtpSettings { inside: SrtpPolicy::Off, outside: vec![policy] }, ..settings() }
}

/// A description with a key.
fn keyed(at: &str, tag: u32, key: u8) -> String {
    let key = MasterKey::new([key; 30]).to_base64();
    sdp(at, &format!("a=crypto:{tag} AES_CM_128_HMAC_SHA1_32 inline:{key}\r\n")).replace("RTP/AVP", "RTP/SAVP")
}

fn fax(at: &str) -> String {
    sdp(at, "").replace("m=audio 4000", "m=audio 0") + FAX
}

/// Our key lines in a message.
fn crypto(message: &str) -> Vec<&str> {
    message.lines().filter(|line| line.starts_with("a=crypto:")).collect()
}

/// An answered call: encrypted towards the trunk, not towards the PBX. With our key towards the trunk.
fn secured(settings: Settings) -> (World, Phone, Phone, String) {
    let mut world = World::new(settings);
    let mut caller = Phone::caller("call");
    world.send(TRUNK, &caller.request("INVITE", &keyed(TRUNK, 7, 1)));
    let invite = world.last(PBX);
    assert!(invite.contains(" RTP/AVP ") && crypto(&invite).is_empty(), "{invite}");
    world.send(PBX, &response(&invite, "200 OK", "callee", &sdp(PBX, "")));
    let ok = world.last(TRUNK);
    assert!(ok.contains(" RTP/SAVP ") && crypto(&ok).len() == 1, "{ok}");
    caller.learn(&ok);
    world.send(TRUNK, &caller.ack());
    world.last(PBX);
    world.ladder();
    world.media_in_ladder = true;
    let ours = crypto(&ok)[0].to_owned();
    (world, caller, Phone::callee(&invite, "callee"), ours)
}

#[test]
fn an_offer_without_the_encryption_that_must_be_is_refused_and_the_call_goes_on() {
    let (mut world, mut caller, mut callee, ours) = secured(trunk_has(SrtpPolicy::Require));
    world.send(TRUNK, &caller.next("INVITE", &sdp(TRUNK, "")));
    world.send(TRUNK, &caller.request("ACK", ""));
    world.send(TRUNK, &caller.next("UPDATE", &sdp(TRUNK, "")));
    world.send(TRUNK, &caller.next("INVITE", "v=0\r\rm=audio 1 RTP/AVP 0\r\n"));
    world.send(TRUNK, &caller.request("ACK", ""));
    world.send(TRUNK, &caller.next("INVITE", &fax(TRUNK)));
    world.send(TRUNK, &caller.request("ACK", ""));
    world.send(PBX, &callee.next("INVITE", &fax(PBX)));
    world.send(PBX, &callee.request("ACK", ""));

    expect(
        &mut world,
        "
             0 trunk > INVITE sip:y@192.0.2.1:5060 sdp
             0       > trunk 488 Not Acceptable Here (2 INVITE)
             0 trunk > ACK sip:y@192.0.2.1:5060
             0 trunk > UPDATE sip:y@192.0.2.1:5060 sdp
             0       > trunk 488 Not Acceptable Here (3 UPDATE)
             0 trunk > INVITE sip:y@192.0.2.1:5060 sdp
             0       > trunk 488 Not Acceptable Here (4 INVITE)
             0 trunk > ACK sip:y@192.0.2.1:5060
             0 trunk > INVITE sip:y@192.0.2.1:5060 sdp
             0       > trunk 488 Not Acceptable Here (5 INVITE)
             0 trunk > ACK sip:y@192.0.2.1:5060
             0 pbx > INVITE sip:x@10.0.0.1:5060 sdp
             0       > pbx 488 Not Acceptable Here (101 INVITE)
             0 pbx > ACK sip:x@10.0.0.1:5060
        ",
    );
    world.last(TRUNK);
    world.send(TRUNK, &caller.next("INVITE", &keyed(TRUNK, 3, 2)));
    let held = world.last(PBX);
    world.send(PBX, &response(&held, "200 OK", "", &sdp(PBX, "")));
    let ok = world.last(TRUNK);
    assert_eq!(crypto(&ok), [ours.replace("crypto:7", "crypto:3")], "the same key: {ok}");
    assert!(world.ladder().contains("* plan caller [(0, Pcmu)] srtp"));
    world.send(TRUNK, &caller.ack());
    world.last(PBX);
    hang_up(world, &mut caller);
}

/// FreeSWITCH refuses keys in the plain profile, unless it is told otherwise.
#[test]
fn a_pbx_that_refuses_the_keys_that_it_is_offered_is_asked_without_them() {
    let inside = |policy| Settings { srtp: SrtpSettings { inside: policy, outside: Vec::new() }, ..settings() };
    let mut world = World::new(inside(SrtpPolicy::Offer));
    let mut caller = Phone::caller("call");
    world.send(TRUNK, &caller.request("INVITE", &sdp(TRUNK, "")));
    let first = world.last(PBX);
    assert_eq!(crypto(&first).len(), 2, "{first}");
    world.send(PBX, &response(&first, "488 Not Acceptable Here", "pbx", ""));
    let second = world.last(PBX);
    assert!(second.starts_with("INVITE ") && crypto(&second).is_empty(), "{second}");
    assert_eq!((header(&first, "CSeq"), header(&second, "CSeq")), ("1 INVITE", "2 INVITE"));
    world.answer((PBX, "callee"), &second, (TRUNK, &mut caller));
    world.hang_up((TRUNK, &mut caller), PBX);

    expect(
        &mut world,
        "
             0 trunk > INVITE sip:201@192.0.2.1:5060 sdp
             0       > pbx INVITE sip:201@10.0.0.5:5060 sdp
             0 pbx > 488 Not Acceptable Here (1 INVITE)
             0       > pbx ACK sip:201@10.0.0.5:5060
             0       > pbx INVITE sip:201@10.0.0.5:5060 sdp
             0 pbx > 200 OK (2 INVITE) sdp
             0       > trunk 200 OK (1 INVITE) sdp
             0 trunk > ACK sip:y@192.0.2.1:5060
             0       > pbx ACK sip:y@10.0.0.5:5060
             0 trunk > BYE sip:y@192.0.2.1:5060
             0       > pbx BYE sip:y@10.0.0.5:5060
             0 pbx > 200 OK (3 BYE)
             0       > trunk 200 OK (2 BYE)
        ",
    );
    world.rest();

    // Once only, and never where keys must be.
    for (policy, most) in [(SrtpPolicy::Offer, 2), (SrtpPolicy::Require, 1)] {
        let mut world = World::new(inside(policy));
        let caller = Phone::caller("call");
        world.send(TRUNK, &caller.request("INVITE", &sdp(TRUNK, "")));
        let mut asked = 0;
        while let Some(invite) = Some(world.last(PBX)).filter(|message| message.starts_with("INVITE ") && asked < 3) {
            asked += 1;
            world.send(PBX, &response(&invite, "488 Not Acceptable Here", "pbx", ""));
        }
        assert_eq!(asked, most, "{policy:?}");
        assert!(world.last(TRUNK).starts_with("SIP/2.0 488 "));
        world.send(TRUNK, &caller.request("ACK", ""));
        world.rest();
    }
}

#[test]
fn an_answer_without_the_encryption_that_must_be_ends_the_call() {
    for delayed in [false, true] {
        let (mut world, mut caller, mut callee, ours) = secured(trunk_has(SrtpPolicy::Require));
        if delayed {
            world.send(TRUNK, &caller.next("INVITE", ""));
            let asked = world.last(PBX);
            world.send(PBX, &response(&asked, "200 OK", "", &sdp(PBX, "")));
            assert_eq!(crypto(&world.last(TRUNK)), [ours]);
            let ack = caller.ack().replace("Content-Length: 0\r\n\r\n", "");
            let body = sdp(TRUNK, "");
            let kind = "Content-Type: application/sdp";
            world.send(TRUNK, &format!("{ack}{kind}\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
        } else {
            world.send(PBX, &callee.next("INVITE", &sdp(PBX, "")));
            let offer = world.last(TRUNK);
            assert_eq!(crypto(&offer), [ours]);
            world.send(TRUNK, &response(&offer, "200 OK", "", &sdp(TRUNK, "")));
        }

        both_ended(world, "ended media by us ");
    }
}

#[test]
fn a_fax_passes_beside_srtp_and_the_talk_behind_it_has_its_keys_again() {
    let (mut world, mut caller, mut callee, ours) = secured(trunk_has(SrtpPolicy::Offer));
    world.send(PBX, &callee.next("INVITE", &fax(PBX)));
    let offer = world.last(TRUNK);
    assert!(offer.contains("m=image 20004 udptl t38\r\n") && crypto(&offer).is_empty(), "{offer}");
    world.send(TRUNK, &response(&offer, "200 OK", "", &fax(TRUNK)));
    world.send(PBX, &callee.ack());
    world.send(TRUNK, &caller.next("INVITE", &keyed(TRUNK, 7, 1)));
    let back = world.last(PBX);
    assert!(back.contains("m=audio 20006 RTP/AVP ") && crypto(&back).is_empty(), "{back}");
    world.send(PBX, &response(&back, "200 OK", "", &sdp(PBX, "")));
    let ok = world.last(TRUNK);
    assert!(ok.contains(" RTP/SAVP ") && crypto(&ok) == [ours], "{ok}");
    world.send(TRUNK, &caller.ack());

    expect(
        &mut world,
        "
             0 pbx > INVITE sip:x@10.0.0.1:5060 sdp
             0       > trunk INVITE sip:x@192.0.2.10:5060 sdp
             0 trunk > 200 OK (101 INVITE) sdp
             0       * plan callee [] fax
             0       * plan caller [] srtp fax
             0       > pbx 200 OK (101 INVITE) sdp
             0 pbx > ACK sip:x@10.0.0.1:5060
             0       > trunk ACK sip:y@192.0.2.10:5060
             0 trunk > INVITE sip:y@192.0.2.1:5060 sdp
             0       > pbx INVITE sip:x@10.0.0.5:5060 sdp
             0 pbx > 200 OK (2 INVITE) sdp
             0       * plan caller [(0, Pcmu)] srtp
             0       * plan callee [(0, Pcmu)]
             0       > trunk 200 OK (2 INVITE) sdp
             0 trunk > ACK sip:y@192.0.2.1:5060
             0       > pbx ACK sip:y@10.0.0.5:5060
        ",
    );
    world.last(PBX);
    hang_up(world, &mut caller);
}

#[test]
fn after_a_kill_keys_names_and_profile_are_those_of_the_process_before() {
    for policy in [SrtpPolicy::Offer, SrtpPolicy::Require] {
        let (mut world, mut caller, mut callee, ours) = secured(trunk_has(policy));
        world.kill_and_start(MS(1_000));
        assert!(world.ladder().contains("* plan caller [(0, Pcmu)] srtp"));

        world.send(PBX, &callee.next("INVITE", &sdp(PBX, "a=sendonly\r\n")));
        let hold = world.last(TRUNK);
        assert!(hold.contains(" RTP/SAVP ") && crypto(&hold) == [ours.as_str()], "{hold}");
        world.send(TRUNK, &response(&hold, "200 OK", "", &(keyed(TRUNK, 7, 1) + "a=recvonly\r\n")));
        let ok = world.last(PBX);
        assert!(ok.contains(" RTP/AVP ") && crypto(&ok).is_empty(), "{ok}");
        world.send(PBX, &callee.ack());
        world.last(TRUNK);
        world.send(TRUNK, &caller.next("INVITE", &keyed(TRUNK, 7, 1)));
        let resume = world.last(PBX);
        assert!(crypto(&resume).is_empty(), "{resume}");
        world.send(PBX, &response(&resume, "200 OK", "", &sdp(PBX, "")));
        assert_eq!(crypto(&world.last(TRUNK)), [ours.as_str()]);
        world.send(TRUNK, &caller.ack());
        world.last(PBX);
        hang_up(world, &mut caller);
    }
}

#[test]
fn encryption_between_the_ends_still_passes_after_a_kill() {
    let srtp = SrtpSettings { inside: SrtpPolicy::Require, outside: vec![SrtpPolicy::Off] };
    let mut world = World::new(Settings { srtp, ..settings() });
    let mut caller = Phone::caller("call");
    let theirs = keyed(TRUNK, 7, 1);
    world.send(TRUNK, &caller.request("INVITE", &theirs));
    let invite = world.last(PBX);
    world.send(PBX, &response(&invite, "200 OK", "callee", &keyed(PBX, 7, 2)));
    caller.learn(&world.last(TRUNK));
    world.send(TRUNK, &caller.ack());
    world.last(PBX);
    world.kill_and_start(MS(1_000));
    let mut callee = Phone::callee(&invite, "callee");

    world.send(PBX, &callee.next("INVITE", &keyed(PBX, 1, 2)));
    let offer = world.last(TRUNK);
    assert_eq!(crypto(&offer), crypto(&keyed(PBX, 1, 2)));
    world.send(TRUNK, &response(&offer, "200 OK", "", &keyed(TRUNK, 1, 1)));
    assert_eq!(crypto(&world.last(PBX)), crypto(&keyed(TRUNK, 1, 1)));
    world.send(PBX, &callee.ack());
    world.last(TRUNK);
    hang_up(world, &mut caller);
}

#[test]
fn our_own_answers_are_encrypted_and_numbered_right_behind_credentials() {
    let credentials = Credentials { user: "441632960001".into(), password: Secret::new("secret"), realm: None };
    let register = Register {
        user: "441632960001".into(),
        token: "token".into(),
        credentials,
        expires: std::time::Duration::from_secs(600),
    };
    let mut settings = Settings {
        callee_hears: DivertCallee::Announcement,
        caller_hears: DivertCaller::HangUp,
        ..trunk_has(SrtpPolicy::Require)
    };
    settings.trunks[0].register = Some(register);
    let mut world = World::new(settings);
    world.input(Input::Start);
    let register = world.last(TRUNK);
    let contact = format!("Contact: {};expires=600", header(&register, "Contact"));
    let granted = response(&register, "200 OK", "registrar", "");
    world.send(TRUNK, &granted.replace(&format!("Contact: <sip:y@{TRUNK}>"), &contact));
    let mut caller = Phone::inside("out", "01632960002");
    world.send(PBX, &caller.request("INVITE", &sdp(PBX, "")));
    let invite = world.last(TRUNK);
    assert!(invite.contains(" RTP/SAVP ") && crypto(&invite).len() == 2, "{invite}");
    let asks = "WWW-Authenticate: Digest realm=\"provider\", nonce=\"n\", qop=\"auth\"\r\nContact:";
    world.send(TRUNK, &response(&invite, "401 Unauthorized", "trunk", "").replace("Contact:", asks));
    let again = world.last(TRUNK);
    assert!(again.contains("Authorization: Digest ") && crypto(&again) == crypto(&invite), "{again}");
    world.send(TRUNK, &response(&again, "200 OK", "trunk", &keyed(TRUNK, 2, 1)));
    let ok = world.last(PBX);
    assert!(header(&ok, "CSeq") == "1 INVITE" && ok.contains(" RTP/AVP "), "{ok}");
    caller.learn(&ok);
    world.send(PBX, &caller.ack());
    let ack = world.last(TRUNK);
    assert_eq!(header(&ack, "CSeq"), "2 ACK");
    // The caller is taken away; the phone behind the trunk hears the warning, and holds the call meanwhile.
    let call = *world.calls.last().unwrap();
    world.input(Input::Divert { call });
    let bye = world.last(PBX);
    world.send(PBX, &response(&bye, "200 OK", "", ""));
    let mut callee = Phone { at: TRUNK, ..Phone::callee(&again, "trunk") };

    world.send(TRUNK, &callee.next("INVITE", &(keyed(TRUNK, 4, 9) + "a=sendonly\r\n")));
    let answer = world.last(TRUNK);
    let ours: Vec<String> = crypto(&again).into_iter().map(|line| line.replace("crypto:2", "crypto:4")).collect();
    assert!(answer.starts_with("SIP/2.0 200 ") && answer.contains(" RTP/SAVP "), "{answer}");
    assert!(crypto(&answer).len() == 1 && ours.iter().any(|line| line == crypto(&answer)[0]), "{answer} {ours:?}");
    world.send(TRUNK, &callee.ack());
    world.send(TRUNK, &callee.next("INVITE", &sdp(TRUNK, "")));
    assert!(world.last(TRUNK).starts_with("SIP/2.0 488 "));
    world.send(TRUNK, &callee.request("ACK", ""));
    world.send(TRUNK, &callee.next("BYE", ""));
    assert!(world.last(TRUNK).starts_with("SIP/2.0 200 "));
    world.run(S(1));
    world.input(Input::Drain);
    let register = world.last(TRUNK);
    world.send(TRUNK, &response(&register, "200 OK", "registrar", ""));
    world.rest();
}
