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
    let energy: u64 = samples.iter().map(|&sample| u64::from(i32::from(sample).pow(2).unsigned_abs())).sum();
    let rms = (energy as f64 / samples.len() as f64).sqrt() / 32_768.0;
    if rms <= 0.0 { SILENCE } else { Dbov(((20.0 * rms.log10()) as f32).clamp(SILENCE.0, 0.0)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn square_wave_is_the_overload_point_and_silence_the_floor() {
        assert!(level(&[i16::MIN; 160]).0.abs() < 0.01);
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
