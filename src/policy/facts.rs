//! What is known of a call when its INVITE comes.

use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::units::Redacted;

/// Which way a call goes.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub enum CallDirection {
    /// From a trunk to the PBX.
    Inbound,
    /// From the PBX.
    Outbound,
}

impl CallDirection {
    /// Fixed word for records and metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
        }
    }
}

/// Who calls, as far as the message says.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum CallerNumber {
    /// No number, `anonymous`, or `Privacy: id`.
    Withheld,
    /// In E.164 with `+` where it is a full number by the country's rules, else as sent.
    Known(Redacted<Arc<str>>),
    /// A name, not a number.
    NotANumber(Redacted<Arc<str>>),
}

impl CallerNumber {
    /// Fixed word for records: what its text is.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Withheld => "withheld",
            Self::Known(_) => "number",
            Self::NotANumber(_) => "name",
        }
    }

    /// The number, if it shows one: a name that begins like one is none.
    #[must_use]
    pub fn number(&self) -> Option<&str> {
        match self {
            Self::Known(number) => Some(&number.0),
            Self::Withheld | Self::NotANumber(_) => None,
        }
    }

    /// The text, if there is one.
    #[must_use]
    pub fn text(&self) -> Option<&Redacted<Arc<str>>> {
        match self {
            Self::Withheld => None,
            Self::Known(text) | Self::NotANumber(text) => Some(text),
        }
    }
}

/// A limit that a call went over. The gate says so.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum OverLimit {
    /// Calls of one source.
    Source,
    /// Calls of one number.
    Number,
}

impl OverLimit {
    /// Fixed word for logs.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Number => "number",
        }
    }

    /// The setting that it is.
    #[must_use]
    pub fn setting(self) -> &'static str {
        match self {
            Self::Source => "limits.per_source",
            Self::Number => "limits.per_number",
        }
    }
}

/// What rules may look at.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Facts {
    /// Which way.
    pub direction: CallDirection,
    /// Address that sent the INVITE.
    pub source: IpAddr,
    /// `[[trunk]] name`; None from the PBX.
    pub trunk: Option<Arc<str>>,
    /// Who calls.
    pub caller: CallerNumber,
    /// User part of the request-URI.
    pub called: Redacted<Arc<str>>,
    /// The caller's side says that it understands 608 (RFC 8688 §3.1).
    pub understands_608: bool,
    /// A limit it went over.
    pub over_limit: Option<OverLimit>,
    /// Local hour, 0 to 23.
    pub hour: u8,
    /// 0 is Monday.
    pub weekday: u8,
    /// The PBX has dialled this number lately.
    pub dialled_before: bool,
}
