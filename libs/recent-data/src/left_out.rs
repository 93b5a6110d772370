//! Leaves segments that the disk cannot read out of queries and flushes, and serves them again once it can.

use std::{
    path::Path,
    sync::{Arc, atomic::Ordering},
};

use tactus_model::TenantId;
use tactus_telemetry::error_text;

use crate::{
    ingester::Ingester,
    segment::{Segment, SegmentError},
    unreadable::{Waiting, What},
};

impl Ingester {
    /// Leaves a segment out of queries and flushes until the disk can read it.
    pub(crate) fn leave_out(
        &self,
        tenant: &TenantId,
        segment: &Arc<Segment>,
        error: &SegmentError,
    ) {
        if !segment.mark_set_aside() {
            return;
        }
        let what = What::Served(tenant.clone(), Arc::clone(segment));
        // Before it is removed, so that each query either reads it or is marked.
        self.unreadable.add(segment.path(), what, self.settings.retry_pause);
        if self.tenant(tenant).is_some_and(|state| state.remove_segment(segment)) {
            self.count_unreadable(tenant.as_str(), error);
        } else {
            // A block or tail sampling's result has replaced it.
            self.unreadable.remove(segment.path());
        }
    }

    /// Notes what a start could not read.
    pub(crate) fn wait_for_disk(&self, path: &Path, what: What, error: &SegmentError) {
        let tenant = match &what {
            What::Served(tenant, _) | What::Unopened(tenant, _) => tenant.as_str().to_owned(),
            What::Unknown => String::new(),
        };
        self.unreadable.add(path, what, self.settings.retry_pause);
        self.count_unreadable(&tenant, error);
    }

    fn count_unreadable(&self, tenant: &str, error: &SegmentError) {
        self.metrics.replay_errors.with([tenant]).inc();
        tracing::error!(
            error = error_text(error),
            "the disk cannot read a segment: queries and flushes go on without it until it can be read"
        );
    }

    /// Reads again what is due, or all, and serves what can be read. Blocks the thread.
    pub(crate) fn read_again(&self, all: bool) {
        let _reading = self.unreadable.reading();
        for Waiting { path, what, .. } in self.unreadable.due(all) {
            let (read, tenant) = match &what {
                What::Unknown => continue,
                What::Served(_, segment) if segment.is_released() => {
                    self.unreadable.remove(&path);
                    continue;
                }
                What::Served(tenant, segment) => {
                    (segment.check().map(|()| Arc::clone(segment)), tenant)
                }
                What::Unopened(tenant, place) => {
                    let opened = Segment::open(&path, place.clone(), true, &self.segment_cache);
                    (opened.map(Arc::new), tenant)
                }
            };
            match read {
                Ok(segment) => {
                    segment.serve_again();
                    if segment.is_pending() {
                        self.has_pending.store(true, Ordering::Release);
                    }
                    let state = self.tenant_or_insert(tenant);
                    state.add_segment(Arc::clone(&segment));
                    // After it was added, so that each query either reads it or is marked.
                    if !self.unreadable.remove(&path) || segment.is_released() {
                        // A block or tail sampling's result has replaced it meanwhile.
                        state.remove_segment(&segment);
                    }
                    tracing::info!(path = %path.display(), "the disk can read a segment again");
                }
                Err(error) if error.is_damage() => {
                    match &what {
                        What::Served(_, segment) => self.quarantine_served(tenant, segment, &error),
                        What::Unopened(_, place) => {
                            let kept = self.quarantine(&path, place);
                            self.count_damaged(tenant.as_str(), &error, kept);
                        }
                        What::Unknown => {}
                    }
                    self.unreadable.remove(&path);
                }
                Err(_) => {
                    self.unreadable
                        .failed_again(&path, |failures| self.settings.pause_after(failures));
                }
            }
        }
    }
}
