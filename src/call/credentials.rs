//! Requests that a trunk challenges, sent once more with its credentials (RFC 3261 §22): of calls that the PBX began.

use std::sync::Arc;
use std::time::Instant;

use super::settings::Settings;
use super::switchboard::Switchboard;
use super::trunks::TrunkChange;
use crate::sip::transaction::{ClientId, ClientKind};
use crate::sip::wire::{Edits, Index, Message, Method, Name};
use crate::trunk::{Asked, Challenge};

/// Answers to challenges of one request: a proxy's and a server's, and one nonce that was too old.
const MAX_ANSWERS: u8 = 3;

/// A request to a trunk that knows our credentials.
#[derive(Clone, Debug)]
pub(super) struct Credited {
    trunk: Arc<str>,
    last: Option<Challenge>,
    answers: u8,
}

impl Switchboard {
    /// A request goes to a trunk: should it be challenged, we answer, if we can and it does not itself.
    pub(super) fn credit(&mut self, client: ClientId, trunk: Option<&Arc<str>>, settings: &Settings, bytes: &[u8]) {
        let Some(trunk) = trunk.filter(|name| settings.trunk(name).is_some_and(|trunk| trunk.register.is_some()))
        else {
            return;
        };
        let mut index = Index::new();
        let Ok(message) = index.read_again(bytes, &settings.wire_limits) else { return };
        let authorized = message.other("Authorization").or_else(|| message.other("Proxy-Authorization")).is_some();
        if !authorized {
            self.trunks.credited.insert(client, Credited { trunk: Arc::clone(trunk), last: None, answers: 0 });
        }
    }

    /// Sends a challenged request once more, with credentials: the new transaction and the header line that answers.
    /// None: there is no (other) answer, and the challenge is for whoever sent the request.
    pub(super) fn answer_challenge(
        &mut self,
        client: ClientId,
        challenged: &Message<'_>,
        now: Instant,
    ) -> Option<(ClientId, String)> {
        let credited = self.trunks.credited.remove(&client)?;
        let settings = Arc::clone(&self.settings);
        let register = settings.trunk(&credited.trunk)?.register.as_ref()?;
        let mut challenge = Challenge::strongest(challenged, &register.credentials)?;
        let fresh = credited.last.as_ref().is_none_or(|last| challenge.is_new_to(last));
        if !fresh || credited.answers >= MAX_ANSWERS {
            self.tell_of(&credited.trunk, TrunkChange::CredentialsRefused);
            return None;
        }
        let (flow, sent) = self.transactions.sent(client)?;
        let mut index = Index::new();
        let request = index.read_again(&sent, &settings.wire_limits).ok()?;
        let method = request.method()?;
        let (uri, branch) = (request.request_uri()?, request.via().ok()?.branch()?);
        let kind = if method == Method::Invite { ClientKind::Invite } else { ClientKind::NonInvite };
        let asked = Asked { method: method.as_str(), uri, body: request.body() };
        let nonce = format!("{:016x}", self.trunks.dice.number());
        let line = challenge.answer(&register.credentials, asked, &nonce);
        let (again, new_branch) = self.transactions.reserve(kind)?;
        let mut edits = Edits::new();
        edits.replace(&request, branch, &new_branch);
        let number = request.cseq().map_or(1, |cseq| cseq.number).saturating_add(1);
        edits.set(&request, Name::CSeq, &format!("{number} {}", method.as_str()));
        edits.remove_other(&request, line.split(':').next().unwrap_or_default());
        edits.append(&request, &line);
        let mut bytes = Vec::new();
        edits.apply(&request, &mut bytes);
        self.send(again, &bytes, flow, now);
        let credited = Credited { last: Some(challenge), answers: credited.answers + 1, ..credited };
        self.trunks.credited.insert(again, credited);
        Some((again, line))
    }

    /// A request inside a call has been sent once more, with credentials. A BYE of ours has no one who waits for it.
    pub(super) fn sent_again(&mut self, client: ClientId, again: ClientId, line: String) {
        let Some(mut relayed) = self.relayed.remove(&client) else { return };
        relayed.shift += 1;
        if let Some(mut call) = relayed.call.and_then(|id| self.take(id)) {
            let to = call.leg_of(relayed.from.other());
            let party = &mut call.party[to];
            (party.shift, party.cseq) = (party.shift + 1, party.cseq + 1);
            if relayed.invite {
                let invite = &mut call.last_invite[to];
                (invite.shift, invite.authorization) = (relayed.shift, Some(line.into()));
            }
            self.changed(call.id);
            self.keep(call);
        }
        self.relayed_by_server.insert(relayed.server, again);
        self.relayed.insert(again, relayed);
    }
}
