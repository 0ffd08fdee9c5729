//! How loud a run of samples is.

use super::widely;
use crate::units::Dbov;

/// Level of digital silence, and of nothing at all (RFC 6464 §3).
const SILENCE: Dbov = Dbov(-127.0);

/// The sum of this many samples fits into 31 bits.
const SUMMED: usize = 4_096;

/// Root mean square relative to a full-scale square wave (RFC 6464 §3), of the sound alone: a constant offset, which
/// bad converters add, is heard by nobody and would hide how quiet a pause is.
#[must_use]
pub fn level(samples: &[i16]) -> Dbov {
    if samples.is_empty() {
        return SILENCE;
    }
    let (energy, sum) = widely(
        #[inline(always)]
        || energy_and_sum(samples),
    );
    let count = samples.len() as f64;
    let offset = sum as f64 / count;
    let power = (energy as f64 / count - offset * offset).max(0.0) / (32_768.0 * 32_768.0);
    if power <= 0.0 { SILENCE } else { Dbov(decibels(power).clamp(SILENCE.0, 0.0)) }
}

/// Of a share of full power. By the natural logarithm, which takes half the time of the decimal one.
#[must_use]
pub fn decibels(power: f64) -> f32 {
    (10.0 / std::f64::consts::LN_10 * power.ln()) as f32
}

#[inline(always)]
fn energy_and_sum(samples: &[i16]) -> (u64, i64) {
    let square = |sample: i16| i32::from(sample).pow(2).unsigned_abs();
    let (mut energy, mut sum) = (0u64, 0i64);
    for some in samples.chunks(SUMMED) {
        // Two squares fit into 32 bits: the processor adds them up in pairs.
        let (pairs, rest) = some.as_chunks::<2>();
        energy += pairs.iter().map(|&[a, b]| u64::from(square(a) + square(b))).sum::<u64>();
        energy += rest.iter().map(|&sample| u64::from(square(sample))).sum::<u64>();
        sum += i64::from(some.iter().map(|&sample| i32::from(sample)).sum::<i32>());
    }
    (energy, sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn square_wave_is_the_overload_point_and_silence_the_floor() {
        let square: Vec<i16> = (0..160).map(|n| if n % 2 == 0 { i16::MIN } else { i16::MAX }).collect();

        assert!(level(&square).0.abs() < 0.01);
        assert!((level(&square[..159]).0 - level(&square).0).abs() < 0.01);
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
