//! Gives ingest an allocator arena of its own.
//!
//! An arena gives freed pages back to the system after a while. For most memory that is a second, so that the process
//! does not keep what a burst of queries needed. But ingest needs the same memory again every few seconds, because each
//! cut builds columns as large as those of the last one. If their pages had gone back meanwhile, the system would have
//! to clear every one of them again. So ingest has its own arena, which keeps freed pages longer.
//!
//! A time limit alone is not enough, because a burst may free within a second as much as is in use. So there is also a
//! limit on the freed bytes that all arenas together keep, checked a few times a second while there are many.

mod freed;

use std::sync::OnceLock;

use tikv_jemalloc_ctl::{Access, AsName, Mib, Result};

/// How long the arena of ingest keeps freed pages, in milliseconds: several cuts at 10 000 spans a second or more.
const INGEST_DECAY_MS: usize = 10_000;

struct Ingest {
    arena: u32,
    /// Which arena the calling thread uses.
    thread_arena: Mib<[usize; 2]>,
}

static INGEST: OnceLock<Ingest> = OnceLock::new();

/// Creates the arena of ingest and limits freed memory. Call it once, in a process whose allocator is jemalloc. Without
/// this call [`for_ingest`] changes nothing.
pub fn set_up() -> Result<()> {
    make_arena()?;
    freed::keep_few()
}

fn make_arena() -> Result<()> {
    let arena: u32 = b"arenas.create\0".as_slice().name().read()?;
    let mut decay: Mib<[usize; 3]> = b"arena.0.dirty_decay_ms\0".as_slice().name().mib()?;
    decay[1] = arena as usize;
    decay.write(INGEST_DECAY_MS as isize)?;
    let thread_arena = b"thread.arena\0".as_slice().name().mib()?;
    let _ = INGEST.set(Ingest { arena, thread_arena });
    Ok(())
}

/// Runs some work of ingest with its arena. Other threads may free the memory.
pub fn for_ingest<T>(work: impl FnOnce() -> T) -> T {
    let Some(ingest) = INGEST.get() else { return work() };
    let before: Result<u32> = ingest.thread_arena.update(ingest.arena);
    let _back = before.ok().map(|arena| Back { ingest, arena });
    work()
}

/// Switches the thread back to its own arena, even if the work panics.
struct Back {
    ingest: &'static Ingest,
    arena: u32,
}

impl Drop for Back {
    fn drop(&mut self) {
        // This cannot fail while the thread's own arena exists. If it did, the thread would stay with the arena of
        // ingest.
        let _ = self.ingest.thread_arena.write(self.arena);
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    #[global_allocator]
    static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

    fn arena() -> u32 {
        b"thread.arena\0".as_slice().name().read().unwrap()
    }

    #[test]
    fn a_thread_uses_the_arena_of_ingest_for_its_work_and_no_longer() {
        let own = arena();
        assert_eq!(for_ingest(arena), own, "nothing is set up yet");
        make_arena().unwrap();
        let ingest = for_ingest(arena);
        assert_ne!(ingest, own);
        assert_eq!(for_ingest(|| (for_ingest(arena), arena())), (ingest, ingest));
        assert!(catch_unwind(AssertUnwindSafe(|| for_ingest(|| panic!("as a push may")))).is_err());
        assert_eq!(arena(), own);

        let decay = format!("arena.{ingest}.dirty_decay_ms\0");
        let kept = || decay.as_bytes().name().read().unwrap_or(-1_isize) as usize;
        assert_eq!(kept(), INGEST_DECAY_MS);
        freed::tests::burst_goes_back();
        assert_eq!(kept(), INGEST_DECAY_MS);
    }
}
