//! Which threads go first where processors are short: calls and the ear, then words, then what is written down. And how
//! the process takes its memory.
//!
//! Linux weighs each thread by its own nice value (setpriority(2)). A thread that stands back gives up the processor as
//! soon as signalling or media have something to do, and still gets a share of a busy one.

use std::sync::Arc;

use rustix::process::{getpriority_process, setpriority_process};
use rustix::thread::{disable_transparent_huge_pages, gettid};

/// Has a thread look at what waits for it; returns at once.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// How far a thread stands back. Threads that carry calls do not, and neither does the ear: two steps back, it heard
/// twenty calls at once most of a second late, and scams were taken away that much later.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StandBack {
    /// Records, logs, lists and answers to operators: nothing in a call waits for them.
    Records,
    /// The speech model, which takes all that it is given.
    Words,
}

impl StandBack {
    /// Steps of the nice value; each takes a fifth of the share of the processor that is left.
    fn steps(self) -> i32 {
        match self {
            Self::Words => 3,
            Self::Records => 5,
        }
    }

    /// The calling thread stands back from now on.
    pub fn apply(self) {
        let thread = Some(gettid());
        let nice = getpriority_process(thread).unwrap_or_default();
        // Refused: it goes on with the others, as it would without this.
        let _ = setpriority_process(thread, nice + self.steps());
    }
}

/// From now on the process gets its memory in small pages. Otherwise the kernel may give two megabytes where a call
/// needs a few kilobytes, which is a quarter of what calls hold. The speech model is a few percent faster with large
/// pages, so that this is for a process without it.
pub fn take_small_pages() {
    // Refused, or not known to this kernel: as it would be without this.
    let _ = disable_transparent_huge_pages(true);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn only_the_thread_that_asks_stands_back() {
        let nice = || getpriority_process(Some(gettid())).unwrap();
        let before = nice();
        let words = std::thread::spawn(move || {
            StandBack::Words.apply();
            nice()
        });

        assert_eq!(words.join().unwrap(), (before + StandBack::Words.steps()).min(19));
        assert_eq!(nice(), before);
    }
}
