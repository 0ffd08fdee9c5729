//! A mistake in a settings file: where, what, and the way out.

use std::fmt;

use crate::units::Redacted;

/// One mistake.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problem {
    /// Line of the file, from 1.
    pub line: usize,
    /// Option, as `media.ports` or `rule[2].action`.
    pub path: String,
    /// What stands there; empty where something is missing, and where it may be a secret.
    pub value: String,
    /// The value is a phone number, or was meant to be one: it is shown as numbers are shown in the log.
    pub number: bool,
    /// What would be right.
    pub hint: String,
}

/// The line of a text, from 1, that holds this byte of it.
pub(super) fn line(text: &str, at: usize) -> usize {
    1 + text.get(..at).unwrap_or(text).matches('\n').count()
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, path, value, number, hint } = self;
        if value.is_empty() {
            write!(f, "line {line}  {path}   {hint}")
        } else if *number {
            write!(f, "line {line}  {path} = {}   {hint}", Redacted(value))
        } else {
            write!(f, "line {line}  {path} = {value}   {hint}")
        }
    }
}
