//! A mistake in a settings file: where, what, and the way out.

use std::fmt;

/// One mistake.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problem {
    /// Line of the file, from 1.
    pub line: usize,
    /// Option, as `media.ports` or `rule[2].action`.
    pub path: String,
    /// What stands there; empty where something is missing.
    pub value: String,
    /// What would be right.
    pub hint: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, path, value, hint } = self;
        if value.is_empty() {
            write!(f, "line {line}  {path}   {hint}")
        } else {
            write!(f, "line {line}  {path} = {value}   {hint}")
        }
    }
}
