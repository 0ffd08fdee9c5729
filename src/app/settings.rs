//! Settings of the file as those of the switchboard, the gate and the connections, once its names are resolved.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::resolve::{Locals, Resolved, local};
use crate::call;
use crate::config::{
    ClientIdentity, HostPort, ListenSettings, PublicAddress, Roots, Settings, SipSettings, TrunkSettings,
};
use crate::gate;
use crate::io::streams;
use crate::sip::flow::{Hop, Transport};

/// Sockets of a call: RTP and RTCP for each leg.
const SOCKETS_A_CALL: usize = 4;
/// Open files that are left to everything but calls: listeners, connections, records, logs.
const OTHER_FILES: usize = 128;

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

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, VecDeque};
    use std::net::SocketAddr;

    use super::*;
    use crate::app::public::Public;
    use crate::app::resolve::targets;
    use crate::call::SrtpPolicy;
    use crate::config::{files_in, load};
    use crate::io::names::Answers;
    use crate::trunk::Target;

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
}
