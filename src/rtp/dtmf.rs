//! Keys pressed, from `telephone-event` payloads (RFC 4733), once per press.
//!
//! A press is many packets: updates every 20-50 ms with one timestamp, the last one sent three times with the end bit.
//! Any of them may be lost, so a press counts at the first packet of it that arrives.

use std::time::Duration;

use super::control::KEYS;
use super::packet::Header;
use crate::units::{RtpTimestamp, SampleRate, Ssrc};

/// The event of a key.
pub(super) fn event(key: char) -> Option<u8> {
    KEYS.iter().position(|other| *other == key).and_then(|event| u8::try_from(event).ok())
}

/// The key of an event.
pub(super) fn key(payload: &[u8]) -> Option<char> {
    payload.first().and_then(|&event| KEYS.get(usize::from(event))).copied()
}

/// True for what looks like the event of a key, whatever its payload type is said to be: a clock that we do not know.
pub(super) fn is_key(payload: &[u8]) -> bool {
    // The reserved bit is zero (RFC 4733 §2.3), and a packet of noughts keeps a way open.
    matches!(payload, &[event, flags, high, low] if KEYS.get(usize::from(event)).is_some()
        && flags & 0x40 == 0 && [event, flags, high, low] != [0; 4])
}

/// Same key, not ended, no marker, and its clock moved by no more than this beyond the duration told: the same press.
/// Long presses go on in a new segment at a new timestamp (RFC 4733 §2.5.1.3), and some gateways wrongly move the
/// timestamp with each update. A finger needs longer between two presses.
const SAME_PRESS: Duration = Duration::from_millis(60);

/// A packet of an earlier press is overtaken by this at most. What lies further back is by a clock that began anew: a
/// gateway that passes another leg's timestamps on after a transfer, in the stream that it sent before.
const OVERTAKEN: Duration = Duration::from_secs(5);

/// The press that was heard last on one leg.
#[derive(Clone, Debug, Default)]
pub(super) struct Keys {
    last: Option<HeardEvent>,
}

#[derive(Clone, Debug)]
struct HeardEvent {
    ssrc: Ssrc,
    timestamp: RtpTimestamp,
    event: u8,
    duration: u16,
    ended: bool,
}

impl Keys {
    /// Whoever sends this stream presses keys as events: another telephone behind a transfer may not.
    #[must_use]
    pub(super) fn have_come(&self, from: Ssrc) -> bool {
        self.last.as_ref().is_some_and(|last| last.ssrc == from)
    }

    /// Hears one event packet by this clock; a key if this is the first of a press.
    pub(super) fn hear(&mut self, header: &Header, payload: &[u8], clock: SampleRate) -> Option<char> {
        let &[event, flags, high, low] = payload.first_chunk::<4>()?;
        let key = KEYS.get(usize::from(event)).copied()?;
        let press = HeardEvent {
            ssrc: header.ssrc,
            timestamp: header.timestamp,
            event,
            duration: u16::from_be_bytes([high, low]),
            ended: flags & 0x80 != 0,
        };
        let Some(last) = self.last.as_mut().filter(|last| last.ssrc == press.ssrc) else {
            self.last = Some(press);
            return Some(key);
        };
        let ticks = press.timestamp.ticks_since(last.timestamp);
        let ended_ago = ticks.saturating_add(press.duration.into());
        if ticks < 0 && ended_ago > -(clock.samples_in(OVERTAKEN) as i32) {
            // A straggler of an earlier press.
            return None;
        }
        if ticks == 0 && event == last.event {
            last.ended |= press.ended;
            last.duration = last.duration.max(press.duration);
            return None;
        }
        let same_press = event == last.event
            && ticks > 0
            && !last.ended
            && !header.marker
            && ticks <= i32::from(last.duration) + clock.samples_in(SAME_PRESS) as i32;
        self.last = Some(press);
        (!same_press).then_some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::SequenceNumber;

    /// (timestamp, marker, event, end, duration) of each packet -> the keys heard.
    fn heard(packets: &[(u32, bool, u8, bool, u16)]) -> String {
        let mut keys = Keys::default();
        packets
            .iter()
            .filter_map(|&(timestamp, marker, event, end, duration)| {
                let [high, low] = duration.to_be_bytes();
                let header = Header {
                    payload_type: 101,
                    marker,
                    sequence: SequenceNumber(0),
                    timestamp: RtpTimestamp(timestamp),
                    ssrc: Ssrc(1),
                    payload: 12..16,
                };
                keys.hear(&header, &[event, if end { 0x8A } else { 0x0A }, high, low], SampleRate::TELEPHONE)
            })
            .collect()
    }

    #[test]
    fn a_whole_press_counts_once() {
        let press = |at: u32, event| {
            [
                (at, true, event, false, 160),
                (at, false, event, false, 320),
                (at, false, event, true, 800),
                (at, false, event, true, 800),
                (at, false, event, true, 800),
            ]
        };
        assert_eq!(heard(&press(1_000, 9)), "9");
        assert_eq!(heard(&[press(u32::MAX - 100, 9), press(4_000, 9)].concat()), "99");
    }

    #[test]
    fn all_sixteen_keys_and_nothing_beyond() {
        let packets: Vec<_> = (0..=20).map(|event| (u32::from(event) * 2_000, true, event, true, 800)).collect();

        assert_eq!(heard(&packets), "0123456789*#ABCD");
    }

    #[test]
    fn start_or_end_may_be_lost() {
        assert_eq!(heard(&[(0, false, 5, true, 800)]), "5", "only an end arrived");
        assert_eq!(heard(&[(0, true, 5, false, 160), (3_000, true, 5, false, 160)]), "55", "the end was lost");
        assert_eq!(heard(&[(0, true, 5, false, 160), (8_000, false, 5, false, 320)]), "55", "end and start were lost");
        assert_eq!(heard(&[(0, true, 5, false, 160), (3_000, false, 6, true, 320)]), "56");
    }

    #[test]
    fn stragglers_do_not_press_again() {
        assert_eq!(heard(&[(0, true, 1, true, 800), (2_000, true, 2, false, 160), (0, false, 1, true, 800)]), "12");
    }

    #[test]
    fn keys_of_a_clock_that_began_anew_are_heard() {
        let press = |at: u32, event| [(at, true, event, false, 160), (at, false, event, true, 800)];

        assert_eq!(heard(&[press(4_000_000, 1), press(1_000, 9), press(9_000, 9)].concat()), "199");
        assert_eq!(heard(&[(4_000_000, false, 9, false, 160), (1_000, false, 9, false, 160)]), "99", "the same key");
        let straggler = (0, false, 1, true, 0xFFFF);
        assert_eq!(heard(&[(0, true, 1, false, 160), (70_000, true, 2, false, 160), straggler]), "12", "a long press");
    }

    #[test]
    fn long_presses_and_gateways_that_move_the_clock() {
        let long = [(0, true, 3, false, 0xFFFF), (0xFFFF, false, 3, false, 160), (0xFFFF, false, 3, true, 400)];
        let moving: Vec<_> = (0..10).map(|n| (n * 160, n == 0, 7, n == 9, (n * 160) as u16)).collect();

        assert_eq!(heard(&long), "3");
        assert_eq!(heard(&moving), "7");
    }

    #[test]
    fn short_payloads_are_no_event() {
        let mut keys = Keys::default();
        let header = Header {
            payload_type: 101,
            marker: true,
            sequence: SequenceNumber(0),
            timestamp: RtpTimestamp(0),
            ssrc: Ssrc(1),
            payload: 12..15,
        };
        assert_eq!(keys.hear(&header, &[1, 2, 3], SampleRate::TELEPHONE), None);
    }
}
