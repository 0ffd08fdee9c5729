//! A call that another process left: what goes on with it, or its end.
//!
//! In: a [`Snapshot`] and its age.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::description::Talk;
use super::event::{EndReason, Event};
use super::input::Output;
use super::machine::LONGEST_DIVERSION;
use super::security::{Secured, Security};
use super::session::Session;
use super::settings::Side;
use super::snapshot::Snapshot;
use super::state::{Call, CallMedia, Phase, Record};
use super::switchboard::Switchboard;
use crate::rtp::control::MediaCommand;
use crate::sip::transaction::T1X64;
use crate::units::{Leg, PerLeg};

impl Switchboard {
    /// Goes on with a call of another process. `age`: since the snapshot was taken.
    pub(super) fn restore(&mut self, mut snapshot: Snapshot, age: Duration, now: Instant) {
        if self.calls.contains_key(&snapshot.call) || self.by_call_id.contains_key(&snapshot.sip_call_id) {
            return;
        }
        self.ids.pass_over(snapshot.call);
        snapshot.story.grow_older(age);
        let told = Box::new(snapshot.story.clone());
        let (ports, secured, video) = (snapshot.ports, snapshot.secured, snapshot.video.take());
        let (diverting, whisper_waits) = (snapshot.diversion, snapshot.whisper_waits);
        let mut call = Box::new(self.restored_call(snapshot, age, now));
        self.host_guests(&mut call);
        call.media.ports = Some(call.told_ports(|leg| ports[leg]));
        self.enter(&call);
        self.know_invite(&mut call, now);
        let (guarded, lasted) = (told.is_guarded(), told.answered);
        let sip_call_id = Arc::clone(&call.call_id);
        self.happened(&call, now, Event::Restored { sip_call_id, story: told });
        if lasted > call.settings.longest_restored {
            return self.end_restored(call, now);
        }
        self.reopen_media(&mut call, ports, secured);
        if let Some(video) = video {
            self.restore_video(&mut call, video);
        }
        if let Some(diverting) = diverting {
            self.divert_again(&mut call, diverting, now);
        } else if !call.has_callee {
            self.play(&mut call, Leg::Caller, "caller-diverted");
        } else if guarded && call.settings.enforce {
            self.guard(&mut call);
            if let Some(guard) = &mut call.guard {
                guard.whisper_waits = whisper_waits;
            }
        }
        self.changed(call.id);
        self.keep(call);
    }

    /// The call as the snapshot has it; without ports yet.
    pub(super) fn restored_call(&self, snapshot: Snapshot, age: Duration, now: Instant) -> Call {
        let story = snapshot.story;
        let ago = |span: Duration| now.checked_sub(span).unwrap_or(now);
        // A refresh that met nobody is still repeated for a while.
        let left = |left: Duration| left.saturating_sub(age).max(T1X64);
        let timer = snapshot.session.and_then(|(interval, rest)| Some((interval, now.checked_add(left(rest))?)));
        let outside = if snapshot.from == Side::Outside { Leg::Caller } else { Leg::Callee };
        let by_address = || self.settings.trunk_of(snapshot.flow[outside].peer.ip());
        let named = snapshot.trunk.clone().or_else(|| story.facts.trunk.clone());
        let trunk = named.or_else(|| by_address().map(|trunk| Arc::clone(&trunk.name)));
        let settings = self.settings_for(&story.facts);
        Call {
            party: snapshot.party,
            invited: snapshot.invited,
            resumed_until: Some(now + T1X64),
            has_callee: snapshot.has_callee,
            media: CallMedia {
                plan: snapshot.plan,
                latched: snapshot.latched,
                talk: PerLeg::from_fn(|_| if snapshot.on_hold { Talk::NONE } else { Talk::BOTH_WAYS }),
                reopening: true,
                ..CallMedia::default()
            },
            security: Security::new(&self.settings.srtp, &self.secret, snapshot.call),
            // An ACK may have passed unseen, so nobody waits for it; a call without media ends by itself.
            phase: Phase::Answered { ack_by: None },
            rang: story.rang.map(ago),
            // Its INVITE is over: no other answer to it can come.
            answered: Some(ago(story.answered)),
            until: (!snapshot.has_callee).then(|| now + LONGEST_DIVERSION),
            session: Session { timer, ..Session::default() },
            record: Record {
                generation: story.generation,
                routed: Some((story.decision, story.enforcement)),
                analysed: story.analysed,
                not_analysed: story.not_analysed,
                verdict: story.verdict.map(Box::new),
                steps: story.steps,
                taken_back: story.taken_back,
                lifted: story.lifted,
                digits: story.digits,
            },
            trunk,
            ..Call::new(
                snapshot.call,
                snapshot.sip_call_id,
                snapshot.from,
                snapshot.flow,
                story.facts,
                settings,
                ago(story.began),
            )
        }
    }

    /// Asks for the call's ports again, and tells the media path what it knew.
    fn reopen_media(&mut self, call: &mut Call, ports: PerLeg<u16>, secured: Option<Secured>) {
        let id = call.id;
        self.out(Output::Media(MediaCommand::Open { call: id, local: call.bound(), ports: Some(ports) }));
        if let (Some(security), Some(said)) = (&mut call.security, secured) {
            security.said = said;
        }
        for leg in Leg::BOTH {
            if let (Some(security), Some(srtp)) = (&mut call.security, &mut call.media.plan[leg].srtp) {
                security.resume(leg, srtp);
            }
            let plan = call.media.plan[leg].clone();
            self.out(Output::Media(MediaCommand::Plan { call: id, leg, plan }));
            if let Some(address) = call.media.latched[leg] {
                self.out(Output::Media(MediaCommand::Latch { call: id, leg, address }));
            }
        }
        self.out(Output::Media(MediaCommand::Answered { call: id, analyse: false }));
    }

    /// Both legs of a call that another process left, and that cannot go on.
    pub(super) fn end_restored(&mut self, call: Box<Call>, now: Instant) {
        self.bye_to_both(&call, now);
        self.finish(&call, None, EndReason::Restart, None, now);
    }
}
