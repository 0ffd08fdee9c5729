//! What a settings file may say, and its author probably did not mean.

use std::net::IpAddr;

use super::settings::{HostPort, Settings, TrunkSettings};

impl Settings {
    /// Each doubt as a person reads it. Calls go on, but not as the file looks.
    #[must_use]
    pub fn doubts(&self) -> Vec<String> {
        let mut doubts = Vec::new();
        for (number, trunk) in self.trunks.iter().enumerate() {
            let TrunkSettings { name, address, .. } = trunk;
            if same(address, &self.pbx.address) {
                doubts.push(format!("trunk {name} has the address of the PBX ({address}): calls out go back to it"));
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
        let rules = &self.policy.rules;
        for (number, rule) in rules.iter().enumerate() {
            let name = &rule.name;
            if rules.iter().take(number).any(|other| other.name == *name) {
                doubts.push(format!("rule \"{name}\" is there twice: records do not say which one it was"));
            }
            if rule.when.is_empty() && number + 1 < rules.len() {
                doubts.push(format!("rule \"{name}\" has no condition: no rule behind it is ever reached"));
            }
        }
        doubts
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

fn same(one: &HostPort, other: &HostPort) -> bool {
    one.port == other.port && one.host.eq_ignore_ascii_case(&other.host)
}
