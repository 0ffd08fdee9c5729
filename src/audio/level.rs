//! How loud a run of samples is.

use crate::units::Dbov;

/// Level of digital silence, and of nothing at all (RFC 6464 §3).
const SILENCE: Dbov = Dbov(-127.0);

/// Root mean square relative to a full-scale square wave (RFC 6464 §3).
#[must_use]
pub fn level(samples: &[i16]) -> Dbov {
    if samples.is_empty() {
        return SILENCE;
    }
    // Two squares fit into 32 bits: the processor adds them up in pairs.
    let square = |sample: i16| i32::from(sample).pow(2).unsigned_abs();
    let (pairs, rest) = samples.as_chunks::<2>();
    let energy: u64 = pairs.iter().map(|&[a, b]| u64::from(square(a) + square(b))).sum();
    let energy = energy + rest.iter().map(|&sample| u64::from(square(sample))).sum::<u64>();
    let rms = (energy as f64 / samples.len() as f64).sqrt() / 32_768.0;
    if rms <= 0.0 { SILENCE } else { Dbov(((20.0 * rms.log10()) as f32).clamp(SILENCE.0, 0.0)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn square_wave_is_the_overload_point_and_silence_the_floor() {
        assert!(level(&[i16::MIN; 160]).0.abs() < 0.01);
        assert!(level(&[i16::MIN; 161]).0.abs() < 0.01);
        assert_eq!(level(&[0; 160]), SILENCE);
        assert_eq!(level(&[]), SILENCE);
    }

    #[test]
    fn full_scale_sine_is_three_decibels_down() {
        let sine: Vec<i16> =
            (0..8_000).map(|n| ((n as f32 * std::f32::consts::FRAC_PI_4).sin() * 32_767.0) as i16).collect();

        assert!((level(&sine).0 + 3.01).abs() < 0.05);
    }
}
