//! The second opinion: `rsip` on the same bytes. Where both accept a message they must read the same in it.

use ringfence::sip::wire::{Index, Limits, Message};
use rsip::prelude::*;
use rsip::{Request, Response, SipMessage};

use super::random::{Dialect, Random, message, mutate};

/// What decides, as one of the two reads it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Reading {
    /// Method or status.
    first: String,
    call_id: String,
    cseq: (u32, String),
    from_tag: Option<String>,
    to_tag: Option<String>,
    branch: Option<String>,
}

/// How often each end was met.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    /// Both read it, and alike.
    pub(crate) agreed: usize,
    /// Both read it, and `rsip` is known to read such a message wrongly.
    pub(crate) known: usize,
    /// At most one of them read it.
    pub(crate) apart: usize,
}

/// `count` messages, each also mutated.
///
/// # Panics
/// Where the two disagree and no known fault explains it.
pub(crate) fn run(seed: u64, count: usize) -> Counts {
    let mut random = Random(seed);
    let mut index = Index::new();
    let mut counts = Counts::default();
    let mut compare = |bytes: &[u8]| {
        let (Some(ours), Some(theirs)) = (ours(&mut index, bytes), theirs(bytes)) else {
            counts.apart += 1;
            return;
        };
        if ours == theirs {
            counts.agreed += 1;
        } else {
            let fault = known_fault(&ours, &theirs, bytes);
            assert!(fault.is_some(), "{ours:?}\n{theirs:?}\n{}", bytes.escape_ascii());
            counts.known += 1;
        }
    };
    for number in 0..count {
        let dialect = if number % 4 == 0 { Dialect::Wild } else { Dialect::Plain };
        let mut bytes = message(&mut random, dialect);
        compare(&bytes);
        let donor = bytes.clone();
        mutate(&mut random, &mut bytes, &donor);
        compare(&bytes);
    }
    counts
}

fn ours(index: &mut Index, bytes: &[u8]) -> Option<Reading> {
    let message: Message<'_> = index.read(bytes, &Limits::default()).ok()?;
    let cseq = message.cseq().ok()?;
    let text = |text: &str| text.to_owned();
    Some(Reading {
        first: match message.status() {
            Some(code) => code.to_string(),
            None => message.method()?.as_str().to_owned(),
        },
        call_id: message.call_id().to_owned(),
        cseq: (cseq.number, cseq.method.as_str().to_owned()),
        from_tag: message.from().ok()?.tag().map(text),
        to_tag: message.to().ok()?.tag().map(text),
        branch: message.via().ok()?.branch().map(text),
    })
}

fn theirs(bytes: &[u8]) -> Option<Reading> {
    fn read(first: String, message: &impl HeadersExt) -> Option<Reading> {
        let cseq = message.cseq_header().ok()?.typed().ok()?;
        Some(Reading {
            first,
            call_id: message.call_id_header().ok()?.value().to_owned(),
            cseq: (cseq.seq, cseq.method.to_string()),
            from_tag: message.from_header().ok()?.typed().ok()?.tag().map(ToString::to_string),
            to_tag: message.to_header().ok()?.typed().ok()?.tag().map(ToString::to_string),
            branch: message.via_header().ok()?.typed().ok()?.branch().map(ToString::to_string),
        })
    }
    match SipMessage::try_from(bytes).ok()? {
        SipMessage::Request(request) => read(Request::method(&request).to_string(), &request),
        SipMessage::Response(response) => read(Response::status_code(&response).code().to_string(), &response),
    }
}

/// Why `rsip` 0.4.0 reads another thing in a message that we accept; None: nobody knows.
fn known_fault(ours: &Reading, theirs: &Reading, _bytes: &[u8]) -> Option<&'static str> {
    let alike = |theirs: Reading| theirs == *ours;
    if alike(Reading { call_id: theirs.call_id.trim().to_owned(), ..theirs.clone() }) {
        return Some("keeps white space at the end of a value (RFC 3261 §7.3.1 makes it insignificant)");
    }
    let cut_short = match (&ours.branch, &theirs.branch) {
        (Some(ours), Some(theirs)) => ours.starts_with(theirs.as_str()),
        (Some(_), None) => true,
        (None, _) => false,
    };
    if cut_short && alike(Reading { branch: ours.branch.clone(), ..theirs.clone() }) {
        return Some("ends a Via at a character that no token holds, and loses the rest of it");
    }
    let cut = |text: &Option<String>| text.as_deref().and_then(|text| text.split('=').next()).map(str::to_owned);
    let ours_cut = Reading {
        first: ours.first.clone(),
        call_id: ours.call_id.clone(),
        cseq: ours.cseq.clone(),
        from_tag: cut(&ours.from_tag),
        to_tag: cut(&ours.to_tag),
        branch: cut(&ours.branch),
    };
    (ours_cut == *theirs).then_some("cuts a parameter's value at a second equals sign")
}
