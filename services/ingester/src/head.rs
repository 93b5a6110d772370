//! Live spans of one tenant: what arrived since the last cut.

use std::{
    hash::BuildHasher,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use hashbrown::HashTable;
use parking_lot::Mutex;
use tactus_model::{AppendError, BatchBuilder, BuilderLimits, SpanBatch, TraceId};
use tactus_proto::tactus::v1::{PushRequest, SpanRun};

use crate::settings::Limits;

/// Builders that pushes of one tenant spread over, so that they seldom wait for each other.
const SHARDS: usize = 4;

/// The live spans of a tenant within one generation.
///
/// Closed chunks are immutable and read without a lock; at most [`SHARDS`] small builders are still growing.
#[derive(Debug)]
pub(crate) struct Head {
    shards: Vec<Mutex<BatchBuilder>>,
    chunks: Mutex<Vec<Arc<SpanBatch>>>,
    live: Mutex<LiveTraces>,
    limits: Limits,
    chunk_spans: usize,
    /// Bytes of closed chunks plus the last known size of each builder.
    chunk_bytes: AtomicUsize,
    shard_bytes: Vec<AtomicUsize>,
}

/// Spans that a push left out.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) too_large: u64,
    pub(crate) too_many_traces: u64,
    pub(crate) too_deep: u64,
}

/// What an accepted push did.
#[derive(Debug, Default)]
pub(crate) struct Appended {
    pub(crate) spans: u64,
    pub(crate) refused: Refused,
    /// Positions of the refused spans in the push, ascending.
    pub(crate) refused_spans: Vec<u32>,
    pub(crate) truncated_attributes: u64,
}

impl Head {
    pub(crate) fn new(limits: Limits, chunk_spans: usize) -> Self {
        let builder = || {
            Mutex::new(BatchBuilder::new(BuilderLimits {
                max_attribute_bytes: limits.max_attribute_bytes,
            }))
        };
        Self {
            shards: (0..SHARDS).map(|_| builder()).collect(),
            chunks: Mutex::default(),
            live: Mutex::default(),
            limits,
            chunk_spans,
            chunk_bytes: AtomicUsize::new(0),
            shard_bytes: (0..SHARDS).map(|_| AtomicUsize::new(0)).collect(),
        }
    }

    /// Appends a push within the tenant's limits; all of it or, if it is malformed or `commit` fails, nothing.
    pub(crate) fn append<E: From<AppendError>>(
        &self,
        push: &PushRequest,
        commit: impl FnOnce(&Appended) -> Result<(), E>,
    ) -> Result<Appended, E> {
        let (index, mut builder) = self.pick();
        let mark = builder.mark();
        let truncated = builder.truncated_attributes();
        let before = builder.len();
        let mut appended = Appended::default();
        if let Err(error) = self.append_runs(&mut builder, push, &mut appended) {
            builder.rollback(mark);
            return Err(error.into());
        }
        appended.spans = (builder.len() - before) as u64;
        appended.truncated_attributes = builder.truncated_attributes() - truncated;
        if let Err(error) = commit(&appended) {
            builder.rollback(mark);
            return Err(error);
        }
        if builder.len() >= self.chunk_spans {
            self.close_chunk(&mut builder);
        }
        self.shard_bytes[index].store(builder.heap_bytes(), Ordering::Relaxed);
        Ok(appended)
    }

    /// Appends a push from the log, without the spans that were refused when it came in.
    pub(crate) fn append_replayed(
        &self,
        push: &PushRequest,
        refused: &[u32],
    ) -> Result<(), AppendError> {
        let (_, mut builder) = self.pick();
        let mark = builder.mark();
        let mut position = 0;
        for run in &push.runs {
            let result = append_run(&mut builder, push, run, |_, _| {
                position += 1;
                refused.binary_search(&(position - 1)).is_err()
            });
            if let Err(error) = result {
                builder.rollback(mark);
                return Err(error);
            }
        }
        if builder.len() >= self.chunk_spans {
            self.close_chunk(&mut builder);
        }
        Ok(())
    }

    fn append_runs(
        &self,
        builder: &mut BatchBuilder,
        push: &PushRequest,
        appended: &mut Appended,
    ) -> Result<(), AppendError> {
        let enforce = self.limits.max_live_traces > 0 || self.limits.max_bytes_per_trace > 0;
        let mut live = enforce.then(|| self.live.lock());
        let mut position = 0;
        for run in &push.runs {
            appended.refused.too_deep += append_run(builder, push, run, |trace, bytes| {
                let Some(live) = live.as_mut() else { return true };
                position += 1;
                match live.admit(trace, bytes as u64, self.limits) {
                    Verdict::Admitted => return true,
                    Verdict::TooLarge => appended.refused.too_large += 1,
                    Verdict::TooMany => appended.refused.too_many_traces += 1,
                }
                appended.refused_spans.push(position - 1);
                false
            })?;
        }
        Ok(())
    }

    fn pick(&self) -> (usize, parking_lot::MutexGuard<'_, BatchBuilder>) {
        for (index, shard) in self.shards.iter().enumerate() {
            if let Some(builder) = shard.try_lock() {
                return (index, builder);
            }
        }
        (0, self.shards[0].lock())
    }

    fn close_chunk(&self, builder: &mut BatchBuilder) {
        let limits = BuilderLimits { max_attribute_bytes: self.limits.max_attribute_bytes };
        let full = std::mem::replace(builder, BatchBuilder::new(limits)).finish();
        self.chunk_bytes.fetch_add(full.heap_bytes(), Ordering::Relaxed);
        self.chunks.lock().push(Arc::new(full));
    }

    /// Closes all builders. Pushes must have stopped.
    pub(crate) fn close(&self) {
        for (shard, bytes) in self.shards.iter().zip(&self.shard_bytes) {
            let mut builder = shard.lock();
            if !builder.is_empty() {
                self.close_chunk(&mut builder);
            }
            bytes.store(0, Ordering::Relaxed);
        }
    }

    /// All closed chunks.
    pub(crate) fn chunks(&self) -> Vec<Arc<SpanBatch>> {
        self.chunks.lock().clone()
    }

    /// Shows every batch to `read`: first those still growing, each under its lock, then the closed ones.
    ///
    /// In this order a chunk that is closed meanwhile may be shown twice, but never not at all.
    pub(crate) fn for_each(&self, mut read: impl FnMut(&SpanBatch)) {
        for shard in &self.shards {
            let mut builder = shard.lock();
            if !builder.is_empty() {
                builder.with_batch(&mut read);
            }
        }
        for chunk in self.chunks() {
            read(&chunk);
        }
    }

    /// Bytes held in memory.
    pub(crate) fn heap_bytes(&self) -> usize {
        let shards = self.shard_bytes.iter().map(|bytes| bytes.load(Ordering::Relaxed));
        self.chunk_bytes.load(Ordering::Relaxed) + shards.sum::<usize>()
    }

    /// Traces seen since the last cut, as far as limits made it count them.
    pub(crate) fn live_traces(&self) -> usize {
        self.live.lock().traces.len()
    }

    /// Carries the sizes of traces that come near the limit into the next generation, so that cutting does not
    /// reset them.
    pub(crate) fn inherit(&self, previous: &Head) {
        let threshold = self.limits.max_bytes_per_trace / 8;
        if threshold == 0 {
            return;
        }
        let previous = previous.live.lock();
        let mut live = self.live.lock();
        for trace in previous.traces.iter().filter(|trace| trace.bytes >= threshold) {
            live.inherited.push((trace.id, trace.bytes));
        }
    }
}

fn append_run(
    builder: &mut BatchBuilder,
    push: &PushRequest,
    run: &SpanRun,
    admit: impl FnMut(TraceId, usize) -> bool,
) -> Result<u64, AppendError> {
    let resource = push.resources.get(run.resource as usize).map_or(&b""[..], |bytes| bytes);
    let scope = push.scopes.get(run.scope as usize).map_or(&b""[..], |bytes| bytes);
    let (resource, scope) = (builder.resource(resource)?, builder.scope(scope)?);
    builder.append_scope_spans(resource, scope, &run.scope_spans, admit)
}

enum Verdict {
    Admitted,
    TooLarge,
    TooMany,
}

/// Traces of the current generation and their sizes.
#[derive(Debug, Default)]
struct LiveTraces {
    traces: Vec<LiveTrace>,
    index: HashTable<u32>,
    hasher: foldhash::fast::RandomState,
    last: usize,
    /// Sizes that large traces bring along from the generation before.
    inherited: Vec<(TraceId, u64)>,
}

#[derive(Debug)]
struct LiveTrace {
    id: TraceId,
    bytes: u64,
}

impl LiveTraces {
    fn admit(&mut self, id: TraceId, bytes: u64, limits: Limits) -> Verdict {
        let known = self.traces.get(self.last).is_some_and(|trace| trace.id == id);
        if !known {
            let hash = self.hasher.hash_one(id.0);
            let traces = &self.traces;
            match self.index.find(hash, |&row| traces[row as usize].id == id) {
                Some(&row) => self.last = row as usize,
                None => {
                    let limit = limits.max_live_traces;
                    if limit > 0 && self.traces.len() >= limit {
                        return Verdict::TooMany;
                    }
                    self.insert(id, hash);
                }
            }
        }
        let trace = &mut self.traces[self.last];
        let limit = limits.max_bytes_per_trace;
        if limit > 0 && trace.bytes + bytes > limit {
            return Verdict::TooLarge;
        }
        trace.bytes += bytes;
        Verdict::Admitted
    }

    fn insert(&mut self, id: TraceId, hash: u64) {
        self.last = self.traces.len();
        let inherited = self.inherited.iter().find(|(other, _)| *other == id);
        self.traces.push(LiveTrace { id, bytes: inherited.map_or(0, |(_, bytes)| *bytes) });
        let (traces, hasher) = (&self.traces, &self.hasher);
        self.index.insert_unique(hash, self.last as u32, |&row| {
            hasher.hash_one(traces[row as usize].id.0)
        });
    }
}
