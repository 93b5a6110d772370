//! Blocks in memory for tests.

use std::ops::Range;
use std::sync::Arc;

use tactus_block::read::{BlockFacts, BlockReader, BytesSource};
use tactus_block::{BlockSummary, BlockWriter, WriterSettings};
use tactus_model::any_value::{AnyValueRef, encode};
use tactus_model::merge::{gather_traces, merge};
use tactus_model::wire::{put_bytes_field, put_fixed64_field, put_message_field};
use tactus_model::{BatchBuilder, BuilderLimits, SpanBatch};
use tactus_storage::meta::BlockVersion;

/// Some traces of a sorted batch.
pub(crate) fn traces_of(batch: &SpanBatch, traces: Range<usize>) -> SpanBatch {
    gather_traces(&[batch], |id| batch.traces.ids[traces.clone()].contains(&id))
}

/// Spans with these ids, spread over `traces` traces: span `i` starts at `i` seconds, lasts `i` milliseconds, is called
/// `op` and `i` modulo 3, and has an attribute `n` = `i`.
pub(crate) fn batch_of_spans(ids: Range<u16>, traces: u16) -> SpanBatch {
    let mut builder = BatchBuilder::new(BuilderLimits::default());
    let mut resource = Vec::new();
    put_message_field(&mut resource, 1, &attribute("service.name", AnyValueRef::String(b"shop")));
    let resource = builder.resource(&resource).unwrap();
    let scope = builder.scope(b"\x0a\x03lib").unwrap();
    let mut spans = Vec::new();
    ids.for_each(|id| put_message_field(&mut spans, 2, &span(id % traces, id)));
    builder.append_scope_spans(resource, scope, &spans, |_, _| true).unwrap();
    merge(&[&builder.finish()]).0
}

fn span(trace: u16, id: u16) -> Vec<u8> {
    let (mut trace_id, mut span_id, mut out) = ([1; 16], [1; 8], Vec::new());
    trace_id[14..].copy_from_slice(&trace.to_be_bytes());
    span_id[6..].copy_from_slice(&id.to_be_bytes());
    let start = u64::from(id) * 1_000_000_000;
    put_message_field(&mut out, 1, &trace_id);
    put_message_field(&mut out, 2, &span_id);
    put_bytes_field(&mut out, 5, format!("op {}", id % 3).as_bytes());
    put_fixed64_field(&mut out, 7, start);
    put_fixed64_field(&mut out, 8, start + u64::from(id) * 1_000_000);
    put_message_field(&mut out, 9, &attribute("n", AnyValueRef::Int(i64::from(id))));
    out
}

fn attribute(key: &str, value: AnyValueRef<'_>) -> Vec<u8> {
    let (mut pair, mut encoded) = (Vec::new(), Vec::new());
    put_bytes_field(&mut pair, 1, key.as_bytes());
    encode(&mut encoded, value);
    put_message_field(&mut pair, 2, &encoded);
    pair
}

/// The file of a block with a row group for each batch; traces ascend over all of them.
pub(crate) fn block_of(row_groups: &[SpanBatch]) -> (Vec<u8>, BlockSummary) {
    let mut writer = BlockWriter::new(Vec::new(), WriterSettings::default()).unwrap();
    for batch in row_groups {
        writer.write_row_group(batch).unwrap();
    }
    writer.finish().unwrap()
}

/// A reader of [`block_of`].
pub(crate) fn reader_of(row_groups: &[SpanBatch]) -> BlockReader {
    let (data, summary) = block_of(row_groups);
    let facts = BlockFacts {
        size: summary.size,
        footer_size: summary.footer_size,
        version: BlockVersion::VParquet4,
        dedicated_columns: Vec::new(),
    };
    BlockReader::open(Arc::new(BytesSource::new(data.into())), &facts).unwrap()
}
