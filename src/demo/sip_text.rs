//! SIP as the demo's telephones write and read it: plain text, headers they need, nothing else.
//!
//! Shares nothing with the firewall's own `sip`: what one side writes wrongly, the other must notice.

use std::fmt::Write as _;

/// A message taken apart into lines.
#[derive(Clone, Debug)]
pub(super) struct Text {
    /// Request line or status line.
    pub first: String,
    /// Names as written, values trimmed.
    pub headers: Vec<(String, String)>,
    /// What follows the empty line.
    pub body: String,
}

impl Text {
    /// Splits a datagram; None where it is not text with an empty line.
    pub(super) fn read(datagram: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(datagram).ok()?;
        let (head, body) = text.split_once("\r\n\r\n")?;
        let mut lines = head.split("\r\n");
        let first = lines.next()?.to_owned();
        let headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
            .collect();
        Some(Self { first, headers, body: body.to_owned() })
    }

    /// First header of this name.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// All headers of this name, as lines to be copied.
    pub(super) fn lines(&self, name: &str) -> String {
        let mut out = String::new();
        for (n, value) in self.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)) {
            let _ = write!(out, "{n}: {value}\r\n");
        }
        out
    }

    /// The method of a request.
    pub(super) fn method(&self) -> Option<&str> {
        if self.first.starts_with("SIP/2.0 ") { None } else { self.first.split(' ').next() }
    }

    /// The code of a response.
    pub(super) fn status(&self) -> Option<u16> {
        self.first.strip_prefix("SIP/2.0 ")?.get(..3)?.parse().ok()
    }

    /// The method named in CSeq.
    pub(super) fn cseq_method(&self) -> Option<&str> {
        self.header("CSeq")?.split_whitespace().nth(1)
    }

    /// The URI between the angle brackets of a header.
    pub(super) fn uri_in(&self, name: &str) -> Option<&str> {
        let value = self.header(name)?;
        let start = value.find('<')? + 1;
        let length = value.get(start..)?.find('>')?;
        value.get(start..start + length)
    }

    /// Address and port of the audio stream in the body.
    pub(super) fn audio_target(&self) -> Option<std::net::SocketAddr> {
        let address = self.body.lines().find_map(|line| line.strip_prefix("c=IN IP4 "))?;
        let port = self.body.lines().find_map(|line| line.strip_prefix("m=audio "))?.split(' ').next()?;
        Some(std::net::SocketAddr::new(address.trim().parse().ok()?, port.parse().ok()?))
    }
}

/// A response to `request` with our tag, contact and body.
pub(super) fn response(request: &Text, status: &str, tag: &str, contact: &str, body: &str) -> String {
    let to = request.header("To").unwrap_or_default();
    let to = if to.contains("tag=") { to.to_owned() } else { format!("{to};tag={tag}") };
    let mut out = format!("SIP/2.0 {status}\r\n");
    out += &request.lines("Via");
    out += &request.lines("Record-Route");
    out += &request.lines("From");
    let _ = write!(out, "To: {to}\r\n");
    out += &request.lines("Call-ID");
    out += &request.lines("CSeq");
    let _ = write!(out, "Contact: <{contact}>\r\n");
    finish(&mut out, body);
    out
}

/// Ends the headers of a message with the body's type and length, and adds the body.
pub(super) fn finish(out: &mut String, body: &str) {
    if !body.is_empty() {
        out.push_str("Content-Type: application/sdp\r\n");
    }
    let _ = write!(out, "Content-Length: {}\r\n\r\n{body}", body.len());
}

/// A description of one G.711 mu-law stream with telephone events.
pub(super) fn description(address: std::net::SocketAddr) -> String {
    format!(
        "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0 101\r\n\
         a=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\na=sendrecv\r\n",
        ip = address.ip(),
        port = address.port()
    )
}
