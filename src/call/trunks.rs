//! Trunks as the switchboard keeps them: their registrations, and which of their hosts answer.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::credentials::Credited;
use super::guests::Guests;
use super::input::Output;
use super::own_requests::OwnRequest;
use super::settings::{Side, Trunk};
use super::switchboard::Switchboard;
use crate::sip::flow::Hop;
use crate::sip::transaction::ClientId;
use crate::sip::wire::Uri;
use crate::trunk::{Dice, Health, Registration, State};
use crate::units::OwnMap;

/// The parameter of a contact that we register which nobody can guess.
pub(super) const TOKEN: &str = "line";

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
    pub(super) standing: BTreeMap<Arc<str>, Standing>,
    pub(super) own: OwnMap<ClientId, OwnRequest>,
    /// Requests to a trunk that knows our credentials.
    pub(super) credited: OwnMap<ClientId, Credited>,
    pub(super) guests: Guests,
    pub(super) dice: Dice,
    /// Where the PBX is, and whether it answers: it is asked as a trunk's host is.
    pub(super) pbx: Option<(Hop, Health)>,
}

/// How one stands.
#[derive(Debug)]
pub(super) struct Standing {
    pub(super) registration: Option<Registration>,
    /// Of all REGISTERs of the registration (RFC 3261 §10.2.4).
    pub(super) call_id: String,
    /// The host that the last REGISTER went to: its nonces are its own.
    pub(super) registrar: Option<Hop>,
    /// Our address as its registrar sees it, where that is another than ours.
    pub(super) seen_at: Option<SocketAddr>,
    pub(super) health: BTreeMap<Hop, Health>,
}

impl Trunks {
    pub(super) fn new(secret: [u8; 16]) -> Self {
        Self {
            standing: BTreeMap::new(),
            own: OwnMap::default(),
            credited: OwnMap::default(),
            guests: Guests::default(),
            dice: Dice::new(secret.map(|byte| byte ^ 0x5A)),
            pbx: None,
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let standing = self.standing.values().flat_map(|standing| {
            let registration = standing.registration.as_ref().and_then(Registration::poll_timeout);
            registration.into_iter().chain(standing.health.values().filter_map(Health::poll_timeout))
        });
        let pbx = self.pbx.as_ref().and_then(|(_, health)| health.poll_timeout());
        standing.chain(self.guests.poll_timeout()).chain(pbx).min()
    }

    fn registers(&self) -> bool {
        self.standing.values().any(|standing| standing.registration.is_some())
    }

    /// The trunk whose registered contact the message in `bytes` asks for: its token is looked for before the message
    /// is read.
    pub(super) fn registered_contact(&self, bytes: &[u8]) -> Option<Arc<str>> {
        if !self.registers() {
            return None;
        }
        let start = bytes.get(..bytes.len().min(LONGEST_START))?;
        let start = start.split(|byte| *byte == b'\r').next()?;
        let uri = std::str::from_utf8(start).ok()?.split(' ').nth(1)?;
        self.registered_at(&Uri::parse(uri).ok()?)
    }

    /// The trunk that we have told of the contact that a URI names.
    pub(super) fn registered_at(&self, uri: &Uri<'_>) -> Option<Arc<str>> {
        let token = uri.param(TOKEN).flatten()?;
        let ours = |standing: &Standing| {
            standing.registration.as_ref().is_some_and(|registration| *registration.register().token == *token)
        };
        self.standing.iter().find(|(_, standing)| ours(standing)).map(|(name, _)| Arc::clone(name))
    }

    /// Registers anew with everybody: any binding may have ended.
    pub(super) fn renew(&mut self, now: Instant) {
        let asked = self.standing.values_mut().filter(|standing| standing.registrar.is_some());
        asked.filter_map(|one| one.registration.as_mut()).for_each(|registration| registration.renew(now));
    }

    /// Registers anew with those who see us elsewhere.
    pub(super) fn renew_address(&mut self, moved: impl Fn(Hop) -> bool, now: Instant) {
        let moved = self.standing.values_mut().filter(|standing| standing.registrar.is_some_and(&moved));
        moved.filter_map(|one| one.registration.as_mut()).for_each(|registration| registration.renew_address(now));
    }

    /// Registers anew with whoever is there: the connection may have been its only way to us (RFC 5626 §4.4).
    pub(super) fn lost_way(&mut self, hop: Hop, now: Instant) {
        let there = self.standing.values_mut().filter(|standing| standing.registrar == Some(hop));
        for registration in there.filter_map(|standing| standing.registration.as_mut()) {
            registration.lost_way(&mut self.dice, now);
        }
    }

    pub(super) fn forget(&mut self, client: ClientId) {
        self.own.remove(&client);
        self.credited.remove(&client);
    }

    /// Requests of our own that are under way.
    pub(super) fn pending(&self) -> usize {
        self.own.len()
    }
}

fn call_id(dice: &mut Dice) -> String {
    format!("{:016x}{:016x}", dice.number(), dice.number())
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
            let Trunks { standing, dice, .. } = &mut self.trunks;
            let standing = standing.entry(Arc::clone(&trunk.name)).or_insert_with(|| Standing {
                registration: None,
                call_id: call_id(dice),
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
                if standing.registration.is_some() {
                    // The new one counts from 1, and a registrar refuses what is no higher than before (RFC 3261
                    // §10.3).
                    standing.call_id = call_id(dice);
                }
                standing.registration = trunk.register.clone().map(|register| Registration::new(register, now));
            }
        }
        self.set_pbx(now);
        self.trunks_due(now);
    }

    /// Sends what is due.
    pub(super) fn trunks_due(&mut self, now: Instant) {
        self.trunks.guests.expire(now);
        self.pbx_due(now);
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
                self.probe(Some(&trunk.name), (Side::Outside, hop), &trunk.uri_host(), now);
            }
            if register {
                self.register(trunk, now);
            }
        }
    }

    /// Does any trunk know where we are by our registration alone?
    #[must_use]
    pub fn registers(&self) -> bool {
        self.trunks.registers()
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

    pub(super) fn is_down(&self, trunk: &str, hop: Hop) -> bool {
        self.trunks.standing.get(trunk).and_then(|one| one.health.get(&hop)).is_some_and(Health::is_down)
    }

    pub(super) fn tell_of(&mut self, trunk: &Arc<str>, change: TrunkChange) {
        self.out(Output::Trunk(TrunkEvent { trunk: Arc::clone(trunk), change }));
    }

    /// A host of a trunk has said something.
    pub(super) fn answers(&mut self, trunk: &Arc<str>, hop: Hop, now: Instant) {
        let Trunks { standing, dice, .. } = &mut self.trunks;
        let Some(standing) = standing.get_mut(trunk) else { return };
        if standing.health.get_mut(&hop).is_some_and(|health| health.answered(now)) {
            if let Some(registration) = &mut standing.registration {
                registration.is_heard_again(dice, now);
            }
            self.tell_of(trunk, TrunkChange::Up(hop));
        }
    }

    /// A request has come from an address: whoever is believed to be silent there is not. Over UDP it may be forged,
    /// which costs the next call `answer_within`.
    pub(super) fn has_called(&mut self, hop: Hop, now: Instant) {
        let silent = |standing: &Standing| standing.health.get(&hop).is_some_and(Health::is_down);
        let trunks = self.trunks.standing.iter().filter(|(_, standing)| silent(standing));
        let trunks: Vec<Arc<str>> = trunks.map(|(name, _)| Arc::clone(name)).collect();
        for trunk in trunks {
            self.answers(&trunk, hop, now);
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
}
