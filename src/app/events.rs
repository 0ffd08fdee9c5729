//! Events of the shard on their way to the observers, and the recordings that are learned from them.

use std::collections::BTreeSet;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::Receiver;

use super::{parts, trunks};
use crate::call::{Event, Happened, SteppedUp};
use crate::config::Settings;
use crate::gate::GateEvent;
use crate::io::analysis::{Analysis, Learner};
use crate::io::shipped;
use crate::io::signalling::ShardEvent;
use crate::io::threads::StandBack;
use crate::observe::Observer;
use crate::policy::action::{Enforcement, StepUp, StepUpDecision};
use crate::units::{CallId, read_bytes, replace};

/// Batches of events that may wait for the thread.
pub(super) const WAITING: usize = 256;

/// While batches come each time within this, the thread rests in between and need not be woken: where calls are many,
/// waiting for each costs more than what is in it. Longer than an event may wait to be let go.
const GATHER: Duration = Duration::from_millis(25);

/// Calls that were taken away and still run, at most. Beyond it the oldest is taken for ended: overload has lost its
/// end.
const TAKEN_AWAY: usize = 4_096;

/// Bytes of the file of known recordings from which on those that there are too many of go at once: at the next start,
/// a file is read up to [`shipped::MOST`].
const LONG: u64 = 16 << 20;

/// Learns the recordings of calls that were scams.
pub(super) struct Learning {
    /// Knows the fingerprints of the last calls.
    learner: Learner,
    /// Where known recordings are kept for the next process.
    file: PathBuf,
}

/// Starts the thread that passes events on. It ends when the shard does.
pub(super) fn start(
    events: Receiver<Vec<ShardEvent>>,
    observer: Observer,
    learning: Option<Learning>,
) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name("events".to_owned()).spawn(move || {
        StandBack::Records.apply();
        let mut taken_away = BTreeSet::new();
        let mut take = |event| match event {
            ShardEvent::Call(happened) => {
                observer.happened(&happened);
                if let (Some(learning), Some(lesson)) = (&learning, lesson(&mut taken_away, &happened)) {
                    learning.take(lesson, happened.call);
                }
            }
            ShardEvent::Gate(event) => log(&event),
            ShardEvent::Trunk(event) => trunks::log(&event),
        };
        while let Ok(first) = events.recv() {
            first.into_iter().for_each(&mut take);
            loop {
                std::thread::sleep(GATHER);
                let batches: Vec<_> = events.try_iter().collect();
                if batches.is_empty() {
                    break;
                }
                batches.into_iter().flatten().for_each(&mut take);
            }
        }
    })
}

fn log(event: &GateEvent) {
    match event {
        GateEvent::Blocked(block) => tracing::warn!(
            source = %block.source,
            reason = block.reason.label(),
            for_s = (block.until - block.since).as_secs(),
            times = block.times,
            "Source blocked"
        ),
        GateEvent::Expired { source } => tracing::info!(%source, "Block over"),
    }
}

/// What an event says about the recording of its call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Lesson {
    /// Most likely a scam's: the call has been taken away.
    Likely,
    /// None: the callee has taken the call back.
    No,
    /// A scam's: the call has ended, and nobody has taken it back.
    Yes,
}

/// `taken_away` holds calls that were taken away and still run, in the order in which they began.
fn lesson(taken_away: &mut BTreeSet<CallId>, happened: &Happened) -> Option<Lesson> {
    let Happened { call, event, .. } = happened;
    match event {
        Event::SteppedUp { decision, enforcement, .. } if takes_away(decision, *enforcement) => {
            note(taken_away, *call);
            Some(Lesson::Likely)
        }
        Event::TakenBack { .. } => taken_away.remove(call).then_some(Lesson::No),
        Event::Ended { .. } => taken_away.remove(call).then_some(Lesson::Yes),
        Event::Restored { story, .. } => {
            let taken = |step: &SteppedUp| takes_away(&step.decision, step.enforcement);
            if story.taken_back.is_none() && story.steps.iter().any(taken) {
                note(taken_away, *call);
            }
            None
        }
        Event::Began { .. }
        | Event::Routed { .. }
        | Event::Ringing
        | Event::Answered { .. }
        | Event::Unheard { .. }
        | Event::Judged { .. }
        | Event::SteppedUp { .. }
        | Event::GuardLifted { .. }
        | Event::Digit { .. } => None,
    }
}

fn note(taken_away: &mut BTreeSet<CallId>, call: CallId) {
    taken_away.insert(call);
    if taken_away.len() > TAKEN_AWAY {
        taken_away.pop_first();
    }
}

fn takes_away(decision: &StepUpDecision, enforcement: Enforcement) -> bool {
    enforcement == Enforcement::Done && decision.action >= StepUp::Divert
}

impl Learning {
    pub(super) fn new(analysis: &Analysis, settings: &Settings, folder: &Path) -> Self {
        Self { learner: analysis.learner(), file: folder.join(&settings.detect.campaigns) }
    }

    fn take(&self, lesson: Lesson, call: CallId) {
        match lesson {
            Lesson::Likely => self.learner.want(call),
            Lesson::No => self.learner.unlearn(call).iter().for_each(|name| forget(&self.file, name)),
            Lesson::Yes => {
                if let Some(line) = self.learner.learn(call) {
                    remember(&self.file, &line);
                }
            }
        }
    }
}

/// Adds a recording to the file of known ones. Where that fails, it is forgotten when this process ends.
fn remember(file: &Path, line: &str) {
    match add_line(file, line) {
        Ok(()) => tracing::info!(file = %file.display(), "A scam's recording is known from now on"),
        Err(error) => tracing::warn!(file = %file.display(), %error, "A known recording cannot be kept"),
    }
    if std::fs::metadata(file).is_ok_and(|found| found.len() > LONG) {
        parts::shorten_long(file);
    }
}

/// Takes a recording out of the file of known ones. Where that fails, the next process knows it again.
fn forget(file: &Path, name: &str) {
    match remove_line(file, name) {
        Ok(()) => tracing::info!(name, "A recording is known no more: a call with it was taken back"),
        Err(error) => tracing::warn!(file = %file.display(), name, %error, "A known recording cannot be taken out"),
    }
}

fn remove_line(file: &Path, name: &str) -> std::io::Result<()> {
    let text = read_bytes(file, shipped::MOST)?;
    let of_another = |line: &&[u8]| line.split(|byte| *byte == b' ').next() != Some(name.as_bytes());
    let rest: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').filter(of_another).collect();
    replace(file, &rest.concat())
}

/// Adds a line in one step, behind whatever a kill or a full disk has left of the one before.
fn add_line(file: &Path, line: &str) -> std::io::Result<()> {
    let mut file = std::fs::OpenOptions::new().create(true).read(true).append(true).open(file)?;
    let mut last = [b'\n'];
    if file.seek(SeekFrom::End(0))? > 0 {
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
    }
    let torn = if last == [b'\n'] { "" } else { "\n" };
    file.write_all(format!("{torn}{line}\n").as_bytes())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::call::{EndReason, Ending};
    use crate::io::clock;
    use crate::policy::judge::{Class, Verdict};
    use crate::units::{CallTime, Ratio};

    #[test]
    fn calls_whose_end_was_lost_are_not_kept_for_ever() {
        let (now, mut taken_away) = (clock::now(), BTreeSet::new());
        let mut tell = |call, event| lesson(&mut taken_away, &Happened { call: CallId(call), at: now, event });
        let probabilities = [Ratio::ZERO, Ratio::ZERO, Ratio::ZERO, Ratio::ONE];
        let verdict = Verdict { at: CallTime::ZERO, class: Class::PressKey, probabilities, reasons: Vec::new() };
        let decision = StepUpDecision { action: StepUp::Divert, rule: Arc::from("test"), verdict };
        let diverted =
            || Event::SteppedUp { at: CallTime::ZERO, decision: decision.clone(), enforcement: Enforcement::Done };
        let ending = Ending { by: None, how: EndReason::Diverted, status: None, talked: None };
        let last = 2 * TAKEN_AWAY as u64;

        assert!((1..=last).all(|call| tell(call, diverted()) == Some(Lesson::Likely)));

        assert_eq!(tell(last, Event::Ended { ending }), Some(Lesson::Yes), "the newest are known");
        assert_eq!(tell(1, Event::Ended { ending }), None);
        assert_eq!(taken_away.len(), TAKEN_AWAY - 1);
    }

    #[test]
    fn the_file_of_known_recordings_does_not_grow_without_end() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("campaigns.txt");
        let line = |n: usize| format!("call-{n} {}\n", "00beef".repeat(50));
        let remark = format!("# {}\n", "x".repeat(LONG as usize));
        std::fs::write(&file, (0..1_030).map(line).collect::<String>()).unwrap();

        remember(&file, line(1_030).trim_end());
        assert_eq!(std::fs::read_to_string(&file).unwrap().lines().count(), 1_031, "it is not long yet");
        std::fs::OpenOptions::new().append(true).open(&file).unwrap().write_all(remark.as_bytes()).unwrap();
        remember(&file, line(1_031).trim_end());

        let text = std::fs::read_to_string(&file).unwrap();
        assert_eq!(text.lines().count(), 1_024 + 1);
        assert!(text.starts_with(&line(8)) && text.ends_with(&line(1_031)) && text.contains(&remark));
    }

    #[test]
    fn a_line_that_a_kill_has_torn_does_not_take_the_next_one_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("campaigns.txt");

        add_line(&file, "one 00").unwrap();
        std::fs::OpenOptions::new().append(true).open(&file).unwrap().write_all(b"torn 0").unwrap();
        add_line(&file, "two 00").unwrap();

        assert_eq!(std::fs::read_to_string(&file).unwrap(), "one 00\ntorn 0\ntwo 00\n");
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        remove_line(&link, "one").unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "torn 0\ntwo 00\n", "in the file that others share");
    }
}
