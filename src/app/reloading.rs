//! The four doors of a reload lead here: file watch, SIGHUP, `ringfence reload` and the HTTP API.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use serde::{Deserialize, Serialize};

use super::resolve::{self, NoPbx, Resolved};
use super::{Inner, Told, doubts, parts, trunks};
use crate::config::{self, Reload, Settings};
use crate::observe::metrics::Reloaded;
use crate::observe::{self, Format};
use crate::units::Redaction;

/// What came of a reload, for people and programs.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ReloadReport {
    /// How it ended.
    pub outcome: Reloaded,
    /// Options that changed, or that need a restart.
    pub changed: Vec<String>,
    /// Options that changed too and wait for that restart.
    #[serde(default)]
    pub waiting: Vec<String>,
    /// Every mistake, as text.
    pub problems: Vec<String>,
    /// Generation of the settings in force.
    pub generation: u64,
}

impl ReloadReport {
    /// As a person reads it.
    #[must_use]
    pub fn text(&self) -> String {
        let list = |lines: &[String]| lines.iter().map(|line| format!("\n  {line}")).collect::<String>();
        match self.outcome {
            Reloaded::Applied => format!("applied, now generation {}:{}", self.generation, list(&self.changed)),
            Reloaded::NeedsRestart => {
                let mut text = format!(
                    "good, but nothing of it is applied, still running with generation {}; a restart is needed for:{}",
                    self.generation,
                    list(&self.changed)
                );
                if !self.waiting.is_empty() {
                    text += &format!("\nuntil then, these wait as well:{}", list(&self.waiting));
                }
                text
            }
            Reloaded::Refused => {
                format!("refused, still running with generation {}:{}", self.generation, list(&self.problems))
            }
            Reloaded::Unchanged => format!("unchanged, generation {}", self.generation),
        }
    }
}

pub(super) fn reload(inner: &Inner) -> ReloadReport {
    // One at a time: two doors may be used at the same moment.
    let _one = inner.reloading.lock().unwrap_or_else(PoisonError::into_inner);
    let current = inner.settings();
    let report = |outcome: Reloaded| ReloadReport {
        outcome,
        changed: Vec::new(),
        waiting: Vec::new(),
        problems: Vec::new(),
        generation: inner.settings().generation,
    };
    let refused = |problems: Vec<String>| ReloadReport { problems, ..report(Reloaded::Refused) };
    let report = match read(inner) {
        Err(problems) => refused(problems),
        Ok((settings, doubts)) => {
            let report = match config::compare(&current, settings) {
                Reload::Unchanged => report(Reloaded::Unchanged),
                Reload::NeedsRestart { changed, waiting } => {
                    ReloadReport { changed, waiting, ..report(Reloaded::NeedsRestart) }
                }
                Reload::Applied { settings, changed } => match apply(inner, &current, &settings) {
                    Ok(()) => {
                        inner.settings.store(Arc::from(settings));
                        ReloadReport { changed, ..report(Reloaded::Applied) }
                    }
                    Err(problem) => refused(vec![problem]),
                },
            };
            // A list of numbers may grow all day.
            let lists_alone =
                !report.changed.is_empty() && report.changed.iter().all(|path| path.ends_with("(content)"));
            if report.outcome != Reloaded::Refused && !lists_alone {
                doubts::log(&doubts);
            }
            report
        }
    };
    note(inner, &report);
    report
}

/// The file as a start would read it, also where it then waits for one; and what is doubtful about it.
fn read(inner: &Inner) -> Result<(Settings, Vec<String>), Vec<String>> {
    let file = inner.file.as_ref().ok_or_else(|| vec!["these settings did not come from a file".to_owned()])?;
    let text = config::text_of(file).map_err(|problem| vec![problem])?;
    let folder = file.parent().unwrap_or(Path::new("."));
    let told = |problems: Vec<config::Problem>| problems.iter().map(ToString::to_string).collect::<Vec<_>>();
    let settings = doubts::load(&text, folder, Some(&inner.addresses)).map_err(told)?;
    let doubts = doubts::doubts(&settings, folder);
    Ok((settings, doubts))
}

/// Hands new settings to all who use them. Where it fails, nothing has changed.
fn apply(inner: &Inner, current: &Settings, settings: &Settings) -> Result<(), String> {
    let (before, public_before) = {
        let told = inner.told.lock().unwrap_or_else(PoisonError::into_inner);
        (told.resolved.pbx, told.resolved.public)
    };
    let pbx = match resolve::pbx(settings, Some(before)) {
        Ok(pbx) => pbx,
        // Nothing else that was edited need wait for a name that has been answered before.
        Err(NoPbx::Unknown(problem)) if settings.pbx.address == current.pbx.address => {
            tracing::warn!(%problem, "The PBX stays where it was");
            before
        }
        Err(problem) => return Err(problem.to_string()),
    };
    let (targets, changes) = trunks::resolve(&inner.names, settings, pbx);
    let public = inner.public_names.follow(settings, public_before);
    let resolved = {
        let told = inner.told.lock().unwrap_or_else(PoisonError::into_inner);
        Resolved::after(&told.resolved, pbx, targets, public)
    };
    let ordered = super::shard_settings(settings, &resolved, &inner.addresses).and_then(|order| {
        let taken = inner.signalling.order(order);
        if taken { Ok(()) } else { Err("the signalling takes no orders; try again".to_owned()) }
    });
    if let Err(problem) = ordered {
        trunks::resolve(&inner.names, current, before);
        inner.public_names.follow(current, public_before);
        return Err(problem);
    }
    // Orders are followed one by one: what is told as applied is so for the next call.
    let _ = inner.signalling.calls();
    *inner.told.lock().unwrap_or_else(PoisonError::into_inner) =
        Told::new(settings, resolved, changes, &inner.addresses);
    inner.pbx_name.follow(resolve::pbx_name(settings));
    inner.silence_limit.set(settings.media.timeout);
    inner.observer.set_records(parts::records(settings));
    set_log(inner, &settings.log);
    Ok(())
}

fn set_log(inner: &Inner, settings: &config::LogSettings) {
    let Some(log) = inner.log.upgrade() else { return };
    let observe::LogSettings { filter, redaction, .. } = log_settings(settings);
    // The level has been checked; nothing else can be wrong with it.
    if let Err(error) = log.set(&filter, redaction) {
        tracing::error!(%error, "The log stays as it is");
    }
}

/// `[log]`, as the log takes it.
#[must_use]
pub fn log_settings(settings: &config::LogSettings) -> observe::LogSettings {
    observe::LogSettings {
        format: if settings.json { Format::Json } else { Format::Text },
        filter: settings.level.clone(),
        redaction: if settings.numbers { Redaction::Off } else { Redaction::On },
    }
}

fn note(inner: &Inner, report: &ReloadReport) {
    inner.metrics.reloaded(report.outcome, report.generation);
    inner.refused.store(report.outcome == Reloaded::Refused, Ordering::Relaxed);
    match report.outcome {
        Reloaded::Applied => {
            tracing::info!(changed = %report.changed.join(", "), generation = report.generation, "Settings applied")
        }
        Reloaded::Unchanged => tracing::info!("Settings unchanged"),
        Reloaded::NeedsRestart => {
            let (changed, waiting) = (report.changed.join(", "), report.waiting.join(", "));
            tracing::warn!(%changed, %waiting, "Settings need a restart; nothing was changed")
        }
        Reloaded::Refused => {
            for problem in &report.problems {
                tracing::error!(%problem, "Settings refused; the old ones stay");
            }
        }
    }
}
