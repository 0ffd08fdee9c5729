//! What a settings file says that cannot be, or is probably not meant: the file itself, and the files and addresses
//! that a start would look for.

use std::net::{IpAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};

use super::resolve::NoPbx;
use super::{parts, resolve};
use crate::call::{DivertCallee, DivertCaller};
use crate::config::{self, Draft, Problem, Roots, Settings, TrunkSettings};
use crate::sip::flow::{Hop, Transport};

/// The announcement that names the key, and its bytes in the recording that comes with Ringfence: that one says 9.
const NAMES_KEY: (&str, u64) = ("callee-diverted.wav", 438_124);

/// Reads a settings file as a start does. Relative paths in it start at its folder. No name is resolved: that is
/// another answer elsewhere.
///
/// # Errors
/// Everything for which there would be no start, as an operator reads it.
pub fn load_file(path: &Path) -> Result<Settings, String> {
    let text = config::text_of(path)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    load(&text, folder, None).map_err(|problems| config::problems_text(path, &problems))
}

/// The same for a start itself, which leaves out what it cannot read of lists of numbers: other programs write them,
/// and a list that is missing must not keep the telephone down.
///
/// # Errors
/// As above.
pub fn load_to_start(path: &Path) -> Result<Settings, String> {
    let text = config::text_of(path)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    load_with(&text, folder, &config::files_at_start(folder), None)
        .map_err(|problems| config::problems_text(path, &problems))
}

/// `bound`: where a process listens that reads its settings again. Elsewhere nothing can be said of what is taken.
pub(super) fn load(text: &str, folder: &Path, bound: Option<&[Hop]>) -> Result<Settings, Vec<Problem>> {
    load_with(text, folder, &config::files_in(folder), bound)
}

/// Problems for which the next process would not start, if it took the place of one that listens there.
pub(super) fn next_start(file: &Path, bound: &[Hop]) -> Result<(), Vec<String>> {
    let text = config::text_of(file).map_err(|problem| vec![problem])?;
    let folder = file.parent().unwrap_or(Path::new(""));
    let loaded = load_with(&text, folder, &config::files_at_start(folder), Some(bound));
    loaded.map(drop).map_err(|problems| problems.iter().map(ToString::to_string).collect())
}

fn load_with(
    text: &str,
    folder: &Path,
    files: &config::Folder,
    bound: Option<&[Hop]>,
) -> Result<Settings, Vec<Problem>> {
    let mut draft = Draft::read(text, files)?;
    let deaf = bound.map(|bound| deaf(draft.settings(), bound)).unwrap_or_default();
    for (option, why) in refused(&draft, folder).into_iter().chain(deaf) {
        draft.add(&option, why);
    }
    draft.finish()
}

/// Options whose value a start would refuse, and why. Of those that have a problem already, nothing more is said.
fn refused(draft: &Draft<'_>, folder: &Path) -> Vec<(String, String)> {
    let settings = draft.settings();
    let mut refused: Vec<(&str, Option<String>)> = vec![
        ("detect.words.phrases", parts::book(settings, folder).err().map(|bad| bad.to_string())),
        ("detect.words.wording", parts::wording(settings, folder).err().map(|bad| bad.to_string())),
    ];
    // This name alone is the same everywhere (RFC 6761 §6.3).
    let stated = resolve::pbx_name(settings).is_none_or(|(name, _)| name.eq_ignore_ascii_case("localhost"));
    if stated && draft.is_good("listen") && draft.is_good("pbx.transport") {
        let problem = match resolve::pbx(settings, None) {
            Err(NoPbx::Unusable(problem)) => Some(problem),
            Err(NoPbx::Unknown(_)) | Ok(_) => None,
        };
        refused.push(("pbx.address", problem));
    }
    let rootless = rootless(draft);
    refused.extend(rootless.iter().map(|(option, why)| (option.as_str(), Some(why.clone()))));
    let first = settings.trunks.iter().enumerate().min_by_key(|(_, trunk)| trunk.priority);
    let first = first.filter(|(_, trunk)| draft.is_good("listen") && !is_reached(settings, trunk));
    let address = first.map(|(number, _)| format!("trunk[{number}].address"));
    if let Some(address) = &address {
        refused.push((address, Some("no [[listen]] has an address of its kind (IPv4 or IPv6)".to_owned())));
    }
    if let Some((one, other, why)) = one_file(settings, folder) {
        // The one that somebody has written.
        let option = if draft.has(other) { other } else { one };
        refused.push((option, draft.is_good(one).then_some(why)));
    }
    let told = refused.into_iter().filter_map(|(option, why)| Some((option.to_owned(), why?)));
    told.filter(|(option, _)| draft.is_good(option)).collect()
}

/// Peers over TLS whose certificate nobody here can check.
fn rootless(draft: &Draft<'_>) -> Vec<(String, String)> {
    let Settings { pbx, trunks, .. } = draft.settings();
    let trunks = trunks.iter().enumerate();
    let trunks = trunks.map(|(n, trunk)| (format!("trunk[{n}]"), trunk.transport, trunk.roots.is_some()));
    let peers = std::iter::once(("pbx".to_owned(), Some(pbx.transport), pbx.roots.is_some())).chain(trunks);
    let over_tls = peers.filter(|(_, transport, roots)| *transport == Some(Transport::Tls) && !roots);
    let table: Vec<String> =
        over_tls.map(|(table, ..)| table).filter(|table| draft.is_good(&format!("{table}.ca"))).collect();
    // They are many to read.
    let Some(why) = table.first().and_then(|_| Roots::of_system().err()) else { return Vec::new() };
    let why = format!("{why}; name an authority with `ca`");
    table.into_iter().map(|table| (format!("{table}.transport"), why.clone())).collect()
}

/// New addresses on which a start could not listen: those of another machine, or taken by another program.
fn deaf(settings: &Settings, bound: &[Hop]) -> Vec<(String, String)> {
    let mut deaf = Vec::new();
    for (number, Hop { address, transport }) in settings.listen.iter().map(|listen| listen.hop).enumerate() {
        let datagrams = transport == Transport::Udp;
        // What we hold ourselves is free at the start.
        let held = |hop: &&Hop| hop.address.port() == address.port() && (hop.transport == Transport::Udp) == datagrams;
        if bound.iter().find(held).is_some() {
            continue;
        }
        let tried = if datagrams { UdpSocket::bind(address).err() } else { TcpListener::bind(address).err() };
        deaf.extend(
            tried.map(|error| (format!("listen[{number}].address"), format!("cannot be listened on: {error}"))),
        );
    }
    deaf
}

/// Is one of our addresses of its kind? A name may have one.
fn is_reached(settings: &Settings, trunk: &TrunkSettings) -> bool {
    let Ok(ip) = trunk.address.host.parse::<IpAddr>() else { return true };
    settings.listen.iter().any(|listen| listen.hop.address.is_ipv4() == ip.is_ipv4())
}

/// Why this cannot be a file of ours, though something is there.
fn no_file(path: &Path) -> Option<String> {
    let found = std::fs::metadata(path).ok().filter(|found| !found.is_file())?;
    let what = if found.is_dir() { "a folder" } else { "a pipe or device" };
    Some(format!("{} is no file, but {what}", path.display()))
}

/// Files of ours that are the same one: what is written of one is the end of the other.
pub(super) fn one_file(settings: &Settings, folder: &Path) -> Option<(&'static str, &'static str, String)> {
    // Links are followed as far as there is anything.
    let found = |path: &Path| {
        let path = std::path::absolute(folder.join(path)).unwrap_or_else(|_| folder.join(path));
        path.canonicalize().unwrap_or_else(|_| {
            let above = path.parent().and_then(|above| above.canonicalize().ok());
            above.zip(path.file_name()).map_or(path.clone(), |(above, name)| above.join(name))
        })
    };
    let journal = settings.restart.journal.as_ref().map(|path| ("restart.journal", path));
    let ours = [("store.path", &settings.store.path), ("detect.campaigns", &settings.detect.campaigns)];
    let ours: Vec<(&'static str, PathBuf)> =
        ours.into_iter().chain(journal).map(|(option, path)| (option, found(path))).collect();
    let same = ours.iter().enumerate().find_map(|(number, (option, path))| {
        ours.iter().take(number).find(|(_, other)| other == path).map(|(other, _)| (*other, *option, path))
    });
    let why = |(one, other, path): (_, _, &PathBuf)| {
        (one, other, format!("{one} and {other} name one file ({}): each needs its own", path.display()))
    };
    same.map(why)
}

/// What a person should hear of at a start or a reload.
#[must_use]
pub fn doubts(settings: &Settings, folder: &Path) -> Vec<String> {
    let mut doubts = settings.doubts();
    for trunk in settings.trunks.iter().filter(|trunk| !is_reached(settings, trunk)) {
        let (name, address) = (&trunk.name, &trunk.address);
        doubts.push(format!("trunk {name} ({address}) cannot be reached: no [[listen]] has an address of its kind"));
    }
    let announcements = parts::announcements(settings, folder);
    if !announcements.is_dir() {
        doubts.push(format!("there is no folder {}: nothing is announced", announcements.display()));
    }
    doubts.extend(doubt_key(settings, &announcements));
    let model = parts::model(settings, folder);
    if settings.detect.words.enabled && !model.is_dir() {
        doubts.push(format!("there is no folder {}: words are off", model.display()));
    }
    let ours = [
        ("detect.campaigns", Some(&settings.detect.campaigns), "no recording is known, and none is kept"),
        ("store.path", Some(&settings.store.path), "calls are not recorded"),
        ("restart.journal", settings.restart.journal.as_ref(), "calls end with the process"),
    ];
    for (option, path, so) in ours {
        if let Some(why) = path.and_then(|path| no_file(&folder.join(path))) {
            doubts.push(format!("{option}: {why}: {so}"));
        }
    }
    if !settings.detect.words.enabled {
        doubts.push("detect.words.enabled = false: calls are judged by timing alone".to_owned());
    }
    doubts
}

/// A callee who hears of a key, and it is another one, gets nobody back.
fn doubt_key(settings: &Settings, announcements: &Path) -> Option<String> {
    let divert = &settings.divert;
    let key = divert.take_back_key.filter(|key| *key != '9')?;
    let heard = divert.callee == DivertCallee::Announcement && divert.caller != DivertCaller::HangUp;
    let (name, bytes) = NAMES_KEY;
    let shipped = std::fs::metadata(announcements.join(name)).is_ok_and(|found| found.len() == bytes);
    (heard && shipped).then(|| {
        format!(
            "divert.take_back_key is {key}, and the announcement that comes with Ringfence says 9: put your own {name} \
             into the folder media.announcements"
        )
    })
}

pub(super) fn log(doubts: &[String]) {
    for doubt in doubts {
        tracing::warn!(doubt, "The settings are good, but may not do what is meant");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    /// Read in an empty folder: (refused, doubts).
    fn checked(text: &str) -> (String, String) {
        let folder = tempfile::tempdir().unwrap();
        match load(text, folder.path(), None) {
            Ok(settings) => (String::new(), doubts(&settings, folder.path()).join("\n")),
            Err(problems) => (problems.iter().map(|problem| format!("{problem}\n")).collect(), String::new()),
        }
    }

    const LEAST: &str = "[pbx]\naddress = \"192.0.2.1\"\n[[trunk]]\nname = \"a\"\naddress = \"192.0.2.9\"\n";

    #[test]
    fn what_a_start_refuses_a_check_refuses() {
        assert_eq!(checked(LEAST), (String::new(), String::new()));
        let (refused, doubts) =
            checked(&format!("{LEAST}[detect.words]\nphrases = \"p.toml\"\nwording = \"w.toml\"\n"));
        assert!(refused.contains("p.toml: ") && refused.contains("w.toml: ") && doubts.is_empty(), "{refused}{doubts}");
        let (refused, _) = checked(&LEAST.replace("192.0.2.1", "127.0.0.1"));
        assert!(refused.contains("127.0.0.1:5060 is where Ringfence itself listens: "), "{refused}");
        let (refused, _) = checked(&LEAST.replace("192.0.2.1", "localhost:5060"));
        assert!(refused.contains("localhost:5060 is where Ringfence itself listens: "), "{refused}");
        for six in ["2001:db8::1", "::1"] {
            let (refused, _) = checked(&LEAST.replace("192.0.2.1", six));
            let told = format!("[{six}]:5060 cannot be reached: no [[listen]] of its transport");
            assert!(refused.contains(&told), "{refused}");
        }
        let (refused, _) = checked(&LEAST.replace("192.0.2.1", "224.0.0.1"));
        assert!(refused.contains("224.0.0.1:5060 is no address of one host"), "{refused}");
        // What a missing [[listen]] makes of it is no second problem.
        let (refused, _) = checked(&LEAST.replace("192.0.2.1\"", "192.0.2.1\"\ntransport = \"tcp\""));
        assert!(refused.contains("pbx.transport = \"tcp\"   tcp needs a [[listen]]"), "{refused}");
        assert_eq!(refused.lines().count(), 1, "{refused}");
        let (refused, _) = checked(&format!("{LEAST}[detect]\ncampaigns = \"x\"\n[restart]\njournal = \"./x\"\n"));
        assert!(refused.contains("detect.campaigns and restart.journal name one file (/"), "{refused}");
        let six = LEAST.replace("192.0.2.9", "2001:db8::9");
        assert!(
            checked(&six).0.contains("line 5  trunk[0].address = \"2001:db8::9\"   no [[listen]] has an address of")
        );
        assert_eq!(
            checked(&format!("{six}[[listen]]\naddress = \"0.0.0.0:5060\"\n[[listen]]\naddress = \"[::]:5060\"\n")).0,
            ""
        );
        // Nobody is asked for a name.
        assert_eq!(checked(&LEAST.replace("192.0.2.1", "pbx.invalid")), (String::new(), String::new()));
    }

    #[test]
    fn all_that_a_start_refuses_is_told_at_once_in_the_order_of_the_lines() {
        let text = "[detect.words]\nphrases = \"p.toml\"\nwording = 1\n[detect]\nwatch_for = \"1x\"\n\
                    campaigns = \"x\"\n\
                    [restart]\njournal = \"x\"\n[sip]\nmax_calls = \"9\"\n[pbx]\naddress = \"127.0.0.1:5060\"\n\
                    [[trunk]]\nname = \"a\"\n";

        let (refused, _) = checked(text);

        let told: Vec<&str> = refused.lines().filter_map(|line| line.split("  ").nth(1)?.split(' ').next()).collect();
        let expected = [
            "detect.words.phrases",
            "detect.words.wording",
            "detect.watch_for",
            "restart.journal",
            "sip.max_calls",
            "pbx.address",
            "trunk[0].address",
        ];
        assert_eq!(told, expected, "{refused}");
    }

    #[test]
    fn files_without_an_end_are_not_waited_for() {
        let text = format!("{LEAST}[detect.words]\nphrases = \"/dev/zero\"\nwording = \"pipe\"\n");
        let folder = tempfile::tempdir().unwrap();
        assert!(std::process::Command::new("mkfifo").arg(folder.path().join("pipe")).status().unwrap().success());

        let refused = load(&text, folder.path(), None).unwrap_err();

        let told: Vec<&str> = refused.iter().map(|problem| &*problem.hint).collect();
        let why = "it is no file, but a folder, pipe or device";
        assert!(told.len() == 2 && told.iter().all(|hint| hint.ends_with(why)), "{told:?}");
        let (_, doubts) = checked(&format!("{LEAST}[detect]\ncampaigns = \"/dev/zero\"\n"));
        assert_eq!(
            doubts,
            "detect.campaigns: /dev/zero is no file, but a pipe or device: no recording is known, and none is kept"
        );
    }

    #[test]
    fn a_reload_asks_for_no_restart_that_could_not_listen() {
        let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (port, free) = (taken.local_addr().unwrap().port(), Hop::udp("127.0.0.1:0".parse().unwrap()));
        let listen = |address: &str| format!("{LEAST}[[listen]]\naddress = \"{address}\"\n");
        let told = |address: &str, bound: &[Hop]| {
            let loaded = load(&listen(address), Path::new("."), Some(bound));
            loaded
                .err()
                .map(|problems| problems.iter().map(ToString::to_string).collect::<String>())
                .unwrap_or_default()
        };

        assert!(told(&format!("127.0.0.1:{port}"), &[free]).contains("line 7  listen[0].address = \"127.0.0.1:"));
        assert!(told("192.0.2.77:5999", &[free]).contains("cannot be listened on: "));
        assert_eq!(told("127.0.0.1:0", &[free]), "");
        // By ourselves.
        assert_eq!(told(&format!("0.0.0.0:{port}"), &[Hop::udp(taken.local_addr().unwrap())]), "");
    }

    #[test]
    fn what_is_probably_not_meant_is_told_and_refused_by_nobody() {
        let doubtful = |more: &str, doubt: &str| {
            let (refused, doubts) = checked(&format!("{LEAST}{more}\n"));
            assert!(refused.is_empty() && doubts.contains(doubt), "{more}: {refused} {doubts}");
            assert_eq!(doubts.lines().count(), 1, "{doubts}");
        };
        let trunk = |address: &str| format!("[[trunk]]\nname = \"b\"\naddress = \"{address}\"");
        doubtful(&trunk("2001:db8::9"), "trunk b ([2001:db8::9]:5060) cannot be reached");
        doubtful(&trunk("192.0.2.10"), "trunk b has the address of the examples");
        doubtful(&trunk("192.0.2.1"), "trunk b has the address of the PBX (192.0.2.1:5060)");
        doubtful(&trunk("127.0.0.1"), "trunk b has an address that Ringfence listens on (127.0.0.1:5060)");
        doubtful(&trunk("192.0.2.9:5060"), "trunks a and b have one address (192.0.2.9:5060)");
        let rule = |when: &str| format!("[[rule]]\nname = \"x\"\naction = \"watch\"\nwhen = {when}\n");
        let called = "{ called = [\"1\"] }";
        doubtful(&rule(called).repeat(2), "rule \"x\" is there twice");
        doubtful(&(rule("{}") + &rule(called).replace('x', "y")), "rule \"x\" has no condition");
        doubtful(&rule("{ called = [] }"), "rule \"x\" has a condition with an empty list: it matches no call");
        let alone = |action: &str| format!("[[rule]]\nname = \"x\"\naction = \"{action}\"");
        doubtful(&alone("connect"), "rule \"x\" has no condition: no call from outside is listened to");
        doubtful(&alone("reject"), "rule \"x\" has no condition: every call from outside is rejected");
        doubtful(&alone("divert"), "rule \"x\" has no condition: every call from outside is diverted");
        let deny = |network: &str| format!("[networks]\ndeny = [\"{network}\"]");
        doubtful(
            &deny("198.51.100.5/24"),
            "networks.deny: 198.51.100.5/24 is all of 198.51.100.0/24; for the one address",
        );
        let networks = "[[trunk]]\nname = \"b\"\naddress = \"192.0.2.7\"\nnetworks = [\"203.0.113.7/28\"]";
        doubtful(networks, "trunk b: 203.0.113.7/28 is all of 203.0.113.0/28");
        doubtful(&deny("192.0.2.1"), "networks.deny covers 192.0.2.1/32 of the PBX");
        doubtful(&deny("192.0.2.8/29"), "networks.deny covers 192.0.2.9/32 of trunk a");
        let open = "[[trunk]]\nname = \"b\"\naddress = \"192.0.2.7\"\nnetworks = [\"0.0.0.0/0\"]";
        doubtful(open, "trunk b has the network 0.0.0.0/0: anybody in the world may call as trunk b");
        doubtful("[detect]\nguard_at = 1\nwhisper_at = 1\ndivert_at = 1", "nothing is done to a scam");
        doubtful("[numbers]\nemergency = []", "numbers.emergency is empty");
        doubtful("[detect.words]\nenabled = false", "detect.words.enabled = false");
        doubtful("[media]\nports = \"5000-6000\"", "media.ports hold 5060");
        doubtful(
            "[divert]\ntake_back_key = \"5\"",
            "take_back_key is 5, and the announcement that comes with Ringfence",
        );
        doubtful("[media]\nannouncements = \"nowhere\"", "/nowhere: nothing is announced");
        doubtful("[detect.words]\nmodel = \"nomodel\"", "/nomodel: words are off");
        doubtful("[store]\npath = \".\"", " is no file, but a folder: calls are not recorded");
        let journal = "restart.journal: /dev/null is no file, but a pipe or device: calls end with the process";
        doubtful("[restart]\njournal = \"/dev/null\"", journal);
        let last = |action: &str| rule(called) + &alone(action).replace('x', "y");
        let allowed = deny("192.0.2.0/24") + "\nallow = [\"192.0.2.1\", \"192.0.2.9\"]";
        // Nobody hears of the key.
        let unheard = "[divert]\ntake_back_key = \"5\"\ncallee = \"silence\"".to_owned();
        let none = "[divert]\ntake_back_key = \"none\"".to_owned();
        for good in [trunk("127.0.0.1:5070"), last("watch"), last("reject"), alone("watch"), allowed, unheard, none] {
            assert_eq!(checked(&format!("{LEAST}{good}")).1, "", "{good}");
        }
    }
}
