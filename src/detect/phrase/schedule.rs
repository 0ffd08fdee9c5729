//! When is it worth recognising words, and in which window?
//!
//! In: whether the caller speaks, frame by frame, and what past runs cost. Out: [`Window`]s. Knows no model and no
//! words.
//!
//! A run is due when enough new speech has come, and sooner at a pause, because a phrase has ended there. The window
//! grows with the call, so that words keep their context, until it is as long as it may be; then it slides from pause
//! to pause. Runs cost at most a share of real time. The first words of a call may cost more, because they decide it;
//! and so may those that would otherwise go unheard, where no other call's run waits. A run that was put off is made
//! later, over the same words, even if the caller has finished by then.

use std::time::Duration;

use crate::audio::FRAME_TIME;
use crate::units::CallTime;

/// How much computing time words may take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScheduleSettings {
    /// Computing time of runs, as a share of the time that the call has lasted, unless no other run waits.
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

/// Where no other run waits, a call may take this share of the time that it has lasted. Then a machine that is four
/// times slower than usual hears all words, too.
const SPARE_SHARE: f32 = 0.5;

/// Speech that no run has heard, as a share of the longest window: so much must not wait for its call's share.
const BEHIND: f32 = 0.5;

/// Behind so much silence, the caller's last words must not wait for their call's share, and the window moves no
/// further. With 1 s, runs of recorded calls would not be those that weights were fitted with, on a usual machine
/// either.
const FINISHED: Duration = Duration::from_secs(2);

/// Where unheard speech begins within words, so much before it is heard again.
const CONTEXT: Duration = Duration::from_millis(1_000);

/// A run that was put off is not due again for so long.
const PUT_OFF: Duration = Duration::from_secs(1);

/// So long after the caller's last words they are still worth a run. [`Kept`] has their audio until then.
///
/// [`Kept`]: crate::detect::kept::Kept
const WORTH: Duration = Duration::from_secs(16);

/// A run without a result for this long is taken for lost: no run waits longer than three seconds for its turn.
const LOST: Duration = Duration::from_secs(10);

/// Silence kept before the first word.
const LEAD: Duration = Duration::from_millis(200);

/// Speech that no run has heard.
#[derive(Clone, Copy, Debug, Default)]
struct Unheard {
    /// Its beginning; says nothing where its length is zero.
    from: CallTime,
    length: Duration,
}

/// A run that is under way.
#[derive(Clone, Copy, Debug)]
struct UnderWay {
    since: CallTime,
    /// Speech that none before it has heard.
    hears: Unheard,
}

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
    /// Speech since the last run's window ended, and that of a run that was put off.
    fresh: Unheard,
    /// Computing time of all runs.
    spent: Duration,
    /// Expected cost of a run, as a share of its window.
    rate: f32,
    /// Runs that were made.
    runs: u32,
    under_way: Option<UnderWay>,
    /// When the next run may be due, because one was put off.
    not_before: Option<CallTime>,
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
            fresh: Unheard::default(),
            spent: Duration::ZERO,
            rate: FIRST_RATE,
            runs: 0,
            under_way: None,
            not_before: None,
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
        if self.fresh.length.is_zero() {
            self.fresh.from = begin;
        }
        self.fresh.length += FRAME_TIME;
    }

    /// A window that is worth a run now. `spare`: no run waits, of whatever call. There is no other window until
    /// [`Schedule::done`] or [`Schedule::put_off`], or until that run is taken for lost.
    #[must_use]
    pub fn due(&mut self, spare: bool) -> Option<Window> {
        let start = self.start?;
        if let Some(run) = self.under_way {
            if self.now.since(run.since) < LOST {
                return None;
            }
            self.take_back();
        }
        let silence = self.now.since(self.last_voiced);
        let fresh = self.fresh.length;
        let due = fresh >= self.patience(start) || (silence >= PAUSE && fresh >= SOME);
        if !due || silence > WORTH || self.not_before.is_some_and(|at| self.now < at) {
            return None;
        }
        if self.heard_to(FINISHED).since(start) > self.settings.longest {
            self.slide();
        }
        let window = Window { from: self.start?, to: self.heard_to(PAUSE) };
        let within = |share: f32| {
            self.spent + window.length().mul_f32(self.rate) <= self.now.0.mul_f32(share) + self.settings.ahead
        };
        let must_not_wait = fresh >= self.behind() || silence >= FINISHED;
        let may = within(self.settings.share) || (spare && must_not_wait && within(SPARE_SHARE));
        if !may {
            return None;
        }
        self.under_way = Some(UnderWay { since: self.now, hears: std::mem::take(&mut self.fresh) });
        Some(window)
    }

    /// No later window begins before this.
    #[must_use]
    pub fn needs_from(&self) -> CallTime {
        let Some(start) = self.start else {
            // Speech that begins with the next frame takes its lead with it.
            return CallTime(self.now.0.saturating_sub(FRAME_TIME + LEAD));
        };
        // What is still to be heard, or may have to be heard again, has its window where speech has ended.
        let owed = self.under_way.is_some() || self.fresh.length >= SOME;
        let to = if owed && self.now.since(self.last_voiced) <= WORTH { self.heard_to(PAUSE) } else { self.now };
        start.max(CallTime(to.0.saturating_sub(self.settings.longest)))
    }

    /// Now, or so long after the last speech.
    fn heard_to(&self, silence: Duration) -> CallTime {
        self.now.min(CallTime(self.last_voiced.0 + silence))
    }

    /// So much new speech is worth a run: the longer the window, the more.
    fn patience(&self, start: CallTime) -> Duration {
        MUCH.max(self.heard_to(FINISHED).since(start).min(self.settings.longest).mul_f32(PER_WINDOW))
    }

    /// So much unheard speech is too much.
    fn behind(&self) -> Duration {
        self.settings.longest.mul_f32(BEHIND)
    }

    /// Forgets the oldest speech, up to a pause if there is one in the right place. Where runs have come late, what
    /// none has heard is not forgotten, as far as a window reaches.
    fn slide(&mut self) {
        let now = self.heard_to(FINISHED);
        let ago = |span: Duration| CallTime(now.0.saturating_sub(span));
        let longest = self.settings.longest;
        let (earliest, latest) = (ago(longest.mul_f32(BACK_TO_PAUSE)), ago(OVERLAP));
        let pause = self.resumed.iter().copied().filter(|at| *at >= earliest && *at <= latest).max();
        let mut start = pause.unwrap_or(ago(longest.mul_f32(BACK)));
        if self.fresh.length >= self.behind() || self.not_before.is_some() {
            let reach = CallTime(self.heard_to(PAUSE).0.saturating_sub(longest));
            let unheard = CallTime(self.fresh.from.0.saturating_sub(CONTEXT));
            start = start.min(unheard).max(reach).max(self.start.unwrap_or_default());
        }
        self.start = Some(start);
    }

    /// The run over `window` is over, or has failed (`cost` zero).
    pub fn done(&mut self, window: Window, cost: Duration) {
        self.under_way = None;
        self.spent += cost;
        if cost > Duration::ZERO && window.length() > Duration::ZERO {
            self.runs += 1;
            let rate = cost.as_secs_f32() / window.length().as_secs_f32();
            self.rate += (rate.min(1.0) - self.rate) * LAST_RATE;
        }
    }

    /// The run that is under way will not be made, because others were more urgent: what it would have heard is still
    /// to be heard.
    pub fn put_off(&mut self) {
        self.take_back();
        self.not_before = Some(CallTime(self.now.0 + PUT_OFF));
    }

    fn take_back(&mut self) {
        if let Some(UnderWay { hears, .. }) = self.under_way.take() {
            self.fresh = Unheard { from: hears.from, length: hears.length + self.fresh.length };
        }
    }

    /// Runs that were made.
    #[must_use]
    pub fn runs(&self) -> u32 {
        self.runs
    }

    /// Computing time so far.
    #[must_use]
    pub fn spent(&self) -> Duration {
        self.spent
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use super::*;

    /// Runs over speech made of `pattern` (milliseconds of speech, silence, ...), each costing `rate` of its window.
    fn windows(pattern: &[u64], rate: f32) -> (Vec<(u64, Window)>, Schedule) {
        windows_where(false, pattern, rate)
    }

    fn windows_where(spare: bool, pattern: &[u64], rate: f32) -> (Vec<(u64, Window)>, Schedule) {
        let mut schedule = Schedule::new(ScheduleSettings::default());
        let (mut now, mut windows) = (0, Vec::new());
        for (n, span) in pattern.iter().enumerate() {
            for _ in 0..span / 20 {
                now += 20;
                schedule.speech(CallTime::from_millis(now), n % 2 == 0);
                if let Some(window) = schedule.due(spare) {
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
            begun.extend(schedule.due(false).map(|_| now));
        }

        assert!(matches!(begun[..], [first, second, _] if second == first + 10_000), "{begun:?}");
    }

    #[test]
    fn a_run_that_is_put_off_is_due_again_behind_the_callers_last_word() {
        for spoken in [6_000, 10_000] {
            let mut schedule = Schedule::new(ScheduleSettings::default());
            let (mut behind, mut ordered) = (Vec::new(), Vec::new());
            for now in (20..=40_000).step_by(20) {
                schedule.speech(CallTime::from_millis(now), now <= spoken);
                let needed = schedule.needs_from();
                let Some(window) = schedule.due(false) else { continue };
                schedule.put_off();
                assert!(needed <= window.from && CallTime::from_millis(now).since(window.from).as_secs() < 25);
                ordered.push(now);
                if now > spoken + 240 {
                    behind.push(window);
                }
            }

            assert!(behind.len() > 5 && behind.windows(2).all(|pair| pair[0] == pair[1]), "{behind:?}");
            let expected = spoken.saturating_sub(8_000 - 240);
            assert!(behind[0].from <= CallTime::from_millis(expected + 20), "all that a window can hold: {behind:?}");
            assert!(ordered.windows(2).all(|pair| pair[1] - pair[0] >= 1_000), "{ordered:?}");
            assert!(*ordered.last().unwrap() <= spoken + 16_000, "nobody needs it for ever: {ordered:?}");
        }
    }

    #[test]
    fn a_run_that_was_put_off_and_then_made_is_not_made_again() {
        let mut schedule = Schedule::new(ScheduleSettings::default());
        let mut made = 0;
        for now in (20..=20_000).step_by(20) {
            schedule.speech(CallTime::from_millis(now), now <= 3_000);
            if let Some(window) = schedule.due(false) {
                if now <= 4_500 {
                    schedule.put_off();
                } else {
                    schedule.done(window, window.length() / 20);
                    made += 1;
                }
            }
        }

        assert_eq!((made, schedule.runs()), (1, 1));
    }

    #[test]
    fn on_a_slow_machine_that_is_idle_all_words_are_heard_and_the_cost_is_bounded() {
        let talk: Vec<u64> = [1_600, 300].repeat(14);
        for pattern in [&[25_000][..], &talk] {
            for rate in [0.1, 0.15, 0.2] {
                let (windows, _) = windows_where(true, pattern, rate);

                let mut heard_to = CallTime::ZERO;
                for (_, window) in &windows {
                    assert!(window.from.since(heard_to) <= Duration::from_secs(1), "{rate}: {windows:?}");
                    heard_to = heard_to.max(window.to);
                }
                assert!(heard_to >= CallTime::from_millis(20_000), "{rate}: {windows:?}");
            }
        }
        for rate in [0.4, 1.0] {
            let (windows, schedule) = windows_where(true, &[2_000, 4_000, 54_000, 4_000], rate);

            assert!(windows.iter().all(|(_, window)| window.length() > SOME), "{windows:?}");
            assert!(schedule.spent() <= Duration::from_millis(32_000 + 1_200 + 4_000), "{:?}", schedule.spent());
        }
    }

    #[test]
    fn where_a_calls_share_is_enough_it_matters_not_whether_others_wait() {
        let talk: Vec<u64> = [1_600, 300, 900, 260, 2_400, 1_500].repeat(3);

        assert_eq!(windows_where(true, &talk, 0.05).0, windows(&talk, 0.05).0);
    }

    #[test]
    fn silence_costs_nothing() {
        assert_eq!(windows(&[0, 20_000], 0.05).0, []);
    }
}
