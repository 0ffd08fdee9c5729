//! Prints what becomes of each RFC 4475 message, the worst reading time and the allocations of the forward path.
//!
//! `cargo run --release --example torture -- FOLDER` reads the 49 messages as FOLDER/NAME.dat; they are not part of
//! this repository. Exit code 1 if any verdict differs from the table.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a tool that fails by panicking"
)]

#[path = "../tests/wire/element.rs"]
mod element;
#[path = "../tests/wire/forward.rs"]
mod forward;

use std::path::PathBuf;

use element::Does::{self, Answers, BeginsCall, Forwards, Nothing};
use ringfence::io::clock;
use ringfence::sip::wire::{BadMessage, Index, Limits};

/// Name, what the parser says, what the element does, why.
type Verdict = (&'static str, &'static str, Does, &'static str);

#[rustfmt::skip]
const TABLE: &[Verdict] = &[
    ("badaspec", "address", Answers(400), "400: an address with spaces inside its parts (3.1.2.16)"),
    ("badbranch", "ok", Forwards, "forwards: a branch of the cookie alone is unique enough for one hop (3.2.1)"),
    ("baddate", "ok", BeginsCall, "takes it: nobody here reads Date (3.1.2.12)"),
    ("baddn", "unfinished", Nothing, "drops: the headers do not end; the RFC would answer 400 (3.1.2.15)"),
    ("badinv01", "via", Nothing, "drops: without a readable Via there is nobody to answer; the RFC would answer 400 (3.1.2.1)"),
    ("badvers", "version", Answers(505), "505 (3.1.2.16)"),
    ("bcast", "ok", Nothing, "drops: the response belongs to no request of ours (3.3.11)"),
    ("bext01", "ok", Answers(420), "420 with Unsupported (3.3.5)"),
    ("bigcode", "start_line", Nothing, "drops: a status that is none (3.1.2.19)"),
    ("clerr", "content_length", Answers(400), "400: Content-Length is larger than the datagram (3.1.2.2)"),
    ("cparam01", "ok", Forwards, "forwards: unknown Contact parameters are the registrar's (3.3.12)"),
    ("cparam02", "ok", Forwards, "forwards: the same inside the URI (3.3.13)"),
    ("dblreq", "ok", Forwards, "forwards the first request, ignores what follows its length (3.1.1.8)"),
    ("esc01", "ok", BeginsCall, "takes it: escaped characters in the URI (3.1.1.3)"),
    ("esc02", "ok", Forwards, "forwards: % in a method is itself (3.1.1.5)"),
    ("escnull", "ok", Forwards, "forwards: an escaped NUL is two harmless bytes to us (3.1.1.4)"),
    ("escruri", "uri", Answers(400), "400: headers in a request-URI (3.1.2.11)"),
    ("insuf", "missing_header", Nothing, "drops: without From, To and Call-ID no answer can be made; the RFC would answer 400 (3.3.1)"),
    ("intmeth", "bad_byte", Nothing, "drops, stricter than the RFC: raw control bytes are refused, even quoted; no telephone sends them (3.1.1.2)"),
    ("inv2543", "ok", Answers(400), "400, stricter than the RFC: a call without Contact cannot be ended later (3.4.1)"),
    ("invut", "ok", BeginsCall, "takes it: bodies of unknown type pass (3.3.6)"),
    ("longreq", "ok", BeginsCall, "takes it (3.1.1.7)"),
    ("ltgtruri", "start_line", Answers(400), "400: brackets around the request-URI (3.1.2.7)"),
    ("lwsdisp", "ok", Forwards, "forwards: no white space before the bracket (3.1.1.6)"),
    ("lwsruri", "start_line", Answers(400), "400: white space in the request-URI (3.1.2.8)"),
    ("lwsstart", "start_line", Answers(400), "400: two spaces in the start line (3.1.2.9)"),
    ("mcl01", "duplicate_header", Answers(400), "400: two Content-Lengths (3.3.9)"),
    ("mismatch01", "cseq", Answers(400), "400: CSeq names another method (3.1.2.17)"),
    ("mismatch02", "cseq", Answers(400), "400: the same with an unknown method (3.1.2.18)"),
    ("mpart01", "ok", Forwards, "forwards: a multipart body is opaque (3.1.1.11)"),
    ("multi01", "duplicate_header", Answers(400), "400: headers that may be there once (3.3.8)"),
    ("ncl", "content_length", Answers(400), "400: a negative Content-Length (3.1.2.3)"),
    ("noreason", "ok", Nothing, "reads it; no request of ours waits for it (3.1.1.13)"),
    ("novelsc", "scheme", Answers(416), "416: an unknown scheme (3.3.3)"),
    ("quotbal", "address", Answers(400), "400: a quote that does not end (3.1.2.6)"),
    ("regaut01", "ok", Forwards, "forwards: credentials are for the registrar (3.3.7)"),
    ("regbadct", "address", Answers(400), "400: a Contact that needs brackets (3.1.2.13)"),
    ("regescrt", "ok", Forwards, "forwards: an escaped Route in a Contact is opaque (3.3.14)"),
    ("scalar02", "max_forwards", Answers(400), "400: numbers out of range (3.1.2.4)"),
    ("scalarlg", "cseq", Nothing, "drops: a response with numbers out of range (3.1.2.5)"),
    ("sdp01", "ok", BeginsCall, "takes it: the offer has usable media (3.3.15)"),
    ("semiuri", "ok", Forwards, "forwards: a semicolon in the user part (3.1.1.9)"),
    ("transports", "ok", Forwards, "forwards: other transports in Via (3.1.1.10)"),
    ("trws", "start_line", Answers(400), "400: white space behind the start line (3.1.2.10)"),
    ("unkscm", "scheme", Answers(416), "416: an unknown scheme (3.3.2)"),
    ("unksm2", "ok", Forwards, "forwards: an unknown scheme in To is the registrar's (3.3.4)"),
    ("unreason", "ok", Nothing, "reads it; no request of ours waits for it (3.1.1.12)"),
    ("wsinv", "ok", Answers(481), "481: reads all its white space, but its dialog is none of ours (3.1.1.1)"),
    ("zeromf", "ok", Answers(483), "483 (3.3.11)"),
];

fn main() {
    let Some(folder) = std::env::args_os().nth(1).map(PathBuf::from) else {
        println!("usage: torture FOLDER");
        std::process::exit(2);
    };
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|ending| ending == "dat"));
    files.sort();
    let (now, mut differs) = (clock::now(), 0);
    for file in &files {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        let bytes = std::fs::read(file).unwrap();
        let (read, does) = element::receive(&bytes, now);
        let reads = read.map_or_else(BadMessage::label, |()| "ok");
        let row = TABLE.iter().find(|(known, ..)| *known == name);
        let (mark, why) = match row {
            Some((_, expected, action, why)) if (*expected, *action) == (reads, does) => ("ok", *why),
            Some((.., why)) => ("DIFFERS", *why),
            None => ("UNKNOWN", ""),
        };
        differs += usize::from(mark != "ok");
        println!("{name:10} {reads:20} {:14} {mark:8} {why}", format!("{does:?}"));
    }
    println!("{} messages, {differs} not as the table says\n", files.len());
    worst();
    allocations();
    std::process::exit(i32::from(differs > 0));
}

/// Datagrams of the largest size that make a reader work, and how long ours takes: the median of 200 readings.
fn worst() {
    const ROOM: usize = 60_000;
    let head = "OPTIONS sip:200@pbx.example SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.200;branch=z9hG4bK1\r\n\
                Max-Forwards: 70\r\nFrom: <sip:a@b.example>;tag=1\r\nTo: <sip:200@pbx.example>\r\nCall-ID: x\r\n\
                CSeq: 1 OPTIONS\r\n";
    let many = |line: &str| format!("{head}{}\r\n", line.repeat(ROOM / line.len()));
    let hostile = [
        (
            "1,600 Via values",
            format!("{head}Via: {}\r\n\r\n", vec!["SIP/2.0/UDP h.example;branch=z9hG4bKx"; 1_600].join(", ")),
        ),
        ("2,500 Routes", many("Route: <sip:h.example;lr>\r\n")),
        ("8,000 headers", many("X: y\r\n")),
        ("60 kB of quotes", format!("{head}Subject: {}\r\n\r\n", "\"\\\"\" ".repeat(ROOM / 5))),
        ("60 kB of folds", format!("{head}Subject: a\r\n{}\r\n", " b\r\n".repeat(ROOM / 4))),
        ("60 kB of digits", format!("{head}Expires: {}\r\n\r\n", "9".repeat(ROOM))),
        ("60 kB of parameters", format!("{head}Contact: <sip:a@b.example>{}\r\n\r\n", ";a=b".repeat(ROOM / 4))),
        (
            "60 kB of body",
            format!("{head}Content-Type: application/sdp\r\nContent-Length: {ROOM}\r\n\r\n{}", "a".repeat(ROOM)),
        ),
        ("no line end", "a".repeat(ROOM)),
    ];
    let mut index = Index::new();
    println!("reading the worst 60 kB");
    for (name, text) in &hostile {
        let mut times: Vec<f64> = (0..200)
            .map(|_| {
                let begun = clock::now();
                let _ = std::hint::black_box(
                    index.read(text.as_bytes(), &Limits::default()).map(|m| forward::decision(&m)),
                );
                clock::now().duration_since(begun).as_secs_f64() * 1e6
            })
            .collect();
        times.sort_by(f64::total_cmp);
        println!("  {name:22} {:7.1} us", times[100]);
    }
}

/// A call's INVITE, in and out with kept buffers.
fn allocations() {
    let body = "v=0\r\no=- 1 1 IN IP4 192.0.2.200\r\ns=-\r\nc=IN IP4 192.0.2.200\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0 8 101\r\na=sendrecv\r\n";
    let invite = format!(
        "INVITE sip:200@pbx.example SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.200;branch=z9hG4bK1;rport\r\nMax-Forwards: 70\r\n\
         From: \"A\" <sip:+441632960001@trunk.example>;tag=1\r\nTo: <sip:200@pbx.example>\r\nCall-ID: x@y\r\nCSeq: 1 INVITE\r\n\
         Contact: <sip:a@192.0.2.200>\r\nAllow: INVITE, ACK, BYE\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut forwarder = forward::Forwarder::default();
    let source = element::source();
    forwarder.forward(invite.as_bytes(), source).unwrap();
    let counted = allocation_counter::measure(|| {
        for _ in 0..1_000 {
            std::hint::black_box(forwarder.forward(invite.as_bytes(), source).unwrap());
        }
    });
    let begun = clock::now();
    for _ in 0..100_000 {
        std::hint::black_box(forwarder.forward(invite.as_bytes(), source).unwrap());
    }
    let each = clock::now().duration_since(begun).as_secs_f64() * 1e6 / 1e5;
    println!("\nforward path of an INVITE: {} allocations in 1,000 messages, {each:.2} us each", counted.count_total);
}
