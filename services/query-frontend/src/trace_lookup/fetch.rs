//! Fetches whole traces, several at a time.

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};
use prost::Message as _;
use tactus_api::request::TraceQuery;
use tactus_api::trace::WhenTooLarge;
use tactus_api::{Error, Result};
use tactus_model::{TenantId, TraceId};
use tactus_proto::opentelemetry::proto::trace::v1::TracesData;

use super::{LookupSettings, WholeTrace, WholeTraces};
use crate::frontend::Frontend;
use crate::metrics::TRACES;
use crate::query_log::Asked;
use crate::trace_by_id::{FoundTrace, offload};

/// Traces of more spans are decoded away from the threads that serve connections.
const INLINE_SPANS: usize = 1_000;

/// A trace and its size in protobuf, if there is one.
type Fetched = (Option<WholeTrace>, u64);

impl Frontend {
    /// A trace with all its spans. Errors: [`Error::NotFound`] if nobody has it, [`Error::Internal`] if that cannot be
    /// known because something could not be read.
    pub(crate) async fn whole_trace(
        &self,
        tenants: &[TenantId],
        id: TraceId,
    ) -> Result<WholeTrace> {
        let query = TraceQuery::default();
        let found = self.find_trace(tenants, id, query, WhenTooLarge::Cut).await?;
        let message = found.facts.message.clone();
        match decode(id, found).await? {
            (Some(trace), _) => Ok(trace),
            (None, _) if message.is_empty() => Err(Error::NotFound),
            (None, _) => Err(Error::Internal(message)),
        }
    }

    /// These traces with all their spans. Counts as one query of the tenants.
    pub(crate) async fn whole_traces(
        &self,
        tenants: &[TenantId],
        ids: &[TraceId],
        settings: &LookupSettings,
    ) -> Result<WholeTraces> {
        if ids.is_empty() {
            return Ok(WholeTraces::default());
        }
        let run = self.fetch_all(tenants, ids, settings);
        let asked = Asked::new(format!("{} traces", ids.len()));
        let (traces, _) =
            self.counted(tenants, TRACES, asked, run, |(_, inspected)| *inspected).await?;
        Ok(traces)
    }

    /// Shows these traces one after the other, the first always and others as long as they fit into the bytes of an
    /// answer. Counts as one query of the tenants. True if something could not be read or did not fit.
    pub(crate) async fn visit_traces(
        &self,
        tenants: &[TenantId],
        ids: &[TraceId],
        settings: &LookupSettings,
        visit: impl FnMut(&FoundTrace) -> Result<()>,
    ) -> Result<bool> {
        if ids.is_empty() {
            return Ok(false);
        }
        let run = self.visit_all(tenants, ids, settings, visit);
        let asked = Asked::new(format!("{} traces", ids.len()));
        let (partial, _) =
            self.counted(tenants, TRACES, asked, run, |(_, inspected)| *inspected).await?;
        Ok(partial)
    }

    async fn visit_all(
        &self,
        tenants: &[TenantId],
        ids: &[TraceId],
        settings: &LookupSettings,
        mut visit: impl FnMut(&FoundTrace) -> Result<()>,
    ) -> Result<(bool, u64)> {
        let _admitted = self.admit(tenants)?;
        let find = |&id| self.find_admitted(tenants, id, TraceQuery::default(), WhenTooLarge::Cut);
        let finds: Vec<_> = ids.iter().map(find).collect();
        let mut found = stream::iter(finds).buffered(settings.concurrent_traces.max(1));
        let (mut partial, mut bytes, mut inspected) = (false, 0u64, 0u64);
        while let Some(next) = found.next().await {
            let next = next?;
            inspected = inspected.saturating_add(next.facts.inspected_bytes);
            let is_first = bytes == 0;
            bytes = bytes.saturating_add(next.trace.bytes() as u64);
            if settings.max_answer_bytes != 0 && bytes > settings.max_answer_bytes && !is_first {
                return Ok((true, inspected));
            }
            partial |= next.facts.partial;
            visit(&next)?;
        }
        Ok((partial, inspected))
    }

    async fn fetch_all(
        &self,
        tenants: &[TenantId],
        ids: &[TraceId],
        settings: &LookupSettings,
    ) -> Result<(WholeTraces, u64)> {
        let _admitted = self.admit(tenants)?;
        let fetches: Vec<_> = ids.iter().map(|&id| self.fetch(tenants, id)).collect();
        let mut fetched = stream::iter(fetches).buffered(settings.concurrent_traces.max(1));
        let mut all = WholeTraces::default();
        let (mut bytes, mut inspected) = (0u64, 0u64);
        for &id in ids {
            let Some(next) = fetched.next().await else { break };
            let ((trace, size), read) = next?;
            inspected = inspected.saturating_add(read);
            bytes = bytes.saturating_add(size);
            // The first one is always shown: else a large trace could not be found at all.
            let is_full = settings.max_answer_bytes != 0 && bytes > settings.max_answer_bytes;
            if is_full && !all.traces.is_empty() {
                all.partial = true;
                break;
            }
            match trace {
                Some(trace) => {
                    all.partial |= !trace.message.is_empty();
                    all.traces.push(trace);
                }
                None => all.missing.push(id),
            }
        }
        Ok((all, inspected))
    }

    async fn fetch(&self, tenants: &[TenantId], id: TraceId) -> Result<(Fetched, u64)> {
        let query = TraceQuery::default();
        let found = self.find_admitted(tenants, id, query, WhenTooLarge::Cut).await?;
        let inspected = found.facts.inspected_bytes;
        Ok((decode(id, found).await?, inspected))
    }
}

async fn decode(id: TraceId, found: FoundTrace) -> Result<Fetched> {
    if found.trace.is_empty() {
        return Ok((None, 0));
    }
    let is_long = found.trace.spans() > INLINE_SPANS;
    offload(is_long, move || {
        let truncated = found.trace.truncated;
        let bytes = Bytes::from(found.trace.to_protobuf_v1());
        let size = bytes.len() as u64;
        let data = TracesData::decode(bytes)
            .map_err(|error| Error::Internal(format!("malformed trace: {error}")))?;
        Ok((Some(WholeTrace { id, data, truncated, message: found.facts.message }), size))
    })
    .await?
}
