//! The real binary in a call that is suspect and not yet a scam: the callee is warned, and keys are held until the
//! callee insists. And in one that is taken away, and taken back by a tone.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs, reason = "tests")]

mod firewall;
mod plain_sip;
mod talkers;

use std::time::Duration;

use firewall::{PATIENCE, now, ringfence};
use plain_sip::header;
use ringfence::audio::g711::Law;
use ringfence::audio::wav::Wav;
use talkers::{Call, PCMU, Phone, firewall};

const EVENT: u8 = 101;
const WITH_KEYS: &str = "0 101\r\na=rtpmap:101 telephone-event/8000";

/// Both talk in real time; what each hears is kept: payload type, sequence number, payload.
struct Talk {
    call: Call,
    scam: Vec<u8>,
    sent: usize,
    /// What the callee says next; silence behind it.
    callee_says: Vec<u8>,
    caller_hears: Vec<(u8, u16, Vec<u8>)>,
    callee_hears: Vec<(u8, u16, Vec<u8>)>,
}

impl Talk {
    /// An answered call of a scam; `keys`: what both describe.
    fn new(at: [&'static str; 2], settings: &str, keys: &str) -> (Self, String) {
        let [caller, callee] = at.map(Phone::new);
        let firewall = firewall(callee.here(), settings);
        let mut call = Call::new(firewall, caller, callee);
        let (asked, _) = call.agrees(keys, keys);
        let wav = std::fs::read("src/demo/audio/scam.wav").unwrap();
        let scam = Law::Mu.encode_all(&Wav::read(&wav).unwrap().telephone().unwrap()[0]);
        let (caller_hears, callee_hears) = (Vec::new(), Vec::new());
        (Self { call, scam, sent: 0, callee_says: Vec::new(), caller_hears, callee_hears }, asked)
    }

    /// 20 ms.
    fn tick(&mut self) {
        let due = now() + Duration::from_millis(20);
        let from = self.sent * 160 % (self.scam.len() - 160);
        self.call.caller.send(PCMU, &self.scam[from..from + 160]);
        let rest = self.callee_says.split_off(self.callee_says.len().min(160));
        let mut says = std::mem::replace(&mut self.callee_says, rest);
        says.resize(160, 0xFF);
        self.call.callee.send(PCMU, &says);
        self.sent += 1;
        std::thread::sleep(due.saturating_duration_since(now()));
        for (phone, heard) in [(&self.call.caller, &mut self.caller_hears), (&self.call.callee, &mut self.callee_hears)]
        {
            phone.media.set_nonblocking(true).unwrap();
            let mut buffer = [0; 2_048];
            while let Ok(length) = phone.media.recv(&mut buffer) {
                let number = u16::from_be_bytes([buffer[2], buffer[3]]);
                heard.push((buffer[1] & 0x7F, number, buffer[12..length].to_vec()));
            }
        }
    }

    fn until(&mut self, what: &str, test: impl Fn(&Self) -> bool) {
        let begun = now();
        while !test(self) {
            assert!(now() - begun < PATIENCE, "{what} did not come");
            self.tick();
        }
    }

    /// The callee presses a key for 60 ms.
    fn press(&mut self, key: u8) {
        let at = (u32::from(self.call.callee.sequence) + 1) * 160;
        for (flags, length) in [(10, 160), (10, 320), (0x8A, 480), (0x8A, 480), (0x8A, 480_u16)] {
            let [high, low] = length.to_be_bytes();
            self.call.callee.send_at(EVENT, at, &[key, flags, high, low]);
        }
        // Longer than a press, so that the next one is another.
        (0..10).for_each(|_| self.tick());
    }

    /// Keys that have reached the caller.
    fn keys(&self) -> Vec<u8> {
        let ends = self.caller_hears.iter().filter(|(kind, _, payload)| *kind == EVENT && payload[1] & 0x80 != 0);
        let mut keys: Vec<u8> = ends.map(|(_, _, payload)| payload[0]).collect();
        keys.dedup();
        keys
    }

    fn metric(&self, series: &str) -> u64 {
        self.call.firewall.metric(series)
    }
}

#[test]
fn the_callee_of_a_suspect_call_is_warned_and_its_keys_are_held_until_it_insists() {
    let sure = "[detect]\nguard_at = 0.15\nwhisper_at = 0.15\ndivert_at = 1.0\n[detect.words]\nenabled = false";
    let (mut talk, asked) = Talk::new(["127.0.2.76", "127.0.0.76"], sure, WITH_KEYS);

    talk.until("the whisper", |talk| talk.metric("step_ups_total{action=\"whisper\",enforcement=\"done\"}") == 1);
    assert_eq!(talk.metric("step_ups_total{action=\"guard\",enforcement=\"done\"}"), 1);
    let begun = talk.callee_hears.len();
    let scam = talk.scam.clone();
    let as_sent = |(_, number, payload): &(u8, u16, Vec<u8>)| {
        let from = (usize::from(*number) - 1) * 160 % (scam.len() - 160);
        *payload == scam[from..from + 160]
    };
    // 2.8 seconds of it, in the caller's own packets: more of them where a busy machine sends what is late at once.
    talk.until("all of it, and then the caller alone", |talk| {
        let heard = talk.callee_hears.get(begun + 150..).unwrap_or_default();
        heard.len() >= 10 && heard[heard.len() - 10..].iter().all(as_sent)
    });
    let mixed = talk.callee_hears.iter().filter(|heard| !as_sent(heard)).count();
    assert!(mixed >= 130, "{mixed} packets");

    talk.press(1);
    talk.until("it is told", |talk| talk.metric("rtp_dropped_total{reason=\"key_held\"}") == 5);
    let info = format!(
        "INFO {} SIP/2.0\r\nVia: SIP/2.0/UDP {here};branch=z9hG4bKinfo\r\nMax-Forwards: 70\r\nFrom: {};tag=p\r\nTo: {}\r\n\
         Call-ID: {}\r\nCSeq: 7 INFO\r\nContent-Type: application/dtmf-relay\r\nContent-Length: 10\r\n\r\nSignal=1\r\n",
        header(&asked, "Contact").trim_matches(['<', '>']),
        header(&asked, "To"),
        header(&asked, "From"),
        header(&asked, "Call-ID"),
        here = talk.call.callee.here(),
    );
    talk.call.callee.sip.send_to(info.as_bytes(), talk.call.firewall.sip).unwrap();
    assert!(talk.call.callee.receive_sip("SIP/2.0 200").contains("CSeq: 7 INFO"));
    let prompt = talk.callee_hears.len();
    // Nines count once the voice has said so far.
    (0..160).for_each(|_| talk.tick());
    let numbers: Vec<u16> = talk.caller_hears.iter().map(|(_, number, _)| *number).collect();
    assert!(numbers.windows(2).all(|two| two[1] == two[0] + 1), "the caller sees no loss: {numbers:?}");
    assert!(talk.caller_hears.iter().all(|(kind, _, payload)| *kind == PCMU && *payload == [0xFF; 160]));
    let alone = talk.callee_hears[prompt..].iter().filter(|(_, _, payload)| payload.len() == 160).count();
    assert!(alone >= 20, "the voice: {alone}");

    talk.press(9);
    assert!(talk.keys().is_empty());
    talk.press(9);
    talk.until("the key", |talk| talk.keys() == [1]);
    talk.press(2);
    talk.until("the next key", |talk| talk.keys() == [1, 2]);

    assert_eq!(talk.metric("guards_lifted_total{by=\"callee\"}"), 1);
    talk.call.caller.sip.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    assert!(talk.call.caller.sip.recv(&mut [0; 2_048]).is_err(), "no INFO came to the caller");
    let name = talk.call.firewall.get("/api/calls")["calls"][0]["id"].as_str().unwrap().to_owned();
    talk.call.firewall.hang_up_all();
    let config = talk.call.firewall.config.clone();
    let explained = || {
        let output = ringfence(&["explain", &name, "--config", config.to_str().unwrap()]);
        String::from_utf8(output.stdout).unwrap()
    };
    talk.call.firewall.until("its record", |_| explained().contains("Ended  by Ringfence"));
    assert!(explained().contains("keys reach the caller again: the callee pressed nine twice"), "{}", explained());
}

#[test]
fn a_callee_whose_telephone_knows_tones_alone_takes_a_call_back() {
    let sure = "[detect]\nguard_at = 0.15\nwhisper_at = 0.15\ndivert_at = 0.15\n[detect.words]\nenabled = false";
    let (mut talk, _) = Talk::new(["127.0.2.77", "127.0.0.77"], sure, "0");
    talk.until("the diversion", |talk| talk.metric("step_ups_total{action=\"divert\",enforcement=\"done\"}") == 1);
    (0..80).for_each(|_| talk.tick());
    let (to_caller, to_callee) = (talk.caller_hears.len(), talk.callee_hears.len());
    let nine = |n: usize| {
        let line = |hz: f32| (std::f32::consts::TAU * hz * n as f32 / 8_000.0).sin();
        (6_000.0 * (line(852.0) + line(1_477.0))) as i16
    };

    talk.callee_says = (0..160 * 8).map(|n| Law::Mu.encode(nine(n))).collect();

    talk.until("the caller", |talk| {
        let said = |payload: &[u8]| talk.scam.chunks(160).any(|packet| packet == payload);
        let speech =
            talk.callee_hears[to_callee..].iter().filter(|(_, _, payload)| payload.iter().any(|&code| code != 0xFF));
        speech.filter(|(_, _, payload)| said(payload)).count() >= 5
    });
    let heard = &talk.caller_hears[to_caller..];
    assert!(heard.iter().rev().take(3).all(|(_, _, payload)| *payload == [0xFF; 160]), "and none of the key");
    talk.call.firewall.hang_up_all();
}
