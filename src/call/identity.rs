//! Who is told who calls: the boundary of trust (RFC 3325, RFC 3323), and what a message says of its way to somebody else
//! (RFC 5806, RFC 7044).

use super::settings::{Settings, ShownIdentity, Side};
use crate::sip::wire::{Edits, Message, Name, Uri};

/// True where the sender asks that strangers do not learn its identity (RFC 3325 §9.3), or who it is at all (RFC 3323
/// §4.2).
pub(super) fn is_private(message: &Message<'_>) -> bool {
    let mut wishes = message.others("Privacy").flat_map(|header| header.value.split([';', ',']));
    wishes.any(|wish| matches!(wish.trim().to_ascii_lowercase().as_str(), "id" | "user"))
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

/// Takes from a message on its way from `side` to the other what the other may not learn, or should not believe. `trunk`:
/// the one on the outside.
pub(super) fn screen(edits: &mut Edits, message: &Message<'_>, settings: &Settings, side: Side, trunk: Option<&str>) {
    let trunk = trunk.and_then(|name| settings.trunk(name));
    let (assertion, wish) = match (side, trunk) {
        // What a trunk's user wishes to be called is the trunk's business.
        (Side::Outside, Some(trunk)) => (trunk.believes_identity, false),
        (Side::Outside, None) => (true, false),
        (Side::Inside, Some(trunk)) => {
            let shown = match trunk.shows_identity {
                ShownIdentity::Trusted => true,
                ShownIdentity::Public => !is_private(message),
                ShownIdentity::Never => false,
            };
            (shown, shown)
        }
        (Side::Inside, None) => (true, true),
    };
    if !assertion {
        edits.remove_all(message, Name::PAssertedIdentity);
    }
    if !wish {
        edits.remove_other(message, "P-Preferred-Identity");
    }
}

/// A turn that a call has taken because somebody answered 3xx.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Turn {
    pub(super) from: String,
    pub(super) to: String,
    pub(super) status: u16,
}

/// Adds to an INVITE, made from `message`, which turns it has taken.
pub(super) fn diverted(edits: &mut Edits, message: &Message<'_>, turns: &[Turn]) {
    // The newest on top (RFC 5806 §4.1); 302 is a deflection by the called phone, others are told as unconditional.
    for Turn { from, status, .. } in turns.iter().rev() {
        let reason = if *status == 302 { "deflection" } else { "unconditional" };
        edits.push_on_top(message, &format!("Diversion: <{from}>;reason={reason};counter=1"));
    }
    // Without a history, one begins with where the call was meant to go (RFC 7044 §9.1); each turn is a branch of the
    // entry before (§10.3).
    let last = message.others("History-Info").last();
    let last = last.and_then(|header| header.value.rsplit("index=").next()?.split([';', ',']).next());
    let last =
        last.map(str::trim).filter(|index| !index.is_empty() && index.bytes().all(|b| b.is_ascii_digit() || b == b'.'));
    let mut index = last.unwrap_or("1").to_owned();
    if let (None, Some(first)) = (last, turns.first()) {
        edits.append(message, &format!("History-Info: <{}>;index=1", with_reason(&first.from, first.status)));
    }
    for (number, turn) in turns.iter().enumerate() {
        let parent = index.clone();
        index += ".1";
        let next = turns.get(number + 1);
        let uri = next.map_or_else(|| turn.to.clone(), |next| with_reason(&turn.to, next.status));
        edits.append(message, &format!("History-Info: <{uri}>;index={index};mp={parent}"));
    }
}

/// Why the call did not stay there (RFC 7044 §10.2).
fn with_reason(uri: &str, status: u16) -> String {
    format!("{uri}?Reason=SIP%3Bcause%3D{status}")
}

/// URIs to try next, as a 3xx orders them (RFC 3261 §8.1.3.4): those that can stand in a header as they are.
pub(super) fn contacts_of(redirect: &Message<'_>) -> Vec<String> {
    const MAX_CONTACTS: usize = 4;
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
