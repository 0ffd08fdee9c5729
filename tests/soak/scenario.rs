//! What the calls of a run are: who does what, and when.

use std::time::Duration;

use ringfence::units::Leg;

use super::dice::Dice;
use super::scripts;

/// Writes into the script of an ordinary call what its scenario is about.
pub(crate) type Write = fn(&mut Script, &mut Dice);

/// Each scenario, its name, its weight, and how its call ends in a network that loses nothing.
#[rustfmt::skip]
pub(crate) const ALL: &[(Write, &str, u64, &[&str])] = &[
    (scripts::talk, "talk", 30, &["bye"]),
    (scripts::callee_hangs_up, "callee hangs up", 15, &["bye"]),
    (scripts::both_hang_up, "both hang up", 3, &["bye"]),
    (scripts::cancelled, "cancelled", 8, &["cancelled"]),
    (scripts::answer_after_cancel, "answer after CANCEL", 4, &["cancelled"]),
    (scripts::early_bye, "BYE while it rings", 2, &["cancelled"]),
    (scripts::refused, "refused", 8, &["refused"]),
    (scripts::challenged, "challenged", 3, &["bye", "challenged"]),
    (scripts::caller_loses_patience, "caller loses patience", 2, &["cancelled"]),
    (scripts::rings_for_ever, "rings for ever", 1, &["unanswered"]),
    (scripts::dead_callee, "dead callee", 2, &["unreachable"]),
    (scripts::hold_and_resume, "hold and resume", 5, &["bye"]),
    (scripts::held_by_callee, "held by callee", 3, &["bye"]),
    (scripts::held_and_left, "held, both vanish, operator hangs up", 1, &["hang_up"]),
    (scripts::held_and_forgotten, "held, then both vanish", 1, &["expired"]),
    (scripts::held_for_long, "held for long", 1, &["bye"]),
    (scripts::timer_kept, "session timer kept", 1, &["bye"]),
    (scripts::timer_expires, "session timer expires", 1, &["expired"]),
    (scripts::update, "UPDATE", 3, &["bye"]),
    (scripts::info_and_options, "INFO and OPTIONS", 2, &["bye"]),
    (scripts::glare, "glare", 2, &["bye"]),
    (scripts::re_invite_cancelled, "re-INVITE cancelled", 2, &["bye"]),
    (scripts::re_invite_crosses_bye, "re-INVITE crosses BYE", 2, &["bye"]),
    (scripts::quick_holds, "quick holds", 2, &["bye"]),
    (scripts::delayed_offer, "delayed offer", 3, &["bye"]),
    (scripts::early_forks, "forks ring", 3, &["bye"]),
    (scripts::two_answers, "two forks answer", 2, &["bye"]),
    (scripts::answer_behind_the_end, "fork answers behind the end", 2, &["bye"]),
    (scripts::reliable, "reliable 1xx", 3, &["bye"]),
    (scripts::reliable_answer_after_cancel, "reliable 1xx, answer after CANCEL", 1, &["cancelled"]),
    (scripts::never_acks, "never ACKs", 2, &["no_ack", "bye"]),
    (scripts::caller_vanishes_ringing, "caller vanishes ringing", 1, &["no_ack", "bye"]),
    (scripts::caller_vanishes_talking, "caller vanishes talking", 1, &["bye"]),
    (scripts::callee_vanishes_ringing, "callee vanishes ringing", 1, &["cancelled", "unanswered"]),
    (scripts::callee_vanishes_talking, "callee vanishes talking", 1, &["bye"]),
    (scripts::both_vanish, "both vanish", 1, &["media"]),
    (scripts::declined, "declined by rule", 1, &["rejected"]),
    (scripts::refused_in_words, "refused in words", 2, &["rejected", "cancelled"]),
    (scripts::diverted_by_rule, "diverted by rule", 2, &["diverted", "bye"]),
    (scripts::diverted_by_rule_no_ack, "diverted by rule, never ACKs", 1, &["no_ack", "diverted"]),
    (scripts::announcement_held, "announcement held", 1, &["diverted"]),
    (scripts::scam, "scam", 3, &["diverted"]),
    (scripts::scam_taken_back, "scam taken back", 1, &["bye", "diverted"]),
    (scripts::scammer_hangs_up, "scammer hangs up", 1, &["diverted", "bye"]),
    (scripts::warned_callee_hangs_up, "warned callee hangs up", 1, &["diverted", "bye"]),
    (scripts::operator_hangs_up, "operator hangs up", 1, &["hang_up"]),
    (scripts::operator_hangs_up_ringing, "operator hangs up ringing", 1, &["hang_up"]),
    (scripts::no_ports, "no media ports", 1, &["media"]),
    (scripts::media_lost_ringing, "media lost ringing", 1, &["media"]),
];

/// What the callee's telephone says to the INVITE.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reply {
    Trying,
    Ringing { fork: u8, sdp: bool, reliable: bool },
    Answer { fork: u8 },
    Fail(u16),
}

/// What somebody does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Do {
    Cancel,
    EarlyBye,
    Bye(Leg),
    Hold(Leg),
    Resume(Leg),
    CancelReInvite(Leg),
    Update(Leg),
    Info(Leg),
    Options(Leg),
    Vanish(Leg),
    Judge,
    TakeBack,
    HangUp,
    MediaFails,
}

/// One call.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    /// From the PBX to the trunk.
    pub(crate) outbound: bool,
    pub(crate) dials: &'static str,
    pub(crate) delayed_offer: bool,
    pub(crate) acks: bool,
    /// The callee answers although it has been cancelled.
    pub(crate) ignores_cancel: bool,
    /// The callee asks for credentials first.
    pub(crate) challenges: bool,
    /// The callee takes its time over a re-INVITE.
    pub(crate) slow_re_invite: bool,
    pub(crate) no_ports: bool,
    /// Both ends know session timers.
    pub(crate) timer: bool,
    /// From the INVITE's arrival, each after the one before it.
    pub(crate) replies: Vec<(Duration, Reply)>,
    /// From the first INVITE.
    pub(crate) early: Vec<(Duration, Do)>,
    /// From when the caller has an answer.
    pub(crate) later: Vec<(Duration, Do)>,
}

/// The phone that is called first rings, and answers.
pub(super) const RING: Reply = Reply::Ringing { fork: 0, sdp: false, reliable: false };
pub(super) const ANSWER: Reply = Reply::Answer { fork: 0 };

/// Draws a scenario.
pub(crate) fn draw(dice: &mut Dice) -> usize {
    let total: u64 = ALL.iter().map(|(_, _, weight, _)| weight).sum();
    let mut left = dice.number(total);
    for (number, (_, _, weight, _)) in ALL.iter().enumerate() {
        if left < *weight {
            return number;
        }
        left -= weight;
    }
    0
}

impl Script {
    pub(crate) fn of(write: Write, dice: &mut Dice) -> Self {
        let mut script = Self::ordinary(dice);
        write(&mut script, dice);
        // Rules, verdicts and the ear are for calls from outside.
        let inbound_only = script.dials != "201" || script.later.iter().any(|(_, what)| matches!(what, Do::Judge));
        script.outbound &= !inbound_only;
        script
    }

    /// A call that is answered and ended by its caller.
    fn ordinary(dice: &mut Dice) -> Self {
        let talk = dice.ms(500, 40_000);
        let ring = dice.ms(200, 8_000);
        let mut script = Self {
            outbound: dice.chance(0.25),
            dials: "201",
            delayed_offer: false,
            acks: true,
            ignores_cancel: false,
            challenges: false,
            slow_re_invite: false,
            no_ports: false,
            timer: false,
            replies: vec![(dice.ms(0, 100), Reply::Trying), (dice.ms(0, 300), RING), (ring, ANSWER)],
            early: Vec::new(),
            later: vec![(talk, Do::Bye(Leg::Caller))],
        };
        if dice.chance(0.3) {
            script.replies.remove(0);
        }
        script
    }

    /// Somebody leaves without a word.
    pub(crate) fn vanishes(&self) -> bool {
        self.early.iter().chain(&self.later).any(|(_, what)| matches!(what, Do::Vanish(_)))
    }
}
