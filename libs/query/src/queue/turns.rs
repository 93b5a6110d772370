//! Decides whose job is next: jobs of a query in order, queries of a tenant in turn, and tenants in turn.
//!
//! Turns are start-time fair queueing: each job advances its tenant's turn by the weight of the job, and the tenant
//! with the earliest turn is served. A tenant that comes back starts at the turn of whoever was served last. So it
//! neither waits behind what others queued before, nor makes up for the time in which it asked for nothing. The same
//! holds for the queries of a tenant, but each of their jobs gets its turn when it is queued, so that a query with few
//! jobs at a time does not wait behind all jobs of another one.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// Number of a job; jobs that came first have lower ones.
pub(super) type JobId = u64;

/// Tenants without jobs that are remembered, so that their metrics do not come and go.
const MAX_IDLE: usize = 1_000;

/// Queries of a tenant without jobs that wait whose turns are remembered.
const MAX_IDLE_QUERIES: usize = 16;

/// The waiting jobs.
#[derive(Debug, Default)]
pub(super) struct Turns {
    tenants: HashMap<Arc<str>, Tenant>,
    /// Tenants with jobs, by their turn.
    order: BTreeSet<(u64, Arc<str>)>,
    /// The turn of the tenant that was served last.
    now: u64,
    waiting: usize,
}

#[derive(Debug, Default)]
struct Tenant {
    /// Jobs that failed on a worker. They go first.
    again: BTreeSet<JobId>,
    /// The other jobs, by their turn among the tenant's.
    new: BTreeSet<(u64, JobId)>,
    /// Turn and query of each of them.
    places: HashMap<JobId, (u64, u64)>,
    queries: HashMap<u64, Query>,
    /// The turn of the job that was taken last.
    now: u64,
    turn: u64,
}

#[derive(Debug, Default)]
struct Query {
    /// The first turn that its next job may have.
    next: u64,
    waiting: usize,
}

impl Tenant {
    fn len(&self) -> usize {
        self.again.len() + self.new.len()
    }

    /// False if the job is waiting already.
    fn push(&mut self, query: u64, job: JobId) -> bool {
        if self.places.contains_key(&job) {
            return false;
        }
        let of = self.queries.entry(query).or_default();
        let turn = self.now.max(of.next);
        of.next = turn + 1;
        of.waiting += 1;
        self.places.insert(job, (turn, query));
        self.new.insert((turn, job))
    }

    /// False if the job is not waiting.
    fn remove(&mut self, job: JobId) -> bool {
        let Some((turn, query)) = self.places.remove(&job) else { return self.again.remove(&job) };
        self.new.remove(&(turn, job));
        if let Some(of) = self.queries.get_mut(&query) {
            of.waiting -= 1;
        }
        if self.queries.len() > self.new.len() + MAX_IDLE_QUERIES {
            self.queries.retain(|_, of| of.waiting > 0);
        }
        true
    }

    fn take(&mut self, job: JobId) {
        if let Some(&(turn, _)) = self.places.get(&job) {
            self.now = turn;
        }
        self.remove(job);
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

    /// Whether a job waits.
    pub(super) fn is_waiting(&self, tenant: &str, job: JobId) -> bool {
        let holds = |of: &Tenant| of.places.contains_key(&job) || of.again.contains(&job);
        self.tenants.get(tenant).is_some_and(holds)
    }

    /// Each tenant known with the number of its jobs.
    pub(super) fn lengths(&self) -> Vec<(Arc<str>, usize)> {
        self.tenants.iter().map(|(name, tenant)| (Arc::clone(name), tenant.len())).collect()
    }

    /// Adds a job of a query.
    pub(super) fn push(&mut self, name: &Arc<str>, query: u64, job: JobId) {
        self.add(name, |tenant| tenant.push(query, job));
    }

    /// Adds a job that failed before.
    pub(super) fn push_again(&mut self, name: &Arc<str>, job: JobId) {
        self.add(name, |tenant| tenant.again.insert(job));
    }

    fn add(&mut self, name: &Arc<str>, add: impl FnOnce(&mut Tenant) -> bool) {
        let tenant = self.tenants.entry(Arc::clone(name)).or_default();
        if tenant.len() == 0 {
            tenant.turn = tenant.turn.max(self.now);
            self.order.insert((tenant.turn, Arc::clone(name)));
        }
        self.waiting += usize::from(add(tenant));
    }

    /// Removes a job that nobody waits for any more.
    pub(super) fn remove(&mut self, name: &Arc<str>, job: JobId) {
        let Some(tenant) = self.tenants.get_mut(name) else { return };
        if tenant.remove(job) {
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
            let first = tenant.new.first().map(|(_, job)| job);
            let jobs = tenant.again.iter().chain(first);
            let found = jobs.copied().find_map(|job| Some((job, place(job)?)));
            found.map(|(job, (place, weight))| (*turn, Arc::clone(name), job, place, weight))
        })?;
        let tenant = self.tenants.get_mut(&name)?;
        tenant.take(job);
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
        (0..1_000).for_each(|job| turns.push(&a, 0, job));
        assert_eq!(served(&mut turns, 3), [0, 1, 2]);
        turns.push(&b, 0, 1_000);
        turns.push(&c, 0, 1_001);
        turns.push(&c, 0, 1_002);
        assert_eq!(served(&mut turns, 6), [1_000, 1_001, 3, 1_002, 4, 5]);
        assert_eq!((turns.waiting(), turns.waiting_of("a"), turns.waiting_of("b")), (994, 994, 0));
    }

    #[test]
    fn queries_of_a_tenant_take_turns_and_their_jobs_stay_in_order() {
        let [a, _, _] = names();
        let mut turns = Turns::default();
        (0..100).for_each(|job| turns.push(&a, 7, job));
        assert_eq!(served(&mut turns, 3), [0, 1, 2]);
        turns.push(&a, 8, 100);
        turns.push(&a, 9, 101);
        turns.push(&a, 9, 102);
        assert_eq!(served(&mut turns, 6), [100, 101, 3, 102, 4, 5]);
        // A query that asks for one job after the other is served as often as one that asks for all of them.
        for job in 103..106 {
            turns.push(&a, 8, job);
            assert_eq!(served(&mut turns, 2)[0], job);
        }
        turns.remove(&a, 50);
        let left = served(&mut turns, 200);
        assert!(left.is_sorted() && !left.contains(&50), "{left:?}");
        assert_eq!((left.len(), turns.waiting()), (90, 0));
    }

    #[test]
    fn queries_that_are_over_are_forgotten() {
        let [a, _, _] = names();
        let mut turns = Turns::default();
        turns.push(&a, 0, 0);
        for job in 1..1_000 {
            turns.push(&a, job, job);
            served(&mut turns, 1);
        }
        assert!(turns.tenants[&a].queries.len() <= MAX_IDLE_QUERIES + 1);
    }

    #[test]
    fn heavy_jobs_use_up_more_of_their_tenants_share() {
        let [a, b, _] = names();
        let mut turns = Turns::default();
        (0..100).for_each(|job| turns.push(&a, 0, job));
        (100..200).for_each(|job| turns.push(&b, 0, job));
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
        turns.push(&a, 0, 5);
        turns.push_again(&a, 3);
        turns.push_again(&b, 4);
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
        turns.push(&a, 0, 1);
        turns.push(&b, 0, 2);
        turns.remove(&a, 1);
        turns.remove(&a, 1);
        assert_eq!((turns.waiting(), served(&mut turns, 2)), (1, vec![2]));
        assert!(turns.order.is_empty());
    }

    #[test]
    fn idle_tenants_are_forgotten_when_there_are_many() {
        let mut turns = Turns::default();
        for job in 0..3_000 {
            turns.push(&job.to_string().into(), 0, job);
            served(&mut turns, 1);
        }
        assert!(turns.tenants.len() <= MAX_IDLE + 1);
    }
}
