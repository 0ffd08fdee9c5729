//! One packet in, at most one out: the two legs of one call's media.
//!
//! In: a datagram, the leg it came in on, its source, the time. Out: a value that says where it goes (rewritten in
//! place if a prompt was played) or why not, and what was heard in it. A leg whose SRTP ends here is opened before that
//! and sealed behind it. Runs for every packet of every call: it neither allocates, locks nor logs.

mod encryption;
mod guard;
mod outcome;
mod payloads;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::companding::Laws;
use super::control::{Codec, StreamPlan};
use super::dtmf::Keys;
use super::latch::Latch;
use super::outgoing::{Outgoing, Played};
use super::packet::Header;
use super::player::{Player, Playing, Prompt};
use super::report::translate;
use super::rtcp::{Compound, is_rtcp};
use super::sequence::Reception;
use crate::units::{Leg, PerLeg, RtpTimestamp};
use encryption::LegSrtp;
use guard::Guard;
pub use outcome::{Counters, DropReason, Relay, Relayed};
pub use payloads::{Payload, Payloads};

/// A peer that sends what it was not asked for, and nothing else for so long, has switched to it.
const SWITCHES: Duration = Duration::from_secs(1);

/// First bytes of datagrams that are DTLS (RFC 7983 §7); RTP's are 128 to 191.
const DTLS: std::ops::RangeInclusive<u8> = 20..=63;

/// Media of one call.
#[derive(Debug)]
pub struct MediaPair {
    laws: &'static Laws,
    legs: PerLeg<LegMedia>,
    counters: Counters,
}

#[derive(Debug)]
struct LegMedia {
    plan: StreamPlan,
    /// Where `plan` has SRTP that ends here.
    srtp: Option<Box<LegSrtp>>,
    latch: Latch,
    /// Where its media were last known to come from, if not from where its description says. In a box: few come so.
    elsewhere: Option<Box<SocketAddr>>,
    /// Where the peer's RTCP comes from.
    rtcp: Option<SocketAddr>,
    /// What each payload type of packets *from* this leg means.
    payloads: Payloads,
    /// When audio came from it that the other peer has asked for.
    asked: Option<Instant>,
    keys: Keys,
    reception: Reception,
    /// Media from this leg do not reach the other.
    cut: bool,
    /// The key that was pressed last meanwhile: all packets of a press have one timestamp (RFC 4733 §2.2).
    pressed_in_cut: Option<RtpTimestamp>,
    /// Keys from this leg do not reach the other.
    guard: Option<Box<Guard>>,
    /// The stream that this leg's peer receives.
    outgoing: Outgoing,
    /// Payload type last forwarded to this leg's peer: a prompt goes on in the same codec.
    receives: Option<u8>,
    /// In a box: hardly a call has one.
    player: Option<Box<Playing>>,
}

impl LegMedia {
    /// Where its media go; nowhere while its description holds them back with no address (RFC 3264 §8.4).
    fn destination(&self) -> Option<SocketAddr> {
        self.plan.rtp.and(self.latch.address())
    }

    /// Its media come from somewhere else than before.
    fn has_moved(&mut self) -> bool {
        let elsewhere = self.latch.elsewhere();
        let moved = self.elsewhere.as_deref() != elsewhere.as_ref();
        if moved {
            self.elsewhere = elsewhere.map(Box::new);
        }
        moved
    }

    /// Where its RTCP goes.
    fn rtcp_destination(&self) -> Option<SocketAddr> {
        let beside = |rtp: SocketAddr| rtp.port().checked_add(1).map(|port| SocketAddr::new(rtp.ip(), port));
        self.rtcp.or(self.plan.rtcp).or_else(|| self.latch.address().and_then(beside))
    }

    /// True for audio that the other peer has not asked for, while audio comes that it has. Most throw it away, and
    /// would hear another voice than the ear.
    fn is_beside(&mut self, payload: Payload, header: &Header, now: Instant) -> bool {
        if !matches!(payload, Payload::Audio(_)) {
            return false;
        }
        if self.payloads.is_asked_for(header.payload_type) {
            self.asked = Some(now);
            return false;
        }
        self.asked.is_some_and(|asked| now.saturating_duration_since(asked) < SWITCHES)
    }

    /// True for the rest of a press that began while the leg was cut: the key that takes a caller back is for nobody
    /// else.
    fn was_pressed_in_cut(&mut self, payload: Payload, header: &Header) -> bool {
        if payload.event_clock().is_none() {
            return false;
        }
        if self.cut {
            self.pressed_in_cut = Some(header.timestamp);
        }
        !self.cut && self.pressed_in_cut == Some(header.timestamp)
    }
}

impl MediaPair {
    /// Relays nothing before the legs are planned. `random` makes the streams of prompts unguessable; `laws` look into
    /// G.711.
    #[must_use]
    pub fn new(random: PerLeg<u64>, laws: &'static Laws, now: Instant) -> Self {
        let legs = PerLeg::from_fn(|leg| LegMedia {
            plan: StreamPlan::default(),
            srtp: None,
            latch: Latch::new(),
            elsewhere: None,
            rtcp: None,
            payloads: Payloads::default(),
            asked: None,
            keys: Keys::default(),
            reception: Reception::default(),
            cut: false,
            pressed_in_cut: None,
            guard: None,
            outgoing: Outgoing::new(random[leg], now),
            receives: None,
            player: None,
        });
        Self { laws, legs, counters: Counters::default() }
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
        let before = media.plan.srtp.as_deref().zip(media.srtp.take().map(|srtp| *srtp));
        media.srtp = plan.srtp.as_ref().map(|srtp| Box::new(LegSrtp::new(srtp, before)));
        media.plan = plan;
        for leg in Leg::BOTH {
            self.legs[leg].payloads = self.payloads_from(leg);
            self.legs[leg].asked = None;
        }
    }

    /// The callee answered: both may begin to send.
    pub fn answered(&mut self, now: Instant) {
        for leg in Leg::BOTH {
            self.legs[leg].latch.answered(now);
        }
    }

    /// Media of `leg` came from `address` before a restart.
    pub fn resume(&mut self, leg: Leg, address: SocketAddr, now: Instant) {
        let media = &mut self.legs[leg];
        media.latch.resume(address, now);
        media.elsewhere = media.latch.elsewhere().map(Box::new);
    }

    /// Where media of `leg` come from, where that is not what its description says.
    #[must_use]
    pub fn elsewhere(&self, leg: Leg) -> Option<SocketAddr> {
        self.legs[leg].elsewhere.as_deref().copied()
    }

    /// Media from `from` are cut off from the other leg, or no longer.
    pub fn cut(&mut self, from: Leg, cut: bool) {
        self.legs[from].cut = cut;
    }

    /// Plays prompts to `to` in place of the other leg's media; false if that peer takes no codec that they are encoded
    /// in.
    pub fn play(&mut self, to: Leg, prompts: impl IntoIterator<Item = Prompt>) -> bool {
        let prompts: Vec<Prompt> = prompts.into_iter().collect();
        let ready = |(_, codec): &(u8, Codec)| prompts.iter().all(|prompt| prompt.is_ready(*codec));
        let any = || self.legs[to].plan.codecs.iter().copied().find(ready);
        let chosen = self.codec_to(to).filter(ready).or_else(any);
        let media = &mut self.legs[to];
        media.player =
            chosen.map(|(payload_type, codec)| Box::new(Playing::Prompts(Player::new(prompts, payload_type, codec))));
        media.player.is_some()
    }

    /// What a prompt for `to` is played in.
    fn codec_to(&self, to: Leg) -> Option<(u8, Codec)> {
        let common = &self.legs[to.other()].plan.codecs;
        let media = &self.legs[to];
        let codecs = &media.plan.codecs;
        // What flows already; or what both descriptions know, as the answer narrows what was offered (RFC 3264 §6.1).
        let current = codecs.iter().find(|(payload_type, _)| Some(*payload_type) == media.receives);
        let agreed = codecs.iter().find(|(_, codec)| common.iter().any(|(_, other)| other == codec));
        current.or(agreed).or(codecs.first()).copied()
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

    /// Whether a packet of what plays to `to` is due every 20 ms: it is not while forwarded packets carry it.
    #[must_use]
    pub fn is_due(&mut self, to: Leg, now: Instant) -> bool {
        let Some(playing) = self.legs[to].player.as_deref_mut() else { return false };
        !playing.over().is_some_and(|player| player.is_carried(now))
    }

    /// The packet of what plays to `to`, due every 20 ms. None: it has ended, and media flow again.
    pub fn played(&mut self, to: Leg, now: Instant) -> Option<(Played, Option<SocketAddr>)> {
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
            let way = self.relay_fax(from, src, now);
            let moved = self.legs[from].has_moved();
            return Relayed { way: self.counted(way), length: packet.len(), heard: None, digit: None, moved };
        }
        if is_rtcp(packet) {
            // Both on one port (RFC 5761), unasked: `a=rtcp-mux` passes in no description, so the other side keeps two.
            let (way, length) = self.relay_report(from, packet, src);
            return Relayed { way: self.counted(way), length, heard: None, digit: None, moved: false };
        }
        let Some(mut header) = Header::read(packet) else {
            let way = self.relay_handshake(from, packet, src, LegMedia::destination);
            return Relayed { way: self.counted(way), length: packet.len(), heard: None, digit: None, moved: false };
        };
        let media = &mut self.legs[from];
        let payload = media.payloads.of(header.payload_type);
        // Of codecs that cannot be decoded, no payload type is known to us.
        let known = payload != Payload::Other || media.plan.others || media.plan.codecs.is_empty();
        let before = media.latch.source();
        if !media.latch.accepts(src, &header, known, now) {
            return self.dropped(DropReason::UnknownSource);
        }
        if matches!(payload, Payload::Audio(_)) && before.is_some_and(|(_, ssrc)| ssrc != header.ssrc) {
            // The packet that began the new stream, with its marker, may not have been believed, and a receiver sets
            // its jitter buffer anew at the marker (RFC 3551 §4.1).
            header.mark(packet);
        }
        if media.is_beside(payload, &header, now) {
            self.legs[from.other()].outgoing.left_out(&header);
            return self.dropped(DropReason::Unasked);
        }
        media.reception.count(header.ssrc, header.sequence);
        self.counters.packets_in[from] += 1;
        let mut digit = payload
            .event_clock()
            .and_then(|clock| media.keys.hear(&header, packet.get(header.payload.clone()).unwrap_or_default(), clock));
        let mut held = false;
        if media.guard.is_some() {
            (held, digit) = media.hold(payload, &header, packet, digit, self.laws, now);
        }
        held |= media.was_pressed_in_cut(payload, &header);
        let moved = media.has_moved();
        if self.legs[from.other()].guard.is_some() {
            let bytes = packet.get(header.payload.clone()).unwrap_or_default();
            digit = self.may_return(from, payload, (&header, bytes), digit, now);
        }
        // Of a leg that is cut, nothing passes that a key could be left out of.
        let way = if held && !self.legs[from].cut {
            self.leave_out(from, &header)
        } else {
            self.forward(from, &header, payload, packet, now)
        };
        Relayed { way: self.counted(way), length: packet.len(), heard: Some((header, payload)), digit, moved }
    }

    /// Decides on one datagram that came in on the RTCP port of `from`; its length, which is less than before if it
    /// says something that the other peer must not hear.
    pub fn relay_rtcp(&mut self, from: Leg, packet: &mut [u8], src: SocketAddr) -> (Relay, usize) {
        let (way, length) = self.relay_report(from, packet, src);
        if matches!(way, Relay::Forward { .. }) && is_rtcp(packet) {
            self.legs[from].rtcp = Some(src);
        }
        (self.counted(way), length)
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
        let cut = self.legs[from].cut;
        let media = &mut self.legs[from.other()];
        let mixes = |playing: &mut Playing| guard::passes(payload) && playing.over().is_some();
        if cut || media.player.as_deref_mut().is_some_and(|playing| !mixes(playing)) {
            media.outgoing.held_back(header);
            return Relay::Drop(if cut { DropReason::Cut } else { DropReason::Playing });
        }
        let Some(to) = media.destination() else { return Relay::Drop(DropReason::NoDestination) };
        if let Payload::Audio(codec) = payload {
            media.outgoing.runs_at(codec.clock());
        }
        if !media.outgoing.forward(header, packet, now) {
            return Relay::Drop(DropReason::BeforePrompt);
        }
        if matches!(payload, Payload::Audio(_)) {
            media.receives = Some(header.payload_type);
        }
        self.counters.packets_out[from.other()] += 1;
        Relay::Forward { to }
    }

    /// T.38 has no SSRC: its peer is known by the address that its description or its audio gave.
    fn relay_fax(&mut self, from: Leg, src: SocketAddr, now: Instant) -> Relay {
        if !self.legs[from].latch.accepts_datagram(src, now) {
            return Relay::Drop(DropReason::UnknownSource);
        }
        self.relay_opaque(from, src, |other| other.destination().filter(|_| other.plan.fax))
    }

    /// The peers agree on their keys beside the media (RFC 5764); `to`: where that goes to. Only where both speak of
    /// it: in calls that are taken for plain, it would end in what nobody hears.
    fn relay_handshake(
        &self,
        from: Leg,
        packet: &[u8],
        src: SocketAddr,
        to: impl Fn(&LegMedia) -> Option<SocketAddr>,
    ) -> Relay {
        let is_dtls = packet.first().is_some_and(|first| DTLS.contains(first));
        if !is_dtls || !Leg::BOTH.into_iter().all(|leg| self.legs[leg].plan.dtls) {
            return Relay::Drop(DropReason::NotRtp);
        }
        self.relay_opaque(from, src, to)
    }

    fn relay_opaque(&self, from: Leg, src: SocketAddr, to: impl Fn(&LegMedia) -> Option<SocketAddr>) -> Relay {
        let (media, other) = (&self.legs[from], &self.legs[from.other()]);
        if !media.latch.knows(src.ip()) {
            return Relay::Drop(DropReason::UnknownSource);
        }
        if media.cut {
            return Relay::Drop(DropReason::Cut);
        }
        to(other).map_or(Relay::Drop(DropReason::NoDestination), |to| Relay::Forward { to })
    }

    fn relay_report(&self, from: Leg, packet: &mut [u8], src: SocketAddr) -> (Relay, usize) {
        let dropped = |reason| (Relay::Drop(reason), 0);
        let Some(compound) = Compound::read(packet) else {
            return (self.relay_handshake(from, packet, src, LegMedia::rtcp_destination), packet.len());
        };
        let (media, other) = (&self.legs[from], &self.legs[from.other()]);
        // Reports come from the SSRC that the leg's media come from: a BYE of anyone else would end the stream.
        let sent_by_peer = match media.latch.source() {
            Some((address, ssrc)) => src.ip() == address.ip() && compound.sender == ssrc,
            None => Some(src.ip()) == media.latch.signalled(),
        };
        if !sent_by_peer {
            return dropped(DropReason::UnknownSource);
        }
        if media.cut && compound.bye {
            return dropped(DropReason::Contradicts);
        }
        // What the other peer receives is partly ours, or what this one receives: each knows other numbers.
        let flows = !media.cut && other.player.is_none();
        let sender = other.outgoing.is_spliced().then(|| other.outgoing.as_sender(compound.sender, flows));
        let about = media.outgoing.is_spliced().then(|| media.outgoing.as_heard(media.player.is_none()));
        let length = match (sender, about) {
            (None, None) => packet.len(),
            (sender, about) => translate(packet, sender, about),
        };
        match other.rtcp_destination() {
            _ if length == 0 => dropped(DropReason::Contradicts),
            None => dropped(DropReason::NoDestination),
            Some(to) => (Relay::Forward { to }, length),
        }
    }

    fn payloads_from(&self, leg: Leg) -> Payloads {
        Payloads::new(&self.legs[leg.other()].plan, &self.legs[leg].plan)
    }

    fn dropped(&mut self, reason: DropReason) -> Relayed {
        Relayed { way: self.counted(Relay::Drop(reason)), length: 0, heard: None, digit: None, moved: false }
    }

    fn counted(&mut self, way: Relay) -> Relay {
        if let Relay::Drop(reason) = way {
            let dropped = &mut self.counters.dropped[reason as usize];
            *dropped = dropped.saturating_add(1);
        }
        way
    }
}

#[cfg(test)]
mod tests;
