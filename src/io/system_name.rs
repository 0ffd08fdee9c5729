//! A name that the system is asked for again and again, the PBX's or our own outside: a container that is started anew,
//! or a line that is dialled up anew, has another address.
//!
//! In: a name and a port. Out: its addresses at the last answer. The system is asked and not the DNS, as the name may
//! stand in its hosts file; it does not say how long an answer holds, and may take seconds, so a thread of its own
//! asks.

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use crate::io::threads::StandBack;

/// Between one answer and the next question.
const AGAIN: Duration = Duration::from_secs(20);

#[derive(Default)]
struct Known {
    /// Host and port.
    name: Option<(String, u16)>,
    /// Empty: not known yet, or not any more of use.
    addresses: Vec<SocketAddr>,
}

/// The thread that asks. It ends when this is dropped.
pub struct SystemName {
    known: Arc<Mutex<Known>>,
    wake: Sender<()>,
}

impl SystemName {
    /// Starts it, with nothing to do. The thread and the log call the name `what`.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(what: &'static str) -> std::io::Result<Self> {
        Self::with(what, AGAIN, |name| name.to_socket_addrs().map(Iterator::collect))
    }

    fn with<F>(what: &'static str, again: Duration, ask: F) -> std::io::Result<Self>
    where
        F: Fn(&(String, u16)) -> std::io::Result<Vec<SocketAddr>> + Send + 'static,
    {
        let (wake, woken) = crossbeam_channel::bounded(1);
        let known = Arc::new(Mutex::new(Known::default()));
        let shared = Arc::clone(&known);
        std::thread::Builder::new().name(what.to_owned()).spawn(move || {
            StandBack::Records.apply();
            run(what, &shared, &woken, again, &ask);
        })?;
        Ok(Self { known, wake })
    }

    /// Asks for this host and port from now on, instead of what was asked for. None: for nothing.
    pub fn follow(&self, name: Option<(String, u16)>) {
        let mut known = lock(&self.known);
        if known.name == name {
            return;
        }
        *known = Known { name, addresses: Vec::new() };
        // Full: it is about to look anyway.
        let _ = self.wake.try_send(());
    }

    /// Its addresses when it was asked last and had some; none before the first answer, and behind
    /// [`forget`](Self::forget).
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        lock(&self.known).addresses.clone()
    }

    /// The last answer cannot be used: nothing is known until the next one.
    pub fn forget(&self) {
        lock(&self.known).addresses.clear();
    }
}

fn lock(known: &Mutex<Known>) -> MutexGuard<'_, Known> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

fn run<F>(what: &str, known: &Mutex<Known>, woken: &Receiver<()>, again: Duration, ask: &F)
where
    F: Fn(&(String, u16)) -> std::io::Result<Vec<SocketAddr>>,
{
    let mut failing = false;
    loop {
        let name = lock(known).name.clone();
        if let Some(name) = &name {
            let answer = ask(name);
            let failed = answer.is_err();
            match answer {
                Ok(addresses) if addresses.is_empty() => {}
                Ok(addresses) => {
                    let mut known = lock(known);
                    // Another one may have been asked for meanwhile.
                    if known.name.as_ref() == Some(name) {
                        known.addresses = addresses;
                    }
                }
                // Once at the beginning of an outage.
                Err(error) if !failing => {
                    tracing::warn!(what, name = name.0, %error, "A name cannot be resolved; the last address stays");
                }
                Err(_) => {}
            }
            failing = failed;
        }
        let waited = match name {
            Some(_) => woken.recv_timeout(again),
            None => woken.recv().map_err(RecvTimeoutError::from),
        };
        if waited == Err(RecvTimeoutError::Disconnected) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn name(host: &str) -> Option<(String, u16)> {
        Some((host.to_owned(), 5060))
    }

    /// The answers go through a channel: each is given once the test has it ready, so nothing here waits for a clock.
    #[test]
    fn the_last_good_answer_of_the_name_that_is_wanted_stays() {
        let (questions, asked) = crossbeam_channel::bounded::<String>(0);
        let (answer, answers) = crossbeam_channel::bounded::<std::io::Result<Vec<SocketAddr>>>(0);
        let ask = move |name: &(String, u16)| {
            questions.send(name.0.clone()).map_err(std::io::Error::other)?;
            answers.recv().map_err(std::io::Error::other)?
        };
        let pbx = SystemName::with("pbx name", Duration::ZERO, ask).unwrap();
        let [first, second]: [SocketAddr; 2] = ["192.0.2.1:5060", "192.0.2.2:5060"].map(|text| text.parse().unwrap());

        pbx.follow(name("pbx"));
        assert_eq!(asked.recv().unwrap(), "pbx");
        answer.send(Ok(vec![first])).unwrap();
        // The next question comes behind the last answer.
        assert_eq!((asked.recv().unwrap().as_str(), pbx.addresses()), ("pbx", vec![first]));
        answer.send(Err(std::io::ErrorKind::TimedOut.into())).unwrap();
        assert_eq!((asked.recv().unwrap().as_str(), pbx.addresses()), ("pbx", vec![first]));
        answer.send(Ok(Vec::new())).unwrap();
        assert_eq!((asked.recv().unwrap().as_str(), pbx.addresses()), ("pbx", vec![first]));

        // An answer to a question of before.
        pbx.follow(name("other"));
        answer.send(Ok(vec![second])).unwrap();
        assert_eq!((asked.recv().unwrap().as_str(), pbx.addresses()), ("other", vec![]));
        answer.send(Ok(vec![second, first])).unwrap();
        assert_eq!((asked.recv().unwrap().as_str(), pbx.addresses()), ("other", vec![second, first]));

        pbx.forget();
        assert_eq!(pbx.addresses(), []);
        answer.send(Ok(vec![first])).unwrap();
        assert_eq!((asked.recv().unwrap().as_str(), pbx.addresses()), ("other", vec![first]));
        drop(pbx);
        answer.send(Ok(vec![second])).unwrap();
        assert!(asked.recv().is_err(), "the thread has ended");
    }

    #[test]
    fn the_system_knows_this_machine() {
        let pbx = SystemName::start("pbx name").unwrap();
        pbx.follow(name("localhost"));
        let deadline = crate::io::clock::now() + Duration::from_secs(20);
        while pbx.addresses().is_empty() && crate::io::clock::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(pbx.addresses().iter().all(|address| address.ip().is_loopback() && address.port() == 5060));
        assert!(!pbx.addresses().is_empty());
    }
}
