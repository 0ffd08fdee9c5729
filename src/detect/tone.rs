//! Steady lines in the spectrum: call progress tones, DTMF, fax; and music.
//!
//! In: 20 ms frames of one leg. Out: [`Kind`] per frame, and which tone it was when a run of them ends. A voice moves
//! by several hertz from frame to frame even on a held vowel; a tone does not move at all.

use std::ops::Range;
use std::sync::LazyLock;

use rustfft::FftPlanner;

use super::spectrum::{Spectrum, Tables, largest, sum};
use crate::audio::{FRAME_SAMPLES, widely};
use crate::units::{Dbov, SampleRate};

/// Transform of four frames: 12.5 Hz a bin. Long enough to part 440 from 480 Hz, and to smear a voice.
const FRAMES: usize = 4;
const SIZE: usize = FRAMES * FRAME_SAMPLES;
const HZ_PER_BIN: f32 = SampleRate::TELEPHONE.get() as f32 / SIZE as f32;

/// Tables of the transform, shared by all calls.
static TABLES: LazyLock<Tables> = LazyLock::new(|| Tables::new(SIZE, SIZE));

/// Bins that lines are looked for in: below 200 Hz is hum, above 3,600 Hz nothing passes.
const FIRST: usize = 16;
const LAST: usize = 288;

/// Main lobe of a Hann window: this many bins to each side hold nearly all of it.
const LOBE: usize = 2;

/// Bins that the transform is asked for: those, and a lobe to each side.
const KEPT: Range<usize> = FIRST - LOBE..LAST + LOBE + 1;

/// Level of the quietest frame that may hold a tone, dBov.
const QUIETEST: f32 = -50.0;

/// Share of the energy that one or two lines of a tone hold.
const LINE_SHARE: f32 = 0.86;

/// How far a line may move between frames, in hertz.
const DRIFT_HZ: f32 = 5.0;

/// Frames in a row that make a tone: 180 ms, more than a vowel stays within [`DRIFT_HZ`].
const RUN: u8 = 9;

/// Frames in a row that make a key. One is enough: no voice has two lines of the DTMF grid at once.
const KEY_RUN: u8 = 1;

/// What a frame sounds like.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Silence, noise, speech: not for this detector to say.
    Other,
    /// One or two steady lines.
    Tone,
    /// Steady lines that change in steps, for seconds: music.
    Music,
}

/// Which tone a run of [`Kind::Tone`] was.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Tone {
    /// UK 400+450 Hz, US 440+480 Hz, Europe 425 Hz: long bursts.
    Ringback,
    /// The same lines or 480+620 Hz in short bursts.
    Busy,
    /// Three rising tones before an intercept announcement (ITU-T E.180).
    SpecialInformation,
    /// 1,100 Hz calling or 2,100 Hz answer of a fax (ITU-T T.30).
    Fax,
    /// A key, by two lines of the DTMF grid (ITU-T Q.23).
    Key,
    /// Any other.
    Unknown,
}

impl Tone {
    /// Fixed word.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Ringback => "ringback",
            Self::Busy => "busy",
            Self::SpecialInformation => "special_information",
            Self::Fax => "fax",
            Self::Key => "key",
            Self::Unknown => "tone",
        }
    }

    /// By its lower and its higher line, Hz, which of a single line are the same; and by its length in frames.
    fn named(low: f32, high: f32, frames: u32) -> Self {
        let near = |line: f32, hz: f32| (line - hz).abs() < APART;
        let is_in = |line: f32, of: &[f32]| of.iter().any(|hz| near(line, *hz));
        let either = |of: &[f32]| is_in(low, of) || is_in(high, of);
        if either(&FAX) {
            return Self::Fax;
        }
        if either(&SPECIAL_INFORMATION) {
            return Self::SpecialInformation;
        }
        if is_in(low, &ROWS) && is_in(high, &COLUMNS) {
            return Self::Key;
        }
        let progress = either(&PROGRESS);
        if either(&[BUSY_ALONE]) || (progress && frames < RINGBACK_FRAMES && !near(high, RINGBACK_ALONE)) {
            return Self::Busy;
        }
        if progress { Self::Ringback } else { Self::Unknown }
    }
}

/// A line that is this near to a named frequency is that one, Hz: less than half of the distance between two keys.
const APART: f32 = 18.0;
/// Calling and answering tone of a fax (ITU-T T.30), Hz.
const FAX: [f32; 2] = [1_100.0, 2_100.0];
/// The three lines in their order, as the world and as North America has them (ITU-T E.180), Hz.
const SPECIAL_INFORMATION: [f32; 7] = [950.0, 914.0, 985.0, 1_400.0, 1_370.0, 1_777.0, 1_800.0];
/// Keys: one line of each (ITU-T Q.23), Hz.
const ROWS: [f32; 4] = [697.0, 770.0, 852.0, 941.0];
const COLUMNS: [f32; 4] = [1_209.0, 1_336.0, 1_477.0, 1_633.0];
/// Lines that ringback and busy tones share (ITU-T E.180, Supplement 2), Hz.
const PROGRESS: [f32; 5] = [400.0, 425.0, 440.0, 450.0, 480.0];
/// A line that only busy tones have, in North America, Hz.
const BUSY_ALONE: f32 = 620.0;
/// The higher line of the British ringback, which comes in short bursts as busy tones do, Hz.
const RINGBACK_ALONE: f32 = 450.0;
/// A burst of ringback elsewhere is at least this long: 0.6 s.
const RINGBACK_FRAMES: u32 = 30;

/// One or two lines of one frame, Hz. Of a single line both are the same.
#[derive(Clone, Copy, Debug, Default)]
struct Lines {
    low: f32,
    high: f32,
    /// Their share of the energy, 0 to 1.
    share: f32,
}

/// Tones and music of one leg.
pub struct ToneDetector {
    spectrum: Spectrum<{ SIZE / 2 }>,
    /// The last frames, each in its turn.
    samples: [[i16; FRAME_SAMPLES]; FRAMES],
    /// Where the next one goes: the oldest of them.
    next: usize,
    last: Lines,
    /// Frames in a row with the same lines.
    steady: u8,
    /// Frames in a row with the lines of a key.
    key: u8,
    /// Frames of the tone that is on.
    on: u32,
    ended: Option<Tone>,
    music: Music,
}

impl ToneDetector {
    /// Nothing heard yet.
    #[must_use]
    pub fn new(planner: &mut FftPlanner<f32>) -> Self {
        Self {
            spectrum: Spectrum::new(planner, &TABLES),
            samples: [[0; FRAME_SAMPLES]; FRAMES],
            next: 0,
            last: Lines::default(),
            steady: 0,
            key: 0,
            on: 0,
            ended: None,
            music: Music::default(),
        }
    }

    /// The next frame, and its level.
    pub fn frame(&mut self, samples: &[i16; FRAME_SAMPLES], level: Dbov) -> Kind {
        if let Some(oldest) = self.samples.get_mut(self.next) {
            *oldest = *samples;
        }
        self.next = (self.next + 1) % FRAMES;
        let audible = level.0 > QUIETEST;
        let lines = if audible { self.lines() } else { Lines::default() };
        let same = (lines.low - self.last.low).abs() < DRIFT_HZ && (lines.high - self.last.high).abs() < DRIFT_HZ;
        let tonal = audible && lines.share > LINE_SHARE;
        self.steady = if tonal && same { self.steady.saturating_add(1) } else { 0 };
        let key = tonal && same && Tone::named(lines.low, lines.high, 0) == Tone::Key;
        self.key = if key { self.key.saturating_add(1) } else { 0 };
        let kind = if self.steady >= RUN || self.key >= KEY_RUN {
            self.on += 1;
            Kind::Tone
        } else {
            if self.on > 0 {
                self.ended = Some(Tone::named(self.last.low, self.last.high, self.on + u32::from(RUN)));
            }
            self.on = 0;
            if self.music.is_on() { Kind::Music } else { Kind::Other }
        };
        // While a tone is on, its name comes from the frames inside it, not from the one that ends it.
        if self.on > 0 || self.steady > 0 || self.ended.is_none() {
            self.last = lines;
        }
        kind
    }

    /// A tone that has ended with the last frame.
    pub fn poll_ended(&mut self) -> Option<Tone> {
        self.ended.take()
    }

    /// How many frames later a tone is known.
    #[must_use]
    pub const fn lag() -> usize {
        RUN as usize + 4
    }

    fn lines(&mut self) -> Lines {
        let Self { spectrum, samples, next, music, .. } = self;
        let (newer, older) = samples.split_at(*next);
        spectrum.power([older.as_flattened(), newer.as_flattened()], KEPT, |power| {
            widely(
                #[inline(always)]
                || {
                    music.spectrum(power);
                    strongest(power)
                },
            )
        })
    }
}

/// The one or two strongest lines, and what they hold of the energy. They are removed from `power`.
#[inline(always)]
fn strongest(power: &mut [f32]) -> Lines {
    let total = sum(power.get(LOBE..LOBE + LAST - FIRST).unwrap_or_default()).max(1.0);
    let one = take_line(power);
    let two = take_line(power);
    let share = (one.1 + two.1) / total;
    // A single line leaves a rest, not a second line.
    let second = if two.1 > 0.05 * one.1 { two.0 } else { 0.0 };
    Lines { low: if second > 0.0 { one.0.min(second) } else { one.0 }, high: one.0.max(second), share }
}

/// Frequency and energy of the strongest line, which is then removed from `power`.
#[inline(always)]
fn take_line(power: &mut [f32]) -> (f32, f32) {
    let place = LOBE + largest(power.get(LOBE..LOBE + LAST - FIRST).unwrap_or_default());
    let Some(lobe) = power.get_mut(place - LOBE..=place + LOBE) else { return (0.0, 0.0) };
    let bins = KEPT.start + place - LOBE..;
    let energy: f32 = lobe.iter().sum();
    let centre: f32 = lobe.iter().zip(bins).map(|(p, bin)| p * bin as f32).sum::<f32>() / energy.max(1e-9);
    lobe.fill(0.0);
    (centre * HZ_PER_BIN, energy)
}

/// Bands of the music measure, of four bins: 250 to 3,450 Hz.
const BANDS: usize = 64;
const LOWEST_BAND: usize = 20;

/// Frames that music is judged by: 2 s.
const MUSIC_WINDOW: u32 = 100;

/// Likeness of neighbouring spectra from which they are music's: the cosine of the angle between them.
const MUSIC_LIKENESS: f32 = 0.96;
/// Music's level moves by less than this from frame to frame, dB.
const MUSIC_MOVEMENT: f32 = 1.3;

/// Music keeps its lines between steps, and hardly pauses. Speech moves every frame and pauses every word.
#[derive(Debug)]
struct Music {
    before: [f32; BANDS],
    /// Of `before`.
    norm: f32,
    /// Smoothed likeness of neighbouring spectra, 0 to 1.
    likeness: f32,
    /// Smoothed depth of the level's movement, dB.
    movement: f32,
    level: f32,
    frames: u32,
}

impl Default for Music {
    fn default() -> Self {
        Self { before: [0.0; BANDS], norm: 0.0, likeness: 0.0, movement: 20.0, level: -60.0, frames: 0 }
    }
}

impl Music {
    #[inline(always)]
    fn spectrum(&mut self, power: &[f32]) {
        let mut bands = [0.0f32; BANDS];
        // Narrow enough that a moving voice crosses bands.
        let fours = power.get(LOWEST_BAND - KEPT.start..).unwrap_or_default().as_chunks::<4>().0;
        for (band, four) in bands.iter_mut().zip(fours) {
            *band = four.iter().sum::<f32>();
        }
        bands = bands.map(f32::sqrt);
        let product = |a: &[f32; BANDS], b: &[f32; BANDS]| sum(&std::array::from_fn::<f32, BANDS, _>(|n| a[n] * b[n]));
        let norm = product(&bands, &bands).sqrt();
        let likeness = product(&bands, &self.before) / (norm * self.norm).max(1e-6);
        let level = 20.0 * (norm + 1.0).log10();
        const SMOOTH: f32 = 1.0 / 50.0;
        self.likeness += (likeness - self.likeness) * SMOOTH;
        self.movement += ((level - self.level).abs() - self.movement) * SMOOTH;
        self.level = level;
        (self.before, self.norm) = (bands, norm);
        self.frames = (self.frames + 1).min(MUSIC_WINDOW);
    }

    fn is_on(&self) -> bool {
        self.frames >= MUSIC_WINDOW && self.likeness > MUSIC_LIKENESS && self.movement < MUSIC_MOVEMENT
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::level;

    /// What is heard of `seconds` of the given lines, each at -20 dBov; a row of frames.
    fn heard(lines: &[f32], seconds: f32) -> (Vec<Kind>, Option<Tone>) {
        let mut detector = ToneDetector::new(&mut FftPlanner::new());
        let tone = |n: usize| {
            let sum: f32 = lines.iter().map(|hz| (std::f32::consts::TAU * hz * n as f32 / 8_000.0).sin()).sum();
            (sum * 4_000.0) as i16
        };
        let frames = (seconds * 50.0) as usize;
        let mut kinds = Vec::new();
        for frame in 0..frames {
            let samples = std::array::from_fn(|n| tone(frame * FRAME_SAMPLES + n));
            kinds.push(detector.frame(&samples, level(&samples)));
        }
        for _ in 0..3 {
            detector.frame(&[0; FRAME_SAMPLES], Dbov(-127.0));
        }
        (kinds, detector.poll_ended())
    }

    #[test]
    fn call_progress_tones_are_named() {
        for (lines, seconds, tone) in [
            (&[425.0][..], 1.0, Tone::Ringback),
            (&[400.0, 450.0], 1.0, Tone::Ringback),
            (&[440.0, 480.0], 2.0, Tone::Ringback),
            (&[480.0, 620.0], 0.5, Tone::Busy),
            (&[950.0], 0.33, Tone::SpecialInformation),
            (&[1_100.0], 0.5, Tone::Fax),
            (&[770.0, 1_336.0], 0.1, Tone::Key),
        ] {
            assert_eq!(heard(lines, seconds).1, Some(tone), "{lines:?}");
        }
    }

    #[test]
    fn a_tone_is_known_before_the_lag_is_over() {
        let (kinds, _) = heard(&[440.0, 480.0], 1.0);

        let first = kinds.iter().position(|kind| *kind == Kind::Tone);
        assert!(first.is_some_and(|first| first <= ToneDetector::lag() + 2), "{kinds:?}");
    }

    #[test]
    fn a_glide_like_a_voice_is_no_tone() {
        let mut detector = ToneDetector::new(&mut FftPlanner::new());
        let mut phase = 0.0f32;
        let mut tones = 0;
        for frame in 0..100 {
            let samples = std::array::from_fn(|n| {
                // A pitch that falls by a third within a second, with its harmonics.
                let hz = 220.0 - 0.009 * (frame * FRAME_SAMPLES + n) as f32;
                phase += std::f32::consts::TAU * hz / 8_000.0;
                ((2..9).map(|k| (phase * k as f32).sin() / k as f32).sum::<f32>() * 6_000.0) as i16
            });
            tones += usize::from(detector.frame(&samples, level(&samples)) == Kind::Tone);
        }

        assert_eq!(tones, 0);
    }
}
