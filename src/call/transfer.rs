//! Transfers (RFC 3515, RFC 3891). Call-ID and tags are the same on both legs, so Replaces keeps its meaning; what one
//! side wrote as our address in Refer-To stands for somebody on the other side, who is named there in its place.

use super::forward;
use super::settings::Side;
use super::state::Call;
use super::switchboard::Switchboard;
use crate::sip::flow::Hop;
use crate::sip::wire::{Edits, Message, Method, NameAddr, Uri};
use crate::units::unescaped;

impl Switchboard {
    /// Maps the Refer-To of a REFER that comes from `side` and goes to `to`.
    pub(super) fn map_refer_to(&self, edits: &mut Edits, message: &Message<'_>, side: Side, to: Hop) {
        if message.method() != Some(Method::Other("REFER")) {
            return;
        }
        let header = message.other("Refer-To").or_else(|| message.other("r"));
        let address = header.and_then(|header| NameAddr::only(header.value).ok());
        let Some((old, uri)) = address.and_then(|address| Some((address.uri, Uri::parse(address.uri).ok()?))) else {
            return;
        };
        let headless = old.split('?').next().unwrap_or(old);
        let new = if side == Side::Inside && self.settings.is_pbx(&uri) {
            // One of its own extensions: out there, it is behind us.
            Some(forward::at_hop(headless, self.settings.local(Side::Outside, to)))
        } else if self.settings.is_us(side, &uri) {
            self.replaced_target(&uri, side).or_else(|| Some(forward::at_hop(headless, to)))
        } else {
            None
        };
        let Some(mut new) = new else { return };
        if !uri.headers.is_empty() {
            new.extend(["?", uri.headers]);
        }
        edits.set_uri_at(message, old, &new);
    }

    /// Would an INVITE take the place of a call that has been taken away? Its caller would have the callee again.
    pub(super) fn would_replace_diverted(&self, message: &Message<'_>) -> bool {
        let Some(replaces) = message.other("Replaces") else { return false };
        let call_id = replaces.value.split(';').next().unwrap_or_default().trim();
        let call = self.by_call_id.get(call_id).and_then(|id| self.calls.get(id));
        call.is_some_and(|call| call.diversion.is_some())
    }

    /// Who has the dialog that a Replaces of `uri` names, as `side`'s peer knows them.
    fn replaced_target(&self, uri: &Uri<'_>, side: Side) -> Option<String> {
        let call_id = replaced(uri.headers)?;
        let call = self.calls.get(self.by_call_id.get(&*call_id)?)?;
        Some(target(call, side))
    }
}

/// Who is behind us in `call`, seen from `side`.
fn target(call: &Call, side: Side) -> String {
    let target = &call.party[call.leg_of(side.other())].target;
    target.split('?').next().unwrap_or(target).to_owned()
}

/// The Call-ID in a Replaces among the headers of a URI (RFC 3261 §19.1.1: escaped, as it holds `;` and `=`).
fn replaced(headers: &str) -> Option<String> {
    let value = headers.split('&').find_map(|header| {
        let (name, value) = header.split_once('=')?;
        name.eq_ignore_ascii_case("Replaces").then_some(value)
    })?;
    unescaped(value)?.split(';').next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::replaced;

    #[test]
    fn the_replaced_call_is_read_in_every_spelling() {
        for (headers, call_id) in [
            ("Replaces=a%40b%3Bto-tag%3D1%3Bfrom-tag%3D2", Some("a@b")),
            ("Require=replaces&replaces=a@b;to-tag=1", Some("a@b")),
            ("Replaces=a%4", None),
            ("Replaces=%FF", None),
            ("Subject=x", None),
            ("", None),
        ] {
            assert_eq!(replaced(headers).as_deref(), call_id, "{headers}");
        }
    }
}
