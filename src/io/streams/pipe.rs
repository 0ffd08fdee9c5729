//! A socket, with or without TLS around it: bytes in, bytes out, never waiting.

use std::io::{self, Read as _, Write as _};

use mio::net::TcpStream;

use super::CloseReason;
use crate::sip::framing::Framer;

/// Of what is encrypted and has not left. What finds no room waits with the connection, where it is bounded.
const TLS_BUFFER: usize = 64 * 1024;

/// What one reading brought.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Reading {
    /// There may be more.
    More,
    /// No more for now.
    Dry,
    /// The peer has closed its side.
    End,
}

/// Why a pipe is of no use any more.
#[derive(Debug)]
pub(super) enum Broken {
    /// The system says so.
    Socket,
    /// The system says that the peer takes nothing.
    Silent,
    /// TLS says so.
    Tls(rustls::Error),
}

impl Broken {
    pub(super) fn reason(&self) -> CloseReason {
        match self {
            Self::Socket => CloseReason::Broken,
            Self::Silent => CloseReason::SlowReader,
            Self::Tls(_) => CloseReason::Tls,
        }
    }
}

/// The bytes' way.
pub(super) struct Pipe {
    pub(super) socket: TcpStream,
    tls: Option<Box<rustls::Connection>>,
}

impl Pipe {
    pub(super) fn plain(socket: TcpStream) -> Self {
        Self { socket, tls: None }
    }

    pub(super) fn tls(socket: TcpStream, mut tls: rustls::Connection) -> Self {
        tls.set_buffer_limit(Some(TLS_BUFFER));
        Self { socket, tls: Some(Box::new(tls)) }
    }

    pub(super) fn is_handshaking(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.is_handshaking())
    }

    /// Reads once.
    pub(super) fn read(&mut self, buffer: &mut [u8], framer: &mut Framer) -> Result<Reading, Broken> {
        let Some(tls) = &mut self.tls else {
            return match self.socket.read(buffer) {
                Ok(0) => Ok(Reading::End),
                Ok(length) => {
                    framer.push(buffer.get(..length).unwrap_or_default());
                    Ok(Reading::More)
                }
                Err(error) => reading(&error),
            };
        };
        match tls.read_tls(&mut self.socket) {
            Ok(0) => return Ok(Reading::End),
            Ok(_) => {}
            Err(error) => return reading(&error),
        }
        let processed = tls.process_new_packets();
        loop {
            match tls.reader().read(buffer) {
                Ok(0) => return Ok(Reading::End),
                Ok(length) => framer.push(buffer.get(..length).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => return Ok(Reading::End),
            }
        }
        // A handshake speaks in turn; a failed one says why.
        let flushed = self.flush();
        processed.map_err(Broken::Tls)?;
        flushed?;
        Ok(Reading::More)
    }

    /// Takes as many bytes as there is room for.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<usize, Broken> {
        let written = match &mut self.tls {
            None => self.socket.write(bytes),
            Some(tls) if tls.is_handshaking() => Ok(0),
            Some(tls) => tls.writer().write(bytes),
        };
        match written {
            Ok(length) => {
                self.flush()?;
                Ok(length)
            }
            Err(error) => waits(&error).map(|()| 0),
        }
    }

    /// Sends what is encrypted. True: nothing is left.
    pub(super) fn flush(&mut self) -> Result<bool, Broken> {
        let Some(tls) = &mut self.tls else { return Ok(true) };
        while tls.wants_write() {
            match tls.write_tls(&mut self.socket) {
                Ok(_) => {}
                Err(error) => return waits(&error).map(|()| false),
            }
        }
        Ok(true)
    }

    /// Says good-bye, as far as that can be done without waiting.
    pub(super) fn close(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
            let _ = self.flush();
        }
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
    }
}

/// What an error of a reading means.
fn reading(error: &io::Error) -> Result<Reading, Broken> {
    let kind = error.kind();
    if kind == io::ErrorKind::WouldBlock {
        Ok(Reading::Dry)
    } else if kind == io::ErrorKind::Interrupted {
        Ok(Reading::More)
    } else {
        Err(broken(kind))
    }
}

/// An error of a writing that only means "later".
fn waits(error: &io::Error) -> Result<(), Broken> {
    let later = matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted);
    if later { Ok(()) } else { Err(broken(error.kind())) }
}

fn broken(kind: io::ErrorKind) -> Broken {
    if kind == io::ErrorKind::TimedOut { Broken::Silent } else { Broken::Socket }
}
