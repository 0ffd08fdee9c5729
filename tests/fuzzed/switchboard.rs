//! Bytes become what happens to a switchboard: messages of trunk and PBX, whole and mangled, time, media, orders,
//! kills.
//!
//! After each run everything is ended and all time passes. Nothing may be left; each call began and ended once, with
//! its media closed and its journal entry gone; each INVITE had exactly one final answer; everything that was sent went
//! to a peer, and could be read by one.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ringfence::call::{
    DivertCallee, DivertCaller, Entry, Event, Input, Output, Settings, Sizes, Snapshot, Switchboard,
};
use ringfence::io::clock;
use ringfence::policy::action::{Rejection, Route};
use ringfence::policy::facts::OverLimit;
use ringfence::policy::judge::{Class, Verdict};
use ringfence::policy::number::Country;
use ringfence::policy::rules::{Called, Condition, Policy, Rule};
use ringfence::rtp::control::{MediaCommand, MediaEvent, PlayId};
use ringfence::sip::flow::Flow;
use ringfence::sip::wire::{BadMessage, Index, Limits};
use ringfence::units::{CallId, CallTime, Leg, PerLeg, Ratio};

use super::Choices;
use super::world::{self, PBX, Phone, TRUNK, header, response, sdp};

/// 64*T1: for so long an INVITE is known by its branch.
const REMEMBERED: Duration = Duration::from_secs(32);
/// Phones of one run.
const MOST_PHONES: usize = 8;
const METHODS: &[&str] =
    &["BYE", "INVITE", "UPDATE", "PRACK", "INFO", "OPTIONS", "REFER", "NOTIFY", "MESSAGE", "SUBSCRIBE", "REGISTER"];
const STATUSES: &[&str] = &[
    "200 OK",
    "180 Ringing",
    "183 Session Progress",
    "100 Trying",
    "202 Accepted",
    "302 Moved Temporarily",
    "401 Unauthorized",
    "407 Proxy Authentication Required",
    "422 Session Interval Too Small",
    "481 Call/Transaction Does Not Exist",
    "486 Busy Here",
    "487 Request Terminated",
    "491 Request Pending",
    "408 Request Timeout",
    "500 Server Internal Error",
    "603 Decline",
    "199 Early Dialog Terminated",
];
const MORE: &[&str] = &[
    "",
    "Supported: 100rel, timer\r\nSession-Expires: 90;refresher=uac\r\n",
    "Supported: timer\r\nSession-Expires: 1800\r\nMin-SE: 90\r\n",
    "Require: 100rel\r\nRSeq: 1\r\n",
    "Require: timer\r\nSession-Expires: 100;refresher=uas\r\n",
    "RAck: 1 1 INVITE\r\n",
    "Record-Route: <sip:192.0.2.10;lr>\r\n",
    "Min-SE: 4000000000\r\nSession-Expires: 4000000000\r\n",
    "Replaces: d0@trunk;to-tag=f0;from-tag=d0\r\n",
    "Refer-To: <sip:202@10.0.0.5>\r\n",
    "Feature-Caps: *;+sip.608\r\n",
    "Retry-After: 0\r\nReason: SIP;cause=200\r\n",
    "Max-Forwards: 0\r\n",
    "Content-Type: application/dtmf-relay\r\n",
];

pub(crate) fn switchboard(bytes: &[u8]) {
    let mut world = World::new();
    let mut choices = Choices(bytes);
    while !choices.is_empty() {
        world.step(&mut choices);
    }
    world.rest();
}

/// One call as it was told.
#[derive(Debug, Default)]
struct Seen {
    ended: bool,
    opened: bool,
    closed: bool,
    /// It found no ports; then it need not close any.
    refused: bool,
    answered: bool,
}

struct World {
    switchboard: Switchboard,
    settings: Settings,
    now: Instant,
    phones: Vec<Phone>,
    /// What each peer was sent, newest last.
    inbox: HashMap<SocketAddr, VecDeque<String>>,
    sent: VecDeque<(&'static str, Vec<u8>)>,
    last_out: Vec<u8>,
    kept: HashMap<CallId, (Box<Snapshot>, Instant)>,
    calls: Vec<CallId>,
    seen: HashMap<CallId, Seen>,
    /// By branch: its final answer, and since when.
    invites: HashMap<String, Option<(u16, Instant)>>,
    ports: u16,
    no_ports: bool,
    kills: u8,
    /// Branches that tell no INVITE any more.
    spoiled: HashSet<String>,
    over_limit: Option<OverLimit>,
    index: Index,
}

impl World {
    fn new() -> Self {
        let settings = Settings { max_calls: 20, ..world::settings() };
        Self {
            switchboard: Switchboard::new(0, 1_700_000_000, [0; 16], Arc::new(settings.clone())).with_journal(),
            settings,
            now: clock::now(),
            phones: Vec::new(),
            inbox: HashMap::new(),
            sent: VecDeque::new(),
            last_out: Vec::new(),
            kept: HashMap::new(),
            calls: Vec::new(),
            seen: HashMap::new(),
            invites: HashMap::new(),
            ports: 20_000,
            no_ports: false,
            kills: 0,
            spoiled: HashSet::new(),
            over_limit: None,
            index: Index::new(),
        }
    }

    fn step(&mut self, choices: &mut Choices<'_>) {
        match choices.byte() % 24 {
            0..=2 => self.dial(choices),
            3..=5 => self.request(choices),
            6..=9 => self.answer(choices),
            10 => {
                if let Some(phone) = self.phone(choices) {
                    let ack = phone.ack();
                    let at = phone.at;
                    self.send(at, ack.into_bytes());
                }
            }
            11 => {
                if let Some(phone) = self.phone(choices) {
                    let cancel = phone.request("CANCEL", "");
                    let at = phone.at;
                    self.send(at, cancel.into_bytes());
                }
            }
            12 => {
                let number = choices.below(self.sent.len());
                if let Some((at, bytes)) = self.sent.get(number).cloned() {
                    self.send(at, bytes);
                }
            }
            13 => self.mangled(choices),
            14 | 15 => self.run(choices.one_of(&[0, 100, 200, 500, 4_000, 8_000, 32_000, 95_000, 180_000, 1_000_000])),
            16 => self.media_event(choices),
            17 => self.order(choices),
            18 => self.learn(choices),
            19 => self.callee(),
            20 => self.change(choices),
            21 if choices.below(4) == 0 => self.kill(),
            22 => {
                let bytes = choices.take(64).to_vec();
                let error = choices.one_of(&[BadMessage::Length, BadMessage::OverLimit, BadMessage::Duplicate]);
                let flow = Flow::datagram(0, TRUNK.parse().unwrap());
                self.input(Input::BadFrame { head: &bytes, error, flow });
            }
            _ => {
                let bytes = std::mem::take(&mut self.last_out);
                self.input(Input::Unsent { bytes: &bytes });
            }
        }
    }

    fn phone(&mut self, choices: &mut Choices<'_>) -> Option<&mut Phone> {
        let number = choices.below(self.phones.len());
        self.phones.get_mut(number)
    }

    fn dial(&mut self, choices: &mut Choices<'_>) {
        if self.phones.len() == MOST_PHONES {
            return;
        }
        let name = format!("d{}", self.phones.len());
        let how = choices.byte();
        let mut phone = if how & 1 == 0 { Phone::caller(&name) } else { Phone::inside(&name, "01632960002") };
        let dials = choices.one_of(&["201", "302", "301", "303", "9"]);
        phone.target = phone.target.replace("201@", &format!("{dials}@"));
        let body = body(phone.at, choices);
        let invite = phone.request_with("INVITE", choices.one_of(MORE), &body);
        let at = phone.at;
        self.phones.push(phone);
        self.send(at, invite.into_bytes());
    }

    /// Inside a dialog as far as its phone knows it.
    fn request(&mut self, choices: &mut Choices<'_>) {
        let (method, more, again) = (choices.one_of(METHODS), choices.one_of(MORE), choices.below(16));
        let number = choices.below(self.phones.len());
        let Some(phone) = self.phones.get_mut(number) else { return };
        let body = body(phone.at, choices);
        // Two INVITEs never share a branch.
        if again > 0 || method == "INVITE" {
            phone.cseq += 1;
        }
        let (at, request) = (phone.at, phone.request_with(method, more, &body));
        self.send(at, request.into_bytes());
    }

    /// To something that a peer was sent.
    fn answer(&mut self, choices: &mut Choices<'_>) {
        let at = choices.one_of(&[PBX, TRUNK, PBX]);
        let (status, tag, more) =
            (choices.one_of(STATUSES), choices.one_of(&["f0", "f0", "f1", ""]), choices.one_of(MORE));
        let inbox = self.inbox.entry(at.parse().unwrap()).or_default();
        let requests: Vec<&String> = inbox.iter().filter(|text| !text.starts_with("SIP/2.0")).collect();
        // Mostly the newest.
        let back = choices.byte() >> 5;
        let Some(request) = requests.iter().rev().nth(usize::from(back).min(requests.len().saturating_sub(1))) else {
            return;
        };
        let text = response(request, status, tag, &body(at, choices));
        self.send(at, text.replace("Contact:", &format!("{more}Contact:")).into_bytes());
    }

    fn mangled(&mut self, choices: &mut Choices<'_>) {
        let number = choices.below(self.sent.len());
        let Some((at, mut bytes)) = self.sent.get(number).cloned() else { return };
        for _ in 0..=choices.below(4) {
            let place = (usize::from(choices.byte()) * 4 + choices.below(4)).min(bytes.len());
            match choices.below(5) {
                0 => bytes.truncate(place),
                1 => bytes.insert(place, choices.byte()),
                2 if place < bytes.len() => bytes[place] = choices.byte(),
                3 => bytes.extend_from_slice(&bytes.clone()[place..]),
                _ => bytes.splice(place..place, choices.take(8).iter().copied()).for_each(drop),
            }
        }
        // It may be an INVITE with the branch of another one, and then has answers of its own.
        let branch = branch(&String::from_utf8_lossy(&bytes));
        self.invites.remove(&branch);
        self.spoiled.insert(branch);
        self.deliver(at, &bytes);
    }

    fn media_event(&mut self, choices: &mut Choices<'_>) {
        let leg = choices.one_of(&Leg::BOTH);
        let event = match choices.below(7) {
            0 => MediaEvent::Silent,
            1 => MediaEvent::Failed,
            2 => MediaEvent::Digit { leg, digit: choices.one_of(&['9', '1', '#']) },
            3 => MediaEvent::Latched { leg, address: Some("198.51.100.9:31000".parse().unwrap()) },
            4 => MediaEvent::Finished { to: leg, play: PlayId(u32::from(choices.byte() % 4)) },
            5 => MediaEvent::Unheard,
            _ => {
                self.no_ports = !self.no_ports;
                return;
            }
        };
        if let Some(call) = self.call(choices) {
            // Their videos are told of by the same events.
            let video = self.seen.get(&call.video()).is_some_and(|seen| seen.opened && !seen.closed);
            self.input(Input::Media { call: if video { call.video() } else { call }, event });
        }
    }

    fn order(&mut self, choices: &mut Choices<'_>) {
        let what = choices.below(8);
        let weight = Ratio::clamped(f32::from(choices.byte()) / 255.0);
        let Some(call) = self.call(choices) else { return };
        let rest = Ratio::clamped(1.0 - weight.get());
        let probabilities = [Ratio::ZERO, rest, Ratio::ZERO, weight];
        let at = CallTime::from_millis(5_000);
        match what {
            0 => self.input(Input::HangUp { call }),
            1 => self.input(Input::Divert { call }),
            2 if weight.get() < 0.1 => self.input(Input::Drain),
            3 if weight.get() < 0.1 => self.input(Input::EndUnanswered),
            _ => {
                let verdict = Verdict { at, class: Class::PressKey, probabilities, reasons: Vec::new() };
                self.input(Input::Judged { call, verdict });
            }
        }
    }

    fn call(&self, choices: &mut Choices<'_>) -> Option<CallId> {
        let number = choices.below(self.calls.len());
        self.calls.get(number).copied()
    }

    /// A phone takes in what its peer was told of its call.
    fn learn(&mut self, choices: &mut Choices<'_>) {
        let number = choices.below(self.phones.len());
        let Some(phone) = self.phones.get_mut(number) else { return };
        let inbox = self.inbox.entry(phone.at.parse().unwrap()).or_default();
        let answers = |text: &&String| text.starts_with("SIP/2.0 ") && header(text, "Call-ID") == phone.call_id;
        if let Some(text) = inbox.iter().rev().find(answers) {
            phone.learn(text);
        }
    }

    /// The called phone becomes one that can speak.
    fn callee(&mut self) {
        for at in [PBX, TRUNK] {
            let inbox = self.inbox.entry(at.parse().unwrap()).or_default();
            let invite = inbox.iter().rev().find(|text| text.starts_with("INVITE ")).cloned();
            if let (Some(invite), true) = (invite, self.phones.len() < MOST_PHONES) {
                let cseq = 100 + u32::try_from(self.phones.len()).unwrap_or(0) * 100;
                self.phones.push(Phone { at, cseq, ..Phone::callee(&invite, "f0") });
            }
        }
    }

    fn change(&mut self, choices: &mut Choices<'_>) {
        let what = choices.byte();
        self.over_limit = (what & 0xE0 == 0xE0).then_some(OverLimit::Number);
        let rule = |dials: &str, route| Rule {
            name: dials.into(),
            when: vec![Condition::Called(Called::new([dials], Country::GB).unwrap())],
            route,
        };
        let rules = vec![
            rule("301", Route::Reject(Rejection::Rejected)),
            rule("302", Route::Reject(Rejection::Busy)),
            rule("303", Route::Divert),
        ];
        self.settings = Settings {
            generation: self.settings.generation + 1,
            enforce: what & 1 == 0,
            callee_hears: [DivertCallee::Announcement, DivertCallee::Silence, DivertCallee::HangUp]
                [usize::from(what >> 1) % 3],
            caller_hears: [DivertCaller::Announcement, DivertCaller::Silence, DivertCaller::HangUp]
                [usize::from(what >> 3) % 3],
            policy: Arc::new(Policy { rules, ..Policy::default() }),
            ..self.settings.clone()
        };
        self.input(Input::Settings(Arc::new(self.settings.clone())));
    }

    /// The process is killed; the next one knows what was kept.
    fn kill(&mut self) {
        let settings = Arc::new(self.settings.clone());
        // Each process has a secret of its own, so that answers to another one's requests are nobody's.
        self.kills = self.kills.wrapping_add(1);
        let started = 1_700_000_100 + u32::from(self.kills);
        self.switchboard = Switchboard::new(0, started, [self.kills; 16], settings).with_journal();
        self.calls.clear();
        self.seen.clear();
        // What was answered and goes on stays answered; the rest is unknown to the next process.
        let known: Vec<String> =
            self.kept.values().filter_map(|(snapshot, _)| Some(branch(&via_of(snapshot)?))).collect();
        self.invites.retain(|branch, answer| answer.is_some() && known.contains(branch));
        for (snapshot, since) in std::mem::take(&mut self.kept).into_values() {
            let (age, call) = (self.now.duration_since(since), snapshot.call);
            self.kept.insert(call, (snapshot.clone(), self.now));
            self.input(Input::Restore { snapshot, age });
        }
    }

    /// From a peer, remembered.
    fn send(&mut self, at: &'static str, bytes: Vec<u8>) {
        if bytes.starts_with(b"INVITE ") && self.switchboard.counters().table_full == 0 {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            // What has no address to come back to, or one hop too many, is answered as well.
            let branch = branch(&text);
            if !self.spoiled.contains(&branch) {
                let answer = self.invites.entry(branch).or_default();
                *answer = answer.filter(|(_, since)| self.now < *since + REMEMBERED);
            }
        }
        self.deliver(at, &bytes);
        self.sent.push_back((at, bytes));
        if self.sent.len() > 24 {
            self.sent.pop_front();
        }
    }

    fn deliver(&mut self, at: &str, bytes: &[u8]) {
        self.input(Input::Message { bytes, flow: Flow::datagram(0, at.parse().unwrap()) });
    }

    fn input(&mut self, input: Input<'_>) {
        self.switchboard.handle_input(input, self.now);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.switchboard.poll_output() {
            match output {
                Output::Transmit(transmit) => self.transmitted(transmit.flow.peer, &transmit.bytes),
                Output::Consult { call, .. } => {
                    self.calls.push(call);
                    let over_limit = self.over_limit;
                    let answer = Input::Consulted { call, over_limit, dialled_before: false, hour: 12, weekday: 2 };
                    self.switchboard.handle_input(answer, self.now);
                }
                Output::Media(command) => self.media(&command),
                Output::Journal(Entry::Runs(snapshot)) => {
                    let seen = self.seen.get(&snapshot.call);
                    assert!(seen.is_some_and(|seen| !seen.ended), "kept, and not running: {snapshot:?}");
                    self.kept.insert(snapshot.call, (snapshot, self.now));
                }
                Output::Journal(Entry::Over(call)) => {
                    assert!(self.kept.remove(&call).is_some(), "an end of what nobody kept");
                }
                Output::Recall(call) => panic!("{call} is lost"),
                Output::Trunk(_) => {}
                Output::Happened(happened) => self.happened(happened.call, &happened.event),
            }
        }
    }

    fn transmitted(&mut self, to: SocketAddr, bytes: &Arc<[u8]>) {
        assert!(to == TRUNK.parse().unwrap() || to == PBX.parse().unwrap(), "sent to {to}");
        let limits = Limits { header_bytes: 1 << 17, headers: 1 << 10, line_bytes: 1 << 17 };
        if let Err(error) = self.index.read(bytes, &limits) {
            // An answer to what could not be read repeats what it was read as.
            let repeats = bytes.starts_with(b"SIP/2.0 4") || bytes.starts_with(b"SIP/2.0 5");
            assert!(repeats, "{error}: {}", bytes.escape_ascii());
        }
        self.last_out = bytes.to_vec();
        let text = String::from_utf8_lossy(bytes).into_owned();
        let status: u16 = text.strip_prefix("SIP/2.0 ").and_then(|rest| rest.get(..3)?.parse().ok()).unwrap_or(0);
        if status >= 200
            && header(&text, "CSeq").ends_with(" INVITE")
            && let Some(answer) = self.invites.get_mut(&branch(&text))
        {
            let (code, _) = *answer.get_or_insert((status, self.now));
            // A callee may spell its 2xx differently each time.
            let same = code == status || code / 100 == 2 && status / 100 == 2;
            assert!(same, "{code}, and then: {text}");
        }
        let inbox = self.inbox.entry(to).or_default();
        inbox.push_back(text);
        if inbox.len() > 16 {
            inbox.pop_front();
        }
    }

    fn media(&mut self, command: &MediaCommand) {
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
        | MediaCommand::Close { call }) = command;
        let call = *call;
        let again = call.of_video().is_some() && matches!(command, MediaCommand::Open { .. });
        let seen = self.seen.entry(call).or_default();
        if again && seen.closed {
            // Video may come and go within a call.
            *seen = Seen::default();
        }
        assert!(!seen.closed, "behind the Close: {command:?}");
        match command {
            MediaCommand::Open { ports, .. } => {
                assert!(!std::mem::replace(&mut seen.opened, true), "opened twice");
                seen.refused = self.no_ports;
                self.ports = self.ports.wrapping_add(4).max(20_000);
                let port = ports.map_or(self.ports, |ports| ports.caller);
                let ports = PerLeg::from_fn(|leg| match leg {
                    Leg::Caller => ([192, 0, 2, 1], port).into(),
                    Leg::Callee => ([10, 0, 0, 1], port.wrapping_add(2)).into(),
                });
                let event = if self.no_ports { MediaEvent::Failed } else { MediaEvent::Opened { ports } };
                self.switchboard.handle_input(Input::Media { call, event }, self.now);
            }
            MediaCommand::Close { .. } => {
                assert!(seen.opened, "closed what was never opened");
                seen.closed = true;
            }
            MediaCommand::Answered { .. } => {
                assert!(!std::mem::replace(&mut seen.answered, true), "answered twice");
            }
            MediaCommand::Plan { .. }
            | MediaCommand::Latch { .. }
            | MediaCommand::StopTap { .. }
            | MediaCommand::Cut { .. }
            | MediaCommand::Play { .. }
            | MediaCommand::StopPlay { .. }
            | MediaCommand::HoldKeys { .. }
            | MediaCommand::Press { .. }
            | MediaCommand::Whisper { .. } => assert!(seen.opened, "before the Open: {command:?}"),
        }
    }

    fn happened(&mut self, call: CallId, event: &Event) {
        match event {
            Event::Began { .. } | Event::Restored { .. } => {
                assert!(self.seen.insert(call, Seen::default()).is_none(), "began twice");
                if !self.calls.contains(&call) {
                    self.calls.push(call);
                }
            }
            Event::Ended { .. } => {
                let seen = self.seen.get_mut(&call).unwrap();
                assert!(!std::mem::replace(&mut seen.ended, true), "ended twice");
            }
            Event::Routed { .. }
            | Event::Ringing
            | Event::Answered { .. }
            | Event::Unheard { .. }
            | Event::Judged { .. }
            | Event::SteppedUp { .. }
            | Event::TakenBack { .. }
            | Event::GuardLifted { .. }
            | Event::Digit { .. } => {
                assert!(self.seen.get(&call).is_some_and(|seen| !seen.ended), "not running: {event:?}");
            }
        }
    }

    fn run(&mut self, ms: u64) {
        let end = self.now + Duration::from_millis(ms);
        while let Some(at) = self.switchboard.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.switchboard.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
    }

    fn rest(&mut self) {
        self.input(Input::EndAll);
        self.run(400_000);
        // A trunk or a PBX that was silent is asked now and then whether it is there again, for as long as it is not.
        let asked = self.switchboard.sizes().trunk_requests;
        let rest = Sizes { trunk_requests: asked, client_transactions: asked, ..Sizes::default() };
        assert!(asked <= 2, "one trunk, one PBX, and {asked} questions");
        assert_eq!(self.switchboard.sizes(), rest);
        assert!(self.kept.is_empty(), "the journal keeps a call that is over");
        for (call, seen) in &self.seen {
            assert!(seen.ended || call.of_video().is_some(), "{call} has no end");
            assert!(!seen.opened || seen.closed || seen.refused, "{call} keeps its ports");
        }
        if self.switchboard.counters().table_full == 0 {
            let unanswered: Vec<_> = self.invites.iter().filter(|(_, answer)| answer.is_none()).collect();
            assert!(unanswered.is_empty(), "no final answer: {unanswered:?}");
        }
    }
}

/// The Via line of a kept call's INVITE.
fn via_of(snapshot: &Snapshot) -> Option<String> {
    snapshot.invited.as_ref().map(|invited| format!("Via: {}\r\n", invited.via))
}

fn branch(text: &str) -> String {
    let via = header(text, "Via");
    let value = via.split("branch=").nth(1).unwrap_or_default();
    value.split([';', ',']).next().unwrap_or_default().to_owned()
}

fn body(at: &str, choices: &mut Choices<'_>) -> String {
    match choices.byte() % 12 {
        0..=3 => sdp(at, ""),
        4 => sdp(at, "a=sendonly\r\n"),
        5 => sdp(at, "a=inactive\r\n"),
        6 => sdp(at, "").replace("c=IN IP4 ", "c=IN IP4 0.0.0.0\r\ns=was "),
        7 => sdp(at, "m=video 4002 RTP/AVP 99\r\na=rtpmap:99 H264/90000\r\n"),
        8 => sdp(at, "").replace("m=audio 4000", "m=audio 0") + "m=image 4004 udptl t38\r\n",
        9 => sdp("203.0.113.77:1", ""),
        10 => "Signal=9\r\nDuration=160\r\n".to_owned(),
        _ => String::new(),
    }
}
