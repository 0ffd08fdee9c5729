//! What a file says before it is known to be good: whoever looks further than the file adds what is found, so that an
//! operator is told all at once and in the order of the lines.

use toml::de::{DeTable, DeValue};

use super::file::Files;
use super::problem::{Problem, line};
use super::read::read;
use super::settings::Settings;

/// Settings with all problems that are known of them.
pub struct Draft<'t> {
    text: &'t str,
    /// Where there is a problem, the default stands.
    settings: Settings,
    problems: Vec<Problem>,
}

impl<'t> Draft<'t> {
    /// Reads a settings file. `files` reads the files that it names.
    ///
    /// # Errors
    /// The text is no TOML: nothing of it can be read.
    pub fn read(text: &'t str, files: &dyn Files) -> Result<Self, Vec<Problem>> {
        let (settings, problems) = read(text, files)?;
        Ok(Self { text, settings, problems })
    }

    /// To look at, not to be used: an option with a problem has its default.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// There is no problem with this option, nor with a table around it.
    #[must_use]
    pub fn is_good(&self, option: &str) -> bool {
        let within = |inner: &str, outer: &str| {
            inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        !self.problems.iter().any(|problem| within(option, &problem.path) || within(&problem.path, option))
    }

    /// The option stands in the file.
    #[must_use]
    pub fn has(&self, option: &str) -> bool {
        place(self.text, option).1.is_some()
    }

    /// Adds a problem with an option.
    pub fn add(&mut self, option: &str, hint: String) {
        let (at, value) = place(self.text, option);
        let line = line(self.text, at);
        let value = value.unwrap_or_default().to_owned();
        self.problems.push(Problem { line, path: option.to_owned(), value, number: false, hint });
    }

    /// The settings, if they are good; else every problem, in the order of the lines.
    ///
    /// # Errors
    /// The problems.
    pub fn finish(self) -> Result<Settings, Vec<Problem>> {
        let Self { settings, mut problems, .. } = self;
        problems.sort_by_key(|problem| problem.line);
        if problems.is_empty() { Ok(settings) } else { Err(problems) }
    }
}

/// Where an option stands (`trunk[0].address`), or else the table that it would stand in; and its text.
fn place<'t>(text: &'t str, option: &str) -> (usize, Option<&'t str>) {
    let Ok(table) = DeTable::parse(text) else { return (0, None) };
    let root = DeValue::Table(table.get_ref().clone());
    let (mut at, mut value, mut source) = (0, &root, None);
    for step in option.split(['.', '[']) {
        let next = match (value, step.strip_suffix(']')) {
            (DeValue::Array(array), Some(number)) => number.parse().ok().and_then(|number: usize| array.get(number)),
            (DeValue::Table(table), None) => table.get(step),
            _ => None,
        };
        let Some(next) = next else { return (at, None) };
        (at, value, source) = (next.span().start, next.get_ref(), text.get(next.span()));
    }
    (at, source)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    const TEXT: &str = "[pbx]\naddress = \"127.0.0.1:5070\"\nsrtp = \"x\"\n[[trunk]]\nname = \"a\"\n\
                        address = \"192.0.2.10\"\n[detect]\nwords.phrases = \"gone.toml\"\n";

    fn draft() -> Draft<'static> {
        Draft::read(TEXT, &|_: &str| Err("is not there".to_owned())).unwrap()
    }

    #[test]
    fn what_is_found_later_stands_where_the_option_stands() {
        let mut draft = draft();
        for option in ["detect.words.phrases", "trunk[0].address", "pbx.ca", "store.path"] {
            draft.add(option, "is bad".to_owned());
        }

        let told: Vec<String> = draft.finish().unwrap_err().iter().map(ToString::to_string).collect();

        assert_eq!(
            told,
            [
                "line 1  pbx.ca   is bad",
                "line 1  store.path   is bad",
                "line 3  pbx.srtp = \"x\"   must be one of: off, offer, require",
                "line 6  trunk[0].address = \"192.0.2.10\"   is bad",
                "line 8  detect.words.phrases = \"gone.toml\"   is bad",
            ]
        );
    }

    #[test]
    fn an_option_is_as_good_as_all_around_it() {
        let mut draft = draft();

        assert!(!draft.is_good("pbx.srtp") && !draft.is_good("pbx") && draft.is_good("pbx.address"));
        draft.add("pbx", "is bad".to_owned());
        assert!(!draft.is_good("pbx.address") && draft.is_good("store.path"));
        assert!(draft.has("trunk[0].name") && !draft.has("trunk[1].name") && !draft.has("store.path"));
    }
}
