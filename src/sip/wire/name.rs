//! Header names and methods.

/// Header names that are understood; compact forms are folded in (RFC 3261 §7.3.3).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[allow(missing_docs, reason = "the names are the headers' own")]
pub enum Name {
    Via,
    From,
    To,
    CallId,
    CSeq,
    Contact,
    MaxForwards,
    ContentLength,
    ContentType,
    Route,
    RecordRoute,
    Require,
    ProxyRequire,
    Supported,
    Expires,
    PAssertedIdentity,
    FeatureCaps,
    Other,
}

impl Name {
    /// How many there are.
    pub(super) const COUNT: usize = Self::Other as usize + 1;

    /// Class of a name as written. Length and first letter tell most names apart.
    pub(super) fn of(text: &[u8]) -> Self {
        let is = |full: &str| text.eq_ignore_ascii_case(full.as_bytes());
        let first = text.first().map_or(0, u8::to_ascii_lowercase);
        match (text.len(), first) {
            (1, b'v') => Self::Via,
            (1, b'f') => Self::From,
            (1, b't') => Self::To,
            (1, b'i') => Self::CallId,
            (1, b'm') => Self::Contact,
            (1, b'l') => Self::ContentLength,
            (1, b'c') => Self::ContentType,
            (1, b'k') => Self::Supported,
            (2, b't') if is("To") => Self::To,
            (3, b'v') if is("Via") => Self::Via,
            (4, b'f') if is("From") => Self::From,
            (4, b'c') if is("CSeq") => Self::CSeq,
            (5, b'r') if is("Route") => Self::Route,
            (7, b'c') if is("Call-ID") => Self::CallId,
            (7, b'c') if is("Contact") => Self::Contact,
            (7, b'r') if is("Require") => Self::Require,
            (7, b'e') if is("Expires") => Self::Expires,
            (9, b's') if is("Supported") => Self::Supported,
            (12, b'm') if is("Max-Forwards") => Self::MaxForwards,
            (12, b'c') if is("Content-Type") => Self::ContentType,
            (12, b'r') if is("Record-Route") => Self::RecordRoute,
            (12, b'f') if is("Feature-Caps") => Self::FeatureCaps,
            (13, b'p') if is("Proxy-Require") => Self::ProxyRequire,
            (14, b'c') if is("Content-Length") => Self::ContentLength,
            (19, b'p') if is("P-Asserted-Identity") => Self::PAssertedIdentity,
            _ => Self::Other,
        }
    }

    /// The name as we write it; empty for `Other`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Via => "Via",
            Self::From => "From",
            Self::To => "To",
            Self::CallId => "Call-ID",
            Self::CSeq => "CSeq",
            Self::Contact => "Contact",
            Self::MaxForwards => "Max-Forwards",
            Self::ContentLength => "Content-Length",
            Self::ContentType => "Content-Type",
            Self::Route => "Route",
            Self::RecordRoute => "Record-Route",
            Self::Require => "Require",
            Self::ProxyRequire => "Proxy-Require",
            Self::Supported => "Supported",
            Self::Expires => "Expires",
            Self::PAssertedIdentity => "P-Asserted-Identity",
            Self::FeatureCaps => "Feature-Caps",
            Self::Other => "",
        }
    }
}

/// Methods that we act on; anything else is forwarded by its text. Case matters (RFC 3261 §7.1).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[allow(missing_docs, reason = "the names are the methods' own")]
pub enum Method<'a> {
    Invite,
    Ack,
    Bye,
    Cancel,
    Options,
    Register,
    Prack,
    Update,
    Info,
    Other(&'a str),
}

impl<'a> Method<'a> {
    pub(super) fn of(text: &'a str) -> Self {
        match text {
            "INVITE" => Self::Invite,
            "ACK" => Self::Ack,
            "BYE" => Self::Bye,
            "CANCEL" => Self::Cancel,
            "OPTIONS" => Self::Options,
            "REGISTER" => Self::Register,
            "PRACK" => Self::Prack,
            "UPDATE" => Self::Update,
            "INFO" => Self::Info,
            other => Self::Other(other),
        }
    }

    /// The method as it stands on the wire.
    #[must_use]
    pub fn as_str(self) -> &'a str {
        match self {
            Self::Invite => "INVITE",
            Self::Ack => "ACK",
            Self::Bye => "BYE",
            Self::Cancel => "CANCEL",
            Self::Options => "OPTIONS",
            Self::Register => "REGISTER",
            Self::Prack => "PRACK",
            Self::Update => "UPDATE",
            Self::Info => "INFO",
            Self::Other(text) => text,
        }
    }
}
