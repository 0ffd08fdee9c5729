//! How long a caller is listened to.
//!
//! In: the setting, and the class of each verdict. Out: until when. The time counts from where the caller is first
//! heard to speak: a scam that waits for a voice, in a menu or behind a hold, says nothing until then.

use std::time::Duration;

use super::judge::Class;
use crate::units::CallTime;

/// Nobody is waited for longer than this many times the setting.
const LONGEST: u32 = 4;

/// Until when a caller is listened to of whom nothing has been heard.
#[must_use]
pub fn longest(watch_for: Duration) -> CallTime {
    CallTime(watch_for.saturating_mul(LONGEST))
}

/// Until when, where the verdict at `at` is of this class and the one before it, if any, was of that. None: as before.
#[must_use]
pub fn watched_until(watch_for: Duration, before: Option<Class>, class: Class, at: CallTime) -> Option<CallTime> {
    let is_heard = |class: Class| class != Class::NoSpeech;
    match (before.is_some_and(is_heard), is_heard(class)) {
        (false, true) => Some(CallTime(at.0.saturating_add(watch_for)).min(longest(watch_for))),
        // What sounded like speech was none.
        (true, false) => Some(longest(watch_for)),
        (false, false) | (true, true) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_counts_from_the_first_speech_and_has_an_end() {
        let second = |s: u64| CallTime::from_millis(1_000 * s);
        let until = |before, class, at| watched_until(second(25).0, before, class, second(at));

        assert_eq!(longest(second(25).0), second(100));
        assert_eq!(until(None, Class::NoSpeech, 1), None);
        assert_eq!(until(Some(Class::NoSpeech), Class::Live, 40), Some(second(65)));
        assert_eq!(until(None, Class::Recorded, 90), Some(second(100)));
        assert_eq!(until(Some(Class::Live), Class::PressKey, 50), None);
        assert_eq!(until(Some(Class::Live), Class::NoSpeech, 5), Some(second(100)));
        let always = watched_until(Duration::MAX, None, Class::Live, second(1));
        assert_eq!(always, Some(longest(Duration::MAX)));
    }
}
