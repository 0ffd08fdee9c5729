//! `ringfence eval MANIFEST.csv`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use clap::Args;

use super::{EarOptions, Failure, missing_words, say, warn};
use crate::io::clock;
use crate::offline::{
    BadRecording, Baseline, Calibration, Ear, Labelled, Manifest, Outcome, Recording, Tables, hear, is_mistake, page,
    plot, read_manifest, write_calls,
};
use crate::policy::judge::Class;
use crate::policy::rules::Policy;

#[derive(Args)]
pub(crate) struct Eval {
    /// CSV with a header: id, file, label and, where known, kind, caller_onset_ms, first_instruction_ms, script, voice
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
    /// How long to listen, from the caller's first speech on
    #[arg(long, value_name = "TIME", default_value = super::WATCH_FOR, value_parser = humantime::parse_duration)]
    watch_for: Duration,
    #[command(flatten)]
    ear: EarOptions,
}

/// What became of one call of the manifest.
struct Evaluated {
    outcome: Outcome,
    baseline: Baseline,
    words_failed: usize,
    /// As SVG; only of a mistake, and only where a report wants it.
    plot: Option<String>,
}

/// What became of all of them, in the order of the manifest.
#[derive(Default)]
struct Evaluation {
    outcomes: Vec<Outcome>,
    /// One for each outcome.
    baselines: Vec<Baseline>,
    /// One for each outcome: its picture, where it has one.
    plots: Vec<Option<String>>,
    /// Why calls could not be heard: one text for each.
    unheard: Vec<String>,
    /// Word runs in which the speech model failed.
    words_failed: usize,
}

impl Eval {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let Manifest { calls, bad } =
            read_manifest(&self.manifest).map_err(|error| Failure::with_file(&self.manifest, &error))?;
        let bad: Vec<String> = bad.iter().map(|bad| format!("{}: {bad}", self.manifest.display())).collect();
        if calls.is_empty() {
            return all_told(&bad);
        }
        self.can_write()?;
        let ear = self.ear.open()?;
        if let Some(why) = ear.without_words() {
            say(&format!("words are off: {why}\n"));
        }
        let begun = clock::now();
        let Evaluation { outcomes, baselines, plots, unheard, words_failed } = self.evaluate(&calls, &ear);
        if let Some(missing) = missing_words(words_failed) {
            say(&missing);
        }
        let tables = Tables::new(&outcomes);
        say(&tables.text());
        say(&format!("expected calibration error: {:.3}", Calibration::of(&outcomes).error));
        if self.baseline {
            say(&baseline_table(&outcomes, &baselines));
        }
        say(&format!("{} calls in {:.0} s", outcomes.len(), clock::now().duration_since(begun).as_secs_f32()));
        // Each is written though another fails: hearing the calls may have taken an hour.
        let json = self.json.as_ref().map_or(Ok(()), |file| {
            write_json(file, &outcomes, &tables).map_err(|error| Failure::with_file(file, &error))
        });
        let rows = self.calls.as_ref().map_or(Ok(()), |file| {
            let to = std::fs::File::create(file).map_err(|error| Failure::with_file(file, &error))?;
            write_calls(&outcomes, to).map_err(|error| Failure::with_file(file, &error))
        });
        let report = self.report.as_ref().map_or(Ok(()), |folder| {
            let manifest = self.manifest.display().to_string();
            let written = write_report(folder, &manifest, &outcomes, &tables, &plots);
            written.map_err(|error| Failure::with_file(folder, &error))
        });
        let told = all_told(&[bad, unheard].concat());
        json.and(rows).and(report).and(told)
    }

    /// Finds out now, not after an hour. What is there already stays as it is until the end.
    fn can_write(&self) -> Result<(), Failure> {
        if let Some(folder) = &self.report {
            std::fs::create_dir_all(folder.join("plots")).map_err(|error| Failure::with_file(folder, &error))?;
        }
        let page = self.report.as_ref().map(|folder| folder.join("index.html"));
        // Opened for nothing, a pipe would be at its end.
        let opens = |file: &&PathBuf| !file.exists() || file.is_file() || file.is_dir();
        for file in [&self.json, &self.calls, &page].into_iter().flatten().filter(opens) {
            let opened = std::fs::OpenOptions::new().append(true).create(true).open(file);
            opened.map_err(|error| Failure::with_file(file, &error))?;
        }
        Ok(())
    }

    /// Hears all calls, several at a time. The order in which threads finish shows nowhere.
    fn evaluate(&self, calls: &[Labelled], ear: &Ear) -> Evaluation {
        let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        let threads = self.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
        std::thread::scope(|scope| {
            for _ in 0..threads.max(1) {
                scope.spawn(|| {
                    let ear = ear.another();
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        let Some(call) = calls.get(number) else { return };
                        let result = self.evaluate_call(call, &ear);
                        done.lock().unwrap_or_else(PoisonError::into_inner).push((number, call, result));
                    }
                });
            }
        });
        let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
        done.sort_by_key(|(number, ..)| *number);
        let mut evaluation = Evaluation::default();
        for (_, call, result) in done {
            evaluation.add(call, result);
        }
        evaluation
    }

    fn evaluate_call(&self, call: &Labelled, ear: &Ear) -> Result<Evaluated, BadRecording> {
        let recording = Recording::read(&call.path)?;
        let heard =
            ear.with(|knowledge, recognise| hear(&recording, knowledge, &Policy::default(), self.watch_for, recognise));
        let outcome = Outcome::of(call, &heard);
        let baseline = Baseline::of(&recording, &heard);
        let wants_plot = self.report.is_some() && is_mistake(&outcome);
        let words_failed = heard.words_failed;
        Ok(Evaluated { outcome, baseline, words_failed, plot: wants_plot.then(|| plot(&call.id, &recording, &heard)) })
    }
}

impl Evaluation {
    fn add(&mut self, call: &Labelled, result: Result<Evaluated, BadRecording>) {
        match result {
            Ok(Evaluated { outcome, baseline, words_failed, plot }) => {
                self.words_failed += words_failed;
                self.outcomes.push(outcome);
                self.baselines.push(baseline);
                self.plots.push(plot);
            }
            Err(error) => self.unheard.push(format!("{}: {error}", call.path.display())),
        }
    }
}

/// Says of each call why it could not be heard.
fn all_told(unheard: &[String]) -> Result<(), Failure> {
    unheard.iter().for_each(|text| warn(text));
    match unheard.len() {
        0 => Ok(()),
        1 => Err(Failure::Run("1 call could not be heard".to_owned())),
        count => Err(Failure::Run(format!("{count} calls could not be heard"))),
    }
}

/// Share of each label's calls for which a rule of others says "machine".
fn baseline_table(outcomes: &[Outcome], baselines: &[Baseline]) -> String {
    let mut text = format!(
        "\n{:12} {:>6} {:>18} {:>18} {:>18}\n",
        "label", "calls", "Asterisk AMD", "monologue >= 6 s", "key prompt alone"
    );
    for class in Class::ALL.into_iter().rev() {
        let of_class = outcomes.iter().zip(baselines).filter(|(outcome, _)| outcome.label == class);
        let of_class: Vec<&Baseline> = of_class.map(|(_, baseline)| baseline).collect();
        let share = |says: fn(&Baseline) -> bool| {
            let count = of_class.iter().filter(|baseline| says(baseline)).count();
            format!("{:.1} %", 100.0 * count as f64 / of_class.len().max(1) as f64)
        };
        let (amd, monologue, prompt) = (share(|b| b.amd_machine), share(|b| b.monologue), share(|b| b.key_prompt));
        text.push_str(&format!("{:12} {:>6} {amd:>18} {monologue:>18} {prompt:>18}\n", class.label(), of_class.len()));
    }
    text
}

fn write_json(file: &Path, outcomes: &[Outcome], tables: &Tables) -> std::io::Result<()> {
    let json = serde_json::json!({ "tables": tables, "calls": outcomes });
    std::fs::write(file, serde_json::to_string_pretty(&json)?)
}

fn write_report(
    folder: &Path,
    manifest: &str,
    outcomes: &[Outcome],
    tables: &Tables,
    plots: &[Option<String>],
) -> std::io::Result<()> {
    std::fs::create_dir_all(folder.join("plots"))?;
    let (mut drawn, mut seen) = (Vec::new(), BTreeMap::new());
    for (outcome, plot) in outcomes.iter().zip(plots) {
        let plot = plot.as_ref().and_then(|svg| Some((svg, picture(&outcome.id, &mut seen)?)));
        if let Some((svg, name)) = &plot {
            std::fs::write(folder.join("plots").join(name), svg)?;
        }
        drawn.push(plot.map(|(_, name)| name));
    }
    std::fs::write(folder.join("index.html"), page(manifest, outcomes, tables, &drawn))
}

/// File of a call's picture. Names come from the manifest: only plain ones become file names, and pictures of one name
/// are numbered. `seen`: how many have each.
fn picture<'a>(id: &'a str, seen: &mut BTreeMap<&'a str, usize>) -> Option<String> {
    /// A file system takes 255 letters.
    const LONGEST: usize = 200;
    let plain = id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    if !plain || id.is_empty() || id.len() > LONGEST {
        return None;
    }
    let count = seen.entry(id).or_insert(0);
    *count += 1;
    Some(if *count == 1 { format!("{id}.svg") } else { format!("{id}.{count}.svg") })
}
