//! `ringfence check FILE`.

use std::path::{Path, PathBuf};

use clap::Args;

use super::{Failure, say};
use crate::app;
use crate::units::Redaction;

#[derive(Args)]
pub(crate) struct Check {
    /// The settings file
    file: PathBuf,
}

impl Check {
    pub(crate) fn run(self) -> Result<(), Failure> {
        // A terminal is no log: whoever mends a number wants to see it.
        Redaction::Off.set();
        let settings = app::load_file(&self.file).map_err(Failure::Settings)?;
        let doubts = app::doubts(&settings, self.file.parent().unwrap_or(Path::new("")));
        say(&format!(
            "{}: good. {} trunk(s), {} rule(s), {} options",
            self.file.display(),
            settings.trunks.len(),
            settings.policy.rules.len(),
            settings.options().len()
        ));
        if !doubts.is_empty() {
            let lines: Vec<String> = doubts.iter().map(|doubt| format!("\n  {doubt}")).collect();
            say(&format!("But it may not do what is meant:{}", lines.concat()));
        }
        Ok(())
    }
}
