use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rusqlite::Connection;

use super::fixture::diverted_call;
use super::{CallRecord, EndingRecord, Filter, Retention, Retired, Store, StoreError, UNFINISHED, UtcMillis};
use crate::units::CallId;

fn call(id: u64, change: impl FnOnce(&mut CallRecord)) -> CallRecord {
    let mut record = CallRecord { id: CallId(id), sip_call_id: format!("call-{id}@a").into(), ..diverted_call() };
    record.began.0 += i64::try_from(id & 0xffff).unwrap();
    change(&mut record);
    record
}

fn with(records: &[CallRecord]) -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(&folder.path().join("calls.db")).unwrap();
    store.write(records).unwrap();
    (folder, store)
}

fn ids(store: &Store, filter: &Filter) -> Vec<u64> {
    store.calls(10, filter).unwrap().iter().map(|call| call.id.0).collect()
}

#[test]
fn a_record_comes_back_as_it_was_written() {
    let bare = CallRecord {
        caller_kind: "withheld".into(),
        caller: None,
        trunk: None,
        ringing: None,
        answered: None,
        ended: None,
        analysed: false,
        not_analysed: Some("srtp".into()),
        verdicts: Vec::new(),
        verdicts_left_out: 7,
        steps: Vec::new(),
        taken_back: None,
        lifted: Some(Box::new((crate::units::CallTime::from_millis(3_000), "live".into()))),
        source: "2001:db8::9".parse().unwrap(),
        generation: u64::MAX,
        ending: EndingRecord { by: None, how: UNFINISHED.into(), status: Some(486), talked: None },
        ..call(u64::MAX, |call| call.began = UtcMillis(0))
    };
    let full = diverted_call();

    let (_folder, store) = with(&[full.clone(), bare.clone()]);

    assert_eq!(store.call(&full.id.to_string()).unwrap(), Some(full.clone()));
    assert_eq!(store.call(&bare.sip_call_id).unwrap(), Some(bare.clone()));
    assert_eq!(store.calls(10, &Filter::default()).unwrap(), [full.summary(), bare.summary()]);
}

fn call_at(id: u64) -> CallRecord {
    call(id, |_| {})
}

#[test]
fn a_call_is_found_by_id_call_id_or_the_beginning_of_its_id_if_there_is_only_one() {
    let (_folder, store) =
        with(&[call_at(0xab00_0000_0000_0001), call_at(0xab00_0000_0000_0002), call_at(0xcd00_0000_0000_0003)]);
    let find = |name: &str| store.call(name).unwrap().map(|call| call.id.0);

    assert_eq!(find("cd"), Some(0xcd00_0000_0000_0003));
    assert_eq!(find("CD00"), Some(0xcd00_0000_0000_0003));
    assert_eq!(find("ab00000000000001"), Some(0xab00_0000_0000_0001));
    assert_eq!(find("ab"), None, "two calls begin so");
    let begin = |name: &str, most| store.beginning_with(name, most).unwrap().len();
    assert_eq!((begin("AB", 9), begin("ab", 1), begin("cd", 9), begin("x", 9), begin("", 9)), (2, 1, 1, 0, 0));
    assert_eq!(find(&format!("call-{}@a", 0xcd00_0000_0000_0003_u64)), Some(0xcd00_0000_0000_0003));
    for nothing in ["", "ef", "%", "cd%", "' OR 1=1 --", "ab000000000000011"] {
        assert_eq!(find(nothing), None, "{nothing}");
    }
}

#[test]
fn a_list_is_filtered_newest_first() {
    let live = |record: &mut CallRecord| {
        record.steps.clear();
        record.verdicts.truncate(1);
        record.caller = Some("+441632960001".to_owned());
    };
    let rejected = |record: &mut CallRecord| {
        record.steps.clear();
        record.verdicts.clear();
        record.route = "reject".into();
        record.caller = None;
    };
    let (_folder, store) = with(&[call(1, live), call(2, rejected), call_at(3)]);
    let began = diverted_call().began.0;

    assert_eq!(ids(&store, &Filter::default()), [3, 2, 1]);
    assert_eq!(ids(&store, &Filter { acted: true, ..Filter::default() }), [3, 2]);
    assert_eq!(ids(&store, &Filter { class: Some("live".to_owned()), ..Filter::default() }), [1]);
    assert_eq!(ids(&store, &Filter { number: Some("1632".to_owned()), ..Filter::default() }), [1]);
    assert_eq!(ids(&store, &Filter { number: Some("201".to_owned()), ..Filter::default() }), [3, 2, 1]);
    assert_eq!(ids(&store, &Filter { since: Some(UtcMillis(began + 2)), ..Filter::default() }), [3, 2]);
    assert_eq!(store.calls(1, &Filter::default()).unwrap().len(), 1);
}

#[test]
fn writing_a_batch_again_changes_nothing() {
    let (_folder, mut store) = with(&[call_at(1), call_at(2)]);

    store.write(&[call_at(1), call_at(2)]).unwrap();

    assert_eq!(store.count().unwrap(), 2);
    assert_eq!(store.call("0000000000000001").unwrap(), Some(call_at(1)));

    // A version with less takes the place of all of the earlier one.
    let mut less = call_at(1);
    less.verdicts.pop().unwrap();
    less.steps.clear();
    store.write(std::slice::from_ref(&less)).unwrap();
    assert_eq!(store.call("0000000000000001").unwrap(), Some(less));
}

#[test]
fn what_is_too_old_or_too_much_goes_with_all_that_belongs_to_it() {
    let records: Vec<_> = (1..=1_200).map(call_at).collect();
    let (_folder, mut store) = with(&records);
    let began = Duration::from_millis(diverted_call().began.0.unsigned_abs());
    let now = SystemTime::UNIX_EPOCH + began + Duration::from_secs(100);

    let keep_all = Retention { keep: Duration::from_secs(3_600), most: 5_000 };
    assert_eq!(store.retain(&keep_all, now).unwrap(), Retired::default());
    assert_eq!(store.retain(&Retention { most: 600, ..keep_all }, now).unwrap(), Retired { calls: 600, surplus: 600 });
    assert_eq!(ids(&store, &Filter::default()).first(), Some(&1_200));

    // All but the last 100 began more than 98.9 s ago.
    let keep = Duration::from_millis(100_000 - 1_100);
    assert_eq!(store.retain(&Retention { keep, ..keep_all }, now).unwrap(), Retired { calls: 499, surplus: 0 });
    assert_eq!(store.count().unwrap(), 101);
    for table in ["verdicts", "steps"] {
        let left: i64 = store
            .connection()
            .query_row(&format!("SELECT count(DISTINCT call) FROM {table}"), [], |row| row.get(0))
            .unwrap();
        assert_eq!(left, 101, "{table}");
    }
}

#[test]
fn a_clock_that_is_ahead_costs_a_day_of_records_at_a_time() {
    const DAY: i64 = 24 * 3_600 * 1_000;
    let many = 10_500;
    let on_day = |id: u64, day| {
        let began = UtcMillis(diverted_call().began.0 + day * DAY);
        CallRecord { began, verdicts: Vec::new(), steps: Vec::new(), ..call_at(id) }
    };
    let mut records: Vec<_> = (0..10).map(|day| on_day(day, day.cast_signed())).collect();
    records.extend((10..10 + many).map(|id| on_day(id, 1)));
    let (_folder, mut store) = with(&records);
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(200 * 365 * 24 * 3_600);
    let mut look = || store.retain(&Retention::default(), now).unwrap().calls;

    // The second of a day that is too much for one look ends where the day does.
    assert_eq!([look(), look(), look(), look()], [1, 10_000, 501, 1]);

    assert_eq!(store.count().unwrap(), 7);
    let most = Retention { most: 3, ..Retention::default() };
    assert_eq!(store.retain(&most, now).unwrap().calls, 4, "the number alone needs no clock");
    let back = SystemTime::UNIX_EPOCH + Duration::from_millis(diverted_call().began.0.unsigned_abs());
    assert_eq!(store.retain(&Retention::default(), back).unwrap(), Retired::default());
}

#[test]
fn a_flood_of_refused_calls_costs_no_record_of_another() {
    use crate::policy::facts::OverLimit;

    let refused = |id: u64, limit: OverLimit| {
        call(id, |record| {
            record.rule = limit.setting().into();
            record.route = "reject".into();
            record.answered = None;
        })
    };
    let mut records: Vec<_> = (1..=10).map(call_at).collect();
    records.extend((11..=1_100).map(|id| refused(id, OverLimit::Number)));
    records.extend((1_101..=1_200).map(|id| refused(id, OverLimit::Source)));
    // Answered, as nothing is enforced; or not, and nobody was refused for it.
    records.push(CallRecord { answered: call_at(1).answered, ..refused(1_201, OverLimit::Source) });
    records.push(CallRecord { route_enforcement: "observed".into(), ..refused(1_202, OverLimit::Source) });
    let (_folder, mut store) = with(&records);
    let now = SystemTime::UNIX_EPOCH + Duration::from_millis(diverted_call().began.0.unsigned_abs());

    let some = Retention { most: 13, ..Retention::default() };
    assert_eq!(store.retain(&some, now).unwrap(), Retired { calls: 1_189, surplus: 1_189 });
    assert_eq!(ids(&store, &Filter::default())[..4], [1_202, 1_201, 1_200, 10]);
    let fewer = Retention { most: 10, ..Retention::default() };
    assert_eq!(store.retain(&fewer, now).unwrap(), Retired { calls: 3, surplus: 3 });
    assert_eq!(ids(&store, &Filter::default()), [1_202, 1_201, 10, 9, 8, 7, 6, 5, 4, 3], "then the oldest");
}

#[test]
fn a_call_that_another_process_went_on_with_keeps_what_was_thought_before() {
    let before = call_at(1);
    let [first, last] = <[_; 2]>::try_from(before.verdicts.clone()).unwrap();
    let later = super::Judgement { at: crate::units::CallTime::from_millis(9_000), ..first.clone() };
    let after = CallRecord { restored: Some(UtcMillis(7)), verdicts: vec![last.clone(), later.clone()], ..call_at(1) };
    let (_folder, mut store) = with(&[before]);

    // Twice is as once.
    for _ in 0..2 {
        store.write(std::slice::from_ref(&after)).unwrap();
        let kept = store.call(&CallId(1).to_string()).unwrap().unwrap();
        assert_eq!(kept.verdicts, [first.clone(), last.clone(), later.clone()]);
        assert_eq!(kept.summary(), after.summary());
    }
}

#[test]
fn an_empty_file_gets_the_schema_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new").join("calls.db");

    drop(Store::open(&path).unwrap());
    let mut store = Store::open(&path).unwrap();
    store.write(&[diverted_call()]).unwrap();

    let version: i64 = store.connection().pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    assert_eq!(version, super::schema::VERSION);
    assert_eq!(store.count().unwrap(), 1);
}

#[test]
fn a_file_of_the_first_version_is_brought_up_to_date_and_keeps_its_records() {
    let (folder, store) = with(&[call_at(1)]);
    let path = folder.path().join("calls.db");
    let old = "DROP INDEX calls_refused; ALTER TABLE calls DROP COLUMN restored_utc; \
               ALTER TABLE calls DROP COLUMN lifted_ms; ALTER TABLE calls DROP COLUMN lifted_by; \
               PRAGMA user_version = 1;";
    store.connection().execute_batch(old).unwrap();
    drop(store);

    let mut store = Store::open(&path).unwrap();
    let restored = CallRecord { restored: Some(UtcMillis(7)), ..call_at(2) };
    store.write(std::slice::from_ref(&restored)).unwrap();

    assert_eq!(store.call(&CallId(2).to_string()).unwrap(), Some(restored));
    assert_eq!(store.call(&CallId(1).to_string()).unwrap().map(|record| record.restored), Some(None));
}

#[test]
fn numbers_are_not_for_everyone() {
    use std::os::unix::fs::PermissionsExt as _;

    let (folder, _store) = with(&[diverted_call()]);

    for entry in fs::read_dir(folder.path()).unwrap() {
        let mode = entry.unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o007, 0);
    }
}

#[test]
fn a_reader_sees_what_is_written_beside_it_and_writes_nothing() {
    let (folder, mut writer) = with(&[call_at(1)]);
    let mut reader = Store::open_read_only(&folder.path().join("calls.db")).unwrap();

    writer.write(&[call_at(2)]).unwrap();

    assert_eq!(ids(&reader, &Filter::default()), [2, 1]);
    assert!(matches!(reader.write(&[call_at(3)]), Err(StoreError::ReadOnly { .. })));
}

#[test]
fn a_file_that_nobody_writes_is_read_without_touching_its_folder() {
    let (folder, store) = with(&[call_at(1)]);
    drop(store);
    let odd = folder.path().join("50% of? #1.db");
    fs::rename(folder.path().join("calls.db"), &odd).unwrap();

    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY | rusqlite::OpenFlags::SQLITE_OPEN_URI;
    let connection = Connection::open_with_flags(super::sqlite::unchanging(&odd), flags).unwrap();
    let calls: i64 = connection.query_row("SELECT count(*) FROM calls", [], |row| row.get(0)).unwrap();

    assert_eq!(calls, 1);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

fn refusal(path: &Path) -> (&'static str, String) {
    let error = Store::open(path).unwrap_err();
    (error.label(), error.to_string())
}

#[test]
fn each_unusable_file_is_told_in_one_line_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("notes.txt");
    fs::write(&text, "not a database, and longer than the hundred bytes of a header".repeat(20)).unwrap();
    let newer = folder.path().join("newer.db");
    Connection::open(&newer).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let empty = folder.path().join("empty.db");
    fs::write(&empty, "").unwrap();
    let two_missing = folder.path().join("a").join("b").join("calls.db");

    let cases = [
        (folder.path(), "unopenable"),
        (&two_missing, "unopenable"),
        // A folder in which not even root may make a file.
        (Path::new("/proc/calls.db"), "unopenable"),
        (&text, "damaged"),
        (&newer, "too_new"),
    ];
    for (path, label) in cases {
        let (found, told) = refusal(path);
        assert_eq!(found, label, "{told}");
        assert!(told.contains(&path.display().to_string()) && !told.contains('\n'), "{told}");
    }
    assert_eq!(Store::open_read_only(&empty).unwrap_err().label(), "not_ready");
    assert_eq!(Store::open_read_only(&newer).unwrap_err().label(), "too_new");
    assert_eq!(Store::open_read_only(&text).unwrap_err().label(), "damaged");
    assert_eq!(Store::open_read_only(&folder.path().join("none.db")).unwrap_err().label(), "unopenable");
    assert!(!folder.path().join("none.db").exists());
}

#[test]
fn a_full_disk_loses_the_batch_and_nothing_before_it() {
    let (_folder, mut store) = with(&[call_at(1)]);
    let pages: i64 = store.connection().pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
    store.connection().pragma_update(None, "max_page_count", pages + 1).unwrap();
    let many: Vec<_> = (2..500).map(call_at).collect();

    let error = store.write(&many).unwrap_err();

    assert_eq!(error.label(), "full");
    assert!(error.may_pass());
    assert_eq!(ids(&store, &Filter::default()), [1]);
    store.connection().pragma_update(None, "max_page_count", 1_000_000).unwrap();
    store.write(&many).unwrap();
    assert_eq!(store.count().unwrap(), 499);
}

#[test]
fn text_of_strangers_is_data() {
    let hostile = |record: &mut CallRecord| {
        record.caller = Some("'); DROP TABLE calls; --\0\u{1b}[2J\u{202e}".to_owned());
        record.sip_call_id = "\0".into();
    };
    let record = call(1, hostile);

    let (_folder, store) = with(std::slice::from_ref(&record));

    assert_eq!(store.call("1".repeat(16).as_str()).unwrap(), None);
    assert_eq!(store.call("\0").unwrap(), Some(record));
}
