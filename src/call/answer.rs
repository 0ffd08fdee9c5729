//! Offers and answers (RFC 3264): what one leg's description says to the media path, and descriptions of our own.

use std::fmt::Write as _;
use std::net::SocketAddr;

use super::event::NotAnalysed;
use crate::rtp::control::{Codec, OPUS_CLOCK, StreamPlan};
use crate::sip::wire::Message;
use crate::sip::wire::sdp::{Direction, Media, Protection, Sdp};

/// What `media` says to the media path.
pub(super) fn plan(media: &Media<'_>) -> StreamPlan {
    let plan = StreamPlan::described(media.rtp(), media.encodings());
    StreamPlan { rtcp: media.rtcp, fax: media.is_fax(), dtls: media.is_dtls(), ..plan }
}

/// What the media path is told of a video: where it goes. It is relayed as it is, whatever it holds.
pub(super) fn opaque(media: &Media<'_>) -> StreamPlan {
    StreamPlan { rtp: media.rtp(), rtcp: media.rtcp, ..StreamPlan::default() }
}

/// A peer that refuses all media for a while (RFC 3264 §8.2): nothing is sent to it, and what it can hear is not
/// forgotten.
pub(super) fn held(plan: &StreamPlan) -> StreamPlan {
    StreamPlan { rtp: None, ..plan.clone() }
}

/// `plan` with this codec before all others: what plays already goes on in it, and a peer need not hear more than the
/// one that our answer names.
pub(super) fn led_by(mut plan: StreamPlan, codec: Option<Codec>) -> StreamPlan {
    plan.codecs.sort_by_key(|(_, other)| Some(*other) != codec);
    plan
}

/// Why the ear cannot listen to `media`; None: it can. `opened`: its SRTP ends here.
pub(super) fn unheard(media: &Media<'_>, opened: bool) -> Option<NotAnalysed> {
    if media.is_fax() {
        Some(NotAnalysed::Codec)
    } else if !media.is_plain_rtp() && !opened {
        Some(NotAnalysed::Srtp)
    } else if plan(media).codecs.is_empty() {
        Some(NotAnalysed::Codec)
    } else {
        None
    }
}

/// Our own answer to `offer`: a codec that we can play prompts in, `current` if it is offered, at `at`; every other
/// section refused, the direction that it leaves us; encrypted with `crypto`, our attribute. All sections are refused
/// where the offer does so itself. None: it has no such codec, or is encrypted and we are not. `version`: higher than
/// that of our last one.
pub(super) fn own(
    offer: &Sdp<'_>,
    at: SocketAddr,
    version: u32,
    crypto: Option<&str>,
    current: Option<Codec>,
) -> Option<String> {
    let anchored = offer.anchored();
    let media = match anchored {
        Some(anchored) => Some(offer.media.get(anchored).filter(|media| media.is_plain_rtp() || crypto.is_some())?),
        None if offer.media.iter().all(|media| media.port == 0) => None,
        None => return None,
    };
    let audio = match media {
        Some(media) => Some(audio(&led_by(plan(media), current), at, media.protocol, crypto, left_to_us(media))?),
        None => None,
    };
    let mut out = session(at, version);
    for (number, section) in offer.media.iter().enumerate() {
        match &audio {
            Some(audio) if Some(number) == anchored => out += audio,
            Some(_) | None => {
                let format = section.formats.first().copied().unwrap_or(0);
                let _ = write!(out, "m={} 0 {} {format}\r\n", section.kind, section.protocol);
            }
        }
    }
    Some(out)
}

/// An offer of our own to a peer that described itself as `plan`: what it is asked for in a request without one.
/// `protection`: what it is told of encryption. None: it has no codec that we can play prompts in.
pub(super) fn offer(plan: &StreamPlan, at: SocketAddr, version: u32, protection: &Protection) -> Option<String> {
    const PLAIN: &str = "RTP/AVP";
    let (protocol, crypto) = match protection {
        Protection::AsItIs | Protection::Plain => (PLAIN, None),
        Protection::Encrypted { attributes, .. } => {
            (protection.protocol(PLAIN).unwrap_or(PLAIN), Some(attributes.join("\r\n")))
        }
    };
    Some(session(at, version) + &audio(plan, at, protocol, crypto.as_deref(), "sendrecv")?)
}

fn session(at: SocketAddr, version: u32) -> String {
    let net = if at.is_ipv4() { "IP4" } else { "IP6" };
    let ip = at.ip();
    format!("v=0\r\no=ringfence 1 {version} IN {net} {ip}\r\ns=-\r\nc=IN {net} {ip}\r\nt=0 0\r\n")
}

fn audio(plan: &StreamPlan, at: SocketAddr, protocol: &str, crypto: Option<&str>, direction: &str) -> Option<String> {
    let (payload_type, codec) = plan.codecs.first()?;
    let name = match codec {
        Codec::Pcmu => "PCMU/8000",
        Codec::Pcma => "PCMA/8000",
        Codec::G722 => "G722/8000",
        // Always so, whatever is sent (RFC 7587 §7).
        Codec::Opus => "opus/48000/2",
    };
    // Keys by the clock of the audio; many who speak Opus know the other one only.
    let narrow = plan.telephone_event.map(|event| (event, 8_000));
    let wide = plan.wide_event.filter(|_| *codec == Codec::Opus).map(|event| (event, OPUS_CLOCK.get()));
    let event = wide.or(narrow);
    let mut out = format!("m=audio {} {protocol} {payload_type}", at.port());
    if let Some((event, _)) = event {
        let _ = write!(out, " {event}");
    }
    let _ = write!(out, "\r\na=rtpmap:{payload_type} {name}\r\n");
    if let Some((event, clock)) = event {
        let _ = write!(out, "a=rtpmap:{event} telephone-event/{clock}\r\na=fmtp:{event} 0-15\r\n");
    }
    if let Some(crypto) = crypto {
        let _ = write!(out, "{crypto}\r\n");
    }
    let _ = write!(out, "a={direction}\r\n");
    Some(out)
}

/// RFC 3264 §6.1, and §8.4 for hold in the old spelling.
fn left_to_us(media: &Media<'_>) -> &'static str {
    match media.direction {
        Direction::Inactive => "inactive",
        Direction::RecvOnly => "sendonly",
        Direction::SendOnly => "recvonly",
        Direction::SendRecv if media.is_held() => "recvonly",
        Direction::SendRecv => "sendrecv",
    }
}

/// Of a description of ours: rises with the requests that ask for it (RFC 3264 §8).
pub(super) fn version(request: &Message<'_>) -> u32 {
    request.cseq().map_or(1, |cseq| cseq.number)
}
