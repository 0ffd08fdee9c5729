//! Names of the settings into addresses, and which address of ours each side sees.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;

use ipnet::IpNet;

use super::public::Public;
use crate::call::{self, Local, Way};
use crate::config::{
    ClientIdentity, DnsSettings, HostPort, ListenSettings, PublicAddress, Roots, Settings, SipSettings, TrunkSettings,
};
use crate::gate;
use crate::io::names::{self, Answers, Question};
use crate::io::route;
use crate::io::streams;
use crate::sip::flow::{ANY_SOCKET, Hop, Transport};
use crate::trunk::Target;

/// Sockets of a call: RTP and RTCP for each leg.
const SOCKETS_A_CALL: usize = 4;
/// Open files that are left to everything but calls: listeners, connections, records, logs.
const OTHER_FILES: usize = 128;

/// Peers whose routes are asked for, once a second; those beyond see us where the first trunk or the PBX does.
const MOST_WAYS: usize = 256;

/// Hosts behind each trunk's address, by its name.
pub(super) type Targets = HashMap<Arc<str>, Vec<Target>>;

/// Addresses of the settings, resolved.
#[derive(Clone, Debug)]
pub(super) struct Resolved {
    pub(super) pbx: SocketAddr,
    pub(super) trunks: Targets,
    /// Where trunks and PBX were before. Running calls may still come from there, and are not limited like strangers'.
    pub(super) former: VecDeque<Former>,
    /// What the outside sees of us.
    pub(super) public: Public,
}

/// An address that somebody had.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Former {
    ip: IpAddr,
    /// None: the PBX.
    trunk: Option<Arc<str>>,
}

/// Addresses that lead nowhere but outside (RFC 5737, RFC 3849).
const SOMEWHERE: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xDB8, 0, 0, 0, 0, 0, 1))];

/// Former addresses that are remembered: a trunk has a handful, and calls on them end.
const MOST_FORMER: usize = 64;

impl Resolved {
    /// The addresses that follow `before`.
    pub(super) fn after(before: &Self, pbx: SocketAddr, trunks: Targets, public: Public) -> Self {
        let mut former = before.former.clone();
        let targets = before.trunks.iter().flat_map(|(name, targets)| targets.iter().map(move |target| (name, target)));
        let hosts = targets.map(|(name, target)| Former { ip: target.hop.address.ip(), trunk: Some(Arc::clone(name)) });
        for one in hosts.chain([Former { ip: before.pbx.ip(), trunk: None }]) {
            if !former.contains(&one) {
                former.push_back(one);
            }
        }
        while former.len() > MOST_FORMER {
            former.pop_front();
        }
        Self { pbx, trunks, former, public }
    }
}

/// Why the PBX has no address.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoPbx {
    /// Its name is not known, now.
    #[error("{0}")]
    Unknown(String),
    /// The settings name one that cannot be used.
    #[error("{0}")]
    Unusable(String),
}

/// The PBX's address; `before` as long as it still is one. The system's resolver is asked. That may take seconds, so it
/// is done at the start and on reload only, never while a call waits.
pub(super) fn pbx(settings: &Settings, before: Option<SocketAddr>) -> Result<SocketAddr, NoPbx> {
    let host = &settings.pbx.address;
    let found = (host.host.as_str(), host.port).to_socket_addrs();
    let unknown = |error| NoPbx::Unknown(format!("{host} cannot be resolved: {error}"));
    let addresses: Vec<SocketAddr> = found.map_err(unknown)?.collect();
    let unusable = || NoPbx::Unusable(format!("{host} {}", no_use(settings, &addresses)));
    pbx_among(settings, &addresses, before).ok_or_else(unusable)
}

/// Why the PBX can be spoken to at none of these addresses.
fn no_use(settings: &Settings, addresses: &[SocketAddr]) -> &'static str {
    let families = families(settings);
    let mut reached = addresses.iter().filter(|address| families.contains(&address.is_ipv4())).peekable();
    if reached.peek().is_none() {
        "cannot be reached: no [[listen]] of its transport has an address of its kind (IPv4 or IPv6)"
    } else if reached.any(|address| ours(settings, *address).contains(address)) {
        "is where Ringfence itself listens: give one of the two another port"
    } else {
        "is no address of one host"
    }
}

/// Over what our sockets can reach the PBX, the first before others: is it IPv4?
fn families(settings: &Settings) -> Vec<bool> {
    let listeners = settings.listen.iter().filter(|listen| listen.hop.transport == settings.pbx.transport);
    listeners.map(|listen| listen.hop.address.is_ipv4()).collect()
}

/// Which of its addresses the PBX is spoken to at: where it was `before`, as long as its name has that address.
pub(super) fn pbx_among(
    settings: &Settings,
    addresses: &[SocketAddr],
    before: Option<SocketAddr>,
) -> Option<SocketAddr> {
    // A dual-stack name is used over the family of the first socket.
    let families = families(settings);
    let rank = |address: &SocketAddr| families.iter().position(|v4| *v4 == address.is_ipv4());
    let mut usable: Vec<SocketAddr> = addresses.iter().filter(|address| rank(address).is_some()).copied().collect();
    usable.sort_by_key(rank);
    let stays = before.filter(|before| usable.contains(before));
    // Whoever can forge an answer must not have calls go round in a circle.
    stays.or_else(|| usable.into_iter().find(|address| names::may_be_a_peer(*address, &ours(settings, *address))))
}

/// The PBX's name to be followed; None: its address is stated.
pub(super) fn pbx_name(settings: &Settings) -> Option<(String, u16)> {
    let HostPort { host, port, .. } = &settings.pbx.address;
    host.parse::<IpAddr>().is_err().then(|| (host.clone(), *port))
}

/// Where we listen, as this machine and `peer` see it.
fn ours(settings: &Settings, peer: SocketAddr) -> Vec<SocketAddr> {
    let ours = settings.listen.iter().map(|listen| listen.hop.address);
    let seen = ours.clone().filter_map(|address| seen_by(peer, address).ok());
    let loopback = ours.clone().filter(|address| address.ip().is_unspecified()).map(|address| {
        let ip: IpAddr = if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
        SocketAddr::new(ip, address.port())
    });
    ours.clone().chain(seen).chain(loopback).collect()
}

/// Settings of the resolver.
pub(super) fn name_settings(settings: &Settings, pbx: SocketAddr) -> names::Settings {
    let DnsSettings { servers, keep_at_least, keep_at_most, timeout } = settings.dns.clone();
    let never = ours(settings, pbx).into_iter().chain([pbx]).collect();
    names::Settings { servers, keep_at_least, keep_at_most, timeout, never }
}

/// What to ask the DNS for all trunks.
pub(super) fn questions(settings: &Settings) -> Vec<Question> {
    settings.trunks.iter().filter_map(|trunk| question(settings, trunk)).collect()
}

/// What to ask the DNS for a trunk; None: it is given by its address.
fn question(settings: &Settings, trunk: &TrunkSettings) -> Option<Question> {
    let HostPort { host, port, stated } = &trunk.address;
    if host.parse::<IpAddr>().is_ok() {
        return None;
    }
    let usable = settings.listen.iter().map(|listen| (listen.hop.transport, listen.hop.address.is_ipv4()));
    let usable = usable.filter(|(transport, _)| trunk.transport.is_none_or(|wanted| wanted == *transport));
    let mut usable: Vec<(Transport, bool)> = usable.collect();
    usable.sort_by_key(|(transport, v4)| (*transport, !v4));
    usable.dedup();
    let (host, port) = (host.to_ascii_lowercase(), stated.then_some(*port));
    Some(Question { host, port, transport: trunk.transport, usable })
}

/// The hosts of every trunk, as far as they are known.
pub(super) fn targets(settings: &Settings, answers: &Answers) -> Targets {
    let of = |trunk: &TrunkSettings| match question(settings, trunk) {
        Some(question) => answers.get(&question).cloned().unwrap_or_default(),
        None => {
            let first = settings.listen.first().map_or(Transport::Udp, |listen| listen.hop.transport);
            let transport = trunk.transport.unwrap_or(first);
            let ip = trunk.address.host.parse::<IpAddr>();
            let hop = ip.map(|ip| Hop { address: SocketAddr::new(ip, trunk.address.port), transport });
            hop.map(Target::only).into_iter().collect()
        }
    };
    settings.trunks.iter().map(|trunk| (Arc::clone(&trunk.name), of(trunk))).collect()
}

/// Host names that stand for us: those of the settings, and the one that our public address goes by.
fn our_names(sip: &SipSettings) -> impl Iterator<Item = &str> {
    let public = match &sip.public_address {
        Some(PublicAddress::Named(name)) => Some(name),
        Some(PublicAddress::Is(_)) | None => None,
    };
    sip.names.iter().chain(public).map(String::as_str)
}

/// Settings of the switchboard. `bound`: listening addresses as bound.
pub(super) fn call_settings(settings: &Settings, resolved: &Resolved, bound: &[Hop]) -> Result<call::Settings, String> {
    let pbx = Hop { address: resolved.pbx, transport: settings.pbx.transport };
    let mut ordered: Vec<&TrunkSettings> = settings.trunks.iter().collect();
    // Stable: trunks of one priority stay as the file has them.
    ordered.sort_by_key(|trunk| trunk.priority);
    let trunk = |trunk: &&TrunkSettings| call::Trunk {
        name: Arc::clone(&trunk.name),
        targets: resolved.trunks.get(&trunk.name).cloned().unwrap_or_default(),
        host: Arc::from(trunk.address.host.as_str()),
        networks: trunk.networks.clone(),
        trusts_targets: trunk.trust_address,
        register: trunk.register.clone(),
        keep_alive: trunk.keep_alive,
        answer_within: trunk.answer_within,
        believes_identity: trunk.believe_identity,
        shows_identity: trunk.show_identity,
    };
    let trunks: Vec<call::Trunk> = ordered.iter().map(trunk).collect();
    let Locals { outside: local_outside, inside: local_inside, ways } = local(settings, resolved, bound)?;
    Ok(call::Settings {
        generation: settings.generation,
        enforce: settings.enforce,
        pbx,
        pbx_networks: settings.pbx.networks.clone(),
        pbx_name: Some(&settings.pbx.address.host)
            .filter(|host| host.parse::<IpAddr>().is_err())
            .map(|host| host.as_str().into()),
        names: our_names(&settings.sip).map(Into::into).collect(),
        pbx_keep_alive: settings.pbx.keep_alive,
        srtp: call::SrtpSettings {
            inside: settings.pbx.srtp,
            // By the order of `trunks`.
            outside: ordered.iter().map(|trunk| trunk.srtp).collect(),
        },
        trunks,
        local_outside,
        local_inside,
        ways,
        listening: bound.iter().map(|hop| hop.address.ip()).filter(|ip| !ip.is_unspecified()).collect(),
        public_address: resolved.public.sip,
        public_media_address: resolved.public.media,
        codecs: settings.media.codecs.clone(),
        redirects: settings.sip.redirects,
        policy: Arc::clone(&settings.policy),
        watch_for: settings.detect.watch_for,
        callee_hears: settings.divert.callee,
        caller_hears: settings.divert.caller,
        take_back_key: settings.divert.take_back_key,
        wire_limits: settings.sip.limits.clone(),
        large_over_tcp: settings.sip.large_over_tcp,
        max_calls: settings.sip.max_calls.min(calls_with_sockets(settings)),
        session_timer: settings.calls.session_timer,
        held_check: settings.calls.held_check,
        longest_restored: settings.restart.longest_call,
    })
}

/// How many calls there are ports and open files for. A flood of calls must meet a limit that keeps room for others,
/// not a media path that has nothing left for anybody. Of many, some are kept for emergency calls, which may be more.
fn calls_with_sockets(settings: &Settings) -> usize {
    const KEPT: usize = 16;
    let ports = usize::from(settings.media.last_port.saturating_sub(settings.media.first_port)) + 1;
    let calls = ports.min(files_for_calls()) / SOCKETS_A_CALL;
    (calls - (calls / KEPT).min(call::EMERGENCIES)).max(1)
}

/// Open files that calls may have. Where the system names no limit, ports alone decide.
pub(super) fn files_for_calls() -> usize {
    let text = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let files =
        text.lines().find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().next()?.parse().ok());
    files.map_or(usize::MAX, |files: usize| files.saturating_sub(OTHER_FILES))
}

/// Settings of the gate: trunks and PBX are trusted.
pub(super) fn gate_settings(settings: &Settings, resolved: &Resolved) -> gate::Settings {
    // Those that may not call answer us all the same, and nobody can have them blocked.
    let targets = settings.trunks.iter().filter_map(|trunk| resolved.trunks.get(&trunk.name)).flatten();
    let addresses = targets.map(|target| target.hop.address.ip()).chain([resolved.pbx.ip()]);
    let addresses = addresses.chain(resolved.former.iter().map(|former| former.ip)).map(IpNet::from);
    let networks = settings.trunks.iter().flat_map(|trunk| &trunk.networks).chain(&settings.pbx.networks).copied();
    gate::Settings { trusted: addresses.chain(networks).collect(), ..settings.gate.clone() }
}

/// A trunk or the PBX, as far as it may be spoken to over TLS.
struct TlsPeer<'a> {
    host: &'a HostPort,
    roots: Option<&'a Roots>,
    client_identity: Option<&'a ClientIdentity>,
    /// Where it is called over TLS.
    hops: Vec<Hop>,
    /// Where else it may come from.
    networks: Vec<IpNet>,
}

fn tls_peers<'a>(settings: &'a Settings, resolved: &'a Resolved) -> impl Iterator<Item = TlsPeer<'a>> {
    let from = |trunk: Option<&Arc<str>>, networks: &[IpNet]| {
        let former = resolved.former.iter().filter(|former| former.trunk.as_ref() == trunk);
        networks.iter().copied().chain(former.map(|former| former.ip.into())).collect()
    };
    let over_tls = |hop: &Hop| hop.transport == Transport::Tls;
    let pbx = &settings.pbx;
    let hop = Hop { address: resolved.pbx, transport: pbx.transport };
    let inside = TlsPeer {
        host: &pbx.address,
        roots: pbx.roots.as_ref(),
        client_identity: pbx.client_identity.as_ref(),
        hops: Some(hop).into_iter().filter(over_tls).collect(),
        networks: from(None, &pbx.networks),
    };
    let outside = settings.trunks.iter().map(move |trunk| {
        let targets = resolved.trunks.get(&trunk.name).into_iter().flatten();
        TlsPeer {
            host: &trunk.address,
            roots: trunk.roots.as_ref(),
            client_identity: trunk.client_identity.as_ref(),
            hops: targets.map(|target| target.hop).filter(over_tls).collect(),
            networks: from(Some(&trunk.name), &trunk.networks),
        }
    });
    std::iter::once(inside).chain(outside)
}

/// How the certificate of `host` is checked.
fn tls_client(
    host: &HostPort,
    roots: Option<&Roots>,
    identity: Option<&ClientIdentity>,
) -> Result<streams::Client, String> {
    let roots = match roots {
        Some(roots) => roots.clone(),
        None => Roots::of_system().map_err(|error| error.to_string())?,
    };
    // The name that was asked for, not one that the DNS made of it (RFC 5922 §7.1).
    let name = streams::server_name(&host.host).ok_or("no certificate can be for it")?;
    let config = roots.config(identity).map_err(|error| error.to_string())?;
    Ok(streams::Client { config, name })
}

/// Settings of the connections: limits, and certificates of both sides.
pub(super) fn stream_settings(settings: &Settings, resolved: &Resolved) -> streams::Settings {
    let identity =
        |(number, listen): (usize, &ListenSettings)| Some((number, listen.identity.as_ref()?.config().clone()));
    let accepts = settings.listen.iter().any(|listen| listen.hop.transport == Transport::Tls);
    let (mut clients, mut networks) = (BTreeMap::new(), Vec::new());
    for peer in tls_peers(settings, resolved) {
        // Who connects to us over TLS may have to be connected to: for a BYE, once its own connection is gone.
        let reachable = if accepts { peer.networks } else { Vec::new() };
        if peer.hops.is_empty() && reachable.is_empty() {
            continue;
        }
        let client = match tls_client(peer.host, peer.roots, peer.client_identity) {
            Ok(client) => client,
            Err(_) if peer.hops.is_empty() => continue,
            // What goes to its hosts is not sent; all others are spoken to.
            Err(problem) => {
                tracing::error!(peer = %peer.host, problem, "Cannot be spoken to over TLS");
                continue;
            }
        };
        clients.extend(peer.hops.into_iter().map(|hop| (hop.address, client.clone())));
        networks.extend(reachable.into_iter().map(|network| (network, client.clone())));
    }
    // Whoever names a source most closely has it, as with calls.
    networks.sort_by_key(|(network, _)| Reverse(network.prefix_len()));
    streams::Settings {
        max: settings.connections.max,
        max_per_source: settings.connections.max_per_source,
        idle_for: settings.connections.idle_for,
        handshake_for: settings.connections.handshake_for,
        limits: settings.sip.limits.clone(),
        identities: settings.listen.iter().enumerate().filter_map(identity).collect(),
        clients,
        networks,
        dscp: settings.sip.dscp,
    }
}

/// Our addresses as peers see them.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Locals {
    /// Of trunks, where nothing else is known of the peer.
    pub(super) outside: Local,
    /// Of the PBX.
    pub(super) inside: Local,
    /// The smallest networks first.
    pub(super) ways: Vec<Way>,
}

/// Our addresses as trunks and the PBX see them.
pub(super) fn local(settings: &Settings, resolved: &Resolved, bound: &[Hop]) -> Result<Locals, String> {
    let mut trunks: Vec<&TrunkSettings> = settings.trunks.iter().collect();
    trunks.sort_by_key(|trunk| trunk.priority);
    let inside = local_towards(resolved.pbx, bound)?;
    let ways = ways(settings, resolved, bound);
    let known = trunks.iter().filter_map(|trunk| resolved.trunks.get(&trunk.name)).flatten();
    let mut known = known.map(|target| local_towards(target.hop.address, bound));
    if let Some(first) = known.next() {
        // A trunk to which no route leads just now does not keep the others waiting.
        let outside = first.or_else(|problem| known.find_map(Result::ok).ok_or(problem))?;
        return Ok(Locals { outside, inside, ways });
    }
    // No trunk is resolved yet. Calls may come all the same, from their networks, or else from somewhere: the PBX may
    // be on this machine, whose address of itself is no use to anybody else.
    let networks = trunks.iter().flat_map(|trunk| &trunk.networks).map(IpNet::addr);
    let mut peers = networks.chain(SOMEWHERE).map(|ip| SocketAddr::new(ip, 5_060));
    let outside = peers.find_map(|peer| local_towards(peer, bound).ok());
    Ok(Locals { outside: outside.unwrap_or_else(|| inside.clone()), inside, ways })
}

/// Where each peer that is known sees us.
fn ways(settings: &Settings, resolved: &Resolved, bound: &[Hop]) -> Vec<Way> {
    let hosts = resolved.trunks.values().flatten().map(|target| target.hop.address.ip());
    // A wide network's first host may be elsewhere than those that are known in it: the PBX's first.
    let hosts: Vec<IpAddr> = [resolved.pbx.ip()].into_iter().chain(hosts).collect();
    let networks = settings.trunks.iter().flat_map(|trunk| &trunk.networks).chain(&settings.pbx.networks).copied();
    let peers: BTreeSet<IpNet> = hosts.iter().copied().map(IpNet::from).chain(networks).collect();
    let mut peers: Vec<IpNet> = peers.into_iter().collect();
    peers.sort_by_key(|network| Reverse(network.prefix_len()));
    let way = |network: IpNet| {
        // A network's own address may be none that anything can be sent to.
        let known = hosts.iter().copied().find(|ip| network.contains(ip));
        let peer = SocketAddr::new(known.or_else(|| network.hosts().next()).unwrap_or(network.addr()), 5_060);
        Some(Way { network, local: local_towards(peer, bound).ok()? })
    };
    peers.into_iter().take(MOST_WAYS).filter_map(way).collect()
}

/// The listening addresses that `peer` sees, by transport: of several, that of the network card which leads there.
fn local_towards(peer: SocketAddr, bound: &[Hop]) -> Result<Local, String> {
    let route = route::source_towards(peer).ok();
    let reached = || bound.iter().enumerate().filter(|(_, hop)| hop.address.is_ipv4() == peer.is_ipv4());
    let far = |(_, hop): &(usize, &Hop)| route::distance(hop.address.ip(), route);
    let main = reached().min_by_key(far);
    let (_, main) = main.ok_or_else(|| format!("no listening address can reach {peer}"))?;
    let mut local = Local::only(seen_by(peer, main.address)?);
    for transport in Transport::ALL {
        let listeners = reached().filter(|(_, hop)| hop.transport == transport);
        let Some((number, hop)) = listeners.min_by_key(far) else { continue };
        local.by_transport.push(Hop { address: seen_by(peer, hop.address)?, transport });
        if transport == Transport::Udp {
            local.socket = u8::try_from(number).unwrap_or(ANY_SOCKET);
        }
    }
    Ok(local)
}

/// A listening address as `peer` sees it: a socket bound to every address is seen with that of the route.
fn seen_by(peer: SocketAddr, listener: SocketAddr) -> Result<SocketAddr, String> {
    if !listener.ip().is_unspecified() {
        return Ok(listener);
    }
    let source = route::source_towards(peer).map_err(|error| format!("there is no route to {peer}: {error}"))?;
    Ok(SocketAddr::new(source, listener.port()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::SrtpPolicy;
    use crate::config::{files_in, load};

    #[test]
    fn each_trunk_keeps_its_word_on_srtp_when_they_are_put_in_order() {
        let text = "[pbx]\naddress = \"127.0.0.5\"\n[[trunk]]\nname = \"last\"\naddress = \"127.0.2.1\"\npriority = 2\n\
                    srtp = \"require\"\n[[trunk]]\nname = \"first\"\naddress = \"127.0.2.2\"\n";
        let settings = load(text, &files_in(std::path::Path::new("."))).unwrap();
        let trunks = targets(&settings, &Answers::default());
        let resolved = Resolved {
            pbx: "127.0.0.5:5060".parse().unwrap(),
            trunks,
            former: VecDeque::new(),
            public: Public::default(),
        };

        let call = call_settings(&settings, &resolved, &[Hop::udp("127.0.0.1:5060".parse().unwrap())]).unwrap();

        let names: Vec<&str> = call.trunks.iter().map(|trunk| &*trunk.name).collect();
        assert_eq!((names, call.srtp.outside), (vec!["first", "last"], vec![SrtpPolicy::Off, SrtpPolicy::Require]));
    }

    #[test]
    fn who_may_come_over_tls_can_be_connected_to() {
        let folder = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(vec!["ringfence.test".to_owned()]).unwrap();
        for (name, text) in [("cert.pem", made.cert.pem()), ("key.pem", made.signing_key.serialize_pem())] {
            std::fs::write(folder.path().join(name), text).unwrap();
            let closed = std::os::unix::fs::PermissionsExt::from_mode(0o640);
            std::fs::set_permissions(folder.path().join(name), closed).unwrap();
        }
        let text = "[[listen]]\ntransport = \"tls\"\naddress = \"127.0.0.1:5061\"\ncertificate = \"cert.pem\"\n\
                    key = \"key.pem\"\n[pbx]\naddress = \"127.0.0.5:5061\"\ntransport = \"tls\"\n\
                    ca = \"cert.pem\"\nnetworks = [\"127.0.0.0/8\"]\n[[trunk]]\nname = \"one\"\n\
                    address = \"trunk.example\"\ntransport = \"tls\"\nca = \"cert.pem\"\n\
                    networks = [\"127.9.0.0/16\"]\n";
        let settings = load(text, &files_in(folder.path())).unwrap();
        let hop = |ip: &str| Hop { address: format!("{ip}:5061").parse().unwrap(), transport: Transport::Tls };
        let [was, is] =
            ["127.8.0.1", "127.8.0.2"].map(|ip| HashMap::from([("one".into(), vec![Target::only(hop(ip))])]));
        let before =
            Resolved { pbx: hop("127.0.0.4").address, trunks: was, former: VecDeque::new(), public: Public::default() };
        let resolved = Resolved::after(&before, hop("127.0.0.5").address, is, Public::default());

        let streams = stream_settings(&settings, &resolved);

        let (pbx, trunk) = (streams::server_name("127.0.0.5"), streams::server_name("trunk.example"));
        for (ip, name) in [
            ("127.0.0.5", &pbx),
            ("127.0.0.4", &pbx),
            ("127.5.1.1", &pbx),
            ("127.8.0.2", &trunk),
            ("127.8.0.1", &trunk),
            ("127.9.1.1", &trunk),
            ("126.7.0.1", &None),
        ] {
            // From a port of its own.
            let at = SocketAddr::new(hop(ip).address.ip(), 40_000);
            assert_eq!(streams.client(at).map(|client| &client.name), name.as_ref(), "{ip}");
        }
    }

    #[test]
    fn a_trunk_that_cannot_be_spoken_to_over_tls_costs_no_other_one() {
        let text = "[pbx]\naddress = \"127.0.0.5\"\n[[trunk]]\nname = \"one\"\naddress = \"127.0.2.1\"\n\
                    [[trunk]]\nname = \"two\"\naddress = \"127.0.2.2\"\n";
        let mut settings = load(text, &files_in(std::path::Path::new("."))).unwrap();
        let made = rcgen::generate_simple_self_signed(vec!["ringfence.test".to_owned()]).unwrap();
        for (trunk, host) in settings.trunks.iter_mut().zip(["no name", "two.example"]) {
            trunk.address.host = host.to_owned();
            trunk.roots = Some(Roots::from_pem(&made.cert.pem()).unwrap());
        }
        let hop = |ip: &str| Hop { address: format!("{ip}:5061").parse().unwrap(), transport: Transport::Tls };
        let [one, two] = [hop("127.0.2.1"), hop("127.0.2.2")];
        let resolved = Resolved {
            pbx: "127.0.0.5:5060".parse().unwrap(),
            trunks: [("one", one), ("two", two)].map(|(name, hop)| (name.into(), vec![Target::only(hop)])).into(),
            former: VecDeque::new(),
            public: Public::default(),
        };

        let streams = stream_settings(&settings, &resolved);

        assert!(streams.client(one.address).is_none() && streams.client(two.address).is_some());
    }

    #[test]
    fn before_any_trunk_is_resolved_the_outside_is_not_this_machine_itself() {
        let text = "[pbx]\naddress = \"127.0.0.5\"\n[[trunk]]\nname = \"one\"\naddress = \"trunk.example\"\n\
                    networks = [\"127.9.0.0/16\"]\n";
        let settings = load(text, &files_in(std::path::Path::new("."))).unwrap();
        let resolved = Resolved {
            pbx: "127.0.0.5:5060".parse().unwrap(),
            trunks: targets(&settings, &Answers::default()),
            former: VecDeque::new(),
            public: Public::default(),
        };
        let bound = [Hop::udp("0.0.0.0:5060".parse().unwrap())];
        let mut settings = settings;
        let towards = |settings: &Settings| {
            let Locals { outside, inside, .. } = local(settings, &resolved, &bound).unwrap();
            (outside.main.ip(), inside.main.ip())
        };
        let here: IpAddr = "127.0.0.1".parse().unwrap();

        assert!(towards(&settings).0.is_loopback(), "where its calls come from");
        settings.trunks.clear();
        let somewhere = seen_by("192.0.2.1:5060".parse().unwrap(), bound[0].address);
        // A machine without any route has only itself.
        assert_eq!(towards(&settings), (somewhere.map_or(here, |address| address.ip()), here));
    }

    #[test]
    fn of_several_listeners_a_peer_sees_the_one_that_leads_to_it() {
        let hop = |transport, address: &str| Hop { address: address.parse().unwrap(), transport };
        let udp = |address| hop(Transport::Udp, address);
        let towards = |bound: &[Hop]| {
            let local = local_towards("127.0.0.5:5060".parse().unwrap(), bound).unwrap();
            (local.main.to_string(), local.on(Transport::Tcp).to_string(), local.socket)
        };
        let told = |main: &str, tcp: &str, socket| (main.to_owned(), tcp.to_owned(), socket);
        let [six, wide, inner] = ["[::]:5060", "203.0.113.5:5060", "127.0.0.1:5060"].map(udp);
        let [tcp_wide, tcp] = ["203.0.113.5:5070", "127.0.0.1:5070"].map(|address| hop(Transport::Tcp, address));

        assert_eq!(towards(&[wide, inner]), told("127.0.0.1:5060", "127.0.0.1:5060", 1));
        assert_eq!(towards(&[six, tcp_wide, wide, tcp, inner]), told("127.0.0.1:5070", "127.0.0.1:5070", 4));
        // A router may lead from one card to the other: then the first, as it is named.
        assert_eq!(towards(&[wide, udp("203.0.113.6:5060")]), told("203.0.113.5:5060", "203.0.113.5:5060", 0));
        assert_eq!(towards(&[tcp_wide]), told("203.0.113.5:5070", "203.0.113.5:5070", ANY_SOCKET));
        // Bound to all, the first will do.
        assert_eq!(towards(&[udp("0.0.0.0:5060"), udp("127.0.0.1:5070")]).0, "127.0.0.1:5060");
    }

    #[test]
    fn each_peer_sees_us_at_the_end_of_its_own_route() {
        let text = "[[listen]]\naddress = \"127.0.0.1:5060\"\n[[listen]]\naddress = \"[::1]:5060\"\n\
                    [pbx]\naddress = \"127.0.0.5\"\nnetworks = [\"127.0.0.0/24\", \"126.0.0.0/7\"]\n[[trunk]]\nname = \"two\"\n\
                    address = \"[::1]:5999\"\n[[trunk]]\nname = \"one\"\naddress = \"127.0.2.1\"\n\
                    networks = [\"127.0.2.0/24\"]\n";
        let settings = load(text, &files_in(std::path::Path::new("."))).unwrap();
        let resolved = Resolved {
            pbx: "127.0.0.5:5060".parse().unwrap(),
            trunks: targets(&settings, &Answers::default()),
            former: VecDeque::new(),
            public: Public::default(),
        };
        let bound = ["127.0.0.1:5060", "[::1]:5060"].map(|address| Hop::udp(address.parse().unwrap()));

        let both = local(&settings, &resolved, &bound).unwrap();
        let everywhere = [Hop::udp("0.0.0.0:5060".parse().unwrap())];
        let wide = ways(&settings, &resolved, &everywhere).into_iter().find(|way| way.network.prefix_len() == 7);
        assert_eq!(wide.map(|way| way.local.main), Some(bound[0].address), "the PBX is known in it");
        let four_alone = local(&settings, &resolved, &bound[..1]).unwrap();

        let told = |way: &Way| format!("{} {} {}", way.network, way.local.main, way.local.socket);
        let ways: Vec<String> = both.ways.iter().map(told).collect();
        let (four, six) = ("127.0.0.1:5060 0", "[::1]:5060 1");
        let by_four = |network: &str| format!("{network} {four}");
        // The last one's first host is elsewhere.
        let networks = ["127.0.0.5/32", "127.0.2.1/32", "127.0.0.0/24", "127.0.2.0/24", "126.0.0.0/7"].map(by_four);
        assert_eq!(ways, [[format!("::1/128 {six}")].as_slice(), &networks].concat());
        assert_eq!((both.outside.main, both.inside.main), (bound[1].address, bound[0].address));
        assert_eq!(four_alone.outside.main, bound[0].address, "the first trunk is not reached, and the second is");
    }

    #[test]
    fn the_pbx_stays_where_it_is_while_its_name_says_so() {
        let text = "[pbx]\naddress = \"pbx.example\"\n[[trunk]]\nname = \"one\"\naddress = \"192.0.2.9\"\n";
        let settings = load(text, &files_in(std::path::Path::new("."))).unwrap();
        let [six, one, two] =
            ["[2001:db8::1]:5060", "192.0.2.1:5060", "192.0.2.2:5060"].map(|text| text.parse().unwrap());
        let among = |addresses: &[SocketAddr], before| pbx_among(&settings, addresses, before);

        // The default listens over IPv4.
        assert_eq!(among(&[six, one, two], None), Some(one));
        assert_eq!(among(&[six, one, two], Some(two)), Some(two));
        assert_eq!(among(&[six, one], Some(two)), Some(one));
        assert_eq!((among(&[six], Some(two)), among(&[], Some(two))), (None, None));
        // By default we listen at every address.
        let bad = ["127.0.0.1:5060", "0.0.0.0:5070", "224.0.0.1:5070", "192.0.2.1:0"].map(|text| text.parse().unwrap());
        assert_eq!((among(&bad, Some(two)), among(&[bad[0], one], Some(two))), (None, Some(one)));
        assert_eq!(pbx_name(&settings), Some(("pbx.example".to_owned(), 5060)));

        let both = "[[listen]]\naddress = \"0.0.0.0:5060\"\n[[listen]]\naddress = \"[::]:5060\"\n";
        let settings = load(&format!("{both}{text}"), &files_in(std::path::Path::new("."))).unwrap();
        let among = |addresses: &[SocketAddr]| pbx_among(&settings, addresses, None);
        assert_eq!((among(&[six]), among(&[six, one])), (Some(six), Some(one)));
    }
}
