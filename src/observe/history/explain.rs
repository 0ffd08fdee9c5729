//! What `ringfence explain CALL` prints: one page that a person can follow from the INVITE to the end.

use std::fmt::Write as _;

use chrono::{Local, TimeZone};

use super::calls::{moment, party};
use crate::call::{Lifted, NotAnalysed};
use crate::observe::plain::plain;
use crate::policy::action::Enforcement;
use crate::policy::judge::Class;
use crate::store::{CallRecord, Judgement, ReasonRecord, Step, UNFINISHED, UtcMillis};
use crate::units::{CallTime, Leg};

/// The page of one call, in local time.
#[must_use]
pub fn text(record: &CallRecord) -> String {
    text_in(&Local, record)
}

fn text_in<Z: TimeZone>(zone: &Z, record: &CallRecord) -> String
where
    Z::Offset: std::fmt::Display,
{
    let mut page = Page::default();
    head(&mut page, zone, record);
    page.line("");
    page.line("At the INVITE");
    page.line(format!(
        "  rule \"{}\" said {}: {}",
        plain(&record.rule),
        record.route,
        whether_done(&record.route_enforcement)
    ));
    page.line("");
    timeline(&mut page, record);
    page.line("");
    page.line(format!("Ended  {}", ending(record)));
    page.0
}

fn head<Z: TimeZone>(page: &mut Page, zone: &Z, record: &CallRecord)
where
    Z::Offset: std::fmt::Display,
{
    page.line(format!("Call {}, {}", record.id, record.direction));
    page.line("");
    let way_in = record.trunk.as_ref().map_or_else(String::new, |trunk| format!(", trunk \"{}\"", plain(trunk)));
    page.line(format!(
        "  from      {}, {}{way_in}",
        party(record.caller.as_deref(), &record.caller_kind),
        record.source
    ));
    page.line(format!("  to        {}", party(record.called.as_deref(), "number")));
    page.line(format!("  began     {}", moment(zone, record.began, "%a %d %b %Y %H:%M:%S%.3f %z")));
    page.line(format!("  Call-ID   {}", plain(&record.sip_call_id)));
    page.line(format!("  settings  generation {}", record.generation));
}

fn timeline(page: &mut Page, record: &CallRecord) {
    let Some(answered) = record.answered else {
        page.line(match record.ringing {
            Some(_) => "The callee's phone rang and was not answered.",
            None => "The callee's phone did not ring.",
        });
        return;
    };
    page.line(format!("Since the answer{}", waited(record, answered)));
    let heard = match (&record.not_analysed, record.analysed) {
        (None, true) => "answered; the caller is listened to".to_owned(),
        (Some(why), true) => {
            format!("answered; the caller is listened to, and was not heard for a while ({})", why_not(why))
        }
        (Some(why), false) => format!("answered; not listened to ({})", why_not(why)),
        (None, false) => "answered; not listened to".to_owned(),
    };
    page.moment(CallTime::ZERO, &heard);
    for entry in entries(record) {
        match entry {
            Entry::Restored(at) => {
                let unheard = if record.analysed { ", no longer listened to" } else { "" };
                page.moment(at, &format!("Ringfence was started again, and the call went on{unheard}"));
            }
            Entry::Verdict(verdict) => judgement(page, verdict.at, verdict, ""),
            Entry::Step(step) => action(page, step, &record.verdicts),
            Entry::TakenBack(at) => {
                page.moment(at, "the callee pressed the take-back key, which brings back a caller who has not hung up");
            }
            Entry::Lifted(at, by) => page.moment(at, &format!("keys reach the caller again: {}", why_lifted(by))),
        }
    }
    if record.verdicts_left_out > 0 {
        page.line(format!("           ({} verdicts before the last one found no room)", record.verdicts_left_out));
    }
    if record.verdicts.iter().any(|verdict| !verdict.reasons.is_empty()) {
        page.line("           (+ and -: what a reason adds to or takes from its suspicion, in log-odds)");
    }
    for leg in Leg::BOTH {
        let keys = record.digits[leg];
        if keys > 0 {
            page.line(format!(
                "           the {} pressed {keys} {}",
                leg.label(),
                if keys == 1 { "key" } else { "keys" }
            ));
        }
    }
}

/// A line of the timeline.
enum Entry<'a> {
    Restored(CallTime),
    Verdict(&'a Judgement),
    Step(&'a Step),
    TakenBack(CallTime),
    Lifted(CallTime, &'a str),
}

/// In the order of time; a verdict stands before the action that it led to.
fn entries(record: &CallRecord) -> Vec<Entry<'_>> {
    let restored = record.restored.zip(record.answered).map(|(at, answered)| {
        Entry::Restored(CallTime::from_millis(u64::try_from(at.0.saturating_sub(answered.0)).unwrap_or(0)))
    });
    let mut entries: Vec<Entry<'_>> = record.verdicts.iter().map(Entry::Verdict).collect();
    entries.extend(restored);
    entries.extend(record.steps.iter().map(Entry::Step));
    entries.extend(record.taken_back.map(Entry::TakenBack));
    entries.extend(record.lifted.as_ref().map(|lifted| Entry::Lifted(lifted.0, &lifted.1)));
    entries.sort_by_key(|entry| match entry {
        Entry::Verdict(verdict) => verdict.at,
        Entry::Step(step) => step.at,
        Entry::TakenBack(at) | Entry::Restored(at) | Entry::Lifted(at, _) => *at,
    });
    entries
}

fn judgement(page: &mut Page, at: CallTime, verdict: &Judgement, because: &str) {
    let others: Vec<String> = Class::ALL
        .iter()
        .zip(verdict.probabilities)
        .filter(|(class, probability)| class.label() != verdict.class && *probability >= 0.005)
        .map(|(class, probability)| format!("{} {}", class.label(), percent(probability)))
        .collect();
    let others = if others.is_empty() { String::new() } else { format!("  ({})", others.join(", ")) };
    page.moment(at, &format!("{because}{} {}{others}", verdict.class, percent(verdict.probability())));
    for ReasonRecord { text, weight, log_odds } in &verdict.reasons {
        page.line(format!("           {log_odds:+5.1}  {}  [{}]", plain(text), plain(weight)));
    }
}

fn action(page: &mut Page, step: &Step, verdicts: &[Judgement]) {
    // Most actions follow from a verdict that stands above already.
    if !verdicts.contains(&step.verdict) {
        judgement(page, step.at, &step.verdict, "");
    }
    let line = format!("{} by {}: {}", step.action, plain(&step.rule), whether_done(&step.enforcement));
    page.moment(step.at, &format!("-> {line}"));
}

fn ending(record: &CallRecord) -> String {
    let ending = &record.ending;
    if ending.how == UNFINISHED {
        return "not known: the call was still running when Ringfence stopped".to_owned();
    }
    let by = match ending.by.as_deref() {
        Some(leg) => format!("by the {leg}"),
        None => "by Ringfence".to_owned(),
    };
    let status = ending.status.map_or_else(String::new, |status| format!(", status {status}"));
    let talked = ending.talked.map_or_else(String::new, |talked| format!(", {} after the answer", CallTime(talked)));
    format!("{by} ({}{status}){talked}", ending.how)
}

/// How long the caller waited for the answer.
fn waited(record: &CallRecord, answered: UtcMillis) -> String {
    let seconds = |from: UtcMillis| CallTime(answered.since(from));
    match record.ringing {
        Some(ringing) => format!(" (it rang for {})", seconds(ringing)),
        None => format!(" ({} after the INVITE)", seconds(record.began)),
    }
}

// A record of another version may hold a label that this one does not know: it stands as it is.

fn whether_done(enforcement: &str) -> &str {
    Enforcement::ALL.into_iter().find(|one| one.label() == enforcement).map_or(enforcement, |one| one.text())
}

fn why_lifted(by: &str) -> &str {
    Lifted::ALL.into_iter().find(|one| one.label() == by).map_or(by, |one| one.text())
}

fn why_not(why: &str) -> &str {
    NotAnalysed::ALL.into_iter().find(|one| one.label() == why).map_or(why, |one| one.text())
}

fn percent(probability: f32) -> String {
    format!("{:.0} %", probability * 100.0)
}

/// The page, line by line.
#[derive(Default)]
struct Page(String);

impl Page {
    fn line(&mut self, line: impl AsRef<str>) {
        self.0.push_str(line.as_ref());
        self.0.push('\n');
    }

    fn moment(&mut self, at: CallTime, what: &str) {
        // Writing to a String does not fail.
        let _ = writeln!(self.0, "  {:>7}  {what}", at.to_string());
    }
}

#[cfg(test)]
mod tests {
    use chrono::Utc;

    use super::*;
    use crate::store::fixture::diverted_call;

    #[test]
    fn a_diverted_call_explains_itself() {
        assert_eq!(text_in(&Utc, &diverted_call()), include_str!("diverted.txt"));
    }

    #[test]
    fn a_rejected_call_and_a_running_one_have_a_page_too() {
        let diverted = diverted_call();
        let rejected = CallRecord {
            caller_kind: "withheld".into(),
            caller: None,
            answered: None,
            ringing: None,
            verdicts: Vec::new(),
            steps: Vec::new(),
            taken_back: None,
            rule: "anonymous".into(),
            route: "reject".into(),
            route_enforcement: "observed".into(),
            ending: crate::store::EndingRecord { how: "rejected".into(), status: Some(608), ..Default::default() },
            ..diverted.clone()
        };
        let running = CallRecord {
            analysed: false,
            not_analysed: Some("srtp".into()),
            ending: crate::store::EndingRecord { how: UNFINISHED.into(), ..Default::default() },
            ..diverted
        };

        for (why, text) in [
            ("trusted", "not listened to (the rule that connects it trusts its caller)"),
            ("outbound", "not listened to (calls from the PBX are not analysed)"),
            ("of another version", "not listened to (of another version)"),
        ] {
            let record = CallRecord { not_analysed: Some(why.into()), ..running.clone() };
            assert!(text_in(&Utc, &record).contains(text), "{why}");
        }
        let muted = CallRecord { analysed: true, not_analysed: Some("codec".into()), ..running.clone() };
        let text = "answered; the caller is listened to, and was not heard for a while (no codec that can be heard)";
        assert!(text_in(&Utc, &muted).contains(text));
        let page = text_in(&Utc, &rejected);
        assert!(page.contains("from      withheld, 203.0.113.9"), "{page}");
        assert!(page.contains("rule \"anonymous\" said reject: not done, enforce = false"), "{page}");
        assert!(page.contains("The callee's phone did not ring."), "{page}");
        assert!(page.contains("Ended  by Ringfence (rejected, status 608)\n"), "{page}");
        let page = text_in(&Utc, &running);
        assert!(page.contains("not listened to (encrypted media, and the keys are not ours)"), "{page}");
        assert!(page.contains("Ended  not known: the call was still running when Ringfence stopped"), "{page}");
    }

    #[test]
    fn a_call_that_went_on_after_a_restart_says_so() {
        let diverted = diverted_call();
        let restored = diverted.answered.map(|at| UtcMillis(at.0 + 7_500));
        let heard = CallRecord { restored, ..diverted };

        let page = text_in(&Utc, &heard);

        assert!(
            page.contains("    7.5 s  Ringfence was started again, and the call went on, no longer listened to"),
            "{page}"
        );
    }

    #[test]
    fn a_peers_text_commands_no_terminal() {
        let hostile = "\u{1b}]0;x\u{7}\r\nEnded  by nobody";
        let record = CallRecord {
            caller: Some(hostile.to_owned()),
            called: Some(hostile.to_owned()),
            sip_call_id: hostile.into(),
            rule: hostile.into(),
            ..diverted_call()
        };

        let page = text_in(&Utc, &record);

        assert!(!page.chars().any(|c| c.is_control() && c != '\n'), "{page}");
        assert_eq!(page.lines().count(), include_str!("diverted.txt").lines().count());
    }
}
