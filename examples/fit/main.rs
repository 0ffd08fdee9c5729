//! Fits the wording file and the judge's weights, and cross-validates both.
//!
//! ```sh
//! tests/corpus/install && tests/corpus/compose OWN
//! cargo run --release --example fit -- --own OWN/manifest.csv MANIFEST.csv [--write]
//! ```
//!
//! The wording is fitted to `tests/corpus/texts.csv` and to what the recogniser makes of them in OWN; it never sees
//! MANIFEST.csv. Texts of one kind share a fold: a call of OWN is judged with a wording that was fitted without its
//! kind, and the openings of `tests/phrases.rs` are in no wording at all. The weights are fitted to both, in folds
//! that keep together what shares a script cluster (MANIFEST.csv) or a kind (OWN), so that no figure comes from a
//! call whose wording was seen.

#![allow(
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    clippy::needless_range_loop,
    clippy::indexing_slicing,
    reason = "a tool that fails by panicking"
)]

mod ask;
mod regress;
mod wording;

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clap::Parser;
use ringfence::detect::evidence::Finding;
use ringfence::detect::phrase::{Book, PassedOver, Recogniser, ScheduleSettings, Transcript, Weighed, Wording};
use ringfence::io::analysis::{Knowledge, WordRun};
use ringfence::offline::{Heard, Labelled, Recording, hear, read_whole_manifest, recognise_with};
use ringfence::policy::judge::{Class, Measure, Sum, Weights};
use ringfence::policy::rules::Policy;
use ringfence::units::Ratio;

use regress::Dense;
use wording::Text;

/// Folds of the cross-validation.
const FOLDS: usize = 5;

/// Strength of the pull towards zero.
const RIDGE: f64 = 0.002;

/// What a call of MANIFEST.csv counts, beside an own call: its voices are as clear as those on real lines.
const OF_MANIFEST: f64 = 13.0;

/// What a live call counts: most calls are people, and a fit on equal shares would begin every call at even odds.
const OF_LIVE: f64 = 4.0;

/// What a lawful recording counts beside a scam, where the two are told apart.
const OF_RECORDED: f64 = 2.0;

/// What an opening that nobody has spoken counts beside an own call, where scams are told from lawful recordings.
/// Without them the phrases, which were written with MANIFEST.csv in sight, count too much and the wording too little.
const OF_TEXT: f64 = 0.05;

/// How long a call is heard.
const WATCH: Duration = Duration::from_secs(21);

const WORDING_FILE: &str = "config/phrases/en.wording.toml";
const WEIGHTS_FILE: &str = "config/weights/judge.toml";

type Words = Mutex<HashMap<String, Transcript>>;

/// Fits the wording file and the judge's weights.
#[derive(Parser)]
struct Options {
    /// Labelled calls
    #[arg(required_unless_present = "ask")]
    manifest: Option<PathBuf>,
    /// Only asks the shipped files what they think of the texts in here, which nobody has spoken
    #[arg(long)]
    ask: Option<PathBuf>,
    /// Calls that `tests/corpus/compose` made
    #[arg(long)]
    own: Vec<PathBuf>,
    /// Texts of those calls
    #[arg(long, default_value = "tests/corpus/texts.csv")]
    texts: PathBuf,
    /// Keeps the words, so that a second run need not recognise them again
    #[arg(long)]
    words: Option<PathBuf>,
    /// Writes the measures of every call, each half second, for a look at what moves a verdict
    #[arg(long)]
    measures: Option<PathBuf>,
    /// Weights to try in place of fitted ones
    #[arg(long = "try")]
    weights: Option<PathBuf>,
    /// Writes what was fitted to the files under config
    #[arg(long)]
    write: bool,
}

fn main() {
    let options = Options::parse();
    let read = |path: &Path| read_whole_manifest(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    if let Some(path) = &options.ask {
        return ask::ask(&wording::read_texts(path));
    }
    let mut calls = read(&options.manifest.unwrap());
    let of_manifest = calls.len();
    calls.extend(options.own.iter().flat_map(|path| read(path)));
    let words = Mutex::new(options.words.as_deref().map(read_cache).unwrap_or_default());

    eprintln!("hearing {} calls", calls.len());
    let every: Vec<usize> = (0..calls.len()).collect();
    let mut heard = hear_all(&calls, &every, &words, &Wording::built_in());
    if let Some(cache) = &options.words {
        write_cache(cache, &words);
    }
    let texts = wording::read_texts(&options.texts);
    let kinds = kinds(&texts);
    let mut written = Vec::new();
    if !options.own.is_empty() {
        let fitted;
        (fitted, written) = fit_wording(&texts, &kinds, &calls, of_manifest, &words, &mut heard);
        if options.write {
            std::fs::write(WORDING_FILE, WORDING_HEAD.to_owned() + &fitted.to_toml()).unwrap();
        }
    }
    if let Some(path) = &options.measures {
        std::fs::write(path, measures(&calls, of_manifest, &heard)).unwrap();
    }
    let weights = options.weights.map(|path| Weights::parse(&std::fs::read_to_string(path).unwrap()).unwrap());
    let folds = folds(&calls, of_manifest, &kinds);
    let mut outcomes = Vec::new();
    for fold in 0..FOLDS {
        let train: Vec<usize> = every.iter().copied().filter(|n| folds[*n] != fold).collect();
        let texts: Vec<&Written> = written.iter().filter(|text| text.fold != fold).collect();
        let weights = weights.clone().unwrap_or_else(|| fit(&calls, of_manifest, &heard, &train, &texts));
        for n in every.iter().copied().filter(|n| folds[*n] == fold) {
            outcomes.push((n, outcome(&heard[n], &weights)));
        }
    }
    for (name, of) in [("manifest", 0..of_manifest), ("own", of_manifest..calls.len())] {
        if !of.is_empty() {
            eprintln!("\n== {name}, cross-validated");
            let outcomes: Vec<_> = outcomes.iter().filter(|(n, _)| of.contains(n)).collect();
            report(&calls, &outcomes);
        }
    }
    phrases(&calls, &heard);
    phrases_in(&texts);
    let weights = fit(&calls, of_manifest, &heard, &every, &written.iter().collect::<Vec<_>>());
    eprintln!("\n{}", weights.to_toml());
    if options.write {
        std::fs::write(WEIGHTS_FILE, weights.to_toml()).unwrap();
    }
}

const WORDING_HEAD: &str = "\
# What the choice of words says: log-odds of each word and pair of words, # for a number of two digits and more.
# `automated`: a machine speaks (positive) or a person; `scam`: a scam's machine (positive) or a lawful one.
# Made by `cargo run --release --example fit`; see config/weights/README.md.

";

/// An opening that nobody has spoken: its words after 6, 10 and 20 s, weighed with a wording that was fitted without
/// its kind.
struct Written {
    fold: usize,
    label: Class,
    measures: Vec<[f32; Measure::COUNT]>,
}

/// The fold of each kind of text. What only differs in how it ends, or in being the true thing, is one kind.
fn kinds(texts: &[Text]) -> BTreeMap<&str, usize> {
    let mut kinds = BTreeMap::new();
    for text in texts {
        let next = kinds.len();
        kinds.entry(family(&text.kind)).or_insert(next % FOLDS);
    }
    kinds
}

fn family(kind: &str) -> &str {
    ["-cb", "-nokey", "_real"].iter().find_map(|end| kind.strip_suffix(end)).unwrap_or(kind)
}

/// Fits the wording to all texts, and hears every call again: those of the manifest with it, each own call with one
/// that was fitted without its kind.
fn fit_wording(
    texts: &[Text],
    kinds: &BTreeMap<&str, usize>,
    calls: &[Labelled],
    of_manifest: usize,
    words: &Words,
    heard: &mut [Heard],
) -> (Arc<Wording>, Vec<Written>) {
    let mut spoken: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (call, heard) in calls.iter().zip(heard.iter()).skip(of_manifest) {
        let said = heard.evidence.iter().filter_map(|evidence| match &evidence.finding {
            Finding::Words { text, speech: true, confidence, .. } if confidence.get() >= 0.5 => Some(text.to_string()),
            _ => None,
        });
        spoken.insert(call.id.clone(), said.collect());
    }
    let fold_of: BTreeMap<&str, usize> = texts
        .iter()
        .filter(|text| !text.id.starts_with(wording::KEPT_OUT))
        .map(|text| (text.id.as_str(), kinds[family(&text.kind)]))
        .collect();
    let (mut scores, mut written) = (Vec::new(), Vec::new());
    for fold in 0..FOLDS {
        let without = Arc::new(wording::fit(texts, &spoken, &|text| fold_of[text.id.as_str()] != fold));
        for text in texts.iter().filter(|text| fold_of.get(text.id.as_str()) == Some(&fold)) {
            let (automated, scam) = wording::score(&without, &text.text);
            scores.push((text.label, wording::is_unread(text), automated, scam));
            if wording::is_unread(text) {
                let measures = ask::judges(&text.text, &without).iter().map(|judge| judge.tally().measures()).collect();
                written.push(Written { fold, label: text.label, measures });
            }
        }
        let of: Vec<usize> =
            (of_manifest..calls.len()).filter(|n| fold_of.get(calls[*n].id.as_str()) == Some(&fold)).collect();
        for (n, again) in of.iter().zip(hear_all(calls, &of, words, &without)) {
            heard[*n] = again;
        }
    }
    for (name, unread) in [("read", false), ("unread", true)] {
        let of: Vec<(Class, f32, f32)> =
            scores.iter().filter(|score| score.1 == unread).map(|score| (score.0, score.2, score.3)).collect();
        let [automated, scam] = wording::areas(&of);
        let texts = of.len();
        eprintln!(
            "wording, {texts} {name} texts, kinds unseen: area under the curve {automated:.3} automated, {scam:.3} scam"
        );
    }
    let all = Arc::new(wording::fit(texts, &spoken, &|_| true));
    let of: Vec<usize> = (0..calls.len()).filter(|n| !fold_of.contains_key(calls[*n].id.as_str())).collect();
    for (n, again) in of.iter().zip(hear_all(calls, &of, words, &all)) {
        heard[*n] = again;
    }
    (all, written)
}

fn read_cache(path: &Path) -> HashMap<String, Transcript> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let book = Book::built_in();
    let row = |line: &str| {
        let mut fields = line.split('\t');
        let (key, confidence) = (fields.next()?.to_owned(), fields.next()?.parse().ok()?);
        let text = fields.next()?.to_owned();
        let (mut weighed, mut passed_over) = (Vec::new(), Vec::new());
        for field in fields {
            if let Some((phrase, log_ratio)) = field.split_once('=') {
                weighed.push(Weighed { phrase: phrase.into(), log_ratio: log_ratio.parse().ok()? });
            } else if let Some((phrase, probability)) = field.split_once('~') {
                let probability = Ratio::clamped(probability.parse().ok()?);
                passed_over.push(PassedOver { phrase: phrase.into(), probability });
            }
        }
        let transcript = Transcript { text, confidence: Ratio::clamped(confidence), weighed, passed_over };
        // The phrase file may doubt more than when the line was written.
        let doubts = book.doubts(&transcript.text);
        let all = doubts.iter().all(|doubt| transcript.weighed.iter().any(|weighed| weighed.phrase == doubt.phrase));
        all.then_some((key, transcript))
    };
    text.lines().filter_map(row).collect()
}

fn write_cache(path: &Path, words: &Words) {
    let words = words.lock().unwrap();
    let sorted: BTreeMap<_, _> = words.iter().collect();
    let mut text = String::new();
    for (key, Transcript { text: said, confidence, weighed, passed_over }) in sorted {
        write!(text, "{key}\t{}\t{}", confidence.get(), said.replace(['\t', '\n'], " ")).unwrap();
        for Weighed { phrase, log_ratio } in weighed {
            write!(text, "\t{phrase}={log_ratio:.3}").unwrap();
        }
        for PassedOver { phrase, probability } in passed_over {
            write!(text, "\t{phrase}~{:.5}", probability.get()).unwrap();
        }
        text.push('\n');
    }
    std::fs::write(path, text).unwrap();
}

/// Hears the calls that `of` names by their place.
fn hear_all(calls: &[Labelled], of: &[usize], words: &Words, wording: &Arc<Wording>) -> Vec<Heard> {
    let knowledge = Knowledge {
        weights: Arc::new(Weights::built_in()),
        book: Book::built_in(),
        wording: Arc::clone(wording),
        campaigns: Arc::default(),
        words: Some(ScheduleSettings::default()),
    };
    let model = Recogniser::load(Path::new("config/models/moonshine-tiny-en")).unwrap();
    let next = AtomicUsize::new(0);
    let results: Mutex<Vec<Option<Heard>>> = Mutex::new(vec![None; of.len()]);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            let recogniser = model.another();
            let (next, results, knowledge) = (&next, &results, &knowledge);
            scope.spawn(move || {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    let Some(call) = of.get(n).map(|n| &calls[*n]) else { return };
                    let recording = Recording::read(&call.path).unwrap_or_else(|e| panic!("{}: {e}", call.id));
                    let mut recognise = |run: &WordRun| {
                        let key = format!("{}:{}-{}", call.id, run.window.from.as_millis(), run.window.to.as_millis());
                        let known = words.lock().unwrap().get(&key).cloned();
                        if let Some(known) = known {
                            return Some((known, Duration::ZERO));
                        }
                        let (transcript, cost) = recognise_with(&recogniser, run)?;
                        words.lock().unwrap().insert(key, transcript.clone());
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

/// Calls that share a cluster share a fold, and own calls of one kind share that of its texts.
fn folds(calls: &[Labelled], of_manifest: usize, kinds: &BTreeMap<&str, usize>) -> Vec<usize> {
    let mut groups: BTreeMap<String, usize> = BTreeMap::new();
    let fold = |(n, call): (usize, &Labelled)| {
        if n >= of_manifest
            && let Some(fold) = kinds.get(family(&call.kind))
        {
            return *fold;
        }
        let alone = call.cluster.is_empty() || call.cluster == "opening";
        let group = if alone { call.id.clone() } else { call.cluster.clone() };
        let next = groups.len();
        *groups.entry(group).or_insert(next) % FOLDS
    };
    calls.iter().enumerate().map(fold).collect()
}

fn fit(calls: &[Labelled], of_manifest: usize, heard: &[Heard], train: &[usize], texts: &[&Written]) -> Weights {
    let (mut automated, mut scam): (Vec<Dense<{ Measure::COUNT }>>, Vec<Dense<{ Measure::COUNT }>>) =
        Default::default();
    for text in texts.iter().filter(|text| text.label != Class::Live) {
        let (weight, is_scam) = (OF_TEXT / text.measures.len() as f64, f64::from(text.label == Class::PressKey));
        scam.extend(text.measures.iter().map(|measures| (*measures, weight, is_scam)));
    }
    for &n in train {
        let tallies = &heard[n].tallies;
        let source = if n < of_manifest { OF_MANIFEST } else { 1.0 };
        let weight = source / tallies.len().max(1) as f64;
        for (_, tally) in tallies {
            let measures = tally.measures();
            match calls[n].label {
                Class::NoSpeech => {}
                Class::Live => automated.push((measures, OF_LIVE * weight, 0.0)),
                Class::Recorded => {
                    automated.push((measures, weight, 1.0));
                    scam.push((measures, OF_RECORDED * weight, 0.0));
                }
                Class::PressKey => {
                    automated.push((measures, weight, 1.0));
                    scam.push((measures, weight, 1.0));
                }
            }
        }
    }
    // No call of the corpora plays a recording of the library, or hears a prompt: these are set. A match is certain,
    // and the library holds scams. Talking on over a prompt is what machines do and few people; yielding is what people
    // do; an answer comes from people, and from machines that wait for a greeting to end.
    let known = |(bias, weights)| Sum::new(bias, weights).with(Measure::KnownRecording, 6.0);
    let prompts = |sum: Sum| {
        let (talked_on, yielded, answered) = (Measure::PromptTalkedOn, Measure::PromptYielded, Measure::PromptAnswered);
        sum.with(talked_on, 2.0).with(yielded, -1.5).with(answered, -0.5)
    };
    let of_words = |n: usize| is_of_words(Measure::ALL[n]);
    let automated = prompts(known(regress::ridge(&automated, RIDGE, &|_| true)));
    Weights { version: 6, automated, scam: known(regress::ridge(&scam, RIDGE, &of_words)) }
}

/// Timing tells a machine from a person, not a scam from a reminder: a weight for it there would be chance.
fn is_of_words(measure: Measure) -> bool {
    use Measure::{Automated, CallBack, KeyPrompt, Lawful, Scam, ScamAndPrompt, Talk, WordingScam};
    [Automated, CallBack, KeyPrompt, Lawful, Scam, ScamAndPrompt, Talk, WordingScam].contains(&measure)
}

/// A line for each call and half second: 1 for an own call, id, label, cluster, times since the answer (now, first
/// word, instruction; -1 where there is none), the most that the scam sum may come to, and all measures.
fn measures(calls: &[Labelled], of_manifest: usize, heard: &[Heard]) -> String {
    let mut lines = String::new();
    for (n, (call, heard)) in calls.iter().zip(heard).enumerate() {
        let ms = |time: Option<u64>| time.map_or(-1, |ms| ms as i64);
        let Labelled { id, label, cluster, onset_ms, instruction_ms, .. } = call;
        for (at, tally) in &heard.tallies {
            let (own, label, at) = (u8::from(n >= of_manifest), label.label(), at.as_millis());
            let (onset, instruction, most) = (ms(*onset_ms), ms(*instruction_ms), tally.scam_limit());
            let values = tally.measures().map(|value| format!("{value:.3}")).join(",");
            writeln!(lines, "{own}\t{id}\t{label}\t{cluster}\t{at}\t{onset}\t{instruction}\t{most}\t{values}").unwrap();
        }
    }
    lines
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

/// The same of the texts whose authors had not read the phrase file, and what a phrase is worth by them: the logarithm
/// of how much more often scams say it than lawful recordings.
fn phrases_in(texts: &[Text]) {
    let book = Book::built_in();
    let mut totals = [0.5f64; 4];
    let mut counts: BTreeMap<String, ([f64; 4], f32)> = BTreeMap::new();
    for text in texts.iter().filter(|text| wording::is_unread(text)) {
        let class = Class::ALL.iter().position(|class| *class == text.label).unwrap();
        totals[class] += 1.0;
        for heard in book.hear(&text.text) {
            let name = format!("{:10} {}", heard.meaning.label(), heard.phrase);
            counts.entry(name).or_insert(([0.0; 4], heard.weight)).0[class] += 1.0;
        }
    }
    eprintln!("\nphrase: unread texts of live, recorded, press_key that hold it; log-odds of scam by them; weight");
    for (phrase, ([_, live, recorded, press_key], weight)) in counts {
        let odds = ((press_key + 0.5) / totals[3] / ((recorded + 0.5) / totals[2])).ln();
        eprintln!("  {phrase:45} {live:4} {recorded:4} {press_key:4} {odds:+6.2} {weight:5.1}");
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
    for (at, tally) in &heard.tallies {
        let measures = tally.measures();
        let automated = logistic(weights.automated.log_odds(&measures));
        let scam = logistic(weights.scam.log_odds(&measures)).min(tally.scam_limit());
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

fn report(calls: &[Labelled], outcomes: &[&(usize, Outcome)]) {
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
