//! A reference telephone: one end of one call, with the repetitions of RFC 3261 §13 and §17 of its own.
//!
//! In: text that has come, what its user does, `now`. Out: text to send. It shares no code with what it tests, so that
//! a mistake cannot agree with itself. What it is sent and may not be sent is noted in `problems`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use ringfence::units::Leg;

use super::message::{Read, finish, response, sdp, tag};
use super::scenario::Reply;

const T1: Duration = Duration::from_millis(500);
const T2: Duration = Duration::from_secs(4);
/// 64*T1.
const LONG: Duration = Duration::from_secs(32);
/// Nobody lets a telephone ring for longer.
const LONGEST_RINGING: Duration = Duration::from_secs(240);
/// Thinking about a re-INVITE, where the script says so.
const SLOW: Duration = Duration::from_secs(5);

/// From a telephone's port to that of its pictures.
pub(crate) const TO_VIDEO: u16 = 1_000;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Stage {
    Early,
    Confirmed,
    Over,
}

#[derive(Clone, Debug)]
struct Dialog {
    local: String,
    remote: String,
    target: String,
    /// Highest CSeq sent, highest seen.
    out: u32,
    seen: u32,
    stage: Stage,
    /// The ACK to its last 2xx, and that one's CSeq.
    ack: Option<(u32, Arc<[u8]>)>,
}

/// A repetition: due, interval, end.
#[derive(Clone, Copy, Debug)]
struct Repeat {
    due: Duration,
    interval: Duration,
    give_up: Duration,
}

impl Repeat {
    fn new(now: Duration) -> Self {
        Self { due: now + T1, interval: T1, give_up: now + LONG }
    }

    fn back_off(&mut self, longest: Duration) {
        self.interval = (self.interval * 2).min(longest);
        self.due += self.interval;
    }

    fn next(&self) -> Duration {
        self.due.min(self.give_up)
    }
}

#[derive(Clone, Debug)]
enum SentState {
    Calling(Repeat),
    /// An INVITE with a 1xx; a cancelled one is given up.
    Proceeding {
        give_up: Option<Duration>,
    },
    /// Answered; a failure's ACK is kept.
    Done {
        until: Duration,
        ack: Option<Arc<[u8]>>,
    },
}

/// A request of ours.
#[derive(Clone, Debug)]
struct Sent {
    method: &'static str,
    branch: String,
    bytes: Arc<[u8]>,
    dialog: usize,
    cseq: u32,
    state: SentState,
    wants_cancel: bool,
    cancelled: bool,
    /// Port of the offer in it.
    offers: Option<(u16, bool)>,
    initial: bool,
}

#[derive(Clone, Debug)]
enum GotState {
    /// Not finally answered.
    Pending,
    /// A failure that waits for its ACK.
    Failed(Repeat),
    Done {
        until: Duration,
    },
}

/// A request of the other end.
#[derive(Clone, Debug)]
struct Got {
    method: String,
    branch: String,
    cseq: u32,
    request: String,
    dialog: Option<usize>,
    last: Option<Arc<[u8]>>,
    state: GotState,
}

/// A 2xx without its ACK, or a reliable 1xx without its PRACK.
#[derive(Clone, Debug)]
struct Unacked {
    dialog: usize,
    cseq: u32,
    reliable: Option<u32>,
    bytes: Arc<[u8]>,
    repeat: Repeat,
}

/// One end of one call.
#[derive(Debug)]
pub(crate) struct Phone {
    name: String,
    at: &'static str,
    us: &'static str,
    call_id: String,
    pub(crate) acks: bool,
    pub(crate) ignores_cancel: bool,
    pub(crate) challenges: bool,
    pub(crate) slow_re_invite: bool,
    pub(crate) delayed_offer: bool,
    /// Asks for a session timer, and grants one.
    pub(crate) timer: bool,
    /// Offers video and accepts it.
    pub(crate) shows: bool,
    /// Its hold refuses it.
    pub(crate) hides_on_hold: bool,
    pub(crate) script: Vec<(Duration, Reply)>,
    replies: VecDeque<(Duration, Reply)>,
    dialogs: Vec<Dialog>,
    sent: Vec<Sent>,
    got: Vec<Got>,
    unacked: Vec<Unacked>,
    branches: u32,
    rseq: u32,
    /// Last reliable 1xx that was acknowledged, by tag and number.
    pracked: Vec<String>,
    /// Port of the description in force, and of the last that was written.
    pub(crate) port: u16,
    last_port: u16,
    pub(crate) held: bool,
    pub(crate) vanished: bool,
    /// The caller has just had its answer.
    pub(crate) confirmed: bool,
    pub(crate) ever_confirmed: bool,
    pub(crate) out: Vec<Arc<[u8]>>,
    pub(crate) problems: Vec<String>,
}

impl Phone {
    pub(crate) fn new(number: u64, leg: Leg, at: &'static str, us: &'static str) -> Self {
        Self {
            name: format!("{}{number}", leg.label()),
            at,
            us,
            call_id: format!("c{number}@soak"),
            acks: true,
            ignores_cancel: false,
            challenges: false,
            slow_re_invite: false,
            delayed_offer: false,
            timer: false,
            shows: false,
            hides_on_hold: false,
            script: Vec::new(),
            replies: VecDeque::new(),
            dialogs: Vec::new(),
            sent: Vec::new(),
            got: Vec::new(),
            unacked: Vec::new(),
            branches: 0,
            rseq: 0,
            pracked: Vec::new(),
            port: 4_000,
            last_port: 4_000,
            held: false,
            vanished: false,
            confirmed: false,
            ever_confirmed: false,
            out: Vec::new(),
            problems: Vec::new(),
        }
    }

    // What its user does.

    /// The first INVITE of a caller.
    pub(crate) fn invite(&mut self, dials: &str, now: Duration) {
        let target = format!("sip:{dials}@{}", self.us);
        self.dialogs.push(Dialog {
            local: format!("<sip:+441632960001@{}>;tag={}", self.at, self.name),
            remote: format!("<{target}>"),
            target,
            out: 0,
            seen: 0,
            stage: Stage::Early,
            ack: None,
        });
        self.send_initial(now);
    }

    fn send_initial(&mut self, now: Duration) {
        let body = if self.delayed_offer { String::new() } else { self.describes(self.port, "sendrecv", "") };
        self.send("INVITE", 0, "Supported: 100rel\r\n", &body, now);
        if let Some(sent) = self.sent.last_mut() {
            sent.initial = true;
        }
    }

    /// Gives up a call that has not been answered; hangs up one that has.
    pub(crate) fn cancel(&mut self, now: Duration) {
        self.cancel_invite(true, now);
        if self.is_up() {
            self.bye(now);
        }
    }

    pub(crate) fn cancel_re_invite(&mut self, now: Duration) {
        self.cancel_invite(false, now);
    }

    fn cancel_invite(&mut self, initial: bool, now: Duration) {
        for number in 0..self.sent.len() {
            let sent = &mut self.sent[number];
            if sent.method == "INVITE" && sent.initial == initial {
                sent.wants_cancel = true;
                self.send_cancel(number, now);
            }
        }
    }

    /// A CANCEL waits for the first 1xx (RFC 3261 §9.1).
    fn send_cancel(&mut self, number: usize, now: Duration) {
        let sent = &mut self.sent[number];
        let SentState::Proceeding { give_up } = &mut sent.state else { return };
        if !sent.wants_cancel || sent.cancelled {
            return;
        }
        sent.cancelled = true;
        *give_up = Some(now + LONG);
        let bytes = derived(&sent.bytes, "CANCEL", None);
        let (branch, dialog, cseq) = (sent.branch.clone(), sent.dialog, sent.cseq);
        self.push_sent("CANCEL", branch, bytes, dialog, cseq, now);
    }

    /// A BYE inside an early dialog (RFC 3261 §15.1.1), else whatever ends the call.
    pub(crate) fn early_bye(&mut self, now: Duration) {
        let known = self.dialogs.first().is_some_and(|dialog| !tag(&dialog.remote).is_empty());
        if known && !self.is_up() {
            self.send("BYE", 0, "", "", now);
        } else {
            self.cancel(now);
        }
    }

    /// Hangs up whatever is up.
    pub(crate) fn bye(&mut self, now: Duration) {
        for dialog in 0..self.dialogs.len() {
            if self.dialogs[dialog].stage == Stage::Confirmed {
                self.bye_dialog(dialog, now);
            }
        }
    }

    fn bye_dialog(&mut self, dialog: usize, now: Duration) {
        self.dialogs[dialog].stage = Stage::Over;
        self.unacked.retain(|unacked| unacked.dialog != dialog);
        self.send("BYE", dialog, "", "", now);
    }

    /// A re-INVITE with a new port.
    pub(crate) fn re_invite(&mut self, hold: bool, now: Duration) {
        let pending = self.sent.iter().any(|sent| sent.method == "INVITE" && !sent.is_done());
        if let (Some(dialog), false) = (self.up(), pending) {
            let offer = self.offer(hold);
            self.send("INVITE", dialog, "", &offer, now);
            self.note_offer(hold);
        }
    }

    pub(crate) fn update(&mut self, now: Duration) {
        if let Some(dialog) = self.up() {
            let offer = self.offer(false);
            self.send("UPDATE", dialog, "", &offer, now);
            self.note_offer(false);
        }
    }

    pub(crate) fn plain(&mut self, method: &'static str, now: Duration) {
        if let Some(dialog) = self.up() {
            self.send(method, dialog, "", "", now);
        }
    }

    fn offer(&mut self, hold: bool) -> String {
        self.last_port += 2;
        if hold && self.hides_on_hold {
            return sdp(self.at, self.last_port, "sendonly", Some(0));
        }
        self.describes(self.last_port, if hold { "sendonly" } else { "sendrecv" }, "")
    }

    /// Its description, as an answer to `offer` where there is one.
    fn describes(&self, port: u16, direction: &str, offer: &str) -> String {
        let shows = self.shows.then_some(port + TO_VIDEO);
        let video = match offer {
            "" => shows,
            offer if offer.contains("m=video 0 ") => Some(0),
            offer if offer.contains("m=video ") => Some(shows.unwrap_or(0)),
            _ => None,
        };
        sdp(self.at, port, direction, video)
    }

    fn note_offer(&mut self, hold: bool) {
        let port = self.last_port;
        if let Some(sent) = self.sent.last_mut() {
            sent.offers = Some((port, hold));
        }
    }

    // What is asked about it.

    fn up(&self) -> Option<usize> {
        self.dialogs.iter().position(|dialog| dialog.stage == Stage::Confirmed)
    }

    /// In a call, and still there.
    pub(crate) fn is_up(&self) -> bool {
        !self.vanished && self.up().is_some()
    }

    /// No offer of its own or of the other end waits.
    pub(crate) fn is_settled(&self) -> bool {
        self.unacked.is_empty()
            && self.sent.iter().all(|sent| sent.is_done() || sent.offers.is_none() && !sent.initial)
            && self.got.iter().all(|got| !matches!(got.state, GotState::Pending) || got.method != "INVITE")
    }

    pub(crate) fn due(&self) -> Option<Duration> {
        if self.vanished {
            return None;
        }
        let sent = self.sent.iter().filter_map(|sent| match &sent.state {
            SentState::Calling(repeat) => Some(repeat.next()),
            SentState::Proceeding { give_up } => *give_up,
            SentState::Done { until, .. } => Some(*until),
        });
        let got = self.got.iter().filter_map(|got| match &got.state {
            GotState::Pending => None,
            GotState::Failed(repeat) => Some(repeat.next()),
            GotState::Done { until } => Some(*until),
        });
        let unacked = self.unacked.iter().map(|unacked| unacked.repeat.next());
        let reply = self.replies.front().map(|(at, _)| *at);
        sent.chain(got).chain(unacked).chain(reply).min()
    }

    // What time brings.

    pub(crate) fn handle_timeout(&mut self, now: Duration) {
        while let Some((_, reply)) = self.replies.front().copied().filter(|(at, _)| *at <= now) {
            self.replies.pop_front();
            self.reply(reply, now);
        }
        let mut given_up = Vec::new();
        for sent in &mut self.sent {
            match &mut sent.state {
                SentState::Calling(repeat) if repeat.give_up <= now => given_up.push(sent.branch.clone()),
                SentState::Proceeding { give_up: Some(give_up) } if *give_up <= now => {
                    given_up.push(sent.branch.clone());
                }
                SentState::Calling(repeat) if repeat.due <= now => {
                    repeat.back_off(if sent.method == "INVITE" { LONG } else { T2 });
                    self.out.push(Arc::clone(&sent.bytes));
                }
                SentState::Calling(_) | SentState::Proceeding { .. } | SentState::Done { .. } => {}
            }
        }
        for branch in given_up {
            self.give_up(&branch, now);
        }
        self.sent.retain(|sent| !matches!(&sent.state, SentState::Done { until, .. } if *until <= now));
        for got in &mut self.got {
            match &mut got.state {
                GotState::Failed(repeat) if repeat.give_up <= now => got.state = GotState::Done { until: now + T2 },
                GotState::Failed(repeat) if repeat.due <= now => {
                    repeat.back_off(T2);
                    self.out.extend(got.last.clone());
                }
                GotState::Failed(_) | GotState::Pending | GotState::Done { .. } => {}
            }
        }
        self.got.retain(|got| !matches!(got.state, GotState::Done { until } if until <= now));
        let mut never_acked = Vec::new();
        for unacked in &mut self.unacked {
            if unacked.repeat.give_up <= now {
                never_acked.push((unacked.dialog, unacked.reliable));
            } else if unacked.repeat.due <= now {
                unacked.repeat.back_off(T2);
                self.out.push(Arc::clone(&unacked.bytes));
            }
        }
        self.unacked.retain(|unacked| unacked.repeat.give_up > now);
        for (dialog, reliable) in never_acked {
            if reliable.is_some() {
                self.final_reply(480, now);
            } else if self.dialogs[dialog].stage == Stage::Confirmed {
                self.bye_dialog(dialog, now);
            }
        }
    }

    /// Timers B and F, and the wait behind a CANCEL.
    fn give_up(&mut self, branch: &str, now: Duration) {
        let found = self.sent.iter_mut().filter(|sent| sent.branch == branch && !sent.is_done());
        let mut over = Vec::new();
        for sent in found.filter(|sent| sent.state.is_due(now)) {
            sent.state = SentState::Done { until: now, ack: None };
            over.push((sent.method, sent.dialog, sent.initial));
        }
        for (method, dialog, initial) in over {
            let up = self.dialogs[dialog].stage == Stage::Confirmed;
            match method {
                "INVITE" if initial => self.dialogs[dialog].stage = Stage::Over,
                "INVITE" | "UPDATE" | "INFO" | "OPTIONS" if up => self.bye_dialog(dialog, now),
                _ => {}
            }
        }
    }

    // What comes.

    pub(crate) fn receive(&mut self, text: &str, now: Duration) {
        if self.vanished {
            return;
        }
        let read = Read::new(text);
        if !read.contact.is_empty() && read.status.is_none_or(|code| code / 100 != 3) && !read.contact.contains(self.us)
        {
            self.problems.push(format!("{} learns a Contact that is not Ringfence's: {}", self.name, read.contact));
        }
        let own_ip = self.us.split(':').next().unwrap_or_default();
        if read.body.starts_with("v=0") && !read.body.contains(&format!("c=IN IP4 {own_ip}\r\n")) {
            self.problems.push(format!("{} is sent media past Ringfence", self.name));
        }
        match read.status {
            Some(code) => self.response(&read, code, now),
            None => self.request(&read, text, now),
        }
    }

    fn response(&mut self, read: &Read<'_>, code: u16, now: Duration) {
        let Some(number) = self.sent.iter().position(|sent| sent.branch == read.branch && sent.method == read.method)
        else {
            return;
        };
        if read.method == "INVITE" {
            return self.invite_response(number, read, code, now);
        }
        let sent = &mut self.sent[number];
        let SentState::Calling(repeat) = &mut sent.state else { return };
        if code < 200 {
            repeat.interval = T2;
            repeat.due = now + T2;
            return;
        }
        let (method, dialog, offers) = (sent.method, sent.dialog, sent.offers);
        sent.state = SentState::Done { until: now + T1, ack: None };
        let up = self.dialogs[dialog].stage == Stage::Confirmed;
        match (method, code) {
            ("UPDATE", 200) => self.accepted(offers),
            ("UPDATE" | "INFO" | "OPTIONS" | "PRACK", 481) if up => self.dialogs[dialog].stage = Stage::Over,
            ("UPDATE" | "INFO" | "OPTIONS", 408) if up => self.bye_dialog(dialog, now),
            ("BYE", 500) => self.problems.push(format!("{}: its BYE was refused as out of order", self.name)),
            _ => {}
        }
    }

    fn accepted(&mut self, offers: Option<(u16, bool)>) {
        if let Some((port, hold)) = offers {
            self.port = port;
            self.held = hold;
        }
    }

    fn invite_response(&mut self, number: usize, read: &Read<'_>, code: u16, now: Duration) {
        let sent = &mut self.sent[number];
        let (dialog, initial, offers) = (sent.dialog, sent.initial, sent.offers);
        match (&mut sent.state, code) {
            (SentState::Done { .. }, 0..200) => {}
            (SentState::Done { ack, .. }, 300..) => self.out.extend(ack.clone()),
            (SentState::Done { .. }, _) => self.take_success(number, read, false, now),
            (SentState::Calling(_) | SentState::Proceeding { .. }, 0..200) => {
                if let SentState::Calling(_) = sent.state {
                    sent.state = SentState::Proceeding { give_up: None };
                }
                let early = &mut self.dialogs[dialog];
                if initial && early.stage == Stage::Early && !tag(read.to).is_empty() {
                    read.to.clone_into(&mut early.remote);
                    if !read.contact.is_empty() {
                        read.contact.clone_into(&mut early.target);
                    }
                }
                if !read.rseq.is_empty() {
                    self.prack(dialog, read, now);
                }
                self.send_cancel(number, now);
            }
            (SentState::Calling(_) | SentState::Proceeding { .. }, 200..300) => {
                sent.state = SentState::Done { until: now + LONG, ack: None };
                if !initial {
                    self.accepted(offers);
                }
                self.take_success(number, read, true, now);
            }
            (SentState::Calling(_) | SentState::Proceeding { .. }, _) => {
                let ack = derived(&sent.bytes, "ACK", Some(read.to));
                if self.acks {
                    self.out.push(Arc::clone(&ack));
                }
                let ack = self.acks.then_some(ack);
                sent.state = SentState::Done { until: now + LONG, ack };
                let up = self.dialogs[dialog].stage == Stage::Confirmed;
                match code {
                    407 if initial && !sent.wants_cancel => {
                        let first = &mut self.dialogs[dialog];
                        first.remote = first.remote.split(";tag=").next().unwrap_or_default().to_owned();
                        sent.initial = false;
                        self.send_initial(now);
                    }
                    _ if initial => self.dialogs[dialog].stage = Stage::Over,
                    481 if up => self.dialogs[dialog].stage = Stage::Over,
                    408 if up => self.bye_dialog(dialog, now),
                    _ => {}
                }
            }
        }
    }

    /// A 2xx to an INVITE, the first or a further one: it is acknowledged here (RFC 3261 §13.2.2.4).
    fn take_success(&mut self, number: usize, read: &Read<'_>, first: bool, now: Duration) {
        let Sent { dialog, cseq, initial, cancelled, wants_cancel, .. } = self.sent[number];
        if !self.acks {
            if initial && first {
                self.confirm(dialog, read);
            }
            return;
        }
        let known = self.dialogs.iter().position(|dialog| tag(&dialog.remote) == tag(read.to) && dialog.ack.is_some());
        if let Some((acked, bytes)) = known.and_then(|known| self.dialogs[known].ack.clone())
            && acked == cseq
        {
            return self.out.push(bytes);
        }
        if initial && !first && known.is_none() {
            // Another fork has answered too: acknowledged and ended.
            let mut other = self.dialogs[dialog].clone();
            (other.out, other.stage, other.ack) = (cseq, Stage::Confirmed, None);
            read.to.clone_into(&mut other.remote);
            read.contact.clone_into(&mut other.target);
            self.dialogs.push(other);
            let other = self.dialogs.len() - 1;
            self.acknowledge(other, cseq, read);
            return self.bye_dialog(other, now);
        }
        if initial && first {
            self.confirm(dialog, read);
        } else if !read.contact.is_empty() {
            read.contact.clone_into(&mut self.dialogs[dialog].target);
        }
        self.acknowledge(dialog, cseq, read);
        if initial && first && (cancelled || wants_cancel) {
            self.bye_dialog(dialog, now);
        }
    }

    fn confirm(&mut self, dialog: usize, read: &Read<'_>) {
        let dialog = &mut self.dialogs[dialog];
        read.to.clone_into(&mut dialog.remote);
        read.contact.clone_into(&mut dialog.target);
        if dialog.stage == Stage::Early {
            dialog.stage = Stage::Confirmed;
            self.confirmed = true;
            self.ever_confirmed = true;
        }
    }

    fn acknowledge(&mut self, dialog: usize, cseq: u32, read: &Read<'_>) {
        let answers = self.delayed_offer && !read.body.is_empty() && self.sent_body_was_empty(cseq);
        let body = if answers { self.describes(self.port, "sendrecv", read.body) } else { String::new() };
        let branch = self.branch();
        let bytes = self.write("ACK", dialog, cseq, &branch, "", &body);
        self.dialogs[dialog].ack = Some((cseq, Arc::clone(&bytes)));
        self.out.push(bytes);
    }

    fn sent_body_was_empty(&self, cseq: u32) -> bool {
        self.sent.iter().any(|sent| sent.method == "INVITE" && sent.cseq == cseq && sent.offers.is_none())
    }

    fn prack(&mut self, dialog: usize, read: &Read<'_>, now: Duration) {
        let which = format!("{} {}", read.rseq, tag(read.to));
        if !self.pracked.contains(&which) {
            self.pracked.push(which);
            let rack = format!("RAck: {} {} INVITE\r\n", read.rseq, read.cseq);
            self.send("PRACK", dialog, &rack, "", now);
        }
    }

    fn request(&mut self, read: &Read<'_>, text: &str, now: Duration) {
        if read.method == "ACK" {
            return self.take_ack(read, now);
        }
        if let Some(got) = self.got.iter().find(|got| got.branch == read.branch && got.method == read.method) {
            self.out.extend(got.last.clone());
            return;
        }
        let own_tag = tag(read.to);
        let dialog = self.dialogs.iter().position(|dialog| !own_tag.is_empty() && tag(&dialog.local) == own_tag);
        self.got.push(Got {
            method: read.method.to_owned(),
            branch: read.branch.to_owned(),
            cseq: read.cseq,
            request: text.to_owned(),
            dialog,
            last: None,
            state: GotState::Pending,
        });
        let number = self.got.len() - 1;
        match (read.method, dialog) {
            ("CANCEL", _) => self.take_cancel(number, read, now),
            ("INVITE", None) if own_tag.is_empty() => {
                if self.challenges {
                    self.challenges = false;
                    return self.answer(number, 407, "challenge", now);
                }
                let mut at = now;
                for (after, reply) in self.script.clone() {
                    at += after;
                    self.replies.push_back((at, reply));
                }
                self.replies.push_back((now + LONGEST_RINGING, Reply::Fail(480)));
            }
            (_, None) => self.answer(number, 481, "none", now),
            (_, Some(dialog)) => self.in_dialog(number, dialog, read, now),
        }
    }

    fn in_dialog(&mut self, number: usize, dialog: usize, read: &Read<'_>, now: Duration) {
        if self.dialogs[dialog].stage == Stage::Over {
            return self.answer(number, 481, "", now);
        }
        if read.cseq <= self.dialogs[dialog].seen {
            return self.answer(number, 500, "", now);
        }
        self.dialogs[dialog].seen = read.cseq;
        match read.method {
            "BYE" => {
                self.answer(number, 200, "", now);
                self.dialogs[dialog].stage = Stage::Over;
                self.unacked.retain(|unacked| unacked.dialog != dialog);
                let pending = |got: &Got| got.method == "INVITE" && matches!(got.state, GotState::Pending);
                for number in 0..self.got.len() {
                    let got = &self.got[number];
                    if pending(got) && (got.dialog == Some(dialog) || got.dialog.is_none()) {
                        self.replies.clear();
                        let own = tag(&self.dialogs[dialog].local).to_owned();
                        self.answer(number, 487, &own, now);
                    }
                }
            }
            "INVITE" | "UPDATE" => {
                let own = self.sent.iter().any(|sent| {
                    !sent.is_done() && sent.offers.is_some() && (sent.method == "INVITE" || read.method == "UPDATE")
                });
                let theirs = self.got.iter().any(|got| got.method == "INVITE" && got.is_pending_besides(read.branch));
                if own {
                    return self.answer(number, 491, "", now);
                }
                if theirs {
                    return self.answer(number, 500, "", now);
                }
                read.contact.clone_into(&mut self.dialogs[dialog].target);
                if read.method == "INVITE" && self.slow_re_invite {
                    self.answer(number, 100, "", now);
                    return self.replies.push_back((now + SLOW, Reply::Answer { fork: 9 }));
                }
                self.accept(number, dialog, now);
            }
            _ => self.answer(number, 200, "", now),
        }
        if read.method == "PRACK" {
            self.unacked.retain(|unacked| unacked.reliable.is_none());
        }
    }

    /// 200 to a re-INVITE or an UPDATE.
    fn accept(&mut self, number: usize, dialog: usize, now: Duration) {
        let got = &self.got[number];
        let (cseq, invite, holds) = (got.cseq, got.method == "INVITE", Read::new(&got.request).holds());
        let offer = Read::new(&got.request).body;
        let body = self.describes(self.port, if holds { "recvonly" } else { "sendrecv" }, offer);
        self.held = holds;
        let contact = self.contact();
        let text = response(&self.got[number].request, 200, "", &contact, self.grants(), &body);
        let bytes = self.put(number, 200, text, now);
        if invite {
            // Repeated until its ACK, and not for a repeated INVITE.
            self.got[number].last = None;
            self.unacked.push(Unacked { dialog, cseq, reliable: None, bytes, repeat: Repeat::new(now) });
        }
    }

    fn take_ack(&mut self, read: &Read<'_>, now: Duration) {
        let own = tag(read.to);
        if let Some(got) = self.got.iter_mut().find(|got| got.method == "INVITE" && got.branch == read.branch) {
            if let GotState::Failed(_) = got.state {
                got.state = GotState::Done { until: now + T2 };
            }
            return;
        }
        let dialogs = &self.dialogs;
        self.unacked.retain(|unacked| {
            let of_it = unacked.reliable.is_none() && unacked.cseq == read.cseq;
            !(of_it && tag(&dialogs[unacked.dialog].local) == own)
        });
    }

    fn take_cancel(&mut self, number: usize, read: &Read<'_>, now: Duration) {
        let pending = |got: &Got| got.method == "INVITE" && got.branch == read.branch;
        let Some(invite) = self.got.iter().position(pending) else {
            return self.answer(number, 481, "none", now);
        };
        self.answer(number, 200, "cancel", now);
        if matches!(self.got[invite].state, GotState::Pending) && !self.ignores_cancel {
            self.replies.clear();
            self.unacked.retain(|unacked| unacked.reliable.is_none());
            let own = self.dialogs.first().map_or("cancel", |dialog| tag(&dialog.local)).to_owned();
            self.answer(invite, 487, &own, now);
        }
    }

    // The callee's own part.

    fn reply(&mut self, reply: Reply, now: Duration) {
        let pending =
            |got: &Got| got.method == "INVITE" && (matches!(got.state, GotState::Pending) || got.dialog.is_none());
        match reply {
            Reply::Answer { fork: 9 } => {
                let waits = |got: &Got| got.method == "INVITE" && matches!(got.state, GotState::Pending);
                let found = self.got.iter().position(waits);
                if let Some((number, dialog)) = found.and_then(|number| Some((number, self.got[number].dialog?))) {
                    self.accept(number, dialog, now);
                }
            }
            Reply::Fail(code) => self.final_reply(code, now),
            Reply::Trying | Reply::Ringing { .. } | Reply::Answer { .. } => {
                let Some(number) = self.got.iter().rposition(pending) else { return };
                self.reply_to(number, reply, now);
            }
        }
    }

    fn reply_to(&mut self, number: usize, reply: Reply, now: Duration) {
        let waits = matches!(self.got[number].state, GotState::Pending);
        match reply {
            Reply::Trying if waits => self.answer(number, 100, "", now),
            Reply::Ringing { fork, sdp: with_sdp, reliable } if waits => {
                let dialog = self.fork(number, fork);
                let own = tag(&self.dialogs[dialog].local).to_owned();
                self.rseq += 1;
                let more = if reliable { format!("Require: 100rel\r\nRSeq: {}\r\n", self.rseq) } else { String::new() };
                let offer = Read::new(&self.got[number].request).body;
                let body = if with_sdp { self.describes(self.port, "sendrecv", offer) } else { String::new() };
                let code = if with_sdp { 183 } else { 180 };
                let text = response(&self.got[number].request, code, &own, &self.contact(), &more, &body);
                let bytes = self.put(number, code, text, now);
                if reliable {
                    let reliable = Some(self.rseq);
                    self.unacked.retain(|unacked| unacked.reliable.is_none());
                    self.unacked.push(Unacked { dialog, cseq: 0, reliable, bytes, repeat: Repeat::new(now) });
                }
            }
            Reply::Answer { fork } => {
                if !waits && !self.ever_confirmed {
                    return;
                }
                let dialog = self.fork(number, fork);
                let own = tag(&self.dialogs[dialog].local).to_owned();
                self.dialogs[dialog].stage = Stage::Confirmed;
                self.ever_confirmed = true;
                self.unacked.retain(|unacked| unacked.reliable.is_none());
                let body = self.describes(self.port, "sendrecv", Read::new(&self.got[number].request).body);
                let text = response(&self.got[number].request, 200, &own, &self.contact(), self.grants(), &body);
                let bytes = self.put(number, 200, text, now);
                let got = &mut self.got[number];
                got.last = None;
                let cseq = got.cseq;
                self.unacked.push(Unacked { dialog, cseq, reliable: None, bytes, repeat: Repeat::new(now) });
            }
            Reply::Trying | Reply::Ringing { .. } | Reply::Fail(_) => {}
        }
        // Whoever has answered does not refuse.
        if matches!(reply, Reply::Answer { .. }) {
            self.replies.retain(|(_, reply)| matches!(reply, Reply::Answer { .. }));
        }
    }

    /// The dialog of a fork, begun where there is none.
    fn fork(&mut self, number: usize, fork: u8) -> usize {
        let own = format!("{}f{fork}", self.name);
        if let Some(found) = self.dialogs.iter().position(|dialog| tag(&dialog.local) == own) {
            return found;
        }
        let read = Read::new(&self.got[number].request);
        self.dialogs.push(Dialog {
            local: format!("{};tag={own}", read.to),
            remote: read.from.to_owned(),
            target: read.contact.to_owned(),
            out: 100,
            seen: read.cseq,
            stage: Stage::Early,
            ack: None,
        });
        self.dialogs.len() - 1
    }

    fn final_reply(&mut self, code: u16, now: Duration) {
        let waits =
            |got: &Got| got.method == "INVITE" && matches!(got.state, GotState::Pending) && got.dialog.is_none();
        if let Some(number) = self.got.iter().position(waits) {
            let own = self.dialogs.first().map_or("refuses", |dialog| tag(&dialog.local)).to_owned();
            self.answer(number, code, &own, now);
        }
    }

    // What it writes.

    /// A bare answer, with the tag `own` where the request has none.
    fn answer(&mut self, number: usize, code: u16, own: &str, now: Duration) {
        let more = if code == 500 { "Retry-After: 1\r\n" } else { "" };
        let text = response(&self.got[number].request, code, own, "", more, "");
        self.put(number, code, text, now);
    }

    fn put(&mut self, number: usize, code: u16, text: String, now: Duration) -> Arc<[u8]> {
        let bytes: Arc<[u8]> = text.into_bytes().into();
        let got = &mut self.got[number];
        got.last = Some(Arc::clone(&bytes));
        got.state = match (code, got.method.as_str()) {
            (..200, _) => GotState::Pending,
            (300.., "INVITE") => GotState::Failed(Repeat::new(now)),
            _ => GotState::Done { until: now + LONG },
        };
        self.out.push(Arc::clone(&bytes));
        bytes
    }

    fn grants(&self) -> &'static str {
        if self.timer { "Require: timer\r\nSession-Expires: 100;refresher=uac\r\n" } else { "" }
    }

    fn contact(&self) -> String {
        format!("sip:{}@{}", self.name, self.at)
    }

    fn branch(&mut self) -> String {
        self.branches += 1;
        format!("z9hG4bK{}b{}", self.name, self.branches)
    }

    fn send(&mut self, method: &'static str, dialog: usize, more: &str, body: &str, now: Duration) {
        self.dialogs[dialog].out += 1;
        let cseq = self.dialogs[dialog].out;
        let branch = self.branch();
        let asks = self.timer && matches!(method, "INVITE" | "UPDATE");
        let timer = if asks { "Session-Expires: 100\r\nSupported: timer\r\n" } else { "" };
        let bytes = self.write(method, dialog, cseq, &branch, &format!("{timer}{more}"), body);
        self.push_sent(method, branch, bytes, dialog, cseq, now);
    }

    fn push_sent(
        &mut self,
        method: &'static str,
        branch: String,
        bytes: Arc<[u8]>,
        dialog: usize,
        cseq: u32,
        now: Duration,
    ) {
        self.out.push(Arc::clone(&bytes));
        let state = SentState::Calling(Repeat::new(now));
        self.sent.push(Sent {
            method,
            branch,
            bytes,
            dialog,
            cseq,
            state,
            wants_cancel: false,
            cancelled: false,
            offers: None,
            initial: false,
        });
    }

    fn write(&self, method: &str, dialog: usize, cseq: u32, branch: &str, more: &str, body: &str) -> Arc<[u8]> {
        let Dialog { local, remote, target, .. } = &self.dialogs[dialog];
        let (at, call_id) = (self.at, &self.call_id);
        let out = format!(
            "{method} {target} SIP/2.0\r\nVia: SIP/2.0/UDP {at};branch={branch};rport\r\nMax-Forwards: 70\r\nFrom: {local}\r\n\
             To: {remote}\r\nCall-ID: {call_id}\r\nCSeq: {cseq} {method}\r\nContact: <{}>\r\n",
            self.contact()
        );
        finish(out, more, body).into_bytes().into()
    }
}

impl Sent {
    fn is_done(&self) -> bool {
        matches!(self.state, SentState::Done { .. })
    }
}

impl SentState {
    fn is_due(&self, now: Duration) -> bool {
        match self {
            Self::Calling(repeat) => repeat.give_up <= now,
            Self::Proceeding { give_up } => give_up.is_some_and(|give_up| give_up <= now),
            Self::Done { .. } => false,
        }
    }
}

impl Got {
    fn is_pending_besides(&self, branch: &str) -> bool {
        self.branch != branch && matches!(self.state, GotState::Pending)
    }
}

/// A CANCEL or a failure's ACK: the INVITE's own Via, From, Call-ID and number (RFC 3261 §9.1, §17.1.1.3).
fn derived(invite: &[u8], method: &str, to: Option<&str>) -> Arc<[u8]> {
    let text = std::str::from_utf8(invite).unwrap_or_default();
    let uri = text.split(' ').nth(1).unwrap_or_default();
    let mut out = format!("{method} {uri} SIP/2.0\r\n");
    for line in text.split("\r\n").skip(1).take_while(|line| !line.is_empty()) {
        let (name, value) = line.split_once(": ").unwrap_or_default();
        match name {
            "Via" | "From" | "Call-ID" | "Max-Forwards" => out.extend([line, "\r\n"]),
            "To" => out.extend(["To: ", to.unwrap_or(value), "\r\n"]),
            "CSeq" => out.extend(["CSeq: ", value.split(' ').next().unwrap_or_default(), " ", method, "\r\n"]),
            _ => {}
        }
    }
    finish(out, "", "").into_bytes().into()
}
