//! The session description of a message on its way from one leg to the other: read once, and written with our
//! addresses.

use super::answer;
use super::event::NotAnalysed;
use super::state::Call;
use crate::policy::facts::CallDirection;
use crate::rtp::control::StreamPlan;
use crate::sip::wire::sdp::{Direction, Media, Sdp};
use crate::sip::wire::{Edits, Message, Method};
use crate::units::Leg;

/// Which way audio flows, as a description says of its side.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Talk {
    pub speaks: bool,
    pub hears: bool,
}

impl Talk {
    /// What is not held.
    pub(super) const BOTH_WAYS: Self = Self { speaks: true, hears: true };
    pub(super) const NONE: Self = Self { speaks: false, hears: false };

    pub(super) fn of(media: &Media<'_>) -> Self {
        let (speaks, hears) = match media.direction {
            Direction::SendRecv => (true, true),
            Direction::SendOnly => (true, false),
            Direction::RecvOnly => (false, true),
            Direction::Inactive => (false, false),
        };
        // Hold in the old spelling (RFC 3264 §8.4).
        Self { speaks, hears: hears && !media.is_held() }
    }
}

impl Default for Talk {
    fn default() -> Self {
        Self::BOTH_WAYS
    }
}

/// What a session description says of one leg.
#[derive(Clone, Debug)]
pub(super) struct Described {
    pub plan: StreamPlan,
    /// Its video; None: it has none, or none that passes.
    pub video: Option<Box<StreamPlan>>,
    pub talk: Talk,
    /// Its side must encrypt, and it does not; or none of its codecs may pass; or a stranger's cannot be read.
    pub refused: bool,
    /// Why the ear cannot listen to what it describes.
    pub unheard: Option<NotAnalysed>,
}

/// The session description of a message of `from`, where it has one that can be read.
pub(super) fn description<'a>(call: &Call, message: &Message<'a>, from: Leg) -> Option<Sdp<'a>> {
    message.has_sdp().then(|| call.read_sdp(message.sdp(), from).ok()).flatten()
}

/// Writes our address into the description of a message on its way from `from` to the other leg; gives what it says of
/// `from`.
///
/// One of an inbound call's caller that cannot be read here goes no further, as somebody else may read it.
pub(super) fn rewrite_sdp(call: &mut Call, message: &Message<'_>, from: Leg, edits: &mut Edits) -> Option<Described> {
    call.media.ports?;
    if let Some(sdp) = description(call, message, from) {
        return rewrite(call, message, &sdp, from, edits);
    }
    let stranger = from == Leg::Caller && call.facts.direction == CallDirection::Inbound;
    let negotiates = message
        .cseq()
        .is_ok_and(|cseq| matches!(cseq.method, Method::Invite | Method::Ack | Method::Prack | Method::Update));
    if !(stranger && negotiates && message.has_sdp()) {
        return None;
    }
    edits.set_body(message, b"");
    let plan = answer::held(&call.media.plan[from]);
    Some(Described { plan, video: None, talk: Talk::NONE, refused: true, unheard: None })
}

/// The same with its description as it has been read.
pub(super) fn rewrite(
    call: &mut Call,
    message: &Message<'_>,
    sdp: &Sdp<'_>,
    from: Leg,
    edits: &mut Edits,
) -> Option<Described> {
    let ports = call.media.ports?;
    let at = ports[from.other()];
    let Some((anchored, media)) = sdp.anchored().zip(sdp.anchored_media()) else {
        edits.write_sdp(message, |body| sdp.refused(at.ip(), body));
        let (plan, refused) = (answer::held(&call.media.plan[from]), sdp.has_nothing_left());
        return Some(Described { plan, video: None, talk: Talk::NONE, refused, unheard: Some(NotAnalysed::NoSdp) });
    };
    let negotiated = call.negotiate(media, from);
    let (beside, video) = call.passing_video(sdp, from).unzip();
    edits.write_sdp(message, |body| sdp.protected(anchored, beside, at, &negotiated.rewritten, body));
    let talk = Talk::of(media);
    let unheard = answer::unheard(media, negotiated.plan.is_some());
    Some(Described { plan: negotiated.stream(media), video, talk, refused: negotiated.refused, unheard })
}
