//! `ringfence check FILE`.

use std::path::{Path, PathBuf};

use clap::Args;

use super::{Failure, say};
use crate::app::{self, Checked};
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
        let folder = self.file.parent().unwrap_or(Path::new(""));
        let Checked { refused, doubts } = app::check(&settings, folder);
        let lines = |texts: &[String]| texts.iter().map(|text| format!("\n  {text}")).collect::<String>();
        if !refused.is_empty() {
            let text = format!("{}: cannot be run with:{}", self.file.display(), lines(&refused));
            return Err(Failure::Settings(text + &lines(&doubts)));
        }
        say(&format!(
            "{}: good. {} trunk(s), {} rule(s), {} options",
            self.file.display(),
            settings.trunks.len(),
            settings.policy.rules.len(),
            settings.options().len()
        ));
        if !doubts.is_empty() {
            say(&format!("But it may not do what is meant:{}", lines(&doubts)));
        }
        Ok(())
    }
}
