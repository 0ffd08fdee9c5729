//! A manifest of labelled calls: CSV with a header.
//!
//! Needed: `id`, `file` (relative to the manifest), `label`. Used where present: `kind`, `caller_onset_ms`,
//! `first_instruction_ms`, `cluster`, `script`, `voice`. Other columns are left alone.
//!
//! Manifests go through spreadsheets: `300.0`, `NaN`, blanks and labels in capitals are read for what they are, and a
//! row that cannot be read costs no other.

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
    /// What is said.
    pub script: String,
    /// Who speaks.
    pub voice: String,
}

/// A manifest, as far as it can be read.
#[derive(Debug)]
pub struct Manifest {
    /// In the order of the file.
    pub calls: Vec<Labelled>,
    /// Rows that are no calls.
    pub bad: Vec<BadRow>,
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
    /// No calls.
    #[error("it lists no calls")]
    Empty,
    /// Of one all of whose rows have to be good.
    #[error("{0}")]
    Row(#[from] BadRow),
}

/// Why a row of a manifest is no call.
#[derive(Debug, thiserror::Error)]
pub enum BadRow {
    /// Not text.
    #[error("{0}")]
    Csv(csv::Error),
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
}

/// Reads a manifest.
pub fn read_manifest(path: &Path) -> Result<Manifest, BadManifest> {
    let folder = path.parent().unwrap_or(Path::new("."));
    // A comma too many in a remark must not cost the call.
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).flexible(true).from_path(path)?;
    let headers = reader.headers()?.clone();
    let column = |name: &'static str| headers.iter().position(|header| header == name);
    let needed = |name: &'static str| column(name).ok_or(BadManifest::Column(name));
    let (id, file, label) = (needed("id")?, needed("file")?, needed("label")?);
    let labelled = |row: &csv::StringRecord| -> Result<Labelled, BadRow> {
        let line = row.position().map_or(0, csv::Position::line);
        let text = |index: usize| row.get(index).unwrap_or_default();
        let optional = |name: &'static str| column(name).map(text).unwrap_or_default();
        let ms = |name: &'static str| {
            let value = optional(name);
            milliseconds(value).ok_or_else(|| BadRow::Number { line, column: name, value: value.to_owned() })
        };
        let class = Class::ALL.into_iter().find(|class| class.label().eq_ignore_ascii_case(text(label)));
        Ok(Labelled {
            id: text(id).to_owned(),
            path: folder.join(text(file)),
            label: class.ok_or_else(|| BadRow::Label { line, label: text(label).to_owned() })?,
            kind: optional("kind").to_owned(),
            onset_ms: ms("caller_onset_ms")?,
            instruction_ms: ms("first_instruction_ms")?,
            cluster: optional("cluster").to_owned(),
            script: optional("script").to_owned(),
            voice: optional("voice").to_owned(),
        })
    };
    let mut manifest = Manifest { calls: Vec::new(), bad: Vec::new() };
    for row in reader.records() {
        let call = match row {
            // Spreadsheets leave rows of commas alone behind the last one.
            Ok(row) if row.iter().all(str::is_empty) => continue,
            Ok(row) => labelled(&row),
            Err(error) if matches!(error.kind(), csv::ErrorKind::Utf8 { .. }) => Err(BadRow::Csv(error)),
            Err(error) => return Err(error.into()),
        };
        match call {
            Ok(call) => manifest.calls.push(call),
            Err(bad) => manifest.bad.push(bad),
        }
    }
    if manifest.calls.is_empty() && manifest.bad.is_empty() { Err(BadManifest::Empty) } else { Ok(manifest) }
}

/// Reads a manifest all of whose rows have to be good.
pub fn read_whole_manifest(path: &Path) -> Result<Vec<Labelled>, BadManifest> {
    let Manifest { calls, bad } = read_manifest(path)?;
    bad.into_iter().next().map_or(Ok(calls), |bad| Err(bad.into()))
}

/// None inside: it is not known. A caller who speaks before the answer does so from its beginning on.
fn milliseconds(value: &str) -> Option<Option<u64>> {
    if value.is_empty() {
        return Some(None);
    }
    let value: f64 = value.parse().ok()?;
    (!value.is_infinite()).then(|| (!value.is_nan()).then(|| value.round().max(0.0) as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_spreadsheets_write_them() {
        let known = |value| milliseconds(value).flatten();

        assert_eq!([known("1336"), known("1336.0"), known("1335.6"), known("-120")], [1336, 1336, 1336, 0].map(Some));
        assert_eq!([milliseconds(""), milliseconds("NaN")], [Some(None); 2]);
        assert_eq!([milliseconds("inf"), milliseconds("1:20"), milliseconds("soon")], [None; 3]);
    }
}
