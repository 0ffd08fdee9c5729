//! A second section that passes beside the anchored one: a camera's.

use super::rewrite::digits;
use super::{Media, Sdp};

/// Which feedback may come, as a wish for a whole picture (RFC 4585 §4.2, RFC 5104 §7). It passes with video; in audio,
/// prompts of ours change the numbers that it would name.
pub(super) const FEEDBACK: &str = "a=rtcp-fb:";

/// A section beside the anchored one, and our port for it; RTCP is one above.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Beside {
    /// Its place among the sections.
    pub section: usize,
    /// Even.
    pub port: u16,
}

/// The same as it is written.
pub(super) struct Written {
    pub(super) section: usize,
    pub(super) port: String,
    pub(super) rtcp_port: String,
}

impl Written {
    pub(super) fn new(Beside { section, port }: Beside) -> Self {
        Self { section, port: digits(port), rtcp_port: digits(port | 1) }
    }
}

/// False for a body that describes no video, at the cost of a look.
#[must_use]
pub fn may_show(body: &[u8]) -> bool {
    body.windows(3).any(|three| matches!(three, [b'm', b'=', b'v' | b'V']))
}

impl Media<'_> {
    /// Pictures over RTP, in the clear or with keys that are not ours, and not refused.
    #[must_use]
    fn is_video(&self) -> bool {
        const PROFILES: [&str; 4] = ["RTP/AVP", "RTP/AVPF", "RTP/SAVP", "RTP/SAVPF"];
        self.kind.eq_ignore_ascii_case("video")
            && self.port > 0
            && PROFILES.iter().any(|profile| self.protocol.eq_ignore_ascii_case(profile))
    }
}

impl Sdp<'_> {
    /// The section that may pass beside the anchored one: the first video that is not refused. None beside a fax.
    #[must_use]
    pub fn video(&self) -> Option<usize> {
        if self.media.len() < 2 {
            return None;
        }
        let talk = self.anchored_media().is_some_and(|media| !media.is_fax());
        talk.then(|| self.media.iter().position(Media::is_video))?
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::super::{BadSdp, Protection};
    use super::*;

    const HEAD: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n";
    const AUDIO: &str = "m=audio 4000 RTP/AVP 0\r\n";
    const VIDEO: &str = "m=video 4002 RTP/AVP 99\r\n";

    /// The sections as they are written at 192.0.2.9:5000, video at 5010.
    fn written(media: &str) -> String {
        let text = format!("{HEAD}{media}");
        let sdp = Sdp::read(text.as_bytes()).unwrap();
        assert_eq!(may_show(text.as_bytes()), media.contains("m=video"));
        let beside = sdp.video().map(|section| Beside { section, port: 5_010 });
        let mut out = Vec::new();
        let at = "192.0.2.9:5000".parse().unwrap();
        match sdp.anchored() {
            Some(anchored) => sdp.protected(anchored, beside, at, &Protection::AsItIs, &mut out),
            None => sdp.refused(at.ip(), &mut out),
        }
        String::from_utf8(out).unwrap().split_once("t=0 0\r\n").unwrap().1.to_owned()
    }

    #[test]
    fn the_first_video_passes_and_all_else_is_refused() {
        let second = "m=video 4006 RTP/AVP 99\r\na=content:slides\r\n";
        let slides = "m=application 4008 UDP/BFCP *\r\na=floorctrl:c-s\r\n";

        assert_eq!(
            written(&[AUDIO, VIDEO, second, slides].concat()),
            "m=audio 5000 RTP/AVP 0\r\nm=video 5010 RTP/AVP 99\r\nm=video 0 RTP/AVP 99\r\na=content:slides\r\n\
             m=application 0 UDP/BFCP *\r\na=floorctrl:c-s\r\n"
        );
        assert_eq!(written(&[VIDEO, AUDIO].concat()), "m=video 5010 RTP/AVP 99\r\nm=audio 5000 RTP/AVP 0\r\n");
        let refused = VIDEO.replace("4002", "0");
        assert_eq!(
            written(&[AUDIO, &refused, VIDEO].concat()),
            "m=audio 5000 RTP/AVP 0\r\nm=video 0 RTP/AVP 99\r\nm=video 5010 RTP/AVP 99\r\n"
        );
        assert_eq!(written(VIDEO), refused, "no talk, no call");
    }

    #[test]
    fn addresses_ports_and_ways_around_us_leave_a_video_and_what_it_is_stays() {
        let media = format!(
            "{AUDIO}a=rtcp-fb:* trr-int 5\r\nm=video 4002/2 RTP/SAVPF 99 100\r\nc=IN IP6 2001:db8::7\r\nb=AS:2000\r\n\
             a=rtcp:4100 IN IP4 203.0.113.7\r\na=rtcp-mux\r\na=mid:1\r\na=candidate:1 1 UDP 1 203.0.113.8 9 typ host\r\n\
             a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz\r\n\
             a=rtpmap:99 H264/90000\r\na=fmtp:99 profile-level-id=42e01f\r\na=rtcp-fb:99 nack pli\r\na=recvonly\r\n"
        );

        assert_eq!(
            written(&media),
            "m=audio 5000 RTP/AVP 0\r\nm=video 5010 RTP/SAVPF 99 100\r\nc=IN IP4 192.0.2.9\r\nb=AS:2000\r\na=rtcp:5011\r\n\
             a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz\r\n\
             a=rtpmap:99 H264/90000\r\na=fmtp:99 profile-level-id=42e01f\r\na=rtcp-fb:99 nack pli\r\na=recvonly\r\n"
        );
    }

    #[test]
    fn ways_around_us_and_keys_leave_in_whatever_spelling_they_are_written() {
        let lines = "a=Candidate:1 1 UDP 1 203.0.113.8 9 typ host\r\na=ICE-ufrag:x\r\na=Rtcp-Mux\r\na=MID:1\r\n\
                     a=Crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz\r\n\
                     a=RTCP:4100 IN IP4 203.0.113.7\r\na=\tice-pwd:x\r\na= candidate:2 1 UDP 1 203.0.113.8 9 typ host\r\n\
                     a=crypto 2 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz\r\n\
                     a=mid :1\r\n";
        let text = format!("{HEAD}{AUDIO}{lines}");
        let sdp = Sdp::read(text.as_bytes()).unwrap();
        let mut out = Vec::new();
        sdp.protected(0, None, "192.0.2.9:5000".parse().unwrap(), &Protection::Plain, &mut out);

        let out = String::from_utf8(out).unwrap();
        assert!(out.ends_with("m=audio 5000 RTP/AVP 0\r\na=rtcp:5001\r\n"), "{out}");
    }

    #[test]
    fn in_the_other_family_the_address_changes_with_the_family() {
        let text = format!("{HEAD}{AUDIO}{VIDEO}c=IN IP4 192.0.2.7\r\n");
        let sdp = Sdp::read(text.as_bytes()).unwrap();
        let beside = sdp.video().map(|section| Beside { section, port: 5_010 });
        let mut out = Vec::new();
        sdp.protected(0, beside, "[2001:db8::9]:5000".parse().unwrap(), &Protection::AsItIs, &mut out);

        assert_eq!(
            String::from_utf8(out).unwrap(),
            "v=0\r\no=- 1 1 IN IP6 2001:db8::9\r\ns=-\r\nc=IN IP6 2001:db8::9\r\nt=0 0\r\nm=audio 5000 RTP/AVP 0\r\n\
             m=video 5010 RTP/AVP 99\r\nc=IN IP6 2001:db8::9\r\n"
        );
    }

    #[test]
    fn what_cannot_be_relayed_beside_a_talk_is_no_video() {
        let of = |media: &str| Sdp::read(format!("{HEAD}{media}").as_bytes()).map(|sdp| sdp.video());

        assert_eq!(of(&format!("{AUDIO}m=VIDEO 4002 rtp/avpf 99\r\n")).unwrap(), Some(1));
        for profile in ["UDP/TLS/RTP/SAVPF", "TCP/RTP/AVP", "udptl", "RTP/AVPX"] {
            assert_eq!(of(&format!("{AUDIO}{}", VIDEO.replace("RTP/AVP", profile))).unwrap(), None, "{profile}");
        }
        assert_eq!(of(&format!("m=audio 0 RTP/AVP 0\r\nm=image 4004 udptl t38\r\n{VIDEO}")).unwrap(), None);
        assert_eq!(of(&format!("{AUDIO}{}", VIDEO.repeat(200))), Err(BadSdp::OverLimit));
        assert_eq!(of(&format!("{AUDIO}{}", VIDEO.repeat(15))).unwrap(), Some(1));
        assert_eq!(of(&format!("{AUDIO}{}", VIDEO.replace("4002", "65536"))), Err(BadSdp::Malformed));
    }
}
