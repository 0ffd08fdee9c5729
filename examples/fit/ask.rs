//! What the shipped files think of openings by their words alone: a test with the texts of another hand.

use std::sync::Arc;
use std::time::Duration;

use ringfence::detect::evidence::{CalleeThen, Evidence, Finding};
use ringfence::detect::phrase::{Book, CallWording, Wording};
use ringfence::policy::judge::{Class, Judge, Verdict, Weights};
use ringfence::policy::rules::Policy;
use ringfence::units::{CallTime, Leg};

use crate::wording::Text;

/// Seconds of speech, and words that are said in them at an announcer's pace.
const AFTER: [(u64, usize); 3] = [(6, 15), (10, 28), (20, 60)];

/// Prints, for each label, how many are taken for what after 6, 10 and 20 s; and which are judged wrong at the end.
pub(crate) fn ask(texts: &[Text]) {
    for label in [Class::Live, Class::Recorded, Class::PressKey] {
        let of: Vec<&Text> = texts.iter().filter(|text| text.label == label).collect();
        let (mut taken, mut diverted) = ([[0usize; 4]; 3], [0usize; 3]);
        for text in &of {
            for (n, judge) in judges(&text.text, &Wording::built_in()).iter().enumerate() {
                let verdict = judge.verdict(CallTime::ZERO);
                taken[n][Class::ALL.iter().position(|class| *class == verdict.class).unwrap()] += 1;
                diverted[n] += usize::from(is_diverted(&verdict));
            }
        }
        for (n, (seconds, _)) in AFTER.iter().enumerate() {
            let (label, of) = (label.label(), of.len());
            eprintln!(
                "{label:10} {of:4} texts, {seconds:2} s: no_speech, live, recorded, press_key {:4?}, diverted {:3}",
                taken[n], diverted[n]
            );
        }
    }
    for text in texts {
        let Some(judge) = judges(&text.text, &Wording::built_in()).pop() else { continue };
        let verdict = judge.verdict(CallTime::ZERO);
        if is_diverted(&verdict) != (text.label == Class::PressKey) {
            eprintln!("{} {} {}: {}", text.label.label(), text.id, verdict.of(Class::PressKey).get(), text.text);
            for reason in verdict.reasons.iter().take(6) {
                eprintln!("    {:+.1} {} {}", reason.log_odds, reason.weight, reason.text);
            }
        }
    }
}

fn is_diverted(verdict: &Verdict) -> bool {
    verdict.of(Class::PressKey) >= Policy::default().divert_at
}

/// What is thought after 6, 10 and 20 s.
pub(crate) fn judges(text: &str, wording: &Arc<Wording>) -> Vec<Judge> {
    AFTER.iter().map(|(seconds, words)| judge(&beginning(text, *words), *seconds, wording)).collect()
}

fn beginning(text: &str, words: usize) -> String {
    text.split_whitespace().take(words).collect::<Vec<_>>().join(" ")
}

/// A caller who lets the callee greet, and then speaks on.
fn judge(text: &str, seconds: u64, wording: &Arc<Wording>) -> Judge {
    let mut judge = Judge::new(Arc::new(Weights::built_in()));
    let at = CallTime::from_millis(1_000 * seconds);
    let mut hear = |finding| judge.hear(&Evidence { at, leg: Leg::Caller, finding });
    let after_greeting = CalleeThen::Finished(Duration::from_millis(500));
    hear(Finding::Onset { after_answer: Duration::from_secs(1), callee: after_greeting });
    hear(Finding::Monologue { length: Duration::from_secs(seconds) });
    if let Some(said) = CallWording::new(Arc::clone(wording)).hear(text) {
        hear(Finding::Wording { automated: said.automated, scam: said.scam, telling: said.telling });
    }
    for heard in Book::built_in().hear(text) {
        let (phrase, meaning, weight, confidence) = (heard.phrase, heard.meaning, heard.weight, heard.confidence);
        hear(Finding::Phrase { phrase, meaning, weight, confidence });
    }
    judge
}
