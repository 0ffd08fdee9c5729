//! Where a new request may go: the PBX, or the hosts of the trunks in their order.

use std::sync::Arc;

use super::forward;
use super::settings::{Side, Trunk};
use super::switchboard::Switchboard;
use super::trunks::TOKEN;
use crate::sip::flow::Hop;
use crate::sip::wire::Uri;
use crate::trunk::in_order;

/// How the hosts of a trunk are put in order, where nothing else decides.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Order {
    /// Each call draws anew (RFC 2782).
    ByLot,
    /// Always the same: what belongs together (a challenge and its answer) comes to one host.
    Steady,
}

/// One way that a new request may take.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    /// None: the PBX.
    pub(super) trunk: Option<Arc<str>>,
    pub(super) hop: Hop,
    /// Its request-URI there.
    pub(super) uri: String,
    /// It leads to the trunk that the request goes to first.
    pub(super) is_first: bool,
}

impl Switchboard {
    /// Where a new request from `side` may go, in order; a host of ours in its URI becomes the next hop's. Trunks that
    /// do not answer come last. A call for help may take each of them, whichever its URI names.
    pub(super) fn candidates(&mut self, uri: &str, target: &Uri<'_>, side: Side, order: Order) -> Vec<Candidate> {
        let settings = Arc::clone(&self.settings);
        let ours = settings.is_us(side, target) || target.host.is_empty();
        let Side::Inside = side else {
            // Our token is between us and the trunk.
            let registered = self.trunks.registered_at(target).is_some();
            let without_token = registered.then(|| target.without(uri, TOKEN));
            let uri = forward::at_hop(without_token.as_deref().unwrap_or(uri), settings.pbx);
            return vec![Candidate { trunk: None, hop: settings.pbx, uri, is_first: true }];
        };
        let mut found = Vec::new();
        let named = settings.trunks_for(target);
        let helps = order == Order::ByLot && settings.is_for_help(uri);
        let others = settings.trunks.iter().filter(|trunk| helps && !named.contains(trunk));
        for (trunk, there) in named.iter().map(|trunk| (trunk, true)).chain(others.map(|trunk| (trunk, false))) {
            for hop in self.hosts(trunk, order) {
                let uri =
                    if ours || !there { forward::at(uri, &trunk.place(hop), hop.transport) } else { uri.to_owned() };
                found.push((
                    self.is_down(&trunk.name, hop),
                    Candidate { trunk: Some(Arc::clone(&trunk.name)), hop, uri, is_first: false },
                ));
            }
        }
        found.sort_by_key(|(down, _)| *down);
        let mut found: Vec<Candidate> = found.into_iter().map(|(_, candidate)| candidate).collect();
        let first = found.first().and_then(|candidate| candidate.trunk.clone());
        found.iter_mut().for_each(|candidate| candidate.is_first = candidate.trunk == first);
        found
    }

    /// The hosts of a trunk in the order of one request: those that answer first.
    pub(super) fn hosts(&mut self, trunk: &Trunk, order: Order) -> Vec<Hop> {
        let mut hosts = match order {
            Order::ByLot => in_order(&trunk.targets, &mut self.trunks.dice),
            Order::Steady => {
                let mut targets = trunk.targets.clone();
                targets.sort();
                targets.iter().map(|target| target.hop).collect()
            }
        };
        hosts.sort_by_key(|hop| self.is_down(&trunk.name, *hop));
        hosts
    }
}
