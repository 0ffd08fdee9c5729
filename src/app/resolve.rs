//! Names of the settings into addresses, and which address of ours each side sees.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _, UdpSocket};
use std::sync::Arc;

use crate::call::{self, Local};
use crate::config::{HostPort, ListenSettings, Roots, Settings};
use crate::gate;
use crate::io::streams;
use crate::sip::flow::{Hop, Transport};

/// A pair for each leg.
const SOCKETS_A_CALL: usize = 4;
/// Sockets, files and pipes of everything that is no call.
const OTHER_FILES: usize = 128;

pub(super) type Names = HashMap<HostPort, SocketAddr>;

/// Resolves every host of the settings. The system's resolver is asked; this may take seconds, so it is done at the
/// start and on reload only, never while a call waits.
pub(super) fn names(settings: &Settings) -> Result<Names, String> {
    let mut names = Names::new();
    for (host, transport) in hosts(settings) {
        let found = (host.host.as_str(), host.port).to_socket_addrs();
        let mut addresses = found.map_err(|error| format!("{host} cannot be resolved: {error}"))?;
        // What the socket can reach: a dual-stack name is used over the listener's family.
        let listener = settings.listen.iter().find(|listen| listen.hop.transport == transport);
        let family = listener.map(|listen| listen.hop.address.is_ipv4());
        let address = addresses.find(|address| family.is_none_or(|v4| address.is_ipv4() == v4));
        let address = address.ok_or_else(|| format!("{host} has no address of the kind that `listen` uses"))?;
        names.insert(host.clone(), address);
    }
    Ok(names)
}

fn hosts(settings: &Settings) -> impl Iterator<Item = (&HostPort, Transport)> {
    let trunks = settings.trunks.iter().map(|trunk| (&trunk.address, trunk.transport));
    std::iter::once((&settings.pbx.address, settings.pbx.transport)).chain(trunks)
}

/// Settings of the switchboard. `bound`: listening addresses as bound.
pub(super) fn call_settings(settings: &Settings, names: &Names, bound: &[Hop]) -> Result<call::Settings, String> {
    let hop = |host: &HostPort, transport: Transport| {
        let address = names.get(host).copied().ok_or_else(|| format!("{host} was not resolved"))?;
        Ok::<_, String>(Hop { address, transport })
    };
    let pbx = hop(&settings.pbx.address, settings.pbx.transport)?;
    let mut trunks = Vec::new();
    for trunk in &settings.trunks {
        trunks.push(call::Trunk {
            name: Arc::clone(&trunk.name),
            hop: hop(&trunk.address, trunk.transport)?,
            host: Arc::from(trunk.address.host.as_str()),
            networks: trunk.networks.clone(),
        });
    }
    let outside = trunks.first().map_or(pbx, |trunk| trunk.hop);
    Ok(call::Settings {
        generation: settings.generation,
        enforce: settings.enforce,
        pbx,
        pbx_networks: settings.pbx.networks.clone(),
        srtp: call::SrtpSettings {
            inside: settings.pbx.srtp,
            outside: settings.trunks.iter().map(|trunk| trunk.srtp).collect(),
        },
        trunks,
        local_outside: local_towards(outside.address, bound)?,
        local_inside: local_towards(pbx.address, bound)?,
        public_address: settings.sip.public_address,
        policy: Arc::clone(&settings.policy),
        watch_for: settings.detect.watch_for,
        callee_hears: settings.divert.callee,
        caller_hears: settings.divert.caller,
        take_back_key: settings.divert.take_back_key,
        wire_limits: settings.sip.limits.clone(),
        max_calls: settings.sip.max_calls.min(lines(settings)),
        longest_restored: settings.restart.longest_call,
    })
}

/// Calls for which there are ports and open files. A flood of calls must meet a limit that keeps room for others, not a
/// media path that has nothing left for anybody.
fn lines(settings: &Settings) -> usize {
    let ports = usize::from(settings.media.last_port.saturating_sub(settings.media.first_port)) + 1;
    // Where the system does not say, the ports alone decide.
    let text = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let files =
        text.lines().find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().next()?.parse().ok());
    let files = files.map_or(usize::MAX, |files: usize| files.saturating_sub(OTHER_FILES));
    (ports.min(files) / SOCKETS_A_CALL).max(1)
}

/// Settings of the gate: trunks and PBX are trusted.
pub(super) fn gate_settings(settings: &Settings, names: &Names) -> gate::Settings {
    let addresses = names.values().map(|address| ipnet::IpNet::from(address.ip()));
    let networks = settings.trunks.iter().flat_map(|trunk| &trunk.networks).chain(&settings.pbx.networks).copied();
    gate::Settings { trusted: addresses.chain(networks).collect(), ..settings.gate.clone() }
}

/// Settings of the connections: limits, and certificates of both sides.
pub(super) fn stream_settings(settings: &Settings, names: &Names) -> Result<streams::Settings, String> {
    let identity =
        |(number, listen): (usize, &ListenSettings)| Some((number, listen.identity.as_ref()?.config().clone()));
    let mut clients = HashMap::new();
    let trunks = settings.trunks.iter().map(|trunk| (&trunk.address, trunk.transport, &trunk.roots));
    let pbx = (&settings.pbx.address, settings.pbx.transport, &settings.pbx.roots);
    for (host, transport, roots) in std::iter::once(pbx).chain(trunks) {
        let (Transport::Tls, Some(address)) = (transport, names.get(host)) else { continue };
        let roots = match roots {
            Some(roots) => roots.clone(),
            None => Roots::of_system().map_err(|error| format!("{host}: {error}"))?,
        };
        let name = streams::server_name(&host.host).ok_or_else(|| format!("{host}: no certificate can be for it"))?;
        clients.insert(*address, streams::Client { config: roots.config().clone(), name });
    }
    Ok(streams::Settings {
        max: settings.connections.max,
        max_per_source: settings.connections.max_per_source,
        idle_for: settings.connections.idle_for,
        handshake_for: settings.connections.handshake_for,
        limits: settings.sip.limits.clone(),
        identities: settings.listen.iter().enumerate().filter_map(identity).collect(),
        clients,
    })
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
