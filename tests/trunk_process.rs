//! Trunks of the real binary: a registrar, hosts that fail, and a name server, all on loopback.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    missing_docs,
    reason = "tests"
)]

mod firewall;
mod phones;
mod plain_sip;
mod provider;

use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use firewall::{Firewall, now, ringfence};
use phones::streams::FarTrunk;
use phones::{Caller, Pbx};
use provider::{Host, NameServer, a, aaaa, naptr, srv};

/// A folder with a password that nobody else may read.
fn with_password() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("provider.password");
    std::fs::write(&file, "open sesame\n").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    folder
}

const QUIET: &str = "[detect.words]\nenabled = false\n[sip]\ndrain_for = \"1s\"\n";

/// Empty before the first report of the trunks.
fn state(firewall: &Firewall, trunk: &str) -> String {
    let all = firewall.get("/api/trunks");
    let one = all["trunks"].as_array().unwrap().iter().find(|one| one["name"] == trunk);
    one.map_or_else(String::new, |one| one["state"].as_str().unwrap().to_owned())
}

#[test]
fn a_trunk_is_registered_with_carries_calls_both_ways_and_is_left_in_order() {
    let registrar = Host::start("127.0.3.1").demanding("441632960001", "open sesame");
    let pbx = Pbx::start("127.0.0.3");
    let trunk = format!(
        "{QUIET}[[trunk]]\nname = \"registered\"\naddress = \"{}\"\n\
         register = {{ user = \"441632960001\", password_file = \"provider.password\", expires = \"1m\" }}\n",
        registrar.address
    );
    let mut firewall = Firewall::start_in(with_password(), pbx.address, &trunk);
    firewall.until("the registration", |firewall| state(firewall, "registered") == "up");
    firewall.until("its metric", |firewall| firewall.metric("trunk_up{trunk=\"registered\"}") == 1);

    // In: from a host of the provider that no setting names, at the contact that was registered.
    let contact = registrar.contact();
    let mut caller = Caller::new("127.0.9.9", firewall.sip);
    assert_eq!(caller.invite_uri(&contact), 200);
    caller.bye();
    let mut stranger = Caller::new("127.0.9.8", firewall.sip);
    assert_eq!(stranger.invite_for("441632960001", Duration::from_millis(600)), 0, "a stranger gets silence");

    // Out: the PBX knows no password.
    let mut phone = Caller::on(pbx.phone(), firewall.sip);
    assert_eq!(phone.invite_at("01632960002", "127.0.3.1"), 200);
    phone.bye();
    let invites = registrar.requests("INVITE");
    assert!(invites.last().unwrap().contains("Proxy-Authorization: Digest "), "{invites:?}");
    let settings = firewall.get("/api/settings").to_string();
    assert!(settings.contains("provider.password") && !settings.contains("sesame"), "{settings}");

    firewall.signal("TERM");
    assert_eq!(firewall.ended(), Some(0));
    assert!(registrar.requests("REGISTER").last().unwrap().contains("Expires: 0\r\n"));
}

#[test]
fn a_wrong_password_is_seen_and_not_tried_again_at_once() {
    let registrar = Host::start("127.0.3.2").demanding("441632960001", "another one");
    let trunk = format!(
        "{QUIET}[[trunk]]\nname = \"registered\"\naddress = \"{}\"\n\
         register = {{ user = \"441632960001\", password_file = \"provider.password\" }}\n",
        registrar.address
    );
    let firewall = Firewall::start_in(with_password(), "127.0.0.3:5999".parse().unwrap(), &trunk);
    firewall.until("the refusal", |firewall| state(firewall, "registered") == "not_registered");

    let trunks = firewall.get("/api/trunks");
    let registration = &trunks["trunks"][1]["registration"];
    assert_eq!((&registration["status"], &registration["failures"]), (&401.into(), &1.into()), "{trunks}");
    assert!(registration["next_in_s"].as_u64().unwrap() >= 25, "{trunks}");
    assert_eq!(registrar.requests("REGISTER").len(), 2);
    let health = firewall.get("/health");
    let part = health["parts"].as_array().unwrap().iter().find(|part| part["part"] == "trunks").cloned().unwrap();
    assert_eq!((&part["up"], &part["note"]), (&false.into(), &"registered: not registered".into()));
    assert_eq!(health["ok"], true, "calls are carried all the same");
    let told = ringfence(&["trunks", "--admin", &firewall.admin.to_string()]);
    let told = String::from_utf8(told.stdout).unwrap();
    assert!(told.contains("registered       not registered") && told.contains("failed 1 times (401)"), "{told}");
}

#[test]
fn a_password_file_must_be_there_and_private() {
    let folder = with_password();
    let config = folder.path().join("ringfence.toml");
    let with = |file: &str| {
        let text = format!(
            "[pbx]\naddress = \"127.0.0.1:5070\"\n[[trunk]]\nname = \"a\"\naddress = \"192.0.2.1\"\n\
             register = {{ user = \"u\", password_file = \"{file}\" }}\n"
        );
        std::fs::write(&config, text).unwrap();
        let output = ringfence(&["check", config.to_str().unwrap()]);
        String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap()
    };

    assert!(with("provider.password").contains("good."));
    assert!(with("gone").contains("line 6  trunk[0].register.password_file   cannot be read"));
    let open = folder.path().join("open");
    std::fs::write(&open, "x\n").unwrap();
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(with("open").contains("is open to everybody on this machine: `chmod o=` it"));
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(&open, "one\ntwo\n").unwrap();
    assert!(with("open").contains("must hold the password in one line"));
}

#[test]
fn a_call_goes_to_the_next_trunk_where_the_first_does_not_answer() {
    let second = Host::start("127.0.3.3");
    let pbx = Pbx::start("127.0.0.3");
    // The trunk of every test has nobody behind it.
    let trunk = format!("{QUIET}[[trunk]]\nname = \"second\"\npriority = 2\naddress = \"{}\"\n", second.address);
    let firewall = Firewall::start(pbx.address, &trunk);

    let mut phone = Caller::on(pbx.phone(), firewall.sip);
    assert_eq!(phone.invite("01632960002"), 200);
    phone.bye();

    assert_eq!(second.requests("INVITE").len(), 1);
    firewall.until("the first is seen as down", |firewall| state(firewall, "trunk") == "down");
    assert_eq!(state(&firewall, "second"), "up");
}

#[test]
fn a_trunks_name_is_followed_and_the_last_answer_stays() {
    let dns = NameServer::start("127.0.4.1");
    let (first, second) = (Host::start("127.0.3.4"), Host::start("127.0.3.5"));
    // A day is too long, and nothing too short.
    dns.set("_sip._udp.provider.test", 33, 86_400, vec![srv(10, first.address.port(), "one.provider.test")]);
    dns.set("one.provider.test", 1, 86_400, vec![a("127.0.3.4")]);
    dns.set("two.provider.test", 1, 0, vec![a("127.0.3.5")]);
    let pbx = Pbx::start("127.0.0.3");
    let more = format!(
        "{QUIET}[dns]\nservers = [\"{}\"]\nkeep_at_least = \"500ms\"\nkeep_at_most = \"1s\"\n\
         timeout = \"300ms\"\n\
         [[trunk]]\nname = \"named\"\naddress = \"provider.test\"\n",
        dns.address
    );
    let firewall = Firewall::start(pbx.address, &more);
    let mut calls = 0;
    let mut call = |firewall: &Firewall| {
        let mut phone = Caller::on(pbx.phone(), firewall.sip);
        calls += 1;
        let status = phone.invite_at(&format!("0163296000{calls}"), "provider.test");
        (status, phone)
    };
    let host = |firewall: &Firewall| {
        let hosts = firewall.get("/api/trunks")["trunks"][1]["hosts"].clone();
        hosts[0]["address"].as_str().unwrap_or_default().to_owned()
    };
    let (status, running) = call(&firewall);
    assert_eq!((status, first.requests("INVITE").len()), (200, 1));

    // It moves; the running call stays where it is and ends there.
    dns.set("_sip._udp.provider.test", 33, 1, vec![srv(10, second.address.port(), "two.provider.test")]);
    firewall.until("the new address", |firewall| host(firewall) == second.address.to_string());
    let (status, phone) = call(&firewall);
    assert_eq!((status, second.requests("INVITE").len()), (200, 1));
    phone.bye();
    running.bye();
    assert_eq!(first.requests("BYE").len(), 1);
    // What resolves may call, and only that.
    let mut caller = Caller::new("127.0.3.5", firewall.sip);
    assert_eq!(caller.invite("201"), 200);
    caller.bye();

    let more = |count: u32| {
        let asked = dns.questions();
        firewall.until("more questions", |_| dns.questions() >= asked + count);
    };
    let begun = now();
    more(12);
    assert!(now() - begun > Duration::from_secs(1), "an answer is kept for half a second at least");

    // Silence, then a denial, then a lie: the last good answer stays.
    dns.be_silent(true);
    more(5);
    let (status, phone) = call(&firewall);
    assert_eq!(status, 200);
    phone.bye();
    dns.clear();
    dns.be_silent(false);
    more(5);
    dns.set("provider.test", 1, 1, vec![a("0.0.0.0"), a("255.255.255.255")]);
    more(5);
    let (status, phone) = call(&firewall);
    assert_eq!((status, host(&firewall)), (200, second.address.to_string()));
    phone.bye();
}

#[test]
fn naptr_says_the_transport_and_a_registration_shares_its_connection() {
    let far = FarTrunk::tcp("127.0.3.7");
    let dns = NameServer::start("127.0.4.3");
    dns.set(
        "far.test",
        35,
        60,
        vec![naptr(20, "SIPS+D2T", "_sips._tcp.far.test"), naptr(30, "SIP+D2T", "_x._tcp.far.test")],
    );
    dns.set("_x._tcp.far.test", 33, 60, vec![srv(10, far.address.port(), "host.far.test")]);
    dns.set("host.far.test", 1, 60, vec![a("127.0.3.7")]);
    let pbx = Pbx::start("127.0.0.3");
    let more = format!(
        "{QUIET}[[listen]]\ntransport = \"tcp\"\naddress = \"127.0.0.1:0\"\n[dns]\nservers = [\"{}\"]\n\
         [[trunk]]\nname = \"far\"\naddress = \"far.test\"\ntransport = \"auto\"\n\
         register = {{ user = \"u\", password_file = \"provider.password\" }}\n",
        dns.address
    );
    let mut firewall = Firewall::start_in(with_password(), pbx.address, &more);
    firewall.until("the registration", |firewall| state(firewall, "far") == "up");
    let mut phone = Caller::on(pbx.phone(), firewall.sip);
    assert_eq!(phone.invite_at("01632960001", "far.test"), 200);
    phone.bye();
    firewall.signal("TERM");
    assert_eq!(firewall.ended(), Some(0));

    let requests = far.requests();
    let methods: Vec<&str> = requests.iter().map(|text| text.split(' ').next().unwrap()).collect();
    assert_eq!(methods, ["REGISTER", "INVITE", "ACK", "BYE", "REGISTER"]);
    assert!(requests[0].contains(";transport=tcp;line="), "{}", requests[0]);
    assert_eq!(far.connections(), 1);
}

#[test]
fn a_registration_is_made_anew_where_its_connection_ends() {
    let far = FarTrunk::tcp("127.0.3.20");
    let more = format!(
        "{QUIET}[[listen]]\ntransport = \"tcp\"\naddress = \"127.0.0.1:0\"\n\
         [[trunk]]\nname = \"far\"\naddress = \"{}\"\ntransport = \"tcp\"\n\
         register = {{ user = \"u\", password_file = \"provider.password\" }}\n",
        far.address
    );
    let firewall = Firewall::start_in(with_password(), "127.0.0.3:5999".parse().unwrap(), &more);
    let next = |firewall: &Firewall| firewall.get("/api/trunks")["trunks"][1]["registration"]["next_in_s"].as_u64();
    firewall.until("the registration", |firewall| next(firewall).is_some_and(|next| next > 60));

    far.hang_up();

    firewall.until("the next one", |firewall| next(firewall).is_some_and(|next| next <= 30));
    assert_eq!(state(&firewall, "far"), "up", "the binding lives");
}

#[test]
fn without_any_dns_it_starts_and_calls_still_come_in() {
    let dns = NameServer::start("127.0.4.2");
    dns.be_silent(true);
    let host = Host::start("127.0.3.6");
    let pbx = Pbx::start("127.0.0.3");
    let more = format!(
        "{QUIET}[dns]\nservers = [\"{}\"]\nkeep_at_least = \"500ms\"\nkeep_at_most = \"1s\"\ntimeout = \"200ms\"\n\
         [[trunk]]\nname = \"named\"\naddress = \"provider.test:{}\"\n",
        dns.address,
        host.address.port()
    );
    let firewall = Firewall::start(pbx.address, &more);

    let mut caller = Caller::new("127.0.2.1", firewall.sip);
    assert_eq!(caller.invite("201"), 200);
    caller.bye();
    assert_eq!(state(&firewall, "named"), "unresolved");
    let mut phone = Caller::on(pbx.phone(), firewall.sip);
    assert_eq!(phone.invite_at("01632960001", "provider.test"), 503);

    dns.set("provider.test", 1, 60, vec![a("127.0.3.6")]);
    dns.be_silent(false);
    firewall.until("the address", |firewall| state(firewall, "named") == "up");
    let mut phone = Caller::on(pbx.phone(), firewall.sip);
    assert_eq!(phone.invite_at("01632960001", "provider.test"), 200);
    phone.bye();
}

/// A process that starts waits for the one before it to give up its files.
#[test]
fn a_name_that_is_answered_while_the_process_starts_is_used() {
    let dns = NameServer::start("127.0.4.6");
    dns.be_silent(true);
    dns.set("provider.test", 1, 60, vec![a("127.0.3.16")]);
    let folder = tempfile::tempdir().unwrap();
    let lock = std::fs::File::create(folder.path().join("calls.journal.lock")).unwrap();
    lock.lock().unwrap();
    let more = format!(
        "{QUIET}[dns]\nservers = [\"{}\"]\nkeep_at_least = \"500ms\"\nkeep_at_most = \"1s\"\ntimeout = \"200ms\"\n\
         [[trunk]]\nname = \"named\"\naddress = \"provider.test\"\n",
        dns.address
    );

    let firewall = std::thread::scope(|scope| {
        scope.spawn(|| {
            let more = |count: u32| {
                let (begun, asked) = (now(), dns.questions());
                // The start waits no longer than 5 s.
                while dns.questions() < asked + count && now() - begun < Duration::from_secs(2) {
                    std::thread::sleep(Duration::from_millis(10));
                }
            };
            more(1);
            dns.be_silent(false);
            // SRV and A, and both again: the answers of the first have come.
            more(4);
            drop(lock);
        });
        Firewall::start_in(folder, "127.0.0.3:5999".parse().unwrap(), &more)
    });

    firewall.until("the address", |firewall| state(firewall, "named") == "up");
}

/// Hosts of the trunk behind that of every test.
fn known(firewall: &Firewall) -> Vec<String> {
    let trunk = firewall.get("/api/trunks")["trunks"][1]["hosts"].clone();
    let hosts = trunk.as_array().into_iter().flatten().map(|host| host["address"].as_str().unwrap().to_owned());
    let mut hosts: Vec<String> = hosts.collect();
    hosts.sort();
    hosts
}

#[test]
fn an_address_of_one_family_stays_known_where_the_dns_answers_for_the_other_alone() {
    if UdpSocket::bind("[::1]:0").is_err() {
        return println!("skipped: this machine has no ::1");
    }
    let dns = NameServer::start("127.0.4.8");
    dns.set("provider.test", 1, 60, vec![a("127.0.3.21")]);
    dns.set("provider.test", 28, 60, vec![aaaa("::1")]);
    let more = format!(
        "{QUIET}[[listen]]\naddress = \"[::1]:0\"\n[dns]\nservers = [\"{}\"]\nkeep_at_least = \"500ms\"\n\
         keep_at_most = \"1s\"\ntimeout = \"300ms\"\n[[trunk]]\nname = \"named\"\n\
         address = \"provider.test:5062\"\n",
        dns.address
    );
    let firewall = Firewall::start("127.0.0.3:5999".parse().unwrap(), &more);
    let both = ["127.0.3.21:5062", "[::1]:5062"];
    firewall.until("both", |firewall| known(firewall) == both);

    dns.fail_for("provider.test", 1);
    let asked = dns.questions();
    // A and AAAA, several times: the answers of the first have been used.
    firewall.until("more questions", |_| dns.questions() >= asked + 8);
    assert_eq!(known(&firewall), both);

    // The other family is followed as it moves.
    dns.set("provider.test", 28, 60, vec![aaaa("fd00::1")]);
    firewall.until("the other address", |firewall| known(firewall) == ["127.0.3.21:5062", "[fd00::1]:5062"]);
}

#[test]
fn hosts_whose_name_servers_are_silent_take_no_time_from_the_others() {
    let dns = NameServer::start("127.0.4.9");
    let names = ["a.test", "b.test", "c.test", "d.test", "e.test", "good.test"];
    dns.set("_sip._udp.provider.test", 33, 60, names.map(|name| srv(10, 5_060, name)).to_vec());
    dns.set("good.test", 1, 60, vec![a("127.0.3.22")]);
    dns.ignore(&names[..5]);
    let more = format!(
        "{QUIET}[dns]\nservers = [\"{}\"]\nkeep_at_least = \"500ms\"\nkeep_at_most = \"1s\"\ntimeout = \"300ms\"\n\
         [[trunk]]\nname = \"named\"\naddress = \"provider.test\"\n",
        dns.address
    );
    let firewall = Firewall::start("127.0.0.3:5999".parse().unwrap(), &more);

    firewall.until("the one that is answered", |firewall| known(firewall) == ["127.0.3.22:5060"]);
}

#[test]
fn a_name_server_that_fails_does_not_silence_another() {
    let bad = NameServer::start("127.0.4.10");
    let good = NameServer::start_slow("127.0.4.11", Duration::from_millis(60));
    bad.fail(&["provider.test"]);
    good.set("provider.test", 1, 60, vec![a("127.0.3.23")]);
    let more = format!(
        "{QUIET}[dns]\nservers = [\"{}\", \"{}\"]\nkeep_at_least = \"500ms\"\nkeep_at_most = \"1s\"\n\
         timeout = \"500ms\"\n[[trunk]]\nname = \"named\"\naddress = \"provider.test:5060\"\n",
        bad.address, good.address
    );
    let firewall = Firewall::start("127.0.0.3:5999".parse().unwrap(), &more);

    firewall.until("the answer", |firewall| known(firewall) == ["127.0.3.23:5060"]);
}

#[test]
fn a_host_that_the_dns_says_nothing_of_stays_known() {
    let dns = NameServer::start("127.0.4.7");
    let hosts = ["127.0.3.17", "127.0.3.18"];
    let names = ["one.provider.test", "two.provider.test"];
    dns.set("_sip._udp.provider.test", 33, 60, names.map(|name| srv(10, 5_060, name)).to_vec());
    for (name, host) in names.iter().zip(hosts) {
        dns.set(name, 1, 60, vec![a(host)]);
    }
    // A web server.
    dns.set("provider.test", 1, 60, vec![a("127.0.3.19")]);
    let more = format!(
        "{QUIET}[dns]\nservers = [\"{}\"]\nkeep_at_least = \"500ms\"\nkeep_at_most = \"1s\"\ntimeout = \"300ms\"\n\
         [[trunk]]\nname = \"named\"\naddress = \"provider.test\"\n",
        dns.address
    );
    let firewall = Firewall::start("127.0.0.3:5999".parse().unwrap(), &more);
    let both = hosts.map(|host| format!("{host}:5060"));
    firewall.until("both hosts", |firewall| known(firewall) == both);

    for broken in [&names[1..], &names[..]] {
        dns.fail(broken);
        let asked = dns.questions();
        firewall.until("two rounds of questions", |_| dns.questions() >= asked + 10);
        assert_eq!(known(&firewall), both, "{broken:?}");
    }
    dns.fail(&[]);
    dns.set("_sip._udp.provider.test", 33, 60, vec![srv(10, 5_060, names[0])]);
    firewall.until("the host that has gone", |firewall| known(firewall) == both[..1]);
}

#[test]
fn a_public_address_that_is_a_name_is_registered_and_a_new_one_at_once() {
    let registrar = Host::start("127.0.3.9").demanding("441632960001", "open sesame");
    let folder = with_password();
    let settings = |public: &str| {
        let more = format!(
            "[[trunk]]\nname = \"registered\"\naddress = \"{}\"\n\
             register = {{ user = \"441632960001\", password_file = {:?}, expires = \"10m\" }}\n\
             [detect.words]\nenabled = false\n[sip]\npublic_address = \"{public}\"\n",
            registrar.address,
            folder.path().join("provider.password").display().to_string()
        );
        let settings = Firewall::settings("127.0.0.3:5999".parse().unwrap(), &more);
        settings.replacen("127.0.0.1:0", "127.0.0.29:0", 1)
    };
    let firewall = Firewall::start_as(&settings("localhost"));
    firewall.until("the registration", |firewall| state(firewall, "registered") == "up");
    assert!(registrar.contact().contains("@127.0.0.1:"), "{}", registrar.contact());
    let named = |firewall: &Firewall| {
        let health = firewall.get("/health");
        health["parts"].as_array().unwrap().iter().find(|part| part["part"] == "public_address").unwrap()["up"] == true
    };
    assert!(named(&firewall));

    std::fs::write(&firewall.config, settings("127.0.0.77")).unwrap();

    firewall.until("the other address", |_| registrar.contact().contains("@127.0.0.77:"));
}

#[test]
fn health_is_answered_while_a_reload_waits_for_the_dns() {
    let dns = NameServer::start("127.0.4.5");
    dns.be_silent(true);
    let pbx = "127.0.0.3:5999".parse().unwrap();
    let firewall = Firewall::start(pbx, QUIET);
    let named = format!(
        "{QUIET}[dns]\nservers = [\"{}\"]\n[[trunk]]\nname = \"named\"\naddress = \"provider.test\"\n",
        dns.address
    );

    firewall.edit(pbx, &named);
    firewall.until("the question", |_| dns.questions() > 0);

    assert_eq!(firewall.generation(), 1, "the new settings wait for an answer, and nobody else does");
    firewall.until("the reload", |firewall| firewall.generation() == 2);
}
