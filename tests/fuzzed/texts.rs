//! What an operator or another process has written: settings, phrases, the journal.

use std::sync::Arc;
use std::time::Duration;

use ringfence::call::{Entry, Input, Output, Sizes, Switchboard};
use ringfence::config::{Reload, compare, load, problems_text};
use ringfence::detect::phrase::Book;
use ringfence::io::clock;
use ringfence::journal::{frame, read};
use ringfence::rtp::control::{MediaCommand, MediaEvent};
use ringfence::units::PerLeg;

use super::world;

/// Settings are used or refused with a reason for each problem; what is in use is unchanged by itself.
pub(crate) fn settings(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let list = |path: &str| if path.contains('x') { Err("no such file".to_owned()) } else { Ok(text.to_string()) };
    match load(&text, &list) {
        Ok(settings) => {
            let again = load(&text, &list).map(|again| compare(&settings, again));
            assert!(matches!(again, Ok(Reload::Unchanged)));
        }
        Err(problems) => {
            let shown = problems_text(std::path::Path::new("ringfence.toml"), &problems);
            assert!(!problems.is_empty() && shown.lines().count() > problems.len(), "{shown}");
            let lines = text.lines().count() + 1;
            assert!(problems.iter().all(|problem| problem.line <= lines), "{shown}");
        }
    }
}

/// A phrase file is used or refused, and no text makes it hear what has no name. Behind a NUL: what is said.
pub(crate) fn phrases(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (file, said) = text.split_once('\0').unwrap_or((&text, "press 1 to cancel your order"));
    let _ = Book::built_in().hear(said);
    if let Ok(book) = Book::parse(file) {
        for heard in book.hear(said).into_iter().chain(book.hear(file)) {
            assert!(!heard.phrase.is_empty() && (0.0..=1.0).contains(&heard.confidence.get()), "{heard:?}");
        }
    }
}

/// The longest good beginning is read, and whatever it holds a switchboard goes on with and can end. A first byte of
/// `r`: records without length and checksum, one a line.
pub(crate) fn journal(bytes: &[u8]) {
    let written = match bytes.split_first() {
        Some((b'r', records)) => with_checksums(records),
        Some(_) | None => bytes.to_vec(),
    };
    let contents = read(&written);
    assert!(contents.good <= written.len());
    let again = read(&written[..contents.good]);
    assert!(!contents.ours || again == contents, "what was cut off decides");
    for (snapshot, at) in &contents.calls {
        // What is read can be written, and says the same.
        let entry = Entry::Runs(Box::new(snapshot.clone()));
        let mut file = written.get(..MARK.len()).unwrap_or_default().to_vec();
        file.extend(frame(*at, &entry).unwrap());
        assert_eq!(read(&file).calls, [(snapshot.clone(), *at)]);
    }

    let mut now = clock::now();
    let mut switchboard = Switchboard::new(0, 1_700_000_000, [7; 16], Arc::new(world::settings())).with_journal();
    for (number, (snapshot, at)) in contents.calls.into_iter().enumerate() {
        let age = Duration::from_millis(at);
        let (call, ports) = (snapshot.call, snapshot.ports);
        switchboard.handle_input(Input::Restore { snapshot: Box::new(snapshot), age }, now);
        let mut opened = false;
        while let Some(output) = switchboard.poll_output() {
            opened |= matches!(output, Output::Media(MediaCommand::Open { .. }));
        }
        if opened {
            let ports = PerLeg::from_fn(|leg| ([192, 0, 2, 1], ports[leg]).into());
            let event = if number % 3 == 2 { MediaEvent::Failed } else { MediaEvent::Opened { ports } };
            switchboard.handle_input(Input::Media { call, event }, now);
        }
    }
    switchboard.handle_input(Input::EndAll, now);
    while let Some(at) = switchboard.poll_timeout() {
        now = now.max(at);
        switchboard.handle_timeout(now);
        while switchboard.poll_output().is_some() {}
    }
    assert_eq!(switchboard.sizes(), Sizes::default());
}

const MARK: &[u8] = b"ringfence calls 1\n";

fn with_checksums(records: &[u8]) -> Vec<u8> {
    let mut file = MARK.to_vec();
    for record in records.split(|byte| *byte == b'\n') {
        file.extend((record.len() as u32).to_le_bytes());
        file.extend(crc32fast::hash(record).to_le_bytes());
        file.extend(record);
    }
    file
}
