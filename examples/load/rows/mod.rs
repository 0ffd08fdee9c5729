//! The bench: Ringfence beside Kamailio and rtpengine, the same load for each, in turn, several times in one go.

mod table;

use std::collections::BTreeMap;
use std::process::{Command, ExitCode};

use serde_json::Value;

use super::systems::{self, NG, PROXY, Ringfence, Running, STRANGER, WILD_TRUNK};
use super::{calls, cpu};
use table::Table;

/// Good calls beside a flood, a second.
const GOOD: f64 = 200.0;
/// Messages of a flood, a second.
const FLOOD: f64 = 20_000.0;
/// More than any machine could bear.
const WILD_FLOOD: f64 = 60_000.0;
/// Packets that share a wake-up are relayed later for it, by so much at most against rtpengine.
const LATE: f64 = 2.0;
/// Sources of a flood that no table holds.
const SOURCES: u32 = 1_000_000;
/// Memory that they may take, MB: the 65,536 that are remembered by default at half a kilobyte each, or at a quarter.
const SOURCES_MB: [f64; 2] = [32.0, 16.0];
/// Reading a list must not delay a packet by more.
const TIMELY_MS: f64 = 5.0;

#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Options {
    /// calls, flood, spoofed, good, rtp, core, memory, reload; all of them if none is named
    rows: Vec<String>,
    /// How often each is measured
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Seconds of one measurement
    #[arg(long, default_value_t = 8.0)]
    seconds: f64,
    /// Calls a second of the row `calls`; less where the machine does not bear it
    #[arg(long, default_value_t = 1_000.0)]
    rate: f64,
    /// Calls with audio at a time
    #[arg(long, default_value_t = 400)]
    audio: usize,
}

type Row = fn(&Bench);

/// Every row, in the order of the table.
const ROWS: [(&str, Row); 8] = [
    ("calls", Bench::calls),
    ("flood", Bench::flood),
    ("spoofed", Bench::spoofed),
    ("good", Bench::good),
    ("rtp", Bench::rtp),
    ("core", Bench::core),
    ("memory", Bench::memory),
    ("reload", Bench::reload),
];

pub(crate) fn run(options: &Options) -> ExitCode {
    if let Some(unknown) = options.rows.iter().find(|row| !ROWS.iter().any(|(name, _)| name == row)) {
        eprintln!("no row {unknown}; there are: {}", ROWS.map(|(name, _)| name).join(" "));
        return ExitCode::from(2);
    }
    let bench = Bench { options: options.clone(), table: Table::default() };
    for (name, row) in ROWS {
        if options.rows.is_empty() || options.rows.iter().any(|row| row == name) {
            eprintln!("== {name}");
            row(&bench);
        }
    }
    bench.table.print(options.runs);
    ExitCode::SUCCESS
}

struct Bench {
    options: Options,
    table: Table,
}

/// Figures of several runs, by system.
type Runs = BTreeMap<&'static str, Vec<Value>>;

/// One load as a process of its own, so that what it uses is nobody else's.
fn load(core: Option<&str>, arguments: &[String]) -> std::process::Child {
    let program = std::env::current_exe().expect("this program");
    let mut command = match core {
        Some(core) => {
            let mut command = Command::new("taskset");
            command.args(["-c", core]).arg(program);
            command
        }
        None => Command::new(program),
    };
    command.args(arguments).stdout(std::process::Stdio::piped()).spawn().expect("a process")
}

fn outcome(child: std::process::Child) -> Value {
    let output = child.wait_with_output().expect("its end");
    assert!(output.status.success(), "a load failed");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn number(value: &Value, path: &str) -> f64 {
    value.pointer(path).and_then(Value::as_f64).unwrap_or(f64::NAN)
}

fn figures(runs: &Runs, system: &str, path: &str) -> Vec<f64> {
    runs.get(system).into_iter().flatten().map(|value| number(value, path)).collect()
}

/// Percent of the calls that ended as they should.
fn good(runs: &Runs, system: &str) -> Vec<f64> {
    runs.get(system)
        .into_iter()
        .flatten()
        .map(|value| 100.0 * number(value, "/done") / number(value, "/calls"))
        .collect()
}

impl Bench {
    fn each(&self, mut measure: impl FnMut(&mut Runs)) -> Runs {
        let mut runs = Runs::new();
        for run in 1..=self.options.runs {
            eprintln!("   run {run} of {}", self.options.runs);
            measure(&mut runs);
        }
        runs
    }

    fn calls_at(rate: f64, seconds: f64, pid: u32) -> Value {
        Self::calls_by(rate, seconds, &format!("--proxy {PROXY} --pid {pid}"))
    }

    fn calls_by(rate: f64, seconds: f64, way: &str) -> Value {
        let calls = (rate * seconds) as usize;
        outcome(load(None, &words(&format!("calls --rate {rate} --calls {calls} {way}"))))
    }

    /// The highest of a few rates at which neither loses a call.
    fn borne(&self) -> f64 {
        for rate in [1.0, 0.75, 0.5, 0.25].map(|share| share * self.options.rate) {
            let bears = |system: Running| {
                Self::calls_at(rate / 4.0, 1.0, system.pid());
                let calls = Self::calls_at(rate, 3.0, system.pid());
                eprintln!("   {} at {rate} calls/s: {} of {} lost", system.name, calls["lost"], calls["calls"]);
                calls["done"] == calls["calls"]
            };
            if bears(systems::kamailio(1_000_000)) && bears(Ringfence::default().start()) {
                return rate;
            }
        }
        0.1 * self.options.rate
    }

    fn calls(&self) {
        let rate = self.borne();
        let runs = self.each(|runs| {
            // Nothing between the telephones: what a call takes without either.
            let direct = Self::calls_by(rate, self.options.seconds, "");
            eprintln!("   direct {direct}");
            runs.entry("direct").or_default().push(direct);
            for system in [0, 1] {
                let system = if system == 0 { systems::kamailio(1_000_000) } else { Ringfence::default().start() };
                Self::calls_at(rate / 4.0, 2.0, system.pid());
                let calls = Self::calls_at(rate, self.options.seconds, system.pid());
                eprintln!("   {} {calls}", system.name);
                runs.entry(system.name).or_default().push(calls);
            }
        });
        let of = |system, path| figures(&runs, system, path);
        let title = |what: &str| format!("{what}, {rate} calls/s");
        let added = |system, path| {
            of(system, path)
                .into_iter()
                .zip(of("direct", path))
                .map(|(with, without)| with - without)
                .collect::<Vec<_>>()
        };
        let path = "/cpu_us_per_call";
        let title_of_cpu = title("CPU per call, us");
        self.table.ratio(&title_of_cpu, &of("ringfence", path), "kamailio", &of("kamailio", path), 0.5, 0.35);
        for (what, path, must, aim) in
            [("added set-up p50, us", "/setup_us/p50", 0.6, 0.4), ("added set-up p99, us", "/setup_us/p99", 1.0, 1.0)]
        {
            self.table.ratio(&title(what), &added("ringfence", path), "kamailio", &added("kamailio", path), must, aim);
        }
        self.table.at_least(&title("calls completed, %"), &good(&runs, "ringfence"), 100.0, 100.0);
    }

    /// Starts a flood beside whatever else; to be waited for.
    fn flood_by(source: &str, rate: f64, seconds: f64, pid: u32) -> std::process::Child {
        let line = format!(
            "flood --to {PROXY} --from {source}:26066 --rate {rate} --before 1 --seconds {seconds} --pid {pid}"
        );
        load(None, &words(&line))
    }

    fn flood(&self) {
        let runs = self.each(|runs| {
            for system in [0, 1] {
                let system = if system == 0 { systems::kamailio(200) } else { Ringfence::default().start() };
                let flood = outcome(Self::flood_by(STRANGER, FLOOD, self.options.seconds, system.pid()));
                eprintln!("   {} {flood}", system.name);
                runs.entry(system.name).or_default().push(flood);
            }
        });
        let of = |system| figures(&runs, system, "/cpu_us_per_message");
        let title = format!("CPU per dropped message of a flood of {FLOOD}/s, us");
        self.table.ratio(&title, &of("ringfence"), "kamailio", &of("kamailio"), 0.4, 0.02);
    }

    /// Each message from another address, as if they were forged.
    fn spoofed(&self) {
        let mut grown = Vec::new();
        let mut sent = Vec::new();
        let runs = self.each(|runs| {
            let system = Ringfence::default().start();
            let pid = system.pid();
            let seconds = f64::from(SOURCES) / FLOOD;
            // As many calls before as meanwhile, and as long: what they leave behind is in both measurements.
            Self::calls_at(GOOD, seconds - 5.0, pid);
            let before = cpu::memory_kb(pid);
            let line = format!(
                "flood --to {PROXY} --from 127.16.0.1:26066 --sources {SOURCES} --rate {FLOOD} --seconds {seconds} --pid {pid}"
            );
            let flood = load(None, &words(&line));
            let calls = Self::calls_at(GOOD, seconds - 5.0, pid);
            let flood = outcome(flood);
            grown.push((cpu::memory_kb(pid) as f64 - before as f64) / 1_024.0);
            sent.push(number(&flood, "/sent"));
            eprintln!("   {} beside {SOURCES} sources: {calls} {flood}", system.name);
            runs.entry("ringfence").or_default().push(calls);
        });
        let title = |what: &str| format!("{what}: {SOURCES} spoofed sources, {FLOOD}/s");
        let [must, aim] = SOURCES_MB;
        self.table.at_most(&title("memory grown, MB"), &grown, "", &[], must, aim);
        self.table.at_least(&title("good calls, %"), &good(&runs, "ringfence"), 100.0, 100.0);
        self.table.told(&title("sources heard of"), &sent, "", &[]);
    }

    /// Good calls while `source` floods.
    fn good_beside(&self, system: &Running, source: &str, rate: f64) -> Value {
        Self::calls_at(GOOD, 1.0, system.pid());
        let flood = Self::flood_by(source, rate, self.options.seconds + 1.0, system.pid());
        std::thread::sleep(std::time::Duration::from_secs(1));
        let calls = Self::calls_at(GOOD, self.options.seconds - 1.0, system.pid());
        let flood = outcome(flood);
        eprintln!("   {} beside {source}: {calls} {flood}", system.name);
        calls
    }

    fn good(&self) {
        let no_limits = Ringfence { no_limits: true, ..Ringfence::default() };
        for (what, ringfence, ban_at, source, rate) in [
            ("a stranger floods", Ringfence::default(), Some(200), STRANGER, FLOOD),
            ("a stranger, no limits", no_limits, Some(100_000_000), STRANGER, FLOOD),
            ("a trunk, no limits", no_limits, None, WILD_TRUNK, FLOOD),
            ("a stranger, no limits, 60,000/s", no_limits, None, STRANGER, WILD_FLOOD),
            ("a trunk, no limits, 60,000/s", no_limits, None, WILD_TRUNK, WILD_FLOOD),
        ] {
            let runs = self.each(|runs| {
                let reference = ban_at.map(|limit| move || systems::kamailio(limit));
                let reference = reference.map(|start| self.good_beside(&start(), source, rate));
                runs.entry("kamailio").or_default().extend(reference);
                let calls = self.good_beside(&ringfence.start(), source, rate);
                runs.entry("ringfence").or_default().push(calls);
            });
            let beside = good(&runs, "kamailio");
            let must = if rate > FLOOD { 0.0 } else { 100.0 };
            self.table.beside(
                &format!("good calls, %: {what}"),
                &good(&runs, "ringfence"),
                "kamailio",
                &beside,
                must,
                100.0,
            );
        }
    }

    /// Audio through one core of a system, the load on another.
    fn audio(system: &Running, calls: usize, seconds: f64, more: &str) -> Value {
        let way = if system.name == "rtpengine" { format!("--ng {NG}") } else { format!("--sip {PROXY}") };
        let line = format!("audio {way} --calls {calls} --seconds {seconds} --pid {} {more}", system.pid());
        let audio = outcome(load(Some("0"), &words(&line)));
        eprintln!("   {} {audio}", system.name);
        audio
    }

    fn rtp(&self) {
        let one_core = Ringfence { one_core: true, ..Ringfence::default() };
        let runs = self.each(|runs| {
            let Options { audio, seconds, .. } = self.options;
            let mut measure = |name, system: Running| {
                runs.entry(name).or_default().push(Self::audio(&system, audio, seconds, "--threads"));
            };
            measure("rtpengine", systems::rtpengine());
            measure("ringfence", one_core.start());
            measure("analysed", Ringfence { analysed: true, ..one_core }.start());
        });
        let of = |system, path| figures(&runs, system, path);
        let calls = self.options.audio;
        for (what, system, must, aim) in [("", "ringfence", 0.6, 0.5), (", analysed", "analysed", 0.85, 0.75)] {
            let (path, title) = ("/cpu_us_per_packet", format!("CPU per RTP packet, {calls} calls{what}, us"));
            self.table.ratio(&title, &of(system, path), "rtpengine", &of("rtpengine", path), must, aim);
            let (path, title) = ("/late_us/p99", format!("delay p99, {calls} calls{what}, us"));
            self.table.ratio(&title, &of(system, path), "rtpengine", &of("rtpengine", path), LATE, 1.0);
            let (path, title) = ("/lost_percent", format!("lost, {calls} calls{what}, %"));
            self.table.told(&title, &of(system, path), "rtpengine", &of("rtpengine", path));
        }
    }

    /// The most calls of a few numbers that one core carries with a p99 below 20 ms and next to no loss.
    fn core(&self) {
        let carried = |start: &dyn Fn() -> Running| {
            let mut most = 0;
            for calls in (300..=1_200).step_by(100) {
                let timely = || {
                    let audio = Self::audio(&start(), calls, self.options.seconds / 2.0, "");
                    number(&audio, "/late_us/p99") < 20_000.0 && number(&audio, "/lost_percent") < 0.1
                };
                // Once more: somebody else may have used the core.
                if !timely() && !timely() {
                    break;
                }
                most = calls;
            }
            most as f64
        };
        let runs: Vec<[f64; 2]> = (0..self.options.runs)
            .map(|_| {
                let analysed = Ringfence { analysed: true, one_core: true, ..Ringfence::default() };
                [carried(&systems::rtpengine), carried(&|| analysed.start())]
            })
            .collect();
        let of = |system: usize| runs.iter().map(|run| run[system]).collect::<Vec<_>>();
        self.table.beside("calls on one core, analysed, p99 below 20 ms", &of(1), "rtpengine", &of(0), 700.0, 900.0);
    }

    fn memory(&self) {
        // One trunk may have four fifths of what `ulimit -n` allows: 20,000 sockets are 4,000 calls.
        let answered = 3_900;
        let runs = self.each(|runs| {
            for system in [0, 1] {
                let system = if system == 0 { systems::kamailio(1_000_000) } else { Ringfence::default().start() };
                Self::calls_at(GOOD, 2.0, system.pid());
                // Until the transactions of these first calls are gone, as those of the others will be.
                std::thread::sleep(calls::LINGER);
                let hold = answered as f64 / 400.0 + calls::LINGER.as_secs_f64() + 3.0;
                let pid = system.pid();
                let line =
                    format!("calls --proxy {PROXY} --rate 400 --calls {answered} --hold {hold} --memory --pid {pid}");
                let calls = outcome(load(None, &words(&line)));
                eprintln!("   {} {calls}", system.name);
                runs.entry(system.name).or_default().push(calls);
            }
            let audio = self.options.audio;
            let analysed = Ringfence { analysed: true, ..Ringfence::default() };
            let mut measure = |name, system: Running| {
                // Until what is left of setting them up is gone, too.
                let more = format!("--before {}", audio / 4);
                runs.entry(name).or_default().push(Self::audio(&system, audio, calls::LINGER.as_secs_f64(), &more));
            };
            measure("rtpengine", systems::rtpengine());
            measure("analysed", analysed.start());
            measure("words", Ringfence { words: true, ..analysed }.start());
        });
        let of = |system| figures(&runs, system, "/memory_kb_per_call");
        self.table.at_most("memory per answered call, kB", &of("ringfence"), "kamailio", &of("kamailio"), 4.75, 3.0);
        let title = "memory per call with media and analysis, kB";
        self.table.at_most(title, &of("analysed"), "rtpengine", &of("rtpengine"), 43.0, 20.0);
        self.table.told("the same with audio kept for words, kB", &of("words"), "", &[]);
    }

    fn reload(&self) {
        let mut took = Vec::new();
        let runs = self.each(|runs| {
            let system = Ringfence { listed: 1_000_000, ..Ringfence::default() }.start();
            let line = format!("audio --sip {PROXY} --calls 50 --seconds 4 --pid {}", system.pid());
            // What the machine does to packets without a reload.
            let without = outcome(load(None, &words(&line)));
            eprintln!("   without {without}");
            runs.entry("without").or_default().push(without);
            let audio = load(None, &words(&line));
            // In the middle of the audio that is measured.
            std::thread::sleep(std::time::Duration::from_millis(3_000));
            took.push(systems::reload(&system).as_secs_f64());
            let audio = outcome(audio);
            eprintln!("   reload in {:.3} s beside {audio}", took.last().unwrap_or(&0.0));
            runs.entry("ringfence").or_default().push(audio);
        });
        let late = |name| figures(&runs, name, "/late_us/max").iter().map(|us| us / 1e3).collect::<Vec<_>>();
        self.table.at_most("reload of 1,000,000 numbers, s", &took, "", &[], 1.0, 0.3);
        let (title, beside) = ("latest packet meanwhile, ms", late("without"));
        self.table.at_most(title, &late("ringfence"), "without", &beside, TIMELY_MS, TIMELY_MS);
    }
}
