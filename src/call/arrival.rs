//! A new call: its facts, where it goes, and the question to gate and history.

use std::sync::Arc;
use std::time::Instant;

use super::candidates::{Candidate, Order};
use super::event::{NO_ROOM, NotAnalysed};
use super::forward::{self, Party};
use super::identity;
use super::input::Output;
use super::resumed::Invited;
use super::security::Security;
use super::settings::{Settings, Side};
use super::state::Call;
use super::switchboard::{LONGEST_TEXT, Switchboard};
use super::video::Video;
use crate::policy::facts::{CallDirection, CallerNumber, Facts};
use crate::sip::flow::Flow;
use crate::sip::transaction::ServerId;
use crate::sip::wire::{Header, Message, Method, Name, StatusCode, Uri};
use crate::units::{PerLeg, Redacted};

/// An INVITE that may become a call.
struct Admitted<'a> {
    /// The caller's Contact URI.
    contact: &'a str,
    /// Whom it asks for.
    target: Uri<'a>,
    /// Where it may go, in order; at least one.
    candidates: Vec<Candidate>,
    offers_video: bool,
}

/// Why an INVITE becomes no call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Refusal {
    /// The process takes no new calls any more.
    Draining,
    /// All calls that there is room for are there, or more of this trunk than its share.
    NoRoom,
    /// No Contact, or no request URI.
    Malformed,
    /// The same call over another path (RFC 3261 §8.2.2.2).
    Loop,
    /// The request URI is none that we know.
    UriScheme,
    /// No host to go to is known or answers.
    NoTarget,
    /// A description that cannot be read, or without a codec that may pass.
    NotAcceptable,
    /// It would take the place of a call that has been taken away.
    Diverted,
}

impl Refusal {
    /// What the INVITE is answered with, and header lines of that answer.
    fn answer(self) -> (StatusCode, &'static [&'static str]) {
        match self {
            Self::Draining | Self::NoRoom => (StatusCode::SERVICE_UNAVAILABLE, &["Retry-After: 30"]),
            Self::Malformed => (StatusCode::BAD_REQUEST, &[]),
            Self::Loop => (StatusCode::LOOP_DETECTED, &[]),
            Self::UriScheme => (StatusCode::UNSUPPORTED_URI_SCHEME, &[]),
            Self::NoTarget => (StatusCode::SERVICE_UNAVAILABLE, &[]),
            Self::NotAcceptable => (StatusCode::NOT_ACCEPTABLE_HERE, &[]),
            // RFC 3891 §3: the dialog is over for whoever would take it.
            Self::Diverted => (StatusCode::NO_SUCH_CALL, &[]),
        }
    }

    /// Fixed word for the counter.
    fn label(self) -> &'static str {
        match self {
            Self::Draining => "draining",
            Self::NoRoom => NO_ROOM,
            Self::Malformed => "malformed",
            Self::Loop => "loop",
            Self::UriScheme => "uri_scheme",
            Self::NoTarget => "no_target",
            Self::NotAcceptable => "not_acceptable",
            Self::Diverted => "diverted",
        }
    }
}

impl Switchboard {
    /// An INVITE without a To tag: the call that comes of it, or the answer that it gets.
    pub(super) fn new_call(&mut self, message: &Message<'_>, server: ServerId, flow: Flow, side: Side, now: Instant) {
        let trunk = self.trunk_from(message, flow, side);
        let admitted = match self.admit(message, side, trunk.as_ref()) {
            Ok(admitted) => admitted,
            Err(refusal) => {
                *self.counters.refused.entry(refusal.label()).or_default() += 1;
                let (code, lines) = refusal.answer();
                return self.reply(message, server, flow, code, lines, now);
            }
        };
        let Admitted { contact, target, mut candidates, offers_video } = admitted;
        let first = candidates.remove(0);
        let id = self.ids.next();
        let facts = self.facts(message, &target, flow, side, trunk);
        let settings = self.settings_for(&facts);
        let callee = settings.flow(side.other(), first.hop);
        let mut call = Box::new(Call {
            party: parties(message, contact, first.uri),
            invite: Some(Box::new(message.keep())),
            server: Some(server),
            invited: Invited::by(message),
            video: offers_video.then(Video::offered),
            security: Security::new(&self.settings.srtp, &self.secret, id),
            unheard: if message.has_sdp() { None } else { Some(NotAnalysed::NoSdp) },
            trunk: first.trunk.or_else(|| facts.trunk.clone()),
            candidates,
            ..Call::new(id, Arc::from(message.call_id()), side, PerLeg { caller: flow, callee }, facts, settings, now)
        });
        self.host_guests(&mut call);
        self.enter(&call);
        self.by_server.insert(server, id);
        self.out(Output::Consult {
            call: id,
            proven: flow.transport.is_reliable(),
            facts: Box::new(call.facts.clone()),
            policy: Arc::clone(&call.settings.policy),
        });
        self.keep(call);
    }

    /// The settings of a call with these facts.
    pub(super) fn settings_for(&self, facts: &Facts) -> Arc<Settings> {
        let helps = self.settings.policy.helps(facts);
        if helps { Arc::new(self.settings.for_help()) } else { Arc::clone(&self.settings) }
    }

    /// The trunk that a call comes from. Several may share an address: the contact that was asked for says which it is.
    fn trunk_from(&self, message: &Message<'_>, flow: Flow, side: Side) -> Option<Arc<str>> {
        let by_address = || self.settings.trunk_of(flow.peer.ip()).map(|trunk| Arc::clone(&trunk.name));
        match side {
            Side::Outside => self.trunks.registered_contact(message.bytes()).or_else(by_address),
            Side::Inside => None,
        }
    }

    /// What is needed of an INVITE to make a call of it.
    fn admit<'a>(
        &mut self,
        message: &Message<'a>,
        side: Side,
        trunk: Option<&Arc<str>>,
    ) -> Result<Admitted<'a>, Refusal> {
        let emergency = self.is_emergency(message, side);
        if !self.takes(trunk, emergency) {
            return Err(if self.draining { Refusal::Draining } else { Refusal::NoRoom });
        }
        let (Ok(Some(contact)), Some(uri)) = (message.contact(), message.request_uri()) else {
            return Err(Refusal::Malformed);
        };
        if self.by_call_id.contains_key(message.call_id()) {
            return Err(Refusal::Loop);
        }
        if side == Side::Outside && self.would_replace_diverted(message) {
            return Err(Refusal::Diverted);
        }
        let Ok(target) = Uri::parse(uri) else { return Err(Refusal::UriScheme) };
        let candidates = self.candidates(uri, &target, side, Order::ByLot);
        if candidates.is_empty() {
            return Err(Refusal::NoTarget);
        }
        let mut offers_video = false;
        if message.has_sdp() {
            let sdp = self.settings.read_sdp(message.sdp()).ok().filter(|sdp| sdp.anchored().is_some());
            // What nobody here can read, somebody may who helps.
            if sdp.is_none() && !emergency {
                return Err(Refusal::NotAcceptable);
            }
            offers_video = sdp.is_some_and(|sdp| sdp.video().is_some());
        }
        Ok(Admitted { contact: contact.uri, target, candidates, offers_video })
    }

    /// Whether an INVITE of the PBX asks for help in an emergency.
    pub(super) fn is_emergency(&self, message: &Message<'_>, side: Side) -> bool {
        let invites = side == Side::Inside && message.method() == Some(Method::Invite);
        invites && message.request_uri().is_some_and(|uri| self.settings.is_for_help(uri))
    }

    /// What rules look at.
    fn facts(&self, message: &Message<'_>, target: &Uri<'_>, flow: Flow, side: Side, trunk: Option<Arc<str>>) -> Facts {
        let asserted = identity::asserted(message, &self.settings, side, trunk.as_deref());
        let shown = asserted.or_else(|| message.from().ok()?.parsed_uri().ok());
        let private = identity::is_private(message);
        let hidden = private || shown.is_some_and(|uri| uri.host.eq_ignore_ascii_case("anonymous.invalid"));
        let country = self.settings.policy.country;
        let caller = if hidden { CallerNumber::Withheld } else { country.caller(shown.and_then(|uri| uri.user)) };
        // What stands behind a `;` is about the number (RFC 3966).
        let called = target.user.unwrap_or_default().split(';').next().unwrap_or_default();
        let called = called.char_indices().nth(LONGEST_TEXT).and_then(|(end, _)| called.get(..end)).unwrap_or(called);
        let direction = match side {
            Side::Outside => CallDirection::Inbound,
            Side::Inside => CallDirection::Outbound,
        };
        Facts {
            direction,
            source: flow.peer.ip(),
            trunk,
            caller,
            called: Redacted(Arc::from(called)),
            understands_608: understands_608(message),
            over_limit: None,
            hour: 0,
            weekday: 0,
            dialled_before: false,
        }
    }
}

/// Both dialogs as the INVITE begins them; the callee's is at `target`.
fn parties(invite: &Message<'_>, contact: &str, target: String) -> PerLeg<Party> {
    let value = |name| invite.header(name).map_or("", |header| header.value).to_owned();
    let (from, to) = (value(Name::From), value(Name::To));
    PerLeg {
        caller: Party {
            remote: from.clone(),
            local: to.clone(),
            target: contact.to_owned(),
            routes: forward::record_routes(invite),
            ..Party::default()
        },
        callee: Party { remote: to, local: from, target, ..Party::default() },
    }
}

/// True where the caller's side says that it knows what a 608 is (RFC 8688 §3.1).
fn understands_608(invite: &Message<'_>) -> bool {
    let says =
        |header: Header<'_>| header.value.as_bytes().windows(7).any(|word| word.eq_ignore_ascii_case(b"sip.608"));
    invite.all(Name::FeatureCaps).chain(invite.all(Name::Contact)).any(says)
}
