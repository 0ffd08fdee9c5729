#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;
use crate::io::media::LAWS;
use crate::rtp::control::{Held, Rollovers, SrtpPlan};
use crate::rtp::packet::HEADER;
use crate::rtp::player::Late;
use crate::rtp::srtp::{MOST_ADDED, MasterKey, Opening, Sealing, Suite};
use std::sync::Arc;
use std::time::Duration;

pub(super) const CALLER: &str = "192.0.2.1:4000";
pub(super) const CALLEE: &str = "198.51.100.2:6000";

pub(super) struct Call {
    pub(super) pair: MediaPair,
    pub(super) now: Instant,
}

pub(super) fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

pub(super) fn rtp(payload_type: u8, sequence: u16, ssrc: u32, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x80, payload_type];
    packet.extend(sequence.to_be_bytes());
    packet.extend((u32::from(sequence) * 160).to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    packet.extend(payload);
    packet
}

fn rtcp(kind: u8, ssrc: u32) -> Vec<u8> {
    [&[0x80, kind, 0, 1][..], &ssrc.to_be_bytes()].concat()
}

impl Call {
    pub(super) fn new() -> Self {
        let now = crate::io::clock::now();
        let mut pair = MediaPair::new(PerLeg { caller: 1, callee: 2 }, &LAWS, now);
        for (leg, at, event) in [(Leg::Caller, CALLER, 101), (Leg::Callee, CALLEE, 96)] {
            let codecs = vec![(8, Codec::Pcma), (0, Codec::Pcmu)];
            pair.plan(
                leg,
                StreamPlan { rtp: Some(address(at)), codecs, telephone_event: Some(event), ..StreamPlan::default() },
                now,
            );
        }
        Self { pair, now }
    }

    /// Keys of the callee.
    pub(super) fn hold(&mut self, held: Held) {
        self.pair.hold_keys(Leg::Callee, held, self.now);
    }

    pub(super) fn send(&mut self, from: Leg, packet: &mut [u8], src: &str) -> Relayed {
        self.now += Duration::from_millis(20);
        self.pair.relay(from, packet, address(src), self.now)
    }

    /// A datagram on the RTCP port; cut to what goes on.
    pub(super) fn report(&mut self, from: Leg, packet: &mut Vec<u8>, src: &str) -> Relay {
        let (way, length) = self.pair.relay_rtcp(from, packet, address(src));
        packet.truncate(length);
        way
    }

    fn play(&mut self, to: Leg) {
        let coded: Arc<[u8]> = vec![9; 320].into();
        assert!(
            self.pair.play(
                to,
                [Prompt { pcmu: coded.clone(), pcma: coded.clone(), g722: coded.clone(), opus: coded.into() }]
            )
        );
    }
}

#[test]
fn each_leg_reaches_the_other_where_it_is() {
    let mut call = Call::new();

    let to_callee = call.send(Leg::Caller, &mut rtp(0, 1, 7, &[1; 160]), "192.0.2.1:4444");
    let to_caller = call.send(Leg::Callee, &mut rtp(8, 1, 8, &[1; 160]), CALLEE);

    assert_eq!(to_callee.way, Relay::Forward { to: address(CALLEE) });
    assert_eq!(to_callee.heard.map(|heard| heard.1), Some(Payload::Audio(Codec::Pcmu)));
    assert_eq!(to_caller.way, Relay::Forward { to: address("192.0.2.1:4444") }, "not the signalled port: the latched");
    assert_eq!(call.pair.counters().packets_out, PerLeg { caller: 1, callee: 1 });
}

#[test]
fn a_stream_that_another_follows_begins_with_a_marker_though_its_first_packets_were_not_believed() {
    let mut call = Call::new();
    call.send(Leg::Caller, &mut rtp(8, 1, 7, &[1; 160]), CALLER);
    let (mut ways, mut markers) = (Vec::new(), Vec::new());
    for n in 0..6 {
        let mut packet = rtp(if n == 0 { 0x88 } else { 8 }, 100 + n, 9, &[1; 160]);
        let relayed = call.send(Leg::Caller, &mut packet, CALLER);
        ways.push(matches!(relayed.way, Relay::Forward { .. }));
        markers.push(Header::read(&packet).unwrap().marker);
    }

    assert_eq!(ways, [false, false, true, true, true, true]);
    assert_eq!(markers[2..], [true, false, false, false]);
}

#[test]
fn a_key_that_was_pressed_in_a_cut_is_told_and_reaches_nobody_once_it_ends() {
    let mut call = Call::new();
    let press = |call: &mut Call, numbers: std::ops::Range<u16>, timestamp: u32| {
        let mut ways = Vec::new();
        for number in numbers {
            let mut packet = rtp(101, number, 8, &[9, 10, 0, 160]);
            packet[4..8].copy_from_slice(&timestamp.to_be_bytes());
            let relayed = call.send(Leg::Callee, &mut packet, CALLEE);
            ways.push((relayed.digit, matches!(relayed.way, Relay::Forward { .. })));
        }
        ways
    };

    call.pair.cut(Leg::Callee, true);
    let before = press(&mut call, 1..3, 160);
    call.pair.cut(Leg::Callee, false);
    let after = press(&mut call, 3..6, 160);
    let next = press(&mut call, 6..8, 1_600);

    assert_eq!(before, [(Some('9'), false), (None, false)]);
    assert_eq!(after, [(None, false); 3], "the same press");
    assert_eq!(next, [(Some('9'), true), (None, true)]);
}

#[test]
fn strangers_and_noise_are_counted_drops() {
    let mut call = Call::new();

    let stranger = call.send(Leg::Caller, &mut rtp(0, 1, 7, &[1; 160]), "203.0.113.9:4000");
    let noise = call.send(Leg::Caller, &mut [1, 2, 3], CALLER);

    assert_eq!(stranger.way, Relay::Drop(DropReason::UnknownSource));
    assert!(stranger.heard.is_none());
    assert_eq!(noise.way, Relay::Drop(DropReason::NotRtp));
    assert_eq!(call.pair.counters().dropped, [1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn a_cut_leg_is_heard_but_not_forwarded() {
    let mut call = Call::new();
    call.pair.cut(Leg::Caller, true);

    let cut = call.send(Leg::Caller, &mut rtp(0, 1, 7, &[1; 160]), CALLER);
    assert_eq!(cut.way, Relay::Drop(DropReason::Cut));
    assert!(cut.heard.is_some());

    call.pair.cut(Leg::Caller, false);
    assert!(matches!(call.send(Leg::Caller, &mut rtp(0, 2, 7, &[]), CALLER).way, Relay::Forward { .. }));
}

#[test]
fn keys_are_heard_by_either_description_even_while_a_prompt_plays() {
    let mut call = Call::new();
    call.play(Leg::Caller);
    let press = [9, 0x80, 3, 0x20];

    // The callee was given the caller's description, where events are 101.
    assert_eq!(call.send(Leg::Callee, &mut rtp(101, 1, 8, &press), CALLEE).digit, Some('9'));
    assert_eq!(call.send(Leg::Callee, &mut rtp(101, 1, 8, &press), CALLEE).digit, None, "the same press");
    assert_eq!(call.send(Leg::Caller, &mut rtp(96, 1, 7, &press), CALLER).digit, Some('9'));
    assert_eq!(call.send(Leg::Caller, &mut rtp(101, 9, 7, &press), CALLER).digit, Some('9'), "its own number");
}

#[test]
fn a_prompt_takes_the_codec_that_flows_and_then_gives_way() {
    let mut call = Call::new();
    call.send(Leg::Caller, &mut rtp(0, 41, 7, &[1; 160]), CALLER);
    call.play(Leg::Callee);
    let during = call.send(Leg::Caller, &mut rtp(0, 42, 7, &[1; 160]), CALLER);
    let mut played = Vec::new();
    while let Some((packet, to)) = call.pair.played(Leg::Callee, call.now) {
        assert_eq!(to, Some(address(CALLEE)));
        played.push(Header::read(&packet).unwrap());
    }
    let mut packet = rtp(0, 43, 7, &[1; 160]);
    let after = call.send(Leg::Caller, &mut packet, CALLER);

    assert_eq!(during.way, Relay::Drop(DropReason::Playing));
    assert_eq!(
        played.iter().map(|h| (h.payload_type, h.sequence.0, h.ssrc.0)).collect::<Vec<_>>(),
        [(0, 42, 7), (0, 43, 7)]
    );
    assert!(matches!(after.way, Relay::Forward { .. }));
    assert_eq!(Header::read(&packet).unwrap().sequence.0, 44);
    assert_eq!(after.heard.unwrap().0.sequence.0, 43, "the tap hears it as it came");
    assert_eq!(packet[HEADER..], [1; 160]);
}

#[test]
fn a_prompt_before_any_media_takes_a_codec_that_both_know() {
    let mut call = Call::new();
    let answer = StreamPlan { rtp: Some(address(CALLEE)), codecs: vec![(0, Codec::Pcmu)], ..StreamPlan::default() };
    call.pair.plan(Leg::Callee, answer, call.now);
    call.play(Leg::Caller);

    let (packet, to) = call.pair.played(Leg::Caller, call.now).unwrap();
    assert_eq!((packet[1] & 0x7F, to), (0, Some(address(CALLER))));
}

#[test]
fn a_leg_on_hold_without_address_is_sent_nothing_and_comes_back() {
    let mut call = Call::new();
    call.send(Leg::Callee, &mut rtp(0, 1, 8, &[]), CALLEE);
    let plan = call.pair.legs.callee.plan.clone();
    let held = StreamPlan { rtp: Some(address("0.0.0.0:6000")), ..plan.clone() };
    call.pair.plan(Leg::Callee, held, call.now);

    let during = call.send(Leg::Caller, &mut rtp(0, 1, 7, &[]), CALLER).way;
    call.pair.plan(Leg::Callee, plan, call.now);
    let after = call.send(Leg::Caller, &mut rtp(0, 2, 7, &[]), CALLER).way;

    assert_eq!(during, Relay::Drop(DropReason::NoDestination));
    assert_eq!(after, Relay::Forward { to: address(CALLEE) });
}

#[test]
fn a_prompt_that_is_not_encoded_yet_is_played_in_another_codec_or_not_at_all() {
    let mut call = Call::new();
    let coded: Arc<[u8]> = vec![9; 320].into();
    let late = Late::default();
    let prompt = Prompt { pcmu: coded.clone(), pcma: coded.clone(), g722: coded.clone(), opus: late.clone() };
    let mut plays_in = |codecs: &[(u8, Codec)]| {
        let plan = StreamPlan { rtp: Some(address(CALLEE)), codecs: codecs.to_vec(), ..StreamPlan::default() };
        call.pair.plan(Leg::Callee, plan, call.now);
        let plays = call.pair.play(Leg::Callee, [prompt.clone()]);
        plays.then(|| call.pair.played(Leg::Callee, call.now).unwrap().0[1] & 0x7F)
    };
    let both = [(111, Codec::Opus), (8, Codec::Pcma)];

    assert_eq!((plays_in(&both), plays_in(&both[..1])), (Some(8), None));

    late.set(coded.clone());
    assert_eq!((plays_in(&both[..1]), plays_in(&both[1..])), (Some(111), Some(8)));
}

#[test]
fn no_codec_no_prompt() {
    let now = crate::io::clock::now();
    let mut pair = MediaPair::new(PerLeg::default(), &LAWS, now);

    assert!(!pair.play(Leg::Caller, []));
}

proptest::proptest! {
    /// Whatever comes from whomever: nothing goes anywhere but to the two peers, and strangers are not heard.
    #[test]
    fn nonsense_from_anyone_is_survived(packets in proptest::collection::vec(
        (proptest::bool::ANY, 0u8..3, proptest::collection::vec(proptest::num::u8::ANY, 0..60), proptest::bool::ANY), 0..60,
    )) {
        let mut call = Call::new();
        for (caller, source, mut packet, valid) in packets {
            if let (true, Some(first)) = (valid, packet.first_mut()) {
                *first = 0x80;
            }
            let from = if caller { Leg::Caller } else { Leg::Callee };
            let src = [CALLER, CALLEE, "203.0.113.9:1"][usize::from(source)];
            let relayed = call.send(from, &mut packet, src);
            let (reported, length) = call.pair.relay_rtcp(from, &mut packet, address(src));
                proptest::prop_assert!(length <= packet.len());
            let own = (src == CALLER) == caller && source < 2;
            proptest::prop_assert!(own || matches!(relayed.way, Relay::Drop(_)) && relayed.heard.is_none());
            proptest::prop_assert!(own || matches!(reported, Relay::Drop(_)));
            if let Relay::Forward { to } = relayed.way {
                proptest::prop_assert_eq!(to, address(if caller { CALLEE } else { CALLER }));
            }
        }
    }
}

#[test]
fn a_fax_passes_between_its_peers_and_from_nobody_else() {
    let mut call = Call::new();
    call.send(Leg::Caller, &mut rtp(0, 1, 7, &[1; 160]), CALLER);
    for (leg, at) in [(Leg::Caller, "192.0.2.1:4100"), (Leg::Callee, "198.51.100.2:6100")] {
        let plan = StreamPlan { rtp: Some(address(at)), fax: true, ..StreamPlan::default() };
        call.pair.plan(leg, plan, call.now);
    }
    let udptl = [0, 1, 3, 6, 0, 0];

    let from_caller = call.send(Leg::Caller, &mut udptl.clone(), "192.0.2.1:4100");
    let stranger = call.send(Leg::Caller, &mut udptl.clone(), "203.0.113.9:4100");

    assert_eq!(from_caller.way, Relay::Forward { to: address("198.51.100.2:6100") });
    assert_eq!(from_caller.length, udptl.len());
    assert!(from_caller.heard.is_none(), "there is nothing to hear");
    assert_eq!(stranger.way, Relay::Drop(DropReason::UnknownSource));
}

/// A gateway sends audio until it has the answer to its re-INVITE.
#[test]
fn a_fax_goes_where_its_description_says_though_audio_was_still_on_its_way() {
    let mut call = Call::new();
    call.send(Leg::Caller, &mut rtp(0, 1, 7, &[1; 160]), CALLER);
    for (leg, at) in [(Leg::Caller, "192.0.2.1:4100"), (Leg::Callee, "198.51.100.2:6100")] {
        let plan = StreamPlan { rtp: Some(address(at)), fax: true, ..StreamPlan::default() };
        call.pair.plan(leg, plan, call.now);
    }
    call.send(Leg::Caller, &mut rtp(0, 2, 7, &[1; 160]), CALLER);

    let from_callee = call.send(Leg::Callee, &mut [0, 1, 3, 6, 0, 0], "198.51.100.2:6100");

    assert_eq!(from_callee.way, Relay::Forward { to: address("192.0.2.1:4100") });
}

#[test]
fn a_fax_passes_behind_nat_where_the_audio_did() {
    let mut call = Call::new();
    let (audio, fax) = ("198.51.100.9:31000", "198.51.100.9:31100");
    let plan = StreamPlan { rtp: Some(address("10.0.0.5:4000")), ..call.pair.legs.caller.plan.clone() };
    call.pair.plan(Leg::Caller, plan, call.now);
    for n in 1..=50 {
        call.send(Leg::Caller, &mut rtp(0, n, 7, &[1; 160]), audio);
    }
    for (leg, at) in [(Leg::Caller, "10.0.0.5:4100"), (Leg::Callee, "198.51.100.2:6100")] {
        let plan = StreamPlan { rtp: Some(address(at)), fax: true, ..StreamPlan::default() };
        call.pair.plan(leg, plan, call.now);
    }
    let udptl = [0, 1, 3, 6, 0, 0];

    // Audio that was still on its way.
    call.send(Leg::Caller, &mut rtp(0, 51, 7, &[1; 160]), audio);
    call.now += Duration::from_millis(100);
    let stranger = call.send(Leg::Caller, &mut udptl.clone(), "203.0.113.9:31100");
    let from_caller = call.send(Leg::Caller, &mut udptl.clone(), fax);
    let from_callee = call.send(Leg::Callee, &mut udptl.clone(), "198.51.100.2:6100");

    assert_eq!(stranger.way, Relay::Drop(DropReason::UnknownSource));
    assert_eq!(from_caller.way, Relay::Forward { to: address("198.51.100.2:6100") });
    assert_eq!(from_callee.way, Relay::Forward { to: address(fax) });
    assert!(from_caller.moved && !from_callee.moved, "it is there after a restart too");
    assert_eq!(call.pair.elsewhere(Leg::Caller), Some(address(fax)));
}

/// G.729, of which nothing can be decoded here, was agreed on; the caller's offer named G.711 too.
#[test]
fn a_codec_that_is_only_relayed_introduces_its_sender_behind_nat_and_makes_way_for_the_port_that_is_named() {
    for (named, comes_from) in [("10.0.0.5:4000", "198.51.100.9:31000"), (CALLER, CALLER)] {
        let mut call = Call::new();
        let offered = [(18, "G729", 8_000), (8, "PCMA", 8_000), (101, "telephone-event", 8_000)];
        let answered = [(18, "G729", 8_000), (101, "telephone-event", 8_000)];
        let offer = StreamPlan::described(Some(address(named)), offered.into_iter());
        call.pair.plan(Leg::Caller, offer, call.now);
        let answer = StreamPlan::described(Some(address(CALLEE)), answered.into_iter());
        call.pair.plan(Leg::Callee, answer, call.now);
        call.send(Leg::Caller, &mut rtp(18, 1, 99, &[9; 20]), "192.0.2.1:9");

        let ways = [1, 2, 3].map(|n| call.send(Leg::Caller, &mut rtp(18, n, 7, &[9; 20]), comes_from).way);

        let passes = Relay::Forward { to: address(CALLEE) };
        assert_eq!(ways, [Relay::Drop(DropReason::UnknownSource), passes, passes], "{named}");
    }
}

#[test]
fn keys_are_agreed_on_beside_the_media_by_peers_that_said_so_and_by_nobody_else() {
    let handshake = || vec![22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let mut call = Call::new();
    assert_eq!(call.send(Leg::Caller, &mut handshake(), CALLER).way, Relay::Drop(DropReason::NotRtp), "a plain call");
    for leg in Leg::BOTH {
        let plan = StreamPlan { dtls: true, ..call.pair.legs[leg].plan.clone() };
        call.pair.plan(leg, plan, call.now);
    }

    let from_caller = call.send(Leg::Caller, &mut handshake(), CALLER);
    let from_callee = call.send(Leg::Callee, &mut handshake(), CALLEE);
    let reports = call.report(Leg::Caller, &mut handshake(), "192.0.2.1:4001");
    let strangers = ["203.0.113.9:4000", "203.0.113.9:4001"].map(|src| {
        (call.send(Leg::Caller, &mut handshake(), src).way, call.report(Leg::Caller, &mut handshake(), src))
    });
    let other = call.send(Leg::Caller, &mut [19, 254, 253, 0], CALLER).way;
    call.pair.cut(Leg::Caller, true);
    let cut = call.send(Leg::Caller, &mut handshake(), CALLER).way;

    assert_eq!(from_caller.way, Relay::Forward { to: address(CALLEE) });
    assert_eq!((from_caller.length, from_caller.heard), (13, None));
    assert_eq!(from_callee.way, Relay::Forward { to: address(CALLER) });
    assert_eq!(reports, Relay::Forward { to: address("198.51.100.2:6001") });
    let unknown = Relay::Drop(DropReason::UnknownSource);
    assert_eq!(strangers, [(unknown, unknown); 2]);
    assert_eq!((other, cut), (Relay::Drop(DropReason::NotRtp), Relay::Drop(DropReason::Cut)));
}

#[test]
fn reports_pass_beside_the_media_and_only_from_their_source() {
    let mut call = Call::new();
    call.send(Leg::Caller, &mut rtp(0, 1, 7, &[1; 160]), CALLER);

    let own = call.report(Leg::Caller, &mut rtcp(201, 7), "192.0.2.1:4001");
    let bye = call.report(Leg::Caller, &mut rtcp(203, 99), "192.0.2.1:4001");
    let stranger = call.report(Leg::Caller, &mut rtcp(203, 7), "203.0.113.9:4001");
    let muxed = call.send(Leg::Caller, &mut rtcp(201, 7), CALLER);
    let answer = call.report(Leg::Callee, &mut rtcp(201, 8), "198.51.100.2:6001");

    assert_eq!(own, Relay::Forward { to: address("198.51.100.2:6001") });
    assert_eq!([bye, stranger], [Relay::Drop(DropReason::UnknownSource); 2]);
    assert_eq!(muxed.way, Relay::Forward { to: address("198.51.100.2:6001") }, "the callee keeps two ports");
    assert_eq!(answer, Relay::Forward { to: address("192.0.2.1:4001") });
}

/// The words of a report of `ssrc` about `heard`, whose newest packet was `highest`.
pub(super) fn report(ssrc: u32, heard: u32, highest: u32) -> Vec<u8> {
    let sender = [0x81C8_000C, ssrc, 1, 2, 8_000, 50, 8_000];
    let words = sender.into_iter().chain([heard, 0, highest, 0, 0, 0]);
    words.flat_map(u32::to_be_bytes).collect()
}

pub(super) fn word(packet: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(*packet[at * 4..].first_chunk().unwrap())
}

#[test]
fn reports_after_a_prompt_speak_of_the_stream_that_their_reader_knows() {
    let mut call = Call::new();
    for n in 1..=50 {
        call.send(Leg::Caller, &mut rtp(0, n, 7, &[1; 160]), CALLER);
        call.send(Leg::Callee, &mut rtp(0, 900 + n, 8, &[1; 160]), CALLEE);
    }
    call.play(Leg::Callee);
    call.send(Leg::Caller, &mut rtp(0, 51, 7, &[1; 160]), CALLER);
    assert!(call.pair.played(Leg::Callee, call.now).is_some());
    let mut during = report(7, 8, 950);
    let mut about_prompt = report(8, 7, 51);
    call.report(Leg::Caller, &mut during, "192.0.2.1:4001");
    call.report(Leg::Callee, &mut about_prompt, "198.51.100.2:6001");
    while call.pair.played(Leg::Callee, call.now).is_some() {}
    // From here on the caller's packets are another source's.
    call.now += Duration::from_millis(100);
    for n in 1..=5 {
        call.send(Leg::Caller, &mut rtp(0, 10_000 + n, 77, &[1; 160]), CALLER);
    }
    let mut after = report(77, 8, 955);
    let mut about = report(8, 7, 57);
    let forward = call.report(Leg::Caller, &mut after, "192.0.2.1:4001");
    call.report(Leg::Callee, &mut about, "198.51.100.2:6001");

    assert_eq!(word(&during, 0), 0x81C9_0007, "the caller's clock means nothing while a prompt plays");
    assert_eq!((word(&during, 1), word(&during, 2), word(&during, 4)), (7, 8, 950));
    assert_eq!(
        word(&about_prompt, 0),
        0x80C8_0006,
        "the callee's own counts pass, what it heard of the prompt does not"
    );
    assert_eq!(forward, Relay::Forward { to: address("198.51.100.2:6001") });
    assert_eq!(
        (word(&after, 1), word(&after, 5), word(&after, 6)),
        (7, 50 + 52, 8_000 + 52 * 160),
        "50 and a prompt of 2"
    );
    assert_eq!((word(&about, 7), word(&about, 9)), (77, 10_005), "in the numbers of who sends it");
}

/// What the caller is told of its own newest packet where the callee's newest is this one, `rounds` into the stream.
fn told(call: &mut Call, newest: &[u8], rounds: u32, about: u32) -> (u32, u32) {
    let heard = Header::read(newest).unwrap();
    let mut about_it = report(8, heard.ssrc.0, rounds << 16 | u32::from(heard.sequence.0));
    call.report(Leg::Callee, &mut about_it, "198.51.100.2:6001");
    assert_eq!(word(&about_it, 7), about);
    (word(&about_it, 9) >> 16, word(&about_it, 9) & 0xFFFF)
}

#[test]
fn rounds_of_numbers_in_reports_are_those_of_who_sends_the_stream() {
    let mut call = Call::new();
    call.send(Leg::Callee, &mut rtp(0, 1, 8, &[1; 160]), CALLEE);
    // A prompt is the first thing that the callee hears; the source behind it is near the end of its numbers.
    call.play(Leg::Callee);
    while call.pair.played(Leg::Callee, call.now).is_some() {}
    let send = |call: &mut Call, ssrc, from: u16, to: u16| {
        let mut newest = Vec::new();
        for n in 0..=to.wrapping_sub(from) {
            newest = rtp(0, from.wrapping_add(n), ssrc, &[1; 160]);
            call.send(Leg::Caller, &mut newest, CALLER);
        }
        newest
    };
    let newest = send(&mut call, 7, 65_500, 65_530);
    assert_eq!(told(&mut call, &newest, 0, 7), (0, 65_530));
    let newest = send(&mut call, 7, 65_531, 20);
    assert_eq!(told(&mut call, &newest, 0, 7), (1, 20));
    // A prompt that is shorter than what it stands for, and one that is longer.
    call.play(Leg::Callee);
    send(&mut call, 7, 21, 40);
    while call.pair.played(Leg::Callee, call.now).is_some() {}
    let newest = send(&mut call, 7, 41, 50);
    assert_eq!(told(&mut call, &newest, 0, 7), (1, 50));
    call.play(Leg::Callee);
    while call.pair.played(Leg::Callee, call.now).is_some() {}
    let newest = send(&mut call, 7, 51, 60);
    assert_eq!(told(&mut call, &newest, 0, 7), (1, 60));

    // Keys that are left out at the end of a round.
    let mut call = Call::new();
    call.pair.hold_keys(Leg::Caller, Held::All, call.now);
    call.send(Leg::Callee, &mut rtp(0, 1, 8, &[1; 160]), CALLEE);
    send(&mut call, 7, 65_500, 65_533);
    for n in 0..5 {
        call.send(Leg::Caller, &mut rtp(96, 65_534_u16.wrapping_add(n), 7, &[1, 10, 0, 160]), CALLER);
    }
    let newest = send(&mut call, 7, 3, 4);
    assert_eq!(Header::read(&newest).unwrap().sequence.0, 65_535);
    assert_eq!(told(&mut call, &newest, 0, 7), (1, 4), "the callee's side has not come round yet");
    let newest = send(&mut call, 7, 5, 6);
    assert_eq!(told(&mut call, &newest, 1, 7), (1, 6));
}

/// A receiver throws away what it has not asked for, so that beside its voice a caller could show the ear another.
#[test]
fn audio_that_nobody_has_asked_for_does_not_come_between_audio_that_somebody_has() {
    let mut call = Call::new();
    let asks = StreamPlan { rtp: Some(address(CALLEE)), codecs: vec![(8, Codec::Pcma)], ..StreamPlan::default() };
    call.pair.plan(Leg::Callee, asks, call.now);
    let mut sequence = 0;
    let mut sent = |call: &mut Call, payload_type: u8| {
        sequence += 1;
        let mut packet = rtp(payload_type, sequence, 7, &[0; 160]);
        let relayed = call.send(Leg::Caller, &mut packet, CALLER);
        (
            matches!(relayed.way, Relay::Forward { .. }),
            relayed.heard.is_some(),
            u16::from_be_bytes([packet[2], packet[3]]),
        )
    };

    // A gateway that goes by its own numbers is understood.
    assert!((0..60).all(|_| matches!(sent(&mut call, 0), (true, true, _))));
    let (_, _, first) = sent(&mut call, 8);
    for n in 1..50u16 {
        assert!(!sent(&mut call, 0).0);
        assert!(!sent(&mut call, 9).1);
        assert_eq!(sent(&mut call, 8), (true, true, first.wrapping_add(n)), "without a gap");
    }
    assert_eq!(
        call.pair.counters().dropped[DropReason::ALL.iter().position(|r| *r == DropReason::Unasked).unwrap()],
        98
    );
    // One that has switched is heard again within a second.
    let lost = (0..200).position(|_| sent(&mut call, 0).0);
    assert!(lost.is_some_and(|lost| lost <= 50), "{lost:?}");
}

/// Music from another source plays when the key of a hold's end comes.
#[test]
fn a_key_that_changes_behind_music_costs_the_talk_nothing() {
    let suite = Suite::Aes128Sha1_80;
    let key = |n: u8| MasterKey::new([n; 30]);
    let plan = |call: &mut Call, theirs: u8, heard: u32| {
        let rollovers = Rollovers { heard, ..Rollovers::default() };
        let srtp = SrtpPlan { suite, ours: key(9), theirs: Some(key(theirs)), rollovers, resumed: false };
        let plan = StreamPlan { srtp: Some(Box::new(srtp)), ..call.pair.legs.caller.plan.clone() };
        call.pair.plan(Leg::Caller, plan, call.now);
    };
    let opens = |call: &mut Call, theirs: u8, rounds: u32, sequence: u16, ssrc: u32| {
        let packet = rtp(0, sequence, ssrc, &[1; 160]);
        let mut buffer = [packet.as_slice(), &[0; MOST_ADDED]].concat();
        let length = Sealing::new(suite, &key(theirs), rounds).rtp(&mut buffer, packet.len()).unwrap();
        call.pair.open(Leg::Caller, false, &mut buffer[..length]) == Some(packet.len())
    };
    let mut call = Call::new();
    plan(&mut call, 1, 2);
    assert!(opens(&mut call, 1, 2, 100, 7) && opens(&mut call, 1, 0, 9, 8));

    plan(&mut call, 2, 0);

    assert!(opens(&mut call, 2, 2, 120, 7));
}

#[test]
fn a_peer_that_changes_its_key_counts_on_or_begins_anew() {
    let suite = Suite::Aes128Sha1_80;
    let key = |n: u8| MasterKey::new([n; 30]);
    let plan = |call: &mut Call, theirs: u8, heard: u32| {
        let srtp = SrtpPlan {
            suite,
            ours: key(9),
            theirs: Some(key(theirs)),
            rollovers: Rollovers { heard, ..Rollovers::default() },
            resumed: false,
        };
        let plan = StreamPlan { srtp: Some(Box::new(srtp)), ..call.pair.legs.caller.plan.clone() };
        call.pair.plan(Leg::Caller, plan, call.now);
    };
    let opens = |call: &mut Call, theirs: u8, rounds: u32, sequence: u16| {
        let packet = rtp(0, sequence, 7, &[1; 160]);
        let mut buffer = [packet.as_slice(), &[0; MOST_ADDED]].concat();
        let length = Sealing::new(suite, &key(theirs), rounds).rtp(&mut buffer, packet.len()).unwrap();
        call.pair.open(Leg::Caller, false, &mut buffer[..length]) == Some(packet.len())
    };
    // Where its numbers came round twice under the first key: they may have done so once more, or a peer counts anew.
    for (rounds, ok) in [(2, true), (3, true), (0, true), (1, true), (4, false)] {
        let mut call = Call::new();
        plan(&mut call, 1, 2);
        assert!(opens(&mut call, 1, 2, 100));
        plan(&mut call, 2, 0);
        assert_eq!(call.pair.rolled(Leg::Caller).map(|rolled| rolled.heard), Some(2), "until it is known");
        assert!(!opens(&mut call, 1, 2, 101), "the old key");

        assert_eq!(opens(&mut call, 2, rounds, 102), ok, "{rounds}");

        if ok {
            assert!(opens(&mut call, 2, rounds, 103) && !opens(&mut call, 2, (rounds + 2) % 4, 104), "settled");
        }
        // Each further key goes on from the one before, though nothing was sent under it.
        plan(&mut call, 3, 0);
        plan(&mut call, 4, 0);
        assert!(!ok || opens(&mut call, 4, rounds, 105), "{rounds}");
    }
}

#[test]
fn another_process_seals_on_where_the_numbers_have_just_come_round() {
    let (suite, key) = (Suite::Aes128Sha1_80, |n: u8| MasterKey::new([n; 30]));
    let plan = |call: &mut Call, rollovers: Rollovers, resumed: bool| {
        let srtp = SrtpPlan { suite, ours: key(9), theirs: Some(key(1)), rollovers, resumed };
        let plan = StreamPlan { srtp: Some(Box::new(srtp)), ..call.pair.legs.caller.plan.clone() };
        call.pair.plan(Leg::Caller, plan, call.now);
    };
    let mut theirs = Opening::new(suite, &key(9), 0);
    let mut heard = |call: &mut Call, sequence: u16, ssrc: u32| {
        let packet = rtp(0, sequence, ssrc, &[1; 160]);
        let mut buffer = [packet.as_slice(), &[0; MOST_ADDED]].concat();
        let length = call.pair.seal(Leg::Caller, false, &mut buffer, packet.len()).unwrap();
        theirs.rtp(&mut buffer[..length]).is_ok()
    };
    let mut before = Call::new();
    plan(&mut before, Rollovers::default(), false);
    for sequence in [40_000, 65_400, 65_500] {
        assert!(heard(&mut before, sequence, 7));
    }
    let told = before.pair.rolled(Leg::Caller).unwrap();
    assert!(heard(&mut before, 65_501, 7) && before.pair.rolled(Leg::Caller).is_none(), "once in a quarter");

    let mut after = Call::new();
    plan(&mut after, told, true);
    assert_eq!(after.pair.rolled(Leg::Caller), None, "that is known");
    for (sequence, ssrc) in [(114, 7), (5, 8), (115, 7), (6, 8)] {
        assert!(heard(&mut after, sequence, ssrc), "{sequence} {ssrc}");
    }
    assert_eq!(after.pair.rolled(Leg::Caller).map(|told| told.sent_of.len()), Some(2));
}

#[test]
fn in_another_suite_no_number_is_sealed_again() {
    let key = |n: u8| MasterKey::new([n; 30]);
    let mut call = Call::new();
    let mut reader = Opening::new(Suite::Aes128Sha1_80, &key(9), 0);
    let mut sealed = Vec::new();
    for suite in [Suite::Aes128Sha1_80, Suite::Aes128Sha1_32, Suite::Aes128Sha1_80] {
        let (ours, theirs, rollovers) = (key(9), Some(key(1)), Rollovers::default());
        let srtp = SrtpPlan { suite, ours, theirs, rollovers, resumed: false };
        let plan = StreamPlan { srtp: Some(Box::new(srtp)), ..call.pair.legs.caller.plan.clone() };
        call.pair.plan(Leg::Caller, plan, call.now);

        let mut report = [rtcp(201, 7), vec![0; MOST_ADDED]].concat();
        let length = call.pair.seal(Leg::Caller, true, &mut report, 8).unwrap();
        assert_eq!(reader.rtcp(&mut report[..length]), Ok(8), "{suite:?}");
        let packet = rtp(0, 5, 7, &[1; 160]);
        let mut buffer = [packet.as_slice(), &[0; MOST_ADDED]].concat();
        sealed.push(call.pair.seal(Leg::Caller, false, &mut buffer, packet.len()));
    }
    assert_eq!(sealed, [Some(182), None, None]);
}

#[test]
fn where_a_process_of_an_older_version_was_is_read() {
    let told: Rollovers = serde_json::from_str(r#"{"heard":1,"sent":2}"#).unwrap();

    assert_eq!(told, Rollovers { heard: 1, sent: 2, ..Rollovers::default() });
    assert_eq!(serde_json::to_string(&told).unwrap(), r#"{"heard":1,"sent":2}"#);
}
