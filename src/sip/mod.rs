//! SIP: flows, messages out of streams, their parts, transactions. Knows nothing of calls, media or policy.
//!
//! In: bytes and `now`. Out: views of messages, transaction events, bytes to send.

pub mod flow;
pub mod framing;
pub mod transaction;
pub mod wire;
