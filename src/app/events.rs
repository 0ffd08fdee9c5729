//! Events of the shard on their way to the observers, and the recordings that are learned from them.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use crossbeam_channel::Receiver;

use super::trunks;
use crate::call::{Event, Happened, SteppedUp};
use crate::config::Settings;
use crate::gate::GateEvent;
use crate::io::analysis::{Analysis, Learner};
use crate::io::signalling::ShardEvent;
use crate::io::threads::StandBack;
use crate::observe::Observer;
use crate::policy::action::{Enforcement, StepUp, StepUpDecision};
use crate::units::CallId;

/// Batches of events that may wait for the thread.
pub(super) const WAITING: usize = 256;

/// Calls that were taken away and still run, at most. Beyond it the oldest is taken for ended: overload has lost its
/// end.
const TAKEN_AWAY: usize = 4_096;

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
        for event in events.into_iter().flatten() {
            match event {
                ShardEvent::Call(happened) => {
                    observer.happened(&happened);
                    if let Some(learning) = &learning
                        && was_a_scam(&mut taken_away, &happened)
                    {
                        learning.learn(happened.call);
                    }
                }
                ShardEvent::Gate(event) => log(&event),
                ShardEvent::Trunk(event) => trunks::log(&event),
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

/// True at the end of a call that was taken away and not taken back. `taken_away` holds such calls that still run, in
/// the order in which they began.
fn was_a_scam(taken_away: &mut BTreeSet<CallId>, happened: &Happened) -> bool {
    let Happened { call, event, .. } = happened;
    match event {
        Event::SteppedUp { decision, enforcement, .. } if takes_away(decision, *enforcement) => {
            note(taken_away, *call);
            false
        }
        Event::TakenBack { .. } => {
            taken_away.remove(call);
            false
        }
        Event::Ended { .. } => taken_away.remove(call),
        Event::Restored { story, .. } => {
            let taken = |step: &SteppedUp| takes_away(&step.decision, step.enforcement);
            if story.taken_back.is_none() && story.steps.iter().any(taken) {
                note(taken_away, *call);
            }
            false
        }
        Event::Began { .. }
        | Event::Routed { .. }
        | Event::Ringing
        | Event::Answered { .. }
        | Event::Judged { .. }
        | Event::SteppedUp { .. }
        | Event::GuardLifted { .. }
        | Event::Digit { .. } => false,
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

    fn learn(&self, call: CallId) {
        if let Some(line) = self.learner.learn(call) {
            remember(&self.file, &line);
        }
    }
}

/// Adds a recording to the file of known ones. Where that fails, it is forgotten when this process ends.
fn remember(file: &Path, line: &str) {
    let opened = std::fs::OpenOptions::new().create(true).append(true).open(file);
    match opened.and_then(|mut file| writeln!(file, "{line}")) {
        Ok(()) => tracing::info!(file = %file.display(), "A scam's recording is known from now on"),
        Err(error) => tracing::warn!(file = %file.display(), %error, "A known recording cannot be kept"),
    }
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
        let mut tell = |call, event| was_a_scam(&mut taken_away, &Happened { call: CallId(call), at: now, event });
        let probabilities = [Ratio::ZERO, Ratio::ZERO, Ratio::ZERO, Ratio::ONE];
        let verdict = Verdict { at: CallTime::ZERO, class: Class::PressKey, probabilities, reasons: Vec::new() };
        let decision = StepUpDecision { action: StepUp::Divert, rule: Arc::from("test"), verdict };
        let diverted =
            || Event::SteppedUp { at: CallTime::ZERO, decision: decision.clone(), enforcement: Enforcement::Done };
        let ending = Ending { by: None, how: EndReason::Diverted, status: None, talked: None };
        let last = 2 * TAKEN_AWAY as u64;

        assert!((1..=last).all(|call| !tell(call, diverted())));

        assert!(tell(last, Event::Ended { ending }), "the newest are known");
        assert!(!tell(1, Event::Ended { ending }));
        assert_eq!(taken_away.len(), TAKEN_AWAY - 1);
    }
}
