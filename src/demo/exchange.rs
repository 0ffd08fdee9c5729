//! The demo's small PBX: rings, answers each extension with its own script, hangs up when told.
//!
//! One thread serves all calls. What each extension heard is kept for the recordings.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::line::Line;
use super::sip_text::{self, Text};
use crate::io::clock;

/// Time from the first ring to the answer.
const RINGS_FOR: Duration = Duration::from_millis(800);
/// An extension hangs up by itself this long after its answer, however long the caller would go on.
const LONGEST_CALL: Duration = Duration::from_secs(45);
const T1: Duration = Duration::from_millis(500);

/// What a person at one extension says after the answer, 8 kHz.
pub(super) type Voices = HashMap<&'static str, Arc<[i16]>>;

/// The running PBX.
pub(super) struct Exchange {
    /// Where it takes calls.
    pub address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<HashMap<String, Vec<i16>>>>,
}

impl Exchange {
    /// Starts on a free port of `ip`.
    pub(super) fn start(ip: IpAddr, voices: Voices) -> io::Result<Self> {
        let socket = UdpSocket::bind((ip, 0))?;
        socket.set_read_timeout(Some(Duration::from_millis(10)))?;
        let address = socket.local_addr()?;
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let mut board = Board { socket, address, voices, calls: HashMap::new(), heard: HashMap::new() };
        let thread = std::thread::Builder::new().name("demo-pbx".into()).spawn(move || {
            while !told.load(Ordering::Relaxed) {
                if board.turn().is_err() {
                    break;
                }
            }
            board.close()
        })?;
        Ok(Self { address, stop, thread: Some(thread) })
    }

    /// Stops, and gives back what each extension heard.
    pub(super) fn finish(mut self) -> HashMap<String, Vec<i16>> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().and_then(|thread| thread.join().ok()).unwrap_or_default()
    }
}

struct Board {
    socket: UdpSocket,
    address: SocketAddr,
    voices: Voices,
    calls: HashMap<String, Ringing>,
    heard: HashMap<String, Vec<i16>>,
}

struct Ringing {
    extension: String,
    invite: Text,
    from: SocketAddr,
    audio: Option<UdpSocket>,
    answer: String,
    answer_at: Instant,
    repeat_at: Option<Instant>,
    answered: Option<Instant>,
    line: Option<Line>,
}

impl Board {
    fn turn(&mut self) -> io::Result<()> {
        let mut buffer = [0_u8; 65_535];
        match self.socket.recv_from(&mut buffer) {
            Ok((length, from)) => {
                if let Some(text) = Text::read(&buffer[..length]) {
                    self.take(text, from)?;
                }
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
            Err(error) => return Err(error),
        }
        self.due(clock::now())
    }

    fn take(&mut self, text: Text, from: SocketAddr) -> io::Result<()> {
        let id = text.header("Call-ID").unwrap_or_default().to_owned();
        match text.method() {
            Some("INVITE") if !self.calls.contains_key(&id) => self.ring(id, text, from)?,
            Some("ACK") => {
                if let Some(call) = self.calls.get_mut(&id) {
                    call.repeat_at = None;
                }
            }
            Some("BYE") => {
                self.send(&self.response(&text, "200 OK", ""), from)?;
                self.end(&id);
            }
            Some("CANCEL") => {
                self.send(&self.response(&text, "200 OK", ""), from)?;
                if let Some(call) = self.calls.remove(&id) {
                    self.send(&self.response(&call.invite, "487 Request Terminated", ""), call.from)?;
                }
            }
            Some("OPTIONS") => self.send(&self.response(&text, "200 OK", ""), from)?,
            Some(_) | None => {}
        }
        Ok(())
    }

    fn ring(&mut self, id: String, invite: Text, from: SocketAddr) -> io::Result<()> {
        let audio = UdpSocket::bind((self.address.ip(), 0))?;
        let extension = invite.first.trim_start_matches("INVITE sip:").split('@').next().unwrap_or_default();
        self.send(&self.response(&invite, "180 Ringing", ""), from)?;
        let call = Ringing {
            extension: extension.to_owned(),
            answer: self.response(&invite, "200 OK", &sip_text::description(audio.local_addr()?)),
            invite,
            from,
            audio: Some(audio),
            answer_at: clock::now() + RINGS_FOR,
            repeat_at: None,
            answered: None,
            line: None,
        };
        self.calls.insert(id, call);
        Ok(())
    }

    fn due(&mut self, now: Instant) -> io::Result<()> {
        let mut over = Vec::new();
        for (id, call) in &mut self.calls {
            if call.answered.is_none() && now >= call.answer_at {
                call.answered = Some(now);
                call.repeat_at = Some(now + T1);
                self.socket.send_to(call.answer.as_bytes(), call.from)?;
                if let (Some(audio), Some(there)) = (call.audio.take(), call.invite.audio_target()) {
                    let says = self.voices.get(call.extension.as_str()).cloned().unwrap_or_else(|| Arc::from([]));
                    call.line = Some(Line::start(audio, there, says, 77)?);
                }
            }
            if call.repeat_at.is_some_and(|at| now >= at) {
                call.repeat_at = Some(now + T1);
                self.socket.send_to(call.answer.as_bytes(), call.from)?;
            }
            if call.answered.is_some_and(|at| now >= at + LONGEST_CALL) {
                over.push(id.clone());
            }
        }
        for id in over {
            if let Some(call) = self.calls.get(&id) {
                let bye = self.bye(call, &id);
                self.send(&bye, call.from)?;
            }
            self.end(&id);
        }
        Ok(())
    }

    fn bye(&self, call: &Ringing, id: &str) -> String {
        let invite = &call.invite;
        let mut out = format!("BYE {} SIP/2.0\r\n", invite.uri_in("Contact").unwrap_or("sip:demo"));
        let _ = write!(
            out,
            "Via: SIP/2.0/UDP {here};branch=z9hG4bKpbx-bye;rport\r\nMax-Forwards: 70\r\n\
             From: {from};tag=pbx\r\nTo: {to}\r\nCall-ID: {id}\r\nCSeq: 1 BYE\r\n",
            here = self.address,
            from = invite.header("To").unwrap_or_default(),
            to = invite.header("From").unwrap_or_default(),
        );
        sip_text::finish(&mut out, "");
        out
    }

    fn end(&mut self, id: &str) {
        if let Some(mut call) = self.calls.remove(id)
            && let Some(line) = call.line.take()
        {
            self.heard.insert(call.extension, line.finish());
        }
    }

    fn close(mut self) -> HashMap<String, Vec<i16>> {
        let ids: Vec<String> = self.calls.keys().cloned().collect();
        for id in ids {
            self.end(&id);
        }
        self.heard
    }

    fn response(&self, request: &Text, status: &str, body: &str) -> String {
        sip_text::response(request, status, "pbx", &format!("sip:pbx@{}", self.address), body)
    }

    fn send(&self, text: &str, to: SocketAddr) -> io::Result<()> {
        self.socket.send_to(text.as_bytes(), to).map(|_| ())
    }
}
