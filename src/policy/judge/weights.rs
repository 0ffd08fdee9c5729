//! The weights file: TOML, one bias and one weight for each measure of each sum.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::measure::Measure;

/// Weights that are shipped, with how they were fitted.
const BUILT_IN: &str = include_str!("../../../config/weights/judge.toml");

/// Both sums.
#[derive(Clone, Debug, PartialEq)]
pub struct Weights {
    /// Version of the file.
    pub version: u32,
    /// Recording (positive) or person.
    pub automated: Sum,
    /// Scam's recording (positive) or lawful one.
    pub scam: Sum,
}

/// One sum of log-odds.
#[derive(Clone, Debug, PartialEq)]
pub struct Sum {
    /// Log-odds where all measures are 0.
    pub bias: f32,
    weights: [f32; Measure::COUNT],
}

/// Why a weights file is not used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadWeights {
    /// Not TOML, or of another shape.
    #[error("not a weights file: {0}")]
    Shape(String),
    /// Names no measure.
    #[error("{sum}.{name} is no measure")]
    Unknown {
        /// In which sum.
        sum: &'static str,
        /// The name.
        name: String,
    },
    /// Infinite, or not a number.
    #[error("{sum}.{name} is not finite")]
    NotFinite {
        /// In which sum.
        sum: &'static str,
        /// The name.
        name: String,
    },
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    automated: BTreeMap<String, f32>,
    scam: BTreeMap<String, f32>,
}

impl Sum {
    /// From a bias and weights in the order of [`Measure::ALL`].
    #[must_use]
    pub fn new(bias: f32, weights: [f32; Measure::COUNT]) -> Self {
        Self { bias, weights }
    }

    /// The same with another weight of one measure.
    #[must_use]
    pub fn with(mut self, measure: Measure, weight: f32) -> Self {
        let slot = Measure::ALL.into_iter().zip(&mut self.weights).find(|(one, _)| *one == measure);
        if let Some((_, slot)) = slot {
            *slot = weight;
        }
        self
    }

    /// Weight of one measure.
    #[must_use]
    pub fn weight(&self, measure: Measure) -> f32 {
        Measure::ALL.into_iter().zip(self.weights).find(|(one, _)| *one == measure).map_or(0.0, |(_, weight)| weight)
    }

    /// Bias and all terms.
    #[must_use]
    pub fn log_odds(&self, measures: &[f32; Measure::COUNT]) -> f32 {
        self.bias + self.weights.iter().zip(measures).map(|(weight, value)| weight * value).sum::<f32>()
    }

    fn read(sum: &'static str, named: BTreeMap<String, f32>) -> Result<Self, BadWeights> {
        let mut read = Self { bias: 0.0, weights: [0.0; Measure::COUNT] };
        for (name, value) in named {
            if !value.is_finite() {
                return Err(BadWeights::NotFinite { sum, name });
            }
            if name == "bias" {
                read.bias = value;
                continue;
            }
            let slot = Measure::ALL.into_iter().zip(&mut read.weights).find(|(measure, _)| measure.label() == name);
            match slot {
                Some((_, slot)) => *slot = value,
                None => return Err(BadWeights::Unknown { sum, name }),
            }
        }
        Ok(read)
    }

    fn named(&self) -> BTreeMap<String, f32> {
        let rounded = |value: f32| (value * 1_000.0).round() / 1_000.0;
        let weights = Measure::ALL.into_iter().zip(self.weights);
        let mut named: BTreeMap<String, f32> =
            weights.map(|(measure, weight)| (measure.label().to_owned(), rounded(weight))).collect();
        named.insert("bias".to_owned(), rounded(self.bias));
        named
    }
}

impl Weights {
    /// Reads a weights file. A measure that it does not name weighs nothing.
    pub fn parse(text: &str) -> Result<Self, BadWeights> {
        let file: File = toml::from_str(text).map_err(|error| BadWeights::Shape(error.message().to_owned()))?;
        let automated = Sum::read("automated", file.automated)?;
        Ok(Self { version: file.version, automated, scam: Sum::read("scam", file.scam)? })
    }

    /// As a weights file.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let file = File { version: self.version, automated: self.automated.named(), scam: self.scam.named() };
        toml::to_string(&file).unwrap_or_default()
    }

    /// Those that are shipped.
    #[expect(clippy::expect_used, reason = "a test reads them, and without them no verdict would mean anything")]
    #[must_use]
    pub fn built_in() -> Self {
        Self::parse(BUILT_IN).expect("the weights in this program can be read")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_file_reads_and_writes_back() {
        let weights = Weights::parse(BUILT_IN).unwrap();

        assert_eq!(Weights::parse(&weights.to_toml()).unwrap(), weights);
        assert!(weights.version > 0);
    }

    #[test]
    fn a_misspelt_measure_is_refused() {
        let bad = Weights::parse("version = 1\n[automated]\nmonolog = 1.0\n[scam]\n");

        assert_eq!(bad, Err(BadWeights::Unknown { sum: "automated", name: "monolog".to_owned() }));
    }
}
