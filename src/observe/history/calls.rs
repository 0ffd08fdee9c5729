//! What `ringfence calls` prints.

use chrono::{DateTime, Local, TimeZone};

use crate::observe::plain::plain;
use crate::policy::action::{Enforcement, StepUp};
use crate::policy::facts::CallerNumber;
use crate::store::{CallSummary, UtcMillis};

/// Characters of the widest column; longer texts are cut.
const WIDEST: usize = 28;

const HEAD: [&str; 9] = ["TIME", "CALL", "FROM", "TO", "RULE", "DONE", "VERDICT", "ENDED", "TALKED"];

/// One line for each call, under a head, in local time.
#[must_use]
pub fn table(calls: &[CallSummary]) -> String {
    table_in(&Local, calls)
}

fn table_in<Z: TimeZone>(zone: &Z, calls: &[CallSummary]) -> String
where
    Z::Offset: std::fmt::Display,
{
    if calls.is_empty() {
        return "no calls\n".to_owned();
    }
    let mut lines = vec![HEAD.map(str::to_owned)];
    lines.extend(calls.iter().map(|call| cells(zone, call)));
    let widths: [usize; HEAD.len()] =
        std::array::from_fn(|column| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0));
    let mut text = String::new();
    for line in &lines {
        let padded: Vec<String> = line.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        text.push_str(padded.join("  ").trim_end());
        text.push('\n');
    }
    text
}

fn cells<Z: TimeZone>(zone: &Z, call: &CallSummary) -> [String; HEAD.len()]
where
    Z::Offset: std::fmt::Display,
{
    let done = match (&call.action, &call.action_enforcement, call.action_at_ms) {
        (Some(action), enforcement, at_ms) => {
            let at = at_ms.map_or_else(String::new, |ms| format!(" at {:.1} s", seconds(ms)));
            let holds_keys = [StepUp::Guard, StepUp::Whisper].iter().any(|step| *action == step.label());
            let back = if call.taken_back {
                ", taken back"
            } else if call.guard_lifted && holds_keys {
                ", lifted"
            } else {
                ""
            };
            format!("{}{at}{back}", enforced(action, enforcement.as_deref()))
        }
        (None, _, _) => enforced(&call.route, Some(&call.route_enforcement)),
    };
    let verdict = match (&call.class, call.probability) {
        (Some(class), Some(probability)) => format!("{class} {:.0} %", probability * 100.0),
        (Some(class), None) => class.to_string(),
        (None, _) => "-".to_owned(),
    };
    [
        moment(zone, call.began, "%Y-%m-%d %H:%M:%S"),
        call.id.to_string(),
        party(call.caller.as_deref(), &call.caller_kind),
        party(call.called.as_deref(), "not stored"),
        call.rule.to_string(),
        done,
        verdict,
        call.how.to_string(),
        call.talked_ms.map_or_else(|| "-".to_owned(), |ms| format!("{:.1} s", seconds(ms))),
    ]
    .map(|cell| cut(&plain(&cell)))
}

/// A number, or why there is none.
pub(super) fn party(number: Option<&str>, kind: &str) -> String {
    match number {
        Some(number) => plain(number).into_owned(),
        None if kind == CallerNumber::Withheld.label() => kind.to_owned(),
        None => "not stored".to_owned(),
    }
}

/// A time in the time zone of whoever reads it.
pub(super) fn moment<Z: TimeZone>(zone: &Z, at: UtcMillis, format: &str) -> String
where
    Z::Offset: std::fmt::Display,
{
    let utc = DateTime::from_timestamp_millis(at.0);
    utc.map_or_else(|| "?".to_owned(), |utc| utc.with_timezone(zone).format(format).to_string())
}

/// The action; in brackets where it was not carried out.
fn enforced(action: &str, enforcement: Option<&str>) -> String {
    match enforcement {
        Some(enforcement) if enforcement != Enforcement::Done.label() => format!("({action})"),
        Some(_) | None => action.to_owned(),
    }
}

fn cut(cell: &str) -> String {
    if cell.chars().count() <= WIDEST {
        return cell.to_owned();
    }
    cell.chars().take(WIDEST - 1).chain(['…']).collect()
}

fn seconds(ms: u64) -> f64 {
    std::time::Duration::from_millis(ms).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use chrono::Utc;

    use super::*;
    use crate::store::fixture::diverted_call;

    #[test]
    fn a_list_is_a_table() {
        let diverted = diverted_call().summary();
        let watched = CallSummary {
            caller_kind: "withheld".into(),
            caller: None,
            called: None,
            rule: "a rule with a name that nobody would ever type twice".into(),
            route: "reject".into(),
            route_enforcement: "observed".into(),
            class: None,
            action: None,
            taken_back: false,
            guard_lifted: false,
            talked_ms: None,
            how: "cancelled".into(),
            ..diverted.clone()
        };

        assert_eq!(table_in(&Utc, &[diverted, watched]), include_str!("calls.txt"));
        assert_eq!(table_in(&Utc, &[]), "no calls\n");
    }

    #[test]
    fn lifted_is_said_of_a_guard_and_not_of_what_came_after_it() {
        let done = |action: &str| {
            let call = CallSummary {
                action: Some(action.to_owned().into()),
                taken_back: false,
                guard_lifted: true,
                ..diverted_call().summary()
            };
            table_in(&Utc, &[call])
        };

        assert!(done("guard").contains("guard at 5.2 s, lifted"), "{}", done("guard"));
        assert!(!done("divert").contains("lifted"), "{}", done("divert"));
    }
}
