//! Speech or not, frame by frame, for one leg.
//!
//! In: 20 ms frames. Out: [`Voiced`] for each. Knows nothing of tones (see `tone`), of the other leg (see `echo`) nor
//! of talkspurts (see `cadence`).
//!
//! The WebRTC voice detector goes by the shape of the spectrum and is fooled by steady noise, most of all in a leg's
//! first frames. So speech must also be louder than the leg's own noise, in all or where voices have their energy:
//! hiss lies above that and hum below it, so that a voice stands out there by some 5 dB more. The noise floor is the
//! lowest level of the last three seconds (minimum statistics, Martin 2001): speech has gaps within that time, noise
//! has none. The floor is right from the first frames on, falls at once, and rises with noise that stays.
//!
//! A hum or a chord that never stops raises both floors above a voice that everybody hears well beside it. Where the
//! floor stays that loud, speech may also stand out in any of five bands: a sustained sound fills few of them.
//!
//! It takes a quiet voice for noise, too. So a leg on which nothing has been loud for some seconds is shown to it
//! louder.

use std::sync::LazyLock;

use rustfft::FftPlanner;
use webrtc_vad::{SampleRate, Vad, VadMode};

use super::spectrum::{Spectrum, Tables, sum};
use crate::audio::{FRAME_SAMPLES, Frame, decibels, level, widely};
use crate::units::Dbov;

/// Speech is at least this much above the leg's noise. The lowest of many levels lies some 1.5 dB below their middle.
const ABOVE_FLOOR_DB: f32 = 9.5;

/// Level of the quietest speech that a person could follow on a telephone, dBov.
const QUIETEST: f32 = -56.0;

/// Lowest noise floor, dBov: above the quantiser's own noise. Digital silence says nothing of the line's noise.
const LOWEST_FLOOR: f32 = -75.0;

/// Share of a new level in the smoothed one: a time constant of 100 ms, so that a dip between two pulses of a voice is
/// not taken for the floor.
const SMOOTHING: f32 = 0.2;

/// Frames of one part of the three seconds: 0.5 s.
const PART_FRAMES: u8 = 25;

/// Parts that are remembered.
const PARTS: usize = 6;

/// After this many quiet frames in a row, nothing of the speech before is left in the detector's state.
const SETTLED: u8 = 8;
/// From then on the detector is shown one quiet frame in this many: enough for it to go on knowing the noise, which it
/// takes from the quietest of the last hundred frames that it sees.
const QUIET_SHARE: u8 = 8;

/// After this many frames of speech in a row, a click or an echo is over and a talkspurt goes on.
const ESTABLISHED: u8 = 5;
/// From then on, so many frames are taken for speech after one of which the detector has said that it is.
const TAKEN: u8 = 2;

/// Loudest frames of common speech, dBov. The detector was made for that, and takes a voice of -42 dBov for noise.
const COMMON: f32 = -20.0;
/// How fast what was loud is forgotten, dB for each loud frame: 2.5 dB a second of speech. Faster, or with nothing to
/// begin from, what is behind a caller who has not begun yet is taken for his speech.
const FORGOTTEN: f32 = 0.05;
/// A frame is shown to the detector doubled this often at most: 18 dB.
const DOUBLED: i32 = 3;

/// A floor this near below the loudest frames may hide a voice, dB.
const HIDES: f32 = 12.0;
/// Frames of a leg before its floor is said to hide anybody: 0.8 s. Until then it is not known how loud the caller is,
/// and whoever talks behind him may be all that is heard.
const KNOWN: u8 = 40;
/// Speech is at least this much above the noise of a band: that of a narrow one varies more.
const ABOVE_BAND_DB: f32 = 12.0;
/// Size of a frame's transform: bins of 31.25 Hz.
const SIZE: usize = 256;
/// Where the bands begin and end, in bins: 300, 700, 1,100, 1,700, 2,500 and 3,400 Hz.
const EDGES: [usize; BANDS + 1] = [10, 22, 35, 54, 80, 109];
const BANDS: usize = 5;
/// Power of a full scale under the window, of which the mean square is 3/8.
const FULL_SPECTRUM: f64 = 32_768.0 * 32_768.0 * 0.375 * (FRAME_SAMPLES * SIZE) as f64;
/// Tables of the transform, shared by all calls.
static TABLES: LazyLock<Tables> = LazyLock::new(|| Tables::new(SIZE, FRAME_SAMPLES));

/// One frame's answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Voiced {
    /// Somebody speaks in this frame. Gaps inside words are bridged by `cadence`.
    pub speech: bool,
    /// Of the frame.
    pub level: Dbov,
}

/// Voice activity of one leg.
pub struct Voice {
    vad: Vad,
    floor: Floor,
    /// Of the voice's band.
    band_floor: Floor,
    spectrum: Spectrum<{ SIZE / 2 }>,
    /// Frames so far, up to [`KNOWN`].
    frames: u8,
    /// Of each band, while the floor is loud.
    floors: Option<Box<[Floor; BANDS]>>,
    /// Of the loudest frames, dBov. A caller is of common level until he has been quieter for some seconds.
    loudest: f32,
    /// Quiet frames in a row; counts round and round from [`SETTLED`] on.
    quiet: u8,
    /// Frames of speech in a row.
    speech: u8,
    /// Frames that are still taken for speech, because of what the detector said of one before them.
    taken: u8,
}

impl Voice {
    /// Nothing heard yet. `planner` shares its tables between calls.
    #[must_use]
    pub fn new(planner: &mut FftPlanner<f32>) -> Self {
        Self {
            vad: Vad::new_with_rate_and_mode(SampleRate::Rate8kHz, VadMode::VeryAggressive),
            floor: Floor::NONE,
            band_floor: Floor::NONE,
            spectrum: Spectrum::new(planner, &TABLES),
            frames: 0,
            floors: None,
            loudest: COMMON,
            quiet: 0,
            speech: 0,
            taken: 0,
        }
    }

    /// The next frame of the leg. A lost one is not speech and says nothing of the noise.
    pub fn frame(&mut self, frame: &Frame) -> Voiced {
        let level = level(&frame.samples);
        if frame.lost {
            (self.speech, self.taken) = (0, 0);
            return Voiced { speech: false, level };
        }
        let band = band_level(&frame.samples);
        let (floor, band_floor) = (self.floor.frame(level.0), self.band_floor.frame(band));
        self.frames = KNOWN.min(self.frames + 1);
        let hides = self.frames == KNOWN && floor >= self.loudest - HIDES;
        if !hides {
            self.floors = None;
        }
        let beside = hides && self.stands_out_in_a_band(&frame.samples);
        let stands_out = beside || level.0 >= floor + ABOVE_FLOOR_DB || band >= band_floor + ABOVE_FLOOR_DB;
        let loud = stands_out && level.0 >= QUIETEST;
        if loud {
            self.loudest = level.0.max(self.loudest - FORGOTTEN);
        }
        self.quiet = match self.quiet + 1 {
            _ if loud => 0,
            round if round >= SETTLED + QUIET_SHARE => SETTLED,
            more => more,
        };
        // The detector is half of what the ear costs, and is not asked where its answer is known: what is not loud is
        // no speech, and in the middle of speech what is loud is.
        let taken = loud && self.taken > 0;
        let known = taken || (!loud && self.quiet > SETTLED);
        let speech = if known { taken } else { self.ask(&frame.samples) && loud };
        self.speech = if speech { self.speech.saturating_add(1) } else { 0 };
        self.taken = match speech {
            true if taken => self.taken - 1,
            true if self.speech >= ESTABLISHED => TAKEN,
            _ => 0,
        };
        Voiced { speech, level }
    }

    /// Some part of the spectrum is well above its own floor.
    fn stands_out_in_a_band(&mut self, samples: &[i16; FRAME_SAMPLES]) -> bool {
        let floors = self.floors.get_or_insert_with(|| Box::new([const { Floor::NONE }; BANDS]));
        self.spectrum.power([samples, &[]], EDGES[0]..EDGES[BANDS], |mut power| {
            let mut above = false;
            for (floor, edges) in floors.iter_mut().zip(EDGES.windows(2)) {
                let [from, to] = edges else { break };
                let Some((band, rest)) = power.split_at_mut_checked(to - from) else { break };
                let level = decibels(f64::from(sum(band)) / FULL_SPECTRUM);
                above |= level >= floor.frame(level) + ABOVE_BAND_DB;
                power = rest;
            }
            above
        })
    }

    /// What the detector says of a frame, which it is shown as loud as common speech is.
    fn ask(&mut self, samples: &[i16; FRAME_SAMPLES]) -> bool {
        let times = (((COMMON - self.loudest) / 6.02) as i32).clamp(0, DOUBLED);
        let speech = if times == 0 {
            self.vad.is_voice_segment(samples)
        } else {
            self.vad.is_voice_segment(&doubled(samples, times))
        };
        speech.unwrap_or(false)
    }
}

/// The samples, doubled so often.
fn doubled(samples: &[i16; FRAME_SAMPLES], times: i32) -> [i16; FRAME_SAMPLES] {
    samples.map(|sample| sample.saturating_mul(1 << times))
}

/// Level of a frame's band between 350 and 1,200 Hz, dBov: sums of four samples keep what is low, their differences
/// what is high. It need not be flat, because it is compared with itself only.
fn band_level(samples: &[i16; FRAME_SAMPLES]) -> f32 {
    let mut fours = [0i32; FRAME_SAMPLES / 4];
    let energy: u64 = widely(
        #[inline(always)]
        || {
            for (sum, four) in fours.iter_mut().zip(samples.as_chunks::<4>().0) {
                *sum = four.iter().map(|&sample| i32::from(sample)).sum();
            }
            let differences = fours.iter().zip(fours.iter().skip(1)).map(|(a, b)| u64::from(a.abs_diff(*b)));
            differences.map(|difference| difference.pow(2)).sum()
        },
    );
    let full = 4.0 * 32_768.0;
    let power = energy.max(1) as f64 / (fours.len() - 1) as f64 / (full * full);
    decibels(power)
}

/// The lowest smoothed level of the last three seconds.
#[derive(Clone, Debug)]
struct Floor {
    smoothed: Option<f32>,
    /// Lowest of each part; of those that have not come, infinite.
    lowest: [f32; PARTS],
    part: usize,
    /// Frames of the part that is going on.
    frames: u8,
}

impl Floor {
    const NONE: Self = Self { smoothed: None, lowest: [f32::INFINITY; PARTS], part: 0, frames: 0 };

    fn frame(&mut self, level: f32) -> f32 {
        let level = level.max(LOWEST_FLOOR);
        let smoothed = self.smoothed.map_or(level, |smoothed| smoothed + (level - smoothed) * SMOOTHING);
        self.smoothed = Some(smoothed);
        let begins = self.frames == PART_FRAMES;
        if begins {
            self.frames = 0;
            self.part = (self.part + 1) % PARTS;
        }
        self.frames += 1;
        if let Some(part) = self.lowest.get_mut(self.part) {
            *part = if begins { smoothed } else { part.min(smoothed) };
        }
        self.lowest.iter().copied().fold(f32::INFINITY, f32::min)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::audio::FRAME_SAMPLES;
    use crate::units::CallTime;

    fn frames(samples: impl Fn(usize) -> i16, count: usize) -> Vec<Frame> {
        (0..count)
            .map(|n| Frame {
                at: CallTime::from_millis(20 * n as u64),
                samples: std::array::from_fn(|i| samples(n * FRAME_SAMPLES + i)),
                lost: false,
            })
            .collect()
    }

    /// White enough, and the same in each run.
    fn noise(n: usize, amplitude: f32) -> i16 {
        let hash = (n as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(31).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        ((hash >> 40) as f32 / (1u64 << 23) as f32 * amplitude - amplitude) as i16
    }

    #[test]
    fn digital_silence_and_steady_noise_are_not_speech() {
        let mut voice = Voice::new(&mut FftPlanner::new());
        let silent = frames(|_| 0, 200).iter().filter(|f| voice.frame(f).speech).count();
        let mut voice = Voice::new(&mut FftPlanner::new());
        let noisy = frames(|n| noise(n, 800.0), 1_000).iter().filter(|f| voice.frame(f).speech).count();

        assert_eq!(silent, 0);
        assert_eq!(noisy, 0, "from the first frame on");
    }

    #[test]
    fn the_floor_follows_noise_that_stays_within_three_seconds() {
        let mut floor = Floor::NONE;
        let quiet = (0..100).map(|_| floor.frame(-60.0)).last();
        let louder: Vec<f32> = (0..200).map(|_| floor.frame(-40.0)).collect();

        assert_eq!(quiet, Some(-60.0));
        assert!(louder.iter().take(120).all(|floor| *floor < -55.0), "speech of 2.4 s moves it little");
        assert!(louder.last().is_some_and(|floor| (-41.0..=-39.0).contains(floor)), "{:?}", louder.last());
    }

    #[test]
    fn a_buzz_like_a_vowel_after_silence_is_speech() {
        let mut voice = Voice::new(&mut FftPlanner::new());
        for frame in frames(|_| 0, 50) {
            voice.frame(&frame);
        }
        // 120 Hz pulses through a resonance near 700 Hz.
        let vowel = |n: usize| {
            let phase = (n % 67) as f32;
            ((phase * 0.55).sin() * (-phase / 18.0).exp() * 9_000.0) as i16
        };
        let spoken = frames(vowel, 50).iter().filter(|f| voice.frame(f).speech).count();

        assert!(spoken > 35, "{spoken} of 50");
    }

    #[test]
    fn a_voice_is_heard_over_hiss_or_hum_that_is_nearly_as_loud() {
        let talks = |n: usize| n / FRAME_SAMPLES % 100 >= 50;
        let vowel = |n: usize| {
            let phase = (n % 67) as f32;
            if talks(n) { (phase * 0.55).sin() * (-phase / 18.0).exp() * 9_000.0 } else { 0.0 }
        };
        let tone = |n: usize, hertz: f32| (n as f32 * std::f32::consts::TAU * hertz / 8_000.0).sin() * 4_000.0;
        let in_hiss = frames(|n| vowel(n) as i16 + noise(n, 2_000.0), 400);
        let in_hum = frames(|n| (vowel(n) + tone(n, 50.0)) as i16, 400);
        // Where a voice has its energy, and never silent.
        let in_tone = frames(|n| (vowel(n) + tone(n, 250.0)) as i16, 400);
        let in_chord =
            frames(|n| (vowel(n) + [262.0, 330.0, 392.0].map(|hz| tone(n, hz) / 2.0).iter().sum::<f32>()) as i16, 400);

        for frames in [in_hiss, in_hum, in_tone, in_chord] {
            let mut voice = Voice::new(&mut FftPlanner::new());
            let (mut heard, mut wrong) = (0, 0);
            for (n, frame) in frames.iter().enumerate() {
                let speech = voice.frame(frame).speech;
                heard += usize::from(speech && talks(n * FRAME_SAMPLES));
                wrong += usize::from(speech && !talks(n * FRAME_SAMPLES));
            }
            assert!(heard > 180 && wrong <= 3, "{heard} of 200, {wrong} of the pauses");
        }
    }

    #[test]
    fn a_quiet_voice_is_heard_as_a_loud_one_is() {
        let talks = |n: usize| n / FRAME_SAMPLES % 100 >= 50;
        let voiced = |n: usize, peak: f32| {
            let phase = (n % 67) as f32;
            if talks(n) { (phase * 0.55).sin() * (-phase / 18.0).exp() * peak } else { 0.0 }
        };
        // -20 and -48 dBov, once it is known how loud the caller is.
        for peak in [9_000.0, 360.0] {
            let mut voice = Voice::new(&mut FftPlanner::new());
            let (mut heard, mut wrong) = (0, 0);
            for (n, frame) in frames(|n| voiced(n, peak) as i16 + noise(n, peak / 80.0), 1_600).iter().enumerate() {
                let speech = voice.frame(frame).speech && n >= 1_200;
                heard += usize::from(speech && talks(n * FRAME_SAMPLES));
                wrong += usize::from(speech && !talks(n * FRAME_SAMPLES));
            }
            assert!(heard > 180 && wrong <= 3, "peak {peak}: {heard} of 200, {wrong} of the pauses");
        }
    }

    #[test]
    fn asking_the_detector_less_often_hardly_changes_what_is_speech() {
        // Words of a hum in some noise, with pauses of all lengths.
        let talks = |n: usize| n % 100 >= 20 + (n / 100) * 12;
        let frames = frames(
            |n| {
                let phase = (n % 67) as f32;
                let vowel = if talks(n / FRAME_SAMPLES) { (phase * 0.55).sin() * (-phase / 18.0).exp() } else { 0.0 };
                (vowel * 9_000.0) as i16 + noise(n, 60.0)
            },
            600,
        );
        let mut voice = Voice::new(&mut FftPlanner::new());
        let mut always = Vad::new_with_rate_and_mode(SampleRate::Rate8kHz, VadMode::VeryAggressive);
        let differs = |(n, frame): &(usize, &Frame)| {
            let speech = always.is_voice_segment(&frame.samples).unwrap() && talks(*n);
            voice.frame(frame).speech != speech
        };

        let differing = frames.iter().enumerate().filter(differs).count();

        assert!(differing <= 6, "{differing} of 600");
    }

    #[test]
    fn a_lost_frame_starts_no_speech() {
        let mut voice = Voice::new(&mut FftPlanner::new());
        let lost = Frame { at: CallTime::ZERO, samples: [0; FRAME_SAMPLES], lost: true };

        assert!(!voice.frame(&lost).speech);
    }
}
