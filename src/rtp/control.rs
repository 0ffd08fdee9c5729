//! What a call asks of the media path, and what the media path tells a call.

use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::srtp::{MasterKey, Stand, Suite};
use crate::units::{CallId, Leg, PerLeg, SampleRate};

/// A payload that the tap can decode or that a prompt can be encoded into; anything else is relayed as it is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub enum Codec {
    /// G.711 mu-law, RFC 3551 §4.5.14.
    Pcmu,
    /// G.711 A-law.
    Pcma,
    /// G.722 at 64 kbit/s, RFC 3551 §4.5.2.
    G722,
    /// RFC 7587.
    Opus,
}

impl Codec {
    /// Numbers that mean these where nothing else is said (RFC 3551 §6).
    pub(super) const STATIC: [(u8, Codec); 3] = [(0, Self::Pcmu), (8, Self::Pcma), (9, Self::G722)];

    /// By its name and clock in a description (RFC 3551 §6, RFC 7587 §7). None: it is only relayed.
    #[must_use]
    pub fn named(encoding: &str, clock: u32) -> Option<Self> {
        let known = [
            ("PCMU", Self::Pcmu),
            ("PCMA", Self::Pcma),
            ("G722", Self::G722),
            ("opus", Self::Opus),
            // In Asterisk.
            ("G711U", Self::Pcmu),
            ("G711A", Self::Pcma),
        ];
        let is = |(name, codec): &(&str, Self)| encoding.eq_ignore_ascii_case(name) && codec.clock().get() == clock;
        known.into_iter().find(is).map(|(_, codec)| codec)
    }

    /// By its static payload type (RFC 3551 §6), where the description calls that something that nobody knows at this
    /// clock: PBXs go by the number then, and talk goes on in it. A name that they know stands in its place.
    fn numbered(number: u8, encoding: &str, clock: u32) -> Option<Self> {
        let is_other = |(name, clocks): &(&str, &[u32])| encoding.eq_ignore_ascii_case(name) && clocks.contains(&clock);
        if OTHERS.iter().any(is_other) {
            return None;
        }
        Self::STATIC.into_iter().find(|(other, _)| *other == number).map(|(_, codec)| codec)
    }

    /// True for a static payload type that is what its number says, whatever its description calls it.
    #[must_use]
    pub fn is_misnamed(number: u8, encoding: &str, clock: u32) -> bool {
        Self::named(encoding, clock).is_none() && Self::numbered(number, encoding, clock).is_some()
    }

    /// At which its timestamps run.
    #[must_use]
    pub fn clock(self) -> SampleRate {
        match self {
            Self::Pcmu | Self::Pcma | Self::G722 => SampleRate::TELEPHONE,
            Self::Opus => OPUS_CLOCK,
        }
    }
}

/// Keys in the order of their events, 0 to 15 (RFC 4733 §3.2, table 7); beyond them are tones and trunk events.
pub const KEYS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', '*', '#', 'A', 'B', 'C', 'D'];

/// What Asterisk knows by name beside our codecs, with its clocks: what is only relayed, and what is no audio.
const OTHERS: [(&str, &[u32]); 20] = {
    const NARROW: &[u32] = &[8_000];
    [
        ("telephone-event", NARROW),
        ("cisco-telephone-event", NARROW),
        ("CN", NARROW),
        ("GSM", NARROW),
        ("G723", NARROW),
        ("G729", NARROW),
        ("G729A", NARROW),
        ("G.729", NARROW),
        ("G726-32", NARROW),
        ("AAL2-G726-32", NARROW),
        ("iLBC", NARROW),
        ("LPC", NARROW),
        ("DVI4", NARROW),
        ("CODEC2", NARROW),
        ("L16-256", &[16_000]),
        ("G7221", &[16_000, 32_000]),
        ("G719", &[48_000]),
        ("speex", &[8_000, 16_000, 32_000]),
        ("SILK", &[8_000, 12_000, 16_000, 24_000]),
        ("L16", &[8_000, 12_000, 16_000, 24_000, 32_000, 44_100, 48_000, 96_000, 192_000]),
    ]
};

/// RTP clock of Opus, whatever is in the packet (RFC 7587 §4.1).
pub const OPUS_CLOCK: SampleRate = SampleRate::hz(48_000);

/// Where one leg's media go and what they hold, from its own session description.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct StreamPlan {
    /// Where RTP for this leg is sent until it has latched; None while on hold with no address.
    pub rtp: Option<SocketAddr>,
    /// Where RTCP is sent; None: RTP port + 1.
    pub rtcp: Option<SocketAddr>,
    /// Payload types that are decodable here, in the order of preference of the description.
    pub codecs: Vec<(u8, Codec)>,
    /// Payload type of `telephone-event/8000` (RFC 4733).
    pub telephone_event: Option<u8>,
    /// The same of `telephone-event/48000`, by the clock of Opus (RFC 4733 §2.1).
    #[serde(default)]
    pub wide_event: Option<u8>,
    /// Static payload types of our codecs that the description calls something else, which is only relayed: a bit for
    /// each of [`StreamPlan::renamed`].
    #[serde(default)]
    pub renamed: u8,
    /// SRTP that ends here; None: plain RTP, or SRTP between the peers that passes as it is.
    #[serde(default)]
    pub srtp: Option<Box<SrtpPlan>>,
    /// A fax by T.38: datagrams that are no RTP, relayed as they are.
    #[serde(default)]
    pub fax: bool,
    /// SRTP between the peers, whose keys are agreed on beside the media (DTLS, RFC 5764).
    #[serde(default)]
    pub dtls: bool,
    /// Beside what is named above, there are codecs that are only relayed.
    #[serde(default)]
    pub others: bool,
}

impl StreamPlan {
    /// By where RTP goes, and by each payload type of a description with its encoding and clock in hertz.
    #[must_use]
    pub fn described<'a>(rtp: Option<SocketAddr>, encodings: impl Iterator<Item = (u8, &'a str, u32)>) -> Self {
        let mut plan = Self { rtp, ..Self::default() };
        for (number, encoding, clock) in encodings {
            if let Some(codec) = Codec::named(encoding, clock).or_else(|| Codec::numbered(number, encoding, clock)) {
                plan.codecs.push((number, codec));
            } else if encoding.eq_ignore_ascii_case("telephone-event") {
                match SampleRate::hz(clock) {
                    SampleRate::TELEPHONE => plan.telephone_event = Some(number),
                    OPUS_CLOCK => plan.wide_event = Some(number),
                    _ => {}
                }
            } else {
                plan.others |= !encoding.eq_ignore_ascii_case("CN");
                if let Some(bit) = Codec::STATIC.iter().position(|(ours, _)| *ours == number) {
                    plan.renamed |= 1 << bit;
                }
            }
        }
        plan
    }

    /// Payload types that are not what their number says, and nothing that the tap can decode.
    pub fn renamed(&self) -> impl Iterator<Item = u8> {
        Codec::STATIC
            .into_iter()
            .enumerate()
            .filter(|(bit, _)| self.renamed & 1 << bit != 0)
            .map(|(_, (number, _))| number)
    }
}

/// SRTP of one leg that ends here, from both descriptions (RFC 4568).
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct SrtpPlan {
    /// Of both directions.
    pub suite: Suite,
    /// Key of what we send.
    pub ours: MasterKey,
    /// Key of what the peer sends; None: it has said none, and nothing of it is let in.
    pub theirs: Option<MasterKey>,
    /// Where another process was with these keys.
    pub rollovers: Rollovers,
    /// Another process has used these keys.
    pub resumed: bool,
}

/// How often the 16-bit numbers of a leg's packets have come round: both ends count it, and no packet says it.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Rollovers {
    /// Of what the peer sends.
    pub heard: u32,
    /// Of what it is sent.
    pub sent: u32,
    /// Of each source that the peer sends.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub heard_of: Vec<Stand>,
    /// Of each one that it is sent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sent_of: Vec<Stand>,
}

/// Name of a prompt: the stem of its file, `callee-diverted`.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct PromptId(pub Arc<str>);

/// Keys of a leg that are held back.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Held {
    /// All of them.
    All,
    /// One more press of this one, if it begins within [`LAST_KEY`]: its telephone has told of it by INFO already.
    Last(char),
    /// None, from the next press on.
    Nothing,
}

/// A telephone that presses a key in two ways at once does so within this time.
pub const LAST_KEY: Duration = Duration::from_secs(1);

/// One of the things that a call has played to a leg: rises with each.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct PlayId(pub u32);

impl PlayId {
    /// The one behind it.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }
}

/// What a call asks of the media path. Sent in order; commands for a call that is gone are ignored. A call's video has
/// ports and streams of its own, under the name [`CallId::video`]: neither tap nor prompts.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum MediaCommand {
    /// Take a port pair for each leg and answer with `MediaEvent::Opened` or `Failed`.
    Open {
        /// Which call.
        call: CallId,
        /// The local address that each leg's peer can reach.
        local: PerLeg<IpAddr>,
        /// Exactly these RTP ports, which another process had for the call; None: whichever are free.
        ports: Option<PerLeg<u16>>,
    },
    /// Media of this leg came from here before a restart, which its description does not say.
    Latch {
        /// Which call.
        call: CallId,
        /// Whose media.
        leg: Leg,
        /// Where they came from.
        address: SocketAddr,
    },
    /// What this leg's peer said in its (latest) session description.
    Plan {
        /// Which call.
        call: CallId,
        /// Whose description.
        leg: Leg,
        /// What it says.
        plan: StreamPlan,
    },
    /// The callee answered: call time 0.
    Answered {
        /// Which call.
        call: CallId,
        /// Copy both legs to the tap from now on.
        analyse: bool,
    },
    /// Stop copying to the tap.
    StopTap {
        /// Which call.
        call: CallId,
    },
    /// Media from one leg no longer reach the other, or do again. They are still heard by the tap.
    Cut {
        /// Which call.
        call: CallId,
        /// Whose media.
        from: Leg,
        /// False: they do again.
        cut: bool,
    },
    /// Play prompts one after another; `Finished` follows when the last has ended. Replaces what plays there. While it
    /// plays, the other leg's media are not forwarded to `to`.
    Play {
        /// Which call.
        call: CallId,
        /// Who hears it.
        to: Leg,
        /// At most eight.
        prompts: Vec<PromptId>,
        /// What `Finished` will call it.
        play: PlayId,
    },
    /// Stop what plays to `to`; no `Finished` follows.
    StopPlay {
        /// Which call.
        call: CallId,
        /// Who hears it.
        to: Leg,
    },
    /// Which keys of one leg no longer reach the other. They are still told.
    HoldKeys {
        /// Which call.
        call: CallId,
        /// Whose keys.
        from: Leg,
        /// Which.
        held: Held,
    },
    /// Press a key for the other leg, as an event (RFC 4733), where the peers have agreed on events; `Finished`
    /// follows.
    Press {
        /// Which call.
        call: CallId,
        /// Who hears it.
        to: Leg,
        /// `0` to `9`, `*`, `#`, `A` to `D`.
        key: char,
        /// What `Finished` will call it.
        play: PlayId,
    },
    /// Play prompts over what the other leg says, which is quieter meanwhile; where it cannot be mixed, in its place.
    /// Behind what plays there already. `Finished` follows.
    Whisper {
        /// Which call.
        call: CallId,
        /// Who hears it.
        to: Leg,
        /// At most eight.
        prompts: Vec<PromptId>,
        /// What `Finished` will call it.
        play: PlayId,
    },
    /// The call has ended: close its sockets and rest its ports.
    Close {
        /// Which call.
        call: CallId,
    },
}

/// What the media path tells a call.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum MediaEvent {
    /// Ports are bound. RTCP is one above.
    Opened {
        /// The RTP address that each leg's *peer* is to send to: goes into the session description sent to that peer.
        ports: PerLeg<SocketAddr>,
    },
    /// No port pair could be had, or the media path has lost the call by a fault of its own.
    Failed,
    /// The peer on `leg` pressed a key (RFC 4733; while keys are held, also as a tone in G.711), once per press.
    Digit {
        /// Who pressed.
        leg: Leg,
        /// `0` to `9`, `*`, `#`, `A` to `D`.
        digit: char,
    },
    /// Media of `leg` come from somewhere else than before.
    Latched {
        /// Whose media.
        leg: Leg,
        /// Where from; None: from where its description says.
        address: Option<SocketAddr>,
    },
    /// Numbers of a leg's SRTP have come so far that somebody who goes on with the call must know.
    Rolled {
        /// Which leg.
        leg: Leg,
        /// How often by now.
        rollovers: Rollovers,
    },
    /// All that was to be played to `to` has been, up to this. A missing file counts as played and is reported.
    Finished {
        /// Who heard it.
        to: Leg,
        /// The last of it: another one may have been asked for meanwhile.
        play: PlayId,
    },
    /// Neither leg has sent RTP or reports for the media timeout.
    Silent,
    /// A caller who is copied to the tap sends a payload that the tap cannot decode.
    Unheard,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_knows_codecs_and_keys_by_encoding_and_clock() {
        let encodings = [
            (111, "opus", 48_000),
            (18, "G729", 8_000),
            (8, "pcma", 8_000),
            (97, "G722", 16_000),
            (0, "X", 8_000),
            (9, "CN", 8_000),
            (101, "Telephone-Event", 8_000),
            (110, "telephone-event", 48_000),
            (102, "telephone-event", 16_000),
        ];

        let plan = StreamPlan::described(None, encodings.into_iter());

        let codecs = vec![(111, Codec::Opus), (8, Codec::Pcma), (0, Codec::Pcmu)];
        let expected = StreamPlan {
            codecs,
            renamed: 0b100,
            telephone_event: Some(101),
            wide_event: Some(110),
            others: true,
            ..StreamPlan::default()
        };
        assert_eq!(plan, expected);
        let companions = [(8, "PCMA", 8_000), (13, "CN", 8_000), (101, "telephone-event", 16_000)];
        assert!(!StreamPlan::described(None, companions.into_iter()).others);
    }

    /// Asterisk takes a static number for what its line says only where it knows that name at that clock.
    #[test]
    fn a_static_number_is_what_a_known_name_says_and_else_what_it_is() {
        let codec = |number: u8, encoding: &str, clock: u32| {
            StreamPlan::described(None, [(number, encoding, clock)].into_iter()).codecs.first().map(|(_, codec)| *codec)
        };

        for (encoding, clock) in
            [("GSM", 8_000), ("gsm", 8_000), ("AAL2-G726-32", 8_000), ("speex", 16_000), ("CN", 8_000)]
        {
            assert_eq!([0, 8, 9].map(|number| codec(number, encoding, clock)), [None; 3], "{encoding}/{clock}");
        }
        let numbers = [Codec::Pcmu, Codec::Pcma, Codec::G722].map(Some);
        for (encoding, clock) in [
            ("X", 8_000),
            ("PCMA", 16_000),
            ("GSM", 16_000),
            ("CN", 16_000),
            ("AMR", 8_000),
            ("telephone-event", 16_000),
        ] {
            assert_eq!([0, 8, 9].map(|number| codec(number, encoding, clock)), numbers, "{encoding}/{clock}");
        }
        assert_eq!((codec(0, "G711A", 8_000), codec(8, "g711u", 8_000)), (Some(Codec::Pcma), Some(Codec::Pcmu)));
    }
}
