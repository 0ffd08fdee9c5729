//! Telephones and a trunk over TCP and TLS.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection, StreamOwned};

use super::{PATIENCE, answer, description, header};

/// A connection, with or without TLS.
pub(crate) enum Line {
    Plain(TcpStream),
    Client(Box<StreamOwned<ClientConnection, TcpStream>>),
    Server(Box<StreamOwned<ServerConnection, TcpStream>>),
}

impl Line {
    /// From an address of this machine to another.
    pub(crate) fn tcp(ip: &str, to: SocketAddr) -> Self {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::new(ip.parse().unwrap(), 0).into()).unwrap();
        socket.connect(&to.into()).unwrap();
        let stream = TcpStream::from(socket);
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self::Plain(stream)
    }

    pub(crate) fn tls(ip: &str, to: SocketAddr, config: &Arc<ClientConfig>) -> Self {
        let Self::Plain(stream) = Self::tcp(ip, to) else { unreachable!() };
        let name = ServerName::try_from("ringfence.test").unwrap();
        let client = ClientConnection::new(Arc::clone(config), name).unwrap();
        Self::Client(Box::new(StreamOwned::new(client, stream)))
    }

    pub(crate) fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Client(stream) => &stream.sock,
            Self::Server(stream) => &stream.sock,
        }
    }

    /// One message, by its Content-Length. None: the connection has ended.
    pub(crate) fn message(&mut self) -> Option<String> {
        let mut text = Vec::new();
        let mut byte = [0];
        while !text.ends_with(b"\r\n\r\n") {
            self.read_exact(&mut byte).ok()?;
            text.push(byte[0]);
        }
        let head = String::from_utf8(text).unwrap();
        let mut body = vec![0; header(&head, "Content-Length").parse().unwrap()];
        self.read_exact(&mut body).ok()?;
        Some(head + std::str::from_utf8(&body).unwrap())
    }
}

impl Read for Line {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Client(stream) => stream.read(buffer),
            Self::Server(stream) => stream.read(buffer),
        }
    }
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Client(stream) => stream.write(bytes),
            Self::Server(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Client(stream) => stream.flush(),
            Self::Server(stream) => stream.flush(),
        }
    }
}

/// A telephone on a connection of its own; it also listens, for when that is gone.
pub(crate) struct Phone {
    pub(crate) line: Line,
    listener: TcpListener,
    word: &'static str,
    name: String,
    to: String,
    target: String,
}

impl Phone {
    pub(crate) fn tcp(ip: &str, firewall: SocketAddr) -> Self {
        Self::on(ip, firewall, "TCP", Line::tcp(ip, firewall))
    }

    pub(crate) fn tls(ip: &str, firewall: SocketAddr, config: &Arc<ClientConfig>) -> Self {
        Self::on(ip, firewall, "TLS", Line::tls(ip, firewall, config))
    }

    fn on(ip: &str, firewall: SocketAddr, word: &'static str, line: Line) -> Self {
        static PHONES: AtomicU32 = AtomicU32::new(0);
        let listener = TcpListener::bind((ip.parse::<IpAddr>().unwrap(), 0)).unwrap();
        let name = format!("s{}", PHONES.fetch_add(1, Ordering::Relaxed));
        let target = format!("sip:{firewall}");
        Self { line, listener, word, name, to: format!("<{target}>"), target }
    }

    pub(crate) fn request(&self, method: &str, number: u32, body: &str) -> String {
        let (here, name, word) = (self.listener.local_addr().unwrap(), &self.name, self.word);
        let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        format!(
            "{method} {} SIP/2.0\r\nVia: SIP/2.0/{word} {here};branch=z9hG4bK{name}{method}{number};rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:+441632960001@{here}>;tag=caller\r\nTo: {}\r\nCall-ID: {name}\r\n\
             CSeq: {number} {method}\r\nContact: <sip:c@{here};transport={}>\r\n{kind}Content-Length: {}\r\n\r\n{body}",
            self.target,
            self.to,
            word.to_ascii_lowercase(),
            body.len()
        )
    }

    pub(crate) fn send(&mut self, text: &str) {
        self.line.write_all(text.as_bytes()).unwrap();
        self.line.flush().unwrap();
    }

    /// The next message.
    pub(crate) fn receive(&mut self) -> String {
        self.line.message().expect("a message")
    }

    /// The final answer to a request.
    pub(crate) fn request_and_answer(&mut self, method: &str, number: u32) -> String {
        self.send(&self.request(method, number, ""));
        loop {
            let text = self.receive();
            if text.starts_with("SIP/2.0 ") && !text.starts_with("SIP/2.0 1") {
                return text;
            }
        }
    }

    /// Dials; the final answer, acknowledged.
    pub(crate) fn invite(&mut self, extension: &str) -> String {
        let firewall = self.line.socket().peer_addr().unwrap();
        self.target = format!("sip:{extension}@{firewall};transport={}", self.word.to_ascii_lowercase());
        self.to = format!("<sip:{extension}@{firewall}>");
        let here = self.listener.local_addr().unwrap();
        self.send(&self.request("INVITE", 1, &description(here)));
        loop {
            let text = self.receive();
            if text.starts_with("SIP/2.0 1") {
                continue;
            }
            self.to = header(&text, "To").to_owned();
            if text.starts_with("SIP/2.0 200") {
                let contact = header(&text, "Contact");
                self.target = contact.trim_start_matches('<').trim_end_matches('>').to_owned();
                self.send(&self.request("ACK", 1, ""));
            } else {
                self.send(&self.request("ACK", 1, "").replace("ACK1;rport", "INVITE1;rport"));
            }
            return text;
        }
    }

    /// Waits for the end of the connection; what still comes is of no interest.
    pub(crate) fn is_closed(&mut self) -> bool {
        let mut rest = [0; 4_096];
        loop {
            match self.line.read(&mut rest) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => {
                    return !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut);
                }
            }
        }
    }

    /// Loses its connection, and can still be reached.
    pub(crate) fn loses_its_line(self) -> Waiting {
        let _ = self.line.socket().shutdown(Shutdown::Both);
        Waiting(self.listener)
    }
}

/// A telephone that waits to be connected to.
pub(crate) struct Waiting(TcpListener);

impl Waiting {
    /// The next request, answered.
    pub(crate) fn next_request(&self) -> String {
        self.next(Line::Plain)
    }

    /// The same behind a handshake.
    pub(crate) fn next_request_over_tls(&self, config: Arc<ServerConfig>) -> String {
        self.next(|stream| {
            let server = ServerConnection::new(config).unwrap();
            Line::Server(Box::new(StreamOwned::new(server, stream)))
        })
    }

    fn next(&self, line: impl FnOnce(TcpStream) -> Line) -> String {
        let (stream, from) = self.0.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut line = line(stream);
        let request = line.message().unwrap();
        line.write_all(answer(&request, "200 OK", "x", from, "").as_bytes()).unwrap();
        line.flush().unwrap();
        request
    }
}

/// A trunk that answers every call at once, on as many connections as come.
pub(crate) struct FarTrunk {
    pub(crate) address: SocketAddr,
    connections: Arc<AtomicU32>,
    /// The newest one.
    line: Arc<Mutex<Option<TcpStream>>>,
    requests: Arc<Mutex<Vec<String>>>,
}

impl FarTrunk {
    pub(crate) fn tcp(ip: &str) -> Self {
        Self::start(ip, None, false)
    }

    pub(crate) fn tls(ip: &str, config: Arc<ServerConfig>) -> Self {
        Self::start(ip, Some(config), false)
    }

    /// One that ends as it reads its first call, and is there again at once.
    pub(crate) fn started_again(ip: &str) -> Self {
        Self::start(ip, None, true)
    }

    fn start(ip: &str, config: Option<Arc<ServerConfig>>, loses_first: bool) -> Self {
        let listener = TcpListener::bind((ip.parse::<IpAddr>().unwrap(), 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let (connections, requests) = (Arc::new(AtomicU32::new(0)), Arc::new(Mutex::new(Vec::new())));
        let (counted, heard) = (Arc::clone(&connections), Arc::clone(&requests));
        let newest = Arc::new(Mutex::new(None));
        let line = Arc::clone(&newest);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let loses = counted.fetch_add(1, Ordering::Relaxed) == 0 && loses_first;
                *newest.lock().unwrap() = stream.try_clone().ok();
                let heard = Arc::clone(&heard);
                let line = match &config {
                    None => Line::Plain(stream),
                    Some(config) => {
                        let server = ServerConnection::new(Arc::clone(config)).unwrap();
                        Line::Server(Box::new(StreamOwned::new(server, stream)))
                    }
                };
                std::thread::spawn(move || Self::serve(line, address, &heard, loses));
            }
        });
        Self { address, connections, line, requests }
    }

    fn serve(mut line: Line, address: SocketAddr, heard: &Mutex<Vec<String>>, loses: bool) {
        while let Some(text) = line.message() {
            heard.lock().unwrap().push(text.clone());
            if loses && text.starts_with("INVITE ") {
                let _ = line.socket().shutdown(Shutdown::Both);
                return;
            }
            let body = if text.starts_with("INVITE ") { description(address) } else { String::new() };
            if !text.starts_with("ACK ") && !text.starts_with("SIP/2.0") {
                let _ = line.write_all(answer(&text, "200 OK", "far", address, &body).as_bytes());
                let _ = line.flush();
            }
        }
    }

    /// Closes the newest connection.
    pub(crate) fn hang_up(&self) {
        self.line.lock().unwrap().take().unwrap().shutdown(std::net::Shutdown::Both).unwrap();
    }

    pub(crate) fn connections(&self) -> u32 {
        self.connections.load(Ordering::Relaxed)
    }

    /// What has come, oldest first.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}
