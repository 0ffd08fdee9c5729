//! Events of calls in, records, log lines and lists out: the observer and the store as they run.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use ringfence::call::{EndReason, Ending, Event, Happened};
use ringfence::io::clock;
use ringfence::observe::metrics::Part;
use ringfence::observe::{Observer, Records, Settings, explain};
use ringfence::policy::action::{Enforcement, Rejection, Route, RouteDecision, StepUp, StepUpDecision};
use ringfence::policy::facts::{CallDirection, CallerNumber, Facts};
use ringfence::policy::judge::{Class, Reason, Verdict};
use ringfence::store::{Filter, Store, UNFINISHED};
use ringfence::units::{CallId, CallTime, Leg, Ratio, Redacted, Redaction};

const LONG: Duration = Duration::from_secs(60);
const CALLER: &str = "+447700900123";

fn observer(store: &Path, numbers: bool) -> Observer {
    let records = Records { numbers, ..Records::default() };
    Observer::start(Settings { store: Some(store.to_owned()), records }, Arc::default()).unwrap()
}

/// Tells the events of one call, whose time is made up.
struct Call<'a> {
    observer: &'a Observer,
    id: CallId,
    now: Instant,
}

impl<'a> Call<'a> {
    fn begins(observer: &'a Observer, id: u64, caller: &str, sip_call_id: &str) -> Self {
        let mut call = Self { observer, id: CallId(id), now: clock::now() };
        let facts = Facts {
            direction: CallDirection::Inbound,
            source: IpAddr::from([203, 0, 113, 9]),
            trunk: Some(Arc::from("provider")),
            caller: CallerNumber::Known(Redacted(Arc::from(caller))),
            called: Redacted(Arc::from("+441632960201")),
            understands_608: false,
            over_limit: None,
            hour: 9,
            weekday: 0,
            dialled_before: false,
        };
        call.tell(0, Event::Began { facts, sip_call_id: Arc::from(sip_call_id), generation: 3 });
        call
    }

    fn tell(&mut self, ms: u64, event: Event) -> &mut Self {
        self.now += Duration::from_millis(ms);
        self.observer.happened(&Happened { call: self.id, at: self.now, event });
        self
    }

    fn routed(&mut self, route: Route) -> &mut Self {
        let decision = RouteDecision { route, rule: Arc::from("default") };
        self.tell(0, Event::Routed { decision, enforcement: Enforcement::Done })
    }

    fn answered(&mut self) -> &mut Self {
        self.tell(300, Event::Ringing).tell(4_000, Event::Answered { analysed: true, not_analysed: None })
    }

    fn diverted(&mut self) -> &mut Self {
        let verdict = verdict(5_200, 0.94);
        let decision =
            StepUpDecision { action: StepUp::Divert, rule: Arc::from("detect.divert_at"), verdict: verdict.clone() };
        let at = CallTime::from_millis(5_200);
        self.tell(2_100, Event::Judged { verdict: self::verdict(2_100, 0.2) })
            .tell(3_100, Event::Judged { verdict })
            .tell(0, Event::SteppedUp { at, decision, enforcement: Enforcement::Done })
    }

    fn ends(&mut self, how: EndReason, by: Option<Leg>, talked: Option<u64>) {
        let talked = talked.map(Duration::from_millis);
        self.tell(1_000, Event::Ended { ending: Ending { by, how, status: None, talked } });
    }
}

fn verdict(ms: u64, press_key: f32) -> Verdict {
    let class = if press_key > 0.5 { Class::PressKey } else { Class::Live };
    let probabilities = [0.0, 1.0 - press_key, 0.0, press_key].map(Ratio::clamped);
    let reason = Reason { text: Arc::from("asks to press 1"), weight: Arc::from("scam.key_prompt"), log_odds: 3.25 };
    Verdict { at: CallTime::from_millis(ms), class, probabilities, reasons: vec![reason] }
}

#[test]
fn a_diverted_call_is_on_the_record_from_the_invite_to_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("calls.db");
    let observer = observer(&path, true);

    let mut call = Call::begins(&observer, 0xa1, CALLER, "a84b4c76e66710@203.0.113.9");
    call.routed(Route::Watch).answered().diverted();
    call.tell(1_000, Event::Digit { leg: Leg::Callee }).ends(EndReason::Diverted, None, Some(7_200));
    assert!(observer.shutdown(LONG));

    let store = Store::open_read_only(&path).unwrap();
    let record = store.call("a84b4c76e66710@203.0.113.9").unwrap().unwrap();
    assert_eq!(record.caller.as_deref(), Some(CALLER));
    assert_eq!(record.answered.unwrap().0 - record.began.0, 4_300);
    assert_eq!(record.verdicts.len(), 2);
    let page = explain::text(&record);
    for line in [
        "Call 00000000000000a1, inbound",
        "  from      +447700900123, 203.0.113.9, trunk \"provider\"",
        "  rule \"default\" said watch: done",
        "    5.2 s  press_key 94 %  (live 6 %)",
        "            +3.2  asks to press 1  [scam.key_prompt]",
        "    5.2 s  -> divert by detect.divert_at: done",
        "Ended  by Ringfence (diverted), 7.2 s after the answer",
    ] {
        assert!(page.lines().any(|found| found == line), "{line} is not on\n{page}");
    }
    let metrics = observer.metrics();
    assert_eq!((metrics.written_records(), metrics.lost_records(), metrics.lost_events()), (1, 0, 0));
    assert_eq!(metrics.part_up(Part::Store), Some(true));
}

#[test]
fn calls_that_run_when_the_process_ends_are_unfinished() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("calls.db");
    let observer = observer(&path, true);

    Call::begins(&observer, 1, CALLER, "ended").routed(Route::Watch).answered().ends(
        EndReason::Bye,
        Some(Leg::Caller),
        Some(9),
    );
    Call::begins(&observer, 2, CALLER, "runs").routed(Route::Watch).answered().diverted();
    assert!(observer.shutdown(LONG));

    let store = Store::open_read_only(&path).unwrap();
    let record = store.call("runs").unwrap().unwrap();
    assert_eq!(record.ending.how, UNFINISHED);
    assert_eq!(record.ended, None);
    assert_eq!(record.steps.len(), 1, "what was done to it is there");
    assert_eq!(store.call("ended").unwrap().unwrap().ending.how, "bye");
}

#[test]
fn numbers_stay_out_of_the_file_where_the_operator_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("calls.db");
    let observer = observer(&path, false);

    Call::begins(&observer, 1, CALLER, "x").routed(Route::Watch).ends(EndReason::Cancelled, Some(Leg::Caller), None);
    assert!(observer.shutdown(LONG));

    let record = Store::open_read_only(&path).unwrap().call("x").unwrap().unwrap();
    assert_eq!((record.caller, record.called), (None, None));
    assert_eq!(record.caller_kind, "number");
    let bytes = std::fs::read(&path).unwrap();
    assert!(!bytes.windows(CALLER.len()).any(|window| window == CALLER.as_bytes()));
}

#[test]
fn a_store_that_cannot_be_written_loses_records_counts_them_and_holds_nothing_up() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("notes.txt");
    std::fs::write(&text, "not a database ".repeat(100)).unwrap();

    for unusable in [folder.path(), Path::new("/proc/calls.db"), &text] {
        let observer = observer(unusable, true);
        for id in 0..4_500 {
            let route = Route::Reject(Rejection::Busy);
            Call::begins(&observer, id, CALLER, "x").routed(route).ends(EndReason::Rejected, None, None);
        }
        assert!(observer.shutdown(LONG));

        let metrics = observer.metrics();
        let path = unusable.display();
        assert_eq!((metrics.written_records(), metrics.lost_records()), (0, 4_500), "{path}");
        assert_eq!(metrics.part_up(Part::Store), Some(false), "{path}");
        assert_eq!(observer.calls_ended(usize::MAX, Redaction::On).len(), 200, "the feed goes on");
    }
}

#[test]
fn the_feed_shows_calls_now_and_last() {
    let observer = Observer::start(Settings::default(), Arc::default()).unwrap();
    Call::begins(&observer, 1, CALLER, "x").routed(Route::Watch).answered().diverted();
    Call::begins(&observer, 2, CALLER, "y").routed(Route::Watch);
    Call::begins(&observer, 3, CALLER, "z").routed(Route::Watch).ends(EndReason::Cancelled, Some(Leg::Caller), None);
    // Without a store, calls that run stay on show when the observer ends: nothing is written for them.
    assert!(observer.shutdown(LONG));

    let now = observer.calls_now(10, Redaction::On);
    let last = observer.calls_ended(10, Redaction::Off);

    assert_eq!(now.total, 2);
    let json = serde_json::to_value(&now.calls[0]).unwrap();
    assert_eq!(json["id"], "0000000000000001");
    assert_eq!(json["state"], "diverted");
    assert_eq!(json["class"], "press_key");
    assert_eq!(json["action"], "divert");
    assert_eq!(json["caller"], "+44770…23");
    assert_eq!(now.calls[1].state, "routing");
    assert_eq!(observer.calls_now(1, Redaction::Off).calls[0].caller.as_deref(), Some(CALLER));
    let json = serde_json::to_value(&last).unwrap();
    assert_eq!(json[0]["id"], "0000000000000003");
    assert_eq!(json[0]["how"], "cancelled");
    assert_eq!(json[0]["caller"], CALLER);
}

#[test]
fn a_change_of_what_is_kept_holds_for_calls_that_end_later() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("calls.db");
    let observer = observer(&path, true);

    observer.set_records(Records { numbers: false, ..Records::default() });
    Call::begins(&observer, 1, CALLER, "x").ends(EndReason::Cancelled, None, None);
    assert!(observer.shutdown(LONG));

    let calls = Store::open_read_only(&path).unwrap().calls(10, &Filter::default()).unwrap();
    assert_eq!(calls.iter().map(|call| call.caller.clone()).collect::<Vec<_>>(), [None]);
}

/// What was logged in this process.
fn logged() -> &'static Mutex<Vec<u8>> {
    static LOGGED: OnceLock<&'static Mutex<Vec<u8>>> = OnceLock::new();
    LOGGED.get_or_init(|| {
        let lines: &'static Mutex<Vec<u8>> = Box::leak(Box::default());
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_max_level(tracing::Level::DEBUG)
            .with_writer(move || Lines(lines))
            .finish();
        tracing::subscriber::set_global_default(subscriber).unwrap();
        lines
    })
}

struct Lines(&'static Mutex<Vec<u8>>);

impl io::Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The lines of the call with this id.
fn lines_of(id: u64) -> Vec<String> {
    let text = String::from_utf8(logged().lock().unwrap().clone()).unwrap();
    let id = CallId(id).to_string();
    text.lines().filter(|line| line.contains(&id)).map(str::to_owned).collect()
}

// The ids are far above those of the other tests, whose lines come into the same log.
#[test]
fn log_lines_shorten_numbers_and_stay_lines() {
    logged();
    let observer = Observer::start(Settings::default(), Arc::default()).unwrap();
    let hostile = "+4477\r\n2026-01-01T00:00:00Z ERROR forged call=00000000feed0003\u{1b}[2J";

    Redaction::On.set();
    Call::begins(&observer, 0xfeed_0001, CALLER, "x\r\nforged").routed(Route::Watch).answered().diverted();
    Call::begins(&observer, 0xfeed_0002, hostile, hostile).routed(Route::Watch).ends(
        EndReason::Cancelled,
        Some(Leg::Caller),
        None,
    );
    assert!(observer.shutdown(LONG));
    let open = Observer::start(Settings::default(), Arc::default()).unwrap();
    Redaction::Off.set();
    Call::begins(&open, 0xfeed_0004, CALLER, "y");
    assert!(open.shutdown(LONG));
    Redaction::On.set();

    let diverted = lines_of(0xfeed_0001);
    assert!(diverted[0].contains("Began") && diverted[0].contains("caller=\"+44770…23\""), "{}", diverted[0]);
    assert!(!diverted.iter().any(|line| line.contains(CALLER)));
    let stepped = diverted.iter().find(|line| line.contains("Stepped up")).unwrap();
    assert!(stepped.contains("action=\"divert\" rule=\"detect.divert_at\" enforcement=\"done\""), "{stepped}");
    assert_eq!(lines_of(0xfeed_0002).len(), 3, "{:?}", lines_of(0xfeed_0002));
    assert!(!lines_of(0xfeed_0002).concat().chars().any(char::is_control));
    assert!(lines_of(0xfeed_0003).iter().all(|line| line.contains("00000000feed0002")), "no line of its own");
    assert!(lines_of(0xfeed_0004)[0].contains(CALLER), "{:?}", lines_of(0xfeed_0004));
}
