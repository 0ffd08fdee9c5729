//! The boundary between PBX and trunks: who learns who calls, who may send a call on, what addresses are written.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs, reason = "tests")]

mod world;

use std::sync::Arc;

use ringfence::call::{Input, Redirects, Settings, ShownIdentity, Trunk};
use ringfence::sip::flow::Hop;
use world::{PBX, Phone, SPARE, TRUNK, US_INSIDE, US_OUTSIDE, World, expect, header, response, sdp, settings};

fn trusting(believes_identity: bool, shows_identity: ShownIdentity) -> Settings {
    let mut settings = settings();
    let trunk = &mut settings.trunks[0];
    (trunk.believes_identity, trunk.shows_identity) = (believes_identity, shows_identity);
    settings
}

fn lines(message: &str, name: &str) -> Vec<String> {
    let prefix = format!("{name}: ");
    message.split("\r\n").filter_map(|line| line.strip_prefix(&prefix)).map(str::to_owned).collect()
}

const WHO: &str =
    "P-Asserted-Identity: \"A\" <sip:+441632960099@provider.example>\r\nP-Preferred-Identity: <sip:x@y>\r\n";

#[test]
fn what_a_trunk_asserts_is_passed_on_where_it_is_believed() {
    for (believed, seen) in [(true, vec!["\"A\" <sip:+441632960099@provider.example>".to_owned()]), (false, vec![])] {
        let mut world = World::new(trusting(believed, ShownIdentity::Trusted));
        let caller = Phone::caller("call");
        world.send(TRUNK, &caller.request_with("INVITE", WHO, &sdp(TRUNK, "")));
        let invite = world.last(PBX);

        assert_eq!(lines(&invite, "P-Asserted-Identity"), seen);
        assert!(lines(&invite, "P-Preferred-Identity").is_empty(), "{invite}");
        // It is the caller's number by the rules, too.
        let number = if believed { "+441632960099" } else { "+441632960001" };
        assert_eq!(world.caller_number().as_deref(), Some(number));
        let busy = response(&invite, "486 Busy Here", "callee", "").replace("Contact:", &format!("{WHO}Contact:"));
        world.send(PBX, &busy);
        assert_eq!(lines(&world.last(TRUNK), "P-Asserted-Identity").len(), 1, "the PBX may say who was called");
        world.send(TRUNK, &caller.request("ACK", ""));
        world.rest();
    }
}

#[test]
fn who_the_pbx_says_is_calling_leaves_as_the_setting_and_the_caller_wish() {
    let private = "Privacy: header; id\r\n";
    for (shows, privacy, seen) in [
        (ShownIdentity::Trusted, "", 1),
        (ShownIdentity::Trusted, private, 1),
        (ShownIdentity::Public, "", 1),
        (ShownIdentity::Public, private, 0),
        (ShownIdentity::Public, "Privacy: none\r\n", 1),
        (ShownIdentity::Never, "", 0),
    ] {
        let mut world = World::new(trusting(true, shows));
        let caller = Phone::inside("out", "01632960002");
        world.send(PBX, &caller.request_with("INVITE", &format!("{WHO}{privacy}"), &sdp(PBX, "")));
        let invite = world.last(TRUNK);

        assert_eq!(lines(&invite, "P-Asserted-Identity").len(), seen, "{shows:?} {privacy}");
        assert_eq!(lines(&invite, "P-Preferred-Identity").len(), seen, "{shows:?} {privacy}");
        assert_eq!(lines(&invite, "Privacy").len(), usize::from(!privacy.is_empty()), "the wish itself stays");
        world.send(TRUNK, &response(&invite, "486 Busy Here", "trunk", ""));
        world.send(PBX, &caller.request("ACK", ""));
        world.rest();
    }
}

#[test]
fn an_identity_inside_a_call_is_screened_too() {
    let mut world = World::new(trusting(true, ShownIdentity::Never));
    let mut caller = Phone::caller("call");
    world.send(TRUNK, &caller.request("INVITE", &sdp(TRUNK, "")));
    let invite = world.last(PBX);
    let ok = response(&invite, "200 OK", "callee", &sdp(PBX, "")).replace("Contact:", &format!("{WHO}Contact:"));
    world.send(PBX, &ok);
    let ok = world.last(TRUNK);
    assert!(lines(&ok, "P-Asserted-Identity").is_empty(), "{ok}");
    caller.learn(&ok);
    world.send(TRUNK, &caller.ack());
    let mut callee = Phone::callee(&invite, "callee");
    callee.cseq += 1;
    world.send(PBX, &callee.request_with("UPDATE", WHO, ""));
    let update = world.last(TRUNK);
    assert!(lines(&update, "P-Asserted-Identity").is_empty(), "{update}");
    world.send(TRUNK, &response(&update, "200 OK", "", ""));
    world.hang_up((TRUNK, &mut caller), PBX);
    world.rest();
}

const ALL_WORDS: &str = "P-Asserted-Identity: <sip:+441632960099@pbx.example>\r\n\
                         Remote-Party-ID: <sip:+441632960099@pbx.example>\r\n\
                         Diversion: <sip:201@pbx.example>;reason=user-busy\r\n\
                         History-Info: <sip:201@pbx.example>;index=1\r\n";

/// Which trunk it went to is in nobody's request.
#[test]
fn what_a_trunk_learns_of_a_call_out_outlives_a_restart() {
    let settings = trusting(true, ShownIdentity::Never);
    let mut world = World::new(settings.clone());
    let mut caller = Phone::inside("out", "01632960002");
    world.send(PBX, &caller.request("INVITE", &sdp(PBX, "")));
    let invite = world.last(TRUNK);
    world.answer((TRUNK, "trunk"), &invite, (PBX, &mut caller));
    let mut later = settings;
    // Its name is not known yet.
    (later.trunks[0].targets, later.trunks[0].networks) = (Vec::new(), vec!["203.0.113.0/24".parse().unwrap()]);
    world.settings = Arc::new(later);
    world.kill_and_start(std::time::Duration::from_secs(1));

    world.send(PBX, &caller.next("UPDATE", "").replace("Contact:", &format!("{ALL_WORDS}Contact:")));

    let update = world.last(TRUNK);
    assert!(update.starts_with("UPDATE ") && !update.contains("pbx.example"), "{update}");
}

#[test]
fn what_a_trunk_learns_of_a_running_call_outlives_other_settings_and_a_new_name() {
    let secretive = |message: &str| assert!(!message.contains("pbx.example"), "{message}");
    let renamed = || {
        let mut settings = settings();
        settings.trunks[0].name = "new name".into();
        settings
    };
    for later in [trusting(true, ShownIdentity::Trusted), renamed()] {
        let mut world = World::new(trusting(true, ShownIdentity::Never));
        let mut caller = Phone::caller("call");
        world.send(TRUNK, &caller.request("INVITE", &sdp(TRUNK, "")));
        let invite = world.last(PBX);
        world.answer((PBX, "callee"), &invite, (TRUNK, &mut caller));
        world.input(Input::Settings(Arc::new(later)));

        for method in ["INVITE", "UPDATE"] {
            world.send(TRUNK, &caller.next(method, &sdp(TRUNK, "")));
            let again = world.last(PBX);
            let ok = response(&again, "200 OK", "", &sdp(PBX, ""));
            world.send(PBX, &ok.replace("Contact:", &format!("{ALL_WORDS}Contact:")));
            let ok = world.last(TRUNK);
            assert!(ok.starts_with("SIP/2.0 200 ") && header(&ok, "CSeq").ends_with(method), "{ok}");
            secretive(&ok);
            if method == "INVITE" {
                world.send(TRUNK, &caller.ack());
                world.last(PBX);
            }
        }
        // The next process knows the call by a name that nobody has.
        world.settings = Arc::new(renamed());
        world.kill_and_start(std::time::Duration::from_secs(1));
        let mut callee = Phone::callee(&invite, "callee");
        callee.cseq += 10;
        world.send(PBX, &callee.request_with("UPDATE", ALL_WORDS, ""));
        let update = world.last(TRUNK);
        assert!(update.starts_with("UPDATE "), "{update}");
        secretive(&update);
        world.send(TRUNK, &response(&update, "200 OK", "", ""));
        // Nor is the PBX told what such a trunk asserts.
        world.send(TRUNK, &caller.next("INFO", "").replace("Contact:", &format!("{ALL_WORDS}Contact:")));
        let info = world.last(PBX);
        assert!(info.starts_with("INFO "), "{info}");
        secretive(&info);
        world.send(PBX, &response(&info, "200 OK", "", ""));
        world.hang_up((TRUNK, &mut caller), PBX);
        world.rest();
    }
}

#[test]
fn a_private_caller_is_withheld_but_a_word_that_holds_id_is_not() {
    for (privacy, number) in
        [("id", None), ("user;critical", None), ("none", Some("+441632960099")), ("hidden", Some("+441632960099"))]
    {
        let mut world = World::new(settings());
        let caller = Phone::caller("call");
        world.send(TRUNK, &caller.request_with("INVITE", &format!("{WHO}Privacy: {privacy}\r\n"), &sdp(TRUNK, "")));

        assert_eq!(world.caller_number().as_deref(), number, "{privacy}");
        let invite = world.last(PBX);
        world.send(PBX, &response(&invite, "486 Busy Here", "callee", ""));
        world.send(TRUNK, &caller.request("ACK", ""));
        world.rest();
    }
}

fn redirect(request: &str, contacts: &str) -> String {
    let at = if header(request, "Via").contains(US_INSIDE) { PBX } else { TRUNK };
    response(request, "302 Moved Temporarily", "callee", "")
        .replace(&format!("Contact: <sip:y@{at}>"), &format!("Contact: {contacts}"))
}

#[test]
fn a_redirection_is_passed_on_unless_it_is_to_be_followed() {
    let mut world = World::new(settings());
    let caller = Phone::caller("call");
    world.send(TRUNK, &caller.request("INVITE", &sdp(TRUNK, "")));
    let invite = world.last(PBX);
    world.send(PBX, &redirect(&invite, "<sip:202@10.0.0.5>"));

    let moved = world.last(TRUNK);
    assert!(moved.starts_with("SIP/2.0 302 ") && header(&moved, "Contact") == "<sip:202@10.0.0.5>", "{moved}");
    world.send(TRUNK, &caller.request("ACK", ""));
    world.rest();
}

#[test]
fn a_followed_redirection_goes_on_at_the_pbx_and_says_so() {
    let mut world = World::new(Settings { redirects: Redirects::Follow, ..settings() });
    let mut caller = Phone::caller("call");
    world.send(TRUNK, &caller.request("INVITE", &sdp(TRUNK, "")));
    let invite = world.last(PBX);
    world.send(PBX, &redirect(&invite, "<sip:x@elsewhere.example>;q=0.9, <sip:202@10.0.0.5>;q=0.5"));
    let second = world.last(PBX);
    assert_eq!(lines(&second, "Diversion"), ["<sip:201@10.0.0.5:5060>;reason=deflection;counter=1"]);
    world.send(PBX, &redirect(&second, "<sip:203@10.0.0.5>"));
    let third = world.last(PBX);
    assert_eq!(
        lines(&third, "Diversion"),
        ["<sip:202@10.0.0.5:5060>;reason=deflection;counter=1", "<sip:201@10.0.0.5:5060>;reason=deflection;counter=1"]
    );
    assert_eq!(
        lines(&third, "History-Info"),
        [
            "<sip:201@10.0.0.5:5060?Reason=SIP%3Bcause%3D302>;index=1",
            "<sip:202@10.0.0.5:5060?Reason=SIP%3Bcause%3D302>;index=1.1;mp=1",
            "<sip:203@10.0.0.5:5060>;index=1.1.1;mp=1.1",
        ]
    );
    world.answer((PBX, "callee"), &third, (TRUNK, &mut caller));
    world.hang_up((TRUNK, &mut caller), PBX);

    expect(
        &mut world,
        "
             0 trunk > INVITE sip:201@192.0.2.1:5060 sdp
             0       > pbx INVITE sip:201@10.0.0.5:5060 sdp
             0 pbx > 302 Moved Temporarily (1 INVITE)
             0       > pbx ACK sip:201@10.0.0.5:5060
             0       > pbx INVITE sip:202@10.0.0.5:5060 sdp
             0 pbx > 302 Moved Temporarily (2 INVITE)
             0       > pbx ACK sip:202@10.0.0.5:5060
             0       > pbx INVITE sip:203@10.0.0.5:5060 sdp
             0 pbx > 200 OK (3 INVITE) sdp
             0       > trunk 200 OK (1 INVITE) sdp
             0 trunk > ACK sip:y@192.0.2.1:5060
             0       > pbx ACK sip:y@10.0.0.5:5060
             0 trunk > BYE sip:y@192.0.2.1:5060
             0       > pbx BYE sip:y@10.0.0.5:5060
             0 pbx > 200 OK (4 BYE)
             0       > trunk 200 OK (2 BYE)
        ",
    );
    world.rest();
}

#[test]
fn a_phone_that_has_rung_may_still_send_the_call_on() {
    let mut world = World::new(Settings { redirects: Redirects::Follow, ..settings() });
    let mut caller = Phone::caller("call");
    world.send(TRUNK, &caller.request("INVITE", &sdp(TRUNK, "")));
    let invite = world.last(PBX);
    world.send(PBX, &response(&invite, "180 Ringing", "first", ""));
    world.run(std::time::Duration::from_secs(10));
    world.send(PBX, &redirect(&invite, "<sip:202@10.0.0.5>"));
    let second = world.last(PBX);
    assert!(second.starts_with("INVITE sip:202@10.0.0.5:5060 "), "{second}");
    // The same one again would be a loop to it.
    assert_eq!((header(&invite, "CSeq"), header(&second, "CSeq")), ("1 INVITE", "2 INVITE"));
    world.send(PBX, &response(&second, "180 Ringing", "second", ""));
    let ringing = world.last(TRUNK);
    assert!(ringing.starts_with("SIP/2.0 180 ") && header(&ringing, "CSeq") == "1 INVITE", "{ringing}");
    world.answer((PBX, "second"), &second, (TRUNK, &mut caller));
    let ack = world.last(PBX);
    assert_eq!(header(&ack, "CSeq"), "2 ACK");
    world.hang_up((TRUNK, &mut caller), PBX);
    world.rest();
}

#[test]
fn a_redirection_in_a_circle_or_to_elsewhere_is_the_callers() {
    for contacts in ["<sip:201@10.0.0.5>", "<sip:+4490012345@premium.example>", "<mailto:x@y>", "<sip:10.0.0.5>"] {
        let mut world = World::new(Settings { redirects: Redirects::Follow, ..settings() });
        let caller = Phone::caller("call");
        world.send(TRUNK, &caller.request("INVITE", &sdp(TRUNK, "")));
        let invite = world.last(PBX);
        world.send(PBX, &redirect(&invite, contacts));

        assert!(world.last(TRUNK).starts_with("SIP/2.0 302 "), "{contacts}");
        world.send(TRUNK, &caller.request("ACK", ""));
        world.rest();
    }
    // And not for ever.
    let mut world = World::new(Settings { redirects: Redirects::Follow, ..settings() });
    let caller = Phone::caller("call");
    world.send(TRUNK, &caller.request("INVITE", &sdp(TRUNK, "")));
    let mut turns = 0;
    while let Some(invite) = world.newest_invite(PBX) {
        world.send(PBX, &redirect(&invite, &format!("<sip:3{turns}@10.0.0.5>")));
        turns += 1;
    }
    assert_eq!(turns, 4);
    assert!(world.last(TRUNK).starts_with("SIP/2.0 302 "));
    world.send(TRUNK, &caller.request("ACK", ""));
    world.rest();
}

#[test]
fn path_stays_on_this_side_and_service_routes_reach_the_trunk() {
    let mut world = World::new(settings());
    let phone = Phone::inside("register", "x");
    let register = phone.request_with("REGISTER", "Supported: path\r\nPath: <sip:edge@10.0.0.9;lr>\r\n", "");
    world.send(PBX, &register.replace(&format!("sip:x@{US_INSIDE}"), "sip:192.0.2.10"));
    let seen = world.last(TRUNK);
    assert!(lines(&seen, "Path").is_empty() && seen.contains("Contact: <sip:x@192.0.2.1:5060>"), "{seen}");
    let ok = response(&seen, "200 OK", "registrar", "")
        .replace("Contact:", "Service-Route: <sip:orig@192.0.2.10;lr>\r\nContact:")
        .replace(&format!("<sip:y@{TRUNK}>"), "<sip:x@192.0.2.1:5060>;expires=300");
    world.send(TRUNK, &ok);
    let answer = world.last(PBX);
    assert_eq!(lines(&answer, "Path"), ["<sip:edge@10.0.0.9;lr>"]);
    assert_eq!(lines(&answer, "Service-Route"), ["<sip:orig@192.0.2.10;lr>"]);

    // The PBX sends its calls by us and by that route.
    let caller = Phone::inside("out", "01632960002");
    let routes = format!("Route: <sip:{US_INSIDE};lr>, <sip:orig@192.0.2.10;lr>\r\n");
    world.send(PBX, &caller.request_with("INVITE", &routes, &sdp(PBX, "")));
    let invite = world.last(TRUNK);
    assert_eq!(lines(&invite, "Route"), ["<sip:orig@192.0.2.10;lr>"]);
    world.send(TRUNK, &response(&invite, "486 Busy Here", "trunk", ""));
    world.send(PBX, &caller.request("ACK", ""));
    // What comes from outside brings no routes along.
    let caller = Phone::caller("call");
    world.send(TRUNK, &caller.request_with("INVITE", "Route: <sip:evil.example;lr>\r\n", &sdp(TRUNK, "")));
    let invite = world.last(PBX);
    assert!(lines(&invite, "Route").is_empty(), "{invite}");
    world.send(PBX, &response(&invite, "486 Busy Here", "callee", ""));
    world.send(TRUNK, &caller.request("ACK", ""));
    world.rest();
}

#[test]
fn behind_a_router_the_outside_sees_public_addresses_and_the_inside_does_not() {
    let public = Settings {
        public_address: Some("203.0.113.5".parse().unwrap()),
        public_media_address: Some("203.0.113.6".parse().unwrap()),
        ..settings()
    };
    let mut world = World::new(public);
    let mut caller = Phone::inside("out", "01632960002");
    world.send(PBX, &caller.request("INVITE", &sdp(PBX, "")));
    let invite = world.last(TRUNK);
    assert!(header(&invite, "Via").starts_with("SIP/2.0/UDP 203.0.113.5:5060;"), "{invite}");
    assert_eq!(header(&invite, "Contact"), "<sip:x@203.0.113.5:5060>");
    assert!(invite.contains("c=IN IP4 203.0.113.6\r\n") && !invite.contains("IP4 10."), "{invite}");
    world.send(TRUNK, &response(&invite, "200 OK", "trunk", &sdp(TRUNK, "")));
    let ok = world.last(PBX);
    assert!(ok.contains("c=IN IP4 10.0.0.1\r\n") && header(&ok, "Contact").contains(US_INSIDE), "{ok}");
    caller.learn(&ok);
    world.send(PBX, &caller.ack());
    // A peer behind a router of its own is answered where its packets come from.
    let bye = caller.next("BYE", "").replace(&format!("UDP {PBX}"), "UDP 192.168.7.7:5060");
    world.send(PBX, &bye);
    let passed = world.last(TRUNK);
    world.send(TRUNK, &response(&passed, "200 OK", "", ""));
    let answer = world.last(PBX);
    assert!(
        header(&answer, "Via").contains("received=10.0.0.5") && header(&answer, "Via").contains("rport=5060"),
        "{answer}"
    );
    world.rest();
    assert!(US_OUTSIDE.starts_with("192.0.2.1"));
}

#[test]
fn a_redirection_by_a_trunk_stays_with_that_trunk() {
    let mut settings = Settings { redirects: Redirects::Follow, ..settings() };
    settings.trunks[0].host = "provider.example".into();
    settings.trunks.push(Trunk::at("spare", Hop::udp(SPARE.parse().unwrap())));
    let mut world = World::new(settings);
    let caller = Phone::inside("out", "01632960002");
    world.send(PBX, &caller.request("INVITE", &sdp(PBX, "")));
    let invite = world.last(TRUNK);
    world.send(TRUNK, &redirect(&invite, "<sip:+441632960003@provider.example>"));
    let invite = world.last(TRUNK);

    assert!(invite.starts_with("INVITE sip:+441632960003@provider.example SIP/2.0\r\n"), "{invite}");
    world.send(TRUNK, &response(&invite, "486 Busy Here", "trunk", ""));
    world.send(PBX, &caller.request("ACK", ""));
    world.rest();
}

const BEFORE: &str = "History-Info: <sip:200@pbx.example>;index=1, \
                      \"Boss\" <sip:201@pbx.example?Privacy=history&Reason=SIP%3Bcause%3D302>;index=1.1;rc=1\r\n\
                      Diversion: \"Boss\" <sip:201@pbx.example>;reason=user-busy;privacy=full;counter=1\r\n\
                      Diversion: <sip:200@pbx.example>;reason=unconditional;privacy=off\r\n";

fn ways(message: &str) -> String {
    let header = |name| lines(message, name).into_iter().map(move |value| format!("{name}: {value}\r\n"));
    header("History-Info").chain(header("Diversion")).collect()
}

#[test]
fn where_a_call_has_been_before_comes_in_where_the_trunk_is_believed() {
    for (believed, seen) in [(true, BEFORE), (false, "")] {
        let settings = Settings { redirects: Redirects::Follow, ..trusting(believed, ShownIdentity::Trusted) };
        let mut world = World::new(settings);
        let mut caller = Phone::caller("call");
        world.send(TRUNK, &caller.request_with("INVITE", BEFORE, &sdp(TRUNK, "")));
        let invite = world.last(PBX);
        assert_eq!(ways(&invite), seen);
        // A turn of its own goes on from there, or begins a history.
        world.send(PBX, &redirect(&invite, "<sip:202@10.0.0.5>"));
        let second = world.last(PBX);
        let last = lines(&second, "History-Info").pop().unwrap();
        assert_eq!(last.ends_with(";index=1.1.1;mp=1.1"), believed, "{last}");
        assert_eq!(last.ends_with(";index=1.1;mp=1"), !believed, "{last}");
        // What the PBX says in its answer goes out to a trunk that is trusted.
        let ok = response(&second, "200 OK", "callee", &sdp(PBX, "")).replace("Contact:", &format!("{BEFORE}Contact:"));
        world.send(PBX, &ok);
        let ok = world.last(TRUNK);
        assert_eq!(ways(&ok), BEFORE);
        caller.learn(&ok);
        world.send(TRUNK, &caller.ack());
        world.hang_up((TRUNK, &mut caller), PBX);
        world.rest();
    }
}

#[test]
fn where_a_call_has_been_before_goes_out_as_the_setting_and_the_callee_before_wish() {
    let anonymous = |text: &str| text.replace("sip:200@pbx.example", "sip:anonymous@anonymous.invalid");
    let public = BEFORE
        .replace("\"Boss\"", "Anonymous")
        .replace("sip:201@pbx.example?Privacy=history&Reason=SIP%3Bcause%3D302", "sip:anonymous@anonymous.invalid")
        .replace("sip:201@pbx.example", "sip:anonymous@anonymous.invalid");
    let unreadable = BEFORE.replace("<sip:200@pbx.example>;index=1,", "nobody knows,");
    let diversions = public.split_once("Diversion").map(|(_, rest)| format!("Diversion{rest}")).unwrap();
    for (shows, privacy, said, seen) in [
        (ShownIdentity::Trusted, "history", BEFORE, BEFORE.to_owned()),
        (ShownIdentity::Public, "id", BEFORE, public.clone()),
        (ShownIdentity::Public, "none", BEFORE, public.clone()),
        (ShownIdentity::Public, "history", BEFORE, anonymous(&public)),
        (ShownIdentity::Public, "id;header", BEFORE, anonymous(&public)),
        (ShownIdentity::Public, "none", &unreadable, diversions),
        (ShownIdentity::Never, "none", BEFORE, String::new()),
    ] {
        let mut world = World::new(trusting(true, shows));
        let caller = Phone::inside("out", "01632960002");
        world.send(PBX, &caller.request_with("INVITE", &format!("{said}Privacy: {privacy}\r\n"), &sdp(PBX, "")));
        let invite = world.last(TRUNK);

        assert_eq!(ways(&invite), seen, "{shows:?} {privacy}");
        world.send(TRUNK, &response(&invite, "486 Busy Here", "trunk", ""));
        world.send(PBX, &caller.request("ACK", ""));
        world.rest();
    }
}

#[test]
fn a_mangled_history_shows_nothing_that_is_private() {
    let mut taken = 0;
    for cut in 0..BEFORE.len() {
        let said: String =
            BEFORE.char_indices().filter(|(at, c)| *at != cut || c.is_control()).map(|(_, c)| c).collect();
        let mut world = World::new(trusting(true, ShownIdentity::Public));
        let caller = Phone::inside("out", "01632960002");
        world.send(PBX, &caller.request_with("INVITE", &format!("{said}Privacy: history\r\n"), &sdp(PBX, "")));

        let sent = world.newest_invite(TRUNK).unwrap_or_default();
        assert!(!ways(&sent).contains("pbx.example"), "{cut}: {sent}");
        taken += usize::from(!sent.is_empty());
    }
    assert!(taken > BEFORE.len() / 2, "{taken}");
}
