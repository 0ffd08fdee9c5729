//! Keys pressed as tones in the audio itself, in G.711 (ITU-T Q.23, Q.24).
//!
//! In: the payloads of one leg, in their order. Out: payloads in which no receiver finds a key any more, and the key
//! that was in them, once per press. A receiver must not take less than 23 ms of a tone for a key (Q.24), and every
//! stretch of that length fills three quarters of a window, wherever its packets begin.

use super::companding::Companding;
use crate::units::SampleRate;

/// Rows and columns of the keys, in hertz (ITU-T Q.23).
const ROWS: [f32; 4] = [697.0, 770.0, 852.0, 941.0];
const COLUMNS: [f32; 4] = [1_209.0, 1_336.0, 1_477.0, 1_633.0];
const KEYS: [[char; 4]; 4] = [['1', '2', '3', 'A'], ['4', '5', '6', 'B'], ['7', '8', '9', 'C'], ['*', '0', '#', 'D']];

/// 20 ms: long enough to part neighbouring rows, and to find a line spread that is 3.5 % away, which is no key (Q.24).
const WINDOW: usize = 160;
/// From one window to the next.
const HOP: usize = WINDOW / 2;

/// Mean square below which no receiver listens: -42 dBov; the faintest tone that a key may have is -29 dBm0.
const FAINTEST: f32 = 68_000.0;
/// Share of a window's energy in both lines together. A tone in silence that fills three quarters of a window has that
/// much of it; speech spreads over more lines.
const SHARE: f32 = 0.7;
/// One line is at most 8 dB louder than the other (Q.24 allows for 4 to 8).
const TWIST: f32 = 6.3;

/// Windows that make a press: 40 ms, which every receiver must take (Q.24).
const SHORTEST: u8 = 3;
/// Windows after which a press is told though it goes on. One that a gateway takes out and sends as an event instead
/// has ended by then.
const LONG: u8 = 9;
/// Windows without a tone that do not end a press: a gap of 10 ms in it is none (Q.24).
const GAP: u8 = 2;

/// What was heard of one leg so far.
#[derive(Clone, Debug)]
pub struct Tones {
    /// Twice the cosine of each line's angle from one sample to the next (Goertzel).
    rows: [f32; 4],
    columns: [f32; 4],
    /// Half of a window that has been looked at, and what has come since.
    window: [f32; WINDOW],
    filled: usize,
    press: Option<HeardTone>,
}

#[derive(Clone, Copy, Debug)]
struct HeardTone {
    key: char,
    windows: u8,
    misses: u8,
    told: bool,
}

impl Default for Tones {
    fn default() -> Self {
        Self::new()
    }
}

impl Tones {
    /// Nothing has been heard.
    #[must_use]
    pub fn new() -> Self {
        let clock = SampleRate::TELEPHONE.get() as f32;
        let twice_cosine = |hz: f32| 2.0 * (std::f32::consts::TAU * hz / clock).cos();
        Self {
            rows: ROWS.map(twice_cosine),
            columns: COLUMNS.map(twice_cosine),
            window: [0.0; WINDOW],
            filled: HOP,
            press: None,
        }
    }

    /// The key whose tone sounds.
    #[must_use]
    pub(crate) fn sounding(&self) -> Option<char> {
        self.press.map(|press| press.key)
    }

    /// Hears a payload; the key of a press that has been long enough by now.
    pub fn hear(&mut self, law: Companding, payload: &[u8]) -> Option<char> {
        self.look(law, payload, None).1
    }

    /// Fills a payload with the code of `silence` if there is a key's tone in it, or `only` this one's; the key of a
    /// press that has been long enough by now.
    pub fn silence(&mut self, law: Companding, silence: u8, payload: &mut [u8], only: Option<char>) -> Option<char> {
        let (found, told) = self.look(law, payload, only);
        if found {
            payload.fill(silence);
        }
        told
    }

    /// Whether there is a key's tone in a payload, or `only` this one's; the key of a press that has been long enough
    /// by now.
    fn look(&mut self, law: Companding, payload: &[u8], only: Option<char>) -> (bool, Option<char>) {
        let wanted = |key: char| only.is_none_or(|only| only == key);
        let (mut looked, mut found, mut told) = (false, false, None);
        for &code in payload {
            if let Some(sample) = self.window.get_mut(self.filled) {
                *sample = f32::from((law.decode)(code));
            }
            self.filled += 1;
            if self.filled == WINDOW {
                let key = self.key();
                self.window.copy_within(HOP.., 0);
                self.filled = HOP;
                (looked, found) = (true, found || key.is_some_and(wanted));
                told = self.count(key).or(told);
            }
        }
        // Payloads shorter than a hop end between two windows.
        let sounds = self.press.is_some_and(|press| press.misses == 0 && wanted(press.key));
        (found || !looked && sounds, told)
    }

    /// The key whose two lines are nearly all that is in the window.
    fn key(&self) -> Option<char> {
        let energy: f32 = self.window.iter().map(|sample| sample * sample).sum();
        if energy < FAINTEST * WINDOW as f32 {
            return None;
        }
        let (row, low) = self.strongest(&self.rows);
        let (column, high) = self.strongest(&self.columns);
        // A sine has half of its amplitude's square as energy, a line half of the window's length times it as
        // amplitude.
        let share = 2.0 * (low + high) / (WINDOW as f32 * energy);
        let even = low <= high * TWIST && high <= low * TWIST;
        (share >= SHARE && even).then(|| KEYS.get(row)?.get(column).copied()).flatten()
    }

    /// Number and power of the strongest of four lines.
    fn strongest(&self, lines: &[f32; 4]) -> (usize, f32) {
        let mut before = [[0.0_f32; 2]; 4];
        for &sample in &self.window {
            for (line, [last, one_before]) in lines.iter().zip(&mut before) {
                let next = sample + line * *last - *one_before;
                (*one_before, *last) = (*last, next);
            }
        }
        let power = |(line, [last, one_before]): (&f32, &[f32; 2])| {
            last * last + one_before * one_before - line * last * one_before
        };
        let powers = lines.iter().zip(&before).map(power);
        powers.enumerate().max_by(|(_, one), (_, other)| one.total_cmp(other)).unwrap_or((0, 0.0))
    }

    /// Counts a window; the key of a press that is to be told now.
    fn count(&mut self, key: Option<char>) -> Option<char> {
        match (&mut self.press, key) {
            (Some(press), Some(key)) if press.key == key => {
                press.windows = press.windows.saturating_add(1);
                press.misses = 0;
            }
            (Some(press), None) if press.misses < GAP => press.misses += 1,
            (press, key) => {
                let ended = press.take().filter(|press| !press.told && press.windows >= SHORTEST);
                *press = key.map(|key| HeardTone { key, windows: 1, misses: 0, told: false });
                return ended.map(|press| press.key);
            }
        }
        let press = self.press.as_mut().filter(|press| !press.told && press.windows >= LONG)?;
        press.told = true;
        Some(press.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::g711::Law;
    use crate::io::media::LAWS;

    const BOTH: [Law; 2] = [Law::Mu, Law::A];

    /// Sines of these frequencies and amplitudes.
    fn sines(lines: &[(f32, f32)], samples: usize) -> Vec<f32> {
        let at = |n: usize| {
            lines.iter().map(|(hz, height)| height * (std::f32::consts::TAU * hz * n as f32 / 8_000.0).sin()).sum()
        };
        (0..samples).map(at).collect()
    }

    fn tone(key: char, height: f32, samples: usize) -> Vec<f32> {
        let at = KEYS.iter().enumerate().find_map(|(row, keys)| Some((row, keys.iter().position(|&k| k == key)?)));
        let (row, column) = at.unwrap_or_default();
        sines(&[(ROWS[row], height), (COLUMNS[column], height)], samples)
    }

    fn silence(samples: usize) -> Vec<f32> {
        vec![0.0; samples]
    }

    /// What comes out of it in packets of so many samples, decoded; the keys told; packets silenced.
    fn through(audio: &[f32], law: Law, packet: usize) -> (Vec<i16>, String, usize) {
        let (mut tones, mut out, mut keys, mut silenced) = (Tones::new(), Vec::new(), String::new(), 0);
        for samples in audio.chunks(packet) {
            let mut payload: Vec<u8> = samples.iter().map(|&sample| law.encode(sample as i16)).collect();
            let before = payload.clone();
            let companding = if law == Law::Mu { LAWS.pcmu } else { LAWS.pcma };
            keys.extend(tones.silence(companding, law.silence(), &mut payload, None));
            silenced += usize::from(payload != before);
            out.extend(payload.iter().map(|&code| law.decode(code)));
        }
        (out, keys, silenced)
    }

    /// Longest stretch that is louder than silence, in milliseconds.
    fn longest(samples: &[i16]) -> usize {
        let loud = samples.chunks(8).map(|ms| ms.iter().any(|&sample| sample.unsigned_abs() > 100));
        loud.fold((0, 0), |(most, now), loud| if loud { (most.max(now + 1), now + 1) } else { (most, 0) }).0
    }

    #[test]
    fn every_key_is_told_once_and_nothing_long_enough_for_a_receiver_is_left_of_it() {
        for law in BOTH {
            for packet in [40, 80, 160, 240, 480] {
                // The press begins anywhere in a packet.
                for (number, &key) in KEYS.as_flattened().iter().enumerate() {
                    let before = 1_000 + 37 * number;
                    let audio = [silence(before), tone(key, 6_000.0, 800), silence(1_600)].concat();
                    let (out, keys, _) = through(&audio, law, packet);

                    assert_eq!(keys, key.to_string(), "{law:?} {packet}");
                    assert!(longest(&out) < 23, "{law:?} {packet} {key}: {} ms are left", longest(&out));
                }
            }
        }
    }

    #[test]
    fn faint_slanted_noisy_and_detuned_keys_are_found() {
        let noise = |height: f32| move |n: usize| ((n * 7_919 % 1_009) as f32 / 504.5 - 1.0) * height;
        let pressed = |lines: [(f32, f32); 2]| [silence(333), sines(&lines, 640), silence(800)].concat();
        // Amplitudes of about -29 dBm0 each, and 6 dB apart; a hundredth beside; noise 12 dB below.
        let faint = pressed([(770.0, 800.0), (1_336.0, 800.0)]);
        let slanted = pressed([(770.0, 3_000.0), (1_336.0, 6_000.0)]);
        let beside = pressed([(777.7, 4_000.0), (1_322.6, 4_000.0)]);
        let clean = pressed([(770.0, 4_000.0), (1_336.0, 4_000.0)]);
        let noisy = clean.iter().enumerate().map(|(n, sample)| sample + noise(1_700.0)(n)).collect();
        for audio in [faint, slanted, beside, noisy] {
            assert_eq!(through(&audio, Law::A, 160).1, "5");
        }
    }

    #[test]
    fn two_presses_are_two_and_a_hole_in_one_is_none() {
        let twice = [tone('9', 5_000.0, 800), silence(800), tone('9', 5_000.0, 400), silence(800)].concat();
        let hole = [tone('9', 5_000.0, 800), silence(80), tone('9', 5_000.0, 800), silence(800)].concat();
        let long = [tone('1', 5_000.0, 8_000), tone('2', 5_000.0, 800), silence(400)].concat();

        assert_eq!(through(&twice, Law::Mu, 160).1, "99");
        assert_eq!(through(&hole, Law::Mu, 160).1, "9");
        assert_eq!(through(&long, Law::Mu, 160).1, "12");
    }

    #[test]
    fn one_line_two_notes_and_progress_tones_pass() {
        let sounds: [&[(f32, f32)]; 9] = [
            &[(770.0, 8_000.0)],
            &[(1_336.0, 8_000.0)],
            // A4 and E5, G5 and D6, C6 and E6: notes of music.
            &[(440.0, 5_000.0), (659.3, 5_000.0)],
            &[(784.0, 5_000.0), (1_174.7, 5_000.0)],
            &[(1_046.5, 5_000.0), (1_318.5, 5_000.0)],
            // Ringback, busy, and a call waiting.
            &[(400.0, 5_000.0), (450.0, 5_000.0)],
            &[(480.0, 5_000.0), (620.0, 5_000.0)],
            &[(440.0, 5_000.0)],
            // 3.5 % beside: no key (Q.24).
            &[(797.0, 5_000.0), (1_383.0, 5_000.0)],
        ];
        for lines in sounds {
            let (_, keys, silenced) = through(&sines(lines, 8_000), Law::A, 160);
            assert_eq!((keys.as_str(), silenced), ("", 0), "{lines:?}");
        }
    }
}
