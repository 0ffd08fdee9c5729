//! Dialogs that are no calls: the PBX subscribes to its voice mailbox at the provider, and asks again through us.

use ringfence::call::{Settings, Trunk};
use ringfence::sip::flow::Hop;
use ringfence::trunk::Target;

use super::saying;
use super::world::{PBX, Phone, TRUNK, US_INSIDE, US_OUTSIDE, World, header, response, settings};

const EVENT: &str = "Event: message-summary\r\nExpires: 3600\r\n";
/// A host of the trunk behind which the mailbox is.
const EDGE: &str = "192.0.2.11:5060";
const MAILBOX: &str = "sip:mwi@10.77.0.9:5080;transport=udp";

/// The trunk, with the edge as its second host.
fn with_edge() -> Settings {
    let mut settings = settings();
    let mut trunk = Trunk::at("provider", Hop::udp(TRUNK.parse().unwrap()));
    trunk.targets.push(Target { priority: 2, ..Target::only(Hop::udp(EDGE.parse().unwrap())) });
    settings.trunks = vec![trunk];
    settings
}

fn lines<'m>(message: &'m str, name: &str) -> Vec<&'m str> {
    let lines = message.split("\r\n").take_while(|line| !line.is_empty());
    lines.filter_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).collect()
}

/// What the mailbox says, and the edge that put itself on the route.
fn of_mailbox(message: &str) -> String {
    let contact = header(message, "Contact").to_owned();
    saying(message, &format!("Record-Route: <sip:{EDGE};lr>\r\n")).replace(&contact, &format!("<{MAILBOX}>"))
}

#[test]
fn a_subscription_is_refreshed_told_and_ended_through_us_and_at_its_end() {
    let mut world = World::new(with_edge());
    let mut pbx = Phone::inside("mwi", "201");
    world.send(PBX, &pbx.request_with("SUBSCRIBE", EVENT, ""));
    let subscribe = world.last(TRUNK);
    assert_eq!(header(&subscribe, "Contact"), format!("<sip:x@{US_OUTSIDE}>"));
    assert!(lines(&subscribe, "Record-Route").is_empty(), "{subscribe}");
    world.send(TRUNK, &of_mailbox(&response(&subscribe, "200 OK", "box", "")));
    let ok = world.last(PBX);
    let edge = format!("<sip:{EDGE};lr>");
    let us = format!("<sip:{US_INSIDE};lr>");
    assert_eq!(header(&ok, "Contact"), format!("<{MAILBOX}>"));
    assert_eq!(lines(&ok, "Record-Route"), [&*edge, &*us], "the PBX goes through us first");

    let notify = Phone {
        at: TRUNK,
        local: header(&ok, "To").to_owned(),
        remote: header(&ok, "From").to_owned(),
        target: format!("sip:x@{US_OUTSIDE}"),
        ..pbx.clone()
    };
    world.send(TRUNK, &of_mailbox(&notify.request_with("NOTIFY", "Event: message-summary\r\n", "")));
    let told = world.last(PBX);
    assert!(told.starts_with(&format!("NOTIFY sip:x@{PBX} SIP/2.0\r\n")), "{told}");
    assert_eq!(header(&told, "Contact"), format!("<{MAILBOX}>"));
    assert_eq!(lines(&told, "Record-Route"), [&*us, &*edge]);
    world.send(PBX, &saying(&response(&told, "200 OK", "", ""), &format!("Record-Route: {us}, {edge}\r\n")));
    let ok = world.last(TRUNK);
    assert!(ok.starts_with("SIP/2.0 200 ") && header(&ok, "Contact") == format!("<sip:y@{US_OUTSIDE}>"), "{ok}");
    assert_eq!(lines(&ok, "Record-Route"), [&*edge], "the trunk's own way, and none of ours");

    pbx.remote = header(&told, "From").to_owned();
    pbx.target = MAILBOX.to_owned();
    for expires in [3_600, 0] {
        pbx.cseq += 1;
        let routes = format!("Route: {us}\r\nRoute: {edge}\r\nEvent: message-summary\r\nExpires: {expires}\r\n");
        world.send(PBX, &pbx.request_with("SUBSCRIBE", &routes, ""));
        let again = world.last(EDGE);
        assert!(again.starts_with(&format!("SUBSCRIBE {MAILBOX} SIP/2.0\r\n")), "{again}");
        assert_eq!(lines(&again, "Route"), [&*edge], "{again}");
        assert_eq!(header(&again, "Contact"), format!("<sip:x@{US_OUTSIDE}>"));
        world.send(EDGE, &of_mailbox(&response(&again, "200 OK", "", "")));
        assert!(world.last(PBX).starts_with("SIP/2.0 200 "));
    }
    world.run(super::S(400));
    assert_eq!(world.switchboard.sizes(), ringfence::call::Sizes::default());
}

#[test]
fn what_the_pbx_tells_a_trunk_that_subscribed_leads_through_us() {
    let mut world = World::new(settings());
    let trunk = Phone::caller("watch");
    let asked = saying(&trunk.request_with("SUBSCRIBE", EVENT, ""), &format!("Record-Route: <sip:{EDGE};lr>\r\n"));
    world.send(TRUNK, &asked);
    let subscribe = world.last(PBX);
    assert_eq!(lines(&subscribe, "Record-Route"), [format!("<sip:{US_INSIDE};lr>"), format!("<sip:{EDGE};lr>")]);
    world.send(PBX, &response(&subscribe, "200 OK", "desk", ""));
    let ok = world.last(TRUNK);
    assert_eq!(header(&ok, "Contact"), format!("<sip:y@{US_OUTSIDE}>"), "not the PBX's own address");
    assert_eq!(lines(&ok, "Record-Route"), [format!("<sip:{EDGE};lr>")]);

    let notify = Phone {
        at: PBX,
        local: header(&ok, "To").to_owned(),
        remote: header(&ok, "From").to_owned(),
        target: header(&subscribe, "Contact").trim_matches(['<', '>']).to_owned(),
        ..trunk
    };
    let routes = format!("Route: <sip:{US_INSIDE};lr>\r\nRoute: <sip:{EDGE};lr>\r\n");
    world.send(PBX, &notify.request_with("NOTIFY", &routes, ""));
    let told = world.last(TRUNK);
    assert!(told.starts_with(&format!("NOTIFY sip:x@{TRUNK} SIP/2.0\r\n")), "{told}");
    assert_eq!(header(&told, "Contact"), format!("<sip:x@{US_OUTSIDE}>"));
    assert_eq!(lines(&told, "Route"), [format!("<sip:{EDGE};lr>")]);
    world.send(TRUNK, &response(&told, "200 OK", "", ""));
    world.rest();
}
