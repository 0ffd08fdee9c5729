//! What each scenario changes in an ordinary call.

use std::time::Duration;

use ringfence::units::Leg::{self, Callee, Caller};

use super::dice::Dice;
use super::scenario::{ANSWER, Do, RING, Reply, Script};

const EARLY_MEDIA: Reply = Reply::Ringing { fork: 0, sdp: true, reliable: false };
const RELIABLE: Reply = Reply::Ringing { fork: 0, sdp: true, reliable: true };
const OTHER_FORK: Reply = Reply::Ringing { fork: 1, sdp: true, reliable: false };

/// Replies one after another, 400 ms apart.
fn rings(replies: &[Reply]) -> Vec<(Duration, Reply)> {
    replies.iter().map(|reply| (Duration::from_millis(400), *reply)).collect()
}

/// Times in milliseconds.
fn later(list: &[(u64, Do)]) -> Vec<(Duration, Do)> {
    list.iter().map(|(ms, what)| (Duration::from_millis(*ms), *what)).collect()
}

/// An ordinary call.
pub(super) fn talk(_: &mut Script, _: &mut Dice) {}

pub(super) fn callee_hangs_up(script: &mut Script, _: &mut Dice) {
    let (talk, _) = script.later[0];
    script.later = vec![(talk, Do::Bye(Callee))];
}

pub(super) fn both_hang_up(script: &mut Script, dice: &mut Dice) {
    let (talk, _) = script.later[0];
    script.later = vec![(talk, Do::Bye(Callee)), (talk + dice.ms(0, 60), Do::Bye(Caller))];
}

pub(super) fn cancelled(script: &mut Script, dice: &mut Dice) {
    script.replies = rings(&[RING]);
    script.early = vec![(dice.ms(500, 10_000), Do::Cancel)];
}

pub(super) fn answer_after_cancel(script: &mut Script, dice: &mut Dice) {
    script.ignores_cancel = true;
    let cancel = dice.ms(1_000, 5_000);
    script.replies = vec![(dice.ms(0, 200), RING), (cancel + dice.ms(0, 1_500), ANSWER)];
    script.early = vec![(cancel, Do::Cancel)];
}

pub(super) fn early_bye(script: &mut Script, dice: &mut Dice) {
    script.replies = rings(&[EARLY_MEDIA]);
    script.early = vec![(dice.ms(1_500, 10_000), Do::EarlyBye)];
}

pub(super) fn refused(script: &mut Script, dice: &mut Dice) {
    let code = dice.one_of(&[404, 480, 486, 503, 603]);
    script.replies = vec![(dice.ms(0, 100), Reply::Trying), (dice.ms(0, 5_000), Reply::Fail(code))];
}

pub(super) fn challenged(script: &mut Script, _: &mut Dice) {
    script.challenges = true;
}

pub(super) fn caller_loses_patience(script: &mut Script, dice: &mut Dice) {
    script.replies = rings(&[Reply::Trying, RING]);
    script.early = vec![(dice.ms(60_000, 165_000), Do::Cancel)];
}

pub(super) fn rings_for_ever(script: &mut Script, _: &mut Dice) {
    script.replies = rings(&[RING]);
}

pub(super) fn dead_callee(script: &mut Script, _: &mut Dice) {
    script.replies = Vec::new();
}

pub(super) fn hold_and_resume(script: &mut Script, dice: &mut Dice) {
    let hold = dice.between(1_000, 4_000);
    let resume = hold + dice.between(3_000, 70_000);
    script.later = later(&[
        (hold, Do::Hold(Caller)),
        (resume, Do::Resume(Caller)),
        (resume + dice.between(3_000, 10_000), Do::Bye(Callee)),
    ]);
}

pub(super) fn held_by_callee(script: &mut Script, dice: &mut Dice) {
    let hold = dice.between(1_000, 4_000);
    let resume = hold + dice.between(3_000, 70_000);
    script.later = later(&[
        (hold, Do::Hold(Callee)),
        (resume, Do::Resume(Callee)),
        (resume + dice.between(1_000, 10_000), Do::Bye(Caller)),
    ]);
}

pub(super) fn held_and_left(script: &mut Script, _: &mut Dice) {
    script.later = later(&[
        (1_000, Do::Hold(Caller)),
        (20_000, Do::Vanish(Caller)),
        (20_000, Do::Vanish(Callee)),
        (200_000, Do::HangUp),
    ]);
}

pub(super) fn held_and_forgotten(script: &mut Script, _: &mut Dice) {
    script.later = later(&[(1_000, Do::Hold(Caller)), (20_000, Do::Vanish(Caller)), (20_000, Do::Vanish(Callee))]);
}

pub(super) fn held_for_long(script: &mut Script, dice: &mut Dice) {
    script.later = later(&[(1_000, Do::Hold(Callee)), (dice.between(400_000, 1_000_000), Do::Bye(Callee))]);
}

pub(super) fn timer_kept(script: &mut Script, dice: &mut Dice) {
    script.timer = true;
    let updates = (1..5).map(|number| (number * 50_000, Do::Update(dice.one_of(&Leg::BOTH))));
    let mut steps: Vec<(u64, Do)> = updates.collect();
    steps.push((280_000, Do::Bye(Caller)));
    script.later = later(&steps);
}

pub(super) fn timer_expires(script: &mut Script, _: &mut Dice) {
    script.timer = true;
    script.later = later(&[(1_000, Do::Hold(Caller)), (20_000, Do::Vanish(Caller)), (20_000, Do::Vanish(Callee))]);
}

pub(super) fn update(script: &mut Script, dice: &mut Dice) {
    let leg = dice.one_of(&Leg::BOTH);
    script.later =
        later(&[(dice.between(500, 4_000), Do::Update(leg)), (dice.between(8_000, 20_000), Do::Bye(Caller))]);
}

pub(super) fn info_and_options(script: &mut Script, dice: &mut Dice) {
    script.later = later(&[
        (dice.between(500, 4_000), Do::Info(Callee)),
        (dice.between(500, 4_000), Do::Options(Caller)),
        (dice.between(3_000, 20_000), Do::Bye(Callee)),
    ]);
}

pub(super) fn glare(script: &mut Script, dice: &mut Dice) {
    let hold = dice.between(500, 3_000);
    script.later = later(&[
        (hold, Do::Hold(Caller)),
        (hold + dice.between(0, 50), Do::Hold(Callee)),
        (hold + dice.between(3_000, 20_000), Do::Bye(Caller)),
    ]);
}

pub(super) fn re_invite_cancelled(script: &mut Script, dice: &mut Dice) {
    script.slow_re_invite = true;
    script.later = later(&[
        (1_000, Do::Hold(Caller)),
        (dice.between(1_200, 3_500), Do::CancelReInvite(Caller)),
        (dice.between(12_000, 20_000), Do::Bye(Callee)),
    ]);
}

pub(super) fn re_invite_crosses_bye(script: &mut Script, dice: &mut Dice) {
    let hold = dice.between(500, 3_000);
    script.later = later(&[(hold, Do::Hold(Caller)), (hold + dice.between(0, 400), Do::Bye(Callee))]);
}

pub(super) fn quick_holds(script: &mut Script, dice: &mut Dice) {
    let hold = dice.between(0, 1_000);
    let resume = hold + dice.between(50, 400);
    script.later = later(&[
        (hold, Do::Hold(Caller)),
        (resume, Do::Resume(Caller)),
        (resume + dice.between(50, 400), Do::Hold(Callee)),
        (resume + dice.between(500, 800), Do::Resume(Callee)),
        (resume + dice.between(6_000, 40_000), Do::Bye(Callee)),
    ]);
}

pub(super) fn delayed_offer(script: &mut Script, _: &mut Dice) {
    script.delayed_offer = true;
}

pub(super) fn early_forks(script: &mut Script, _: &mut Dice) {
    script.replies = rings(&[RING, OTHER_FORK, ANSWER]);
}

pub(super) fn two_answers(script: &mut Script, dice: &mut Dice) {
    let second = dice.ms(0, 1_000);
    script.replies = rings(&[RING, OTHER_FORK, ANSWER]);
    script.replies.push((second, Reply::Answer { fork: 1 }));
}

pub(super) fn answer_behind_the_end(script: &mut Script, dice: &mut Dice) {
    script.replies = rings(&[RING, OTHER_FORK, ANSWER]);
    script.replies.push((dice.ms(1_500, 5_000), Reply::Answer { fork: 1 }));
    script.later = later(&[(dice.between(100, 1_000), Do::Bye(Caller))]);
}

pub(super) fn reliable(script: &mut Script, _: &mut Dice) {
    script.replies = rings(&[RELIABLE, RELIABLE, RELIABLE, ANSWER]);
}

pub(super) fn reliable_answer_after_cancel(script: &mut Script, dice: &mut Dice) {
    script.ignores_cancel = true;
    script.replies = rings(&[RELIABLE, RELIABLE, RELIABLE]);
    script.replies.push((dice.ms(4_000, 6_000), ANSWER));
    script.early = vec![(Duration::from_millis(4_500), Do::Cancel)];
}

pub(super) fn never_acks(script: &mut Script, _: &mut Dice) {
    script.acks = false;
    script.later = Vec::new();
}

pub(super) fn caller_vanishes_ringing(script: &mut Script, dice: &mut Dice) {
    script.replies = vec![(dice.ms(0, 200), RING), (dice.ms(1_500, 5_000), ANSWER)];
    script.early = vec![(dice.ms(500, 1_500), Do::Vanish(Caller))];
}

pub(super) fn caller_vanishes_talking(script: &mut Script, dice: &mut Dice) {
    script.later = later(&[(dice.between(500, 5_000), Do::Vanish(Caller)), (40_000, Do::Bye(Callee))]);
}

pub(super) fn callee_vanishes_ringing(script: &mut Script, dice: &mut Dice) {
    script.replies = rings(&[RING]);
    script.early = vec![(dice.ms(2_000, 3_000), Do::Vanish(Callee))];
    if dice.chance(0.5) {
        script.early.push((dice.ms(20_000, 30_000), Do::Cancel));
    }
}

pub(super) fn callee_vanishes_talking(script: &mut Script, dice: &mut Dice) {
    script.later = later(&[(dice.between(500, 5_000), Do::Vanish(Callee)), (30_000, Do::Bye(Caller))]);
}

pub(super) fn both_vanish(script: &mut Script, dice: &mut Dice) {
    script.later =
        later(&[(dice.between(500, 5_000), Do::Vanish(Caller)), (dice.between(500, 5_000), Do::Vanish(Callee))]);
}

pub(super) fn declined(script: &mut Script, _: &mut Dice) {
    script.dials = "302";
}

pub(super) fn refused_in_words(script: &mut Script, dice: &mut Dice) {
    script.dials = "301";
    if dice.chance(0.3) {
        script.early = vec![(dice.ms(1_000, 5_000), Do::Cancel)];
    }
}

pub(super) fn diverted_by_rule(script: &mut Script, dice: &mut Dice) {
    script.dials = "303";
    script.later = if dice.chance(0.5) { vec![(dice.ms(0, 4_000), Do::Bye(Caller))] } else { Vec::new() };
}

pub(super) fn diverted_by_rule_no_ack(script: &mut Script, _: &mut Dice) {
    script.dials = "303";
    script.acks = false;
    script.later = Vec::new();
}

pub(super) fn announcement_held(script: &mut Script, dice: &mut Dice) {
    script.dials = "303";
    let hold = dice.between(100, 500);
    script.later = later(&[(hold, Do::Hold(Caller)), (hold + dice.between(100, 3_000), Do::Resume(Caller))]);
}

pub(super) fn scam(script: &mut Script, dice: &mut Dice) {
    script.later = vec![(dice.ms(1_000, 9_000), Do::Judge)];
}

pub(super) fn scam_taken_back(script: &mut Script, dice: &mut Dice) {
    let judged = dice.between(1_000, 9_000);
    script.later = later(&[
        (judged, Do::Judge),
        (judged + dice.between(500, 3_000), Do::TakeBack),
        (judged + dice.between(8_000, 20_000), Do::Bye(Caller)),
    ]);
}

pub(super) fn scammer_hangs_up(script: &mut Script, dice: &mut Dice) {
    let judged = dice.between(1_000, 9_000);
    script.later = later(&[(judged, Do::Judge), (judged + dice.between(0, 4_000), Do::Bye(Caller))]);
}

pub(super) fn warned_callee_hangs_up(script: &mut Script, dice: &mut Dice) {
    let judged = dice.between(1_000, 9_000);
    script.later = later(&[(judged, Do::Judge), (judged + dice.between(0, 4_000), Do::Bye(Callee))]);
}

pub(super) fn operator_hangs_up(script: &mut Script, dice: &mut Dice) {
    script.later = vec![(dice.ms(0, 10_000), Do::HangUp)];
}

pub(super) fn operator_hangs_up_ringing(script: &mut Script, dice: &mut Dice) {
    script.replies = rings(&[RING]);
    script.early = vec![(dice.ms(600, 3_000), Do::HangUp)];
}

pub(super) fn no_ports(script: &mut Script, _: &mut Dice) {
    script.no_ports = true;
}

pub(super) fn media_lost_ringing(script: &mut Script, dice: &mut Dice) {
    script.replies = vec![(dice.ms(0, 200), RING), (dice.ms(5_000, 9_000), ANSWER)];
    script.early = vec![(dice.ms(600, 4_000), Do::MediaFails)];
}
