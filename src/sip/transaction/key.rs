//! How a message finds its transaction.

use std::hash::Hasher as _;

use siphasher::sip::SipHasher24;
use siphasher::sip128::{Hasher128 as _, SipHasher24 as SipHasher128};

use crate::sip::wire::{Message, Method};

use super::{ClientId, ClientKind};

/// Begins every branch of RFC 3261 (§8.1.1.7).
const COOKIE: &str = "z9hG4bK";

/// Key of a server transaction (RFC 3261 §17.2.3): branch, sent-by and method, ACK counted as INVITE, hashed with our
/// secret so that a stranger cannot aim for one bucket. 128 bits: nobody finds two requests with one key.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct ServerKey(u64, u64);

/// Makes keys and branches; holds the secret.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    shard: u8,
    secret: [u8; 16],
}

impl Keys {
    pub(super) fn new(shard: u8, secret: [u8; 16]) -> Self {
        Self { shard, secret }
    }

    /// Key of `message` as if its method were `method`. None: its Via cannot be read.
    pub(super) fn server(&self, message: &Message<'_>, method: Method<'_>) -> Option<ServerKey> {
        let via = message.via().ok()?;
        let method = match method {
            Method::Ack => "INVITE",
            Method::Invite
            | Method::Bye
            | Method::Cancel
            | Method::Options
            | Method::Register
            | Method::Prack
            | Method::Update
            | Method::Info
            | Method::Other(_) => method.as_str(),
        };
        let branch = via.branch().unwrap_or_default();
        let mut hasher = SipHasher128::new_with_key(&self.secret);
        let mut part = |text: &str| {
            hasher.write(text.as_bytes());
            hasher.write_u8(0);
        };
        part(branch);
        part(via.host);
        part(method);
        if branch.strip_prefix(COOKIE).is_none_or(str::is_empty) {
            // RFC 2543 branches, and a bare cookie, need not be unique: the request's own identity decides
            // (RFC 3261 §17.2.3).
            part(message.call_id());
            part(message.from().ok().and_then(|from| from.tag()).unwrap_or_default());
            hasher.write_u32(message.cseq().map_or(0, |cseq| cseq.number));
        }
        hasher.write_u16(via.port.unwrap_or(0));
        let hash = hasher.finish128();
        Some(ServerKey(hash.h1, hash.h2))
    }

    /// Our branch: cookie, shard, kind, slot, generation, and a MAC over them.
    pub(super) fn branch(&self, id: ClientId, kind: ClientKind) -> String {
        let kind: u8 = match kind {
            ClientKind::Invite => 1,
            ClientKind::NonInvite => 2,
        };
        let mut branch = String::with_capacity(COOKIE.len() + 35);
        branch.push_str(COOKIE);
        hex(&mut branch, self.shard.into(), 2);
        hex(&mut branch, kind.into(), 1);
        hex(&mut branch, id.slot.into(), 8);
        hex(&mut branch, id.generation.into(), 8);
        hex(&mut branch, self.mac(kind, id), 16);
        branch
    }

    /// The id in a branch of ours; None: not ours, or forged.
    pub(super) fn client(&self, branch: &str) -> Option<ClientId> {
        let rest = branch.strip_prefix(COOKIE).filter(|rest| rest.len() == 2 + 1 + 8 + 8 + 16 && rest.is_ascii())?;
        let digit = |number: u64, byte: u8| Some(number << 4 | u64::from(char::from(byte).to_digit(16)?));
        let number = |from: usize, to: usize| rest.get(from..to)?.bytes().try_fold(0, digit);
        let shard = number(0, 2)?;
        let kind = u8::try_from(number(2, 3)?).ok()?;
        let id = ClientId { slot: number(3, 11)?.try_into().ok()?, generation: number(11, 19)?.try_into().ok()? };
        (shard == u64::from(self.shard) && number(19, 35)? == self.mac(kind, id)).then_some(id)
    }

    fn mac(&self, kind: u8, id: ClientId) -> u64 {
        let mut hasher = SipHasher24::new_with_key(&self.secret);
        hasher.write_u8(3);
        hasher.write_u8(self.shard);
        hasher.write_u8(kind);
        hasher.write_u32(id.slot);
        hasher.write_u32(id.generation);
        hasher.finish()
    }
}

/// The lowest `digits` of `number`.
fn hex(text: &mut String, number: u64, digits: u32) {
    const DIGITS: [u8; 16] = *b"0123456789abcdef";
    for place in (0..digits).rev() {
        text.push(char::from(DIGITS[(number >> (4 * place)) as usize & 0xF]));
    }
}
