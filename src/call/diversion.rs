//! A call that has been judged: steps, the diversion, and the way back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::event::{EndReason, Event, Lifted};
use super::guard::PressedIn;
use super::input::Output;
use super::machine::LONGEST_DIVERSION;
use super::settings::{DivertCallee, DivertCaller};
use super::snapshot::{Diverting, SteppedUp};
use super::state::{Call, Phase};
use super::switchboard::Switchboard;
use crate::policy::action::{Enforcement, Rejection, StepUp, StepUpDecision};
use crate::policy::judge::{Opinion, Verdict};
use crate::policy::watch;
use crate::rtp::control::{Held, MediaCommand};
use crate::units::{CallTime, Leg};

/// After its warning, a callee may still press the take-back key for this long.
const DECISION: Duration = Duration::from_secs(3);

/// Nobody has understood by then that the call has been taken away: a take-back key that is pressed earlier is for the
/// caller, who may have asked for that very key, or comes back from the caller's own tone.
const UNDERSTOOD: Duration = Duration::from_millis(1_500);

/// The shipped warning has named its key by then, and who presses nine has heard what that does, whatever the guard's
/// voice said of it before.
const NAMED: Duration = Duration::from_secs(12);

/// The warning waits for so long for a callee on hold, who would not hear it. Then it is played all the same, as nobody
/// says whose hold it is.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// A verdict of the same class is told anew once the probability of any has moved by this much.
const NEWS: f32 = 0.1;

/// A call that has been taken away.
#[derive(Debug)]
pub(super) struct Diversion {
    pub caller_done: bool,
    pub callee_done: bool,
    pub caller_gone: bool,
    /// The warning waits for the end of a hold.
    pub waits: bool,
    /// The callee may decide from then on.
    pub from: Instant,
    /// And until then.
    pub until: Instant,
}

impl Diversion {
    /// One that has come so far.
    pub(super) fn at(diverting: Diverting, now: Instant) -> Self {
        let Diverting { caller_done, callee_done, caller_gone } = diverting;
        let until = now + if caller_done && callee_done { DECISION } else { LONGEST_DIVERSION };
        Self { caller_done, callee_done, caller_gone, waits: false, from: now, until }
    }

    /// It is not warned before it hears.
    fn wait(&mut self, now: Instant) {
        (self.waits, self.until) = (true, now + LONGEST_WAIT);
    }

    /// The callee has heard all, or will hear nothing: an operator's own warning may be shorter than the shipped one.
    fn may_decide_soon(&mut self, now: Instant) {
        self.from = self.from.min(now + UNDERSTOOD);
    }

    pub(super) fn progress(&self) -> Diverting {
        let Self { caller_done, callee_done, caller_gone, .. } = *self;
        Diverting { caller_done, callee_done, caller_gone }
    }
}

impl Call {
    /// An operator may take it away.
    pub(super) fn may_be_diverted(&self) -> bool {
        self.answered.is_some() && self.has_callee && self.diversion.is_none()
    }

    /// The action that is due by this verdict and has not been taken.
    fn next_step_up(&self, verdict: &Verdict) -> Option<StepUpDecision> {
        let taken: Vec<StepUp> = self.record.steps.iter().map(|step| step.decision.action).collect();
        self.settings.policy.step_up(verdict, &taken, self.record.taken_back.is_some())
    }

    /// The key with which the callee of a diverted call gets the caller back. The callee of a call out is the one from
    /// whom it has been taken.
    fn way_back(&self) -> Option<char> {
        let offered = self.stranger() == Leg::Caller && self.settings.caller_hears != DivertCaller::HangUp;
        self.settings.take_back_key.filter(|_| offered)
    }

    /// What the caller of a diverted call hears: who has dialled it is told that it was stopped, as its callee is.
    fn dismissal(&self) -> &'static str {
        match self.stranger() {
            Leg::Caller => "caller-diverted",
            Leg::Callee => "callee-diverted-short",
        }
    }

    /// Its callee would not hear a warning.
    fn is_deaf(&self) -> bool {
        self.stranger() == Leg::Caller && !self.media.callee_hears()
    }

    /// What the callee of a diverted call hears: of a key only where one brings the caller back.
    fn warning(&self, caller_gone: bool) -> &'static str {
        if self.way_back().is_some() && !caller_gone { "callee-diverted" } else { "callee-diverted-short" }
    }
}

impl Switchboard {
    /// A verdict of the ear.
    pub(super) fn judged(&mut self, mut call: Box<Call>, verdict: Verdict, now: Instant) {
        let told = call.record.verdict.as_ref();
        let moved = told.is_none_or(|told| verdict.opinion().has_moved(&told.opinion(), NEWS));
        if moved {
            let before = call.record.verdict.as_ref().map(|told| told.class);
            let until = watch::watched_until(call.settings.watch_for, before, verdict.class, verdict.at);
            if let (Some(until), Some(listens), Some(answered)) = (until, &mut call.listens_until, call.answered) {
                *listens = answered + until.0;
            }
            self.changed(call.id);
            self.happened(&call, now, Event::Judged { verdict: verdict.clone() });
            call.record.verdict = Some(Box::new(verdict.clone()));
        }
        if call.guard.is_some() && call.settings.policy.lifts_guard(&verdict) {
            self.lift(&mut call, Lifted::Live, Held::Nothing, now);
        }
        while let Some(decision) = call.next_step_up(&verdict) {
            match self.step_up(call, decision, now) {
                Some(left) => call = left,
                None => return,
            }
        }
        self.keep(call);
    }

    /// None: the call has ended with it.
    fn step_up(&mut self, mut call: Box<Call>, decision: StepUpDecision, now: Instant) -> Option<Box<Call>> {
        let action = decision.action;
        let mild = matches!(action, StepUp::Guard | StepUp::Whisper);
        let enforcement = match call.settings.enforce {
            false => Enforcement::Observed,
            // Its callee is not there, or hears a warning already.
            true if mild && (!call.has_callee || call.diversion.is_some()) => Enforcement::NotEnforced,
            true => Enforcement::Done,
        };
        self.took(&mut call, decision, enforcement, now);
        match (enforcement, action) {
            (Enforcement::Done, StepUp::Guard) => self.guard(&mut call),
            (Enforcement::Done, StepUp::Whisper) => self.whisper(&mut call),
            (Enforcement::Done, StepUp::Divert) => self.divert(&mut call, now),
            (Enforcement::Done, StepUp::HangUp) => {
                self.hang_up(call, EndReason::HungUp, now);
                return None;
            }
            (Enforcement::Observed | Enforcement::NotEnforced, _) => {}
        }
        Some(call)
    }

    /// An operator takes a call away. One that is not answered, or has been taken away, stays as it is.
    pub(super) fn divert_by_order(&mut self, mut call: Box<Call>, now: Instant) {
        if !call.may_be_diverted() {
            return self.keep(call);
        }
        let verdict = call.record.verdict.as_deref().cloned().unwrap_or_else(|| no_verdict(call.time(now)));
        self.took(&mut call, ordered(verdict), Enforcement::Done, now);
        self.divert(&mut call, now);
        self.keep(call);
    }

    fn took(&mut self, call: &mut Call, decision: StepUpDecision, enforcement: Enforcement, now: Instant) {
        let at = call.time(now);
        call.record.steps.push(SteppedUp { at, decision: decision.clone(), enforcement });
        self.changed(call.id);
        self.happened(call, now, Event::SteppedUp { at, decision, enforcement });
    }

    /// Goes on with a diversion of another process: who has not heard all hears it from its beginning.
    pub(super) fn divert_again(&mut self, call: &mut Call, diverting: Diverting, now: Instant) {
        self.let_a_key_decide(call);
        for from in Leg::BOTH {
            self.cut(call, from, true);
        }
        let mut diversion = Diversion::at(diverting, now);
        if !diverting.callee_done && call.is_deaf() {
            diversion.wait(now);
        } else if !diverting.callee_done {
            self.play(call, Leg::Callee, call.warning(diverting.caller_gone));
        }
        if !diverting.caller_done {
            self.play(call, Leg::Caller, call.dismissal());
        }
        call.diversion = Some(diversion);
    }

    fn divert(&mut self, call: &mut Call, now: Instant) {
        // It has been decided: the ear is for calls that have not.
        call.listens_until = None;
        let obeyed_until = self.let_a_key_decide(call).map_or(now, |until| until.min(now + NAMED));
        self.out(Output::Media(MediaCommand::StopTap { call: call.id }));
        for from in Leg::BOTH {
            self.cut(call, from, true);
        }
        let mut diversion = Diversion {
            caller_done: false,
            callee_done: false,
            caller_gone: false,
            waits: false,
            from: obeyed_until.max(now + UNDERSTOOD),
            until: now + LONGEST_DIVERSION,
        };
        match call.settings.callee_hears {
            DivertCallee::Announcement if call.is_deaf() => diversion.wait(now),
            DivertCallee::Announcement => {
                self.play(call, Leg::Callee, call.warning(false));
            }
            DivertCallee::Silence => diversion.callee_done = true,
            DivertCallee::HangUp => {
                diversion.callee_done = true;
                self.bye(call, Leg::Callee, now);
            }
        }
        match call.settings.caller_hears {
            DivertCaller::Announcement => self.play(call, Leg::Caller, call.dismissal()),
            DivertCaller::Silence => diversion.caller_done = true,
            DivertCaller::HangUp => {
                diversion.caller_done = true;
                diversion.caller_gone = true;
                self.bye(call, Leg::Caller, now);
            }
        }
        if diversion.caller_done && diversion.callee_done {
            diversion.until = now + DECISION;
            diversion.may_decide_soon(now);
        }
        call.diversion = Some(diversion);
    }

    /// Plays the warning that has waited. A hold has ended, or has lasted too long.
    pub(super) fn warn(&mut self, call: &mut Call, now: Instant) {
        let Some(diversion) = call.diversion.as_mut().filter(|diversion| diversion.waits) else { return };
        diversion.waits = false;
        diversion.from = diversion.from.max(now + UNDERSTOOD);
        diversion.until = now + LONGEST_DIVERSION;
        let caller_gone = diversion.caller_gone;
        self.play(call, Leg::Callee, call.warning(caller_gone));
    }

    /// A leg pressed a key: the callee may take a diverted call back, or send what is held.
    pub(super) fn digit(&mut self, mut call: Box<Call>, leg: Leg, digit: char, pressed: PressedIn, now: Instant) {
        if call.returns(leg, digit, now) {
            return self.keep(call);
        }
        call.record.digits[leg] = call.record.digits[leg].saturating_add(1);
        self.happened(&call, now, Event::Digit { leg });
        if let (Leg::Caller, Some(guard)) = (leg, &mut call.guard) {
            guard.caller_pressed(digit, now);
        }
        if leg == Leg::Callee && call.guard.is_some() {
            self.hold_key(&mut call, digit, pressed, now);
            return self.keep(call);
        }
        let offered = leg == Leg::Callee && call.way_back() == Some(digit);
        let decided = call.diversion.as_ref().filter(|diversion| offered && now >= diversion.from);
        match decided.map(|diversion| diversion.caller_gone) {
            Some(false) => {
                call.diversion = None;
                for to in Leg::BOTH {
                    self.out(Output::Media(MediaCommand::StopPlay { call: call.id, to }));
                    self.cut(&call, to, false);
                }
                self.key_decided(&call, digit, pressed);
                call.session.wait_for_refresh(now);
                self.take_back(&mut call, now);
            }
            // Nobody is there to come back. That it was no scam is the callee's word all the same, and counts for the
            // next call.
            Some(true) if call.record.taken_back.is_none() => self.take_back(&mut call, now),
            Some(true) | None => {}
        }
        self.keep(call);
    }

    fn take_back(&mut self, call: &mut Call, now: Instant) {
        let at = call.time(now);
        call.record.taken_back = Some(at);
        self.changed(call.id);
        self.happened(call, now, Event::TakenBack { at });
    }

    pub(super) fn finished(&mut self, mut call: Box<Call>, to: Leg, now: Instant) {
        match (&call.phase, &mut call.diversion) {
            (Phase::Refusing { .. }, _) => return self.refuse(call, Rejection::Rejected, now),
            (_, Some(diversion)) => {
                match to {
                    Leg::Caller => diversion.caller_done = true,
                    // It may be the guard's voice that has ended.
                    Leg::Callee => diversion.callee_done |= !diversion.waits,
                }
                if diversion.caller_done && diversion.callee_done {
                    diversion.until = now + DECISION;
                }
                if diversion.callee_done {
                    diversion.may_decide_soon(now);
                }
                self.changed(call.id);
            }
            // We had answered it ourselves, and all has been said.
            (Phase::Answering { .. } | Phase::Answered { .. }, None) if !call.has_callee => {
                return self.hang_up(call, EndReason::Diverted, now);
            }
            (_, None) => {}
        }
        self.keep(call);
    }
}

/// A verdict for what no detector asked for.
fn no_verdict(at: CallTime) -> Verdict {
    let Opinion { class, probabilities } = Opinion::NOBODY;
    Verdict { at, class, probabilities, reasons: Vec::new() }
}

/// What an operator's order to divert is called in records.
fn ordered(verdict: Verdict) -> StepUpDecision {
    StepUpDecision { action: StepUp::Divert, rule: Arc::from("operator"), verdict }
}
