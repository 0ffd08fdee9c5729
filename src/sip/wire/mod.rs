//! One SIP message as bytes: a view, typed readers, splice edits, answers. RFC 3261 §7, §20, §25.
//!
//! In: a datagram. Out: a [`Message`] that borrows from it, or [`BadMessage`]. One pass fills a reusable [`Index`] of
//! offsets; readers run on demand; [`Edits`] are splices against the untouched bytes, so what is not edited leaves as
//! it came. Decides nothing: what a message means is for `transaction` and `call`.
//!
//! Whatever two elements could read differently is refused (a header twice that must stand once, bare CR or LF, control
//! characters, invalid UTF-8, unterminated quotes, a comma outside quotes in From or To, an address or parameter list
//! that needs a guess): a firewall that guesses is a firewall that can be walked around. [`mended`] makes UTF-8 of what
//! is none, for a second look.

mod edits;
mod error;
mod glance;
mod index;
mod kept;
mod mended;
mod message;
mod name;
mod name_addr;
mod params;
mod parts;
mod respond;
pub mod sdp;
mod seek;
mod status;
mod timer;
mod uri;
mod via;

pub use edits::Edits;
pub use error::BadMessage;
pub use glance::begins;
pub use index::{Index, Limits};
pub use kept::KeptMessage;
pub use mended::mended;
pub use message::{CSeq, Header, Message, StartLine};
pub use name::{Method, Name};
pub use name_addr::NameAddr;
pub use params::{comma_params, unquoted};
pub use respond::{MAX_FORWARDS, respond};
pub use status::StatusCode;
pub use uri::Uri;
pub use via::Via;

use seek::{is_token, trim, trim_start};

/// Linear white space of a folded header: space, tab and the line ends of a fold.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// A number in digits alone. What `str::parse` takes besides, a leading plus, another element may read otherwise.
fn number<T: TryFrom<u64>>(text: &str) -> Option<T> {
    let mut number = 0_u64;
    for byte in text.bytes() {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit < 10)?;
        number = number.checked_mul(10)?.checked_add(digit.into())?;
    }
    if text.is_empty() { None } else { number.try_into().ok() }
}

/// Where `part`, a slice of `whole`, lies in it.
fn span(whole: &str, part: &str) -> std::ops::Range<usize> {
    let start = (part.as_ptr() as usize).saturating_sub(whole.as_ptr() as usize).min(whole.len());
    start..(start + part.len()).min(whole.len())
}
