//! Waiting for many sockets at once.
//!
//! Level-triggered: a socket that still holds something is named again by the next wait, so that reading one datagram
//! costs one system call and no second one to learn that there is no more. (`mio` watches for edges, where that second
//! call is the price.)

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};

/// Events taken by one wait.
const MOST: usize = 1_024;

/// Name of the waker; no socket has it.
pub(super) const WAKE: u64 = u64::MAX;

/// Sockets that are watched for something to read.
pub(super) struct Poll {
    epoll: OwnedFd,
    waker: Waker,
}

/// What a wait found. Stays on the thread that waits.
pub(super) struct Ready(Vec<epoll::Event>);

impl Ready {
    pub(super) fn new() -> Self {
        Self(Vec::with_capacity(MOST))
    }

    /// How many sockets.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Their names.
    pub(super) fn names(&self) -> impl Iterator<Item = u64> {
        self.0.iter().map(|event| event.data.u64())
    }
}

impl Poll {
    pub(super) fn new() -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        epoll::add(&epoll, &event, EventData::new_u64(WAKE), EventFlags::IN)?;
        Ok(Self { epoll, waker: Waker { event: Arc::new(event) } })
    }

    /// Ends a wait from another thread.
    pub(super) fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// Watches a socket under a name.
    pub(super) fn add(&self, socket: impl AsFd, name: u64) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, socket, EventData::new_u64(name), EventFlags::IN)?)
    }

    /// Watches it no longer.
    pub(super) fn remove(&self, socket: impl AsFd) {
        // One that was not watched is not watched.
        let _ = epoll::delete(&self.epoll, socket);
    }

    /// Waits until something can be read.
    pub(super) fn wait(&self, ready: &mut Ready, timeout: Duration) -> io::Result<()> {
        ready.0.clear();
        let timeout = Timespec::try_from(timeout).unwrap_or(Timespec { tv_sec: 1, tv_nsec: 0 });
        match epoll::wait(&self.epoll, spare_capacity(&mut ready.0), Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Ends a wait.
#[derive(Clone)]
pub(super) struct Waker {
    event: Arc<OwnedFd>,
}

impl Waker {
    /// Ends the wait that is on, or else the next.
    pub(super) fn wake(&self) -> io::Result<()> {
        match rustix::io::write(&self.event, &1u64.to_ne_bytes()) {
            // Full: it has been woken 2^64 times and more.
            Ok(_) | Err(rustix::io::Errno::AGAIN) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The wake has been seen.
    pub(super) fn clear(&self) {
        // Nothing to read: nobody has woken since.
        let _ = rustix::io::read(&self.event, &mut [0; 8]);
    }
}
