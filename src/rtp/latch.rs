//! Which address a leg's media come from, and go to.
//!
//! Phones behind NAT send from an address that their session description does not know, so the relay answers to where
//! the packets come from (symmetric RTP, RFC 4961). A stranger who guesses a port must not get in that way:
//!
//! - Signalled address reachable: only its IP latches, from any port; but a port that nobody has named yields to the
//!   signalled one as soon as two packets in sequence come from there. Whoever forges the IP and sends to all our ports
//!   would else have each call's media before the peer has said anything.
//! - Signalled address private: the signalled IP latches at any time; any other source only in a short window after the
//!   description or the answer, with two packets in sequence of a known payload type, and it yields to the signalled IP.
//!   It is a guess: until it has talked for a while since the answer, it yields to the next who introduces itself as
//!   soon as it falters. Two packets to each port every few seconds, from before a caller says anything, would else
//!   have all the calls.
//! - Latched: that address with that SSRC, nobody else, until it has been silent for a while; then only the same IP or
//!   the signalled one. A session description that moves the address starts all over, though the peer may come from the
//!   IP that it had while only the port is another; one that repeats it does not, as a mere session refresh must not
//!   open a door.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::packet::Header;
use crate::units::{SequenceNumber, Ssrc, is_private};

/// How long a source at an unsignalled address may introduce itself, from the description and again from the answer.
const NAT_WINDOW: Duration = Duration::from_secs(10);

/// Silence after which another port (or the signalled IP) may take over: a phone that rebooted or whose NAT forgot it.
/// Longer than packet loss, shorter than a person waits.
const RELATCH_AFTER: Duration = Duration::from_secs(3);

/// Silence after which the same address may go on with a new SSRC: a PBX that switched the source within a call.
/// An interloper's packets meanwhile fall between those of the living stream.
const NEW_SSRC_AFTER: Duration = Duration::from_millis(60);

/// Packets after which a guess has proved to be somebody who talks: half a second of most codecs.
const PROOF: u8 = 25;

/// Packets of a source that has said next to nothing.
const FEW: u8 = 3;

/// Of a source that another process knew: the answer of a call that goes on asks nothing of it.
const PROVED: u8 = u8::MAX;

/// Packets closer to one another prove nothing: a burst, of a stranger or behind a stalled network, is no talk.
const APART: Duration = Duration::from_millis(5);

/// Silence after which a guess that has proved nothing yields: a stranger has sent its packets, or a peer has moved to
/// another port and what was still on its way has come. Several packets of somebody who talks.
const FALTERS: Duration = Duration::from_millis(100);

/// Where one leg's media come from.
#[derive(Clone, Debug)]
pub(super) struct Latch {
    signalled: Option<SocketAddr>,
    window_until: Option<Instant>,
    source: Option<Source>,
    candidate: Option<(SocketAddr, Ssrc, SequenceNumber)>,
}

#[derive(Clone, Copy, Debug)]
struct Source {
    address: SocketAddr,
    ssrc: Ssrc,
    heard: Instant,
    /// Came in through the window; the signalled IP may take its place.
    guessed: bool,
    /// Packets since the answer, up to [`PROOF`].
    talked: u8,
    /// Was silent when its description came again: the peer says that it is somewhere, and not here.
    missed: bool,
    /// Of a description before, at the same IP: nothing goes there any more, but the peer's NAT has this IP.
    left: bool,
}

impl Source {
    fn goes_on(&mut self, now: Instant) {
        if self.talked < PROOF && now.saturating_duration_since(self.heard) >= APART {
            self.talked += 1;
        }
        (self.heard, self.missed) = (now, false);
    }
}

impl Latch {
    /// Accepts nothing before it has been told an address.
    #[must_use]
    pub(super) const fn new() -> Self {
        Self { signalled: None, window_until: None, source: None, candidate: None }
    }

    /// The peer's session description names `address` (None: on hold without one).
    pub(super) fn plan(&mut self, address: Option<SocketAddr>, now: Instant) {
        let Some(address) = address else { return };
        if self.signalled != Some(address) {
            let stays = self.signalled().is_some_and(|ip| ip == address.ip());
            self.source = self.source.filter(|source| stays && (!source.guessed || source.talked >= PROOF));
            if let Some(source) = &mut self.source {
                source.left = true;
            }
        } else if let Some(source) = self.source.as_mut().filter(|source| !source.left) {
            source.missed = now.saturating_duration_since(source.heard) >= RELATCH_AFTER;
            if !source.missed {
                return;
            }
        }
        self.signalled = Some(address);
        self.open_window(now);
    }

    /// The callee answered, media are about to begin: a source that had nothing to say while it rang may introduce
    /// itself, and who was guessed meanwhile has to show that it talks.
    pub(super) fn answered(&mut self, now: Instant) {
        self.open_window(now);
        if let Some(source) = self.source.as_mut().filter(|source| source.talked != PROVED) {
            source.talked = 0;
        }
    }

    fn open_window(&mut self, now: Instant) {
        self.window_until = Some(now + NAT_WINDOW);
        self.candidate = None;
    }

    /// Another process knew its media to come from `address`. They go there until its own say otherwise; the IP and the
    /// signalled one may take over with their first packet, as after a silence.
    pub(super) fn resume(&mut self, address: SocketAddr, now: Instant) {
        let guessed = self.signalled.is_none_or(|signalled| signalled.ip() != address.ip());
        let heard = now.checked_sub(RELATCH_AFTER).unwrap_or(now);
        self.source =
            Some(Source { address, ssrc: Ssrc(0), heard, guessed, talked: PROVED, missed: false, left: false });
    }

    /// Where its media come from, where that is not what its description says.
    #[must_use]
    pub(super) fn elsewhere(&self) -> Option<SocketAddr> {
        self.current().map(|source| source.address).filter(|address| Some(*address) != self.signalled)
    }

    /// Whether this packet is the leg's. `known`: its payload type was agreed on.
    pub(super) fn accepts(&mut self, from: SocketAddr, header: &Header, known: bool, now: Instant) -> bool {
        let Some(signalled) = self.signalled else { return false };
        let right_ip = from.ip() == signalled.ip();
        if let Some(source) = self.source.as_mut().filter(|source| !source.left) {
            let silence = now.saturating_duration_since(source.heard);
            if source.address == from && (source.ssrc == header.ssrc || silence >= NEW_SSRC_AFTER) {
                source.ssrc = header.ssrc;
                source.goes_on(now);
                return true;
            }
            let same_ip = from.ip() == source.address.ip();
            let yields = source.guessed && right_ip && !same_ip;
            let gone = silence >= RELATCH_AFTER && (right_ip || same_ip);
            let named = from == signalled && from != source.address && same_ip;
            // Whoever names loopback is on this machine.
            let behind_nat = is_private(signalled.ip());
            // Long after, only one that has said next to nothing: some peers listen.
            let enough = if self.window_until.is_some_and(|until| now < until) { PROOF } else { FEW };
            let unproven = behind_nat && source.guessed && source.talked < enough && silence >= FALTERS;
            let missed = behind_nat && source.missed && self.is_window_open(now);
            let may_take_over = yields || gone || (named || unproven || missed) && known && self.follows(from, header);
            if !may_take_over {
                return false;
            }
        } else if !self.knows(from.ip()) && !self.introduces_itself(from, header, known, now) {
            return false;
        }
        let (ssrc, guessed) = (header.ssrc, !right_ip);
        self.source = Some(Source { address: from, ssrc, heard: now, guessed, talked: 0, missed: false, left: false });
        true
    }

    /// The same of a datagram that has neither SSRC nor number, as a fax: from an IP that the description or the leg's
    /// media have shown. It is answered where it comes from, unless another port there is in use.
    pub(super) fn accepts_datagram(&mut self, from: SocketAddr, now: Instant) -> bool {
        if !self.knows(from.ip()) {
            return false;
        }
        let (guessed, is_named) = (self.signalled().is_some_and(|ip| ip != from.ip()), self.signalled == Some(from));
        // Audio that was still on its way may have come from another port.
        let in_use = |source: &Source| {
            let pause = if source.talked < PROOF { FALTERS } else { RELATCH_AFTER };
            now.saturating_duration_since(source.heard) < pause
        };
        match &mut self.source {
            Some(source) if !source.left && source.address == from => source.goes_on(now),
            Some(source) if !source.left && !is_named && in_use(source) => {}
            // Audio that was still on its way, of a peer that can be reached where it says.
            Some(source) if source.left && !source.guessed && !is_named && source.address == from => {}
            source => {
                let ssrc = source.map_or(Ssrc(0), |source| source.ssrc);
                *source =
                    Some(Source { address: from, ssrc, heard: now, guessed, talked: 0, missed: false, left: false });
            }
        }
        true
    }

    /// Whether the leg's description, or its media so far, came from `ip`.
    #[must_use]
    pub(super) fn knows(&self, ip: IpAddr) -> bool {
        self.signalled() == Some(ip) || self.source.is_some_and(|source| source.address.ip() == ip)
    }

    /// Where packets for this leg are sent: where its own come from, or else where its description says.
    #[must_use]
    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.current().map(|source| source.address).or(self.signalled)
    }

    /// The source that is latched.
    #[must_use]
    pub(super) fn source(&self) -> Option<(SocketAddr, Ssrc)> {
        self.current().map(|source| (source.address, source.ssrc))
    }

    fn current(&self) -> Option<Source> {
        self.source.filter(|source| !source.left)
    }

    /// The signalled IP.
    #[must_use]
    pub(super) fn signalled(&self) -> Option<IpAddr> {
        self.signalled.map(|address| address.ip())
    }

    /// Second packet in sequence of an unsignalled source, where one is expected.
    fn introduces_itself(&mut self, from: SocketAddr, header: &Header, known: bool, now: Instant) -> bool {
        let expected = self.signalled.is_some_and(|address| is_private(address.ip())) && self.is_window_open(now);
        expected && known && self.follows(from, header)
    }

    fn is_window_open(&self, now: Instant) -> bool {
        self.window_until.is_some_and(|until| now < until)
    }

    /// Second packet in sequence of a source that is not latched.
    fn follows(&mut self, from: SocketAddr, header: &Header) -> bool {
        let before = self.candidate.replace((from, header.ssrc, header.sequence));
        before.is_some_and(|(address, ssrc, sequence)| {
            address == from && ssrc == header.ssrc && (1..=2).contains(&header.sequence.since(sequence))
        })
    }
}

impl Default for Latch {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use crate::units::RtpTimestamp;

    const PUBLIC: &str = "192.0.2.1:4000";
    const PRIVATE: &str = "10.0.0.5:4000";
    const NATTED: &str = "198.51.100.9:31000";
    const STRANGER: &str = "203.0.113.66:5000";

    struct Leg {
        latch: Latch,
        now: Instant,
    }

    impl Leg {
        fn planned(address: &str) -> Self {
            let now = crate::io::clock::now();
            let mut latch = Latch::new();
            latch.plan(Some(address.parse().unwrap()), now);
            Self { latch, now }
        }

        fn after(&mut self, ms: u64) -> &mut Self {
            self.now += Duration::from_millis(ms);
            self
        }

        fn packet(&mut self, from: &str, ssrc: u32, sequence: u16) -> bool {
            let header = Header {
                payload_type: 0,
                marker: false,
                sequence: SequenceNumber(sequence),
                timestamp: RtpTimestamp(0),
                ssrc: Ssrc(ssrc),
                payload: 12..12,
            };
            self.latch.accepts(from.parse().unwrap(), &header, true, self.now)
        }

        fn goes_to(&self) -> String {
            self.latch.address().unwrap().to_string()
        }
    }

    #[test]
    fn nothing_is_accepted_before_a_plan() {
        let mut leg = Leg { latch: Latch::new(), now: crate::io::clock::now() };

        assert!(!leg.packet(PUBLIC, 1, 1));
    }

    #[test]
    fn a_reachable_address_latches_its_ip_alone() {
        let mut leg = Leg::planned(PUBLIC);

        for n in 0..10 {
            assert!(!leg.packet(STRANGER, 9, n));
        }
        assert_eq!(leg.goes_to(), PUBLIC);
        assert!(leg.packet("192.0.2.1:6000", 1, 1));
        assert_eq!(leg.goes_to(), "192.0.2.1:6000");
    }

    #[test]
    fn a_latched_leg_cannot_be_stolen() {
        let mut leg = Leg::planned(PUBLIC);
        assert!(leg.packet(PUBLIC, 1, 1));

        assert!(!leg.after(20).packet(STRANGER, 1, 2), "same SSRC, other address");
        assert!(!leg.packet("192.0.2.1:4002", 1, 2), "same IP, other port, while it lives");
        assert!(!leg.packet(PUBLIC, 2, 2), "spoofed address, other SSRC");
        assert!(leg.packet(PUBLIC, 1, 2));
        assert!(!leg.after(60_000).packet(STRANGER, 1, 3), "even after long silence");
    }

    #[test]
    fn a_port_that_nobody_named_yields_to_the_signalled_one() {
        let mut leg = Leg::planned(PUBLIC);
        let squatter = "192.0.2.1:9";
        assert!(leg.packet(squatter, 9, 1), "it may be the peer, behind NAT");

        assert!(!leg.packet(PUBLIC, 1, 1), "one packet may be a stray");
        assert!(leg.packet(squatter, 9, 2));
        assert!(leg.after(20).packet(PUBLIC, 1, 2));
        assert_eq!(leg.goes_to(), PUBLIC);
        for n in 3..9 {
            assert!(!leg.packet(squatter, 9, n), "and the signalled one stays");
            assert!(!leg.packet(PUBLIC, 2, n), "with its SSRC");
            assert!(leg.after(20).packet(PUBLIC, 1, n));
        }
    }

    #[test]
    fn the_same_peer_may_come_back_after_silence() {
        let mut leg = Leg::planned(PUBLIC);
        assert!(leg.packet(PUBLIC, 1, 1));

        assert!(!leg.after(2_900).packet("192.0.2.1:4002", 2, 1));
        assert!(leg.after(200).packet("192.0.2.1:4002", 2, 2));
        assert_eq!(leg.goes_to(), "192.0.2.1:4002");
    }

    #[test]
    fn a_source_that_restarts_keeps_its_address() {
        let mut leg = Leg::planned(PUBLIC);
        assert!(leg.packet(PUBLIC, 1, 1));

        assert!(!leg.after(20).packet(PUBLIC, 2, 1));
        assert!(leg.after(60).packet(PUBLIC, 2, 4));
    }

    #[test]
    fn behind_nat_the_first_source_in_the_window_latches() {
        let mut leg = Leg::planned(PRIVATE);

        assert!(!leg.packet(NATTED, 1, 1), "one packet may be a stray");
        assert!(leg.after(20).packet(NATTED, 1, 2));
        assert_eq!(leg.goes_to(), NATTED);
        assert!(!leg.packet(STRANGER, 1, 3) && !leg.packet(STRANGER, 1, 4));
    }

    #[test]
    fn the_window_closes_and_opens_again_at_the_answer() {
        let mut leg = Leg::planned(PRIVATE);

        leg.after(10_000);
        assert!(!leg.packet(STRANGER, 9, 1) && !leg.packet(STRANGER, 9, 2));
        leg.latch.answered(leg.now);
        assert!(!leg.packet(NATTED, 1, 1) && leg.packet(NATTED, 1, 2));
    }

    #[test]
    fn a_guess_yields_to_the_signalled_ip_and_not_back() {
        let mut leg = Leg::planned(PRIVATE);
        assert!(!leg.packet(STRANGER, 9, 1) && leg.packet(STRANGER, 9, 2));

        assert!(leg.packet(PRIVATE, 1, 1));
        assert_eq!(leg.goes_to(), PRIVATE);
        assert!(!leg.packet(STRANGER, 9, 3) && !leg.packet(STRANGER, 9, 4));
    }

    #[test]
    fn unknown_payload_types_do_not_introduce_anyone() {
        let mut leg = Leg::planned(PRIVATE);
        let header = Header::read(&[0x80, 0x7F, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1]).unwrap();

        for _ in 0..3 {
            assert!(!leg.latch.accepts(NATTED.parse().unwrap(), &header, false, leg.now));
        }
    }

    #[test]
    fn a_moved_address_starts_over_and_a_repeated_one_does_not() {
        let mut leg = Leg::planned(PRIVATE);
        assert!(!leg.packet(NATTED, 1, 1) && leg.packet(NATTED, 1, 2));

        leg.latch.plan(Some(PRIVATE.parse().unwrap()), leg.now);
        assert_eq!(leg.goes_to(), NATTED);
        leg.latch.plan(None, leg.now);
        assert_eq!(leg.goes_to(), NATTED);
        leg.latch.plan(Some("192.0.2.7:9000".parse().unwrap()), leg.now);
        assert_eq!(leg.goes_to(), "192.0.2.7:9000");
        assert!(!leg.packet(NATTED, 1, 3));
    }

    #[test]
    fn a_repeated_address_of_a_silent_leg_opens_the_window() {
        let mut leg = Leg::planned(PRIVATE);
        assert!(!leg.packet(NATTED, 1, 1) && leg.packet(NATTED, 1, 2));

        leg.after(20_000);
        leg.latch.plan(Some(PRIVATE.parse().unwrap()), leg.now);
        assert!(
            !leg.packet("198.51.100.77:2", 1, 3) && leg.packet("198.51.100.77:2", 1, 4),
            "its NAT has a new address"
        );
    }

    impl Leg {
        /// So many packets of a stream, 20 ms apart; how many of them were let in.
        fn talks(&mut self, from: &str, ssrc: u32, numbers: std::ops::Range<u16>) -> usize {
            numbers.filter(|&number| self.after(20).packet(from, ssrc, number)).count()
        }
    }

    #[test]
    fn a_stranger_who_was_first_and_fell_silent_gives_way() {
        let mut leg = Leg::planned(PRIVATE);
        assert!(!leg.packet(STRANGER, 9, 1) && leg.packet(STRANGER, 9, 2));

        leg.after(5_000);
        leg.latch.answered(leg.now);
        assert!(!leg.packet(NATTED, 1, 1) && leg.packet(NATTED, 1, 2));
        assert_eq!(leg.goes_to(), NATTED);

        // Between the description and the answer, and long after both.
        for wait in [200, 5_000, 60_000] {
            let mut leg = Leg::planned(PRIVATE);
            assert!(!leg.packet(STRANGER, 9, 1) && leg.packet(STRANGER, 9, 2));
            assert!(!leg.after(wait).packet(NATTED, 1, 1) && leg.packet(NATTED, 1, 2), "{wait}");
        }
    }

    #[test]
    fn many_packets_of_a_stranger_at_once_or_before_the_answer_prove_nothing() {
        let mut leg = Leg::planned(PRIVATE);
        for number in 0..200 {
            leg.packet(STRANGER, 9, number);
        }
        assert!(!leg.after(200).packet(NATTED, 1, 1) && leg.packet(NATTED, 1, 2));

        let mut leg = Leg::planned(PRIVATE);
        assert_eq!(leg.talks(STRANGER, 9, 0..100), 99);
        leg.after(200);
        leg.latch.answered(leg.now);
        assert!(!leg.packet(NATTED, 1, 1) && leg.packet(NATTED, 1, 2));
    }

    /// It is muted, or sends nothing while it is silent.
    #[test]
    fn who_has_said_a_little_behind_nat_is_not_taken_away_long_after() {
        let mut leg = Leg::planned(PRIVATE);
        leg.latch.answered(leg.now);
        assert_eq!(leg.talks(NATTED, 1, 0..10), 9);

        leg.after(20_000);

        assert!(!leg.packet(STRANGER, 9, 1) && !leg.packet(STRANGER, 9, 2));
    }

    #[test]
    fn who_talks_behind_nat_is_not_taken_away_nor_once_it_has_talked_for_a_while() {
        let mut leg = Leg::planned(PRIVATE);
        leg.latch.answered(leg.now);
        assert_eq!(leg.talks(NATTED, 1, 0..2), 1);
        for number in 2..30 {
            assert!(leg.after(20).packet(NATTED, 1, number));
            assert!(!leg.packet(STRANGER, 9, 2 * number) && !leg.packet(STRANGER, 9, 2 * number + 1));
        }
        assert_eq!(leg.goes_to(), NATTED);
        for number in 100..110 {
            assert!(!leg.after(500).packet(STRANGER, 9, number), "in a pause");
        }
        assert_eq!(leg.talks(NATTED, 1, 300..310), 10);
    }

    #[test]
    fn who_was_latched_before_a_restart_need_not_prove_anything() {
        let mut leg = Leg::planned(PRIVATE);
        leg.latch.resume(NATTED.parse().unwrap(), leg.now);
        leg.latch.answered(leg.now);

        assert!(!leg.packet(STRANGER, 9, 1) && !leg.packet(STRANGER, 9, 2));
        assert!(leg.packet(NATTED, 1, 1));
        assert!(!leg.after(500).packet(STRANGER, 9, 3) && !leg.packet(STRANGER, 9, 4));
    }

    #[test]
    fn what_was_still_on_its_way_from_the_port_before_keeps_the_next_one_out_for_a_moment_alone() {
        let mut leg = Leg::planned(PRIVATE);
        leg.talks(NATTED, 1, 0..100);

        leg.latch.plan(Some("10.0.0.5:4002".parse().unwrap()), leg.now);
        leg.talks(NATTED, 1, 100..102);
        leg.after(200);
        leg.packet("198.51.100.9:31002", 2, 1);
        assert!(leg.packet("198.51.100.9:31002", 2, 2));
        assert_eq!(leg.goes_to(), "198.51.100.9:31002");
    }

    #[test]
    fn a_peer_whose_description_names_another_port_comes_from_the_same_ip_at_any_time() {
        let mut leg = Leg::planned(PRIVATE);
        leg.talks(NATTED, 1, 0..100);

        leg.latch.plan(Some("10.0.0.5:4002".parse().unwrap()), leg.now);
        assert_eq!(leg.goes_to(), "10.0.0.5:4002", "until something comes");
        assert_eq!((leg.latch.source(), leg.latch.elsewhere()), (None, None));
        assert!(!leg.after(20_000).packet(STRANGER, 9, 1) && !leg.packet(STRANGER, 9, 2));
        assert!(leg.packet("198.51.100.9:31002", 2, 1));
    }

    #[test]
    fn the_ip_of_a_stranger_who_has_proved_nothing_is_forgotten() {
        let mut leg = Leg::planned(PRIVATE);
        assert!(!leg.packet(STRANGER, 9, 1) && leg.packet(STRANGER, 9, 2));

        leg.latch.plan(Some("10.0.0.5:4002".parse().unwrap()), leg.now);
        assert!(!leg.after(20_000).packet(STRANGER, 9, 3) && !leg.packet(STRANGER, 9, 4));
        assert!(!leg.latch.accepts_datagram(STRANGER.parse().unwrap(), leg.now));
    }

    #[test]
    fn a_fax_is_answered_where_it_comes_from_and_nobody_draws_it_away() {
        let mut leg = Leg::planned("192.0.2.1:4100");
        let fax = |leg: &mut Leg, from: &str| {
            let accepted = leg.latch.accepts_datagram(from.parse().unwrap(), leg.now);
            (accepted, leg.goes_to())
        };
        let went = |accepted, to: &str| (accepted, to.to_owned());

        assert_eq!(fax(&mut leg, "192.0.2.1:31100"), went(true, "192.0.2.1:31100"));
        assert_eq!(fax(&mut leg, STRANGER), went(false, "192.0.2.1:31100"));
        for _ in 0..30 {
            fax(leg.after(20), "192.0.2.1:31100");
        }
        assert_eq!(fax(leg.after(2_000), "192.0.2.1:9"), went(true, "192.0.2.1:31100"), "while it lives");
        assert_eq!(fax(&mut leg, "192.0.2.1:4100"), went(true, "192.0.2.1:4100"), "who is named goes first");
        assert_eq!(fax(leg.after(200), "192.0.2.1:31102"), went(true, "192.0.2.1:31102"), "and says nothing");
    }
}
