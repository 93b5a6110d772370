//! Segments that the disk cannot read, perhaps only for a while: its path fails over, or a sector is gone.
//!
//! Queries and flushes go on without them. Answers are marked as partial, unless other ingesters have copies. The files
//! stay as they are, and are read again from time to time and by the next start.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::{Mutex, MutexGuard};
use tactus_model::TenantId;

use crate::segment::{Place, Segment};

/// What the disk cannot read at the moment.
#[derive(Debug, Default)]
pub(crate) struct Unreadable {
    all: Mutex<Vec<Waiting>>,
    /// See [`Unreadable::reading`].
    reading: Mutex<()>,
}

#[derive(Debug, Clone)]
pub(crate) struct Waiting {
    pub(crate) path: PathBuf,
    pub(crate) what: What,
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

    pub(crate) fn lacks(&self, tenant: &TenantId) -> bool {
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

    /// While this is held, nobody else reads segments again, so that each comes back once.
    pub(crate) fn reading(&self) -> MutexGuard<'_, ()> {
        self.reading.lock()
    }

    pub(crate) fn remove(&self, path: &Path) {
        self.all.lock().retain(|waiting| waiting.path != path);
    }

    pub(crate) fn due(&self, all: bool) -> Vec<Waiting> {
        let now = Instant::now();
        let waiting = self.all.lock();
        waiting.iter().filter(|waiting| all || waiting.not_before <= now).cloned().collect()
    }

    pub(crate) fn failed_again(&self, path: &Path, pause_after: impl Fn(u32) -> Duration) {
        for waiting in self.all.lock().iter_mut().filter(|waiting| waiting.path == path) {
            waiting.failures += 1;
            waiting.not_before = Instant::now() + pause_after(waiting.failures);
        }
    }
}
