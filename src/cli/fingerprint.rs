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
        let file = self.call.display();
        let recording = Recording::read(&self.call).map_err(|error| Failure::Run(format!("{file}: {error}")))?;
        let stem = self.call.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let name = self.name.unwrap_or(stem);
        match fingerprint(&name, &recording) {
            Some(known) => say(&known.to_line()),
            None => return Err(Failure::Run(format!("{file}: too little speech for a fingerprint"))),
        }
        Ok(())
    }
}
