//! Who is told who calls: the boundary of trust (RFC 3325, RFC 3323), and what a message says of its way to somebody
//! else (RFC 5806, RFC 7044).

use super::settings::{Settings, ShownIdentity, Side};
use crate::sip::wire::{Edits, Message, Name, NameAddr, Uri};

/// True where the sender asks that strangers do not learn its identity (RFC 3325 §9.3), or who it is at all (RFC 3323
/// §4.2).
pub(super) fn is_private(message: &Message<'_>) -> bool {
    wishes(message, ["id", "user"])
}

/// True where the sender's Privacy has one of two words (RFC 3323 §4.2).
fn wishes(message: &Message<'_>, words: [&str; 2]) -> bool {
    let mut wishes = message.others("Privacy").flat_map(|header| header.value.split([';', ',']));
    wishes.any(|wish| words.iter().any(|word| wish.trim().eq_ignore_ascii_case(word)))
}

/// The identity that a message from `side` asserts, where its sender is believed.
pub(super) fn asserted<'a>(
    message: &Message<'a>,
    settings: &Settings,
    side: Side,
    trunk: Option<&str>,
) -> Option<Uri<'a>> {
    let believed = match side {
        Side::Inside => true,
        Side::Outside => trunk.and_then(|name| settings.trunk(name)).is_none_or(|trunk| trunk.believes_identity),
    };
    let mut identities = message.addresses(Name::PAssertedIdentity).take(2);
    believed.then(|| identities.find_map(|identity| identity.ok()?.parsed_uri().ok())).flatten()
}

/// What becomes of a message's own history.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum History {
    /// It goes on.
    Kept,
    /// It was taken out.
    Removed,
}

/// Where a call has been before (RFC 7044, RFC 5806).
const HISTORY: &str = "History-Info";
const DIVERSION: &str = "Diversion";

/// Who calls, before there was P-Asserted-Identity (draft-ietf-sip-privacy-04).
const REMOTE_PARTY: &str = "Remote-Party-ID";

/// In place of an address that is nobody's business (RFC 7044 §10.1.2).
const ANONYMOUS: &str = "sip:anonymous@anonymous.invalid";

/// Takes from a message on its way from `side` to the other what the other may not learn, or should not believe.
/// `trunk`: the one on the outside.
pub(super) fn screen(
    edits: &mut Edits,
    message: &Message<'_>,
    settings: &Settings,
    side: Side,
    trunk: Option<&str>,
) -> History {
    let shown = match (side, trunk.map(|name| settings.trunk(name))) {
        // Renamed or removed since: nobody says any more what it may learn, and whether it is believed.
        (Side::Outside | Side::Inside, Some(None)) => ShownIdentity::Never,
        (Side::Outside, Some(Some(trunk))) if !trunk.believes_identity => ShownIdentity::Never,
        (Side::Inside, Some(Some(trunk))) => trunk.shows_identity,
        (Side::Outside, Some(Some(_))) | (Side::Outside | Side::Inside, None) => ShownIdentity::Trusted,
    };
    // The same in the words of older equipment, which wrote each wish beside the address.
    let private = || message.other_addresses(REMOTE_PARTY).any(|party| party.map_or(true, |party| is_marked(&party)));
    let assertion = match shown {
        ShownIdentity::Trusted => true,
        ShownIdentity::Public => !is_private(message) && !private(),
        ShownIdentity::Never => false,
    };
    if !assertion {
        edits.remove_all(message, Name::PAssertedIdentity);
        edits.remove_other(message, REMOTE_PARTY);
    }
    // What a trunk's user wishes to be called is the trunk's business.
    if !assertion || side == Side::Outside {
        edits.remove_other(message, "P-Preferred-Identity");
    }
    match shown {
        ShownIdentity::Trusted => History::Kept,
        ShownIdentity::Public => anonymise(edits, message),
        ShownIdentity::Never => {
            edits.remove_other(message, HISTORY);
            edits.remove_other(message, DIVERSION);
            History::Removed
        }
    }
}

/// Leaves where a call has been before without the addresses that are private.
fn anonymise(edits: &mut Edits, message: &Message<'_>) -> History {
    let all = wishes(message, ["header", "history"]);
    let mut history = History::Kept;
    for name in [HISTORY, DIVERSION] {
        if message.other_addresses(name).any(|entry| entry.is_err()) {
            // What cannot be read may be private.
            edits.remove_other(message, name);
            history = if name == HISTORY { History::Removed } else { history };
            continue;
        }
        for entry in message.other_addresses(name).flatten() {
            let private = if name == HISTORY { is_private_stay(entry.uri) } else { is_marked(&entry) };
            if all || private {
                edits.set_uri_at(message, entry.uri, ANONYMOUS);
                if let Some(display) = entry.display {
                    edits.replace(message, display, "Anonymous");
                }
            }
        }
    }
    history
}

/// True where an entry of a history asks for it (RFC 7044 §10.1.1).
fn is_private_stay(uri: &str) -> bool {
    let headers = uri.split_once('?').map_or("", |(_, headers)| headers);
    headers
        .split('&')
        .filter_map(|header| header.split_once('='))
        .any(|(name, value)| name.eq_ignore_ascii_case("Privacy") && !value.eq_ignore_ascii_case("none"))
}

/// The same of a Diversion (RFC 5806 §4) and of a remote party.
fn is_marked(entry: &NameAddr<'_>) -> bool {
    let wish = entry.param("privacy").flatten().map(|wish| wish.trim_matches('"'));
    wish.is_some_and(|wish| !wish.eq_ignore_ascii_case("off"))
}

/// A call sent on because somebody answered 3xx: retargeted, in the words of RFC 7044 §2.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Retarget {
    pub(super) from: String,
    pub(super) to: String,
    pub(super) status: u16,
}

/// Adds to an INVITE, made from `message`, where it has been sent on. `history`: what has become of the one in
/// `message`.
pub(super) fn diverted(edits: &mut Edits, message: &Message<'_>, retargets: &[Retarget], history: History) {
    // The newest on top (RFC 5806 §4.1); 302 is a deflection by the called phone, others are told as unconditional.
    for Retarget { from, status, .. } in retargets.iter().rev() {
        let reason = if *status == 302 { "deflection" } else { "unconditional" };
        edits.push_on_top(message, &format!("Diversion: <{from}>;reason={reason};counter=1"));
    }
    // Without a history, one begins with where the call was meant to go (RFC 7044 §9.1); each retarget is a branch
    // of the entry before (§10.3).
    let last = message.others(HISTORY).last().filter(|_| history == History::Kept);
    let last = last.and_then(|header| header.value.rsplit("index=").next()?.split([';', ',']).next());
    let last =
        last.map(str::trim).filter(|index| !index.is_empty() && index.bytes().all(|b| b.is_ascii_digit() || b == b'.'));
    let mut index = last.unwrap_or("1").to_owned();
    if let (None, Some(first)) = (last, retargets.first()) {
        edits.append(message, &format!("History-Info: <{}>;index=1", with_reason(&first.from, first.status)));
    }
    for (number, retarget) in retargets.iter().enumerate() {
        let parent = index.clone();
        index += ".1";
        let next = retargets.get(number + 1);
        let uri = next.map_or_else(|| retarget.to.clone(), |next| with_reason(&retarget.to, next.status));
        edits.append(message, &format!("History-Info: <{uri}>;index={index};mp={parent}"));
    }
}

/// Why the call did not stay there (RFC 7044 §10.2).
fn with_reason(uri: &str, status: u16) -> String {
    format!("{uri}?Reason=SIP%3Bcause%3D{status}")
}

/// Contacts of a 3xx that are looked at: each is one more telephone to wait for.
const MAX_CONTACTS: usize = 4;

/// URIs to try next, as a 3xx orders them (RFC 3261 §8.1.3.4): those that can stand in a header as they are.
pub(super) fn contacts_of(redirect: &Message<'_>) -> Vec<String> {
    let contacts = redirect.contacts().filter_map(Result::ok).take(MAX_CONTACTS);
    let plain = |uri: &str| !uri.contains(['?', ',']) && Uri::parse(uri).is_ok();
    let mut rated: Vec<(i32, String)> = contacts
        .filter(|contact| plain(contact.uri))
        .map(|contact| {
            let q = contact.param("q").flatten().and_then(|q| q.parse::<f32>().ok()).unwrap_or(1.0);
            ((q.clamp(0.0, 1.0) * -1_000.0) as i32, contact.uri.to_owned())
        })
        .collect();
    rated.sort_by_key(|(rating, _)| *rating);
    rated.into_iter().map(|(_, uri)| uri).collect()
}
