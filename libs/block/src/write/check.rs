//! Checks a batch before it is written.

use tactus_model::{SpanBatch, TraceId};

use crate::error::{Error, Result};

/// Checks a batch. Returns its first and last trace id. `previous` is the last id written.
pub(super) fn batch(batch: &SpanBatch, previous: Option<TraceId>) -> Result<(TraceId, TraceId)> {
    let ids = batch.traces.ids.as_slice();
    let (Some(&first), Some(&last)) = (ids.first(), ids.last()) else {
        return Err(Error::IncompleteBatch("it holds no trace"));
    };
    if !ids.is_sorted_by(|a, b| a < b) || !batch.spans.trace.is_sorted() {
        return Err(Error::Unsorted);
    }
    if let Some(previous) = previous.filter(|previous| *previous >= first) {
        return Err(Error::NotAscending { previous: previous.to_hex(), first: first.to_hex() });
    }
    batch.check().map_err(Error::IncompleteBatch)?;
    Ok((first, last))
}
