//! `listen` of a capture as a person makes one: whatever was captured where, what is in it or is not.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    missing_docs,
    reason = "tests"
)]

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::{Command, Output};

use ringfence::audio::g711::Law;
use ringfence::audio::wav::Wav;
use ringfence::audio::{g722, opus};
use ringfence::offline::Recording;

const SCAM: &str = "src/demo/audio/scam.wav";
const NEIGHBOUR: &str = "src/demo/audio/neighbour.wav";

/// How packets lie in the file.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Layer {
    Ethernet,
    Vlan,
    /// `tcpdump -i any` of today.
    Cooked,
    Raw,
    /// In two fragments what is longer than 300 bytes.
    Fragments,
    /// Signalling over TCP, two segments a message, each of them twice.
    Tcp,
    Pcapng,
    /// All of it a second time, behind a relay that keeps the Call-ID and gives the audio an SSRC of its own.
    BothSides,
}

#[derive(Clone, Copy, Debug)]
struct Codec {
    payload_type: u8,
    ticks: u32,
    described: &'static str,
}

const PCMA: Codec = Codec { payload_type: 8, ticks: 160, described: "RTP/AVP 8" };
const G722: Codec = Codec { payload_type: 9, ticks: 160, described: "RTP/AVP 9 8" };
const OPUS: Codec = Codec {
    payload_type: 107,
    ticks: 960,
    described: "RTP/AVP 107 8 110\r\na=rtpmap:107 opus/48000/2\r\na=fmtp:107 useinbandfec=1\r\na=rtpmap:110 telephone-event/48000",
};

/// A capture of calls between a trunk and a firewall.
struct Capture {
    layer: Layer,
    trunk: IpAddr,
    us: IpAddr,
    sent: u32,
    file: Vec<u8>,
}

impl Capture {
    fn new(layer: Layer) -> Self {
        Self::between(layer, "192.0.2.10", "192.0.2.1")
    }

    fn between(layer: Layer, trunk: &str, us: &str) -> Self {
        let link: u32 = match layer {
            Layer::Cooked => 276,
            Layer::Raw => 101,
            _ => 1,
        };
        let words = match layer {
            // A section and its interface, with microseconds.
            Layer::Pcapng => vec![0x0A0D_0D0A, 28, 0x1A2B_3C4D, 1, u32::MAX, u32::MAX, 28, 1, 20, 1, 0, 20],
            _ => vec![0xA1B2_C3D4u32, 0x0004_0002, 0, 0, 65_535, link],
        };
        let file = words.into_iter().flat_map(u32::to_le_bytes).collect();
        Self { layer, trunk: trunk.parse().unwrap(), us: us.parse().unwrap(), sent: 0, file }
    }

    fn words(&mut self, words: &[u32]) {
        self.file.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    }

    fn frame(&mut self, ms: u64, frame: &[u8], whole: usize) {
        let (seconds, micros) = ((ms / 1_000) as u32, (ms % 1_000) as u32 * 1_000);
        let (length, whole) = (frame.len() as u32, whole as u32);
        if self.layer == Layer::Pcapng {
            let padded = length.next_multiple_of(4);
            let clock = ms * 1_000;
            self.words(&[6, 32 + padded, 0, (clock >> 32) as u32, clock as u32, length, whole]);
            self.file.extend(frame);
            self.file.extend(vec![0; (padded - length) as usize]);
            self.words(&[32 + padded]);
        } else {
            self.words(&[seconds, micros, length, whole]);
            self.file.extend(frame);
        }
    }

    /// `fragment`: offset and flags as in the header.
    fn ip(&mut self, ms: u64, (from, to): (IpAddr, IpAddr), protocol: u8, fragment: u16, payload: &[u8]) {
        let kind: u16 = if from.is_ipv4() { 0x0800 } else { 0x86DD };
        let mut frame = match self.layer {
            Layer::Raw => Vec::new(),
            Layer::Cooked => {
                [&kind.to_be_bytes()[..], &[0, 0, 0, 0, 0, 1, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0]].concat()
            }
            Layer::Vlan => [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x81, 0, 0, 7][..], &kind.to_be_bytes()].concat(),
            _ => [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2][..], &kind.to_be_bytes()].concat(),
        };
        let length = payload.len() as u16;
        match (from, to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                frame.extend([0x45, 0]);
                frame.extend((20 + length).to_be_bytes());
                frame.extend((self.sent as u16).to_be_bytes());
                frame.extend(fragment.to_be_bytes());
                frame.extend([64, protocol, 0, 0]);
                frame.extend(from.octets());
                frame.extend(to.octets());
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                frame.extend([0x60, 0, 0, 0]);
                frame.extend(length.to_be_bytes());
                frame.extend([protocol, 64]);
                frame.extend(from.octets());
                frame.extend(to.octets());
            }
            _ => panic!("{from} to {to}"),
        }
        frame.extend(payload);
        self.frame(ms, &frame, frame.len());
    }

    fn udp(&mut self, ms: u64, from: SocketAddr, to: SocketAddr, payload: &[u8]) {
        let mut datagram = Vec::new();
        for word in [from.port(), to.port(), 8 + payload.len() as u16, 0] {
            datagram.extend(word.to_be_bytes());
        }
        datagram.extend(payload);
        self.sent += 1;
        let ends = (from.ip(), to.ip());
        if self.layer == Layer::Fragments && datagram.len() > 300 {
            let (first, second) = datagram.split_at(200);
            // In the wrong order.
            self.ip(ms, ends, 17, 25, second);
            self.ip(ms, ends, 17, 0x2000, first);
        } else {
            self.ip(ms, ends, 17, 0, &datagram);
        }
    }

    fn sip(&mut self, ms: u64, from: SocketAddr, to: SocketAddr, text: &str) {
        if self.layer != Layer::Tcp {
            return self.udp(ms, from, to, text.as_bytes());
        }
        let (first, second) = text.as_bytes().split_at(text.len() / 2);
        // Each direction has one message in a call of this suite, but for the caller's BYE.
        let begin = if text.starts_with("BYE") { 50_000u32 } else { 7 };
        for (number, part) in [(begin, first), (begin, first), (begin + first.len() as u32, second)] {
            let mut segment = Vec::new();
            segment.extend(from.port().to_be_bytes());
            segment.extend(to.port().to_be_bytes());
            segment.extend(number.to_be_bytes());
            segment.extend([0, 0, 0, 0, 0x50, 0x18, 1, 0, 0, 0, 0, 0]);
            segment.extend(part);
            self.ip(ms, (from.ip(), to.ip()), 6, 0, &segment);
        }
    }

    fn message(&self, start: &str, call: &str, cseq: &str, at: IpAddr, media: Option<(u16, &str)>) -> String {
        let family = if at.is_ipv4() { "IP4" } else { "IP6" };
        let body = media.map_or(String::new(), |(port, described)| {
            format!("v=0\r\no=- 1 1 IN {family} {at}\r\ns=-\r\nc=IN {family} {at}\r\nt=0 0\r\nm=audio {port} {described}\r\n")
        });
        let trunk = SocketAddr::new(self.trunk, 5_060);
        format!(
            "{start}\r\nVia: SIP/2.0/UDP {trunk};branch=z9hG4bK1\r\nMax-Forwards: 70\r\nFrom: <sip:{call}@{trunk}>;tag=a\r\n\
             To: <sip:201@example.net>;tag=b\r\nCall-ID: {call}\r\nCSeq: {cseq}\r\nContact: <sip:a@{trunk}>\r\n\
             Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }

    /// A whole call that begins then, with its audio at `port` of both sides.
    fn call(&mut self, ms: u64, name: &str, port: u16, audio: &str, codec: Codec) {
        let (ends, described) = ((self.trunk, self.us), codec.described);
        let (trunk, us) = (SocketAddr::new(ends.0, port), SocketAddr::new(ends.1, port + 20));
        let (theirs, ours) = (SocketAddr::new(ends.0, 5_060), SocketAddr::new(ends.1, 5_060));
        // A relay's other side: the same SIP, the same audio, other addresses.
        let inside = SocketAddr::new(ends.0, port + 40);
        let both = self.layer == Layer::BothSides;
        let invite = |media| {
            self.message("INVITE sip:201@example.net SIP/2.0", name, "1 INVITE", ends.0, Some((media, described)))
        };
        let ok = |media| self.message("SIP/2.0 200 OK", name, "1 INVITE", ends.1, Some((media, described)));
        let (invites, oks) = ([invite(trunk.port()), invite(inside.port())], [ok(us.port()), ok(us.port() + 40)]);
        self.sip(ms, theirs, ours, &invites[0]);
        if both {
            self.sip(ms + 1, theirs, ours, &invites[1]);
            self.sip(ms + 3_000, ours, theirs, &oks[1]);
        }
        self.sip(ms + 3_000, ours, theirs, &oks[0]);
        let legs = Wav::read(&std::fs::read(audio).unwrap()).unwrap().telephone().unwrap();
        let coded = |leg: &[i16]| match codec.payload_type {
            8 => Law::A.encode_all(leg),
            9 => g722::encode_all(leg),
            _ => opus::encode_all(leg, 80),
        };
        let size = if codec.ticks == 960 { 80 } else { 160 };
        let sound: Vec<Vec<u8>> = legs.iter().map(|leg| coded(leg)).collect();
        let frames = legs[0].len() / 160;
        for n in 0..frames {
            let at = ms + 3_000 + 20 * n as u64;
            let part = |leg: usize| &sound[leg][size * n..size * (n + 1)];
            // The callee's stream comes first: only the signalling says who is who.
            self.udp(at, us, trunk, &rtp(codec, n as u32, 7, part(1)));
            self.udp(at + 5, trunk, us, &rtp(codec, n as u32, 9, part(0)));
            if both {
                let other_side = SocketAddr::new(ends.1, us.port() + 40);
                self.udp(at + 6, inside, other_side, &rtp(codec, n as u32 + 77, 19, part(0)));
                self.udp(at + 7, other_side, inside, &rtp(codec, n as u32 + 77, 17, part(1)));
            }
        }
        let bye = self.message("BYE sip:201@example.net SIP/2.0", name, "2 BYE", ends.0, None);
        self.sip(ms + 3_010 + 20 * frames as u64, theirs, ours, &bye);
    }
}

fn rtp(codec: Codec, number: u32, ssrc: u32, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x80, codec.payload_type];
    packet.extend((number as u16).to_be_bytes());
    packet.extend((codec.ticks * number).to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    packet.extend(payload);
    packet
}

/// A second of one stream, and before it what `more` adds.
fn stream(codec: Codec, more: impl Fn(&mut Capture)) -> Vec<u8> {
    let mut capture = Capture::new(Layer::Ethernet);
    more(&mut capture);
    let (from, to) = ("192.0.2.10:4000".parse().unwrap(), "192.0.2.1:4020".parse().unwrap());
    for n in 0..50 {
        capture.udp(5_000 + 20 * u64::from(n), from, to, &rtp(codec, n, 3, &[0xD5; 160]));
    }
    capture.file
}

fn listen(file: &[u8], arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("call.pcap");
    std::fs::write(&path, file).unwrap();
    listen_to(&path, arguments)
}

fn listen_to(path: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ringfence")).arg("listen").arg(path).args(arguments).output().unwrap()
}

/// What it says, without the name of the file.
fn said(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    text.lines().filter(|line| !line.contains("call.pcap: ")).map(|line| format!("{line}\n")).collect()
}

fn one_call(layer: Layer, audio: &str, codec: Codec) -> Vec<u8> {
    let mut capture = Capture::new(layer);
    capture.call(1_000, "one", 4_000, audio, codec);
    capture.file
}

#[test]
fn a_capture_is_heard_like_the_recording() {
    let said = said(&listen(&one_call(Layer::Ethernet, SCAM, PCMA), &[]));

    assert!(said.contains("phrase `press one`") && said.contains("\ndivert at "), "{said}");
}

#[test]
fn opus_is_heard_by_what_the_descriptions_say_of_it() {
    let said = said(&listen(&one_call(Layer::Ethernet, SCAM, OPUS), &[]));

    assert!(said.contains("phrase `press one`") && said.contains("\ndivert at "), "{said}");
}

#[test]
fn whatever_lies_around_the_packets_the_same_is_heard() {
    let plain = said(&listen(&one_call(Layer::Ethernet, NEIGHBOUR, PCMA), &["--no-words"]));
    assert!(plain.contains("first speech") && plain.contains("callee"), "{plain}");

    for layer in [Layer::Vlan, Layer::Cooked, Layer::Raw, Layer::Fragments, Layer::Tcp, Layer::Pcapng, Layer::BothSides]
    {
        assert_eq!(said(&listen(&one_call(layer, NEIGHBOUR, PCMA), &["--no-words"])), plain, "{layer:?}");
    }
    let mut six = Capture::between(Layer::Ethernet, "2001:db8::10", "2001:db8::1");
    six.call(1_000, "one", 4_000, NEIGHBOUR, PCMA);
    assert_eq!(said(&listen(&six.file, &["--no-words"])), plain, "IPv6");
    let wide = said(&listen(&one_call(Layer::Ethernet, NEIGHBOUR, G722), &["--no-words"]));
    assert!(wide.contains("first speech"), "G.722: {wide}");
}

#[test]
fn a_capture_that_is_cut_off_or_damaged_is_heard_as_far_as_it_goes() {
    let whole = one_call(Layer::Ethernet, NEIGHBOUR, PCMA);

    // A last packet that was cut off is no mistake.
    let cut = said(&listen(&whole[..whole.len() / 2], &["--no-words"]));
    assert!(cut.contains("first speech") && !cut.contains("damaged"), "{cut}");
    let mut damaged = one_call(Layer::Pcapng, NEIGHBOUR, PCMA);
    let middle = damaged.len() / 2;
    damaged[middle..].fill(0xFF);
    let heard = said(&listen(&damaged, &["--no-words"]));
    assert!(heard.contains("the capture is damaged behind its packet ") && heard.contains("first speech"), "{heard}");
}

#[test]
fn more_streams_than_are_told_apart_take_nothing_from_those_that_are() {
    let mut capture = Capture::new(Layer::Ethernet);
    let (from, to) = ("192.0.2.10:53".parse().unwrap(), "192.0.2.1:53".parse().unwrap());
    capture.call(1_000, "one", 4_000, NEIGHBOUR, PCMA);
    let call = std::mem::take(&mut capture.file);
    for n in 0..5_000 {
        capture.udp(4_000, from, to, &rtp(PCMA, 0, n + 100, b"a question"));
    }
    // Behind the first packets of both legs.
    let mut at = 24;
    for _ in 0..6 {
        at += 16 + u32::from_le_bytes(call[at + 8..at + 12].try_into().unwrap()) as usize;
    }
    let crowded = [&call[..at], &capture.file, &call[at..]].concat();

    assert_eq!(said(&listen(&crowded, &["--no-words"])), said(&listen(&call, &["--no-words"])));
}

/// Bytes changed, cut out and put twice: no panic, and what is read is no longer than is said (an hour).
#[test]
fn a_capture_of_any_bytes_is_a_recording_or_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("call.pcap");
    let mut seed = 0x2545_F491_4F6C_DD1Du64;
    let mut random = move |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed >> 20) as usize % below
    };
    let mut read = [0; 2];
    for layer in [Layer::Fragments, Layer::Tcp, Layer::Pcapng, Layer::BothSides, Layer::Cooked] {
        // Signalling and a second of audio.
        let good = one_call(layer, NEIGHBOUR, OPUS);
        let good = &good[..40_000.min(good.len())];
        for _ in 0..60 {
            let mut bytes = good.to_vec();
            for _ in 0..=random(8) {
                // Where the signalling is, as often as not.
                let within = if random(2) == 0 { 3_000 } else { bytes.len() };
                let at = random(within);
                match random(4) {
                    0 => bytes[at] = random(256) as u8,
                    1 => bytes[at] ^= 1 << random(8),
                    2 => drop(bytes.drain(at..(at + random(40)).min(bytes.len()))),
                    _ => bytes.extend_from_within(at..(at + 500).min(bytes.len())),
                }
            }
            std::fs::write(&path, &bytes).unwrap();
            let heard = Recording::read(&path);
            read[usize::from(heard.is_ok())] += 1;
            let longest = heard.map_or(0, |heard| heard.caller.len().max(heard.callee.len()));
            assert!(longest <= 3_600 * 8_000, "{layer:?}: {longest} samples");
        }
    }
    assert!(read.iter().all(|count| *count > 20), "{read:?}");
}

#[test]
fn of_several_calls_each_can_be_heard() {
    let mut capture = Capture::new(Layer::Ethernet);
    // One behind the other on the same ports, and a third at the same time.
    capture.call(1_000, "one", 4_000, NEIGHBOUR, PCMA);
    capture.call(60_000, "two", 4_000, SCAM, PCMA);
    capture.call(60_500, "three", 6_000, NEIGHBOUR, OPUS);

    let first = said(&listen(&capture.file, &["--no-words"]));
    let second = said(&listen(&capture.file, &["--no-words", "--number", "2"]));
    let fourth = said(&listen(&capture.file, &["--no-words", "--number", "4"]));

    assert!(first.starts_with("3 calls can be heard; this is number 1 (--number takes another):\n"), "{first}");
    assert!(first.contains("\n      2  sip:two@192.0.2.10:5060 to sip:201@example.net (Call-ID two)\n"), "{first}");
    let timeline = |text: &str| text.split_once("\n\n").unwrap().1.to_owned();
    assert_eq!(timeline(&first), said(&listen(&one_call(Layer::Ethernet, NEIGHBOUR, PCMA), &["--no-words"])));
    assert_eq!(timeline(&second), said(&listen(&one_call(Layer::Ethernet, SCAM, PCMA), &["--no-words"])));
    let output = listen(&capture.file, &["--number", "4"]);
    assert_eq!((output.status.code(), fourth), (Some(1), String::new()));
    assert!(String::from_utf8_lossy(&output.stderr).contains("there is no call 4 in it: 3 can be heard"), "{output:?}");
}

#[test]
fn without_descriptions_what_needs_no_statement_is_heard() {
    let mut file = one_call(Layer::Ethernet, NEIGHBOUR, PCMA);
    let found: Vec<usize> =
        file.windows(8).enumerate().filter(|(_, window)| *window == b"m=audio ").map(|(at, _)| at).collect();
    assert_eq!(found.len(), 2);
    for at in found {
        file[at] = b'x';
    }

    let said = said(&listen(&file, &["--no-words"]));

    assert!(said.contains("first speech") && said.contains("callee"), "{said}");
}

#[test]
fn why_there_is_nothing_to_hear_is_one_clear_line() {
    let empty = Capture::new(Layer::Ethernet).file;
    let invite = |capture: &mut Capture, described: &str| {
        let (theirs, ours) = ("192.0.2.10:5060".parse().unwrap(), "192.0.2.1:5060".parse().unwrap());
        let text = capture.message(
            "INVITE sip:201@example.net SIP/2.0",
            "one",
            "1 INVITE",
            capture.trunk,
            Some((4_000, described)),
        );
        capture.sip(1_000, theirs, ours, &text);
    };
    let with = |described: &'static str| move |capture: &mut Capture| invite(capture, described);
    let mut signalling = Capture::new(Layer::Ethernet);
    invite(&mut signalling, "RTP/AVP 8");
    let mut radio = empty.clone();
    radio[20] = 127;
    radio.extend(&signalling.file[24..]);
    let mut short = Capture::new(Layer::Ethernet);
    short.frame(0, &stream(PCMA, |_| {})[40..100], 214);
    let mut other = Capture::new(Layer::Ethernet);
    let (from, to) = ("192.0.2.10:53".parse().unwrap(), "192.0.2.1:53".parse().unwrap());
    other.udp(0, from, to, b"\x80\x01 a question");
    let g729 = Codec { payload_type: 18, ..PCMA };
    for (file, why) in [
        (b"hello".to_vec(), "neither a WAV, a pcap nor a pcapng file"),
        (b"\x1F\x8B\x08\0\0\0".to_vec(), "neither a WAV, a pcap nor a pcapng file; it is compressed"),
        (empty[..10].to_vec(), "not a usable capture file: its header is cut short or damaged"),
        (empty[..24].to_vec(), "no packet is in it"),
        (radio, "its link layer (type 127) is not read"),
        (short.file, "its packets were cut short as they were captured"),
        (other.file, "neither SIP nor half a second of RTP is in it"),
        (signalling.file, "the SIP of a call is in it (1), and no half second of RTP"),
        (stream(OPUS, |_| {}), "its RTP has payload type 107, and no SIP in it says what that is"),
        (stream(g729, with("RTP/AVP 18")), "its audio is G729; G.711, G.722 and Opus are heard"),
        (
            stream(PCMA, with("RTP/AVP 8\r\na=rtpmap:8 telephone-event/8000")),
            "its audio is telephone-event; G.711, G.722 and Opus are heard",
        ),
        (stream(PCMA, with("RTP/SAVP 8")), "its audio is encrypted (SRTP)"),
    ] {
        let output = listen(&file, &["--no-words"]);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), text.lines().count()), (Some(1), 1), "{why}: {text}");
        assert!(text.contains(why), "{why}: {text}");
    }
}
