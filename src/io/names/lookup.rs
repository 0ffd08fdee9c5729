//! One name into its hosts: NAPTR, SRV, A and AAAA (RFC 3263 §4).
//!
//! Invariant: at most [`MAX_TARGETS`] hosts a name, and [`MAX_LOOKUPS`] lookups for them.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::rdata::NAPTR;
use hickory_resolver::proto::rr::{RData, RecordType};

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
    /// Some of them are missing, because the DNS did not answer for them: why.
    pub(super) incomplete: Option<String>,
}

pub(super) fn resolver(settings: &Settings) -> Result<TokioResolver, String> {
    let provider = TokioRuntimeProvider::default();
    let mut builder = if settings.servers.is_empty() {
        TokioResolver::builder(provider).map_err(|error| error.to_string())?
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
        TokioResolver::builder_with_config(ResolverConfig::from_name_servers(servers), provider)
    };
    let options = builder.options_mut();
    options.timeout = settings.timeout;
    options.attempts = 2;
    // When to ask again is decided here.
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Always;
    builder.build().map_err(|error| error.to_string())
}

/// The hosts of a name.
pub(super) async fn ask(resolver: TokioResolver, question: Question, settings: Settings) -> Resolved {
    // Each step has the resolver's own limit; all of them together have this one.
    let limit = settings.timeout * 6;
    #[cfg(test)]
    assert_ne!(question.host, "panic.test", "a test asked for it");
    let mut lookup = Lookup { resolver, ttl: settings.keep_at_most, incomplete: None };
    match tokio::time::timeout(limit, lookup.targets(&question)).await {
        Ok(Ok(targets)) => {
            let mut targets: Vec<Target> = targets
                .into_iter()
                .filter(|target| may_be_a_peer(target.hop.address, &settings.never))
                .take(MAX_TARGETS)
                .collect();
            targets.sort();
            targets.dedup_by_key(|target| target.hop);
            let Lookup { ttl, incomplete, .. } = lookup;
            if targets.is_empty() {
                Err(incomplete.unwrap_or_else(|| "no usable address".to_owned()))
            } else {
                Ok(Answer { targets, ttl, incomplete })
            }
        }
        Ok(Err(error)) => Err(error),
        Err(_) => Err("no answer in time".to_owned()),
    }
}

/// A trunk or the PBX cannot be nowhere, everybody, or one of `never`: ourselves.
#[must_use]
pub fn may_be_a_peer(address: SocketAddr, never: &[SocketAddr]) -> bool {
    let broadcast = matches!(address.ip(), IpAddr::V4(ip) if ip.is_broadcast());
    let nowhere = address.port() == 0 || address.ip().is_unspecified() || address.ip().is_multicast() || broadcast;
    !nowhere && !never.contains(&address)
}

struct Lookup {
    resolver: TokioResolver,
    /// Of all records that were used: the shortest life.
    ttl: Duration,
    /// Why hosts of SRV records have no addresses, where the DNS did not answer.
    incomplete: Option<String>,
}

impl Lookup {
    async fn targets(&mut self, question: &Question) -> Result<Vec<Target>, String> {
        let mut found = Vec::new();
        if question.port.is_none() {
            for (transport, name) in self.services(question).await? {
                let records = self.records(&name, RecordType::SRV).await?;
                let hosts = records.iter().filter_map(|data| if let RData::SRV(srv) = data { Some(srv) } else { None });
                // A root name says that there is no such service (RFC 2782).
                let mut hosts: Vec<_> = hosts.filter(|srv| !srv.target.is_root()).collect();
                hosts.sort_by_key(|srv| srv.priority);
                for srv in hosts.into_iter().take(MAX_LOOKUPS) {
                    let ips = self.addresses(&srv.target.to_ascii(), question, transport).await;
                    for ip in ips.unwrap_or_else(|error| self.lacks(error)) {
                        let hop = Hop { address: SocketAddr::new(ip, srv.port), transport };
                        found.push(Target { priority: srv.priority, weight: srv.weight, hop });
                    }
                }
                // Where there are SRV records, the name's own address is not asked for (RFC 2782).
                if !found.is_empty() || self.incomplete.is_some() {
                    return Ok(found);
                }
            }
        }
        let transport = question.transport();
        let port = question.port.unwrap_or(transport.default_port());
        let ips = self.addresses(&absolute(&question.host), question, transport).await?;
        Ok(ips.into_iter().map(|ip| Target::only(Hop { address: SocketAddr::new(ip, port), transport })).collect())
    }

    /// A host goes without addresses for now.
    fn lacks(&mut self, error: String) -> Vec<IpAddr> {
        self.incomplete = Some(error);
        Vec::new()
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

    async fn addresses(
        &mut self,
        name: &str,
        question: &Question,
        transport: Transport,
    ) -> Result<Vec<IpAddr>, String> {
        let mut found = Vec::new();
        let mut failed = None;
        for (v4, kind) in [(true, RecordType::A), (false, RecordType::AAAA)] {
            if !question.usable.contains(&(transport, v4)) {
                continue;
            }
            match self.records(name, kind).await {
                Ok(records) => found.extend(records.iter().filter_map(RData::ip_addr)),
                Err(error) => failed = Some(error),
            }
        }
        found.truncate(MAX_TARGETS);
        match failed {
            Some(error) if found.is_empty() => Err(error),
            Some(_) | None => Ok(found),
        }
    }

    /// Records of a kind; none where there are none.
    async fn records(&mut self, name: &str, kind: RecordType) -> Result<Vec<RData>, String> {
        match self.resolver.lookup(name, kind).await {
            Ok(lookup) => {
                let ttl = lookup.answers().iter().map(|record| Duration::from_secs(u64::from(record.ttl))).min();
                self.ttl = self.ttl.min(ttl.unwrap_or(self.ttl));
                Ok(lookup
                    .answers()
                    .iter()
                    .filter(|one| one.record_type() == kind)
                    .map(|one| one.data.clone())
                    .collect())
            }
            Err(error) if NetError::is_no_records_found(&error) => Ok(Vec::new()),
            Err(error) => Err(error.to_string()),
        }
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
