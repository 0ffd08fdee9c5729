//! `ringfence check FILE`.

use std::path::PathBuf;

use clap::Args;

use super::{Failure, say};
use crate::config;
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
        let settings = config::load_file(&self.file).map_err(Failure::Settings)?;
        say(&format!(
            "{}: good. {} trunk(s), {} rule(s), {} options",
            self.file.display(),
            settings.trunks.len(),
            settings.policy.rules.len(),
            settings.options().len()
        ));
        Ok(())
    }
}
