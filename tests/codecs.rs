//! The real binary in calls whose audio is G.722 or Opus: from the first description on, and by a change inside the call.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs, reason = "tests")]

mod firewall;

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use firewall::{Firewall, agent};
use ringfence::audio::{g722, opus};

const PATIENCE: Duration = Duration::from_secs(10);
const G722: u8 = 9;
const PCMU: u8 = 0;
const OPUS: u8 = 111;

/// How telephones speak of Opus (RFC 7587 §7.1), with keys by its clock.
const OPUS_OFFER: &str = "111 0 110\r\na=rtpmap:111 opus/48000/2\r\na=fmtp:111 minptime=10;useinbandfec=1\r\n\
                          a=rtpmap:110 telephone-event/48000\r\na=ptime:20";
const OPUS_ANSWER: &str = "111 110\r\na=rtpmap:111 OPUS/48000/2\r\na=rtpmap:110 telephone-event/48000";

/// One telephone: its SIP and its media.
struct Phone {
    sip: UdpSocket,
    media: UdpSocket,
    relay: Option<SocketAddr>,
    sequence: u16,
}

impl Phone {
    fn new(ip: &str) -> Self {
        let socket = || {
            let socket = UdpSocket::bind((ip, 0)).unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            socket
        };
        Self { sip: socket(), media: socket(), relay: None, sequence: 0 }
    }

    fn here(&self) -> SocketAddr {
        self.sip.local_addr().unwrap()
    }

    fn describes(&self, formats: &str) -> String {
        let media = self.media.local_addr().unwrap();
        let (ip, port) = (media.ip(), media.port());
        format!("v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {port} RTP/AVP {formats}\r\n")
    }

    fn receive_sip(&self, start: &str) -> String {
        let mut buffer = [0; 65_535];
        loop {
            let length = self.sip.recv(&mut buffer).unwrap();
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if text.starts_with(start) {
                return text;
            }
        }
    }

    /// 20 ms of audio.
    fn send(&mut self, payload_type: u8, payload: &[u8]) {
        self.sequence += 1;
        let ticks = if payload_type == OPUS { 960 } else { 160 };
        let ([high, low], timestamp) = (self.sequence.to_be_bytes(), u32::from(self.sequence) * ticks);
        let mut packet = vec![0x80, payload_type, high, low];
        packet.extend(timestamp.to_be_bytes());
        packet.extend([1, 2, 3, self.here().ip().is_ipv4().into()]);
        packet.extend(payload);
        self.media.send_to(&packet, self.relay.unwrap()).unwrap();
    }

    /// Payload type and payload of the next packet.
    fn hears(&self) -> (u8, Vec<u8>) {
        let mut buffer = [0; 2_048];
        let length = self.media.recv(&mut buffer).unwrap();
        (buffer[1] & 0x7F, buffer[12..length].to_vec())
    }

    /// Hears packets of this kind and length; true once they are not all alike, as silence would be.
    fn hears_a_prompt(&self, payload_type: u8) -> bool {
        let mut first = None;
        (0..200).any(|_| {
            let (heard, payload) = self.hears();
            if heard != payload_type || payload.len() != bytes(payload_type) {
                return false;
            }
            *first.get_or_insert_with(|| payload.clone()) != payload
        })
    }
}

/// Of 20 ms.
fn bytes(payload_type: u8) -> usize {
    if payload_type == OPUS { 60 } else { 160 }
}

/// Where a description says that media go.
fn media(message: &str) -> SocketAddr {
    let line = |start: &str| message.lines().find_map(|line| line.strip_prefix(start)).unwrap();
    let port = line("m=audio ").split(' ').next().unwrap();
    SocketAddr::new(line("c=IN IP4 ").parse().unwrap(), port.parse().unwrap())
}

fn header<'t>(message: &'t str, name: &str) -> &'t str {
    message.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap()
}

fn answer(request: &str, contact: SocketAddr, body: &str) -> String {
    let vias: String =
        request.lines().filter(|line| line.starts_with("Via:")).map(|line| format!("{line}\r\n")).collect();
    let to = header(request, "To");
    let to = if to.contains("tag=") { to.to_owned() } else { format!("{to};tag=p") };
    format!(
        "SIP/2.0 200 OK\r\n{vias}From: {}\r\nTo: {to}\r\nCall-ID: {}\r\nCSeq: {}\r\nContact: <sip:p@{contact}>\r\n\
         Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
        header(request, "From"),
        header(request, "Call-ID"),
        header(request, "CSeq"),
        body.len()
    )
}

struct Call {
    firewall: Firewall,
    caller: Phone,
    callee: Phone,
    to: String,
    target: String,
    cseq: u32,
}

impl Call {
    fn new(firewall: Firewall, caller: Phone, callee: Phone) -> Self {
        let target = format!("sip:201@{}", firewall.sip);
        Self { firewall, caller, callee, to: format!("<{target}>"), target, cseq: 0 }
    }

    fn request(&self, method: &str, body: &str) -> String {
        let (here, cseq) = (self.caller.here(), self.cseq);
        format!(
            "{method} {} SIP/2.0\r\nVia: SIP/2.0/UDP {here};branch=z9hG4bKg{}{method}{cseq};rport\r\nMax-Forwards: 70\r\n\
             From: <sip:+441632960001@{here}>;tag=c\r\nTo: {}\r\nCall-ID: g{here}\r\nCSeq: {cseq} {method}\r\n\
             Contact: <sip:c@{here}>\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
            self.target,
            here.port(),
            self.to,
            body.len()
        )
    }

    /// An offer of the caller and the callee's answer: what the callee was offered, and the caller answered.
    fn agrees(&mut self, offered: &str, taken: &str) -> (String, String) {
        self.cseq += 1;
        let invite = self.request("INVITE", &self.caller.describes(offered));
        self.caller.sip.send_to(invite.as_bytes(), self.firewall.sip).unwrap();
        let asked = self.callee.receive_sip("INVITE ");
        let body = self.callee.describes(taken);
        self.callee.sip.send_to(answer(&asked, self.callee.here(), &body).as_bytes(), self.firewall.sip).unwrap();
        let ok = self.caller.receive_sip("SIP/2.0 200");
        self.to = header(&ok, "To").to_owned();
        self.target = header(&ok, "Contact").trim_matches(['<', '>']).to_owned();
        self.caller.sip.send_to(self.request("ACK", "").as_bytes(), self.firewall.sip).unwrap();
        self.callee.receive_sip("ACK ");
        (self.callee.relay, self.caller.relay) = (Some(media(&asked)), Some(media(&ok)));
        (asked, ok)
    }

    /// Both ways, in these payload types, which arrive as they were sent.
    fn talk(&mut self, caller_sends: (u8, &[u8]), callee_sends: (u8, &[u8])) {
        for n in 0..50 {
            let part = |(kind, audio): (u8, &[u8])| (kind, audio[n * bytes(kind)..][..bytes(kind)].to_vec());
            let (there, back) = (part(caller_sends), part(callee_sends));
            self.caller.send(there.0, &there.1);
            assert_eq!(self.callee.hears(), there);
            self.callee.send(back.0, &back.1);
            assert_eq!(self.caller.hears(), back);
        }
    }

    fn frames(&self) -> u64 {
        self.firewall.metric("analysis_frames_total")
    }

    fn divert(&self) {
        let calls = self.firewall.get("/api/calls");
        let name = calls["calls"][0]["id"].as_str().unwrap().to_owned();
        agent().post(format!("http://{}/api/calls/{name}/divert", self.firewall.admin)).send_empty().unwrap();
    }
}

fn firewall(pbx: SocketAddr) -> Firewall {
    let prompts = concat!(env!("CARGO_MANIFEST_DIR"), "/config/announcements");
    let settings = Firewall::settings(pbx, "[detect.words]\nenabled = false");
    Firewall::start_as(&settings.replace("[media]\n", &format!("[media]\nannouncements = \"{prompts}\"\n")))
}

/// A second of something that rises and falls.
fn samples() -> Vec<i16> {
    (0..8_000)
        .map(|n: i32| {
            let wave = (f64::from(n) * 0.3).sin() * (f64::from(n) * 0.002).sin();
            (wave * 12_000.0) as i16
        })
        .collect()
}

/// The same as bytes of G.722.
fn sound() -> Vec<u8> {
    g722::encode_all(&samples())
}

#[test]
fn a_whole_call_in_g722_is_heard_and_its_prompts_are_in_g722() {
    let (caller, callee) = (Phone::new("127.0.2.71"), Phone::new("127.0.0.71"));
    let mut call = Call::new(firewall(callee.here()), caller, callee);
    let sound = sound();

    let (offered, answered) = call.agrees("9 0", "9");
    assert!(offered.contains(" RTP/AVP 9 0\r\n") && answered.contains(" RTP/AVP 9\r\n"), "{offered}{answered}");
    call.talk((G722, &sound), (G722, &sound));
    call.firewall.until("the caller is heard", |firewall| firewall.metric("analysis_frames_total") >= 50);
    call.divert();

    assert!(call.callee.hears_a_prompt(G722) && call.caller.hears_a_prompt(G722));
}

#[test]
fn a_call_that_changes_to_g722_is_heard_on_and_its_prompts_change_too() {
    let (caller, callee) = (Phone::new("127.0.2.72"), Phone::new("127.0.0.72"));
    let mut call = Call::new(firewall(callee.here()), caller, callee);
    let (sound, plain) = (sound(), vec![0x55; 8_000]);

    call.agrees("0 8", "0");
    call.talk((PCMU, &plain), (PCMU, &plain));
    call.firewall.until("the caller is heard", |firewall| firewall.metric("analysis_frames_total") >= 50);
    let before = call.frames();
    call.agrees("9", "9");
    call.talk((G722, &sound), (G722, &sound));
    call.firewall.until("it is heard on", |firewall| firewall.metric("analysis_frames_total") >= before + 50);
    call.divert();

    assert!(call.callee.hears_a_prompt(G722) && call.caller.hears_a_prompt(G722));
}

#[test]
fn a_whole_call_in_opus_is_heard_and_its_prompts_are_in_opus() {
    let (caller, callee) = (Phone::new("127.0.2.73"), Phone::new("127.0.0.73"));
    let mut call = Call::new(firewall(callee.here()), caller, callee);
    let sound = opus::encode_all(&samples(), bytes(OPUS));

    let (offered, answered) = call.agrees(OPUS_OFFER, OPUS_ANSWER);
    assert!(offered.contains("a=fmtp:111 minptime=10;useinbandfec=1\r\n"), "{offered}");
    assert!(answered.contains("a=rtpmap:111 OPUS/48000/2\r\n"), "{answered}");
    call.talk((OPUS, &sound), (OPUS, &sound));
    call.firewall.until("the caller is heard", |firewall| firewall.metric("analysis_frames_total") >= 50);
    call.divert();

    assert!(call.callee.hears_a_prompt(OPUS) && call.caller.hears_a_prompt(OPUS));
    // Its clock goes on by that of Opus.
    let stamp = |phone: &Phone| {
        let mut packet = [0; 2_048];
        phone.media.recv(&mut packet).unwrap();
        u32::from_be_bytes([packet[4], packet[5], packet[6], packet[7]])
    };
    let (first, second) = (stamp(&call.callee), stamp(&call.callee));
    assert_eq!(second.wrapping_sub(first), 960);
}

#[test]
fn a_key_by_the_clock_of_opus_takes_the_call_back() {
    let (caller, callee) = (Phone::new("127.0.2.74"), Phone::new("127.0.0.74"));
    let mut call = Call::new(firewall(callee.here()), caller, callee);
    let sound = opus::encode_all(&samples(), bytes(OPUS));

    call.agrees(OPUS_OFFER, OPUS_ANSWER);
    call.talk((OPUS, &sound), (OPUS, &sound));
    call.firewall.until("the caller is heard", |firewall| firewall.metric("analysis_frames_total") >= 50);
    call.divert();
    assert!(call.callee.hears_a_prompt(OPUS));
    // Nine, with its end: 100 ms at 48 kHz.
    call.callee.send(110, &[9, 0x8A, 0x12, 0xC0]);

    call.callee.media.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let mut packet = [0; 2_048];
    let again = (0..200).any(|_| {
        call.caller.send(OPUS, &sound[..61]);
        call.callee.media.recv(&mut packet).is_ok_and(|length| packet[12..length] == sound[..61])
    });
    assert!(again, "the caller's audio never came back");
}
