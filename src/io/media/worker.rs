//! One media thread: waits for its sockets, relays, plays, tells.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TrySendError};
use mio::net::UdpSocket;
use mio::{Events, Poll, Token};
use tracing::{error, warn};

use super::call::{MediaCall, Place, Port};
use super::counts::MediaCounts;
use super::ports::PortPool;
use super::prompts::Prompts;
use super::tap::{TapContent, TapItem, TapPacket};
use super::{EVENTS, TAP, ToWorker};
use crate::io::clock;
use crate::rtp::control::{MediaCommand, MediaEvent, PromptId};
use crate::rtp::packet::Header;
use crate::rtp::relay::{PLAYOUT_INTERVAL, Payload, Relay, Relayed};
use crate::units::{CallId, CallTime, Leg};

/// Token of the waker; no socket has it.
pub(super) const WAKE: Token = Token(usize::MAX);

/// Longest datagram that is relayed. RTP stays below the path's MTU; this leaves room for tunnels.
const MAX_DATAGRAM: usize = 2_048;

/// Datagrams read from one socket before the others have their turn.
const MAX_RUN: usize = 32;

/// Commands taken at once, so that packets have their turn.
const MAX_COMMANDS: usize = 256;

/// How often counters are handed out and silence is looked for.
const TICK: Duration = Duration::from_secs(1);

/// A playout clock that is further behind than this starts anew instead of sending a burst.
const MAX_CATCH_UP: Duration = Duration::from_millis(100);

/// What a worker is built of.
pub(super) struct Parts {
    pub(super) poll: Poll,
    pub(super) commands: Receiver<ToWorker>,
    pub(super) woken: Arc<AtomicBool>,
    pub(super) events: Sender<(CallId, MediaEvent)>,
    pub(super) wake: Arc<dyn Fn() + Send + Sync>,
    pub(super) tap: rtrb::Producer<TapItem>,
    pub(super) prompts: Arc<Prompts>,
    pub(super) ports: PortPool,
    pub(super) timeout: Duration,
    pub(super) counts: Arc<Mutex<MediaCounts>>,
}

/// One thread and its calls.
pub(super) struct Worker {
    parts: Parts,
    /// By slot; as many as ports allow.
    calls: Vec<Option<MediaCall>>,
    free_slots: Vec<usize>,
    slots: HashMap<CallId, usize>,
    /// Slots with a prompt.
    playing: Vec<usize>,
    play_due: Instant,
    tick_due: Instant,
    /// Sockets that had more to read than one run.
    again: Vec<Token>,
    /// Events that wait for room.
    backlog: VecDeque<(CallId, MediaEvent)>,
    /// Starts and stops that wait for room in the ring. Packets behind them are lost, so that the ear never hears a
    /// call that it was not told of.
    tap_backlog: VecDeque<TapItem>,
    /// Of calls that have ended, and of the thread itself.
    counts: MediaCounts,
    stopping: bool,
}

impl Worker {
    pub(super) fn new(parts: Parts) -> Self {
        let now = clock::now();
        Self {
            parts,
            calls: Vec::new(),
            free_slots: Vec::new(),
            slots: HashMap::new(),
            playing: Vec::new(),
            play_due: now,
            tick_due: now + TICK,
            again: Vec::new(),
            backlog: VecDeque::new(),
            tap_backlog: VecDeque::new(),
            counts: MediaCounts::default(),
            stopping: false,
        }
    }

    pub(super) fn run(mut self) {
        let mut ready = Events::with_capacity(1_024);
        let mut buffer = [0; MAX_DATAGRAM + 1];
        while !self.stopping {
            let timeout = self.timeout(clock::now());
            if let Err(error) = self.parts.poll.poll(&mut ready, Some(timeout)) {
                if error.kind() != std::io::ErrorKind::Interrupted {
                    warn!(%error, "Media poll failed");
                }
                continue;
            }
            // One reading for the whole batch: it is drained within a fraction of a millisecond.
            let now = clock::now();
            let again = std::mem::take(&mut self.again);
            for token in ready.iter().map(mio::event::Event::token).chain(again) {
                if token == WAKE {
                    self.take_commands(now);
                } else if catch_unwind(AssertUnwindSafe(|| self.read(token, &mut buffer, now))).is_err() {
                    self.abandon(token, now);
                }
            }
            if !self.playing.is_empty() && now >= self.play_due {
                self.play(now);
            }
            if now >= self.tick_due {
                self.tick(now);
            }
            self.flush();
        }
        self.publish();
    }

    fn timeout(&self, now: Instant) -> Duration {
        if !self.again.is_empty() {
            return Duration::ZERO;
        }
        let due = if self.playing.is_empty() { self.tick_due } else { self.tick_due.min(self.play_due) };
        let wait = due.saturating_duration_since(now);
        if self.backlog.is_empty() && self.tap_backlog.is_empty() { wait } else { wait.min(PLAYOUT_INTERVAL) }
    }

    /// Reads what has come on one socket and sends it on. Sockets are watched for edges, so each is read until it is
    /// empty, or comes again in the next round.
    fn read(&mut self, token: Token, buffer: &mut [u8; MAX_DATAGRAM + 1], now: Instant) {
        let (slot, port) = Port::of(token);
        let Some(call) = self.calls.get_mut(slot).and_then(Option::as_mut) else { return };
        for _ in 0..MAX_RUN {
            let socket = match port {
                Port::Rtp(leg) => &call.sockets[leg].rtp,
                Port::Rtcp(leg) => &call.sockets[leg].rtcp,
            };
            // Any error ends the run: on an unconnected UDP socket it is "nothing there" or the system's own trouble.
            let Ok((length, src)) = socket.recv_from(buffer) else { return };
            let Some(packet) = buffer.get_mut(..length).filter(|packet| packet.len() <= MAX_DATAGRAM) else {
                self.counts.oversized += 1;
                continue;
            };
            match port {
                Port::Rtcp(leg) => {
                    if let Relay::Forward { to } = call.pair.relay_rtcp(leg, packet, src) {
                        send(&call.sockets[leg.other()].rtcp, packet, to, &mut self.counts);
                    }
                }
                Port::Rtp(leg) => {
                    let Relayed { way, heard, digit, moved } = call.pair.relay(leg, packet, src, now);
                    if let Relay::Forward { to } = way {
                        // Also what cannot be heard, a fax or a report, is a sign of life.
                        (call.heard, call.silent_told) = (now, false);
                        send(&call.sockets[leg.other()].rtp, packet, to, &mut self.counts);
                    }
                    if let Some((header, payload)) = heard {
                        (call.heard, call.silent_told) = (now, false);
                        if let Some(answered) = call.answered.filter(|_| call.tapped) {
                            let at = CallTime(now.saturating_duration_since(answered));
                            let waiting = !self.tap_backlog.is_empty();
                            if !tap(&mut self.parts.tap, call.id, leg, at, &header, payload, packet, waiting) {
                                self.counts.tap_lost += 1;
                            }
                        }
                    }
                    if moved {
                        let address = call.pair.elsewhere(leg);
                        emit(&mut self.backlog, &mut self.counts, call.id, MediaEvent::Latched { leg, address });
                    }
                    if let Some(digit) = digit {
                        emit(&mut self.backlog, &mut self.counts, call.id, MediaEvent::Digit { leg, digit });
                    }
                }
            }
        }
        self.again.push(token);
    }

    /// A packet met a fault of ours: its call is given up, and no other notices.
    fn abandon(&mut self, token: Token, now: Instant) {
        let (slot, _) = Port::of(token);
        let Some(id) = self.calls.get(slot).and_then(Option::as_ref).map(|call| call.id) else { return };
        self.counts.internal += 1;
        error!(call = %id, "Media of a call given up after an internal fault");
        self.close(id, now);
        emit(&mut self.backlog, &mut self.counts, id, MediaEvent::Failed);
    }

    fn take_commands(&mut self, now: Instant) {
        // Cleared first: a command sent from here on wakes us again.
        self.parts.woken.store(false, Ordering::Release);
        for _ in 0..MAX_COMMANDS {
            match self.parts.commands.try_recv() {
                Ok(ToWorker::Command(command)) => self.command(command, now),
                Ok(ToWorker::Stop) => self.stopping = true,
                Err(_) => {
                    self.publish_gauges();
                    return;
                }
            }
        }
        self.again.push(WAKE);
    }

    fn command(&mut self, command: MediaCommand, now: Instant) {
        match command {
            MediaCommand::Open { call, local, ports } => self.open(call, Place { local, ports }, now),
            MediaCommand::Plan { call, leg, plan } => {
                if let Some(call) = self.call(call) {
                    call.pair.plan(leg, plan, now);
                }
            }
            MediaCommand::Latch { call, leg, address } => {
                if let Some(call) = self.call(call) {
                    call.pair.resume(leg, address, now);
                }
            }
            MediaCommand::Answered { call: id, analyse } => {
                let Some(call) = self.call(id) else { return };
                call.pair.answered(now);
                (call.answered, call.heard, call.tapped) = (Some(now), now, analyse);
                if analyse {
                    self.tap_control(TapItem::Started { call: id, answered: now });
                }
            }
            MediaCommand::StopTap { call } => self.stop_tap(call),
            MediaCommand::Cut { call, from, cut } => {
                if let Some(call) = self.call(call) {
                    call.pair.cut(from, cut);
                }
            }
            MediaCommand::Play { call, to, prompts } => self.start_play(call, to, &prompts, now),
            MediaCommand::StopPlay { call, to } => {
                if let Some(call) = self.call(call) {
                    call.pair.stop_play(to);
                }
            }
            MediaCommand::Close { call } => self.close(call, now),
        }
    }

    fn open(&mut self, id: CallId, place: Place, now: Instant) {
        if self.slots.contains_key(&id) {
            return;
        }
        let slot = self.free_slots.pop().unwrap_or_else(|| {
            self.calls.push(None);
            self.calls.len() - 1
        });
        let registry = self.parts.poll.registry();
        let taken = &mut self.counts.ports_taken;
        let call = MediaCall::open(id, place, slot, registry, &mut self.parts.ports, taken, now);
        let event = match call.zip(self.calls.get_mut(slot)) {
            Some((call, entry)) => {
                let ports = call.addresses();
                *entry = Some(call);
                self.slots.insert(id, slot);
                MediaEvent::Opened { ports }
            }
            None => {
                self.free_slots.push(slot);
                MediaEvent::Failed
            }
        };
        emit(&mut self.backlog, &mut self.counts, id, event);
    }

    fn close(&mut self, id: CallId, now: Instant) {
        self.stop_tap(id);
        let Some(slot) = self.slots.remove(&id) else { return };
        self.playing.retain(|&playing| playing != slot);
        let Some(mut call) = self.calls.get_mut(slot).and_then(Option::take) else { return };
        for leg in Leg::BOTH {
            // Closing a socket ends its watch as well; this keeps the poll's own books right.
            let _ = self.parts.poll.registry().deregister(&mut call.sockets[leg].rtp);
            let _ = self.parts.poll.registry().deregister(&mut call.sockets[leg].rtcp);
        }
        call.rest_ports(&mut self.parts.ports, now);
        self.counts.add_call(&call.pair);
        self.free_slots.push(slot);
    }

    fn start_play(&mut self, id: CallId, to: Leg, prompts: &[PromptId], now: Instant) {
        let Some(&slot) = self.slots.get(&id) else { return };
        let mut found = Vec::new();
        for prompt in prompts {
            match self.parts.prompts.get(prompt) {
                Some(prompt) => found.push(prompt),
                None => {
                    self.counts.prompts_missing += 1;
                    warn!(call = %id, prompt = %prompt.0, "Announcement missing");
                }
            }
        }
        let Some(call) = self.call(id) else { return };
        let nothing = found.is_empty();
        if nothing || !call.pair.play(to, found) {
            call.pair.stop_play(to);
            if !nothing {
                self.counts.prompts_missing += 1;
                warn!(call = %id, leg = to.label(), "Announcement has no codec in common with the peer");
            }
            emit(&mut self.backlog, &mut self.counts, id, MediaEvent::Finished { to });
            return;
        }
        if self.playing.is_empty() {
            self.play_due = now;
        }
        if !self.playing.contains(&slot) {
            self.playing.push(slot);
        }
    }

    /// One packet of every prompt.
    fn play(&mut self, now: Instant) {
        let late = now.saturating_duration_since(self.play_due) > MAX_CATCH_UP;
        self.play_due = if late { now } else { self.play_due } + PLAYOUT_INTERVAL;
        let Self { calls, playing, backlog, counts, .. } = self;
        playing.retain(|&slot| {
            let Some(call) = calls.get_mut(slot).and_then(Option::as_mut) else { return false };
            for leg in Leg::BOTH {
                if !call.pair.is_playing(leg) {
                    continue;
                }
                match call.pair.played(leg, now) {
                    Some((packet, Some(to))) => send(&call.sockets[leg].rtp, &packet, to, counts),
                    Some((_, None)) => {}
                    None => emit(backlog, counts, call.id, MediaEvent::Finished { to: leg }),
                }
            }
            Leg::BOTH.into_iter().any(|leg| call.pair.is_playing(leg))
        });
    }

    fn tick(&mut self, now: Instant) {
        self.tick_due = now + TICK;
        let timeout = self.parts.timeout;
        for call in self.calls.iter_mut().flatten() {
            let silent = now.saturating_duration_since(call.heard) >= timeout;
            if call.answered.is_some() && silent && !call.silent_told {
                call.silent_told = true;
                emit(&mut self.backlog, &mut self.counts, call.id, MediaEvent::Silent);
            }
        }
        self.publish();
    }

    fn stop_tap(&mut self, id: CallId) {
        let Some(call) = self.call(id) else { return };
        if std::mem::replace(&mut call.tapped, false) {
            self.tap_control(TapItem::Stopped { call: id });
        }
    }

    fn tap_control(&mut self, item: TapItem) {
        // The ear that has not taken this many starts and stops is gone.
        if self.tap_backlog.len() < TAP {
            self.tap_backlog.push_back(item);
        }
        self.flush_tap();
    }

    fn flush_tap(&mut self) {
        while let Some(item) = self.tap_backlog.pop_front() {
            if let Err(rtrb::PushError::Full(item)) = self.parts.tap.push(item) {
                self.tap_backlog.push_front(item);
                return;
            }
        }
    }

    /// Hands out events, and wakes their reader once for all of them.
    fn flush(&mut self) {
        self.flush_tap();
        let mut told = false;
        while let Some(event) = self.backlog.pop_front() {
            match self.parts.events.try_send(event) {
                Ok(()) => told = true,
                Err(TrySendError::Full(event)) => {
                    self.backlog.push_front(event);
                    break;
                }
                Err(TrySendError::Disconnected(_)) => {}
            }
        }
        if told {
            (self.parts.wake)();
        }
    }

    fn publish(&mut self) {
        self.publish_gauges();
        let mut counts = self.counts;
        for call in self.calls.iter().flatten() {
            counts.add_call(&call.pair);
        }
        *self.parts.counts.lock().unwrap_or_else(PoisonError::into_inner) = counts;
    }

    fn publish_gauges(&mut self) {
        let calls = self.slots.len() as u64;
        let (free, resting) = (self.parts.ports.free() as u64, self.parts.ports.resting() as u64);
        let mut shared = self.parts.counts.lock().unwrap_or_else(PoisonError::into_inner);
        for counts in [&mut self.counts, &mut *shared] {
            (counts.calls, counts.sockets) = (calls, calls * 4);
            (counts.ports_free, counts.ports_resting) = (free, resting);
        }
    }

    fn call(&mut self, id: CallId) -> Option<&mut MediaCall> {
        let slot = *self.slots.get(&id)?;
        self.calls.get_mut(slot)?.as_mut()
    }
}

fn send(socket: &UdpSocket, packet: &[u8], to: SocketAddr, counts: &mut MediaCounts) {
    // Never waits: a full socket buffer is a lost packet, as it would be on the wire.
    if socket.send_to(packet, to).is_err() {
        counts.send_failed += 1;
    }
}

fn emit(backlog: &mut VecDeque<(CallId, MediaEvent)>, counts: &mut MediaCounts, call: CallId, event: MediaEvent) {
    // A peer can press keys without end; what the signalling waits for comes a few times a call.
    let room = match event {
        MediaEvent::Digit { .. } | MediaEvent::Latched { .. } => EVENTS / 2,
        MediaEvent::Opened { .. } | MediaEvent::Failed | MediaEvent::Finished { .. } | MediaEvent::Silent => EVENTS,
    };
    if backlog.len() < room {
        backlog.push_back((call, event));
    } else {
        counts.events_lost += 1;
    }
}

/// Copies a packet to the ear; false if it was lost.
#[expect(clippy::too_many_arguments, reason = "called at one place, from borrowed parts of the worker")]
fn tap(
    ring: &mut rtrb::Producer<TapItem>,
    call: CallId,
    leg: Leg,
    at: CallTime,
    header: &Header,
    payload: Payload,
    packet: &[u8],
    waiting: bool,
) -> bool {
    let content = match payload {
        Payload::Audio(codec) => TapContent::Audio(codec),
        Payload::Noise => TapContent::Noise,
        Payload::Event | Payload::Other => return true,
    };
    let mut copy = TapPacket::new(call, leg, at, content);
    (copy.sequence, copy.timestamp, copy.ssrc) = (header.sequence, header.timestamp, header.ssrc);
    let bytes = packet.get(header.payload.clone()).unwrap_or_default();
    let Some(copy) = copy.with_payload(bytes).filter(|_| !waiting) else { return false };
    ring.push(TapItem::Packet(copy)).is_ok()
}
