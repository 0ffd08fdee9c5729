//! The settings file as an operator meets it.

#![allow(clippy::unwrap_used, clippy::panic, clippy::wildcard_enum_match_arm, missing_docs, reason = "tests")]

use ringfence::config::{self, Reload, Settings};
use ringfence::policy::action::{Rejection, Route};
use ringfence::policy::facts::{CallDirection, CallerNumber, Facts};
use ringfence::units::Redacted;

const LEAST: &str = "[pbx]\naddress = \"127.0.0.1:5070\"\n[[trunk]]\nname = \"provider\"\naddress = \"192.0.2.10\"\n";

fn no_files(path: &str) -> Result<String, String> {
    Err(format!("no file {path}"))
}

fn load(text: &str) -> Settings {
    config::load(text, &no_files).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

fn problems(text: &str) -> Vec<String> {
    config::load(text, &no_files).unwrap_err().iter().map(ToString::to_string).collect()
}

#[test]
fn the_shipped_file_says_the_defaults() {
    assert_eq!(load(config::built_in()), load(LEAST));
}

#[test]
fn the_shipped_file_names_every_option() {
    for path in load(LEAST).options().keys() {
        let key = path.rsplit('.').next().unwrap();
        let named = config::built_in().lines().any(|line| {
            let line = line.trim_start_matches(['#', ' ']);
            line.strip_prefix(key).is_some_and(|rest| rest.starts_with(" = "))
        });
        assert!(named, "{path}");
    }
}

#[test]
fn the_examples_load() {
    for entry in std::fs::read_dir("config/examples").unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            load(&std::fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn the_examples_for_asterisk_and_systemd_fit_the_settings() {
    let read = |name: &str| std::fs::read_to_string(format!("config/examples/{name}")).unwrap();
    let home = load(&read("home-asterisk.toml"));
    let sip = home.listen.first().unwrap().hop.address.port();

    let asterisk = read("home-asterisk.pjsip.conf");
    for line in [
        format!("bind=0.0.0.0:{}", home.pbx.address.port),
        format!("outbound_proxy=sip:{}:{sip}\\;lr", home.pbx.address.host),
        format!("contact=sip:{}:{sip}", home.pbx.address.host),
        format!("match={}", home.pbx.address.host),
    ] {
        assert!(asterisk.lines().any(|found| found == line), "{line}");
    }
    assert!(home.media.first_port > 19_999, "the ports of Asterisk end before");

    let unit = read("ringfence.service");
    let folder = "/var/lib/ringfence";
    assert!(unit.contains("StateDirectory=ringfence") && unit.contains("ProtectSystem=strict"));
    // Its remark says where the files go, two tables beside each other.
    let remarks: String = unit
        .lines()
        .filter_map(|line| line.strip_prefix("#   "))
        .map(|line| line.replace("     ", "\n"))
        .collect::<Vec<_>>()
        .join("\n");
    let at = |option: &str| {
        let line = remarks.lines().map(str::trim).find(|line| line.starts_with(&format!("{option} = ")));
        line.unwrap_or_else(|| panic!("{option}")).to_owned()
    };
    let settings =
        load(&format!("{LEAST}[detect]\n{}\n[store]\n{}\n[restart]\n{}\n", at("campaigns"), at("path"), at("journal")));
    let journal = settings.restart.journal.unwrap();
    for path in [&settings.detect.campaigns, &settings.store.path, &journal] {
        assert_eq!(path.parent().unwrap(), std::path::Path::new(folder));
    }
    let stop = unit.lines().find_map(|line| line.strip_prefix("TimeoutStopSec=")).unwrap();
    assert!(humantime::parse_duration(stop).unwrap() > settings.sip.drain_for, "running calls may finish");
}

#[test]
fn eight_media_ports_are_the_fewest_at_the_end_of_the_range_too() {
    let refused = |ports: &str| {
        let text = format!("[pbx]\naddress = \"127.0.0.1:5070\"\n[media]\nports = \"{ports}\"\n");
        problems(&text).iter().any(|problem| problem.contains("media.ports"))
    };
    assert!(refused("65530-65535") && !refused("65528-65535"));
}

#[test]
fn each_media_thread_has_ports_for_a_call() {
    let told = |ports: &str, threads: usize| {
        let text = format!("{LEAST}[media]\nports = \"{ports}\"\nthreads = {threads}\n");
        config::load(&text, &no_files).map_or_else(|_| problems(&text), |_| Vec::new())
    };
    let hint = "line 8  media.threads = 4   must be at most 2: media.ports hold no call for more (a call takes four)";
    assert_eq!(told("20000-20007", 4), [hint]);
    for (ports, most) in [("20000-20007", 2), ("20001-20008", 1), ("20000-20011", 3), ("20000-20999", 64)] {
        assert!(told(ports, most).is_empty() && told(ports, most + 1).len() == 1, "{ports}");
    }
}

#[test]
fn five_mistakes_are_told_at_once_with_line_and_way_out() {
    let text = r#"enforce = "yes"
[pbx]
address = "127.0.0.1:5070"
[[trunk]]
name = "provider"
address = "192.0.2.10"
[media]
ports = "20999-20000"
[limits]
messages_per_source = "0/1s"
mesages_per_trunk = "10/1s"
[[rule]]
name = "x"
action = "divrt"
"#;

    assert_eq!(
        problems(text),
        [
            "line 1  enforce = \"yes\"   must be true or false",
            "line 8  media.ports = \"20999-20000\"   must hold at least 8 ports from 1024 on; a call takes four",
            "line 10  limits.messages_per_source = \"0/1s\"   must be at least 1; to refuse a source altogether, put it in \
             networks.deny",
            "line 11  limits.mesages_per_trunk   is not an option; did you mean `messages_per_trunk`?",
            "line 14  rule[0].action = \"divrt\"   is not an action; did you mean \"divert\"?",
        ]
    );
}

#[test]
fn each_kind_of_mistake_has_its_hint() {
    let with = |more: &str| problems(&format!("{LEAST}{more}\n")).join("\n");
    for (text, hint) in [
        ("networks = [\"192.0.2.0/33\"]", "must be a network or address"),
        ("[numbers]\nallow = [\"+44\", \"hello\"]", "write it as +441632960001"),
        ("[numbers]\ncountry = \"XX\"", "must be one of: GB"),
        ("[numbers]\nallow_file = \"gone.txt\"", "cannot be read: no file gone.txt"),
        ("[detect]\nguard_at = 0.95", "must rise"),
        (
            "[detect]\nhang_up_at = 0.1",
            "must rise, the mild steps first: guard_at is 0.5, whisper_at 0.7, divert_at 0.9, hang_up_at 0.1",
        ),
        ("[[rule]]\nstatus = 603", "must be in quotes, one of: \"608\", \"603\", \"486\", \"404\""),
        ("[[trunk]]\nsrtp = true", "must be in quotes, one of: \"off\", \"offer\", \"require\""),
        ("[[trunk]]\nregister = \"x\"", "trunk[1].register   must be a table: register = { ... }"),
        ("[[rule]]\nwhen = \"x\"", "rule[0].when   must be a table: when = { ... }"),
        (
            "[[trunk]]\nnetworks = [\"sip.example.com\"]",
            "as \"192.0.2.0/24\" or \"2001:db8::/32\"; a host by its name takes a [[trunk]] of its own",
        ),
        ("[detect]\ndivert_at = 1.5", "must be a probability"),
        ("[detect]\nwatch_for = \"0s\"", "must be a duration from 2s"),
        ("[divert]\ntake_back_key = \"99\"", "must be one key"),
        ("[admin]\naddress = \"0.0.0.0:80\"", "must be a loopback address"),
        ("[[listen]]\ntransport = \"tls\"\naddress = \"0.0.0.0:5061\"", "listen[0].certificate   is missing"),
        ("[[listen]]\ntransport = \"tls\"\naddress = \"0.0.0.0:5061\"", "listen[0].key   is missing"),
        ("[[listen]]\ntransport = \"sctp\"\naddress = \"0.0.0.0:5061\"", "must be one of: udp, tcp, tls"),
        ("[[listen]]\ntransport = \"tcp\"", "listen[0].address   is missing"),
        ("[[listen]]\naddress = \"0.0.0.0:5060\"\n[[listen]]\naddress = \"0.0.0.0:5060\"", "is there twice"),
        (
            "[[listen]]\naddress = \"0.0.0.0:5060\"\n[[listen]]\naddress = \"127.0.0.1:5060\"",
            "listen[1].address   127.0.0.1:5060 cannot be listened on beside udp 0.0.0.0:5060: both take the same port",
        ),
        (
            "[[listen]]\naddress = \"[::1]:5060\"\n[[listen]]\naddress = \"[::]:5060\"",
            "[::]:5060 cannot be listened on beside udp [::1]:5060",
        ),
        (
            "[[listen]]\ntransport = \"tcp\"\naddress = \"0.0.0.0:8470\"",
            "admin.address   127.0.0.1:8470 cannot be listened on beside tcp 0.0.0.0:8470",
        ),
        ("[connections]\nmax = 0", "must be a whole number from 1"),
        ("[[rule]]\nname = \"x\"\naction = \"screen\"", "is not built yet"),
        ("[[rule]]\nname = \"x\"", "rule[0].action   is missing"),
        ("[[rule]]\nwhen = {}", "rule[0].name   is missing"),
        (
            "[[rule]]\nname = \"x\"\naction = \"watch\"\nwhen = { number = [\"1\"], zzz = 1 }",
            "options here are number, called, trunk, networks, hours, weekdays",
        ),
        ("[[rule]]\nwhen = {}", "rule[0].action   is missing"),
        (
            "[[rule]]\nname = \"x\"\naction = \"watch\"\nwhen = { trunk = \"nobody\" }",
            "must be the name of a trunk: provider",
        ),
        ("[[rule]]\nname = \"x\"\naction = \"watch\"\nwhen = { hours = \"25-7\" }", "must be two hours"),
        (
            "[[rule]]\nname = \"x\"\naction = \"watch\"\nwhen = { called = [\"sales*\"] }",
            "   must be an extension or number",
        ),
        ("[[trunk]]\nname = \"provider\"\naddress = \"a.example\"", "each trunk has its own name"),
        ("[[trunk]]\nregister = { password_file = \"x\" }", "trunk[1].register.user   is missing"),
        ("[[trunk]]\nregister = { user = \"a b\", password_file = \"x\" }", "must be the user name alone"),
        (
            "[[trunk]]\nregister = { user = \"a\", auth_user = \"\" }",
            "must be the user name that the provider's challenges",
        ),
        ("[[trunk]]\nregister = { user = \"a\" }", "trunk[1].register.password_file   is missing"),
        ("[[trunk]]\nregister = { user = \"a\", password_file = \"gone\" }", "password_file   no file gone"),
        ("[[trunk]]\nregister = { user = \"a\", pasword_file = \"x\" }", "did you mean `password_file`?"),
        ("[[trunk]]\nregister = { user = \"a\", expires = \"5s\" }", "must be a duration from 1m"),
        ("[[trunk]]\nkeep_alive = \"1s\"", "must be a duration from 5s to 1h, as \"30s\", or \"never\""),
        ("[[trunk]]\nanswer_within = \"1h\"", "must be a duration from 500ms"),
        ("[[trunk]]\npriority = 0", "must be a whole number from 1 to 100"),
        ("[[trunk]]\nshow_identity = \"all\"", "must be one of: trusted, public, never"),
        ("[[trunk]]\ntransport = \"sctp\"", "must be one of: udp, tcp, tls, auto"),
        ("[dns]\nservers = [\"dns.example\"]", "must be an address with an optional port"),
        ("[dns]\nkeep_at_most = \"1s\"", "must not be shorter than dns.keep_at_least"),
        ("[sip]\nredirects = \"maybe\"", "must be one of: pass, follow"),
        (
            "[media]\ncodecs = [\"PCMA\", \"G.722\"]",
            "line 7  media.codecs[1] = \"G.722\"   must be one of: PCMU, PCMA, G722",
        ),
        ("[media]\ncodecs = \"PCMA\"", "must be a list"),
        ("[media]\npublic_address = \"::\"", "must be the address that the outside sees"),
        ("[limits.per_source]\ncalls = \"5/1m\"\nburst = 6", "must be a whole number from 1 to 5"),
        ("[detect.words]\nthreads = 0", "must be a whole number from 1"),
        ("[sip]\npublic_address = \"0.0.0.0\"", "must be the address that the outside sees"),
        ("[sip]\npublic_address = \"home.example:5060\"", "or a name that has it, without a port"),
        ("[sip]\npublic_address = \"203.0.113.256\"", "must be the address that the outside sees"),
    ] {
        assert!(with(text).contains(hint), "{text}: {}", with(text));
    }
    for good in [
        "[[listen]]\naddress = \"0.0.0.0:5060\"\n[[listen]]\naddress = \"[::]:5060\"",
        "[[listen]]\naddress = \"0.0.0.0:5060\"\n[[listen]]\naddress = \"0.0.0.0:5060\"\ntransport = \"tcp\"",
        "[[listen]]\naddress = \"127.0.0.1:8470\"",
        "[[listen]]\naddress = \"127.0.0.1:0\"\n[[listen]]\naddress = \"127.0.0.1:0\"",
    ] {
        load(&format!("{LEAST}{good}\n"));
    }
    assert!(problems("[pbx]\naddress = \"999.1.1.1\"").join("\n").contains("must be a name or address"));
    // What follows from another mistake is none.
    for mistake in ["address = \"0.0.0.0\"", "address = \"0.0.0.0:5060\"\ntransport = \"upd\""] {
        let told = with(&format!("[[listen]]\n{mistake}"));
        assert_eq!(told.lines().count(), 1, "{told}");
    }
    assert!(problems("detect = 3").join("\n").contains("must be a table"));
    assert!(problems("x = ")[0].starts_with("line 1  syntax"));
    assert_eq!(
        problems("[trunk]\n[pbx]\naddress = \"192.0.2.1\"\n"),
        ["line 1  trunk   must be a list of tables: [[trunk]]"]
    );
    let twice = LEAST.replace("[pbx]", "[[pbx]]");
    assert_eq!(problems(&twice), ["line 1  pbx   must be a table, and one alone: [pbx]"]);
    assert!(
        with("[detect]\nenforce = false").ends_with("detect.enforce   stands above the first [table], not in detect")
    );
    let empty = problems("").join("\n");
    assert!(empty.contains("pbx.address   is missing") && empty.contains("trunk   is missing"), "{empty}");
}

#[test]
fn emergency_numbers_are_those_of_the_country_and_those_listed() {
    let listed = "emergency = [\"999\", \"112\", \"911\", \"18000\"]";
    for (country, number, elsewhere) in [
        ("GB", "999", "110"),
        ("IE", "999", "110"),
        ("DE", "110", "000"),
        ("FR", "15", "110"),
        ("FR", "+33119", "113"),
        ("NL", "112", "113"),
        ("ES", "091", "91"),
        ("IT", "118", "15"),
        ("AU", "000", "00"),
        ("US", "911", "110"),
        ("CA", "911", "110"),
    ] {
        let settings = load(&format!("{LEAST}[numbers]\ncountry = \"{country}\"\n{listed}\n"));
        assert!(settings.policy.is_emergency(number), "{country} {number}");
        assert!(!settings.policy.is_emergency(elsewhere), "{country} {elsewhere}");
        let none_listed = load(&format!("{LEAST}[numbers]\ncountry = \"{country}\"\nemergency = []\n"));
        assert!(none_listed.policy.is_emergency(number), "{country} {number}");
    }
}

#[test]
fn challenges_are_answered_as_the_user_or_with_a_name_of_their_own() {
    let who = |more: &str| {
        let text = format!("{LEAST}register = {{ user = \"441632960001\", password_file = \"p\"{more} }}\n");
        let settings = config::load(&text, &|_: &str| Ok("secret".to_owned())).unwrap();
        let register = settings.trunks[0].register.clone().unwrap();
        (register.user.to_string(), register.credentials.user.to_string())
    };
    let number = "441632960001".to_owned();
    assert_eq!(who(""), (number.clone(), number.clone()));
    assert_eq!(who(", auth_user = \"a1@b2.example\""), (number, "a1@b2.example".to_owned()));
}

#[test]
fn the_largest_and_the_smallest_duration_that_a_hint_names_are_good() {
    let register = "register = { user = \"u\", password_file = \"p\", expires = VALUE }";
    let file = |_: &str| Ok("secret".to_owned());
    for option in [
        register,
        "answer_within = VALUE",
        "[connections]\nidle_for = VALUE",
        "[connections]\nhandshake_for = VALUE",
        "[calls]\nheld_check = VALUE",
        "[calls]\nsession_timer = VALUE",
        "[sip]\ndrain_for = VALUE",
        "[dns]\nkeep_at_most = \"7days\"\nkeep_at_least = VALUE",
        "[dns]\nkeep_at_least = \"500ms\"\nkeep_at_most = VALUE",
        "[dns]\ntimeout = VALUE",
        "[media]\ntimeout = VALUE",
        "[limits]\nlongest_block = \"365days\"\nblock_for = VALUE",
        "[limits]\nblock_for = \"1s\"\nlongest_block = VALUE",
        "[detect]\nwatch_for = VALUE",
        "[store]\nkeep_for = VALUE",
        "[restart]\nlongest_call = VALUE",
    ] {
        let read = |value: &str| {
            config::load(&format!("{LEAST}{}\n", option.replace("VALUE", &format!("\"{value}\""))), &file)
        };
        let problem = read("1000000days").unwrap_err()[0].to_string();
        let (_, range) = problem.split_once("must be a duration from ").unwrap_or_else(|| panic!("{problem}"));
        let (least, most) = range.split(", as ").next().unwrap().split_once(" to ").unwrap();
        for value in [least, most] {
            assert!(read(value).is_ok(), "{option}: {value}: {:?}", read(value));
        }
    }
}

#[test]
fn mistakes_in_the_form_of_a_file_are_told_at_once_with_a_way_out() {
    let text = "[pbx]\naddress = 127.0.0.1:5070\nsrtp = off\n[log]\nlevel = \"info\"\nlevel = \"warn\"\n[store]\n\
                path = \"C:\\users\\x\"\n[pbx]\n";

    let told = problems(text);

    let lines = [
        "line 2  syntax",
        "line 3  syntax",
        "line 6  level   is there twice",
        "line 8  syntax",
        "line 9  pbx   is there",
    ];
    assert_eq!(told.len(), lines.len(), "{told:#?}");
    for (problem, line) in told.iter().zip(lines) {
        assert!(problem.starts_with(line), "{problem}");
    }
    let ways_out =
        ["text in \"quotes\"", "text in \"quotes\"", "all its options below it", "is written twice", "below it"];
    for (problem, way_out) in told.iter().zip(ways_out) {
        assert!(problem.ends_with(way_out) || problem.contains(way_out), "{problem}");
    }
    assert_eq!(problems(&"x = y\n".repeat(50)).len(), 10);
    assert!(problems("x: 1\n")[0].ends_with("an option is NAME = VALUE"));
    assert!(problems("x = [1\ny = 2\n")[0].ends_with("a list begins with [ and ends with ]"));
}

#[test]
fn no_mistake_shows_what_may_be_a_secret() {
    let told = |text: &str| -> Vec<String> {
        let problems = config::load(text, &|_: &str| Err("is not there".to_owned())).unwrap_err();
        problems.iter().map(ToString::to_string).collect()
    };
    for register in [
        "{ user = \"u\", password = \"TOPSECRET\" }",
        "{ user = \"u\", pasword = [\"TOPSECRET\"], password_file = \"x\" }",
        "{ user = \"u\", password_file = \"TOPSECRET\" }",
        "{ user = { password = \"TOPSECRET\" } }",
        "{ user = [{ password = \"TOPSECRET\" }] }",
        "[{ user = \"u\", password = \"TOPSECRET\" }]",
        "\"TOPSECRET\"",
    ] {
        let told = told(&format!("{LEAST}register = {register}\n"));
        assert!(!told.is_empty() && !told.iter().any(|problem| problem.contains("SECRET")), "{register}: {told:?}");
    }
    for text in [
        "[sip]\ntoken = '''\nTOPSECRET'''",
        "trunk = { register = { password = \"TOPSECRET\" } }",
        "[[listen]]\ntransport = \"tls\"\nkey = '''PRIVATE KEY TOPSECRET'''",
        "[media]\ncodecs = [{ pin = \"TOPSECRET\" }]",
        "[pbx]\npassword = TOPSECRET",
    ] {
        let told = told(text);
        assert!(!told.is_empty() && !told.iter().any(|problem| problem.contains("SECRET")), "{text}: {told:?}");
    }
}

#[test]
fn a_bad_number_is_shortened_as_in_the_log() {
    let file = |_: &str| Ok("+4416329600010x\n".to_owned());
    let told = |more: &str| config::load(&format!("{LEAST}{more}\n"), &file).unwrap_err().remove(0).to_string();

    for (text, shown) in [
        ("[numbers]\nallow = [\"+44163296000x\"]", "numbers.allow[0] = \"+44163…x\"   "),
        ("[numbers]\nblock = [441632960001]", "numbers.block[0] = 441632…01   "),
        (
            "[[trunk]]\nname = \"n\"\naddress = \"192.0.2.2\"\nregister = { user = \"441632960001\\\"@x\" }",
            "user = \"441632…",
        ),
        ("[numbers]\nblock_file = \"block.txt\"", "numbers.block_file = +441632…0x   line 1 of block.txt: "),
    ] {
        assert!(told(text).contains(shown), "{}", told(text));
    }
}

#[test]
fn every_bad_number_is_told() {
    let list = "[numbers]\nallow = [\n\"+\", \"+441632960001\", \"*\",\n\"\", 441632960001, \"+44163296000x\"]\n\
                block_file = \"block.txt\"\n[[rule]]\nname = \"x\"\naction = \"watch\"\n\
                when = { number = [\"01632 96000l\", \"abcdef\"] }\n";
    let lines: String = (0..14).map(|n| format!("+4416329600{n:02}x # one\n+441632960001\n")).collect();
    let file = |_: &str| Ok(lines.clone());

    let told = config::load(&format!("{LEAST}{list}"), &file).unwrap_err();
    let told: Vec<String> = told.iter().map(ToString::to_string).collect();

    let why = "not a number or prefix: write it as +441632960001 or +44163296*";
    let mut expected = vec![
        format!("line 8  numbers.allow[0] = …   {why}"),
        format!("line 8  numbers.allow[2] = …   {why}"),
        format!("line 9  numbers.allow[3] = …   {why}"),
        format!("line 9  numbers.allow[4] = 441632…01   {why}"),
        format!("line 9  numbers.allow[5] = \"+44163…x\"   {why}"),
    ];
    for n in 0..10 {
        let line = 2 * n + 1;
        expected.push(format!("line 10  numbers.block_file = +441632…{n}x   line {line} of block.txt: {why}"));
    }
    expected.push("line 10  numbers.block_file   4 more lines of block.txt are no numbers".to_owned());
    expected.push(format!("line 14  rule[0].when.number[0] = \"01632 …l\"   {why}"));
    expected.push(format!("line 14  rule[0].when.number[1] = \"abc…f\"   {why}"));
    assert_eq!(told, expected);
}

#[test]
fn codecs_are_known_by_any_spelling_and_all_pass_by_default() {
    assert!(load(LEAST).media.codecs.is_empty());
    assert_eq!(load(&format!("{LEAST}[media]\ncodecs = [\"pcma\", \"Opus\"]")).media.codecs, ["PCMA", "opus"]);
}

#[test]
fn a_reload_has_three_outcomes() {
    let current = load(LEAST);
    let reload = |more: &str| config::compare(&current, load(&format!("{LEAST}{more}")));

    assert!(matches!(reload("\n# a remark"), Reload::Unchanged));
    match reload("[detect]\ndivert_at = 0.8\n[log]\nlevel = \"debug\"\n") {
        Reload::Applied { settings, changed } => {
            assert_eq!(changed, ["detect.divert_at", "log.level"]);
            assert_eq!(settings.generation, 2);
        }
        other => panic!("{other:?}"),
    }
    match reload("[media]\nports = \"30000-30999\"\n[log]\nlevel = \"debug\"\n") {
        Reload::NeedsRestart { changed, waiting } => {
            assert_eq!((&*changed, &*waiting), (&["media.ports".to_owned()][..], &["log.level".to_owned()][..]));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_written_alike_and_means_something_else_is_a_change() {
    let called =
        |list: &str| format!("{LEAST}[[rule]]\nname = \"x\"\naction = \"watch\"\nwhen = {{ called = [{list}] }}\n");
    let address = |address: &str| LEAST.replace("192.0.2.10", address);
    for (one, other, path) in [
        // By its SRV records, and by its address.
        (address("sip.provider.example:5060"), address("sip.provider.example"), "trunk[0].address"),
        (called("\"201, 202\""), called("\"201\", \"202\""), "rule[0].when.called"),
        (called("\"\""), called(""), "rule[0].when.called"),
    ] {
        for (before, now) in [(&one, &other), (&other, &one)] {
            match config::compare(&load(before), load(now)) {
                Reload::Applied { changed, .. } => assert_eq!(changed, [path]),
                outcome => panic!("{before}{now}{outcome:?}"),
            }
        }
    }
}

/// Whoever takes the last entry out of a list means nobody, not everybody.
#[test]
fn a_condition_whose_list_is_emptied_holds_for_no_call() {
    let rule = |when: &str| {
        format!("{LEAST}[[rule]]\nname = \"x\"\naction = \"reject\"\nwhen = {{ {when}hours = \"0-24\" }}\n")
    };
    let facts = Facts {
        direction: CallDirection::Inbound,
        source: "192.0.2.10".parse().unwrap(),
        trunk: Some("provider".into()),
        caller: CallerNumber::Withheld,
        called: Redacted("201".into()),
        understands_608: false,
        over_limit: None,
        hour: 12,
        weekday: 2,
        dialled_before: false,
    };
    let route = |settings: &Settings| settings.policy.route(&facts).route;

    let absent = load(&rule(""));
    assert_eq!(route(&absent), Route::Reject(Rejection::Rejected));
    for key in ["number", "called", "networks", "weekdays"] {
        let emptied = rule(&format!("{key} = [], "));
        assert_eq!(route(&load(&emptied)), Route::Watch, "{key}");
        assert!(matches!(config::compare(&absent, load(&emptied)), Reload::Applied { .. }), "{key}");
    }
}

#[test]
fn a_changed_list_file_is_a_change() {
    let text = format!("{LEAST}[numbers]\nblock_file = \"block.txt\"\n");
    let with = |list: &str| config::load(&text, &|_: &str| Ok(list.to_owned())).unwrap();
    let first = with("+447700900001\n");

    let same = config::compare(&first, with("+447700900001\n"));
    let other = config::compare(&first, with("# scammers\n+447700900002\n"));

    assert!(matches!(same, Reload::Unchanged));
    match other {
        Reload::Applied { settings, changed } => {
            assert_eq!(changed, ["numbers.block_file (content)"]);
            assert!(settings.policy.block.contains("+447700900002"));
        }
        other => panic!("{other:?}"),
    }
}
