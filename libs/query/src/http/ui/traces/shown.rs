//! Spans of a large trace by the ids that its page shows.
//!
//! The server's half of a call that shares an id with the client's is stored with that id. Its own one is given to it when
//! all spans are put together, so it is found by their heads.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use tactus_api::Result;
use tactus_api::request::TraceQuery;
use tactus_api::trace::{CombinedTrace, SharedIds, WhenTooLarge, with_ids};
use tactus_model::{SpanId, TraceId};

use crate::http::Call;
use crate::http::ui::layout::{SERVER, SpanHead};
use crate::offload::offload;
use crate::trace_by_id::{FoundTrace, Large, TraceMemory, malformed};

/// True if a part of a trace surely has all spans with these ids.
pub(super) async fn has_all(found: &Arc<FoundTrace>, ids: &[SpanId]) -> Result<bool> {
    let (found, ids) = (Arc::clone(found), ids.to_vec());
    offload(found.trace.takes_long(), move || are_stored(&found.trace, &ids)).await?
}

/// True if all ids are those of spans that are stored with them. Others were given to halves of calls: in a part not the same
/// as in the whole trace, but always the smallest that are unused.
fn are_stored(trace: &CombinedTrace, ids: &[SpanId]) -> Result<bool> {
    let known: HashSet<SpanId> = heads(trace)?.iter().map(|head| head.id).collect();
    let highest_given = 2 * trace.spans() as u64;
    let is_stored = |id: &SpanId| known.contains(id) && u64::from_be_bytes(id.0) > highest_given;
    Ok(ids.iter().all(is_stored))
}

/// Reads the spans with these ids, of which those that the trace does not have are left out. `all`: the heads of all
/// its spans, as they are shown.
pub(super) async fn read(
    call: &Call,
    id: TraceId,
    all: Arc<FoundTrace>,
    ids: Vec<SpanId>,
) -> Result<FoundTrace> {
    let mut facts = all.facts.clone();
    let asked = offload(true, move || asked_for(&all.trace, &ids)).await??;
    let stored = stored_ids(&asked);
    if stored.is_empty() {
        let (trace, memory) = (CombinedTrace::default(), TraceMemory::default());
        return Ok(FoundTrace { trace, facts, is_part: true, memory });
    }
    let query = TraceQuery { shared_ids: SharedIds::Kept, ..TraceQuery::default() };
    let limits = (WhenTooLarge::Cut, Large::Spans(stored));
    let found = call.frontend.find_part(&call.tenants, id, query, limits).await?;
    if found.facts.partial {
        facts = found.facts;
    }
    let (stored, memory) = (found.trace, found.memory);
    let trace = offload(stored.takes_long(), move || as_shown(&stored, &asked)).await??;
    Ok(FoundTrace { trace, facts, is_part: true, memory })
}

fn heads(trace: &CombinedTrace) -> Result<Vec<SpanHead>> {
    let messages = trace.spans_by_resource().flat_map(|(_, messages)| messages);
    let head = |message: &Bytes| SpanHead::read(message).map(|(head, _)| head).map_err(malformed);
    messages.map(head).collect()
}

/// The heads of the spans that are shown with these ids.
fn asked_for(all: &CombinedTrace, ids: &[SpanId]) -> Result<Vec<SpanHead>> {
    let ids: HashSet<SpanId> = ids.iter().copied().collect();
    let mut asked = heads(all)?;
    asked.retain(|head| ids.contains(&head.id));
    Ok(asked)
}

/// The ids with which these spans may be stored: their own, or that of the client's half.
fn stored_ids(asked: &[SpanHead]) -> Vec<SpanId> {
    let shared = asked.iter().filter(|head| head.kind == SERVER).map(|head| head.parent);
    let mut ids: Vec<SpanId> = asked.iter().map(|head| head.id).chain(shared).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// Those of the stored spans that are asked for, with the ids that are shown.
fn as_shown(stored: &CombinedTrace, asked: &[SpanHead]) -> Result<CombinedTrace> {
    let known: HashSet<SpanId> = heads(stored)?.iter().map(|head| head.id).collect();
    let mut shown: HashMap<_, Vec<&SpanHead>> = HashMap::new();
    for head in asked {
        let is_half = head.kind == SERVER && !known.contains(&head.id);
        let id = if is_half { head.parent } else { head.id };
        shown.entry((id, head.kind, head.start, head.end)).or_default().push(head);
    }
    Ok(stored.filter_mapped(|span| {
        let (head, _) = SpanHead::read(span).ok()?;
        let shown = shown.get_mut(&(head.id, head.kind, head.start, head.end))?.pop()?;
        match (shown.id, shown.parent) == (head.id, head.parent) {
            true => Some(span.clone()),
            false => Some(with_ids(span, shown.id, shown.parent)),
        }
    }))
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use tactus_api::trace::TraceCombiner;
    use tactus_proto::opentelemetry::proto::trace::v1::{
        ResourceSpans, ScopeSpans, Span, TracesData,
    };

    use super::*;

    const CLIENT: i32 = 3;
    const SHARED: u64 = 0x7700_0000_0000_0001;
    const CHILD: u64 = 0x7700_0000_0000_0002;
    const ROOT: u64 = 0x7700_0000_0000_0003;

    fn id(number: u64) -> SpanId {
        SpanId(number.to_be_bytes())
    }

    /// A call whose halves share an id, with a span on each side of it.
    fn trace(shared_ids: SharedIds, ids: &[u64]) -> CombinedTrace {
        let span = |(number, parent, kind, start): (u64, u64, i32, u64)| Span {
            span_id: id(number).0.to_vec().into(),
            parent_span_id: match parent {
                0 => Bytes::new(),
                parent => id(parent).0.to_vec().into(),
            },
            kind,
            start_time_unix_nano: start,
            end_time_unix_nano: start + 10,
            ..Span::default()
        };
        let all = [
            (ROOT, 0, 1, 1),
            (SHARED, ROOT, CLIENT, 2),
            (SHARED, ROOT, SERVER.into(), 3),
            (CHILD, SHARED, 1, 4),
        ];
        let spans = all.into_iter().filter(|(number, ..)| ids.contains(number)).map(span);
        let scope_spans = vec![ScopeSpans { spans: spans.collect(), ..ScopeSpans::default() }];
        let resource = ResourceSpans { scope_spans, ..ResourceSpans::default() };
        let mut combiner = TraceCombiner::new(0, WhenTooLarge::Cut);
        let data = TracesData { resource_spans: vec![resource] };
        combiner.add(&data.encode_to_vec().into()).unwrap();
        combiner.finish(shared_ids)
    }

    #[test]
    fn halves_of_calls_are_found_by_the_ids_that_are_shown() {
        let all = trace(SharedIds::Separated, &[ROOT, SHARED, CHILD]);
        let given = id(1);
        for (ids, stored) in [
            (vec![given], vec![given, id(SHARED)]),
            (vec![id(SHARED)], vec![id(SHARED)]),
            (vec![id(CHILD), id(99)], vec![id(CHILD)]),
            (vec![given, id(ROOT)], vec![given, id(SHARED), id(ROOT)]),
            (vec![id(99)], vec![]),
        ] {
            let asked = asked_for(&all, &ids).unwrap();
            assert_eq!(stored_ids(&asked), stored, "{ids:?}");
            let numbers: Vec<u64> = stored.iter().map(|id| u64::from_be_bytes(id.0)).collect();
            let found = as_shown(&trace(SharedIds::Kept, &numbers), &asked).unwrap();
            assert_eq!(heads(&found).unwrap(), asked, "{ids:?}");
        }
    }

    #[test]
    fn ids_that_may_have_been_given_to_halves_are_not_taken_for_stored_ones() {
        let part = trace(SharedIds::Separated, &[SHARED]);
        assert!(are_stored(&part, &[id(SHARED)]).unwrap());
        assert!(!are_stored(&part, &[id(SHARED), id(1)]).unwrap());
        assert!(!are_stored(&part, &[id(CHILD)]).unwrap());
    }
}
