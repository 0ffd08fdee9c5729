//! Which calls the ear can listen to.

use ringfence::policy::action::Route;
use ringfence::rtp::control::MediaEvent;

use super::rejecting;
use crate::world::{PBX, Phone, TRUNK, World, response, sdp, settings};

#[test]
fn calls_without_usable_media_go_on_unheard() {
    for (format, why) in [
        ("RTP/SAVP 0 101", "srtp"),
        ("RTP/AVP 96\r\na=rtpmap:96 iLBC/8000", "codec"),
        ("RTP/AVP 0\r\na=rtpmap:0 GSM/8000", "codec"),
    ] {
        let mut world = World::new(settings());
        let mut caller = Phone::caller("call");
        let body = |at| sdp(at, "").replace("RTP/AVP 0 101", format);
        world.send(TRUNK, &caller.request("INVITE", &body(TRUNK)));
        let invite = world.last(PBX);
        world.send(PBX, &response(&invite, "200 OK", "callee", &body(PBX)));
        caller.learn(&world.last(TRUNK));
        world.send(TRUNK, &caller.ack());

        assert!(world.events.contains(&format!("answered analysed=false {why}")), "{why}: {:?}", world.events);
        world.send(TRUNK, &caller.next("BYE", ""));
        world.rest();
    }
}

#[test]
fn a_caller_who_sends_what_the_ear_does_not_know_goes_on_and_is_told_of_once() {
    let mut world = World::new(settings());
    let mut caller = Phone::caller("call");
    world.send(TRUNK, &caller.request("INVITE", &sdp(TRUNK, "").replace("RTP/AVP 0 101", "RTP/AVP 0 3 101")));
    let invite = world.last(PBX);
    world.answer((PBX, "callee"), &invite, (TRUNK, &mut caller));

    world.media_says(MediaEvent::Unheard);
    world.media_says(MediaEvent::Unheard);

    assert_eq!(world.events.iter().filter(|event| *event == "unheard, codec").count(), 1, "{:?}", world.events);
    world.send(TRUNK, &caller.next("BYE", ""));
    world.rest();
}

#[test]
fn nobody_misses_what_is_not_listened_to() {
    let mut world = World::new(settings());
    let mut caller = Phone::caller("call");
    let gsm = |at| sdp(at, "").replace("RTP/AVP 0 101", "RTP/AVP 3 101");
    world.send(TRUNK, &caller.request("INVITE", &gsm(TRUNK)));
    let invite = world.last(PBX);
    world.send(PBX, &response(&invite, "200 OK", "callee", &gsm(PBX)));
    caller.learn(&world.last(TRUNK));
    world.send(TRUNK, &caller.ack());

    world.media_says(MediaEvent::Unheard);

    assert!(!world.events.iter().any(|event| event.starts_with("unheard")), "{:?}", world.events);
    world.send(TRUNK, &caller.next("BYE", ""));
    world.rest();
}

/// Asterisk goes by the number of a static payload type whose name it does not know, and G.711 flows.
#[test]
fn a_name_that_nobody_knows_hides_no_static_payload_type() {
    for (number, map) in [(0, "X/8000"), (8, "X/8000"), (8, "PCMA/16000"), (9, "G722/16000"), (0, "GSM/16000")] {
        let format = format!("RTP/AVP {number} 101");
        let mut world = World::new(settings());
        let mut caller = Phone::caller("call");
        let offer = sdp(TRUNK, &format!("a=rtpmap:{number} {map}\r\n")).replace("RTP/AVP 0 101", &format);
        world.send(TRUNK, &caller.request("INVITE", &offer));
        let invite = world.last(PBX);
        world.send(PBX, &response(&invite, "200 OK", "callee", &sdp(PBX, "").replace("RTP/AVP 0 101", &format)));
        caller.learn(&world.last(TRUNK));
        world.send(TRUNK, &caller.ack());

        assert!(world.events.contains(&"answered analysed=true ".to_owned()), "{number} {map}: {:?}", world.events);
        world.send(TRUNK, &caller.next("BYE", ""));
        world.rest();
    }
}

#[test]
fn an_early_phone_with_another_codec_does_not_hide_the_one_that_answers() {
    let mut world = World::new(settings());
    let mut caller = Phone::caller("call");
    world.send(TRUNK, &caller.request("INVITE", &sdp(TRUNK, "").replace("RTP/AVP 0 101", "RTP/AVP 18 0 101")));
    let invite = world.last(PBX);
    let early = sdp(PBX, "").replace("RTP/AVP 0 101", "RTP/AVP 18 101");
    world.send(PBX, &response(&invite, "183 Session Progress", "one", &early));
    world.send(PBX, &response(&invite, "200 OK", "two", &sdp(PBX, "")));
    caller.learn(&world.last(TRUNK));
    world.send(TRUNK, &caller.ack());

    assert!(world.events.contains(&"answered analysed=true ".to_owned()), "{:?}", world.events);
    world.send(TRUNK, &caller.next("BYE", ""));
    world.rest();
}

#[test]
fn opus_is_heard_under_whatever_number_and_spelling() {
    for map in ["opus/48000/2", "OPUS/48000/2", "opus/48000"] {
        let offer = format!("RTP/AVP 96 0 101\r\na=rtpmap:96 {map}\r\na=fmtp:96 useinbandfec=1;stereo=0");
        let mut world = World::new(settings());
        world.media_in_ladder = true;
        let mut caller = Phone::caller("call");
        world.send(TRUNK, &caller.request("INVITE", &sdp(TRUNK, "").replace("RTP/AVP 0 101", &offer)));
        let invite = world.last(PBX);
        assert!(invite.contains(&offer), "{invite}");
        let taken = sdp(PBX, "").replace("RTP/AVP 0 101", "RTP/AVP 97\r\na=rtpmap:97 opus/48000/2");
        world.send(PBX, &response(&invite, "200 OK", "callee", &taken));
        caller.learn(&world.last(TRUNK));
        world.send(TRUNK, &caller.ack());

        let ladder = world.ladder();
        assert!(ladder.contains("plan caller [(96, Opus), (0, Pcmu)]"), "{ladder}");
        assert!(ladder.contains("plan callee [(97, Opus)]"), "{ladder}");
        assert!(ladder.contains("answered, analyse true"), "{ladder}");
        world.send(TRUNK, &caller.next("BYE", ""));
        world.rest();
    }
}

#[test]
fn a_caller_with_opus_alone_is_answered_in_it() {
    let mut world = World::new(rejecting(Route::Divert));
    let offer = "RTP/AVP 111 18 110 101\r\na=rtpmap:111 opus/48000/2\r\na=rtpmap:110 telephone-event/48000";
    let caller = Phone::caller("call");
    world.send(TRUNK, &caller.request("INVITE", &sdp(TRUNK, "").replace("RTP/AVP 0 101", offer)));

    let ok = world.last(TRUNK);
    assert!(ok.starts_with("SIP/2.0 200 "), "{ok}");
    assert!(ok.contains(" RTP/AVP 111 110\r\na=rtpmap:111 opus/48000/2\r\n"), "{ok}");
    assert!(ok.contains("a=rtpmap:110 telephone-event/48000\r\na=fmtp:110 0-15\r\n"), "{ok}");
}
