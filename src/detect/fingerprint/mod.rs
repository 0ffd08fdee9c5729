//! Is it a recording that is known? Fingerprints of the caller's audio, and a library of known ones.
//!
//! In: 20 ms frames. Out: one [`Word`] each 40 ms, 24 bits that say how neighbouring bands change from one moment to
//! the next (Haitsma and Kalker, "A Highly Robust Audio Fingerprinting System", ISMIR 2002). No audio can be made of
//! them. The same recording with another codec, level, noise or start has about four of five bits in common; two
//! different recordings have half. A [`Matcher`] looks up each word, also with its least certain bits flipped, and
//! where it finds one it compares the last seconds. Only what is heard as the caller's speech counts: ringback, music
//! on hold and the echo of the PBX's own greeting are the same in calls that have nothing to do with each other.

mod fingerprinter;
mod library;
mod matcher;
#[cfg(test)]
mod tests;

pub use fingerprinter::{Fingerprinter, Probe};
pub use library::{BadLibrary, LEARNED, Library, Recording};
pub use matcher::{Match, Matcher};

/// Bits of a word: 25 bands, each compared with the next.
const BITS: usize = 24;

/// Frames from one word to the next: 40 ms.
const FRAMES_A_WORD: usize = 2;

/// Frames of one word's window, 320 ms: so long that a shifted start hardly matters.
const FRAMES: usize = 16;

/// Fewest audible words by which a recording is recognised: 1.4 s.
const ENOUGH: usize = 36;

/// Words kept of one recording: its first 20 s.
const LONGEST: usize = 500;

/// One moment's fingerprint; None: too quiet to have one.
pub type Word = Option<u32>;
