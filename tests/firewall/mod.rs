//! The real binary as a child process on loopback, with settings of its own.

#![allow(dead_code, reason = "test helpers, not all used by each suite")]

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Longer than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The rest of its log.
pub(crate) type LogLines = std::io::Lines<BufReader<ChildStderr>>;

pub(crate) struct Firewall {
    child: Child,
    pub(crate) config: PathBuf,
    pub(crate) folder: tempfile::TempDir,
    /// Of the first listener, which is UDP.
    pub(crate) sip: SocketAddr,
    /// Of the last listener of each transport.
    addresses: HashMap<String, SocketAddr>,
    pub(crate) admin: SocketAddr,
}

impl Firewall {
    pub(crate) fn settings(pbx: SocketAddr, more: &str) -> String {
        format!(
            "[[listen]]\naddress = \"127.0.0.1:0\"\n[pbx]\naddress = \"{pbx}\"\n[[trunk]]\nname = \"trunk\"\n\
             address = \"127.0.2.200\"\nnetworks = [\"127.0.2.0/24\"]\n[admin]\naddress = \"127.0.0.1:0\"\n\
             [media]\nports = \"31000-31999\"\n{more}\n"
        )
    }

    pub(crate) fn start(pbx: SocketAddr, more: &str) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), pbx, more)
    }

    /// With a log that nobody reads until the test does.
    pub(crate) fn start_unread(pbx: SocketAddr, more: &str) -> (Self, LogLines) {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("ringfence.toml");
        std::fs::write(&config, Self::settings(pbx, more)).unwrap();
        Self::spawn(folder, config)
    }

    /// With files of the test's own in its folder.
    pub(crate) fn start_in(folder: tempfile::TempDir, pbx: SocketAddr, more: &str) -> Self {
        let config = folder.path().join("ringfence.toml");
        std::fs::write(&config, Self::settings(pbx, more)).unwrap();
        Self::start_with(folder, config)
    }

    /// With these settings.
    pub(crate) fn start_as(settings: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("ringfence.toml");
        std::fs::write(&config, settings).unwrap();
        Self::start_with(folder, config)
    }

    /// With every port fixed, so that another process can take its place.
    pub(crate) fn start_on(at: &str, pbx: SocketAddr, more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("ringfence.toml");
        let free = std::net::UdpSocket::bind((at, 0)).unwrap().local_addr().unwrap();
        let settings = Self::settings(pbx, more).replacen("127.0.0.1:0", &free.to_string(), 1);
        std::fs::write(&config, settings).unwrap();
        Self::start_with(folder, config)
    }

    /// Another process with the same settings and files, once this one has ended.
    pub(crate) fn start_again(mut self) -> Self {
        let _ = self.child.wait();
        let empty = tempfile::tempdir().unwrap();
        let folder = std::mem::replace(&mut self.folder, empty);
        Self::start_with(folder, self.config.clone())
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
    }

    fn start_with(folder: tempfile::TempDir, config: PathBuf) -> Self {
        let (firewall, log) = Self::spawn(folder, config);
        std::thread::spawn(move || log.for_each(drop));
        firewall
    }

    fn spawn(folder: tempfile::TempDir, config: PathBuf) -> (Self, LogLines) {
        let settings = std::fs::read_to_string(&config).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_ringfence"))
            .args(["run", "--config"])
            .arg(&config)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let listeners = settings.matches("[[listen]]").count();
        let up = lines.by_ref().map_while(Result::ok).filter(|line| line.contains("Ringfence is up"));
        let up: Vec<String> = up.take(listeners).collect();
        assert_eq!(up.len(), listeners, "it starts");
        let field = |line: &str, name: &str| {
            let rest = line.split(&format!("{name}=")).nth(1).unwrap_or_else(|| panic!("{line}"));
            rest.split([' ', '\u{1b}']).next().unwrap().trim_matches('"').to_owned()
        };
        let address = |line: &str, name: &str| field(line, name).parse::<SocketAddr>().unwrap();
        let addresses = up.iter().map(|line| (field(line, "transport"), address(line, "address"))).collect();
        let (sip, admin) = (address(&up[0], "address"), address(&up[0], "admin"));
        (Self { child, config, folder, sip, addresses, admin }, lines)
    }

    pub(crate) fn address(&self, transport: &str) -> SocketAddr {
        self.addresses[transport]
    }

    /// The page of metrics.
    pub(crate) fn page(&self) -> String {
        let mut response = agent().get(format!("http://{}/metrics", self.admin)).call().unwrap();
        response.body_mut().read_to_string().unwrap()
    }

    /// Value of one series; 0 where it is not there yet.
    pub(crate) fn metric(&self, series: &str) -> u64 {
        let page = self.page();
        let prefix = format!("ringfence_{series} ");
        let value = page.lines().find_map(|line| line.strip_prefix(prefix.as_str()));
        // Gauges are written as fractions.
        value.map_or(0, |value| value.strip_suffix(".0").unwrap_or(value).parse().unwrap())
    }

    /// Connections now.
    pub(crate) fn live(&self) -> u64 {
        self.metric("table_entries{table=\"connections\"}")
    }

    pub(crate) fn hang_up_all(&self) {
        for call in self.get("/api/calls")["calls"].as_array().unwrap() {
            let name = call["id"].as_str().unwrap();
            agent().post(format!("http://{}/api/calls/{name}/hang_up", self.admin)).send_empty().unwrap();
        }
    }

    pub(crate) fn edit(&self, pbx: SocketAddr, more: &str) {
        std::fs::write(&self.config, Self::settings(pbx, more)).unwrap();
    }

    pub(crate) fn get(&self, path: &str) -> serde_json::Value {
        let mut response = agent().get(format!("http://{}{path}", self.admin)).call().unwrap();
        response.body_mut().read_json().unwrap()
    }

    pub(crate) fn generation(&self) -> u64 {
        self.get("/health")["generation"].as_u64().unwrap()
    }

    pub(crate) fn until(&self, what: &str, mut test: impl FnMut(&Self) -> bool) {
        let begun = now();
        while !test(self) {
            assert!(now() - begun < PATIENCE, "{what} did not come");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    pub(crate) fn ended(&mut self) -> Option<i32> {
        let begun = now();
        while now() - begun < PATIENCE {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        None
    }

    pub(crate) fn calls(&self) -> String {
        let output = ringfence(&["calls", "--config", self.config.to_str().unwrap()]);
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Firewall {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[expect(clippy::disallowed_methods, reason = "a test of a process lives in real time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

pub(crate) fn agent() -> ureq::Agent {
    ureq::Agent::config_builder().timeout_global(Some(PATIENCE)).http_status_as_error(false).build().into()
}

pub(crate) fn ringfence(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ringfence")).args(arguments).output().unwrap()
}
