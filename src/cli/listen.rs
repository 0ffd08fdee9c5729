//! `ringfence listen CALL`.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::{EarOptions, Failure, missing_words, say};
use crate::offline::{Chosen, Ear, Heard, Step, hear, plot};
use crate::policy::judge::Class;
use crate::policy::rules::Policy;
use crate::units::CallTime;

#[derive(Args)]
pub(crate) struct Listen {
    /// A WAV (stereo: left caller, right callee; mono: the caller), pcap or pcapng file
    call: PathBuf,
    /// Which call of a capture that holds several, as they are listed
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    number: usize,
    /// Draw a picture: waveforms, talkspurts, words, evidence, decision
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
    /// How long to listen, from the caller's first speech on
    #[arg(long, value_name = "TIME", default_value = super::WATCH_FOR, value_parser = humantime::parse_duration)]
    watch_for: Duration,
    /// The right channel is a prompt that was played to the caller before anybody was rung
    #[arg(long)]
    screening: bool,
    #[command(flatten)]
    ear: EarOptions,
}

impl Listen {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let name = self.call.display().to_string();
        let Chosen { mut recording, calls, damaged_behind } =
            Chosen::read(&self.call, self.number).map_err(|error| Failure::with_file(&self.call, &error))?;
        if self.screening {
            recording = recording.of_screening();
        }
        let ear = self.ear.open()?;
        let heard =
            ear.with(|knowledge, recognise| hear(&recording, knowledge, &Policy::default(), self.watch_for, recognise));
        say(&(remarks(self.number, &calls, damaged_behind) + &timeline(&name, &heard, &ear)));
        if let Some(file) = &self.plot {
            let svg = plot(&name, &recording, &heard);
            std::fs::write(file, svg).map_err(|error| Failure::with_file(file, &error))?;
        }
        Ok(())
    }
}

/// Calls that are listed.
const LISTED: usize = 50;

/// What a person should know of a capture.
fn remarks(number: usize, calls: &[String], damaged_behind: Option<usize>) -> String {
    let mut text = String::new();
    if let Some(packets) = damaged_behind {
        let _ = writeln!(text, "the capture is damaged behind its packet {packets}; what comes after it is not heard");
    }
    if calls.len() > 1 {
        let _ = writeln!(text, "{} calls can be heard; this is number {number} (--number takes another):", calls.len());
        for (place, call) in calls.iter().enumerate().take(LISTED) {
            let _ = writeln!(text, "{:>7}  {call}", place + 1);
        }
        if calls.len() > LISTED {
            let _ = writeln!(text, "    ...  and {} more", calls.len() - LISTED);
        }
        text.push('\n');
    }
    text
}

/// All that was heard and decided, in the order of time, and why.
fn timeline(name: &str, heard: &Heard, ear: &Ear) -> String {
    let mut lines: Vec<(CallTime, String)> =
        evidence_lines(heard).chain(verdict_lines(heard)).chain(step_lines(heard)).collect();
    lines.sort_by_key(|(at, _)| *at);
    let mut text = format!("{name}: {:.1} s\n", heard.length.as_secs_f32());
    if let Some(why) = ear.without_words() {
        let _ = writeln!(text, "words are off: {why}");
    }
    if let Some(missing) = missing_words(heard.words_failed) {
        let _ = writeln!(text, "{missing}");
    }
    for (at, line) in lines {
        let _ = writeln!(text, "{:>7}  {line}", at.to_string());
    }
    conclusion(&mut text, heard);
    text.truncate(text.trim_end().len());
    text
}

fn evidence_lines(heard: &Heard) -> impl Iterator<Item = (CallTime, String)> {
    heard.evidence.iter().map(|evidence| (evidence.at, format!("{:6}  {}", evidence.leg.label(), evidence.finding)))
}

/// A line for each verdict that differs from the one before by its class, or by ten percent or so.
fn verdict_lines(heard: &Heard) -> impl Iterator<Item = (CallTime, String)> {
    let mut last = None;
    heard.verdicts.iter().filter_map(move |verdict| {
        let percent = |class| (100.0 * verdict.of(class).get()).round();
        let shown = (verdict.class, percent(Class::PressKey) as i32 / 10, percent(Class::Live) as i32 / 10);
        let line = format!(
            "------  verdict {}: live {:.0} %, recorded {:.0} %, press_key {:.0} %",
            verdict.class.label(),
            percent(Class::Live),
            percent(Class::Recorded),
            percent(Class::PressKey)
        );
        (last.replace(shown) != Some(shown)).then_some((verdict.at, line))
    })
}

fn step_lines(heard: &Heard) -> impl Iterator<Item = (CallTime, String)> {
    let line = |step: &Step| format!("======  {}, by `{}`", step.decision.action.label(), step.decision.rule);
    heard.steps.iter().map(move |step| (step.at, line(step)))
}

/// What would have been done, and why.
fn conclusion(text: &mut String, heard: &Heard) {
    let (verdict, done, class) = match (heard.strongest(), heard.verdict()) {
        (Some(step), _) => {
            let done = format!("{} at {}", step.decision.action.label(), step.at);
            (&step.decision.verdict, done, Class::PressKey)
        }
        (None, Some(verdict)) => (verdict, "nothing done".to_owned(), verdict.class),
        (None, None) => {
            text.push_str("\nnothing heard\n");
            return;
        }
    };
    let _ = writeln!(text, "\n{done}: {} {}, because", class.label(), verdict.of(class));
    for reason in &verdict.reasons {
        let _ = writeln!(text, "  {:+5.1}  {:26} {}", reason.log_odds, reason.weight, reason.text);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use crate::offline::EarFiles;

    #[test]
    fn words_that_the_model_did_not_give_are_said_to_be_missing() {
        let ear = Ear::open(None, false, &EarFiles::default()).unwrap();
        let said = |words_failed: usize| timeline("call.wav", &Heard { words_failed, ..Heard::default() }, &ear);

        assert!(said(3).contains("\nwords are missing: the speech model failed 3 times\n"), "{}", said(3));
        assert!(said(1).contains("failed once\n") && !said(0).contains("missing"), "{}", said(0));
    }
}
