//! When is it worth recognising words, and in which window?
//!
//! In: whether the caller speaks, frame by frame, and what past runs cost. Out: [`Window`]s. Knows no model and no
//! words.
//!
//! A run is due when enough new speech has come, and sooner at a pause, because a phrase has ended there. The window
//! grows with the call, so that words keep their context, until it is as long as it may be; then it slides from pause
//! to pause. Runs cost at most a share of real time. The first words of a call may cost more, because they decide it.

use std::time::Duration;

use crate::audio::FRAME_TIME;
use crate::units::CallTime;

/// How much computing time words may take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScheduleSettings {
    /// Computing time of runs, as a share of the time that the call has lasted.
    pub share: f32,
    /// Computing time that a call may spend on top of its share.
    pub ahead: Duration,
    /// Longest window.
    pub longest: Duration,
}

impl Default for ScheduleSettings {
    fn default() -> Self {
        Self { share: 0.1, ahead: Duration::from_millis(1_200), longest: Duration::from_millis(8_000) }
    }
}

/// A stretch of the caller's audio.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Window {
    /// Start.
    pub from: CallTime,
    /// End.
    pub to: CallTime,
}

impl Window {
    /// Its length.
    #[must_use]
    pub fn length(&self) -> Duration {
        self.to.since(self.from)
    }
}

/// So much new speech is worth a run on its own. With 1.5 s here and 0.3 for [`PER_WINDOW`], words cost a quarter less,
/// and scams were known 0.3 s later in the median.
const MUCH: Duration = Duration::from_millis(1_000);

/// It must also be this share of the window: a run over more words must bring more new ones.
const PER_WINDOW: f32 = 0.2;

/// So much new speech is worth a run at a pause.
const SOME: Duration = Duration::from_millis(500);

/// Silence that ends a phrase.
const PAUSE: Duration = Duration::from_millis(240);

/// A sliding window keeps at least this much of what it has heard.
const OVERLAP: Duration = Duration::from_millis(3_500);

/// A window that slides begins behind a pause, if there is one no further back than this, as a share of the longest
/// window.
const BACK_TO_PAUSE: f32 = 0.8;

/// Without such a pause it begins this far back, as a share of the longest window.
const BACK: f32 = 0.6;

/// Pauses that are remembered: more than a window has.
const PAUSES: usize = 16;

/// Expected cost of a call's first run, as a share of its window.
const FIRST_RATE: f32 = 0.06;

/// Weight of the last run's cost in the expected cost of the next.
const LAST_RATE: f32 = 0.3;

/// A run without a result for this long is taken for lost: no run waits longer than three seconds for its turn.
const LOST: Duration = Duration::from_secs(10);

/// Silence kept before the first word.
const LEAD: Duration = Duration::from_millis(200);

/// The schedule of one call.
#[derive(Clone, Debug)]
pub struct Schedule {
    settings: ScheduleSettings,
    now: CallTime,
    /// Start of the speech that is being heard.
    start: Option<CallTime>,
    /// Where speech went on after the last pauses.
    resumed: Vec<CallTime>,
    /// End of the last frame with speech.
    last_voiced: CallTime,
    /// Speech since the last run's window ended.
    fresh: Duration,
    /// Computing time of all runs.
    spent: Duration,
    /// Expected cost of a run, as a share of its window.
    rate: f32,
    /// When the run that is under way was ordered.
    under_way: Option<CallTime>,
}

impl Schedule {
    /// Nothing heard.
    #[must_use]
    pub fn new(settings: ScheduleSettings) -> Self {
        Self {
            settings,
            now: CallTime::ZERO,
            start: None,
            resumed: Vec::new(),
            last_voiced: CallTime::ZERO,
            fresh: Duration::ZERO,
            spent: Duration::ZERO,
            rate: FIRST_RATE,
            under_way: None,
        }
    }

    /// The next frame, by its end.
    pub fn speech(&mut self, end: CallTime, voiced: bool) {
        self.now = end;
        if !voiced {
            return;
        }
        let begin = CallTime(end.0.saturating_sub(FRAME_TIME + LEAD));
        if self.start.is_none() {
            self.start = Some(begin);
        } else if end.since(self.last_voiced) > PAUSE {
            self.resumed.push(begin);
            if self.resumed.len() > PAUSES {
                self.resumed.remove(0);
            }
        }
        self.last_voiced = end;
        self.fresh += FRAME_TIME;
    }

    /// A window that is worth a run now. There is no other until [`Schedule::done`], or until that run is taken for
    /// lost.
    #[must_use]
    pub fn due(&mut self) -> Option<Window> {
        let start = self.start?;
        let paused = self.now.since(self.last_voiced) >= PAUSE;
        let due = self.fresh >= self.patience(start) || (paused && self.fresh >= SOME);
        if self.under_way.is_some_and(|since| self.now.since(since) < LOST) || !due {
            return None;
        }
        if self.now.since(start) > self.settings.longest {
            self.slide();
        }
        let from = self.start?;
        let to = CallTime(self.now.0.min(self.last_voiced.0 + PAUSE));
        let window = Window { from, to };
        let cost = window.length().mul_f32(self.rate);
        let earned = self.now.0.mul_f32(self.settings.share) + self.settings.ahead;
        if self.spent + cost > earned {
            return None;
        }
        self.under_way = Some(self.now);
        self.fresh = Duration::ZERO;
        Some(window)
    }

    /// No later window begins before this.
    #[must_use]
    pub fn needs_from(&self) -> CallTime {
        let latest = |ago: Duration| CallTime(self.now.0.saturating_sub(ago));
        match self.start {
            Some(start) => start.max(latest(self.settings.longest)),
            // Speech that begins with the next frame takes its lead with it.
            None => latest(FRAME_TIME + LEAD),
        }
    }

    /// So much new speech is worth a run: the longer the window, the more.
    fn patience(&self, start: CallTime) -> Duration {
        MUCH.max(self.now.since(start).min(self.settings.longest).mul_f32(PER_WINDOW))
    }

    /// Forgets the oldest speech, up to a pause if there is one in the right place.
    fn slide(&mut self) {
        let ago = |span: Duration| CallTime(self.now.0.saturating_sub(span));
        let longest = self.settings.longest;
        let (earliest, latest) = (ago(longest.mul_f32(BACK_TO_PAUSE)), ago(OVERLAP));
        let pause = self.resumed.iter().copied().filter(|at| *at >= earliest && *at <= latest).max();
        self.start = Some(pause.unwrap_or(ago(longest.mul_f32(BACK))));
    }

    /// The run over `window` is over, or was not made (`cost` zero).
    pub fn done(&mut self, window: Window, cost: Duration) {
        self.under_way = None;
        self.spent += cost;
        if cost > Duration::ZERO && window.length() > Duration::ZERO {
            let rate = cost.as_secs_f32() / window.length().as_secs_f32();
            self.rate += (rate.min(1.0) - self.rate) * LAST_RATE;
        }
    }

    /// Computing time so far.
    #[must_use]
    pub fn spent(&self) -> Duration {
        self.spent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs over speech made of `pattern` (milliseconds of speech, silence, ...), each costing `rate` of its window.
    fn windows(pattern: &[u64], rate: f32) -> (Vec<(u64, Window)>, Schedule) {
        let mut schedule = Schedule::new(ScheduleSettings::default());
        let (mut now, mut windows) = (0, Vec::new());
        for (n, span) in pattern.iter().enumerate() {
            for _ in 0..span / 20 {
                now += 20;
                schedule.speech(CallTime::from_millis(now), n % 2 == 0);
                if let Some(window) = schedule.due() {
                    windows.push((now, window));
                    schedule.done(window, window.length().mul_f32(rate));
                }
            }
        }
        (windows, schedule)
    }

    #[test]
    fn the_first_words_are_heard_within_two_seconds() {
        let (windows, _) = windows(&[5_000], 0.05);

        assert!(windows.first().is_some_and(|(at, _)| *at <= 1_600), "{windows:?}");
    }

    #[test]
    fn a_short_answer_is_heard_at_its_end() {
        let (windows, _) = windows(&[600, 1_000], 0.05);

        assert_eq!(windows.len(), 1);
        assert!(windows.first().is_some_and(|(at, _)| *at == 840), "{windows:?}");
    }

    #[test]
    fn cost_goes_over_the_share_by_one_window_at_most() {
        // What may be spent ahead and a tenth of the time; the last run begins within that, whatever it comes to.
        for rate in [0.02, 0.05, 0.2, 0.6] {
            let (_, schedule) = windows(&[30_000], rate);
            let most = Duration::from_millis(4_200) + Duration::from_secs(8).mul_f32(rate);

            assert!(schedule.spent() <= most, "{rate}: {:?}", schedule.spent());
        }
    }

    #[test]
    fn windows_are_bounded_and_overlap() {
        let (windows, _) =
            windows(&[1_500, 300, 2_500, 300, 3_000, 300, 2_000, 300, 4_000, 300, 3_000, 300, 5_000], 0.03);

        assert!(windows.iter().all(|(_, window)| window.length() <= Duration::from_millis(9_500)), "{windows:?}");
        assert!(windows.windows(2).all(|pair| matches!(pair, [(_, a), (_, b)] if b.from <= a.to)), "{windows:?}");
    }

    #[test]
    fn a_run_of_which_nothing_is_heard_does_not_end_the_words_of_its_call() {
        let mut schedule = Schedule::new(ScheduleSettings::default());
        let mut begun = Vec::new();
        for now in (20..=30_000).step_by(20) {
            schedule.speech(CallTime::from_millis(now), true);
            begun.extend(schedule.due().map(|_| now));
        }

        assert!(matches!(begun[..], [first, second, _] if second == first + 10_000), "{begun:?}");
    }

    #[test]
    fn silence_costs_nothing() {
        assert_eq!(windows(&[0, 20_000], 0.05).0, []);
    }
}
