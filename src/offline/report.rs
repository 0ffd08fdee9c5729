//! A page about an evaluation: ROC, calibration, time to verdict, worst mistakes. One HTML file with its pictures
//! inside.

use std::fmt::Write as _;

use super::markup::escape;
use super::tables::{ActionTaken, Outcome, Tables};
use crate::policy::judge::Class;

/// Bins of the calibration.
const BINS: usize = 10;

/// Side of a square picture.
const SIDE: f64 = 300.0;

/// Mistakes that are listed.
const WORST: usize = 20;

/// One bin of the reliability diagram.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct Bin {
    /// Calls whose probability falls into it.
    pub calls: usize,
    /// Mean probability that was given to the class that was named.
    pub said: f64,
    /// Share of calls of which that class was the true one.
    pub was: f64,
}

/// How well probabilities fit.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Calibration {
    /// From 0 to 1 in ten steps.
    pub bins: Vec<Bin>,
    /// Expected calibration error: mean distance of the two, weighted by calls (Guo et al. 2017).
    pub error: f64,
}

impl Calibration {
    /// Of the class that was named at the end of each call, or at its decision.
    #[must_use]
    pub fn of(outcomes: &[Outcome]) -> Self {
        let mut bins = vec![Bin::default(); BINS];
        for outcome in outcomes {
            let probability = f64::from(outcome.probability);
            let slot = ((probability * BINS as f64) as usize).min(BINS - 1);
            if let Some(bin) = bins.get_mut(slot) {
                bin.calls += 1;
                bin.said += probability;
                bin.was += f64::from(u8::from(outcome.class == outcome.label));
            }
        }
        let total = outcomes.len().max(1) as f64;
        let mut error = 0.0;
        for bin in bins.iter_mut().filter(|bin| bin.calls > 0) {
            bin.said /= bin.calls as f64;
            bin.was /= bin.calls as f64;
            error += bin.calls as f64 / total * (bin.said - bin.was).abs();
        }
        Self { bins, error }
    }
}

/// Points of the ROC: for each threshold, the share of `others` and of `press_key` calls whose highest probability of
/// `press_key` reaches it.
fn roc(outcomes: &[Outcome], others: Class) -> Vec<(f64, f64)> {
    let highest = |class: Class| {
        let mut values: Vec<f32> =
            outcomes.iter().filter(|outcome| outcome.label == class).map(|outcome| outcome.highest).collect();
        values.sort_by(f32::total_cmp);
        values
    };
    let (positive, negative) = (highest(Class::PressKey), highest(others));
    let share = |values: &[f32], threshold: f32| {
        let reached = values.len() - values.partition_point(|value| *value < threshold);
        reached as f64 / values.len().max(1) as f64
    };
    let mut thresholds: Vec<f32> = positive.iter().chain(&negative).copied().collect();
    thresholds.sort_by(f32::total_cmp);
    thresholds.dedup();
    let mut points: Vec<(f64, f64)> =
        thresholds.iter().rev().map(|t| (share(&negative, *t), share(&positive, *t))).collect();
    points.insert(0, (0.0, 0.0));
    points
}

/// How bad a wrong judgement is; 0: it is right. A person taken away is worse than a scam let through.
fn gravity(outcome: &Outcome) -> u8 {
    match (outcome.label, outcome.action) {
        (Class::Live, ActionTaken::Divert) => 5,
        (Class::Recorded | Class::NoSpeech, ActionTaken::Divert) => 4,
        (Class::PressKey, ActionTaken::None | ActionTaken::Guard) => 3,
        (Class::Live, ActionTaken::Guard) => 2,
        (label, _) => u8::from(label != outcome.class),
    }
}

/// Was this call judged wrongly?
#[must_use]
pub fn is_mistake(outcome: &Outcome) -> bool {
    gravity(outcome) > 0
}

/// Calls that were judged wrongly, each with its picture, the worst first, up to twenty.
fn mistakes<'a>(outcomes: &'a [Outcome], plots: &'a [Option<String>]) -> Vec<(&'a Outcome, &'a Option<String>)> {
    let mut wrong: Vec<_> = outcomes.iter().zip(plots).filter(|(outcome, _)| is_mistake(outcome)).collect();
    wrong.sort_by_key(|(outcome, _)| std::cmp::Reverse(gravity(outcome)));
    wrong.truncate(WORST);
    wrong
}

/// The page. `plots`: for each outcome the name of its picture in the folder `plots` beside it, where it has one.
#[must_use]
pub fn page(manifest: &str, outcomes: &[Outcome], tables: &Tables, plots: &[Option<String>]) -> String {
    let calibration = Calibration::of(outcomes);
    let mut page = String::from(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Ringfence evaluation</title>\n<style>\
         body{font:14px sans-serif;max-width:78em;margin:2em auto;padding:0 1em;color:#222}\
         pre{font-size:12px;overflow-x:auto;background:#f7fafc;padding:1em}\
         figure{display:inline-block;margin:0 1.5em 1em 0}figcaption{max-width:300px;color:#555}\
         td,th{padding:.2em .6em;text-align:left;vertical-align:top}</style>\n",
    );
    let _ = writeln!(page, "<h1>Evaluation of {}</h1><pre>{}</pre>", escape(manifest), escape(&tables.text()));
    let _ = writeln!(page, "<h2>Pictures</h2>");
    roc_picture(&mut page, outcomes);
    calibration_picture(&mut page, &calibration);
    delay_picture(&mut page, outcomes);
    let wrong = mistakes(outcomes, plots);
    let _ = writeln!(page, "<h2>Worst mistakes</h2>");
    if wrong.is_empty() {
        page.push_str("<p>None.</p></html>\n");
        return page;
    }
    let _ = writeln!(page, "<table><tr><th>call<th>is<th>said<th>action<th>why");
    for (outcome, plot) in wrong {
        let id = escape(&outcome.id);
        let name = match plot {
            Some(plot) => format!("<a href=\"plots/{}\">{id}</a>", escape(plot)),
            None => id,
        };
        let _ = writeln!(
            page,
            "<tr><td>{name}<td>{} {}<td>{} {:.2}<td>{}<td>{}",
            outcome.label.label(),
            escape(&outcome.kind),
            outcome.class.label(),
            outcome.probability,
            outcome.action.label(),
            escape(&outcome.reasons.join("; "))
        );
    }
    page.push_str("</table></html>\n");
    page
}

/// An empty picture with its axes: `x` runs from 0 to `longest`, `y` from 0 to 1.
fn frame(page: &mut String, x: &str, longest: f64, y: &str) {
    let _ = writeln!(
        page,
        "<figure><svg width=\"{w}\" height=\"{h}\" viewBox=\"-60 -20 {w} {h}\" font-size=\"11\">\
         <rect width=\"{SIDE}\" height=\"{SIDE}\" fill=\"none\" stroke=\"#a0aec0\"/>\
         <text x=\"{mid}\" y=\"{below}\" text-anchor=\"middle\">{x}</text>\
         <text transform=\"translate(-42,{mid}) rotate(-90)\" text-anchor=\"middle\">{y}</text>",
        w = SIDE + 90.0,
        h = SIDE + 65.0,
        mid = SIDE / 2.0,
        below = SIDE + 34.0
    );
    for step in 0..=4 {
        let share = f64::from(step) / 4.0;
        let _ = writeln!(
            page,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\" fill=\"#718096\">{}</text><text x=\"-6\" y=\"{}\" \
             text-anchor=\"end\" fill=\"#718096\">{share}</text>",
            share * SIDE,
            SIDE + 16.0,
            share * longest,
            (1.0 - share) * SIDE + 4.0
        );
    }
}

fn line(page: &mut String, points: impl Iterator<Item = (f64, f64)>, colour: &str) {
    let path: Vec<String> = points.map(|(x, y)| format!("{:.1},{:.1}", x * SIDE, (1.0 - y) * SIDE)).collect();
    let _ = writeln!(
        page,
        "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
        path.join(" ")
    );
}

fn roc_picture(page: &mut String, outcomes: &[Outcome]) {
    frame(page, "share of the others that reaches it", 1.0, "share of press_key that reaches it");
    line(page, roc(outcomes, Class::Live).into_iter(), "#2f855a");
    line(page, roc(outcomes, Class::Recorded).into_iter(), "#b7791f");
    page.push_str(
        "</svg><figcaption>ROC over the highest probability of press_key in a call: against people (green), against \
         lawful recordings (brown)</figcaption></figure>\n",
    );
}

fn calibration_picture(page: &mut String, calibration: &Calibration) {
    frame(page, "probability that was said", 1.0, "share that was true");
    line(page, [(0.0, 0.0), (1.0, 1.0)].into_iter(), "#cbd5e0");
    for bin in calibration.bins.iter().filter(|bin| bin.calls > 0) {
        let _ = writeln!(
            page,
            "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"{:.1}\" fill=\"#2b6cb0\" fill-opacity=\"0.6\"/>",
            bin.said * SIDE,
            (1.0 - bin.was) * SIDE,
            2.0 + (bin.calls as f64).sqrt().min(16.0)
        );
    }
    let _ = writeln!(
        page,
        "</svg><figcaption>Calibration of the class that was named, a dot for each tenth, larger with more calls; \
         expected calibration error {:.3}</figcaption></figure>",
        calibration.error
    );
}

fn delay_picture(page: &mut String, outcomes: &[Outcome]) {
    const LONGEST: f64 = 20.0;
    frame(page, "seconds from the first word", LONGEST, "share diverted");
    let of: Vec<&Outcome> = outcomes.iter().filter(|outcome| outcome.label == Class::PressKey).collect();
    let mut delays: Vec<f64> =
        of.iter().filter_map(|outcome| outcome.delay_ms()).map(|ms| ms as f64 / 1_000.0).collect();
    delays.sort_by(f64::total_cmp);
    let total = of.len().max(1) as f64;
    let points = delays.iter().enumerate().map(|(n, s)| ((s / LONGEST).min(1.0), (n + 1) as f64 / total));
    line(page, std::iter::once((0.0, 0.0)).chain(points), "#c53030");
    page.push_str("</svg><figcaption>press_key: share diverted by time</figcaption></figure>\n");
}
