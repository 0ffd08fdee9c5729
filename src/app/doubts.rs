//! What is wrong with good settings: files and addresses that a start would look for.

use std::path::{Path, PathBuf};

use super::{parts, resolve};
use crate::config::Settings;

/// What a look beyond the settings file finds.
#[derive(Debug)]
pub struct Checked {
    /// With these, there is no start.
    pub refused: Vec<String>,
    /// With these there is, and something does not work as the file looks.
    pub doubts: Vec<String>,
}

/// Looks, and starts nothing. Relative paths start at `folder`. No name is resolved: that is another answer elsewhere.
#[must_use]
pub fn check(settings: &Settings, folder: &Path) -> Checked {
    let files = [parts::book(settings, folder).err(), parts::wording(settings, folder).err()];
    let mut refused: Vec<String> = files.into_iter().flatten().map(|bad| bad.to_string()).collect();
    refused.extend(one_file(settings, folder));
    if resolve::pbx_name(settings).is_none() {
        refused.extend(resolve::pbx(settings, None).err().map(|problem| problem.to_string()));
    }
    Checked { refused, doubts: doubts(settings, folder) }
}

/// Files of ours that are the same one: what is written of one is the end of the other.
pub(super) fn one_file(settings: &Settings, folder: &Path) -> Option<String> {
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
    let ours: Vec<(&str, PathBuf)> =
        ours.into_iter().chain(journal).map(|(option, path)| (option, found(path))).collect();
    let same = ours.iter().enumerate().find_map(|(number, (option, path))| {
        ours.iter().take(number).find(|(_, other)| other == path).map(|(other, _)| (other, option, path))
    });
    same.map(|(one, other, path)| format!("{one} and {other} name one file ({}): each needs its own", path.display()))
}

/// What a person should hear of at a start or a reload.
pub(super) fn doubts(settings: &Settings, folder: &Path) -> Vec<String> {
    let mut doubts = settings.doubts();
    let announcements = parts::announcements(settings, folder);
    if !announcements.is_dir() {
        doubts.push(format!("there is no folder {}: nothing is announced", announcements.display()));
    }
    let model = parts::model(settings, folder);
    if settings.detect.words.enabled && !model.is_dir() {
        doubts.push(format!("there is no folder {}: words are off", model.display()));
    }
    if !settings.detect.words.enabled {
        doubts.push("detect.words.enabled = false: calls are judged by timing alone".to_owned());
    }
    doubts
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
    use crate::config::{files_in, load};

    /// Checked in an empty folder: (refused, doubts).
    fn checked(text: &str) -> (String, String) {
        let folder = tempfile::tempdir().unwrap();
        let settings = load(text, &files_in(folder.path())).unwrap();
        let Checked { refused, doubts } = check(&settings, folder.path());
        (refused.join("\n"), doubts.join("\n"))
    }

    const LEAST: &str = "[pbx]\naddress = \"192.0.2.1\"\n[[trunk]]\nname = \"a\"\naddress = \"192.0.2.9\"\n";

    #[test]
    fn what_a_start_refuses_a_check_refuses() {
        assert_eq!(checked(LEAST), (String::new(), String::new()));
        let (refused, doubts) =
            checked(&format!("{LEAST}[detect.words]\nphrases = \"p.toml\"\nwording = \"w.toml\"\n"));
        assert!(refused.contains("p.toml: ") && refused.contains("w.toml: ") && doubts.is_empty(), "{refused}{doubts}");
        let (refused, _) = checked(&LEAST.replace("192.0.2.1", "127.0.0.1"));
        assert!(refused.contains("127.0.0.1:5060 has no address"), "{refused}");
        let (refused, _) = checked(&format!("{LEAST}[detect]\ncampaigns = \"x\"\n[restart]\njournal = \"./x\"\n"));
        assert!(refused.starts_with("detect.campaigns and restart.journal name one file (/"), "{refused}");
        // Nobody is asked for a name.
        assert_eq!(checked(&LEAST.replace("192.0.2.1", "pbx.invalid")), (String::new(), String::new()));
    }

    #[test]
    fn what_is_probably_not_meant_is_told_and_refused_by_nobody() {
        let doubtful = |more: &str, doubt: &str| {
            let (refused, doubts) = checked(&format!("{LEAST}{more}\n"));
            assert!(refused.is_empty() && doubts.contains(doubt), "{more}: {refused} {doubts}");
            assert_eq!(doubts.lines().count(), 1, "{doubts}");
        };
        let trunk = |address: &str| format!("[[trunk]]\nname = \"b\"\naddress = \"{address}\"");
        doubtful(&trunk("192.0.2.1"), "trunk b has the address of the PBX (192.0.2.1:5060)");
        doubtful(&trunk("127.0.0.1"), "trunk b has an address that Ringfence listens on (127.0.0.1:5060)");
        doubtful(&trunk("192.0.2.9:5060"), "trunks a and b have one address (192.0.2.9:5060)");
        let rule = |when: &str| format!("[[rule]]\nname = \"x\"\naction = \"watch\"\nwhen = {when}\n");
        let called = "{ called = [\"1\"] }";
        doubtful(&rule(called).repeat(2), "rule \"x\" is there twice");
        doubtful(&(rule("{}") + &rule(called).replace('x', "y")), "rule \"x\" has no condition");
        let alone = |action: &str| format!("[[rule]]\nname = \"x\"\naction = \"{action}\"");
        doubtful(&alone("connect"), "rule \"x\" has no condition: no call from outside is listened to");
        doubtful(&alone("reject"), "rule \"x\" has no condition: every call from outside is rejected");
        doubtful(&alone("divert"), "rule \"x\" has no condition: every call from outside is diverted");
        let deny = |network: &str| format!("[networks]\ndeny = [\"{network}\"]");
        doubtful(&deny("192.0.2.1"), "networks.deny covers 192.0.2.1/32 of the PBX");
        doubtful(&deny("192.0.2.8/29"), "networks.deny covers 192.0.2.9/32 of trunk a");
        let open = "[[trunk]]\nname = \"b\"\naddress = \"192.0.2.7\"\nnetworks = [\"0.0.0.0/0\"]";
        doubtful(open, "trunk b has the network 0.0.0.0/0: anybody in the world may call as trunk b");
        doubtful("[detect]\nguard_at = 1\nwhisper_at = 1\ndivert_at = 1", "nothing is done to a scam");
        doubtful("[numbers]\nemergency = []", "numbers.emergency is empty");
        doubtful("[detect.words]\nenabled = false", "detect.words.enabled = false");
        doubtful("[media]\nports = \"5000-6000\"", "media.ports hold 5060");
        doubtful("[media]\nannouncements = \"nowhere\"", "/nowhere: nothing is announced");
        doubtful("[detect.words]\nmodel = \"nomodel\"", "/nomodel: words are off");
        let last = |action: &str| rule(called) + &alone(action).replace('x', "y");
        let allowed = deny("192.0.2.0/24") + "\nallow = [\"192.0.2.1\", \"192.0.2.9\"]";
        for good in [trunk("127.0.0.1:5070"), last("watch"), last("reject"), alone("watch"), allowed] {
            assert_eq!(checked(&format!("{LEAST}{good}")).1, "", "{good}");
        }
    }
}
