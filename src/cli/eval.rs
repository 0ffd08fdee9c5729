//! `ringfence eval MANIFEST.csv`.

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use clap::Args;

use super::{EarOptions, Failure, say, warn};
use crate::io::clock;
use crate::offline::{Outcome, Recording, Tables, hear, read_manifest, write_calls};
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
        let unheard = Mutex::new(Vec::new());
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
                                outcomes.lock().unwrap_or_else(PoisonError::into_inner).push((number, outcome));
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
        outcomes.sort_by_key(|(number, _)| *number);
        let outcomes: Vec<Outcome> = outcomes.into_iter().map(|(_, outcome)| outcome).collect();
        let tables = Tables::new(&outcomes);
        say(&tables.text());
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
