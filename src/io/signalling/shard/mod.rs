//! The loop of one shard. What it reads from the network is in `reading`, what it does for the switchboard in `acting`.

mod acting;
mod reading;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use crossbeam_channel::Receiver;
use mio::net::UdpSocket;
use mio::{Events, Poll};

use super::{Order, Report, ShardEvent, Wiring};
use crate::call::{Input, Switchboard};
use crate::gate::{DropReason, Gate, Overload};
use crate::io::clock;
use crate::io::outlet::Outlet;
use crate::io::sieve::Sieve;
use crate::io::streams::Streams;
use crate::policy::reputation::Dialled;
use crate::sip::flow::Flow;
use crate::units::CallId;

/// Media events, verdicts and orders taken in one turn.
const MESSAGES_A_TURN: usize = 256;
/// Largest UDP payload that a length of 16 bits can say (RFC 768).
const DATAGRAM_BYTES: usize = 65_535;
/// Rest behind a turn that panicked.
const BEHIND_A_PANIC: Duration = Duration::from_millis(1);
/// How often counters are published.
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// Longest sleep, so that the report is never older than this.
const LONGEST_WAIT: Duration = Duration::from_millis(500);

/// What one thread owns.
pub(super) struct Shard {
    pub(super) sockets: Vec<Option<UdpSocket>>,
    /// True for IPv4. To ask the system for it costs as much as to send.
    pub(super) ipv4: Vec<Option<bool>>,
    pub(super) streams: Streams,
    /// The message that is being taken from a connection.
    pub(super) message: Vec<u8>,
    pub(super) switchboard: Switchboard,
    pub(super) gate: Gate,
    pub(super) dialled: Dialled,
    /// Messages that came faster than they could be handled, each with its way.
    pub(super) overload: Overload<(Vec<u8>, Flow)>,
    pub(super) sieve: Sieve,
    pub(super) outlet: Outlet<ShardEvent>,
    /// When the media path must have looked at its commands.
    pub(super) media_due: Option<Instant>,
    pub(super) wiring: Wiring,
    pub(super) orders: Receiver<Order>,
    pub(super) counted: Report,
    pub(super) published: Arc<ArcSwap<Report>>,
    pub(super) running: bool,
}

/// What a turn has left for the next one.
#[derive(Clone, Copy, Default)]
struct Unread {
    datagrams: bool,
    others: bool,
}

impl Unread {
    fn any(self) -> bool {
        self.datagrams || self.others
    }
}

impl Shard {
    /// With empty tables; it publishes to `published`.
    pub(super) fn new(
        (sockets, streams): (Vec<Option<UdpSocket>>, Streams),
        switchboard: Switchboard,
        gate: Gate,
        (wiring, orders): (Wiring, Receiver<Order>),
        published: Arc<ArcSwap<Report>>,
    ) -> Self {
        Self {
            ipv4: sockets.iter().map(|socket| Some(socket.as_ref()?.local_addr().ok()?.is_ipv4())).collect(),
            sockets,
            streams,
            message: Vec::new(),
            switchboard,
            gate,
            dialled: Dialled::default(),
            overload: Overload::default(),
            sieve: Sieve::default(),
            outlet: Outlet::new(wiring.events.clone()),
            media_due: None,
            wiring,
            orders,
            counted: Report::default(),
            published,
            running: true,
        }
    }

    pub(super) fn run(mut self, mut poll: Poll) {
        let mut events = Events::with_capacity(64);
        let mut buffer = vec![0_u8; DATAGRAM_BYTES];
        let mut report_at = clock::now();
        let mut unread = self.turn(|shard| {
            shard.begin();
            shard.publish(clock::now());
            Unread::default()
        });
        while self.running {
            let wait = if unread.any() { Duration::ZERO } else { self.wait(clock::now()) };
            if let Err(error) = poll.poll(&mut events, Some(wait))
                && error.kind() != io::ErrorKind::Interrupted
            {
                tracing::error!(%error, "Signalling cannot wait for its sockets");
                std::thread::sleep(LONGEST_WAIT);
            }
            unread = self.turn(|shard| {
                let now = clock::now();
                for event in &events {
                    let readable = event.is_readable() || event.is_read_closed() || event.is_error();
                    shard.streams.ready(event.token(), readable, event.is_writable() || event.is_error(), now);
                }
                let unread = shard.take(unread, &mut buffer);
                let now = clock::now();
                shard.handle_timeout(now);
                if now >= report_at {
                    report_at = now + REPORT_EVERY;
                    shard.report(now);
                }
                unread
            });
        }
        let now = clock::now();
        self.outlet.let_go(now);
        (self.wiring.wake_media)();
        self.publish(now);
    }

    /// Does `work`, and outlives a panic in it. What a step of the switchboard does is contained in [`Shard::contain`],
    /// where it costs one call; this is for gate, connections and all that is told. Without this thread there is no
    /// telephone.
    fn turn(&mut self, work: impl FnOnce(&mut Self) -> Unread) -> Unread {
        if let Ok(unread) = catch_unwind(AssertUnwindSafe(|| work(self))) {
            return unread;
        }
        self.counted.panics += 1;
        tracing::error!("A turn of the signalling panicked; it goes on with the next");
        // One that comes again with each turn must not take the processor.
        std::thread::sleep(BEHIND_A_PANIC);
        Unread { datagrams: true, others: true }
    }

    /// Takes up the calls of the process before, and starts the switchboard.
    fn begin(&mut self) {
        for (snapshot, age) in std::mem::take(&mut self.wiring.restored) {
            let now = clock::now();
            let snapshot = Box::new(snapshot);
            self.step(|switchboard| switchboard.handle_input(Input::Restore { snapshot, age }, now), now);
        }
        let now = clock::now();
        self.step(|switchboard| switchboard.handle_input(Input::Start, now), now);
    }

    /// One turn of all that comes in. `before`: what the last one has left.
    fn take(&mut self, before: Unread, buffer: &mut [u8]) -> Unread {
        self.overload.begin(before.datagrams);
        let mut datagrams = false;
        for number in 0..self.sockets.len() {
            datagrams |= self.read(number, buffer);
        }
        let waiting = self.take_waiting(datagrams);
        let connections = self.take_connections(buffer);
        let messages = self.take_messages();
        Unread { datagrams, others: waiting | connections | messages }
    }

    /// Does what is due.
    fn handle_timeout(&mut self, now: Instant) {
        self.streams.handle_timeout(now);
        if self.switchboard.poll_timeout().is_some_and(|at| at <= now) {
            self.step(|switchboard| switchboard.handle_timeout(now), now);
        }
        self.report_unsent(now);
        while let Some(event) = self.gate.poll_event() {
            self.outlet.put(ShardEvent::Gate(event), now);
        }
        self.outlet.flush(now);
        if self.media_due.is_some_and(|due| due <= now) {
            self.media_due = None;
            (self.wiring.wake_media)();
        }
    }

    /// What is done once a second.
    fn report(&mut self, now: Instant) {
        self.gate.handle_timeout(now);
        self.sift(now);
        if let Some(shed) = self.overload.handle_timeout(now) {
            match shed.worst {
                Some((source, lost)) => tracing::warn!(
                    source = %source.address(), lost, dropped = shed.dropped,
                    "Overload: new requests dropped, most of this source"
                ),
                None => tracing::warn!(dropped = shed.dropped, "Overload: requests of strangers dropped"),
            }
        }
        self.streams.retry();
        self.publish(now);
    }

    fn sift(&mut self, now: Instant) {
        let gate = (!self.switchboard.registers()).then_some(&self.gate);
        self.sieve.update(gate, &self.sockets, now);
    }

    fn wait(&self, now: Instant) -> Duration {
        let calls = [self.switchboard.poll_timeout(), self.streams.poll_timeout()];
        let due = calls.into_iter().chain([self.outlet.poll_timeout(), self.media_due]).flatten().min();
        due.map_or(LONGEST_WAIT, |at| at.saturating_duration_since(now).min(LONGEST_WAIT))
    }

    /// Tells the switchboard which connections have ended, and what did not leave: its transactions need not wait for
    /// an answer.
    fn report_unsent(&mut self, now: Instant) {
        while let Some(hop) = self.streams.poll_ended() {
            self.step(|switchboard| switchboard.handle_input(Input::Ended { hop }, now), now);
        }
        while let Some(bytes) = self.streams.poll_unsent() {
            self.step(|switchboard| switchboard.handle_input(Input::Unsent { bytes: &bytes }, now), now);
        }
    }

    fn count_gated(&mut self, reason: DropReason) {
        *self.counted.gated.entry(reason.label()).or_default() += 1;
    }

    /// What others of this process say: of each kind as many as of the others, so that keys without end (each is an
    /// event) keep no order and no verdict waiting. True if there is more.
    fn take_messages(&mut self) -> bool {
        for _ in 0..MESSAGES_A_TURN {
            let now = clock::now();
            let (event, order) = (self.wiring.media_events.try_recv(), self.orders.try_recv());
            let (verdict, recalled) = (self.wiring.verdicts.try_recv(), self.wiring.recalled.try_recv());
            if event.is_err() && order.is_err() && verdict.is_err() && recalled.is_err() {
                return false;
            }
            if let Ok((call, event)) = event {
                self.step(|switchboard| switchboard.handle_input(Input::Media { call, event }, now), now);
            }
            if let Ok(order) = order {
                self.take_order(order, now);
            }
            if let Ok((call, verdict)) = verdict {
                self.step(|switchboard| switchboard.handle_input(Input::Judged { call, verdict }, now), now);
            }
            if let Ok(snapshot) = recalled {
                self.step(|switchboard| switchboard.handle_input(Input::Lost { snapshot }, now), now);
            }
        }
        true
    }

    fn take_order(&mut self, order: Order, now: Instant) {
        match order {
            Order::Settings { call, gate, streams } => {
                self.gate.set(gate, now);
                self.sift(now);
                self.streams.set(streams);
                self.step(|switchboard| switchboard.handle_input(Input::Settings(call), now), now);
            }
            Order::Awake => self.step(|switchboard| switchboard.handle_input(Input::Awake, now), now),
            Order::HangUp(call) => self.step(|switchboard| switchboard.handle_input(Input::HangUp { call }, now), now),
            Order::Divert(call, answer) => {
                let may = self.switchboard.may_divert(call);
                if may {
                    self.step(|switchboard| switchboard.handle_input(Input::Divert { call }, now), now);
                }
                let _ = answer.try_send(may);
            }
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
                self.sift(now);
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
            Order::Unfinished(answer) => {
                let _ = answer.try_send(self.switchboard.unfinished());
            }
            Order::Stop => self.running = false,
        }
    }

    /// One step of the switchboard and all that comes of it.
    fn step(&mut self, change: impl FnOnce(&mut Switchboard), now: Instant) {
        self.contain(change, now);
        while let Some(output) = self.switchboard.poll_output() {
            self.act(output, now);
        }
    }

    /// A panic in a step is ours: it is contained, counted and shown, the call that the step was about ends, and the
    /// others go on.
    fn contain(&mut self, change: impl FnOnce(&mut Switchboard), now: Instant) {
        let switchboard = &mut self.switchboard;
        if catch_unwind(AssertUnwindSafe(|| change(switchboard))).is_ok() {
            return;
        }
        self.counted.panics += 1;
        let switchboard = &mut self.switchboard;
        let lost = catch_unwind(AssertUnwindSafe(|| switchboard.recover(now))).unwrap_or_default();
        let calls = lost.iter().map(CallId::to_string).collect::<Vec<_>>().join(" ");
        tracing::error!(calls, "A step of the switchboard panicked; it was contained");
    }

    fn publish(&mut self, now: Instant) {
        self.counted.sizes = self.switchboard.sizes();
        self.counted.counters = self.switchboard.counters().clone();
        self.counted.streams = self.streams.counts();
        self.counted.kept_out = self.sieve.len();
        self.counted.events_lost = self.outlet.lost();
        self.counted.gate_sizes = self.gate.sizes();
        self.counted.blocks = self.gate.blocks(now);
        self.counted.trunks = self.switchboard.trunks();
        self.counted.pbx_down = !self.switchboard.pbx_answers();
        self.counted.at = Some(now);
        self.published.store(Arc::new(self.counted.clone()));
    }
}

#[cfg(test)]
mod tests;
