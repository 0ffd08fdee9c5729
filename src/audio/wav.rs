//! WAV files: any usual one in, stereo 16-bit out.
//!
//! In: the whole file as bytes; its size is the caller's bound. Out: one `Vec` of samples per channel at the file's own
//! rate. PCM of 8 to 32 bits, 32-bit float, and G.711 (formats 6 and 7), which `hound` does not read; so the chunks are
//! walked here, and `hound` writes. Chunks that lie about their length are read as far as the bytes go.

use std::io::{Seek, Write};

use super::g711::Law;
use super::resample::{BadRate, resample};
use crate::units::SampleRate;

/// `fmt ` tags (RFC 2361 and the WAVE_FORMAT_EXTENSIBLE note).
const PCM: u16 = 1;
const FLOAT: u16 = 3;
const A_LAW: u16 = 6;
const MU_LAW: u16 = 7;
const EXTENSIBLE: u16 = 0xFFFE;

/// Channels that are looked at: the caller's and the callee's.
const MAX_CHANNELS: u16 = 2;

/// A recording, as its file holds it.
#[derive(Clone, Debug, PartialEq)]
pub struct Wav {
    /// Its own rate.
    pub rate: SampleRate,
    /// One or two channels of equal length, full scale 1.0.
    pub channels: Vec<Vec<f32>>,
}

/// Why a file is not read. Told to the operator together with the file's name.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadWav {
    /// Not RIFF/WAVE.
    #[error("not a WAV file")]
    NotWav,
    /// No usable `fmt ` chunk before the data.
    #[error("its format chunk is missing or cut short")]
    NoFormat,
    /// No `data` chunk, or an empty one.
    #[error("it holds no samples")]
    NoData,
    /// A coding that is not read.
    #[error("format {tag} with {bits} bits a sample is not read (PCM 8 to 32, float 32, A-law and mu-law are)")]
    Coding {
        /// `wFormatTag`.
        tag: u16,
        /// Bits per sample.
        bits: u16,
    },
    /// No channel, or more than two.
    #[error("it has {channels} channels; one or two are read (of a call: left the caller, right the callee)")]
    Channels {
        /// As the file says.
        channels: u16,
    },
    /// Rate outside what is converted.
    #[error(transparent)]
    Rate(#[from] BadRate),
    /// Writing failed.
    #[error("it cannot be written: {0}")]
    Write(String),
}

#[derive(Clone, Copy)]
enum Coding {
    Unsigned8,
    Signed16,
    Signed24,
    Signed32,
    Float32,
    G711(Law),
}

struct Format {
    coding: Coding,
    channels: u16,
    rate: SampleRate,
}

impl Wav {
    /// Reads a whole file.
    pub fn read(bytes: &[u8]) -> Result<Self, BadWav> {
        let (Some(b"RIFF"), Some(b"WAVE")) = (bytes.get(..4), bytes.get(8..12)) else {
            return Err(BadWav::NotWav);
        };
        let mut format = None;
        let mut rest = bytes.get(12..).unwrap_or_default();
        while let Some((id, body, after)) = chunk(rest) {
            match id {
                b"fmt " => format = Some(Format::read(body)?),
                b"data" => return format.ok_or(BadWav::NoFormat)?.samples(body),
                _ => {}
            }
            rest = after;
        }
        Err(if format.is_some() { BadWav::NoData } else { BadWav::NoFormat })
    }

    /// Both channels mixed to one.
    #[must_use]
    pub fn mono(&self) -> Vec<f32> {
        match self.channels.as_slice() {
            [left, right] => left.iter().zip(right).map(|(l, r)| (l + r) / 2.0).collect(),
            channels => channels.first().cloned().unwrap_or_default(),
        }
    }

    /// Each channel at 8 kHz, 16 bit.
    pub fn telephone(&self) -> Result<Vec<Vec<i16>>, BadWav> {
        self.channels.iter().map(|channel| to_telephone(channel, self.rate)).collect()
    }

    /// Both channels mixed to one at 8 kHz, 16 bit: a prompt.
    pub fn telephone_mono(&self) -> Result<Vec<i16>, BadWav> {
        to_telephone(&self.mono(), self.rate)
    }
}

/// Writes a call: left the caller, right the callee; the shorter one is filled up with silence.
pub fn write_stereo<W: Write + Seek>(to: W, rate: SampleRate, left: &[i16], right: &[i16]) -> Result<(), BadWav> {
    let spec = hound::WavSpec {
        channels: 2,
        sample_rate: rate.get(),
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let failed = |error: hound::Error| BadWav::Write(error.to_string());
    let mut writer = hound::WavWriter::new(to, spec).map_err(failed)?;
    for n in 0..left.len().max(right.len()) {
        for channel in [left, right] {
            writer.write_sample(channel.get(n).copied().unwrap_or_default()).map_err(failed)?;
        }
    }
    writer.finalize().map_err(failed)
}

/// A sample of full scale 1.0 in 16 bits.
#[must_use]
pub fn to_i16(sample: f32) -> i16 {
    // `as` saturates and turns not-a-number into 0, which is what is wanted.
    (sample * 32_768.0).round() as i16
}

fn to_telephone(samples: &[f32], rate: SampleRate) -> Result<Vec<i16>, BadWav> {
    Ok(resample(samples, rate, SampleRate::TELEPHONE)?.into_iter().map(to_i16).collect())
}

/// First chunk: its name, its body as far as there are bytes, and what follows it.
fn chunk(bytes: &[u8]) -> Option<(&[u8; 4], &[u8], &[u8])> {
    let (id, bytes) = bytes.split_first_chunk::<4>()?;
    let (length, bytes) = bytes.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
    let body = bytes.get(..length).unwrap_or(bytes);
    // Chunks begin at even places.
    let after = bytes.get(length.saturating_add(length & 1)..).unwrap_or_default();
    Some((id, body, after))
}

impl Format {
    fn read(body: &[u8]) -> Result<Self, BadWav> {
        let mut tag = u16_at(body, 0).ok_or(BadWav::NoFormat)?;
        let channels = u16_at(body, 2).ok_or(BadWav::NoFormat)?;
        let rate = body.get(4..).and_then(<[u8]>::first_chunk::<4>).map(|hz| u32::from_le_bytes(*hz));
        let bits = u16_at(body, 14).ok_or(BadWav::NoFormat)?;
        if tag == EXTENSIBLE {
            // The real tag opens the sub-format GUID.
            tag = u16_at(body, 24).ok_or(BadWav::NoFormat)?;
        }
        let coding = match (tag, bits) {
            (PCM, 8) => Coding::Unsigned8,
            (PCM, 16) => Coding::Signed16,
            (PCM, 24) => Coding::Signed24,
            (PCM, 32) => Coding::Signed32,
            (FLOAT, 32) => Coding::Float32,
            (A_LAW, 8) => Coding::G711(Law::A),
            (MU_LAW, 8) => Coding::G711(Law::Mu),
            (tag, bits) => return Err(BadWav::Coding { tag, bits }),
        };
        if channels == 0 || channels > MAX_CHANNELS {
            return Err(BadWav::Channels { channels });
        }
        Ok(Self { coding, channels, rate: SampleRate::hz(rate.ok_or(BadWav::NoFormat)?) })
    }

    fn samples(&self, data: &[u8]) -> Result<Wav, BadWav> {
        let channels = usize::from(self.channels);
        let width = self.coding.bytes();
        let mut out = vec![Vec::with_capacity(data.len() / width / channels); channels];
        for both in data.chunks_exact(width * channels) {
            for (channel, sample) in out.iter_mut().zip(both.chunks_exact(width)) {
                channel.push(self.coding.sample(sample));
            }
        }
        if out.iter().any(Vec::is_empty) {
            return Err(BadWav::NoData);
        }
        Ok(Wav { rate: self.rate, channels: out })
    }
}

impl Coding {
    fn bytes(self) -> usize {
        match self {
            Coding::Unsigned8 | Coding::G711(_) => 1,
            Coding::Signed16 => 2,
            Coding::Signed24 => 3,
            Coding::Signed32 | Coding::Float32 => 4,
        }
    }

    /// One sample of `bytes()` bytes; anything else is silent.
    fn sample(self, bytes: &[u8]) -> f32 {
        match (self, bytes) {
            (Coding::Unsigned8, &[a]) => (f32::from(a) - 128.0) / 128.0,
            (Coding::G711(law), &[a]) => f32::from(law.decode(a)) / 32_768.0,
            (Coding::Signed16, &[a, b]) => f32::from(i16::from_le_bytes([a, b])) / 32_768.0,
            (Coding::Signed24, &[a, b, c]) => (i32::from_le_bytes([0, a, b, c]) as f64 / 2_147_483_648.0) as f32,
            (Coding::Signed32, &[a, b, c, d]) => (i32::from_le_bytes([a, b, c, d]) as f64 / 2_147_483_648.0) as f32,
            (Coding::Float32, &[a, b, c, d]) => {
                let sample = f32::from_le_bytes([a, b, c, d]);
                if sample.is_finite() { sample.clamp(-1.0, 1.0) } else { 0.0 }
            }
            (
                Coding::Unsigned8
                | Coding::G711(_)
                | Coding::Signed16
                | Coding::Signed24
                | Coding::Signed32
                | Coding::Float32,
                _,
            ) => 0.0,
        }
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..).and_then(<[u8]>::first_chunk::<2>).map(|two| u16::from_le_bytes(*two))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use std::io::Cursor;

    fn file(tag: u16, channels: u16, rate: u32, bits: u16, data: &[u8]) -> Vec<u8> {
        let mut out = b"RIFF\0\0\0\0WAVELIST\x03\0\0\0abc\0fmt \x10\0\0\0".to_vec();
        let align = channels * bits / 8;
        out.extend(tag.to_le_bytes());
        out.extend(channels.to_le_bytes());
        out.extend(rate.to_le_bytes());
        out.extend((rate * u32::from(align)).to_le_bytes());
        out.extend(align.to_le_bytes());
        out.extend(bits.to_le_bytes());
        out.extend(b"data");
        out.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
        out.extend(data);
        out
    }

    #[test]
    fn each_coding_reads_half_scale_as_half() {
        let half = 0.5f32.to_le_bytes();
        let cases: [(u16, u16, &[u8]); 5] = [
            (PCM, 8, &[192]),
            (PCM, 16, &[0, 0x40]),
            (PCM, 24, &[0, 0, 0x40]),
            (PCM, 32, &[0, 0, 0, 0x40]),
            (FLOAT, 32, &half),
        ];
        for (tag, bits, data) in cases {
            assert_eq!(Wav::read(&file(tag, 1, 8_000, bits, data)).unwrap().channels, [[0.5]], "{tag} {bits}");
        }
    }

    #[test]
    fn g711_files_are_read() {
        for (tag, law) in [(A_LAW, Law::A), (MU_LAW, Law::Mu)] {
            let wav = Wav::read(&file(tag, 1, 8_000, 8, &law.encode_all(&[0, 8_000, -8_000]))).unwrap();
            let back = wav.telephone_mono().unwrap();

            assert!((back[1] - 8_000).abs() < 300 && (back[2] + 8_000).abs() < 300, "{law:?} {back:?}");
        }
    }

    #[test]
    fn hound_and_we_agree_in_both_directions() {
        let mut written = Cursor::new(Vec::new());
        let left: Vec<i16> = (0..500).map(|n| n * 60).collect();
        let right: Vec<i16> = (0..300).map(|n| -n * 50).collect();

        write_stereo(&mut written, SampleRate::TELEPHONE, &left, &right).unwrap();
        let wav = Wav::read(written.get_ref()).unwrap();
        let channels = wav.telephone().unwrap();

        assert_eq!(channels[0], left);
        assert_eq!(channels[1][..300], right[..]);
        assert!(channels[1][300..].iter().all(|&s| s == 0) && channels[1].len() == 500);
        for (bits, format) in
            [(8, hound::SampleFormat::Int), (24, hound::SampleFormat::Int), (32, hound::SampleFormat::Float)]
        {
            let mut file = Cursor::new(Vec::new());
            let spec =
                hound::WavSpec { channels: 1, sample_rate: 44_100, bits_per_sample: bits, sample_format: format };
            let mut writer = hound::WavWriter::new(&mut file, spec).unwrap();
            match format {
                hound::SampleFormat::Int => writer.write_sample(1i32 << (bits - 2)).unwrap(),
                hound::SampleFormat::Float => writer.write_sample(0.5f32).unwrap(),
            }
            writer.finalize().unwrap();
            // 24 and 32 bits are written by `hound` as WAVE_FORMAT_EXTENSIBLE.
            assert_eq!(Wav::read(file.get_ref()).unwrap().channels, [[0.5]], "{bits}");
        }
    }

    #[test]
    fn broken_files_say_what_is_wrong() {
        let good = file(PCM, 1, 8_000, 16, &[1, 2, 3, 4]);
        assert_eq!(Wav::read(b"no"), Err(BadWav::NotWav));
        assert_eq!(Wav::read(&good[..30]), Err(BadWav::NoFormat));
        assert_eq!(Wav::read(&file(PCM, 1, 8_000, 16, &[])), Err(BadWav::NoData));
        assert_eq!(Wav::read(&file(PCM, 3, 8_000, 16, &[0; 12])), Err(BadWav::Channels { channels: 3 }));
        assert_eq!(Wav::read(&file(2, 1, 8_000, 4, &[0; 12])), Err(BadWav::Coding { tag: 2, bits: 4 }));
        assert!(matches!(
            Wav::read(&file(PCM, 1, 1, 16, &[0; 12])).unwrap().telephone_mono(),
            Err(BadWav::Rate(BadRate { hz: 1 }))
        ));
    }

    #[test]
    fn no_cut_and_no_lie_about_length_panics() {
        let good = file(PCM, 2, 8_000, 24, &[7; 60]);
        for end in 0..good.len() {
            let _ = Wav::read(&good[..end]);
        }
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] = 0xFF;
            let _ = Wav::read(&bad);
        }
    }
}
