//! One shard's signalling: datagrams through the gate into the switchboard, and what it wants out again.
//!
//! In: datagrams, media events, verdicts, orders. Out: datagrams, media commands, events for the observers.
//! One thread owns gate and switchboard, so neither needs a lock. Every turn of the loop takes a bounded number of
//! each kind of input, then looks at its deadlines: a flood of one kind delays the others, but never starves them.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Token, Waker};

use crate::call::{self, Entry, Happened, Input, Output, Sizes, Snapshot, Switchboard};
use crate::gate::{self, Admission, Block, CallAdmission, Gate, GateEvent};
use crate::io::clock;
use crate::policy::facts::{CallDirection, OverLimit};
use crate::policy::judge::Verdict;
use crate::policy::reputation::Dialled;
use crate::rtp::control::{MediaCommand, MediaEvent};
use crate::sip::flow::{Flow, Transport};
use crate::units::CallId;

/// Datagrams taken from one socket before anything else gets its turn.
const DATAGRAMS_A_TURN: usize = 128;
/// Media events, verdicts and orders taken in one turn.
const MESSAGES_A_TURN: usize = 256;
/// Kernel buffer of a signalling socket: about a second of a 20,000/s flood, so that a short stall loses nothing.
const SOCKET_BUFFER: usize = 8 * 1024 * 1024;
/// Largest UDP payload there is (SIP.md, trap 10).
const DATAGRAM_BYTES: usize = 65_535;
/// How often counters are published.
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// Longest sleep, so that the report is never older than this.
const LONGEST_WAIT: Duration = Duration::from_millis(500);

const WAKE: Token = Token(usize::MAX);

/// What the rest of the process may ask of a shard.
pub enum Order {
    /// New settings, for calls that begin from now on; the gate's counters stay.
    Settings {
        /// For the switchboard.
        call: Arc<call::Settings>,
        /// For the gate.
        gate: Arc<gate::Settings>,
    },
    /// End one call.
    HangUp(CallId),
    /// Take one call away from its caller.
    Divert(CallId),
    /// Take no new calls.
    Drain,
    /// End all calls.
    EndAll,
    /// How many calls are not answered yet?
    Unanswered(Sender<usize>),
    /// Take no new calls, and end those that are not answered.
    EndUnanswered,
    /// Lift a block; answers whether there was one.
    Lift(IpAddr, Sender<bool>),
    /// Block a source for a while; answers whether that may be.
    Block(IpAddr, Duration, Sender<bool>),
    /// How many calls are there?
    Calls(Sender<usize>),
    /// Leave the loop.
    Stop,
}

/// What a shard looks like from outside, published every second.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Live entries of the switchboard's tables.
    pub sizes: Sizes,
    /// Counted drops of the switchboard.
    pub counters: call::Counters,
    /// Datagrams taken from the sockets.
    pub received: u64,
    /// Datagrams the gate dropped, by [`gate::DropReason`] label.
    pub gated: std::collections::BTreeMap<&'static str, u64>,
    /// Datagrams sent.
    pub sent: u64,
    /// Datagrams that the system refused to send.
    pub send_failed: u64,
    /// Events that the observers had no room for.
    pub events_lost: u64,
    /// Media commands that the media path had no room for: each is a call without what it asked for.
    pub commands_lost: u64,
    /// Steps of the switchboard that panicked and were contained.
    pub panics: u64,
    /// Sources known to the gate, and numbers.
    pub gate_sizes: (usize, usize),
    /// Blocks in force.
    pub blocks: Vec<Block>,
    /// When this was written; an old one means that the shard hangs.
    pub at: Option<Instant>,
}

/// An event on its way to the observers.
#[derive(Clone, Debug)]
pub enum ShardEvent {
    /// Of one call.
    Call(Happened),
    /// Of the gate.
    Gate(GateEvent),
}

/// Everything a shard is wired to.
pub struct Wiring {
    /// What the media path tells calls.
    pub media_events: Receiver<(CallId, MediaEvent)>,
    /// Takes a command for the media path; false where it had no room.
    pub media: Box<dyn FnMut(MediaCommand) -> bool + Send>,
    /// What the ear thinks.
    pub verdicts: Receiver<(CallId, Verdict)>,
    /// Takes what is to be kept of a call for the next process. Counts itself what it has no room for.
    pub journal: Box<dyn FnMut(Entry) + Send>,
    /// Calls of another process, each with the age of its snapshot.
    pub restored: Vec<(Snapshot, Duration)>,
    /// Where events go.
    pub events: Sender<ShardEvent>,
}

/// Handle on a running shard.
pub struct Signalling {
    orders: Sender<Order>,
    waker: Arc<Waker>,
    report: Arc<ArcSwap<Report>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// A bound socket and poll, before the thread runs: the addresses are needed to make the settings.
pub struct Bound {
    poll: Poll,
    waker: Arc<Waker>,
    sockets: Vec<UdpSocket>,
    /// Addresses as bound: a port of 0 has become a real one.
    pub addresses: Vec<SocketAddr>,
}

impl Bound {
    /// Binds all listening addresses.
    ///
    /// # Errors
    /// The first address that cannot be had, with the address in the text.
    pub fn bind(listen: &[SocketAddr]) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
        let mut sockets = Vec::with_capacity(listen.len());
        let mut addresses = Vec::with_capacity(listen.len());
        for (number, address) in listen.iter().enumerate() {
            let mut socket = open(*address)
                .map_err(|error| io::Error::new(error.kind(), format!("cannot listen on udp {address}: {error}")))?;
            poll.registry().register(&mut socket, Token(number), Interest::READABLE)?;
            addresses.push(socket.local_addr()?);
            sockets.push(socket);
        }
        Ok(Self { poll, waker, sockets, addresses })
    }

    /// Wakes the shard's loop; for those who put something into its channels.
    #[must_use]
    pub fn wake(&self) -> Arc<dyn Fn() + Send + Sync> {
        let waker = Arc::clone(&self.waker);
        Arc::new(move || {
            // A failed wake-up costs at most LONGEST_WAIT: the loop looks at its channels by itself.
            let _ = waker.wake();
        })
    }

    /// Starts the thread.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(self, switchboard: Switchboard, gate: Gate, wiring: Wiring) -> io::Result<Signalling> {
        let (orders, inbox) = bounded(1_024);
        let report = Arc::new(ArcSwap::from_pointee(Report::default()));
        let waker = Arc::clone(&self.waker);
        let shard = Shard {
            sockets: self.sockets,
            switchboard,
            gate,
            dialled: Dialled::default(),
            wiring,
            orders: inbox,
            counted: Report::default(),
            published: Arc::clone(&report),
            running: true,
        };
        let poll = self.poll;
        let thread = std::thread::Builder::new().name("signalling-0".into()).spawn(move || shard.run(poll))?;
        Ok(Signalling { orders, waker, report, thread: Mutex::new(Some(thread)) })
    }
}

impl Signalling {
    /// Gives an order; false where the shard is gone or its inbox full.
    pub fn order(&self, order: Order) -> bool {
        let taken = self.orders.try_send(order).is_ok();
        taken && self.waker.wake().is_ok()
    }

    /// Lifts a block. Waits for the shard, at most a second.
    #[must_use]
    pub fn lift(&self, source: IpAddr) -> bool {
        let (answer, lifted) = bounded(1);
        self.order(Order::Lift(source, answer)) && lifted.recv_timeout(Duration::from_secs(1)).unwrap_or(false)
    }

    /// The newest report.
    #[must_use]
    pub fn report(&self) -> Arc<Report> {
        self.report.load_full()
    }

    /// Leaves the loop and waits for the thread.
    pub fn stop(&self) {
        self.order(Order::Stop);
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // A thread that panicked has said so on its own.
            let _ = thread.join();
        }
    }

    /// Calls now. Asks the shard, and waits for it at most a second.
    #[must_use]
    pub fn calls(&self) -> usize {
        let (answer, calls) = bounded(1);
        if !self.order(Order::Calls(answer)) {
            return 0;
        }
        calls.recv_timeout(Duration::from_secs(1)).unwrap_or_else(|_| self.report().sizes.calls)
    }

    /// Calls that are not answered yet. Waits for the shard, at most a second; 0 where it says nothing.
    #[must_use]
    pub fn unanswered(&self) -> usize {
        let (answer, calls) = bounded(1);
        if !self.order(Order::Unanswered(answer)) {
            return 0;
        }
        calls.recv_timeout(Duration::from_secs(1)).unwrap_or(0)
    }

    /// Blocks a source. False: it is trusted, or the shard does not answer within a second.
    #[must_use]
    pub fn block(&self, source: IpAddr, span: Duration) -> bool {
        let (answer, blocked) = bounded(1);
        self.order(Order::Block(source, span, answer)) && blocked.recv_timeout(Duration::from_secs(1)).unwrap_or(false)
    }
}

struct Shard {
    sockets: Vec<UdpSocket>,
    switchboard: Switchboard,
    gate: Gate,
    dialled: Dialled,
    wiring: Wiring,
    orders: Receiver<Order>,
    counted: Report,
    published: Arc<ArcSwap<Report>>,
    running: bool,
}

impl Shard {
    fn run(mut self, mut poll: Poll) {
        let mut events = Events::with_capacity(64);
        let mut buffer = vec![0_u8; DATAGRAM_BYTES];
        let mut report_at = clock::now();
        for (snapshot, age) in std::mem::take(&mut self.wiring.restored) {
            let now = clock::now();
            let snapshot = Box::new(snapshot);
            self.step(|switchboard| switchboard.handle_input(Input::Restore { snapshot, age }, now), now);
        }
        let mut unread = false;
        while self.running {
            let wait = if unread { Duration::ZERO } else { self.wait(clock::now()) };
            if let Err(error) = poll.poll(&mut events, Some(wait))
                && error.kind() != io::ErrorKind::Interrupted
            {
                tracing::error!(%error, "Signalling cannot wait for its sockets");
                std::thread::sleep(LONGEST_WAIT);
            }
            unread = false;
            for number in 0..self.sockets.len() {
                unread |= self.read(number, &mut buffer);
            }
            unread |= self.take_messages();
            let now = clock::now();
            if self.switchboard.poll_timeout().is_some_and(|at| at <= now) {
                self.step(|switchboard| switchboard.handle_timeout(now), now);
            }
            while let Some(event) = self.gate.poll_event() {
                self.tell(ShardEvent::Gate(event));
            }
            if now >= report_at {
                report_at = now + REPORT_EVERY;
                self.gate.handle_timeout(now);
                self.publish(now);
            }
        }
        self.publish(clock::now());
    }

    fn wait(&self, now: Instant) -> Duration {
        self.switchboard.poll_timeout().map_or(LONGEST_WAIT, |at| at.saturating_duration_since(now).min(LONGEST_WAIT))
    }

    /// True if there may be more to read.
    fn read(&mut self, number: usize, buffer: &mut [u8]) -> bool {
        for _ in 0..DATAGRAMS_A_TURN {
            let Some(socket) = self.sockets.get(number) else { return false };
            match socket.recv_from(buffer) {
                Ok((length, peer)) => {
                    let now = clock::now();
                    self.counted.received += 1;
                    self.take_datagram(buffer.get(..length).unwrap_or_default(), peer, number, now);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                // An ICMP error of an earlier send arrives here; the socket goes on.
                Err(_) => {}
            }
        }
        true
    }

    fn take_datagram(&mut self, bytes: &[u8], peer: SocketAddr, number: usize, now: Instant) {
        match self.gate.message(peer.ip(), now) {
            Admission::Pass => {
                let listener = u8::try_from(number).unwrap_or(u8::MAX);
                let flow = Flow { listener, peer, transport: Transport::Udp };
                self.step(|switchboard| switchboard.handle_input(Input::Datagram { bytes, flow }, now), now);
            }
            Admission::Drop(reason) => *self.counted.gated.entry(reason.label()).or_default() += 1,
        }
    }

    fn take_messages(&mut self) -> bool {
        for _ in 0..MESSAGES_A_TURN {
            let now = clock::now();
            if let Ok((call, event)) = self.wiring.media_events.try_recv() {
                self.step(|switchboard| switchboard.handle_input(Input::Media { call, event }, now), now);
            } else if let Ok(order) = self.orders.try_recv() {
                self.take_order(order, now);
            } else if let Ok((call, verdict)) = self.wiring.verdicts.try_recv() {
                self.step(|switchboard| switchboard.handle_input(Input::Judged { call, verdict }, now), now);
            } else {
                return false;
            }
        }
        true
    }

    fn take_order(&mut self, order: Order, now: Instant) {
        match order {
            Order::Settings { call, gate } => {
                self.gate.set(gate, now);
                self.step(|switchboard| switchboard.handle_input(Input::Settings(call), now), now);
            }
            Order::HangUp(call) => self.step(|switchboard| switchboard.handle_input(Input::HangUp { call }, now), now),
            Order::Divert(call) => self.step(|switchboard| switchboard.handle_input(Input::Divert { call }, now), now),
            Order::Drain => self.step(|switchboard| switchboard.handle_input(Input::Drain, now), now),
            Order::EndAll => self.step(|switchboard| switchboard.handle_input(Input::EndAll, now), now),
            Order::Unanswered(answer) => {
                let _ = answer.try_send(self.switchboard.unanswered());
            }
            Order::EndUnanswered => {
                self.step(|switchboard| switchboard.handle_input(Input::EndUnanswered, now), now);
            }
            Order::Lift(source, answer) => {
                let lifted = self.gate.lift(source);
                let _ = answer.try_send(lifted);
                self.publish(now);
            }
            Order::Block(source, span, answer) => {
                let blocked = self.gate.block(source, span, now);
                let _ = answer.try_send(blocked);
                self.publish(now);
            }
            Order::Calls(answer) => {
                let _ = answer.try_send(self.switchboard.sizes().calls);
            }
            Order::Stop => self.running = false,
        }
    }

    /// One step of the switchboard and all that comes of it. A panic in it is ours: it is contained, counted and shown,
    /// and the other calls go on (STYLE.md, habit 7).
    fn step(&mut self, change: impl FnOnce(&mut Switchboard), now: Instant) {
        if catch_unwind(AssertUnwindSafe(|| change(&mut self.switchboard))).is_err() {
            self.counted.panics += 1;
            tracing::error!("A step of the switchboard panicked; it was contained");
        }
        while let Some(output) = self.switchboard.poll_output() {
            self.act(output, now);
        }
    }

    fn act(&mut self, output: Output, now: Instant) {
        match output {
            Output::Transmit(transmit) => {
                let socket = self.sockets.get(usize::from(transmit.flow.listener)).or_else(|| self.sockets.first());
                let sent = socket.is_some_and(|socket| socket.send_to(&transmit.bytes, transmit.flow.peer).is_ok());
                if sent { self.counted.sent += 1 } else { self.counted.send_failed += 1 }
            }
            Output::Consult { call, direction, source, number, called } => {
                let number = number.as_ref().map(|number| &*number.0);
                let over_limit = match direction {
                    // The PBX is never limited: its users' calls are not ours to count.
                    CallDirection::Outbound => {
                        self.dialled.remember(&called.0, now);
                        None
                    }
                    CallDirection::Inbound => match self.gate.call(source, number, now) {
                        CallAdmission::Pass => None,
                        CallAdmission::OverSource => Some(OverLimit::Source),
                        CallAdmission::OverNumber => Some(OverLimit::Number),
                    },
                };
                let dialled_before = number.is_some_and(|number| self.dialled.knows(number, now));
                let (hour, weekday) = clock::local_hour();
                let answer = Input::Consulted { call, over_limit, dialled_before, hour, weekday };
                // Its outputs are drained by the loop that called us.
                if catch_unwind(AssertUnwindSafe(|| self.switchboard.handle_input(answer, now))).is_err() {
                    self.counted.panics += 1;
                }
            }
            Output::Media(command) => {
                if !(self.wiring.media)(command) {
                    self.counted.commands_lost += 1;
                }
            }
            Output::Journal(entry) => (self.wiring.journal)(entry),
            Output::Happened(happened) => self.tell(ShardEvent::Call(happened)),
        }
    }

    fn tell(&mut self, event: ShardEvent) {
        match self.wiring.events.try_send(event) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => self.counted.events_lost += 1,
        }
    }

    fn publish(&mut self, now: Instant) {
        self.counted.sizes = self.switchboard.sizes();
        self.counted.counters = self.switchboard.counters().clone();
        self.counted.gate_sizes = self.gate.sizes();
        self.counted.blocks = self.gate.blocks(now);
        self.counted.at = Some(now);
        self.published.store(Arc::new(self.counted.clone()));
    }
}

fn open(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = socket2::Socket::new(
        socket2::Domain::for_address(address),
        socket2::Type::DGRAM,
        Some(socket2::Protocol::UDP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // The system may grant less; what it grants is what there is.
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER);
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(UdpSocket::from_std(socket.into()))
}
