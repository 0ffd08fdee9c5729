//! `ringfence demo`.

use std::path::PathBuf;

use clap::Args;

use super::{Failure, say};
use crate::demo::show;
use crate::observe::{self, Format, LogSettings};
use crate::units::Redaction;

#[derive(Args)]
pub(crate) struct Demo {
    /// Where the recordings go
    #[arg(long, value_name = "FOLDER", default_value = "ringfence-demo")]
    out: PathBuf,
    /// Log what the firewall says, too
    #[arg(long)]
    verbose: bool,
}

impl Demo {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let filter = if self.verbose { "info" } else { "error" }.to_owned();
        let log = LogSettings { format: Format::Text, filter, redaction: Redaction::Off };
        let _log = observe::init_log(&log).map_err(|error| Failure::Run(error.to_string()))?;
        let shown = show(&self.out, &say).map_err(|error| Failure::Run(error.to_string()))?;
        say(&shown.table);
        if shown.as_expected {
            Ok(())
        } else {
            Err(Failure::Run("not everything was as the script expects".to_owned()))
        }
    }
}
