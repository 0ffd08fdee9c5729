//! Linear samples of G.711, for the two things that look into a packet: keys that are held as tones, and a warning that
//! is mixed into one. A core knows no other core, so whoever builds the relay hands in what the codec does.

use super::control::Codec;

/// One law of G.711: a byte a sample, both ways.
#[derive(Clone, Copy, Debug)]
pub struct Companding {
    /// The linear value of a code.
    pub decode: fn(u8) -> i16,
    /// The code nearest to a linear value.
    pub encode: fn(i16) -> u8,
}

/// Both laws.
#[derive(Clone, Copy, Debug)]
pub struct Laws {
    /// mu-law.
    pub pcmu: Companding,
    /// A-law.
    pub pcma: Companding,
}

impl Laws {
    /// None: no samples of one byte each.
    pub(super) fn of(&self, codec: Codec) -> Option<Companding> {
        match codec {
            Codec::Pcmu => Some(self.pcmu),
            Codec::Pcma => Some(self.pcma),
            Codec::G722 | Codec::Opus => None,
        }
    }
}
