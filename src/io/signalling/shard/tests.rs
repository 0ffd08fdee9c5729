#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crossbeam_channel::bounded;

use super::*;
use crate::call::{DivertCallee, DivertCaller, Local, Redirects, Settings, Trunk};
use crate::gate;
use crate::io::streams;
use crate::policy::judge::{Class, Verdict};
use crate::policy::rules::Policy;
use crate::rtp::control::MediaEvent;
use crate::sip::flow::Hop;
use crate::sip::wire;
use crate::trunk::{Credentials, Register, Secret};
use crate::units::{CallTime, Leg, Ratio};

fn settings() -> Settings {
    let [pbx, us] = ["127.0.0.5:5060", "127.0.0.1:5060"].map(|address| address.parse().unwrap());
    Settings {
        generation: 1,
        enforce: true,
        pbx: Hop::udp(pbx),
        pbx_networks: Vec::new(),
        pbx_name: None,
        names: Vec::new(),
        pbx_keep_alive: None,
        srtp: Default::default(),
        trunks: Vec::new(),
        local_outside: Local::only(us),
        local_inside: Local::only(us),
        ways: Vec::new(),
        listening: Vec::new(),
        public_address: None,
        public_media_address: None,
        codecs: Vec::new(),
        redirects: Redirects::Pass,
        policy: Arc::new(Policy::default()),
        watch_for: Duration::from_secs(25),
        callee_hears: DivertCallee::Announcement,
        caller_hears: DivertCaller::Announcement,
        take_back_key: None,
        wire_limits: wire::Limits::default(),
        large_over_tcp: true,
        max_calls: 8,
        session_timer: None,
        held_check: Duration::from_secs(300),
        longest_restored: Duration::from_secs(3_600),
    }
}

/// One without sockets or settings of anybody.
fn shard(wiring: Wiring, orders: Receiver<Order>) -> Shard {
    let registry = Poll::new().unwrap().registry().try_clone().unwrap();
    let streams = Streams::new(registry, Arc::new(streams::Settings::default()));
    let switchboard = Switchboard::new(0, 1, [1; 16], Arc::new(settings()));
    let gate = Gate::new(Arc::new(gate::Settings::default()), clock::now());
    Shard::new((Vec::new(), streams), switchboard, gate, (wiring, orders), Arc::default())
}

/// Nobody is told anything, and nobody tells anything.
fn wiring() -> Wiring {
    Wiring {
        media_events: crossbeam_channel::never(),
        begin_media: Box::new(|_, _| None),
        media: Box::new(|_| true),
        wake_media: Box::new(|| {}),
        verdicts: crossbeam_channel::never(),
        journal: Box::new(drop),
        recall: Box::new(|_| {}),
        recalled: crossbeam_channel::never(),
        restored: Vec::new(),
        events: bounded(1).0,
    }
}

#[test]
fn keys_without_end_keep_neither_an_order_nor_a_verdict_waiting() {
    let ((keys, media_events), (sender, verdicts)) = (bounded(10_000), bounded(1));
    let ((orders, inbox), (answer, answered)) = (bounded(1), bounded(1));
    let mut shard = shard(Wiring { media_events, verdicts: verdicts.clone(), ..wiring() }, inbox);
    let call = CallId(1);
    for _ in 0..10_000 {
        keys.send((call, MediaEvent::Digit { leg: Leg::Caller, digit: '1' })).unwrap();
    }
    let probabilities = [Ratio::ONE, Ratio::ZERO, Ratio::ZERO, Ratio::ZERO];
    let verdict = Verdict { at: CallTime::ZERO, class: Class::NoSpeech, probabilities, reasons: Vec::new() };
    sender.send((call, verdict)).unwrap();
    orders.send(Order::Calls(answer)).unwrap();

    assert!(shard.take_messages(), "there is more");

    assert_eq!((answered.try_recv(), verdicts.len()), (Ok(0), 0));
    assert_eq!(keys.len(), 10_000 - MESSAGES_A_TURN);
}

#[test]
fn a_panic_outside_the_switchboard_costs_a_turn_and_not_the_telephone() {
    let (orders, inbox) = bounded(1);
    let mut shard = shard(Wiring { wake_media: Box::new(|| panic!("a test asked for it")), ..wiring() }, inbox);
    let mut buffer = [0; DATAGRAM_BYTES];
    shard.media_due = Some(clock::now());
    let (answer, answered) = bounded(1);
    orders.send(Order::Calls(answer)).unwrap();

    let unread = shard.turn(|shard| {
        shard.handle_timeout(clock::now());
        Unread::default()
    });
    assert!(unread.any(), "whatever has come is looked at again");
    assert_eq!((shard.counted.panics, answered.try_recv().is_err()), (1, true));

    let unread = shard.turn(|shard| shard.take(unread, &mut buffer));
    assert!(!unread.any());
    assert_eq!((shard.counted.panics, answered.try_recv()), (1, Ok(0)));
}

#[test]
fn a_gateway_whose_address_is_forged_is_still_heard_by_what_only_the_trunk_knows() {
    let mut shard = shard(wiring(), crossbeam_channel::never());
    let credentials = Credentials { user: "us".into(), password: Secret::new("secret"), realm: None };
    let register = Register { user: "us".into(), credentials, expires: Duration::from_secs(600), token: "f00d".into() };
    let provider = Trunk::at("provider", Hop::udp("127.0.2.1:5060".parse().unwrap()));
    let trunks = vec![Trunk { register: Some(register), ..provider }];
    shard.switchboard = Switchboard::new(0, 1, [1; 16], Arc::new(Settings { trunks, ..settings() }));
    shard.begin();
    let gateway = "203.0.113.77:5060".parse().unwrap();
    // At one instant: no limit has time to recover.
    let now = clock::now();
    let mut options = |line: &str| {
        let text = format!(
            "OPTIONS sip:us@127.0.0.1{line} SIP/2.0\r\nVia: SIP/2.0/UDP 203.0.113.77;branch=z9hG4bKa\r\n\
             From: <sip:a@x>;tag=1\r\nTo: <sip:us@x>\r\nCall-ID: c\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
        );
        shard.take_datagram(text.as_bytes(), gateway, 0, now);
        (shard.counted.gated.values().sum::<u64>(), shard.switchboard.sizes().server_transactions)
    };

    let (dropped, _) = (0..100).map(|_| options("")).last().unwrap();
    assert!(dropped > 0, "a stranger's flood");
    assert_eq!(options(";line=beef"), (dropped + 1, 0));
    assert_eq!(options(";line=f00d"), (dropped + 1, 1));
    assert_eq!(options("").0, dropped + 1, "it is blocked no more");
    let most = 2 * gate::Settings::default().messages_per_trunk.burst.get();
    let (flooded, _) = (0..most).map(|_| options(";line=f00d")).last().unwrap();
    assert!(flooded > dropped + 1, "a trunk's limit is its own too");
}

#[test]
fn the_kernel_drops_nothing_that_a_trunk_may_be_known_by() {
    let kept_out = |register: Option<Register>| {
        let mut shard = shard(wiring(), crossbeam_channel::never());
        shard.sockets = vec![Some(UdpSocket::bind("127.0.0.1:0".parse().unwrap()).unwrap())];
        let provider = Trunk::at("provider", Hop::udp("127.0.2.1:5060".parse().unwrap()));
        let trunks = vec![Trunk { register, ..provider }];
        shard.switchboard = Switchboard::new(0, 1, [1; 16], Arc::new(Settings { trunks, ..settings() }));
        shard.begin();
        for _ in 0..1_000 {
            shard.take_datagram(b"x", "203.0.113.77:5060".parse().unwrap(), 0, clock::now());
        }
        shard.sift(clock::now());
        shard.sieve.len()
    };
    let credentials = Credentials { user: "us".into(), password: Secret::new("secret"), realm: None };
    let register = Register { user: "us".into(), credentials, expires: Duration::from_secs(600), token: "f00d".into() };

    assert_eq!((kept_out(None), kept_out(Some(register))), (1, 0));
}

#[test]
fn a_pbx_that_sends_too_much_can_still_call_for_help() {
    let mut shard = shard(wiring(), crossbeam_channel::never());
    let trunks = vec![Trunk::at("provider", Hop::udp("127.0.2.1:5060".parse().unwrap()))];
    shard.switchboard = Switchboard::new(0, 1, [1; 16], Arc::new(Settings { trunks, ..settings() }));
    let trusted = vec!["127.0.0.0/8".parse().unwrap()];
    shard.gate = Gate::new(Arc::new(gate::Settings { trusted, ..gate::Settings::default() }), clock::now());
    shard.begin();
    let now = clock::now();
    let mut calls = |from: &str, number: &str| {
        let text = format!(
            "INVITE sip:{number}@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bK{number}\r\n\
             From: <sip:a@x>;tag=1\r\nTo: <sip:b@x>\r\nCall-ID: {number}\r\nCSeq: 1 INVITE\r\n\
             Contact: <sip:a@{from}>\r\nContent-Length: 0\r\n\r\n"
        );
        let before = shard.switchboard.sizes().calls;
        shard.take_datagram(text.as_bytes(), from.parse().unwrap(), 0, now);
        shard.switchboard.sizes().calls - before
    };

    for (from, taken) in [("127.0.0.5:5060", 1), ("127.0.2.1:5060", 0)] {
        let most = 2 * gate::Settings::default().messages_per_trunk.burst.get();
        (0..most).for_each(|_| assert!(calls(from, "0") <= 1));
        assert_eq!(calls(from, "01632960002"), 0, "it sends too much");
        assert_eq!(calls(from, "112"), taken, "{from}");
    }
}
