//! What the packets of a capture file carry over UDP and TCP: link layers, VLANs, IPv4 and IPv6, fragments.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use etherparse::defrag::IpDefragPool;
use etherparse::{EtherType, IpNumber, NetSlice, SlicedPacket, TransportSlice, UdpSlice};
use pcap_parser::data::{PacketData, get_packetdata};
use pcap_parser::pcapng::Block;
use pcap_parser::{Linktype, PcapBlockOwned, PcapError, create_reader};

use super::super::recording::BadRecording;

/// Packets that are looked at.
const MOST_PACKETS: usize = 2_000_000;

/// Room for one packet.
const BUFFER: usize = 1 << 20;

/// Fragments that wait for the rest of their datagram: up to 16 MB. More are an attack or loss, and all are let go.
const MOST_FRAGMENTS: usize = 256;

/// One datagram, or what a TCP segment brought.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packet<'a> {
    /// By the clock of whoever captured it.
    pub(super) at: Duration,
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    pub(super) carried: Carried<'a>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Carried<'a> {
    Datagram(&'a [u8]),
    /// With the number of its first byte in the stream.
    Segment(u32, &'a [u8]),
}

/// What was in a file, for a person who is told that there was nothing to hear.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    pub(super) packets: usize,
    /// That carried something.
    pub(super) carried: usize,
    /// That were not captured whole.
    pub(super) cut: usize,
    /// A link layer that is not read.
    pub(super) link: Option<i32>,
    /// Damaged behind the packets that were read.
    pub(super) damaged: bool,
}

/// Gives each packet of the file to `take`.
pub(super) fn read(bytes: &[u8], take: &mut dyn FnMut(Packet<'_>)) -> Result<Seen, BadRecording> {
    let unreadable = |_| BadRecording::Capture("its header is cut short or damaged");
    let mut file = create_reader(BUFFER, bytes).map_err(unreadable)?;
    let mut reader = Reader {
        link: Linktype::ETHERNET,
        nanoseconds: false,
        interfaces: Vec::new(),
        seen: Seen::default(),
        fragments: IpDefragPool::new(),
        waiting: 0,
        take,
    };
    while reader.seen.packets < MOST_PACKETS {
        match file.next() {
            Ok((consumed, block)) => {
                reader.block(&block);
                file.consume(consumed);
            }
            // A cut-off last packet is usual in a live capture; what came before it counts.
            Err(PcapError::Eof | PcapError::UnexpectedEof) => break,
            Err(PcapError::Incomplete(_)) => {
                if file.reader_exhausted() || file.refill().is_err() {
                    break;
                }
            }
            Err(_) => {
                reader.seen.damaged = true;
                break;
            }
        }
    }
    Ok(reader.seen)
}

struct Reader<'t> {
    /// Of a pcap file.
    link: Linktype,
    /// The same: its fractions of a second are not microseconds.
    nanoseconds: bool,
    /// Of the section of a pcapng file: link layer, and ticks of its clock in a second.
    interfaces: Vec<(Linktype, u64)>,
    seen: Seen,
    fragments: IpDefragPool,
    /// Those of them that wait.
    waiting: usize,
    take: &'t mut dyn FnMut(Packet<'_>),
}

impl Reader<'_> {
    fn block(&mut self, block: &PcapBlockOwned<'_>) {
        match block {
            PcapBlockOwned::LegacyHeader(header) => {
                (self.link, self.nanoseconds) = (header.network, header.is_nanosecond_precision());
            }
            PcapBlockOwned::Legacy(packet) => {
                let fraction = if self.nanoseconds { packet.ts_usec } else { packet.ts_usec.saturating_mul(1_000) };
                let at = Duration::new(packet.ts_sec.into(), fraction.min(999_999_999));
                self.packet(at, self.link, packet.data, packet.origlen);
            }
            // Each section counts its own interfaces.
            PcapBlockOwned::NG(Block::SectionHeader(_)) => self.interfaces.clear(),
            PcapBlockOwned::NG(Block::InterfaceDescription(interface)) => {
                self.interfaces.push((interface.linktype, interface.ts_resolution().unwrap_or(1_000_000).max(1)));
            }
            PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => {
                let Some(&(link, resolution)) = self.interfaces.get(packet.if_id as usize) else { return };
                let (seconds, fraction) = packet.decode_ts(0, resolution);
                let nanos = u64::from(fraction) * 1_000_000_000 / resolution;
                let at = Duration::new(seconds.into(), nanos.min(999_999_999) as u32);
                let length = (packet.caplen as usize).min(packet.data.len());
                self.packet(at, link, packet.data.get(..length).unwrap_or_default(), packet.origlen);
            }
            // Names, statistics and what later versions add.
            PcapBlockOwned::NG(_) => {}
        }
    }

    fn packet(&mut self, at: Duration, link: Linktype, data: &[u8], whole: u32) {
        self.seen.packets += 1;
        self.seen.cut += usize::from(data.len() < whole as usize);
        let sliced = match get_packetdata(data, link, data.len()) {
            Some(PacketData::L2(frame)) => SlicedPacket::from_ethernet(frame),
            // Nothing is said of it: its first bits are its version.
            Some(PacketData::L3(0, packet)) => SlicedPacket::from_ip(packet),
            Some(PacketData::L3(kind, packet)) => SlicedPacket::from_ether_type(EtherType(kind), packet),
            Some(PacketData::L4(_, _) | PacketData::Unsupported(_)) => {
                self.seen.link = Some(link.0);
                return;
            }
            None => return,
        };
        let Ok(sliced) = sliced else { return };
        let Some((from, to)) = ends(&sliced) else { return };
        if sliced.is_ip_payload_fragmented() {
            self.fragment(at, (from, to), &sliced);
        } else {
            match &sliced.transport {
                Some(TransportSlice::Udp(udp)) => self.datagram(at, (from, to), udp),
                Some(TransportSlice::Tcp(tcp)) => {
                    let (from, to) =
                        (SocketAddr::new(from, tcp.source_port()), SocketAddr::new(to, tcp.destination_port()));
                    self.carry(Packet {
                        at,
                        from,
                        to,
                        carried: Carried::Segment(tcp.sequence_number(), tcp.payload()),
                    });
                }
                Some(TransportSlice::Icmpv4(_) | TransportSlice::Icmpv6(_) | TransportSlice::Igmp(_)) | None => {}
            }
        }
    }

    /// A large INVITE over UDP comes so.
    fn fragment(&mut self, at: Duration, ends: (IpAddr, IpAddr), sliced: &SlicedPacket<'_>) {
        if self.waiting >= MOST_FRAGMENTS {
            (self.fragments, self.waiting) = (IpDefragPool::new(), 0);
        }
        match self.fragments.process_sliced_packet(sliced, (), ()) {
            Ok(Some(whole)) => {
                self.waiting = self.waiting.saturating_sub(1);
                if whole.ip_number == IpNumber::UDP
                    && let Ok(udp) = UdpSlice::from_slice(&whole.payload)
                {
                    self.datagram(at, ends, &udp);
                }
            }
            Ok(None) | Err(_) => self.waiting += 1,
        }
    }

    fn datagram(&mut self, at: Duration, (from, to): (IpAddr, IpAddr), udp: &UdpSlice<'_>) {
        let (from, to) = (SocketAddr::new(from, udp.source_port()), SocketAddr::new(to, udp.destination_port()));
        self.carry(Packet { at, from, to, carried: Carried::Datagram(udp.payload()) });
    }

    fn carry(&mut self, packet: Packet<'_>) {
        self.seen.carried += 1;
        (self.take)(packet);
    }
}

fn ends(packet: &SlicedPacket<'_>) -> Option<(IpAddr, IpAddr)> {
    match packet.net.as_ref()? {
        NetSlice::Ipv4(ip) => Some((ip.header().source_addr().into(), ip.header().destination_addr().into())),
        NetSlice::Ipv6(ip) => Some((ip.header().source_addr().into(), ip.header().destination_addr().into())),
        NetSlice::Arp(_) => None,
    }
}
