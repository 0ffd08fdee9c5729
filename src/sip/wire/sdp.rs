//! Session descriptions for a relay (RFC 8866, RFC 3264): read what matters, rewrite by splicing, keep all else.
//!
//! Bounded: at most [`MAX_MEDIA`] sections are read, [`MAX_FORMATS`] payload types a section and [`MAX_LINES`] lines;
//! more is refused, so that a long description costs no more than its length.

mod codecs;
mod video;

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use smallvec::SmallVec;

use self::codecs::{Left, is_of_none, static_encoding};
pub use self::video::{Beside, may_show};
use self::video::{FEEDBACK, Written};
use super::seek::{line_feed, pieces, split_before, split_once};
use super::{number, span};
use crate::units::Plain;

/// Sections of one description.
pub const MAX_MEDIA: usize = 16;
/// Payload types of one section.
pub const MAX_FORMATS: usize = 64;
/// Keys of one section that are looked at.
const MAX_KEYS: usize = 8;
/// Lines of one description.
pub const MAX_LINES: usize = 1_024;

/// Which way media flow (RFC 8866 §6.7), from the describing side's view.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Direction {
    /// Both ways.
    SendRecv,
    /// The side only sends: the other is on hold.
    SendOnly,
    /// The side only receives.
    RecvOnly,
    /// Neither.
    Inactive,
}

impl Direction {
    fn of(attribute: &str) -> Option<Self> {
        match attribute {
            "sendrecv" => Some(Self::SendRecv),
            "sendonly" => Some(Self::SendOnly),
            "recvonly" => Some(Self::RecvOnly),
            "inactive" => Some(Self::Inactive),
            _ => None,
        }
    }
}

/// `a=rtpmap`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RtpMap<'a> {
    /// 0 to 127.
    pub payload_type: u8,
    /// As written.
    pub encoding: &'a str,
    /// Hertz.
    pub clock: u32,
}

/// `a=crypto` (RFC 4568 §4).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Crypto<'a> {
    /// Names it in the answer.
    pub tag: u32,
    /// As written.
    pub suite: &'a str,
    /// Key and salt of the first `inline`, in base64.
    pub key: &'a str,
    /// One key without identifier, and no session parameters.
    pub plain: bool,
}

/// How the anchored section speaks of encryption when it is rewritten.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Protection {
    /// As its writer does.
    AsItIs,
    /// Not at all: plain RTP.
    Plain,
    /// With these attribute lines in place of its own.
    Encrypted {
        /// `RTP/SAVP`; else `RTP/AVP`, which a peer may take in the clear as well.
        secure_profile: bool,
        /// Whole lines, without their ends.
        attributes: Vec<String>,
    },
}

impl Protection {
    /// The profile in place of `protocol`, feedback (RFC 4585) as it is. None: as its writer does.
    #[must_use]
    pub fn protocol(&self, protocol: &str) -> Option<&'static str> {
        let secure = match self {
            Self::AsItIs => return None,
            Self::Plain => false,
            Self::Encrypted { secure_profile, .. } => *secure_profile,
        };
        let feedback =
            protocol.len() > 4 && protocol.get(protocol.len() - 1..).is_some_and(|end| end.eq_ignore_ascii_case("F"));
        Some(match (secure, feedback) {
            (true, true) => "RTP/SAVPF",
            (true, false) => "RTP/SAVP",
            (false, true) => "RTP/AVPF",
            (false, false) => "RTP/AVP",
        })
    }
}

/// One m= section.
#[derive(Clone, Debug)]
pub struct Media<'a> {
    /// `audio`, `video`, `image`, ...
    pub kind: &'a str,
    /// 0: refused.
    pub port: u16,
    /// `RTP/AVP`, `RTP/SAVP`, `udptl`, ...
    pub protocol: &'a str,
    /// Payload types of RTP, in order of preference.
    pub formats: SmallVec<[u8; 16]>,
    /// Its own c=, or the session's; None for a host name.
    pub address: Option<IpAddr>,
    /// Where RTCP goes, where stated.
    pub rtcp: Option<SocketAddr>,
    /// Its own direction, or the session's.
    pub direction: Direction,
    /// As stated; some need no statement (RFC 3551 §6).
    pub rtpmaps: SmallVec<[RtpMap<'a>; 12]>,
    /// Keys for SRTP, in order of preference; those that can be read.
    pub crypto: SmallVec<[Crypto<'a>; 1]>,
    /// The port as written.
    port_text: &'a str,
    /// A c= line is there, its own or the session's.
    connected: bool,
    /// What [`Sdp::keep_codecs`] has made of its formats.
    left: Left,
    lines: Range<usize>,
}

impl Media<'_> {
    /// Audio over plain RTP: what the ear can hear.
    #[must_use]
    pub fn is_plain_rtp(&self) -> bool {
        self.protocol.eq_ignore_ascii_case("RTP/AVP") || self.protocol.eq_ignore_ascii_case("RTP/AVPF")
    }

    /// A fax by T.38: no RTP (RFC 7345, ITU-T T.38 annex D).
    #[must_use]
    pub fn is_fax(&self) -> bool {
        self.kind.eq_ignore_ascii_case("image") && self.protocol.eq_ignore_ascii_case("udptl")
    }

    /// Nobody sends to this side: by direction or in the old spelling `c=0.0.0.0` (RFC 3264 §8.4).
    #[must_use]
    pub fn is_held(&self) -> bool {
        matches!(self.direction, Direction::SendOnly | Direction::Inactive)
            || self.address.is_some_and(|address| address.is_unspecified())
    }

    /// Encoding and clock of a payload type.
    #[must_use]
    pub fn encoding(&self, payload_type: u8) -> Option<(&str, u32)> {
        match self.rtpmaps.iter().find(|map| map.payload_type == payload_type) {
            Some(map) => Some((map.encoding, map.clock)),
            None => static_encoding(payload_type),
        }
    }
}

/// Why a description is of no use.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadSdp {
    /// No text, or a line that is none.
    #[error("the session description is malformed")]
    Malformed,
    /// More than we read.
    #[error("the session description is over the limit")]
    OverLimit,
    /// No m= line at all.
    #[error("the session description has no media")]
    NoMedia,
}

impl BadSdp {
    /// Metric label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Malformed => "sdp_malformed",
            Self::OverLimit => "sdp_over_limit",
            Self::NoMedia => "sdp_no_media",
        }
    }
}

/// A session description, borrowed.
#[derive(Clone, Debug)]
pub struct Sdp<'a> {
    text: &'a str,
    /// Its sections in order.
    pub media: SmallVec<[Media<'a>; 2]>,
    session_end: usize,
}

impl<'a> Sdp<'a> {
    /// Reads `body`.
    ///
    /// # Errors
    /// When it is no description, too long a one, or one without media.
    pub fn read(body: &'a [u8]) -> Result<Self, BadSdp> {
        let text = std::str::from_utf8(body).map_err(|_| BadSdp::Malformed)?;
        if !is_plain(body) || lines(text).next().is_none_or(|(_, line)| line != "v=0") {
            return Err(BadSdp::Malformed);
        }
        let mut session_address = None;
        let mut session_connected = false;
        let mut session_direction = Direction::SendRecv;
        let mut media = SmallVec::<[Media<'a>; 2]>::new();
        let mut session_end = text.len();
        for (number, (range, line)) in lines(text).enumerate() {
            if number == MAX_LINES {
                return Err(BadSdp::OverLimit);
            }
            let (kind, value) = match line.as_bytes() {
                [kind @ b'a'..=b'z', b'=', ..] => (kind, line.get(2..).unwrap_or_default()),
                [] => continue,
                [..] => return Err(BadSdp::Malformed),
            };
            match (kind, media.last_mut()) {
                (b'm', _) => {
                    if media.len() == MAX_MEDIA {
                        return Err(BadSdp::OverLimit);
                    }
                    session_end = session_end.min(range.start);
                    let session = (session_address, session_connected, session_direction);
                    media.push(section(value, range, session)?);
                    continue;
                }
                (b'c', None) => (session_address, session_connected) = (connection(value)?, true),
                (b'c', Some(section)) => (section.address, section.connected) = (connection(value)?, true),
                (b'a', None) => session_direction = Direction::of(value).unwrap_or(session_direction),
                (b'a', Some(section)) => attribute(section, value)?,
                (_, _) => {}
            }
            if let Some(section) = media.last_mut() {
                section.lines.end = range.end;
            }
        }
        if media.is_empty() {
            return Err(BadSdp::NoMedia);
        }
        // Without a c= line there is none to write our address into (RFC 8866 §5.7).
        if media.iter().any(|media| media.port > 0 && !media.connected) {
            return Err(BadSdp::Malformed);
        }
        Ok(Self { text, media, session_end })
    }

    /// The section that is anchored: the first audio one over some kind of RTP that is not refused, or else a fax.
    #[must_use]
    pub fn anchored(&self) -> Option<usize> {
        let audio = self.media.iter().position(|media| {
            let rtp = media.protocol.get(..4).is_some_and(|four| four.eq_ignore_ascii_case("RTP/"))
                || media.protocol.get(..7).is_some_and(|seven| seven.eq_ignore_ascii_case("UDP/TLS"));
            media.kind.eq_ignore_ascii_case("audio") && media.port > 0 && rtp && media.left != Left::None
        });
        audio.or_else(|| self.media.iter().position(|media| media.is_fax() && media.port > 0))
    }

    /// That section.
    #[must_use]
    pub fn anchored_media(&self) -> Option<&Media<'a>> {
        self.media.get(self.anchored()?)
    }

    /// The same description with every section refused, as on hold by port 0 (RFC 3264 §8.2); no address of the peer.
    pub fn refused(&self, at: IpAddr, out: &mut Vec<u8>) {
        self.written(None, None, SocketAddr::new(at, 0), &Protection::AsItIs, out);
    }

    /// The same description with `section` at `at` (RTCP one above), every other section refused with port 0, and
    /// nothing left that would lead media around us: candidates, bundles, a shared RTCP port.
    ///
    /// `c=0.0.0.0` stays, so that hold in the old spelling arrives as hold.
    pub fn rewritten(&self, section: usize, at: SocketAddr, out: &mut Vec<u8>) {
        self.protected(section, None, at, &Protection::AsItIs, out);
    }

    /// The same with another word on encryption, and with a second section that passes at a port of its own.
    pub fn protected(
        &self,
        section: usize,
        beside: Option<Beside>,
        at: SocketAddr,
        protection: &Protection,
        out: &mut Vec<u8>,
    ) {
        self.written(Some(section), beside, at, protection, out);
    }

    fn written(
        &self,
        section: Option<usize>,
        beside: Option<Beside>,
        at: SocketAddr,
        protection: &Protection,
        out: &mut Vec<u8>,
    ) {
        out.clear();
        out.reserve(self.text.len() + 64);
        let ip = at.ip();
        let ours = Ours {
            section,
            net: net(ip),
            port: digits(at.port()),
            rtcp_port: at.port().checked_add(1).map(digits),
            beside: beside.map(Written::new),
            protection,
        };
        // What stays is copied in one piece, from here.
        let mut from = 0;
        for (range, line) in lines(self.text) {
            if let Some(parts) = self.edited(&range, line, &ours) {
                out.extend_from_slice(self.text.get(from..range.start).unwrap_or_default().as_bytes());
                parts.iter().for_each(|part| out.extend_from_slice(part.as_bytes()));
                from = range.end;
            }
            let anchored = section.and_then(|section| self.media.get(section));
            if let (true, Protection::Encrypted { attributes, .. }) =
                (anchored.is_some_and(|media| media.lines.end == range.end), protection)
            {
                out.extend_from_slice(self.text.get(from..range.end).unwrap_or_default().as_bytes());
                from = range.end;
                if !out.ends_with(b"\n") {
                    out.extend(b"\r\n");
                }
                for attribute in attributes {
                    out.extend_from_slice(attribute.as_bytes());
                    out.extend_from_slice(b"\r\n");
                }
            }
        }
        out.extend_from_slice(self.text.get(from..).unwrap_or_default().as_bytes());
    }

    /// What stands in place of the line at `range`, in parts; nothing, if it goes. None: it stays as it is.
    fn edited<'o>(&'o self, range: &Range<usize>, line: &'o str, ours: &'o Ours<'_>) -> Option<[&'o str; 6]> {
        const GONE: Option<[&str; 6]> = Some([""; 6]);

        let here = || self.media.iter().enumerate().find(|(_, media)| media.lines.contains(&range.start));
        let anchored = || here().is_some_and(|(number, _)| Some(number) == ours.section);
        let raw = self.text.get(range.clone()).unwrap_or_default();
        let ending = raw.get(line.len()..).filter(|ending| !ending.is_empty()).unwrap_or("\r\n");
        let (kind, value) = line.split_at_checked(2).unwrap_or_default();
        match kind {
            "o=" if range.start < self.session_end => Some([origin(line), &ours.net, ending, "", "", ""]),
            "c=" if address(value).is_some_and(|old| old.is_unspecified()) => None,
            "c=" => Some([kind, &ours.net, ending, "", "", ""]),
            "m=" => {
                let (number, media) = here()?;
                let anchored = Some(number) == ours.section;
                let port = match ours.beside(number) {
                    Some(beside) => beside.port.as_str(),
                    None if anchored => &ours.port,
                    None => "0",
                };
                let old = span(line, media.port_text);
                let before = line.get(..old.start).unwrap_or_default();
                let as_written = line.get(span(line, media.protocol).end..).unwrap_or_default();
                match (ours.protection.protocol(media.protocol).filter(|_| anchored), &media.left) {
                    (None, Left::All | Left::None) => {
                        Some([before, port, line.get(old.end..).unwrap_or_default(), ending, "", ""])
                    }
                    (Some(protocol), Left::All | Left::None) => Some([before, port, " ", protocol, as_written, ending]),
                    (protocol, Left::Some(formats)) => {
                        Some([before, port, " ", protocol.unwrap_or(media.protocol), formats, ending])
                    }
                }
            }
            "a=" if here().is_some_and(|(_, media)| is_of_none(line, media)) => GONE,
            "a=" if leads_around_us(line) => {
                let feedback = line.starts_with(FEEDBACK) && here().is_some_and(|(n, _)| ours.beside(n).is_some());
                if feedback { None } else { GONE }
            }
            "a=" if line.starts_with("a=crypto:") => {
                // Where nothing flows, there is nobody to tell a key.
                let rewritten = *ours.protection != Protection::AsItIs;
                if ours.section.is_none() || anchored() && rewritten { GONE } else { None }
            }
            "a=" if line.starts_with("a=rtcp:") => {
                let beside = here().and_then(|(number, _)| ours.beside(number)).map(|beside| &beside.rtcp_port);
                match beside.or_else(|| ours.rtcp_port.as_ref().filter(|_| anchored())) {
                    Some(port) => Some(["a=rtcp:", port, ending, "", "", ""]),
                    None => GONE,
                }
            }
            _ => None,
        }
    }
}

/// What is written into a description.
struct Ours<'a> {
    /// The section that is anchored.
    section: Option<usize>,
    /// `IN IP4 192.0.2.1`
    net: String,
    port: String,
    rtcp_port: Option<String>,
    beside: Option<Written>,
    protection: &'a Protection,
}

impl Ours<'_> {
    /// What is written of the second section, if this is it.
    fn beside(&self, number: usize) -> Option<&Written> {
        self.beside.as_ref().filter(|beside| beside.section == number)
    }
}

/// `IN IP4 192.0.2.1`
fn net(ip: IpAddr) -> String {
    let mut net = String::with_capacity(24);
    net.push_str(if ip.is_ipv4() { "IN IP4 " } else { "IN IP6 " });
    Plain(ip).write_to(&mut net);
    net
}

fn digits(port: u16) -> String {
    let mut digits = String::with_capacity(5);
    Plain(port).write_to(&mut digits);
    digits
}

/// No control characters but tabs and line ends, and no CR without its LF: where a bare CR ends a line for the PBX and not
/// for us, it reads an address that we have not rewritten.
fn is_plain(bytes: &[u8]) -> bool {
    let control = |byte: u8| byte < b' ' && !matches!(byte, b'\t' | b'\r' | b'\n');
    let bare = |(byte, next): (&u8, &u8)| *byte == b'\r' && *next != b'\n';
    // Without an early end: the compiler compares many at a time.
    let controls = bytes.iter().fold(false, |any, byte| any | control(*byte));
    let pairs = bytes.iter().zip(bytes.get(1..).unwrap_or_default());
    let bares = pairs.fold(false, |any, pair| any | bare(pair));
    !controls && !bares && bytes.last() != Some(&b'\r')
}

/// Lines with their extents, line end included; text without.
fn lines(text: &str) -> impl Iterator<Item = (Range<usize>, &str)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at;
        let rest = text.get(start..).filter(|rest| !rest.is_empty())?;
        let end = line_feed(rest.as_bytes()).map_or(rest.len(), |line_end| line_end + 1);
        at += end;
        let mut text_end = end;
        while text_end > 0 && matches!(rest.as_bytes().get(text_end - 1), Some(b'\r' | b'\n')) {
            text_end -= 1;
        }
        Some((start..at, rest.get(..text_end).unwrap_or_default()))
    })
}

fn section(
    value: &str,
    lines: Range<usize>,
    (address, connected, direction): (Option<IpAddr>, bool, Direction),
) -> Result<Media<'_>, BadSdp> {
    // Single spaces (RFC 8866 §9, media-field); a format list may end in one.
    let mut words = pieces(value.trim_end_matches(' '), b' ');
    let (Some(kind), Some(port_text), Some(protocol)) = (words.next(), words.next(), words.next()) else {
        return Err(BadSdp::Malformed);
    };
    let port = number(split_before(port_text, b'/').0).ok_or(BadSdp::Malformed)?;
    if kind.is_empty() || protocol.is_empty() || value.bytes().any(|byte| byte == b'\t') {
        return Err(BadSdp::Malformed);
    }
    let mut formats = SmallVec::new();
    for word in words {
        if formats.len() == MAX_FORMATS {
            return Err(BadSdp::OverLimit);
        }
        if let Some(number) = number::<u8>(word).filter(|number| *number < 128) {
            formats.push(number);
        }
    }
    Ok(Media {
        kind,
        port,
        protocol,
        formats,
        address,
        rtcp: None,
        direction,
        rtpmaps: SmallVec::new(),
        crypto: SmallVec::new(),
        port_text,
        connected,
        left: Left::All,
        lines,
    })
}

fn attribute<'a>(section: &mut Media<'a>, value: &'a str) -> Result<(), BadSdp> {
    // Most attributes begin with another letter.
    if !matches!(value.as_bytes().first(), Some(b'c' | b'i' | b'r' | b's')) {
        return Ok(());
    }
    if let Some(map) = value.strip_prefix("rtpmap:") {
        if section.rtpmaps.len() == MAX_FORMATS {
            return Err(BadSdp::OverLimit);
        }
        if let Some(map) = rtpmap(map) {
            section.rtpmaps.push(map);
        }
    } else if let Some(keys) = value.strip_prefix("crypto:") {
        if section.crypto.len() < MAX_KEYS {
            section.crypto.extend(crypto(keys));
        }
    } else if let Some(rtcp) = value.strip_prefix("rtcp:") {
        let (port, net) = split_once(rtcp, b' ').unwrap_or((rtcp, ""));
        let address = address(net).or(section.address);
        section.rtcp = address.zip(number(port)).map(|(address, port)| SocketAddr::new(address, port));
    } else if let Some(direction) = Direction::of(value) {
        section.direction = direction;
    }
    Ok(())
}

/// `1 AES_CM_128_HMAC_SHA1_80 inline:KEY|2^31|1:4 PARAMETERS`; lifetime, identifier and parameters may lack.
fn crypto(text: &str) -> Option<Crypto<'_>> {
    let mut words = text.split(' ').filter(|word| !word.is_empty());
    let (tag, suite, keys) = (number(words.next()?)?, words.next()?, words.next()?.strip_prefix("inline:")?);
    let mut parts = keys.split('|');
    let key = parts.next()?;
    // An identifier has a colon, a lifetime has none.
    let identified = parts.any(|part| part.contains(':'));
    let plain = !identified && !keys.contains(';') && words.next().is_none();
    Some(Crypto { tag, suite, key, plain })
}

fn rtpmap(text: &str) -> Option<RtpMap<'_>> {
    let (number, rest) = split_once(text, b' ')?;
    let payload_type = self::number(number).filter(|number| *number < 128)?;
    let mut parts = pieces(rest.trim(), b'/');
    Some(RtpMap { payload_type, encoding: parts.next()?, clock: self::number(parts.next()?)? })
}

/// `IN IP4 192.0.2.1`, a TTL ignored; None for a host name.
fn address(value: &str) -> Option<IpAddr> {
    let mut words = pieces(value, b' ').filter(|word| !word.is_empty());
    let (Some("IN"), Some("IP4" | "IP6"), Some(host)) = (words.next(), words.next(), words.next()) else { return None };
    split_before(host, b'/').0.parse().ok()
}

/// The value of a c= line. A host name is one too; what is not `IN`, a kind and one word is none.
fn connection(value: &str) -> Result<Option<IpAddr>, BadSdp> {
    let mut words = pieces(value.trim_end_matches(' '), b' ');
    match (words.next(), words.next(), words.next(), words.next()) {
        (Some("IN"), Some("IP4" | "IP6"), Some(host), None) if !host.is_empty() => {
            Ok(split_before(host, b'/').0.parse().ok())
        }
        _ => Err(BadSdp::Malformed),
    }
}

/// `o=` up to where the address begins: ours goes there, the other side must not learn where the peer is. Counted from
/// the end, because some phones write their name with spaces.
fn origin(line: &str) -> &str {
    let mut end = line.trim_end_matches(' ').len();
    for _ in 0..3 {
        let before = line.as_bytes().get(..end).and_then(|before| before.iter().rposition(|byte| *byte == b' '));
        let Some(at) = before else { return "o=- 0 0 " };
        end = at;
    }
    line.get(..=end).unwrap_or_default()
}

fn leads_around_us(line: &str) -> bool {
    const PREFIXES: [&str; 11] = [
        "a=alt:",
        "a=source-filter:",
        "a=candidate:",
        "a=ice-",
        "a=end-of-candidates",
        "a=remote-candidates:",
        "a=rtcp-mux",
        "a=group:BUNDLE",
        "a=mid:",
        FEEDBACK,
        "a=altc:",
    ];
    // Most lines are told apart by the first letter of their name.
    let letter = line.as_bytes().get(2);
    PREFIXES.iter().any(|prefix| prefix.as_bytes().get(2) == letter && line.starts_with(prefix))
}
