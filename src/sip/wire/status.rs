//! Status codes that we send or look at. RFC 3261 §21.

use std::fmt;

/// A response's status, 100 to 699.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct StatusCode(pub u16);

macro_rules! codes {
    ($($name:ident = $code:literal, $reason:literal;)*) => {
        #[allow(missing_docs, reason = "the names are the reason phrases of the RFCs")]
        impl StatusCode {
            $(pub const $name: StatusCode = StatusCode($code);)*

            /// The RFC's reason phrase; empty for codes we never send.
            #[must_use]
            pub fn reason(self) -> &'static str {
                match self.0 {
                    $($code => $reason,)*
                    _ => "",
                }
            }
        }
    };
}

codes! {
    TRYING = 100, "Trying";
    SESSION_PROGRESS = 183, "Session Progress";
    OK = 200, "OK";
    BAD_REQUEST = 400, "Bad Request";
    UNAUTHORIZED = 401, "Unauthorized";
    FORBIDDEN = 403, "Forbidden";
    NOT_FOUND = 404, "Not Found";
    METHOD_NOT_ALLOWED = 405, "Method Not Allowed";
    PROXY_AUTHENTICATION_REQUIRED = 407, "Proxy Authentication Required";
    REQUEST_TIMEOUT = 408, "Request Timeout";
    UNSUPPORTED_URI_SCHEME = 416, "Unsupported URI Scheme";
    BAD_EXTENSION = 420, "Bad Extension";
    NO_SUCH_CALL = 481, "Call/Transaction Does Not Exist";
    LOOP_DETECTED = 482, "Loop Detected";
    TOO_MANY_HOPS = 483, "Too Many Hops";
    BUSY_HERE = 486, "Busy Here";
    REQUEST_TERMINATED = 487, "Request Terminated";
    NOT_ACCEPTABLE_HERE = 488, "Not Acceptable Here";
    REQUEST_PENDING = 491, "Request Pending";
    SERVER_ERROR = 500, "Server Internal Error";
    SERVICE_UNAVAILABLE = 503, "Service Unavailable";
    VERSION_NOT_SUPPORTED = 505, "Version Not Supported";
    MESSAGE_TOO_LARGE = 513, "Message Too Large";
    DECLINE = 603, "Decline";
    REJECTED = 608, "Rejected";
}

impl StatusCode {
    /// 1xx.
    #[must_use]
    pub fn is_provisional(self) -> bool {
        self.0 < 200
    }

    /// 2xx.
    #[must_use]
    pub fn is_success(self) -> bool {
        self.0 / 100 == 2
    }

    /// 3xx.
    #[must_use]
    pub fn is_redirect(self) -> bool {
        self.0 / 100 == 3
    }

    /// Credentials are asked for (RFC 3261 §22).
    #[must_use]
    pub fn is_challenge(self) -> bool {
        matches!(self, Self::UNAUTHORIZED | Self::PROXY_AUTHENTICATION_REQUIRED)
    }

    /// 2xx to 6xx.
    #[must_use]
    pub fn is_final(self) -> bool {
        self.0 >= 200
    }
}

impl fmt::Display for StatusCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:03}", self.0)
    }
}
