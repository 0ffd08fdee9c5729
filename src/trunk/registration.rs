//! One registration with a trunk: REGISTER, refresh, back-off (RFC 3261 §10.2, RFC 5626 §4.5).
//!
//! In: responses, silence, `now`. Out: when to send which REGISTER, and how it stands.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Asked, Challenge, Credentials, Dice};
use crate::sip::wire::{Message, Name, StatusCode, Uri};

/// Base of the pause after a failure, where no other flow works (RFC 5626 §4.5).
const BASE_PAUSE: Duration = Duration::from_secs(30);
/// Longest pause (RFC 5626 §4.5).
const LONGEST_PAUSE: Duration = Duration::from_secs(1_800);
/// Pause at most, once a registrar that was silent is heard again.
const SOON: Duration = Duration::from_secs(10);
/// Longest pause that a Retry-After may ask for.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(3_600);
/// Longest life of a binding that is asked for, in seconds, whatever a registrar's Min-Expires says.
const LONGEST_EXPIRES: u32 = 86_400;
/// Shortest life of a binding, in seconds, that counts as one: a shorter one would be refreshed all the time.
const SHORTEST_EXPIRES: u32 = 10;
/// An attempt fails with this many challenges and 423s in a row: one more than any honest registrar needs.
const MAX_TURNS: u8 = 4;
/// Service-Routes that are kept (RFC 3608).
const MAX_ROUTES: usize = 4;

/// `register` of a trunk.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Register {
    /// Whose address is bound: often the number. Challenges are answered as the user of the credentials.
    pub user: Arc<str>,
    /// User and password.
    pub credentials: Credentials,
    /// How long a binding shall live.
    pub expires: Duration,
    /// In our Contact, so that a call to it is known as the trunk's wherever it comes from.
    pub token: Arc<str>,
}

/// How a registration stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum State {
    /// The first attempt is under way.
    Trying,
    /// Calls come in.
    Registered,
    /// Calls do not come in, because the binding has ended or was never made. It is tried again.
    Failed,
    /// The binding has been taken back.
    Over,
}

impl State {
    /// Fixed word.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Trying => "trying",
            Self::Registered => "registered",
            Self::Failed => "failed",
            Self::Over => "unregistered",
        }
    }
}

/// What to do after a response, or after none.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Next {
    /// Send the next REGISTER now.
    Send,
    /// Wait for [`Registration::poll_timeout`].
    Wait,
}

/// What to write into the next REGISTER.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Registered {
    /// CSeq.
    pub cseq: u32,
    /// Seconds; 0: take the binding back.
    pub expires: u32,
    /// Authorization line, or lines.
    pub authorization: Option<String>,
}

/// Who wants to know who we are.
#[derive(Clone, Debug, Default)]
struct Asker {
    challenge: Option<Challenge>,
    /// The request under way carries an answer to it.
    answered: bool,
    /// It has asked in this attempt.
    asked: bool,
}

/// The registration of one trunk.
#[derive(Clone, Debug)]
pub struct Registration {
    register: Register,
    state: State,
    cseq: u32,
    /// Seconds that are asked for: the setting's, or a registrar's Min-Expires.
    expires: u32,
    /// The registrar's, and that of a proxy before it: one request may have to answer both (RFC 3261 §22.3).
    challenges: [Asker; 2],
    turns: u8,
    /// Registrars of this attempt that said that they cannot.
    moves: usize,
    /// The request under way names an address of ours that is another by now.
    outdated: bool,
    failures: u32,
    /// Why the last one failed: a status, or 0 for silence.
    status: Option<u16>,
    /// The binding lives until then.
    until: Option<Instant>,
    /// The next REGISTER; None: one is under way, or there will be none.
    at: Option<Instant>,
    ending: bool,
    /// The request under way takes the binding back.
    asked_to_end: bool,
    service_routes: Vec<String>,
}

impl Registration {
    /// Begins at once.
    #[must_use]
    pub fn new(register: Register, now: Instant) -> Self {
        let expires = u32::try_from(register.expires.as_secs()).unwrap_or(u32::MAX).min(LONGEST_EXPIRES);
        Self {
            register,
            state: State::Trying,
            cseq: 0,
            expires,
            challenges: Default::default(),
            turns: 0,
            moves: 0,
            outdated: false,
            failures: 0,
            status: None,
            until: None,
            at: Some(now),
            ending: false,
            asked_to_end: false,
            service_routes: Vec::new(),
        }
    }

    /// Its settings.
    #[must_use]
    pub fn register(&self) -> &Register {
        &self.register
    }

    /// How it stands.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// Failures in a row.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// The last failure's status; `Some(0)`: nothing was said.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.status
    }

    /// The binding lives until then.
    #[must_use]
    pub fn until(&self) -> Option<Instant> {
        self.until
    }

    /// Routes that requests over this trunk take (RFC 3608).
    #[must_use]
    pub fn service_routes(&self) -> &[String] {
        &self.service_routes
    }

    /// When [`Registration::handle_timeout`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let ends = self.until.filter(|_| self.state == State::Registered);
        [self.at, ends].into_iter().flatten().min()
    }

    /// True: send a REGISTER now.
    pub fn handle_timeout(&mut self, now: Instant) -> bool {
        if self.until.is_some_and(|until| until <= now) {
            self.until = None;
            if self.state == State::Registered {
                self.state = State::Failed;
            }
        }
        let due = self.at.is_some_and(|at| at <= now);
        if due {
            self.at = None;
            self.turns = 0;
            self.moves = 0;
            for asker in &mut self.challenges {
                (asker.answered, asker.asked) = (false, false);
            }
        }
        due
    }

    /// The registrar cannot. True: another of `hosts` may be asked in the same attempt, in which so many are asked as
    /// there are: one that is silent to REGISTER may be heard otherwise, and is not asked in turns for that.
    pub fn may_move(&mut self, hosts: usize) -> bool {
        self.moves = self.moves.saturating_add(1);
        self.moves < hosts
    }

    /// The binding is being taken back.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        self.ending
    }

    /// The next REGISTER goes to another host, which knows nothing of what was said before.
    pub fn moves(&mut self) {
        self.challenges = Default::default();
        self.turns = 0;
    }

    /// The next REGISTER. A challenge that is known is answered at once, with the next count of its nonce.
    pub fn request(&mut self, uri: &str, dice: &mut Dice) -> Registered {
        self.cseq = self.cseq.wrapping_add(1).max(1) & 0x7FFF_FFFF;
        let asked = Asked { method: "REGISTER", uri, body: b"" };
        let nonce = format!("{:016x}", dice.number());
        let mut lines = Vec::new();
        for asker in &mut self.challenges {
            asker.answered = asker.challenge.is_some();
            if let Some(challenge) = &mut asker.challenge {
                lines.push(challenge.answer(&self.register.credentials, asked, &nonce));
            }
        }
        let authorization = (!lines.is_empty()).then(|| lines.join("\r\n"));
        self.asked_to_end = self.ending;
        self.outdated = false;
        let expires = if self.ending { 0 } else { self.expires };
        Registered { cseq: self.cseq, expires, authorization }
    }

    /// A final response.
    pub fn response(&mut self, response: &Message<'_>, code: StatusCode, dice: &mut Dice, now: Instant) -> Next {
        match code.0 {
            // A REGISTER that was under way when the end was asked for has made a binding.
            200..=299 if self.ending && !self.asked_to_end => Next::Send,
            200..=299 if self.ending => self.over(),
            200..=299 => self.granted(response, dice, now),
            401 | 407 => self.challenged(response, code, dice, now),
            423 if !self.ending => {
                let least = response.other("Min-Expires").and_then(|header| leading_number(header.value));
                match least.filter(|least| *least > self.expires && *least <= LONGEST_EXPIRES) {
                    Some(least) if self.turn() => {
                        self.expires = least;
                        Next::Send
                    }
                    Some(_) | None => self.failed(Some(code), None, dice, now),
                }
            }
            _ => {
                let after = response.other("Retry-After").and_then(|header| leading_number(header.value));
                let after = after.map(|seconds| Duration::from_secs(u64::from(seconds)).min(LONGEST_RETRY_AFTER));
                self.failed(Some(code), after, dice, now)
            }
        }
    }

    /// No response, or no way to send.
    pub fn silence(&mut self, dice: &mut Dice, now: Instant) -> Next {
        self.failed(None, None, dice, now)
    }

    /// Ends the pause after a failure: what stood in the way may be gone.
    pub fn hurry(&mut self, now: Instant) {
        if self.state == State::Failed && self.at.is_some() {
            self.at = Some(now);
        }
    }

    /// A host of the trunk says something again. Where the registrar said nothing, it is asked soon, but not by
    /// everybody at once: it may just have started.
    pub fn is_heard_again(&mut self, dice: &mut Dice, now: Instant) {
        if self.status == Some(0) {
            let soon = now + dice.between(Duration::ZERO, SOON);
            self.at = self.at.map(|at| at.min(soon));
        }
    }

    /// The connection to the registrar has ended: a new one is made soon. Not at once, as some close one behind each
    /// answer.
    pub fn lost_way(&mut self, dice: &mut Dice, now: Instant) {
        if self.state == State::Registered {
            let soon = now + dice.between(BASE_PAUSE / 2, BASE_PAUSE);
            self.at = self.at.map(|at| at.min(soon));
        }
    }

    /// What is registered may be registered no more. What is under way serves, too.
    pub fn renew(&mut self, now: Instant) {
        if self.at.is_some() {
            self.at = Some(now);
        }
    }

    /// Our address is another now.
    pub fn renew_address(&mut self, now: Instant) {
        self.outdated = self.at.is_none();
        self.renew(now);
    }

    /// Takes the binding back. True: send a REGISTER now.
    pub fn end(&mut self) -> bool {
        let bound = self.until.is_some();
        let under_way = self.at.is_none() && self.state != State::Over;
        self.ending = true;
        self.turns = 0;
        self.at = None;
        if !bound && !under_way {
            self.over();
        }
        bound
    }

    fn over(&mut self) -> Next {
        self.state = State::Over;
        self.until = None;
        Next::Wait
    }

    fn turn(&mut self) -> bool {
        self.turns = self.turns.saturating_add(1);
        self.turns < MAX_TURNS
    }

    fn granted(&mut self, response: &Message<'_>, dice: &mut Dice, now: Instant) -> Next {
        let granted = self.granted_seconds(response);
        if granted < SHORTEST_EXPIRES {
            return self.failed(response.status(), None, dice, now);
        }
        let granted = Duration::from_secs(u64::from(granted.min(LONGEST_EXPIRES)));
        // Early enough to try again, and not at the same moment as everybody else.
        self.at = Some(now + dice.between(granted * 3 / 4, granted * 9 / 10));
        self.until = Some(now + granted);
        self.state = State::Registered;
        self.failures = 0;
        self.status = None;
        let routes = response.others("Service-Route").take(MAX_ROUTES);
        self.service_routes = routes.map(|route| route.value.to_owned()).filter(|route| is_one_line(route)).collect();
        if self.outdated {
            (self.at, self.turns) = (None, 0);
            return Next::Send;
        }
        Next::Wait
    }

    /// Life of our binding, in seconds: as the answer says of it, or else of all, or else as it was asked for (RFC 3261
    /// §10.2.1.1, §10.3). Where a registrar writes contacts anew and ours cannot be told from others, the one that ends
    /// first may be ours.
    fn granted_seconds(&self, response: &Message<'_>) -> u32 {
        let is_ours =
            |uri: &str| Uri::parse(uri).is_ok_and(|uri| uri.param("line").flatten() == Some(&*self.register.token));
        let (mut known, mut ours, mut all) = (false, Vec::new(), Vec::new());
        for contact in response.contacts().filter_map(Result::ok) {
            let stated = contact.param("expires").flatten().and_then(leading_number);
            all.extend(stated);
            if is_ours(contact.uri) {
                known = true;
                ours.extend(stated);
            }
        }
        let stated = if known { ours } else { all };
        // One that has all but ended is of an address that we had before.
        let lasting = stated.iter().filter(|seconds| **seconds >= SHORTEST_EXPIRES).min();
        let stated = lasting.or(stated.first()).copied();
        let of_all = || response.header(Name::Expires).and_then(|header| leading_number(header.value));
        stated.or_else(of_all).unwrap_or(self.expires)
    }

    fn challenged(&mut self, response: &Message<'_>, code: StatusCode, dice: &mut Dice, now: Instant) -> Next {
        let Some(new) = Challenge::strongest(response, &self.register.credentials) else {
            return self.failed(Some(code), None, dice, now);
        };
        let known = self.failures == 0 && self.until.is_some();
        let [registrar, proxy] = &mut self.challenges;
        let asker = if code == StatusCode::PROXY_AUTHENTICATION_REQUIRED { proxy } else { registrar };
        let may_be_right = match &asker.challenge {
            Some(last) if asker.answered => new.is_new_to(last),
            Some(_) | None => true,
        };
        // Whoever asks may have forgotten the nonce of the last refresh without saying `stale`: a new nonce is tried
        // once.
        let first_turn = !std::mem::replace(&mut asker.asked, true);
        asker.challenge = Some(new);
        if (may_be_right || (first_turn && known)) && self.turn() {
            return Next::Send;
        }
        self.failed(Some(code), None, dice, now)
    }

    fn failed(&mut self, status: Option<StatusCode>, after: Option<Duration>, dice: &mut Dice, now: Instant) -> Next {
        if self.ending {
            return self.over();
        }
        // The answer was refused, or its nonce may be forgotten by the next attempt: that one begins without.
        self.challenges = Default::default();
        self.failures = self.failures.saturating_add(1);
        self.status = Some(status.map_or(0, |status| status.0));
        let longest = BASE_PAUSE.saturating_mul(1 << self.failures.min(10)).min(LONGEST_PAUSE);
        let pause = dice.between(longest / 2, longest);
        let mut at = now + after.map_or(pause, |after| after + dice.between(Duration::ZERO, after / 10));
        if let (None, Some(until)) = (after, self.until)
            && until > now
        {
            // While the binding lives, a refresh that failed is tried again before it ends.
            at = at.min(now + (until - now) / 2 + Duration::from_secs(1));
        }
        self.at = Some(at);
        if self.until.is_none_or(|until| until <= now) {
            self.state = State::Failed;
            self.until = None;
        }
        Next::Wait
    }
}

fn is_one_line(text: &str) -> bool {
    !text.bytes().any(|byte| byte < b' ')
}

/// Digits at the beginning: Retry-After may have a comment behind them, Expires a fraction in old devices.
fn leading_number(text: &str) -> Option<u32> {
    let text = text.trim_start();
    let digits = text.split(|c: char| !c.is_ascii_digit()).next().filter(|digits| !digits.is_empty())?;
    Some(digits.parse().unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests;
