//! Signs of life: how a call ends when its ends have gone without a word.
//!
//! Three ways. Media that stop are told by the media path. A session timer (RFC 4028), where one runs, is watched: each
//! 2xx to an INVITE or UPDATE sets it anew, and when it expires both legs are ended. The ends have the first word: they
//! give up earlier (§10). A call that is held and silent, and has no timer, is asked after: both ends get an OPTIONS
//! inside the dialog now and then.
//!
//! We refresh nothing ourselves. As a proxy would (§8), we ask for a timer where the caller has not, and where only the
//! caller knows timers we make it the refresher; so one end that knows them is enough.

use std::time::{Duration, Instant};

use super::event::EndReason;
use super::forward;
use super::state::Call;
use super::switchboard::Switchboard;
use crate::sip::transaction::{ClientId, ClientKind, T1X64};
use crate::sip::wire::{Edits, Message, StatusCode};
use crate::units::{CallId, Leg, PerLeg};

/// What is known of a call's life.
#[derive(Debug, Default)]
pub(super) struct Session {
    /// Interval and end of the session timer, where one runs.
    pub(super) timer: Option<(Duration, Instant)>,
    /// What the first INVITE wishes, for the answer to it.
    pub(super) wish: TimerWish,
    /// What we wrote into the first answer; its repetitions say it too.
    pub(super) granted: Option<Duration>,
    /// Next time both ends are asked whether they are there.
    pub(super) check_at: Option<Instant>,
    pub(super) checks: PerLeg<Check>,
}

/// What a request wishes of the session timer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct TimerWish {
    /// For as long as this.
    pub(super) interval: Option<Duration>,
    /// Its sender can refresh.
    pub(super) knows_timers: bool,
}

/// What an end made of our questions.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Check {
    /// It has answered one.
    answers: bool,
    /// It has not answered the last one.
    silent: bool,
    /// One is under way.
    pending: bool,
}

/// A question of ours.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question {
    pub(super) call: CallId,
    pub(super) leg: Leg,
}

impl TimerWish {
    pub(super) fn of(request: &Message<'_>) -> Self {
        Self { interval: request.session_expires(), knows_timers: request.supports("timer") }
    }
}

impl Session {
    pub(super) fn deadline(&self) -> Option<Instant> {
        let timer = self.timer.map(|(_, until)| until);
        [timer, self.check_at].into_iter().flatten().min()
    }

    /// Takes in a 2xx to a request with this wish; what has to be written into it, if anything.
    pub(super) fn refreshed(&mut self, wish: TimerWish, answer: &Message<'_>, now: Instant) -> Option<Duration> {
        let granted = answer.session_expires();
        // The callee knows no timers and the caller does: it refreshes, and is told so (RFC 4028 §8.2).
        let inserted = wish.interval.filter(|_| wish.knows_timers && granted.is_none());
        self.timer = granted.or(inserted).map(|interval| (interval, now + interval));
        inserted
    }

    /// Refreshes were refused for a while, and the next one is given time to come.
    pub(super) fn wait_for_refresh(&mut self, now: Instant) {
        if let Some((_, until)) = &mut self.timer {
            *until = (*until).max(now + T1X64);
        }
    }
}

/// Writes into a 2xx that its receiver is to refresh.
pub(super) fn grant(edits: &mut Edits, answer: &Message<'_>, interval: Duration) {
    edits.append(answer, &format!("Session-Expires: {};refresher=uac", interval.as_secs()));
    edits.append(answer, "Require: timer");
}

impl Switchboard {
    /// Asks for a session timer in an INVITE on its way to the callee, where it does not by itself. What it wishes
    /// then.
    pub(super) fn ask_for_timer(call: &Call, edits: &mut Edits, invite: &Message<'_>) -> TimerWish {
        let wish = TimerWish::of(invite);
        let (None, Some(interval)) = (wish.interval, call.settings.session_timer) else { return wish };
        let interval = interval.max(invite.min_session_expires().unwrap_or_default());
        edits.append(invite, &format!("Session-Expires: {}", interval.as_secs()));
        TimerWish { interval: Some(interval), ..wish }
    }

    /// Neither end has sent anything for long, and need not, as the call is on hold.
    pub(super) fn held_and_silent(&mut self, mut call: Box<Call>, now: Instant) {
        if call.session.check_at.is_none() {
            call.session.check_at = Some(now + call.settings.held_check);
        }
        self.keep(call);
    }

    /// What is due of a call's signs of life. None: it has ended.
    pub(super) fn session_due(&mut self, mut call: Box<Call>, now: Instant) -> Option<Box<Call>> {
        if call.session.timer.is_some_and(|(_, until)| now >= until) {
            self.hang_up(call, EndReason::Expired, now);
            return None;
        }
        if call.session.check_at.is_some_and(|at| now >= at) && !call.may_be_silent() {
            // Off hold, a silence is told anew.
            call.session.check_at = None;
            for leg in Leg::BOTH {
                call.session.checks[leg].silent = false;
            }
        }
        if call.session.check_at.is_some_and(|at| now >= at) {
            call.session.check_at = Some(now + call.settings.held_check);
            for leg in Leg::BOTH {
                self.ask(&mut call, leg, now);
            }
        }
        Some(call)
    }

    /// An OPTIONS in the dialog of `leg`. It has the number of the last request that went there: whoever still has the
    /// dialog answers or says that it is out of order (RFC 3261 §12.2.2), whoever has lost it says 481, and for none of
    /// them the numbers move, which are the ends' own.
    fn ask(&mut self, call: &mut Call, leg: Leg, now: Instant) {
        if call.nobody_at(leg) || call.session.checks[leg].pending {
            return;
        }
        let Some((client, branch)) = self.transactions.reserve(ClientKind::NonInvite) else { return };
        let party = &call.party[leg];
        let bytes = forward::own_request(party, &call.call_id, "OPTIONS", call.local(leg), &branch, party.cseq);
        self.transactions.send(client, &bytes, call.flow[leg], now);
        self.questions.insert(client, Question { call: call.id, leg });
        call.session.checks[leg].pending = true;
    }

    /// An answer to a question, or None where there was none in time.
    pub(super) fn question_answered(&mut self, client: ClientId, code: Option<StatusCode>, now: Instant) {
        if code.is_some_and(StatusCode::is_provisional) {
            return;
        }
        let Some(Question { call, leg }) = self.questions.remove(&client) else { return };
        let Some(mut call) = self.take(call) else { return };
        let gone = code == Some(StatusCode::NO_SUCH_CALL);
        let silent = matches!(code, None | Some(StatusCode::REQUEST_TIMEOUT));
        let before = call.session.checks[leg];
        call.session.checks[leg] = Check { answers: before.answers || !silent, silent, pending: false };
        // One that never answers may not like such questions; one that did, and is silent twice, is gone. So are both,
        // if neither answers.
        let other = call.session.checks[leg.other()];
        let twice = silent && before.silent && before.answers;
        let ended = gone || twice || silent && other.silent && !other.pending;
        if ended && call.may_be_silent() {
            return self.hang_up(call, EndReason::Expired, now);
        }
        self.keep(call);
    }
}
