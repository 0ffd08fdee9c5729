//! Whole calls against golden ladders: what dialogs can do besides ringing, talking and ending. `tests/ladders.rs` has
//! the rest.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs, reason = "tests")]

#[path = "dialogs/codecs.rs"]
mod codecs;
#[path = "dialogs/emergencies.rs"]
mod emergencies;
#[path = "dialogs/equipment.rs"]
mod equipment;
#[path = "dialogs/forks.rs"]
mod forks;
#[path = "dialogs/guarded.rs"]
mod guarded;
#[path = "dialogs/impostors.rs"]
mod impostors;
#[path = "dialogs/large.rs"]
mod large;
#[path = "dialogs/lost.rs"]
mod lost;
#[path = "dialogs/offers.rs"]
mod offers;
#[path = "dialogs/reliable.rs"]
mod reliable;
#[path = "dialogs/resumed.rs"]
mod resumed;
#[path = "dialogs/secured.rs"]
mod secured;
#[path = "dialogs/stand_in.rs"]
mod stand_in;
#[path = "dialogs/subscriptions.rs"]
mod subscriptions;
#[path = "dialogs/targets.rs"]
mod targets;
#[path = "dialogs/timers.rs"]
mod timers;
#[path = "dialogs/transfers.rs"]
mod transfers;
#[path = "dialogs/video.rs"]
mod video;
mod world;

use std::sync::Arc;
use std::time::Duration;

use ringfence::call::Settings;
use ringfence::policy::action::Route;
use ringfence::policy::rules::{Policy, Rule};
use world::{PBX, Phone, TRUNK, World, answered, expect, response, sdp, settings};

const MS: fn(u64) -> Duration = Duration::from_millis;
const S: fn(u64) -> Duration = Duration::from_secs;

/// A call that has been [`answered`], with header lines in the INVITE and in its answer.
fn answered_with(settings: Settings, asks: &str, grants: &str) -> (World, Phone, Phone) {
    let mut world = World::new(settings);
    let mut caller = Phone::caller("call");
    world.send(TRUNK, &caller.request_with("INVITE", asks, &sdp(TRUNK, "")));
    let invite = world.last(PBX);
    let callee = Phone::callee(&invite, "callee");
    world.send(PBX, &saying(&response(&invite, "200 OK", "callee", &sdp(PBX, "")), grants));
    caller.learn(&world.last(TRUNK));
    world.send(TRUNK, &caller.ack());
    world.last(PBX);
    world.ladder();
    (world, caller, callee)
}

/// A call that we have answered ourselves: world and caller; the ladder is emptied.
fn announced() -> (World, Phone) {
    let rule = Rule { name: "everybody".into(), when: vec![], route: Route::Divert };
    let policy = Arc::new(Policy { rules: vec![rule], ..Policy::default() });
    let mut world = World::new(Settings { policy, ..settings() });
    let mut caller = Phone::caller("call");
    world.send(TRUNK, &caller.request("INVITE", &sdp(TRUNK, "")));
    caller.learn(&world.last(TRUNK));
    world.send(TRUNK, &caller.ack());
    world.ladder();
    (world, caller)
}

/// A message with more header lines.
fn saying(message: &str, more: &str) -> String {
    message.replacen("Contact:", &format!("{more}Contact:"), 1)
}

/// The caller hangs up, and nothing is left.
fn hang_up(mut world: World, caller: &mut Phone) {
    world.send(TRUNK, &caller.next("BYE", ""));
    let bye = world.last(PBX);
    assert!(bye.starts_with("BYE "), "{bye}");
    world.send(PBX, &response(&bye, "200 OK", "", ""));
    assert!(world.last(TRUNK).starts_with("SIP/2.0 200 "));
    world.rest();
}

/// Both sides have been sent a BYE, and answer.
fn both_ended(mut world: World, how: &str) {
    for peer in [TRUNK, PBX] {
        let bye = world.last(peer);
        assert!(bye.starts_with("BYE "), "{bye}");
        world.send(peer, &response(&bye, "200 OK", "", ""));
    }
    assert_eq!(world.events.last().unwrap(), how);
    world.rest();
}
