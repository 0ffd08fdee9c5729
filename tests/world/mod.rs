//! A made-up world around one real switchboard: fake time, a trunk and a PBX that are plain text, a ladder of all that
//! was said.
//!
//! Time is whatever the test says. The media path answers at once, and its commands stand in the ladder. After a run
//! [`World::rest`] lets every timer expire and checks that nothing is left.

#![allow(clippy::unwrap_used, clippy::panic, dead_code, reason = "test helpers, not all used by each suite")]

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ringfence::call::{
    self, DivertCallee, DivertCaller, Entry, Event, Input, Local, NotAnalysed, Output, Redirects, Snapshot, Switchboard,
};
use ringfence::io::clock;
use ringfence::policy::facts::OverLimit;
use ringfence::policy::judge::{Class, Verdict};
use ringfence::policy::rules::Policy;
use ringfence::rtp::control::{Held, MediaCommand, MediaEvent, PlayId, PromptId};
use ringfence::sip::flow::{ConnectionId, Flow, Hop};
use ringfence::sip::wire::Limits;
use ringfence::units::{CallId, CallTime, Leg, PerLeg, Ratio};

pub(crate) const TRUNK: &str = "192.0.2.10:5060";
pub(crate) const PBX: &str = "10.0.0.5:5060";
/// A host of a second trunk.
pub(crate) const SPARE: &str = "198.51.100.20:5060";
pub(crate) const US_OUTSIDE: &str = "192.0.2.1:5060";
pub(crate) const US_INSIDE: &str = "10.0.0.1:5060";

pub(crate) fn settings() -> call::Settings {
    call::Settings {
        generation: 1,
        enforce: true,
        pbx: Hop::udp(PBX.parse().unwrap()),
        pbx_networks: Vec::new(),
        pbx_name: None,
        names: Vec::new(),
        pbx_keep_alive: None,
        srtp: call::SrtpSettings::default(),
        trunks: vec![call::Trunk {
            networks: vec!["192.0.2.0/28".parse().unwrap()],
            ..call::Trunk::at("provider", Hop::udp(TRUNK.parse().unwrap()))
        }],
        local_outside: Local::only(US_OUTSIDE.parse().unwrap()),
        local_inside: Local::only(US_INSIDE.parse().unwrap()),
        ways: Vec::new(),
        listening: Vec::new(),
        public_address: None,
        public_media_address: None,
        codecs: Vec::new(),
        redirects: Redirects::Pass,
        policy: Arc::new(Policy::default()),
        watch_for: Duration::from_secs(25),
        callee_hears: DivertCallee::Announcement,
        caller_hears: DivertCaller::Announcement,
        take_back_key: Some('9'),
        wire_limits: Limits::default(),
        large_over_tcp: true,
        max_calls: 100,
        session_timer: None,
        held_check: Duration::from_secs(300),
        longest_restored: Duration::from_secs(3_600),
    }
}

pub(crate) struct World {
    pub(crate) switchboard: Switchboard,
    /// Those of the next process.
    pub(crate) settings: Arc<call::Settings>,
    /// What the journal would hold, as text, and since when.
    kept: BTreeMap<CallId, (String, Instant)>,
    /// The media path refuses ports.
    pub(crate) no_ports: bool,
    /// It says nothing to those who ask for ports.
    pub(crate) silent_media: bool,
    /// Ports are refused for video alone.
    pub(crate) no_video_ports: bool,
    /// What video asks of the media path waits.
    pub(crate) slow_video: Option<Vec<MediaCommand>>,
    begun: Instant,
    pub(crate) now: Instant,
    ladder: String,
    /// What each peer has received and not looked at.
    inbox: HashMap<SocketAddr, VecDeque<String>>,
    pub(crate) over_limit: Option<OverLimit>,
    /// Calls that the last panic has cost.
    lost: Vec<CallId>,
    /// Media ports that are open, by call.
    open: HashMap<CallId, usize>,
    /// Final answers that each INVITE from outside has had, by its top branch.
    finals: HashMap<String, Vec<String>>,
    pub(crate) events: Vec<String>,
    pub(crate) trunk_events: Vec<String>,
    /// Of the last call's caller.
    number: Option<String>,
    pub(crate) calls: Vec<CallId>,
    /// Media commands stand in the ladder.
    pub(crate) media_in_ladder: bool,
    ports: u16,
    /// What was played to each leg last.
    pub(crate) plays: PerLeg<PlayId>,
}

impl World {
    pub(crate) fn new(settings: call::Settings) -> Self {
        let begun = clock::now();
        let settings = Arc::new(settings);
        let mut switchboard = Switchboard::new(0, 1_700_000_000, [7; 16], Arc::clone(&settings)).with_journal();
        switchboard.handle_input(Input::Start, begun);
        let mut world = Self {
            switchboard,
            settings,
            kept: BTreeMap::new(),
            no_ports: false,
            silent_media: false,
            no_video_ports: false,
            slow_video: None,
            begun,
            now: begun,
            ladder: String::new(),
            inbox: HashMap::new(),
            over_limit: None,
            lost: Vec::new(),
            open: HashMap::new(),
            finals: HashMap::new(),
            events: Vec::new(),
            trunk_events: Vec::new(),
            number: None,
            calls: Vec::new(),
            media_in_ladder: false,
            ports: 20_000,
            plays: PerLeg::default(),
        };
        world.drain();
        world
    }

    fn name(address: SocketAddr) -> &'static str {
        match address.to_string().as_str() {
            TRUNK => "trunk",
            PBX => "pbx",
            SPARE => "spare",
            _ => "stranger",
        }
    }

    fn line(&mut self, text: &str) {
        let ms = (self.now - self.begun).as_millis();
        let _ = writeln!(self.ladder, "{ms:>6} {text}");
    }

    /// A datagram from a peer.
    pub(crate) fn send(&mut self, from: &str, text: &str) {
        let peer: SocketAddr = from.parse().unwrap();
        self.line(&format!("{} > {}", Self::name(peer), summary(text)));
        let flow = Flow::datagram(0, peer);
        self.switchboard.handle_input(Input::Message { bytes: text.as_bytes(), flow }, self.now);
        self.drain();
    }

    /// Anything else.
    pub(crate) fn input(&mut self, input: Input<'_>) {
        self.switchboard.handle_input(input, self.now);
        self.drain();
    }

    /// A step that panics: nothing can be added to the time it is told. Gives the calls that are lost.
    pub(crate) fn panics(&mut self, input: Input<'_>) -> Vec<CallId> {
        let steps = (0..63).rev().map(|bit| Duration::from_secs(1 << bit));
        let steps = steps.chain((0..30).rev().map(|bit| Duration::from_nanos(1 << bit)));
        let last = steps.fold(self.now, |at, step| at.checked_add(step).unwrap_or(at));
        let step = catch_unwind(AssertUnwindSafe(|| self.switchboard.handle_input(input, last)));
        assert!(step.is_err(), "it does no sum with the time");
        self.lost = self.switchboard.recover(self.now);
        self.drain();
        self.lost.clone()
    }

    fn drain(&mut self) {
        while let Some(output) = self.switchboard.poll_output() {
            match output {
                Output::Transmit(transmit) => {
                    let to = transmit.flow.peer;
                    let text = String::from_utf8_lossy(&transmit.bytes).into_owned();
                    let stream = match transmit.flow.connection {
                        Some(ConnectionId(number)) => format!(" by connection {number}"),
                        None if transmit.flow.transport.is_reliable() => " by tcp".to_owned(),
                        None => String::new(),
                    };
                    self.line(&format!("      > {} {}{stream}", Self::name(to), summary(&text)));
                    self.count_final(&text);
                    self.inbox.entry(to).or_default().push_back(text);
                }
                Output::Consult { call, facts, .. } => {
                    self.calls.push(call);
                    self.number = facts.caller.text().map(|number| number.0.to_string());
                    let over_limit = self.over_limit;
                    let answer = Input::Consulted { call, over_limit, dialled_before: false, hour: 12, weekday: 2 };
                    self.switchboard.handle_input(answer, self.now);
                }
                Output::Media(command) => match &mut self.slow_video {
                    Some(waiting) if is_of_video(&command) => waiting.push(command),
                    Some(_) | None => self.media(command),
                },
                Output::Journal(entry) => self.keep(&entry),
                Output::Recall(call) => {
                    if let Some((snapshot, _)) = self.kept.get(&call) {
                        let snapshot = serde_json::from_str(snapshot).unwrap();
                        self.switchboard.handle_input(Input::Lost { snapshot }, self.now);
                    }
                }
                Output::Happened(happened) => self.events.push(event(&happened.event)),
                Output::Trunk(event) => self.trunk_events.push(format!("{} {:?}", event.trunk, event.change)),
            }
        }
    }

    /// What the journal would hold.
    pub(crate) fn kept(&self) -> Vec<Snapshot> {
        self.kept.values().map(|(snapshot, _)| serde_json::from_str(snapshot).unwrap()).collect()
    }

    fn keep(&mut self, entry: &Entry) {
        match entry {
            Entry::Runs(snapshot) => {
                self.kept.insert(snapshot.call, (serde_json::to_string(snapshot).unwrap(), self.now));
            }
            Entry::Over(call) => {
                let kept = self.kept.remove(call).is_some();
                assert!(kept || self.lost.contains(call), "an end of what nobody kept");
            }
        }
    }

    /// The process is killed, and another is started after a while: it knows what was kept and nothing else.
    pub(crate) fn kill_and_start(&mut self, down: Duration) {
        self.switchboard = Switchboard::new(0, 1_700_000_100, [8; 16], Arc::clone(&self.settings)).with_journal();
        self.open.clear();
        self.finals.clear();
        self.now += down;
        self.line("--- started again");
        self.input(Input::Start);
        for (snapshot, since) in self.kept.clone().into_values() {
            let snapshot = serde_json::from_str(&snapshot).unwrap();
            self.input(Input::Restore { snapshot, age: self.now - since });
        }
    }

    fn count_final(&mut self, text: &str) {
        let status: u16 = text.strip_prefix("SIP/2.0 ").and_then(|rest| rest.get(..3)?.parse().ok()).unwrap_or(0);
        if status >= 200 && header(text, "CSeq").ends_with(" INVITE") {
            let finals = self.finals.entry(header(text, "Via").to_owned()).or_default();
            let answer = format!("{status} {}", header(text, "To"));
            if !finals.contains(&answer) {
                finals.push(answer);
            }
        }
    }

    fn media(&mut self, command: MediaCommand) {
        if let MediaCommand::Play { to, play, .. }
        | MediaCommand::Whisper { to, play, .. }
        | MediaCommand::Press { to, play, .. } = command
        {
            self.plays[to] = play;
        }
        if let MediaCommand::Open { call, ports, .. } = command {
            return self.open_media(call, ports);
        }
        if let MediaCommand::Close { call } = command {
            assert_eq!(self.open.remove(&call), Some(1), "closed once, and only what was open");
        }
        if self.media_in_ladder {
            let video = if is_of_video(&command) { "video: " } else { "" };
            self.line(&format!("      * {video}{}", in_words(&command)));
        }
    }

    fn open_media(&mut self, call: CallId, ports: Option<PerLeg<u16>>) {
        *self.open.entry(call).or_default() += 1;
        if self.no_ports || self.no_video_ports && call.of_video().is_some() {
            return self.switchboard.handle_input(Input::Media { call, event: MediaEvent::Failed }, self.now);
        }
        if self.silent_media {
            return;
        }
        self.ports += 4;
        let port = ports.map_or(self.ports, |ports| ports.caller);
        assert!(ports.is_none_or(|ports| ports.callee == port + 2), "the same ports again");
        let ports = PerLeg::from_fn(|leg| match leg {
            Leg::Caller => SocketAddr::new(US_OUTSIDE.parse::<SocketAddr>().unwrap().ip(), port),
            Leg::Callee => SocketAddr::new(US_INSIDE.parse::<SocketAddr>().unwrap().ip(), port + 2),
        });
        self.switchboard.handle_input(Input::Media { call, event: MediaEvent::Opened { ports } }, self.now);
    }

    /// What has been asked of the media path for video is done.
    pub(crate) fn video_goes_on(&mut self) {
        for command in self.slow_video.take().unwrap_or_default() {
            self.media(command);
            self.drain();
        }
    }

    /// Lets time pass.
    pub(crate) fn run(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(at) = self.switchboard.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.switchboard.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
    }

    /// The number by which rules know the last call's caller.
    pub(crate) fn caller_number(&self) -> Option<String> {
        self.number.clone()
    }

    /// The newest INVITE that a peer has received and not looked at; all else is dropped.
    pub(crate) fn newest_invite(&mut self, peer: &str) -> Option<String> {
        self.newest(peer, "INVITE ")
    }

    fn newest(&mut self, peer: &str, beginning: &str) -> Option<String> {
        let inbox = self.inbox.remove(&peer.parse().unwrap()).unwrap_or_default();
        inbox.into_iter().rfind(|message| message.starts_with(beginning))
    }

    /// What came to a peer was meant to.
    pub(crate) fn forget_peer(&mut self, peer: &str) {
        self.inbox.remove(&peer.parse().unwrap());
    }

    /// Lets time pass until a peer has received something.
    pub(crate) fn run_until_received(&mut self, peer: &str) {
        let peer: SocketAddr = peer.parse().unwrap();
        while self.inbox.get(&peer).is_none_or(VecDeque::is_empty) {
            self.now = self.switchboard.poll_timeout().unwrap_or_else(|| panic!("nothing will come to {peer}"));
            self.switchboard.handle_timeout(self.now);
            self.drain();
        }
    }

    /// The next message that a peer has received and not looked at.
    pub(crate) fn receive(&mut self, peer: &str) -> Option<String> {
        self.inbox.get_mut(&peer.parse().unwrap())?.pop_front()
    }

    /// The last one; the others are dropped.
    pub(crate) fn last(&mut self, peer: &str) -> String {
        let inbox = self.inbox.remove(&peer.parse().unwrap()).unwrap_or_default();
        inbox.into_iter().next_back().unwrap_or_else(|| panic!("nothing came to {peer}\n{}", self.ladder))
    }

    /// The callee at an address answers an INVITE, with a tag; the caller acknowledges what it hears of it.
    pub(crate) fn answer(&mut self, (callee, tag): (&str, &str), invite: &str, (at, caller): (&str, &mut Phone)) {
        self.send(callee, &response(invite, "200 OK", tag, &sdp(callee, "")));
        caller.learn(&self.last(at));
        self.send(at, &caller.ack());
    }

    /// A telephone at an address says BYE, and the other side takes it.
    pub(crate) fn hang_up(&mut self, (at, phone): (&str, &mut Phone), other: &str) {
        self.send(at, &phone.next("BYE", ""));
        let bye = self.last(other);
        self.send(other, &response(&bye, "200 OK", "", ""));
    }

    /// The verdict of a scam on the only call.
    pub(crate) fn judge(&mut self, press_key: f32) {
        let call = *self.calls.last().unwrap();
        let rest = Ratio::clamped(1.0 - press_key);
        let verdict = Verdict {
            at: CallTime::from_millis(5_000),
            class: Class::PressKey,
            probabilities: [Ratio::ZERO, rest, Ratio::ZERO, Ratio::clamped(press_key)],
            reasons: Vec::new(),
        };
        self.input(Input::Judged { call, verdict });
    }

    /// What the media path says of the only call.
    pub(crate) fn media_says(&mut self, event: MediaEvent) {
        let call = *self.calls.last().unwrap();
        self.input(Input::Media { call, event });
    }

    /// What was played last to a leg of the only call has been heard.
    pub(crate) fn finished(&mut self, to: Leg) {
        let play = self.plays[to];
        self.media_says(MediaEvent::Finished { to, play });
    }

    /// The ladder so far; it begins anew.
    pub(crate) fn ladder(&mut self) -> String {
        std::mem::take(&mut self.ladder)
    }

    /// The same where media ports were refused.
    pub(crate) fn rest_refused(&mut self) {
        self.open.clear();
        self.rest();
    }

    /// Every timer expires; then nothing is left, and every INVITE had one final answer.
    pub(crate) fn rest(&mut self) {
        self.run(Duration::from_secs(400));
        if !self.switchboard.pbx_answers() {
            // It is asked until it answers.
            let question = self.newest(PBX, "OPTIONS ").unwrap_or_else(|| panic!("a silent PBX is asked"));
            self.send(PBX, &response(&question, "200 OK", "pbx", ""));
            self.run(Duration::from_secs(400));
        }
        assert_eq!(self.switchboard.sizes(), call::Sizes::default(), "{}", self.ladder);
        assert!(self.kept.is_empty(), "the journal keeps a call that is over");
        assert!(self.open.is_empty(), "media ports outlive their calls");
        for (via, finals) in &self.finals {
            assert_eq!(finals.len(), 1, "{via} had {finals:?}");
        }
        let strangers = self.inbox.keys().filter(|to| Self::name(**to) == "stranger").count();
        assert_eq!(strangers, 0, "something was sent to a stranger");
    }
}

/// A call that has been answered: world, caller, callee; the ladder is emptied.
pub(crate) fn answered(settings: call::Settings) -> (World, Phone, Phone) {
    let mut world = World::new(settings);
    let mut caller = Phone::caller("call");
    world.send(TRUNK, &caller.request("INVITE", &sdp(TRUNK, "")));
    let invite = world.last(PBX);
    let callee = Phone::callee(&invite, "callee");
    world.answer((PBX, "callee"), &invite, (TRUNK, &mut caller));
    world.last(PBX);
    world.ladder();
    (world, caller, callee)
}

/// The ladder since the last look is this one, up to blanks.
#[track_caller]
pub(crate) fn expect(world: &mut World, golden: &str) {
    let ladder = world.ladder();
    let tidy = |text: &str| text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n");
    let (ladder, golden) = (tidy(&ladder), tidy(golden));
    assert!(ladder == golden, "\n--- seen\n{ladder}\n--- expected\n{golden}\n");
}

/// All that a video may be asked for.
fn is_of_video(command: &MediaCommand) -> bool {
    let (MediaCommand::Open { call, .. }
    | MediaCommand::Latch { call, .. }
    | MediaCommand::Plan { call, .. }
    | MediaCommand::Answered { call, .. }
    | MediaCommand::Cut { call, .. }
    | MediaCommand::Close { call }) = command
    else {
        return false;
    };
    call.of_video().is_some()
}

pub(crate) fn header<'t>(message: &'t str, name: &str) -> &'t str {
    let mut lines = message.split("\r\n").take_while(|line| !line.is_empty());
    lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap_or_default()
}

fn summary(text: &str) -> String {
    let first = text.lines().next().unwrap_or_default();
    let sdp = if text.contains("\r\n\r\nv=0") { " sdp" } else { "" };
    match first.strip_prefix("SIP/2.0 ") {
        Some(status) => format!("{status} ({}){sdp}", header(text, "CSeq")),
        None => {
            let mut words = first.split(' ');
            format!("{} {}{sdp}", words.next().unwrap_or_default(), words.next().unwrap_or_default())
        }
    }
}

fn event(event: &Event) -> String {
    match event {
        Event::Began { facts, .. } => format!("began {}", facts.direction.label()),
        Event::Routed { decision, enforcement } => {
            format!("routed {} by {} {}", decision.route.label(), decision.rule, enforcement.label())
        }
        Event::Restored { story, .. } => format!("restored after {} s", story.answered.as_secs()),
        Event::Ringing => "ringing".to_owned(),
        Event::Answered { analysed, not_analysed } => {
            format!("answered analysed={analysed} {}", not_analysed.map_or("", NotAnalysed::label))
        }
        Event::Unheard { not_analysed, .. } => format!("unheard, {}", not_analysed.label()),
        Event::Judged { verdict } => format!("judged {}", verdict.class.label()),
        Event::SteppedUp { decision, enforcement, .. } => {
            format!("{} {}", decision.action.label(), enforcement.label())
        }
        Event::TakenBack { .. } => "taken back".to_owned(),
        Event::GuardLifted { by, .. } => format!("guard lifted, {}", by.label()),
        Event::Digit { leg } => format!("digit {}", leg.label()),
        Event::Ended { ending } => {
            let by = ending.by.map_or("us", Leg::label);
            format!(
                "ended {} by {by} {}",
                ending.how.label(),
                ending.status.map_or_else(String::new, |status| status.to_string())
            )
        }
    }
}

/// A telephone's dialog, as text: what it needs to write the next request.
#[derive(Clone, Debug)]
pub(crate) struct Phone {
    pub(crate) at: &'static str,
    pub(crate) call_id: String,
    /// Own header value with tag, the other's as far as it is known.
    pub(crate) local: String,
    pub(crate) remote: String,
    pub(crate) target: String,
    pub(crate) cseq: u32,
}

pub(crate) fn sdp(at: &str, more: &str) -> String {
    let ip = at.split(':').next().unwrap();
    format!(
        "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0 101\r\n\
         a=rtpmap:101 telephone-event/8000\r\n{more}"
    )
}

impl Phone {
    /// A caller on the trunk that dials 201.
    pub(crate) fn caller(name: &str) -> Self {
        Self {
            at: TRUNK,
            call_id: format!("{name}@trunk"),
            local: format!("<sip:+441632960001@{TRUNK}>;tag={name}"),
            remote: format!("<sip:201@{US_OUTSIDE}>"),
            target: format!("sip:201@{US_OUTSIDE}"),
            cseq: 1,
        }
    }

    /// A caller behind the PBX that dials out.
    pub(crate) fn inside(name: &str, number: &str) -> Self {
        Self {
            at: PBX,
            call_id: format!("{name}@pbx"),
            local: format!("<sip:201@{PBX}>;tag={name}"),
            remote: format!("<sip:{number}@{US_INSIDE}>"),
            target: format!("sip:{number}@{US_INSIDE}"),
            cseq: 1,
        }
    }

    /// The PBX's side of a call, from the INVITE it got.
    pub(crate) fn callee(invite: &str, tag: &str) -> Self {
        let contact = header(invite, "Contact").trim_start_matches('<').split('>').next().unwrap();
        Self {
            at: PBX,
            call_id: header(invite, "Call-ID").to_owned(),
            local: format!("{};tag={tag}", header(invite, "To")),
            remote: header(invite, "From").to_owned(),
            target: contact.to_owned(),
            cseq: 100,
        }
    }

    pub(crate) fn request(&self, method: &str, body: &str) -> String {
        self.request_with(method, "", body)
    }

    pub(crate) fn request_with(&self, method: &str, more: &str, body: &str) -> String {
        let Self { at, call_id, local, remote, target, cseq } = self;
        let tag = local.rsplit("tag=").next().unwrap();
        let branch = format!("{tag}{cseq}");
        let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        format!(
            "{method} {target} SIP/2.0\r\nVia: SIP/2.0/UDP {at};branch=z9hG4bK{branch};rport\r\nMax-Forwards: 70\r\n\
             From: {local}\r\nTo: {remote}\r\nCall-ID: {call_id}\r\nCSeq: {cseq} {method}\r\nContact: <sip:x@{at}>\r\n\
             {more}{kind}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }

    /// The ACK to a success: a branch of its own.
    pub(crate) fn ack(&self) -> String {
        self.request("ACK", "").replace("branch=z9hG4bK", "branch=z9hG4bKack")
    }

    /// Learns the other side from a response.
    pub(crate) fn learn(&mut self, response: &str) {
        self.remote = header(response, "To").to_owned();
        let contact = header(response, "Contact").trim_start_matches('<').split('>').next().unwrap();
        if !contact.is_empty() {
            self.target = contact.to_owned();
        }
    }

    /// The next request of the dialog.
    pub(crate) fn next(&mut self, method: &str, body: &str) -> String {
        self.cseq += 1;
        self.request(method, body)
    }
}

/// A response to a request, with a tag of ours where it has none.
pub(crate) fn response(request: &str, status: &str, tag: &str, body: &str) -> String {
    let vias: String =
        request.split("\r\n").filter(|line| line.starts_with("Via: ")).map(|via| format!("{via}\r\n")).collect();
    let to = header(request, "To");
    let to = if to.contains("tag=") || tag.is_empty() { to.to_owned() } else { format!("{to};tag={tag}") };
    let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    let at = if header(request, "Via").contains(US_INSIDE) { PBX } else { TRUNK };
    format!(
        "SIP/2.0 {status}\r\n{vias}From: {}\r\nTo: {to}\r\nCall-ID: {}\r\nCSeq: {}\r\nContact: <sip:y@{at}>\r\n\
         {kind}Content-Length: {}\r\n\r\n{body}",
        header(request, "From"),
        header(request, "Call-ID"),
        header(request, "CSeq"),
        body.len()
    )
}

/// A command as ladders have it.
fn in_words(command: &MediaCommand) -> String {
    let names = |prompts: &[PromptId]| prompts.iter().map(|prompt| &*prompt.0).collect::<Vec<_>>().join(" ");
    match command {
        MediaCommand::Open { .. } => "open".to_owned(),
        MediaCommand::Close { .. } => "close".to_owned(),
        MediaCommand::Play { to, prompts, .. } => format!("play {} to {}", names(prompts), to.label()),
        MediaCommand::Whisper { to, prompts, .. } => format!("whisper {} to {}", names(prompts), to.label()),
        MediaCommand::HoldKeys { from, held, .. } => {
            let held = match held {
                Held::All => "true".to_owned(),
                Held::Last(key) => format!("false but {key}"),
                Held::Nothing => "false".to_owned(),
            };
            format!("hold keys of {} {held}", from.label())
        }
        MediaCommand::Press { to, key, .. } => format!("press {key} for {}", to.label()),
        MediaCommand::StopPlay { to, .. } => format!("stop playing to {}", to.label()),
        MediaCommand::Cut { from, cut, .. } => format!("cut {} {cut}", from.label()),
        MediaCommand::Answered { analyse, .. } => format!("answered, analyse {analyse}"),
        MediaCommand::Latch { leg, address, .. } => format!("latch {} {address}", leg.label()),
        MediaCommand::StopTap { .. } => "stop listening".to_owned(),
        MediaCommand::Plan { leg, plan, .. } => {
            let srtp = if plan.srtp.is_some() { " srtp" } else { "" };
            let fax = if plan.fax { " fax" } else { "" };
            format!("plan {} {:?}{srtp}{fax}", leg.label(), plan.codecs)
        }
    }
}
