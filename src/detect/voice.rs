//! Speech or not, frame by frame, for one leg.
//!
//! In: 20 ms frames. Out: [`Voiced`] for each, with level and noise floor. Knows nothing of tones (see `tone`), of the
//! other leg (see `echo`) nor of talkspurts (see `cadence`).
//!
//! The webrtc detector decides on the shape of the spectrum and is fooled by steady noise; a level over a floor that
//! follows the leg's own noise is asked for besides.

use webrtc_vad::{SampleRate, Vad, VadMode};

use crate::audio::{Frame, level};
use crate::units::Dbov;

/// Speech is at least this much above the leg's noise.
const ABOVE_FLOOR_DB: f32 = 7.0;

/// Nothing below is speech that a person could follow on a telephone.
const QUIETEST: f32 = -56.0;

/// How fast the floor follows rising noise: 2 dB a second, slower than any talkspurt is long.
const RISE_DB: f32 = 0.04;

/// Frames after the last voiced one that still count: the ends of words are weak.
const HANGOVER_FRAMES: u8 = 4;

/// Frames in a row that are too quiet for speech after which nothing of what was said before is left in the detector.
/// From then on it hears one in [`QUIET_SHARE`] of them: enough for it to go on knowing the noise, which it takes from
/// the quietest of the last hundred frames that it hears.
const SETTLED: u8 = 8;
const QUIET_SHARE: u8 = 8;

/// One frame's answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Voiced {
    /// Somebody speaks.
    pub speech: bool,
    /// Of the frame.
    pub level: Dbov,
    /// Noise of the leg so far.
    pub floor: Dbov,
}

/// Voice activity of one leg.
pub struct Voice {
    vad: Vad,
    floor: f32,
    hangover: u8,
    /// Frames in a row that were too quiet for speech; from [`SETTLED`] on, it goes round.
    quiet: u8,
    /// The detector has not been asked about the last frame.
    skipped: bool,
    /// Of a leg of which only matters when somebody speaks.
    roughly: bool,
}

impl Voice {
    /// Nothing heard yet.
    #[must_use]
    pub fn new() -> Self {
        let vad = Vad::new_with_rate_and_mode(SampleRate::Rate8kHz, VadMode::Aggressive);
        Self { vad, floor: -60.0, hangover: 0, quiet: 0, skipped: false, roughly: false }
    }

    /// For a leg of which only matters when somebody speaks, not how: within speech, every second frame is asked about.
    /// A talkspurt may end a frame later, as far as the hangover makes it.
    #[must_use]
    pub fn roughly() -> Self {
        Self { roughly: true, ..Self::new() }
    }

    /// The next frame of the leg. A lost frame keeps a talkspurt that is going on and starts none.
    pub fn frame(&mut self, frame: &Frame) -> Voiced {
        let level = level(&frame.samples);
        if frame.lost {
            self.hangover = self.hangover.saturating_sub(1);
            return Voiced { speech: self.hangover > 0, level, floor: Dbov(self.floor) };
        }
        // Digital silence says nothing of the line's noise; the floor stays above the quantiser's own.
        let step = if level.0 < self.floor { (level.0 - self.floor) * 0.2 } else { RISE_DB };
        self.floor = (self.floor + step).clamp(-75.0, -25.0);

        let loud = level.0 >= (self.floor + ABOVE_FLOOR_DB).max(QUIETEST);
        self.quiet = match self.quiet + 1 {
            _ if loud => 0,
            round if round >= SETTLED + QUIET_SHARE => SETTLED,
            more => more,
        };
        // The detector is half of what the ear costs. What is not loud is no speech anyway, and behind a frame of speech
        // the next one is, by the hangover.
        let known =
            if loud { self.roughly && self.hangover == HANGOVER_FRAMES && !self.skipped } else { self.quiet > SETTLED };
        self.skipped = known;
        let shaped = known || self.vad.is_voice_segment(&frame.samples).unwrap_or(false);
        if shaped && loud {
            self.hangover = HANGOVER_FRAMES;
        } else {
            self.hangover = self.hangover.saturating_sub(1);
        }
        Voiced { speech: self.hangover > 0, level, floor: Dbov(self.floor) }
    }
}

impl Default for Voice {
    fn default() -> Self {
        Self::new()
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
        let mut voice = Voice::new();
        let silent = frames(|_| 0, 200).iter().filter(|f| voice.frame(f).speech).count();
        let mut voice = Voice::new();
        let noisy = frames(|n| noise(n, 800.0), 1_000).iter().skip(600).filter(|f| voice.frame(f).speech).count();

        assert_eq!(silent, 0);
        assert!(noisy < 100, "{noisy} of 400 frames of noise");
    }

    #[test]
    fn a_buzz_like_a_vowel_after_silence_is_speech() {
        let mut voice = Voice::new();
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
    fn asking_the_detector_less_often_hardly_changes_what_is_speech() {
        // Words of a hum in some noise, with pauses of all lengths.
        let talks = |n: usize| n % 100 >= (n / 100) * 15;
        let frames = frames(
            |n| {
                let phase = (n % 67) as f32;
                let vowel = if talks(n / FRAME_SAMPLES) { (phase * 0.55).sin() * (-phase / 18.0).exp() } else { 0.0 };
                (vowel * 9_000.0) as i16 + noise(n, 60.0)
            },
            600,
        );
        let (mut voice, mut rough) = (Voice::new(), Voice::roughly());
        let mut always = Vad::new_with_rate_and_mode(SampleRate::Rate8kHz, VadMode::Aggressive);
        let mut hangover = 0u8;
        let mut differing = [0, 0];

        for (n, frame) in frames.iter().enumerate() {
            let shaped = always.is_voice_segment(&frame.samples).unwrap();
            hangover = if shaped && talks(n) { HANGOVER_FRAMES } else { hangover.saturating_sub(1) };
            for (voice, differing) in [&mut voice, &mut rough].into_iter().zip(&mut differing) {
                *differing += usize::from(voice.frame(frame).speech != (hangover > 0));
            }
        }

        assert!(differing[0] <= 2 && differing[1] <= 8, "{differing:?} of 600");
    }

    #[test]
    fn a_lost_frame_starts_no_speech() {
        let mut voice = Voice::new();
        let lost = Frame { at: CallTime::ZERO, samples: [0; FRAME_SAMPLES], lost: true };

        assert!(!voice.frame(&lost).speech);
    }
}
