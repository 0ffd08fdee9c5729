//! What was measured, as a table: medians with their extremes, and what they must and should be.

use std::cell::RefCell;

use super::super::numbers::median;

#[derive(Default)]
pub(super) struct Table {
    lines: RefCell<Vec<[String; 6]>>,
}

/// Median and, of several, the extremes.
fn text(values: &[f64]) -> String {
    let Some(middle) = median(values) else { return "-".to_owned() };
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if values.len() < 2 { short(middle) } else { format!("{} ({}-{})", short(middle), short(least), short(most)) }
}

fn short(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        middling if middling >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn judged(meets_must: bool, meets_aim: bool) -> &'static str {
    match (meets_must, meets_aim) {
        (_, true) => "aim",
        (true, false) => "must",
        (false, false) => "MISSED",
    }
}

impl Table {
    fn line(&self, what: &str, ours: &[f64], theirs: String, ratio: String, goal: String, result: &str) {
        let line = [what.to_owned(), text(ours), theirs, ratio, goal, result.to_owned()];
        self.lines.borrow_mut().push(line);
    }

    fn named(name: &str, values: &[f64]) -> String {
        if values.is_empty() { String::new() } else { format!("{name} {}", text(values)) }
    }

    /// Less is better, measured against the other.
    pub(super) fn ratio(&self, what: &str, ours: &[f64], name: &str, theirs: &[f64], must: f64, aim: f64) {
        let ratio = median(ours).zip(median(theirs)).map_or(f64::NAN, |(ours, theirs)| ours / theirs);
        let goal = format!("{must} x, aim {aim} x");
        let result = judged(ratio <= must, ratio <= aim);
        self.line(what, ours, Self::named(name, theirs), format!("{ratio:.2} x"), goal, result);
    }

    /// Less is better, measured in itself; the other's figure stands beside it.
    pub(super) fn at_most(&self, what: &str, ours: &[f64], name: &str, theirs: &[f64], must: f64, aim: f64) {
        let value = median(ours).unwrap_or(f64::NAN);
        let goal = format!("{must}, aim {aim}");
        self.line(what, ours, Self::named(name, theirs), String::new(), goal, judged(value <= must, value <= aim));
    }

    /// More is better.
    pub(super) fn beside(&self, what: &str, ours: &[f64], name: &str, theirs: &[f64], must: f64, aim: f64) {
        let value = median(ours).unwrap_or(f64::NAN);
        let goal = if must > 0.0 { format!("{must}, aim {aim}") } else { format!("aim {aim}") };
        let result = if must > 0.0 || value >= aim { judged(value >= must, value >= aim) } else { "" };
        self.line(what, ours, Self::named(name, theirs), String::new(), goal, result);
    }

    /// The same, with nobody beside.
    pub(super) fn at_least(&self, what: &str, ours: &[f64], must: f64, aim: f64) {
        self.beside(what, ours, "", &[], must, aim);
    }

    /// Without a goal.
    pub(super) fn told(&self, what: &str, ours: &[f64], name: &str, theirs: &[f64]) {
        self.line(what, ours, Self::named(name, theirs), String::new(), String::new(), "");
    }

    pub(super) fn print(&self, runs: usize) {
        println!("\nMedian of {runs} runs (least-most)\n");
        let head = ["", "Ringfence", "against", "ratio", "goal", "met"].map(str::to_owned);
        let lines = self.lines.borrow();
        let all: Vec<&[String; 6]> = std::iter::once(&head).chain(lines.iter()).collect();
        let widths: Vec<usize> =
            (0..6).map(|column| all.iter().map(|line| line[column].chars().count()).max().unwrap_or(0)).collect();
        for line in all {
            let cells = line.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}"));
            println!("{}", cells.collect::<Vec<_>>().join("  ").trim_end());
        }
    }
}
