//! Copies some spans of a segment.

use std::ops::Range;

use bytemuck::Pod;
use tactus_model::{AttributeList, Buffer, Projection, SpanBatch};

use super::{EVENT_ATTRIBUTES, LINK_ATTRIBUTES, ORIGIN, SPAN_ATTRIBUTES};
use crate::segment::{SegmentError, column_reader::ColumnReader, file::OpenPlace};

/// A copy of the consecutive spans `rows`, of consecutive traces. Strings, resources and scopes are shared with the
/// batch. Only what is copied is read, and it is not checked for damage. `besides`: which columns to copy besides the
/// basic ones, see [`tactus_model::merge::TracePart`].
pub(in crate::segment) fn slice(
    reader: &ColumnReader,
    batch: &SpanBatch,
    traces: Range<usize>,
    rows: Range<usize>,
    besides: Option<&Projection>,
) -> Result<SpanBatch, SegmentError> {
    let file = reader.open_file()?;
    let part = Part { reader, file: file.as_ref() };
    let wants = |wanted: fn(&Projection) -> bool| besides.is_none_or(wanted);
    let mut slice = SpanBatch {
        strings: batch.strings.clone(),
        resources: batch.resources.clone(),
        scopes: batch.scopes.clone(),
        ..SpanBatch::default()
    };
    slice.traces.ids = part.column(30, traces.clone())?;
    let first = traces.start as u32;
    let of_trace = part.reader.some_values::<u32>(part.file, 40, rows.clone())?;
    slice.spans.trace = of_trace.into_iter().map(|trace| trace.wrapping_sub(first)).collect();
    macro_rules! copy {
        ($number:expr, $column:expr) => {
            $column = part.column($number, rows.clone())?
        };
    }
    span_columns!(&mut slice, copy);
    macro_rules! copy_sparse {
        ($number:expr, $column:expr) => {
            if wants(wanted_of($number)) {
                $column = match reader.find($number) {
                    Some(_) => part.column($number, rows.clone())?,
                    None => vec![0; rows.len()].into(),
                };
            }
        };
    }
    sparse_columns!(&mut slice, copy_sparse);
    if besides.is_none() && reader.find(ORIGIN).is_some() {
        slice.spans.origin = part.column(ORIGIN, rows.clone())?;
    }
    if wants(|it| !it.span_attributes.is_none()) {
        slice.span_attributes = part.attributes(SPAN_ATTRIBUTES, rows.clone())?;
    }
    let (starts, events) = part.starts(60, rows.clone())?;
    slice.events.starts = starts;
    macro_rules! copy_event {
        ($number:expr, $column:expr) => {
            $column = part.column($number, events.clone())?
        };
    }
    if wants(|it| it.events || it.event_name || it.dropped_counts) {
        event_columns!(&mut slice, copy_event);
    }
    if wants(|it| !it.event_attributes.is_none()) {
        slice.events.attributes = part.attributes(EVENT_ATTRIBUTES, events)?;
    }
    let (starts, links) = part.starts(70, rows)?;
    slice.links.starts = starts;
    macro_rules! copy_link {
        ($number:expr, $column:expr) => {
            $column = part.column($number, links.clone())?
        };
    }
    if wants(|it| it.links || it.dropped_counts) {
        link_columns!(&mut slice, copy_link);
    }
    if wants(|it| !it.link_attributes.is_none()) {
        slice.links.attributes = part.attributes(LINK_ATTRIBUTES, links)?;
    }
    Ok(slice)
}

/// Which projections want a span column that is zero in most segments.
fn wanted_of(number: u32) -> fn(&Projection) -> bool {
    match number {
        50 => |it| it.status_message,
        51 => |it| it.trace_state,
        _ => |it| it.dropped_counts,
    }
}

/// Parts of columns that are read now.
struct Part<'a> {
    reader: &'a ColumnReader,
    file: Option<&'a OpenPlace>,
}

impl Part<'_> {
    fn column<T: Pod>(&self, number: u32, range: Range<usize>) -> Result<Buffer<T>, SegmentError> {
        Ok(self.reader.some_values(self.file, number, range)?.into())
    }

    /// The starts of some owners, counted from the first of them, and the range of entries that they cover.
    fn starts(
        &self,
        number: u32,
        owners: Range<usize>,
    ) -> Result<(Buffer<u32>, Range<usize>), SegmentError> {
        let mut starts: Vec<u32> =
            self.reader.some_values(self.file, number, owners.start..owners.end + 1)?;
        let (Some(&first), Some(&last)) = (starts.first(), starts.last()) else {
            return Err(self.reader.corrupt("an offset"));
        };
        if first > last || !starts.is_sorted() {
            return Err(self.reader.corrupt("an offset"));
        }
        starts.iter_mut().for_each(|start| *start -= first);
        Ok((starts.into(), first as usize..last as usize))
    }

    fn attributes(&self, base: u32, owners: Range<usize>) -> Result<AttributeList, SegmentError> {
        let (starts, entries) = self.starts(base, owners)?;
        Ok(AttributeList {
            starts,
            keys: self.column(base + 1, entries.clone())?,
            types: self.column(base + 2, entries.clone())?,
            payloads: self.column(base + 3, entries)?,
        })
    }
}
