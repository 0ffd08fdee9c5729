//! Where a peer is, as it says itself: target refresh (RFC 3261 §12.2, RFC 3311 §5.2), and names that stand for us.

use ringfence::call::{Local, Settings, Trunk, Way};
use ringfence::sip::flow::Hop;

use super::world::{PBX, Phone, SPARE, TRUNK, US_INSIDE, World, header, response, sdp, settings};
use super::{announced, answered, hang_up, saying};

/// A message from another Contact.
fn moved(message: &str, to: &str) -> String {
    let contact = format!("Contact: {}\r\n", header(message, "Contact"));
    message.replace(&contact, &format!("Contact: <sip:{to}>\r\n"))
}

fn uri(message: &str) -> &str {
    message.split(' ').nth(1).unwrap()
}

#[test]
fn an_update_moves_both_ends_as_a_re_invite_does() {
    for method in ["UPDATE", "INVITE"] {
        let (mut world, mut caller, mut callee) = answered(settings());
        let body = if method == "INVITE" { sdp(TRUNK, "") } else { String::new() };
        world.send(TRUNK, &moved(&caller.next(method, &body), "cell@192.0.2.12:5062"));
        let asked = world.last(PBX);
        let body = body.replace("192.0.2.10", "10.0.0.5");
        world.send(PBX, &moved(&response(&asked, "200 OK", "", &body), "desk@10.0.0.7:5062"));
        world.last(TRUNK);
        if method == "INVITE" {
            world.send(TRUNK, &caller.ack());
            assert_eq!(uri(&world.last(PBX)), "sip:desk@10.0.0.7:5062");
        }

        world.send(PBX, &callee.next("INFO", ""));
        let info = world.last(TRUNK);
        assert_eq!(uri(&info), "sip:cell@192.0.2.12:5062", "{method}");
        world.send(TRUNK, &response(&info, "200 OK", "", ""));
        world.send(TRUNK, &caller.next("INFO", ""));
        let info = world.last(PBX);
        assert_eq!(uri(&info), "sip:desk@10.0.0.7:5062", "{method}");
        world.send(PBX, &response(&info, "200 OK", "", ""));
        hang_up(world, &mut caller);
    }
}

#[test]
fn a_refused_update_moves_nobody_who_refused_it() {
    let (mut world, mut caller, _) = answered(settings());
    world.send(TRUNK, &caller.next("UPDATE", ""));
    let update = world.last(PBX);
    world.send(PBX, &moved(&response(&update, "491 Request Pending", "", ""), "desk@10.0.0.7:5062"));
    world.send(TRUNK, &caller.next("INFO", ""));
    let info = world.last(PBX);
    assert_eq!(uri(&info), format!("sip:y@{PBX}"));
    world.send(PBX, &response(&info, "200 OK", "", ""));
    hang_up(world, &mut caller);
}

#[test]
fn a_phone_that_rings_moves_by_itself_and_the_others_stay() {
    let mut world = World::new(settings());
    let mut caller = Phone::caller("call");
    world.send(TRUNK, &caller.request("INVITE", &sdp(TRUNK, "")));
    let invite = world.last(PBX);
    let mut forks = Vec::new();
    for tag in ["one", "two"] {
        world.send(PBX, &moved(&response(&invite, "180 Ringing", tag, ""), &format!("{tag}@{PBX}")));
        let mut fork = caller.clone();
        fork.learn(&world.last(TRUNK));
        forks.push(fork);
    }
    forks[0].cseq = 2;
    world.send(TRUNK, &forks[0].request("UPDATE", ""));
    let update = world.last(PBX);
    assert_eq!(uri(&update), format!("sip:one@{PBX}"));
    world.send(PBX, &moved(&response(&update, "200 OK", "", ""), "moved@10.0.0.7:5062"));
    for (fork, cseq, at) in [(0, 3, "sip:moved@10.0.0.7:5062".to_owned()), (1, 4, format!("sip:two@{PBX}"))] {
        forks[fork].cseq = cseq;
        world.send(TRUNK, &forks[fork].request("INFO", ""));
        let info = world.last(PBX);
        assert_eq!(uri(&info), at);
        world.send(PBX, &response(&info, "200 OK", "", ""));
    }

    // The answer says where the call is, whatever rang before.
    world.send(PBX, &moved(&response(&invite, "200 OK", "two", &sdp(PBX, "")), "answered@10.0.0.8:5060"));
    caller.learn(&world.last(TRUNK));
    world.send(TRUNK, &caller.ack());
    assert_eq!(uri(&world.last(PBX)), "sip:answered@10.0.0.8:5060");
    caller.cseq = 4;
    hang_up(world, &mut caller);
}

#[test]
fn a_reliable_ringing_of_a_re_invite_moves_it() {
    let (mut world, mut caller, _) = answered(settings());
    world.send(TRUNK, &caller.next("INVITE", &sdp(TRUNK, "")));
    let asked = world.last(PBX);
    let ringing = saying(&response(&asked, "183 Session Progress", "", ""), "Require: 100rel\r\nRSeq: 1\r\n");
    world.send(PBX, &moved(&ringing, "desk@10.0.0.7:5062"));
    world.send(TRUNK, &{
        let rack = "RAck: 1 2 INVITE\r\n";
        caller.cseq += 1;
        caller.request_with("PRACK", rack, "")
    });
    let prack = world.last(PBX);
    assert_eq!(uri(&prack), "sip:desk@10.0.0.7:5062");
    world.send(PBX, &response(&prack, "200 OK", "", ""));
    world.send(PBX, &response(&asked, "488 Not Acceptable Here", "", ""));
    world.send(TRUNK, &Phone { cseq: 2, ..caller.clone() }.request("ACK", ""));
    world.last(PBX);
    hang_up(world, &mut caller);
}

#[test]
fn where_nobody_is_behind_us_an_update_moves_the_caller_too() {
    let (mut world, mut caller) = announced();
    world.send(TRUNK, &moved(&caller.next("UPDATE", ""), "cell@192.0.2.12:5062"));
    assert!(world.last(TRUNK).starts_with("SIP/2.0 200 "));
    world.finished(ringfence::units::Leg::Caller);
    let bye = world.last(TRUNK);
    assert!(bye.starts_with("BYE sip:cell@192.0.2.12:5062 "), "{bye}");
    world.send(TRUNK, &response(&bye, "200 OK", "", ""));
    world.rest();
}

#[test]
fn a_name_that_stands_for_us_is_not_told_to_the_trunk() {
    let ours = Settings { names: vec!["ringfence.example".into()], pbx_name: Some("pbx.example".into()), ..settings() };
    for (settings, known) in [(ours, true), (settings(), false)] {
        let mut world = World::new(settings);
        let target = "sip:01632960002@Ringfence.example".to_owned();
        let mut caller = Phone { target, ..Phone::inside("out", "01632960002") };
        let routes =
            "Route: <sip:ringfence.example.;lr>, <sip:pbx.example:5060;lr>\r\nRoute: <sip:orig@edge.example;lr>\r\n";
        world.send(PBX, &caller.request_with("INVITE", routes, &sdp(PBX, "")));
        let invite = world.last(TRUNK);
        let at =
            if known { format!("sip:01632960002@{TRUNK}") } else { "sip:01632960002@Ringfence.example".to_owned() };
        assert_eq!(uri(&invite), at);
        assert_eq!(invite.matches("Route: ").count(), if known { 1 } else { 3 }, "{invite}");
        assert!(invite.contains("Route: <sip:orig@edge.example;lr>\r\n"), "{invite}");
        world.answer((TRUNK, "trunk"), &invite, (PBX, &mut caller));
        world.last(TRUNK);
        // Who is at a name of ours is on the other side of us.
        caller.cseq += 1;
        world.send(PBX, &caller.request_with("REFER", "Refer-To: <sip:203@ringfence.example>\r\n", ""));
        let refer = world.last(TRUNK);
        let to = if known { format!("<sip:203@{TRUNK}>") } else { "<sip:203@ringfence.example>".to_owned() };
        assert_eq!(header(&refer, "Refer-To"), to);
        world.send(TRUNK, &response(&refer, "202 Accepted", "", ""));
        world.hang_up((PBX, &mut caller), TRUNK);
        world.rest();
    }
}

#[test]
fn an_address_in_a_network_of_a_trunk_leads_to_it_and_our_own_to_any() {
    let mut both = settings();
    both.trunks.push(Trunk::at("spare", Hop::udp(SPARE.parse().unwrap())));
    both.trunks[0].networks = vec!["10.0.0.0/24".parse().unwrap()];
    both.trunks[1].networks = vec!["198.51.100.0/24".parse().unwrap()];
    for (host, first, then) in [(US_INSIDE, TRUNK, Some(SPARE)), ("198.51.100.77", SPARE, None)] {
        let mut world = World::new(both.clone());
        let caller = Phone { target: format!("sip:01632960002@{host}"), ..Phone::inside("out", "01632960002") };
        world.send(PBX, &caller.request("INVITE", &sdp(PBX, "")));
        let invite = world.last(first);
        world.send(first, &response(&invite, "503 Service Unavailable", "trunk", ""));
        if let Some(then) = then {
            let invite = world.last(then);
            world.send(then, &response(&invite, "486 Busy Here", "trunk", ""));
        }
        assert!(world.last(PBX).starts_with(if then.is_some() { "SIP/2.0 486 " } else { "SIP/2.0 503 " }), "{host}");
        world.send(PBX, &caller.request("ACK", ""));
    }
}

#[test]
fn each_trunk_is_told_the_address_at_which_it_reaches_us() {
    let (gateway, six, beside) = ("10.0.9.9:5060", "[2001:db8::9]:5060", "10.0.8.8:5060");
    let mut all = settings();
    for (name, at) in [("gateway", gateway), ("six", six), ("beside", beside)] {
        all.trunks.push(Trunk::at(name, Hop::udp(at.parse().unwrap())));
    }
    let way =
        |network: &str, us: &str| Way { network: network.parse().unwrap(), local: Local::only(us.parse().unwrap()) };
    all.ways = vec![way("2001:db8::9/128", "[2001:db8::1]:5060"), way("10.0.9.0/24", "10.0.9.1:5070")];
    let told = |public: &str, media: &str| Settings {
        public_address: Some(public.parse().unwrap()),
        public_media_address: Some(media.parse().unwrap()),
        ..all.clone()
    };
    let router = told("203.0.113.5", "203.0.113.6");
    // As in a container, whose network nobody sees from outside.
    let host = told("192.168.1.5", "192.168.1.5");
    for (settings, at, us, media) in [
        (&router, TRUNK, "203.0.113.5:5060", "IP4 203.0.113.6"),
        (&router, gateway, "10.0.9.1:5070", "IP4 10.0.9.1"),
        (&router, six, "[2001:db8::1]:5060", "IP6 2001:db8::1"),
        (&router, beside, "192.0.2.1:5060", "IP4 192.0.2.1"),
        (&host, gateway, "192.168.1.5:5070", "IP4 192.168.1.5"),
    ] {
        let mut world = World::new(settings.clone());
        let mut caller = Phone { at, ..Phone::caller("in") };
        let offer = sdp(TRUNK, "");
        world.send(at, &caller.request("INVITE", &offer));
        let invite = world.last(PBX);
        assert!(invite.contains("c=IN IP4 10.0.0.1\r\n") && header(&invite, "Via").contains(US_INSIDE), "{invite}");
        world.send(PBX, &response(&invite, "200 OK", "callee", &sdp(PBX, "")));
        let ok = world.last(at);
        assert_eq!(header(&ok, "Contact"), format!("<sip:y@{us}>"));
        assert!(ok.contains(&format!("c=IN {media}\r\n")), "{ok}");
        caller.learn(&ok);
        world.send(at, &caller.ack());
        world.last(PBX);
        world.hang_up((at, &mut caller), PBX);
        world.last(at);

        let target = format!("sip:01632960002@{}", at.rsplit_once(':').unwrap().0);
        let caller = Phone { target, ..Phone::inside("out", "01632960002") };
        world.send(PBX, &caller.request("INVITE", &sdp(PBX, "")));
        let invite = world.last(at);
        assert!(header(&invite, "Via").starts_with(&format!("SIP/2.0/UDP {us};")), "{invite}");
        assert!(invite.contains(&format!("c=IN {media}\r\n")), "{invite}");
        world.send(at, &response(&invite, "486 Busy Here", "trunk", ""));
        world.last(at);
        world.send(PBX, &caller.request("ACK", ""));
        world.rest();
    }
}

/// A PBX that calls us by the address of another of our network cards than the one that leads to it.
#[test]
fn each_address_that_we_listen_at_is_ours() {
    let other = "203.0.113.5";
    let settings = Settings { listening: vec![other.parse().unwrap()], ..settings() };
    let mut world = World::new(settings);
    let caller = Phone { target: format!("sip:01632960002@{other}"), ..Phone::inside("out", "x") };
    let routed = caller.request_with("INVITE", &format!("Route: <sip:{other};lr>\r\n"), &sdp(PBX, ""));
    world.send(PBX, &routed);

    let invite = world.last(TRUNK);
    assert!(invite.starts_with(&format!("INVITE sip:01632960002@{TRUNK} ")) && !invite.contains(other), "{invite}");
    world.send(PBX, &caller.request("CANCEL", ""));
    world.forget_peer(PBX);
    world.forget_peer(TRUNK);
}

#[test]
fn a_trunks_name_is_its_name_with_the_dot_of_the_root_too() {
    let mut both = settings();
    both.trunks.push(Trunk { host: "spare.example".into(), ..Trunk::at("spare", Hop::udp(SPARE.parse().unwrap())) });
    for host in ["spare.example", "Spare.Example.", "198.51.100.20"] {
        let mut world = World::new(both.clone());
        let caller = Phone { target: format!("sip:01632960002@{host}"), ..Phone::inside("out", "01632960002") };
        world.send(PBX, &caller.request("INVITE", &sdp(PBX, "")));
        let invite = world.last(SPARE);
        world.send(SPARE, &response(&invite, "486 Busy Here", "trunk", ""));
        assert!(world.last(PBX).starts_with("SIP/2.0 486 "), "{host}");
        world.send(PBX, &caller.request("ACK", ""));
        world.last(SPARE);
        world.rest();
    }
}
