//! G.722 at 8 kHz: its lower band alone, because the detectors hear no more.
//!
//! A code of 8 bits stands for two samples at 16 kHz; its lower six bits are the band up to 4 kHz, coded on their own.
//! RTP counts 8,000 ticks a second (RFC 3551 §4.5.2), so that a byte is a sample here, as with G.711.

use audio_codec::g722::{Bitrate, G722Decoder, G722Encoder};
use audio_codec::{Decoder as _, Encoder as _};

use super::wav::to_i16;
use super::{FRAME_SAMPLES, resample};
use crate::units::SampleRate;

/// Decodes one source, whose packets depend on the ones before them.
pub(super) struct Decoder(G722Decoder);

impl Decoder {
    pub(super) fn new() -> Self {
        Self(G722Decoder::with_options(Bitrate::Mode1_64000, false, true))
    }

    /// A sample for each byte. What does not fit is left out.
    pub(super) fn decode(&mut self, coded: &[u8], linear: &mut [i16]) {
        let length = coded.len().min(linear.len());
        // It cannot fail for want of room: each byte makes one sample.
        let _ = self.0.decode_into(coded.get(..length).unwrap_or_default(), linear);
    }
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Decoder")
    }
}

/// Encodes a whole clip at 8 kHz, filled up with silence to whole packets of 20 ms.
#[must_use]
pub fn encode_all(samples: &[i16]) -> Vec<u8> {
    let mut samples: Vec<f32> = samples.iter().map(|&sample| f32::from(sample) / 32_768.0).collect();
    samples.resize(samples.len().next_multiple_of(FRAME_SAMPLES), 0.0);
    // Both rates are among those that are converted.
    let wide = resample(&samples, SampleRate::TELEPHONE, SampleRate::hz(16_000)).unwrap_or_default();
    let wide: Vec<i16> = wide.into_iter().map(to_i16).collect();
    let mut coded = vec![0; samples.len() + 1];
    let length = G722Encoder::new().encode_into(&wide, &mut coded).unwrap_or(0);
    coded.truncate(length);
    coded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(hz: f32, rate: f32, length: usize) -> Vec<i16> {
        (0..length).map(|n| ((std::f32::consts::TAU * hz * n as f32 / rate).sin() * 8_000.0) as i16).collect()
    }

    fn level(samples: &[i16]) -> f32 {
        (samples.iter().map(|&s| f32::from(s) * f32::from(s)).sum::<f32>() / samples.len() as f32).sqrt()
    }

    fn decoded(coded: &[u8]) -> Vec<i16> {
        let mut decoder = Decoder::new();
        let mut out = Vec::new();
        for packet in coded.chunks(FRAME_SAMPLES) {
            let mut linear = vec![0; packet.len()];
            decoder.decode(packet, &mut linear);
            out.extend(linear);
        }
        out
    }

    #[test]
    fn a_wideband_telephone_is_heard_at_its_level() {
        let mut encoder = G722Encoder::new();
        let mut coded = vec![0; 8_001];
        let length = encoder.encode_into(&tone(700.0, 16_000.0, 16_000), &mut coded).unwrap_or(0);

        let heard = decoded(&coded[..length]);

        assert_eq!(heard.len(), 8_000);
        let ratio = level(&heard[800..]) / (8_000.0 / 2f32.sqrt());
        assert!((0.8..1.25).contains(&ratio), "{ratio}");
        let turns = heard[800..7_200].windows(2).filter(|pair| pair[0] < 0 && pair[1] >= 0).count();
        assert!(turns.abs_diff(560) <= 2, "{turns} periods of 700 Hz in 0.8 s");
    }

    #[test]
    fn what_is_encoded_is_whole_packets_and_comes_back() {
        let samples = tone(440.0, 8_000.0, 1_000);

        let coded = encode_all(&samples);
        let heard = decoded(&coded);

        assert_eq!(coded.len(), 1_120);
        let ratio = level(&heard[200..1_000]) / level(&samples[200..]);
        assert!((0.8..1.25).contains(&ratio), "{ratio}");
    }
}
