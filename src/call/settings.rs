//! What the switchboard needs of the settings: names resolved, networks parsed.

use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::security::SrtpSettings;
use crate::policy::rules::Policy;
use crate::sip::flow::{Hop, Transport};
use crate::sip::wire::Limits;

/// Where a peer stands: decides what we advertise and which way a request goes.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub enum Side {
    /// A trunk.
    Outside,
    /// The PBX.
    Inside,
}

impl Side {
    /// Across.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Outside => Self::Inside,
            Self::Inside => Self::Outside,
        }
    }
}

/// A trunk.
#[derive(Clone, Debug, PartialEq)]
pub struct Trunk {
    /// `[[trunk]] name`.
    pub name: Arc<str>,
    /// Where calls to it go.
    pub hop: Hop,
    /// Its name in URIs.
    pub host: Arc<str>,
    /// Where its calls come from, besides `address`.
    pub networks: Vec<IpNet>,
}

/// Our addresses as one side sees them, by transport.
#[derive(Clone, Debug, PartialEq)]
pub struct Local {
    /// Of the first listening socket that this side can reach.
    pub main: SocketAddr,
    /// Of the first one of a transport, where that is another.
    pub by_transport: Vec<Hop>,
}

impl Local {
    /// One address for whatever comes.
    #[must_use]
    pub fn only(address: SocketAddr) -> Self {
        Self { main: address, by_transport: Vec::new() }
    }

    /// The address for `transport`.
    #[must_use]
    pub fn on(&self, transport: Transport) -> SocketAddr {
        self.by_transport.iter().find(|hop| hop.transport == transport).map_or(self.main, |hop| hop.address)
    }
}

/// What the callee of a diverted call hears.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DivertCallee {
    /// The warning.
    Announcement,
    /// Nothing; the call ends when the caller's announcement does.
    Silence,
    /// The callee's leg ends at once.
    HangUp,
}

/// What the caller of a diverted call hears.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DivertCaller {
    /// That automated calls are not accepted.
    Announcement,
    /// Nothing, until the callee has decided.
    Silence,
    /// The caller's leg ends at once; it cannot be taken back.
    HangUp,
}

/// Settings of a switchboard. A call keeps those it began with.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Counts up with each applied reload; in every record.
    pub generation: u64,
    /// False: decide and record, do nothing.
    pub enforce: bool,
    /// Where calls to the PBX go.
    pub pbx: Hop,
    /// Where the PBX's calls come from, besides `pbx`.
    pub pbx_networks: Vec<IpNet>,
    /// In order of preference for outbound calls.
    pub trunks: Vec<Trunk>,
    /// Our addresses towards trunks.
    pub local_outside: Local,
    /// Our addresses towards the PBX.
    pub local_inside: Local,
    /// What the outside sees in place of our address (NAT); ports are translated one to one.
    pub public_address: Option<IpAddr>,
    /// What each side has to say of SRTP.
    pub srtp: SrtpSettings,
    /// Rules and thresholds.
    pub policy: Arc<Policy>,
    /// How long after the answer a caller is listened to.
    pub watch_for: Duration,
    /// On a diversion.
    pub callee_hears: DivertCallee,
    /// On a diversion.
    pub caller_hears: DivertCaller,
    /// Key with which the callee takes a diverted call back; None: not offered.
    pub take_back_key: Option<char>,
    /// Of messages.
    pub wire_limits: Limits,
    /// More calls than this are answered 503.
    pub max_calls: usize,
    /// A call of another process that was answered longer ago than this is ended, not gone on with.
    pub longest_restored: Duration,
}

impl Settings {
    /// Where `source` stands; None: a stranger. Its port decides only where PBX and trunk share an address.
    #[must_use]
    pub fn side_of(&self, source: SocketAddr) -> Option<Side> {
        let ip = source.ip();
        let inside = self.pbx.address.ip() == ip || self.pbx_networks.iter().any(|network| network.contains(&ip));
        let outside = self.trunk_of(ip).is_some();
        match (inside, outside) {
            (true, true) if self.trunks.iter().any(|trunk| trunk.hop.address == source) => Some(Side::Outside),
            (true, _) => Some(Side::Inside),
            (false, true) => Some(Side::Outside),
            (false, false) => None,
        }
    }

    /// The trunk that `source` belongs to.
    #[must_use]
    pub fn trunk_of(&self, source: IpAddr) -> Option<&Trunk> {
        let belongs = |trunk: &&Trunk| {
            trunk.hop.address.ip() == source || trunk.networks.iter().any(|network| network.contains(&source))
        };
        self.trunks.iter().find(belongs)
    }

    /// The trunk that a URI's host names, else the first.
    #[must_use]
    pub fn trunk_for(&self, host: &str) -> Option<&Trunk> {
        let named = |trunk: &&Trunk| {
            trunk.host.eq_ignore_ascii_case(host) || host.parse::<IpAddr>().is_ok_and(|ip| ip == trunk.hop.address.ip())
        };
        self.trunks.iter().find(named).or_else(|| self.trunks.first())
    }

    /// What `side` knows us by over `transport`: goes into Via, Contact and session descriptions.
    #[must_use]
    pub fn local(&self, side: Side, transport: Transport) -> Hop {
        let bound = self.bound(side, transport);
        let address = match (side, self.public_address) {
            (Side::Outside, Some(public)) => SocketAddr::new(public, bound.port()),
            (Side::Outside, None) | (Side::Inside, _) => bound,
        };
        Hop { address, transport }
    }

    /// The address of this machine towards `side`.
    #[must_use]
    pub fn bound(&self, side: Side, transport: Transport) -> SocketAddr {
        match side {
            Side::Outside => self.local_outside.on(transport),
            Side::Inside => self.local_inside.on(transport),
        }
    }

    /// True if `ip` is one of ours as `side` sees us.
    #[must_use]
    pub fn is_ours(&self, side: Side, ip: IpAddr) -> bool {
        Transport::ALL.into_iter().any(|transport| self.local(side, transport).address.ip() == ip)
    }
}
