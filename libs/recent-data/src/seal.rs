//! Cuts live spans into segments.

use std::{
    fs,
    path::Path,
    sync::{Arc, atomic::Ordering},
};

use tactus_allocator::for_ingest;
use tactus_model::{CutTraces, SpanBatch, TenantId, merge::merge};
use tactus_telemetry::error_text;
use tactus_wal::{PartId, PartInfo};

use crate::{
    block_times::{Arrival, block_times},
    directory,
    error::Error,
    generation::{Generation, Sealing, Waiting},
    head::Head,
    ingester::Ingester,
    layout::{CUT_FILE, PartRange, sync_directory},
    origins::HeldOrigins,
    segment::{NewSegment, cut::CutWriter},
};

/// Why a span is stored with a warning, in `tempo_warnings_total`.
const OUTSIDE_SLACK: &str = "outside_ingestion_time_slack";

impl Ingester {
    /// Cuts all live spans into segments, and releases their log parts.
    ///
    /// On an error (a full disk) the spans stay live and in the log, and the next call tries again. Runs to its end
    /// even if the caller stops waiting, because a cut that was left half-way would be begun twice.
    pub(crate) async fn seal(self: &Arc<Self>) -> Result<(), Error> {
        let ingester = Arc::clone(self);
        tokio::spawn(async move { ingester.seal_to_the_end().await }).await?
    }

    async fn seal_to_the_end(self: &Arc<Self>) -> Result<(), Error> {
        let mut sealing = Arc::clone(&self.sealing).lock_owned().await;
        let failed_syncs = self.wal.stats().sync_errors;
        let ingester = Arc::clone(self);
        // This waits for pushes, which may wait for the disk.
        let exchange = move || {
            if let Some(waiting) = ingester.exchange_generation(&mut sealing) {
                sealing.waiting.push(waiting);
            }
            sealing
        };
        let mut sealing = tokio::task::spawn_blocking(exchange).await?;
        self.has_waiting_cuts.store(!sealing.waiting.is_empty(), Ordering::Release);
        while let Some(Waiting { generation, parts }) = sealing.waiting.first() {
            let (ingester, generation) = (Arc::clone(self), Arc::clone(generation));
            let parts = parts.clone();
            let write = move || for_ingest(|| ingester.write_generation(&generation, &parts));
            tokio::task::spawn_blocking(write).await??;
            sealing.waiting.remove(0);
        }
        self.has_waiting_cuts.store(false, Ordering::Release);
        self.cut_after_failed_syncs.fetch_max(failed_syncs, Ordering::AcqRel);
        drop(sealing);
        self.refresh_gauges().await;
        Ok(())
    }

    fn exchange_generation(&self, sealing: &mut Sealing) -> Option<Waiting> {
        let mut current = self.current.write();
        if current.heads().is_empty() {
            return None;
        }
        let generation = std::mem::replace(&mut *current, Arc::new(Generation::new(false)));
        // No push is under way while the lock is held, so every part since the last cut belongs to this generation.
        self.wal.rotate();
        drop(current);
        let numbers = self.wal.parts().into_iter().map(|part| part.id.number());
        let numbers = numbers.filter(|part| *part > sealing.sealed_through);
        // A part that the log took back leaves no file. One that is there is somebody else's.
        let path = |number| self.wal.part_path(PartId::from_number(number));
        let is_other = |number| path(number).try_exists().unwrap_or(true);
        let mut parts = PartRange::runs(numbers, is_other);
        if parts.is_empty() {
            let is_empty = |(_, head): &(TenantId, Arc<Head>)| {
                head.close();
                head.chunks().is_empty()
            };
            if generation.heads().iter().all(is_empty) {
                // All spans were refused, so there is nothing to keep.
                let memory = self.large_traces_memory();
                for (tenant, head) in generation.heads() {
                    self.tenant_or_insert(&tenant).replace_head(&head, Vec::new(), memory);
                }
                return None;
            }
            let number = sealing.sealed_through + 1;
            tracing::error!(number, "the write-ahead log does not know the spans that are cut");
            // No later part may get the number of this cut.
            if let Err(error) = self.wal.skip_to(number + 1) {
                tracing::error!(
                    error = error_text(&error),
                    "the write-ahead log has no more numbers"
                );
            }
            parts.push(PartRange::of(number));
        }
        sealing.sealed_through = parts.iter().map(|run| run.last).max().unwrap_or_default();
        Some(Waiting { generation, parts })
    }

    /// Keeps a generation that could not be written for the next cut.
    pub(crate) fn wait_for_space(
        &self,
        sealing: &mut Sealing,
        generation: Arc<Generation>,
        parts: Vec<PartRange>,
    ) {
        sealing.waiting.push(Waiting { generation, parts });
        self.has_waiting_cuts.store(true, Ordering::Release);
    }

    /// Writes the segments of all tenants, gives them to queries in place of the heads, and releases the log parts.
    ///
    /// `parts` as in [`Waiting`]. May be called again after an error: what is complete on disk is not written twice.
    pub(crate) fn write_generation(
        &self,
        generation: &Generation,
        parts: &[PartRange],
    ) -> Result<(), Error> {
        let directory = self.layout.segment_directory(parts[0]);
        // A directory of that name which this process has not written is in the way: other spans are in it.
        let written = if generation.is_written.load(Ordering::Acquire) && directory.is_dir() {
            // An earlier call may have failed right after the rename.
            self.sync_segments()
        } else {
            let writing = self.layout.writing_directory(parts[0]);
            let written = self.write_directory(generation, &writing, &directory);
            if written.is_err() {
                // A full disk gets its space back.
                let _ = fs::remove_dir_all(&writing);
            }
            written
        };
        self.disk.note_cut(written.as_ref().is_err_and(Error::is_full));
        written?;
        // Open all segments before the first head is removed, so that an error leaves every span where it was.
        let opened = directory::open_new(&directory, &self.segment_cache);
        if let Err(error) = &opened
            && error.is_of_file()
        {
            // If it cannot be read right after it was written, it is written again, elsewhere on the disk.
            self.quarantine_directory(&directory, error);
        }
        let mut segments = opened?;
        let mut some_wait = false;
        for (tenant, head) in generation.heads() {
            let replaced = segments.remove(&tenant).unwrap_or_default();
            some_wait |= replaced.iter().any(|segment| segment.is_pending());
            let memory = self.large_traces_memory();
            self.tenant_or_insert(&tenant).replace_head(&head, replaced, memory);
        }
        for run in parts {
            self.release_log(*run);
        }
        if some_wait {
            self.has_pending.store(true, Ordering::Release);
        }
        Ok(())
    }

    /// Writes all segments of a generation. The directory gets its final name when all are complete.
    fn write_directory(
        &self,
        generation: &Generation,
        writing: &Path,
        directory: &Path,
    ) -> Result<(), Error> {
        let _ = fs::remove_dir_all(writing);
        fs::create_dir_all(writing).map_err(Error::io("create", writing))?;
        let mut slack = self.settings.range_slack;
        if generation.replayed && !slack.is_zero() {
            slack += self.settings.ingester.max_block_duration.as_std();
        }
        let arrival = Arrival { now: generation.arrival_time(), slack: slack.as_nanos() as u64 };
        let sync = self.settings.fsync_interval.is_some();
        let mut cut = CutWriter::create(&writing.join(CUT_FILE))?;
        for (tenant, head) in generation.heads() {
            head.close();
            self.write_segments(&mut cut, &tenant, &head, arrival)?;
        }
        cut.finish(sync)?;
        if sync {
            sync_directory(writing).map_err(Error::io("sync", writing))?;
        }
        if let Err(error) = fs::rename(writing, directory)
            // A file server may report an error of what it has done. Nobody else moves this directory.
            && !(matches!(writing.try_exists(), Ok(false)) && directory.is_dir())
        {
            return Err(Error::io("rename", writing)(error));
        }
        generation.is_written.store(true, Ordering::Release);
        self.sync_segments()
    }

    /// Makes the names of new directories durable, before the log parts with the same spans go.
    pub(crate) fn sync_segments(&self) -> Result<(), Error> {
        if self.settings.fsync_interval.is_none() {
            return Ok(());
        }
        let parent = self.layout.segments();
        sync_directory(&parent).map_err(Error::io("sync", &parent))
    }

    /// Writes a head as segments of about `generation_bytes` each. So the memory for sorting is bounded, however large
    /// the head has become.
    fn write_segments(
        &self,
        file: &mut CutWriter,
        tenant: &TenantId,
        head: &Head,
        arrival: Arrival,
    ) -> Result<(), Error> {
        let is_tail_sampled = self.settings.tail_sampling.of(tenant).is_some();
        let chunks = head.chunks();
        let mut written = 0;
        // The first segment stores them, whichever segment has their spans.
        let mut cut = self.tenant_or_insert(tenant).carried_cut_traces();
        cut.add_all(&head.cut_traces());
        let mut rest = chunks.as_slice();
        while !rest.is_empty() {
            let mut bytes = 0;
            let fitting = rest.iter().take_while(|chunk| {
                bytes += chunk.heap_bytes();
                bytes <= self.settings.generation_bytes
            });
            let (now, later) = rest.split_at(fitting.count().max(1));
            rest = later;
            let inputs: Vec<&SpanBatch> = now.iter().map(|chunk| &**chunk).collect();
            let (batch, stats) = merge(&inputs);
            self.metrics.duplicate_spans.inc_by(stats.duplicate_spans);
            if batch.is_empty() {
                continue;
            }
            // Of the inputs: the merge leaves copies out.
            let origins = HeldOrigins::of(inputs, &head.incomplete());
            let times = block_times(&batch.spans.start, &batch.spans.duration, arrival);
            if times.replaced > 0 {
                let labels = [OUTSIDE_SLACK, tenant.as_str()];
                self.metrics.warnings.with(labels).inc_by(times.replaced);
            }
            let block_times = times.range;
            let segment = NewSegment { batch: &batch, block_times, origins: &origins, cut: &cut };
            file.add(tenant, written, is_tail_sampled, &segment)?;
            cut = CutTraces::new();
            let traces = batch.traces.ids.len() as u64;
            self.metrics.traces_created.with([tenant.as_str()]).inc_by(traces);
            written += 1;
        }
        Ok(())
    }

    /// Deletes these log parts, except what the next start must read. True once none of them is left; until then, segments
    /// must be kept as well.
    pub(crate) fn release_log(&self, range: PartRange) -> bool {
        let is_in_range = |part: &PartInfo| range.contains(part.id.number());
        let is_needed = |part: &PartInfo| {
            part.in_use || self.unreadable.has_below(&self.wal.part_path(part.id))
        };
        for part in self.wal.parts().iter().filter(|part| is_in_range(part) && !is_needed(part)) {
            match self.wal.release(part.id) {
                // Another thread has deleted the part.
                Ok(()) | Err(tactus_wal::Error::UnknownPart { .. }) => {}
                Err(error) => {
                    let part = part.id;
                    tracing::error!(%part, %error, "cannot release a part of the write-ahead log");
                }
            }
        }
        !self.wal.parts().iter().any(is_in_range)
    }
}
