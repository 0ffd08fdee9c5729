//! Session descriptions for a relay (RFC 8866, RFC 3264): read what matters, rewrite by splicing, keep all else.
//!
//! Bounded: at most [`MAX_MEDIA`] sections are read, [`MAX_FORMATS`] payload types a section and [`MAX_LINES`] lines;
//! more is refused, so that a long description costs no more than its length.

mod codecs;
mod rewrite;
mod video;

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use smallvec::SmallVec;

use self::codecs::{Left, static_encoding};
pub use self::rewrite::Protection;
pub use self::video::{Beside, may_show};
use super::number;
use super::seek::{is_token, line_feed, pieces, split_before};

/// Sections of one description.
pub const MAX_MEDIA: usize = 16;
/// Payload types of one section.
pub const MAX_FORMATS: usize = 64;
/// Keys of one section that are looked at.
const MAX_KEYS: usize = 8;
/// Lines of one description.
pub const MAX_LINES: usize = 1_024;

const BLANK: [char; 2] = [' ', '\t'];

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
    const ALL: [Self; 4] = [Self::SendRecv, Self::SendOnly, Self::RecvOnly, Self::Inactive];

    /// In whatever spelling, as [`behind`] has it.
    fn of(attribute: &str) -> Option<Self> {
        let attribute = attribute.trim_start_matches(BLANK);
        let end = attribute.bytes().take_while(|byte| is_token(*byte)).count();
        let name = attribute.get(..end)?;
        Self::ALL.into_iter().find(|direction| direction.name().eq_ignore_ascii_case(name))
    }

    fn name(self) -> &'static str {
        match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
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
    /// As stated; some need no statement (RFC 3551 §6). Of those of one number, the first one counts.
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
    /// RTP without SRTP.
    #[must_use]
    pub fn is_plain_rtp(&self) -> bool {
        self.protocol.eq_ignore_ascii_case("RTP/AVP") || self.protocol.eq_ignore_ascii_case("RTP/AVPF")
    }

    /// Its keys are agreed on beside the media, in DTLS (RFC 5764 §8).
    #[must_use]
    pub fn is_dtls(&self) -> bool {
        self.protocol.get(..7).is_some_and(|seven| seven.eq_ignore_ascii_case("UDP/TLS"))
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

    /// Where its RTP goes. None: to a host name, or to nobody while it is held in the old spelling `c=0.0.0.0`.
    #[must_use]
    pub fn rtp(&self) -> Option<SocketAddr> {
        let address = self.address.filter(|address| !address.is_unspecified());
        address.map(|address| SocketAddr::new(address, self.port))
    }

    /// Its payload types with encoding and clock in hertz, in order of preference; those that are known or stated.
    pub fn encodings(&self) -> impl Iterator<Item = (u8, &str, u32)> {
        let named = |&number: &u8| self.encoding(number).map(|(encoding, clock)| (number, encoding, clock));
        self.formats.iter().filter_map(named)
    }

    /// Encoding and clock in hertz of a payload type.
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

/// A session description, borrowed.
#[derive(Clone, Debug)]
pub struct Sdp<'a> {
    text: &'a str,
    /// Its sections in order.
    pub media: SmallVec<[Media<'a>; 2]>,
    /// Of sections that have none of their own.
    direction: Direction,
    session_end: usize,
    /// Of several audio sections, one in the clear is taken.
    plain_first: bool,
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
        Ok(Self { text, media, direction: session_direction, session_end, plain_first: false })
    }

    /// Whoever offers the same audio in two sections, encrypted and in the clear, takes what the other side can. Only
    /// one of them passes, and only the second is in everybody's reach.
    pub fn prefer_plain(&mut self) {
        self.plain_first = true;
    }

    /// The section that is anchored: the first audio one over some kind of RTP that is not refused, or else a fax.
    #[must_use]
    pub fn anchored(&self) -> Option<usize> {
        let is_talk = |media: &Media<'_>| {
            let rtp = media.protocol.get(..4).is_some_and(|four| four.eq_ignore_ascii_case("RTP/")) || media.is_dtls();
            media.kind.eq_ignore_ascii_case("audio") && media.port > 0 && rtp && media.left != Left::None
        };
        let plain = || self.media.iter().position(|media| is_talk(media) && media.is_plain_rtp());
        let audio = self.plain_first.then(plain).flatten().or_else(|| self.media.iter().position(is_talk));
        audio.or_else(|| self.media.iter().position(|media| media.is_fax() && media.port > 0))
    }

    /// That section.
    #[must_use]
    pub fn anchored_media(&self) -> Option<&Media<'a>> {
        self.media.get(self.anchored()?)
    }
}

/// No control characters but tabs and line ends, and no CR without its LF: where a bare CR ends a line for the PBX and
/// not for us, it reads an address that we have not rewritten.
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
    let first = value.as_bytes().first().map(u8::to_ascii_lowercase);
    if !matches!(first, Some(b'c' | b'i' | b'r' | b's' | b' ' | b'\t')) {
        return Ok(());
    }
    if let Some(map) = behind(value, "rtpmap") {
        if section.rtpmaps.len() == MAX_FORMATS {
            return Err(BadSdp::OverLimit);
        }
        if let Some(map) = rtpmap(map) {
            section.rtpmaps.push(map);
        }
    } else if let Some(keys) = behind(value, "crypto") {
        if section.crypto.len() < MAX_KEYS {
            section.crypto.extend(crypto(keys));
        }
    } else if let Some(rtcp) = behind(value, "rtcp") {
        let (port, net) = number_and_rest(rtcp);
        let address = address(net).or(section.address);
        section.rtcp = address.zip(number(port)).map(|(address, port)| SocketAddr::new(address, port));
    } else if let Some(direction) = Direction::of(value) {
        section.direction = direction;
    }
    Ok(())
}

/// `1 AES_CM_128_HMAC_SHA1_80 inline:KEY|2^31|1:4 PARAMETERS`; lifetime, identifier and parameters may lack.
fn crypto(text: &str) -> Option<Crypto<'_>> {
    let mut words = text.split(BLANK).filter(|word| !word.is_empty());
    let (tag, suite, keys) = (number(words.next()?)?, words.next()?, words.next()?.strip_prefix("inline:")?);
    let mut parts = keys.split('|');
    let key = parts.next()?;
    // An identifier has a colon, a lifetime has none.
    let identified = parts.any(|part| part.contains(':'));
    let plain = !identified && !keys.contains(';') && words.next().is_none();
    Some(Crypto { tag, suite, key, plain })
}

/// What follows an attribute's name, if this is its name. PBXs overlook much: its case, blanks around it, and what
/// stands in place of the colon.
fn behind<'a>(value: &'a str, name: &str) -> Option<&'a str> {
    let (start, rest) = value.trim_start_matches(BLANK).split_at_checked(name.len())?;
    let is_name = start.eq_ignore_ascii_case(name) && !rest.bytes().next().is_some_and(is_token);
    is_name.then(|| rest.get(1..))?.map(|rest| rest.trim_start_matches([':', ' ', '\t']))
}

/// A payload type as it is written in front of what is said of it, and that.
fn number_and_rest(text: &str) -> (&str, &str) {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, rest) = text.split_at_checked(digits).unwrap_or_default();
    (number, rest.trim_start_matches(BLANK))
}

/// None for a spelling that not everybody reads alike.
fn payload_type(digits: &str) -> Option<u8> {
    number(digits).filter(|number| *number < 128 && (digits.len() == 1 || !digits.starts_with('0')))
}

/// None for what some PBXs read as one thing and some as another.
fn rtpmap(text: &str) -> Option<RtpMap<'_>> {
    let (number, rest) = number_and_rest(text);
    let payload_type = payload_type(number)?;
    let mut parts = pieces(rest.trim_end_matches(BLANK), b'/');
    let encoding = parts.next().filter(|encoding| !encoding.is_empty() && encoding.bytes().all(is_token))?;
    let clock = self::number(parts.next()?).filter(|clock| *clock > 0)?;
    Some(RtpMap { payload_type, encoding, clock })
}

/// `IN IP4 192.0.2.1`, a TTL ignored; None for a host name.
fn address(value: &str) -> Option<IpAddr> {
    let mut words = pieces(value, b' ').filter(|word| !word.is_empty());
    let (Some("IN"), Some("IP4" | "IP6"), Some(host)) = (words.next(), words.next(), words.next()) else { return None };
    ip(host)
}

/// Without a TTL. Who writes IPv4 as `::ffff:192.0.2.1` sends and is sent plain IPv4.
fn ip(host: &str) -> Option<IpAddr> {
    split_before(host, b'/').0.parse().ok().map(|ip: IpAddr| ip.to_canonical())
}

/// The value of a c= line. A host name is one too; what is not `IN`, a kind and one word is none.
fn connection(value: &str) -> Result<Option<IpAddr>, BadSdp> {
    let mut words = pieces(value.trim_end_matches(' '), b' ');
    match (words.next(), words.next(), words.next(), words.next()) {
        (Some("IN"), Some("IP4" | "IP6"), Some(host), None) if !host.is_empty() => Ok(ip(host)),
        _ => Err(BadSdp::Malformed),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn an_ipv4_address_in_the_clothes_of_ipv6_is_one_of_ipv4() {
        let text = "v=0\r\no=- 1 1 IN IP6 ::ffff:192.0.2.1\r\ns=-\r\nc=IN IP6 ::ffff:192.0.2.1\r\nt=0 0\r\n\
                    m=audio 4000 RTP/AVP 8\r\na=rtcp:4009 IN IP6 ::FFFF:C000:0202\r\n\
                    m=audio 4002 RTP/AVP 8\r\nc=IN IP6 ::ffff:0.0.0.0\r\n";

        let sdp = Sdp::read(text.as_bytes()).unwrap();

        let [first, second] = sdp.media.as_slice() else { panic!("two sections") };
        assert_eq!(first.rtp(), "192.0.2.1:4000".parse().ok());
        assert_eq!(first.rtcp, "192.0.2.2:4009".parse().ok());
        assert!(second.is_held() && second.rtp().is_none());
    }

    #[test]
    fn what_some_read_in_any_spelling_counts_and_goes_on_in_one() {
        const KEY: &str = "1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz";
        let read = |session: &str, lines: &str| {
            let text = format!(
                "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n{session}\
                 m=audio 4000 RTP/AVP 8\r\n{lines}"
            );
            let sdp = Sdp::read(text.as_bytes()).unwrap();
            let mut out = Vec::new();
            sdp.rewritten(0, "192.0.2.1:4000".parse().unwrap(), &mut out);
            let written = String::from_utf8(out).unwrap().split_once("t=0 0\r\n").unwrap().1.to_owned();
            let [media] = sdp.media.as_slice() else { panic!("one section") };
            (media.direction, media.crypto.len(), media.rtcp, written)
        };
        let plain = "m=audio 4000 RTP/AVP 8\r\na=sendonly\r\n";
        for line in ["SendOnly", " sendonly", "\tSENDONLY ", "sendonly:x", "sendonly\t; x"] {
            let (direction, _, _, written) = read("", &format!("a={line}\r\n"));
            assert_eq!((direction, &*written), (Direction::SendOnly, plain), "{line}");
        }
        for (session, direction) in [("a=Inactive\r\n", Direction::Inactive), ("a=sendonly-x\r\n", Direction::SendRecv)]
        {
            assert_eq!(read(session, "").0, direction);
        }
        // Of several, the last counts: to everybody.
        let (direction, _, _, written) = read("a=inactive\r\n", "a=recvonly\r\na=sendonly\r\n");
        assert_eq!(direction, Direction::SendOnly);
        let both = plain.replace("a=sendonly\r\n", "a=sendonly\r\na=sendonly\r\n");
        assert_eq!(written, format!("a=inactive\r\n{both}"));

        for line in ["Crypto:", "\tcrypto:\t", "crypto :", " CRYPTO "] {
            assert_eq!(read("", &format!("a={line}{KEY}\r\n")).1, 1, "{line}");
        }
        for line in ["Rtcp:4009", " rtcp: 4009", "rtcp:4009\tIN IP4 192.0.2.1", "RTCP :4009 "] {
            assert_eq!(read("", &format!("a={line}\r\n")).2, "192.0.2.1:4009".parse().ok(), "{line}");
        }
    }
}
