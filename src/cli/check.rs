//! `ringfence check FILE`.

use std::path::PathBuf;

use clap::Args;

use super::{Failure, say};
use crate::config;

#[derive(Args)]
pub(crate) struct Check {
    /// The settings file
    file: PathBuf,
}

impl Check {
    pub(crate) fn run(self) -> Result<(), Failure> {
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
