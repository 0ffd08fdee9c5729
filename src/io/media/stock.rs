//! Sockets that outlive their call, and lie ready for the next.
//!
//! To open, watch and close the four sockets of a call costs more than all else that a short call asks of this thread,
//! and its INVITE would have to wait for it. So they stay open when it ends. They rest: what still comes is read and
//! thrown away, and only a set on which nothing has come for [`QUIET`] is taken again, the one that has rested longest
//! first. A set that nobody has sent to in its call rests for [`BRIEF`]. Where calls follow each other closely, some
//! such sets lie on a [`Shelf`], from which the signalling takes them without asking. Sets belong to a pair of local
//! addresses; there are as many as the listening sockets make.
//!
//! In: sets whose call is over. Out: sets for the next call, and those to close. Bounded by its owner's files and
//! ports.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::call::Sockets;
use crate::units::{Leg, PerLeg};

/// A set is taken again when nothing has come on it for so long: its old peers have stopped, which is seen here and not
/// guessed. The latch keeps strangers out in any case.
const QUIET: Duration = Duration::from_secs(2);
/// The same, where nothing has come in its call either: what might still come is on its way already.
const BRIEF: Duration = Duration::from_millis(250);
/// Sets that nobody has needed for so long are closed.
const IDLE: Duration = Duration::from_secs(30);
/// Most sets that lie ready.
const SHELF: usize = 32;
/// So many lie ready at first, once a second call within [`CLOSE`] has had to wait.
const FEW: usize = 4;
/// Calls follow each other closely.
const CLOSE: Duration = Duration::from_secs(1);
/// Pairs of local addresses that have a shelf.
const LINES: usize = 8;
/// Resting sets that are looked at for a quiet one.
const LOOKS: usize = 8;

/// A set that lies ready.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Set {
    /// Its place in the thread's tables.
    pub(super) slot: usize,
    pub(super) ports: PerLeg<u16>,
}

/// Sets that the signalling may take.
#[derive(Debug, Default)]
pub(super) struct Shelf(Mutex<Vec<(PerLeg<IpAddr>, VecDeque<Set>)>>);

impl Shelf {
    /// A set at these addresses, if one is ready.
    pub(super) fn take(&self, local: PerLeg<IpAddr>) -> Option<Set> {
        self.with(local, VecDeque::pop_front)
    }

    pub(super) fn put(&self, local: PerLeg<IpAddr>, set: Set) {
        self.with(local, |sets| sets.push_back(set));
    }

    fn len(&self, local: PerLeg<IpAddr>) -> usize {
        self.with(local, |sets| sets.len())
    }

    fn with<T>(&self, local: PerLeg<IpAddr>, change: impl FnOnce(&mut VecDeque<Set>) -> T) -> T {
        // Poisoned only by a panic between two changes of ours.
        let mut sets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match sets.iter_mut().find(|(at, _)| *at == local) {
            Some((_, sets)) => change(sets),
            None => {
                let mut new = VecDeque::new();
                let result = change(&mut new);
                if !new.is_empty() {
                    sets.push((local, new));
                }
                result
            }
        }
    }
}

/// A set without a call.
struct KeptSet {
    sockets: PerLeg<Sockets>,
    /// Its call ended, or it was opened.
    ended: Instant,
    /// It began to rest.
    since: Instant,
    /// It counts as quiet from then on, unless something comes.
    quiet_at: Instant,
}

/// Sets that rest, by slot, in the order in which they began.
struct Resting {
    /// For so long.
    span: Duration,
    slots: VecDeque<usize>,
}

/// Sets of one pair of addresses.
struct Line {
    local: PerLeg<IpAddr>,
    /// After calls without media, and after all others.
    resting: [Resting; 2],
    /// So many are to lie ready.
    wanted: usize,
    /// A call had to wait.
    missed: Option<Instant>,
    /// A call last began.
    used: Instant,
}

/// All sets of one thread that have no call.
pub(super) struct Stock {
    shelf: Arc<Shelf>,
    /// By slot.
    kept: Vec<Option<KeptSet>>,
    lines: Vec<Line>,
    count: usize,
}

impl Stock {
    pub(super) fn new(shelf: Arc<Shelf>) -> Self {
        Self { shelf, kept: Vec::new(), lines: Vec::new(), count: 0 }
    }

    /// Sets, on the shelf and resting.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Sets that rest.
    pub(super) fn resting(&self) -> usize {
        self.lines.iter().flat_map(|line| &line.resting).map(|resting| resting.slots.len()).sum()
    }

    /// A call at these addresses begins. `waited`: it had to ask for its set.
    pub(super) fn begins(&mut self, local: PerLeg<IpAddr>, waited: bool, now: Instant) {
        let Some(line) = self.line(local, now) else { return };
        line.used = now;
        if waited {
            let close = line.missed.is_some_and(|before| now.saturating_duration_since(before) < CLOSE);
            line.wanted = if close { (line.wanted * 2).clamp(FEW, SHELF) } else { line.wanted };
            line.missed = Some(now);
        }
    }

    /// The call in `slot` is over. Back: its sockets, where there is no line for them.
    pub(super) fn keep(&mut self, slot: usize, sockets: PerLeg<Sockets>, now: Instant) -> Option<PerLeg<Sockets>> {
        let used = Leg::BOTH.iter().any(|leg| sockets[*leg].round.is_some());
        let Some(line) = self.line(addresses(&sockets), now) else { return Some(sockets) };
        let [brief, long] = &mut line.resting;
        let resting = if used { long } else { brief };
        resting.slots.push_back(slot);
        let quiet_at = now + resting.span;
        self.insert(slot, KeptSet { sockets, ended: now, since: now, quiet_at });
        None
    }

    /// A set that has just been opened goes on the shelf.
    pub(super) fn shelve_new(&mut self, slot: usize, sockets: PerLeg<Sockets>, now: Instant) {
        let (local, ports) = (addresses(&sockets), ports(&sockets));
        // Nobody has had its ports.
        self.insert(slot, KeptSet { sockets, ended: now, since: now, quiet_at: now });
        self.shelf.put(local, Set { slot, ports });
    }

    /// The set of a slot, for a call or to be closed. It has been taken from the shelf, or was found by another method.
    pub(super) fn remove(&mut self, slot: usize) -> Option<PerLeg<Sockets>> {
        let kept = self.kept.get_mut(slot)?.take()?;
        self.count -= 1;
        Some(kept.sockets)
    }

    /// A set at these addresses for a call, from the shelf or rested.
    pub(super) fn ready(&mut self, local: PerLeg<IpAddr>, now: Instant) -> Option<usize> {
        self.shelf.take(local).map(|set| set.slot).or_else(|| self.rested(local, now))
    }

    /// Puts what has rested on the shelf. The addresses for which sets are still missing.
    pub(super) fn fill(&mut self, now: Instant) -> Option<PerLeg<IpAddr>> {
        let mut lacking = None;
        for number in 0..self.lines.len() {
            let Some(Line { local, wanted, .. }) = self.lines.get(number) else { continue };
            let (local, wanted) = (*local, *wanted);
            for _ in self.shelf.len(local)..wanted {
                match self.rested(local, now) {
                    Some(slot) => self.shelve(slot),
                    None => {
                        lacking = Some(local);
                        break;
                    }
                }
            }
        }
        lacking
    }

    /// The sockets of a set, for what has come on them.
    pub(super) fn heard(&mut self, slot: usize, now: Instant) -> Option<&PerLeg<Sockets>> {
        let kept = self.kept.get_mut(slot)?.as_mut()?;
        kept.quiet_at = now + QUIET;
        Some(&kept.sockets)
    }

    /// One that others need more than its own addresses do: a quiet one of another line.
    pub(super) fn spare(&mut self, local: PerLeg<IpAddr>, now: Instant) -> Option<usize> {
        let others: Vec<_> = self.lines.iter().map(|line| line.local).filter(|other| *other != local).collect();
        others.into_iter().find_map(|other| self.rested(other, now).or_else(|| Some(self.shelf.take(other)?.slot)))
    }

    /// Where nothing else is left, one whose call is long enough over though somebody still sends to it. A stranger who
    /// sends to every port would else keep all calls out; its audio stays out by the latch.
    pub(super) fn disturbed(&mut self, local: PerLeg<IpAddr>, now: Instant) -> Option<usize> {
        let Self { kept, lines, .. } = self;
        let line = lines.iter_mut().find(|line| line.local == local)?;
        let over = |slot: &usize| {
            let set = kept.get(*slot).and_then(Option::as_ref);
            set.is_some_and(|set| now.saturating_duration_since(set.ended) >= QUIET)
        };
        line.resting.iter_mut().find_map(|Resting { slots, .. }| {
            let place = slots.iter().take(LOOKS).position(over)?;
            slots.remove(place)
        })
    }

    /// The one that has rested longest, quiet or not.
    pub(super) fn oldest(&mut self) -> Option<usize> {
        let age = |resting: &&mut Resting| {
            let first = resting.slots.front().and_then(|slot| self.kept.get(*slot)?.as_ref());
            (first.is_none(), first.map(|kept| kept.since))
        };
        self.lines.iter_mut().flat_map(|line| &mut line.resting).min_by_key(age)?.slots.pop_front()
    }

    /// One that nobody has needed for long.
    pub(super) fn idle(&mut self, now: Instant) -> Option<usize> {
        let Self { shelf, kept, lines, .. } = self;
        let is_old = |at: Instant| now.saturating_duration_since(at) >= IDLE;
        lines.iter_mut().find_map(|line| {
            for Resting { slots, .. } in &mut line.resting {
                let first = slots.front().and_then(|slot| kept.get(*slot)?.as_ref());
                if first.is_some_and(|kept| is_old(kept.since)) {
                    return slots.pop_front();
                }
            }
            if !is_old(line.used) {
                return None;
            }
            line.wanted = 0;
            shelf.take(line.local).map(|set| set.slot)
        })
    }

    /// The set that has one of these ports, unless the signalling has taken it.
    pub(super) fn holder(&mut self, wanted: PerLeg<u16>) -> Option<usize> {
        let has = |kept: &KeptSet| {
            let ports = ports(&kept.sockets);
            [ports.caller, ports.callee].iter().any(|port| [wanted.caller, wanted.callee].contains(port))
        };
        let slot = self.kept.iter().position(|kept| kept.as_ref().is_some_and(has))?;
        let Self { shelf, lines, .. } = self;
        let found = lines.iter_mut().any(|line| {
            let rested = line.resting.iter_mut().any(|Resting { slots, .. }| {
                let before = slots.len();
                slots.retain(|resting| *resting != slot);
                slots.len() < before
            });
            let shelved = |sets: &mut VecDeque<Set>| {
                let before = sets.len();
                sets.retain(|set| set.slot != slot);
                sets.len() < before
            };
            rested || shelf.with(line.local, shelved)
        });
        found.then_some(slot)
    }

    /// Has nothing come on it for long enough?
    pub(super) fn is_quiet(&self, slot: usize, now: Instant) -> bool {
        let kept = self.kept.get(slot).and_then(Option::as_ref);
        kept.is_some_and(|kept| now >= kept.quiet_at)
    }

    fn rested(&mut self, local: PerLeg<IpAddr>, now: Instant) -> Option<usize> {
        let Self { kept, lines, .. } = self;
        let line = lines.iter_mut().find(|line| line.local == local)?;
        let [brief, long] = &mut line.resting;
        for _ in 0..LOOKS {
            let first = |resting: &Resting| Some((*resting.slots.front()?, resting.span));
            let is_rested = |(slot, span): &(usize, Duration)| {
                let set = kept.get(*slot).and_then(Option::as_ref);
                set.is_none_or(|set| now.saturating_duration_since(set.since) >= *span)
            };
            let from_brief = first(brief).filter(is_rested).and_then(|_| brief.slots.pop_front());
            let slot = from_brief.or_else(|| first(long).filter(is_rested).and_then(|_| long.slots.pop_front()))?;
            let Some(set) = kept.get_mut(slot).and_then(Option::as_mut) else { continue };
            if now >= set.quiet_at {
                return Some(slot);
            }
            // Somebody still sends there: it rests from the beginning.
            set.since = now;
            long.slots.push_back(slot);
        }
        None
    }

    fn shelve(&mut self, slot: usize) {
        if let Some(kept) = self.kept.get(slot).and_then(Option::as_ref) {
            self.shelf.put(addresses(&kept.sockets), Set { slot, ports: ports(&kept.sockets) });
        }
    }

    fn insert(&mut self, slot: usize, set: KeptSet) {
        if self.kept.len() <= slot {
            self.kept.resize_with(slot + 1, || None);
        }
        if let Some(entry) = self.kept.get_mut(slot) {
            *entry = Some(set);
            self.count += 1;
        }
    }

    fn line(&mut self, local: PerLeg<IpAddr>, now: Instant) -> Option<&mut Line> {
        let found = self.lines.iter().position(|line| line.local == local);
        let number = found.or_else(|| {
            let resting = [BRIEF, QUIET].map(|span| Resting { span, slots: VecDeque::new() });
            let line = Line { local, resting, wanted: 0, missed: None, used: now };
            (self.lines.len() < LINES).then(|| self.lines.push(line)).map(|()| self.lines.len() - 1)
        })?;
        self.lines.get_mut(number)
    }
}

fn addresses(sockets: &PerLeg<Sockets>) -> PerLeg<IpAddr> {
    PerLeg::from_fn(|leg| sockets[leg].address.ip())
}

fn ports(sockets: &PerLeg<Sockets>) -> PerLeg<u16> {
    PerLeg::from_fn(|leg| sockets[leg].address.port())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::net::{Ipv4Addr, UdpSocket};

    use super::*;

    const LOCAL: PerLeg<IpAddr> =
        PerLeg { caller: IpAddr::V4(Ipv4Addr::LOCALHOST), callee: IpAddr::V4(Ipv4Addr::LOCALHOST) };

    fn stock() -> (Stock, Arc<Shelf>) {
        let shelf = Arc::new(Shelf::default());
        (Stock::new(shelf.clone()), shelf)
    }

    fn set() -> PerLeg<Sockets> {
        set_with(Some(1))
    }

    fn set_with(round: Option<u32>) -> PerLeg<Sockets> {
        PerLeg::from_fn(|leg| {
            let bind = || UdpSocket::bind((LOCAL[leg], 0)).unwrap();
            let (rtp, rtcp) = (bind(), bind());
            let address = rtp.local_addr().unwrap();
            Sockets { rtp, rtcp, address, round }
        })
    }

    #[test]
    fn the_set_that_has_been_quiet_longest_is_taken_again() {
        let (mut stock, _) = stock();
        let start = crate::io::clock::now();
        assert!((0..3).all(|slot| stock.keep(slot, set(), start + QUIET / 4 * slot as u32).is_none()));
        assert_eq!((stock.ready(LOCAL, start + QUIET / 2), stock.len(), stock.resting()), (None, 3, 3));

        // Somebody still sends to the first one.
        stock.heard(0, start + QUIET / 2).unwrap();
        let later = start + QUIET + QUIET / 4;
        assert_eq!(stock.ready(LOCAL, later), Some(1));
        assert_eq!(stock.ready(LOCAL, later), None);
        assert_eq!(stock.ready(LOCAL, start + QUIET * 2), Some(2));
        assert_eq!(stock.ready(LOCAL, later + QUIET), Some(0), "it rests from the beginning");
        assert!((0..3).all(|slot| stock.remove(slot).is_some()));
        assert_eq!((stock.len(), stock.resting()), (0, 0));
    }

    #[test]
    fn a_set_without_media_is_taken_again_soon_unless_some_come_late() {
        let (mut stock, _) = stock();
        let start = crate::io::clock::now();
        assert!(stock.keep(0, set(), start).is_none());
        assert!((1..3).all(|slot| stock.keep(slot, set_with(None), start).is_none()));
        stock.heard(1, start + BRIEF / 2).unwrap();

        assert_eq!(stock.ready(LOCAL, start + BRIEF / 2), None);
        assert_eq!(stock.ready(LOCAL, start + BRIEF), Some(2));
        assert_eq!((stock.ready(LOCAL, start + BRIEF), stock.resting()), (None, 2));
        assert_eq!(stock.ready(LOCAL, start + QUIET), Some(0));
        assert_eq!(stock.ready(LOCAL, start + BRIEF + QUIET), Some(1));
    }

    #[test]
    fn a_stranger_who_sends_to_every_port_keeps_nobody_out() {
        let (mut stock, _) = stock();
        let start = crate::io::clock::now();
        assert!((0..3).all(|slot| stock.keep(slot, set(), start).is_none()));
        let later = start + QUIET;
        assert!((0..3).all(|slot| stock.heard(slot, later).is_some()));

        assert_eq!((stock.disturbed(LOCAL, start + QUIET / 2), stock.ready(LOCAL, later)), (None, None));
        let taken: Vec<_> = std::iter::from_fn(|| stock.disturbed(LOCAL, later)).collect();
        assert_eq!(taken, [0, 1, 2]);
    }

    #[test]
    fn sets_lie_ready_once_two_calls_in_a_row_have_waited_and_until_none_come() {
        let (mut stock, shelf) = stock();
        let now = crate::io::clock::now();
        stock.begins(LOCAL, true, now);
        assert_eq!(stock.fill(now), None);
        stock.begins(LOCAL, true, now + CLOSE / 2);
        assert_eq!(stock.fill(now), Some(LOCAL), "there is none yet");

        for slot in 0..FEW {
            stock.shelve_new(slot, set(), now);
        }
        assert_eq!(stock.fill(now), None);
        assert_eq!(stock.idle(now + IDLE), None);
        let taken = shelf.take(LOCAL).unwrap();
        assert_eq!(taken.slot, 0);
        assert_eq!(stock.holder(taken.ports), None, "it is a call's");
        let sockets = stock.remove(taken.slot).unwrap();
        assert_eq!(taken.ports.caller, sockets.caller.address.port());

        let end = now + CLOSE + IDLE;
        let closed: Vec<_> = std::iter::from_fn(|| stock.idle(end)).collect();
        assert_eq!((closed, stock.fill(end)), (vec![1, 2, 3], None));
    }

    #[test]
    fn ports_of_a_set_that_others_need_more_are_found() {
        let (mut stock, _) = stock();
        let elsewhere = PerLeg { callee: IpAddr::V4(Ipv4Addr::new(127, 0, 0, 9)), ..LOCAL };
        let now = crate::io::clock::now();
        let mine = set();
        let ports = ports(&mine);
        stock.keep(7, mine, now);

        assert_eq!((stock.spare(LOCAL, now + QUIET), stock.spare(elsewhere, now)), (None, None));
        assert_eq!(stock.spare(elsewhere, now + QUIET), Some(7));
        let again = stock.remove(7).unwrap();
        stock.keep(3, again, now);
        assert_eq!((stock.holder(ports), stock.oldest()), (Some(3), None));
    }
}
