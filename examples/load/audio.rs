//! RTP both ways: 50 packets a second in each direction of each call, spread evenly; what arrives, and when.

use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use ringfence::audio::g711::Law;
use ringfence::io::clock;
use serde_json::{Value, json};

use super::calls::{self, Telephones};
use super::net::{self, Inbox, Outbox};
use super::{cpu, ng, numbers};

/// Of each stream (RFC 3551: 20 ms).
const INTERVAL: Duration = Duration::from_millis(20);
/// Packets of one interval leave in so many portions.
const TICKS: usize = 80;
const PAYLOAD: usize = 160;
const HEADER: usize = 12;
/// A packet that is later than this counts as lost.
const WINDOW: usize = 64;
/// Different frames of the made-up speech.
const FRAMES: usize = 500;
/// Nothing of the first moments is counted: peers learn addresses, caches fill.
const WARM_UP: Duration = Duration::from_secs(1);

#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Options {
    /// Calls
    #[arg(long, default_value_t = 400)]
    pub(crate) calls: usize,
    /// Seconds of audio that are measured
    #[arg(long, default_value_t = 8.0)]
    pub(crate) seconds: f64,
    /// Set the calls up over SIP, through this
    #[arg(long, conflicts_with = "ng")]
    pub(crate) sip: Option<SocketAddrV4>,
    /// Set the calls up in rtpengine, whose NG protocol is here
    #[arg(long)]
    pub(crate) ng: Option<SocketAddrV4>,
    /// Where the audio of the system under load is, over SIP and NG
    #[arg(long, default_value = "127.0.0.1")]
    pub(crate) relay: std::net::Ipv4Addr,
    /// Callers' audio
    #[arg(long, default_value = "127.0.0.2:26900")]
    pub(crate) caller: SocketAddrV4,
    /// Callees' audio
    #[arg(long, default_value = "127.0.0.3:26902")]
    pub(crate) callee: SocketAddrV4,
    /// The process under load
    #[arg(long)]
    pub(crate) pid: Option<u32>,
    /// CPU by thread, too
    #[arg(long)]
    pub(crate) threads: bool,
}

/// One direction of all calls.
struct Direction {
    outbox: Outbox,
    /// Takes what the other end sent.
    inbox: Inbox,
    to: Vec<SocketAddrV4>,
    /// When a packet left, by call and sequence number.
    left: Vec<[Option<Instant>; WINDOW]>,
}

struct Counted {
    /// Only what left since then is counted.
    since: Instant,
    sent: u64,
    arrived: u64,
    /// Not one of ours, twice, or too late.
    odd: u64,
    late: Vec<Duration>,
}

impl Counted {
    fn since(since: Instant) -> Self {
        Self { since, sent: 0, arrived: 0, odd: 0, late: Vec::new() }
    }
}

pub(crate) fn run(options: &Options) -> Value {
    let sockets = [net::open(options.caller), net::open(options.callee)];
    let memory_before = options.pid.map(cpu::memory_kb);
    let mut telephones = None;
    let direct = [options.callee.port(), options.caller.port()];
    let ports = match (options.sip, options.ng) {
        (Some(proxy), _) => dial(options, proxy, &mut telephones),
        (None, Some(at)) => {
            let mut control = ng::Control::new(at);
            (0..options.calls).map(|number| control.call(number, options.caller, options.callee)).collect()
        }
        (None, None) => vec![direct; options.calls],
    };
    assert_eq!(ports.len(), options.calls, "calls with audio");
    let relays = options.sip.is_some() || options.ng.is_some();
    let ips = if relays { [options.relay; 2] } else { [*options.callee.ip(), *options.caller.ip()] };
    let mut directions = [0, 1].map(|side| Direction {
        outbox: Outbox::new(&sockets[side]),
        inbox: Inbox::new(&sockets[1 - side]),
        to: ports.iter().map(|ports| SocketAddrV4::new(ips[side], ports[side])).collect(),
        left: vec![[None; WINDOW]; options.calls],
    });
    let frames = speech();
    let warm_up = (WARM_UP.as_secs_f64() / INTERVAL.as_secs_f64()) as usize * TICKS;
    let last = warm_up + (options.seconds / INTERVAL.as_secs_f64()) as usize * TICKS;
    let tick = INTERVAL / TICKS as u32;
    let start = clock::now() + Duration::from_millis(5);
    let mut counted = Counted::since(start);
    let mut generator_late = Duration::ZERO;
    let mut spent_before = Duration::ZERO;
    let mut by_thread_before = Vec::new();
    let mut at = 0;
    let mut ended = None;
    loop {
        let now = clock::now();
        if at < last && now >= start + tick * at as u32 {
            if at == warm_up {
                counted = Counted::since(now);
                generator_late = Duration::ZERO;
                if let Some(pid) = options.pid {
                    spent_before = cpu::spent(pid);
                    by_thread_before = if options.threads { cpu::spent_by_thread(pid) } else { Vec::new() };
                }
            }
            generator_late = generator_late.max(now - (start + tick * at as u32));
            for (side, direction) in directions.iter_mut().enumerate() {
                counted.sent += send(direction, side, at, &frames);
            }
            at += 1;
            if at == last {
                ended = Some(clock::now());
            }
        }
        let mut came = 0;
        for (side, direction) in directions.iter_mut().enumerate() {
            came += take(direction, side, &mut counted);
        }
        let now = clock::now();
        if ended.is_some_and(|ended| now - ended > Duration::from_millis(500)) {
            break;
        }
        if came == 0 {
            let next = if at < last { start + tick * at as u32 } else { now + Duration::from_millis(5) };
            net::wait([&sockets[0], &sockets[1]], next, now);
        }
    }
    let spent = options.pid.map(|pid| (cpu::spent(pid) - spent_before).as_secs_f64() * 1e6);
    let threads =
        options.pid.filter(|_| options.threads).map(|pid| by_thread(&by_thread_before, cpu::spent_by_thread(pid)));
    let memory = options.pid.zip(memory_before).map(|(pid, before)| cpu::memory_kb(pid) as f64 - before as f64);
    if let Some(telephones) = &mut telephones {
        hang_up(telephones);
    }
    let Counted { sent, arrived, odd, late, .. } = counted;
    json!({
        "calls": options.calls,
        "sent": sent,
        "arrived": arrived,
        "odd": odd,
        "lost_percent": 100.0 * (sent as f64 - arrived as f64) / sent as f64,
        "late_us": numbers::spread(late),
        "generator_late_ms": generator_late.as_secs_f64() * 1e3,
        "cpu_us_per_packet": spent.map(|spent| spent / arrived as f64),
        "cores": spent.map(|spent| spent / 1e6 / options.seconds),
        "memory_kb_per_call": memory.map(|memory| memory / options.calls as f64),
        "threads": threads,
    })
}

fn by_thread(before: &[(String, Duration)], after: Vec<(String, Duration)>) -> Value {
    let spent =
        |name: &String| before.iter().find(|(other, _)| other == name).map_or(Duration::ZERO, |(_, spent)| *spent);
    after.into_iter().map(|(name, at)| (name.clone(), json!((at - spent(&name)).as_secs_f64()))).collect()
}

fn dial(options: &Options, proxy: SocketAddrV4, telephones: &mut Option<Telephones>) -> Vec<[u16; 2]> {
    let options_of_calls = calls::Options {
        caller: SocketAddrV4::new(*options.caller.ip(), 26_080),
        callee: SocketAddrV4::new(*options.callee.ip(), 26_090),
        proxy: Some(proxy),
        rate: 200.0,
        calls: options.calls,
        hold: 0.0,
        pid: None,
        memory: false,
    };
    let telephones = telephones.insert(Telephones::new(&options_of_calls, [options.caller, options.callee]));
    let deadline = clock::now() + Duration::from_secs(10) + Duration::from_millis(5) * options.calls as u32;
    let mut next = clock::now();
    let mut placed = 0;
    while telephones.answered() < options.calls && clock::now() < deadline {
        if placed < options.calls && clock::now() >= next {
            next += Duration::from_millis(5);
            telephones.place();
            placed += 1;
        }
        if !telephones.turn() {
            telephones.wait(next.max(clock::now() + Duration::from_micros(500)));
        }
    }
    telephones.ports()
}

fn hang_up(telephones: &mut Telephones) {
    telephones.hang_up(Duration::ZERO, clock::now());
    let deadline = clock::now() + Duration::from_secs(1);
    while clock::now() < deadline {
        if !telephones.turn() {
            telephones.wait(deadline);
        }
    }
}

/// The packets of one tick; how many.
fn send(direction: &mut Direction, side: usize, at: usize, frames: &[[u8; PAYLOAD]]) -> u64 {
    let sequence = (at / TICKS) as u16;
    let before = direction.outbox.sent;
    for number in (at % TICKS..direction.to.len()).step_by(TICKS) {
        let ssrc = (number as u32) << 1 | side as u32;
        let frame = &frames[(usize::from(sequence) + number * 37 + side * 250) % FRAMES];
        direction.left[number][usize::from(sequence) % WINDOW] = Some(clock::now());
        direction.outbox.put(direction.to[number], |out| {
            out.extend([0x80, 8]);
            out.extend(sequence.to_be_bytes());
            out.extend((u32::from(sequence) * PAYLOAD as u32).to_be_bytes());
            out.extend(ssrc.to_be_bytes());
            out.extend(frame);
        });
    }
    direction.outbox.flush();
    direction.outbox.sent - before
}

fn take(direction: &mut Direction, side: usize, counted: &mut Counted) -> usize {
    let Direction { inbox, left, .. } = direction;
    inbox.take(|packet, _| {
        let now = clock::now();
        let field =
            |from: usize| packet.get(from..from + 4).map_or(0, |bytes| u32::from_be_bytes(bytes.try_into().unwrap()));
        let (sequence, ssrc) = ((field(0) & 0xFFFF) as usize, field(8));
        let ours = packet.len() == HEADER + PAYLOAD && ssrc & 1 == side as u32;
        let sent = left.get_mut((ssrc >> 1) as usize).filter(|_| ours).and_then(|left| left[sequence % WINDOW].take());
        match sent {
            Some(sent) if sent < counted.since => {}
            Some(sent) => {
                counted.arrived += 1;
                counted.late.push(now - sent);
            }
            None => counted.odd += 1,
        }
    })
}

/// Ten seconds that a voice detector takes for speech some of the time: words of a hum with its overtones, and pauses.
fn speech() -> Vec<[u8; PAYLOAD]> {
    let mut frames = Vec::with_capacity(FRAMES);
    let mut seed = 1_u32;
    for number in 0..FRAMES {
        // A word of 300 ms, a pause of 100 ms; every fifth word is left out.
        let talks = number % 20 < 15 && number / 20 % 5 != 4;
        let mut frame = [0; PAYLOAD];
        for (at, sample) in frame.iter_mut().enumerate() {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let noise = (seed >> 16) as f32 / 65_536.0 - 0.5;
            let time = (number * PAYLOAD + at) as f32 / 8_000.0;
            let hum: f32 = (1..12).map(|n| (time * 130.0 * n as f32 * std::f32::consts::TAU).sin() / n as f32).sum();
            let level = if talks { 5_000.0 * (0.6 + 0.4 * (time * 25.0).sin()) } else { 0.0 };
            *sample = Law::A.encode((hum * level + noise * 60.0) as i16);
        }
        frames.push(frame);
    }
    frames
}
