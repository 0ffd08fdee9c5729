//! SRTP of legs at which it ends: opened before the relay, sealed behind it.

use super::{DropReason, MediaPair, Relay};
use crate::rtp::control::{Rollovers, SrtpPlan};
use crate::rtp::rtcp::is_rtcp;
use crate::rtp::srtp::{BadSrtp, Opening, Sealing};
use crate::units::Leg;

/// Both directions of a leg whose SRTP ends here.
#[derive(Debug)]
pub(super) struct LegSrtp {
    /// None: the peer has said no key, and nothing of it is let in.
    opening: Option<Opening>,
    sealing: Sealing,
}

impl LegSrtp {
    /// For this plan; what has not changed since the one before goes on counting.
    pub(super) fn new(srtp: &SrtpPlan, before: Option<(&SrtpPlan, LegSrtp)>) -> Self {
        let Rollovers { heard, sent, heard_of, sent_of } = &srtp.rollovers;
        let (kept, was) = before.unzip();
        let same = kept.filter(|kept| kept.suite == srtp.suite);
        let (opening, sealing) = was.map(|was| (was.opening, was.sealing)).unzip();
        let opening = opening.flatten();
        let counted = opening.as_ref().map_or(0, Opening::rollovers);
        // A key changes while music plays, too: what talked before it counts on.
        let known = opening.as_ref().map_or_else(|| heard_of.clone(), Opening::stands);
        let opening = opening.filter(|_| same.is_some_and(|same| same.theirs == srtp.theirs));
        // In another suite too: what is sent under one key has each number once.
        let goes_on = kept.is_some_and(|kept| kept.ours == srtp.ours);
        let sealing = sealing.filter(|_| goes_on).map(|sealing| sealing.in_suite(srtp.suite)).unwrap_or_else(|| {
            let mut sealing = Sealing::new(srtp.suite, &srtp.ours, *sent).left_at(sent_of);
            if srtp.resumed {
                sealing.without_reports();
            }
            sealing
        });
        let anew = |key| Opening::new(srtp.suite, key, *heard).or_from(counted).left_at(&known);
        let opening = opening.or_else(|| srtp.theirs.as_ref().map(anew));
        Self { opening, sealing }
    }
}

impl MediaPair {
    /// Takes the SRTP off a datagram that came in from `from`, where it ends here; its length then. None: it does not
    /// open, which is counted, and it goes nowhere. `report`: it came on the RTCP port.
    pub fn open(&mut self, from: Leg, report: bool, packet: &mut [u8]) -> Option<usize> {
        let media = &mut self.legs[from];
        // A fax has no SRTP; the keys stay for when talk goes on.
        let Some(srtp) = media.srtp.as_mut().filter(|_| report || !media.plan.fax) else {
            return Some(packet.len());
        };
        let opened = match &mut srtp.opening {
            None => Err(BadSrtp::Forged),
            Some(opening) if report || is_rtcp(packet) => opening.rtcp(packet),
            Some(opening) => opening.rtp(packet),
        };
        let reason = match opened {
            Ok(length) => return Some(length),
            Err(BadSrtp::Malformed) => DropReason::NotRtp,
            Err(BadSrtp::Forged) => DropReason::Forged,
            Err(BadSrtp::Repeated) => DropReason::Repeated,
        };
        self.counted(Relay::Drop(reason));
        None
    }

    /// Puts SRTP around the datagram of `length` in `buffer` that goes to `to`, where that ends here; its length then.
    /// None: it must not be sent. `buffer` has [`MOST_ADDED`](crate::rtp::srtp::MOST_ADDED) bytes to spare.
    pub fn seal(&mut self, to: Leg, report: bool, buffer: &mut [u8], length: usize) -> Option<usize> {
        let media = &mut self.legs[to];
        let Some(srtp) = media.srtp.as_mut().filter(|_| report || !media.plan.fax) else {
            return Some(length);
        };
        let sealing = &mut srtp.sealing;
        let report = report || buffer.get(..length).is_some_and(is_rtcp);
        let sealed = if report { sealing.rtcp(buffer, length) } else { sealing.rtp(buffer, length) };
        if sealed.is_none() {
            self.counted(Relay::Drop(DropReason::Repeated));
        }
        sealed
    }

    /// Where the numbers of a leg's SRTP are, if they have come to another quarter since it was asked.
    pub fn rolled(&mut self, leg: Leg) -> Option<Rollovers> {
        let media = &mut self.legs[leg];
        let (srtp, plan) = media.srtp.as_ref().zip(media.plan.srtp.as_mut())?;
        let (opening, sealing) = (srtp.opening.as_ref(), &srtp.sealing);
        let now = Rollovers {
            heard: opening.map_or(0, Opening::rollovers),
            sent: sealing.rollovers(),
            heard_of: opening.map(Opening::stands).unwrap_or_default(),
            sent_of: sealing.stands(),
        };
        if plan.rollovers == now {
            return None;
        }
        plan.rollovers.clone_from(&now);
        Some(now)
    }
}
