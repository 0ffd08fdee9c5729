//! Phone numbers and names that must not stand bare in a log.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether [`Redacted`] shows its value. One switch for the process: set once from the settings, read at formatting.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Redaction {
    /// `+441632960001` is written `+441632…01`. The default.
    On,
    /// The operator asked for bare numbers (`log.numbers = true`).
    Off,
}

static SHOW: AtomicBool = AtomicBool::new(false);

impl Redaction {
    /// Makes this the rule for all later formatting.
    pub fn set(self) {
        SHOW.store(self == Redaction::Off, Ordering::Relaxed);
    }
}

/// A value whose text identifies a person. `Display` and `Debug` shorten it unless the operator asked otherwise.
#[derive(Clone, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Redacted<T>(pub T);

impl<T: AsRef<str>> fmt::Display for Redacted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if SHOW.load(Ordering::Relaxed) {
            f.write_str(self.0.as_ref())
        } else {
            f.write_str(&redact_number(self.0.as_ref()))
        }
    }
}

impl<T: AsRef<str>> fmt::Debug for Redacted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// Keeps the first half (at most 7) and the last two characters: enough to recognise a prefix, not a person.
#[must_use]
pub fn redact_number(text: &str) -> String {
    let length = text.chars().count();
    if length <= 4 {
        return "…".repeat(usize::from(length > 0));
    }
    let head: String = text.chars().take((length / 2).min(7)).collect();
    let tail: String = text.chars().skip(length - 2).collect();
    format!("{head}…{tail}")
}
