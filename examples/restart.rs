//! Kills the firewall under running calls, starts it again, and prints what became of them.
//!
//! `cargo run --release --example restart -- --calls 200` needs no set-up: telephones, PBX and firewall are on
//! loopback. The firewall is the real one, in a process of its own (this program, called with `run`). Exit code 1 if a
//! call is lost, a request fails, or audio is away for 1.5 s or longer after the start.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a tool that fails by panicking"
)]

#[path = "../tests/phones/mod.rs"]
mod phones;
#[path = "../tests/plain_sip/mod.rs"]
mod plain_sip;

use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use phones::mass::{CALLEE, CALLER, Mass};
use ringfence::io::clock;

/// The aim: audio flows again this long after the start of the process.
const AIM: Duration = Duration::from_millis(1_500);
const PATIENCE: Duration = Duration::from_secs(60);
const AT: &str = "127.0.0.41";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["run", ..] => ringfence::cli::run(<ringfence::cli::Cli as clap::Parser>::parse()),
        [] => measure(200),
        ["--calls", calls] => measure(calls.parse().expect("a number of calls")),
        _ => {
            eprintln!("usage: restart [--calls N]");
            ExitCode::from(2)
        }
    }
}

struct Firewall {
    child: Child,
    started: Instant,
}

impl Firewall {
    fn start(config: &Path) -> Self {
        let started = clock::now();
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["run", "--config"])
            .arg(config)
            .stderr(Stdio::piped())
            .spawn()
            .expect("a process");
        let lines = BufReader::new(child.stderr.take().expect("its log")).lines();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok).filter(|line| line.contains(" WARN ") || line.contains("ERROR")) {
                eprintln!("firewall: {line}");
            }
        });
        Self { child, started }
    }

    fn kill(&mut self) {
        self.child.kill().expect("SIGKILL");
        self.child.wait().expect("its end");
    }
}

impl Drop for Firewall {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn get(admin: SocketAddr, path: &str) -> Option<serde_json::Value> {
    ureq::get(format!("http://{admin}{path}")).call().ok()?.body_mut().read_json().ok()
}

fn calls_now(admin: SocketAddr) -> Option<u64> {
    get(admin, "/health")?["calls"].as_u64()
}

/// Prints what became of each part of the trial. Exit code 1 if one has failed.
fn measure(calls: usize) -> ExitCode {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("ringfence.toml");
    let mass = Mass::new("127.0.2.41", "127.0.0.42", calls);
    let sip = UdpSocket::bind((AT, 0)).and_then(|socket| socket.local_addr()).expect("a port");
    let admin = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port");
    let settings = format!(
        "[[listen]]\naddress = \"{sip}\"\n[pbx]\naddress = \"{}\"\n[[trunk]]\nname = \"trunk\"\n\
         address = \"127.0.2.200\"\nnetworks = [\"127.0.2.0/24\"]\n[admin]\naddress = \"{admin}\"\n\
         [media]\nports = \"30000-{}\"\n[limits.per_source]\ncalls = \"100000/1m\"\n",
        mass.pbx(),
        // Twice what the calls take: a trunk alone never gets all the room.
        30_000 + 8 * calls + 200,
    );
    std::fs::write(&config, settings).expect("the settings");
    let mut trial = Trial { mass, calls, admin, failed: false };

    let firewall = Firewall::start(&config);
    trial.call(sip);
    let journal = std::fs::metadata(folder.path().join("calls.journal")).map_or(0, |file| file.len());
    println!("       the journal has {} KB", journal / 1_024);
    let firewall = trial.kill_and_start(firewall, &config);
    let some = calls.min(20);
    trial.invite_again(some);
    trial.divert(some);
    trial.hang_up();
    trial.look_at_records();
    drop(firewall);
    if trial.failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Calls through a firewall that is killed under them.
struct Trial {
    mass: Mass,
    calls: usize,
    admin: SocketAddr,
    failed: bool,
}

impl Trial {
    fn say(&mut self, good: bool, text: &str) {
        self.failed |= !good;
        println!("{} {text}", if good { "ok    " } else { "FAILED" });
    }

    /// The firewall is up, and all calls are answered and talk.
    fn call(&mut self, sip: SocketAddr) {
        let Self { mass, admin, .. } = self;
        let up = mass.until(PATIENCE, |_| calls_now(*admin).is_some());
        let answered = up && mass.dial(sip);
        let since = clock::now();
        let heard = mass.until(PATIENCE, |mass| mass.lines.iter().all(|line| line.hears_since(since)));
        mass.run(Duration::from_secs(3));
        self.say(answered && heard, &format!("{} calls answered, audio both ways", self.calls));
    }

    /// The process is killed and another is started: after how long does each end hear audio again?
    fn kill_and_start(&mut self, mut firewall: Firewall, config: &Path) -> Firewall {
        firewall.kill();
        let killed = clock::now();
        let (mass, ends) = (&mut self.mass, 2 * self.calls);
        // What was on its way is heard, and then nothing.
        mass.run(Duration::from_millis(500));
        mass.listen();
        drop(firewall);
        let firewall = Firewall::start(config);
        let started = firewall.started;
        mass.until(PATIENCE, |mass| mass.waits(started).iter().all(Option::is_some));
        let mut waits: Vec<Duration> = mass.waits(started).into_iter().flatten().collect();
        waits.sort();
        let (heard, pause) = (waits.len(), (started - killed).as_secs_f64());
        let text = format!("killed, started again after {pause:.1} s: {heard} of {ends} ends hear audio");
        self.say(heard == ends, &text);
        if let (Some(median), Some(worst)) = (waits.get(waits.len() / 2), waits.last()) {
            let (median, worst_s) = (median.as_secs_f64(), worst.as_secs_f64());
            let text = format!("audio after the start: median {median:.2} s, worst {worst_s:.2} s (aim 1.5 s)");
            self.say(*worst < AIM, &text);
        }
        let admin = self.admin;
        self.mass.until(PATIENCE, |_| calls_now(admin).is_some());
        firewall
    }

    /// One end of some calls sends a re-INVITE.
    fn invite_again(&mut self, some: usize) {
        let mass = &mut self.mass;
        for number in 0..some {
            mass.request(number, side(number), "INVITE", true);
        }
        let again = |mass: &Mass| {
            let answered = |number: usize| {
                let [caller, callee] = mass.lines[number].answers;
                if side(number) == CALLER { caller == 2 } else { callee == 1 }
            };
            (0..some).filter(|number| answered(*number)).count()
        };
        mass.until(PATIENCE, |mass| again(mass) == some);
        let count = again(mass);
        self.say(count == some, &format!("re-INVITE: {count} of {some} answered"));
    }

    /// Some calls are taken away over the API.
    fn divert(&mut self, some: usize) {
        let admin = self.admin;
        let running = get(admin, &format!("/api/calls?limit={some}")).unwrap_or_default();
        let calls = running["calls"].as_array().into_iter().flatten();
        for id in calls.filter_map(|call| call["id"].as_str()) {
            if let Err(error) = ureq::post(format!("http://{admin}/api/calls/{id}/divert")).send_empty() {
                println!("       divert {id}: {error}");
            }
        }
        self.mass.until(PATIENCE, |mass| over(mass) == some);
        let count = over(&self.mass);
        self.say(count == some, &format!("divert: {count} of {some} taken away, warned and ended"));
    }

    /// One end of each call that still runs hangs up.
    fn hang_up(&mut self) {
        let (mass, calls) = (&mut self.mass, self.calls);
        for number in 0..calls {
            if mass.lines[number].over != [true; 2] {
                mass.bye(number, side(number));
                mass.run(Duration::from_millis(1));
            }
        }
        mass.until(PATIENCE, |mass| over(mass) == calls);
        let count = over(mass);
        self.say(count == calls, &format!("BYE: {count} of {calls} calls are over at both ends"));
    }

    /// Every call has a complete record, and none is left.
    fn look_at_records(&mut self) {
        let (admin, expected) = (self.admin, self.calls.min(1_000));
        let recorded = || {
            let ended = get(admin, "/api/calls/ended?limit=1000").unwrap_or_default();
            let ended = ended["calls"].as_array().cloned().unwrap_or_default();
            ended.iter().filter(|call| call["how"] == "bye" || call["how"] == "diverted").count()
        };
        self.mass.until(PATIENCE, |_| recorded() == expected);
        let count = recorded();
        self.say(count == expected, &format!("records: {count} complete"));
        self.mass.until(PATIENCE, |_| calls_now(admin) == Some(0));
        let left = calls_now(admin);
        self.say(left == Some(0), &format!("left over: {} calls", left.unwrap_or(u64::MAX)));
    }
}

/// The end of a call that asks for something: callers and callees in turn.
fn side(number: usize) -> usize {
    if number.is_multiple_of(2) { CALLER } else { CALLEE }
}

/// How many calls are over at both ends.
fn over(mass: &Mass) -> usize {
    mass.lines.iter().filter(|line| line.over == [true; 2]).count()
}
