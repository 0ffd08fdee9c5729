//! A manifest of labelled calls: CSV with a header.
//!
//! Needed: `id`, `file` (relative to the manifest), `label`. Used where present: `kind`, `caller_onset_ms`,
//! `first_instruction_ms`, `cluster`, `voice`. Other columns are left alone.

use std::path::{Path, PathBuf};

use crate::policy::judge::Class;

/// One labelled call.
#[derive(Clone, Debug, PartialEq)]
pub struct Labelled {
    /// Its name.
    pub id: String,
    /// Where it is.
    pub path: PathBuf,
    /// What it truly is.
    pub label: Class,
    /// A finer label; empty if there is none.
    pub kind: String,
    /// True start of the caller's speech.
    pub onset_ms: Option<u64>,
    /// Start of "press one" or of the call-back number.
    pub instruction_ms: Option<u64>,
    /// Calls with one cluster share their wording.
    pub cluster: String,
    /// Who speaks.
    pub voice: String,
}

/// Why a manifest is not used.
#[derive(Debug, thiserror::Error)]
pub enum BadManifest {
    /// Not CSV, or not readable.
    #[error("{0}")]
    Csv(#[from] csv::Error),
    /// A column is missing.
    #[error("it has no column `{0}`")]
    Column(&'static str),
    /// A label is none of the four.
    #[error("line {line}: `{label}` is no label; labels are no_speech, live, recorded, press_key")]
    Label {
        /// Where.
        line: u64,
        /// What stands there.
        label: String,
    },
    /// A number is none.
    #[error("line {line}: `{value}` in column {column} is not a number of milliseconds")]
    Number {
        /// Where.
        line: u64,
        /// In which column.
        column: &'static str,
        /// What stands there.
        value: String,
    },
    /// No calls.
    #[error("it lists no calls")]
    Empty,
}

/// Reads a manifest.
pub fn read_manifest(path: &Path) -> Result<Vec<Labelled>, BadManifest> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut reader = csv::Reader::from_path(path)?;
    let headers = reader.headers()?.clone();
    let column = |name: &'static str| headers.iter().position(|header| header == name);
    let needed = |name: &'static str| column(name).ok_or(BadManifest::Column(name));
    let (id, file, label) = (needed("id")?, needed("file")?, needed("label")?);
    let mut calls = Vec::new();
    for row in reader.records() {
        let row = row?;
        let line = row.position().map_or(0, csv::Position::line);
        let text = |index: usize| row.get(index).unwrap_or_default();
        let optional = |name: &'static str| column(name).map(text).unwrap_or_default();
        let number = |name: &'static str| match optional(name).trim() {
            "" => Ok(None),
            value => {
                value.parse().map(Some).map_err(|_| BadManifest::Number { line, column: name, value: value.to_owned() })
            }
        };
        let class = Class::ALL.into_iter().find(|class| class.label() == text(label));
        calls.push(Labelled {
            id: text(id).to_owned(),
            path: folder.join(text(file)),
            label: class.ok_or_else(|| BadManifest::Label { line, label: text(label).to_owned() })?,
            kind: optional("kind").to_owned(),
            onset_ms: number("caller_onset_ms")?,
            instruction_ms: number("first_instruction_ms")?,
            cluster: optional("cluster").to_owned(),
            voice: optional("voice").to_owned(),
        });
    }
    if calls.is_empty() { Err(BadManifest::Empty) } else { Ok(calls) }
}
