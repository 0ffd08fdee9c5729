//! Data files: where those are that come with the program (announcements, the speech model), and how one is read.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use crate::units::read_text;

/// Folder of the speech model, as [`find`] knows it.
pub const SPEECH_MODEL: &str = "models/moonshine-tiny-en";

/// Folder of the announcements, as [`find`] knows it.
pub const ANNOUNCEMENTS: &str = "announcements";

/// Where packages put them.
const PLACES: [&str; 2] = ["/usr/share/ringfence", "/etc/ringfence"];

/// A data file that cannot be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{path}: {why}", path = .path.display())]
pub struct BadFile {
    /// Which.
    pub path: PathBuf,
    /// Why.
    pub why: String,
}

/// Mebibytes of a data file: the largest that comes with the program has less than one.
pub const MOST: u64 = 64;

/// Reads a text file and parses it.
pub fn read<T, E: Display>(path: &Path, parse: impl FnOnce(&str) -> Result<T, E>) -> Result<T, BadFile> {
    let bad = |why: String| BadFile { path: path.to_owned(), why };
    let text = read_text(path, MOST).map_err(|error| bad(error.to_string()))?;
    parse(&text).map_err(|error| bad(error.to_string()))
}

/// A file or folder that comes with the program, by its name under `config`. A program that lies in cargo's target
/// folder takes that of its own source. Any other looks in the folders of packages, then in the working directory, then
/// in the source that it was built from, which may still be there after `cargo install`.
#[must_use]
pub fn find(name: &str) -> Option<PathBuf> {
    let source = std::env::current_exe().ok().and_then(|program| source(&program)).map(|source| source.join("config"));
    let packaged = PLACES.iter().map(PathBuf::from);
    let built_from = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let places = source.into_iter().chain(packaged).chain([PathBuf::from("config"), built_from]);
    places.map(|place| place.join(name)).find(|path| path.exists())
}

/// The source of a program that lies in cargo's target folder.
fn source(program: &Path) -> Option<PathBuf> {
    let target = program.ancestors().find(|folder| folder.file_name().is_some_and(|name| name == "target"))?;
    target.parent().filter(|source| source.join("Cargo.toml").is_file()).map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn only_a_program_in_its_target_folder_has_a_source() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("target/release");

        assert_eq!(source(&target.join("ringfence")), None, "there is no Cargo.toml");
        std::fs::write(folder.path().join("Cargo.toml"), "").unwrap();
        assert_eq!(source(&target.join("ringfence")), Some(folder.path().to_owned()));
        assert_eq!(source(&target.join("deps/tests-0123")), Some(folder.path().to_owned()));
        assert_eq!(source(&folder.path().join("bin/ringfence")), None);
        assert_eq!(source(Path::new("/usr/bin/ringfence")), None);
    }

    #[test]
    fn what_comes_with_the_program_is_found() {
        assert!(find(SPEECH_MODEL).is_some_and(|folder| folder.join("encoder.onnx").is_file()));
        assert!(find(ANNOUNCEMENTS).is_some_and(|folder| folder.is_dir()));
        assert_eq!(find("no such thing"), None);
    }
}
