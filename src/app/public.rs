//! The address that the outside sees, where the settings give it a name: it is asked for again and again, as the PBX's
//! is.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::config::{PublicAddress, Settings};
use crate::io::clock;
use crate::io::system_name::SystemName;

/// How long a start or a reload waits for an answer. Without one, calls go on as they did, or with our own address.
const PATIENCE: Duration = Duration::from_secs(3);

/// Between two looks for it.
const LOOK: Duration = Duration::from_millis(20);

/// What is written in place of our own addresses; None: they are.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Public {
    pub(super) sip: Option<IpAddr>,
    pub(super) media: Option<IpAddr>,
}

/// The threads that ask, for SIP and for media.
pub(super) struct PublicNames([SystemName; 2]);

fn options(settings: &Settings) -> [Option<&PublicAddress>; 2] {
    [settings.sip.public_address.as_ref(), settings.media.public_address.as_ref()]
}

/// The port plays no part.
fn name(option: Option<&PublicAddress>) -> Option<(String, u16)> {
    match option? {
        PublicAddress::Named(name) => Some((name.clone(), 0)),
        PublicAddress::Is(_) => None,
    }
}

impl PublicNames {
    pub(super) fn start() -> std::io::Result<Self> {
        Ok(Self([SystemName::start("public name")?, SystemName::start("media name")?]))
    }

    /// Asks for the names of these settings from now on, and waits a little for their addresses.
    pub(super) fn follow(&self, settings: &Settings, before: Public) -> Public {
        for (follower, option) in self.0.iter().zip(options(settings)) {
            follower.follow(name(option));
        }
        let until = clock::now() + PATIENCE;
        let waits = || {
            self.0
                .iter()
                .zip(options(settings))
                .any(|(one, option)| name(option).is_some() && one.addresses().is_empty())
        };
        while waits() && clock::now() < until {
            std::thread::sleep(LOOK);
        }
        self.public(settings, before)
    }

    /// By the last answers.
    pub(super) fn public(&self, settings: &Settings, before: Public) -> Public {
        let [sip, media] = &self.0;
        among(settings, [&sip.addresses(), &media.addresses()], before)
    }
}

/// Where a name has no address that can be used, it is the one before.
fn among(settings: &Settings, found: [&[SocketAddr]; 2], before: Public) -> Public {
    let listeners = || settings.listen.iter().map(|listen| listen.hop.address.ip());
    let usable = |ip: &IpAddr| {
        // What a service for such names says of a line that is down.
        let nowhere = ip.is_unspecified() || ip.is_multicast();
        let ours = ip.is_loopback() && !listeners().any(|listener| listener.is_loopback());
        !nowhere && !ours && listeners().any(|listener| listener.is_ipv4() == ip.is_ipv4())
    };
    let one = |option: Option<&PublicAddress>, found: &[SocketAddr], before: Option<IpAddr>| match option? {
        PublicAddress::Is(ip) => Some(*ip),
        PublicAddress::Named(_) => {
            let mut usable: Vec<IpAddr> = found.iter().map(SocketAddr::ip).filter(usable).collect();
            // It is for IPv4 that routers need one.
            usable.sort_by_key(IpAddr::is_ipv6);
            let is_best = |ip: &IpAddr| ip.is_ipv4() || usable.iter().all(IpAddr::is_ipv6);
            let kept = before.filter(|ip| usable.contains(ip) || ip.is_ipv4() && usable.iter().all(IpAddr::is_ipv6));
            let stays = kept.filter(is_best);
            stays.or_else(|| usable.first().copied()).or(before)
        }
    };
    let ([sip, media], [found_sip, found_media]) = (options(settings), found);
    Public { sip: one(sip, found_sip, before.sip), media: one(media, found_media, before.media) }
}

/// The names whose address is not known, for people.
pub(super) fn unknown(settings: &Settings, public: Public) -> Option<String> {
    let named = options(settings).into_iter().zip([public.sip, public.media]);
    let unknown = named.filter(|(_, known)| known.is_none()).filter_map(|(option, _)| name(option));
    let names: Vec<String> = unknown.map(|(name, _)| name).collect();
    (!names.is_empty())
        .then(|| format!("{} has no address: the outside is told that of the network card", names.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{files_in, load};

    #[test]
    fn a_name_keeps_its_last_good_address_and_moves_with_the_next() {
        let text = "[pbx]\naddress = \"127.0.0.1:5070\"\n[[trunk]]\nname = \"a\"\naddress = \"192.0.2.1\"\n\
                    [sip]\npublic_address = \"home.example\"\n[media]\npublic_address = \"203.0.113.9\"\n";
        let settings = load(text, &files_in(std::path::Path::new("."))).unwrap();
        let addresses = |texts: &[&str]| -> Vec<SocketAddr> {
            texts.iter().map(|text| SocketAddr::new(text.parse().unwrap(), 0)).collect()
        };
        let sip = |found: &[&str], before: Option<&str>| {
            let before = Public { sip: before.map(|ip| ip.parse().unwrap()), media: None };
            let public = among(&settings, [&addresses(found), &[]], before);
            assert_eq!(public.media, Some("203.0.113.9".parse().unwrap()), "it is no name");
            assert_eq!(unknown(&settings, public).is_some(), public.sip.is_none());
            public.sip.map(|ip| ip.to_string()).unwrap_or_default()
        };

        assert_eq!(sip(&["2001:db8::1", "203.0.113.1", "203.0.113.2"], None), "203.0.113.1");
        assert_eq!(sip(&["203.0.113.1", "203.0.113.2"], Some("203.0.113.2")), "203.0.113.2");
        assert_eq!(sip(&["203.0.113.1"], Some("203.0.113.2")), "203.0.113.1");
        // A line that is down, and no answer.
        assert_eq!(sip(&["0.0.0.0", "127.0.0.1", "224.0.0.1"], Some("203.0.113.2")), "203.0.113.2");
        assert_eq!((sip(&[], Some("203.0.113.2")).as_str(), sip(&["127.0.0.1"], None).as_str()), ("203.0.113.2", ""));
    }
    #[test]
    fn with_listeners_of_both_kinds_the_address_over_ipv4_is_public() {
        let text = "[[listen]]\naddress = \"[::]:5060\"\n[[listen]]\naddress = \"0.0.0.0:5060\"\n[pbx]\n\
                    address = \"127.0.0.1:5070\"\n[[trunk]]\nname = \"a\"\naddress = \"192.0.2.1\"\n\
                    [sip]\npublic_address = \"home.example\"\n";
        let settings = load(text, &files_in(std::path::Path::new("."))).unwrap();
        let [six, four] = ["2001:db8::1", "203.0.113.1"].map(|ip| SocketAddr::new(ip.parse().unwrap(), 0));
        let sip = |found: &[SocketAddr]| among(&settings, [found, &[]], Public::default()).sip;

        assert_eq!((sip(&[six, four]), sip(&[six])), (Some(four.ip()), Some(six.ip())));
        // One answer may be without it.
        let after = |found: &[SocketAddr], before: SocketAddr| {
            among(&settings, [found, &[]], Public { sip: Some(before.ip()), media: None }).sip
        };
        assert_eq!((after(&[six], four), after(&[four, six], six)), (Some(four.ip()), Some(four.ip())));
    }
}
