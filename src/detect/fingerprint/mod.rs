//! The same recording as before: fingerprints of the caller's audio, and a library of known ones.
//!
//! In: 20 ms frames. Out: one [`Word`] each 40 ms, 24 bits that say how neighbouring bands change from one moment to the
//! next (Haitsma and Kalker, "A Highly Robust Audio Fingerprinting System", ISMIR 2002). No audio can be made of them.
//! The same recording through another codec, level, noise or start offset keeps about four of five bits; two different
//! ones agree in half of them. A [`Matcher`] looks each word up, with its least certain bits flipped, and compares the
//! last seconds where it finds one.

mod fingerprinter;
mod library;
mod matcher;
#[cfg(test)]
mod tests;

pub use fingerprinter::{Fingerprinter, Probe};
pub use library::{BadLibrary, Library, Recording};
pub use matcher::{Match, Matcher};

/// Bits of a word: 25 bands, each compared with the next.
const BITS: usize = 24;

/// Words of speech that are enough to know a recording by: 1.4 s.
const ENOUGH: usize = 36;

/// Words kept of one recording: its first 20 s.
const LONGEST: usize = 500;

/// One moment's fingerprint; None: too quiet to have one.
pub type Word = Option<u32>;
