//! One packet in, at most one out: the two legs of one call's media.
//!
//! In: a datagram, the leg it came in on, its source, the time. Out: a value that says where it goes (rewritten in place
//! if a prompt was played) or why not, and what was heard in it. Runs for every packet of every call: it neither
//! allocates, locks nor logs.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::control::{Codec, StreamPlan};
use super::dtmf::Keys;
use super::latch::Latch;
use super::packet::Header;
use super::player::{Outgoing, PACKET_BYTES, Player, Prompt};
use super::rtcp::{Compound, is_rtcp};
use super::sequence::Reception;
use crate::units::{Leg, PerLeg};

/// Static payload type of comfort noise (RFC 3389 §4).
const COMFORT_NOISE: u8 = 13;

/// Time from one packet of a prompt to the next.
pub const PLAYOUT_INTERVAL: Duration = Duration::from_millis(20);

/// What happens with a datagram.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Relay {
    /// It goes to this address, from the other leg's socket.
    Forward {
        /// The other leg's peer.
        to: SocketAddr,
    },
    /// It goes nowhere.
    Drop(DropReason),
}

/// Why a datagram is not forwarded. Those from `Playing` on were good ones that the call does not want to be heard.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DropReason {
    /// Neither RTP nor RTCP.
    NotRtp,
    /// From an address or source that is not the leg's.
    UnknownSource,
    /// The other leg has no address yet, or is on hold without one.
    NoDestination,
    /// A prompt plays where it would go.
    Playing,
    /// The leg is cut.
    Cut,
    /// Came too late: belongs before a prompt.
    BeforePrompt,
    /// A report whose numbers do not match the stream that the other peer knows.
    Contradicts,
}

impl DropReason {
    /// Every reason, in the order of [`Counters::dropped`].
    pub const ALL: [DropReason; 7] = [
        DropReason::NotRtp,
        DropReason::UnknownSource,
        DropReason::NoDestination,
        DropReason::Playing,
        DropReason::Cut,
        DropReason::BeforePrompt,
        DropReason::Contradicts,
    ];

    /// Fixed word for metric labels.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            DropReason::NotRtp => "not_rtp",
            DropReason::UnknownSource => "unknown_source",
            DropReason::NoDestination => "no_destination",
            DropReason::Playing => "playing",
            DropReason::Cut => "cut",
            DropReason::BeforePrompt => "before_prompt",
            DropReason::Contradicts => "contradicts",
        }
    }
}

/// What a packet's payload is, by the call's session descriptions.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Payload {
    /// Not agreed on, or a codec that is only relayed.
    Other,
    /// Audio that the tap can decode.
    Audio(Codec),
    /// Comfort noise (RFC 3389).
    Noise,
    /// Key presses (RFC 4733).
    Event,
}

/// A datagram's way, and what was in it.
#[derive(Clone, Debug)]
pub struct Relayed {
    /// Where it goes.
    pub way: Relay,
    /// Its header as it came, if it was RTP of the leg's own source: what the tap may hear, forwarded or not.
    pub heard: Option<(Header, Payload)>,
    /// A key that was pressed with it.
    pub digit: Option<char>,
    /// The leg's media come from somewhere else than before: see [`MediaPair::elsewhere`].
    pub moved: bool,
}

/// Plain counts of one call.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// RTP packets of the legs' own sources.
    pub packets_in: PerLeg<u64>,
    /// RTP packets sent to the legs, prompts included.
    pub packets_out: PerLeg<u64>,
    /// Datagrams dropped, by reason in the order of [`DropReason::ALL`].
    pub dropped: [u64; DropReason::ALL.len()],
}

/// Media of one call.
#[derive(Debug)]
pub struct MediaPair {
    legs: PerLeg<LegMedia>,
    counters: Counters,
}

#[derive(Debug)]
struct LegMedia {
    plan: StreamPlan,
    latch: Latch,
    /// Where its media were last known to come from, if not from where its description says.
    elsewhere: Option<SocketAddr>,
    /// Where the peer's RTCP comes from.
    rtcp: Option<SocketAddr>,
    /// What each payload type of packets *from* this leg means.
    payloads: [Payload; 128],
    keys: Keys,
    reception: Reception,
    /// Media from this leg do not reach the other.
    cut: bool,
    /// The stream that this leg's peer receives.
    outgoing: Outgoing,
    /// Payload type last forwarded to this leg's peer: a prompt goes on in the same codec.
    receives: Option<u8>,
    player: Option<Player>,
}

impl LegMedia {
    /// Where its media go; nowhere while its description holds them back with no address (RFC 3264 §8.4).
    fn destination(&self) -> Option<SocketAddr> {
        self.plan.rtp.and(self.latch.address())
    }
}

impl MediaPair {
    /// Relays nothing before the legs are planned. `random` makes the streams of prompts unguessable.
    #[must_use]
    pub fn new(random: PerLeg<u64>, now: Instant) -> Self {
        let legs = PerLeg::from_fn(|leg| LegMedia {
            plan: StreamPlan::default(),
            latch: Latch::new(),
            elsewhere: None,
            rtcp: None,
            payloads: [Payload::Other; 128],
            keys: Keys::default(),
            reception: Reception::default(),
            cut: false,
            outgoing: Outgoing::new(random[leg], now),
            receives: None,
            player: None,
        });
        Self { legs, counters: Counters::default() }
    }

    /// The peer on `leg` has described its media.
    pub fn plan(&mut self, leg: Leg, plan: StreamPlan, now: Instant) {
        let plan = StreamPlan {
            rtp: plan.rtp.filter(|address| !address.ip().is_unspecified() && address.port() != 0),
            ..plan
        };
        let media = &mut self.legs[leg];
        if media.plan.rtp != plan.rtp || media.plan.rtcp != plan.rtcp {
            media.rtcp = None;
        }
        media.latch.plan(plan.rtp, now);
        media.plan = plan;
        for leg in Leg::BOTH {
            self.legs[leg].payloads = self.payloads_from(leg);
        }
    }

    /// The callee answered: both may begin to send.
    pub fn answered(&mut self, now: Instant) {
        for leg in Leg::BOTH {
            self.legs[leg].latch.open_window(now);
        }
    }

    /// Media of `leg` came from `address` before a restart.
    pub fn resume(&mut self, leg: Leg, address: SocketAddr, now: Instant) {
        let media = &mut self.legs[leg];
        media.latch.resume(address, now);
        media.elsewhere = media.latch.elsewhere();
    }

    /// Where media of `leg` come from, where that is not what its description says.
    #[must_use]
    pub fn elsewhere(&self, leg: Leg) -> Option<SocketAddr> {
        self.legs[leg].elsewhere
    }

    /// Media from `from` are cut off from the other leg, or no longer.
    pub fn cut(&mut self, from: Leg, cut: bool) {
        self.legs[from].cut = cut;
    }

    /// Plays prompts to `to` in place of the other leg's media; false if that peer takes no codec of ours.
    pub fn play(&mut self, to: Leg, prompts: impl IntoIterator<Item = Prompt>) -> bool {
        let common: Vec<Codec> = self.legs[to.other()].plan.codecs.iter().map(|&(_, codec)| codec).collect();
        let media = &mut self.legs[to];
        let codecs = &media.plan.codecs;
        // What flows already; or what both descriptions know, as the answer narrows what was offered (RFC 3264 §6.1).
        let current = codecs.iter().find(|(payload_type, _)| Some(*payload_type) == media.receives);
        let agreed = codecs.iter().find(|(_, codec)| common.contains(codec));
        let chosen = current.or(agreed).or(codecs.first());
        media.player = chosen.map(|&(payload_type, codec)| Player::new(prompts, payload_type, codec));
        media.player.is_some()
    }

    /// Ends what plays to `to`.
    pub fn stop_play(&mut self, to: Leg) {
        self.legs[to].player = None;
    }

    /// Whether a prompt plays to `to`.
    #[must_use]
    pub fn is_playing(&self, to: Leg) -> bool {
        self.legs[to].player.is_some()
    }

    /// The packet of the prompt that plays to `to`, due every 20 ms. None: it has ended, and media flow again.
    pub fn played(&mut self, to: Leg, now: Instant) -> Option<([u8; PACKET_BYTES], Option<SocketAddr>)> {
        let media = &mut self.legs[to];
        let packet = media.player.as_mut()?.packet(&mut media.outgoing, now);
        if packet.is_none() {
            media.player = None;
        }
        let address = media.destination();
        self.counters.packets_out[to] += u64::from(packet.is_some() && address.is_some());
        Some((packet?, address))
    }

    /// Decides on one datagram that came in on the RTP port of `from`. Runs for every packet of every call.
    pub fn relay(&mut self, from: Leg, packet: &mut [u8], src: SocketAddr, now: Instant) -> Relayed {
        if self.legs[from].plan.fax {
            let way = self.relay_fax(from, src);
            return Relayed { way: self.counted(way), heard: None, digit: None, moved: false };
        }
        if is_rtcp(packet) {
            // Both on one port (RFC 5761). The descriptions pass `a=rtcp-mux` through, so the other side shares too.
            let to = self.legs[from.other()].latch.address();
            let way = self.relay_report(from, packet, src, to);
            return Relayed { way: self.counted(way), heard: None, digit: None, moved: false };
        }
        let Some(header) = Header::read(packet) else { return self.dropped(DropReason::NotRtp) };
        let media = &mut self.legs[from];
        let payload = media.payloads[usize::from(header.payload_type & 0x7F)];
        // Where nothing can be decoded, no payload type is known to us.
        let known = payload != Payload::Other || media.plan.codecs.is_empty();
        if !media.latch.accepts(src, &header, known, now) {
            return self.dropped(DropReason::UnknownSource);
        }
        media.reception.count(header.ssrc, header.sequence);
        self.counters.packets_in[from] += 1;
        let digit = match payload {
            Payload::Event => media.keys.hear(&header, packet.get(header.payload.clone()).unwrap_or_default()),
            Payload::Audio(_) | Payload::Noise | Payload::Other => None,
        };
        let elsewhere = media.latch.elsewhere();
        let moved = std::mem::replace(&mut media.elsewhere, elsewhere) != elsewhere;
        let way = self.forward(from, &header, payload, packet, now);
        Relayed { way: self.counted(way), heard: Some((header, payload)), digit, moved }
    }

    /// Decides on one datagram that came in on the RTCP port of `from`.
    pub fn relay_rtcp(&mut self, from: Leg, packet: &[u8], src: SocketAddr) -> Relay {
        let other = &self.legs[from.other()];
        let beside = |rtp: SocketAddr| rtp.port().checked_add(1).map(|port| SocketAddr::new(rtp.ip(), port));
        let to = other.rtcp.or(other.plan.rtcp).or_else(|| other.latch.address().and_then(beside));
        let way = self.relay_report(from, packet, src, to);
        if matches!(way, Relay::Forward { .. }) {
            self.legs[from].rtcp = Some(src);
        }
        self.counted(way)
    }

    /// What was counted so far.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// What came of `leg`.
    #[must_use]
    pub fn reception(&self, leg: Leg) -> &Reception {
        &self.legs[leg].reception
    }

    fn forward(&mut self, from: Leg, header: &Header, payload: Payload, packet: &mut [u8], now: Instant) -> Relay {
        if self.legs[from].cut {
            return Relay::Drop(DropReason::Cut);
        }
        let media = &mut self.legs[from.other()];
        if media.player.is_some() {
            return Relay::Drop(DropReason::Playing);
        }
        let Some(to) = media.destination() else { return Relay::Drop(DropReason::NoDestination) };
        if !media.outgoing.forward(header, packet, now) {
            return Relay::Drop(DropReason::BeforePrompt);
        }
        if matches!(payload, Payload::Audio(_)) {
            media.receives = Some(header.payload_type);
        }
        self.counters.packets_out[from.other()] += 1;
        Relay::Forward { to }
    }

    /// T.38 has neither SSRC nor numbers: its peer is known by the address that its description or its audio gave.
    fn relay_fax(&mut self, from: Leg, src: SocketAddr) -> Relay {
        let (media, other) = (&self.legs[from], &self.legs[from.other()]);
        let known = [media.latch.address().map(|address| address.ip()), media.latch.signalled()];
        if !known.contains(&Some(src.ip())) {
            return Relay::Drop(DropReason::UnknownSource);
        }
        if media.cut {
            return Relay::Drop(DropReason::Cut);
        }
        let to = other.destination().filter(|_| other.plan.fax);
        to.map_or(Relay::Drop(DropReason::NoDestination), |to| Relay::Forward { to })
    }

    fn relay_report(&self, from: Leg, packet: &[u8], src: SocketAddr, to: Option<SocketAddr>) -> Relay {
        let Some(compound) = Compound::read(packet) else { return Relay::Drop(DropReason::NotRtp) };
        let (media, other) = (&self.legs[from], &self.legs[from.other()]);
        // Reports come from the SSRC that the leg's media come from: a BYE of anyone else would end the stream.
        let sent_by_peer = match media.latch.source() {
            Some((address, ssrc)) => src.ip() == address.ip() && compound.sender == ssrc,
            None => Some(src.ip()) == media.latch.signalled(),
        };
        if !sent_by_peer {
            return Relay::Drop(DropReason::UnknownSource);
        }
        // What the other peer received is partly ours: the sender's counts and the receiver's numbers are both wrong,
        // and a BYE would end a stream that goes on.
        let spliced = media.outgoing.is_spliced() && compound.reports || other.outgoing.is_spliced();
        if spliced || media.cut && compound.bye {
            return Relay::Drop(DropReason::Contradicts);
        }
        to.map_or(Relay::Drop(DropReason::NoDestination), |to| Relay::Forward { to })
    }

    /// RFC 3264 §5.1: packets carry the numbers of the description that their sender was given, which is the other
    /// leg's; but a peer that goes by its own is understood too.
    fn payloads_from(&self, leg: Leg) -> [Payload; 128] {
        let mut payloads = [Payload::Other; 128];
        payloads[usize::from(COMFORT_NOISE)] = Payload::Noise;
        for plan in [&self.legs[leg].plan, &self.legs[leg.other()].plan] {
            let codecs = plan.codecs.iter().map(|&(number, codec)| (number, Payload::Audio(codec)));
            let event = plan.telephone_event.map(|number| (number, Payload::Event));
            for (number, payload) in codecs.chain(event) {
                if let Some(slot) = payloads.get_mut(usize::from(number)) {
                    *slot = payload;
                }
            }
        }
        payloads
    }

    fn dropped(&mut self, reason: DropReason) -> Relayed {
        Relayed { way: self.counted(Relay::Drop(reason)), heard: None, digit: None, moved: false }
    }

    fn counted(&mut self, way: Relay) -> Relay {
        if let Relay::Drop(reason) = way {
            self.counters.dropped[reason as usize] += 1;
        }
        way
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use crate::rtp::packet::HEADER;
    use std::sync::Arc;

    const CALLER: &str = "192.0.2.1:4000";
    const CALLEE: &str = "198.51.100.2:6000";

    struct Call {
        pair: MediaPair,
        now: Instant,
    }

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn rtp(payload_type: u8, sequence: u16, ssrc: u32, payload: &[u8]) -> Vec<u8> {
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
        fn new() -> Self {
            let now = crate::io::clock::now();
            let mut pair = MediaPair::new(PerLeg { caller: 1, callee: 2 }, now);
            for (leg, at, event) in [(Leg::Caller, CALLER, 101), (Leg::Callee, CALLEE, 96)] {
                let codecs = vec![(8, Codec::Pcma), (0, Codec::Pcmu)];
                pair.plan(
                    leg,
                    StreamPlan {
                        rtp: Some(address(at)),
                        codecs,
                        telephone_event: Some(event),
                        ..StreamPlan::default()
                    },
                    now,
                );
            }
            Self { pair, now }
        }

        fn send(&mut self, from: Leg, packet: &mut [u8], src: &str) -> Relayed {
            self.now += Duration::from_millis(20);
            self.pair.relay(from, packet, address(src), self.now)
        }

        fn play(&mut self, to: Leg) {
            let coded: Arc<[u8]> = vec![9; 320].into();
            assert!(self.pair.play(to, [Prompt { pcmu: coded.clone(), pcma: coded }]));
        }
    }

    #[test]
    fn each_leg_reaches_the_other_where_it_is() {
        let mut call = Call::new();

        let to_callee = call.send(Leg::Caller, &mut rtp(0, 1, 7, &[1; 160]), "192.0.2.1:4444");
        let to_caller = call.send(Leg::Callee, &mut rtp(8, 1, 8, &[1; 160]), CALLEE);

        assert_eq!(to_callee.way, Relay::Forward { to: address(CALLEE) });
        assert_eq!(to_callee.heard.map(|heard| heard.1), Some(Payload::Audio(Codec::Pcmu)));
        assert_eq!(
            to_caller.way,
            Relay::Forward { to: address("192.0.2.1:4444") },
            "not the signalled port: the latched"
        );
        assert_eq!(call.pair.counters().packets_out, PerLeg { caller: 1, callee: 1 });
    }

    #[test]
    fn strangers_and_noise_are_counted_drops() {
        let mut call = Call::new();

        let stranger = call.send(Leg::Caller, &mut rtp(0, 1, 7, &[1; 160]), "203.0.113.9:4000");
        let noise = call.send(Leg::Caller, &mut [1, 2, 3], CALLER);

        assert_eq!(stranger.way, Relay::Drop(DropReason::UnknownSource));
        assert!(stranger.heard.is_none());
        assert_eq!(noise.way, Relay::Drop(DropReason::NotRtp));
        assert_eq!(call.pair.counters().dropped, [1, 1, 0, 0, 0, 0, 0]);
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
    fn no_codec_no_prompt() {
        let now = crate::io::clock::now();
        let mut pair = MediaPair::new(PerLeg::default(), now);

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
                let reported = call.pair.relay_rtcp(from, &packet, address(src));
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
        assert!(from_caller.heard.is_none(), "there is nothing to hear");
        assert_eq!(stranger.way, Relay::Drop(DropReason::UnknownSource));
    }

    #[test]
    fn reports_pass_beside_the_media_and_only_from_their_source() {
        let mut call = Call::new();
        call.send(Leg::Caller, &mut rtp(0, 1, 7, &[1; 160]), CALLER);

        let own = call.pair.relay_rtcp(Leg::Caller, &rtcp(201, 7), address("192.0.2.1:4001"));
        let bye = call.pair.relay_rtcp(Leg::Caller, &rtcp(203, 99), address("192.0.2.1:4001"));
        let stranger = call.pair.relay_rtcp(Leg::Caller, &rtcp(203, 7), address("203.0.113.9:4001"));
        let muxed = call.send(Leg::Caller, &mut rtcp(201, 7), CALLER);
        let answer = call.pair.relay_rtcp(Leg::Callee, &rtcp(201, 8), address("198.51.100.2:6001"));

        assert_eq!(own, Relay::Forward { to: address("198.51.100.2:6001") });
        assert_eq!([bye, stranger], [Relay::Drop(DropReason::UnknownSource); 2]);
        assert_eq!(muxed.way, Relay::Forward { to: address(CALLEE) });
        assert_eq!(answer, Relay::Forward { to: address("192.0.2.1:4001") });
    }

    #[test]
    fn reports_about_a_spliced_stream_are_held_back() {
        let mut call = Call::new();
        call.send(Leg::Caller, &mut rtp(0, 1, 7, &[1; 160]), CALLER);
        call.play(Leg::Callee);
        call.pair.played(Leg::Callee, call.now);

        let from_caller = call.pair.relay_rtcp(Leg::Caller, &rtcp(200, 7), address("192.0.2.1:4001"));
        let from_callee = call.pair.relay_rtcp(Leg::Callee, &rtcp(201, 8), address("198.51.100.2:6001"));

        assert_eq!([from_caller, from_callee], [Relay::Drop(DropReason::Contradicts); 2]);
    }
}
