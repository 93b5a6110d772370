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
    of_query: HashMap<u64, Known>,
    /// The queries in the order in which they are looked at when there are too many.
    order: VecDeque<u64>,
}

#[derive(Debug)]
struct Known {
    budget: Arc<Budget>,
    /// It had another task since the last look.
    is_in_use: bool,
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
        if let Some(known) = state.of_query.get_mut(&query) {
            known.is_in_use = true;
            return Some(Arc::clone(&known.budget));
        }
        while state.order.len() >= MOST_BUDGETS && state.forget_one() {}
        let budget = new();
        state.order.push_back(query);
        let known = Known { budget: Arc::clone(&budget), is_in_use: false };
        state.of_query.insert(query, known);
        Some(budget)
    }
}

impl State {
    /// Forgets a query that had no task for long. False if all have one now: no more are kept than there are tasks.
    fn forget_one(&mut self) -> bool {
        // The first round may find that all had another task since the last look.
        for _ in 0..2 * self.order.len() {
            let Some(query) = self.order.pop_front() else { break };
            match self.of_query.get_mut(&query) {
                Some(known) if known.is_in_use || Arc::strong_count(&known.budget) > 1 => {
                    known.is_in_use = false;
                    self.order.push_back(query);
                }
                _ => {
                    self.of_query.remove(&query);
                    return true;
                }
            }
        }
        false
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
    }

    #[test]
    fn query_without_a_task_for_long_is_forgotten_and_one_that_goes_on_is_not() {
        let budgets = Budgets::default();
        let limit = Duration::from_secs(1);
        let is_over = |query| budgets.of(query, limit).unwrap().over().is_some();
        let (running, over) = (1, [1, 2, 3]);
        let task = budgets.of(running, limit).unwrap();
        for query in over {
            budgets.of(query, limit).unwrap().add(limit * 2);
        }
        for query in 10..10 + 3 * MOST_BUDGETS as u64 {
            budgets.of(query, limit);
            // It has a task now and then.
            assert!(query % 1000 != 0 || is_over(2), "{query}");
        }
        assert_eq!(over.map(is_over), [true, true, false]);
        assert_eq!(budgets.state.lock().of_query.len(), MOST_BUDGETS);
        drop(task);
    }

    #[test]
    fn queries_that_all_have_a_task_are_all_known() {
        let budgets = Budgets::default();
        let limit = Duration::from_secs(1);
        let ask = |query| budgets.of(query, limit).unwrap();
        let tasks: Vec<_> = (1..=MOST_BUDGETS as u64 + 9).map(ask).collect();
        assert_eq!(budgets.state.lock().order.len(), MOST_BUDGETS + 9);
        drop(tasks);
        ask(MOST_BUDGETS as u64 + 10);
        assert_eq!(budgets.state.lock().order.len(), MOST_BUDGETS);
    }
}
