//! Medians and percentiles.

use std::time::Duration;

use serde_json::{Value, json};

/// Microseconds of a quantile; None of nothing.
fn micros(sorted: &[Duration], quantile: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let at = (last as f64 * quantile).round() as usize;
    sorted.get(at).map(|value| value.as_secs_f64() * 1e6)
}

pub(crate) fn spread(mut values: Vec<Duration>) -> Value {
    values.sort_unstable();
    let at = |quantile| micros(&values, quantile);
    json!({ "p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "p999": at(0.999), "max": at(1.0) })
}

/// Of an odd number the middle one, of an even number the mean of the two.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(sorted[middle]),
        _ => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
    }
}
