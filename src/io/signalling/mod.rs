//! One shard's signalling: messages through the gate into the switchboard, and what it wants out again.
//!
//! In: datagrams, streams, media events, verdicts, orders. Out: messages, media commands, events for the observers.
//! One thread owns gate and switchboard, so neither needs a lock. Every turn of the loop takes a bounded number of
//! each kind of input, then looks at its deadlines: a flood of one kind delays the others, but never starves them.

mod shard;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};
use mio::net::UdpSocket;
use mio::{Interest, Poll, Token, Waker};

use crate::call::{self, Entry, Happened, Sizes, Snapshot, Switchboard, TrunkEvent, TrunkStatus};
use crate::gate::{self, Block, Gate, GateEvent};
use crate::io::marking;
use crate::io::streams::{self, Streams};
use crate::io::threads::Wake;
use crate::policy::judge::Verdict;
use crate::rtp::control::{MediaCommand, MediaEvent};
use crate::sip::flow::{Hop, Transport};
use crate::units::{CallId, PerLeg};
use shard::Shard;

/// Kernel buffer of a signalling socket: about a second of a 20,000/s flood, so that a short stall loses nothing.
const SOCKET_BUFFER: usize = 8 * 1024 * 1024;

/// Orders that wait to be taken: an operator gives a few a second, and the loop takes many a turn.
const ORDERS: usize = 1_024;

/// Longest wait for the answer to an order; a turn of the loop takes milliseconds.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

const WAKE: Token = Token(usize::MAX);

/// What the rest of the process may ask of a shard.
pub enum Order {
    /// New settings, for calls that begin from now on; the gate's counters stay.
    Settings {
        /// For the switchboard.
        call: Arc<call::Settings>,
        /// For the gate.
        gate: Arc<gate::Settings>,
        /// For the connections.
        streams: Arc<streams::Settings>,
    },
    /// The machine has slept, and this process with it.
    Awake,
    /// End one call.
    HangUp(CallId),
    /// Take one call away from its caller; answers whether that may be.
    Divert(CallId, Sender<bool>),
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
    /// How many calls are there, and requests of ours without a final answer?
    Unfinished(Sender<usize>),
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
    /// Datagrams taken from the sockets, and messages from connections.
    pub received: u64,
    /// Counted facts of the connections.
    pub streams: streams::Counts,
    /// Messages and connections that the gate dropped, by [`gate::DropReason`] label.
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
    /// Sources whose datagrams the kernel drops.
    pub kept_out: usize,
    /// Sources known to the gate, and numbers.
    pub gate_sizes: (usize, usize),
    /// Blocks in force.
    pub blocks: Vec<Block>,
    /// How each trunk stands.
    pub trunks: Vec<TrunkStatus>,
    /// The PBX is not believed to answer.
    pub pbx_down: bool,
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
    /// Of a trunk.
    Trunk(TrunkEvent),
}

/// Takes a call and the local addresses of its legs, gives the addresses that its peers are to send to.
pub type BeginMedia = dyn FnMut(CallId, PerLeg<IpAddr>) -> Option<PerLeg<SocketAddr>> + Send;

/// Everything a shard is wired to.
pub struct Wiring {
    /// What the media path tells calls.
    pub media_events: Receiver<(CallId, MediaEvent)>,
    /// Begins a call's media without asking; None where no ports lie ready, and it must be asked for them.
    pub begin_media: Box<BeginMedia>,
    /// Takes a command for the media path, which need not look at it yet; false where it had no room.
    pub media: Box<dyn FnMut(MediaCommand) -> bool + Send>,
    /// Has the media path look at its commands.
    pub wake_media: Box<dyn FnMut() + Send>,
    /// What the ear thinks.
    pub verdicts: Receiver<(CallId, Verdict)>,
    /// Takes what is to be kept of a call for the next process. Counts itself what it has no room for.
    pub journal: Box<dyn FnMut(Entry) + Send>,
    /// Asks for what is kept of a call.
    pub recall: Box<dyn FnMut(CallId) + Send>,
    /// What comes of that.
    pub recalled: Receiver<Box<Snapshot>>,
    /// Calls of another process, each with the age of its snapshot.
    pub restored: Vec<(Snapshot, Duration)>,
    /// Where events go, in their order.
    pub events: Sender<Vec<ShardEvent>>,
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
    /// By index in `[[listen]]`.
    sockets: Vec<Option<UdpSocket>>,
    streams: Streams,
    /// Addresses as bound: a port of 0 has become a real one.
    pub addresses: Vec<Hop>,
}

impl Bound {
    /// Binds all listening addresses.
    ///
    /// # Errors
    /// The first address that cannot be had, with the address in the text.
    pub fn bind(listen: &[Hop], streams: Arc<streams::Settings>) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
        let dscp = streams.dscp;
        let mut streams = Streams::new(poll.registry().try_clone()?, streams);
        let mut sockets = Vec::with_capacity(listen.len());
        let mut addresses = Vec::with_capacity(listen.len());
        for (number, hop) in listen.iter().enumerate() {
            let bound = match hop.transport {
                Transport::Udp => open(hop.address, dscp).and_then(|mut socket| {
                    poll.registry().register(&mut socket, Token(number), Interest::READABLE)?;
                    Ok((socket.local_addr()?, Some(socket)))
                }),
                Transport::Tcp | Transport::Tls => streams.listen(number, *hop).map(|address| (address, None)),
            };
            let (address, socket) = bound.map_err(|error| not_bound(*hop, &error))?;
            addresses.push(Hop { address, transport: hop.transport });
            sockets.push(socket);
        }
        Ok(Self { poll, waker, sockets, streams, addresses })
    }

    /// Wakes the shard's loop; for those who put something into its channels.
    #[must_use]
    pub fn wake(&self) -> Wake {
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
        let (orders, inbox) = bounded(ORDERS);
        let report = Arc::new(ArcSwap::from_pointee(Report::default()));
        let waker = Arc::clone(&self.waker);
        let shard = Shard::new((self.sockets, self.streams), switchboard, gate, (wiring, inbox), Arc::clone(&report));
        let poll = self.poll;
        let thread = std::thread::Builder::new().name("signalling-0".into()).spawn(move || shard.run(poll))?;
        Ok(Signalling { orders, waker, report, thread: Mutex::new(Some(thread)) })
    }
}

impl Signalling {
    /// Gives an order; false where the shard is gone or its inbox full.
    pub fn order(&self, order: Order) -> bool {
        let taken = self.orders.try_send(order).is_ok();
        if taken {
            // A failed wake-up costs at most LONGEST_WAIT.
            let _ = self.waker.wake();
        }
        taken
    }

    /// Takes a call away from its caller; refused where it is not answered, or has been taken away. Waits for the
    /// shard, at most a second.
    #[must_use]
    pub fn divert(&self, call: CallId) -> Reply {
        let (answer, diverted) = bounded(1);
        Reply::of(self.order(Order::Divert(call, answer)), &diverted)
    }

    /// Lifts a block; refused where there is none. Waits for the shard, at most a second.
    #[must_use]
    pub fn lift(&self, source: IpAddr) -> Reply {
        let (answer, lifted) = bounded(1);
        Reply::of(self.order(Order::Lift(source, answer)), &lifted)
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
        self.count(Order::Calls)
    }

    /// Calls that are not answered yet. Waits for the shard, at most a second; while it says nothing, any may be.
    #[must_use]
    pub fn unanswered(&self) -> usize {
        self.count(Order::Unanswered)
    }

    /// Calls, and requests of ours without a final answer, behind all orders before. Waits as [`Self::unanswered`]
    /// does.
    #[must_use]
    pub fn unfinished(&self) -> usize {
        self.count(Order::Unfinished)
    }

    /// The shard's answer. One that is late still has its calls, as many as it last reported; one that is gone has
    /// none.
    fn count(&self, order: impl FnOnce(Sender<usize>) -> Order) -> usize {
        let (answer, count) = bounded(1);
        let reported = || self.report().sizes.calls;
        match self.orders.try_send(order(answer)) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => return reported(),
            Err(TrySendError::Disconnected(_)) => return 0,
        }
        // A failed wake-up costs at most LONGEST_WAIT.
        let _ = self.waker.wake();
        match count.recv_timeout(ANSWER_WITHIN) {
            Ok(count) => count,
            Err(RecvTimeoutError::Timeout) => reported(),
            Err(RecvTimeoutError::Disconnected) => 0,
        }
    }

    /// Blocks a source; refused where it is trusted. Waits for the shard, at most a second.
    #[must_use]
    pub fn block(&self, source: IpAddr, span: Duration) -> Reply {
        let (answer, blocked) = bounded(1);
        Reply::of(self.order(Order::Block(source, span, answer)), &blocked)
    }
}

/// What the shard made of an order that it answers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reply {
    /// Done.
    Done,
    /// That may not be, or cannot.
    Refused,
    /// The shard is gone, or has no room for it: it will not be done.
    NotTaken,
    /// It has not answered within a second, and may still do it.
    Late,
}

impl Reply {
    fn of(ordered: bool, answer: &Receiver<bool>) -> Self {
        if !ordered {
            return Self::NotTaken;
        }
        match answer.recv_timeout(ANSWER_WITHIN) {
            Ok(true) => Self::Done,
            Ok(false) => Self::Refused,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => Self::Late,
        }
    }
}

/// Why nothing can be heard there, and what to do about the usual reason: a PBX on the same machine.
fn not_bound(hop: Hop, error: &io::Error) -> io::Error {
    let taken = "; another program has this port, as a PBX on the same machine: give one of the two another";
    let hint = if error.kind() == io::ErrorKind::AddrInUse { taken } else { "" };
    io::Error::new(error.kind(), format!("cannot listen on {hop}: {error}{hint}"))
}

fn open(address: SocketAddr, dscp: u8) -> io::Result<UdpSocket> {
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
    marking::mark(&socket2::SockRef::from(&socket), address.ip(), dscp);
    socket.bind(&address.into())?;
    Ok(UdpSocket::from_std(socket.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_that_says_nothing_has_the_calls_that_it_had_and_one_that_is_gone_has_none() -> io::Result<()> {
        let (orders, inbox) = bounded(1);
        let report = Report { sizes: Sizes { calls: 3, ..Sizes::default() }, ..Report::default() };
        let signalling = Signalling {
            orders,
            waker: Arc::new(Waker::new(Poll::new()?.registry(), WAKE)?),
            report: Arc::new(ArcSwap::from_pointee(report)),
            thread: Mutex::new(None),
        };

        assert_eq!((signalling.unanswered(), signalling.calls()), (3, 3), "late, then full");
        drop(inbox);
        assert_eq!((signalling.unanswered(), signalling.calls()), (0, 0));
        Ok(())
    }

    #[test]
    fn a_shard_that_says_nothing_has_not_refused() {
        let (answer, asked) = bounded(1);
        let heard = |said: bool| {
            assert!(answer.send(said).is_ok());
            Reply::of(true, &asked)
        };

        assert_eq!((heard(true), heard(false)), (Reply::Done, Reply::Refused));
        drop(answer);
        assert_eq!((Reply::of(true, &asked), Reply::of(false, &asked)), (Reply::Late, Reply::NotTaken));
    }
}
