//! Names of the settings into addresses, and which address of ours each side sees.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _, UdpSocket};
use std::sync::Arc;

use super::public::Public;
use crate::call::{self, Local};
use crate::config::{
    DnsSettings, HostPort, ListenSettings, PublicAddress, Roots, Settings, SipSettings, TrunkSettings,
};
use crate::gate;
use crate::io::names::{self, Answers, Question};
use crate::io::streams;
use crate::sip::flow::{Hop, Transport};
use crate::trunk::Target;

/// Sockets of a call: RTP and RTCP for each leg.
const SOCKETS_A_CALL: usize = 4;
/// Open files that are left to everything but calls: listeners, connections, records, logs.
const OTHER_FILES: usize = 128;

/// Hosts behind each trunk's address, by its name.
pub(super) type Targets = HashMap<Arc<str>, Vec<Target>>;

/// Addresses of the settings, resolved.
#[derive(Clone, Debug)]
pub(super) struct Resolved {
    pub(super) pbx: SocketAddr,
    pub(super) trunks: Targets,
    /// Where trunks and PBX were before. Running calls may still come from there, and are not limited like strangers'.
    pub(super) former: VecDeque<IpAddr>,
    /// What the outside sees of us.
    pub(super) public: Public,
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
        let trunks_before = before.trunks.values().flatten().map(|target| target.hop.address);
        for ip in trunks_before.chain([before.pbx]).map(|address| address.ip()) {
            if !former.contains(&ip) {
                former.push_back(ip);
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
    let unusable = || NoPbx::Unusable(format!("{host} has no address of the kind that `listen` uses, or only ours"));
    pbx_among(settings, &addresses, before).ok_or_else(unusable)
}

/// Which of its addresses the PBX is spoken to at: where it was `before`, as long as its name has that address.
pub(super) fn pbx_among(
    settings: &Settings,
    addresses: &[SocketAddr],
    before: Option<SocketAddr>,
) -> Option<SocketAddr> {
    // What the socket can reach: a dual-stack name is used over the listener's family.
    let listener = settings.listen.iter().find(|listen| listen.hop.transport == settings.pbx.transport);
    let family = listener.map(|listen| listen.hop.address.is_ipv4());
    let mut usable = addresses.iter().filter(|address| family.is_none_or(|v4| address.is_ipv4() == v4)).copied();
    let stays = before.filter(|before| usable.clone().any(|address| address == *before));
    // Whoever can forge an answer must not have calls go round in a circle.
    stays.or_else(|| usable.find(|address| names::may_be_a_peer(*address, &ours(settings, *address))))
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
    let [local_outside, local_inside] = local(settings, resolved, bound)?;
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
    let addresses = addresses.chain(resolved.former.iter().copied()).map(ipnet::IpNet::from);
    let networks = settings.trunks.iter().flat_map(|trunk| &trunk.networks).chain(&settings.pbx.networks).copied();
    gate::Settings { trusted: addresses.chain(networks).collect(), ..settings.gate.clone() }
}

/// Settings of the connections: limits, and certificates of both sides.
pub(super) fn stream_settings(settings: &Settings, resolved: &Resolved) -> Result<streams::Settings, String> {
    let identity =
        |(number, listen): (usize, &ListenSettings)| Some((number, listen.identity.as_ref()?.config().clone()));
    let mut clients = HashMap::new();
    let pbx = Hop { address: resolved.pbx, transport: settings.pbx.transport };
    let mut hops = vec![(pbx, &settings.pbx.address, &settings.pbx.roots, &settings.pbx.client_identity)];
    for TrunkSettings { name, address, roots, client_identity, .. } in &settings.trunks {
        let targets = resolved.trunks.get(name).into_iter().flatten();
        hops.extend(targets.map(|target| (target.hop, address, roots, client_identity)));
    }
    for (hop, host, roots, client_identity) in hops {
        if hop.transport != Transport::Tls {
            continue;
        }
        let roots = match roots {
            Some(roots) => roots.clone(),
            None => Roots::of_system().map_err(|error| format!("{host}: {error}"))?,
        };
        // The name that was asked for, not one that the DNS made of it (RFC 5922 §7.1).
        let name = streams::server_name(&host.host).ok_or_else(|| format!("{host}: no certificate can be for it"))?;
        let config = roots.config(client_identity.as_ref()).map_err(|error| format!("{host}: {error}"))?;
        clients.insert(hop.address, streams::Client { config, name });
    }
    Ok(streams::Settings {
        max: settings.connections.max,
        max_per_source: settings.connections.max_per_source,
        idle_for: settings.connections.idle_for,
        handshake_for: settings.connections.handshake_for,
        limits: settings.sip.limits.clone(),
        identities: settings.listen.iter().enumerate().filter_map(identity).collect(),
        clients,
        dscp: settings.sip.dscp,
    })
}

/// Our addresses as trunks and the PBX see them.
pub(super) fn local(settings: &Settings, resolved: &Resolved, bound: &[Hop]) -> Result<[Local; 2], String> {
    let mut trunks: Vec<&TrunkSettings> = settings.trunks.iter().collect();
    trunks.sort_by_key(|trunk| trunk.priority);
    let inside = local_towards(resolved.pbx, bound)?;
    let mut known = trunks.iter().filter_map(|trunk| resolved.trunks.get(&trunk.name)).flatten();
    if let Some(target) = known.next() {
        return Ok([local_towards(target.hop.address, bound)?, inside]);
    }
    // No trunk is resolved yet. Calls may come all the same, from their networks, or else from somewhere: the PBX may be
    // on this machine, whose address of itself is no use to anybody else.
    let networks = trunks.iter().flat_map(|trunk| &trunk.networks).map(ipnet::IpNet::addr);
    let mut peers = networks.chain(SOMEWHERE).map(|ip| SocketAddr::new(ip, 5_060));
    let outside = peers.find_map(|peer| local_towards(peer, bound).ok());
    Ok([outside.unwrap_or_else(|| inside.clone()), inside])
}

/// The listening addresses that `peer` sees, by transport.
fn local_towards(peer: SocketAddr, bound: &[Hop]) -> Result<Local, String> {
    let reaches = |hop: &&Hop| hop.address.is_ipv4() == peer.is_ipv4();
    let main = bound.iter().find(reaches).ok_or_else(|| format!("no listening address can reach {peer}"))?;
    let mut by_transport = Vec::new();
    for transport in Transport::ALL {
        if let Some(hop) = bound.iter().filter(reaches).find(|hop| hop.transport == transport) {
            by_transport.push(Hop { address: seen_by(peer, hop.address)?, transport });
        }
    }
    Ok(Local { main: seen_by(peer, main.address)?, by_transport })
}

/// A listening address as `peer` sees it: a socket bound to every address is seen with that of the route.
fn seen_by(peer: SocketAddr, listener: SocketAddr) -> Result<SocketAddr, String> {
    if !listener.ip().is_unspecified() {
        return Ok(listener);
    }
    // Connecting a UDP socket sends nothing; it only asks the system for the route.
    let any: IpAddr = if peer.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let route = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect(peer)?;
        socket.local_addr()
    });
    let route = route.map_err(|error| format!("there is no route to {peer}: {error}"))?;
    Ok(SocketAddr::new(route.ip(), listener.port()))
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
            let [outside, inside] = local(settings, &resolved, &bound).unwrap();
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
    }
}
