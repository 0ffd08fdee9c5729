//! Recordings that were scams, remembered for the next call.
//!
//! A listener hands over the fingerprint of each call that it stops hearing; whoever knows how the call ended says
//! which of them are scams'. Nothing but fingerprints is kept, and only of the last calls.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use super::hearing::Knowledge;
use crate::detect::fingerprint::{Library, Recording, Word};
use crate::units::CallId;

/// Begins the names of recordings that were learned here. Others were put into the file by people.
const LEARNED: &str = "call-";

/// Calls whose fingerprints wait for somebody to want them; 4 kB each.
const RECENT: usize = 256;

/// Calls that were taken away, whose fingerprints wait for their end: as many as run.
const WANTED: usize = 4_096;

#[derive(Default)]
struct Waiting {
    /// Of calls that are no longer heard, oldest first.
    recent: VecDeque<(CallId, Vec<Word>)>,
    /// Of those that are likely to be a scam's: whoever makes many calls meanwhile pushes none of them out. None: the
    /// call is still heard.
    wanted: BTreeMap<CallId, Option<Vec<Word>>>,
}

impl Waiting {
    fn take(&mut self, call: CallId) -> Option<Vec<Word>> {
        let place = self.recent.iter().position(|(known, _)| *known == call)?;
        Some(self.recent.remove(place)?.1)
    }
}

/// Clones share everything: listeners have one, and so has whoever knows which calls were scams.
#[derive(Clone)]
pub struct Learner {
    waiting: Arc<Mutex<Waiting>>,
    knowledge: Arc<ArcSwap<Knowledge>>,
}

impl Learner {
    pub(super) fn new(knowledge: Arc<ArcSwap<Knowledge>>) -> Self {
        Self { waiting: Arc::default(), knowledge }
    }

    fn with<T>(&self, change: impl FnOnce(&mut Waiting) -> T) -> T {
        change(&mut self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Keeps the fingerprint of a call that is no longer heard.
    pub(super) fn keep(&self, call: CallId, words: Vec<Word>) {
        self.with(|Waiting { recent, wanted }| {
            if let Some(kept) = wanted.get_mut(&call) {
                *kept = Some(words);
                return;
            }
            if recent.len() >= RECENT {
                recent.pop_front();
            }
            recent.push_back((call, words));
        });
    }

    /// The call has been taken away: its fingerprint is kept until it is learned or forgotten.
    pub fn want(&self, call: CallId) {
        self.with(|waiting| {
            if !waiting.wanted.contains_key(&call) {
                let words = waiting.take(call);
                waiting.wanted.insert(call, words);
            }
            if waiting.wanted.len() > WANTED {
                waiting.wanted.pop_first();
            }
        });
    }

    /// The call was no scam, and so is no recording that it has been taken for, where that was learned from another
    /// call. Returns the names of those that are known no more. A scam's comes back with its next call.
    #[must_use]
    pub fn unlearn(&self, call: CallId) -> Vec<Arc<str>> {
        let words = self.with(|waiting| waiting.wanted.remove(&call)).flatten();
        let Some(heard) = words.and_then(|words| Recording::new("", &words)) else { return Vec::new() };
        let known = self.knowledge.load_full();
        let (mut library, mut forgotten) = (None, Vec::new());
        while let Some(name) = library.as_ref().unwrap_or(&*known.campaigns).copy_of(&heard)
            && name.starts_with(LEARNED)
        {
            library = Some(library.as_ref().unwrap_or(&*known.campaigns).without(&name));
            forgotten.push(name);
        }
        if let Some(library) = library {
            self.knowledge.store(Arc::new(Knowledge { campaigns: Arc::new(library), ..Knowledge::clone(&known) }));
        }
        forgotten
    }

    /// Takes the call's recording for a scam's: the next call that plays it is recognised. Returns the line for the
    /// file of known recordings; None if the call was too short, or its recording is known already.
    #[must_use]
    pub fn learn(&self, call: CallId) -> Option<String> {
        let words = self.with(|waiting| waiting.wanted.remove(&call).flatten().or_else(|| waiting.take(call)))?;
        let recording = Recording::new(&format!("{LEARNED}{call}"), &words)?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::phrase::{Book, Wording};
    use crate::policy::judge::Weights;

    fn learner() -> Learner {
        let knowledge = Knowledge {
            weights: Arc::new(Weights::built_in()),
            book: Book::built_in(),
            wording: Wording::built_in(),
            campaigns: Arc::default(),
            words: None,
        };
        Learner::new(Arc::new(ArcSwap::from_pointee(knowledge)))
    }

    fn words(call: u32) -> Vec<Word> {
        let mixed = |n: u32| (call * 1_000 + n).wrapping_mul(0x9E37_79B9) >> 8;
        (0..100).map(|n| Some(mixed(n))).collect()
    }

    #[test]
    fn a_call_that_was_taken_away_is_learned_however_many_calls_end_before_it() {
        // It is wanted before its listener lets go of it, or behind that.
        for wanted_first in [true, false] {
            let learner = learner();
            if wanted_first {
                learner.want(CallId(0));
            }
            learner.keep(CallId(0), words(0));
            learner.want(CallId(0));
            (1..2 * RECENT as u32).for_each(|call| learner.keep(CallId(call.into()), words(call)));

            assert!(learner.learn(CallId(0)).is_some(), "wanted first: {wanted_first}");
            assert!(learner.learn(CallId(1)).is_none(), "nobody has wanted it");
        }
    }

    #[test]
    fn what_is_wanted_is_forgotten_where_it_was_no_scam_and_bounded() {
        let learner = learner();
        learner.want(CallId(0));
        learner.keep(CallId(0), words(0));
        assert_eq!(learner.unlearn(CallId(0)), []);
        assert_eq!(learner.learn(CallId(0)), None);

        (0..WANTED as u64 + 3).for_each(|call| learner.want(CallId(call)));
        assert_eq!(learner.with(|waiting| waiting.wanted.len()), WANTED);
    }

    #[test]
    fn a_call_that_is_taken_back_makes_its_recording_unknown_unless_a_person_put_it_there() {
        let learner = learner();
        let again = |call| {
            learner.want(CallId(call));
            learner.keep(CallId(call), words(0));
        };
        again(0);
        let line = learner.learn(CallId(0)).unwrap();
        again(1);
        assert_eq!(learner.unlearn(CallId(1)), ["call-0000000000000000".into()]);
        again(2);
        assert_eq!(learner.unlearn(CallId(2)), [], "it is known no more");

        let by_hand = Library::parse(&line.replace("call-", "hand-")).unwrap();
        let known = learner.knowledge.load_full();
        learner.knowledge.store(Arc::new(Knowledge { campaigns: Arc::new(by_hand), ..Knowledge::clone(&known) }));
        again(3);
        assert_eq!(learner.unlearn(CallId(3)), []);
        assert_eq!(learner.knowledge.load().campaigns.len(), 1);
    }
}
