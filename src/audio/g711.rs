//! G.711: 8-bit logarithmic samples at 8 kHz, both laws.
//!
//! Decoding is a table look-up, built at compile time; encoding works on the sign and the leading bit as ITU-T G.711
//! defines the segments. Linear samples fill 16 bits (mu-law has 14 significant ones, A-law 13).

/// Which of the two logarithms.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Law {
    /// North America, Japan; RTP payload type 0.
    Mu,
    /// Elsewhere; RTP payload type 8.
    A,
}

/// Added before the segment is looked for, so that every mu-law segment starts at a power of two.
const MU_BIAS: i32 = 0x84;
/// Loudest magnitude that mu-law holds, before the bias.
const MU_CLIP: i32 = 32_635;

static MU: [i16; 256] = table(Law::Mu);
static A: [i16; 256] = table(Law::A);

impl Law {
    /// The linear value of one coded sample.
    #[must_use]
    pub fn decode(self, code: u8) -> i16 {
        self.table()[usize::from(code)]
    }

    /// Decodes as many samples as both slices hold.
    pub fn decode_into(self, coded: &[u8], linear: &mut [i16]) {
        let table = self.table();
        for (sample, &code) in linear.iter_mut().zip(coded) {
            *sample = table[usize::from(code)];
        }
    }

    /// The code nearest to a linear sample.
    #[must_use]
    pub fn encode(self, sample: i16) -> u8 {
        match self {
            Law::Mu => encode_mu(sample),
            Law::A => encode_a(sample),
        }
    }

    /// Encodes a whole clip.
    #[must_use]
    pub fn encode_all(self, samples: &[i16]) -> Vec<u8> {
        samples.iter().map(|&sample| self.encode(sample)).collect()
    }

    /// The code of digital silence.
    #[must_use]
    pub const fn silence(self) -> u8 {
        match self {
            Law::Mu => 0xFF,
            Law::A => 0xD5,
        }
    }

    fn table(self) -> &'static [i16; 256] {
        match self {
            Law::Mu => &MU,
            Law::A => &A,
        }
    }
}

const fn table(law: Law) -> [i16; 256] {
    let mut table = [0i16; 256];
    let mut code = 0usize;
    while code < 256 {
        table[code] = match law {
            Law::Mu => decode_mu(code as u8),
            Law::A => decode_a(code as u8),
        };
        code += 1;
    }
    table
}

const fn decode_mu(code: u8) -> i16 {
    // All bits are inverted on the line.
    let code = !code;
    let segment = (code >> 4) & 7;
    let magnitude = ((((code & 0x0F) as i32) << 3) + MU_BIAS) << segment;
    let magnitude = magnitude - MU_BIAS;
    (if code & 0x80 == 0 { magnitude } else { -magnitude }) as i16
}

const fn decode_a(code: u8) -> i16 {
    // Even bits are inverted on the line; a set sign bit means positive.
    let code = code ^ 0x55;
    let segment = (code >> 4) & 7;
    let step = ((code & 0x0F) as i32) << 4;
    let magnitude = if segment == 0 { step + 8 } else { (step + 0x108) << (segment - 1) };
    (if code & 0x80 == 0 { -magnitude } else { magnitude }) as i16
}

fn encode_mu(sample: i16) -> u8 {
    let sign = if sample < 0 { 0x80 } else { 0 };
    let biased = i32::from(sample).abs().min(MU_CLIP) + MU_BIAS;
    // The bias puts the leading bit at 7 or above, the clip at 14 or below.
    let segment = 24_u32.saturating_sub(biased.leading_zeros());
    let mantissa = (biased >> (segment + 3)) & 0x0F;
    !(sign | (segment as u8) << 4 | mantissa as u8)
}

fn encode_a(sample: i16) -> u8 {
    let sign = if sample < 0 { 0 } else { 0x80 };
    // One's complement for negative samples keeps both halves of the scale alike.
    let magnitude = i32::from(if sample < 0 { !sample } else { sample });
    let segment = 24_u32.saturating_sub(magnitude.leading_zeros());
    let shift = segment.max(1) + 3;
    let mantissa = (magnitude >> shift) & 0x0F;
    (sign | (segment as u8) << 4 | mantissa as u8) ^ 0x55
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
