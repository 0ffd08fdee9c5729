//! Words, and what they mean.
//!
//! [`Recogniser`] turns seconds of audio into text (a driver's threads run it), [`Schedule`] says when that pays,
//! [`Book`] finds the phrases of the phrase file in the text, [`Wording`] weighs every other word. What both mean is
//! data; see `config/phrases`.

mod book;
mod pattern;
mod recogniser;
mod schedule;
mod text;
mod tokenizer;
mod transcript;
mod wording;

pub use book::{Book, BookError, Doubt, FoundPhrase, Instead};
pub use recogniser::{ModelError, Recogniser, to_recogniser};
pub use schedule::{Schedule, ScheduleSettings, Window};
pub use transcript::{PassedOver, Transcript, Weighed};
pub use wording::{CallWording, Wording, WordingError, WordingOdds};
