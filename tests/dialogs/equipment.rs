//! What is legal and odd, or not quite legal and common: as telephones, gateways and trunks send it.

use super::world::{PBX, Phone, TRUNK, World, response, sdp, settings};

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
