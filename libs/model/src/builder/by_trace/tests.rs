use proptest::prelude::*;

use super::*;
use crate::{
    BuilderLimits, SpanBatch,
    merge::merge,
    wire::{put_bytes_field, put_fixed64_field, put_message_field},
};

/// A run as a test describes it: its owners, and for each span trace and kind.
type Run = (u8, Vec<(u8, u8)>);

/// A message nested more deeply than values may be.
fn too_deep() -> Vec<u8> {
    let mut value = Vec::new();
    for _ in 0..2 * crate::wire::MAX_DEPTH {
        let (mut list, mut outer) = (Vec::new(), Vec::new());
        put_message_field(&mut list, 1, &value);
        put_message_field(&mut outer, 5, &list);
        value = outer;
    }
    let mut pair = Vec::new();
    put_message_field(&mut pair, 1, b"deep");
    put_message_field(&mut pair, 2, &value);
    pair
}

fn pair(key: &str, text: &str) -> Vec<u8> {
    let (mut value, mut pair) = (Vec::new(), Vec::new());
    put_message_field(&mut value, 1, text.as_bytes());
    put_message_field(&mut pair, 1, key.as_bytes());
    put_message_field(&mut pair, 2, &value);
    pair
}

/// `kind` 1: without a span id; 2: nested too deeply; 3: its ids come last, after others; 4: a copy of another span.
fn span(trace: u8, number: u8, kind: u8) -> Vec<u8> {
    let mut out = Vec::new();
    let id = if kind == 4 { 1 } else { number };
    let whole = [id, 0, 0, 0, 0, 0, 0, 1];
    if kind == 3 {
        put_bytes_field(&mut out, 1, &[9; 3]);
        put_bytes_field(&mut out, 2, &[9; 3]);
    } else {
        put_bytes_field(&mut out, 1, &[trace; 16]);
        put_bytes_field(&mut out, 2, if kind == 1 { b"" } else { &whole });
    }
    put_bytes_field(&mut out, 5, format!("name {}", id % 5).as_bytes());
    put_fixed64_field(&mut out, 7, u64::from(id));
    put_message_field(&mut out, 9, &pair("key", &format!("value {number}")));
    if kind == 2 {
        put_message_field(&mut out, 9, &too_deep());
    }
    let mut event = Vec::new();
    put_message_field(&mut event, 3, &pair("event", "text"));
    put_message_field(&mut out, 11, &event);
    if kind == 3 {
        put_bytes_field(&mut out, 1, &[trace; 16]);
        put_bytes_field(&mut out, 2, &whole);
    }
    out
}

/// Resource and spans of each run.
fn messages(runs: &[Run]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut number = 0;
    let message = |(owner, spans): &Run| {
        let (mut resource, mut scope_spans) = (Vec::new(), Vec::new());
        let attribute = if *owner == 0 { too_deep() } else { pair("owner", &owner.to_string()) };
        put_message_field(&mut resource, 1, &attribute);
        for &(trace, kind) in spans {
            number += 1;
            put_message_field(&mut scope_spans, 2, &span(trace, number, kind));
        }
        (resource, scope_spans)
    };
    runs.iter().map(message).collect()
}

fn with_origins(messages: &[(Vec<u8>, Vec<u8>)]) -> Vec<RunMessages<'_>> {
    let runs = messages.iter().zip(0..);
    runs.map(|((resource, scope_spans), origin)| RunMessages {
        resource,
        scope: b"",
        scope_spans,
        origin,
    })
    .collect()
}

/// The batch, spans nested too deeply, those with bad ids, and the positions of refused ones.
type Outcome = Result<(SpanBatch, u64, u64, Vec<u32>), AppendError>;

fn is_admitted(trace: TraceId, bytes: usize) -> bool {
    trace != TraceId([2; 16]) && !bytes.is_multiple_of(7)
}

fn by_runs(runs: &[RunMessages<'_>]) -> Outcome {
    let mut builder = BatchBuilder::new(BuilderLimits::default());
    builder.mark();
    let (mut too_deep, mut refused, mut position) = (0, Vec::new(), 0);
    for run in runs {
        let first = builder.len();
        too_deep +=
            builder.append_run(run.resource, run.scope, run.scope_spans, |trace, bytes| {
                if !is_admitted(trace, bytes) {
                    refused.push(position);
                }
                position += 1;
                is_admitted(trace, bytes)
            })?;
        builder.set_origin(first, run.origin);
    }
    let bad_ids = builder.take_refused_ids();
    Ok((builder.finish(), too_deep, bad_ids, refused))
}

fn by_trace(runs: &[RunMessages<'_>]) -> Outcome {
    let mut builder = BatchBuilder::new(BuilderLimits::default());
    builder.mark();
    let mut refused = Vec::new();
    let left_out = builder.append_by_trace(runs, |span| {
        let admitted = is_admitted(span.trace, span.bytes);
        if !admitted {
            refused.push(span.place);
        }
        admitted
    })?;
    refused.sort_unstable();
    let refused = refused.into_iter().map(|place| left_out.position(place)).collect();
    let bad_ids = builder.take_refused_ids();
    Ok((builder.finish(), left_out.too_deep, bad_ids, refused))
}

#[test]
fn spans_lie_by_trace_and_within_one_in_order_of_the_push() {
    let messages =
        messages(&[(1, vec![(3, 0), (1, 0), (3, 0)]), (2, vec![(1, 0), (4, 0), (3, 0)])]);
    let batch = by_trace(&with_origins(&messages)).unwrap().0;
    let rows = batch.spans.trace.iter().zip(batch.spans.span_id.iter());
    let rows: Vec<_> =
        rows.map(|(&trace, id)| (batch.traces.ids[trace as usize].0[0], id.0[0])).collect();
    assert_eq!(rows, [(1, 2), (1, 4), (3, 1), (3, 3), (3, 6), (4, 5)]);
    assert_eq!(batch.spans.origin.as_slice(), [0, 1, 0, 0, 1, 1]);
}

#[test]
fn large_owners_cost_the_same_for_one_run_and_for_thousands() {
    let (mut owner, mut scope_spans) = (Vec::new(), Vec::new());
    put_message_field(&mut owner, 1, &pair("key", &"x".repeat(4 << 20)));
    put_message_field(&mut scope_spans, 2, &span(1, 1, 0));
    let (resource, scope) = (owner.clone(), owner);
    let run =
        RunMessages { resource: &resource, scope: &scope, scope_spans: &scope_spans, origin: 0 };
    let began = std::time::Instant::now();
    let mut builder = BatchBuilder::new(BuilderLimits::default());
    builder.append_by_trace(&vec![run; 10_000], |_| true).unwrap();
    let mut known = KnownOwners::default();
    for _ in 0..10_000 {
        builder.append_next_run(&mut known, run, |_, _| true).unwrap();
    }
    assert!(began.elapsed().as_secs() < 5);
    let batch = builder.finish();
    assert_eq!((batch.len(), batch.resources.len(), batch.scopes.len()), (20_000, 1, 1));
}

#[test]
fn bytes_of_a_later_run_do_not_pay_for_an_earlier_one() {
    let events = |count: usize| {
        let mut message = span(1, 1, 0);
        (0..count).for_each(|_| put_message_field(&mut message, 11, b""));
        let mut run = Vec::new();
        put_message_field(&mut run, 2, &message);
        run
    };
    let (many, few) = (events(30_000), events(10));
    let long = {
        let (mut run, mut message) = (Vec::new(), span(2, 2, 0));
        put_message_field(&mut message, 9, &pair("long", &"x".repeat(400_000)));
        put_message_field(&mut run, 2, &message);
        run
    };
    let outcome = |runs: [&Vec<u8>; 2], append: fn(&[RunMessages<'_>]) -> Outcome| {
        let run = |scope_spans| RunMessages { resource: b"", scope: b"", scope_spans, origin: 0 };
        append(&runs.map(|spans| run(spans.as_slice()))).map(|outcome| merge(&[&outcome.0]).0)
    };
    for runs in [[&many, &long], [&long, &many], [&few, &long], [&many, &few]] {
        assert_eq!(outcome(runs, by_trace), outcome(runs, by_runs));
    }
    assert_eq!(outcome([&many, &long], by_trace), Err(AppendError::TooLarge));
    assert!(outcome([&long, &many], by_trace).is_ok());
}

proptest! {
    #[test]
    fn push_by_trace_has_what_it_has_run_by_run(
        runs in proptest::collection::vec(
            (0u8..4, proptest::collection::vec((1u8..6, 0u8..5), 0..12)), 0..6),
        cut in 0usize..4_000,
    ) {
        let mut messages = messages(&runs);
        if let Some((_, last)) = messages.last_mut() {
            // Mostly whole; otherwise what is malformed is an error in both ways.
            last.truncate(if cut < 1_000 { cut } else { last.len() });
        }
        let runs = with_origins(&messages);
        match (by_trace(&runs), by_runs(&runs)) {
            (Ok(one), Ok(other)) => {
                prop_assert_eq!(merge(&[&one.0]).0, merge(&[&other.0]).0);
                prop_assert_eq!((one.1, one.2, one.3), (other.1, other.2, other.3));
            }
            (one, other) => prop_assert_eq!(one.is_err(), other.is_err()),
        }
    }

    #[test]
    fn append_by_trace_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut builder = BatchBuilder::new(BuilderLimits::default());
        let mark = builder.mark();
        let run = |scope_spans| RunMessages { resource: b"", scope: b"", scope_spans, origin: 0 };
        let _ = builder.append_by_trace(&[run(&bytes), run(&bytes)], |_| true);
        builder.rollback(mark);
        prop_assert_eq!(builder.len(), 0);
    }
}
