//! RTP: one packet in, at most one out; and the words in which a call tells the media path what to do.
//!
//! In: datagrams with their source, plans and prompts of one call, `now`. Out: where each goes, keys pressed, packets
//! of prompts. Knows nothing of SIP and sockets, and of sound only G.711: keys in it, and a prompt over it.
//! [`relay::MediaPair`] holds one call; the other files are its parts.

pub mod companding;
pub mod control;
mod dtmf;
mod latch;
pub mod outgoing;
pub mod packet;
pub mod player;
mod press;
pub mod relay;
mod report;
pub mod returned;
mod rtcp;
mod sequence;
pub mod srtp;
pub mod tones;
