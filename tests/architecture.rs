//! The import rules of ARCHITECTURE.md, kept by the build.

#![expect(clippy::expect_used, reason = "a test without its sources has nothing to say")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Module, and what of the crate its sources may name. A path allows itself and all below it.
const RULES: &[(&str, &[&str])] = &[
    ("units", &[]),
    ("gate", &["units"]),
    ("sip", &["units"]),
    ("rtp", &["units"]),
    ("audio", &["units"]),
    ("detect", &["units", "audio"]),
    ("policy", &["units", "detect::evidence"]),
    ("trunk", &["units", "sip"]),
    ("call", &["units", "sip", "rtp", "policy", "trunk"]),
    // Settings types of the cores.
    ("config", &["units", "call", "gate", "policy", "sip::flow", "sip::wire", "trunk"]),
    ("io", &["units", "gate", "sip", "rtp", "audio", "detect", "policy", "trunk", "call"]),
    ("store", &["units", "policy"]),
    ("journal", &["units", "call", "io::clock", "io::threads"]),
    ("observe", &["units", "rtp::relay", "policy", "call", "io::clock", "io::media", "io::threads", "store"]),
    ("admin", &["units", "observe", "store", "io::threads"]),
    ("offline", &["units", "audio", "rtp", "sip", "detect", "policy", "io"]),
    (
        "app",
        &[
            "units",
            "call",
            "config",
            "detect",
            "gate",
            "policy",
            "sip::flow",
            "io",
            "store",
            "observe",
            "admin",
            "journal",
            "trunk",
        ],
    ),
    ("demo", &["units", "app", "audio", "config", "gate", "io::clock", "store"]),
    ("cli", &["units", "app", "config", "demo", "io::clock", "observe", "offline", "policy", "store"]),
];

/// Cores are handed the time and the bytes; they fetch neither.
const CORES: &[&str] = &["units", "gate", "sip", "rtp", "audio", "detect", "policy", "trunk", "call"];
const NOT_IN_CORES: &[&str] = &[
    "std::net::UdpSocket",
    "std::net::Tcp",
    "std::thread",
    "tokio::",
    "mio::",
    "Instant::now",
    "SystemTime::now",
    "Mutex",
    "RwLock",
    ".await",
    "std::fs",
    "std::process",
    "read_bytes",
    "read_text",
    "ThreadPool",
];

/// What reads a file that has been named, and the one core that loads files of its own and has a thread to compute on.
const EXCEPT: &[&str] = &["units/mod.rs", "units/file.rs", "detect/phrase/recogniser.rs"];
/// What those may.
const FILES: &[&str] = &["std::fs", "read_bytes", "read_text", "ThreadPool"];

#[test]
fn modules_import_only_what_they_may() {
    let mut broken = Vec::new();
    for (module, allowed) in RULES {
        for file in sources(module) {
            for (line, path) in imports(&file) {
                let own = path == *module || path.starts_with(&format!("{module}::"));
                let may = allowed.iter().any(|rule| path == *rule || path.starts_with(&format!("{rule}::")));
                if !own && !may {
                    broken.push(format!("{}:{line} imports {path}", file.display()));
                }
            }
        }
    }
    assert!(broken.is_empty(), "import rules are broken:\n{}", broken.join("\n"));
}

#[test]
fn cores_touch_no_clock_socket_thread_or_lock() {
    let mut broken = Vec::new();
    for core in CORES {
        for file in sources(core) {
            let excepted = EXCEPT.iter().any(|except| file.ends_with(except));
            let may = |word: &&&str| excepted && FILES.contains(*word);
            for (number, line) in code(&file).lines().enumerate() {
                for word in NOT_IN_CORES.iter().filter(|word| line.contains(**word) && !may(word)) {
                    broken.push(format!("{}:{} names {word}", file.display(), number + 1));
                }
            }
        }
    }
    assert!(broken.is_empty(), "cores must stay free of the system:\n{}", broken.join("\n"));
}

#[test]
fn every_module_of_the_crate_has_a_rule() {
    let known: BTreeSet<&str> = RULES.iter().map(|(module, _)| *module).collect();
    let lib = fs::read_to_string(root().join("lib.rs")).expect("lib.rs");

    let modules: BTreeSet<&str> =
        lib.lines().filter_map(|line| line.strip_prefix("pub mod ")).map(|rest| rest.trim_end_matches(';')).collect();

    assert_eq!(modules, known);
}

#[test]
fn everything_that_tests_has_its_row() {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(repository.join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let named: BTreeSet<&str> = text.split('`').filter(|word| !word.contains(char::is_whitespace)).collect();
    let folders = ["tests", "benches", "examples"];

    let mut missing = Vec::new();
    for folder in folders {
        for entry in fs::read_dir(repository.join(folder)).expect("a folder").map(|entry| entry.expect("an entry")) {
            let name = entry.file_name().into_string().expect("a name");
            let counts = entry.path().is_dir() || name.ends_with(".rs");
            if counts && !name.starts_with('.') && !named.contains(format!("{folder}/{name}").as_str()) {
                missing.push(format!("{folder}/{name} has no row"));
            }
        }
    }
    let paths = named.iter().filter(|path| folders.iter().any(|folder| path.starts_with(&format!("{folder}/"))));
    missing.extend(paths.filter(|path| !repository.join(path).exists()).map(|path| format!("{path} is not there")));
    assert!(missing.is_empty(), "ARCHITECTURE.md:\n{}", missing.join("\n"));
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn sources(module: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![root().join(module)];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the module").map(|entry| entry.expect("an entry").path())
        {
            if entry.is_dir() {
                open.push(entry);
            } else if entry.extension().is_some_and(|ending| ending == "rs") && !entry.ends_with("tests.rs") {
                found.push(entry);
            }
        }
    }
    assert!(!found.is_empty(), "module {module} has no sources");
    found
}

/// The file without its test module, which stands at the end, and without comments, line numbers kept.
fn code(file: &Path) -> String {
    let text = fs::read_to_string(file).expect("a source file");
    let shipped = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    shipped.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// Every `crate::a::b` of the file as `a::b` (two parts at most), with its line. Several in one (`crate::{a, b}`) are
/// told as they stand, and no rule allows that: each is written by itself.
fn imports(file: &Path) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, line) in code(file).lines().enumerate() {
        for rest in line.split("crate::").skip(1) {
            if rest.starts_with('{') {
                found.push((number + 1, rest.to_owned()));
            }
            let path: String =
                rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_' || *c == ':').collect();
            let parts: Vec<&str> = path.split("::").filter(|part| !part.is_empty()).take(2).collect();
            if !parts.is_empty() {
                found.push((number + 1, parts.join("::")));
            }
        }
    }
    found
}
