//! Captured calls: pcap or pcapng, what the live path hears over RTP, into a [`Recording`].
//!
//! The SIP in it says what calls there are, whose a stream is, what it holds and when the call was answered. Without
//! SIP each stream is a call that begins with it, its caller is whoever sends first, and only payload types that need
//! no statement are known (RFC 3551 §6).

mod calls;
mod packets;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use self::calls::{Call, Calls};
use self::packets::{Carried, Packet, Seen};
use super::recording::{BadRecording, Chosen, Recording};
use crate::audio::framer::{Arrived, Content, Framer};
use crate::audio::g711::Law;
use crate::detect::ear::Opposite;
use crate::rtp::control::{Codec, StreamPlan};
use crate::rtp::packet::Header;
use crate::rtp::relay::{Payload, Payloads};
use crate::units::{CallTime, Leg, PerLeg, SampleRate, Ssrc};

/// Longest call that is read: an hour of both legs takes 115 MB as samples.
const LONGEST: Duration = Duration::from_secs(60 * 60);

/// Streams that are told apart.
const MOST_STREAMS: usize = 4_096;

/// Packets of audio that a leg must have: half a second.
const FEWEST: usize = 25;

/// A leg's media that move to another address may come from both for as long.
const MOVES_WITHIN: Duration = Duration::from_secs(1);

/// Payload types of RTP; those between are RTCP's (RFC 5761 §4).
fn may_be_audio(payload_type: u8) -> bool {
    !(64..96).contains(&payload_type)
}

#[derive(Debug)]
struct Stream {
    from: SocketAddr,
    to: SocketAddr,
    packets: Vec<(Duration, Vec<u8>)>,
}

#[derive(Default)]
struct Capture {
    calls: Calls,
    /// In the order in which they begin.
    streams: Vec<Stream>,
    by_source: HashMap<(SocketAddr, SocketAddr, Ssrc), usize>,
    seen: Seen,
}

/// A call with something to hear in it.
struct Audible<'c> {
    name: String,
    answered: Duration,
    ended: Duration,
    legs: PerLeg<AudibleLeg<'c>>,
}

struct AudibleLeg<'c> {
    streams: Vec<&'c Stream>,
    /// What its packets hold, from when on.
    payloads: Vec<(Duration, Payloads)>,
}

/// Is this a capture file, by its first bytes?
pub(super) fn is_capture(bytes: &[u8]) -> bool {
    const MAGICS: [[u8; 4]; 5] = [
        [0xd4, 0xc3, 0xb2, 0xa1],
        [0xa1, 0xb2, 0xc3, 0xd4],
        [0x4d, 0x3c, 0xb2, 0xa1],
        [0xa1, 0xb2, 0x3c, 0x4d],
        [0x0a, 0x0d, 0x0d, 0x0a],
    ];
    bytes.get(..4).is_some_and(|magic| MAGICS.iter().any(|known| known == magic))
}

/// Reads the call with this number, from 1.
pub(super) fn read(bytes: &[u8], number: usize) -> Result<Chosen, BadRecording> {
    let mut capture = Capture::default();
    capture.seen = packets::read(bytes, &mut |packet| capture.packet(packet))?;
    let audible = capture.audible();
    if audible.is_empty() {
        return Err(BadRecording::NothingToHear(capture.why_nothing()));
    }
    let found = number.checked_sub(1).and_then(|number| audible.get(number));
    let call = found.ok_or(BadRecording::NoSuchCall { asked: number, held: audible.len() })?;
    let damaged_behind = capture.seen.damaged.then_some(capture.seen.packets);
    let recording = call.recording()?;
    Ok(Chosen { recording, calls: audible.into_iter().map(|call| call.name).collect(), damaged_behind })
}

impl Capture {
    fn packet(&mut self, Packet { at, from, to, carried }: Packet<'_>) {
        let bytes = match carried {
            Carried::Datagram(bytes) => bytes,
            Carried::Segment(number, bytes) => return self.calls.segment(at, (from, to), number, bytes),
        };
        let Some(rtp) = Header::read(bytes) else { return self.calls.datagram(at, bytes) };
        if !may_be_audio(rtp.payload_type) {
            return;
        }
        let source = (from, to, rtp.ssrc);
        let number = match self.by_source.get(&source) {
            Some(number) => *number,
            None if self.streams.len() < MOST_STREAMS => {
                self.by_source.insert(source, self.streams.len());
                self.streams.push(Stream { from, to, packets: Vec::new() });
                self.streams.len() - 1
            }
            None => return,
        };
        if let Some(stream) = self.streams.get_mut(number) {
            stream.packets.push((at, bytes.to_vec()));
        }
    }

    /// Calls with something to hear in them; streams by themselves, where no SIP tells of any.
    fn audible(&self) -> Vec<Audible<'_>> {
        let calls: Vec<Audible<'_>> = self.calls.all().iter().filter_map(|call| self.with_sip(call)).collect();
        if calls.is_empty() { self.without_sip() } else { calls }
    }

    fn with_sip<'c>(&'c self, call: &Call) -> Option<Audible<'c>> {
        let legs =
            PerLeg::from_fn(|leg| AudibleLeg { streams: self.streams_of(call, leg), payloads: call.payloads(leg) });
        let first = legs.caller.streams.first().filter(|_| !call.is_sealed() && legs.caller.is_audible())?;
        Some(Audible {
            name: call.name.clone(),
            answered: call.answered.unwrap_or(first.begins()),
            ended: call.ended.unwrap_or(Duration::MAX),
            legs,
        })
    }

    /// A leg's streams one after another; of what was captured on both sides of a relay, the side that it came from.
    fn streams_of(&self, call: &Call, leg: Leg) -> Vec<&Stream> {
        let mut chosen: Vec<&Stream> = Vec::new();
        for stream in self.streams.iter().filter(|stream| call.is_of(leg, stream.from, stream.to)) {
            let within = stream.ends() >= call.begun && call.ended.is_none_or(|ended| stream.begins() <= ended);
            let goes_on =
                |before: &&Stream| before.way() == stream.way() || before.ends() <= stream.begins() + MOVES_WITHIN;
            if within && chosen.iter().all(goes_on) {
                chosen.push(stream);
            }
        }
        chosen
    }

    fn without_sip(&self) -> Vec<Audible<'_>> {
        let told = |stream: &Stream| {
            let is_of = |call: &Call| Leg::BOTH.iter().any(|leg| call.is_of(*leg, stream.from, stream.to));
            self.calls.all().iter().any(is_of)
        };
        let mut rest: Vec<&Stream> = self
            .streams
            .iter()
            .filter(|stream| !told(stream) && AudibleLeg::without_sip(Some(*stream)).is_audible())
            .collect();
        let mut calls = Vec::new();
        while let Some(caller) = rest.first().copied() {
            rest.remove(0);
            let answers =
                |stream: &&Stream| (stream.to, stream.from) == caller.way() && stream.begins() <= caller.ends();
            let callee = rest.iter().position(answers).map(|place| rest.remove(place));
            calls.push(Audible {
                name: format!("{} to {}", caller.from, caller.to),
                answered: caller.begins(),
                ended: Duration::MAX,
                legs: PerLeg { caller: AudibleLeg::without_sip(Some(caller)), callee: AudibleLeg::without_sip(callee) },
            });
        }
        calls
    }

    /// For whoever made the capture.
    fn why_nothing(&self) -> String {
        let Seen { packets, carried, cut, link, damaged } = self.seen;
        let long = self.streams.iter().filter(|stream| stream.packets.len() >= FEWEST);
        if let Some(longest) = long.max_by_key(|stream| stream.packets.len()) {
            return self.why_unheard(longest);
        }
        let calls = self.calls.all().len();
        match (carried, link) {
            (0, _) if packets == 0 && damaged => "it is damaged from its first packet on".into(),
            (0, _) if packets == 0 => "no packet is in it".into(),
            (0, Some(link)) => {
                format!("its link layer (type {link}) is not read; Ethernet, Linux cooked, BSD loopback and raw IP are")
            }
            (0, None) if cut > 0 => {
                "its packets were cut short as they were captured; `tcpdump -s 0` takes whole ones".into()
            }
            (0, None) => "neither UDP nor TCP is in it".into(),
            (_, _) if calls == 0 => "neither SIP nor half a second of RTP is in it".into(),
            (_, _) => format!("the SIP of a call is in it ({calls}), and no half second of RTP"),
        }
    }

    fn why_unheard(&self, stream: &Stream) -> String {
        let calls = self.calls.all();
        let is_of = |call: &&Call| Leg::BOTH.iter().any(|leg| call.is_of(*leg, stream.from, stream.to));
        if calls.iter().filter(is_of).any(Call::is_sealed) {
            return "its audio is encrypted (SRTP)".into();
        }
        let first = stream.packets.first().and_then(|(_, bytes)| Header::read(bytes));
        let number = first.map_or(0, |rtp| rtp.payload_type);
        match calls.iter().filter(is_of).find_map(|call| call.unheard(number)) {
            Some(name) => format!("its audio is {name}; G.711, G.722 and Opus are heard"),
            None => format!("its RTP has payload type {number}, and no SIP in it says what that is"),
        }
    }
}

impl Stream {
    fn way(&self) -> (SocketAddr, SocketAddr) {
        (self.from, self.to)
    }

    fn begins(&self) -> Duration {
        self.packets.first().map_or(Duration::ZERO, |(at, _)| *at)
    }

    fn ends(&self) -> Duration {
        self.packets.last().map_or(Duration::ZERO, |(at, _)| *at)
    }
}

impl Audible<'_> {
    fn recording(&self) -> Result<Recording, BadRecording> {
        let streams = Leg::BOTH.into_iter().flat_map(|leg| &self.legs[leg].streams);
        let last = streams.map(|stream| stream.ends()).max().unwrap_or_default().min(self.ended);
        let length = last.saturating_sub(self.answered).min(LONGEST);
        let [caller, callee] = Leg::BOTH.map(|leg| self.legs[leg].samples(self.answered, length));
        if caller.is_empty() {
            Err(BadRecording::Empty)
        } else {
            Ok(Recording { caller, callee, opposite: Opposite::Callee })
        }
    }
}

impl<'c> AudibleLeg<'c> {
    fn without_sip(stream: Option<&'c Stream>) -> Self {
        let nothing = StreamPlan::default();
        let payloads = vec![(Duration::ZERO, Payloads::new(&nothing, &nothing))];
        Self { streams: stream.into_iter().collect(), payloads }
    }

    fn is_audible(&self) -> bool {
        let packets = self.streams.iter().flat_map(|stream| &stream.packets);
        let is_audio = |(at, bytes): &&(Duration, Vec<u8>)| {
            let content = Header::read(bytes).and_then(|rtp| self.content(*at, rtp.payload_type));
            content.is_some_and(|content| content != Content::Noise)
        };
        packets.filter(is_audio).take(FEWEST).count() == FEWEST
    }

    fn content(&self, at: Duration, payload_type: u8) -> Option<Content> {
        let since = self.payloads.iter().rev().find(|(since, _)| *since <= at).or(self.payloads.first());
        match since?.1.of(payload_type) {
            Payload::Audio(Codec::Pcmu) => Some(Content::Audio(Law::Mu)),
            Payload::Audio(Codec::Pcma) => Some(Content::Audio(Law::A)),
            Payload::Audio(Codec::G722) => Some(Content::G722),
            Payload::Audio(Codec::Opus) => Some(Content::Opus),
            Payload::Noise => Some(Content::Noise),
            Payload::Event | Payload::WideEvent | Payload::Other => None,
        }
    }

    /// From the answer on, put together as the live path does it.
    fn samples(&self, answered: Duration, length: Duration) -> Vec<i16> {
        let mut packets: Vec<&(Duration, Vec<u8>)> = self.streams.iter().flat_map(|stream| &stream.packets).collect();
        packets.sort_by_key(|(at, _)| *at);
        let mut framer = Framer::new();
        let mut samples = Vec::new();
        let mut drain = |framer: &mut Framer| {
            while let Some(frame) = framer.poll_frame() {
                samples.extend_from_slice(&frame.samples);
            }
        };
        for (captured, bytes) in packets {
            let Some(at) = captured.checked_sub(answered).filter(|at| *at <= length) else { continue };
            let Some(rtp) = Header::read(bytes) else { continue };
            let Some(content) = self.content(*captured, rtp.payload_type) else { continue };
            let at = CallTime(at);
            framer.advance(at);
            drain(&mut framer);
            let payload = bytes.get(rtp.payload.clone()).unwrap_or_default();
            framer.push(Arrived {
                at,
                sequence: rtp.sequence,
                timestamp: rtp.timestamp,
                ssrc: rtp.ssrc,
                content,
                payload,
            });
            drain(&mut framer);
        }
        framer.advance(CallTime(length + Duration::from_millis(200)));
        drain(&mut framer);
        samples.truncate(SampleRate::TELEPHONE.samples_in(length));
        samples
    }
}
