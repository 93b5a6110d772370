//! Segments that the disk cannot read, perhaps only for a while: its path fails over, or a sector is gone.
//!
//! Queries and flushes go on without them. Answers are marked as partial, unless other ingesters have copies, and tail
//! sampling waits for them for some minutes. The files stay as they are, and are read again from time to time and by the
//! next start.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::{Mutex, MutexGuard};
use tactus_model::TenantId;

use crate::{
    layout::is_pending,
    segment::{Place, Segment},
};

/// Reading something so often takes about four minutes. What cannot be read by then will not come back soon.
const FEW_FAILURES: u32 = 8;

/// What the disk cannot read at the moment.
#[derive(Debug, Default)]
pub(crate) struct Unreadable {
    all: Mutex<Vec<Waiting>>,
    /// See [`Unreadable::reading`].
    reading: Mutex<()>,
    /// See [`Unreadable::removed`].
    removed: AtomicU64,
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

impl What {
    fn may_be_of(&self, tenant: &TenantId) -> bool {
        match self {
            Self::Served(of, _) | Self::Unopened(of, _) => of == tenant,
            Self::Unknown => true,
        }
    }

    /// True if it is to be part of no further block.
    fn is_stored(&self) -> bool {
        matches!(self, Self::Served(_, segment) if segment.is_flushed() || segment.is_released())
    }
}

impl Unreadable {
    pub(crate) fn is_empty(&self) -> bool {
        self.all.lock().is_empty()
    }

    /// True if this file is among them, or something in this directory.
    pub(crate) fn has_below(&self, path: &Path) -> bool {
        self.all.lock().iter().any(|waiting| waiting.path.starts_with(path))
    }

    /// True if queries of a tenant need something of it. They need what is in a block until all queriers know the block.
    pub(crate) fn lacks(&self, tenant: &TenantId) -> bool {
        let is_needed = |what: &What| match what {
            What::Served(_, segment) => !segment.is_released(),
            _ => true,
        };
        let all = self.all.lock();
        all.iter().any(|waiting| waiting.what.may_be_of(tenant) && is_needed(&waiting.what))
    }

    /// True if a segment of the tenant that tail sampling has not decided is likely to be readable again soon.
    pub(crate) fn may_return_undecided(&self, tenant: &TenantId) -> bool {
        let is_of_tenant = |what: &What| match what {
            What::Served(of, _) | What::Unopened(of, _) => of == tenant,
            What::Unknown => false,
        };
        self.all.lock().iter().any(|waiting| {
            waiting.failures < FEW_FAILURES
                && is_pending(&waiting.path)
                && is_of_tenant(&waiting.what)
        })
    }

    /// Where that lies which a tenant, or any tenant, lacks and no block has.
    pub(crate) fn paths(&self, tenant: Option<&TenantId>) -> Vec<PathBuf> {
        let all = self.all.lock();
        let lacking = all.iter().filter(|Waiting { what, .. }| {
            tenant.is_none_or(|tenant| what.may_be_of(tenant)) && !what.is_stored()
        });
        lacking.map(|waiting| waiting.path.clone()).collect()
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

    /// False if it was not there.
    pub(crate) fn remove(&self, path: &Path) -> bool {
        let mut all = self.all.lock();
        let before = all.len();
        all.retain(|waiting| waiting.path != path);
        let was_there = all.len() < before;
        self.removed.fetch_add(u64::from(was_there), Ordering::AcqRel);
        was_there
    }

    /// How often something was removed. If this number changes, segments may be served that were not before.
    pub(crate) fn removed(&self) -> u64 {
        self.removed.load(Ordering::Acquire)
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
