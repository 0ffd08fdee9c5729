//! A source that floods: 600 OPTIONS in a second, as a scanner sends them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

/// Where the flood comes from: no trunk.
pub(super) const SOURCE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 9, 9));

/// Messages; more than any stranger may send in a second.
const MESSAGES: u32 = 600;

/// What came of it.
pub(super) struct Flood {
    pub(super) sent: u32,
    pub(super) answered: u32,
}

pub(super) fn flood(firewall: SocketAddr) -> std::io::Result<Flood> {
    // The calls have begun by then, and must not suffer.
    std::thread::sleep(Duration::from_secs(2));
    let socket = UdpSocket::bind((SOURCE, 0))?;
    socket.set_nonblocking(true)?;
    let here = socket.local_addr()?;
    let mut flood = Flood { sent: 0, answered: 0 };
    let mut buffer = [0; 2_048];
    for number in 0..MESSAGES {
        let message = format!(
            "OPTIONS sip:100@{firewall} SIP/2.0\r\nVia: SIP/2.0/UDP {here};branch=z9hG4bK{number};rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:100@{here}>;tag={number}\r\nTo: <sip:100@{firewall}>\r\n\
             Call-ID: scan-{number}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
        );
        flood.sent += u32::from(socket.send_to(message.as_bytes(), firewall).is_ok());
        flood.answered += u32::from(socket.recv_from(&mut buffer).is_ok());
        if number % 10 == 9 {
            std::thread::sleep(Duration::from_millis(15));
        }
    }
    std::thread::sleep(Duration::from_millis(300));
    while socket.recv_from(&mut buffer).is_ok() {
        flood.answered += 1;
    }
    Ok(flood)
}
