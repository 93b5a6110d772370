//! A part of a trace that is too large to be gathered whole each time somebody looks at it.

use std::collections::HashSet;

use super::{MergeOutput, MergePlan, TraceMerger};
use crate::{SpanBatch, SpanId, TraceId};

/// Which part of a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TracePart {
    /// All spans with what places them in time and below each other: ids, name, kind, status, start and duration. The other
    /// columns are left empty, and of events and links there is only how many each span has.
    Heads,
    /// The spans of these ids, with all they have.
    Spans(HashSet<SpanId>),
}

impl TracePart {
    /// The part that a message asks for: ids of eight bytes each, one after the other; none for the heads.
    pub fn of_ids(ids: &[u8]) -> Self {
        if ids.is_empty() {
            return Self::Heads;
        }
        Self::Spans(ids.chunks(8).map(SpanId::from_slice).collect())
    }
}

/// A part of a trace out of several batches, each span once; empty if no batch has any of it.
pub fn gather_part(inputs: &[&SpanBatch], id: TraceId, part: &TracePart) -> SpanBatch {
    let plan = MergePlan::of_traces(inputs, |other| other == id);
    let mut merger = TraceMerger::new(inputs, MergeOutput::default());
    if *part == TracePart::Heads {
        merger.leave_out_contents();
    }
    merger.start_trace(id);
    for fragment in &plan.fragments {
        let rows = &plan.rows[fragment.input as usize];
        let span_ids = &*inputs[fragment.input as usize].spans.span_id;
        for row in rows.of(fragment.trace).map(|position| rows.row(position)) {
            let is_wanted = match part {
                TracePart::Heads => true,
                TracePart::Spans(ids) => ids.contains(&span_ids[row as usize]),
            };
            if is_wanted {
                merger.add_row(fragment.input, row);
            }
        }
    }
    merger.finish_trace(u64::MAX);
    merger.into_output().take().0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merge::merge;
    use crate::otlp::encode_traces_data;
    use crate::wire::{put_fixed64_field, put_message_field};
    use crate::{BatchBuilder, BuilderLimits};

    /// Spans of two traces, with an attribute, events and a status message each.
    fn batch_of(ids: &[(u8, u8)]) -> SpanBatch {
        let mut builder = BatchBuilder::new(BuilderLimits::default());
        let (resource, scope) = (builder.resource(b"").unwrap(), builder.scope(b"").unwrap());
        let mut spans = Vec::new();
        for &(trace, id) in ids {
            let (mut span, mut event, mut pair) = (Vec::new(), Vec::new(), Vec::new());
            put_message_field(&mut span, 1, &[trace; 16]);
            put_message_field(&mut span, 2, &[id; 8]);
            put_message_field(&mut span, 4, &[9; 8]);
            put_message_field(&mut span, 5, b"name");
            span.extend_from_slice(&[6 << 3, 2]);
            put_fixed64_field(&mut span, 7, u64::from(id) * 10);
            put_fixed64_field(&mut span, 8, u64::from(id) * 10 + 5);
            put_message_field(&mut pair, 1, b"key");
            put_message_field(&mut span, 9, &pair);
            put_fixed64_field(&mut event, 1, 77);
            put_message_field(&mut event, 2, b"event");
            put_message_field(&mut span, 11, &event);
            put_message_field(&mut span, 11, &event);
            put_message_field(&mut span, 15, &[2 << 3 | 2, 1, b'x', 3 << 3, 2]);
            put_message_field(&mut spans, 2, &span);
        }
        builder.append_scope_spans(resource, scope, &spans, |_, _| true).unwrap();
        builder.finish()
    }

    #[test]
    fn heads_are_all_spans_once_without_contents() {
        let batches =
            [batch_of(&[(2, 1), (1, 2), (2, 3)]), batch_of(&[(2, 3), (2, 4)]), batch_of(&[(1, 9)])];
        let inputs: Vec<_> = batches.iter().collect();
        let heads = gather_part(&inputs, TraceId([2; 16]), &TracePart::Heads);
        assert_eq!(heads.spans.span_id[..], [1, 3, 4].map(|id| SpanId([id; 8])));
        assert_eq!(heads.spans.duration[..], [5; 3]);
        assert_eq!(heads.spans.status[..], [2; 3]);
        assert_eq!(heads.events.range(2), 4..6);
        assert!(heads.span_attributes.is_empty() && heads.events.time.is_empty());
        let whole = merge(&inputs).0;
        assert!(encode_traces_data(&heads).len() < encode_traces_data(&whole).len() / 2);
        assert_eq!(gather_part(&inputs, TraceId([7; 16]), &TracePart::Heads).len(), 0);
    }

    #[test]
    fn chosen_spans_have_all_they_had() {
        let batches = [batch_of(&[(2, 1), (2, 3)]), batch_of(&[(2, 4), (1, 4)])];
        let inputs: Vec<_> = batches.iter().collect();
        let part = TracePart::of_ids(&[[3; 8], [4; 8]].concat());
        let found = gather_part(&inputs, TraceId([2; 16]), &part);
        assert_eq!(encode_traces_data(&found), encode_traces_data(&batch_of(&[(2, 3), (2, 4)])));
        assert_eq!(TracePart::of_ids(&[]), TracePart::Heads);
    }
}
