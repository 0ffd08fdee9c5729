//! One media thread: waits for its sockets, relays, plays, tells.

mod opening;
mod pace;
mod playing;
mod telling;

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TrySendError};
use tracing::{error, warn};

use super::call::{self, MediaCall, Place, Port, SOCKETS};
use super::counts::MediaCounts;
use super::poll::{Poll, Ready, WAKE};
use super::ports::PortPool;
use super::prompts::Prompts;
use super::stock::{Shelf, Stock};
use super::tap::{TapControl, TapWriter};
use super::{CONTROLS, SilenceLimit, ToWorker, call_of};
use crate::io::clock;
use crate::io::threads::Wake;
use crate::rtp::control::{MediaCommand, MediaEvent};
use crate::rtp::outgoing::PACKET_TIME;
use crate::rtp::relay::{Relay, Relayed};
use crate::rtp::srtp::MOST_ADDED;
use crate::units::{CallId, Leg};
use pace::Pace;
use playing::How;
use telling::{Backlog, emit, look};

/// Longest datagram that is relayed. RTP stays below the path's MTU; this leaves room for tunnels.
pub(super) const MAX_DATAGRAM: usize = 2_048;

/// A datagram, and what sealing adds to it. One byte more than is relayed, so that longer ones show.
type Buffer = [u8; MAX_DATAGRAM + 1 + MOST_ADDED];

/// Datagrams read from one socket before the others have their turn, if it had more than one in the round before.
const MAX_RUN: usize = 32;

/// How much later than asked for a round may begin: the system's 50 us would be a tenth of a gap.
const TIMER_SLACK: NonZeroU64 = NonZeroU64::new(5_000).unwrap();

/// Commands taken at once, so that packets have their turn.
const MAX_COMMANDS: usize = 256;

/// Pause between rounds in which sets are opened ahead of calls.
const NEXT_SETS: Duration = Duration::from_millis(1);

/// Sets closed in one tick because nobody needs them.
const CLOSED_A_TICK: usize = 64;

/// How often counters are handed out and silence is looked for.
const TICK: Duration = Duration::from_secs(1);

/// What a worker is built of.
pub(super) struct Parts {
    pub(super) poll: Poll,
    pub(super) commands: Receiver<ToWorker>,
    pub(super) woken: Arc<AtomicBool>,
    pub(super) events: Sender<(CallId, MediaEvent)>,
    pub(super) wake: Wake,
    pub(super) tap: TapWriter,
    pub(super) prompts: Arc<Prompts>,
    pub(super) ports: PortPool,
    pub(super) silence: SilenceLimit,
    pub(super) dscp: u8,
    /// Sets of sockets that may be open at a time.
    pub(super) sets: usize,
    pub(super) shelf: Arc<Shelf>,
    pub(super) counts: Arc<Mutex<MediaCounts>>,
}

/// One thread and its calls.
pub(super) struct Worker {
    parts: Parts,
    /// By slot; as many as ports allow.
    calls: Vec<Option<Box<MediaCall>>>,
    free_slots: Vec<usize>,
    slots: HashMap<CallId, usize>,
    /// Of those, the videos of calls.
    videos: usize,
    /// Port pairs of this thread.
    pairs: usize,
    /// Sets in slots without a call.
    stock: Stock,
    /// The shelf is not full.
    filling: bool,
    /// Slots with a prompt.
    playing: Vec<usize>,
    play_due: Instant,
    tick_due: Instant,
    round: u32,
    pace: Pace,
    /// Commands have been left for the next round.
    more_commands: bool,
    /// Events that wait for room.
    backlog: Backlog,
    /// Starts and stops that wait for room in the ring. Packets behind them are lost, so that the ear never hears a
    /// call that it was not told of.
    tap_backlog: VecDeque<TapControl>,
    /// Of calls that have ended, and of the thread itself.
    counts: MediaCounts,
    stopping: bool,
}

impl Worker {
    pub(super) fn new(parts: Parts) -> Self {
        let now = clock::now();
        Self {
            stock: Stock::new(parts.shelf.clone()),
            filling: false,
            pairs: parts.ports.free(),
            parts,
            calls: Vec::new(),
            free_slots: Vec::new(),
            slots: HashMap::new(),
            videos: 0,
            playing: Vec::new(),
            play_due: now,
            tick_due: now + TICK,
            round: 0,
            pace: Pace::new(now),
            more_commands: false,
            backlog: VecDeque::new(),
            tap_backlog: VecDeque::new(),
            counts: MediaCounts::default(),
            stopping: false,
        }
    }

    pub(super) fn run(mut self) {
        let mut buffer: Buffer = [0; _];
        let mut ready = Ready::new();
        // Refused: packets go a little later.
        let _ = rustix::thread::set_current_timer_slack(Some(TIMER_SLACK));
        while !self.stopping {
            let timeout = self.timeout(clock::now());
            if let Err(error) = self.parts.poll.wait(&mut ready, timeout) {
                warn!(%error, "Media poll failed");
            }
            // One reading for the whole batch: it is drained within a fraction of a millisecond.
            let now = clock::now();
            self.round = self.round.wrapping_add(1);
            // Some come without a wake-up of their own, and packets may belong to what they say.
            if self.more_commands || !self.parts.commands.is_empty() {
                self.take_commands(now);
            }
            for name in ready.names() {
                if name == WAKE {
                    self.parts.poll.waker().clear();
                    self.take_commands(now);
                } else if catch_unwind(AssertUnwindSafe(|| self.read(name, &mut buffer, now))).is_err() {
                    self.give_up_at(name, now);
                }
            }
            if !self.playing.is_empty() && now >= self.play_due {
                self.play(now);
            }
            if self.filling {
                self.fill(now);
            }
            if now >= self.tick_due {
                self.tick(now);
            }
            self.flush();
            let gap = self.pace.gap(ready.len(), now);
            if gap > Duration::ZERO {
                std::thread::sleep(gap.saturating_sub(clock::now().saturating_duration_since(now)));
            }
        }
        self.publish();
    }

    fn timeout(&self, now: Instant) -> Duration {
        if self.more_commands {
            return Duration::ZERO;
        }
        let due = if self.playing.is_empty() { self.tick_due } else { self.tick_due.min(self.play_due) };
        let wait = due.saturating_duration_since(now);
        let wait = if self.filling { wait.min(NEXT_SETS) } else { wait };
        if self.backlog.is_empty() && self.tap_backlog.is_empty() { wait } else { wait.min(PACKET_TIME) }
    }

    /// Reads what has come on one socket and sends it on: one datagram, or more if the socket had some left in the
    /// round before. What is left is read in the next round.
    fn read(&mut self, name: u64, buffer: &mut Buffer, now: Instant) {
        let (slot, port) = Port::of(name);
        let round = self.round;
        let Some(call) = self.calls.get_mut(slot).and_then(Option::as_deref_mut) else {
            return self.drain(slot, port, buffer, now);
        };
        let before = call.sockets[port.leg()].round.replace(round);
        let has_left = !port.is_rtcp() && before == Some(round.wrapping_sub(1));
        let run = if has_left { MAX_RUN } else { 1 };
        for _ in 0..run {
            let Some(call) = self.calls.get_mut(slot).and_then(Option::as_deref_mut) else { return };
            // Any error ends the run: on an unconnected UDP socket it is "nothing there" or the system's own trouble.
            let room = buffer.get_mut(..=MAX_DATAGRAM).unwrap_or_default();
            let Some((length, src)) = call::receive(port.socket(&call.sockets), room) else { return };
            let Some(sealed) = buffer.get_mut(..length).filter(|packet| packet.len() <= MAX_DATAGRAM) else {
                self.counts.oversized += 1;
                continue;
            };
            let Some(opened) = call.pair.open(port.leg(), port.is_rtcp(), sealed) else { continue };
            match port {
                Port::Rtcp(leg) => {
                    let packet = buffer.get_mut(..opened).unwrap_or_default();
                    if let (Relay::Forward { to }, length) = call.pair.relay_rtcp(leg, packet, src) {
                        // Peers that only listen send no sound (RFC 3551 §4.1), but reports.
                        (call.heard, call.silent_told) = (now, false);
                        call.send(Port::Rtcp(leg.other()), buffer, length, to, &mut self.counts);
                    }
                }
                Port::Rtp(leg) => self.relay(slot, leg, buffer, opened, src, now),
            }
        }
    }

    /// Sends the RTP packet in `buffer` on, copies it for the ear, and tells what it has shown.
    fn relay(&mut self, slot: usize, leg: Leg, buffer: &mut Buffer, opened: usize, src: SocketAddr, now: Instant) {
        let Some(call) = self.calls.get_mut(slot).and_then(Option::as_deref_mut) else { return };
        let packet = buffer.get_mut(..opened).unwrap_or_default();
        let Relayed { way, length, heard, digit, moved } = call.pair.relay(leg, packet, src, now);
        if let Some((header, payload)) = &heard {
            (call.heard, call.silent_told) = (now, false);
            if call.falls_unheard(leg, *payload) {
                emit(&mut self.backlog, &mut self.counts, call.id, MediaEvent::Unheard);
            }
            if let Some((at, content)) = call.for_the_ear(leg, *payload, now) {
                let bytes = packet.get(header.payload.clone()).unwrap_or_default();
                // Behind what waits for room in the ring, nothing may go first.
                let room = self.tap_backlog.is_empty();
                let copied = room && self.parts.tap.packet(call.id, leg, at, header, content, bytes);
                self.counts.tap_lost += u64::from(!copied);
            }
        }
        if let Relay::Forward { to } = way {
            // Also what cannot be heard, a fax or a report, is a sign of life.
            (call.heard, call.silent_told) = (now, false);
            if let Some((header, payload)) = &heard {
                call.pair.mix(leg.other(), header, *payload, packet, now);
            }
            call.send(Port::Rtp(leg.other()), buffer, length, to, &mut self.counts);
        }
        if moved {
            let address = call.pair.elsewhere(leg);
            emit(&mut self.backlog, &mut self.counts, call.id, MediaEvent::Latched { leg, address });
        }
        if let Some(digit) = digit {
            emit(&mut self.backlog, &mut self.counts, call.id, MediaEvent::Digit { leg, digit });
        }
    }

    /// Something has come on a set without a call: it is thrown away, and the set rests on.
    fn drain(&mut self, slot: usize, port: Port, buffer: &mut Buffer, now: Instant) {
        let Some(sockets) = self.stock.heard(slot, now) else { return };
        let socket = port.socket(sockets);
        for _ in 0..MAX_RUN {
            if socket.recv_from(buffer).is_err() {
                return;
            }
            self.counts.no_call += 1;
        }
    }

    /// A packet met a fault of ours.
    fn give_up_at(&mut self, name: u64, now: Instant) {
        let (slot, _) = Port::of(name);
        if let Some(id) = self.calls.get(slot).and_then(Option::as_ref).map(|call| call.id) {
            self.give_up(id, now);
        }
    }

    /// A call met a fault of ours: it is given up, and no other notices.
    fn give_up(&mut self, id: CallId, now: Instant) {
        self.counts.internal += 1;
        error!(call = %id.of_video().unwrap_or(id), "Media of a call given up after an internal fault");
        self.close(id, now);
        emit(&mut self.backlog, &mut self.counts, id, MediaEvent::Failed);
    }

    fn contain(&mut self, id: CallId, now: Instant, step: impl FnOnce(&mut Self)) {
        if catch_unwind(AssertUnwindSafe(|| step(self))).is_err() {
            self.give_up(id, now);
        }
    }

    fn take_commands(&mut self, now: Instant) {
        // Cleared first: a command sent from here on wakes us again.
        self.parts.woken.store(false, Ordering::Release);
        self.more_commands = false;
        for _ in 0..MAX_COMMANDS {
            match self.parts.commands.try_recv() {
                Ok(ToWorker::Command(command)) => {
                    self.contain(call_of(&command), now, |worker| worker.command(command, now));
                }
                Ok(ToWorker::Begin(call, set)) => self.contain(call, now, |worker| worker.begin_with(call, set, now)),
                Ok(ToWorker::Stop) => self.stopping = true,
                #[cfg(test)]
                Ok(ToWorker::Fault(call)) => self.contain(call, now, |_| panic!("a test asked for it")),
                Err(_) => {
                    self.publish_gauges();
                    return;
                }
            }
        }
        self.more_commands = true;
    }

    fn command(&mut self, command: MediaCommand, now: Instant) {
        match command {
            MediaCommand::Open { call, local, ports } => {
                let place = Place { local, ports, dscp: self.parts.dscp };
                self.open(call, place, now);
            }
            MediaCommand::Plan { call, leg, plan } => {
                if let Some(call) = self.call(call) {
                    // Whoever describes its media is there; and silence behind a hold is another one than within it.
                    (call.heard, call.silent_told) = (now, false);
                    call.pair.plan(leg, plan, now);
                }
            }
            MediaCommand::Latch { call, leg, address } => {
                if let Some(call) = self.call(call) {
                    call.pair.resume(leg, address, now);
                }
            }
            MediaCommand::Answered { call, analyse } => self.answered(call, analyse, now),
            MediaCommand::StopTap { call } => self.stop_tap(call),
            MediaCommand::Cut { call, from, cut } => {
                if let Some(call) = self.call(call) {
                    call.pair.cut(from, cut);
                }
            }
            MediaCommand::Play { call, to, prompts, play } => {
                self.start_play(call, (to, play), &prompts, How::Alone, now);
            }
            MediaCommand::Whisper { call, to, prompts, play } => {
                self.start_play(call, (to, play), &prompts, How::Over, now);
            }
            MediaCommand::HoldKeys { call, from, held } => {
                if let Some(call) = self.call(call) {
                    call.pair.hold_keys(from, held, now);
                }
            }
            MediaCommand::Press { call, to, key, play } => self.press(call, (to, play), key, now),
            MediaCommand::StopPlay { call, to } => {
                if let Some(call) = self.call(call) {
                    call.pair.stop_play(to);
                }
            }
            MediaCommand::Close { call } => self.close(call, now),
        }
    }

    fn answered(&mut self, id: CallId, analyse: bool, now: Instant) {
        let limit = self.parts.silence.get();
        let Some(call) = self.call(id) else { return };
        call.pair.answered(now);
        (call.answered, call.heard, call.tapped, call.silence_limit) = (Some(now), now, analyse, limit);
        if analyse {
            self.tap_control(TapControl::Started { call: id, answered: now });
        }
    }

    fn close(&mut self, id: CallId, now: Instant) {
        self.stop_tap(id);
        let Some(slot) = self.slots.remove(&id) else { return };
        self.videos -= usize::from(id.of_video().is_some());
        self.playing.retain(|&playing| playing != slot);
        let Some(call) = self.calls.get_mut(slot).and_then(Option::take) else { return };
        self.counts.add_call(&call.pair);
        let full = self.is_full();
        let left = if full { Some(call.sockets) } else { self.stock.keep(slot, call.sockets, now) };
        if let Some(sockets) = left {
            self.close_sockets(slot, &sockets, false, now);
        }
    }

    fn tick(&mut self, now: Instant) {
        self.tick_due = now + TICK;
        for _ in 0..CLOSED_A_TICK {
            let Some(slot) = self.stock.idle(now) else { break };
            self.discard(slot, now);
        }
        let mut broken = Vec::new();
        for call in self.calls.iter_mut().flatten() {
            let look = || look(call, &mut self.backlog, &mut self.counts, now);
            if catch_unwind(AssertUnwindSafe(look)).is_err() {
                broken.push(call.id);
            }
        }
        broken.into_iter().for_each(|id| self.give_up(id, now));
        self.publish();
    }

    fn stop_tap(&mut self, id: CallId) {
        let Some(call) = self.call(id) else { return };
        if std::mem::replace(&mut call.tapped, false) {
            self.tap_control(TapControl::Stopped { call: id });
        }
    }

    fn tap_control(&mut self, control: TapControl) {
        // The ear that has not taken this many starts and stops is gone.
        if self.tap_backlog.len() < CONTROLS {
            self.tap_backlog.push_back(control);
        }
        self.flush_tap();
    }

    fn flush_tap(&mut self) {
        while let Some(&control) = self.tap_backlog.front() {
            if !self.parts.tap.control(control) {
                return;
            }
            self.tap_backlog.pop_front();
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
        let sets = self.slots.len();
        let (kept, resting) = (self.stock.len(), self.stock.resting());
        // A set has two pairs.
        let free = (self.parts.ports.free() + 2 * kept.saturating_sub(resting)) as u64;
        let resting = (self.parts.ports.resting() + 2 * resting) as u64;
        let calls = sets.saturating_sub(self.videos) as u64;
        let sockets = ((sets + kept) * SOCKETS) as u64;
        let mut shared = self.parts.counts.lock().unwrap_or_else(PoisonError::into_inner);
        for counts in [&mut self.counts, &mut *shared] {
            (counts.calls, counts.sockets) = (calls, sockets);
            (counts.ports_free, counts.ports_resting) = (free, resting);
        }
    }

    fn call(&mut self, id: CallId) -> Option<&mut MediaCall> {
        let slot = *self.slots.get(&id)?;
        self.calls.get_mut(slot)?.as_deref_mut()
    }
}
