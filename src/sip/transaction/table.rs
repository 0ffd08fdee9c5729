//! Both tables, their deadlines and queues: the face of the transaction layer.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::client::{self, Client, Disposition, Fallback};
use super::deadlines::{Deadlines, MOST_SLOTS, Who};
use super::key::{Keys, ServerKey};
use super::server::{self, Server};
use super::slab::Slab;
use super::{Claim, ClientId, ClientKind, Received, ServerId, TransactionEvent, Transmit, derive};
use crate::sip::flow::{Flow, Hop};
use crate::sip::wire::{Message, Method, StatusCode, respond};
use crate::units::OwnMap;

/// A peer may hold so many times as many server transactions as there is room left: one that floods leaves a fifth of
/// the table, two leave a ninth (dynamic thresholds, Choudhury and Hahne 1998).
const SHARE: usize = 4;
/// An INVITE to which a connection brings nothing for this long goes as a datagram: a lost SYN has been repeated once
/// by then, and where a next hop is given up after two seconds, the datagram can still be answered.
pub const NO_STREAM: Duration = Duration::from_millis(1_500);
/// So many it may hold in any case, where there is room for what is of its kind.
const FEW: usize = 64;

/// How large the tables may grow.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TransactionSettings {
    /// Server transactions, and client transactions, at most.
    pub capacity: usize,
}

/// Whose share a request takes; true: it came on a connection.
fn holder(flow: Flow) -> (IpAddr, bool) {
    (flow.peer.ip(), flow.transport.is_reliable())
}

/// All transactions of a shard.
#[derive(Debug)]
pub struct Transactions {
    keys: Keys,
    servers: Slab<Server>,
    /// Keys are hashes with our secret.
    by_key: OwnMap<ServerKey, ServerId>,
    /// Server transactions of each peer: what came on connections, and what anybody may have sent in its name.
    held: HashMap<(IpAddr, bool), usize>,
    clients: Slab<Client>,
    deadlines: Deadlines,
    transmits: VecDeque<Transmit>,
    events: VecDeque<TransactionEvent>,
}

impl Transactions {
    /// Empty tables. `shard` and `secret` go into every branch we mint.
    #[must_use]
    pub fn new(shard: u8, secret: [u8; 16], settings: &TransactionSettings) -> Self {
        let capacity = settings.capacity.min(MOST_SLOTS);
        Self {
            keys: Keys::new(shard, secret),
            servers: Slab::new(capacity),
            by_key: OwnMap::default(),
            held: HashMap::new(),
            clients: Slab::new(capacity),
            deadlines: Deadlines::default(),
            transmits: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// Says what a message is, and absorbs what needs no owner. `claim`: which part of the table it may have.
    pub fn receive(&mut self, message: &Message<'_>, claim: Claim, flow: Flow, now: Instant) -> Received {
        match (message.method(), message.status()) {
            (Some(method), _) => self.receive_request(message, method, claim, flow, now),
            (None, Some(code)) => self.receive_response(message, code, flow, now),
            (None, None) => Received::Absorbed,
        }
    }

    fn receive_request(
        &mut self,
        message: &Message<'_>,
        method: Method<'_>,
        claim: Claim,
        flow: Flow,
        now: Instant,
    ) -> Received {
        let Some(key) = self.keys.server(message, method) else { return Received::Absorbed };
        if let Some(id) = self.by_key.get(&key).copied() {
            return self.receive_repeated(id, method, flow, now);
        }
        if method == Method::Ack {
            return Received::AckToSuccess;
        }
        // A tag alone makes nobody a party to a call: anyone can invent one.
        if claim != Claim::OfCall && !self.has_share(flow, claim) {
            return Received::Full;
        }
        match method {
            Method::Cancel => {
                let invite = self.keys.server(message, Method::Invite).and_then(|key| self.by_key.get(&key).copied());
                let invite = invite.filter(|id| self.same_peer(*id, flow));
                let code = if invite.is_some() { StatusCode::OK } else { StatusCode::NO_SUCH_CALL };
                let Some(id) = self.insert_server(key, Server::request(key, flow, message.bytes(), now)) else {
                    return Received::Full;
                };
                let mut out = Vec::new();
                respond(message, code, flow.peer, Some("cancel"), &[], &[], &mut out);
                self.respond(id, code, &out, now);
                let waits = |id: &ServerId| self.server(*id).is_some_and(Server::is_cancellable);
                Received::Cancel { invite: invite.filter(waits) }
            }
            Method::Invite => {
                let server = Server::invite(key, flow, message.bytes(), now);
                self.insert_server(key, server).map_or(Received::Full, Received::Request)
            }
            Method::Ack
            | Method::Bye
            | Method::Options
            | Method::Register
            | Method::Prack
            | Method::Update
            | Method::Info
            | Method::Other(_) => {
                let server = Server::request(key, flow, message.bytes(), now);
                self.insert_server(key, server).map_or(Received::Full, Received::Request)
            }
        }
    }

    /// A repetition, or an ACK. A stranger who guesses a branch learns nothing: the peer's address must be the first
    /// one's.
    fn receive_repeated(&mut self, id: ServerId, method: Method<'_>, flow: Flow, now: Instant) -> Received {
        if !self.same_peer(id, flow) {
            return Received::Absorbed;
        }
        if method == Method::Ack {
            let to_success = self.change_server(id, |server| server.ack(now)).unwrap_or(false);
            return if to_success { Received::AckToSuccess } else { Received::Absorbed };
        }
        if let Some(bytes) = self.server(id).and_then(Server::repeated) {
            self.transmits.push_back(Transmit { flow, bytes });
        }
        Received::Absorbed
    }

    fn receive_response(&mut self, message: &Message<'_>, code: StatusCode, flow: Flow, now: Instant) -> Received {
        let branch = message.via().ok().and_then(|via| via.branch());
        let Some(id) = branch.and_then(|branch| self.keys.client(branch)) else { return Received::Absorbed };
        let Some(client) = self.clients.get(id.slot, id.generation) else { return Received::Absorbed };
        let Some(to) = client.sent else { return Received::Absorbed };
        if to.peer.ip() != flow.peer.ip() {
            return Received::Absorbed;
        }
        let Ok(cseq) = message.cseq() else { return Received::Absorbed };
        if client.kind == ClientKind::Invite && cseq.method == Method::Cancel {
            self.change_client(id, |client| client.take_cancel_response(code));
            return Received::Absorbed;
        }
        if (client.kind == ClientKind::Invite) != (cseq.method == Method::Invite) {
            return Received::Absorbed;
        }
        match self.change_client(id, |client| client.take_response(code, now)) {
            Some(Disposition::Deliver) => {
                if let Some(Some(bytes)) = self.change_client(id, |client| client.release_cancel(now)) {
                    self.transmits.push_back(Transmit { flow: to, bytes });
                }
                Received::Response(id)
            }
            Some(Disposition::DeliverAndAck) => {
                let request = self.clients.get(id.slot, id.generation).and_then(|client| client.request.as_deref());
                let ack = request.and_then(|request| derive::ack(request, message));
                let ack: Option<Arc<[u8]>> = ack.map(Into::into);
                self.transmits.extend(ack.clone().map(|bytes| Transmit { flow: to, bytes }));
                self.change_client(id, |client| client.complete(ack, now));
                Received::Response(id)
            }
            Some(Disposition::Ack(bytes)) => {
                self.transmits.push_back(Transmit { flow: to, bytes });
                Received::Absorbed
            }
            Some(Disposition::Absorb) | None => Received::Absorbed,
        }
    }

    /// Which way the request of ours went that `response` answers by its branch.
    #[must_use]
    pub fn asked(&self, response: &Message<'_>) -> Option<Flow> {
        let id = self.keys.client(response.via().ok()?.branch()?)?;
        self.clients.get(id.slot, id.generation)?.sent
    }

    /// True if a Via of `message` carries a branch that we minted: it has been here before.
    #[must_use]
    pub fn has_been_here(&self, message: &Message<'_>) -> bool {
        message
            .vias()
            .filter_map(Result::ok)
            .any(|via| via.branch().is_some_and(|branch| self.keys.client(branch).is_some()))
    }

    /// Reserves a client transaction and its branch, which goes into our Via before [`Transactions::send`]. None: full.
    pub fn reserve(&mut self, kind: ClientKind) -> Option<(ClientId, String)> {
        let (slot, generation) = self.clients.insert(Client::reserved(kind))?;
        let id = ClientId { slot, generation };
        Some((id, self.keys.branch(id, kind)))
    }

    /// Gives a reservation back unused.
    pub fn release(&mut self, id: ClientId) {
        self.remove_client(id);
    }

    /// Sends a reserved request, and repeats it as its timers ask.
    pub fn send(&mut self, id: ClientId, bytes: &[u8], flow: Flow, now: Instant) {
        let bytes: Arc<[u8]> = bytes.into();
        if self.change_client(id, |client| client.send(flow, Arc::clone(&bytes), now)).is_some() {
            self.transmits.push_back(Transmit { flow, bytes });
        }
    }

    /// The same over a connection, and over UDP as `datagram` where that brings nothing.
    pub fn send_or(&mut self, id: ClientId, stream: (&[u8], Flow), datagram: (&[u8], Flow), now: Instant) {
        let (bytes, flow) = datagram;
        self.change_client(id, |client| {
            let at = (client.kind == ClientKind::Invite).then_some(now + NO_STREAM);
            client.fallback = Some(Box::new(Fallback { flow, bytes: bytes.into(), at }));
        });
        self.send(id, stream.0, stream.1, now);
    }

    /// It has gone over a connection, and goes as a datagram [`NO_STREAM`] later where that brings nothing.
    #[must_use]
    pub fn has_another_way(&self, id: ClientId) -> bool {
        self.clients.get(id.slot, id.generation).is_some_and(|client| client.fallback.is_some())
    }

    /// A request of ours as it was sent, and which way. None: it has succeeded, or never was.
    #[must_use]
    pub fn sent(&self, id: ClientId) -> Option<(Flow, Arc<[u8]>)> {
        let client = self.clients.get(id.slot, id.generation)?;
        client.sent.zip(client.request.clone())
    }

    /// Cancels an INVITE of ours: now, or once a 1xx has come. `extra`: header lines such as Reason. If nothing final
    /// follows within 64*T1, the INVITE times out.
    pub fn cancel(&mut self, invite: ClientId, extra: &[&str], now: Instant) {
        let Some((flow, request)) = self.sent(invite) else { return };
        let Some(bytes) = derive::cancel(&request, extra) else { return };
        if let Some(Some(bytes)) = self.change_client(invite, |client| client.ask_cancel(bytes.into(), now)) {
            self.transmits.push_back(Transmit { flow, bytes });
        }
    }

    /// Bytes of ours did not leave. A request that waits for its answer will have none (RFC 3261 §17.1.4); the rest (an
    /// ACK, a CANCEL, an answer) is repeated by whoever misses it.
    pub fn unsent(&mut self, bytes: &[u8], now: Instant) {
        let Some(branch) = derive::own_branch(bytes) else { return };
        let Some(id) = self.keys.client(&branch) else { return };
        if let Some(Some(bytes)) = self.change_client(id, |client| client.fall_back(now)) {
            self.fell_back(id, bytes);
        } else if self
            .clients
            .get(id.slot, id.generation)
            .is_some_and(|client| client.is_waiting() && !client.fell_back)
        {
            self.events.push_back(TransactionEvent::ClientUnsent(id));
            self.remove_client(id);
        }
    }

    /// A connection to `hop` has ended that we had opened. What has not left is told with [`Transactions::unsent`],
    /// before the next [`Transactions::handle_timeout`]; what has may not have arrived (a peer that began anew, or that
    /// closed an idle connection meanwhile), and whoever has read it knows its branch: it goes once more.
    pub fn lost_way(&mut self, hop: Hop, now: Instant) {
        let waiting = self.clients.iter().filter(|(_, client)| client.is_waiting());
        let waiting: Vec<(u32, u32)> = waiting.map(|(id, _)| id).collect();
        for (slot, generation) in waiting {
            self.change_client(ClientId { slot, generation }, |client| client.lose_way(hop, now));
        }
    }

    /// Answers. 1xx may come many times, a final answer once; later ones are ignored. A 2xx to an INVITE is repeated by
    /// its owner, who calls this again with it.
    pub fn respond(&mut self, id: ServerId, code: StatusCode, bytes: &[u8], now: Instant) {
        let bytes: Arc<[u8]> = bytes.into();
        let answered =
            self.change_server(id, |server| server.respond(code, Arc::clone(&bytes), now).then_some(server.flow));
        if let Some(Some(flow)) = answered {
            self.transmits.push_back(Transmit { flow, bytes });
        }
    }

    /// Answers with a bare `code`, made from the request's own bytes.
    pub fn respond_from_request(&mut self, id: ServerId, code: StatusCode, now: Instant) {
        let Some(server) = self.server(id) else { return };
        let Some(request) = &server.request else { return };
        if let Some(bytes) = derive::response(request, code, server.flow) {
            self.respond(id, code, &bytes, now);
        }
    }

    /// Takes up the transaction of an INVITE that another process answered with a 2xx, `answered` then. None: it is
    /// over, or the table is full.
    pub fn resume_accepted(
        &mut self,
        invite: &Message<'_>,
        flow: Flow,
        answered: Instant,
        now: Instant,
    ) -> Option<ServerId> {
        let key = self.keys.server(invite, Method::Invite)?;
        let server = Server::accepted(key, flow, answered);
        let over = server.deadline().is_some_and(|until| until <= now);
        if over || self.by_key.contains_key(&key) {
            return None;
        }
        self.insert_server(key, server)
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(who) = self.deadlines.pop(now) {
            match who {
                Who::Server(slot, generation) => self.server_due(ServerId { slot, generation }, now),
                Who::Client(slot, generation) => self.client_due(ClientId { slot, generation }, now),
            }
        }
    }

    fn server_due(&mut self, id: ServerId, now: Instant) {
        let Some(server) = self.servers.get_mut(id.slot, id.generation) else { return };
        let step = server.handle_timeout(now);
        let (flow, last) = (server.flow, server.last_response.clone());
        self.deadlines.set(Who::Server(id.slot, id.generation), None, server.deadline());
        match step {
            server::Step::Nothing => {}
            server::Step::Repeat => self.transmits.extend(last.map(|bytes| Transmit { flow, bytes })),
            server::Step::SendTrying(request) => {
                let bytes: Option<Arc<[u8]>> = derive::response(&request, StatusCode::TRYING, flow).map(Into::into);
                if let Some(server) = self.servers.get_mut(id.slot, id.generation) {
                    server.last_response.clone_from(&bytes);
                }
                self.transmits.extend(bytes.map(|bytes| Transmit { flow, bytes }));
            }
            server::Step::End => self.remove_server(id),
        }
    }

    fn client_due(&mut self, id: ClientId, now: Instant) {
        let Some(client) = self.clients.get_mut(id.slot, id.generation) else { return };
        let step = client.handle_timeout(now);
        let flow = client.sent;
        self.deadlines.set(Who::Client(id.slot, id.generation), None, client.deadline());
        match step {
            client::Step::Nothing => {}
            client::Step::Send(bytes) => self.transmits.extend(flow.map(|flow| Transmit { flow, bytes })),
            client::Step::FellBack(bytes) => self.fell_back(id, bytes),
            client::Step::TimedOut => {
                self.events.push_back(TransactionEvent::ClientTimeout(id));
                self.remove_client(id);
            }
            client::Step::End => self.remove_client(id),
        }
    }

    fn fell_back(&mut self, id: ClientId, bytes: Arc<[u8]>) {
        if let Some((flow, _)) = self.sent(id) {
            self.transmits.push_back(Transmit { flow, bytes });
        }
        self.events.push_back(TransactionEvent::FellBack(id));
    }

    /// When to call [`Transactions::handle_timeout`] next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.deadlines.next()
    }

    /// Next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// Next event.
    pub fn poll_event(&mut self) -> Option<TransactionEvent> {
        self.events.pop_front()
    }

    /// Requests of ours that wait for a final answer.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.clients.iter().filter(|(_, client)| client.is_waiting()).count()
    }

    /// Live server and client transactions; 0 and 0 after a soak.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        (self.servers.len(), self.clients.len())
    }

    fn server(&self, id: ServerId) -> Option<&Server> {
        self.servers.get(id.slot, id.generation)
    }

    fn same_peer(&self, id: ServerId, flow: Flow) -> bool {
        self.server(id).is_some_and(|server| server.flow.peer.ip() == flow.peer.ip())
    }

    fn has_share(&self, flow: Flow, claim: Claim) -> bool {
        let held = self.held.get(&holder(flow)).copied().unwrap_or(0);
        let room = self.servers.room().saturating_sub(claim.leaves(self.servers.capacity()));
        // Other calls of its peer are no part of that one's share.
        room > 0 && (claim == Claim::OfBusyCall || held < FEW || held < SHARE * room)
    }

    fn insert_server(&mut self, key: ServerKey, server: Server) -> Option<ServerId> {
        let (deadline, holder) = (server.deadline(), holder(server.flow));
        let (slot, generation) = self.servers.insert(server)?;
        *self.held.entry(holder).or_default() += 1;
        let id = ServerId { slot, generation };
        self.by_key.insert(key, id);
        self.deadlines.set(Who::Server(slot, generation), None, deadline);
        Some(id)
    }

    fn change_server<T>(&mut self, id: ServerId, change: impl FnOnce(&mut Server) -> T) -> Option<T> {
        let server = self.servers.get_mut(id.slot, id.generation)?;
        let old = server.deadline();
        let result = change(server);
        self.deadlines.set(Who::Server(id.slot, id.generation), old, server.deadline());
        Some(result)
    }

    fn change_client<T>(&mut self, id: ClientId, change: impl FnOnce(&mut Client) -> T) -> Option<T> {
        let client = self.clients.get_mut(id.slot, id.generation)?;
        let old = client.deadline();
        let result = change(client);
        self.deadlines.set(Who::Client(id.slot, id.generation), old, client.deadline());
        Some(result)
    }

    fn remove_server(&mut self, id: ServerId) {
        if let Some(server) = self.servers.remove(id.slot, id.generation) {
            self.deadlines.set(Who::Server(id.slot, id.generation), server.deadline(), None);
            self.by_key.remove(&server.key);
            let holder = holder(server.flow);
            if let Some(held) = self.held.get_mut(&holder) {
                *held -= 1;
                if *held == 0 {
                    self.held.remove(&holder);
                }
            }
            self.events.push_back(TransactionEvent::ServerEnded(id));
        }
    }

    fn remove_client(&mut self, id: ClientId) {
        if let Some(client) = self.clients.remove(id.slot, id.generation) {
            self.deadlines.set(Who::Client(id.slot, id.generation), client.deadline(), None);
            if client.sent.is_some() {
                self.events.push_back(TransactionEvent::ClientEnded(id));
            }
        }
    }
}
