//! What the signalling is told of calls, and the room that is kept for it.

use std::collections::VecDeque;
use std::time::Instant;

use super::super::EVENTS;
use super::super::call::MediaCall;
use super::super::counts::MediaCounts;
use crate::rtp::control::MediaEvent;
use crate::units::{CallId, Leg};

/// Events that wait for room in the channel.
pub(super) type Backlog = VecDeque<(CallId, MediaEvent)>;

/// Of it, for events that a peer can cause without end, and that others make up for.
const FOR_MANY: usize = EVENTS / 2;

/// What is told of a call about once a second. Where there is no room now, the next look tells it: a silence that
/// nobody hears of may keep a call for ever.
pub(super) fn look(call: &mut MediaCall, backlog: &mut Backlog, counts: &mut MediaCounts, now: Instant) {
    let silent = now.saturating_duration_since(call.heard) >= call.silence_limit;
    if call.answered.is_some() && silent && !call.silent_told && backlog.len() < EVENTS {
        call.silent_told = true;
        emit(backlog, counts, call.id, MediaEvent::Silent);
    }
    for leg in Leg::BOTH {
        if backlog.len() < FOR_MANY
            && let Some(rollovers) = call.pair.rolled(leg)
        {
            emit(backlog, counts, call.id, MediaEvent::Rolled { leg, rollovers });
        }
    }
}

pub(super) fn emit(backlog: &mut Backlog, counts: &mut MediaCounts, call: CallId, event: MediaEvent) {
    // A peer can press keys without end; what the signalling waits for comes a few times a call.
    let room = match event {
        MediaEvent::Digit { .. } | MediaEvent::Latched { .. } | MediaEvent::Rolled { .. } | MediaEvent::Unheard => {
            FOR_MANY
        }
        MediaEvent::Opened { .. } | MediaEvent::Failed | MediaEvent::Finished { .. } | MediaEvent::Silent => EVENTS,
    };
    if backlog.len() < room {
        backlog.push_back((call, event));
    } else {
        counts.events_lost += 1;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::net::UdpSocket;
    use std::time::Duration;

    use super::super::super::call::Sockets;
    use super::*;
    use crate::io::clock;
    use crate::units::PerLeg;

    #[test]
    fn a_silence_without_room_is_told_when_there_is_room() {
        let now = clock::now();
        let sockets = PerLeg::from_fn(|_| {
            let [rtp, rtcp] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
            Sockets { address: rtp.local_addr().unwrap(), rtp, rtcp, round: None }
        });
        let mut call = MediaCall::new(CallId(7), sockets, now);
        let timeout = Duration::from_secs(60);
        (call.answered, call.silence_limit) = (Some(now), timeout);
        let (mut counts, silent) = (MediaCounts::default(), (CallId(7), MediaEvent::Silent));
        // A whole trunk has fallen silent in the same second.
        let mut backlog: Backlog = (0..EVENTS).map(|_| (CallId(1), MediaEvent::Silent)).collect();

        look(&mut call, &mut backlog, &mut counts, now + timeout);
        assert!(!backlog.contains(&silent));
        backlog.clear();
        for later in 1..4 {
            look(&mut call, &mut backlog, &mut counts, now + timeout + Duration::from_secs(later));
        }

        assert_eq!(backlog, [silent], "once");
        assert_eq!(counts.events_lost, 0);
    }
}
