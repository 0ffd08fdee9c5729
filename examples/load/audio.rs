//! RTP both ways: 50 packets a second in each direction of each call, spread evenly; what arrives, and when.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
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
/// What is taken with the first calls, or given back after the start, is so within this time.
const SETTLES: Duration = Duration::from_secs(5);

#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Options {
    /// Calls
    #[arg(long, default_value_t = 400)]
    pub(crate) calls: usize,
    /// So many of them have audio before the memory that the others take is measured
    #[arg(long, default_value_t = 0)]
    pub(crate) before: usize,
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
    pub(crate) relay: Ipv4Addr,
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

/// Who sets calls up.
enum Dialler {
    Sip(Box<Telephones>),
    Ng(ng::Control),
    /// Nobody: the two ends send to each other.
    Nobody,
}

impl Dialler {
    fn new(options: &Options) -> Self {
        match (options.sip, options.ng) {
            (Some(proxy), _) => Self::Sip(Box::new(telephones(options, proxy))),
            (None, Some(at)) => Self::Ng(ng::Control::new(at)),
            (None, None) => Self::Nobody,
        }
    }

    /// The calls from `from` to `to`: where the caller's and the callee's audio goes in each.
    fn dial(&mut self, options: &Options, from: usize, to: usize) -> Vec<[u16; 2]> {
        match self {
            Self::Sip(telephones) => {
                dial(telephones, from, to);
                telephones.ports().split_off(from)
            }
            Self::Ng(control) => {
                (from..to).map(|number| control.call(number, options.caller, options.callee)).collect()
            }
            Self::Nobody => vec![[options.callee.port(), options.caller.port()]; to - from],
        }
    }
}

/// Both directions of all calls, on their way.
struct Stream<'a> {
    sockets: &'a [UdpSocket; 2],
    directions: [Direction; 2],
    frames: Vec<[u8; PAYLOAD]>,
    /// Ticks so far.
    at: usize,
}

impl Stream<'_> {
    fn add(&mut self, ports: &[[u16; 2]], ips: [Ipv4Addr; 2]) {
        for (side, direction) in self.directions.iter_mut().enumerate() {
            direction.to.extend(ports.iter().map(|ports| SocketAddrV4::new(ips[side], ports[side])));
            direction.left.resize(direction.to.len(), [None; WINDOW]);
        }
    }

    /// Audio for so long; how late a packet was sent at most.
    fn run(&mut self, length: Duration, counted: &mut Counted) -> Duration {
        let tick = INTERVAL / TICKS as u32;
        let ticks = (length.as_secs_f64() / tick.as_secs_f64()) as u32;
        let (start, mut late, mut done) = (clock::now(), Duration::ZERO, 0);
        while done < ticks {
            let (now, due) = (clock::now(), start + tick * done);
            if now >= due {
                late = late.max(now - due);
                for (side, direction) in self.directions.iter_mut().enumerate() {
                    counted.sent += send(direction, side, self.at, &self.frames);
                }
                (self.at, done) = (self.at + 1, done + 1);
            }
            self.take(counted, start + tick * done);
        }
        late
    }

    /// What is still under way.
    fn rest(&mut self, counted: &mut Counted) {
        let until = clock::now() + Duration::from_millis(500);
        while clock::now() < until {
            self.take(counted, until);
        }
    }

    /// Takes what has come, or waits for it.
    fn take(&mut self, counted: &mut Counted, until: Instant) {
        let mut came = 0;
        for (side, direction) in self.directions.iter_mut().enumerate() {
            came += take(direction, side, counted);
        }
        if came == 0 {
            net::wait([&self.sockets[0], &self.sockets[1]], until, clock::now());
        }
    }
}

pub(crate) fn run(options: &Options) -> Value {
    let sockets = [net::open(options.caller), net::open(options.callee)];
    let relays = options.sip.is_some() || options.ng.is_some();
    let ips = if relays { [options.relay; 2] } else { [*options.callee.ip(), *options.caller.ip()] };
    let directions = [0, 1].map(|side| Direction {
        outbox: Outbox::new(&sockets[side]),
        inbox: Inbox::new(&sockets[1 - side]),
        to: Vec::new(),
        left: Vec::new(),
    });
    let mut stream = Stream { sockets: &sockets, directions, frames: speech(), at: 0 };
    let mut dialler = Dialler::new(options);
    let before = options.before.min(options.calls);
    let ports = dialler.dial(options, 0, before);
    stream.add(&ports, ips);
    if before > 0 {
        stream.run(SETTLES, &mut Counted::since(clock::now()));
    }
    let memory_before = options.pid.map(cpu::memory_kb);
    let ports = dialler.dial(options, before, options.calls);
    stream.add(&ports, ips);
    assert_eq!(stream.directions[0].to.len(), options.calls, "calls with audio");

    stream.run(WARM_UP, &mut Counted::since(clock::now()));
    let spent_before = options.pid.map(cpu::spent);
    let by_thread_before = options.pid.filter(|_| options.threads).map(cpu::spent_by_thread);
    let mut counted = Counted::since(clock::now());
    let generator_late = stream.run(Duration::from_secs_f64(options.seconds), &mut counted);
    let memory = options.pid.map(cpu::memory_kb);
    stream.rest(&mut counted);

    let spent =
        options.pid.zip(spent_before).map(|(pid, before)| cpu::spent(pid).saturating_sub(before).as_secs_f64() * 1e6);
    let threads = options.pid.zip(by_thread_before).map(|(pid, before)| by_thread(&before, cpu::spent_by_thread(pid)));
    let memory = memory.zip(memory_before).map(|(after, before)| after as f64 - before as f64);
    if let Dialler::Sip(telephones) = &mut dialler {
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
        "memory_kb_per_call": memory.map(|memory| memory / (options.calls - before).max(1) as f64),
        "threads": threads,
    })
}

fn by_thread(before: &[(String, Duration)], after: Vec<(String, Duration)>) -> Value {
    let spent =
        |name: &String| before.iter().find(|(other, _)| other == name).map_or(Duration::ZERO, |(_, spent)| *spent);
    after.into_iter().map(|(name, at)| (name.clone(), json!((at - spent(&name)).as_secs_f64()))).collect()
}

fn telephones(options: &Options, proxy: SocketAddrV4) -> Telephones {
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
    Telephones::new(&options_of_calls, [options.caller, options.callee])
}

/// Calls until there are `to`.
fn dial(telephones: &mut Telephones, from: usize, to: usize) {
    let each = Duration::from_millis(5);
    let deadline = clock::now() + Duration::from_secs(10) + each * (to - from) as u32;
    let mut next = clock::now();
    let mut placed = from;
    while telephones.answered() < to && clock::now() < deadline {
        if placed < to && clock::now() >= next {
            next += each;
            telephones.place();
            placed += 1;
        }
        if !telephones.turn() {
            telephones.wait(next.max(clock::now() + Duration::from_micros(500)));
        }
    }
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
