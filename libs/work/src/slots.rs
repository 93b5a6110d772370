//! Admits queries: limits how many run, per tenant and in total. Tenants take turns.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// Of the places that are free, a tenant has at most one of this many once half of all are taken.
const PART_OF_FREE: usize = 8;

/// Jobs of all tenants that may run for each that a tenant alone may run.
pub const JOBS_PER_SLOT: usize = 3;

/// Tenants that run nothing may have one job each beyond the total, as many as this together.
pub const MOST_NEWCOMERS: usize = 256;

/// Bounds of [`Slots`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotLimits {
    /// Running queries of a tenant; at least one.
    pub per_tenant: usize,
    /// Running queries of all tenants together; at least `per_tenant`.
    pub total: usize,
    /// How many more there may be if each is the only one of its tenant.
    pub newcomers: usize,
    /// Waiting queries of a tenant. Any more are refused.
    pub waiting_per_tenant: usize,
}

impl SlotLimits {
    /// For jobs, of which a tenant alone runs `slots` at a time. A query-frontend and its queriers count alike.
    pub fn of_jobs(slots: usize, waiting_per_tenant: usize) -> Self {
        let total = slots.saturating_mul(JOBS_PER_SLOT);
        Self { per_tenant: slots, total, newcomers: MOST_NEWCOMERS, waiting_per_tenant }
    }

    /// For short work of which this many pieces run at a time, whosever they are. Any number may wait.
    pub fn of_turns(places: usize) -> Self {
        Self { per_tenant: places, total: places, newcomers: 0, waiting_per_tenant: usize::MAX }
    }

    /// True if a tenant that runs `own` of the `running` queries may run one more.
    ///
    /// The first half of the places is for whoever comes first. Queries may run for long and are not interrupted, so of the
    /// other half a tenant gets few, and once all are taken, those that run nothing get one each. A query more costs some
    /// memory and a thread that mostly waits, for the threads that work are shared by [`Gate`](crate::Gate).
    pub fn admits(&self, own: usize, running: usize) -> bool {
        if own == 0 {
            return running < self.most();
        }
        let free = self.total.saturating_sub(running);
        let most = if running < self.per_tenant.max(self.total / 2) {
            self.per_tenant
        } else {
            self.per_tenant.min((free / PART_OF_FREE).max(1))
        };
        free > 0 && own < most
    }

    fn most(&self) -> usize {
        self.total.saturating_add(self.newcomers)
    }
}

/// Why a query was not admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// Too many queries of the tenant are waiting.
    #[error("too many queries of the tenant are waiting (limit: {limit})")]
    Tenant {
        /// The limit.
        limit: usize,
    },
    /// Nobody is admitted any more.
    #[error("no more queries are accepted")]
    Closed,
}

/// Slots for running queries. Cheap to clone; clones share the slots.
#[derive(Debug, Clone)]
pub struct Slots {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    limits: SlotLimits,
    state: Mutex<State>,
}

type Line = VecDeque<oneshot::Sender<Slot>>;

#[derive(Debug, Default)]
struct State {
    running: HashMap<u64, usize>,
    total: usize,
    /// Waiting tenants, the next one first. No tenant's queue is empty.
    lines: VecDeque<(u64, Line)>,
    closed: bool,
}

/// The right to run one query, which is given back when this is dropped.
#[derive(Debug)]
pub struct Slot {
    shared: Arc<Shared>,
    tenant: u64,
}

impl Slots {
    /// Slots that are all free.
    pub fn new(limits: SlotLimits) -> Self {
        let per_tenant = limits.per_tenant.max(1);
        let limits = SlotLimits { per_tenant, total: limits.total.max(per_tenant), ..limits };
        Self { shared: Arc::new(Shared { limits, state: Mutex::default() }) }
    }

    /// Waits for a slot; dropping the future gives up waiting. `tenant`: as in [`Line`](crate::Line).
    ///
    /// Errors: too many queries of the tenant wait, or no query is admitted any more.
    pub async fn enter(&self, tenant: u64) -> Result<Slot, Full> {
        if let Some(slot) = self.shared.take_free(tenant) {
            return Ok(slot);
        }
        let (sender, receiver) = oneshot::channel();
        self.shared.line_up(tenant, sender)?;
        self.shared.admit();
        receiver.await.map_err(|_| Full::Closed)
    }

    /// Waits for one of the slots of [`SlotLimits::of_turns`].
    pub async fn turn(&self, tenant: u64) -> Option<Slot> {
        // The line has no end and is never closed, so there is nothing to do about an error.
        self.enter(tenant).await.ok()
    }

    /// Number of queries that are running.
    pub fn running(&self) -> usize {
        self.shared.state.lock().total
    }

    /// Admits no query from now on, and refuses those that wait.
    pub fn close(&self) {
        let mut state = self.shared.state.lock();
        state.closed = true;
        drop(std::mem::take(&mut state.lines));
    }
}

impl Shared {
    /// A slot, if one is free and nobody waits.
    fn take_free(self: &Arc<Self>, tenant: u64) -> Option<Slot> {
        let mut state = self.state.lock();
        let is_free = !state.closed && state.lines.is_empty();
        (is_free && self.has_room(&state, tenant)).then(|| self.slot(&mut state, tenant))
    }

    fn has_room(&self, state: &State, tenant: u64) -> bool {
        let own = state.running.get(&tenant).copied().unwrap_or(0);
        self.limits.admits(own, state.total)
    }

    fn slot(self: &Arc<Self>, state: &mut State, tenant: u64) -> Slot {
        *state.running.entry(tenant).or_default() += 1;
        state.total += 1;
        Slot { shared: Arc::clone(self), tenant }
    }

    fn line_up(&self, tenant: u64, sender: oneshot::Sender<Slot>) -> Result<(), Full> {
        let mut state = self.state.lock();
        if state.closed {
            return Err(Full::Closed);
        }
        let Some((_, line)) = state.lines.iter_mut().find(|(number, _)| *number == tenant) else {
            state.lines.push_back((tenant, VecDeque::from([sender])));
            return Ok(());
        };
        let limit = self.limits.waiting_per_tenant;
        if line.len() >= limit {
            line.retain(|waiting| !waiting.is_closed());
        }
        if line.len() >= limit {
            return Err(Full::Tenant { limit });
        }
        line.push_back(sender);
        Ok(())
    }

    /// Hands out free slots after releasing the lock. A slot comes back if its taker has given up.
    fn admit(self: &Arc<Self>) {
        while let Some((sender, slot)) = self.next() {
            drop(sender.send(slot));
        }
    }

    fn next(self: &Arc<Self>) -> Option<(oneshot::Sender<Slot>, Slot)> {
        let mut state = self.state.lock();
        if state.total >= self.limits.most() {
            return None;
        }
        // Skips those who gave up. Otherwise their slots would come back one inside the other.
        state.lines.retain_mut(|(_, line)| {
            while line.front().is_some_and(oneshot::Sender::is_closed) {
                line.pop_front();
            }
            !line.is_empty()
        });
        let mut lines = state.lines.iter();
        let place = lines.position(|(tenant, _)| self.has_room(&state, *tenant))?;
        let (tenant, mut line) = state.lines.remove(place)?;
        let sender = line.pop_front()?;
        if !line.is_empty() {
            state.lines.push_back((tenant, line));
        }
        Some((sender, self.slot(&mut state, tenant)))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        {
            let mut state = self.shared.state.lock();
            state.total -= 1;
            match state.running.get_mut(&self.tenant) {
                Some(count) if *count > 1 => *count -= 1,
                _ => drop(state.running.remove(&self.tenant)),
            }
        }
        self.shared.admit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::pin::{Pin, pin};
    use std::task::{Context, Poll, Waker};

    fn slots(per_tenant: usize, total: usize) -> Slots {
        Slots::new(SlotLimits { per_tenant, total, newcomers: 0, waiting_per_tenant: 1_000 })
    }

    fn poll<F: Future>(future: Pin<&mut F>) -> Option<F::Output> {
        match future.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        }
    }

    fn enter(slots: &Slots, tenant: u64) -> Option<Slot> {
        poll(pin!(slots.enter(tenant)))?.ok()
    }

    /// As many as there are at once.
    fn enter_all(slots: &Slots, tenant: u64) -> Vec<Slot> {
        std::iter::from_fn(|| enter(slots, tenant)).take(1_000).collect()
    }

    #[test]
    fn few_tenants_leave_places_to_many_others() {
        let slots = Slots::new(SlotLimits::of_jobs(20, 1_000));
        let mut held: Vec<_> = (0..400).map(|tenant| enter_all(&slots, tenant)).collect();
        let counts: Vec<_> = held.iter().map(Vec::len).collect();
        assert_eq!(counts[..10], [20, 10, 3, 3, 2, 2, 2, 2, 1, 1]);
        assert_eq!(counts[..24].iter().sum::<usize>(), 60);
        // Those beyond the total have one each.
        let with_one = counts[24..].iter().take_while(|count| **count == 1).count();
        assert_eq!((with_one, slots.running()), (MOST_NEWCOMERS, 60 + MOST_NEWCOMERS));
        // A tenant that runs some waits for one that runs none, though it came first.
        let mut more = Box::pin(slots.enter(0));
        let mut first = Box::pin(slots.enter(500));
        assert!(poll(more.as_mut()).is_none() && poll(first.as_mut()).is_none());
        held[1].pop();
        assert!(poll(more.as_mut()).is_none() && poll(first.as_mut()).is_some());
    }

    #[test]
    fn places_of_the_first_half_are_for_whoever_comes_first() {
        for (per_tenant, total, second) in [(8, 64, 8), (20, 60, 10), (1, 3, 1), (1, 2, 1)] {
            let slots = slots(per_tenant, total);
            let held = enter_all(&slots, 1);
            assert_eq!(held.len(), per_tenant, "of {total}");
            assert_eq!(enter_all(&slots, 2).len(), second, "of {total}");
            drop(held);
            assert_eq!(enter_all(&slots, 1).len(), per_tenant, "all of {total} are free again");
        }
    }

    #[test]
    fn first_query_of_another_tenant_does_not_wait_for_a_thousand() {
        let slots = slots(2, 3);
        let running: Vec<_> = (0..2).map(|_| enter(&slots, 1).unwrap()).collect();
        let mut waiting: Vec<_> = (0..998).map(|_| Box::pin(slots.enter(1))).collect();
        assert!(waiting.iter_mut().all(|it| poll(it.as_mut()).is_none()));
        let other = enter(&slots, 2).unwrap();
        assert_eq!(slots.running(), 3);
        let mut next = pin!(slots.enter(2));
        assert!(poll(next.as_mut()).is_none());
        drop(other);
        assert!(poll(next.as_mut()).is_some(), "the tenant with the most has as many as it may");
        drop(running);
    }

    #[test]
    fn tenants_take_turns_and_a_slot_whose_taker_left_goes_to_the_next() {
        let slots = slots(1, 1);
        let first = enter(&slots, 1).unwrap();
        let mut of_a = Box::pin(slots.enter(1));
        let mut gone = Box::pin(slots.enter(2));
        let mut of_c = Box::pin(slots.enter(3));
        assert!(poll(of_a.as_mut()).is_none());
        assert!(poll(gone.as_mut()).is_none() && poll(of_c.as_mut()).is_none());
        drop(gone);
        drop(first);
        let slot = poll(of_a.as_mut()).unwrap().unwrap();
        assert!(poll(of_c.as_mut()).is_none());
        drop(slot);
        drop(poll(of_c.as_mut()).unwrap().unwrap());
        assert_eq!(slots.running(), 0);
        assert!(slots.shared.state.lock().running.is_empty());
    }

    #[test]
    fn turns_go_round_the_tenants_whatever_each_has_waiting() {
        let slots = Slots::new(SlotLimits::of_turns(2));
        let mut running = enter_all(&slots, 1);
        assert_eq!(running.len(), 2, "one tenant alone has all");
        let mut waiting: Vec<_> = (0..50).map(|_| Box::pin(slots.enter(1))).collect();
        assert!(waiting.iter_mut().all(|it| poll(it.as_mut()).is_none()));
        let mut other = Box::pin(slots.enter(2));
        assert!(poll(other.as_mut()).is_none());
        running.pop();
        let _first = poll(waiting[0].as_mut()).unwrap().unwrap();
        running.pop();
        assert!(poll(other.as_mut()).is_some(), "before 49 that came earlier");
    }

    #[test]
    fn line_is_bounded_and_ends_when_closed() {
        let limits = SlotLimits { per_tenant: 0, total: 0, newcomers: 0, waiting_per_tenant: 1 };
        let slots = Slots::new(limits);
        let held = enter(&slots, 1).unwrap();
        let mut waiting = Box::pin(slots.enter(1));
        assert!(poll(waiting.as_mut()).is_none());
        let refused = poll(pin!(slots.enter(1))).unwrap();
        assert_eq!(refused.unwrap_err(), Full::Tenant { limit: 1 });
        drop(waiting);
        let mut waiting = Box::pin(slots.enter(1));
        assert!(poll(waiting.as_mut()).is_none());
        slots.close();
        assert_eq!(poll(waiting.as_mut()).unwrap().unwrap_err(), Full::Closed);
        assert_eq!(poll(pin!(slots.enter(2))).unwrap().unwrap_err(), Full::Closed);
        drop(held);
    }
}
