//! Copies of what a call sounds like, on their way to the ear.

use std::time::Instant;

use crate::audio::framer::{Arrived, Content};
use crate::audio::g711::Law;
use crate::rtp::control::Codec;
use crate::units::{CallId, CallTime, Leg, RtpTimestamp, SequenceNumber, Ssrc};

/// Bytes of a payload that are copied: 60 ms of G.711, the longest packet in use. Longer ones are counted as lost.
pub const MAX_TAP_PAYLOAD: usize = 480;

/// What goes through the ring, in order.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all are packets, and a ring of boxes would allocate for each")]
pub enum TapItem {
    /// The callee answered and the call is to be heard: call time 0 is `answered`.
    Started {
        /// Which.
        call: CallId,
        /// Call time 0.
        answered: Instant,
    },
    /// One packet of a started call.
    Packet(TapPacket),
    /// Nothing more comes of this call.
    Stopped {
        /// Which.
        call: CallId,
    },
}

/// What a copied payload holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TapContent {
    /// Audio of this codec.
    Audio(Codec),
    /// Comfort noise (RFC 3389).
    Noise,
}

/// Copy of one packet, as it came: before anything was rewritten.
#[derive(Clone, Debug)]
pub struct TapPacket {
    /// Which call.
    pub call: CallId,
    /// Who spoke.
    pub leg: Leg,
    /// Arrival, since the answer.
    pub at: CallTime,
    /// Of its RTP header.
    pub sequence: SequenceNumber,
    /// Of its RTP header.
    pub timestamp: RtpTimestamp,
    /// Of its RTP header.
    pub ssrc: Ssrc,
    /// What the payload holds.
    pub content: TapContent,
    length: u16,
    bytes: [u8; MAX_TAP_PAYLOAD],
}

impl TapPacket {
    /// The payload.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or_default()
    }

    /// The same in the framer's words.
    #[must_use]
    pub fn arrived(&self) -> Arrived<'_> {
        let content = match self.content {
            TapContent::Audio(Codec::Pcmu) => Content::Audio(Law::Mu),
            TapContent::Audio(Codec::Pcma) => Content::Audio(Law::A),
            TapContent::Noise => Content::Noise,
        };
        let Self { at, sequence, timestamp, ssrc, .. } = *self;
        Arrived { at, sequence, timestamp, ssrc, content, payload: self.payload() }
    }

    /// Copies `payload` in; None if it is too long.
    #[must_use]
    pub fn with_payload(mut self, payload: &[u8]) -> Option<Self> {
        self.bytes.get_mut(..payload.len())?.copy_from_slice(payload);
        self.length = u16::try_from(payload.len()).ok()?;
        Some(self)
    }

    /// A packet without payload, at 0 of its clocks.
    #[must_use]
    pub fn new(call: CallId, leg: Leg, at: CallTime, content: TapContent) -> Self {
        Self {
            call,
            leg,
            at,
            sequence: SequenceNumber(0),
            timestamp: RtpTimestamp(0),
            ssrc: Ssrc(0),
            content,
            length: 0,
            bytes: [0; MAX_TAP_PAYLOAD],
        }
    }
}
