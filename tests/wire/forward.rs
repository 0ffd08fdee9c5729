//! The forward path of one message as a proxy walks it, with buffers that are kept: index, read what decides, splice,
//! write. Once the buffers have grown, only our address and two ports in a description are allocated.

use std::fmt::Write as _;
use std::net::SocketAddr;

use ringfence::sip::wire::sdp::Sdp;
use ringfence::sip::wire::{BadMessage, Edits, Index, Limits, Message, Name, Uri};

/// Where the audio of a forwarded description goes.
pub(crate) const MEDIA: ([u8; 4], u16) = ([203, 0, 113, 2], 30_000);
/// Our address in Via, Contact and Record-Route.
pub(crate) const LOCAL: ([u8; 4], u16) = ([203, 0, 113, 2], 5_060);

/// Kept buffers.
#[derive(Default)]
pub(crate) struct Forwarder {
    index: Index,
    limits: Limits,
    edits: Edits,
    line: String,
    body: Vec<u8>,
    out: Vec<u8>,
}

impl Forwarder {
    /// `datagram` as it leaves: our Via and Record-Route on top, theirs stamped with `source`, one hop less, our
    /// Contact, our media address.
    pub(crate) fn forward(&mut self, datagram: &[u8], source: SocketAddr) -> Result<&[u8], BadMessage> {
        let Self { index, limits, edits, line, body, out } = self;
        let message = index.read(datagram, limits)?;
        let local = SocketAddr::from(LOCAL);
        std::hint::black_box(decision(&message)?);
        edits.clear();
        // Writing to a String cannot fail.
        if message.method().is_some() {
            line.clear();
            let _ = write!(line, "Via: SIP/2.0/UDP {local};branch=z9hG4bKours;rport");
            edits.push_on_top(&message, line);
            line.clear();
            let _ = write!(line, "Record-Route: <sip:{local};lr>");
            edits.push_on_top(&message, line);
            edits.stamp_via(&message, source);
            line.clear();
            let _ = write!(line, "{}", message.max_forwards()?.unwrap_or(70).saturating_sub(1));
            edits.set(&message, Name::MaxForwards, line);
            edits.remove_all(&message, Name::Route);
        } else if message.vias().nth(1).is_none() {
            // Without another Via it was meant for us (RFC 3261 §16.7, step 3).
            return Err(BadMessage::Via);
        } else {
            edits.pop_via(&message);
        }
        if let Some(contact) = message.contact()? {
            line.clear();
            let user = contact.parsed_uri().ok().and_then(|uri| uri.user);
            let _ = match user {
                Some(user) => write!(line, "sip:{user}@{local}"),
                None => write!(line, "sip:{local}"),
            };
            edits.set_uri_at(&message, contact.uri, line);
        }
        if message.has_sdp()
            && let Ok(sdp) = Sdp::read(message.body())
            && let Some(section) = sdp.anchored()
        {
            sdp.rewritten(section, SocketAddr::from(MEDIA), body);
            edits.set_body(&message, body);
        }
        edits.apply(&message, out);
        Ok(out)
    }
}

/// All that a decision is made of: a number that changes with any of it.
pub(crate) fn decision(message: &Message<'_>) -> Result<usize, BadMessage> {
    let uri = message.request_uri().map(Uri::parse).transpose()?;
    let (from, to) = (message.from()?, message.to()?);
    let mut sum = message.call_id().len() + from.tag().map_or(0, str::len) + to.tag().map_or(0, str::len);
    sum += from.parsed_uri().ok().and_then(|uri| uri.user).map_or(0, str::len);
    sum += uri.and_then(|uri| uri.user).map_or(0, str::len);
    sum += message.cseq()?.number as usize + usize::from(message.max_forwards()?.unwrap_or(0));
    sum += message.contact()?.map_or(0, |contact| contact.uri.len());
    for via in message.vias() {
        sum += via?.branch().map_or(0, str::len);
    }
    sum += message.addresses(Name::Route).count() + message.addresses(Name::RecordRoute).count();
    sum += message.tokens(Name::ProxyRequire).count() + message.tokens(Name::Require).count();
    Ok(sum + usize::from(message.has_sdp()))
}
