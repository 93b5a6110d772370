//! Replaces pending segments by the result of their decision.

use std::{fs, path::Path, sync::Arc};

use tactus_model::{
    OriginCollector, OriginSet, SpanBatch, TenantId, TraceId, merge::gather_traces, span_end,
};
use tactus_telemetry::{error_text, log_limited};

use super::Decided;
use crate::{
    clear::part_range,
    error::Error,
    generation::Tenant,
    ingester::Ingester,
    layout::{decided_paths, sync_directory},
    notes::Fate,
    segment::{NewSegment, OpenSegment, Segment, SegmentError},
};

impl Ingester {
    /// Keeps the traces of a pending segment that are to stay. May be called again after an error.
    pub(crate) fn settle(
        &self,
        id: &TenantId,
        tenant: &Tenant,
        open: &OpenSegment,
        decided: &Decided,
    ) -> Result<(), Error> {
        let (pending, batch) = (open.segment(), &open.batch());
        let stays = |trace| decided.get(&trace) != Some(&false);
        let staying = batch.traces.ids.iter().filter(|&&trace| stays(trace)).count();
        if let Some(error) = open.failure() {
            return Err(error.into());
        }
        if staying == batch.traces.ids.len() {
            return self.keep_all(id, tenant, pending);
        }
        let kept_spans = if staying == 0 {
            if !self.drop_all(tenant, pending)? {
                return Ok(());
            }
            // Their spans may lie in other segments.
            let mut cut = pending.cut_traces().clone();
            cut.retain(stays);
            tenant.carry_cut_traces(&cut);
            0
        } else {
            let kept = gather_traces(&[batch], stays);
            self.keep(tenant, open, &kept, stays)?;
            kept.len()
        };
        let dropped = batch.len().saturating_sub(kept_spans);
        self.metrics.tail_sampling.discarded(id, dropped as u64);
        Ok(())
    }

    /// Keeps a segment unchanged.
    pub(super) fn keep_all(
        &self,
        id: &TenantId,
        tenant: &Tenant,
        pending: &Arc<Segment>,
    ) -> Result<(), Error> {
        let (_, decided) = decided_paths(pending.path());
        // An earlier decision stands.
        if decided.exists() && !pending.has_own_file() {
            self.sync_parent(&decided)?;
            return self.replace(tenant, pending, &decided, true);
        }
        match pending.has_own_file() {
            true => {
                let renamed = pending.place().file.rename(&decided);
                renamed.map_err(Error::io("rename", pending.path()))?;
                self.sync_parent(&decided)?;
            }
            false => self.note(std::slice::from_ref(pending), Fate::Kept)?,
        }
        let place = pending.place().clone();
        let segment = Segment::open(&decided, place, false, &self.segment_cache);
        if let Err(error) = &segment
            && error.is_of_file()
        {
            self.set_aside(id, pending, error);
        }
        self.put_in_place(tenant, pending, Some(segment?));
        Ok(())
    }

    fn keep(
        &self,
        tenant: &Tenant,
        open: &OpenSegment,
        kept: &SpanBatch,
        stays: impl Fn(TraceId) -> bool,
    ) -> Result<(), Error> {
        let pending = open.segment();
        let (deciding, decided) = decided_paths(pending.path());
        let was_there = decided.exists();
        if !was_there {
            let times = times_within(kept, pending.block_times());
            let sync = self.settings.fsync_interval.is_some();
            // The origins stay the same, because nothing is missing: the other spans were dropped on purpose. Other
            // ingesters may have kept them.
            let mut origins = pending.origins().clone();
            origins.thinned.unite(&thinned(open, kept));
            let mut cut = pending.cut_traces().clone();
            cut.retain(stays);
            if let Some(error) = open.failure() {
                return Err(error.into());
            }
            let block_times = times;
            let new = NewSegment { batch: kept, block_times, origins: &origins, cut: &cut };
            let written = new.write(&deciding, sync);
            if written.is_err() {
                // A full disk gets its space back.
                let _ = fs::remove_file(&deciding);
            }
            written?;
            fs::rename(&deciding, &decided).map_err(Error::io("rename", &deciding))?;
        }
        // Also if it was there: an earlier call may have failed right after the rename.
        self.sync_parent(&decided)?;
        self.replace(tenant, pending, &decided, was_there)
    }

    /// Replaces a segment by the file with its decided traces. After a restart the file itself shows the decision.
    /// `was_there`: the file is of an earlier decision. It may be damaged, if the quarantine had no room for it.
    fn replace(
        &self,
        tenant: &Tenant,
        pending: &Arc<Segment>,
        decided: &Path,
        was_there: bool,
    ) -> Result<(), Error> {
        let segment = Segment::open_file(decided, was_there, &self.segment_cache);
        if segment.as_ref().is_err_and(SegmentError::is_of_file) {
            // Decided and written once more.
            let _ = fs::remove_file(decided);
        }
        self.put_in_place(tenant, pending, Some(segment?));
        pending.release();
        Ok(())
    }

    /// Drops a segment as a whole; false: not yet.
    fn drop_all(&self, tenant: &Tenant, pending: &Arc<Segment>) -> Result<bool, Error> {
        let path = pending.path();
        // As long as the log holds these spans, a restart without their segment would take them for new.
        if !part_range(path).is_none_or(|parts| self.release_log(parts)) {
            return Ok(false);
        }
        if let Err(error) = self.note(std::slice::from_ref(pending), Fate::Gone) {
            // If the segment is found again after a restart, it is decided again. Meanwhile a full disk gets its space
            // back.
            log_limited!(
                error,
                error = error_text(&error),
                "cannot record that tail sampling dropped traces"
            );
        }
        self.put_in_place(tenant, pending, None);
        pending.release();
        Ok(true)
    }

    fn put_in_place(&self, tenant: &Tenant, pending: &Arc<Segment>, decided: Option<Segment>) {
        tenant.replace_segment(pending, decided.map(Arc::new));
        // A query may have left it out since it was read here.
        self.unreadable.remove(pending.path());
    }

    /// Makes a new name durable before the old one is removed.
    fn sync_parent(&self, path: &Path) -> Result<(), Error> {
        match path.parent().filter(|_| self.settings.fsync_interval.is_some()) {
            Some(directory) => sync_directory(directory).map_err(Error::io("sync", directory)),
            None => Ok(()),
        }
    }
}

/// Origins that are complete here, but of which not all spans of this pending segment are kept.
fn thinned(pending: &OpenSegment, kept: &SpanBatch) -> OriginSet {
    let batch = pending.batch();
    let batch: &SpanBatch = &batch;
    let dropped: Vec<bool> =
        batch.traces.ids.iter().map(|id| kept.traces.ids.binary_search(id).is_err()).collect();
    let mut thinned = OriginCollector::default();
    for (&origin, &trace) in batch.spans.origin.iter().zip(batch.spans.trace.iter()) {
        if dropped[trace as usize] {
            thinned.add(&[origin]);
        }
    }
    thinned.finish().0.intersection(&pending.origins().complete)
}

/// The time range that these spans add to their block, limited to the range of the segment that they come from.
fn times_within(batch: &SpanBatch, (first, last): (u64, u64)) -> (u64, u64) {
    let spans = batch.spans.start.iter().zip(batch.spans.duration.iter());
    let (start, end) = spans.fold((u64::MAX, 0), |(from, to), (&start, &duration)| {
        (start.min(from), span_end(start, duration).max(to))
    });
    // Times that were not believed lie outside this range.
    let (start, end) = (start.clamp(first, last), end.clamp(first, last));
    (start.min(end), end)
}
