//! One datagram into the real element, and what it does with it: from bytes to bytes, with a switchboard of its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ringfence::call::{DivertCallee, DivertCaller, Input, Local, Output, Redirects, Settings, Switchboard, Trunk};
use ringfence::policy::rules::Policy;
use ringfence::sip::flow::{Flow, Hop};
use ringfence::sip::wire::{BadMessage, Index, Limits};

/// What the element does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Does {
    /// Asks gate and history about a new call.
    BeginsCall,
    /// Passes a request on to the PBX.
    Forwards,
    /// Answers by itself.
    Answers(u16),
    /// Nothing leaves.
    Nothing,
}

/// Where datagrams come from: a trunk.
pub(crate) fn source() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 200], 5_060))
}

fn pbx() -> SocketAddr {
    SocketAddr::from(([198, 51, 100, 10], 5_060))
}

/// What the parser says, and what the element does.
pub(crate) fn receive(datagram: &[u8], now: Instant) -> (Result<(), BadMessage>, Does) {
    let read = Index::new().read(datagram, &Limits::default()).map(|_| ());
    let mut switchboard = Switchboard::new(0, 0, [7; 16], Arc::new(settings()));
    let flow = Flow::datagram(0, source());
    switchboard.handle_input(Input::Message { bytes: datagram, flow }, now);
    let mut does = Does::Nothing;
    while let Some(output) = switchboard.poll_output() {
        match output {
            Output::Consult { .. } => does = Does::BeginsCall,
            Output::Transmit(transmit) if transmit.flow.peer == pbx() => does = Does::Forwards,
            Output::Transmit(transmit) => does = Does::Answers(status(&transmit.bytes)),
            Output::Media(_) | Output::Journal(_) | Output::Recall(_) | Output::Happened(_) | Output::Trunk(_) => {}
        }
    }
    (read, does)
}

/// Status of an answer that is well-formed by our own rules; 0: it is not.
fn status(answer: &[u8]) -> u16 {
    let code = |text: &str| text.strip_prefix("SIP/2.0 ")?.get(..3)?.parse().ok();
    std::str::from_utf8(answer).ok().and_then(code).unwrap_or(0)
}

fn settings() -> Settings {
    let trunk = Trunk { host: "trunk.example".into(), ..Trunk::at("trunk", Hop::udp(source())) };
    Settings {
        generation: 1,
        enforce: true,
        pbx: Hop::udp(pbx()),
        pbx_networks: Vec::new(),
        pbx_name: None,
        names: Vec::new(),
        pbx_keep_alive: None,
        srtp: Default::default(),
        trunks: vec![trunk],
        local_outside: Local::only(SocketAddr::from(([203, 0, 113, 1], 5_060))),
        local_inside: Local::only(SocketAddr::from(([203, 0, 113, 2], 5_060))),
        ways: Vec::new(),
        listening: Vec::new(),
        public_address: None,
        public_media_address: None,
        codecs: Vec::new(),
        redirects: Redirects::Pass,
        policy: Arc::new(Policy::default()),
        watch_for: Duration::from_secs(30),
        callee_hears: DivertCallee::Announcement,
        caller_hears: DivertCaller::Announcement,
        take_back_key: None,
        wire_limits: Limits::default(),
        large_over_tcp: true,
        max_calls: 8,
        session_timer: None,
        held_check: Duration::from_secs(300),
        longest_restored: Duration::from_secs(3_600),
    }
}
