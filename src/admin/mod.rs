//! DRIVER: the HTTP API, on a loopback address.
//!
//! In: requests. Out: JSON, and the metrics page. It has a thread and a small runtime of its own and holds nothing that
//! a call needs: nobody on the telephone notices if it is slow or dead.
//!
//! There are no passwords: who can reach the loopback address is on this machine. A web page in a browser there can
//! reach it too, so requests must name a loopback host (DNS rebinding) and may not come from another site's page.

mod connections;
mod routes;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use self::connections::Connections;
use crate::io::threads::StandBack;
use crate::observe::Observer;
use crate::units::CallId;

/// What came of an order.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// It is done.
    Done,
    /// It cannot be, or may not.
    Refused,
    /// The shard takes no orders.
    NotTaken,
    /// It is not known yet.
    Late,
}

/// What the API may ask of the rest of the process.
pub struct Doors {
    /// Calls and metrics.
    pub observer: Observer,
    /// The records' file.
    pub store: PathBuf,
    /// Reads the settings file again.
    pub reload: Box<dyn Fn() -> serde_json::Value + Send + Sync>,
    /// Whether calls are carried, and the state of all parts.
    pub health: Box<dyn Fn() -> (bool, serde_json::Value) + Send + Sync>,
    /// Ends a call.
    pub hang_up: Box<dyn Fn(CallId) -> bool + Send + Sync>,
    /// Takes a call away from its caller; refused where it is not answered, or has been taken away. May wait.
    pub divert: Box<dyn Fn(CallId) -> Outcome + Send + Sync>,
    /// Trunks: hosts and registrations.
    pub trunks: Box<dyn Fn() -> serde_json::Value + Send + Sync>,
    /// Sources and blocks.
    pub sources: Box<dyn Fn() -> serde_json::Value + Send + Sync>,
    /// Lifts a block; refused where there is none. May wait.
    pub lift: Box<dyn Fn(IpAddr) -> Outcome + Send + Sync>,
    /// Blocks a source; refused where it is trusted. May wait.
    pub block: Box<dyn Fn(IpAddr, Duration) -> Outcome + Send + Sync>,
    /// Options in force.
    pub settings: Box<dyn Fn() -> serde_json::Value + Send + Sync>,
}

/// The running API. Dropping it stops it.
pub struct Admin {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Admin {
    /// Starts it.
    pub fn start(address: SocketAddr, doors: Doors) -> std::io::Result<Self> {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(4).build()?;
        let (stop, stopped) = oneshot::channel();
        let router = routes::router(Arc::new(doors));
        let run = move || {
            StandBack::Records.apply();
            runtime.block_on(async move {
                match tokio::net::TcpListener::from_std(listener) {
                    Ok(listener) => {
                        let until = async {
                            // An error is the handle's drop: stop as well.
                            let _ = stopped.await;
                        };
                        if let Err(error) =
                            axum::serve(Connections::new(listener), router).with_graceful_shutdown(until).await
                        {
                            tracing::error!(%error, "The HTTP API ended");
                        }
                    }
                    Err(error) => tracing::error!(%error, "The HTTP API has no socket"),
                }
            });
            // A request that is still running is not waited for.
            runtime.shutdown_timeout(Duration::from_millis(200));
        };
        let thread = std::thread::Builder::new().name("admin".to_owned()).spawn(run)?;
        Ok(Self { address, stop: Some(stop), thread: Some(thread) })
    }

    /// As bound.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        // Not joined: an open connection may keep it for a while, and the process is about to end.
        drop(self.thread.take());
    }
}
