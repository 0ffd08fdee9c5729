//! Answers that nobody waits for any more: no phone is left off the hook.

use std::sync::Arc;
use std::time::Instant;

use super::forward::{self, Party};
use super::switchboard::Switchboard;
use crate::sip::flow::{Flow, Hop};
use crate::sip::transaction::ClientKind;
use crate::sip::wire::{Message, Name};

/// Answers of other forks to one INVITE that are hung up; more is no telephone network.
pub(super) const MAX_FORKS: usize = 16;

/// An INVITE of ours that nobody waits for any more.
#[derive(Clone, Debug)]
pub(super) struct Orphan {
    pub(super) flow: Flow,
    pub(super) local: Hop,
    /// A PRACK or an UPDATE may have followed the INVITE; a BYE comes behind them.
    pub(super) highest_cseq: u32,
    /// Tags of forks whose answer has been dealt with: a repetition is acknowledged and no more.
    pub(super) ended: Vec<Box<str>>,
}

impl Switchboard {
    /// A 2xx that nobody waits for: acknowledged and ended (RFC 3261 §13.2.2.4).
    pub(super) fn clean_up(&mut self, message: &Message<'_>, orphan: &mut Orphan, now: Instant) {
        let Orphan { flow, local, highest_cseq, ref mut ended } = *orphan;
        let tag = message.to().ok().and_then(|to| to.tag()).unwrap_or_default();
        let again = ended.iter().any(|other| **other == *tag);
        if !again && ended.len() >= MAX_FORKS {
            return;
        }
        let value = |name| message.header(name).map_or("", |header| header.value).to_owned();
        let routes = forward::routes_back(message);
        let number = message.cseq().map_or(1, |cseq| cseq.number);
        // Whoever leaves Contact out, which is in every 2xx (RFC 3261 §12.1.1), waits for the ACK all the same.
        let called = || message.to().map_or_else(|_| String::new(), |to| forward::at_hop(to.uri, flow.hop()));
        let target = message.contact().ok().flatten().map_or_else(called, |contact| contact.uri.to_owned());
        let party = Party { remote: value(Name::To), local: value(Name::From), target, routes, cseq: number, shift: 0 };
        let call_id = message.call_id();
        let Some((client, branch)) = self.transactions.reserve(ClientKind::NonInvite) else { return };
        let ack = forward::own_request(&party, call_id, "ACK", local, &format!("{branch}a"), number);
        self.transmit(flow, &ack);
        if again {
            return self.transactions.release(client);
        }
        ended.push(tag.into());
        let bye = forward::own_request(&party, call_id, "BYE", local, &branch, number.max(highest_cseq) + 1);
        let settings = Arc::clone(&self.settings);
        let trunk = settings.trunk_of(flow.peer.ip()).map(|trunk| &trunk.name);
        self.credit(client, trunk, &settings, &bye);
        self.transactions.send(client, &bye, flow, now);
    }
}
