//! Records to rows and back.

use rusqlite::types::Type;
use rusqlite::{Row, Transaction, params};

use super::record::{CallRecord, CallSummary, EndingRecord, Judgement, ReasonRecord, Step, UtcMillis};
use crate::units::{CallTime, PerLeg};

/// Writes one call, in the place of an earlier version of it: its verdicts and steps go with that one. Only a process
/// that has gone on with another's call knows no more than the last of that one's verdicts: those before it stay.
pub(super) fn insert(transaction: &Transaction<'_>, record: &CallRecord) -> rusqlite::Result<()> {
    let id = record.id.to_string();
    let (verdict, action, ending) = (record.verdict(), record.action(), &record.ending);
    let known = record.verdicts.first().filter(|_| record.restored.is_some());
    let before = known.map_or(Ok(Vec::new()), |first| verdicts_before(transaction, &id, first.at))?;
    // By position, in the order of the columns: names would be looked up for each record.
    let mut calls = transaction.prepare_cached(
        "INSERT OR REPLACE INTO calls VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17,
         ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25, ?26, ?27, ?28, ?29, ?30, ?31, ?32, ?33, ?34)",
    )?;
    calls.execute(params![
        id,
        record.sip_call_id,
        record.generation.cast_signed(),
        record.direction,
        record.caller_kind,
        record.caller,
        record.called,
        record.source.to_string(),
        record.trunk,
        record.began.0,
        record.ringing.map(|at| at.0),
        record.answered.map(|at| at.0),
        record.ended.map(|at| at.0),
        record.rule,
        record.route,
        record.route_enforcement,
        record.analysed,
        record.not_analysed,
        verdict.map(|verdict| &verdict.class),
        verdict.map(Judgement::probability),
        record.verdicts_left_out,
        action.map(|step| &step.action),
        action.map(|step| &step.enforcement),
        action.map(|step| millis(step.at)),
        record.taken_back.map(millis),
        record.digits.caller,
        record.digits.callee,
        ending.by,
        ending.how,
        ending.status,
        ending.talked.map(|talked| millis(CallTime(talked))),
        record.restored.map(|at| at.0),
        record.lifted.as_ref().map(|lifted| millis(lifted.0)),
        record.lifted.as_ref().map(|lifted| &lifted.1),
    ])?;
    insert_verdicts(transaction, &id, before.iter().chain(&record.verdicts))?;
    insert_steps(transaction, &id, &record.steps)
}

fn verdicts_before(transaction: &Transaction<'_>, id: &str, at: CallTime) -> rusqlite::Result<Vec<Judgement>> {
    let mut verdicts = transaction.prepare_cached(
        "SELECT at_ms AS verdict_ms, class, no_speech, live, recorded, press_key, reasons
         FROM verdicts WHERE call = ?1 AND at_ms < ?2 ORDER BY number",
    )?;
    verdicts.query_map(params![id, millis(at)], judgement)?.collect()
}

fn insert_verdicts<'v>(
    transaction: &Transaction<'_>,
    id: &str,
    verdicts: impl Iterator<Item = &'v Judgement>,
) -> rusqlite::Result<()> {
    let mut insert = transaction.prepare_cached("INSERT INTO verdicts VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)")?;
    for (number, verdict) in (0_i64..).zip(verdicts) {
        let [no_speech, live, recorded, press_key] = verdict.probabilities;
        let reasons = written(&verdict.reasons)?;
        let at = millis(verdict.at);
        insert.execute(params![id, number, at, verdict.class, no_speech, live, recorded, press_key, reasons])?;
    }
    Ok(())
}

fn insert_steps(transaction: &Transaction<'_>, id: &str, steps: &[Step]) -> rusqlite::Result<()> {
    if steps.is_empty() {
        return Ok(());
    }
    let mut insert = transaction
        .prepare_cached("INSERT INTO steps VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)")?;
    for (number, step) in (0_i64..).zip(steps) {
        let [no_speech, live, recorded, press_key] = step.verdict.probabilities;
        insert.execute(params![
            id,
            number,
            millis(step.at),
            step.action,
            step.rule,
            step.enforcement,
            step.verdict.class,
            millis(step.verdict.at),
            no_speech,
            live,
            recorded,
            press_key,
            written(&step.verdict.reasons)?
        ])?;
    }
    Ok(())
}

/// A row of `calls` as a line of a list.
pub(super) fn summary(row: &Row<'_>) -> rusqlite::Result<CallSummary> {
    Ok(CallSummary {
        id: parsed(row, "id")?,
        began: UtcMillis(row.get("began_utc")?),
        direction: row.get::<_, String>("direction")?.into(),
        caller_kind: row.get::<_, String>("caller_kind")?.into(),
        caller: row.get("caller")?,
        called: row.get("called")?,
        source: parsed(row, "source")?,
        trunk: row.get("trunk")?,
        rule: row.get("rule")?,
        route: row.get::<_, String>("route")?.into(),
        route_enforcement: row.get::<_, String>("route_enforcement")?.into(),
        class: row.get::<_, Option<String>>("class")?.map(Into::into),
        probability: row.get("probability")?,
        action: row.get::<_, Option<String>>("action")?.map(Into::into),
        action_enforcement: row.get::<_, Option<String>>("action_enforcement")?.map(Into::into),
        action_at_ms: row.get::<_, Option<i64>>("action_ms")?.map(i64::unsigned_abs),
        taken_back: row.get::<_, Option<i64>>("taken_back_ms")?.is_some(),
        guard_lifted: row.get::<_, Option<i64>>("lifted_ms")?.is_some(),
        how: row.get::<_, String>("how")?.into(),
        talked_ms: row.get::<_, Option<i64>>("talked_ms")?.map(i64::unsigned_abs),
    })
}

/// A row of `calls`, without what stands in the other tables.
pub(super) fn call(row: &Row<'_>) -> rusqlite::Result<CallRecord> {
    let millis = |name: &str| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(name)?.map(UtcMillis));
    let label = |name: &str| Ok::<_, rusqlite::Error>(row.get::<_, Option<String>>(name)?.map(Into::into));
    Ok(CallRecord {
        id: parsed(row, "id")?,
        sip_call_id: row.get("sip_call_id")?,
        generation: row.get::<_, i64>("generation")?.cast_unsigned(),
        direction: row.get::<_, String>("direction")?.into(),
        caller_kind: row.get::<_, String>("caller_kind")?.into(),
        caller: row.get("caller")?,
        called: row.get("called")?,
        source: parsed(row, "source")?,
        trunk: row.get("trunk")?,
        began: UtcMillis(row.get("began_utc")?),
        ringing: millis("ringing_utc")?,
        answered: millis("answered_utc")?,
        restored: millis("restored_utc")?,
        ended: millis("ended_utc")?,
        rule: row.get("rule")?,
        route: row.get::<_, String>("route")?.into(),
        route_enforcement: row.get::<_, String>("route_enforcement")?.into(),
        analysed: row.get("analysed")?,
        not_analysed: label("not_analysed")?,
        verdicts: Vec::new(),
        verdicts_left_out: row.get("verdicts_left_out")?,
        steps: Vec::new(),
        taken_back: row.get::<_, Option<i64>>("taken_back_ms")?.map(call_time),
        lifted: row.get::<_, Option<i64>>("lifted_ms")?.map(call_time).zip(label("lifted_by")?).map(Box::new),
        digits: PerLeg { caller: row.get("digits_caller")?, callee: row.get("digits_callee")? },
        ending: EndingRecord {
            by: label("ended_by")?,
            how: row.get::<_, String>("how")?.into(),
            status: row.get("status")?,
            talked: row.get::<_, Option<i64>>("talked_ms")?.map(|ms| call_time(ms).0),
        },
    })
}

/// A verdict out of a row of `verdicts` or `steps`.
pub(super) fn judgement(row: &Row<'_>) -> rusqlite::Result<Judgement> {
    let reasons: Vec<(String, String, f32)> = serde_json::from_str(&row.get::<_, String>("reasons")?)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(0, Type::Text, Box::new(error)))?;
    Ok(Judgement {
        at: call_time(row.get("verdict_ms")?),
        class: row.get::<_, String>("class")?.into(),
        probabilities: [row.get("no_speech")?, row.get("live")?, row.get("recorded")?, row.get("press_key")?],
        reasons: reasons
            .into_iter()
            .map(|(text, weight, log_odds)| ReasonRecord { text: text.into(), weight: weight.into(), log_odds })
            .collect(),
    })
}

/// A row of `steps`.
pub(super) fn step(row: &Row<'_>) -> rusqlite::Result<Step> {
    Ok(Step {
        at: call_time(row.get("at_ms")?),
        action: row.get::<_, String>("action")?.into(),
        rule: row.get("rule")?,
        enforcement: row.get::<_, String>("enforcement")?.into(),
        verdict: judgement(row)?,
    })
}

fn written(reasons: &[ReasonRecord]) -> rusqlite::Result<String> {
    let tuples: Vec<_> = reasons.iter().map(|reason| (&*reason.text, &*reason.weight, reason.log_odds)).collect();
    serde_json::to_string(&tuples).map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}

fn parsed<T: std::str::FromStr>(row: &Row<'_>, column: &str) -> rusqlite::Result<T>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    let text: String = row.get(column)?;
    text.parse().map_err(|error| rusqlite::Error::FromSqlConversionFailure(0, Type::Text, Box::new(error)))
}

fn millis(at: CallTime) -> i64 {
    i64::try_from(at.as_millis()).unwrap_or(i64::MAX)
}

fn call_time(ms: i64) -> CallTime {
    CallTime::from_millis(ms.unsigned_abs())
}
