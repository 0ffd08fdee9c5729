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

/// Changes of the file within this time after the first one are taken for one: editors write in several steps.
const SETTLE: Duration = Duration::from_millis(300);

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
        let settings = config::load_file(&self.config).map_err(Failure::Settings)?;
        let log = observe::init_log(&log_settings(&settings.log)).map_err(|error| Failure::Run(error.to_string()))?;
        // The only strong reference. It is dropped last here, which writes the last lines.
        let log = Arc::new(log);
        let folder = self.config.parent().map_or_else(PathBuf::new, Path::to_owned);
        let (orders, incoming) = bounded(64);
        // Held until the end: dropping it ends the watch.
        let _watch = watch(&self.config, &orders);
        signals(&orders).map_err(|error| Failure::Run(format!("signals: {error}")))?;
        let start = Start { settings, file: Some(self.config.clone()), folder: &folder, log: Arc::downgrade(&log) };
        let app = App::start(start).map_err(|error| match error {
            StartError::Settings(text) => Failure::Settings(text),
            StartError::Run(text) => Failure::Run(text),
        })?;
        let admin = app.admin_address().map_or_else(|| "none".to_owned(), |address| address.to_string());
        for hop in app.addresses() {
            tracing::info!(address = %hop.address, transport = hop.transport.label(), %admin, "Ringfence is up");
        }
        let hand_over = serve(&app, &incoming);
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

/// Runs until the order to stop. True: the next process is to go on with the calls.
fn serve(app: &App, incoming: &Receiver<Order>) -> bool {
    let mut next = None;
    loop {
        let order = next.take().map_or_else(|| incoming.recv_timeout(Duration::from_secs(1)), Ok);
        match order {
            Ok(Order::Reload(door)) => {
                next = settle(incoming, SETTLE);
                if next.is_none() {
                    tracing::info!(door, "Reading the settings file again");
                    let _ = app.reload();
                }
            }
            Ok(Order::Stop(signal)) => {
                tracing::info!(signal, "Told to stop");
                return false;
            }
            Ok(Order::HandOver) => return true,
            Err(RecvTimeoutError::Timeout) => {}
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

/// Orders a reload whenever the file changes. The folder is watched, because editors and configuration tools replace
/// the file.
fn watch(file: &Path, orders: &Sender<Order>) -> Option<notify::RecommendedWatcher> {
    use notify::Watcher as _;
    let file = file.canonicalize().ok()?;
    let (name, folder) = (file.file_name()?.to_owned(), file.parent()?.to_owned());
    let orders = orders.clone();
    let changed = move |event: notify::Result<notify::Event>| {
        let Ok(event) = event else { return };
        let touches = event.kind.is_modify() || event.kind.is_create() || event.kind.is_remove();
        if touches && event.paths.iter().any(|path| path.file_name() == Some(&name)) {
            // Full: a reload is due anyway.
            let _ = orders.try_send(Order::Reload("file"));
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
    use super::*;

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
