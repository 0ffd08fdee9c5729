//! The ear over recorded calls, faster than real time: `ringfence listen` and `ringfence eval`.
//!
//! In: WAV and capture files, a manifest of labelled calls. Out: what the live path would have decided, and when. Words
//! are taken to be known a twentieth of their window's length after it ended, as on an idle core, however busy this
//! machine is: the same call has the same result twice.

mod baseline;
mod capture;
mod hear;
mod manifest;
mod markup;
mod open;
mod plot;
mod recording;
mod report;
mod tables;

pub use baseline::Baseline;
pub use hear::{Heard, Step, fingerprint, hear, recognise_with};
pub use manifest::{BadManifest, BadRow, Labelled, Manifest, read_manifest, read_whole_manifest};
pub use open::{Ear, EarFiles};
pub use plot::plot;
pub use recording::{BadRecording, Chosen, Recording};
pub use report::{Calibration, is_mistake, page};
pub use tables::{ActionTaken, Outcome, Tables, write_calls};
