//! What becomes of a datagram, and the counts of it.

use std::net::SocketAddr;

use super::Payload;
use crate::rtp::packet::Header;
use crate::units::PerLeg;

/// What happens with a datagram.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Relay {
    /// It goes to this address, from the other leg's socket.
    Forward {
        /// The other leg's peer.
        to: SocketAddr,
    },
    /// It goes nowhere.
    Drop(DropReason),
}

/// Why a datagram is not forwarded. Those from `Playing` on were good ones that the call does not want to be heard.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DropReason {
    /// Neither RTP nor RTCP.
    NotRtp,
    /// From an address or source that is not the leg's.
    UnknownSource,
    /// Its tag is not that of the leg's key: a wrong key, a stranger, or not encrypted at all.
    Forged,
    /// An encrypted packet that has come before, or is too old to tell; or one whose number we have sealed before.
    Repeated,
    /// The other leg has no address yet, or is on hold without one.
    NoDestination,
    /// A prompt plays where it would go.
    Playing,
    /// The leg is cut.
    Cut,
    /// Came too late: belongs before a prompt.
    BeforePrompt,
    /// A report whose numbers do not match the stream that the other peer knows.
    Contradicts,
    /// A key, and keys of its leg are held back.
    KeyHeld,
    /// Audio that the peer has not asked for, between audio that it has.
    Unasked,
}

impl DropReason {
    /// Every reason, in the order of [`Counters::dropped`].
    pub const ALL: [DropReason; 11] = [
        DropReason::NotRtp,
        DropReason::UnknownSource,
        DropReason::Forged,
        DropReason::Repeated,
        DropReason::NoDestination,
        DropReason::Playing,
        DropReason::Cut,
        DropReason::BeforePrompt,
        DropReason::Contradicts,
        DropReason::KeyHeld,
        DropReason::Unasked,
    ];

    /// Fixed word for metric labels.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            DropReason::NotRtp => "not_rtp",
            DropReason::UnknownSource => "unknown_source",
            DropReason::Forged => "forged",
            DropReason::Repeated => "repeated",
            DropReason::NoDestination => "no_destination",
            DropReason::Playing => "playing",
            DropReason::Cut => "cut",
            DropReason::BeforePrompt => "before_prompt",
            DropReason::Contradicts => "contradicts",
            DropReason::KeyHeld => "key_held",
            DropReason::Unasked => "unasked",
        }
    }
}

/// A datagram's way, and what was in it.
#[derive(Clone, Debug)]
pub struct Relayed {
    /// Where it goes.
    pub way: Relay,
    /// How much of it goes: reports may become shorter.
    pub length: usize,
    /// Its header as it came, if it was RTP of the leg's own source: what the tap may hear, forwarded or not.
    pub heard: Option<(Header, Payload)>,
    /// A key that was pressed with it.
    pub digit: Option<char>,
    /// The leg's media come from somewhere else than before: see [`MediaPair::elsewhere`].
    pub moved: bool,
}

/// Plain counts of one call.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// RTP packets of the legs' own sources.
    pub packets_in: PerLeg<u64>,
    /// RTP packets sent to the legs, prompts included.
    pub packets_out: PerLeg<u64>,
    /// Datagrams dropped, by reason in the order of [`DropReason::ALL`].
    pub dropped: [u32; DropReason::ALL.len()],
}
