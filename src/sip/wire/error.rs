//! What can be wrong with a message, and what its sender is told.

use super::StatusCode;

/// The sender's fault, always.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadMessage {
    /// Nothing but line ends: a keep-alive (RFC 5626 §4.4.1), no message at all.
    #[error("a keep-alive")]
    KeepAlive,
    /// No start line of a SIP message.
    #[error("not SIP")]
    NotSip,
    /// A start line that is almost one.
    #[error("the start line is malformed")]
    StartLine,
    /// Another SIP version.
    #[error("the SIP version is not 2.0")]
    Version,
    /// No empty line ends the headers.
    #[error("the headers do not end")]
    Unfinished,
    /// More or longer than the settings allow.
    #[error("headers are over the limit")]
    OverLimit,
    /// A control character, bare CR or LF, or no UTF-8.
    #[error("a byte that has no place in a header")]
    BadByte,
    /// A line without a name and a colon.
    #[error("a header line is malformed")]
    HeaderLine,
    /// Via, From, To, Call-ID or CSeq is not there.
    #[error("a mandatory header is missing")]
    Missing,
    /// A header that must stand once stands twice.
    #[error("a header stands twice")]
    Duplicate,
    /// Content-Length is no number or larger than what came.
    #[error("Content-Length does not fit what came")]
    Length,
    /// CSeq is malformed or names another method.
    #[error("CSeq is malformed or names another method")]
    CSeq,
    /// A name-addr cannot be read in one way only.
    #[error("an address header is malformed")]
    Address,
    /// A Via cannot be read.
    #[error("a Via is malformed")]
    Via,
    /// Max-Forwards is no number up to 255.
    #[error("Max-Forwards is malformed")]
    MaxForwards,
    /// A URI cannot be read.
    #[error("a URI is malformed")]
    Uri,
    /// A URI of a scheme that we do not route.
    #[error("the URI's scheme is unknown")]
    Scheme,
}

impl BadMessage {
    /// Answer to a request that is wrong in this way; None: silence.
    #[must_use]
    pub fn reply(self) -> Option<StatusCode> {
        match self {
            Self::KeepAlive | Self::NotSip | Self::Unfinished | Self::BadByte => None,
            Self::Version => Some(StatusCode::VERSION_NOT_SUPPORTED),
            Self::Scheme => Some(StatusCode::UNSUPPORTED_URI_SCHEME),
            Self::OverLimit => Some(StatusCode::MESSAGE_TOO_LARGE),
            Self::StartLine
            | Self::HeaderLine
            | Self::Missing
            | Self::Duplicate
            | Self::Length
            | Self::CSeq
            | Self::Address
            | Self::Via
            | Self::MaxForwards
            | Self::Uri => Some(StatusCode::BAD_REQUEST),
        }
    }

    /// Fixed set, safe as a metric label: never holds text from the peer.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::KeepAlive => "keep_alive",
            Self::NotSip => "not_sip",
            Self::StartLine => "start_line",
            Self::Version => "version",
            Self::Unfinished => "unfinished",
            Self::OverLimit => "over_limit",
            Self::BadByte => "bad_byte",
            Self::HeaderLine => "header_line",
            Self::Missing => "missing_header",
            Self::Duplicate => "duplicate_header",
            Self::Length => "content_length",
            Self::CSeq => "cseq",
            Self::Address => "address",
            Self::Via => "via",
            Self::MaxForwards => "max_forwards",
            Self::Uri => "uri",
            Self::Scheme => "scheme",
        }
    }
}
