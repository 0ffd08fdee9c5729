#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::f32::consts::TAU;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::audio::g711::Law;
use crate::rtp::control::StreamPlan;
use crate::rtp::packet::HEADER;
use crate::rtp::relay::tests::{CALLEE, CALLER, Call, address, report, rtp, word};
use crate::rtp::relay::{Counters, Relayed};

/// Packets of one press from this sequence number on: four updates, and the end three times.
fn press(sequence: u16, timestamp: u32, key: u8) -> Vec<Vec<u8>> {
    let packet = |n: u16| {
        let length = (n.min(5) * 160).to_be_bytes();
        let flags = if n < 5 { 10 } else { 0x8A };
        let mut packet = rtp(101, sequence + n - 1, 8, &[key, flags, length[0], length[1]]);
        packet[4..8].copy_from_slice(&timestamp.to_be_bytes());
        packet
    };
    (1..=7).map(packet).collect()
}

fn held(counters: &Counters) -> u32 {
    counters.dropped[DropReason::KeyHeld as usize]
}

/// What of the callee reaches the caller: sequence number, timestamp, marker.
fn reaches(call: &mut Call, mut packet: Vec<u8>) -> Option<(u16, u32, bool)> {
    let way = call.send(Leg::Callee, &mut packet, CALLEE).way;
    let header = Header::read(&packet).unwrap();
    matches!(way, Relay::Forward { .. }).then_some((header.sequence.0, header.timestamp.0, header.marker))
}

fn keys(call: &mut Call, packets: Vec<Vec<u8>>) -> (String, usize) {
    let (mut keys, mut forwarded) = (String::new(), 0);
    for mut packet in packets {
        let Relayed { digit, way, .. } = call.send(Leg::Callee, &mut packet, CALLEE);
        keys.extend(digit);
        forwarded += usize::from(matches!(way, Relay::Forward { .. }));
    }
    (keys, forwarded)
}

#[test]
fn held_events_are_told_once_and_leave_a_stream_with_a_pause_and_no_loss() {
    let mut call = Call::new();
    call.hold(Held::All);
    let before: Vec<_> = (1..=5).filter_map(|n| reaches(&mut call, rtp(8, n, 8, &[0xD5; 160]))).collect();

    let told = keys(&mut call, press(6, 6 * 160, 1));
    let again = keys(&mut call, press(6, 6 * 160, 1));
    let after: Vec<_> = (13..=15).filter_map(|n| reaches(&mut call, rtp(8, n, 8, &[0xD5; 160]))).collect();

    assert_eq!((told, again), (("1".to_owned(), 0), (String::new(), 0)), "the network brought them twice");
    assert_eq!(held(call.pair.counters()), 14);
    assert_eq!(before, [1, 2, 3, 4, 5].map(|n| (n, u32::from(n) * 160, false)));
    assert_eq!(after, [(6, 13 * 160, true), (7, 14 * 160, false), (8, 15 * 160, false)]);
    // The caller's side reports about numbers that the callee never sent, and hears of packets that it has not got.
    call.send(Leg::Caller, &mut rtp(8, 1, 7, &[0xD5; 160]), CALLER);
    let (mut about, mut sender) = (report(7, 8, 8), report(8, 7, 1));
    call.report(Leg::Caller, &mut about, "192.0.2.1:4001");
    call.report(Leg::Callee, &mut sender, "198.51.100.2:6001");
    assert_eq!((word(&about, 7), word(&about, 9)), (8, 15));
    assert_eq!((word(&sender, 1), word(&sender, 4), word(&sender, 5)), (8, 8_000, 50 - 14));
}

#[test]
fn the_other_legs_keys_and_those_of_a_call_without_a_guard_pass() {
    let mut call = Call::new();
    assert_eq!(keys(&mut call, press(1, 160, 5)), ("5".to_owned(), 7));

    call.hold(Held::All);
    let mut packet = rtp(96, 1, 7, &[3, 10, 0, 160]);
    let relayed = call.send(Leg::Caller, &mut packet, CALLER);

    assert!(matches!(relayed.way, Relay::Forward { .. }));
    assert_eq!(relayed.digit, Some('3'));
}

#[test]
fn a_press_that_began_before_a_guard_ends_for_the_caller_and_one_that_lifts_it_does_not_begin() {
    let mut call = Call::new();
    let mut first = press(1, 160, 1);
    let rest = first.split_off(2);
    assert_eq!(keys(&mut call, first), ("1".to_owned(), 2));

    call.hold(Held::All);
    assert_eq!(keys(&mut call, rest), (String::new(), 5), "somebody lets the key go");

    let mut second = press(8, 4_000, 9);
    let rest = second.split_off(1);
    assert_eq!(keys(&mut call, second), ("9".to_owned(), 0));
    call.hold(Held::Nothing);
    assert_eq!(keys(&mut call, rest), (String::new(), 0));
    assert_eq!(keys(&mut call, press(15, 8_000, 2)), ("2".to_owned(), 7));
    assert!(call.pair.legs.callee.guard.is_some(), "a tone might still be on");
    call.send(Leg::Callee, &mut rtp(8, 22, 8, &[0xD5; 160]), CALLEE);
    assert!(call.pair.legs.callee.guard.is_none());
}

#[test]
fn a_nine_that_was_told_by_info_is_held_once_more_when_it_comes_in_the_media() {
    let mut call = Call::new();
    call.hold(Held::All);
    call.hold(Held::Last('9'));

    assert_eq!(keys(&mut call, press(1, 160, 9)), ("9".to_owned(), 0), "the same press");
    assert_eq!(keys(&mut call, press(8, 4_000, 9)), ("9".to_owned(), 7), "another one");

    // Another key first is no part of it, and much later nothing is.
    call.hold(Held::All);
    call.hold(Held::Last('9'));
    assert_eq!(keys(&mut call, press(15, 8_000, 2)), ("2".to_owned(), 7));
    call.now += Duration::from_secs(1);
    call.send(Leg::Callee, &mut rtp(8, 22, 8, &[0xD5; 160]), CALLEE);
    assert_eq!(keys(&mut call, press(23, 12_000, 9)), ("9".to_owned(), 7));
    assert!(call.pair.legs.callee.guard.is_none());
}

#[test]
fn a_nine_that_was_told_by_info_is_no_tone_for_the_caller_and_other_keys_are() {
    let mut call = Call::new();
    call.hold(Held::All);
    call.hold(Held::Last('9'));
    let silence = || vec![0xD5; 160 * 6];
    let (one, nine) = (tone([697.0, 1_209.0], Law::A), tone([852.0, 1_477.0], Law::A));
    let audio = [silence(), one.clone(), silence(), nine.clone(), silence(), one, silence()].concat();
    let mut heard = Vec::new();
    for (n, payload) in audio.chunks(160).enumerate() {
        let mut packet = rtp(8, n as u16, 8, payload);
        call.send(Leg::Callee, &mut packet, CALLEE);
        heard.push(packet[HEADER..].iter().any(|&code| code != 0xD5));
    }

    let sounds = |from: usize| heard[from * 6..from * 6 + 7].iter().filter(|heard| **heard).count();
    assert_eq!((sounds(1), sounds(3), sounds(5)), (6, 0, 6), "{heard:?}");
}

#[test]
fn an_event_by_a_clock_that_no_description_named_is_held_too() {
    let mut call = Call::new();
    call.hold(Held::All);
    call.send(Leg::Callee, &mut rtp(8, 1, 8, &[0xD5; 160]), CALLEE);

    let relayed = call.send(Leg::Callee, &mut rtp(120, 2, 8, &[1, 10, 0, 160]), CALLEE);

    assert_eq!((relayed.way, relayed.digit), (Relay::Drop(DropReason::KeyHeld), Some('1')));
}

#[test]
fn an_event_under_the_number_of_a_codec_is_held_too_and_audio_is_not() {
    for (number, codec) in [(0, Codec::Pcmu), (8, Codec::Pcma), (9, Codec::G722)] {
        let mut call = Call::new();
        call.hold(Held::All);
        let plan = StreamPlan { codecs: vec![(number, codec)], ..call.pair.legs.caller.plan.clone() };
        call.pair.plan(Leg::Caller, plan, call.now);
        let voice = call.send(Leg::Callee, &mut rtp(number, 1, 8, &[1; 160]), CALLEE);

        let relayed = call.send(Leg::Callee, &mut rtp(number, 2, 8, &[1, 10, 0, 160]), CALLEE);
        let again = call.send(Leg::Callee, &mut rtp(number, 3, 8, &[1, 0x8A, 0, 160]), CALLEE);

        assert!(matches!(voice.way, Relay::Forward { .. }), "{codec:?}");
        assert_eq!((relayed.way, relayed.digit), (Relay::Drop(DropReason::KeyHeld), Some('1')), "{codec:?}");
        assert_eq!(again.way, Relay::Drop(DropReason::KeyHeld), "{codec:?}");
    }
}

#[test]
fn an_event_of_the_caller_under_the_number_of_a_codec_may_come_back_too() {
    let mut call = Call::new();
    call.hold(Held::All);
    call.send(Leg::Caller, &mut rtp(8, 1, 7, &[9, 10, 0, 160]), CALLER);

    assert_eq!(keys(&mut call, press(1, 160, 9)), (String::new(), 0));
}

#[test]
fn a_guard_outlives_a_new_description_and_a_hold() {
    let mut call = Call::new();
    call.hold(Held::All);
    let plan = call.pair.legs.callee.plan.clone();
    let elsewhere = StreamPlan { codecs: vec![(0, Codec::Pcmu)], telephone_event: Some(110), ..plan.clone() };
    for plan in [StreamPlan { rtp: None, ..plan }, elsewhere] {
        call.pair.plan(Leg::Callee, plan, call.now);
    }

    assert_eq!(keys(&mut call, press(1, 160, 7)), ("7".to_owned(), 0));
}

fn sine(law: Law, hz: f32, height: f32, samples: usize) -> Vec<u8> {
    let at = |n: usize| (height * (TAU * hz * n as f32 / 8_000.0).sin()) as i16;
    (0..samples).map(|n| law.encode(at(n))).collect()
}

/// Amplitude of one line.
fn height(samples: &[i16], hz: f32) -> f32 {
    let turn = |n: usize| TAU * hz * n as f32 / 8_000.0;
    let sum = |part: fn(f32) -> f32| {
        samples.iter().enumerate().map(|(n, sample)| f32::from(*sample) * part(turn(n))).sum::<f32>()
    };
    sum(f32::sin).hypot(sum(f32::cos)) * 2.0 / samples.len() as f32
}

fn tone(key: [f32; 2], law: Law) -> Vec<u8> {
    let at = |n: usize| key.iter().map(|hz| 6_000.0 * (TAU * hz * n as f32 / 8_000.0).sin()).sum::<f32>();
    (0..160 * 6).map(|n| law.encode(at(n) as i16)).collect()
}

#[test]
fn a_key_pressed_as_a_tone_becomes_silence_that_is_forwarded() {
    for (payload_type, law) in [(0, Law::Mu), (8, Law::A)] {
        let mut call = Call::new();
        call.hold(Held::All);
        let audio = [tone([697.0, 1_209.0], law), vec![law.silence(); 160 * 6]].concat();
        let (mut told, mut silent, mut numbers) = (String::new(), 0, Vec::new());
        for (n, payload) in audio.chunks(160).enumerate() {
            let mut packet = rtp(payload_type, n as u16, 8, payload);
            let relayed = call.send(Leg::Callee, &mut packet, CALLEE);
            assert_eq!(relayed.way, Relay::Forward { to: address(CALLER) });
            told.extend(relayed.digit);
            silent += usize::from(packet[HEADER..].iter().all(|&code| code == law.silence()));
            numbers.push(Header::read(&packet).unwrap().sequence.0);
        }

        assert_eq!((told.as_str(), silent), ("1", 12), "{law:?}");
        assert_eq!(numbers, (0..12).collect::<Vec<_>>());
    }
}

#[test]
fn a_tone_of_a_callee_in_a_cut_is_told_once_and_its_rest_is_silence_when_the_cut_ends() {
    let mut call = Call::new();
    call.hold(Held::All);
    for leg in Leg::BOTH {
        call.pair.cut(leg, true);
    }
    let nine = tone([852.0, 1_477.0], Law::A).repeat(2);
    let (mut told, mut reached) = (String::new(), Vec::new());
    for (n, payload) in nine.chunks(160).enumerate() {
        // The caller presses it too, which nobody hears and no line returns.
        call.send(Leg::Caller, &mut rtp(8, n as u16, 7, payload), CALLER);
        let mut packet = rtp(8, n as u16, 8, payload);
        let relayed = call.send(Leg::Callee, &mut packet, CALLEE);
        match relayed.way {
            Relay::Forward { .. } => reached.extend_from_slice(&packet[HEADER..]),
            Relay::Drop(reason) => assert_eq!(reason, DropReason::Cut),
        }
        if relayed.digit.is_some() {
            for leg in Leg::BOTH {
                call.pair.cut(leg, false);
            }
            call.hold(Held::Nothing);
        }
        told.extend(relayed.digit);
    }

    assert_eq!(told, "9");
    assert!(reached.len() >= 160 * 5 && reached.iter().all(|&code| code == 0xD5), "{}", reached.len());
}

#[test]
fn keys_of_a_leg_that_is_cut_are_left_out_of_nothing() {
    let mut call = Call::new();
    call.send(Leg::Callee, &mut rtp(8, 1, 8, &[0xD5; 160]), CALLEE);
    call.hold(Held::All);
    call.pair.cut(Leg::Callee, true);
    assert_eq!(keys(&mut call, press(2, 320, 1)), ("1".to_owned(), 0));
    call.pair.cut(Leg::Callee, false);
    call.hold(Held::Nothing);

    assert_eq!(held(call.pair.counters()), 0);
    assert_eq!(reaches(&mut call, rtp(8, 9, 8, &[0xD5; 160])), Some((9, 9 * 160, false)), "as it came");
}

#[test]
fn whoever_sends_events_is_told_of_once_though_the_tone_is_in_the_audio_too() {
    let mut call = Call::new();
    call.hold(Held::All);
    let mut told = String::new();
    // The beginning of the tone gets through a gateway before it has seen the key.
    let packets = tone([852.0, 1_477.0], Law::A)
        .chunks(160)
        .take(3)
        .enumerate()
        .map(|(n, payload)| rtp(8, n as u16, 8, payload))
        .collect();
    told += &keys(&mut call, packets).0;
    told += &keys(&mut call, press(3, 480, 9)).0;
    let after = (0..9).map(|n| rtp(8, 10 + n, 8, &[0xD5; 160])).collect();
    told += &keys(&mut call, after).0;

    assert_eq!(told, "9");
}

#[test]
fn a_telephone_that_presses_tones_is_told_of_behind_a_transfer_from_one_that_sends_events() {
    let mut call = Call::new();
    call.hold(Held::All);
    assert_eq!(keys(&mut call, press(1, 160, 9)), ("9".to_owned(), 0));
    call.now += Duration::from_secs(1);
    let audio = [tone([852.0, 1_477.0], Law::A), vec![0xD5; 160 * 6]].concat();
    let packets = audio.chunks(160).enumerate().map(|(n, payload)| rtp(8, n as u16, 88, payload)).collect();

    assert_eq!(keys(&mut call, packets).0, "9");
}

/// Two nines of the caller as tones; what the callee's side returns of them comes so many packets later, half as loud.
fn returned(call: &mut Call, later: usize) -> (String, String, usize) {
    let nine = |height: f32| -> Vec<u8> {
        let at =
            |n: usize| [852.0, 1_477.0].iter().map(|hz| height * (TAU * hz * n as f32 / 8_000.0).sin()).sum::<f32>();
        (0..160 * 5).map(|n| Law::A.encode(at(n) as i16)).collect()
    };
    let twice = |height: f32| [nine(height), vec![0xD5; 160 * 5]].concat().repeat(2);
    let caller = [twice(6_000.0), vec![0xD5; 160 * (later + 20)]].concat();
    let callee = [vec![0xD5; 160 * later], twice(3_000.0), vec![0xD5; 160 * 20]].concat();
    let (mut pressed, mut counted, mut silenced) = (String::new(), String::new(), 0);
    for (n, (caller, callee)) in caller.chunks(160).zip(callee.chunks(160)).enumerate() {
        pressed.extend(call.send(Leg::Caller, &mut rtp(8, n as u16, 7, caller), CALLER).digit);
        call.now -= Duration::from_millis(20);
        let mut packet = rtp(8, n as u16, 8, callee);
        counted.extend(call.send(Leg::Callee, &mut packet, CALLEE).digit);
        silenced += usize::from(packet[HEADER..] != *callee);
    }
    (pressed, counted, silenced)
}

#[test]
fn nines_of_the_caller_that_the_callees_line_returns_are_held_and_nobodys_press() {
    // At once, behind a network of a quarter of a second, behind half a second; and too late to be that.
    for (later, counted) in [(0, ""), (1, ""), (12, ""), (25, ""), (60, "99")] {
        let mut call = Call::new();
        call.hold(Held::All);

        let (pressed, keys, silenced) = returned(&mut call, later);

        assert_eq!((pressed.as_str(), keys.as_str()), ("99", counted), "{later} packets later");
        assert!(silenced >= 10, "held all the same: {silenced}");
    }
}

#[test]
fn an_adapter_that_makes_an_event_of_what_its_line_returns_presses_nothing() {
    let mut call = Call::new();
    call.hold(Held::All);
    // The caller has sent an event before: what it presses as a tone may come back all the same.
    call.send(Leg::Caller, &mut rtp(101, 1, 7, &[5, 0x8A, 1, 0]), CALLER);
    for (n, payload) in tone([852.0, 1_477.0], Law::A).chunks(160).take(3).enumerate() {
        assert_eq!(call.send(Leg::Caller, &mut rtp(8, 2 + n as u16, 7, payload), CALLER).digit, None);
    }
    assert_eq!(keys(&mut call, press(1, 160, 9)), (String::new(), 0), "held");
    assert_eq!(keys(&mut call, press(8, 4_000, 1)), ("1".to_owned(), 0), "another key is the callee's own");
    // And of an event, however long it is.
    for n in 0..60_u16 {
        let [high, low] = (160 * (n + 1)).to_be_bytes();
        let mut packet = rtp(101, 10 + n, 7, &[9, 10, high, low]);
        packet[4..8].copy_from_slice(&90_000_u32.to_be_bytes());
        call.send(Leg::Caller, &mut packet, CALLER);
    }
    assert_eq!(keys(&mut call, press(15, 8_000, 9)), (String::new(), 0));
    call.now += Duration::from_secs(1);
    assert_eq!(keys(&mut call, press(22, 16_000, 9)), ("9".to_owned(), 0));
}

fn warning(samples: usize) -> Prompt {
    let pcmu: Arc<[u8]> = sine(Law::Mu, 400.0, 5_000.0, samples).into();
    let pcma: Arc<[u8]> = sine(Law::A, 400.0, 5_000.0, samples).into();
    Prompt { pcmu, pcma, g722: vec![9; samples].into(), opus: Arc::<[u8]>::from([]).into() }
}

/// What the callee gets of a packet of the caller, as a driver does it; and what the ear gets.
fn through(call: &mut Call, mut packet: Vec<u8>) -> (Relay, Vec<u8>, Vec<u8>) {
    let Relayed { way, heard, .. } = call.send(Leg::Caller, &mut packet, CALLER);
    let tapped = packet[HEADER..].to_vec();
    if let (Relay::Forward { .. }, Some((header, payload))) = (way, heard) {
        call.pair.mix(Leg::Callee, &header, payload, &mut packet, call.now);
    }
    (way, tapped, packet)
}

#[test]
fn a_whisper_is_as_loud_as_it_was_made_and_the_caller_12_db_quieter_beneath_it() {
    for (payload_type, law) in [(0, Law::Mu), (8, Law::A)] {
        for size in [80, 160, 240, 480] {
            let mut call = Call::new();
            let speech = sine(law, 1_000.0, 8_000.0, 12_000);
            assert!(call.pair.whisper(Leg::Callee, [warning(8_000)], call.now));
            let mut out: Vec<i16> = Vec::new();
            for (n, payload) in speech.chunks(size).enumerate() {
                assert!(!call.pair.is_due(Leg::Callee, call.now) || out.len() >= 8_000, "packets carry it");
                let (way, tapped, packet) = through(&mut call, rtp(payload_type, n as u16, 7, payload));
                assert!(matches!(way, Relay::Forward { .. }));
                assert_eq!(tapped, payload, "the ear hears the caller alone");
                assert_eq!(Header::read(&packet).unwrap().sequence.0, n as u16);
                out.extend(packet[HEADER..].iter().map(|&code| law.decode(code)));
                let mut back = rtp(payload_type, n as u16, 8, payload);
                let sent = back.clone();
                call.send(Leg::Callee, &mut back, CALLEE);
                assert_eq!(back, sent, "the caller hears nothing of it");
            }
            let during = &out[..7_200];
            let decibels = |height: f32, full: f32| 20.0 * (height / full).log10();

            assert!(decibels(height(during, 400.0), 5_000.0).abs() < 0.3, "{}", height(during, 400.0));
            assert!((decibels(height(during, 1_000.0), 8_000.0) + 12.0).abs() < 0.3, "{}", height(during, 1_000.0));
            let after: Vec<i16> = speech[8_000..].iter().map(|&code| law.decode(code)).collect();
            assert_eq!(out[8_000..], after, "as it came");
            assert!(call.pair.is_due(Leg::Callee, call.now));
            assert!(call.pair.played(Leg::Callee, call.now).is_none(), "it has ended");
        }
    }
}

#[test]
fn a_whisper_goes_on_by_itself_while_the_caller_sends_nothing() {
    let mut call = Call::new();
    through(&mut call, rtp(0, 10, 7, &[0xFF; 160]));
    assert!(call.pair.whisper(Leg::Callee, [warning(160 * 20)], call.now));
    through(&mut call, rtp(0, 11, 7, &[0xFF; 160]));
    let mut seen = vec![11];
    let mut heard = 1;
    for tick in 0..30 {
        call.now += Duration::from_millis(20);
        if !call.pair.is_due(Leg::Callee, call.now) {
            assert!(tick < 5);
            continue;
        }
        if heard == 10 {
            break;
        }
        let (packet, to) = call.pair.played(Leg::Callee, call.now).unwrap();
        assert_eq!(to, Some(address(CALLEE)));
        seen.push(Header::read(&packet).unwrap().sequence.0);
        heard += 1;
    }
    // He speaks again: the rest is mixed into that.
    for n in 0..12 {
        let (_, _, packet) = through(&mut call, rtp(0, 12 + n, 7, &[0xFF; 160]));
        seen.push(Header::read(&packet).unwrap().sequence.0);
        heard += usize::from(packet[HEADER..] != [0xFF; 160]);
    }

    assert_eq!(heard, 20, "all of it, once");
    assert_eq!(seen, (11..11 + 22).collect::<Vec<_>>(), "in one stream");
}

#[test]
fn a_whisper_replaces_what_it_cannot_be_mixed_into_and_waits_for_what_plays() {
    let mut call = Call::new();
    for leg in Leg::BOTH {
        let plan = StreamPlan { codecs: vec![(9, Codec::G722)], ..call.pair.legs[leg].plan.clone() };
        call.pair.plan(leg, plan, call.now);
    }
    assert!(call.pair.play(Leg::Callee, [warning(160)]));
    assert!(call.pair.whisper(Leg::Callee, [warning(320)], call.now));
    assert_eq!(through(&mut call, rtp(9, 1, 7, &[1; 160])).0, Relay::Drop(DropReason::Playing));

    let packets = std::iter::from_fn(|| call.pair.played(Leg::Callee, call.now)).count();

    assert_eq!(packets, 3);
    assert!(call.pair.whisper(Leg::Callee, [warning(160)], call.now));
    assert!(call.pair.is_due(Leg::Callee, call.now), "in packets of its own, at once");
    assert_eq!(through(&mut call, rtp(9, 2, 7, &[1; 160])).0, Relay::Drop(DropReason::Playing));
}

#[test]
fn a_key_that_is_pressed_for_a_leg_is_one_press_in_its_stream() {
    let mut call = Call::new();
    call.send(Leg::Callee, &mut rtp(8, 40, 8, &[0xD5; 160]), CALLEE);
    assert!(call.pair.press(Leg::Caller, '5'));
    let (mut seen, mut told) = (Vec::new(), String::new());
    let mut keys = dtmf::Keys::default();
    let during = call.send(Leg::Callee, &mut rtp(8, 41, 8, &[0xD5; 160]), CALLEE).way;
    while let Some((packet, to)) = call.pair.played(Leg::Caller, call.now) {
        assert_eq!((to, packet[1] & 0x7F), (Some(address(CALLER)), 101));
        let header = Header::read(&packet).unwrap();
        told.extend(keys.hear(&header, &packet[HEADER..], SampleRate::TELEPHONE));
        seen.push((header.sequence.0, header.timestamp.0, header.marker, packet[13] & 0x80 != 0));
        call.now += Duration::from_millis(20);
    }
    let after = reaches(&mut call, rtp(8, 50, 8, &[0xD5; 160])).unwrap();

    assert_eq!(told, "5");
    assert_eq!(during, Relay::Drop(DropReason::Playing));
    let begin = seen[0].1;
    let expected = (0..7).map(|n| (41 + n, begin, n == 0, n >= 4));
    assert_eq!(seen, expected.collect::<Vec<_>>());
    assert_eq!(after.0, 48);
    assert!((7 * 160..9 * 160).contains(&(after.1 - begin)), "the clock has gone on: {}", after.1 - begin);

    for leg in Leg::BOTH {
        let agreed = call.pair.legs[leg].plan.clone();
        let plan = StreamPlan { telephone_event: None, ..agreed.clone() };
        call.pair.plan(leg, plan, call.now);
        assert!(!call.pair.press(Leg::Caller, '5'), "one of them knows no events");
        call.pair.plan(leg, agreed, call.now);
    }
    assert!(call.pair.press(Leg::Caller, '5'));
}
