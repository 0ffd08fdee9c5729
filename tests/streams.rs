//! The real binary over TCP and TLS.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::expect_used,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]

mod firewall;
mod phones;
mod plain_sip;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use firewall::{Firewall, now, ringfence};
use phones::streams::{FarTrunk, Line, Phone};
use phones::{Caller, Pbx};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

const TCP: &str = "[[listen]]\ntransport = \"tcp\"\naddress = \"127.0.0.1:0\"\n";

fn tcp(pbx: SocketAddr, more: &str) -> Firewall {
    Firewall::start(pbx, &format!("{TCP}{more}"))
}

#[test]
fn a_call_over_tcp_reaches_a_pbx_over_udp() {
    let pbx = Pbx::start("127.0.0.3");
    let firewall = tcp(pbx.address, "");
    let mut phone = Phone::tcp("127.0.2.1", firewall.address("tcp"));

    let answer = phone.invite("201");
    let bye = phone.request_and_answer("BYE", 2);

    assert!(answer.starts_with("SIP/2.0 200"), "{answer}");
    assert!(answer.contains(&format!("{};transport=tcp>", firewall.address("tcp"))), "{answer}");
    assert!(answer.contains("Via: SIP/2.0/TCP 127.0.2.1"), "{answer}");
    assert!(bye.starts_with("SIP/2.0 200"), "{bye}");
    let seen = pbx.requests();
    assert!(seen[0].starts_with("INVITE ") && seen[0].contains("Via: SIP/2.0/UDP 127.0.0.1"), "{}", seen[0]);
    assert!(!seen[0].contains("transport="), "a leg over UDP says nothing of TCP: {}", seen[0]);
    assert!(seen.iter().any(|request| request.starts_with("ACK ")) && seen.iter().any(|r| r.starts_with("BYE ")));
}

#[test]
fn a_message_may_come_one_byte_at_a_time_and_two_in_one_piece() {
    let pbx = Pbx::start("127.0.0.3");
    let firewall = tcp(pbx.address, "");
    let mut phone = Phone::tcp("127.0.2.1", firewall.address("tcp"));
    let (first, second) = (phone.request("OPTIONS", 1, ""), phone.request("OPTIONS", 2, ""));

    for byte in first.as_bytes() {
        phone.line.write_all(std::slice::from_ref(byte)).unwrap();
    }
    let answer = phone.receive();
    assert!(answer.contains("CSeq: 1 OPTIONS"), "{answer}");
    let third = phone.request("OPTIONS", 3, "");
    phone.send(&format!("{second}{third}"));

    let mut answers = [phone.receive(), phone.receive()];
    answers.sort_by_key(|answer| answer.contains("CSeq: 3"));
    assert!(answers[0].contains("CSeq: 2 OPTIONS") && answers[1].contains("CSeq: 3 OPTIONS"), "{answers:?}");
}

#[test]
fn a_keep_alive_is_answered() {
    let firewall = tcp("127.0.0.3:5999".parse().unwrap(), "");
    let mut phone = Phone::tcp("127.0.2.1", firewall.address("tcp"));

    phone.send("\r\n");
    phone.send("\r\n");

    let mut pong = [0; 2];
    phone.line.read_exact(&mut pong).unwrap();
    assert_eq!(&pong, b"\r\n");
}

#[test]
fn a_stream_that_cannot_be_cut_is_told_and_closed() {
    let firewall = tcp("127.0.0.3:5999".parse().unwrap(), "");
    let mut phone = Phone::tcp("127.0.2.1", firewall.address("tcp"));

    phone.send(&phone.request("OPTIONS", 1, "").replace("Content-Length: 0\r\n", ""));

    let answer = phone.receive();
    assert!(answer.starts_with("SIP/2.0 400"), "{answer}");
    assert!(phone.is_closed());
}

#[test]
fn a_message_that_is_too_much_to_read_leaves_its_connection_to_others() {
    let pbx = Pbx::start("127.0.0.3");
    let firewall = tcp(pbx.address, "");
    let mut phone = Phone::tcp("127.0.2.1", firewall.address("tcp"));
    let many = phone.request("OPTIONS", 1, "").replace("Content-Length", &("X: y\r\n".repeat(200) + "Content-Length"));
    let wrong = phone.request("OPTIONS", 2, "").replace("Content-Length", "no header\r\nContent-Length");
    let good = phone.request("OPTIONS", 3, "");

    phone.send(&format!("{many}{wrong}{good}"));

    let mut answers = [phone.receive(), phone.receive(), phone.receive()];
    answers.sort_by_key(|answer| answer.split("CSeq: ").nth(1).map(str::to_owned));
    assert!(answers[0].starts_with("SIP/2.0 513") && answers[0].contains("CSeq: 1 OPTIONS"), "{answers:?}");
    assert!(answers[1].starts_with("SIP/2.0 400") && answers[1].contains("CSeq: 2 OPTIONS"), "{answers:?}");
    assert!(answers[2].starts_with("SIP/2.0 200") && answers[2].contains("CSeq: 3 OPTIONS"), "{answers:?}");
}

#[test]
fn a_stranger_is_closed_without_a_word() {
    let firewall = tcp("127.0.0.3:5999".parse().unwrap(), "");
    let mut stranger = Phone::tcp("127.0.7.7", firewall.address("tcp"));

    // It may be gone before it has said anything.
    let _ = stranger.line.write_all(stranger.request("OPTIONS", 1, "").as_bytes());

    assert!(stranger.is_closed());
}

/// Sends datagrams in the name of `ip`, a thousand a second, until it is dropped, or for ten seconds.
struct Forger {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Forger {
    fn start(ip: &str, to: SocketAddr) -> Self {
        let (socket, stop) = (Caller::socket(ip), Arc::new(AtomicBool::new(false)));
        let told = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            for _ in 0..1_000 {
                if told.load(Ordering::Relaxed) {
                    return;
                }
                (0..10).for_each(|_| drop(socket.send_to(b"x", to)));
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Forger {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

#[test]
fn datagrams_in_a_trunks_name_take_nothing_of_its_connections() {
    let firewall = tcp("127.0.0.3:5999".parse().unwrap(), "[limits]\nmessages_per_trunk = \"20/1s\"\n");
    let mut phone = Phone::tcp("127.0.2.1", firewall.address("tcp"));
    let forger = Forger::start("127.0.2.1", firewall.sip);
    let dropped = "gate_drops_total{reason=\"over_message_limit\"}";
    firewall.until("the flood", |firewall| firewall.metric(dropped) > 100);

    for number in 1..=5 {
        let answer = phone.request_and_answer("OPTIONS", number);
        assert!(answer.starts_with("SIP/2.0 200"), "{answer}");
    }
    let mut another = Phone::tcp("127.0.2.1", firewall.address("tcp"));
    assert!(another.request_and_answer("OPTIONS", 1).starts_with("SIP/2.0 200"), "a new connection");

    assert!(!forger.thread.as_ref().unwrap().is_finished());
}

#[test]
fn calls_in_a_trunks_name_take_nothing_of_those_on_its_connections() {
    let pbx = Pbx::start("127.0.0.3");
    let firewall =
        tcp(pbx.address, "[limits.per_source]\ncalls = \"2/1m\"\nburst = 2\n[limits.per_number]\ncalls = \"2/1m\"\n");
    let datagram = || Caller::new("127.0.2.1", firewall.sip).invite("201");
    let stream = || Phone::tcp("127.0.2.1", firewall.address("tcp")).invite("201")[8..11].to_owned();

    assert_eq!([datagram(), datagram(), datagram()], [200, 200, 486]);
    assert_eq!([stream(), stream(), stream()], ["200", "200", "486"]);
}

#[test]
fn a_call_out_goes_over_a_connection_to_the_trunk_that_is_used_again() {
    let trunk = FarTrunk::tcp("127.0.4.1");
    let pbx = Caller::socket("127.0.0.3");
    let more = format!("{TCP}[[trunk]]\nname = \"far\"\naddress = \"{}\"\ntransport = \"tcp\"\n", trunk.address);
    let firewall = Firewall::start(pbx.local_addr().unwrap(), &more);

    for _ in 0..2 {
        let mut caller = Caller::on(pbx.try_clone().unwrap(), firewall.sip);
        assert_eq!(caller.invite_at("0201", "127.0.4.1"), 200);
        caller.bye();
    }

    assert_eq!(trunk.connections(), 1);
    let requests = trunk.requests();
    assert!(requests[0].starts_with("INVITE ") && requests[0].contains("Via: SIP/2.0/TCP 127.0.0.1:"), "{requests:?}");
    assert!(requests[0].contains(&format!("{};transport=tcp>", firewall.address("tcp"))), "{}", requests[0]);
    assert_eq!(requests.iter().filter(|request| request.starts_with("INVITE ")).count(), 2, "nothing is repeated");
}

#[test]
fn a_trunk_that_takes_no_connection_is_503() {
    let closed = TcpListener::bind("127.0.4.2:0").unwrap().local_addr().unwrap();
    let pbx = Caller::socket("127.0.0.3");
    let more = format!("{TCP}[[trunk]]\nname = \"far\"\naddress = \"{closed}\"\ntransport = \"tcp\"\n");
    let firewall = Firewall::start(pbx.local_addr().unwrap(), &more);
    let mut caller = Caller::on(pbx, firewall.sip);

    let begun = now();
    assert_eq!(caller.invite_at("0201", "127.0.4.2"), 503);
    assert!(now() - begun < Duration::from_secs(4), "nobody waits for a refused connection");
}

#[test]
fn a_request_that_had_left_goes_again_where_its_connection_ends() {
    let pbx = FarTrunk::started_again("127.0.0.8");
    let settings = Firewall::settings(pbx.address, TCP).replacen("[[trunk]]", "transport = \"tcp\"\n[[trunk]]", 1);
    let firewall = Firewall::start_as(&settings);
    let mut caller = Caller::new("127.0.2.63", firewall.sip);

    let begun = now();
    assert_eq!(caller.invite("201"), 200);

    assert!(now() - begun < Duration::from_secs(6), "nobody waits for what will not come");
    assert_eq!(pbx.connections(), 2);
    let requests = pbx.requests();
    assert!(requests[0].starts_with("INVITE ") && requests[0] == requests[1], "{requests:?}");
    let parts = firewall.get("/health")["parts"].clone();
    assert!(parts.as_array().unwrap().iter().all(|part| part["part"] != "pbx" || part["up"] == true), "{parts}");
}

#[test]
fn a_call_outlives_its_connection() {
    let pbx = Pbx::start("127.0.0.3");
    let firewall = tcp(pbx.address, "");
    let mut phone = Phone::tcp("127.0.2.1", firewall.address("tcp"));
    assert!(phone.invite("201").starts_with("SIP/2.0 200"));

    // Its own listener is where it can be reached; the connection goes.
    let listener = phone.loses_its_line();
    firewall.until("the connection is gone", |firewall| firewall.live() == 0);
    firewall.hang_up_all();

    let bye = listener.next_request();
    assert!(bye.starts_with("BYE ") && bye.contains("Via: SIP/2.0/TCP"), "{bye}");
    firewall.until("the call is over", |firewall| firewall.get("/health")["calls"] == 0);
}

#[test]
fn a_call_may_be_ended_from_a_new_connection() {
    let pbx = Pbx::start("127.0.0.3");
    let firewall = tcp(pbx.address, "");
    let mut phone = Phone::tcp("127.0.2.1", firewall.address("tcp"));
    assert!(phone.invite("201").starts_with("SIP/2.0 200"));

    phone.line = Line::tcp("127.0.2.1", firewall.address("tcp"));
    let bye = phone.request_and_answer("BYE", 2);

    assert!(bye.starts_with("SIP/2.0 200"), "{bye}");
    assert!(pbx.requests().iter().any(|request| request.starts_with("BYE ")));
}

#[test]
fn two_thousand_connections_of_one_source_stay_bounded() {
    let pbx = Pbx::start("127.0.0.3");
    let more = "[connections]\nmax = 300\nmax_per_source = 100\n";
    let firewall = tcp(pbx.address, more);

    let mut crowd = Vec::new();
    for _ in 0..2_000 {
        crowd.push(Line::tcp("127.0.2.1", firewall.address("tcp")));
        crowd.truncate(400);
    }

    let mut most = 0;
    firewall.until("the last ones are refused", |firewall| {
        most = most.max(firewall.live());
        firewall.metric("connections_closed_total{reason=\"full_source\"}") >= 1_000
    });
    assert!(most <= 100, "{most}");
    let mut other = Phone::tcp("127.0.2.2", firewall.address("tcp"));
    assert!(other.invite("201").starts_with("SIP/2.0 200"), "another source finds room");
}

#[test]
fn a_peer_that_does_not_read_is_closed_and_calls_go_on() {
    let pbx = Pbx::start("127.0.0.3");
    let firewall = tcp(pbx.address, "[limits]\nmessages_per_trunk = \"1000000/1s\"\n");
    let mut deaf = Phone::tcp("127.0.2.1", firewall.address("tcp"));

    for number in 1..200_000 {
        let request =
            deaf.request("OPTIONS", number, "").replace("From: ", &format!("X-Pad: {}\r\nFrom: ", "x".repeat(3_000)));
        if deaf.line.write_all(request.as_bytes()).is_err() {
            break;
        }
    }

    firewall.until("the slow reader is counted", |firewall| {
        firewall.metric("connections_closed_total{reason=\"slow_reader\"}") == 1
    });
    let mut other = Phone::tcp("127.0.2.2", firewall.address("tcp"));
    assert!(other.invite("201").starts_with("SIP/2.0 200"));
}

/// A certificate for `name` and its key, in PEM.
fn certificate(name: &str) -> (String, String) {
    let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}

/// A client that believes one certificate only.
fn believes(certificate: &str) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    Arc::new(config.with_root_certificates(roots).with_no_client_auth())
}

fn shows((certificate, key): &(String, String)) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    Arc::new(config.with_no_client_auth().with_single_cert(chain, key).unwrap())
}

const TLS: &str =
    "[[listen]]\ntransport = \"tls\"\naddress = \"127.0.0.1:0\"\ncertificate = \"cert.pem\"\nkey = \"key.pem\"\n";

/// A firewall with a TLS listener, and a client's settings that believe it.
fn tls(pbx: SocketAddr, more: &str) -> (Firewall, Arc<ClientConfig>) {
    let folder = tempfile::tempdir().unwrap();
    let ours = certificate("ringfence.test");
    write_certificate(folder.path(), &ours);
    let firewall = Firewall::start_in(folder, pbx, &format!("{TLS}{more}"));
    (firewall, believes(&ours.0))
}

fn write_certificate(folder: &Path, (certificate, key): &(String, String)) {
    std::fs::write(folder.join("key.pem"), key).unwrap();
    open_to(&folder.join("key.pem"), 0o640);
    std::fs::write(folder.join("cert.pem"), certificate).unwrap();
}

fn open_to(file: &Path, mode: u32) {
    std::fs::set_permissions(file, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
}

#[test]
fn a_call_over_tls_reaches_a_pbx_over_udp() {
    let pbx = Pbx::start("127.0.0.3");
    let (firewall, client) = tls(pbx.address, "");
    let mut phone = Phone::tls("127.0.2.1", firewall.address("tls"), &client);

    let answer = phone.invite("201");
    let bye = phone.request_and_answer("BYE", 2);

    assert!(answer.starts_with("SIP/2.0 200"), "{answer}");
    assert!(answer.contains(&format!("{};transport=tls>", firewall.address("tls"))), "{answer}");
    assert!(answer.contains("Via: SIP/2.0/TLS 127.0.2.1"), "{answer}");
    assert!(bye.starts_with("SIP/2.0 200"), "{bye}");
    assert!(pbx.requests()[0].contains("Via: SIP/2.0/UDP 127.0.0.1"));
}

#[test]
fn a_tls_trunk_is_believed_by_its_own_authority_alone() {
    let (good, other) = (certificate("127.0.4.3"), certificate("127.0.4.3"));
    let trunk = FarTrunk::tls("127.0.4.3", shows(&good));
    let pbx = Caller::socket("127.0.0.3");
    let call = |authority: &str| {
        let folder = tempfile::tempdir().unwrap();
        write_certificate(folder.path(), &certificate("ringfence.test"));
        std::fs::write(folder.path().join("ca.pem"), authority).unwrap();
        let trunk = format!(
            "{TLS}[[trunk]]\nname = \"far\"\naddress = \"{}\"\ntransport = \"tls\"\nca = \"ca.pem\"\n",
            trunk.address
        );
        let firewall = Firewall::start_in(folder, pbx.local_addr().unwrap(), &trunk);
        Caller::on(pbx.try_clone().unwrap(), firewall.sip).invite_at("0201", "127.0.4.3")
    };

    assert_eq!(call(&other.0), 503);
    assert_eq!(trunk.requests(), [""; 0], "nothing is said to one that is not believed");
    assert_eq!(call(&good.0), 200);
    let requests = trunk.requests();
    assert!(
        requests[0].contains("Via: SIP/2.0/TLS 127.0.0.1:") && requests[0].contains(";transport=tls>"),
        "{requests:?}"
    );
}

#[test]
fn a_call_from_a_trunks_network_outlives_its_connection_over_tls() {
    let pbx = Pbx::start("127.0.0.3");
    let (ours, theirs) = (certificate("ringfence.test"), certificate("127.0.4.6"));
    let folder = tempfile::tempdir().unwrap();
    write_certificate(folder.path(), &ours);
    std::fs::write(folder.path().join("ca.pem"), &theirs.0).unwrap();
    let trunk = "[[trunk]]\nname = \"far\"\naddress = \"127.0.4.6\"\ntransport = \"tls\"\nca = \"ca.pem\"\n\
                 networks = [\"127.0.5.0/24\"]\n";
    let firewall = Firewall::start_in(folder, pbx.address, &format!("{TLS}{trunk}"));
    let mut phone = Phone::tls("127.0.5.1", firewall.address("tls"), &believes(&ours.0));
    assert!(phone.invite("201").starts_with("SIP/2.0 200"));

    let listener = phone.loses_its_line();
    firewall.until("the connection is gone", |firewall| firewall.live() == 0);
    firewall.hang_up_all();

    let bye = listener.next_request_over_tls(shows(&theirs));
    assert!(bye.starts_with("BYE ") && bye.contains("Via: SIP/2.0/TLS"), "{bye}");
    firewall.until("the call is over", |firewall| firewall.get("/health")["calls"] == 0);
}

#[test]
fn a_handshake_that_drips_is_closed_and_calls_go_on() {
    let pbx = Pbx::start("127.0.0.3");
    let (firewall, client) = tls(pbx.address, "[connections]\nhandshake_for = \"1s\"\n");
    let mut slow = Line::tcp("127.0.2.1", firewall.address("tls"));
    slow.socket().set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let mut phone = Phone::tls("127.0.2.2", firewall.address("tls"), &client);

    let begun = now();
    let closed = (0..200).any(|_| {
        let drip = slow.write_all(&[0x16]);
        let mut byte = [0];
        drip.is_err() || matches!(slow.read(&mut byte), Ok(0)) || now() - begun > Duration::from_secs(15)
    });

    assert!(closed && now() - begun < Duration::from_secs(10), "a byte now and then does not keep it open");
    assert!(phone.invite("201").starts_with("SIP/2.0 200"));
}

#[test]
fn a_renewed_certificate_is_shown_after_a_reload_and_old_connections_stay() {
    let pbx = Pbx::start("127.0.0.3");
    let (firewall, old) = tls(pbx.address, "");
    let mut phone = Phone::tls("127.0.2.1", firewall.address("tls"), &old);
    assert!(phone.invite("201").starts_with("SIP/2.0 200"));

    let renewed = certificate("ringfence.test");
    write_certificate(firewall.folder.path(), &renewed);
    let reloaded = ringfence(&["reload", "--admin", &firewall.admin.to_string()]);
    assert_eq!(reloaded.status.code(), Some(0), "{reloaded:?}");
    let said = String::from_utf8_lossy(&reloaded.stdout).into_owned();
    assert!(said.contains("listen[1].certificate (content)"), "{said}");

    let mut new = Phone::tls("127.0.2.2", firewall.address("tls"), &believes(&renewed.0));
    assert!(new.invite("202").starts_with("SIP/2.0 200"));
    let mut stale = Line::tls("127.0.2.3", firewall.address("tls"), &old);
    assert!(stale.write_all(b"\r\n\r\n").is_err(), "the old certificate is not shown any more");
    assert!(phone.request_and_answer("BYE", 2).starts_with("SIP/2.0 200"), "the old connection goes on");

    std::fs::write(firewall.folder.path().join("key.pem"), certificate("ringfence.test").1).unwrap();
    let refused = ringfence(&["reload", "--admin", &firewall.admin.to_string()]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(78));
    assert!(said.contains("listen[1].key   cannot be used with its certificate"), "{said}");
}

#[test]
fn wrong_certificate_files_are_told_with_their_line() {
    let pbx: SocketAddr = "127.0.0.3:5999".parse().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("ringfence.toml");
    std::fs::write(&config, Firewall::settings(pbx, TLS)).unwrap();
    let check = || {
        let output = ringfence(&["check", config.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(78), "{output:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };

    let missing = check();
    assert!(missing.contains("line 16  listen[1].certificate = \"cert.pem\"   cannot be read"), "{missing}");
    assert!(missing.contains("line 17  listen[1].key   cannot be read"), "{missing}");
    write_certificate(folder.path(), &("no certificate".to_owned(), certificate("x").1));
    assert!(check().contains("listen[1].certificate = \"cert.pem\"   holds no certificate"));
    write_certificate(folder.path(), &(certificate("x").0, "no key".to_owned()));
    assert!(check().contains("listen[1].key   holds no private key"));
    for encrypted in
        ["-----BEGIN ENCRYPTED PRIVATE KEY-----\n", "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n"]
    {
        write_certificate(folder.path(), &(certificate("x").0, encrypted.to_owned()));
        assert!(check().contains("listen[1].key   is encrypted, "));
    }
    write_certificate(folder.path(), &certificate("x"));
    open_to(&folder.path().join("key.pem"), 0o644);
    let doubted = ringfence(&["check", config.to_str().unwrap()]);
    let said = String::from_utf8_lossy(&[doubted.stdout, doubted.stderr].concat()).into_owned();
    assert_eq!(doubted.status.code(), Some(0), "{said}");
    assert!(said.contains("listen[1].key is open to everybody on this machine: `chmod o=` it"), "{said}");
    let udp = Firewall::settings(pbx, "").replace("[admin]", "transport = \"tls\"\n[admin]");
    std::fs::write(&config, udp).unwrap();
    assert!(check().contains("trunk[0].transport = \"tls\"   tls needs a [[listen]]"));
}

#[test]
fn where_the_system_trusts_no_certificates_check_asks_for_those_of_the_trunk() {
    let folder = tempfile::tempdir().unwrap();
    write_certificate(folder.path(), &certificate("ringfence.test"));
    let config = folder.path().join("ringfence.toml");
    let trunk = "[[trunk]]\nname = \"far\"\naddress = \"sip.example.com\"\ntransport = \"tls\"\n";
    let check = |more: &str| {
        let settings = Firewall::settings("127.0.0.9:5060".parse().unwrap(), &format!("{TLS}{trunk}{more}"));
        std::fs::write(&config, settings).unwrap();
        let empty = folder.path().join("empty");
        std::fs::create_dir_all(&empty).unwrap();
        let mut ringfence = Command::new(env!("CARGO_BIN_EXE_ringfence"));
        ringfence.env("SSL_CERT_FILE", "/none").env("SSL_CERT_DIR", empty).arg("check").arg(&config).output().unwrap()
    };

    let refused = check("");
    let known = check("ca = \"cert.pem\"\n");

    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(78), "{told}");
    assert!(told.contains("trunk[1].transport = \"tls\"   the system's trusted certificates"), "{told}");
    assert!(told.contains("; name an authority with `ca`") && told.contains(": 1 problem\n"), "{told}");
    assert_eq!(known.status.code(), Some(0), "{known:?}");
}

#[test]
fn a_large_request_goes_by_tcp_and_as_a_datagram_to_a_pbx_that_takes_no_connection() {
    let many = "2".repeat(700);
    let both = FarTrunk::tcp("127.0.0.8");
    let datagrams = UdpSocket::bind(both.address).unwrap();
    datagrams.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let firewall = tcp(both.address, "");
    assert_eq!(Caller::new("127.0.2.61", firewall.sip).invite(&many), 200);
    let requests = both.requests();
    assert!(requests[0].starts_with("INVITE ") && requests[0].contains("Via: SIP/2.0/TCP 127.0.0.1:"), "{requests:?}");
    let mut buffer = [0; 4_096];
    let length = datagrams.recv(&mut buffer).unwrap();
    assert!(buffer[..length].starts_with(b"ACK "), "what is small stays with UDP");

    let datagrams_only = Pbx::start("127.0.0.9");
    let firewall = tcp(datagrams_only.address, "");
    assert_eq!(Caller::new("127.0.2.62", firewall.sip).invite(&many), 200);
    assert!(datagrams_only.requests()[0].contains("Via: SIP/2.0/UDP 127.0.0.1:"));
    firewall.until("it is counted", |firewall| firewall.metric("large_requests_fell_back_total") == 1);
}

#[test]
fn a_tls_trunk_that_asks_who_we_are_is_shown_our_certificate() {
    let (theirs, ours) = (certificate("127.0.4.5"), certificate("ringfence.test"));
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ours.0.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let asks = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build().unwrap();
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let chain = vec![CertificateDer::from_pem_slice(theirs.0.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(theirs.1.as_bytes()).unwrap();
    let config = config.with_client_cert_verifier(asks).with_single_cert(chain, key).unwrap();
    let trunk = FarTrunk::tls("127.0.4.5", Arc::new(config));
    let pbx = Caller::socket("127.0.0.3");
    let call = |more: &str| {
        let folder = tempfile::tempdir().unwrap();
        write_certificate(folder.path(), &ours);
        std::fs::write(folder.path().join("ca.pem"), &theirs.0).unwrap();
        let trunk = format!(
            "{TLS}[[trunk]]\nname = \"far\"\naddress = \"{}\"\ntransport = \"tls\"\nca = \"ca.pem\"\n{more}",
            trunk.address
        );
        let firewall = Firewall::start_in(folder, pbx.local_addr().unwrap(), &trunk);
        Caller::on(pbx.try_clone().unwrap(), firewall.sip).invite_at("0201", "127.0.4.5")
    };

    assert_eq!(call(""), 503);
    assert_eq!(trunk.requests(), [""; 0], "a trunk that asks hears nothing of one that it does not know");
    assert_eq!(call("certificate = \"cert.pem\"\nkey = \"key.pem\"\n"), 200);
}
