//! Messages of both telephones, as text.

use std::io::Write as _;
use std::net::SocketAddrV4;

/// One call as its two telephones know it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Dialog {
    /// To, with the callee's tag.
    pub(crate) to: String,
    /// Contact of the answer.
    pub(crate) target: String,
    /// Route lines.
    pub(crate) routes: String,
}

/// Who writes: names differ between runs, so that nothing of an earlier run is taken for this one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Writer {
    pub(crate) run: u32,
    pub(crate) caller: SocketAddrV4,
    pub(crate) proxy: SocketAddrV4,
    /// In the descriptions: where audio is to go.
    pub(crate) caller_audio: SocketAddrV4,
    pub(crate) callee_audio: SocketAddrV4,
}

pub(crate) fn description(at: SocketAddrV4) -> String {
    let (ip, port) = (at.ip(), at.port());
    format!(
        "v=0\r\no=load 7 7 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {port} RTP/AVP 8 0 101\r\n\
         a=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\n\
         a=ptime:20\r\na=sendrecv\r\n"
    )
}

impl Writer {
    pub(crate) fn invite(&self, out: &mut Vec<u8>, number: usize) {
        let Self { run, caller, proxy, .. } = self;
        let body = description(self.caller_audio);
        let _ = write!(
            out,
            "INVITE sip:+44113496{called:04}@{proxy} SIP/2.0\r\nVia: SIP/2.0/UDP {caller};branch=z9hG4bKi{run:x}n{number};rport\r\n\
             Max-Forwards: 70\r\nFrom: \"Line {number}\" <sip:+44191498{from:04}@{caller}>;tag=c{run:x}n{number}\r\n\
             To: <sip:+44113496{called:04}@{proxy}>\r\nCall-ID: {number}-{run:x}@load\r\nCSeq: 1 INVITE\r\n\
             Contact: <sip:line{number}@{caller}>\r\nUser-Agent: load\r\n\
             Allow: INVITE, ACK, BYE, CANCEL, OPTIONS, PRACK, UPDATE, INFO\r\nSupported: timer, replaces\r\n\
             P-Asserted-Identity: <sip:+44191498{from:04}@{caller}>\r\nContent-Type: application/sdp\r\n\
             Content-Length: {length}\r\n\r\n{body}",
            called = number % 10_000,
            from = number % 10_000,
            length = body.len(),
        );
    }

    /// ACK or BYE inside a call.
    pub(crate) fn inside(&self, out: &mut Vec<u8>, number: usize, method: &str, cseq: u32, dialog: &Dialog) {
        let Self { run, caller, .. } = self;
        let Dialog { to, target, routes } = dialog;
        let _ = write!(
            out,
            "{method} {target} SIP/2.0\r\nVia: SIP/2.0/UDP {caller};branch=z9hG4bK{method}{run:x}n{number};rport\r\n\
             Max-Forwards: 70\r\n{routes}From: \"Line {number}\" <sip:+44191498{from:04}@{caller}>;tag=c{run:x}n{number}\r\n\
             To: {to}\r\nCall-ID: {number}-{run:x}@load\r\nCSeq: {cseq} {method}\r\nContent-Length: 0\r\n\r\n",
            from = number % 10_000,
        );
    }

    /// The number of the call that a Call-ID names; None: not of this run.
    pub(crate) fn number(&self, call_id: &str) -> Option<usize> {
        let (number, rest) = call_id.split_once('-')?;
        let run = u32::from_str_radix(rest.strip_suffix("@load")?, 16).ok()?;
        (run == self.run).then(|| number.parse().ok()).flatten()
    }
}

/// Values of a header, in order. Long names only: none of the systems under load writes the short ones.
pub(crate) fn headers<'a>(text: &'a str, name: &'a str) -> impl Iterator<Item = &'a str> {
    let head = text.split("\r\n\r\n").next().unwrap_or_default();
    head.split("\r\n").skip(1).filter_map(move |line| {
        let (found, value) = line.split_once(':')?;
        found.trim_end().eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

pub(crate) fn header<'a>(text: &'a str, name: &'a str) -> &'a str {
    headers(text, name).next().unwrap_or_default()
}

/// The URI in the first brackets.
pub(crate) fn bracketed(value: &str) -> &str {
    value.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map_or(value, |(uri, _)| uri)
}

/// The port of the audio in a description.
pub(crate) fn audio_port(text: &str) -> Option<u16> {
    text.split("\r\n").find_map(|line| line.strip_prefix("m=audio ")?.split(' ').next()?.parse().ok())
}

/// An answer of the callee.
pub(crate) fn answer(
    out: &mut Vec<u8>,
    request: &str,
    status: &str,
    contact: SocketAddrV4,
    audio: Option<SocketAddrV4>,
) {
    let _ = write!(out, "SIP/2.0 {status}\r\n");
    for name in ["Via", "Record-Route"] {
        for value in headers(request, name) {
            let _ = write!(out, "{name}: {value}\r\n");
        }
    }
    let to = header(request, "To");
    let tag = if to.contains(";tag=") { "" } else { ";tag=callee" };
    let (from, call_id, cseq) = (header(request, "From"), header(request, "Call-ID"), header(request, "CSeq"));
    let _ = write!(
        out,
        "From: {from}\r\nTo: {to}{tag}\r\nCall-ID: {call_id}\r\nCSeq: {cseq}\r\nContact: <sip:callee@{contact}>\r\n"
    );
    let body = audio.map(description).unwrap_or_default();
    let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    let _ = write!(out, "{kind}Content-Length: {}\r\n\r\n{body}", body.len());
}
