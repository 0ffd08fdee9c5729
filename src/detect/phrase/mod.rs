//! Words, and what they mean.
//!
//! [`Recogniser`] turns seconds of audio into text (a driver's threads run it), [`Schedule`] says when that pays,
//! [`Book`] finds the phrases of the phrase file in the text. What a phrase means is data; see `config/phrases`.

mod book;
mod recogniser;
mod schedule;
mod tokenizer;

pub use book::{Book, BookError, Heard};
pub use recogniser::{ModelError, Recogniser, Transcript, to_recogniser};
pub use schedule::{Schedule, ScheduleSettings, Window};
