//! SIP as the telephones of tests read and write it: plain text that shares no code with Ringfence.

#![allow(clippy::unwrap_used, dead_code, reason = "test helpers, not all used by each suite")]

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

/// A test that waits for longer has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// A telephone's socket.
pub(crate) fn socket(ip: &str) -> UdpSocket {
    let socket = UdpSocket::bind((ip, 0)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// The next message that begins so. A failure that is not waited for ends the test at once.
pub(crate) fn receive(socket: &UdpSocket, start: &str) -> String {
    let mut buffer = [0; 65_535];
    loop {
        let length = socket.recv(&mut buffer).unwrap();
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        if text.starts_with(start) {
            return text;
        }
        assert!(!text.starts_with("SIP/2.0 ") || text[8..].starts_with(['1', '2']), "{start} and not {text}");
    }
}

/// A request of the telephone at `here`, whose only call this is.
pub(crate) fn request(here: SocketAddr, (method, cseq): (&str, u32), (target, to): (&str, &str), body: &str) -> String {
    format!(
        "{method} {target} SIP/2.0\r\nVia: SIP/2.0/UDP {here};branch=z9hG4bK{}{method}{cseq};rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:+441632960001@{here}>;tag=c\r\nTo: {to}\r\nCall-ID: c{here}\r\n\
         CSeq: {cseq} {method}\r\nContact: <sip:c@{here}>\r\nContent-Type: application/sdp\r\n\
         Content-Length: {}\r\n\r\n{body}",
        here.port(),
        body.len()
    )
}

/// The first header of this name; empty where there is none.
pub(crate) fn header<'t>(message: &'t str, name: &str) -> &'t str {
    message.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap_or_default()
}

/// A response to a request, with this tag where its To has none. `more`: header lines, each with its end.
pub(crate) fn response(request: &str, status: &str, tag: &str, more: &str, body: &str) -> String {
    let vias: String =
        request.lines().filter(|line| line.starts_with("Via:")).map(|line| format!("{line}\r\n")).collect();
    let to = header(request, "To");
    let to = if to.contains("tag=") { to.to_owned() } else { format!("{to};tag={tag}") };
    let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    format!(
        "SIP/2.0 {status}\r\n{vias}From: {}\r\nTo: {to}\r\nCall-ID: {}\r\nCSeq: {}\r\n{more}{kind}\
         Content-Length: {}\r\n\r\n{body}",
        header(request, "From"),
        header(request, "Call-ID"),
        header(request, "CSeq"),
        body.len()
    )
}

/// The same, from a telephone at `contact`.
pub(crate) fn answer(request: &str, status: &str, tag: &str, contact: SocketAddr, body: &str) -> String {
    response(request, status, tag, &format!("Contact: <sip:x@{contact}>\r\n"), body)
}

/// A description of one stream of G.711, mu-law, with telephone events.
pub(crate) fn description(address: SocketAddr) -> String {
    let (ip, port, kind) = (address.ip(), address.port(), if address.is_ipv4() { "IP4" } else { "IP6" });
    format!(
        "v=0\r\no=- 1 1 IN {kind} {ip}\r\ns=-\r\nc=IN {kind} {ip}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0 101\r\n\
         a=rtpmap:101 telephone-event/8000\r\n"
    )
}

/// Where a message's description wants its audio.
pub(crate) fn audio(message: &str) -> SocketAddr {
    let line = |start: &str| message.lines().find_map(|line| line.strip_prefix(start)).unwrap();
    let port = line("m=audio ").split(' ').next().unwrap();
    SocketAddr::new(line("c=IN IP").split_once(' ').unwrap().1.parse().unwrap(), port.parse().unwrap())
}
