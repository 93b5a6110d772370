//! Fetches whole traces, several at a time.

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};
use tactus_api::request::TraceQuery;
use tactus_api::trace::{SharedIds, WhenTooLarge};
use tactus_api::{Error, Result};
use tactus_config::sections::query_apis::TraceLookups;
use tactus_model::{TenantId, TraceId};
use tactus_proto::Shaped as _;
use tactus_proto::opentelemetry::proto::trace::v1::TracesData;

use super::{FoundId, WholeTrace, WholeTraces};
use crate::frontend::Frontend;
use crate::metrics::TRACES;
use crate::offload::offload;
use crate::query_log::Asked;
use crate::trace_by_id::{FoundTrace, Large};

/// Blocks are looked into that have spans this many seconds before or after those of a trace which the search has seen.
const AROUND_SECONDS: i64 = 600;

/// What came of traces that were shown one after the other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Visited {
    /// Something could not be read or did not fit.
    pub(crate) partial: bool,
    pub(crate) inspected_bytes: u64,
}

impl Frontend {
    /// A trace with all its spans, and the ids that they were stored with. Errors: [`Error::NotFound`] if nobody has it, [`Error::Internal`] if that cannot be
    /// known because something could not be read.
    pub async fn whole_trace(&self, tenants: &[TenantId], id: TraceId) -> Result<WholeTrace> {
        let found = self.find_trace(tenants, id, as_stored(), WhenTooLarge::Cut).await?;
        let message = found.facts.message.clone();
        match whole(id, found).await? {
            Some(trace) => Ok(trace),
            None if message.is_empty() => Err(Error::NotFound),
            None => Err(Error::Internal(message)),
        }
    }

    /// These traces with all their spans, as of [`Self::whole_trace`]. Counts as one query of the tenants.
    pub async fn whole_traces(
        &self,
        tenants: &[TenantId],
        ids: &[TraceId],
        settings: &TraceLookups,
    ) -> Result<WholeTraces> {
        let mut all = WholeTraces::default();
        let take = |id, trace: Option<WholeTrace>| {
            match trace {
                Some(trace) => all.traces.push(trace),
                None => all.missing.push(id),
            }
            Ok(())
        };
        let made = (Large::Whole, whole);
        let wanted: Vec<_> = ids.iter().map(|&id| (id, as_stored())).collect();
        let asked = Asked::new(format!("{} traces", ids.len()));
        let visited = self.each_trace(tenants, &wanted, settings, asked, made, take).await?;
        Ok(WholeTraces { partial: visited.partial, ..all })
    }

    /// Shows what is made of the [`Large::HeadsOfAny`] of these traces, one after the other: of the first always, and of others
    /// as long as they fit into the bytes of an answer. They are looked for near the time at which the search has seen them.
    /// Counts as one query of the tenants.
    pub(crate) async fn visit_heads<T: Send + 'static>(
        &self,
        tenants: &[TenantId],
        found: &[FoundId],
        settings: &TraceLookups,
        asked: Asked,
        make: fn(&FoundTrace) -> Result<T>,
        mut visit: impl FnMut(T),
    ) -> Result<Visited> {
        let wanted: Vec<_> = found.iter().map(|found| (found.id, near(found))).collect();
        let made = (Large::HeadsOfAny, move |_, found: FoundTrace| async move {
            offload(found.trace.takes_long(), move || make(&found)).await?
        });
        let show = |_, made| {
            visit(made);
            Ok(())
        };
        self.each_trace(tenants, &wanted, settings, asked, made, show).await
    }

    /// Finds these traces, several at a time, makes something of each and shows that in the order of the ids.
    async fn each_trace<T, F: Future<Output = Result<T>>>(
        &self,
        tenants: &[TenantId],
        wanted: &[(TraceId, TraceQuery)],
        settings: &TraceLookups,
        asked: Asked,
        (large, make): (Large, impl Fn(TraceId, FoundTrace) -> F + Copy),
        mut show: impl FnMut(TraceId, T) -> Result<()>,
    ) -> Result<Visited> {
        if wanted.is_empty() {
            return Ok(Visited::default());
        }
        let run = async {
            let _admitted = self.admit(tenants)?;
            let fetch = |&wanted| self.fetch(tenants, wanted, large.clone(), make);
            let fetches: Vec<_> = wanted.iter().map(fetch).collect();
            let mut fetched = stream::iter(fetches).buffered(settings.concurrent_traces.max(1));
            let (mut visited, mut bytes) = (Visited::default(), 0u64);
            for &(id, _) in wanted {
                let Some(next) = fetched.next().await else { break };
                let Fetched { made, size, is_partial, read } = next?;
                visited.inspected_bytes = visited.inspected_bytes.saturating_add(read);
                // The first one is always shown: else a large trace could not be found at all.
                let is_first = bytes == 0;
                bytes = bytes.saturating_add(size);
                let is_full = settings.max_answer_bytes != 0 && bytes > settings.max_answer_bytes;
                if is_full && !is_first {
                    visited.partial = true;
                    return Ok(visited);
                }
                visited.partial |= is_partial;
                show(id, made)?;
            }
            Ok(visited)
        };
        self.counted(tenants, TRACES, asked, run, |visited| visited.inspected_bytes).await
    }

    async fn fetch<T, F: Future<Output = Result<T>>>(
        &self,
        tenants: &[TenantId],
        (id, query): (TraceId, TraceQuery),
        large: Large,
        make: impl Fn(TraceId, FoundTrace) -> F,
    ) -> Result<Fetched<T>> {
        let limits = (WhenTooLarge::Cut, large);
        let found = self.find_admitted(tenants, id, query, limits).await?;
        let (size, is_partial) = (found.trace.bytes() as u64, found.facts.partial);
        let read = found.facts.inspected_bytes;
        Ok(Fetched { made: make(id, found).await?, size, is_partial, read })
    }
}

/// All spans with the ids that they have.
fn as_stored() -> TraceQuery {
    TraceQuery { shared_ids: SharedIds::Kept, ..TraceQuery::default() }
}

/// Where the spans of a trace lie that a search has found.
fn near(found: &FoundId) -> TraceQuery {
    let seconds = |nanos: u64| i64::try_from(nanos / 1_000_000_000).unwrap_or(i64::MAX);
    TraceQuery {
        // 0 would be unbounded.
        start: seconds(found.start).saturating_sub(AROUND_SECONDS).max(1),
        end: seconds(found.end).saturating_add(1 + AROUND_SECONDS),
        ..TraceQuery::default()
    }
}

/// What was made of a trace.
struct Fetched<T> {
    made: T,
    /// Bytes of its messages.
    size: u64,
    is_partial: bool,
    /// Bytes read to find it.
    read: u64,
}

/// The trace that was found; `None` if nobody has it.
async fn whole(id: TraceId, found: FoundTrace) -> Result<Option<WholeTrace>> {
    if found.trace.is_empty() {
        return Ok(None);
    }
    let is_long = found.trace.takes_long();
    let encode = move || {
        let encoded = Bytes::from(found.trace.to_protobuf_v1());
        WholeTrace {
            id,
            spans: found.trace.spans(),
            decoded_bytes: TracesData::decoded_bytes(&encoded),
            truncated: found.trace.truncated,
            message: found.facts.message,
            memory: found.memory,
            encoded,
        }
    };
    offload(is_long, encode).await.map(Some)
}
