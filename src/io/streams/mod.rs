//! SIP over streams: listeners, connections, TLS. One table, owned by the signalling thread.
//!
//! In: readiness of sockets, messages to send, `now`. Out: whole messages with their flow, messages that did not leave.
//! Knows nothing of calls; who may connect and how much may be said is asked of the gate by the thread that owns this.
//!
//! Invariants: connections are bounded in all and for each source, and so is what waits in each, both ways; every
//! connection has a deadline at any time; the same thread accepts, reads and writes, so nothing here has a lock.

mod connection;
mod counts;
mod deadlines;
mod pipe;
mod table;
mod tcp;
#[cfg(test)]
mod tests;

pub use connection::Incoming;
pub use counts::{CloseReason, Counts};
pub use table::Streams;

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};

use crate::sip::wire::Limits;

/// What the streams need of the settings. What changes holds for connections from then on.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Connections that others may open, in all.
    pub max: usize,
    /// Connections that one source may open.
    pub max_per_source: usize,
    /// A connection on which no whole message has passed for this long is closed, or kept alive if it is ours.
    pub idle_for: Duration,
    /// A TLS handshake, or a message that has begun, must be complete within this.
    pub handshake_for: Duration,
    /// Of messages.
    pub limits: Limits,
    /// What we show on a TLS listener; by index in `[[listen]]`.
    pub identities: HashMap<usize, Arc<ServerConfig>>,
    /// How a next hop's certificate is checked, by its address.
    pub clients: BTreeMap<SocketAddr, Client>,
    /// The same for all of a network: a peer that came from there may have to be connected to. The first one counts.
    pub networks: Vec<(IpNet, Client)>,
    /// How routers are asked to treat what is sent (RFC 2474). Of listeners it is the one that they were made with.
    pub dscp: u8,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max: 1_000,
            max_per_source: 200,
            idle_for: Duration::from_secs(10 * 60),
            handshake_for: Duration::from_secs(10),
            limits: Limits::default(),
            identities: HashMap::new(),
            clients: BTreeMap::new(),
            networks: Vec::new(),
            dscp: 0,
        }
    }
}

impl Settings {
    /// How the certificate at `address` is checked: as that address's, or else as that of the same machine's lowest
    /// port, or of its network's.
    #[must_use]
    pub fn client(&self, address: SocketAddr) -> Option<&Client> {
        let same_machine =
            || self.clients.iter().find(|(other, _)| other.ip() == address.ip()).map(|(_, client)| client);
        let network =
            || self.networks.iter().find(|(network, _)| network.contains(&address.ip())).map(|(_, client)| client);
        self.clients.get(&address).or_else(same_machine).or_else(network)
    }
}

/// How one next hop's certificate is checked.
#[derive(Clone, Debug)]
pub struct Client {
    /// Whom we believe.
    pub config: Arc<ClientConfig>,
    /// Whom the certificate must be for.
    pub name: ServerName<'static>,
}

/// `host`, a name or an address, as a certificate names it. None: no certificate can.
#[must_use]
pub fn server_name(host: &str) -> Option<ServerName<'static>> {
    ServerName::try_from(host.to_owned()).ok()
}
