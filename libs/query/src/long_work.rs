//! Threads for long work of queries: tenants take turns on them, and so do the queries of each tenant.
//!
//! Only work that checks whether it is over can let others go first, so only such work takes turns, from the end of its
//! first slice on. Work that never checks, such as decompression, would keep its turn to its end. It has none, and shares
//! the processors as the system has it.

use std::cell::RefCell;
use std::sync::{Arc, LazyLock};

use tactus_work::turns::cores;
use tactus_work::{Full, Gate, Line, Slot, SlotLimits, Slots, Turn};
use tokio::task::JoinError;

/// Pieces of work of a tenant that have a thread, as many as there are processors within these bounds. Most of the threads
/// with long work wait for their turns.
const LEAST_PER_TENANT: usize = 8;
const MOST_PER_TENANT: usize = 32;
/// Pieces of work of a tenant that may wait without a thread. Its queries are fewer.
const WAITING_PER_TENANT: usize = 10_000;

thread_local! {
    /// The long work that this thread does.
    static CURRENT: RefCell<Option<Current>> = const { RefCell::new(None) };
}

struct Current {
    gate: Arc<Gate>,
    line: Line,
    /// `None` until it first gives way.
    turn: Option<Turn>,
}

/// Where long work is done: of what takes turns, as many threads work at a time as there are processors.
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

    /// Runs work on a thread, which takes turns with others once the work calls [`give_way`]. It runs to its end even if
    /// nobody waits for that. Errors: it panicked.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        line: Line,
        slot: Slot,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, JoinError> {
        let current = Current { gate: Arc::clone(&self.gate), line, turn: None };
        let run = move || {
            let _slot = slot;
            let _before = Restored(CURRENT.replace(Some(current)));
            work()
        };
        tokio::task::spawn_blocking(run).await
    }
}

/// Sets what this thread does when it is dropped.
struct Restored(Option<Current>);

impl Drop for Restored {
    fn drop(&mut self) {
        drop(CURRENT.replace(self.0.take()));
    }
}

/// Lets others go first if long work is done on this thread: from now on it has a turn while it works. Other long work must
/// wait for a lock that is held meanwhile by [`pause`], and serving threads not at all.
pub(crate) fn give_way() {
    let Some(mut current) = CURRENT.take() else { return };
    if current.turn.is_some() {
        current.gate.give_way(current.line);
    } else {
        current.turn = Some(current.gate.enter(current.line));
    }
    CURRENT.set(Some(current));
}

/// Runs `wait`, which waits for a thread that may need a turn. Others may use the turn of this thread meanwhile, if it has
/// one.
pub(crate) fn pause<T>(wait: impl FnOnce() -> T) -> T {
    let current = Restored(CURRENT.take());
    match &current.0 {
        Some(Current { gate, turn: Some(_), .. }) => gate.pause(wait),
        _ => wait(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
    use std::sync::mpsc;
    use std::time::Duration;

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
    async fn work_of_one_more_tenant_comes_between_works_that_go_on() {
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
        let one_more = async {
            while begun.load(SeqCst) == 0 {
                tokio::task::yield_now().await;
            }
            let is_done = Arc::clone(&is_done);
            let ends_others = move || {
                give_way();
                is_done.store(true, SeqCst);
            };
            run(&work, 20, ends_others).await;
        };
        tokio::join!(join_all(slow), one_more);
        assert_eq!(begun.load(SeqCst), 20);
    }

    #[tokio::test]
    async fn work_that_never_gives_way_holds_nobody_up() {
        let work = LongWork::new(1);
        let (end, ends) = mpsc::channel();
        let silent = run(&work, 1, move || ends.recv_timeout(Duration::from_secs(60)));
        let other = run(&work, 2, move || {
            give_way();
            end.send(())
        });
        assert_eq!(tokio::join!(silent, other), (Ok(()), Ok(())));
    }

    #[tokio::test]
    async fn works_that_need_a_lock_of_one_that_gives_way_do_not_keep_its_turn() {
        let work = LongWork::new(1);
        let (lock, waiting) = (Arc::new(Mutex::new(0)), Arc::new(AtomicUsize::new(0)));
        let all = (0..4).map(|tenant| {
            let (lock, waiting) = (Arc::clone(&lock), Arc::clone(&waiting));
            run(&work, tenant, move || {
                give_way();
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
        let panics = || {
            give_way();
            panic!("on purpose")
        };
        assert!(work.run(line(1), slot, panics).await.is_err());
        run(&work, 1, give_way).await;
        assert_eq!(work.slots.running(), 0);
    }
}
