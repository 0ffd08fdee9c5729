//! Names of the settings into addresses, and which address of ours each side sees.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;

use ipnet::IpNet;

use super::public::Public;
use crate::call::{Local, Way};
use crate::config::{DnsSettings, HostPort, Settings, TrunkSettings};
use crate::io::names::{self, Answers, Question};
use crate::io::route;
use crate::sip::flow::{ANY_SOCKET, Hop, Transport};
use crate::trunk::Target;

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
    pub(super) ip: IpAddr,
    /// None: the PBX.
    pub(super) trunk: Option<Arc<str>>,
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
    use crate::config::{files_in, load};

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
