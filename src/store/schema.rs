//! Tables, and how a file comes to have them.

use rusqlite::Connection;

/// One step for each `user_version`, from 0. A released step is never edited: the next one changes what it left.
const STEPS: &[&str] = &[FIRST, RESTORED, LIFTED, REFUSED];

/// `user_version` of a file that is up to date.
pub(super) const VERSION: i64 = STEPS.len() as i64;

/// Times are milliseconds: `*_utc` since 1970, `*_ms` since the answer. `reasons` is a JSON array of
/// `[text, weight, log-odds]`. The class, probabilities and action of `calls` repeat the last rows of the other two
/// tables, so that a list reads one table.
const FIRST: &str = "
CREATE TABLE calls (
    id TEXT PRIMARY KEY,
    sip_call_id TEXT NOT NULL,
    generation INTEGER NOT NULL,
    direction TEXT NOT NULL,
    caller_kind TEXT NOT NULL,
    caller TEXT,
    called TEXT,
    source TEXT NOT NULL,
    trunk TEXT,
    began_utc INTEGER NOT NULL,
    ringing_utc INTEGER,
    answered_utc INTEGER,
    ended_utc INTEGER,
    rule TEXT NOT NULL,
    route TEXT NOT NULL,
    route_enforcement TEXT NOT NULL,
    analysed INTEGER NOT NULL,
    not_analysed TEXT,
    class TEXT,
    probability REAL,
    verdicts_left_out INTEGER NOT NULL,
    action TEXT,
    action_enforcement TEXT,
    action_ms INTEGER,
    taken_back_ms INTEGER,
    digits_caller INTEGER NOT NULL,
    digits_callee INTEGER NOT NULL,
    ended_by TEXT,
    how TEXT NOT NULL,
    status INTEGER,
    talked_ms INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX calls_began ON calls (began_utc);
CREATE INDEX calls_sip_call_id ON calls (sip_call_id);
CREATE TABLE verdicts (
    call TEXT NOT NULL REFERENCES calls (id) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    class TEXT NOT NULL,
    no_speech REAL NOT NULL,
    live REAL NOT NULL,
    recorded REAL NOT NULL,
    press_key REAL NOT NULL,
    reasons TEXT NOT NULL,
    PRIMARY KEY (call, number)
) STRICT, WITHOUT ROWID;
CREATE TABLE steps (
    call TEXT NOT NULL REFERENCES calls (id) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    action TEXT NOT NULL,
    rule TEXT NOT NULL,
    enforcement TEXT NOT NULL,
    class TEXT NOT NULL,
    verdict_ms INTEGER NOT NULL,
    no_speech REAL NOT NULL,
    live REAL NOT NULL,
    recorded REAL NOT NULL,
    press_key REAL NOT NULL,
    reasons TEXT NOT NULL,
    PRIMARY KEY (call, number)
) STRICT, WITHOUT ROWID;
";

/// When another process went on with the call.
const RESTORED: &str = "ALTER TABLE calls ADD COLUMN restored_utc INTEGER;";

/// When keys were no longer held back, and why.
const LIFTED: &str = "
ALTER TABLE calls ADD COLUMN lifted_ms INTEGER;
ALTER TABLE calls ADD COLUMN lifted_by TEXT;
";

/// Calls that a limit has refused: a flood of them goes before anybody's calls.
const REFUSED: &str = "
CREATE INDEX calls_refused ON calls (began_utc)
WHERE answered_utc IS NULL AND route_enforcement = 'done' AND rule IN ('limits.per_source', 'limits.per_number');
";

/// `user_version` of the file.
pub(super) fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Takes the file from `from` to [`VERSION`], all or nothing.
pub(super) fn migrate(connection: &mut Connection, from: i64) -> rusqlite::Result<()> {
    let done = usize::try_from(from).unwrap_or(0);
    if done >= STEPS.len() {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    for step in STEPS.iter().skip(done) {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()
}
