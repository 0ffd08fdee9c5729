//! The two sides of a call.

use serde::{Deserialize, Serialize};
use std::ops::{Index, IndexMut};

/// Our dialog with one side of a call, named by who is there: the one who called, or the one who was called.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub enum Leg {
    /// The side that sent the INVITE.
    Caller,
    /// The side that the call was for.
    Callee,
}

impl Leg {
    /// Both legs, caller first.
    pub const BOTH: [Leg; 2] = [Leg::Caller, Leg::Callee];

    /// The leg across.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Leg::Caller => Leg::Callee,
            Leg::Callee => Leg::Caller,
        }
    }

    /// Fixed word for logs and metric labels.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Leg::Caller => "caller",
            Leg::Callee => "callee",
        }
    }
}

/// One value for each leg.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct PerLeg<T> {
    /// The caller's.
    pub caller: T,
    /// The callee's.
    pub callee: T,
}

impl<T> PerLeg<T> {
    /// Builds both from one function.
    pub fn from_fn(mut make: impl FnMut(Leg) -> T) -> Self {
        Self { caller: make(Leg::Caller), callee: make(Leg::Callee) }
    }
}

impl<T> Index<Leg> for PerLeg<T> {
    type Output = T;

    fn index(&self, leg: Leg) -> &T {
        match leg {
            Leg::Caller => &self.caller,
            Leg::Callee => &self.callee,
        }
    }
}

impl<T> IndexMut<Leg> for PerLeg<T> {
    fn index_mut(&mut self, leg: Leg) -> &mut T {
        match leg {
            Leg::Caller => &mut self.caller,
            Leg::Callee => &mut self.callee,
        }
    }
}
