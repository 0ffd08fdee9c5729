//! The ear with all that it knows, opened from files.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::hear::recognise_with;
use crate::detect::fingerprint::Library;
use crate::detect::phrase::{Book, Recogniser, ScheduleSettings, Transcript, Wording};
use crate::io::analysis::{Knowledge, WordRun};
use crate::io::shipped::{self, BadFile};
use crate::policy::judge::Weights;

/// What calls are judged with, and the recogniser, for the offline commands.
pub struct Ear {
    knowledge: Knowledge,
    recogniser: Option<Recogniser>,
    /// Why words are off.
    without_words: Option<String>,
}

/// Files in place of what is built in.
#[derive(Clone, Debug, Default)]
pub struct EarFiles {
    /// Phrase file.
    pub phrases: Option<PathBuf>,
    /// Wording file.
    pub wording: Option<PathBuf>,
    /// Weights file.
    pub weights: Option<PathBuf>,
    /// Known recordings.
    pub campaigns: Option<PathBuf>,
}

impl Ear {
    /// Opens it. A model that is missing switches words off; a file that is bad is an error.
    pub fn open(model: Option<&Path>, words: bool, files: &EarFiles) -> Result<Self, BadFile> {
        let EarFiles { phrases, wording, weights, campaigns } = files;
        let book = match phrases {
            Some(path) => Arc::new(shipped::read(path, Book::parse)?),
            None => Book::built_in(),
        };
        let wording = match wording {
            Some(path) => Arc::new(shipped::read(path, Wording::parse)?),
            None => Wording::built_in(),
        };
        let weights = match weights {
            Some(path) => shipped::read(path, Weights::parse)?,
            None => Weights::built_in(),
        };
        let campaigns = match campaigns {
            Some(path) => shipped::read(path, Library::parse)?,
            None => Library::default(),
        };
        let (recogniser, without_words) =
            match (words, model.map(Path::to_owned).or_else(|| shipped::find(shipped::SPEECH_MODEL))) {
                (false, _) => (None, Some("as asked".to_owned())),
                (true, None) => (None, Some("no speech model was found".to_owned())),
                (true, Some(folder)) => match Recogniser::load(&folder) {
                    Ok(recogniser) => (Some(recogniser), None),
                    Err(error) => (None, Some(error.to_string())),
                },
            };
        let words = recogniser.as_ref().map(|_| ScheduleSettings::default());
        Ok(Self {
            knowledge: Knowledge { weights: Arc::new(weights), book, wording, campaigns: Arc::new(campaigns), words },
            recogniser,
            without_words,
        })
    }

    /// A second one for another thread, on the same model.
    #[must_use]
    pub fn another(&self) -> Self {
        Self {
            knowledge: self.knowledge.clone(),
            recogniser: self.recogniser.as_ref().map(Recogniser::another),
            without_words: self.without_words.clone(),
        }
    }

    /// Why words are off.
    #[must_use]
    pub fn without_words(&self) -> Option<&str> {
        self.without_words.as_deref()
    }

    /// Lends knowledge and recogniser to `hear`.
    pub fn with<T>(
        &self,
        hear: impl FnOnce(&Knowledge, &mut dyn FnMut(&WordRun) -> Option<(Transcript, Duration)>) -> T,
    ) -> T {
        hear(&self.knowledge, &mut |run| recognise_with(self.recogniser.as_ref()?, run))
    }
}
