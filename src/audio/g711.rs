//! G.711: 8-bit logarithmic samples at 8 kHz, both laws.
//!
//! The segments of ITU-T G.711 are powers of two: codes and samples are computed from each other by shifts and products
//! alone, without a table, so that the processor does many at once. Linear samples fill 16 bits (mu-law has 14
//! significant ones, A-law 13).

use super::widely;

/// Which of the two logarithms.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Law {
    /// North America, Japan; RTP payload type 0.
    Mu,
    /// Elsewhere; RTP payload type 8.
    A,
}

/// Added before the segment is looked for, so that every mu-law segment starts at a power of two.
const MU_BIAS: u16 = 0x84;
/// Loudest magnitude that mu-law holds, before the bias.
const MU_CLIP: i32 = 32_635;

impl Law {
    /// The linear value of one coded sample.
    #[must_use]
    #[inline(always)]
    pub fn decode(self, code: u8) -> i16 {
        match self {
            Law::Mu => decode_mu(code),
            Law::A => decode_a(code),
        }
    }

    /// Decodes as many samples as both slices hold.
    pub fn decode_into(self, coded: &[u8], linear: &mut [i16]) {
        widely(
            #[inline(always)]
            || {
                let both = linear.iter_mut().zip(coded);
                match self {
                    Law::Mu => both.for_each(|(sample, &code)| *sample = decode_mu(code)),
                    Law::A => both.for_each(|(sample, &code)| *sample = decode_a(code)),
                }
            },
        );
    }

    /// The code nearest to a linear sample.
    #[must_use]
    #[inline(always)]
    pub fn encode(self, sample: i16) -> u8 {
        match self {
            Law::Mu => encode_mu(sample),
            Law::A => encode_a(sample),
        }
    }

    /// Encodes as many samples as both slices hold.
    pub fn encode_into(self, linear: &[i16], coded: &mut [u8]) {
        widely(
            #[inline(always)]
            || {
                let both = coded.iter_mut().zip(linear);
                match self {
                    Law::Mu => both.for_each(|(code, &sample)| *code = encode_mu(sample)),
                    Law::A => both.for_each(|(code, &sample)| *code = encode_a(sample)),
                }
            },
        );
    }

    /// Encodes a whole clip.
    #[must_use]
    pub fn encode_all(self, samples: &[i16]) -> Vec<u8> {
        let mut coded = vec![0; samples.len()];
        self.encode_into(samples, &mut coded);
        coded
    }

    /// The code of digital silence.
    #[must_use]
    pub const fn silence(self) -> u8 {
        match self {
            Law::Mu => 0xFF,
            Law::A => 0xD5,
        }
    }
}

/// 2 to the power of a segment, which has three bits.
#[inline(always)]
fn power(segment: u16) -> u16 {
    (1 + (segment & 1)) * (1 + 3 * (segment >> 1 & 1)) * (1 + 15 * (segment >> 2 & 1))
}

#[inline(always)]
fn decode_mu(code: u8) -> i16 {
    // All bits are inverted on the line.
    let code = u16::from(!code);
    let magnitude = ((code & 0x0F) << 3) + MU_BIAS;
    let magnitude = (magnitude * power(code >> 4 & 7) - MU_BIAS) as i16;
    if code & 0x80 == 0 { magnitude } else { -magnitude }
}

#[inline(always)]
fn decode_a(code: u8) -> i16 {
    // Even bits are inverted on the line; a set sign bit means positive.
    let code = u16::from(code ^ 0x55);
    let segment = code >> 4 & 7;
    // The lowest segment has no leading bit, and is as wide as the next.
    let leading = if segment == 0 { 0 } else { 0x100 };
    let magnitude = ((code & 0x0F) << 4) + 8 + leading;
    let magnitude = (magnitude * power(segment.saturating_sub(1))) as i16;
    if code & 0x80 == 0 { -magnitude } else { magnitude }
}

/// Segment and mantissa of a magnitude: the place of its leading bit, counted from bit 7, and the four bits behind it.
/// They are read off its floating-point form, which consists of them.
#[inline(always)]
fn segment_and_mantissa(magnitude: i32) -> i32 {
    ((magnitude as f32).to_bits() >> 19).cast_signed() - ((127 + 7) << 4)
}

#[inline(always)]
fn encode_mu(sample: i16) -> u8 {
    let sign = if sample < 0 { 0x80 } else { 0 };
    // The bias puts the leading bit at 7 or above, the clip at 14 or below.
    let biased = i32::from(sample).abs().min(MU_CLIP) + i32::from(MU_BIAS);
    !(sign | segment_and_mantissa(biased) as u8)
}

#[inline(always)]
fn encode_a(sample: i16) -> u8 {
    let sign = if sample < 0 { 0 } else { 0x80 };
    // One's complement for negative samples keeps both halves of the scale alike.
    let magnitude = i32::from(if sample < 0 { !sample } else { sample });
    let code = if magnitude < 0x100 { magnitude >> 4 } else { segment_and_mantissa(magnitude) };
    (sign | code as u8) ^ 0x55
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_codes_of_both_laws() {
        // ITU-T G.711 tables 1a to 2b, decoder output values scaled to 16 bits.
        let mu =
            [(0x00, -32_124), (0x80, 32_124), (0x7F, 0), (0xFF, 0), (0xFE, 8), (0x7E, -8), (0xEF, 132), (0xF0, 120)];
        let a = [(0xD5, 8), (0x55, -8), (0xAA, 32_256), (0x2A, -32_256), (0x80, 5_504), (0xC5, 264), (0xDA, 248)];

        for (code, linear) in mu {
            assert_eq!(Law::Mu.decode(code), linear, "mu {code:#x}");
        }
        for (code, linear) in a {
            assert_eq!(Law::A.decode(code), linear, "A {code:#x}");
        }
    }

    #[test]
    fn many_at_once_are_what_each_is() {
        let linear: Vec<i16> = (i16::MIN..=i16::MAX).collect();
        let coded: Vec<u8> = (0..=255).collect();
        for law in [Law::Mu, Law::A] {
            let each: Vec<u8> = linear.iter().map(|&sample| law.encode(sample)).collect();
            assert_eq!(law.encode_all(&linear), each);
            let mut decoded = [0; 256];
            law.decode_into(&coded, &mut decoded);
            assert_eq!(decoded.to_vec(), coded.iter().map(|&code| law.decode(code)).collect::<Vec<_>>());
        }
    }

    #[test]
    fn every_code_survives_a_round_trip() {
        for law in [Law::Mu, Law::A] {
            for code in 0..=255u8 {
                let back = law.encode(law.decode(code));
                // Mu-law has two zeros; the positive one is sent.
                let expected = if law == Law::Mu && code == 0x7F { 0xFF } else { code };
                assert_eq!(back, expected, "{law:?} {code:#x}");
            }
        }
    }

    #[test]
    fn every_sample_is_coded_within_half_a_step() {
        for law in [Law::Mu, Law::A] {
            for sample in i16::MIN..=i16::MAX {
                let error = (i32::from(law.decode(law.encode(sample))) - i32::from(sample)).abs();
                // A step is at most 1/16 of the magnitude (half of that is the error), and 16 near zero.
                let allowed = (i32::from(sample).abs() / 32 + 8).max(16);
                let clipped = i32::from(sample).abs() > 32_124;
                assert!(clipped || error <= allowed, "{law:?} {sample}: error {error}");
            }
        }
    }

    #[test]
    fn silence_decodes_to_next_to_nothing() {
        assert_eq!(Law::Mu.decode(Law::Mu.silence()), 0);
        assert_eq!(Law::A.decode(Law::A.silence()), 8);
    }
}
