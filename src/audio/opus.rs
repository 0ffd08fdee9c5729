//! Opus (RFC 6716) at 8 kHz. The decoder gives that rate whatever a packet holds: voice or music, mono or stereo.
//!
//! RTP counts 48,000 ticks a second (RFC 7587 §4.1). What was lost stays silent: the redundancy in the next packet is
//! not used.

use ropus::{Application, Bitrate, Channels, DecodeMode};

use super::FRAME_SAMPLES;
use crate::units::SampleRate;

/// Most samples of one packet: 120 ms (RFC 6716 §3.2.5).
pub(super) const MOST: usize = 960;

/// Samples that a packet stands for, by its first bytes (RFC 6716 §3.1, §3.2). None: it is no packet of Opus.
pub(super) fn samples(packet: &[u8]) -> Option<usize> {
    let (toc, rest) = packet.split_first()?;
    let size = usize::from(toc >> 3 & 3);
    let frame = match toc >> 3 {
        0..=11 => [80, 160, 320, 480].get(size)?,
        12..=15 => [80, 160].get(size & 1)?,
        _ => [20, 40, 80, 160].get(size)?,
    };
    let frames = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => usize::from(rest.first()? & 0x3F),
    };
    Some(frame * frames).filter(|samples| (1..=MOST).contains(samples))
}

/// Decodes one source, whose packets depend on the ones before them. It takes 100 kB.
pub(super) struct Decoder(Option<ropus::Decoder>);

impl Decoder {
    pub(super) fn new() -> Self {
        // 8 kHz mono is one of the formats that it knows.
        Self(ropus::Decoder::new(SampleRate::TELEPHONE.get(), Channels::Mono).ok())
    }

    /// Writes as many samples as the packet stands for into `linear`, which must be silent. It stays silent where the
    /// packet cannot be decoded, or holds no frame (a pause of the sender).
    pub(super) fn decode(&mut self, packet: &[u8], linear: &mut [i16; MOST]) {
        let Some(decoder) = self.0.as_mut().filter(|_| packet.len() > 1) else { return };
        if decoder.decode(packet, linear, DecodeMode::Normal).is_err() {
            linear.fill(0);
        }
    }
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Decoder")
    }
}

/// Encodes a whole clip at 8 kHz into packets of 20 ms, each of exactly `bytes`. The last one is filled up with
/// silence. Empty if there is no such bit rate (6 to 510 kbit/s).
#[must_use]
pub fn encode_all(samples: &[i16], bytes: usize) -> Vec<u8> {
    let rate = SampleRate::TELEPHONE.get();
    let encoder = ropus::Encoder::builder(rate, Channels::Mono, Application::Voip)
        .bitrate(Bitrate::Bits(bytes as u32 * 8 * 50))
        .vbr(false)
        // Seven times as fast as the highest complexity; the bit rate makes up for it.
        .complexity(0)
        .build();
    let Ok(mut encoder) = encoder else { return Vec::new() };
    let mut coded = Vec::new();
    for frame in samples.chunks(FRAME_SAMPLES) {
        let mut whole = [0; FRAME_SAMPLES];
        whole.iter_mut().zip(frame).for_each(|(to, from)| *to = *from);
        let mut packet = vec![0; bytes];
        match encoder.encode(&whole, &mut packet) {
            Ok(length) if length == bytes => coded.append(&mut packet),
            Ok(_) | Err(_) => return Vec::new(),
        }
    }
    coded
}
