//! Dispatch: which call or transaction a message, an answer or a deadline belongs to.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use super::event::{Counters, EndReason, Event, Happened};
use super::farewell::Farewell;
use super::forward;
use super::input::{Input, Output, Sizes};
use super::large::NoStream;
use super::orphan::Orphan;
use super::relay::RelayedRequest;
use super::session::Question;
use super::settings::{Settings, Side};
use super::stand_in::ALLOW;
use super::state::{Call, Phase};
use super::table::{CallIds, TRANSACTIONS_A_CALL};
use super::trunks::Trunks;
use crate::policy::facts::Facts;
use crate::sip::flow::Flow;
use crate::sip::transaction::{
    Claim, ClientId, Received, ServerId, TransactionEvent, TransactionSettings, Transactions, Transmit,
};
use crate::sip::wire::{BadMessage, Edits, Index, Message, Method, Name, StatusCode, Uri, mended, respond};
use crate::units::{CallId, OwnMap, PerLeg};

/// What a request may ask of every proxy (RFC 3261 §20.29) and go on: a caller's number is kept from those who may not
/// have it (RFC 3323 §4.1), and what registrar and PBX have agreed on for their security (RFC 3329, with the media
/// plane of German trunks) passes with all its headers.
const PROXY_EXTENSIONS: [&str; 3] = ["privacy", "sec-agree", "mediasec"];
/// Longest texts of peers that are kept for records.
pub(super) const LONGEST_TEXT: usize = 128;

/// All calls of a shard.
#[derive(Debug)]
pub struct Switchboard {
    pub(super) settings: Arc<Settings>,
    pub(super) transactions: Transactions,
    pub(super) ids: CallIds,
    pub(super) secret: [u8; 16],
    pub(super) calls: OwnMap<CallId, Box<Call>>,
    pub(super) by_call_id: HashMap<Arc<str>, CallId>,
    /// Requests of each end inside calls, counted for as long as the first of them is kept.
    pub(super) asked: OwnMap<CallId, PerLeg<Option<(Instant, usize)>>>,
    pub(super) calls_of_trunk: HashMap<Arc<str>, usize>,
    /// Calls whose video has ports: as many as another call has.
    pub(super) videos: usize,
    /// Calls by the transaction of their INVITE.
    pub(super) by_server: OwnMap<ServerId, CallId>,
    /// Calls that wait for what comes of their callee's INVITE.
    pub(super) clients: OwnMap<ClientId, CallId>,
    /// By the transaction on the side that they went to.
    pub(super) relayed: OwnMap<ClientId, Box<RelayedRequest>>,
    pub(super) relayed_by_server: OwnMap<ServerId, ClientId>,
    pub(super) orphans: OwnMap<ClientId, Box<Orphan>>,
    /// BYEs that were challenged, the oldest first.
    pub(super) farewells: VecDeque<Farewell>,
    pub(super) questions: OwnMap<ClientId, Question>,
    pub(super) deadlines: BTreeSet<(Instant, CallId)>,
    /// The request that is being read.
    pub(super) in_hand: Option<ServerId>,
    /// None only while a message is being read.
    pub(super) index: Option<Box<Index>>,
    /// What the last message was edited with, for the next one.
    pub(super) edits: Edits,
    pub(super) outputs: VecDeque<Output>,
    pub(super) counters: Counters,
    /// No new calls but for emergencies.
    pub(super) draining: bool,
    /// Nor those: the last calls are being ended.
    pub(super) ending: bool,
    /// Changes of answered calls are told.
    pub(super) journals: bool,
    /// Calls that changed since the last input.
    pub(super) changed: Vec<CallId>,
    pub(super) trunks: Trunks,
    /// A call has met with silence at the PBX, and nothing has come from there since.
    pub(super) pbx_is_silent: bool,
    pub(super) no_stream: NoStream,
    /// When requests that are passed on outside any call are given up, where another next hop is left.
    pub(super) hurried: BTreeSet<(Instant, ClientId)>,
}

impl Switchboard {
    /// No calls yet. `started`: seconds since 1970, so that call names differ between runs; `secret`: random.
    #[must_use]
    pub fn new(shard: u8, started: u32, secret: [u8; 16], settings: Arc<Settings>) -> Self {
        let capacity = settings.max_calls.saturating_mul(TRANSACTIONS_A_CALL).max(256);
        Self {
            settings,
            transactions: Transactions::new(shard, secret, &TransactionSettings { capacity }),
            ids: CallIds::new(shard, started),
            secret,
            calls: OwnMap::default(),
            by_call_id: HashMap::new(),
            asked: OwnMap::default(),
            calls_of_trunk: HashMap::new(),
            videos: 0,
            by_server: OwnMap::default(),
            clients: OwnMap::default(),
            relayed: OwnMap::default(),
            relayed_by_server: OwnMap::default(),
            orphans: OwnMap::default(),
            farewells: VecDeque::new(),
            questions: OwnMap::default(),
            deadlines: BTreeSet::new(),
            in_hand: None,
            index: None,
            edits: Edits::new(),
            outputs: VecDeque::new(),
            counters: Counters::default(),
            draining: false,
            ending: false,
            journals: false,
            changed: Vec::new(),
            trunks: Trunks::new(secret),
            pbx_is_silent: false,
            no_stream: NoStream::new(),
            hurried: BTreeSet::new(),
        }
    }

    /// Takes one input; then drain [`Switchboard::poll_output`].
    pub fn handle_input(&mut self, input: Input<'_>, now: Instant) {
        match input {
            Input::Message { bytes, flow } => self.bytes(bytes, flow, now),
            Input::BadFrame { head, error, flow } => self.bad_frame(head, error, flow),
            Input::Unsent { bytes } => self.transactions.unsent(bytes, now),
            Input::Ended { hop } => {
                self.transactions.lost_way(hop, now);
                self.trunks.lost_way(hop, now);
            }
            Input::Consulted { call, over_limit, dialled_before, hour, weekday } => {
                let Some(mut call) = self.take(call) else { return };
                let Phase::Consulting = call.phase else { return self.keep(call) };
                call.facts = Facts { over_limit, dialled_before, hour, weekday, ..call.facts };
                self.consulted(call, now);
            }
            Input::Media { call, event } => {
                let video = call.of_video();
                match (self.take(video.unwrap_or(call)), video) {
                    (Some(call), None) => self.media(call, event, now),
                    (Some(call), Some(_)) => self.video(call, event, now),
                    (None, _) => {}
                }
            }
            Input::Judged { call, verdict } => {
                if let Some(call) = self.take(call) {
                    self.judged(call, verdict, now);
                }
            }
            Input::Start => self.set_trunks(now),
            Input::Settings(settings) => self.new_settings(settings, now),
            Input::Awake => {
                self.trunks.renew(now);
                self.trunks_due(now);
            }
            Input::HangUp { call } => {
                if let Some(call) = self.take(call) {
                    self.hang_up(call, EndReason::HungUp, now);
                }
            }
            Input::Divert { call } => {
                if let Some(call) = self.take(call) {
                    self.divert_by_order(call, now);
                }
            }
            Input::Restore { snapshot, age } => self.restore(*snapshot, age, now),
            Input::Lost { snapshot } => self.end_lost(*snapshot, now),
            Input::Drain => {
                self.draining = true;
                self.unregister(now);
            }
            Input::EndAll => self.drain(|_| true, now),
            Input::EndUnanswered => self.drain(|call| call.answered.is_none(), now),
        }
        self.drain_transactions(now);
        self.journal(now);
    }

    /// Calls that began before keep what they began with; whoever is no trunk's any more is known as long as its call
    /// is.
    fn new_settings(&mut self, settings: Arc<Settings>, now: Instant) {
        let before = std::mem::replace(&mut self.settings, Arc::clone(&settings));
        let ours = |settings: &Settings, registrar| settings.local(Side::Outside, registrar);
        self.trunks.renew_address(|registrar| ours(&before, registrar) != ours(&settings, registrar), now);
        let calls: Vec<CallId> = self.calls.keys().copied().collect();
        for id in calls {
            if let Some(mut call) = self.take(id) {
                self.host_guests(&mut call);
                self.keep(call);
            }
        }
        self.set_trunks(now);
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.transactions.handle_timeout(now);
        if self.trunks.poll_timeout().is_some_and(|at| at <= now) {
            self.trunks_due(now);
        }
        while let Some((at, id)) = self.deadlines.first().copied().filter(|(at, _)| *at <= now) {
            self.deadlines.remove(&(at, id));
            if let Some(mut call) = self.take(id) {
                call.due = None;
                self.call_due(call, now);
            }
        }
        self.relayed_due(now);
        self.drain_transactions(now);
        self.journal(now);
    }

    /// What should happen next; until None, after every `handle_*`.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call [`Switchboard::handle_timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let call = self.deadlines.first().map(|(at, _)| *at);
        let hurried = self.hurried.first().map(|(at, _)| *at);
        [call, hurried, self.transactions.poll_timeout(), self.trunks.poll_timeout()].into_iter().flatten().min()
    }

    /// Whether an order takes this call away: not where it is not answered, or has been taken away.
    #[must_use]
    pub fn may_divert(&self, call: CallId) -> bool {
        self.calls.get(&call).is_some_and(|call| call.may_be_diverted())
    }

    /// Calls that are not answered yet.
    #[must_use]
    pub fn unanswered(&self) -> usize {
        self.calls.values().filter(|call| call.answered.is_none()).count()
    }

    /// Calls, and requests of ours that wait for a final answer.
    #[must_use]
    pub fn unfinished(&self) -> usize {
        self.calls.len() + self.transactions.waiting()
    }

    /// Live entries.
    #[must_use]
    pub fn sizes(&self) -> Sizes {
        let (server_transactions, client_transactions) = self.transactions.counts();
        Sizes {
            calls: self.calls.len(),
            relayed: self.relayed.len(),
            orphans: self.orphans.len(),
            questions: self.questions.len(),
            server_transactions,
            client_transactions,
            trunk_requests: self.trunks.pending(),
            guests: self.trunks.guests.len(),
        }
    }

    /// Counted facts.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Hangs up those calls that must not go on, and takes no new ones.
    fn drain(&mut self, which: impl Fn(&Call) -> bool, now: Instant) {
        (self.draining, self.ending) = (true, true);
        let ids: Vec<CallId> = self.calls.values().filter(|call| which(call)).map(|call| call.id).collect();
        for id in ids {
            if let Some(call) = self.take(id) {
                self.hang_up(call, EndReason::Drained, now);
            }
        }
    }

    /// True for a trunk or the PBX: all others get silence, because an answer would tell a scanner that somebody is
    /// here.
    pub fn knows(&mut self, source: SocketAddr) -> bool {
        let known = self.side_of(source).is_some();
        if !known {
            self.is_strange(source);
        }
        known
    }

    fn is_strange(&mut self, source: SocketAddr) {
        self.counters.unknown_source += 1;
        self.counters.stranger = Some(source);
    }

    /// True for a message that is not met with silence.
    #[must_use]
    pub fn expects(&self, source: SocketAddr, bytes: &[u8]) -> bool {
        self.side_of_message(source, bytes).is_some()
    }

    /// True for a call of the PBX for help, seen before the message is read: it goes first.
    #[must_use]
    pub fn asks_for_help(&self, source: SocketAddr, bytes: &[u8]) -> bool {
        if self.settings.side_of(source) != Some(Side::Inside) {
            return false;
        }
        let start = bytes.split(|byte| *byte == b'\r').next().unwrap_or_default();
        let uri = start.strip_prefix(b"INVITE ").and_then(|rest| rest.split(|byte| *byte == b' ').next());
        let uri = uri.filter(|uri| uri.len() <= LONGEST_TEXT).and_then(|uri| std::str::from_utf8(uri).ok());
        uri.is_some_and(|uri| self.settings.is_for_help(uri))
    }

    /// True for a message that asks for a contact that we registered, from a source that no setting names: a trunk has
    /// told it where we are.
    #[must_use]
    pub fn vouches(&self, source: SocketAddr, bytes: &[u8]) -> bool {
        self.settings.side_of(source).is_none() && self.trunks.registered_contact(bytes).is_some()
    }

    /// Whoever asks for a contact that we registered, and that nobody can guess, comes from that trunk. What we ask a
    /// trunk is answered from there, whether or not its calls may come from there.
    fn side_of_message(&self, source: SocketAddr, bytes: &[u8]) -> Option<Side> {
        let answers = || bytes.starts_with(b"SIP/2.0 ") && self.settings.is_target(source.ip());
        let contact = || answers() || self.trunks.registered_contact(bytes).is_some();
        self.side_of(source).or_else(|| contact().then_some(Side::Outside))
    }

    pub(super) fn side_of(&self, source: SocketAddr) -> Option<Side> {
        self.settings.side_of(source).or_else(|| self.trunks.guests.side(source.ip()))
    }

    fn bytes(&mut self, bytes: &[u8], flow: Flow, now: Instant) {
        let Some(side) = self.side_of_message(flow.peer, bytes) else {
            return self.is_strange(flow.peer);
        };
        if side == Side::Inside {
            self.pbx_spoke(false, now);
        }
        let mut index = self.index.take().unwrap_or_default();
        let settings = Arc::clone(&self.settings);
        match index.read(bytes, &settings.wire_limits) {
            Ok(message) => self.message(&message, flow.of_request(&message), side, now),
            Err(bad) => self.mend(bytes, &mut index, bad, flow, side, now),
        }
        self.index = Some(index);
    }

    /// A message as telephones write it that nobody can change any more: what they mean is plain, and costs nobody the
    /// call. All behind us read what has been mended.
    fn mend(&mut self, bytes: &[u8], index: &mut Index, mut bad: BadMessage, flow: Flow, side: Side, now: Instant) {
        let limits = &Arc::clone(&self.settings).wire_limits;
        let mut text = Cow::Borrowed(bytes);
        if bad == BadMessage::BadByte {
            text = mended(bytes).map_or(text, Cow::Owned);
            match index.read(&text, limits) {
                Ok(message) => return self.message(&message, flow.of_request(&message), side, now),
                Err(other) => bad = other,
            }
        }
        if let (BadMessage::Address | BadMessage::Uri | BadMessage::Via, Some(tidy)) = (bad, index.tidied(&text)) {
            text = Cow::Owned(tidy);
            match index.read(&text, limits) {
                Ok(message) => return self.message(&message, flow.of_request(&message), side, now),
                Err(other) => bad = other,
            }
        }
        self.refuse_message(index.salvage(&text), bad, flow);
    }

    fn bad_frame(&mut self, head: &[u8], error: BadMessage, flow: Flow) {
        if !self.knows(flow.peer) {
            return;
        }
        let mut index = self.index.take().unwrap_or_default();
        // It is bad, whatever it looks like by itself: only what can be answered is of interest.
        let _ = index.read(head, &self.settings.wire_limits);
        self.refuse_message(index.salvage(head), error, flow);
        self.index = Some(index);
    }

    /// What cannot be read is counted, and its sender told where that is possible.
    fn refuse_message(&mut self, salvaged: Option<Message<'_>>, bad: BadMessage, flow: Flow) {
        *self.counters.bad_message.entry(bad.label()).or_default() += 1;
        if let (Some(code), Some(request)) = (bad.reply(), salvaged) {
            let mut out = Vec::new();
            respond(&request, code, flow.peer, Some("bad"), &[], &[], &mut out);
            self.transmit(flow.of_request(&request), &out);
        }
    }

    fn message(&mut self, message: &Message<'_>, flow: Flow, side: Side, now: Instant) {
        let claim = match side {
            _ if message.method().is_some()
                && let Some(call) = self.inside(message, side) =>
            {
                self.claim_of(call, side, now)
            }
            _ if self.is_emergency(message, side) && self.takes(None, true) => Claim::OfCall,
            Side::Inside => Claim::Ours,
            Side::Outside => Claim::Others,
        };
        let flow = self.as_asked(message, flow, side);
        if side == Side::Outside && message.method().is_some() {
            self.has_called(flow.hop(), now);
        }
        match self.transactions.receive(message, claim, flow, now) {
            Received::Absorbed => self.repeated_success(message, side, now),
            Received::Full => {
                self.counters.table_full += 1;
                // A datagram comes again, when there may be room. On a connection nothing does.
                if flow.transport.is_reliable() {
                    let mut out = Vec::new();
                    let (code, later) = (StatusCode::SERVICE_UNAVAILABLE, ["Retry-After: 30"]);
                    respond(message, code, flow.peer, Some("full"), &later, &[], &mut out);
                    self.transmit(flow, &out);
                }
            }
            Received::Request(server) => {
                self.in_hand = Some(server);
                self.request(message, server, flow, side, now);
                self.in_hand = None;
            }
            Received::AckToSuccess => match self.inside(message, side).and_then(|id| self.take(id)) {
                Some(call) => {
                    let leg = call.leg_of(side);
                    self.ack(call, message, leg, now);
                }
                None => self.counters.stray += 1,
            },
            Received::Cancel { invite: Some(server) } => {
                if let Some(call) = self.by_server.get(&server).copied().and_then(|id| self.take(id)) {
                    self.cancelled(call, message, now);
                } else if let Some(client) = self.relayed_by_server.get(&server).copied() {
                    let reasons = forward::reasons(message);
                    let lines: Vec<&str> = reasons.iter().map(String::as_str).collect();
                    self.transactions.cancel(client, &lines, now);
                } else {
                    self.cancel_waiting(message, server, now);
                }
            }
            Received::Cancel { invite: None } => {}
            Received::Response(client) => self.response(message, client, now),
        }
    }

    /// A response as if it came from where its request went. A host with several addresses, or one that has taken over
    /// another's, answers from whichever its system picks; it is believed where both are of one trunk, or of the PBX.
    fn as_asked(&self, message: &Message<'_>, flow: Flow, side: Side) -> Flow {
        let asked = message.status().and_then(|_| self.transactions.asked(message));
        let Some(asked) = asked.filter(|asked| asked.peer.ip() != flow.peer.ip()) else { return flow };
        let settings = &self.settings;
        let trunk = |peer: SocketAddr| settings.trunk_of(peer.ip()).map(|trunk| &trunk.name);
        let one_side = [asked.peer, flow.peer].iter().all(|peer| settings.side_of(*peer) == Some(side));
        let one = one_side && (side == Side::Inside || trunk(asked.peer) == trunk(flow.peer));
        if one { Flow { peer: asked.peer, ..flow } } else { flow }
    }

    fn request(&mut self, message: &Message<'_>, server: ServerId, flow: Flow, side: Side, now: Instant) {
        let Some(method) = message.method() else { return };
        if message.max_forwards() == Ok(Some(0)) {
            if method == Method::Options && self.is_for_us(message) {
                // Gateways ask so whether we are there, and nobody behind us (RFC 3261 §16.3).
                return self.reply(message, server, flow, StatusCode::OK, &[ALLOW], now);
            }
            return self.reply(message, server, flow, StatusCode::TOO_MANY_HOPS, &[], now);
        }
        if self.transactions.has_been_here(message) {
            return self.reply(message, server, flow, StatusCode::LOOP_DETECTED, &[], now);
        }
        let known = |token: &&str| PROXY_EXTENSIONS.iter().any(|known| token.eq_ignore_ascii_case(known));
        let strange = message.tokens(Name::ProxyRequire).find(|token| !known(token));
        if let Some(token) = strange.filter(|_| !self.is_emergency(message, side)) {
            let line = format!("Unsupported: {token}");
            return self.reply(message, server, flow, StatusCode::BAD_EXTENSION, &[&line], now);
        }
        let in_dialog = message.to().is_ok_and(|to| to.tag().is_some());
        if !in_dialog && self.may_only_call(message, flow) {
            return self.reply(message, server, flow, StatusCode::FORBIDDEN, &[], now);
        }
        match (method, in_dialog) {
            (_, true) => self.in_dialog(message, server, flow, side, now),
            (Method::Invite, false) => self.new_call(message, server, flow, side, now),
            (Method::Bye | Method::Prack | Method::Update | Method::Info, false) => {
                self.reply(message, server, flow, StatusCode::NO_SUCH_CALL, &[], now);
            }
            (Method::Options, false) if self.is_for_us(message) => {
                self.reply(message, server, flow, StatusCode::OK, &[ALLOW], now);
            }
            (Method::Ack | Method::Cancel | Method::Options | Method::Register | Method::Other(_), false) => {
                self.relay(message, server, flow, side, None, now);
            }
        }
    }

    /// True for a sender that is known for a running call, and for nothing else.
    pub(super) fn may_only_call(&self, message: &Message<'_>, flow: Flow) -> bool {
        self.settings.side_of(flow.peer).is_none() && self.trunks.registered_contact(message.bytes()).is_none()
    }

    /// An OPTIONS without a user asks the element itself (RFC 3261 §11).
    pub(super) fn is_for_us(&self, message: &Message<'_>) -> bool {
        message.request_uri().and_then(|uri| Uri::parse(uri).ok()).is_some_and(|uri| uri.user.is_none())
    }

    pub(super) fn drain_transactions(&mut self, now: Instant) {
        while let Some(event) = self.transactions.poll_event() {
            match event {
                TransactionEvent::ClientTimeout(client) => self.client_timed_out(client, now),
                TransactionEvent::ClientUnsent(client) => self.client_unsent(client, now),
                TransactionEvent::FellBack(client) => self.fell_back(client, now),
                TransactionEvent::ServerEnded(server) => {
                    self.by_server.remove(&server);
                    self.relayed_by_server.remove(&server);
                }
                TransactionEvent::ClientEnded(client) => self.client_ended(client),
            }
        }
        while let Some(transmit) = self.transactions.poll_transmit() {
            self.outputs.push_back(Output::Transmit(transmit));
        }
    }

    fn client_timed_out(&mut self, client: ClientId, now: Instant) {
        if self.own_silence(client, now) {
            return;
        }
        if let Some(call) = self.take_by_client(client) {
            self.invite_timed_out(call, now);
        } else {
            self.relayed_lost(client, StatusCode::REQUEST_TIMEOUT, now);
        }
        self.question_answered(client, None, now);
    }

    fn client_unsent(&mut self, client: ClientId, now: Instant) {
        if self.own_silence(client, now) {
            return;
        }
        if let Some(call) = self.take_by_client(client) {
            self.invite_unsent(call, now);
        } else if !self.relay_again(client, now) {
            self.relayed_lost(client, StatusCode::SERVICE_UNAVAILABLE, now);
        }
        self.question_answered(client, None, now);
    }

    /// Nothing will come of a request that was passed on: whoever sent it hears this.
    fn relayed_lost(&mut self, client: ClientId, code: StatusCode, now: Instant) {
        let Some(relayed) = self.relayed.get(&client) else { return };
        self.transactions.respond_from_request(relayed.server, code, now);
        self.offer_lost(client);
    }

    fn client_ended(&mut self, client: ClientId) {
        self.clients.remove(&client);
        self.orphans.remove(&client);
        self.trunks.forget(client);
        self.questions.remove(&client);
        if let Some(relayed) = self.relayed.remove(&client) {
            self.relayed_by_server.remove(&relayed.server);
            self.stay(client, relayed.again);
        }
    }

    /// An answer of our own to a request.
    pub(super) fn reply(
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

    /// An empty list of edits, with the memory of the last one.
    pub(super) fn blank_edits(&mut self) -> Edits {
        let mut edits = std::mem::take(&mut self.edits);
        edits.clear();
        edits
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
}
