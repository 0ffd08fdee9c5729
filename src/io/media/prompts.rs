//! The announcements folder, loaded once: each file at 8 kHz, encoded for each codec.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::audio::g711::Law;
use crate::audio::wav::{BadWav, Wav};
use crate::audio::{g722, opus};
use crate::call::PROMPTS;
use crate::rtp::control::PromptId;
use crate::rtp::player::{Late, OPUS_BYTES, Prompt};
use crate::units::read_bytes;

/// Prompts in a folder that are loaded.
const MAX_PROMPTS: usize = 256;

/// Mebibytes of one file: two minutes of 48 kHz stereo.
const MAX_MEBIBYTES: u64 = 24;

/// What a callee hears of a diversion, and the same where no key takes the call back.
const LONG: &str = "callee-diverted";
const SHORT: &str = "callee-diverted-short";

/// All prompts, by name.
#[derive(Debug, Default)]
pub struct Prompts {
    by_name: HashMap<Arc<str>, Prompt>,
}

/// A prompt whose encoding takes long: a second for five minutes of prompts. No call waits for it.
#[derive(Debug)]
pub struct Unencoded {
    samples: Vec<i16>,
    opus: Late,
}

impl Unencoded {
    /// Encodes it; from now on it is played in Opus too.
    pub fn encode(self) {
        self.opus.set(opus::encode_all(&self.samples, OPUS_BYTES).into());
    }
}

/// A prompt that cannot be played.
#[derive(Debug, thiserror::Error)]
#[error("announcement {}: {why}", path.display())]
pub struct BadPrompt {
    /// The file, or the folder itself.
    pub path: PathBuf,
    /// What is wrong with it.
    pub why: String,
}

impl Prompts {
    /// Every `*.wav` of the folder that can be read, what is left to encode of them, and what cannot be read.
    #[must_use]
    pub fn load(folder: &Path) -> (Self, Vec<Unencoded>, Vec<BadPrompt>) {
        let mut prompts = Self::default();
        let (mut unencoded, mut bad) = (Vec::new(), Vec::new());
        let mut refuse = |path: &Path, why: String| bad.push(BadPrompt { path: path.to_owned(), why });
        let mut files: Vec<PathBuf> = match std::fs::read_dir(folder) {
            Ok(entries) => entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect(),
            Err(error) => {
                refuse(folder, error.to_string());
                Vec::new()
            }
        };
        files.retain(|path| path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("wav")));
        files.sort();
        for path in files {
            let Some(name) = path.file_stem().and_then(|stem| stem.to_str()) else {
                refuse(&path, "its name is not UTF-8".into());
                continue;
            };
            if prompts.by_name.len() >= MAX_PROMPTS {
                refuse(&path, format!("only {MAX_PROMPTS} are loaded"));
                break;
            }
            match read(&path) {
                Ok((prompt, samples)) => {
                    unencoded.push(Unencoded { samples, opus: prompt.opus.clone() });
                    prompts.by_name.insert(name.into(), prompt);
                }
                Err(why) => refuse(&path, why),
            }
        }
        // Whoever has recorded one announcement for a diversion has it played, with a key or without.
        if let (false, Some(long)) = (prompts.by_name.contains_key(SHORT), prompts.by_name.get(LONG).cloned()) {
            prompts.by_name.insert(SHORT.into(), long);
        }
        (prompts, unencoded, bad)
    }

    /// Those that calls play and that are not there.
    #[must_use]
    pub fn missing(&self) -> Vec<&'static str> {
        PROMPTS.into_iter().filter(|name| !self.by_name.contains_key(*name)).collect()
    }

    /// The prompt of that name. Cheap: its audio is shared.
    #[must_use]
    pub fn get(&self, id: &PromptId) -> Option<Prompt> {
        self.by_name.get(&id.0).cloned()
    }
}

fn read(path: &Path) -> Result<(Prompt, Vec<i16>), String> {
    let bytes = read_bytes(path, MAX_MEBIBYTES).map_err(|error| error.to_string())?;
    let samples = Wav::read(&bytes).and_then(|wav| wav.telephone_mono()).map_err(|error: BadWav| error.to_string())?;
    let prompt = Prompt {
        pcmu: Law::Mu.encode_all(&samples).into(),
        pcma: Law::A.encode_all(&samples).into(),
        g722: g722::encode_all(&samples).into(),
        opus: Late::default(),
    };
    Ok((prompt, samples))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use crate::audio::wav::write_stereo;
    use crate::units::SampleRate;

    #[test]
    fn good_files_are_loaded_and_bad_ones_told() {
        let folder = tempfile::tempdir().unwrap();
        let file = std::fs::File::create(folder.path().join("callee-diverted.wav")).unwrap();
        write_stereo(file, SampleRate::hz(16_000), &[1_000; 1_600], &[3_000; 1_600]).unwrap();
        std::fs::write(folder.path().join("broken.WAV"), b"RIFF").unwrap();
        std::fs::write(folder.path().join("texts.json"), b"{}").unwrap();
        // Who opens it waits for one who writes.
        let pipe = std::process::Command::new("mkfifo").arg(folder.path().join("pipe.wav")).status().unwrap();
        assert!(pipe.success());

        let (prompts, unencoded, bad) = Prompts::load(folder.path());

        let prompt = prompts.get(&PromptId("callee-diverted".into())).unwrap();
        assert_eq!((prompt.pcmu.len(), prompt.pcma.len()), (800, 800), "100 ms at 8 kHz");
        assert_eq!((prompt.g722.len(), prompt.opus.coded()), (800, None), "whole packets, and nobody waits for others");
        unencoded.into_iter().for_each(Unencoded::encode);
        assert_eq!(prompt.opus.coded().map(<[u8]>::len), Some(5 * OPUS_BYTES));
        assert!((Law::Mu.decode(prompt.pcmu[400]) - 2_000).abs() < 100, "both channels mixed");
        assert!(prompts.get(&PromptId("broken".into())).is_none());
        assert_eq!(prompts.get(&PromptId("callee-diverted-short".into())).map(|prompt| prompt.pcmu.len()), Some(800));
        let missing = ["callee-guard", "callee-whisper", "caller-diverted", "caller-rejected"];
        assert_eq!(prompts.missing(), missing);
        assert_eq!(bad.len(), 2);
        assert!(bad[0].to_string().ends_with("broken.WAV: not a WAV file"));
        assert!(bad[1].to_string().ends_with("pipe.wav: it is no file, but a folder, pipe or device"));
    }

    #[test]
    fn a_missing_folder_is_told_and_no_more() {
        let (prompts, _, bad) = Prompts::load(Path::new("/does/not/exist"));

        assert!(prompts.by_name.is_empty());
        assert_eq!(bad.len(), 1);
    }
}
