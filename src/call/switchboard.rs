//! Dispatch: which call or transaction a message, an answer or a deadline belongs to.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use super::event::{Counters, Event, Happened};
use super::forward::{self, Party};
use super::machine::{self, Call, Phase};
use super::settings::{Settings, Side};
use crate::policy::facts::{CallDirection, CallerNumber, Facts, OverLimit};
use crate::policy::judge::Verdict;
use crate::rtp::control::{MediaCommand, MediaEvent, StreamPlan};
use crate::sip::flow::Flow;
use crate::sip::transaction::{
    ClientId, ClientKind, Received, ServerId, TransactionEvent, TransactionSettings, Transactions, Transmit,
};
use crate::sip::wire::{Edits, Index, Message, Method, Name, StatusCode, Uri, respond};
use crate::units::{CallId, Leg, PerLeg, Redacted};

/// What comes in.
pub enum Input<'a> {
    /// One datagram that the gate has let through.
    Datagram {
        /// As it came.
        bytes: &'a [u8],
        /// From where, through which socket.
        flow: Flow,
    },
    /// Answer to [`Output::Consult`].
    Consulted {
        /// Which call.
        call: CallId,
        /// A limit it went over.
        over_limit: Option<OverLimit>,
        /// The PBX has dialled the caller lately.
        dialled_before: bool,
        /// Local hour, 0 to 23.
        hour: u8,
        /// 0 is Monday.
        weekday: u8,
    },
    /// What the media path tells a call.
    Media {
        /// Which call.
        call: CallId,
        /// What.
        event: MediaEvent,
    },
    /// What the ear thinks of a call now.
    Judged {
        /// Which call.
        call: CallId,
        /// What it thinks.
        verdict: Verdict,
    },
    /// New settings, for calls that begin from now on.
    Settings(Arc<Settings>),
    /// An operator ends a call.
    HangUp {
        /// Which.
        call: CallId,
    },
    /// No new calls; running ones go on.
    Drain,
    /// End what is left.
    EndAll,
}

/// What should happen.
#[derive(Debug)]
pub enum Output {
    /// Send a datagram.
    Transmit(Transmit),
    /// Ask gate and history about a new call; answer with [`Input::Consulted`].
    Consult {
        /// Which call.
        call: CallId,
        /// Which way it goes.
        direction: CallDirection,
        /// Address of the caller's side.
        source: IpAddr,
        /// The caller's number, if it shows one.
        number: Option<Redacted<Arc<str>>>,
        /// What was dialled.
        called: Redacted<Arc<str>>,
    },
    /// Tell the media path.
    Media(MediaCommand),
    /// Tell the observers.
    Happened(Happened),
}

/// Live entries of all tables: all 0 after a soak.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Sizes {
    /// Calls.
    pub calls: usize,
    /// Requests that are being passed on.
    pub relayed: usize,
    /// INVITEs of ours that nobody waits for any more.
    pub orphans: usize,
    /// Server transactions.
    pub server_transactions: usize,
    /// Client transactions.
    pub client_transactions: usize,
}

/// A request on its way through.
#[derive(Debug)]
struct Relayed {
    server: ServerId,
    call: Option<CallId>,
    /// The side it came from.
    from: Side,
    invite: bool,
    /// What an offer in it says, in force once it is accepted.
    plan: Option<(Leg, StreamPlan)>,
    /// Record-Routes for its response.
    routes: Vec<String>,
    /// Contacts of a REGISTER: ours and theirs.
    contacts: Vec<(String, String)>,
    local: SocketAddr,
}

/// Contacts of one REGISTER that are rewritten.
const MAX_CONTACTS: usize = 16;
/// Longest texts of peers that are kept for records.
const LONGEST_TEXT: usize = 128;

/// All calls of a shard.
#[derive(Debug)]
pub struct Switchboard {
    settings: Arc<Settings>,
    pub(super) transactions: Transactions,
    shard: u8,
    started: u32,
    counter: u32,
    secret: [u8; 16],
    calls: HashMap<CallId, Call>,
    by_call_id: HashMap<Arc<str>, CallId>,
    by_server: HashMap<ServerId, CallId>,
    pub(super) clients: HashMap<ClientId, CallId>,
    relayed: HashMap<ClientId, Relayed>,
    relayed_by_server: HashMap<ServerId, ClientId>,
    pub(super) orphans: HashMap<ClientId, (Flow, SocketAddr)>,
    deadlines: BTreeSet<(Instant, CallId)>,
    index: Index,
    outputs: VecDeque<Output>,
    counters: Counters,
    draining: bool,
}

impl Switchboard {
    /// No calls yet. `started`: seconds since 1970, so that call names differ between runs; `secret`: random.
    #[must_use]
    pub fn new(shard: u8, started: u32, secret: [u8; 16], settings: Arc<Settings>) -> Self {
        let capacity = settings.max_calls.saturating_mul(4).max(256);
        Self {
            settings,
            transactions: Transactions::new(shard, secret, &TransactionSettings { capacity }),
            shard,
            started,
            counter: 0,
            secret,
            calls: HashMap::new(),
            by_call_id: HashMap::new(),
            by_server: HashMap::new(),
            clients: HashMap::new(),
            relayed: HashMap::new(),
            relayed_by_server: HashMap::new(),
            orphans: HashMap::new(),
            deadlines: BTreeSet::new(),
            index: Index::new(),
            outputs: VecDeque::new(),
            counters: Counters::default(),
            draining: false,
        }
    }

    /// Takes one input; then drain [`Switchboard::poll_output`].
    pub fn handle_input(&mut self, input: Input<'_>, now: Instant) {
        match input {
            Input::Datagram { bytes, flow } => self.datagram(bytes, flow, now),
            Input::Consulted { call, over_limit, dialled_before, hour, weekday } => {
                let Some(mut call) = self.take(call) else { return };
                let Phase::Consulting = call.phase else { return self.keep(call) };
                call.facts = Facts { over_limit, dialled_before, hour, weekday, ..call.facts };
                self.consulted(call, now);
            }
            Input::Media { call, event } => {
                if let Some(call) = self.take(call) {
                    self.media(call, event, now);
                }
            }
            Input::Judged { call, verdict } => {
                if let Some(call) = self.take(call) {
                    self.judged(call, verdict, now);
                }
            }
            Input::Settings(settings) => self.settings = settings,
            Input::HangUp { call } => {
                if let Some(call) = self.take(call) {
                    self.hang_up(call, "hang_up", now);
                }
            }
            Input::Drain => self.draining = true,
            Input::EndAll => {
                self.draining = true;
                let all: Vec<CallId> = self.calls.keys().copied().collect();
                for id in all {
                    if let Some(call) = self.take(id) {
                        self.hang_up(call, "drained", now);
                    }
                }
            }
        }
        self.drain_transactions(now);
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.transactions.handle_timeout(now);
        while let Some((at, id)) = self.deadlines.first().copied().filter(|(at, _)| *at <= now) {
            self.deadlines.remove(&(at, id));
            if let Some(call) = self.take(id) {
                self.call_due(call, now);
            }
        }
        self.drain_transactions(now);
    }

    /// What should happen next; until None, after every `handle_*`.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call [`Switchboard::handle_timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let call = self.deadlines.first().map(|(at, _)| *at);
        [call, self.transactions.poll_timeout()].into_iter().flatten().min()
    }

    /// Live entries.
    #[must_use]
    pub fn sizes(&self) -> Sizes {
        let (server_transactions, client_transactions) = self.transactions.counts();
        Sizes {
            calls: self.calls.len(),
            relayed: self.relayed.len(),
            orphans: self.orphans.len(),
            server_transactions,
            client_transactions,
        }
    }

    /// Counted facts.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    fn datagram(&mut self, bytes: &[u8], flow: Flow, now: Instant) {
        let Some(side) = self.settings.side_of(flow.peer) else {
            // Strangers get silence: an answer would tell a scanner that somebody is here.
            self.counters.unknown_source += 1;
            return;
        };
        let mut index = std::mem::take(&mut self.index);
        let settings = Arc::clone(&self.settings);
        match index.read(bytes, &settings.wire_limits) {
            Ok(message) => self.message(&message, flow, side, now),
            Err(bad) => {
                *self.counters.bad_message.entry(bad.label()).or_default() += 1;
                if let (Some(code), Some(request)) = (bad.reply(), index.salvage(bytes)) {
                    let mut out = Vec::new();
                    respond(&request, code, flow.peer, Some("bad"), &[], &[], &mut out);
                    self.transmit(flow, &out);
                }
            }
        }
        self.index = index;
    }

    fn message(&mut self, message: &Message<'_>, flow: Flow, side: Side, now: Instant) {
        match self.transactions.receive(message, flow, now) {
            Received::Absorbed => {}
            Received::Full => self.counters.table_full += 1,
            Received::Request(server) => self.request(message, server, flow, side, now),
            Received::AckToSuccess => {
                match self.by_call_id.get(message.call_id()).copied().and_then(|id| self.take(id)) {
                    Some(call) => {
                        let leg = call.leg_of(side);
                        self.ack(call, message, leg, now);
                    }
                    None => self.counters.stray += 1,
                }
            }
            Received::Cancel { invite: Some(server) } => {
                if let Some(call) = self.by_server.get(&server).copied().and_then(|id| self.take(id)) {
                    self.cancelled(call, now);
                } else if let Some(client) = self.relayed_by_server.get(&server).copied() {
                    self.transactions.cancel(client, &[], now);
                }
            }
            Received::Cancel { invite: None } => {}
            Received::Response(client) => self.response(message, client, now),
        }
    }

    fn request(&mut self, message: &Message<'_>, server: ServerId, flow: Flow, side: Side, now: Instant) {
        let Some(method) = message.method() else { return };
        if message.max_forwards() == Ok(Some(0)) {
            return self.reply(message, server, flow, StatusCode::TOO_MANY_HOPS, &[], now);
        }
        if self.transactions.has_been_here(message) {
            return self.reply(message, server, flow, StatusCode::LOOP_DETECTED, &[], now);
        }
        if let Some(token) = message.tokens(Name::ProxyRequire).next() {
            let line = format!("Unsupported: {token}");
            return self.reply(message, server, flow, StatusCode::BAD_EXTENSION, &[&line], now);
        }
        let in_dialog = message.to().is_ok_and(|to| to.tag().is_some());
        match (method, in_dialog) {
            (_, true) => self.in_dialog(message, server, flow, side, now),
            (Method::Invite, false) => self.new_call(message, server, flow, side, now),
            (Method::Bye | Method::Prack | Method::Update | Method::Info, false) => {
                self.reply(message, server, flow, StatusCode::NO_SUCH_CALL, &[], now);
            }
            (Method::Options, false) if self.is_for_us(message) => {
                let allow = "Allow: INVITE, ACK, BYE, CANCEL, OPTIONS, PRACK, UPDATE, INFO";
                self.reply(message, server, flow, StatusCode::OK, &[allow], now);
            }
            (Method::Ack | Method::Cancel | Method::Options | Method::Register | Method::Other(_), false) => {
                self.relay(message, server, flow, side, None, now);
            }
        }
    }

    /// An OPTIONS without a user asks the element itself (RFC 3261 §11).
    fn is_for_us(&self, message: &Message<'_>) -> bool {
        message.request_uri().and_then(|uri| Uri::parse(uri).ok()).is_some_and(|uri| uri.user.is_none())
    }

    fn new_call(&mut self, message: &Message<'_>, server: ServerId, flow: Flow, side: Side, now: Instant) {
        if self.draining || self.calls.len() >= self.settings.max_calls {
            return self.reply(message, server, flow, StatusCode::SERVICE_UNAVAILABLE, &["Retry-After: 30"], now);
        }
        let (Ok(Some(contact)), Some(uri)) = (message.contact(), message.request_uri()) else {
            return self.reply(message, server, flow, StatusCode::BAD_REQUEST, &[], now);
        };
        if self.by_call_id.contains_key(message.call_id()) {
            // The same call over another path (RFC 3261 §8.2.2.2).
            return self.reply(message, server, flow, StatusCode::LOOP_DETECTED, &[], now);
        }
        let Ok(target) = Uri::parse(uri) else {
            return self.reply(message, server, flow, StatusCode::UNSUPPORTED_URI_SCHEME, &[], now);
        };
        let Some((to_flow, callee_target)) = self.next_hop(uri, &target, side, flow) else {
            return self.reply(message, server, flow, StatusCode::SERVICE_UNAVAILABLE, &[], now);
        };
        if message.has_sdp() {
            let usable = crate::sip::wire::sdp::Sdp::read(message.body()).is_ok_and(|sdp| sdp.anchored().is_some());
            if !usable {
                return self.reply(message, server, flow, StatusCode::NOT_ACCEPTABLE_HERE, &[], now);
            }
        }
        let value = |name| message.header(name).map_or("", |header| header.value).to_owned();
        let caller = Party {
            remote: value(Name::From),
            local: value(Name::To),
            target: contact.uri.to_owned(),
            routes: forward::record_routes(message),
            cseq: 0,
        };
        let callee =
            Party { remote: value(Name::To), local: value(Name::From), target: callee_target, ..Party::default() };
        let id = self.next_id();
        let facts = self.facts(message, &target, flow, side);
        let call = Call {
            id,
            settings: Arc::clone(&self.settings),
            from: side,
            call_id: Arc::from(message.call_id()),
            flow: PerLeg { caller: flow, callee: to_flow },
            party: PerLeg { caller, callee },
            invite: message.bytes().to_vec(),
            server,
            client: None,
            facts,
            ports: None,
            phase: Phase::Consulting,
            answered: None,
            listens_until: None,
            on_hold: false,
            unheard: if message.has_sdp() { None } else { Some("no_sdp") },
            taken: Vec::new(),
            taken_back: false,
            diversion: None,
            shown: None,
        };
        self.by_call_id.insert(Arc::clone(&call.call_id), id);
        self.by_server.insert(server, id);
        self.out(Output::Consult {
            call: id,
            direction: call.facts.direction,
            source: flow.peer.ip(),
            number: call.facts.caller.text().cloned(),
            called: call.facts.called.clone(),
        });
        self.keep(call);
    }

    fn facts(&self, message: &Message<'_>, target: &Uri<'_>, flow: Flow, side: Side) -> Facts {
        let asserted = message.addresses(Name::PAssertedIdentity).find_map(|identity| identity.ok()?.parsed_uri().ok());
        let shown = asserted.or_else(|| message.from().ok()?.parsed_uri().ok());
        let private = message.other("Privacy").is_some_and(|header| header.value.contains("id"));
        let hidden = private || shown.is_some_and(|uri| uri.host.eq_ignore_ascii_case("anonymous.invalid"));
        let country = self.settings.policy.country;
        let caller = if hidden { CallerNumber::Withheld } else { country.caller(shown.and_then(|uri| uri.user)) };
        let called: String = target.user.unwrap_or_default().chars().take(LONGEST_TEXT).collect();
        let direction = match side {
            Side::Outside => CallDirection::Inbound,
            Side::Inside => CallDirection::Outbound,
        };
        let trunk = match side {
            Side::Outside => self.settings.trunk_of(flow.peer.ip()).map(|trunk| Arc::clone(&trunk.name)),
            Side::Inside => None,
        };
        let understands = |header: crate::sip::wire::Header<'_>| header.value.to_ascii_lowercase().contains("sip.608");
        Facts {
            direction,
            source: flow.peer.ip(),
            trunk,
            caller,
            called: Redacted(Arc::from(called)),
            understands_608: message.all(Name::FeatureCaps).chain(message.all(Name::Contact)).any(understands),
            over_limit: None,
            hour: 0,
            weekday: 0,
            dialled_before: false,
        }
    }

    /// Where a request from `side` goes, and its URI there: a host of ours becomes the next hop's.
    fn next_hop(&self, uri: &str, target: &Uri<'_>, side: Side, flow: Flow) -> Option<(Flow, String)> {
        let settings = &self.settings;
        let ours = target.ip().is_some_and(|ip| ip == settings.local(side).ip()) || target.host.is_empty();
        match side {
            Side::Outside => Some((Flow { peer: settings.pbx, ..flow }, forward::at_address(uri, settings.pbx))),
            Side::Inside => {
                let trunk = settings.trunk_for(target.host)?;
                let uri = if ours { forward::at_address(uri, trunk.address) } else { uri.to_owned() };
                Some((Flow { peer: trunk.address, ..flow }, uri))
            }
        }
    }

    fn in_dialog(&mut self, message: &Message<'_>, server: ServerId, flow: Flow, side: Side, now: Instant) {
        let Some(call) = self.by_call_id.get(message.call_id()).copied().and_then(|id| self.take(id)) else {
            // A dialog that is no call of ours (a subscription) is passed on; a BYE for a call that is gone is not.
            let method = message.method();
            return match method {
                Some(Method::Bye | Method::Invite | Method::Update | Method::Info | Method::Prack) => {
                    self.reply(message, server, flow, StatusCode::NO_SUCH_CALL, &[], now);
                }
                Some(Method::Ack | Method::Cancel | Method::Options | Method::Register | Method::Other(_)) | None => {
                    self.relay(message, server, flow, side, None, now);
                }
            };
        };
        let leg = call.leg_of(side);
        let bye = message.method().is_some_and(machine::is_bye);
        if bye && Self::keeps_bye(&call, leg) {
            self.reply(message, server, flow, StatusCode::OK, &[], now);
            return self.said_bye(call, leg, now);
        }
        let number = message.cseq().map_or(0, |cseq| cseq.number);
        if number < call.party[leg.other()].cseq && leg == Leg::Caller {
            // Out of order (RFC 3261 §12.2.2).
            self.reply(message, server, flow, StatusCode::SERVER_ERROR, &[], now);
            return self.keep(call);
        }
        let key = dtmf_key(message);
        let id = call.id;
        self.relay(message, server, flow, side, Some(call), now);
        match (bye, key) {
            (true, _) => {
                if let Some(call) = self.take(id) {
                    self.said_bye(call, leg, now);
                }
            }
            (false, Some(key)) => {
                if let Some(call) = self.take(id) {
                    self.happened(&call, now, Event::Digit { leg });
                    self.digit(call, leg, key, now);
                }
            }
            (false, None) => {}
        }
    }

    /// Passes a request on, inside `call` or outside any.
    fn relay(
        &mut self,
        message: &Message<'_>,
        server: ServerId,
        flow: Flow,
        side: Side,
        call: Option<Call>,
        now: Instant,
    ) {
        let invite = message.method() == Some(Method::Invite);
        let kind = if invite { ClientKind::Invite } else { ClientKind::NonInvite };
        let Some((client, branch)) = self.transactions.reserve(kind) else {
            self.counters.table_full += 1;
            self.reply(message, server, flow, StatusCode::SERVICE_UNAVAILABLE, &[], now);
            if let Some(call) = call {
                self.keep(call);
            }
            return;
        };
        let mut edits = Edits::new();
        let settings = call.as_ref().map_or_else(|| Arc::clone(&self.settings), |call| Arc::clone(&call.settings));
        let local = settings.local(side.other());
        let mut relayed = Relayed {
            server,
            call: None,
            from: side,
            invite,
            plan: None,
            routes: forward::record_routes(message),
            contacts: Vec::new(),
            local: settings.local(side),
        };
        let to = match call {
            Some(mut call) => {
                let leg = call.leg_of(side);
                let to = leg.other();
                forward::edit_request(&mut edits, message, flow.peer, local, &branch, Some(&call.party[to]));
                relayed.plan = machine::rewrite_sdp(&call, message, leg, &mut edits).map(|said| (leg, said.plan));
                relayed.call = Some(call.id);
                let number = message.cseq().map_or(0, |cseq| cseq.number);
                call.party[to].cseq = call.party[to].cseq.max(number);
                if let (true, Ok(Some(contact))) = (invite, message.contact()) {
                    // A target refresh (RFC 3261 §12.2.2).
                    contact.uri.clone_into(&mut call.party[leg].target);
                }
                let flow = call.flow[to];
                self.keep(call);
                flow
            }
            None => {
                let target = message.request_uri().and_then(|uri| Some((uri, Uri::parse(uri).ok()?)));
                let Some((to, uri)) = target.and_then(|(uri, target)| self.next_hop(uri, &target, side, flow)) else {
                    self.transactions.release(client);
                    return self.reply(message, server, flow, StatusCode::NOT_FOUND, &[], now);
                };
                edits.push_on_top(message, &format!("Via: SIP/2.0/UDP {local};branch={branch};rport"));
                edits.stamp_via(message, flow.peer);
                let hops = message.max_forwards().ok().flatten().unwrap_or(70).saturating_sub(1);
                edits.set(message, Name::MaxForwards, &hops.to_string());
                edits.remove_all(message, Name::Route);
                edits.remove_all(message, Name::RecordRoute);
                edits.set_request_uri(message, &uri);
                for contact in message.contacts().filter_map(Result::ok).take(MAX_CONTACTS) {
                    let ours = forward::at_address(contact.uri, local);
                    edits.set_uri_at(message, contact.uri, &ours);
                    relayed.contacts.push((ours, contact.uri.to_owned()));
                }
                to
            }
        };
        let mut bytes = Vec::new();
        edits.apply(message, &mut bytes);
        self.transactions.send(client, &bytes, to, now);
        self.relayed_by_server.insert(server, client);
        self.relayed.insert(client, relayed);
    }

    fn response(&mut self, message: &Message<'_>, client: ClientId, now: Instant) {
        let Some(code) = message.status() else { return };
        if let Some(call) = self.clients.get(&client).copied().and_then(|id| self.take(id)) {
            return self.invite_response(call, message, code, now);
        }
        if let Some(relayed) = self.relayed.remove(&client) {
            self.relayed_response(message, code, &relayed, now);
            self.relayed.insert(client, relayed);
        } else if let (Some((flow, local)), true) = (self.orphans.get(&client).copied(), code.is_success()) {
            self.clean_up(message, flow, local, now);
        }
    }

    fn relayed_response(&mut self, message: &Message<'_>, code: StatusCode, relayed: &Relayed, now: Instant) {
        if code == StatusCode::TRYING {
            return;
        }
        let mut edits = Edits::new();
        match relayed.call.and_then(|id| self.take(id)) {
            Some(mut call) => {
                forward::edit_response(&mut edits, message, relayed.local, &relayed.routes);
                let from = call.leg_of(relayed.from.other());
                let said = machine::rewrite_sdp(&call, message, from, &mut edits);
                if let (true, Some(said)) = (code.is_success(), &said) {
                    call.on_hold = !said.both_ways;
                }
                let answer = said.map(|said| (from, said.plan));
                if code.is_success() {
                    for (leg, plan) in relayed.plan.iter().cloned().chain(answer) {
                        self.out(Output::Media(MediaCommand::Plan { call: call.id, leg, plan }));
                    }
                    if let (true, Ok(Some(contact))) = (relayed.invite, message.contact()) {
                        contact.uri.clone_into(&mut call.party[from].target);
                    }
                }
                self.keep(call);
            }
            None => {
                edits.pop_via(message);
                for contact in message.contacts().filter_map(Result::ok).take(MAX_CONTACTS) {
                    if let Some((_, theirs)) = relayed.contacts.iter().find(|(ours, _)| ours == contact.uri) {
                        edits.set_uri_at(message, contact.uri, theirs);
                    }
                }
            }
        }
        let mut bytes = Vec::new();
        edits.apply(message, &mut bytes);
        self.transactions.respond(relayed.server, code, &bytes, now);
    }

    /// A 2xx that nobody waits for: acknowledged and ended (RFC 3261 §13.2.2.4), so that no phone is left off the hook.
    fn clean_up(&mut self, message: &Message<'_>, flow: Flow, local: SocketAddr, now: Instant) {
        let value = |name| message.header(name).map_or("", |header| header.value).to_owned();
        let mut routes = forward::record_routes(message);
        routes.reverse();
        let number = message.cseq().map_or(1, |cseq| cseq.number);
        let target = message.contact().ok().flatten().map_or(String::new(), |contact| contact.uri.to_owned());
        let party = Party { remote: value(Name::To), local: value(Name::From), target, routes, cseq: number };
        let call_id = message.call_id();
        let Some((client, branch)) = self.transactions.reserve(ClientKind::NonInvite) else { return };
        let ack = forward::own_request(&party, call_id, "ACK", local, &format!("{branch}a"), number);
        self.transmit(flow, &ack);
        let bye = forward::own_request(&party, call_id, "BYE", local, &branch, number + 1);
        self.transactions.send(client, &bye, flow, now);
    }

    fn drain_transactions(&mut self, now: Instant) {
        while let Some(event) = self.transactions.poll_event() {
            match event {
                TransactionEvent::ClientTimeout(client) => {
                    if let Some(call) = self.clients.get(&client).copied().and_then(|id| self.take(id)) {
                        self.invite_timed_out(call, now);
                    } else if let Some(relayed) = self.relayed.get(&client) {
                        let server = relayed.server;
                        self.time_out(server, now);
                    }
                }
                TransactionEvent::NoAck(_) => {}
                TransactionEvent::ServerEnded(server) => {
                    self.by_server.remove(&server);
                    self.relayed_by_server.remove(&server);
                }
                TransactionEvent::ClientEnded(client) => {
                    self.clients.remove(&client);
                    self.orphans.remove(&client);
                    if let Some(relayed) = self.relayed.remove(&client) {
                        self.relayed_by_server.remove(&relayed.server);
                    }
                }
            }
        }
        while let Some(transmit) = self.transactions.poll_transmit() {
            self.outputs.push_back(Output::Transmit(transmit));
        }
    }

    /// The other side never answered a request that was passed on.
    fn time_out(&mut self, server: ServerId, now: Instant) {
        self.transactions.respond_from_request(server, StatusCode::REQUEST_TIMEOUT, now);
    }

    /// An answer of our own to a request.
    fn reply(
        &mut self,
        message: &Message<'_>,
        server: ServerId,
        flow: Flow,
        code: StatusCode,
        extra: &[&str],
        now: Instant,
    ) {
        let mut out = Vec::new();
        respond(message, code, flow.peer, Some("ringfence"), extra, &[], &mut out);
        self.transactions.respond(server, code, &out, now);
    }

    pub(super) fn out(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    pub(super) fn transmit(&mut self, flow: Flow, bytes: &[u8]) {
        self.outputs.push_back(Output::Transmit(Transmit { flow, bytes: bytes.into() }));
    }

    pub(super) fn happened(&mut self, call: &Call, at: Instant, event: Event) {
        self.outputs.push_back(Output::Happened(Happened { call: call.id, at, event }));
    }

    /// Takes a call out of its table to change it; `keep` or `forget` follows.
    fn take(&mut self, id: CallId) -> Option<Call> {
        let call = self.calls.remove(&id)?;
        if let Some(at) = call.deadline() {
            self.deadlines.remove(&(at, id));
        }
        Some(call)
    }

    pub(super) fn keep(&mut self, call: Call) {
        if let Some(at) = call.deadline() {
            self.deadlines.insert((at, call.id));
        }
        self.calls.insert(call.id, call);
    }

    pub(super) fn forget(&mut self, call: &Call) {
        self.by_call_id.remove(&call.call_id);
        self.by_server.remove(&call.server);
        if let Some(client) = call.client {
            self.clients.remove(&client);
        }
    }

    /// Our To tag of a call that we answer ourselves: nobody can guess it.
    pub(super) fn own_tag(&self, id: CallId) -> String {
        use std::hash::Hasher as _;

        let mut hasher = siphasher::sip::SipHasher24::new_with_key(&self.secret);
        hasher.write_u64(id.0);
        format!("rf{:016x}", hasher.finish())
    }

    fn next_id(&mut self) -> CallId {
        self.counter = self.counter.wrapping_add(1) & 0x00FF_FFFF;
        CallId(u64::from(self.shard) << 56 | u64::from(self.started) << 24 | u64::from(self.counter))
    }
}

/// The key in an INFO (application/dtmf-relay or application/dtmf).
fn dtmf_key(message: &Message<'_>) -> Option<char> {
    if message.method() != Some(Method::Info) {
        return None;
    }
    let kind = message.header(Name::ContentType)?.value.to_ascii_lowercase();
    let body = std::str::from_utf8(message.body()).ok()?;
    let text = if kind.starts_with("application/dtmf-relay") {
        body.lines().find_map(|line| line.trim().strip_prefix("Signal="))?
    } else if kind.starts_with("application/dtmf") {
        body
    } else {
        return None;
    };
    text.trim().chars().next().filter(|key| key.is_ascii_digit() || "*#ABCD".contains(*key))
}
