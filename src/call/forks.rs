//! The phones behind one INVITE to the callee's side, told apart by their tags: several may say something, and several
//! may answer (RFC 3261 §13.2.2.4).

use super::forward::{self, Way};
use super::orphan::MAX_FORKS;
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
}

/// A dialog before the answer: where requests of the caller go (RFC 3261 §12.1.2).
#[derive(Debug)]
struct Early {
    tag: Box<str>,
    target: String,
    routes: Vec<String>,
}

impl Forks {
    /// One says something before it answers.
    pub(super) fn rings(&mut self, response: &Message<'_>) {
        let tag = response.to().ok().and_then(|to| to.tag());
        let (Some(tag), Ok(Some(contact))) = (tag, response.contact()) else { return };
        let routes = forward::routes_back(response);
        let early = Early { tag: tag.into(), target: contact.uri.to_owned(), routes };
        if let Some(other) = self.early.iter_mut().find(|other| other.tag == early.tag) {
            *other = early;
        } else if self.early.len() < MAX_FORKS {
            self.early.push(early);
        }
    }

    /// One that has not answered is reached elsewhere from now on. False: it is none of these.
    pub(super) fn moves(&mut self, tag: Option<&str>, target: &str) -> bool {
        let early = self.early.iter_mut().find(|early| Some(&*early.tag) == tag);
        early.map(|early| target.clone_into(&mut early.target)).is_some()
    }

    /// One answers, the first to do so.
    pub(super) fn answers(&mut self, response: &Message<'_>) {
        self.early = Vec::new();
        self.first = response.to().ok().and_then(|to| to.tag()).map(Box::from);
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
