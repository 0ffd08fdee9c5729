//! EDGE: the whole job in under a minute: scripted callers, a small PBX, the real firewall between them, on loopback.
//!
//! Telephones and PBX share no code with the firewall: what one side gets wrong, the other notices. Each caller has an
//! address of its own in 127.0.0.0/8, so that sources are told apart as in the field.

mod exchange;
mod flood;
mod line;
mod phone;
mod script;
mod sip_text;
mod table;

use std::collections::HashMap;
use std::fmt::{Display, Write as _};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Weak};
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;

use crate::app::{App, Start, StartError};
use crate::audio::wav::write_stereo;
use crate::config;
use crate::io::clock;
use crate::store::Store;
use crate::units::{Redaction, SampleRate};
use exchange::Exchange;
use flood::Flood;
use script::Role;

/// Where the PBX is.
const PBX: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3));

/// Why a demo did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The firewall did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Something else failed.
    #[error("{what}: {why}")]
    Failed {
        /// Doing what.
        what: String,
        /// Why.
        why: String,
    },
}

fn failed<E: Display>(what: &str) -> impl FnOnce(E) -> DemoError + '_ {
    move |error| DemoError::Failed { what: what.to_owned(), why: error.to_string() }
}

/// What a demo came to.
pub struct Summary {
    /// The table, as a person reads it.
    pub table: String,
    /// Everything was as the script expects.
    pub as_expected: bool,
}

/// A role, and what became of its call.
struct Played {
    role: Role,
    outcome: phone::Outcome,
}

const STORE: &str = "ringfence.db";

/// Nobody looks at a terminal without news for longer than this.
const QUIET: Duration = Duration::from_secs(3);

/// Runs it. Recordings go into `folder`; `progress` is told what happens.
pub fn show(folder: &Path, progress: &dyn Fn(&str)) -> Result<Summary, DemoError> {
    std::fs::create_dir_all(folder).map_err(failed("making the folder for recordings"))?;
    for old in [STORE, "ringfence.db-wal", "ringfence.db-shm", "campaigns.txt"] {
        // What an earlier demo left; there may be nothing.
        let _ = std::fs::remove_file(folder.join(old));
    }
    let roles = script::roles().map_err(failed("reading the scripts"))?;
    let voices = roles.iter().map(|role| (role.plan.dials, Arc::clone(&role.callee_says))).collect();
    let exchange = Exchange::start(PBX, voices).map_err(failed("starting the PBX"))?;
    let app = start_firewall(folder, exchange.address)?;
    let firewall = app.addresses().first().map(|hop| hop.address).ok_or("no address is bound");
    let firewall = firewall.map_err(failed("starting"))?;
    progress(&format!("firewall on {firewall}, PBX on {}, {} callers", exchange.address, roles.len()));

    let begun = clock::now();
    let (played, flood) = play(&app, &roles, firewall, begun, progress)?;
    // The block is in the next report.
    std::thread::sleep(Duration::from_millis(1_100));
    let report = app.report();
    let heard = exchange.finish();
    let (_hurry, hurried) = bounded(1);
    app.stop(&hurried);

    let records = Store::open_read_only(&folder.join(STORE)).map_err(failed("reading the records"))?;
    let mut rows = Vec::new();
    for played in &played {
        let record = records.call(&played.outcome.call_id).map_err(failed("reading the records"))?;
        rows.push(table::row(played, record.as_ref()));
        record_audio(folder, played, &heard)?;
    }
    rows.push(table::flood_row(&flood, report.blocks.iter().find(|block| block.source == flood::SOURCE)));
    let as_expected = rows.iter().all(|row| row.good);
    let mut table = table::text(&rows);
    let _ = write!(
        table,
        "\n{} s. Recordings (left: the caller's telephone, right: the callee's) and records: {}",
        clock::now().duration_since(begun).as_secs(),
        folder.display()
    );
    Ok(Summary { table, as_expected })
}

/// The real firewall. Its settings are left in `folder` for whoever wants to read them.
fn start_firewall(folder: &Path, pbx: SocketAddr) -> Result<App, DemoError> {
    let text = script::settings(pbx, &folder.join(STORE));
    let file = folder.join("ringfence.toml");
    std::fs::write(&file, &text).map_err(failed("writing the settings"))?;
    let settings = config::load(&text, &config::files_in(folder));
    let settings =
        settings.map_err(|problems| failed("reading the settings")(config::problems_text(&file, &problems)))?;
    Ok(App::start(Start { settings, file: None, folder, log: Weak::new() })?)
}

/// All calls at once, and the flood among them, to their ends.
fn play(
    app: &App,
    roles: &[Role],
    firewall: SocketAddr,
    begun: Instant,
    progress: &dyn Fn(&str),
) -> Result<(Vec<Played>, Flood), DemoError> {
    std::thread::scope(|scope| {
        let calls: Vec<_> = roles.iter().map(|role| scope.spawn(move || phone::call(&role.plan, firewall))).collect();
        let flood = scope.spawn(move || flood::flood(firewall));
        watch(app, roles, begun, progress, &|| calls.iter().all(|call| call.is_finished()) && flood.is_finished());
        let mut played = Vec::new();
        for (role, call) in roles.iter().zip(calls) {
            let outcome = joined(call).map_err(failed(role.plan.name))?;
            played.push(Played { role: role.clone(), outcome });
        }
        Ok((played, joined(flood).map_err(failed("the flood"))?))
    })
}

fn joined<T>(thread: ScopedJoinHandle<'_, io::Result<T>>) -> io::Result<T> {
    thread.join().unwrap_or_else(|_| Err(io::Error::other("it panicked")))
}

/// Tells what happens until `done`.
fn watch(app: &App, roles: &[Role], begun: Instant, progress: &dyn Fn(&str), done: &dyn Fn() -> bool) {
    // What was told last of each call, and who is called in it.
    let mut shown: HashMap<String, (String, String)> = HashMap::new();
    let mut blocked = false;
    let mut told_at = begun;
    while !done() {
        std::thread::sleep(Duration::from_millis(200));
        app.tick();
        let now = clock::now();
        let mut tell = |text: &str| {
            progress(&format!("{:5.1} s  {text}", now.duration_since(begun).as_secs_f32()));
            told_at = now;
        };
        let calls = app.observer().calls_now(32, Redaction::Off).calls;
        for call in &calls {
            let class = call.class.as_deref().unwrap_or_default();
            let action = call.action.as_deref().unwrap_or_default();
            let state = [call.state, class, action].join(" ");
            if shown.get(&call.id).is_none_or(|(last, _)| *last != state) {
                let percent = call.probability.map_or_else(String::new, |p| format!(" {:.0} %", 100.0 * p));
                let (caller, called) = (call.caller.as_deref().unwrap_or_default(), call.called.as_deref());
                let who = format!("{caller:14} -> {:4}", called.unwrap_or_default());
                tell(&format!("{who} {:9} {class}{percent} {action}", call.state));
                shown.insert(call.id.clone(), (state, who));
            }
        }
        shown.retain(|id, (_, who)| {
            let runs = calls.iter().any(|call| call.id == *id);
            if !runs {
                tell(&format!("{who} over"));
            }
            runs
        });
        if !blocked && app.report().blocks.iter().any(|block| block.source == flood::SOURCE) {
            blocked = true;
            tell(&format!("{} floods and is blocked", flood::SOURCE));
        }
        if now.duration_since(told_at) >= QUIET {
            let diverted = calls.iter().filter(|call| call.state == "diverted").count();
            let waits = roles.iter().find(|role| role.plan.after > now.duration_since(begun));
            progress(&format!(
                "{:5.1} s  {}",
                now.duration_since(begun).as_secs_f32(),
                meanwhile(calls.len(), diverted, waits)
            ));
            told_at = now;
        }
    }
}

/// What goes on while nothing changes.
fn meanwhile(calls: usize, diverted: usize, waits: Option<&Role>) -> String {
    let mut texts = Vec::new();
    if calls > diverted {
        texts.push(format!("{} connected and listened to", calls - diverted));
    }
    if diverted > 0 {
        texts.push(format!("{diverted} taken away: both sides hear an announcement"));
    }
    if let Some(Role { plan, .. }) = waits {
        texts.push(format!("{} comes at {} s", plan.name, plan.after.as_secs()));
    }
    if texts.is_empty() { "the last calls end".to_owned() } else { texts.join("; ") }
}

/// What was at each telephone: what its person said and heard.
fn record_audio(folder: &Path, played: &Played, heard: &HashMap<String, Vec<i16>>) -> Result<(), DemoError> {
    let empty = Vec::new();
    let at_callee = heard.get(played.role.plan.dials).unwrap_or(&empty);
    let length = played.outcome.heard.len();
    let left = mixed(&played.role.plan.says, &played.outcome.heard, length);
    let right = mixed(&played.role.callee_says, at_callee, length.max(at_callee.len()));
    let path = folder.join(format!("{}.wav", played.role.plan.name.replace(' ', "-")));
    let file = std::fs::File::create(&path).map_err(failed("writing a recording"))?;
    write_stereo(file, SampleRate::TELEPHONE, &left, &right).map_err(failed("writing a recording"))
}

fn mixed(said: &[i16], heard: &[i16], length: usize) -> Vec<i16> {
    let at = |samples: &[i16], n: usize| samples.get(n).copied().unwrap_or_default();
    (0..length).map(|n| at(said, n).saturating_add(at(heard, n))).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn a_quiet_moment_says_what_goes_on_in_it() {
        let roles = script::roles().unwrap();
        let again = roles.iter().find(|role| !role.plan.after.is_zero());

        let both = "5 connected and listened to; 1 taken away: both sides hear an announcement; the same scam again \
                    comes at 24 s";
        assert_eq!(meanwhile(6, 1, again), both);
        assert_eq!(meanwhile(0, 0, again), "the same scam again comes at 24 s");
        assert_eq!(meanwhile(0, 0, None), "the last calls end");
    }
}
