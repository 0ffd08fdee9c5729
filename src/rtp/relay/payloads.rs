//! What the payload types of one leg's packets mean.

use crate::rtp::control::{Codec, OPUS_CLOCK, StreamPlan};
use crate::units::SampleRate;

/// Static payload type of comfort noise (RFC 3389 §4).
const COMFORT_NOISE: u8 = 13;

/// What a packet's payload is, by the call's session descriptions.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Payload {
    /// Not agreed on, or a codec that is only relayed.
    Other,
    /// Audio that the tap can decode.
    Audio(Codec),
    /// Comfort noise (RFC 3389).
    Noise,
    /// Key presses (RFC 4733), by the clock of a telephone.
    Event,
    /// The same by the clock of Opus (RFC 4733 §2.1).
    WideEvent,
}

impl Payload {
    /// The clock of a key press.
    pub(super) fn event_clock(self) -> Option<SampleRate> {
        match self {
            Payload::Event => Some(SampleRate::TELEPHONE),
            Payload::WideEvent => Some(OPUS_CLOCK),
            Payload::Other | Payload::Audio(_) | Payload::Noise => None,
        }
    }
}

/// Those payload types that mean something: a handful in a call, so they are looked through. A description may name 64
/// of them, and all are known: a caller must not escape the tap behind a long list.
#[derive(Debug, Default)]
pub struct Payloads {
    known: Box<[(u8, Payload)]>,
    /// The first of them were asked for by the peer that receives them.
    asked: u8,
}

impl Payloads {
    /// RFC 3264 §5.1: packets carry the numbers of the description that their sender was given, which is `given`, the
    /// other leg's; but a peer that goes by its `own` is understood too.
    #[must_use]
    pub fn new(given: &StreamPlan, own: &StreamPlan) -> Self {
        let mut known: Vec<(u8, Payload)> = Vec::new();
        let mut asked = 0;
        for (plan, is_given) in [(given, true), (own, false)] {
            let wide = plan.wide_event.map(|number| (number, Payload::WideEvent));
            let event = plan.telephone_event.map(|number| (number, Payload::Event));
            // A number that is said to be keys is never taken for a codec, and no key gets past as audio.
            let codecs = plan.codecs.iter().map(|&(number, codec)| (number, Payload::Audio(codec)));
            let renamed = plan.renamed().map(|number| (number, Payload::Other));
            for (number, payload) in wide.into_iter().chain(event).chain(codecs).chain(renamed) {
                if known.iter().all(|(other, _)| *other != number) {
                    known.push((number, payload));
                }
            }
            if is_given {
                asked = known.len() as u8;
            }
        }
        // A receiver may play these though no description names them, so they are heard here too.
        let unnamed = Codec::STATIC.map(|(number, codec)| (number, Payload::Audio(codec)));
        for (number, payload) in unnamed.into_iter().chain([(COMFORT_NOISE, Payload::Noise)]) {
            if known.iter().all(|(other, _)| *other != number) {
                known.push((number, payload));
            }
        }
        Self { known: known.into(), asked }
    }

    /// Has the peer that receives it asked for this number?
    #[must_use]
    pub fn is_asked_for(&self, number: u8) -> bool {
        self.known.iter().take(self.asked.into()).any(|(other, _)| *other == number)
    }

    /// What a packet with this number holds.
    #[must_use]
    pub fn of(&self, number: u8) -> Payload {
        self.known.iter().find(|(other, _)| *other == number).map_or(Payload::Other, |(_, payload)| *payload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_that_the_sender_was_given_come_first_and_its_own_are_understood_too() {
        let plan = |codecs: &[(u8, Codec)], event| StreamPlan {
            codecs: codecs.to_vec(),
            telephone_event: event,
            ..StreamPlan::default()
        };
        let given = plan(&[(0, Codec::Pcmu), (9, Codec::G722)], Some(101));
        let own = plan(&[(9, Codec::Pcma), (8, Codec::Pcma)], Some(96));
        let payloads = Payloads::new(&given, &own);
        let expected = [
            (0, Payload::Audio(Codec::Pcmu)),
            (8, Payload::Audio(Codec::Pcma)),
            (9, Payload::Audio(Codec::G722)),
            (13, Payload::Noise),
            (96, Payload::Event),
            (101, Payload::Event),
            (97, Payload::Other),
        ];
        for (number, payload) in expected {
            assert_eq!(payloads.of(number), payload, "{number}");
        }
    }

    #[test]
    fn what_a_receiver_may_play_unasked_is_known_unless_its_number_means_something_else() {
        let plan = StreamPlan { codecs: vec![(8, Codec::Pcma), (0, Codec::Opus)], ..StreamPlan::default() };
        let payloads = Payloads::new(&plan, &plan);
        assert_eq!(
            [0, 8, 9].map(|number| payloads.of(number)),
            [Codec::Opus, Codec::Pcma, Codec::G722].map(Payload::Audio)
        );
        assert_eq!(payloads.of(3), Payload::Other);
    }

    #[test]
    fn a_static_number_under_the_name_of_a_codec_that_is_only_relayed_is_not_heard() {
        let described = [(8, "PCMA", 8_000), (0, "GSM", 8_000)];
        let own = StreamPlan::described(None, described.into_iter());
        let given = StreamPlan { codecs: vec![(8, Codec::Pcma)], ..StreamPlan::default() };

        assert_eq!(Payloads::new(&given, &own).of(0), Payload::Other);
        let given = StreamPlan { codecs: vec![(0, Codec::Pcmu)], ..StreamPlan::default() };
        assert_eq!(
            Payloads::new(&given, &own).of(0),
            Payload::Audio(Codec::Pcmu),
            "what the receiver says counts first"
        );
    }

    #[test]
    fn no_list_is_too_long_to_be_known() {
        let given = StreamPlan { codecs: (64..128).map(|n| (n, Codec::Pcmu)).collect(), ..StreamPlan::default() };
        let payloads = Payloads::new(&given, &StreamPlan::default());
        assert!((64..128).all(|number| payloads.of(number) == Payload::Audio(Codec::Pcmu)));
    }
}
