//! Ringfence: a SIP call firewall. **The cores decide, the drivers do**; `ARCHITECTURE.md` has the flows and the
//! import rules, `tests/architecture.rs` keeps them.
//!
//! A core is plain data and functions: it is handed bytes, settings and `now`, and returns what should happen.

pub mod units;

pub mod gate;

pub mod sip;

pub mod rtp;

pub mod audio;

pub mod detect;

pub mod policy;

pub mod trunk;

pub mod call;

pub mod config;

pub mod io;

pub mod store;

pub mod journal;

pub mod observe;

pub mod admin;

pub mod offline;

pub mod app;

pub mod demo;

pub mod cli;
