//! All calls of a shard: two legs each, one machine.
//!
//! In: datagrams that the gate has let through, answers of the drivers, verdicts, `now`. Out: datagrams, media
//! commands, events. Knows no socket, no audio and no detector.
//!
//! Call-ID, tags, CSeq, unknown headers and bodies pass through unchanged, so that credentials, forks, REFER and
//! Replaces keep their meaning end to end. What is ours on each leg: Via, Contact, route set, the address in the
//! session description, and every message we send of our own (a BYE after a diversion, an announcement's answer).
//!
//! Invariant: an entry of a table here belongs to a call or to a transaction, and goes with it.

mod answer;
mod arrival;
mod callee;
mod candidates;
mod credentials;
mod description;
mod diversion;
mod ending;
mod event;
mod failover;
mod farewell;
mod forks;
mod forward;
mod guard;
mod guests;
mod identity;
mod info;
mod input;
mod large;
mod lost;
mod machine;
mod orphan;
mod outside;
mod own_requests;
mod pbx;
mod relay;
mod restore;
mod resumed;
mod security;
mod session;
mod settings;
mod snapshot;
mod stand_in;
mod state;
mod switchboard;
mod table;
mod transfer;
mod trunks;
mod video;

pub use event::{Counters, EndReason, Ending, Event, Happened, Lifted, NO_ROOM, NotAnalysed};
pub use forward::Party;
pub use input::{Input, Output, Sizes};
pub use machine::PROMPTS;
pub use resumed::Invited;
pub use security::{Secured, Spoken, SrtpPolicy, SrtpSettings};
pub use settings::{CODECS, DivertCallee, DivertCaller, Local, Redirects, Settings, ShownIdentity, Side, Trunk, Way};
pub use snapshot::{Diverting, Entry, Snapshot, SteppedUp, Story};
pub use switchboard::Switchboard;
pub use table::EMERGENCIES;
pub use trunks::{RegistrationStatus, TrunkChange, TrunkEvent, TrunkStatus};
pub use video::VideoSnapshot;
