//! Facts and evidence in, decisions out. Knows no SIP, no call state, no detector.
//!
//! [`rules`] decides at the INVITE: the first rule that matches wins and is named. [`judge`] weighs what was heard, and
//! [`rules::Policy::step_up`] turns its verdict into an action.

pub mod action;
pub mod facts;
pub mod judge;
pub mod number;
pub mod reputation;
pub mod rules;
pub mod watch;
