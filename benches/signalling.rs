//! What signalling spends on one message, without the system calls around it.

#![allow(clippy::unwrap_used, missing_docs, reason = "a bench fails by panicking")]

#[path = "../tests/world/mod.rs"]
mod world;

use std::hint::black_box;
use std::net::IpAddr;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use ringfence::call::{Input, Output, Switchboard};
use ringfence::gate::{self, Gate, Overload, SourceKey};
use ringfence::policy::facts::{CallDirection, CallerNumber, Facts};
use ringfence::policy::rules::Policy;
use ringfence::sip::flow::Flow;
use ringfence::sip::wire::{Index, Limits, begins};
use ringfence::units::Redacted;

fn invite(number: u64) -> String {
    let body = "v=0\r\no=- 1 1 IN IP4 192.0.2.10\r\ns=-\r\nc=IN IP4 192.0.2.10\r\nt=0 0\r\nm=audio 4000 RTP/AVP 8 0 101\r\n\
        a=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\na=ptime:20\r\na=sendrecv\r\n";
    format!(
        "INVITE sip:201@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bK{number};rport\r\n\
         Max-Forwards: 70\r\nFrom: \"Line\" <sip:+441914980001@192.0.2.10>;tag=c{number}\r\nTo: <sip:201@192.0.2.1>\r\n\
         Call-ID: {number}@bench\r\nCSeq: 1 INVITE\r\nContact: <sip:line@192.0.2.10>\r\nAllow: INVITE, ACK, BYE, CANCEL\r\n\
         Supported: timer, replaces\r\nP-Asserted-Identity: <sip:+441914980001@192.0.2.10>\r\n\
         Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn trunk() -> IpAddr {
    "192.0.2.10".parse().unwrap()
}

fn reading(criterion: &mut Criterion) {
    let text = invite(1);

    criterion.bench_function("index an INVITE", |bencher| {
        let mut index = Index::new();
        bencher.iter(|| index.read(black_box(text.as_bytes()), &Limits::default()).is_ok());
    });

    criterion.bench_function("a glance at an INVITE", |bencher| {
        bencher.iter(|| begins(black_box(text.as_bytes())));
    });
}

fn at_the_gate(criterion: &mut Criterion) {
    let (now, trunk) = (ringfence::io::clock::now(), trunk());

    criterion.bench_function("a message at the gate", |bencher| {
        let settings = gate::Settings { trusted: vec![trunk.into()], ..gate::Settings::default() };
        let mut gate = Gate::new(Arc::new(settings), now);
        bencher.iter(|| gate.message(black_box(trunk), false, now));
    });

    criterion.bench_function("a turn under overload", |bencher| {
        let mut overload: Overload<()> = Overload::default();
        let source = SourceKey::of(trunk);
        bencher.iter(|| {
            overload.begin(true);
            black_box(overload.turn(source, true, false, now))
        });
    });
}

fn calls(criterion: &mut Criterion) {
    let now = ringfence::io::clock::now();

    criterion.bench_function("route a call", |bencher| {
        let policy = Policy::default();
        let number = |text: &str| Redacted(Arc::from(text));
        let facts = Facts {
            direction: CallDirection::Inbound,
            source: trunk(),
            trunk: Some("provider".into()),
            caller: CallerNumber::Known(number("+441914980001")),
            called: number("201"),
            understands_608: false,
            over_limit: None,
            hour: 12,
            weekday: 0,
            dialled_before: false,
        };
        bencher.iter(|| policy.route(black_box(&facts)));
    });

    criterion.bench_function("a new call, from its INVITE to the question about it", |bencher| {
        let settings = Arc::new(world::settings());
        let mut number = 0;
        let begin = || {
            number += 1;
            (Switchboard::new(0, 1, [7; 16], Arc::clone(&settings)), invite(number))
        };
        bencher.iter_batched(
            begin,
            |(mut switchboard, text)| {
                let flow = Flow::datagram(0, world::TRUNK.parse().unwrap());
                switchboard.handle_input(Input::Message { bytes: text.as_bytes(), flow }, now);
                assert!(matches!(switchboard.poll_output(), Some(Output::Consult { .. })));
                switchboard
            },
            BatchSize::SmallInput,
        );
    });
}

criterion_group!(benches, reading, at_the_gate, calls);
criterion_main!(benches);
