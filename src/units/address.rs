//! Addresses: whether one means something elsewhere; and as text, with small numbers, for each message.

use std::fmt::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};

/// In a network whose addresses mean nothing elsewhere; 100.64.0.0/10 is the carriers' NAT (RFC 6598). Loopback is not
/// among them: it is this machine.
#[must_use]
pub fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            ip.is_private() || ip.is_link_local() || (ip.octets()[0] == 100 && ip.octets()[1] & 0xC0 == 64)
        }
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

/// Writes the same text as the address itself, but in one piece where that writes a dozen. Most of a forwarded message
/// is copied, and addresses were half of the cost of the rest.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Plain<T>(pub T);

/// `255.255.255.255:65535`
const LONGEST: usize = 21;

/// Text of an IPv4 address.
struct Text {
    bytes: [u8; LONGEST],
    length: usize,
}

impl Text {
    fn of(ip: Ipv4Addr) -> Self {
        let mut text = Self { bytes: [0; LONGEST], length: 0 };
        for (place, octet) in ip.octets().into_iter().enumerate() {
            if place > 0 {
                text.put(b'.');
            }
            text.number(octet.into());
        }
        text
    }

    fn with_port(address: SocketAddrV4) -> Self {
        let mut text = Self::of(*address.ip());
        text.put(b':');
        text.number(address.port());
        text
    }

    fn put(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(self.length) {
            *place = byte;
            self.length += 1;
        }
    }

    fn number(&mut self, mut number: u16) {
        let mut digits = [0; 5];
        let mut written = 0;
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + (number % 10) as u8;
            number /= 10;
            written += 1;
            if number == 0 {
                break;
            }
        }
        digits.iter().skip(digits.len() - written).for_each(|digit| self.put(*digit));
    }

    fn as_str(&self) -> &str {
        self.bytes.get(..self.length).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default()
    }
}

impl Plain<u16> {
    /// Appends it.
    pub fn write_to(self, out: &mut String) {
        let mut text = Text { bytes: [0; LONGEST], length: 0 };
        text.number(self.0);
        out.push_str(text.as_str());
    }
}

impl Plain<IpAddr> {
    /// Appends it.
    pub fn write_to(self, out: &mut String) {
        match self.0 {
            IpAddr::V4(ip) => out.push_str(Text::of(ip).as_str()),
            // Writing to a String cannot fail.
            IpAddr::V6(ip) => {
                let _ = write!(out, "{ip}");
            }
        }
    }
}

impl Plain<SocketAddr> {
    /// Appends it.
    pub fn write_to(self, out: &mut String) {
        match self.0 {
            SocketAddr::V4(address) => out.push_str(Text::with_port(address).as_str()),
            // Writing to a String cannot fail.
            SocketAddr::V6(address) => {
                let _ = write!(out, "{address}");
            }
        }
    }
}

impl fmt::Display for Plain<IpAddr> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(ip) => f.write_str(Text::of(ip).as_str()),
            IpAddr::V6(ip) => write!(f, "{ip}"),
        }
    }
}

impl fmt::Display for Plain<SocketAddr> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            SocketAddr::V4(address) => f.write_str(Text::with_port(address).as_str()),
            SocketAddr::V6(address) => write!(f, "{address}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_reads_as_it_writes_itself() {
        for text in ["0.0.0.0:0", "255.255.255.255:65535", "192.0.2.10:5060", "10.1.100.99:10000", "[2001:db8::1]:5061"]
        {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(Plain(address).to_string(), text);
            assert_eq!(Plain(address.ip()).to_string(), address.ip().to_string());
            let mut written = String::new();
            Plain(address.ip()).write_to(&mut written);
            Plain(address.port()).write_to(&mut written);
            assert_eq!(written, format!("{}{}", address.ip(), address.port()));
        }
        for port in 0..=u16::MAX {
            let address = SocketAddr::from(([127, 0, 0, 1], port));
            assert_eq!(Plain(address).to_string(), address.to_string());
        }
    }
}
