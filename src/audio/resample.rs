//! From one sample rate to another, with the low-pass that goes with it.
//!
//! For whole clips (prompts, recordings, a few seconds for the speech model), not for streams: each call stands alone.

use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Fft, FixedSync, Resampler, WindowFunction};

use crate::units::SampleRate;

/// Lowest and highest rate that a telephone recording comes in.
const RATES: std::ops::RangeInclusive<u32> = 4_000..=192_000;

/// The transform works on this part of a second at once: its filter is then about that long, steep at every rate.
const CHUNKS_PER_SECOND: usize = 10;

/// A sample rate that no audio of ours has.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a sample rate of {hz} Hz cannot be converted (4000 to 192000 Hz can)")]
pub struct BadRate {
    /// The rate asked for.
    pub hz: u32,
}

/// `samples` (full scale: 1.0) at `to` instead of `from`. As long as before, to the sample, and not delayed.
pub fn resample(samples: &[f32], from: SampleRate, to: SampleRate) -> Result<Vec<f32>, BadRate> {
    for rate in [from, to] {
        if !RATES.contains(&rate.get()) {
            return Err(BadRate { hz: rate.get() });
        }
    }
    if from == to || samples.is_empty() {
        return Ok(samples.to_vec());
    }
    convert(samples, from, to).ok_or(BadRate { hz: from.get() })
}

fn convert(samples: &[f32], from: SampleRate, to: SampleRate) -> Option<Vec<f32>> {
    let (rate_in, rate_out) = (from.get() as usize, to.get() as usize);
    let chunk = rate_in / CHUNKS_PER_SECOND;
    let window = WindowFunction::BlackmanHarris2;
    let mut fft = Fft::<f32>::new_custom(rate_in, rate_out, chunk, 1, 1, window, FixedSync::Input).ok()?;
    let input = InterleavedSlice::new(samples, 1, samples.len()).ok()?;
    let output = fft.process_all(&input, samples.len(), None).ok()?;
    Some(output.take_data())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn tone(hz: f32, rate: u32, seconds: f32) -> Vec<f32> {
        (0..(rate as f32 * seconds) as usize)
            .map(|n| (std::f32::consts::TAU * hz * n as f32 / rate as f32).sin() * 0.5)
            .collect()
    }

    /// Root mean square of the middle, in decibels relative to the 0.5 sine that went in.
    fn gain(samples: &[f32]) -> f32 {
        let middle = &samples[samples.len() / 4..samples.len() * 3 / 4];
        let rms = (middle.iter().map(|s| s * s).sum::<f32>() / middle.len() as f32).sqrt();
        20.0 * (rms / (0.5 / 2f32.sqrt())).log10()
    }

    #[test]
    fn speech_band_keeps_its_level_from_any_rate() {
        for rate in [11_025, 16_000, 22_050, 44_100, 48_000, 96_000] {
            let out = resample(&tone(1_000.0, rate, 1.0), SampleRate::hz(rate), SampleRate::TELEPHONE).unwrap();

            assert!(out.len().abs_diff(8_000) <= 1, "{rate}: {} samples", out.len());
            assert!(gain(&out).abs() < 0.1, "{rate}: {} dB", gain(&out));
        }
    }

    #[test]
    fn what_telephony_cannot_hold_does_not_fold_back() {
        for hz in [4_600.0, 5_500.0, 7_000.0] {
            let out = resample(&tone(hz, 16_000, 1.0), SampleRate::hz(16_000), SampleRate::TELEPHONE).unwrap();

            assert!(gain(&out) < -60.0, "{hz}: {} dB", gain(&out));
        }
    }

    #[test]
    fn up_for_the_speech_model_and_not_delayed() {
        let mut click = vec![0.0; 8_000];
        click[4_000] = 1.0;

        let out = resample(&click, SampleRate::TELEPHONE, SampleRate::hz(16_000)).unwrap();
        let loudest = (0..out.len()).max_by(|&a, &b| out[a].abs().total_cmp(&out[b].abs())).unwrap();

        assert_eq!(out.len(), 16_000);
        assert!(loudest.abs_diff(8_000) <= 1, "{loudest}");
    }

    #[test]
    fn senseless_rates_are_refused() {
        assert_eq!(resample(&[0.0], SampleRate::hz(0), SampleRate::TELEPHONE), Err(BadRate { hz: 0 }));
        assert!(resample(&[0.0], SampleRate::TELEPHONE, SampleRate::hz(4_000_000_000)).is_err());
    }

    #[test]
    fn awkward_rates_still_work() {
        let out = resample(&tone(500.0, 11_127, 0.5), SampleRate::hz(11_127), SampleRate::TELEPHONE).unwrap();

        assert!(out.len().abs_diff(4_000) <= 1);
    }
}
