//! Video beside the talk: offered, refused, added and removed, late, without ports, diverted, after a restart.

use ringfence::call::{DivertCallee, Input, Settings, SrtpPolicy, SrtpSettings};
use ringfence::rtp::control::MediaEvent;
use ringfence::units::Leg;

use super::world::{PBX, Phone, TRUNK, World, response, sdp, settings};
use super::{MS, S, answered, expect, hang_up};

const REFUSED: &str = "m=video 0 RTP/AVPF 99\r\n";

/// A video section at this port.
fn camera(port: u16) -> String {
    format!("m=video {port} RTP/AVPF 99\r\na=rtpmap:99 H264/90000\r\na=rtcp-fb:99 nack pli\r\n")
}

fn shown(at: &str) -> String {
    sdp(at, &camera(5_000))
}

fn with_body(bare: &str, body: &str) -> String {
    let head = bare.trim_end_matches("Content-Length: 0\r\n\r\n");
    format!("{head}Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// An answered call with video; what was said of its media stands in the ladder from now on.
fn showing(settings: Settings) -> (World, Phone, Phone) {
    let mut world = World::new(settings);
    let mut caller = Phone::caller("call");
    world.send(TRUNK, &caller.request("INVITE", &shown(TRUNK)));
    let invite = world.last(PBX);
    world.send(PBX, &response(&invite, "200 OK", "callee", &shown(PBX)));
    caller.learn(&world.last(TRUNK));
    world.send(TRUNK, &caller.ack());
    world.last(PBX);
    world.ladder();
    world.media_in_ladder = true;
    (world, caller, Phone::callee(&invite, "callee"))
}

/// A re-INVITE of one phone at its address, answered by the other; offer and answer as they arrived.
fn exchange(world: &mut World, (from, phone): (&str, &mut Phone), offer: &str, to: &str, answer: &str) -> [String; 2] {
    world.send(from, &phone.next("INVITE", offer));
    let offer = world.last(to);
    world.send(to, &response(&offer, "200 OK", "", answer));
    let answer = world.last(from);
    world.send(from, &phone.ack());
    world.last(to);
    [offer, answer]
}

#[test]
fn video_that_both_want_passes_through_ports_of_its_own() {
    let mut world = World::new(settings());
    world.media_in_ladder = true;
    let mut caller = Phone::caller("call");
    world.send(TRUNK, &caller.request("INVITE", &shown(TRUNK)));
    let invite = world.last(PBX);
    assert!(invite.contains("m=audio 20006 ") && invite.ends_with(&camera(20_010)), "{invite}");
    world.send(PBX, &response(&invite, "183 Session Progress", "callee", &shown(PBX)));
    let early = world.last(TRUNK);
    assert!(early.contains("m=audio 20004 ") && early.ends_with(&camera(20_008)), "{early}");
    let held = camera(5_000) + "c=IN IP4 10.0.0.77\r\na=rtcp:5003\r\n";
    world.send(PBX, &response(&invite, "200 OK", "callee", &sdp(PBX, &held)));
    let ok = world.last(TRUNK);
    assert!(ok.ends_with("c=IN IP4 192.0.2.1\r\na=rtcp:20009\r\n") && !ok.contains("10.0.0.77"), "{ok}");
    caller.learn(&ok);
    world.send(TRUNK, &caller.ack());
    world.last(PBX);
    // Pictures alone neither keep a call nor end one.
    let call = *world.calls.last().unwrap();
    world.input(Input::Media { call: call.video(), event: MediaEvent::Silent });

    expect(
        &mut world,
        "
             0 trunk > INVITE sip:201@192.0.2.1:5060 sdp
             0       * plan caller [(0, Pcmu)]
             0       * video: plan caller []
             0       > pbx INVITE sip:201@10.0.0.5:5060 sdp
             0 pbx > 183 Session Progress (1 INVITE) sdp
             0       * plan callee [(0, Pcmu)]
             0       * video: plan callee []
             0       > trunk 183 Session Progress (1 INVITE) sdp
             0 pbx > 200 OK (1 INVITE) sdp
             0       * plan callee [(0, Pcmu)]
             0       * video: plan callee []
             0       * answered, analyse true
             0       * video: answered, analyse false
             0       > trunk 200 OK (1 INVITE) sdp
             0 trunk > ACK sip:y@192.0.2.1:5060
             0       > pbx ACK sip:y@10.0.0.5:5060
        ",
    );
    world.media_in_ladder = false;
    hang_up(world, &mut caller);
}

#[test]
fn ports_are_given_back_as_soon_as_an_answer_refuses_video() {
    for refuses in [REFUSED, ""] {
        let mut world = World::new(settings());
        let mut caller = Phone::caller("call");
        world.send(TRUNK, &caller.request("INVITE", &shown(TRUNK)));
        let invite = world.last(PBX);
        world.media_in_ladder = true;
        world.ladder();
        world.send(PBX, &response(&invite, "200 OK", "callee", &sdp(PBX, refuses)));
        let ok = world.last(TRUNK);
        assert!(ok.contains("m=audio 20004 ") && !ok.contains("m=video 2"), "{ok}");
        // A repetition says the same.
        world.send(PBX, &response(&invite, "200 OK", "callee", &sdp(PBX, refuses)));
        assert_eq!(world.last(TRUNK), ok);
        caller.learn(&ok);
        world.send(TRUNK, &caller.ack());
        world.last(PBX);

        expect(
            &mut world,
            "
                 0 pbx > 200 OK (1 INVITE) sdp
                 0       * plan callee [(0, Pcmu)]
                 0       * video: close
                 0       * answered, analyse true
                 0       > trunk 200 OK (1 INVITE) sdp
                 0 pbx > 200 OK (1 INVITE) sdp
                 0       > trunk 200 OK (1 INVITE) sdp
                 0 trunk > ACK sip:y@192.0.2.1:5060
                 0       > pbx ACK sip:y@10.0.0.5:5060
            ",
        );
        hang_up(world, &mut caller);
    }
}

#[test]
fn a_re_invite_adds_video_and_another_takes_it_away() {
    let (mut world, mut caller, mut callee) = answered(settings());
    world.media_in_ladder = true;
    let [offer, answer] = exchange(&mut world, (PBX, &mut callee), &shown(PBX), TRUNK, &shown(TRUNK));
    assert!(offer.contains("m=audio 20004 ") && offer.ends_with(&camera(20_008)), "{offer}");
    assert!(answer.contains("m=audio 20006 ") && answer.ends_with(&camera(20_010)), "{answer}");
    let removed = |at: &str| sdp(at, REFUSED);
    let [offer, answer] = exchange(&mut world, (TRUNK, &mut caller), &removed(TRUNK), PBX, &removed(PBX));
    assert!(offer.ends_with(REFUSED) && answer.ends_with(REFUSED), "{offer}{answer}");

    expect(
        &mut world,
        "
             0 pbx > INVITE sip:x@10.0.0.1:5060 sdp
             0       > trunk INVITE sip:x@192.0.2.10:5060 sdp
             0 trunk > 200 OK (101 INVITE) sdp
             0       * plan callee [(0, Pcmu)]
             0       * video: plan callee []
             0       * plan caller [(0, Pcmu)]
             0       * video: plan caller []
             0       > pbx 200 OK (101 INVITE) sdp
             0 pbx > ACK sip:x@10.0.0.1:5060
             0       > trunk ACK sip:y@192.0.2.10:5060
             0 trunk > INVITE sip:y@192.0.2.1:5060 sdp
             0       > pbx INVITE sip:x@10.0.0.5:5060 sdp
             0 pbx > 200 OK (2 INVITE) sdp
             0       * plan caller [(0, Pcmu)]
             0       * video: plan caller []
             0       * plan callee [(0, Pcmu)]
             0       * video: plan callee []
             0       * video: close
             0       > trunk 200 OK (2 INVITE) sdp
             0 trunk > ACK sip:y@192.0.2.1:5060
             0       > pbx ACK sip:y@10.0.0.5:5060
        ",
    );
    let [offer, answer] = exchange(&mut world, (PBX, &mut callee), &shown(PBX), TRUNK, &shown(TRUNK));
    assert!(offer.ends_with(&camera(20_012)) && answer.ends_with(&camera(20_014)), "other ports: {offer}{answer}");
    hang_up(world, &mut caller);
}

#[test]
fn an_update_adds_video_and_a_refused_offer_changes_nothing() {
    let (mut world, mut caller, mut callee) = answered(settings());
    world.media_in_ladder = true;
    world.send(PBX, &callee.next("INVITE", &shown(PBX)));
    let offer = world.last(TRUNK);
    world.send(TRUNK, &response(&offer, "488 Not Acceptable Here", "", ""));
    assert!(world.ladder().contains("video: close"), "nobody has it");
    world.send(PBX, &callee.request("ACK", ""));
    world.last(PBX);
    world.send(TRUNK, &caller.next("UPDATE", &shown(TRUNK)));
    let offer = world.last(PBX);
    assert!(offer.ends_with(&camera(20_014)), "{offer}");
    world.send(PBX, &response(&offer, "200 OK", "", &shown(PBX)));
    assert!(world.last(TRUNK).ends_with(&camera(20_012)));
    world.ladder();
    world.send(PBX, &callee.next("INVITE", &sdp(PBX, REFUSED)));
    let offer = world.last(TRUNK);
    world.send(TRUNK, &response(&offer, "488 Not Acceptable Here", "", ""));
    world.send(PBX, &callee.request("ACK", ""));
    assert!(!world.ladder().contains("video:"), "what was agreed on stays");
    world.last(PBX);
    hang_up(world, &mut caller);
}

#[test]
fn late_offers_of_video_are_answered_in_the_ack() {
    let mut world = World::new(settings());
    let mut caller = Phone::caller("call");
    world.send(TRUNK, &caller.request("INVITE", ""));
    let invite = world.last(PBX);
    world.send(PBX, &response(&invite, "200 OK", "callee", &shown(PBX)));
    let offer = world.last(TRUNK);
    assert!(offer.ends_with(&camera(20_008)), "{offer}");
    caller.learn(&offer);
    world.media_in_ladder = true;
    world.ladder();
    world.send(TRUNK, &with_body(&caller.ack(), &shown(TRUNK)));
    assert!(world.last(PBX).ends_with(&camera(20_010)));
    // The same inside the call, and this time the ACK refuses it.
    world.send(TRUNK, &caller.next("INVITE", ""));
    let re_invite = world.last(PBX);
    world.send(PBX, &response(&re_invite, "200 OK", "", &shown(PBX)));
    assert!(world.last(TRUNK).ends_with(&camera(20_008)));
    world.send(TRUNK, &with_body(&caller.ack(), &sdp(TRUNK, REFUSED)));
    assert!(world.last(PBX).ends_with(REFUSED));

    expect(
        &mut world,
        "
             0 trunk > ACK sip:y@192.0.2.1:5060 sdp
             0       * plan caller [(0, Pcmu)]
             0       * video: plan caller []
             0       > pbx ACK sip:y@10.0.0.5:5060 sdp
             0 trunk > INVITE sip:y@192.0.2.1:5060
             0       > pbx INVITE sip:y@10.0.0.5:5060
             0 pbx > 200 OK (2 INVITE) sdp
             0       * plan callee [(0, Pcmu)]
             0       * video: plan callee []
             0       > trunk 200 OK (2 INVITE) sdp
             0 trunk > ACK sip:y@192.0.2.1:5060 sdp
             0       * plan caller [(0, Pcmu)]
             0       * video: plan caller []
             0       * video: close
             0       > pbx ACK sip:y@10.0.0.5:5060 sdp
        ",
    );
    // It comes again with ports of its own.
    world.send(TRUNK, &caller.next("INVITE", ""));
    let re_invite = world.last(PBX);
    world.send(PBX, &response(&re_invite, "200 OK", "", &shown(PBX)));
    assert!(world.last(TRUNK).ends_with(&camera(20_012)));
    world.send(TRUNK, &with_body(&caller.ack(), &shown(TRUNK)));
    assert!(world.last(PBX).ends_with(&camera(20_014)));
    hang_up(world, &mut caller);
}

#[test]
fn an_offer_waits_for_its_ports_once_and_not_beyond_its_call() {
    let (mut world, mut caller, mut callee) = answered(settings());
    world.slow_video = Some(Vec::new());
    let offer = callee.next("INVITE", &shown(PBX));
    world.send(PBX, &offer);
    world.send(PBX, &offer);
    assert!(world.receive(TRUNK).is_none(), "it waits");
    world.video_goes_on();
    let passed = world.last(TRUNK);
    assert!(passed.ends_with(&camera(20_008)), "{passed}");
    world.send(TRUNK, &response(&passed, "200 OK", "", &sdp(TRUNK, REFUSED)));
    world.send(PBX, &callee.ack());
    world.last(TRUNK);
    world.last(PBX);

    // An answer that offers, and its repetition.
    world.send(TRUNK, &caller.next("INVITE", ""));
    let re_invite = world.last(PBX);
    world.slow_video = Some(Vec::new());
    for _ in 0..2 {
        world.send(PBX, &response(&re_invite, "200 OK", "", &shown(PBX)));
        assert!(world.receive(TRUNK).is_none_or(|message| message.starts_with("SIP/2.0 100 ")), "it waits");
    }
    world.video_goes_on();
    assert!(world.receive(TRUNK).is_some_and(|ok| ok.ends_with(&camera(20_012))));
    assert!(world.receive(TRUNK).is_none(), "once");
    world.send(TRUNK, &with_body(&caller.ack(), &sdp(TRUNK, REFUSED)));
    world.last(PBX);

    // The call ends before there are ports.
    world.slow_video = Some(Vec::new());
    world.send(PBX, &callee.next("INVITE", &shown(PBX)));
    world.send(TRUNK, &caller.next("BYE", ""));
    let bye = world.receive(PBX).unwrap();
    let end = world.receive(PBX).unwrap();
    assert!(bye.starts_with("BYE ") && end.starts_with("SIP/2.0 481 "), "{bye}{end}");
    world.send(PBX, &response(&bye, "200 OK", "", ""));
    world.send(PBX, &callee.request("ACK", ""));
    assert!(world.last(TRUNK).starts_with("SIP/2.0 200 "));
    world.video_goes_on();
    world.rest();
}

#[test]
fn an_invite_waits_for_both_sets_of_ports_and_may_be_cancelled_meanwhile() {
    let mut world = World::new(settings());
    world.slow_video = Some(Vec::new());
    let caller = Phone::caller("call");
    let invite = caller.request("INVITE", &shown(TRUNK));
    world.send(TRUNK, &invite);
    assert!(world.receive(PBX).is_none(), "it waits");
    world.send(TRUNK, &caller.request("CANCEL", ""));
    let end = world.last(TRUNK);
    assert!(end.starts_with("SIP/2.0 487 "), "{end}");
    world.send(TRUNK, &caller.request("ACK", ""));
    world.video_goes_on();
    assert!(world.receive(PBX).is_none(), "nobody's phone rings");
    world.rest();
}

#[test]
fn a_re_invite_that_waits_for_ports_can_be_cancelled_and_gives_them_back() {
    let (mut world, mut caller, mut callee) = answered(settings());
    world.media_in_ladder = true;
    for taken_over in [false, true] {
        world.slow_video = Some(Vec::new());
        world.send(PBX, &callee.next("INVITE", &shown(PBX)));
        world.send(PBX, &callee.request("CANCEL", ""));
        let end = world.last(PBX);
        assert!(end.starts_with("SIP/2.0 487 ") && end.contains(" INVITE\r\n"), "{end}");
        world.send(PBX, &callee.request("ACK", ""));
        assert!(world.receive(TRUNK).is_none(), "nobody hears of it");
        if taken_over {
            // The next offer waits for the same ports.
            world.send(PBX, &callee.next("INVITE", &shown(PBX)));
        }
        world.ladder();
        world.video_goes_on();
        assert_eq!(world.ladder().contains("* video: close"), !taken_over);
    }
    let offer = world.last(TRUNK);
    assert!(offer.ends_with(&camera(20_012)), "{offer}");
    world.send(TRUNK, &response(&offer, "200 OK", "", &shown(TRUNK)));
    assert!(world.last(PBX).ends_with(&camera(20_014)));
    world.send(PBX, &callee.ack());
    world.last(TRUNK);
    hang_up(world, &mut caller);
}

#[test]
fn offers_go_on_without_video_where_the_media_path_does_not_answer() {
    let mut world = World::new(settings());
    world.media_in_ladder = true;
    world.slow_video = Some(Vec::new());
    let mut caller = Phone::caller("call");
    world.send(TRUNK, &caller.request("INVITE", &shown(TRUNK)));
    world.run(MS(499));
    assert!(world.receive(PBX).is_none(), "it waits");
    world.run(MS(1));
    let invite = world.last(PBX);
    assert!(invite.contains("m=audio 20006 ") && invite.contains(REFUSED), "{invite}");
    world.send(PBX, &response(&invite, "200 OK", "callee", &sdp(PBX, REFUSED)));
    caller.learn(&world.last(TRUNK));
    world.send(TRUNK, &caller.ack());
    world.last(PBX);
    let mut callee = Phone::callee(&invite, "callee");

    // Inside the call the same, with the ports of then still under way.
    world.send(PBX, &callee.next("UPDATE", &shown(PBX)));
    assert!(world.receive(TRUNK).is_none(), "it waits");
    world.run(MS(500));
    let offer = world.last(TRUNK);
    assert!(offer.contains(REFUSED), "{offer}");
    world.send(TRUNK, &response(&offer, "200 OK", "", &sdp(TRUNK, REFUSED)));
    assert!(world.last(PBX).starts_with("SIP/2.0 200 "));
    // An answer that offers.
    world.send(TRUNK, &caller.next("INVITE", ""));
    let re_invite = world.last(PBX);
    world.send(PBX, &response(&re_invite, "200 OK", "", &shown(PBX)));
    world.run(MS(500));
    let ok = world.last(TRUNK);
    assert!(ok.starts_with("SIP/2.0 200 ") && ok.contains(REFUSED), "{ok}");
    world.send(TRUNK, &with_body(&caller.ack(), &sdp(TRUNK, REFUSED)));
    world.last(PBX);

    world.ladder();
    world.video_goes_on();
    assert_eq!(world.ladder().matches("* video: close").count(), 1, "they come, and nobody wants them");
    let [offer, _] = exchange(&mut world, (PBX, &mut callee), &shown(PBX), TRUNK, &shown(TRUNK));
    assert!(offer.contains("m=video 2"), "{offer}");
    hang_up(world, &mut caller);
}

#[test]
fn a_call_that_ends_before_its_late_ports_come_gives_them_back() {
    let (mut world, mut caller, mut callee) = answered(settings());
    world.slow_video = Some(Vec::new());
    world.send(PBX, &callee.next("UPDATE", &shown(PBX)));
    world.run(MS(500));
    let offer = world.last(TRUNK);
    world.send(TRUNK, &response(&offer, "200 OK", "", &sdp(TRUNK, REFUSED)));
    world.last(PBX);
    world.hang_up((TRUNK, &mut caller), PBX);
    world.last(TRUNK);
    world.video_goes_on();
    world.rest();
}

#[test]
fn ports_of_an_offer_that_has_no_answer_or_is_refused_here_are_given_back() {
    let (mut world, mut caller, mut callee) = answered(settings());
    world.media_in_ladder = true;
    world.send(PBX, &callee.next("UPDATE", &shown(PBX)));
    assert!(world.receive(TRUNK).is_some_and(|offer| offer.contains("m=video 2")));
    world.run(S(40));
    assert!(world.last(PBX).starts_with("SIP/2.0 408 "));
    assert!(world.ladder().contains("* video: close"), "nobody has answered");
    world.forget_peer(TRUNK);

    world.slow_video = Some(Vec::new());
    world.send(TRUNK, &caller.next("INVITE", &shown(TRUNK)));
    let offer = caller.clone();
    // A later request overtakes it.
    world.send(TRUNK, &caller.next("OPTIONS", ""));
    let asked = world.last(PBX);
    world.send(PBX, &response(&asked, "200 OK", "", ""));
    world.forget_peer(TRUNK);
    world.video_goes_on();
    assert!(world.last(TRUNK).starts_with("SIP/2.0 500 "), "out of order");
    world.send(TRUNK, &offer.request("ACK", ""));
    assert!(world.ladder().contains("* video: close"), "refused here");
    assert!(world.receive(PBX).is_none());
    hang_up(world, &mut caller);
}

#[test]
fn a_diversion_cuts_pictures_too_and_the_way_back_shows_them_again() {
    let (mut world, mut caller, mut callee) = showing(settings());
    world.judge(0.99);
    world.run(S(2));
    world.media_says(MediaEvent::Digit { leg: Leg::Callee, digit: '9' });

    expect(
        &mut world,
        "
             0       * hold keys of callee true
             0       * stop listening
             0       * cut caller true
             0       * video: cut caller true
             0       * cut callee true
             0       * video: cut callee true
             0       * play callee-diverted to callee
             0       * play caller-diverted to caller
          2000       * stop playing to caller
          2000       * cut caller false
          2000       * video: cut caller false
          2000       * stop playing to callee
          2000       * cut callee false
          2000       * video: cut callee false
          2000       * hold keys of callee false
        ",
    );
    let [offer, _] = exchange(&mut world, (PBX, &mut callee), &shown(PBX), TRUNK, &shown(TRUNK));
    assert!(offer.ends_with(&camera(20_008)), "{offer}");
    hang_up(world, &mut caller);
}

#[test]
fn video_that_is_added_to_a_diverted_call_shows_nothing() {
    let (mut world, mut caller, mut callee) = answered(settings());
    world.judge(0.99);
    world.media_in_ladder = true;
    world.ladder();
    world.send(PBX, &callee.next("INVITE", &shown(PBX)));
    assert!(world.last(TRUNK).ends_with(&camera(20_008)));
    expect(
        &mut world,
        "
             0 pbx > INVITE sip:x@10.0.0.1:5060 sdp
             0       * video: cut caller true
             0       * video: cut callee true
             0       > trunk INVITE sip:x@192.0.2.10:5060 sdp
        ",
    );
    let offer = caller.next("BYE", "");
    world.send(TRUNK, &offer);
    world.run(S(120));
    world.forget_peer(PBX);
    world.forget_peer(TRUNK);
    world.rest();
}

#[test]
fn where_nobody_is_behind_us_our_answer_has_no_pictures() {
    let (mut world, mut caller, _) = showing(Settings { callee_hears: DivertCallee::HangUp, ..settings() });
    world.judge(0.99);
    let bye = world.last(PBX);
    world.send(PBX, &response(&bye, "200 OK", "", ""));
    world.ladder();
    world.send(TRUNK, &caller.next("INVITE", &shown(TRUNK)));
    let ok = world.last(TRUNK);
    assert!(ok.contains("m=audio 20004 ") && ok.ends_with("m=video 0 RTP/AVPF 99\r\n"), "{ok}");
    world.send(TRUNK, &caller.ack());
    assert!(world.ladder().contains("video: close"));
    world.send(TRUNK, &caller.next("BYE", ""));
    assert!(world.last(TRUNK).starts_with("SIP/2.0 200 "));
    world.rest();
}

#[test]
fn beside_srtp_that_may_end_here_video_is_refused() {
    for (inside, outside) in [(SrtpPolicy::Off, SrtpPolicy::Offer), (SrtpPolicy::Offer, SrtpPolicy::Off)] {
        let srtp = SrtpSettings { inside, outside: vec![outside] };
        let mut world = World::new(Settings { srtp, ..settings() });
        let mut caller = Phone::caller("call");
        world.send(TRUNK, &caller.request("INVITE", &shown(TRUNK)));
        let invite = world.last(PBX);
        assert!(invite.contains("m=audio 20006 ") && invite.contains("m=video 0 "), "{invite}");
        world.send(PBX, &response(&invite, "200 OK", "callee", &sdp(PBX, REFUSED)));
        caller.learn(&world.last(TRUNK));
        world.send(TRUNK, &caller.ack());
        world.last(PBX);
        hang_up(world, &mut caller);
    }
}

#[test]
fn keys_of_both_pass_with_their_video_where_no_side_has_a_word_on_them() {
    let crypto = "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz\r\n";
    let media = |at: &str| sdp(at, &(crypto.to_owned() + &camera(5_000) + crypto)).replace("RTP/AVP", "RTP/SAVP");
    let mut world = World::new(settings());
    let mut caller = Phone::caller("call");
    world.send(TRUNK, &caller.request("INVITE", &media(TRUNK)));
    let invite = world.last(PBX);
    let video = camera(20_010).replace("RTP/AVP", "RTP/SAVP") + crypto;
    assert!(invite.ends_with(&video), "{invite}");
    world.send(PBX, &response(&invite, "200 OK", "callee", &media(PBX)));
    caller.learn(&world.last(TRUNK));
    world.send(TRUNK, &caller.ack());
    world.last(PBX);
    hang_up(world, &mut caller);
}

#[test]
fn a_restart_goes_on_with_video_at_its_ports_or_without_where_they_are_gone() {
    for gone in [false, true] {
        let (mut world, mut caller, mut callee) = showing(settings());
        let call = *world.calls.last().unwrap();
        let address = "192.0.2.10:6000".parse().ok();
        let event = MediaEvent::Latched { leg: Leg::Caller, address };
        world.input(Input::Media { call: call.video(), event });
        world.no_video_ports = gone;
        world.kill_and_start(S(2));
        let ladder = world.ladder();
        let again = [
            "* video: plan caller []",
            "* video: latch caller 192.0.2.10:6000",
            "* video: plan callee []",
            "* video: answered, analyse false",
        ];
        assert!(again.iter().all(|line| ladder.contains(line)), "{ladder}");
        assert_eq!(ladder.contains("* video: close"), gone, "{ladder}");
        world.no_video_ports = false;
        let [offer, answer] = exchange(&mut world, (PBX, &mut callee), &shown(PBX), TRUNK, &shown(TRUNK));
        assert!(offer.contains("m=audio 20004 ") && answer.contains("m=audio 20006 "), "{offer}{answer}");
        assert_eq!(offer.ends_with(&camera(20_008)), !gone, "{offer}");
        assert!(!offer.contains("m=video 0 "), "{offer}");
        hang_up(world, &mut caller);
    }
}

#[test]
fn a_journal_without_a_word_on_video_is_read() {
    let (world, _, _) = showing(settings());
    let kept = world.kept();
    let mut text = serde_json::to_value(&kept[0]).unwrap();
    assert!(text.as_object_mut().unwrap().remove("video").is_some());

    let old: ringfence::call::Snapshot = serde_json::from_value(text).unwrap();

    assert_eq!((old.video, old.ports), (None, kept[0].ports));
    let (world, _, _) = answered(settings());
    assert!(!serde_json::to_string(&world.kept()[0]).unwrap().contains("video"), "most calls have none");
}

#[test]
fn whatever_an_offer_holds_the_first_video_passes_and_no_address_of_its_peer() {
    let second = "m=video 5004 RTP/AVP 99\r\na=content:slides\r\n";
    let six = camera(5_000).replace("a=rtpmap", "c=IN IP6 2001:db8::77\r\na=rtpmap");
    let first = shown(TRUNK);
    let (head, audio) = first.split_once("m=audio").unwrap();
    let (audio, video) = audio.split_once("m=video").unwrap();
    let turned = format!("{head}m=video{video}m=audio{audio}");
    for (offer, expected) in [
        (shown(TRUNK) + second, "m=video 20010 RTP/AVPF 99\r\n"),
        (sdp(TRUNK, &six), "m=video 20010 RTP/AVPF 99\r\nc=IN IP4 10.0.0.1\r\n"),
        (sdp(TRUNK, &camera(5_000).replace("5000", "5000/2")), "m=video 20010 RTP/AVPF 99\r\n"),
        (sdp(TRUNK, &(REFUSED.to_owned() + &camera(5_000))), "m=video 20010 RTP/AVPF 99\r\n"),
        (turned, "m=video 20010 RTP/AVPF 99\r\n"),
        (sdp(TRUNK, REFUSED), REFUSED),
        (sdp(TRUNK, &camera(5_000).replace("RTP/AVPF", "UDP/TLS/RTP/SAVPF")), "m=video 0 "),
    ] {
        let mut world = World::new(settings());
        let caller = Phone::caller("call");
        world.send(TRUNK, &caller.request("INVITE", &offer));
        let invite = world.last(PBX);
        assert!(invite.contains(expected) && invite.contains("m=audio 20006 "), "{invite}");
        let places: Vec<_> = invite.lines().filter(|line| line.starts_with("c=") || line.starts_with("o=")).collect();
        assert!(places.iter().all(|line| line.ends_with("IN IP4 10.0.0.1")), "{places:?}");
        assert_eq!(invite.matches("m=video 2").count(), usize::from(expected.contains(" 20010 ")), "one of them");
        world.send(PBX, &response(&invite, "486 Busy Here", "callee", ""));
        world.send(TRUNK, &caller.request("ACK", ""));
        world.rest();
    }
    let mut world = World::new(settings());
    let caller = Phone::caller("call");
    world.send(TRUNK, &caller.request("INVITE", &sdp(TRUNK, &camera(5_000).repeat(200))));
    assert!(world.last(TRUNK).starts_with("SIP/2.0 488 "));
    world.send(TRUNK, &caller.request("ACK", ""));
    world.rest();
}
