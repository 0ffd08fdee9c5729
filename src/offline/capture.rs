//! A captured call: pcap or pcapng, G.711 over RTP, into a [`Recording`].
//!
//! The INVITE in it says which stream is the caller's and its 200 when the call was answered. Without signalling, the
//! first stream is the caller's and the call begins with it.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use pcap_parser::data::{PacketData, get_packetdata};
use pcap_parser::pcapng::Block;
use pcap_parser::{Linktype, PcapBlockOwned, PcapError, create_reader};

use super::recording::{BadRecording, Recording};
use crate::audio::framer::{Arrived, Content, Framer};
use crate::audio::g711::Law;
use crate::detect::ear::Opposite;
use crate::rtp::packet::Header;
use crate::sip::wire::sdp::Sdp;
use crate::sip::wire::{Index, Limits, Method, StatusCode};
use crate::units::{CallTime, SampleRate, Ssrc};

/// Longest call that is read: an hour of both legs takes 115 MB as samples.
const LONGEST: Duration = Duration::from_secs(60 * 60);

/// Packets that are looked at.
const MOST_PACKETS: usize = 2_000_000;

/// Streams that are told apart.
const MOST_STREAMS: usize = 256;

/// Room for one packet.
const BUFFER: usize = 1 << 17;

type StreamKey = (SocketAddr, SocketAddr, Ssrc);

struct Stream {
    packets: Vec<(Duration, Vec<u8>)>,
}

#[derive(Default)]
struct Capture {
    streams: HashMap<StreamKey, Stream>,
    order: Vec<StreamKey>,
    /// Where the caller's side hears: from the first INVITE's description.
    caller: Option<SocketAddr>,
    answered: Option<Duration>,
    index: Index,
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

pub(super) fn read(bytes: &[u8]) -> Result<Recording, BadRecording> {
    let mut capture = Capture::default();
    packets(bytes, &mut |at, link, data| capture.packet(at, link, data))?;
    capture.recording()
}

/// Calls `take` with each packet's time, link type and bytes.
fn packets(bytes: &[u8], take: &mut dyn FnMut(Duration, Linktype, &[u8])) -> Result<(), BadRecording> {
    let damaged = |what: String| BadRecording::Capture(what);
    let mut reader = create_reader(BUFFER, bytes).map_err(|error| damaged(format!("{error:?}")))?;
    let (mut link, mut interfaces) = (Linktype::ETHERNET, Vec::new());
    let mut nanos = false;
    for _ in 0..MOST_PACKETS {
        match reader.next() {
            Ok((consumed, block)) => {
                match block {
                    PcapBlockOwned::LegacyHeader(header) => {
                        link = header.network;
                        nanos = header.is_nanosecond_precision();
                    }
                    PcapBlockOwned::Legacy(packet) => {
                        let fraction = if nanos { packet.ts_usec } else { packet.ts_usec.saturating_mul(1_000) };
                        let at = Duration::new(packet.ts_sec.into(), fraction.min(999_999_999));
                        take(at, link, packet.data);
                    }
                    PcapBlockOwned::NG(Block::InterfaceDescription(interface)) => {
                        interfaces.push((interface.linktype, interface.ts_resolution().unwrap_or(1_000_000).max(1)));
                    }
                    PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => {
                        if let Some((link, resolution)) = interfaces.get(packet.if_id as usize) {
                            let (seconds, fraction) = packet.decode_ts(0, *resolution);
                            let nanos = u64::from(fraction) * 1_000_000_000 / resolution;
                            let at = Duration::new(seconds.into(), nanos.min(999_999_999) as u32);
                            let length = (packet.caplen as usize).min(packet.data.len());
                            take(at, *link, packet.data.get(..length).unwrap_or_default());
                        }
                    }
                    // Names, statistics and what later versions add.
                    PcapBlockOwned::NG(_) => {}
                }
                reader.consume(consumed);
            }
            Err(PcapError::Eof | PcapError::UnexpectedEof) => return Ok(()),
            Err(PcapError::Incomplete(_)) => {
                // A cut-off last packet is usual in a live capture; what came before it counts.
                if reader.reader_exhausted() || reader.refill().is_err() {
                    return Ok(());
                }
            }
            Err(error) => return Err(damaged(format!("{error:?}"))),
        }
    }
    Ok(())
}

impl Capture {
    fn packet(&mut self, at: Duration, link: Linktype, data: &[u8]) {
        let sliced = match get_packetdata(data, link, data.len()) {
            Some(PacketData::L2(frame)) => SlicedPacket::from_ethernet(frame).ok(),
            Some(PacketData::L3(_, packet)) => SlicedPacket::from_ip(packet).ok(),
            Some(PacketData::L4(_, _) | PacketData::Unsupported(_)) | None if link == Linktype::LINUX_SLL => {
                SlicedPacket::from_linux_sll(data).ok()
            }
            Some(PacketData::L4(_, _) | PacketData::Unsupported(_)) | None => None,
        };
        let Some((from, to, payload)) = sliced.as_ref().and_then(udp) else { return };
        let rtp = Header::read(payload).filter(|rtp| matches!(rtp.payload_type, 0 | 8 | 13));
        match rtp {
            Some(rtp) => {
                let key = (from, to, rtp.ssrc);
                if !self.streams.contains_key(&key) {
                    if self.streams.len() >= MOST_STREAMS {
                        return;
                    }
                    self.order.push(key);
                    self.streams.insert(key, Stream { packets: Vec::new() });
                }
                if let Some(stream) = self.streams.get_mut(&key) {
                    stream.packets.push((at, payload.to_vec()));
                }
            }
            None => self.signalling(at, payload),
        }
    }

    fn signalling(&mut self, at: Duration, payload: &[u8]) {
        let Ok(message) = self.index.read(payload, &Limits::default()) else { return };
        if message.method() == Some(Method::Invite) && self.caller.is_none() && message.has_sdp() {
            let sdp = Sdp::read(message.body()).ok();
            let media = sdp.as_ref().and_then(|sdp| sdp.media.get(sdp.anchored()?));
            self.caller = media.and_then(|media| Some(SocketAddr::new(media.address?, media.port)));
        }
        let to_invite = message.cseq().is_ok_and(|cseq| cseq.method == Method::Invite);
        if message.status() == Some(StatusCode::OK) && to_invite && self.answered.is_none() {
            self.answered = Some(at);
        }
    }

    fn recording(&self) -> Result<Recording, BadRecording> {
        let audible: Vec<&StreamKey> = self
            .order
            .iter()
            .filter(|key| self.streams.get(*key).is_some_and(|stream| stream.packets.len() >= 25))
            .collect();
        let by_signalling = self.caller.and_then(|caller| audible.iter().find(|(from, _, _)| *from == caller));
        let caller = **by_signalling.or(audible.first()).ok_or(BadRecording::NoStream)?;
        let callee = audible.iter().find(|(from, to, _)| (*from, *to) == (caller.1, caller.0)).map(|key| **key);
        let first =
            self.streams.get(&caller).and_then(|stream| stream.packets.first()).map_or(Duration::ZERO, |(at, _)| *at);
        let answered = self.answered.filter(|_| by_signalling.is_some()).unwrap_or(first);
        let legs = [Some(caller), callee].map(|key| key.and_then(|key| self.streams.get(&key)));
        let end = legs.iter().flatten().filter_map(|stream| stream.packets.last()).map(|(at, _)| *at).max();
        let length = end.unwrap_or_default().saturating_sub(answered).min(LONGEST);
        let [caller, callee] = legs.map(|stream| samples(stream, answered, length));
        if caller.is_empty() {
            Err(BadRecording::Empty)
        } else {
            Ok(Recording { caller, callee, opposite: Opposite::Callee })
        }
    }
}

/// One leg from the answer on, put together as the live path does it.
fn samples(stream: Option<&Stream>, answered: Duration, length: Duration) -> Vec<i16> {
    let mut framer = Framer::new();
    let mut samples = Vec::new();
    let mut drain = |framer: &mut Framer| {
        while let Some(frame) = framer.poll_frame() {
            samples.extend_from_slice(&frame.samples);
        }
    };
    for (at, bytes) in stream.map(|stream| stream.packets.as_slice()).unwrap_or_default() {
        let Some(at) = at.checked_sub(answered).filter(|at| *at <= length) else { continue };
        let Some(rtp) = Header::read(bytes) else { continue };
        let content = match rtp.payload_type {
            0 => Content::Audio(Law::Mu),
            8 => Content::Audio(Law::A),
            _ => Content::Noise,
        };
        let at = CallTime(at);
        framer.advance(at);
        drain(&mut framer);
        let payload = bytes.get(rtp.payload.clone()).unwrap_or_default();
        framer.push(Arrived { at, sequence: rtp.sequence, timestamp: rtp.timestamp, ssrc: rtp.ssrc, content, payload });
        drain(&mut framer);
    }
    framer.advance(CallTime(length + Duration::from_millis(200)));
    drain(&mut framer);
    samples.truncate(SampleRate::TELEPHONE.samples_in(length));
    samples
}

fn udp<'a>(packet: &SlicedPacket<'a>) -> Option<(SocketAddr, SocketAddr, &'a [u8])> {
    let (from, to): (IpAddr, IpAddr) = match packet.net.as_ref()? {
        NetSlice::Ipv4(ip) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
        NetSlice::Ipv6(ip) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
        NetSlice::Arp(_) => return None,
    };
    match packet.transport.as_ref()? {
        TransportSlice::Udp(udp) => {
            Some((SocketAddr::new(from, udp.source_port()), SocketAddr::new(to, udp.destination_port()), udp.payload()))
        }
        TransportSlice::Tcp(_) | TransportSlice::Icmpv4(_) | TransportSlice::Icmpv6(_) | TransportSlice::Igmp(_) => {
            None
        }
    }
}
