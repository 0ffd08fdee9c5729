//! `ringfence fingerprint CALL`.

use std::path::PathBuf;

use clap::Args;

use super::{Failure, say};
use crate::offline::{Recording, fingerprint};

#[derive(Args)]
pub(crate) struct Fingerprint {
    /// A WAV, pcap or pcapng file; of a stereo one the caller (left)
    call: PathBuf,
    /// Its name in records [default: the file's]
    #[arg(long)]
    name: Option<String>,
}

impl Fingerprint {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let recording = Recording::read(&self.call).map_err(|error| Failure::with_file(&self.call, &error))?;
        let stem = self.call.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let name = self.name.unwrap_or(stem);
        let Some(known) = fingerprint(&name, &recording) else {
            return Err(Failure::with_file(&self.call, &"too little speech for a fingerprint (1.4 s are needed)"));
        };
        say(&known.to_line());
        Ok(())
    }
}
