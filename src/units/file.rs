//! A file that somebody has named, read so that it costs bounded time and memory whatever it is.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{Error, Read as _, Result};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

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

/// The same of a text.
pub fn read_text(path: &Path, most: u64) -> Result<String> {
    String::from_utf8(read_bytes(path, most)?).map_err(|error| {
        let good = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
        let line = 1 + good.iter().filter(|byte| **byte == b'\n').count();
        Error::other(format!("line {line} is not UTF-8, in which it must be saved"))
    })
}
