//! The first matching rule wins and is named; then thresholds turn verdicts into actions.

use std::sync::Arc;

use super::action::{Rejection, Route, RouteDecision, RuleId, StepUp, StepUpDecision};
use super::facts::{CallDirection, CallerNumber, Facts, OverLimit};
use super::judge::{Class, Verdict};
use super::number::{Country, NumberSet};
use super::reputation::is_short;
use crate::units::Ratio;

/// The service of all who help in an emergency.
const SOS: &str = "service:sos";

/// All that decides. Made by `config`.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// How numbers are written here.
    pub country: Country,
    /// Numbers that the PBX may always dial, before every rule; the country's own are some, too.
    pub emergency: Vec<Arc<str>>,
    /// Always connected.
    pub allow: NumberSet,
    /// Always rejected.
    pub block: NumberSet,
    /// `[[rule]]`, in the order of the file.
    pub rules: Vec<Rule>,
    /// What happens where no rule matches.
    pub otherwise: Route,
    /// How calls over a limit are refused.
    pub over_limit: Rejection,
    /// Probability of `press_key` from which the callee's digits are held.
    pub guard_at: Ratio,
    /// ... from which the callee is warned.
    pub whisper_at: Ratio,
    /// ... from which the call is taken away.
    pub divert_at: Ratio,
    /// ... from which it is ended at once; None: never.
    pub hang_up_at: Option<Ratio>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            country: Country::GB,
            emergency: ["999", "112", "911", "18000"].map(Arc::from).to_vec(),
            allow: NumberSet::default(),
            block: NumberSet::default(),
            rules: Vec::new(),
            otherwise: Route::Watch,
            over_limit: Rejection::Busy,
            guard_at: Ratio::clamped(0.5),
            whisper_at: Ratio::clamped(0.7),
            divert_at: Ratio::clamped(0.9),
            hang_up_at: None,
        }
    }
}

/// One `[[rule]]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Stands in the record of a call that it decided.
    pub name: RuleId,
    /// All of them must hold.
    pub when: Vec<Condition>,
    /// What then happens.
    pub route: Route,
}

/// Extensions, numbers and prefixes as they may be dialled.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Called {
    numbers: NumberSet,
    /// What is no number stands as it is.
    names: Vec<Arc<str>>,
}

impl Called {
    /// None: the beginning of a name, or one of anything.
    #[must_use]
    pub fn new<'a>(list: impl IntoIterator<Item = &'a str>, country: Country) -> Option<Self> {
        let is_number = |text: &&str| NumberSet::new([*text], country).is_ok();
        let (numbers, names): (Vec<&str>, Vec<&str>) = list.into_iter().partition(is_number);
        if names.iter().any(|name| name.ends_with('*')) {
            return None;
        }
        let numbers = NumberSet::new(numbers, country).ok()?;
        Some(Self { numbers, names: names.into_iter().map(Arc::from).collect() })
    }

    /// A trunk may say +441632960001 where it is written 01632 960001.
    fn contains(&self, called: &str, country: Country) -> bool {
        self.names.iter().any(|name| **name == *called) || self.numbers.contains(&country.normalise(called))
    }
}

/// One condition of a rule.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    /// The caller's number is withheld.
    Withheld,
    /// The caller's number is in this set.
    Number(NumberSet),
    /// Whom the caller has dialled is in this list.
    Called(Called),
    /// The call came over this trunk.
    Trunk(Arc<str>),
    /// The source is in one of these networks.
    Networks(Vec<ipnet::IpNet>),
    /// The local hour is in `from..to`; where `to` is not greater than `from`, the span goes across midnight.
    Hours {
        /// First hour.
        from: u8,
        /// Hour behind the last.
        to: u8,
    },
    /// Today is one of these days; 0 is Monday.
    Weekdays(Vec<u8>),
}

impl Condition {
    /// A list in which nothing is: it holds for no call.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Number(set) => set.is_empty(),
            Self::Called(called) => called.numbers.is_empty() && called.names.is_empty(),
            Self::Networks(networks) => networks.is_empty(),
            Self::Weekdays(days) => days.is_empty(),
            Self::Withheld | Self::Trunk(_) | Self::Hours { .. } => false,
        }
    }

    fn holds(&self, facts: &Facts, country: Country) -> bool {
        match self {
            Self::Withheld => facts.caller == CallerNumber::Withheld,
            Self::Number(set) => facts.caller.number().is_some_and(|number| set.contains(number)),
            Self::Called(called) => called.contains(&facts.called.0, country),
            Self::Trunk(name) => facts.trunk.as_ref() == Some(name),
            Self::Networks(networks) => networks.iter().any(|network| network.contains(&facts.source)),
            Self::Hours { from, to } if from < to => (*from..*to).contains(&facts.hour),
            Self::Hours { from, to } => facts.hour >= *from || facts.hour < *to,
            Self::Weekdays(days) => days.contains(&facts.weekday),
        }
    }
}

impl Policy {
    /// Is this number of a call from the PBX one for emergencies? What stands behind a `;` is about the number
    /// (RFC 3966), and no part of it; some write it as if it were an international one. `service:sos` and what is below
    /// it (RFC 5031 §4.2) is one everywhere.
    #[must_use]
    pub fn is_emergency(&self, called: &str) -> bool {
        let called = called.split(';').next().unwrap_or_default();
        let help = called.get(..SOS.len()).is_some_and(|start| start.eq_ignore_ascii_case(SOS));
        if help && matches!(called.as_bytes().get(SOS.len()), None | Some(b'.')) {
            return true;
        }
        let spelled = self.country.spellings(called);
        let mut numbers = self.emergency.iter().map(|number| &**number).chain(self.country.emergency().iter().copied());
        numbers.any(|number| spelled.iter().flatten().any(|called| called == number))
    }

    /// True for a call of the PBX for help: nothing stands in its way.
    #[must_use]
    pub fn helps(&self, facts: &Facts) -> bool {
        facts.direction == CallDirection::Outbound && self.is_emergency(&facts.called.0)
    }

    /// The first rule that holds.
    fn rule(&self, facts: &Facts) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.when.iter().all(|condition| condition.holds(facts, self.country)))
    }

    /// Whoever knows a number that is known here, or that a rule connects, could shut its owner out by showing it a few
    /// times.
    fn is_trusted(&self, facts: &Facts) -> bool {
        facts.dialled_before || self.rule(facts).is_some_and(|rule| rule.route == Route::Connect)
    }

    /// The number by which a new call is limited. Only a full one: an analogue gateway may show one name, or one short
    /// number, for all its callers. None for those that are trusted, too, so that the limit of their source counts.
    #[must_use]
    pub fn limited_number<'f>(&self, facts: &'f Facts) -> Option<&'f str> {
        facts.caller.number().filter(|number| !is_short(number) && !self.is_trusted(facts))
    }

    /// What happens to a new call.
    #[must_use]
    pub fn route(&self, facts: &Facts) -> RouteDecision {
        let decide = |route: Route, rule: &str| RouteDecision { route, rule: Arc::from(rule) };
        if facts.direction == CallDirection::Outbound {
            return decide(Route::Connect, if self.helps(facts) { "emergency" } else { "outbound" });
        }
        let number = facts.caller.number();
        if number.is_some_and(|number| self.allow.contains(number)) {
            return decide(Route::Connect, "numbers.allow");
        }
        if number.is_some_and(|number| self.block.contains(number)) {
            return decide(Route::Reject(Rejection::Rejected), "numbers.block");
        }
        let spared = facts.over_limit == Some(OverLimit::Number) && self.is_trusted(facts);
        if let Some(limit) = facts.over_limit.filter(|_| !spared) {
            return decide(Route::Reject(self.over_limit), limit.setting());
        }
        if let Some(rule) = self.rule(facts) {
            return RouteDecision { route: rule.route, rule: Arc::clone(&rule.name) };
        }
        if facts.dialled_before {
            return decide(Route::Connect, "dialled before");
        }
        decide(self.otherwise, "default")
    }

    /// The next step that `verdict` earns beyond those `taken`: the strongest one, except that a whisper comes only
    /// after a guard. None: nothing new. A callee who took the call back has decided: nothing stronger than a guard
    /// follows.
    #[must_use]
    pub fn step_up(&self, verdict: &Verdict, taken: &[StepUp], taken_back: bool) -> Option<StepUpDecision> {
        let probability = verdict.of(Class::PressKey);
        let steps = [
            (self.hang_up_at, StepUp::HangUp, "detect.hang_up_at"),
            (Some(self.divert_at), StepUp::Divert, "detect.divert_at"),
            (Some(self.whisper_at), StepUp::Whisper, "detect.whisper_at"),
            (Some(self.guard_at), StepUp::Guard, "detect.guard_at"),
        ];
        for (threshold, action, rule) in steps {
            let Some(threshold) = threshold else { continue };
            let earned = probability >= threshold;
            let allowed = !taken_back || action == StepUp::Guard;
            let stronger = taken.iter().all(|step| *step < action);
            let too_early = action == StepUp::Whisper && taken.is_empty();
            if earned && allowed && stronger && !too_early {
                return Some(StepUpDecision { action, rule: Arc::from(rule), verdict: verdict.clone() });
            }
        }
        None
    }

    /// Do keys that are held back reach the caller again? The caller must be a person with the probability that a scam
    /// needs to be taken away.
    #[must_use]
    pub fn lifts_guard(&self, verdict: &Verdict) -> bool {
        verdict.class == Class::Live && verdict.of(Class::Live) >= self.divert_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::{CallTime, Redacted};

    fn facts(caller: &str) -> Facts {
        Facts {
            direction: CallDirection::Inbound,
            source: "192.0.2.1".parse().unwrap(),
            trunk: Some("provider".into()),
            caller: Policy::default().country.caller(Some(caller)),
            called: Redacted("201".into()),
            understands_608: false,
            over_limit: None,
            hour: 23,
            weekday: 6,
            dialled_before: false,
        }
    }

    fn verdict(press_key: f32) -> Verdict {
        let rest = Ratio::clamped(1.0 - press_key);
        Verdict {
            at: CallTime::from_millis(5_000),
            class: Class::PressKey,
            probabilities: [Ratio::ZERO, rest, Ratio::ZERO, Ratio::clamped(press_key)],
            reasons: Vec::new(),
        }
    }

    #[test]
    fn the_first_matching_rule_is_named() {
        let rule = |name: &str, when, route| Rule { name: name.into(), when, route };
        let policy = Policy {
            rules: vec![
                rule("night", vec![Condition::Hours { from: 22, to: 7 }, Condition::Withheld], Route::Divert),
                rule("sunday", vec![Condition::Weekdays(vec![6])], Route::Connect),
            ],
            ..Policy::default()
        };

        assert_eq!(&*policy.route(&facts("anonymous")).rule, "night");
        assert_eq!(&*policy.route(&facts("+441632960001")).rule, "sunday");
        assert_eq!(&*policy.route(&Facts { weekday: 0, ..facts("+441632960001") }).rule, "default");
    }

    #[test]
    fn the_allow_list_is_stronger_than_limits_and_blocks() {
        let set = |pattern| NumberSet::new([pattern], Policy::default().country).unwrap();
        let policy = Policy { allow: set("+441632960001"), block: set("+44163296*"), ..Policy::default() };
        let over = |caller| Facts { over_limit: Some(OverLimit::Source), ..facts(caller) };

        assert_eq!(policy.route(&over("+441632960001")).route, Route::Connect);
        assert_eq!(policy.route(&over("+441632960002")).route, Route::Reject(Rejection::Rejected));
        assert_eq!(policy.route(&over("+12025550123")).route, Route::Reject(Rejection::Busy));
    }

    #[test]
    fn a_called_number_is_known_however_it_is_written() {
        let country = Country::GB;
        let called = Called::new(["201", "3*", "01632 960001", "0163297*", "sales", "#31#"], country).unwrap();

        for dialled in ["201", "345", "+441632960001", "01632960001", "441632960001", "+441632970123", "sales", "#31#"]
        {
            assert!(called.contains(dialled, country), "{dialled}");
        }
        for dialled in ["2010", "20", "+441632960002", "", "sale", "salesroom"] {
            assert!(!called.contains(dialled, country), "{dialled}");
        }
        assert_eq!((Called::new(["sales*"], country), Called::new(["*"], country)), (None, None));
    }

    /// A few calls that show a number are enough to bring it over its limit.
    #[test]
    fn a_number_that_is_known_is_not_shut_out_by_calls_that_show_it() {
        let over = |limit, dialled_before| Facts { over_limit: Some(limit), dialled_before, ..facts("+441632960001") };
        let policy = Policy::default();

        assert_eq!(policy.route(&over(OverLimit::Number, true)).route, Route::Connect);
        assert_eq!(policy.route(&over(OverLimit::Number, false)).route, Route::Reject(Rejection::Busy));
        assert_eq!(policy.route(&over(OverLimit::Source, true)).route, Route::Reject(Rejection::Busy));
    }

    /// Behind each stands somebody whom a few calls with this number would shut out, or many people with one name.
    #[test]
    fn a_number_is_limited_where_it_is_one_persons_and_no_rule_connects_it() {
        let set = NumberSet::new(["+44163296*"], Policy::default().country).unwrap();
        let when = vec![Condition::Number(set), Condition::Hours { from: 22, to: 7 }];
        let rule = |route| Rule { name: "surgery".into(), when: when.clone(), route };
        let policy = Policy { rules: vec![rule(Route::Connect)], ..Policy::default() };
        let limited = |policy: &Policy, call: &Facts| policy.limited_number(call).map(str::to_owned);
        let over = |call: Facts| policy.route(&Facts { over_limit: Some(OverLimit::Number), ..call }).route;
        let surgery = facts("01632 960001");

        assert_eq!((limited(&policy, &surgery), over(surgery.clone())), (None, Route::Connect));
        let by_day = Facts { hour: 12, ..surgery.clone() };
        assert_eq!(limited(&policy, &by_day).as_deref(), Some("+441632960001"));
        assert_eq!(over(by_day), Route::Reject(Rejection::Busy));
        let source = Facts { over_limit: Some(OverLimit::Source), ..surgery.clone() };
        assert_eq!(policy.route(&source).route, Route::Reject(Rejection::Busy), "its trunk's limit stays");
        let watched = Policy { rules: vec![rule(Route::Watch)], ..Policy::default() };
        assert_eq!(limited(&watched, &surgery).as_deref(), Some("+441632960001"));
        assert_eq!(limited(&watched, &Facts { dialled_before: true, ..surgery }), None);
        for gateway in ["fxo-line", "201", "116123", "anonymous"] {
            assert_eq!(limited(&watched, &facts(gateway)), None, "{gateway}");
        }
        assert_eq!(limited(&watched, &facts("5550123")).as_deref(), Some("5550123"));
    }

    #[test]
    fn a_name_that_begins_like_a_number_is_none() {
        let set = NumberSet::new(["+44163296*"], Policy::default().country).unwrap();
        let rule = Rule { name: "friends".into(), when: vec![Condition::Number(set)], route: Route::Connect };
        let policy = Policy { rules: vec![rule], ..Policy::default() };

        assert_eq!(policy.route(&facts("+441632960001")).route, Route::Connect);
        assert_eq!(policy.route(&facts("+44163296x")).route, Route::Watch);
    }

    #[test]
    fn emergency_calls_pass_before_every_rule() {
        let policy = Policy {
            rules: vec![Rule { name: "none".into(), when: vec![], route: Route::Reject(Rejection::Decline) }],
            ..Policy::default()
        };
        let call = Facts { direction: CallDirection::Outbound, called: Redacted("999".into()), ..facts("201") };

        let decision = policy.route(&call);

        assert_eq!((decision.route, &*decision.rule), (Route::Connect, "emergency"));
        for called in ["112;phone-context=+44", "+999", "+44999", "9-1-1", "service:sos", "Service:SOS.fire"] {
            assert!(policy.is_emergency(called), "{called}");
        }
        for called in ["1123", "", "+", "+1999", "+44", "service:sosx", "service:counseling", "sos"] {
            assert!(!policy.is_emergency(called), "{called}");
        }
        // In France, whom a call from outside asks for is an extension.
        let policy = Policy { country: Country::of("fr").unwrap_or(Country::GB), ..policy };
        let [out, within] = [CallDirection::Outbound, CallDirection::Inbound]
            .map(|direction| policy.helps(&Facts { direction, called: Redacted("15".into()), ..facts("0140000000") }));
        assert_eq!((out, within), (true, false));
    }

    #[test]
    fn steps_only_grow_and_end_with_a_take_back() {
        let policy = Policy::default();
        let step =
            |probability, taken: &[StepUp], back| policy.step_up(&verdict(probability), taken, back).map(|d| d.action);

        assert_eq!(step(0.3, &[], false), None);
        assert_eq!(step(0.6, &[], false), Some(StepUp::Guard));
        assert_eq!(step(0.6, &[StepUp::Guard], false), None);
        assert_eq!(step(0.95, &[StepUp::Guard], false), Some(StepUp::Divert));
        assert_eq!(step(0.99, &[StepUp::Guard, StepUp::Divert], false), None);
        assert_eq!(step(0.99, &[], true), Some(StepUp::Guard));
    }

    #[test]
    fn a_whisper_comes_behind_a_guard_and_a_diversion_needs_neither() {
        let policy = Policy::default();
        let step =
            |probability, taken: &[StepUp]| policy.step_up(&verdict(probability), taken, false).map(|d| d.action);

        assert_eq!(step(0.75, &[]), Some(StepUp::Guard));
        assert_eq!(step(0.75, &[StepUp::Guard]), Some(StepUp::Whisper));
        assert_eq!(step(0.75, &[StepUp::Guard, StepUp::Whisper]), None);
        assert_eq!(step(0.95, &[]), Some(StepUp::Divert));
    }

    #[test]
    fn a_guard_is_lifted_for_a_person_and_not_for_less() {
        let policy = Policy::default();
        let live = |probability: f32| {
            let rest = Ratio::clamped(1.0 - probability);
            let probabilities = [Ratio::ZERO, Ratio::clamped(probability), rest, Ratio::ZERO];
            Verdict { class: Class::Live, probabilities, ..verdict(0.0) }
        };

        assert!(policy.lifts_guard(&live(0.95)));
        assert!(!policy.lifts_guard(&live(0.8)));
        assert!(!policy.lifts_guard(&verdict(0.95)));
    }
}
