//! A BYE that is challenged: its call is over here, and whoever has sent it may send it once more, with credentials of
//! its own (RFC 3261 §22).

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::forward::{self, Way};
use super::identity;
use super::relay::RelayedRequest;
use super::settings::Side;
use super::switchboard::Switchboard;
use crate::sip::flow::Flow;
use crate::sip::transaction::{ClientId, ClientKind, ServerId};
use crate::sip::wire::{Index, Limits, Message, Method, Name};
use crate::units::CallId;

/// Whoever knows a password answers within this time.
const ANSWERED: Duration = Duration::from_secs(5);
/// Challenged ones that are remembered.
const MOST: usize = 64;

/// A BYE that went to a peer which wants credentials.
#[derive(Debug)]
pub(super) struct Farewell {
    sip_call_id: Box<str>,
    /// As it went there.
    bye: Arc<[u8]>,
    flow: Flow,
    call: CallId,
    from: Side,
    shift: u32,
    trunk: Option<Arc<str>>,
    until: Instant,
}

impl Farewell {
    /// True for the same BYE, sent once more.
    fn is_said_by(&self, message: &Message<'_>, side: Side, limits: &Limits, now: Instant) -> bool {
        // Before anything is read: a stray BYE must cost little.
        if *self.sip_call_id != *message.call_id() || side != self.from || now >= self.until {
            return false;
        }
        let mut index = Index::new();
        let same = |sent: Message<'_>| {
            let tags = |of: &Message<'_>| Some((of.from().ok()?.tag()?.to_owned(), of.to().ok()?.tag()?.to_owned()));
            tags(&sent).is_some_and(|sent| Some(sent) == tags(message))
        };
        index.read_again(&self.bye, limits).is_ok_and(same)
    }
}

impl Switchboard {
    /// A challenge to a request that was passed on goes back to whoever sent it. A BYE is remembered for its
    /// repetition, with credentials.
    pub(super) fn challenged(
        &mut self,
        client: ClientId,
        challenge: &Message<'_>,
        relayed: &RelayedRequest,
        now: Instant,
    ) {
        let bye = challenge.cseq().is_ok_and(|cseq| cseq.method == Method::Bye);
        let (Some(call), Some((flow, bye))) = (relayed.call.filter(|_| bye), self.transactions.sent(client)) else {
            return;
        };
        if self.farewells.len() >= MOST {
            self.farewells.pop_front();
        }
        let (from, shift, trunk) = (relayed.from, relayed.shift, relayed.trunk.clone());
        let sip_call_id = challenge.call_id().into();
        self.farewells.push_back(Farewell { sip_call_id, bye, flow, call, from, shift, trunk, until: now + ANSWERED });
    }

    /// A BYE of no call: passed on, where it answers such a challenge. False: it does not.
    pub(super) fn says_bye_again(
        &mut self,
        message: &Message<'_>,
        server: ServerId,
        flow: Flow,
        side: Side,
        now: Instant,
    ) -> bool {
        self.farewells.retain(|farewell| now < farewell.until);
        let settings = Arc::clone(&self.settings);
        let limits = &settings.wire_limits;
        let said = |farewell: &Farewell| farewell.is_said_by(message, side, limits, now);
        let Some(farewell) = self.farewells.iter().position(said).and_then(|at| self.farewells.remove(at)) else {
            return false;
        };
        let mut index = Index::new();
        let Ok(sent) = index.read_again(&farewell.bye, limits) else { return false };
        let Some((client, branch)) = self.transactions.reserve(ClientKind::NonInvite) else { return false };
        let (ours, theirs) = (settings.local(side.other(), farewell.flow.hop()), settings.local(side, flow.hop()));
        let routes: Vec<String> = sent.all(Name::Route).map(|route| route.value.to_owned()).collect();
        let way = sent.request_uri().map(|target| Way { target, routes: &routes });
        let mut edits = self.blank_edits();
        forward::edit_request(&mut edits, message, flow.peer, ours, &branch, way);
        forward::renumber(&mut edits, message, farewell.shift);
        identity::screen(&mut edits, message, &settings, side, farewell.trunk.as_deref());
        let mut relayed = RelayedRequest::new(message, server, side, theirs);
        (relayed.call, relayed.shift, relayed.trunk) = (Some(farewell.call), farewell.shift, farewell.trunk);
        let bytes = edits.applied(message);
        self.send(client, bytes, farewell.flow, now);
        self.edits = edits;
        self.relayed_by_server.insert(server, client);
        self.relayed.insert(client, Box::new(relayed));
        true
    }
}
