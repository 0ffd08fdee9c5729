//! Names of trunks into hosts: NAPTR, SRV, A and AAAA (RFC 3263 §4), on a thread of its own, never while a call waits.
//!
//! In: which names, over which transports. Out: for each the hosts behind it, whenever they change. The last good
//! answer stays when the DNS is slow, gone, or suddenly knows nothing; what cannot be a host of a trunk is not taken
//! from it.
//!
//! Invariant: each name is asked for once at a time. How one is asked for is in `lookup`.

mod lookup;

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::{Id, JoinSet};

pub use self::lookup::may_be_a_peer;
use self::lookup::{Answer, MAX_TARGETS, Resolved, ask, servers};
use crate::io::clock;
use crate::io::threads::StandBack;
use crate::sip::flow::Transport;
use crate::trunk::Target;

/// First pause behind a failure.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// It doubles up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// The same where nothing is known of a name: what it stands for cannot be reached at all.
const LONGEST_UNKNOWN: Duration = Duration::from_secs(30);

/// `[dns]`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// Whom to ask; empty: whom the system asks.
    pub servers: Vec<SocketAddr>,
    /// An answer is kept for no less, whatever it says.
    pub keep_at_least: Duration,
    /// An answer is kept for no longer, whatever it says.
    pub keep_at_most: Duration,
    /// Longest wait for one server.
    pub timeout: Duration,
    /// What no answer may say: our own addresses and the PBX's.
    pub never: Vec<SocketAddr>,
}

/// A name to be kept resolved.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Question {
    /// The name.
    pub host: String,
    /// Where it was stated: neither NAPTR nor SRV is asked (RFC 3263 §4.2).
    pub port: Option<u16>,
    /// None: NAPTR says which.
    pub transport: Option<Transport>,
    /// Transports and families (true: IPv4) that we can use, in order of preference.
    pub usable: Vec<(Transport, bool)>,
}

impl Question {
    fn can(&self, transport: Transport) -> bool {
        self.transport.is_none_or(|wanted| wanted == transport) && self.usable.iter().any(|(one, _)| *one == transport)
    }

    /// The transport where the DNS names none.
    fn transport(&self) -> Transport {
        self.transport.or_else(|| self.usable.first().map(|(one, _)| *one)).unwrap_or(Transport::Udp)
    }
}

/// What is known of all names.
pub type Answers = HashMap<Question, Vec<Target>>;

#[derive(Default)]
struct Known {
    answers: Answers,
    /// Names that have been asked for at least once, answered or not.
    asked: HashSet<Question>,
    /// Counts up with each change of `answers`.
    changes: u64,
}

/// The running resolver. Dropping it stops it.
pub struct Names {
    known: Arc<Mutex<Known>>,
    orders: mpsc::Sender<(Settings, Vec<Question>)>,
    _thread: JoinHandle<()>,
}

impl Names {
    /// Starts it, with nothing to do.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start() -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (orders, inbox) = mpsc::channel(8);
        let known = Arc::new(Mutex::new(Known::default()));
        let shared = Arc::clone(&known);
        let thread = std::thread::Builder::new().name("names".to_owned()).spawn(move || {
            StandBack::Records.apply();
            runtime.block_on(run(inbox, &shared));
        })?;
        Ok(Self { known, orders, _thread: thread })
    }

    /// Keeps these names resolved from now on, and waits until each has been asked for, at most `patience`.
    pub fn set(&self, settings: Settings, questions: Vec<Question>, patience: Duration) {
        let wanted = questions.clone();
        if questions.is_empty() && self.lock().asked.is_empty() {
            return;
        }
        if self.orders.try_send((settings, questions)).is_err() {
            tracing::error!("The resolver takes no orders; names stay as they are");
            return;
        }
        let deadline = clock::now() + patience;
        while !wanted.iter().all(|question| self.lock().asked.contains(question)) && clock::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// What is known, and how often that has changed.
    #[must_use]
    pub fn answers(&self) -> (Answers, u64) {
        let known = self.lock();
        (known.answers.clone(), known.changes)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When a name is asked for next, and how often in a row that has failed.
struct Entry {
    due: Instant,
    failures: u32,
}

impl Entry {
    /// There was no answer, or not a whole one.
    fn fails(&mut self, settings: &Settings, name: &str, error: &str, kept: bool) {
        let longest = if kept { LONGEST_PAUSE } else { LONGEST_UNKNOWN };
        let pause = FIRST_PAUSE.saturating_mul(1 << self.failures.min(10)).min(longest);
        self.due = clock::now() + pause.min(settings.keep_at_most);
        // Once at the beginning of an outage; its end is seen in the answer.
        if self.failures == 0 {
            tracing::warn!(%name, error, kept, "A name cannot be resolved; the last answer stays");
        }
        self.failures = self.failures.saturating_add(1);
    }
}

/// What the thread knows.
struct Resolving<'a> {
    known: &'a Mutex<Known>,
    /// None: nothing has been ordered.
    settings: Option<Settings>,
    entries: HashMap<Question, Entry>,
    asking: JoinSet<Resolved>,
    under_way: HashMap<Id, Question>,
}

async fn run(mut inbox: mpsc::Receiver<(Settings, Vec<Question>)>, known: &Mutex<Known>) {
    let mut resolving =
        Resolving { known, settings: None, entries: HashMap::new(), asking: JoinSet::new(), under_way: HashMap::new() };
    loop {
        resolving.ask_what_is_due();
        let pause = resolving.pause();
        tokio::select! {
            order = inbox.recv() => {
                let Some((settings, questions)) = order else { return };
                resolving.obey(settings, questions);
            }
            Some(done) = resolving.asking.join_next_with_id(), if !resolving.asking.is_empty() => {
                // A panic in a look-up is no answer, and the name is asked for again.
                let (task, resolved) =
                    done.unwrap_or_else(|error| (error.id(), Err("the look-up met a fault of ours".to_owned())));
                if let Some(question) = resolving.under_way.remove(&task) {
                    resolving.take(question, resolved);
                }
            }
            () = tokio::time::sleep(pause) => {}
        }
    }
}

impl Resolving<'_> {
    fn is_asked(&self, question: &Question) -> bool {
        self.under_way.values().any(|asked| asked == question)
    }

    fn ask_what_is_due(&mut self) {
        let now = clock::now();
        let due = self.entries.iter().filter(|(question, entry)| entry.due <= now && !self.is_asked(question));
        let due: Vec<Question> = due.map(|(question, _)| question.clone()).collect();
        let Some(settings) = self.settings.clone().filter(|_| !due.is_empty()) else { return };
        let servers = servers(&settings);
        for question in due {
            match &servers {
                Ok(servers) => {
                    let task = self.asking.spawn(ask(servers.clone(), question.clone(), settings.clone()));
                    self.under_way.insert(task.id(), question);
                }
                Err(error) => self.take(question, Err(error.clone())),
            }
        }
    }

    /// Until something is due.
    fn pause(&self) -> Duration {
        let waiting = self.entries.iter().filter(|(question, _)| !self.is_asked(question));
        let next = waiting.map(|(_, entry)| entry.due).min();
        next.map_or(Duration::from_secs(3_600), |at| at.saturating_duration_since(clock::now()))
    }

    /// These names are to be kept from now on, by these settings.
    fn obey(&mut self, settings: Settings, questions: Vec<Question>) {
        let keep: HashSet<Question> = questions.into_iter().collect();
        let all_anew = self.settings.as_ref().is_some_and(|old| *old != settings);
        self.settings = Some(settings);
        if all_anew {
            // What was asked by the settings before is nobody's answer any more.
            self.asking.abort_all();
            self.under_way.clear();
        }
        self.entries.retain(|question, _| keep.contains(question) && !all_anew);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.asked.retain(|question| keep.contains(question) && !all_anew);
        known.answers.retain(|question, _| keep.contains(question));
        for question in keep {
            self.entries.entry(question).or_insert_with(|| Entry { due: clock::now(), failures: 0 });
        }
    }

    /// One answer, or none.
    fn take(&mut self, question: Question, resolved: Resolved) {
        let (Some(entry), Some(settings)) = (self.entries.get_mut(&question), &self.settings) else { return };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.asked.insert(question.clone());
        match resolved {
            Ok(Answer { mut targets, ttl, lacks }) => {
                let kept_until = clock::now() + ttl.clamp(settings.keep_at_least, settings.keep_at_most);
                match lacks {
                    None => {
                        entry.failures = 0;
                        entry.due = kept_until;
                    }
                    // A host that was known stays, as after no answer at all.
                    Some(lacks) => {
                        let before = known.answers.get(&question).into_iter().flatten();
                        let is_missing =
                            |old: &&Target| lacks.may_be(old) && targets.iter().all(|new| new.hop != old.hop);
                        let missing: Vec<Target> = before.filter(is_missing).cloned().collect();
                        targets.extend(missing);
                        targets.sort();
                        targets.truncate(MAX_TARGETS);
                        entry.fails(settings, &question.host, &lacks.why, true);
                        // Some servers never answer for one of both families: the other one is followed as it moves.
                        entry.due = entry.due.min(kept_until);
                    }
                }
                if known.answers.get(&question) != Some(&targets) {
                    let hosts: Vec<String> = targets.iter().map(|target| target.hop.to_string()).collect();
                    tracing::info!(name = %question.host, hosts = %hosts.join(", "), "Resolved");
                    known.answers.insert(question, targets);
                    known.changes += 1;
                }
            }
            Err(error) => {
                entry.fails(settings, &question.host, &error, known.answers.contains_key(&question));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_up_that_panics_is_one_without_an_answer() {
        let question =
            Question { host: "panic.test".into(), port: None, transport: None, usable: vec![(Transport::Udp, true)] };
        let settings = Settings {
            servers: vec![SocketAddr::from(([127, 0, 0, 1], 9))],
            timeout: Duration::from_secs(1),
            keep_at_least: Duration::from_secs(1),
            keep_at_most: Duration::from_secs(60),
            never: Vec::new(),
        };
        let Ok(names) = Names::start() else { panic!("the system gives no thread") };

        names.set(settings, vec![question.clone()], Duration::from_secs(10));

        assert!(names.lock().asked.contains(&question), "it is known to have failed, and its turn comes again");
        assert!(names.answers().0.is_empty());
    }

    #[test]
    fn a_name_of_which_nothing_is_known_is_asked_for_more_often() {
        let settings = Settings {
            servers: Vec::new(),
            timeout: Duration::from_secs(1),
            keep_at_least: Duration::from_secs(1),
            keep_at_most: Duration::from_secs(3_600),
            never: Vec::new(),
        };
        for (kept, pause) in [(false, 30), (true, 300)] {
            let mut entry = Entry { due: clock::now(), failures: 9 };
            entry.fails(&settings, "provider.test", "silence", kept);

            let pause = Duration::from_secs(pause);
            let waits = entry.due.saturating_duration_since(clock::now());
            assert!(waits <= pause && waits > pause / 2, "{waits:?}");
        }
    }
}
