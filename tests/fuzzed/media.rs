//! RTP and RTCP of one call, from its peers and from strangers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ringfence::io::clock;
use ringfence::io::media::LAWS;
use ringfence::rtp::control::{Codec, Held, StreamPlan};
use ringfence::rtp::player::Prompt;
use ringfence::rtp::relay::{MediaPair, Relay};
use ringfence::units::{Leg, PerLeg};

use super::Choices;

const CALLER: [&str; 3] = ["198.51.100.1:4000", "198.51.100.1:4444", "198.51.100.9:4000"];
const CALLEE: [&str; 3] = ["192.0.2.5:6000", "192.0.2.5:6002", "192.0.2.9:6000"];
const STRANGER: &str = "203.0.113.9:4000";

/// Nothing goes anywhere but to the two peers, a stranger is never heard, and a prompt ends.
pub(crate) fn media(bytes: &[u8]) {
    let mut choices = Choices(bytes);
    let mut now = clock::now();
    let mut pair = MediaPair::new(PerLeg { caller: 1, callee: 2 }, &LAWS, now);
    while !choices.is_empty() {
        let what = choices.byte();
        let leg = if what & 1 == 0 { Leg::Caller } else { Leg::Callee };
        let own = if leg == Leg::Caller { CALLER } else { CALLEE };
        let other = if leg == Leg::Caller { CALLEE } else { CALLER };
        match (what >> 1) % 13 {
            0 => pair.plan(leg, plan(&mut choices, own), now),
            1 => pair.answered(now),
            2 => pair.cut(leg, choices.below(2) == 1),
            3 => {
                pair.play(leg, [prompt(&mut choices)]);
            }
            4 => pair.stop_play(leg),
            5 => now += Duration::from_millis(choices.one_of(&[0, 20, 100, 3_100, 11_000])),
            6 => {
                for _ in 0..40 {
                    let Some((_, to)) = pair.played(leg, now) else { break };
                    assert!(to.is_none_or(|to| is_of(to, own)), "a prompt for {leg:?} goes to {to:?}");
                }
            }
            7 => pair.resume(leg, choices.one_of(&own).parse().unwrap(), now),
            10 => pair.hold_keys(leg, choices.one_of(&[Held::All, Held::All, Held::Last('1'), Held::Nothing]), now),
            11 => {
                pair.whisper(leg, [prompt(&mut choices)], now);
            }
            12 => {
                pair.press(leg, choices.one_of(&['1', '#', 'x']));
            }
            8 => {
                let source: SocketAddr = choices.one_of(&[own[0], own[1], STRANGER, other[0]]).parse().unwrap();
                let mut packet = packet(&mut choices);
                let relayed = pair.relay(leg, &mut packet, source, now);
                let known = is_of(source, own);
                assert!(known || relayed.heard.is_none() && relayed.digit.is_none(), "{source} was heard");
                if let (Relay::Forward { .. }, Some((header, payload))) = (relayed.way, &relayed.heard) {
                    let length = packet.len();
                    pair.mix(leg.other(), header, *payload, &mut packet, now);
                    assert_eq!(packet.len(), length);
                }
                if let Relay::Forward { to } = relayed.way {
                    assert!(is_of(source, own), "{source} was relayed");
                    assert!(is_of(to, other), "{leg:?} went to {to}");
                }
            }
            _ => {
                let source: SocketAddr = choices.one_of(&[own[0], own[1], STRANGER, other[0]]).parse().unwrap();
                let mut packet = packet(&mut choices);
                if let (Relay::Forward { to }, _) = pair.relay_rtcp(leg, &mut packet, source) {
                    assert!(is_of(source, own), "{source} was relayed");
                    assert!(is_of(to, other), "{leg:?} went to {to}");
                }
            }
        }
    }
}

/// One of some length, perhaps none.
fn prompt(choices: &mut Choices<'_>) -> Prompt {
    let coded: Arc<[u8]> = vec![9; choices.below(64) * 10].into();
    Prompt { pcmu: coded.clone(), pcma: coded.clone(), g722: coded.clone(), opus: coded.into() }
}

fn is_of(address: SocketAddr, peer: [&str; 3]) -> bool {
    peer.iter().any(|own| own.parse().is_ok_and(|own: SocketAddr| own.ip() == address.ip()))
}

/// All of a leg's descriptions name public addresses of its own: whoever else comes is a stranger.
fn plan(choices: &mut Choices<'_>, own: [&str; 3]) -> StreamPlan {
    let at = choices.byte();
    let rtp = match at % 5 {
        4 => None,
        number => own.get(usize::from(number)).or(own.first()).map(|at| at.parse().unwrap()),
    };
    let codecs = match (at >> 4) % 4 {
        0 => vec![(0, Codec::Pcmu)],
        1 => vec![(8, Codec::Pcma), (0, Codec::Pcmu)],
        2 => vec![(127, Codec::Opus), (126, Codec::Pcma)],
        _ => Vec::new(),
    };
    let rtcp = (at & 0x80 != 0).then(|| own[2].parse().unwrap());
    let (telephone_event, wide_event) = ((at & 0x40 != 0).then_some(101), (at & 0xC0 == 0xC0).then_some(102));
    StreamPlan {
        rtp,
        rtcp,
        codecs,
        telephone_event,
        wide_event,
        renamed: at % 8,
        srtp: None,
        fax: at.is_multiple_of(11),
        dtls: at.is_multiple_of(7),
        others: at.is_multiple_of(5),
    }
}

/// Mostly something like RTP or RTCP.
fn packet(choices: &mut Choices<'_>) -> Vec<u8> {
    let length = choices.below(48);
    let mut packet = choices.take(length).to_vec();
    if let Some(first) = packet.first_mut()
        && *first & 0x20 == 0
    {
        *first = 0x80 | *first & 0x1F;
    }
    packet
}
