//! A call for tests: a scam, diverted, and taken back by mistake.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::record::{CallRecord, EndingRecord, Judgement, ReasonRecord, Step, UtcMillis};
use crate::units::{CallId, CallTime, PerLeg};

/// 2026-03-02 09:30:00.250 UTC.
const BEGAN: i64 = 1_772_443_800_250;

/// A scam that was diverted at 5.2 s.
pub(crate) fn diverted_call() -> CallRecord {
    CallRecord {
        id: CallId(0x0069_a55a_1800_002a),
        sip_call_id: "a84b4c76e66710@203.0.113.9".into(),
        generation: 3,
        direction: "inbound".into(),
        caller_kind: "number".into(),
        caller: Some("+447700900123".to_owned()),
        called: Some("201".to_owned()),
        source: IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9)),
        trunk: Some("provider".into()),
        began: UtcMillis(BEGAN),
        ringing: Some(UtcMillis(BEGAN + 350)),
        answered: Some(UtcMillis(BEGAN + 4_550)),
        restored: None,
        ended: Some(UtcMillis(BEGAN + 19_850)),
        rule: "default".into(),
        route: "watch".into(),
        route_enforcement: "done".into(),
        analysed: true,
        not_analysed: None,
        verdicts: vec![first_verdict(), last_verdict()],
        verdicts_left_out: 0,
        steps: vec![guard(), diversion()],
        taken_back: Some(CallTime::from_millis(9_100)),
        lifted: None,
        digits: PerLeg { caller: 0, callee: 1 },
        ending: EndingRecord {
            by: Some("callee".into()),
            how: "bye".into(),
            status: None,
            talked: Some(Duration::from_millis(15_300)),
        },
    }
}

fn first_verdict() -> Judgement {
    Judgement {
        at: CallTime::from_millis(2_100),
        class: "live".into(),
        probabilities: [0.0, 0.61, 0.24, 0.15],
        reasons: vec![reason("speech began at 0.6 s", "automated.onset", -0.45)],
    }
}

fn last_verdict() -> Judgement {
    Judgement {
        at: CallTime::from_millis(5_200),
        class: "press_key".into(),
        probabilities: [0.0, 0.02, 0.04, 0.94],
        reasons: vec![
            reason("asks to press 1", "scam.key_prompt", 3.25),
            reason("spoke on for 4.8 s without a pause", "automated.monologue", 1.5),
            reason("a reply came after 0.4 s", "automated.reply_delay", -0.6),
        ],
    }
}

fn guard() -> Step {
    Step {
        at: CallTime::from_millis(4_400),
        action: "guard".into(),
        rule: "detect.guard_at".to_owned(),
        enforcement: "not enforced".into(),
        verdict: Judgement {
            at: CallTime::from_millis(4_400),
            class: "press_key".into(),
            probabilities: [0.0, 0.2, 0.28, 0.52],
            reasons: vec![reason("asks to press 1", "scam.key_prompt", 1.75)],
        },
    }
}

fn diversion() -> Step {
    Step {
        at: CallTime::from_millis(5_200),
        action: "divert".into(),
        rule: "detect.divert_at".to_owned(),
        enforcement: "done".into(),
        verdict: last_verdict(),
    }
}

fn reason(text: &str, weight: &str, log_odds: f32) -> ReasonRecord {
    ReasonRecord { text: text.into(), weight: weight.into(), log_odds }
}
