//! `ringfence listen CALL`.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::{EarOptions, Failure, say};
use crate::offline::{Chosen, Ear, Heard, hear, plot};
use crate::policy::judge::Class;
use crate::policy::rules::Policy;

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
    /// How long after the answer to listen
    #[arg(long, value_name = "TIME", default_value = "25s", value_parser = humantime::parse_duration)]
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
        let bad = |error| Failure::Run(format!("{name}: {error}"));
        let Chosen { mut recording, calls, damaged_behind } = Chosen::read(&self.call, self.number).map_err(bad)?;
        if self.screening {
            recording = recording.of_screening();
        }
        let ear = self.ear.open()?;
        let heard =
            ear.with(|knowledge, recognise| hear(&recording, knowledge, &Policy::default(), self.watch_for, recognise));
        say(&(remarks(self.number, &calls, damaged_behind) + &timeline(&name, &heard, &ear)));
        if let Some(file) = &self.plot {
            let svg = plot(&name, &recording, &heard);
            std::fs::write(file, svg).map_err(|error| Failure::Run(format!("{}: {error}", file.display())))?;
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

fn timeline(name: &str, heard: &Heard, ear: &Ear) -> String {
    let mut lines: Vec<(std::time::Duration, String)> = Vec::new();
    for evidence in &heard.evidence {
        let line = format!("{:>7}  {:6}  {}", evidence.at.to_string(), evidence.leg.label(), evidence.finding);
        lines.push((evidence.at.0, line));
    }
    let mut last = None;
    for verdict in &heard.verdicts {
        let percent = |class| (100.0 * verdict.of(class).get()).round();
        let shown = (verdict.class, percent(Class::PressKey) as i32 / 10, percent(Class::Live) as i32 / 10);
        if last != Some(shown) {
            last = Some(shown);
            lines.push((
                verdict.at.0,
                format!(
                    "{:>7}  ------  verdict {}: live {:.0} %, recorded {:.0} %, press_key {:.0} %",
                    verdict.at.to_string(),
                    verdict.class.label(),
                    percent(Class::Live),
                    percent(Class::Recorded),
                    percent(Class::PressKey)
                ),
            ));
        }
    }
    for step in &heard.steps {
        let rule = &step.decision.rule;
        let action = step.decision.action.label();
        lines.push((step.at.0, format!("{:>7}  ======  {action}, by `{rule}`", step.at.to_string())));
    }
    lines.sort_by_key(|(at, _)| *at);
    let mut text = format!("{name}: {:.1} s\n", heard.length.as_secs_f32());
    if let Some(why) = ear.without_words() {
        let _ = writeln!(text, "words are off: {why}");
    }
    for (_, line) in lines {
        let _ = writeln!(text, "{line}");
    }
    match (heard.strongest(), heard.verdict()) {
        (Some(step), _) => {
            let verdict = &step.decision.verdict;
            let of = 100.0 * verdict.of(Class::PressKey).get();
            let _ = writeln!(text, "\n{} at {}: press_key {of:.0} %, because", step.decision.action.label(), step.at);
            reasons(&mut text, &verdict.reasons);
        }
        (None, Some(verdict)) => {
            let of = 100.0 * verdict.of(verdict.class).get();
            let _ = writeln!(text, "\nnothing done: {} {of:.0} %, because", verdict.class.label());
            reasons(&mut text, &verdict.reasons);
        }
        (None, None) => {
            let _ = writeln!(text, "\nnothing heard");
        }
    }
    text.truncate(text.trim_end().len());
    text
}

fn reasons(text: &mut String, reasons: &[crate::policy::judge::Reason]) {
    for reason in reasons {
        let _ = writeln!(text, "  {:+5.1}  {:26} {}", reason.log_odds, reason.weight, reason.text);
    }
}
