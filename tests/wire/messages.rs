//! Messages of our own, one or more for each case of RFC 4475 and for each trap that has been met, with what must
//! become of them.

use super::element::Does::{self, Answers, BeginsCall, Forwards, Nothing};

/// A message and its expected fate.
pub(crate) struct Case {
    /// What it shows.
    pub(crate) name: &'static str,
    pub(crate) bytes: Vec<u8>,
    /// `ok`, or the label of the refusal.
    pub(crate) reads: &'static str,
    pub(crate) does: Does,
}

const SDP: &str =
    "v=0\r\no=- 1 1 IN IP4 192.0.2.200\r\ns=-\r\nc=IN IP4 192.0.2.200\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";

/// A request of headers that each case may change.
struct Draft {
    first: String,
    lines: Vec<String>,
    body: Vec<u8>,
}

fn request(method: &str) -> Draft {
    let lines = [
        "Via: SIP/2.0/UDP 192.0.2.200;branch=z9hG4bKown1",
        "Max-Forwards: 70",
        "From: \"Caller\" <sip:100@trunk.example>;tag=c1",
        "To: <sip:200@pbx.example>",
        "Call-ID: own-1@trunk.example",
        &format!("CSeq: 1 {method}"),
        "Contact: <sip:100@192.0.2.200>",
    ];
    Draft {
        first: format!("{method} sip:200@pbx.example SIP/2.0"),
        lines: lines.map(str::to_owned).to_vec(),
        body: Vec::new(),
    }
}

fn options() -> Draft {
    request("OPTIONS")
}

fn invite() -> Draft {
    let draft = request("INVITE").plus("Content-Type: application/sdp").plus(&format!("Content-Length: {}", SDP.len()));
    Draft { body: SDP.into(), ..draft }
}

fn response(first: &str) -> Draft {
    Draft { first: first.to_owned(), ..request("INVITE").with("To: <sip:200@pbx.example>;tag=r") }
}

impl Draft {
    fn first(mut self, line: &str) -> Self {
        line.clone_into(&mut self.first);
        self
    }

    fn uri(self, uri: &str) -> Self {
        let method = self.first.split(' ').next().unwrap_or_default().to_owned();
        self.first(&format!("{method} {uri} SIP/2.0"))
    }

    /// In place of the line of the same name.
    fn with(mut self, line: &str) -> Self {
        let name = |line: &str| line.split([':', ' ', '\t']).next().unwrap_or_default().to_ascii_lowercase();
        let at = self.lines.iter().position(|old| name(old) == name(line)).expect("a line to replace");
        line.clone_into(&mut self.lines[at]);
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.lines.retain(|line| !line.starts_with(name));
        self
    }

    fn plus(mut self, line: &str) -> Self {
        self.lines.push(line.to_owned());
        self
    }

    fn body(mut self, body: &[u8]) -> Self {
        self.body = body.to_vec();
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let mut out = self.first.clone();
        for line in &self.lines {
            out += "\r\n";
            out += line;
        }
        out += "\r\n\r\n";
        [out.as_bytes(), &self.body].concat()
    }

    fn ok(self, name: &'static str, does: Does) -> Case {
        Case { name, bytes: self.bytes(), reads: "ok", does }
    }

    /// Refused and told so.
    fn told(self, name: &'static str, reads: &'static str, code: u16) -> Case {
        Case { name, bytes: self.bytes(), reads, does: Answers(code) }
    }

    fn silent(self, name: &'static str, reads: &'static str) -> Case {
        Case { name, bytes: self.bytes(), reads, does: Nothing }
    }
}

/// All cases.
pub(crate) fn cases() -> Vec<Case> {
    [valid(), start_lines(), headers(), addresses(), numbers(), bodies(), application()].into_iter().flatten().collect()
}

/// RFC 4475 §3.1.1, and what is like it.
fn valid() -> Vec<Case> {
    vec![
        invite().ok("a plain call", BeginsCall),
        invite()
            .with("Via  : SIP  / 2.0\r\n /UDP\r\n   192.0.2.200 : 5060 ;branch=z9hG4bKw , SIP/2.0/TCP x ;\r\n branch = b")
            .with("fRoM\t: \"A \\\\\\\" B\"   <sip:100@trunk.example>\r\n  ;\r\n  tag = t1")
            .with("TO :\r\n sip:200@pbx.example ;   odd    = 1")
            .with("max-forwards: 0070")
            .with("cseq: 0009\r\n\tINVITE")
            .with("contact:\"Q \\\"\\\"\" <sip:100@192.0.2.200> ; x =\r\n  y ;\r\n z ; q = 0.3")
            .plus("s :")
            .plus("X-Odd: ;;,,;;,;")
            .ok("white space wherever the grammar has it", BeginsCall),
        request("!a-M.eth%od*_+`'~").ok("a method of every token character", Forwards),
        options().uri("sip:o!d_(d)&'e=+$,;?/d:p&w@pbx.example").ok("a user of every character that is allowed", Forwards),
        options()
            .with("From: t1~` t2'+_ t3*%!.- <sip:100@trunk.example>;p''~+*_!.-%=\"\u{442}\u{435}\u{441}\u{442}\";tag=_t~1'+`*%!-.")
            .ok("tokens and UTF-8 in a name", Forwards),
        invite().uri("sip:sips%3A100%40a.example@pbx.example").ok("an escaped address inside a user", BeginsCall),
        request("RE%47ISTER").ok("an escape in a method is no escape", Forwards),
        options().plus("C%6Fntact: <sip:x@y>").ok("an escape in a header name is no escape", Forwards),
        request("REGISTER").with("Contact: <sip:%00%00@192.0.2.200>").ok("an escaped NUL stays escaped", Forwards),
        options().with("From: name<sip:100@trunk.example>;tag=c1").ok("no space before the bracket", Forwards),
        options()
            .with(&format!("From: \"{}\"<sip:{}@trunk.example>;tag={}", "n".repeat(300), "u".repeat(400), "t".repeat(200)))
            .plus(&format!("X-{}: {}", "long".repeat(100), "v".repeat(2_000)))
            .ok("long values", Forwards),
        request("REGISTER")
            .plus("Content-Length: 0")
            .body(b"\r\n\r\nINVITE sip:200@pbx.example SIP/2.0\r\nVia: SIP/2.0/UDP x\r\n\r\n")
            .ok("what stands behind the body is not there", Forwards),
        options().uri("sip:200;p=u%40x.example@pbx.example").ok("a semicolon in the user", Forwards),
        options()
            .plus("Via: SIP/2.0/SCTP b;branch=z9hG4bK2")
            .plus("v: SIP/2.0/UNKNOWN c;branch=z9hG4bK3, SIP/2.0/TLS d;branch=z9hG4bK4")
            .ok("transports that nobody knows", Forwards),
        request("MESSAGE")
            .plus("Content-Type: multipart/mixed;boundary=b")
            .plus("Content-Length: 12")
            .body(b"--b\r\n\0\xFF\x80\r\r\n\n")
            .ok("a binary body", Forwards),
        response("SIP/2.0 200 = 2**3 \u{43D}\u{43E} \u{442}\u{43E}").ok("an odd reason", Nothing),
        response("SIP/2.0 100 ").ok("an empty reason", Nothing),
        response("SIP/2.0 183").ok("no reason and no space", Nothing),
        options().with("Contact: *").ok("a Contact of a star", Forwards),
        Case { bytes: [b"\r\n\r\n", &*options().bytes()].concat(), ..options().ok("keep-alives before a message", Forwards) },
    ]
}

/// RFC 4475 §3.1.2: badvers, bigcode, escruri, ltgtruri, lwsruri, lwsstart, trws, mismatch01, mismatch02.
fn start_lines() -> Vec<Case> {
    let raw = |name, bytes: &[u8], reads| Case { name, bytes: bytes.to_vec(), reads, does: Nothing };
    vec![
        options().first("OPTIONS sip:200@pbx.example SIP/7.0").told("another version", "version", 505),
        options()
            .first("OPTIONS sip:200@pbx.example SIP/7.0")
            .with("Via: SIP/7.0/UDP 192.0.2.200;branch=z9hG4bKv")
            .told("another version in Via too", "version", 505),
        options().with("Via: SIP/7.0/UDP 192.0.2.200;branch=z9hG4bKv").told("another version in Via alone", "via", 400),
        options().first("OPTIONS sip:200@pbx.example sip/2.0").told("the version in small letters", "start_line", 400),
        options().uri("<sip:200@pbx.example>").told("brackets around the request-URI", "start_line", 400),
        options().uri("sip:200@pbx.example; lr").told("a space inside the request-URI", "start_line", 400),
        options().first("OPTIONS  sip:200@pbx.example  SIP/2.0").told("two spaces", "start_line", 400),
        options().first("OPTIONS sip:200@pbx.example SIP/2.0  ").told("spaces at the end", "start_line", 400),
        options().first("OPTIONS\tsip:200@pbx.example SIP/2.0").silent("a tab for a space", "not_sip"),
        options().uri("sip:200@pbx.example?Route=%3Csip:evil.example%3E").told(
            "headers in the request-URI",
            "uri",
            400,
        ),
        options().uri("sip:200@pbx.example?").told("no headers behind a question mark", "uri", 400),
        options().uri("sip:200@evil.example@pbx.example").told("two hosts", "uri", 400),
        options().uri("sip:200@pbx.example:+5060").told("a signed port", "uri", 400),
        options().uri("sip:200@pbx.example:65536").told("a port over 65535", "uri", 400),
        options().uri("soap.beep://192.0.2.1:3002").told("a scheme of no telephone", "scheme", 416),
        options().uri("nobodyKnows:opaque").told("a scheme that nobody knows", "scheme", 416),
        options().uri("opaque").told("no scheme", "uri", 400),
        options().with("CSeq: 1 INVITE").told("CSeq of another method", "cseq", 400),
        request("NEWMETHOD").with("CSeq: 1 INVITE").told("CSeq of another method, unknown method", "cseq", 400),
        options().with("CSeq: 1 options").told("CSeq of the method in small letters", "cseq", 400),
        response("SIP/2.0 4294967301 big").silent("a status beyond all numbers", "start_line"),
        response("SIP/2.0 +20 OK").silent("a signed status", "start_line"),
        response("SIP/2.0 099 Low").silent("a status below 100", "start_line"),
        response("SIP/2.0 700 High").silent("a status above 699", "start_line"),
        raw("keep-alive", b"\r\n\r\n", "keep_alive"),
        raw("nothing", b"", "keep_alive"),
        raw("STUN", b"\x00\x01\x00\x00\x21\x12\xA4\x42aaaaaaaaaaaa", "bad_byte"),
        raw("HTTP", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "start_line"),
        raw("half a message", b"OPTIONS sip:200@pbx.example SIP/2.0\r\nVia: SIP/2.0/UDP x", "unfinished"),
    ]
}

/// Header lines: what stands twice, what is missing, bytes without a place; RFC 4475 insuf, multi01, mcl01.
fn headers() -> Vec<Case> {
    let many: String = (0..130).map(|n| format!("X-{n}: 1\r\n")).collect();
    let twice = |line: &str| options().plus(line);
    let spliced = |name, from: &[u8], to: &[u8], reads, does| {
        let bytes = options().plus("Subject: here").bytes();
        let at = bytes.windows(from.len()).position(|window| window == from).expect("its place");
        Case { name, bytes: [&bytes[..at], to, &bytes[at + from.len()..]].concat(), reads, does }
    };
    vec![
        twice("f: <sip:101@trunk.example>;tag=2").told("two From", "duplicate_header", 400),
        twice("t: <sip:201@pbx.example>").told("two To", "duplicate_header", 400),
        twice("i: another").told("two Call-ID", "duplicate_header", 400),
        twice("CSEQ : 2 OPTIONS").told("two CSeq", "duplicate_header", 400),
        twice("Max-Forwards: 5").told("two Max-Forwards", "duplicate_header", 400),
        invite().plus("l: 5").told("two Content-Length", "duplicate_header", 400),
        invite().plus("c: text/plain").told("two Content-Type", "duplicate_header", 400),
        invite().plus("m: <sip:evil@192.0.2.9>").told("two Contacts of an INVITE", "duplicate_header", 400),
        invite().with("Contact: <sip:a@192.0.2.9>, <sip:b@192.0.2.9>").told("two in one line", "duplicate_header", 400),
        request("REGISTER").plus("m: <sip:other@192.0.2.9>").ok("two Contacts of a REGISTER", Forwards),
        request("REGISTER").with("Contact: *").plus("m: <sip:x@192.0.2.9>").told("a star and more", "address", 400),
        options().without("From").without("To").without("Call-ID").silent("nearly nothing there", "missing_header"),
        options().without("Via").silent("no Via", "missing_header"),
        options().without("Max-Forwards").ok("no Max-Forwards", Forwards),
        options().with("Call-ID:").told("an empty Call-ID", "missing_header", 400),
        options().with("Call-ID: a b").told("a space in Call-ID", "header_line", 400),
        options().plus("no colon here").told("a line without a colon", "header_line", 400),
        options().plus("Two Words: x").told("a name of two words", "header_line", 400),
        options().plus(": x").told("a line without a name", "header_line", 400),
        options().plus("Subject: x\r\n  ").told("a fold of nothing", "header_line", 400),
        options().plus("Subject:\r\n \t\r\n x").told("a fold of nothing in between", "header_line", 400),
        options().first("OPTIONS sip:200@pbx.example SIP/2.0\r\n folded").told(
            "a fold of no header",
            "header_line",
            400,
        ),
        options().plus(many.trim_end()).told("over 128 headers", "over_limit", 513),
        options().plus(&format!("X: {}", "x".repeat(4_096))).told("a line over 4 KiB", "over_limit", 513),
        options().plus(&format!("X: {}", "x\r\n ".repeat(2_000))).told("folds over 4 KiB", "over_limit", 513),
        options().plus(&["X: "; 5].map(|name| name.to_owned() + &"x".repeat(4_000)).join("\r\n")).told(
            "headers over 16 KiB",
            "over_limit",
            513,
        ),
        spliced("a bare CR", b"he", b"h\re", "bad_byte", Nothing),
        spliced("a bare LF", b"he", b"h\ne", "bad_byte", Nothing),
        spliced("a NUL", b"he", b"h\0e", "bad_byte", Nothing),
        spliced("a vertical tab, white space to C", b"he", b"h\x0Be", "bad_byte", Nothing),
        spliced("a delete", b"he", b"h\x7Fe", "bad_byte", Nothing),
        spliced("no UTF-8", b"he", b"h\xC3e", "bad_byte", Forwards),
        spliced("line ends without CR", b"Subject: here\r\n\r\n", b"Subject: here\n\n", "bad_byte", Nothing),
        options().with("Via: SIP/2.0/UDP 192.0.2.200;;,;,,").silent("separators for parameters", "via"),
        options().plus("Via: SIP/2.0/UDP").told("a lower Via that cannot be read", "via", 400),
        options().with("Via: SIP/2.0/UDP 192.0.2.200;branch=z9hG4bKa;branch=z9hG4bKb").silent("two branches", "via"),
        options().with("Via: SIP/2.0/UDP [2001:db8::200]:5060;branch=z9hG4bK6").ok("an IPv6 sent-by", Forwards),
        options().with("Via: SIP/2.0/UDP 192.0.2.200;branch=z9hG4bK").ok("a branch of the cookie alone", Forwards),
        request("ACK").plus("f: x").silent("an ACK is never answered", "duplicate_header"),
    ]
}

/// RFC 4475 badaspec, baddn, badinv01, quotbal, regbadct, unksm2; and the address that is not the one that is shown.
fn addresses() -> Vec<Case> {
    let from = |value: &str| options().with(&format!("From: {value}"));
    let to = |value: &str| options().with(&format!("To: {value}"));
    let refused = |draft: Draft, name| draft.told(name, "address", 400);
    vec![
        from("\"Bank <sip:+18005550000@trusted.example>;tag=x, z\" <sip:100@trunk.example>;tag=f")
            .ok("a trap in quotes", Forwards),
        from("sip:100@trunk.example;tag=1").ok("parameters without brackets", Forwards),
        from("<http://www.example.com>;tag=3").ok("a From of another scheme", Forwards),
        to("isbn:2983792873").ok("a To of another scheme", Forwards),
        refused(from("Bell, Alexander <sip:100@trunk.example>;tag=1"), "a comma outside quotes"),
        refused(to("\"open <sip:200@pbx.example>"), "an unterminated quote"),
        refused(to("\"Watson\" < sip:200@pbx.example >"), "spaces in brackets"),
        refused(from("\"a\" \"b\" <sip:100@trunk.example>;tag=1"), "two names"),
        refused(from("\"a\" b <sip:100@trunk.example>;tag=1"), "a quoted name and a word"),
        refused(from("<sip:100@trunk.example>, <sip:2@x>;tag=1"), "two addresses in From"),
        refused(from("<sip:100@trunk.example>;tag=1;tag=2"), "two tags"),
        refused(to("<sip:200@pbx.example>;tag"), "a tag without a value"),
        refused(to("<sip:200@pbx.example>;tag="), "an empty tag"),
        refused(to("<sip:200@pbx.example>;tag=\"q\""), "a quoted tag"),
        refused(to("<sip:200@pbx.example>;tag=a b"), "a space in a tag"),
        refused(to("<sip:200@pbx.example> tag=a"), "a tag without its semicolon"),
        refused(to("<sip:200@pbx.example>;x=<sip:201@pbx.example>;tag=a"), "an address in a parameter"),
        refused(to("<sip:200@pbx.example"), "no closing bracket"),
        refused(to("sip:200;x=1@pbx.example"), "a semicolon before the host without brackets"),
        refused(to("200@pbx.example"), "no scheme"),
        refused(to(""), "nothing"),
        from("<sip:1@2@trunk.example>;tag=1").told("two hosts in From", "uri", 400),
        refused(invite().with("Contact: \"Joe\" <sip:100@192.0.2.200>;;;;"), "separators in Contact"),
        refused(
            request("REGISTER").with("Contact: sip:100@192.0.2.200?Route=%3Csip:x%3E"),
            "URI headers without brackets",
        ),
        request("REGISTER")
            .with("Contact: <sip:100@192.0.2.200?Route=%3Csip:x%3E>")
            .ok("URI headers in brackets", Forwards),
        request("REGISTER").with("Contact: sip:100@192.0.2.200;unknown").ok("an unknown parameter outside", Forwards),
        request("REGISTER").with("Contact: <sip:100@192.0.2.200;unknown>").ok("an unknown parameter inside", Forwards),
        refused(options().plus("Route: <sip:proxy.example;lr>, junk"), "a Route that is none"),
        refused(options().plus("Record-Route: <sip:proxy.example"), "a Record-Route that is none"),
    ]
}

/// RFC 4475 scalar02, scalarlg, ncl, clerr.
fn numbers() -> Vec<Case> {
    vec![
        options().with("CSeq: 36893488147419103232 OPTIONS").told("CSeq beyond 64 bits", "cseq", 400),
        options().with("CSeq: 2147483648 OPTIONS").told("CSeq of 2^31", "cseq", 400),
        options().with("CSeq: 2147483647 OPTIONS").ok("CSeq of 2^31 - 1", Forwards),
        options().with("CSeq: +1 OPTIONS").told("a signed CSeq", "cseq", 400),
        options().with("CSeq: 1").told("CSeq without a method", "cseq", 400),
        options().with("CSeq: 1 OPTIONS 2").told("CSeq with more", "cseq", 400),
        options().with("Max-Forwards: 256").told("Max-Forwards over 255", "max_forwards", 400),
        options().with("Max-Forwards: +5").told("a signed Max-Forwards", "max_forwards", 400),
        options().with("Max-Forwards:").told("an empty Max-Forwards", "max_forwards", 400),
        options().with("Max-Forwards: 255").ok("Max-Forwards of 255", Forwards),
        options()
            .plus("Expires: 1000000000000000000000000000000000")
            .ok("an Expires that nobody lives to see", Forwards),
        invite().with("Content-Length: -999").told("a negative Content-Length", "content_length", 400),
        invite().with("Content-Length: 9999").told("more promised than sent", "content_length", 400),
        invite().with("Content-Length: 0x10").told("a Content-Length in hex", "content_length", 400),
        invite().with("Content-Length: 18446744073709551616").told("a Content-Length of 2^64", "content_length", 400),
        invite().with("Content-Length: 1, 1").told("two numbers in Content-Length", "content_length", 400),
        options()
            .with("CSeq: 9292394834772304023312 OPTIONS")
            .first("SIP/2.0 503 No")
            .silent("a response of such", "cseq"),
    ]
}

/// What can be in a body of an INVITE.
fn bodies() -> Vec<Case> {
    let sdp = |text: &str| {
        let body = SDP.replace("t=0 0\r\n", text);
        invite().with(&format!("Content-Length: {}", body.len())).body(body.as_bytes())
    };
    vec![
        invite().without("Content-Length").ok("no Content-Length", BeginsCall),
        invite().without("Content-Type").without("Content-Length").body(b"").ok("no offer", BeginsCall),
        sdp("t=0 0\r\na=x\rc=IN IP4 192.0.2.66\r\n").told("a bare CR in a description", "ok", 488),
        sdp("t=0 0\r\nm =audio 1 RTP/AVP 0\r\n").told("a space before the equals sign", "ok", 488),
        sdp("t=0 0\r\nC=IN IP4 192.0.2.66\r\n").told("a line of a capital letter", "ok", 488),
        sdp("t=0 0\r\nm=audio  4002 RTP/AVP 0\r\n").told("two spaces in a media line", "ok", 488),
        sdp("t=0 0\r\nm=audio +4002 RTP/AVP 0\r\n").told("a signed port in a media line", "ok", 488),
        sdp("t=0 0\r\nc=IN IP4 192.0.2.66 192.0.2.67\r\n").told("two addresses in a line", "ok", 488),
        invite().with("Content-Length: 34").body(b"v=0\r\ns=-\r\nm=audio 4000 RTP/AVP 0\r\n").told(
            "a description without an address",
            "ok",
            488,
        ),
        sdp(&"a=x\r\n".repeat(1_100)).told("over 1,024 lines", "ok", 488),
        sdp(&"m=audio 4 RTP/AVP 0\r\n".repeat(17)).told("over 16 sections", "ok", 488),
        invite()
            .body(&[b"v=0\r\ns=\xFF\r\nc=IN IP4 192.0.2.200\r\nm=audio 4000 RTP/AVP 0\r\n", &[b' '; 200][..]].concat())
            .told("no UTF-8 there", "ok", 488),
    ]
}

/// RFC 4475 §3.2 to §3.4: what the element does with what it can read.
fn application() -> Vec<Case> {
    vec![
        options().with("Max-Forwards: 0").told("no hop left", "ok", 483),
        options().plus("Proxy-Require: nobodyDoesThis").told("an extension that no proxy knows", "ok", 420),
        options().plus("Require: nobodyDoesThis").ok("an extension for the far end", Forwards),
        options().plus("Accept: text/nobodyKnowsThis").ok("a type for the far end", Forwards),
        request("REGISTER").plus("Authorization: NoScheme opaque=here").ok("credentials for the far end", Forwards),
        options().plus("Date: Fri, 01 Jan 2010 16:00:00 EST").ok("a Date outside GMT", Forwards),
        invite().without("Contact").told("an INVITE that cannot be called back", "ok", 400),
        options()
            .with("From: <sip:100@trunk.example>")
            .with("Via: SIP/2.0/UDP 192.0.2.200")
            .ok("neither tag nor branch: RFC 2543", Forwards),
        response("SIP/2.0 200 OK")
            .plus("Via: SIP/2.0/UDP 255.255.255.255;branch=z9hG4bKb")
            .ok("a response that would be broadcast", Nothing),
        request("BYE").with("To: <sip:200@pbx.example>;tag=gone").told("a BYE of no call", "ok", 481),
        request("CANCEL").told("a CANCEL of nothing", "ok", 481),
        request("ACK").ok("an ACK of nothing", Nothing),
    ]
}
