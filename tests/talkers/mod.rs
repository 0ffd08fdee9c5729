//! Two telephones that talk through the real binary: their SIP and their media, each by hand.

#![allow(clippy::unwrap_used, dead_code, reason = "test helpers, not all used by each suite")]

use std::net::{SocketAddr, UdpSocket};

use crate::firewall::{Firewall, agent};
use crate::plain_sip::{answer, audio, header, receive, request, socket};

pub(crate) const PCMU: u8 = 0;
pub(crate) const OPUS: u8 = 111;

/// One telephone: its SIP and its media.
pub(crate) struct Phone {
    pub(crate) sip: UdpSocket,
    pub(crate) media: UdpSocket,
    pub(crate) relay: Option<SocketAddr>,
    pub(crate) sequence: u16,
}

impl Phone {
    pub(crate) fn new(ip: &str) -> Self {
        Self { sip: socket(ip), media: socket(ip), relay: None, sequence: 0 }
    }

    pub(crate) fn here(&self) -> SocketAddr {
        self.sip.local_addr().unwrap()
    }

    pub(crate) fn describes(&self, formats: &str) -> String {
        let media = self.media.local_addr().unwrap();
        let (ip, port) = (media.ip(), media.port());
        format!("v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {port} RTP/AVP {formats}\r\n")
    }

    pub(crate) fn receive_sip(&self, start: &str) -> String {
        receive(&self.sip, start)
    }

    /// 20 ms of audio.
    pub(crate) fn send(&mut self, payload_type: u8, payload: &[u8]) {
        let ticks = if payload_type == OPUS { 960 } else { 160 };
        self.send_at(payload_type, u32::from(self.sequence + 1) * ticks, payload);
    }

    /// The next packet, with this timestamp.
    pub(crate) fn send_at(&mut self, payload_type: u8, timestamp: u32, payload: &[u8]) {
        self.sequence += 1;
        let [high, low] = self.sequence.to_be_bytes();
        let mut packet = vec![0x80, payload_type, high, low];
        packet.extend(timestamp.to_be_bytes());
        packet.extend([1, 2, 3, self.here().ip().is_ipv4().into()]);
        packet.extend(payload);
        self.media.send_to(&packet, self.relay.unwrap()).unwrap();
    }

    /// Payload type and payload of the next packet.
    pub(crate) fn hears(&self) -> (u8, Vec<u8>) {
        let mut buffer = [0; 2_048];
        let length = self.media.recv(&mut buffer).unwrap();
        (buffer[1] & 0x7F, buffer[12..length].to_vec())
    }

    /// Hears packets of this kind and length; true once they are not all alike, as silence would be.
    pub(crate) fn hears_a_prompt(&self, payload_type: u8) -> bool {
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
pub(crate) fn bytes(payload_type: u8) -> usize {
    if payload_type == OPUS { 60 } else { 160 }
}

pub(crate) struct Call {
    pub(crate) firewall: Firewall,
    pub(crate) caller: Phone,
    pub(crate) callee: Phone,
    pub(crate) to: String,
    pub(crate) target: String,
    pub(crate) cseq: u32,
}

impl Call {
    pub(crate) fn new(firewall: Firewall, caller: Phone, callee: Phone) -> Self {
        let target = format!("sip:201@{}", firewall.sip);
        Self { firewall, caller, callee, to: format!("<{target}>"), target, cseq: 0 }
    }

    pub(crate) fn request(&self, method: &str, body: &str) -> String {
        request(self.caller.here(), (method, self.cseq), (&self.target, &self.to), body)
    }

    /// An offer of the caller and the callee's answer: what the callee was offered, and the caller answered.
    pub(crate) fn agrees(&mut self, offered: &str, taken: &str) -> (String, String) {
        self.cseq += 1;
        let invite = self.request("INVITE", &self.caller.describes(offered));
        self.caller.sip.send_to(invite.as_bytes(), self.firewall.sip).unwrap();
        let asked = self.callee.receive_sip("INVITE ");
        let body = self.callee.describes(taken);
        self.callee
            .sip
            .send_to(answer(&asked, "200 OK", "p", self.callee.here(), &body).as_bytes(), self.firewall.sip)
            .unwrap();
        let ok = self.caller.receive_sip("SIP/2.0 200");
        self.to = header(&ok, "To").to_owned();
        self.target = header(&ok, "Contact").trim_matches(['<', '>']).to_owned();
        self.caller.sip.send_to(self.request("ACK", "").as_bytes(), self.firewall.sip).unwrap();
        self.callee.receive_sip("ACK ");
        (self.callee.relay, self.caller.relay) = (Some(audio(&asked)), Some(audio(&ok)));
        (asked, ok)
    }

    /// Both ways, in these payload types, which arrive as they were sent.
    pub(crate) fn talk(&mut self, caller_sends: (u8, &[u8]), callee_sends: (u8, &[u8])) {
        for n in 0..50 {
            let part = |(kind, audio): (u8, &[u8])| (kind, audio[n * bytes(kind)..][..bytes(kind)].to_vec());
            let (there, back) = (part(caller_sends), part(callee_sends));
            self.caller.send(there.0, &there.1);
            assert_eq!(self.callee.hears(), there);
            self.callee.send(back.0, &back.1);
            assert_eq!(self.caller.hears(), back);
        }
    }

    pub(crate) fn frames(&self) -> u64 {
        self.firewall.metric("analysis_frames_total")
    }

    pub(crate) fn divert(&self) {
        let calls = self.firewall.get("/api/calls");
        let name = calls["calls"][0]["id"].as_str().unwrap().to_owned();
        agent().post(format!("http://{}/api/calls/{name}/divert", self.firewall.admin)).send_empty().unwrap();
    }
}

pub(crate) fn firewall(pbx: SocketAddr, more: &str) -> Firewall {
    let prompts = concat!(env!("CARGO_MANIFEST_DIR"), "/config/announcements");
    let settings = Firewall::settings(pbx, more);
    Firewall::start_as(&settings.replace("[media]\n", &format!("[media]\nannouncements = \"{prompts}\"\n")))
}
