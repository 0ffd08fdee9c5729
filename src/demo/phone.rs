//! A caller of the demo: dials through the firewall, plays its script, hangs up, says what happened to it.

use std::fmt::Write as _;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::line::Line;
use super::sip_text::{self, Text};
use crate::io::clock;

/// What a caller does.
#[derive(Clone)]
pub(super) struct Plan {
    /// Its name in the table, and the user part of its Call-ID.
    pub name: &'static str,
    /// Address it calls from.
    pub from: IpAddr,
    /// It waits for this long before it dials.
    pub after: Duration,
    /// Number it shows.
    pub number: &'static str,
    /// Extension it dials.
    pub dials: &'static str,
    /// What it says once it is answered, 8 kHz.
    pub says: Arc<[i16]>,
    /// It hangs up this long after the answer, if nobody has before.
    pub talks_for: Duration,
}

/// What became of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Outcome {
    /// Last status of the INVITE.
    pub status: Option<u16>,
    /// Time from the INVITE to the 200.
    pub answered_after: Option<Duration>,
    /// The other side hung up, this long after the answer.
    pub ended_by_peer: Option<Duration>,
    /// What the caller heard.
    pub heard: Vec<i16>,
    /// Its name on the wire.
    pub call_id: String,
}

/// Longest wait for an answer before the caller gives up.
const PATIENCE: Duration = Duration::from_secs(12);
const T1: Duration = Duration::from_millis(500);

/// Makes the call of `plan` through the firewall at `firewall`, to its end. Blocks.
pub(super) fn call(plan: &Plan, firewall: SocketAddr) -> io::Result<Outcome> {
    std::thread::sleep(plan.after);
    let sip = UdpSocket::bind((plan.from, 0))?;
    let audio = UdpSocket::bind((plan.from, 0))?;
    sip.set_read_timeout(Some(Duration::from_millis(20)))?;
    let mut caller = Caller { plan, firewall, here: sip.local_addr()?, sip, outcome: Outcome::default() };
    caller.outcome.call_id = caller.call_id();
    caller.run(audio)?;
    Ok(caller.outcome)
}

struct Caller<'a> {
    plan: &'a Plan,
    firewall: SocketAddr,
    here: SocketAddr,
    sip: UdpSocket,
    outcome: Outcome,
}

impl Caller<'_> {
    fn run(&mut self, audio: UdpSocket) -> io::Result<()> {
        let target = format!("sip:{}@{}", self.plan.dials, self.firewall);
        let invite = self.request("INVITE", &target, "1 INVITE", None, &sip_text::description(audio.local_addr()?));
        let dialled = clock::now();
        let Some(answer) = self.until_final(&invite, dialled)? else { return Ok(()) };
        self.outcome.status = answer.status();
        let to = answer.header("To").map(str::to_owned);
        let remote = answer.uri_in("Contact").unwrap_or(&target).to_owned();
        if answer.status() != Some(200) {
            let ack = self.request("ACK", &target, "1 ACK", to.as_deref(), "");
            self.send(&ack)?;
            return Ok(());
        }
        let ack = self.request("ACK", &remote, "1 ACK", to.as_deref(), "");
        self.send(&ack)?;
        let answered = clock::now();
        self.outcome.answered_after = Some(answered.duration_since(dialled));
        let Some(there) = answer.audio_target() else {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the answer names no audio"));
        };
        let seed = u32::from(self.here.port());
        let line = Line::start(audio, there, Arc::clone(&self.plan.says), seed)?;
        self.talk(answered, &ack, &remote, to.as_deref())?;
        self.outcome.heard = line.finish();
        Ok(())
    }

    /// Sends the INVITE, repeats it as timer A asks, waits for the final response.
    fn until_final(&self, invite: &str, dialled: Instant) -> io::Result<Option<Text>> {
        self.send(invite)?;
        let (mut wait, mut again, mut provisional) = (T1, dialled + T1, false);
        loop {
            let now = clock::now();
            if now > dialled + PATIENCE {
                return Ok(None);
            }
            if !provisional && now >= again {
                self.send(invite)?;
                wait *= 2;
                again = now + wait;
            }
            let Some(text) = self.receive()? else { continue };
            match text.status() {
                Some(100..200) => provisional = true,
                Some(_) if text.cseq_method() == Some("INVITE") => return Ok(Some(text)),
                Some(_) | None => {}
            }
        }
    }

    /// Until the other side hangs up or the script is over.
    fn talk(&mut self, answered: Instant, ack: &str, remote: &str, to: Option<&str>) -> io::Result<()> {
        while clock::now() < answered + self.plan.talks_for {
            let Some(text) = self.receive()? else { continue };
            if text.method() == Some("BYE") {
                self.send(&sip_text::response(&text, "200 OK", "demo", &self.contact(), ""))?;
                self.outcome.ended_by_peer = Some(clock::now().duration_since(answered));
                return Ok(());
            }
            if text.status() == Some(200) && text.cseq_method() == Some("INVITE") {
                self.send(ack)?;
            }
        }
        let bye = self.request("BYE", remote, "2 BYE", to, "");
        for _ in 0..4 {
            self.send(&bye)?;
            let sent = clock::now();
            while clock::now() < sent + T1 {
                if self.receive()?.is_some_and(|text| text.status().is_some() && text.cseq_method() == Some("BYE")) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn call_id(&self) -> String {
        format!("{}@{}", self.name(), self.here)
    }

    fn name(&self) -> String {
        self.plan.name.replace([' ', '\''], "-")
    }

    fn contact(&self) -> String {
        format!("sip:{}@{}", self.plan.number, self.here)
    }

    fn request(&self, method: &str, uri: &str, cseq: &str, to: Option<&str>, body: &str) -> String {
        let (name, call_id) = (self.name(), self.call_id());
        let mut out = format!("{method} {uri} SIP/2.0\r\n");
        let _ = write!(
            out,
            "Via: SIP/2.0/UDP {here};branch=z9hG4bKdemo-{name}-{branch};rport\r\nMax-Forwards: 70\r\n\
             From: <sip:{number}@{here}>;tag=demo-{name}\r\nTo: {to}\r\nCall-ID: {call_id}\r\nCSeq: {cseq}\r\n\
             Contact: <{contact}>\r\nAllow: INVITE, ACK, BYE, CANCEL, OPTIONS\r\n",
            here = self.here,
            // An ACK to a failure belongs to the INVITE's transaction, one to a success does not.
            branch = if method == "ACK" && self.outcome.status == Some(200) { "2xx" } else { &cseq[..1] },
            number = self.plan.number,
            to = to.map_or_else(|| format!("<{uri}>"), str::to_owned),
            contact = self.contact(),
        );
        sip_text::finish(&mut out, body);
        out
    }

    fn send(&self, text: &str) -> io::Result<()> {
        self.sip.send_to(text.as_bytes(), self.firewall).map(|_| ())
    }

    fn receive(&self) -> io::Result<Option<Text>> {
        let mut buffer = [0_u8; 65_535];
        match self.sip.recv_from(&mut buffer) {
            Ok((length, _)) => Ok(Text::read(&buffer[..length])),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
