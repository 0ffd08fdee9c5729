//! Connections of the API: no more than a few, whoever on this machine opens them.
//!
//! Each is an open file, and calls need those too. Nobody is refused: one that has been open longest makes room, which
//! with so many is idle or somebody's who reads nothing.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

/// Most connections at a time.
const MOST: usize = 32;
/// Rest where the system has no file for another one.
const NO_FILES: Duration = Duration::from_secs(1);

/// The listener, and what has come through it.
pub(super) struct Connections {
    listener: TcpListener,
    /// Oldest first. Whichever is dropped here ends.
    open: VecDeque<oneshot::Sender<Infallible>>,
}

/// One connection.
pub(super) struct Connection {
    stream: TcpStream,
    end: oneshot::Receiver<Infallible>,
    ended: bool,
}

impl Connections {
    pub(super) fn new(listener: TcpListener) -> Self {
        Self { listener, open: VecDeque::new() }
    }
}

impl Listener for Connections {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        loop {
            let (stream, peer) = match self.listener.accept().await {
                Ok(accepted) => accepted,
                // The one who asked has gone meanwhile.
                Err(error) if is_the_peers(error.kind()) => continue,
                Err(_) => {
                    tokio::time::sleep(NO_FILES).await;
                    continue;
                }
            };
            self.open.retain(|open| !open.is_closed());
            if self.open.len() >= MOST {
                self.open.pop_front();
            }
            let (open, end) = oneshot::channel();
            self.open.push_back(open);
            return (Connection { stream, end, ended: false }, peer);
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

fn is_the_peers(error: io::ErrorKind) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error, ConnectionAborted | ConnectionRefused | ConnectionReset)
}

impl Connection {
    /// An error once it has had to make room.
    fn goes_on(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        self.ended = self.ended || Pin::new(&mut self.end).poll(context).is_ready();
        if self.ended { Err(io::ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.goes_on(context)?;
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.goes_on(context)?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

    use std::io::{Read as _, Write as _};
    use std::net::TcpStream;

    use axum::Router;
    use axum::routing::get;

    use super::*;

    fn ask(mut stream: &TcpStream) -> String {
        let mut answer = [0; 1_024];
        stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let length = stream.read(&mut answer).unwrap();
        String::from_utf8_lossy(&answer[..length]).into_owned()
    }

    #[test]
    fn whoever_opens_many_connections_loses_the_oldest_and_shuts_nobody_out() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        std::thread::spawn(move || {
            runtime.block_on(async {
                let connections = Connections::new(tokio::net::TcpListener::from_std(listener).unwrap());
                axum::serve(connections, Router::new().route("/", get(async || "here"))).await
            })
        });
        let open = || {
            let stream = TcpStream::connect(address).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
            stream
        };

        let idle: Vec<TcpStream> = (0..3 * MOST).map(|_| open()).collect();

        assert!(ask(&open()).ends_with("here"));
        assert_eq!((&idle[0]).read(&mut [0; 1]).unwrap(), 0, "it has made room");
        assert!(ask(&idle[3 * MOST - 1]).ends_with("here"));
    }
}
