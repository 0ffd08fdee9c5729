//! A seeded network between reference telephones and one real switchboard, in fake time.
//!
//! Trunk and PBX are telephones that repeat by RFC 3261 themselves (`phone`). Between them and Ringfence datagrams are
//! lost, doubled, late, out of order, and for some seconds not carried at all. Many calls run at once; each draws a
//! scenario, its times and its network from dice of its own, so that [`World::alone`] plays any one again.
//!
//! What must hold is looked at all the time and once all time has passed; see [`World::finish`].

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    dead_code,
    unreachable_pub,
    reason = "test helpers, not all used by each suite"
)]

mod dice;
mod message;
mod phone;
mod scenario;
mod scripts;
#[path = "../world/mod.rs"]
mod world;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dice::Dice;
use message::{Read, response, summary};
use phone::{Phone, TO_VIDEO};
use ringfence::call::{self, DivertCallee, DivertCaller, EndReason, Entry as Kept, Event, Input, Output, Switchboard};
use ringfence::io::clock;
use ringfence::policy::action::{Rejection, Route};
use ringfence::policy::judge::{Class, Verdict};
use ringfence::policy::number::Country;
use ringfence::policy::rules::{Called, Condition, Policy, Rule};
use ringfence::rtp::control::{MediaCommand, MediaEvent, PlayId};
use ringfence::sip::flow::Flow;
use ringfence::units::{CallId, CallTime, Leg, PerLeg, Ratio};
use scenario::{Do, Script};
use world::{PBX, TRUNK, US_INSIDE, US_OUTSIDE};

/// The media path looks for silence this often; twice silent is silent.
const MEDIA_CHECK: Duration = Duration::from_secs(15);
/// 64*T1: what has been answered is known for so long.
const REMEMBERED: Duration = Duration::from_secs(32);
/// A run with so many is given up.
const MOST_VIOLATIONS: usize = 1_000;
/// Longer than any datagram travels twice.
const SETTLED: Duration = Duration::from_millis(2_500);

/// What a run is made from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Network {
    pub(crate) seed: u64,
    /// Share of datagrams that never arrive.
    pub(crate) loss: f64,
    /// Share that arrives twice.
    pub(crate) doubled: f64,
    /// Share that takes up to a second, past whatever is sent after it.
    pub(crate) late: f64,
    /// Share of calls that meet some seconds in which nothing is carried.
    pub(crate) outages: f64,
    /// Calls that begin in a second.
    pub(crate) pace: u64,
}

impl Network {
    pub(crate) fn lossy(seed: u64, loss: f64) -> Self {
        Self { seed, loss, doubled: 0.03, late: 0.05, outages: 0.05, pace: 20 }
    }

    pub(crate) fn perfect(seed: u64) -> Self {
        Self { seed, loss: 0.0, doubled: 0.0, late: 0.0, outages: 0.0, pace: 20 }
    }
}

/// What became of the calls of one scenario.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Count {
    pub(crate) calls: u64,
    /// Ended as the scenario would in a network that loses nothing.
    pub(crate) as_meant: u64,
}

/// Figures of a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) scenarios: BTreeMap<&'static str, Count>,
    pub(crate) answered: u64,
    /// Ended with video in force.
    pub(crate) shown: u64,
    pub(crate) datagrams: u64,
    pub(crate) lost: u64,
    pub(crate) most_at_once: usize,
    pub(crate) simulated: Duration,
}

impl Tally {
    pub(crate) fn add(&mut self, other: &Self) {
        for (name, count) in &other.scenarios {
            let sum = self.scenarios.entry(name).or_default();
            sum.calls += count.calls;
            sum.as_meant += count.as_meant;
        }
        self.answered += other.answered;
        self.shown += other.shown;
        self.datagrams += other.datagrams;
        self.lost += other.lost;
        self.most_at_once = self.most_at_once.max(other.most_at_once);
        self.simulated += other.simulated;
    }
}

/// Something that must not be.
#[derive(Clone, Debug)]
pub(crate) struct Violation {
    /// None: of no one call.
    pub(crate) number: Option<u64>,
    pub(crate) scenario: &'static str,
    pub(crate) text: String,
}

/// One call as Ringfence counts it.
#[derive(Debug)]
struct Seen {
    id: CallId,
    began: u32,
    ended: Vec<&'static str>,
    opened: u32,
    closed: u32,
    /// The journal has it.
    kept: bool,
    answered: bool,
    silent: u32,
    plans: PerLeg<Option<u16>>,
    /// Which `Play` to a leg is the last.
    plays: PerLeg<u32>,
    video: Pictures,
}

/// A call's video.
#[derive(Debug, Default)]
struct Pictures {
    open: bool,
    plans: PerLeg<Option<u16>>,
}

/// One call as it was meant.
#[derive(Debug)]
struct Talk {
    number: u64,
    scenario: usize,
    script: Script,
    dice: Dice,
    phones: PerLeg<Phone>,
    due: PerLeg<Option<Duration>>,
    outage: Option<(Duration, Duration)>,
    calls: Vec<Seen>,
    /// INVITEs that have reached Ringfence, by branch, and the final answer that each has had first.
    invites: Vec<(String, Option<(u16, Duration)>)>,
    last_sdp: Duration,
}

/// What happens at some time.
#[derive(Debug)]
enum What {
    Begin,
    ToUs {
        talk: usize,
        leg: Leg,
        bytes: Arc<[u8]>,
    },
    ToPhone {
        talk: usize,
        leg: Leg,
        bytes: Arc<[u8]>,
    },
    PhoneDue {
        talk: usize,
        leg: Leg,
    },
    Step {
        talk: usize,
        what: Do,
    },
    Consulted {
        call: CallId,
    },
    Opened {
        talk: usize,
        call: CallId,
    },
    Finished {
        talk: usize,
        call: CallId,
        to: Leg,
        play: u32,
        name: PlayId,
    },
    MediaCheck {
        talk: usize,
        call: CallId,
    },
    /// The answer to an OPTIONS of the switchboard's own, from whom it asked.
    Probed {
        peer: SocketAddr,
        bytes: Arc<[u8]>,
    },
}

#[derive(Debug)]
struct Entry {
    at: Duration,
    order: u64,
    what: What,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// Switchboard, telephones, network, time.
pub(crate) struct World {
    switchboard: Switchboard,
    settings: Vec<Arc<call::Settings>>,
    network: Network,
    begun: Instant,
    now: Duration,
    queue: BinaryHeap<Reverse<Entry>>,
    order: u64,
    talks: Vec<Talk>,
    first: u64,
    to_begin: u64,
    calls: HashMap<CallId, usize>,
    addresses: [SocketAddr; 2],
    /// Of what belongs to no call.
    dice: Dice,
    tally: Tally,
    violations: Vec<Violation>,
    ladder: Option<String>,
}

/// Each thing that a diverted call may hear on either side.
fn all_settings() -> Vec<Arc<call::Settings>> {
    let rule = |name: &str, dials: &str, route| Rule {
        name: name.into(),
        when: vec![Condition::Called(Called::new([dials], Country::GB).unwrap())],
        route,
    };
    let rules = vec![
        rule("words", "301", Route::Reject(Rejection::Rejected)),
        rule("declined", "302", Route::Reject(Rejection::Decline)),
        rule("diverted", "303", Route::Divert),
    ];
    let policy = Arc::new(Policy { rules, ..Policy::default() });
    let mut all = Vec::new();
    for callee_hears in [DivertCallee::Announcement, DivertCallee::Silence, DivertCallee::HangUp] {
        for caller_hears in [DivertCaller::Announcement, DivertCaller::Silence, DivertCaller::HangUp] {
            let policy = Arc::clone(&policy);
            all.push(Arc::new(call::Settings {
                policy,
                callee_hears,
                caller_hears,
                max_calls: 20_000,
                ..world::settings()
            }));
        }
    }
    all
}

impl World {
    /// `count` calls, the first of them numbered `first`.
    pub(crate) fn new(network: Network, first: u64, count: u64) -> Self {
        let settings = all_settings();
        Self {
            switchboard: Switchboard::new(0, 1_700_000_000, [7; 16], Arc::clone(&settings[0])),
            settings,
            network,
            begun: clock::now(),
            now: Duration::ZERO,
            queue: BinaryHeap::new(),
            order: 0,
            talks: Vec::new(),
            first,
            to_begin: count,
            calls: HashMap::new(),
            addresses: [TRUNK.parse().unwrap(), PBX.parse().unwrap()],
            dice: Dice::of(network.seed, u64::MAX - first),
            tally: Tally::default(),
            violations: Vec::new(),
            ladder: None,
        }
    }

    /// Begins the next calls in the world as it is, once all that was before has been looked at.
    pub(crate) fn next_batch(&mut self, first: u64, count: u64) {
        self.talks.clear();
        self.calls.clear();
        (self.first, self.to_begin) = (first, count);
        self.tally = Tally::default();
        self.violations.clear();
    }

    /// One call, and its ladder.
    pub(crate) fn alone(network: Network, number: u64) -> (Vec<Violation>, String) {
        let mut world = Self::new(network, number, 1);
        world.ladder = Some(String::new());
        let (_, violations) = world.run();
        (violations, world.ladder.unwrap_or_default())
    }

    /// Until nothing is left to happen; then looks at what is left.
    pub(crate) fn run(&mut self) -> (Tally, Vec<Violation>) {
        let began = self.now;
        self.at(self.now, What::Begin);
        // With more than these something goes round for ever.
        while self.violations.len() < MOST_VIOLATIONS {
            let queued = self.queue.peek().map(|Reverse(entry)| entry.at);
            let timer = self.switchboard.poll_timeout().map(|at| at.saturating_duration_since(self.begun));
            match (queued, timer) {
                (None, None) => break,
                (Some(queued), timer) if timer.is_none_or(|timer| queued <= timer) => {
                    self.now = self.now.max(queued);
                    if let Some(Reverse(entry)) = self.queue.pop() {
                        self.happen(entry.what);
                    }
                }
                (_, timer) => {
                    self.now = self.now.max(timer.unwrap_or(self.now));
                    self.switchboard.handle_timeout(self.begun + self.now);
                    self.drain();
                }
            }
        }
        self.tally.simulated = self.now.saturating_sub(began);
        self.finish();
        (std::mem::take(&mut self.tally), std::mem::take(&mut self.violations))
    }

    fn at(&mut self, at: Duration, what: What) {
        self.order += 1;
        self.queue.push(Reverse(Entry { at, order: self.order, what }));
    }

    fn say(&mut self, line: impl FnOnce() -> String) {
        let ms = self.now.as_millis();
        if let Some(ladder) = &mut self.ladder {
            let _ = writeln!(ladder, "{ms:>7} {}", line());
        }
    }

    fn happen(&mut self, what: What) {
        match what {
            What::Begin => self.begin(),
            What::Probed { peer, bytes } => {
                self.input(Input::Message { bytes: &bytes, flow: Flow::datagram(0, peer) });
            }
            What::ToUs { talk, leg, bytes } => self.arrive(talk, leg, &bytes),
            What::ToPhone { talk, leg, bytes } => {
                self.say(|| format!("{:>14} < {}", leg.label(), summary(&String::from_utf8_lossy(&bytes))));
                let now = self.now;
                self.phone(talk, leg, |phone| phone.receive(std::str::from_utf8(&bytes).unwrap_or_default(), now));
            }
            What::PhoneDue { talk, leg } => {
                let now = self.now;
                if self.talks[talk].due[leg].is_some_and(|due| due <= now) {
                    self.talks[talk].due[leg] = None;
                    self.phone(talk, leg, |phone| phone.handle_timeout(now));
                }
            }
            What::Step { talk, what } => self.step(talk, what),
            What::Consulted { call } => {
                let over_limit = None;
                self.input(Input::Consulted { call, over_limit, dialled_before: false, hour: 12, weekday: 2 });
            }
            What::Opened { talk, call } => {
                // A pair for each call of the batch: no two calls share one.
                let port = 10_000 + (talk % 12_000) as u16 * 4;
                let video = call.of_video().is_some();
                let (first, second) = if video { (port + 2, port) } else { (port, port + 2) };
                let ports = PerLeg::from_fn(|leg| match leg {
                    Leg::Caller => SocketAddr::new(self.addresses[0].ip(), first),
                    Leg::Callee => SocketAddr::new(self.addresses[1].ip(), second),
                });
                let Talk { script, number, .. } = &self.talks[talk];
                let refused = script.no_ports || video && number % 7 == 3;
                let event = if refused { MediaEvent::Failed } else { MediaEvent::Opened { ports } };
                self.input(Input::Media { call, event });
            }
            What::Finished { talk, call, to, play, name } => {
                if self.seen(talk, call).is_some_and(|seen| seen.closed == 0 && seen.plays[to] == play) {
                    self.say(|| format!("played to {}", to.label()));
                    self.input(Input::Media { call, event: MediaEvent::Finished { to, play: name } });
                }
            }
            What::MediaCheck { talk, call } => self.media_check(talk, call),
        }
    }

    /// The next call begins, and the one after it is planned.
    fn begin(&mut self) {
        if self.to_begin == 0 {
            return;
        }
        self.to_begin -= 1;
        let talk = self.talks.len();
        let number = self.first + talk as u64;
        let mut dice = Dice::of(self.network.seed, number);
        let scenario = scenario::draw(&mut dice);
        let script = Script::of(scenario::ALL[scenario].0, &mut dice);
        let ends = if script.outbound {
            [(PBX, US_INSIDE), (TRUNK, US_OUTSIDE)]
        } else {
            [(TRUNK, US_OUTSIDE), (PBX, US_INSIDE)]
        };
        let mut caller = Phone::new(number, Leg::Caller, ends[0].0, ends[0].1);
        let mut callee = Phone::new(number, Leg::Callee, ends[1].0, ends[1].1);
        (caller.acks, caller.delayed_offer) = (script.acks, script.delayed_offer);
        (callee.ignores_cancel, callee.challenges) = (script.ignores_cancel, script.challenges);
        callee.slow_re_invite = script.slow_re_invite;
        (caller.timer, callee.timer) = (script.timer, script.timer);
        // Both show themselves, or one, or one only while nobody holds, or nobody.
        (caller.shows, callee.shows) = (matches!(number % 6, 0..=2), matches!(number % 6, 0 | 2 | 3));
        (caller.hides_on_hold, callee.hides_on_hold) = (number % 6 == 2, number % 6 == 2);
        callee.script.clone_from(&script.replies);
        callee.vanished = script.replies.is_empty();
        let outage = dice.chance(self.network.outages).then(|| {
            let from = self.now + dice.ms(0, 30_000);
            (from, from + dice.ms(500, 6_000))
        });
        for (after, what) in script.early.clone() {
            self.at(self.now + after, What::Step { talk, what });
        }
        let dials = script.dials;
        self.talks.push(Talk {
            number,
            scenario,
            script,
            dice,
            phones: PerLeg { caller, callee },
            due: PerLeg::default(),
            outage,
            calls: Vec::new(),
            invites: Vec::new(),
            last_sdp: Duration::ZERO,
        });
        let now = self.now;
        self.phone(talk, Leg::Caller, |phone| phone.invite(dials, now));
        self.at(self.now + Duration::from_millis(1_000 / self.network.pace), What::Begin);
    }

    fn step(&mut self, talk: usize, what: Do) {
        let now = self.now;
        self.say(|| format!("{what:?}"));
        match what {
            Do::Cancel => self.phone(talk, Leg::Caller, |phone| phone.cancel(now)),
            Do::EarlyBye => self.phone(talk, Leg::Caller, |phone| phone.early_bye(now)),
            Do::Bye(leg) => {
                self.check_plans(talk);
                self.phone(talk, leg, |phone| phone.bye(now));
            }
            Do::Hold(leg) => self.phone(talk, leg, |phone| phone.re_invite(true, now)),
            Do::Resume(leg) => self.phone(talk, leg, |phone| phone.re_invite(false, now)),
            Do::CancelReInvite(leg) => self.phone(talk, leg, |phone| phone.cancel_re_invite(now)),
            Do::Update(leg) => self.phone(talk, leg, |phone| phone.update(now)),
            Do::Info(leg) => self.phone(talk, leg, |phone| phone.plain("INFO", now)),
            Do::Options(leg) => self.phone(talk, leg, |phone| phone.plain("OPTIONS", now)),
            Do::Vanish(leg) => self.talks[talk].phones[leg].vanished = true,
            Do::Judge => {
                let verdict = Verdict {
                    at: CallTime::from_millis(5_000),
                    class: Class::PressKey,
                    probabilities: [Ratio::ZERO, Ratio::clamped(0.03), Ratio::ZERO, Ratio::clamped(0.97)],
                    reasons: Vec::new(),
                };
                self.tell(talk, |call| Input::Judged { call, verdict });
            }
            Do::TakeBack => {
                let event = MediaEvent::Digit { leg: Leg::Callee, digit: '9' };
                self.tell(talk, |call| Input::Media { call, event });
            }
            Do::HangUp => self.tell(talk, |call| Input::HangUp { call }),
            Do::MediaFails => self.tell(talk, |call| Input::Media { call, event: MediaEvent::Failed }),
        }
    }

    fn tell(&mut self, talk: usize, input: impl FnOnce(CallId) -> Input<'static>) {
        if let Some(call) = self.talks[talk].calls.last().map(|seen| seen.id) {
            self.input(input(call));
        }
    }

    /// Something is done with a telephone; what it says goes into the network.
    fn phone(&mut self, talk: usize, leg: Leg, change: impl FnOnce(&mut Phone)) {
        let phone = &mut self.talks[talk].phones[leg];
        change(phone);
        let out = std::mem::take(&mut phone.out);
        let confirmed = std::mem::take(&mut phone.confirmed);
        let due = phone.due();
        for bytes in out {
            self.say(|| format!("{} > {}", leg.label(), summary(&String::from_utf8_lossy(&bytes))));
            self.carry(talk, &bytes, |bytes| What::ToUs { talk, leg, bytes });
        }
        if confirmed {
            for (after, what) in self.talks[talk].script.later.clone() {
                self.at(self.now + after, What::Step { talk, what });
            }
        }
        if let Some(due) = due
            && self.talks[talk].due[leg].is_none_or(|planned| due < planned)
        {
            self.talks[talk].due[leg] = Some(due);
            self.at(due, What::PhoneDue { talk, leg });
        }
    }

    /// One datagram on its way, in whatever state it arrives.
    fn carry(&mut self, talk: usize, bytes: &Arc<[u8]>, what: impl Fn(Arc<[u8]>) -> What) {
        let network = self.network;
        let Talk { dice, outage, last_sdp, .. } = &mut self.talks[talk];
        if bytes.ends_with(b"a=sendrecv\r\n") || bytes.ends_with(b"only\r\n") {
            *last_sdp = self.now;
        }
        let mut copies = if dice.chance(network.doubled) { 2 } else { 1 };
        let cut = outage.is_some_and(|(from, to)| (from..to).contains(&self.now));
        if cut || dice.chance(network.loss) {
            copies = 0;
        }
        let mut arrivals = [None; 2];
        for arrival in arrivals.iter_mut().take(copies) {
            let late = if dice.chance(network.late) { dice.ms(0, 1_000) } else { Duration::ZERO };
            *arrival = Some(self.now + dice.ms(5, 40) + late);
        }
        self.tally.datagrams += 1;
        if copies == 0 {
            self.tally.lost += 1;
            self.say(|| "        lost".to_owned());
        }
        for at in arrivals.into_iter().flatten() {
            self.at(at, what(Arc::clone(bytes)));
        }
    }

    fn arrive(&mut self, talk: usize, leg: Leg, bytes: &[u8]) {
        self.say(|| format!("{:>30} {}", "", summary(&String::from_utf8_lossy(bytes))));
        let number = self.talks[talk].number as usize;
        if bytes.starts_with(b"INVITE ") {
            let read = Read::new(std::str::from_utf8(bytes).unwrap_or_default());
            let invites = &mut self.talks[talk].invites;
            match invites.iter_mut().find(|(branch, _)| branch == read.branch) {
                // Behind timers H and L a repetition is a new request (RFC 3261 §17.2.1, RFC 6026 §7.1).
                Some((_, answer)) => *answer = answer.filter(|(_, at)| self.now <= *at + REMEMBERED),
                None => invites.push((read.branch.to_owned(), None)),
            }
            let settings = Arc::clone(&self.settings[number % self.settings.len()]);
            self.switchboard.handle_input(Input::Settings(settings), self.begun + self.now);
        }
        let peer = self.addresses[self.side(talk, leg)];
        self.input(Input::Message { bytes, flow: Flow::datagram(0, peer) });
    }

    /// 0: the trunk, 1: the PBX.
    fn side(&self, talk: usize, leg: Leg) -> usize {
        usize::from((leg == Leg::Callee) != self.talks[talk].script.outbound)
    }

    fn input(&mut self, input: Input<'_>) {
        self.switchboard.handle_input(input, self.begun + self.now);
        self.drain();
    }

    fn drain(&mut self) {
        self.tally.most_at_once = self.tally.most_at_once.max(self.switchboard.sizes().calls);
        while let Some(output) = self.switchboard.poll_output() {
            match output {
                Output::Transmit(transmit) => self.transmit(transmit.flow.peer, &transmit.bytes),
                Output::Consult { call, .. } => self.at(self.now + Duration::from_millis(2), What::Consulted { call }),
                Output::Media(command) => self.media(command),
                Output::Happened(happened) => self.happened(happened.call, &happened.event),
                Output::Trunk(_) => {}
                Output::Journal(entry) => self.journal(&entry),
                Output::Recall(call) => self.violation(None, format!("a panic has cost {call}")),
            }
        }
    }

    fn transmit(&mut self, to: SocketAddr, bytes: &Arc<[u8]>) {
        let text = std::str::from_utf8(bytes).unwrap_or_default();
        let read = Read::new(text);
        let number = read.call_id.strip_prefix('c').and_then(|rest| rest.split('@').next()?.parse::<u64>().ok());
        let talk = number.and_then(|number| usize::try_from(number.checked_sub(self.first)?).ok());
        let Some(talk) = talk.filter(|talk| *talk < self.talks.len()) else {
            if read.method == "OPTIONS" && read.status.is_none() && self.addresses.contains(&to) {
                return self.probe(to, text);
            }
            return self.violation(None, format!("a message of no call: {}", summary(text)));
        };
        let Some(leg) = Leg::BOTH.into_iter().find(|leg| self.addresses[self.side(talk, *leg)] == to) else {
            return self.violation(Some(talk), format!("sent to the stranger {to}: {}", summary(text)));
        };
        self.say(|| format!("{:>30} > {} {}", "", leg.label(), summary(text)));
        if let (Some(code @ 200..), "INVITE") = (read.status, read.method) {
            let answers = self.talks[talk].invites.iter_mut().find(|(branch, _)| branch == read.branch);
            match answers {
                Some((_, Some((other, _)))) if *other != code => {
                    let text = format!("an INVITE had {other} and {code}");
                    self.violation(Some(talk), text);
                }
                Some((_, answer)) => *answer = answer.or(Some((code, self.now))),
                None => self.violation(Some(talk), format!("an answer to no INVITE: {}", summary(text))),
            }
        }
        self.carry(talk, bytes, |bytes| What::ToPhone { talk, leg, bytes });
    }

    /// A host that was silent is asked until it answers, beyond the end of all calls.
    fn probe(&mut self, peer: SocketAddr, request: &str) {
        let lost = self.dice.chance(self.network.loss) || self.dice.chance(self.network.loss);
        if !lost {
            let at = self.now + self.dice.ms(10, 80);
            self.at(at, What::Probed { peer, bytes: response(request, 200, "probed", "", "", "").into_bytes().into() });
        }
    }

    fn violation(&mut self, talk: Option<usize>, text: String) {
        self.say(|| format!("VIOLATION {text}"));
        let talk = talk.map(|talk| &self.talks[talk]);
        self.violations.push(Violation {
            number: talk.map(|talk| talk.number),
            scenario: talk.map_or("", |talk| scenario::ALL[talk.scenario].1),
            text,
        });
    }

    fn seen(&mut self, talk: usize, call: CallId) -> Option<&mut Seen> {
        self.talks[talk].calls.iter_mut().find(|seen| seen.id == call)
    }

    fn media(&mut self, command: MediaCommand) {
        let now = self.now;
        self.say(|| format!("{:>30} * {command:?}", ""));
        let (MediaCommand::Open { call, .. }
        | MediaCommand::Plan { call, .. }
        | MediaCommand::Latch { call, .. }
        | MediaCommand::Answered { call, .. }
        | MediaCommand::StopTap { call }
        | MediaCommand::Cut { call, .. }
        | MediaCommand::Play { call, .. }
        | MediaCommand::StopPlay { call, .. }
        | MediaCommand::HoldKeys { call, .. }
        | MediaCommand::Press { call, .. }
        | MediaCommand::Whisper { call, .. }
        | MediaCommand::Close { call }) = &command;
        let call = *call;
        if let Some(of) = call.of_video() {
            return self.video(of, &command);
        }
        let Some(talk) = self.calls.get(&call).copied() else {
            return self.violation(None, format!("a media command for no call: {command:?}"));
        };
        let Some(seen) = self.seen(talk, call) else { return };
        if seen.closed > 0 {
            return self.violation(Some(talk), format!("a media command behind the Close: {command:?}"));
        }
        match command {
            MediaCommand::Open { .. } => {
                seen.opened += 1;
                let wait = self.talks[talk].dice.ms(1, 5);
                self.at(now + wait, What::Opened { talk, call });
            }
            MediaCommand::Close { .. } => seen.closed += 1,
            MediaCommand::Plan { leg, plan, .. } => seen.plans[leg] = plan.rtp.map(|rtp| rtp.port()),
            MediaCommand::Answered { .. } => {
                seen.answered = true;
                self.at(now + MEDIA_CHECK, What::MediaCheck { talk, call });
            }
            MediaCommand::Play { to, play: name, .. }
            | MediaCommand::Press { to, play: name, .. }
            | MediaCommand::Whisper { to, play: name, .. } => {
                seen.plays[to] += 1;
                let play = seen.plays[to];
                let lasts = self.talks[talk].dice.ms(1_000, 8_000);
                self.at(now + lasts, What::Finished { talk, call, to, play, name });
            }
            MediaCommand::StopPlay { to, .. } => seen.plays[to] += 1,
            MediaCommand::StopTap { .. }
            | MediaCommand::Cut { .. }
            | MediaCommand::Latch { .. }
            | MediaCommand::HoldKeys { .. } => {}
        }
    }

    fn video(&mut self, call: CallId, command: &MediaCommand) {
        let Some(talk) = self.calls.get(&call).copied() else {
            return self.violation(None, format!("a media command for no call: {command:?}"));
        };
        let Some(Pictures { open, plans }) = self.seen(talk, call).map(|seen| &mut seen.video) else { return };
        let opens = matches!(command, MediaCommand::Open { .. });
        if opens == *open {
            return self.violation(Some(talk), format!("of video, open already or not open: {command:?}"));
        }
        if let MediaCommand::Open { .. } = command {
            *open = true;
            // Now and then later than anybody waits.
            let Talk { dice, number, .. } = &mut self.talks[talk];
            let wait = dice.ms(1, if *number % 5 == 1 { 900 } else { 5 });
            self.at(self.now + wait, What::Opened { talk, call: call.video() });
        } else if let MediaCommand::Close { .. } = command {
            (*open, *plans) = (false, PerLeg::default());
        } else if let MediaCommand::Plan { leg, plan, .. } = command {
            plans[*leg] = plan.rtp.map(|rtp| rtp.port());
        } else if !matches!(command, MediaCommand::Answered { analyse: false, .. } | MediaCommand::Cut { .. }) {
            self.violation(Some(talk), format!("nobody hears or speaks a video: {command:?}"));
        }
    }

    fn journal(&mut self, entry: &Kept) {
        let call = entry.call();
        let Some(talk) = self.calls.get(&call).copied() else {
            return self.violation(None, "a journal entry for a call that never began".to_owned());
        };
        let Some(seen) = self.seen(talk, call) else { return };
        seen.kept = matches!(entry, Kept::Runs(_));
    }

    /// Nobody who is up sends anything where nobody is, or where the call is on hold.
    fn media_check(&mut self, talk: usize, call: CallId) {
        let phones = &self.talks[talk].phones;
        let silent = !Leg::BOTH.into_iter().any(|leg| phones[leg].is_up() && !phones[leg].held);
        let Some(seen) = self.seen(talk, call).filter(|seen| seen.closed == 0) else { return };
        seen.silent = if silent { seen.silent + 1 } else { 0 };
        let tell = seen.silent == 2;
        self.at(self.now + MEDIA_CHECK, What::MediaCheck { talk, call });
        if tell {
            self.say(|| "silent".to_owned());
            self.input(Input::Media { call, event: MediaEvent::Silent });
        }
    }

    fn happened(&mut self, call: CallId, event: &Event) {
        self.say(|| format!("{:>30} = {}", "", name_of(event)));
        if let Event::Began { sip_call_id, .. } = event {
            let number = sip_call_id.strip_prefix('c').and_then(|rest| rest.split('@').next()?.parse::<u64>().ok());
            let Some(talk) = number.map(|number| (number - self.first) as usize) else { return };
            let known = self.calls.insert(call, talk).is_some();
            if known {
                return self.violation(Some(talk), "a call began twice".to_owned());
            }
            self.talks[talk].calls.push(Seen {
                id: call,
                began: 1,
                ended: Vec::new(),
                opened: 0,
                closed: 0,
                kept: false,
                answered: false,
                silent: 0,
                plans: PerLeg::default(),
                plays: PerLeg::default(),
                video: Pictures::default(),
            });
            return;
        }
        let Some(talk) = self.calls.get(&call).copied() else {
            return self.violation(None, format!("{} for a call that never began", name_of(event)));
        };
        let Some(seen) = self.seen(talk, call) else { return };
        if !seen.ended.is_empty() {
            return self.violation(Some(talk), format!("{} behind the end", name_of(event)));
        }
        if let Event::Ended { ending } = event {
            seen.ended.push(ending.how.label());
            let left = Leg::BOTH.into_iter().any(|leg| self.talks[talk].phones[leg].vanished);
            let script = &self.talks[talk].script;
            let broken = script.no_ports || script.early.iter().any(|(_, what)| matches!(what, Do::MediaFails));
            let both_up = Leg::BOTH.into_iter().all(|leg| self.talks[talk].phones[leg].is_up());
            if ending.how == EndReason::Media && both_up && !left && !broken {
                self.violation(Some(talk), "ended for silence although both are there".to_owned());
            }
        }
    }

    /// Where no description is on its way, the media path knows the ports that are in force.
    fn check_plans(&mut self, talk: usize) {
        let Talk { phones, calls, last_sdp, script, .. } = &self.talks[talk];
        let up = Leg::BOTH.into_iter().all(|leg| phones[leg].is_up() && phones[leg].is_settled());
        let settled = self.now > *last_sdp + SETTLED;
        let Some(seen) = calls.last().filter(|seen| seen.closed == 0 && seen.answered) else { return };
        if !up || !settled || script.delayed_offer {
            return;
        }
        let shown = seen.video.open;
        let video = |leg: &Leg| shown && seen.video.plans[*leg] != Some(phones[*leg].port + TO_VIDEO);
        let both = Leg::BOTH.into_iter().all(|leg| phones[leg].shows && !phones[leg].hides_on_hold);
        // Its ports are refused, or come too late.
        let number = self.talks[talk].number;
        let lacking = both && !shown && number % 7 != 3 && number % 5 != 1;
        if lacking || Leg::BOTH.iter().any(video) {
            let text = format!("video is {:?} where both are settled", seen.video);
            return self.violation(Some(talk), text);
        }
        self.tally.shown += u64::from(shown);
        let Talk { phones, calls, .. } = &self.talks[talk];
        let Some(seen) = calls.last() else { return };
        let wrong = Leg::BOTH.into_iter().find(|leg| seen.plans[*leg] != Some(phones[*leg].port));
        if let Some(leg) = wrong {
            let text =
                format!("media for {} go to {:?} and belong to {}", leg.label(), seen.plans[leg], phones[leg].port);
            self.violation(Some(talk), text);
        }
    }

    /// All time has passed: nothing is left anywhere, and everybody has had what they were owed.
    fn finish(&mut self) {
        let sizes = self.switchboard.sizes();
        if sizes != call::Sizes::default() {
            self.violation(None, format!("left in the tables: {sizes:?}"));
        }
        for talk in 0..self.talks.len() {
            for text in self.problems(talk) {
                self.violation(Some(talk), text);
            }
            let Talk { scenario, calls, phones, .. } = &self.talks[talk];
            let (_, name, _, ends) = scenario::ALL[*scenario];
            let count = self.tally.scenarios.entry(name).or_default();
            count.calls += 1;
            let as_meant = calls.iter().flat_map(|seen| &seen.ended).all(|how| ends.contains(how)) && !calls.is_empty();
            count.as_meant += u64::from(as_meant);
            self.tally.answered += u64::from(phones.caller.ever_confirmed);
        }
    }

    fn problems(&self, talk: usize) -> Vec<String> {
        let talk = &self.talks[talk];
        let mut problems = Vec::new();
        for seen in &talk.calls {
            if seen.ended.len() != 1 {
                problems.push(format!("began {} times and ended {} times", seen.began, seen.ended.len()));
            }
            if seen.kept {
                problems.push("the journal keeps a call that is over".to_owned());
            }
            if seen.video.open {
                problems.push("ports of video outlive their call".to_owned());
            }
            if seen.opened != seen.closed || seen.opened > 1 {
                problems.push(format!("media opened {} times and closed {} times", seen.opened, seen.closed));
            }
        }
        let unanswered = talk.invites.iter().filter(|(_, answer)| answer.is_none()).count();
        if unanswered > 0 {
            problems.push(format!("{unanswered} INVITEs had no final answer"));
        }
        for leg in Leg::BOTH {
            problems.extend(talk.phones[leg].problems.iter().cloned());
            if talk.phones[leg].is_up() {
                problems.push(format!("{} is left off the hook", leg.label()));
            }
        }
        problems
    }
}

fn name_of(event: &Event) -> String {
    match event {
        Event::Began { .. } => "began".to_owned(),
        Event::Routed { decision, .. } => format!("routed {}", decision.route.label()),
        Event::Ringing => "ringing".to_owned(),
        Event::Answered { .. } => "answered".to_owned(),
        Event::Restored { .. } => "restored".to_owned(),
        Event::Unheard { not_analysed, .. } => format!("unheard, {}", not_analysed.label()),
        Event::Judged { .. } => "judged".to_owned(),
        Event::SteppedUp { decision, .. } => decision.action.label().to_owned(),
        Event::TakenBack { .. } => "taken back".to_owned(),
        Event::GuardLifted { by, .. } => format!("guard lifted, {}", by.label()),
        Event::Digit { .. } => "digit".to_owned(),
        Event::Ended { ending } => format!("ended {}", ending.how.label()),
    }
}
