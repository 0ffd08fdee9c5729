//! Commands that ask a running firewall, or read its records: `reload`, `trunks`, `calls`, `explain`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use ureq::Body;
use ureq::http::Response;

use super::{Failure, say, warn};
use crate::app::ReloadReport;
use crate::config::{self, Draft, Problem};
use crate::observe::metrics::Reloaded;
use crate::observe::{calls, explain};
use crate::store::{CallSummary, Filter, Store, StoreError};

/// How long a firewall may think about an answer that it has at hand.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a reload may take: names are resolved in it.
const RELOAD_PATIENCE: Duration = Duration::from_secs(30);

/// Calls that are listed where a name fits several.
const MOST: usize = 10;

/// Where the running firewall is asked.
#[derive(Args)]
struct Api {
    /// Address of the firewall's API
    #[arg(long, value_name = "ADDRESS", default_value_t = config::ADMIN_ADDRESS)]
    admin: SocketAddr,
}

impl Api {
    /// The answer to one request, which `send` makes.
    fn ask<T: DeserializeOwned>(
        &self,
        path: &str,
        patience: Duration,
        send: impl FnOnce(&ureq::Agent, String) -> Result<Response<Body>, ureq::Error>,
    ) -> Result<T, Failure> {
        let admin = self.admin;
        let is_late = |error: &ureq::Error| matches!(error, ureq::Error::Timeout(_));
        let late = || {
            let waited = humantime::format_duration(patience);
            format!("{admin} takes connections but has not answered for {waited}: its process is stopped, or hangs")
        };
        let mut answer = send(&agent(patience), format!("http://{admin}{path}")).map_err(|error| {
            let none = format!("no firewall answers on {admin} (--admin ADDRESS asks elsewhere): {error}");
            Failure::Run(if is_late(&error) { late() } else { none })
        })?;
        let status = answer.status();
        answer.body_mut().read_json().map_err(|error| {
            let other =
                format!("what answers on {admin} is no firewall (it says {status}); --admin ADDRESS asks elsewhere");
            Failure::Run(if is_late(&error) { late() } else { other })
        })
    }
}

#[derive(Args)]
pub(crate) struct Reload {
    #[command(flatten)]
    api: Api,
}

impl Reload {
    pub(crate) fn run(self) -> Result<(), Failure> {
        // One that does not answer at all is known sooner than one that waits for a name.
        let _: serde_json::Value = self.api.ask("/health", PATIENCE, |agent, url| agent.get(url).call())?;
        let post = |agent: &ureq::Agent, url| agent.post(url).send_empty();
        let report: ReloadReport = self.api.ask("/api/reload", RELOAD_PATIENCE, post)?;
        match report.outcome {
            Reloaded::Refused => Err(Failure::Settings(report.text())),
            // A script that has just blocked a number must not believe that it is.
            Reloaded::NeedsRestart => Err(Failure::Run(report.text())),
            Reloaded::Applied | Reloaded::Unchanged => {
                say(&report.text());
                Ok(())
            }
        }
    }
}

#[derive(Args)]
pub(crate) struct Trunks {
    #[command(flatten)]
    api: Api,
}

impl Trunks {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let standing: Standing = self.api.ask("/api/trunks", PATIENCE, |agent, url| agent.get(url).call())?;
        for trunk in &standing.trunks {
            say(&line(trunk));
        }
        Ok(())
    }
}

/// What the API says of trunks.
#[derive(Deserialize)]
struct Standing {
    trunks: Vec<serde_json::Value>,
}

/// Takes a refusal for an answer like others: its body says why.
fn agent(patience: Duration) -> ureq::Agent {
    ureq::Agent::config_builder().timeout_global(Some(patience)).http_status_as_error(false).build().into()
}

/// One trunk of the API, as a person reads it.
fn line(trunk: &serde_json::Value) -> String {
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let host = |host: &serde_json::Value| {
        let silent = if host["up"] == false { " (silent)" } else { "" };
        format!("{} {}{silent}", text(&host["transport"]), text(&host["address"]))
    };
    let state = text(&trunk["state"]).replace('_', " ");
    let hosts: Vec<String> = trunk["hosts"].as_array().into_iter().flatten().map(host).collect();
    let mut line = format!("{:<16} {:<15} {}", text(&trunk["name"]), state, hosts.join(", "));
    let registration = &trunk["registration"];
    if let Some(seconds) = registration["ends_in_s"].as_u64() {
        line += &format!("; registered for {seconds} s more");
    }
    if let Some(failures) = registration["failures"].as_u64().filter(|failures| *failures > 0) {
        let said = match registration["status"].as_u64() {
            Some(0) | None => "no answer".to_owned(),
            Some(status) => status.to_string(),
        };
        let next = registration["next_in_s"].as_u64().unwrap_or(0);
        line += &format!("; failed {failures} times ({said}), again in {next} s");
    }
    line
}

/// Where the records are.
#[derive(Args)]
pub(crate) struct Where {
    /// The settings file that names the records' file
    #[arg(short, long, value_name = "FILE", default_value = "/etc/ringfence/ringfence.toml")]
    config: PathBuf,
    /// The records' file itself
    #[arg(long, value_name = "FILE")]
    store: Option<PathBuf>,
}

impl Where {
    fn open(&self) -> Result<Store, Failure> {
        let path = match &self.store {
            Some(path) => path.clone(),
            None => {
                let folder = self.config.parent().unwrap_or(Path::new(""));
                folder.join(store_path(&self.config, folder)?)
            }
        };
        if !path.exists() {
            let path = path.display();
            return Err(Failure::Run(format!(
                "there are no records at {path}: the firewall makes them when it starts"
            )));
        }
        Store::open_read_only(&path).map_err(failed)
    }
}

/// Who only reads has named the wrong file, more often than that records are damaged.
fn failed(error: StoreError) -> Failure {
    Failure::Run(if let StoreError::Damaged { path } = error {
        format!("{} is no file of records, or is damaged", path.display())
    } else {
        error.to_string()
    })
}

/// `store.path`. Of a file with other mistakes, or one that names what only the firewall's user may read, it is known
/// all the same.
fn store_path(config: &Path, folder: &Path) -> Result<PathBuf, Failure> {
    let text = config::text_of(config).map_err(Failure::Settings)?;
    let bad = |problems: &[Problem]| Failure::Settings(config::problems_text(config, problems));
    let draft = Draft::read(&text, &config::files_in(folder)).map_err(|problems| bad(&problems))?;
    let (path, known) = (draft.settings().store.path.clone(), draft.is_good("store.path"));
    match draft.finish() {
        Ok(_) => {}
        Err(problems) if known => {
            let many = problems.len();
            warn(&format!("{}: {many} problem(s), which `ringfence check` shows; its records are:", config.display()));
        }
        Err(problems) => return Err(bad(&problems)),
    }
    Ok(path)
}

#[derive(Args)]
pub(crate) struct Calls {
    /// How many, newest first
    #[arg(short = 'n', long, default_value_t = 20)]
    limit: usize,
    #[command(flatten)]
    at: Where,
}

impl Calls {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let found = self.at.open()?.calls(self.limit, &Filter::default());
        say(&calls::table(&found.map_err(failed)?));
        Ok(())
    }
}

#[derive(Args)]
pub(crate) struct Explain {
    /// Its name in `ringfence calls` (the first digits are enough), or its SIP Call-ID
    call: String,
    #[command(flatten)]
    at: Where,
}

impl Explain {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let store = self.at.open()?;
        if let Some(record) = store.call(&self.call).map_err(failed)? {
            say(&explain::text(&record));
            return Ok(());
        }
        let several = store.beginning_with(&self.call, MOST + 1).map_err(failed)?;
        Err(Failure::Run(unclear(&self.call, &several)))
    }
}

/// Why `name` names no call.
fn unclear(name: &str, several: &[CallSummary]) -> String {
    if several.is_empty() {
        return format!("no call is named {name}; `ringfence calls` lists the last ones");
    }
    let more = if several.len() > MOST { "and older ones; " } else { "" };
    let table = calls::table(several.get(..MOST).unwrap_or(several));
    format!("several calls are named {name}...:\n{table}{more}more digits say which one")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::CallRecord;
    use crate::store::fixture::diverted_call;
    use crate::units::CallId;

    #[test]
    fn a_wrong_file_of_records_is_not_to_be_moved_away() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ringfence.toml");
        std::fs::write(&path, "enforce = true\n".repeat(100)).unwrap();
        let at = Where { config: path.clone(), store: Some(path.clone()) };

        let refused = at.open().err().unwrap();

        assert_eq!(refused.text(), format!("{} is no file of records, or is damaged", path.display()));
    }

    #[test]
    fn a_name_that_fits_several_calls_lists_ten_of_them() {
        let call = CallRecord { id: CallId(0xab00_0000_0000_0001), ..diverted_call() }.summary();

        let none = unclear("ab", &[]);
        let two = unclear("ab", &vec![call.clone(); 2]);
        let eleven = unclear("ab", &vec![call; 11]);

        assert!(none.starts_with("no call is named ab;"), "{none}");
        assert!(
            two.starts_with("several calls are named ab...:") && two.ends_with("\nmore digits say which one"),
            "{two}"
        );
        assert_eq!((two.matches("ab00").count(), eleven.matches("ab00").count()), (2, 10), "{two}{eleven}");
        assert!(eleven.ends_with("\nand older ones; more digits say which one"), "{eleven}");
    }

    #[test]
    fn a_process_that_takes_connections_and_says_nothing_is_not_waited_for() {
        // The system takes the connection, as for a process that is stopped.
        let stopped = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let api = Api { admin: stopped.local_addr().unwrap() };

        let asked =
            api.ask::<serde_json::Value>("/health", Duration::from_millis(50), |agent, url| agent.get(url).call());

        let failure = asked.unwrap_err();
        assert!(failure.text().contains("has not answered for 50ms: its process is stopped"), "{failure:?}");
    }

    #[test]
    fn a_trunk_is_shown_by_its_own_name_and_a_state_in_words() {
        let trunk = serde_json::json!({
            "name": "my_provider",
            "state": "not_registered",
            "hosts": [{ "transport": "udp", "address": "192.0.2.10:5060", "up": false }],
            "registration": { "failures": 2, "status": 403, "next_in_s": 60 },
        });

        let line = line(&trunk);

        assert!(line.starts_with("my_provider      not registered  udp 192.0.2.10:5060 (silent);"), "{line}");
        assert!(line.ends_with("failed 2 times (403), again in 60 s"), "{line}");
    }
}
