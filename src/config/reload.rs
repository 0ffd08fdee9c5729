//! Reading the file, at the start and again.

use super::draft::Draft;
use super::file::Files;
use super::problem::Problem;
use super::settings::Settings;

/// Options that only a restart can change: sockets, ports, threads and files that are open.
const RESTART: [&str; 13] = [
    "listen",
    "sip.max_calls",
    "sip.dscp",
    "media.ports",
    "media.threads",
    "media.dscp",
    "media.announcements",
    "detect.campaigns",
    "detect.words",
    "admin.address",
    "store.path",
    "restart.journal",
    "log.format",
];

/// What came of a reload.
#[derive(Debug)]
pub enum Reload {
    /// Every option is as before.
    Unchanged,
    /// New settings, for calls that begin from now on.
    Applied {
        /// Of the next generation.
        settings: Box<Settings>,
        /// Paths of the options that changed.
        changed: Vec<String>,
    },
    /// Valid, but some options need a restart; nothing was changed.
    NeedsRestart {
        /// Their paths.
        changed: Vec<String>,
        /// Paths of the others that changed: they wait as well.
        waiting: Vec<String>,
    },
}

/// Reads a settings file. `files` reads the list files that it names.
pub fn load(text: &str, files: &dyn Files) -> Result<Settings, Vec<Problem>> {
    Draft::read(text, files)?.finish()
}

/// Compares settings with those in use. Pure: whoever calls it swaps them.
#[must_use]
pub fn compare(current: &Settings, mut settings: Settings) -> Reload {
    let (old, new) = (current.options(), settings.options());
    let paths = old.keys().chain(new.keys().filter(|path| !old.contains_key(*path)));
    let mut changed: Vec<String> = paths.filter(|path| old.get(*path) != new.get(*path)).cloned().collect();
    changed.sort();
    if changed.is_empty() {
        return Reload::Unchanged;
    }
    // A renewed certificate is used from the next connection on.
    let certificate = |path: &String| path.contains(".certificate") || path.contains(".key");
    let needs_restart = |path: &String| RESTART.iter().any(|prefix| path.starts_with(prefix)) && !certificate(path);
    let (needing, others): (Vec<String>, Vec<String>) = changed.into_iter().partition(needs_restart);
    if !needing.is_empty() {
        return Reload::NeedsRestart { changed: needing, waiting: others };
    }
    settings.generation = current.generation + 1;
    Reload::Applied { settings: Box::new(settings), changed: others }
}
