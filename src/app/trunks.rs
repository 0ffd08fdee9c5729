//! Trunks: their names and the PBX's kept resolved, and how trunks stand for the log, the API, health and metrics.

use std::net::{IpAddr, SocketAddr};
use std::sync::{PoisonError, TryLockError};
use std::time::{Duration, Instant};

use super::resolve::{self, Locals, Resolved, Targets};
use super::{Inner, Told};
use crate::call::{RegistrationStatus, TrunkChange, TrunkEvent, TrunkStatus};
use crate::config::Settings;
use crate::io::clock::Anchor;
use crate::io::names::Names;
use crate::io::signalling::{Order, Report};
use crate::trunk::State;

/// How long a start or a reload waits for the DNS. A trunk whose name is not resolved by then is known by its
/// `networks` alone, and takes calls out once it is resolved.
const PATIENCE: Duration = Duration::from_secs(3);

/// Resolves the names of these settings, and keeps them resolved. With the hosts comes the count of changes that they
/// are from: what changes later, [`follow_names`] brings.
pub(super) fn resolve(names: &Names, settings: &Settings, pbx: SocketAddr) -> (Targets, u64) {
    names.set(resolve::name_settings(settings, pbx), resolve::questions(settings), PATIENCE);
    let (answers, changes) = names.answers();
    (resolve::targets(settings, &answers), changes)
}

/// Registers anew behind a sleep of this machine. The binding may have ended in it, which no clock of ours has seen: no
/// call would come in until it seems to be old.
pub(super) fn follow_sleep(inner: &Inner) {
    let slept = inner.sleep.lock().unwrap_or_else(PoisonError::into_inner).is_over(Anchor::take());
    if slept && inner.signalling.order(Order::Awake) {
        tracing::info!("This machine has slept, or its clock was set: trunks are registered with anew");
    }
}

/// Hands addresses of trunks and PBX that have changed to the shard. Running calls stay where they are.
pub(super) fn follow_names(inner: &Inner) {
    let (answers, changes) = inner.names.answers();
    // A reload that is under way brings the new ones itself.
    let _one = match inner.reloading.try_lock() {
        Ok(one) => one,
        Err(TryLockError::Poisoned(left)) => left.into_inner(),
        Err(TryLockError::WouldBlock) => return,
    };
    let settings = inner.settings();
    let mut told = inner.told.lock().unwrap_or_else(PoisonError::into_inner);
    let before = told.resolved.pbx;
    let pbx = resolve::pbx_among(&settings, &inner.pbx_name.addresses(), Some(before)).unwrap_or(before);
    let public = inner.public_names.public(&settings, told.resolved.public);
    let moved = public != told.resolved.public;
    // A network card may have another address, too: by DHCP, or on a line that was dialled anew.
    let local = resolve::local(&settings, &told.resolved, &inner.addresses).ok();
    let same_local = local.is_none() || local == told.local;
    if told.changes == changes && pbx == before && !moved && same_local {
        return;
    }
    let resolved = Resolved::after(&told.resolved, pbx, resolve::targets(&settings, &answers), public);
    let order = match super::shard_settings(&settings, &resolved, &inner.addresses) {
        Ok(order) => order,
        Err(problem) => {
            tracing::warn!(problem, "New addresses of a trunk or of the PBX cannot be used; the old ones stay");
            (told.changes, told.local) = (changes, local);
            inner.pbx_name.forget();
            return;
        }
    };
    if !inner.signalling.order(order) {
        return;
    }
    *told = Told::new(&settings, resolved, changes, &inner.addresses);
    if !same_local && let Some(Locals { outside, inside, .. }) = &told.local {
        tracing::info!(outside = %outside.main, inside = %inside.main, "This machine has another address");
    }
    if moved {
        let shown = |ip: Option<IpAddr>| ip.map(tracing::field::display);
        tracing::info!(sip = shown(public.sip), media = shown(public.media), "The public address is another");
    }
    if pbx != before {
        tracing::info!(%before, now = %pbx, "The PBX's name has another address");
        // No name of a trunk may lead to it.
        inner.names.set(resolve::name_settings(&settings, pbx), resolve::questions(&settings), Duration::ZERO);
    }
}

pub(super) fn log(event: &TrunkEvent) {
    let trunk = &event.trunk;
    match &event.change {
        TrunkChange::Registered => tracing::info!(%trunk, "Registered"),
        TrunkChange::RegistrationFailed { status: 0, failures, again_in } => {
            tracing::warn!(%trunk, failures, again_in_s = again_in.as_secs(), "The registrar does not answer");
        }
        TrunkChange::RegistrationFailed { status, failures, again_in } => {
            tracing::warn!(%trunk, status, failures, again_in_s = again_in.as_secs(), "Not registered");
        }
        TrunkChange::Unregistered => tracing::info!(%trunk, "Registration taken back"),
        TrunkChange::SeenAt(address) => tracing::warn!(
            %trunk, %address,
            "A router translates our address: set sip.public_address (to a name, where it changes), and have it pass the ports on one to one"
        ),
        TrunkChange::CredentialsRefused => tracing::warn!(%trunk, "The trunk refuses our credentials"),
        TrunkChange::Down(hop) => tracing::warn!(%trunk, %hop, "A trunk's host does not answer; it is tried last"),
        TrunkChange::Up(hop) => tracing::info!(%trunk, %hop, "A trunk's host answers again"),
    }
}

/// How a trunk stands, in one word: `up`, `down` (no host answers), `unresolved`, or the state of a registration that
/// does not work.
pub(super) fn word(trunk: &TrunkStatus) -> &'static str {
    match trunk.registration.map(|registration| registration.state) {
        Some(State::Failed) => "not_registered",
        Some(State::Trying) => "registering",
        Some(State::Over) => "unregistered",
        Some(State::Registered) | None if trunk.targets.is_empty() => "unresolved",
        Some(State::Registered) | None if trunk.targets.iter().all(|(_, up)| !up) => "down",
        Some(State::Registered) | None => "up",
    }
}

/// The trunks over which calls do not come in or go out, and why, as a person reads it; None: all of them work.
pub(super) fn note(trunks: &[TrunkStatus]) -> Option<String> {
    let bad = trunks.iter().filter(|trunk| !matches!(word(trunk), "up" | "registering"));
    let texts: Vec<String> = bad.map(|trunk| format!("{}: {}", trunk.name, word(trunk).replace('_', " "))).collect();
    (!texts.is_empty()).then(|| texts.join(", "))
}

pub(super) fn json(report: &Report, now: Instant) -> serde_json::Value {
    let seconds = |at: Option<Instant>| at.map(|at| at.saturating_duration_since(now).as_secs());
    let registration = |registration: &RegistrationStatus| {
        serde_json::json!({
            "state": registration.state.label(),
            "ends_in_s": seconds(registration.until),
            "next_in_s": seconds(registration.next),
            "failures": registration.failures,
            "status": registration.status,
        })
    };
    let trunks: Vec<serde_json::Value> = report
        .trunks
        .iter()
        .map(|trunk| {
            let hosts: Vec<_> = trunk
                .targets
                .iter()
                .map(|(hop, up)| {
                    let (address, transport) = (hop.address.to_string(), hop.transport.label());
                    serde_json::json!({ "address": address, "transport": transport, "up": up })
                })
                .collect();
            serde_json::json!({
                "name": &*trunk.name,
                "state": word(trunk),
                "hosts": hosts,
                "registration": trunk.registration.as_ref().map(registration),
            })
        })
        .collect();
    serde_json::json!({ "trunks": trunks })
}
