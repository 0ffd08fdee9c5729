//! One connection: what has come of the next message, what waits to leave, and until when it may last.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::pipe::{Broken, Pipe, Reading};
use super::{CloseReason, Settings};
use crate::sip::flow::{Flow, Transport};
use crate::sip::framing::{BadFrame, Frame, Framer};
use crate::sip::transaction::T1X64;

/// Of messages that wait for a peer to read. More means that it does not.
const LONGEST_QUEUE: usize = 1024 * 1024;
/// A peer that takes nothing for this long does not read: nobody waits for an answer any more.
const STALLED: Duration = T1X64;
/// A connection of ours must be there within this: well before the caller of a silent next hop is told (8 s).
const CONNECT: Duration = Duration::from_secs(4);
/// One of ours that is of no use for this long is not kept: longer than anybody stays registered.
const UNUSED: Duration = Duration::from_secs(24 * 60 * 60);
/// Keeps a way open that nobody uses (RFC 5626 §4.4.1).
const KEEP_ALIVE: &[u8; 4] = b"\r\n\r\n";
/// What is queued when a connection is to end may take this long to leave.
const LINGER: Duration = Duration::from_secs(2);

/// How far a connection has come. The deadline is the state's own.
#[derive(Clone, Copy, Debug)]
pub(super) enum State {
    /// Ours, not there yet.
    Connecting { give_up: Instant },
    /// TLS is being set up. Its end does not move, however often the peer sends a byte.
    Handshaking { give_up: Instant },
    /// Whole messages keep it open.
    Open { idle_at: Instant },
    /// What is queued leaves, then it ends.
    Closing { give_up: Instant, reason: CloseReason },
}

/// What came on a connection.
pub enum Incoming {
    /// A message. Its bytes are in the buffer that was handed in.
    Message,
    /// A keep-alive that wants an answer: [`super::Streams::pong`].
    Ping,
    /// The stream cannot be read on; the connection ends when what waits has left.
    Bad(BadFrame),
}

pub(super) struct Connection {
    pub(super) flow: Flow,
    /// Opened by us.
    pub(super) ours: bool,
    /// It waits in the list of those that may be read.
    pub(super) listed: bool,
    pub(super) pipe: Pipe,
    state: State,
    /// When a message last came, or was to leave.
    used_at: Instant,
    framer: Framer,
    queue: VecDeque<Arc<[u8]>>,
    queued: usize,
    /// Bytes of the first one in `queue` that have left.
    written: usize,
    /// The message that has begun must be whole by then.
    whole_by: Option<Instant>,
    /// The peer must have read something by then.
    read_by: Option<Instant>,
}

impl Connection {
    pub(super) fn accepted(flow: Flow, pipe: Pipe, settings: &Settings, now: Instant) -> Self {
        Self::new(flow, false, pipe, Self::established(settings, now, flow), now)
    }

    pub(super) fn opening(flow: Flow, pipe: Pipe, now: Instant) -> Self {
        Self::new(flow, true, pipe, State::Connecting { give_up: now + CONNECT }, now)
    }

    fn new(flow: Flow, ours: bool, pipe: Pipe, state: State, now: Instant) -> Self {
        Self {
            flow,
            ours,
            listed: false,
            pipe,
            state,
            used_at: now,
            framer: Framer::new(),
            queue: VecDeque::new(),
            queued: 0,
            written: 0,
            whole_by: None,
            read_by: None,
        }
    }

    /// What follows once bytes can flow.
    fn established(settings: &Settings, now: Instant, flow: Flow) -> State {
        match flow.transport {
            Transport::Tls => State::Handshaking { give_up: now + settings.handshake_for },
            Transport::Udp | Transport::Tcp => State::Open { idle_at: now + settings.idle_for },
        }
    }

    pub(super) fn is_closing(&self) -> bool {
        matches!(self.state, State::Closing { .. })
    }

    /// The socket says that it can be written to.
    pub(super) fn writable(&mut self, settings: &Settings, now: Instant) -> Result<(), CloseReason> {
        if let State::Connecting { .. } = self.state {
            if matches!(self.pipe.socket.take_error(), Ok(Some(_)) | Err(_)) {
                return Err(CloseReason::Connect);
            }
            if self.pipe.socket.peer_addr().is_err() {
                // Not yet; it will say so again.
                return Ok(());
            }
            self.state = Self::established(settings, now, self.flow);
        }
        self.write(settings, now)
    }

    /// Reads once.
    pub(super) fn read(
        &mut self,
        buffer: &mut [u8],
        settings: &Settings,
        now: Instant,
    ) -> Result<Reading, CloseReason> {
        match self.state {
            State::Connecting { .. } => return Ok(Reading::Dry),
            // It has been said that nothing more is wanted.
            State::Closing { .. } => return Ok(Reading::Dry),
            State::Handshaking { .. } | State::Open { .. } => {}
        }
        let reading = self.pipe.read(buffer, &mut self.framer).map_err(|broken| {
            if let Broken::Tls(error) = &broken {
                tracing::debug!(flow = %self.flow, %error, "A TLS connection failed");
            }
            broken.reason()
        })?;
        // What waited for the handshake leaves now.
        self.write(settings, now)?;
        if self.framer.is_waiting() {
            self.whole_by.get_or_insert(now + settings.handshake_for);
        }
        Ok(reading)
    }

    /// The next thing that has come, its bytes in `out`.
    pub(super) fn take(&mut self, settings: &Settings, out: &mut Vec<u8>, now: Instant) -> Option<Incoming> {
        if self.is_closing() {
            return None;
        }
        let incoming = match self.framer.next(&settings.limits) {
            Ok(None) => None,
            Ok(Some(Frame::Ping)) => Some(Incoming::Ping),
            Ok(Some(Frame::Message(bytes))) => {
                out.clear();
                out.extend_from_slice(bytes);
                self.used_at = now;
                Some(Incoming::Message)
            }
            Err(bad) => Some(Incoming::Bad(bad)),
        };
        if incoming.is_some() {
            self.used(settings, now);
            self.whole_by = None;
        }
        if incoming.is_none() {
            // Half a keep-alive, as the answer to one of ours is, is no message that has begun.
            self.whole_by = self.framer.is_waiting().then(|| self.whole_by.unwrap_or(now + settings.handshake_for));
        }
        incoming
    }

    /// Takes a message to send. False: too much waits already.
    pub(super) fn push(&mut self, bytes: Arc<[u8]>, now: Instant) -> bool {
        self.used_at = now;
        self.wait_in_line(bytes)
    }

    /// Answers a keep-alive, which is no use of the connection.
    pub(super) fn answer_ping(&mut self, settings: &Settings, now: Instant) -> Result<(), CloseReason> {
        if !self.wait_in_line(Arc::from(*b"\r\n")) {
            return Err(CloseReason::SlowReader);
        }
        self.write(settings, now)
    }

    /// Has what is to leave wait for its turn. False: too much waits already.
    fn wait_in_line(&mut self, bytes: Arc<[u8]>) -> bool {
        if self.queued + bytes.len() > LONGEST_QUEUE {
            return false;
        }
        self.queued += bytes.len();
        self.queue.push_back(bytes);
        true
    }

    /// Sends what can be sent without waiting.
    pub(super) fn write(&mut self, settings: &Settings, now: Instant) -> Result<(), CloseReason> {
        match self.state {
            State::Connecting { .. } => return Ok(()),
            State::Handshaking { .. } => {
                self.pipe.flush().map_err(|broken| broken.reason())?;
                if self.pipe.is_handshaking() {
                    return Ok(());
                }
                self.state = State::Open { idle_at: now + settings.idle_for };
            }
            State::Open { .. } | State::Closing { .. } => {}
        }
        while let Some(front) = self.queue.front() {
            let rest = front.get(self.written..).unwrap_or_default();
            let length = self.pipe.write(rest).map_err(|broken| broken.reason())?;
            if length == 0 {
                break;
            }
            self.read_by = None;
            self.written += length;
            if self.written >= front.len() {
                self.queued -= front.len();
                self.written = 0;
                self.queue.pop_front();
                self.used(settings, now);
            }
        }
        let left = self.pipe.flush().map_err(|broken| broken.reason())? && self.queue.is_empty();
        if left {
            self.read_by = None;
        } else {
            self.read_by.get_or_insert(now + STALLED);
        }
        match self.state {
            State::Closing { reason, .. } if left => Err(reason),
            State::Connecting { .. } | State::Handshaking { .. } | State::Open { .. } | State::Closing { .. } => Ok(()),
        }
    }

    /// True where it is kept though nothing passes: a peer may know no other way to us.
    pub(super) fn may_stay(&self, now: Instant) -> bool {
        self.ours && now.saturating_duration_since(self.used_at) < UNUSED
    }

    /// Nothing has passed for long, and it stays.
    pub(super) fn stay(&mut self, settings: &Settings, now: Instant) -> Result<(), CloseReason> {
        self.used(settings, now);
        if self.queue.is_empty() {
            self.wait_in_line(Arc::from(*KEEP_ALIVE));
        }
        self.write(settings, now)
    }

    /// Since when nobody has needed it. None: something waits for it.
    pub(super) fn unused_since(&self) -> Option<Instant> {
        match self.state {
            State::Open { .. } if self.queue.is_empty() => Some(self.used_at),
            State::Open { .. } | State::Connecting { .. } | State::Handshaking { .. } | State::Closing { .. } => None,
        }
    }

    fn used(&mut self, settings: &Settings, now: Instant) {
        match &mut self.state {
            State::Open { idle_at } => *idle_at = now + settings.idle_for,
            State::Connecting { .. } | State::Handshaking { .. } | State::Closing { .. } => {}
        }
    }

    /// Ends it once all has left.
    pub(super) fn close_after_writing(&mut self, reason: CloseReason, now: Instant) {
        self.state = State::Closing { give_up: now + LINGER, reason };
    }

    fn state_deadline(&self) -> (Instant, CloseReason) {
        match self.state {
            State::Connecting { give_up } => (give_up, CloseReason::Connect),
            State::Handshaking { give_up } => (give_up, CloseReason::Handshake),
            State::Open { idle_at } => (idle_at, CloseReason::Idle),
            State::Closing { give_up, reason } => (give_up, reason),
        }
    }

    fn deadlines(&self) -> impl Iterator<Item = (Instant, CloseReason)> {
        let whole = self.whole_by.map(|at| (at, CloseReason::Unfinished));
        let read = self.read_by.map(|at| (at, CloseReason::SlowReader));
        [Some(self.state_deadline()), whole, read].into_iter().flatten()
    }

    /// When to look at it next.
    pub(super) fn deadline(&self) -> Instant {
        let (first, _) = self.state_deadline();
        self.deadlines().map(|(at, _)| at).min().unwrap_or(first)
    }

    /// Why it must end now, if it must.
    pub(super) fn due(&self, now: Instant) -> Option<CloseReason> {
        self.deadlines().filter(|(at, _)| *at <= now).min_by_key(|(at, _)| *at).map(|(_, reason)| reason)
    }

    /// What has not left, oldest first.
    pub(super) fn into_unsent(mut self) -> impl Iterator<Item = Arc<[u8]>> {
        self.pipe.close();
        self.queue.into_iter()
    }
}
