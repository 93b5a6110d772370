//! One trace out of recent data and blocks.

use std::sync::Arc;

use tactus_api::request::TraceQuery;
use tactus_api::trace::{CombinedTrace, TraceFacts, WhenTooLarge};
use tactus_api::{Encoding, Error, Result};
use tactus_model::merge::SpanSlice;
use tactus_model::{SpanId, TenantId, TraceId};
use tactus_server::bodies::{AnswerMemory, Bodies, NoRoom};

use crate::frontend::Frontend;
use crate::metrics::TRACES;
use crate::offload::offload;
use crate::query_log::Asked;

mod limited;
mod parts;
mod room;
mod slices;

pub(crate) use limited::Limited;
use parts::{Limit, Parts, combine};
pub(crate) use room::WaitForRoom;
pub(crate) use slices::Slices;

/// Parts of more bytes are combined away from the threads that serve connections.
const INLINE_BYTES: usize = 256 << 10;

/// Traces as JSON take at most about this many times the bytes of their messages.
const JSON_EXPANSION: u64 = 7;

/// A trace, or what there is of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundTrace {
    /// The spans; empty if nobody has any.
    pub trace: CombinedTrace,
    /// What goes with it.
    pub facts: TraceFacts,
    /// It is too large to be given all at once, and this is the part of it that [`Large`] asked for.
    pub is_part: bool,
    /// What it takes.
    pub memory: TraceMemory,
}

/// Memory that a trace takes until it is sent; given back with the last clone. It says nothing of the trace: all are equal.
#[derive(Debug, Clone, Default)]
pub struct TraceMemory {
    held: Vec<Arc<AnswerMemory>>,
}

impl TraceMemory {
    /// Bytes that are counted.
    pub fn bytes(&self) -> u64 {
        self.held.iter().map(|held| held.bytes()).sum()
    }

    /// With this many bytes more. A trace that is larger than the limit passes alone. Errors: [`Error::TooManyBytes`].
    pub async fn and(mut self, memory: &Arc<Bodies>, bytes: u64) -> Result<Self> {
        if let Some(own) = self.held.last_mut().and_then(Arc::get_mut) {
            own.add(bytes).await.map_err(|NoRoom| Error::TooManyBytes)?;
            return Ok(self);
        }
        let mut more = AnswerMemory::of(memory);
        more.add(bytes).await.map_err(|NoRoom| Error::TooManyBytes)?;
        self.held.push(Arc::new(more));
        Ok(self)
    }

    /// With what it takes besides to write a trace of this many bytes down, before it is written. Errors: [`Error::TooManyBytes`].
    pub(crate) async fn and_answer(
        self,
        memory: &Arc<Bodies>,
        bytes: usize,
        encoding: Encoding,
    ) -> Result<Self> {
        let expansion = if encoding == Encoding::Protobuf { 1 } else { JSON_EXPANSION };
        self.and(memory, bytes as u64 * expansion).await
    }
}

impl PartialEq for TraceMemory {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for TraceMemory {}

/// If one place, an ingester or a block, has more spans of a trace than this, a page does not get the trace at once:
/// reading its attributes takes seconds, hundreds of megabytes, and more than the memory for open traces.
pub(crate) const LARGE_SPANS: u64 = 100_000;

/// A trace that is read in slices is read this many bytes at a time, even in a process that sends no messages.
const LOCAL_SLICE_BYTES: u64 = 32 << 20;

/// What is wanted of a large trace.
#[derive(Debug, Clone)]
pub enum Large {
    /// All, as of any other.
    Whole,
    /// All spans, without attributes; events and links as empty messages.
    Heads,
    /// The same of each trace, whether it is large or not: attributes are most of what is read.
    HeadsOfAny,
    /// Spans with these ids.
    Spans(Vec<SpanId>),
    /// All spans, with what this TraceQL query reads of them.
    ReadBy(String),
}

impl Frontend {
    /// Finds a trace of these tenants; of a large one what is said. A trace above the limit is refused or cut.
    pub async fn find_part(
        &self,
        tenants: &[TenantId],
        id: TraceId,
        query: TraceQuery,
        limits: (WhenTooLarge, Large),
    ) -> Result<FoundTrace> {
        let inspected = |found: &FoundTrace| found.facts.inspected_bytes;
        let run = async {
            let _admitted = self.admit(tenants)?;
            self.find_admitted(tenants, id, query, limits).await
        };
        self.counted(tenants, TRACES, Asked::new(id.to_hex()), run, inspected).await
    }

    /// Finds a trace for a query that is let in already.
    pub(crate) async fn find_admitted(
        &self,
        tenants: &[TenantId],
        id: TraceId,
        query: TraceQuery,
        (when_too_large, large): (WhenTooLarge, Large),
    ) -> Result<FoundTrace> {
        let max_part_bytes = match large {
            Large::Whole => 0,
            _ => self.settings.max_part_bytes,
        };
        let mut slices = Slices::new(self, tenants, id, query, large, max_part_bytes);
        let mut all = Parts::new(&self.memory, SpanSlice::WHOLE);
        while let Some((_, parts)) = slices.next().await? {
            all = all.and(parts);
        }
        self.combined(tenants, all, query, when_too_large).await
    }

    async fn combined(
        &self,
        tenants: &[TenantId],
        all: Parts,
        query: TraceQuery,
        when_too_large: WhenTooLarge,
    ) -> Result<FoundTrace> {
        let max_bytes = self.limits_of(tenants).max_bytes_per_trace;
        let limit = Limit { max_bytes, before: 0, when_too_large };
        let is_long = all.bytes() > INLINE_BYTES;
        offload(is_long, move || combine(all, limit, query.shared_ids)).await?
    }

    /// A trace in slices, each with what this TraceQL query reads of its spans.
    pub(crate) fn slices_read_by<'f>(
        &'f self,
        tenants: &'f [TenantId],
        id: TraceId,
        query: &str,
    ) -> Slices<'f> {
        let max_bytes = self.slice_bytes(LOCAL_SLICE_BYTES);
        let large = Large::ReadBy(query.to_owned());
        Slices::new(self, tenants, id, TraceQuery::default(), large, max_bytes)
    }

    /// The most bytes of a slice that is to have no more than these.
    fn slice_bytes(&self, most: u64) -> u64 {
        match self.settings.max_part_bytes {
            0 => most,
            limit => limit.min(most),
        }
    }
}

/// A stored trace that cannot be read.
pub(crate) fn malformed(error: impl std::fmt::Display) -> Error {
    Error::Internal(format!("malformed trace: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tactus_work::memory::Budget;

    #[tokio::test(start_paused = true)]
    async fn answer_counts_before_it_is_written_and_a_large_trace_passes_alone() {
        let all = Budget::new(1_000_000);
        let bodies = Bodies::within(&all);
        let trace = TraceMemory::default().and(&bodies, 400_000).await.unwrap();
        let other = TraceMemory::default().and(&bodies, 500_000).await.unwrap();
        let written = TraceMemory::default().and(&bodies, 400_000).await;
        assert_eq!(written.unwrap_err(), Error::TooManyBytes);
        assert_eq!(trace.clone().and(&bodies, 400_000).await.unwrap_err(), Error::TooManyBytes);
        drop(other);
        let written = TraceMemory::default().and(&bodies, 400_000).await.unwrap();
        assert_eq!(all.used(), 800_000);
        drop(written);
        let alone = trace.and(&bodies, 900_000).await.unwrap();
        assert_eq!(all.used(), 1_300_000);
        drop(alone);
        assert_eq!(all.used(), 0);
    }
}
