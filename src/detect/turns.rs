//! Who speaks when: the two legs beside each other.
//!
//! In: is each leg speaking, frame by frame. Out: [`Turn`]s of the caller. Knows nothing of words.

use std::time::Duration;

use crate::audio::FRAME_TIME;
use crate::units::CallTime;

/// Speaking at the same time for less than this is how turns change, not talking over.
const OVERLAP: Duration = Duration::from_millis(400);

/// A talk-over is reported each time it has grown by this much.
const GROWTH: Duration = Duration::from_millis(200);

/// Whoever falls silent within this time after the other has begun has yielded.
const YIELD_WITHIN: Duration = Duration::from_millis(1_000);

/// The other must have spoken on for this long after that. Otherwise both have stopped, and nobody has yielded.
const WENT_ON: Duration = Duration::from_millis(150);

/// A speaker who is silent for this long has ended a turn.
const TURN_END: Duration = Duration::from_millis(300);

/// A reply comes within this after the other's turn.
const REPLY_WITHIN: Duration = Duration::from_millis(2_000);

/// What the caller did with the floor.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Turn {
    /// Spoke on while the callee was speaking.
    TalkOver {
        /// So far.
        length: Duration,
    },
    /// Fell silent while the callee was speaking.
    Yield {
        /// After the callee had begun.
        after: Duration,
    },
    /// Began within 2 s after the callee's turn, having been silent before it.
    Reply {
        /// After the callee's turn.
        delay: Duration,
    },
    /// The callee's turn ended, and the caller, who was silent then, did not reply.
    NoReply,
}

/// One leg's part.
#[derive(Clone, Copy, Debug, Default)]
struct Side {
    speaking: bool,
    /// Start of the turn that is on.
    since: CallTime,
    /// End of the last frame with speech.
    last: Option<CallTime>,
}

impl Side {
    fn frame(&mut self, at: CallTime, speech: bool) {
        if speech {
            if !self.speaking {
                self.speaking = true;
                self.since = at;
            }
            self.last = Some(CallTime(at.0 + FRAME_TIME));
        } else if self.last.is_some_and(|last| at.since(last) >= TURN_END) {
            self.speaking = false;
        }
    }
}

/// Turns of a call.
#[derive(Debug, Default)]
pub struct Turns {
    caller: Side,
    callee: Side,
    /// Both have spoken at once for this long.
    overlap: Duration,
    /// That length when it was last reported.
    reported: Duration,
    /// The caller was speaking when the callee's turn began, and has not stopped since.
    contested: bool,
    /// End of a callee's turn that is still open to a reply.
    open: Option<CallTime>,
}

impl Turns {
    /// The next frame of both legs.
    pub fn frame(&mut self, at: CallTime, caller: bool, callee: bool, mut tell: impl FnMut(Turn)) {
        let (caller_was, callee_was) = (self.caller.speaking, self.callee.speaking);
        self.caller.frame(at, caller);
        self.callee.frame(at, callee);
        let (caller_is, callee_is) = (self.caller.speaking, self.callee.speaking);

        if caller && callee {
            self.overlap += FRAME_TIME;
            if self.overlap >= OVERLAP.max(self.reported + GROWTH) {
                self.reported = self.overlap;
                tell(Turn::TalkOver { length: self.overlap });
            }
        } else if !(caller_is && callee_is) {
            self.overlap = Duration::ZERO;
            self.reported = Duration::ZERO;
        }
        if callee_is && !callee_was {
            self.contested = caller_is;
            self.open = None;
        }
        if caller_was && !caller_is && self.contested {
            self.contested = false;
            let stopped = self.caller.last.unwrap_or(at);
            let after = stopped.since(self.callee.since);
            let went_on = self.callee.last.is_some_and(|last| last.0 > stopped.0 + WENT_ON);
            if after <= YIELD_WITHIN && went_on {
                tell(Turn::Yield { after });
            }
        }
        if callee_was && !callee_is {
            let ended = self.callee.last.unwrap_or(at);
            if !caller_is {
                self.open = Some(ended);
            } else if self.caller.since.0 >= ended.0 {
                // The reply began within the 300 ms that it takes to know that the turn has ended.
                tell(Turn::Reply { delay: self.caller.since.since(ended) });
            }
        }
        if let Some(ended) = self.open {
            if caller_is && !caller_was {
                self.open = None;
                tell(Turn::Reply { delay: at.since(ended) });
            } else if at.since(ended) > REPLY_WITHIN {
                self.open = None;
                tell(Turn::NoReply);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Spans of speech in milliseconds of each leg.
    fn told(caller: &[(u64, u64)], callee: &[(u64, u64)]) -> Vec<Turn> {
        let mut turns = Turns::default();
        let mut told = Vec::new();
        let speaks = |spans: &[(u64, u64)], ms| spans.iter().any(|(from, to)| (*from..*to).contains(&ms));
        for ms in (0..10_000).step_by(20) {
            turns.frame(CallTime::from_millis(ms), speaks(caller, ms), speaks(callee, ms), |turn| told.push(turn));
        }
        told
    }

    #[test]
    fn people_reply() {
        let told = told(&[(1_400, 3_000), (5_200, 6_000)], &[(200, 1_000), (3_500, 5_000)]);

        let delay = |ms| Turn::Reply { delay: Duration::from_millis(ms) };
        assert_eq!(told, [delay(400), delay(200)]);
    }

    #[test]
    fn a_recording_talks_over() {
        let told = told(&[(500, 9_000)], &[(2_000, 3_000)]);

        assert_eq!(told.last(), Some(&Turn::TalkOver { length: Duration::from_millis(1_000) }));
    }

    #[test]
    fn who_stops_for_the_other_yields() {
        let told = told(&[(500, 2_300)], &[(2_000, 3_000)]);

        assert_eq!(told.first(), Some(&Turn::Yield { after: Duration::from_millis(300) }));
    }

    #[test]
    fn silence_after_a_question_is_no_reply() {
        assert_eq!(told(&[], &[(200, 900)]), [Turn::NoReply]);
    }
}
