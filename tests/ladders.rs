//! Whole calls against golden message ladders. `>` without a name is Ringfence; the number is milliseconds.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs, reason = "tests")]

#[path = "ladders/diversion.rs"]
mod diversion;
#[path = "ladders/door.rs"]
mod door;
#[path = "ladders/early.rs"]
mod early;
#[path = "ladders/heard.rs"]
mod heard;
#[path = "ladders/inside.rs"]
mod inside;
#[path = "ladders/restart.rs"]
mod restart;
#[path = "ladders/room.rs"]
mod room;
#[path = "ladders/setup.rs"]
mod setup;
mod world;

use std::sync::Arc;
use std::time::Duration;

use ringfence::call::{Input, Settings};
use ringfence::policy::action::Route;
use ringfence::policy::rules::{Policy, Rule};
use world::{PBX, Phone, TRUNK, answered, response, sdp, settings};

const MS: fn(u64) -> Duration = Duration::from_millis;

fn rejecting(route: Route) -> Settings {
    let rule = Rule { name: "everybody".into(), when: vec![], route };
    Settings { policy: Arc::new(Policy { rules: vec![rule], ..Policy::default() }), ..settings() }
}

#[test]
fn mangled_messages_never_panic_and_leave_nothing_behind() {
    let mut random = 0x9E37_79B9_7F4A_7C15u64;
    let mut next = move |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random % below.max(1) as u64) as usize
    };
    for round in 0..600 {
        let (mut world, mut caller, mut callee) = answered(Settings { max_calls: 20, ..settings() });
        let mut valid = vec![
            (TRUNK, Phone::caller(&format!("m{round}")).request("INVITE", &sdp(TRUNK, ""))),
            (TRUNK, caller.next("INVITE", &sdp(TRUNK, "a=inactive\r\n"))),
            (TRUNK, caller.request("CANCEL", "")),
            (TRUNK, caller.ack()),
            (TRUNK, caller.next("INFO", "")),
            (PBX, callee.next("INVITE", &sdp(PBX, ""))),
            (PBX, callee.next("BYE", "")),
            (PBX, callee.request("REGISTER", "")),
        ];
        for _ in 0..40 {
            let (from, text) = valid[next(valid.len())].clone();
            let mut bytes = text.into_bytes();
            for _ in 0..1 + next(4) {
                let at = next(bytes.len());
                match next(5) {
                    0 => bytes.truncate(at),
                    1 => bytes.insert(at, next(256) as u8),
                    2 if !bytes.is_empty() => bytes[at] = next(128) as u8,
                    3 => bytes.extend_from_slice(&bytes.clone()[at..]),
                    _ => bytes.splice(at..at, *b"\r\nVia: ").for_each(drop),
                }
            }
            let text = String::from_utf8_lossy(&bytes).into_owned();
            world.send(from, &text);
            // Answers of peers are mangled too.
            for peer in [TRUNK, PBX] {
                if let Some(message) = world.receive(peer)
                    && !message.starts_with("SIP/2.0")
                    && valid.len() < 64
                {
                    valid
                        .push((peer, response(&message, ["180 Ringing", "200 OK", "486 Busy Here"][next(3)], "t", "")));
                }
            }
            world.run(MS(next(600) as u64));
        }
        world.run(Duration::from_secs(60));
        world.input(Input::EndAll);
        world.run(Duration::from_secs(400));
        assert_eq!(world.switchboard.sizes(), ringfence::call::Sizes::default(), "round {round}");
    }
}
