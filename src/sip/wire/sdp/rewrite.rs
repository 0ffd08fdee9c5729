//! A description as it goes on to the other leg: our addresses and ports in it, all else as it came.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use super::codecs::{Left, Meaning, is_of_none, meaning};
use super::video::{Beside, FEEDBACK, Written};
use super::{BLANK, Direction, Media, Sdp, address, behind, lines};
use crate::sip::wire::span;
use crate::units::Plain;

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

impl Sdp<'_> {
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
                Some(ours.media_line(line, number, media, ending))
            }
            "a=" if here().is_some_and(|(_, media)| is_of_none(value, media)) => GONE,
            "a=" if let Some(meaning) = here().and_then(|(_, media)| meaning(value, media)) => match meaning {
                Meaning::Stays => None,
                Meaning::Said(number, said) => Some(["a=rtpmap:", number, " ", said, ending, ""]),
                Meaning::Goes => GONE,
            },
            "a=" if leads_around_us(line) => {
                let feedback = line.starts_with(FEEDBACK) && here().is_some_and(|(n, _)| ours.beside(n).is_some());
                if feedback { None } else { GONE }
            }
            "a=" if begins(line, "a=crypto:") => {
                // Where nothing flows, there is nobody to tell a key.
                let rewritten = *ours.protection != Protection::AsItIs;
                if ours.section.is_none() || anchored() && rewritten { GONE } else { None }
            }
            "a=" if begins(line, "a=rtcp:") => {
                let beside = here().and_then(|(number, _)| ours.beside(number)).map(|beside| &beside.rtcp_port);
                match beside.or_else(|| ours.rtcp_port.as_ref().filter(|_| anchored())) {
                    Some(port) => Some(["a=rtcp:", port, ending, "", "", ""]),
                    None => GONE,
                }
            }
            // Some go by the first of several, and not all read each spelling: all are to read what we have read.
            "a=" if Direction::of(value).is_some() => {
                let said = here().map_or(self.direction, |(_, media)| media.direction).name();
                (value != said).then_some([kind, said, ending, "", "", ""])
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
    /// The media line of a section in its parts, which end in `ending`.
    fn media_line<'o>(&'o self, line: &'o str, number: usize, media: &'o Media<'_>, ending: &'o str) -> [&'o str; 6] {
        let anchored = Some(number) == self.section;
        let port = match self.beside(number) {
            Some(beside) => beside.port.as_str(),
            None if anchored => &self.port,
            None => "0",
        };
        let old_port = span(line, media.port_text);
        let before = line.get(..old_port.start).unwrap_or_default();
        let protocol = self.protection.protocol(media.protocol).filter(|_| anchored);
        match (protocol, &media.left) {
            (None, Left::All | Left::None) => {
                [before, port, line.get(old_port.end..).unwrap_or_default(), ending, "", ""]
            }
            (Some(protocol), Left::All | Left::None) => {
                let formats = line.get(span(line, media.protocol).end..).unwrap_or_default();
                [before, port, " ", protocol, formats, ending]
            }
            (protocol, Left::Some(formats)) => [before, port, " ", protocol.unwrap_or(media.protocol), formats, ending],
        }
    }

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

pub(super) fn digits(port: u16) -> String {
    let mut digits = String::with_capacity(5);
    Plain(port).write_to(&mut digits);
    digits
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

/// True for an attribute of this name in whatever case and spelling: some who read it do not look (RFC 8866 §9 does).
fn begins(line: &str, name: &str) -> bool {
    let value = line.get(2..).unwrap_or_default().trim_start_matches(BLANK);
    let name = name.get(2..).unwrap_or_default();
    match name.strip_suffix(':') {
        Some(name) => behind(value, name).is_some(),
        None => value.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name)),
    }
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
    let value = line.get(2..).unwrap_or_default().trim_start_matches(BLANK);
    let letter = value.as_bytes().first().map(u8::to_ascii_lowercase);
    PREFIXES.iter().any(|prefix| prefix.as_bytes().get(2).copied() == letter && begins(line, prefix))
}
