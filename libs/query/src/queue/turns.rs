//! Whose job is next: a FIFO for each tenant, and tenants in turn.
//!
//! Turns are start-time fair queueing: a tenant's turn moves on by the weight of each of its jobs, and the tenant with the
//! earliest turn is served. One that comes back starts at the turn of whoever was served last, so that it neither waits
//! behind what others queued before nor makes up for the time that it asked for nothing.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// Number of a job; jobs that came first have lower ones.
pub(super) type JobId = u64;

/// Tenants without jobs that are remembered, so that their metrics do not come and go.
const MAX_IDLE: usize = 1_000;

/// The jobs that wait.
#[derive(Debug, Default)]
pub(super) struct Turns {
    tenants: HashMap<Arc<str>, Tenant>,
    /// Tenants with jobs, by their turn.
    order: BTreeSet<(u64, Arc<str>)>,
    /// The turn of whoever was served last.
    now: u64,
    waiting: usize,
}

#[derive(Debug, Default)]
struct Tenant {
    /// Jobs that failed on some worker. They go first.
    again: BTreeSet<JobId>,
    new: BTreeSet<JobId>,
    turn: u64,
}

impl Tenant {
    fn len(&self) -> usize {
        self.again.len() + self.new.len()
    }
}

impl Turns {
    /// Jobs that wait, of all tenants.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Jobs of a tenant that wait.
    pub(super) fn waiting_of(&self, tenant: &str) -> usize {
        self.tenants.get(tenant).map_or(0, Tenant::len)
    }

    /// Each tenant known with the number of its jobs.
    pub(super) fn lengths(&self) -> Vec<(Arc<str>, usize)> {
        self.tenants.iter().map(|(name, tenant)| (Arc::clone(name), tenant.len())).collect()
    }

    /// Adds a job; `again` if it failed before.
    pub(super) fn push(&mut self, name: &Arc<str>, job: JobId, again: bool) {
        let tenant = self.tenants.entry(Arc::clone(name)).or_default();
        if tenant.len() == 0 {
            tenant.turn = tenant.turn.max(self.now);
            self.order.insert((tenant.turn, Arc::clone(name)));
        }
        let jobs = if again { &mut tenant.again } else { &mut tenant.new };
        if jobs.insert(job) {
            self.waiting += 1;
        }
    }

    /// Takes a job out that nobody waits for any more.
    pub(super) fn remove(&mut self, name: &Arc<str>, job: JobId) {
        let Some(tenant) = self.tenants.get_mut(name) else { return };
        if tenant.again.remove(&job) || tenant.new.remove(&job) {
            self.waiting -= 1;
            if tenant.len() == 0 {
                self.order.remove(&(tenant.turn, Arc::clone(name)));
                self.forget_idle();
            }
        }
    }

    /// Takes the first job, in the order of turns, for which `place` finds a place. `place` is asked with the job and
    /// returns also its weight.
    pub(super) fn take<P>(
        &mut self,
        mut place: impl FnMut(JobId) -> Option<(P, u64)>,
    ) -> Option<(JobId, P)> {
        let (turn, name, job, found, weight) = self.order.iter().find_map(|(turn, name)| {
            let tenant = self.tenants.get(name)?;
            // Any place will do for a job that has not failed, so one of them is enough to ask for.
            let jobs = tenant.again.iter().chain(tenant.new.first());
            let found = jobs.copied().find_map(|job| Some((job, place(job)?)));
            found.map(|(job, (place, weight))| (*turn, Arc::clone(name), job, place, weight))
        })?;
        let tenant = self.tenants.get_mut(&name)?;
        let _ = tenant.again.remove(&job) || tenant.new.remove(&job);
        self.waiting -= 1;
        self.now = turn;
        tenant.turn = turn.saturating_add(weight.max(1));
        let next = (!tenant.again.is_empty() || !tenant.new.is_empty()).then_some(tenant.turn);
        self.order.remove(&(turn, Arc::clone(&name)));
        match next {
            Some(next) => drop(self.order.insert((next, name))),
            None => self.forget_idle(),
        }
        Some((job, found))
    }

    fn forget_idle(&mut self) {
        if self.tenants.len() > self.order.len() + MAX_IDLE {
            self.tenants.retain(|_, tenant| tenant.len() > 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> [Arc<str>; 3] {
        ["a", "b", "c"].map(Arc::from)
    }

    fn served(turns: &mut Turns, count: usize) -> Vec<JobId> {
        (0..count).filter_map(|_| turns.take(|_| Some(((), 1)))).map(|(job, ())| job).collect()
    }

    #[test]
    fn tenants_take_turns_and_a_tenants_jobs_stay_in_order() {
        let [a, b, c] = names();
        let mut turns = Turns::default();
        (0..1_000).for_each(|job| turns.push(&a, job, false));
        assert_eq!(served(&mut turns, 3), [0, 1, 2]);
        turns.push(&b, 1_000, false);
        turns.push(&c, 1_001, false);
        turns.push(&c, 1_002, false);
        assert_eq!(served(&mut turns, 6), [1_000, 1_001, 3, 1_002, 4, 5]);
        assert_eq!((turns.waiting(), turns.waiting_of("a"), turns.waiting_of("b")), (994, 994, 0));
    }

    #[test]
    fn heavy_jobs_use_up_more_of_their_tenants_share() {
        let [a, b, _] = names();
        let mut turns = Turns::default();
        (0..100).for_each(|job| turns.push(&a, job, false));
        (100..200).for_each(|job| turns.push(&b, job, false));
        let weight = |job| if job < 100 { 3 } else { 1 };
        let jobs: Vec<_> =
            (0..40).filter_map(|_| turns.take(|job| Some(((), weight(job))))).collect();
        let of_a = jobs.iter().filter(|(job, ())| *job < 100).count();
        assert_eq!(of_a, 10);
    }

    #[test]
    fn failed_jobs_go_first_if_there_is_a_place_for_them() {
        let [a, b, _] = names();
        let mut turns = Turns::default();
        turns.push(&a, 5, false);
        turns.push(&a, 3, true);
        turns.push(&b, 4, true);
        let found = turns.take(|job| (job == 5).then_some((job, 1)));
        assert_eq!(found, Some((5, 5)));
        assert_eq!(turns.take(|_| None::<((), u64)>), None);
        assert_eq!(served(&mut turns, 3), [4, 3]);
        assert_eq!(turns.waiting(), 0);
    }

    #[test]
    fn job_taken_out_is_not_served() {
        let [a, b, _] = names();
        let mut turns = Turns::default();
        turns.push(&a, 1, false);
        turns.push(&b, 2, false);
        turns.remove(&a, 1);
        turns.remove(&a, 1);
        assert_eq!((turns.waiting(), served(&mut turns, 2)), (1, vec![2]));
        assert!(turns.order.is_empty());
    }

    #[test]
    fn idle_tenants_are_forgotten_when_there_are_many() {
        let mut turns = Turns::default();
        for job in 0..3_000 {
            turns.push(&job.to_string().into(), job, false);
            served(&mut turns, 1);
        }
        assert!(turns.tenants.len() <= MAX_IDLE + 1);
    }
}
