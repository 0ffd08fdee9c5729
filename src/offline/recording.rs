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
    /// More than two channels.
    #[error("has {0} channels; a call has two (left the caller, right the callee), or one for the caller alone")]
    Channels(usize),
    /// A capture file that cannot be followed.
    #[error("not a usable capture file: {0}")]
    Capture(String),
    /// No audio in a capture.
    #[error("holds no G.711 stream of half a second or more")]
    NoStream,
    /// Nothing in it.
    #[error("holds no audio")]
    Empty,
}

impl Recording {
    /// Reads a WAV, pcap or pcapng file.
    pub fn read(path: &Path) -> Result<Self, BadRecording> {
        let bytes = std::fs::read(path)?;
        if capture::is_capture(&bytes) { capture::read(&bytes) } else { Self::from_wav(&bytes) }
    }

    /// The same, with a prompt for the caller in place of the callee.
    #[must_use]
    pub fn of_screening(self) -> Self {
        Self { opposite: Opposite::Prompt, ..self }
    }

    fn from_wav(bytes: &[u8]) -> Result<Self, BadRecording> {
        let mut channels = Wav::read(bytes)?.telephone()?.into_iter();
        let count = channels.len();
        let (caller, callee) = match (channels.next(), channels.next(), channels.next()) {
            (Some(caller), None, _) => {
                let callee = vec![0; caller.len()];
                (caller, callee)
            }
            (Some(caller), Some(callee), None) => (caller, callee),
            _ => return Err(BadRecording::Channels(count)),
        };
        if caller.is_empty() {
            Err(BadRecording::Empty)
        } else {
            Ok(Self { caller, callee, opposite: Opposite::Callee })
        }
    }
}
