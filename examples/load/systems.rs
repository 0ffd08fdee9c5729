//! The three systems under load, as processes of ours on loopback.

use std::fmt::Write as _;
use std::net::{SocketAddr, SocketAddrV4, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ringfence::io::clock;

pub(crate) const PROXY: &str = "127.0.0.1:26060";
pub(crate) const NG: &str = "127.0.0.1:26222";
const ADMIN: &str = "127.0.0.1:28470";
const TRUNK: &str = "127.0.0.2";
/// A second trunk, which floods.
pub(crate) const WILD_TRUNK: &str = "127.0.0.5";
pub(crate) const STRANGER: &str = "127.0.0.66";
const PBX: &str = "127.0.0.3:26090";
/// Where the relays are measured on one core; the load has the other.
pub(crate) const CORE: &str = "1";
const PATIENCE: Duration = Duration::from_secs(15);

/// A process that ends with its handle.
pub(crate) struct Running {
    child: Child,
    pub(crate) name: &'static str,
    /// Its files, for as long as it runs.
    folder: tempfile::TempDir,
}

impl Running {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // SIGTERM first: Kamailio's workers end with their parent, Ringfence writes its last records.
        if let Some(pid) = rustix::process::Pid::from_raw(self.child.id().cast_signed()) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let deadline = clock::now() + Duration::from_secs(5);
        while clock::now() < deadline {
            if self.child.try_wait().is_ok_and(|status| status.is_some()) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn folder() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("ringfence-bench").tempdir().expect("a folder")
}

fn start(name: &'static str, mut command: Command, folder: tempfile::TempDir, is_up: impl Fn() -> bool) -> Running {
    let log = std::fs::File::create(folder.path().join("log")).expect("a file");
    command.stdin(Stdio::null()).stdout(log.try_clone().expect("a file")).stderr(log);
    let child = command.spawn().unwrap_or_else(|error| panic!("{name} does not start ({error}): tests/bench/install"));
    let mut running = Running { child, name, folder };
    let deadline = clock::now() + PATIENCE;
    while !is_up() {
        let ended = running.child.try_wait().is_ok_and(|status| status.is_some());
        if ended || clock::now() > deadline {
            let log = std::fs::read_to_string(running.folder.path().join("log")).unwrap_or_default();
            panic!("{name} does not come up:\n{log}");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    running
}

/// A command that ends when the bench does, on one core where that is asked for.
fn command(program: &Path, core: Option<&str>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM"]);
    if let Some(core) = core {
        command.args(["taskset", "-c", core]);
    }
    command.arg(program);
    command
}

/// What Ringfence is set to, where it is not the bench's default.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ringfence {
    /// Callers are listened to (without words).
    pub(crate) analysed: bool,
    /// Words, too.
    pub(crate) words: bool,
    /// No limit that any flood could reach.
    pub(crate) no_limits: bool,
    /// On [`CORE`] alone.
    pub(crate) one_core: bool,
    /// A list of so many numbers.
    pub(crate) listed: usize,
}

impl Ringfence {
    pub(crate) fn start(self) -> Running {
        let folder = folder();
        let config = folder.path().join("ringfence.toml");
        let words = self.words;
        let model = concat!(env!("CARGO_MANIFEST_DIR"), "/config/models/moonshine-tiny-en");
        let limit = if self.no_limits { "1000000/1s" } else { "50/1s" };
        let mut text = format!(
            "[[listen]]\naddress = \"{PROXY}\"\n[pbx]\naddress = \"{PBX}\"\n\
             [[trunk]]\nname = \"load\"\naddress = \"{TRUNK}:26080\"\n\
             [[trunk]]\nname = \"wild\"\naddress = \"{WILD_TRUNK}:26066\"\n\
             [sip]\nmax_calls = 8000\n[media]\nports = \"30000-61999\"\n\
             [limits]\nmessages_per_source = \"{limit}\"\nmessages_per_trunk = \"1000000/1s\"\n\
             [limits.per_source]\ncalls = \"1000000/1s\"\nburst = 1000000\n\
             [limits.per_number]\ncalls = \"1000000/1s\"\n\
             [detect]\nwatch_for = \"2m\"\n[detect.words]\nenabled = {words}\nmodel = \"{model}\"\n\
             [admin]\naddress = \"{ADMIN}\"\n[log]\nlevel = \"warn\"\n"
        );
        if self.listed > 0 {
            list(&folder.path().join("allow.txt"), self.listed);
            text += "[numbers]\nallow_file = \"allow.txt\"\n";
        }
        if !self.analysed {
            text += "[[rule]]\nname = \"all\"\nwhen = {}\naction = \"connect\"\n";
        }
        std::fs::write(&config, text).expect("its settings");
        let program = std::env::current_exe().expect("this program");
        let mut command = command(&program, self.one_core.then_some(CORE));
        command.arg("firewall").arg(&config);
        let health = format!("http://{ADMIN}/health");
        start("ringfence", command, folder, || ureq::get(&health).call().is_ok())
    }
}

fn list(path: &Path, numbers: usize) {
    let mut text = String::with_capacity(numbers * 15);
    for number in 0..numbers {
        let _ = writeln!(text, "+4420{number:08}");
    }
    std::fs::write(path, text).expect("a list");
}

/// Adds a number to the list and has the settings read again; how long that took.
pub(crate) fn reload(ringfence: &Running) -> Duration {
    use std::io::Write as _;
    let list = ringfence.folder.path().join("allow.txt");
    let opened = std::fs::OpenOptions::new().append(true).open(list);
    opened.and_then(|mut list| writeln!(list, "+442099999999")).expect("another number");
    let begin = clock::now();
    let answer = ureq::post(format!("http://{ADMIN}/api/reload")).send_empty();
    let text = answer.expect("a reload").body_mut().read_to_string().unwrap_or_default();
    assert!(text.contains("\"outcome\":\"applied\""), "{text}");
    clock::now() - begin
}

/// `limit`: messages in two seconds that have a source banned.
pub(crate) fn kamailio(limit: u32) -> Running {
    let folder = folder();
    let template = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/bench/kamailio.cfg");
    let config = std::fs::read_to_string(template).expect("kamailio.cfg");
    let config = config
        .replace("listen=LISTEN", &format!("listen=udp:{PROXY}"))
        .replace("\"sip:PBX\"", &format!("\"sip:{PBX}\""))
        .replace("\"TRUNK\"", &format!("\"{TRUNK}\""))
        .replace("per_unit\", LIMIT", &format!("per_unit\", {limit}"));
    let path = folder.path().join("kamailio.cfg");
    std::fs::write(&path, config).expect("its settings");
    let mut command = command(Path::new("kamailio"), None);
    // fm: its fastest allocator; the default one costs it twice the time. 1 GB of shared memory, 16 MB a process.
    command.args(["-DD", "-E", "-m", "1024", "-M", "16", "-x", "fm", "-X", "fm", "-Y"]).arg(folder.path());
    command.arg("-f").arg(&path);
    start("kamailio", command, folder, || answers(PROXY.parse().unwrap(), PROBE.as_bytes()))
}

/// Any answer will do: it says that somebody is there.
const PROBE: &str = "OPTIONS sip:127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:26999;branch=z9hG4bKprobe;rport\r\n\
    Max-Forwards: 70\r\nFrom: <sip:probe@127.0.0.1>;tag=p\r\nTo: <sip:127.0.0.1>\r\nCall-ID: probe\r\nCSeq: 1 OPTIONS\r\n\
    Content-Length: 0\r\n\r\n";

fn answers(at: SocketAddrV4, probe: &[u8]) -> bool {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let _ = socket.send_to(probe, SocketAddr::V4(at));
    socket.recv_from(&mut [0; 2_048]).is_ok()
}

pub(crate) fn rtpengine() -> Running {
    let mut command = command(Path::new("rtpengine"), Some(CORE));
    // Without its kernel module, one worker, and nothing that ends calls meanwhile.
    command.args(["--foreground", "--log-stderr", "--log-level=3", "--table=-1", "--num-threads=1"]);
    command.args(["--interface=127.0.0.1", "--port-min=30000", "--port-max=61999", "--timeout=3600"]);
    command.arg(format!("--listen-ng={NG}"));
    let ping = b"1 d7:command4:pinge";
    start("rtpengine", command, folder(), || answers(NG.parse().unwrap(), ping))
}
