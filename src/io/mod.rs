//! DRIVER: sockets, clocks, threads and channels of the call path.
//!
//! Asks the cores what should happen and does it. Decides nothing.

pub mod analysis;
pub mod clock;
mod marking;
pub mod media;
pub mod names;
mod outlet;
pub mod route;
pub mod shipped;
mod sieve;
pub mod signalling;
pub mod streams;
pub mod system_name;
pub mod threads;
