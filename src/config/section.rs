//! One table of the settings file: options are taken out of it one by one.

#![expect(clippy::wildcard_enum_match_arm, reason = "the kinds of TOML values are not ours")]

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::{Range, RangeInclusive};
use std::path::PathBuf;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::file::fingerprint;
use super::problem::{Problem, line};

/// Options whose wrong value may be a secret: in place of the file's path, the password or the key itself.
const SECRETS: [&str; 2] = ["password_file", "key"];

/// The option that belongs to no table.
const ABOVE_ALL: &str = "enforce";

/// Options that hold phone numbers.
const NUMBERS: [&str; 7] = ["allow", "block", "emergency", "number", "called", "user", "auth_user"];

/// What is collected while a file is read.
pub(super) struct Reading<'t> {
    text: &'t str,
    /// All mistakes, in the order they were found.
    pub(super) problems: Vec<Problem>,
    /// What is wrong with files that are named, and is no problem.
    pub(super) doubted: Vec<String>,
    /// Each option as text.
    pub(super) options: BTreeMap<String, String>,
}

impl<'t> Reading<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { text, problems: Vec::new(), doubted: Vec::new(), options: BTreeMap::new() }
    }

    pub(super) fn line(&self, at: usize) -> usize {
        line(self.text, at)
    }

    /// Notes the text of a file that an option names, so that a reload sees when it changes. Only its hash is kept.
    pub(super) fn content(&mut self, path: &str, text: &str) {
        self.options.insert(format!("{path} (content)"), format!("{:016x}", fingerprint(&[text])));
    }

    /// The text of such a file is not known: whatever it comes to be, a reload sees another one.
    pub(super) fn no_content(&mut self, path: &str) {
        self.options.remove(&format!("{path} (content)"));
    }

    /// A phone number that is none, in a file that an option names.
    pub(super) fn number(&mut self, item: &Item<'_, 't>, value: &str, hint: String) {
        let (line, path, value) = (self.line(item.at), item.path.clone(), value.to_owned());
        self.problems.push(Problem { line, path, value, number: true, hint });
    }

    pub(super) fn problem(&mut self, at: usize, path: &str, value: &str, hint: impl Into<String>) {
        let key = path.rsplit('.').next().unwrap_or_default();
        let key = key.split('[').next().unwrap_or_default();
        let value = if SECRETS.contains(&key) { "" } else { value };
        let (line, number) = (self.line(at), NUMBERS.contains(&key));
        self.problems.push(Problem { line, path: path.to_owned(), value: value.to_owned(), number, hint: hint.into() });
    }
}

/// A table and which of its keys were asked for.
pub(super) struct Section<'a, 't> {
    pub(super) path: String,
    /// Where it begins in the file.
    pub(super) at: usize,
    table: Option<&'a DeTable<'t>>,
    /// Something else stands in its place, and has been told.
    is_other: bool,
    asked: Vec<&'static str>,
}

/// A value with its place.
#[derive(Clone)]
pub(super) struct Item<'a, 't> {
    pub(super) path: String,
    pub(super) at: usize,
    pub(super) value: &'a DeValue<'t>,
    /// As it is written; empty for a table, in which there may be anything.
    pub(super) source: &'t str,
}

impl<'a, 't> Section<'a, 't> {
    pub(super) fn new(path: &str, at: usize, table: Option<&'a DeTable<'t>>) -> Self {
        Self { path: path.to_owned(), at, table, is_other: false, asked: Vec::new() }
    }

    fn key_path(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(key))
    }

    /// A key's value, if it is there.
    pub(super) fn item(&mut self, reading: &Reading<'t>, key: &'static str) -> Option<Item<'a, 't>> {
        if !self.asked.contains(&key) {
            self.asked.push(key);
        }
        let value = self.table?.get(key)?;
        let span: Range<usize> = value.span();
        let source = if is_simple(value.get_ref()) { reading.text.get(span.clone()) } else { None };
        let source = source.unwrap_or_default();
        Some(Item { path: self.key_path(key), at: span.start, value: value.get_ref(), source })
    }

    /// A table inside this one; an absent one is empty.
    pub(super) fn section(&mut self, reading: &mut Reading<'t>, key: &'static str) -> Section<'a, 't> {
        let path = self.key_path(key);
        let Some(item) = self.item(reading, key) else { return Section::new(&path, self.at, None) };
        match item.value {
            DeValue::Table(table) => Section::new(&path, item.at, Some(table)),
            _ => {
                // Of a table in a list, the header names no number.
                let hint = if path.contains('[') {
                    format!("must be a table: {key} = {{ ... }}")
                } else {
                    format!("must be a table, and one alone: [{path}]")
                };
                reading.problem(item.at, &path, "", hint);
                Section { is_other: true, ..Section::new(&path, item.at, None) }
            }
        }
    }

    /// Tables of an array.
    pub(super) fn sections(&mut self, reading: &mut Reading<'t>, key: &'static str) -> Vec<Section<'a, 't>> {
        let path = self.key_path(key);
        let Some(item) = self.item(reading, key) else { return Vec::new() };
        let DeValue::Array(array) = item.value else {
            reading.problem(item.at, &path, "", format!("must be a list of tables: [[{path}]]"));
            return Vec::new();
        };
        let mut sections = Vec::new();
        for (n, entry) in array.iter().enumerate() {
            let path = format!("{path}[{n}]");
            match entry.get_ref() {
                DeValue::Table(table) => sections.push(Section::new(&path, entry.span().start, Some(table))),
                _ => reading.problem(entry.span().start, &path, "", "must be a table"),
            }
        }
        sections
    }

    /// An option: `read` makes its value or says what would be right. An absent or wrong one has its default.
    pub(super) fn option<T>(
        &mut self,
        reading: &mut Reading<'t>,
        key: &'static str,
        default: T,
        show: impl Fn(&T) -> String,
        read: impl FnOnce(&Item<'a, 't>) -> Result<T, String>,
    ) -> T {
        let value = match self.item(reading, key) {
            None => default,
            Some(item) => match read(&item) {
                Ok(value) => value,
                Err(hint) => {
                    reading.problem(item.at, &item.path, item.source, hint);
                    default
                }
            },
        };
        reading.options.insert(self.key_path(key), show(&value));
        value
    }

    pub(super) fn flag(&mut self, reading: &mut Reading<'t>, key: &'static str, default: bool) -> bool {
        self.option(reading, key, default, bool::to_string, |item| match item.value {
            DeValue::Boolean(flag) => Ok(*flag),
            _ => Err("must be true or false".to_owned()),
        })
    }

    pub(super) fn duration(
        &mut self,
        reading: &mut Reading<'t>,
        key: &'static str,
        default: Duration,
        range: RangeInclusive<Duration>,
    ) -> Duration {
        let show = |duration: &Duration| humantime::format_duration(*duration).to_string();
        self.option(reading, key, default, show, |item| {
            let duration = item.text().and_then(|text| humantime::parse_duration(text).map_err(|e| e.to_string()));
            match duration {
                Ok(duration) if range.contains(&duration) => Ok(duration),
                Ok(_) | Err(_) => Err(format!(
                    "must be a duration from {} to {}, as \"{}\"",
                    show(range.start()),
                    show(range.end()),
                    show(&default)
                )),
            }
        })
    }

    pub(super) fn count(
        &mut self,
        reading: &mut Reading<'t>,
        key: &'static str,
        default: usize,
        range: RangeInclusive<usize>,
    ) -> usize {
        self.option(reading, key, default, usize::to_string, |item| {
            let hint = || format!("must be a whole number from {} to {}", range.start(), range.end());
            match item.value {
                DeValue::Integer(number) => {
                    let number = usize::from_str_radix(number.as_str(), number.radix()).map_err(|_| hint())?;
                    if range.contains(&number) { Ok(number) } else { Err(hint()) }
                }
                _ => Err(hint()),
            }
        })
    }

    /// One of a fixed set of words.
    pub(super) fn word<T: Copy + PartialEq>(
        &mut self,
        reading: &mut Reading<'t>,
        key: &'static str,
        default: T,
        words: &[(&'static str, T)],
    ) -> T {
        let name = |value: &T| words.iter().find(|(_, one)| one == value).map_or("", |(word, _)| word).to_owned();
        self.option(reading, key, default, name, |item| {
            let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            let text = item.text().map_err(|_| format!("must be in quotes, one of: \"{}\"", known.join("\", \"")))?;
            words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value).ok_or_else(|| {
                match nearest(text, &known) {
                    Some(nearest) => format!("is not known; did you mean \"{nearest}\"?"),
                    None => format!("must be one of: {}", known.join(", ")),
                }
            })
        })
    }

    /// Text that `parse` understands; None where it is absent.
    pub(super) fn parsed<T: Display>(
        &mut self,
        reading: &mut Reading<'t>,
        key: &'static str,
        hint: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let show = |value: &Option<T>| value.as_ref().map_or_else(String::new, T::to_string);
        self.option(reading, key, None, show, |item| {
            item.text().ok().and_then(parse).map(Some).ok_or_else(|| hint.to_owned())
        })
    }

    /// Text of a key that must be there; `what` says what it is for.
    pub(super) fn required<T: Display>(
        &mut self,
        reading: &mut Reading<'t>,
        key: &'static str,
        what: &str,
        hint: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        if !self.has(key) {
            self.missing(reading, key, what);
        }
        self.parsed(reading, key, hint, parse)
    }

    /// A duration, or the word `off` for none.
    pub(super) fn duration_or(
        &mut self,
        reading: &mut Reading<'t>,
        key: &'static str,
        off: &str,
        default: Option<Duration>,
        range: RangeInclusive<Duration>,
        hint: &str,
    ) -> Option<Duration> {
        let show = |duration: &Option<Duration>| {
            duration.map_or_else(|| off.to_owned(), |duration| humantime::format_duration(duration).to_string())
        };
        self.option(reading, key, default, show, |item| match item.text() {
            Ok(text) if text == off => Ok(None),
            Ok(text) => {
                let duration = humantime::parse_duration(text).ok().filter(|duration| range.contains(duration));
                duration.map(Some).ok_or_else(|| hint.to_owned())
            }
            Err(_) => Err(hint.to_owned()),
        })
    }

    pub(super) fn path(&mut self, reading: &mut Reading<'t>, key: &'static str, default: &str) -> PathBuf {
        let path = self.option(reading, key, default.to_owned(), String::clone, |item| match item.text() {
            Ok(text) if !text.is_empty() && !text.contains('\0') => Ok(text.to_owned()),
            Ok(_) | Err(_) => Err("must be a path".to_owned()),
        });
        PathBuf::from(path)
    }

    /// A file that `read` reads: where the option stands, and the file's text.
    pub(super) fn file(
        &mut self,
        reading: &mut Reading<'t>,
        key: &'static str,
        hint: &str,
        read: impl FnOnce(&str) -> Result<String, String>,
    ) -> Option<(Item<'a, 't>, String)> {
        let path = self.parsed(reading, key, hint, |text| (!text.is_empty()).then(|| text.to_owned()))?;
        let item = self.item(reading, key)?;
        match read(&path) {
            Ok(text) => {
                reading.content(&item.path, &text);
                Some((item, text))
            }
            Err(error) => {
                reading.problem(item.at, &item.path, item.source, error);
                None
            }
        }
    }

    /// A list of texts that `parse` understands. Each bad entry is a problem of its own.
    pub(super) fn list<T: Display>(
        &mut self,
        reading: &mut Reading<'t>,
        key: &'static str,
        default: Vec<T>,
        hint: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Vec<T> {
        let mut list = default;
        if let Some(item) = self.item(reading, key) {
            list = Vec::new();
            match item.value {
                DeValue::Array(array) => {
                    for (n, entry) in array.iter().enumerate() {
                        let text = if let DeValue::String(text) = entry.get_ref() { Some(&**text) } else { None };
                        let Some(value) = text.and_then(&parse) else {
                            let source = if is_simple(entry.get_ref()) { reading.text.get(entry.span()) } else { None };
                            let source = source.unwrap_or_default();
                            reading.problem(entry.span().start, &format!("{}[{n}]", item.path), source, hint);
                            continue;
                        };
                        list.push(value);
                    }
                }
                _ => reading.problem(item.at, &item.path, item.source, "must be a list: [\"...\", \"...\"]"),
            }
        }
        let text: Vec<String> = list.iter().map(T::to_string).map(entry).collect();
        reading.options.insert(self.key_path(key), text.join(", "));
        list
    }

    /// Adds the problem that a key is missing.
    pub(super) fn missing(&self, reading: &mut Reading<'t>, key: &str, hint: &str) {
        if self.is_other {
            return;
        }
        reading.problem(self.at, &self.key_path(key), "", format!("is missing: {hint}"));
    }

    /// Makes a problem of each key that nobody has asked for. Its value is not shown: it may be a password.
    pub(super) fn finish(self, reading: &mut Reading<'t>) {
        for (key, _) in self.table.into_iter().flatten() {
            let name: &str = key.get_ref();
            if !self.asked.contains(&name) {
                let hint = match nearest(name, &self.asked) {
                    // TOML takes whatever stands below a table for its own.
                    _ if name == ABOVE_ALL => format!("stands above the first [table], not in {}", self.path),
                    Some(nearest) => format!("is not an option; did you mean `{nearest}`?"),
                    None => format!("is not an option; options here are {}", self.asked.join(", ")),
                };
                reading.problem(key.span().start, &self.key_path(name), "", hint);
            }
        }
    }
}

impl<'a, 't> Item<'a, 't> {
    pub(super) fn text(&self) -> Result<&'a str, String> {
        match self.value {
            DeValue::String(text) => Ok(text),
            _ => Err("must be text in quotes".to_owned()),
        }
    }
}

/// An entry of a list as it is recorded: one with a comma in it is not two.
fn entry(text: String) -> String {
    if text.is_empty() || text.contains([',', '"']) { format!("{text:?}") } else { text }
}

/// Is there no table in it?
fn is_simple(value: &DeValue<'_>) -> bool {
    match value {
        DeValue::Table(_) => false,
        DeValue::Array(array) => array.iter().all(|entry| is_simple(entry.get_ref())),
        _ => true,
    }
}

/// The most similar of `known`, if it is similar at all.
pub(super) fn nearest<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    let scored = known.iter().map(|one| (strsim::jaro_winkler(name, one), *one));
    scored.filter(|(score, _)| *score > 0.8).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, one)| one)
}

/// Mistakes in the form of a file that are told: behind one, others may be no more than what follows from it.
const MOST_SYNTAX: usize = 10;
/// Those that are looked at, to find them: several are about one line.
const MOST_ERRORS: usize = 200;

/// The whole file as a table. Of a line with mistakes in its form, the first is told.
pub(super) fn parse(text: &str) -> Result<Spanned<DeTable<'_>>, Vec<Problem>> {
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut problems: Vec<Problem> = Vec::new();
    for error in errors.iter().take(MOST_ERRORS) {
        let span = error.span().unwrap_or(0..0);
        let line = line(text, span.start);
        if !problems.iter().any(|problem| problem.line == line) {
            let (path, hint) = in_words(error.message(), text.get(span).unwrap_or_default());
            problems.push(Problem { line, path, value: String::new(), number: false, hint });
        }
    }
    problems.sort_by_key(|problem| problem.line);
    problems.truncate(MOST_SYNTAX);
    if problems.is_empty() { Ok(table) } else { Err(problems) }
}

/// What is wrong with the form, and where; `at` is shown where it is a name, and never where it may be a value.
fn in_words(message: &str, at: &str) -> (String, String) {
    let path = "syntax".to_owned();
    let has = |words: &[&str]| words.iter().any(|word| message.contains(word));
    if has(&["duplicate key"]) {
        let hint = "is there twice: an option stands once, and so does a table, with all its options below it";
        return (at.trim_matches(['[', ']', ' ']).to_owned(), hint.to_owned());
    }
    let way_out = if has(&["escape", "unicode"]) {
        "in \"quotes\", a \\ is written twice"
    } else if has(&["array"]) {
        "a list begins with [ and ends with ]"
    } else if has(&["no value", "key without"]) {
        "an option is NAME = VALUE"
    } else {
        "a value is text in \"quotes\", a number, true, false or a list in [ ]"
    };
    (path, format!("{message}; {way_out}"))
}
