//! Both ends of telephone calls: the caller at a rate, the callee answers 180 and 200 at once.

use std::collections::VecDeque;
use std::net::{SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};

use ringfence::io::clock;
use serde_json::{Value, json};

use super::net::{self, Inbox, Outbox};
use super::sip::{self, Dialog, Writer};
use super::{cpu, numbers};

/// What is still under way after the last call was placed may take so long.
const PATIENCE: Duration = Duration::from_secs(3);
/// The system under load goes on for so long with what calls leave behind: records, logs.
const AFTERWARDS: Duration = Duration::from_secs(1);
/// The longest that a transaction lives on after its answer (RFC 3261 §17: 64*T1): only then is left what a call takes.
pub(crate) const LINGER: Duration = Duration::from_secs(35);
/// New calls of one turn.
const CALLS_A_TURN: usize = 8;

#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Options {
    /// Address of the callers' telephone
    #[arg(long, default_value = "127.0.0.2:26080")]
    pub(crate) caller: SocketAddrV4,
    /// Address of the callees' telephone
    #[arg(long, default_value = "127.0.0.3:26090")]
    pub(crate) callee: SocketAddrV4,
    /// What is between them; without it, they talk to each other
    #[arg(long)]
    pub(crate) proxy: Option<SocketAddrV4>,
    /// Calls a second
    #[arg(long, default_value_t = 100.0)]
    pub(crate) rate: f64,
    /// Calls
    #[arg(long, default_value_t = 1_000)]
    pub(crate) calls: usize,
    /// Seconds that a call lasts
    #[arg(long, default_value_t = 0.0)]
    pub(crate) hold: f64,
    /// The process under load
    #[arg(long)]
    pub(crate) pid: Option<u32>,
    /// Measure its memory when all calls are answered (they must last long enough)
    #[arg(long)]
    pub(crate) memory: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Calling,
    Answered,
    Ending,
    Done,
    Failed,
}

#[derive(Clone, Debug)]
struct Call {
    state: State,
    invited: Instant,
    answered: Option<Instant>,
    dialog: Dialog,
    /// Where the caller's audio and the callee's audio go.
    ports: [Option<u16>; 2],
}

/// Both telephones.
pub(crate) struct Telephones {
    writer: Writer,
    callee: SocketAddrV4,
    sockets: [UdpSocket; 2],
    outboxes: [Outbox; 2],
    /// None only while they are being read.
    inboxes: Option<[Inbox; 2]>,
    calls: Vec<Call>,
    /// Answered and not yet ended, in the order of their answers.
    running: VecDeque<usize>,
    setup: Vec<Duration>,
    /// From the INVITE to its arrival at the callee.
    forward: Vec<Duration>,
    done: usize,
    failed: usize,
}

impl Telephones {
    pub(crate) fn new(options: &Options, audio: [SocketAddrV4; 2]) -> Self {
        let sockets = [net::open(options.caller), net::open(options.callee)];
        let run = clock::wall().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.subsec_nanos());
        let writer = Writer {
            run,
            caller: options.caller,
            proxy: options.proxy.unwrap_or(options.callee),
            caller_audio: audio[0],
            callee_audio: audio[1],
        };
        Self {
            writer,
            callee: options.callee,
            outboxes: [Outbox::new(&sockets[0]), Outbox::new(&sockets[1])],
            inboxes: Some([Inbox::new(&sockets[0]), Inbox::new(&sockets[1])]),
            sockets,
            calls: Vec::new(),
            running: VecDeque::new(),
            setup: Vec::new(),
            forward: Vec::new(),
            done: 0,
            failed: 0,
        }
    }

    pub(crate) fn answered(&self) -> usize {
        self.setup.len()
    }

    /// Ports of each call's two audio streams, of calls that have both.
    pub(crate) fn ports(&self) -> Vec<[u16; 2]> {
        self.calls.iter().filter_map(|call| Some([call.ports[0]?, call.ports[1]?])).collect()
    }

    pub(crate) fn place(&mut self) {
        let number = self.calls.len();
        let now = clock::now();
        let dialog = Dialog::default();
        self.calls.push(Call { state: State::Calling, invited: now, answered: None, dialog, ports: [None; 2] });
        let Self { writer, outboxes, .. } = self;
        outboxes[0].put(writer.proxy, |out| writer.invite(out, number));
    }

    /// Hangs up calls that have lasted for `hold`.
    pub(crate) fn hang_up(&mut self, hold: Duration, now: Instant) {
        while let Some(number) = self.running.front().copied() {
            let call = &mut self.calls[number];
            if call.answered.is_some_and(|answered| now.saturating_duration_since(answered) < hold) {
                return;
            }
            self.running.pop_front();
            call.state = State::Ending;
            let Self { writer, outboxes, calls, .. } = self;
            let dialog = &calls[number].dialog;
            outboxes[0].put(writer.proxy, |out| writer.inside(out, number, "BYE", 2, dialog));
        }
    }

    /// Sends what is waiting, takes what has come. False: nothing had come.
    pub(crate) fn turn(&mut self) -> bool {
        self.outboxes[0].flush();
        let Some(mut inboxes) = self.inboxes.take() else { return false };
        let callee = inboxes[1].take(|bytes, from| self.at_callee(&String::from_utf8_lossy(bytes), from));
        self.outboxes[1].flush();
        let caller = inboxes[0].take(|bytes, _| self.at_caller(&String::from_utf8_lossy(bytes)));
        self.outboxes[0].flush();
        self.inboxes = Some(inboxes);
        callee + caller > 0
    }

    pub(crate) fn wait(&self, until: Instant) {
        net::wait([&self.sockets[0], &self.sockets[1]], until, clock::now());
    }

    fn at_callee(&mut self, text: &str, from: SocketAddrV4) {
        let (invite, bye) = (text.starts_with("INVITE "), text.starts_with("BYE "));
        if invite && let Some(number) = self.writer.number(sip::header(text, "Call-ID")) {
            let call = &mut self.calls[number];
            if call.ports[1].is_none() {
                self.forward.push(clock::now() - call.invited);
            }
            call.ports[1] = sip::audio_port(text);
        }
        let Self { outboxes, callee, writer, .. } = self;
        if invite {
            outboxes[1].put(from, |out| sip::answer(out, text, "180 Ringing", *callee, None));
            outboxes[1].put(from, |out| sip::answer(out, text, "200 OK", *callee, Some(writer.callee_audio)));
        } else if bye {
            outboxes[1].put(from, |out| sip::answer(out, text, "200 OK", *callee, None));
        }
    }

    fn at_caller(&mut self, text: &str) {
        let Some(code) = text.strip_prefix("SIP/2.0 ").and_then(|rest| rest.get(..3)?.parse::<u16>().ok()) else {
            return;
        };
        let Some(number) = self.writer.number(sip::header(text, "Call-ID")).filter(|_| code >= 200) else { return };
        let Self { calls, writer, outboxes, .. } = self;
        let Some(call) = calls.get_mut(number) else { return };
        let to_invite = sip::header(text, "CSeq").ends_with("INVITE");
        match (call.state, code < 300) {
            (State::Calling, true) if to_invite => {
                let now = clock::now();
                call.state = State::Answered;
                call.answered = Some(now);
                self.setup.push(now - call.invited);
                call.ports[0] = sip::audio_port(text);
                let routes: Vec<&str> = sip::headers(text, "Record-Route").flat_map(|value| value.split(',')).collect();
                call.dialog = Dialog {
                    to: sip::header(text, "To").to_owned(),
                    target: sip::bracketed(sip::header(text, "Contact")).to_owned(),
                    routes: routes.iter().rev().map(|route| format!("Route: {}\r\n", route.trim())).collect(),
                };
                let dialog = &call.dialog;
                outboxes[0].put(writer.proxy, |out| writer.inside(out, number, "ACK", 1, dialog));
                self.running.push_back(number);
            }
            (State::Ending, true) if !to_invite => {
                call.state = State::Done;
                self.done += 1;
            }
            (State::Calling, false) if to_invite => {
                call.state = State::Failed;
                self.failed += 1;
            }
            (State::Ending, false) if !to_invite => {
                call.state = State::Failed;
                self.failed += 1;
            }
            (State::Calling | State::Answered | State::Ending | State::Done | State::Failed, _) => {}
        }
    }
}

pub(crate) fn run(options: &Options) -> Value {
    // Nothing listens there: no audio is sent in these calls.
    let audio = [SocketAddrV4::new(*options.caller.ip(), 26_900), SocketAddrV4::new(*options.callee.ip(), 26_902)];
    let mut telephones = Telephones::new(options, audio);
    let memory_before = options.pid.filter(|_| options.memory).map(cpu::memory_kb);
    let spent_before = options.pid.map(cpu::spent);
    let hold = Duration::from_secs_f64(options.hold);
    let start = clock::now();
    let due = |number: usize| start + Duration::from_secs_f64(number as f64 / options.rate);
    let mut late = Duration::ZERO;
    let mut last = start;
    let mut memory = None;
    while telephones.done + telephones.failed < options.calls {
        let now = clock::now();
        let mut placed = 0;
        while telephones.calls.len() < options.calls && due(telephones.calls.len()) <= now && placed < CALLS_A_TURN {
            late = late.max(now - due(telephones.calls.len()));
            telephones.place();
            (placed, last) = (placed + 1, now);
        }
        telephones.hang_up(hold, now);
        let all = telephones.calls.len() == options.calls;
        if all && now.saturating_duration_since(last) > hold + PATIENCE {
            break;
        }
        let settled = all && telephones.answered() == options.calls;
        if let (None, Some(pid), true) = (memory, options.pid.filter(|_| options.memory), settled) {
            std::thread::sleep(LINGER);
            memory = Some(cpu::memory_kb(pid));
        }
        if !telephones.turn() && placed == 0 {
            let tick = now + Duration::from_millis(2);
            let next = if all { tick } else { due(telephones.calls.len()).min(tick) };
            telephones.wait(next);
        }
    }
    let seconds = (clock::now() - start).as_secs_f64();
    if options.pid.is_some() {
        std::thread::sleep(AFTERWARDS);
    }
    let spent =
        options.pid.zip(spent_before).map(|(pid, before)| cpu::spent(pid).saturating_sub(before).as_secs_f64() * 1e6);
    let Telephones { setup, forward, done, failed, .. } = telephones;
    json!({
        "calls": options.calls,
        "answered": setup.len(),
        "done": done,
        "refused": failed,
        "lost": options.calls - done - failed,
        "seconds": seconds,
        "late_ms": late.as_secs_f64() * 1e3,
        "cpu_us_per_call": spent.map(|spent| spent / options.calls as f64),
        "memory_kb_per_call": memory.zip(memory_before).map(|(up, before)| (up as f64 - before as f64) / options.calls as f64),
        "setup_us": numbers::spread(setup),
        "forward_us": numbers::spread(forward),
    })
}
