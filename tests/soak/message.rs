//! Messages as the reference telephones read and write them: plain text, header names as everybody spells them.

use std::fmt::Write as _;

/// What a telephone looks at.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Read<'t> {
    pub(crate) status: Option<u16>,
    /// Of a request its own, of a response its CSeq's.
    pub(crate) method: &'t str,
    pub(crate) branch: &'t str,
    pub(crate) from: &'t str,
    pub(crate) to: &'t str,
    pub(crate) call_id: &'t str,
    pub(crate) cseq: u32,
    /// The URI.
    pub(crate) contact: &'t str,
    pub(crate) rseq: &'t str,
    pub(crate) body: &'t str,
}

impl<'t> Read<'t> {
    pub(crate) fn new(text: &'t str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
        let mut lines = head.split("\r\n");
        let first = lines.next().unwrap_or_default();
        let mut read = Self { body, ..Self::default() };
        match first.strip_prefix("SIP/2.0 ") {
            Some(status) => read.status = status.get(..3).and_then(|code| code.parse().ok()),
            None => read.method = first.split(' ').next().unwrap_or_default(),
        }
        for line in lines {
            let Some((name, value)) = line.split_once(": ") else { continue };
            match name {
                "Via" if read.branch.is_empty() => {
                    let rest = value.split_once("branch=").map_or("", |(_, rest)| rest);
                    read.branch = rest.split(';').next().unwrap_or_default();
                }
                "From" => read.from = value,
                "To" => read.to = value,
                "Call-ID" => read.call_id = value,
                "CSeq" => {
                    let (number, method) = value.split_once(' ').unwrap_or_default();
                    read.cseq = number.parse().unwrap_or(0);
                    if read.status.is_some() {
                        read.method = method;
                    }
                }
                "Contact" => read.contact = value.trim_start_matches('<').split('>').next().unwrap_or_default(),
                "RSeq" => read.rseq = value,
                _ => {}
            }
        }
        read
    }

    /// The port in its session description.
    pub(crate) fn port(&self) -> Option<u16> {
        let (_, rest) = self.body.split_once("m=audio ")?;
        rest.split(' ').next()?.parse().ok()
    }

    /// Its description puts the call on hold.
    pub(crate) fn holds(&self) -> bool {
        self.body.contains("a=sendonly") || self.body.contains("a=recvonly") || self.body.contains("a=inactive")
    }
}

pub(crate) fn tag(value: &str) -> &str {
    value.split_once(";tag=").map_or("", |(_, tag)| tag)
}

/// A session description of the telephone at `at`; with a video section that has this port, 0 to refuse it.
pub(crate) fn sdp(at: &str, port: u16, direction: &str, video: Option<u16>) -> String {
    let ip = at.split(':').next().unwrap_or_default();
    let video = video.map(|port| format!("m=video {port} RTP/AVP 99\r\na=rtpmap:99 H264/90000\r\na={direction}\r\n"));
    format!(
        "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0 101\r\n\
         a=rtpmap:101 telephone-event/8000\r\na={direction}\r\n{}",
        video.unwrap_or_default()
    )
}

/// A response to `request`. `to_tag` where the To has none; `more`: header lines.
pub(crate) fn response(request: &str, status: u16, to_tag: &str, contact: &str, more: &str, body: &str) -> String {
    let mut out = format!("SIP/2.0 {status} {}\r\n", phrase(status));
    for line in request.split("\r\n").take_while(|line| !line.is_empty()) {
        let copied = ["Via: ", "From: ", "To: ", "Call-ID: ", "CSeq: "].iter().any(|name| line.starts_with(name));
        if copied {
            out += line;
            if line.starts_with("To: ") && !line.contains(";tag=") && !to_tag.is_empty() {
                let _ = write!(out, ";tag={to_tag}");
            }
            out += "\r\n";
        }
    }
    if !contact.is_empty() {
        let _ = write!(out, "Contact: <{contact}>\r\n");
    }
    finish(out, more, body)
}

/// Last headers and body.
pub(crate) fn finish(mut out: String, more: &str, body: &str) -> String {
    out += more;
    if !body.is_empty() {
        out += "Content-Type: application/sdp\r\n";
    }
    let _ = write!(out, "Content-Length: {}\r\n\r\n{body}", body.len());
    out
}

fn phrase(status: u16) -> &'static str {
    match status {
        100 => "Trying",
        180 => "Ringing",
        183 => "Session Progress",
        200 => "OK",
        404 => "Not Found",
        407 => "Proxy Authentication Required",
        480 => "Temporarily Unavailable",
        481 => "Call/Transaction Does Not Exist",
        486 => "Busy Here",
        487 => "Request Terminated",
        491 => "Request Pending",
        500 => "Server Internal Error",
        503 => "Service Unavailable",
        603 => "Decline",
        _ => "Whatever",
    }
}

/// One line of a ladder.
pub(crate) fn summary(text: &str) -> String {
    let read = Read::new(text);
    let sdp = if read.body.is_empty() { "" } else { " sdp" };
    match read.status {
        Some(status) => format!("{status} ({} {}) to-tag {}{sdp}", read.cseq, read.method, tag(read.to)),
        None => format!("{} {} ({}) to-tag {}{sdp}", read.method, read.branch, read.cseq, tag(read.to)),
    }
}
