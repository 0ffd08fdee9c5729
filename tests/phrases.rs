//! What openings mean by their words alone. The texts are in no fit of the phrase file or the wording.

#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::sync::Arc;
use std::time::Duration;

use ringfence::detect::evidence::{CalleeThen, Evidence, Finding};
use ringfence::detect::phrase::{Book, CallWording, Wording};
use ringfence::policy::judge::{Class, Judge, Verdict, Weights};
use ringfence::units::{CallTime, Leg};

fn verdict(text: &str) -> Verdict {
    let mut judge = Judge::new(Arc::new(Weights::built_in()));
    let mut hear = |finding| judge.hear(&Evidence { at: CallTime::from_millis(9_000), leg: Leg::Caller, finding });
    let after_greeting = CalleeThen::Finished(Duration::from_millis(500));
    hear(Finding::Onset { after_answer: Duration::from_secs(1), callee: after_greeting });
    if let Some(said) = CallWording::new(Wording::built_in()).hear(text) {
        hear(Finding::Wording { automated: said.automated, scam: said.scam, telling: said.telling });
    }
    for heard in Book::built_in().hear(text) {
        let (phrase, meaning, weight, confidence) = (heard.phrase, heard.meaning, heard.weight, heard.confidence);
        hear(Finding::Phrase { phrase, meaning, weight, confidence });
    }
    judge.verdict(CallTime::from_millis(9_000))
}

#[test]
fn openings_nobody_fitted_to_are_told_apart_by_their_words() {
    told_apart("tests/corpus/texts.csv", "o-");
}

#[test]
fn openings_in_everyday_wording_are_told_apart_by_their_words() {
    told_apart("tests/corpus/everyday.csv", "E-");
}

/// The texts of this file whose ids begin so.
fn told_apart(file: &str, ids: &str) {
    let mut reader = csv::Reader::from_path(file).unwrap();
    let (mut total, mut right, mut report) = ([0usize; 4], [0usize; 4], String::new());
    for row in reader.records() {
        let row = row.unwrap();
        let (id, label, text) = (&row[0], &row[1], &row[3]);
        if !id.starts_with(ids) {
            continue;
        }
        let class = Class::ALL.into_iter().find(|class| class.label() == label).unwrap();
        let verdict = verdict(text);
        let slot = Class::ALL.iter().position(|one| *one == class).unwrap();
        total[slot] += 1;
        right[slot] += usize::from(verdict.class == class);
        let diverted = verdict.of(Class::PressKey).get() >= 0.9;
        if verdict.class != class || (diverted && class != Class::PressKey) {
            let press_key = verdict.of(Class::PressKey).get();
            report += &format!("{} said {} ({press_key:.2}): {}\n", class.label(), verdict.class.label(), text);
            report +=
                &format!("    {:?}\n", Book::built_in().hear(text).iter().map(|h| &*h.phrase).collect::<Vec<_>>());
        }
        assert!(!(class == Class::Live && diverted), "a person would be diverted: {}", text);
    }
    let share = |slot: usize| right[slot] as f64 / total[slot] as f64;
    assert!(share(1) >= 0.85 && share(2) >= 0.8 && share(3) >= 0.9, "{right:?} of {total:?}\n{report}");
}
