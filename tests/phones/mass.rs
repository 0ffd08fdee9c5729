//! Many calls at once, with audio both ways: one SIP socket and one RTP socket for each side, and one thread.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use super::{answer, description, header, now};

const TICK: Duration = Duration::from_millis(20);
/// In the arrays of this file.
pub(crate) const CALLER: usize = 0;
pub(crate) const CALLEE: usize = 1;

/// One end of a call, as its telephone knows it.
#[derive(Clone, Debug, Default)]
struct End {
    local: String,
    remote: String,
    target: String,
    cseq: u32,
    /// Port of the firewall that its audio goes to.
    port: Option<u16>,
    /// When it last heard something.
    heard: Option<Instant>,
}

/// One call.
#[derive(Clone, Debug, Default)]
pub(crate) struct Line {
    ends: [End; 2],
    /// Answers that each end had to its INVITE.
    pub(crate) answers: [u32; 2],
    /// Each end has sent or got a BYE.
    pub(crate) over: [bool; 2],
}

impl Line {
    /// Both ends have heard something since then.
    pub(crate) fn hears_since(&self, since: Instant) -> bool {
        self.ends.iter().all(|end| end.heard.is_some_and(|heard| heard > since))
    }
}

/// All calls.
pub(crate) struct Mass {
    firewall: SocketAddr,
    sip: [UdpSocket; 2],
    rtp: [UdpSocket; 2],
    pub(crate) lines: Vec<Line>,
    by_port: [HashMap<u16, usize>; 2],
    /// First packet of each end since the last [`Mass::listen`].
    first: Vec<[Option<Instant>; 2]>,
    sequence: u16,
    due: Instant,
}

impl Mass {
    pub(crate) fn new(caller: &str, callee: &str, calls: usize) -> Self {
        let open = |ip: &str| {
            let socket = UdpSocket::bind((ip.parse::<IpAddr>().unwrap(), 0)).unwrap();
            socket.set_nonblocking(true).unwrap();
            socket
        };
        Self {
            firewall: SocketAddr::from(([127, 0, 0, 1], 9)),
            sip: [open(caller), open(callee)],
            rtp: [open(caller), open(callee)],
            lines: vec![Line::default(); calls],
            by_port: [HashMap::new(), HashMap::new()],
            first: vec![[None; 2]; calls],
            sequence: 0,
            due: now(),
        }
    }

    /// Where the callees answer.
    pub(crate) fn pbx(&self) -> SocketAddr {
        self.at(CALLEE)
    }

    fn at(&self, side: usize) -> SocketAddr {
        self.sip[side].local_addr().unwrap()
    }

    /// Dials all; true when all are answered.
    pub(crate) fn dial(&mut self, firewall: SocketAddr) -> bool {
        self.firewall = firewall;
        let here = self.at(CALLER);
        for number in 0..self.lines.len() {
            let end = &mut self.lines[number].ends[CALLER];
            end.local = format!("<sip:+4416329{number:05}@{here}>;tag=caller{number}");
            end.target = format!("sip:{}@{firewall}", 200 + number);
            end.remote = format!("<{}>", end.target);
            self.request(number, CALLER, "INVITE", true);
            self.run(Duration::from_millis(2));
        }
        self.until(Duration::from_secs(20), |mass| mass.lines.iter().all(|line| line.answers[CALLER] == 1))
    }

    /// A request of one end inside its call.
    pub(crate) fn request(&mut self, number: usize, side: usize, method: &str, with_audio: bool) {
        let (here, rtp) = (self.at(side), self.rtp[side].local_addr().unwrap());
        let end = &mut self.lines[number].ends[side];
        end.cseq += u32::from(method != "ACK");
        let body = if with_audio { description(rtp) } else { String::new() };
        let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        let End { local, remote, target, cseq, .. } = end;
        let text = format!(
            "{method} {target} SIP/2.0\r\nVia: SIP/2.0/UDP {here};branch=z9hG4bK{method}{side}n{number}c{cseq};rport\r\n\
             Max-Forwards: 70\r\nFrom: {local}\r\nTo: {remote}\r\nCall-ID: mass{number}\r\nCSeq: {cseq} {method}\r\n\
             Contact: <sip:x@{here}>\r\n{kind}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let _ = self.sip[side].send_to(text.as_bytes(), self.firewall);
    }

    /// Hangs up at one end.
    pub(crate) fn bye(&mut self, number: usize, side: usize) {
        self.request(number, side, "BYE", false);
    }

    /// From now on the first packet of each end counts.
    pub(crate) fn listen(&mut self) {
        self.first.fill([None; 2]);
    }

    /// Since `start`, how long each end waited for its first packet; None for those that wait still.
    pub(crate) fn waits(&self, start: Instant) -> Vec<Option<Duration>> {
        self.first.iter().flatten().map(|first| first.map(|at| at - start)).collect()
    }

    pub(crate) fn run(&mut self, span: Duration) {
        let end = now() + span;
        while now() < end {
            self.turn();
        }
    }

    /// Goes on until `test` holds; false: it did not in that time.
    pub(crate) fn until(&mut self, patience: Duration, test: impl Fn(&Self) -> bool) -> bool {
        let end = now() + patience;
        while !test(self) {
            if now() >= end {
                return false;
            }
            self.turn();
        }
        true
    }

    fn turn(&mut self) {
        if now() >= self.due {
            self.due = (self.due + TICK).max(now() - 5 * TICK);
            self.talk();
        }
        let mut idle = true;
        for side in [CALLER, CALLEE] {
            let mut buffer = [0; 4_096];
            while let Ok((_, from)) = self.rtp[side].recv_from(&mut buffer) {
                idle = false;
                if let Some(number) = self.by_port[side].get(&from.port()).copied() {
                    let at = now();
                    self.lines[number].ends[side].heard = Some(at);
                    self.first[number][side].get_or_insert(at);
                }
            }
            while let Ok((length, from)) = self.sip[side].recv_from(&mut buffer) {
                idle = false;
                let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
                self.take(side, &text, from);
            }
        }
        if idle {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// One packet of every end.
    fn talk(&mut self) {
        self.sequence = self.sequence.wrapping_add(1);
        for (number, line) in self.lines.iter().enumerate() {
            for side in [CALLER, CALLEE] {
                let Some(port) = line.ends[side].port.filter(|_| !line.over[side]) else { continue };
                let mut packet = vec![0x80, 0];
                packet.extend(self.sequence.to_be_bytes());
                packet.extend((u32::from(self.sequence) * 160).to_be_bytes());
                packet.extend((number as u32 * 2 + side as u32 + 1).to_be_bytes());
                packet.extend([0xD5; 160]);
                let _ = self.rtp[side].send_to(&packet, SocketAddr::new(self.firewall.ip(), port));
            }
        }
    }

    fn take(&mut self, side: usize, text: &str, from: SocketAddr) {
        let Some(number) = header(text, "Call-ID").strip_prefix("mass").and_then(|number| number.parse::<usize>().ok())
        else {
            return;
        };
        let port = text.lines().find_map(|line| line.strip_prefix("m=audio ")?.split(' ').next()?.parse::<u16>().ok());
        if let Some(port) = port {
            self.by_port[side].insert(port, number);
            self.lines[number].ends[side].port = Some(port);
        }
        let contact = header(text, "Contact").trim_start_matches('<').split('>').next().unwrap_or_default().to_owned();
        if text.starts_with("SIP/2.0 200") {
            let cseq = header(text, "CSeq");
            if cseq.ends_with(" INVITE") {
                let end = &mut self.lines[number].ends[side];
                (end.remote, end.target) = (header(text, "To").to_owned(), contact);
                self.lines[number].answers[side] += 1;
                self.request(number, side, "ACK", false);
            } else if cseq.ends_with(" BYE") {
                self.lines[number].over[side] = true;
            }
        } else if !text.starts_with("SIP/2.0") && !text.starts_with("ACK ") {
            let invite = text.starts_with("INVITE ");
            let body = if invite { description(self.rtp[side].local_addr().unwrap()) } else { String::new() };
            let tag = format!("callee{number}");
            let reply = answer(text, "200 OK", &tag, self.at(side), &body);
            if invite {
                let end = &mut self.lines[number].ends[side];
                (end.local, end.remote) = (header(&reply, "To").to_owned(), header(text, "From").to_owned());
                end.target = contact;
            } else if text.starts_with("BYE ") {
                self.lines[number].over[side] = true;
            }
            let _ = self.sip[side].send_to(reply.as_bytes(), from);
        }
    }
}
