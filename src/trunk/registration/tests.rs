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
        let register =
            Register { user: "alice".into(), credentials, expires: Duration::from_secs(600), token: "0123".into() };
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
fn a_registrar_that_was_away_has_forgotten_its_nonce() {
    let mut trunk = Trunk::new();
    trunk.registration.handle_timeout(trunk.now);
    trunk.send();
    trunk.says("401 Unauthorized", NONCE);
    trunk.send();
    trunk.says("200 OK", "Expires: 100\r\n");
    for _ in 0..8 {
        trunk.wait();
        if trunk.registration.handle_timeout(trunk.now) {
            trunk.send();
            trunk.registration.silence(&mut trunk.dice, trunk.now);
        }
    }
    assert_eq!(trunk.registration.state(), State::Failed);

    trunk.registration.is_heard_again(&mut trunk.dice, trunk.now);
    assert!(trunk.wait() <= SOON && trunk.registration.handle_timeout(trunk.now));
    trunk.send();
    // Without `stale`.
    assert_eq!(trunk.says("401 Unauthorized", &NONCE.replace("n1", "n2")), Next::Send);
    assert!(trunk.send().authorization.unwrap().contains("nonce=\"n2\""));
    trunk.says("200 OK", "");
    assert_eq!(trunk.registration.state(), State::Registered);
}

#[test]
fn a_registrar_that_asks_for_a_pause_has_it_whoever_else_is_heard() {
    let mut trunk = Trunk::new();
    trunk.registration.handle_timeout(trunk.now);
    trunk.send();
    trunk.says("503 Service Unavailable", "Retry-After: 600\r\n");

    trunk.registration.is_heard_again(&mut trunk.dice, trunk.now);
    assert!(trunk.wait() >= Duration::from_secs(600));
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

    assert!(!trunk.registration.end() && trunk.registration.state() != State::Over);
    assert_eq!(trunk.says("200 OK", ""), Next::Send);
    assert_eq!(trunk.send().expires, 0);
    trunk.says("200 OK", "");

    assert_eq!(trunk.registration.state(), State::Over);
}

#[test]
fn a_life_that_stands_in_a_rewritten_contact_counts() {
    let ours = "Contact: <sip:alice@192.0.2.1;line=0123>;expires=";
    for (answer, life) in [
        // The registrar has taken our token out of the URI.
        ("Contact: <sip:alice@192.0.2.1>;expires=60\r\n".to_owned(), 60),
        ("Contact: <sip:alice@c>;expires=90, <sip:alice@d>;expires=60, <sip:e@f>;expires=3\r\n".to_owned(), 60),
        // The address that we had before, and the one that we have now.
        (format!("{ours}3\r\n{}100\r\n", ours.replace("0.2.1", "0.2.2")), 100),
        (format!("{ours}200\r\n{}100\r\n", ours.replace("0.2.1", "0.2.2")), 100),
        ("Contact: <sip:alice@192.0.2.1;line=0123>, <sip:e@f>;expires=20\r\nExpires: 300\r\n".to_owned(), 300),
        ("Contact: <sip:alice@192.0.2.1>\r\n".to_owned(), 600),
    ] {
        let mut trunk = Trunk::new();
        trunk.registration.handle_timeout(trunk.now);
        trunk.send();
        trunk.says("200 OK", &answer);

        let until = trunk.registration.until().map(|until| until - trunk.now);
        assert_eq!(until, Some(Duration::from_secs(life)), "{answer}");
    }
    let mut trunk = Trunk::new();
    trunk.registration.handle_timeout(trunk.now);
    trunk.send();
    trunk.says("200 OK", &format!("{ours}0\r\n"));
    assert_eq!(trunk.registration.state(), State::Failed, "it is no binding");
}

#[test]
fn a_proxy_and_a_registrar_may_both_ask() {
    let proxy = |nonce: &str| NONCE.replace("WWW", "Proxy").replace("n1", nonce);
    let mut trunk = Trunk::new();
    trunk.registration.handle_timeout(trunk.now);
    trunk.send();
    assert_eq!(trunk.says("407 Proxy Authentication Required", &proxy("p1")), Next::Send);
    let answer = trunk.send().authorization.unwrap();
    assert!(answer.starts_with("Proxy-Authorization: ") && !answer.contains("\r\n"), "{answer}");
    assert_eq!(trunk.says("401 Unauthorized", NONCE), Next::Send);
    let answer = trunk.send().authorization.unwrap();
    let lines: Vec<&str> = answer.split("\r\n").collect();
    assert!(lines[0].starts_with("Authorization: ") && lines[1].starts_with("Proxy-Authorization: "), "{answer}");
    assert!(lines[0].contains("nc=00000001") && lines[1].contains("nc=00000002"), "{answer}");
    trunk.says("200 OK", "Expires: 100\r\n");
    assert_eq!(trunk.registration.state(), State::Registered);

    // Both have forgotten their nonces, and do not say that they are stale.
    trunk.wait();
    trunk.registration.handle_timeout(trunk.now);
    trunk.send();
    assert_eq!(trunk.says("407 Proxy Authentication Required", &proxy("p2")), Next::Send);
    trunk.send();
    assert_eq!(trunk.says("401 Unauthorized", &NONCE.replace("n1", "n2")), Next::Send);
    let answer = trunk.send().authorization.unwrap();
    assert!(answer.contains("nonce=\"p2\"") && answer.contains("nonce=\"n2\""), "{answer}");
    // A password that one of them does not take is not tried again at once.
    assert_eq!(trunk.says("407 Proxy Authentication Required", &proxy("p3")), Next::Wait);
}
