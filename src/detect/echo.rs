//! Does the caller speak, or is it the callee's echo in the caller's leg?
//!
//! In: level and speech of both legs, frame by frame. Out: whether the caller's frame is an echo. An echo is a copy of
//! what the callee said up to 300 ms ago, at least 18 dB weaker (ITU-T G.131 asks networks for more: a stronger echo is
//! a fault that people hear).

use super::voice::Voiced;
use crate::units::Dbov;

/// Frames of the callee that may still echo: 300 ms.
const WINDOW: usize = 15;

/// An echo is at least this much below the voice.
const LOSS_DB: f32 = 18.0;

/// What the callee said lately.
#[derive(Clone, Debug)]
pub struct Echo {
    callee: [f32; WINDOW],
    next: usize,
}

impl Echo {
    /// The callee has said nothing.
    #[must_use]
    pub fn new() -> Self {
        Self { callee: [f32::NEG_INFINITY; WINDOW], next: 0 }
    }

    /// One frame of both legs. True: the caller's frame is an echo of the callee.
    pub fn frame(&mut self, caller: Dbov, callee: Voiced) -> bool {
        if let Some(slot) = self.callee.get_mut(self.next) {
            *slot = if callee.speech { callee.level.0 } else { f32::NEG_INFINITY };
        }
        self.next = (self.next + 1) % WINDOW;
        // Of all of them at once, which is quicker than to look for the loudest.
        self.callee.iter().fold(false, |is_echo, callee| is_echo | (caller.0 < callee - LOSS_DB))
    }
}

impl Default for Echo {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn speech(level: f32) -> Voiced {
        Voiced { speech: true, level: Dbov(level) }
    }

    #[test]
    fn a_weak_copy_is_an_echo_until_300_ms_after_the_voice() {
        let quiet = Voiced { speech: false, ..speech(-60.0) };
        let mut echo = Echo::new();

        assert!(echo.frame(Dbov(-45.0), speech(-20.0)));
        let later: Vec<bool> = (0..16).map(|_| echo.frame(Dbov(-45.0), quiet)).collect();

        assert!(later.iter().take(14).all(|&is| is));
        assert!(later.iter().skip(14).all(|&is| !is));
    }

    #[test]
    fn a_caller_as_loud_as_the_callee_is_no_echo() {
        let mut echo = Echo::new();

        assert!(!echo.frame(Dbov(-30.0), speech(-20.0)));
    }
}
