//! What a trunk is beyond its address: registration, digest answers, whether it answers at all, which of its hosts is
//! tried first.
//!
//! In: responses, what became of requests, `now`. Out: what to send, when, and states for people to look at. Builds no
//! transaction and knows no call: `call` sends what is decided here.
//!
//! Invariant: whatever a registrar says, the next REGISTER has a time, which is neither always now nor never.

mod dice;
mod digest;
mod health;
mod registration;
mod targets;

pub use dice::Dice;
pub use digest::{Asked, Challenge, Credentials, Secret};
pub use health::Health;
pub use registration::{Next, Register, Registered, Registration, State};
pub use targets::{Target, in_order};
