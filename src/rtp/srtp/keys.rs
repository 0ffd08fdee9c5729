//! Master keys, and the session keys that come of them (RFC 3711 §4.3).

use std::fmt;

use aes::Aes128Enc;
use aes::cipher::{InnerIvInit as _, KeyInit as _, StreamCipher as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ctr::CtrCore;
use ctr::cipher::StreamCipherCoreWrapper;
use hmac::{Hmac, Mac as _};
use serde::{Deserialize, Serialize};
use sha1::Sha1;

type Counter = StreamCipherCoreWrapper<CtrCore<Aes128Enc, ctr::flavors::Ctr128BE>>;

/// Key and salt of a crypto attribute (RFC 4568 §6.2.1): 128 and 112 bits. Never shown.
#[derive(Clone, Eq, PartialEq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct MasterKey([u8; 30]);

impl MasterKey {
    /// Of random bytes.
    #[must_use]
    pub fn new(bytes: [u8; 30]) -> Self {
        Self(bytes)
    }

    /// One that nobody without `secret`, which is random, can guess: another for each `name`.
    #[must_use]
    pub fn derived(secret: &[u8; 16], name: &[u8]) -> Self {
        let block = |n: u8| -> [u8; 20] {
            hmac(secret).chain_update(b"SRTP").chain_update(name).chain_update([n]).finalize().into_bytes().into()
        };
        let mut bytes = [0; 30];
        for (to, from) in bytes.iter_mut().zip(block(0).into_iter().chain(block(1))) {
            *to = from;
        }
        Self(bytes)
    }

    /// As a crypto attribute holds it, in base64.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 30];
        // 30 bytes are 40 characters without padding.
        let length = STANDARD.decode_slice(text, &mut bytes).ok()?;
        (length == bytes.len() && text.len() == 40).then_some(Self(bytes))
    }

    /// For a crypto attribute of ours.
    #[must_use]
    pub fn to_base64(&self) -> String {
        STANDARD.encode(self.0)
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(..)")
    }
}

impl TryFrom<String> for MasterKey {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).ok_or("no master key")
    }
}

impl From<MasterKey> for String {
    fn from(key: MasterKey) -> Self {
        key.to_base64()
    }
}

/// Crypto suites that are spoken (RFC 4568 §6.2). Both use AES-128 in counter mode; they differ in the tag of RTP.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Suite {
    /// `AES_CM_128_HMAC_SHA1_80`.
    Aes128Sha1_80,
    /// `AES_CM_128_HMAC_SHA1_32`.
    Aes128Sha1_32,
}

impl Suite {
    /// In the order in which we offer them.
    pub const ALL: [Suite; 2] = [Suite::Aes128Sha1_80, Suite::Aes128Sha1_32];

    /// As in a crypto attribute.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Aes128Sha1_80 => "AES_CM_128_HMAC_SHA1_80",
            Self::Aes128Sha1_32 => "AES_CM_128_HMAC_SHA1_32",
        }
    }

    /// Bytes of the tag behind an RTP packet.
    pub(super) fn tag(self) -> usize {
        match self {
            Self::Aes128Sha1_80 => 10,
            Self::Aes128Sha1_32 => 4,
        }
    }
}

/// Bytes that SHA-1 takes at a time.
const BLOCK: usize = 64;

/// Bytes of the tag behind an RTCP packet, in both suites.
pub(super) const RTCP_TAG: usize = 10;

/// Keys of RTP, or of RTCP, in one direction.
#[derive(Clone)]
pub(super) struct SessionKeys {
    cipher: Aes128Enc,
    salt: [u8; 14],
    mac: Hmac<Sha1>,
}

impl fmt::Debug for SessionKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionKeys(..)")
    }
}

impl SessionKeys {
    pub(super) fn rtp(master: &MasterKey) -> Self {
        Self::derived(master, 0)
    }

    pub(super) fn rtcp(master: &MasterKey) -> Self {
        Self::derived(master, 3)
    }

    fn derived(master: &MasterKey, first_label: u8) -> Self {
        let key = derive::<16>(master, first_label);
        let mac = derive::<20>(master, first_label + 1);
        // The inner and outer block of the MAC are hashed once, not for each packet.
        Self { cipher: Aes128Enc::new(&key.into()), salt: derive::<14>(master, first_label + 2), mac: hmac(&mac) }
    }

    /// Encrypts or decrypts (RFC 3711 §4.1.1): `index` is the 48 bits of RTP or the 31 bits of RTCP.
    pub(super) fn apply(&self, ssrc: u32, index: u64, bytes: &mut [u8]) {
        let [_, _, packet @ ..] = index.to_be_bytes();
        let mut iv = [0; 16];
        for (to, salt) in iv.iter_mut().zip(self.salt) {
            *to = salt;
        }
        for (to, from) in iv.iter_mut().skip(4).zip(ssrc.to_be_bytes().into_iter().chain(packet)) {
            *to ^= from;
        }
        Counter::from_core(CtrCore::inner_iv_init(self.cipher.clone(), &iv.into())).apply_keystream(bytes);
    }

    /// The tag over `bytes` and what follows them without being sent; how many of its first bytes count says the suite.
    pub(super) fn tag(&self, bytes: &[u8], behind: &[u8]) -> [u8; 20] {
        self.mac.clone().chain_update(bytes).chain_update(behind).finalize().into_bytes().into()
    }

    /// Whether `tag` is that of `bytes`, in constant time.
    pub(super) fn verifies(&self, bytes: &[u8], behind: &[u8], tag: &[u8]) -> bool {
        !tag.is_empty() && self.mac.clone().chain_update(bytes).chain_update(behind).verify_truncated_left(tag).is_ok()
    }
}

/// A key that is shorter than a block is one with zeros behind it (RFC 2104 §2): with a whole block nothing can fail.
fn hmac<const N: usize>(key: &[u8; N]) -> Hmac<Sha1> {
    const { assert!(N <= BLOCK, "a longer key would be hashed first") };
    let mut block = [0; BLOCK];
    for (to, from) in block.iter_mut().zip(key) {
        *to = *from;
    }
    Hmac::new(&block.into())
}

/// RFC 3711 §4.3.1 with a key derivation rate of 0.
fn derive<const N: usize>(master: &MasterKey, label: u8) -> [u8; N] {
    let (mut key, mut iv) = ([0; 16], [0; 16]);
    for (to, from) in key.iter_mut().chain(iv.iter_mut()).zip(master.0) {
        *to = from;
    }
    iv[7] ^= label;
    let mut out = [0; N];
    Counter::from_core(CtrCore::inner_iv_init(Aes128Enc::new(&key.into()), &iv.into())).apply_keystream(&mut out);
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        digits.chunks(2).map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap()).collect()
    }

    fn master() -> MasterKey {
        let bytes = [hex("E1F97A0D3E018BE0D64FA32C06DE4139"), hex("0EC675AD498AFEEBB6960B3AABE6")].concat();
        MasterKey::new(bytes.try_into().unwrap())
    }

    #[test]
    fn keys_are_derived_as_in_rfc_3711_appendix_b_3() {
        assert_eq!(derive::<16>(&master(), 0).to_vec(), hex("C61E7A93744F39EE10734AFE3FF7A087"));
        assert_eq!(derive::<14>(&master(), 2).to_vec(), hex("30CBBC08863D8C85D49DB34A9AE1"));
        // The first 20 of the 94 bytes of that example: HMAC-SHA1 takes no more.
        assert_eq!(derive::<20>(&master(), 1).to_vec(), hex("CEBE321F6FF7716B6FD4AB49AF256A156D38BAA4"));
    }

    #[test]
    fn the_keystream_is_that_of_rfc_3711_appendix_b_2() {
        let keys = SessionKeys {
            cipher: Aes128Enc::new(&<[u8; 16]>::try_from(hex("2B7E151628AED2A6ABF7158809CF4F3C")).unwrap().into()),
            salt: hex("F0F1F2F3F4F5F6F7F8F9FAFBFCFD").try_into().unwrap(),
            mac: hmac(&[0; 20]),
        };
        let mut stream = vec![0; 0xFF02 * 16];
        keys.apply(0, 0, &mut stream);

        let block = |n: usize| stream[n * 16..(n + 1) * 16].to_vec();
        assert_eq!(block(0), hex("E03EAD0935C95E80E166B16DD92B4EB4"));
        assert_eq!(block(1), hex("D23513162B02D0F72A43A2FE4A5F97AB"));
        assert_eq!(block(2), hex("41E95B3BB0A2E8DD477901E4FCA894C0"));
        assert_eq!(block(0xFEFF), hex("EC8CDF7398607CB0F2D21675EA9EA1E4"));
        assert_eq!(block(0xFF00), hex("362B7C3C6773516318A077D7FC5073AE"));
        assert_eq!(block(0xFF01), hex("6A2CC3787889374FBEB4C81B17BA6C44"));
    }

    #[test]
    fn a_mac_is_that_of_rfc_2202() {
        let of = |mac: Hmac<Sha1>, text: &[u8]| mac.chain_update(text).finalize().into_bytes().to_vec();

        assert_eq!(of(hmac(&[0x0B; 20]), b"Hi There"), hex("B617318655057264E28BC0B6FB378C8EF146BE00"));
        let question = b"what do ya want for nothing?";
        assert_eq!(of(hmac(b"Jefe"), question), hex("EFFCDF6AE5EB2FA2D27416D5F184DF9C259A7C79"));
    }

    #[test]
    fn keys_are_read_and_written_but_never_shown() {
        let text = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz";
        let key = MasterKey::parse(text).unwrap();

        assert_eq!(key.to_base64(), text);
        assert_eq!(format!("{key:?} {:?}", SessionKeys::rtp(&key)), "MasterKey(..) SessionKeys(..)");
        for bad in ["", "AAAA", &text[1..], &format!("{text}="), &format!("{text}AAAA"), &text.replace('W', "*")] {
            assert_eq!(MasterKey::parse(bad), None, "{bad}");
        }
    }
}
