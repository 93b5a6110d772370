//! Origins through the merge; what else it does is tested with the builder and the block writer.

use super::*;
use crate::{
    BatchBuilder, BuilderLimits,
    wire::{put_fixed64_field, put_message_field},
};

/// Spans of (trace, id, origin), one run each.
fn batch_of(spans: &[(u8, u8, u64)]) -> SpanBatch {
    let mut builder = BatchBuilder::new(BuilderLimits::default());
    let (resource, scope) = (builder.resource(b"").unwrap(), builder.scope(b"").unwrap());
    for &(trace, id, origin) in spans {
        let (mut span, mut run) = (Vec::new(), Vec::new());
        put_message_field(&mut span, 1, &[trace; 16]);
        put_message_field(&mut span, 2, &[id; 8]);
        put_fixed64_field(&mut span, 7, u64::from(id));
        put_message_field(&mut run, 2, &span);
        let first = builder.len();
        builder.append_scope_spans(resource, scope, &run, |_, _| true).unwrap();
        builder.set_origin(first, origin);
    }
    builder.finish()
}

/// Trace, id and origin of each span.
fn rows(batch: &SpanBatch) -> Vec<(u8, u8, u64)> {
    assert!(batch.spans.are_complete());
    let origin = |row: usize| batch.spans.origin.get(row).copied().unwrap_or(0);
    let row = |row: usize| {
        let trace = batch.traces.ids[batch.spans.trace[row] as usize].0[0];
        (trace, batch.spans.span_id[row].0[0], origin(row))
    };
    (0..batch.len()).map(row).collect()
}

#[test]
fn origins_follow_their_spans() {
    let one = batch_of(&[(2, 1, 7), (1, 2, 8), (2, 3, 0)]);
    let two = batch_of(&[(1, 4, 0), (3, 5, 0)]);
    let (merged, _) = merge(&[&one, &two]);
    assert_eq!(rows(&merged), [(1, 2, 8), (1, 4, 0), (2, 1, 7), (2, 3, 0), (3, 5, 0)]);
    assert_eq!(
        rows(&gather_traces(&[&merged], |id| id.0[0] > 1)),
        [(2, 1, 7), (2, 3, 0), (3, 5, 0)]
    );
    assert_eq!(rows(&gather_traces(&[&two, &one], |id| id.0[0] == 1)), [(1, 4, 0), (1, 2, 8)]);
}

#[test]
fn batches_without_origins_have_no_column() {
    let batch = batch_of(&[(2, 1, 0), (1, 2, 0)]);
    assert!(batch.spans.origin.is_empty());
    let (merged, _) = merge(&[&batch, &batch]);
    assert!(merged.spans.origin.is_empty() && merged.len() == 2);
    assert!(gather_traces(&[&merged], |id| id.0[0] == 1).spans.origin.is_empty());
}

#[test]
fn of_copies_the_highest_origin_is_kept() {
    let one = batch_of(&[(1, 1, 5), (1, 2, 9), (1, 3, 4), (1, 4, 0)]);
    let two = batch_of(&[(1, 1, 8), (1, 2, 3), (1, 4, 6)]);
    let three = batch_of(&[(1, 1, 7), (1, 3, 0)]);
    let (merged, stats) = merge(&[&one, &two, &three]);
    assert_eq!(rows(&merged), [(1, 1, 8), (1, 2, 9), (1, 3, 4), (1, 4, 6)]);
    assert_eq!(stats.duplicate_spans, 5);
}

#[test]
fn rollback_takes_origins_along() {
    let mut builder = BatchBuilder::new(BuilderLimits::default());
    let mut span = Vec::new();
    put_message_field(&mut span, 1, &[1; 16]);
    put_message_field(&mut span, 2, &[1; 8]);
    let mut run = Vec::new();
    put_message_field(&mut run, 2, &span);
    for (origin, keep) in [(0, true), (3, false), (0, true), (4, true), (5, false), (0, true)] {
        let mark = builder.mark();
        let (resource, scope) = (builder.resource(b"").unwrap(), builder.scope(b"").unwrap());
        let first = builder.len();
        builder.append_scope_spans(resource, scope, &run, |_, _| true).unwrap();
        builder.set_origin(first, origin);
        if !keep {
            builder.rollback(mark);
        }
    }
    let batch = builder.finish();
    assert!(batch.spans.are_complete());
    assert_eq!(batch.spans.origin.as_slice(), [0, 0, 4, 0]);
}

/// Some thousand spans of traces that are scattered over the batch, every third with attributes, an event and a link.
fn scattered(seed: u64, traces: u64) -> SpanBatch {
    let mut builder = BatchBuilder::new(BuilderLimits::default());
    let mut spans = Vec::new();
    for number in 0..3_000u64 {
        let mixed = (number ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let (mut span, mut trace) = (Vec::new(), [1; 16]);
        trace[..8].copy_from_slice(&(mixed % traces).to_be_bytes());
        put_message_field(&mut span, 1, &trace);
        put_message_field(&mut span, 2, &(number + 1).to_be_bytes());
        put_message_field(&mut span, 5, format!("name {}", mixed % 7).as_bytes());
        put_fixed64_field(&mut span, 7, number);
        if number % 3 == 0 {
            let (mut value, mut pair) = (Vec::new(), Vec::new());
            put_message_field(&mut value, 1, format!("value {}", mixed % 900).as_bytes());
            put_message_field(&mut pair, 1, b"key");
            put_message_field(&mut pair, 2, &value);
            put_message_field(&mut span, 9, &pair);
            let (mut event, mut link) = (Vec::new(), Vec::new());
            put_message_field(&mut event, 2, b"event");
            put_message_field(&mut event, 3, &pair);
            put_message_field(&mut span, 11, &event);
            put_message_field(&mut link, 1, &trace);
            put_message_field(&mut link, 4, &pair);
            put_message_field(&mut span, 13, &link);
        }
        put_message_field(&mut spans, 2, &span);
    }
    let (resource, scope) = (builder.resource(b"").unwrap(), builder.scope(b"").unwrap());
    builder.append_scope_spans(resource, scope, &spans, |_, _| true).unwrap();
    builder.finish()
}

#[test]
fn traces_that_are_copied_together_are_those_copied_one_by_one() {
    let batches = [scattered(1, 400), scattered(2, 500), scattered(1, 30)];
    let inputs: Vec<_> = batches.iter().collect();
    let (together, stats) = merge(&inputs);
    let plan = MergePlan::new(&inputs);
    let mut merger = TraceMerger::new(&inputs, MergeOutput::default());
    for same_trace in plan.fragments.chunk_by(|a, b| a.id == b.id) {
        merger.start_trace(same_trace[0].id);
        for fragment in same_trace {
            let rows = &plan.rows[fragment.input as usize];
            rows.of(fragment.trace).for_each(|at| merger.add_row(fragment.input, rows.row(at)));
        }
        merger.finish_trace(u64::MAX);
        assert_eq!(merger.output().batch().spans.name.len(), merger.output().batch().len());
    }
    let (one_by_one, same_stats) = merger.into_output().take();
    assert!(together.spans.are_complete() && together.len() > 4_096 && stats == same_stats);
    let encoded = |batch: &SpanBatch| crate::otlp::encode_traces_data(batch);
    assert!(encoded(&together) == encoded(&one_by_one));
}
