//! What the demo prints at its end: a line for each call, and one for the flood.

use std::fmt::Write as _;

use super::Played;
use super::flood::Flood;
use super::script::Expected;
use crate::gate::Block;
use crate::store::{CallRecord, Judgement};

pub(super) struct Row {
    name: String,
    done: String,
    when: String,
    why: String,
    /// As the script expects.
    pub(super) good: bool,
}

pub(super) fn row(played: &Played, record: Option<&CallRecord>) -> Row {
    let Played { role, outcome } = played;
    let name = role.plan.name.to_owned();
    let Some(record) = record else {
        let status = outcome.status.map_or_else(|| "no answer".to_owned(), |status| status.to_string());
        return Row { name, done: status, when: String::new(), why: "there is no record".to_owned(), good: false };
    };
    let diverted = record.was_diverted();
    let step = record.action();
    let verdict = step.map(|step| &step.verdict).or_else(|| record.verdict());
    let connected = outcome.status == Some(200);
    let good = connected
        && match role.expected {
            Expected::Diverted => diverted && outcome.ended_by_peer.is_some(),
            Expected::Connected => !diverted && outcome.ended_by_peer.is_none(),
            Expected::NoSpeech => !diverted && record.verdict().is_none_or(Judgement::is_no_speech),
        };
    let done = match step {
        Some(step) if step.is_done() => step.action.to_string(),
        Some(step) => format!("connected ({} {})", step.action, step.enforcement),
        None => "connected".to_owned(),
    };
    let reasons = verdict.map(|verdict| {
        let mut texts: Vec<&str> = verdict.reasons.iter().map(|reason| &*reason.text).collect();
        texts.dedup();
        format!(
            "{} {:.0} %: {}",
            verdict.class,
            100.0 * verdict.probability(),
            texts.into_iter().take(3).collect::<Vec<_>>().join("; ")
        )
    });
    Row {
        name,
        done,
        when: step.map_or_else(String::new, |step| step.at.to_string()),
        why: reasons.unwrap_or_else(|| "never judged".to_owned()),
        good,
    }
}

pub(super) fn flood_row(flood: &Flood, block: Option<&Block>) -> Row {
    let done = if block.is_some() { "blocked" } else { "not blocked" };
    let why = block.map_or_else(String::new, |block| {
        format!("{} of {} messages dropped at the gate, {} answered", block.dropped, flood.sent, flood.answered)
    });
    Row {
        name: "a source that floods".to_owned(),
        done: done.to_owned(),
        when: String::new(),
        why,
        good: block.is_some() && flood.answered == 0,
    }
}

pub(super) fn text(rows: &[Row]) -> String {
    let mut text = format!("\n{:26} {:34} {:7} {}\n", "call", "what was done", "when", "why");
    for row in rows {
        let mark = if row.good { "" } else { "   <- NOT AS EXPECTED" };
        let _ = writeln!(text, "{:26} {:34} {:7} {}{mark}", row.name, row.done, row.when, row.why);
    }
    text
}
