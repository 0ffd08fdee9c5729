//! A recorded call: both legs at 8 kHz, from the answer on.

use std::path::Path;

use super::capture;
use crate::audio::wav::{BadWav, Wav};
use crate::detect::ear::Opposite;

/// Both legs, 16 bit at 8 kHz, of the same length.
#[derive(Clone, Debug, PartialEq)]
pub struct Recording {
    /// Left channel, or the only one.
    pub caller: Vec<i16>,
    /// Right channel; silent in a mono recording.
    pub callee: Vec<i16>,
    /// Whose voice the right channel is.
    pub opposite: Opposite,
}

/// Why a recording cannot be heard.
#[derive(Debug, thiserror::Error)]
pub enum BadRecording {
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(#[from] std::io::Error),
    /// Not a WAV file that we understand.
    #[error("not a usable WAV file: {0}")]
    Wav(#[from] BadWav),
    /// Another kind of file.
    #[error("neither a WAV, a pcap nor a pcapng file{0}")]
    Unknown(&'static str),
    /// A capture file that cannot be followed.
    #[error("not a usable capture file: {0}")]
    Capture(&'static str),
    /// No audio in a capture, and why.
    #[error("there is nothing to hear in this capture: {0}")]
    NothingToHear(String),
    /// Fewer calls in it.
    #[error("there is no call {asked} in it: {held} can be heard")]
    NoSuchCall {
        /// From 1.
        asked: usize,
        /// How many there are.
        held: usize,
    },
    /// Nothing in it.
    #[error("holds no audio")]
    Empty,
}

/// One call of a file that may hold several.
#[derive(Clone, Debug, PartialEq)]
pub struct Chosen {
    /// What is heard.
    pub recording: Recording,
    /// All calls of a capture that can be heard, for a person; none for a WAV.
    pub calls: Vec<String>,
    /// Of a capture that is damaged: so many packets stand before the damage, and were read.
    pub damaged_behind: Option<usize>,
}

impl Chosen {
    /// Reads the call with this number, from 1.
    pub fn read(path: &Path, number: usize) -> Result<Self, BadRecording> {
        let bytes = std::fs::read(path)?;
        if capture::is_capture(&bytes) {
            return capture::read(&bytes, number);
        }
        let recording = match bytes.get(..4) {
            Some(b"RIFF") => Recording::from_wav(&bytes)?,
            Some([0x1F, 0x8B, ..] | b"\x28\xB5\x2F\xFD" | [0xFD, b'7', b'z', b'X'] | b"BZh9") => {
                return Err(BadRecording::Unknown("; it is compressed"));
            }
            Some(_) | None => return Err(BadRecording::Unknown("")),
        };
        if number == 1 {
            Ok(Self { recording, calls: Vec::new(), damaged_behind: None })
        } else {
            Err(BadRecording::NoSuchCall { asked: number, held: 1 })
        }
    }
}

impl Recording {
    /// Reads a WAV, pcap or pcapng file; of a capture with several calls the first.
    pub fn read(path: &Path) -> Result<Self, BadRecording> {
        Chosen::read(path, 1).map(|chosen| chosen.recording)
    }

    /// The same, with a prompt for the caller in place of the callee.
    #[must_use]
    pub fn of_screening(self) -> Self {
        Self { opposite: Opposite::Prompt, ..self }
    }

    fn from_wav(bytes: &[u8]) -> Result<Self, BadRecording> {
        let mut channels = Wav::read(bytes)?.telephone()?.into_iter();
        let caller = channels.next().unwrap_or_default();
        let callee = channels.next().unwrap_or_else(|| vec![0; caller.len()]);
        if caller.is_empty() {
            Err(BadRecording::Empty)
        } else {
            Ok(Self { caller, callee, opposite: Opposite::Callee })
        }
    }
}
