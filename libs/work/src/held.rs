//! Memory that a query holds and that grows with the data it reads.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::end_reason::Over;
use crate::memory::{QueryShare, Reservation, Room};
use crate::work::{end, give_way, is_over, memory, wait_by};

/// Bytes that are reserved in advance, so that a loop that grows in small steps rarely has to ask. At most as much as
/// is held already, because a query may have thousands of small structures.
const AHEAD: u64 = 64 << 10;

/// How long a query waits for others to end.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Counts the memory of one growing structure of a query against the memory of all queries. Dropping it gives the
/// memory back.
///
/// If no memory is left, the youngest query of the tenant that holds the most is ended and its results are discarded;
/// see [`crate::tick`]. A thread that runs without a [`crate::Work`], or one without a memory limit, is not bounded.
#[derive(Debug, Default)]
pub struct Held {
    /// Up to this many bytes, nobody needs to be asked.
    enough: u64,
    is_refused: bool,
    /// The reservation, and the query that it belongs to.
    reservation: Option<(Reservation, Arc<QueryShare>)>,
}

impl Held {
    /// Memory of `bytes`, as [`Self::grow_to`].
    pub fn of(bytes: usize) -> Self {
        let mut held = Self::default();
        held.grow_to(bytes);
        held
    }

    /// Records that the structure takes `bytes` now, or soon will. False if no memory is left: then the query has
    /// ended, and the structure must not grow.
    #[inline]
    pub fn grow_to(&mut self, bytes: usize) -> bool {
        bytes as u64 <= self.enough || self.reserve(bytes as u64)
    }

    /// Gives back the memory beyond `bytes`.
    pub fn shrink_to(&mut self, bytes: usize) {
        let bytes = bytes as u64;
        if let Some((reservation, _)) = &mut self.reservation
            && bytes < self.enough
        {
            reservation.shrink_to(bytes);
            self.enough = bytes;
        }
    }

    /// False if memory was refused once.
    #[inline]
    pub fn has_room(&self) -> bool {
        !self.is_refused
    }

    #[cold]
    fn reserve(&mut self, bytes: u64) -> bool {
        let mut room = self.try_reserve(bytes);
        if room == Room::Soon {
            wait_by(&mut || {
                let began = Instant::now();
                while room == Room::Soon && began.elapsed() < LONGEST_WAIT && !is_over() {
                    give_way();
                    room = self.try_reserve(bytes);
                }
            });
        }
        if room == Room::Enough {
            return true;
        }
        self.is_refused = true;
        let over = self.reservation.as_ref().and_then(|(_, share)| share.over());
        end(over.unwrap_or(Over::Memory));
        false
    }

    /// As [`Self::grow_to`], but does not wait for another query to end.
    pub fn try_grow_to(&mut self, bytes: usize) -> Room {
        let bytes = bytes as u64;
        if bytes <= self.enough { Room::Enough } else { self.try_reserve(bytes) }
    }

    /// As [`Self::grow_to`], for memory that the query can do without. If none is left, no query is ended and the size
    /// stays as it was.
    pub fn grow_if_free(&mut self, bytes: usize) -> bool {
        let bytes = bytes as u64;
        bytes <= self.enough || (!self.is_refused && self.take(bytes))
    }

    fn try_reserve(&mut self, bytes: u64) -> Room {
        if self.is_refused {
            return Room::None;
        }
        match (self.take(bytes), &self.reservation) {
            (false, Some((reservation, share))) => {
                share.make_room(bytes.saturating_sub(reservation.bytes()))
            }
            _ => Room::Enough,
        }
    }

    /// True if there was memory, or none is counted.
    fn take(&mut self, bytes: u64) -> bool {
        if self.reservation.is_none() {
            self.reservation = memory().map(|share| (share.budget.nothing(), share));
        }
        let Some((reservation, _)) = &mut self.reservation else {
            self.enough = bytes.saturating_add(AHEAD);
            return true;
        };
        let has_room = |reservation: &mut Reservation, bytes: u64| {
            reservation.grow_within(bytes.saturating_sub(reservation.bytes()))
        };
        let ahead = bytes.saturating_add(bytes.min(AHEAD));
        let is_granted = has_room(reservation, ahead) || has_room(reservation, bytes);
        if is_granted {
            self.enough = reservation.bytes();
        }
        is_granted
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

    use super::*;
    use crate::Work;
    use crate::memory::{Budget, QueryMemory, SMALL_QUERY_BYTES};

    const OWN: usize = SMALL_QUERY_BYTES as usize;
    const TENANT: u64 = 7;

    fn memory_of(bytes: u64) -> (Arc<Budget>, Arc<QueryMemory>) {
        let all = Budget::new(bytes);
        let memory = QueryMemory::within(&all);
        (all, memory)
    }

    #[test]
    fn thousands_of_small_structures_take_about_what_they_hold() {
        let (all, memory) = memory_of(64 << 20);
        let result = Work::default().holding(&memory, TENANT, 1).run(|| {
            let held: Vec<_> = (0..5_000).map(|_| Held::of(4_000)).collect();
            (all.used(), held.iter().all(Held::has_room))
        });
        let (used, has_room) = result.unwrap();
        assert!(has_room && (19_000_000..41_000_000).contains(&used), "{used}");
    }

    #[test]
    fn what_a_query_can_do_without_ends_no_query() {
        let (all, memory) = memory_of(1_000_000);
        let [one, other] = [1, 2].map(|query| Work::default().holding(&memory, TENANT, query));
        let result = one.run(|| {
            let needed = Held::of(OWN + 800_000);
            let inner = other.run(|| {
                let mut spare = Held::default();
                assert!(spare.grow_if_free(OWN) && !spare.grow_if_free(OWN + 300_000));
                assert!(spare.has_room() && spare.grow_if_free(OWN + 100_000));
                spare.shrink_to(0);
                assert!(all.used() < 900_000);
                is_over()
            });
            assert_eq!(inner, Ok(false));
            needed.has_room() && !is_over()
        });
        assert_eq!(result, Ok(true));
        assert!(Held::default().grow_if_free(1 << 40), "a thread without work is not bounded");
    }

    #[test]
    fn work_ends_where_there_is_no_memory_and_gives_back_what_it_held() {
        let (all, memory) = memory_of(1_000_000);
        let work = Work::default().holding(&memory, TENANT, 1);
        let result = work.run(|| {
            let mut held = Held::default();
            assert!(held.grow_to(OWN + 800_000) && !is_over());
            assert!(all.used() >= 800_000);
            assert!(!held.grow_to(OWN + 1_100_000) && !held.has_room());
            assert!(crate::tick(1), "its loops end");
            assert!(!held.grow_to(OWN + 1_200_000));
        });
        let too_large = Over::TooLarge { limit: 1_000_000 };
        assert_eq!((result, all.used()), (Err(too_large), 0));
        let other = Work::default().holding(&memory, TENANT, 1);
        assert_eq!(other.run(|| 7), Err(too_large), "another work of the same query");
        drop((work, other));
        let again = Work::default().holding(&memory, TENANT, 1);
        assert_eq!(again.run(|| Held::of(OWN + 800_000).has_room()), Ok(true));
    }

    /// Grows step by step, and returns how the query ends and the largest size that was in use.
    fn grow(memory: &Arc<QueryMemory>, bytes: usize, most: &AtomicU64) -> Result<(), Over> {
        Work::default().holding(memory, TENANT, 0).run(|| {
            let mut held = Held::default();
            for bytes in (0..bytes).step_by(1_000) {
                if !held.grow_to(bytes) || crate::tick(1 << 13) {
                    return;
                }
                most.fetch_max(memory.used(), Relaxed);
                std::thread::yield_now();
            }
        })
    }

    #[test]
    fn sum_over_queries_at_once_is_bounded_and_the_oldest_ends_well() {
        let (all, memory) = memory_of(4_000_000);
        let most = AtomicU64::new(0);
        let ends: Vec<_> = std::thread::scope(|scope| {
            let threads = [(); 8].map(|()| scope.spawn(|| grow(&memory, OWN + 3_000_000, &most)));
            threads.map(|thread| thread.join().unwrap()).into()
        });
        assert!(most.load(Relaxed) <= 4_000_000);
        assert!(ends.contains(&Ok(())), "{ends:?}");
        assert!(ends.iter().all(|end| matches!(end, Ok(()) | Err(Over::Memory))), "{ends:?}");
        assert_eq!(all.used(), 0);
    }

    #[test]
    fn youngest_query_makes_room_for_others() {
        let (_all, memory) = memory_of(1_000_000);
        let [old, young] = [1, 2].map(|query| Work::default().holding(&memory, TENANT, query));
        let taken = young.run(|| Held::of(OWN + 900_000)).unwrap();
        let room = || Held::default().try_grow_to(OWN + 500_000);
        assert_eq!(old.run(room), Ok(Room::Soon));
        assert_eq!(young.run(|| 7), Err(Over::Memory));
        drop(taken);
        assert_eq!(old.run(room), Ok(Room::Enough));
    }

    #[test]
    fn tenant_that_holds_most_makes_room_for_a_younger_query_of_another() {
        let (_all, memory) = memory_of(1_000_000);
        let greedy = [1, 2].map(|query| Work::default().holding(&memory, TENANT, query));
        let taken = greedy.each_ref().map(|work| work.run(|| Held::of(OWN + 450_000)).unwrap());
        let other = Work::default().holding(&memory, TENANT + 1, 3);
        let room = || Held::default().try_grow_to(OWN + 300_000);
        assert_eq!(other.run(room), Ok(Room::Soon));
        let [old, young] = &greedy;
        assert_eq!((old.run(|| 1), young.run(|| 2)), (Ok(1), Err(Over::Memory)));
        let [_old_taken, young_taken] = taken;
        drop(young_taken);
        assert_eq!(other.run(room), Ok(Room::Enough));
    }

    #[test]
    fn what_is_held_may_outlive_its_work_and_shrink() {
        let (all, memory) = memory_of(10_000_000);
        let work = Work::default().holding(&memory, TENANT, 0);
        let mut held = work.run(|| Held::of(OWN + 5_000_000)).unwrap();
        drop(work);
        assert!(all.used() >= 5_000_000);
        assert!(held.grow_to(OWN + 6_000_000));
        held.shrink_to(OWN + 1_000);
        assert_eq!(all.used(), 1_000);
        drop(held);
        assert_eq!(all.used(), 0);
    }

    #[test]
    fn query_that_others_leave_no_room_may_succeed_later_and_one_that_is_too_large_not() {
        let (all, memory) = memory_of(1_000_000);
        let others = all.reserve(500_000);
        let end_of = |query, bytes| {
            let work = Work::default().holding(&memory, TENANT, query);
            work.run(|| Held::of(OWN + bytes).has_room()).unwrap_err()
        };
        assert_eq!(end_of(1, 600_000), Over::Memory);
        assert_eq!(end_of(2, 900_000), Over::TooLarge { limit: 1_000_000 });
        drop(others);
    }

    #[test]
    fn small_query_needs_nothing_of_others() {
        let (all, memory) = memory_of(1_000);
        let _full = all.reserve(1_000).unwrap();
        let [small, large] = [1, 2].map(|query| Work::default().holding(&memory, TENANT, query));
        assert_eq!(small.run(|| Held::of(OWN).has_room()), Ok(true));
        assert_eq!(large.run(|| Held::of(OWN + 1).has_room()), Err(Over::Memory));
    }

    #[test]
    fn thread_without_memory_of_queries_is_not_bounded() {
        let mut held = Held::of(1 << 40);
        assert!(held.grow_to(1 << 41) && held.has_room());
        assert_eq!(Work::default().run(|| Held::of(1 << 40).has_room()), Ok(true));
    }
}
