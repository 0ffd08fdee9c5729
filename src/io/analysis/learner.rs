//! Recordings that were scams, remembered for the next call.
//!
//! A listener hands over the fingerprint of each call that it stops hearing; whoever knows how the call ended says
//! which of them are scams'. Nothing but fingerprints is kept, and only of the last calls.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use super::hearing::Knowledge;
use crate::detect::fingerprint::{LEARNED, Library, Matcher, Recording, Word};
use crate::units::CallId;

/// Calls whose fingerprints wait for somebody to want them; 4 kB each.
const RECENT: usize = 256;

/// Calls that were taken away, whose fingerprints wait for their end: as many as run.
const WANTED: usize = 4_096;

/// What was heard of a call.
#[derive(Clone, Debug, Default)]
pub(super) struct Heard {
    /// Its fingerprint.
    pub(super) words: Vec<Word>,
    /// The recording that it was taken for.
    pub(super) known: Option<Arc<str>>,
    /// A person called, as far as could be told.
    pub(super) live: bool,
}

#[derive(Default)]
struct Waiting {
    /// Of calls that are no longer heard, oldest first.
    recent: VecDeque<(CallId, Heard)>,
    /// Of those that are likely to be a scam's: whoever makes many calls meanwhile pushes none of them out. None: the
    /// call is still heard.
    wanted: BTreeMap<CallId, Option<Heard>>,
}

impl Waiting {
    /// What was heard of people.
    fn people(&self) -> Library {
        let mut people = Library::default();
        let live = self.recent.iter().filter(|(_, heard)| heard.live);
        live.filter_map(|(_, heard)| Recording::new("", &heard.words)).for_each(|one| people.add(one));
        people
    }

    fn take(&mut self, call: CallId) -> Option<Heard> {
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

    /// Keeps what was heard of a call that is no longer heard.
    pub(super) fn keep(&self, call: CallId, heard: Heard) {
        self.with(|Waiting { recent, wanted }| {
            if let Some(kept) = wanted.get_mut(&call) {
                *kept = Some(heard);
                return;
            }
            if recent.len() >= RECENT {
                recent.pop_front();
            }
            recent.push_back((call, heard));
        });
    }

    /// The call has been taken away: its fingerprint is kept until it is learned or forgotten.
    pub fn want(&self, call: CallId) {
        self.with(|waiting| {
            if !waiting.wanted.contains_key(&call) {
                let heard = waiting.take(call);
                waiting.wanted.insert(call, heard);
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
        let Some(heard) = self.with(|waiting| waiting.wanted.remove(&call)).flatten() else { return Vec::new() };
        let known = self.knowledge.load_full();
        let (mut library, mut forgotten) = (None, Vec::new());
        // What it was taken for is known by name: of two seconds through another line no word need be the same.
        let mut next = heard.known.filter(|name| known.campaigns.has(name));
        let recording = Recording::new("", &heard.words);
        loop {
            let left = library.as_ref().unwrap_or(&*known.campaigns);
            let copy = || recording.as_ref().and_then(|recording| left.copy_of(recording));
            let Some(name) = next.take().or_else(copy).filter(|name| name.starts_with(LEARNED)) else { break };
            library = Some(left.without(&name));
            forgotten.push(name);
        }
        if let Some(library) = library {
            self.knowledge.store(Arc::new(Knowledge { campaigns: Arc::new(library), ..Knowledge::clone(&known) }));
        }
        forgotten
    }

    /// Takes the call's recording for a scam's: the next call that plays it is recognised. What calls of people have in
    /// common with it is left out: it is the line's own, as the words of a service that forwards calls. Returns the
    /// line for the file of known recordings; None if the call was too short, its recording is known already, or those
    /// that people put there leave no room.
    #[must_use]
    pub fn learn(&self, call: CallId) -> Option<String> {
        let heard = self.with(|waiting| waiting.wanted.remove(&call).flatten().or_else(|| waiting.take(call)))?;
        let name = format!("{LEARNED}{call}");
        let known = self.knowledge.load_full();
        // Most calls that are taken away play what is known. Those of people are put together for the others only.
        if known.campaigns.knows(&Recording::new(&name, &heard.words)?) {
            return None;
        }
        let people = self.with(|waiting| waiting.people());
        let recording = Recording::new(&name, &Matcher::unlike(&heard.words, &people))?;
        let line = recording.to_line();
        let mut library = Library::clone(&known.campaigns);
        library.add(recording);
        if !library.has(&name) {
            return None;
        }
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

    fn heard(call: u32) -> Heard {
        let mixed = |n: u32| (call * 1_000 + n).wrapping_mul(0x9E37_79B9) >> 8;
        Heard { words: (0..100).map(|n| Some(mixed(n))).collect(), known: None, live: false }
    }

    #[test]
    fn a_call_that_was_taken_away_is_learned_however_many_calls_end_before_it() {
        // It is wanted before its listener lets go of it, or behind that.
        for wanted_first in [true, false] {
            let learner = learner();
            if wanted_first {
                learner.want(CallId(0));
            }
            learner.keep(CallId(0), heard(0));
            learner.want(CallId(0));
            (1..2 * RECENT as u32).for_each(|call| learner.keep(CallId(call.into()), heard(call)));

            assert!(learner.learn(CallId(0)).is_some(), "wanted first: {wanted_first}");
            assert!(learner.learn(CallId(1)).is_none(), "nobody has wanted it");
        }
    }

    /// "This call may be recorded": a service says so before each caller.
    #[test]
    fn what_the_line_says_before_every_call_is_not_learned_with_a_scam() {
        let learner = learner();
        let behind_the_same = |call| {
            let words = [&heard(7).words[..60], &heard(call).words].concat();
            Heard { words, live: call == 1, ..heard(call) }
        };
        learner.keep(CallId(1), behind_the_same(1));
        learner.want(CallId(2));
        learner.keep(CallId(2), behind_the_same(2));
        assert!(learner.learn(CallId(2)).is_some());

        let knows = |words: &[Word]| {
            let recording = Recording::new("", words).unwrap();
            learner.knowledge.load().campaigns.knows(&recording)
        };
        assert!(!knows(&heard(7).words[..60]), "it would take every caller away");
        assert!(knows(&heard(2).words), "the scam's own words");
    }

    #[test]
    fn what_is_wanted_is_forgotten_where_it_was_no_scam_and_bounded() {
        let learner = learner();
        learner.want(CallId(0));
        learner.keep(CallId(0), heard(0));
        assert_eq!(learner.unlearn(CallId(0)), []);
        assert_eq!(learner.learn(CallId(0)), None);

        (0..WANTED as u64 + 3).for_each(|call| learner.want(CallId(call)));
        assert_eq!(learner.with(|waiting| waiting.wanted.len()), WANTED);
    }

    #[test]
    fn where_people_have_filled_the_library_nothing_is_learned() {
        let learner = learner();
        let mut by_hand = Library::default();
        (10..1_034).for_each(|n| by_hand.add(Recording::new(&format!("hand-{n}"), &heard(n).words).unwrap()));
        let known = learner.knowledge.load_full();
        learner.knowledge.store(Arc::new(Knowledge { campaigns: Arc::new(by_hand), ..Knowledge::clone(&known) }));
        learner.want(CallId(1));
        learner.keep(CallId(1), heard(1));

        assert_eq!(learner.learn(CallId(1)), None, "its line in the file would be of no use");
        assert!(learner.knowledge.load().campaigns.has("hand-10"));
    }

    #[test]
    fn a_call_that_is_taken_back_makes_its_recording_unknown_unless_a_person_put_it_there() {
        let learner = learner();
        let again = |call| {
            learner.want(CallId(call));
            learner.keep(CallId(call), heard(0));
        };
        again(0);
        assert!(learner.learn(CallId(0)).is_some());
        again(1);
        assert_eq!(learner.unlearn(CallId(1)), ["call-0000000000000000".into()]);
        again(2);
        assert_eq!(learner.unlearn(CallId(2)), [], "it is known no more");

        again(3);
        let line = learner.learn(CallId(3)).unwrap();
        learner.want(CallId(4));
        // Two seconds, each word of which has a bit that is another one.
        let short = heard(0).words.into_iter().take(50).map(|word| word.map(|word| word ^ 1)).collect();
        learner.keep(CallId(4), Heard { words: short, known: Some("call-0000000000000003".into()), live: false });
        assert_eq!(learner.unlearn(CallId(4)), ["call-0000000000000003".into()]);

        let by_hand = Library::parse(&line.replace("call-", "hand-")).unwrap();
        let known = learner.knowledge.load_full();
        learner.knowledge.store(Arc::new(Knowledge { campaigns: Arc::new(by_hand), ..Knowledge::clone(&known) }));
        learner.want(CallId(5));
        learner.keep(CallId(5), Heard { known: Some("hand-0000000000000003".into()), ..heard(0) });
        assert_eq!(learner.unlearn(CallId(5)), []);
        assert_eq!(learner.knowledge.load().campaigns.len(), 1);
    }
}
