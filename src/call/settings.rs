//! What the switchboard needs of the settings: names resolved, networks parsed.

use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::security::SrtpSettings;
use crate::policy::rules::Policy;
use crate::rtp::control::Codec;
use crate::sip::flow::{ANY_SOCKET, Flow, Hop, Transport};
use crate::sip::wire::sdp::{BadSdp, Sdp};
use crate::sip::wire::{Limits, Uri};
use crate::trunk::{Register, Target};
use crate::units::{Plain, is_private};

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

/// Whether a trunk learns the identity that the PBX asserts (RFC 3325).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ShownIdentity {
    /// Always: it keeps what is private to itself.
    Trusted,
    /// Unless it is private.
    Public,
    /// Never.
    Never,
}

/// What becomes of a 3xx to an INVITE.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Redirects {
    /// It is for whoever called.
    Pass,
    /// The call goes on to where it says, where that is on the same side.
    Follow,
}

/// A trunk.
#[derive(Clone, Debug, PartialEq)]
pub struct Trunk {
    /// `[[trunk]] name`.
    pub name: Arc<str>,
    /// Where calls to it go: the hosts behind its name. Empty while that cannot be resolved.
    pub targets: Vec<Target>,
    /// Its name in URIs.
    pub host: Arc<str>,
    /// Where its calls come from, besides `targets`.
    pub networks: Vec<IpNet>,
    /// Calls may come from `targets` too.
    pub trusts_targets: bool,
    /// We register with it.
    pub register: Option<Register>,
    /// It is asked with OPTIONS this often while it answers; None: only once it has failed.
    pub keep_alive: Option<Duration>,
    /// With another host or trunk left to try, an INVITE without any answer is given up after this.
    pub answer_within: Duration,
    /// Whom it asserts to be calling is passed on, and is the caller's number.
    pub believes_identity: bool,
    /// Whom the PBX asserts to be calling is passed on.
    pub shows_identity: ShownIdentity,
}

impl Trunk {
    /// One host that neither is registered with nor asked.
    #[must_use]
    pub fn at(name: &str, hop: Hop) -> Self {
        Self {
            name: name.into(),
            targets: vec![Target::only(hop)],
            host: hop.address.ip().to_string().into(),
            networks: Vec::new(),
            trusts_targets: true,
            register: None,
            keep_alive: None,
            answer_within: Duration::from_secs(4),
            believes_identity: true,
            shows_identity: ShownIdentity::Trusted,
        }
    }

    fn has_target(&self, address: SocketAddr) -> bool {
        self.targets.iter().any(|target| target.hop.address == address)
    }

    /// True if this is its name in URIs.
    pub(super) fn is_named(&self, host: &str) -> bool {
        is_name(host, &self.host)
    }

    fn is_at(&self, ip: IpAddr) -> bool {
        self.targets.iter().any(|target| target.hop.address.ip() == ip)
    }

    /// How closely it names `ip` as a source; None: not at all.
    fn closeness(&self, ip: IpAddr) -> Option<u8> {
        closeness(self.trusts_targets && self.is_at(ip), &self.networks, ip)
    }

    /// What stands behind the `@` in a URI at it: its name, which its hosts know, where it has one; else the address.
    #[must_use]
    pub fn place(&self, hop: Hop) -> String {
        if self.host.parse::<IpAddr>().is_ok() { Plain(hop.address).to_string() } else { self.host.to_string() }
    }

    /// Its host as URIs write it.
    pub(super) fn uri_host(&self) -> String {
        if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.to_string() }
    }
}

/// Our addresses as a peer sees them, by transport.
#[derive(Clone, Debug, PartialEq)]
pub struct Local {
    /// Of the listening socket that it reaches best.
    pub main: SocketAddr,
    /// Of that of each transport, where it is another.
    pub by_transport: Vec<Hop>,
    /// Index of the one for UDP (order of `[[listen]]`).
    pub socket: u8,
}

impl Local {
    /// One address for whatever comes.
    #[must_use]
    pub fn only(address: SocketAddr) -> Self {
        Self { main: address, by_transport: Vec::new(), socket: ANY_SOCKET }
    }

    /// The address of a listening socket for `transport`; None: there is none.
    fn listener(&self, transport: Transport) -> Option<SocketAddr> {
        self.by_transport.iter().find(|hop| hop.transport == transport).map(|hop| hop.address)
    }

    /// The address for `transport`.
    #[must_use]
    pub fn on(&self, transport: Transport) -> SocketAddr {
        self.listener(transport).unwrap_or(self.main)
    }
}

/// Where a peer sees us: its route may begin at another of our network cards than its neighbours'.
#[derive(Clone, Debug, PartialEq)]
pub struct Way {
    /// Peers.
    pub network: IpNet,
    /// Our addresses as they see them.
    pub local: Local,
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
    /// Its host, where the settings have a name.
    pub pbx_name: Option<Arc<str>>,
    /// Names that stand for us in URIs.
    pub names: Vec<Arc<str>>,
    /// It is asked with OPTIONS this often; None: only once it has been silent to a call.
    pub pbx_keep_alive: Option<Duration>,
    /// In order of preference for outbound calls.
    pub trunks: Vec<Trunk>,
    /// Our addresses towards trunks, where `ways` has none.
    pub local_outside: Local,
    /// Our addresses towards the PBX, where `ways` has none.
    pub local_inside: Local,
    /// The smallest networks first.
    pub ways: Vec<Way>,
    /// Addresses of listening sockets that have one of their own: whoever names one means us, whichever the route to it
    /// begins at.
    pub listening: Vec<IpAddr>,
    /// What the outside sees in place of our address (NAT); ports are translated one to one.
    pub public_address: Option<IpAddr>,
    /// The same for media, where it is another.
    pub public_media_address: Option<IpAddr>,
    /// What each side has to say of SRTP.
    pub srtp: SrtpSettings,
    /// Codecs that may pass in descriptions, by [`CODECS`]; none named: all.
    pub codecs: Vec<&'static str>,
    /// What becomes of a 3xx.
    pub redirects: Redirects,
    /// Rules and thresholds.
    pub policy: Arc<Policy>,
    /// How long a caller is listened to, from its first speech on.
    pub watch_for: Duration,
    /// On a diversion.
    pub callee_hears: DivertCallee,
    /// On a diversion.
    pub caller_hears: DivertCaller,
    /// Key with which the callee takes a diverted call back; None: not offered.
    pub take_back_key: Option<char>,
    /// Of messages.
    pub wire_limits: Limits,
    /// Requests that may not fit into a datagram go over TCP where we listen on it.
    pub large_over_tcp: bool,
    /// More calls than this are answered 503.
    pub max_calls: usize,
    /// Session timer that is asked for where a caller does not (RFC 4028 §8.1); None: none.
    pub session_timer: Option<Duration>,
    /// How often the ends of a held and silent call are asked whether they are there.
    pub held_check: Duration,
    /// A call of another process that was answered longer ago than this is ended, not gone on with.
    pub longest_restored: Duration,
}

/// Codecs that can be named in the settings, as descriptions write them (RFC 3551 §6 and the registry of media types).
pub const CODECS: [&str; 23] = [
    "PCMU",
    "PCMA",
    "G722",
    "opus",
    "G729",
    "G723",
    "G726-16",
    "G726-24",
    "G726-32",
    "G726-40",
    "G728",
    "G7221",
    "GSM",
    "GSM-EFR",
    "AMR",
    "AMR-WB",
    "EVS",
    "iLBC",
    "speex",
    "SILK",
    "L16",
    "DVI4",
    "CLEARMODE",
];

impl Settings {
    /// Reads a description. Of its audio, codecs that may not pass are not seen and not written; nor are names that one
    /// PBX knows and another does not, where the number says what it is: the ear and every PBX go by the number.
    pub(super) fn read_sdp<'b>(&self, body: &'b [u8]) -> Result<Sdp<'b>, BadSdp> {
        let mut sdp = Sdp::read(body)?;
        sdp.forget_names(|map| Codec::is_misnamed(map.payload_type, map.encoding, map.clock));
        if !self.codecs.is_empty() {
            sdp.keep_codecs(|encoding| self.codecs.iter().any(|codec| codec.eq_ignore_ascii_case(encoding)));
        }
        Ok(sdp)
    }

    /// Where `source` stands; None: a stranger. A gateway may stand in the PBX's network, and a PBX in a trunk's:
    /// whoever names the source most closely has it. Its port decides only where both do so alike.
    pub(super) fn side_of(&self, source: SocketAddr) -> Option<Side> {
        let ip = source.ip();
        let inside = closeness(self.pbx.address.ip() == ip, &self.pbx_networks, ip);
        let outside = self.closest_trunk(ip).map(|(closeness, _)| closeness);
        match (inside, outside) {
            (Some(inside), Some(outside)) if outside > inside => Some(Side::Outside),
            (Some(inside), Some(outside)) if outside == inside => {
                let is_target = self.trunks.iter().any(|trunk| trunk.has_target(source));
                Some(if is_target { Side::Outside } else { Side::Inside })
            }
            (Some(_), _) => Some(Side::Inside),
            (None, Some(_)) => Some(Side::Outside),
            (None, None) => None,
        }
    }

    /// True where calls and requests of ours go, whoever may call from there.
    pub(super) fn is_target(&self, ip: IpAddr) -> bool {
        self.trunks.iter().any(|trunk| trunk.is_at(ip))
    }

    /// The trunk that `source` belongs to.
    pub(super) fn trunk_of(&self, source: IpAddr) -> Option<&Trunk> {
        self.closest_trunk(source).map(|(_, trunk)| trunk)
    }

    fn closest_trunk(&self, source: IpAddr) -> Option<(u8, &Trunk)> {
        // Of equals, the first.
        let from_last = self.trunks.iter().rev();
        from_last.filter_map(|trunk| Some((trunk.closeness(source)?, trunk))).max_by_key(|(closeness, _)| *closeness)
    }

    /// The trunk of this name.
    #[must_use]
    pub fn trunk(&self, name: &str) -> Option<&Trunk> {
        self.trunks.iter().find(|trunk| &*trunk.name == name)
    }

    /// The trunks that a request may take, in the order of preference: the one that its URI's host names, else all.
    pub(super) fn trunks_for(&self, target: &Uri<'_>) -> &[Trunk] {
        let ip = target.ip();
        let is_meant = |trunk: &Trunk| trunk.is_named(target.host) || ip.is_some_and(|ip| trunk.is_at(ip));
        let named = self.trunks.iter().position(is_meant);
        let by_network = || {
            // We may be in a network of a trunk ourselves.
            let trunk = ip.filter(|ip| !self.is_ours(Side::Inside, *ip)).and_then(|ip| self.trunk_of(ip))?;
            self.trunks.iter().position(|other| other.name == trunk.name)
        };
        match named.or_else(by_network) {
            Some(number) => self.trunks.get(number..=number).unwrap_or_default(),
            None => &self.trunks,
        }
    }

    /// What `peer` on `side` knows us by: goes into Via, Contact and session descriptions.
    #[must_use]
    pub fn local(&self, side: Side, peer: Hop) -> Hop {
        let bound = self.bound(side, peer);
        let ip = self.public(side, peer, self.public_address).unwrap_or(bound.ip());
        Hop { address: SocketAddr::new(ip, bound.port()), transport: peer.transport }
    }

    /// The same where we listen on the transport for that peer.
    #[must_use]
    pub fn listens(&self, side: Side, peer: Hop) -> Option<Hop> {
        self.towards(side, peer.address.ip()).listener(peer.transport).map(|_| self.local(side, peer))
    }

    /// Where `peer` sends media to.
    pub(super) fn media_address(&self, side: Side, peer: Hop) -> IpAddr {
        let public = self.public(side, peer, self.public_media_address);
        public.unwrap_or_else(|| self.local(side, peer).address.ip())
    }

    /// The address of this machine towards `peer`.
    #[must_use]
    pub fn bound(&self, side: Side, peer: Hop) -> SocketAddr {
        self.towards(side, peer.address.ip()).on(peer.transport)
    }

    /// The way of a new request to a next hop: over UDP, through the socket that its answer comes to.
    #[must_use]
    pub fn flow(&self, side: Side, hop: Hop) -> Flow {
        Flow { listener: self.towards(side, hop.address.ip()).socket, ..Flow::to(hop) }
    }

    fn towards(&self, side: Side, peer: IpAddr) -> &Local {
        if let Some(way) = self.ways.iter().find(|way| way.network.contains(&peer)) {
            return &way.local;
        }
        let usual = match side {
            Side::Outside => &self.local_outside,
            Side::Inside => &self.local_inside,
        };
        // A registrar's gateway may come from anywhere.
        let reached = |local: &&Local| local.main.is_ipv4() == peer.is_ipv4();
        let ways = self.ways.iter().map(|way| &way.local);
        [usual].into_iter().chain(ways).find(reached).unwrap_or(usual)
    }

    /// A public address, for whom it is: a peer in a private network is on our side of the router, unless what it is
    /// told is private as well.
    fn public(&self, side: Side, peer: Hop, stated: Option<IpAddr>) -> Option<IpAddr> {
        let beyond = |public: &IpAddr| is_global(peer.address.ip()) || !is_global(*public);
        let fits = |public: &IpAddr| public.is_ipv4() == peer.address.is_ipv4() && beyond(public);
        stated.filter(|_| side == Side::Outside).filter(fits)
    }

    /// True for a URI that asks for help in an emergency.
    pub(super) fn is_for_help(&self, uri: &str) -> bool {
        let called = Uri::parse(uri).ok().and_then(|uri| uri.user);
        called.is_some_and(|called| self.policy.is_emergency(called))
    }

    /// Those of an emergency call: no codec is taken out of it, nothing is asked of it that its helpers may refuse, and
    /// they may know who calls (RFC 3325 §7: privacy is a user's wish, and this user wants to be found).
    pub(super) fn for_help(&self) -> Self {
        let mut settings = Self { codecs: Vec::new(), session_timer: None, ..self.clone() };
        for trunk in &mut settings.trunks {
            if trunk.shows_identity == ShownIdentity::Public {
                trunk.shows_identity = ShownIdentity::Trusted;
            }
        }
        settings
    }

    /// True for a URI at us as `side` sees us, or at a name of ours.
    pub(super) fn is_us(&self, side: Side, uri: &Uri<'_>) -> bool {
        match uri.ip() {
            Some(ip) => self.is_ours(side, ip),
            None => self.names.iter().any(|name| is_name(uri.host, name)),
        }
    }

    /// True for a URI at the PBX. It and we may have one address, but not one port.
    pub(super) fn is_pbx(&self, uri: &Uri<'_>) -> bool {
        let port = uri.port.unwrap_or(self.pbx.transport.default_port());
        match uri.ip() {
            Some(ip) => {
                let alone = port == self.pbx.address.port() || !self.is_ours(Side::Inside, ip);
                ip == self.pbx.address.ip() && alone
            }
            None => self.pbx_name.as_deref().is_some_and(|name| is_name(uri.host, name)),
        }
    }

    /// True if `ip` is one of ours as `side` sees us.
    pub(super) fn is_ours(&self, side: Side, ip: IpAddr) -> bool {
        let has = |local: &Local| local.main.ip() == ip || local.by_transport.iter().any(|hop| hop.address.ip() == ip);
        let as_seen = match side {
            Side::Inside => {
                let mut ways = self.ways.iter().filter(|way| self.pbx_networks.contains(&way.network));
                has(&self.local_inside) || ways.any(|way| has(&way.local))
            }
            Side::Outside => {
                let mut ways = self.ways.iter().map(|way| &way.local);
                self.public_address == Some(ip) || has(&self.local_outside) || ways.any(has)
            }
        };
        as_seen || self.listening.contains(&ip)
    }
}

/// Means the same host everywhere.
fn is_global(ip: IpAddr) -> bool {
    !(is_private(ip) || ip.is_loopback())
}

/// How closely `ip` is named as the address of a host, or by networks: the length of the longest prefix. A host is a
/// network of one address.
fn closeness(is_host: bool, networks: &[IpNet], ip: IpAddr) -> Option<u8> {
    if is_host {
        return Some(IpNet::from(ip).prefix_len());
    }
    networks.iter().filter(|network| network.contains(&ip)).map(IpNet::prefix_len).max()
}

/// True if `host` is this name; each may end in the dot of the root.
fn is_name(host: &str, name: &str) -> bool {
    let [host, name] = [host, name].map(|name| name.strip_suffix('.').unwrap_or(name));
    host.eq_ignore_ascii_case(name)
}
