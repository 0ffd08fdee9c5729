//! Which codecs a description names, and taking some of them out.

use smallvec::SmallVec;

use super::{Media, RtpMap, Sdp, behind, number_and_rest, payload_type, rtpmap};

/// Formats of a section that may pass.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Left {
    /// As written.
    All,
    /// Those in `formats`, as the media line is to say it.
    Some(Box<str>),
    /// No codec: the section counts as refused.
    None,
}

/// From here on a payload type means what is said of it, and nothing by itself (RFC 3551 §3).
const DYNAMIC: u8 = 96;

/// Payload types of telephony that need no statement, all at 8 kHz (RFC 3551 §6).
const STATIC: [(u8, &str); 10] = [
    (0, "PCMU"),
    (3, "GSM"),
    (4, "G723"),
    (5, "DVI4"),
    (7, "LPC"),
    (8, "PCMA"),
    (9, "G722"),
    (13, "CN"),
    (15, "G728"),
    (18, "G729"),
];

/// Encoding and clock of a payload type that is not stated.
pub(super) fn static_encoding(payload_type: u8) -> Option<(&'static str, u32)> {
    let known = STATIC.iter().find(|(number, _)| *number == payload_type);
    known.map(|(_, encoding)| (*encoding, 8_000))
}

/// Goes with any codec, and is none itself: keys (RFC 4733) and comfort noise (RFC 3389).
fn accompanies(encoding: &str) -> bool {
    ["telephone-event", "CN"].iter().any(|known| encoding.eq_ignore_ascii_case(known))
}

impl Sdp<'_> {
    /// Takes from its audio all codecs that do not pass, with what is said of them; keys and comfort noise stay. Where
    /// no codec is left, the section counts as refused.
    pub fn keep_codecs(&mut self, passes: impl Fn(&str) -> bool) {
        for media in self.media.iter_mut().filter(|media| media.kind.eq_ignore_ascii_case("audio")) {
            let encoding = |number: &u8| media.encoding(*number).map(|(encoding, _)| encoding);
            let may = |encoding: &str| passes(encoding) || accompanies(encoding);
            let kept = media.formats.iter().copied().filter(|number| encoding(number).is_some_and(may));
            let kept: SmallVec<[u8; 16]> = kept.collect();
            let codec = kept.iter().any(|number| encoding(number).is_some_and(|encoding| !accompanies(encoding)));
            if !codec {
                media.left = Left::None;
            } else if kept.len() < media.formats.len() {
                let formats: String = kept.iter().map(|number| format!(" {number}")).collect();
                (media.formats, media.left) = (kept, Left::Some(formats.into()));
            }
        }
    }

    /// Takes from its audio what is said of these payload types: their number says what they are.
    pub fn forget_names(&mut self, of: impl Fn(&RtpMap<'_>) -> bool) {
        for media in self.media.iter_mut().filter(|media| media.kind.eq_ignore_ascii_case("audio")) {
            media.rtpmaps.retain(|map| !of(map));
        }
    }

    /// True where a section that is not refused has no codec left.
    #[must_use]
    pub fn has_nothing_left(&self) -> bool {
        self.media.iter().any(|media| media.port > 0 && media.left == Left::None)
    }
}

/// An attribute, by its name and on, of a payload type that has been taken out of this section.
pub(super) fn is_of_none(value: &str, Media { left, formats, .. }: &Media<'_>) -> bool {
    if !matches!(left, Left::Some(_)) {
        return false;
    }
    let said = behind(value, "rtpmap").or_else(|| behind(value, "fmtp"));
    let number = said.map(|said| payload_type(number_and_rest(said).0));
    number.is_some_and(|number| number.is_none_or(|number| !formats.contains(&number)))
}

/// How a line goes on that says what a payload type means.
pub(super) enum Meaning<'a> {
    /// As it is.
    Stays,
    /// This of this number.
    Said(&'a str, &'a str),
    /// Not at all.
    Goes,
}

/// The other side is to read what we have read and decided on: some PBXs go by the first line of a number and some by
/// the last, and each overlooks other slips. So what contradicts the first line goes, and the rest is in plain
/// spelling. What cannot be read goes too, but for the only line of a number that some refuse to be told nothing of.
/// None: another attribute.
pub(super) fn meaning<'a>(value: &'a str, media: &Media<'_>) -> Option<Meaning<'a>> {
    let text = behind(value, "rtpmap")?;
    let (digits, said) = number_and_rest(text);
    let Some(number) = payload_type(digits) else { return Some(Meaning::Goes) };
    let first = media.rtpmaps.iter().find(|map| map.payload_type == number);
    let stands = match (first, rtpmap(text)) {
        (Some(first), Some(this)) => first.clock == this.clock && first.encoding.eq_ignore_ascii_case(this.encoding),
        (Some(_), None) => false,
        (None, _) => number >= DYNAMIC,
    };
    let plain = || value.strip_prefix("rtpmap:")?.strip_prefix(digits)?.strip_prefix(' ');
    Some(match stands {
        false => Meaning::Goes,
        true if plain() == Some(said) => Meaning::Stays,
        true => Meaning::Said(digits, said),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    const HEAD: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n";

    /// What is left of the media lines, and which section is anchored.
    fn kept(media: &str, codecs: &[&str]) -> (String, Option<usize>, bool) {
        let text = format!("{HEAD}{media}");
        let mut sdp = Sdp::read(text.as_bytes()).unwrap();
        sdp.keep_codecs(|encoding| codecs.iter().any(|codec| codec.eq_ignore_ascii_case(encoding)));
        let mut out = Vec::new();
        let at = "192.0.2.1:4000".parse().unwrap();
        match sdp.anchored() {
            Some(anchored) => sdp.rewritten(anchored, at, &mut out),
            None => sdp.refused(at.ip(), &mut out),
        }
        let out = String::from_utf8(out).unwrap();
        (out.split_once("t=0 0\r\n").unwrap().1.to_owned(), sdp.anchored(), sdp.has_nothing_left())
    }

    #[test]
    fn codecs_leave_with_what_is_said_of_them() {
        let media = "m=audio 4000 RTP/AVP 111 0 8 18 13 101 110\r\na=rtpmap:111 opus/48000/2\r\n\
                     a=fmtp:111 useinbandfec=1\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:18 G729/8000\r\n\
                     a=fmtp:18\tannexb=no\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\n\
                     a=rtpmap:110 telephone-event/48000\r\na=ptime:20\r\n";

        let (left, anchored, nothing) = kept(media, &["PCMA", "pcmu"]);

        assert_eq!(
            left,
            "m=audio 4000 RTP/AVP 0 8 13 101 110\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\n\
             a=fmtp:101 0-15\r\na=rtpmap:110 telephone-event/48000\r\na=ptime:20\r\n"
        );
        assert_eq!((anchored, nothing), (Some(0), false));
        assert_eq!(kept(media, &["OPUS", "G729", "PCMU", "PCMA"]).0, media, "what passes is not touched");
    }

    #[test]
    fn a_section_without_a_codec_is_refused_and_stays_whole() {
        let media =
            "m=audio 4000 RTP/AVP 111 101\r\na=rtpmap:111 opus/48000/2\r\na=rtpmap:101 telephone-event/8000\r\n";

        let (left, anchored, nothing) = kept(media, &["PCMA"]);

        assert_eq!((left, anchored, nothing), (media.replace("4000", "0"), None, true));
        // The second audio section of two, and a number that nobody explains.
        let two = format!("{media}m=audio 4002 RTP/AVP 8 99\r\n");
        let (left, anchored, _) = kept(&two, &["PCMA"]);
        assert_eq!(anchored, Some(1));
        assert!(
            left.ends_with("m=audio 4000 RTP/AVP 8\r\n") && left.starts_with("m=audio 0 RTP/AVP 111 101\r\n"),
            "{left}"
        );
    }

    #[test]
    fn of_what_is_said_of_a_number_only_what_we_go_by_goes_on() {
        let head = "m=audio 4000 RTP/AVP 0 96 97 101\r\n";
        let lines = "a=rtpmap:101 PCMU/8000\r\na=rtpmap:96 PCMU/8000\r\na=rtpmap:97 opus/48000/2\r\n";
        let left = |more: &str| kept(&format!("{head}{lines}{more}a=ptime:20\r\n"), &["PCMU", "opus", "iLBC"]).0;

        for other in [
            "a=rtpmap:101 telephone-event/8000\r\na=rtpmap:96 iLBC/8000\r\n",
            "a=rtpmap:101 PCMU/16000\r\n",
            "a=RTPMAP:101 telephone-event/8000\r\na= Rtpmap \t:\t101 telephone-event/8000\r\n",
            "a=rtpmap:: 101telephone-event/8000\r\na=rtpmap 101\ttelephone-event/8000\r\n",
            "a=rtpmap:101 telephone-event 8000\r\na=rtpmap:101 telephone-event\r\n",
            "a=rtpmap:+101 telephone-event/8000\r\na=rtpmap:0101 telephone-event/8000\r\n",
            "a=rtpmap:4294967397 telephone-event/8000\r\n",
            "a=rtpmap:0 GSM 8000/8000\r\na=rtpmap:0 GSM;8000\r\na=rtpmap:0 GSM/0\r\na=rtpmap:0 GSM\r\n",
        ] {
            assert_eq!(left(other), format!("{head}{lines}a=ptime:20\r\n"), "{other}");
        }
        let more =
            "a=rtpmap:0 PCMU/8000\r\na=rtpmap:101 pcmu/8000/1\r\na=rtpmap:98 telephone-event\r\na=rtpmaps:101 X\r\n";
        assert_eq!(left(more), format!("{head}{lines}{more}a=ptime:20\r\n"), "nothing else is said");
    }

    #[test]
    fn what_some_read_and_others_do_not_goes_on_as_everybody_reads_it() {
        let media = "m=audio 4000 RTP/AVP 0 96 101 18\r\na=RTPMAP:0 PCMA/8000\r\na=rtpmap:\t96 opus/48000/2\r\n\
                     a= Rtpmap : 101\ttelephone-event/8000\r\na=rtpmap: 101 PCMU/8000\r\na=FMTP: 18 annexb=no\r\n";

        let (left, ..) = kept(media, &["PCMA", "opus"]);

        assert_eq!(
            left,
            "m=audio 4000 RTP/AVP 0 96 101\r\na=rtpmap:0 PCMA/8000\r\na=rtpmap:96 opus/48000/2\r\n\
             a=rtpmap:101 telephone-event/8000\r\n"
        );
    }

    #[test]
    fn what_was_refused_before_or_is_no_audio_is_nobodys_loss() {
        let media = "m=audio 0 RTP/AVP 111\r\nm=image 4000 udptl t38\r\n";

        assert_eq!(kept(media, &["PCMA"]), (media.to_owned(), Some(1), false));
    }
}
