//! Descriptions of which only some codecs may pass (`media.codecs`).

use ringfence::call::Settings;
use ringfence::policy::action::Route;
use ringfence::policy::rules::{Policy, Rule};

use super::world::{PBX, Phone, TRUNK, World, response, sdp, settings};
use super::{expect, hang_up};

const OPUS: &str = "a=rtpmap:111 opus/48000/2\r\na=fmtp:111 useinbandfec=1\r\n";

fn passing(codecs: &[&'static str]) -> Settings {
    Settings { codecs: codecs.to_vec(), ..settings() }
}

/// A description of these formats.
fn of(at: &str, formats: &str, more: &str) -> String {
    sdp(at, more).replace(" RTP/AVP 0 101", &format!(" RTP/AVP {formats}"))
}

/// A call in which G.711 may pass; offer and answer hold more.
fn talking(world: &mut World) -> Phone {
    let mut caller = Phone::caller("call");
    world.send(TRUNK, &caller.request("INVITE", &of(TRUNK, "111 0 8 101", OPUS)));
    let invite = world.last(PBX);
    assert!(invite.contains(" RTP/AVP 0 8 101\r\na=rtpmap:101 telephone-event/8000\r\n"), "{invite}");
    assert!(!invite.contains("111"), "{invite}");
    world.send(PBX, &response(&invite, "200 OK", "callee", &of(PBX, "8 18 101", "a=fmtp:18 annexb=no\r\n")));
    let ok = world.last(TRUNK);
    assert!(ok.contains(" RTP/AVP 8 101\r\n") && !ok.contains("annexb"), "{ok}");
    caller.learn(&ok);
    world.send(TRUNK, &caller.ack());
    world.last(PBX);
    caller
}

#[test]
fn others_are_taken_out_of_offer_and_answer() {
    let mut world = World::new(passing(&["PCMA", "PCMU"]));
    world.media_in_ladder = true;
    let mut caller = talking(&mut world);

    expect(
        &mut world,
        "
             0 trunk > INVITE sip:201@192.0.2.1:5060 sdp
             0       * plan caller [(0, Pcmu), (8, Pcma)]
             0       > pbx INVITE sip:201@10.0.0.5:5060 sdp
             0 pbx > 200 OK (1 INVITE) sdp
             0       * plan callee [(8, Pcma)]
             0       * answered, analyse true
             0       > trunk 200 OK (1 INVITE) sdp
             0 trunk > ACK sip:y@192.0.2.1:5060
             0       > pbx ACK sip:y@10.0.0.5:5060
        ",
    );
    // Inside the call too; and an offer of which nothing is left changes nothing.
    world.send(TRUNK, &caller.next("INVITE", &of(TRUNK, "111 8 101", OPUS)));
    let again = world.last(PBX);
    assert!(again.contains(" RTP/AVP 8 101\r\n") && !again.contains("opus"), "{again}");
    world.send(PBX, &response(&again, "200 OK", "callee", &of(PBX, "8 101", "")));
    world.send(TRUNK, &caller.ack());
    world.last(PBX);
    world.ladder();
    world.send(TRUNK, &caller.next("INVITE", &of(TRUNK, "111 101", OPUS)));
    world.send(TRUNK, &caller.request("ACK", ""));
    expect(
        &mut world,
        "
             0 trunk > INVITE sip:y@192.0.2.1:5060 sdp
             0       > trunk 488 Not Acceptable Here (3 INVITE)
             0 trunk > ACK sip:y@192.0.2.1:5060
        ",
    );
    world.last(TRUNK);
    hang_up(world, &mut caller);
}

#[test]
fn an_offer_of_which_nothing_is_left_is_refused() {
    let mut world = World::new(passing(&["PCMA"]));
    let caller = Phone::caller("call");
    world.send(TRUNK, &caller.request("INVITE", &of(TRUNK, "111 0 13 101", OPUS)));
    world.send(TRUNK, &caller.request("ACK", ""));

    expect(
        &mut world,
        "
             0 trunk > INVITE sip:201@192.0.2.1:5060 sdp
             0       > trunk 488 Not Acceptable Here (1 INVITE)
             0 trunk > ACK sip:201@192.0.2.1:5060
        ",
    );
    world.rest();
}

#[test]
fn a_late_offer_of_which_nothing_is_left_ends_the_call() {
    let mut world = World::new(passing(&["PCMA"]));
    let caller = Phone::caller("call");
    world.send(TRUNK, &caller.request("INVITE", ""));
    let invite = world.last(PBX);
    world.send(PBX, &response(&invite, "200 OK", "callee", &of(PBX, "111 101", OPUS)));

    expect(
        &mut world,
        "
             0 trunk > INVITE sip:201@192.0.2.1:5060
             0       > pbx INVITE sip:201@10.0.0.5:5060
             0 pbx > 200 OK (1 INVITE) sdp
             0       > trunk 200 OK (1 INVITE) sdp
             0       > trunk BYE sip:x@192.0.2.10:5060
             0       > pbx BYE sip:y@10.0.0.5:5060
        ",
    );
    world.rest();
}

#[test]
fn an_answer_of_our_own_is_in_a_codec_that_may_pass() {
    let rule = Rule { name: "everybody".into(), when: vec![], route: Route::Divert };
    let policy = std::sync::Arc::new(Policy { rules: vec![rule], ..Policy::default() });
    let mut world = World::new(Settings { policy, ..passing(&["PCMU"]) });
    let caller = Phone::caller("call");
    world.send(TRUNK, &caller.request("INVITE", &of(TRUNK, "111 8 0 101", OPUS)));

    let ok = world.last(TRUNK);
    assert!(ok.starts_with("SIP/2.0 200 ") && ok.contains(" RTP/AVP 0 101\r\na=rtpmap:0 PCMU/8000\r\n"), "{ok}");
}

/// Some PBXs go by the first line, some by the last, and some read more spellings than others.
#[test]
fn a_number_that_is_said_to_be_a_codec_and_keys_is_one_of_them_for_everybody() {
    let keys = "a=rtpmap:101 telephone-event/8000\r\n";
    for (first, then) in [("a=rtpmap:101 PCMU/8000\r\n", keys), ("a=RTPMAP: 101 PCMU/8000\r\n", keys)] {
        let mut world = World::new(settings());
        world.media_in_ladder = true;
        let caller = Phone::caller("call");
        let offer = sdp(TRUNK, "").replace(keys, &format!("{first}{then}"));
        world.send(TRUNK, &caller.request("INVITE", &offer));

        let invite = world.last(PBX);
        let ladder = world.ladder();

        assert!(invite.contains("a=rtpmap:101 PCMU/8000\r\n") && !invite.contains("telephone-event"), "{invite}");
        assert!(ladder.contains("plan caller [(0, Pcmu), (101, Pcmu)]"), "{ladder}");
    }
}

/// What one PBX knows by name, another takes for what its number says.
#[test]
fn a_static_number_under_a_name_that_not_everybody_knows_is_its_number_for_everybody() {
    for name in ["AMR/8000", "GSM-EFR/8000", "G726-16/8000", "GSM/16000", "X/8000"] {
        let mut world = World::new(passing(&["PCMA", "PCMU"]));
        world.media_in_ladder = true;
        let caller = Phone::caller("call");
        world.send(TRUNK, &caller.request("INVITE", &of(TRUNK, "8 101", &format!("a=rtpmap:8 {name}\r\n"))));

        let invite = world.last(PBX);
        let ladder = world.ladder();

        assert!(invite.contains(" RTP/AVP 8 101\r\na=rtpmap:101 ") && !invite.contains("a=rtpmap:8"), "{invite}");
        assert!(ladder.contains("plan caller [(8, Pcma)]"), "{ladder}");
    }
}
