//! One name into its hosts: NAPTR, SRV, A and AAAA (RFC 3263 §4).
//!
//! Invariant: at most [`MAX_TARGETS`] hosts a name, and [`MAX_LOOKUPS`] lookups for them.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::rr::rdata::{NAPTR, SRV};
use hickory_resolver::proto::rr::{RData, RecordType};
use hickory_resolver::system_conf::read_system_conf;
use tokio::task::JoinSet;

use super::{Question, Settings};
use crate::sip::flow::{Hop, Transport};
use crate::trunk::Target;

/// Hosts that are kept of one name.
pub(super) const MAX_TARGETS: usize = 16;
/// Hosts of SRV records that are looked up for one name.
const MAX_LOOKUPS: usize = 16;

/// What the DNS says of a name, or why it says nothing.
pub(super) type Resolved = Result<Answer, String>;

/// Hosts of a name.
pub(super) struct Answer {
    pub(super) targets: Vec<Target>,
    /// How long that is true.
    pub(super) ttl: Duration,
    /// Some of them are missing, because the DNS did not answer for them.
    pub(super) lacks: Option<Lacks>,
}

/// What the DNS did not answer.
#[derive(Debug)]
pub(super) struct Lacks {
    pub(super) why: String,
    v4: bool,
    v6: bool,
}

impl Lacks {
    /// A host that was known may be one of those.
    pub(super) fn may_be(&self, host: &Target) -> bool {
        if host.hop.address.is_ipv4() { self.v4 } else { self.v6 }
    }
}

/// Whom to ask.
#[derive(Clone)]
pub(super) struct Servers {
    all: TokioResolver,
    /// Each alone, where there are several.
    each: Arc<[TokioResolver]>,
}

pub(super) fn servers(settings: &Settings) -> Result<Servers, String> {
    let (config, mut options) = if settings.servers.is_empty() {
        read_system_conf().map_err(|error| error.to_string())?
    } else {
        let server = |server: &SocketAddr| {
            let at = |mut connection: ConnectionConfig| {
                connection.port = server.port();
                connection
            };
            let connections = vec![at(ConnectionConfig::udp()), at(ConnectionConfig::tcp())];
            NameServerConfig::new(server.ip(), true, connections)
        };
        let servers = settings.servers.iter().map(server).collect();
        (ResolverConfig::from_name_servers(servers), ResolverOpts::default())
    };
    options.timeout = settings.timeout;
    options.attempts = 2;
    // When to ask again is decided here.
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Always;
    let resolver = |config: ResolverConfig| {
        let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        *builder.options_mut() = options.clone();
        builder.build().map_err(|error| error.to_string())
    };
    let (domain, search) = (config.domain().cloned(), config.search().to_vec());
    let alone = |server: &NameServerConfig| {
        resolver(ResolverConfig::from_parts(domain.clone(), search.clone(), vec![server.clone()]))
    };
    let several = Some(config.name_servers()).filter(|servers| servers.len() > 1);
    let each: Result<Vec<TokioResolver>, String> = several.into_iter().flatten().map(alone).collect();
    let each = each?.into();
    Ok(Servers { all: resolver(config)?, each })
}

impl Servers {
    /// Records of a kind, none where there are none; and how long that is true, where the DNS says so.
    async fn records(&self, name: &str, kind: RecordType) -> Result<(Vec<RData>, Option<Duration>), String> {
        let refused = |error: &NetError| matches!(error, NetError::Dns(DnsError::ResponseCode(_)));
        let mut found = self.all.lookup(name, kind).await;
        if found.as_ref().is_err_and(refused) {
            // Whichever of those that were asked together refuses first ends it for all.
            for server in self.each.iter() {
                let alone = server.lookup(name, kind).await;
                if alone.as_ref().is_ok() || alone.as_ref().is_err_and(NetError::is_no_records_found) {
                    found = alone;
                    break;
                }
            }
        }
        match found {
            Ok(lookup) => {
                let ttl = lookup.answers().iter().map(|record| Duration::from_secs(u64::from(record.ttl))).min();
                let of_kind = lookup.answers().iter().filter(|one| one.record_type() == kind);
                Ok((of_kind.map(|one| one.data.clone()).collect(), ttl))
            }
            Err(error) if NetError::is_no_records_found(&error) => Ok((Vec::new(), None)),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// The hosts of a name.
pub(super) async fn ask(servers: Servers, question: Question, settings: Settings) -> Resolved {
    // Each step has the resolver's own limit; all of them together have this one.
    let limit = settings.timeout * 6;
    #[cfg(test)]
    assert_ne!(question.host, "panic.test", "a test asked for it");
    let mut lookup = Lookup { servers, ttl: settings.keep_at_most, found: Vec::new(), lacks: None };
    match tokio::time::timeout(limit, lookup.targets(&question)).await {
        Ok(done) => done?,
        Err(_) => lookup.lacks([true, true], "no answer in time".to_owned()),
    }
    let Lookup { mut found, ttl, lacks, .. } = lookup;
    found.retain(|target| may_be_a_peer(target.hop.address, &settings.never));
    found.sort();
    found.dedup_by_key(|target| target.hop);
    found.truncate(MAX_TARGETS);
    if found.is_empty() {
        return Err(lacks.map_or_else(|| "no usable address".to_owned(), |lacks| lacks.why));
    }
    Ok(Answer { targets: found, ttl, lacks })
}

/// A trunk or the PBX cannot be nowhere, everybody, or one of `never`: ourselves.
#[must_use]
pub fn may_be_a_peer(address: SocketAddr, never: &[SocketAddr]) -> bool {
    let broadcast = matches!(address.ip(), IpAddr::V4(ip) if ip.is_broadcast());
    let nowhere = address.port() == 0 || address.ip().is_unspecified() || address.ip().is_multicast() || broadcast;
    !nowhere && !never.contains(&address)
}

/// A host whose addresses are asked for.
#[derive(Clone)]
struct Wanted {
    name: String,
    port: u16,
    priority: u16,
    weight: u16,
}

struct Lookup {
    servers: Servers,
    /// Of all records that were used: the shortest life.
    ttl: Duration,
    /// So far.
    found: Vec<Target>,
    /// Addresses for which the DNS did not answer.
    lacks: Option<Lacks>,
}

impl Lookup {
    async fn targets(&mut self, question: &Question) -> Result<(), String> {
        if question.port.is_none() {
            for (transport, name) in self.services(question).await? {
                let records = self.records(&name, RecordType::SRV).await?;
                let hosts = records.iter().filter_map(|data| if let RData::SRV(srv) = data { Some(srv) } else { None });
                // A root name says that there is no such service (RFC 2782).
                let mut hosts: Vec<_> = hosts.filter(|srv| !srv.target.is_root()).collect();
                hosts.sort_by_key(|srv| srv.priority);
                let wanted = |srv: &&SRV| Wanted {
                    name: srv.target.to_ascii(),
                    port: srv.port,
                    priority: srv.priority,
                    weight: srv.weight,
                };
                self.addresses(hosts.iter().take(MAX_LOOKUPS).map(wanted), question, transport).await;
                // Where there are SRV records, the name's own address is not asked for (RFC 2782).
                if !self.found.is_empty() || self.lacks.is_some() {
                    return Ok(());
                }
            }
        }
        let transport = question.transport();
        let port = question.port.unwrap_or(transport.default_port());
        let itself = Wanted { name: absolute(&question.host), port, priority: 0, weight: 0 };
        self.addresses([itself], question, transport).await;
        Ok(())
    }

    /// Addresses go without an answer for now: those of IPv4, of IPv6.
    fn lacks(&mut self, [v4, v6]: [bool; 2], why: String) {
        let before = self.lacks.take();
        let (v4, v6) = before.map_or((v4, v6), |before| (before.v4 || v4, before.v6 || v6));
        self.lacks = Some(Lacks { why, v4, v6 });
    }

    /// Finds the hosts' addresses, all at the same time: one whose name server is silent takes no time from the others.
    async fn addresses(&mut self, hosts: impl IntoIterator<Item = Wanted>, question: &Question, transport: Transport) {
        let mut asking = JoinSet::new();
        for host in hosts {
            for (v4, kind) in [(true, RecordType::A), (false, RecordType::AAAA)] {
                if question.usable.contains(&(transport, v4)) {
                    let (servers, host) = (self.servers.clone(), host.clone());
                    asking.spawn(async move { (v4, servers.records(&host.name, kind).await, host) });
                }
            }
        }
        while let Some(answered) = asking.join_next().await {
            match answered {
                Ok((_, Ok((records, ttl)), Wanted { port, priority, weight, .. })) => {
                    self.ttl = self.ttl.min(ttl.unwrap_or(self.ttl));
                    for ip in records.iter().filter_map(RData::ip_addr).take(MAX_TARGETS) {
                        let hop = Hop { address: SocketAddr::new(ip, port), transport };
                        self.found.push(Target { priority, weight, hop });
                    }
                }
                Ok((v4, Err(error), _)) => self.lacks([v4, !v4], error),
                Err(_) => self.lacks([true, true], "the look-up met a fault of ours".to_owned()),
            }
        }
    }

    /// SRV names to ask, in order of preference.
    async fn services(&mut self, question: &Question) -> Result<Vec<(Transport, String)>, String> {
        let host = absolute(&question.host);
        let named = |transport: Transport| {
            let prefix = match transport {
                Transport::Udp => "_sip._udp",
                Transport::Tcp => "_sip._tcp",
                Transport::Tls => "_sips._tcp",
            };
            (transport, format!("{prefix}.{host}"))
        };
        if let Some(transport) = question.transport {
            return Ok(vec![named(transport)]);
        }
        // What the DNS says of preferences is kept in its order (RFC 3263 §4.1).
        let records = self.records(&host, RecordType::NAPTR).await?;
        let mut services: Vec<&NAPTR> =
            records.iter().filter_map(|data| if let RData::NAPTR(one) = data { Some(one) } else { None }).collect();
        services.sort_by_key(|naptr| (naptr.order, naptr.preference));
        let service = |naptr: &&NAPTR| {
            let transport = service_transport(&naptr.flags, &naptr.services)?;
            question.can(transport).then(|| (transport, naptr.replacement.to_ascii()))
        };
        let services: Vec<_> = services.iter().filter_map(service).take(Transport::ALL.len()).collect();
        if !services.is_empty() {
            return Ok(services);
        }
        Ok(Transport::ALL.into_iter().filter(|transport| question.can(*transport)).map(named).collect())
    }

    /// Records of a kind; none where there are none.
    async fn records(&mut self, name: &str, kind: RecordType) -> Result<Vec<RData>, String> {
        let (records, ttl) = self.servers.records(name, kind).await?;
        self.ttl = self.ttl.min(ttl.unwrap_or(self.ttl));
        Ok(records)
    }
}

/// RFC 3263 §4.1: `s` and one of the three services.
fn service_transport(flags: &[u8], services: &[u8]) -> Option<Transport> {
    if !flags.eq_ignore_ascii_case(b"s") {
        return None;
    }
    match services.to_ascii_uppercase().as_slice() {
        b"SIP+D2U" => Some(Transport::Udp),
        b"SIP+D2T" => Some(Transport::Tcp),
        b"SIPS+D2T" => Some(Transport::Tls),
        _ => None,
    }
}

/// A name with a dot is meant as it stands; one without may be one of this network.
fn absolute(host: &str) -> String {
    if host.contains('.') && !host.ends_with('.') { format!("{host}.") } else { host.to_owned() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn what_cannot_be_a_trunk_is_not_taken_from_the_dns() {
        let ours: SocketAddr = "192.0.2.1:5060".parse().unwrap();

        for bad in
            ["0.0.0.0:5060", "192.0.2.1:5060", "224.0.0.1:5060", "255.255.255.255:5060", "[::]:5060", "192.0.2.9:0"]
        {
            assert!(!may_be_a_peer(bad.parse().unwrap(), &[ours]), "{bad}");
        }
        assert!(may_be_a_peer("192.0.2.1:5061".parse().unwrap(), &[ours]));
    }

    #[test]
    fn naptr_services_are_those_of_rfc_3263() {
        assert_eq!(service_transport(b"S", b"sips+d2t"), Some(Transport::Tls));
        assert_eq!(service_transport(b"s", b"SIP+D2U"), Some(Transport::Udp));
        assert_eq!(service_transport(b"u", b"SIP+D2U"), None);
        assert_eq!(service_transport(b"s", b"SIP+D2S"), None);
    }
}
