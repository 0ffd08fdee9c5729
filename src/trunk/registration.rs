//! One registration with a trunk: REGISTER, refresh, back-off (RFC 3261 §10.2, RFC 5626 §4.5).
//!
//! In: responses, silence, `now`. Out: when to send which REGISTER, and how it stands.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Asked, Challenge, Credentials, Dice};
use crate::sip::wire::{Message, Name, StatusCode, Uri};

/// Base of the pause behind a failure, where no other flow works (RFC 5626 §4.5).
const BASE_PAUSE: Duration = Duration::from_secs(30);
/// Longest pause (RFC 5626 §4.5).
const LONGEST_PAUSE: Duration = Duration::from_secs(1_800);
/// Longest pause that a Retry-After may ask for.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(3_600);
/// Longest life of a binding that is asked for, whatever a registrar's Min-Expires says.
const LONGEST_EXPIRES: u32 = 86_400;
/// A binding that lives for less would be refreshed all the time.
const SHORTEST_EXPIRES: u32 = 10;
/// Challenges and 423s in a row before it counts as a failure: one more than any honest registrar needs.
const MAX_TURNS: u8 = 4;
/// Service-Routes that are kept (RFC 3608).
const MAX_ROUTES: usize = 4;

/// `register` of a trunk.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Register {
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
    /// Nothing has come of it yet.
    Trying,
    /// Calls come in.
    Registered,
    /// They do not, or will soon not any more; it is tried again.
    Failed,
    /// Taken back.
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

/// What a response, or its absence, brought.
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
    /// Authorization line.
    pub authorization: Option<String>,
}

/// The registration of one trunk.
#[derive(Clone, Debug)]
pub struct Registration {
    register: Register,
    state: State,
    cseq: u32,
    /// Seconds that are asked for: the setting's, or a registrar's Min-Expires.
    expires: u32,
    challenge: Option<Challenge>,
    /// The request under way carries an answer to it.
    answered: bool,
    turns: u8,
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
            challenge: None,
            answered: false,
            turns: 0,
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
            self.answered = false;
        }
        due
    }

    /// The next REGISTER. A challenge that is known is answered at once, with the next count of its nonce.
    pub fn request(&mut self, uri: &str, dice: &mut Dice) -> Registered {
        self.cseq = self.cseq.wrapping_add(1).max(1) & 0x7FFF_FFFF;
        let asked = Asked { method: "REGISTER", uri, body: b"" };
        let nonce = format!("{:016x}", dice.number());
        let authorization =
            self.challenge.as_mut().map(|challenge| challenge.answer(&self.register.credentials, asked, &nonce));
        self.answered = authorization.is_some();
        self.asked_to_end = self.ending;
        let expires = if self.ending { 0 } else { self.expires };
        Registered { cseq: self.cseq, expires, authorization }
    }

    /// A final response.
    pub fn response(&mut self, response: &Message<'_>, code: StatusCode, dice: &mut Dice, now: Instant) -> Next {
        match code.0 {
            // What was under way when the end was asked for has made a binding.
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

    /// What stood in the way may be gone: a pause behind a failure is over.
    pub fn hurry(&mut self, now: Instant) {
        if self.state == State::Failed && self.at.is_some() {
            self.at = Some(now);
        }
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

    /// True while an end has been asked for and has not come.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        self.ending && self.state != State::Over
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
        Next::Wait
    }

    /// Of our binding in the answer; else of all; else as asked for (RFC 3261 §10.2.1.1, §10.3).
    fn granted_seconds(&self, response: &Message<'_>) -> u32 {
        let ours =
            |uri: &str| Uri::parse(uri).is_ok_and(|uri| uri.param("line").flatten() == Some(&*self.register.token));
        let mut contacts = response.contacts().filter_map(Result::ok);
        let ours = contacts.find(|contact| ours(contact.uri));
        let stated = ours.and_then(|contact| leading_number(contact.param("expires").flatten()?));
        let of_all = || response.header(Name::Expires).and_then(|header| leading_number(header.value));
        stated.or_else(of_all).unwrap_or(self.expires)
    }

    fn challenged(&mut self, response: &Message<'_>, code: StatusCode, dice: &mut Dice, now: Instant) -> Next {
        let Some(new) = Challenge::strongest(response, &self.register.credentials) else {
            return self.failed(Some(code), None, dice, now);
        };
        let may_be_right = match &self.challenge {
            Some(last) if self.answered => new.is_new_to(last),
            Some(_) | None => true,
        };
        // A nonce of a registration before may have been dropped without a word of `stale`: one new one is tried.
        let first_turn = self.turns == 0;
        self.challenge = Some(new);
        if (may_be_right || (first_turn && self.failures == 0 && self.until.is_some())) && self.turn() {
            return Next::Send;
        }
        // Refused: what was answered was no use, and the next attempt begins without it.
        self.challenge = None;
        self.failed(Some(code), None, dice, now)
    }

    fn failed(&mut self, status: Option<StatusCode>, after: Option<Duration>, dice: &mut Dice, now: Instant) -> Next {
        if self.ending {
            return self.over();
        }
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
mod tests {
    use super::*;
    use crate::io::clock;
    use crate::sip::wire::{Index, Limits};
    use crate::trunk::Secret;

    struct Trunk {
        registration: Registration,
        dice: Dice,
        now: Instant,
    }

    impl Trunk {
        fn new() -> Self {
            let credentials = Credentials { user: "alice".into(), password: Secret::new("secret"), realm: None };
            let register = Register { credentials, expires: Duration::from_secs(600), token: "0123".into() };
            let now = clock::now();
            Self { registration: Registration::new(register, now), dice: Dice::new([5; 16]), now }
        }

        fn send(&mut self) -> Registered {
            self.registration.request("sip:provider.example", &mut self.dice)
        }

        fn wait(&mut self) -> Duration {
            let at = self.registration.poll_timeout().unwrap();
            let waited = at - self.now;
            self.now = at;
            waited
        }

        fn says(&mut self, status: &str, more: &str) -> Next {
            let text = format!(
                "SIP/2.0 {status}\r\nVia: SIP/2.0/UDP a;branch=z9hG4bKx\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:a@b>;tag=2\r\n\
                 Call-ID: x\r\nCSeq: 1 REGISTER\r\n{more}Content-Length: 0\r\n\r\n"
            );
            let mut index = Index::new();
            let message = index.read(text.as_bytes(), &Limits::default()).unwrap();
            self.registration.response(&message, message.status().unwrap(), &mut self.dice, self.now)
        }
    }

    const NONCE: &str = "WWW-Authenticate: Digest realm=\"r\", nonce=\"n1\", qop=\"auth\"\r\n";

    #[test]
    fn it_answers_a_challenge_is_granted_and_refreshes_in_time() {
        let mut trunk = Trunk::new();
        assert!(trunk.registration.handle_timeout(trunk.now));
        assert_eq!(trunk.send(), Registered { cseq: 1, expires: 600, authorization: None });

        assert_eq!(trunk.says("401 Unauthorized", NONCE), Next::Send);
        let answer = trunk.send();
        assert_eq!(answer.cseq, 2);
        assert!(answer.authorization.unwrap().contains("nc=00000001"));
        let granted = "Contact: <sip:other@c>;expires=9\r\nContact: <sip:alice@192.0.2.1;line=0123>;expires=100\r\n";
        assert_eq!(trunk.says("200 OK", granted), Next::Wait);
        assert_eq!(trunk.registration.state(), State::Registered);

        let waited = trunk.wait();
        assert!((75..=90).contains(&waited.as_secs()), "{waited:?}");
        assert!(trunk.registration.handle_timeout(trunk.now));
        assert!(trunk.send().authorization.unwrap().contains("nc=00000002"), "the nonce is used again, and counted");
    }

    #[test]
    fn a_wrong_password_is_not_tried_in_a_hurry() {
        let mut trunk = Trunk::new();
        let mut sent = 0;
        let mut pauses = Vec::new();
        for _ in 0..8 {
            assert!(trunk.registration.handle_timeout(trunk.now));
            trunk.send();
            sent += 1;
            while trunk.says("401 Unauthorized", NONCE) == Next::Send {
                trunk.send();
                sent += 1;
            }
            assert_eq!(trunk.registration.state(), State::Failed);
            pauses.push(trunk.wait().as_secs());
        }

        assert_eq!(sent, 16, "one question and one answer each time");
        for (n, pause) in pauses.iter().enumerate() {
            let longest = (60_u64 << n).min(1_800);
            assert!((longest / 2..=longest).contains(pause), "{pauses:?}");
        }
        assert_eq!(trunk.registration.status(), Some(401));
    }

    #[test]
    fn a_stale_nonce_is_replaced_but_not_for_ever() {
        let mut trunk = Trunk::new();
        trunk.registration.handle_timeout(trunk.now);
        trunk.send();
        trunk.says("401 Unauthorized", NONCE);
        trunk.send();
        let mut turns = 0;
        while trunk.says(
            "401 Unauthorized",
            &format!("WWW-Authenticate: Digest realm=\"r\", nonce=\"s{turns}\", stale=TRUE, qop=\"auth\"\r\n"),
        ) == Next::Send
        {
            trunk.send();
            turns += 1;
        }

        assert!((1..10).contains(&turns), "{turns}");
        assert_eq!(trunk.registration.state(), State::Failed);
    }

    #[test]
    fn a_registrar_sets_the_shortest_life_and_the_pause() {
        let mut trunk = Trunk::new();
        trunk.registration.handle_timeout(trunk.now);
        trunk.send();

        assert_eq!(trunk.says("423 Interval Too Brief", "Min-Expires: 3600\r\n"), Next::Send);
        assert_eq!(trunk.send().expires, 3_600);
        assert_eq!(trunk.says("503 Service Unavailable", "Retry-After: 120 (moving)\r\n"), Next::Wait);
        let waited = trunk.wait();
        assert!((120..=132).contains(&waited.as_secs()), "{waited:?}");
        assert_eq!((trunk.registration.state(), trunk.registration.failures()), (State::Failed, 1));
    }

    #[test]
    fn nonsense_of_a_registrar_ends_in_a_pause() {
        for (status, more) in [
            ("423 Interval Too Brief", ""),
            ("423 Interval Too Brief", "Min-Expires: 1\r\n"),
            ("423 Interval Too Brief", "Min-Expires: 99999999999\r\n"),
            ("200 OK", "Expires: 0\r\n"),
            ("401 Unauthorized", ""),
            ("301 Moved", "Contact: <sip:elsewhere.example>\r\n"),
            ("500 Error", "Retry-After: 99999999999\r\n"),
        ] {
            let mut trunk = Trunk::new();
            trunk.registration.handle_timeout(trunk.now);
            trunk.send();

            assert_eq!(trunk.says(status, more), Next::Wait, "{status} {more}");
            let waited = trunk.wait();
            assert!((30..=4_000).contains(&waited.as_secs()), "{status} {more}: {waited:?}");
        }
    }

    #[test]
    fn a_refresh_that_fails_is_tried_again_while_the_binding_lives() {
        let mut trunk = Trunk::new();
        trunk.registration.handle_timeout(trunk.now);
        trunk.send();
        trunk.says("200 OK", "Expires: 100\r\n");
        let begun = trunk.now;
        trunk.wait();
        let mut attempts = 0;
        while trunk.registration.state() == State::Registered {
            if trunk.registration.handle_timeout(trunk.now) {
                attempts += 1;
                trunk.send();
                trunk.registration.silence(&mut trunk.dice, trunk.now);
            }
            trunk.wait();
        }

        assert!(attempts >= 2, "{attempts}");
        assert!(trunk.now - begun >= Duration::from_secs(100));
    }

    #[test]
    fn an_end_takes_the_binding_back_once() {
        let mut trunk = Trunk::new();
        trunk.registration.handle_timeout(trunk.now);
        trunk.send();
        trunk.says("200 OK", "");

        assert!(trunk.registration.end());
        assert_eq!(trunk.send().expires, 0);
        assert_eq!(trunk.says("401 Unauthorized", NONCE), Next::Send);
        assert!(trunk.send().authorization.is_some());
        trunk.says("200 OK", "");

        assert_eq!(trunk.registration.state(), State::Over);
        assert_eq!(trunk.registration.poll_timeout(), None);
        let mut fresh = Trunk::new();
        assert!(!fresh.registration.end() && fresh.registration.state() == State::Over, "nothing to take back");
    }

    #[test]
    fn an_end_during_the_first_register_takes_back_what_comes_of_it() {
        let mut trunk = Trunk::new();
        trunk.registration.handle_timeout(trunk.now);
        trunk.send();

        assert!(!trunk.registration.end() && trunk.registration.is_ending());
        assert_eq!(trunk.says("200 OK", ""), Next::Send);
        assert_eq!(trunk.send().expires, 0);
        trunk.says("200 OK", "");

        assert_eq!(trunk.registration.state(), State::Over);
    }
}
