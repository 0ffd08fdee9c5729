//! The real binary in calls whose audio is G.722 or Opus: from the first description on, and by a change inside the
//! call.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs, reason = "tests")]

mod firewall;
mod plain_sip;
mod talkers;

use std::time::Duration;

use ringfence::audio::{g722, opus};
use talkers::{Call, OPUS, PCMU, Phone, bytes, firewall};

const G722: u8 = 9;

/// How telephones speak of Opus (RFC 7587 §7.1), with keys by its clock.
const OPUS_OFFER: &str = "111 0 110\r\na=rtpmap:111 opus/48000/2\r\na=fmtp:111 minptime=10;useinbandfec=1\r\n\
                          a=rtpmap:110 telephone-event/48000\r\na=ptime:20";
const OPUS_ANSWER: &str = "111 110\r\na=rtpmap:111 OPUS/48000/2\r\na=rtpmap:110 telephone-event/48000";

/// A second of something that rises and falls.
fn samples() -> Vec<i16> {
    (0..8_000)
        .map(|n: i32| {
            let wave = (f64::from(n) * 0.3).sin() * (f64::from(n) * 0.002).sin();
            (wave * 12_000.0) as i16
        })
        .collect()
}

/// The same as bytes of G.722.
fn sound() -> Vec<u8> {
    g722::encode_all(&samples())
}

#[test]
fn a_whole_call_in_g722_is_heard_and_its_prompts_are_in_g722() {
    let (caller, callee) = (Phone::new("127.0.2.71"), Phone::new("127.0.0.71"));
    let mut call = Call::new(firewall(callee.here(), "[detect.words]\nenabled = false"), caller, callee);
    let sound = sound();

    let (offered, answered) = call.agrees("9 0", "9");
    assert!(offered.contains(" RTP/AVP 9 0\r\n") && answered.contains(" RTP/AVP 9\r\n"), "{offered}{answered}");
    call.talk((G722, &sound), (G722, &sound));
    call.firewall.until("the caller is heard", |firewall| firewall.metric("analysis_frames_total") >= 50);
    call.divert();

    assert!(call.callee.hears_a_prompt(G722) && call.caller.hears_a_prompt(G722));
}

#[test]
fn a_call_that_changes_to_g722_is_heard_on_and_its_prompts_change_too() {
    let (caller, callee) = (Phone::new("127.0.2.72"), Phone::new("127.0.0.72"));
    let mut call = Call::new(firewall(callee.here(), "[detect.words]\nenabled = false"), caller, callee);
    let (sound, plain) = (sound(), vec![0x55; 8_000]);

    call.agrees("0 8", "0");
    call.talk((PCMU, &plain), (PCMU, &plain));
    call.firewall.until("the caller is heard", |firewall| firewall.metric("analysis_frames_total") >= 50);
    let before = call.frames();
    call.agrees("9", "9");
    call.talk((G722, &sound), (G722, &sound));
    call.firewall.until("it is heard on", |firewall| firewall.metric("analysis_frames_total") >= before + 50);
    call.divert();

    assert!(call.callee.hears_a_prompt(G722) && call.caller.hears_a_prompt(G722));
}

#[test]
fn a_whole_call_in_opus_is_heard_and_its_prompts_are_in_opus() {
    let (caller, callee) = (Phone::new("127.0.2.73"), Phone::new("127.0.0.73"));
    let mut call = Call::new(firewall(callee.here(), "[detect.words]\nenabled = false"), caller, callee);
    let sound = opus::encode_all(&samples(), bytes(OPUS));

    let (offered, answered) = call.agrees(OPUS_OFFER, OPUS_ANSWER);
    assert!(offered.contains("a=fmtp:111 minptime=10;useinbandfec=1\r\n"), "{offered}");
    assert!(answered.contains("a=rtpmap:111 OPUS/48000/2\r\n"), "{answered}");
    call.talk((OPUS, &sound), (OPUS, &sound));
    call.firewall.until("the caller is heard", |firewall| firewall.metric("analysis_frames_total") >= 50);
    call.divert();

    assert!(call.callee.hears_a_prompt(OPUS) && call.caller.hears_a_prompt(OPUS));
    // Its clock goes on by that of Opus.
    let stamp = |phone: &Phone| {
        let mut packet = [0; 2_048];
        phone.media.recv(&mut packet).unwrap();
        u32::from_be_bytes([packet[4], packet[5], packet[6], packet[7]])
    };
    let (first, second) = (stamp(&call.callee), stamp(&call.callee));
    assert_eq!(second.wrapping_sub(first), 960);
}

#[test]
fn a_key_by_the_clock_of_opus_takes_the_call_back() {
    let (caller, callee) = (Phone::new("127.0.2.74"), Phone::new("127.0.0.74"));
    let mut call = Call::new(firewall(callee.here(), "[detect.words]\nenabled = false"), caller, callee);
    let sound = opus::encode_all(&samples(), bytes(OPUS));

    call.agrees(OPUS_OFFER, OPUS_ANSWER);
    call.talk((OPUS, &sound), (OPUS, &sound));
    call.firewall.until("the caller is heard", |firewall| firewall.metric("analysis_frames_total") >= 50);
    call.divert();
    assert!(call.callee.hears_a_prompt(OPUS));
    let mut packet = [0; 2_048];
    // Two seconds of it: an earlier key would be for the caller.
    (0..100).for_each(|_| assert!(call.callee.media.recv(&mut packet).is_ok()));
    // Nine, with its end: 100 ms at 48 kHz.
    call.callee.send(110, &[9, 0x8A, 0x12, 0xC0]);

    call.callee.media.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let again = (0..200).any(|_| {
        call.caller.send(OPUS, &sound[..61]);
        call.callee.media.recv(&mut packet).is_ok_and(|length| packet[12..length] == sound[..61])
    });
    assert!(again, "the caller's audio never came back");
}
