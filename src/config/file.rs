//! Settings from a file's path. The one place of this module that reads the operator's files.

use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::problem::Problem;
use crate::units::read_text;

/// A hash by which texts are told apart without being kept. Its key is this process's own, so that nobody can find a
/// password by trying which one has this hash.
pub(super) fn fingerprint(texts: &[&str]) -> u64 {
    use std::hash::{BuildHasher as _, RandomState};
    static KEYS: std::sync::LazyLock<RandomState> = std::sync::LazyLock::new(RandomState::new);
    KEYS.hash_one(texts)
}

/// Mebibytes of a settings file: the one with every option and remark has a hundredth of one.
const MOST_SETTINGS: u64 = 4;

/// Mebibytes of a file that it names: a million numbers, each with a remark.
const MOST_NAMED: u64 = 64;

fn read(path: &Path, most: u64) -> Result<String, String> {
    read_text(path, most).map_err(|error| error.to_string())
}

/// The text of a settings file. Whoever reads one reads it here.
///
/// # Errors
/// Why it cannot be read, with its path.
pub fn text_of(path: &Path) -> Result<String, String> {
    read(path, MOST_SETTINGS).map_err(|error| format!("{}: {error}", path.display()))
}

/// The files that a settings file names.
pub trait Files {
    /// A file's text.
    ///
    /// # Errors
    /// Why it cannot be read.
    fn text(&self, path: &str) -> Result<String, String>;

    /// The text of a file that may be open to its owner and group alone.
    ///
    /// # Errors
    /// What is wrong with the file, in full.
    fn secret(&self, path: &str) -> Result<String, String> {
        self.text(path)
    }
}

impl<F: Fn(&str) -> Result<String, String>> Files for F {
    fn text(&self, path: &str) -> Result<String, String> {
        self(path)
    }
}

/// Files, whose relative paths start at the settings file's folder.
pub struct Folder(PathBuf);

impl Files for Folder {
    fn text(&self, path: &str) -> Result<String, String> {
        read(&self.0.join(path), MOST_NAMED)
    }

    fn secret(&self, path: &str) -> Result<String, String> {
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let found = std::fs::metadata(self.0.join(path)).map_err(|error| format!("cannot be read: {error}"))?;
            if found.permissions().mode() & 0o007 != 0 {
                return Err("is open to everybody on this machine: `chmod o=` it".to_owned());
            }
        }
        self.text(path).map_err(|error| format!("cannot be read: {error}"))
    }
}

/// The files that a settings file names; relative paths start at `folder`.
#[must_use]
pub fn files_in(folder: &Path) -> Folder {
    Folder(folder.to_owned())
}

/// The lists of numbers that a settings file names, as it writes their paths; None: the text is no TOML.
#[must_use]
pub fn lists_in(text: &str) -> Option<Vec<PathBuf>> {
    let table = DeTable::parse(text).ok()?;
    let Some(DeValue::Table(numbers)) = table.get_ref().get("numbers").map(|numbers| numbers.get_ref()) else {
        return Some(Vec::new());
    };
    let path = |key: &str| numbers.get(key)?.get_ref().as_str().map(PathBuf::from);
    Some(["allow_file", "block_file"].into_iter().filter_map(path).collect())
}

/// All problems as a person reads them.
#[must_use]
pub fn problems_text(path: &Path, problems: &[Problem]) -> String {
    let plural = if problems.len() == 1 { "" } else { "s" };
    let mut text = format!("{}: {} problem{plural}", path.display(), problems.len());
    for problem in problems {
        text.push_str(&format!("\n  {problem}"));
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn only_regular_files_of_bounded_size_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let files = files_in(folder.path());
        std::fs::write(at("list"), "+441632960001\n").unwrap();
        std::os::unix::fs::symlink("list", at("link")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        // Who opens it waits for one who writes.
        let pipe = std::process::Command::new("mkfifo").arg(at("pipe")).status().unwrap();
        assert!(pipe.success());
        std::fs::File::create(at("long")).unwrap().set_len(MOST_NAMED * 1_024 * 1_024 + 1).unwrap();

        assert_eq!(files.text("link").unwrap(), "+441632960001\n");
        for path in ["pipe", "socket", ".", "/dev/zero"] {
            let why = "it is no file, but a folder, pipe or device";
            assert_eq!(files.text(path).unwrap_err(), why, "{path}");
            let path = at(path);
            assert_eq!(text_of(&path).unwrap_err(), format!("{}: {why}", path.display()));
        }
        std::fs::write(at("latin"), b"+441632960001\n# Caf\xe9\n").unwrap();
        assert_eq!(files.text("latin").unwrap_err(), "line 2 is not UTF-8, in which it must be saved");
        assert_eq!(files.text("long").unwrap_err(), "it has more than 64 MiB");
        assert!(text_of(&at("long")).unwrap_err().ends_with("/long: it has more than 4 MiB"));
    }
}
