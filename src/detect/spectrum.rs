//! Power spectrum of one window of real samples.
//!
//! In: samples and a window. Out: the power of the bins that are asked for. N real samples are transformed as N/2
//! complex ones, and the result is taken apart afterwards, which is half the work. Nothing is kept between windows. The
//! buffers of a transform belong to the thread: they are still in the cache from the last call, as a call's own would
//! not be.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::Arc;

use rustfft::num_complex::Complex;
use rustfft::{Fft, FftPlanner};

use crate::audio::widely;

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

    /// Gives `take` the power of the bins in `bins`, whose first must be above 0. The window comes in two parts, as it
    /// lies in a ring: the older one first, each of an even length.
    pub(super) fn power<R>(&self, samples: [&[i16]; 2], bins: Range<usize>, take: impl FnOnce(&mut [f32]) -> R) -> R {
        ROOM.with_borrow_mut(|room| {
            let Room { values, scratch, power } = room;
            let wanted = self.fft.get_inplace_scratch_len();
            for (room, length) in [(&mut *values, HALF), (&mut *scratch, wanted)] {
                if room.len() < length {
                    room.resize(length, Complex::default());
                }
            }
            if power.len() < HALF {
                power.resize(HALF, 0.0);
            }
            let (Some(values), Some(scratch)) = (values.get_mut(..HALF), scratch.get_mut(..wanted)) else {
                return take(&mut []);
            };
            widely(
                #[inline(always)]
                || self.weigh(samples, values),
            );
            self.fft.process_with_scratch(values, scratch);
            let bins = bins.start..bins.end.min(HALF);
            widely(
                #[inline(always)]
                || self.take_apart(values, bins.clone(), power),
            );
            take(power.get_mut(bins).unwrap_or_default())
        })
    }

    /// Samples under the window, in pairs, and nothing behind them.
    #[inline(always)]
    fn weigh(&self, [older, newer]: [&[i16]; 2], values: &mut [Complex<f32>]) {
        let ((hann, _), middle) = (self.tables.hann.as_chunks::<2>(), older.len() / 2);
        let (values, padding) = values.split_at_mut(hann.len().min(values.len()));
        padding.fill(Complex::default());
        if let Some(((early, late), (rise, fall))) =
            values.split_at_mut_checked(middle).zip(hann.split_at_checked(middle))
        {
            weigh(older, rise, early);
            weigh(newer, fall, late);
        }
    }

    /// The power of `bins` out of the transform of half the length. A bin and the one that is as far from the other end
    /// come out of the same two values, so both are made at once.
    #[inline(always)]
    fn take_apart(&self, values: &[Complex<f32>], bins: Range<usize>, power: &mut [f32]) {
        let from = bins.start.min(HALF + 1 - bins.end);
        let (near, far) = (from..HALF / 2, HALF / 2 + 1..HALF + 1 - from);
        let Some((lower, upper)) = power.split_at_mut_checked(HALF / 2) else { return };
        let (Some(forth), Some(back), Some(turns), Some(lower), Some((middle, upper)), Some(of_middle)) = (
            values.get(near.clone()),
            values.get(far),
            self.tables.turns.get(near.clone()),
            lower.get_mut(near),
            upper.get_mut(..HALF / 2 + 1 - from).and_then(<[f32]>::split_first_mut),
            values.get(HALF / 2),
        ) else {
            return;
        };
        let slots = lower.iter_mut().zip(upper.iter_mut());
        for (((slot, mirrored), turn), (a, b)) in slots.zip(turns).zip(forth.iter().zip(back.iter().rev())) {
            // The even samples' part, and the odd ones' turned by -90 degrees; both twice.
            let even = Complex::new(a.re + b.re, a.im - b.im);
            let odd = Complex::new(a.im + b.im, b.re - a.re);
            let turned = Complex::new(turn.re * odd.re - turn.im * odd.im, turn.re * odd.im + turn.im * odd.re);
            let power = |re: f32, im: f32| 0.25 * (re * re + im * im);
            *slot = power(even.re + turned.re, even.im + turned.im);
            *mirrored = power(even.re - turned.re, even.im - turned.im);
        }
        *middle = of_middle.norm_sqr();
        upper.reverse();
    }
}

/// What the transforms of a thread work in.
#[derive(Default)]
struct Room {
    values: Vec<Complex<f32>>,
    scratch: Vec<Complex<f32>>,
    power: Vec<f32>,
}

thread_local! {
    static ROOM: RefCell<Room> = RefCell::default();
}

/// Samples under their part of a window, in pairs.
#[inline(always)]
fn weigh(samples: &[i16], window: &[[f32; 2]], values: &mut [Complex<f32>]) {
    for ((value, [s0, s1]), [w0, w1]) in values.iter_mut().zip(samples.as_chunks().0).zip(window) {
        *value = Complex::new(f32::from(*s0) * w0, f32::from(*s1) * w1);
    }
}

/// Sum in an order that the processor can share out.
#[inline(always)]
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
#[inline(always)]
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

        let (older, newer) = samples.split_at(160);
        let spectrum = Spectrum::<512>::new(&mut planner, tables);
        // The room of the thread holds what a longer window has left.
        let longer = Box::leak(Box::new(Tables::new(2_048, 2_048)));
        Spectrum::<1_024>::new(&mut planner, longer).power([&[9_000; 2_048], &[]], 1..1_024, |_| ());
        let power = spectrum.power([older, newer], 3..500, |power| power.to_vec());

        let loudest = whole.iter().map(Complex::norm_sqr).fold(0.0, f32::max);
        assert_eq!(power.len(), 497);
        for (bin, (power, whole)) in (3..).zip(power.iter().zip(whole.iter().skip(3))) {
            let expected = whole.norm_sqr();
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
