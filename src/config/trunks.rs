//! `[[trunk]]`.

use std::sync::Arc;
use std::time::Duration;

use super::host::{NETWORK_HINT, address, network};
use super::listen::{is_listened, roots};
use super::read::{Files, SRTP, fingerprint};
use super::section::{Reading, Section};
use super::settings::{ListenSettings, TrunkSettings};
use crate::call::{ShownIdentity, SrtpPolicy};
use crate::sip::flow::Transport;
use crate::trunk::{Credentials, Register, Secret};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

pub(super) fn trunks<'t>(
    root: &mut Section<'_, 't>,
    listen: &[ListenSettings],
    files: Files<'_>,
    reading: &mut Reading<'t>,
) -> Vec<TrunkSettings> {
    let mut trunks: Vec<TrunkSettings> = Vec::new();
    for mut section in root.sections(reading, "trunk") {
        let hint = "must be a short name without spaces";
        let before = reading.problems.len();
        let name = section.parsed(reading, "name", hint, |text| {
            let fits =
                !text.is_empty() && text.len() <= 64 && !text.contains(|c: char| c.is_whitespace() || c.is_control());
            fits.then(|| text.to_owned())
        });
        if name.is_none() && reading.problems.len() == before {
            section.missing(reading, "name", "the name that rules and records use");
        }
        let name: Arc<str> = name.unwrap_or_default().into();
        if !name.is_empty() && trunks.iter().any(|trunk| trunk.name == name) {
            reading.problem(
                section.at,
                &format!("{}.name", section.path),
                &name,
                "is there twice; each trunk has its own name",
            );
        }
        let words = [
            ("udp", Some(Transport::Udp)),
            ("tcp", Some(Transport::Tcp)),
            ("tls", Some(Transport::Tls)),
            ("auto", None),
        ];
        let transport = section.word(reading, "transport", Some(Transport::Udp), &words);
        if let Some(transport) = transport {
            is_listened(&mut section, transport, listen, reading);
        }
        let usual = transport.unwrap_or(Transport::Udp);
        let address = address(&mut section, usual, reading, "where outbound calls go, as \"sip.example.com\"");
        // By NAPTR it may come to TLS.
        let roots = roots(&mut section, transport.unwrap_or(Transport::Tls), files, reading);
        let networks = section.list(reading, "networks", Vec::new(), NETWORK_HINT, network);
        let trust_address = section.flag(reading, "trust_address", true);
        let priority = section.count(reading, "priority", 1, 1..=100);
        let answer_within = section.duration(reading, "answer_within", 4 * SECOND, SECOND / 2..30 * SECOND);
        let keep_alive = keep_alive(&mut section, reading);
        let register = register(&mut section, &name, files, reading);
        let believe_identity = section.flag(reading, "believe_identity", true);
        let shown =
            [("trusted", ShownIdentity::Trusted), ("public", ShownIdentity::Public), ("never", ShownIdentity::Never)];
        let srtp = section.word(reading, "srtp", SrtpPolicy::Off, &SRTP);
        let show_identity = section.word(reading, "show_identity", ShownIdentity::Trusted, &shown);
        let priority = u8::try_from(priority).unwrap_or(u8::MAX);
        trunks.push(TrunkSettings {
            name,
            address,
            transport,
            roots,
            networks,
            trust_address,
            priority,
            answer_within,
            keep_alive,
            register,
            believe_identity,
            show_identity,
            srtp,
        });
        section.finish(reading);
    }
    if trunks.is_empty() {
        root.missing(
            reading,
            "trunk",
            "at least one [[trunk]] with name and address; calls from anywhere else get silence",
        );
    }
    trunks
}

fn keep_alive<'t>(section: &mut Section<'_, 't>, reading: &mut Reading<'t>) -> Option<Duration> {
    let show = |every: &Option<Duration>| {
        every.map_or_else(|| "never".to_owned(), |every| humantime::format_duration(every).to_string())
    };
    section.option(reading, "keep_alive", None, show, |item| match item.text() {
        Ok("never") => Ok(None),
        Ok(text) => match humantime::parse_duration(text) {
            Ok(every) if (5 * SECOND..=60 * MINUTE).contains(&every) => Ok(Some(every)),
            Ok(_) | Err(_) => Err("must be a duration from 5s to 1h, as \"30s\", or \"never\"".to_owned()),
        },
        Err(hint) => Err(hint),
    })
}

fn register<'t>(
    section: &mut Section<'_, 't>,
    trunk: &str,
    files: Files<'_>,
    reading: &mut Reading<'t>,
) -> Option<Register> {
    section.item(reading, "register")?;
    let mut section = section.section(reading, "register");
    let before = reading.problems.len();
    let hint = "must be the user name alone, as \"441632960001\": letters, digits and -_.!~*'()&=+$,;/";
    let user = section.parsed(reading, "user", hint, |text| {
        // RFC 3261 §25.1, user, without escapes: it stands in URIs and in digest answers.
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,;/".contains(&byte);
        (!text.is_empty() && text.len() <= 128 && text.bytes().all(fits)).then(|| text.to_owned())
    });
    if user.is_none() && reading.problems.len() == before {
        section.missing(reading, "user", "the user name that the provider gave you");
    }
    let before = reading.problems.len();
    let hint = "must be the path of a file with the password in one line";
    let file = section.parsed(reading, "password_file", hint, |text| (!text.is_empty()).then(|| text.to_owned()));
    if file.is_none() && reading.problems.len() == before {
        section.missing(reading, "password_file", "the path of a file with the password, which nobody else may read");
    }
    let mut password = None;
    if let (Some(file), Some(item)) = (file, section.item(reading, "password_file")) {
        match files.secret(&file) {
            Ok(text) => {
                reading.options.insert(format!("{} (content)", item.path), fingerprint(&text));
                let line = text.trim_end_matches(['\r', '\n']);
                if line.is_empty() || line.len() > 256 || line.contains(char::is_control) {
                    reading.problem(
                        item.at,
                        &item.path,
                        item.source,
                        "must hold the password in one line, and no more",
                    );
                } else {
                    password = Some(Secret::new(line));
                }
            }
            Err(error) => reading.problem(item.at, &item.path, item.source, error),
        }
    }
    let expires = section.duration(reading, "expires", 10 * MINUTE, MINUTE..DAY);
    let hint = "must be the realm that the provider's challenge names";
    let realm = section.parsed(reading, "realm", hint, |text| {
        (!text.is_empty() && !text.contains(|c: char| c.is_control() || c == '"')).then(|| text.to_owned())
    });
    section.finish(reading);
    let credentials = Credentials { user: user?.into(), password: password?, realm: realm.map(Arc::from) };
    let token = credentials.token(trunk).into();
    Some(Register { credentials, expires, token })
}
