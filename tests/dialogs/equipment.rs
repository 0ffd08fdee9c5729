//! What is legal and odd, or not quite legal and common: as telephones, gateways and trunks send it.

use std::sync::Arc;

use ringfence::call::{Input, Settings, ShownIdentity, SrtpPolicy, SrtpSettings, Trunk};
use ringfence::policy::action::{Rejection, Route};
use ringfence::policy::rules::{Condition, Policy, Rule};
use ringfence::rtp::control::MediaEvent;
use ringfence::sip::flow::{ConnectionId, Flow, Hop, Transport};

use super::world::{PBX, Phone, SPARE, TRUNK, World, header, response, sdp, settings};
use super::{answered, hang_up, saying};

/// A port of the trunk's on which it takes nothing.
const EPHEMERAL: &str = "192.0.2.10:51234";

#[test]
fn a_gateway_that_sends_from_another_port_than_it_listens_on_is_spoken_to_where_it_listens() {
    let mut world = World::new(settings());
    let mut caller = Phone::caller("call");
    let bare = |request: String| request.replacen(";rport", "", 1);
    world.send(EPHEMERAL, &bare(caller.request("INVITE", &sdp(TRUNK, ""))));
    let invite = world.last(PBX);
    let mut callee = Phone::callee(&invite, "callee");
    world.send(PBX, &response(&invite, "200 OK", "callee", &sdp(PBX, "")));
    caller.learn(&world.last(TRUNK));
    world.send(EPHEMERAL, &bare(caller.ack()));
    world.send(EPHEMERAL, &bare(caller.next("INFO", "")));
    let info = world.last(PBX);
    world.send(PBX, &response(&info, "200 OK", "", ""));
    assert!(world.last(TRUNK).starts_with("SIP/2.0 200 "));
    world.hang_up((PBX, &mut callee), TRUNK);
    world.rest();
}

#[test]
fn a_trunk_in_the_network_of_the_pbx_is_a_trunk() {
    let settings = Settings { pbx_networks: vec!["192.0.0.0/16".parse().unwrap()], ..settings() };
    // Its address from another port, and another of its gateways.
    for from in [EPHEMERAL, "192.0.2.11:5060"] {
        let mut world = World::new(settings.clone());
        world.send(from, &Phone::caller("call").request("INVITE", &sdp(TRUNK, "")));
        assert!(world.newest_invite(PBX).is_some(), "{from}");
    }
    // Beside it, all is the PBX's.
    let mut world = World::new(settings);
    world.send("192.0.3.1:5060", &Phone::inside("out", "01632960002").request("INVITE", &sdp(PBX, "")));
    assert!(world.newest_invite(TRUNK).is_some());
}

#[test]
fn a_pbx_in_the_network_of_a_trunk_is_the_pbx() {
    let mut settings = settings();
    settings.trunks[0].networks.push("10.0.0.0/8".parse().unwrap());
    settings.pbx_networks.push("10.0.7.0/24".parse().unwrap());
    for from in ["10.0.0.5:51234", "10.0.7.1:5060"] {
        let mut world = World::new(settings.clone());
        world.send(from, &Phone::inside("out", "01632960002").request("INVITE", &sdp(PBX, "")));
        assert!(world.newest_invite(TRUNK).is_some(), "{from}");
    }
}

#[test]
fn a_source_belongs_to_the_trunk_that_names_it_most_closely() {
    let mut settings = settings();
    settings.trunks.push(Trunk::at("b", Hop::udp("192.0.2.14:5060".parse().unwrap())));
    let when = vec![Condition::Trunk("b".into())];
    let rules = vec![Rule { name: "over b".into(), when, route: Route::Reject(Rejection::Busy) }];
    settings.policy = Arc::new(Policy { rules, ..Policy::default() });
    for (from, is_b) in [("192.0.2.14:5060", true), (TRUNK, false), ("192.0.2.11:5060", false)] {
        let mut world = World::new(settings.clone());
        world.send(from, &Phone::caller("call").request("INVITE", &sdp(TRUNK, "")));
        assert_eq!(world.newest_invite(PBX).is_none(), is_b, "{from}");
        assert_eq!(world.events.contains(&"routed reject by over b done".to_owned()), is_b, "{:?}", world.events);
    }
}

#[test]
fn the_port_of_a_via_is_its_default_where_it_names_none() {
    let mut world = World::new(settings());
    let options = Phone::caller("ping").request("OPTIONS", "").replace("sip:201@", "sip:").replacen(";rport", "", 1);
    world.send(EPHEMERAL, &options.replacen("192.0.2.10:5060", "192.0.2.10", 1));

    assert!(world.last(TRUNK).starts_with("SIP/2.0 200 "));
    world.rest();
}

#[test]
fn behind_a_change_of_addresses_and_where_it_is_asked_for_answers_go_to_the_source() {
    for (via, by) in [("10.9.9.9:5060", ""), ("gateway.example:5060", ""), ("192.0.2.10:5060", ";rport")] {
        let mut world = World::new(settings());
        let options = Phone::caller("ping").request("OPTIONS", "").replace("sip:201@", "sip:");
        let branch = "branch=z9hG4bKping1";
        let options = options.replacen(&format!("{TRUNK};{branch};rport"), &format!("{via};{branch}{by}"), 1);
        world.send(EPHEMERAL, &options);

        assert!(world.last(EPHEMERAL).starts_with("SIP/2.0 200 "), "{via}{by}");
    }
}

#[test]
fn why_a_call_is_given_up_arrives() {
    const ELSEWHERE: &str = "Reason: SIP;cause=200;text=\"Call completed elsewhere\"\r\n";

    for method in ["CANCEL", "BYE"] {
        let mut world = World::new(settings());
        let mut caller = Phone::caller("call");
        world.send(TRUNK, &caller.request("INVITE", &sdp(TRUNK, "")));
        let invite = world.last(PBX);
        world.send(PBX, &response(&invite, "180 Ringing", "callee", ""));
        if method == "BYE" {
            caller.learn(&world.last(TRUNK));
            caller.cseq += 1;
        }
        world.send(TRUNK, &caller.request_with(method, ELSEWHERE, ""));
        let cancel = world.last(PBX);
        assert!(cancel.starts_with("CANCEL ") && cancel.contains(ELSEWHERE), "{cancel}");
        world.send(PBX, &response(&cancel, "200 OK", "callee", ""));
        world.send(PBX, &response(&invite, "487 Request Terminated", "callee", ""));
        world.rest();
    }
}

#[test]
fn why_a_re_invite_is_given_up_arrives() {
    const REASON: &str = "Reason: Q.850;cause=16\r\n";

    let (mut world, mut caller, _) = answered(settings());
    world.send(TRUNK, &caller.next("INVITE", &sdp(TRUNK, "")));
    let re_invite = world.last(PBX);
    world.send(PBX, &response(&re_invite, "100 Trying", "", ""));
    world.send(TRUNK, &caller.request_with("CANCEL", REASON, ""));
    let cancel = world.last(PBX);
    assert!(cancel.starts_with("CANCEL ") && cancel.contains(REASON), "{cancel}");
    world.send(PBX, &response(&cancel, "200 OK", "", ""));
    world.send(PBX, &response(&re_invite, "487 Request Terminated", "", ""));
    world.send(TRUNK, &caller.request("ACK", ""));
    world.last(PBX);
    hang_up(world, &mut caller);
}

#[test]
fn a_call_may_ask_proxies_for_what_is_done_here_or_behind_us() {
    const ASKS: &str = "Privacy: id\r\nProxy-Require: privacy, Mediasec\r\nProxy-Require: sec-agree\r\n";

    let mut world = World::new(settings());
    let mut caller = Phone::inside("out", "01632960002");
    world.send(PBX, &caller.request_with("INVITE", ASKS, &sdp(PBX, "")));
    let invite = world.last(TRUNK);
    assert!(invite.starts_with("INVITE ") && invite.contains(ASKS), "{invite}");
    world.answer((TRUNK, "trunk"), &invite, (PBX, &mut caller));
    world.hang_up((PBX, &mut caller), TRUNK);
    let more = ASKS.replace("privacy", "privacy, teleport");
    world.send(PBX, &Phone::inside("other", "01632960002").request_with("INVITE", &more, &sdp(PBX, "")));
    let refused = world.last(PBX);
    assert!(refused.starts_with("SIP/2.0 420 ") && header(&refused, "Unsupported") == "teleport", "{refused}");
    world.send(PBX, &Phone::inside("other", "01632960002").request("ACK", ""));
    world.rest();
}

#[test]
fn a_hold_in_the_answer_to_a_late_offer_keeps_a_silent_call_until_it_ends() {
    let (mut world, mut caller, _) = answered(settings());
    for (answer, calls) in [("a=inactive\r\n", 1), ("a=sendonly\r\n", 1), ("", 0)] {
        world.send(TRUNK, &caller.next("INVITE", ""));
        let re_invite = world.last(PBX);
        world.send(PBX, &response(&re_invite, "200 OK", "", &sdp(PBX, "")));
        let ack = caller.request("ACK", &sdp(TRUNK, answer)).replace("branch=z9hG4bK", "branch=z9hG4bKack");
        world.send(TRUNK, &ack);
        assert!(world.last(PBX).contains(answer));
        world.media_says(MediaEvent::Silent);
        assert_eq!(world.switchboard.sizes().calls, calls, "{answer}");
    }
    world.rest();
}

#[test]
fn what_an_ack_says_unasked_holds_nothing() {
    let (mut world, caller, _) = answered(settings());
    let unasked = caller.request("ACK", &sdp(TRUNK, "a=sendonly\r\n"));
    world.send(TRUNK, &unasked.replace("branch=z9hG4bK", "branch=z9hG4bKack"));

    world.media_says(MediaEvent::Silent);

    assert_eq!(world.switchboard.sizes().calls, 0, "it is not on hold");
    world.rest();
}

#[test]
fn an_answer_that_cannot_be_read_here_is_read_by_nobody() {
    let (mut world, mut caller, _) = answered(settings());
    world.send(TRUNK, &caller.next("INVITE", ""));
    let re_invite = world.last(PBX);
    world.send(PBX, &response(&re_invite, "200 OK", "", &sdp(PBX, "")));
    let odd = caller.request("ACK", &sdp(TRUNK, "").replacen("\r\n", "\r", 1));
    world.send(TRUNK, &odd.replace("branch=z9hG4bK", "branch=z9hG4bKack"));

    let ladder = world.ladder();
    let ack = ladder.lines().rfind(|line| line.contains("> pbx ACK")).unwrap();
    assert!(!ack.contains("sdp"), "{ladder}");
    assert_eq!(world.switchboard.sizes().calls, 0, "{ladder}");
    world.rest();
}

#[test]
fn what_negotiates_nothing_passes_with_whatever_it_holds() {
    let (mut world, mut caller, _) = answered(settings());
    world.media_in_ladder = true;
    let info = caller.next("INFO", "Signal=5\r\n").replace("Content-Type: application/sdp", "Content-Type: dtmf");
    world.send(TRUNK, &info);

    let passed = world.last(PBX);
    assert!(passed.starts_with("INFO ") && passed.ends_with("\r\n\r\nSignal=5\r\n"), "{passed}");
    world.send(PBX, &response(&passed, "200 OK", "", ""));
    let ladder = world.ladder();
    assert!(!ladder.contains("plan"), "{ladder}");
    hang_up(world, &mut caller);
}

#[test]
fn a_hold_whose_answer_has_no_word_on_it_keeps_a_silent_call() {
    for hold in [sdp(PBX, "a=sendonly\r\n"), sdp(PBX, "").replace("c=IN IP4 10.0.0.5", "c=IN IP4 0.0.0.0")] {
        let (mut world, mut caller, mut callee) = answered(settings());
        world.send(PBX, &callee.next("INVITE", &hold));
        let offer = world.last(TRUNK);
        world.send(TRUNK, &response(&offer, "200 OK", "", &sdp(TRUNK, "")));
        world.send(PBX, &callee.ack());
        world.last(TRUNK);
        world.media_says(MediaEvent::Silent);
        assert_eq!(world.switchboard.sizes().calls, 1, "{hold}");
        hang_up(world, &mut caller);
    }
}

#[test]
fn a_hold_that_is_answered_in_a_reliable_183_keeps_a_silent_call() {
    let (mut world, mut caller, mut callee) = answered(settings());
    world.send(PBX, &callee.next("INVITE", &sdp(PBX, "a=sendonly\r\n")));
    let offer = world.last(TRUNK);
    let progress = response(&offer, "183 Session Progress", "", &sdp(TRUNK, "a=recvonly\r\n"));
    world.send(TRUNK, &saying(&progress, "Require: 100rel\r\nRSeq: 1\r\n"));
    world.last(PBX);
    world.send(PBX, &callee.next("PRACK", ""));
    let prack = world.last(TRUNK);
    world.send(TRUNK, &response(&prack, "200 OK", "", ""));
    world.last(PBX);
    world.send(TRUNK, &response(&offer, "200 OK", "", ""));
    callee.cseq -= 1;
    world.send(PBX, &callee.ack());
    world.last(TRUNK);

    world.media_says(MediaEvent::Silent);

    assert_eq!(world.switchboard.sizes().calls, 1);
    hang_up(world, &mut caller);
}

#[test]
fn an_answer_from_another_address_of_the_same_peer_counts() {
    let pbx_networks = vec!["10.0.0.0/29".parse().unwrap()];
    let mut world = World::new(Settings { pbx_networks, ..settings() });
    let mut caller = Phone::caller("call");
    world.send(TRUNK, &caller.request("INVITE", &sdp(TRUNK, "")));
    let invite = world.last(PBX);
    world.send(SPARE, &response(&invite, "486 Busy Here", "callee", ""));
    world.send(EPHEMERAL, &response(&invite, "486 Busy Here", "callee", ""));
    world.answer(("10.0.0.6:5060", "callee"), &invite, (TRUNK, &mut caller));
    world.last(PBX);
    world.send(TRUNK, &caller.next("BYE", ""));
    let bye = world.last(PBX);
    world.send("10.0.0.6:5060", &response(&bye, "200 OK", "", ""));
    assert!(world.last(TRUNK).starts_with("SIP/2.0 200 "));

    let mut caller = Phone::inside("out", "01632960002");
    world.send(PBX, &caller.request("INVITE", &sdp(PBX, "")));
    let invite = world.last(TRUNK);
    world.answer(("192.0.2.11:5060", "trunk"), &invite, (PBX, &mut caller));
    world.last(TRUNK);
    world.hang_up((PBX, &mut caller), TRUNK);
    world.rest();
}

#[test]
fn a_name_in_latin_1_costs_nobody_the_call() {
    let latin = |world: &mut World, from: &str, text: &str| {
        let bytes: Vec<u8> = text.chars().map(|letter| letter as u8).collect();
        world.input(Input::Message { bytes: &bytes, flow: Flow::datagram(0, from.parse().unwrap()) });
    };
    let mut world = World::new(settings());
    let mut caller = Phone::caller("call");
    caller.local = format!("\"J\u{fc}rgen M\u{fc}ller\" {}", caller.local);
    latin(&mut world, TRUNK, &caller.request("INVITE", &sdp(TRUNK, "")));
    let invite = world.last(PBX);
    assert!(header(&invite, "From").starts_with("\"J\u{fc}rgen M\u{fc}ller\" <"), "{invite}");
    latin(&mut world, PBX, &response(&invite, "486 Occup\u{e9}", "callee", ""));
    let busy = world.last(TRUNK);
    assert!(busy.starts_with("SIP/2.0 486 Occup\u{e9}\r\n"), "{busy}");
    world.send(TRUNK, &caller.request("ACK", ""));
    world.rest();
}

/// A message whose description is one of two parts.
fn in_parts(message: &str) -> String {
    let (head, body) = message.split_once("\r\n\r\n").unwrap();
    let isup = "--b\r\nContent-Type: application/isup;version=itu-t92+\r\nContent-Disposition: signal\r\n\r\nIAM\r\n";
    let body = format!("{isup}--b\r\nContent-Type: application/sdp\r\n\r\n{body}--b--\r\n");
    let lines = head.split("\r\n").filter(|line| !line.starts_with("Content-"));
    let head: String = lines.map(|line| format!("{line}\r\n")).collect();
    format!("{head}Content-Type: multipart/mixed;boundary=b\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

#[test]
fn a_description_among_other_parts_passes_with_them_and_with_our_address() {
    let mut world = World::new(settings());
    let mut caller = Phone::caller("call");
    world.send(TRUNK, &in_parts(&caller.request("INVITE", &sdp(TRUNK, ""))));
    let invite = world.last(PBX);
    let sees = |message: &str, address: &str, theirs: &str| {
        let body = message.split_once("\r\n\r\n").unwrap().1;
        assert_eq!(header(message, "Content-Length"), body.len().to_string(), "{message}");
        assert!(body.contains(&format!("c=IN IP4 {address}\r\n")) && !body.contains(theirs), "{message}");
        assert!(body.contains("signal\r\n\r\nIAM\r\n--b\r\n") && body.ends_with("\r\n--b--\r\n"), "{message}");
    };
    sees(&invite, "10.0.0.1", "192.0.2.10");
    world.send(PBX, &in_parts(&response(&invite, "200 OK", "callee", &sdp(PBX, ""))));
    let answer = world.last(TRUNK);
    sees(&answer, "192.0.2.1", "10.0.0.5");
    assert!(world.events.contains(&"answered analysed=true ".to_owned()), "{:?}", world.events);
    caller.learn(&answer);
    world.send(TRUNK, &caller.ack());
    world.last(PBX);
    hang_up(world, &mut caller);
}

#[test]
fn an_offer_with_two_descriptions_is_refused() {
    let mut world = World::new(settings());
    let caller = Phone::caller("call");
    let offer = in_parts(&caller.request("INVITE", &sdp(TRUNK, "")));
    world.send(TRUNK, &offer.replace("application/isup;version=itu-t92+", "application/sdp;version=itu-t92++"));
    assert!(world.last(TRUNK).starts_with("SIP/2.0 488 "));
    world.send(TRUNK, &caller.request("ACK", ""));
    world.rest();
}

#[test]
fn of_the_same_audio_with_and_without_encryption_what_everybody_can_is_offered() {
    let keys = "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz\r\n";
    let secure = format!("m=audio 4010 RTP/SAVP 0 101\r\n{keys}a=rtpmap:101 telephone-event/8000\r\n");
    let both = |at| sdp(at, "").replacen("m=audio", &format!("{secure}m=audio"), 1);
    let mut two = settings();
    two.trunks.push(Trunk::at("spare", Hop::udp(SPARE.parse().unwrap())));
    // What another trunk has a word on does not matter here.
    for outside in [vec![], vec![SrtpPolicy::Off, SrtpPolicy::Require]] {
        let srtp = SrtpSettings { inside: SrtpPolicy::Off, outside };
        let mut world = World::new(Settings { srtp, ..two.clone() });
        let mut caller = Phone::caller("call");
        world.send(TRUNK, &caller.request("INVITE", &both(TRUNK)));
        let invite = world.last(PBX);
        assert!(
            invite.contains("m=audio 0 RTP/SAVP 0 101\r\n") && invite.contains("m=audio 20006 RTP/AVP 0 101\r\n"),
            "{invite}"
        );
        let answer = sdp(PBX, "").replacen("m=audio", "m=audio 0 RTP/SAVP 0\r\nm=audio", 1);
        world.send(PBX, &response(&invite, "200 OK", "callee", &answer));
        let answer = world.last(TRUNK);
        assert!(answer.contains("m=audio 0 RTP/SAVP 0\r\nm=audio 20004 RTP/AVP 0 101\r\n"), "{answer}");
        assert!(world.events.contains(&"answered analysed=true ".to_owned()), "{:?}", world.events);
        caller.learn(&answer);
        world.send(TRUNK, &caller.ack());
        world.last(PBX);
        // What is offered within the call too.
        world.send(TRUNK, &caller.next("INVITE", &both(TRUNK)));
        let again = world.last(PBX);
        assert!(again.contains("m=audio 0 RTP/SAVP ") && again.contains("m=audio 20006 RTP/AVP "), "{again}");
        let answer = sdp(PBX, "").replacen("m=audio", "m=audio 0 RTP/SAVP 0\r\nm=audio", 1);
        world.send(PBX, &response(&again, "200 OK", "", &answer));
        world.send(TRUNK, &caller.ack());
        world.last(PBX);
        hang_up(world, &mut caller);
    }

    // A trunk that may know no encryption is offered it in the plain profile.
    let srtp = SrtpSettings { inside: SrtpPolicy::Off, outside: vec![SrtpPolicy::Offer] };
    let mut world = World::new(Settings { srtp, ..settings() });
    let caller = Phone::inside("out", "01632960002");
    world.send(PBX, &caller.request("INVITE", &both(PBX)));
    let invite = world.last(TRUNK);
    let (refused, taken) = invite.rsplit_once("m=audio ").unwrap();
    assert!(refused.contains("m=audio 0 RTP/SAVP ") && taken.starts_with("20006 RTP/AVP "), "{invite}");
    assert!(taken.contains("a=crypto:1 ") && !taken.contains("WVNf"), "{invite}");
    world.send(TRUNK, &response(&invite, "486 Busy Here", "trunk", ""));
    world.send(PBX, &caller.request("ACK", ""));
    world.last(PBX);
    world.rest();
}

#[test]
fn a_call_that_begins_on_hold_is_kept_while_it_is() {
    for (offer, answer) in [
        (sdp(TRUNK, "a=inactive\r\n"), sdp(PBX, "a=inactive\r\n")),
        (sdp(TRUNK, "a=sendonly\r\n"), sdp(PBX, "")),
        (sdp(TRUNK, ""), sdp(PBX, "a=sendonly\r\n")),
        (sdp(TRUNK, "").replace("IP4 192.0.2.10\r\nt=", "IP4 0.0.0.0\r\nt="), sdp(PBX, "")),
        (sdp(TRUNK, ""), String::new()),
    ] {
        let mut world = World::new(settings());
        let mut caller = Phone::caller("call");
        world.send(TRUNK, &caller.request("INVITE", &offer));
        let invite = world.last(PBX);
        if answer.is_empty() {
            // What was said while it rang is in force.
            world.send(PBX, &response(&invite, "183 Session Progress", "callee", &sdp(PBX, "a=inactive\r\n")));
        }
        world.send(PBX, &response(&invite, "200 OK", "callee", &answer));
        caller.learn(&world.last(TRUNK));
        world.send(TRUNK, &caller.ack());
        world.media_says(MediaEvent::Silent);
        assert_eq!(world.switchboard.sizes().calls, 1, "{offer}{answer}");
        assert!(world.events.contains(&"answered analysed=true ".to_owned()), "{:?}", world.events);

        world.send(TRUNK, &caller.next("INVITE", &sdp(TRUNK, "")));
        let offer = world.last(PBX);
        world.send(PBX, &response(&offer, "200 OK", "", &sdp(PBX, "")));
        world.send(TRUNK, &caller.ack());
        world.media_says(MediaEvent::Silent);
        assert_eq!(world.switchboard.sizes().calls, 0, "its media stop");
        world.rest();
    }
}

/// As gateways write addresses: no user before the `@`, no parameter behind a semicolon.
fn carelessly(message: &str) -> String {
    let lines = message.split("\r\n").map(|line| match line.split_once(": ") {
        Some(("From", value)) if value.starts_with("<sip:+441632960001@") => {
            format!("From: {} ;", value.replacen("sip:+441632960001@", "sip:@", 1))
        }
        Some(("Via" | "From" | "To" | "Contact" | "Record-Route", _)) => format!("{line};"),
        Some(_) | None => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\r\n")
}

#[test]
fn addresses_with_nothing_in_a_place_where_something_must_be_cost_nobody_the_call() {
    let mut world = World::new(settings());
    let mut caller = Phone::caller("call");
    let invite = saying(&caller.request("INVITE", &sdp(TRUNK, "")), "Record-Route: <sip:192.0.2.10;lr>\r\n");
    world.send(TRUNK, &carelessly(&invite));
    let invite = world.last(PBX);
    assert_eq!(header(&invite, "From"), format!("<sip:{TRUNK}>;tag=call"), "all behind us can read it");
    assert_eq!(header(&invite, "To"), "<sip:201@192.0.2.1:5060>");
    assert_eq!(world.caller_number(), None, "nobody calls");
    let mut callee = Phone::callee(&invite, "callee");
    world.send(PBX, &carelessly(&response(&invite, "200 OK", "callee", &sdp(PBX, ""))));
    let answer = world.last(TRUNK);
    assert!(answer.starts_with("SIP/2.0 200 ") && header(&answer, "To").ends_with(";tag=callee"), "{answer}");
    caller.learn(&answer);
    world.send(TRUNK, &carelessly(&caller.ack()));
    let ack = world.last(PBX);
    assert!(ack.starts_with("ACK sip:y@10.0.0.5:5060 "), "{ack}");
    world.send(PBX, &carelessly(&callee.next("INFO", "")));
    let info = world.last(TRUNK);
    assert!(info.starts_with("INFO sip:x@192.0.2.10:5060 ") && info.contains("Route: <sip:192.0.2.10;lr>"), "{info}");
    world.send(TRUNK, &carelessly(&response(&info, "200 OK", "", "")));
    assert!(world.last(PBX).starts_with("SIP/2.0 200 "));
    world.send(TRUNK, &carelessly(&caller.next("BYE", "")));
    let bye = world.last(PBX);
    world.send(PBX, &response(&bye, "200 OK", "", ""));
    assert!(world.last(TRUNK).starts_with("SIP/2.0 200 "));
    world.rest();
}

#[test]
fn what_may_mean_more_than_one_thing_is_still_refused() {
    let invite = Phone::caller("call").request("INVITE", &sdp(TRUNK, ""));
    for (old, new) in [
        (";tag=call\r\n", ";tag=call;;\r\n"),
        (";tag=call\r\n", ";tag=call;tag=other;\r\n"),
        (";tag=call\r\n", ";tag=call;x=\";\r\n"),
        ("<sip:+441632960001@", "<sip:@a@"),
        ("<sip:+441632960001@", "<sip:@"),
        ("Contact: <sip:x@192.0.2.10:5060>", "Contact: <sip:x@192.0.2.10:5060>;;;;"),
        ("Contact: <sip:x@192.0.2.10:5060>", "Contact: ;"),
    ] {
        let mut world = World::new(settings());
        let odd = invite.replacen(old, new, 1);
        assert_ne!(odd, invite);
        world.send(TRUNK, &odd);
        let said = world.newest_invite(PBX);
        // The only one that has one meaning.
        assert_eq!(said.is_some(), new == "<sip:@", "{new}");
    }
}

#[test]
fn who_calls_is_kept_in_the_words_of_older_equipment_as_in_those_of_newer() {
    let party =
        |mark: &str| format!("Remote-Party-ID: \"Desk\" <sip:201@pbx.example>;party=calling;privacy={mark}\r\n");
    let shows = |settings: &Settings, more: &str| {
        let mut world = World::new(settings.clone());
        let caller = Phone::inside("out", "01632960002");
        world.send(PBX, &caller.request_with("INVITE", more, &sdp(PBX, "")));
        !header(&world.last(TRUNK), "Remote-Party-ID").is_empty()
    };
    let mut shown = settings();
    for (identity, mark, known) in [
        (ShownIdentity::Trusted, "full", true),
        (ShownIdentity::Public, "off", true),
        (ShownIdentity::Public, "full", false),
        (ShownIdentity::Never, "off", false),
    ] {
        shown.trunks[0].shows_identity = identity;
        assert_eq!(shows(&shown, &party(mark)), known, "{identity:?} {mark}");
    }
    shown.trunks[0].shows_identity = ShownIdentity::Public;
    assert!(!shows(&shown, &(party("off") + "Privacy: id\r\n")));
    assert!(!shows(&shown, "Remote-Party-ID: \"x\" sip:201@pbx.example\r\n"), "what cannot be read may be private");

    for believes_identity in [true, false] {
        let mut settings = settings();
        settings.trunks[0].believes_identity = believes_identity;
        let mut world = World::new(settings);
        world.send(TRUNK, &Phone::caller("call").request_with("INVITE", &party("off"), &sdp(TRUNK, "")));
        assert_eq!(!header(&world.last(PBX), "Remote-Party-ID").is_empty(), believes_identity);
    }
}

#[test]
fn a_caller_whose_number_has_been_verified_is_known_by_it() {
    let mut world = World::new(settings());
    let asserted = "P-Asserted-Identity: <sip:%2B441632960007;verstat=TN-Validation-Passed@example.com;user=phone>\r\n";
    world.send(TRUNK, &Phone::caller("call").request_with("INVITE", asserted, &sdp(TRUNK, "")));

    assert_eq!(world.caller_number().as_deref(), Some("+441632960007"));
}

#[test]
fn a_probe_that_may_go_no_further_is_for_us() {
    let mut world = World::new(settings());
    for (user, code) in [("", "200"), ("201@", "483")] {
        let last = Phone::caller(code).request("OPTIONS", "").replace("Max-Forwards: 70", "Max-Forwards: 0");
        let last = last.replacen("OPTIONS sip:201@", &format!("OPTIONS sip:{user}"), 1);
        world.send(TRUNK, &last);
        let said = world.last(TRUNK);
        assert!(said.starts_with(&format!("SIP/2.0 {code} ")), "{said}");
    }
    world.rest();
}

#[test]
fn a_request_hears_that_there_is_no_room_on_a_connection_and_comes_again_by_itself_as_a_datagram() {
    let mut world = World::new(Settings { max_calls: 1, ..settings() });
    let trunk = Hop { address: TRUNK.parse().unwrap(), transport: Transport::Tcp };
    for (flow, told) in [(Flow::connected(0, trunk, ConnectionId(1)), true), (Flow::datagram(0, trunk.address), false)]
    {
        let full = world.switchboard.counters().table_full;
        // The PBX says nothing to any of them.
        for asked in 0.. {
            let message = Phone::caller(&format!("ask{asked}{told}")).request("MESSAGE", "");
            world.input(Input::Message { bytes: message.as_bytes(), flow });
            if world.switchboard.counters().table_full > full {
                break;
            }
        }
        let answer = world.receive(TRUNK);
        let refused = answer.as_ref().is_some_and(|answer| answer.starts_with("SIP/2.0 503 "));
        assert_eq!(refused, told, "{answer:?}");
    }
}
