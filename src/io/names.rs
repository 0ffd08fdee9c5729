//! Names of trunks into hosts: NAPTR, SRV, A and AAAA (RFC 3263 §4), on a thread of its own, never while a call waits.
//!
//! In: which names, over which transports. Out: for each the hosts behind it, whenever they change. The last good
//! answer stays when the DNS is slow, gone, or suddenly knows nothing; what cannot be a host of a trunk is not taken
//! from it.
//!
//! Invariant: at most [`MAX_TARGETS`] hosts a name, [`MAX_LOOKUPS`] lookups for them, and one answer a name at a time.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::rdata::NAPTR;
use hickory_resolver::proto::rr::{RData, RecordType};
use tokio::sync::mpsc;
use tokio::task::{Id, JoinSet};

use crate::io::clock;
use crate::io::threads::StandBack;
use crate::sip::flow::{Hop, Transport};
use crate::trunk::Target;

/// Hosts that are kept of one name.
const MAX_TARGETS: usize = 16;
/// Hosts of SRV records that are looked up for one name.
const MAX_LOOKUPS: usize = 16;
/// First pause behind a failure; it doubles.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// Up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// `[dns]`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// Whom to ask; empty: whom the system asks.
    pub servers: Vec<SocketAddr>,
    /// An answer is kept for no less, whatever it says.
    pub keep_at_least: Duration,
    /// An answer is kept for no longer, whatever it says.
    pub keep_at_most: Duration,
    /// Longest wait for one server.
    pub timeout: Duration,
    /// What no answer may say: our own addresses and the PBX's.
    pub never: Vec<SocketAddr>,
}

/// A name to be kept resolved.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Question {
    /// The name.
    pub host: String,
    /// Where it was stated: neither NAPTR nor SRV is asked (RFC 3263 §4.2).
    pub port: Option<u16>,
    /// None: NAPTR says which.
    pub transport: Option<Transport>,
    /// Transports and families (true: IPv4) that we can use, in order of preference.
    pub usable: Vec<(Transport, bool)>,
}

impl Question {
    fn can(&self, transport: Transport) -> bool {
        self.transport.is_none_or(|wanted| wanted == transport) && self.usable.iter().any(|(one, _)| *one == transport)
    }

    /// The transport where the DNS names none.
    fn transport(&self) -> Transport {
        self.transport.or_else(|| self.usable.first().map(|(one, _)| *one)).unwrap_or(Transport::Udp)
    }
}

/// What is known of all names.
pub type Answers = HashMap<Question, Vec<Target>>;

#[derive(Default)]
struct Known {
    answers: Answers,
    /// Names that have been asked for at least once, answered or not.
    asked: HashSet<Question>,
    /// Counts up with each change of `answers`.
    changes: u64,
}

/// The running resolver. Dropping it stops it.
pub struct Names {
    known: Arc<Mutex<Known>>,
    orders: mpsc::Sender<(Settings, Vec<Question>)>,
    _thread: JoinHandle<()>,
}

impl Names {
    /// Starts it, with nothing to do.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start() -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (orders, inbox) = mpsc::channel(8);
        let known = Arc::new(Mutex::new(Known::default()));
        let shared = Arc::clone(&known);
        let thread = std::thread::Builder::new().name("names".to_owned()).spawn(move || {
            StandBack::Records.apply();
            runtime.block_on(run(inbox, &shared));
        })?;
        Ok(Self { known, orders, _thread: thread })
    }

    /// Keeps these names resolved from now on, and waits until each has been asked for, at most `patience`.
    pub fn set(&self, settings: Settings, questions: Vec<Question>, patience: Duration) {
        let wanted = questions.clone();
        if questions.is_empty() && self.lock().asked.is_empty() {
            return;
        }
        if self.orders.try_send((settings, questions)).is_err() {
            tracing::error!("The resolver takes no orders; names stay as they are");
            return;
        }
        let deadline = clock::now() + patience;
        while !wanted.iter().all(|question| self.lock().asked.contains(question)) && clock::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// What is known, and how often that has changed.
    #[must_use]
    pub fn answers(&self) -> (Answers, u64) {
        let known = self.lock();
        (known.answers.clone(), known.changes)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When a name is asked for next, and how often in a row that has failed.
struct Entry {
    due: Instant,
    failures: u32,
}

/// Hosts of a name and how long that is true, or why there is no answer.
type Resolved = Result<(Vec<Target>, Duration), String>;

/// What the thread knows.
struct Resolving<'a> {
    known: &'a Mutex<Known>,
    /// None: nothing has been ordered.
    settings: Option<Settings>,
    entries: HashMap<Question, Entry>,
    asking: JoinSet<Resolved>,
    under_way: HashMap<Id, Question>,
}

async fn run(mut inbox: mpsc::Receiver<(Settings, Vec<Question>)>, known: &Mutex<Known>) {
    let mut resolving =
        Resolving { known, settings: None, entries: HashMap::new(), asking: JoinSet::new(), under_way: HashMap::new() };
    loop {
        resolving.ask_what_is_due();
        let pause = resolving.pause();
        tokio::select! {
            order = inbox.recv() => {
                let Some((settings, questions)) = order else { return };
                resolving.obey(settings, questions);
            }
            Some(done) = resolving.asking.join_next_with_id(), if !resolving.asking.is_empty() => {
                // A panic in a look-up is no answer, and the name is asked for again.
                let (task, resolved) =
                    done.unwrap_or_else(|error| (error.id(), Err("the look-up met a fault of ours".to_owned())));
                if let Some(question) = resolving.under_way.remove(&task) {
                    resolving.take(question, resolved);
                }
            }
            () = tokio::time::sleep(pause) => {}
        }
    }
}

impl Resolving<'_> {
    fn is_asked(&self, question: &Question) -> bool {
        self.under_way.values().any(|asked| asked == question)
    }

    fn ask_what_is_due(&mut self) {
        let now = clock::now();
        let due = self.entries.iter().filter(|(question, entry)| entry.due <= now && !self.is_asked(question));
        let due: Vec<Question> = due.map(|(question, _)| question.clone()).collect();
        let Some(settings) = self.settings.clone().filter(|_| !due.is_empty()) else { return };
        let resolver = resolver(&settings);
        for question in due {
            match &resolver {
                Ok(resolver) => {
                    let task = self.asking.spawn(ask(resolver.clone(), question.clone(), settings.clone()));
                    self.under_way.insert(task.id(), question);
                }
                Err(error) => self.take(question, Err(error.clone())),
            }
        }
    }

    /// Until something is due.
    fn pause(&self) -> Duration {
        let waiting = self.entries.iter().filter(|(question, _)| !self.is_asked(question));
        let next = waiting.map(|(_, entry)| entry.due).min();
        next.map_or(Duration::from_secs(3_600), |at| at.saturating_duration_since(clock::now()))
    }

    /// These names are to be kept from now on, by these settings.
    fn obey(&mut self, settings: Settings, questions: Vec<Question>) {
        let keep: HashSet<Question> = questions.into_iter().collect();
        let all_anew = self.settings.as_ref().is_some_and(|old| *old != settings);
        self.settings = Some(settings);
        if all_anew {
            // What was asked by the settings before is nobody's answer any more.
            self.asking.abort_all();
            self.under_way.clear();
        }
        self.entries.retain(|question, _| keep.contains(question) && !all_anew);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.asked.retain(|question| keep.contains(question) && !all_anew);
        known.answers.retain(|question, _| keep.contains(question));
        for question in keep {
            self.entries.entry(question).or_insert_with(|| Entry { due: clock::now(), failures: 0 });
        }
    }

    /// One answer, or none.
    fn take(&mut self, question: Question, resolved: Resolved) {
        let (Some(entry), Some(settings)) = (self.entries.get_mut(&question), &self.settings) else { return };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.asked.insert(question.clone());
        match resolved {
            Ok((targets, ttl)) => {
                entry.failures = 0;
                entry.due = clock::now() + ttl.clamp(settings.keep_at_least, settings.keep_at_most);
                if known.answers.get(&question) != Some(&targets) {
                    let hosts: Vec<String> = targets.iter().map(|target| target.hop.to_string()).collect();
                    tracing::info!(name = %question.host, hosts = %hosts.join(", "), "Resolved");
                    known.answers.insert(question, targets);
                    known.changes += 1;
                }
            }
            Err(error) => {
                let pause = FIRST_PAUSE.saturating_mul(1 << entry.failures.min(10)).min(LONGEST_PAUSE);
                entry.due = clock::now() + pause.min(settings.keep_at_most);
                // Once at the beginning of an outage; its end is seen in the answer.
                if entry.failures == 0 {
                    let kept = known.answers.contains_key(&question);
                    let name = &question.host;
                    tracing::warn!(%name, error, kept, "A name cannot be resolved; the last answer stays");
                }
                entry.failures = entry.failures.saturating_add(1);
            }
        }
    }
}

fn resolver(settings: &Settings) -> Result<TokioResolver, String> {
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

async fn ask(resolver: TokioResolver, question: Question, settings: Settings) -> Resolved {
    // Each step has the resolver's own limit; all of them together have this one.
    let limit = settings.timeout * 6;
    #[cfg(test)]
    assert_ne!(question.host, "panic.test", "a test asked for it");
    let mut lookup = Lookup { resolver, ttl: settings.keep_at_most };
    match tokio::time::timeout(limit, lookup.targets(&question)).await {
        Ok(Ok(targets)) => {
            let mut targets: Vec<Target> = targets
                .into_iter()
                .filter(|target| may_be_a_peer(target.hop.address, &settings.never))
                .take(MAX_TARGETS)
                .collect();
            targets.sort();
            targets.dedup_by_key(|target| target.hop);
            if targets.is_empty() { Err("no usable address".to_owned()) } else { Ok((targets, lookup.ttl)) }
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
                    for ip in self.addresses(&srv.target.to_ascii(), question, transport).await.unwrap_or_default() {
                        let hop = Hop { address: SocketAddr::new(ip, srv.port), transport };
                        found.push(Target { priority: srv.priority, weight: srv.weight, hop });
                    }
                }
                if !found.is_empty() {
                    return Ok(found);
                }
            }
        }
        let transport = question.transport();
        let port = question.port.unwrap_or(transport.default_port());
        let ips = self.addresses(&absolute(&question.host), question, transport).await?;
        Ok(ips.into_iter().map(|ip| Target::only(Hop { address: SocketAddr::new(ip, port), transport })).collect())
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
    fn a_look_up_that_panics_is_one_without_an_answer() {
        let question =
            Question { host: "panic.test".into(), port: None, transport: None, usable: vec![(Transport::Udp, true)] };
        let settings = Settings {
            servers: vec![SocketAddr::from(([127, 0, 0, 1], 9))],
            timeout: Duration::from_secs(1),
            keep_at_least: Duration::from_secs(1),
            keep_at_most: Duration::from_secs(60),
            never: Vec::new(),
        };
        let Ok(names) = Names::start() else { panic!("the system gives no thread") };

        names.set(settings, vec![question.clone()], Duration::from_secs(10));

        assert!(names.lock().asked.contains(&question), "it is known to have failed, and its turn comes again");
        assert!(names.answers().0.is_empty());
    }

    #[test]
    fn naptr_services_are_those_of_rfc_3263() {
        assert_eq!(service_transport(b"S", b"sips+d2t"), Some(Transport::Tls));
        assert_eq!(service_transport(b"s", b"SIP+D2U"), Some(Transport::Udp));
        assert_eq!(service_transport(b"u", b"SIP+D2U"), None);
        assert_eq!(service_transport(b"s", b"SIP+D2S"), None);
    }
}
