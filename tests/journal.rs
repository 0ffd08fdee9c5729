//! The journal's file under truncation, flipped bits and growth.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, missing_docs, reason = "tests")]

mod world;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use ringfence::call::{Entry, Snapshot};
use ringfence::io::clock;
use ringfence::journal::{Contents, Journal, frame, read};
use ringfence::units::CallId;
use world::{PBX, Phone, TRUNK, World, response, sdp, settings};

const MARK: &[u8] = b"ringfence calls 1\n";

/// A real one, of a real call.
fn snapshot() -> Snapshot {
    let mut world = World::new(settings());
    let caller = Phone::caller("call");
    world.send(TRUNK, &caller.request("INVITE", &sdp(TRUNK, "")));
    let invite = world.last(PBX);
    world.send(PBX, &response(&invite, "200 OK", "callee", &sdp(PBX, "")));
    world.kept().pop().unwrap()
}

fn runs(of: &Snapshot, call: u64, cseq: u32) -> Entry {
    let mut snapshot = Snapshot { call: CallId(call), sip_call_id: format!("{call}").into(), ..of.clone() };
    snapshot.party.callee.cseq = cseq;
    Entry::Runs(Box::new(snapshot))
}

/// The same as a record of 900 kB.
fn runs_long(of: &Snapshot, call: u64, cseq: u32) -> Entry {
    let long = Snapshot { sip_call_id: format!("{call}{}", "x".repeat(900_000)).into(), ..of.clone() };
    match runs(&long, call, cseq) {
        Entry::Runs(snapshot) => {
            Entry::Runs(Box::new(Snapshot { sip_call_id: Arc::clone(&long.sip_call_id), ..*snapshot }))
        }
        over @ Entry::Over(_) => over,
    }
}

/// What a file with these records must say.
fn living(entries: &[Entry]) -> Vec<Snapshot> {
    let mut calls = BTreeMap::new();
    for entry in entries {
        match entry {
            Entry::Runs(snapshot) => drop(calls.insert(snapshot.call, (**snapshot).clone())),
            Entry::Over(call) => drop(calls.remove(call)),
        }
    }
    calls.into_values().collect()
}

fn found(contents: &Contents) -> Vec<Snapshot> {
    contents.calls.iter().map(|(snapshot, _)| snapshot.clone()).collect()
}

fn entries() -> impl Strategy<Value = Vec<Entry>> {
    let of = snapshot();
    prop::collection::vec((0_u64..6, prop::option::weighted(0.7, 1_u32..50)), 0..12).prop_map(move |steps| {
        steps
            .into_iter()
            .map(|(call, cseq)| cseq.map_or(Entry::Over(CallId(call)), |cseq| runs(&of, call, cseq)))
            .collect()
    })
}

fn file(entries: &[Entry]) -> (Vec<u8>, Vec<usize>) {
    let mut bytes = MARK.to_vec();
    let mut ends = vec![bytes.len()];
    for entry in entries {
        bytes.extend(frame(1_000, entry).unwrap());
        ends.push(bytes.len());
    }
    (bytes, ends)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_cut_off_the_rest_is_read(entries in entries(), cut in any::<prop::sample::Index>()) {
        let (bytes, ends) = file(&entries);
        let cut = cut.index(bytes.len() + 1);

        let contents = read(&bytes[..cut]);

        let whole = ends.iter().filter(|end| **end <= cut).count();
        prop_assert_eq!(contents.ours, cut >= MARK.len());
        prop_assert_eq!(contents.good, whole.checked_sub(1).map_or(0, |whole| ends[whole]));
        prop_assert_eq!(found(&contents), living(&entries[..whole.saturating_sub(1)]));
    }

    #[test]
    fn a_damaged_byte_costs_what_is_behind_it_and_nothing_before(
        entries in entries(), at in any::<prop::sample::Index>(), flip in 1_u8..,
    ) {
        let (mut bytes, ends) = file(&entries);
        let at = at.index(bytes.len());
        bytes[at] ^= flip;

        let contents = read(&bytes);

        let whole = ends.iter().filter(|end| **end <= at).count();
        prop_assert_eq!(contents.good, whole.checked_sub(1).map_or(0, |whole| ends[whole]));
        prop_assert_eq!(found(&contents), living(&entries[..whole.saturating_sub(1)]));
    }

    #[test]
    fn nonsense_is_survived(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut marked = MARK.to_vec();
        marked.extend(&bytes);

        prop_assert_eq!(read(&bytes).calls.len(), 0);
        prop_assert_eq!(read(&marked).calls.len(), 0);
    }
}

#[expect(clippy::disallowed_methods, reason = "a test of a thread lives in real time")]
fn until(what: &str, mut test: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !test() {
        assert!(clock::now() - begun < Duration::from_secs(20), "{what} did not come");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn start(path: &Path) -> (Journal, Vec<Snapshot>) {
    let (journal, found) = Journal::start(path).unwrap();
    (journal, found.into_iter().map(|(snapshot, _)| snapshot).collect())
}

#[test]
fn the_file_stays_small_and_says_what_lives() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("calls.journal");
    let of = snapshot();
    let (journal, _) = start(&path);
    let mut keep = journal.door();
    let mut all = Vec::new();
    for round in 0..6 {
        let entries: Vec<Entry> = (0..200).map(|call| runs(&of, call, round)).collect();
        for entry in entries.iter().cloned().chain((0..200).step_by(2).map(|call| Entry::Over(CallId(call)))) {
            keep(entry.clone());
            all.push(entry);
        }
        // Of each call the last entry, at least.
        until("a round", || journal.counts().written.load(Ordering::Relaxed) >= 200 * u64::from(round + 1));
    }
    journal.stop();

    let bytes = std::fs::read(&path).unwrap();
    let contents = read(&bytes);
    assert_eq!(found(&contents), living(&all));
    assert_eq!((contents.good, contents.foreign), (bytes.len(), 0));
    assert!(bytes.len() < 600 << 10, "{} bytes for 100 calls", bytes.len());
    assert!(journal.counts().bytes.load(Ordering::Relaxed) == bytes.len() as u64);
    drop(journal);
    let (journal, again) = start(&path);
    assert_eq!(again, living(&all));
    journal.stop();
}

#[test]
fn its_folder_is_made_and_none_above() {
    let folder = tempfile::tempdir().unwrap();

    let (journal, _) = start(&folder.path().join("new").join("calls.journal"));
    journal.stop();

    assert!(folder.path().join("new/calls.journal").is_file());
    assert!(Journal::start(&folder.path().join("a/b/calls.journal")).is_err());
    assert!(!folder.path().join("a").exists());
}

#[test]
fn a_file_never_grows_longer_than_what_is_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("calls.journal");
    let of = snapshot();
    let long = |call, round| runs_long(&of, call, round);
    let (journal, _) = start(&path);
    let mut keep = journal.door();
    // 68 MB, of which 25 live: not so much of it is dead that it would be written anew for that.
    for (round, calls, written) in [(1, 24, 24), (2, 24, 48), (3, 28, 76)] {
        (0..calls).for_each(|call| keep(long(call, round)));
        until("a round", || journal.counts().written.load(Ordering::Relaxed) == written);
    }
    journal.stop();
    drop(journal);

    assert!(std::fs::metadata(&path).unwrap().len() <= 64 << 20);
    let (journal, again) = start(&path);
    assert_eq!(again.iter().map(|call| call.party.callee.cseq).collect::<Vec<_>>(), [3; 28]);
    journal.stop();
}

#[test]
fn a_change_without_room_leaves_what_was_kept_until_the_call_is_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("calls.journal");
    let of = snapshot();
    let (journal, _) = start(&path);
    let mut keep = journal.door();
    let counts = journal.counts();
    (0..2).for_each(|call| keep(runs(&of, call, 1)));
    // Of 32 MiB, so little is left that neither of the two may become long.
    (2..39).for_each(|call| keep(runs_long(&of, call, 1)));
    until("all are written", || counts.written.load(Ordering::Relaxed) == 39);
    (0..2).for_each(|call| keep(runs_long(&of, call, 2)));
    until("there is no room", || counts.lost.load(Ordering::Relaxed) == 2);
    keep(Entry::Over(CallId(0)));
    journal.stop();
    drop(journal);

    let (journal, again) = start(&path);
    assert_eq!((again[0].call, again[0].party.callee.cseq), (CallId(1), 1));
    journal.stop();
}

#[test]
fn what_is_kept_of_a_call_can_be_asked_for_until_it_is_over() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = start(&folder.path().join("calls.journal"));
    let (mut door, of) = (journal.door(), snapshot());
    let (sender, told) = std::sync::mpsc::channel();
    let mut recall = journal.recall(Arc::new(move |snapshot: Snapshot| sender.send(snapshot).unwrap()));
    let mut ask = |call, over: Option<u64>| {
        over.into_iter().chain([call]).for_each(|call| recall(CallId(call)));
        told.recv_timeout(Duration::from_secs(20)).unwrap()
    };

    door(runs(&of, 1, 10));
    assert_eq!(ask(1, None).party.callee.cseq, 10, "not written yet");
    until("it is written", || journal.counts().written.load(Ordering::Relaxed) == 1);
    assert_eq!(ask(1, None).party.callee.cseq, 10);
    door(runs(&of, 1, 11));
    door(runs(&of, 2, 20));
    assert_eq!((ask(1, None).party.callee.cseq, ask(2, None).party.callee.cseq), (11, 20));
    door(Entry::Over(CallId(1)));

    assert_eq!(ask(2, Some(1)).call, CallId(2), "nothing is told of one that is over");
}

#[test]
fn a_torn_end_is_cut_off_and_told_and_the_file_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("calls.journal");
    let of = snapshot();
    let (mut bytes, _) = file(&[runs(&of, 1, 1), runs(&of, 2, 1)]);
    bytes.truncate(bytes.len() - 7);
    std::fs::write(&path, &bytes).unwrap();

    let (journal, found_at_start) = start(&path);
    assert_eq!(found_at_start, living(&[runs(&of, 1, 1)]));
    assert!(journal.counts().cut.load(Ordering::Relaxed) > 100);
    journal.door()(runs(&of, 3, 1));
    journal.stop();

    assert_eq!(found(&read(&std::fs::read(&path).unwrap())), living(&[runs(&of, 1, 1), runs(&of, 3, 1)]));
}

#[test]
fn a_file_of_somebody_else_is_moved_aside() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("calls.journal");
    std::fs::write(&path, "dear diary").unwrap();

    let (journal, calls) = start(&path);
    journal.stop();

    assert!(calls.is_empty() && read(&std::fs::read(&path).unwrap()).ours);
    assert_eq!(std::fs::read(folder.path().join("calls.journal.damaged")).unwrap(), b"dear diary");
}

#[test]
fn what_is_no_file_is_neither_waited_for_nor_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());

    let error = Journal::start(&pipe).err().unwrap();

    assert_eq!(error.to_string(), "it is no file, but a pipe or device");
    assert!(!std::fs::metadata(&pipe).unwrap().is_file());
}

#[test]
fn a_second_process_does_not_get_the_same_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("calls.journal");
    let (journal, _) = start(&path);

    assert!(Journal::start(&path).is_err());
    drop(journal);
    assert!(Journal::start(&path).is_ok());
}

#[test]
fn a_folder_that_goes_away_is_shown_and_one_that_comes_back_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let inside = folder.path().join("state");
    std::fs::create_dir(&inside).unwrap();
    let path = inside.join("calls.journal");
    let of = snapshot();
    let (journal, _) = start(&path);
    let mut keep = journal.door();
    keep(runs(&of, 1, 1));
    std::fs::rename(&inside, folder.path().join("gone")).unwrap();

    until("it is shown as down", || {
        keep(runs(&of, 2, 1));
        !journal.counts().up.load(Ordering::Relaxed)
    });
    std::fs::create_dir(&inside).unwrap();
    until("it is shown as up", || journal.counts().up.load(Ordering::Relaxed));
    journal.stop();

    assert_eq!(found(&read(&std::fs::read(&path).unwrap())), living(&[runs(&of, 1, 1), runs(&of, 2, 1)]));
}
