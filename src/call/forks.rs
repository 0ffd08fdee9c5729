//! The phones behind one INVITE to the callee's side, told apart by their tags: several may say something, and several
//! may answer (RFC 3261 §13.2.2.4).

use super::description::Talk;
use super::forward::{self, Way};
use super::orphan::MAX_FORKS;
use crate::rtp::control::StreamPlan;
use crate::sip::wire::Message;

/// Those of a call.
#[derive(Debug, Default)]
pub(super) struct Forks {
    /// Those that have said something and not answered.
    early: Vec<Early>,
    /// The one that answered first.
    first: Option<Box<str>>,
    /// Others that answered too and were hung up.
    pub hung_up: Vec<Box<str>>,
    /// Highest CSeq that any of them has had of us.
    pub highest: u32,
}

/// A dialog before the answer: where requests of the caller go (RFC 3261 §12.1.2).
#[derive(Debug)]
struct Early {
    tag: Box<str>,
    target: String,
    routes: Vec<String>,
    /// Highest CSeq of a request in its dialog, which counts on from the INVITE by itself (RFC 3261 §12.1.2).
    cseq: u32,
    description: Option<Described>,
    /// The media path has this description, not that of another one.
    is_heard: bool,
}

/// What one says of its media before it answers.
#[derive(Clone, Debug)]
pub(super) struct Described {
    pub plan: Box<StreamPlan>,
    pub talk: Talk,
}

impl Forks {
    /// One says something before it answers.
    pub(super) fn rings(&mut self, response: &Message<'_>) {
        let tag = response.to().ok().and_then(|to| to.tag());
        let (Some(tag), Ok(Some(contact))) = (tag, response.contact()) else { return };
        let routes = forward::routes_back(response);
        let early = Early {
            tag: tag.into(),
            target: contact.uri.to_owned(),
            routes,
            cseq: 0,
            description: None,
            is_heard: false,
        };
        if let Some(other) = self.early.iter_mut().find(|other| other.tag == early.tag) {
            let Early { target, routes, .. } = early;
            (other.target, other.routes) = (target, routes);
        } else if self.early.len() < MAX_FORKS {
            self.early.push(early);
        }
    }

    /// A request of the caller has gone to one, with this CSeq.
    pub(super) fn hears(&mut self, tag: Option<&str>, cseq: u32) {
        let early = self.early.iter_mut().find(|early| Some(&*early.tag) == tag);
        early.into_iter().for_each(|early| early.cseq = early.cseq.max(cseq));
    }

    /// Highest CSeq in the dialog of one that has not answered; None: it is none of these.
    pub(super) fn cseq(&self, tag: Option<&str>) -> Option<u32> {
        self.early.iter().find(|early| Some(&*early.tag) == tag).map(|early| early.cseq)
    }

    /// A response of one describes its media.
    pub(super) fn describes(&mut self, response: &Message<'_>, described: Described) {
        let tag = response.to().ok().and_then(|to| to.tag());
        for early in &mut self.early {
            early.is_heard = Some(&*early.tag) == tag;
            if early.is_heard {
                early.description = Some(described.clone());
            }
        }
    }

    /// One that has not answered is reached elsewhere from now on. False: it is none of these.
    pub(super) fn moves(&mut self, tag: Option<&str>, target: &str) -> bool {
        let early = self.early.iter_mut().find(|early| Some(&*early.tag) == tag);
        early.map(|early| target.clone_into(&mut early.target)).is_some()
    }

    /// One answers, the first to do so. What it has said of its media before counts again, where the media path has
    /// another's description since.
    pub(super) fn answers(&mut self, response: &Message<'_>) -> Option<Described> {
        self.first = response.to().ok().and_then(|to| to.tag()).map(Box::from);
        let early = std::mem::take(&mut self.early);
        let answers = |early: &Early| Some(&early.tag) == self.first.as_ref() && !early.is_heard;
        early.into_iter().find(answers)?.description
    }

    /// The way to one that has not answered.
    pub(super) fn early(&self, tag: Option<&str>) -> Option<Way<'_>> {
        let early = self.early.iter().find(|early| Some(&*early.tag) == tag)?;
        Some(Way { target: &early.target, routes: &early.routes })
    }

    /// `response` is of the one that answered first.
    pub(super) fn is_first(&self, response: &Message<'_>) -> bool {
        let tag = response.to().ok().and_then(|to| to.tag());
        tag.is_none() || tag == self.first.as_deref()
    }

    /// Tags of those whose answer has been dealt with.
    pub(super) fn ended(&self) -> Vec<Box<str>> {
        self.first.iter().chain(&self.hung_up).cloned().collect()
    }
}
