//! Segments that the disk cannot read, perhaps only for a while: its path fails over, or a sector is gone.
//!
//! Queries and flushes go on without them. Answers are marked as partial, unless other ingesters have copies. The files
//! stay as they are, and are read again from time to time and by the next start.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tactus_model::TenantId;
use tactus_telemetry::error_text;

use crate::{
    ingester::Ingester,
    segment::{Place, Segment, SegmentError},
};

/// Longest pause between two attempts to read a segment.
const MAX_PAUSE: Duration = Duration::from_secs(120);

/// What the disk cannot read at the moment.
#[derive(Debug, Default)]
pub(crate) struct Unreadable {
    all: Mutex<Vec<Waiting>>,
    /// Held while segments are read again, so that each comes back once.
    reading: Mutex<()>,
}

#[derive(Debug, Clone)]
struct Waiting {
    path: PathBuf,
    what: What,
    failures: u32,
    not_before: Instant,
}

/// Something that cannot be read.
#[derive(Debug, Clone)]
pub(crate) enum What {
    /// A segment that was served before.
    Served(TenantId, Arc<Segment>),
    /// A segment that could not be opened.
    Unopened(TenantId, Place),
    /// A part of the log, or a file or directory of segments, of which nobody knows the tenants. It waits for the next start.
    Unknown,
}

impl Unreadable {
    pub(crate) fn is_empty(&self) -> bool {
        self.all.lock().is_empty()
    }

    /// True if some segment of this cut, or its file, is among them.
    pub(crate) fn has_below(&self, directory: &Path) -> bool {
        self.all.lock().iter().any(|waiting| waiting.path.starts_with(directory))
    }

    fn lacks(&self, tenant: &TenantId) -> bool {
        self.all.lock().iter().any(|waiting| match &waiting.what {
            What::Served(of, _) | What::Unopened(of, _) => of == tenant,
            What::Unknown => true,
        })
    }

    /// Notes something; it is read again after `pause`.
    pub(crate) fn add(&self, path: &Path, what: What, pause: Duration) {
        let not_before = Instant::now() + pause;
        let waiting = Waiting { path: path.to_owned(), what, failures: 0, not_before };
        self.all.lock().push(waiting);
    }

    fn remove(&self, path: &Path) {
        self.all.lock().retain(|waiting| waiting.path != path);
    }

    fn due(&self, all: bool) -> Vec<Waiting> {
        let now = Instant::now();
        let waiting = self.all.lock();
        waiting.iter().filter(|waiting| all || waiting.not_before <= now).cloned().collect()
    }

    fn failed_again(&self, path: &Path, pause: Duration) {
        for waiting in self.all.lock().iter_mut().filter(|waiting| waiting.path == path) {
            waiting.failures += 1;
            let pause = pause.saturating_mul(2u32.saturating_pow(waiting.failures.min(16)));
            waiting.not_before = Instant::now() + pause.min(MAX_PAUSE);
        }
    }
}

impl Ingester {
    /// True if answers for a tenant lack spans that no other ingester has.
    pub(crate) fn lacks_spans(&self, tenant: &TenantId) -> bool {
        let copies = self.settings.ingester.lifecycler.ring.replication_factor;
        copies < 2 && self.unreadable.lacks(tenant)
    }

    /// Leaves a segment out of queries and flushes until the disk can read it.
    pub(crate) fn leave_out(
        &self,
        tenant: &TenantId,
        segment: &Arc<Segment>,
        error: &SegmentError,
    ) {
        // What is flushed goes soon, and then its block answers.
        if segment.is_flushed() || !segment.mark_set_aside() {
            return;
        }
        let what = What::Served(tenant.clone(), Arc::clone(segment));
        // Before it is removed, so that each query either reads it or is marked.
        self.unreadable.add(segment.path(), what, self.settings.retry_pause);
        match self.tenant(tenant).is_some_and(|state| state.remove_segment(segment)) {
            true => self.count_unreadable(tenant.as_str(), error),
            // A block or tail sampling's result has replaced it.
            false => self.unreadable.remove(segment.path()),
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
        let _reading = self.unreadable.reading.lock();
        for Waiting { path, what, .. } in self.unreadable.due(all) {
            let (read, tenant, place) = match what {
                What::Unknown => continue,
                What::Served(_, segment) if segment.is_released() => {
                    self.unreadable.remove(&path);
                    continue;
                }
                What::Served(tenant, segment) => {
                    let (read, place) = (segment.check(), segment.place().clone());
                    (read.map(|()| segment), tenant, place)
                }
                What::Unopened(tenant, place) => {
                    let read = Segment::open(&path, place.clone(), true, &self.segment_cache);
                    (read.map(Arc::new), tenant, place)
                }
            };
            match read {
                Ok(segment) => {
                    segment.serve_again();
                    if segment.is_pending() {
                        self.has_pending.store(true, Ordering::Release);
                    }
                    self.tenant_or_insert(&tenant).add_segment(segment);
                    tracing::info!(path = %path.display(), "the disk can read a segment again");
                }
                Err(error) if error.is_damage() => {
                    let kept = self.quarantine(&path, &place);
                    self.count_damaged(tenant.as_str(), &error, kept);
                }
                Err(_) => {
                    self.unreadable.failed_again(&path, self.settings.retry_pause);
                    continue;
                }
            }
            // After it was added, so that each query either reads it or is marked.
            self.unreadable.remove(&path);
        }
    }
}
