//! Offers and answers (RFC 3264): what one leg's description says to the media path, and descriptions of our own.

use std::fmt::Write as _;
use std::net::SocketAddr;

use crate::rtp::control::{Codec, StreamPlan};
use crate::sip::wire::sdp::{Media, Sdp};

/// What `media` says to the media path.
pub(super) fn plan(media: &Media<'_>) -> StreamPlan {
    let mut plan = StreamPlan {
        rtp: media
            .address
            .filter(|address| !address.is_unspecified())
            .map(|address| SocketAddr::new(address, media.port)),
        rtcp: media.rtcp,
        ..StreamPlan::default()
    };
    for payload_type in media.formats.iter().copied() {
        let Some((encoding, clock)) = media.encoding(payload_type) else { continue };
        if encoding.eq_ignore_ascii_case("PCMU") && clock == 8_000 {
            plan.codecs.push((payload_type, Codec::Pcmu));
        } else if encoding.eq_ignore_ascii_case("PCMA") && clock == 8_000 {
            plan.codecs.push((payload_type, Codec::Pcma));
        } else if encoding.eq_ignore_ascii_case("G722") && clock == 8_000 {
            plan.codecs.push((payload_type, Codec::G722));
        } else if encoding.eq_ignore_ascii_case("telephone-event") && clock == 8_000 {
            plan.telephone_event = Some(payload_type);
        }
    }
    plan
}

/// Why the ear cannot listen to `media`; None: it can. `opened`: its SRTP ends here.
pub(super) fn unheard(media: &Media<'_>, opened: bool) -> Option<&'static str> {
    if !media.is_plain_rtp() && !opened {
        Some("srtp")
    } else if plan(media).codecs.is_empty() {
        Some("codec")
    } else {
        None
    }
}

/// Our own answer to `offer`: G.711 or G.722 at `at`, every other section refused; encrypted with `crypto`, our attribute. None:
/// the offer has neither, or is encrypted and we are not.
pub(super) fn own(offer: &Sdp<'_>, at: SocketAddr, crypto: Option<&str>) -> Option<String> {
    let anchored = offer.anchored()?;
    let media = offer.media.get(anchored).filter(|media| media.is_plain_rtp() || crypto.is_some())?;
    let plan = plan(media);
    let (payload_type, codec) = plan.codecs.first()?;
    let net = if at.is_ipv4() { "IP4" } else { "IP6" };
    let ip = at.ip();
    let mut out = format!("v=0\r\no=ringfence 1 1 IN {net} {ip}\r\ns=-\r\nc=IN {net} {ip}\r\nt=0 0\r\n");
    for (number, section) in offer.media.iter().enumerate() {
        if number != anchored {
            let format = section.formats.first().copied().unwrap_or(0);
            let _ = write!(out, "m={} 0 {} {format}\r\n", section.kind, section.protocol);
            continue;
        }
        let name = match codec {
            Codec::Pcmu => "PCMU",
            Codec::Pcma => "PCMA",
            Codec::G722 => "G722",
        };
        let _ = write!(out, "m=audio {} {} {payload_type}", at.port(), section.protocol);
        if let Some(event) = plan.telephone_event {
            let _ = write!(out, " {event}");
        }
        let _ = write!(out, "\r\na=rtpmap:{payload_type} {name}/8000\r\n");
        if let Some(event) = plan.telephone_event {
            let _ = write!(out, "a=rtpmap:{event} telephone-event/8000\r\na=fmtp:{event} 0-15\r\n");
        }
        if let Some(crypto) = crypto {
            let _ = write!(out, "{crypto}\r\n");
        }
        out += "a=sendrecv\r\n";
    }
    Some(out)
}
