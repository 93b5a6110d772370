//! TraceQL inside a trace that is too large to be read as a whole: slice by slice, and only what the query reads of
//! each span.
//!
//! Memory, counted as that of the query: one slice, and the position of each span in the trace. If spans are not judged
//! independently, also the columns of all spans, some 80 bytes for each span and 13 for each attribute that the query
//! reads.

use std::sync::Arc;

use serde_json::Value;
use tactus_api::trace::{CombinedTrace, WhenTooLarge};
use tactus_api::{Error, Result};
use tactus_model::{SpanBatch, SpanColumns, SpanId, TenantId, TraceId, separate_shared_ids};
use tactus_traceql::eval::CompiledQuery;
use tactus_work::Held;

use super::{Rows, matched, matched_in, rows_of};
use crate::frontend::Frontend;
use crate::http::ui::layout::{Layout, SpanHead};
use crate::metrics::TRACES;
use crate::offload::offload;
use crate::query_log::Asked;
use crate::trace_by_id::{FoundTrace, malformed};

/// What a row of a slice takes while it is looked at.
const ROW_BYTES: usize = 100;

/// What it takes to put a span into its row: sorted by start, and found as the parent of others.
const LAYOUT_BYTES: usize = 50;

/// What a query found in a trace.
pub(in crate::http::ui) enum Found {
    /// The trace, which is not large.
    Trace(FoundTrace),
    /// The answer.
    Rows { value: Value, inspected_bytes: u64, partial: bool },
}

/// Finds what a query, which is `text`, matches in a trace.
pub(in crate::http::ui) async fn find_in(
    frontend: &Frontend,
    tenants: &[TenantId],
    id: TraceId,
    text: &str,
    query: Arc<CompiledQuery>,
) -> Result<Found> {
    let run = async {
        let _admitted = frontend.admit(tenants)?;
        let mut slices = frontend.slices_read_by(tenants, id, text);
        let mut so_far = SoFar::new(id, query);
        let (mut inspected_bytes, mut partial) = (0_u64, false);
        while let Some(found) = slices.next_trace(WhenTooLarge::Cut).await? {
            if !found.is_part {
                return Ok(Found::Trace(found));
            }
            inspected_bytes = inspected_bytes.saturating_add(found.facts.inspected_bytes);
            partial |= found.facts.partial;
            so_far = offload(true, move || so_far.and(&found.trace)).await??;
        }
        let value = offload(true, move || so_far.finish()).await??;
        Ok(Found::Rows { value, inspected_bytes, partial })
    };
    let inspected = |found: &Found| match found {
        Found::Trace(found) => found.facts.inspected_bytes,
        Found::Rows { inspected_bytes, .. } => *inspected_bytes,
    };
    frontend.counted(tenants, TRACES, Asked::new(id.to_hex()), run, inspected).await
}

/// The slices that were read so far.
struct SoFar {
    id: TraceId,
    query: Arc<CompiledQuery>,
    /// Where spans are judged alone: of each that was read if it matches.
    matched: Vec<bool>,
    /// And where it belongs; else of those alone that became no row.
    heads: Vec<SpanHead>,
    /// Where they are not.
    rows: Rows,
    held: Held,
}

impl SoFar {
    fn new(id: TraceId, query: Arc<CompiledQuery>) -> Self {
        let (matched, heads, rows) = (Vec::new(), Vec::new(), Rows::default());
        Self { id, query, matched, heads, rows, held: Held::default() }
    }

    fn and(mut self, slice: &CombinedTrace) -> Result<Self> {
        match self.query.judges_spans_alone() {
            true => {
                self.hold(slice.spans() * ROW_BYTES)?;
                let matched = matched(slice, self.id, &self.query)?;
                self.matched.reserve_exact(matched.len());
                self.matched.extend(matched);
                // A list that doubles is half empty in the end.
                self.heads.reserve_exact(slice.spans());
                for message in slice.spans_by_resource().flat_map(|(_, messages)| messages) {
                    self.heads.push(SpanHead::read(message).map_err(malformed)?.0);
                }
            }
            false => {
                let rows = &mut self.rows;
                let before = rows.spans;
                rows.append(slice, self.id)?;
                let is_row = |span: usize| rows.span_of_row.binary_search(&span).is_ok();
                let messages = slice.spans_by_resource().flat_map(|(_, messages)| messages);
                if rows.span_of_row.len() < rows.spans {
                    for (_, message) in (before..).zip(messages).filter(|(span, _)| !is_row(*span))
                    {
                        self.heads.push(SpanHead::read(message).map_err(malformed)?.0);
                    }
                }
            }
        }
        self.hold(0)?;
        Ok(self)
    }

    /// Takes memory for what there is and for this many bytes more.
    fn hold(&mut self, more: usize) -> Result<()> {
        let rows = self.rows.builder.heap_bytes() + 8 * self.rows.span_of_row.capacity();
        let heads = self.heads.capacity() * size_of::<SpanHead>() + self.matched.capacity();
        self.held.shrink_to(rows + heads + more);
        match self.held.grow_to(rows + heads + more) {
            true => Ok(()),
            false => Err(Error::TooManyBytes),
        }
    }

    fn finish(mut self) -> Result<Value> {
        if !self.query.judges_spans_alone() {
            self.judge_together()?;
        }
        self.hold(self.heads.len() * LAYOUT_BYTES)?;
        separate_ids(&mut self.heads);
        let layout = Layout::of(&self.heads);
        Ok(rows_of(&layout.order, &self.matched))
    }

    /// Finds what matches among all spans, of which then no more is left than where they belong.
    fn judge_together(&mut self) -> Result<()> {
        let rows = std::mem::take(&mut self.rows);
        let mut batch = rows.builder.finish();
        drop(rows.span_of_row);
        separate_ids_of(&mut batch);
        let without_row = std::mem::take(&mut self.heads);
        let spans = batch.len() + without_row.len();
        self.matched = matched_in(&batch, &self.query, spans, |row| row)?;
        let SpanBatch { spans, .. } = batch;
        let SpanColumns { span_id, parent_span_id, start, kind, .. } = spans;
        self.heads = Vec::with_capacity(span_id.len() + without_row.len());
        for (row, &id) in span_id.iter().enumerate() {
            let (parent, start, kind) = (parent_span_id[row], start[row], kind[row]);
            self.heads.push(SpanHead { id, parent, start, kind, ..SpanHead::default() });
        }
        self.heads.extend(without_row);
        Ok(())
    }
}

/// Gives halves of a call ids of their own, as the trace that is shown has them.
fn separate_ids(heads: &mut [SpanHead]) {
    let half = |span: usize| (heads[span].id, heads[span].parent, heads[span].kind.into());
    for (span, (id, parent)) in new_ids(heads.len(), half, |span| heads[span].start) {
        (heads[span].id, heads[span].parent) = (id, parent);
    }
}

/// The same of rows, for queries that look at the ids.
fn separate_ids_of(batch: &mut SpanBatch) {
    let spans = &mut batch.spans;
    let (ids, parents, kinds) = (&*spans.span_id, &*spans.parent_span_id, &*spans.kind);
    let half = |row: usize| (ids[row], parents[row], kinds[row].into());
    for (row, (id, parent)) in new_ids(ids.len(), half, |row| spans.start[row]) {
        spans.span_id.make_mut()[row] = id;
        spans.parent_span_id.make_mut()[row] = parent;
    }
}

/// New ids and parents of spans, numbered in the order of a trace that is put together. Few traces have any. `half_of`: id,
/// parent and kind.
fn new_ids(
    count: usize,
    half_of: impl Fn(usize) -> (SpanId, SpanId, u64),
    start_of: impl Fn(usize) -> u64,
) -> Vec<(usize, (SpanId, SpanId))> {
    let new_id = |number: u64| SpanId(number.to_be_bytes());
    if separate_shared_ids((0..count).map(&half_of), new_id).is_empty() {
        return Vec::new();
    }
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by_key(|&span| (start_of(span), half_of(span).0));
    let changes = separate_shared_ids(order.iter().map(|&span| half_of(span)), new_id);
    changes.into_iter().map(|(place, ids)| (order[place], ids)).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use bytes::Bytes;
    use prost::Message as _;
    use tactus_api::request::parse_traceql;
    use tactus_api::trace::{SharedIds, TraceCombiner};
    use tactus_model::merge::SpanSlice;
    use tactus_proto::opentelemetry::proto::common::v1::{AnyValue, KeyValue, any_value::Value};
    use tactus_proto::opentelemetry::proto::resource::v1::Resource;
    use tactus_proto::opentelemetry::proto::trace::v1::{
        ResourceSpans, ScopeSpans, Span, TracesData,
    };

    use super::*;

    const ID: TraceId = TraceId([7; 16]);
    const SPANS: u64 = 600;

    fn attribute(key: &str, value: Value) -> KeyValue {
        let value = Some(AnyValue { value: Some(value) });
        KeyValue { key: key.as_bytes().to_vec().into(), value }
    }

    /// A tree. Of every fifth span there is the other half of a call, with the same id.
    fn trace() -> TracesData {
        let mut services: HashMap<u64, Vec<Span>> = HashMap::new();
        for number in 1..=SPANS {
            let span = |kind: i32, start: u64| Span {
                trace_id: ID.0.to_vec().into(),
                span_id: (number << 40 | number).to_be_bytes().to_vec().into(),
                parent_span_id: match number / 3 {
                    0 => Bytes::new(),
                    parent => (parent << 40 | parent).to_be_bytes().to_vec().into(),
                },
                name: format!("operation {}", number % 7).into_bytes().into(),
                kind,
                start_time_unix_nano: 1_000 + start / 2,
                end_time_unix_nano: 1_000 + start / 2 + number % 90,
                attributes: vec![
                    attribute("even", Value::BoolValue(number % 2 == 0)),
                    attribute("number", Value::IntValue(number as i64)),
                ],
                ..Span::default()
            };
            let is_call = number % 5 == 0;
            services.entry(number % 4).or_default().push(span(if is_call { 3 } else { 1 }, number));
            if is_call {
                services.entry((number + 1) % 4).or_default().push(span(2, number + 1));
            }
        }
        let resource_spans = services.into_iter().map(|(service, spans)| {
            let name = Value::StringValue(format!("service-{service}").into_bytes().into());
            let attributes = vec![attribute("service.name", name)];
            let resource = Some(Resource { attributes, ..Resource::default() });
            let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
            ResourceSpans { resource, scope_spans, ..ResourceSpans::default() }
        });
        TracesData { resource_spans: resource_spans.collect() }
    }

    /// Out of two parts, so that its order is not that in which they came.
    fn combined(slice: SpanSlice, shared_ids: SharedIds) -> CombinedTrace {
        let mut combiner = TraceCombiner::new(0, WhenTooLarge::Cut);
        for half in 0..2 {
            let mut data = trace();
            for resource in &mut data.resource_spans {
                for scope in &mut resource.scope_spans {
                    scope.spans.retain(|span| {
                        let id = SpanId::from_slice(&span.span_id);
                        slice.has(id) && u64::from(id.0[7] % 2) == half
                    });
                }
            }
            combiner.add(&data.encode_to_vec().into()).unwrap();
        }
        combiner.finish(shared_ids)
    }

    #[test]
    fn slices_of_a_trace_are_found_what_the_whole_trace_is() {
        for (text, is_alone) in [
            ("{ span.number > 77 }", true),
            ("{ resource.service.name = `service-1` && span.even = false }", true),
            ("{ name =~ `.*3` || duration > 50ns }", true),
            ("{ kind = server }", true),
            ("{}", true),
            ("{ span:id = `0000000000000003` }", false),
            ("{ span:parentID = `0000320000000032` }", false),
            ("{ span.number = 8 } >> { span.even = true }", false),
            ("{ kind = client } > { kind = server }", false),
            ("{ parent.even = true && span.even = false }", false),
            ("{ span:childCount > 2 }", false),
            ("{ nestedSetParent < 0 }", false),
            ("{ rootName = `operation 1` && span.even = true }", false),
            ("{ span.even = true } | count() > 5000", false),
            ("{ span.even = true } | by(name) | avg(duration) > 43ns", false),
            ("{ span.number < 5 } && { span.number > 590 }", false),
        ] {
            let query = CompiledQuery::compile(&parse_traceql(text, 0).unwrap()).unwrap();
            assert_eq!(query.judges_spans_alone(), is_alone, "{text}");
            let query = Arc::new(query);
            let whole = combined(SpanSlice::WHOLE, SharedIds::Separated);
            let expected = super::super::rows(&whole, ID, &query).unwrap();
            for of in [1, 3, 8] {
                let mut so_far = SoFar::new(ID, Arc::clone(&query));
                for number in 0..of {
                    let slice = SpanSlice::new(number, of).unwrap();
                    so_far = so_far.and(&combined(slice, SharedIds::Kept)).unwrap();
                }
                assert_eq!(so_far.finish().unwrap(), expected, "{text} in {of} slices");
            }
        }
    }
}
