//! From frames to words.

use std::sync::LazyLock;

use rustfft::FftPlanner;

use super::{BITS, FRAMES, FRAMES_A_WORD, Word};
use crate::audio::{FRAME_SAMPLES, widely};
use crate::detect::spectrum::{Spectrum, Tables, sum};
use crate::units::SampleRate;

/// Frames of two windows that are one word apart.
const KEPT: usize = FRAMES + FRAMES_A_WORD;
/// Samples of a frame at 4 kHz.
const HALF_FRAME: usize = FRAME_SAMPLES / 2;
const WINDOW: usize = FRAMES * HALF_FRAME;
/// Points of the transform: the window as it is. Bands are far wider than the bins of it.
const SIZE: usize = WINDOW;
/// The window is at half the telephone's rate: 4 kHz.
const HZ_PER_BIN: f32 = SampleRate::TELEPHONE.get() as f32 / 2.0 / SIZE as f32;

/// Bands lie between these, spaced evenly in pitch: what every telephone codec keeps.
const LOWEST_HZ: f32 = 320.0;
const HIGHEST_HZ: f32 = 1_800.0;

/// Tables of the transform, and the bins at which bands begin and end; shared by all calls.
static TABLES: LazyLock<Tables> = LazyLock::new(|| Tables::new(SIZE, WINDOW));
static EDGES: LazyLock<[usize; BITS + 2]> = LazyLock::new(|| {
    std::array::from_fn(|n| {
        let share = n as f32 / (BITS + 1) as f32;
        (LOWEST_HZ * (HIGHEST_HZ / LOWEST_HZ).powf(share) / HZ_PER_BIN) as usize
    })
});

/// The least certain bits of a word: it is looked up with each set of them flipped.
const UNCERTAIN: usize = 6;

/// Level of a window, as the mean square of 16-bit samples, from which it counts as audible: about -50 dBov.
const AUDIBLE: f32 = 10_000.0;

/// Makes words of one leg's frames.
pub struct Fingerprinter {
    spectrum: Spectrum<{ SIZE / 2 }>,
    /// The last two windows at 4 kHz, frame by frame, each in its turn.
    samples: Box<[[i16; HALF_FRAME]; KEPT]>,
    /// Sum of the squares of each of these.
    energies: [f32; KEPT],
    /// Where the next frame goes: the oldest of them.
    next: usize,
    /// Bands of the last word's window; None: it was not audible.
    before: Option<Bands>,
}

/// Energy of each band, as a logarithm.
type Bands = [f32; BITS + 1];

/// A word with what is needed to look it up.
#[derive(Clone, Copy, Debug, Default)]
pub struct Probe {
    /// The word.
    pub word: Word,
    /// How clear each bit is: the distance from zero of the change that it stands for.
    certainty: [f32; BITS],
}

impl Fingerprinter {
    /// Nothing heard yet.
    #[must_use]
    pub fn new(planner: &mut FftPlanner<f32>) -> Self {
        Self {
            spectrum: Spectrum::new(planner, &TABLES),
            samples: Box::new([[0; HALF_FRAME]; KEPT]),
            energies: [0.0; KEPT],
            next: 0,
            before: None,
        }
    }

    /// The next frame; every other one makes a word.
    pub fn frame(&mut self, samples: &[i16; FRAME_SAMPLES]) -> Option<Probe> {
        let (Some(half), Some(energy)) = (self.samples.get_mut(self.next), self.energies.get_mut(self.next)) else {
            return None;
        };
        widely(
            #[inline(always)]
            || {
                // The average of two neighbours is filter enough for the bands, which end at 1.8 kHz.
                for (slot, [a, b]) in half.iter_mut().zip(samples.as_chunks().0) {
                    *slot = a.midpoint(*b);
                }
                *energy = sum(&half.map(|sample| f32::from(sample) * f32::from(sample)));
            },
        );
        self.next = (self.next + 1) % KEPT;
        self.next.is_multiple_of(FRAMES_A_WORD).then(|| self.word())
    }

    /// Bands of the window that begins `from` frames behind the oldest one.
    fn bands(&self, from: usize) -> Bands {
        let edges = &*EDGES;
        let (newer, older) = self.samples.split_at(self.next);
        let older = older.get(from..).unwrap_or_default();
        let older = older.get(..FRAMES).unwrap_or(older);
        let newer = newer.get(..FRAMES - older.len()).unwrap_or_default();
        let (Some(&first), Some(&last)) = (edges.first(), edges.last()) else { return [0.0; BITS + 1] };
        self.spectrum.power([older.as_flattened(), newer.as_flattened()], first..last + 1, |power| {
            let mut bands = [0.0f32; BITS + 1];
            widely(
                #[inline(always)]
                || {
                    for (band, edge) in bands.iter_mut().zip(edges.windows(2)) {
                        let &[from, to] = edge else { continue };
                        *band = sum(power.get(from - first..to.max(from + 1) - first).unwrap_or_default());
                    }
                },
            );
            bands.map(|band| (band + 1.0).ln())
        })
    }

    fn word(&mut self) -> Probe {
        let oldest: f32 = self.energies.iter().skip(self.next).take(FRAMES_A_WORD).sum();
        if (sum(&self.energies) - oldest) / (WINDOW as f32) < AUDIBLE {
            self.before = None;
            return Probe::default();
        }
        let before = self.before.unwrap_or_else(|| self.bands(0));
        let bands = self.bands(FRAMES_A_WORD);
        let mut word = 0u32;
        let mut certainty = [0.0; BITS];
        let pairs = bands.windows(2).zip(before.windows(2)).zip(&mut certainty);
        for (bit, ((now, before), slot)) in pairs.enumerate() {
            if let ([now_low, now_high], [low, high]) = (now, before) {
                let change = (now_low - now_high) - (low - high);
                word |= u32::from(change > 0.0) << bit;
                *slot = change.abs();
            }
        }
        self.before = Some(bands);
        Probe { word: Some(word), certainty }
    }
}

impl Probe {
    /// A word without doubts, as a library keeps it.
    pub(super) fn certain(word: Word) -> Self {
        Self { word, certainty: [f32::INFINITY; BITS] }
    }

    /// Its least certain bits, the least certain one first; of equals the lower bit.
    fn uncertain(&self) -> [u32; UNCERTAIN] {
        let mut least = [(f32::INFINITY, 0u32); UNCERTAIN];
        for (bit, &certainty) in self.certainty.iter().enumerate() {
            let place = least.iter().position(|kept| certainty < kept.0).unwrap_or(UNCERTAIN);
            if let Some(behind) = least.get_mut(place..) {
                behind.rotate_right(usize::from(!behind.is_empty()));
                behind.first_mut().into_iter().for_each(|first| *first = (certainty, 1 << bit));
            }
        }
        least.map(|(_, bit)| bit)
    }

    /// The word with each set of its least certain bits flipped, itself first.
    pub(super) fn variants(&self) -> impl Iterator<Item = u32> {
        let (word, uncertain) = (self.word.unwrap_or_default(), self.uncertain());
        // Of a certain word there are none.
        let flippable = uncertain.iter().filter(|bit| **bit != 0).count();
        let flipped = move |set: usize| {
            let bits = uncertain.iter().enumerate().filter(move |(n, _)| set & (1 << n) != 0);
            bits.fold(word, |word, (_, bit)| word ^ bit)
        };
        (0..1 << flippable).map(flipped)
    }
}
