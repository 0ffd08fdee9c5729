//! Digest answers to a challenge (RFC 7616 as RFC 3261 §22 and RFC 8760 use it).
//!
//! In: a 401 or 407, user and password. Out: a header line. Of several challenges the one with the strongest algorithm
//! is answered, wherever it stands (RFC 8760 §2.4 leaves that to local policy), so that nobody on the way can have MD5
//! chosen by putting it first.

use std::fmt;
use std::sync::Arc;

use md5::Md5;
use sha2::{Digest as _, Sha256};

use crate::sip::wire::{Message, StatusCode, comma_params, unquoted};

/// Challenges of one response that are looked at.
const MAX_CHALLENGES: usize = 8;
/// Longest value of a challenge that is sent back.
const LONGEST_VALUE: usize = 512;

/// A password. Shown nowhere.
#[derive(Clone, Eq, PartialEq)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Keeps `text`.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// Who we are to a trunk.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Credentials {
    /// User name.
    pub user: Arc<str>,
    /// Password.
    pub password: Secret,
    /// Only this realm is answered; None: whichever the trunk names.
    pub realm: Option<Arc<str>>,
}

impl Credentials {
    /// A name for our Contact that nobody can guess, and that stays the same over restarts, so that a registrar sees
    /// one binding. It takes many rounds, so that guessing the password from it is no easier than from a digest answer.
    #[must_use]
    pub fn token(&self, trunk: &str) -> String {
        const ROUNDS: u32 = 20_000;
        let mut hash = Sha256::digest(format!("contact\0{trunk}\0{}\0{}", self.user, self.password.0));
        for _ in 0..ROUNDS {
            hash = Sha256::digest(hash);
        }
        hex(hash.get(..8).unwrap_or_default())
    }
}

/// The algorithm, from weak to strong.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Hash {
    Md5,
    Sha256,
    /// SHA-512/256 (RFC 7616 §6.1).
    Sha512_256,
}

impl Hash {
    fn of(self, text: &[&[u8]]) -> String {
        match self {
            Self::Md5 => hex(&text.iter().fold(Md5::new(), |hash, part| hash.chain_update(part)).finalize()),
            Self::Sha256 => hex(&text.iter().fold(Sha256::new(), |hash, part| hash.chain_update(part)).finalize()),
            Self::Sha512_256 => {
                hex(&text.iter().fold(sha2::Sha512_256::new(), |hash, part| hash.chain_update(part)).finalize())
            }
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// What the answer covers: the challenge's `qop` (RFC 7616 §3.3).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Qop {
    /// RFC 2069, without `qop`: no client nonce, no count.
    Old,
    Auth,
    /// The body is part of it.
    AuthInt,
}

/// What a server wants to know. Texts as they came, without their quotes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Challenge {
    /// By a proxy (407): the answer stands in Proxy-Authorization.
    proxy: bool,
    realm: Box<str>,
    nonce: Box<str>,
    opaque: Option<Box<str>>,
    /// The algorithm as written; None: not stated, which is MD5.
    algorithm: Option<Box<str>>,
    hash: Hash,
    session: bool,
    qop: Qop,
    /// The last answer was right, but its nonce was too old.
    stale: bool,
    /// Answers that this nonce has had (`nc`).
    count: u32,
}

/// What an answer is made for.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Of the request.
    pub method: &'a str,
    /// Its request-URI.
    pub uri: &'a str,
    /// Its body.
    pub body: &'a [u8],
}

impl Challenge {
    /// The strongest challenge of a 401 or 407 that can be answered with `credentials`.
    #[must_use]
    pub fn strongest(response: &Message<'_>, credentials: &Credentials) -> Option<Self> {
        let proxy = response.status() == Some(StatusCode::PROXY_AUTHENTICATION_REQUIRED);
        let name = if proxy { "Proxy-Authenticate" } else { "WWW-Authenticate" };
        let read = response.others(name).take(MAX_CHALLENGES).filter_map(|header| Self::read(header.value, proxy));
        let wanted = |challenge: &Self| credentials.realm.as_deref().is_none_or(|realm| *realm == *challenge.realm);
        // The first of equals.
        read.filter(wanted).reduce(|best, next| if next.hash > best.hash { next } else { best })
    }

    fn read(value: &str, proxy: bool) -> Option<Self> {
        let (scheme, list) = value.split_once([' ', '\t', '\r', '\n'])?;
        if !scheme.eq_ignore_ascii_case("Digest") {
            return None;
        }
        let find = |name: &str| comma_params(list).find(|(one, _)| one.eq_ignore_ascii_case(name)).map(|(_, v)| v);
        let text = |name: &str| -> Option<Option<Box<str>>> {
            let Some(value) = find(name) else { return Some(None) };
            let value = unquoted(value);
            let plain = value.len() <= LONGEST_VALUE && !value.bytes().any(|byte| byte < b' ' || byte == 0x7F);
            plain.then(|| Some(value.into()))
        };
        let algorithm = text("algorithm")?;
        let named = algorithm.as_deref().unwrap_or("MD5").to_ascii_uppercase();
        let (named, session) = named.strip_suffix("-SESS").map_or((named.as_str(), false), |name| (name, true));
        let hash = match named {
            "MD5" => Hash::Md5,
            "SHA-256" => Hash::Sha256,
            "SHA-512-256" => Hash::Sha512_256,
            _ => return None,
        };
        let offered = text("qop")?;
        let offers = |word: &str| {
            offered.as_deref().is_some_and(|list| list.split(',').any(|one| one.trim().eq_ignore_ascii_case(word)))
        };
        let qop = match &offered {
            None => Qop::Old,
            Some(_) if offers("auth") => Qop::Auth,
            Some(_) if offers("auth-int") => Qop::AuthInt,
            Some(_) => return None,
        };
        let stale = find("stale").is_some_and(|stale| unquoted(stale).eq_ignore_ascii_case("true"));
        let (realm, nonce, opaque) = (text("realm")??, text("nonce")??, text("opaque")?);
        Some(Self { proxy, realm, nonce, opaque, algorithm, hash, session, qop, stale, count: 0 })
    }

    /// May an answer to this one be right, although that to the last one was refused?
    #[must_use]
    pub fn is_new_to(&self, last: &Self) -> bool {
        self.proxy != last.proxy || (self.stale && self.nonce != last.nonce)
    }

    /// The header line that answers, without its end.
    pub fn answer(&mut self, credentials: &Credentials, asked: Asked<'_>, client_nonce: &str) -> String {
        self.count = self.count.saturating_add(1);
        let Self { realm, nonce, hash, .. } = &*self;
        let (user, count) = (&credentials.user, format!("{:08x}", self.count));
        let join = |parts: &[&str]| hash.of(&[parts.join(":").as_bytes()]);
        let mut secret = join(&[user, realm, &credentials.password.0]);
        if self.session {
            secret = join(&[&secret, nonce, client_nonce]);
        }
        let request = match self.qop {
            Qop::Old | Qop::Auth => join(&[asked.method, asked.uri]),
            Qop::AuthInt => join(&[asked.method, asked.uri, &hash.of(&[asked.body])]),
        };
        let qop = match self.qop {
            Qop::Old => None,
            Qop::Auth => Some("auth"),
            Qop::AuthInt => Some("auth-int"),
        };
        let response = match qop {
            None => join(&[&secret, nonce, &request]),
            Some(qop) => join(&[&secret, nonce, &count, client_nonce, qop, &request]),
        };
        let name = if self.proxy { "Proxy-Authorization" } else { "Authorization" };
        let uri = asked.uri;
        let mut line = format!(
            "{name}: Digest username=\"{user}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", \
             response=\"{response}\""
        );
        if let Some(algorithm) = &self.algorithm {
            line.extend([", algorithm=", algorithm]);
        }
        if qop.is_some() || self.session {
            line.extend([", cnonce=\"", client_nonce, "\""]);
        }
        if let Some(qop) = qop {
            line.extend([", qop=", qop, ", nc=", &count]);
        }
        if let Some(opaque) = &self.opaque {
            line.extend([", opaque=\"", opaque, "\""]);
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(user: &str, password: &str) -> Credentials {
        Credentials { user: user.into(), password: Secret::new(password), realm: None }
    }

    fn answer(challenge: &str, who: &Credentials, asked: Asked<'_>, client_nonce: &str) -> String {
        Challenge::read(challenge, false).unwrap().answer(who, asked, client_nonce)
    }

    fn field<'l>(line: &'l str, name: &str) -> &'l str {
        let list = line.split_once("Digest").unwrap().1;
        comma_params(list).find(|(one, _)| *one == name).map_or("", |(_, value)| unquoted(value))
    }

    #[test]
    fn the_examples_of_rfc_7616_come_out_right() {
        let who = credentials("Mufasa", "Circle of Life");
        let asked = Asked { method: "GET", uri: "/dir/index.html", body: b"" };
        let nonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";
        for (algorithm, response) in [
            ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
            ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
        ] {
            let challenge = format!(
                "Digest realm=\"http-auth@example.org\", qop=\"auth, auth-int\", algorithm={algorithm}, \
                 nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", \
                 opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\""
            );

            let line = answer(&challenge, &who, asked, nonce);

            assert_eq!(field(&line, "response"), response, "{line}");
            assert_eq!((field(&line, "qop"), field(&line, "nc")), ("auth", "00000001"));
            assert_eq!(field(&line, "opaque"), "FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS");
        }
    }

    #[test]
    fn a_challenge_without_qop_is_answered_the_old_way() {
        // RFC 2617 §3.5 without its qop: made with `openssl md5`.
        let who = credentials("Mufasa", "Circle Of Life");
        let asked = Asked { method: "GET", uri: "/dir/index.html", body: b"" };

        let line = answer(
            "digest  realm=\"testrealm@host.com\",nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\"",
            &who,
            asked,
            "x",
        );

        assert_eq!(field(&line, "response"), "670fd8c2df070c60b045671b8b24ff02");
        assert!(!line.contains("cnonce") && !line.contains("nc=") && !line.contains("algorithm"), "{line}");
    }

    #[test]
    fn a_nonce_that_is_used_again_is_counted() {
        let who = credentials("a", "b");
        let mut challenge = Challenge::read("Digest realm=\"r\", nonce=\"n\", qop=\"auth\"", true).unwrap();
        let asked = Asked { method: "REGISTER", uri: "sip:r", body: b"" };

        let lines = [challenge.answer(&who, asked, "c"), challenge.answer(&who, asked, "c")];

        assert!(lines[0].starts_with("Proxy-Authorization: Digest ") && lines[0].contains("nc=00000001"));
        assert!(lines[1].contains("nc=00000002"));
        assert_ne!(field(&lines[0], "response"), field(&lines[1], "response"));
    }

    #[test]
    fn what_cannot_be_answered_is_not_read() {
        for text in [
            "Basic realm=\"r\"",
            "Digest",
            "Digest realm=\"r\"",
            "Digest nonce=\"n\"",
            "Digest realm=\"r\", nonce=\"n\", algorithm=SHA-1",
            "Digest realm=\"r\", nonce=\"n\", qop=\"token\"",
            "Digest realm=\"r\r\n x\", nonce=\"n\"",
        ] {
            assert_eq!(Challenge::read(text, false), None, "{text}");
        }
        let long = format!("Digest realm=\"r\", nonce=\"{}\"", "n".repeat(LONGEST_VALUE + 1));
        assert_eq!(Challenge::read(&long, false), None);
    }

    #[test]
    fn a_password_is_shown_nowhere() {
        let shown = format!("{:?}", credentials("user", "hunter2"));

        assert!(!shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn a_token_is_the_same_tomorrow_and_another_for_another_trunk() {
        let who = credentials("user", "hunter2");

        assert_eq!(who.token("a"), credentials("user", "hunter2").token("a"));
        assert_ne!(who.token("a"), who.token("b"));
        assert_ne!(who.token("a"), credentials("user", "hunter3").token("a"));
    }
}
