//! What is thought of a call: `[numbers]`, `[detect]`, `[divert]` and `[[rule]]`.

#![expect(clippy::wildcard_enum_match_arm, reason = "the kinds of TOML values are not ours")]

use std::path::PathBuf;
use std::sync::Arc;

use toml::de::DeValue;

use super::host::{NETWORK_HINT, network};
use super::read::{Files, MINUTE, SECOND, fingerprint, path};
use super::section::{Item, Reading, Section};
use super::settings::{DetectSettings, DivertSettings, TrunkSettings, WordsSettings};
use crate::call::{DivertCallee, DivertCaller};
use crate::policy::action::{Rejection, Route};
use crate::policy::number::{COUNTRIES, Country, NumberSet};
use crate::policy::rules::{Condition, Policy, Rule};
use crate::units::Ratio;

pub(super) fn numbers<'t>(
    mut section: Section<'_, 't>,
    policy: &mut Policy,
    files: Files<'_>,
    reading: &mut Reading<'t>,
) {
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
            match files.text(file) {
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

pub(super) fn detect<'t>(
    mut section: Section<'_, 't>,
    policy: &mut Policy,
    reading: &mut Reading<'t>,
) -> DetectSettings {
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
