//! Talkspurts, pauses and monologues of one leg.
//!
//! In: one speech flag per 20 ms frame. Out: [`Spoken`] when a talkspurt begins, ends or grows. Knows nothing of the
//! other leg (see `turns`) nor of what is suspicious (see `policy::judge`).
//!
//! Invariant: talkspurts never overlap, and talkspurts and pauses between them add up to the time since the onset.

use std::time::Duration;

use crate::audio::FRAME_TIME;
use crate::units::{CallTime, Dbov};

/// A gap up to this is inside a word (stop consonants, weak ends, a lost packet) and does not end a talkspurt.
const INSIDE_WORD: Duration = Duration::from_millis(240);

/// A gap up to this is a breath: the speaker keeps the floor. Between people, the other one's turn begins 0.2 to 0.7 s
/// after the end of the last.
const BREATH: Duration = Duration::from_millis(700);

/// With less speech than this in it a talkspurt is a click or a cough: 100 ms.
const FEWEST_FRAMES: u16 = 5;

/// A monologue is reported each time it has grown by this much.
const GROWTH: Duration = Duration::from_millis(500);

/// What has become known of the leg's speech.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Spoken {
    /// A talkspurt, the first of the leg, has lasted long enough to be one.
    Onset {
        /// Its start.
        at: CallTime,
    },
    /// A talkspurt has ended.
    Talkspurt {
        /// Its start.
        from: CallTime,
        /// Its end.
        to: CallTime,
        /// Mean over its frames.
        level: Dbov,
    },
    /// A pause between two talkspurts has ended.
    Pause {
        /// How long it was.
        length: Duration,
    },
    /// Speech with only breath gaps goes on.
    Monologue {
        /// So far.
        length: Duration,
    },
}

/// Talkspurts of one leg.
#[derive(Debug, Default)]
pub struct Cadence {
    spurt: Option<Spurt>,
    /// End of the last talkspurt.
    ended: Option<CallTime>,
    /// Start of the speech that has had only breath gaps: since then the speaker holds the floor.
    holding: Option<CallTime>,
    /// Length of that speech when it was last reported.
    reported: Duration,
    /// The leg's first talkspurt has come.
    begun: bool,
}

#[derive(Clone, Copy, Debug)]
struct Spurt {
    from: CallTime,
    /// End of its last speech frame.
    to: CallTime,
    level_sum: f32,
    frames: u16,
    /// Long enough to be a talkspurt, and known to others.
    confirmed: bool,
}

impl Cadence {
    /// The next frame.
    pub fn frame(&mut self, at: CallTime, speech: bool, level: Dbov, mut tell: impl FnMut(Spoken)) {
        let end = CallTime(at.0 + FRAME_TIME);
        if speech {
            let spurt =
                self.spurt.get_or_insert(Spurt { from: at, to: at, level_sum: 0.0, frames: 0, confirmed: false });
            spurt.to = end;
            spurt.level_sum += level.0;
            spurt.frames = spurt.frames.saturating_add(1);
            let spurt = *spurt;
            if !spurt.confirmed && spurt.frames >= FEWEST_FRAMES {
                self.confirm(spurt, &mut tell);
            }
            self.grow(end, &mut tell);
        } else if let Some(spurt) = self.spurt
            && end.since(spurt.to) > INSIDE_WORD
        {
            self.spurt = None;
            if spurt.confirmed {
                self.ended = Some(spurt.to);
                let level = Dbov(spurt.level_sum / f32::from(spurt.frames.max(1)));
                tell(Spoken::Talkspurt { from: spurt.from, to: spurt.to, level });
            }
        }
    }

    fn confirm(&mut self, spurt: Spurt, tell: &mut impl FnMut(Spoken)) {
        if let Some(current) = &mut self.spurt {
            current.confirmed = true;
        }
        if !self.begun {
            self.begun = true;
            tell(Spoken::Onset { at: spurt.from });
        }
        let pause = self.ended.map(|ended| spurt.from.since(ended));
        if let Some(length) = pause {
            tell(Spoken::Pause { length });
        }
        if self.holding.is_none() || pause.is_some_and(|pause| pause > BREATH) {
            self.holding = Some(spurt.from);
            self.reported = Duration::ZERO;
        }
    }

    fn grow(&mut self, end: CallTime, tell: &mut impl FnMut(Spoken)) {
        let Some(holding) = self.holding.filter(|_| self.spurt.is_some_and(|spurt| spurt.confirmed)) else { return };
        let length = end.since(holding);
        if length >= self.reported + GROWTH {
            self.reported = length;
            tell(Spoken::Monologue { length });
        }
    }

    /// Is a talkspurt going on?
    #[must_use]
    pub fn speaking(&self) -> bool {
        self.spurt.is_some_and(|spurt| spurt.confirmed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `pattern`: milliseconds of speech, silence, speech, ...
    fn told(pattern: &[u64]) -> Vec<Spoken> {
        let mut cadence = Cadence::default();
        let mut told = Vec::new();
        let mut now = 0;
        for (n, span) in pattern.iter().enumerate() {
            for _ in 0..span / 20 {
                cadence.frame(CallTime::from_millis(now), n % 2 == 0, Dbov(-20.0), |spoken| told.push(spoken));
                now += 20;
            }
        }
        told
    }

    #[test]
    fn spurts_and_pauses_add_up() {
        let told = told(&[400, 300, 600, 100, 200, 1_000, 300, 500]);

        let spurts: Duration = told
            .iter()
            .filter_map(|s| match s {
                Spoken::Talkspurt { from, to, .. } => Some(to.since(*from)),
                Spoken::Onset { .. } | Spoken::Pause { .. } | Spoken::Monologue { .. } => None,
            })
            .sum();
        let pauses: Duration = told
            .iter()
            .filter_map(|s| match s {
                Spoken::Pause { length } => Some(*length),
                Spoken::Onset { .. } | Spoken::Talkspurt { .. } | Spoken::Monologue { .. } => None,
            })
            .sum();
        // The gap of 100 ms is inside a word.
        assert_eq!((spurts, pauses), (Duration::from_millis(1_600), Duration::from_millis(1_300)));
    }

    #[test]
    fn breaths_do_not_end_a_monologue_and_longer_pauses_do() {
        let longest = |pattern: &[u64]| {
            told(pattern).iter().fold(Duration::ZERO, |longest, s| match s {
                Spoken::Monologue { length } => longest.max(*length),
                Spoken::Onset { .. } | Spoken::Talkspurt { .. } | Spoken::Pause { .. } => longest,
            })
        };

        assert!(longest(&[2_000, 600, 2_000]) >= Duration::from_millis(4_000));
        assert!(longest(&[2_000, 900, 2_000]) <= Duration::from_millis(2_000));
    }

    #[test]
    fn a_click_is_no_onset() {
        assert_eq!(told(&[60, 1_000]), []);
    }
}
