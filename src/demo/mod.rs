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

use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use crossbeam_channel::bounded;

use crate::app::{App, Start, StartError};
use crate::audio::wav::write_stereo;
use crate::config;
use crate::io::clock;
use crate::store::{CallRecord, Store};
use crate::units::SampleRate;
use exchange::Exchange;
use script::{Expected, Role};

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

fn failed(what: &str) -> impl FnOnce(std::io::Error) -> DemoError + '_ {
    move |error| DemoError::Failed { what: what.to_owned(), why: error.to_string() }
}

/// What a demo came to.
pub struct Shown {
    /// The table, as a person reads it.
    pub table: String,
    /// Everything was as the script expects.
    pub as_expected: bool,
}

struct Told {
    role: Role,
    outcome: phone::Outcome,
}

/// Runs it. Recordings go into `folder`; `progress` is told what happens.
pub fn show(folder: &Path, progress: &dyn Fn(&str)) -> Result<Shown, DemoError> {
    std::fs::create_dir_all(folder).map_err(failed("making the folder for recordings"))?;
    let store = folder.join("ringfence.db");
    for old in ["ringfence.db", "ringfence.db-wal", "ringfence.db-shm", "campaigns.txt"] {
        // What an earlier demo left; there may be nothing.
        let _ = std::fs::remove_file(folder.join(old));
    }
    let roles = script::roles().map_err(|why| DemoError::Failed { what: "reading the scripts".to_owned(), why })?;
    let voices = roles.iter().map(|role| (role.plan.dials, Arc::clone(&role.callee_says))).collect();
    let exchange = Exchange::start(PBX, voices).map_err(failed("starting the PBX"))?;
    let settings = script::settings(exchange.address, &store);
    std::fs::write(folder.join("ringfence.toml"), &settings).map_err(failed("writing the settings"))?;
    let settings = config::load(&settings, &config::files_in(folder)).map_err(|problems| DemoError::Failed {
        what: "reading the settings".to_owned(),
        why: config::problems_text(Path::new("ringfence.toml"), &problems),
    })?;
    let app = App::start(Start { settings, file: None, folder, log: Weak::new() })?;
    let Some(firewall) = app.addresses().first().map(|hop| hop.address) else {
        return Err(DemoError::Failed { what: "starting".to_owned(), why: "no address is bound".to_owned() });
    };
    progress(&format!("firewall on {firewall}, PBX on {}, {} callers", exchange.address, roles.len()));

    let begun = clock::now();
    let told = std::thread::scope(|scope| {
        let calls: Vec<_> = roles.iter().map(|role| scope.spawn(move || phone::call(&role.plan, firewall))).collect();
        let flood = scope.spawn(move || flood::flood(firewall));
        watch(&app, begun, progress, &|| calls.iter().all(|call| call.is_finished()) && flood.is_finished());
        let mut told = Vec::new();
        for (role, call) in roles.iter().zip(calls) {
            let outcome = call.join().unwrap_or_else(|_| Err(std::io::Error::other("it panicked")));
            told.push(Told { role: role.clone(), outcome: outcome.map_err(failed(role.plan.name))? });
        }
        let flood = flood.join().unwrap_or_else(|_| Err(std::io::Error::other("it panicked")));
        Ok::<_, DemoError>((told, flood.map_err(failed("the flood"))?))
    });
    let (told, flood) = told?;
    // The block is in the next report.
    std::thread::sleep(Duration::from_millis(1_100));
    let report = app.report();
    let heard = exchange.finish();
    let (_hurry, hurried) = bounded(1);
    app.stop(&hurried);

    let records = Store::open_read_only(&store)
        .map_err(|error| DemoError::Failed { what: "reading the records".to_owned(), why: error.to_string() })?;
    let mut rows = Vec::new();
    for told in &told {
        let record = records.call(&told.outcome.call_id).ok().flatten();
        rows.push(row(told, record.as_ref()));
        record_audio(folder, told, &heard)?;
    }
    rows.push(flood_row(&flood, report.blocks.iter().find(|block| block.source == flood::SOURCE)));
    let as_expected = rows.iter().all(|row| row.good);
    let mut table = text(&rows);
    let _ = write!(
        table,
        "\n{} s. Recordings (left: the caller's telephone, right: the callee's) and records: {}",
        clock::now().duration_since(begun).as_secs(),
        folder.display()
    );
    Ok(Shown { table, as_expected })
}

/// Tells what happens until `done`.
fn watch(app: &App, begun: std::time::Instant, progress: &dyn Fn(&str), done: &dyn Fn() -> bool) {
    let mut shown: HashMap<String, String> = HashMap::new();
    let mut blocked = false;
    while !done() {
        std::thread::sleep(Duration::from_millis(200));
        app.tick();
        let second = clock::now().duration_since(begun).as_secs_f32();
        for call in app.observer().calls_now(32, crate::units::Redaction::Off).calls {
            let class = call.class.as_deref().unwrap_or_default();
            let action = call.action.as_deref().unwrap_or_default();
            let state = [call.state, class, action].join(" ");
            let caller = call.caller.unwrap_or_default();
            if shown.get(&call.id) != Some(&state) {
                let percent = call.probability.map_or_else(String::new, |p| format!(" {:.0} %", 100.0 * p));
                let called = call.called.unwrap_or_default();
                progress(&format!(
                    "{second:5.1} s  {caller:14} -> {called:4} {:9} {class}{percent} {action}",
                    call.state
                ));
                shown.insert(call.id, state);
            }
        }
        if !blocked && app.report().blocks.iter().any(|block| block.source == flood::SOURCE) {
            blocked = true;
            progress(&format!("{second:5.1} s  {} floods and is blocked", flood::SOURCE));
        }
    }
}

struct Row {
    name: String,
    done: String,
    when: String,
    why: String,
    good: bool,
}

fn row(told: &Told, record: Option<&CallRecord>) -> Row {
    let Told { role, outcome } = told;
    let name = role.plan.name.to_owned();
    let Some(record) = record else {
        let status = outcome.status.map_or_else(|| "no answer".to_owned(), |status| status.to_string());
        return Row { name, done: status, when: String::new(), why: "there is no record".to_owned(), good: false };
    };
    let step = record.steps.iter().find(|step| step.action == "divert").or(record.steps.last());
    let class = step.map(|step| &step.verdict).or_else(|| record.verdict());
    let diverted = record.steps.iter().any(|step| step.action == "divert" && step.enforcement == "done");
    let connected = outcome.status == Some(200);
    let good = connected
        && match role.expected {
            Expected::Diverted => diverted && outcome.ended_by_peer.is_some(),
            Expected::Connected => !diverted && outcome.ended_by_peer.is_none(),
            Expected::NoSpeech => !diverted && record.verdict().is_none_or(|verdict| verdict.class == "no_speech"),
        };
    let done = match step {
        Some(step) if step.enforcement == "done" => step.action.to_string(),
        Some(step) => format!("connected ({} {})", step.action, step.enforcement),
        None => "connected".to_owned(),
    };
    let reasons = class.map(|verdict| {
        let mut texts: Vec<&str> = verdict.reasons.iter().map(|reason| &*reason.text).collect();
        texts.dedup();
        format!(
            "{} {:.0} %: {}",
            verdict.class,
            100.0 * verdict.probability(),
            texts.into_iter().take(3).collect::<Vec<_>>().join("; ")
        )
    });
    Row {
        name,
        done,
        when: step.map_or_else(String::new, |step| step.at.to_string()),
        why: reasons.unwrap_or_else(|| "never judged".to_owned()),
        good,
    }
}

fn flood_row(flood: &flood::Flood, block: Option<&crate::gate::Block>) -> Row {
    let done = if block.is_some() { "blocked" } else { "not blocked" };
    let why = block.map_or_else(String::new, |block| {
        format!("{} of {} messages dropped at the gate, {} answered", block.dropped, flood.sent, flood.answered)
    });
    Row {
        name: "a source that floods".to_owned(),
        done: done.to_owned(),
        when: String::new(),
        why,
        good: block.is_some() && flood.answered == 0,
    }
}

fn text(rows: &[Row]) -> String {
    let mut text = format!("\n{:26} {:34} {:7} {}\n", "call", "what was done", "when", "why");
    for row in rows {
        let mark = if row.good { "" } else { "   <- NOT AS EXPECTED" };
        let _ = writeln!(text, "{:26} {:34} {:7} {}{mark}", row.name, row.done, row.when, row.why);
    }
    text
}

/// What was at each telephone: what its person said and heard.
fn record_audio(folder: &Path, told: &Told, heard: &HashMap<String, Vec<i16>>) -> Result<(), DemoError> {
    let empty = Vec::new();
    let at_callee = heard.get(told.role.plan.dials).unwrap_or(&empty);
    let length = told.outcome.heard.len();
    let left = mixed(&told.role.plan.says, &told.outcome.heard, length);
    let right = mixed(&told.role.callee_says, at_callee, length.max(at_callee.len()));
    let path: PathBuf = folder.join(format!("{}.wav", told.role.plan.name.replace(' ', "-")));
    let file = std::fs::File::create(&path).map_err(failed("writing a recording"))?;
    write_stereo(file, SampleRate::TELEPHONE, &left, &right)
        .map_err(|error| DemoError::Failed { what: path.display().to_string(), why: error.to_string() })
}

fn mixed(said: &[i16], heard: &[i16], length: usize) -> Vec<i16> {
    let at = |samples: &[i16], n: usize| samples.get(n).copied().unwrap_or_default();
    (0..length).map(|n| at(said, n).saturating_add(at(heard, n))).collect()
}
