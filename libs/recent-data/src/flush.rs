//! Makes segments into blocks and uploads them to object storage.

mod block;
mod run;

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use tactus_model::TenantId;
use tactus_telemetry::{error_text, log_limited, metrics::Gauge, work_span};
use tokio::sync::OwnedMutexGuard;
use tracing::Instrument;

use crate::{
    begun_blocks::{MAX_SEGMENTS, Queue},
    error::Error,
    ingester::Ingester,
    segment::Segment,
    tail_sampling::Due,
};

pub use run::LastFlush;

/// If a tenant has this many segments, they are made into a block whatever its size. No block is made of more, because
/// making it and querying it both read all of them.
const MAX_SEGMENTS_PER_TENANT: usize = 1_000;
/// Divisor: segments may take this fraction of the limit of live spans before all of them are made into blocks.
const SEGMENTS_SHARE: usize = 4;
/// A round of flushes in the background begins no more of them after this time. The next one looks again what is due.
const ROUND: Duration = Duration::from_secs(10);

/// Which segments of a tenant are flushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flush {
    /// Segments that are due by size or age.
    Due,
    /// All.
    All,
    /// All, even during the pause after a failure.
    AllAtOnce,
}

/// A block that counts in `tempo_ingester_flush_queue_length` until this is dropped.
struct Queued<'a>(&'a Gauge);

impl<'a> Queued<'a> {
    fn new(length: &'a Gauge) -> Self {
        length.inc();
        Self(length)
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Ingester {
    /// True if the disk is so full that segments should become blocks.
    pub(crate) async fn is_disk_low(self: &Arc<Self>) -> bool {
        let ingester = Arc::clone(self);
        let room = tokio::task::spawn_blocking(move || ingester.measure_disk()).await;
        if self.disk.found_no_room() {
            return true;
        }
        let Ok(Some(room)) = room else { return false };
        // Many small blocks are not worth it if they do not help, because other files may have filled the disk.
        room.is_full() || (room.is_low() && self.segment_cache.file_bytes() >= room.kept / 4)
    }

    /// Uploads everything received so far to object storage, and returns when it is there.
    ///
    /// Runs to its end even if the caller stops waiting.
    ///
    /// Errors: some of it is not there, perhaps because it cannot be read at the moment.
    pub async fn flush_all(self: &Arc<Self>) -> Result<(), Error> {
        self.flush(None).await
    }

    /// As [`Self::flush_all`], for one tenant.
    pub async fn flush_one(self: &Arc<Self>, tenant: &TenantId) -> Result<(), Error> {
        self.flush(Some(tenant.clone())).await
    }

    async fn flush(self: &Arc<Self>, tenant: Option<TenantId>) -> Result<(), Error> {
        let ingester = Arc::clone(self);
        let flush = tokio::spawn(async move {
            let (unreadable, tenant) = (&ingester.unreadable, tenant.as_ref());
            // Spans that could not be cut stay in the log. The others need not wait for them.
            let sealed = ingester.seal().await;
            let removed = unreadable.removed();
            let mut flushed = ingester.decide_and_flush(tenant).await;
            // Only now, because a disk may take long to say that it cannot read something.
            if !unreadable.is_empty() {
                let reader = Arc::clone(&ingester);
                tokio::task::spawn_blocking(move || reader.read_again(true)).await?;
            }
            if unreadable.removed() != removed {
                flushed = ingester.decide_and_flush(tenant).await;
            }
            let left_out = unreadable.paths(tenant);
            let read = if left_out.is_empty() { Ok(()) } else { Err(Error::LeftOut(left_out)) };
            sealed.and(flushed).and(read)
        });
        flush.await?
    }

    /// Uploads the segments of a tenant, or of all.
    async fn decide_and_flush(self: &Arc<Self>, tenant: Option<&TenantId>) -> Result<(), Error> {
        let Some(tenant) = tenant else {
            let decided = self.decide(Due::All).await;
            return decided.and(self.flush_each().await.map_or(Ok(()), Err));
        };
        let decided = self.decide_tenant(tenant, Due::All).await;
        let flushed = self.flush_tenant(tenant, Flush::AllAtOnce).await;
        self.refresh_gauges().await;
        decided.and(flushed)
    }

    /// True if the tenant has sent spans since the start, or has spans on local disk.
    pub fn knows(&self, tenant: &TenantId) -> bool {
        self.tenant(tenant).is_some()
    }

    /// Flushes all tenants. Returns the first error; the others are logged.
    async fn flush_each(self: &Arc<Self>) -> Option<Error> {
        self.release_or_log(self.has_too_many().await).await;
        let mut tasks = tokio::task::JoinSet::new();
        let mut first_error = None;
        for (_, id) in self.oldest_first() {
            if tasks.len() >= self.flushes.most_begun {
                note_flushed(tasks.join_next().await, &mut first_error);
            }
            let ingester = Arc::clone(self);
            tasks.spawn(async move { ingester.flush_tenant(&id, Flush::AllAtOnce).await });
        }
        while !tasks.is_empty() {
            note_flushed(tasks.join_next().await, &mut first_error);
        }
        self.refresh_gauges().await;
        first_error
    }

    /// A round in the background: releases what was held long enough, and begins to flush the tenants that are due. Does
    /// not wait until these are flushed, because one may take minutes. Later rounds leave such a tenant out.
    pub(crate) async fn flush_due(self: &Arc<Self>) {
        let until = tokio::time::Instant::now() + ROUND;
        let mut is_idle = !self.flushes.has_ended.swap(false, Ordering::AcqRel);
        let mut too_many = self.has_too_many().await;
        self.release_or_log(too_many).await;
        let waiting = self.oldest_first();
        // Of a tenant that cannot be flushed now, others need not make small blocks: that would free no room.
        let ready = waiting.iter().filter(|(_, id)| self.flushes.is_ready(id));
        let segments = ready.flat_map(|(segments, _)| segments);
        too_many |= self.needs_room_of(segments.map(|segment| segment.bytes()).sum());
        let flush = if too_many { Flush::All } else { Flush::Due };
        for (segments, id) in waiting {
            let due = self.is_block_due(&segments) || (too_many && !segments.is_empty());
            if !due && !self.flushes.has_pending(&id) {
                continue;
            }
            let place = Arc::clone(&self.flushes.places).acquire_owned();
            let Ok(place) = tokio::time::timeout_at(until, place).await else { break };
            let Ok(queue) = self.flushes.queue(&id).try_lock_owned() else { continue };
            is_idle = false;
            let ingester = Arc::clone(self);
            tokio::spawn(async move {
                let flushed = ingester.flush_queue(&id, flush, queue).await;
                note_flushed(Some(Ok(flushed)), &mut None);
                ingester.flushes.has_ended.store(true, Ordering::Release);
                drop(place);
            });
        }
        if !is_idle {
            self.refresh_gauges().await;
        }
    }

    /// True if there is so much that segments should become blocks whatever their age.
    async fn has_too_many(self: &Arc<Self>) -> bool {
        let max_live_bytes = self.settings.ingester.max_live_bytes as usize;
        self.segment_cache.segments() > MAX_SEGMENTS
            || self.segment_cache.heap_bytes() > max_live_bytes / SEGMENTS_SHARE
            || self.is_disk_low().await
    }

    async fn release_or_log(self: &Arc<Self>, no_room: bool) {
        if let Err(error) = self.release_held(no_room).await {
            tracing::error!(
                error = error_text(&error),
                "cannot release segments whose block is in object storage"
            );
        }
    }

    /// All tenants with their unflushed segments. Tenants whose spans have waited the longest come first.
    fn oldest_first(&self) -> Vec<(Vec<Arc<Segment>>, TenantId)> {
        let tenants = self.all_tenants().into_iter();
        let mut waiting: Vec<_> =
            tenants.map(|(id, tenant)| (tenant.unflushed_segments(), id)).collect();
        let oldest = |segments: &[Arc<Segment>]| segments.first().map(|it| it.path().to_owned());
        waiting.sort_by_cached_key(|(segments, _)| oldest(segments));
        waiting
    }

    fn is_block_due(&self, segments: &[Arc<Segment>]) -> bool {
        let bytes: u64 = segments.iter().map(|segment| segment.bytes()).sum();
        let now = Instant::now();
        let age = |segment: &Arc<Segment>| segment.age(now);
        bytes >= self.settings.ingester.max_block_bytes
            || segments.len() > MAX_SEGMENTS_PER_TENANT
            || segments.iter().map(age).max()
                >= Some(self.settings.ingester.max_block_duration.as_std())
    }

    /// Finishes the tenant's blocks in progress, then makes blocks of its segments as `flush` says.
    async fn flush_tenant(self: &Arc<Self>, id: &TenantId, flush: Flush) -> Result<(), Error> {
        let queue = self.flushes.queue(id).lock_owned().await;
        self.flush_queue(id, flush, queue).await
    }

    /// As [`Self::flush_tenant`]. While the queue is locked, nobody else flushes the tenant.
    async fn flush_queue(
        self: &Arc<Self>,
        id: &TenantId,
        flush: Flush,
        mut queue: OwnedMutexGuard<Queue>,
    ) -> Result<(), Error> {
        let is_pausing = queue.not_before.is_some_and(|time| time > Instant::now());
        if is_pausing && flush != Flush::AllAtOnce {
            return Ok(());
        }
        let tenant = self.tenant_or_insert(id);
        let mut rest = tenant.unflushed_segments();
        loop {
            if queue.blocks.is_empty() {
                if rest.is_empty() || (flush == Flush::Due && !self.is_block_due(&rest)) {
                    return Ok(());
                }
                let later = rest.split_off(self.segments_of_a_block(&rest));
                let segments = std::mem::replace(&mut rest, later);
                let (ingester, id) = (Arc::clone(self), id.clone());
                let begin = move || ingester.begin_block(&id, segments);
                let block = tokio::task::spawn_blocking(begin).await;
                let block = block.inspect_err(|_| self.note_failure(&mut queue))?;
                queue.blocks.push_back(block);
            }
            let is_retry = queue.failures > 0;
            let Some(block) = queue.blocks.front_mut() else { return Ok(()) };
            let queued = Queued::new(&self.metrics.flush_queue_length);
            let slot = self.flushes.slots.acquire().await;
            let begun = Instant::now();
            let span = work_span!("flush", tenant = id.as_str(), block = %block.id);
            let result = self.write_block(id, block).instrument(span.clone()).await;
            if result.is_err() {
                span.record("otel.status_code", "ERROR");
            }
            drop((slot, queued));
            self.metrics.flush_duration.observe_duration(begun.elapsed());
            if is_retry {
                self.metrics.flush_retries.inc();
            }
            let stored = result.inspect_err(|_| self.note_failure(&mut queue))?;
            if let Some(meta) = stored {
                // Only this tenant's segments wait until readers know the block.
                self.written.tell(meta).await;
            }
            (queue.failures, queue.not_before) = (0, None);
            let Some(block) = queue.blocks.pop_front() else { return Ok(()) };
            rest.retain(|segment| !block.segments.iter().any(|gone| Arc::ptr_eq(gone, segment)));
            self.finish_block(id, block).await?;
        }
    }

    /// Counts a failed attempt, after which the tenant's next one waits for a while.
    fn note_failure(&self, queue: &mut Queue) {
        if queue.failures > 0 {
            self.metrics.flush_failed_retries.inc();
        }
        queue.not_before = Some(Instant::now() + self.settings.pause_after(queue.failures));
        queue.failures += 1;
        self.metrics.failed_flushes.inc();
    }

    /// How many of the oldest segments make a block of at most `max_block_bytes`; at least one.
    fn segments_of_a_block(&self, segments: &[Arc<Segment>]) -> usize {
        let mut bytes = 0;
        let fitting = segments.iter().take(MAX_SEGMENTS_PER_TENANT).take_while(|segment| {
            bytes += segment.bytes();
            bytes <= self.settings.ingester.max_block_bytes
        });
        fitting.count().max(1)
    }
}

/// Records how the flush of a tenant ended, and logs an error.
fn note_flushed(
    result: Option<Result<Result<(), Error>, tokio::task::JoinError>>,
    first_error: &mut Option<Error>,
) {
    let Some(result) = result else { return };
    if let Err(error) = result.map_err(Error::from).and_then(|flushed| flushed) {
        log_limited!(error, error = error_text(&error), "cannot flush a block");
        first_error.get_or_insert(error);
    }
}
