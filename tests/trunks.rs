//! Trunks against golden message ladders: registration, credentials, failover, who speaks for a trunk.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs, reason = "tests")]

mod world;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ringfence::call::{Input, Local, Settings, Trunk, Way};
use ringfence::sip::flow::Hop;
use ringfence::trunk::{Credentials, Dice, Register, Secret, Target};
use world::{PBX, Phone, SPARE, TRUNK, US_INSIDE, US_OUTSIDE, World, expect, header, response, sdp, settings};

const MS: fn(u64) -> Duration = Duration::from_millis;
/// A host of the provider that no setting names.
const ELSEWHERE: &str = "203.0.113.77:5060";

fn register() -> Register {
    let credentials = Credentials { user: "441632960001".into(), password: Secret::new("secret"), realm: None };
    let (user, token) = (Arc::clone(&credentials.user), credentials.token("provider").into());
    Register { user, token, credentials, expires: Duration::from_secs(600) }
}

fn registering() -> Settings {
    let mut settings = settings();
    settings.trunks[0].register = Some(register());
    settings
}

fn two_trunks() -> Settings {
    let mut settings = settings();
    settings.trunks.push(Trunk::at("spare", Hop::udp(SPARE.parse().unwrap())));
    settings
}

fn challenge(request: &str, status: &str, scheme: &str) -> String {
    let line =
        format!("{scheme}: Digest realm=\"provider\", nonce=\"n{}\", qop=\"auth\"", header(request, "CSeq").len());
    let weaker = format!("{line}\r\n{}, algorithm=SHA-256", line.replace("\"n", "\"s"));
    response(request, status, "trunk", "").replace("Contact:", &format!("{weaker}\r\nContact:"))
}

fn granted(request: &str, seconds: u32) -> String {
    let contact = header(request, "Contact");
    response(request, "200 OK", "registrar", "")
        .replace(&format!("Contact: <sip:y@{TRUNK}>"), &format!("Contact: {contact};expires={seconds}"))
}

/// A world whose trunk is registered with; the ladder is emptied.
fn registered() -> World {
    let mut world = World::new(registering());
    world.input(Input::Start);
    let request = world.last(TRUNK);
    world.send(TRUNK, &challenge(&request, "401 Unauthorized", "WWW-Authenticate"));
    let request = world.last(TRUNK);
    world.send(TRUNK, &granted(&request, 600));
    world.ladder();
    world
}

/// Takes the registration back, so that nothing is left.
fn unregister(world: &mut World) {
    world.input(Input::Drain);
    let request = world.last(TRUNK);
    assert!(header(&request, "Expires") == "0", "{request}");
    world.send(TRUNK, &response(&request, "200 OK", "registrar", ""));
}

#[test]
fn a_trunk_is_registered_with_refreshed_and_taken_back() {
    let mut world = World::new(registering());
    world.input(Input::Start);
    let first = world.last(TRUNK);
    let token = register().token;
    assert!(first.contains(&format!("Contact: <sip:441632960001@{US_OUTSIDE};line={token}>\r\n")), "{first}");
    assert!(first.contains("To: <sip:441632960001@192.0.2.10>\r\n") && first.contains("Expires: 600\r\n"), "{first}");
    world.send(TRUNK, &challenge(&first, "401 Unauthorized", "WWW-Authenticate"));
    let second = world.last(TRUNK);
    let answer = header(&second, "Authorization");
    assert!(answer.contains("algorithm=SHA-256") && answer.contains("nonce=\"s10\""), "the stronger one: {answer}");
    assert!(answer.contains("nc=00000001") && !second.contains("secret"), "{second}");
    assert_eq!(header(&first, "Call-ID"), header(&second, "Call-ID"));
    assert_eq!(header(&second, "CSeq"), "2 REGISTER");
    world.run(MS(100));
    world.send(TRUNK, &granted(&second, 60));
    world.run_until_received(TRUNK);
    let third = world.last(TRUNK);
    assert!(header(&third, "Authorization").contains("nc=00000002"), "{third}");
    world.send(TRUNK, &granted(&third, 3_600));
    unregister(&mut world);

    expect(
        &mut world,
        "
             0       > trunk REGISTER sip:192.0.2.10
             0 trunk > 401 Unauthorized (1 REGISTER)
             0       > trunk REGISTER sip:192.0.2.10
           100 trunk > 200 OK (2 REGISTER)
         52353       > trunk REGISTER sip:192.0.2.10
         52353 trunk > 200 OK (3 REGISTER)
         52353       > trunk REGISTER sip:192.0.2.10
         52353 trunk > 200 OK (4 REGISTER)
        ",
    );
    assert_eq!(world.trunk_events, ["provider Registered", "provider Unregistered"]);
    world.rest();
}

#[test]
fn a_trunk_whose_calls_come_from_elsewhere_answers_where_it_is_asked() {
    let mut settings = registering();
    settings.trunks[0].trusts_targets = false;
    settings.trunks[0].networks = vec!["198.51.100.0/24".parse().unwrap()];
    let mut world = World::new(settings);
    world.input(Input::Start);
    let request = world.last(TRUNK);
    world.send(TRUNK, &challenge(&request, "401 Unauthorized", "WWW-Authenticate"));
    let request = world.last(TRUNK);
    world.send(TRUNK, &granted(&request, 600));
    assert_eq!(world.trunk_events, ["provider Registered"]);

    world.send(PBX, &Phone::inside("ask", "01632960002").request("MESSAGE", ""));
    let message = world.last(TRUNK);
    world.send(TRUNK, &response(&message, "200 OK", "trunk", ""));
    assert!(world.last(PBX).starts_with("SIP/2.0 200 "));

    let call = Phone::caller("call").request("INVITE", &sdp(TRUNK, ""));
    world.send(TRUNK, &call);
    assert_eq!((world.receive(TRUNK), world.receive(PBX)), (None, None));
    assert_eq!(world.switchboard.counters().unknown_source, 1);
    world.send(SPARE, &call);
    let invite = world.last(PBX);
    world.send(PBX, &response(&invite, "486 Busy Here", "callee", ""));
    assert!(world.last(SPARE).starts_with("SIP/2.0 486 "));
    world.send(SPARE, &Phone::caller("call").request("ACK", ""));
    unregister(&mut world);
    world.rest();
}

#[test]
fn a_registrar_that_is_away_is_asked_with_growing_pauses() {
    let mut world = World::new(registering());
    world.input(Input::Start);
    world.run(MS(600_000));

    let ladder = world.ladder();
    let new: Vec<u64> = {
        let mut times: Vec<u64> = Vec::new();
        let all = ladder.lines().filter(|line| line.contains("REGISTER")).map(|line| line.trim().split(' ').next());
        for at in all.map(|at| at.unwrap().parse::<u64>().unwrap()) {
            if times.last().is_none_or(|last| at - last > 10_000) {
                times.push(at);
            } else {
                *times.last_mut().unwrap() = at;
            }
        }
        times
    };
    assert!((3..=6).contains(&new.len()), "{ladder}");
    let failed: Vec<&String> = world.trunk_events.iter().filter(|event| event.contains("RegistrationFailed")).collect();
    assert!(failed.len() >= 3 && failed[0].contains("status: 0, failures: 1"), "{failed:?}");
    assert!(world.trunk_events[0].contains("Down"), "{:?}", world.trunk_events);
}

#[test]
fn a_registrar_that_is_heard_again_is_asked_soon() {
    let mut world = World::new(registering());
    world.input(Input::Start);
    world.run(MS(3_600_000));
    while world.receive(TRUNK).is_some() {}

    // By now it is asked every half an hour at most, but its host every minute.
    let options = (0..90).find_map(|_| {
        world.run(MS(1_000));
        world.receive(TRUNK).filter(|message| message.starts_with("OPTIONS "))
    });
    world.send(TRUNK, &response(&options.unwrap(), "200 OK", "up", ""));
    world.run(MS(11_000));

    let received = std::iter::from_fn(|| world.receive(TRUNK));
    assert!(received.into_iter().any(|message| message.starts_with("REGISTER ")));
}

/// What is left of a binding may be long, and over a connection that has gone no call comes in.
#[test]
fn a_registrar_that_is_heard_again_is_asked_soon_though_the_binding_lives() {
    let mut world = World::new(registering());
    world.input(Input::Start);
    let request = world.last(TRUNK);
    world.send(TRUNK, &granted(&request, 86_400));
    world.run(MS(60_000_000));
    world.run_until_received(TRUNK);
    world.run(MS(33_000));
    world.forget_peer(TRUNK);
    assert!(world.trunk_events.last().unwrap().contains("RegistrationFailed"), "{:?}", world.trunk_events);
    world.run_until_received(TRUNK);
    let options = world.last(TRUNK);
    assert!(options.starts_with("OPTIONS "), "{options}");
    world.send(TRUNK, &response(&options, "200 OK", "up", ""));

    world.run(MS(11_000));

    assert!(world.last(TRUNK).starts_with("REGISTER "));
}

/// Settings of a trunk with two hosts, the first of which is tried first.
fn registering_at_two_hosts() -> Settings {
    let mut settings = registering();
    let host = |address: &str, priority| Target { priority, weight: 0, hop: Hop::udp(address.parse().unwrap()) };
    settings.trunks[0].targets = vec![host(TRUNK, 10), host(SPARE, 20)];
    settings
}

#[test]
fn a_registrar_that_cannot_is_left_for_another_host() {
    let mut world = World::new(registering_at_two_hosts());
    world.input(Input::Start);
    let request = world.last(TRUNK);
    world.send(TRUNK, &challenge(&request, "401 Unauthorized", "WWW-Authenticate"));
    let request = world.last(TRUNK);
    world.send(TRUNK, &response(&request, "503 Service Unavailable", "full", ""));

    let request = world.last(SPARE);
    assert!(request.starts_with("REGISTER ") && header(&request, "Authorization").is_empty(), "{request}");
    assert_eq!(header(&request, "CSeq"), "3 REGISTER");
    world.send(SPARE, &challenge(&request, "401 Unauthorized", "WWW-Authenticate"));
    let request = world.last(SPARE);
    assert!(header(&request, "Authorization").contains("nc=00000001"), "{request}");
    world.send(SPARE, &granted(&request, 600));
    assert_eq!(world.trunk_events.last().unwrap(), "provider Registered");

    // It stays there, though the first one is back.
    answer_probe(&mut world);
    world.run(MS(430_000));
    world.run_until_received(SPARE);
    let request = world.last(SPARE);
    assert!(request.starts_with("REGISTER "), "{request}");
    assert_eq!(world.receive(TRUNK), None);
}

#[test]
fn where_no_registrar_can_they_are_asked_once_and_left_in_peace() {
    let mut world = World::new(registering_at_two_hosts());
    world.input(Input::Start);
    for peer in [TRUNK, SPARE] {
        let request = world.last(peer);
        world.send(peer, &response(&request, "503 Service Unavailable", "full", ""));
    }

    assert!(world.trunk_events.last().unwrap().contains("RegistrationFailed"), "{:?}", world.trunk_events);
    for _ in 0..28 {
        world.run(MS(1_000));
        for peer in [TRUNK, SPARE] {
            while let Some(request) = world.receive(peer) {
                assert!(request.starts_with("OPTIONS "), "{request}");
                world.send(peer, &response(&request, "200 OK", "up", ""));
            }
        }
    }
}

/// One that registers nobody may still probe us, or end a call.
#[test]
fn hosts_that_are_silent_to_register_are_not_asked_in_turns_for_what_else_they_say() {
    let mut world = World::new(registering_at_two_hosts());
    world.input(Input::Start);
    let mut asked = 0;
    for second in 0..150 {
        world.run(MS(1_000));
        for peer in [TRUNK, SPARE] {
            while let Some(request) = world.receive(peer) {
                asked += usize::from(request.starts_with("REGISTER "));
            }
        }
        if second % 20 == 19 {
            let phone = Phone::caller(&format!("probe-{second}"));
            world.send(TRUNK, &phone.request("OPTIONS", ""));
        }
        if world.trunk_events.iter().any(|event| event.contains("RegistrationFailed")) {
            assert!((60..=70).contains(&second), "after {second} s, {asked} sent");
            return;
        }
    }
    panic!("it never failed: {:?}", world.trunk_events);
}

#[test]
fn challenges_are_answered_with_a_user_name_of_their_own() {
    let mut settings = registering();
    let register = settings.trunks[0].register.as_mut().unwrap();
    register.credentials.user = "a1b2c3".into();
    let mut world = World::new(settings);

    world.input(Input::Start);
    let request = world.last(TRUNK);
    world.send(TRUNK, &challenge(&request, "401 Unauthorized", "WWW-Authenticate"));
    let request = world.last(TRUNK);
    world.send(TRUNK, &granted(&request, 600));
    let phone = Phone::inside("out", "441632960002");
    world.send(PBX, &phone.request("INVITE", &sdp(PBX, "")));
    let invite = world.last(TRUNK);
    world.send(TRUNK, &challenge(&invite, "407 Proxy Authentication Required", "Proxy-Authenticate"));
    let again = world.last(TRUNK);

    assert!(header(&request, "From").starts_with("<sip:441632960001@"), "{request}");
    assert!(header(&request, "To").starts_with("<sip:441632960001@"), "{request}");
    assert!(header(&request, "Contact").starts_with("<sip:441632960001@"), "{request}");
    for (request, name) in [(&request, "Authorization"), (&again, "Proxy-Authorization")] {
        assert!(header(request, name).starts_with("Digest username=\"a1b2c3\", "), "{request}");
    }
}

#[test]
fn where_the_connection_to_the_registrar_ends_a_new_one_is_registered_over() {
    let mut world = registered();
    world.input(Input::Ended { hop: Hop::udp(SPARE.parse().unwrap()) });
    world.run(MS(30_000));
    assert!(world.receive(TRUNK).is_none(), "that led to somebody else");

    world.input(Input::Ended { hop: Hop::udp(TRUNK.parse().unwrap()) });
    world.run(MS(14_000));
    assert!(world.receive(TRUNK).is_none(), "some close one behind each answer");
    world.run(MS(16_000));
    assert!(world.last(TRUNK).starts_with("REGISTER "));
}

#[test]
fn a_registration_that_is_made_anew_has_a_call_id_of_its_own() {
    let mut world = World::new(registering());
    world.input(Input::Start);
    let before = world.last(TRUNK);
    world.send(TRUNK, &granted(&before, 600));
    let mut settings = registering();
    settings.trunks[0].register = Some(Register { expires: Duration::from_secs(300), ..register() });
    world.input(Input::Settings(Arc::new(settings)));

    let first = world.last(TRUNK);
    assert_eq!((header(&first, "CSeq"), header(&first, "Expires")), ("1 REGISTER", "300"));
    assert_ne!(header(&first, "Call-ID"), header(&before, "Call-ID"), "the registrar refuses that one at 1");
}

#[test]
fn an_address_of_ours_that_is_another_is_registered_at_once() {
    let moved = || Local::only("192.0.2.99:5060".parse().unwrap());
    let way = |network: &str| vec![Way { network: network.parse().unwrap(), local: moved() }];
    for (settings, renewed) in [
        (Settings { local_outside: moved(), ..registering() }, true),
        (Settings { ways: way("192.0.2.10/32"), ..registering() }, true),
        (Settings { ways: way("198.51.100.0/24"), ..registering() }, false),
    ] {
        let mut world = registered();
        world.input(Input::Settings(Arc::new(settings)));

        let request = world.receive(TRUNK).unwrap_or_default();
        let told = request.starts_with("REGISTER ") && header(&request, "Contact").contains("@192.0.2.99:5060;");
        assert_eq!((told, request.is_empty()), (renewed, !renewed), "{request}");
    }
}

#[test]
fn an_address_that_changes_while_we_register_is_registered_behind_the_answer() {
    let mut world = World::new(registering());
    world.input(Input::Start);
    let request = world.last(TRUNK);
    let moved = Local::only("192.0.2.99:5060".parse().unwrap());
    world.input(Input::Settings(Arc::new(Settings { local_outside: moved, ..registering() })));
    assert_eq!(world.receive(TRUNK), None, "one at a time");

    world.send(TRUNK, &granted(&request, 600));

    let request = world.last(TRUNK);
    assert!(header(&request, "Contact").contains("@192.0.2.99:5060;"), "{request}");
    world.send(TRUNK, &granted(&request, 600));
    assert_eq!(world.receive(TRUNK), None);
}

#[test]
fn behind_a_sleep_of_the_machine_a_trunk_is_registered_with_at_once() {
    let mut world = registered();
    world.run(MS(60_000));
    assert!(world.receive(TRUNK).is_none());

    world.input(Input::Awake);

    let request = world.last(TRUNK);
    assert!(request.starts_with("REGISTER ") && header(&request, "Expires") == "600", "{request}");
    // The one that is under way serves the next sleep too.
    world.input(Input::Awake);
    assert!(world.receive(TRUNK).is_none());
    world.send(TRUNK, &granted(&request, 600));
    unregister(&mut world);
    world.input(Input::Awake);
    assert!(world.receive(TRUNK).is_none(), "a registration that was taken back stays so");
    world.rest();
}

#[test]
fn a_call_to_the_registered_contact_is_the_trunks_wherever_it_comes_from() {
    let mut world = registered();
    let contact = format!("sip:441632960001@{US_OUTSIDE};line={}", register().token);
    let mut caller = Phone { at: ELSEWHERE, target: contact, ..Phone::caller("call") };
    let mut stranger = Phone { at: ELSEWHERE, ..Phone::caller("stranger") };
    stranger.target = format!("sip:441632960001@{US_OUTSIDE};line=0123456789abcdef");
    world.send(ELSEWHERE, &stranger.request("INVITE", &sdp(ELSEWHERE, "")));
    assert_eq!(world.receive(ELSEWHERE), None, "a token that is none");

    world.send(ELSEWHERE, &caller.request("INVITE", &sdp(ELSEWHERE, "")));
    let invite = world.last(PBX);
    assert!(invite.starts_with(&format!("INVITE sip:441632960001@{PBX} SIP/2.0\r\n")), "{invite}");
    let mut callee = Phone::callee(&invite, "callee");
    world.answer((PBX, "callee"), &invite, (ELSEWHERE, &mut caller));
    world.run(MS(5_000));
    world.hang_up((PBX, &mut callee), ELSEWHERE);

    expect(
        &mut world,
        "
             0 stranger > INVITE sip:441632960001@192.0.2.1:5060;line=0123456789abcdef sdp
             0 stranger > INVITE sip:441632960001@192.0.2.1:5060;line=TOKEN sdp
             0       > pbx INVITE sip:441632960001@10.0.0.5:5060 sdp
             0 pbx > 200 OK (1 INVITE) sdp
             0       > stranger 200 OK (1 INVITE) sdp
             0 stranger > ACK sip:y@192.0.2.1:5060
             0       > pbx ACK sip:y@10.0.0.5:5060
          5000 pbx > BYE sip:x@10.0.0.1:5060
          5000       > stranger BYE sip:x@203.0.113.77:5060
          5000 stranger > 200 OK (101 BYE)
          5000       > pbx 200 OK (101 BYE)
        "
        .replace("TOKEN", &register().token)
        .as_str(),
    );
    // Known for its call, and no longer.
    world.run(MS(65_000));
    world.send(ELSEWHERE, &stranger.next("OPTIONS", ""));
    assert_eq!(world.receive(ELSEWHERE), None);
    world.last(PBX);
    unregister(&mut world);
    world.forget_peer(ELSEWHERE);
    world.rest();
}

#[test]
fn who_is_known_for_a_call_alone_reaches_the_pbx_with_nothing_else() {
    let mut world = registered();
    let contact = format!("sip:441632960001@{US_OUTSIDE};line={}", register().token);
    let mut caller = Phone { at: ELSEWHERE, target: contact, ..Phone::caller("call") };
    world.send(ELSEWHERE, &caller.request("INVITE", &sdp(ELSEWHERE, "")));
    let invite = world.last(PBX);
    world.answer((PBX, "callee"), &invite, (ELSEWHERE, &mut caller));
    world.forget_peer(PBX);

    let mut other = Phone { at: ELSEWHERE, ..Phone::caller("other") };
    other.remote += ";tag=invented";
    for method in ["MESSAGE", "REGISTER", "OPTIONS"] {
        world.send(ELSEWHERE, &other.next(method, ""));
        assert!(world.last(ELSEWHERE).starts_with("SIP/2.0 403 "), "{method}");
        assert_eq!(world.receive(PBX), None, "{method}");
    }

    world.hang_up((ELSEWHERE, &mut caller), PBX);
    unregister(&mut world);
    world.forget_peer(PBX);
    world.forget_peer(ELSEWHERE);
    world.rest();
}

#[test]
fn a_call_out_answers_the_trunks_challenge_and_the_pbx_sees_none_of_it() {
    let mut world = registered();
    let mut caller = Phone::inside("out", "01632960002");
    world.send(PBX, &caller.request("INVITE", &sdp(PBX, "")));
    let invite = world.last(TRUNK);
    world.send(TRUNK, &challenge(&invite, "407 Proxy Authentication Required", "Proxy-Authenticate"));
    let again = world.last(TRUNK);
    assert_eq!(header(&again, "CSeq"), "2 INVITE");
    assert_ne!(header(&again, "Via"), header(&invite, "Via"));
    let answer = header(&again, "Proxy-Authorization").to_owned();
    assert!(answer.contains("uri=\"sip:01632960002@192.0.2.10:5060\"") && answer.contains("SHA-256"), "{answer}");
    world.send(TRUNK, &response(&again, "183 Session Progress", "trunk", &sdp(TRUNK, "")));
    assert_eq!(header(&world.last(PBX), "CSeq"), "1 INVITE");
    world.answer((TRUNK, "trunk"), &again, (PBX, &mut caller));
    let ack = world.last(TRUNK);
    assert_eq!((header(&ack, "CSeq"), header(&ack, "Proxy-Authorization")), ("2 ACK", answer.as_str()));
    // Inside the call, too: hold, then the end.
    world.send(PBX, &caller.next("INVITE", &sdp(PBX, "a=sendonly\r\n")));
    let hold = world.last(TRUNK);
    assert_eq!(header(&hold, "CSeq"), "3 INVITE");
    world.send(TRUNK, &challenge(&hold, "407 Proxy Authentication Required", "Proxy-Authenticate"));
    let hold = world.last(TRUNK);
    assert_eq!(header(&hold, "CSeq"), "4 INVITE");
    world.send(TRUNK, &response(&hold, "200 OK", "", &sdp(TRUNK, "a=recvonly\r\n")));
    world.send(PBX, &caller.ack());
    assert_eq!(header(&world.last(TRUNK), "CSeq"), "4 ACK");
    world.send(PBX, &caller.next("BYE", ""));
    let bye = world.last(TRUNK);
    assert_eq!(header(&bye, "CSeq"), "5 BYE");
    world.send(TRUNK, &response(&bye, "200 OK", "", ""));

    expect(
        &mut world,
        "
             0 pbx > INVITE sip:01632960002@10.0.0.1:5060 sdp
             0       > trunk INVITE sip:01632960002@192.0.2.10:5060 sdp
             0 trunk > 407 Proxy Authentication Required (1 INVITE)
             0       > trunk ACK sip:01632960002@192.0.2.10:5060
             0       > trunk INVITE sip:01632960002@192.0.2.10:5060 sdp
             0 trunk > 183 Session Progress (2 INVITE) sdp
             0       > pbx 183 Session Progress (1 INVITE) sdp
             0 trunk > 200 OK (2 INVITE) sdp
             0       > pbx 200 OK (1 INVITE) sdp
             0 pbx > ACK sip:y@10.0.0.1:5060
             0       > trunk ACK sip:y@192.0.2.10:5060
             0 pbx > INVITE sip:y@10.0.0.1:5060 sdp
             0       > trunk INVITE sip:y@192.0.2.10:5060 sdp
             0 trunk > 407 Proxy Authentication Required (3 INVITE)
             0       > trunk ACK sip:y@192.0.2.10:5060
             0       > trunk INVITE sip:y@192.0.2.10:5060 sdp
             0 trunk > 200 OK (4 INVITE) sdp
             0       > pbx 200 OK (2 INVITE) sdp
             0 pbx > ACK sip:y@10.0.0.1:5060
             0       > trunk ACK sip:y@192.0.2.10:5060
             0 pbx > BYE sip:y@10.0.0.1:5060
             0       > trunk BYE sip:y@192.0.2.10:5060
             0 trunk > 200 OK (5 BYE)
             0       > pbx 200 OK (3 BYE)
        ",
    );
    unregister(&mut world);
    world.rest();
}

/// Whoever calls may answer in the trunk's name, where that passes on what it says.
#[test]
fn a_prack_names_the_invite_as_the_trunk_knows_it_though_it_was_challenged_itself() {
    let mut world = registered();
    let mut caller = Phone::inside("out", "01632960002");
    world.send(PBX, &caller.request_with("INVITE", "Supported: 100rel\r\n", &sdp(PBX, "")));
    let invite = world.last(TRUNK);
    world.send(TRUNK, &challenge(&invite, "407 Proxy Authentication Required", "Proxy-Authenticate"));
    let invite = world.last(TRUNK);
    assert_eq!(header(&invite, "CSeq"), "2 INVITE");
    let mut names = Vec::new();
    for number in [7, 8] {
        let rings = response(&invite, "180 Ringing", "callee", "");
        let reliable = format!("Require: 100rel\r\nRSeq: {number}\r\nContact:");
        world.send(TRUNK, &rings.replacen("Contact:", &reliable, 1));
        caller.learn(&world.last(PBX));
        caller.cseq += 1;
        world.send(PBX, &caller.request_with("PRACK", &format!("RAck: {number} 1 INVITE\r\n"), ""));
        let mut prack = world.last(TRUNK);
        if number == 7 {
            world.send(TRUNK, &challenge(&prack, "407 Proxy Authentication Required", "Proxy-Authenticate"));
            prack = world.last(TRUNK);
        }
        names.push(header(&prack, "RAck").to_owned());
        world.send(TRUNK, &response(&prack, "200 OK", "", ""));
        world.last(PBX);
    }

    assert_eq!(names, ["7 2 INVITE", "8 2 INVITE"]);
}

#[test]
fn a_challenge_to_a_call_that_was_given_up_makes_no_new_one() {
    let mut world = registered();
    let caller = Phone::caller("call");
    world.send(PBX, &caller.request("INVITE", &sdp(PBX, "")));
    let invite = world.last(TRUNK);
    world.run(MS(300));
    world.send(PBX, &caller.request("CANCEL", ""));
    world.forget_peer(PBX);
    world.send(TRUNK, &challenge(&invite, "407 Proxy Authentication Required", "Proxy-Authenticate"));

    assert!(world.last(TRUNK).starts_with("ACK "), "nobody would take an answer to another INVITE");
    unregister(&mut world);
    world.rest();
}

#[test]
fn a_caller_that_challenges_requests_of_its_call_gets_no_digest_of_our_password() {
    for ours in [false, true] {
        let mut world = registered();
        let mut caller = Phone::caller("leech");
        world.send(TRUNK, &caller.request("INVITE", &sdp(TRUNK, "")));
        let invite = world.last(PBX);
        let mut callee = Phone::callee(&invite, "callee");
        world.answer((PBX, "callee"), &invite, (TRUNK, &mut caller));

        if ours {
            let call = *world.calls.last().unwrap();
            world.input(Input::HangUp { call });
        } else {
            world.forget_peer(PBX);
            world.send(PBX, &callee.next("BYE", ""));
        }
        let bye = world.last(TRUNK);
        assert!(bye.starts_with("BYE "));
        world.send(TRUNK, &challenge(&bye, "401 Unauthorized", "WWW-Authenticate"));

        assert_eq!(world.receive(TRUNK), None);
        assert!(ours || world.last(PBX).starts_with("SIP/2.0 401 "), "it is for the PBX to answer, or not");
    }
}

#[test]
fn a_cancel_reaches_the_invite_that_carries_credentials() {
    let mut world = registered();
    let caller = Phone::inside("out", "01632960002");
    world.send(PBX, &caller.request("INVITE", &sdp(PBX, "")));
    let invite = world.last(TRUNK);
    world.send(TRUNK, &challenge(&invite, "407 Proxy Authentication Required", "Proxy-Authenticate"));
    let again = world.last(TRUNK);
    world.send(TRUNK, &response(&again, "180 Ringing", "trunk", ""));
    world.send(PBX, &caller.request("CANCEL", ""));
    let cancel = world.last(TRUNK);
    assert_eq!(header(&cancel, "CSeq"), "2 CANCEL");
    assert_eq!(header(&cancel, "Via"), header(&again, "Via"));
    world.send(TRUNK, &response(&cancel, "200 OK", "trunk", ""));
    world.send(TRUNK, &response(&again, "487 Request Terminated", "trunk", ""));
    world.send(PBX, &caller.request("ACK", ""));

    assert!(world.events.contains(&"ended cancelled by caller 487".to_owned()), "{:?}", world.events);
    unregister(&mut world);
    world.rest();
}

#[test]
fn a_pbx_with_credentials_of_its_own_answers_itself() {
    let mut world = registered();
    let mut caller = Phone::inside("out", "01632960002");
    caller.cseq = 7;
    world.send(PBX, &caller.request_with("INVITE", "Proxy-Authorization: Digest username=\"u\"\r\n", &sdp(PBX, "")));
    let invite = world.last(TRUNK);
    world.send(TRUNK, &challenge(&invite, "407 Proxy Authentication Required", "Proxy-Authenticate"));

    assert!(world.last(PBX).starts_with("SIP/2.0 407 "));
    world.send(PBX, &caller.request("ACK", ""));
    unregister(&mut world);
    world.rest();
}

#[test]
fn what_the_pbx_answers_to_one_trunk_does_not_stand_before_our_password_of_another() {
    for (name, ours) in [("spare", true), ("provider", false)] {
        let mut settings = two_trunks();
        settings.trunks[1].register = Some(register()).filter(|_| ours);
        let mut world = World::new(settings);
        world.forget_peer(SPARE);
        let mut caller = Phone::inside("out", "01632960002");
        let own = "Proxy-Authorization: Digest username=\"u\"\r\nAuthorization: Digest username=\"v\"\r\n";
        world.send(PBX, &caller.request_with("INVITE", own, &sdp(PBX, "")));
        let invite = world.last(TRUNK);
        assert!(invite.contains(own), "{invite}");
        world.send(TRUNK, &response(&invite, "503 Service Unavailable", "trunk", ""));
        let invite = world.last(SPARE);
        assert_eq!(invite.contains("uthorization: "), !ours, "{name}: {invite}");
        world.send(SPARE, &challenge(&invite, "407 Proxy Authentication Required", "Proxy-Authenticate"));
        if ours {
            let invite = world.last(SPARE);
            assert!(header(&invite, "Proxy-Authorization").contains("username=\"441632960001\""), "{invite}");
            world.answer((SPARE, "spare"), &invite, (PBX, &mut caller));
        } else {
            assert!(world.last(PBX).starts_with("SIP/2.0 407 "), "it may be for this one, and the PBX knows");
        }
    }
}

#[test]
fn credentials_that_are_refused_are_not_repeated() {
    let mut world = registered();
    let caller = Phone::inside("out", "01632960002");
    world.send(PBX, &caller.request("INVITE", &sdp(PBX, "")));
    for _ in 0..2 {
        let invite = world.last(TRUNK);
        world.send(TRUNK, &challenge(&invite, "407 Proxy Authentication Required", "Proxy-Authenticate"));
    }

    assert!(world.last(PBX).starts_with("SIP/2.0 407 "));
    assert!(world.trunk_events.contains(&"provider CredentialsRefused".to_owned()), "{:?}", world.trunk_events);
    world.send(PBX, &caller.request("ACK", ""));
    unregister(&mut world);
    world.rest();
}

#[test]
fn a_trunk_that_says_503_is_passed_over_for_the_next() {
    let mut world = World::new(two_trunks());
    let mut caller = Phone::inside("out", "01632960002");
    world.send(PBX, &caller.request("INVITE", &sdp(PBX, "")));
    let invite = world.last(TRUNK);
    world.send(TRUNK, &response(&invite, "503 Service Unavailable", "trunk", ""));
    let invite = world.last(SPARE);
    world.answer((SPARE, "spare"), &invite, (PBX, &mut caller));
    world.hang_up((PBX, &mut caller), SPARE);

    expect(
        &mut world,
        "
             0 pbx > INVITE sip:01632960002@10.0.0.1:5060 sdp
             0       > trunk INVITE sip:01632960002@192.0.2.10:5060 sdp
             0 trunk > 503 Service Unavailable (1 INVITE)
             0       > trunk ACK sip:01632960002@192.0.2.10:5060
             0       > spare INVITE sip:01632960002@198.51.100.20:5060 sdp
             0 spare > 200 OK (1 INVITE) sdp
             0       > pbx 200 OK (1 INVITE) sdp
             0 pbx > ACK sip:y@10.0.0.1:5060
             0       > spare ACK sip:y@192.0.2.10:5060
             0 pbx > BYE sip:y@10.0.0.1:5060
             0       > spare BYE sip:y@192.0.2.10:5060
             0 spare > 200 OK (2 BYE)
             0       > pbx 200 OK (2 BYE)
        ",
    );
    assert_eq!(world.trunk_events, ["provider Down(Hop { address: 192.0.2.10:5060, transport: Udp })"]);
    answer_probe(&mut world);
    world.rest();
}

/// The trunk is asked until it answers.
fn answer_probe(world: &mut World) {
    world.run(MS(10_000));
    let options = world.last(TRUNK);
    assert!(options.starts_with("OPTIONS sip:"), "{options}");
    world.send(TRUNK, &response(&options, "404 Not Found", "trunk", ""));
    assert!(world.trunk_events.last().unwrap().starts_with("provider Up"), "{:?}", world.trunk_events);
}

#[test]
fn a_silent_trunk_is_left_after_its_timer_and_what_it_says_late_is_cleaned_up() {
    let mut world = World::new(two_trunks());
    let mut caller = Phone::inside("out", "01632960002");
    world.send(PBX, &caller.request("INVITE", &sdp(PBX, "")));
    let late = world.last(TRUNK);
    world.run(MS(4_100));
    let invite = world.last(SPARE);
    world.send(SPARE, &response(&invite, "180 Ringing", "spare", ""));
    world.send(TRUNK, &response(&late, "200 OK", "trunk", &sdp(TRUNK, "")));
    let bye = world.last(TRUNK);
    world.send(TRUNK, &response(&bye, "200 OK", "", ""));
    world.answer((SPARE, "spare"), &invite, (PBX, &mut caller));
    world.hang_up((PBX, &mut caller), SPARE);

    expect(
        &mut world,
        "
             0 pbx > INVITE sip:01632960002@10.0.0.1:5060 sdp
             0       > trunk INVITE sip:01632960002@192.0.2.10:5060 sdp
           200       > pbx 100 Trying (1 INVITE)
           500       > trunk INVITE sip:01632960002@192.0.2.10:5060 sdp
          1500       > trunk INVITE sip:01632960002@192.0.2.10:5060 sdp
          3500       > trunk INVITE sip:01632960002@192.0.2.10:5060 sdp
          4000       > spare INVITE sip:01632960002@198.51.100.20:5060 sdp
          4100 spare > 180 Ringing (1 INVITE)
          4100       > pbx 180 Ringing (1 INVITE)
          4100 trunk > 200 OK (1 INVITE) sdp
          4100       > trunk ACK sip:y@192.0.2.10:5060
          4100       > trunk BYE sip:y@192.0.2.10:5060
          4100 trunk > 200 OK (2 BYE)
          4100 spare > 200 OK (1 INVITE) sdp
          4100       > pbx 200 OK (1 INVITE) sdp
          4100 pbx > ACK sip:y@10.0.0.1:5060
          4100       > spare ACK sip:y@192.0.2.10:5060
          4100 pbx > BYE sip:y@10.0.0.1:5060
          4100       > spare BYE sip:y@192.0.2.10:5060
          4100 spare > 200 OK (2 BYE)
          4100       > pbx 200 OK (2 BYE)
        ",
    );
    // It is passed over by the next call, and asked until it answers.
    let mut next = Phone::inside("next", "01632960003");
    world.send(PBX, &next.request("INVITE", &sdp(PBX, "")));
    let invite = world.last(SPARE);
    world.send(SPARE, &response(&invite, "486 Busy Here", "spare", ""));
    world.send(PBX, &next.request("ACK", ""));
    world.last(PBX);
    answer_probe(&mut world);
    next.call_id = "third@pbx".to_owned();
    world.send(PBX, &next.next("INVITE", &sdp(PBX, "")));
    let invite = world.last(TRUNK);
    world.send(TRUNK, &response(&invite, "486 Busy Here", "trunk", ""));
    world.send(PBX, &next.request("ACK", ""));
    world.rest();
}

#[test]
fn a_trunk_that_answers_no_options_is_taken_again_once_it_calls() {
    let mut world = World::new(two_trunks());
    for (name, asked) in [("first", TRUNK), ("second", SPARE), ("third", TRUNK)] {
        let caller = Phone::inside(name, "01632960002");
        if name == "third" {
            for peer in [TRUNK, SPARE] {
                world.forget_peer(peer);
            }
            // Another host of its network is not the one that was silent.
            for (at, name) in [("192.0.2.11:5060", "other"), (TRUNK, "call")] {
                assert!(!world.switchboard.trunks()[0].targets[0].1, "{at}");
                world.send(at, &Phone { at, ..Phone::caller(name) }.request("OPTIONS", ""));
            }
        }
        world.send(PBX, &caller.request("INVITE", &sdp(PBX, "")));
        let invite = world.newest_invite(asked).unwrap();
        if name == "first" {
            world.run(MS(4_100));
            let invite = world.newest_invite(SPARE).unwrap();
            world.send(SPARE, &response(&invite, "486 Busy Here", "spare", ""));
        } else {
            world.send(asked, &response(&invite, "486 Busy Here", "busy", ""));
        }
        world.send(PBX, &caller.request("ACK", ""));
        world.run(MS(70_000));
    }
}

#[test]
fn when_every_trunk_fails_the_caller_hears_it_once() {
    let mut world = World::new(two_trunks());
    let caller = Phone::inside("out", "01632960002");
    world.send(PBX, &caller.request("INVITE", &sdp(PBX, "")));
    world.run(MS(5_000));
    let invite = world.last(SPARE);
    world.send(SPARE, &response(&invite, "503 Service Unavailable", "spare", ""));
    assert!(world.last(PBX).starts_with("SIP/2.0 503 "));
    world.send(PBX, &caller.request("ACK", ""));
    assert!(world.events.contains(&"ended refused by callee 503".to_owned()), "{:?}", world.events);
    for peer in [TRUNK, SPARE] {
        world.run(MS(8_000));
        let options = world.last(peer);
        world.send(peer, &response(&options, "200 OK", "trunk", ""));
    }
    world.rest();
}

#[test]
fn a_call_that_rings_stays_where_it_rings() {
    let mut world = World::new(two_trunks());
    let caller = Phone::inside("out", "01632960002");
    world.send(PBX, &caller.request("INVITE", &sdp(PBX, "")));
    let invite = world.last(TRUNK);
    world.send(TRUNK, &response(&invite, "183 Session Progress", "trunk", &sdp(TRUNK, "")));
    world.send(TRUNK, &response(&invite, "503 Service Unavailable", "trunk", ""));

    assert!(world.last(PBX).starts_with("SIP/2.0 503 "));
    world.send(PBX, &caller.request("ACK", ""));
    assert_eq!(world.receive(SPARE), None);
    answer_probe(&mut world);
    world.rest();
}

#[test]
fn a_uri_that_names_a_trunk_takes_that_trunk_alone() {
    let mut world = World::new(two_trunks());
    let mut caller = Phone::inside("out", "01632960002");
    caller.target = "sip:01632960002@198.51.100.20".to_owned();
    world.send(PBX, &caller.request("INVITE", &sdp(PBX, "")));
    let invite = world.last(SPARE);
    assert!(invite.starts_with("INVITE sip:01632960002@198.51.100.20 SIP/2.0"), "{invite}");
    world.send(SPARE, &response(&invite, "503 Service Unavailable", "spare", ""));

    assert!(world.last(PBX).starts_with("SIP/2.0 503 "));
    world.send(PBX, &caller.request("ACK", ""));
    assert_eq!(world.receive(TRUNK), None);
    world.run(MS(8_000));
    let options = world.last(SPARE);
    world.send(SPARE, &response(&options, "200 OK", "spare", ""));
    world.rest();
}

#[test]
fn the_hosts_behind_one_name_are_tried_one_after_the_other() {
    let mut settings = settings();
    let host = |address: &str, priority| Target { priority, weight: 0, hop: Hop::udp(address.parse().unwrap()) };
    settings.trunks[0].targets = vec![host(SPARE, 20), host(TRUNK, 10)];
    settings.trunks[0].host = "provider.example".into();
    let mut world = World::new(settings);
    let caller = Phone::inside("out", "01632960002");
    world.send(PBX, &caller.request("INVITE", &sdp(PBX, "")));
    let invite = world.last(TRUNK);
    world.send(TRUNK, &response(&invite, "503 Service Unavailable", "trunk", ""));
    let invite = world.last(SPARE);
    assert!(invite.starts_with("INVITE sip:01632960002@provider.example SIP/2.0\r\n"), "by its name: {invite}");
    world.send(SPARE, &response(&invite, "486 Busy Here", "spare", ""));

    assert!(world.last(PBX).starts_with("SIP/2.0 486 "));
    world.send(PBX, &caller.request("ACK", ""));
    answer_probe(&mut world);
    world.rest();
}

#[test]
fn after_a_kill_a_call_with_credentials_is_still_numbered_higher() {
    let mut world = registered();
    let mut caller = Phone::inside("out", "01632960002");
    world.send(PBX, &caller.request("INVITE", &sdp(PBX, "")));
    let invite = world.last(TRUNK);
    world.send(TRUNK, &challenge(&invite, "407 Proxy Authentication Required", "Proxy-Authenticate"));
    let again = world.last(TRUNK);
    world.answer((TRUNK, "trunk"), &again, (PBX, &mut caller));

    world.kill_and_start(MS(1_000));
    let request = world.last(TRUNK);
    world.send(TRUNK, &granted(&request, 600));
    world.send(PBX, &caller.next("BYE", ""));
    let bye = world.last(TRUNK);
    assert_eq!(header(&bye, "CSeq"), "3 BYE");
    world.send(TRUNK, &response(&bye, "200 OK", "", ""));
    assert_eq!(header(&world.last(PBX), "CSeq"), "2 BYE");
    unregister(&mut world);
    world.rest();
}

#[test]
fn a_trunk_without_an_address_is_no_way_out_and_its_calls_still_come_in() {
    let mut settings = settings();
    settings.trunks[0].targets.clear();
    let mut world = World::new(settings);
    let caller = Phone::inside("out", "01632960002");
    world.send(PBX, &caller.request("INVITE", &sdp(PBX, "")));
    assert!(world.last(PBX).starts_with("SIP/2.0 503 "));
    world.send(PBX, &caller.request("ACK", ""));

    let caller = Phone::caller("call");
    world.send(TRUNK, &caller.request("INVITE", &sdp(TRUNK, "")));
    let invite = world.last(PBX);
    world.send(PBX, &response(&invite, "486 Busy Here", "callee", ""));
    world.send(TRUNK, &caller.request("ACK", ""));
    world.rest();
}

#[test]
fn a_trunk_that_moves_takes_its_running_calls_along() {
    let mut world = World::new(settings());
    let mut caller = Phone::caller("call");
    world.send(TRUNK, &caller.request("INVITE", &sdp(TRUNK, "")));
    let invite = world.last(PBX);
    world.answer((PBX, "callee"), &invite, (TRUNK, &mut caller));
    world.last(PBX);
    let moved = Settings { trunks: vec![Trunk::at("provider", Hop::udp(SPARE.parse().unwrap()))], ..settings() };
    world.input(Input::Settings(Arc::new(moved)));

    let stranger = Phone::caller("new");
    world.send(TRUNK, &stranger.request("INVITE", &sdp(TRUNK, "")));
    assert!(world.receive(PBX).is_none(), "the old address may not begin calls");
    world.hang_up((TRUNK, &mut caller), PBX);
    assert!(world.last(TRUNK).starts_with("SIP/2.0 200 OK"));
    world.rest();
}

#[test]
fn a_registrar_that_sees_us_elsewhere_is_heard_once() {
    let mut world = World::new(registering());
    world.input(Input::Start);
    for _ in 0..2 {
        let request = world.last(TRUNK);
        let seen = granted(&request, 60).replacen(";rport", ";rport=40123;received=203.0.113.9", 1);
        world.send(TRUNK, &seen);
        world.run(MS(54_100));
    }
    let last = world.last(TRUNK);
    world.send(TRUNK, &granted(&last, 60));

    assert_eq!(world.trunk_events, ["provider SeenAt(203.0.113.9:40123)", "provider Registered"]);
    unregister(&mut world);
    world.rest();
}

#[test]
fn a_service_route_is_taken_by_calls_over_the_trunk() {
    let mut world = World::new(registering());
    world.input(Input::Start);
    let request = world.last(TRUNK);
    let ok = granted(&request, 600).replace("Contact:", "Service-Route: <sip:orig@192.0.2.10;lr>\r\nContact:");
    world.send(TRUNK, &ok);
    let caller = Phone::inside("out", "01632960002");
    world.send(PBX, &caller.request("INVITE", &sdp(PBX, "")));
    let invite = world.last(TRUNK);

    assert_eq!(header(&invite, "Route"), "<sip:orig@192.0.2.10;lr>");
    assert!(!header(&invite, "Via").contains(US_INSIDE));
    world.send(TRUNK, &response(&invite, "486 Busy Here", "trunk", ""));
    world.send(PBX, &caller.request("ACK", ""));
    unregister(&mut world);
    world.rest();
}

/// Trunks that do anything at any time, and a PBX that gives up whenever it likes.
struct Chaos {
    world: World,
    dice: Dice,
    /// INVITEs of ours that a trunk has seen, by branch, and what it will make of each.
    seen: BTreeMap<String, (&'static str, String, u64)>,
    caller: Phone,
    answered: bool,
    over: bool,
}

impl Chaos {
    fn react(&mut self, peer: &'static str, message: &str) {
        let method = message.split(' ').next().unwrap().to_owned();
        match method.as_str() {
            "SIP/2.0" | "ACK" => {}
            // A request to a trunk may be lost; ours repeat it.
            _ if peer != PBX && self.dice.below(10) == 0 => {}
            "INVITE" => {
                let branch = header(message, "Via").to_owned();
                let fate = self.dice.below(10);
                let (_, _, fate) = self.seen.entry(branch).or_insert((peer, message.to_owned(), fate)).clone();
                self.answer_invite(peer, message, fate);
            }
            "CANCEL" => {
                self.world.send(peer, &response(message, "200 OK", "x", ""));
                if let Some((_, invite, _)) = self.seen.get(header(message, "Via")).cloned() {
                    self.world.send(peer, &response(&invite, "487 Request Terminated", "x", ""));
                }
            }
            "OPTIONS" if self.dice.below(2) == 0 => {}
            "REGISTER" => self.world.send(peer, &granted(message, 600)),
            _ => self.world.send(peer, &response(message, "200 OK", "x", "")),
        }
    }

    fn answer_invite(&mut self, peer: &'static str, invite: &str, fate: u64) {
        let authorized = invite.contains("Proxy-Authorization: ");
        let mut say = |status: &str, body: &str| self.world.send(peer, &response(invite, status, "x", body));
        match fate {
            0 => {}
            1 => say("503 Service Unavailable", ""),
            2 => say("100 Trying", ""),
            3 => say("180 Ringing", ""),
            4 | 5 if !authorized => {
                let challenged = challenge(invite, "407 Proxy Authentication Required", "Proxy-Authenticate");
                self.world.send(peer, &challenged);
            }
            4..=6 => say("200 OK", &sdp(TRUNK, "")),
            7 => say("183 Session Progress", &sdp(TRUNK, "")),
            8 => say("486 Busy Here", ""),
            _ => say("408 Request Timeout", ""),
        }
    }

    fn pbx(&mut self, message: &str) {
        let final_to_invite = header(message, "CSeq").ends_with(" INVITE") && !message.starts_with("SIP/2.0 1");
        if message.starts_with("SIP/2.0 200") && final_to_invite {
            assert_eq!(header(message, "CSeq"), "1 INVITE", "the PBX knows its own number only");
            self.caller.learn(message);
            self.answered = true;
            let ack = self.caller.ack();
            self.world.send(PBX, &ack);
        } else if message.starts_with("SIP/2.0") && final_to_invite {
            self.over = true;
            let ack = self.caller.request("ACK", "");
            self.world.send(PBX, &ack);
        } else if !message.starts_with("SIP/2.0") {
            self.react(PBX, message);
        }
    }

    fn turn(&mut self) {
        for peer in [TRUNK, SPARE] {
            while let Some(message) = self.world.receive(peer) {
                self.react(peer, &message);
            }
        }
        while let Some(message) = self.world.receive(PBX) {
            self.pbx(&message);
        }
    }
}

#[test]
fn whatever_trunks_do_the_caller_has_one_answer_and_nothing_is_left() {
    let mut answered = 0;
    for seed in 0..400_u64 {
        let mut settings = two_trunks();
        settings.trunks[0].register = Some(register());
        settings.trunks[1].keep_alive = Some(Duration::from_secs(7));
        let mut key = [0; 16];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        let dice = Dice::new(key);
        let mut world = World::new(settings);
        world.input(Input::Start);
        let caller = Phone::inside("out", "01632960002");
        let mut chaos = Chaos { world, dice, seen: BTreeMap::new(), caller, answered: false, over: false };
        chaos.turn();
        let invite = chaos.caller.request("INVITE", &sdp(PBX, ""));
        chaos.world.send(PBX, &invite);
        let gives_up = chaos.dice.below(60);
        for step in 0..120 {
            chaos.turn();
            if step == gives_up && !chaos.answered && !chaos.over {
                let cancel = chaos.caller.request("CANCEL", "");
                chaos.world.send(PBX, &cancel);
            }
            chaos.world.run(MS(500));
        }
        answered += u32::from(chaos.answered);
        if chaos.answered {
            let bye = chaos.caller.next("BYE", "");
            chaos.world.send(PBX, &bye);
        }
        chaos.world.input(Input::Drain);
        let none = Settings { trunks: Vec::new(), ..self::settings() };
        for step in 0..800 {
            if step == 700 {
                // Whoever is still asked whether it answers is asked no more.
                chaos.world.input(Input::Settings(Arc::new(none.clone())));
            }
            chaos.turn();
            chaos.world.run(MS(500));
        }
        assert!(chaos.answered || chaos.over, "seed {seed}: no final answer\n{}", chaos.world.ladder());
        chaos.world.rest();
    }
    assert!((50..350).contains(&answered), "{answered} of 400 were answered: the test tests little");
}

#[test]
fn a_request_outside_any_call_takes_the_next_trunk_where_one_is_silent_or_cannot() {
    for silent in [true, false] {
        let mut world = World::new(two_trunks());
        let phone = Phone::inside("note", "01632960002");
        world.send(PBX, &phone.request("MESSAGE", ""));
        let message = world.last(TRUNK);
        if silent {
            world.run(MS(4_100));
        } else {
            world.send(TRUNK, &response(&message, "503 Service Unavailable", "trunk", ""));
        }
        let again = world.last(SPARE);
        assert!(again.starts_with("MESSAGE sip:01632960002@198.51.100.20:5060 SIP/2.0"), "{again}");
        assert_ne!(header(&again, "Via"), header(&message, "Via"));
        // What the first still says is nobody's, and where it has been heard it stays.
        world.send(TRUNK, &response(&message, "200 OK", "trunk", ""));
        world.send(SPARE, &response(&again, "100 Trying", "", ""));
        world.run(MS(6_000));
        world.send(SPARE, &response(&again, "202 Accepted", "spare", ""));
        let answer = world.last(PBX);
        assert!(
            answer.starts_with("SIP/2.0 202 ") && header(&answer, "Via").contains("branch=z9hG4bKnote1"),
            "{answer}"
        );

        let next = Phone { cseq: 2, ..phone };
        world.forget_peer(TRUNK);
        world.send(PBX, &next.request("MESSAGE", ""));
        let message = world.last(SPARE);
        assert!(message.starts_with("MESSAGE "), "the one that failed is tried last: {message}");
        world.send(SPARE, &response(&message, "200 OK", "spare", ""));
        assert!(world.last(PBX).starts_with("SIP/2.0 200 "));
        answer_probes(&mut world);
        world.rest();
    }
}

#[test]
fn where_every_trunk_says_503_the_last_word_is_passed_on() {
    let mut world = World::new(two_trunks());
    let phone = Phone::inside("note", "01632960002");
    world.send(PBX, &phone.request("MESSAGE", ""));
    for peer in [TRUNK, SPARE] {
        let message = world.last(peer);
        world.send(peer, &response(&message, "503 Service Unavailable", "trunk", ""));
    }

    assert!(world.last(PBX).starts_with("SIP/2.0 503 "));
    answer_probes(&mut world);
    world.rest();
}

/// Hosts that failed are asked whether they are there again, and say so.
fn answer_probes(world: &mut World) {
    for _ in 0..120 {
        world.run(MS(500));
        for peer in [TRUNK, SPARE] {
            while let Some(probe) = world.receive(peer) {
                if probe.starts_with("OPTIONS ") {
                    world.send(peer, &response(&probe, "200 OK", "up", ""));
                }
            }
        }
    }
}

#[test]
fn our_token_is_read_in_one_way_and_stays_with_us() {
    const NOBODY: &str = "203.0.113.78:5060";
    let mut world = registered();
    let token = register().token;
    let at = |user: &str, params: &str| format!("sip:{user}@{US_OUTSIDE}{params}");
    for (name, params) in [("a", format!(";LINE={token}")), ("b", format!(";user=phone;Line={token};lines=1"))] {
        let caller = Phone { at: ELSEWHERE, target: at("441632960001", &params), ..Phone::caller(name) };
        world.send(ELSEWHERE, &caller.request("INVITE", &sdp(ELSEWHERE, "")));
        let invite = world.last(PBX);
        assert!(!invite.contains(&*token), "{invite}");
        world.send(PBX, &response(&invite, "486 Busy Here", "callee", ""));
        assert!(world.last(ELSEWHERE).starts_with("SIP/2.0 486 "));
        world.send(ELSEWHERE, &caller.request("ACK", ""));
        world.last(PBX);
    }
    // What stands before the @ is the user's.
    let user = at(&format!("441632960001;line={token}"), "");
    world.send(NOBODY, &Phone { at: NOBODY, target: user, ..Phone::caller("c") }.request("INVITE", &sdp(NOBODY, "")));
    assert_eq!((world.receive(PBX), world.receive(NOBODY)), (None, None));
    unregister(&mut world);
    world.forget_peer(ELSEWHERE);
    world.rest();
}

#[test]
fn a_request_outside_any_call_that_can_go_nowhere_is_answered_as_an_invite_is() {
    let mut unresolved = settings();
    unresolved.trunks[0].targets.clear();
    for (settings, target, status) in [
        (unresolved, "sip:01632960002@10.0.0.1", "503 Service Unavailable"),
        (settings(), "im:201@10.0.0.1", "416 Unsupported URI Scheme"),
    ] {
        for (method, body) in [("INVITE", sdp(PBX, "")), ("MESSAGE", String::new()), ("REGISTER", String::new())] {
            let mut world = World::new(settings.clone());
            let phone = Phone { target: target.to_owned(), ..Phone::inside("out", "01632960002") };
            world.send(PBX, &phone.request(method, &body));
            let answer = world.last(PBX);
            assert!(answer.starts_with(&format!("SIP/2.0 {status}\r\n")), "{method}: {answer}");
        }
    }
}
