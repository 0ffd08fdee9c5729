//! May this source be heard at all? Runs before a datagram is parsed.
//!
//! In: the source of each datagram, and of each new call with its number. Out: pass, or drop and why. Limits are GCRA
//! (`governor`) on a clock that is handed in; a stranger that goes over is blocked, longer each time. Knows no SIP.
//!
//! Invariants: every table has a cap and forgets its longest unused entry in O(1); a flood of strangers can push out
//! neither a trusted source nor a block, because each kind has a table of its own; datagrams, whose source anybody can
//! forge, take nothing from the limits of what comes on connections. A known source costs no allocation.

mod gate_settings;
mod overload;
mod source;

pub use gate_settings::{Rate, Settings};
pub use overload::{Overload, Shed, Turn};
pub use source::SourceKey;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use governor::clock::{Clock, FakeRelativeClock};
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use lru::LruCache;

/// Events that wait for their reader; beyond that the oldest are lost (the blocks themselves are not).
const MAX_EVENTS: usize = 256;

/// Sources that are remembered for having shown a trunk's secret: a provider has fewer gateways.
const VOUCHED: NonZeroUsize = NonZeroUsize::new(256).unwrap();

/// Blocks of an operator in a row that no other pushes out.
const MOST_KEPT: usize = 1_000;

/// Calls for help that pass a spent limit.
const HELP_A_SECOND: u32 = 20;

/// Blocks that are shown at a time. A flood of forged sources makes as many as the table holds, and this is done every
/// second beside the calls.
const MAX_SHOWN: usize = 1_000;

type Limiter =
    RateLimiter<NotKeyed, InMemoryState, FakeRelativeClock, NoOpMiddleware<<FakeRelativeClock as Clock>::Instant>>;

/// May a datagram be parsed?
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Admission {
    /// Yes.
    Pass,
    /// No; it gets no answer.
    Drop(DropReason),
}

/// Why a datagram is dropped.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum DropReason {
    /// `networks.deny`.
    Denied,
    /// The source is blocked.
    Blocked,
    /// The source sends more than `limits.messages_per_source` (or `messages_per_trunk`).
    OverMessageLimit,
    /// Messages come faster than they are handled, and others go first; or one source holds its share of the tables.
    Overload,
}

impl DropReason {
    /// Fixed word for metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Denied => "denied",
            Self::Blocked => "blocked",
            Self::OverMessageLimit => "over_message_limit",
            Self::Overload => "overload",
        }
    }
}

/// May a new call go on?
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CallAdmission {
    /// Yes.
    Pass,
    /// The source starts more calls than `limits.per_source`.
    OverSource,
    /// The number starts more calls than `limits.per_number`.
    OverNumber,
}

/// Why a source is blocked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BlockReason {
    /// It sent more than `limits.messages_per_source`.
    Messages,
    /// An operator wants it so.
    Operator,
}

impl BlockReason {
    /// Fixed word for logs and the API.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Messages => "messages",
            Self::Operator => "operator",
        }
    }
}

/// A source that is not heard for a while.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Block {
    /// Address; of IPv6 the /64.
    pub source: IpAddr,
    /// Why.
    pub reason: BlockReason,
    /// Start.
    pub since: Instant,
    /// End.
    pub until: Instant,
    /// How often it has been blocked.
    pub times: u32,
    /// Datagrams dropped since the start.
    pub dropped: u64,
}

/// What operators are told.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum GateEvent {
    /// A source is blocked from now on.
    Blocked(Block),
    /// A block is over.
    Expired {
        /// Whose.
        source: IpAddr,
    },
}

/// What is limited, once for each way it may come.
struct Ways<T> {
    /// Of whoever names the source.
    datagrams: T,
    /// Of the source itself, as nobody else can have a connection from there. None: there has been none.
    connections: Option<Box<T>>,
}

impl<T> Ways<T> {
    /// `proven`: it came on a connection.
    fn way(&mut self, proven: bool, new: impl FnOnce() -> T) -> &mut T {
        if proven { self.connections.get_or_insert_with(|| Box::new(new())) } else { &mut self.datagrams }
    }

    fn each(&mut self) -> impl Iterator<Item = &mut T> {
        std::iter::once(&mut self.datagrams).chain(self.connections.as_deref_mut())
    }
}

/// A source that we have heard of.
struct Source {
    messages: Limiter,
    calls: Option<Limiter>,
}

/// A number that has called.
struct Number {
    calls: Limiter,
    /// It is over its limit until then.
    over_until: Option<Instant>,
}

/// Limits and blocks of one shard.
pub struct Gate {
    settings: Arc<Settings>,
    clock: FakeRelativeClock,
    now: Instant,
    /// Blocks that ended until then have been told of.
    told_until: Instant,
    strangers: LruCache<SourceKey, Ways<Source>>,
    trusted: LruCache<SourceKey, Ways<Source>>,
    blocks: LruCache<SourceKey, Block>,
    /// Sources that no setting names and that are a trunk's all the same. Nobody can have them blocked by forging their
    /// address.
    vouched: LruCache<SourceKey, ()>,
    numbers: LruCache<Box<str>, Ways<Number>>,
    events: VecDeque<GateEvent>,
    help: Limiter,
}

impl Gate {
    /// Empty tables.
    #[must_use]
    pub fn new(settings: Arc<Settings>, now: Instant) -> Self {
        let cap = NonZeroUsize::new(settings.max_sources).unwrap_or(NonZeroUsize::MIN);
        let clock = FakeRelativeClock::default();
        Self {
            settings,
            help: limiter(Rate::new(HELP_A_SECOND, Duration::from_secs(1)), &clock),
            clock,
            now,
            told_until: now,
            strangers: LruCache::new(cap),
            trusted: LruCache::new(cap),
            blocks: LruCache::new(cap),
            vouched: LruCache::new(VOUCHED),
            numbers: LruCache::new(cap),
            events: VecDeque::new(),
        }
    }

    fn advance(&mut self, now: Instant) {
        self.clock.advance(now.saturating_duration_since(self.now));
        self.now = self.now.max(now);
    }

    /// One message from `source`. `proven`: on a connection, or it is one; else a datagram.
    pub fn message(&mut self, source: IpAddr, proven: bool, now: Instant) -> Admission {
        self.advance(now);
        if self.settings.is_allowed(source) {
            return Admission::Pass;
        }
        if self.settings.is_denied(source) {
            return Admission::Drop(DropReason::Denied);
        }
        let key = SourceKey::of(source);
        if self.is_trusted(source) {
            let known = known(&mut self.trusted, key, proven, self.settings.messages_per_trunk, &self.clock);
            // Its address may be forged, so even a trunk has a limit; but nobody can have it blocked.
            return if known.messages.check().is_ok() { Admission::Pass } else { over() };
        }
        if let Some(block) = self.blocks.get_mut(&key)
            && block.until > now
        {
            block.dropped += 1;
            return Admission::Drop(DropReason::Blocked);
        }
        let known = known(&mut self.strangers, key, proven, self.settings.messages_per_source, &self.clock);
        if known.messages.check().is_ok() {
            return Admission::Pass;
        }
        self.start_block(key, BlockReason::Messages, None, now);
        over()
    }

    /// May a call for help be read, though its source is over its limit? Its address may be forged: so many may, and a
    /// lost one is repeated.
    pub fn helps(&mut self, now: Instant) -> bool {
        self.advance(now);
        self.help.check().is_ok()
    }

    /// One new call, `proven` as a message is. Calls from `networks.allow` are not counted. Those of a number that is
    /// over its limit take nothing from the source's, which others call through; and one of a source that is over its
    /// limit makes no number known, of which a flood could show any.
    pub fn call(&mut self, source: IpAddr, proven: bool, number: Option<&str>, now: Instant) -> CallAdmission {
        self.advance(now);
        if self.settings.is_allowed(source) {
            return CallAdmission::Pass;
        }
        let Settings { messages_per_source, messages_per_trunk, calls_per_source, calls_per_number, .. } =
            *self.settings;
        let (now, clock) = (self.now, &self.clock);
        let new = || Number { calls: limiter(calls_per_number, clock), over_until: None };
        if let Some(ways) = number.and_then(|number| self.numbers.get_mut(number))
            && ways.way(proven, new).over_until.is_some_and(|until| until > now)
        {
            return CallAdmission::OverNumber;
        }
        let trusted = self.is_trusted(source);
        let (table, messages) =
            if trusted { (&mut self.trusted, messages_per_trunk) } else { (&mut self.strangers, messages_per_source) };
        let known = known(table, SourceKey::of(source), proven, messages, clock);
        let calls = known.calls.get_or_insert_with(|| limiter(calls_per_source, clock));
        if calls.check().is_err() {
            return CallAdmission::OverSource;
        }
        let Some(number) = number else { return CallAdmission::Pass };
        if !self.numbers.contains(number) {
            self.numbers.put(number.into(), Ways { datagrams: new(), connections: None });
        }
        let Some(ways) = self.numbers.get_mut(number) else { return CallAdmission::Pass };
        let known = ways.way(proven, new);
        let Err(over) = known.calls.check() else { return CallAdmission::Pass };
        known.over_until = Some(now + over.wait_time_from(clock.now()));
        CallAdmission::OverNumber
    }

    /// `length`: None: the first one, doubled for each block before.
    fn start_block(&mut self, key: SourceKey, reason: BlockReason, length: Option<Duration>, now: Instant) {
        let forget = self.settings.longest_block;
        let before = self.blocks.get(&key).filter(|block| now.saturating_duration_since(block.until) < forget);
        let times = before.map_or(0, |block| block.times).saturating_add(1);
        let doubled = self.settings.block_for.saturating_mul(1 << (times - 1).min(20));
        let length = length.unwrap_or(doubled.min(self.settings.longest_block));
        let block = Block { source: key.address(), reason, since: now, until: now + length, times, dropped: 0 };
        self.make_room(now);
        self.blocks.put(key, block.clone());
        // It begins anew after the block, not with a spent limit that would block it again at once.
        self.strangers.pop(&key);
        self.tell(GateEvent::Blocked(block));
    }

    /// Where the next block finds no room, the one that has been of use least lately goes, but none that an operator
    /// wants: a flood of forged sources would else lift those.
    fn make_room(&mut self, now: Instant) {
        if self.blocks.len() < self.blocks.cap().get() {
            return;
        }
        for _ in 0..MOST_KEPT {
            let oldest = self.blocks.peek_lru();
            let wanted = oldest.filter(|(_, block)| block.reason == BlockReason::Operator && block.until > now);
            let Some(key) = wanted.map(|(key, _)| *key) else { return };
            self.blocks.promote(&key);
        }
    }

    fn tell(&mut self, event: GateEvent) {
        if self.events.len() >= MAX_EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    /// New settings. Counters stay where their limit stays; blocks stay until they expire or are lifted.
    pub fn set(&mut self, settings: Arc<Settings>, now: Instant) {
        self.advance(now);
        let old = std::mem::replace(&mut self.settings, settings);
        let new = &self.settings;
        if new.max_sources != old.max_sources
            && let Some(cap) = NonZeroUsize::new(new.max_sources)
        {
            self.strangers.resize(cap);
            self.trusted.resize(cap);
            self.blocks.resize(cap);
            self.numbers.resize(cap);
        }
        if new.messages_per_source != old.messages_per_source {
            self.strangers.clear();
        }
        if new.messages_per_trunk != old.messages_per_trunk {
            self.trusted.clear();
        }
        if new.calls_per_source != old.calls_per_source {
            for (_, ways) in self.strangers.iter_mut().chain(self.trusted.iter_mut()) {
                ways.each().for_each(|source| source.calls = None);
            }
        }
        if new.calls_per_number != old.calls_per_number {
            self.numbers.clear();
        }
    }

    /// Blocks in force, and how often they have dropped something: those that did so last, and so many at most. Expired
    /// ones are reported and then only remembered for their length.
    pub fn blocks(&mut self, now: Instant) -> Vec<Block> {
        self.advance(now);
        self.blocks.iter().map(|(_, block)| block).filter(|block| block.until > now).take(MAX_SHOWN).cloned().collect()
    }

    /// Of the blocked sources with at least so many drops, those with the most: who may be kept out before we read
    /// anything. Nobody who would be heard is among them.
    #[must_use]
    pub fn worst(&self, at_least: u64, most: usize, now: Instant) -> Vec<IpAddr> {
        let heard = |ip: IpAddr| self.settings.is_allowed(ip) || self.is_trusted(ip);
        let blocks = self.blocks.iter().map(|(_, block)| block);
        let mut worst: Vec<&Block> =
            blocks.filter(|block| block.until > now && block.dropped >= at_least && !heard(block.source)).collect();
        worst.sort_unstable_by_key(|block| (std::cmp::Reverse(block.dropped), block.source));
        worst.iter().take(most).map(|block| block.source).collect()
    }

    /// Tells of expired blocks and forgets old ones. Called about once a second; looks at each block.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.advance(now);
        let since = std::mem::replace(&mut self.told_until, self.now);
        let now = self.now;
        let expired: Vec<IpAddr> = self
            .blocks
            .iter()
            .filter(|(_, block)| block.until <= now && block.until > since)
            .map(|(_, block)| block.source)
            .collect();
        for source in expired {
            self.tell(GateEvent::Expired { source });
        }
        let forget = self.settings.longest_block;
        while let Some((_, oldest)) = self.blocks.peek_lru()
            && now.saturating_duration_since(oldest.until) >= forget
        {
            self.blocks.pop_lru();
        }
    }

    /// Lifts a block and forgets that it was. False: there was none.
    pub fn lift(&mut self, source: IpAddr) -> bool {
        let Some(block) = self.blocks.pop(&SourceKey::of(source)).filter(|block| block.until > self.now) else {
            return false;
        };
        self.tell(GateEvent::Expired { source: block.source });
        true
    }

    /// A message of `source` has shown what only a trunk knows: from now on it is limited and not blocked. False: an
    /// operator wants it blocked, or denied.
    pub fn vouch(&mut self, source: IpAddr, now: Instant) -> bool {
        self.advance(now);
        let key = SourceKey::of(source);
        let wanted = |block: &Block| block.reason == BlockReason::Operator && block.until > now;
        if self.settings.is_denied(source) || self.blocks.peek(&key).is_some_and(wanted) {
            return false;
        }
        self.vouched.put(key, ());
        self.lift(source);
        true
    }

    fn is_trusted(&self, source: IpAddr) -> bool {
        self.settings.is_trusted(source) || self.vouched.contains(&SourceKey::of(source))
    }

    /// A block by an operator. False: the source is trusted or allowed and cannot be blocked this way.
    pub fn block(&mut self, source: IpAddr, length: Duration, now: Instant) -> bool {
        self.advance(now);
        if self.settings.is_allowed(source) || self.settings.is_trusted(source) {
            return false;
        }
        self.vouched.pop(&SourceKey::of(source));
        self.start_block(SourceKey::of(source), BlockReason::Operator, Some(length), now);
        true
    }

    /// What happened, oldest first.
    pub fn poll_event(&mut self) -> Option<GateEvent> {
        self.events.pop_front()
    }

    /// Entries of the tables: sources, numbers.
    #[must_use]
    pub fn sizes(&self) -> (usize, usize) {
        (self.strangers.len() + self.trusted.len() + self.blocks.len(), self.numbers.len())
    }
}

fn over() -> Admission {
    Admission::Drop(DropReason::OverMessageLimit)
}

/// The entry of `key`, made if there is none; the longest unused one goes if there is no room.
fn known<'a>(
    table: &'a mut LruCache<SourceKey, Ways<Source>>,
    key: SourceKey,
    proven: bool,
    messages: Rate,
    clock: &FakeRelativeClock,
) -> &'a mut Source {
    let new = || Source { messages: limiter(messages, clock), calls: None };
    table.get_or_insert_mut(key, || Ways { datagrams: new(), connections: None }).way(proven, new)
}

fn limiter(rate: Rate, clock: &FakeRelativeClock) -> Limiter {
    // `governor` has no quota for "n in a span" but one per period and a burst; they are the same.
    let quota = Quota::with_period(rate.span / rate.count.get())
        .unwrap_or_else(|| Quota::per_second(rate.count))
        .allow_burst(rate.burst);
    RateLimiter::direct_with_clock(quota, clock.clone())
}

#[cfg(test)]
mod tests;
