//! What the caller does about a prompt that is played to it before anybody is rung.
//!
//! In: is the caller speaking and is a prompt playing, frame by frame. Out: one [`Screened`] a prompt. A person stops
//! for a voice that asks something, and answers when it has ended; a recording talks on; an answering machine detector
//! waits for the end of a greeting and then plays its own. Knows nothing of words.

use std::time::Duration;

use crate::audio::FRAME_TIME;
use crate::units::CallTime;

/// Longest silence within one prompt. After a longer one, another prompt begins.
const PROMPT_GAP: Duration = Duration::from_millis(1_000);

/// A shorter prompt asks nothing, and is not judged.
const SHORTEST_PROMPT: Duration = Duration::from_millis(500);

/// So much speech during a prompt is more than a false start or a "hello?".
const TALKED_ON: Duration = Duration::from_millis(1_500);

/// A caller who falls silent this soon after the prompt has begun does so because of it.
const YIELD_WITHIN: Duration = Duration::from_millis(1_500);

/// A caller who was heard this shortly before a prompt counts as speaking when it began.
const SPEAKING: Duration = Duration::from_millis(300);

/// A caller who was silent for the last part of a prompt, at least this long, has let it end.
const LET_END: Duration = Duration::from_millis(500);

/// Speech counts as an answer from this long after a prompt on. Before, it may be the prompt's own end that is heard.
const ANSWER_FROM: Duration = Duration::from_millis(60);

/// Speech counts as an answer up to this long after a prompt.
const ANSWER_WITHIN: Duration = Duration::from_millis(3_000);

/// What the caller did about one prompt.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Screened {
    /// Was speaking, and fell silent for it.
    Yielded {
        /// After the prompt had begun.
        after: Duration,
    },
    /// Let it end, and spoke then.
    Answered {
        /// After its end.
        delay: Duration,
    },
    /// Spoke on while it played.
    TalkedOn {
        /// For so long altogether.
        length: Duration,
    },
    /// Let it end, and said nothing.
    Silent,
}

/// The prompt that is on, or has just ended.
#[derive(Clone, Copy, Debug)]
struct Prompt {
    from: CallTime,
    /// End of its last audible frame.
    to: CallTime,
    /// The caller was speaking when it began.
    interrupted: bool,
    /// The caller's speech while it played.
    over: Duration,
    /// End of that speech.
    last: Option<CallTime>,
    /// That the caller talks on over it has been reported.
    told: bool,
}

/// Prompts of one call.
#[derive(Debug, Default)]
pub struct Screening {
    prompt: Option<Prompt>,
    /// End of the caller's last speech.
    spoke: Option<CallTime>,
}

impl Screening {
    /// The next frame.
    pub fn frame(&mut self, at: CallTime, caller: bool, playing: bool) -> Option<Screened> {
        let end = CallTime(at.0 + FRAME_TIME);
        let mut screened = None;
        if playing {
            // A prompt that begins while the last one waits for its answer: that one had none.
            let gap = self.prompt.map(|prompt| at.since(prompt.to));
            if gap.is_none_or(|gap| gap > PROMPT_GAP) {
                screened = self.prompt.take().and_then(|prompt| prompt.verdict(None));
                let interrupted = self.spoke.is_some_and(|spoke| at.since(spoke) < SPEAKING);
                self.prompt =
                    Some(Prompt { from: at, to: end, interrupted, over: Duration::ZERO, last: None, told: false });
            }
        }
        if caller {
            self.spoke = Some(end);
        }
        let Some(prompt) = &mut self.prompt else { return screened };
        if playing {
            prompt.to = end;
        }
        if caller && playing {
            prompt.over += FRAME_TIME;
            prompt.last = Some(end);
            if prompt.over >= TALKED_ON && !prompt.told {
                prompt.told = true;
                return Some(Screened::TalkedOn { length: prompt.over });
            }
        } else if caller && !playing && at.since(prompt.to) >= ANSWER_FROM {
            let prompt = self.prompt.take()?;
            return prompt.verdict(Some(at.since(prompt.to)));
        } else if !playing && at.since(prompt.to) >= ANSWER_WITHIN {
            let prompt = self.prompt.take()?;
            return prompt.verdict(None);
        }
        screened
    }
}

impl Prompt {
    /// What the caller has done about it, now that it is over. `delay`: from its end to the caller's next speech.
    fn verdict(self, delay: Option<Duration>) -> Option<Screened> {
        if self.told || self.to.since(self.from) < SHORTEST_PROMPT {
            return None;
        }
        let stopped = self.last.map_or(Duration::ZERO, |last| last.since(self.from));
        let let_it_end = self.last.is_none_or(|last| self.to.since(last) >= LET_END);
        if self.interrupted && stopped <= YIELD_WITHIN && let_it_end {
            return Some(Screened::Yielded { after: stopped });
        }
        Some(delay.map_or(Screened::Silent, |delay| Screened::Answered { delay }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Spans of caller's speech and of prompts, in milliseconds.
    fn screened(caller: &[(u64, u64)], prompts: &[(u64, u64)]) -> Vec<Screened> {
        let within = |spans: &[(u64, u64)], ms: u64| spans.iter().any(|(from, to)| (*from..*to).contains(&ms));
        let mut screening = Screening::default();
        (0..20_000)
            .step_by(20)
            .filter_map(|ms| screening.frame(CallTime::from_millis(ms), within(caller, ms), within(prompts, ms)))
            .collect()
    }

    #[test]
    fn a_person_stops_for_the_prompt_and_answers_it() {
        let found = screened(&[(200, 1_500), (6_500, 8_000)], &[(1_000, 6_000)]);

        assert_eq!(found, [Screened::Yielded { after: Duration::from_millis(500) }]);
        assert_eq!(
            screened(&[(6_500, 8_000)], &[(1_000, 6_000)]),
            [Screened::Answered { delay: Duration::from_millis(500) }]
        );
    }

    #[test]
    fn a_recording_talks_on() {
        let found = screened(&[(500, 15_000)], &[(1_000, 6_000)]);

        assert_eq!(found, [Screened::TalkedOn { length: TALKED_ON }], "once, as soon as it is sure");
    }

    #[test]
    fn silence_is_silence_and_two_prompts_are_two() {
        assert_eq!(screened(&[], &[(1_000, 6_000)]), [Screened::Silent]);
        let found = screened(&[(4_500, 6_000), (12_600, 14_000)], &[(1_000, 4_000), (8_000, 12_000)]);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found.iter().all(|screened| matches!(screened, Screened::Answered { .. })), "{found:?}");
    }

    #[test]
    fn a_breath_within_the_prompt_does_not_end_it() {
        let found = screened(&[(8_300, 9_000)], &[(1_000, 4_000), (4_600, 8_000)]);

        assert_eq!(found, [Screened::Answered { delay: Duration::from_millis(300) }]);
    }

    #[test]
    fn a_false_start_is_no_talking_on() {
        let found = screened(&[(1_200, 1_600), (6_200, 7_000)], &[(1_000, 6_000)]);

        assert_eq!(found, [Screened::Answered { delay: Duration::from_millis(200) }]);
    }
}
