//! `ringfence run`: the firewall, until it is told to stop.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::Failure;
use crate::app::{self, App, Start, StartError, log_settings};
use crate::config;
use crate::io::clock;
use crate::observe;

/// Orders within this time after the first one are taken for one: editors write in several steps.
const SETTLE: Duration = Duration::from_millis(300);

/// Between two questions for a PBX's name that is not known at the start.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// Looks, one a second, for which a file is waited for that is being written or has become empty.
const MOST_LOOKS: u32 = 10;

#[derive(Args)]
pub(crate) struct Run {
    /// The settings file; it is read again whenever it changes
    #[arg(short, long, value_name = "FILE", default_value = "/etc/ringfence/ringfence.toml")]
    pub(crate) config: PathBuf,
}

/// What the operator wants of the running firewall.
#[derive(Debug, Eq, PartialEq)]
enum Order {
    /// Read the settings file again; names the door that the order came through.
    Reload(&'static str),
    /// Drain and end; names the signal.
    Stop(&'static str),
    /// End, and leave the calls to the next process.
    HandOver,
}

impl Run {
    pub(crate) fn run(self) -> Result<(), Failure> {
        // Before they are read: what changes meanwhile is seen.
        let mut watch = Watch::of(&self.config);
        let settings = app::load_to_start(&self.config).map_err(|problem| {
            // Whoever tries the program for the first time has none.
            let hint = "\n  --config FILE names the settings file; `ringfence --help` tells what works without one";
            Failure::Settings(if self.config.exists() { problem } else { problem + hint })
        })?;
        let log = observe::init_log(&log_settings(&settings.log)).map_err(|error| Failure::Run(error.to_string()))?;
        // The only strong reference. It is dropped last here, which writes the last lines.
        let log = Arc::new(log);
        let folder = self.config.parent().map_or_else(PathBuf::new, Path::to_owned);
        let (orders, incoming) = bounded(64);
        signals(&orders).map_err(|error| Failure::Run(format!("signals: {error}")))?;
        let mut settings = settings;
        let app = loop {
            let log = Arc::downgrade(&log);
            let start = Start { settings: settings.clone(), file: Some(self.config.clone()), folder: &folder, log };
            match App::start(start) {
                Ok(app) => break app,
                Err(StartError::Settings(text)) => return Err(Failure::Settings(text)),
                Err(StartError::Run(text)) => return Err(Failure::Run(text)),
                // After a power cut the name service may come later than we do, with nobody there to start us again.
                Err(StartError::NoPbx(problem)) => {
                    tracing::error!(%problem, again_in_s = ASK_AGAIN.as_secs(), "Waiting for the PBX's address");
                    if stops_within(&incoming, ASK_AGAIN) {
                        return Ok(());
                    }
                }
            }
            watch.look();
            match app::load_to_start(&self.config) {
                Ok(read) => settings = read,
                // Its problems would show numbers in full.
                Err(_) => tracing::error!("Settings refused; the old ones stay; `ringfence check` shows what is wrong"),
            }
        };
        let admin = app.admin_address().map_or_else(|| "none".to_owned(), |address| address.to_string());
        for hop in app.addresses() {
            tracing::info!(address = %hop.address, transport = hop.transport.label(), %admin, "Ringfence is up");
        }
        let hand_over = serve(&app, &incoming, &mut watch);
        let (hurry, hurried) = bounded(1);
        // Not joined, nor is `signals`: both wait for a signal, and end with the process.
        std::thread::spawn(move || {
            while let Ok(order) = incoming.recv() {
                if let Order::Stop(_) | Order::HandOver = order {
                    let _ = hurry.try_send(());
                }
            }
        });
        if hand_over {
            app.hand_over(&hurried);
        } else {
            app.stop(&hurried);
        }
        Ok(())
    }
}

/// Waits for so long, or until an order comes. True: it is one to end.
fn stops_within(incoming: &Receiver<Order>, span: Duration) -> bool {
    matches!(incoming.recv_timeout(span), Ok(Order::Stop(_) | Order::HandOver))
}

/// Runs until the order to stop. True: the next process is to go on with the calls.
fn serve(app: &App, incoming: &Receiver<Order>, watch: &mut Watch) -> bool {
    let mut next = None;
    loop {
        let order = next.take().map_or_else(|| incoming.recv_timeout(Duration::from_secs(1)), Ok);
        match order {
            Ok(Order::Reload(door)) => {
                next = settle(incoming, SETTLE);
                if next.is_none() {
                    watch.look();
                    tracing::info!(door, "Reading the settings file again");
                    let _ = app.reload();
                }
            }
            Ok(Order::Stop(signal)) => {
                tracing::info!(signal, "Told to stop");
                return false;
            }
            Ok(Order::HandOver) => match app.next_start() {
                Ok(()) => return true,
                Err(problems) => {
                    tracing::error!("Not handing over: the next process would refuse the settings; this one goes on");
                    for problem in problems {
                        tracing::error!(%problem, "The next process would refuse the settings");
                    }
                }
            },
            Err(RecvTimeoutError::Timeout) => next = watch.has_changed().then_some(Order::Reload("file")),
            Err(RecvTimeoutError::Disconnected) => return false,
        }
        app.tick();
    }
}

/// Takes all reloads that come within `span` for one. Another order ends the wait, and is returned.
fn settle(incoming: &Receiver<Order>, span: Duration) -> Option<Order> {
    let until = clock::now() + span;
    loop {
        match incoming.recv_deadline(until) {
            Ok(Order::Reload(_)) => {}
            Ok(other @ (Order::Stop(_) | Order::HandOver)) => return Some(other),
            Err(_) => return None,
        }
    }
}

/// The settings file and the lists of numbers that it names, as they were when they were last read. They are looked at
/// once a second: the system's own watch is one of a folder, and sees no change of a link, nor of a folder above, nor
/// what another machine writes.
struct Watch {
    /// The settings file first.
    files: Vec<(PathBuf, Option<Mark>)>,
    /// What the last look found, where that was another state, and how many looks did so in a row.
    changing: Option<(Vec<Option<Mark>>, u32)>,
}

/// By what a file is told from another, or from itself before a change. Links are followed.
#[derive(Debug, Eq, PartialEq)]
struct Mark {
    device: u64,
    inode: u64,
    length: u64,
    /// Of its content, and of anything about it: seconds and nanoseconds.
    changed: [(i64, i64); 2],
}

impl Mark {
    /// None: nothing can be read there.
    fn of(path: &Path) -> Option<Self> {
        use std::os::unix::fs::MetadataExt as _;
        let found = std::fs::metadata(path).ok()?;
        let changed = [(found.mtime(), found.mtime_nsec()), (found.ctime(), found.ctime_nsec())];
        Some(Self { device: found.dev(), inode: found.ino(), length: found.len(), changed })
    }
}

impl Watch {
    fn of(file: &Path) -> Self {
        let mut watch = Self { files: vec![(file.to_owned(), None)], changing: None };
        watch.look();
        watch
    }

    /// Takes the files as they are now for known; to be done before they are read.
    fn look(&mut self) {
        self.changing = None;
        let Some((file, mark)) = self.files.first_mut() else { return };
        *mark = Mark::of(file);
        let folder = file.parent().map_or_else(PathBuf::new, Path::to_owned);
        // A file with a mistake names none, and may be about to be mended.
        if let Some(lists) = config::text_of(file).ok().and_then(|text| config::lists_in(&text)) {
            self.files.truncate(1);
            self.files.extend(lists.iter().map(|list| (folder.join(list), None)));
        }
        for (list, mark) in self.files.iter_mut().skip(1) {
            *mark = Mark::of(list);
        }
    }

    /// True where something has changed and the last look found the same: whoever writes has finished. One who never
    /// does is read all the same, now and then. So is a file that is emptied, if it stays so: a shell empties a list
    /// before the program that is to fill it has even begun.
    fn has_changed(&mut self) -> bool {
        let found: Vec<Option<Mark>> = self.files.iter().map(|(file, _)| Mark::of(file)).collect();
        if found.iter().eq(self.files.iter().map(|(_, mark)| mark)) {
            self.changing = None;
            return false;
        }
        let (before, looks) = self.changing.take().unwrap_or_default();
        let holds = |mark: &Option<Mark>| mark.as_ref().map(|mark| mark.length > 0);
        let mut known = self.files.iter().map(|(_, mark)| mark).zip(&found);
        let emptied = known.any(|(known, found)| (holds(known), holds(found)) == (Some(true), Some(false)));
        let reads = before == found && !emptied || looks >= MOST_LOOKS;
        self.changing = (!reads).then_some((found, looks + 1));
        reads
    }
}

/// Turns signals into orders, on a thread of its own.
fn signals(orders: &Sender<Order>) -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut hangup, mut terminate, mut interrupt, mut hand_over) = {
        let _inside = runtime.enter();
        (
            signal(SignalKind::hangup())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
            signal(SignalKind::user_defined2())?,
        )
    };
    let orders = orders.clone();
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        runtime.block_on(async move {
            loop {
                let order = tokio::select! {
                    _ = hangup.recv() => Order::Reload("SIGHUP"),
                    _ = terminate.recv() => Order::Stop("SIGTERM"),
                    _ = hand_over.recv() => Order::HandOver,
                    _ = interrupt.recv() => Order::Stop("SIGINT"),
                };
                if orders.send(order).is_err() {
                    return;
                }
            }
        });
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn every_way_to_change_a_file_is_seen_and_seen_once() {
        use std::fs::{create_dir, remove_file, rename, write};
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let text = "[numbers]\nallow_file = \"allow.txt\"\nblock_file = \"block.txt\"\n";
        for (number, name) in ["one", "two", "..2"].into_iter().enumerate() {
            create_dir(at(name)).unwrap();
            write(at(name).join("r.toml"), format!("{text}# {number}")).unwrap();
        }
        write(at("allow.txt"), "").unwrap();
        symlink("one", at("..data")).unwrap();
        symlink("..data/r.toml", at("r.toml")).unwrap();
        let mut watch = Watch::of(&at("r.toml"));
        assert!(!watch.has_changed());
        let mut seen = |what: &str, change: &dyn Fn()| {
            change();
            assert!(!watch.has_changed(), "{what}: perhaps not whole yet");
            assert!(watch.has_changed(), "{what}");
            watch.look();
            assert!(!watch.has_changed(), "{what}");
        };

        seen("the folder behind the link", &|| {
            symlink("two", at("new")).unwrap();
            rename(at("new"), at("..data")).unwrap();
        });
        seen("the link itself", &|| {
            symlink("..2/r.toml", at("new")).unwrap();
            rename(at("new"), at("r.toml")).unwrap();
        });
        seen("a file for the link", &|| {
            write(at("new"), text).unwrap();
            rename(at("new"), at("r.toml")).unwrap();
        });
        seen("a list that grows", &|| write(at("allow.txt"), "+441632960001").unwrap());
        seen("a list that was missing", &|| write(at("block.txt"), "").unwrap());
        seen("a mistake", &|| write(at("r.toml"), "[numbers").unwrap());
        seen("a list while there is a mistake", &|| write(at("allow.txt"), "+441632960002").unwrap());
        seen("a link for the file", &|| {
            remove_file(at("r.toml")).unwrap();
            symlink("one/r.toml", at("r.toml")).unwrap();
        });
        seen("nothing", &|| remove_file(at("r.toml")).unwrap());
        let mut grown = 0;
        let growing = || {
            grown += 1;
            write(at("r.toml"), "#".repeat(grown)).unwrap();
            watch.has_changed()
        };
        assert!(std::iter::repeat_with(growing).take(12).any(|reads| reads), "one who never stops is read too");
        assert!(grown > 10, "{grown}");
    }

    #[test]
    fn a_list_that_its_writer_has_emptied_first_is_not_read_empty() {
        use std::fs::write;
        let folder = tempfile::tempdir().unwrap();
        let (file, list) = (folder.path().join("r.toml"), folder.path().join("block.txt"));
        write(&file, "[numbers]\nblock_file = \"block.txt\"\n").unwrap();
        write(&list, "+441632960001\n").unwrap();
        let mut watch = Watch::of(&file);

        write(&list, "").unwrap();
        assert!((0..5).all(|_| !watch.has_changed()), "a query may take seconds before it says anything");
        write(&list, "+441632960002\n").unwrap();
        assert!(!watch.has_changed() && watch.has_changed(), "it is whole");
        watch.look();

        // One that stays empty is meant to be.
        write(&list, "").unwrap();
        assert!((0..MOST_LOOKS).all(|_| !watch.has_changed()) && watch.has_changed());
        watch.look();
        assert!(!watch.has_changed());
    }

    #[test]
    fn who_has_no_settings_hears_how_to_name_them() {
        let folder = tempfile::tempdir().unwrap();

        let failure = Run { config: folder.path().join("gone.toml") }.run().unwrap_err();

        let text = failure.text();
        assert!(text.contains("--config FILE") && text.contains("`ringfence --help`"), "{text}");
    }

    #[test]
    fn reloads_are_taken_together_and_an_order_to_stop_among_them_is_not_lost() {
        for last in [Order::Stop("SIGTERM"), Order::HandOver] {
            let expected = if last == Order::HandOver { Order::HandOver } else { Order::Stop("SIGTERM") };
            let (orders, incoming) = bounded(64);
            for order in [Order::Reload("file"), Order::Reload("SIGHUP"), last, Order::Reload("file")] {
                assert!(orders.send(order).is_ok());
            }

            assert_eq!(settle(&incoming, Duration::from_secs(60)), Some(expected));
            assert_eq!(settle(&incoming, Duration::ZERO), None);
            assert!(incoming.is_empty());
        }
    }
}
