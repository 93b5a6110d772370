//! Tracks for which part of its time range a query is done.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::FutureExt as _;
use parking_lot::Mutex;

use crate::jobs::Running;

/// The jobs of a query that are not answered yet. Each has a bound: it cannot find anything after that time.
#[derive(Debug, Clone)]
pub(crate) struct Pending(Arc<Mutex<Bounds>>);

#[derive(Debug, Default)]
struct Bounds {
    /// Jobs of each bound.
    jobs: BTreeMap<u64, usize>,
    /// All jobs are known.
    planned: bool,
}

impl Pending {
    /// Nothing is known yet, not even which jobs there are.
    pub(crate) fn new() -> Self {
        Self(Arc::default())
    }

    /// Takes note of jobs. There may be more.
    pub(crate) fn add(&self, bounds: impl Iterator<Item = u64>) {
        let mut pending = self.0.lock();
        for bound in bounds {
            *pending.jobs.entry(bound).or_default() += 1;
        }
    }

    /// Takes note of jobs, after which there are no more.
    pub(crate) fn plan(&self, bounds: impl Iterator<Item = u64>) {
        self.add(bounds);
        self.0.lock().planned = true;
    }

    /// Everything after this is found: `u64::MAX` before the jobs are known, 0 when all are answered.
    pub(crate) fn bound(&self) -> u64 {
        let pending = self.0.lock();
        if !pending.planned {
            return u64::MAX;
        }
        pending.jobs.last_key_value().map_or(0, |(bound, _)| *bound)
    }

    /// The job, which is noted as answered when it is.
    pub(crate) fn track<T: Send + 'static>(&self, bound: u64, job: Running<T>) -> Running<T> {
        let pending = self.clone();
        job.inspect(move |_| pending.answered(bound)).boxed()
    }

    fn answered(&self, bound: u64) {
        self.leave_out(std::iter::once(bound));
    }

    /// Takes note that there is nothing to be found by these jobs any more.
    pub(crate) fn leave_out(&self, bounds: impl Iterator<Item = u64>) {
        let mut pending = self.0.lock();
        for bound in bounds {
            match pending.jobs.get_mut(&bound) {
                Some(jobs) if *jobs > 1 => *jobs -= 1,
                _ => drop(pending.jobs.remove(&bound)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::Outcome;

    #[tokio::test]
    async fn bound_is_that_of_the_last_job_without_answer() {
        let pending = Pending::new();
        assert_eq!(pending.bound(), u64::MAX);
        pending.add([30].into_iter());
        assert_eq!(pending.bound(), u64::MAX, "there may be others");
        pending.plan([30, 10].into_iter());
        for (bound, left) in [(30, 30), (10, 30), (30, 0)] {
            let job: Running<()> = Box::pin(async { Ok(Outcome::Damaged) });
            let job = pending.track(bound, job);
            let _ = job.await;
            assert_eq!(pending.bound(), left);
        }
    }
}
