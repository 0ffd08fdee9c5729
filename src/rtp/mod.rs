//! RTP: one packet in, at most one out; and the words in which a call tells the media path what to do.
//!
//! In: datagrams with their source, plans and prompts of one call, `now`. Out: where each goes, keys pressed, packets of
//! prompts. Knows nothing of SIP, sockets or sound (see `audio`). [`relay::MediaPair`] holds one call; the other files
//! are its parts.

pub mod control;
pub mod dtmf;
pub mod latch;
pub mod packet;
pub mod player;
pub mod relay;
pub mod report;
pub mod rtcp;
pub mod sequence;
pub mod srtp;
