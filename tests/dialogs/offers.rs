//! Offers and answers (RFC 3264) on their way through: late, on hold, refused, moved, and of what is not heard.

use ringfence::rtp::control::MediaEvent;

use super::world::{PBX, Phone, TRUNK, World, header, response, sdp, settings};
use super::{answered, expect, hang_up};

#[test]
fn a_delayed_offer_is_answered_in_the_ack() {
    let mut world = World::new(settings());
    world.media_in_ladder = true;
    let mut caller = Phone::caller("call");
    world.send(TRUNK, &caller.request("INVITE", ""));
    let invite = world.last(PBX);
    world.send(PBX, &response(&invite, "200 OK", "callee", &sdp(PBX, "")));
    let offer = world.last(TRUNK);
    assert!(offer.contains("c=IN IP4 192.0.2.1\r\n"), "{offer}");
    caller.learn(&offer);
    world.send(TRUNK, &with_body(&caller.ack(), &sdp(TRUNK, "")));
    let ack = world.last(PBX);
    assert!(ack.contains("c=IN IP4 10.0.0.1\r\n"), "{ack}");

    expect(
        &mut world,
        "
             0 trunk > INVITE sip:201@192.0.2.1:5060
             0       > pbx INVITE sip:201@10.0.0.5:5060
             0 pbx > 200 OK (1 INVITE) sdp
             0       * plan callee [(0, Pcmu)]
             0       * answered, analyse true
             0       > trunk 200 OK (1 INVITE) sdp
             0 trunk > ACK sip:y@192.0.2.1:5060 sdp
             0       * plan caller [(0, Pcmu)]
             0       > pbx ACK sip:y@10.0.0.5:5060 sdp
        ",
    );
    hang_up(world, &mut caller);
}

#[test]
fn a_delayed_offer_that_the_ear_cannot_hear_is_told() {
    let plain = sdp(PBX, "");
    for (offer, why) in [
        (plain.replace("RTP/AVP 0 101", "RTP/AVP 18 101"), "codec"),
        (plain.replace("RTP/AVP", "RTP/SAVP"), "srtp"),
        (String::new(), "no_sdp"),
    ] {
        let mut world = World::new(settings());
        let mut caller = Phone::caller("call");
        world.send(TRUNK, &caller.request("INVITE", ""));
        let invite = world.last(PBX);
        world.send(PBX, &response(&invite, "200 OK", "callee", &offer));
        caller.learn(&world.last(TRUNK));
        world.send(TRUNK, &with_body(&caller.ack(), &offer.replace("10.0.0.5", "192.0.2.10")));

        assert!(world.events.contains(&format!("answered analysed=false {why}")), "{why}: {:?}", world.events);
        hang_up(world, &mut caller);
    }
}

#[test]
fn hold_in_every_spelling_arrives_as_it_was_spelled_and_keeps_a_silent_call() {
    let plain = sdp(PBX, "");
    for (offer, arrives, answer) in [
        (sdp(PBX, "a=sendonly\r\n"), "a=sendonly\r\n", sdp(TRUNK, "a=recvonly\r\n")),
        (sdp(PBX, "a=inactive\r\n"), "a=inactive\r\n", sdp(TRUNK, "a=inactive\r\n")),
        (plain.replace("c=IN IP4 10.0.0.5", "c=IN IP4 0.0.0.0"), "c=IN IP4 0.0.0.0\r\n", sdp(TRUNK, "a=recvonly\r\n")),
        (plain.replace("m=audio 4000", "m=audio 0"), "m=audio 0 ", sdp(TRUNK, "").replace("audio 4000", "audio 0")),
    ] {
        let (mut world, mut caller, mut callee) = answered(settings());
        world.send(PBX, &callee.next("INVITE", &offer));
        let hold = world.last(TRUNK);
        assert!(hold.contains(arrives) && !hold.contains("IP4 10.0.0.5"), "{hold}");
        world.send(TRUNK, &response(&hold, "200 OK", "", &answer));
        let ok = world.last(PBX);
        assert!(!ok.contains("IP4 192.0.2.10"), "{ok}");
        world.send(PBX, &callee.ack());
        world.media_says(MediaEvent::Silent);
        assert_eq!(world.switchboard.sizes().calls, 1, "{arrives}");
        world.send(PBX, &callee.next("INVITE", &plain));
        let resume = world.last(TRUNK);
        assert!(resume.contains("m=audio 20004 ") && resume.contains("c=IN IP4 192.0.2.1\r\n"), "{resume}");
        world.send(TRUNK, &response(&resume, "200 OK", "", &sdp(TRUNK, "")));
        world.send(PBX, &callee.ack());
        world.last(TRUNK);
        hang_up(world, &mut caller);
    }
}

#[test]
fn a_fax_and_the_way_back_pass_through_the_calls_own_ports() {
    let (mut world, mut caller, mut callee) = answered(settings());
    let fax = |at: &str| {
        sdp(at, "").replace("m=audio 4000", "m=audio 0")
            + "m=image 4004 udptl t38\r\na=T38FaxVersion:0\r\na=T38MaxBitRate:14400\r\n"
    };
    world.send(PBX, &callee.next("INVITE", &fax(PBX)));
    let offer = world.last(TRUNK);
    assert!(offer.contains("m=audio 0 ") && offer.contains("m=image 20004 udptl t38\r\n"), "{offer}");
    assert!(offer.contains("c=IN IP4 192.0.2.1\r\n") && offer.contains("a=T38FaxVersion:0\r\n"), "{offer}");
    world.send(TRUNK, &response(&offer, "200 OK", "", &fax(TRUNK)));
    let answer = world.last(PBX);
    assert!(answer.contains("m=image 20006 udptl t38\r\n") && answer.contains("c=IN IP4 10.0.0.1\r\n"), "{answer}");
    world.send(PBX, &callee.ack());
    world.send(TRUNK, &caller.next("INVITE", &sdp(TRUNK, "")));
    let back = world.last(PBX);
    assert!(back.contains("m=audio 20006 "), "{back}");
    world.send(PBX, &response(&back, "488 Not Acceptable Here", "", ""));
    world.send(TRUNK, &caller.request("ACK", ""));
    world.last(TRUNK);
    hang_up(world, &mut caller);
}

#[test]
fn video_without_ports_for_it_is_refused_and_the_sound_goes_on() {
    let mut world = World::new(settings());
    world.no_video_ports = true;
    let mut caller = Phone::caller("call");
    let video = "m=video 4002 RTP/AVP 99\r\nc=IN IP4 192.0.2.77\r\na=rtpmap:99 H264/90000\r\n";
    world.send(TRUNK, &caller.request("INVITE", &sdp(TRUNK, video)));
    let invite = world.last(PBX);
    assert!(invite.contains("m=audio 20006 ") && invite.contains("m=video 0 RTP/AVP 99\r\n"), "{invite}");
    assert!(!invite.contains("192.0.2.77"), "{invite}");
    world.send(PBX, &response(&invite, "200 OK", "callee", &sdp(PBX, "m=video 0 RTP/AVP 99\r\n")));
    caller.learn(&world.last(TRUNK));
    world.send(TRUNK, &caller.ack());
    world.last(PBX);
    hang_up(world, &mut caller);
}

#[test]
fn video_that_is_added_inside_a_call_and_finds_no_ports_is_refused_and_the_sound_goes_on() {
    let (mut world, mut caller, mut callee) = answered(settings());
    world.no_video_ports = true;
    let video = "m=video 4002 RTP/AVP 99\r\na=rtpmap:99 H264/90000\r\n";
    for from in [PBX, TRUNK] {
        let (phone, to, ours) =
            if from == PBX { (&mut callee, TRUNK, "audio 20004 ") } else { (&mut caller, PBX, "audio 20006 ") };
        world.send(from, &phone.next("INVITE", &sdp(from, video)));
        let offer = world.last(to);
        assert!(offer.contains(ours) && offer.contains("m=video 0 RTP/AVP 99\r\n"), "{offer}");
        world.send(to, &response(&offer, "200 OK", "", &sdp(to, "m=video 0 RTP/AVP 99\r\n")));
        let answer = world.last(from);
        assert!(answer.contains("m=audio 2000") && answer.contains("m=video 0 RTP/AVP 99\r\n"), "{answer}");
        world.send(from, &phone.ack());
        world.last(to);
    }
    assert_eq!(world.switchboard.sizes().calls, 1);
    hang_up(world, &mut caller);
}

#[test]
fn a_call_of_video_alone_is_refused_at_its_invite() {
    let mut world = World::new(settings());
    let caller = Phone::caller("call");
    let picture = sdp(TRUNK, "").replace("m=audio", "m=video");
    world.send(TRUNK, &caller.request("INVITE", &picture));
    assert!(world.last(TRUNK).starts_with("SIP/2.0 488 "));
    assert!(world.receive(PBX).is_none(), "nobody's phone rings");
    world.send(TRUNK, &caller.request("ACK", ""));
    world.rest();
}

#[test]
fn media_moved_to_a_third_party_still_pass_through_us() {
    let (mut world, mut caller, _) = answered(settings());
    let third =
        sdp("203.0.113.77:1", "a=rtcp:9 IN IP4 203.0.113.78\r\na=candidate:1 1 UDP 1 203.0.113.79 9 typ host\r\n");
    world.send(TRUNK, &caller.next("INVITE", &third));
    let moved = world.last(PBX);
    assert!(moved.contains("c=IN IP4 10.0.0.1\r\n") && moved.contains("a=rtcp:20007\r\n"), "{moved}");
    assert!(!moved.contains("203.0.113."), "{moved}");
    world.send(PBX, &response(&moved, "200 OK", "", &sdp(PBX, "")));
    world.send(TRUNK, &caller.ack());
    world.last(PBX);
    hang_up(world, &mut caller);
}

#[test]
fn a_re_invite_without_an_offer_is_answered_in_its_ack() {
    let (mut world, mut caller, _) = answered(settings());
    world.media_in_ladder = true;
    world.send(TRUNK, &caller.next("INVITE", ""));
    let re_invite = world.last(PBX);
    world.send(PBX, &response(&re_invite, "200 OK", "", &sdp(PBX, "a=sendonly\r\n")));
    assert!(world.last(TRUNK).contains("a=sendonly\r\n"));
    world.send(TRUNK, &with_body(&caller.ack(), &sdp(TRUNK, "a=recvonly\r\n")));
    let ack = world.last(PBX);
    assert!(ack.contains("c=IN IP4 10.0.0.1\r\n") && header(&ack, "CSeq") == "2 ACK", "{ack}");
    world.media_says(MediaEvent::Silent);

    assert_eq!(world.switchboard.sizes().calls, 1, "it is on hold");
    hang_up(world, &mut caller);
}

fn with_body(bare: &str, body: &str) -> String {
    let head = bare.trim_end_matches("Content-Length: 0\r\n\r\n");
    format!("{head}Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}
