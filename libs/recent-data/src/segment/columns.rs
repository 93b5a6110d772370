//! The columns of a segment: their numbers in the file, and the batch of spans that they form.

use std::sync::Arc;

use bytemuck::Pod;
use parking_lot::Mutex;
use tactus_model::{
    AttributeList, Buffer, ColumnSource, CutTraces, Dictionary, OriginSet, SpanBatch, TraceId,
};

use super::{SegmentError, column_reader::ColumnReader};
use crate::origins::HeldOrigins;

/// Two values: the start and end time that the segment adds to its block's time range.
pub(super) const BLOCK_TIMES: u32 = 3;

/// Bounds of the ranges of origins: those whose spans are all there (this column), and those of which some were refused
/// (the next one). Left out if there are none.
const COMPLETE_ORIGINS: u32 = 4;
const INCOMPLETE_ORIGINS: u32 = 5;
/// Present if some spans have an origin and others do not.
const WITHOUT_ORIGIN: u32 = 6;
/// As `COMPLETE_ORIGINS`, for origins of which tail sampling dropped traces.
const THINNED_ORIGINS: u32 = 7;
/// Traces of which spans were refused, and how many: three numbers each, two of which are the id. Left out if there are
/// none.
pub(super) const CUT_TRACES: u32 = 8;
/// The origin of each span. Left out if no span has one, as in segments of releases without origins.
const ORIGIN: u32 = 55;

/// Attribute lists have four columns: starts, keys, types, payloads, at `base..base + 4`.
const SPAN_ATTRIBUTES: u32 = 100;
const RESOURCE_ATTRIBUTES: u32 = 110;
const SCOPE_ATTRIBUTES: u32 = 120;
const EVENT_ATTRIBUTES: u32 = 130;
const LINK_ATTRIBUTES: u32 = 140;

/// Lists columns of spans with their numbers; `$each!(number, column)`.
macro_rules! span_columns {
    ($batch:expr, $each:ident) => {{
        let batch = $batch;
        $each!(41, batch.spans.resource);
        $each!(42, batch.spans.scope);
        $each!(43, batch.spans.span_id);
        $each!(44, batch.spans.parent_span_id);
        $each!(45, batch.spans.start);
        $each!(46, batch.spans.duration);
        $each!(47, batch.spans.name);
        $each!(48, batch.spans.kind);
        $each!(49, batch.spans.status);
    }};
}

/// The same for columns of events.
macro_rules! event_columns {
    ($batch:expr, $each:ident) => {{
        let batch = $batch;
        $each!(61, batch.events.time);
        $each!(62, batch.events.name);
        $each!(63, batch.events.dropped_attributes);
    }};
}

/// The same for columns of links.
macro_rules! link_columns {
    ($batch:expr, $each:ident) => {{
        let batch = $batch;
        $each!(71, batch.links.trace_id);
        $each!(72, batch.links.span_id);
        $each!(73, batch.links.trace_state);
        $each!(74, batch.links.dropped_attributes);
    }};
}

/// Lists every column that is always stored and does not belong to attributes. The batch must be a reference, because
/// it is used several times.
macro_rules! columns {
    ($batch:expr, $each:ident) => {{
        span_columns!($batch, $each);
        event_columns!($batch, $each);
        link_columns!($batch, $each);
        let batch = $batch;
        $each!(10, batch.resources.dropped_attributes);
        $each!(20, batch.scopes.name);
        $each!(21, batch.scopes.version);
        $each!(22, batch.scopes.dropped_attributes);
        $each!(30, batch.traces.ids);
        $each!(40, batch.spans.trace);
        $each!(60, batch.events.starts);
        $each!(70, batch.links.starts);
    }};
}

/// Lists the span columns that are zero in most segments, and are left out then.
macro_rules! sparse_columns {
    ($batch:expr, $each:ident) => {{
        let batch = $batch;
        $each!(50, batch.spans.status_message);
        $each!(51, batch.spans.trace_state);
        $each!(52, batch.spans.dropped_attributes);
        $each!(53, batch.spans.dropped_events);
        $each!(54, batch.spans.dropped_links);
    }};
}

mod slice;

pub(super) use slice::slice;

/// The sections of a batch.
pub(super) fn sections(batch: &SpanBatch) -> Vec<(u32, &[u8])> {
    let mut sections = Vec::with_capacity(64);
    let (bytes, offsets) = batch.strings.parts();
    sections.push((1, bytes));
    sections.push((2, bytemuck::cast_slice(offsets)));
    macro_rules! put {
        ($number:expr, $column:expr) => {
            sections.push(($number, bytemuck::cast_slice($column.as_slice())))
        };
    }
    macro_rules! put_sparse {
        ($number:expr, $column:expr) => {
            if $column.iter().any(|&value| value != 0) {
                put!($number, $column);
            }
        };
    }
    columns!(batch, put);
    sparse_columns!(batch, put_sparse);
    if !batch.spans.origin.is_empty() {
        put!(ORIGIN, batch.spans.origin);
    }
    let lists = [
        (SPAN_ATTRIBUTES, &batch.span_attributes),
        (RESOURCE_ATTRIBUTES, &batch.resources.attributes),
        (SCOPE_ATTRIBUTES, &batch.scopes.attributes),
        (EVENT_ATTRIBUTES, &batch.events.attributes),
        (LINK_ATTRIBUTES, &batch.links.attributes),
    ];
    for (base, list) in lists {
        put!(base, list.starts);
        put!(base + 1, list.keys);
        put!(base + 2, list.types);
        put!(base + 3, list.payloads);
    }
    sections
}

/// The batch of a segment, or why it is inconsistent. Columns are read on first use.
pub(super) fn batch(reader: &Arc<ColumnReader>) -> Result<SpanBatch, &'static str> {
    let file = Stored { reader };
    let strings = Dictionary::from_checked_parts(file.column(1)?, file.column(2)?);
    let mut batch = SpanBatch { strings, ..SpanBatch::default() };
    macro_rules! get {
        ($number:expr, $column:expr) => {
            $column = file.column($number)?
        };
    }
    columns!(&mut batch, get);
    let spans = batch.spans.trace.len();
    macro_rules! get_sparse {
        ($number:expr, $column:expr) => {
            $column = match reader.find($number) {
                Some(_) => file.column($number)?,
                None => Buffer::shared(zeros(spans), spans).ok_or("zeros")?,
            }
        };
    }
    sparse_columns!(&mut batch, get_sparse);
    if reader.find(ORIGIN).is_some() {
        batch.spans.origin = file.column(ORIGIN)?;
    }
    batch.span_attributes = file.attributes(SPAN_ATTRIBUTES)?;
    batch.resources.attributes = file.attributes(RESOURCE_ATTRIBUTES)?;
    batch.scopes.attributes = file.attributes(SCOPE_ATTRIBUTES)?;
    batch.events.attributes = file.attributes(EVENT_ATTRIBUTES)?;
    batch.links.attributes = file.attributes(LINK_ATTRIBUTES)?;
    check_lengths(&batch)?;
    Ok(batch)
}

/// Checks the columns that say where other values are. Errors: what is inconsistent.
pub(super) fn check(batch: &SpanBatch) -> Result<(), &'static str> {
    if !batch.strings.is_sound() {
        return Err("the dictionary's offsets");
    }
    let lists = [
        &batch.span_attributes,
        &batch.resources.attributes,
        &batch.scopes.attributes,
        &batch.events.attributes,
        &batch.links.attributes,
    ];
    let ends = |list: &&AttributeList| {
        list.starts.last().is_some_and(|&end| end as usize == list.keys.len())
    };
    if !lists.iter().all(ends) {
        return Err("an attribute list's lengths");
    }
    if !batch.is_sorted() {
        return Err("spans out of order");
    }
    Ok(())
}

/// At least `count` zeros. All segments share one buffer.
fn zeros(count: usize) -> Arc<Vec<u32>> {
    static ZEROS: Mutex<Option<Arc<Vec<u32>>>> = Mutex::new(None);
    let mut shared = ZEROS.lock();
    match &*shared {
        Some(zeros) if zeros.len() >= count => Arc::clone(zeros),
        _ => Arc::clone(shared.insert(Arc::new(vec![0; count.next_power_of_two()]))),
    }
}

/// The block times of a segment.
pub(super) fn block_times(reader: &ColumnReader) -> Result<(u64, u64), SegmentError> {
    match reader.values::<u64>(BLOCK_TIMES)?.as_slice() {
        [start, end] => Ok((*start, *end)),
        _ => Err(reader.corrupt("the block times")),
    }
}

/// The sections of a segment's origins, see [`held_origins`].
pub(super) fn origins<'a>(
    batch: &SpanBatch,
    [complete, incomplete, thinned]: [&'a [u64]; 3],
    has_none: bool,
) -> Vec<(u32, &'a [u8])> {
    let mut sections = Vec::new();
    let all = [
        (COMPLETE_ORIGINS, complete),
        (INCOMPLETE_ORIGINS, incomplete),
        (THINNED_ORIGINS, thinned),
    ];
    for (number, bounds) in all {
        if !bounds.is_empty() {
            sections.push((number, bytemuck::cast_slice(bounds)));
        }
    }
    if has_none && !batch.spans.origin.is_empty() {
        sections.push((WITHOUT_ORIGIN, &[1][..]));
    }
    sections
}

/// The origins of a segment.
pub(super) fn held_origins(reader: &ColumnReader) -> Result<HeldOrigins, SegmentError> {
    let set = |number| {
        let bounds = reader.values::<u64>(number)?;
        OriginSet::from_bounds(&bounds).ok_or_else(|| reader.corrupt("the ranges of origins"))
    };
    Ok(HeldOrigins {
        complete: set(COMPLETE_ORIGINS)?,
        incomplete: set(INCOMPLETE_ORIGINS)?,
        thinned: set(THINNED_ORIGINS)?,
        has_none: reader.find(WITHOUT_ORIGIN).is_some() || reader.find(ORIGIN).is_none(),
    })
}

/// The section of cut traces, see [`CUT_TRACES`].
pub(super) fn cut_trace_numbers(cut: &CutTraces) -> Vec<u64> {
    let numbers = |(trace, spans): (TraceId, u64)| {
        let id = u128::from_be_bytes(trace.0);
        [(id >> 64) as u64, id as u64, spans]
    };
    cut.iter().flat_map(numbers).collect()
}

/// The traces of a segment of which spans were refused.
pub(super) fn cut_traces(reader: &ColumnReader) -> Result<CutTraces, SegmentError> {
    let numbers = reader.values::<u64>(CUT_TRACES)?;
    let (traces, rest) = numbers.as_chunks::<3>();
    if !rest.is_empty() {
        return Err(reader.corrupt("the cut traces"));
    }
    let trace = |&[high, low, spans]: &[u64; 3]| {
        let id = u128::from(high) << 64 | u128::from(low);
        (TraceId(id.to_be_bytes()), spans)
    };
    Ok(traces.iter().map(trace).collect())
}

/// Columns that are read on demand.
struct Stored<'a> {
    reader: &'a Arc<ColumnReader>,
}

impl Stored<'_> {
    fn column<T: Pod>(&self, number: u32) -> Result<Buffer<T>, &'static str> {
        // One without values is left out.
        let Some(column) = self.reader.find(number) else { return Ok(Buffer::new()) };
        if column.bytes % size_of::<T>() != 0 {
            return Err("a column has a broken length");
        }
        let source = Arc::clone(self.reader) as Arc<dyn ColumnSource>;
        Ok(Buffer::stored(source, number, column.bytes / size_of::<T>()))
    }

    fn attributes(&self, base: u32) -> Result<AttributeList, &'static str> {
        let list = AttributeList {
            starts: self.column(base)?,
            keys: self.column(base + 1)?,
            types: self.column(base + 2)?,
            payloads: self.column(base + 3)?,
        };
        let entries = list.keys.len();
        let same = list.types.len() == entries && list.payloads.len() == entries;
        if same && !list.starts.is_empty() { Ok(list) } else { Err("an attribute list's lengths") }
    }
}

fn check_lengths(batch: &SpanBatch) -> Result<(), &'static str> {
    let after_first = |starts: &Buffer<u32>| starts.len().wrapping_sub(1);
    let owners = [
        (batch.span_attributes.owners(), batch.len()),
        (after_first(&batch.events.starts), batch.len()),
        (after_first(&batch.links.starts), batch.len()),
        (batch.events.attributes.owners(), batch.events.time.len()),
        (batch.links.attributes.owners(), batch.links.trace_id.len()),
    ];
    let same = owners.iter().all(|(owners, count)| owners == count);
    if same && batch.spans.are_complete() { Ok(()) } else { Err("columns of different length") }
}
