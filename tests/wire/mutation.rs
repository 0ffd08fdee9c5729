//! Seeded mutations: nothing panics, and what is forwarded is what was decided on.

use std::net::SocketAddr;

use ringfence::sip::wire::sdp::Sdp;
use ringfence::sip::wire::{Index, Limits, Message, Name, StatusCode, respond};

use super::forward::{Forwarder, LOCAL, MEDIA, decision};
use super::random::{Dialect, Random, message, mutate};

/// How often each end was met.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    /// Forwarded and read again.
    pub(crate) forwarded: usize,
    /// Refused.
    pub(crate) refused: usize,
}

/// `count` messages mutated from `seed` on: each is refused, or forwarded as decided.
///
/// # Panics
/// Where one is forwarded as something else.
pub(crate) fn run(seed: u64, count: usize) -> Counts {
    let mut random = Random(seed);
    let mut forwarder = Forwarder::default();
    let mut index = Index::new();
    let mut counts = Counts::default();
    let mut donor = message(&mut random, Dialect::Wild);
    for number in 0..count {
        let mut bytes = message(&mut random, if number % 2 == 0 { Dialect::Wild } else { Dialect::Plain });
        mutate(&mut random, &mut bytes, &donor);
        match meet(&bytes, &mut index, &mut forwarder) {
            Some(true) => counts.forwarded += 1,
            Some(false) => counts.refused += 1,
            None => continue,
        }
        // What the next one borrows from may be broken already.
        if number % 7 == 0 {
            donor = if bytes.is_empty() { message(&mut random, Dialect::Wild) } else { bytes };
        }
    }
    counts
}

/// What becomes of one message: true, forwarded; false, refused; None, an answer that was meant for us.
///
/// # Panics
/// Where it is forwarded as something else.
pub(crate) fn meet(bytes: &[u8], index: &mut Index, forwarder: &mut Forwarder) -> Option<bool> {
    let Ok(before) = index.read(bytes, &Limits::default()) else {
        if let Some(request) = index.salvage(bytes) {
            answered(&request);
        }
        return Some(false);
    };
    if before.status().is_some() && before.vias().count() < 2 {
        return None;
    }
    let forwarded = forwarder.forward(bytes, SocketAddr::from(([192, 0, 2, 200], 5_062)));
    let after = forwarded.unwrap_or_else(|error| panic!("{error}: {}", bytes.escape_ascii()));
    same_decision(&before, after, bytes);
    Some(true)
}

/// An answer can always be written, and never splits into two messages.
fn answered(request: &Message<'_>) {
    let mut out = Vec::new();
    let source = SocketAddr::from(([192, 0, 2, 200], 5_062));
    respond(request, StatusCode::BAD_REQUEST, source, Some("t"), &[], &[], &mut out);
    let end = out.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4);
    assert_eq!(end, Some(out.len()), "{}", out.escape_ascii());
}

/// Reads what was forwarded again: every header that decides has stayed, every other left as it came.
fn same_decision(before: &Message<'_>, forwarded: &[u8], bytes: &[u8]) {
    let context = || format!("\nin:  {}\nout: {}", bytes.escape_ascii(), forwarded.escape_ascii());
    let limits = Limits { header_bytes: 1 << 16, headers: 256, line_bytes: 1 << 13 };
    let mut index = Index::new();
    let after = index.read(forwarded, &limits).unwrap_or_else(|error| panic!("{error}{}", context()));
    assert_eq!(before.start(), after.start(), "{}", context());
    let request = before.method().is_some();
    for name in [Name::From, Name::To, Name::CallId, Name::CSeq, Name::Other, Name::ProxyRequire, Name::Require] {
        assert!(before.all(name).eq(after.all(name)), "{name:?}{}", context());
    }
    let branches = |message: &Message<'_>, skip: usize| -> Vec<_> {
        message
            .vias()
            .skip(skip)
            .map(|via| via.map(|via| (via.host.to_owned(), via.port, via.branch().map(str::to_owned))))
            .collect()
    };
    let (skip_before, skip_after) = if request { (0, 1) } else { (1, 0) };
    assert_eq!(branches(before, skip_before), branches(&after, skip_after), "{}", context());
    let hops = before.max_forwards().unwrap().unwrap_or(70).saturating_sub(1);
    assert!(!request || after.max_forwards().unwrap() == Some(hops), "{}", context());
    let routes = |message: &Message<'_>, name, skip| -> Vec<_> {
        message.addresses(name).skip(skip).map(|route| route.unwrap().uri.to_owned()).collect()
    };
    // A request's routes led to us.
    let onward = if request { Vec::new() } else { routes(before, Name::Route, 0) };
    assert_eq!(onward, routes(&after, Name::Route, 0), "{}", context());
    let ours = usize::from(request);
    assert_eq!(routes(before, Name::RecordRoute, 0), routes(&after, Name::RecordRoute, ours), "{}", context());
    if let (Some(old), Some(new)) = (before.contact().unwrap(), after.contact().unwrap()) {
        let local = SocketAddr::from(LOCAL).to_string();
        assert!(new.uri.ends_with(&local) && old.params == new.params && old.display == new.display, "{}", context());
    }
    assert!(decision(&after).is_ok(), "{}", context());
    same_media(before, &after, &context());
}

fn same_media(before: &Message<'_>, after: &Message<'_>, context: &str) {
    let read = |message: &Message<'_>| message.has_sdp().then(|| message.body().to_vec());
    let (Some(old_body), Some(new_body)) = (read(before), read(after)) else {
        assert_eq!(before.body(), after.body(), "{context}");
        return;
    };
    let old = Sdp::read(&old_body);
    let Some((old, anchored)) = old.ok().and_then(|sdp| Some((sdp.clone(), sdp.anchored()?))) else {
        assert_eq!(old_body, new_body, "{context}");
        return;
    };
    let new = Sdp::read(&new_body).unwrap_or_else(|error| panic!("{error}{context}"));
    assert_eq!((old.media.len(), Some(anchored)), (new.media.len(), new.anchored()), "{context}");
    let at = SocketAddr::from(MEDIA);
    for (number, (old, new)) in old.media.iter().zip(&new.media).enumerate() {
        assert_eq!((old.kind, old.protocol, &old.formats), (new.kind, new.protocol, &new.formats), "{context}");
        assert_eq!(new.port, if number == anchored { at.port() } else { 0 }, "{context}");
        assert!(number != anchored || new.is_held() || new.address == Some(at.ip()), "{context}");
        assert!(new.rtcp.is_none_or(|rtcp| rtcp.port() == at.port() + 1), "{context}");
    }
}
