//! Fits the judge's weights to labelled calls and cross-validates them.
//!
//! `cargo run --release --example fit -- MANIFEST.csv` prints the cross-validated figures, and the weights file fitted
//! to all calls on standard output. Folds keep together what shares a script cluster or a voice's recording, so that no
//! figure comes from a call whose wording was seen.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    clippy::needless_range_loop,
    reason = "a tool that fails by panicking"
)]

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ringfence::detect::evidence::Finding;
use ringfence::detect::phrase::{Book, Recogniser, ScheduleSettings, Transcript};
use ringfence::io::analysis::Knowledge;
use ringfence::offline::{Heard, Labelled, Recording, hear, read_manifest, recognise_with};
use ringfence::policy::judge::{Class, Measure, Sum, Weights};
use ringfence::policy::rules::Policy;
use ringfence::units::Ratio;

/// Folds of the cross-validation.
const FOLDS: usize = 5;

/// Strength of the pull towards zero.
const RIDGE: f64 = 0.006;

/// How long a call is heard.
const WATCH: Duration = Duration::from_secs(21);

type Words = Mutex<HashMap<String, (String, f32, u64)>>;

fn main() {
    let mut arguments = std::env::args_os().skip(1);
    let manifest = PathBuf::from(arguments.next().expect_argument());
    // A second argument names a file that keeps the words, so that a second run need not recognise them again.
    let cache = arguments.next().map(PathBuf::from);
    let calls = read_manifest(&manifest).unwrap_or_else(|error| panic!("{}: {error}", manifest.display()));
    let words = Mutex::new(cache.as_deref().map(read_cache).unwrap_or_default());

    eprintln!("hearing {} calls", calls.len());
    let heard = hear_all(&calls, &words);
    if let Some(cache) = &cache {
        write_cache(cache, &words);
    }
    if let Some(path) = arguments.next() {
        // A third argument names weights to try in place of fitted ones.
        let weights = Weights::parse(&std::fs::read_to_string(path).unwrap()).unwrap_or_else(|error| panic!("{error}"));
        let verdicts: Vec<_> = heard.iter().enumerate().map(|(n, heard)| (n, outcome(heard, &weights))).collect();
        return report(&calls, &verdicts);
    }
    let folds = folds(&calls);
    let mut verdicts = Vec::new();
    for fold in 0..FOLDS {
        let train: Vec<usize> = (0..calls.len()).filter(|n| folds[*n] != fold).collect();
        let weights = fit(&calls, &heard, &train);
        for n in (0..calls.len()).filter(|n| folds[*n] == fold) {
            verdicts.push((n, outcome(&heard[n], &weights)));
        }
    }
    report(&calls, &verdicts);
    phrases(&calls, &heard);
    let all: Vec<usize> = (0..calls.len()).collect();
    let weights = fit(&calls, &heard, &all);
    println!("{}", weights.to_toml());
}

trait ExpectArgument {
    fn expect_argument(self) -> std::ffi::OsString;
}

impl ExpectArgument for Option<std::ffi::OsString> {
    fn expect_argument(self) -> std::ffi::OsString {
        self.unwrap_or_else(|| {
            eprintln!("usage: fit MANIFEST.csv [WORDS.tsv]");
            std::process::exit(2)
        })
    }
}

fn read_cache(path: &Path) -> HashMap<String, (String, f32, u64)> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let row = |line: &str| {
        let mut fields = line.split('\t');
        let key = fields.next()?.to_owned();
        let (cost, confidence) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        Some((key, (fields.next()?.to_owned(), confidence, cost)))
    };
    text.lines().filter_map(row).collect()
}

fn write_cache(path: &Path, words: &Words) {
    let words = words.lock().unwrap();
    let sorted: BTreeMap<_, _> = words.iter().collect();
    let mut text = String::new();
    for (key, (said, confidence, cost)) in sorted {
        writeln!(text, "{key}\t{cost}\t{confidence}\t{}", said.replace(['\t', '\n'], " ")).unwrap();
    }
    std::fs::write(path, text).unwrap();
}

fn hear_all(calls: &[Labelled], words: &Words) -> Vec<Heard> {
    let knowledge = Knowledge {
        weights: Arc::new(Weights::built_in()),
        book: Book::built_in(),
        campaigns: Arc::default(),
        words: Some(ScheduleSettings::default()),
    };
    let model = Recogniser::load(Path::new("config/models/moonshine-tiny-en")).unwrap();
    let next = AtomicUsize::new(0);
    let results: Mutex<Vec<Option<Heard>>> = Mutex::new(vec![None; calls.len()]);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            let recogniser = model.another();
            let (next, results, knowledge) = (&next, &results, &knowledge);
            scope.spawn(move || {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    let Some(call) = calls.get(n) else { return };
                    let recording = Recording::read(&call.path).unwrap_or_else(|e| panic!("{}: {e}", call.id));
                    let mut recognise = |run: &ringfence::io::analysis::WordRun| {
                        let key = format!("{}:{}-{}", call.id, run.window.from.as_millis(), run.window.to.as_millis());
                        let known = words.lock().unwrap().get(&key).cloned();
                        if let Some((text, confidence, cost)) = known {
                            let confidence = Ratio::clamped(confidence);
                            return Some((Transcript { text, confidence }, Duration::from_micros(cost)));
                        }
                        let (transcript, cost) = recognise_with(&recogniser, run)?;
                        let entry = (transcript.text.clone(), transcript.confidence.get(), cost.as_micros() as u64);
                        words.lock().unwrap().insert(key, entry);
                        Some((transcript, cost))
                    };
                    let heard = hear(&recording, knowledge, &Policy::default(), WATCH, &mut recognise);
                    results.lock().unwrap()[n] = Some(heard);
                }
            });
        }
    });
    results.into_inner().unwrap().into_iter().map(Option::unwrap).collect()
}

/// Calls that share a cluster share a fold.
fn folds(calls: &[Labelled]) -> Vec<usize> {
    let mut groups: BTreeMap<String, usize> = BTreeMap::new();
    calls
        .iter()
        .map(|call| {
            let group = if call.cluster.is_empty() { call.id.clone() } else { call.cluster.clone() };
            let next = groups.len();
            *groups.entry(group).or_insert(next) % FOLDS
        })
        .collect()
}

/// One moment of one call: measures, weight, target.
type Example = ([f32; Measure::COUNT], f64, f64);

fn fit(calls: &[Labelled], heard: &[Heard], train: &[usize]) -> Weights {
    let (mut automated, mut scam) = (Vec::new(), Vec::new());
    for &n in train {
        let measured = &heard[n].measured;
        let weight = 1.0 / measured.len().max(1) as f64;
        for (_, measure) in measured {
            let measures = measure.measures();
            match calls[n].label {
                Class::NoSpeech => {}
                // Most calls are people; a fit on equal shares would begin every call at even odds.
                Class::Live => automated.push((measures, 4.0 * weight, 0.0)),
                Class::Recorded => {
                    automated.push((measures, weight, 1.0));
                    scam.push((measures, 2.0 * weight, 0.0));
                }
                Class::PressKey => {
                    automated.push((measures, weight, 1.0));
                    scam.push((measures, weight, 1.0));
                }
            }
        }
    }
    // No call of the corpus plays a recording of the library, so this one is set: a match is certain, and the library
    // holds scams.
    let known = |sum: Sum| sum.with(Measure::KnownRecording, 6.0);
    let (automated, scam) = (regress(&automated, &|_| true), regress(&scam, &is_of_words));
    Weights { version: 1, automated: known(automated), scam: known(scam) }
}

/// Timing tells a machine from a person, not a scam from a reminder: a weight for it there would be chance.
fn is_of_words(measure: Measure) -> bool {
    use Measure::{Automated, CallBack, KeyPrompt, Lawful, Scam, ScamAndPrompt, Talk};
    [Automated, CallBack, KeyPrompt, Lawful, Scam, ScamAndPrompt, Talk].contains(&measure)
}

/// Logistic regression by Newton's method with a ridge on all but the bias.
fn regress(examples: &[Example], counts: &dyn Fn(Measure) -> bool) -> Sum {
    const SIZE: usize = Measure::COUNT + 1;
    let mut beta = [0.0f64; SIZE];
    let total: f64 = examples.iter().map(|(_, weight, _)| weight).sum();
    for _ in 0..30 {
        let (mut gradient, mut hessian) = ([0.0f64; SIZE], vec![[0.0f64; SIZE]; SIZE]);
        for (measures, weight, target) in examples {
            let mut x = [1.0f64; SIZE];
            for ((slot, value), measure) in x.iter_mut().skip(1).zip(measures).zip(Measure::ALL) {
                *slot = if counts(measure) { f64::from(*value) } else { 0.0 };
            }
            let sum: f64 = x.iter().zip(&beta).map(|(x, b)| x * b).sum();
            let p = 1.0 / (1.0 + (-sum).exp());
            for i in 0..SIZE {
                gradient[i] += weight * (target - p) * x[i];
                for j in 0..SIZE {
                    hessian[i][j] += weight * p * (1.0 - p) * x[i] * x[j];
                }
            }
        }
        for i in 0..SIZE {
            let ridge = if i == 0 { 1e-6 } else { RIDGE * total / 10.0 };
            gradient[i] -= ridge * beta[i];
            hessian[i][i] += ridge;
        }
        let step = solve(hessian, gradient);
        for (b, s) in beta.iter_mut().zip(step) {
            *b += s.clamp(-2.0, 2.0);
        }
    }
    Sum::new(beta[0] as f32, std::array::from_fn(|n| beta[n + 1] as f32))
}

/// Gauss with pivots.
fn solve<const N: usize>(mut a: Vec<[f64; N]>, mut b: [f64; N]) -> [f64; N] {
    for i in 0..N {
        let pivot = (i..N).max_by(|x, y| a[*x][i].abs().total_cmp(&a[*y][i].abs())).unwrap();
        a.swap(i, pivot);
        b.swap(i, pivot);
        for j in i + 1..N {
            let factor = a[j][i] / a[i][i];
            for k in i..N {
                a[j][k] -= factor * a[i][k];
            }
            b[j] -= factor * b[i];
        }
    }
    let mut x = [0.0; N];
    for i in (0..N).rev() {
        let known: f64 = (i + 1..N).map(|k| a[i][k] * x[k]).sum();
        x[i] = (b[i] - known) / a[i][i];
    }
    x
}

/// In how many calls of each label each phrase was heard.
fn phrases(calls: &[Labelled], heard: &[Heard]) {
    let mut counts: BTreeMap<String, [usize; 4]> = BTreeMap::new();
    for (call, heard) in calls.iter().zip(heard) {
        let mut said: Vec<String> = heard
            .evidence
            .iter()
            .filter_map(|evidence| match &evidence.finding {
                Finding::Phrase { phrase, meaning, .. } => Some(format!("{:10} {phrase}", meaning.label())),
                _ => None,
            })
            .collect();
        said.sort();
        said.dedup();
        let class = Class::ALL.iter().position(|class| *class == call.label).unwrap();
        for phrase in said {
            counts.entry(phrase).or_default()[class] += 1;
        }
    }
    eprintln!("\nphrase: calls of no_speech, live, recorded, press_key in which it was heard");
    for (phrase, counts) in counts {
        eprintln!("  {phrase:45} {counts:3?}");
    }
}

struct Outcome {
    guarded: bool,
    /// Since the answer.
    diverted_ms: Option<u64>,
    highest: f32,
    last: [f32; 3],
}

fn outcome(heard: &Heard, weights: &Weights) -> Outcome {
    let policy = Policy::default();
    let logistic = |x: f32| 1.0 / (1.0 + (-x).exp());
    let mut outcome = Outcome { guarded: false, diverted_ms: None, highest: 0.0, last: [1.0, 0.0, 0.0] };
    for (at, measured) in &heard.measured {
        let measures = measured.measures();
        let automated = logistic(weights.automated.log_odds(&measures));
        let scam = logistic(weights.scam.log_odds(&measures)).min(measured.most_scam());
        let press_key = automated * scam;
        outcome.highest = outcome.highest.max(press_key);
        outcome.last = [1.0 - automated, automated * (1.0 - scam), press_key];
        outcome.guarded |= press_key >= policy.guard_at.get();
        if press_key >= policy.divert_at.get() && outcome.diverted_ms.is_none() {
            outcome.diverted_ms = Some(at.as_millis());
        }
    }
    outcome
}

fn report(calls: &[Labelled], outcomes: &[(usize, Outcome)]) {
    for class in Class::ALL {
        let of: Vec<_> = outcomes.iter().filter(|(n, _)| calls[*n].label == class).collect();
        let count = |test: &dyn Fn(&Outcome) -> bool| of.iter().filter(|(_, o)| test(o)).count();
        let diverted = count(&|o| o.diverted_ms.is_some());
        let guarded = count(&|o| o.guarded);
        let machine = count(&|o| o.last[0] < 0.5);
        eprintln!(
            "{:10} {:3} calls: diverted {diverted:3}, guarded {guarded:3}, said automated at the end {machine:3}",
            class.label(),
            of.len()
        );
    }
    let mut delays: Vec<u64> = Vec::new();
    let (mut late, mut before) = (0, 0);
    for (n, outcome) in outcomes {
        let call = &calls[*n];
        if call.label != Class::PressKey {
            continue;
        }
        if let (Some(at), Some(onset)) = (outcome.diverted_ms, call.onset_ms) {
            delays.push(at.saturating_sub(onset));
        }
        if call.instruction_ms.is_some_and(|ms| ms > 8_000) {
            late += 1;
            before += usize::from(outcome.diverted_ms.is_some_and(|at| Some(at) < call.instruction_ms));
        }
    }
    delays.sort_unstable();
    let quantile = |q: f64| delays.get((delays.len() as f64 * q) as usize).copied().unwrap_or_default();
    eprintln!(
        "delay from the first word: median {} ms, p95 {} ms; instruction later than 8 s: {before} of {late} before it",
        quantile(0.5),
        quantile(0.95)
    );
    for (n, outcome) in outcomes {
        let call = &calls[*n];
        if call.label == Class::NoSpeech {
            eprintln!("  {} {}: highest {:.2}, last {:.2?}", call.id, call.kind, outcome.highest, outcome.last);
        }
        let wrong = match call.label {
            Class::PressKey => outcome.diverted_ms.is_none(),
            Class::Live => outcome.guarded,
            Class::Recorded | Class::NoSpeech => outcome.diverted_ms.is_some(),
        };
        if wrong {
            eprintln!(
                "  {} {} {}: highest {:.2}, last {:.2?}",
                call.label.label(),
                call.id,
                call.kind,
                outcome.highest,
                outcome.last
            );
        }
    }
}
