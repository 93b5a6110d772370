//! What a batch must be like to be written.

use tactus_model::{AttributeList, SpanBatch, TraceId, ValueType};

use crate::error::{Error, Result};

/// Checks a batch; returns its first and last trace id. `previous` is the last id written.
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
    tables(batch)?;
    spans(batch)?;
    children(batch)?;
    Ok((first, last))
}

fn ensure(holds: bool, what: &'static str) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::IncompleteBatch(what)) }
}

fn below(rows: &[u32], limit: usize) -> bool {
    rows.iter().max().is_none_or(|&row| (row as usize) < limit)
}

fn tables(batch: &SpanBatch) -> Result<()> {
    let (resources, scopes) = (&batch.resources, &batch.scopes);
    attributes(batch, &resources.attributes, resources.dropped_attributes.len())?;
    attributes(batch, &scopes.attributes, scopes.name.len())?;
    let count = scopes.name.len();
    ensure(
        scopes.version.len() == count && scopes.dropped_attributes.len() == count,
        "a column of scopes is missing",
    )?;
    let strings = batch.strings.len();
    ensure(below(&scopes.name, strings) && below(&scopes.version, strings), "a string is missing")
}

fn spans(batch: &SpanBatch) -> Result<()> {
    let (spans, count) = (&batch.spans, batch.len());
    ensure(spans.are_complete(), "a column of spans is missing")?;
    ensure(below(&spans.trace, batch.traces.ids.len()), "a trace is missing")?;
    ensure(below(&spans.resource, batch.resources.len()), "a resource is missing")?;
    ensure(below(&spans.scope, batch.scopes.len()), "a scope is missing")?;
    let strings = batch.strings.len();
    let codes = [&spans.name, &spans.status_message, &spans.trace_state];
    ensure(codes.iter().all(|codes| below(codes, strings)), "a string is missing")?;
    attributes(batch, &batch.span_attributes, count)
}

fn children(batch: &SpanBatch) -> Result<()> {
    let (events, links, strings) = (&batch.events, &batch.links, batch.strings.len());
    let count = events.time.len();
    starts(&events.starts, batch.len(), count)?;
    ensure(
        events.name.len() == count && events.dropped_attributes.len() == count,
        "a column of events is missing",
    )?;
    attributes(batch, &events.attributes, count)?;
    let count = links.trace_id.len();
    starts(&links.starts, batch.len(), count)?;
    let lengths = [links.span_id.len(), links.trace_state.len(), links.dropped_attributes.len()];
    ensure(lengths.iter().all(|&length| length == count), "a column of links is missing")?;
    attributes(batch, &links.attributes, count)?;
    ensure(
        below(&events.name, strings) && below(&links.trace_state, strings),
        "a string is missing",
    )
}

fn starts(starts: &[u32], owners: usize, entries: usize) -> Result<()> {
    let fits = starts.len() == owners + 1
        && starts.first() == Some(&0)
        && starts.last().is_some_and(|&end| end as usize == entries)
        && starts.is_sorted();
    ensure(fits, "offsets do not fit")
}

fn attributes(batch: &SpanBatch, list: &AttributeList, owners: usize) -> Result<()> {
    let count = list.keys.len();
    starts(&list.starts, owners, count)?;
    ensure(
        list.types.len() == count && list.payloads.len() == count,
        "a column of attributes is missing",
    )?;
    let strings = batch.strings.len();
    let mut holds_code = [false; 256];
    for byte in 0..=u8::MAX {
        holds_code[usize::from(byte)] = ValueType::from_u8(byte).is_some_and(ValueType::holds_code);
    }
    let last_type = ValueType::Other as u8;
    let mut values = list.types.iter().zip(list.payloads.iter());
    let fits = values.all(|(&value_type, &payload)| {
        value_type <= last_type
            && (!holds_code[usize::from(value_type)] || payload < strings as u64)
    });
    ensure(fits && below(&list.keys, strings), "a string is missing")
}
