//! Names, addresses and networks.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::section::{Reading, Section};
use super::settings::HostPort;
use crate::sip::flow::Transport;

pub(super) const NETWORK_HINT: &str = "must be a network or address, as \"192.0.2.0/24\" or \"2001:db8::/32\"";
const HOST_HINT: &str = "must be a name or address with an optional port, as \"sip.example.com\" or \"192.0.2.1:5060\"";

/// A host that must be there. Where it is missing or bad, that is a problem and the value returned is never used.
pub(super) fn address<'t>(
    section: &mut Section<'_, 't>,
    transport: Transport,
    reading: &mut Reading<'t>,
    what: &str,
) -> HostPort {
    let parse = |text: &str| HostPort::parse(text, transport.default_port());
    let host = section.required(reading, "address", what, HOST_HINT, parse);
    if let Some(HostPort { host, stated: false, .. }) = &host {
        // Without a port, the DNS says more of a name than with the usual one.
        reading.options.insert(format!("{}.address", section.path), host.clone());
    }
    host.unwrap_or(HostPort { host: String::new(), port: 0, stated: false })
}

pub(super) fn network(text: &str) -> Option<IpNet> {
    text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

impl HostPort {
    fn parse(text: &str, default_port: u16) -> Option<Self> {
        if let Ok(address) = text.parse::<SocketAddr>() {
            let usable = !address.ip().is_unspecified() && address.port() != 0;
            return usable.then(|| Self { host: address.ip().to_string(), port: address.port(), stated: true });
        }
        if let Ok(ip) = text.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
            return (!ip.is_unspecified()).then(|| Self { host: ip.to_string(), port: default_port, stated: false });
        }
        let (host, port) = match text.split_once(':') {
            Some((host, port)) => (host, port.parse().ok().filter(|port| *port != 0)?),
            None => (text, default_port),
        };
        let stated = text.contains(':');
        is_name(host).then(|| Self { host: host.to_owned(), port, stated })
    }
}

/// Is it one that the DNS may have?
pub(super) fn is_name(host: &str) -> bool {
    let label = |label: &str| {
        let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        edge(label.chars().next())
            && edge(label.chars().last())
            && label.len() <= 63
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    };
    // All digits and dots, but no address: a slip, not a name.
    let numeric = host.chars().all(|c| c.is_ascii_digit() || c == '.');
    host.len() <= 253 && !numeric && host.trim_end_matches('.').split('.').all(label)
}

impl std::fmt::Display for HostPort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}
