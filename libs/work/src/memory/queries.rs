//! The memory of queries. If it runs out, the youngest query of the tenant that holds the most is ended.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock, Weak};

use parking_lot::Mutex;

use super::Budget;
use crate::end_reason::Over;

/// Every query may hold this much without counting against the others. Most queries need no more.
pub(crate) const SMALL_QUERY_BYTES: u64 = 512 << 10;

/// The memory of all queries of a process, for structures that grow with the data that is read.
pub struct QueryMemory {
    all: Arc<Budget>,
    next_age: AtomicU64,
    /// By number of the query.
    known: Mutex<HashMap<u64, Weak<QueryShare>>>,
}

impl fmt::Debug for QueryMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueryMemory").field("all", &self.all).finish_non_exhaustive()
    }
}

/// The memory of one query, for all its work in this process.
#[derive(Debug)]
pub(crate) struct QueryShare {
    pub(crate) budget: Arc<Budget>,
    memory: Arc<QueryMemory>,
    tenant: u64,
    query: u64,
    /// Older queries have smaller numbers.
    age: u64,
    /// Why it has to end, once it has to.
    over: OnceLock<Over>,
}

/// The answer to a query that asks for more memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// Granted.
    Enough,
    /// Memory will be free soon, because another query is being ended.
    Soon,
    /// The query itself has to end.
    None,
}

impl QueryMemory {
    /// Takes the memory from this budget, which others may use as well.
    pub fn within(all: &Arc<Budget>) -> Arc<Self> {
        Arc::new(Self {
            all: Arc::clone(all),
            next_age: AtomicU64::new(0),
            known: Mutex::default(),
        })
    }

    /// Memory without a bound.
    pub fn unbounded() -> Arc<Self> {
        Self::within(&Budget::new(u64::MAX))
    }

    /// Bytes of the budget in use: what queries hold beyond their free share, and what others hold.
    pub fn used(&self) -> u64 {
        self.all.used()
    }

    /// The share of a query, the same for all its work. `tenant`: one number for all queries of a tenant. `query`: its
    /// number, or 0 for work that stands alone.
    pub(crate) fn of(self: &Arc<Self>, tenant: u64, query: u64) -> Arc<QueryShare> {
        let mut known = self.known.lock();
        if query != 0
            && let Some(share) = known.get(&query).and_then(Weak::upgrade)
        {
            return share;
        }
        let age = self.next_age.fetch_add(1, Relaxed);
        // Numbers of queries are random.
        let query = if query == 0 { u64::MAX - age } else { query };
        let share = Arc::new(QueryShare {
            budget: Budget::share(&self.all, u64::MAX, SMALL_QUERY_BYTES),
            memory: Arc::clone(self),
            tenant,
            query,
            age,
            over: OnceLock::new(),
        });
        known.insert(query, Arc::downgrade(&share));
        share
    }
}

impl QueryShare {
    /// Why the query has to end, once it has to make room.
    pub(crate) fn over(&self) -> Option<Over> {
        self.over.get().copied()
    }

    /// Decides which query is ended when no memory is left for `wanted` bytes: the youngest that holds some, of the tenant
    /// whose queries hold the most.
    pub(crate) fn make_room(&self, wanted: u64) -> Room {
        let shares: Vec<_> = self.memory.known.lock().values().filter_map(Weak::upgrade).collect();
        let mut held_by = HashMap::new();
        for share in &shares {
            *held_by.entry(share.tenant).or_insert(0) += share.budget.used();
        }
        let most = held_by.into_iter().max_by_key(|&(tenant, bytes)| (bytes, tenant));
        let youngest = shares
            .iter()
            .filter(|share| share.budget.used() > SMALL_QUERY_BYTES)
            .filter(|share| most.is_some_and(|(tenant, _)| share.tenant == tenant))
            .max_by_key(|share| share.age);
        match youngest {
            Some(youngest) if youngest.age != self.age => {
                let _ = youngest.over.set(Over::Memory);
                Room::Soon
            }
            _ => {
                self.over.get_or_init(|| self.reason_to_end(wanted));
                Room::None
            }
        }
    }

    /// A query that takes nearly all of the memory by itself would do so again. Something else always holds a little.
    fn reason_to_end(&self, wanted: u64) -> Over {
        let limit = self.memory.all.max_bytes();
        let own = self.budget.used().saturating_add(wanted).saturating_sub(SMALL_QUERY_BYTES);
        if own > limit - limit / 8 { Over::TooLarge { limit } } else { Over::Memory }
    }
}

impl Drop for QueryShare {
    fn drop(&mut self) {
        let mut known = self.memory.known.lock();
        // The query may have started again meanwhile.
        if known.get(&self.query).is_some_and(|share| share.strong_count() == 0) {
            known.remove(&self.query);
        }
    }
}
