//! Which traces are too old.

use std::time::Duration;

use tactus_model::{SpanBatch, span_end};
use tactus_traceql::eval::Window;

use super::RetentionClasses;
use crate::{Error, Result};

/// Rows of the traces that are out of date, ascending.
///
/// Errors: `Invalid` if a query cannot be evaluated on this data.
pub(crate) fn expired_traces(classes: &RetentionClasses, batch: &SpanBatch) -> Result<Vec<u32>> {
    let (first, last) = classes.within;
    let mut ends = trace_ends(batch);
    ends.iter_mut().for_each(|end| *end = (*end).max(first).min(last));
    let is_old = |end: u64, keep: Option<Duration>| {
        keep.is_some_and(|keep| u128::from(end) + keep.as_nanos() < u128::from(classes.now))
    };
    let all = classes.classes.iter().map(|class| class.keep).chain([classes.keep]);
    let shortest = all.flatten().min();
    if !ends.iter().any(|&end| is_old(end, shortest)) {
        return Ok(Vec::new());
    }
    let mut keeps = vec![None; ends.len()];
    for class in &classes.classes {
        if keeps.iter().all(Option::is_some) {
            break;
        }
        let matches = class.query.find_matches(batch, Window::default()).map_err(|error| {
            Error::Invalid(format!("retention class {:?}: {error}", class.name))
        })?;
        for row in matches.trace_rows() {
            keeps[row as usize].get_or_insert(class.keep);
        }
    }
    let rows = (0u32..).zip(ends.iter().zip(keeps));
    let expired = rows.filter(|(_, (end, keep))| is_old(**end, keep.unwrap_or(classes.keep)));
    Ok(expired.map(|(row, _)| row).collect())
}

/// The latest end of a span of each trace, unix nanoseconds.
fn trace_ends(batch: &SpanBatch) -> Vec<u64> {
    let spans = &batch.spans;
    let mut ends = vec![0; batch.traces.ids.len()];
    let times = spans.start.iter().zip(spans.duration.iter());
    for (&trace, (&start, &duration)) in spans.trace.iter().zip(times) {
        let end: &mut u64 = &mut ends[trace as usize];
        *end = (*end).max(span_end(start, duration));
    }
    ends
}
