//! Phone numbers: what counts as one, E.164 form, and patterns over them.

use std::borrow::Cow;
use std::ops::RangeInclusive;
use std::sync::Arc;

use super::facts::CallerNumber;
use crate::units::Redacted;

/// Most characters of a number; E.164 has 15 digits.
const LONGEST: usize = 32;

/// Fewest digits by which an area or a kind of service is told from an extension.
const SHORTEST_AREA: usize = 3;

/// Its calling code.
const NORTH_AMERICA: &str = "1";

/// How a country writes numbers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Country {
    /// ISO 3166 code, as in the settings.
    pub code: &'static str,
    calling_code: &'static str,
    trunk_prefix: &'static str,
    international_prefix: &'static str,
    /// Fewest digits of a national number, without its trunk prefix.
    shortest: usize,
    /// Most digits of one.
    longest: usize,
    /// Numbers for help in an emergency, beside those of the settings.
    emergency: &'static [&'static str],
}

/// Countries that numbers can be normalised for, with the usual lengths of their national numbers. In Germany
/// extensions are part of the number: as many digits as E.164 leaves.
pub const COUNTRIES: &[Country] = &[
    Country::GB,
    Country::new("IE", "353", "0", "00", 8..=9, &["112", "999"]),
    Country::new("DE", "49", "0", "00", 8..=13, &["110", "112"]),
    Country::new(
        "FR",
        "33",
        "0",
        "00",
        9..=9,
        &["15", "17", "18", "112", "114", "115", "119", "191", "196", "197", "116000"],
    ),
    Country::new("NL", "31", "0", "00", 9..=9, &["112"]),
    Country::new("ES", "34", "", "00", 9..=9, &["112", "061", "062", "080", "085", "088", "091", "092"]),
    Country::new("IT", "39", "", "00", 9..=10, &["112", "113", "114", "115", "117", "118", "1515", "1530"]),
    Country::new("AU", "61", "0", "0011", 9..=9, &["000", "106", "112"]),
    // The prefix before a national number is the calling code itself, and is often left out.
    Country::new("US", NORTH_AMERICA, "", "011", 10..=10, &["911"]),
    Country::new("CA", NORTH_AMERICA, "", "011", 10..=10, &["911"]),
];

impl Country {
    /// Where the settings name none.
    pub const GB: Country = Country::new("GB", "44", "0", "00", 9..=10, &["999", "112", "18000"]);

    const fn new(
        code: &'static str,
        calling_code: &'static str,
        trunk_prefix: &'static str,
        international_prefix: &'static str,
        national: RangeInclusive<usize>,
        emergency: &'static [&'static str],
    ) -> Self {
        let (shortest, longest) = (*national.start(), *national.end());
        Self { code, calling_code, trunk_prefix, international_prefix, shortest, longest, emergency }
    }

    /// Its own numbers for help in an emergency.
    #[must_use]
    pub fn emergency(&self) -> &'static [&'static str] {
        self.emergency
    }

    /// By its code.
    #[must_use]
    pub fn of(code: &str) -> Option<Self> {
        COUNTRIES.iter().copied().find(|country| country.code.eq_ignore_ascii_case(code))
    }

    /// `text` in E.164 with `+`; as sent (without separators) where it is no full national number.
    #[must_use]
    pub fn normalise(&self, text: &str) -> String {
        without_national_prefix(self.international(text))
    }

    fn international(&self, text: &str) -> String {
        let bare: String = text.chars().filter(|c| !matches!(c, ' ' | '-' | '.' | '(' | ')' | '/')).collect();
        if bare.starts_with('+') {
            return bare;
        }
        if let Some(rest) = bare.strip_prefix(self.international_prefix) {
            return format!("+{rest}");
        }
        // Shorter ones are extensions and services.
        let national = |digits: &&str| (self.shortest..=self.longest).contains(&digits.len());
        if let Some(rest) = bare.strip_prefix(self.calling_code).filter(national) {
            return format!("+{}{rest}", self.calling_code);
        }
        match bare.strip_prefix(self.trunk_prefix).filter(national) {
            Some(rest) => format!("+{}{rest}", self.calling_code),
            None => bare,
        }
    }

    /// The beginnings of normalised numbers that an operator means by the beginning of a number: as it is dialled, it
    /// is that of an E.164 number, too.
    fn prefixes(&self, text: &str) -> impl Iterator<Item = String> {
        let bare: String = text.chars().filter(|c| c.is_ascii_digit() || *c == '+').collect();
        let international = bare.strip_prefix(self.international_prefix).map(|rest| format!("+{rest}"));
        let e164 = international.or_else(|| self.national(&bare)).filter(|e164| e164.len() > 1);
        [Some(bare), e164].into_iter().flatten().map(without_national_prefix)
    }

    /// The beginning of a national number, or of one that begins with the calling code, with `+`. What is too short for
    /// that is the beginning of extensions alone.
    fn national(&self, bare: &str) -> Option<String> {
        if bare.starts_with('+') {
            return None;
        }
        let is_long = |digits: &&str| digits.len() >= SHORTEST_AREA;
        let code = self.calling_code;
        let with_code = || bare.strip_prefix(code).filter(is_long).map(|rest| format!("+{code}{rest}"));
        if !self.trunk_prefix.is_empty() {
            let rest = bare.strip_prefix(self.trunk_prefix);
            return rest.map(|rest| format!("+{code}{rest}")).or_else(with_code);
        }
        // In North America no area begins with the calling code. Elsewhere one may, as in Italy.
        let with_code = if code == NORTH_AMERICA { with_code() } else { None };
        with_code.or_else(|| Some(bare).filter(is_long).map(|rest| format!("+{code}{rest}")))
    }

    /// A short number as it may be meant: as it stands, without separators (RFC 3966 §5.1.1), and without a `+` or the
    /// calling code, which some put before each.
    pub(super) fn spellings(&self, text: &str) -> [Option<String>; 3] {
        let bare: String = text.chars().filter(|c| !matches!(c, '-' | '.' | '(' | ')')).collect();
        let short = bare.strip_prefix('+').map(str::to_owned);
        let national = short.as_deref().and_then(|short| short.strip_prefix(self.calling_code)).map(str::to_owned);
        [Some(bare), short, national]
    }

    /// Who calls, from the user part that the message shows. What stands behind a `;` is about the number (RFC 3966),
    /// as that it has been verified, and `%2B` is a plus (RFC 3261 §19.1.2).
    #[must_use]
    pub fn caller(&self, user: Option<&str>) -> CallerNumber {
        const WITHHELD: [&str; 5] = ["anonymous", "unavailable", "restricted", "unknown", "private"];
        let user = user.unwrap_or_default();
        let bare = user.split(';').next().unwrap_or_default();
        if bare.is_empty() || WITHHELD.iter().any(|word| bare.eq_ignore_ascii_case(word)) {
            return CallerNumber::Withheld;
        }
        let number: String = unescaped(bare).chars().take(LONGEST).collect();
        let digits = number.bytes().filter(u8::is_ascii_digit).count();
        if digits >= 2 && number.bytes().all(|byte| byte.is_ascii_digit() || b"+-. ()/*#".contains(&byte)) {
            CallerNumber::Known(Redacted(Arc::from(self.normalise(&number))))
        } else {
            // As it was written: nobody knows what its escapes hide.
            CallerNumber::NotANumber(Redacted(Arc::from(user.chars().take(LONGEST).collect::<String>())))
        }
    }
}

/// `+44 (0)1632 960001` is how many write it, and some send it so: what is dialled before a national number alone is no
/// part of this one.
fn without_national_prefix(e164: String) -> String {
    let of = |country: &&Country| {
        let digits = e164.strip_prefix('+')?.strip_prefix(country.calling_code)?;
        let rest = digits.strip_prefix(country.trunk_prefix).filter(|rest| !rest.is_empty())?;
        Some(format!("+{}{rest}", country.calling_code))
    };
    let written = COUNTRIES.iter().filter(|country| !country.trunk_prefix.is_empty()).find_map(|country| of(&country));
    written.unwrap_or(e164)
}

/// A user part with its escapes resolved; as it stands where they are none.
fn unescaped(user: &str) -> Cow<'_, str> {
    crate::units::unescaped(user).unwrap_or(Cow::Borrowed(user))
}

/// Numbers by exact text and by prefix (`+44163296*`). Look-ups take logarithmic time however many there are.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NumberSet {
    exact: Vec<Box<str>>,
    /// None is a prefix of another.
    prefixes: Vec<Box<str>>,
}

/// Text that is no number and no prefix.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a number or prefix: write it as +441632960001 or +44163296*")]
pub struct BadPattern;

impl NumberSet {
    /// From patterns as operators write them.
    ///
    /// # Errors
    /// Each pattern that is none, by its place in the list.
    pub fn new<'a>(
        patterns: impl IntoIterator<Item = &'a str>,
        country: Country,
    ) -> Result<Self, Vec<(usize, BadPattern)>> {
        let (mut set, mut bad) = (Self::default(), Vec::new());
        for (place, pattern) in patterns.into_iter().enumerate() {
            let (body, prefix) = match pattern.strip_suffix('*') {
                Some(body) => (body, true),
                None => (pattern, false),
            };
            let fits = body.bytes().all(|byte| byte.is_ascii_digit() || b"+ -.()/".contains(&byte));
            if !fits || !body.bytes().any(|byte| byte.is_ascii_digit()) || body.len() > LONGEST {
                bad.push((place, BadPattern));
            } else if prefix {
                set.prefixes.extend(country.prefixes(body).map(Into::into));
            } else {
                set.exact.push(country.normalise(body).into());
            }
        }
        if !bad.is_empty() {
            return Err(bad);
        }
        set.exact.sort_unstable();
        set.exact.dedup();
        set.prefixes.sort_unstable();
        set.prefixes.dedup_by(|longer, shorter| longer.starts_with(&**shorter));
        Ok(set)
    }

    /// Is `number`, in its normalised form, in the set?
    #[must_use]
    pub fn contains(&self, number: &str) -> bool {
        if self.exact.binary_search_by(|entry| (**entry).cmp(number)).is_ok() {
            return true;
        }
        // The only prefix that can match is the greatest one not above the number.
        let at = self.prefixes.partition_point(|prefix| &**prefix <= number);
        at.checked_sub(1).and_then(|at| self.prefixes.get(at)).is_some_and(|prefix| number.starts_with(&**prefix))
    }

    /// Entries in all.
    #[must_use]
    pub fn len(&self) -> usize {
        self.exact.len() + self.prefixes.len()
    }

    /// No entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gb() -> Country {
        Country::of("gb").unwrap()
    }

    #[test]
    fn numbers_take_one_form() {
        for (sent, want) in [
            ("01632 960001", "+441632960001"),
            ("00441632960001", "+441632960001"),
            ("+44 1632 960001", "+441632960001"),
            ("441632960001", "+441632960001"),
            ("+44 (0)1632 960001", "+441632960001"),
            ("0044 (0)1632 960001", "+441632960001"),
            ("+49 (0)30 123456", "+4930123456"),
            ("+39 06 12345678", "+390612345678"),
            ("+44 (0)", "+440"),
            ("201", "201"),
            ("999", "999"),
        ] {
            assert_eq!(gb().normalise(sent), want, "{sent}");
        }
        for (country, sent, want) in [
            ("US", "12025550123", "+12025550123"),
            ("US", "(202) 555-0123", "+12025550123"),
            ("US", "911", "911"),
            ("US", "011441632960001", "+441632960001"),
            // These have no trunk prefix: the leading zero of Italy is part of the number.
            ("ES", "910123456", "+34910123456"),
            ("ES", "34910123456", "+34910123456"),
            ("IT", "0612345678", "+390612345678"),
            ("IT", "390612345678", "+390612345678"),
            ("IT", "3912345678", "+393912345678"),
            ("DE", "030123456789012", "030123456789012"),
            ("DE", "03012345678901", "+493012345678901"),
        ] {
            assert_eq!(Country::of(country).unwrap().normalise(sent), want, "{country} {sent}");
        }
    }

    #[test]
    fn a_number_is_known_whatever_is_said_of_it() {
        for user in ["+441632960001;verstat=TN-Validation-Passed", "%2B441632960001", "+44%31632960001;isub=%41"] {
            assert_eq!(gb().caller(Some(user)), gb().caller(Some("+441632960001")), "{user}");
        }
        for user in ["%0A%1B12;x=1", "12%", "12%4", "12%zz", "%FF12", "201%00"] {
            assert!(matches!(gb().caller(Some(user)), CallerNumber::NotANumber(text) if *text.0 == *user), "{user}");
        }
    }

    #[test]
    fn withheld_has_many_spellings() {
        for user in [None, Some(""), Some("Anonymous"), Some("restricted"), Some("anonymous;x=1"), Some(";x")] {
            assert_eq!(gb().caller(user), CallerNumber::Withheld);
        }
        assert!(matches!(gb().caller(Some("alice")), CallerNumber::NotANumber(_)));
    }

    #[test]
    fn a_prefix_as_it_is_dialled_finds_numbers_as_they_are_shown() {
        let set = NumberSet::new(["0900*", "0033 1*", "00*", "0116*", "2*"], gb()).unwrap();

        for number in ["+44900123456", "+33123456789", "+441162960001", "201", "0900123"] {
            assert!(set.contains(number), "{number}");
        }
        for number in ["+441632960001", "+33623456789", "+442079460001", "+12025550123"] {
            assert!(!set.contains(number), "{number}");
        }
        for (country, dialled, number, other) in [
            ("US", "1900*", "+19005550123", "+12025550123"),
            ("US", "900*", "+19005550123", "+12025550123"),
            ("CA", "(900) 555*", "+19005550123", "+19006660123"),
            ("ES", "806*", "+34806123456", "+34910123456"),
            ("IT", "061*", "+390612345678", "+393912345678"),
            ("IT", "390*", "+393901234567", "+390612345678"),
            ("GB", "44163296*", "+441632960001", "+442079460001"),
        ] {
            let set = NumberSet::new([dialled], Country::of(country).unwrap()).unwrap();
            assert!(set.contains(number) && !set.contains(other), "{country} {dialled}");
        }
        let set = NumberSet::new(["44*", "441*"], gb()).unwrap();
        assert!(set.contains("4401") && !set.contains("+441632960001"), "extensions");
        let set = NumberSet::new(["+44 (0)1632*", "0044 (0)116*"], gb()).unwrap();
        assert!(set.contains("+441632960001") && set.contains("+441162960001") && !set.contains("+442079460001"));
        // Without a trunk prefix a short beginning is that of extensions.
        let set = NumberSet::new(["2*", "011 44*"], Country::of("US").unwrap()).unwrap();
        assert!(set.contains("201") && set.contains("+441632960001") && !set.contains("+12025550123"));
    }

    #[test]
    fn prefixes_and_numbers_are_found() {
        let set = NumberSet::new(["+44163296*", "07700 900123", "+4416*", "+1202555*"], gb()).unwrap();

        assert!(set.contains("+441632960001"));
        assert!(set.contains("+447700900123"));
        assert!(set.contains("+12025550000"));
        assert!(!set.contains("+447700900124"));
        assert!(!set.contains("+4415"));
        assert_eq!(NumberSet::new(["*"], gb()), Err(vec![(0, BadPattern)]));
        assert_eq!(
            NumberSet::new(["+", "+1", "abc", ""], gb()),
            Err([0, 2, 3].map(|place| (place, BadPattern)).into())
        );
    }
}
