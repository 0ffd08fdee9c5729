//! One telephone's audio: sends a script's samples as G.711 mu-law, keeps what it hears.
//!
//! In: samples at 8 kHz and where to send them. Out: what was heard, laid out by its RTP timestamps.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::io::clock;

/// Samples of a packet at 8 kHz, and the time that they last. Said here again: the demo's telephones share no code with
/// the firewall.
const FRAME: usize = 160;
const FRAME_TIME: Duration = Duration::from_millis(20);
/// A telephone of the demo never listens for longer than this, whatever it is sent.
const LONGEST: usize = 8_000 * 90;

/// A running stream; ends when told to, or with the telephone.
pub(super) struct Line {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Vec<i16>>>,
}

impl Line {
    /// Starts sending `samples` (then silence) to `to` and listening on `socket`.
    pub(super) fn start(socket: UdpSocket, to: SocketAddr, samples: Arc<[i16]>, seed: u32) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("demo-line".into())
            .spawn(move || run(&socket, to, &samples, seed, &told))?;
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Stops, and gives back what was heard since the start.
    pub(super) fn finish(mut self) -> Vec<i16> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().and_then(|thread| thread.join().ok()).unwrap_or_default()
    }
}

fn run(socket: &UdpSocket, to: SocketAddr, samples: &[i16], seed: u32, stop: &AtomicBool) -> Vec<i16> {
    let started = clock::now();
    let mut received = Received::default();
    let mut packet = [0_u8; 12 + FRAME];
    for number in 0_u32.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let first = usize::try_from(number).unwrap_or(usize::MAX).saturating_mul(FRAME);
        packet[0] = 0x80;
        packet[1] = 0;
        packet[2..4].copy_from_slice(&(number as u16).to_be_bytes());
        packet[4..8].copy_from_slice(&number.wrapping_mul(FRAME as u32).wrapping_add(seed).to_be_bytes());
        packet[8..12].copy_from_slice(&seed.to_be_bytes());
        for (offset, byte) in packet[12..].iter_mut().enumerate() {
            *byte = encode(samples.get(first.saturating_add(offset)).copied().unwrap_or(0));
        }
        let _ = socket.send_to(&packet, to);
        received.take_all(socket, started);
        let due = started + FRAME_TIME * (number + 1);
        std::thread::sleep(due.saturating_duration_since(clock::now()));
    }
    received.take_all(socket, started);
    received.samples
}

/// What came in, placed by timestamp behind the moment the first packet arrived.
#[derive(Default)]
struct Received {
    samples: Vec<i16>,
    base: Option<(u32, usize)>,
}

impl Received {
    fn take_all(&mut self, socket: &UdpSocket, started: Instant) {
        let mut buffer = [0_u8; 2_048];
        while let Ok((length, _)) = socket.recv_from(&mut buffer) {
            self.take(&buffer[..length], clock::now().duration_since(started));
        }
    }

    fn take(&mut self, packet: &[u8], since_start: Duration) {
        let Some(([_, kind, _, _, t0, t1, t2, t3, ..], payload)) = packet.split_first_chunk::<12>() else { return };
        if kind & 0x7F != 0 {
            return;
        }
        let timestamp = u32::from_be_bytes([*t0, *t1, *t2, *t3]);
        let arrived = usize::try_from(since_start.as_millis()).unwrap_or(LONGEST).saturating_mul(8);
        let (base, at) = *self.base.get_or_insert((timestamp, arrived));
        let start = at + usize::try_from(timestamp.wrapping_sub(base)).unwrap_or(LONGEST);
        let end = start.saturating_add(payload.len());
        if end > LONGEST {
            return;
        }
        if self.samples.len() < end {
            self.samples.resize(end, 0);
        }
        for (slot, byte) in self.samples[start..end].iter_mut().zip(payload) {
            *slot = decode(*byte);
        }
    }
}

/// G.711 mu-law, by its definition: 14-bit magnitude, bias 33, eight segments.
fn encode(sample: i16) -> u8 {
    let sign = if sample < 0 { 0x80 } else { 0 };
    let magnitude = (i32::from(sample).abs() >> 2).min(8_158) + 33;
    let segment = (26 - magnitude.leading_zeros()) as i32;
    let step = (magnitude >> (segment + 1)) & 0x0F;
    !(sign | ((segment as u8) << 4) | step as u8)
}

fn decode(byte: u8) -> i16 {
    let byte = !byte;
    let segment = i32::from((byte >> 4) & 7);
    let magnitude = ((((i32::from(byte & 0x0F) << 1) + 33) << segment) - 33) << 2;
    (if byte & 0x80 == 0 { magnitude } else { -magnitude }) as i16
}

#[cfg(test)]
mod tests {
    use super::{decode, encode};

    #[test]
    fn mu_law_returns_every_code_word() {
        for byte in 0..=255_u8 {
            let again = encode(decode(byte));

            // Two code words mean zero; all others are their own.
            assert!(again == byte || (byte == 0x7F && again == 0xFF), "{byte:#x} became {again:#x}");
        }
    }
}
