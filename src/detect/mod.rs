//! Frames of both legs into evidence. Detectors measure; what is suspicious is policy's to say.
//!
//! In: [`crate::audio::Frame`]s of a call, both legs side by side, and recognised words. Out: [`evidence::Evidence`].
//! Knows no packets, no calls, no rules. Each detector is a file; [`ear::Ear`] is all of them around one call.
//!
//! | detector | measures | fails where |
//! |---|---|---|
//! | [`voice`] | speech or not, per 20 ms, over a noise floor | babble as loud as the speaker |
//! | [`tone`] | steady lines: ringback, busy, SIT, fax, DTMF; music | solo voices that hold a note |
//! | [`echo`] | the callee's echo in the caller's leg | an echo less than 18 dB below the voice |
//! | [`cadence`] | talkspurts with their level, pauses, monologue | a person who reads aloud |
//! | [`turns`] | who speaks over whom, yields, replies | a callee who never speaks |
//! | [`screening`] | yielding to a prompt, answering it, talking on | a machine that waits for the prompt's end |
//! | [`fingerprint`] | a known recording, of an earlier call or a shared file | a recording heard for the first time |
//! | [`phrase`] | words and what they mean | languages without speech model and phrase file |

pub mod cadence;
pub mod ear;
pub mod echo;
pub mod evidence;
pub mod fingerprint;
mod kept;
pub mod phrase;
pub mod screening;
mod spectrum;
pub mod tone;
pub mod turns;
pub mod voice;
