//! What is thought of a call: `[numbers]`, `[detect]`, `[divert]` and `[[rule]]`.

#![expect(clippy::wildcard_enum_match_arm, reason = "the kinds of TOML values are not ours")]

use std::collections::BTreeSet;
use std::fmt::Display;
use std::path::PathBuf;
use std::sync::Arc;

use toml::de::DeValue;

use super::file::Files;
use super::host::{NETWORK_HINT, network};
use super::read::{MINUTE, SECOND};
use super::section::{Item, Reading, Section, nearest};
use super::settings::{DetectSettings, DivertSettings, TrunkSettings, WordsSettings};
use crate::call::{DivertCallee, DivertCaller};
use crate::policy::action::{Rejection, Route};
use crate::policy::number::{BadPattern, COUNTRIES, Country, NumberSet};
use crate::policy::rules::{Called, Condition, Policy, Rule};
use crate::units::Ratio;

/// Bad lines of a file that are told.
const MOST: usize = 10;

fn owned(text: &str) -> Option<String> {
    Some(text.to_owned())
}

pub(super) fn numbers<'t>(
    mut section: Section<'_, 't>,
    policy: &mut Policy,
    files: &dyn Files,
    reading: &mut Reading<'t>,
) {
    let countries: Vec<(&'static str, Country)> = COUNTRIES.iter().map(|country| (country.code, *country)).collect();
    policy.country = section.word(reading, "country", Country::GB, &countries);
    let emergency = policy.emergency.iter().map(ToString::to_string).collect();
    let emergency = section.list(reading, "emergency", emergency, "must be a number, as \"112\"", |number| {
        (!number.is_empty() && number.bytes().all(|b| b.is_ascii_digit() || b == b'+')).then(|| number.to_owned())
    });
    policy.emergency = emergency.into_iter().map(Arc::from).collect();
    policy.allow = number_set(&mut section, ["allow", "allow_file"], policy.country, files, reading);
    policy.block = number_set(&mut section, ["block", "block_file"], policy.country, files, reading);
    section.finish(reading);
}

/// Patterns of a list and of a file with one a line, `#` before a remark.
fn number_set<'t>(
    section: &mut Section<'_, 't>,
    [key, file_key]: [&'static str; 2],
    country: Country,
    files: &dyn Files,
    reading: &mut Reading<'t>,
) -> NumberSet {
    let listed = patterns(section, key, country, reading);
    let mut missing = None;
    let read = |path: &str| match files.text(path) {
        Ok(text) => Ok(text),
        Err(error) if files.leaves_out() => {
            missing = Some(format!("{path} cannot be read: {error}"));
            Ok(String::new())
        }
        Err(error) => Err(format!("cannot be read: {error}")),
    };
    let file = section.file(reading, file_key, "must be the path of a file with one number a line", read);
    if let (Some(why), Some((item, _))) = (missing, &file) {
        reading.doubted.push(format!("{} is left out: {why}", item.path));
        reading.no_content(&item.path);
    }
    let content = file.as_ref().map_or("", |(_, content)| content);
    let lines = content.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    let lines: Vec<(usize, &str)> = (1..).zip(lines).filter(|(_, line)| !line.is_empty()).collect();
    let patterns = listed.iter().map(String::as_str).chain(lines.iter().map(|(_, line)| *line));
    NumberSet::new(patterns.clone(), country).unwrap_or_else(|bad| {
        // What the list holds is good.
        let in_file = |place: usize| lines.get(place.checked_sub(listed.len())?);
        let Some((item, _)) = &file else { return NumberSet::default() };
        let path = item.text().unwrap_or_default();
        if files.leaves_out() {
            let first = bad.first().and_then(|(place, error)| Some((in_file(*place)?.0, error)));
            let told = first.map(|(line, error)| {
                format!("{}: left out of {path}: {}, the first is line {line}: {error}", item.path, lines_of(bad.len()))
            });
            reading.doubted.extend(told);
            let bad: BTreeSet<usize> = bad.iter().map(|(place, _)| *place).collect();
            let good = patterns.enumerate().filter(|(place, _)| !bad.contains(place)).map(|(_, pattern)| pattern);
            return NumberSet::new(good, country).unwrap_or_default();
        }
        for ((line, value), error) in bad.iter().filter_map(|(place, error)| Some((in_file(*place)?, error))).take(MOST)
        {
            reading.number(item, value, format!("line {line} of {path}: {error}"));
        }
        if bad.len() > MOST {
            let more = bad.len() - MOST;
            reading.problem(item.at, &item.path, "", format!("{more} more lines of {path} are no numbers"));
        }
        NumberSet::default()
    })
}

fn lines_of(count: usize) -> String {
    format!("{count} line{}", if count == 1 { "" } else { "s" })
}

/// Numbers and prefixes of a list.
fn patterns<'t>(
    section: &mut Section<'_, 't>,
    key: &'static str,
    country: Country,
    reading: &mut Reading<'t>,
) -> Vec<String> {
    section.list(reading, key, Vec::new(), &BadPattern.to_string(), |text| {
        NumberSet::new([text], country).is_ok().then(|| text.to_owned())
    })
}

pub(super) fn detect<'t>(
    mut section: Section<'_, 't>,
    policy: &mut Policy,
    reading: &mut Reading<'t>,
) -> DetectSettings {
    let watch_for = section.duration(reading, "watch_for", 25 * SECOND, 2 * SECOND..=10 * MINUTE);
    policy.guard_at = ratio(&mut section, reading, "guard_at", policy.guard_at);
    policy.whisper_at = ratio(&mut section, reading, "whisper_at", policy.whisper_at);
    policy.divert_at = ratio(&mut section, reading, "divert_at", policy.divert_at);
    let show = |ratio: &Option<Ratio>| ratio.map_or_else(|| "never".to_owned(), |ratio| ratio.get().to_string());
    policy.hang_up_at = section.option(reading, "hang_up_at", None, show, |item| match item.text() {
        Ok("never") => Ok(None),
        Ok(_) => Err("must be a probability above 0 up to 1, or \"never\"".to_owned()),
        Err(_) => probability(item).map(Some),
    });
    let steps = [Some(policy.guard_at), Some(policy.whisper_at), Some(policy.divert_at), policy.hang_up_at];
    if !steps.iter().flatten().is_sorted() {
        let [guard, whisper, divert] = [policy.guard_at, policy.whisper_at, policy.divert_at].map(Ratio::get);
        let hang_up = show(&policy.hang_up_at);
        let hint = format!(
            "must rise, the mild steps first: guard_at is {guard}, whisper_at {whisper}, divert_at {divert}, hang_up_at \
             {hang_up}"
        );
        reading.problem(section.at, "detect", "", hint);
    }
    let campaigns = section.path(reading, "campaigns", "campaigns.txt");
    let mut words = section.section(reading, "words");
    let enabled = words.flag(reading, "enabled", true);
    let model = words.path(reading, "model", "models/moonshine-tiny-en");
    let threads = words.count(reading, "threads", 1, 1..=64);
    let phrases = words.parsed(reading, "phrases", "must be the path of a phrase file", owned);
    let wording = words.parsed(reading, "wording", "must be the path of a wording file", owned);
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

pub(super) fn divert<'t>(mut section: Section<'_, 't>, reading: &mut Reading<'t>) -> DivertSettings {
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

pub(super) fn rules<'t>(
    root: &mut Section<'_, 't>,
    policy: &mut Policy,
    trunks: &[TrunkSettings],
    reading: &mut Reading<'t>,
) {
    for mut section in root.sections(reading, "rule") {
        let name = section.required(reading, "name", "the name that records show", "must be text", |text| {
            (!text.is_empty() && !text.contains(char::is_control)).then(|| text.to_owned())
        });
        let route = route(&mut section, reading);
        let when = conditions(section.section(reading, "when"), policy.country, trunks, reading);
        section.finish(reading);
        policy.rules.push(Rule { name: name.unwrap_or_default().into(), when, route });
    }
}

/// `action`, and the `status` of a refusal.
fn route<'t>(section: &mut Section<'_, 't>, reading: &mut Reading<'t>) -> Route {
    const ACTIONS: [&str; 4] = ["connect", "watch", "divert", "reject"];
    if !section.has("action") {
        section.missing(reading, "action", "connect, watch, divert or reject");
    }
    let show = |action: &&'static str| (*action).to_owned();
    let action = section.option(reading, "action", "watch", show, |item| {
        let text = item.text().unwrap_or_default();
        if text == "screen" {
            return Err("is not built yet; \"watch\" rings and listens".to_owned());
        }
        let known = ACTIONS.into_iter().find(|action| *action == text);
        known.ok_or_else(|| match nearest(text, &ACTIONS) {
            Some(nearest) => format!("is not an action; did you mean \"{nearest}\"?"),
            None => format!("is not an action; actions are {}", ACTIONS.join(", ")),
        })
    });
    let statuses = [
        ("608", Rejection::Rejected),
        ("603", Rejection::Decline),
        ("486", Rejection::Busy),
        ("404", Rejection::NotFound),
    ];
    let rejection = section.word(reading, "status", Rejection::Rejected, &statuses);
    match action {
        "connect" => Route::Connect,
        "divert" => Route::Divert,
        "reject" => Route::Reject(rejection),
        _ => Route::Watch,
    }
}

fn conditions<'t>(
    mut section: Section<'_, 't>,
    country: Country,
    trunks: &[TrunkSettings],
    reading: &mut Reading<'t>,
) -> Vec<Condition> {
    let mut when = Vec::new();
    when.extend(number(&mut section, country, reading));
    let hint = "must be an extension or number, or how some begin, as \"201\", \"2*\" or \"+44163296*\"";
    let called = listed(&mut section, reading, "called", hint, |text| {
        Called::new([text], country).is_some().then(|| text.to_owned())
    });
    let called = called.and_then(|called| Called::new(called.iter().map(String::as_str), country));
    when.extend(called.map(Condition::Called));
    let names: Vec<&str> = trunks.iter().map(|trunk| &*trunk.name).collect();
    let hint = format!("must be the name of a trunk: {}", names.join(", "));
    let trunk = section.parsed(reading, "trunk", &hint, |text| names.contains(&text).then(|| text.to_owned()));
    when.extend(trunk.map(|name| Condition::Trunk(name.into())));
    let networks = listed(&mut section, reading, "networks", NETWORK_HINT, network);
    when.extend(networks.map(Condition::Networks));
    let show = |hours: &Option<(u8, u8)>| hours.map_or_else(String::new, |(from, to)| format!("{from}-{to}"));
    let hours = section.option(reading, "hours", None, show, |item| {
        item.text().ok().and_then(hours).map(Some).ok_or_else(|| "must be two hours, as \"22-7\"".to_owned())
    });
    when.extend(hours.map(|(from, to)| Condition::Hours { from, to }));
    when.extend(weekdays(&mut section, reading));
    section.finish(reading);
    when
}

/// The list of a condition; None: there is no such condition. One whose list has been emptied holds for no call, and is
/// not as if it were absent.
fn listed<'t, T: Display>(
    section: &mut Section<'_, 't>,
    reading: &mut Reading<'t>,
    key: &'static str,
    hint: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> Option<Vec<T>> {
    let list = section.list(reading, key, Vec::new(), hint, parse);
    if !section.has(key) {
        return None;
    }
    if list.is_empty() {
        reading.options.insert(format!("{}.{key}", section.path), "none".to_owned());
    }
    Some(list)
}

/// `"withheld"`, or a list of numbers and prefixes.
fn number<'t>(section: &mut Section<'_, 't>, country: Country, reading: &mut Reading<'t>) -> Option<Condition> {
    let item = section.item(reading, "number")?;
    if item.text() == Ok("withheld") {
        reading.options.insert(item.path, "withheld".to_owned());
        return Some(Condition::Withheld);
    }
    let list = patterns(section, "number", country, reading);
    NumberSet::new(list.iter().map(String::as_str), country).ok().map(Condition::Number)
}

fn hours(text: &str) -> Option<(u8, u8)> {
    let (from, to) = text.split_once('-')?;
    let (from, to): (u8, u8) = (from.trim().parse().ok()?, to.trim().parse().ok()?);
    (from < 24 && to <= 24 && from != to).then_some((from, to))
}

fn weekdays<'t>(section: &mut Section<'_, 't>, reading: &mut Reading<'t>) -> Option<Condition> {
    const DAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
    let hint = "must be a list of days, as [\"saturday\", \"sunday\"]";
    let days = listed(section, reading, "weekdays", hint, |text| DAYS.into_iter().find(|day| *day == text))?;
    let numbers = (0_u8..).zip(DAYS).filter(|(_, day)| days.contains(day)).map(|(number, _)| number);
    Some(Condition::Weekdays(numbers.collect()))
}
