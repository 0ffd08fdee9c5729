//! Recordings that were scams, remembered for the next call.
//!
//! A listener hands over the fingerprint of each call that it stops hearing; whoever knows how the call ended says
//! which of them are scams'. Nothing but fingerprints is kept, and only of the last calls.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use super::hearing::Knowledge;
use crate::detect::fingerprint::{Library, Recording, Word};
use crate::units::CallId;

/// Calls whose fingerprints wait for their end to be known; 4 kB each.
const RECENT: usize = 256;

/// Fingerprints of calls that are no longer heard, oldest first.
type Recent = VecDeque<(CallId, Vec<Word>)>;

/// Clones share everything: listeners have one, and so has whoever knows which calls were scams.
#[derive(Clone)]
pub struct Learner {
    recent: Arc<Mutex<Recent>>,
    knowledge: Arc<ArcSwap<Knowledge>>,
}

impl Learner {
    pub(super) fn new(knowledge: Arc<ArcSwap<Knowledge>>) -> Self {
        Self { recent: Arc::default(), knowledge }
    }

    /// Keeps the fingerprint of a call that is no longer heard.
    pub(super) fn keep(&self, call: CallId, words: Vec<Word>) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.len() >= RECENT {
            recent.pop_front();
        }
        recent.push_back((call, words));
    }

    /// Takes the call's recording for a scam's: the next call that plays it is recognised. Returns the line for the
    /// file of known recordings; None if the call was too short, or its recording is known already.
    #[must_use]
    pub fn learn(&self, call: CallId) -> Option<String> {
        let words = {
            let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
            let place = recent.iter().position(|(known, _)| *known == call)?;
            recent.remove(place)?.1
        };
        let recording = Recording::new(&format!("call-{call}"), &words)?;
        let known = self.knowledge.load_full();
        if known.campaigns.knows(&recording) {
            return None;
        }
        let line = recording.to_line();
        let mut library = Library::clone(&known.campaigns);
        library.add(recording);
        self.knowledge.store(Arc::new(Knowledge { campaigns: Arc::new(library), ..Knowledge::clone(&known) }));
        Some(line)
    }
}
