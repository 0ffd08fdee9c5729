//! Who calls whom in the demo, and what should come of it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::phone::Plan;
use crate::audio::wav::Wav;

/// What should come of a call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Expected {
    /// Both talk until the caller hangs up.
    Connected,
    /// The call is taken away, and the firewall hangs up.
    Diverted,
    /// Connected, and never taken for a person.
    NoSpeech,
}

/// One caller and the person called.
#[derive(Clone)]
pub(super) struct Role {
    pub(super) plan: Plan,
    /// What the person who answers says.
    pub(super) callee_says: Arc<[i16]>,
    pub(super) expected: Expected,
}

/// How long the first scam's call takes: ringing, opening, warning.
const FIRST_SCAM: Duration = Duration::from_secs(24);

/// Recorded role: name, number shown, extension, audio, expectation.
type Recorded = (&'static str, &'static str, &'static str, &'static [u8], Expected);

const RECORDED: [Recorded; 4] = [
    ("a returned missed call", "+441632960033", "201", include_bytes!("audio/live.wav"), Expected::Connected),
    ("a neighbour", "+441632960009", "202", include_bytes!("audio/neighbour.wav"), Expected::Connected),
    ("a press-1 scam", "+447700900072", "203", include_bytes!("audio/scam.wav"), Expected::Diverted),
    ("a dentist's reminder", "+441632960024", "204", include_bytes!("audio/reminder.wav"), Expected::Connected),
];

pub(super) fn roles() -> Result<Vec<Role>, String> {
    let mut roles = Vec::new();
    for (number, (name, shows, dials, audio, expected)) in RECORDED.into_iter().enumerate() {
        let channels = Wav::read(audio).and_then(|wav| wav.telephone()).map_err(|error| format!("{name}: {error}"))?;
        let mut channels = channels.into_iter().map(Arc::<[i16]>::from);
        let (Some(says), Some(callee_says)) = (channels.next(), channels.next()) else {
            return Err(format!("{name}: the recording has no two sides"));
        };
        let talks_for = Duration::from_millis(says.len() as u64 / 8) + Duration::from_millis(500);
        // A diverted caller stays to the end of what it hears.
        let talks_for = if expected == Expected::Diverted { Duration::from_secs(45) } else { talks_for };
        let after = Duration::ZERO;
        let plan = Plan { name, from: caller(number), after, number: shows, dials, says, talks_for };
        roles.push(Role { plan, callee_says, expected });
    }
    roles.extend(again(&roles));
    let silent = Plan {
        name: "a silent caller",
        from: caller(roles.len()),
        after: Duration::ZERO,
        number: "anonymous",
        dials: "205",
        says: Arc::from([]),
        talks_for: Duration::from_secs(15),
    };
    let hello = roles.first().map_or_else(|| Arc::from([]), |role| Arc::clone(&role.callee_says));
    roles.push(Role { plan: silent, callee_says: hello, expected: Expected::NoSpeech });
    Ok(roles)
}

/// The scam's recording once more, from another number, after the first call is over: it is known by then.
fn again(roles: &[Role]) -> Option<Role> {
    let scam = roles.iter().find(|role| role.expected == Expected::Diverted)?.clone();
    let plan = Plan {
        name: "the same scam again",
        from: caller(roles.len()),
        after: FIRST_SCAM,
        number: "+447700900199",
        dials: "206",
        ..scam.plan
    };
    Some(Role { plan, ..scam })
}

/// Callers come from 127.0.1.1, 127.0.1.2, ...: the demo's trunk.
fn caller(number: usize) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, 1, 1 + u8::try_from(number).unwrap_or(250)))
}

/// The demo's settings: the shipped defaults but for addresses.
pub(super) fn settings(pbx: SocketAddr, store: &Path) -> String {
    let store =
        store.canonicalize().unwrap_or_else(|_| std::path::absolute(store).unwrap_or_else(|_| store.to_owned()));
    format!(
        "# The settings of `ringfence demo`: defaults, but for addresses.\n\
         [[listen]]\ntransport = \"udp\"\naddress = \"127.0.0.1:0\"\n\n\
         [pbx]\naddress = \"{pbx}\"\n\n\
         [[trunk]]\nname = \"demo\"\naddress = \"127.0.1.200:5060\"\nnetworks = [\"127.0.1.0/24\"]\n\n\
         [media]\nports = \"30000-30199\"\n\n\
         [admin]\naddress = \"127.0.0.1:0\"\n\n\
         [store]\npath = {:?}\n\n\
         [restart]\njournal = \"none\"\n",
        store.display().to_string()
    )
}
