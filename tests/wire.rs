//! The SIP message layer from outside: each case of RFC 4475 and each trap in messages of our own, the real element on
//! real bytes, a second parser's opinion, and seeded mutations.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "a test fails by panicking")]

#[path = "wire/differential.rs"]
mod differential;
#[path = "wire/element.rs"]
mod element;
#[path = "wire/forward.rs"]
mod forward;
#[path = "wire/messages.rs"]
mod messages;
#[path = "wire/mutation.rs"]
mod mutation;
#[path = "wire/random.rs"]
mod random;

use ringfence::io::clock;
use ringfence::sip::wire::BadMessage;

#[test]
fn every_message_meets_its_fate() {
    let now = clock::now();
    let mut wrong = Vec::new();
    for case in messages::cases() {
        let (read, does) = element::receive(&case.bytes, now);
        let reads = read.map_or_else(BadMessage::label, |()| "ok");
        if (reads, does) != (case.reads, case.does) {
            wrong.push(format!("{}: {reads}, {does:?}; expected {}, {:?}", case.name, case.reads, case.does));
        }
    }
    assert!(wrong.is_empty(), "{} cases differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn no_message_is_answered_with_one_that_is_refused() {
    let now = clock::now();
    for case in messages::cases() {
        let (_, does) = element::receive(&case.bytes, now);
        assert_ne!(does, element::Does::Answers(0), "{}", case.name);
    }
}

#[test]
fn mutated_messages_are_refused_or_forwarded_as_decided() {
    let counts = mutation::run(1, 200_000);

    assert!(counts.forwarded > 20_000 && counts.refused > 20_000, "{counts:?}");
}

#[test]
fn where_rsip_reads_a_message_it_reads_the_same() {
    let counts = differential::run(2, 20_000);

    assert!(counts.agreed > 10_000, "{counts:?}");
}
