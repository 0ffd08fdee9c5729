//! Every option of the settings file: its name, default and limits, in the order of the file.

#![expect(clippy::wildcard_enum_match_arm, reason = "the kinds of TOML values are not ours")]

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use toml::de::DeValue;

use super::certificates::{BadTls, Identity, Roots};
use super::problem::Problem;
use super::section::{Item, Reading, Section, parse};
use super::settings::{ConnectionSettings, DetectSettings, DivertSettings, HostPort, ListenSettings, LogSettings};
use super::settings::{MediaSettings, PbxSettings, RestartSettings, Settings, SipSettings, StoreSettings};
use super::settings::{TrunkSettings, WordsSettings};
use crate::call::{DivertCallee, DivertCaller, SrtpPolicy};
use crate::gate::{self, Rate};
use crate::policy::action::{Rejection, Route};
use crate::policy::number::{COUNTRIES, Country, NumberSet};
use crate::policy::rules::{Condition, Policy, Rule};
use crate::sip::flow::{Hop, Transport};
use crate::sip::wire::Limits;
use crate::units::Ratio;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

const NETWORK_HINT: &str = "must be a network or address, as \"192.0.2.0/24\" or \"2001:db8::/32\"";
const HOST_HINT: &str = "must be a name or address with an optional port, as \"sip.example.com\" or \"192.0.2.1:5060\"";

/// Reads `[[listen]]`'s default: every address, the SIP port.
const LISTEN: &str = "0.0.0.0:5060";

type Files<'f> = &'f dyn Fn(&str) -> Result<String, String>;

pub(super) fn read(text: &str, files: Files<'_>) -> Result<Settings, Vec<Problem>> {
    let table = parse(text).map_err(|problem| vec![problem])?;
    let reading = &mut Reading::new(text);
    let mut root = Section::new("", 0, Some(table.get_ref()));
    let enforce = root.flag(reading, "enforce", true);
    let listen = listen(&mut root, files, reading);
    let sip = sip(root.section(reading, "sip"), reading);
    let connections = connections(root.section(reading, "connections"), reading);
    let pbx = pbx(root.section(reading, "pbx"), &listen, files, reading);
    let trunks = trunks(&mut root, &listen, files, reading);
    let media = media(root.section(reading, "media"), reading);
    let mut gate = limits(&mut root, reading);
    networks(root.section(reading, "networks"), &mut gate, reading);
    let mut policy = Policy::default();
    numbers(root.section(reading, "numbers"), &mut policy, files, reading);
    let detect = detect(root.section(reading, "detect"), &mut policy, reading);
    let divert = divert(root.section(reading, "divert"), reading);
    rules(&mut root, &mut policy, &trunks, reading);
    let admin = admin(root.section(reading, "admin"), reading);
    let store = store(root.section(reading, "store"), reading);
    let restart = restart(root.section(reading, "restart"), reading);
    let log = log(root.section(reading, "log"), reading);
    root.finish(reading);
    if !reading.problems.is_empty() {
        reading.problems.sort_by_key(|problem| problem.line);
        return Err(std::mem::take(&mut reading.problems));
    }
    let options = std::mem::take(&mut reading.options);
    let policy = Arc::new(policy);
    Ok(Settings {
        generation: 1,
        enforce,
        listen,
        sip,
        connections,
        pbx,
        trunks,
        media,
        gate,
        policy,
        detect,
        divert,
        admin,
        store,
        restart,
        log,
        options,
    })
}

const TRANSPORTS: [(&str, Transport); 3] = [("udp", Transport::Udp), ("tcp", Transport::Tcp), ("tls", Transport::Tls)];

fn listen<'t>(root: &mut Section<'_, 't>, files: Files<'_>, reading: &mut Reading<'t>) -> Vec<ListenSettings> {
    let mut listen: Vec<ListenSettings> = Vec::new();
    for mut section in root.sections(reading, "listen") {
        let transport = section.word(reading, "transport", Transport::Udp, &TRANSPORTS);
        let identity = identity(&mut section, transport, files, reading);
        let hint = "must be an address with a port, as \"0.0.0.0:5060\"";
        let before = reading.problems.len();
        let address = section.parsed(reading, "address", hint, |text| text.parse::<SocketAddr>().ok());
        if address.is_none() && reading.problems.len() == before {
            section.missing(reading, "address", hint);
        }
        if let Some(address) = address {
            let hop = Hop { address, transport };
            if address.port() != 0 && listen.iter().any(|other| other.hop == hop) {
                reading.problem(section.at, &format!("{}.address", section.path), "", "is there twice");
            }
            listen.push(ListenSettings { hop, identity });
        }
        section.finish(reading);
    }
    if listen.is_empty() {
        for (key, value) in [("address", LISTEN), ("transport", "udp"), ("certificate", ""), ("key", "")] {
            reading.options.insert(format!("listen[0].{key}"), value.to_owned());
        }
        let address = SocketAddr::from(([0, 0, 0, 0], 5_060));
        listen.push(ListenSettings { hop: Hop::udp(address), identity: None });
    }
    listen
}

/// Certificate and key of a listener: both, where it is TLS, and neither elsewhere.
fn identity<'t>(
    section: &mut Section<'_, 't>,
    transport: Transport,
    files: Files<'_>,
    reading: &mut Reading<'t>,
) -> Option<Identity> {
    let before = reading.problems.len();
    let certificate = pem(section, "certificate", files, reading);
    let key = pem(section, "key", files, reading);
    if reading.problems.len() > before {
        return None;
    }
    match (transport, certificate, key) {
        (Transport::Tls, Some((at_certificate, certificate)), Some((at_key, key))) => {
            let bad = match Identity::from_pem(&certificate, &key) {
                Ok(identity) => return Some(identity),
                Err(bad) => bad,
            };
            let item = if bad == BadTls::NoCertificate { at_certificate } else { at_key };
            reading.problem(item.at, &item.path, item.source, bad.to_string());
        }
        (Transport::Tls, certificate, key) => {
            if certificate.is_none() {
                section.missing(reading, "certificate", "the file with the certificate chain that peers are shown");
            }
            if key.is_none() {
                section.missing(reading, "key", "the file with the certificate's private key");
            }
        }
        (Transport::Udp | Transport::Tcp, certificate, key) => {
            for (item, _) in certificate.into_iter().chain(key) {
                reading.problem(item.at, &item.path, item.source, "is of use with transport = \"tls\" only");
            }
        }
    }
    None
}

/// Whom we believe about a peer's certificate; None: the system's own.
fn roots<'t>(
    section: &mut Section<'_, 't>,
    transport: Transport,
    files: Files<'_>,
    reading: &mut Reading<'t>,
) -> Option<Roots> {
    let (item, text) = pem(section, "ca", files, reading)?;
    if transport != Transport::Tls {
        reading.problem(item.at, &item.path, item.source, "is of use with transport = \"tls\" only");
        return None;
    }
    Roots::from_pem(&text).map_err(|bad| reading.problem(item.at, &item.path, item.source, bad.to_string())).ok()
}

/// A file that an option names: where the option stands, and the file's text. That the file has changed is a change.
fn pem<'a, 't>(
    section: &mut Section<'a, 't>,
    key: &'static str,
    files: Files<'_>,
    reading: &mut Reading<'t>,
) -> Option<(Item<'a, 't>, String)> {
    let file = section
        .parsed(reading, key, "must be the path of a PEM file", |text| (!text.is_empty()).then(|| text.to_owned()))?;
    let item = section.item(reading, key)?;
    match files(&file) {
        Ok(text) => {
            reading.options.insert(format!("{} (content)", item.path), fingerprint(&text));
            Some((item, text))
        }
        Err(error) => {
            reading.problem(item.at, &item.path, item.source, format!("cannot be read: {error}"));
            None
        }
    }
}

/// How a next hop is reached: only over what we listen on, because it must be able to reach us.
fn transport<'t>(section: &mut Section<'_, 't>, listen: &[ListenSettings], reading: &mut Reading<'t>) -> Transport {
    let transport = section.word(reading, "transport", Transport::Udp, &TRANSPORTS);
    if !listen.iter().any(|listen| listen.hop.transport == transport) {
        let item = section.item(reading, "transport");
        let (at, source) = item.map_or((section.at, ""), |item| (item.at, item.source));
        let word = transport.label();
        let hint = format!("{word} needs a [[listen]] with transport = \"{word}\": answers and calls come in there");
        reading.problem(at, &format!("{}.transport", section.path), source, hint);
    }
    transport
}

fn connections<'t>(mut section: Section<'_, 't>, reading: &mut Reading<'t>) -> ConnectionSettings {
    let max = section.count(reading, "max", 1_000, 1..=100_000);
    let max_per_source = section.count(reading, "max_per_source", 200, 1..=100_000);
    let idle_for = section.duration(reading, "idle_for", 10 * MINUTE, 10 * SECOND..DAY);
    let handshake_for = section.duration(reading, "handshake_for", 10 * SECOND, SECOND..5 * MINUTE);
    section.finish(reading);
    ConnectionSettings { max, max_per_source, idle_for, handshake_for }
}

fn sip<'t>(mut section: Section<'_, 't>, reading: &mut Reading<'t>) -> SipSettings {
    let hint = "must be the address that the outside sees, as \"203.0.113.5\"";
    let public_address = section.parsed(reading, "public_address", hint, |text| {
        text.parse::<IpAddr>().ok().filter(|address| !address.is_unspecified())
    });
    let max_calls = section.count(reading, "max_calls", 2_000, 1..=100_000);
    let drain_for = section.duration(reading, "drain_for", 60 * SECOND, Duration::ZERO..DAY);
    let defaults = Limits::default();
    let header_bytes = section.count(reading, "header_bytes", defaults.header_bytes, 1_024..=65_535);
    let headers = section.count(reading, "headers", defaults.headers, 16..=1_024);
    section.finish(reading);
    SipSettings { public_address, max_calls, drain_for, limits: Limits { header_bytes, headers, ..defaults } }
}

/// `srtp` of a trunk or the PBX.
const SRTP: [(&str, SrtpPolicy); 3] =
    [("off", SrtpPolicy::Off), ("offer", SrtpPolicy::Offer), ("require", SrtpPolicy::Require)];

fn pbx<'t>(
    mut section: Section<'_, 't>,
    listen: &[ListenSettings],
    files: Files<'_>,
    reading: &mut Reading<'t>,
) -> PbxSettings {
    let transport = transport(&mut section, listen, reading);
    let address = address(&mut section, transport, reading, "where calls go, as \"127.0.0.1:5070\"");
    let roots = roots(&mut section, transport, files, reading);
    let networks = section.list(reading, "networks", Vec::new(), NETWORK_HINT, network);
    let srtp = section.word(reading, "srtp", SrtpPolicy::Off, &SRTP);
    section.finish(reading);
    PbxSettings { srtp, address, transport, roots, networks }
}

/// A host that must be there. A missing or bad one is a problem, and the value is then never used.
fn address<'t>(section: &mut Section<'_, 't>, transport: Transport, reading: &mut Reading<'t>, what: &str) -> HostPort {
    let before = reading.problems.len();
    let host = section.parsed(reading, "address", HOST_HINT, |text| HostPort::parse(text, transport.default_port()));
    if host.is_none() && reading.problems.len() == before {
        section.missing(reading, "address", what);
    }
    host.unwrap_or(HostPort { host: String::new(), port: 0 })
}

fn trunks<'t>(
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
        let transport = transport(&mut section, listen, reading);
        let address = address(&mut section, transport, reading, "where outbound calls go, as \"sip.example.com\"");
        let roots = roots(&mut section, transport, files, reading);
        let networks = section.list(reading, "networks", Vec::new(), NETWORK_HINT, network);
        let srtp = section.word(reading, "srtp", SrtpPolicy::Off, &SRTP);
        trunks.push(TrunkSettings { srtp, name, address, transport, roots, networks });
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

fn media<'t>(mut section: Section<'_, 't>, reading: &mut Reading<'t>) -> MediaSettings {
    let show = |(first, last): &(u16, u16)| format!("{first}-{last}");
    let (first_port, last_port) = section.option(reading, "ports", (20_000, 20_999), show, |item| {
        let ports = item.text().ok().and_then(|text| {
            let (first, last) = text.split_once('-')?;
            Some((first.trim().parse::<u16>().ok()?, last.trim().parse::<u16>().ok()?))
        });
        match ports {
            Some((first, last)) if first >= 1_024 && last >= first.saturating_add(7) => Ok((first, last)),
            Some(_) => Err("must hold at least 8 ports from 1024 on; a call takes four".to_owned()),
            None => Err("must be two ports, as \"20000-20999\"".to_owned()),
        }
    });
    let timeout = section.duration(reading, "timeout", 60 * SECOND, 5 * SECOND..DAY);
    let announcements = path(&mut section, reading, "announcements", "announcements");
    let threads = section.count(reading, "threads", 1, 1..=64);
    let dscp = section.count(reading, "dscp", 46, 0..=63) as u8;
    section.finish(reading);
    MediaSettings { first_port, last_port, timeout, announcements, threads, dscp }
}

fn limits<'t>(root: &mut Section<'_, 't>, reading: &mut Reading<'t>) -> gate::Settings {
    let defaults = gate::Settings::default();
    let mut section = root.section(reading, "limits");
    let mut per_source = section.section(reading, "per_source");
    let mut calls_per_source = rate(&mut per_source, reading, "calls", defaults.calls_per_source);
    let most = calls_per_source.count.get() as usize;
    let burst = per_source.count(reading, "burst", most, 1..=most);
    calls_per_source.burst = NonZeroU32::new(burst as u32).unwrap_or(calls_per_source.count);
    per_source.finish(reading);
    let mut per_number = section.section(reading, "per_number");
    let calls_per_number = rate(&mut per_number, reading, "calls", defaults.calls_per_number);
    per_number.finish(reading);
    let messages_per_source = rate(&mut section, reading, "messages_per_source", defaults.messages_per_source);
    let messages_per_trunk = rate(&mut section, reading, "messages_per_trunk", defaults.messages_per_trunk);
    let block_for = section.duration(reading, "block_for", defaults.block_for, SECOND..YEAR);
    let longest_block = section.duration(reading, "longest_block", defaults.longest_block, SECOND..YEAR);
    if longest_block < block_for {
        let path = "limits.longest_block";
        reading.problem(section.at, path, "", "must not be shorter than limits.block_for");
    }
    let max_sources = section.count(reading, "max_sources", defaults.max_sources, 256..=1_000_000);
    section.finish(reading);
    gate::Settings {
        messages_per_source,
        messages_per_trunk,
        calls_per_source,
        calls_per_number,
        block_for,
        longest_block,
        max_sources,
        ..defaults
    }
}

fn rate<'t>(section: &mut Section<'_, 't>, reading: &mut Reading<'t>, key: &'static str, default: Rate) -> Rate {
    let show = |rate: &Rate| format!("{}/{}", rate.count, humantime::format_duration(rate.span));
    section.option(reading, key, default, show, |item| {
        let hint = || format!("must be a number in a span, as \"{}\"", show(&default));
        let (count, span) = item.text().ok().and_then(|text| text.split_once('/')).ok_or_else(hint)?;
        let count: u32 = count.trim().parse().map_err(|_| hint())?;
        let span = span.trim();
        let span = if span.starts_with(|c: char| c.is_ascii_digit()) { span.to_owned() } else { format!("1{span}") };
        let span = humantime::parse_duration(&span).map_err(|_| hint())?;
        match count {
            0 => Err("must be at least 1; to refuse a source altogether, put it in networks.deny".to_owned()),
            1..=1_000_000 if (SECOND / 10..=DAY).contains(&span) => Ok(Rate::new(count, span)),
            _ => Err("must be at most 1,000,000 in a span from 100ms to 1day".to_owned()),
        }
    })
}

fn networks<'t>(mut section: Section<'_, 't>, gate: &mut gate::Settings, reading: &mut Reading<'t>) {
    gate.allow = section.list(reading, "allow", Vec::new(), NETWORK_HINT, network);
    gate.deny = section.list(reading, "deny", Vec::new(), NETWORK_HINT, network);
    section.finish(reading);
}

fn numbers<'t>(mut section: Section<'_, 't>, policy: &mut Policy, files: Files<'_>, reading: &mut Reading<'t>) {
    let countries: Vec<(&'static str, Country)> = COUNTRIES.iter().map(|country| (country.code, *country)).collect();
    policy.country = section.word(reading, "country", Country::GB, &countries);
    let text = |text: &str| Some(text.to_owned());
    let emergency = policy.emergency.iter().map(ToString::to_string).collect();
    let emergency = section.list(reading, "emergency", emergency, "must be a number, as \"112\"", |number| {
        (!number.is_empty() && number.bytes().all(|b| b.is_ascii_digit() || b == b'+')).then(|| number.to_owned())
    });
    policy.emergency = emergency.into_iter().map(Arc::from).collect();
    for (key, file_key, set) in [("allow", "allow_file", &mut policy.allow), ("block", "block_file", &mut policy.block)]
    {
        let listed = section.list(reading, key, Vec::new(), "must be text in quotes", text);
        let at = section.item(reading, key).map_or(section.at, |item| item.at);
        let mut patterns: Vec<&str> = listed.iter().map(String::as_str).collect();
        let file_item = section.item(reading, file_key);
        let file = section.parsed(reading, file_key, "must be the path of a file with one number a line", text);
        let mut content = String::new();
        if let (Some(file), Some(item)) = (&file, &file_item) {
            match files(file) {
                Ok(read) => content = read,
                Err(error) => reading.problem(item.at, &item.path, item.source, format!("cannot be read: {error}")),
            }
        }
        let from_list = patterns.len();
        let lines = content.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
        let numbered: Vec<(usize, &str)> = lines.enumerate().filter(|(_, line)| !line.is_empty()).collect();
        patterns.extend(numbered.iter().map(|(_, line)| *line));
        // A changed list file is a change too; its text is not kept, only how it differs.
        if file.is_some() {
            reading.options.insert(format!("numbers.{file_key} (content)"), fingerprint(&content));
        }
        match NumberSet::new(patterns.iter().copied(), policy.country) {
            Ok(numbers) => *set = numbers,
            Err((place, error)) => {
                let value = patterns.get(place).copied().unwrap_or_default();
                match (place.checked_sub(from_list).and_then(|n| numbered.get(n)), &file_item) {
                    (Some((line, _)), Some(item)) => {
                        reading.problem(item.at, &item.path, value, format!("line {} of that file: {error}", line + 1));
                    }
                    _ => reading.problem(at, &format!("numbers.{key}[{place}]"), value, error.to_string()),
                }
            }
        }
    }
    section.finish(reading);
}

/// Tells two texts apart without keeping them.
fn fingerprint(text: &str) -> String {
    use std::hash::{Hash, Hasher};
    let mut hasher = siphasher::sip::SipHasher13::new();
    text.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

fn detect<'t>(mut section: Section<'_, 't>, policy: &mut Policy, reading: &mut Reading<'t>) -> DetectSettings {
    let watch_for = section.duration(reading, "watch_for", 25 * SECOND, 2 * SECOND..10 * MINUTE);
    policy.guard_at = ratio(&mut section, reading, "guard_at", policy.guard_at);
    policy.whisper_at = ratio(&mut section, reading, "whisper_at", policy.whisper_at);
    policy.divert_at = ratio(&mut section, reading, "divert_at", policy.divert_at);
    let show = |ratio: &Option<Ratio>| ratio.map_or_else(|| "never".to_owned(), |ratio| ratio.get().to_string());
    policy.hang_up_at = section.option(reading, "hang_up_at", None, show, |item| match item.text() {
        Ok("never") => Ok(None),
        Ok(_) => Err("must be a probability above 0 up to 1, or \"never\"".to_owned()),
        Err(_) => probability(item).map(Some),
    });
    if policy.guard_at > policy.whisper_at || policy.whisper_at > policy.divert_at {
        let hint = "must rise: guard_at, then whisper_at, then divert_at; the mild steps come first";
        reading.problem(section.at, "detect", "", hint);
    }
    let campaigns = path(&mut section, reading, "campaigns", "campaigns.txt");
    let mut words = section.section(reading, "words");
    let enabled = words.flag(reading, "enabled", true);
    let model = path(&mut words, reading, "model", "models/moonshine-tiny-en");
    let threads = words.count(reading, "threads", 1, 1..=64);
    let phrases = words.parsed(reading, "phrases", "must be the path of a phrase file", |text| Some(text.to_owned()));
    let wording = words.parsed(reading, "wording", "must be the path of a wording file", |text| Some(text.to_owned()));
    words.finish(reading);
    section.finish(reading);
    let words = WordsSettings {
        enabled,
        model,
        threads,
        phrases: phrases.map(PathBuf::from),
        wording: wording.map(PathBuf::from),
    };
    DetectSettings { watch_for, campaigns, words }
}

fn ratio<'t>(section: &mut Section<'_, 't>, reading: &mut Reading<'t>, key: &'static str, default: Ratio) -> Ratio {
    section.option(reading, key, default, |ratio| ratio.get().to_string(), probability)
}

fn probability(item: &Item<'_, '_>) -> Result<Ratio, String> {
    let number: Option<f32> = match item.value {
        DeValue::Float(number) => number.as_str().parse().ok(),
        DeValue::Integer(number) => number.as_str().parse().ok(),
        _ => None,
    };
    let fits = number.filter(|number| *number > 0.0 && *number <= 1.0);
    fits.map(Ratio::clamped).ok_or_else(|| "must be a probability above 0 up to 1, as 0.9".to_owned())
}

fn divert<'t>(mut section: Section<'_, 't>, reading: &mut Reading<'t>) -> DivertSettings {
    let callee = [
        ("announcement", DivertCallee::Announcement),
        ("silence", DivertCallee::Silence),
        ("hang_up", DivertCallee::HangUp),
    ];
    let caller = [
        ("announcement", DivertCaller::Announcement),
        ("silence", DivertCaller::Silence),
        ("hang_up", DivertCaller::HangUp),
    ];
    let callee = section.word(reading, "callee", DivertCallee::Announcement, &callee);
    let caller = section.word(reading, "caller", DivertCaller::Announcement, &caller);
    let show = |key: &Option<char>| key.map_or_else(|| "none".to_owned(), String::from);
    let take_back_key = section.option(reading, "take_back_key", Some('9'), show, |item| {
        let text = item.text().unwrap_or_default();
        let mut chars = text.chars();
        match (text, chars.next(), chars.next()) {
            ("none", _, _) => Ok(None),
            (_, Some(key), None) if key.is_ascii_digit() || key == '*' || key == '#' => Ok(Some(key)),
            _ => Err("must be one key (0 to 9, * or #) in quotes, or \"none\"".to_owned()),
        }
    });
    section.finish(reading);
    DivertSettings { callee, caller, take_back_key }
}

fn rules<'t>(root: &mut Section<'_, 't>, policy: &mut Policy, trunks: &[TrunkSettings], reading: &mut Reading<'t>) {
    for mut section in root.sections(reading, "rule") {
        let before = reading.problems.len();
        let name = section.parsed(reading, "name", "must be text", |text| {
            (!text.is_empty() && !text.contains(char::is_control)).then(|| text.to_owned())
        });
        if name.is_none() && reading.problems.len() == before {
            section.missing(reading, "name", "the name that records show");
        }
        let actions = ["connect", "watch", "divert", "reject"];
        let show = |action: &Option<&'static str>| action.unwrap_or_default().to_owned();
        let action = section.option(reading, "action", None, show, |item| {
            let text = item.text().unwrap_or_default();
            if text == "screen" {
                return Err("is not built yet; \"watch\" rings and listens".to_owned());
            }
            let known = actions.iter().find(|action| **action == text).copied();
            known.map(Some).ok_or_else(|| match super::section::nearest(text, &actions) {
                Some(nearest) => format!("is not an action; did you mean \"{nearest}\"?"),
                None => format!("is not an action; actions are {}", actions.join(", ")),
            })
        });
        let statuses = [
            ("608", Rejection::Rejected),
            ("603", Rejection::Decline),
            ("486", Rejection::Busy),
            ("404", Rejection::NotFound),
        ];
        let rejection = section.word(reading, "status", Rejection::Rejected, &statuses);
        let route = match action {
            Some("connect") => Route::Connect,
            Some("divert") => Route::Divert,
            Some("reject") => Route::Reject(rejection),
            Some(_) => Route::Watch,
            None => {
                if reading.problems.len() == before {
                    section.missing(reading, "action", "connect, watch, divert or reject");
                }
                Route::Watch
            }
        };
        let when = conditions(section.section(reading, "when"), policy.country, trunks, reading);
        section.finish(reading);
        policy.rules.push(Rule { name: name.unwrap_or_default().into(), when, route });
    }
}

fn conditions<'t>(
    mut section: Section<'_, 't>,
    country: Country,
    trunks: &[TrunkSettings],
    reading: &mut Reading<'t>,
) -> Vec<Condition> {
    let mut when = Vec::new();
    let text = |text: &str| Some(text.to_owned());
    if let Some(item) = section.item(reading, "number") {
        if item.text() == Ok("withheld") {
            when.push(Condition::Withheld);
            reading.options.insert(item.path, "withheld".to_owned());
        } else {
            let list = section.list(reading, "number", Vec::new(), "must be \"withheld\" or a list of numbers", text);
            match NumberSet::new(list.iter().map(String::as_str), country) {
                Ok(set) => when.push(Condition::Number(set)),
                Err((place, error)) => {
                    let value = list.get(place).map(String::as_str).unwrap_or_default();
                    reading.problem(item.at, &format!("{}[{place}]", item.path), value, error.to_string());
                }
            }
        }
    }
    let called = section.list(reading, "called", Vec::new(), "must be a list of extensions", text);
    if !called.is_empty() {
        when.push(Condition::Called(called.into_iter().map(Arc::from).collect()));
    }
    let names: Vec<&str> = trunks.iter().map(|trunk| &*trunk.name).collect();
    let hint = format!("must be the name of a trunk: {}", names.join(", "));
    let trunk = section.parsed(reading, "trunk", &hint, |text| names.contains(&text).then(|| text.to_owned()));
    when.extend(trunk.map(|name| Condition::Trunk(name.into())));
    let networks = section.list(reading, "networks", Vec::new(), NETWORK_HINT, network);
    if !networks.is_empty() {
        when.push(Condition::Networks(networks));
    }
    let hours = section.parsed(reading, "hours", "must be two hours, as \"22-7\"", |text| {
        let (from, to) = text.split_once('-')?;
        let (from, to): (u8, u8) = (from.trim().parse().ok()?, to.trim().parse().ok()?);
        (from < 24 && to <= 24 && from != to).then(|| format!("{from}-{to}"))
    });
    if let Some((from, to)) = hours.as_deref().and_then(|hours| hours.split_once('-'))
        && let (Ok(from), Ok(to)) = (from.parse(), to.parse())
    {
        when.push(Condition::Hours { from, to });
    }
    const DAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
    let hint = "must be a list of days, as [\"saturday\", \"sunday\"]";
    let days =
        section.list(reading, "weekdays", Vec::new(), hint, |text| DAYS.contains(&text).then(|| text.to_owned()));
    if !days.is_empty() {
        let numbers = days.iter().filter_map(|day| DAYS.iter().position(|one| one == day));
        when.push(Condition::Weekdays(numbers.filter_map(|n| u8::try_from(n).ok()).collect()));
    }
    section.finish(reading);
    when
}

fn admin<'t>(mut section: Section<'_, 't>, reading: &mut Reading<'t>) -> Option<SocketAddr> {
    let default: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 8_470));
    let show = |address: &Option<SocketAddr>| address.map_or_else(|| "none".to_owned(), |address| address.to_string());
    let address = section.option(reading, "address", Some(default), show, |item| match item.text() {
        Ok("none") => Ok(None),
        Ok(text) => match text.parse::<SocketAddr>() {
            Ok(address) if address.ip().is_loopback() => Ok(Some(address)),
            Ok(_) => Err("must be a loopback address; the API has no passwords yet".to_owned()),
            Err(_) => Err("must be an address with a port, as \"127.0.0.1:8470\", or \"none\"".to_owned()),
        },
        Err(hint) => Err(hint),
    });
    section.finish(reading);
    address
}

fn store<'t>(mut section: Section<'_, 't>, reading: &mut Reading<'t>) -> StoreSettings {
    let path = path(&mut section, reading, "path", "ringfence.db");
    let keep_for = section.duration(reading, "keep_for", 90 * DAY, DAY..100 * YEAR);
    section.finish(reading);
    StoreSettings { path, keep_for }
}

fn restart<'t>(mut section: Section<'_, 't>, reading: &mut Reading<'t>) -> RestartSettings {
    let journal = path(&mut section, reading, "journal", "calls.journal");
    let journal = (journal.as_os_str() != "none").then_some(journal);
    let longest_call = section.duration(reading, "longest_call", 12 * HOUR, MINUTE..YEAR);
    section.finish(reading);
    RestartSettings { journal, longest_call }
}

fn log<'t>(mut section: Section<'_, 't>, reading: &mut Reading<'t>) -> LogSettings {
    let levels = ["error", "warn", "info", "debug", "trace"].map(|level| (level, level));
    let level = section.word(reading, "level", "info", &levels).to_owned();
    let json = section.word(reading, "format", false, &[("text", false), ("json", true)]);
    let numbers = section.flag(reading, "numbers", false);
    section.finish(reading);
    LogSettings { level, json, numbers }
}

fn path<'t>(section: &mut Section<'_, 't>, reading: &mut Reading<'t>, key: &'static str, default: &str) -> PathBuf {
    let read = section.option(reading, key, default.to_owned(), String::clone, |item| match item.text() {
        Ok(text) if !text.is_empty() && !text.contains('\0') => Ok(text.to_owned()),
        Ok(_) | Err(_) => Err("must be a path".to_owned()),
    });
    PathBuf::from(read)
}

fn network(text: &str) -> Option<IpNet> {
    text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

impl HostPort {
    fn parse(text: &str, default_port: u16) -> Option<Self> {
        if let Ok(address) = text.parse::<SocketAddr>() {
            let usable = !address.ip().is_unspecified() && address.port() != 0;
            return usable.then(|| Self { host: address.ip().to_string(), port: address.port() });
        }
        if let Ok(ip) = text.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
            return (!ip.is_unspecified()).then(|| Self { host: ip.to_string(), port: default_port });
        }
        let (host, port) = match text.split_once(':') {
            Some((host, port)) => (host, port.parse().ok().filter(|port| *port != 0)?),
            None => (text, default_port),
        };
        let label = |label: &str| {
            let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
            edge(label.chars().next())
                && edge(label.chars().last())
                && label.len() <= 63
                && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
        };
        // All digits and dots, but no address: a slip, not a name.
        let numeric = host.chars().all(|c| c.is_ascii_digit() || c == '.');
        let fits = host.len() <= 253 && !numeric && host.trim_end_matches('.').split('.').all(label);
        fits.then(|| Self { host: host.to_owned(), port })
    }
}

impl std::fmt::Display for HostPort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}
