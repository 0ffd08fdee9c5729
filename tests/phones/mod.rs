//! A telephone and a PBX for tests of the real binary: plain SIP text that shares no code with Ringfence.

#![allow(clippy::unwrap_used, clippy::expect_used, dead_code, reason = "test helpers, not all used by each suite")]

pub(crate) mod mass;
pub(crate) mod streams;

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::plain_sip::{answer, description, header};

const PATIENCE: Duration = Duration::from_secs(10);

#[expect(clippy::disallowed_methods, reason = "telephones of a process test live in real time")]
fn now() -> Instant {
    Instant::now()
}

/// Answers every call at once, and everything else with 200.
pub(crate) struct Pbx {
    pub(crate) address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
}

impl Pbx {
    pub(crate) fn start(ip: &str) -> Self {
        let socket = UdpSocket::bind((ip.parse::<IpAddr>().unwrap(), 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let (address, stop) = (socket.local_addr().unwrap(), Arc::new(AtomicBool::new(false)));
        let told = Arc::clone(&stop);
        let requests = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&requests);
        std::thread::spawn(move || {
            let mut buffer = [0; 65_535];
            while !told.load(Ordering::Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
                let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
                heard.lock().unwrap().push(text.clone());
                let body = if text.starts_with("INVITE ") { description(address) } else { String::new() };
                if !text.starts_with("ACK ") && !text.starts_with("SIP/2.0") {
                    let _ = socket.send_to(answer(&text, "200 OK", "pbx", address, &body).as_bytes(), from);
                }
            }
        });
        Self { address, requests, stop }
    }

    /// A socket of a telephone behind it.
    pub(crate) fn phone(&self) -> UdpSocket {
        Caller::socket(&self.address.ip().to_string())
    }

    /// What has come, oldest first.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

impl Drop for Pbx {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// A telephone behind the trunk.
pub(crate) struct Caller {
    pub(crate) firewall: SocketAddr,
    socket: UdpSocket,
    here: SocketAddr,
    /// In Call-ID and branches: one socket may make several calls.
    name: String,
    to: String,
    target: String,
}

impl Caller {
    pub(crate) fn new(ip: &str, firewall: SocketAddr) -> Self {
        Self::on(Self::socket(ip), firewall)
    }

    pub(crate) fn socket(ip: &str) -> UdpSocket {
        UdpSocket::bind((ip.parse::<IpAddr>().unwrap(), 0)).unwrap()
    }

    pub(crate) fn on(socket: UdpSocket, firewall: SocketAddr) -> Self {
        static CALLS: AtomicU32 = AtomicU32::new(0);
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let here = socket.local_addr().unwrap();
        let name = format!("{}c{}", here.port(), CALLS.fetch_add(1, Ordering::Relaxed));
        Self { firewall, socket, here, name, to: String::new(), target: String::new() }
    }

    fn request(&self, method: &str, number: u32, body: &str) -> String {
        let (here, name) = (self.here, &self.name);
        let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        format!(
            "{method} {} SIP/2.0\r\nVia: SIP/2.0/UDP {here};branch=z9hG4bK{name}{method}{number};rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:+441632960001@{here}>;tag=caller\r\nTo: {}\r\nCall-ID: {name}\r\nCSeq: {number} {method}\r\n\
             Contact: <sip:c@{here}>\r\n{kind}Content-Length: {}\r\n\r\n{body}",
            self.target,
            self.to,
            body.len()
        )
    }

    fn send(&self, text: &str) {
        self.socket.send_to(text.as_bytes(), self.firewall).unwrap();
    }

    fn receive(&self) -> Option<String> {
        let mut buffer = [0; 65_535];
        let (length, _) = self.socket.recv_from(&mut buffer).ok()?;
        Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
    }

    /// Dials; the final status.
    pub(crate) fn invite(&mut self, extension: &str) -> u16 {
        self.invite_at(extension, &self.firewall.to_string())
    }

    /// Dials at a host.
    pub(crate) fn invite_at(&mut self, extension: &str, host: &str) -> u16 {
        self.invite_uri(&format!("sip:{extension}@{host}"))
    }

    /// Dials, and waits for no longer than this; 0: nothing came.
    pub(crate) fn invite_for(&mut self, extension: &str, patience: Duration) -> u16 {
        let uri = format!("sip:{extension}@{}", self.firewall);
        self.dial(&uri, patience)
    }

    /// Dials a URI.
    pub(crate) fn invite_uri(&mut self, uri: &str) -> u16 {
        self.dial(uri, PATIENCE)
    }

    fn dial(&mut self, uri: &str, patience: Duration) -> u16 {
        self.target = uri.to_owned();
        self.to = format!("<{}>", self.target);
        self.send(&self.request("INVITE", 1, &description(self.here)));
        let begun = now();
        while now() - begun < patience {
            let Some(text) = self.receive() else { continue };
            let status: u16 = text.get(8..11).and_then(|code| code.parse().ok()).unwrap_or(0);
            if status >= 200 {
                self.to = header(&text, "To").to_owned();
                if status == 200 {
                    let contact = header(&text, "Contact");
                    self.target = contact.trim_start_matches('<').trim_end_matches('>').to_owned();
                }
                let ack = self.request("ACK", 1, "");
                // The ACK to a refusal has the INVITE's branch.
                self.send(&if status == 200 { ack } else { ack.replace("ACK1;rport", "INVITE1;rport") });
                return status;
            }
        }
        0
    }

    pub(crate) fn bye(&self) {
        self.send(&self.request("BYE", 2, ""));
        let begun = now();
        while now() - begun < PATIENCE {
            if self.receive().is_some_and(|text| text.starts_with("SIP/2.0 200") && text.contains("CSeq: 2 BYE")) {
                return;
            }
        }
        panic!("the BYE was not answered");
    }

    /// Waits for a request and answers it.
    pub(crate) fn is_told(&self, method: &str) -> bool {
        let request = self.hears(method);
        if let Some(text) = &request {
            self.send(&answer(text, "200 OK", "x", self.here, ""));
        }
        request.is_some()
    }

    /// Waits for a request.
    pub(crate) fn hears(&self, method: &str) -> Option<String> {
        let begun = now();
        while now() - begun < PATIENCE {
            if let Some(text) = self.receive()
                && text.starts_with(method)
            {
                return Some(text);
            }
        }
        None
    }
}
