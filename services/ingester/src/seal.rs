//! Cuts live spans to segments.

use std::{fs, path::Path, sync::Arc, time::SystemTime};

use tactus_model::{SpanBatch, TenantId, merge::merge};

use crate::{
    generation::Generation,
    head::Head,
    ingester::{Error, Ingester},
    layout::{PartRange, segment_file_name, sync_directory},
    segment::Segment,
    settings::Settings,
};

/// Cuts in progress; behind a lock, so that one runs at a time.
#[derive(Debug, Default)]
pub(crate) struct Sealing {
    /// Number of the last log part of the last generation that was cut.
    pub(crate) sealed_through: u64,
    /// Generations whose segments could not be written yet, oldest first.
    waiting: Vec<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    generation: Arc<Generation>,
    parts: PartRange,
}

impl Ingester {
    /// Cuts all live spans to segments and releases their log parts.
    ///
    /// On an error (a full disk) the spans stay live and in the log, and the next call tries again.
    pub(crate) async fn seal(self: &Arc<Self>) -> Result<(), Error> {
        let mut sealing = self.sealing.lock().await;
        if let Some(waiting) = self.exchange_generation(&mut sealing) {
            sealing.waiting.push(waiting);
        }
        while let Some(Waiting { generation, parts }) = sealing.waiting.first() {
            let (ingester, generation, parts) = (Arc::clone(self), Arc::clone(generation), *parts);
            tokio::task::spawn_blocking(move || ingester.write_generation(&generation, parts))
                .await??;
            sealing.waiting.remove(0);
        }
        drop(sealing);
        self.update_gauges();
        Ok(())
    }

    fn exchange_generation(&self, sealing: &mut Sealing) -> Option<Waiting> {
        let mut current = self.current.write();
        if current.heads().is_empty() {
            return None;
        }
        let generation = std::mem::replace(&mut *current, Arc::new(Generation::new()));
        // No push is under way while the lock is held: every part from the last cut on is this generation's.
        self.wal.rotate();
        let last = self.wal.parts().iter().map(|part| part.id.number()).max().unwrap_or(0);
        drop(current);
        let first = sealing.sealed_through + 1;
        if last < first {
            return None;
        }
        sealing.sealed_through = last;
        Some(Waiting { generation, parts: PartRange { first, last } })
    }

    /// Writes the segments of all tenants, shows them to queries in place of the heads, releases the log parts.
    pub(crate) fn write_generation(
        &self,
        generation: &Generation,
        parts: PartRange,
    ) -> Result<(), Error> {
        let heads = generation.heads();
        for (_, head) in &heads {
            head.close();
        }
        let writing = self.layout.writing_directory(parts);
        let _ = fs::remove_dir_all(&writing);
        fs::create_dir_all(&writing).map_err(Error::io("create", &writing))?;
        let sync = self.settings.fsync_interval.is_some();
        let mut written = Vec::with_capacity(heads.len());
        for (tenant, head) in &heads {
            written.push(self.write_segments(&writing, tenant, head)?);
        }
        let directory = self.layout.segment_directory(parts);
        if sync {
            sync_directory(&writing).map_err(Error::io("sync", &writing))?;
        }
        fs::rename(&writing, &directory).map_err(Error::io("rename", &writing))?;
        if sync {
            let parent = self.layout.segments();
            sync_directory(&parent).map_err(Error::io("sync", &parent))?;
        }
        // All segments are opened before the first head goes: an error leaves every span where it was.
        let mut opened = Vec::with_capacity(heads.len());
        for names in &written {
            let segments =
                names.iter().map(|name| Segment::open(&directory.join(name), false).map(Arc::new));
            opened.push(segments.collect::<Result<Vec<_>, _>>()?);
        }
        for ((tenant, head), segments) in heads.iter().zip(opened) {
            self.tenant_or_insert(tenant).replace_head(head, segments);
        }
        self.release_log(parts.last);
        Ok(())
    }

    /// Writes a head as segments of about `generation_bytes` each, so that memory for sorting is bounded however
    /// large the head grew meanwhile; returns the files' names.
    fn write_segments(
        &self,
        directory: &Path,
        tenant: &TenantId,
        head: &Head,
    ) -> Result<Vec<String>, Error> {
        let chunks = head.chunks();
        let mut names = Vec::new();
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
            let name = segment_file_name(tenant, names.len());
            let times = block_times(&batch, &self.settings);
            let sync = self.settings.fsync_interval.is_some();
            Segment::write(&directory.join(&name), &batch, times, sync)?;
            let traces = batch.traces.ids.len() as u64;
            self.metrics.traces_created.with([tenant.as_str()]).inc_by(traces);
            names.push(name);
        }
        Ok(names)
    }

    /// Deletes the log parts up to `last`. A part that cannot be deleted is tried again with the next cut; its
    /// segments stay at least as long.
    pub(crate) fn release_log(&self, last: u64) -> bool {
        let mut released = true;
        for part in self.wal.parts().iter().filter(|part| part.id.number() <= last && !part.in_use)
        {
            if let Err(error) = self.wal.release(part.id) {
                tracing::error!(part = %part.id, %error, "cannot release a part of the write-ahead log");
                released = false;
            }
        }
        released
    }
}

/// The time range that these spans give to their block. Times further than the slack from now count as now, so that
/// a wrong clock does not spread a block's range over years.
fn block_times(batch: &SpanBatch, settings: &Settings) -> (u64, u64) {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let (now, slack) = (now.as_nanos() as u64, settings.range_slack.as_nanos() as u64);
    let (mut earliest, mut latest) = (u64::MAX, 0);
    for (&start, &duration) in batch.spans.start.iter().zip(batch.spans.duration.iter()) {
        let end = start.saturating_add(if duration > i64::MAX as u64 { 0 } else { duration });
        let (mut from, mut to) = (start, end);
        if slack > 0 {
            from = if from < now.saturating_sub(slack) || from > now + slack { now } else { from };
            to = if to > now + slack || to < from { now.max(from) } else { to };
        }
        earliest = earliest.min(from);
        latest = latest.max(to);
    }
    (earliest.min(latest), latest)
}
