//! What is known of one call, and what follows from it alone. What happens to it is in `machine` and its neighbours.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use super::candidates::Candidate;
use super::description::Talk;
use super::diversion::Diversion;
use super::event::{Lifted, NotAnalysed};
use super::forks::Forks;
use super::forward::{self, Party, Way};
use super::guard::Guard;
use super::identity::{self, History, Retarget};
use super::orphan::Orphan;
use super::resumed::Invited;
use super::security::Security;
use super::session::Session;
use super::settings::{DivertCallee, Settings, Side};
use super::snapshot::SteppedUp;
use super::stand_in::Unacked;
use super::video::Video;
use crate::policy::action::{Enforcement, Route, RouteDecision};
use crate::policy::facts::{CallDirection, Facts};
use crate::policy::judge::Verdict;
use crate::rtp::control::{Codec, PlayId, StreamPlan};
use crate::sip::flow::{Flow, Hop};
use crate::sip::transaction::{ClientId, Repeat, ServerId};
use crate::sip::wire::{Edits, KeptMessage, Message, NameAddr};
use crate::units::{CallId, CallTime, Leg, PerLeg};

/// A call.
#[derive(Debug)]
pub(super) struct Call {
    pub id: CallId,
    /// Those that it began with.
    pub settings: Arc<Settings>,
    /// The caller's side.
    pub from: Side,
    pub call_id: Arc<str>,
    pub flow: PerLeg<Flow>,
    pub party: PerLeg<Party>,
    /// As it came, until the call is answered: what the callee's INVITE and our own answers are made from.
    pub invite: Option<Box<KeptMessage>>,
    /// Its INVITE's.
    pub server: Option<ServerId>,
    /// How another process knows its INVITE again.
    pub invited: Option<Invited>,
    /// Another process began it, and until then answers may come to what that one sent.
    pub resumed_until: Option<Instant>,
    /// The callee's INVITE's.
    pub client: Option<ClientId>,
    /// The callee has been invited: we do not answer by ourselves.
    pub has_callee: bool,
    pub forks: Forks,
    /// The trunk on its outside leg.
    pub trunk: Option<Arc<str>>,
    /// It has gone on from the trunk that it went to first: what its INVITE has for that one is not for this one.
    pub left_first: bool,
    /// Where its INVITE may still go, should this next hop fail.
    pub candidates: Vec<Candidate>,
    /// Where it has been sent on.
    pub retargets: Vec<Retarget>,
    pub last_invite: PerLeg<LastInvite>,
    /// Its source is known for this call only.
    pub guest: PerLeg<bool>,
    pub phase: Phase,
    /// Its entry in the table of deadlines, which is moved only where its next one is another.
    pub due: Option<Instant>,
    pub began: Instant,
    pub rang: Option<Instant>,
    pub answered: Option<Instant>,
    /// Longest that a call which we answered ourselves may last.
    pub until: Option<Instant>,
    /// The ear hears it for so long.
    pub listens_until: Option<Instant>,
    /// A 2xx of ours to a re-INVITE.
    pub unacked: Option<Box<Unacked>>,
    pub session: Session,
    pub media: CallMedia,
    /// Most calls have none.
    pub video: Option<Box<Video>>,
    /// SRTP that ends here; None: no side has a word on it.
    pub security: Option<Box<Security>>,
    /// Why the ear cannot hear the caller.
    pub unheard: Option<NotAnalysed>,
    pub facts: Facts,
    pub record: Record,
    /// The callee's keys are held back. In a box: hardly a call has one.
    pub guard: Option<Box<Guard>>,
    pub diversion: Option<Diversion>,
}

/// The talk's media, as the media path and the peers know them.
#[derive(Debug, Default)]
pub(super) struct CallMedia {
    /// Where each peer is told to send to; None: there are no ports yet.
    pub ports: Option<PerLeg<SocketAddr>>,
    /// What each peer's description says.
    pub plan: PerLeg<StreamPlan>,
    /// Where a peer's media come from, where that is not what its description says.
    pub latched: PerLeg<Option<SocketAddr>>,
    /// What was played to each leg last.
    pub plays: PerLeg<PlayId>,
    /// By the last descriptions that were accepted.
    pub talk: PerLeg<Talk>,
    /// Who must answer the offer of a 2xx in the ACK with this CSeq (RFC 3261 §13.2.1).
    pub answer_due: Option<(Leg, u32)>,
    /// Its ports have been asked for again after a restart.
    pub reopening: bool,
}

impl CallMedia {
    /// Audio does not flow both ways: nobody need send anything.
    pub(super) fn is_on_hold(&self) -> bool {
        Leg::BOTH.into_iter().any(|leg| self.talk[leg] != Talk::BOTH_WAYS)
    }

    /// What is sent to `leg`, most likely: what both descriptions know, or what its own names first.
    pub(super) fn codec_to(&self, leg: Leg) -> Option<Codec> {
        let (own, others) = (&self.plan[leg].codecs, &self.plan[leg.other()].codecs);
        let common = own.iter().find(|(_, codec)| others.iter().any(|(_, other)| other == codec));
        common.or(own.first()).map(|(_, codec)| *codec)
    }

    /// The callee hears what comes from the caller's side. One whom the caller has put on hold does: it may be music.
    pub(super) fn callee_hears(&self) -> bool {
        self.talk.callee.hears && self.talk.caller.speaks
    }
}

/// What a call's record says of it beyond its facts and times.
#[derive(Debug, Default)]
pub(super) struct Record {
    /// Of the settings that it began with; another process may have numbered them.
    pub generation: u64,
    /// What was decided at the INVITE.
    pub routed: Option<(RouteDecision, Enforcement)>,
    /// The caller was listened to.
    pub analysed: bool,
    /// Why not, once answered.
    pub not_analysed: Option<Arc<str>>,
    /// The last verdict that was told. In a box: many calls have none.
    pub verdict: Option<Box<Verdict>>,
    /// Actions on the running call, in their order.
    pub steps: Vec<SteppedUp>,
    pub taken_back: Option<CallTime>,
    /// The callee's keys are no longer held back, since then.
    pub lifted: Option<(CallTime, Lifted)>,
    /// Keys pressed.
    pub digits: PerLeg<u32>,
}

/// The last INVITE to a leg, which its ACK follows.
#[derive(Debug, Default)]
pub(super) struct LastInvite {
    /// The CSeq that it came with.
    pub number: u32,
    /// By how much it left higher.
    pub shift: u32,
    /// What its credentials were: the ACK repeats them (RFC 3261 §22.1).
    pub authorization: Option<Box<str>>,
}

/// What the allocator gives in one piece: a larger one costs each call a sixth more.
const _: () = assert!(size_of::<Call>() <= 1_536);

/// How far a call has come.
#[derive(Debug)]
pub(super) enum Phase {
    /// Gate and history have been asked.
    Consulting,
    /// Ports have been asked for.
    Opening { route: Route, give_up: Instant },
    /// The INVITE has gone to the callee, which has said nothing yet.
    Inviting { give_up: Instant },
    /// The callee has said something.
    Ringing { give_up: Instant },
    /// An announcement plays before a 608.
    Refusing { until: Instant },
    /// We answered ourselves: the 2xx is repeated until its ACK.
    Answering { response: Vec<u8>, repeat: Repeat, give_up: Instant },
    /// Answered; the caller's ACK is awaited until then.
    Answered { ack_by: Option<Instant> },
}

impl Call {
    /// A call of which nothing is known but this.
    pub(super) fn new(
        id: CallId,
        call_id: Arc<str>,
        from: Side,
        flow: PerLeg<Flow>,
        facts: Facts,
        settings: Arc<Settings>,
        began: Instant,
    ) -> Self {
        let record = Record { generation: settings.generation, ..Record::default() };
        Self {
            id,
            settings,
            from,
            call_id,
            flow,
            party: PerLeg::default(),
            invite: None,
            server: None,
            invited: None,
            resumed_until: None,
            client: None,
            has_callee: false,
            forks: Forks::default(),
            trunk: None,
            left_first: false,
            candidates: Vec::new(),
            retargets: Vec::new(),
            last_invite: PerLeg::default(),
            guest: PerLeg::default(),
            phase: Phase::Consulting,
            due: None,
            began,
            rang: None,
            answered: None,
            until: None,
            listens_until: None,
            unacked: None,
            session: Session::default(),
            media: CallMedia::default(),
            video: None,
            security: None,
            unheard: None,
            facts,
            record,
            guard: None,
            diversion: None,
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let phase = match &self.phase {
            // Gate and history answer at once.
            Phase::Consulting => None,
            Phase::Opening { give_up, .. } | Phase::Inviting { give_up } | Phase::Ringing { give_up } => Some(*give_up),
            Phase::Refusing { until } => Some(*until),
            Phase::Answering { repeat, give_up, .. } => Some(repeat.due().min(*give_up)),
            Phase::Answered { ack_by } => *ack_by,
        };
        let diversion = self.diversion.as_ref().map(|diversion| diversion.until);
        let unacked = self.unacked.as_ref().map(|unacked| unacked.deadline());
        let video = self.video.as_ref().and_then(|video| video.deadline());
        let all = [phase, diversion, unacked, self.listens_until, self.session.deadline(), self.until, video];
        all.into_iter().flatten().min()
    }

    /// The name of what is to be played to `to` now.
    pub(super) fn next_play(&mut self, to: Leg) -> PlayId {
        let play = &mut self.media.plays[to];
        *play = play.next();
        *play
    }

    pub(super) fn side(&self, leg: Leg) -> Side {
        match leg {
            Leg::Caller => self.from,
            Leg::Callee => self.from.other(),
        }
    }

    /// What `leg` knows us by.
    pub(super) fn local(&self, leg: Leg) -> Hop {
        self.settings.local(self.side(leg), self.flow[leg].hop())
    }

    fn media_address(&self, leg: Leg) -> IpAddr {
        self.settings.media_address(self.side(leg), self.flow[leg].hop())
    }

    /// The address of this machine towards each leg's peer.
    pub(super) fn bound(&self) -> PerLeg<IpAddr> {
        PerLeg::from_fn(|leg| self.settings.bound(self.side(leg), self.flow[leg].hop()).ip())
    }

    /// Where each peer is told to send its media to, by our ports.
    pub(super) fn told_ports(&self, port: impl Fn(Leg) -> u16) -> PerLeg<SocketAddr> {
        PerLeg::from_fn(|leg| SocketAddr::new(self.media_address(leg), port(leg)))
    }

    /// Our Contact towards `leg`, in messages of our own.
    pub(super) fn contact_line(&self, leg: Leg) -> String {
        format!("Contact: <{}>", forward::our_uri("sip", None, self.local(leg)))
    }

    /// A target refresh (RFC 3261 §12.2): from now on, `leg` is reached at the Contact of this message. Before the
    /// answer, each of the callee's phones has its own.
    pub(super) fn refresh_target(&mut self, leg: Leg, message: &Message<'_>) {
        let Ok(Some(contact)) = message.contact() else { return };
        let own = if message.status().is_some() { message.to() } else { message.from() };
        let tag = own.ok().and_then(|address| address.tag());
        if leg == Leg::Caller || !self.forks.moves(tag, contact.uri) {
            contact.uri.clone_into(&mut self.party[leg].target);
        }
    }

    /// Takes from a message of `from` what the other leg may not learn or believe.
    pub(super) fn screen(&self, edits: &mut Edits, message: &Message<'_>, from: Leg) -> History {
        identity::screen(edits, message, &self.settings, self.side(from), self.trunk.as_deref())
    }

    /// It is a call of the PBX for help.
    pub(super) fn is_emergency(&self) -> bool {
        self.settings.policy.helps(&self.facts)
    }

    /// On hold nobody need send anything; and whoever has called for help may be unable to.
    pub(super) fn may_be_silent(&self) -> bool {
        self.media.is_on_hold() || self.is_emergency()
    }

    /// The trunk of a leg; the PBX is none.
    pub(super) fn trunk_of(&self, leg: Leg) -> Option<&Arc<str>> {
        self.trunk.as_ref().filter(|_| self.side(leg) == Side::Outside)
    }

    /// Ringfence knows the password of a leg's trunk.
    pub(super) fn registers_with(&self, leg: Leg) -> bool {
        let trunk = self.trunk_of(leg).and_then(|name| self.settings.trunk(name));
        trunk.is_some_and(|trunk| trunk.register.is_some())
    }

    /// The PBX has begun it. Of a call from outside, what comes over the trunk may be the caller's word: a stranger who
    /// answers our BYE with a challenge would be told a digest of the trunk's password, for a nonce of its choice.
    pub(super) fn is_ours(&self) -> bool {
        self.from == Side::Inside
    }

    /// By how much the INVITE with `number` went to `leg` higher; and every other request.
    pub(super) fn shift(&self, leg: Leg, number: u32, to_invite: bool) -> u32 {
        let invite = &self.last_invite[leg];
        if to_invite && invite.number == number { invite.shift } else { self.party[leg].shift }
    }

    pub(super) fn leg_of(&self, side: Side) -> Leg {
        if side == self.from { Leg::Caller } else { Leg::Callee }
    }

    /// True for a message of `leg` that has the tags of this dialog (RFC 3261 §12.2.2): who knows the Call-ID alone is
    /// no party to the call, and a fork that has lost is none any more. Before the answer, each fork has a tag of its
    /// own.
    pub(super) fn is_party(&self, leg: Leg, message: &Message<'_>) -> bool {
        let (Ok(from), Ok(to)) = (message.from(), message.to()) else { return false };
        let (caller, callee) = match leg {
            Leg::Caller => (from, to),
            Leg::Callee => (to, from),
        };
        let Party { remote, local, .. } = &self.party.caller;
        has_tag(remote, caller.tag()) && (self.answered.is_none() || has_tag(local, callee.tag()))
    }

    /// How a request with this To tag reaches `leg`.
    pub(super) fn way(&self, leg: Leg, tag: Option<&str>) -> Way<'_> {
        let early = (leg == Leg::Callee).then(|| self.forks.early(tag)).flatten();
        early.unwrap_or_else(|| self.party[leg].way())
    }

    /// Whom nobody here knows.
    pub(super) fn stranger(&self) -> Leg {
        match self.facts.direction {
            CallDirection::Inbound => Leg::Caller,
            CallDirection::Outbound => Leg::Callee,
        }
    }

    /// Nobody is, or stays, behind `leg`: we never invited them, they have hung up, or we have.
    pub(super) fn nobody_at(&self, leg: Leg) -> bool {
        match leg {
            Leg::Caller => self.diversion.as_ref().is_some_and(|diversion| diversion.caller_gone),
            Leg::Callee => {
                !self.has_callee || self.diversion.is_some() && self.settings.callee_hears == DivertCallee::HangUp
            }
        }
    }

    /// What its callee's INVITE is once nobody waits for it.
    pub(super) fn orphan(&self) -> Orphan {
        let highest_cseq = self.party.callee.cseq.max(self.forks.highest);
        let ended = self.forks.ended();
        Orphan { flow: self.flow.callee, local: self.local(Leg::Callee), highest_cseq, ended }
    }

    pub(super) fn time(&self, now: Instant) -> CallTime {
        self.answered.map_or(CallTime::ZERO, |answered| CallTime(now.saturating_duration_since(answered)))
    }
}

/// True if an address header that we keep has this tag. One without any is of a peer that knows none (RFC 2543).
fn has_tag(header: &str, tag: Option<&str>) -> bool {
    // Nearly all write it at the end.
    let ends = |tag: &str| header.strip_suffix(tag).is_some_and(|before| before.ends_with(";tag="));
    let known = || NameAddr::only(header).ok().and_then(|address| address.tag());
    tag.is_some_and(ends) || known().is_none_or(|known| Some(known) == tag)
}
