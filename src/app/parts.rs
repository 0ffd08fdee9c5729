//! The parts as the settings want them: media path, ear, journal, records.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Receiver;

use super::{StartError, failed, settings};
use crate::call::Snapshot;
use crate::config::Settings;
use crate::detect::fingerprint::Library;
use crate::detect::phrase::{Book, Recogniser, ScheduleSettings, Wording};
use crate::io::analysis::{Analysis, Knowledge, StartedAnalysis};
use crate::io::media::{MediaPath, MediaSettings, StartedMedia, TapReader};
use crate::io::shipped::{self, BadFile};
use crate::io::threads::Wake;
use crate::journal::Journal;
use crate::observe::metrics::{Metrics, Part};
use crate::observe::{self, Observer, Records};
use crate::policy::judge::{Verdict, Weights};
use crate::store::Retention;
use crate::units::{CallId, read_bytes, replace};

/// Calls of the process before, each with the age of its snapshot.
pub(super) type Restored = Vec<(Snapshot, Duration)>;

/// A path of the settings. Where nothing is there, and nobody has named another path than the default, it is what comes
/// with the program as `shipped_as`: who names a folder of their own gets that one or none.
fn find(folder: &Path, path: &Path, shipped_as: &str) -> PathBuf {
    let named = folder.join(path);
    if named.exists() || path != Path::new(shipped_as) { named } else { shipped::find(shipped_as).unwrap_or(named) }
}

pub(super) fn announcements(settings: &Settings, folder: &Path) -> PathBuf {
    find(folder, &settings.media.announcements, shipped::ANNOUNCEMENTS)
}

pub(super) fn model(settings: &Settings, folder: &Path) -> PathBuf {
    find(folder, &settings.detect.words.model, shipped::SPEECH_MODEL)
}

pub(super) fn media(settings: &Settings, folder: &Path, wake: Wake) -> Result<StartedMedia, StartError> {
    let media = &settings.media;
    let media_settings = MediaSettings {
        first_port: media.first_port,
        last_port: media.last_port,
        timeout: media.timeout,
        announcements: announcements(settings, folder),
        threads: media.threads,
        dscp: media.dscp,
        sockets: settings::files_for_calls(),
    };
    let started = MediaPath::start(&media_settings, wake).map_err(failed("media"))?;
    for bad in &started.bad_prompts {
        tracing::warn!(prompt = %bad, "An announcement cannot be played");
    }
    Ok(started)
}

/// Which announcements cannot be played; None: all can.
pub(super) fn unannounced(missing: &[&str], folder: &Path) -> Option<String> {
    let why = || format!("{} cannot be played from {}: silence is heard instead", missing.join(", "), folder.display());
    (!missing.is_empty()).then(why)
}

/// The ear, as far as it works.
pub(super) struct Ear {
    /// None: it did not start.
    pub(super) analysis: Option<Analysis>,
    pub(super) verdicts: Receiver<(CallId, Verdict)>,
    /// Why no words are recognised.
    pub(super) words_off: Option<String>,
}

pub(super) fn ear(settings: &Settings, folder: &Path, taps: Vec<TapReader>, wake: Wake) -> Result<Ear, StartError> {
    let (recogniser, words_off) = match recogniser(settings, folder) {
        Ok(recogniser) => (Some(recogniser), None),
        Err(why) => {
            tracing::warn!(why, "Words are off; calls are judged by timing alone");
            (None, Some(why))
        }
    };
    let knowledge = knowledge(settings, folder).map_err(|bad| StartError::Settings(bad.to_string()))?;
    Ok(match Analysis::start(taps, knowledge, recogniser, settings.detect.words.threads, wake) {
        Ok(StartedAnalysis { analysis, verdicts }) => Ear { analysis: Some(analysis), verdicts, words_off },
        Err(error) => {
            tracing::error!(%error, "The ear does not start; calls go on unheard");
            Ear { analysis: None, verdicts: crossbeam_channel::never(), words_off }
        }
    })
}

/// The error says why words are off.
fn recogniser(settings: &Settings, folder: &Path) -> Result<Recogniser, String> {
    if !settings.detect.words.enabled {
        return Err("detect.words.enabled = false".to_owned());
    }
    Recogniser::load(&model(settings, folder)).map_err(|error| error.to_string())
}

/// What the ear knows under these settings.
fn knowledge(settings: &Settings, folder: &Path) -> Result<Knowledge, BadFile> {
    Ok(Knowledge {
        weights: Arc::new(Weights::built_in()),
        book: book(settings, folder)?,
        wording: wording(settings, folder)?,
        campaigns: Arc::new(campaigns(&folder.join(&settings.detect.campaigns))),
        words: Some(ScheduleSettings::default()),
    })
}

pub(super) fn book(settings: &Settings, folder: &Path) -> Result<Arc<Book>, BadFile> {
    match &settings.detect.words.phrases {
        None => Ok(Book::built_in()),
        Some(path) => shipped::read(&folder.join(path), Book::parse).map(Arc::new),
    }
}

pub(super) fn wording(settings: &Settings, folder: &Path) -> Result<Arc<Wording>, BadFile> {
    match &settings.detect.words.wording {
        None => Ok(Wording::built_in()),
        Some(path) => shipped::read(&folder.join(path), Wording::parse).map(Arc::new),
    }
}

/// Known recordings. Where the file cannot be read, the firewall starts without them; what is damaged in it is left
/// out: a kill while a line was written must not cost all others.
fn campaigns(path: &Path) -> Library {
    let text = match read_bytes(path, shipped::MOST) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Library::default(),
        Err(error) => {
            let path = path.display();
            tracing::warn!(%path, %error, "Known recordings cannot be read; the ear goes on without them");
            return Library::default();
        }
    };
    let (library, bad) = Library::parse_damaged(&text);
    if let Some(line) = bad.first() {
        let path = path.display();
        tracing::warn!(%path, line, damaged = bad.len(), "Some known recordings are damaged, and left out");
    }
    if let (false, Some(shorter)) = (library.is_empty(), Library::without_oldest(&text)) {
        shorten(path, &shorter);
    }
    let left_out = Library::left_out(&text);
    if left_out > 0 {
        let (path, kept) = (path.display(), library.len());
        tracing::warn!(%path, kept, left_out, "There are too many known recordings: the oldest are left out");
    }
    library
}

/// Keeps the newest of the learned recordings only. Done at the start, and where the file has grown long: while calls
/// run, a line is added for each recording, and taken out again where its call is taken back.
fn shorten(path: &Path, text: &str) {
    match replace(path, text.as_bytes()) {
        Ok(()) => tracing::warn!(
            path = %path.display(),
            "The file of known recordings was too long: the oldest learned ones are no longer in it"
        ),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "The file of known recordings is too long, and stays so");
        }
    }
}

/// The same of a file that has grown long while calls ran.
pub(super) fn shorten_long(path: &Path) {
    match read_bytes(path, shipped::MOST) {
        Ok(bytes) => {
            if let Some(shorter) = Library::without_oldest(&String::from_utf8_lossy(&bytes)) {
                shorten(path, &shorter);
            }
        }
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "The file of known recordings is too long, and stays so");
        }
    }
}

/// The journal, and what it holds. Without one, calls end with this process.
pub(super) fn journal(settings: &Settings, folder: &Path, metrics: &Metrics) -> (Option<Journal>, Restored) {
    let Some(path) = &settings.restart.journal else { return (None, Vec::new()) };
    let path = folder.join(path);
    let started = Journal::start(&path);
    metrics.part(Part::Journal, started.is_ok());
    match started {
        Ok((journal, restored)) => (Some(journal), restored),
        Err(error) => {
            tracing::error!(path = %path.display(), %error, "The journal does not start; calls end with this process");
            (None, Vec::new())
        }
    }
}

pub(super) fn observer(settings: &Settings, store: &Path, metrics: &Arc<Metrics>) -> Result<Observer, StartError> {
    let settings = observe::Settings { store: Some(store.to_owned()), records: records(settings) };
    Observer::start(settings, Arc::clone(metrics)).map_err(failed("observer"))
}

/// What of records is kept under these settings.
pub(super) fn records(settings: &Settings) -> Records {
    let retention = Retention { keep: settings.store.keep_for, ..Retention::default() };
    Records { retention, ..Records::default() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn a_damaged_file_of_known_recordings_is_read_as_far_as_it_is_good() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("campaigns.txt");
        let line = |name: &str| format!("{name} {}\n", "00beef".repeat(50));
        let [one, two, three] = ["one", "two", "three"].map(line);
        let text = [one.as_bytes(), b"torn 00be", two.as_bytes(), b"\xFF\n", three.as_bytes()].concat();
        std::fs::write(&path, text).unwrap();

        assert_eq!(campaigns(&path).to_text(), one + &three);
        assert!(campaigns(&folder.path().join("none")).is_empty());
        // Whoever opens it waits for one who writes; and the other has no end.
        let pipe = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        assert!(campaigns(&pipe).is_empty() && campaigns(Path::new("/dev/zero")).is_empty());
    }

    #[test]
    fn a_shared_file_of_known_recordings_is_shortened_where_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("shared.txt"), folder.path().join("campaigns.txt"));
        std::fs::write(&file, "one 00\ntwo 00\n").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();

        shorten(&link, "two 00\n");

        assert!(link.is_symlink());
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "two 00\n");
    }

    #[test]
    fn what_a_person_put_into_the_file_of_known_recordings_stays_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("campaigns.txt");
        let line = |name: String| format!("{name} {}\n", "00beef".repeat(50));
        let learned = |from: usize| (from..1_030).map(|n| line(format!("call-{n}"))).collect::<String>();
        let hand = "# by hand\n".to_owned() + &line("hand".to_owned());
        std::fs::write(&path, hand.clone() + &learned(0)).unwrap();

        let library = campaigns(&path);

        assert!(library.has("hand") && library.len() == 1_024);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), hand + &learned(7));
    }

    #[test]
    fn a_folder_that_somebody_named_is_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let found = |name: &str| find(folder.path(), Path::new(name), shipped::ANNOUNCEMENTS);

        assert_eq!(found("nowhere"), folder.path().join("nowhere"));
        assert_eq!(Some(found("announcements")), shipped::find(shipped::ANNOUNCEMENTS));
        std::fs::create_dir(folder.path().join("announcements")).unwrap();
        assert_eq!(found("announcements"), folder.path().join("announcements"));
    }
}
