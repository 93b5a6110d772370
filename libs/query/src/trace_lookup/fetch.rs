//! Fetches whole traces, several at a time.

use std::future::ready;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};
use prost::Message as _;
use tactus_api::request::TraceQuery;
use tactus_api::trace::WhenTooLarge;
use tactus_api::{Error, Result};
use tactus_config::sections::query_apis::TraceLookups;
use tactus_model::{TenantId, TraceId};
use tactus_proto::opentelemetry::proto::trace::v1::{Span, TracesData};
use tactus_server::bodies::Bodies;

use super::{WholeTrace, WholeTraces};
use crate::frontend::Frontend;
use crate::metrics::TRACES;
use crate::offload::offload;
use crate::query_log::Asked;
use crate::trace_by_id::{FoundTrace, Large, malformed};

impl Frontend {
    /// A trace with all its spans. Errors: [`Error::NotFound`] if nobody has it, [`Error::Internal`] if that cannot be
    /// known because something could not be read.
    pub async fn whole_trace(&self, tenants: &[TenantId], id: TraceId) -> Result<WholeTrace> {
        let query = TraceQuery::default();
        let found = self.find_trace(tenants, id, query, WhenTooLarge::Cut).await?;
        let message = found.facts.message.clone();
        match decode(&self.memory, id, found).await? {
            Some(trace) => Ok(trace),
            None if message.is_empty() => Err(Error::NotFound),
            None => Err(Error::Internal(message)),
        }
    }

    /// These traces with all their spans. Counts as one query of the tenants.
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
        let made = (Large::Whole, |id, found| decode(&self.memory, id, found));
        let partial = self.each_trace(tenants, ids, settings, made, take).await?;
        Ok(WholeTraces { partial, ..all })
    }

    /// Shows these traces one after the other, of large ones [`Large::Heads`], the first always and others as long as they
    /// fit into the bytes of an answer. Counts as one query of the tenants. True if something could not be read or did not fit.
    pub(crate) async fn visit_traces(
        &self,
        tenants: &[TenantId],
        ids: &[TraceId],
        settings: &TraceLookups,
        mut visit: impl FnMut(&FoundTrace) -> Result<()>,
    ) -> Result<bool> {
        let as_it_is = |_, found| ready(Ok(found));
        let made = (Large::Heads, as_it_is);
        self.each_trace(tenants, ids, settings, made, |_, found| visit(&found)).await
    }

    /// Finds these traces, several at a time, makes something of each and shows that in the order of the ids.
    async fn each_trace<T, F: Future<Output = Result<T>>>(
        &self,
        tenants: &[TenantId],
        ids: &[TraceId],
        settings: &TraceLookups,
        (large, make): (Large, impl Fn(TraceId, FoundTrace) -> F + Copy),
        mut show: impl FnMut(TraceId, T) -> Result<()>,
    ) -> Result<bool> {
        if ids.is_empty() {
            return Ok(false);
        }
        let run = async {
            let _admitted = self.admit(tenants)?;
            let fetch = |&id| self.fetch(tenants, id, large.clone(), make);
            let fetches: Vec<_> = ids.iter().map(fetch).collect();
            let mut fetched = stream::iter(fetches).buffered(settings.concurrent_traces.max(1));
            let (mut partial, mut bytes, mut inspected) = (false, 0u64, 0u64);
            for &id in ids {
                let Some(next) = fetched.next().await else { break };
                let Fetched { made, size, is_partial, read } = next?;
                inspected = inspected.saturating_add(read);
                // The first one is always shown: else a large trace could not be found at all.
                let is_first = bytes == 0;
                bytes = bytes.saturating_add(size);
                let is_full = settings.max_answer_bytes != 0 && bytes > settings.max_answer_bytes;
                if is_full && !is_first {
                    return Ok((true, inspected));
                }
                partial |= is_partial;
                show(id, made)?;
            }
            Ok((partial, inspected))
        };
        let asked = Asked::new(format!("{} traces", ids.len()));
        let (partial, _) =
            self.counted(tenants, TRACES, asked, run, |(_, inspected)| *inspected).await?;
        Ok(partial)
    }

    async fn fetch<T, F: Future<Output = Result<T>>>(
        &self,
        tenants: &[TenantId],
        id: TraceId,
        large: Large,
        make: impl Fn(TraceId, FoundTrace) -> F,
    ) -> Result<Fetched<T>> {
        let query = TraceQuery::default();
        let limits = (WhenTooLarge::Cut, large);
        let found = self.find_admitted(tenants, id, query, limits).await?;
        let (size, is_partial) = (found.trace.bytes() as u64, found.facts.partial);
        let read = found.facts.inspected_bytes;
        Ok(Fetched { made: make(id, found).await?, size, is_partial, read })
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

/// A trace as messages; `None` if nobody has it. Errors: [`Error::TooManyBytes`], or one that is no trace.
async fn decode(
    memory: &Arc<Bodies>,
    id: TraceId,
    mut found: FoundTrace,
) -> Result<Option<WholeTrace>> {
    if found.trace.is_empty() {
        return Ok(None);
    }
    // Texts stay where they are; a small span takes more as a message than as bytes.
    let messages = found.trace.spans() * size_of::<Span>();
    found.memory = found.memory.and(memory, messages as u64).await?;
    let is_long = found.trace.takes_long();
    offload(is_long, move || {
        let truncated = found.trace.truncated;
        let bytes = Bytes::from(found.trace.to_protobuf_v1());
        let data = TracesData::decode(bytes).map_err(malformed)?;
        let (message, memory) = (found.facts.message, found.memory);
        Ok(Some(WholeTrace { id, data, truncated, message, memory }))
    })
    .await?
}
