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

    /// What cannot be read of a list of numbers is left out, and no problem: it may be another program's, and without
    /// the settings there is no telephone.
    fn leaves_out(&self) -> bool {
        false
    }
}

impl<F: Fn(&str) -> Result<String, String>> Files for F {
    fn text(&self, path: &str) -> Result<String, String> {
        self(path)
    }
}

/// Files, whose relative paths start at the settings file's folder.
pub struct Folder {
    path: PathBuf,
    leaves_out: bool,
}

impl Files for Folder {
    fn text(&self, path: &str) -> Result<String, String> {
        read(&self.path.join(path), MOST_NAMED)
    }

    fn secret(&self, path: &str) -> Result<String, String> {
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let found = std::fs::metadata(self.path.join(path)).map_err(|error| format!("cannot be read: {error}"))?;
            if found.permissions().mode() & 0o007 != 0 {
                return Err("is open to everybody on this machine: `chmod o=` it".to_owned());
            }
        }
        self.text(path).map_err(|error| format!("cannot be read: {error}"))
    }

    fn leaves_out(&self) -> bool {
        self.leaves_out
    }
}

/// The files that a settings file names; relative paths start at `folder`.
#[must_use]
pub fn files_in(folder: &Path) -> Folder {
    Folder { path: folder.to_owned(), leaves_out: false }
}

/// The same for a start, which leaves out what it cannot read of lists of numbers.
#[must_use]
pub fn files_at_start(folder: &Path) -> Folder {
    Folder { leaves_out: true, ..files_in(folder) }
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

    #[test]
    fn the_mark_that_an_editor_puts_before_a_text_is_none_of_it() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let (at, files) = (folder.path().join("list"), files_in(folder.path()));
        std::fs::write(&at, "\u{feff}+441632960001\n").unwrap();
        std::fs::set_permissions(&at, PermissionsExt::from_mode(0o600)).unwrap();

        assert_eq!(files.text("list").unwrap(), "+441632960001\n");
        assert_eq!(files.secret("list").unwrap(), "+441632960001\n");
        assert_eq!(text_of(&at).unwrap(), "+441632960001\n");
    }

    #[test]
    fn a_start_leaves_out_what_it_cannot_read_of_a_list_and_says_so() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("block.txt"), "+441632960001\nnobody\n+441632960002 # x\n\nx\n").unwrap();
        let text = "[pbx]\naddress = \"192.0.2.1\"\n[[trunk]]\nname = \"a\"\naddress = \"192.0.2.9\"\n\
                    [numbers]\nallow = [\"+441632960003\"]\nallow_file = \"gone.txt\"\nblock_file = \"block.txt\"\n";

        let settings = crate::config::load(text, &files_at_start(folder.path())).unwrap();

        let (policy, doubts) = (&settings.policy, settings.doubts());
        assert!(policy.allow.contains("+441632960003") && policy.block.len() == 2, "what is good stays");
        assert_eq!(settings.doubted, doubts);
        assert!(doubts[0].starts_with("numbers.allow_file is left out: gone.txt cannot be read: "), "{doubts:?}");
        let lines = "numbers.block_file: left out of block.txt: 2 lines, the first is line 2: not a number or prefix";
        assert!(doubts[1].starts_with(lines), "{doubts:?}");
        // Elsewhere they are problems: of a reload the old settings stay.
        let problems = crate::config::load(text, &files_in(folder.path())).unwrap_err();
        assert_eq!(problems.len(), 3, "{problems:?}");
        // Once it is there, it is another one, even with nothing in it.
        std::fs::write(folder.path().join("gone.txt"), "").unwrap();
        std::fs::write(folder.path().join("block.txt"), "+441632960001\n+441632960002\n").unwrap();
        let mended = crate::config::load(text, &files_in(folder.path())).unwrap();
        assert!(mended.doubted.is_empty());
        let reload = crate::config::compare(&settings, mended);
        assert!(matches!(reload, crate::config::Reload::Applied { changed, .. } if changed.len() == 2));
    }
}
