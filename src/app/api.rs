//! What the HTTP API may ask of the running firewall.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use super::{Inner, health, reloading, trunks};
use crate::admin::{Admin, Doors, Outcome};
use crate::io::clock;
use crate::io::signalling::{Order, Reply};
use crate::observe::metrics::Part;
use crate::units::CallId;

/// Starts the API. A failure is logged and shown as down in the metrics; calls go on without it.
pub(super) fn start(address: SocketAddr, inner: &Arc<Inner>, store: &Path) -> Option<Admin> {
    let started = Admin::start(address, doors(inner, store));
    inner.metrics.part(Part::Admin, started.is_ok());
    started
        .inspect_err(|error| tracing::error!(%address, %error, "The HTTP API does not start; calls go on without it"))
        .ok()
}

fn doors(inner: &Arc<Inner>, store: &Path) -> Doors {
    let [for_divert, for_lift, for_block] = std::array::from_fn(|_| Arc::clone(inner));
    Doors {
        observer: inner.observer.clone(),
        store: store.to_owned(),
        reload: asks(inner, |inner| serde_json::to_value(reloading::reload(inner)).unwrap_or_default()),
        health: asks(inner, |inner| {
            let health = health::health(inner);
            (health.ok, serde_json::to_value(health).unwrap_or_default())
        }),
        hang_up: orders(inner, Order::HangUp),
        divert: Box::new(move |call| outcome(for_divert.signalling.divert(call))),
        trunks: asks(inner, |inner| trunks::json(&inner.signalling.report(), clock::now())),
        sources: asks(inner, |inner| health::sources(&inner.signalling.report())),
        lift: Box::new(move |source| outcome(for_lift.signalling.lift(source))),
        block: Box::new(move |source, span| outcome(for_block.signalling.block(source, span))),
        settings: asks(inner, |inner| serde_json::to_value(inner.settings().options()).unwrap_or_default()),
    }
}

/// A door that answers a question about the whole firewall.
fn asks<T: 'static>(inner: &Arc<Inner>, ask: fn(&Inner) -> T) -> Box<dyn Fn() -> T + Send + Sync> {
    let inner = Arc::clone(inner);
    Box::new(move || ask(&inner))
}

/// A door that gives an order about a call.
fn orders(inner: &Arc<Inner>, order: fn(CallId) -> Order) -> Box<dyn Fn(CallId) -> bool + Send + Sync> {
    let inner = Arc::clone(inner);
    Box::new(move |call| inner.signalling.order(order(call)))
}

fn outcome(reply: Reply) -> Outcome {
    match reply {
        Reply::Done => Outcome::Done,
        Reply::Refused => Outcome::Refused,
        Reply::NotTaken => Outcome::NotTaken,
        Reply::Late => Outcome::Late,
    }
}
