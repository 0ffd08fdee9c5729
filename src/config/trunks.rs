//! `[[trunk]]`.

use std::sync::Arc;
use std::time::Duration;

use super::file::Files;
use super::host::{NETWORK_HINT, address, network};
use super::listen::{client_identity, must_be_listened, roots};
use super::read::{DAY, MINUTE, SECOND, SRTP};
use super::section::{Reading, Section};
use super::settings::{ListenSettings, TrunkSettings};
use crate::call::{ShownIdentity, SrtpPolicy};
use crate::sip::flow::Transport;
use crate::trunk::{Credentials, Register, Secret};

pub(super) fn trunks<'t>(
    root: &mut Section<'_, 't>,
    listen: &[ListenSettings],
    files: &dyn Files,
    reading: &mut Reading<'t>,
) -> Vec<TrunkSettings> {
    let mut trunks: Vec<TrunkSettings> = Vec::new();
    for section in root.sections(reading, "trunk") {
        let (at, path) = (section.at, format!("{}.name", section.path));
        let trunk = trunk(section, listen, files, reading);
        if !trunk.name.is_empty() && trunks.iter().any(|other| other.name == trunk.name) {
            reading.problem(at, &path, &trunk.name, "is there twice; each trunk has its own name");
        }
        trunks.push(trunk);
    }
    // Where something else stands in their place, that has been told.
    if trunks.is_empty() && !root.has("trunk") {
        let what = "at least one [[trunk]] with name and address; calls from anywhere else get silence";
        root.missing(reading, "trunk", what);
    }
    trunks
}

fn trunk<'t>(
    mut section: Section<'_, 't>,
    listen: &[ListenSettings],
    files: &dyn Files,
    reading: &mut Reading<'t>,
) -> TrunkSettings {
    let (what, hint) = ("the name that rules and records use", "must be a short name without spaces");
    let name = section.required(reading, "name", what, hint, |text| {
        let bad = |c: char| c.is_whitespace() || c.is_control();
        (!text.is_empty() && text.len() <= 64 && !text.contains(bad)).then(|| text.to_owned())
    });
    let name: Arc<str> = name.unwrap_or_default().into();
    let transport = transport(&mut section, listen, reading);
    let usual = transport.unwrap_or(Transport::Udp);
    let address = address(&mut section, usual, reading, "where outbound calls go, as \"sip.example.com\"");
    // By NAPTR it may come to TLS.
    let strictest = transport.unwrap_or(Transport::Tls);
    let roots = roots(&mut section, strictest, files, reading);
    let client_identity = client_identity(&mut section, strictest, files, reading);
    let hint = format!("{NETWORK_HINT}; a host by its name takes a [[trunk]] of its own");
    let networks = section.list(reading, "networks", Vec::new(), &hint, network);
    let trust_address = section.flag(reading, "trust_address", true);
    let priority = section.count(reading, "priority", 1, 1..=100);
    let answer_within = section.duration(reading, "answer_within", 4 * SECOND, SECOND / 2..=30 * SECOND);
    let keep_alive = keep_alive(&mut section, reading);
    let register = register(&mut section, &name, files, reading);
    let believe_identity = section.flag(reading, "believe_identity", true);
    let srtp = section.word(reading, "srtp", SrtpPolicy::Off, &SRTP);
    let identities =
        [("trusted", ShownIdentity::Trusted), ("public", ShownIdentity::Public), ("never", ShownIdentity::Never)];
    let show_identity = section.word(reading, "show_identity", ShownIdentity::Trusted, &identities);
    section.finish(reading);
    TrunkSettings {
        srtp,
        name,
        address,
        transport,
        roots,
        client_identity,
        networks,
        trust_address,
        priority: u8::try_from(priority).unwrap_or(u8::MAX),
        answer_within,
        keep_alive,
        register,
        believe_identity,
        show_identity,
    }
}

/// How often a host is asked whether it answers.
pub(super) fn keep_alive<'t>(section: &mut Section<'_, 't>, reading: &mut Reading<'t>) -> Option<Duration> {
    let (range, hint) = (5 * SECOND..=60 * MINUTE, "must be a duration from 5s to 1h, as \"30s\", or \"never\"");
    section.duration_or(reading, "keep_alive", "never", None, range, hint)
}

/// None: as the name's NAPTR records say.
fn transport<'t>(
    section: &mut Section<'_, 't>,
    listen: &[ListenSettings],
    reading: &mut Reading<'t>,
) -> Option<Transport> {
    let words =
        [("udp", Some(Transport::Udp)), ("tcp", Some(Transport::Tcp)), ("tls", Some(Transport::Tls)), ("auto", None)];
    let transport = section.word(reading, "transport", Some(Transport::Udp), &words);
    if let Some(transport) = transport {
        must_be_listened(section, transport, listen, reading);
    }
    transport
}

fn register<'t>(
    section: &mut Section<'_, 't>,
    trunk: &str,
    files: &dyn Files,
    reading: &mut Reading<'t>,
) -> Option<Register> {
    section.item(reading, "register")?;
    let mut section = section.section(reading, "register");
    let what = "the user name that the provider gave you";
    let hint = "must be the user name alone, as \"441632960001\": letters, digits and -_.!~*'()&=+$,;/";
    let user = section.required(reading, "user", what, hint, |text| {
        // RFC 3261 §25.1, user, without escapes: it stands in URIs and in digest answers.
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,;/".contains(&byte);
        (!text.is_empty() && text.len() <= 128 && text.bytes().all(fits)).then(|| text.to_owned())
    });
    let hint = "must be the user name that the provider's challenges are answered with, as \"a1b2c3\"";
    let auth_user = section.parsed(reading, "auth_user", hint, |text| {
        let bad = |c: char| c.is_control() || matches!(c, '"' | '\\');
        (!text.is_empty() && text.len() <= 128 && !text.contains(bad)).then(|| text.to_owned())
    });
    let password = password(&mut section, files, reading);
    let expires = section.duration(reading, "expires", 10 * MINUTE, MINUTE..=DAY);
    let hint = "must be the realm that the provider's challenge names";
    let realm = section.parsed(reading, "realm", hint, |text| {
        (!text.is_empty() && !text.contains(|c: char| c.is_control() || c == '"')).then(|| text.to_owned())
    });
    section.finish(reading);
    let user: Arc<str> = user?.into();
    let who = auth_user.map_or_else(|| Arc::clone(&user), Arc::from);
    let credentials = Credentials { user: who, password: password?, realm: realm.map(Arc::from) };
    let token = credentials.token(trunk).into();
    Some(Register { user, credentials, expires, token })
}

fn password<'t>(section: &mut Section<'_, 't>, files: &dyn Files, reading: &mut Reading<'t>) -> Option<Secret> {
    if !section.has("password_file") {
        let what = "the path of a file with the password, which nobody else may read";
        section.missing(reading, "password_file", what);
    }
    let hint = "must be the path of a file with the password in one line";
    let (item, text) = section.file(reading, "password_file", hint, |path| files.secret(path))?;
    let line = text.trim_end_matches(['\r', '\n']);
    if line.is_empty() || line.len() > 256 || line.contains(char::is_control) {
        let hint = "must hold the password in one line, and no more";
        reading.problem(item.at, &item.path, item.source, hint);
        return None;
    }
    Some(Secret::new(line))
}
