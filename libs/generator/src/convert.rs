//! Converts a push to columns, once for all processors.

use std::{ops::RangeInclusive, sync::Arc};

use bytes::Bytes;
use tactus_model::{
    AppendError, BatchBuilder, BuilderLimits, KnownOwners, RunMessages, SelectedBatch,
    SelectedKeys, TenantId,
    walk::walk_export,
    wire::{Reader, WireError, put_message_field},
};
use tactus_proto::tactus::v1::{PushRequest, SpanRun};

/// What a push holds.
#[derive(Debug)]
pub(crate) struct Received {
    /// Spans that end within the range.
    pub(crate) selected: SelectedBatch,
    /// All spans.
    pub(crate) spans: u64,
    /// Spans that end outside of the range.
    pub(crate) outside: u64,
}

/// Bytes of a push: spans, resources and scopes.
pub(crate) fn bytes_of(push: &PushRequest) -> u64 {
    let owners = push.resources.iter().chain(&push.scopes).map(Bytes::len).sum::<usize>();
    (owners + push.runs.iter().map(|run| run.scope_spans.len()).sum::<usize>()) as u64
}

/// Reads the spans that end within `ends`, in unix nanoseconds, with the attributes that processors look for.
///
/// Errors: bytes that are no spans.
pub(crate) fn convert(
    push: &PushRequest,
    limits: BuilderLimits,
    keys: &Arc<SelectedKeys>,
    ends: &RangeInclusive<u64>,
) -> Result<Received, AppendError> {
    let (selected, left_out) = build(push, limits, keys, |_| true)?;
    let batch = &selected.batch;
    let spans = batch.len() as u64 + left_out;
    let keeps: Vec<bool> = batch
        .spans
        .start
        .iter()
        .zip(batch.spans.duration.iter())
        .map(|(start, duration)| ends.contains(&start.wrapping_add(*duration)))
        .collect();
    let kept = keeps.iter().filter(|keep| **keep).count();
    let outside = (batch.len() - kept) as u64;
    let selected = match kept {
        0 => SelectedBatch::default(),
        all if all == batch.len() => selected,
        // Seldom: clients send what has just ended. The rows are read again in the same order.
        _ => build(push, limits, keys, |row| keeps.get(row).is_some_and(|keep| *keep))?.0,
    };
    Ok(Received { selected, spans, outside })
}

/// The spans of which the number, from 0, is admitted, and how many can be no rows.
fn build(
    push: &PushRequest,
    limits: BuilderLimits,
    keys: &Arc<SelectedKeys>,
    admits: impl Fn(usize) -> bool,
) -> Result<(SelectedBatch, u64), AppendError> {
    let mut builder = BatchBuilder::selecting(limits, Arc::clone(keys));
    builder.reserve_spans(spans_of(push)?);
    let (mut row, mut too_deep) = (0, 0);
    let mut owners = KnownOwners::default();
    for run in &push.runs {
        let messages = RunMessages {
            resource: push.resources.get(run.resource as usize).map_or(b"", |bytes| bytes),
            scope: push.scopes.get(run.scope as usize).map_or(b"", |bytes| bytes),
            scope_spans: &run.scope_spans,
            origin: run.origin,
        };
        too_deep += builder.append_next_run(&mut owners, messages, |_, _| {
            row += 1;
            admits(row - 1)
        })?;
    }
    let left_out = too_deep + builder.take_refused_ids();
    Ok((builder.finish_selected(), left_out))
}

/// Bytes of a span that has its two ids and nothing else.
const LEAST_SPAN: usize = 30;

/// Spans of a push that may become rows.
fn spans_of(push: &PushRequest) -> Result<usize, WireError> {
    let (mut spans, mut bytes) = (0, 0);
    for run in &push.runs {
        let mut reader = Reader::new(&run.scope_spans);
        while let Some((field, _)) = reader.next_field()? {
            spans += usize::from(field == 2);
        }
        bytes += run.scope_spans.len();
    }
    Ok(spans.min(bytes / LEAST_SPAN))
}

/// A push of Tempo's protocol as one of ours.
///
/// Errors: bytes that are no `ResourceSpans`.
pub(crate) fn push_of(tenant: &TenantId, batches: &[Bytes]) -> Result<PushRequest, WireError> {
    let mut export = Vec::with_capacity(batches.iter().map(|batch| batch.len() + 11).sum());
    batches.iter().for_each(|batch| put_message_field(&mut export, 1, batch));
    let export = Bytes::from(export);
    let walk = walk_export(&export, |_| {})?;
    let slice = |range: &std::ops::Range<usize>| export.slice(range.clone());
    let run = |run: &tactus_model::walk::SpanRun| SpanRun {
        resource: run.resource,
        scope: run.scope,
        scope_spans: slice(&run.scope_spans),
        origin: 0,
    };
    Ok(PushRequest {
        tenant: tenant.as_str().to_owned(),
        resources: walk.resources.iter().map(slice).collect(),
        scopes: walk.scopes.iter().map(slice).collect(),
        runs: walk.runs.iter().map(run).collect(),
    })
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use tactus_model::any_value::{AnyValueRef, encode, encode_array};
    use tactus_model::wire::MAX_DEPTH;
    use tactus_proto::otlp::{ResourceSpans, ScopeSpans, Span};

    use super::*;

    const ANY: RangeInclusive<u64> = 0..=u64::MAX;

    fn push(ends: &[u64]) -> PushRequest {
        let span = |(number, end): (usize, &u64)| Span {
            trace_id: vec![1; 16].into(),
            span_id: vec![number as u8 + 1; 8].into(),
            name: format!("span-{number}").into(),
            start_time_unix_nano: 5,
            end_time_unix_nano: *end,
            ..Span::default()
        };
        let spans = ends.iter().enumerate().map(span).collect();
        let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
        let batch = ResourceSpans { scope_spans, ..ResourceSpans::default() };
        let batches = [Bytes::from(batch.encode_to_vec())];
        push_of(&TenantId::single(), &batches).unwrap()
    }

    fn names(batch: &tactus_model::SpanBatch) -> Vec<String> {
        let text = |code: &u32| String::from_utf8_lossy(batch.strings.get(*code)).into_owned();
        batch.spans.name.iter().map(text).collect()
    }

    #[test]
    fn spans_at_the_bounds_are_kept_and_those_beyond_are_not() {
        let received = convert(
            &push(&[99, 100, 150, 200, 201]),
            BuilderLimits::default(),
            &Arc::default(),
            &(100..=200),
        );
        let received = received.unwrap();
        assert_eq!(names(&received.selected.batch), ["span-1", "span-2", "span-3"]);
        assert_eq!((received.spans, received.outside), (5, 2));
    }

    #[test]
    fn span_that_ends_before_it_starts_is_judged_by_its_end() {
        let received =
            convert(&push(&[2]), BuilderLimits::default(), &Arc::default(), &(1..=3)).unwrap();
        assert_eq!((received.selected.batch.len(), received.outside), (1, 0));
    }

    #[test]
    fn push_without_recent_spans_leaves_an_empty_batch() {
        let received =
            convert(&push(&[7, 8]), BuilderLimits::default(), &Arc::default(), &(100..=200))
                .unwrap();
        assert!(received.selected.batch.is_empty());
        assert_eq!((received.spans, received.outside), (2, 2));
    }

    #[test]
    fn spans_without_ids_count_as_received_and_make_no_row() {
        let mut export = push(&[100]);
        let mut more = Vec::new();
        put_message_field(&mut more, 2, &Span::default().encode_to_vec());
        more.extend_from_slice(&export.runs[0].scope_spans);
        export.runs[0].scope_spans = more.into();
        let received = convert(&export, BuilderLimits::default(), &Arc::default(), &ANY).unwrap();
        assert_eq!((received.selected.batch.len(), received.spans, received.outside), (1, 2, 0));
    }

    #[test]
    fn resource_that_is_nested_too_deeply_costs_its_own_spans_only() {
        let (mut deep, mut pair, mut resource) = (Vec::new(), Vec::new(), Vec::new());
        encode(&mut deep, AnyValueRef::Int(1));
        for _ in 0..=MAX_DEPTH {
            deep = encode_array([AnyValueRef::Encoded(&deep)].into_iter());
        }
        put_message_field(&mut pair, 1, b"deep");
        put_message_field(&mut pair, 2, &deep);
        put_message_field(&mut resource, 1, &pair);
        let mut sent = push(&[100]);
        let run = SpanRun { resource: sent.resources.len() as u32, ..sent.runs[0].clone() };
        sent.resources.push(resource.into());
        sent.runs.insert(0, run);
        let received = convert(&sent, BuilderLimits::default(), &Arc::default(), &ANY).unwrap();
        assert_eq!((received.selected.batch.len(), received.spans, received.outside), (1, 2, 0));
    }

    #[test]
    fn damaged_push_is_an_error() {
        assert!(push_of(&TenantId::single(), &[Bytes::from_static(b"\x0a\xff")]).is_err());
        let run = SpanRun { scope_spans: Bytes::from_static(b"\x12\x05ab"), ..SpanRun::default() };
        let push = PushRequest { runs: vec![run], ..PushRequest::default() };
        assert!(convert(&push, BuilderLimits::default(), &Arc::default(), &ANY).is_err());
    }
}
