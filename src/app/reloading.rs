//! The four doors of a reload lead here: file watch, SIGHUP, `ringfence reload` and the HTTP API.

use std::path::Path;
use std::sync::{Arc, PoisonError};

use serde::{Deserialize, Serialize};

use super::Inner;
use crate::config::{self, Reload, Settings};
use crate::observe::metrics::Reloaded;

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
    // One at a time: two doors may be used at once.
    let _one = inner.reloading.lock().unwrap_or_else(PoisonError::into_inner);
    let current = inner.settings();
    let generation = current.generation;
    let refused =
        |problems: Vec<String>| ReloadReport { outcome: Reloaded::Refused, changed: Vec::new(), problems, generation };
    let report = match &inner.file {
        None => refused(vec!["these settings did not come from a file".to_owned()]),
        Some(file) => match std::fs::read_to_string(file) {
            Err(error) => refused(vec![format!("{}: {error}", file.display())]),
            Ok(text) => {
                let folder = file.parent().unwrap_or(Path::new("."));
                match config::reload(&current, &text, &config::list_files(folder)) {
                    Reload::Refused { problems } => refused(problems.iter().map(ToString::to_string).collect()),
                    Reload::Unchanged => ReloadReport {
                        outcome: Reloaded::Unchanged,
                        changed: Vec::new(),
                        problems: Vec::new(),
                        generation,
                    },
                    Reload::NeedsRestart { changed } => {
                        ReloadReport { outcome: Reloaded::NeedsRestart, changed, problems: Vec::new(), generation }
                    }
                    Reload::Applied { settings, changed } => match apply(inner, &current, &settings) {
                        Ok(()) => {
                            let generation = settings.generation;
                            inner.settings.store(Arc::from(settings));
                            ReloadReport { outcome: Reloaded::Applied, changed, problems: Vec::new(), generation }
                        }
                        Err(problem) => refused(vec![problem]),
                    },
                }
            }
        },
    };
    note(inner, &report);
    report
}

/// Hands new settings to all who use them. Fails before anything is changed.
fn apply(inner: &Inner, current: &Settings, settings: &Settings) -> Result<(), String> {
    let pbx = super::resolve::pbx(settings)?;
    let targets = super::trunks::resolve(&inner.names, settings, pbx);
    let changes = inner.names.answers().1;
    let resolved = {
        let told = inner.resolved.lock().unwrap_or_else(PoisonError::into_inner);
        super::resolve::Resolved::after(&told.0, pbx, targets)
    };
    let ordered = super::shard_settings(settings, &resolved, &inner.addresses).and_then(|order| {
        let taken = inner.signalling.order(order);
        if taken { Ok(()) } else { Err("the signalling takes no orders; try again".to_owned()) }
    });
    if let Err(problem) = ordered {
        super::trunks::resolve(&inner.names, current, pbx);
        return Err(problem);
    }
    *inner.resolved.lock().unwrap_or_else(PoisonError::into_inner) = (resolved, changes);
    inner.observer.set_records(super::records(settings));
    (inner.set_log)(&settings.log);
    Ok(())
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
