//! Settings from a file's path. The one place of this module that reads the operator's files.

use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::problem::Problem;
use super::reload::load;
use super::settings::Settings;

/// A hash by which texts are told apart without being kept. Its key is this process's own, so that nobody can find a
/// password by trying which one has this hash.
pub(super) fn fingerprint(texts: &[&str]) -> u64 {
    use std::hash::{BuildHasher as _, RandomState};
    static KEYS: std::sync::LazyLock<RandomState> = std::sync::LazyLock::new(RandomState::new);
    KEYS.hash_one(texts)
}

/// The files that a settings file names.
pub trait Files {
    /// A file's text.
    ///
    /// # Errors
    /// Why it cannot be read.
    fn text(&self, path: &str) -> Result<String, String>;

    /// The text of a file that only its owner and group may read.
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
        std::fs::read_to_string(self.0.join(path)).map_err(|error| error.to_string())
    }

    fn secret(&self, path: &str) -> Result<String, String> {
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let found = std::fs::metadata(self.0.join(path)).map_err(|error| format!("cannot be read: {error}"))?;
            if found.permissions().mode() & 0o007 != 0 {
                return Err("is open to everybody on this machine: chmod 600 it".to_owned());
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

/// Loads a file; the error is the text that an operator sees.
pub fn load_file(path: &Path) -> Result<Settings, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let folder = path.parent().map_or_else(PathBuf::new, Path::to_owned);
    load(&text, &files_in(&folder)).map_err(|problems| problems_text(path, &problems))
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
