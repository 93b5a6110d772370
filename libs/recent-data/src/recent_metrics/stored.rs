//! Finds spans that are both here and in a block, because a client sent them again.
//!
//! The query names the time ranges of its blocks. If a span that is counted here starts within one of them, it may be
//! in that block, so the answer names the span. There are few such spans: blocks end where recent data begins, and
//! blocks that were made of spans that are still here do not matter. If some of the spans are in blocks, the query is
//! asked again with a list of these, and they are not counted.

use std::collections::{HashMap, HashSet};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tactus_model::{SpanBatch, TraceId, span_hash};
use tactus_proto::tactus::v1::{BlockTime, MetricsRequest, TraceSpans};
use tactus_storage::Uuid;
use tactus_traceql::{
    eval::Bitmap,
    metrics::{CompiledMetrics, MetricsCollector, MetricsError},
};
use tactus_work::is_over;

use crate::{
    recent_view::{Place, RecentView},
    share::{Part, Share},
};

/// Limits on the traces that an answer names, and on their spans. Spans beyond them are not looked up in blocks.
const MAX_SHARED_TRACES: usize = 20_000;
const MAX_SHARED_SPANS: usize = 200_000;

/// A request that contradicts itself.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct MalformedStored;

/// The blocks of a query.
#[derive(Debug, Default)]
pub(crate) struct Stored {
    /// First and last nanosecond of each range, and the block if an ingester made it.
    times: Vec<(u64, u64, Option<Uuid>)>,
    /// For each trace, hashes of its spans that are in blocks.
    spans: HashMap<TraceId, HashSet<u64>>,
    /// How many nanoseconds a span may start before or after it is cut. The time range of a block replaces other times
    /// by that of the cut. 0: any.
    slack: u64,
}

/// Counted spans that may be in blocks as well.
#[derive(Debug, Default)]
pub(crate) struct SharedTraces {
    hashes: HashMap<TraceId, HashSet<u64>>,
    spans: usize,
    /// The earliest and the latest start of these spans.
    pub(crate) starts: (u64, u64),
}

/// The times with which spans are compared.
#[derive(Debug)]
struct Times {
    /// First and last nanosecond, both inclusive, ascending, without overlaps.
    of_blocks: Vec<(u64, u64)>,
    /// The time range of the query: after the first, up to and including the second.
    grid: (u64, u64),
}

impl Stored {
    pub(crate) fn of(request: &MetricsRequest, slack: u64) -> Result<Self, MalformedStored> {
        let time = |it: &BlockTime| {
            let block = (!it.block_id.is_empty()).then(|| Uuid::from_slice(&it.block_id));
            Some((it.first_nanos, it.last_nanos, block.transpose().ok()?))
        };
        let times: Option<Vec<_>> = request.block_times.iter().map(time).collect();
        let times = times.ok_or(MalformedStored)?;
        let mut spans: HashMap<TraceId, HashSet<u64>> = HashMap::new();
        for trace in &request.stored_traces {
            let id = <[u8; 16]>::try_from(&*trace.trace_id).map_err(|_| MalformedStored)?;
            spans.entry(TraceId(id)).or_default().extend(&trace.spans);
        }
        Ok(Self { times, spans, slack })
    }

    /// Counts those of `rows` (`None`: all) that no block has.
    pub(crate) fn observe(
        &self,
        collector: &mut MetricsCollector,
        query: &CompiledMetrics,
        batch: &SpanBatch,
        rows: Option<&Bitmap>,
    ) -> Result<(), MetricsError> {
        let of_trace: Vec<_> = match self.spans.is_empty() {
            true => Vec::new(),
            false => batch.traces.ids.iter().map(|id| self.spans.get(id)).collect(),
        };
        if of_trace.iter().all(Option::is_none) {
            return collector.observe(query, batch, rows);
        }
        let left = Bitmap::from_fn(batch.len(), |row| {
            let stored = of_trace[batch.spans.trace[row] as usize];
            rows.is_none_or(|rows| rows.contains(row))
                && !stored.is_some_and(|it| it.contains(&span_hash(&batch.span_identity(row))))
        });
        collector.observe(query, batch, Some(&left))
    }

    /// The counted spans that may be in blocks, too.
    pub(crate) fn shared(
        &self,
        query: &CompiledMetrics,
        view: &RecentView,
        share: Option<&Share>,
    ) -> SharedTraces {
        let mut shared = SharedTraces { starts: (u64::MAX, 0), ..SharedTraces::default() };
        let counted: HashSet<Uuid> = view.segments.iter().filter_map(|it| it.block()).collect();
        let times = self.times(&counted, (query.grid().start(), query.grid().end()));
        if times.of_blocks.is_empty() {
            return shared;
        }
        view.for_each_batch(|place, batch| {
            if is_over() {
                return;
            }
            let segment = match place {
                Place::Head => None,
                Place::Segment(number) => view.segments.get(number),
            };
            let cut = segment.map_or_else(SystemTime::now, |segment| segment.written());
            let usual = self.usual(cut);
            let may_be_stored = |row: usize| {
                let origin = batch.spans.origin.get(row).copied().unwrap_or(0);
                share.is_some_and(|share| share.may_be_stored(origin))
            };
            let has_thinned = share.is_some_and(|share| share.has_thinned_in_blocks());
            if !has_thinned && segment.is_some_and(|it| !times.touch(it.starts(), usual)) {
                return;
            }
            let part = match (share, segment) {
                (None, _) => Part::All,
                (Some(share), None) => share.of_batch(batch),
                (Some(share), Some(segment)) => share.of_segment(segment, batch),
            };
            if part == Part::None {
                return;
            }
            for (row, &start) in batch.spans.start.iter().enumerate() {
                let touches = times.touch((start, start), usual);
                if (touches || has_thinned && may_be_stored(row)) && part.contains(row) {
                    shared.add(batch, row, usual);
                }
            }
        });
        shared
    }

    /// The times of all blocks but `counted` ones.
    fn times(&self, counted: &HashSet<Uuid>, grid: (u64, u64)) -> Times {
        let is_other = |block: &Option<Uuid>| block.is_none_or(|block| !counted.contains(&block));
        let others = self.times.iter().filter(|(_, _, block)| is_other(block));
        let mut of_blocks: Vec<_> = others.map(|&(first, last, _)| (first, last)).collect();
        of_blocks.sort_unstable();
        of_blocks.dedup_by(|next, known| {
            let touches = next.0 <= known.1;
            if touches {
                known.1 = known.1.max(next.1);
            }
            touches
        });
        Times { of_blocks, grid }
    }

    /// A span that starts outside of this range may be in a block of any time.
    fn usual(&self, cut: SystemTime) -> (u64, u64) {
        let nanos = cut.duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos());
        let nanos = u64::try_from(nanos).unwrap_or(u64::MAX);
        match self.slack {
            0 => (0, u64::MAX),
            slack => (nanos.saturating_sub(slack), nanos.saturating_add(slack)),
        }
    }
}

impl Times {
    /// True if a span that starts within the first range may be part of the query and in a block.
    fn touch(&self, (first, last): (u64, u64), usual: (u64, u64)) -> bool {
        if last <= self.grid.0 || first > self.grid.1 {
            return false;
        }
        let after = self.of_blocks.partition_point(|&(_, end)| end < first);
        first < usual.0
            || last > usual.1
            || self.of_blocks.get(after).is_some_and(|&(start, _)| start <= last)
    }
}

impl SharedTraces {
    fn add(&mut self, batch: &SpanBatch, row: usize, usual: (u64, u64)) {
        let trace = batch.traces.ids[batch.spans.trace[row] as usize];
        let has_room = self.hashes.len() < MAX_SHARED_TRACES || self.hashes.contains_key(&trace);
        if !has_room || self.spans >= MAX_SHARED_SPANS {
            return;
        }
        let identity = batch.span_identity(row);
        if self.hashes.entry(trace).or_default().insert(span_hash(&identity)) {
            self.spans += 1;
        }
        let start = identity.start;
        let is_unusual = start < usual.0 || start > usual.1;
        let (first, last) = if is_unusual { (0, u64::MAX) } else { (start, start) };
        self.starts = (self.starts.0.min(first), self.starts.1.max(last));
    }

    /// The traces as messages of the answer.
    pub(crate) fn into_messages(self) -> Vec<TraceSpans> {
        let message = |(trace, spans): (TraceId, HashSet<u64>)| TraceSpans {
            trace_id: Bytes::copy_from_slice(&trace.0),
            spans: spans.into_iter().collect(),
        };
        self.hashes.into_iter().map(message).collect()
    }
}

#[cfg(test)]
mod tests;
