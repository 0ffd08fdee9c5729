//! The real binary between two peers of which one, the other or both speak SRTP with keys in their descriptions.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs, reason = "tests")]

mod firewall;
mod plain_sip;

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use firewall::Firewall;
use plain_sip::{PATIENCE, answer, receive, request, socket};
use ringfence::rtp::srtp::{MOST_ADDED, MasterKey, Opening, Sealing, Suite};

const NOT_COMING: Duration = Duration::from_millis(100);

/// One telephone: its SIP, its media, and its key.
struct Peer {
    sip: UdpSocket,
    media: UdpSocket,
    key: MasterKey,
    /// What it seals and opens with, once both keys are known.
    srtp: Option<(Sealing, Opening)>,
    /// Where the firewall takes its media.
    relay: Option<SocketAddr>,
    sequence: u16,
}

/// A description's lines that matter.
#[derive(Debug)]
struct Described {
    secure_profile: bool,
    /// Tag, suite, key.
    crypto: Vec<(String, Suite, MasterKey)>,
    media: SocketAddr,
}

fn read(message: &str) -> Described {
    let line = |start: &str| message.lines().find_map(|line| line.strip_prefix(start)).unwrap().to_owned();
    let words: Vec<String> = line("m=audio ").split(' ').map(str::to_owned).collect();
    let ip = line("c=IN IP4 ");
    let crypto = message.lines().filter_map(|line| line.strip_prefix("a=crypto:")).map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        let suite = Suite::ALL.into_iter().find(|suite| suite.name() == words[1]).unwrap();
        (
            words[0].to_owned(),
            suite,
            MasterKey::parse(words[2].strip_prefix("inline:").unwrap().split('|').next().unwrap()).unwrap(),
        )
    });
    Described {
        secure_profile: words[1] == "RTP/SAVP",
        crypto: crypto.collect(),
        media: SocketAddr::new(ip.parse().unwrap(), words[0].parse().unwrap()),
    }
}

impl Peer {
    fn new(ip: &str, key: u8) -> Self {
        let key = MasterKey::new([key; 30]);
        Self { sip: socket(ip), media: socket(ip), key, srtp: None, relay: None, sequence: 65_530 }
    }

    fn here(&self) -> SocketAddr {
        self.sip.local_addr().unwrap()
    }

    /// Its description: in this profile, with its key for a tag and suite.
    fn describes(&self, secure_profile: bool, crypto: Option<(&str, Suite)>) -> String {
        let media = self.media.local_addr().unwrap();
        let (ip, port, profile) = (media.ip(), media.port(), if secure_profile { "RTP/SAVP" } else { "RTP/AVP" });
        let crypto = crypto
            .map(|(tag, suite)| format!("a=crypto:{tag} {} inline:{}|2^31\r\n", suite.name(), self.key.to_base64()));
        format!(
            "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {port} {profile} 0\r\n{}",
            crypto.unwrap_or_default()
        )
    }

    fn invites(&self, firewall: &Firewall, body: &str) {
        let target = format!("sip:201@{}", firewall.sip);
        let invite = request(self.here(), ("INVITE", 1), (&target, &format!("<{target}>")), body);
        self.sip.send_to(invite.as_bytes(), firewall.sip).unwrap();
    }

    fn agrees(&mut self, suite: Suite, theirs: &MasterKey) {
        self.srtp = Some((Sealing::new(suite, &self.key, 0), Opening::new(suite, theirs, 0)));
    }

    fn packet(&mut self, byte: u8) -> Vec<u8> {
        self.sequence = self.sequence.wrapping_add(1);
        let [high, low] = self.sequence.to_be_bytes();
        let head = [0x80, 0, high, low, 0, 0, high, low, 1, 2, 3, self.key.to_base64().as_bytes()[0]];
        [head.as_slice(), &[byte; 160]].concat()
    }

    fn send(&mut self, byte: u8) {
        let mut packet = self.packet(byte);
        if let Some((sealing, _)) = &mut self.srtp {
            packet.resize(172 + MOST_ADDED, 0);
            let length = sealing.rtp(&mut packet, 172).unwrap();
            packet.truncate(length);
        }
        self.media.send_to(&packet, self.relay.unwrap()).unwrap();
    }

    /// The payload's byte, which all of it is.
    fn hears(&mut self) -> u8 {
        let mut buffer = [0; 2_048];
        let (length, from) = self.media.recv_from(&mut buffer).unwrap();
        assert_eq!(Some(from), self.relay);
        let packet = &mut buffer[..length];
        let length = self.srtp.as_mut().map_or(length, |(_, opening)| opening.rtp(packet).unwrap());
        assert_eq!(length, 172);
        assert!(packet[12..172].iter().all(|byte| *byte == packet[12]));
        packet[12]
    }

    fn hears_nothing(&self) -> bool {
        self.media.set_read_timeout(Some(NOT_COMING)).unwrap();
        let nothing = self.media.recv(&mut [0; 2_048]).is_err();
        self.media.set_read_timeout(Some(PATIENCE)).unwrap();
        nothing
    }
}

fn firewall(trunk: &str, inside: &str, pbx: SocketAddr) -> Firewall {
    let settings = Firewall::settings(pbx, "[detect.words]\nenabled = false");
    let settings = settings.replace("[pbx]\n", &format!("[pbx]\nsrtp = \"{inside}\"\n"));
    Firewall::start_as(&settings.replace("[[trunk]]\n", &format!("[[trunk]]\nsrtp = \"{trunk}\"\n")))
}

/// Sets a call up. `caller`: its profile and suite; `callee`: takes the n-th key that it is offered.
fn connected(
    firewall: &Firewall,
    caller: &mut Peer,
    callee: &mut Peer,
    offers: Option<Suite>,
    takes: Option<usize>,
) -> (Described, Described) {
    let body = caller.describes(offers.is_some(), offers.map(|suite| ("7", suite)));
    caller.invites(firewall, &body);
    let invite = receive(&callee.sip, "INVITE ");
    let offered = read(&invite);
    let body = match takes {
        Some(nth) => {
            let (tag, suite, key) = &offered.crypto[nth];
            callee.agrees(*suite, key);
            callee.describes(offered.secure_profile, Some((tag, *suite)))
        }
        None => callee.describes(false, None),
    };
    callee.relay = Some(offered.media);
    callee.sip.send_to(answer(&invite, "200 OK", "p", callee.here(), &body).as_bytes(), firewall.sip).unwrap();
    let answered = read(&receive(&caller.sip, "SIP/2.0 200"));
    caller.relay = Some(answered.media);
    if let Some(suite) = offers {
        let (tag, chosen, key) = &answered.crypto[0];
        assert_eq!((answered.crypto.len(), tag.as_str(), *chosen), (1, "7", suite));
        caller.agrees(suite, key);
    }
    (offered, answered)
}

fn talk(caller: &mut Peer, callee: &mut Peer) {
    // Across the turn of the sequence number.
    for n in 0..12 {
        caller.send(n);
        assert_eq!(callee.hears(), n);
        callee.send(n + 100);
        assert_eq!(caller.hears(), n + 100);
    }
}

#[test]
fn srtp_on_the_trunk_and_rtp_at_the_pbx() {
    for suite in Suite::ALL {
        let (mut caller, mut callee) = (Peer::new("127.0.2.41", 1), Peer::new("127.0.0.41", 2));
        let firewall = firewall("offer", "off", callee.here());

        let (offered, answered) = connected(&firewall, &mut caller, &mut callee, Some(suite), None);

        assert!(!offered.secure_profile && offered.crypto.is_empty(), "{offered:?}");
        assert!(answered.secure_profile);
        talk(&mut caller, &mut callee);
        firewall.until("the call is heard", |firewall| firewall.metric("analysis_frames_total") > 0);
    }
}

#[test]
fn rtp_on_the_trunk_and_srtp_at_the_pbx() {
    for (policy, nth) in [("require", 0), ("require", 1), ("offer", 0)] {
        let (mut caller, mut callee) = (Peer::new("127.0.2.42", 1), Peer::new("127.0.0.42", 2));
        let firewall = firewall("off", policy, callee.here());

        let (offered, answered) = connected(&firewall, &mut caller, &mut callee, None, Some(nth));

        assert_eq!((offered.secure_profile, offered.crypto.len()), (policy == "require", 2));
        assert!(!answered.secure_profile && answered.crypto.is_empty());
        talk(&mut caller, &mut callee);
    }
}

#[test]
fn srtp_on_both_sides_has_keys_of_its_own_on_each() {
    let (mut caller, mut callee) = (Peer::new("127.0.2.43", 1), Peer::new("127.0.0.43", 2));
    let firewall = firewall("require", "require", callee.here());

    let (offered, answered) = connected(&firewall, &mut caller, &mut callee, Some(Suite::Aes128Sha1_32), Some(0));

    let keys = [&caller.key, &callee.key, &offered.crypto[0].2, &answered.crypto[0].2];
    assert!((0..4).all(|n| (0..n).all(|m| keys[n] != keys[m])), "four different keys");
    talk(&mut caller, &mut callee);
}

#[test]
fn a_wrong_key_plain_rtp_and_a_repeated_packet_are_counted_and_not_relayed() {
    let (mut caller, mut callee) = (Peer::new("127.0.2.44", 1), Peer::new("127.0.0.44", 2));
    let firewall = firewall("require", "off", callee.here());
    connected(&firewall, &mut caller, &mut callee, Some(Suite::Aes128Sha1_80), None);
    talk(&mut caller, &mut callee);

    let right = caller.srtp.take();
    caller.send(1);
    caller.srtp = Some((
        Sealing::new(Suite::Aes128Sha1_80, &MasterKey::new([9; 30]), 0),
        Opening::new(Suite::Aes128Sha1_80, &MasterKey::new([9; 30]), 0),
    ));
    caller.send(2);
    caller.srtp = right;
    let mut packet = caller.packet(3);
    packet.resize(172 + MOST_ADDED, 0);
    let length = caller.srtp.as_mut().unwrap().0.rtp(&mut packet, 172).unwrap();
    for _ in 0..2 {
        caller.media.send_to(&packet[..length], caller.relay.unwrap()).unwrap();
    }

    assert_eq!(callee.hears(), 3);
    assert!(callee.hears_nothing());
    firewall.until("the drops are counted", |firewall| {
        let dropped = |reason: &str| firewall.metric(&format!("rtp_dropped_total{{reason=\"{reason}\"}}"));
        (dropped("forged"), dropped("repeated")) == (2, 1)
    });
}

#[test]
fn without_srtp_a_side_that_requires_it_is_refused() {
    let (caller, callee) = (Peer::new("127.0.2.45", 1), Peer::new("127.0.0.45", 2));
    let firewall = firewall("require", "off", callee.here());

    caller.invites(&firewall, &caller.describes(false, None));

    receive(&caller.sip, "SIP/2.0 488");
}

#[test]
fn encryption_that_is_not_ours_passes_with_its_keys() {
    for inside in ["off", "require"] {
        let (mut caller, mut callee) = (Peer::new("127.0.2.46", 1), Peer::new("127.0.0.46", 2));
        let firewall = firewall("off", inside, callee.here());
        let body = caller.describes(true, Some(("1", Suite::Aes128Sha1_80)));

        caller.invites(&firewall, &body);
        let invite = receive(&callee.sip, "INVITE ");
        let offered = read(&invite);
        let theirs = &offered.crypto[0].2;
        callee.agrees(Suite::Aes128Sha1_80, theirs);
        callee.relay = Some(offered.media);
        let body = callee.describes(true, Some(("1", Suite::Aes128Sha1_80)));
        callee.sip.send_to(answer(&invite, "200 OK", "p", callee.here(), &body).as_bytes(), firewall.sip).unwrap();
        let answered = read(&receive(&caller.sip, "SIP/2.0 200"));
        caller.relay = Some(answered.media);
        caller.agrees(Suite::Aes128Sha1_80, &answered.crypto[0].2);

        assert!(offered.secure_profile && *theirs == caller.key && answered.crypto[0].2 == callee.key, "{inside}");
        talk(&mut caller, &mut callee);
    }
}
