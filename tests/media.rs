//! The real media path on loopback: two phones, a stranger, prompts and keys.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "a test fails by panicking")]

use ringfence::io::clock;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ringfence::audio::framer::Content;
use ringfence::audio::g711::Law;
use ringfence::audio::wav::write_stereo;
use ringfence::io::media::{BadMedia, MediaCounts, MediaPath, MediaSettings, StartedMedia, TapItem};
use ringfence::rtp::control::{Codec, Held, MediaCommand, MediaEvent, PlayId, PromptId, StreamPlan};
use ringfence::rtp::packet::Header;
use ringfence::units::{CallId, Leg, PerLeg, SampleRate};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const BOTH_LOOPBACK: PerLeg<IpAddr> = PerLeg { caller: LOOPBACK, callee: LOOPBACK };
const CALL: CallId = CallId(1);

/// Longest wait for anything; reached only when a test fails.
const PATIENCE: Duration = Duration::from_secs(10);
/// What has not come by now does not come: everything is on this machine, and what follows it has come already.
const NOT_COMING: Duration = Duration::from_millis(50);

#[test]
fn two_phones_hear_each_other_and_a_stranger_neither_gets_in_nor_steals_the_leg() {
    let mut world = World::new(22_000);
    let (caller, callee) = world.connected(true);
    let stranger = Phone::new([127, 0, 0, 66]);

    for n in 0..10u8 {
        stranger.send_to(caller.relay(), &caller.packet(u16::from(n), &[99; 160]));
        caller.send(u16::from(n), &[n; 160]);
        callee.send(u16::from(n), &[n + 100; 160]);
        assert_eq!(callee.receive().1, [n; 160]);
        assert_eq!(caller.receive().1, [n + 100; 160]);
    }

    assert!(stranger.hears_nothing() && callee.hears_nothing());
    let tapped = world.tapped(20);
    assert!(tapped.iter().all(|(_, payload)| payload[0] != 99));
    assert_eq!(tapped.iter().filter(|(leg, _)| *leg == Leg::Caller).count(), 10);
}

#[test]
fn a_prompt_is_one_stream_with_what_comes_before_and_after() {
    let world = World::new(22_100);
    let (caller, callee) = world.connected(false);
    let mut heard = Vec::new();
    for n in 0..5 {
        caller.send(n, &[1; 160]);
        heard.push(callee.receive());
    }

    world.play(Leg::Callee, &["short", "none", "short"]);
    heard.push(callee.receive());
    caller.send(5, &[2; 160]);
    heard.extend((1..10).map(|_| callee.receive()));
    assert_eq!(world.event(), MediaEvent::Finished { to: Leg::Callee, play: PlayId(1) });
    for n in 6..10 {
        caller.send(n, &[3; 160]);
        heard.push(callee.receive());
    }

    assert!(heard.iter().all(|(header, _)| header.ssrc == heard[0].0.ssrc && header.payload_type == 0));
    for pair in heard.windows(2) {
        let (before, after) = (&pair[0].0, &pair[1].0);
        assert_eq!(after.sequence.since(before.sequence), 1);
        assert!((160..80_000).contains(&after.timestamp.ticks_since(before.timestamp)), "{before:?} {after:?}");
    }
    let marked: Vec<_> = (0..heard.len()).filter(|&n| heard[n].0.marker).collect();
    assert_eq!(marked, [5, 15], "the prompt and what follows it begin a talkspurt");
    let prompt: Vec<_> = heard[5..15].iter().flat_map(|(_, payload)| payload).map(|&c| Law::Mu.decode(c)).collect();
    assert!(prompt.iter().all(|&sample| (sample - 5_000).abs() < 200), "100 ms of 5000, twice");
    for within in heard[5..15].windows(2) {
        assert_eq!(within[1].0.timestamp.ticks_since(within[0].0.timestamp), 160);
    }
}

#[test]
fn a_missing_prompt_counts_as_played() {
    let world = World::new(22_200);
    world.connected(false);

    world.play(Leg::Caller, &["none"]);

    assert_eq!(world.event(), MediaEvent::Finished { to: Leg::Caller, play: PlayId(1) });
}

#[test]
fn an_end_names_what_has_ended() {
    let world = World::new(22_230);
    let (_, callee) = world.connected(false);
    let play = |play| {
        let prompts = vec![PromptId("short".into())];
        world.send(MediaCommand::Play { call: CALL, to: Leg::Callee, prompts, play: PlayId(play) });
    };

    play(4);
    callee.receive();
    play(5);
    (0..5).for_each(|_| drop(callee.receive()));
    let replaced = world.event();
    play(6);

    assert_eq!(replaced, MediaEvent::Finished { to: Leg::Callee, play: PlayId(5) });
    assert_eq!(world.event(), MediaEvent::Finished { to: Leg::Callee, play: PlayId(6) });
}

#[test]
fn a_whisper_is_for_the_callee_alone_and_the_ear_hears_neither_it_nor_what_is_said_to_it() {
    let mut world = World::new(22_250);
    let (caller, callee) = world.connected(true);
    let (speech, reply) = ([0x9A; 160], [0x92; 160]);
    caller.send(0, &speech);
    callee.send(0, &reply);
    assert_eq!((callee.receive().1, caller.receive().1), (speech.to_vec(), reply.to_vec()));

    world.send(MediaCommand::Whisper {
        call: CALL,
        to: Leg::Callee,
        prompts: vec![PromptId("short".into())],
        play: PlayId(3),
    });
    world.settle();
    let mut heard = Vec::new();
    for n in 1..=8 {
        caller.send(n, &speech);
        callee.send(n, &reply);
        heard.push(callee.receive().1);
        assert_eq!(caller.receive().1, reply);
    }

    assert_eq!(world.event(), MediaEvent::Finished { to: Leg::Callee, play: PlayId(3) });
    assert!(heard.iter().any(|payload| *payload != speech), "something was mixed, or played between");
    let tapped = world.tapped(10);
    assert_eq!(tapped.iter().filter(|(leg, _)| *leg == Leg::Caller).count(), 9);
    assert!(tapped.iter().all(|(leg, payload)| *payload == if *leg == Leg::Caller { speech } else { reply }));
}

#[test]
fn a_held_key_is_told_and_a_key_of_ours_is_heard() {
    let world = World::new(22_270);
    let (caller, callee) = world.connected(false);
    world.send(MediaCommand::HoldKeys { call: CALL, from: Leg::Callee, held: Held::All });
    world.settle();
    callee.send_to(callee.relay(), &rtp(101, 1, 8_000, callee.ssrc, &[4, 0x80, 3, 0x20]));
    assert_eq!(world.event(), MediaEvent::Digit { leg: Leg::Callee, digit: '4' });
    assert!(caller.hears_nothing());

    world.send(MediaCommand::Press { call: CALL, to: Leg::Caller, key: '4', play: PlayId(8) });
    let packets: Vec<_> = (0..7).map(|_| caller.receive()).collect();

    assert_eq!(world.event(), MediaEvent::Finished { to: Leg::Caller, play: PlayId(8) });
    assert!(packets.iter().all(|(header, payload)| header.payload_type == 101 && payload[0] == 4));
    assert_eq!(packets.iter().filter(|(_, payload)| payload[1] & 0x80 != 0).count(), 3);
}

#[test]
fn keys_are_told_once_per_press_from_both_legs() {
    let world = World::new(22_300);
    let (caller, callee) = world.connected(false);
    for (phone, other, event) in [(&callee, &caller, 9), (&caller, &callee, 11)] {
        for (n, end) in [(1, 0), (2, 0), (3, 0x80), (4, 0x80), (5, 0x80)] {
            phone.send_to(phone.relay(), &rtp(101, n, 8_000, phone.ssrc, &[event, end, 0, n as u8]));
            other.receive();
        }
    }

    assert_eq!(world.event(), MediaEvent::Digit { leg: Leg::Callee, digit: '9' });
    assert_eq!(world.event(), MediaEvent::Digit { leg: Leg::Caller, digit: '#' });
    assert!(world.media.events.is_empty() && world.wakes.load(Ordering::SeqCst) > 0);
}

#[test]
fn a_cut_leg_does_not_get_through_and_later_does_again() {
    let world = World::new(22_400);
    let (caller, callee) = world.connected(false);
    world.send(MediaCommand::Cut { call: CALL, from: Leg::Caller, cut: true });
    world.settle();

    caller.send(1, &[1; 160]);
    assert!(callee.hears_nothing());
    world.send(MediaCommand::Cut { call: CALL, from: Leg::Caller, cut: false });
    world.settle();
    caller.send(2, &[2; 160]);
    assert_eq!(callee.receive().1, [2; 160]);
}

#[test]
fn reports_travel_on_the_odd_ports() {
    let world = World::new(22_500);
    let (caller, callee) = world.connected(false);
    caller.send(1, &[1; 160]);
    callee.receive();
    let report = [&[0x80, 201, 0, 1][..], &caller.ssrc.to_be_bytes()].concat();

    let mut relay = caller.relay();
    relay.set_port(relay.port() + 1);
    caller.send_to(relay, &report);

    let mut buffer = [0; 100];
    let (length, from) = callee.reports.recv_from(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], report);
    assert_eq!(from.port(), callee.relay().port() + 1);
}

/// Video: any payload, large frames over several packets, reports and feedback, nobody else's.
#[test]
fn a_video_is_relayed_as_it_is_and_no_stranger_gets_in() {
    let world = World::new(23_400);
    world.connected(false);
    let (caller, callee) = world.shown();
    let stranger = Phone::new([127, 0, 0, 66]);
    let picture = |n: u16, byte: u8| rtp(99 | 0x80, n, 90_000, caller.ssrc, &[byte; 1_200]);
    let arrives = |phone: &Phone, sent: &[u8]| {
        let mut buffer = [0; 2_000];
        let (length, from) = phone.socket.recv_from(&mut buffer).unwrap();
        assert!(buffer[..length] == *sent && from == phone.relay(), "{:?} from {from}", &buffer[..12]);
    };

    for n in 0..40 {
        stranger.send_to(caller.relay(), &picture(n, 66));
        caller.send_to(caller.relay(), &picture(n, 1));
    }
    (0..40).for_each(|n| arrives(&callee, &picture(n, 1)));
    callee.send(1, &[2; 900]);
    arrives(&caller, &callee.packet(1, &[2; 900]));

    // Asks for a whole picture (PSFB, PLI), on the port of reports and on that of media; a stranger says BYE.
    let beside = |relay: SocketAddr| SocketAddr::new(relay.ip(), relay.port() + 1);
    let feedback = [&[0x81, 206, 0, 2][..], &callee.ssrc.to_be_bytes(), &caller.ssrc.to_be_bytes()].concat();
    let bye = [&[0x81, 203, 0, 1][..], &caller.ssrc.to_be_bytes()].concat();
    stranger.send_to(beside(caller.relay()), &bye);
    stranger.send_to(caller.relay(), &bye);
    let mut buffer = [0; 100];
    for port in [beside(callee.relay()), callee.relay()] {
        callee.send_to(port, &feedback);
        let length = caller.reports.recv(&mut buffer).unwrap();
        assert_eq!(buffer[..length], feedback, "by whichever port it came");
    }

    // What was cut off lacks, and nothing is renumbered behind it.
    for (cut, n) in [(true, 40), (false, 41)] {
        world.send(MediaCommand::Cut { call: CALL.video(), from: Leg::Caller, cut });
        world.settle();
        caller.send_to(caller.relay(), &picture(n, 3));
        if cut {
            assert!(callee.hears_nothing());
        } else {
            arrives(&callee, &picture(n, 3));
        }
    }
    assert!(callee.hears_nothing() && stranger.hears_nothing());
    callee.reports.set_read_timeout(Some(NOT_COMING)).unwrap();
    assert!(callee.reports.recv(&mut buffer).is_err(), "the BYE");
}

/// Sixteen ports: four sets.
#[test]
fn video_has_ports_of_its_own_and_stands_back_behind_calls() {
    let world = World::new(23_500);
    world.connected(false);
    world.until(|counts| (counts.calls, counts.sockets) == (1, 4));
    world.shown();
    world.until(|counts| (counts.calls, counts.sockets) == (1, 8));
    let opens = |call: CallId| {
        world.send(MediaCommand::Open { call, local: BOTH_LOOPBACK, ports: None });
        matches!(world.event(), MediaEvent::Opened { .. })
    };

    assert!(opens(CallId(2)) && !opens(CallId(2).video()) && opens(CallId(3)));
    assert_eq!(world.media.path.begin(CALL.video(), BOTH_LOOPBACK), None, "what lies ready is for calls");

    world.send(MediaCommand::Close { call: CALL.video() });
    for call in [CALL, CallId(2), CallId(3)] {
        world.send(MediaCommand::Close { call });
    }
    world.until(|counts| counts.calls == 0);
}

#[test]
fn ports_are_counted_given_back_and_rested() {
    let mut world = World::new(22_600);
    world.connected(true);
    world.until(|counts| (counts.calls, counts.sockets, counts.ports_free) == (1, 4, 6));

    world.send(MediaCommand::Close { call: CALL });

    world.until(|counts| (counts.calls, counts.sockets, counts.ports_resting) == (0, 4, 2));
    world.send(MediaCommand::Open { call: CallId(2), local: BOTH_LOOPBACK, ports: None });
    let MediaEvent::Opened { ports } = world.event() else { panic!("others are free") };
    assert_eq!((ports.caller.port(), ports.callee.port()), (22_604, 22_606), "those of the first call rest");
    let mut kinds = Vec::new();
    world.take_taps(|item| kinds.push(matches!(item, TapItem::Stopped { .. })));
    assert_eq!(kinds, [false, true]);
}

#[test]
fn where_calls_follow_each_other_sets_lie_ready_and_a_call_begins_at_once() {
    let world = World::new(23_100);
    assert_eq!(world.media.path.begin(CALL, BOTH_LOOPBACK), None, "nobody has called yet");
    for call in [8, 9] {
        world.send(MediaCommand::Open { call: CallId(call), local: BOTH_LOOPBACK, ports: None });
        assert!(matches!(world.event(), MediaEvent::Opened { .. }));
    }
    // All that the range has left.
    world.until(|counts| counts.sockets == 16);

    let ports = world.media.path.begin(CALL, BOTH_LOOPBACK).expect("a set lies ready");
    let (caller, callee) = world.answered(ports, false);
    caller.send(1, &[1; 160]);
    assert_eq!(callee.receive().1, [1; 160]);

    let elsewhere = PerLeg { caller: LOOPBACK, callee: IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3)) };
    assert_eq!(world.media.path.begin(CallId(2), elsewhere), None, "nobody has called there");
    world.send(MediaCommand::Open { call: CallId(2), local: elsewhere, ports: None });
    assert!(matches!(world.event(), MediaEvent::Opened { .. }), "what lies ready elsewhere gives its ports");
    assert_eq!(world.media.path.begin(CallId(3), BOTH_LOOPBACK), None, "and is gone");
}

#[test]
fn what_comes_late_reaches_nobody_and_keeps_its_ports_from_the_next_call() {
    let world = World::new(23_200);
    let (caller, callee) = world.connected(false);
    world.send(MediaCommand::Close { call: CALL });
    world.until(|counts| counts.calls == 0);

    caller.send(1, &[1; 160]);

    assert!(callee.hears_nothing());
    world.until(|counts| (counts.sockets, counts.ports_resting, counts.ports_free) == (4, 2, 6));
    world.until(|counts| counts.no_call == 1);
}

/// Every port of a small range has had its call, and a stranger sends to all of them.
#[test]
fn a_stranger_who_sends_to_ports_without_a_call_keeps_no_call_out() {
    let world = World::new(23_300);
    let calls = 10..14;
    let ports: Vec<_> = calls
        .clone()
        .map(|call| {
            world.send(MediaCommand::Open { call: CallId(call), local: BOTH_LOOPBACK, ports: None });
            let MediaEvent::Opened { ports } = world.event() else { panic!("the range has eight pairs") };
            ports
        })
        .collect();
    for call in calls {
        world.send(MediaCommand::Close { call: CallId(call) });
    }
    world.until(|counts| counts.calls == 0 && counts.ports_free == 0);

    let stranger = Phone::new([127, 0, 0, 1]);
    let begun = clock::now();
    loop {
        ports.iter().for_each(|ports| stranger.send_to(ports.caller, &stranger.packet(1, &[1; 160])));
        world.send(MediaCommand::Open { call: CALL, local: BOTH_LOOPBACK, ports: None });
        if matches!(world.event(), MediaEvent::Opened { .. }) {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "the call is kept out");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn after_a_restart_a_call_has_its_ports_again_and_its_phones_are_where_they_were() {
    let world = World::new(22_800);
    let (mut caller, mut callee) = world.connected(false);
    let ports = PerLeg { caller: caller.relay().port(), callee: callee.relay().port() };
    drop(world);

    let world = World::new(22_800);
    world.send(MediaCommand::Open { call: CALL, local: BOTH_LOOPBACK, ports: Some(ports) });
    let MediaEvent::Opened { ports: opened } = world.event() else { panic!("its ports are free") };
    assert_eq!(PerLeg { caller: opened.caller.port(), callee: opened.callee.port() }, ports);
    // The caller's description names an address behind NAT, and it says nothing.
    for (leg, rtp) in [(Leg::Caller, "10.0.0.9:4000".parse().unwrap()), (Leg::Callee, callee.address())] {
        let plan = StreamPlan { rtp: Some(rtp), codecs: vec![(0, Codec::Pcmu)], ..StreamPlan::default() };
        world.send(MediaCommand::Plan { call: CALL, leg, plan });
    }
    world.send(MediaCommand::Latch { call: CALL, leg: Leg::Caller, address: caller.address() });
    world.send(MediaCommand::Answered { call: CALL, analyse: false });
    world.settle();
    (caller.relay, callee.relay) = (Some(opened.caller), Some(opened.callee));
    callee.send(1, &[5; 160]);
    assert_eq!(caller.receive().1, [5; 160]);
    caller.send(1, &[6; 160]);
    assert_eq!(callee.receive().1, [6; 160], "it need not introduce itself again");

    world.send(MediaCommand::Open { call: CallId(2), local: BOTH_LOOPBACK, ports: Some(ports) });
    assert_eq!(world.event(), MediaEvent::Failed, "another call has them");
    world.until(|counts| (counts.calls, counts.ports_free) == (1, 6));
}

#[test]
fn a_source_that_no_description_names_is_told() {
    let world = World::new(22_900);
    let (caller, _) = world.connected(false);
    let phone = Phone { relay: caller.relay, ..Phone::new([127, 0, 0, 1]) };

    phone.send(1, &[1; 160]);

    let address = Some(phone.address());
    assert_eq!(world.event(), MediaEvent::Latched { leg: Leg::Caller, address });
}

#[test]
fn a_port_that_something_else_has_is_passed_over_and_an_empty_range_fails_one_call() {
    let _taken = UdpSocket::bind((LOOPBACK, 22_703)).unwrap();
    let world = World::new(22_700);
    let mut ports = BTreeSet::new();
    for call in 1..=3 {
        world.send(MediaCommand::Open { call: CallId(call), local: BOTH_LOOPBACK, ports: None });
        if let MediaEvent::Opened { ports: opened } = world.event() {
            ports.extend([opened.caller.port(), opened.callee.port()]);
        }
    }
    world.send(MediaCommand::Open { call: CallId(4), local: BOTH_LOOPBACK, ports: None });

    assert_eq!(ports, BTreeSet::from([22_700, 22_704, 22_706, 22_708, 22_710, 22_712]));
    assert_eq!(world.event(), MediaEvent::Failed);
    world.until(|counts| counts.ports_taken == 1);
}

#[test]
fn an_answered_call_without_media_is_told_once() {
    let world = World::with_timeout(22_800, Duration::from_secs(1));
    let (_caller, _callee) = world.connected(false);

    assert_eq!(world.event(), MediaEvent::Silent);
    assert!(world.media.events.recv_timeout(Duration::from_millis(1_200)).is_err());
    // Behind a hold, silence is another one than within it.
    let plan = StreamPlan { codecs: vec![(0, Codec::Pcmu)], ..StreamPlan::default() };
    world.send(MediaCommand::Plan { call: CALL, leg: Leg::Callee, plan });
    assert_eq!(world.event(), MediaEvent::Silent);
}

/// Two who listen, and send no sound meanwhile.
#[test]
fn reports_of_the_peers_are_a_sign_of_life_and_those_of_strangers_are_not() {
    let world = World::with_timeout(24_200, Duration::from_secs(1));
    let (caller, callee) = world.connected(false);
    let report = |ssrc: u32| [&[0x80, 201, 0, 1][..], &ssrc.to_be_bytes()].concat();
    caller.send(1, &[1; 160]);
    callee.receive();
    let mut relay = caller.relay();
    relay.set_port(relay.port() + 1);
    let told = |ssrc: u32, most: usize| {
        let sent = || caller.send_to(relay, &report(ssrc));
        (0..most).find_map(|_| {
            sent();
            world.media.events.recv_timeout(Duration::from_millis(250)).ok()
        })
    };

    assert_eq!(told(caller.ssrc, 10), None, "for 2.5 s");
    assert_eq!(told(99, 20).map(|(_, event)| event), Some(MediaEvent::Silent));
}

#[test]
fn a_caller_who_sends_what_the_ear_cannot_decode_gets_through_and_is_told_of() {
    let world = World::new(24_100);
    let (caller, callee) = world.connected(true);
    let gsm = |n: u16| rtp(3, n, u32::from(n) * 160, caller.ssrc, &[7; 33]);

    for n in 0..50 {
        caller.send_to(caller.relay(), &gsm(n));
        assert_eq!(callee.receive().1, [7; 33]);
    }

    assert_eq!(world.event(), MediaEvent::Unheard);
}

#[test]
fn calls_are_spread_over_the_threads_and_all_end_with_them() {
    let folder = tempfile::tempdir().unwrap();
    let settings = MediaSettings { threads: 2, ..settings(22_900, 22_915, PATIENCE, folder.path()) };
    let media = MediaPath::start(&settings, Arc::new(|| {})).unwrap();
    for call in 0..4 {
        assert!(media.path.send(MediaCommand::Open { call: CallId(call), local: BOTH_LOOPBACK, ports: None }));
    }
    let opened: BTreeSet<_> = (0..4)
        .map(|_| match media.events.recv_timeout(PATIENCE).unwrap() {
            (call, MediaEvent::Opened { .. }) => call,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!((opened.len(), media.taps.len()), (4, 2));
    assert!(UdpSocket::bind((LOOPBACK, 22_900)).is_err());

    drop(media.path);

    for port in 22_900..22_916 {
        UdpSocket::bind((LOOPBACK, port)).expect("every socket is closed");
    }
}

#[test]
fn settings_without_room_are_refused() {
    let refused = MediaPath::start(&settings(23_001, 23_004, PATIENCE, Path::new("/")), Arc::new(|| {}));

    assert!(matches!(refused, Err(BadMedia::Ports { .. })));
}

fn settings(first_port: u16, last_port: u16, timeout: Duration, announcements: &Path) -> MediaSettings {
    MediaSettings {
        first_port,
        last_port,
        timeout,
        announcements: announcements.to_owned(),
        threads: 1,
        dscp: 46,
        sockets: 1_000,
    }
}

struct World {
    media: StartedMedia,
    wakes: Arc<AtomicUsize>,
    _announcements: tempfile::TempDir,
}

impl World {
    /// Sixteen ports from `first_port` on, and one prompt: `short`, 100 ms of a constant 5000.
    fn new(first_port: u16) -> Self {
        Self::with_timeout(first_port, Duration::from_secs(60))
    }

    fn with_timeout(first_port: u16, timeout: Duration) -> Self {
        let announcements = tempfile::tempdir().unwrap();
        let file = std::fs::File::create(announcements.path().join("short.wav")).unwrap();
        write_stereo(file, SampleRate::TELEPHONE, &[5_000; 800], &[5_000; 800]).unwrap();
        let wakes = Arc::new(AtomicUsize::new(0));
        let counted = wakes.clone();
        let wake = Arc::new(move || {
            counted.fetch_add(1, Ordering::SeqCst);
        });
        let settings = settings(first_port, first_port + 15, timeout, announcements.path());
        let media = MediaPath::start(&settings, wake).unwrap();
        assert!(media.bad_prompts.is_empty());
        Self { media, wakes, _announcements: announcements }
    }

    /// A call that has been answered, and its phones.
    fn connected(&self, analyse: bool) -> (Phone, Phone) {
        self.send(MediaCommand::Open { call: CALL, local: BOTH_LOOPBACK, ports: None });
        let MediaEvent::Opened { ports } = self.event() else { panic!("no ports") };
        self.answered(ports, analyse)
    }

    fn answered(&self, ports: PerLeg<SocketAddr>, analyse: bool) -> (Phone, Phone) {
        let mut phones = [Phone::new([127, 0, 0, 1]), Phone::new([127, 0, 0, 2])];
        for (leg, phone) in Leg::BOTH.into_iter().zip(&mut phones) {
            phone.relay = Some(ports[leg]);
            let codecs = vec![(0, Codec::Pcmu), (8, Codec::Pcma)];
            let plan =
                StreamPlan { rtp: Some(phone.address()), codecs, telephone_event: Some(101), ..StreamPlan::default() };
            self.send(MediaCommand::Plan { call: CALL, leg, plan });
        }
        self.send(MediaCommand::Answered { call: CALL, analyse });
        self.settle();
        let [caller, callee] = phones;
        (caller, callee)
    }

    /// The call's video, and the cameras.
    fn shown(&self) -> (Phone, Phone) {
        let call = CALL.video();
        self.send(MediaCommand::Open { call, local: BOTH_LOOPBACK, ports: None });
        let MediaEvent::Opened { ports } = self.event() else { panic!("no ports") };
        let mut phones = [Phone::new([127, 0, 0, 1]), Phone::new([127, 0, 0, 2])];
        for (leg, phone) in Leg::BOTH.into_iter().zip(&mut phones) {
            phone.relay = Some(ports[leg]);
            let plan = StreamPlan { rtp: Some(phone.address()), ..StreamPlan::default() };
            self.send(MediaCommand::Plan { call, leg, plan });
        }
        self.send(MediaCommand::Answered { call, analyse: false });
        self.settle();
        let [caller, callee] = phones;
        (caller, callee)
    }

    fn send(&self, command: MediaCommand) {
        assert!(self.media.path.send(command));
    }

    fn play(&self, to: Leg, prompts: &[&str]) {
        let prompts = prompts.iter().map(|&name| PromptId(name.into())).collect();
        self.send(MediaCommand::Play { call: CALL, to, prompts, play: PlayId(1) });
    }

    fn event(&self) -> MediaEvent {
        self.media.events.recv_timeout(PATIENCE).unwrap().1
    }

    /// Commands are done in order: when this one has been answered, so have those before it.
    fn settle(&self) {
        self.play(Leg::Caller, &[]);
        assert_eq!(self.event(), MediaEvent::Finished { to: Leg::Caller, play: PlayId(1) });
    }

    fn until(&self, reached: impl Fn(MediaCounts) -> bool) {
        let end = clock::now() + PATIENCE;
        while !reached(self.media.path.counts()) {
            assert!(clock::now() < end, "{:?}", self.media.path.counts());
            // Waits a moment: no event is expected here.
            let _ = self.media.events.recv_timeout(Duration::from_millis(1));
        }
    }

    fn take_taps(&mut self, mut take: impl FnMut(TapItem<'_>)) {
        for ring in &mut self.media.taps {
            ring.drain(&mut take);
        }
    }

    /// The first `count` packets that the ear was given.
    fn tapped(&mut self, count: usize) -> Vec<(Leg, Vec<u8>)> {
        let mut out = Vec::new();
        let end = clock::now() + PATIENCE;
        while out.len() < count && clock::now() < end {
            self.take_taps(|item| {
                if let TapItem::Packet { leg, arrived, .. } = item {
                    assert_eq!(arrived.content, Content::Audio(Law::Mu));
                    out.push((leg, arrived.payload.to_vec()));
                }
            });
        }
        out
    }
}

struct Phone {
    socket: UdpSocket,
    reports: UdpSocket,
    relay: Option<SocketAddr>,
    ssrc: u32,
}

impl Phone {
    fn new(ip: [u8; 4]) -> Self {
        // The port above may be in use: another pair, then.
        let (socket, reports) = (0..100)
            .find_map(|_| {
                let socket = UdpSocket::bind(SocketAddr::from((ip, 0))).unwrap();
                let port = socket.local_addr().unwrap().port().checked_add(1)?;
                Some((socket, UdpSocket::bind(SocketAddr::from((ip, port))).ok()?))
            })
            .expect("two ports");
        for socket in [&socket, &reports] {
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
        }
        Self { socket, reports, relay: None, ssrc: u32::from_be_bytes(ip) }
    }

    fn address(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    fn relay(&self) -> SocketAddr {
        self.relay.unwrap()
    }

    /// Packet `n` of a stream that wraps soon.
    fn packet(&self, n: u16, payload: &[u8]) -> Vec<u8> {
        let timestamp = (u32::MAX - 500).wrapping_add(u32::from(n) * 160);
        rtp(0, 65_533u16.wrapping_add(n), timestamp, self.ssrc, payload)
    }

    fn send(&self, n: u16, payload: &[u8]) {
        self.send_to(self.relay(), &self.packet(n, payload));
    }

    fn send_to(&self, to: SocketAddr, packet: &[u8]) {
        self.socket.send_to(packet, to).unwrap();
    }

    fn receive(&self) -> (Header, Vec<u8>) {
        let mut buffer = [0; 2_000];
        let (length, from) = self.socket.recv_from(&mut buffer).expect("a packet");
        assert_eq!(from, self.relay(), "media come from the port that media go to");
        let header = Header::read(&buffer[..length]).unwrap();
        let payload = buffer[header.payload.clone()].to_vec();
        (header, payload)
    }

    fn hears_nothing(&self) -> bool {
        self.socket.set_read_timeout(Some(NOT_COMING)).unwrap();
        let silent = self.socket.recv_from(&mut [0; 100]).is_err();
        self.socket.set_read_timeout(Some(PATIENCE)).unwrap();
        silent
    }
}

fn rtp(payload_type: u8, sequence: u16, timestamp: u32, ssrc: u32, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x80, payload_type];
    packet.extend(sequence.to_be_bytes());
    packet.extend(timestamp.to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    packet.extend(payload);
    packet
}
