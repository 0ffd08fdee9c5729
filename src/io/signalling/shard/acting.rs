//! What the switchboard wants done: sent, asked, told.

use std::time::{Duration, Instant};

use super::super::ShardEvent;
use super::Shard;
use crate::call::{Input, Output};
use crate::gate::CallAdmission;
use crate::io::clock;
use crate::policy::facts::{CallDirection, Facts, OverLimit};
use crate::rtp::control::{MediaCommand, MediaEvent};
use crate::sip::flow::{Flow, Transport};

/// A media command that nobody waits for may wait for so long, for others to share its wake-up. Media that come
/// meanwhile wake the media path themselves.
const MEDIA_WAIT: Duration = Duration::from_millis(5);

impl Shard {
    pub(super) fn act(&mut self, output: Output, now: Instant) {
        match output {
            Output::Transmit(transmit) => match transmit.flow.transport {
                Transport::Udp => {
                    let sent = self.send_datagram(transmit.flow, &transmit.bytes);
                    if sent { self.counted.sent += 1 } else { self.counted.send_failed += 1 }
                }
                Transport::Tcp | Transport::Tls => {
                    self.counted.sent += 1;
                    self.streams.send(transmit.flow, transmit.bytes, now);
                }
            },
            Output::Consult { call, proven, facts, policy } => {
                let shown = facts.caller.text().cloned();
                let dialled_before = shown.as_ref().is_some_and(|shown| self.dialled.knows(&shown.0, now));
                let (hour, weekday) = clock::local_hour();
                let facts = Facts { dialled_before, hour, weekday, ..*facts };
                let over_limit = match facts.direction {
                    // The PBX is never limited: its users' calls are not ours to count.
                    CallDirection::Outbound => {
                        self.dialled.remember(&facts.called.0, now);
                        None
                    }
                    CallDirection::Inbound => {
                        if let Some(shown) = &shown {
                            self.dialled.called_by(&shown.0, now);
                        }
                        match self.gate.call(facts.source, proven, policy.limited_number(&facts), now) {
                            CallAdmission::Pass => None,
                            CallAdmission::OverSource => Some(OverLimit::Source),
                            CallAdmission::OverNumber => Some(OverLimit::Number),
                        }
                    }
                };
                self.answer(Input::Consulted { call, over_limit, dialled_before, hour, weekday }, now);
            }
            Output::Media(MediaCommand::Open { call, local, ports: None }) => {
                match (self.wiring.begin_media)(call, local) {
                    Some(ports) => {
                        self.have_media_look(now + MEDIA_WAIT);
                        self.answer(Input::Media { call, event: MediaEvent::Opened { ports } }, now);
                    }
                    None => self.tell_media(MediaCommand::Open { call, local, ports: None }, now),
                }
            }
            Output::Media(command) => self.tell_media(command, now),
            Output::Journal(entry) => (self.wiring.journal)(entry),
            Output::Recall(call) => (self.wiring.recall)(call),
            Output::Happened(happened) => self.outlet.put(ShardEvent::Call(happened), now),
            Output::Trunk(event) => self.outlet.put(ShardEvent::Trunk(event), now),
        }
    }

    /// Answers a question of the switchboard at once. Its outputs are drained by the loop that asked.
    fn answer(&mut self, answer: Input<'_>, now: Instant) {
        self.contain(|switchboard| switchboard.handle_input(answer, now), now);
    }

    fn tell_media(&mut self, command: MediaCommand, now: Instant) {
        self.have_media_look(now + if waits(&command) { Duration::ZERO } else { MEDIA_WAIT });
        let asked = if let MediaCommand::Open { call, .. } = command { Some(call) } else { None };
        if !(self.wiring.media)(command) {
            self.counted.commands_lost += 1;
            if let Some(call) = asked {
                self.answer(Input::Media { call, event: MediaEvent::Failed }, now);
            }
        }
    }

    fn have_media_look(&mut self, due: Instant) {
        self.media_due = Some(self.media_due.map_or(due, |before| before.min(due)));
    }

    /// Through the socket that the flow names. For a flow that names none, or one of before a restart that is another
    /// now, through the first that reaches the peer: IPv6 sockets take no IPv4.
    fn send_datagram(&self, flow: Flow, bytes: &[u8]) -> bool {
        let fits = |number: &usize| self.ipv4.get(*number) == Some(&Some(flow.peer.is_ipv4()));
        let named = Some(usize::from(flow.listener)).filter(fits);
        let number = named.or_else(|| (0..self.ipv4.len()).find(fits));
        let socket = number.and_then(|number| self.sockets.get(number)).and_then(Option::as_ref);
        socket.is_some_and(|socket| socket.send_to(bytes, flow.peer).is_ok())
    }
}

/// True where somebody waits for what the media path does with this.
fn waits(command: &MediaCommand) -> bool {
    match command {
        MediaCommand::Open { .. }
        | MediaCommand::Latch { .. }
        | MediaCommand::Cut { .. }
        | MediaCommand::Play { .. }
        | MediaCommand::StopPlay { .. }
        | MediaCommand::HoldKeys { .. }
        | MediaCommand::Press { .. }
        | MediaCommand::Whisper { .. } => true,
        MediaCommand::Plan { .. }
        | MediaCommand::Answered { .. }
        | MediaCommand::StopTap { .. }
        | MediaCommand::Close { .. } => false,
    }
}
