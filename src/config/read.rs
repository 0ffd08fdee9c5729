//! Every option of the settings file: its name, default and limits, in the order of the file.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::file::Files;
use super::host::{NETWORK_HINT, address, is_name, network};
use super::listen::{beside_api, client_identity, listen, roots, transport};
use super::policy::{detect, divert, numbers, rules};
use super::problem::Problem;
use super::section::{Reading, Section, parse};
use super::settings::{
    CallSettings, ConnectionSettings, DnsSettings, ListenSettings, LogSettings, MediaSettings, PbxSettings,
    PublicAddress, RestartSettings, Settings, SipSettings, StoreSettings,
};
use super::trunks::{keep_alive, trunks};
use crate::call::{CODECS, Redirects, SrtpPolicy};
use crate::gate::{self, Rate};
use crate::policy::rules::Policy;
use crate::sip::wire::Limits;

pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
pub(super) const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The settings, and every problem with them; where there is one, the default stands. The error: it is no TOML.
pub(super) fn read(text: &str, files: &dyn Files) -> Result<(Settings, Vec<Problem>), Vec<Problem>> {
    let table = parse(text)?;
    let reading = &mut Reading::new(text);
    let mut root = Section::new("", 0, Some(table.get_ref()));
    let enforce = root.flag(reading, "enforce", true);
    let listen = listen(&mut root, files, reading);
    let sip = sip(root.section(reading, "sip"), reading);
    let calls = calls(root.section(reading, "calls"), reading);
    let connections = connections(root.section(reading, "connections"), reading);
    let dns = dns(root.section(reading, "dns"), reading);
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
    let admin = admin(root.section(reading, "admin"), &listen, reading);
    let store = store(root.section(reading, "store"), reading);
    let restart = restart(root.section(reading, "restart"), reading);
    let log = log(root.section(reading, "log"), reading);
    root.finish(reading);
    let (options, problems) = (std::mem::take(&mut reading.options), std::mem::take(&mut reading.problems));
    let doubted = std::mem::take(&mut reading.doubted);
    let policy = Arc::new(policy);
    let settings = Settings {
        generation: 1,
        enforce,
        listen,
        sip,
        calls,
        connections,
        dns,
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
        doubted,
        options,
    };
    Ok((settings, problems))
}

fn connections<'t>(mut section: Section<'_, 't>, reading: &mut Reading<'t>) -> ConnectionSettings {
    let max = section.count(reading, "max", 1_000, 1..=100_000);
    let max_per_source = section.count(reading, "max_per_source", 200, 1..=100_000);
    let idle_for = section.duration(reading, "idle_for", 10 * MINUTE, 10 * SECOND..=DAY);
    let handshake_for = section.duration(reading, "handshake_for", 10 * SECOND, SECOND..=5 * MINUTE);
    section.finish(reading);
    ConnectionSettings { max, max_per_source, idle_for, handshake_for }
}

fn calls<'t>(mut section: Section<'_, 't>, reading: &mut Reading<'t>) -> CallSettings {
    // RFC 4028 §4 allows no shorter one.
    let range = 90 * SECOND..=DAY;
    let hint = "must be a duration from 90s to 1day, as \"30m\", or \"none\"";
    let session_timer = section.duration_or(reading, "session_timer", "none", Some(30 * MINUTE), range, hint);
    let held_check = section.duration(reading, "held_check", 5 * MINUTE, 30 * SECOND..=DAY);
    section.finish(reading);
    CallSettings { session_timer, held_check }
}

fn public_address<'t>(section: &mut Section<'_, 't>, reading: &mut Reading<'t>) -> Option<PublicAddress> {
    let hint = "must be the address that the outside sees, as \"203.0.113.5\", or a name that has it, without a port";
    section.parsed(reading, "public_address", hint, |text| match text.parse::<IpAddr>() {
        Ok(address) => (!address.is_unspecified()).then_some(PublicAddress::Is(address)),
        Err(_) => is_name(text).then(|| PublicAddress::Named(text.to_owned())),
    })
}

fn sip<'t>(mut section: Section<'_, 't>, reading: &mut Reading<'t>) -> SipSettings {
    let public_address = public_address(&mut section, reading);
    let hint = "must be a host name, as \"ringfence.example\"";
    let names = section.list(reading, "names", Vec::new(), hint, |text| is_name(text).then(|| text.to_owned()));
    let redirects = [("pass", Redirects::Pass), ("follow", Redirects::Follow)];
    let redirects = section.word(reading, "redirects", Redirects::Pass, &redirects);
    let max_calls = section.count(reading, "max_calls", 2_000, 1..=100_000);
    let drain_for = section.duration(reading, "drain_for", 60 * SECOND, Duration::ZERO..=DAY);
    let defaults = Limits::default();
    let header_bytes = section.count(reading, "header_bytes", defaults.header_bytes, 1_024..=65_535);
    let headers = section.count(reading, "headers", defaults.headers, 16..=1_024);
    let large_over_tcp = section.word(reading, "large_requests", true, &[("tcp", true), ("udp", false)]);
    let dscp = section.count(reading, "dscp", 24, 0..=63) as u8;
    section.finish(reading);
    SipSettings {
        public_address,
        names,
        redirects,
        max_calls,
        drain_for,
        limits: Limits { header_bytes, headers, ..defaults },
        large_over_tcp,
        dscp,
    }
}

fn dns<'t>(mut section: Section<'_, 't>, reading: &mut Reading<'t>) -> DnsSettings {
    let hint = "must be an address with an optional port, as \"192.0.2.53\"";
    let servers = section.list(reading, "servers", Vec::new(), hint, |text| {
        let alone = || text.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, 53));
        text.parse::<SocketAddr>().ok().or_else(alone).filter(|server| !server.ip().is_unspecified())
    });
    let keep_at_least = section.duration(reading, "keep_at_least", 10 * SECOND, SECOND / 2..=HOUR);
    let keep_at_most = section.duration(reading, "keep_at_most", HOUR, SECOND / 2..=7 * DAY);
    let timeout = section.duration(reading, "timeout", 2 * SECOND, SECOND / 10..=30 * SECOND);
    if keep_at_most < keep_at_least {
        reading.problem(section.at, "dns.keep_at_most", "", "must not be shorter than dns.keep_at_least");
    }
    section.finish(reading);
    DnsSettings { servers, keep_at_least, keep_at_most, timeout }
}

/// `srtp` of a trunk or the PBX.
pub(super) const SRTP: [(&str, SrtpPolicy); 3] =
    [("off", SrtpPolicy::Off), ("offer", SrtpPolicy::Offer), ("require", SrtpPolicy::Require)];

fn pbx<'t>(
    mut section: Section<'_, 't>,
    listen: &[ListenSettings],
    files: &dyn Files,
    reading: &mut Reading<'t>,
) -> PbxSettings {
    let transport = transport(&mut section, listen, reading);
    let address = address(&mut section, transport, reading, "where calls go, as \"127.0.0.1:5070\"");
    let roots = roots(&mut section, transport, files, reading);
    let client_identity = client_identity(&mut section, transport, files, reading);
    let networks = section.list(reading, "networks", Vec::new(), NETWORK_HINT, network);
    let srtp = section.word(reading, "srtp", SrtpPolicy::Off, &SRTP);
    let keep_alive = keep_alive(&mut section, reading);
    section.finish(reading);
    PbxSettings { srtp, keep_alive, address, transport, roots, client_identity, networks }
}

fn media<'t>(mut section: Section<'_, 't>, reading: &mut Reading<'t>) -> MediaSettings {
    let show = |(first, last): &(u16, u16)| format!("{first}-{last}");
    let (first_port, last_port) = section.option(reading, "ports", (20_000, 20_999), show, |item| {
        let ports = item.text().ok().and_then(|text| {
            let (first, last) = text.split_once('-')?;
            Some((first.trim().parse::<u16>().ok()?, last.trim().parse::<u16>().ok()?))
        });
        match ports {
            Some((first, last)) if first >= 1_024 && last >= first && last - first >= 7 => Ok((first, last)),
            Some(_) => Err("must hold at least 8 ports from 1024 on; a call takes four".to_owned()),
            None => Err("must be two ports, as \"20000-20999\"".to_owned()),
        }
    });
    let public_address = public_address(&mut section, reading);
    let hint = format!("must be one of: {}; keys and comfort noise always pass", CODECS.join(", "));
    let codecs = section.list(reading, "codecs", Vec::new(), &hint, |text| {
        CODECS.into_iter().find(|codec| codec.eq_ignore_ascii_case(text))
    });
    let timeout = section.duration(reading, "timeout", 60 * SECOND, 5 * SECOND..=DAY);
    let announcements = section.path(reading, "announcements", "announcements");
    let threads = section.count(reading, "threads", 1, 1..=64);
    // As they are shared out: whole pairs, two of them a call.
    let most = (first_port..last_port).filter(|port| port % 2 == 0).count() / 2;
    if threads > most
        && let Some(item) = section.item(reading, "threads")
    {
        let hint = format!("must be at most {most}: media.ports hold no call for more (a call takes four)");
        reading.problem(item.at, &item.path, item.source, hint);
    }
    let dscp = section.count(reading, "dscp", 46, 0..=63) as u8;
    section.finish(reading);
    MediaSettings { first_port, last_port, public_address, codecs, timeout, announcements, threads, dscp }
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
    let block_for = section.duration(reading, "block_for", defaults.block_for, SECOND..=YEAR);
    let longest_block = section.duration(reading, "longest_block", defaults.longest_block, SECOND..=YEAR);
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

/// Where the HTTP API listens, unless the settings say otherwise.
pub const ADMIN_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8_470);

fn admin<'t>(mut section: Section<'_, 't>, listen: &[ListenSettings], reading: &mut Reading<'t>) -> Option<SocketAddr> {
    let show = |address: &Option<SocketAddr>| address.map_or_else(|| "none".to_owned(), |address| address.to_string());
    let address = section.option(reading, "address", Some(ADMIN_ADDRESS), show, |item| match item.text() {
        Ok("none") => Ok(None),
        Ok(text) => match text.parse::<SocketAddr>() {
            Ok(address) if address.ip().is_loopback() => Ok(Some(address)),
            Ok(_) => Err("must be a loopback address; the API has no passwords yet".to_owned()),
            Err(_) => Err("must be an address with a port, as \"127.0.0.1:8470\", or \"none\"".to_owned()),
        },
        Err(hint) => Err(hint),
    });
    if let Some(hint) = address.and_then(|address| beside_api(listen, address)) {
        reading.problem(section.at, "admin.address", "", hint);
    }
    section.finish(reading);
    address
}

fn store<'t>(mut section: Section<'_, 't>, reading: &mut Reading<'t>) -> StoreSettings {
    let path = section.path(reading, "path", "ringfence.db");
    let keep_for = section.duration(reading, "keep_for", 90 * DAY, DAY..=100 * YEAR);
    section.finish(reading);
    StoreSettings { path, keep_for }
}

fn restart<'t>(mut section: Section<'_, 't>, reading: &mut Reading<'t>) -> RestartSettings {
    let journal = section.path(reading, "journal", "calls.journal");
    let journal = (journal.as_os_str() != "none").then_some(journal);
    let longest_call = section.duration(reading, "longest_call", 12 * HOUR, MINUTE..=YEAR);
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
