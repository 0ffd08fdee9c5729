//! `listen` and `eval` as a person uses them: WAV of several kinds, labelled calls, wrong input.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs, reason = "tests")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

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

    assert!(error(&["listen", &file("a.wav", b"RIFFhello")]).contains("not a usable WAV file"));
    assert!(error(&["listen", SCAM, "--number", "2"]).contains("there is no call 2 in it: 1 can be heard"));
    assert!(error(&["listen", SCAM, "--phrases", &file("p.toml", b"x")]).contains("p.toml"));
    assert!(error(&["listen", SCAM, "--weights", &file("w.toml", b"version = 1")]).contains("not a weights file"));
    assert!(error(&["eval", &file("m.csv", b"id,file\n")]).contains("no column `label`"));
    assert!(error(&["eval", &file("m.csv", b"id,file,label\nx,x.wav,scam\n")]).contains("line 2: `scam` is no label"));
    assert!(error(&["eval", &file("m.csv", b"id,file,label\nx,x.wav,live\n")]).contains("x.wav: cannot be read"));
}

#[test]
fn what_cannot_be_written_is_told_before_the_first_call() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = folder.path().join("m.csv");
    std::fs::write(&manifest, "id,file,label\nx,x.wav,live\n").unwrap();
    let kept = folder.path().join("kept.json");
    std::fs::write(&kept, "kept").unwrap();
    for option in ["--json", "--calls", "--report"] {
        let arguments = ["eval", manifest.to_str().unwrap(), "--no-words", "--json", kept.to_str().unwrap()];
        let arguments = if option == "--json" { &arguments[..3] } else { &arguments[..] };

        let output = ringfence(&[arguments, &[option, "/proc/nowhere/at-all"]].concat());

        assert_eq!(output.status.code(), Some(1), "{option}");
        let (said, error) = (text(&output.stdout), text(&output.stderr));
        assert!(error.contains("/proc/nowhere/at-all: ") && !said.contains("calls in"), "{option}: {said} {error}");
        assert_eq!(std::fs::read_to_string(&kept).unwrap(), "kept", "{option}");
    }
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
        + &row("one", SCAM, " Press_Key ", "uk_scam,300.0,12000.0,one too many")
        + &row("two", NEIGHBOUR, "live", "dialogue,1200,NaN")
        + &row("three", SCAM, "scam", "uk_scam,-120,")
        + ",,,,,\n";
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

    let (said, error) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(error.contains("manifest.csv: line 4: `scam` is no label") && error.contains("1 call could"), "{error}");
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
    assert_eq!(json["tables"]["onsets"]["of"], 2);
    assert_eq!(json["calls"].as_array().unwrap().len(), 2);
}

#[test]
fn a_report_that_fails_costs_no_tables_and_each_call_of_one_name_has_its_own_picture() {
    let folder = tempfile::tempdir().unwrap();
    let here = std::env::current_dir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (manifest, json, calls, report) = (path("m.csv"), path("e.json"), path("e.csv"), path("report"));
    // None of them is what its label says, so that each has a picture.
    let row = |id: &str, file: &str| format!("{id},{},no_speech\n", here.join(file).display());
    let rows = row("same", NEIGHBOUR) + &row("same", SCAM) + &row(&"long".repeat(63), SCAM);
    std::fs::write(&manifest, format!("id,file,label\n{rows}")).unwrap();
    let eval =
        || ringfence(&["eval", &manifest, "--no-words", "--json", &json, "--calls", &calls, "--report", &report]);

    let output = eval();

    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let picture = |name: &str| std::fs::read_to_string(folder.path().join("report/plots").join(name)).unwrap();
    assert_ne!(picture("same.svg"), picture("same.2.svg"));
    let page = std::fs::read_to_string(path("report/index.html")).unwrap();
    assert!(page.contains("plots/same.svg\"") && page.contains("plots/same.2.svg\"") && page.contains("longlong"));

    for file in [&json, &calls] {
        std::fs::remove_file(file).unwrap();
    }
    std::fs::remove_file(path("report/plots/same.svg")).unwrap();
    std::fs::create_dir(path("report/plots/same.svg")).unwrap();
    let output = eval();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("report: "), "{output:?}");
    assert_eq!(std::fs::read_to_string(&calls).unwrap().lines().count(), 4);
    assert!(std::fs::read_to_string(&json).unwrap().ends_with('}'));
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
