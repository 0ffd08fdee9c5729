//! The mild steps: the callee's keys held back, and a warning in the callee's ear.
//!
//! A key that is held is told to whoever pressed it, with the way to send it all the same: pressing nine twice. That
//! lifts the guard for the rest of the call, and so does a caller who turns out to be a person.

use std::time::{Duration, Instant};

use super::event::{Event, Lifted};
use super::input::Output;
use super::snapshot::{SteppedUp, Story};
use super::state::Call;
use super::switchboard::Switchboard;
use crate::policy::action::{Enforcement, StepUp};
use crate::rtp::control::{Held, LAST_KEY, MediaCommand, PromptId};
use crate::rtp::returned::Sounded;
use crate::units::{CallTime, Leg};

/// Pressed twice, it sends what was held. `callee-guard` says so.
const ANYWAY: char = '9';
/// From one nine to the next.
const TWICE: Duration = Duration::from_secs(5);
/// A callee who goes on pressing is told anew after this: the prompt takes six seconds.
const TOLD_AGAIN: Duration = Duration::from_secs(8);
/// Before the prompt has come so far, nobody presses nine because of it: a recording that says "press nine twice" must
/// not be obeyed before the callee knows what that does.
const HEARD: Duration = Duration::from_secs(3);

/// How a key was pressed. A telephone may press each in two ways at once: a nine in one and the same nine in the other
/// are not two.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum PressedIn {
    /// In the media.
    Media,
    /// By INFO.
    Info,
}

/// The callee's keys are held back.
#[derive(Debug, Default)]
pub(super) struct Guard {
    /// The callee was told so last.
    told: Option<Instant>,
    /// And first.
    first_told: Option<Instant>,
    /// The last key, if it was a nine.
    nine: Option<(PressedIn, Instant)>,
    /// The last other key that was held.
    key: Option<char>,
    /// The callee was on hold when it was to be warned: it is when the hold ends.
    pub whisper_waits: bool,
    /// The caller's keys, which may come back from the callee's side.
    sounded: Sounded,
}

impl Guard {
    /// The caller presses a key.
    pub(super) fn caller_pressed(&mut self, key: char, now: Instant) {
        self.sounded.note(key, now);
        // It may have come back before it was told: then no nine before it was the callee's.
        if key == ANYWAY {
            self.nine = None;
        }
    }
}

impl Call {
    /// True for a key of the callee that may be one of the caller's, come back.
    pub(super) fn returns(&self, leg: Leg, key: char, now: Instant) -> bool {
        leg == Leg::Callee && self.guard.as_ref().is_some_and(|guard| guard.sounded.returns(key, now))
    }

    /// Whether an INFO with a key of `leg` goes no further.
    pub(super) fn holds_info(&self, leg: Leg, key: Option<char>, now: Instant) -> bool {
        // As in the media: what has been taken away is cut both ways.
        if self.diversion.is_some() {
            return true;
        }
        // The second nine may come by INFO too, a little later, and is no key for the caller. Nor is the one that has
        // just taken the call back.
        let just = |at: CallTime| self.time(now).0.saturating_sub(at.0) < LAST_KEY;
        let lifted = self.record.lifted.filter(|(_, by)| *by == Lifted::Callee);
        let lifts = key == Some(ANYWAY) && lifted.is_some_and(|(at, _)| just(at));
        let takes_back =
            key.is_some() && key == self.settings.take_back_key && self.record.taken_back.is_some_and(just);
        leg == Leg::Callee && (self.guard.is_some() || lifts || takes_back)
    }
}

impl Switchboard {
    /// Holds the callee's keys back from now on.
    pub(super) fn guard(&mut self, call: &mut Call) {
        call.guard = Some(Box::default());
        self.hold_keys(call, Held::All);
    }

    /// Warns the callee, who goes on hearing the caller; behind a hold through which nobody listens, if keys are held
    /// then.
    pub(super) fn whisper(&mut self, call: &mut Call) {
        if !call.media.callee_hears() {
            if let Some(guard) = &mut call.guard {
                guard.whisper_waits = true;
            }
            return;
        }
        let (prompts, play) = (vec![PromptId("callee-whisper".into())], call.next_play(Leg::Callee));
        self.out(Output::Media(MediaCommand::Whisper { call: call.id, to: Leg::Callee, prompts, play }));
    }

    /// A session description has been accepted, which may end a hold: the callee hears what it was to hear.
    pub(super) fn warn_late(&mut self, call: &mut Call, now: Instant) {
        if call.media.callee_hears() {
            self.warn(call, now);
        }
        let waits = call
            .guard
            .as_mut()
            .filter(|_| call.media.callee_hears())
            .is_some_and(|guard| std::mem::take(&mut guard.whisper_waits));
        if waits {
            self.whisper(call);
        }
    }

    /// The call is taken away, and a key of the callee takes it back: the media path looks for those that are pressed
    /// as tones where keys are held. Gives until when such a key may still be one of the two nines that the guard's
    /// voice has asked for, if it is a nine.
    pub(super) fn let_a_key_decide(&mut self, call: &mut Call) -> Option<Instant> {
        let told = call.guard.take().and_then(|guard| guard.told);
        self.hold_keys(call, Held::All);
        told.filter(|_| call.settings.take_back_key == Some(ANYWAY)).map(|told| told + TOLD_AGAIN + TWICE)
    }

    /// It has been taken back by this key, which is for nobody else.
    pub(super) fn key_decided(&mut self, call: &Call, key: char, pressed: PressedIn) {
        self.hold_keys(call, last_of(key, pressed));
    }

    /// The guard is lifted for the rest of the call; `held`: what is held all the same.
    pub(super) fn lift(&mut self, call: &mut Call, by: Lifted, held: Held, now: Instant) {
        let Some(guard) = call.guard.take() else { return };
        let at = call.time(now);
        call.record.lifted = Some((at, by));
        self.hold_keys(call, held);
        if guard.told.is_some_and(|told| now.saturating_duration_since(told) < TOLD_AGAIN) {
            self.out(Output::Media(MediaCommand::StopPlay { call: call.id, to: Leg::Callee }));
        }
        if by == Lifted::Callee {
            let key = guard.key.unwrap_or(ANYWAY);
            let play = call.next_play(Leg::Caller);
            self.out(Output::Media(MediaCommand::Press { call: call.id, to: Leg::Caller, key, play }));
        }
        self.changed(call.id);
        self.happened(call, now, Event::GuardLifted { at, by });
    }

    /// A key of the callee that does not reach the caller.
    pub(super) fn hold_key(&mut self, call: &mut Call, key: char, pressed: PressedIn, now: Instant) {
        let Some(guard) = &mut call.guard else { return };
        let within = |at: Instant, span| now.saturating_duration_since(at) < span;
        let knows = guard.first_told.is_some_and(|told| !within(told, HEARD));
        if key == ANYWAY && guard.nine.is_some_and(|(before, at)| before == pressed && within(at, TWICE)) {
            return self.lift(call, Lifted::Callee, last_of(key, pressed), now);
        }
        if key == ANYWAY && knows {
            if guard.nine.is_none_or(|(before, at)| before == pressed || !within(at, TWICE)) {
                guard.nine = Some((pressed, now));
            }
        } else if key != ANYWAY {
            (guard.nine, guard.key) = (None, Some(key));
        }
        guard.first_told.get_or_insert(now);
        if guard.told.is_none_or(|told| !within(told, TOLD_AGAIN)) {
            guard.told = Some(now);
            self.play(call, Leg::Callee, "callee-guard");
        }
    }

    fn hold_keys(&mut self, call: &Call, held: Held) {
        self.out(Output::Media(MediaCommand::HoldKeys { call: call.id, from: Leg::Callee, held }));
    }
}

/// What is held behind a key that ends the holding of keys.
fn last_of(key: char, pressed: PressedIn) -> Held {
    match pressed {
        PressedIn::Media => Held::Nothing,
        // It may come in the media too, and is one press.
        PressedIn::Info => Held::Last(key),
    }
}

impl Story {
    /// Keys were held when it was told.
    pub(super) fn is_guarded(&self) -> bool {
        let done = |step: &SteppedUp, action| step.enforcement == Enforcement::Done && step.decision.action == action;
        self.steps.iter().any(|step| done(step, StepUp::Guard))
            && !self.steps.iter().any(|step| done(step, StepUp::Divert))
            && self.lifted.is_none()
    }
}
