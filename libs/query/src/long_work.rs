//! Threads for long work of queries: tenants take turns on them, and so do the queries of each tenant.

use std::cell::RefCell;
use std::sync::{Arc, LazyLock};

use tactus_work::turns::cores;
use tactus_work::{Full, Gate, Line, Slot, SlotLimits, Slots};
use tokio::task::JoinError;

/// Pieces of work of a tenant that have a thread, as many as there are processors within these bounds. Most of these
/// threads wait for their turns.
const LEAST_PER_TENANT: usize = 8;
const MOST_PER_TENANT: usize = 32;
/// Pieces of work of a tenant that may wait without a thread. Its queries are fewer.
const WAITING_PER_TENANT: usize = 10_000;

thread_local! {
    /// Whose turn this thread has.
    static TURN: RefCell<Option<(Arc<Gate>, Line)>> = const { RefCell::new(None) };
}

/// Where long work is done: as many threads work at a time as there are processors.
#[derive(Debug)]
pub(crate) struct LongWork {
    slots: Slots,
    gate: Arc<Gate>,
}

impl LongWork {
    /// The threads of this process.
    pub(crate) fn of_process() -> &'static Self {
        static LONG_WORK: LazyLock<LongWork> = LazyLock::new(|| LongWork::new(cores()));
        &LONG_WORK
    }

    fn new(threads: usize) -> Self {
        let per_tenant = threads.clamp(LEAST_PER_TENANT, MOST_PER_TENANT);
        Self {
            slots: Slots::new(SlotLimits::of_jobs(per_tenant, WAITING_PER_TENANT)),
            gate: Arc::new(Gate::new(threads, u64::MAX)),
        }
    }

    /// Waits for a place for a thread. Errors: too much work of the tenant waits.
    pub(crate) async fn enter(&self, tenant: u64) -> Result<Slot, Full> {
        self.slots.enter(tenant).await
    }

    /// Runs work on a thread when it has a turn, which [`give_way`] passes on. It runs to its end even if nobody waits
    /// for that. Errors: it panicked.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        line: Line,
        slot: Slot,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, JoinError> {
        let gate = Arc::clone(&self.gate);
        let run = move || {
            let _slot = slot;
            let _turn = gate.enter(line);
            let _before = Restored(TURN.replace(Some((gate, line))));
            work()
        };
        tokio::task::spawn_blocking(run).await
    }
}

/// Sets whose turn this thread has when it is dropped.
struct Restored(Option<(Arc<Gate>, Line)>);

impl Drop for Restored {
    fn drop(&mut self) {
        TURN.set(self.0.take());
    }
}

/// Lets others go first if long work is done on this thread. Other long work must wait for a lock that is held meanwhile
/// by [`pause`], and serving threads not at all.
pub(crate) fn give_way() {
    if let Some((gate, line)) = TURN.with_borrow(Clone::clone) {
        gate.give_way(line);
    }
}

/// Runs `wait`, which waits for a thread that may need a turn. Others may use the turn of this thread meanwhile.
pub(crate) fn pause<T>(wait: impl FnOnce() -> T) -> T {
    let turn = Restored(TURN.take());
    match &turn.0 {
        Some((gate, _)) => gate.pause(wait),
        None => wait(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

    use futures_util::future::join_all;
    use parking_lot::Mutex;
    use tactus_work::{Work, tick};

    use super::*;

    fn line(tenant: u64) -> Line {
        Line { tenant, query: tenant }
    }

    async fn run<T: Send + 'static>(
        work: &LongWork,
        tenant: u64,
        run: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        let slot = work.enter(tenant).await.unwrap();
        work.run(line(tenant), slot, run).await.unwrap()
    }

    #[tokio::test]
    async fn short_work_of_one_more_tenant_comes_between_works_that_go_on() {
        let (work, is_done) = (LongWork::new(1), Arc::new(AtomicBool::new(false)));
        let begun = Arc::new(AtomicUsize::new(0));
        let slow = (0..20).map(|tenant| {
            let (is_done, begun) = (Arc::clone(&is_done), Arc::clone(&begun));
            run(&work, tenant, move || {
                begun.fetch_add(1, SeqCst);
                let goes_on = || {
                    while !is_done.load(SeqCst) {
                        tick(1);
                    }
                };
                Work::default().giving_way(give_way).run(goes_on).unwrap();
            })
        });
        let short = async {
            while begun.load(SeqCst) == 0 {
                tokio::task::yield_now().await;
            }
            let is_done = Arc::clone(&is_done);
            run(&work, 20, move || is_done.store(true, SeqCst)).await;
        };
        tokio::join!(join_all(slow), short);
        assert_eq!(begun.load(SeqCst), 20);
    }

    #[tokio::test]
    async fn works_that_need_a_lock_of_one_that_gives_way_do_not_keep_its_turn() {
        let work = LongWork::new(1);
        let (lock, waiting) = (Arc::new(Mutex::new(0)), Arc::new(AtomicUsize::new(0)));
        let all = (0..4).map(|tenant| {
            let (lock, waiting) = (Arc::clone(&lock), Arc::clone(&waiting));
            run(&work, tenant, move || {
                waiting.fetch_add(1, SeqCst);
                let mut number = pause(|| lock.lock());
                while waiting.load(SeqCst) < 4 {
                    give_way();
                }
                *number += 1;
            })
        });
        join_all(all).await;
        assert_eq!(*lock.lock(), 4);
    }

    #[tokio::test]
    async fn work_that_panics_gives_its_turn_back() {
        let work = LongWork::new(1);
        let slot = work.enter(1).await.unwrap();
        assert!(work.run(line(1), slot, || panic!("on purpose")).await.is_err());
        assert_eq!(run(&work, 1, || 7).await, 7);
        assert_eq!(work.slots.running(), 0);
    }
}
