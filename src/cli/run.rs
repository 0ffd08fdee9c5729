//! `ringfence run`: the firewall, until it is told to stop.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::{Failure, warn};
use crate::app::{App, Start, StartError, log_settings};
use crate::config;
use crate::io::clock;
use crate::observe;

/// After a change of the file, further changes within this belong to it: editors write in several steps.
const SETTLE: Duration = Duration::from_millis(300);

#[derive(Args)]
pub(crate) struct Run {
    /// The settings file; it is read again whenever it changes
    #[arg(short, long, value_name = "FILE", default_value = "/etc/ringfence/ringfence.toml")]
    pub(crate) config: PathBuf,
}

#[derive(Debug, Eq, PartialEq)]
enum Wish {
    Reload(&'static str),
    Stop(&'static str),
    HandOver,
}

impl Run {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let settings = config::load_file(&self.config).map_err(Failure::Settings)?;
        let log = observe::init_log(&log_settings(&settings.log)).map_err(|error| Failure::Run(error.to_string()))?;
        // The only one that stays: dropping it, behind everything else here, writes the last lines.
        let log = Arc::new(log);
        let folder = self.config.parent().map_or_else(PathBuf::new, Path::to_owned);
        let (wishes, wished) = bounded(64);
        // Held until the end: dropping it ends the watch.
        let _watch = watch(&self.config, &wishes);
        signals(&wishes).map_err(|error| Failure::Run(format!("signals: {error}")))?;
        let start = Start { settings, file: Some(self.config.clone()), folder: &folder, log: Arc::downgrade(&log) };
        let app = App::start(start).map_err(|error| match error {
            StartError::Settings(text) => Failure::Settings(text),
            StartError::Run(text) => Failure::Run(text),
        })?;
        let admin = app.admin_address().map_or_else(|| "none".to_owned(), |address| address.to_string());
        for hop in app.addresses() {
            tracing::info!(address = %hop.address, transport = hop.transport.label(), %admin, "Ringfence is up");
        }
        let hand_over = serve(&app, &wished);
        let (hurry, hurried) = bounded(1);
        // Not joined, nor is `signals`: both wait for a signal, and end with the process.
        std::thread::spawn(move || {
            while let Ok(wish) = wished.recv() {
                if let Wish::Stop(_) | Wish::HandOver = wish {
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

/// Until it is told to stop. True: the next process goes on with the calls.
fn serve(app: &App, wished: &Receiver<Wish>) -> bool {
    let mut next = None;
    loop {
        let wish = next.take().map_or_else(|| wished.recv_timeout(Duration::from_secs(1)), Ok);
        match wish {
            Ok(Wish::Reload(door)) => {
                next = settle(wished, SETTLE);
                if next.is_none() {
                    tracing::info!(door, "Reading the settings file again");
                    let _ = app.reload();
                }
            }
            Ok(Wish::Stop(signal)) => {
                tracing::info!(signal, "Told to stop");
                return false;
            }
            Ok(Wish::HandOver) => return true,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return false,
        }
        app.tick();
    }
}

/// Takes the reloads of this time for one. A wish that is none ends the wait, and is given back.
fn settle(wished: &Receiver<Wish>, span: Duration) -> Option<Wish> {
    let until = clock::now() + span;
    loop {
        match wished.recv_deadline(until) {
            Ok(Wish::Reload(_)) => {}
            Ok(other @ (Wish::Stop(_) | Wish::HandOver)) => return Some(other),
            Err(_) => return None,
        }
    }
}

/// Tells of changes of the file. Its folder is watched: editors and configuration tools replace the file.
fn watch(file: &Path, wishes: &Sender<Wish>) -> Option<notify::RecommendedWatcher> {
    use notify::Watcher as _;
    let file = file.canonicalize().ok()?;
    let (name, folder) = (file.file_name()?.to_owned(), file.parent()?.to_owned());
    let wishes = wishes.clone();
    let changed = move |event: notify::Result<notify::Event>| {
        let Ok(event) = event else { return };
        let touches = event.kind.is_modify() || event.kind.is_create() || event.kind.is_remove();
        if touches && event.paths.iter().any(|path| path.file_name() == Some(&name)) {
            // Full: a reload is due anyway.
            let _ = wishes.try_send(Wish::Reload("file"));
        }
    };
    let started = notify::recommended_watcher(changed).and_then(|mut watcher| {
        watcher.watch(&folder, notify::RecursiveMode::NonRecursive)?;
        Ok(watcher)
    });
    match started {
        Ok(watcher) => Some(watcher),
        Err(error) => {
            warn(&format!("the settings file is not watched ({error}); use `ringfence reload` after a change"));
            None
        }
    }
}

fn signals(wishes: &Sender<Wish>) -> std::io::Result<()> {
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
    let wishes = wishes.clone();
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        runtime.block_on(async move {
            loop {
                let wish = tokio::select! {
                    _ = hangup.recv() => Wish::Reload("SIGHUP"),
                    _ = terminate.recv() => Wish::Stop("SIGTERM"),
                    _ = hand_over.recv() => Wish::HandOver,
                    _ = interrupt.recv() => Wish::Stop("SIGINT"),
                };
                if wishes.send(wish).is_err() {
                    return;
                }
            }
        });
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reloads_are_taken_together_and_an_order_to_stop_among_them_is_not_lost() {
        for last in [Wish::Stop("SIGTERM"), Wish::HandOver] {
            let expected = if last == Wish::HandOver { Wish::HandOver } else { Wish::Stop("SIGTERM") };
            let (wishes, wished) = bounded(64);
            for wish in [Wish::Reload("file"), Wish::Reload("SIGHUP"), last, Wish::Reload("file")] {
                assert!(wishes.send(wish).is_ok());
            }

            assert_eq!(settle(&wished, Duration::from_secs(60)), Some(expected));
            assert_eq!(settle(&wished, Duration::ZERO), None);
            assert!(wished.is_empty());
        }
    }
}
