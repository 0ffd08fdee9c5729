//! The caller's last seconds, for whoever recognises words.
//!
//! In: frames. Out: the same samples, to the bit. What came as G.711 is kept as G.711, in half the memory, and digital
//! silence as nothing. Memory is taken as the audio comes and given back as it is forgotten.

use std::collections::VecDeque;

use crate::audio::g711::Law;
use crate::audio::{FRAME_SAMPLES, FRAME_TIME};
use crate::units::CallTime;

/// Frames kept at most, 25 s: the longest window that words are recognised in (8 s), the time for which a run over it
/// may be put off when the caller has finished (16 s), and some to spare.
const MOST: usize = 1_250;

#[derive(Clone, Debug)]
enum Samples {
    Silent,
    Coded(Law, Box<[u8; FRAME_SAMPLES]>),
    Linear(Box<[i16; FRAME_SAMPLES]>),
}

impl Samples {
    /// Tries `law` first.
    fn new(samples: &[i16; FRAME_SAMPLES], law: Law) -> Self {
        if samples.iter().all(|&sample| sample == 0) {
            return Self::Silent;
        }
        let other = if law == Law::A { Law::Mu } else { Law::A };
        for law in [law, other] {
            let (mut coded, mut back) = ([0; FRAME_SAMPLES], [0; FRAME_SAMPLES]);
            law.encode_into(samples, &mut coded);
            law.decode_into(&coded, &mut back);
            if back == *samples {
                return Self::Coded(law, Box::new(coded));
            }
        }
        Self::Linear(Box::new(*samples))
    }
}

/// Audio of one leg, up to now.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    frames: VecDeque<Samples>,
    /// End of the last frame.
    end: CallTime,
    /// Of the last frame that came as G.711: most likely of the next one too.
    law: Law,
    /// False: nothing is kept any more.
    wanted: bool,
}

impl Kept {
    pub(super) fn new() -> Self {
        Self { frames: VecDeque::new(), end: CallTime::ZERO, law: Law::A, wanted: true }
    }

    /// The next frame, which ends at `end`.
    pub(super) fn push(&mut self, samples: &[i16; FRAME_SAMPLES], end: CallTime) {
        if !self.wanted {
            return;
        }
        let samples = Samples::new(samples, self.law);
        if let Samples::Coded(law, _) = samples {
            self.law = law;
        }
        if self.frames.len() >= MOST {
            self.frames.pop_front();
        }
        self.frames.push_back(samples);
        self.end = end;
    }

    /// From now on nothing is kept: nobody will ask for it.
    pub(super) fn nothing(&mut self) {
        self.wanted = false;
        self.frames = VecDeque::new();
    }

    /// Nobody will ask for what lies before this time.
    pub(super) fn forget_before(&mut self, from: CallTime) {
        let needed = self.end.since(from).as_millis().div_ceil(FRAME_TIME.as_millis()) as usize;
        while self.frames.len() > needed {
            self.frames.pop_front();
        }
        if self.frames.capacity() > 2 * self.frames.len().max(32) {
            self.frames.shrink_to(self.frames.len().max(32));
        }
    }

    /// Samples between two times, as far as they are still kept.
    pub(super) fn between(&self, from: CallTime, to: CallTime) -> Vec<i16> {
        let begin = CallTime(self.end.0.saturating_sub(FRAME_TIME * self.frames.len() as u32));
        let index = |at: CallTime| (at.since(begin).as_millis() / FRAME_TIME.as_millis()) as usize;
        let (from, to) = (index(from), index(to).min(self.frames.len()));
        let mut samples = Vec::with_capacity(to.saturating_sub(from) * FRAME_SAMPLES);
        for frame in self.frames.iter().take(to).skip(from) {
            match frame {
                Samples::Silent => samples.extend([0; FRAME_SAMPLES]),
                Samples::Coded(law, coded) => {
                    let mut linear = [0; FRAME_SAMPLES];
                    law.decode_into(&**coded, &mut linear);
                    samples.extend(linear);
                }
                Samples::Linear(linear) => samples.extend(linear.iter()),
            }
        }
        samples
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frame `n`: as it comes from either law, from neither, or silent.
    fn frame(n: usize) -> [i16; FRAME_SAMPLES] {
        let wave = |i: usize| ((n * FRAME_SAMPLES + i) as f32 * 0.7).sin() * 9_000.0;
        std::array::from_fn(|i| match n % 4 {
            0 => Law::A.decode(Law::A.encode(wave(i) as i16)),
            1 => Law::Mu.decode(Law::Mu.encode(wave(i) as i16)),
            2 => wave(i) as i16,
            _ => 0,
        })
    }

    fn end(n: usize) -> CallTime {
        CallTime(FRAME_TIME * (n as u32 + 1))
    }

    #[test]
    fn what_comes_out_is_what_went_in() {
        let mut kept = Kept::new();
        (0..50).for_each(|n| kept.push(&frame(n), end(n)));

        let expected: Vec<i16> = (10..30).flat_map(frame).collect();
        assert_eq!(kept.between(end(9), end(29)), expected);
        assert!(matches!(kept.frames[4], Samples::Coded(Law::A, _)) && matches!(kept.frames[7], Samples::Silent));
    }

    #[test]
    fn forgotten_audio_takes_no_room_and_leaves_the_rest_in_place() {
        let mut kept = Kept::new();
        for n in 0..2_000 {
            kept.push(&frame(n), end(n));
        }
        assert_eq!(kept.frames.len(), MOST);

        kept.forget_before(end(1_979));

        assert_eq!(kept.frames.len(), 20);
        assert!(kept.frames.capacity() <= 64);
        assert_eq!(kept.between(end(1_989), end(1_999)), (1_990..2_000).flat_map(frame).collect::<Vec<_>>());
        assert_eq!(kept.between(CallTime::ZERO, end(1_980)), frame(1_980), "what is gone is left out");
    }
}
