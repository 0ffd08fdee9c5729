//! What counts as one source.

use std::net::{IpAddr, Ipv6Addr};

/// One IPv4 address, or one IPv6 /64: whoever has one address of it has them all.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct SourceKey(u128);

impl SourceKey {
    /// The source that `address` belongs to.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self(v4.to_ipv6_mapped().to_bits()),
            IpAddr::V6(v6) => Self(v6.to_bits() >> 64 << 64),
        }
    }

    /// Its address, or the first of the /64.
    #[must_use]
    pub fn address(self) -> IpAddr {
        IpAddr::V6(Ipv6Addr::from_bits(self.0)).to_canonical()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_64_is_one_source_and_an_ipv4_address_is_one() {
        let key = |text: &str| SourceKey::of(text.parse().unwrap());

        assert_eq!(key("2001:db8::1"), key("2001:db8::ffff:1"));
        assert_ne!(key("2001:db8::1"), key("2001:db8:0:1::1"));
        assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
        assert_eq!(key("::ffff:192.0.2.1"), key("192.0.2.1"));
        assert_eq!(key("192.0.2.1").address().to_string(), "192.0.2.1");
    }
}
