//! A file that somebody has named, read so that it costs bounded time and memory whatever it is.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{Error, Read as _, Result, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::{Path, PathBuf};

/// A regular file, links followed. A pipe would be waited for, and a device read without end.
pub fn open_regular(path: &Path) -> Result<File> {
    let regular = |found: &Metadata| {
        if found.is_file() { Ok(()) } else { Err(Error::other("it is no file, but a folder, pipe or device")) }
    };
    // Before it is opened, because that alone does something to some devices; and after, because it may be another.
    regular(&std::fs::metadata(path)?)?;
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    regular(&file.metadata()?)?;
    Ok(file)
}

/// The bytes of a regular file of so many mebibytes at most.
pub fn read_bytes(path: &Path, most: u64) -> Result<Vec<u8>> {
    let file = open_regular(path)?;
    let most_bytes = most * 1_024 * 1_024;
    let too_long = || Err(Error::other(format!("it has more than {most} MiB")));
    if file.metadata()?.len() > most_bytes {
        return too_long();
    }
    let mut bytes = Vec::new();
    // It may grow meanwhile.
    file.take(most_bytes + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most_bytes { too_long() } else { Ok(bytes) }
}

/// The same of a text. The mark that some editors put before one (U+FEFF) is none of it.
pub fn read_text(path: &Path, most: u64) -> Result<String> {
    let mut bytes = read_bytes(path, most)?;
    if bytes.starts_with("\u{feff}".as_bytes()) {
        bytes.drain(..'\u{feff}'.len_utf8());
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
        let line = 1 + good.iter().filter(|byte| **byte == b'\n').count();
        Error::other(format!("line {line} is not UTF-8, in which it must be saved"))
    })
}

/// Name of a file beside another.
#[must_use]
pub fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    PathBuf::from(name)
}

/// Puts `bytes` in the place of what a file holds: after a kill or a power cut too, all of the old is there or all of
/// the new. A link stays one, and the file's owner and mode stay.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let path = std::fs::canonicalize(path)?;
    let (found, new) = (std::fs::metadata(&path)?, beside(&path, "new"));
    let mut file = File::create(&new)?;
    // Where we may not give it away, its group may still be ours.
    let _ = fchown(&file, Some(found.uid()), Some(found.gid()));
    let written = file.set_permissions(found.permissions()).and_then(|()| file.write_all(bytes));
    let replaced = written.and_then(|()| file.sync_all()).and_then(|()| std::fs::rename(&new, &path));
    replaced.inspect_err(|_| {
        // What is left of it only takes room; the old file stays.
        let _ = std::fs::remove_file(&new);
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_is_replaced_as_it_stands() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let (file, link, other) =
            (folder.path().join("a.txt"), folder.path().join("link"), folder.path().join("a.new"));
        std::fs::write(&file, "old")?;
        std::fs::write(&other, "somebody's")?;
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o664))?;
        std::os::unix::fs::symlink(&file, &link)?;

        replace(&link, b"new")?;

        assert!(link.is_symlink());
        assert_eq!(std::fs::read_to_string(&file)?, "new");
        assert_eq!(std::fs::metadata(&file)?.permissions().mode() & 0o777, 0o664);
        assert_eq!(std::fs::read_to_string(&other)?, "somebody's");
        assert_eq!(std::fs::read_dir(folder.path())?.count(), 3);
        assert!(replace(&folder.path().join("gone"), b"").is_err());
        Ok(())
    }
}
