//! Figures over many labelled calls: confusion, shares with intervals, times to decision.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use super::hear::{Heard, Step};
use super::manifest::Labelled;
use crate::detect::evidence::Finding;
use crate::policy::action::StepUp;
use crate::policy::judge::Class;
use crate::units::Leg;

/// Recordings of this length and longer were cut: labelled calls are kept up to 20 s. A shorter one ends where its call
/// does.
const CUT: Duration = Duration::from_millis(19_900);

/// The strongest action on a call. The tables do not tell a whisper from a guard, nor a hang-up from a diversion.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ActionTaken {
    /// None.
    None,
    /// The callee's keys held back; it may have been warned as well.
    Guard,
    /// The call taken away from its caller.
    Divert,
}

impl ActionTaken {
    /// Fixed word for tables.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Guard => StepUp::Guard.label(),
            Self::Divert => StepUp::Divert.label(),
        }
    }
}

/// What came of one call.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outcome {
    /// Its name in the manifest.
    pub id: String,
    /// What it truly is.
    #[serde(serialize_with = "labelled")]
    pub label: Class,
    /// A finer label.
    pub kind: String,
    /// Class at the decision, or at the end where nothing was decided.
    #[serde(serialize_with = "labelled")]
    pub class: Class,
    /// Of that class.
    pub probability: f32,
    /// Highest probability of `press_key` during the call.
    pub highest: f32,
    /// What would have been done before the call's end.
    pub action: ActionTaken,
    /// When that action was decided, since the answer. The time that words take is in it.
    pub decided_ms: Option<u64>,
    /// Strongest first, up to five.
    pub reasons: Vec<String>,
    /// True start of the caller's speech, by the manifest.
    #[serde(skip)]
    onset_ms: Option<u64>,
    /// Where the ear put that start.
    #[serde(skip)]
    heard_onset_ms: Option<u64>,
    /// True start of the instruction ("press one"), by the manifest.
    #[serde(skip)]
    instruction_ms: Option<u64>,
    /// Script and voice, where both are known: calls with the same are one sample.
    #[serde(skip)]
    sample: Option<(String, String)>,
    /// Length of the call.
    #[serde(skip)]
    audio_s: f64,
    /// Computing time of the speech model.
    #[serde(skip)]
    words_s: f64,
    /// Computing time of everything else.
    #[serde(skip)]
    other_s: f64,
}

impl Outcome {
    /// From what was heard.
    #[must_use]
    pub fn of(call: &Labelled, heard: &Heard) -> Self {
        // The ear hears on for a second behind the end, for the last words. What it decides there has come to nothing
        // where the call had its BYE by then; where the recording was cut, the call went on.
        let in_time = |step: &&Step| heard.length >= CUT || step.at.0 <= heard.length;
        let divert = heard.first(StepUp::Divert).filter(in_time);
        let step = divert.or_else(|| heard.first(StepUp::Guard).filter(in_time));
        let verdict = step.map(|step| &step.decision.verdict).or_else(|| heard.verdict());
        let class = verdict.map_or(Class::NoSpeech, |verdict| verdict.class);
        let reasons = verdict.map(|verdict| verdict.reasons.iter().take(5)).into_iter().flatten();
        Self {
            id: call.id.clone(),
            label: call.label,
            kind: call.kind.clone(),
            class,
            probability: verdict.map_or(0.0, |verdict| verdict.of(class).get()),
            highest: heard.verdicts.iter().map(|v| v.of(Class::PressKey).get()).fold(0.0, f32::max),
            action: match (divert, step) {
                (Some(_), _) => ActionTaken::Divert,
                (None, Some(_)) => ActionTaken::Guard,
                (None, None) => ActionTaken::None,
            },
            decided_ms: step.map(|step| step.at.as_millis()),
            reasons: reasons.map(|reason| format!("{} ({:+.1})", reason.text, reason.log_odds)).collect(),
            onset_ms: call.onset_ms,
            heard_onset_ms: heard.evidence.iter().find_map(|evidence| match (&evidence.finding, evidence.leg) {
                (Finding::Onset { after_answer, .. }, Leg::Caller) => Some(after_answer.as_millis() as u64),
                _ => None,
            }),
            instruction_ms: call.instruction_ms,
            sample: (is_named(&call.script) && is_named(&call.voice))
                .then(|| (call.script.clone(), call.voice.clone())),
            audio_s: heard.length.as_secs_f64(),
            words_s: heard.words_cost.as_secs_f64(),
            other_s: heard.other_cost.as_secs_f64(),
        }
    }

    /// From the caller's first word to the diversion.
    #[must_use]
    pub(super) fn delay_ms(&self) -> Option<u64> {
        Some(self.decided_ms.filter(|_| self.diverted())?.saturating_sub(self.onset_ms?))
    }

    fn diverted(&self) -> bool {
        self.action == ActionTaken::Divert
    }

    /// The ear put the onset of the caller's speech where it is: at most 0.25 s too early, or 0.4 s too late.
    fn onset_is_right(&self) -> bool {
        let (Some(onset), Some(heard)) = (self.onset_ms, self.heard_onset_ms) else { return false };
        (onset.saturating_sub(250)..=onset.saturating_add(400)).contains(&heard)
    }
}

/// In the manifest, a dash stands for none.
fn is_named(text: &str) -> bool {
    !text.is_empty() && text != "-"
}

/// A count out of a total, with a 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Share {
    /// How many.
    pub count: usize,
    /// Of how many.
    pub of: usize,
    /// How many of these are independent: the interval is theirs.
    pub samples: usize,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
}

impl Share {
    /// Wilson's score interval (Wilson 1927): sound for few calls and for shares near 0 and 1.
    #[must_use]
    pub fn new(count: usize, of: usize, samples: usize) -> Self {
        if of == 0 || samples == 0 {
            return Self { count, of, samples, low: 0.0, high: 1.0 };
        }
        const Z: f64 = 1.959_964;
        let (n, p) = (samples as f64, count as f64 / of as f64);
        let centre = (p + Z * Z / (2.0 * n)) / (1.0 + Z * Z / n);
        let half = Z / (1.0 + Z * Z / n) * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
        Self { count, of, samples, low: (centre - half).max(0.0), high: (centre + half).min(1.0) }
    }

    /// Of calls for which `test` says yes. One recording in several calls is heard with other noise and another callee,
    /// but says nothing new of other recordings.
    fn of_calls(of: &[&Outcome], test: impl Fn(&Outcome) -> bool) -> Self {
        let recordings: BTreeSet<_> = of.iter().filter_map(|outcome| outcome.sample.as_ref()).collect();
        let others = of.iter().filter(|outcome| outcome.sample.is_none()).count();
        let count = of.iter().filter(|outcome| test(outcome)).count();
        Self::new(count, of.len(), recordings.len() + others)
    }

    fn text(&self) -> String {
        let percent = if self.of == 0 { 0.0 } else { 100.0 * self.count as f64 / self.of as f64 };
        format!("{percent:5.1} % ({:.1} to {:.1})", 100.0 * self.low, 100.0 * self.high)
    }

    fn text_of(&self) -> String {
        let samples = if self.samples < self.of { format!(", {} samples", self.samples) } else { String::new() };
        format!("{} of {}{samples}", self.text(), self.of)
    }
}

/// One row of the confusion table.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// Label, or label and kind.
    pub name: String,
    /// Calls.
    pub calls: usize,
    /// By class, in the order of [`Class::ALL`].
    pub classes: [usize; 4],
    /// Calls in which at least the callee's keys would be held back.
    pub guarded: Share,
    /// Calls taken away.
    pub diverted: Share,
}

/// Times to a diversion, of `press_key` calls, from the caller's first word, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Delays {
    /// Half of them are shorter; None: nothing was diverted.
    pub median_ms: Option<u64>,
    /// 95 % of them are shorter.
    pub p95_ms: Option<u64>,
    /// Diverted within 20 s of the answer.
    pub within_20_s: Share,
    /// Diverted before the instruction, of all calls with one.
    pub before_instruction: Share,
    /// The same, of calls whose instruction comes later than 8 s after the answer.
    pub before_late_instruction: Share,
}

/// All tables.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tables {
    /// By label.
    pub labels: Vec<Row>,
    /// By label and kind.
    pub kinds: Vec<Row>,
    /// Times to decision.
    pub delays: Delays,
    /// Calls whose onset the ear put in the right place, of those whose true onset the manifest knows.
    pub onsets: Share,
    /// Computing time of words over the time of the calls.
    pub words_share: f64,
    /// Computing time of everything else over the time of the calls.
    pub other_share: f64,
}

impl Tables {
    /// Of `outcomes`.
    #[must_use]
    pub fn new(outcomes: &[Outcome]) -> Self {
        let mut kinds: BTreeMap<(usize, &str), Vec<&Outcome>> = BTreeMap::new();
        for outcome in outcomes {
            let order = Class::ALL.iter().position(|class| *class == outcome.label).unwrap_or_default();
            kinds.entry((order, &outcome.kind)).or_default().push(outcome);
        }
        let labels = Class::ALL.into_iter().rev().map(|class| {
            let of: Vec<&Outcome> = outcomes.iter().filter(|outcome| outcome.label == class).collect();
            row(class.label(), &of)
        });
        let named = kinds.iter().filter(|((_, kind), _)| !kind.is_empty()).map(|((_, kind), of)| {
            let label = of.first().map_or("", |outcome| outcome.label.label());
            row(&format!("{label} {kind}"), of)
        });
        let with_onset: Vec<&Outcome> = outcomes.iter().filter(|outcome| outcome.onset_ms.is_some()).collect();
        let audio: f64 = outcomes.iter().map(|outcome| outcome.audio_s).sum();
        let share = |time: fn(&Outcome) -> f64| outcomes.iter().map(time).sum::<f64>() / audio.max(1e-9);
        Self {
            labels: labels.filter(|row| row.calls > 0).collect(),
            kinds: named.collect(),
            delays: delays(outcomes),
            onsets: Share::of_calls(&with_onset, Outcome::onset_is_right),
            words_share: share(|outcome| outcome.words_s),
            other_share: share(|outcome| outcome.other_s),
        }
    }

    /// As a person reads them.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        let mut table = |title: &str, rows: &[Row]| {
            let head = "no_speech      live  recorded press_key";
            let _ = writeln!(text, "{title:34} calls samples  {head}   guarded or more             diverted");
            for Row { name, calls, classes: [a, b, c, d], guarded, diverted } in rows {
                let _ = writeln!(
                    text,
                    "{name:34} {calls:5} {:7}  {a:9} {b:9} {c:9} {d:9}   {:26}  {}",
                    guarded.samples,
                    guarded.text(),
                    diverted.text()
                );
            }
            let _ = writeln!(text);
        };
        table("label", &self.labels);
        table("label and kind", &self.kinds);
        let _ =
            writeln!(text, "samples: different pairs of script and voice; the intervals in brackets are of these\n");
        let Delays { median_ms, p95_ms, within_20_s, before_instruction, before_late_instruction } = &self.delays;
        let seconds = |ms: u64| ms as f64 / 1_000.0;
        let times = median_ms.zip(*p95_ms).map_or_else(
            || "none".to_owned(),
            |(median, p95)| format!("median {:.1} s, p95 {:.1} s", seconds(median), seconds(p95)),
        );
        let _ = writeln!(text, "press_key, time to divert from the first word:  {times}");
        let _ = writeln!(text, "press_key, diverted within 20 s of the answer:  {}", within_20_s.text());
        let _ = writeln!(text, "press_key, diverted before the instruction:     {}", before_instruction.text_of());
        let _ = writeln!(text, "the same, instruction later than 8 s:           {}", before_late_instruction.text_of());
        let _ = writeln!(text, "caller heard to begin within -0.25 to 0.4 s:     {}", self.onsets.text_of());
        let _ = writeln!(
            text,
            "computing time: words {:.3} x real time, everything else {:.4} x ({:.0} calls on one core)",
            self.words_share,
            self.other_share,
            1.0 / self.other_share.max(1e-9)
        );
        text
    }
}

fn labelled<S: serde::Serializer>(class: &Class, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(class.label())
}

fn row(name: &str, of: &[&Outcome]) -> Row {
    let count = |test: &dyn Fn(&Outcome) -> bool| of.iter().filter(|outcome| test(outcome)).count();
    Row {
        name: name.to_owned(),
        calls: of.len(),
        classes: Class::ALL.map(|class| count(&|outcome| outcome.class == class)),
        guarded: Share::of_calls(of, |outcome| outcome.action != ActionTaken::None),
        diverted: Share::of_calls(of, Outcome::diverted),
    }
}

fn delays(outcomes: &[Outcome]) -> Delays {
    let press_key: Vec<&Outcome> = outcomes.iter().filter(|outcome| outcome.label == Class::PressKey).collect();
    let diverted_ms = |outcome: &Outcome| outcome.decided_ms.filter(|_| outcome.diverted());
    let mut delays: Vec<u64> = press_key.iter().filter_map(|outcome| outcome.delay_ms()).collect();
    delays.sort_unstable();
    let quantile = |q: f64| {
        let index = ((delays.len() as f64 * q).ceil() as usize).saturating_sub(1);
        delays.get(index).copied()
    };
    let before = |after_ms: u64| {
        let late = |outcome: &Outcome| outcome.instruction_ms.is_some_and(|ms| ms >= after_ms);
        let with: Vec<&Outcome> = press_key.iter().copied().filter(|outcome| late(outcome)).collect();
        Share::of_calls(&with, |outcome| diverted_ms(outcome).is_some_and(|at| Some(at) < outcome.instruction_ms))
    };
    Delays {
        median_ms: quantile(0.5),
        p95_ms: quantile(0.95),
        within_20_s: Share::of_calls(&press_key, |outcome| diverted_ms(outcome).is_some_and(|at| at <= 20_000)),
        before_instruction: before(0),
        before_late_instruction: before(8_001),
    }
}

/// One row a call: `id,label,kind,class,probability,action,decided_ms,reasons`.
pub fn write_calls(outcomes: &[Outcome], to: impl std::io::Write) -> csv::Result<()> {
    let mut writer = csv::Writer::from_writer(to);
    writer.write_record(["id", "label", "kind", "class", "probability", "action", "decided_ms", "reasons"])?;
    for outcome in outcomes {
        let decided = outcome.decided_ms.map(|ms| ms.to_string()).unwrap_or_default();
        let probability = format!("{:.4}", outcome.probability);
        let reasons = outcome.reasons.join("; ");
        let Outcome { id, label, kind, class, action, .. } = outcome;
        let (label, class, action) = (label.label(), class.label(), action.label());
        writer.write_record([id, label, kind, class, &probability, action, &decided, &reasons])?;
    }
    writer.flush()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;

    use super::*;
    use crate::policy::action::StepUpDecision;
    use crate::policy::judge::Verdict;
    use crate::units::{CallTime, Ratio};

    #[test]
    fn the_interval_is_wilsons() {
        let none = Share::new(0, 110, 110);
        let half = Share::new(5, 10, 10);

        assert!(none.low.abs() < 1e-9 && (none.high - 0.0337).abs() < 0.0005, "{none:?}");
        assert!((half.low - 0.2366).abs() < 0.0005 && (half.high - 0.7634).abs() < 0.0005, "{half:?}");
    }

    fn outcome(label: Class, decided_ms: Option<u64>, instruction_ms: Option<u64>) -> Outcome {
        Outcome {
            id: "x".to_owned(),
            label,
            kind: "kind".to_owned(),
            class: label,
            probability: 0.9,
            highest: 0.9,
            action: if decided_ms.is_some() { ActionTaken::Divert } else { ActionTaken::None },
            decided_ms,
            reasons: vec!["said \"press one\", twice".to_owned()],
            onset_ms: Some(1_000),
            heard_onset_ms: Some(1_200),
            instruction_ms,
            sample: None,
            audio_s: 20.0,
            words_s: 1.0,
            other_s: 0.02,
        }
    }

    #[test]
    fn times_count_from_the_first_word_and_instructions_from_the_answer() {
        let outcomes = [
            outcome(Class::PressKey, Some(5_000), Some(9_000)),
            outcome(Class::PressKey, Some(9_000), Some(8_000)),
            outcome(Class::PressKey, None, Some(12_000)),
            outcome(Class::Live, None, None),
        ];

        let Tables { delays, labels, .. } = Tables::new(&outcomes);

        assert_eq!((delays.median_ms, delays.p95_ms), (Some(4_000), Some(8_000)));
        assert!(Tables::new(&[]).text().contains("from the first word:  none\n"));
        assert_eq!((delays.before_instruction.count, delays.before_instruction.of), (1, 3));
        assert_eq!((delays.before_late_instruction.count, delays.before_late_instruction.of), (1, 2));
        assert_eq!(labels.first().map(|row| (row.name.as_str(), row.diverted.count)), Some(("press_key", 2)));
    }

    #[test]
    fn one_recording_in_several_calls_is_one_sample() {
        let of = |sample: Option<&str>| Outcome {
            sample: sample.map(|voice| ("amazon".to_owned(), voice.to_owned())),
            ..outcome(Class::PressKey, Some(5_000), Some(9_000))
        };
        let calls = [of(Some("anne")), of(Some("anne")), of(Some("anne")), of(Some("bob")), of(None), of(None)];

        let tables = Tables::new(&calls);

        let four = Share { of: 6, count: 6, ..Share::new(4, 4, 4) };
        assert_eq!(tables.labels.first().map(|row| [row.guarded, row.diverted]), Some([four; 2]));
        assert_eq!([tables.delays.within_20_s, tables.delays.before_instruction, tables.onsets], [four; 3]);
        assert!(tables.text().contains(&format!("{:34} {:5} {:7}  ", "press_key", 6, 4)), "{}", tables.text());
        assert!(tables.text().contains(" of 6, 4 samples\n"), "{}", tables.text());
    }

    #[test]
    fn what_is_decided_behind_the_end_of_a_call_comes_too_late_unless_the_recording_was_cut() {
        let call = Labelled {
            id: "x".to_owned(),
            path: PathBuf::new(),
            label: Class::PressKey,
            kind: String::new(),
            onset_ms: Some(1_000),
            instruction_ms: None,
            cluster: String::new(),
            script: "amazon".to_owned(),
            voice: "-".to_owned(),
        };
        let step = |action, at| {
            let probabilities = [Ratio::ZERO, Ratio::ZERO, Ratio::ZERO, Ratio::ONE];
            let at = CallTime::from_millis(at);
            let verdict = Verdict { at, class: Class::PressKey, probabilities, reasons: Vec::new() };
            Step { at, decision: StepUpDecision { action, rule: Arc::from("test"), verdict } }
        };
        let of = |length_ms: u64, decided_ms: u64| {
            let steps = vec![step(StepUp::Guard, 5_000), step(StepUp::Divert, decided_ms)];
            let length = Duration::from_millis(length_ms);
            Outcome::of(&call, &Heard { length, steps, ..Heard::default() })
        };

        let [in_time, late, cut] = [of(8_000, 8_000), of(8_000, 8_600), of(20_000, 20_600)];

        assert_eq!(in_time.sample, None, "its voice is not known");
        assert_eq!([in_time.action, cut.action], [ActionTaken::Divert; 2]);
        assert_eq!((late.action, late.decided_ms), (ActionTaken::Guard, Some(5_000)));
        let Tables { delays, labels, .. } = Tables::new(&[late]);
        assert_eq!((delays.median_ms, delays.within_20_s.count, delays.within_20_s.of), (None, 0, 1));
        assert_eq!(labels.first().map(|row| (row.guarded.count, row.diverted.count)), Some((1, 0)));
    }

    #[test]
    fn an_onset_may_be_a_little_off() {
        let heard = |ms| Outcome { heard_onset_ms: ms, ..outcome(Class::Live, None, None) };
        let outcomes = [heard(Some(740)), heard(Some(750)), heard(Some(1_400)), heard(Some(1_420)), heard(None)];

        let Tables { onsets, .. } = Tables::new(&outcomes);

        assert_eq!((onsets.count, onsets.of), (2, 5));
    }

    #[test]
    fn calls_are_written_as_csv_with_quotes_where_needed() {
        let mut bytes = Vec::new();
        write_calls(&[outcome(Class::PressKey, Some(5_000), None)], &mut bytes).ok();

        let text = String::from_utf8_lossy(&bytes).into_owned();
        assert!(text.starts_with("id,label,kind,class,probability,action,decided_ms,reasons\n"));
        assert!(
            text.contains("x,press_key,kind,press_key,0.9000,divert,5000,\"said \"\"press one\"\", twice\""),
            "{text}"
        );
    }
}
