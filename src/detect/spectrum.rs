//! Power spectrum of one window of real samples.
//!
//! In: samples and a window. Out: power of the bins that are asked for. The transform of N real samples is that of N/2
//! complex ones, taken apart afterwards; that is half the work. Nothing is kept between windows: what a transform
//! needs lives on the stack, which is warm, where a buffer for each call would not be.

use std::ops::Range;
use std::sync::Arc;

use rustfft::num_complex::Complex;
use rustfft::{Fft, FftPlanner};

/// A Hann window over the first `window` samples, and the rotation of each bin for a transform of `size`.
#[derive(Debug)]
pub(super) struct Tables {
    hann: Box<[f32]>,
    turns: Box<[Complex<f32>]>,
}

impl Tables {
    /// Made once for all calls.
    pub(super) fn new(size: usize, window: usize) -> Self {
        let hann = |n: usize| 0.5 - 0.5 * (std::f32::consts::TAU * n as f32 / window as f32).cos();
        let turn = |bin: usize| {
            let angle = -std::f64::consts::TAU * bin as f64 / size as f64;
            Complex::new(angle.cos() as f32, angle.sin() as f32)
        };
        Self { hann: (0..window).map(hann).collect(), turns: (0..size / 2).map(turn).collect() }
    }
}

/// Transforms windows of one size, which is twice `HALF`.
pub(super) struct Spectrum<const HALF: usize> {
    fft: Arc<dyn Fft<f32>>,
    tables: &'static Tables,
}

impl<const HALF: usize> Spectrum<HALF> {
    /// Windows of `tables`, which are for this size. `planner` shares its plans between calls.
    pub(super) fn new(planner: &mut FftPlanner<f32>, tables: &'static Tables) -> Self {
        Self { fft: planner.plan_fft_forward(HALF), tables }
    }

    /// Power of the bins in `bins`, into their places of `power`; the others stay. `bins` begins above 0. The window comes
    /// in two parts, as it lies in a ring: the older one first, each of an even length.
    pub(super) fn power(&self, samples: [&[i16]; 2], bins: Range<usize>, power: &mut [f32; HALF]) {
        let (mut values, mut scratch) = ([Complex::default(); HALF], [Complex::default(); HALF]);
        let [older, newer] = samples;
        let ((hann, _), middle) = (self.tables.hann.as_chunks::<2>(), older.len() / 2);
        if let Some(((early, late), (rise, fall))) =
            values.split_at_mut_checked(middle).zip(hann.split_at_checked(middle))
        {
            weigh(older, rise, early);
            weigh(newer, fall, late);
        }
        match scratch.get_mut(..self.fft.get_inplace_scratch_len()) {
            Some(scratch) => self.fft.process_with_scratch(&mut values, scratch),
            // A plan that wants more than its own length.
            None => self.fft.process(&mut values),
        }
        let mirrored = bins.end.min(HALF);
        let (Some(forth), Some(back)) =
            (values.get(bins.start..mirrored), values.get(HALF + 1 - mirrored..=HALF - bins.start))
        else {
            return;
        };
        let (Some(turns), Some(slots)) =
            (self.tables.turns.get(bins.start..mirrored), power.get_mut(bins.start..mirrored))
        else {
            return;
        };
        for (((slot, turn), a), b) in slots.iter_mut().zip(turns).zip(forth).zip(back.iter().rev()) {
            // The even samples' part, and the odd ones' turned by -90 degrees; both twice.
            let even = Complex::new(a.re + b.re, a.im - b.im);
            let odd = Complex::new(a.im + b.im, b.re - a.re);
            let (re, im) =
                (even.re + turn.re * odd.re - turn.im * odd.im, even.im + turn.re * odd.im + turn.im * odd.re);
            *slot = 0.25 * (re * re + im * im);
        }
    }
}

/// Samples under their part of a window, in pairs.
fn weigh(samples: &[i16], window: &[[f32; 2]], values: &mut [Complex<f32>]) {
    for ((value, [s0, s1]), [w0, w1]) in values.iter_mut().zip(samples.as_chunks().0).zip(window) {
        *value = Complex::new(f32::from(*s0) * w0, f32::from(*s1) * w1);
    }
}

/// Sum in an order that the processor can share out.
pub(super) fn sum(values: &[f32]) -> f32 {
    let (eights, rest) = values.as_chunks::<8>();
    let mut sums = [0.0f32; 8];
    for eight in eights {
        for (sum, value) in sums.iter_mut().zip(eight) {
            *sum += value;
        }
    }
    sums.iter().sum::<f32>() + rest.iter().sum::<f32>()
}

/// Place of the largest value, none of which is negative; the last of several.
pub(super) fn largest(values: &[f32]) -> usize {
    let (eights, rest) = values.as_chunks::<8>();
    let mut most = [0.0f32; 8];
    for eight in eights {
        for (most, value) in most.iter_mut().zip(eight) {
            *most = if value > most { *value } else { *most };
        }
    }
    let largest = most.iter().chain(rest).copied().fold(0.0, |a, b| if b > a { b } else { a });
    let is_in = |eight: &[f32; 8]| eight.iter().fold(false, |found, &value| found | (value == largest));
    let behind = rest.iter().rposition(|&value| value == largest).map(|place| 8 * eights.len() + place);
    let place = behind.or_else(|| {
        let block = eights.iter().rposition(is_in)?;
        Some(8 * block + eights.get(block)?.iter().rposition(|&value| value == largest)?)
    });
    place.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn power_is_that_of_the_whole_transform() {
        let wave = |n: i32| ((n * n) as f32 * 0.01).sin() * 9_000.0 + n as f32;
        let samples: Vec<i16> = (0..640).map(|n| wave(n) as i16).collect();
        let mut planner = FftPlanner::new();
        let tables = Box::leak(Box::new(Tables::new(1_024, 640)));
        let mut whole = vec![Complex::default(); 1_024];
        for (slot, (sample, window)) in whole.iter_mut().zip(samples.iter().zip(&tables.hann)) {
            *slot = Complex::new(f32::from(*sample) * window, 0.0);
        }
        planner.plan_fft_forward(1_024).process(&mut whole);

        let mut power = [0.0f32; 512];
        let (older, newer) = samples.split_at(160);
        Spectrum::<512>::new(&mut planner, tables).power([older, newer], 3..500, &mut power);

        let loudest = whole.iter().map(Complex::norm_sqr).fold(0.0, f32::max);
        for (bin, (power, whole)) in power.iter().zip(&whole).enumerate() {
            let expected = if (3..500).contains(&bin) { whole.norm_sqr() } else { 0.0 };
            assert!((power - expected).abs() < 1e-6 * loudest, "{bin}: {power} {expected}");
        }
    }

    #[test]
    fn sums_and_places_of_any_length() {
        for length in 0..40 {
            let values: Vec<f32> = (0..length).map(|n| ((n * 7) % 11) as f32).collect();
            let largest_value = values.iter().copied().fold(0.0, f32::max);

            assert_eq!(sum(&values), values.iter().sum::<f32>());
            assert_eq!(largest(&values), values.iter().rposition(|&value| value == largest_value).unwrap_or(0));
        }
    }
}
