//! The media path: two UDP port pairs for each call, threads that relay between them, prompts, and copies for the ear.
//!
//! In: [`MediaCommand`]s and datagrams. Out: datagrams, [`MediaEvent`]s, [`TapItem`]s. What happens with a packet is
//! decided by [`crate::rtp::relay`]; here are the sockets, the clock and the threads. A call belongs to one thread, so
//! no packet meets a lock. What cannot keep up loses audio copies first; events that find
//! no room are counted.

mod call;
mod counts;
mod poll;
mod ports;
mod prompts;
mod stock;
mod tap;
mod worker;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

pub use counts::MediaCounts;
pub use prompts::{BadPrompt, Prompts, Unencoded};
pub use tap::{MAX_TAP_PAYLOAD, TapContent, TapItem, TapReader};

use crate::io::threads::{StandBack, Wake};
use crate::rtp::control::{MediaCommand, MediaEvent};
use crate::units::{CallId, Leg, PerLeg};
pub use call::LAWS;
use stock::{Set, Shelf};
use worker::Worker;

/// Commands that may wait for one thread. A call has about ten in its life; the sender waits when it is full.
const COMMANDS: usize = 4_096;

/// Events that may wait for the signalling; behind them each thread keeps as many again.
const EVENTS: usize = 4_096;

/// Starts and stops that may wait for room in the ear's ring, for each thread.
const CONTROLS: usize = 8_192;

/// How the media path is set up. Fixed while it runs, but for the [`SilenceLimit`].
#[derive(Clone, Debug, PartialEq)]
pub struct MediaSettings {
    /// First port of the range; an odd one is skipped, as RTP takes even ports and RTCP the next (RFC 3550 §11).
    pub first_port: u16,
    /// Last port of the range. A call takes four, and as many more with video.
    pub last_port: u16,
    /// An answered call in which neither leg has sent RTP for this long is reported as silent.
    pub timeout: Duration,
    /// Folder with prompts: `NAME.wav` each.
    pub announcements: PathBuf,
    /// Threads that relay. The port range is divided among them.
    pub threads: usize,
    /// How routers are asked to treat what is sent (RFC 2474): 46 is expedited forwarding (RFC 4594 §4.1).
    pub dscp: u8,
    /// Sockets that may be open at a time: those of calls, and those that are kept open for the next ones.
    pub sockets: usize,
}

/// Why the media path does not start.
#[derive(Debug, thiserror::Error)]
pub enum BadMedia {
    /// Fewer than two pairs for each thread.
    #[error("ports {first} to {last} hold no call for each of {threads} threads (a call takes four ports)")]
    Ports {
        /// As set.
        first: u16,
        /// As set.
        last: u16,
        /// As set.
        threads: usize,
    },
    /// The system refuses a poll or a thread.
    #[error("the media path cannot be started: {0}")]
    System(#[from] std::io::Error),
}

/// What the starter is handed.
pub struct StartedMedia {
    /// Takes commands; stops and joins the threads when it is dropped.
    pub path: MediaPath,
    /// What happened, from all threads.
    pub events: Receiver<(CallId, MediaEvent)>,
    /// Copies of what analysed calls sound like, one ring for each thread. To be emptied at least every 20 ms.
    pub taps: Vec<TapReader>,
    /// Prompt files that could not be used, for the operator.
    pub bad_prompts: Vec<BadPrompt>,
    /// Prompts without which calls are silent where something is to be said.
    pub missing_prompts: Vec<&'static str>,
}

/// How long an answered call may be silent on both legs; what is set counts for calls that are answered from then on.
#[derive(Clone, Debug)]
pub struct SilenceLimit(Arc<AtomicU64>);

impl SilenceLimit {
    fn new(limit: Duration) -> Self {
        let new = Self(Arc::default());
        new.set(limit);
        new
    }

    /// From now on.
    pub fn set(&self, limit: Duration) {
        self.0.store(u64::try_from(limit.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn get(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }
}

/// The running media path.
pub struct MediaPath {
    threads: Vec<Thread>,
    /// Encodes prompts for as long as `goes_on`.
    preparing: Option<JoinHandle<()>>,
    goes_on: Arc<AtomicBool>,
    silence: SilenceLimit,
}

struct Thread {
    commands: Sender<ToWorker>,
    waker: poll::Waker,
    /// A wake is under way: the next command needs none of its own.
    woken: Arc<AtomicBool>,
    /// There are commands that it has not been woken for.
    unseen: AtomicBool,
    shelf: Arc<Shelf>,
    counts: Arc<Mutex<MediaCounts>>,
    handle: Option<JoinHandle<()>>,
}

enum ToWorker {
    Command(MediaCommand),
    /// A call begins with a set from the shelf.
    Begin(CallId, Set),
    Stop,
    /// A step for this call panics.
    #[cfg(test)]
    Fault(CallId),
}

impl MediaPath {
    /// Loads the prompts and starts the threads. `wake` is called, from those threads, when events are waiting;
    /// it must return at once.
    pub fn start(settings: &MediaSettings, wake: Wake) -> Result<StartedMedia, BadMedia> {
        let threads = settings.threads.max(1);
        let shares = ports::PortPool::divide(settings.first_port, settings.last_port, threads);
        if shares.iter().any(|pool| pool.free() < 2) {
            return Err(BadMedia::Ports { first: settings.first_port, last: settings.last_port, threads });
        }
        let (prompts, unencoded, bad_prompts) = Prompts::load(&settings.announcements);
        let missing_prompts = prompts.missing();
        let prompts = Arc::new(prompts);
        let (events_in, events) = bounded(EVENTS);
        let mut taps = Vec::new();
        let goes_on = Arc::new(AtomicBool::new(true));
        let asked = Arc::clone(&goes_on);
        let preparing = std::thread::Builder::new().name("prompts".to_owned()).spawn(move || {
            StandBack::Records.apply();
            unencoded.into_iter().take_while(|_| asked.load(Ordering::Relaxed)).for_each(Unencoded::encode);
        })?;
        let silence = SilenceLimit::new(settings.timeout);
        let mut path = MediaPath { threads: Vec::new(), preparing: Some(preparing), goes_on, silence: silence.clone() };
        for (index, pool) in shares.into_iter().enumerate() {
            let poll = poll::Poll::new()?;
            let waker = poll.waker();
            let (commands, from_path) = bounded(COMMANDS);
            let (tap, reader) = tap::ring(crate::io::clock::now());
            taps.push(reader);
            let woken = Arc::new(AtomicBool::new(false));
            let counts = Arc::new(Mutex::new(MediaCounts::default()));
            let shelf = Arc::new(Shelf::default());
            let worker = Worker::new(worker::Parts {
                poll,
                commands: from_path,
                woken: woken.clone(),
                events: events_in.clone(),
                wake: wake.clone(),
                tap,
                prompts: prompts.clone(),
                ports: pool,
                silence: silence.clone(),
                dscp: settings.dscp,
                sets: settings.sockets / call::SOCKETS / threads,
                shelf: shelf.clone(),
                counts: counts.clone(),
            });
            let handle = std::thread::Builder::new().name(format!("media-{index}")).spawn(move || worker.run())?;
            let unseen = AtomicBool::new(false);
            path.threads.push(Thread { commands, waker, woken, unseen, shelf, counts, handle: Some(handle) });
        }
        Ok(StartedMedia { path, events, taps, bad_prompts, missing_prompts })
    }

    /// Hands a command to the call's thread; false if that thread is gone. Waits only while 4,096 commands are waiting,
    /// and the threads never wait for the one who calls this.
    pub fn send(&self, command: MediaCommand) -> bool {
        self.thread(call_of(&command)).is_some_and(|thread| thread.send(ToWorker::Command(command)))
    }

    /// Like [`MediaPath::send`], but the thread need not look at it before [`MediaPath::wake`] or the next packet.
    pub fn put(&self, command: MediaCommand) -> bool {
        self.thread(call_of(&command)).is_some_and(|thread| thread.put(ToWorker::Command(command)))
    }

    /// Begins a call at once where ports lie ready for it; what [`MediaEvent::Opened`] would say of it. None: nothing
    /// has been done, and [`MediaCommand::Open`] asks for ports in the ordinary way. The thread need not look at it
    /// before [`MediaPath::wake`] or the next packet. Video always asks.
    pub fn begin(&self, call: CallId, local: PerLeg<IpAddr>) -> Option<PerLeg<SocketAddr>> {
        let thread = self.thread(call).filter(|_| call.of_video().is_none())?;
        let set = thread.shelf.take(local)?;
        let ports = PerLeg::from_fn(|leg: Leg| SocketAddr::new(local[leg], set.ports[leg]));
        let put = thread.put(ToWorker::Begin(call, set));
        if !put {
            // Nobody has it: it lies ready for the next.
            thread.shelf.put(local, set);
        }
        put.then_some(ports)
    }

    /// The low bits of a call's name are a counter, so calls spread evenly. The share of a thread that is gone falls to
    /// the next: its own calls have lost their media, new ones need not.
    fn thread(&self, call: CallId) -> Option<&Thread> {
        let first = (call.0 % self.threads.len().max(1) as u64) as usize;
        self.threads.iter().cycle().skip(first).take(self.threads.len()).find(|thread| thread.is_up())
    }

    /// Has the threads look at what was [`MediaPath::put`].
    pub fn wake(&self) {
        for thread in &self.threads {
            if thread.unseen.swap(false, Ordering::AcqRel) {
                thread.wake();
            }
        }
    }

    /// Where the media timeout of later calls is set.
    #[must_use]
    pub fn silence_limit(&self) -> SilenceLimit {
        self.silence.clone()
    }

    /// Are all threads alive? Those that began on one that is not have lost their media.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.threads.iter().all(Thread::is_up)
    }

    /// Sum over the threads, not older than a second.
    #[must_use]
    pub fn counts(&self) -> MediaCounts {
        self.threads.iter().fold(MediaCounts::default(), |sum, thread| {
            sum.plus(&thread.counts.lock().unwrap_or_else(PoisonError::into_inner))
        })
    }
}

impl Drop for MediaPath {
    fn drop(&mut self) {
        self.goes_on.store(false, Ordering::Relaxed);
        for thread in &self.threads {
            thread.send(ToWorker::Stop);
        }
        for thread in &mut self.threads {
            if let Some(handle) = thread.handle.take() {
                // A thread that panicked has said so on its own.
                let _ = handle.join();
            }
        }
        if let Some(preparing) = self.preparing.take() {
            let _ = preparing.join();
        }
    }
}

impl Thread {
    fn is_up(&self) -> bool {
        self.handle.as_ref().is_some_and(|handle| !handle.is_finished())
    }

    fn send(&self, message: ToWorker) -> bool {
        self.commands.send(message).is_ok() && self.wake()
    }

    fn put(&self, message: ToWorker) -> bool {
        self.unseen.store(true, Ordering::Release);
        match self.commands.try_send(message) {
            Ok(()) => true,
            Err(TrySendError::Full(message)) => self.wake() && self.commands.send(message).is_ok(),
            Err(TrySendError::Disconnected(_)) => false,
        }
    }

    fn wake(&self) -> bool {
        self.woken.swap(true, Ordering::AcqRel) || self.waker.wake().is_ok()
    }
}

/// The call that a command is for.
fn call_of(command: &MediaCommand) -> CallId {
    match command {
        MediaCommand::Open { call, .. }
        | MediaCommand::Plan { call, .. }
        | MediaCommand::Latch { call, .. }
        | MediaCommand::Answered { call, .. }
        | MediaCommand::StopTap { call }
        | MediaCommand::Cut { call, .. }
        | MediaCommand::Play { call, .. }
        | MediaCommand::StopPlay { call, .. }
        | MediaCommand::HoldKeys { call, .. }
        | MediaCommand::Press { call, .. }
        | MediaCommand::Whisper { call, .. }
        | MediaCommand::Close { call } => *call,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::net::{Ipv4Addr, UdpSocket};
    use std::sync::atomic::AtomicU16;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    /// Ports for one test.
    const PORTS: u16 = 200;

    /// The first of as many that nobody has. Each test begins to look somewhere else, and so does each of several
    /// processes.
    fn free_ports() -> u16 {
        static LOOKED: AtomicU16 = AtomicU16::new(0);
        let process = (std::process::id() % 30) as u16;
        let places = (0..60).map(|_| 21_000 + (process + LOOKED.fetch_add(1, Ordering::Relaxed)) % 30 * PORTS);
        let is_free = |port: u16| UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
        places.into_iter().find(|first| (*first..first + PORTS).all(is_free)).unwrap()
    }

    fn settings(threads: usize) -> MediaSettings {
        let first_port = free_ports();
        MediaSettings {
            first_port,
            last_port: first_port + PORTS - 1,
            timeout: Duration::from_secs(60),
            announcements: PathBuf::from("/does/not/exist"),
            threads,
            dscp: 0,
            sockets: 100,
        }
    }

    fn open(path: &MediaPath, call: CallId) -> bool {
        let local = PerLeg::from_fn(|_| IpAddr::V4(Ipv4Addr::LOCALHOST));
        path.send(MediaCommand::Open { call, local, ports: None })
    }

    #[test]
    fn a_panic_costs_one_call_its_media_and_the_others_nothing() {
        let StartedMedia { path, events, .. } = MediaPath::start(&settings(1), Arc::new(|| {})).unwrap();
        let (broken, other) = (CallId(1), CallId(2));
        for call in [broken, other] {
            assert!(open(&path, call));
            assert!(matches!(events.recv_timeout(PATIENCE), Ok((_, MediaEvent::Opened { .. }))));
        }

        assert!(path.thread(broken).unwrap().send(ToWorker::Fault(broken)));

        assert_eq!(events.recv_timeout(PATIENCE), Ok((broken, MediaEvent::Failed)));
        assert!(open(&path, CallId(3)));
        assert!(matches!(events.recv_timeout(PATIENCE), Ok((CallId(3), MediaEvent::Opened { .. }))));
        assert_eq!(path.counts().calls, 2, "the other goes on");
        assert!(path.is_up());
    }

    #[test]
    fn a_new_limit_of_silence_counts_for_calls_that_are_answered_from_then_on() {
        let StartedMedia { path, events, .. } = MediaPath::start(&settings(1), Arc::new(|| {})).unwrap();
        let (before, after) = (CallId(1), CallId(2));
        for call in [before, after] {
            assert!(open(&path, call));
            assert!(matches!(events.recv_timeout(PATIENCE), Ok((_, MediaEvent::Opened { .. }))));
        }

        assert!(path.send(MediaCommand::Answered { call: before, analyse: false }));
        // Answered in the thread before the limit changes.
        assert!(open(&path, CallId(3)));
        assert!(matches!(events.recv_timeout(PATIENCE), Ok((CallId(3), MediaEvent::Opened { .. }))));
        path.silence_limit().set(Duration::ZERO);
        assert!(path.send(MediaCommand::Answered { call: after, analyse: false }));

        assert_eq!(events.recv_timeout(PATIENCE), Ok((after, MediaEvent::Silent)));
        assert!(events.try_recv().is_err(), "the first call keeps its own");
    }

    #[test]
    fn ports_that_others_hold_in_a_row_cost_no_call() {
        let settings = settings(1);
        let (first, local) = (settings.first_port, Ipv4Addr::LOCALHOST);
        let held: Vec<_> = (first..first + 140).filter_map(|port| UdpSocket::bind((local, port)).ok()).collect();
        let StartedMedia { path, events, .. } = MediaPath::start(&settings, Arc::new(|| {})).unwrap();

        assert!(open(&path, CallId(1)));

        assert!(held.len() > 128, "{} could be held", held.len());
        assert!(matches!(events.recv_timeout(PATIENCE), Ok((_, MediaEvent::Opened { .. }))));
    }

    #[test]
    fn new_calls_of_a_thread_that_is_gone_fall_to_another() {
        let StartedMedia { path, events, .. } = MediaPath::start(&settings(2), Arc::new(|| {})).unwrap();
        let gone = path.thread(CallId(0)).unwrap();

        assert!(gone.send(ToWorker::Stop));
        let begun = crate::io::clock::now();
        while gone.is_up() && crate::io::clock::now() - begun < PATIENCE {
            std::thread::yield_now();
        }

        assert!(!path.is_up(), "an operator is told");
        for call in [CallId(2), CallId(3), CallId(4)] {
            assert!(open(&path, call));
            assert!(matches!(events.recv_timeout(PATIENCE), Ok((opened, MediaEvent::Opened { .. })) if opened == call));
        }
        drop(path);
        assert!(events.recv().is_err(), "all threads have ended");
    }
}
