//! A call's video: a second stream of each leg, relayed as it is through ports of its own (RFC 3264 §5.1, §8.1).
//!
//! The media path knows it by [`video`](crate::units::CallId::video) of the call, as media without an ear, prompts or
//! codecs of ours. Its ports are asked for when the first description offers it; that message waits for them, a
//! millisecond at most as a rule, and goes on without video where there are none or they do not come. They are given
//! back as soon as an answer refuses it, an offer of it has no answer or is taken back, and with the call.
//!
//! Where a side has a word on SRTP, video is refused: its keys are not looked at, so it would pass in the clear where
//! the talk must not, or with keys to a side that is told none.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::answer;
use super::input::Output;
use super::settings::Side;
use super::state::Call;
use super::switchboard::Switchboard;
use crate::policy::action::Route;
use crate::rtp::control::{MediaCommand, MediaEvent, StreamPlan};
use crate::sip::flow::Flow;
use crate::sip::transaction::{ClientId, ServerId, T1};
use crate::sip::wire::sdp::{Beside, Sdp, may_show};
use crate::sip::wire::{KeptMessage, Message, Method, StatusCode};
use crate::units::{CallId, Leg, PerLeg};

/// Ports that have not come by then are not waited for: the peers begin to repeat what waits (RFC 3261 §17.1.1.1).
const PATIENCE: Duration = T1;

/// A call's part.
#[derive(Debug)]
pub(super) struct Video {
    state: State,
    /// What each peer's description says of it; None: nothing yet, or that it is refused.
    plan: PerLeg<Option<Box<StreamPlan>>>,
    /// Where it comes from, where that is not what a description says.
    latched: PerLeg<Option<SocketAddr>>,
}

#[derive(Debug)]
enum State {
    /// The call's INVITE offers it, and what becomes of the call is not known.
    Offered,
    /// Ports have been asked for; the offer that waits for them until then, unless that is the call's INVITE.
    Asked { waiting: Option<Box<Waiting>>, give_up: Instant },
    /// Ours, towards each peer.
    Open(PerLeg<SocketAddr>),
    /// None are to be had for the offer that is being passed on.
    Lacking,
    /// Nobody waits any more for those that have been asked for. The next offer may; else they are given back.
    Unwanted,
}

/// A message that has been let in and waits for ports.
#[derive(Debug)]
pub(super) enum Waiting {
    Request { message: KeptMessage, server: ServerId, flow: Flow, side: Side },
    Response { message: KeptMessage, client: ClientId },
}

/// What a process that goes on with a call must know of its video.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct VideoSnapshot {
    /// Our RTP port towards each peer.
    pub ports: PerLeg<u16>,
    /// What each peer's description says.
    pub plan: PerLeg<Option<Box<StreamPlan>>>,
    /// Where it comes from, where that is not what its description says.
    pub latched: PerLeg<Option<SocketAddr>>,
}

impl Video {
    fn new(state: State) -> Box<Self> {
        Box::new(Self { state, plan: PerLeg::default(), latched: PerLeg::default() })
    }

    /// Of a call whose INVITE offers it.
    pub(super) fn offered() -> Box<Self> {
        Self::new(State::Offered)
    }

    fn ports(&self) -> Option<PerLeg<SocketAddr>> {
        match self.state {
            State::Open(ports) => Some(ports),
            State::Offered | State::Asked { .. } | State::Lacking | State::Unwanted => None,
        }
    }

    /// When what waits goes on without.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Asked { give_up, .. } => Some(give_up),
            State::Offered | State::Open(_) | State::Lacking | State::Unwanted => None,
        }
    }

    /// An offer may ask for its ports.
    fn is_free(&self) -> bool {
        matches!(self.state, State::Unwanted)
    }

    /// For the journal.
    pub(super) fn snapshot(&self) -> Option<VideoSnapshot> {
        let ports = self.ports()?;
        let ports = PerLeg::from_fn(|leg| ports[leg].port());
        Some(VideoSnapshot { ports, plan: self.plan.clone(), latched: self.latched })
    }

    /// It has ports, or has asked for them.
    pub(super) fn has_asked(&self) -> bool {
        !matches!(self.state, State::Offered)
    }
}

impl Call {
    /// Its ports have been asked for.
    pub(super) fn waits_for_video(&self) -> bool {
        self.video.as_ref().is_some_and(|video| matches!(video.state, State::Asked { .. }))
    }

    /// `message` describes a video that may pass.
    fn offers_video(&self, message: &Message<'_>) -> bool {
        message.has_sdp()
            && may_show(message.sdp())
            && !self.may_end_srtp()
            && self.settings.read_sdp(message.sdp()).is_ok_and(|sdp| sdp.video().is_some())
    }

    /// How the video of a description of `from` is written for the other leg, and what it says. None: it is refused.
    pub(super) fn passing_video(&self, sdp: &Sdp<'_>, from: Leg) -> Option<(Beside, Box<StreamPlan>)> {
        let ports = self.video.as_ref()?.ports()?;
        let section = sdp.video().filter(|_| !self.may_end_srtp())?;
        let media = sdp.media.get(section)?;
        Some((Beside { section, port: ports[from.other()].port() }, Box::new(answer::opaque(media))))
    }
}

impl Switchboard {
    /// A call takes this route: its INVITE's video has ports, where somebody is to see it.
    pub(super) fn open_offered_video(&mut self, call: &mut Call, route: Route, now: Instant) {
        let offers = call.video.take().is_some();
        if offers && !call.may_end_srtp() && matches!(route, Route::Connect | Route::Watch) {
            self.open_video(call, None, now);
        }
    }

    /// Asks for ports, where none are under way.
    fn open_video(&mut self, call: &mut Call, waiting: Option<Box<Waiting>>, now: Instant) {
        let before = call.video.replace(Video::new(State::Asked { waiting, give_up: now + PATIENCE }));
        if before.is_none() {
            self.ask_for_ports(call, None);
        }
    }

    /// Once for each time that they were asked for.
    fn give_ports_back(&mut self, call: &Call) {
        self.videos = self.videos.saturating_sub(1);
        self.out(Output::Media(MediaCommand::Close { call: call.id.video() }));
    }

    fn ask_for_ports(&mut self, call: &Call, ports: Option<PerLeg<u16>>) {
        self.videos += 1;
        self.out(Output::Media(MediaCommand::Open { call: call.id.video(), local: call.bound(), ports }));
    }

    /// Lets a request with an offer of video wait where there are no ports for it yet. None: it waits.
    pub(super) fn let_wait_for_video(
        &mut self,
        mut call: Box<Call>,
        message: &Message<'_>,
        waiting: impl FnOnce(&Message<'_>) -> Waiting,
        now: Instant,
    ) -> Option<Box<Call>> {
        let offers = matches!(message.method(), Some(Method::Invite | Method::Update | Method::Prack));
        let has_video = call.video.as_ref().is_some_and(|video| !video.is_free());
        if !offers || has_video || call.media.ports.is_none() || !call.offers_video(message) {
            return Some(call);
        }
        self.open_video(&mut call, Some(Box::new(waiting(message))), now);
        self.keep(call);
        None
    }

    /// The same of a response, where that is the offer: to an INVITE without one. True: it waits, or is a repetition of
    /// what does.
    pub(super) fn lets_offer_wait_for_video(&mut self, client: ClientId, message: &Message<'_>, now: Instant) -> bool {
        if message.body().is_empty() || !message.status().is_some_and(|code| code.is_provisional() || code.is_success())
        {
            return false;
        }
        let relayed = self.relayed.get(&client).filter(|relayed| relayed.invite && relayed.plan.is_none());
        let relayed = relayed.filter(|relayed| !relayed.accepted).and_then(|relayed| relayed.call);
        let Some(call) = self.clients.get(&client).copied().or(relayed).and_then(|id| self.calls.get_mut(&id)) else {
            return false;
        };
        let bare = call.invite.as_ref().is_some_and(|invite| !invite.message().has_sdp());
        if relayed.is_none() && !bare || call.media.ports.is_none() || !call.offers_video(message) {
            return false;
        }
        match call.video.as_ref().map(|video| &video.state) {
            None | Some(State::Unwanted) => {
                let id = call.id;
                let Some(mut call) = self.take(id) else { return false };
                let waiting = Waiting::Response { message: message.keep(), client };
                self.open_video(&mut call, Some(Box::new(waiting)), now);
                self.keep(call);
                true
            }
            Some(State::Asked { waiting: Some(waiting), .. }) => {
                matches!(**waiting, Waiting::Response { client: first, .. } if first == client)
            }
            Some(State::Offered | State::Asked { waiting: None, .. } | State::Open(_) | State::Lacking) => false,
        }
    }

    /// What the media path tells of a call's video.
    pub(super) fn video(&mut self, mut call: Box<Call>, event: MediaEvent, now: Instant) {
        match event {
            MediaEvent::Opened { ports } => {
                let ports = call.told_ports(|leg| ports[leg].port());
                let Some(video) = &mut call.video else { return self.keep(call) };
                let before = std::mem::replace(&mut video.state, State::Open(ports));
                if let State::Unwanted = before {
                    self.close_video(&mut call);
                    return self.keep(call);
                }
                if call.diversion.is_some() {
                    for leg in Leg::BOTH {
                        self.cut_video(&call, leg, true);
                    }
                }
                self.go_on(call, before, now);
            }
            MediaEvent::Failed => {
                let Some(video) = &mut call.video else { return self.keep(call) };
                let before = std::mem::replace(&mut video.state, State::Lacking);
                let id = call.id;
                self.changed(id);
                self.go_on(call, before, now);
                // The next offer may be luckier.
                if let Some(mut call) = self.take(id) {
                    call.video = None;
                    self.give_ports_back(&call);
                    self.keep(call);
                }
            }
            MediaEvent::Latched { leg, address } => {
                if let Some(video) = &mut call.video {
                    video.latched[leg] = address;
                    self.changed(call.id);
                }
                self.keep(call);
            }
            // Without keys, prompts and SRTP of ours; and pictures alone do not keep a call, nor does their lack end
            // one.
            MediaEvent::Digit { .. }
            | MediaEvent::Rolled { .. }
            | MediaEvent::Finished { .. }
            | MediaEvent::Silent
            | MediaEvent::Unheard => self.keep(call),
        }
    }

    /// Passes on what has waited.
    fn go_on(&mut self, call: Box<Call>, before: State, now: Instant) {
        let State::Asked { waiting: Some(waiting), .. } = before else { return self.opened(call, now) };
        let id = call.id;
        self.keep(call);
        match *waiting {
            Waiting::Request { message, server, flow, side } => {
                self.in_dialog(&message.message(), server, flow, side, now);
                // It may have been refused here.
                if !self.relayed_by_server.contains_key(&server) {
                    self.settle_video_of(id);
                }
            }
            Waiting::Response { message, client } => self.response(&message.message(), client, now),
        }
    }

    /// What waits for ports that have not come goes on without video. None: the call has ended with it.
    pub(super) fn video_due(&mut self, mut call: Box<Call>, now: Instant) -> Option<Box<Call>> {
        let Some(video) = &mut call.video else { return Some(call) };
        if video.deadline().is_none_or(|at| now < at) {
            return Some(call);
        }
        let before = std::mem::replace(&mut video.state, State::Lacking);
        let id = call.id;
        self.go_on(call, before, now);
        let mut call = self.take(id)?;
        if let Some(video) = &mut call.video {
            video.state = State::Unwanted;
        }
        Some(call)
    }

    /// A CANCEL, which may be of a request that waits for ports.
    pub(super) fn cancel_waiting(&mut self, cancel: &Message<'_>, server: ServerId, now: Instant) {
        let Some(mut call) = self.take_by_call_id(cancel.call_id()) else {
            return;
        };
        if let Some(video) = &mut call.video
            && let State::Asked { waiting: Some(waiting), .. } = &video.state
            && let Waiting::Request { message, server: of, flow, .. } = &**waiting
            && *of == server
        {
            self.reply(&message.message(), server, *flow, StatusCode::REQUEST_TERMINATED, &[], now);
            video.state = State::Unwanted;
        }
        self.keep(call);
    }

    /// An offer that was passed on has had no answer.
    pub(super) fn offer_lost(&mut self, client: ClientId) {
        let offer = self.relayed.get(&client).filter(|relayed| relayed.video.is_some());
        if let Some(id) = offer.and_then(|relayed| relayed.call) {
            self.settle_video_of(id);
        }
    }

    fn settle_video_of(&mut self, id: CallId) {
        if let Some(mut call) = self.take(id) {
            self.settle_video(&mut call);
            self.keep(call);
        }
    }

    /// A peer has described its video; None: it refuses it, or has none.
    pub(super) fn plan_video(&mut self, call: &mut Call, leg: Leg, plan: Option<Box<StreamPlan>>) {
        let id = call.id.video();
        let Some(video) = call.video.as_mut().filter(|video| video.ports().is_some()) else { return };
        let before = std::mem::replace(&mut video.plan[leg], plan.clone());
        if let Some(plan) = plan.map(|plan| *plan).or_else(|| before.map(|before| answer::held(&before))) {
            self.out(Output::Media(MediaCommand::Plan { call: id, leg, plan }));
        }
    }

    /// An offer has its answer: what one of both refuses is over.
    pub(super) fn settle_video(&mut self, call: &mut Call) {
        let both = |video: &Video| Leg::BOTH.into_iter().all(|leg| video.plan[leg].is_some());
        if call.video.as_ref().is_some_and(|video| video.ports().is_some() && !both(video)) {
            self.close_video(call);
        }
    }

    /// Gives the ports back. Those that are only asked for are somebody's who waits.
    pub(super) fn close_video(&mut self, call: &mut Call) {
        if call.video.as_ref().is_some_and(|video| video.ports().is_some()) {
            call.video = None;
            self.give_ports_back(call);
            self.changed(call.id);
        }
    }

    /// The callee has answered: both may begin to send.
    pub(super) fn answered_video(&mut self, call: &Call) {
        if call.video.as_ref().is_some_and(|video| video.ports().is_some()) {
            self.out(Output::Media(MediaCommand::Answered { call: call.id.video(), analyse: false }));
        }
    }

    /// Media from one leg no longer reach the other, or do again.
    pub(super) fn cut(&mut self, call: &Call, from: Leg, cut: bool) {
        self.out(Output::Media(MediaCommand::Cut { call: call.id, from, cut }));
        if call.video.as_ref().is_some_and(|video| video.ports().is_some()) {
            self.cut_video(call, from, cut);
        }
    }

    fn cut_video(&mut self, call: &Call, from: Leg, cut: bool) {
        self.out(Output::Media(MediaCommand::Cut { call: call.id.video(), from, cut }));
    }

    /// A call of another process had video.
    pub(super) fn restore_video(&mut self, call: &mut Call, VideoSnapshot { ports, plan, latched }: VideoSnapshot) {
        self.ask_for_ports(call, Some(ports));
        let id = call.id.video();
        for leg in Leg::BOTH {
            if let Some(plan) = plan[leg].as_deref().cloned() {
                self.out(Output::Media(MediaCommand::Plan { call: id, leg, plan }));
            }
            if let Some(address) = latched[leg] {
                self.out(Output::Media(MediaCommand::Latch { call: id, leg, address }));
            }
        }
        self.out(Output::Media(MediaCommand::Answered { call: id, analyse: false }));
        // As before, until we hear otherwise: its peers know no other ports.
        let state = State::Open(call.told_ports(|leg| ports[leg]));
        call.video = Some(Box::new(Video { state, plan, latched }));
    }

    /// The call is over.
    pub(super) fn part_video(&mut self, call: &Call, now: Instant) {
        let Some(video) = &call.video else { return };
        match &video.state {
            State::Asked { waiting, .. } => {
                if let Some(Waiting::Request { message, server, flow, .. }) = waiting.as_deref() {
                    self.reply(&message.message(), *server, *flow, StatusCode::NO_SUCH_CALL, &[], now);
                }
            }
            State::Open(_) | State::Lacking | State::Unwanted => {}
            State::Offered => return,
        }
        self.give_ports_back(call);
    }
}
