//! `ringfence eval MANIFEST.csv`.

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use clap::Args;

use super::{EarOptions, Failure, say, warn};
use crate::io::clock;
use crate::offline::{Baseline, Calibration, Outcome, Recording, Tables, hear, mistakes, page, plot};
use crate::offline::{read_manifest, write_calls};
use crate::policy::judge::Class;
use crate::policy::rules::Policy;

#[derive(Args)]
pub(crate) struct Eval {
    /// CSV with a header: id, file, label and, where known, kind, caller_onset_ms, first_instruction_ms
    manifest: PathBuf,
    /// Write the tables as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write one row a call: id,label,kind,class,probability,action,decided_ms,reasons
    #[arg(long, value_name = "FILE.csv")]
    calls: Option<PathBuf>,
    /// Beside the tables, what rules of others say: Asterisk AMD, the longest monologue, a key prompt alone
    #[arg(long)]
    baseline: bool,
    /// Write a page: ROC, calibration, time to verdict, worst mistakes with their pictures
    #[arg(long, value_name = "FOLDER")]
    report: Option<PathBuf>,
    /// Calls that are heard at a time [default: the number of cores]
    #[arg(long, value_name = "NUMBER")]
    threads: Option<usize>,
    /// How long after the answer to listen
    #[arg(long, value_name = "TIME", default_value = "25s", value_parser = humantime::parse_duration)]
    watch_for: Duration,
    #[command(flatten)]
    ear: EarOptions,
}

impl Eval {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let failed =
            |file: &PathBuf, error: &dyn std::fmt::Display| Failure::Run(format!("{}: {error}", file.display()));
        let calls = read_manifest(&self.manifest).map_err(|error| failed(&self.manifest, &error))?;
        let ear = self.ear.open()?;
        if let Some(why) = ear.without_words() {
            say(&format!("words are off: {why}\n"));
        }
        let begun = clock::now();
        let (next, outcomes) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        let (unheard, plots) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
        let threads = self.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
        std::thread::scope(|scope| {
            for _ in 0..threads.max(1) {
                scope.spawn(|| {
                    let ear = ear.another();
                    while let Some((number, call)) =
                        Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|n| Some((n, calls.get(n)?)))
                    {
                        match Recording::read(&call.path) {
                            Ok(recording) => {
                                let heard = ear.with(|knowledge, recognise| {
                                    hear(&recording, knowledge, &Policy::default(), self.watch_for, recognise)
                                });
                                let outcome = Outcome::of(call, &heard);
                                let rules = Baseline::of(&recording, &heard);
                                if self.report.is_some() && !mistakes(std::slice::from_ref(&outcome)).is_empty() {
                                    let picture = (call.id.clone(), plot(&call.id, &recording, &heard));
                                    plots.lock().unwrap_or_else(PoisonError::into_inner).push(picture);
                                }
                                outcomes.lock().unwrap_or_else(PoisonError::into_inner).push((number, outcome, rules));
                            }
                            Err(error) => {
                                let text = format!("{}: {error}", call.path.display());
                                unheard.lock().unwrap_or_else(PoisonError::into_inner).push(text);
                            }
                        }
                    }
                });
            }
        });
        let mut outcomes = outcomes.into_inner().unwrap_or_else(PoisonError::into_inner);
        outcomes.sort_by_key(|(number, ..)| *number);
        let (outcomes, rules): (Vec<Outcome>, Vec<Baseline>) =
            outcomes.into_iter().map(|(_, outcome, rules)| (outcome, rules)).unzip();
        let tables = Tables::new(&outcomes);
        say(&tables.text());
        say(&format!("expected calibration error: {:.3}", Calibration::of(&outcomes).error));
        if self.baseline {
            say(&baselines(&outcomes, &rules));
        }
        if let Some(folder) = &self.report {
            let plots = plots.into_inner().unwrap_or_else(PoisonError::into_inner);
            let written = write_report(folder, &self.manifest.display().to_string(), &outcomes, &tables, &plots);
            written.map_err(|error| failed(folder, &error))?;
        }
        say(&format!("{} calls in {:.0} s", outcomes.len(), clock::now().duration_since(begun).as_secs_f32()));
        if let Some(file) = &self.json {
            let json = serde_json::json!({ "tables": tables, "calls": outcomes });
            let text = serde_json::to_string_pretty(&json).map_err(|error| failed(file, &error))?;
            std::fs::write(file, text).map_err(|error| failed(file, &error))?;
        }
        if let Some(file) = &self.calls {
            let to = std::fs::File::create(file).map_err(|error| failed(file, &error))?;
            write_calls(&outcomes, to).map_err(|error| failed(file, &error))?;
        }
        let unheard = unheard.into_inner().unwrap_or_else(PoisonError::into_inner);
        for text in &unheard {
            warn(text);
        }
        if unheard.is_empty() {
            Ok(())
        } else {
            Err(Failure::Run(format!("{} calls could not be heard", unheard.len())))
        }
    }
}

/// Share of each label's calls for which a rule of others says "machine".
fn baselines(outcomes: &[Outcome], rules: &[Baseline]) -> String {
    let mut text = format!(
        "\n{:12} {:>6} {:>18} {:>18} {:>18}\n",
        "label", "calls", "Asterisk AMD", "monologue > 6 s", "key prompt alone"
    );
    for class in Class::ALL.into_iter().rev() {
        let of: Vec<&Baseline> =
            outcomes.iter().zip(rules).filter(|(outcome, _)| outcome.label == class).map(|(_, rules)| rules).collect();
        let share = |says: fn(&Baseline) -> bool| {
            let count = of.iter().filter(|rules| says(rules)).count();
            format!("{:.1} %", 100.0 * count as f64 / of.len().max(1) as f64)
        };
        let (amd, monologue, prompt) = (share(|r| r.amd_machine), share(|r| r.monologue), share(|r| r.key_prompt));
        text.push_str(&format!("{:12} {:>6} {amd:>18} {monologue:>18} {prompt:>18}\n", class.label(), of.len()));
    }
    text
}

fn write_report(
    folder: &std::path::Path,
    manifest: &str,
    outcomes: &[Outcome],
    tables: &Tables,
    plots: &[(String, String)],
) -> std::io::Result<()> {
    // Names come from the manifest; only plain ones become file names.
    let plain = |id: &str| !id.is_empty() && id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    std::fs::create_dir_all(folder.join("plots"))?;
    let mut drawn = Vec::new();
    for (id, svg) in plots.iter().filter(|(id, _)| plain(id)) {
        std::fs::write(folder.join("plots").join(format!("{id}.svg")), svg)?;
        drawn.push(id.clone());
    }
    std::fs::write(folder.join("index.html"), page(manifest, outcomes, tables, &drawn))
}
