//! Calls of the PBX for help: what they carry arrives, and nothing that can be set stops one.

use std::sync::Arc;
use std::time::Duration;

use ringfence::call::{Settings, ShownIdentity, SrtpPolicy, SrtpSettings, Trunk};
use ringfence::policy::action::{Rejection, Route};
use ringfence::policy::rules::{Policy, Rule};
use ringfence::rtp::control::MediaEvent;
use ringfence::rtp::srtp::MasterKey;
use ringfence::sip::flow::Hop;

use super::S;
use super::world::{PBX, Phone, SPARE, TRUNK, US_INSIDE, World, header, response, sdp, settings};

const LOCATION: &str = "Priority: emergency\r\nGeolocation: <cid:here@pbx.example>\r\nGeolocation-Routing: yes\r\n\
                        Require: geolocation\r\n";

/// A call of the PBX that asks for this URI.
fn calls(uri: &str) -> Phone {
    let target = uri.to_owned();
    Phone { remote: format!("<{uri}>"), target, ..Phone::inside("help", "x") }
}

/// A description, and where the caller is.
fn with_location(request: &str) -> String {
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let place = "--b\r\nContent-Type: application/pidf+xml\r\nContent-ID: <here@pbx.example>\r\n\r\n\
                 <presence xmlns=\"urn:ietf:params:xml:ns:pidf\"><gp:pos>51.5 -0.1</gp:pos></presence>\r\n";
    let body = format!("--b\r\nContent-Type: application/sdp\r\n\r\n{body}\r\n{place}--b--\r\n");
    let lines = head.split("\r\n").filter(|line| !line.starts_with("Content-"));
    let head: String = lines.map(|line| format!("{line}\r\n")).collect();
    format!("{head}Content-Type: multipart/mixed;boundary=b\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

#[test]
fn a_service_is_called_by_its_name_and_learns_where_the_caller_is() {
    for uri in ["urn:service:sos", "urn:service:sos.ambulance", "sip:112@10.0.0.1", "tel:911;phone-context=+1"] {
        let mut world = World::new(settings());
        let mut caller = calls(uri);
        world.send(PBX, &with_location(&caller.request_with("INVITE", LOCATION, &sdp(PBX, ""))));
        let invite = world.last(TRUNK);
        let named = uri.starts_with("urn:");
        assert!(!named || invite.starts_with(&format!("INVITE {uri} SIP/2.0\r\n")), "{invite}");
        assert!(invite.contains(LOCATION) && invite.contains("51.5 -0.1"), "{invite}");
        assert!(invite.contains("c=IN IP4 192.0.2.1\r\n") && !invite.contains("c=IN IP4 10."), "{invite}");
        assert!(world.events.contains(&"routed connect by emergency done".to_owned()), "{:?}", world.events);
        world.answer((TRUNK, "psap"), &invite, (PBX, &mut caller));
        let ack = world.last(TRUNK);
        assert!(ack.starts_with("ACK "), "{ack}");

        // Nobody can speak, and the line stays open as long as both telephones are there.
        world.media_says(MediaEvent::Silent);
        assert_eq!(world.switchboard.sizes().calls, 1, "{uri}");
        world.hang_up((PBX, &mut caller), TRUNK);
        world.rest();
    }
}

#[test]
fn a_service_that_is_called_from_outside_is_called_like_anybody() {
    let rule = Rule { name: "nobody".into(), when: vec![], route: Route::Reject(Rejection::Busy) };
    let policy = Arc::new(Policy { rules: vec![rule], ..Policy::default() });
    let mut world = World::new(Settings { policy, ..settings() });
    let caller = Phone { target: "urn:service:sos".to_owned(), ..Phone::caller("call") };
    world.send(TRUNK, &caller.request("INVITE", &sdp(TRUNK, "")));
    assert!(world.last(TRUNK).starts_with("SIP/2.0 486 "));
    world.send(TRUNK, &caller.request("ACK", ""));
    world.rest();
}

type Invite = fn(&Phone) -> String;

/// What an ordinary call is refused for, as settings and as an INVITE.
fn obstacles() -> Vec<(&'static str, Settings, Invite)> {
    let plain: Invite = |caller| caller.request("INVITE", &sdp(PBX, ""));
    let srtp = |inside, outside| SrtpSettings { inside, outside: vec![outside] };
    vec![
        ("room", Settings { max_calls: 0, ..settings() }, plain),
        ("codecs", Settings { codecs: vec!["opus"], ..settings() }, plain),
        ("srtp", Settings { srtp: srtp(SrtpPolicy::Require, SrtpPolicy::Off), ..settings() }, plain),
        ("a description that cannot be read", settings(), |caller| {
            caller.request("INVITE", &sdp(PBX, "").replacen("v=0\r\n", "v=0\r", 1))
        }),
        ("an unknown wish", settings(), |caller| {
            caller.request_with("INVITE", "Proxy-Require: teleport\r\n", &sdp(PBX, ""))
        }),
    ]
}

#[test]
fn what_an_ordinary_call_is_refused_for_does_not_stop_a_call_for_help() {
    for (obstacle, settings, invite) in obstacles() {
        let mut world = World::new(settings.clone());
        let caller = Phone::inside("other", "01632960002");
        world.send(PBX, &invite(&caller));
        let refused = world.last(PBX);
        assert!(refused.starts_with("SIP/2.0 4") || refused.starts_with("SIP/2.0 503 "), "{obstacle}: {refused}");
        world.send(PBX, &caller.request("ACK", ""));

        let mut caller = calls("sip:+44999@10.0.0.1");
        world.send(PBX, &invite(&caller));
        let asked = world.last(TRUNK);
        assert!(asked.starts_with("INVITE "), "{obstacle}: {asked}");
        world.answer((TRUNK, "psap"), &asked, (PBX, &mut caller));
        world.last(TRUNK);
        // Nor does it stop what is offered in the call.
        if obstacle != "an unknown wish" {
            caller.cseq += 1;
            world.send(PBX, &invite(&caller));
            let again = world.last(TRUNK);
            assert!(again.starts_with("INVITE "), "{obstacle}: {again}");
            world.send(TRUNK, &response(&again, "488 Not Acceptable Here", "", ""));
            world.send(PBX, &caller.request("ACK", ""));
            world.last(TRUNK);
        }
        world.hang_up((PBX, &mut caller), TRUNK);
        world.rest();
    }
}

#[test]
fn helpers_who_do_not_encrypt_are_spoken_to_all_the_same() {
    let srtp = SrtpSettings { inside: SrtpPolicy::Require, outside: vec![SrtpPolicy::Require] };
    let mut world = World::new(Settings { srtp, ..settings() });
    let mut caller = calls("sip:112@10.0.0.1");
    world.send(PBX, &caller.request("INVITE", &sdp(PBX, "")));
    let invite = world.last(TRUNK);
    assert!(invite.contains(" RTP/SAVP ") && invite.contains("a=crypto:"), "a trunk that has to is asked to: {invite}");
    world.send(TRUNK, &response(&invite, "200 OK", "psap", &sdp(TRUNK, "")));
    let answer = world.last(PBX);
    assert!(answer.contains(" RTP/AVP ") && !answer.contains("crypto"), "{answer}");
    caller.learn(&answer);
    world.send(PBX, &caller.ack());
    assert_eq!(world.switchboard.sizes().calls, 1);
    world.last(TRUNK);
    world.send(PBX, &caller.next("INVITE", &sdp(PBX, "")));
    let again = world.last(TRUNK);
    assert!(again.contains(" RTP/AVP ") && !again.contains("crypto"), "{again}");
    world.send(TRUNK, &response(&again, "200 OK", "psap", &sdp(TRUNK, "")));
    world.send(PBX, &caller.ack());
    world.last(TRUNK);
    world.hang_up((PBX, &mut caller), TRUNK);
    world.rest();
}

#[test]
fn a_trunk_that_is_down_is_not_the_only_way_to_help() {
    let mut both = settings();
    both.trunks.push(Trunk::at("spare", Hop::udp(SPARE.parse().unwrap())));
    for number in ["01632960002", "999"] {
        let mut world = World::new(both.clone());
        let mut caller = calls(&format!("sip:{number}@{TRUNK}"));
        world.send(PBX, &caller.request("INVITE", &sdp(PBX, "")));
        let invite = world.last(TRUNK);
        world.send(TRUNK, &response(&invite, "503 Service Unavailable", "trunk", ""));
        if number == "999" {
            let invite = world.last(SPARE);
            assert!(invite.starts_with(&format!("INVITE sip:999@{SPARE} SIP/2.0\r\n")), "{invite}");
            world.answer((SPARE, "spare"), &invite, (PBX, &mut caller));
            world.last(SPARE);
            world.hang_up((PBX, &mut caller), SPARE);
        } else {
            assert!(world.last(PBX).starts_with("SIP/2.0 503 "), "its URI names its trunk");
            world.send(PBX, &caller.request("ACK", ""));
        }
        world.forget_peer(TRUNK);
        // The host that failed is asked whether it answers again.
        world.run(Duration::from_secs(60));
    }
}

/// A line that is barred, or a provider that does not serve the number.
#[test]
fn a_trunk_that_refuses_a_call_for_help_is_not_the_only_way_either() {
    let both = || {
        let mut settings = settings();
        settings.trunks.push(Trunk::at("spare", Hop::udp(SPARE.parse().unwrap())));
        World::new(settings)
    };
    for (refusal, speaks) in [
        ("403 Forbidden", false),
        ("404 Not Found", true),
        ("408 Request Timeout", false),
        ("408 Request Timeout", true),
        ("488 Not Acceptable Here", false),
        ("500 Server Internal Error", false),
        ("503 Service Unavailable", false),
        ("503 Service Unavailable", true),
    ] {
        let mut world = both();
        let mut caller = calls("sip:112@10.0.0.1");
        world.send(PBX, &caller.request("INVITE", &sdp(PBX, "")));
        let invite = world.last(TRUNK);
        if speaks {
            world.send(TRUNK, &response(&invite, "183 Session Progress", "no", &sdp(TRUNK, "")));
            world.last(PBX);
        }
        world.send(TRUNK, &response(&invite, refusal, "no", ""));
        world.last(TRUNK);
        let invite = world.last(SPARE);
        world.answer((SPARE, "psap"), &invite, (PBX, &mut caller));
        world.last(SPARE);
        world.hang_up((PBX, &mut caller), SPARE);
        world.forget_peer(TRUNK);
        // The host that failed is asked whether it answers again.
        world.run(Duration::from_secs(60));
    }
    for (uri, answer) in [("sip:112@10.0.0.1", "486 Busy Here"), ("sip:01632960002@10.0.0.1", "403 Forbidden")] {
        let mut world = both();
        let caller = calls(uri);
        world.send(PBX, &caller.request("INVITE", &sdp(PBX, "")));
        let invite = world.last(TRUNK);
        world.send(TRUNK, &response(&invite, answer, "no", ""));
        world.last(TRUNK);
        assert!(world.last(PBX).starts_with(&format!("SIP/2.0 {answer}")));
        world.send(PBX, &caller.request("ACK", ""));
        assert_eq!(world.receive(SPARE), None);
        world.rest();
    }
}

/// A voice that says why not is no telephone that rings, wherever it was heard.
#[test]
fn what_one_trunk_has_said_does_not_stop_a_call_for_help_at_the_next() {
    const THIRD: &str = "203.0.113.30:5060";
    for says in ["503 Service Unavailable", "408 Request Timeout", ""] {
        let mut settings = settings();
        for (name, host) in [("spare", SPARE), ("third", THIRD)] {
            settings.trunks.push(Trunk::at(name, Hop::udp(host.parse().unwrap())));
        }
        let mut world = World::new(settings);
        let mut caller = calls("sip:112@10.0.0.1");
        world.send(PBX, &caller.request("INVITE", &sdp(PBX, "")));
        let invite = world.last(TRUNK);
        world.send(TRUNK, &response(&invite, "183 Session Progress", "no", &sdp(TRUNK, "")));
        world.send(TRUNK, &response(&invite, "404 Not Found", "no", ""));
        let invite = world.last(SPARE);
        if says.is_empty() {
            world.run(Duration::from_secs(5));
        } else {
            world.send(SPARE, &response(&invite, says, "no", ""));
        }

        let invite = world.last(THIRD);
        assert!(invite.starts_with("INVITE "), "{says}: {invite}");
        world.answer((THIRD, "psap"), &invite, (PBX, &mut caller));
        world.last(THIRD);
        world.hang_up((PBX, &mut caller), THIRD);
    }
}

#[test]
fn helpers_learn_who_calls_unless_no_identity_is_for_that_trunk() {
    const WHO: &str = "P-Asserted-Identity: <sip:201@pbx.example>\r\nPrivacy: id\r\n";
    for (shows_identity, known) in [(ShownIdentity::Public, true), (ShownIdentity::Never, false)] {
        let mut settings = settings();
        settings.trunks[0].shows_identity = shows_identity;
        let mut world = World::new(settings);
        for (uri, known) in [("sip:01632960002@10.0.0.1", false), ("sip:112@10.0.0.1", known)] {
            let caller = Phone { call_id: uri.to_owned(), ..calls(uri) };
            let invite =
                caller.request_with("INVITE", WHO, &sdp(PBX, "")).replace("z9hG4bK", &format!("z9hG4bK{}", uri.len()));
            world.send(PBX, &invite);
            let invite = world.last(TRUNK);
            assert_eq!(!header(&invite, "P-Asserted-Identity").is_empty(), known, "{uri}");
            world.send(TRUNK, &response(&invite, "486 Busy Here", "psap", ""));
            world.last(PBX);
        }
    }
}

#[test]
fn nothing_is_asked_of_helpers_that_they_may_refuse() {
    let mut world = World::new(Settings { session_timer: Some(S(1_800)), ..settings() });
    let caller = calls("sip:112@10.0.0.1");
    world.send(PBX, &caller.request("INVITE", &sdp(PBX, "")));
    let invite = world.last(TRUNK);
    assert_eq!(header(&invite, "Session-Expires"), "", "{invite}");
    world.send(TRUNK, &response(&invite, "486 Busy Here", "psap", ""));
    world.send(PBX, &caller.request("ACK", ""));
    world.rest();
}

#[test]
fn a_call_for_help_is_known_before_it_is_read() {
    let world = World::new(settings());
    let asks = |from: &str, uri: &str| {
        let bytes = format!("INVITE {uri} SIP/2.0\r\nVia: x\r\n\r\n");
        world.switchboard.asks_for_help(from.parse().unwrap(), bytes.as_bytes())
    };
    for uri in ["sip:112@10.0.0.1", "urn:service:sos.police", "tel:999", "sips:+911@[::1]:5061;transport=tls"] {
        assert!(asks(PBX, uri), "{uri}");
        assert!(!asks(TRUNK, uri), "{uri}");
    }
    assert!(!asks(PBX, &format!("sip:201@{US_INSIDE}")) && !asks(PBX, "") && !asks(PBX, "sip:112"));
}

#[test]
fn a_table_full_of_other_requests_has_room_for_a_call_for_help() {
    let mut world = World::new(Settings { max_calls: 1, ..settings() });
    let mut asked = 0;
    // The trunk says nothing to any of them.
    while world.switchboard.counters().table_full == 0 {
        let name = format!("ask{asked}");
        world.send(PBX, &Phone::inside(&name, "201").request("MESSAGE", ""));
        asked += 1;
    }
    world.forget_peer(TRUNK);
    world.send(PBX, &Phone::inside("other", "01632960002").request("INVITE", &sdp(PBX, "")));
    assert!(world.newest_invite(TRUNK).is_none(), "no room");

    let mut caller = calls("sip:112@10.0.0.1");
    world.send(PBX, &caller.request("INVITE", &sdp(PBX, "")));
    let invite = world.newest_invite(TRUNK).unwrap();
    world.answer((TRUNK, "psap"), &invite, (PBX, &mut caller));
    world.last(TRUNK);
    world.hang_up((PBX, &mut caller), TRUNK);
    world.rest();
}

#[test]
fn a_fax_passes_in_a_call_for_help_though_nothing_plain_may() {
    let fax =
        |at: &str| sdp(at, "").replace("m=audio 4000", "m=audio 0") + "m=image 4004 udptl t38\r\na=T38FaxVersion:0\r\n";
    let srtp = SrtpSettings { inside: SrtpPolicy::Off, outside: vec![SrtpPolicy::Require] };
    let mut world = World::new(Settings { srtp, ..settings() });
    let mut caller = calls("sip:112@10.0.0.1");
    world.send(PBX, &caller.request("INVITE", &sdp(PBX, "")));
    let invite = world.last(TRUNK);
    let key = MasterKey::new([1; 30]).to_base64();
    let keyed = sdp(TRUNK, &format!("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{key}\r\n"));
    world.send(TRUNK, &response(&invite, "200 OK", "psap", &keyed.replace("RTP/AVP", "RTP/SAVP")));
    caller.learn(&world.last(PBX));
    world.send(PBX, &caller.ack());
    world.last(TRUNK);
    world.ladder();
    world.media_in_ladder = true;

    world.send(PBX, &caller.next("INVITE", &fax(PBX)));
    let offer = world.last(TRUNK);
    world.send(TRUNK, &response(&offer, "200 OK", "", &fax(TRUNK)));
    world.send(PBX, &caller.ack());

    let ladder = world.ladder();
    assert!(ladder.contains("* plan caller [] fax") && ladder.contains("* plan callee [] srtp fax"), "{ladder}");
    world.last(TRUNK);
    world.hang_up((PBX, &mut caller), TRUNK);
    world.rest();
}
