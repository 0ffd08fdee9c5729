//! The real binary on loopback: exit codes, reload by four doors, draining, what is missing.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    missing_docs,
    reason = "tests"
)]

mod firewall;
mod phones;
mod plain_sip;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use firewall::{Firewall, PATIENCE, agent, now, ringfence};
use phones::mass::{CALLEE, CALLER, Mass};
use phones::{Caller, Pbx};
use plain_sip::{answer, audio, description, header, receive, request, socket};

#[test]
fn exit_codes_say_whose_fault_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let bad = folder.path().join("bad.toml");
    std::fs::write(&bad, "enforce = 1\n[pbx]\naddress = \"x y\"\n").unwrap();
    let text = |output: &Output| String::from_utf8_lossy(&output.stderr).into_owned();

    let check = ringfence(&["check", bad.to_str().unwrap()]);
    let run = ringfence(&["run", "--config", bad.to_str().unwrap()]);
    let usage = ringfence(&["listen"]);
    let missing = ringfence(&["listen", "/nowhere/call.wav"]);
    let good = ringfence(&["check", "config/ringfence.toml"]);

    assert_eq!(check.status.code(), Some(78));
    assert!(text(&check).contains("3 problems") && text(&check).contains("line 1  enforce = 1"), "{}", text(&check));
    assert_eq!(run.status.code(), Some(78));
    assert_eq!(usage.status.code(), Some(2));
    assert_eq!(missing.status.code(), Some(1));
    assert!(text(&missing).contains("/nowhere/call.wav: cannot be read"), "{}", text(&missing));
    assert_eq!(good.status.code(), Some(0), "{}", text(&good));
}

#[test]
fn a_port_in_use_is_one_clear_message() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("ringfence.toml");
    let address = taken.local_addr().unwrap();
    let settings = Firewall::settings("127.0.0.3:5060".parse().unwrap(), "")
        .replace("127.0.0.1:0\"\n[pbx]", &format!("{address}\"\n[pbx]"));
    std::fs::write(&config, settings).unwrap();

    let output = ringfence(&["run", "--config", config.to_str().unwrap()]);

    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1));
    assert!(text.contains(&format!("cannot listen on udp {address}")), "{text}");
    assert!(text.contains("another program has this port, as a PBX on the same machine"), "{text}");
}

/// Gives the same answer to so many requests, whatever they ask for.
fn another_server(answer: &'static str, requests: usize) -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for socket in listener.incoming().take(requests) {
            let mut socket = socket.unwrap();
            let _ = socket.read(&mut [0; 2_048]);
            let head =
                format!("HTTP/1.1 404 Not Found\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", answer.len());
            let _ = socket.write_all(format!("{head}{answer}").as_bytes());
        }
    });
    address
}

#[test]
fn another_server_in_the_firewalls_place_is_told_from_none() {
    for answer in ["<html>Not here</html>", "{\"error\":\"not here\"}"] {
        let other = another_server(answer, 3).to_string();
        for command in ["trunks", "reload"] {
            let output = ringfence(&[command, "--admin", &other]);

            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(1), "{command} {answer}");
            assert!(text.contains(&format!("what answers on {other} is no firewall")), "{command} {answer}: {text}");
        }
    }
}

#[test]
fn settings_are_reloaded_by_four_doors_and_a_bad_file_changes_nothing() {
    let pbx: SocketAddr = "127.0.0.3:5999".parse().unwrap();
    let firewall = Firewall::start(pbx, "");
    assert_eq!(firewall.generation(), 1);

    firewall.edit(pbx, "[detect]\ndivert_at = 0.8");
    firewall.until("the file watch", |firewall| firewall.generation() == 2);

    firewall.edit(pbx, "[detect]\ndivert_at = 8");
    let refused = agent().post(format!("http://{}/api/reload", firewall.admin)).send_empty().unwrap();
    assert_eq!(refused.status(), 422);
    let command = ringfence(&["reload", "--admin", &firewall.admin.to_string()]);
    assert_eq!(command.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&command.stderr).contains("line 14  detect.divert_at = 8"), "{command:?}");
    assert_eq!(firewall.get("/api/settings")["detect.divert_at"], "0.8");

    // The watch may be quicker than the command or the signal; then they find the file unchanged.
    firewall.edit(pbx, "[detect]\ndivert_at = 0.85");
    let command = ringfence(&["reload", "--admin", &firewall.admin.to_string()]);
    assert_eq!(command.status.code(), Some(0), "{command:?}");
    firewall.until("the command or the watch", |firewall| firewall.get("/api/settings")["detect.divert_at"] == "0.85");

    firewall.edit(pbx, "[detect]\ndivert_at = 0.86");
    firewall.signal("HUP");
    firewall.until("SIGHUP or the watch", |firewall| firewall.get("/api/settings")["detect.divert_at"] == "0.86");

    firewall.edit(pbx, "[store]\npath = \"other.db\"");
    let report = agent()
        .post(format!("http://{}/api/reload", firewall.admin))
        .send_empty()
        .unwrap()
        .body_mut()
        .read_json::<serde_json::Value>()
        .unwrap();
    assert_eq!((&report["outcome"], &report["changed"][0]), (&"needs_restart".into(), &"store.path".into()));
    let command = ringfence(&["reload", "--admin", &firewall.admin.to_string()]);
    assert_eq!(command.status.code(), Some(1), "nothing was changed: {command:?}");

    // Nobody is told to restart where the restart would fail, and a pipe is not waited for.
    let pipe = firewall.folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    firewall.edit(pbx, "[detect]\ndivert_at = 8\n[store]\npath = \"other.db\"\n[detect.words]\nphrases = \"pipe\"");
    let command = ringfence(&["reload", "--admin", &firewall.admin.to_string()]);
    let told = String::from_utf8_lossy(&command.stderr).into_owned();
    assert_eq!(command.status.code(), Some(78), "{told}");
    assert!(told.contains("line 14  detect.divert_at = 8") && told.contains("line 18  detect.words.phrases"), "{told}");
    firewall.edit(pbx, "[store]\npath = \"other.db\"\n[detect]\ndivert_at = 0.87");
    let command = ringfence(&["reload", "--admin", &firewall.admin.to_string()]);
    let told = String::from_utf8_lossy(&command.stderr).into_owned();
    assert!(told.contains("nothing of it is applied"), "{told}");
    assert!(told.ends_with("store.path\nuntil then, these wait as well:\n  detect.divert_at\n"), "{told}");
}

#[test]
fn records_are_found_by_a_file_with_mistakes_elsewhere() {
    let pbx = Pbx::start("127.0.0.3");
    let mut firewall = Firewall::start(pbx.address, "[store]\npath = \"own.db\"");
    let mut caller = Caller::new("127.0.2.1", firewall.sip);
    assert_eq!(caller.invite("201"), 200);
    caller.bye();
    firewall.signal("TERM");
    assert_eq!(firewall.ended(), Some(0));
    let config = firewall.config.to_str().unwrap();

    // As for whoever may not read the password.
    firewall.edit(pbx.address, "[store]\npath = \"own.db\"\n[numbers]\nblock_file = \"gone.txt\"\n[x]");
    let calls = ringfence(&["calls", "-c", config]);
    let (said, warned) = (String::from_utf8_lossy(&calls.stdout), String::from_utf8_lossy(&calls.stderr));
    assert!(calls.status.success() && said.contains("201"), "{said}{warned}");
    assert!(warned.contains("2 problem(s), which `ringfence check` shows"), "{warned}");
    firewall.edit(pbx.address, "[store]\npath = 1");
    let calls = ringfence(&["calls", "-c", config]);
    assert_eq!(calls.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&calls.stderr).contains("store.path = 1   must be a path"), "{calls:?}");
}

#[test]
fn the_pbxs_name_is_waited_for_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("ringfence.toml");
    let settings = Firewall::settings("127.0.0.3:5999".parse().unwrap(), "");
    // RFC 6761 §6.4: never a name that is known.
    std::fs::write(&config, settings.replace("127.0.0.3:5999", "pbx.invalid:5999")).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_ringfence"))
        .args(["run", "--config", config.to_str().unwrap()])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();

    let waits = BufReader::new(child.stderr.take().unwrap())
        .lines()
        .map_while(Result::ok)
        .any(|line| line.contains("Waiting for the PBX's address") && line.contains("pbx.invalid:5999"));

    assert!(waits && child.try_wait().unwrap().is_none());
    // It is not deaf meanwhile.
    assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn settings_behind_a_link_and_lists_of_numbers_are_watched_too() {
    let folder = tempfile::tempdir().unwrap();
    let (pbx, at) = ("127.0.0.3:5999".parse().unwrap(), |name: &str| folder.path().join(name));
    let settings = |more: &str| {
        Firewall::settings(pbx, &format!("[numbers]\nblock_file = {:?}\n{more}", at("block.txt").display().to_string()))
    };
    std::fs::write(at("block.txt"), "+441632960001\n").unwrap();
    let firewall = Firewall::start_as(&settings(""));

    std::fs::write(at("linked.toml"), settings("[detect]\ndivert_at = 0.8")).unwrap();
    std::os::unix::fs::symlink(at("linked.toml"), at("link")).unwrap();
    std::fs::rename(at("link"), &firewall.config).unwrap();
    firewall.until("the link", |firewall| firewall.generation() == 2);
    std::fs::write(at("linked.toml"), settings("[detect]\ndivert_at = 0.85")).unwrap();
    firewall.until("the file behind it", |firewall| firewall.generation() == 3);
    std::fs::write(at("block.txt"), "+441632960001\n+441632960002\n").unwrap();

    firewall.until("the list", |firewall| firewall.generation() == 4);
}

#[test]
fn an_order_to_stop_right_behind_a_change_of_the_file_is_followed() {
    let pbx: SocketAddr = "127.0.0.3:5999".parse().unwrap();
    let mut firewall = Firewall::start(pbx, "");

    firewall.signal("HUP");
    firewall.signal("TERM");

    assert_eq!(firewall.ended(), Some(0));
}

#[test]
fn log_lines_that_nobody_reads_are_lost_and_counted() {
    let pbx: SocketAddr = "127.0.0.3:5999".parse().unwrap();
    let (firewall, _log) = Firewall::start_unread(pbx, "");
    assert_eq!(firewall.metric("log_lines_lost_total"), 0);

    // Each is a problem with a line of its own: more than wait for their reader.
    let unknown: String = (0..12_000).map(|n| format!("option_{n} = {n}\n")).collect();
    firewall.edit(pbx, &format!("[restart]\n{unknown}"));

    firewall.until("lost lines", |firewall| firewall.metric("log_lines_lost_total") > 0);
}

#[test]
fn a_call_in_progress_outlives_the_order_to_stop_and_is_recorded() {
    let pbx = Pbx::start("127.0.0.3");
    let mut firewall = Firewall::start(pbx.address, "[sip]\ndrain_for = \"10s\"");
    let mut caller = Caller::new("127.0.2.1", firewall.sip);
    assert_eq!(caller.invite("201"), 200);

    firewall.signal("TERM");
    firewall.until("draining", |_| {
        let mut late = Caller::new("127.0.2.2", caller.firewall);
        late.invite("202") == 503
    });
    caller.bye();

    assert_eq!(firewall.ended(), Some(0));
    let calls = firewall.calls();
    assert!(calls.contains("201") && calls.contains("bye"), "{calls}");
}

#[test]
fn a_call_that_does_not_end_is_ended_after_the_drain_time() {
    let pbx = Pbx::start("127.0.0.3");
    let mut firewall = Firewall::start(pbx.address, "[sip]\ndrain_for = \"1s\"");
    let mut caller = Caller::new("127.0.2.1", firewall.sip);
    assert_eq!(caller.invite("201"), 200);

    firewall.signal("TERM");

    assert!(caller.is_told("BYE"), "the caller's telephone is not left in a dead call");
    assert_eq!(firewall.ended(), Some(0));
    let calls = firewall.calls();
    assert!(calls.contains("drained"), "{calls}");
}

#[test]
fn a_last_bye_that_is_lost_is_sent_again() {
    let pbx = Pbx::start("127.0.0.3");
    let mut firewall = Firewall::start_on("127.0.0.22", pbx.address, "[sip]\ndrain_for = \"1s\"");
    let mut caller = Caller::new("127.0.2.1", firewall.sip);
    assert_eq!(caller.invite("201"), 200);
    // A process that has the call from its journal has no other transaction, as behind a long call.
    firewall.until("the call in the journal", |firewall| firewall.metric("journal_calls") == 1);
    firewall.kill();
    let mut firewall = firewall.start_again();
    firewall.until("the call", |firewall| firewall.get("/health")["calls"] == 1);

    firewall.signal("TERM");

    assert!(caller.hears("BYE").is_some(), "it is lost");
    assert!(caller.is_told("BYE"));
    assert_eq!(firewall.ended(), Some(0));
}

#[test]
fn without_a_speech_model_words_are_off_and_calls_go_on() {
    let pbx = Pbx::start("127.0.0.3");
    let empty = tempfile::tempdir().unwrap();
    let model = format!("[detect.words]\nmodel = {:?}", empty.path().display().to_string());
    let firewall = Firewall::start(pbx.address, &model);

    let words = firewall.get("/health")["parts"]
        .as_array()
        .unwrap()
        .iter()
        .find(|part| part["part"] == "words")
        .cloned()
        .unwrap();
    let mut caller = Caller::new("127.0.2.1", firewall.sip);

    assert_eq!(words["up"], false);
    assert!(words["note"].as_str().unwrap().contains("tokenizer.bin"), "{words}");
    assert_eq!(caller.invite("201"), 200);
    caller.bye();
}

#[test]
fn a_folder_that_is_named_and_missing_is_told_and_not_replaced() {
    let pbx: SocketAddr = "127.0.0.3:5999".parse().unwrap();
    let missing = "announcements = \"nowhere\"\n[detect.words]\nmodel = \"nomodel\"";
    let (mut firewall, log) = Firewall::start_unread(pbx, missing);

    let health = firewall.get("/health");
    let words = health["parts"].as_array().unwrap().iter().find(|part| part["part"] == "words").unwrap();
    let _ = agent().post(format!("http://{}/api/reload", firewall.admin)).send_empty().unwrap();
    firewall.signal("TERM");

    assert_eq!((&words["up"], &health["protecting"]), (&false.into(), &false.into()));
    assert!(words["note"].as_str().unwrap().contains("nomodel"), "{words}");
    assert_eq!(firewall.ended(), Some(0));
    let warned: Vec<String> = log.map_while(Result::ok).filter(|line| line.contains("there is no folder")).collect();
    assert!(warned.len() == 2 && warned[0].contains("nowhere") && warned[1].contains("nomodel"), "{warned:?}");
}

#[test]
fn health_says_that_the_pbx_is_down_until_it_answers() {
    let pbx = std::net::UdpSocket::bind("127.0.0.3:0").unwrap();
    pbx.set_read_timeout(Some(PATIENCE)).unwrap();
    let firewall = Firewall::start(pbx.local_addr().unwrap(), "announcements = \"config/announcements\"");
    let stands = |firewall: &Firewall| {
        let health = firewall.get("/health");
        let pbx = health["parts"].as_array().unwrap().iter().find(|part| part["part"] == "pbx").unwrap()["up"].clone();
        (
            health["status"].as_str().unwrap().to_owned(),
            health["ok"] == true,
            pbx == true,
            health["reasons"].to_string(),
        )
    };
    let mut caller = Caller::new("127.0.2.1", firewall.sip);

    firewall.until("its beginning", |firewall| stands(firewall).1);
    let before = stands(&firewall);
    assert!(before.2 && !before.3.contains("pbx"), "{before:?}");
    assert_eq!(caller.invite("201"), 503);
    firewall.until("the PBX is down", |firewall| !stands(firewall).2);
    let down = stands(&firewall);
    assert!(down.0 == "degraded" && down.1 && down.3.contains("pbx: 127.0.0.3:"), "{down:?}");
    firewall.until("the metrics say so", |firewall| firewall.page().contains("part_up{part=\"pbx\"} 0"));

    let mut buffer = [0; 2_048];
    loop {
        let (length, from) = pbx.recv_from(&mut buffer).unwrap();
        let request = String::from_utf8_lossy(&buffer[..length]).into_owned();
        if request.starts_with("OPTIONS ") {
            let copied = ["Via:", "From:", "To:", "Call-ID:", "CSeq:"];
            let copied = request.lines().filter(|line| copied.iter().any(|name| line.starts_with(name)));
            let headers: String = copied.map(|line| format!("{line}\r\n")).collect();
            pbx.send_to(format!("SIP/2.0 200 OK\r\n{headers}Content-Length: 0\r\n\r\n").as_bytes(), from).unwrap();
            break;
        }
    }
    firewall.until("the PBX is up", |firewall| stands(firewall).2);
}

#[test]
fn health_says_what_is_missing_and_not_what_is_switched_off() {
    let pbx: SocketAddr = "127.0.0.3:5999".parse().unwrap();
    let words_off = "announcements = \"nowhere\"\n[detect.words]\nenabled = false";
    let firewall = Firewall::start(pbx, words_off);

    firewall.until("its beginning", |firewall| firewall.get("/health")["ok"] == true);
    let health = firewall.get("/health");

    let reasons = health["reasons"].as_array().unwrap();
    assert_eq!((&health["status"], reasons.len()), (&"degraded".into(), 1), "{health}");
    let reason = reasons[0].as_str().unwrap();
    assert!(reason.starts_with("announcements: callee-diverted, ") && reason.contains("nowhere"), "{reason}");
    assert!(firewall.page().contains("part_up{part=\"announcements\"} 0"));
}

#[test]
fn what_run_refuses_check_refuses() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("ringfence.toml");
    let settings = Firewall::settings("127.0.0.3:5060".parse().unwrap(), "[detect.words]\nphrases = \"gone.toml\"");
    std::fs::write(&config, settings).unwrap();

    let check = ringfence(&["check", config.to_str().unwrap()]);
    let run = ringfence(&["run", "--config", config.to_str().unwrap()]);

    for output in [check, run] {
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(78), "{text}");
        assert!(text.contains("gone.toml: "), "{text}");
    }
}

const FOR_MANY: &str =
    "[limits.per_source]\ncalls = \"1000/1m\"\n[detect.words]\nenabled = false\n[sip]\ndrain_for = \"1s\"";

fn both_ways(mass: &mut Mass) -> bool {
    let since = now();
    mass.until(PATIENCE, |mass| mass.lines.iter().all(|line| line.over[CALLER] || line.hears_since(since)))
}

#[test]
fn answered_calls_outlive_a_kill_and_an_upgrade() {
    let calls = 20;
    let mut mass = Mass::new("127.0.2.21", "127.0.0.3", calls);
    let mut firewall = Firewall::start_on("127.0.0.21", mass.pbx(), FOR_MANY);
    assert!(mass.dial(firewall.sip), "all are answered");
    assert!(both_ways(&mut mass));
    // What changed last is in the file a little later.
    mass.run(Duration::from_millis(500));

    firewall.kill();
    mass.run(Duration::from_millis(200));
    let mut firewall = firewall.start_again();
    assert!(both_ways(&mut mass), "audio flows again in both directions");
    assert_eq!(firewall.get("/health")["calls"], calls);
    firewall.until("all are counted", |firewall| firewall.metric("calls_restored_total") == calls as u64);

    // Hold, resume, take away, hang up: all as if nothing had been.
    mass.request(0, CALLER, "INVITE", true);
    assert!(mass.until(PATIENCE, |mass| mass.lines[0].answers[CALLER] == 2), "a re-INVITE of the caller");
    mass.request(1, CALLEE, "INVITE", true);
    assert!(mass.until(PATIENCE, |mass| mass.lines[1].answers[CALLEE] == 1), "a re-INVITE of the callee");
    let diverted = firewall.get("/api/calls")["calls"][2]["id"].as_str().unwrap().to_owned();
    let divert = agent().post(format!("http://{}/api/calls/{diverted}/divert", firewall.admin)).send_empty().unwrap();
    assert_eq!(divert.status(), 200);
    firewall.until("the diversion", |firewall| {
        let now = firewall.get("/api/calls");
        now["calls"]
            .as_array()
            .unwrap()
            .iter()
            .any(|call| call["id"] == diverted.as_str() && call["state"] == "diverted")
    });
    let again = agent().post(format!("http://{}/api/calls/{diverted}/divert", firewall.admin)).send_empty().unwrap();
    assert_eq!(again.status(), 409, "it is taken away");
    mass.run(Duration::from_millis(500));

    firewall.signal("USR2");
    assert_eq!(firewall.ended(), Some(0));
    let firewall = firewall.start_again();
    firewall.until("the diversion goes on", |firewall| {
        firewall.get("/api/calls")["calls"].as_array().unwrap().iter().any(|call| call["state"] == "diverted")
    });
    let hang_up = agent().post(format!("http://{}/api/calls/{diverted}/hang_up", firewall.admin)).send_empty().unwrap();
    assert_eq!(hang_up.status(), 200);
    assert!(mass.until(PATIENCE, |mass| mass.lines.iter().any(|line| line.over == [true; 2])), "both legs are told");
    assert!(both_ways(&mut mass), "all others talk on");
    for number in 0..calls {
        if mass.lines[number].over != [true; 2] {
            mass.bye(number, if number.is_multiple_of(2) { CALLER } else { CALLEE });
        }
    }
    assert!(mass.until(PATIENCE, |mass| mass.lines.iter().all(|line| line.over == [true; 2])), "every BYE arrives");

    firewall.until("every call is over", |firewall| firewall.get("/health")["calls"] == 0);
    firewall.until("every record", |firewall| {
        let ended = firewall.get("/api/calls/ended");
        let ended = ended["calls"].as_array().unwrap();
        ended.len() == calls && ended.iter().filter(|call| call["how"] == "bye").count() == calls - 1
    });
    let page = firewall.get(&format!("/api/calls/{diverted}"));
    let page = page["explanation"].as_str().unwrap();
    assert!(page.contains("Ringfence was started again") && page.contains("divert by operator: done"), "{page}");
    firewall.until("an empty journal", |firewall| {
        let path = firewall.folder.path().join("calls.journal");
        ringfence::journal::read(&std::fs::read(path).unwrap()).calls.is_empty()
    });
}

#[test]
fn a_call_that_is_not_answered_is_not_said_to_be_diverted() {
    let pbx = UdpSocket::bind("127.0.0.3:0").unwrap();
    let firewall = Firewall::start(pbx.local_addr().unwrap(), "");
    let mut caller = Caller::new("127.0.2.1", firewall.sip);
    assert_eq!(caller.invite_for("201", Duration::from_millis(100)), 0);
    firewall.until("the call", |firewall| firewall.get("/api/calls")["calls"][0]["id"].is_string());
    let name = firewall.get("/api/calls")["calls"][0]["id"].as_str().unwrap().to_owned();
    let order =
        |path: String| agent().post(format!("http://{}/api/calls/{path}", firewall.admin)).send_empty().unwrap();

    let mut divert = order(format!("{name}/divert"));
    assert_eq!(divert.status(), 409);
    let body: serde_json::Value = divert.body_mut().read_json().unwrap();
    assert!(body["error"].as_str().unwrap().contains("answered"), "{body}");
    assert_eq!(order(format!("+{name}/divert")).status(), 400, "a call's name has no sign");
}

#[test]
fn nothing_is_handed_over_to_a_process_that_would_not_start() {
    let pbx: SocketAddr = "127.0.0.3:5999".parse().unwrap();
    let (mut firewall, mut log) = Firewall::start_unread(pbx, "");
    let reasons = |firewall: &Firewall| firewall.get("/health")["reasons"].to_string();

    firewall.edit(pbx, "[detect]\ndivert_at = 8");
    firewall.signal("USR2");
    assert!(log.by_ref().map_while(Result::ok).any(|line| line.contains("Not handing over")));
    firewall.until("the reload", |firewall| reasons(firewall).contains("settings: the file was refused"));
    assert_eq!(firewall.get("/health")["status"], "degraded");
    firewall.edit(pbx, "");
    firewall.until("the next", |firewall| !reasons(firewall).contains("settings:"));

    // A list that is missing is left out by a start.
    firewall.edit(pbx, "[numbers]\nblock_file = \"gone.txt\"");
    assert_eq!(ringfence(&["check", firewall.config.to_str().unwrap()]).status.code(), Some(78));
    firewall.signal("USR2");
    assert_eq!(firewall.ended(), Some(0));
    let firewall = firewall.start_again();
    assert!(reasons(&firewall).contains("numbers.block_file is left out: gone.txt cannot be read"));
    std::fs::write(firewall.folder.path().join("gone.txt"), "").unwrap();
    firewall.until("the list", |firewall| !reasons(firewall).contains("block_file"));
}

#[test]
fn a_number_that_a_rule_connects_is_put_through_however_often_it_calls() {
    let pbx = Pbx::start("127.0.0.3");
    let rule = "[limits.per_number]\ncalls = \"1/10m\"\n[[rule]]\nname = \"surgery\"\naction = \"connect\"\n\
                when = { called = [\"201\"] }";
    let firewall = Firewall::start(pbx.address, rule);

    let statuses = ["201", "201", "202", "202", "201"].map(|extension| {
        let mut caller = Caller::new("127.0.2.1", firewall.sip);
        let status = caller.invite(extension);
        if status == 200 {
            caller.bye();
        }
        status
    });

    assert_eq!(statuses, [200, 200, 200, 486, 200]);
}

#[test]
fn a_journal_that_cannot_be_written_costs_no_call_and_is_shown() {
    let pbx = Pbx::start("127.0.0.3");
    let firewall = Firewall::start(pbx.address, "[restart]\njournal = \"/proc/calls.journal\"");
    let mut caller = Caller::new("127.0.2.1", firewall.sip);

    assert_eq!(caller.invite("201"), 200);
    caller.bye();

    firewall.until("the journal is shown as down", |firewall| {
        let health = firewall.get("/health");
        health["ok"] == true
            && health["parts"].as_array().unwrap().iter().any(|part| part["part"] == "journal" && part["up"] == false)
    });
}

#[test]
fn an_upgrade_without_a_journal_that_works_ends_calls_with_a_bye() {
    let mut mass = Mass::new("127.0.2.22", "127.0.0.22", 3);
    let more = format!("{FOR_MANY}\n[restart]\njournal = \"j/calls.journal\"");
    let mut firewall = Firewall::start_on("127.0.0.1", mass.pbx(), &more);
    assert!(mass.dial(firewall.sip), "all are answered");
    std::fs::remove_dir_all(firewall.folder.path().join("j")).unwrap();
    firewall.until("the journal is shown as down", |firewall| {
        let parts = firewall.get("/health")["parts"].clone();
        parts.as_array().unwrap().iter().any(|part| part["part"] == "journal" && part["up"] == false)
    });

    firewall.signal("USR2");

    assert!(mass.until(PATIENCE, |mass| mass.lines.iter().all(|line| line.over == [true; 2])), "every end is told");
    assert_eq!(firewall.ended(), Some(0));
}

#[test]
fn a_store_that_cannot_be_written_costs_records_and_no_calls() {
    let pbx = Pbx::start("127.0.0.3");
    let firewall = Firewall::start(pbx.address, "[store]\npath = \"/proc/ringfence.db\"");
    let mut caller = Caller::new("127.0.2.1", firewall.sip);

    assert_eq!(caller.invite("201"), 200);
    caller.bye();

    firewall.until("the store is shown as down", |firewall| {
        let health = firewall.get("/health");
        health["ok"] == true
            && health["parts"].as_array().unwrap().iter().any(|part| part["part"] == "store" && part["up"] == false)
    });
    assert!(Path::new(&firewall.folder.path()).exists());
}

#[test]
fn the_api_serves_this_machine_only() {
    let firewall = Firewall::start("127.0.0.3:5999".parse().unwrap(), "");
    let url = format!("http://{}/health", firewall.admin);

    let foreign = agent().get(&url).header("Host", "evil.example").call().unwrap();
    let page = agent().get(&url).header("Origin", "http://evil.example").call().unwrap();
    let nowhere = agent().get(format!("http://{}/x", firewall.admin)).call().unwrap();
    let trusted = agent()
        .post(format!("http://{}/api/blocks", firewall.admin))
        .send_json(serde_json::json!({ "source": "127.0.2.1", "for": "1h" }))
        .unwrap();
    let blocked = agent()
        .post(format!("http://{}/api/blocks", firewall.admin))
        .send_json(serde_json::json!({ "source": "192.0.2.1", "for": "1h" }))
        .unwrap();
    let lifted = agent().delete(format!("http://{}/api/blocks/192.0.2.1", firewall.admin)).call().unwrap();
    let again = agent().delete(format!("http://{}/api/blocks/192.0.2.1", firewall.admin)).call().unwrap();

    let said_nothing_of_json = agent()
        .post(format!("http://{}/api/blocks", firewall.admin))
        .content_type("application/x-www-form-urlencoded")
        .send(r#"{"source":"192.0.2.1","for":"1h"}"#)
        .unwrap();
    assert_eq!(said_nothing_of_json.status(), 415);
    let statuses =
        [&foreign, &page, &nowhere, &trusted, &blocked, &lifted, &again].map(|response| response.status().as_u16());
    assert_eq!(statuses, [403, 403, 404, 409, 200, 200, 404]);
}

#[test]
fn every_refusal_of_the_api_has_one_form() {
    let pbx: SocketAddr = "127.0.0.3:5999".parse().unwrap();
    let firewall = Firewall::start(pbx, "");
    let at = |path: &str| format!("http://{}{path}", firewall.admin);
    let block = |body: String| agent().post(at("/api/blocks")).content_type("application/json").send(body).unwrap();
    firewall.edit(pbx, "[detect]\ndivert_at = 8");

    let answers = [
        (404, agent().get(at("/x")).call().unwrap()),
        (405, agent().get(at("/api/reload")).call().unwrap()),
        (405, agent().delete(at("/health")).call().unwrap()),
        (400, agent().get(at("/api/calls?limit=many")).call().unwrap()),
        (400, agent().get(at("/api/calls/%FF")).call().unwrap()),
        (400, agent().delete(at("/api/blocks/nobody")).call().unwrap()),
        (400, block("{".to_owned())),
        (413, block(" ".repeat(20_000))),
        (422, agent().post(at("/api/reload")).send_empty().unwrap()),
    ];

    for (expected, mut answer) in answers {
        let (status, allow) = (answer.status().as_u16(), answer.headers().contains_key("allow"));
        let body: serde_json::Value = answer.body_mut().read_json().unwrap_or_default();
        let sentence = body["error"].as_str().unwrap_or_default();
        assert!(status == expected && sentence.contains(' '), "{expected}: {status} {body}");
        assert_eq!(allow, status == 405, "{body}");
    }
}

/// The address in our Contact.
fn contact(message: &str) -> SocketAddr {
    header(message, "Contact").trim_end_matches('>').rsplit('@').next().unwrap().parse().unwrap()
}

/// An audio packet of `from` to one of our ports arrives at `to` from another.
fn is_heard(from: &UdpSocket, [into, out_of]: [SocketAddr; 2], to: &UdpSocket) {
    to.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let mut packet = [[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7].as_slice(), &[0x55; 160]].concat();
    let heard = (0..100_u8).any(|number| {
        (packet[3], packet[7]) = (number, number.wrapping_mul(160));
        from.send_to(&packet, into).unwrap();
        to.recv_from(&mut [0; 2_048]).is_ok_and(|(_, from)| from == out_of)
    });
    assert!(heard, "nothing that comes to {into} leaves from {out_of}");
}

/// A call from a telephone at `ip` by the door `door`, answered by the PBX: each side talks to an address of its kind
/// and hears the other. What our Contacts say to the trunk and to the PBX.
fn both_talk(door: SocketAddr, ip: &str, pbx: &UdpSocket) -> [SocketAddr; 2] {
    let (phone, [here, there]) =
        (socket(ip), [ip.to_owned(), pbx.local_addr().unwrap().ip().to_string()].map(|ip| socket(&ip)));
    let [at, pbx_at] = [&phone, pbx].map(|socket| socket.local_addr().unwrap());
    let uri = format!("sip:201@{door}");
    let to = format!("<{uri}>");
    let offer = description(here.local_addr().unwrap());
    phone.send_to(request(at, ("INVITE", 1), (&uri, &to), &offer).as_bytes(), door).unwrap();

    let invite = receive(pbx, "INVITE ");
    let inside = contact(&invite);
    let ok = answer(&invite, "200 OK", "pbx", pbx_at, &description(there.local_addr().unwrap()));
    pbx.send_to(ok.as_bytes(), inside).unwrap();
    let ok = receive(&phone, "SIP/2.0 200 ");
    let outside = contact(&ok);
    let target = format!("sip:201@{outside}");
    let to = header(&ok, "To").to_owned();
    phone.send_to(request(at, ("ACK", 1), (&target, &to), "").as_bytes(), outside).unwrap();
    receive(pbx, "ACK ");
    assert_eq!((audio(&ok).ip(), audio(&invite).ip()), (outside.ip(), inside.ip()), "media and Contact");
    let ports = [audio(&ok), audio(&invite)];
    is_heard(&here, ports, &there);
    is_heard(&there, [ports[1], ports[0]], &here);
    phone.send_to(request(at, ("BYE", 2), (&target, &to), "").as_bytes(), outside).unwrap();
    let bye = receive(pbx, "BYE ");
    pbx.send_to(answer(&bye, "200 OK", "pbx", pbx_at, "").as_bytes(), inside).unwrap();
    receive(&phone, "SIP/2.0 200 ");
    [outside, inside]
}

/// One with two listeners.
fn between(listen: [&str; 2], pbx: &UdpSocket, trunk: &str) -> Firewall {
    let [one, two] = listen;
    let pbx = pbx.local_addr().unwrap();
    Firewall::start_as(&format!(
        "[[listen]]\naddress = \"{one}\"\n[[listen]]\naddress = \"{two}\"\n[pbx]\naddress = \"{pbx}\"\n\
         [[trunk]]\nname = \"trunk\"\naddress = \"{trunk}\"\n[admin]\naddress = \"127.0.0.1:0\"\n\
         [media]\nports = \"31000-31999\"\n[detect.words]\nenabled = false\n"
    ))
}

#[test]
fn a_trunk_over_ipv6_and_a_pbx_over_ipv4_talk() {
    if UdpSocket::bind("[::1]:0").is_err() {
        return println!("skipped: this machine has no ::1");
    }
    let pbx = socket("127.0.0.43");
    let firewall = between(["127.0.0.1:0", "[::1]:0"], &pbx, "[::1]:5999");
    let six = firewall.address("udp");

    assert_eq!(both_talk(six, "::1", &pbx), [six, firewall.sip]);
}

#[test]
fn with_two_network_cards_each_side_is_told_of_its_own() {
    let out = UdpSocket::bind("0.0.0.0:0").unwrap();
    let card = out.connect("198.51.100.1:9").and_then(|()| out.local_addr()).map(|address| address.ip());
    let Some(card) = card.ok().filter(|ip: &IpAddr| !ip.is_loopback()) else {
        return println!("skipped: this machine has one network card");
    };
    let (card, pbx) = (card.to_string(), socket("127.0.0.44"));
    let (wide, inner) = (format!("{card}:0"), "127.0.0.1:0");
    let trunk = format!("{card}:5999");
    for listen in [[wide.as_str(), inner], [inner, &wide]] {
        let firewall = between(listen, &pbx, &trunk);
        let mut doors = [firewall.sip, firewall.address("udp")];
        doors.sort_by_key(|door| door.ip().is_loopback());

        assert_eq!(both_talk(doors[0], &card, &pbx), doors, "{listen:?}");
    }
}
