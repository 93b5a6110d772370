//! A worker, the jobs that it runs, and whether it can be relied on.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tactus_work::SlotLimits;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::route::Route;
use super::turns::JobId;

/// So many jobs that failed on a worker, and succeeded elsewhere, make it suspect: without a success of its own between them.
const SUSPECT_AFTER: u32 = 3;

/// A worker that runs jobs, and has answered none for this long, may never answer.
const SILENT_AFTER: Duration = Duration::from_secs(5);

/// How often a suspect worker is given a copy of a job, which shows when it is well again.
const TRY_EVERY: Duration = Duration::from_secs(1);

/// A worker.
pub(super) struct Worker {
    /// The querier's name, the same for all of its streams.
    pub(super) name: Arc<str>,
    /// The number of jobs of a tenant that run at a time, if it is alone.
    pub(super) slots: usize,
    pub(super) leaving: bool,
    pub(super) route: Route,
    running: HashMap<JobId, Running>,
    running_of: HashMap<Arc<str>, usize>,
    /// Jobs that only this worker failed at, or never answered, since it last answered one.
    blamed: u32,
    /// Since when it has had jobs and answered none.
    waiting_since: Option<Instant>,
    tried: Option<Instant>,
}

pub(super) struct Running {
    pub(super) tenant: Arc<str>,
    /// Cancels it when dropped, if it runs in this process.
    pub(super) cancel: Option<oneshot::Sender<()>>,
}

impl Worker {
    pub(super) fn new(name: &str, slots: usize, route: Route) -> Self {
        Self {
            name: name.into(),
            slots,
            leaving: false,
            route,
            running: HashMap::new(),
            running_of: HashMap::new(),
            blamed: 0,
            waiting_since: None,
            tried: None,
        }
    }

    /// Jobs that run.
    pub(super) fn load(&self) -> usize {
        self.running.len()
    }

    pub(super) fn is_running(&self, job: JobId) -> bool {
        self.running.contains_key(&job)
    }

    /// Those jobs.
    pub(super) fn jobs(&self) -> impl Iterator<Item = JobId> {
        self.running.keys().copied()
    }

    /// True if work of others does not disturb it.
    pub(super) fn has_little_to_do(&self) -> bool {
        !self.leaving && self.running.len() < self.slots.div_ceil(2)
    }

    /// True if there is room for a tenant that runs nothing here.
    pub(super) fn has_room(&self) -> bool {
        self.admits(0)
    }

    pub(super) fn has_room_for(&self, tenant: &str) -> bool {
        self.admits(self.running_of.get(tenant).copied().unwrap_or(0))
    }

    /// Tenants leave places to others, because their jobs may take long.
    fn admits(&self, own: usize) -> bool {
        !self.leaving && SlotLimits::of_jobs(self.slots, 0).admits(own, self.running.len())
    }

    /// True if it gets no jobs, but copies of some, as long as there are others.
    pub(super) fn is_suspect(&self) -> bool {
        self.blamed >= SUSPECT_AFTER
    }

    /// True if others come first: what it runs may be long, or hang.
    pub(super) fn is_silent(&self) -> bool {
        self.waiting_since.is_some_and(|since| since.elapsed() >= SILENT_AFTER)
    }

    /// True if it is suspect, and to be given another copy of a job.
    pub(super) fn is_to_be_tried(&self) -> bool {
        let is_due = self.tried.is_none_or(|tried| tried.elapsed() >= TRY_EVERY);
        self.is_suspect() && is_due && self.running.is_empty() && self.has_room()
    }

    /// It did not do what another one did.
    pub(super) fn blame(&mut self) {
        self.blamed = self.blamed.saturating_add(1);
    }

    /// It answered a job.
    pub(super) fn praise(&mut self) {
        self.blamed = 0;
    }

    pub(super) fn begin(&mut self, job: JobId, running: Running) {
        let now = Instant::now();
        self.tried = Some(now);
        self.waiting_since.get_or_insert(now);
        *self.running_of.entry(Arc::clone(&running.tenant)).or_default() += 1;
        self.running.insert(job, running);
    }

    /// False if it does not run.
    pub(super) fn end(&mut self, job: JobId) -> bool {
        let Some(Running { tenant, .. }) = self.running.remove(&job) else { return false };
        match self.running_of.get_mut(&tenant) {
            Some(jobs) if *jobs > 1 => *jobs -= 1,
            _ => drop(self.running_of.remove(&tenant)),
        }
        self.waiting_since = (!self.running.is_empty()).then(Instant::now);
        true
    }

    /// Nobody waits for the job any more.
    pub(super) fn cancel(&mut self, job: JobId) {
        let Some(running) = self.running.get_mut(&job) else { return };
        running.cancel = None;
        if let Route::Remote(route) = &self.route {
            route.cancel(job);
        }
        if self.is_silent() {
            // Until it answers something, nobody knows whether it ever would have.
            self.blamed = SUSPECT_AFTER;
        }
    }
}
