//! All settings, checked. Host names are not resolved here; `app` does that.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::certificates::{ClientIdentity, Identity, Roots};
use crate::call::{DivertCallee, DivertCaller, Redirects, ShownIdentity, SrtpPolicy};
use crate::gate;
use crate::policy::rules::Policy;
use crate::sip::flow::{Hop, Transport};
use crate::sip::wire::Limits;
use crate::trunk::Register;

/// What a settings file says.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// 1 at the start; counts up with each applied reload.
    pub generation: u64,
    /// False: decide and record, do nothing.
    pub enforce: bool,
    /// Where SIP comes in.
    pub listen: Vec<ListenSettings>,
    /// `[sip]`.
    pub sip: SipSettings,
    /// `[calls]`.
    pub calls: CallSettings,
    /// `[connections]`.
    pub connections: ConnectionSettings,
    /// `[dns]`.
    pub dns: DnsSettings,
    /// `[pbx]`.
    pub pbx: PbxSettings,
    /// `[[trunk]]`, in order of preference for outbound calls.
    pub trunks: Vec<TrunkSettings>,
    /// `[media]`.
    pub media: MediaSettings,
    /// `[limits]` and `[networks]`; `trusted` is filled in by `app`, which resolves names.
    pub gate: gate::Settings,
    /// `[numbers]`, `[[rule]]` and the thresholds of `[detect]`.
    pub policy: Arc<Policy>,
    /// `[detect]`.
    pub detect: DetectSettings,
    /// `[divert]`.
    pub divert: DivertSettings,
    /// Where the HTTP API listens; None: nowhere.
    pub admin: Option<SocketAddr>,
    /// `[store]`.
    pub store: StoreSettings,
    /// `[restart]`.
    pub restart: RestartSettings,
    /// `[log]`.
    pub log: LogSettings,
    /// What a start could not read of lists of numbers, and which keys are open to everybody, as a person reads it.
    pub doubted: Vec<String>,
    /// Each option as text, defaults included: what a reload compares.
    pub(super) options: BTreeMap<String, String>,
}

impl Settings {
    /// Each option's path and value as text, defaults included.
    #[must_use]
    pub fn options(&self) -> &BTreeMap<String, String> {
        &self.options
    }
}

/// A name or address, and a port.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct HostPort {
    /// Name or address, IPv6 without brackets.
    pub host: String,
    /// 5060 where none is given, 5061 over TLS.
    pub port: u16,
    /// The port was given, so that no SRV records are looked for (RFC 3263 §4.2).
    pub stated: bool,
}

/// One `[[listen]]`.
#[derive(Clone, Debug, PartialEq)]
pub struct ListenSettings {
    /// Where, and over what.
    pub hop: Hop,
    /// Certificate and key; None unless it is TLS.
    pub identity: Option<Identity>,
}

/// `[connections]`: limits of TCP and TLS.
#[derive(Clone, Debug, PartialEq)]
pub struct ConnectionSettings {
    /// Connections that others may open, in all.
    pub max: usize,
    /// Connections that one source may open.
    pub max_per_source: usize,
    /// Without a message for this long, a connection is closed.
    pub idle_for: Duration,
    /// Longest TLS handshake, and longest arrival of one message.
    pub handshake_for: Duration,
}

/// `[sip]`.
#[derive(Clone, Debug, PartialEq)]
pub struct SipSettings {
    /// Address to write towards the outside where it is not the socket's own (NAT).
    pub public_address: Option<PublicAddress>,
    /// Host names that stand for Ringfence.
    pub names: Vec<String>,
    /// What becomes of a 3xx.
    pub redirects: Redirects,
    /// More calls than this are answered 503.
    pub max_calls: usize,
    /// How long running calls may go on after the order to stop.
    pub drain_for: Duration,
    /// Of messages.
    pub limits: Limits,
    /// Requests that may not fit into a datagram go over TCP.
    pub large_over_tcp: bool,
    /// How routers are asked to treat signalling (RFC 2474).
    pub dscp: u8,
}

/// `[dns]`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DnsSettings {
    /// Whom to ask; empty: whom the system asks.
    pub servers: Vec<SocketAddr>,
    /// An answer is kept for no less.
    pub keep_at_least: Duration,
    /// An answer is kept for no longer.
    pub keep_at_most: Duration,
    /// Longest wait for one server.
    pub timeout: Duration,
}

/// `[calls]`: how calls end whose telephones have vanished without a BYE.
#[derive(Clone, Debug, PartialEq)]
pub struct CallSettings {
    /// Session timer that is asked for where the caller does not ask for one; None: none.
    pub session_timer: Option<Duration>,
    /// How often both telephones of a held and silent call are asked whether they are there.
    pub held_check: Duration,
}

/// `[pbx]`.
#[derive(Clone, Debug, PartialEq)]
pub struct PbxSettings {
    /// What becomes of SRTP on this side.
    pub srtp: SrtpPolicy,
    /// Where calls go.
    pub address: HostPort,
    /// How it is reached.
    pub transport: Transport,
    /// Over TLS, whom we believe about its certificate; None: whom the system trusts.
    pub roots: Option<Roots>,
    /// Over TLS, what we show where it asks who we are.
    pub client_identity: Option<ClientIdentity>,
    /// Where its calls come from, besides the address.
    pub networks: Vec<IpNet>,
    /// It is asked with OPTIONS this often; None: only once it has been silent to a call.
    pub keep_alive: Option<Duration>,
}

/// One `[[trunk]]`.
#[derive(Clone, Debug, PartialEq)]
pub struct TrunkSettings {
    /// What becomes of SRTP on this side.
    pub srtp: SrtpPolicy,
    /// In rules and records.
    pub name: Arc<str>,
    /// Where outbound calls go.
    pub address: HostPort,
    /// How it is reached; None: as the DNS says.
    pub transport: Option<Transport>,
    /// Over TLS, whom we believe about its certificate; None: whom the system trusts.
    pub roots: Option<Roots>,
    /// Over TLS, what we show where it asks who we are.
    pub client_identity: Option<ClientIdentity>,
    /// Where its calls come from, besides the address.
    pub networks: Vec<IpNet>,
    /// Its calls may come from what the address resolves to.
    pub trust_address: bool,
    /// Outbound calls try lower ones first.
    pub priority: u8,
    /// An INVITE without any answer is given up after this, where another host or trunk is left.
    pub answer_within: Duration,
    /// It is asked with OPTIONS this often; None: only once it has failed.
    pub keep_alive: Option<Duration>,
    /// We register with it.
    pub register: Option<Register>,
    /// Whom it asserts to be calling is believed.
    pub believe_identity: bool,
    /// Whether it learns whom the PBX asserts to be calling.
    pub show_identity: ShownIdentity,
}

/// What the outside sees in place of our address.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum PublicAddress {
    /// This address.
    Is(IpAddr),
    /// Whatever this name has: a line that is dialled up anew has another address each time.
    Named(String),
}

impl std::fmt::Display for PublicAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Is(address) => address.fmt(f),
            Self::Named(name) => f.write_str(name),
        }
    }
}

/// `[media]`.
#[derive(Clone, Debug, PartialEq)]
pub struct MediaSettings {
    /// First port.
    pub first_port: u16,
    /// Last port.
    pub last_port: u16,
    /// Address to write for media where it is not `sip.public_address`.
    pub public_address: Option<PublicAddress>,
    /// Codecs that may pass in descriptions; none: all.
    pub codecs: Vec<&'static str>,
    /// Silence of both legs that counts as a dead call.
    pub timeout: Duration,
    /// Folder with the prompts.
    pub announcements: PathBuf,
    /// Threads that relay.
    pub threads: usize,
    /// How routers are asked to treat audio (RFC 2474).
    pub dscp: u8,
}

/// `[detect]`.
#[derive(Clone, Debug, PartialEq)]
pub struct DetectSettings {
    /// How long a caller is listened to, from its first speech on.
    pub watch_for: Duration,
    /// File of known recordings; those of diverted calls are added to it.
    pub campaigns: PathBuf,
    /// `[detect.words]`.
    pub words: WordsSettings,
}

/// `[detect.words]`.
#[derive(Clone, Debug, PartialEq)]
pub struct WordsSettings {
    /// Recognise words at all?
    pub enabled: bool,
    /// Folder of the speech model.
    pub model: PathBuf,
    /// Threads that recognise.
    pub threads: usize,
    /// A phrase file in place of the built-in one.
    pub phrases: Option<PathBuf>,
    /// A wording file in place of the built-in one.
    pub wording: Option<PathBuf>,
}

/// `[divert]`.
#[derive(Clone, Debug, PartialEq)]
pub struct DivertSettings {
    /// What the callee hears.
    pub callee: DivertCallee,
    /// What the caller hears.
    pub caller: DivertCaller,
    /// Key that takes the call back; None: it cannot be.
    pub take_back_key: Option<char>,
}

/// `[store]`.
#[derive(Clone, Debug, PartialEq)]
pub struct StoreSettings {
    /// Database file.
    pub path: PathBuf,
    /// How long records are kept.
    pub keep_for: Duration,
}

/// `[restart]`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RestartSettings {
    /// File of the running calls; None: they end with the process.
    pub journal: Option<PathBuf>,
    /// A call that was answered longer ago than this is ended after a restart.
    pub longest_call: Duration,
}

/// `[log]`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LogSettings {
    /// `error`, `warn`, `info`, `debug`, `trace`.
    pub level: String,
    /// JSON lines in place of text.
    pub json: bool,
    /// Write phone numbers in full.
    pub numbers: bool,
}
