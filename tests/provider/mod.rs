//! A provider for tests of the real binary: hosts that register, challenge and answer, and a name server. Plain text
//! and bytes that share no code with Ringfence.

#![allow(clippy::unwrap_used, dead_code, reason = "test helpers, not all used by each suite")]

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::plain_sip::{header, response};

/// In To of every answer.
const TAG: &str = "provider";

fn sha(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// One host of a provider.
pub(crate) struct Host {
    pub(crate) address: SocketAddr,
    account: Arc<Mutex<Option<(String, String)>>>,
    requests: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
}

impl Host {
    /// Answers everything with 200.
    pub(crate) fn start(ip: &str) -> Self {
        let socket = UdpSocket::bind((ip.parse::<IpAddr>().unwrap(), 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let (address, stop) = (socket.local_addr().unwrap(), Arc::new(AtomicBool::new(false)));
        let (account, requests) = (Arc::new(Mutex::new(None)), Arc::new(Mutex::new(Vec::new())));
        let host =
            Self { address, account: Arc::clone(&account), requests: Arc::clone(&requests), stop: Arc::clone(&stop) };
        std::thread::spawn(move || {
            let mut buffer = [0; 65_535];
            while !stop.load(Ordering::Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
                let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
                requests.lock().unwrap().push(text.clone());
                if text.starts_with("ACK ") || text.starts_with("SIP/2.0") {
                    continue;
                }
                let reply = reply(&text, address, account.lock().unwrap().as_ref());
                let _ = socket.send_to(reply.as_bytes(), from);
            }
        });
        host
    }

    /// REGISTER and INVITE need this user and password.
    pub(crate) fn demanding(self, user: &str, password: &str) -> Self {
        *self.account.lock().unwrap() = Some((user.to_owned(), password.to_owned()));
        self
    }

    /// Requests of one method, oldest first.
    pub(crate) fn requests(&self, method: &str) -> Vec<String> {
        let all = self.requests.lock().unwrap();
        all.iter().filter(|text| text.starts_with(&format!("{method} "))).cloned().collect()
    }

    /// The contact that was registered last.
    pub(crate) fn contact(&self) -> String {
        let register = self.requests("REGISTER").pop().unwrap();
        header(&register, "Contact").trim_matches(['<', '>']).to_owned()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn reply(request: &str, at: SocketAddr, account: Option<&(String, String)>) -> String {
    let method = request.split(' ').next().unwrap();
    if let (Some((user, password)), "REGISTER" | "INVITE") = (account, method) {
        let (status, ask, tell) = match method {
            "REGISTER" => ("401 Unauthorized", "WWW-Authenticate", "Authorization"),
            _ => ("407 Proxy Authentication Required", "Proxy-Authenticate", "Proxy-Authorization"),
        };
        if !is_right(method, header(request, tell), user, password) {
            let weak = format!("{ask}: Digest realm=\"provider\", nonce=\"weak\", qop=\"auth\", algorithm=MD5\r\n");
            let strong =
                format!("{ask}: Digest realm=\"provider\", nonce=\"strong\", qop=\"auth\", algorithm=SHA-256\r\n");
            return response(request, status, TAG, &(weak + &strong), "");
        }
    }
    let contact = match method {
        "REGISTER" => format!("Contact: {};expires=60\r\n", header(request, "Contact")),
        _ => format!("Contact: <sip:provider@{at}>\r\n"),
    };
    let (ip, port) = (at.ip(), at.port());
    let body = format!("v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\n");
    response(request, "200 OK", TAG, &contact, if method == "INVITE" { &body } else { "" })
}

/// RFC 7616 §3.4.1, written out for what this host asks.
fn is_right(method: &str, given: &str, user: &str, password: &str) -> bool {
    let field = |name: &str| {
        let list = given.strip_prefix("Digest ").unwrap_or_default();
        let value = list.split(", ").find_map(|part| part.strip_prefix(&format!("{name}=")));
        value.unwrap_or_default().trim_matches('"').to_owned()
    };
    let secret = sha(&format!("{user}:provider:{password}"));
    let request = sha(&format!("{method}:{}", field("uri")));
    let right = sha(&format!("{secret}:strong:{}:{}:auth:{request}", field("nc"), field("cnonce")));
    field("algorithm") == "SHA-256" && field("response") == right
}

/// A records' data.
pub(crate) fn a(ip: &str) -> Vec<u8> {
    ip.parse::<Ipv4Addr>().unwrap().octets().to_vec()
}

/// An AAAA record's data.
pub(crate) fn aaaa(ip: &str) -> Vec<u8> {
    ip.parse::<Ipv6Addr>().unwrap().octets().to_vec()
}

/// An SRV record's data, of priority and weight as given.
pub(crate) fn srv(priority: u16, port: u16, target: &str) -> Vec<u8> {
    let mut data = Vec::new();
    for number in [priority, 0, port] {
        data.extend(number.to_be_bytes());
    }
    data.extend(labels(target));
    data
}

/// A NAPTR record's data (RFC 3403 §4.1).
pub(crate) fn naptr(order: u16, service: &str, replacement: &str) -> Vec<u8> {
    let mut data = Vec::new();
    for number in [order, 0] {
        data.extend(number.to_be_bytes());
    }
    for text in ["s", service, ""] {
        data.push(u8::try_from(text.len()).unwrap());
        data.extend(text.as_bytes());
    }
    data.extend(labels(replacement));
    data
}

fn labels(name: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for label in name.split('.') {
        out.push(u8::try_from(label.len()).unwrap());
        out.extend(label.as_bytes());
    }
    out.push(0);
    out
}

type Zone = HashMap<(String, u16), (u32, Vec<Vec<u8>>)>;

/// A name server over UDP.
pub(crate) struct NameServer {
    pub(crate) address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
    /// Names of which the server says that it failed, for one type (0: for all).
    broken: Arc<Mutex<Vec<(String, u16)>>>,
    /// Names of which it says nothing.
    unspoken: Arc<Mutex<Vec<String>>>,
    delay: Duration,
    silent: Arc<AtomicBool>,
    questions: Arc<AtomicU32>,
    stop: Arc<AtomicBool>,
}

impl NameServer {
    pub(crate) fn start(ip: &str) -> Self {
        Self::start_slow(ip, Duration::ZERO)
    }

    /// One that thinks about each answer.
    pub(crate) fn start_slow(ip: &str, delay: Duration) -> Self {
        let socket = UdpSocket::bind((ip.parse::<IpAddr>().unwrap(), 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let server = Self {
            address: socket.local_addr().unwrap(),
            zone: Arc::default(),
            broken: Arc::default(),
            unspoken: Arc::default(),
            delay,
            silent: Arc::default(),
            questions: Arc::default(),
            stop: Arc::default(),
        };
        let questions = Arc::clone(&server.questions);
        let (broken, unspoken) = (Arc::clone(&server.broken), Arc::clone(&server.unspoken));
        let (zone, silent, stop) = (Arc::clone(&server.zone), Arc::clone(&server.silent), Arc::clone(&server.stop));
        std::thread::spawn(move || {
            let mut buffer = [0; 1_500];
            while !stop.load(Ordering::Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
                questions.fetch_add(1, Ordering::Relaxed);
                if silent.load(Ordering::Relaxed) {
                    continue;
                }
                std::thread::sleep(delay);
                let (zone, broken, unspoken) = (zone.lock().unwrap(), broken.lock().unwrap(), unspoken.lock().unwrap());
                if let Some(reply) = resolve(&buffer[..length], &zone, &broken, &unspoken) {
                    let _ = socket.send_to(&reply, from);
                }
            }
        });
        server
    }

    /// What a name has of a type, with its TTL.
    pub(crate) fn set(&self, name: &str, kind: u16, ttl: u32, data: Vec<Vec<u8>>) {
        self.zone.lock().unwrap().insert((name.to_owned(), kind), (ttl, data));
    }

    /// No name exists any more.
    pub(crate) fn clear(&self) {
        self.zone.lock().unwrap().clear();
    }

    /// From now on these names, and no others, are answered with SERVFAIL.
    pub(crate) fn fail(&self, names: &[&str]) {
        *self.broken.lock().unwrap() = names.iter().map(|name| ((*name).to_owned(), 0)).collect();
    }

    /// The same for one type of one name.
    pub(crate) fn fail_for(&self, name: &str, kind: u16) {
        *self.broken.lock().unwrap() = vec![(name.to_owned(), kind)];
    }

    /// From now on these names, and no others, are not answered.
    pub(crate) fn ignore(&self, names: &[&str]) {
        *self.unspoken.lock().unwrap() = names.iter().map(|name| (*name).to_owned()).collect();
    }

    /// That have come.
    pub(crate) fn questions(&self) -> u32 {
        self.questions.load(Ordering::Relaxed)
    }

    pub(crate) fn be_silent(&self, silent: bool) {
        self.silent.store(silent, Ordering::Relaxed);
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// RFC 1035 §4.1, one question, without EDNS in the answer.
fn resolve(query: &[u8], zone: &Zone, broken: &[(String, u16)], unspoken: &[String]) -> Option<Vec<u8>> {
    let mut at = 12;
    let mut name = Vec::new();
    while let Some(length) = query.get(at).copied().filter(|length| *length != 0) {
        let end = at + 1 + usize::from(length);
        name.push(String::from_utf8_lossy(query.get(at + 1..end)?).to_lowercase());
        at = end;
    }
    let question = query.get(12..at + 5)?;
    let kind = u16::from_be_bytes([*query.get(at + 1)?, *query.get(at + 2)?]);
    let name = name.join(".");
    if unspoken.contains(&name) {
        return None;
    }
    let failed = broken.iter().any(|(other, of)| *other == name && [0, kind].contains(of));
    let found = zone.get(&(name.clone(), kind)).filter(|_| !failed);
    let exists = zone.keys().any(|(other, _)| *other == name || other.ends_with(&format!(".{name}")));
    let mut out = query.get(..2)?.to_vec();
    let code = match (failed, exists) {
        (true, _) => 2,
        (false, true) => 0,
        (false, false) => 3,
    };
    let count = u16::try_from(found.map_or(0, |(_, data)| data.len())).unwrap();
    out.extend([0x85, 0x80 | code, 0, 1]);
    out.extend(count.to_be_bytes());
    out.extend([0, 0, 0, 0]);
    out.extend(question);
    for data in found.map(|(_, data)| data).into_iter().flatten() {
        out.extend([0xC0, 12]);
        out.extend(kind.to_be_bytes());
        out.extend([0, 1]);
        out.extend(found.unwrap().0.to_be_bytes());
        out.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
        out.extend(data);
    }
    Some(out)
}
