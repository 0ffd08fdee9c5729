//! Payload to 20 ms frames: codecs, framer, level; WAV files in and out; resampling.
//!
//! In: RTP payloads with their clock readings, or whole WAV files as bytes. Out: [`Frame`]s that follow one another
//! without gap or overlap, or encoded payloads. Knows nothing of RTP headers (see `rtp`), of calls, or of where files
//! are.

pub mod framer;
pub mod g711;
pub mod g722;
mod level;
pub mod opus;
mod resample;
pub mod wav;
mod wide;

pub use level::{decibels, level};
pub use resample::{BadRate, resample};
pub use wide::widely;

use std::time::Duration;

use crate::units::CallTime;

/// Time that a frame lasts.
pub const FRAME_TIME: Duration = Duration::from_millis(20);

/// Samples in a frame, at 8 kHz.
pub const FRAME_SAMPLES: usize = 160;

/// 20 ms of one leg at 8 kHz. Frames of a leg follow one another without gap or overlap; what never arrived is `lost`
/// and silent (zeros).
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    /// Its first sample, since the answer.
    pub at: CallTime,
    /// Linear, 16 bit.
    pub samples: [i16; FRAME_SAMPLES],
    /// Nothing arrived for this frame.
    pub lost: bool,
}
