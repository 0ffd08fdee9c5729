//! The ear under bad conditions: what telephone lines do to a scam's opening must not save it, and must not make a
//! scammer of a neighbour.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs, reason = "tests")]

use std::sync::Arc;
use std::time::Duration;

use ringfence::audio::FRAME_SAMPLES;
use ringfence::audio::framer::{Arrived, Content, Framer};
use ringfence::audio::g711::Law;
use ringfence::audio::wav::Wav;
use ringfence::detect::ear::Opposite;
use ringfence::detect::evidence::{Finding, Meaning, Screened};
use ringfence::detect::phrase::{Book, PassedOver, Recogniser, Transcript, Weighed, to_recogniser};
use ringfence::io::media::LAWS;
use ringfence::offline::{Ear, EarFiles, Heard, Recording, hear};
use ringfence::policy::action::StepUp;
use ringfence::policy::judge::Class;
use ringfence::policy::rules::Policy;
use ringfence::rtp::tones::Tones;
use ringfence::units::{CallTime, Ratio, RtpTimestamp, SequenceNumber, Ssrc};

const WATCH: Duration = Duration::from_secs(25);

fn recording(name: &str) -> Recording {
    Recording::read(format!("src/demo/audio/{name}.wav").as_ref()).unwrap()
}

fn heard(recording: &Recording, words: bool) -> Heard {
    let ear = Ear::open(None, words, &EarFiles::default()).unwrap();
    assert_eq!(ear.without_words().is_none(), words);
    ear.with(|knowledge, recognise| hear(recording, knowledge, &Policy::default(), WATCH, recognise))
}

/// The same numbers in each run.
fn random() -> impl FnMut() -> f32 {
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 24) as f32
    }
}

fn changed(recording: &Recording, change: impl FnMut(i16) -> f32) -> Recording {
    let caller = recording.caller.iter().copied().map(change).map(|sample| sample.clamp(-32_768.0, 32_767.0) as i16);
    Recording { caller: caller.collect(), ..recording.clone() }
}

/// With a sound under it, of these frequencies in hertz.
fn sustained(recording: &Recording, of: &[f32], amplitude: f32) -> Recording {
    let mut time = 0.0;
    changed(recording, |sample| {
        time += 1.0 / 8_000.0;
        let wave = |hertz: &f32| amplitude * (std::f32::consts::TAU * hertz * time).sin();
        f32::from(sample) + of.iter().map(wave).sum::<f32>()
    })
}

fn diverted(heard: &Heard) -> bool {
    heard.first(StepUp::Divert).is_some()
}

/// A caller whom nobody answers.
fn quiet(caller: Vec<i16>) -> Recording {
    Recording { callee: vec![0; caller.len()], caller, opposite: Opposite::Callee }
}

#[test]
fn a_scam_is_heard_through_what_lines_do_to_it() {
    let scam = recording("scam");
    let mut noise = random();
    let lines = [
        ("clipping", changed(&scam, |s| (f32::from(s) * 12.0).clamp(-12_000.0, 12_000.0))),
        ("a whisper", changed(&scam, |s| f32::from(s) * 0.2)),
        ("a DC offset", changed(&scam, |s| f32::from(s) + 3_000.0)),
        ("noise", changed(&scam, |s| f32::from(s) + 300.0 * (noise() - 0.5))),
        ("a tone that never stops", sustained(&scam, &[250.0], 3_500.0)),
        ("a chord that never stops", sustained(&scam, &[262.0, 330.0, 392.0, 523.0], 1_630.0)),
    ];
    for (line, call) in lines {
        assert!(diverted(&heard(&call, true)), "{line}");
    }
}

#[test]
fn lost_packets_do_not_save_a_scam() {
    let scam = recording("scam");
    let mut random = random();
    let mut caller = scam.caller.clone();
    for frame in caller.chunks_mut(FRAME_SAMPLES) {
        if random() < 0.05 {
            frame.fill(0);
        }
    }

    assert!(diverted(&heard(&Recording { caller, ..scam }, true)));
}

/// Packets of any length, with jitter, comfort noise and a source that starts anew, are the same call after the framer.
#[test]
fn odd_packets_are_the_same_call() {
    let scam = recording("scam");
    for (samples, ssrc_changes) in [(80, false), (480, false), (160, true)] {
        let mut framer = Framer::new();
        let mut caller = Vec::new();
        let mut random = random();
        for (n, chunk) in scam.caller.chunks_exact(samples).enumerate() {
            let at = CallTime(Duration::from_secs_f64((n * samples) as f64 / 8_000.0 + 0.02 * f64::from(random())));
            let second = ssrc_changes && n > 200;
            // A pause is sent as comfort noise.
            let quiet = chunk.iter().all(|sample| sample.unsigned_abs() < 40);
            let payload = if quiet { vec![60] } else { Law::Mu.encode_all(chunk) };
            framer.advance(at);
            framer.push(Arrived {
                at,
                sequence: SequenceNumber(n as u16 + if second { 30_000 } else { 0 }),
                timestamp: RtpTimestamp((n * samples) as u32 + if second { 1_000_000 } else { 0 }),
                ssrc: Ssrc(if second { 2 } else { 1 }),
                content: if quiet { Content::Noise } else { Content::Audio(Law::Mu) },
                payload: &payload,
            });
            while let Some(frame) = framer.poll_frame() {
                caller.extend_from_slice(&frame.samples);
            }
        }

        let heard = heard(&Recording { caller, ..scam.clone() }, true);

        assert!(diverted(&heard), "{samples} samples a packet, new source: {ssrc_changes}");
    }
}

#[test]
fn a_neighbour_stays_a_neighbour() {
    let neighbour = recording("neighbour");
    let mut noise = random();
    for call in [
        neighbour.clone(),
        changed(&neighbour, |s| (f32::from(s) * 12.0).clamp(-12_000.0, 12_000.0)),
        changed(&neighbour, |s| f32::from(s) + 300.0 * (noise() - 0.5)),
    ] {
        let heard = heard(&call, true);
        assert!(heard.steps.is_empty(), "{:?}", heard.steps);
    }
}

#[test]
fn without_words_nobody_is_taken_away() {
    for name in ["scam", "neighbour", "live", "reminder"] {
        let heard = heard(&recording(name), false);
        assert!(!diverted(&heard), "{name}");
        assert!(heard.verdict().is_some());
    }
}

#[test]
fn an_hour_of_silence_is_no_speech_and_costs_no_words() {
    let ear = Ear::open(None, true, &EarFiles::default()).unwrap();
    assert_eq!(ear.without_words(), None, "words could be had");
    let silent = quiet(vec![0; 8_000 * 3_600]);

    let heard = ear.with(|knowledge, recognise| {
        hear(&silent, knowledge, &Policy::default(), Duration::from_secs(3_600), recognise)
    });

    assert_eq!(heard.verdict().map(|verdict| verdict.class), Some(Class::NoSpeech));
    assert_eq!((heard.verdicts.len(), heard.words_cost), (1, Duration::ZERO));
}

#[test]
fn ten_minutes_of_talk_stay_within_their_budget() {
    let talk = recording("neighbour");
    let long: Vec<i16> = talk.caller.iter().copied().cycle().take(8_000 * 600).collect();
    let call = quiet(long);
    // A recogniser that takes as long as a recording's words are taken to take, and hears nothing in particular.
    let mut runs = 0u32;
    let ear = Ear::open(None, true, &EarFiles::default()).unwrap();
    let length = Duration::from_secs(600);

    let heard = ear.with(|knowledge, _| {
        hear(&call, knowledge, &Policy::default(), length, &mut |run| {
            runs += 1;
            assert!(run.audio.len() <= 8_000 * 12, "a window is bounded");
            let transcript = Transcript {
                text: "and then he said".to_owned(),
                confidence: Ratio::clamped(0.9),
                weighed: Vec::new(),
                passed_over: Vec::new(),
            };
            Some((transcript, run.window.length() / 20))
        })
    });

    // A tenth of real time, and what may be spent ahead.
    assert!(
        runs > 20 && heard.words_cost <= length / 10 + Duration::from_secs(3),
        "{runs} runs, {:?}",
        heard.words_cost
    );
}

#[test]
fn sound_without_words_comes_behind_calls_that_begin() {
    let mut urgencies = Vec::new();
    let ear = Ear::open(None, true, &EarFiles::default()).unwrap();
    ear.with(|knowledge, _| {
        hear(&recording("neighbour"), knowledge, &Policy::default(), WATCH, &mut |run| {
            urgencies.push(run.urgency);
            let transcript = Transcript {
                text: String::new(),
                confidence: Ratio::ZERO,
                weighed: Vec::new(),
                passed_over: Vec::new(),
            };
            Some((transcript, run.window.length() / 20))
        })
    });

    let later = urgencies.get(1..).unwrap_or_default();
    assert!(later.len() > 3 && later.iter().all(|urgency| *urgency <= 0.25), "{urgencies:?}");
}

#[test]
fn a_call_that_has_been_heard_comes_behind_calls_that_begin() {
    let mut urgencies = Vec::new();
    let ear = Ear::open(None, true, &EarFiles::default()).unwrap();
    ear.with(|knowledge, _| {
        hear(&recording("scam"), knowledge, &Policy::default(), WATCH, &mut |run| {
            urgencies.push(run.urgency);
            let transcript = Transcript {
                text: "press one to speak to an agent or press nine to be removed from our list".to_owned(),
                confidence: Ratio::ONE,
                weighed: Vec::new(),
                passed_over: Vec::new(),
            };
            Some((transcript, run.window.length() / 20))
        })
    });

    let [first, second, later @ ..] = &urgencies[..] else { panic!("{urgencies:?}") };
    assert!(second > &0.3 && later.len() > 1, "its words made it urgent: {first} {urgencies:?}");
    assert!(later.iter().all(|urgency| *urgency < 0.4), "{urgencies:?}");
}

/// The warning's own voice stands for a prompt: real speech, one pause, 8 kHz.
#[test]
fn a_machine_talks_on_over_a_prompt_and_a_person_answers_it() {
    let screened = |caller: Vec<i16>, callee: Vec<i16>| {
        let heard = heard(&Recording { caller, callee, opposite: Opposite::Callee }.of_screening(), false);
        let found: Vec<Screened> = heard
            .evidence
            .iter()
            .filter_map(|evidence| {
                let Finding::Screened { screened } = &evidence.finding else { return None };
                Some(*screened)
            })
            .collect();
        (found, heard.verdict().cloned().unwrap())
    };
    let voice = recording("scam").caller;
    let mut prompt = vec![0; 8_000];
    prompt.extend(&recording("live").caller[8_000..8_000 * 5]);
    prompt.resize(voice.len(), 0);

    let (found, machine) = screened(voice.clone(), prompt.clone());
    assert!(matches!(found.first(), Some(Screened::TalkedOn { .. })), "{found:?}");
    let mut answer = vec![0; 8_000 * 6];
    answer.extend(&voice[8_000 * 2..8_000 * 4]);
    answer.resize(voice.len(), 0);
    let (found, person) = screened(answer, prompt);
    assert!(matches!(found.as_slice(), [Screened::Answered { .. }]), "{found:?}");
    assert!(machine.of(Class::Live) < person.of(Class::Live), "{machine:?} {person:?}");
}

#[test]
fn no_speech_is_taken_for_a_key_that_is_to_be_held() {
    let calls = ["live", "neighbour", "reminder", "scam"].map(recording);
    let mut voices: Vec<Vec<i16>> = calls.into_iter().flat_map(|call| [call.caller, call.callee]).collect();
    for file in std::fs::read_dir("config/announcements").unwrap().map(|file| file.unwrap().path()) {
        if file.extension().is_some_and(|extension| extension == "wav") {
            voices.push(Wav::read(&std::fs::read(file).unwrap()).unwrap().telephone_mono().unwrap());
        }
    }
    for (law, linear) in [(Law::Mu, LAWS.pcmu), (Law::A, LAWS.pcma)] {
        for voice in &voices {
            let mut tones = Tones::new();
            for samples in voice.chunks(160) {
                let coded = law.encode_all(samples);
                let mut payload = coded.clone();
                assert_eq!(tones.silence(linear, law.silence(), &mut payload, None), None);
                assert_eq!(payload, coded, "as it was");
            }
        }
    }
    assert!(voices.iter().map(Vec::len).sum::<usize>() > 200 * 8_000, "minutes of it");
}

/// Over this much white noise "Press one to accept the call" becomes "That's one of the steps" and "Next one to the
/// Texas wheel".
#[test]
fn a_key_prompt_is_found_behind_words_that_were_misheard() {
    let recogniser = Recogniser::load("config/models/moonshine-tiny-en".as_ref()).unwrap();
    let mut noise = random();
    let mut passed_over = |file: &str, amplitude: f32| {
        let wav = Wav::read(&std::fs::read(format!("config/announcements/{file}.wav")).unwrap()).unwrap();
        let voice = wav.telephone_mono().unwrap();
        let noisy = voice.iter().take(8_000 * 8).map(|sample| f32::from(*sample) + amplitude * (noise() - 0.5));
        let noisy: Vec<i16> = noisy.map(|sample| sample.clamp(-32_768.0, 32_767.0) as i16).collect();
        let transcript = recogniser.transcribe(&to_recogniser(&noisy), &Book::built_in()).unwrap();
        let most = transcript.passed_over.iter().map(|passed_over| passed_over.probability.get()).fold(0.0, f32::max);
        (transcript.text, most)
    };

    let misheard: Vec<(String, f32)> = (0..6).map(|_| passed_over("callee-screen-choice", 10_000.0)).collect();
    assert!(misheard.iter().all(|(text, _)| !text.to_lowercase().contains("press one")), "{misheard:?}");
    assert!(misheard.iter().filter(|(_, probability)| *probability > 0.001).count() >= 2, "{misheard:?}");
    let no_prompt: Vec<(String, f32)> =
        [0.0, 6_000.0, 10_000.0, 10_000.0].map(|amplitude| passed_over("callee-diverted", amplitude)).into();
    assert!(no_prompt.iter().all(|(_, probability)| *probability < 0.001), "{no_prompt:?}");
}

#[test]
fn words_that_were_passed_over_are_evidence_by_their_probability() {
    let prompts = |text: &str, probability: f32, log_ratio: Option<f32>| {
        let ear = Ear::open(None, true, &EarFiles::default()).unwrap();
        let heard = ear.with(|knowledge, _| {
            hear(&recording("neighbour"), knowledge, &Policy::default(), WATCH, &mut |run| {
                let phrase: Arc<str> = "press one, as misheard".into();
                let weighed = log_ratio.map(|log_ratio| Weighed { phrase: Arc::clone(&phrase), log_ratio });
                let probability = Ratio::clamped(probability);
                let transcript = Transcript {
                    text: text.to_owned(),
                    confidence: Ratio::ONE,
                    weighed: weighed.into_iter().collect(),
                    passed_over: vec![PassedOver { phrase, probability }],
                };
                Some((transcript, run.window.length() / 20))
            })
        });
        let found = heard.evidence.iter().filter_map(|evidence| {
            let Finding::Phrase { phrase, meaning: Meaning::KeyPrompt, confidence, .. } = &evidence.finding else {
                return None;
            };
            Some((phrase.to_string(), *confidence))
        });
        let mut found: Vec<(String, Ratio)> = found.collect();
        found.dedup();
        found
    };

    let [(phrase, confidence)] = &prompts("So that is the first of them for me", 0.03, None)[..] else {
        panic!("one prompt")
    };
    assert_eq!(phrase, "press one, as misheard");
    assert!((0.85..0.95).contains(&confidence.get()), "{confidence:?}");
    let [(_, doubtful)] = &prompts("So that is the first of them for me", 0.0003, None)[..] else {
        panic!("one prompt")
    };
    assert!((0.05..0.15).contains(&doubtful.get()), "{doubtful:?}");
    // "First one" is not what it may be misheard of, but further on there was a prompt; and the other way round.
    for (probability, log_ratio) in [(0.03, -20.0), (0.0003, -5.7)] {
        let [(_, likelier)] = &prompts("So the first one is for me", probability, Some(log_ratio))[..] else {
            panic!("one prompt")
        };
        assert!((0.85..0.95).contains(&likelier.get()), "{likelier:?}");
    }
}
