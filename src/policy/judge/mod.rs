//! Evidence into a verdict: two sums of log-odds, each term with a name.
//!
//! In: [`Evidence`] as it becomes known. Out: a [`Verdict`] for any time. `automated` tells a recording from a person,
//! `scam` tells a scam's recording from a lawful one. Each is a bias and a weight for every [`Measure`]; s is the
//! logistic function, which makes a probability of log-odds:
//!
//! ```text
//! live = 1 - s(automated)    recorded = s(automated) * (1 - s(scam))    press_key = s(automated) * s(scam)
//! ```
//!
//! `s(scam)` has an upper limit while there is one sign of a scam only, see [`Tally::scam_limit`], and `s(automated)` a
//! lower one behind a scam's sentence, see [`Tally::says_it_plainly`]. Until the caller has
//! spoken, the class is `no_speech`, whatever the callee does.

mod measure;
mod tally;
mod verdict;
mod weights;

pub use measure::Measure;
pub use tally::Tally;
pub use verdict::{Class, Opinion, Reason, Verdict};
pub use weights::{BadWeights, Sum, Weights};

use std::sync::Arc;

use crate::detect::evidence::Evidence;
use crate::units::{CallTime, Ratio};

/// Terms smaller than this, in log-odds, do not stand among the reasons.
const SMALLEST_REASON: f32 = 0.15;

/// Least log-odds of a recording where [`Tally::says_it_plainly`], a probability of 0.65: keys are held back, and
/// nothing worse is done. Somebody who tells of such a call, word for word, keeps it.
const LEAST_PLAIN: f32 = 0.62;

/// The judge of one call.
#[derive(Clone, Debug)]
pub struct Judge {
    weights: Arc<Weights>,
    tally: Tally,
}

impl Judge {
    /// Has heard nothing.
    #[must_use]
    pub fn new(weights: Arc<Weights>) -> Self {
        Self { weights, tally: Tally::default() }
    }

    /// Takes one more piece of evidence.
    pub fn hear(&mut self, evidence: &Evidence) {
        self.tally.add(evidence);
    }

    /// What the evidence so far adds up to.
    #[must_use]
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// The verdict now, without its reasons. Cheaper than [`Judge::verdict`]: no reason is put into words.
    #[must_use]
    pub fn opinion(&self) -> Opinion {
        if self.tally.has_spoken() { self.weighed(&self.tally.measures()) } else { Opinion::NOBODY }
    }

    /// The verdict now, with its reasons.
    #[must_use]
    pub fn verdict(&self, at: CallTime) -> Verdict {
        if !self.tally.has_spoken() {
            let Opinion { class, probabilities } = Opinion::NOBODY;
            let text = Arc::from(self.tally.why_no_speech());
            let reasons = vec![Reason { text, weight: Arc::from("no_speech"), log_odds: 0.0 }];
            return Verdict { at, class, probabilities, reasons };
        }
        let measures = self.tally.measures();
        let Opinion { class, probabilities } = self.weighed(&measures);
        Verdict { at, class, probabilities, reasons: self.reasons(&measures) }
    }

    fn weighed(&self, measures: &[f32; Measure::COUNT]) -> Opinion {
        let automated = logistic(self.automated(measures).0);
        let scam = logistic(self.weights.scam.log_odds(measures)).min(self.tally.scam_limit());
        let [live, recorded, press_key] = [1.0 - automated, automated * (1.0 - scam), automated * scam];
        let class = if live >= recorded.max(press_key) {
            Class::Live
        } else if recorded >= press_key {
            Class::Recorded
        } else {
            Class::PressKey
        };
        Opinion { class, probabilities: [0.0, live, recorded, press_key].map(Ratio::clamped) }
    }

    /// Log-odds of a recording, and how much of that is no weight's but [`LEAST_PLAIN`]'s.
    fn automated(&self, measures: &[f32; Measure::COUNT]) -> (f32, f32) {
        let weighed = self.weights.automated.log_odds(measures);
        let least = if self.tally.says_it_plainly() { LEAST_PLAIN } else { weighed };
        let raised = (least - weighed).max(0.0);
        (weighed + raised, raised)
    }

    fn reasons(&self, measures: &[f32; Measure::COUNT]) -> Vec<Reason> {
        let mut reasons = Vec::new();
        for (sum, name) in [(&self.weights.automated, "automated"), (&self.weights.scam, "scam")] {
            for (measure, value) in Measure::ALL.into_iter().zip(measures) {
                let log_odds = sum.weight(measure) * value;
                if log_odds.abs() >= SMALLEST_REASON {
                    let weight = Arc::from(format!("{name}.{}", measure.label()));
                    reasons.push(Reason { text: Arc::from(self.tally.describe(measure)), weight, log_odds });
                }
            }
        }
        let (_, raised) = self.automated(measures);
        if raised >= SMALLEST_REASON {
            let text = Arc::from("asks for a key in one breath with what scams say");
            reasons.push(Reason { text, weight: Arc::from("automated.at_least"), log_odds: raised });
        }
        reasons.sort_by(|a, b| b.log_odds.abs().total_cmp(&a.log_odds.abs()));
        reasons
    }
}

fn logistic(log_odds: f32) -> f32 {
    1.0 / (1.0 + (-log_odds).exp())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::detect::evidence::{CalleeThen, Finding, Meaning};
    use crate::units::Leg;

    fn judge() -> Judge {
        Judge::new(Arc::new(Weights::built_in()))
    }

    fn hear(judge: &mut Judge, ms: u64, finding: Finding) {
        judge.hear(&Evidence { at: CallTime::from_millis(ms), leg: Leg::Caller, finding });
    }

    fn phrase(meaning: Meaning, name: &str) -> Finding {
        Finding::Phrase { phrase: name.into(), meaning, weight: 2.0, confidence: Ratio::ONE }
    }

    fn onset() -> Finding {
        Finding::Onset { after_answer: Duration::from_millis(900), callee: CalleeThen::Speaking }
    }

    #[test]
    fn silence_is_never_live() {
        let verdict = judge().verdict(CallTime::from_millis(20_000));

        assert_eq!((verdict.class, verdict.of(Class::Live)), (Class::NoSpeech, Ratio::ZERO));
    }

    /// A bar of music that sounds like a voice for a moment, and no words in it.
    #[test]
    fn music_is_nobody_until_words_or_long_speech_say_otherwise() {
        let mut judge = judge();
        hear(&mut judge, 4_300, onset());
        hear(&mut judge, 4_800, Finding::Music);
        let music = judge.verdict(CallTime::from_millis(5_000)).class;
        hear(&mut judge, 8_000, Finding::Monologue { length: Duration::from_millis(2_500) });
        let speech = judge.verdict(CallTime::from_millis(8_000)).class;

        assert_eq!(music, Class::NoSpeech);
        assert_ne!(speech, Class::NoSpeech);
    }

    /// Two beeps before the message, and a line on which no window is heard very well.
    #[test]
    fn blips_do_not_hide_what_scams_say() {
        let words = |confidence: f32| Finding::Words {
            text: "your Amazon account was charged, press one".into(),
            from: CallTime::from_millis(1_000),
            to: CallTime::from_millis(7_000),
            confidence: Ratio::clamped(confidence),
            speech: true,
        };
        let class = |confidence: f32, signs: &[Finding]| {
            let mut judge = judge();
            for _ in 0..2 {
                hear(&mut judge, 500, Finding::Tone { tone: crate::detect::tone::Tone::Key });
            }
            hear(&mut judge, 1_000, onset());
            hear(&mut judge, 7_000, Finding::Monologue { length: Duration::from_secs(6) });
            hear(&mut judge, 7_000, words(confidence));
            signs.iter().for_each(|sign| hear(&mut judge, 7_000, sign.clone()));
            judge.verdict(CallTime::from_millis(7_500)).class
        };
        let signs =
            [phrase(Meaning::Scam, "charge"), phrase(Meaning::Scam, "amazon"), phrase(Meaning::KeyPrompt, "press one")];

        let known = Finding::KnownRecording {
            recording: "amazon".into(),
            agreement: Ratio::clamped(0.9),
            offset: CallTime::ZERO,
        };
        assert_eq!(class(0.7, &signs), Class::PressKey);
        assert_eq!(class(0.5, &[known]), Class::PressKey, "it is found in speech alone");
        assert_eq!(class(0.7, &[]), Class::NoSpeech, "music has words written of it, too");
        assert_eq!(class(0.5, &signs), Class::NoSpeech);
    }

    #[test]
    fn a_scam_opening_with_a_key_prompt_is_press_key() {
        let mut judge = judge();
        hear(&mut judge, 1_000, onset());
        hear(&mut judge, 6_000, Finding::Monologue { length: Duration::from_secs(5) });
        hear(&mut judge, 6_500, phrase(Meaning::Scam, "charge"));
        hear(&mut judge, 7_000, phrase(Meaning::Scam, "amazon"));
        hear(&mut judge, 7_500, phrase(Meaning::KeyPrompt, "press one"));

        let verdict = judge.verdict(CallTime::from_millis(8_000));

        assert_eq!(verdict.class, Class::PressKey, "{verdict:?}");
        assert!(verdict.reasons.iter().any(|reason| reason.text.contains("charge")), "{verdict:?}");
    }

    #[test]
    fn a_machine_that_asks_for_a_key_is_not_taken_away_for_that() {
        let mut judge = judge();
        hear(&mut judge, 1_000, onset());
        for n in 0..4 {
            hear(&mut judge, 6_000 + n, phrase(Meaning::KeyPrompt, &format!("press {n}")));
        }
        hear(&mut judge, 7_000, phrase(Meaning::Automated, "menu"));

        assert!(judge.verdict(CallTime::from_millis(8_000)).of(Class::PressKey) < Ratio::clamped(0.9));
    }

    fn wording(scam: f32) -> Finding {
        Finding::Wording { automated: 20.0, scam, telling: ["".into(), "".into()] }
    }

    #[test]
    fn one_sign_of_a_scam_takes_nobody_away() {
        for sign in [phrase(Meaning::Scam, "amazon"), phrase(Meaning::KeyPrompt, "press one"), wording(13.0)] {
            let mut judge = judge();
            hear(&mut judge, 1_000, onset());
            hear(&mut judge, 9_000, Finding::Monologue { length: Duration::from_secs(8) });
            hear(&mut judge, 9_000, sign.clone());

            let verdict = judge.verdict(CallTime::from_millis(9_000));

            assert!(verdict.of(Class::PressKey) < Ratio::clamped(0.9), "{sign:?}: {verdict:?}");
        }
    }

    #[test]
    fn two_signs_or_wording_beyond_doubt_of_a_machine_may() {
        let signs = [
            vec![phrase(Meaning::Scam, "amazon"), wording(8.0)],
            vec![phrase(Meaning::KeyPrompt, "press one"), wording(8.0)],
            vec![phrase(Meaning::Scam, "amazon"), phrase(Meaning::KeyPrompt, "press one")],
            vec![phrase(Meaning::CallBack, "call back")],
            vec![Finding::Monologue { length: Duration::from_secs(5) }, wording(25.0)],
        ];
        for signs in signs {
            let mut judge = judge();
            hear(&mut judge, 1_000, onset());
            signs.iter().for_each(|sign| hear(&mut judge, 8_000, sign.clone()));

            assert!((judge.tally().scam_limit() - 1.0).abs() < f32::EPSILON, "{signs:?}");
        }
        let mut short = judge();
        hear(&mut short, 1_000, onset());
        hear(&mut short, 3_000, wording(25.0));
        assert!(short.tally().scam_limit() < 0.9);
        let mut seller = judge();
        hear(&mut seller, 1_000, onset());
        hear(&mut seller, 6_000, Finding::Monologue { length: Duration::from_secs(5) });
        hear(&mut seller, 6_000, wording(25.0));
        hear(&mut seller, 6_000, phrase(Meaning::Talk, "hello, it's me"));
        assert!(seller.tally().scam_limit() < 0.9);
    }

    /// "Uh, your Windows license thing popped up": a colleague who did not wait for the greeting's end.
    #[test]
    fn a_person_who_speaks_of_what_scams_speak_of_is_not_taken_away_for_the_wording() {
        let limit = |automated: f32, said: Option<&str>| {
            let mut judge = judge();
            hear(&mut judge, 1_000, onset());
            hear(&mut judge, 3_000, Finding::TalkOver { length: Duration::from_millis(1_600) });
            hear(&mut judge, 3_000, Finding::Wording { automated, scam: 11.0, telling: ["".into(), "".into()] });
            hear(&mut judge, 3_000, phrase(Meaning::Scam, "computer and line trouble"));
            said.into_iter().for_each(|said| hear(&mut judge, 3_000, phrase(Meaning::Talk, said)));
            judge.tally().scam_limit()
        };

        assert!(limit(-3.0, Some("hesitation")) < 0.9);
        assert!(limit(-3.0, None) > 0.9 && limit(3.0, Some("hesitation")) > 0.9, "neither is enough by itself");
    }

    /// "Oh hello, is that you? Yeah, it's me, sorry. I was just on the bus ...", and then the recording that it is.
    #[test]
    fn a_scam_that_begins_as_a_friend_would_has_its_keys_held() {
        let words = || Finding::Words {
            text: "to cancel the order press one".into(),
            from: CallTime::from_millis(12_000),
            to: CallTime::from_millis(18_000),
            confidence: Ratio::clamped(0.9),
            speech: true,
        };
        let verdict = |window: &[Finding]| {
            let mut judge = judge();
            hear(&mut judge, 1_000, onset());
            hear(&mut judge, 5_000, words());
            for said in ["is that you", "it's me", "hesitation"] {
                hear(&mut judge, 5_000, phrase(Meaning::Talk, said));
            }
            hear(&mut judge, 18_000, words());
            hear(
                &mut judge,
                18_000,
                Finding::Wording { automated: -60.0, scam: 50.0, telling: ["".into(), "".into()] },
            );
            window.iter().for_each(|said| hear(&mut judge, 18_000, said.clone()));
            hear(&mut judge, 20_000, words());
            judge.verdict(CallTime::from_millis(20_000))
        };
        let scam = [phrase(Meaning::Scam, "order"), phrase(Meaning::KeyPrompt, "press one")];

        let held = verdict(&scam);
        assert!((0.5..0.7).contains(&held.of(Class::PressKey).get()), "{held:?}");
        assert!(held.reasons.iter().any(|reason| &*reason.weight == "automated.at_least"), "{held:?}");
        let told = [scam.as_slice(), &[phrase(Meaning::Talk, "I got a call")]].concat();
        for window in [&told, &scam[..1], &scam[1..]] {
            assert_eq!(verdict(window).class, Class::Live, "{window:?}");
        }
    }

    #[test]
    fn probabilities_add_up_and_reasons_are_sorted() {
        let mut judge = judge();
        hear(&mut judge, 1_000, onset());
        hear(&mut judge, 3_000, phrase(Meaning::Talk, "is that"));

        let verdict = judge.verdict(CallTime::from_millis(3_000));

        let sum: f32 = verdict.probabilities.iter().map(|p| p.get()).sum();
        assert!((sum - 1.0).abs() < 1e-4);
        assert!(verdict.reasons.is_sorted_by(|a, b| a.log_odds.abs() >= b.log_odds.abs()));
        assert_eq!(verdict.class, Class::Live);
    }
}
