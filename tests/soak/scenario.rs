//! What the calls of a run are: who does what, and when.

use std::time::Duration;

use ringfence::units::Leg;

use super::dice::Dice;

/// What a call is about.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Scenario {
    Talk,
    CalleeHangsUp,
    BothHangUp,
    Cancelled,
    AnswerAfterCancel,
    EarlyBye,
    Refused,
    Challenged,
    CallerLosesPatience,
    RingsForEver,
    DeadCallee,
    HoldAndResume,
    HeldByCallee,
    HeldAndLeft,
    HeldAndForgotten,
    HeldForLong,
    TimerKept,
    TimerExpires,
    Update,
    InfoAndOptions,
    Glare,
    ReInviteCancelled,
    ReInviteCrossesBye,
    QuickHolds,
    DelayedOffer,
    EarlyForks,
    TwoAnswers,
    AnswerBehindTheEnd,
    Reliable,
    ReliableAnswerAfterCancel,
    NeverAcks,
    CallerVanishesRinging,
    CallerVanishesTalking,
    CalleeVanishesRinging,
    CalleeVanishesTalking,
    BothVanish,
    Declined,
    RefusedInWords,
    DivertedByRule,
    DivertedByRuleNoAck,
    AnnouncementHeld,
    Scam,
    ScamTakenBack,
    ScammerHangsUp,
    WarnedCalleeHangsUp,
    OperatorHangsUp,
    OperatorHangsUpRinging,
    NoPorts,
    MediaLostRinging,
}

use Scenario as S;

/// Each scenario, its name, its weight, and how its call ends in a network that loses nothing.
#[rustfmt::skip]
pub(crate) const ALL: &[(Scenario, &str, u64, &[&str])] = &[
    (S::Talk, "talk", 30, &["bye"]),
    (S::CalleeHangsUp, "callee hangs up", 15, &["bye"]),
    (S::BothHangUp, "both hang up", 3, &["bye"]),
    (S::Cancelled, "cancelled", 8, &["cancelled"]),
    (S::AnswerAfterCancel, "answer after CANCEL", 4, &["cancelled"]),
    (S::EarlyBye, "BYE while it rings", 2, &["cancelled"]),
    (S::Refused, "refused", 8, &["refused"]),
    (S::Challenged, "challenged", 3, &["bye", "challenged"]),
    (S::CallerLosesPatience, "caller loses patience", 2, &["cancelled"]),
    (S::RingsForEver, "rings for ever", 1, &["unanswered"]),
    (S::DeadCallee, "dead callee", 2, &["unreachable"]),
    (S::HoldAndResume, "hold and resume", 5, &["bye"]),
    (S::HeldByCallee, "held by callee", 3, &["bye"]),
    (S::HeldAndLeft, "held, both vanish, operator hangs up", 1, &["hang_up"]),
    (S::HeldAndForgotten, "held, then both vanish", 1, &["expired"]),
    (S::HeldForLong, "held for long", 1, &["bye"]),
    (S::TimerKept, "session timer kept", 1, &["bye"]),
    (S::TimerExpires, "session timer expires", 1, &["expired"]),
    (S::Update, "UPDATE", 3, &["bye"]),
    (S::InfoAndOptions, "INFO and OPTIONS", 2, &["bye"]),
    (S::Glare, "glare", 2, &["bye"]),
    (S::ReInviteCancelled, "re-INVITE cancelled", 2, &["bye"]),
    (S::ReInviteCrossesBye, "re-INVITE crosses BYE", 2, &["bye"]),
    (S::QuickHolds, "quick holds", 2, &["bye"]),
    (S::DelayedOffer, "delayed offer", 3, &["bye"]),
    (S::EarlyForks, "forks ring", 3, &["bye"]),
    (S::TwoAnswers, "two forks answer", 2, &["bye"]),
    (S::AnswerBehindTheEnd, "fork answers behind the end", 2, &["bye"]),
    (S::Reliable, "reliable 1xx", 3, &["bye"]),
    (S::ReliableAnswerAfterCancel, "reliable 1xx, answer after CANCEL", 1, &["cancelled"]),
    (S::NeverAcks, "never ACKs", 2, &["no_ack", "bye"]),
    (S::CallerVanishesRinging, "caller vanishes ringing", 1, &["no_ack", "bye"]),
    (S::CallerVanishesTalking, "caller vanishes talking", 1, &["bye"]),
    (S::CalleeVanishesRinging, "callee vanishes ringing", 1, &["cancelled", "unanswered"]),
    (S::CalleeVanishesTalking, "callee vanishes talking", 1, &["bye"]),
    (S::BothVanish, "both vanish", 1, &["media"]),
    (S::Declined, "declined by rule", 1, &["rejected"]),
    (S::RefusedInWords, "refused in words", 2, &["rejected", "cancelled"]),
    (S::DivertedByRule, "diverted by rule", 2, &["diverted", "bye"]),
    (S::DivertedByRuleNoAck, "diverted by rule, never ACKs", 1, &["no_ack", "diverted"]),
    (S::AnnouncementHeld, "announcement held", 1, &["diverted"]),
    (S::Scam, "scam", 3, &["diverted"]),
    (S::ScamTakenBack, "scam taken back", 1, &["bye", "diverted"]),
    (S::ScammerHangsUp, "scammer hangs up", 1, &["diverted", "bye"]),
    (S::WarnedCalleeHangsUp, "warned callee hangs up", 1, &["diverted", "bye"]),
    (S::OperatorHangsUp, "operator hangs up", 1, &["hang_up"]),
    (S::OperatorHangsUpRinging, "operator hangs up ringing", 1, &["hang_up"]),
    (S::NoPorts, "no media ports", 1, &["media"]),
    (S::MediaLostRinging, "media lost ringing", 1, &["media"]),
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

const RING: Reply = Reply::Ringing { fork: 0, sdp: false, reliable: false };
const EARLY_MEDIA: Reply = Reply::Ringing { fork: 0, sdp: true, reliable: false };
const RELIABLE: Reply = Reply::Ringing { fork: 0, sdp: true, reliable: true };
const OTHER_FORK: Reply = Reply::Ringing { fork: 1, sdp: true, reliable: false };
const ANSWER: Reply = Reply::Answer { fork: 0 };

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
    pub(crate) fn of(scenario: Scenario, dice: &mut Dice) -> Self {
        use Leg::{Callee, Caller};
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
            later: vec![(talk, Do::Bye(Caller))],
        };
        if dice.chance(0.3) {
            script.replies.remove(0);
        }
        let rings = |what: &[Reply]| what.iter().map(|reply| (Duration::from_millis(400), *reply)).collect::<Vec<_>>();
        let later = |list: &[(u64, Do)]| {
            list.iter().map(|(ms, what)| (Duration::from_millis(*ms), *what)).collect::<Vec<(Duration, Do)>>()
        };
        let at = |dice: &mut Dice, from: u64, to: u64| dice.ms(from, to).as_millis() as u64;
        match scenario {
            S::Talk => {}
            S::CalleeHangsUp => script.later = vec![(talk, Do::Bye(Callee))],
            S::BothHangUp => {
                script.later = vec![(talk, Do::Bye(Callee)), (talk + dice.ms(0, 60), Do::Bye(Caller))];
            }
            S::Cancelled => {
                script.replies = rings(&[RING]);
                script.early = vec![(dice.ms(500, 10_000), Do::Cancel)];
            }
            S::AnswerAfterCancel => {
                script.ignores_cancel = true;
                let cancel = dice.ms(1_000, 5_000);
                script.replies = vec![(dice.ms(0, 200), RING), (cancel + dice.ms(0, 1_500), ANSWER)];
                script.early = vec![(cancel, Do::Cancel)];
            }
            S::EarlyBye => {
                script.replies = rings(&[EARLY_MEDIA]);
                script.early = vec![(dice.ms(1_500, 10_000), Do::EarlyBye)];
            }
            S::Refused => {
                let code = dice.one_of(&[404, 480, 486, 503, 603]);
                script.replies = vec![(dice.ms(0, 100), Reply::Trying), (dice.ms(0, 5_000), Reply::Fail(code))];
            }
            S::Challenged => script.challenges = true,
            S::CallerLosesPatience => {
                script.replies = rings(&[Reply::Trying, RING]);
                script.early = vec![(dice.ms(60_000, 165_000), Do::Cancel)];
            }
            S::RingsForEver => script.replies = rings(&[RING]),
            S::DeadCallee => script.replies = Vec::new(),
            S::HoldAndResume => {
                let hold = at(dice, 1_000, 4_000);
                let resume = hold + at(dice, 3_000, 70_000);
                script.later = later(&[
                    (hold, Do::Hold(Caller)),
                    (resume, Do::Resume(Caller)),
                    (resume + at(dice, 3_000, 10_000), Do::Bye(Callee)),
                ]);
            }
            S::HeldByCallee => {
                let hold = at(dice, 1_000, 4_000);
                let resume = hold + at(dice, 3_000, 70_000);
                script.later = later(&[
                    (hold, Do::Hold(Callee)),
                    (resume, Do::Resume(Callee)),
                    (resume + at(dice, 1_000, 10_000), Do::Bye(Caller)),
                ]);
            }
            S::HeldAndLeft => {
                script.later = later(&[
                    (1_000, Do::Hold(Caller)),
                    (20_000, Do::Vanish(Caller)),
                    (20_000, Do::Vanish(Callee)),
                    (200_000, Do::HangUp),
                ]);
            }
            S::HeldAndForgotten => {
                script.later =
                    later(&[(1_000, Do::Hold(Caller)), (20_000, Do::Vanish(Caller)), (20_000, Do::Vanish(Callee))]);
            }
            S::HeldForLong => {
                script.later = later(&[(1_000, Do::Hold(Callee)), (at(dice, 400_000, 1_000_000), Do::Bye(Callee))]);
            }
            S::TimerKept => {
                script.timer = true;
                let updates = (1..5).map(|number| (number * 50_000, Do::Update(dice.one_of(&[Caller, Callee]))));
                let mut steps: Vec<(u64, Do)> = updates.collect();
                steps.push((280_000, Do::Bye(Caller)));
                script.later = later(&steps);
            }
            S::TimerExpires => {
                script.timer = true;
                script.later =
                    later(&[(1_000, Do::Hold(Caller)), (20_000, Do::Vanish(Caller)), (20_000, Do::Vanish(Callee))]);
            }
            S::Update => {
                let leg = dice.one_of(&[Caller, Callee]);
                script.later =
                    later(&[(at(dice, 500, 4_000), Do::Update(leg)), (at(dice, 8_000, 20_000), Do::Bye(Caller))]);
            }
            S::InfoAndOptions => {
                script.later = later(&[
                    (at(dice, 500, 4_000), Do::Info(Callee)),
                    (at(dice, 500, 4_000), Do::Options(Caller)),
                    (at(dice, 3_000, 20_000), Do::Bye(Callee)),
                ]);
            }
            S::Glare => {
                let hold = at(dice, 500, 3_000);
                script.later = later(&[
                    (hold, Do::Hold(Caller)),
                    (hold + at(dice, 0, 50), Do::Hold(Callee)),
                    (hold + at(dice, 3_000, 20_000), Do::Bye(Caller)),
                ]);
            }
            S::ReInviteCancelled => {
                script.slow_re_invite = true;
                script.later = later(&[
                    (1_000, Do::Hold(Caller)),
                    (at(dice, 1_200, 3_500), Do::CancelReInvite(Caller)),
                    (at(dice, 12_000, 20_000), Do::Bye(Callee)),
                ]);
            }
            S::ReInviteCrossesBye => {
                let hold = at(dice, 500, 3_000);
                script.later = later(&[(hold, Do::Hold(Caller)), (hold + at(dice, 0, 400), Do::Bye(Callee))]);
            }
            S::QuickHolds => {
                let hold = at(dice, 0, 1_000);
                let resume = hold + at(dice, 50, 400);
                script.later = later(&[
                    (hold, Do::Hold(Caller)),
                    (resume, Do::Resume(Caller)),
                    (resume + at(dice, 50, 400), Do::Hold(Callee)),
                    (resume + at(dice, 500, 800), Do::Resume(Callee)),
                    (resume + at(dice, 6_000, 40_000), Do::Bye(Callee)),
                ]);
            }
            S::DelayedOffer => script.delayed_offer = true,
            S::EarlyForks => script.replies = rings(&[RING, OTHER_FORK, ANSWER]),
            S::TwoAnswers => {
                let second = dice.ms(0, 1_000);
                script.replies = rings(&[RING, OTHER_FORK, ANSWER]);
                script.replies.push((second, Reply::Answer { fork: 1 }));
            }
            S::AnswerBehindTheEnd => {
                script.replies = rings(&[RING, OTHER_FORK, ANSWER]);
                script.replies.push((dice.ms(1_500, 5_000), Reply::Answer { fork: 1 }));
                script.later = later(&[(at(dice, 100, 1_000), Do::Bye(Caller))]);
            }
            S::Reliable => script.replies = rings(&[RELIABLE, RELIABLE, RELIABLE, ANSWER]),
            S::ReliableAnswerAfterCancel => {
                script.ignores_cancel = true;
                script.replies = rings(&[RELIABLE, RELIABLE, RELIABLE]);
                script.replies.push((dice.ms(4_000, 6_000), ANSWER));
                script.early = vec![(Duration::from_millis(4_500), Do::Cancel)];
            }
            S::NeverAcks => {
                script.acks = false;
                script.later = Vec::new();
            }
            S::CallerVanishesRinging => {
                script.replies = vec![(dice.ms(0, 200), RING), (dice.ms(1_500, 5_000), ANSWER)];
                script.early = vec![(dice.ms(500, 1_500), Do::Vanish(Caller))];
            }
            S::CallerVanishesTalking => {
                script.later = later(&[(at(dice, 500, 5_000), Do::Vanish(Caller)), (40_000, Do::Bye(Callee))]);
            }
            S::CalleeVanishesRinging => {
                script.replies = rings(&[RING]);
                script.early = vec![(dice.ms(2_000, 3_000), Do::Vanish(Callee))];
                if dice.chance(0.5) {
                    script.early.push((dice.ms(20_000, 30_000), Do::Cancel));
                }
            }
            S::CalleeVanishesTalking => {
                script.later = later(&[(at(dice, 500, 5_000), Do::Vanish(Callee)), (30_000, Do::Bye(Caller))]);
            }
            S::BothVanish => {
                script.later =
                    later(&[(at(dice, 500, 5_000), Do::Vanish(Caller)), (at(dice, 500, 5_000), Do::Vanish(Callee))]);
            }
            S::Declined => script.dials = "302",
            S::RefusedInWords => {
                script.dials = "301";
                if dice.chance(0.3) {
                    script.early = vec![(dice.ms(1_000, 5_000), Do::Cancel)];
                }
            }
            S::DivertedByRule => {
                script.dials = "303";
                script.later = if dice.chance(0.5) { vec![(dice.ms(0, 4_000), Do::Bye(Caller))] } else { Vec::new() };
            }
            S::DivertedByRuleNoAck => {
                script.dials = "303";
                script.acks = false;
                script.later = Vec::new();
            }
            S::AnnouncementHeld => {
                script.dials = "303";
                let hold = at(dice, 100, 500);
                script.later = later(&[(hold, Do::Hold(Caller)), (hold + at(dice, 100, 3_000), Do::Resume(Caller))]);
            }
            S::Scam => script.later = vec![(dice.ms(1_000, 9_000), Do::Judge)],
            S::ScamTakenBack => {
                let judged = at(dice, 1_000, 9_000);
                script.later = later(&[
                    (judged, Do::Judge),
                    (judged + at(dice, 500, 3_000), Do::TakeBack),
                    (judged + at(dice, 8_000, 20_000), Do::Bye(Caller)),
                ]);
            }
            S::ScammerHangsUp => {
                let judged = at(dice, 1_000, 9_000);
                script.later = later(&[(judged, Do::Judge), (judged + at(dice, 0, 4_000), Do::Bye(Caller))]);
            }
            S::WarnedCalleeHangsUp => {
                let judged = at(dice, 1_000, 9_000);
                script.later = later(&[(judged, Do::Judge), (judged + at(dice, 0, 4_000), Do::Bye(Callee))]);
            }
            S::OperatorHangsUp => script.later = vec![(dice.ms(0, 10_000), Do::HangUp)],
            S::OperatorHangsUpRinging => {
                script.replies = rings(&[RING]);
                script.early = vec![(dice.ms(600, 3_000), Do::HangUp)];
            }
            S::NoPorts => script.no_ports = true,
            S::MediaLostRinging => {
                script.replies = vec![(dice.ms(0, 200), RING), (dice.ms(5_000, 9_000), ANSWER)];
                script.early = vec![(dice.ms(600, 4_000), Do::MediaFails)];
            }
        }
        // Rules, verdicts and the ear are for calls from outside.
        let inbound_only = script.dials != "201" || script.later.iter().any(|(_, what)| matches!(what, Do::Judge));
        script.outbound &= !inbound_only;
        script
    }

    /// Somebody leaves without a word.
    pub(crate) fn vanishes(&self) -> bool {
        self.early.iter().chain(&self.later).any(|(_, what)| matches!(what, Do::Vanish(_)))
    }
}
