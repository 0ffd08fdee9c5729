//! What the switchboard needs of the settings: names resolved, networks parsed.

use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::policy::rules::Policy;
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
    pub address: SocketAddr,
    /// Its name in URIs.
    pub host: Arc<str>,
    /// Where its calls come from, besides `address`.
    pub networks: Vec<IpNet>,
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
    pub pbx: SocketAddr,
    /// Where the PBX's calls come from, besides `pbx`.
    pub pbx_networks: Vec<IpNet>,
    /// In order of preference for outbound calls.
    pub trunks: Vec<Trunk>,
    /// Our address towards trunks.
    pub local_outside: SocketAddr,
    /// Our address towards the PBX.
    pub local_inside: SocketAddr,
    /// What the outside sees in place of our address (NAT); ports are translated one to one.
    pub public_address: Option<IpAddr>,
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
        let inside = self.pbx.ip() == ip || self.pbx_networks.iter().any(|network| network.contains(&ip));
        let outside = self.trunk_of(ip).is_some();
        match (inside, outside) {
            (true, true) if self.trunks.iter().any(|trunk| trunk.address == source) => Some(Side::Outside),
            (true, _) => Some(Side::Inside),
            (false, true) => Some(Side::Outside),
            (false, false) => None,
        }
    }

    /// The trunk that `source` belongs to.
    #[must_use]
    pub fn trunk_of(&self, source: IpAddr) -> Option<&Trunk> {
        let belongs = |trunk: &&Trunk| {
            trunk.address.ip() == source || trunk.networks.iter().any(|network| network.contains(&source))
        };
        self.trunks.iter().find(belongs)
    }

    /// The trunk that a URI's host names, else the first.
    #[must_use]
    pub fn trunk_for(&self, host: &str) -> Option<&Trunk> {
        let named = |trunk: &&Trunk| {
            trunk.host.eq_ignore_ascii_case(host) || host.parse::<IpAddr>().is_ok_and(|ip| ip == trunk.address.ip())
        };
        self.trunks.iter().find(named).or_else(|| self.trunks.first())
    }

    /// The address that `side` knows us by: goes into Via, Contact and session descriptions.
    #[must_use]
    pub fn local(&self, side: Side) -> SocketAddr {
        let bound = self.bound(side);
        match (side, self.public_address) {
            (Side::Outside, Some(public)) => SocketAddr::new(public, bound.port()),
            (Side::Outside, None) | (Side::Inside, _) => bound,
        }
    }

    /// The address of this machine towards `side`.
    #[must_use]
    pub fn bound(&self, side: Side) -> SocketAddr {
        match side {
            Side::Outside => self.local_outside,
            Side::Inside => self.local_inside,
        }
    }
}
