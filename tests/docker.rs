//! What the Docker files name exists, and their settings load. The images themselves are not built here.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::fs;
use std::path::Path;

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn everything_that_is_copied_exists() {
    let mut copied = 0;
    for line in read("docker/Dockerfile").lines().filter(|line| line.starts_with("COPY ") && !line.contains("--from="))
    {
        let mut sources: Vec<&str> = line.split_whitespace().skip(1).collect();
        sources.pop();
        for source in sources {
            assert!(Path::new(source).exists(), "{line}");
            let top = source.split('/').next().unwrap();
            assert!(!read(".dockerignore").lines().any(|ignored| ignored == top), "{source} is ignored");
            copied += 1;
        }
    }
    assert!(copied >= 8);
}

#[test]
fn cargo_finds_every_target_that_its_manifest_names() {
    let dockerfile = read("docker/Dockerfile");
    for folder in ["benches", "examples"] {
        assert!(dockerfile.contains(&format!("COPY {folder} {folder}")), "{folder} holds targets of Cargo.toml");
    }
    assert!(dockerfile.contains("rust:1.95"), "the image's Rust is Cargo.toml's rust-version");
    assert!(read("Cargo.toml").contains("rust-version = \"1.95\""));
}

#[test]
fn mounted_files_exist_and_the_settings_are_good() {
    let mut mounted = 0;
    for line in read("docker/compose.yaml").lines().map(str::trim).filter(|line| line.starts_with("- ./")) {
        let source = line.trim_start_matches("- ./").split(':').next().unwrap();
        assert!(Path::new("docker").join(source).exists(), "{line}");
        mounted += 1;
    }
    assert_eq!(mounted, 4);
    let zone = read("docker/compose.yaml").lines().any(|line| line.trim() == "- /etc/localtime:/etc/localtime:ro");
    assert!(zone, "hours and weekdays of rules are those of the host");

    let settings =
        ringfence::config::load(&read("docker/ringfence/ringfence.toml"), &|path: &str| Err(path.to_owned())).unwrap();

    // The paths of the image, as the Dockerfile fills them.
    let dockerfile = read("docker/Dockerfile");
    for path in [&settings.media.announcements, settings.detect.words.model.parent().unwrap()] {
        assert!(dockerfile.contains(&format!(" {}\n", path.display())), "{}", path.display());
    }
    assert!(Path::new("config/models").join(settings.detect.words.model.file_name().unwrap()).is_dir());
    assert_eq!(settings.pbx.address.to_string(), "127.0.0.1:5070");
    assert!(read("docker/asterisk/pjsip.conf").contains("bind=0.0.0.0:5070"));
}
