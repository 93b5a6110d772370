//! Live spans of one tenant: those that arrived since the last cut.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use parking_lot::{Mutex, MutexGuard};
use tactus_model::{
    AppendError, BatchBuilder, BuilderLimits, CutTraces, Mark, OriginSet, SpanBatch, TraceId,
};
use tactus_proto::tactus::v1::PushRequest;

use crate::{
    large_traces::Inherited,
    live_traces::{LiveTraces, Verdict},
    origins::HeldOrigins,
    settings::Limits,
};

mod append;
mod shard;

use append::messages_of;
pub(crate) use append::{Appended, append_replayed};
use shard::{Shard, State};

/// The pushes of one tenant are spread over this many builders, so that they rarely wait for each other.
const SHARDS: usize = 4;
const SHARD_BYTES: usize = size_of::<Shard>() + size_of::<AtomicUsize>();
/// Estimated memory for a tenant's first push besides its bytes: the columns of a batch, each with few values.
pub(crate) const NEW_HEAD_BYTES: usize = size_of::<Head>() + size_of::<BatchBuilder>() + 6_000;
/// Readers copy a growing builder of at most this many spans. A larger one is closed instead, and shared.
const MAX_COPIED_SPANS: usize = 1024;

/// The live spans of a tenant in one generation.
///
/// Closed chunks are immutable and are read without a lock. At most [`SHARDS`] small builders are still growing.
#[derive(Debug)]
pub(crate) struct Head {
    shards: Vec<Shard>,
    chunks: Mutex<Vec<Arc<SpanBatch>>>,
    live: LiveTraces,
    limits: Limits,
    chunk_spans: usize,
    /// Bytes of closed chunks, plus the size of each builder when it was last measured.
    chunk_bytes: AtomicUsize,
    shard_bytes: Vec<AtomicUsize>,
    /// Origins of which spans were refused.
    incomplete: Mutex<OriginSet>,
    /// Traces that lack spans, which were refused because the trace was too large.
    cut_traces: Mutex<CutTraces>,
}

/// The spans of a head at one moment.
#[derive(Debug)]
pub(crate) struct HeadSnapshot {
    pub(crate) batches: Vec<Arc<SpanBatch>>,
    /// Origins of which spans were refused.
    incomplete: OriginSet,
}

impl HeadSnapshot {
    /// The origins of all spans.
    pub(crate) fn origins(&self) -> HeldOrigins {
        HeldOrigins::of(self.batches.iter().map(|batch| &**batch), &self.incomplete)
    }
}

impl Head {
    /// An empty head. `inherited` are sizes of traces from earlier generations.
    pub(crate) fn new(limits: Limits, chunk_spans: usize, inherited: Inherited) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            chunks: Mutex::default(),
            live: LiveTraces::new(limits, inherited),
            limits,
            chunk_spans,
            chunk_bytes: AtomicUsize::new(0),
            shard_bytes: (0..SHARDS).map(|_| AtomicUsize::new(0)).collect(),
            incomplete: Mutex::default(),
            cut_traces: Mutex::default(),
        }
    }

    /// Appends a push within the tenant's limits. If the push is malformed, or `commit` fails, nothing of it is
    /// appended.
    ///
    /// `commit` makes the push durable; nothing that readers need is locked meanwhile. It is not called for a push that
    /// changes nothing. A push whose spans all belong to traces that are too large does change something if it is the
    /// first such push, because a restart must also know that the traces were cut.
    pub(crate) fn append<E: From<AppendError>>(
        &self,
        push: &PushRequest,
        commit: impl FnOnce(&Appended) -> Result<(), E>,
    ) -> Result<Appended, E> {
        let (index, mut state) = self.pick();
        let builder = state.builder.get_or_insert_with(|| self.new_builder());
        let mut admitted = Vec::new();
        let mut result = self.append_runs(builder, push, &mut admitted);
        if matches!(result, Err(AppendError::Full)) && !builder.is_empty() {
            // The chunk is full, not the head. A new chunk takes the push.
            self.live.undo(&admitted);
            admitted.clear();
            self.close_chunk(builder);
            result = self.append_runs(builder, push, &mut admitted);
        }
        let (mark, mut appended) = result.inspect_err(|_| {
            self.live.undo(&admitted);
            self.grown(index, builder);
        })?;
        appended.cuts_anew = self.cuts_anew(&appended.cut_traces);
        if appended.spans == 0 {
            builder.rollback(mark);
            if !appended.cuts_anew {
                self.note(&appended);
                self.grown(index, builder);
                return Ok(appended);
            }
        }
        let uncommitted = self.shards[index].begin_commit(state, mark);
        let committed = commit(&appended);
        match &committed {
            // Before anybody sees the spans.
            Ok(()) => self.note(&appended),
            Err(_) => self.live.undo(&admitted),
        }
        let mut state = uncommitted.end(committed.is_ok());
        if let Some(builder) = &mut state.builder {
            self.grown(index, builder);
        }
        committed.map(|()| appended)
    }

    /// Appends a push from the log, without the spans that were refused when it came in and those with known origins.
    /// Returns the origins of the others.
    pub(crate) fn append_replayed(
        &self,
        push: &PushRequest,
        refused: &[u32],
        is_known: impl Fn(u64) -> bool,
    ) -> Result<Vec<u64>, AppendError> {
        let (_, mut state) = self.pick();
        let builder = state.builder.get_or_insert_with(|| self.new_builder());
        let mut result = append_replayed(builder, push, refused, &is_known);
        if matches!(result, Err(AppendError::Full)) && !builder.is_empty() {
            self.close_chunk(builder);
            result = append_replayed(builder, push, refused, &is_known);
        }
        if let Ok(appended) = &result {
            self.note(appended);
        }
        if builder.len() >= self.chunk_spans {
            self.close_chunk(builder);
        }
        result.map(|appended| appended.origins)
    }

    /// Appends all runs of a push, or none. The mark is the state of the builder before.
    fn append_runs(
        &self,
        builder: &mut BatchBuilder,
        push: &PushRequest,
        admitted: &mut Vec<(TraceId, u64)>,
    ) -> Result<(Mark, Appended), AppendError> {
        let mark = builder.mark();
        let truncated = builder.truncated_attributes();
        let before = builder.len();
        let mut appended = Appended::default();
        let runs: Vec<_> = push.runs.iter().map(|run| messages_of(push, run)).collect();
        // Of each run: whether spans of it were stored, and refused.
        let mut outcomes = vec![(false, false); runs.len()];
        let result = builder.append_by_trace(&runs, |span| {
            let (has_stored, has_refused) = &mut outcomes[span.run];
            let (trace, bytes) = (span.trace, span.bytes as u64);
            match self.live.admit(trace, bytes) {
                Verdict::Admitted => {
                    *has_stored = true;
                    match admitted.last_mut() {
                        Some((last, sum)) if *last == trace => *sum += bytes,
                        _ => admitted.push((trace, bytes)),
                    }
                    return true;
                }
                Verdict::TooLarge => {
                    appended.refused.too_large += 1;
                    appended.cut_traces.add(trace, 1);
                }
                Verdict::TooMany => {
                    appended.refused.too_many_traces += 1;
                    appended.refused_spans.push(span.place);
                }
            }
            *has_refused = true;
            appended.refused_spans.push(span.place);
            false
        });
        let left_out = result.inspect_err(|_| builder.rollback(mark))?;
        for (run, (has_stored, has_refused)) in runs.iter().zip(outcomes) {
            appended.note_origin(run.origin, has_stored, has_refused);
        }
        // A replay counts the spans that it may refuse, in the order of the push.
        appended.refused_spans.sort_unstable();
        let places = appended.refused_spans.iter_mut();
        places.for_each(|place| *place = left_out.position(*place));
        appended.refused.too_deep = left_out.too_deep;
        appended.refused.bad_ids = builder.take_refused_ids();
        appended.too_deep_key = builder.take_too_deep_key();
        appended.spans = (builder.len() - before) as u64;
        appended.truncated_attributes = builder.truncated_attributes() - truncated;
        Ok((mark, appended))
    }

    fn new_builder(&self) -> Box<BatchBuilder> {
        let limits = BuilderLimits { max_attribute_bytes: self.limits.max_attribute_bytes };
        Box::new(BatchBuilder::new(limits))
    }

    fn pick(&self) -> (usize, MutexGuard<'_, State>) {
        for (index, shard) in self.shards.iter().enumerate() {
            if let Some(state) = shard.try_enter() {
                return (index, state);
            }
        }
        (0, self.shards[0].enter())
    }

    /// Closes a builder that is large enough, and records its size.
    fn grown(&self, index: usize, builder: &mut BatchBuilder) {
        if builder.len() >= self.chunk_spans {
            self.close_chunk(builder);
        }
        self.shard_bytes[index].store(builder_bytes(builder), Ordering::Relaxed);
    }

    fn close_chunk(&self, builder: &mut BatchBuilder) {
        self.add_chunk(builder.finish_and_go_on());
    }

    fn add_chunk(&self, full: SpanBatch) {
        self.chunk_bytes.fetch_add(full.heap_bytes(), Ordering::Relaxed);
        self.chunks.lock().push(Arc::new(full));
    }

    /// Closes all builders. Pushes must have stopped.
    pub(crate) fn close(&self) {
        for (shard, bytes) in self.shards.iter().zip(&self.shard_bytes) {
            if let Some(builder) = shard.enter().builder.take()
                && !builder.is_empty()
            {
                self.add_chunk(builder.finish());
            }
            bytes.store(0, Ordering::Relaxed);
        }
    }

    /// All closed chunks.
    pub(crate) fn chunks(&self) -> Vec<Arc<SpanBatch>> {
        self.chunks.lock().clone()
    }

    /// All spans, for a reader that may take long. A push never waits for more than a small copy.
    ///
    /// A large builder is closed and shared, a small one is copied. So many readers do not create many chunks, and a
    /// reader does not copy much. If a push is being made durable in the builder, the state before it is copied. A
    /// chunk that is closed meanwhile may be in the result twice, but is never missing.
    pub(crate) fn snapshot(&self) -> HeadSnapshot {
        let mut batches = Vec::new();
        for (shard, bytes) in self.shards.iter().zip(&self.shard_bytes) {
            let mut state = shard.read(MAX_COPIED_SPANS);
            let State { builder: Some(builder), committing } = &mut *state else { continue };
            if let Some(mark) = *committing {
                let durable = builder.copy_before(mark);
                if !durable.is_empty() {
                    batches.push(Arc::new(durable));
                }
            } else if builder.len() > MAX_COPIED_SPANS {
                self.close_chunk(builder);
                bytes.store(builder_bytes(builder), Ordering::Relaxed);
            } else if !builder.is_empty() {
                batches.push(Arc::new(builder.with_batch(SpanBatch::clone)));
            }
        }
        batches.extend(self.chunks());
        HeadSnapshot { batches, incomplete: self.incomplete.lock().clone() }
    }

    /// Records what a push lost, after the rest of it is stored.
    fn note(&self, appended: &Appended) {
        self.note_incomplete(&appended.incomplete);
        self.note_cut(&appended.cut_traces);
    }

    fn note_incomplete(&self, origins: &[u64]) {
        if !origins.is_empty() {
            let mut incomplete = self.incomplete.lock();
            origins.iter().for_each(|&origin| incomplete.insert(origin));
        }
    }

    /// Origins of which spans were refused.
    pub(crate) fn incomplete(&self) -> OriginSet {
        self.incomplete.lock().clone()
    }

    fn cuts_anew(&self, cut: &CutTraces) -> bool {
        if cut.is_empty() {
            return false;
        }
        let known = self.cut_traces.lock();
        cut.iter().any(|(trace, _)| known.spans(trace) == 0)
    }

    fn note_cut(&self, cut: &CutTraces) {
        if !cut.is_empty() {
            self.cut_traces.lock().add_all(cut);
        }
    }

    /// Traces of which spans were refused because they were too large.
    pub(crate) fn cut_traces(&self) -> CutTraces {
        self.cut_traces.lock().clone()
    }

    /// This many spans of a trace were refused because it was too large.
    pub(crate) fn refused_spans(&self, trace: TraceId) -> u64 {
        self.cut_traces.lock().spans(trace)
    }

    /// Bytes of memory: spans, and the base cost of a head with few spans.
    pub(crate) fn heap_bytes(&self) -> usize {
        let shards = self.shard_bytes.iter().map(|bytes| bytes.load(Ordering::Relaxed));
        let spans = self.chunk_bytes.load(Ordering::Relaxed) + shards.sum::<usize>();
        spans + size_of::<Self>() + SHARDS * SHARD_BYTES + self.live.heap_bytes()
    }

    /// Traces seen since the last cut, as far as they were counted for the limits.
    pub(crate) fn live_traces(&self) -> usize {
        self.live.len()
    }

    /// True if there are at least half as many live traces as the limit allows.
    pub(crate) fn nears_limit_of_traces(&self) -> bool {
        let limit = self.limits.max_live_traces;
        limit > 0 && self.live_traces() * 2 >= limit
    }

    /// Traces that came near the size limit and took spans since the last cut, with their sizes.
    pub(crate) fn large_traces(&self) -> Vec<(TraceId, u64)> {
        self.live.large()
    }
}

fn builder_bytes(builder: &BatchBuilder) -> usize {
    size_of::<BatchBuilder>() + builder.heap_bytes()
}
