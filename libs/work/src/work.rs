//! The limits of a running query, and the check that its loops make.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::budgets::{Budget, Budgets};
use crate::end_reason::Over;
use crate::memory::{QueryMemory, QueryShare};

/// How many units of work a loop does between two checks: about ten to a hundred microseconds of short steps.
const UNITS_PER_LOOK: u32 = 1 << 13;
/// Units for writing one span into a message, see [`tick`]: some hundred nanoseconds.
pub const UNITS_OF_WRITTEN_SPAN: u32 = 100;
/// Processor time after which a thread lets others go first.
const SLICE: Duration = Duration::from_millis(10);

thread_local! {
    /// Units left until the next check; 0 once the work is over.
    static LEFT: Cell<u32> = const { Cell::new(u32::MAX) };
    static CURRENT: RefCell<Option<Current>> = const { RefCell::new(None) };
}

/// A stop signal that all threads of a query, or of other work, see.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

/// Held by the caller that waits for the work. Stops it when dropped.
#[derive(Debug)]
pub struct StopOnDrop(Stop);

impl Stop {
    /// A stop signal, and the guard that sends it.
    pub fn new() -> (Self, StopOnDrop) {
        let stop = Self::default();
        (stop.clone(), StopOnDrop(stop))
    }

    /// Notes that nobody waits any more.
    pub fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// True once nobody waits for the answer, so that nobody will read it.
    pub fn is_stopped(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// The limits of a query. Clones share them.
#[derive(Clone, Default)]
pub struct Work {
    stops: Vec<Stop>,
    deadline: Option<Instant>,
    budgets: Vec<Arc<Budget>>,
    memory: Option<Arc<QueryShare>>,
    /// A thread that has worked for a while calls this, so that others can go first.
    give_way: Option<Arc<dyn Fn() + Send + Sync>>,
    /// Runs what waits for memory.
    waiting_by: Option<Waiting>,
}

/// Runs something that sleeps, on a thread that others may need meanwhile.
pub type Waiting = fn(&mut dyn FnMut());

impl fmt::Debug for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Work")
            .field("stops", &self.stops)
            .field("deadline", &self.deadline)
            .field("budgets", &self.budgets)
            .field("memory", &self.memory)
            .finish_non_exhaustive()
    }
}

/// The work that a thread is doing.
struct Current {
    work: Work,
    over: Option<Over>,
    /// Processor time of the thread that was already counted.
    counted: Duration,
    slice_began: Duration,
}

impl Work {
    /// The limits of the work of this thread, or no limits if it has none. For a part of that work that gets further
    /// limits.
    pub fn of_thread() -> Self {
        CURRENT
            .with_borrow(|current| current.as_ref().map(|current| current.work.clone()))
            .unwrap_or_default()
    }

    /// Also ends when this signal is sent.
    #[must_use]
    pub fn stopped_by(mut self, stop: Stop) -> Self {
        self.stops.push(stop);
        self
    }

    /// Also ends at this time.
    #[must_use]
    pub fn until(mut self, deadline: Option<Instant>) -> Self {
        self.deadline = [self.deadline, deadline].into_iter().flatten().min();
        self
    }

    /// Counts processor time in this budget as well, and ends when it is used up.
    #[must_use]
    pub fn within(mut self, budget: Option<Arc<Budget>>) -> Self {
        self.budgets.extend(budget);
        self
    }

    /// Also ends when it has used this much processor time, all its threads together. For work that stands alone.
    #[must_use]
    pub fn within_cpu_time(self, limit: Duration) -> Self {
        self.within(Budgets::of_process().of(0, limit))
    }

    /// Counts growing structures (see [`crate::Held`]) in the memory of all queries, except for a small part that each
    /// query has for free. `tenant`: as in [`crate::Line`]. `query`: its number, the same for all its work; 0 if
    /// unknown.
    #[must_use]
    pub fn holding(mut self, memory: &Arc<QueryMemory>, tenant: u64, query: u64) -> Self {
        self.memory = Some(memory.of(tenant, query));
        self
    }

    /// Calls this at times, to let others go first.
    #[must_use]
    pub fn giving_way(mut self, give_way: impl Fn() + Send + Sync + 'static) -> Self {
        self.give_way = Some(Arc::new(give_way));
        self
    }

    /// Has this run what waits for memory of others, if the thread may be one that must not sleep.
    #[must_use]
    pub fn waiting_by(mut self, run: Waiting) -> Self {
        self.waiting_by = Some(run);
        self
    }

    /// Runs `run` under these limits. Its loops end early once the work is over, and their incomplete result is
    /// discarded. If this is a part of other work (see [`Self::of_thread`]) whose limits are exceeded, too, that work
    /// ends as well.
    ///
    /// Errors: the reason why the work ended.
    pub fn run<T>(&self, run: impl FnOnce() -> T) -> Result<T, Over> {
        let result = self.run_alone(run);
        if result.is_err() {
            // Checks the outer work now, because nothing checks it again until `run` returns.
            look_at_current();
        }
        result
    }

    fn run_alone<T>(&self, run: impl FnOnce() -> T) -> Result<T, Over> {
        let now = thread_cpu_time();
        let current = Current { work: self.clone(), over: None, counted: now, slice_began: now };
        let outer = Outer(CURRENT.replace(Some(current)), LEFT.replace(0));
        if let Some(over) = look_at_current() {
            return Err(over);
        }
        let result = run();
        let over = CURRENT.with_borrow_mut(|current| {
            let current = current.as_mut()?;
            current.count();
            current.over
        });
        drop(outer);
        over.map_or(Ok(result), Err)
    }

    fn state(&self) -> Option<Over> {
        if self.stops.iter().any(Stop::is_stopped) {
            return Some(Over::Cancelled);
        }
        if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Some(Over::Deadline);
        }
        if let Some(over) = self.memory.as_ref().and_then(|memory| memory.over()) {
            return Some(over);
        }
        self.budgets.iter().find_map(|budget| budget.over())
    }
}

impl Current {
    /// Adds the processor time that the thread has used since the last call.
    fn count(&mut self) {
        let now = thread_cpu_time();
        for budget in &self.work.budgets {
            budget.add(now.saturating_sub(self.counted));
        }
        self.counted = now;
    }

    fn look(&mut self) -> Option<Over> {
        if self.over.is_none() {
            self.count();
            self.over = self.work.state();
        }
        if self.over.is_none()
            && self.counted.saturating_sub(self.slice_began) >= SLICE
            && let Some(give_way) = &self.work.give_way
        {
            give_way();
            // Waiting takes no processor time, but the query may have ended meanwhile.
            self.slice_began = self.counted;
            self.over = self.work.state();
        }
        self.over
    }
}

/// What the thread was working on before.
struct Outer(Option<Current>, u32);

impl Drop for Outer {
    fn drop(&mut self) {
        if let Some(current) = &mut self.0 {
            // The inner work counted its own time.
            current.counted = thread_cpu_time();
        }
        CURRENT.set(self.0.take());
        LEFT.set(self.1);
    }
}

/// Counts short steps of a loop, of one to ten nanoseconds each. Returns true once this thread's work is over: the
/// result will be discarded, so the loop may end, or skip expensive steps. A thread without work never ends.
#[inline]
pub fn tick(units: u32) -> bool {
    LEFT.with(|left| match left.get().checked_sub(units) {
        Some(rest) if rest > 0 => {
            left.set(rest);
            false
        }
        _ => look_at_current().is_some(),
    })
}

/// True once this thread's work is over. Checks at once, which takes half a microsecond, so do not call it for each
/// span.
pub fn is_over() -> bool {
    look_at_current().is_some()
}

/// The memory of the query that this thread works for.
pub(crate) fn memory() -> Option<Arc<QueryShare>> {
    CURRENT.with_borrow(|current| current.as_ref()?.work.memory.clone())
}

/// Runs something that sleeps in the way of this thread's work.
pub(crate) fn wait_by(wait: &mut dyn FnMut()) {
    match CURRENT.with_borrow(|current| current.as_ref()?.work.waiting_by) {
        Some(run) => run(wait),
        None => wait(),
    }
}

/// Lets others go first. Returns at once if nobody waits.
pub(crate) fn give_way() {
    let give_way = CURRENT.with_borrow(|current| current.as_ref()?.work.give_way.clone());
    if let Some(give_way) = give_way {
        give_way();
    }
    std::thread::sleep(Duration::from_millis(1));
}

/// Ends this thread's work for a reason that a loop found.
pub fn end(why: Over) {
    CURRENT.with_borrow_mut(|current| {
        if let Some(current) = current {
            current.over.get_or_insert(why);
            LEFT.set(0);
        }
    });
}

#[cold]
fn look_at_current() -> Option<Over> {
    CURRENT.with_borrow_mut(|current| {
        let Some(current) = current else {
            LEFT.set(u32::MAX);
            return None;
        };
        let over = current.look();
        LEFT.set(if over.is_some() { 0 } else { UNITS_PER_LOOK });
        over
    })
}

/// Processor time that this thread has used.
pub(crate) fn thread_cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budgets::Budgets;
    use std::sync::atomic::AtomicUsize;

    /// Number of steps until the work is over; far too many if it never is.
    fn spin() -> u64 {
        (0..2_000_000_000).find(|_| tick(1)).unwrap_or(u64::MAX)
    }

    #[test]
    fn thread_without_work_goes_on() {
        assert!(!(0..100).any(|_| tick(u32::MAX)));
        assert!(!is_over());
        end(Over::Cancelled);
        assert!(!is_over());
    }

    #[test]
    fn work_ends_when_nobody_waits_for_it() {
        let (stop, guard) = Stop::new();
        let work = Work::default().stopped_by(Stop::default()).stopped_by(stop);
        assert_eq!(work.run(|| 7), Ok(7));
        let result = work.run(|| {
            assert!(!is_over());
            drop(guard);
            spin()
        });
        assert_eq!(result, Err(Over::Cancelled));
        assert_eq!(work.run(|| panic!("is not run")), Err::<(), _>(Over::Cancelled));
        assert!(!is_over(), "the thread has no work any more");
    }

    #[test]
    fn work_ends_at_its_deadline() {
        let started = Instant::now();
        let soon = Some(started + Duration::from_millis(20));
        let work = Work::default().until(Some(started + Duration::from_secs(600))).until(soon);
        assert_eq!(work.until(None).run(spin), Err(Over::Deadline));
        assert!(started.elapsed() >= Duration::from_millis(20));
    }

    #[test]
    fn processor_time_of_all_threads_of_a_query_is_counted_together() {
        let limit = Duration::from_millis(40);
        let budgets = Budgets::default();
        let budget = budgets.of(1, limit);
        let results: Vec<_> = std::thread::scope(|scope| {
            let run = || Work::default().within(budgets.of(1, limit)).run(spin);
            let threads = [scope.spawn(run), scope.spawn(run)];
            threads.map(|thread| thread.join().unwrap()).into()
        });
        assert_eq!(results, vec![Err(Over::CpuTime { limit }); 2]);
        let used = budget.unwrap().used();
        assert!(used > limit && used < limit * 20, "{used:?}");
    }

    #[test]
    fn inner_work_ends_alone_and_counts_its_own_time() {
        let (stop, _guard) = Stop::new();
        let outer = Work::default().stopped_by(stop);
        let result = outer.run(|| {
            let (stop, guard) = Stop::new();
            drop(guard);
            let inner = Work::default().stopped_by(stop).run(|| 1);
            assert_eq!(inner, Err(Over::Cancelled));
            is_over()
        });
        assert_eq!(result, Ok(false));
    }

    #[test]
    fn part_of_the_work_of_a_thread_ends_by_its_own_limits_and_with_the_whole() {
        let (soon, late) = (Duration::from_millis(20), Duration::from_secs(60));
        let budgets = Budgets::default();
        let whole = Work::default().within(budgets.of(1, late));
        let result = whole.run(|| {
            let part = Work::of_thread().within(budgets.of(0, soon));
            assert_eq!(part.run(spin), Err(Over::CpuTime { limit: soon }));
            is_over()
        });
        assert_eq!(result, Ok(false), "only the part is over");
        assert!(budgets.of(1, late).unwrap().used() > soon, "its time counts for the whole");

        let (stop, guard) = Stop::new();
        let result = Work::default().stopped_by(stop).run(|| {
            let part = Work::of_thread().within(budgets.of(0, late));
            let ended = part.run(|| {
                drop(guard);
                spin()
            });
            assert_eq!(ended, Err(Over::Cancelled));
        });
        assert_eq!(result, Err(Over::Cancelled));
        assert!(Work::of_thread().budgets.is_empty());
    }

    #[test]
    fn loop_that_ends_the_work_names_the_reason() {
        let why = Over::RegexSteps { bytes: 3, limit: 2 };
        let result = Work::default().run(|| {
            end(why);
            end(Over::Cancelled);
            assert!(tick(1));
        });
        assert_eq!(result, Err(why));
        assert!(why.to_string().contains("needs more than 2 steps"));
    }

    #[test]
    fn long_work_gives_way_again_and_again() {
        let times = Arc::new(AtomicUsize::new(0));
        let (counted, (stop, guard)) = (Arc::clone(&times), Stop::new());
        let guard = parking_lot::Mutex::new(Some(guard));
        let work = Work::default().stopped_by(stop).giving_way(move || {
            if counted.fetch_add(1, Ordering::Relaxed) == 2 {
                guard.lock().take();
            }
        });
        assert_eq!(work.run(spin), Err(Over::Cancelled));
        assert_eq!(times.load(Ordering::Relaxed), 3);
    }
}
