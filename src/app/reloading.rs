//! The four doors of a reload lead here: file watch, SIGHUP, `ringfence reload` and the HTTP API.

use std::path::Path;
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
                format!("valid, but these need a restart; nothing was changed:{}", list(&self.changed))
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
    let report = |outcome: Reloaded, changed: Vec<String>, problems: Vec<String>| ReloadReport {
        outcome,
        changed,
        problems,
        generation: inner.settings().generation,
    };
    let report = match compared(inner, &current) {
        Ok(Reload::Unchanged) => report(Reloaded::Unchanged, Vec::new(), Vec::new()),
        Ok(Reload::NeedsRestart { changed }) => report(Reloaded::NeedsRestart, changed, Vec::new()),
        Ok(Reload::Refused { problems }) => {
            report(Reloaded::Refused, Vec::new(), problems.iter().map(ToString::to_string).collect())
        }
        Ok(Reload::Applied { settings, changed }) => match apply(inner, &current, &settings) {
            Ok(()) => {
                inner.settings.store(Arc::from(settings));
                report(Reloaded::Applied, changed, Vec::new())
            }
            Err(problem) => report(Reloaded::Refused, Vec::new(), vec![problem]),
        },
        Err(problem) => report(Reloaded::Refused, Vec::new(), vec![problem]),
    };
    note(inner, &report);
    // A list of numbers may grow all day.
    let lists_alone = !report.changed.is_empty() && report.changed.iter().all(|path| path.ends_with("(content)"));
    if report.outcome != Reloaded::Refused && !lists_alone {
        doubt(inner);
    }
    report
}

/// Says what is doubtful about the file, also where it waits for a restart.
fn doubt(inner: &Inner) {
    let Some(file) = &inner.file else { return };
    if let Ok(settings) = config::load_file(file) {
        doubts::log(&doubts::doubts(&settings, file.parent().unwrap_or(Path::new("."))));
    }
}

/// The file, compared with the settings in force.
fn compared(inner: &Inner, current: &Settings) -> Result<Reload, String> {
    let file = inner.file.as_ref().ok_or("these settings did not come from a file")?;
    let text = config::text_of(file)?;
    let folder = file.parent().unwrap_or(Path::new("."));
    let reload = config::reload(current, &text, &config::files_in(folder));
    let waits = matches!(reload, Reload::NeedsRestart { .. });
    match config::load_file(file).ok().filter(|_| waits).and_then(|settings| doubts::one_file(&settings, folder)) {
        Some(problem) => Err(problem),
        None => Ok(reload),
    }
}

/// Hands new settings to all who use them. Where it fails, nothing has changed.
fn apply(inner: &Inner, current: &Settings, settings: &Settings) -> Result<(), String> {
    let before = inner.told.lock().unwrap_or_else(PoisonError::into_inner).resolved.pbx;
    let pbx = match resolve::pbx(settings, Some(before)) {
        Ok(pbx) => pbx,
        // Nothing else that was edited need wait for a name that has been answered before.
        Err(NoPbx::Unknown(problem)) if settings.pbx.address == current.pbx.address => {
            tracing::warn!(%problem, "The PBX stays where it was");
            before
        }
        Err(problem) => return Err(problem.to_string()),
    };
    let targets = trunks::resolve(&inner.names, settings, pbx);
    let changes = inner.names.answers().1;
    let resolved = {
        let told = inner.told.lock().unwrap_or_else(PoisonError::into_inner);
        Resolved::after(&told.resolved, pbx, targets)
    };
    let ordered = super::shard_settings(settings, &resolved, &inner.addresses).and_then(|order| {
        let taken = inner.signalling.order(order);
        if taken { Ok(()) } else { Err("the signalling takes no orders; try again".to_owned()) }
    });
    if let Err(problem) = ordered {
        trunks::resolve(&inner.names, current, before);
        return Err(problem);
    }
    // Orders are followed one by one: what is told as applied is so for the next call.
    let _ = inner.signalling.calls();
    *inner.told.lock().unwrap_or_else(PoisonError::into_inner) = Told { resolved, changes };
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
    match report.outcome {
        Reloaded::Applied => {
            tracing::info!(changed = %report.changed.join(", "), generation = report.generation, "Settings applied")
        }
        Reloaded::Unchanged => tracing::info!("Settings unchanged"),
        Reloaded::NeedsRestart => {
            tracing::warn!(changed = %report.changed.join(", "), "Settings need a restart; nothing was changed")
        }
        Reloaded::Refused => {
            for problem in &report.problems {
                tracing::error!(%problem, "Settings refused; the old ones stay");
            }
        }
    }
}
