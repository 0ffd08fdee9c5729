//! Trunks as the switchboard keeps them: registrations, which hosts answer, and sources that speak for a trunk without
//! being listed.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::credentials::Credited;
use super::forward;
use super::input::Output;
use super::settings::{Side, Trunk};
use super::state::Call;
use super::switchboard::Switchboard;
use crate::sip::flow::{Flow, Hop};
use crate::sip::transaction::{ClientId, ClientKind, T1X64};
use crate::sip::wire::{MAX_FORWARDS, Message, StatusCode, Uri};
use crate::trunk::{Dice, Health, Next, Registered, Registration, State, in_order};
use crate::units::{Leg, OwnMap};

/// How long a source that spoke for a trunk is known behind its last call: so that every answer finds its way.
const GUEST_LINGERS: Duration = T1X64.saturating_mul(2);
/// Longest start line in which our token is looked for.
const LONGEST_START: usize = 512;

/// Something about a trunk that an operator wants to know.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TrunkEvent {
    /// Its name.
    pub trunk: Arc<str>,
    /// What.
    pub change: TrunkChange,
}

/// What has changed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum TrunkChange {
    /// Calls come in from now on.
    Registered,
    /// It did not work, and is tried again.
    RegistrationFailed {
        /// What the registrar said; 0: nothing.
        status: u16,
        /// In a row.
        failures: u32,
        /// The next attempt.
        again_in: Duration,
    },
    /// The binding has been taken back.
    Unregistered,
    /// The registrar sees us at another address than the one that we write: a router translates in between.
    SeenAt(SocketAddr),
    /// The trunk has refused our credentials for a request.
    CredentialsRefused,
    /// A host does not answer: it is tried last.
    Down(Hop),
    /// It answers again.
    Up(Hop),
}

/// How a trunk stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TrunkStatus {
    /// Its name.
    pub name: Arc<str>,
    /// Its hosts, and whether they are believed to answer.
    pub targets: Vec<(Hop, bool)>,
    /// Its registration, if it has one.
    pub registration: Option<RegistrationStatus>,
}

/// How a registration stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RegistrationStatus {
    /// The state.
    pub state: State,
    /// A REGISTER that takes the binding back is under way.
    pub ending: bool,
    /// Failures in a row.
    pub failures: u32,
    /// The last failure's status; `Some(0)`: nothing was said.
    pub status: Option<u16>,
    /// The binding lives until then.
    pub until: Option<Instant>,
    /// The next REGISTER.
    pub next: Option<Instant>,
}

/// What belongs to all trunks.
#[derive(Debug)]
pub(super) struct Trunks {
    standing: BTreeMap<Arc<str>, Standing>,
    /// Requests of our own outside any call.
    own: OwnMap<ClientId, Own>,
    /// Requests to a trunk that knows our credentials.
    pub(super) credited: OwnMap<ClientId, Credited>,
    guests: HashMap<IpAddr, Guest>,
    pub(super) dice: Dice,
}

#[derive(Debug)]
struct Standing {
    registration: Option<Registration>,
    /// Of all its REGISTERs (RFC 3261 §10.2.4).
    call_id: String,
    /// The host that the last REGISTER went to: its nonces are its own.
    registrar: Option<Hop>,
    /// Our address as its registrar sees it, where that is another than ours.
    seen_at: Option<SocketAddr>,
    health: BTreeMap<Hop, Health>,
}

#[derive(Clone, Debug)]
struct Own {
    trunk: Arc<str>,
    hop: Hop,
    register: bool,
}

/// A source that is no trunk's by the settings.
#[derive(Debug)]
struct Guest {
    side: Side,
    calls: usize,
    /// Forgotten then, unless a new call comes.
    until: Option<Instant>,
}

/// How the hosts of a trunk are put in order, where nothing else decides.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Order {
    /// Each call draws anew (RFC 2782).
    ByLot,
    /// Always the same: what belongs together (a challenge and its answer) comes to one host.
    Steady,
}

/// One way that a new request may take.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    /// None: the PBX.
    pub(super) trunk: Option<Arc<str>>,
    pub(super) hop: Hop,
    /// Its request-URI there.
    pub(super) uri: String,
}

impl Trunks {
    pub(super) fn new(secret: [u8; 16]) -> Self {
        Self {
            standing: BTreeMap::new(),
            own: OwnMap::default(),
            credited: OwnMap::default(),
            guests: HashMap::new(),
            dice: Dice::new(secret.map(|byte| byte ^ 0x5A)),
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let standing = self.standing.values().flat_map(|standing| {
            let registration = standing.registration.as_ref().and_then(Registration::poll_timeout);
            registration.into_iter().chain(standing.health.values().filter_map(Health::poll_timeout))
        });
        standing.chain(self.guests.values().filter_map(|guest| guest.until)).min()
    }

    /// The side of a source that no setting names.
    pub(super) fn guest(&self, source: IpAddr) -> Option<Side> {
        self.guests.get(&source).map(|guest| guest.side)
    }

    /// The trunk whose registered contact `message` asks for.
    pub(super) fn registered_contact(&self, bytes: &[u8]) -> Option<Arc<str>> {
        if self.standing.values().all(|standing| standing.registration.is_none()) {
            return None;
        }
        let start = bytes.get(..bytes.len().min(LONGEST_START))?;
        let start = start.split(|byte| *byte == b'\r').next()?;
        let text = std::str::from_utf8(start).ok()?;
        let (_, behind) = text.split_once(";line=")?;
        let token = behind.split([' ', ';', '?']).next()?;
        self.of_token(token)
    }

    fn of_token(&self, token: &str) -> Option<Arc<str>> {
        let ours = |standing: &Standing| {
            standing.registration.as_ref().is_some_and(|registration| *registration.register().token == *token)
        };
        self.standing.iter().find(|(_, standing)| ours(standing)).map(|(name, _)| Arc::clone(name))
    }

    pub(super) fn forget(&mut self, client: ClientId) {
        self.own.remove(&client);
        self.credited.remove(&client);
    }

    /// Requests of our own that are under way.
    pub(super) fn pending(&self) -> usize {
        self.own.len()
    }

    /// Sources that are known for a call only.
    pub(super) fn guests(&self) -> usize {
        self.guests.len()
    }

    fn enter(&mut self, source: IpAddr, side: Side) {
        let guest = self.guests.entry(source).or_insert(Guest { side, calls: 0, until: None });
        guest.calls += 1;
        guest.until = None;
    }

    /// The sources of all calls that have such, once for each leg: others have left.
    pub(super) fn recount_guests(&mut self, hosted: impl Iterator<Item = IpAddr>, now: Instant) {
        let mut counts: HashMap<IpAddr, usize> = HashMap::new();
        hosted.for_each(|source| *counts.entry(source).or_default() += 1);
        for (source, guest) in &mut self.guests {
            guest.calls = counts.get(source).copied().unwrap_or(0);
            if guest.calls == 0 {
                guest.until.get_or_insert(now + GUEST_LINGERS);
            }
        }
    }

    fn leave(&mut self, source: IpAddr, now: Instant) {
        if let Some(guest) = self.guests.get_mut(&source) {
            guest.calls = guest.calls.saturating_sub(1);
            guest.until = (guest.calls == 0).then(|| now + GUEST_LINGERS);
        }
    }
}

impl Switchboard {
    /// How each trunk stands.
    #[must_use]
    pub fn trunks(&self) -> Vec<TrunkStatus> {
        let status = |trunk: &Trunk| {
            let standing = self.trunks.standing.get(&trunk.name);
            let up =
                |hop: &Hop| standing.and_then(|standing| standing.health.get(hop)).is_none_or(|one| !one.is_down());
            let registration = standing.and_then(|standing| standing.registration.as_ref());
            TrunkStatus {
                name: Arc::clone(&trunk.name),
                targets: trunk.targets.iter().map(|target| (target.hop, up(&target.hop))).collect(),
                registration: registration.map(|registration| RegistrationStatus {
                    state: registration.state(),
                    ending: registration.is_ending(),
                    failures: registration.failures(),
                    status: registration.status(),
                    until: registration.until(),
                    next: registration.poll_timeout(),
                }),
            }
        };
        self.settings.trunks.iter().map(status).collect()
    }

    /// Trunks as the settings have them now. What has not changed goes on; a registration with other credentials begins
    /// anew, and the old binding runs out.
    pub(super) fn set_trunks(&mut self, now: Instant) {
        let settings = Arc::clone(&self.settings);
        let gone: Vec<Arc<str>> =
            self.trunks.standing.keys().filter(|name| settings.trunk(name).is_none()).cloned().collect();
        for name in gone {
            self.trunks.standing.remove(&name);
        }
        for trunk in &settings.trunks {
            let dice = &mut self.trunks.dice;
            let standing = self.trunks.standing.entry(Arc::clone(&trunk.name)).or_insert_with(|| Standing {
                registration: None,
                call_id: format!("{:016x}{:016x}", dice.number(), dice.number()),
                registrar: None,
                seen_at: None,
                health: BTreeMap::new(),
            });
            if let (true, Some(registration)) = (standing.health.is_empty(), standing.registration.as_mut()) {
                // Its name is resolved now.
                registration.hurry(now);
            }
            standing.health.retain(|hop, _| trunk.targets.iter().any(|target| target.hop == *hop));
            for target in &trunk.targets {
                let health = standing.health.entry(target.hop).or_insert_with(|| Health::new(trunk.keep_alive, now));
                health.set_every(trunk.keep_alive, now);
            }
            if standing.registration.as_ref().map(Registration::register) != trunk.register.as_ref() && !self.draining {
                standing.registration = trunk.register.clone().map(|register| Registration::new(register, now));
            }
        }
        self.trunks_due(now);
    }

    /// Sends what is due.
    pub(super) fn trunks_due(&mut self, now: Instant) {
        self.trunks.guests.retain(|_, guest| guest.until.is_none_or(|until| until > now));
        let settings = Arc::clone(&self.settings);
        for trunk in &settings.trunks {
            let Some(standing) = self.trunks.standing.get_mut(&trunk.name) else { continue };
            let probes: Vec<Hop> =
                standing.health.iter_mut().filter_map(|(hop, health)| health.due(now).then_some(*hop)).collect();
            let before = standing.registration.as_ref().map(Registration::state);
            let register = standing.registration.as_mut().is_some_and(|registration| registration.handle_timeout(now));
            let after = standing.registration.as_ref().map(Registration::state);
            if before != after {
                self.registration_failed(trunk, now);
            }
            for hop in probes {
                self.probe(trunk, hop, now);
            }
            if register {
                self.register(trunk, now);
            }
        }
    }

    /// Takes all registrations back.
    pub(super) fn unregister(&mut self, now: Instant) {
        let settings = Arc::clone(&self.settings);
        for trunk in &settings.trunks {
            let registration = self.trunks.standing.get_mut(&trunk.name).and_then(|one| one.registration.as_mut());
            if registration.is_some_and(Registration::end) {
                self.register(trunk, now);
            }
        }
    }

    /// The hosts of a trunk in the order of one request: those that answer first.
    fn hosts(&mut self, trunk: &Trunk, order: Order) -> Vec<Hop> {
        let mut hosts = match order {
            Order::ByLot => in_order(&trunk.targets, &mut self.trunks.dice),
            Order::Steady => {
                let mut targets = trunk.targets.clone();
                targets.sort();
                targets.iter().map(|target| target.hop).collect()
            }
        };
        hosts.sort_by_key(|hop| self.is_down(&trunk.name, *hop));
        hosts
    }

    fn is_down(&self, trunk: &str, hop: Hop) -> bool {
        self.trunks.standing.get(trunk).and_then(|one| one.health.get(&hop)).is_some_and(Health::is_down)
    }

    /// Where a new request from `side` may go, in order; a host of ours in its URI becomes the next hop's. Trunks that do
    /// not answer come last.
    pub(super) fn candidates(&mut self, uri: &str, target: &Uri<'_>, side: Side, order: Order) -> Vec<Candidate> {
        let settings = Arc::clone(&self.settings);
        let ours = target.ip().is_some_and(|ip| settings.is_ours(side, ip)) || target.host.is_empty();
        let Side::Inside = side else {
            let token = target.param("line").flatten().filter(|token| self.trunks.of_token(token).is_some());
            // Our token is between us and the trunk.
            let uri = token.map_or_else(|| uri.to_owned(), |token| uri.replacen(&format!(";line={token}"), "", 1));
            let uri = forward::at_hop(&uri, settings.pbx);
            return vec![Candidate { trunk: None, hop: settings.pbx, uri }];
        };
        let mut found = Vec::new();
        for trunk in settings.trunks_for(target.host) {
            for hop in self.hosts(trunk, order) {
                let uri = if ours { forward::at(uri, &trunk.place(hop), hop.transport) } else { uri.to_owned() };
                found.push((
                    self.is_down(&trunk.name, hop),
                    Candidate { trunk: Some(Arc::clone(&trunk.name)), hop, uri },
                ));
            }
        }
        found.sort_by_key(|(down, _)| *down);
        found.into_iter().map(|(_, candidate)| candidate).collect()
    }

    fn register(&mut self, trunk: &Trunk, now: Instant) {
        let last = self.trunks.standing.get(&trunk.name).and_then(|standing| standing.registrar);
        let usable =
            |hop: &Hop| trunk.targets.iter().any(|target| target.hop == *hop) && !self.is_down(&trunk.name, *hop);
        let Some(hop) = last.filter(usable).or_else(|| self.hosts(trunk, Order::ByLot).first().copied()) else {
            return self.registered(trunk, None, now);
        };
        let uri = format!("sip:{}{}", trunk.uri_host(), hop.transport.uri_parameter());
        let trunks = &mut self.trunks;
        let Some(standing) = trunks.standing.get_mut(&trunk.name) else { return };
        standing.registrar = Some(hop);
        let Some(registration) = standing.registration.as_mut() else { return };
        let Some((client, branch)) = self.transactions.reserve(ClientKind::NonInvite) else {
            return self.registered(trunk, None, now);
        };
        let Registered { cseq, expires, authorization } = registration.request(&uri, &mut trunks.dice);
        let register = registration.register();
        let (user, host) = (&register.credentials.user, trunk.uri_host());
        let local = self.settings.local(Side::Outside, hop.transport);
        let contact = format!("{};line={}", forward::our_uri("sip", Some(user), local), register.token);
        let via = forward::via(local, &branch);
        let (tag, call_id) = (standing.call_id.get(..8).unwrap_or_default(), &standing.call_id);
        let authorization = authorization.map_or_else(String::new, |line| format!("{line}\r\n"));
        let message = format!(
            "REGISTER {uri} SIP/2.0\r\n{via}\r\nMax-Forwards: {MAX_FORWARDS}\r\nFrom: <sip:{user}@{host}>;tag={tag}\r\n\
             To: <sip:{user}@{host}>\r\nCall-ID: {call_id}\r\nCSeq: {cseq} REGISTER\r\nContact: <{contact}>\r\n\
             Expires: {expires}\r\nSupported: path\r\n{authorization}Content-Length: 0\r\n\r\n"
        );
        self.trunks.own.insert(client, Own { trunk: Arc::clone(&trunk.name), hop, register: true });
        self.transactions.send(client, message.as_bytes(), Flow::to(hop), now);
    }

    fn probe(&mut self, trunk: &Trunk, hop: Hop, now: Instant) {
        let Some((client, branch)) = self.transactions.reserve(ClientKind::NonInvite) else {
            return self.silent(&trunk.name, hop, now);
        };
        let local = self.settings.local(Side::Outside, hop.transport);
        let via = forward::via(local, &branch);
        let (us, them) = (forward::our_uri("sip", None, local), trunk.uri_host());
        let (tag, call_id) = (self.trunks.dice.number(), self.trunks.dice.number());
        let way = hop.transport.uri_parameter();
        let message = format!(
            "OPTIONS sip:{them}{way} SIP/2.0\r\n{via}\r\nMax-Forwards: {MAX_FORWARDS}\r\nFrom: <{us}>;tag={tag:08x}\r\n\
             To: <sip:{them}>\r\nCall-ID: {call_id:016x}\r\nCSeq: 1 OPTIONS\r\nContact: <{us}>\r\nContent-Length: 0\r\n\r\n"
        );
        self.trunks.own.insert(client, Own { trunk: Arc::clone(&trunk.name), hop, register: false });
        self.transactions.send(client, message.as_bytes(), Flow::to(hop), now);
    }

    /// A response to a request of our own. False: it is none.
    pub(super) fn own_response(
        &mut self,
        client: ClientId,
        message: &Message<'_>,
        code: StatusCode,
        now: Instant,
    ) -> bool {
        let Some(own) = self.trunks.own.get(&client).cloned() else { return false };
        if code.is_provisional() {
            return true;
        }
        self.trunks.own.remove(&client);
        let settings = Arc::clone(&self.settings);
        let Some(trunk) = settings.trunk(&own.trunk) else { return true };
        if code == StatusCode::SERVICE_UNAVAILABLE {
            self.silent(&own.trunk, own.hop, now);
        } else {
            self.answers(&own.trunk, own.hop, now);
        }
        if own.register {
            self.look_at_ourselves(trunk, own.hop, message);
            self.registered(trunk, Some((message, code)), now);
        }
        true
    }

    /// What the registrar has written into our Via (RFC 3261 §18.2.1, RFC 3581 §4): said once for each address.
    fn look_at_ourselves(&mut self, trunk: &Trunk, hop: Hop, message: &Message<'_>) {
        let ours = self.settings.local(Side::Outside, hop.transport).address;
        let Ok(via) = message.via() else { return };
        let received = via.received().and_then(|ip| ip.trim_matches(['[', ']']).parse::<IpAddr>().ok());
        let port = via.rport().flatten().filter(|_| !hop.transport.is_reliable());
        let seen = SocketAddr::new(received.unwrap_or(ours.ip()), port.unwrap_or(ours.port()));
        let Some(standing) = self.trunks.standing.get_mut(&trunk.name) else { return };
        let news = (seen != ours).then_some(seen);
        if standing.seen_at != news {
            standing.seen_at = news;
            if let Some(seen) = news {
                self.tell_of(&trunk.name, TrunkChange::SeenAt(seen));
            }
        }
    }

    /// A request of our own had no answer. False: it is none of these.
    pub(super) fn own_silence(&mut self, client: ClientId, now: Instant) -> bool {
        let Some(own) = self.trunks.own.remove(&client) else { return false };
        self.silent(&own.trunk, own.hop, now);
        let settings = Arc::clone(&self.settings);
        if let (true, Some(trunk)) = (own.register, settings.trunk(&own.trunk)) {
            if trunk.targets.iter().any(|target| !self.is_down(&trunk.name, target.hop)) {
                // Another host of the trunk may answer (RFC 3263 §4.3); each is tried once, because silence marks it.
                self.register(trunk, now);
            } else {
                self.registered(trunk, None, now);
            }
        }
        true
    }

    /// What became of a REGISTER; None: nothing came.
    fn registered(&mut self, trunk: &Trunk, answer: Option<(&Message<'_>, StatusCode)>, now: Instant) {
        let trunks = &mut self.trunks;
        let standing = trunks.standing.get_mut(&trunk.name);
        let Some(registration) = standing.and_then(|standing| standing.registration.as_mut()) else { return };
        let before = (registration.state(), registration.failures());
        let next = match answer {
            Some((message, code)) => registration.response(message, code, &mut trunks.dice, now),
            None => registration.silence(&mut trunks.dice, now),
        };
        let after = (registration.state(), registration.failures());
        let change = match after {
            _ if before == after => None,
            (State::Registered, 0) => Some(TrunkChange::Registered),
            (State::Over, _) => Some(TrunkChange::Unregistered),
            (State::Trying | State::Registered | State::Failed, _) => None,
        };
        if let Some(change) = change {
            self.tell_of(&trunk.name, change);
        } else if before != after {
            self.registration_failed(trunk, now);
        }
        if next == Next::Send {
            self.register(trunk, now);
        }
    }

    fn registration_failed(&mut self, trunk: &Trunk, now: Instant) {
        let registration = self.trunks.standing.get(&trunk.name).and_then(|standing| standing.registration.as_ref());
        let Some(registration) = registration else { return };
        let change = TrunkChange::RegistrationFailed {
            status: registration.status().unwrap_or(0),
            failures: registration.failures(),
            again_in: registration.poll_timeout().map_or(Duration::ZERO, |at| at.saturating_duration_since(now)),
        };
        self.tell_of(&trunk.name, change);
    }

    pub(super) fn tell_of(&mut self, trunk: &Arc<str>, change: TrunkChange) {
        self.out(Output::Trunk(TrunkEvent { trunk: Arc::clone(trunk), change }));
    }

    /// A host of a trunk has said something.
    pub(super) fn answers(&mut self, trunk: &Arc<str>, hop: Hop, now: Instant) {
        let health = self.trunks.standing.get_mut(trunk).and_then(|one| one.health.get_mut(&hop));
        if health.is_some_and(|health| health.answered(now)) {
            self.tell_of(trunk, TrunkChange::Up(hop));
        }
    }

    /// A host of a trunk said nothing, or that it cannot.
    pub(super) fn silent(&mut self, trunk: &Arc<str>, hop: Hop, now: Instant) {
        let Trunks { standing, dice, .. } = &mut self.trunks;
        let health = standing.get_mut(trunk).and_then(|one| one.health.get_mut(&hop));
        if health.is_some_and(|health| health.silent(dice, now)) {
            self.tell_of(trunk, TrunkChange::Down(hop));
        }
    }

    /// Routes that requests over a trunk take (RFC 3608).
    pub(super) fn service_routes(&self, trunk: &str) -> &[String] {
        let registration = self.trunks.standing.get(trunk).and_then(|one| one.registration.as_ref());
        registration.map_or(&[], Registration::service_routes)
    }

    /// A leg of a call whose source no setting names (any more) is known as long as the call is.
    pub(super) fn host_guests(&mut self, call: &mut Call) {
        for leg in Leg::BOTH {
            let source = call.flow[leg].peer;
            if !call.guest[leg] && self.settings.side_of(source).is_none() {
                call.guest[leg] = true;
                self.trunks.enter(source.ip(), call.side(leg));
            }
        }
    }

    pub(super) fn part_guests(&mut self, call: &Call, now: Instant) {
        for leg in Leg::BOTH {
            if call.guest[leg] {
                self.trunks.leave(call.flow[leg].peer.ip(), now);
            }
        }
    }
}
