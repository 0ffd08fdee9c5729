//! Where the files are that come with the program: announcements, the speech model.

use std::path::{Path, PathBuf};

/// Where packages put them.
const PLACES: [&str; 2] = ["/usr/share/ringfence", "/etc/ringfence"];

/// A file or folder that comes with the program, by its name there. A program that lies where it was built takes those of
/// its source; another one those of its package, of the working directory, or of the source that it was built from, where
/// that is still there (a target folder of its own, `cargo install`).
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
        assert!(find("models/moonshine-tiny-en").is_some_and(|folder| folder.join("encoder.onnx").is_file()));
        assert!(find("announcements").is_some_and(|folder| folder.is_dir()));
        assert_eq!(find("no such thing"), None);
    }
}
