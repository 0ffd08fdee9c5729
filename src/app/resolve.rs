//! Names of the settings into addresses, and which address of ours each side sees.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _, UdpSocket};
use std::sync::Arc;

use crate::call;
use crate::config::{HostPort, Settings};
use crate::gate;

pub(super) type Names = HashMap<HostPort, SocketAddr>;

/// Resolves every host of the settings. The system's resolver is asked; this may take seconds, so it is done at the
/// start and on reload only, never while a call waits.
pub(super) fn names(settings: &Settings) -> Result<Names, String> {
    let hosts = std::iter::once(&settings.pbx.address).chain(settings.trunks.iter().map(|trunk| &trunk.address));
    let mut names = Names::new();
    let family = settings.listen.first().map(SocketAddr::is_ipv4);
    for host in hosts {
        let found = (host.host.as_str(), host.port).to_socket_addrs();
        let mut addresses = found.map_err(|error| format!("{host} cannot be resolved: {error}"))?;
        // What the socket can reach: a dual-stack name is used over the listener's family.
        let address = addresses.find(|address| family.is_none_or(|v4| address.is_ipv4() == v4));
        let address = address.ok_or_else(|| format!("{host} has no address of the kind that `listen` uses"))?;
        names.insert(host.clone(), address);
    }
    Ok(names)
}

/// Settings of the switchboard. `bound`: listening addresses as bound.
pub(super) fn call_settings(
    settings: &Settings,
    names: &Names,
    bound: &[SocketAddr],
) -> Result<call::Settings, String> {
    let address = |host: &HostPort| names.get(host).copied().ok_or_else(|| format!("{host} was not resolved"));
    let pbx = address(&settings.pbx.address)?;
    let mut trunks = Vec::new();
    for trunk in &settings.trunks {
        trunks.push(call::Trunk {
            name: Arc::clone(&trunk.name),
            address: address(&trunk.address)?,
            host: Arc::from(trunk.address.host.as_str()),
            networks: trunk.networks.clone(),
        });
    }
    let outside = trunks.first().map_or(pbx, |trunk| trunk.address);
    Ok(call::Settings {
        generation: settings.generation,
        enforce: settings.enforce,
        pbx,
        pbx_networks: settings.pbx.networks.clone(),
        trunks,
        local_outside: local_towards(outside, bound)?,
        local_inside: local_towards(pbx, bound)?,
        public_address: settings.sip.public_address,
        policy: Arc::clone(&settings.policy),
        watch_for: settings.detect.watch_for,
        callee_hears: settings.divert.callee,
        caller_hears: settings.divert.caller,
        take_back_key: settings.divert.take_back_key,
        wire_limits: settings.sip.limits.clone(),
        max_calls: settings.sip.max_calls,
        longest_restored: settings.restart.longest_call,
    })
}

/// Settings of the gate: trunks and PBX are trusted.
pub(super) fn gate_settings(settings: &Settings, names: &Names) -> gate::Settings {
    let addresses = names.values().map(|address| ipnet::IpNet::from(address.ip()));
    let networks = settings.trunks.iter().flat_map(|trunk| &trunk.networks).chain(&settings.pbx.networks).copied();
    gate::Settings { trusted: addresses.chain(networks).collect(), ..settings.gate.clone() }
}

/// The listening address that `peer` sees: a socket bound to every address is seen with that of the route.
fn local_towards(peer: SocketAddr, bound: &[SocketAddr]) -> Result<SocketAddr, String> {
    let listener = bound
        .iter()
        .find(|address| address.is_ipv4() == peer.is_ipv4())
        .ok_or_else(|| format!("no listening address can reach {peer}"))?;
    if !listener.ip().is_unspecified() {
        return Ok(*listener);
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
