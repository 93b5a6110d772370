//! The processor time of queries, added up over all their tasks in this process.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use parking_lot::Mutex;

use crate::end_reason::Over;

/// The processor time of a query in this process: its limit, and what was used.
#[derive(Debug)]
pub struct Budget {
    limit: Duration,
    used_nanos: AtomicU64,
}

impl Budget {
    /// The time used so far.
    pub fn used(&self) -> Duration {
        Duration::from_nanos(self.used_nanos.load(Ordering::Relaxed))
    }

    pub(crate) fn add(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.used_nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    pub(crate) fn over(&self) -> Option<Over> {
        (self.used() > self.limit).then_some(Over::CpuTime { limit: self.limit })
    }
}

/// How many budgets are remembered, because the tasks of a query may come one after the other.
const MOST_BUDGETS: usize = 4096;

/// The budgets of the queries that last had a task here.
#[derive(Debug, Default)]
pub struct Budgets {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    of_query: HashMap<u64, Arc<Budget>>,
    /// The queries in order of their first task.
    order: VecDeque<u64>,
}

impl Budgets {
    /// The budgets of this process.
    pub fn of_process() -> &'static Self {
        static BUDGETS: LazyLock<Budgets> = LazyLock::new(Budgets::default);
        &BUDGETS
    }

    /// The budget of a query, which all its tasks share. `query`: its number, or 0 for a task that stands alone.
    /// `limit`: zero for none.
    pub fn of(&self, query: u64, limit: Duration) -> Option<Arc<Budget>> {
        if limit.is_zero() {
            return None;
        }
        let new = || Arc::new(Budget { limit, used_nanos: AtomicU64::new(0) });
        if query == 0 {
            return Some(new());
        }
        let mut state = self.state.lock();
        if let Some(known) = state.of_query.get(&query) {
            return Some(Arc::clone(known));
        }
        if state.order.len() >= MOST_BUDGETS
            && let Some(oldest) = state.order.pop_front()
        {
            state.of_query.remove(&oldest);
        }
        let budget = new();
        state.order.push_back(query);
        state.of_query.insert(query, Arc::clone(&budget));
        Some(budget)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_of_a_query_share_its_budget() {
        let budgets = Budgets::default();
        let limit = Duration::from_secs(1);
        let (one, two) = (budgets.of(1, limit).unwrap(), budgets.of(1, limit).unwrap());
        let (other, alone) = (budgets.of(2, limit).unwrap(), budgets.of(0, limit).unwrap());
        one.add(limit * 2);
        assert_eq!(two.over(), Some(Over::CpuTime { limit }));
        assert_eq!((other.over(), alone.over()), (None, None));
        assert!(budgets.of(1, Duration::ZERO).is_none());
        drop((one, two));
        assert!(budgets.of(1, limit).unwrap().over().is_some(), "its next task");
        for query in 3..3 + MOST_BUDGETS as u64 {
            budgets.of(query, limit);
        }
        assert_eq!(budgets.state.lock().of_query.len(), MOST_BUDGETS);
        assert!(budgets.of(1, limit).unwrap().over().is_none());
    }
}
