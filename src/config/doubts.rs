//! What a settings file may say, and its author probably did not mean.

use std::net::IpAddr;

use ipnet::IpNet;

use super::settings::{HostPort, Settings, TrunkSettings};
use crate::policy::action::Route;
use crate::policy::rules::Condition;
use crate::sip::flow::Transport;
use crate::units::Ratio;

/// The trunk of the settings file that comes with the program (RFC 5737: nobody has this address).
const EXAMPLE: &str = "192.0.2.10";

impl Settings {
    /// Each doubt as a person reads it. Calls go on, but not as the file looks.
    #[must_use]
    pub fn doubts(&self) -> Vec<String> {
        let mut doubts = self.doubted.clone();
        for (number, trunk) in self.trunks.iter().enumerate() {
            let TrunkSettings { name, address, .. } = trunk;
            if same(address, &self.pbx.address) {
                doubts.push(format!("trunk {name} has the address of the PBX ({address}): calls out go back to it"));
            }
            if address.host == EXAMPLE {
                doubts.push(format!("trunk {name} has the address of the examples ({EXAMPLE}), which nobody has"));
            }
            if self.is_ours(address) {
                doubts.push(format!("trunk {name} has an address that Ringfence listens on ({address})"));
            }
            // Two registrations with one provider are told apart by their contacts.
            let registers = |other: &TrunkSettings| trunk.register.is_some() && other.register.is_some();
            let before = self.trunks.iter().take(number);
            for TrunkSettings { name: other, .. } in before.filter(|o| same(&o.address, address) && !registers(o)) {
                doubts.push(format!(
                    "trunks {other} and {name} have one address ({address}): its calls count as {other}'s"
                ));
            }
        }
        self.doubt_networks(&mut doubts);
        self.doubt_policy(&mut doubts);
        if let Some(port) = self.sip_port_for_media() {
            doubts.push(format!("media.ports hold {port}, which is a port for SIP: no call gets it"));
        }
        doubts
    }

    /// Who may send what.
    fn doubt_networks(&self, doubts: &mut Vec<String>) {
        doubt_bits("networks.allow", &self.gate.allow, doubts);
        doubt_bits("networks.deny", &self.gate.deny, doubts);
        let pbx = ("the PBX".to_owned(), &self.pbx.address, &self.pbx.networks);
        let trunks = self.trunks.iter().map(|trunk| (format!("trunk {}", trunk.name), &trunk.address, &trunk.networks));
        for (name, address, networks) in std::iter::once(pbx).chain(trunks) {
            let address = address.host.parse::<IpAddr>().ok().map(IpNet::from);
            for network in address.iter().chain(networks).filter(|network| self.is_denied(network)) {
                doubts.push(format!("networks.deny covers {network} of {name}: what comes from there is dropped"));
            }
            doubt_bits(&name, networks, doubts);
            for network in networks.iter().filter(|network| network.prefix_len() == 0) {
                doubts.push(format!("{name} has the network {network}: anybody in the world may call as {name}"));
            }
        }
    }

    /// Who is in both lists is allowed.
    fn is_denied(&self, network: &IpNet) -> bool {
        let covered = |by: &[IpNet]| by.iter().any(|one| one.contains(network));
        covered(&self.gate.deny) && !covered(&self.gate.allow)
    }

    fn doubt_policy(&self, doubts: &mut Vec<String>) {
        if self.policy.emergency.is_empty() {
            let own = self.policy.country.emergency().join(", ");
            doubts.push(format!("numbers.emergency is empty: no number but {own} is one for emergency calls"));
        }
        if self.policy.guard_at == Ratio::ONE {
            doubts.push("detect.guard_at and all behind it are 1: nothing is done to a scam that is heard".to_owned());
        }
        let rules = &self.policy.rules;
        for (number, rule) in rules.iter().enumerate() {
            let name = &rule.name;
            if rules.iter().take(number).any(|other| other.name == *name) {
                doubts.push(format!("rule \"{name}\" is there twice: records do not say which one it was"));
            }
            if rule.when.iter().any(Condition::is_empty) {
                doubts.push(format!("rule \"{name}\" has a condition with an empty list: it matches no call"));
            }
            if rule.when.is_empty() && number + 1 < rules.len() {
                doubts.push(format!("rule \"{name}\" has no condition: no rule behind it is ever reached"));
            } else if rule.when.is_empty() && number == 0 {
                // Behind others, it says what becomes of the rest.
                let what = match rule.route {
                    Route::Connect => "no call from outside is listened to",
                    Route::Reject(_) => "every call from outside is rejected",
                    Route::Divert => "every call from outside is diverted",
                    Route::Watch => continue,
                };
                doubts.push(format!("rule \"{name}\" has no condition: {what}"));
            }
        }
    }

    /// A UDP port of this machine that is one for SIP, as far as the settings alone say it.
    fn sip_port_for_media(&self) -> Option<u16> {
        let listen = self.listen.iter().map(|listen| listen.hop).filter(|hop| hop.transport == Transport::Udp);
        let HostPort { host, port, .. } = &self.pbx.address;
        let beside = host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback()) && self.pbx.transport == Transport::Udp;
        let mut ports = listen.map(|hop| hop.address.port()).chain(beside.then_some(*port));
        ports.find(|port| (self.media.first_port..=self.media.last_port).contains(port))
    }

    /// As far as the settings alone say it.
    fn is_ours(&self, HostPort { host, port, .. }: &HostPort) -> bool {
        let Ok(ip) = host.parse::<IpAddr>() else { return false };
        self.listen.iter().map(|listen| listen.hop.address).any(|ours| {
            let reached = ours.ip() == ip || ours.ip().is_unspecified() && ip.is_loopback();
            ours.port() == *port && ours.is_ipv4() == ip.is_ipv4() && reached
        })
    }
}

/// An address with the length of its network behind it: one of the two was meant.
fn doubt_bits(name: &str, networks: &[IpNet], doubts: &mut Vec<String>) {
    for network in networks.iter().filter(|network| network.addr() != network.network()) {
        let (address, all) = (network.addr(), network.trunc());
        doubts.push(format!("{name}: {network} is all of {all}; for the one address, write {address}"));
    }
}

fn same(one: &HostPort, other: &HostPort) -> bool {
    one.port == other.port && one.host.eq_ignore_ascii_case(&other.host)
}
