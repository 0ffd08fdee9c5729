//! `listen` and `eval` as a person uses them: WAV of several kinds, captures, labelled calls, wrong input.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs, reason = "tests")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use ringfence::audio::g711::Law;
use ringfence::audio::wav::Wav;

const SCAM: &str = "src/demo/audio/scam.wav";
const NEIGHBOUR: &str = "src/demo/audio/neighbour.wav";

fn ringfence(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ringfence")).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn legs(path: &str) -> Vec<Vec<i16>> {
    Wav::read(&std::fs::read(path).unwrap()).unwrap().telephone().unwrap()
}

/// A capture of one call as a network card sees it: signalling and both streams, little-endian pcap with Ethernet.
struct Pcap {
    bytes: Vec<u8>,
}

impl Pcap {
    fn new() -> Self {
        let mut bytes = Vec::new();
        for word in [0xA1B2_C3D4u32, 0x0004_0002, 0, 0, 65_535, 1] {
            bytes.extend(word.to_le_bytes());
        }
        Self { bytes }
    }

    fn udp(&mut self, ms: u64, from: ([u8; 4], u16), to: ([u8; 4], u16), payload: &[u8]) {
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
        let total = 28 + payload.len() as u16;
        frame.extend([0x45, 0]);
        frame.extend(total.to_be_bytes());
        frame.extend([0, 0, 0, 0, 64, 17, 0, 0]);
        frame.extend(from.0);
        frame.extend(to.0);
        for word in [from.1, to.1, 8 + payload.len() as u16, 0] {
            frame.extend(word.to_be_bytes());
        }
        frame.extend(payload);
        for word in [(ms / 1_000) as u32, (ms % 1_000) as u32 * 1_000, frame.len() as u32, frame.len() as u32] {
            self.bytes.extend(word.to_le_bytes());
        }
        self.bytes.extend(frame);
    }
}

fn rtp(law: Law, number: u32, ssrc: u32, samples: &[i16]) -> Vec<u8> {
    let mut packet = vec![0x80, if law == Law::Mu { 0 } else { 8 }];
    packet.extend((number as u16).to_be_bytes());
    packet.extend((160 * number).to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    packet.extend(law.encode_all(samples));
    packet
}

fn capture_of(path: &str) -> Vec<u8> {
    let legs = legs(path);
    let (trunk, us) = ([192, 0, 2, 10], [192, 0, 2, 1]);
    let message = |start: &str, cseq: &str, ip: &str, port: u16| {
        let body =
            format!("v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {port} RTP/AVP 8\r\n");
        format!(
            "{start}\r\nVia: SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bK1\r\nMax-Forwards: 70\r\nFrom: <sip:a@192.0.2.10>;tag=a\r\n\
             To: <sip:201@192.0.2.1>;tag=b\r\nCall-ID: c\r\nCSeq: {cseq}\r\nContact: <sip:a@192.0.2.10>\r\n\
             Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let mut pcap = Pcap::new();
    let invite = message("INVITE sip:201@192.0.2.1 SIP/2.0", "1 INVITE", "192.0.2.10", 4_000);
    pcap.udp(1_000, (trunk, 5_060), (us, 5_060), invite.as_bytes());
    let ok = message("SIP/2.0 200 OK", "1 INVITE", "192.0.2.1", 20_000);
    pcap.udp(4_000, (us, 5_060), (trunk, 5_060), ok.as_bytes());
    let frames = legs[0].len() / 160;
    for n in 0..frames {
        let at = 4_000 + 20 * n as u64;
        let slice = 160 * n..160 * (n + 1);
        // The callee's stream comes first: only the signalling says who is who.
        pcap.udp(at, (us, 20_000), (trunk, 4_000), &rtp(Law::A, n as u32, 7, &legs[1][slice.clone()]));
        pcap.udp(at + 5, (trunk, 4_000), (us, 20_000), &rtp(Law::A, n as u32, 9, &legs[0][slice]));
    }
    pcap.bytes
}

#[test]
fn a_scam_is_heard_with_its_words_and_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let plot = folder.path().join("call.svg");

    let output = ringfence(&["listen", SCAM, "--plot", plot.to_str().unwrap()]);

    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("phrase `press one`") && said.contains("\ndivert at "), "{said}");
    let svg = std::fs::read_to_string(plot).unwrap();
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n") && svg.contains("divert") && svg.contains("Amazon"));
}

#[test]
fn a_capture_is_heard_like_the_recording() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("call.pcap");
    std::fs::write(&path, capture_of(SCAM)).unwrap();

    let output = ringfence(&["listen", path.to_str().unwrap()]);
    let said = text(&output.stdout) + &text(&output.stderr);

    assert!(said.contains("phrase `press one`") && said.contains("\ndivert at "), "{said}");
    // A last packet that was cut off is no mistake.
    let bytes = capture_of(NEIGHBOUR);
    std::fs::write(&path, &bytes[..bytes.len() - 50]).unwrap();
    let output = ringfence(&["listen", path.to_str().unwrap()]);
    let said = text(&output.stdout) + &text(&output.stderr);
    assert!(said.contains("nothing done: live"), "{said}");
}

#[test]
fn wrong_input_is_one_clear_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let error = |arguments: &[&str]| {
        let output = ringfence(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        text(&output.stderr)
    };

    assert!(error(&["listen", &file("a.wav", b"hello")]).contains("not a usable WAV file"));
    assert!(error(&["listen", &file("a.pcap", &Pcap::new().bytes)]).contains("no G.711 stream"));
    assert!(error(&["listen", SCAM, "--phrases", &file("p.toml", b"x")]).contains("p.toml"));
    assert!(error(&["listen", SCAM, "--weights", &file("w.toml", b"version = 1")]).contains("not a weights file"));
    assert!(error(&["eval", &file("m.csv", b"id,file\n")]).contains("no column `label`"));
    assert!(error(&["eval", &file("m.csv", b"id,file,label\nx,x.wav,scam\n")]).contains("line 2: `scam` is no label"));
    assert!(error(&["eval", &file("m.csv", b"id,file,label\nx,x.wav,live\n")]).contains("x.wav: cannot be read"));
}

#[test]
fn every_usual_rate_is_heard_and_a_missing_model_switches_words_off() {
    let folder = tempfile::tempdir().unwrap();
    let legs = legs(SCAM);
    for rate in [8_000u32, 16_000, 44_100, 48_000] {
        let path = folder.path().join(format!("{rate}.wav"));
        resampled(&path, &legs, rate);
        let said = text(&ringfence(&["listen", path.to_str().unwrap(), "--no-words"]).stdout);
        assert!(said.contains("words are off: as asked") && said.contains("first speech"), "{rate}: {said}");
    }
    let said = text(&ringfence(&["listen", SCAM, "--model", "/nowhere"]).stdout);
    assert!(said.contains("words are off: /nowhere/tokenizer.bin"), "{said}");
}

/// By repetition of the nearest sample: ugly, but a call.
fn resampled(path: &Path, legs: &[Vec<i16>], rate: u32) {
    let spec =
        hound::WavSpec { channels: 2, sample_rate: rate, bits_per_sample: 16, sample_format: hound::SampleFormat::Int };
    let mut writer = hound::WavWriter::create(path, spec).unwrap();
    for n in 0..5 * rate {
        for leg in legs {
            let at = (u64::from(n) * 8_000 / u64::from(rate)) as usize;
            writer.write_sample(leg.get(at).copied().unwrap_or_default()).unwrap();
        }
    }
    writer.finalize().unwrap();
}

#[test]
fn eval_writes_tables_and_one_row_a_call() {
    let folder = tempfile::tempdir().unwrap();
    let here = std::env::current_dir().unwrap();
    let manifest: PathBuf = folder.path().join("manifest.csv");
    let row =
        |id: &str, file: &str, label: &str, more: &str| format!("{id},{},{label},{more}\n", here.join(file).display());
    let rows = "id,file,label,kind,caller_onset_ms,first_instruction_ms\n".to_owned()
        + &row("one", SCAM, "press_key", "uk_scam,300,12000")
        + &row("two", NEIGHBOUR, "live", "dialogue,1200,");
    std::fs::write(&manifest, rows).unwrap();
    let (json, csv) = (folder.path().join("e.json"), folder.path().join("e.csv"));

    let output = ringfence(&[
        "eval",
        manifest.to_str().unwrap(),
        "--json",
        json.to_str().unwrap(),
        "--calls",
        csv.to_str().unwrap(),
        "--baseline",
        "--report",
        folder.path().join("report").to_str().unwrap(),
    ]);

    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("press_key uk_scam") && said.contains("median"), "{said}");
    assert!(said.contains("Asterisk AMD"), "{said}");
    let page = std::fs::read_to_string(folder.path().join("report/index.html")).unwrap();
    assert!(page.contains("expected calibration error") && page.ends_with("</html>\n"));
    let rows = std::fs::read_to_string(csv).unwrap();
    let mut lines = rows.lines();
    assert_eq!(lines.next(), Some("id,label,kind,class,probability,action,decided_ms,reasons"));
    assert!(lines.next().unwrap().starts_with("one,press_key,uk_scam,press_key,0.9"), "{rows}");
    assert!(lines.next().unwrap().starts_with("two,live,dialogue,live,"), "{rows}");
    let json: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(json).unwrap()).unwrap();
    assert_eq!(json["tables"]["delays"]["within_20_s"]["count"], 1);
}

#[test]
fn a_known_recording_is_taken_away_even_without_words() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("campaigns.txt");
    let line = ringfence(&["fingerprint", SCAM, "--name", "prime"]).stdout;
    std::fs::write(&file, line).unwrap();
    // The caller of a second call: from another start, quieter.
    let again = folder.path().join("again.wav");
    let legs: Vec<Vec<i16>> = legs(SCAM)
        .into_iter()
        .map(|leg| std::iter::repeat_n(0, 4_321).chain(leg.into_iter().skip(5_000).map(|s| s / 2)).collect())
        .collect();
    resampled(&again, &legs, 8_000);
    let listen =
        |call: &str| text(&ringfence(&["listen", call, "--no-words", "--campaigns", file.to_str().unwrap()]).stdout);

    let (known, other) = (listen(again.to_str().unwrap()), listen(NEIGHBOUR));

    assert!(known.contains("known recording `prime`") && known.contains("\ndivert at "), "{known}");
    assert!(!other.contains("known recording"), "{other}");
    std::fs::write(&file, "x y").unwrap();
    let bad = ringfence(&["listen", SCAM, "--campaigns", file.to_str().unwrap()]);
    assert_eq!(bad.status.code(), Some(1));
    assert!(text(&bad.stderr).contains("line 1 is no fingerprint"), "{bad:?}");
}
