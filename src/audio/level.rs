//! How loud a run of samples is.

use crate::units::Dbov;

/// Level of digital silence, and of nothing at all (RFC 6464 §3).
const SILENCE: Dbov = Dbov(-127.0);

/// Root mean square relative to a full-scale square wave (RFC 6464 §3), of the sound alone: a constant offset, which
/// bad converters add, is heard by nobody and would hide how quiet a pause is.
#[must_use]
pub fn level(samples: &[i16]) -> Dbov {
    if samples.is_empty() {
        return SILENCE;
    }
    let energy: u64 = samples.iter().map(|&sample| u64::from(i32::from(sample).pow(2).unsigned_abs())).sum();
    let sum: i64 = samples.iter().map(|&sample| i64::from(sample)).sum();
    let count = samples.len() as f64;
    let offset = sum as f64 / count;
    let rms = (energy as f64 / count - offset * offset).max(0.0).sqrt() / 32_768.0;
    if rms <= 0.0 { SILENCE } else { Dbov(((20.0 * rms.log10()) as f32).clamp(SILENCE.0, 0.0)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn square_wave_is_the_overload_point_and_silence_the_floor() {
        let square: Vec<i16> = (0..160).map(|n| if n % 2 == 0 { i16::MIN } else { i16::MAX }).collect();

        assert!(level(&square).0.abs() < 0.01);
        assert_eq!(level(&[0; 160]), SILENCE);
        assert_eq!(level(&[]), SILENCE);
    }

    #[test]
    fn a_constant_offset_is_no_sound() {
        assert_eq!(level(&[3_000; 160]), SILENCE);
        assert!((level(&[2_900, 3_100].repeat(80)).0 - level(&[-100, 100].repeat(80)).0).abs() < 0.1);
    }

    #[test]
    fn full_scale_sine_is_three_decibels_down() {
        let sine: Vec<i16> =
            (0..8_000).map(|n| ((n as f32 * std::f32::consts::FRAC_PI_4).sin() * 32_767.0) as i16).collect();

        assert!((level(&sine).0 + 3.01).abs() < 0.05);
    }
}
