//! Seeded messages, valid and mutated. Everything is made from the seed: a failure can be repeated.

/// SplitMix64: small, and good enough to choose bytes.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// 0 to `end` - 1.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }
}

/// What is written where two forms are right.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(crate) enum Dialect {
    /// Long names, one space, no folds, one Via a line, brackets: what any reader takes.
    Plain,
    /// All that RFC 3261 allows.
    Wild,
}

/// One valid message.
pub(crate) fn message(random: &mut Random, dialect: Dialect) -> Vec<u8> {
    let wild = dialect == Dialect::Wild;
    let mut methods =
        vec!["INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "REGISTER", "PRACK", "UPDATE", "INFO", "MESSAGE"];
    if wild {
        methods.extend(["PING", "x-Method.1", "invite"]);
    }
    let method = random.pick(&methods);
    let response = random.chance(25);
    let mut text =
        if response { status_line(random) } else { format!("{method} {} SIP/2.0\r\n", uri(random, dialect)) };
    let mut fields = head(random, dialect, method, response);
    let body = if random.chance(50) { sdp(random) } else { String::new() };
    if !body.is_empty() {
        fields.push(("Content-Type", "c", "application/sdp".to_owned()));
    }
    fields.push(("Content-Length", "l", body.len().to_string()));
    if wild {
        scatter(random, &mut fields);
    }
    for (long, short, value) in fields {
        let name = if wild && !short.is_empty() && random.chance(25) { short } else { long };
        let name = if wild && random.chance(10) { name.to_ascii_uppercase() } else { name.to_owned() };
        let (before, behind) =
            if wild { (random.pick(&["", "", " ", "\t"]), space(random, dialect)) } else { ("", " ") };
        text += &format!("{name}{before}:{behind}{value}\r\n");
    }
    text += "\r\n";
    text += &body;
    text.into_bytes()
}

fn status_line(random: &mut Random) -> String {
    let (code, reason) =
        [("100", "Trying"), ("180", "Ringing"), ("200", "OK"), ("404", "Not Found"), ("486", "Busy Here"), ("603", "")]
            [random.below(6)];
    format!("SIP/2.0 {code} {reason}\r\n")
}

/// Long name, short name, value.
type Field = (&'static str, &'static str, String);

/// Header fields but those of the body.
fn head(random: &mut Random, dialect: Dialect, method: &str, response: bool) -> Vec<Field> {
    let wild = dialect == Dialect::Wild;
    let number = random.below(1 << 31);
    let mut fields: Vec<Field> = Vec::new();
    for _ in 0..1 + random.below(3) {
        let mut value = via(random, dialect);
        while wild && random.chance(20) {
            value = format!("{value},{}{}", space(random, dialect), via(random, dialect));
        }
        fields.push(("Via", "v", value));
    }
    fields.push(("Max-Forwards", "", random.below(256).to_string()));
    let tag = format!(";tag={}", word(random));
    fields.push(("From", "f", address(random, dialect) + &tag));
    let tag = if response || random.chance(40) { format!(";tag={}", word(random)) } else { String::new() };
    fields.push(("To", "t", address(random, dialect) + &tag));
    fields.push(("Call-ID", "i", format!("{}@{}", word(random), random.pick(&["host.example", "192.0.2.7"]))));
    fields.push(("CSeq", "", format!("{number}{}{method}", if wild { space(random, dialect) } else { " " })));
    if random.chance(80) {
        fields.push(("Contact", "m", address(random, dialect)));
    }
    if random.chance(20) {
        fields.push(("Route", "", "<sip:proxy.example;lr>, <sip:198.51.100.4;lr;ftag=a>".to_owned()));
    }
    if random.chance(20) {
        fields.push(("Record-Route", "", "<sip:edge.example:5070;lr>".to_owned()));
    }
    for _ in 0..random.below(4) {
        fields.push(match random.below(6) {
            0 => ("Subject", "s", "about, \"nothing\"; <at all>".to_owned()),
            1 => ("Allow", "", "INVITE, ACK, CANCEL, BYE".to_owned()),
            2 => ("User-Agent", "", "Phone/1.0 (test)".to_owned()),
            3 => ("Supported", "k", "100rel, timer".to_owned()),
            4 => ("X-Text", "", "Grüße: ünïcode".to_owned()),
            _ => ("P-Asserted-Identity", "", "\"A, B\" <sip:+441632960001@trunk.example>".to_owned()),
        });
    }
    fields
}

/// Fields in any order; Vias keep theirs among themselves by staying first.
fn scatter(random: &mut Random, fields: &mut [Field]) {
    for at in (1..fields.len()).rev() {
        let other = random.below(at + 1);
        if fields[at].0 != "Via" && fields[other].0 != "Via" {
            fields.swap(at, other);
        }
    }
}

fn space(random: &mut Random, dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Plain => " ",
        Dialect::Wild => random.pick(&[" ", " ", "  ", "\t", "\r\n ", " \r\n\t "]),
    }
}

fn word(random: &mut Random) -> String {
    const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJ0123456789-.!%*_+`'~";
    (0..1 + random.below(12)).map(|_| char::from(LETTERS[random.below(LETTERS.len())])).collect()
}

fn host(random: &mut Random, dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Plain => random.pick(&["example.com", "192.0.2.9", "gw-1.example.net"]),
        Dialect::Wild => random.pick(&["example.com", "192.0.2.9", "gw-1.example.net", "[2001:db8::9]", "a_b.example"]),
    }
}

fn uri(random: &mut Random, dialect: Dialect) -> String {
    if dialect == Dialect::Wild && random.chance(15) {
        return random.pick(&["tel:+441632960001", "tel:999;phone-context=example.com"]).to_owned();
    }
    let user = random.pick(&["", "alice@", "+441632960001@", "a%20b@", "100@"]);
    let port = random.pick(&["", ":5060", ":65535"]);
    let params = random.pick(&["", ";transport=udp", ";user=phone;lr"]);
    let scheme = random.pick(&["sip", "sip", "sips"]);
    format!("{scheme}:{user}{}{port}{params}", host(random, dialect))
}

fn address(random: &mut Random, dialect: Dialect) -> String {
    let uri = uri(random, dialect);
    if dialect == Dialect::Wild && !uri.contains([';', '?', ',']) && random.chance(25) {
        return uri;
    }
    let display = match dialect {
        Dialect::Plain => random.pick(&["", "Alice ", "\"Alice B\" "]),
        Dialect::Wild => random.pick(&[
            "",
            "Alice B.",
            "\"A, B; <sip:x@y>;tag=no\"",
            "\"back\\\\slash \\\" quote\" ",
            "\"Grüße\"\r\n ",
            "O'Neil ",
        ]),
    };
    format!("{display}<{uri}>")
}

fn via(random: &mut Random, dialect: Dialect) -> String {
    let protocol = match dialect {
        Dialect::Plain => "SIP/2.0/UDP",
        Dialect::Wild => random.pick(&["SIP/2.0/UDP", "SIP / 2.0 / TCP", "SIP/2.0/WSS", "SIP\r\n /2.0/ UDP"]),
    };
    let port = random.pick(&["", ":5060", ":65000"]);
    let rport = random.pick(&["", ";rport", ";rport=5062;received=192.0.2.33"]);
    let spaced = if dialect == Dialect::Wild { random.pick(&["", " ", "\r\n "]) } else { "" };
    format!("{protocol} {}{port}{spaced};{spaced}branch=z9hG4bK{}{rport}", host(random, dialect), word(random))
}

fn sdp(random: &mut Random) -> String {
    let mut text = format!(
        "v=0\r\no={} 1 2 IN IP4 192.0.2.50\r\ns=-\r\n",
        random.pick(&["-", "alice", "My Phone", "x 192.0.2.1"])
    );
    let per_media = random.chance(30);
    if !per_media {
        text += random.pick(&[
            "c=IN IP4 192.0.2.50\r\n",
            "c=IN IP6 2001:db8::50\r\n",
            "c=IN IP4 host.example\r\n",
            "c=IN IP4 0.0.0.0\r\n",
        ]);
    }
    text += "t=0 0\r\n";
    for _ in 0..1 + random.below(3) {
        text += random.pick(&[
            "m=audio 49170 RTP/AVP 0 8 101\r\n",
            "m=audio 49170/2 RTP/SAVP 0 8 \r\n",
            "m=video 51372 RTP/AVP 31\r\n",
            "m=image 0 udptl t38\r\n",
        ]);
        if per_media {
            text += "c=IN IP4 192.0.2.51\r\n";
        }
        text += random.pick(&[
            "",
            "a=sendonly\r\n",
            "a=rtcp:53020 IN IP4 192.0.2.52\r\n",
            "a=rtcp-mux\r\na=candidate:1 1 UDP 1 192.0.2.53 9 typ host\r\n",
        ]);
        text += random.pick(&["", "a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\n", "a=ptime:20\r\n"]);
    }
    text
}

/// What readers stumble over.
const EDGES: &[&[u8]] = &[
    b"\r\n",
    b"\r",
    b"\n",
    b"\0",
    b"\"",
    b"\\",
    b"<",
    b">",
    b",",
    b";",
    b":",
    b"=",
    b"@",
    b"?",
    b" ",
    b"\t",
    b"/",
    b"%00",
    b"\xFF",
    b"\xC3",
    b"\r\n ",
    b"\r\n\r\n",
    b";tag=x",
    b";;",
    b",,",
    b"<sip:x@y>",
    b"999999999999999999999",
    b"-1",
    b"+1",
    b"\r\nFrom: <sip:second@example.com>;tag=2",
    b"\r\nContent-Length: 0",
    b"\r\nl: 9",
    b"\r\nContent-Type: text/plain",
    b"\r\nVia: ",
    b"SIP/2.0",
    b"[",
    b"]",
    b"\x7F",
    b"\x0B",
    b"\xE2\x80\xA8",
];

/// Changes `bytes` in one to five places: single bytes, runs, whole lines, pieces of `donor`.
pub(crate) fn mutate(random: &mut Random, bytes: &mut Vec<u8>, donor: &[u8]) {
    for _ in 0..1 + random.below(5) {
        let at = random.below(bytes.len() + 1);
        match random.below(9) {
            0 if at < bytes.len() => bytes[at] = random.below(256) as u8,
            1 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            2 => {
                let end = (at + random.below(24)).min(bytes.len());
                bytes.drain(at..end);
            }
            3 => {
                let end = (at + random.below(64)).min(bytes.len());
                let copy = bytes[at..end].to_vec();
                let to = random.below(bytes.len() + 1);
                bytes.splice(to..to, copy);
            }
            4 => {
                let from = random.below(donor.len());
                let piece = &donor[from..(from + random.below(64)).min(donor.len())];
                bytes.splice(at..at, piece.iter().copied());
            }
            5 => swap_lines(random, bytes),
            6 if random.chance(5) => bytes.truncate(at),
            7 if random.chance(10) => {
                let run = vec![EDGES[random.below(EDGES.len())]; random.below(2_000)].concat();
                bytes.splice(at..at, run);
            }
            _ => {
                bytes.splice(at..at, EDGES[random.below(EDGES.len())].iter().copied());
            }
        }
    }
}

fn swap_lines(random: &mut Random, bytes: &mut Vec<u8>) {
    let mut lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
    if lines.is_empty() {
        return;
    }
    let (one, other) = (random.below(lines.len()), random.below(lines.len()));
    if random.chance(50) {
        lines.swap(one, other);
    } else {
        lines.insert(one, lines[other]);
    }
    *bytes = lines.concat();
}
